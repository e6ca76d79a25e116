//! Strangers who mean harm: nonsense in offers, candidates and packets, hang-ups at every point, another's certificate. The process
//! lives, nothing is left behind, and the next caller is answered.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod calls;
#[path = "support/criticals.rs"]
mod criticals;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mutate.rs"]
mod mutate;
#[path = "support/sdp_offers.rs"]
mod offers;
#[path = "support/path.rs"]
#[allow(dead_code)]
mod path;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/run.rs"]
mod run;
#[path = "support/signaling.rs"]
mod signaling;

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use callgate::call::{Action, Call, EndReason, Input, Millis, State, Timing};
use callgate::media::caller::{CallerEvent, CallerSettings};
use callgate::media::{self, CallId, Command, PeerError};
use callgate::protocol::{
    Body, CallEnd, CallType, Cipher, Dialect, EndWord, Envelope, IceCandidate, Offer, SessionId, Signal, SignalKind,
};
use callgate::sdp;
use callgate::store::{CallFilter, CallLog};
use calls::{Caller, Gateway, line, soon, units, watcher};
use daemon::field;
use mutate::Mutator;
use nostr::{EventId, PublicKey};
use path::Path;
use relay::{Behaviour, TestRelay};
use signaling::Party;
use tokio::sync::mpsc;

/// Offers, each with one to four changes; the candidates that follow them are changed too.
const MUTATIONS: u64 = 8_000;
/// Calls at once.
const AT_ONCE: usize = 8;

fn key(n: u8) -> PublicKey {
    PublicKey::from_byte_array([n; 32])
}

/// A signal of session `n`, as `protocol::open` gives it.
fn signal(n: u64, from: u8, body: Body) -> Signal {
    let envelope = Envelope {
        dialect: Dialect::Plain,
        event_id: EventId::all_zeros(),
        kind: body.kind(),
        from: key(from),
        to: key(1),
        session: n.to_string().parse::<SessionId>().unwrap(),
        call_type: CallType::Video,
        cipher: Cipher::Nip44,
        relay: None,
        rtc_servers: Vec::new(),
        created_at: 0,
        expiration: None,
    };
    Signal { envelope, body }
}

const CALLER: u8 = 2;
const STRANGER: u8 = 3;

fn offer(sdp: String) -> Body {
    Body::Offer(Offer::new(sdp, 0, 1_000_000))
}

/// One stranger's call.
struct Attempt {
    call: Call,
    offer: String,
    mutator: Mutator,
    /// Hangs up when so many events, of whatever call, have been seen: a random moment.
    leaves: u64,
    leaving: bool,
}

/// Many strangers' calls against one gateway, whose session tasks this stands for.
struct Attack {
    gateway: Gateway,
    began: Instant,
    fixtures: Vec<(String, String)>,
    calls: BTreeMap<CallId, Attempt>,
    /// Events seen so far.
    seen: u64,
    peers: u64,
    answers: u64,
    candidates: u64,
    /// How the calls ended, by word.
    ends: BTreeMap<&'static str, u64>,
}

impl Attack {
    fn new() -> Self {
        Self {
            gateway: Gateway::start(),
            began: Instant::now(),
            fixtures: offers::fixtures(),
            calls: BTreeMap::new(),
            seen: 0,
            peers: 0,
            answers: 0,
            candidates: 0,
            ends: BTreeMap::new(),
        }
    }

    fn now(&self) -> Millis {
        Millis(self.began.elapsed().as_millis() as u64)
    }

    async fn run(&mut self, seeds: std::ops::Range<u64>) {
        let mut seeds = seeds;
        loop {
            while self.calls.len() < AT_ONCE
                && let Some(seed) = seeds.next()
            {
                self.begin(seed).await;
            }
            self.leave().await;
            if self.calls.is_empty() {
                return;
            }
            let event = soon("an event", self.gateway.events.recv()).await.expect("media runs");
            self.seen += 1;
            self.take(event).await;
        }
    }

    async fn begin(&mut self, seed: u64) {
        let mut mutator = Mutator::new(seed);
        let at = mutator.below(self.fixtures.len());
        let text = mutator.sdp(&self.fixtures[at].1);
        let leaves = match mutator.below(3) {
            // At once or soon, whatever the call has come to by then.
            0 => self.seen + mutator.below(24) as u64,
            // Some time after the answer.
            _ => u64::MAX,
        };
        let (call, actions) = Call::answering(self.now(), signal(seed, CALLER, offer(text.clone())), Timing::default());
        let id = CallId(seed);
        self.calls.insert(id, Attempt { call, offer: text, mutator, leaves, leaving: false });
        self.carry_out(id, actions).await;
        self.pester(id).await;
    }

    /// Says something that makes no sense in this call.
    async fn pester(&mut self, id: CallId) {
        let Some(attempt) = self.calls.get_mut(&id) else { return };
        let mutator = &mut attempt.mutator;
        let mut said = Vec::new();
        let count = match mutator.below(40) {
            0 => 100,
            chance => chance % 4,
        };
        for _ in 0..count {
            let candidate = IceCandidate {
                candidate: mutator.candidate(),
                sdp_mid: [None, Some(String::new()), Some("0".into()), Some("x".repeat(300))][mutator.below(4)].clone(),
                sdp_mline_index: [None, Some(0), Some(7), Some(u32::MAX)][mutator.below(4)],
                timestamp: mutator.number(),
            };
            said.push(signal(id.0, CALLER, Body::Candidate(candidate)));
        }
        let end = CallEnd::new(EndWord::UserLeft, 0);
        match mutator.below(20) {
            0 => said.push(signal(id.0, STRANGER, Body::End(end))),
            1 => said.push(signal(id.0, CALLER, offer(attempt.offer.clone()))),
            _ => {}
        }
        self.candidates += count as u64;
        for signal in said {
            self.tell(id, Input::Signal(signal)).await;
        }
    }

    /// Hangs up whoever's time has come; and when all are answered, so that nothing more would happen, the one who is in it for longest.
    async fn leave(&mut self) {
        let answered = |attempt: &Attempt| attempt.call.state() >= State::Connecting && !attempt.leaving;
        let all = self.calls.len() == AT_ONCE && self.calls.values().all(answered);
        let oldest = self.calls.keys().next().copied().filter(|_| all || self.calls.len() < AT_ONCE);
        let due: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(id, attempt)| {
                let spent = Some(**id) == oldest && answered(attempt);
                !attempt.leaving && (attempt.leaves <= self.seen || spent)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(attempt) = self.calls.get_mut(&id) else { continue };
            attempt.leaving = true;
            let end = CallEnd::new(EndWord::UserLeft, 0);
            let input = match attempt.mutator.below(2) {
                0 => Input::HangUp(EndReason::OperatorLeft),
                _ => Input::Signal(signal(id.0, CALLER, Body::End(end))),
            };
            self.tell(id, input).await;
        }
    }

    async fn take(&mut self, event: media::Event) {
        let Some(id) = event.call() else { return };
        let input = match event {
            media::Event::SourceReady { streams, .. } => Input::SourceReady(streams),
            media::Event::SourceFailed { error, .. } => panic!("seed {}: {error}", id.0),
            media::Event::AnswerReady { sdp, .. } => {
                let attempt = &mut self.calls.get_mut(&id).expect("it is answered once");
                if attempt.leaves == u64::MAX {
                    attempt.leaves = self.seen + attempt.mutator.below(16) as u64;
                }
                // Whatever was asked, what is answered is an answer to it.
                let read = sdp::guard_answer(&attempt.offer, &sdp);
                assert!(read.is_ok(), "seed {}: {read:?}", id.0);
                self.answers += 1;
                Input::AnswerReady(sdp)
            }
            media::Event::PeerFailed { error, .. } => {
                // What passed the guard is never ours to stumble over.
                assert!(!matches!(error, PeerError::GStreamer(_)), "seed {}: {error}", id.0);
                Input::PeerFailed(EndReason::NeverConnected)
            }
            media::Event::Closed { teardown, .. } => {
                assert!(!teardown.leaked, "seed {}: left behind", id.0);
                Input::PeerClosed
            }
            media::Event::Secured { .. } => panic!("seed {}: connected to a fixture", id.0),
            _ => return,
        };
        self.tell(id, input).await;
        self.pester(id).await;
    }

    async fn tell(&mut self, id: CallId, input: Input) {
        let now = self.now();
        let Some(attempt) = self.calls.get_mut(&id) else { return };
        let actions = attempt.call.handle(now, input);
        self.carry_out(id, actions).await;
    }

    async fn carry_out(&mut self, call: CallId, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::OpenSource => {
                    self.gateway.media.send(Command::OpenSource { call, line: line() }).await;
                }
                Action::OpenPeer { offer, plan, servers } => {
                    self.peers += 1;
                    self.gateway.media.send(Command::OpenPeer { call, offer, plan, servers }).await;
                }
                Action::AddCandidate(candidate) => {
                    self.gateway.media.send(Command::AddCandidate { call, candidate }).await;
                }
                Action::CloseMedia => self.gateway.media.send(Command::Close { call }).await,
                Action::Send(body) => assert_ne!(body.kind(), SignalKind::Offer),
                Action::OfferPeer { .. } | Action::TakeAnswer(_) | Action::SendIn(..) => {
                    panic!("nobody is called here")
                }
                Action::Renegotiate { .. } | Action::Restart => {
                    panic!("{call} is live, which no fixture's call ever is")
                }
                Action::Report(report) => {
                    *self.ends.entry(report.reason.word()).or_default() += 1;
                    self.calls.remove(&call);
                }
            }
        }
    }
}

/// A caller who means no harm sees a picture that moves.
async fn a_normal_call_works(gateway: &mut Gateway, call: CallId) {
    let (told, mut pictures) = mpsc::channel(1024);
    let caller = Caller::start(CallerSettings { units: Some(told), ..watcher() }).await;
    let answer = gateway.answer(call, &caller.offer).await;
    caller.take(&answer).await;
    let units = units(&mut pictures, 30).await;
    let decoded = calls::decode(&units);
    assert!(decoded.iter().collect::<HashSet<_>>().len() > 20, "{} of 30 pictures decoded", decoded.len());
    caller.end().await;
    assert!(!gateway.close(call).await.leaked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_mutated_offers_and_candidates_harm_nobody() {
    criticals::listen();
    let mut attack = Attack::new();

    attack.run(1..MUTATIONS + 1).await;

    let Attack { mut gateway, peers, answers, candidates, ends, began, .. } = attack;
    eprintln!(
        "{MUTATIONS} offers and {candidates} candidates: {peers} peers, {answers} answers; ended {ends:?}; {:?}",
        began.elapsed()
    );
    criticals::show_errors();
    assert!(answers > MUTATIONS / 10, "{answers} answers: too few for this test to mean something");
    a_normal_call_works(&mut gateway, CallId(MUTATIONS + 1)).await;
    soon("the shutdown", gateway.media.shutdown()).await;
    criticals::assert_none();
}

/// The SDP with one hex digit of its fingerprint changed.
fn with_one_digit_changed(sdp: &str) -> String {
    let at = sdp.find("a=fingerprint:sha-256 ").expect("a fingerprint") + "a=fingerprint:sha-256 ".len() + 1;
    let digit = if &sdp[at..=at] == "0" { "1" } else { "0" };
    let mut changed = sdp.to_owned();
    // Also where m-lines repeat it.
    let own = sdp[at - 1..at + 94].to_owned();
    let mut other = own.clone();
    other.replace_range(1..2, digit);
    changed = changed.replace(&own, &other);
    assert_ne!(changed, sdp);
    changed
}

/// Whether any media is among these.
fn saw_media(events: &[CallerEvent]) -> bool {
    events.iter().any(|event| match event {
        CallerEvent::FirstFrame | CallerEvent::FirstAudio => true,
        CallerEvent::Stats(stats) => stats.video.packets + stats.audio.packets > 0,
        _ => false,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_with_one_digit_of_its_fingerprint_changed_gets_no_media_and_ends_as_a_security_matter() {
    // Given a gateway, and someone on the path to it
    let relay = TestRelay::start(Behaviour::Honest).await;
    let folder = tempfile::tempdir().unwrap();
    let (daemon, lines) = run::run(folder.path(), &relay.url(), 1);
    let mut party = Party::new(&[relay.url()]).await;
    let mut path = Path::new().await;
    let mut caller = Caller::start(CallerSettings { send_test_media: true, ..watcher() }).await;

    // When an otherwise good offer names a certificate that is one digit off
    let tampered = with_one_digit_changed(&path.offer(&caller.offer));
    let answer = run::offer(&mut party, lines[0], "tampered", tampered).await;
    caller.take(&path.answer(&answer)).await;

    // Then both ends shake hands, and the gateway hangs up:
    let gone = |event| matches!(event, CallerEvent::Failed(PeerError::ClosedByCaller)).then_some(());
    let mut seen = Vec::new();
    caller
        .wait("the gateway's hang-up", |event| {
            seen.push(event.clone());
            gone(event)
        })
        .await;
    let ended = daemon.logged(|record| field(record, "message") == "call ended");
    assert_eq!(field(&ended, "reason"), "security_fingerprint", "{ended}");
    seen.extend(caller.end().await);
    assert!(path.to_caller.dtls() > 0 && path.to_gateway.dtls() > 0);
    // not one packet of media went to the caller, and of what came from there nothing was used.
    assert_eq!(path.to_caller.rtp(), 0);
    assert!(!saw_media(&seen), "{seen:?}");
    let log = CallLog::open(&folder.path().join("data")).unwrap().expect("a call log");
    let calls = log.calls(&CallFilter::default(), 10).unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].reason.as_str(), calls[0].origin.as_str()), ("security_fingerprint", "caller"));
    assert_eq!((calls[0].bytes_sent, calls[0].bytes_received), (0, 0));
    assert_eq!((calls[0].secured_ms, calls[0].first_media_ms), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_one_digit_of_its_fingerprint_changed_is_refused_by_the_caller() {
    let mut gateway = Gateway::start();
    let mut path = Path::new().await;
    let mut caller = Caller::start(CallerSettings { send_test_media: true, ..watcher() }).await;

    let answer = gateway.answer(CallId(1), &path.offer(&caller.offer)).await;
    caller.take(&with_one_digit_changed(&path.answer(&answer))).await;

    let mut seen = Vec::new();
    caller
        .wait("the caller's refusal", |event| {
            seen.push(event.clone());
            matches!(event, CallerEvent::Failed(PeerError::FingerprintMismatch)).then_some(())
        })
        .await;
    seen.extend(caller.end().await);
    assert!(path.to_gateway.dtls() > 0);
    assert_eq!(path.to_gateway.rtp(), 0, "the caller's own media was held back");
    assert!(!seen.contains(&CallerEvent::Connected) && !saw_media(&seen), "{seen:?}");
    assert!(!gateway.close(CallId(1)).await.leaked);
}

/// Datagrams in one round.
const DATAGRAMS: usize = 2_000;

/// A datagram that looks like STUN (RFC 8489), DTLS (RFC 6347), RTP or RTCP (RFC 3550), and is not; or like nothing.
fn nonsense(mutator: &mut Mutator) -> Vec<u8> {
    let length: usize = [0, 1, 11, 12, 13, 20, 28, 64, 300, 1200, 1472, 9000][mutator.below(12)];
    let mut bytes: Vec<u8> = (0..length).map(|_| mutator.number() as u8).collect();
    let header: Vec<u8> = match mutator.below(8) {
        0 => Vec::new(),
        kind @ 1..=3 => {
            // A binding request, response, error or indication; the length right or wrong; attributes at random.
            let body = match kind {
                1 => length.saturating_sub(20) as u16,
                2 => mutator.number() as u16,
                _ => (length.saturating_sub(20) as u16) & !3,
            };
            let method = [[0, 1], [1, 1], [1, 0x11], [0, 0x11]][mutator.below(4)];
            [&method[..], &body.to_be_bytes(), &[0x21, 0x12, 0xa4, 0x42]].concat()
        }
        kind @ 4..=5 => {
            // Change cipher spec, alert, handshake, application data, heartbeat; epoch 0 or 1.
            let content = 20 + mutator.below(6) as u8;
            let body = if kind == 4 { length.saturating_sub(13) as u16 } else { mutator.number() as u16 };
            let epoch = mutator.below(2) as u8;
            [&[content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0][..], &[mutator.number() as u8], &body.to_be_bytes()]
                .concat()
        }
        6 => vec![0x80 | mutator.below(64) as u8, mutator.number() as u8 & 0x7f],
        _ => vec![0x80 | mutator.below(32) as u8, 200 + mutator.below(8) as u8, 0, mutator.below(64) as u8],
    };
    for (byte, header) in bytes.iter_mut().zip(header) {
        *byte = header;
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_that_is_sent_to_a_calls_port_does_not_disturb_the_call() {
    criticals::listen();
    // Given a call
    let mut gateway = Gateway::start();
    let mut path = Path::new().await;
    let (told, mut pictures) = mpsc::channel(1024);
    let caller = Caller::start(CallerSettings { units: Some(told), send_test_media: true, ..watcher() }).await;
    let answer = gateway.answer(CallId(1), &path.offer(&caller.offer)).await;
    caller.take(&path.answer(&answer)).await;
    let mut all = units(&mut pictures, 10).await;
    let open = path.gateway.expect("it has answered");

    // When strangers send nonsense to its port, and someone on the path sends it in the caller's name,
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut mutator = Mutator::new(4);
    for round in 0..4 {
        for sent in 0..DATAGRAMS {
            let nonsense = nonsense(&mut mutator);
            match round % 2 {
                0 => drop(stranger.send_to(&nonsense, open).await),
                _ => path.forge(&nonsense).await,
            }
            // No faster than the port is read, or the kernel drops it.
            if sent % 64 == 0 {
                all.extend(units(&mut pictures, 1).await);
            }
        }
    }

    // Then the call goes on both ways, and every picture can be decoded.
    all.extend(units(&mut pictures, 25).await);
    let before = gateway.stats(CallId(1), |_| true).await.received_video.frames;
    gateway.stats(CallId(1), |stats| stats.received_video.frames > before).await;
    let decoded = calls::decode(&all);
    assert!(decoded.len() + 2 >= all.len(), "{} of {} decoded", decoded.len(), all.len());
    caller.end().await;
    assert_eq!(gateway.failure(CallId(1)).await, PeerError::ClosedByCaller);
    assert!(!gateway.close(CallId(1)).await.leaked);
    a_normal_call_works(&mut gateway, CallId(2)).await;
    soon("the shutdown", gateway.media.shutdown()).await;
    criticals::show_errors();
    criticals::assert_none();
}
