//! The outbox: everything published arrives, through relays that drop replaced events; what relays say is understood.
#![cfg(feature = "daemon")]

#[path = "support/relay.rs"]
mod relay;
#[path = "support/signaling.rs"]
mod support;

use std::sync::Arc;

use callgate::protocol::{Body, IceCandidate, SignalKind, open};
use callgate::signaling::memory::Forgetful;
use callgate::signaling::{Memory, PublishError, Refusal, Verdict};
use futures::{SinkExt, StreamExt};
use nostr::{Event, Keys, RelayUrl};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use relay::{Behaviour, TestRelay};
use support::{Party, answer, end, now, offer, outgoing, sealed, soon};

const ANSWER: u16 = 14301;

fn rising(events: &[Event]) -> bool {
    events.windows(2).all(|pair| pair[0].created_at < pair[1].created_at)
}

#[tokio::test]
async fn ten_answers_of_one_line_in_one_second_all_arrive_through_a_relay_that_drops_replaced_events() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let line = Party::new(&[relay.url()]).await;
    let mut callers = Vec::new();
    for _ in 0..10 {
        callers.push(Party::new(&[relay.url()]).await);
    }
    soon(relay.subscriptions(11)).await;

    let deliveries: Vec<_> = callers
        .iter()
        .map(|caller| line.signaling.publish(outgoing(line.public(), caller.public(), "s", answer())).unwrap())
        .collect();

    for caller in &mut callers {
        let incoming = caller.next().await;
        assert_eq!(incoming.envelope.kind, SignalKind::Answer);
        assert_eq!(incoming.envelope.from, line.public());
        let signal = open(incoming.envelope, &incoming.event, &caller.keys).unwrap();
        assert_eq!(signal.body.kind(), SignalKind::Answer);
    }
    for delivery in deliveries {
        assert_eq!(soon(delivery.outcome()).await, Ok(relay.url()));
    }
    assert_eq!(relay.count(ANSWER), 10);
    assert!(rising(&relay.accepted()));
}

#[tokio::test]
async fn the_relay_of_these_tests_drops_what_is_sent_without_pacing() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let (line, caller) = (Keys::generate(), Keys::generate());
    let (mut socket, _) = tokio_tungstenite::connect_async(relay.url().as_str()).await.unwrap();
    let request = json!(["REQ", "s", {"kinds": [ANSWER], "#p": [caller.public_key().to_hex()]}]);
    socket.send(Message::text(request.to_string())).await.unwrap();
    for n in 0..10 {
        let event = sealed(&line, &outgoing(line.public_key(), caller.public_key(), "s", answer()), now() + n);
        socket.send(Message::text(json!(["EVENT", event]).to_string())).await.unwrap();
    }

    let (mut accepted, mut last) = (0, Value::Null);
    let first = loop {
        let said = soon(socket.next()).await.unwrap().unwrap();
        let message: Value = serde_json::from_str(said.to_text().unwrap()).unwrap();
        match message[0].as_str() {
            Some("OK") if message[2] == json!(true) => (accepted, last) = (accepted + 1, message[1].clone()),
            Some("EVENT") => break message[2].clone(),
            _ => {}
        }
    };

    assert_eq!(accepted, 10, "it said OK to each");
    assert_eq!(first["id"], last, "and the first that it hands on is the last one");
}

#[tokio::test]
async fn answers_and_ends_and_different_lines_do_not_wait_for_each_other() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut caller = Party::new(&[relay.url()]).await;
    let (one, other) = (Party::new(&[relay.url()]).await, Party::new(&[relay.url()]).await);
    soon(relay.subscriptions(3)).await;

    for body in [answer(), answer(), answer(), end()] {
        one.signaling.publish(outgoing(one.public(), caller.public(), "s", body)).unwrap();
    }
    other.signaling.publish(outgoing(other.public(), caller.public(), "s", answer())).unwrap();
    let mut order = Vec::new();
    for _ in 0..5 {
        let incoming = caller.next().await;
        order.push((incoming.envelope.from, incoming.envelope.kind));
    }

    let last = order.pop().unwrap();
    assert_eq!(last, (one.public(), SignalKind::Answer), "the busy lane alone waits for its pace");
    assert!(order[..3].contains(&(one.public(), SignalKind::End)));
    assert!(order[..3].contains(&(other.public(), SignalKind::Answer)));
}

#[tokio::test]
async fn stamps_rise_across_a_restart() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let (keys, memory) = (Keys::generate(), Arc::new(Forgetful::default()));
    let caller = Keys::generate().public_key();
    let line = Party::with(keys.clone(), &[relay.url()], memory.clone()).await;
    let deliveries: Vec<_> =
        (0..5).map(|_| line.signaling.publish(outgoing(line.public(), caller, "s", answer())).unwrap()).collect();
    for delivery in deliveries {
        soon(delivery.outcome()).await.unwrap();
    }
    let remembered = memory.clock(&line.public(), SignalKind::Answer, &relay.url()).unwrap();
    assert_eq!(remembered, relay.accepted()[4].created_at.as_secs());
    line.signaling.shut_down();

    let line = Party::with(keys, &[relay.url()], memory).await;
    line.publish(caller, "s", answer()).await;

    assert_eq!(relay.count(ANSWER), 6, "none was refused as replaced");
    assert!(rising(&relay.accepted()));
}

#[tokio::test]
async fn what_a_relay_did_not_keep_is_signed_anew() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let line = Party::new(&[relay.url()]).await;
    let caller = Keys::generate().public_key();

    // Said of a fresh event, `true "duplicate:"` means that it was dropped.
    relay.answer_next(true, "duplicate: have it");
    relay.refuse_next("error: unknown");
    line.publish(caller, "a", answer()).await;
    relay.refuse_next("rate-limited: slow down");
    line.publish(caller, "b", answer()).await;

    assert_eq!(relay.count(ANSWER), 2);
    let status = line.signaling.relays().borrow()[0].clone();
    assert_eq!((status.published, status.accepted, status.rejected), (5, 2, 0));
}

#[tokio::test]
async fn another_device_with_the_same_key_is_overtaken() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let line = Party::new(&[relay.url()]).await;
    let caller = Keys::generate().public_key();
    let foreign = sealed(&line.keys, &outgoing(line.public(), caller, "theirs", answer()), now() + 8);
    relay.store(&foreign);

    line.publish(caller, "ours", answer()).await;

    let stored = relay.stored();
    assert_eq!(stored.len(), 1);
    assert!(stored[0].created_at > foreign.created_at);
}

#[tokio::test]
async fn a_refusal_by_every_relay_is_reported_with_its_class() {
    let (first, second) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::Honest).await);
    let line = Party::new(&[first.url(), second.url()]).await;
    let caller = Keys::generate().public_key();
    first.refuse_next("blocked: not on the list");
    second.refuse_next("pow: 28 bits needed");

    let delivery = line.signaling.publish(outgoing(line.public(), caller, "s", answer())).unwrap();
    let undelivered = soon(delivery.outcome()).await.unwrap_err();

    let verdict = |url: RelayUrl| undelivered.verdicts.iter().find(|(relay, _)| *relay == url).unwrap().1;
    assert_eq!(verdict(first.url()), Verdict::Rejected(Refusal::Blocked));
    assert_eq!(verdict(second.url()), Verdict::Rejected(Refusal::Pow));
    let relays = line.signaling.relays();
    let mut relays = relays.clone();
    soon(relays.wait_for(|all| all.iter().all(|relay| relay.rejected == 1))).await.unwrap();
    assert_eq!(relays.borrow()[0].last_refusal, Some(Verdict::Rejected(Refusal::Blocked)));
}

#[tokio::test]
async fn an_expired_event_is_not_sent_and_reported() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let line = Party::new(&[relay.url()]).await;
    let mut late = outgoing(line.public(), Keys::generate().public_key(), "s", answer());
    late.expiration = now() - 1;

    let undelivered = soon(line.signaling.publish(late).unwrap().outcome()).await.unwrap_err();

    assert_eq!(undelivered.verdicts, [(relay.url(), Verdict::Expired)]);
    assert_eq!(relay.count(ANSWER), 0);
}

#[tokio::test]
async fn a_publish_waits_for_a_relay_that_is_coming_back_and_ends_with_signaling() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let line = Party::new(&[relay.url()]).await;
    let caller = Keys::generate().public_key();
    soon(line.signaling.connected()).await;
    soon(relay.stop()).await;
    let mut relays = line.signaling.relays();
    soon(relays.wait_for(|all| !all[0].connected)).await.unwrap();

    let delivery = line.signaling.publish(outgoing(line.public(), caller, "s", answer())).unwrap();
    soon(relay.restart()).await;
    assert_eq!(soon(delivery.outcome()).await, Ok(relay.url()));

    soon(relay.stop()).await;
    soon(relays.wait_for(|all| !all[0].connected)).await.unwrap();
    let delivery = line.signaling.publish(outgoing(line.public(), caller, "s", answer())).unwrap();
    line.signaling.shut_down();
    let undelivered = soon(delivery.outcome()).await.unwrap_err();
    assert_eq!(undelivered.verdicts, [(relay.url(), Verdict::ShutDown)]);
    let refused = line.signaling.publish(outgoing(line.public(), caller, "s", answer()));
    assert_eq!(refused.unwrap_err(), PublishError::ShutDown);
}

#[tokio::test]
async fn a_full_lane_and_a_foreign_author_are_refused_at_once() {
    let nowhere = RelayUrl::parse("ws://127.0.0.1:1").unwrap();
    let line = Party::new(&[nowhere]).await;
    let caller = Keys::generate().public_key();
    let publish = || line.signaling.publish(outgoing(line.public(), caller, "s", answer()));

    let refused = (0..100).find_map(|_| publish().err());
    assert_eq!(refused, Some(PublishError::QueueFull));

    let foreign = outgoing(caller, line.public(), "s", offer());
    assert_eq!(line.signaling.publish(foreign).unwrap_err(), PublishError::ForeignAuthor);
}

#[tokio::test]
async fn what_is_said_again_waits_for_what_is_said_for_the_first_time() {
    // Given a relay that is away, and a lane with repeats in it
    let relay = TestRelay::start(Behaviour::Honest).await;
    relay.stop().await;
    let line = Party::new(&[relay.url()]).await;
    let caller = Keys::generate().public_key();
    let said = |session: &str| outgoing(line.public(), caller, session, answer());
    let mut deliveries = Vec::new();
    for session in ["again-0", "again-1", "again-2"] {
        deliveries.push(line.signaling.publish_again(said(session), &[]).unwrap());
    }
    // The lane takes up the one that was there when it began.
    tokio::task::yield_now().await;
    for session in ["first-0", "first-1", "first-2"] {
        deliveries.push(line.signaling.publish(said(session)).unwrap());
    }

    // When it is back
    relay.restart().await;
    for delivery in deliveries {
        soon(delivery.outcome()).await.unwrap();
    }

    // Then every first one went before the repeats that waited
    let session = |event: &nostr::Event| {
        let tag = event.tags.iter().map(|tag| tag.as_slice()).find(|tag| tag[0] == "session_id").unwrap();
        tag[1].clone()
    };
    let mut order: Vec<String> = relay.accepted().iter().map(session).collect();
    if order[0] == "again-0" {
        order.remove(0);
        order.insert(3, "again-0".into());
    }
    assert_eq!(order, ["first-0", "first-1", "first-2", "again-0", "again-1", "again-2"]);
}

#[tokio::test]
async fn what_is_left_of_a_call_is_taken_back_and_no_other_call_is_touched() {
    let (first, second) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::WantsAuth).await);
    let line = Party::new(&[first.url(), second.url()]).await;
    soon(async { tokio::join!(first.subscriptions(1), second.subscriptions(1)) }).await;
    let caller = Keys::generate().public_key();
    for (session, body) in [("over", answer()), ("over", end()), ("on", candidate())] {
        line.signaling.publish(outgoing(line.public(), caller, session, body)).unwrap();
    }
    for kind in [14301, 14302, 14303] {
        soon(async { tokio::join!(first.counted(kind, 1), second.counted(kind, 1)) }).await;
    }

    line.signaling.purge(&line.public(), "over".parse().unwrap());
    soon(async { tokio::join!(first.counted(5, 1), second.counted(5, 1)) }).await;

    for relay in [first, second] {
        let kept: Vec<u16> = relay.stored().iter().map(|event| event.kind.as_u16()).collect();
        assert_eq!(kept, [14302, 5]);
        let deletion = relay.stored().pop().unwrap();
        assert!(deletion.tags.expiration().is_some() && deletion.tags.public_keys().next().is_none());
    }
}

fn candidate() -> Body {
    Body::Candidate(IceCandidate {
        candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
        sdp_mid: Some("0".into()),
        sdp_mline_index: Some(0),
        timestamp: now(),
    })
}
