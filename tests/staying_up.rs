//! A call that is up stays up: further offers of either side go through relay, machine and media, and the call goes on.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod calls;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/path.rs"]
#[allow(dead_code)]
mod path;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/run.rs"]
mod run;
#[path = "support/signaling.rs"]
mod signaling;

use callgate::media::caller::{AccessUnit, CallerEvent, CallerSettings};
use callgate::protocol::{Answer, Body, CallEnd, EndWord, Offer};
use callgate::sdp;
use calls::{Caller, soon, units, watcher};
use daemon::{Daemon, field};
use nostr::PublicKey;
use path::Path;
use relay::{Behaviour, TestRelay};
use signaling::{Party, now};
use tokio::sync::mpsc;

const SESSION: &str = "one";

/// A live call to a daemon.
struct Call {
    party: Party,
    caller: Caller,
    pictures: mpsc::Receiver<AccessUnit>,
    line: PublicKey,
    /// The line's first answer.
    answer: String,
    daemon: Daemon,
    _relay: TestRelay,
    _folder: tempfile::TempDir,
}

impl Call {
    /// Calls; what goes over the network goes over `path`, if there is one.
    async fn live(mut path: Option<&mut Path>) -> Self {
        let relay = TestRelay::start(Behaviour::Honest).await;
        let folder = tempfile::tempdir().unwrap();
        let (daemon, lines) = run::run(folder.path(), &relay.url(), 1);
        let mut party = Party::new(&[relay.url()]).await;
        let (told, pictures) = mpsc::channel(4096);
        let mut caller = Caller::start(CallerSettings { units: Some(told), ..watcher() }).await;
        let offer = path.as_deref_mut().map_or_else(|| caller.offer.clone(), |path| path.offer(&caller.offer));
        let answer = run::offer(&mut party, lines[0], SESSION, offer).await;
        let seen = path.as_deref_mut().map_or_else(|| answer.clone(), |path| path.answer(&answer));
        caller.take(&seen).await;
        caller.is(CallerEvent::FirstFrame).await;
        if let Some(path) = path {
            // Who was never heard cannot fall silent.
            soon("a report of the caller", path.to_gateway.next_rtcp()).await;
        }
        Self { party, caller, pictures, line: lines[0], answer, daemon, _relay: relay, _folder: folder }
    }

    /// What the line says next, but for its first answer, which it may say again.
    async fn hear(&mut self) -> Body {
        loop {
            match run::hear(&mut self.party, self.line).await {
                Body::Answer(answer) if answer.sdp == self.answer => {}
                body => return body,
            }
        }
    }

    async fn say(&mut self, body: Body) {
        self.party.publish(self.line, SESSION, body).await;
    }

    /// Offers in the call, and waits for the answer.
    async fn offer(&mut self, sdp: &str) -> Answer {
        self.say(Body::Offer(Offer::new(sdp.to_owned(), now(), 60))).await;
        match self.hear().await {
            Body::Answer(answer) => answer,
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// Pictures come, of which the last was sent after this was called.
    async fn goes_on(&mut self) {
        while self.pictures.try_recv().is_ok() {}
        units(&mut self.pictures, 20).await;
    }

    /// Hangs up, and holds that all of it was one call.
    async fn hang_up(mut self) {
        self.say(Body::End(CallEnd::new(EndWord::UserLeft, now()))).await;
        let ended = self.daemon.logged(|record| field(record, "message") == "call ended");
        assert_eq!(field(&ended, "reason"), "caller_left", "{ended}");
        let offered = self.daemon.written().lines().filter(|line| line.contains("call offered")).count();
        assert_eq!(offered, 1, "{}", self.daemon.written());
        self.caller.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_further_offers_are_answered_in_its_session_and_the_call_goes_on() {
    // Given a live call
    let mut call = Call::live(None).await;

    for _ in 0..2 {
        // When its caller restarts ICE
        call.caller.restart().await;
        let offer = call.caller.offer.clone();
        let answer = call.offer(&offer).await;

        // Then it is answered, the same offer signed anew with the same words, and the picture goes on
        assert!(answer.accepted);
        assert_eq!(call.offer(&offer).await.sdp, answer.sdp);
        call.caller.take(&answer.sdp).await;
        call.goes_on().await;
    }

    // When an offer comes that does not belong to the call, or is none
    let own = call.caller.offer.lines().find(|line| line.starts_with("a=fingerprint:")).unwrap().to_owned();
    let other = call.caller.offer.replace(&own, &format!("a=fingerprint:sha-256 {}", ["5A"; 32].join(":")));
    for offer in [other.as_str(), "v=0\r\n"] {
        // Then it is refused, and the call goes on as it was
        assert!(!call.offer(offer).await.accepted);
        call.goes_on().await;
    }
    call.hang_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_hears_nothing_any_more_offers_another_path() {
    // Given a live call over a network
    let mut path = Path::new().await;
    let mut call = Call::live(Some(&mut path)).await;

    // When nothing gets through any more
    path.cut();

    // Then the line says so, and offers
    call.daemon.logged(|record| field(record, "message") == "path lost");
    let Body::Offer(offer) = call.hear().await else { panic!("no offer") };
    // And when the caller answers, from where it is now
    call.caller.handle.offer(sdp::guard_offer(&offer.sdp).unwrap()).await;
    let answer = call.caller.answered().await;
    call.say(Body::Answer(Answer::accepting(answer, now()))).await;

    // Then there is a path again
    call.daemon.logged(|record| field(record, "message") == "path found");
    call.goes_on().await;
    call.hang_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_answers_no_offer_is_gone() {
    let mut path = Path::new().await;
    let mut call = Call::live(Some(&mut path)).await;

    path.cut();

    // Offers, the same one signed anew, and then the end
    let (mut offers, mut last) = (0, String::new());
    let end = loop {
        match call.hear().await {
            Body::Offer(offer) => {
                assert!(offers == 0 || offer.sdp == last);
                (offers, last) = (offers + 1, offer.sdp);
            }
            Body::End(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert!(offers > 1);
    assert_eq!(end.detail.as_deref(), Some("The connection to the caller was lost."));
    let ended = call.daemon.logged(|record| field(record, "message") == "call ended");
    assert_eq!(field(&ended, "reason"), "caller_gone", "{ended}");
    call.caller.end().await;
}
