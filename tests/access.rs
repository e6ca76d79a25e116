//! Who is answered and what changes nothing, at a real daemon: strangers, offers that are stale, replayed or broken, foreign voices
//! in a call, and limits.
#![cfg(feature = "daemon")]

mod support {
    pub mod daemon;
    pub mod http;
    pub mod relay;
    pub mod sdp_offers;
    pub mod signaling;
}

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use callgate::gateway::{DialEvent, DialSettings, Dialled, dial};
use callgate::media::IceSettings;
use callgate::media::caller::{self, AccessUnit, CallerEvent, CallerSettings};
use callgate::protocol::{Answer, Body, Cipher, Dialect, IceCandidate, Offer, Outgoing};
use callgate::sdp;
use callgate::signaling::memory::Forgetful;
use nostr::nips::nip44;
use nostr::{Event, EventBuilder, JsonUtil as _, Keys, Kind, PublicKey, RelayUrl, Tag, TagKind, ToBech32 as _};
use serde_json::{Value, json};
use support::daemon::{Daemon, field};
use support::http;
use support::relay::{Behaviour, TestRelay};
use support::sdp_offers::fixture_text;
use support::signaling::{Party, end, now, outgoing, sealed, soon};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A daemon with one line, `door`, and what it is run with.
struct House {
    folder: TempDir,
    configuration: String,
    daemon: Daemon,
    line: PublicKey,
}

impl House {
    /// Runs callgate, and waits until it and `others` have subscribed to each relay; `more` are fields of its line and tables
    /// beside it, such as `allow = ["*"]`.
    async fn run(relays: &[&TestRelay], others: usize, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let urls: Vec<_> = relays.iter().map(|relay| format!("\"{}\"", relay.url())).collect();
        let configuration = format!(
            "data_dir = \"data\"\nnostr.relays = [{}]\nice.bind = [\"127.0.0.1\"]\nhttp.listen = \"127.0.0.1:0\"\n\
             [[line]]\nname = \"door\"\nplay = \"test://?width=320&height=180&bitrate=300\"\n{more}\n",
            urls.join(", ")
        );
        let daemon = Daemon::run(folder.path(), &configuration, 1);
        for relay in relays {
            soon(relay.subscriptions(others + 1)).await;
        }
        let line = PublicKey::parse(&daemon.npub("door")).unwrap();
        Self { folder, configuration, daemon, line }
    }

    /// Ends callgate and runs it again, with the same folder.
    fn again(self) -> Self {
        self.away(|_| ())
    }

    /// Ends callgate, does something with its folder, and runs it again.
    fn away(self, meanwhile: impl FnOnce(&Path)) -> Self {
        self.daemon.terminate();
        let (status, written) = self.daemon.exit();
        assert!(status.success(), "{written}");
        meanwhile(self.folder.path());
        let daemon = Daemon::run(self.folder.path(), &self.configuration, 1);
        Self { daemon, ..self }
    }

    async fn ask(&self, path: &str) -> Value {
        let address = self.daemon.web();
        let host = address.to_string();
        http::request(address, "GET", path, &[("Host", &host)], "").await.unwrap().json()
    }

    async fn counters(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.ask("/api/counters").await["counters"].clone()).unwrap()
    }

    /// Counters of drops, refusals and calls alone.
    async fn counted(&self) -> BTreeMap<String, u64> {
        let mut counters = self.counters().await;
        counters
            .retain(|name, _| name.starts_with("dropped_") || name.starts_with("refused_") || name == "calls_offered");
        counters
    }

    /// Waits for the end of a call: its log record.
    fn call_ended(&self) -> Value {
        self.daemon.logged(|record| field(record, "message") == "call ended")
    }

    /// The call log, by `callgate calls`.
    fn call_log(&self) -> Value {
        self.call_log_with(&[])
    }

    fn call_log_with(&self, options: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_callgate"))
            .args(["calls", "--json", "-c", "callgate.toml"])
            .args(options)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn listed(keys: &[&Keys]) -> String {
    let npubs: Vec<_> = keys.iter().map(|keys| format!("\"{}\"", keys.public_key().to_bech32().unwrap())).collect();
    format!("allow = [{}]", npubs.join(", "))
}

/// A browser's offer that never connects: it is answered all the same.
fn offer() -> Offer {
    let sdp = fixture_text("chromium-recvonly");
    Offer::new(sdp, now(), 60)
}

fn offering(from: &Keys, to: PublicKey, session: &str) -> Event {
    signed(from, to, session, Body::Offer(offer()))
}

fn signed(from: &Keys, to: PublicKey, session: &str, body: Body) -> Event {
    sealed(from, &outgoing(from.public_key(), to, session, body), now())
}

fn candidate() -> Body {
    Body::Candidate(IceCandidate {
        candidate: "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host".into(),
        sdp_mid: Some("0".into()),
        sdp_mline_index: Some(0),
        timestamp: now(),
    })
}

/// What a key has published, by what a relay took from it.
fn published(relay: &TestRelay, author: PublicKey) -> Vec<Event> {
    relay.accepted().into_iter().filter(|event| event.pubkey == author).collect()
}

fn session_of(event: &Event) -> String {
    event.tags.find(TagKind::custom("session_id")).and_then(Tag::content).unwrap().to_owned()
}

/// A real call with a picture.
struct Watching {
    dialled: Dialled,
    events: mpsc::Receiver<DialEvent>,
    pictures: mpsc::Receiver<AccessUnit>,
    session: String,
}

impl Watching {
    async fn start(keys: &Keys, line: PublicKey, relay: RelayUrl) -> Self {
        let (units, pictures) = mpsc::channel(1024);
        let ice = IceSettings { bind: vec![std::net::Ipv4Addr::LOCALHOST.into()], ..IceSettings::default() };
        let settings = DialSettings {
            keys: keys.clone(),
            to: line,
            relays: vec![relay],
            cipher: Cipher::Nip44,
            dialect: Some(Dialect::Plain),
            rings: Duration::from_secs(60),
            shared: Vec::new(),
            media: CallerSettings { ice, video: true, audio: true, units: Some(units), ..CallerSettings::default() },
        };
        let (dialled, mut events) = dial(settings).await.unwrap();
        let session = match soon(events.recv()).await {
            Some(DialEvent::Ringing { session }) => session.to_string(),
            other => panic!("{other:?}"),
        };
        let mut watching = Self { dialled, events, pictures, session };
        watching.sees(1).await;
        watching
    }

    /// Waits for so many pictures that arrive from now on.
    async fn sees(&mut self, count: usize) {
        while self.pictures.try_recv().is_ok() {}
        for _ in 0..count {
            assert!(soon(self.pictures.recv()).await.is_some(), "the call is over");
        }
    }

    async fn ends(&mut self) {
        soon(async {
            while let Some(event) = self.events.recv().await {
                if matches!(event, DialEvent::Ended { .. }) {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_gets_silence_and_a_listed_one_is_answered() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let (mut friend, stranger) = (Party::new(&[relay.url()]).await, Party::new(&[relay.url()]).await);
    let house = House::run(&[&relay], 2, &listed(&[&friend.keys])).await;

    // Given whatever a stranger may send
    relay.store(&offering(&stranger.keys, house.line, "strange"));
    relay.store(&signed(&stranger.keys, house.line, "strange", candidate()));
    relay.store(&signed(&stranger.keys, house.line, "strange", end()));
    house.daemon.dropped("not_allowed", 3);

    // When a listed key offers after it
    relay.store(&offering(&friend.keys, house.line, "known"));
    let (envelope, answer) = friend.answer().await;

    // Then the listed one is answered, and that is all the line ever said: answers of one line leave in order.
    assert!(answer.accepted && answer.sdp.starts_with("v=0"));
    assert_eq!((envelope.from, envelope.session.as_str()), (house.line, "known"));
    for said in published(&relay, house.line) {
        assert_eq!(said.tags.public_keys().collect::<Vec<_>>(), [&friend.public()]);
    }
    assert_eq!(house.counted().await, counts(&[("calls_offered", 1), ("dropped_not_allowed", 3)]));
    assert_eq!(house.ask("/api/calls").await["calls"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_may_refuse_strangers_in_words() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut stranger = Party::new(&[relay.url()]).await;
    let house = House::run(&[&relay], 1, &format!("{}\nrefuse = \"answer\"", listed(&[&Keys::generate()]))).await;

    relay.store(&signed(&stranger.keys, house.line, "strange", candidate()));
    relay.store(&offering(&stranger.keys, house.line, "strange"));

    let refusal = stranger.refused().await;
    assert_eq!(refusal, ("strange".to_owned(), "You are not on this line's list.".to_owned()));
    assert_eq!(house.counted().await, counts(&[("dropped_not_allowed", 2), ("refused_not_allowed", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_rang_while_the_gateway_was_away_are_in_the_log_once_and_ring_nobody() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let (mut friend, stranger) = (Party::new(&[relay.url()]).await, Party::new(&[relay.url()]).await);
    let house = House::run(&[&relay], 2, &listed(&[&friend.keys])).await;
    relay.store(&offering(&friend.keys, house.line, "before"));
    assert_eq!(friend.answer().await.0.session.as_str(), "before");

    // Given a gateway that was away for two hours, and offers of an hour ago that the relay kept
    let (then, line) = (now() - 3600, house.line);
    let rang = |from: &Keys, session: &str, kept: bool| {
        let offer = Offer { timestamp: then, expires_in: 20, ..offer() };
        let mut outgoing = outgoing(from.public_key(), line, session, Body::Offer(offer));
        outgoing.expiration = if kept { now() + 3600 } else { then + 30 };
        outgoing
    };
    let house = house.away(|folder| {
        let db = rusqlite::Connection::open(folder.join("data/callgate.db")).unwrap();
        db.execute("UPDATE handled_events SET seen_at = seen_at - 7200", []).unwrap();
        relay.store(&sealed(&friend.keys, &rang(&friend.keys, "hour-ago", true), then));
        relay.store(&sealed(&friend.keys, &rang(&friend.keys, "hour-ago", true), then + 2));
        relay.store(&sealed(&friend.keys, &rang(&friend.keys, "kept-too-long", false), then + 3));
        relay.store(&sealed(&stranger.keys, &rang(&stranger.keys, "strange", true), then));
    });

    // When it is back
    house.daemon.dropped("stale", 3);
    house.daemon.dropped("not_allowed", 1);
    house.daemon.logged_times(2, |record| field(record, "message") == "call missed");

    // Then the listed key's calls are in the log as missed, each once, beside the one that was answered
    let missed = house.call_log_with(&["--missed"]);
    let missed = missed["calls"].as_array().unwrap();
    let mut sessions: Vec<&str> = missed.iter().map(|call| call["session"].as_str().unwrap()).collect();
    sessions.sort_unstable();
    assert_eq!(sessions, ["hour-ago", "kept-too-long"]);
    for call in missed {
        assert_eq!(
            (&call["reason"], &call["direction"], &call["line"]),
            (&json!("missed"), &json!("in"), &json!("door"))
        );
        assert_eq!(call["caller"], friend.public().to_bech32().unwrap());
        assert_eq!((&call["offered_ms"], &call["ended_ms"]), (&json!(then * 1000), &json!((then + 20) * 1000)));
    }
    assert_eq!(house.call_log()["calls"].as_array().unwrap().len(), 3);
    let shown = house.ask("/api/calls").await;
    let shown: Vec<&Value> = shown["calls"].as_array().unwrap().iter().map(|call| &call["ended"]).collect();
    assert_eq!(shown, [&json!("missed"), &json!("missed")]);

    // and nobody was rung: the line has answered the calls that it heard in time, and nothing else.
    relay.store(&offering(&friend.keys, house.line, "after"));
    while friend.hear().await.envelope.session.as_str() != "after" {}
    for said in published(&relay, house.line) {
        assert!(["before", "after"].contains(&session_of(&said).as_str()));
    }

    // After another restart they are not missed again.
    let house = house.again();
    house.daemon.dropped("duplicate", 1);
    relay.store(&offering(&friend.keys, house.line, "later"));
    while friend.hear().await.envelope.session.as_str() != "later" {}
    assert_eq!(house.call_log_with(&["--missed"])["calls"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_line_denies_gets_silence_although_anyone_may_call() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let (mut friend, denied) = (Party::new(&[relay.url()]).await, Party::new(&[relay.url()]).await);
    let more = format!("allow = [\"*\"]\n{}", listed(&[&denied.keys]).replace("allow", "deny"));
    let house = House::run(&[&relay], 2, &more).await;

    relay.store(&offering(&denied.keys, house.line, "denied"));
    house.daemon.dropped("not_allowed", 1);
    relay.store(&offering(&friend.keys, house.line, "welcome"));

    assert_eq!(friend.answer().await.0.session.as_str(), "welcome");
    for said in published(&relay, house.line) {
        assert_eq!(session_of(&said), "welcome");
    }
}

/// An event whose inside and outside are as given, under a good signature.
fn crafted(from: &Keys, to: PublicKey, tags: &[(&'static str, &str)], content: &str) -> Event {
    let tags = tags.iter().map(|(name, value)| Tag::custom(TagKind::custom(*name), [*value]));
    EventBuilder::new(Kind::from(14300), content).tag(Tag::public_key(to)).tags(tags).sign_with_keys(from).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_cannot_be_taken_change_nothing_and_are_counted() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut friend = Party::new(&[relay.url()]).await;
    let house =
        House::run(&[&relay], 1, &format!("{}\n[limits]\noffers_per_minute = 100", listed(&[&friend.keys]))).await;
    let (keys, line) = (friend.keys.clone(), house.line);
    let good = |session: &str, offer: Offer| outgoing(keys.public_key(), line, session, Body::Offer(offer));
    let with = |session: &str, change: &dyn Fn(&mut Offer)| {
        let mut offer = offer();
        change(&mut offer);
        sealed(&keys, &good(session, offer), now())
    };

    // Old, and ahead of time
    relay.store(&with("rang-out", &|offer| offer.timestamp -= 61));
    relay.store(&with("rang-briefly", &|offer| (offer.timestamp, offer.expires_in) = (offer.timestamp - 10, 5)));
    house.daemon.dropped("stale", 2);
    let mut expired = good("expired", offer());
    expired.expiration = now() - 1;
    relay.store(&sealed(&keys, &expired, now() - 30));
    house.daemon.dropped("expired", 1);
    relay.store(&with("tomorrow", &|offer| offer.timestamp += 3600));
    relay.store(&sealed(&keys, &good("stamped-tomorrow", offer()), now() + 3600));
    house.daemon.dropped("from_the_future", 2);

    // Too large, outside and inside
    let tags = [("session_id", "s"), ("type", "video"), ("sig_alg", "NIP-44")];
    relay.store(&crafted(&keys, line, &tags, &"x".repeat(64 * 1024 + 1)));
    let around = crafted(&keys, line, &tags, "").as_json().len();
    relay.store(&crafted(&keys, line, &tags, &"x".repeat(64 * 1024 + 1 - around)));
    house.daemon.dropped("oversized", 2);
    relay.store(&with("long", &|offer| offer.sdp = "v".repeat(32 * 1024 + 1)));
    house.daemon.dropped("sdp_oversized", 1);

    // Unreadable
    let sealed_for =
        |to: &PublicKey, text: &str| nip44::encrypt(keys.secret_key(), to, text, nip44::Version::V2).unwrap();
    relay.store(&crafted(&keys, line, &tags, "no cipher text"));
    relay.store(&crafted(&keys, line, &tags, &sealed_for(&Keys::generate().public_key(), "{}")));
    house.daemon.dropped("sealed", 2);
    relay.store(&crafted(&keys, line, &tags, &sealed_for(&line, "[]")));
    relay.store(&crafted(&keys, line, &tags, &sealed_for(&line, r#"{"sdp":"v=0"}"#)));
    house.daemon.dropped("payload", 2);
    let content = offering(&keys, line, "s").content;
    for missing in 0..tags.len() {
        let mut left = tags.to_vec();
        left.remove(missing);
        relay.store(&crafted(&keys, line, &left, &content));
    }
    relay.store(&crafted(
        &keys,
        line,
        &[("session_id", "two words"), ("type", "video"), ("sig_alg", "NIP-44")],
        &content,
    ));
    relay.store(&crafted(&keys, line, &[("session_id", "s"), ("type", "smell"), ("sig_alg", "NIP-44")], &content));
    house.daemon.dropped("tag", 5);

    // What a relay should not have sent at all
    relay.inject(&json!(offering(&keys, Keys::generate().public_key(), "elsewhere")));
    let note = EventBuilder::text_note("hello").tag(Tag::public_key(line)).sign_with_keys(&keys).unwrap();
    relay.inject(&json!(note));
    house.daemon.dropped("not_for_us", 2);
    let mut forged = json!(offering(&keys, line, "forged"));
    forged["sig"] = json!(offering(&keys, line, "other").sig);
    relay.inject(&forged);
    let mut forged = json!(offering(&Keys::generate(), line, "forged"));
    forged["pubkey"] = json!(keys.public_key());
    relay.inject(&forged);
    house.daemon.dropped("bad_signature", 2);
    relay.inject(&json!({ "kind": 14300, "content": "" }));
    house.daemon.dropped("malformed", 1);

    // Then the line answers a good offer, has said nothing else, and has counted everything under its word.
    relay.store(&offering(&keys, line, "good"));
    let (envelope, answer) = friend.answer().await;
    assert!(answer.accepted && envelope.session.as_str() == "good");
    for said in published(&relay, line) {
        assert_eq!(session_of(&said), "good");
    }
    let expected = [
        ("calls_offered", 1),
        ("dropped_bad_signature", 2),
        ("dropped_expired", 1),
        ("dropped_from_the_future", 2),
        ("dropped_malformed", 1),
        ("dropped_not_for_us", 2),
        ("dropped_oversized", 2),
        ("dropped_payload", 2),
        ("dropped_sdp_oversized", 1),
        ("dropped_sealed", 2),
        ("dropped_stale", 2),
        ("dropped_tag", 5),
    ];
    assert_eq!(house.counted().await, counts(&expected));
    house.daemon.logged_times(2, |record| field(record, "message") == "call missed");
    let shown = house.ask("/api/calls").await;
    let ended: Vec<&Value> = shown["calls"].as_array().unwrap().iter().map(|call| &call["ended"]).collect();
    assert_eq!(ended, [&json!("missed"), &json!("missed"), &Value::Null], "what came too late is known as missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_taken_once_whatever_relay_brings_it_and_also_after_a_restart() {
    let (first, second) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::Honest).await);
    let mut friend = Party::new(&[first.url(), second.url()]).await;
    let house = House::run(&[&first, &second], 1, &listed(&[&friend.keys])).await;
    let offered = offering(&friend.keys, house.line, "once");

    // By two relays, and by one of them again
    first.store(&offered);
    second.store(&offered);
    let (envelope, answer) = friend.answer().await;
    assert!(answer.accepted && envelope.session.as_str() == "once");
    house.daemon.dropped("duplicate", 1);
    first.republish(&offered);
    house.daemon.dropped("duplicate", 2);

    // The same offer, signed anew
    second.store(&signed(&friend.keys, house.line, "once", Body::Offer(offer())));
    house.daemon.dropped("duplicate", 3);
    assert_eq!(house.counted().await, counts(&[("calls_offered", 1), ("dropped_duplicate", 3)]));
    for said in published(&first, house.line).into_iter().chain(published(&second, house.line)) {
        assert_eq!((session_of(&said).as_str(), said.kind), ("once", Kind::from(14301)));
    }

    // After a restart both relays hand out what they stored.
    let house = house.again();
    house.daemon.dropped("duplicate", 3);
    first.republish(&offered);
    house.daemon.dropped("duplicate", 4);
    first.store(&offering(&friend.keys, house.line, "twice"));
    let (envelope, end) = friend.ended().await;
    assert_eq!((envelope.session.as_str(), end.detail.as_deref()), ("once", Some("The gateway is shutting down.")));
    let (envelope, answer) = friend.answer().await;
    assert!(answer.accepted && envelope.session.as_str() == "twice");
    assert_eq!(house.counted().await, counts(&[("calls_offered", 1), ("dropped_duplicate", 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_does_not_begin_again() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut friend = Party::new(&[relay.url()]).await;
    let house = House::run(&[&relay], 1, &listed(&[&friend.keys])).await;
    relay.store(&offering(&friend.keys, house.line, "short"));
    assert!(friend.answer().await.1.accepted);
    relay.store(&signed(&friend.keys, house.line, "short", end()));
    assert_eq!(field(&house.call_ended(), "reason"), "caller_left");

    let mut other = offer();
    other.sdp = fixture_text("firefox-recvonly");
    relay.store(&signed(&friend.keys, house.line, "short", Body::Offer(other)));
    relay.store(&offering(&friend.keys, house.line, "short"));
    relay.store(&signed(&friend.keys, house.line, "short", candidate()));
    house.daemon.dropped("ended_session", 3);

    relay.store(&offering(&friend.keys, house.line, "next"));
    let (envelope, answer) = friend.answer().await;
    assert!(answer.accepted && envelope.session.as_str() == "next");
    assert_eq!(house.counted().await, counts(&[("calls_offered", 2), ("dropped_ended_session", 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_caller_has_a_say_in_a_call() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let (keys, neighbour, stranger) = (Keys::generate(), Keys::generate(), Keys::generate());
    let house = House::run(&[&relay], 0, &listed(&[&keys, &neighbour])).await;
    let mut call = Watching::start(&keys, house.line, relay.url()).await;
    let session = call.session.clone();

    // Others who know the session's name, which relays show to anyone
    for other in [&stranger, &neighbour] {
        relay.store(&signed(other, house.line, &session, candidate()));
        relay.store(&signed(other, house.line, &session, end()));
    }
    house.daemon.dropped("not_allowed", 2);
    // Events are taken in order: when this one was dropped, those before it were looked at.
    let answer = Body::Answer(Answer::accepting("v=0\r\n".into(), now()));
    relay.store(&signed(&neighbour, house.line, &session, answer));
    house.daemon.dropped("unknown_session", 1);
    call.sees(25).await;

    // The caller's own offer, signed anew, and another offer
    let first = published(&relay, keys.public_key()).remove(0);
    let text = nip44::decrypt(keys.secret_key(), &house.line, &first.content).unwrap();
    let Body::Offer(own) = Body::read(callgate::protocol::SignalKind::Offer, &text, now()).unwrap() else { panic!() };
    relay.store(&signed(&keys, house.line, &session, Body::Offer(own)));
    house.daemon.dropped("duplicate", 1);
    relay.store(&offering(&keys, house.line, &session));
    call.sees(25).await;
    assert_eq!(
        house.counted().await,
        counts(&[
            ("calls_offered", 1),
            ("dropped_duplicate", 1),
            ("dropped_not_allowed", 2),
            ("dropped_unknown_session", 1)
        ])
    );

    // The caller's own call_end
    relay.store(&signed(&keys, house.line, &session, end()));
    assert_eq!(field(&house.call_ended(), "reason"), "caller_left");
    call.ends().await;
    let log = house.call_log();
    assert_eq!((&log["calls"][0]["session"], &log["calls"][0]["reason"]), (&session.into(), &"caller_left".into()));
    // Five of others. The caller's second offer was weighed, and found not to belong to the call.
    assert_eq!(log["calls"][0]["ignored"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_meets_a_limit_is_told_busy_or_not_heard_and_others_go_on() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let alice = Keys::generate();
    let (mut hers, mut bob, mut carol) = (
        Party::with(alice.clone(), &[relay.url()], Arc::new(Forgetful::default())).await,
        Party::new(&[relay.url()]).await,
        Party::new(&[relay.url()]).await,
    );
    let limits = "allow = [\"*\"]\n[limits]\ncalls = 2\ncalls_per_caller = 1\noffers_per_minute = 3";
    let house = House::run(&[&relay], 3, limits).await;
    let mut call = Watching::start(&alice, house.line, relay.url()).await;
    assert!(hers.answer().await.1.accepted);

    // One more of a caller who has a call
    relay.store(&offering(&alice, house.line, "second"));
    let refusal = hers.refused().await;
    assert_eq!(refusal, ("second".to_owned(), "Busy: you have as many calls here as one caller may.".to_owned()));
    // Signed anew, it is the same offer.
    relay.store(&offering(&alice, house.line, "second"));
    house.daemon.dropped("ended_session", 1);

    // The gateway's last place, and one more
    relay.store(&offering(&bob.keys, house.line, "last"));
    assert!(bob.answer().await.1.accepted);
    relay.store(&offering(&carol.keys, house.line, "late"));
    let refusal = carol.refused().await;
    assert_eq!(refusal, ("late".to_owned(), "Busy: no more calls are taken at the moment.".to_owned()));

    // The caller's third offer in a minute, and the fourth
    relay.store(&offering(&alice, house.line, "third"));
    assert_eq!(hers.refused().await.0, "third");
    relay.store(&offering(&alice, house.line, "fourth"));
    house.daemon.dropped("too_many_offers", 1);

    call.sees(25).await;
    let calls = house.ask("/api/calls").await;
    let sessions: Vec<_> = calls["calls"].as_array().unwrap().iter().map(|call| call["session"].clone()).collect();
    assert_eq!(sessions, [json!(call.session), json!("last")]);
    let expected =
        [("calls_offered", 2), ("dropped_ended_session", 1), ("dropped_too_many_offers", 1), ("refused_busy", 3)];
    assert_eq!(house.counted().await, counts(&expected));
    call.dialled.hang_up();
    call.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_that_come_before_their_offer_are_used() {
    // Given a caller whose offer has no candidates, only events of their own
    let ice = || IceSettings { bind: vec![std::net::Ipv4Addr::LOCALHOST.into()], ..IceSettings::default() };
    let settings = CallerSettings { ice: ice(), video: true, audio: true, ..CallerSettings::default() };
    let (peer, mut media) = caller::start(settings).unwrap();
    let Some(CallerEvent::Offer(full)) = soon(media.recv()).await else { panic!() };
    let candidates: Vec<_> = full.lines().filter_map(|line| line.strip_prefix("a=candidate:")).collect();
    assert!(!candidates.is_empty());
    let bare = without_candidates(&full);

    // When a relay hands out what it stored as relays do, the newest first
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut friend = Party::new(&[relay.url()]).await;
    let nsec = Keys::generate();
    let line = nsec.public_key();
    let folder = tempfile::tempdir().unwrap();
    let keys = &friend.keys;
    let stamp = now() - 5;
    let offer = Offer::new(bare, stamp, 60);
    let from = keys.public_key();
    relay.store(&sealed(keys, &outgoing(from, line, "reversed", Body::Offer(offer)), stamp));
    for (candidate, later) in candidates.iter().zip(1..) {
        let candidate = format!("candidate:{candidate}");
        let body = IceCandidate { candidate, sdp_mid: None, sdp_mline_index: Some(0), timestamp: stamp };
        let sent = outgoing(from, line, "reversed", Body::Candidate(body));
        relay.store(&sealed(keys, &sent, stamp + later.min(4)));
    }
    write_private(&folder.path().join("door.nsec"), &nsec.secret_key().to_bech32().unwrap());
    let configuration = format!(
        "data_dir = \"data\"\nnostr.relays = [\"{}\"]\nice.bind = [\"127.0.0.1\"]\n[[line]]\nname = \"door\"\n\
         key_file = \"door.nsec\"\nplay = \"test://\"\n{}\n",
        relay.url(),
        listed(&[keys])
    );
    let daemon = Daemon::run(folder.path(), &configuration, 1);

    // Then the line reaches the caller, who knows none of its addresses and so cannot begin.
    let (_, answer) = friend.answer().await;
    let answer = sdp::guard_answer(&full, &without_candidates(&answer.sdp)).unwrap();
    peer.answer(answer).await;
    soon(async {
        while let Some(event) = media.recv().await {
            if event == CallerEvent::Connected {
                return;
            }
        }
        panic!("not connected");
    })
    .await;
    assert!(!daemon.written().contains("event dropped"));
    let end = tokio::spawn(peer.end());
    while soon(media.recv()).await.is_some() {}
    soon(end).await.unwrap();
}

fn without_candidates(sdp: &str) -> String {
    let of_candidates = |line: &&str| !line.starts_with("a=candidate:") && !line.starts_with("a=end-of-candidates");
    sdp.lines().filter(of_candidates).flat_map(|line| [line, "\r\n"]).collect()
}

fn write_private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_in_nip_04_is_answered_in_nip_04() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut friend = Party::new(&[relay.url()]).await;
    let house = House::run(&[&relay], 1, "allow = [\"*\"]").await;
    let sent = outgoing(friend.public(), house.line, "old", Body::Offer(offer()));
    relay.store(&sealed(&friend.keys, &Outgoing { cipher: Cipher::Nip04, ..sent }, now()));

    let (envelope, answer) = friend.answer().await;

    assert_eq!(envelope.cipher, Cipher::Nip04);
    assert!(answer.accepted);
    let content = &published(&relay, house.line)[0].content;
    assert!(content.contains("?iv="), "the content itself is NIP-04's");
}
