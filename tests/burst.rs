//! Many callers at once, through a relay that tells its live subscribers only the last of events that replace each other.
#![cfg(feature = "daemon")]

mod support {
    pub mod burst;
    #[allow(dead_code)]
    pub mod calls;
    pub mod daemon;
    pub mod relay;
    pub mod signaling;
}

use callgate::media::caller::CallerEvent;
use callgate::protocol::{Body, Dialect, Offer};
use futures::future::join_all;
use nostr::PublicKey;
use support::burst::offered_at_once;
use support::calls::{Caller, watcher};
use support::daemon::{Daemon, field};
use support::relay::{Behaviour, TestRelay};
use support::signaling::{Party, now, outgoing, sealed, soon};

const CALLERS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn ten_callers_who_offer_in_the_same_second_are_all_answered_and_see_the_picture() {
    // Given a line, and ten callers who have their offers ready
    let (relay, _folder, daemon, line) = line().await;
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push((Party::new(&[relay.url()]).await, Caller::start(watcher()).await));
    }
    soon(relay.subscriptions(CALLERS + 1)).await;

    // When all of them offer at once
    let second = now();
    for (n, (party, caller)) in callers.iter().enumerate() {
        let offer = Offer::new(caller.offer.clone(), second, 60);
        let offering = outgoing(party.public(), line, &format!("caller-{n}"), Body::Offer(offer));
        assert_eq!(relay.submit(&sealed(&party.keys, &offering, second)), (true, String::new()));
    }

    // Then each hears its own answer, on its own subscription, takes it at once, and sees the picture.
    let calls = callers.into_iter().enumerate().map(|(n, (mut party, mut caller))| async move {
        let (envelope, answer) = party.answer().await;
        assert_eq!((envelope.from, envelope.session.to_string()), (line, format!("caller-{n}")));
        assert!(answer.accepted);
        caller.take(&answer.sdp).await;
        caller.is(CallerEvent::Connected).await;
        caller.is(CallerEvent::FirstFrame).await;
        caller
    });
    let callers = join_all(calls).await;
    let answers: Vec<_> = relay.accepted().into_iter().filter(|event| event.pubkey == line).collect();
    assert!(answers.windows(2).all(|pair| pair[0].created_at < pair[1].created_at));

    // And each can hang up.
    join_all(callers.into_iter().map(Caller::end)).await;
    let ended = |record: &serde_json::Value| field(record, "message") == "call ended";
    for record in daemon.logged_times(CALLERS, ended) {
        assert_eq!(field(&record, "reason"), "caller_left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_relay_took_and_lost_is_sent_again_until_the_caller_begins_to_connect() {
    let (relay, _folder, daemon, line) = line().await;
    let (mut party, mut caller) = (Party::new(&[relay.url()]).await, Caller::start(watcher()).await);
    soon(relay.subscriptions(2)).await;

    // Given a relay that says `OK` to the next events, and forgets them
    relay.answer_next(true, "");
    relay.answer_next(true, "");
    let offer = Offer::new(caller.offer.clone(), now(), 60);
    relay.store(&sealed(&party.keys, &outgoing(party.public(), line, "lost", Body::Offer(offer)), now()));

    let (_, answer) = party.answer().await;
    assert!(answer.accepted);
    caller.take(&answer.sdp).await;
    caller.is(CallerEvent::FirstFrame).await;
    caller.end().await;
    daemon.logged(|record| field(record, "message") == "call ended" && field(record, "reason") == "caller_left");
}

/// A daemon with a line of a small picture, and a relay that both are on.
async fn line() -> (TestRelay, tempfile::TempDir, Daemon, PublicKey) {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!(
        "data_dir = \"data\"\nnostr.relays = [\"{}\"]\nice.bind = [\"127.0.0.1\"]\n[[line]]\nname = \"door\"\n\
         play = \"test://?width=160&height=120&fps=10&bitrate=100\"\nallow = [\"*\"]\n",
        relay.url()
    );
    let daemon = Daemon::run(folder.path(), &configuration, 1);
    let line = PublicKey::parse(&daemon.npub("door")).unwrap();
    (relay, folder, daemon, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_callers_who_offer_in_the_same_second_are_all_answered() {
    let (relay, _folder, _daemon, line) = line().await;
    offered_at_once(&relay.url(), line, 30, Dialect::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_callers_who_offer_wrapped_in_the_same_second_are_all_answered() {
    let (relay, _folder, _daemon, line) = line().await;
    offered_at_once(&relay.url(), line, 30, Dialect::Wrapped).await;
}
