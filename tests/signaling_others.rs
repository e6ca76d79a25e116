//! Relays that are none of ours, and events that are none of a call: what is published through them, looked up and announced.
#![cfg(feature = "daemon")]

#[path = "support/relay.rs"]
mod relay;
#[path = "support/signaling.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use callgate::sdp::CallerServers;
use callgate::signaling::memory::Forgetful;
use callgate::signaling::{PublishError, Verdict};
use nostr::{Event, EventBuilder, EventId, Keys, Kind, RelayUrl, Timestamp};

use relay::{Behaviour, TestRelay};
use support::{Party, answer, now, offer, outgoing, soon};

async fn party(relay: &TestRelay, visits: CallerServers) -> Party {
    let party = Party::on(Keys::generate(), &[relay.url()], visits, Arc::new(Forgetful::default())).await;
    soon(party.signaling.connected()).await;
    party
}

fn event(keys: &Keys, kind: u16, created_at: u64, content: &str) -> Event {
    let builder = EventBuilder::new(Kind::from(kind), content).custom_created_at(Timestamp::from(created_at));
    builder.sign_with_keys(keys).unwrap()
}

fn ids(events: &[Event]) -> BTreeSet<EventId> {
    events.iter().map(|event| event.id).collect()
}

#[tokio::test]
async fn somebody_who_is_on_none_of_our_relays_is_reached_through_theirs_and_heard_there() {
    // Given a line on one relay, and a caller on another
    let (ours, theirs) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::Honest).await);
    let mut line = party(&ours, CallerServers::Any).await;
    let mut caller = party(&theirs, CallerServers::Public).await;
    soon(theirs.subscriptions(1)).await;

    // When the line publishes through the caller's relay, named twice, and its own
    let via = [theirs.url(), theirs.url(), ours.url()];
    line.signaling.publish_via(outgoing(line.public(), caller.public(), "s", answer()), &via).unwrap();

    // Then the caller hears it, once, and the line hears what the caller says there
    assert_eq!(caller.next().await.envelope.from, line.public());
    soon(theirs.subscriptions(2)).await;
    caller.publish(line.public(), "s", offer()).await;
    let heard = line.next().await;
    assert_eq!((heard.relay, heard.envelope.from), (theirs.url(), caller.public()));
    assert_eq!((ours.count(14301), theirs.count(14301)), (1, 1));
    assert!(ours.count(14300) == 0, "that was the caller's own relay alone");
}

#[tokio::test]
async fn a_relay_of_somebody_elses_at_a_private_address_is_not_dialled_unless_it_may_be() {
    let (ours, theirs) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::Honest).await);
    let name = RelayUrl::parse(&theirs.url().to_string().replace("127.0.0.1", "localhost")).unwrap();
    for visits in [CallerServers::Public, CallerServers::Never] {
        let line = party(&ours, visits).await;
        let to = Keys::generate().public_key();
        ours.refuse_next("blocked: no");
        let delivery =
            line.signaling.publish_via(outgoing(line.public(), to, "s", answer()), &[name.clone(), theirs.url()]);
        let undelivered = soon(delivery.unwrap().outcome()).await.unwrap_err();

        let others = undelivered.verdicts.iter().filter(|(url, _)| *url != ours.url());
        assert!(others.clone().all(|(_, verdict)| *verdict == Verdict::NotConnected));
        assert_eq!(others.count(), if visits == CallerServers::Never { 0 } else { 2 });
        assert_eq!(line.signaling.latest(vec![to], vec![0], &[theirs.url()]).await, []);
    }
    assert_eq!(theirs.connections(), 0);
}

#[tokio::test]
async fn so_many_relays_of_others_are_open_at_once_and_no_more() {
    let ours = TestRelay::start(Behaviour::Honest).await;
    let line = party(&ours, CallerServers::Any).await;
    let mut theirs = Vec::new();
    for n in 0..10 {
        let relay = TestRelay::start(Behaviour::Honest).await;
        let to = Keys::generate().public_key();
        let delivery = line.signaling.publish_via(outgoing(line.public(), to, "s", answer()), &[relay.url()]).unwrap();
        soon(delivery.outcome()).await.unwrap();
        if n < 8 {
            soon(relay.subscriptions(1)).await;
        }
        theirs.push(relay);
    }
    // On a slow machine the first ones have made room for the last.
    assert!(theirs.iter().filter(|relay| relay.connections() > 0).count() <= 8);
    assert_eq!(ours.count(14301), 10, "our own relay has them all");

    line.signaling.shut_down();
    for relay in &theirs {
        soon(relay.deserted()).await;
    }
}

#[tokio::test]
async fn the_newest_of_what_several_relays_have_is_found_and_what_is_forged_is_not() {
    let (ours, other) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::WantsAuth).await);
    let third = TestRelay::start(Behaviour::ForgesCopies).await;
    let line = party(&ours, CallerServers::Any).await;
    let (one, two) = (Keys::generate(), Keys::generate());
    let old = event(&one, 10002, now() - 100, "old");
    let newest = event(&one, 10002, now() - 50, "newest");
    let name = event(&two, 0, now() - 7, "two");
    let unasked = event(&two, 3, now(), "unasked");
    for event in [&old, &name] {
        ours.store(event);
        third.store(event);
    }
    other.store(&newest);
    other.store(&unasked);

    let authors = vec![one.public_key(), two.public_key(), Keys::generate().public_key()];
    let dead = RelayUrl::parse("ws://127.0.0.1:1").unwrap();
    let at = [other.url(), dead, third.url()];
    let found = line.signaling.latest(authors, vec![0, 10002], &at).await;

    assert_eq!(ids(&found), ids(&[newest, name]));
    assert_eq!(line.signaling.latest(vec![], vec![0], &at).await, []);
}

#[tokio::test]
async fn what_a_key_says_of_itself_is_kept_by_every_relay_also_one_that_was_away() {
    let (first, second) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::WantsAuth).await);
    second.stop().await;
    let urls = [first.url(), second.url()];
    let line = Party::new(&urls).await;
    let profile = event(&line.keys, 0, now(), "{}");

    first.refuse_next("rate-limited: slow down");
    let delivery = line.signaling.announce(&profile).unwrap();
    assert_eq!(soon(delivery.outcome()).await, Ok(first.url()));
    second.restart().await;
    soon(second.counted(0, 1)).await;
    assert_eq!(
        (ids(&first.stored()), ids(&second.stored())),
        (ids(std::slice::from_ref(&profile)), ids(std::slice::from_ref(&profile)))
    );

    // Said again it is no failure, and only our own keys are announced.
    assert!(soon(line.signaling.announce(&profile).unwrap().outcome()).await.is_ok());
    let foreign = event(&Keys::generate(), 0, now(), "{}");
    assert_eq!(line.signaling.announce(&foreign).unwrap_err(), PublishError::ForeignAuthor);
}
