//! A line that calls, hop by hop, in virtual time.

use super::super::tests::{CALLER as CALLEE, GOOD_SDP, LINE, START, TIMING, host, key, picture, signal, trickle};
use super::super::{Input, Report};
use super::*;

pub(super) const RINGS: u64 = 60_000;

/// What the line's peer offers.
pub(super) fn offered() -> String {
    GOOD_SDP.replace("recvonly", "sendonly")
}

/// An acceptance by the device of this name.
pub(super) fn accepts(device: Option<&str>) -> Body {
    let device = device.map(|device| device.parse().unwrap());
    Body::Answer(Answer { device, ..Answer::accepting(GOOD_SDP.replace("actpass", "active"), 0) })
}

pub(super) fn refuses() -> Body {
    Body::Answer(Answer::refusing(0))
}

pub(super) fn end(reason: EndWord, cause: Option<EndCause>) -> Body {
    Body::End(CallEnd { cause, ..CallEnd::new(reason, 0) })
}

pub(super) fn said(body: Body) -> Input {
    said_in(Dialect::Wrapped, body)
}

fn said_in(dialect: Dialect, body: Body) -> Input {
    let mut signal = signal(CALLEE, LINE, "s", body);
    signal.envelope.dialect = dialect;
    Input::Signal(signal)
}

pub(super) fn begin(rings: u64) -> (Call, Vec<Action>) {
    begin_in(None, rings)
}

fn begin_in(dialect: Option<Dialect>, rings: u64) -> (Call, Vec<Action>) {
    let (line, callee, session) = (key(LINE), key(CALLEE), "s".parse().unwrap());
    Call::calling(START, RingPlan { line, callee, session, name: Some("door".into()), rings, dialect }, TIMING)
}

/// A call that rings.
fn ringing() -> Call {
    let (mut call, _) = begin(RINGS);
    call.handle(START, Input::SourceReady(picture()));
    call.handle(START, Input::OfferReady(offered()));
    call.handle(START, Input::OfferTaken);
    assert_eq!((call.state(), call.direction()), (State::Ringing, Direction::Out));
    call
}

fn the_offer(since: Millis) -> Body {
    Body::Offer(Offer { name: Some("door".into()), ..Offer::new(offered(), since.unix_seconds(), 60) })
}

fn report(actions: &[Action]) -> &Report {
    match actions.last() {
        Some(Action::Report(report)) => report,
        other => panic!("the last action is {other:?}"),
    }
}

/// The ends that are said, with their dialects.
fn ends(actions: &[Action]) -> Vec<(Dialect, &CallEnd)> {
    let end = |action| match action {
        &Action::SendIn(dialect, Body::End(ref end)) => Some((dialect, end)),
        _ => None,
    };
    actions.iter().filter_map(end).collect()
}

#[test]
fn a_call_that_is_answered() {
    let (mut call, actions) = begin(RINGS);
    assert_eq!(actions, [Action::OpenSource]);
    let plan = sdp::calling_plan(&picture()).unwrap();
    assert_eq!(call.handle(START.plus(1), Input::SourceReady(picture())), [Action::OfferPeer { plan }]);
    assert_eq!(call.state(), State::Offering);

    // It rings from when the offer is there, wrapped at first.
    let since = START.plus(1_500);
    let offer = || the_offer(since);
    assert_eq!(call.handle(since, Input::OfferReady(offered())), [Action::SendIn(Dialect::Wrapped, offer())]);
    // Candidates of either side wait for the answer.
    assert_eq!(call.handle(since, said(trickle(&host(1)))), []);
    let late = || Input::LocalCandidate { candidate: "candidate:9".into(), mid: "0".into(), index: 0 };
    assert_eq!(call.handle(since, late()), []);

    // Nobody answers at once: plain too.
    let now = call.deadline().unwrap();
    assert_eq!(now, since.plus(WRAPPED_ALONE));
    let again = [Action::SendIn(Dialect::Wrapped, offer()), Action::SendIn(Dialect::Plain, offer())];
    assert_eq!(call.handle(now, Input::Tick), again);

    // The first device that accepts has the call, in its dialect; the others are told in all.
    let actions = call.handle(now.plus(1), said_in(Dialect::Plain, accepts(Some("desk"))));
    assert!(matches!(&actions[0], Action::TakeAnswer(answer) if answer.active));
    assert_eq!(actions[1], Action::AddCandidate(sdp::Candidate::read(&host(1)).unwrap().unwrap()));
    let told = ends(&actions);
    assert_eq!(told.iter().map(|(dialect, _)| *dialect).collect::<Vec<_>>(), [Dialect::Wrapped, Dialect::Plain]);
    for (_, end) in told {
        let device = end.except.as_ref().map(DeviceToken::as_str);
        assert_eq!((end.reason, end.cause, device), (EndWord::UserLeft, Some(EndCause::Elsewhere), Some("desk")));
    }
    assert!(matches!(&actions[4..], [Action::Send(Body::Candidate(_))]), "{actions:?}");
    assert_eq!((call.dialog().dialect, call.is_answered()), (Dialect::Plain, true));
    assert_eq!(call.deadline(), Some(now.plus(1 + TIMING.connect)));

    // From there on it is as any call.
    assert_eq!(call.handle(now.plus(2), Input::Secured), []);
    assert_eq!((call.state(), call.deadline()), (State::Live, None));
    assert_eq!(call.handle(now.plus(3), said(end(EndWord::UserLeft, None))), [Action::CloseMedia]);
    let actions = call.handle(now.plus(4), Input::PeerClosed);
    let report = report(&actions);
    assert_eq!((report.reason.clone(), report.origin()), (EndReason::CalleeLeft, crate::call::Origin::Callee));
    assert_eq!((report.caller, report.line, report.direction), (key(CALLEE), key(LINE), Direction::Out));
    assert_eq!(report.milestones.answered, Some(now.plus(1)));
}

#[test]
fn it_rings_for_as_long_as_it_is_asked_to_within_bounds() {
    for (asked, rings) in [(0, SHORTEST_CALLING), (30_000, 30_000), (u64::MAX, LONGEST_CALLING)] {
        let (mut call, _) = begin(asked);
        call.handle(START, Input::SourceReady(picture()));
        let actions = call.handle(START, Input::OfferReady(offered()));
        assert!(matches!(&actions[..], [Action::SendIn(_, Body::Offer(offer))] if offer.expires_in * 1000 == rings));
        let mut offers = 0;
        while call.state() == State::Ringing {
            let now = call.deadline().unwrap();
            let actions = call.handle(now, Input::Tick);
            offers += actions.iter().filter(|action| matches!(action, Action::SendIn(_, Body::Offer(_)))).count();
            assert!(call.state() == State::Ringing || now == START.plus(rings));
        }
        assert!((2..=2 * 13).contains(&offers), "{offers} in {rings}");
    }
}

#[test]
fn nobody_answers_and_every_device_is_told_that_it_is_over() {
    let mut call = ringing();
    call.handle(START.plus(WRAPPED_ALONE), Input::Tick);
    let now = START.plus(RINGS);
    let actions = call.handle(now, Input::Tick);
    let told = ends(&actions);
    assert_eq!(told.iter().map(|(dialect, _)| *dialect).collect::<Vec<_>>(), [Dialect::Wrapped, Dialect::Plain]);
    assert!(told.iter().all(|(_, end)| (end.reason, end.cause) == (EndWord::Timeout, None)));
    assert_eq!(report(&call.handle(now, Input::PeerClosed)).reason, EndReason::Unanswered);
}

#[test]
fn an_offer_that_no_relay_took_is_not_one_that_nobody_answered() {
    let (mut call, _) = begin(RINGS);
    call.handle(START, Input::SourceReady(picture()));
    call.handle(START, Input::OfferReady(offered()));
    call.handle(START.plus(RINGS), Input::Tick);
    assert_eq!(report(&call.handle(START.plus(RINGS), Input::PeerClosed)).reason, EndReason::NotSent);
}

#[test]
fn a_refusal_ends_the_call_and_its_words_tell_declined_from_busy() {
    let declined = end(EndWord::Rejected, Some(EndCause::Declined));
    let busy = end(EndWord::Rejected, Some(EndCause::Busy));
    let cases = [
        (vec![refuses(), declined.clone()], EndReason::Declined, EndCause::Declined),
        (vec![declined], EndReason::Declined, EndCause::Declined),
        (vec![refuses(), busy.clone()], EndReason::CalleeBusy, EndCause::Busy),
        (vec![busy], EndReason::CalleeBusy, EndCause::Busy),
        (vec![end(EndWord::Rejected, None)], EndReason::Declined, EndCause::Declined),
    ];
    for (bodies, reason, cause) in cases {
        let mut call = ringing();
        let mut actions = Vec::new();
        for body in bodies {
            assert_eq!(actions, [], "the words are waited for");
            actions = call.handle(START.plus(1), said(body));
        }
        // The other devices stop.
        assert!(ends(&actions).iter().all(|(_, end)| end.cause == Some(cause)) && ends(&actions).len() == 1);
        assert_eq!(report(&call.handle(START.plus(1), Input::PeerClosed)).reason, reason);
    }
}

#[test]
fn a_refusal_without_words_is_one_and_no_later_answer_undoes_it() {
    let mut call = ringing();
    call.handle(START.plus(1), said(refuses()));
    assert_eq!(call.handle(START.plus(2), said(accepts(Some("desk")))), []);
    let now = call.deadline().unwrap();
    assert_eq!(now, START.plus(1 + WORDS));
    call.handle(now, Input::Tick);
    assert_eq!(report(&call.handle(now, Input::PeerClosed)).reason, EndReason::Declined);
}

#[test]
fn a_device_that_stops_ringing_by_itself_ends_nothing() {
    let mut call = ringing();
    assert_eq!(call.handle(START.plus(1), said(end(EndWord::Timeout, None))), []);
    assert_eq!(call.state(), State::Ringing);
}

#[test]
fn a_device_that_comes_too_late_is_told_so_and_does_not_disturb_the_call() {
    let mut call = ringing();
    call.handle(START.plus(1), said(accepts(Some("desk"))));
    assert_eq!(call.handle(START.plus(2), said(accepts(Some("desk")))), [], "the same answer again");
    for body in [refuses(), end(EndWord::Rejected, Some(EndCause::Declined))] {
        assert_eq!(call.handle(START.plus(2), said(body)), [], "another device turns it down");
    }
    let mut told = 1;
    for _ in 0..3 * TOLD_ELSEWHERE {
        let actions = call.handle(START.plus(3), said(accepts(Some("pocket"))));
        assert!(ends(&actions).iter().all(|(_, end)| end.except == Some("desk".parse().unwrap())));
        told += ends(&actions).len();
    }
    assert_eq!((told, call.state()), (usize::from(TOLD_ELSEWHERE), State::Connecting));
}

#[test]
fn where_devices_have_no_names_nobody_is_told_that_another_answered() {
    let mut call = ringing();
    let actions = call.handle(START.plus(1), said(accepts(None)));
    assert!(matches!(actions[..], [Action::TakeAnswer(_)]), "{actions:?}");
    assert_eq!(call.handle(START.plus(2), said(accepts(None))), []);
}

#[test]
fn the_operator_hangs_up_while_it_rings() {
    let mut call = ringing();
    let actions = call.handle(START.plus(1), Input::HangUp(EndReason::OperatorLeft));
    let [(dialect, end)] = ends(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!((dialect, end.reason, actions.len()), (Dialect::Wrapped, EndWord::UserLeft, 2));
    assert_eq!(report(&call.handle(START.plus(1), Input::PeerClosed)).reason, EndReason::OperatorLeft);
}

#[test]
fn before_the_offer_is_out_nobody_is_told_of_the_end() {
    let ends =
        [Input::SourceFailed("401".into()), Input::SourceReady(Streams::default()), Input::HangUp(EndReason::Shutdown)];
    for input in ends {
        let (mut call, _) = begin(RINGS);
        assert_eq!(call.handle(START, input), [Action::CloseMedia]);
    }
    let (mut call, _) = begin(RINGS);
    call.handle(START, Input::SourceReady(picture()));
    let now = call.deadline().unwrap();
    assert_eq!(call.handle(now, Input::Tick), [Action::CloseMedia], "no offer is made");
}

#[test]
fn an_answer_that_the_guard_refuses_ends_the_call() {
    let mut call = ringing();
    let actions = call.handle(START, said(Body::Answer(Answer::accepting("v=1".into(), 0))));
    assert_eq!(ends(&actions)[0].1.reason, EndWord::Rejected);
    assert!(matches!(report(&call.handle(START, Input::PeerClosed)).reason, EndReason::BadAnswer(_)));
}

#[test]
fn nobody_else_may_answer() {
    for (from, to, session) in [(3, LINE, "s"), (LINE, CALLEE, "s"), (CALLEE, 3, "s"), (CALLEE, LINE, "t")] {
        for body in [accepts(None), refuses(), end(EndWord::Rejected, None), trickle(&host(1))] {
            let mut call = ringing();
            assert_eq!(call.handle(START, Input::Signal(signal(from, to, session, body))), []);
            assert_eq!((call.state(), call.ignored), (State::Ringing, 1));
        }
    }
}

#[test]
fn where_more_ways_are_found_the_offer_goes_there_at_once_and_that_once() {
    let mut call = ringing();
    assert_eq!(call.handle(START.plus(1), Input::MoreWays), [Action::SendIn(Dialect::Wrapped, the_offer(START))]);
    assert_eq!(call.handle(START.plus(2), Input::MoreWays), []);
    let mut early = begin(RINGS).0;
    assert_eq!(early.handle(START, Input::MoreWays), [], "the offer will go there anyway");
}

#[test]
fn in_one_dialect_alone_the_other_is_never_spoken() {
    for dialect in [Dialect::Plain, Dialect::Wrapped] {
        let (mut call, _) = begin_in(Some(dialect), RINGS);
        let mut actions = call.handle(START, Input::SourceReady(picture()));
        actions.extend(call.handle(START, Input::OfferReady(offered())));
        while let Some(deadline) = call.deadline() {
            actions.extend(call.handle(deadline, Input::Tick));
        }
        let said = actions.iter().filter_map(|action| match action {
            Action::SendIn(dialect, _) => Some(*dialect),
            _ => None,
        });
        let said: Vec<Dialect> = said.collect();
        assert!(said.len() > 5 && said.iter().all(|said| *said == dialect), "{said:?}");
        assert!(Dialect::Plain != dialect || !call.spoke(Dialect::Wrapped));
    }
}
