//! The machine, hop by hop, in virtual time.

use nostr::{EventId, PublicKey};

use super::*;
use crate::endpoint::{VideoCodec, VideoStream};
use crate::protocol::{CallEnd, Cipher, Dialect, Envelope, Offer};

pub(super) const START: Millis = Millis(1_700_000_000_000);
pub(super) const TIMING: Timing =
    Timing { connect: 30_000, again: 2_000, restart: 1_000, restart_again: 4_000, lost: 22_000, close: 10_000 };

/// An offer of a caller who takes H.264.
pub(super) const GOOD_SDP: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:Yq3k\r\na=ice-pwd:l2mB7v0oD3pHq9sXw4tRz8aC\r\n\
    a=fingerprint:sha-256 8F:3A:0D:4C:91:B7:22:5E:6A:F0:13:C8:77:2B:9E:D4:51:06:EA:3F:88:C2:1D:B9:40:75:FC:E6:0A:9B:34:D8\r\n\
    a=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:102 H264/90000\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";

/// A host candidate of this port.
pub(super) fn host(port: u16) -> String {
    format!("candidate:1 1 udp 2122260223 192.0.2.1 {port} typ host")
}

fn candidate(port: u16) -> sdp::Candidate {
    sdp::Candidate::read(&host(port)).unwrap().unwrap()
}

pub(super) fn key(n: u8) -> PublicKey {
    PublicKey::from_byte_array([n; 32])
}
pub(super) const CALLER: u8 = 1;
pub(super) const LINE: u8 = 2;

pub(super) fn signal(from: u8, to: u8, session: &str, body: Body) -> Signal {
    let envelope = Envelope {
        dialect: Dialect::Plain,
        event_id: EventId::all_zeros(),
        kind: body.kind(),
        from: key(from),
        to: key(to),
        session: session.parse().unwrap(),
        call_type: CallType::Video,
        cipher: Cipher::Nip44,
        relay: None,
        rtc_servers: Vec::new(),
        created_at: START.unix_seconds(),
        expiration: None,
    };
    Signal { envelope, body }
}

pub(super) fn offer(sdp: &str, expires_in: u64) -> Body {
    let (sdp, timestamp) = (sdp.to_owned(), START.unix_seconds());
    Body::Offer(Offer::new(sdp, timestamp, expires_in))
}

pub(super) fn trickle(candidate: &str) -> Body {
    Body::Candidate(IceCandidate {
        candidate: candidate.into(),
        sdp_mid: Some("0".into()),
        sdp_mline_index: Some(0),
        timestamp: 0,
    })
}

pub(super) fn hang_up() -> Body {
    Body::End(CallEnd::new(EndWord::UserLeft, 0))
}

pub(super) fn from_caller(body: Body) -> Input {
    Input::Signal(signal(CALLER, LINE, "s", body))
}

pub(super) fn picture() -> Streams {
    let video = VideoStream {
        codec: VideoCodec::H264,
        profile_level_id: Some([0x42, 0xe0, 0x1f]),
        width: 640,
        height: 360,
        reordered: false,
        to_h264: false,
    };
    Streams { video: Some(video), audio: None }
}

pub(super) fn begin(sdp: &str, expires_in: u64) -> (Call, Vec<Action>) {
    Call::answering(START, signal(CALLER, LINE, "s", offer(sdp, expires_in)), TIMING)
}

/// A call brought to `state` in no time, and when its next input comes.
pub(super) fn call_in(state: State) -> (Call, Millis) {
    let (mut call, _) = begin(GOOD_SDP, 60);
    let steps = [
        (State::Opening, Input::SourceReady(picture())),
        (State::Answering, Input::AnswerReady("answer".into())),
        (State::Connecting, Input::Secured),
        (State::Live, from_caller(hang_up())),
        (State::Closing, Input::PeerClosed),
    ];
    for (before, input) in steps {
        if before < state {
            call.handle(START, input);
        }
    }
    assert_eq!(call.state(), state);
    (call, START.plus(1000))
}

const STATES: [State; 6] =
    [State::Opening, State::Answering, State::Connecting, State::Live, State::Closing, State::Ended];

fn report(actions: &[Action]) -> &Report {
    match actions.last() {
        Some(Action::Report(report)) => report,
        other => panic!("the last action is {other:?}"),
    }
}

/// `call_answer` with `accepted: false`, then `call_end`.
fn refuses(actions: &[Action], reason: &EndReason, now: Millis) -> bool {
    refusal(now, reason).into_iter().map(Action::Send).eq(actions.iter().take(2).cloned())
}

#[test]
fn a_call_that_all_goes_well_for() {
    let (mut call, actions) = begin(GOOD_SDP, 60);
    assert_eq!(actions, [Action::OpenSource]);
    assert_eq!(call.deadline(), Some(START.plus(60_000)));

    let actions = call.handle(START.plus(1), Input::SourceReady(picture()));
    let offer = sdp::guard_offer(GOOD_SDP).unwrap();
    let plan = sdp::plan(&offer, &picture()).unwrap();
    assert_eq!(actions, [Action::OpenPeer { offer: Box::new(offer), plan, servers: Vec::new() }]);

    let actions = call.handle(START.plus(2), Input::AnswerReady("answer".into()));
    let answer = Answer::accepting("answer".into(), START.unix_seconds());
    assert_eq!(actions, [Action::Send(Body::Answer(answer))]);
    assert_eq!(call.deadline(), Some(START.plus(30_002)));

    assert_eq!(call.handle(START.plus(3), Input::Secured), []);
    assert_eq!((call.state(), call.deadline()), (State::Live, None));
    call.handle(START.plus(4), Input::FirstMedia);

    let actions = call.handle(START.plus(5), from_caller(hang_up()));
    assert_eq!(actions, [Action::CloseMedia], "a caller who hangs up is not told so");
    let actions = call.handle(START.plus(6), Input::PeerClosed);
    let report = report(&actions);
    assert_eq!((report.reason.clone(), report.ignored), (EndReason::CallerLeft, 0));
    assert_eq!((report.caller, report.line, report.session.as_str()), (key(CALLER), key(LINE), "s"));
    let milestones = Milestones {
        offered: START,
        source_ready: Some(START.plus(1)),
        answered: Some(START.plus(2)),
        secured: Some(START.plus(3)),
        first_media: Some(START.plus(4)),
        ended: Some(START.plus(6)),
    };
    assert_eq!(report.milestones, milestones);
    assert_eq!((call.state(), call.deadline()), (State::Ended, None));
}

#[test]
fn an_answer_is_sent_again_while_nothing_tells_that_the_caller_has_it() {
    let (mut call, now) = call_in(State::Connecting);
    let again = |actions: &[Action]| matches!(actions, [Action::Send(Body::Answer(answer))] if answer.accepted);
    let mut now = now;
    for _ in 0..ANSWERS_AGAIN {
        // It may wait for its turn at the relay.
        assert_eq!(call.handle(now, Input::AnswerTaken), []);
        now = call.deadline().unwrap();
        assert!(again(&call.handle(now, Input::Tick)));
    }
    assert_eq!(call.handle(now, Input::AnswerTaken), []);
    assert!(call.deadline().unwrap() > now.plus(TIMING.again), "and no more");

    let (mut call, now) = call_in(State::Connecting);
    call.handle(now, Input::AnswerTaken);
    call.handle(now, Input::Checked);
    assert_eq!(call.handle(now.plus(TIMING.again), Input::Tick), [], "the caller has it");
}

#[test]
fn an_offer_that_the_guard_refuses_opens_nothing_and_is_over_at_once() {
    let (call, actions) = begin("v=1", 60);
    let reason = EndReason::BadOffer(sdp::guard_offer("v=1").unwrap_err());
    assert!(refuses(&actions, &reason, START));
    assert_eq!((report(&actions).reason.clone(), actions.len()), (reason, 3));
    assert_eq!(call.state(), State::Ended);
}

#[test]
fn no_common_codec_is_refused_with_what_each_side_has() {
    let (mut call, now) = call_in(State::Opening);
    let mut streams = picture();
    streams.video = streams.video.map(|video| VideoStream { codec: VideoCodec::Other("H265".into()), ..video });
    let none = sdp::plan(&sdp::guard_offer(GOOD_SDP).unwrap(), &streams).unwrap_err();
    let actions = call.handle(now, Input::SourceReady(streams));
    assert!(matches!(&actions[1], Action::Send(Body::End(end)) if end.detail == Some(none.to_string())));
    assert!(none.to_string().contains("H265"), "{none}");
    assert!(refuses(&actions, &EndReason::NoCommonCodec(none), now));
    assert_eq!(actions[2..], [Action::CloseMedia]);
}

#[test]
fn a_source_that_fails_before_the_call_is_up_refuses_it_and_later_does_not_matter() {
    for state in STATES {
        let (mut call, now) = call_in(state);
        let actions = call.handle(now, Input::SourceFailed("401".into()));
        if state == State::Opening {
            assert!(refuses(&actions, &EndReason::EndpointFailed("401".into()), now));
        } else {
            assert_eq!((actions, call.state()), (Vec::new(), state));
        }
    }
}

#[test]
fn an_answer_that_is_not_heard_is_said_in_the_dialect_that_the_offer_came_in_again() {
    let again = |actions: &[Action]| matches!(actions, [Action::Send(Body::Answer(answer))] if answer.accepted);
    let dialect = |call: &Call| call.dialog().dialect;

    // Said already: at once, and once.
    let (mut call, now) = call_in(State::Connecting);
    assert_eq!(call.handle(now, Input::OfferAgain(Dialect::Plain)), [], "the same dialect");
    assert!(!call.spoke(Dialect::Wrapped));
    assert!(again(&call.handle(now, Input::OfferAgain(Dialect::Wrapped))));
    assert_eq!(dialect(&call), Dialect::Wrapped);
    assert!(call.spoke(Dialect::Plain) && call.spoke(Dialect::Wrapped), "relays may still hold what was said plain");
    for other in [Dialect::Plain, Dialect::Wrapped] {
        assert_eq!(call.handle(now, Input::OfferAgain(other)), []);
    }
    // From there on as any answer.
    call.handle(now, Input::AnswerTaken);
    assert!(again(&call.handle(now.plus(TIMING.again), Input::Tick)));
    assert_eq!(dialect(&call), Dialect::Wrapped);

    // Not said yet: in its own dialect first.
    let (mut call, now) = call_in(State::Answering);
    assert_eq!(call.handle(now, Input::OfferAgain(Dialect::Wrapped)), []);
    assert!(again(&call.handle(now, Input::AnswerReady("answer".into()))));
    assert_eq!(dialect(&call), Dialect::Plain);
    call.handle(now, Input::AnswerTaken);
    assert!(again(&call.handle(now.plus(TIMING.again), Input::Tick)));
    assert_eq!(dialect(&call), Dialect::Wrapped);

    // Heard.
    let (mut call, now) = call_in(State::Connecting);
    call.handle(now, Input::Checked);
    assert_eq!(call.handle(now, Input::OfferAgain(Dialect::Wrapped)), []);
    assert_eq!(dialect(&call), Dialect::Plain);
    for state in [State::Live, State::Closing, State::Ended] {
        let (mut call, now) = call_in(state);
        assert_eq!(call.handle(now, Input::OfferAgain(Dialect::Wrapped)), []);
        assert_eq!(dialect(&call), Dialect::Plain, "{state:?}");
    }
}

#[test]
fn early_candidates_are_parked_and_released_after_the_peer_opens_in_their_order() {
    let (mut call, now) = call_in(State::Opening);
    assert_eq!(call.handle(now, from_caller(trickle(&host(1)))), []);
    assert_eq!(call.handle(now, from_caller(trickle(&host(2)))), []);
    assert_eq!(call.handle(now, from_caller(trickle(&host(1)))), [], "sent again");
    let actions = call.handle(now, Input::SourceReady(picture()));
    assert!(matches!(actions[0], Action::OpenPeer { .. }));
    assert_eq!(actions[1..], [Action::AddCandidate(candidate(1)), Action::AddCandidate(candidate(2))]);
    assert_eq!(call.handle(now, from_caller(trickle(&host(3)))), [Action::AddCandidate(candidate(3))]);
    assert_eq!(call.handle(now, from_caller(trickle(&host(3)))), [], "sent again");
    assert_eq!(call.ignored, 0);
}

#[test]
fn candidates_past_the_limit_and_malformed_ones_are_counted_and_legal_useless_ones_are_not() {
    let (mut call, now) = call_in(State::Answering);
    let added: usize = (1..=80).map(|port| call.handle(now, from_caller(trickle(&host(port)))).len()).sum();
    assert_eq!((added, call.ignored), (MAX_CANDIDATES, 16));
    call.handle(now, from_caller(trickle("what")));
    assert_eq!(call.ignored, 17);
    call.handle(now, from_caller(trickle("")));
    assert_eq!(call.ignored, 17);
}

#[test]
fn only_the_caller_may_speak_and_only_to_this_line_in_this_session() {
    let strangers = [(3, LINE, "s"), (LINE, CALLER, "s"), (CALLER, 3, "s"), (CALLER, LINE, "t")];
    for state in STATES {
        for (from, to, session) in strangers {
            for body in [hang_up(), trickle(&host(1)), offer(GOOD_SDP, 60)] {
                let (mut call, now) = call_in(state);
                assert_eq!(call.handle(now, Input::Signal(signal(from, to, session, body))), []);
                assert_eq!((call.state(), call.ignored), (state, 1));
            }
        }
    }
}

#[test]
fn a_second_offer_and_an_answer_change_nothing_before_the_call_is_up_and_after_it() {
    for state in STATES.into_iter().filter(|state| *state != State::Live) {
        let (mut call, now) = call_in(state);
        let answer = Answer::accepting("v=0".into(), 0);
        assert_eq!(call.handle(now, from_caller(offer(GOOD_SDP, 600))), []);
        assert_eq!(call.handle(now, from_caller(Body::Answer(answer))), []);
        assert_eq!((call.state(), call.ignored), (state, 2));
    }
}

#[test]
fn an_offer_rings_for_as_long_as_it_says_and_then_ends_without_an_answer() {
    for state in [State::Opening, State::Answering] {
        let (mut call, _) = call_in(state);
        let now = call.deadline().unwrap();
        assert_eq!(now, START.plus(60_000));
        let actions = call.handle(now, Input::Tick);
        assert!(matches!(&actions[0], Action::Send(Body::End(end)) if end.reason == EndWord::Timeout));
        assert_eq!(actions[1..], [Action::CloseMedia]);
        assert_eq!(call.state(), State::Closing);
    }
}

#[test]
fn a_deadline_that_has_passed_counts_before_what_comes_with_it() {
    let (mut call, _) = call_in(State::Answering);
    let actions = call.handle(START.plus(60_000), Input::AnswerReady("late".into()));
    assert!(!actions.iter().any(|action| matches!(action, Action::Send(Body::Answer(_)))));
    assert_eq!(call.state(), State::Closing);
}

#[test]
fn no_offer_rings_for_ever() {
    let (call, _) = begin(GOOD_SDP, u64::MAX);
    assert_eq!(call.deadline(), Some(START.plus(LONGEST_RING)));
}

#[test]
fn a_tick_before_its_time_changes_nothing() {
    for state in STATES {
        let (mut call, now) = call_in(state);
        assert_eq!((call.handle(now, Input::Tick), call.state()), (Vec::new(), state));
    }
}

#[test]
fn a_call_that_never_connects_times_out() {
    let (mut call, _) = call_in(State::Connecting);
    let actions = call.handle(START.plus(TIMING.connect), Input::Tick);
    assert!(matches!(&actions[0], Action::Send(Body::End(end)) if end.reason == EndWord::Timeout));
    assert_eq!(actions[1..], [Action::CloseMedia]);
}

#[test]
fn a_peer_that_never_closes_does_not_keep_the_call() {
    let (mut call, _) = call_in(State::Live);
    let now = START.plus(7);
    call.handle(now, from_caller(hang_up()));
    assert_eq!(call.deadline(), Some(now.plus(TIMING.close)));
    let actions = call.handle(now.plus(TIMING.close), Input::Tick);
    assert_eq!(report(&actions).reason, EndReason::CallerLeft);
    assert_eq!(call.handle(now.plus(TIMING.close + 1), Input::PeerClosed), []);
}

#[test]
fn the_gateway_may_hang_up_and_the_peer_may_fail_in_every_state() {
    for state in STATES {
        for (reason, input) in [
            (EndReason::Shutdown, Input::HangUp(EndReason::Shutdown)),
            (EndReason::FingerprintMismatch, Input::PeerFailed(EndReason::FingerprintMismatch)),
            (EndReason::CallerGone, Input::PeerFailed(EndReason::CallerGone)),
        ] {
            let (mut call, now) = call_in(state);
            let actions = call.handle(now, input);
            if state >= State::Closing {
                assert_eq!((actions, call.state()), (Vec::new(), state), "its end had begun");
                continue;
            }
            let end = Action::Send(Body::End(reason.call_end(now)));
            assert_eq!(actions[actions.len() - 2..], [end, Action::CloseMedia]);
            let refused = reason.end_word() == EndWord::Rejected && state < State::Connecting;
            assert_eq!(actions.len(), if refused { 3 } else { 2 });
            assert_eq!(report(&call.handle(now, Input::PeerClosed)).reason, reason);
        }
    }
}

#[test]
fn late_candidates_of_ours_are_sent_between_the_answer_and_the_connection() {
    for state in STATES {
        let (mut call, now) = call_in(state);
        let late = || Input::LocalCandidate { candidate: "candidate:9".into(), mid: "v".into(), index: 1 };
        let sent: usize = (0..MAX_CANDIDATES + 10).map(|_| call.handle(now, late()).len()).sum();
        assert_eq!(sent, if state == State::Connecting { MAX_CANDIDATES } else { 0 }, "{state:?}");
    }
}

#[test]
fn a_signal_that_is_no_offer_begins_no_call() {
    let (call, actions) = Call::answering(START, signal(CALLER, LINE, "s", hang_up()), TIMING);
    assert!(matches!(report(&actions).reason, EndReason::Internal(_)));
    assert_eq!(call.state(), State::Ended);
}
