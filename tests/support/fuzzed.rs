//! What must hold of anything that a stranger may send: each function takes any bytes, and panics when it does not.
//!
//! The targets under `fuzz/` and `tests/fuzz_regressions.rs` are made of these, so that what one finds the other replays. Of what they
//! use nothing verifies a signature first: whoever signs may write what they like.

#![allow(dead_code, reason = "each binary that includes this uses a part of it")]

use std::sync::LazyLock;

use callgate::call::{Action, Call, Input, Millis, State, Timing};
use callgate::endpoint::Streams;
use callgate::protocol::{
    self, Body, CallType, Cipher, Container, Dialect, Envelope, MAX_CANDIDATE_BYTES, MAX_DETAIL_BYTES,
    MAX_DEVICE_BYTES, MAX_MID_BYTES, MAX_NAME_CHARS, MAX_RTC_SERVERS, MAX_SDP_BYTES, MAX_URL_BYTES, Signal, SignalKind,
    WRAP_KIND, Wrap,
};
use callgate::sdp::{
    self, Agreement, CallingPlan, Candidate, IceCredentials, IceUrl, MAX_CANDIDATES, MediaChange, Plan, RemoteAnswer,
};
use nostr::nips::nip44;
use nostr::secp256k1::schnorr::Signature;
use nostr::{Event, EventId, JsonUtil as _, Keys, Kind, PublicKey, RelayMessage, SecretKey, Tag, Tags, Timestamp};

use crate::offers;

pub type Target = fn(&[u8]);

/// The name of each target's folder, and the target.
pub const TARGETS: [(&str, Target); 7] = [
    ("answer", answer),
    ("candidate", candidate),
    ("event", event),
    ("offer", offer),
    ("payload", payload),
    ("renegotiation", renegotiation),
    ("wrap", wrap),
];

const CREATED_AT: u64 = 1_700_000_000;

/// The line that everything is for.
fn line() -> Keys {
    Keys::new(SecretKey::from_slice(&[2; 32]).expect("it is a key"))
}

/// Whoever signs the wraps.
fn stranger() -> Keys {
    Keys::new(SecretKey::from_slice(&[3; 32]).expect("it is a key"))
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The first byte chooses, the others are the text.
fn chosen(data: &[u8]) -> Option<(usize, &str)> {
    let (first, rest) = data.split_first()?;
    Some((usize::from(*first), text(rest)?))
}

/// A relay's message, or the event in it.
pub fn event(data: &[u8]) {
    let Some(text) = text(data) else { return };
    // As it comes off the wire, before anything is known of it.
    let message = RelayMessage::from_json(text);
    let event = match message {
        Ok(RelayMessage::Event { event, .. }) => event.into_owned(),
        _ => match Event::from_json(text) {
            Ok(event) => event,
            Err(_) => return,
        },
    };
    let _ = event.verify();
    for container in [Container::Bare, Container::Wrap] {
        if let Ok(envelope) = Envelope::read_in(container, &event) {
            held_envelope(&envelope, &event);
            let _ = protocol::open(envelope, &event, &line());
        }
    }
    if let Ok(wrap) = Wrap::read(&event) {
        let _ = wrap.check_expiration(CREATED_AT);
        let _ = wrap.open(&event, &line());
    }
}

/// What lies in a wrap, once it is decrypted.
pub fn wrap(data: &[u8]) {
    let Some(inside) = text(data) else { return };
    let (line, stranger) = (line(), stranger());
    // NIP-44 encrypts no empty text, and none over 64 KiB.
    let Ok(content) = nip44::encrypt(stranger.secret_key(), &line.public_key(), inside, nip44::Version::V2) else {
        return;
    };
    let outside = made(stranger.public_key(), WRAP_KIND, [Tag::public_key(line.public_key())], content);
    let Ok(wrap) = Wrap::read(&outside) else { return };
    let Ok((envelope, event)) = wrap.open(&outside, &line) else { return };
    assert_eq!((envelope.dialect, envelope.to), (Dialect::Wrapped, line.public_key()));
    held_envelope(&envelope, &event);
    let _ = event.verify();
    let _ = protocol::open(envelope, &event, &line);
}

/// An event with any signature: nothing here looks at it.
fn made(from: PublicKey, kind: u16, tags: impl IntoIterator<Item = Tag>, content: String) -> Event {
    let tags = Tags::from_list(tags.into_iter().collect());
    let signature = Signature::from_slice(&[0; 64]).expect("it has the size");
    let created_at = Timestamp::from_secs(CREATED_AT);
    Event::new(EventId::all_zeros(), from, created_at, Kind::Custom(kind), tags, content, signature)
}

fn held_envelope(envelope: &Envelope, event: &Event) {
    assert_eq!((envelope.from, envelope.event_id), (event.pubkey, event.id));
    assert_eq!(envelope.kind.number(), event.kind.as_u16());
    assert!((1..=128).contains(&envelope.session.as_str().len()));
    assert!(envelope.rtc_servers.len() <= MAX_RTC_SERVERS);
    assert!(envelope.rtc_servers.iter().all(|url| url.len() <= MAX_URL_BYTES));
    let _ = envelope.check_expiration(CREATED_AT);
}

/// A payload. The first byte chooses its kind.
pub fn payload(data: &[u8]) {
    let Some((choice, json)) = chosen(data) else { return };
    let kind = SignalKind::ALL[choice % 4];
    let Ok(body) = Body::read(kind, json, CREATED_AT) else { return };
    assert_eq!(body.kind(), kind);
    match &body {
        Body::Offer(offer) => {
            assert!(offer.sdp.len() <= MAX_SDP_BYTES && offer.rtc_servers.len() <= MAX_RTC_SERVERS);
            assert!(offer.name.as_ref().is_none_or(|name| name.chars().count() <= MAX_NAME_CHARS));
            assert!(offer.name.as_ref().is_none_or(|name| !name.chars().any(char::is_control)));
            let _ = protocol::freshness(offer, CREATED_AT, CREATED_AT);
        }
        Body::Answer(answer) => {
            assert!(answer.sdp.len() <= MAX_SDP_BYTES);
            assert!(answer.device.as_ref().is_none_or(|device| device.as_str().len() <= MAX_DEVICE_BYTES));
        }
        Body::Candidate(candidate) => {
            assert!(candidate.candidate.len() <= MAX_CANDIDATE_BYTES);
            assert!(candidate.sdp_mid.as_ref().is_none_or(|mid| mid.len() <= MAX_MID_BYTES));
            let _ = Candidate::read(&candidate.candidate);
        }
        Body::End(end) => {
            assert!(end.detail.as_ref().is_none_or(|detail| detail.len() <= MAX_DETAIL_BYTES));
            assert!(end.detail.as_ref().is_none_or(|detail| !detail.chars().any(char::is_control)));
        }
    }
    // Written as we write, it is read as the same.
    let written = serde_json::to_string(&body).expect("it is written");
    assert_eq!(Body::read(kind, &written, CREATED_AT).as_ref(), Ok(&body), "{written}");
    call(body);
}

/// A call of this offer, or in which this comes: it goes its way, and is over when it is hung up.
fn call(body: Body) {
    let signal = |body: Body| Signal { envelope: envelope(body.kind()), body };
    let (offer, further) = match body {
        Body::Offer(_) => (body.clone(), body),
        _ => {
            let sdp = include_str!("../fixtures/offers/chromium-talk.sdp").to_owned();
            (Body::Offer(protocol::Offer::new(sdp, CREATED_AT, 60)), body)
        }
    };
    let now = Millis(CREATED_AT * 1000);
    let (mut call, mut done) = Call::answering(now, signal(offer), Timing::default());
    done.extend(call.handle(now, Input::SourceReady(offers::camera())));
    done.extend(call.handle(now, Input::Signal(signal(further.clone()))));
    done.extend(call.handle(now, Input::AnswerReady("v=0".to_owned())));
    done.extend(call.handle(now, Input::Signal(signal(further))));
    done.extend(call.handle(now, Input::HangUp(callgate::call::EndReason::OperatorLeft)));
    done.extend(call.handle(now, Input::PeerClosed));
    assert_eq!(call.state(), State::Ended);
    let reports = done.iter().filter(|action| matches!(action, Action::Report(_))).count();
    assert!(reports == 1 && matches!(done.last(), Some(Action::Report(_))));
}

fn envelope(kind: SignalKind) -> Envelope {
    Envelope {
        dialect: Dialect::Wrapped,
        event_id: EventId::all_zeros(),
        kind,
        from: stranger().public_key(),
        to: line().public_key(),
        session: "fuzzed".parse().expect("it is a session id"),
        call_type: CallType::Video,
        cipher: Cipher::Nip44,
        relay: None,
        rtc_servers: Vec::new(),
        created_at: CREATED_AT,
        expiration: None,
    }
}

/// A candidate, or the URL of a STUN or TURN server.
pub fn candidate(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(Some(candidate)) = Candidate::read(text) {
        let ours = candidate.text();
        assert!(ours.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{ours}");
        assert_eq!(Candidate::read(&ours), Ok(Some(candidate)), "{text}");
    }
    if let Ok(url) = text.parse::<IceUrl>() {
        assert_eq!(url.to_string().parse(), Ok(url), "{text}");
    }
}

/// An offer's SDP. The first byte chooses what the line has.
pub fn offer(data: &[u8]) {
    let Some((choice, text)) = chosen(data) else { return };
    static LINES: LazyLock<Vec<Streams>> = LazyLock::new(offers::lines);
    held_offer(text, &LINES[choice % LINES.len()]);
}

/// What a text for webrtcbin may begin its lines with.
const OUR_LINES: [&str; 25] = [
    "v=0",
    "o=- 1 1 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
    "a=ice-lite",
    "a=group:BUNDLE ",
    "m=audio 9 UDP/TLS/RTP/SAVPF ",
    "m=video 9 UDP/TLS/RTP/SAVPF ",
    "c=IN IP4 0.0.0.0",
    "a=mid:",
    "a=ice-ufrag:",
    "a=ice-pwd:",
    "a=ice-options:trickle",
    "a=fingerprint:sha-256 ",
    "a=setup:actpass",
    "a=setup:active",
    "a=setup:passive",
    "a=rtcp-mux",
    "a=sendrecv",
    "a=sendonly",
    "a=recvonly",
    "a=inactive",
    "a=rtpmap:",
    "a=fmtp:",
    "a=rtcp-fb:",
];

fn held_lines(text: &str, more: &[&str]) {
    for line in text.lines() {
        assert!(OUR_LINES.iter().chain(more).any(|known| line.starts_with(known)), "{line}");
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
    }
}

/// Holds whatever the guard says about an offer against what must be true of it. Returns whether it was accepted and planned.
pub fn held_offer(text: &str, streams: &Streams) -> (bool, bool) {
    let Ok(offer) = sdp::guard_offer(text) else { return (false, false) };
    assert!(offer.candidates.len() <= MAX_CANDIDATES);
    let takeable = offer.sections.iter().filter(|section| section.takeable).count();
    assert!(takeable <= 2);
    assert!(takeable == 0 || (!offer.fingerprints.is_empty() && offer.sections[offer.tag].takeable), "{text}");
    let Ok(plan) = sdp::plan(&offer, streams) else { return (true, false) };
    // The text for webrtcbin has our lines only, and means the same when it is read again.
    let ours = plan.offer_text(&offer);
    held_lines(&ours, &[]);
    let again = sdp::guard_offer(&ours).unwrap_or_else(|reject| panic!("{reject}\n{ours}"));
    assert_eq!((&again.ice_ufrag, &again.ice_pwd), (&offer.ice_ufrag, &offer.ice_pwd), "{text}");
    assert_eq!(again.fingerprints, offer.fingerprints);
    assert!(again.sections.iter().all(|section| section.takeable));
    let replanned = sdp::plan(&again, streams).unwrap_or_else(|none| panic!("{none}\n{ours}"));
    assert_eq!(replanned.offer_text(&again), ours, "{text}");
    held_answer_of_ours(text, &plan, &answer_of_ours(&offer, &plan));
    (true, true)
}

/// Our answer for whoever sent the offer.
fn answer_of_ours(offer: &sdp::Offer, plan: &Plan) -> String {
    let made = offers::as_webrtcbin_answers(plan);
    plan.answer_text(offer, &made, &offers::local()).unwrap_or_else(|error| panic!("{error}\n{made}"))
}

/// It is one to their offer, by the rules that we hold others to.
fn held_answer_of_ours(offer: &str, plan: &Plan, answer: &str) {
    let read = sdp::guard_answer(offer, answer).unwrap_or_else(|reject| panic!("{reject}\n{offer}\n{answer}"));
    assert_eq!(read.candidates, offers::local().candidates);
    assert_eq!(read.sections.iter().filter(|section| section.taken).count(), plan.sections.len());
}

/// The answer of whoever is called. The first byte chooses what was offered.
pub fn answer(data: &[u8]) {
    let Some((choice, text)) = chosen(data) else { return };
    let (plan, ours) = &OFFERED[choice % OFFERED.len()];
    let Ok(read) = sdp::guard_answer(ours, text) else { return };
    held_answer(ours, &read);
    let mut agreed = Agreement::offered(plan, ours, &read);
    let _ = agreed.require_sending();
    assert_eq!(agreed.weigh_answer(&read), Ok(()));
    assert!(agreed.plan.sections.len() <= plan.sections.len());
    // A restart that we offer then is an offer by our own rules.
    let again = agreed.offer(&credentials(), &offers::local().candidates);
    let offer = sdp::guard_offer(&again).unwrap_or_else(|reject| panic!("{reject}\n{again}\n{text}"));
    assert_eq!((offer.ice_ufrag, offer.sections.len()), (credentials().ufrag, plan.sections.len()), "{again}");
}

/// Each that a line or `callgate call` may have offered, with its text: [`answer`] chooses among them.
pub static OFFERED: LazyLock<Vec<(CallingPlan, String)>> = LazyLock::new(|| {
    let mut plans: Vec<_> = offers::lines().iter().filter_map(|line| sdp::calling_plan(line).ok()).collect();
    for (video, audio, sends) in [(true, true, false), (true, true, true), (true, false, false), (false, true, true)] {
        plans.push(sdp::viewing_plan(video, audio, sends));
    }
    let with_text = |plan: CallingPlan| {
        let text = offers::as_we_offer(&plan);
        (plan, text)
    };
    plans.into_iter().map(with_text).collect()
});

fn held_answer(ours: &str, read: &RemoteAnswer) {
    assert!(read.candidates.len() <= MAX_CANDIDATES && !read.fingerprints.is_empty());
    assert!(
        read.sections[read.tag].taken && read.sections.iter().all(|section| section.taken != section.codecs.is_empty())
    );
    held_lines(&read.text, &["m=audio 0 UDP/TLS/RTP/SAVPF ", "m=video 0 UDP/TLS/RTP/SAVPF "]);
    // Our text of it is an answer to the same offer, with the same meaning.
    let again = sdp::guard_answer(ours, &read.text).unwrap_or_else(|reject| panic!("{reject}\n{}", read.text));
    assert_eq!((&again.text, &again.sections), (&read.text, &read.sections));
    assert_eq!((&again.fingerprints, &again.ice, again.active), (&read.fingerprints, &read.ice, read.active));
}

fn credentials() -> IceCredentials {
    IceCredentials { ufrag: "new+".to_owned(), pwd: "0123456789012345678901".to_owned() }
}

/// Offers that calls began with.
pub const FIRST_OFFERS: [&str; 5] = [
    include_str!("../fixtures/offers/chromium-talk.sdp"),
    include_str!("../fixtures/offers/firefox-recvonly.sdp"),
    include_str!("../fixtures/offers/chromium-data-first.sdp"),
    include_str!("../fixtures/offers/aiortc-audio.sdp"),
    include_str!("../fixtures/offers/str0m-two-way.sdp"),
];

/// Calls that somebody else began.
static ANSWERED_CALLS: LazyLock<Vec<Agreement>> = LazyLock::new(|| {
    let agree = |first: &&str| {
        let first = sdp::guard_offer(first).expect("it is an offer");
        let plan = sdp::plan(&first, &offers::camera()).expect("there is something to send");
        let text = answer_of_ours(&first, &plan);
        Agreement::answered(&first, plan, text)
    };
    FIRST_OFFERS.iter().map(agree).collect()
});

/// Calls that we began.
static OFFERED_CALLS: LazyLock<Vec<Agreement>> = LazyLock::new(|| {
    let agree = |(plan, ours): &(CallingPlan, String)| {
        let read = sdp::guard_answer(ours, &offers::as_they_answer(ours)).expect("it is an answer");
        Agreement::offered(plan, ours, &read)
    };
    OFFERED.iter().map(agree).collect()
});

/// A further offer in a live call. The first byte chooses the call: who began it, and with what.
pub fn renegotiation(data: &[u8]) {
    let Some((choice, text)) = chosen(data) else { return };
    let Ok(offer) = sdp::guard_offer(text) else { return };
    let calls = if choice % 2 == 0 { &*ANSWERED_CALLS } else { &*OFFERED_CALLS };
    let mut agreed = calls[choice / 2 % calls.len()].clone();
    let Ok(asked) = agreed.weigh(&offer) else { return };
    if asked.restart {
        let remote = IceCredentials { ufrag: offer.ice_ufrag.clone(), pwd: offer.ice_pwd.clone() };
        agreed.restart(credentials(), remote);
    }
    let plan = agreed.plan.clone();
    let answer = agreed.answer(&offer, &offers::local().candidates);
    if asked.media != MediaChange::Less {
        held_answer_of_ours(text, &plan, &answer);
    }
    // Once agreed, the same offer asks for nothing more.
    if asked.restart {
        assert_eq!(agreed.weigh(&offer).map(|asked| asked.restart), Ok(false));
    }
}
