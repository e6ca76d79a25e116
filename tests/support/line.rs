//! A line whose signaling is the test itself, and a camera for it: a browser that draws and sounds what can be recognised.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nostr::nips::{nip04, nip44};
use nostr::{
    Event, EventBuilder, EventId, Filter, JsonUtil as _, Keys, Kind, PublicKey, Tag, Timestamp, ToBech32 as _,
};
use nostr_sdk::{Client, RelayPoolNotification};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

use super::browser::Browser;
use super::relay::TestRelay;

pub const OFFER: u16 = 14300;
pub const ANSWER: u16 = 14301;
pub const CANDIDATE: u16 = 14302;
pub const END: u16 = 14303;
pub const WRAP: u16 = 21059;
/// What a camera sounds.
pub const TONE_HZ: f64 = 880.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Plain,
    Wrapped,
}

/// A line: its keys, and its connection to the relay.
pub struct Line {
    pub keys: Keys,
    pub client: Client,
    heard: Receiver<RelayPoolNotification>,
    relay: String,
    wraps: bool,
    /// An event may come again, and in both dialects.
    taken: HashSet<EventId>,
    /// Of the newest event: of two of one second a relay keeps one.
    newest: AtomicU64,
}

/// What the page sent.
#[derive(Debug, Clone)]
pub struct Heard {
    pub event: Event,
    pub content: Value,
    pub dialect: Dialect,
}

/// One call's address.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: String,
    pub peer: PublicKey,
    pub dialect: Dialect,
}

impl Heard {
    pub fn tag(&self, name: &str) -> Option<&str> {
        tag(&self.event, name)
    }

    pub fn session(&self) -> Session {
        let id = self.tag("session_id").expect("a session").to_owned();
        Session { id, peer: self.event.pubkey, dialect: self.dialect }
    }
}

fn tag<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    let found = event.tags.iter().map(|tag| tag.as_slice()).find(|tag| tag[0] == name);
    found.and_then(|tag| tag.get(1)).map(String::as_str)
}

impl Line {
    /// A line that knows both dialects.
    pub async fn start(relay: &TestRelay) -> Line {
        Line::knowing(relay, true).await
    }

    /// A line that does not know wraps.
    pub async fn plain(relay: &TestRelay) -> Line {
        Line::knowing(relay, false).await
    }

    async fn knowing(relay: &TestRelay, wraps: bool) -> Line {
        let relay = relay.url().to_string();
        let keys = Keys::generate();
        let client = Client::new(keys.clone());
        client.add_relay(&relay).await.expect("the relay");
        client.connect().await;
        client.wait_for_connection(Duration::from_secs(10)).await;
        let heard = client.notifications();
        let plain = [OFFER, ANSWER, CANDIDATE, END];
        let kinds = plain.into_iter().chain(wraps.then_some(WRAP)).map(Kind::from);
        client.subscribe(Filter::new().kinds(kinds).pubkey(keys.public_key()), None).await.expect("a subscription");
        Line { keys, client, heard, relay, wraps, taken: HashSet::new(), newest: AtomicU64::new(0) }
    }

    pub fn npub(&self) -> String {
        self.keys.public_key().to_bech32().unwrap()
    }

    /// The fragment that makes the page call this line.
    pub fn fragment(&self, more: &str) -> String {
        format!("#npub={}&relay={}&name=driveway{more}", self.npub(), self.relay)
    }

    /// The next event of this kind, in either dialect.
    pub async fn hear(&mut self, kind: u16) -> Heard {
        loop {
            let notification =
                tokio::time::timeout(Duration::from_secs(60), self.heard.recv()).await.expect("an event");
            let Ok(RelayPoolNotification::Event { event, .. }) = notification else { continue };
            event.verify().expect("a signed event");
            let (event, dialect) = if event.kind == Kind::from(WRAP) {
                assert_eq!(tag(&event, "p"), Some(self.keys.public_key().to_hex().as_str()));
                assert!(tag(&event, "expiration").is_some());
                let inner =
                    nip44::decrypt(self.keys.secret_key(), &event.pubkey, &event.content).expect("for this line");
                let inner = Event::from_json(inner).expect("an event");
                inner.verify().expect("a signed event");
                assert_ne!(inner.pubkey, event.pubkey, "the wrap hides who calls");
                (inner, Dialect::Wrapped)
            } else {
                (*event, Dialect::Plain)
            };
            if !self.taken.insert(event.id) || event.kind != Kind::from(kind) {
                continue;
            }
            let (secret, from) = (self.keys.secret_key(), &event.pubkey);
            let content = match tag(&event, "sig_alg").expect("its cipher") {
                "NIP-04" => nip04::decrypt(secret, from, &event.content).expect("for this line"),
                _ => nip44::decrypt(secret, from, &event.content).expect("for this line"),
            };
            return Heard { content: serde_json::from_str(&content).expect("JSON"), event, dialect };
        }
    }

    /// Answers the session of `offer` with an event of `kind`, signed by `signer`.
    pub async fn say(&self, offer: &Heard, signer: &Keys, kind: u16, content: Value) {
        self.say_at(offer, signer, kind, content, Timestamp::now()).await;
    }

    pub async fn say_at(&self, offer: &Heard, signer: &Keys, kind: u16, content: Value, created_at: Timestamp) {
        self.send(&sealed(&offer.session(), signer, kind, content, created_at)).await;
    }

    /// Sends an event of this line in the session.
    pub async fn tell(&self, session: &Session, kind: u16, content: Value) {
        let now = Timestamp::now().as_secs();
        let newest = self.newest.fetch_max(now - 1, Ordering::Relaxed).max(now - 1) + 1;
        self.newest.store(newest, Ordering::Relaxed);
        self.send(&sealed(session, &self.keys, kind, content, Timestamp::from(newest))).await;
    }

    /// Calls `peer`: an offer in a new session, which rings for so many seconds.
    pub async fn ring(&self, peer: PublicKey, sdp: &str, seconds: u64, more: Value) -> Session {
        let dialect = if self.wraps { Dialect::Wrapped } else { Dialect::Plain };
        let session = Session { id: Keys::generate().public_key().to_hex(), peer, dialect };
        let mut content = json!({ "sdp": sdp, "expires_in": seconds, "timestamp": Timestamp::now().as_secs() });
        content.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.tell(&session, OFFER, content).await;
        session
    }

    async fn send(&self, event: &Event) {
        self.client.send_event(event).await.expect("the relay takes it");
    }
}

/// An event of the session as its dialect has it.
fn sealed(session: &Session, signer: &Keys, kind: u16, content: Value, created_at: Timestamp) -> Event {
    let to = session.peer;
    let encrypted =
        |keys: &Keys, text: String| nip44::encrypt(keys.secret_key(), &to, text, nip44::Version::V2).unwrap();
    let tags = [
        Tag::public_key(to),
        Tag::parse(["session_id", &session.id]).unwrap(),
        Tag::parse(["type", "video"]).unwrap(),
        Tag::parse(["sig_alg", "NIP-44"]).unwrap(),
    ];
    let event = EventBuilder::new(Kind::from(kind), encrypted(signer, content.to_string()))
        .tags(tags)
        .custom_created_at(created_at)
        .sign_with_keys(signer)
        .unwrap();
    if session.dialect == Dialect::Plain {
        return event;
    }
    let fresh = Keys::generate();
    EventBuilder::new(Kind::from(WRAP), encrypted(&fresh, event.as_json()))
        .tags([Tag::public_key(to), Tag::expiration(Timestamp::now() + 60)])
        .sign_with_keys(&fresh)
        .unwrap()
}

/// A browser that draws moving bars below a clock, and sounds a tone.
pub struct Camera(pub Browser);

/// The connection and its tracks, as `pc`.
const CAMERA: &str = "
    const canvas = document.querySelector('canvas'), pen = canvas.getContext('2d');
    window.timer = setInterval(() => {
        const now = Date.now();
        pen.fillStyle = `hsl(${now / 20 % 360} 80% 50%)`; pen.fillRect(0, 0, 640, 360);
        pen.fillStyle = '#fff'; pen.fillRect(now / 4 % 640, 60, 80, 300);
        for (let block = 0; block < 32; block++) {
            pen.fillStyle = (now % 2 ** 32) / 2 ** (31 - block) % 2 >= 1 ? '#fff' : '#000';
            pen.fillRect(block * 16, 0, 16, 16);
        }
    }, 40);
    const sound = new AudioContext(), tone = new OscillatorNode(sound, { frequency: args.hz });
    const out = sound.createMediaStreamDestination(); tone.connect(out); tone.start();
    window.tracks = [...canvas.captureStream(25).getTracks(), ...out.stream.getTracks()];
    window.pc = new RTCPeerConnection();
    window.complete = async (description) => {
        await pc.setLocalDescription(description);
        while (pc.iceGatheringState !== 'complete') await new Promise((resolve) => setTimeout(resolve, 20));
        return pc.localDescription.sdp;
    };
    window.answered = async (sdp) => {
        await pc.setRemoteDescription({ type: 'offer', sdp });
        return complete(await pc.createAnswer());
    };";

impl Camera {
    async fn open() -> Camera {
        let browser = Browser::start().await;
        let page = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
        std::fs::write(page.path(), "<!doctype html><canvas width=640 height=360></canvas>").unwrap();
        browser.open(&format!("file://{}", page.path().display())).await;
        browser.run(CAMERA, json!({ "hz": TONE_HZ })).await.expect("a camera");
        Camera(browser)
    }

    /// A camera that answers this offer, and its answer.
    pub async fn answering(offer: &str) -> (Camera, String) {
        let camera = Camera::open().await;
        let body = "await pc.setRemoteDescription({ type: 'offer', sdp: args });
            for (const track of tracks) pc.addTrack(track);
            return complete(await pc.createAnswer());";
        let answer = camera.0.run(body, json!(offer)).await.expect("an answer");
        (camera, answer.as_str().unwrap().to_owned())
    }

    /// A camera that calls, and its offer.
    pub async fn offering() -> (Camera, String) {
        let camera = Camera::open().await;
        let body = "for (const track of tracks) pc.addTransceiver(track, { direction: track.kind === 'video' ? 'sendonly' : 'sendrecv' });
            return complete(await pc.createOffer());";
        let offer = camera.0.run(body, Value::Null).await.expect("an offer");
        (camera, offer.as_str().unwrap().to_owned())
    }

    /// A camera that calls with its tone alone, and its offer.
    pub async fn sounding() -> (Camera, String) {
        let camera = Camera::open().await;
        let body = "pc.addTransceiver(tracks.find((track) => track.kind === 'audio'), { direction: 'sendrecv' });
            return complete(await pc.createOffer());";
        let offer = camera.0.run(body, Value::Null).await.expect("an offer");
        (camera, offer.as_str().unwrap().to_owned())
    }

    /// Adds its picture to the call: the offer that says so.
    pub async fn add_picture(&self) -> String {
        let body = "pc.addTransceiver(tracks.find((track) => track.kind === 'video'), { direction: 'sendonly' });
            return complete(await pc.createOffer());";
        self.0.run(body, Value::Null).await.expect("an offer").as_str().unwrap().to_owned()
    }

    /// Takes the answer to its offer.
    pub async fn take(&self, answer: &str) {
        let body = "await pc.setRemoteDescription({ type: 'answer', sdp: args })";
        self.0.run(body, json!(answer)).await.expect("it is taken");
    }

    /// Answers a further offer.
    pub async fn answer(&self, offer: &str) -> String {
        let answer = self.0.run("return answered(args)", json!(offer)).await.expect("an answer");
        answer.as_str().unwrap().to_owned()
    }
}
