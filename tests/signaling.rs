//! Signaling against relays of our own: what comes in is checked, survives restarts, and needs one living relay.
#![cfg(feature = "daemon")]

#[path = "support/relay.rs"]
mod relay;
#[path = "support/signaling.rs"]
mod support;

use std::sync::Arc;

use callgate::sdp::CallerServers;
use callgate::signaling::memory::Forgetful;
use callgate::signaling::{Dropped, Settings, StartError};
use nostr::{Keys, RelayUrl};
use nostr_relay_builder::LocalRelay;
use nostr_relay_builder::builder::{RelayBuilder, RelayBuilderNip42, RelayBuilderNip42Mode};
use serde_json::json;
use tokio::net::TcpListener;

use relay::{Behaviour, TestRelay};
use support::{Party, end, now, offer, outgoing, sealed, soon};

#[tokio::test]
async fn an_event_that_comes_from_two_relays_is_taken_once() {
    let (first, second) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::Honest).await);
    let mut line = Party::new(&[first.url(), second.url()]).await;
    let caller = Keys::generate();
    soon(async { tokio::join!(first.subscriptions(1), second.subscriptions(1)) }).await;

    let event = sealed(&caller, &outgoing(caller.public_key(), line.public(), "s", offer()), now());
    first.store(&event);
    second.store(&event);
    let taken = line.next().await;
    line.dropped(Dropped::Duplicate, 1).await;

    assert_eq!(taken.event.id, event.id);
    assert_eq!(line.signaling.counters().borrow().taken, 1);
    first.republish(&event);
    line.dropped(Dropped::Duplicate, 2).await;
}

#[tokio::test]
async fn what_is_published_to_two_relays_by_an_idle_lane_is_one_event() {
    let (first, second) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::Honest).await);
    let mut line = Party::new(&[first.url(), second.url()]).await;
    let caller = Party::new(&[first.url(), second.url()]).await;
    soon(async { tokio::join!(first.subscriptions(2), second.subscriptions(2)) }).await;

    caller.publish(line.public(), "s", offer()).await;
    line.next().await;
    line.dropped(Dropped::Duplicate, 1).await;

    assert_eq!(first.accepted()[0].id, second.accepted()[0].id);
}

#[tokio::test]
async fn what_a_relay_should_not_have_sent_is_dropped_and_counted() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Party::new(&[relay.url()]).await;
    let caller = Keys::generate();
    soon(relay.subscriptions(1)).await;
    let good = outgoing(caller.public_key(), line.public(), "s", offer());

    // Another's content under a good signature's event.
    let mut tampered = json!(sealed(&caller, &good, now()));
    tampered["content"] = json!(sealed(&caller, &good, now()).content);
    relay.inject(&tampered);
    line.dropped(Dropped::BadSignature, 1).await;

    // A forged copy that comes first does not block the true event.
    let event = sealed(&caller, &good, now());
    let mut forged = json!(event);
    forged["sig"] = json!("0".repeat(128));
    relay.inject(&forged);
    line.dropped(Dropped::BadSignature, 2).await;
    relay.inject(&json!(event));
    assert_eq!(line.next().await.event.id, event.id);

    // For another key: this relay ignores the filter.
    let stranger = outgoing(caller.public_key(), Keys::generate().public_key(), "s", offer());
    relay.inject(&json!(sealed(&caller, &stranger, now())));
    line.dropped(Dropped::NotForUs, 1).await;

    // An expired offer is a call that was missed, which the gateway wants to know; anything else is of no use any more.
    let mut late = outgoing(caller.public_key(), line.public(), "s", end());
    late.expiration = now() - 1;
    relay.inject(&json!(sealed(&caller, &late, now() - 10)));
    line.dropped(Dropped::Expired, 1).await;

    let own = outgoing(line.public(), line.public(), "s", offer());
    relay.inject(&json!(sealed(&line.keys, &own, now())));
    line.dropped(Dropped::Own, 1).await;

    relay.inject(&json!({"kind": 14300, "content": "x".repeat(200_000)}));
    line.dropped(Dropped::Reject("oversized"), 1).await;
    relay.inject(&json!({"kind": 14300}));
    line.dropped(Dropped::Malformed, 1).await;

    let tags = [nostr::Tag::public_key(line.public())];
    let bare = nostr::EventBuilder::new(nostr::Kind::from(14300), "").tags(tags).sign_with_keys(&caller).unwrap();
    relay.inject(&json!(bare));
    line.dropped(Dropped::Reject("tag"), 1).await;

    assert_eq!(line.signaling.counters().borrow().taken, 1);
}

#[tokio::test]
async fn an_event_seen_before_a_restart_is_not_taken_after_it() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let (keys, memory) = (Keys::generate(), Arc::new(Forgetful::default()));
    let caller = Keys::generate();
    let mut line = Party::with(keys.clone(), &[relay.url()], memory.clone()).await;
    soon(relay.subscriptions(1)).await;
    let event = sealed(&caller, &outgoing(caller.public_key(), line.public(), "s", offer()), now());
    relay.store(&event);
    line.next().await;

    line.signaling.shut_down();
    assert!(soon(line.incoming.recv()).await.is_none());
    let line = Party::with(keys, &[relay.url()], memory).await;

    line.dropped(Dropped::Duplicate, 1).await;
    assert_eq!(line.signaling.counters().borrow().taken, 0);
}

#[tokio::test]
async fn after_a_relay_comes_back_its_events_come_again_those_of_meanwhile_included() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Party::new(&[relay.url()]).await;
    let (early, late) = (Keys::generate(), Keys::generate());
    soon(relay.subscriptions(1)).await;

    soon(relay.stop()).await;
    let missed = sealed(&early, &outgoing(early.public_key(), line.public(), "missed", offer()), now());
    relay.store(&missed);
    soon(relay.restart()).await;
    assert_eq!(line.next().await.event.id, missed.id);

    soon(relay.subscriptions(1)).await;
    let live = sealed(&late, &outgoing(late.public_key(), line.public(), "live", offer()), now());
    relay.store(&live);
    assert_eq!(line.next().await.event.id, live.id);

    relay.disconnect_clients();
    let again = sealed(&early, &outgoing(early.public_key(), line.public(), "again", end()), now());
    relay.store(&again);
    assert_eq!(line.next().await.event.id, again.id);
}

#[tokio::test]
async fn a_subscription_that_the_relay_closed_is_made_again() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Party::new(&[relay.url()]).await;
    let caller = Keys::generate();
    soon(relay.subscriptions(1)).await;

    relay.close_subscriptions("error: shutting down idle subscriptions");
    soon(relay.subscriptions(1)).await;

    let event = sealed(&caller, &outgoing(caller.public_key(), line.public(), "s", offer()), now());
    relay.store(&event);
    assert_eq!(line.next().await.event.id, event.id);
}

#[tokio::test]
async fn dead_relays_do_not_keep_a_living_one_from_its_work() {
    // One refuses connections, one takes them and never says a word.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = RelayUrl::parse(&format!("ws://{}", free.local_addr().unwrap())).unwrap();
    drop(free);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = RelayUrl::parse(&format!("ws://{}", silent.local_addr().unwrap())).unwrap();
    let living = TestRelay::start(Behaviour::Honest).await;
    let relays = [refusing, mute, living.url()];
    let mut line = Party::new(&relays).await;
    let caller = Party::new(&relays).await;
    soon(living.subscriptions(2)).await;

    assert_eq!(caller.publish(line.public(), "s", offer()).await, living.url());
    assert_eq!(line.next().await.relay, living.url());

    let mut relays = line.signaling.relays();
    let all = soon(relays.wait_for(|all| all[0].dial_error.is_some())).await.unwrap().clone();
    assert_eq!(all[0].dial_error, Some("connect"));
    assert!(!all[0].connected && !all[1].connected && all[2].connected);
}

#[tokio::test]
async fn a_relay_that_asks_for_authentication_gets_it() {
    let relay = LocalRelay::new(RelayBuilder::default().nip42(RelayBuilderNip42 { mode: RelayBuilderNip42Mode::Both }));
    relay.run().await.unwrap();
    let relays = [relay.url().await];
    let mut line = Party::new(&relays).await;
    let caller = Party::new(&relays).await;

    caller.publish(line.public(), "s", offer()).await;

    assert_eq!(line.next().await.envelope.from, caller.public());
}

#[tokio::test]
async fn signaling_needs_a_relay_and_a_key() {
    let memory = Arc::new(Forgetful::default());
    let none =
        Settings { relays: vec![], keys: vec![Keys::generate()], visits: CallerServers::Never, memory: memory.clone() };
    assert!(matches!(callgate::signaling::start(none).await, Err(StartError::NoRelay)));
    let url = RelayUrl::parse("ws://127.0.0.1:1").unwrap();
    let keyless = Settings { relays: vec![url], keys: vec![], visits: CallerServers::Never, memory };
    assert!(matches!(callgate::signaling::start(keyless).await, Err(StartError::NoKey)));
}
