//! `callgate call`'s own code against a real daemon: it calls wrapped, falls back to plain when nothing comes of that, and whatever
//! the relay loses, one call is made of it.
#![cfg(feature = "daemon")]

mod support {
    #[allow(dead_code)]
    pub mod calls;
    pub mod daemon;
    pub mod relay;
    #[allow(dead_code)]
    pub mod run;
    pub mod signaling;
}

use std::time::Duration;

use callgate::gateway::{DialEnd, DialEvent, DialSettings, Dialled, dial};
use callgate::media::caller::CallerEvent;
use callgate::protocol::{Body, Cipher, Dialect, Offer, Outgoing, WRAP_KIND};
use nostr::{Keys, PublicKey};
use serde_json::json;
use support::calls::{Caller, watcher};
use support::daemon::{Daemon, field};
use support::relay::{Behaviour, TestRelay};
use support::run;
use support::signaling::{Party, now, outgoing, sealed, soon};
use tempfile::TempDir;
use tokio::sync::mpsc;

const OFFER: u16 = 14300;
const END: u16 = 14303;

/// A daemon with a line that anyone may call.
struct House {
    _folder: TempDir,
    daemon: Daemon,
    line: PublicKey,
}

impl House {
    async fn run(relay: &TestRelay) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, lines) = run::run(folder.path(), &relay.url(), 1);
        soon(relay.subscriptions(1)).await;
        Self { _folder: folder, daemon, line: lines[0] }
    }

    /// Waits for the end of the one call that there was.
    fn had_one_call(&self) {
        let ended = self.daemon.logged(|record| field(record, "message") == "call ended");
        assert_eq!(field(&ended, "reason"), "caller_left");
        assert_eq!(self.daemon.written().matches("\"call offered\"").count(), 1);
    }
}

/// A call, and what is told of it.
struct Calling {
    dialled: Dialled,
    events: mpsc::Receiver<DialEvent>,
    told: Vec<DialEvent>,
}

impl Calling {
    async fn start(line: PublicKey, relay: &TestRelay, dialect: Option<Dialect>) -> Self {
        let settings = DialSettings {
            keys: Keys::generate(),
            to: line,
            relays: vec![relay.url()],
            cipher: Cipher::Nip44,
            dialect,
            rings: Duration::from_secs(60),
            shared: Vec::new(),
            media: watcher(),
        };
        let (dialled, events) = dial(settings).await.unwrap();
        Self { dialled, events, told: Vec::new() }
    }

    async fn until(&mut self, wanted: impl Fn(&DialEvent) -> bool) {
        loop {
            let event = soon(self.events.recv()).await.expect("its last event is Ended");
            let found = wanted(&event);
            self.told.push(event);
            if found {
                return;
            }
            let ended = matches!(self.told.last(), Some(DialEvent::Ended { .. }));
            assert!(!ended, "{:?}", self.told);
        }
    }

    /// Waits for the picture, and hangs up; whether it fell back on the way.
    async fn shown(mut self) -> bool {
        self.until(|event| *event == DialEvent::FirstFrame).await;
        self.dialled.hang_up();
        self.until(|event| matches!(event, DialEvent::Ended { why: DialEnd::HungUp, .. })).await;
        self.told.contains(&DialEvent::FellBack)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_wrapped_to_its_end_and_shows_relays_neither_side_of_it_as_an_author() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let house = House::run(&relay).await;

    let fell_back = Calling::start(house.line, &relay, None).await.shown().await;

    assert!(!fell_back);
    house.had_one_call();
    for event in relay.accepted() {
        assert_eq!(event.kind.as_u16(), WRAP_KIND);
        assert_ne!(event.pubkey, house.line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_may_be_plain_from_the_start() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let house = House::run(&relay).await;

    let fell_back = Calling::start(house.line, &relay, Some(Dialect::Plain)).await.shown().await;

    assert!(!fell_back);
    house.had_one_call();
    assert_eq!(relay.count(WRAP_KIND), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_refuses_wraps_gets_the_offer_plain_at_once() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let house = House::run(&relay).await;

    relay.refuse_next("blocked: kind not allowed");
    let fell_back = Calling::start(house.line, &relay, None).await.shown().await;

    assert!(fell_back);
    house.had_one_call();
    assert_eq!((relay.count(WRAP_KIND), relay.count(OFFER), relay.count(END)), (0, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_offer_that_nobody_answers_goes_plain_too_and_the_answer_decides() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let house = House::run(&relay).await;

    // Given a relay that takes every wrap, and hands none on
    relay.lose(WRAP_KIND);
    let fell_back = Calling::start(house.line, &relay, None).await.shown().await;

    // Then the call is plain to its end: wraps would have been lost.
    assert!(fell_back);
    house.had_one_call();
    assert_eq!((relay.count(OFFER), relay.count(END)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_it_wrapped_only_is_told_when_no_relay_takes_it() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let house = House::run(&relay).await;

    relay.refuse_next("blocked: kind not allowed");
    let mut call = Calling::start(house.line, &relay, Some(Dialect::Wrapped)).await;
    call.until(|event| matches!(event, DialEvent::Ended { why: DialEnd::NotSent, .. })).await;

    assert_eq!(relay.accepted(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_whose_wrapped_answer_is_lost_answers_plain_when_the_offer_comes_plain_too() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let house = House::run(&relay).await;
    let (mut party, mut caller) = (Party::new(&[relay.url()]).await, Caller::start(watcher()).await);
    soon(relay.subscriptions(2)).await;
    let offer = Offer::new(caller.offer.clone(), now(), 60);
    let plain = outgoing(party.public(), house.line, "lost", Body::Offer(offer));
    let wrapped = Outgoing { dialect: Dialect::Wrapped, ..plain.clone() };

    // Given a relay that brings the line the wrapped offer, and loses every wrapped answer
    relay.lose(WRAP_KIND);
    relay.inject(&json!(sealed(&party.keys, &wrapped, now())));
    house.daemon.logged(|record| field(record, "message") == "call" && field(record, "state") == "Connecting");

    // When the same offer comes plain
    relay.store(&sealed(&party.keys, &plain, now()));

    // Then it is the same call, and its answer comes plain.
    let (envelope, answer) = party.answer().await;
    assert_eq!((envelope.dialect, envelope.session.as_str()), (Dialect::Plain, "lost"));
    caller.take(&answer.sdp).await;
    caller.is(CallerEvent::FirstFrame).await;
    caller.end().await;
    house.had_one_call();

    // And once it is over, a further copy changes nothing.
    relay.store(&sealed(&party.keys, &plain, now()));
    house.daemon.dropped("ended_session", 1);
}
