//! Events inside kind 21059: all of a burst arrive, whatever the relay does to replaceable ones; they are checked as those that come by
//! themselves, and nobody's decryption is endless.
#![cfg(feature = "daemon")]

#[path = "support/relay.rs"]
mod relay;
#[path = "support/signaling.rs"]
mod support;

use callgate::protocol::{self, Dialect, Outgoing, SignalKind, WRAP_KIND};
use callgate::signaling::Dropped;
use nostr::nips::nip44;
use nostr::{Event, EventBuilder, JsonUtil as _, Keys, Kind, PublicKey, Tag, Timestamp};
use serde_json::json;

use relay::{Behaviour, TestRelay};
use support::{Party, answer, end, now, offer, outgoing, sealed, soon};

fn wrapped(outgoing: Outgoing) -> Outgoing {
    Outgoing { dialect: Dialect::Wrapped, ..outgoing }
}

/// A wrap made by hand, with anything inside.
fn wrap(to: PublicKey, inside: &str, expiration: u64) -> Event {
    let once = Keys::generate();
    let content = nip44::encrypt(once.secret_key(), &to, inside, nip44::Version::V2).unwrap();
    let tags = [Tag::public_key(to), Tag::expiration(Timestamp::from_secs(expiration))];
    EventBuilder::new(Kind::from(WRAP_KIND), content).tags(tags).sign_with_keys(&once).unwrap()
}

#[tokio::test]
async fn ten_answers_in_a_burst_all_pass_a_relay_that_keeps_only_the_newest() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let line = Party::new(&[relay.url()]).await;
    let mut caller = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(2)).await;

    let deliveries: Vec<_> = (0..10)
        .map(|n| wrapped(outgoing(line.public(), caller.public(), &format!("s{n}"), answer())))
        .map(|outgoing| line.signaling.publish(outgoing).unwrap())
        .collect();
    for delivery in deliveries {
        soon(delivery.outcome()).await.unwrap();
    }
    let mut sessions = Vec::new();
    for _ in 0..10 {
        let envelope = caller.next().await.envelope;
        assert_eq!((envelope.dialect, envelope.from), (Dialect::Wrapped, line.public()));
        sessions.push(envelope.session.to_string());
    }

    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 10);
    let seen = relay.accepted();
    assert!(seen.iter().all(|event| event.kind == Kind::from(WRAP_KIND) && event.pubkey != line.public()));
}

#[tokio::test]
async fn what_comes_wrapped_is_answered_wrapped() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Party::new(&[relay.url()]).await;
    let mut caller = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(2)).await;

    let delivery = caller.signaling.publish(wrapped(outgoing(caller.public(), line.public(), "s", offer()))).unwrap();
    soon(delivery.outcome()).await.unwrap();
    let asked = line.next().await;
    let asked = protocol::open(asked.envelope, &asked.event, &line.keys).unwrap();
    assert_eq!((asked.envelope.kind, asked.envelope.from), (SignalKind::Offer, caller.public()));
    soon(line.signaling.publish(asked.envelope.reply(answer(), now())).unwrap().outcome()).await.unwrap();

    let (envelope, answer) = caller.answer().await;
    assert!(answer.accepted);
    assert_eq!(envelope.dialect, Dialect::Wrapped);
    assert_eq!(relay.count(14300) + relay.count(14301), 0, "nothing went plain");
}

#[tokio::test]
async fn what_is_inside_a_wrap_is_checked_as_if_it_had_come_by_itself() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Party::new(&[relay.url()]).await;
    let caller = Keys::generate();
    soon(relay.subscriptions(1)).await;
    let plain = outgoing(caller.public_key(), line.public(), "s", offer());
    let good = sealed(&caller, &plain, now());
    let inject = |event: &Event| relay.inject(&json!(event));
    let later = now() + 60;

    // Another's name on it.
    let mut forged = json!(good);
    forged["pubkey"] = json!(Keys::generate().public_key().to_hex());
    inject(&wrap(line.public(), &forged.to_string(), later));
    line.dropped(Dropped::BadSignature, 1).await;
    // A wrap whose own signature is wrong is not even decrypted.
    let mut broken = json!(wrap(line.public(), &good.as_json(), later));
    broken["sig"] = json!("0".repeat(128));
    relay.inject(&broken);
    line.dropped(Dropped::BadSignature, 2).await;

    // For another than the wrap says.
    let elsewhere = outgoing(caller.public_key(), Keys::generate().public_key(), "s", offer());
    inject(&wrap(line.public(), &sealed(&caller, &elsewhere, now()).as_json(), later));
    line.dropped(Dropped::Reject("tag"), 1).await;

    // Sealed for another; nothing inside; a wrap in a wrap; a kind that is none of ours.
    let mut sealed_for_another = wrap(Keys::generate().public_key(), &good.as_json(), later);
    let tags = [Tag::public_key(line.public())];
    sealed_for_another = EventBuilder::new(Kind::from(WRAP_KIND), sealed_for_another.content)
        .tags(tags)
        .sign_with_keys(&Keys::generate())
        .unwrap();
    inject(&sealed_for_another);
    line.dropped(Dropped::Reject("sealed"), 1).await;
    inject(&wrap(line.public(), "hello", later));
    line.dropped(Dropped::Reject("payload"), 1).await;
    inject(&wrap(line.public(), &wrap(line.public(), &good.as_json(), later).as_json(), later));
    line.dropped(Dropped::Reject("kind"), 1).await;
    let note = EventBuilder::text_note("hello").sign_with_keys(&caller).unwrap();
    inject(&wrap(line.public(), &note.as_json(), later));
    line.dropped(Dropped::Reject("kind"), 2).await;

    // Expired, outside and inside.
    inject(&wrap(line.public(), &good.as_json(), now() - 1));
    line.dropped(Dropped::Expired, 1).await;
    let late = Outgoing { expiration: now() - 1, body: end(), ..plain.clone() };
    inject(&wrap(line.public(), &sealed(&caller, &late, now()).as_json(), later));
    line.dropped(Dropped::Expired, 2).await;

    // Ours.
    let own = sealed(&line.keys, &outgoing(line.public(), line.public(), "s", offer()), now());
    inject(&wrap(line.public(), &own.as_json(), later));
    line.dropped(Dropped::Own, 1).await;

    assert_eq!(line.signaling.counters().borrow().taken, 0);
    inject(&wrap(line.public(), &good.as_json(), later));
    assert_eq!(line.next().await.event.id, good.id);
}

#[tokio::test]
async fn an_event_is_taken_once_whatever_it_comes_in() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Party::new(&[relay.url()]).await;
    let caller = Keys::generate();
    soon(relay.subscriptions(1)).await;
    let event = sealed(&caller, &outgoing(caller.public_key(), line.public(), "s", offer()), now());
    let once = wrap(line.public(), &event.as_json(), now() + 60);

    relay.inject(&json!(once));
    assert_eq!(line.next().await.event.id, event.id);
    relay.inject(&json!(once));
    relay.inject(&json!(wrap(line.public(), &event.as_json(), now() + 60)));
    relay.inject(&json!(event));
    line.dropped(Dropped::Duplicate, 3).await;

    assert_eq!(line.signaling.counters().borrow().taken, 1);
}

#[tokio::test]
async fn a_flood_of_wraps_is_decrypted_at_a_bounded_rate_and_does_not_touch_what_comes_plain() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(1)).await;
    let caller = Keys::generate();
    let wraps: Vec<_> = (0..1500).map(|_| json!(wrap(line.public(), "nothing", now() + 600))).collect();

    for wrap in &wraps {
        relay.inject(wrap);
    }
    line.dropped(Dropped::OverBudget, 1).await;
    let event = sealed(&caller, &outgoing(caller.public_key(), line.public(), "s", offer()), now());
    relay.inject(&json!(event));
    assert_eq!(line.next().await.event.id, event.id);

    let counters = line.signaling.counters().borrow().clone();
    let (opened, over) = (counters.dropped(Dropped::Reject("payload")), counters.dropped(Dropped::OverBudget));
    assert_eq!(opened + over, 1500);
}
