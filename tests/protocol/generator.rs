//! Makes the vectors, from fixed keys and fixed bytes in place of nonces.

use callgate::protocol::*;
use nostr::nips::{nip04, nip44};
use nostr::{Event, Keys, Kind, SECP256K1, Tag, Timestamp, UnsignedEvent};
use serde_json::{Value, json};

use super::written;
use crate::keys::{FixedBytes, caller, line, stranger};

pub const NOW: u64 = 1_700_000_010;
pub const CREATED_AT: u64 = 1_700_000_005;
pub const EXPIRATION: u64 = 1_700_000_125;
const SESSION: &str = "0b5d9d1c-5d0f-4a55-9f0e-3a4b8a7c2f11";

const OFFER_SDP: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111 8\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Yq3k\r\n\
    a=ice-pwd:l2mB7v0oD3pHq9sXw4tRz8aC\r\na=fingerprint:sha-256 \
    8F:3A:0D:4C:91:B7:22:5E:6A:F0:13:C8:77:2B:9E:D4:51:06:EA:3F:88:C2:1D:B9:40:75:FC:E6:0A:9B:34:D8\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 \
    minptime=10;useinbandfec=1\r\na=rtpmap:8 PCMA/8000\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 0.0.0.0\r\n\
    a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Yq3k\r\na=ice-pwd:l2mB7v0oD3pHq9sXw4tRz8aC\r\na=fingerprint:sha-256 \
    8F:3A:0D:4C:91:B7:22:5E:6A:F0:13:C8:77:2B:9E:D4:51:06:EA:3F:88:C2:1D:B9:40:75:FC:E6:0A:9B:34:D8\r\n\
    a=setup:actpass\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack pli\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";
const CANDIDATE: &str = "candidate:842163049 1 udp 1677729535 192.0.2.17 46154 typ srflx raddr 0.0.0.0 rport 0";

pub fn files() -> [(&'static str, Value); 4] {
    let signals = json!({
        "about": "Signaling events that are taken. `event` is as a relay sends it, `plaintext` what its content decrypts \
            to, `signal` what a reader makes of it: absent fields have their defaults, unknown ones are gone.",
        "keys": keys_of_vectors(), "now": NOW, "vectors": signals(),
    });
    let rejects = json!({
        "about": "Events that are refused by the line's key at `now`, though their signatures are right, and why.",
        "keys": keys_of_vectors(), "now": NOW, "vectors": rejects(),
    });
    let freshness = json!({
        "about": "Offers that still ring at `now` and those that do not. All in unix seconds.",
        "vectors": freshness_vectors(),
    });
    [
        ("signals.json", signals),
        ("rejects.json", rejects),
        ("wraps.json", super::wraps::file_of_wraps()),
        ("freshness.json", freshness),
    ]
}

pub fn keys_of_vectors() -> Value {
    let entry =
        |keys: Keys| json!({ "secret": keys.secret_key().to_secret_hex(), "public": keys.public_key().to_hex() });
    json!({ "caller": entry(caller()), "line": entry(line()) })
}

/// An event as written by hand.
struct Draft {
    name: &'static str,
    about: &'static str,
    kind: u16,
    /// In place of the tag of the same name, or added; without a value: left out.
    tags: Vec<(&'static str, Option<String>)>,
    cipher: Cipher,
    plaintext: String,
    /// What becomes of the sealed content.
    content: fn(String) -> String,
}

impl Draft {
    fn new(name: &'static str, about: &'static str, kind: u16, plaintext: impl Into<String>) -> Self {
        let plaintext = plaintext.into();
        Self { name, about, kind, tags: Vec::new(), cipher: Cipher::Nip44, plaintext, content: |sealed| sealed }
    }

    fn nip04(self) -> Self {
        Self { cipher: Cipher::Nip04, ..self }
    }

    fn tag(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.tags.push((name, Some(value.into())));
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.tags.push((name, None));
        self
    }

    fn content(self, content: fn(String) -> String) -> Self {
        Self { content, ..self }
    }

    fn event(&self, from: &Keys, to: &Keys) -> Event {
        let mut rng = FixedBytes::new(self.name);
        let (secret, public) = (from.secret_key(), to.public_key());
        let sealed = match self.cipher {
            Cipher::Nip44 => {
                nip44::encrypt_with_rng(&mut rng, secret, &public, &self.plaintext, nip44::Version::V2).unwrap()
            }
            Cipher::Nip04 => nip04::encrypt_with_rng(&mut rng, secret, &public, &self.plaintext).unwrap(),
        };
        let mut tags = vec![
            ("p", public.to_hex()),
            ("session_id", SESSION.to_owned()),
            ("type", "video".to_owned()),
            ("sig_alg", self.cipher.to_string()),
            ("expiration", EXPIRATION.to_string()),
        ];
        for (name, value) in &self.tags {
            tags.retain(|(other, _)| other != name);
            tags.extend(value.clone().map(|value| (*name, value)));
        }
        let tags = tags.into_iter().map(|(name, value)| Tag::parse([name.to_owned(), value]).unwrap());
        let (created_at, kind) = (Timestamp::from_secs(CREATED_AT), Kind::Custom(self.kind));
        UnsignedEvent::new(from.public_key(), created_at, kind, tags, (self.content)(sealed))
            .sign_with_ctx(SECP256K1, &mut rng, from)
            .unwrap()
    }
}

fn signals() -> Vec<Value> {
    let mut vectors: Vec<Value> = [Cipher::Nip44, Cipher::Nip04]
        .into_iter()
        .flat_map(|cipher| ours().into_iter().map(move |(name, from_line, body)| sealed(name, from_line, cipher, body)))
        .collect();
    vectors.extend(dialects().into_iter().map(|draft| {
        let event = draft.event(&caller(), &line());
        let envelope = Envelope::read(&event).unwrap();
        vector(draft.name, draft.about, "line", &draft.plaintext, &event, &open(envelope, &event, &line()).unwrap())
    }));
    vectors
}

/// A vector of an event that callgate itself seals.
fn sealed(name: &str, from_line: bool, cipher: Cipher, body: Body) -> Value {
    let (out, from) = outgoing(from_line, cipher, body);
    let opened_by = if from_line { "caller" } else { "line" };
    let name = format!("{name}, {cipher}");
    let event = seal(&out, &from, CREATED_AT, &mut FixedBytes::new(&name)).unwrap();
    let plaintext = serde_json::to_string(&out.body).unwrap();
    let signal = Signal { envelope: Envelope::read(&event).unwrap(), body: out.body };
    vector(&name, "As callgate writes it.", opened_by, &plaintext, &event, &signal)
}

/// Something of the vectors' call, and who signs it.
pub fn outgoing(from_line: bool, cipher: Cipher, body: Body) -> (Outgoing, Keys) {
    let (from, to) = if from_line { (line(), caller()) } else { (caller(), line()) };
    let out = Outgoing {
        dialect: Dialect::Plain,
        from: from.public_key(),
        to: to.public_key(),
        session: SESSION.parse().unwrap(),
        call_type: CallType::Video,
        cipher,
        body,
        expiration: EXPIRATION,
        relays: Vec::new(),
    };
    (out, from)
}

fn vector(name: &str, about: &str, opened_by: &str, plaintext: &str, event: &Event, signal: &Signal) -> Value {
    json!({
        "name": name, "about": about, "opened_by": opened_by, "plaintext": plaintext, "event": event,
        "signal": written(signal),
    })
}

/// What callgate writes: as whom, and what.
pub fn ours() -> Vec<(&'static str, bool, Body)> {
    let timestamp = CREATED_AT - 1;
    let answer_sdp = OFFER_SDP.replace("actpass", "active").replace("recvonly", "sendonly").replace(" 111 8\r", " 8\r");
    let turn = RtcServer {
        urls: vec!["turn:turn.example.com:3478".into(), "turns:turn.example.com:5349".into()],
        username: Some("user".into()),
        credential: Some("not a secret".into()),
    };
    let stun = RtcServer { urls: vec!["stun:stun.example.com:3478".into()], username: None, credential: None };
    let end = |reason, detail: Option<&str>| {
        Body::End(CallEnd { detail: detail.map(str::to_owned), ..CallEnd::new(reason, timestamp) })
    };
    let candidate =
        IceCandidate { candidate: CANDIDATE.into(), sdp_mid: Some("0".into()), sdp_mline_index: Some(0), timestamp };
    let named = Offer { name: Some("Front door".into()), ..Offer::new(OFFER_SDP.into(), timestamp, 60) };
    let device = || Some("5f0c9a".parse().unwrap());
    let of_device = Answer { device: device(), ..Answer::accepting(answer_sdp.clone(), timestamp) };
    let elsewhere =
        CallEnd { except: device(), cause: Some(EndCause::Elsewhere), ..CallEnd::new(EndWord::UserLeft, timestamp) };
    let declined = CallEnd { cause: Some(EndCause::Declined), ..CallEnd::new(EndWord::Rejected, timestamp) };
    vec![
        ("an offer", false, Body::Offer(Offer::new(OFFER_SDP.into(), timestamp, 60))),
        (
            "an offer with servers",
            false,
            Body::Offer(Offer { rtc_servers: vec![stun, turn], ..Offer::new(OFFER_SDP.into(), timestamp, 30) }),
        ),
        ("an answer", true, Body::Answer(Answer::accepting(answer_sdp, timestamp))),
        ("a refusal", true, Body::Answer(Answer::refusing(timestamp))),
        ("a candidate", false, Body::Candidate(candidate)),
        ("a hang-up", false, end(EndWord::UserLeft, None)),
        (
            "the end of a refused call",
            true,
            end(EndWord::Rejected, Some("The offer's SDP was refused: line 7: no mid.")),
        ),
        ("the end of a call that timed out", true, end(EndWord::Timeout, Some("No connection came up in time."))),
        ("an offer with a name", false, Body::Offer(named)),
        ("an answer of a device", true, Body::Answer(of_device)),
        ("the end for all devices but one", false, Body::End(elsewhere)),
        ("the end of a call that was declined", true, Body::End(declined)),
    ]
}

/// What others may write and a reader takes all the same.
fn dialects() -> Vec<Draft> {
    let offer = |fields: &str| format!(r#"{{"sdp":"v=0\r\n",{fields}}}"#);
    vec![
        Draft::new(
            "numbers as strings",
            "Numeric strings are numbers.",
            14300,
            offer(r#""timestamp":"1700000004","expires_in":"45""#),
        ),
        Draft::new(
            "numbers with fractions",
            "Fractions are cut off.",
            14300,
            offer(r#""timestamp":1700000004.75,"expires_in":45.5"#),
        ),
        Draft::new(
            "no expires_in",
            "An offer that does not say rings for 60 s.",
            14300,
            offer(r#""timestamp":1700000004"#),
        )
        .nip04(),
        Draft::new(
            "unknown fields and tags",
            "They are passed over.",
            14300,
            offer(r#""timestamp":1700000004,"expires_in":60,"codecs":["H264"],"x":{"y":null},"rtc_servers":null"#),
        )
        .tag("client", "another client")
        .tag("codec", "H264"),
        Draft::new(
            "urls as a string and as a list",
            "Both are lists to a reader.",
            14300,
            offer(
                r#""timestamp":1700000004,"rtc_servers":[{"urls":"stun:stun.example.com"},{"urls":["turn:turn.example.com"],"username":"u","credential":"c","credentialType":"password"}]"#,
            ),
        ),
        Draft::new(
            "relay and rtc_servers tags",
            "Spaces and empty items in the list do not count.",
            14300,
            offer(r#""timestamp":1700000004"#),
        )
        .tag("relay", "wss://relay.example.com")
        .tag("rtc_servers", "stun:stun.example.com, turn:turn.example.com,"),
        Draft::new("a relay tag that is no relay", "It is passed over.", 14300, offer(r#""timestamp":1700000004"#))
            .tag("relay", "https://example.com"),
        Draft::new(
            "no expiration",
            "The expiration tag is optional.",
            14303,
            r#"{"reason":"user_left","timestamp":1700000004}"#,
        )
        .without("expiration"),
        Draft::new("an audio call", "The type tag.", 14300, offer(r#""timestamp":1700000004"#)).tag("type", "audio"),
        Draft::new("a screen call", "The type tag.", 14300, offer(r#""timestamp":1700000004"#)).tag("type", "screen"),
        Draft::new(
            "a session id that is a hash",
            "Any printable ASCII without spaces, up to 128 characters.",
            14303,
            r#"{"reason":"user_left","timestamp":1700000004}"#,
        )
        .tag("session_id", "ab".repeat(64)),
        Draft::new(
            "a candidate without its m-line",
            "sdpMid and sdpMLineIndex may be absent or null.",
            14302,
            format!(r#"{{"candidate":"{CANDIDATE}","sdpMid":null,"timestamp":1700000004}}"#),
        ),
        Draft::new(
            "no more candidates",
            "An empty candidate ends them.",
            14302,
            r#"{"candidate":"","sdpMid":"0","sdpMLineIndex":"0","timestamp":1700000004}"#,
        ),
        Draft::new(
            "a refusal without an sdp",
            "Only an answer that accepts must have one.",
            14301,
            r#"{"accepted":false,"timestamp":1700000004}"#,
        ),
        Draft::new(
            "an end for a reason of its own",
            "An unknown reason ends the call as user_left does.",
            14303,
            r#"{"reason":"bored","timestamp":1700000004}"#,
        ),
        Draft::new("an end with nothing in it", "Its created_at stands in for the timestamp.", 14303, "{}"),
    ]
}

fn rejects() -> Vec<Value> {
    let end = r#"{"reason":"user_left","timestamp":1700000004}"#;
    let offer = |fields: &str| format!(r#"{{"sdp":"v=0\r\n",{fields}}}"#);
    let draft = |name, about, kind, plaintext: &str| Draft::new(name, about, kind, plaintext);
    let many_servers = vec![r#"{"urls":"stun:stun.example.com"}"#; MAX_RTC_SERVERS + 1].join(",");
    let vectors = vec![
        ("kind", None, draft("another kind", "Not one of 14300-14303.", 14304, end)),
        (
            "oversized",
            None,
            draft("over 64 KiB", "The event's JSON has more than 65536 bytes.", 14303, end)
                .content(|_| "A".repeat(MAX_EVENT_BYTES)),
        ),
        ("tag", Some("p"), draft("no p", "", 14303, end).without("p")),
        ("tag", Some("p"), draft("a p that is no key", "", 14303, end).tag("p", "npub")),
        ("tag", Some("session_id"), draft("no session_id", "", 14303, end).without("session_id")),
        ("tag", Some("session_id"), draft("an empty session_id", "", 14303, end).tag("session_id", "")),
        ("tag", Some("session_id"), draft("a session_id with a space", "", 14303, end).tag("session_id", "a b")),
        (
            "tag",
            Some("session_id"),
            draft("a session_id of 129 characters", "", 14303, end).tag("session_id", "f".repeat(129)),
        ),
        ("tag", Some("type"), draft("no type", "", 14303, end).without("type")),
        ("tag", Some("type"), draft("an unknown type", "", 14303, end).tag("type", "smell")),
        ("tag", Some("sig_alg"), draft("no sig_alg", "", 14303, end).without("sig_alg")),
        ("tag", Some("sig_alg"), draft("an unknown sig_alg", "", 14303, end).tag("sig_alg", "none")),
        ("tag", Some("expiration"), draft("an expiration that is no number", "", 14303, end).tag("expiration", "soon")),
        (
            "tag",
            Some("rtc_servers"),
            draft("too many servers in the tag", "More than 16.", 14300, &offer(r#""timestamp":1700000004"#))
                .tag("rtc_servers", "stun:a,".repeat(17)),
        ),
        (
            "expired",
            None,
            draft("expired", "A relay served it after its NIP-40 expiration.", 14303, end)
                .tag("expiration", (NOW - 1).to_string()),
        ),
        ("sealed", None, draft("not encrypted", "", 14303, end).content(|_| r#"{"reason":"user_left"}"#.into())),
        ("sealed", None, draft("tampered", "A character of the ciphertext was changed.", 14303, end).content(tampered)),
        ("sealed", None, draft("sig_alg says NIP-04, the content is NIP-44", "", 14303, end).tag("sig_alg", "NIP-04")),
        (
            "sealed",
            None,
            draft("sig_alg says NIP-44, the content is NIP-04", "", 14303, end).nip04().tag("sig_alg", "NIP-44"),
        ),
        ("payload", Some("json"), draft("no JSON", "", 14303, "bye")),
        ("payload", Some("json"), draft("no JSON object", "", 14303, "[]")),
        ("payload", Some("sdp"), draft("no sdp", "", 14300, r#"{"timestamp":1700000004}"#)),
        (
            "payload",
            Some("sdp"),
            draft(
                "an sdp that is no string",
                "",
                14300,
                r#"{"sdp":{"type":"offer","sdp":"v=0"},"timestamp":1700000004}"#,
            ),
        ),
        (
            "sdp_oversized",
            None,
            draft(
                "an sdp over 32 KiB",
                "",
                14300,
                &json!({ "sdp": "v".repeat(MAX_SDP_BYTES + 1), "timestamp": 1_700_000_004 }).to_string(),
            ),
        ),
        (
            "payload",
            Some("timestamp"),
            draft("no timestamp", "An offer must say when it was made.", 14300, r#"{"sdp":"v=0"}"#),
        ),
        ("payload", Some("timestamp"), draft("a negative timestamp", "", 14300, &offer(r#""timestamp":-1"#))),
        (
            "payload",
            Some("expires_in"),
            draft(
                "an expires_in that is no number",
                "",
                14300,
                &offer(r#""timestamp":1700000004,"expires_in":"a minute""#),
            ),
        ),
        (
            "payload",
            Some("rtc_servers"),
            draft(
                "too many servers",
                "More than 16.",
                14300,
                &offer(&format!(r#""timestamp":1700000004,"rtc_servers":[{many_servers}]"#)),
            ),
        ),
        (
            "payload",
            Some("rtc_servers"),
            draft(
                "a server without urls",
                "",
                14300,
                &offer(r#""timestamp":1700000004,"rtc_servers":[{"username":"u"}]"#),
            ),
        ),
        (
            "payload",
            Some("accepted"),
            draft("an answer that says neither yes nor no", "", 14301, r#"{"sdp":"v=0","timestamp":1700000004}"#),
        ),
        (
            "payload",
            Some("sdp"),
            draft("an acceptance without an sdp", "", 14301, r#"{"accepted":true,"timestamp":1700000004}"#),
        ),
        ("payload", Some("candidate"), draft("no candidate", "", 14302, r#"{"sdpMid":"0","timestamp":1700000004}"#)),
        (
            "payload",
            Some("candidate"),
            draft(
                "a candidate of 1025 bytes",
                "",
                14302,
                &json!({ "candidate": "c".repeat(MAX_CANDIDATE_BYTES + 1) }).to_string(),
            ),
        ),
        (
            "payload",
            Some("sdpMLineIndex"),
            draft("a negative m-line", "", 14302, r#"{"candidate":"","sdpMLineIndex":-1,"timestamp":1700000004}"#),
        ),
    ];
    let mut vectors: Vec<Value> = vectors
        .into_iter()
        .map(|(word, field, draft)| reject(word, field, &draft, &draft.event(&caller(), &line())))
        .collect();
    let foreign =
        draft("sealed for another key", "Its p names the line.", 14303, end).tag("p", line().public_key().to_hex());
    vectors.push(reject("sealed", None, &foreign, &foreign.event(&caller(), &stranger())));
    vectors
}

fn reject(word: &str, field: Option<&str>, draft: &Draft, event: &Event) -> Value {
    let mut vector = json!({ "name": draft.name, "reject": word, "event": event });
    if let Some(field) = field {
        vector["field"] = field.into();
    }
    if !draft.about.is_empty() {
        vector["about"] = draft.about.into();
    }
    vector
}

/// Changes a character in the middle, which is still base64.
fn tampered(sealed: String) -> String {
    let (head, tail) = sealed.split_at(sealed.len() / 2);
    let changed = if tail.starts_with('A') { 'B' } else { 'A' };
    format!("{head}{changed}{}", &tail[1..])
}

fn freshness_vectors() -> Vec<Value> {
    let vector = |name, created_at: u64, timestamp: u64, expires_in: Option<u64>, now: u64, expect| {
        json!({
            "name": name, "created_at": created_at, "timestamp": timestamp, "expires_in": expires_in, "now": now,
            "expect": expect,
        })
    };
    let t = 1_700_000_000;
    vec![
        vector("just made", t, t, Some(30), t, "fresh"),
        vector("in its last second", t, t, Some(30), t + 29, "fresh"),
        vector("its time has passed", t, t, Some(30), t + 30, "stale"),
        vector("it does not say, and rings for 60 s", t, t, None, t + 59, "fresh"),
        vector("it did not say, and 60 s have passed", t, t, None, t + 60, "stale"),
        vector("stamped anew, with an old timestamp", t + 100, t, Some(30), t + 100, "stale"),
        vector("its clocks are 60 s ahead", t + 60, t + 60, Some(30), t, "fresh"),
        vector("its timestamp is 61 s ahead", t, t + 61, Some(30), t, "from_the_future"),
        vector("its created_at is 61 s ahead", t + 61, t, Some(30), t, "from_the_future"),
    ]
}
