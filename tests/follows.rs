//! `follows_of` and `announce` at a real daemon: whoever a key follows is let in, and a line says who it is.
#![cfg(feature = "daemon")]

mod support {
    pub mod daemon;
    pub mod http;
    pub mod relay;
    pub mod sdp_offers;
    pub mod signaling;
}

use std::time::Duration;

use callgate::protocol::{Body, Offer};
use callgate::signaling::memory::Forgetful;
use nostr::{Event, EventBuilder, Keys, Kind, PublicKey, Tag, Timestamp, ToBech32 as _};
use serde_json::{Value, json};
use support::daemon::{Daemon, PATIENCE, field};
use support::http;
use support::relay::{Behaviour, TestRelay};
use support::sdp_offers::fixture_text;
use support::signaling::{Party, now, outgoing, sealed, soon};
use tempfile::TempDir;

fn quoted(key: PublicKey) -> String {
    format!("\"{}\"", key.to_bech32().unwrap())
}

fn configuration(relay: &TestRelay, line: &str) -> String {
    format!(
        "data_dir = \"data\"\nnostr.relays = [\"{}\"]\nice.bind = [\"127.0.0.1\"]\nhttp.listen = \"127.0.0.1:0\"\n[[line]]\nname = \"door\"\n\
         play = \"test://?width=160&height=120&fps=10&bitrate=100\"\n{line}\n",
        relay.url()
    )
}

/// Runs a daemon with its one line, until it has subscribed beside `others`.
async fn run(folder: &TempDir, relay: &TestRelay, others: usize, line: &str) -> (Daemon, PublicKey) {
    let daemon = Daemon::run(folder.path(), &configuration(relay, line), 1);
    soon(relay.subscriptions(others + 1)).await;
    let line = PublicKey::parse(&daemon.npub("door")).unwrap();
    (daemon, line)
}

fn end(daemon: Daemon) {
    daemon.terminate();
    let (status, written) = daemon.exit();
    assert!(status.success(), "{written}");
}

fn contacts(author: &Keys, at: u64, followed: &[PublicKey]) -> Event {
    EventBuilder::new(Kind::ContactList, "")
        .tags(followed.iter().map(|key| Tag::public_key(*key)))
        .custom_created_at(Timestamp::from_secs(at))
        .sign_with_keys(author)
        .unwrap()
}

fn offering(from: &Keys, to: PublicKey, session: &str) -> Event {
    let offer = Offer::new(fixture_text("chromium-recvonly"), now(), 60);
    sealed(from, &outgoing(from.public_key(), to, session, Body::Offer(offer)), now())
}

async fn may_call(daemon: &Daemon) -> Value {
    let address = daemon.web();
    let answer = http::request(address, "GET", "/api/lines", &[("Host", &address.to_string())], "").await.unwrap();
    answer.json()["lines"][0]["access"]["words"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_a_key_follows_may_call_also_when_no_relay_has_the_list_any_more() {
    let (relay, boss, stranger, denied) =
        (TestRelay::start(Behaviour::Honest).await, Keys::generate(), Keys::generate(), Keys::generate());
    let [mut friend, mut late] = [Party::new(&[relay.url()]).await, Party::new(&[relay.url()]).await];

    // Given somebody's list, and one of somebody else's that does not count
    relay.store(&contacts(&boss, now() - 100, &[friend.public(), denied.public_key()]));
    relay.store(&contacts(&stranger, now() - 50, &[stranger.public_key()]));
    let line = format!("follows_of = [{}]\ndeny = [{}]", quoted(boss.public_key()), quoted(denied.public_key()));
    let folder = tempfile::tempdir().unwrap();
    let (daemon, door) = run(&folder, &relay, 2, &line).await;
    daemon.logged(|record| field(record, "message") == "lists of whom keys follow read");
    assert_eq!(may_call(&daemon).await, "2 followed by 1 key, 1 denied");

    // Then whoever is on the newest may call, and nobody else: not who follows, and not who is denied.
    for other in [&stranger, &denied, &boss] {
        relay.store(&offering(other, door, "no"));
    }
    daemon.dropped("not_allowed", 3);
    relay.store(&offering(&friend.keys, door, "friend"));
    assert_eq!(friend.answer().await.0.session.as_str(), "friend");

    // When somebody is followed from now on, they may call soon.
    relay.store(&contacts(&boss, now(), &[friend.public(), late.public()]));
    let answered = tokio::time::timeout(PATIENCE, async {
        for attempt in 0.. {
            relay.store(&offering(&late.keys, door, &format!("late-{attempt}")));
            if let Ok(answer) = tokio::time::timeout(Duration::from_secs(3), late.answer()).await {
                return answer.1.accepted;
            }
        }
        false
    });
    assert!(answered.await.expect("an answer"));
    end(daemon);

    // And after a restart, with a relay that knows no list.
    let empty = TestRelay::start(Behaviour::Honest).await;
    let mut late = Party::with(late.keys.clone(), &[empty.url()], std::sync::Arc::new(Forgetful::default())).await;
    let (daemon, door) = run(&folder, &empty, 1, &line).await;
    empty.store(&offering(&stranger, door, "no"));
    daemon.dropped("not_allowed", 1);
    empty.store(&offering(&late.keys, door, "again"));
    assert_eq!(late.answer().await.0.session.as_str(), "again");
    end(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_to_be_found_says_its_name_and_its_relays_once() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let folder = tempfile::tempdir().unwrap();
    let announced = |record: &Value| field(record, "message") == "announced";
    let (daemon, door) = run(&folder, &relay, 0, "allow = [\"*\"]\nannounce = true").await;
    daemon.logged_times(3, announced);
    end(daemon);

    let said: Vec<Event> = relay.accepted().into_iter().filter(|event| event.pubkey == door).collect();
    let of = |kind: u16| said.iter().find(|event| event.kind == Kind::from(kind)).unwrap();
    assert_eq!(said.len(), 3);
    assert_eq!(serde_json::from_str::<Value>(&of(0).content).unwrap(), json!({ "name": "door" }));
    assert_eq!(json!(of(10002).tags), json!([["r", relay.url()]]));
    assert_eq!(json!(of(10050).tags), json!([["relay", relay.url()]]));

    // Again, it has nothing to say; on another relay it says it there.
    let (daemon, _) = run(&folder, &relay, 0, "allow = [\"*\"]\nannounce = true").await;
    daemon.logged(|record| field(record, "message") == "announced before");
    end(daemon);
    assert_eq!(relay.accepted().iter().filter(|event| event.pubkey == door).count(), 3);
    let other = TestRelay::start(Behaviour::Honest).await;
    let (daemon, _) = run(&folder, &other, 0, "allow = [\"*\"]\nannounce = true").await;
    daemon.logged_times(3, announced);
    end(daemon);

    // Who did not ask for it says nothing.
    let (daemon, _) = run(&folder, &other, 0, "allow = [\"*\"]").await;
    end(daemon);
    assert_eq!(other.accepted().iter().filter(|event| event.pubkey == door).count(), 3);
}
