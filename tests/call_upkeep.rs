//! `callgate call`'s own code in a call that is up: the line's further offers are answered, and a path that is lost is looked for.
#![cfg(feature = "daemon")]

mod support {
    #[allow(dead_code)]
    pub mod calls;
    #[allow(dead_code)]
    pub mod path;
    pub mod relay;
    pub mod signaling;
}

use std::time::Duration;

use callgate::gateway::{DialEnd, DialEvent, DialSettings, Dialled, dial};
use callgate::media::caller::{AccessUnit, CallerSettings};
use callgate::media::{CallId, Command};
use callgate::protocol::{Answer, Body, Cipher, Dialect, Offer};
use nostr::{Keys, PublicKey};
use support::calls::{Gateway, units, watcher};
use support::path::Path;
use support::relay::{Behaviour, TestRelay};
use support::signaling::{Party, now, soon};
use tokio::sync::mpsc;

const CALL: CallId = CallId(1);

/// A call in progress: a line's key and media in the test's hands, and whoever called it.
struct Call {
    line: Party,
    media: Gateway,
    caller: PublicKey,
    session: String,
    dialled: Dialled,
    told: mpsc::Receiver<DialEvent>,
    pictures: mpsc::Receiver<AccessUnit>,
    _relay: TestRelay,
}

impl Call {
    /// Calls, and waits for the picture; what goes over the network goes over `path`, if there is one.
    async fn live(mut path: Option<&mut Path>) -> Self {
        let relay = TestRelay::start(Behaviour::Honest).await;
        let mut line = Party::new(&[relay.url()]).await;
        soon(relay.subscriptions(1)).await;
        let (units, pictures) = mpsc::channel(4096);
        let settings = DialSettings {
            keys: Keys::generate(),
            to: line.public(),
            relays: vec![relay.url()],
            cipher: Cipher::Nip44,
            dialect: Some(Dialect::Plain),
            rings: Duration::from_secs(60),
            shared: Vec::new(),
            media: CallerSettings { units: Some(units), ..watcher() },
        };
        let (dialled, told) = dial(settings).await.unwrap();
        let offer = line.hear().await;
        let (caller, session) = (offer.envelope.from, offer.envelope.session.to_string());
        let Body::Offer(offer) = offer.body else { panic!("no offer") };
        let offer = path.as_deref_mut().map_or_else(|| offer.sdp.clone(), |path| path.offer(&offer.sdp));
        let mut media = Gateway::start();
        let answer = media.answer(CALL, &offer).await;
        let answer = path.map_or_else(|| answer.clone(), |path| path.answer(&answer));
        line.publish(caller, &session, Body::Answer(Answer::accepting(answer, now()))).await;
        let mut call = Self { line, media, caller, session, dialled, told, pictures, _relay: relay };
        call.until(|event| *event == DialEvent::FirstFrame).await;
        call
    }

    async fn until(&mut self, wanted: impl Fn(&DialEvent) -> bool) -> DialEvent {
        loop {
            let event = soon(self.told.recv()).await.expect("its last event is Ended");
            if wanted(&event) {
                return event;
            }
            assert!(!matches!(event, DialEvent::Ended { .. }), "{event:?}");
        }
    }

    async fn say(&self, body: Body) {
        self.line.publish(self.caller, &self.session, body).await;
    }

    /// Offers in the call, and waits for the answer.
    async fn offer(&mut self, sdp: String) -> Answer {
        self.say(Body::Offer(Offer::new(sdp, now(), 30))).await;
        match self.line.hear().await.body {
            Body::Answer(answer) => answer,
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// Pictures come, of which the last was sent after this was called.
    async fn goes_on(&mut self) {
        while self.pictures.try_recv().is_ok() {}
        units(&mut self.pictures, 40).await;
    }

    async fn over(mut self) {
        self.dialled.hang_up();
        self.until(|event| matches!(event, DialEvent::Ended { why: DialEnd::HungUp, .. })).await;
        assert!(!self.media.close(CALL).await.leaked);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_further_offers_are_answered_and_the_picture_goes_on() {
    let mut call = Call::live(None).await;

    // When the line restarts ICE, then it is answered, and carried out
    call.media.media.send(Command::Restart { call: CALL }).await;
    let offer = call.media.offered(CALL).await;
    let answer = call.offer(offer.clone()).await;
    assert!(answer.accepted);
    call.media.take_answer(CALL, &offer, &answer.sdp).await;
    call.goes_on().await;

    // When it offers what is none, then that is refused, and the call goes on
    assert!(!call.offer("v=0\r\n".to_owned()).await.accepted);
    call.goes_on().await;
    call.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_lost_is_looked_for() {
    // Given a call over a network
    let mut path = Path::new().await;
    let mut call = Call::live(Some(&mut path)).await;

    // When nothing gets through any more, then an ICE restart is offered
    path.cut();
    call.until(|event| *event == DialEvent::PathLost).await;
    let Body::Offer(offer) = call.line.hear().await.body else { panic!("no offer") };

    // And when the line answers it, from where it is now, then there is a path again
    let answer = call.media.answer_again(CALL, &offer.sdp).await;
    call.say(Body::Answer(Answer::accepting(answer, now()))).await;
    call.until(|event| *event == DialEvent::PathFound).await;
    call.goes_on().await;
    call.over().await;
}
