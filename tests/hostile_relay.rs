//! Calls through relays that do not do what they should, plain and wrapped: they work where they can, and where they cannot it is said
//! in the right words. Behind each is the real daemon, with a caller who has a connection of its own to the relay.
#![cfg(feature = "daemon")]

mod support {
    #[allow(dead_code)]
    pub mod calls;
    pub mod daemon;
    pub mod http;
    pub mod relay;
    pub mod signaling;
}

use std::time::Duration;

use callgate::gateway::{DialEnd, DialEvent, DialSettings, dial};
use callgate::media::caller::{CallerEvent, CallerSettings};
use callgate::protocol::{Body, Cipher, Dialect, Offer, Outgoing};
use nostr::{Keys, PublicKey};
use support::calls::{Caller, watcher};
use support::daemon::{Daemon, field};
use support::http;
use support::relay::{Behaviour, TestRelay};
use support::signaling::{Party, now, outgoing, soon};

/// A daemon with a line of a small picture, on these relays.
struct Gate {
    daemon: Daemon,
    line: PublicKey,
    calls: usize,
    _folder: tempfile::TempDir,
}

impl Gate {
    fn on(relays: &[&TestRelay]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relays: Vec<String> = relays.iter().map(|relay| relay.url().to_string()).collect();
        let configuration = format!(
            "data_dir = \"data\"\nnostr.relays = {relays:?}\nice.bind = [\"127.0.0.1\"]\nhttp.listen = \"127.0.0.1:0\"\n\
             access.allow = [\"*\"]\n[[line]]\nname = \"door\"\nidle = \"10m\"\n\
             play = \"test://?width=160&height=120&fps=10&bitrate=100\"\n"
        );
        let daemon = Daemon::run(folder.path(), &configuration, 1);
        let line = PublicKey::parse(&daemon.npub("door")).unwrap();
        Self { daemon, line, calls: 0, _folder: folder }
    }

    /// A whole call, from the offer to the hang-up, as the gateway sees it too.
    async fn call(&mut self, party: &mut Party, dialect: Dialect) {
        let caller = self.connect(party, dialect).await;
        self.hang_up(caller).await;
    }

    /// A call in which the caller sees the picture.
    async fn connect(&mut self, party: &mut Party, dialect: Dialect) -> Caller {
        let mut caller = Caller::start(watcher()).await;
        self.calls += 1;
        let session = format!("{dialect}-{}", self.calls);
        let offer = Body::Offer(Offer::new(caller.offer.clone(), now(), 60));
        let offer = Outgoing { dialect, ..outgoing(party.public(), self.line, &session, offer) };
        // Not every relay says that it took it.
        drop(party.signaling.publish(offer).unwrap());
        let (envelope, answer) = party.answer().await;
        assert_eq!((envelope.dialect, envelope.session.as_str()), (dialect, session.as_str()));
        caller.take(&answer.sdp).await;
        caller.is(CallerEvent::FirstFrame).await;
        caller
    }

    async fn hang_up(&self, caller: Caller) {
        caller.end().await;
        for ended in self.daemon.logged_times(self.calls, |record| field(record, "message") == "call ended") {
            // The caller's goodbye is one datagram, which may be lost.
            assert!(matches!(field(&ended, "reason"), "caller_left" | "caller_gone"), "{ended}");
        }
    }

    /// Calls rang: each offer once, however often it came.
    fn rang(&self, times: usize) {
        assert_eq!(self.daemon.written().matches("\"call offered\"").count(), times);
    }

    /// Waits until the API shows a relay, by its place in the configuration, as `wanted`.
    async fn relay(&self, place: usize, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let (web, host) = (self.daemon.web(), self.daemon.web().to_string());
        soon(async {
            loop {
                let told = http::request(web, "GET", "/api/relays", &[("host", &host)], "").await.unwrap().json();
                if wanted(&told["relays"][place]) {
                    return told["relays"][place].clone();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
    }
}

/// One plain call and one wrapped call.
async fn carries(behaviour: Behaviour) {
    eprintln!("{behaviour:?}");
    let relay = TestRelay::start(behaviour).await;
    let mut gate = Gate::on(&[&relay]);
    let mut party = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(2)).await;
    gate.call(&mut party, Dialect::Plain).await;
    gate.call(&mut party, Dialect::Wrapped).await;
    gate.rang(2);
}

/// Calls the line as `callgate call` does: how that ends.
async fn dialled(relay: &TestRelay, line: PublicKey, rings: Duration) -> DialEnd {
    let settings = DialSettings {
        keys: Keys::generate(),
        to: line,
        relays: vec![relay.url()],
        cipher: Cipher::Nip44,
        dialect: None,
        rings,
        shared: Vec::new(),
        media: CallerSettings { video: true, audio: true, ..watcher() },
    };
    let (_dialled, mut events) = dial(settings).await.unwrap();
    soon(async {
        loop {
            if let DialEvent::Ended { why, .. } = events.recv().await.expect("its last event is Ended") {
                return why;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_through_relays_that_lose_what_is_replaced_and_say_it_or_not() {
    carries(Behaviour::Honest).await;
    carries(Behaviour::StrfryLike).await;
    carries(Behaviour::SaysNoOk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_through_relays_that_want_authentication() {
    carries(Behaviour::WantsAuth).await;
    carries(Behaviour::WantsAuthOfOne).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_through_relays_that_hand_on_too_much() {
    carries(Behaviour::StoresEphemeral).await;
    carries(Behaviour::Replays).await;
    carries(Behaviour::ForgesCopies).await;
    carries(Behaviour::IgnoresTags).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_through_a_relay_that_hangs_up_after_each_event() {
    // One call each: a wrapped offer is heard by whoever is connected at that moment, and by nobody else.
    for dialect in [Dialect::Plain, Dialect::Wrapped] {
        let relay = TestRelay::start(Behaviour::HangsUp).await;
        let mut gate = Gate::on(&[&relay]);
        let mut party = Party::new(&[relay.url()]).await;
        soon(relay.subscriptions(2)).await;
        gate.call(&mut party, dialect).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_through_a_relay_that_takes_two_seconds() {
    carries(Behaviour::Slow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_serves_again_after_a_reconnect_does_not_ring_again() {
    for behaviour in [Behaviour::Replays, Behaviour::StoresEphemeral] {
        let relay = TestRelay::start(behaviour).await;
        let mut gate = Gate::on(&[&relay]);
        let mut party = Party::new(&[relay.url()]).await;
        soon(relay.subscriptions(2)).await;
        gate.call(&mut party, Dialect::Plain).await;
        gate.call(&mut party, Dialect::Wrapped).await;

        relay.disconnect_clients();
        gate.daemon.logged(|record| field(record, "message") == "event dropped" && field(record, "why") == "duplicate");
        gate.call(&mut party, Dialect::Wrapped).await;
        gate.rang(3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_goes_away_in_the_middle_of_a_call_takes_nothing_with_it() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut gate = Gate::on(&[&relay]);
    for dialect in [Dialect::Plain, Dialect::Wrapped] {
        let mut party = Party::new(&[relay.url()]).await;
        soon(relay.subscriptions(2)).await;
        let mut caller = gate.connect(&mut party, dialect).await;

        relay.stop().await;
        gate.relay(0, |relay| relay["health"] == "away").await;
        let mut seen = None;
        caller
            .wait("the picture goes on", |event| match event {
                CallerEvent::Stats(stats) => {
                    let frames = stats.video.frames;
                    let more = seen.is_some_and(|seen| frames > seen);
                    seen = Some(frames);
                    more.then_some(())
                }
                _ => None,
            })
            .await;

        // The hang-up needs no relay.
        gate.hang_up(caller).await;
        relay.restart().await;
        gate.relay(0, |relay| relay["health"] == "good").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_first_event_stays_for_ever_a_second_plain_call_is_not_answered_and_wrapped_ones_are() {
    let relay = TestRelay::start(Behaviour::KeepsFirst).await;
    let mut gate = Gate::on(&[&relay]);
    let mut party = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(2)).await;
    gate.call(&mut party, Dialect::Plain).await;
    gate.call(&mut party, Dialect::Wrapped).await;
    gate.call(&mut party, Dialect::Wrapped).await;

    // Whoever calls for the first time is heard, but the line's answer is a duplicate for this relay, however it is signed.
    let mut other = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(3)).await;
    let caller = Caller::start(watcher()).await;
    let offer = Body::Offer(Offer::new(caller.offer.clone(), now(), 60));
    other.publish(gate.line, "second", offer).await;
    let lost = gate.daemon.logged(|record| field(record, "message") == "no relay took it");
    assert_eq!((field(&lost, "what"), field(&lost, "error")), ("call_answer", "no relay took the event (duplicate)"));
    let shown = gate.relay(0, |relay| relay["health"] == "refusing").await;
    assert_eq!(shown["error"], "it refuses events: duplicate");
    assert!(shown["verdicts"]["duplicate"].as_u64().unwrap() >= 3, "{shown}");
    assert!(other.incoming.try_recv().is_err());
    caller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_gets_through_there_is_no_answer_and_the_gateway_says_what_it_saw() {
    // Nothing arrives: nobody but the caller can know.
    let relay = TestRelay::start(Behaviour::Swallows).await;
    let gate = Gate::on(&[&relay]);
    soon(relay.subscriptions(1)).await;
    assert_eq!(dialled(&relay, gate.line, Duration::from_secs(3)).await, DialEnd::NoAnswer);
    gate.rang(0);

    // What arrives is not what was signed.
    relay.behave(Behaviour::Forges);
    assert_eq!(dialled(&relay, gate.line, Duration::from_secs(3)).await, DialEnd::NoAnswer);
    gate.daemon.logged(|record| field(record, "why") == "bad_signature");
    gate.rang(0);

    // And one that takes nothing from the caller.
    relay.behave(Behaviour::Refuses);
    assert_eq!(dialled(&relay, gate.line, Duration::from_secs(30)).await, DialEnd::NotSent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_swallows_or_is_dead_keeps_no_other_from_carrying_and_is_shown() {
    // Given a relay that says no OK, one that is dead, and a good one that the caller is on
    let (silent, dead, good) = (
        TestRelay::start(Behaviour::SaysNoOk).await,
        TestRelay::start(Behaviour::Honest).await,
        TestRelay::start(Behaviour::StrfryLike).await,
    );
    dead.stop().await;
    let mut gate = Gate::on(&[&silent, &dead, &good]);
    let mut party = Party::new(&[good.url()]).await;
    soon(async { tokio::join!(silent.subscriptions(1), good.subscriptions(2)) }).await;

    // When there are calls, one after the other
    for _ in 0..4 {
        gate.call(&mut party, Dialect::Plain).await;
    }

    // Then both are shown as what they are
    let shown = gate.relay(0, |relay| relay["health"] == "silent").await;
    assert_eq!((&shown["connected"], &shown["error"]), (&true.into(), &"it says no OK to events".into()));
    let shown = gate.relay(1, |relay| relay["health"] == "away").await;
    assert_eq!((&shown["connected"], &shown["error"]), (&false.into(), &"connect".into()));
    let shown = gate.relay(2, |relay| relay["health"] == "good").await;
    assert!(shown["verdicts"]["accepted"].as_u64().unwrap() >= 4 && shown.get("error").is_none(), "{shown}");
}
