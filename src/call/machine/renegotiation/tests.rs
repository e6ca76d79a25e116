//! Further offers and lost paths, in virtual time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::tests::*;
use super::super::{Action, Call, EndReason, Input, RingPlan, State};
use super::*;
use crate::protocol::SignalKind;

/// An offer of the caller's with other ICE credentials.
fn other(n: u32) -> String {
    GOOD_SDP.replace("a=ice-ufrag:Yq3k", &format!("a=ice-ufrag:nu{n:02}"))
}

/// An offer of ours, and an answer to it.
fn ours(n: u32) -> String {
    other(n).replace("recvonly", "sendonly")
}
fn answer_to_ours(n: u32) -> String {
    other(n).replace("a=ice-ufrag:nu", "a=ice-ufrag:an").replace("actpass", "active")
}

fn offers(sdp: &str, created_at: u64) -> Input {
    let mut signal = signal(CALLER, LINE, "s", offer(sdp, 600));
    signal.envelope.created_at = created_at;
    Input::Signal(signal)
}

fn answers(answer: Answer) -> Input {
    from_caller(Body::Answer(answer))
}

fn renegotiates(actions: &[Action], sdp: &str) -> bool {
    actions == [Action::Renegotiate { offer: Box::new(sdp::guard_offer(sdp).unwrap()) }]
}

fn accepts(actions: &[Action], sdp: &str) -> bool {
    matches!(actions, [Action::Send(Body::Answer(answer))] if answer.accepted && answer.sdp == sdp)
}

fn refuses(actions: &[Action]) -> bool {
    matches!(actions, [Action::Send(Body::Answer(answer))] if !answer.accepted)
}

fn asks(actions: &[Action], sdp: &str) -> bool {
    matches!(actions, [Action::Send(Body::Offer(offer))] if offer.sdp == sdp)
}

/// A live call, and when its next input comes.
fn live() -> (Call, Millis) {
    call_in(State::Live)
}

/// A live call of a line that called.
fn live_caller() -> (Call, Millis) {
    let (line, callee, session) = (key(LINE), key(CALLER), "s".parse().unwrap());
    let plan = RingPlan { line, callee, session, name: None, rings: 60_000, dialect: None };
    let (mut call, _) = Call::calling(START, plan, TIMING);
    call.handle(START, Input::SourceReady(picture()));
    call.handle(START, Input::OfferReady(GOOD_SDP.replace("recvonly", "sendonly")));
    call.handle(START, answers(Answer::accepting(GOOD_SDP.replace("actpass", "active"), 0)));
    call.handle(START, Input::Secured);
    assert_eq!(call.state(), State::Live);
    (call, START.plus(1000))
}

/// A live call whose path is lost and whose offer `ours(1)` waits for its answer.
fn restarting(mut call: Call, now: Millis) -> (Call, Millis) {
    call.handle(now, Input::PathLost);
    let now = now.plus(TIMING.restart);
    assert_eq!(call.handle(now, Input::Tick), [Action::Restart]);
    assert!(asks(&call.handle(now, Input::OfferReady(ours(1))), &ours(1)));
    (call, now)
}

#[test]
fn a_further_offer_is_answered_in_the_same_session() {
    let (mut call, now) = live();
    assert!(renegotiates(&call.handle(now, offers(&other(1), 5)), &other(1)));
    assert!(accepts(&call.handle(now, Input::AnswerReady("one".into())), "one"));
    assert!(renegotiates(&call.handle(now, offers(&other(2), 6)), &other(2)));
    assert!(refuses(&call.handle(now, Input::NotRenegotiated)));
    assert_eq!((call.state(), call.deadline(), call.ignored), (State::Live, None, 0));
}

#[test]
fn an_offer_signed_anew_is_answered_with_the_same_words() {
    let (mut call, now) = live();
    call.handle(now, offers(&other(1), 5));
    assert_eq!(call.handle(now, offers(&other(1), 6)), [], "its answer follows");
    call.handle(now, Input::AnswerReady("one".into()));
    assert!(accepts(&call.handle(now, offers(&other(1), 9)), "one"));
    call.handle(now, offers(&other(2), 10));
    call.handle(now, Input::NotRenegotiated);
    assert!(refuses(&call.handle(now, offers(&other(2), 13))));
}

#[test]
fn of_offers_that_come_at_once_only_the_newest_is_answered() {
    let (mut call, now) = live();
    call.handle(now, offers(&other(1), 5));
    assert_eq!(call.handle(now, offers(&other(2), 6)), []);
    assert_eq!(call.handle(now, offers(&other(3), 7)), []);
    assert!(renegotiates(&call.handle(now, Input::AnswerReady("one".into())), &other(3)));
    assert!(accepts(&call.handle(now, Input::AnswerReady("three".into())), "three"));
    // A relay brings an older one late.
    assert_eq!(call.handle(now, offers(&other(4), 6)), []);
    assert_eq!(call.ignored, 1);
}

#[test]
fn an_offer_that_cannot_be_read_is_refused_and_the_call_goes_on() {
    let (mut call, now) = live();
    assert!(refuses(&call.handle(now, offers("bad", 5))));
    assert_eq!((call.state(), call.ignored), (State::Live, 1));
    assert!(renegotiates(&call.handle(now, offers(&other(1), 6)), &other(1)));
}

#[test]
fn a_caller_who_offers_without_end_is_not_followed() {
    let (mut call, now) = live();
    let taken = |call: &mut Call, now, n| !call.handle(now, offers(&other(n), u64::from(n))).is_empty();
    let at_once = (1..=50)
        .filter(|n| {
            let taken = taken(&mut call, now, *n);
            call.handle(now, Input::NotRenegotiated);
            taken
        })
        .count();
    assert_eq!((at_once, call.ignored), (usize::from(OFFERS), 50 - u32::from(OFFERS)));
    assert!(!taken(&mut call, START.plus(ONE_MORE - 1), 51));
    assert!(taken(&mut call, START.plus(ONE_MORE), 52));
    assert!(!taken(&mut call, START.plus(ONE_MORE), 53));

    let (mut call, mut now) = live();
    let mut all = 0;
    for n in 0..u64::from(OFFERS_OF_A_CALL) + 10 {
        all += u64::from(!call.handle(now, offers("bad", n)).is_empty());
        now = now.plus(ONE_MORE);
    }
    assert_eq!(all, u64::from(OFFERS_OF_A_CALL));
}

#[test]
fn candidates_after_a_further_offer_are_for_the_new_path() {
    let (mut call, now) = live();
    assert_eq!(call.handle(now, from_caller(trickle(&host(1)))).len(), 1);
    assert_eq!(call.handle(now, from_caller(trickle(&host(1)))), []);
    call.handle(now, offers(&other(1), 5));
    assert_eq!(call.handle(now, from_caller(trickle(&host(1)))).len(), 1);
}

#[test]
fn a_path_that_stays_lost_is_restarted_again_and_again_and_then_ends_the_call() {
    let (mut call, now) = live();
    assert_eq!(call.handle(now, Input::PathLost), []);
    assert_eq!(call.deadline(), Some(now.plus(TIMING.restart)));
    let lost = now;

    let mut now = lost.plus(TIMING.restart);
    assert_eq!(call.handle(now, Input::Tick), [Action::Restart]);
    assert!(asks(&call.handle(now, Input::OfferReady(ours(1))), &ours(1)));
    assert_eq!(call.handle(now.plus(1), Input::PathLost), [], "which is known");
    let mut asked = 0;
    loop {
        now = call.deadline().unwrap();
        let actions = call.handle(now, Input::Tick);
        if call.state() != State::Live {
            assert!(matches!(&actions[..], [Action::Send(Body::End(_)), Action::CloseMedia]), "{actions:?}");
            break;
        }
        assert!(asks(&actions, &ours(1)), "signed anew");
        asked += 1;
    }
    assert_eq!(asked, 5);
    assert_eq!(now, lost.plus(TIMING.lost));
    let actions = call.handle(now, Input::PeerClosed);
    assert!(matches!(&actions[..], [Action::Report(report)] if report.reason == EndReason::CallerGone));
}

#[test]
fn a_path_that_is_found_needs_nothing_more_but_a_late_answer_still_counts() {
    let (call, now) = live();
    let (mut call, now) = restarting(call, now);
    assert_eq!(call.handle(now, Input::PathFound), []);
    assert_eq!(call.deadline(), None);
    let answer = sdp::guard_answer(&ours(1), &answer_to_ours(1)).unwrap();
    let taken = call.handle(now, answers(Answer::accepting(answer_to_ours(1), 0)));
    assert_eq!(taken, [Action::TakeAnswer(Box::new(answer))]);
    assert_eq!((call.state(), call.ignored), (State::Live, 0));
}

#[test]
fn our_offer_takes_one_answer_and_none_that_belongs_to_an_earlier_one() {
    let (call, now) = live();
    let (mut call, now) = restarting(call, now);
    assert_eq!(call.handle(now, answers(Answer::accepting("bad".into(), 0))), []);
    assert_eq!(call.ignored, 1);
    assert_eq!(call.handle(now, answers(Answer::accepting(answer_to_ours(1), 0))).len(), 1);
    assert_eq!(call.handle(now, answers(Answer::accepting(answer_to_ours(1), 0))), []);
    assert_eq!((call.deadline(), call.ignored), (Some(now.plus(TIMING.restart_again)), 2));

    let now = now.plus(TIMING.restart_again);
    assert_eq!(call.handle(now, Input::Tick), [Action::Restart], "the path was not found");
    call.handle(now, Input::OfferReady(ours(2)));
    assert_eq!(call.handle(now, answers(Answer::accepting(answer_to_ours(1), 0))), [], "said once more, come late");
    assert_eq!(call.handle(now, answers(Answer::accepting(answer_to_ours(2), 0))).len(), 1);
}

#[test]
fn a_restart_of_the_other_side_that_leads_to_no_path_is_followed_by_one_of_ours() {
    let (mut call, now) = live();
    call.handle(now, offers(&other(1), 5));
    assert_eq!(call.handle(now, Input::NoNewPath), [], "there is one that media works on");
    call.handle(now, Input::AnswerReady("one".into()));
    assert_eq!(call.handle(now, Input::NoNewPath), [Action::Restart]);
    assert_eq!(call.handle(now, Input::NoNewPath), [], "media makes it");
    assert!(asks(&call.handle(now, Input::OfferReady(ours(1))), &ours(1)));
    assert_eq!(call.handle(now, answers(Answer::accepting(answer_to_ours(1), 0))).len(), 1);
    assert_ne!(call.deadline(), Some(now), "and the call waits for nothing");
}

#[test]
fn patience_ends_also_when_the_clock_goes_back() {
    let (mut call, now) = live();
    call.handle(now.plus(1 << 60), Input::PathLost);
    call.handle(now, offers(&other(1), 5));
    // The first tells it that the clock went back.
    for _ in 0..=TIMING.lost / TIMING.restart_again + 1 {
        call.handle(call.deadline().unwrap(), Input::Tick);
    }
    assert_eq!(call.state(), State::Closing);
}

#[test]
fn an_offer_of_ours_that_is_refused_is_followed_by_another() {
    let (call, now) = live();
    let (mut call, now) = restarting(call, now);
    assert_eq!(call.handle(now, answers(Answer::refusing(0))), []);
    assert_eq!(
        (call.state(), call.handle(call.deadline().unwrap(), Input::Tick)),
        (State::Live, vec![Action::Restart])
    );
}

#[test]
fn the_one_who_was_called_gives_way() {
    // Before media has made our offer
    let (mut call, now) = live();
    call.handle(now, Input::PathLost);
    let now = now.plus(TIMING.restart);
    assert_eq!(call.handle(now, Input::Tick), [Action::Restart]);
    assert!(renegotiates(&call.handle(now, offers(&other(1), 5)), &other(1)));
    assert_eq!(call.handle(now, Input::OfferReady(ours(1))), [], "withdrawn");
    assert!(accepts(&call.handle(now, Input::AnswerReady("one".into())), "one"));
    assert_eq!(call.handle(now, answers(Answer::accepting(answer_to_ours(1), 0))), [], "to nothing of ours");

    // And after it
    let (call, now) = live();
    let (mut call, now) = restarting(call, now);
    assert!(renegotiates(&call.handle(now, offers(&other(1), 5)), &other(1)));
    assert_eq!(call.handle(now, answers(Answer::accepting(answer_to_ours(1), 0))), [], "it counts no more");
    assert_eq!(call.deadline(), Some(now.plus(TIMING.restart_again)), "the new path has its time");
}

#[test]
fn the_one_who_called_does_not_while_its_offer_may_be_answered() {
    let (call, now) = live_caller();
    let (mut call, now) = restarting(call, now);
    assert_eq!(call.handle(now, offers(&other(1), 5)), []);
    let first = Answer::accepting(GOOD_SDP.replace("actpass", "active"), 0);
    assert_eq!(call.handle(now, answers(first)), [], "that to the first offer, said once more");
    assert_eq!(call.handle(now, answers(Answer::accepting(answer_to_ours(1), 0))).len(), 1);
    assert!(renegotiates(&call.handle(now, offers(&other(1), 6)), &other(1)));

    let (call, now) = live_caller();
    let (mut call, now) = restarting(call, now);
    call.handle(now, Input::PathFound);
    let late = now.plus(ANSWERED_WITHIN * 1000);
    assert!(renegotiates(&call.handle(late, offers(&other(1), 5)), &other(1)), "ours is past its time");
}

#[test]
fn nothing_is_renegotiated_before_a_call_is_up_or_after_it() {
    for state in [State::Opening, State::Answering, State::Connecting, State::Closing, State::Ended] {
        let (mut call, now) = call_in(state);
        let ignored = call.ignored;
        for input in [Input::PathLost, Input::PathFound, Input::NotRenegotiated, Input::OfferReady("offer".into())] {
            assert_eq!((call.handle(now, input), call.state()), (Vec::new(), state));
        }
        assert_eq!(call.handle(now, offers(&other(1), 5)), []);
        assert_eq!((call.state(), call.ignored), (state, ignored + 1));
    }
}

/// What happens in a live call.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// The other side offers, with these credentials.
    Offer(u32),
    /// It answers our newest offer.
    Answer,
    /// It refuses it.
    Refuse,
    /// Media does the oldest of what it was asked.
    MediaDoes,
    /// And finds that it does not belong to the call.
    MediaRefuses,
    NoNewPath,
    Lost,
    Found,
    Wait(u64),
}

fn happenings() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => (0u32..3).prop_map(Happens::Offer),
        2 => Just(Happens::Answer),
        1 => Just(Happens::Refuse),
        5 => Just(Happens::MediaDoes),
        1 => Just(Happens::MediaRefuses),
        1 => Just(Happens::NoNewPath),
        2 => Just(Happens::Lost),
        1 => Just(Happens::Found),
        4 => (0u64..4_000).prop_map(Happens::Wait),
    ]
}

/// Media, as it keeps its promises, and what was said so far.
struct World {
    call: Call,
    now: Millis,
    asked: VecDeque<Action>,
    restarts: u32,
    /// Of the last offer that the caller made and that was not void by the rule, the text.
    owed: Option<String>,
    said: usize,
}

impl World {
    fn give(&mut self, input: Input) {
        for action in self.call.handle(self.now, input) {
            match action {
                Action::Send(Body::Answer(_)) => {
                    self.owed = None;
                    self.said += 1;
                }
                Action::Renegotiate { .. } | Action::Restart => self.asked.push_back(action),
                _ => {}
            }
        }
        // Media is never asked for two things of a kind at once.
        let count = |kind: fn(&Action) -> bool| self.asked.iter().filter(|action| kind(action)).count();
        assert!(count(|action| matches!(action, Action::Renegotiate { .. })) <= 1);
        assert!(count(|action| matches!(action, Action::Restart)) <= 1);
    }

    fn media_does(&mut self, well: bool) {
        match self.asked.pop_front() {
            Some(Action::Restart) => {
                self.restarts += 1;
                self.give(Input::OfferReady(ours(self.restarts)));
            }
            Some(_) if well => self.give(Input::AnswerReady("answer".into())),
            Some(_) => self.give(Input::NotRenegotiated),
            None => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_callers_newest_offer_is_always_answered_and_never_more_often_than_it_was_made(
        steps in prop::collection::vec(happenings(), 0..60),
    ) {
        let (call, now) = live();
        let mut world = World { call, now, asked: VecDeque::new(), restarts: 0, owed: None, said: 0 };
        let mut made = 0;
        for step in steps {
            match step {
                // Those past the allowance are not answered; how many that is has a test of its own.
                Happens::Offer(_) if made >= usize::from(OFFERS) => {}
                Happens::Offer(n) => {
                    made += 1;
                    world.owed = Some(other(n));
                    world.give(offers(&other(n), made as u64));
                }
                Happens::Answer => world.give(answers(Answer::accepting(answer_to_ours(world.restarts), 0))),
                Happens::Refuse => world.give(answers(Answer::refusing(0))),
                Happens::MediaDoes => world.media_does(true),
                Happens::MediaRefuses => world.media_does(false),
                Happens::NoNewPath => world.give(Input::NoNewPath),
                Happens::Lost => world.give(Input::PathLost),
                Happens::Found => world.give(Input::PathFound),
                Happens::Wait(ms) => {
                    world.now = world.now.plus(ms);
                    world.give(Input::Tick);
                }
            }
        }
        while !world.asked.is_empty() {
            world.media_does(true);
        }
        if world.call.state() == State::Live {
            prop_assert_eq!(world.owed, None);
            prop_assert!(world.said <= made);
        }
        // And a path that is lost for good ends the call, within so many offers.
        let mut asked = 0;
        for _ in 0..50 {
            let Some(deadline) = world.call.deadline() else { break };
            let actions = world.call.handle(deadline, Input::Tick);
            asked += actions.iter().filter(|action| matches!(action, Action::Send(body) if body.kind() == SignalKind::Offer)).count();
        }
        prop_assert!(asked <= 6);
        prop_assert!(matches!(world.call.state(), State::Live | State::Ended));
        prop_assert!(world.call.deadline().is_none());
    }
}
