//! What holds for every call that a line makes, whatever comes in and whenever.

use proptest::prelude::*;

use super::super::Input;
use super::super::tests::{CALLER as CALLEE, LINE, START, hang_up, host, picture, signal, trickle};
use super::tests::*;
use super::*;

fn bodies() -> impl Strategy<Value = Body> {
    let device = prop_oneof![Just(None), Just(Some("desk")), Just(Some("pocket"))];
    let word = prop::sample::select(vec![EndWord::UserLeft, EndWord::Rejected, EndWord::Timeout]);
    let cause = prop::option::of(prop::sample::select(vec![EndCause::Busy, EndCause::Declined, EndCause::Elsewhere]));
    prop_oneof![
        4 => (0u16..200).prop_map(|port| trickle(&host(port))),
        4 => device.prop_map(accepts),
        1 => Just(refuses()),
        1 => (word, cause).prop_map(|(word, cause)| end(word, cause)),
        1 => Just(Body::Answer(Answer::accepting("v=1".into(), 0))),
    ]
}

fn inputs() -> impl Strategy<Value = Input> {
    let dialect = prop::sample::select(vec![Dialect::Plain, Dialect::Wrapped]);
    let theirs = (dialect, bodies()).prop_map(|(dialect, body)| {
        let mut signal = signal(CALLEE, LINE, "s", body);
        signal.envelope.dialect = dialect;
        Input::Signal(signal)
    });
    prop_oneof![
        6 => theirs,
        1 => bodies().prop_map(|body| Input::Signal(signal(3, LINE, "s", body))),
        6 => Just(Input::SourceReady(picture())),
        6 => Just(Input::OfferReady(offered())),
        2 => Just(Input::OfferTaken),
        1 => Just(Input::MoreWays),
        1 => Just(Input::AnswerReady("answer".into())),
        1 => Just(Input::AnswerTaken),
        1 => Just(Input::Checked),
        3 => Just(Input::Secured),
        1 => Just(Input::FirstMedia),
        6 => Just(Input::Tick),
        2 => Just(Input::LocalCandidate { candidate: "candidate:9".into(), mid: "0".into(), index: 0 }),
        1 => Just(Input::PeerClosed),
        1 => Just(Input::SourceReady(Streams::default())),
        1 => ".{0,20}".prop_map(Input::SourceFailed),
        1 => Just(Input::PeerFailed(EndReason::CallerGone)),
        1 => Just(Input::HangUp(EndReason::OperatorLeft)),
    ]
}

fn times() -> impl Strategy<Value = u64> {
    prop_oneof![10 => 0u64..50, 4 => 0u64..15_000, 1 => any::<u64>()]
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
        rings in prop_oneof![Just(RINGS), any::<u64>()],
        steps in prop::collection::vec((times(), inputs()), 0..120),
    ) {
        let (mut call, mut all) = begin(rings);
        let (mut now, mut state) = (START, call.state());
        for (ms, input) in steps {
            now = now.plus(ms);
            let was_over = state == State::Ended;
            let actions = call.handle(now, input);
            prop_assert!(call.state() >= state, "{state:?} became {:?}", call.state());
            prop_assert!(!was_over || actions.is_empty(), "after the end: {actions:?}");
            state = call.state();
            all.extend(actions);
        }

        let opens = |action: &Action| matches!(action, Action::OpenSource);
        let offers_media = |action: &Action| matches!(action, Action::OfferPeer { .. });
        let takes = |action: &Action| matches!(action, Action::TakeAnswer(_));
        let adds = |action: &Action| matches!(action, Action::AddCandidate(_));
        let closes = |action: &Action| matches!(action, Action::CloseMedia);
        let reports = |action: &Action| matches!(action, Action::Report(_));
        let offers = |action: &Action| matches!(action, Action::SendIn(_, Body::Offer(_)));
        let sends = |action: &Action| matches!(action, Action::Send(_) | Action::SendIn(..));
        let elsewhere =
            |action: &Action| matches!(action, Action::SendIn(_, Body::End(end)) if end.except.is_some());
        let ends = |action: &Action| matches!(action, Action::SendIn(_, Body::End(end)) if end.except.is_none());

        prop_assert_eq!(count(&all, opens), 1);
        prop_assert!(count(&all, offers_media) <= 1);
        prop_assert!(count(&all, takes) <= 1);
        prop_assert!(count(&all, closes) <= 1);
        prop_assert_eq!(count(&all, reports), usize::from(state == State::Ended));
        // In at most two dialects.
        prop_assert!(count(&all, offers) <= 2 * (3 + (LONGEST_CALLING / SAID_AGAIN) as usize));
        prop_assert!(count(&all, ends) <= 2);
        prop_assert!(count(&all, elsewhere) <= 2 * usize::from(TOLD_ELSEWHERE));
        prop_assert!(count(&all, adds) <= MAX_CANDIDATES);
        prop_assert!(count(&all, |action| matches!(action, Action::Send(Body::Candidate(_)))) <= MAX_CANDIDATES);
        // It never answers, and never offers again once there is an answer.
        let answers =
            |action: &Action| matches!(action, Action::Send(Body::Answer(_)) | Action::SendIn(_, Body::Answer(_)));
        prop_assert_eq!(count(&all, answers), 0);
        match position(&all, takes) {
            Some(taken) => {
                prop_assert!(all[taken..].iter().all(|action| !offers(action)));
                prop_assert!(position(&all, offers).is_some_and(|first| first < taken));
                prop_assert!(position(&all, adds).is_none_or(|first| taken < first));
            }
            None => prop_assert_eq!(count(&all, adds), 0),
        }
        if let Some(closed) = position(&all, closes) {
            prop_assert!(all[closed + 1..].iter().all(reports));
        }
        // Who never heard of the call hears of no end.
        prop_assert!(position(&all, sends).is_none_or(|first| offers(&all[first])));
        // Once its inputs stop, a call that is not up ends by its deadlines alone.
        if state != State::Live {
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
        let ((mut alone, _), (mut disturbed, _)) = (begin(RINGS), begin(RINGS));
        let mut now = START;
        for (ms, input, noise) in steps {
            now = now.plus(ms);
            let expected = alone.handle(now, input.clone());
            let mut seen = disturbed.handle(now, input);
            if let Some(body) = noise {
                prop_assert_eq!(disturbed.handle(now, Input::Signal(signal(3, LINE, "s", body))), []);
                prop_assert_eq!(disturbed.handle(now, Input::Signal(signal(CALLEE, LINE, "t", hang_up()))), []);
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
