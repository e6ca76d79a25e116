//! What holds for every call, whatever comes in and whenever.

use proptest::prelude::*;

use super::tests::*;
use super::*;
use crate::protocol::SignalKind;

fn reasons() -> impl Strategy<Value = EndReason> {
    prop_oneof![
        Just(EndReason::CallerLeft),
        Just(EndReason::CallerGone),
        Just(EndReason::FingerprintMismatch),
        Just(EndReason::OperatorLeft),
        Just(EndReason::Shutdown),
        Just(EndReason::Expired),
        ".{0,400}".prop_map(EndReason::Internal),
    ]
}

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![
        8 => (0u16..200).prop_map(|port| trickle(&host(port))),
        1 => ".{0,20}".prop_map(|text| trickle(&text)),
        1 => Just(hang_up()),
        1 => (0u64..100).prop_map(|expires_in| offer(GOOD_SDP, expires_in)),
        2 => (10u32..14).prop_map(|n| offer(&GOOD_SDP.replace("Yq3k", &format!("Yq{n}")), 60)),
        1 => any::<bool>()
            .prop_map(|accepted| Body::Answer(Answer { accepted, ..Answer::refusing(0) })),
    ]
}

fn signals() -> impl Strategy<Value = Input> {
    let parties = prop_oneof![
        6 => Just((CALLER, LINE, "s")),
        1 => Just((3, LINE, "s")),
        1 => Just((LINE, CALLER, "s")),
        1 => Just((CALLER, LINE, "other")),
    ];
    (parties, bodies()).prop_map(|((from, to, session), body)| Input::Signal(signal(from, to, session, body)))
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        12 => signals(),
        // The way forward is likely, so that many calls get far.
        4 => Just(Input::SourceReady(picture())),
        4 => Just(Input::AnswerReady("answer".into())),
        4 => Just(Input::AnswerTaken),
        1 => Just(Input::Checked),
        1 => prop_oneof![Just(Dialect::Plain), Just(Dialect::Wrapped)].prop_map(Input::OfferAgain),
        4 => Just(Input::Secured),
        2 => Just(Input::FirstMedia),
        1 => Just(Input::NotRenegotiated),
        1 => Just(Input::OfferReady("offer".into())),
        1 => Just(Input::NoNewPath),
        1 => Just(Input::PathLost),
        1 => Just(Input::PathFound),
        2 => Just(Input::Tick),
        2 => Just(Input::LocalCandidate { candidate: "candidate:9".into(), mid: "0".into(), index: 0 }),
        1 => Just(Input::PeerClosed),
        1 => Just(Input::SourceReady(Streams::default())),
        1 => ".{0,20}".prop_map(Input::SourceFailed),
        1 => reasons().prop_map(Input::PeerFailed),
        1 => reasons().prop_map(Input::HangUp),
    ]
}

/// Steps of time: mostly none or little, sometimes backwards, over a deadline or to the end of the range.
fn times() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0u64..50).prop_map(Step::On),
        2 => (0u64..70_000).prop_map(Step::On),
        1 => (0u64..1_000).prop_map(Step::Back),
        1 => any::<u64>().prop_map(Step::To),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Step {
    On(u64),
    Back(u64),
    To(u64),
}

impl Step {
    fn from(self, now: Millis) -> Millis {
        match self {
            Self::On(ms) => now.plus(ms),
            Self::Back(ms) => Millis(now.0.saturating_sub(ms)),
            Self::To(ms) => Millis(ms),
        }
    }
}

fn is_open_source(action: &Action) -> bool {
    matches!(action, Action::OpenSource)
}

fn is_open_peer(action: &Action) -> bool {
    matches!(action, Action::OpenPeer { .. })
}

fn is_candidate(action: &Action) -> bool {
    matches!(action, Action::AddCandidate(_))
}

fn is_close(action: &Action) -> bool {
    matches!(action, Action::CloseMedia)
}

fn is_report(action: &Action) -> bool {
    matches!(action, Action::Report(_))
}

fn sends(kind: SignalKind) -> impl Fn(&Action) -> bool {
    move |action| matches!(action, Action::Send(body) if body.kind() == kind)
}

fn count(actions: &[Action], matching: impl Fn(&Action) -> bool) -> usize {
    actions.iter().filter(|action| matching(action)).count()
}

fn position(actions: &[Action], matching: impl Fn(&Action) -> bool) -> Option<usize> {
    actions.iter().position(matching)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_nothing_is_done_twice_or_out_of_order(
        sdp in prop_oneof![9 => Just(GOOD_SDP), 1 => Just("bad")],
        expires_in in prop_oneof![Just(60), 0u64..120, any::<u64>()],
        steps in prop::collection::vec((times(), inputs()), 0..150),
    ) {
        let (mut call, mut all) = begin(sdp, expires_in);
        let (mut now, mut state) = (START, call.state());
        let mut made = 0;
        for (step, input) in steps {
            now = step.from(now);
            let was_over = state == State::Ended;
            made += usize::from(matches!(&input, Input::Signal(Signal { body: Body::Offer(_), .. })));
            let actions = call.handle(now, input);
            prop_assert!(call.state() >= state, "{state:?} became {:?}", call.state());
            prop_assert!(!was_over || actions.is_empty(), "after the end: {actions:?}");
            state = call.state();
            all.extend(actions);
        }

        prop_assert!(count(&all, is_open_source) <= 1);
        prop_assert!(count(&all, is_open_peer) <= 1);
        prop_assert!(count(&all, is_close) <= 1);
        // One, and again while nothing tells that the caller has it, once of that because the offer came in another dialect; then one to
        // each further offer.
        prop_assert!(count(&all, sends(SignalKind::Answer)) <= 2 + usize::from(ANSWERS_AGAIN) + made);
        let renegotiations = count(&all, |action| matches!(action, Action::Renegotiate { .. }));
        prop_assert!(renegotiations <= made);
        prop_assert!(count(&all, sends(SignalKind::End)) <= 1);
        prop_assert!(count(&all, sends(SignalKind::Candidate)) <= MAX_CANDIDATES);
        prop_assert!(count(&all, is_candidate) <= MAX_CANDIDATES * (1 + made));
        // One is made for each time that it was asked for, and sent again while the path stays lost.
        let restarts = count(&all, |action| matches!(action, Action::Restart));
        prop_assert!(restarts > 0 || count(&all, sends(SignalKind::Offer)) == 0);

        prop_assert_eq!(count(&all, is_report), usize::from(state == State::Ended));
        if state == State::Ended {
            prop_assert!(all.last().is_some_and(is_report));
        }
        let opened = position(&all, is_open_peer);
        if let Some(first) = position(&all, is_candidate) {
            prop_assert!(opened.is_some_and(|opened| opened < first));
        }
        if let Some(closed) = position(&all, is_close) {
            prop_assert!(is_open_source(&all[0]));
            prop_assert!(all[closed + 1..].iter().all(is_report));
        } else {
            prop_assert!(state < State::Closing || position(&all, is_open_source).is_none());
        }
        // Once its inputs stop, a call that is not up, or whose path is lost, ends by its deadlines alone.
        if state != State::Live || call.deadline().is_some() {
            // An answer or an offer may be due a few times more before them.
            for _ in 0..20 {
                if let Some(deadline) = call.deadline() {
                    call.handle(deadline, Input::Tick);
                }
            }
            prop_assert_eq!(call.state(), State::Ended);
        }
    }

    #[test]
    fn strangers_cannot_change_what_a_call_does(
        steps in prop::collection::vec((0u64..2_000, inputs(), prop::option::of(bodies())), 0..60),
    ) {
        let (mut alone, _) = begin(GOOD_SDP, 60);
        let (mut disturbed, _) = begin(GOOD_SDP, 60);
        let mut now = START;
        for (ms, input, noise) in steps {
            now = now.plus(ms);
            let expected = alone.handle(now, input.clone());
            let mut seen = disturbed.handle(now, input);
            if let Some(body) = noise {
                prop_assert_eq!(disturbed.handle(now, Input::Signal(signal(3, LINE, "s", body))), []);
            }
            // Only the count of what was ignored tells them apart.
            for (seen, expected) in seen.iter_mut().zip(&expected) {
                if let (Action::Report(seen), Action::Report(expected)) = (seen, expected) {
                    prop_assert!(seen.ignored >= expected.ignored);
                    seen.ignored = expected.ignored;
                }
            }
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(disturbed.state(), alone.state());
        }
    }
}
