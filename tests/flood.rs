//! Ten thousand events of strangers through a relay, and what becomes of those who may call meanwhile: they are answered, their calls go on,
//! and the process is as large afterwards as it was before.
#![cfg(feature = "daemon")]

mod support {
    #[allow(dead_code)]
    pub mod calls;
    pub mod daemon;
    pub mod http;
    pub mod relay;
    pub mod sdp_offers;
    pub mod signaling;
}

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callgate::gateway::{DialEvent, DialSettings, dial};
use callgate::media::caller::CallerSettings;
use callgate::protocol::{Answer, Body, Cipher, Dialect, IceCandidate, Offer, Outgoing, WRAP_KIND};
use nostr::nips::nip44;
use nostr::{Event, EventBuilder, JsonUtil as _, Keys, Kind, PublicKey, Tag, Timestamp, ToBech32 as _};
use serde_json::{Value, json};
use support::calls::loopback;
use support::daemon::Daemon;
use support::http;
use support::relay::{Behaviour, TestRelay};
use support::sdp_offers::fixture_text;
use support::signaling::{Party, end, now, outgoing, sealed, soon};
use tokio::sync::mpsc;

/// What strangers send, in all.
const FLOOD: usize = 10_000;
/// It comes at twice the rate of "10,000 in a minute", so that the test is over sooner, unless the machine is too slow for that.
const TICK: Duration = Duration::from_millis(50);
const A_TICK: usize = 17;
/// Events on their way at once: a relay that is read more slowly than it is written to slows its writers down.
const BEHIND: u64 = 20 * A_TICK as u64;
/// How often somebody who may call does.
const CALLERS: usize = 10;
/// KiB that the process may have grown by from its first calls on: what ten calls leave behind, and less than the flood's own size.
const GROWTH: u64 = 16 * 1024;

/// One of what strangers send, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noise {
    Plain,
    Wrapped,
    /// Signed by a stranger under the name of somebody who may call.
    Forged,
    ForgedInWrap,
    /// An offer of somebody who may call, as the relay had it before.
    Replay,
    /// Under the session of a call that is up.
    InSession,
}

impl Noise {
    fn at(place: usize) -> Self {
        match place % 40 {
            0 => Self::Forged,
            10 => Self::ForgedInWrap,
            20 => Self::Replay,
            30 => Self::InSession,
            odd if odd % 2 == 1 => Self::Wrapped,
            _ => Self::Plain,
        }
    }

    fn count(self) -> u64 {
        (0..FLOOD).filter(|place| Self::at(*place) == self).count() as u64
    }
}

/// What the noise is about.
#[derive(Clone)]
struct Scene {
    line: PublicKey,
    friend: PublicKey,
    /// Of a call that is up.
    session: String,
    /// An offer that was answered.
    answered: Event,
}

impl Scene {
    fn make(&self, place: usize) -> Event {
        let stranger = Keys::generate();
        let to = self.line;
        let tags = |session: &str| {
            [["session_id", session], ["type", "video"], ["sig_alg", "NIP-44"]]
                .map(|tag| Tag::parse(tag).unwrap())
                .into_iter()
                .chain([Tag::public_key(to), Tag::expiration(Timestamp::from_secs(now() + 600))])
        };
        // Nobody gets to decrypt it: it has an offer's size.
        let offer = || {
            let content = "A".repeat(5 * 1024);
            EventBuilder::new(Kind::from(14300), content).tags(tags("noise")).sign_with_keys(&stranger).unwrap()
        };
        match Noise::at(place) {
            Noise::Plain => offer(),
            Noise::Wrapped => wrap(to, &offer().as_json()),
            Noise::Forged => Event::from_json(self.forged(&offer())).unwrap(),
            Noise::ForgedInWrap => wrap(to, &self.forged(&offer())),
            Noise::Replay => self.answered.clone(),
            Noise::InSession => {
                let body = if place % 80 == 30 { end() } else { candidate() };
                sealed(&stranger, &outgoing(stranger.public_key(), to, &self.session, body), now())
            }
        }
    }

    fn forged(&self, event: &Event) -> String {
        let mut forged = json!(event);
        forged["pubkey"] = json!(self.friend);
        forged.to_string()
    }

    /// All of it, made before it is sent: that takes longer than sending it.
    fn make_all(&self) -> Vec<Event> {
        let parts: Vec<_> = (0..2)
            .map(|half| {
                let scene = self.clone();
                let places = half * FLOOD / 2..(half + 1) * FLOOD / 2;
                std::thread::spawn(move || places.map(|place| scene.make(place)).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    }
}

fn wrap(to: PublicKey, inside: &str) -> Event {
    let once = Keys::generate();
    let content = nip44::encrypt(once.secret_key(), &to, inside, nip44::Version::V2).unwrap();
    let tags = [Tag::public_key(to), Tag::expiration(Timestamp::from_secs(now() + 600))];
    EventBuilder::new(Kind::from(WRAP_KIND), content).tags(tags).sign_with_keys(&once).unwrap()
}

fn candidate() -> Body {
    Body::Candidate(IceCandidate {
        candidate: "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host".into(),
        sdp_mid: Some("0".into()),
        sdp_mline_index: Some(0),
        timestamp: now(),
    })
}

async fn ask(web: SocketAddr, path: &str) -> Value {
    http::request(web, "GET", path, &[("Host", &web.to_string())], "").await.unwrap().json()
}

async fn counters(web: SocketAddr) -> BTreeMap<String, u64> {
    serde_json::from_value(ask(web, "/api/counters").await["counters"].clone()).unwrap()
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Offers, waits for the answer, and hangs up; how long the answer took.
async fn calls(party: &mut Party, line: PublicKey, session: &str, dialect: Dialect) -> Duration {
    let offer = Body::Offer(Offer::new(fixture_text("chromium-recvonly"), now(), 60));
    let offering = Outgoing { dialect, ..outgoing(party.public(), line, session, offer) };
    let began = Instant::now();
    party.signaling.publish(offering.clone()).unwrap();
    let (envelope, answer) = party.answer().await;
    let took = began.elapsed();
    assert!(answer.accepted && envelope.session.as_str() == session && envelope.dialect == dialect);
    let hang_up = party.signaling.publish(Outgoing { body: end(), ..offering }).unwrap();
    soon(hang_up.outcome()).await.unwrap();
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_in_their_thousands_change_nothing_for_those_who_may_call() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let (watcher, neighbour) = (Keys::generate(), Keys::generate());
    let mut friends = Vec::new();
    for _ in 0..CALLERS {
        friends.push(Party::new(&[relay.url()]).await);
    }
    let listed = friends.iter().map(Party::public).chain([watcher.public_key(), neighbour.public_key()]);
    let listed: Vec<_> = listed.map(|key| format!("\"{}\"", key.to_bech32().unwrap())).collect();
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!(
        "data_dir = \"data\"\nnostr.relays = [\"{}\"]\nice.bind = [\"127.0.0.1\"]\nhttp.listen = \"127.0.0.1:0\"\n[[line]]\n\
         name = \"door\"\nplay = \"test://?width=160&height=120&fps=10&bitrate=100\"\nallow = [{}]\n",
        relay.url(),
        listed.join(", ")
    );
    let file = support::daemon::write_configuration(folder.path(), &configuration);
    // What it would say of each stranger is of no interest.
    let daemon = Daemon::start_with(&["run", "-c", file.to_str().unwrap()], &[("CALLGATE_LOG", "warn,callgate=info")]);
    let (web, line) = (daemon.web(), PublicKey::parse(&daemon.npub("door")).unwrap());
    soon(relay.subscriptions(CALLERS + 1)).await;

    // Given a call with a picture, and an offer that was answered
    let (units, mut pictures) = mpsc::channel(4096);
    let settings = DialSettings {
        keys: watcher,
        to: line,
        relays: vec![relay.url()],
        cipher: Cipher::Nip44,
        dialect: Some(Dialect::Plain),
        rings: Duration::from_secs(60),
        shared: Vec::new(),
        media: CallerSettings { ice: loopback(), video: true, units: Some(units), ..CallerSettings::default() },
    };
    let (dialled, mut events) = dial(settings).await.unwrap();
    let Some(DialEvent::Ringing { session }) = soon(events.recv()).await else { panic!("it does not ring") };
    soon(pictures.recv()).await.expect("a picture");
    let drained = tokio::spawn(async move { while events.recv().await.is_some() {} });
    for (at, friend) in friends.iter_mut().enumerate().take(2) {
        let dialect = [Dialect::Plain, Dialect::Wrapped][at];
        calls(friend, line, &format!("before-{at}"), dialect).await;
    }
    let is_answered = |event: &Event| event.kind == Kind::from(14300) && event.pubkey == friends[0].public();
    let answered = relay.accepted().into_iter().find(is_answered).unwrap();
    let scene = Scene { line, friend: friends[0].public(), session: session.to_string(), answered };
    let flood = tokio::task::spawn_blocking(move || scene.make_all()).await.unwrap();
    let (before, counted_before) = (resident(daemon.pid()), counters(web).await);
    let dropped = |counters: &BTreeMap<String, u64>, word: &str| {
        let count = |counters: &BTreeMap<String, u64>| counters.get(&format!("dropped_{word}")).copied().unwrap_or(0);
        count(counters) - count(&counted_before)
    };
    let (words, late) = (["not_allowed", "bad_signature", "duplicate"], ["over_budget", "overflow"]);
    let settled = |counters: &BTreeMap<String, u64>| -> u64 {
        words.iter().chain(&late).map(|word| dropped(counters, word)).sum()
    };

    // When strangers flood the line, and those who may call do
    let callers = tokio::spawn(async move {
        let mut took = Vec::new();
        for (at, friend) in friends.iter_mut().enumerate() {
            let dialect = [Dialect::Plain, Dialect::Wrapped][at % 2];
            took.push(calls(friend, line, &format!("meanwhile-{at}"), dialect).await);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        took
    });
    let began = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let mut sent = 0;
    for some in flood.chunks(A_TICK) {
        ticks.tick().await;
        some.iter().for_each(|event| relay.republish(event));
        sent += some.len() as u64;
        if sent % BEHIND < A_TICK as u64 {
            soon(async {
                while sent - settled(&counters(web).await) > BEHIND / 2 {
                    tokio::time::sleep(TICK).await;
                }
            })
            .await;
        }
    }
    let flooded = began.elapsed();
    // Somebody who may call has no say in another's call either.
    let answer = Body::Answer(Answer::accepting("v=0\r\n".into(), now()));
    relay.store(&sealed(&neighbour, &outgoing(neighbour.public_key(), line, session.as_str(), answer), now()));
    let mut took = callers.await.unwrap();
    took.sort();

    // Then each is answered, and every stranger is counted, under the right word.
    let counted = soon(async {
        loop {
            let counters = counters(web).await;
            if settled(&counters) >= FLOOD as u64 && dropped(&counters, "unknown_session") >= 1 {
                return counters;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let after = resident(daemon.pid());
    eprintln!(
        "{FLOOD} events of strangers within {:?}; {CALLERS} callers were answered after {:?} in the middle, {:?} at worst; \
         memory {before} kB before, {after} kB after; dropped: {:?}",
        flooded,
        took[took.len() / 2],
        took[took.len() - 1],
        words.iter().chain(&late).map(|word| (word, dropped(&counted, word))).collect::<Vec<_>>()
    );
    assert_eq!(settled(&counted), FLOOD as u64);
    assert_eq!(dropped(&counted, "unknown_session"), 1);
    // A machine that is too slow for the flood drops some of it unseen, by the same right.
    let unseen: u64 = late.iter().map(|word| dropped(&counted, word)).sum();
    let expected = [
        ("not_allowed", Noise::Plain.count() + Noise::Wrapped.count() + Noise::InSession.count()),
        ("bad_signature", Noise::Forged.count() + Noise::ForgedInWrap.count()),
        ("duplicate", Noise::Replay.count()),
    ];
    for (word, count) in expected {
        let seen = dropped(&counted, word);
        assert!(seen <= count && seen + unseen >= count, "{word}: {seen} of {count}, {unseen} unseen");
    }
    assert_eq!(counted["calls_offered"] - counted_before["calls_offered"], CALLERS as u64);
    assert!(after <= before + GROWTH, "{before} kB grew to {after} kB");

    // No stranger was told anything,
    let told: Vec<_> = relay.accepted().into_iter().filter(|event| event.pubkey == line).collect();
    assert!(told.iter().flat_map(|event| event.tags.public_keys()).all(|to| listed.contains(&quoted(to))));
    let wraps = relay.accepted().into_iter().filter(|event| event.kind == Kind::from(WRAP_KIND));
    let to_line_or_listed =
        |event: Event| event.tags.public_keys().all(|to| *to == line || listed.contains(&quoted(to)));
    assert!(wraps.into_iter().all(to_line_or_listed));
    // and the call that was up still has its picture.
    while pictures.try_recv().is_ok() {}
    for _ in 0..5 {
        soon(pictures.recv()).await.expect("the call goes on");
    }
    dialled.hang_up();
    soon(drained).await.unwrap();
    daemon.terminate();
    let (status, log) = daemon.exit();
    assert!(status.success(), "{log}");
}

fn quoted(key: &PublicKey) -> String {
    format!("\"{}\"", key.to_bech32().unwrap())
}
