//! The call that a line makes.
//!
//! The offer goes out wrapped, and after a moment without an answer plain too, in the same session: whoever knows one of the two rings, and the
//! answer says which. Several devices may have the key that is called. The first that accepts has the call, and the others are told so.

use nostr::PublicKey;

use super::{Action, Call, Direction, Phase, State, Timing};
use crate::call::{EndReason, Millis};
use crate::endpoint::Streams;
use crate::protocol::{
    Answer, Body, CallEnd, CallType, Cipher, DeviceToken, Dialect, Dialog, EndCause, EndWord, IceCandidate,
    MAX_CANDIDATES, Offer, SessionId,
};
use crate::sdp;

/// The shortest that a line rings, in milliseconds: a plain offer has its turn in it.
pub const SHORTEST_CALLING: u64 = 5_000;
/// The longest: clients ring no longer, whatever an offer says.
pub const LONGEST_CALLING: u64 = 120_000;

/// How long the offer is wrapped alone, in milliseconds.
const WRAPPED_ALONE: u64 = 4_000;
/// After which time it is said again: a relay may have lost it, or a device come up. A relay passes on one plain event a second of a line.
const SAID_AGAIN: u64 = 10_000;
/// How long the words of a refusal are waited for: they are an event of their own.
const WORDS: u64 = 2_000;
/// How often it is said that another device has the call: each time that one more answers. Devices are some; whoever answers more often is heard no
/// more.
const TOLD_ELSEWHERE: u8 = 8;

/// Whom a line calls, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingPlan {
    pub line: PublicKey,
    pub callee: PublicKey,
    /// A name that no call had before.
    pub session: SessionId,
    /// What the line calls itself.
    pub name: Option<String>,
    /// For how long it rings once the offer is out, in milliseconds: within [`SHORTEST_CALLING`] and [`LONGEST_CALLING`].
    pub rings: u64,
    /// In this dialect alone; without one wrapped, and after a moment plain too.
    pub dialect: Option<Dialect>,
}

/// What a call has that the line makes.
#[derive(Debug)]
pub(super) struct Calling {
    /// What the line calls itself.
    name: Option<String>,
    /// Whether the offer goes out in the other dialect too when nobody answers.
    falls_back: bool,
    /// For how long it rings.
    rings: u64,
    /// In which dialects the call was spoken of so far.
    said: Vec<Dialect>,
    /// Whether a relay took it.
    taken: bool,
    /// Whether more ways to the callee were found: they are looked for once.
    more_ways: bool,
    /// The device that answered.
    device: Option<DeviceToken>,
    /// How often the other devices were told of that.
    told_elsewhere: u8,
    /// What the answer named, until the call is up.
    remote: Option<sdp::IceCredentials>,
    /// Candidates of ours that were found before the answer.
    late: Vec<IceCandidate>,
}

/// An offer that is out.
#[derive(Debug)]
pub(super) struct Ringing {
    sdp: String,
    since: Millis,
    /// When it is said again; none when it is too late for that.
    again: Option<Millis>,
    /// A refusal, and until when its words may come.
    refused: Option<Millis>,
}

impl Ringing {
    pub(super) fn deadline(&self, rings_until: Millis) -> Millis {
        [self.again, self.refused].into_iter().flatten().fold(rings_until, Millis::min)
    }
}

impl Calling {
    pub(super) fn keep_candidate(&mut self, candidate: IceCandidate) {
        if self.late.len() < MAX_CANDIDATES {
            self.late.push(candidate);
        }
    }

    pub(super) fn take_remote(&mut self) -> Option<sdp::IceCredentials> {
        self.remote.take()
    }

    fn note_said(&mut self, dialect: Dialect) {
        if !self.said.contains(&dialect) {
            self.said.push(dialect);
        }
    }

    pub(super) fn spoke(&self, dialect: Dialect) -> bool {
        self.said.contains(&dialect)
    }

    /// Every device hears of the end that heard of the call, unless it is known already.
    pub(super) fn tell_end(&self, now: Millis, reason: &EndReason, out: &mut Vec<Action>) {
        if *reason != EndReason::CalleeLeft {
            self.say(&Body::End(reason.call_end(now)), out);
        }
    }

    /// Says something in each of these dialects.
    fn say(&self, body: &Body, out: &mut Vec<Action>) {
        out.extend(self.said.iter().map(|dialect| Action::SendIn(*dialect, body.clone())));
    }

    /// The call goes on at the device that answered, and rings no more at the others. Where the answer names none, they cannot be told apart, and
    /// are told nothing.
    fn tell_elsewhere(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.device.is_some() && self.told_elsewhere < TOLD_ELSEWHERE {
            self.told_elsewhere += 1;
            let (except, cause) = (self.device.clone(), Some(EndCause::Elsewhere));
            let end = CallEnd { except, cause, ..CallEnd::new(EndWord::UserLeft, now.unix_seconds()) };
            self.say(&Body::End(end), out);
        }
    }
}

impl Call {
    /// A call that a line makes.
    pub fn calling(now: Millis, plan: RingPlan, timing: Timing) -> (Self, Vec<Action>) {
        let RingPlan { line, callee, session, name, rings, dialect } = plan;
        let dialog = Dialog {
            line,
            other: callee,
            session,
            call_type: CallType::Video,
            cipher: Cipher::Nip44,
            dialect: dialect.unwrap_or(Dialect::Wrapped),
        };
        let mut call = Self::begun(now, dialog, timing);
        call.calling = Some(Calling {
            name,
            falls_back: dialect.is_none(),
            rings: rings.clamp(SHORTEST_CALLING, LONGEST_CALLING),
            said: Vec::new(),
            taken: false,
            more_ways: false,
            device: None,
            told_elsewhere: 0,
            remote: None,
            late: Vec::new(),
        });
        call.phase = Phase::Opening { offer: None };
        (call, vec![Action::OpenSource])
    }

    pub(super) fn offer_media(&mut self, now: Millis, streams: &Streams, out: &mut Vec<Action>) {
        match sdp::calling_plan(streams) {
            Ok(plan) => {
                out.push(Action::OfferPeer { plan });
                self.phase = Phase::Offering;
            }
            Err(nothing) => {
                self.end(now, EndReason::NoCommonCodec(sdp::NoCommonCodec { detail: nothing.detail }), out);
            }
        }
    }

    pub(super) fn offer_ready(&mut self, now: Millis, sdp: String, out: &mut Vec<Action>) {
        if let (State::Offering, Some(calling)) = (self.state(), &self.calling) {
            self.rings_until = now.plus(calling.rings);
            let ringing = Ringing { sdp, since: now, again: Some(now.plus(WRAPPED_ALONE)), refused: None };
            self.phase = Phase::Ringing(Box::new(ringing));
            self.say_offer(self.dialog.dialect, out);
        }
    }

    pub(super) fn offer_taken(&mut self) {
        if let Some(calling) = &mut self.calling {
            calling.taken = true;
        }
    }

    /// What was said is said once more, where it was not heard yet.
    pub(super) fn more_ways(&mut self, out: &mut Vec<Action>) {
        let Some(calling) = self.calling.as_mut().filter(|calling| !calling.more_ways) else { return };
        calling.more_ways = true;
        if matches!(&self.phase, Phase::Ringing(ringing) if ringing.refused.is_none()) {
            for dialect in calling.said.clone() {
                self.say_offer(dialect, out);
            }
        }
    }

    /// The same offer each time, so that it stops ringing at the same time; whoever sends it signs it anew.
    fn say_offer(&mut self, dialect: Dialect, out: &mut Vec<Action>) {
        let (Phase::Ringing(ringing), Some(calling)) = (&self.phase, &mut self.calling) else { return };
        calling.note_said(dialect);
        let (sdp, since, seconds) = (ringing.sdp.clone(), ringing.since.unix_seconds(), calling.rings / 1000);
        let offer = Offer { name: calling.name.clone(), ..Offer::new(sdp, since, seconds) };
        out.push(Action::SendIn(dialect, Body::Offer(offer)));
    }

    /// A deadline of an offer that is out.
    pub(super) fn rings_on(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Phase::Ringing(ringing) = &mut self.phase else { return };
        if ringing.refused.is_some_and(|until| now >= until) {
            return self.end(now, EndReason::Declined, out);
        }
        if now >= self.rings_until {
            let taken = self.calling.as_ref().is_some_and(|calling| calling.taken);
            return self.end(now, if taken { EndReason::Unanswered } else { EndReason::NotSent }, out);
        }
        let next = now.plus(SAID_AGAIN);
        ringing.again = (next < self.rings_until).then_some(next);
        if ringing.refused.is_none() {
            let first = self.dialog.dialect;
            self.say_offer(first, out);
            if self.calling.as_ref().is_some_and(|calling| calling.falls_back) {
                self.say_offer(Dialect::Plain, out);
            }
        }
    }

    /// An answer of a device with the key that is called.
    pub(super) fn called_answers(&mut self, now: Millis, dialect: Dialect, answer: Answer, out: &mut Vec<Action>) {
        let refused = match &mut self.phase {
            Phase::Ringing(ringing) if answer.accepted && ringing.refused.is_none() => {
                let guarded = sdp::guard_answer(&ringing.sdp, &answer.sdp);
                return match guarded {
                    Ok(guarded) => self.answered(now, dialect, guarded, answer.device, out),
                    Err(reject) => self.end(now, EndReason::BadAnswer(reject), out),
                };
            }
            Phase::Ringing(ringing) => &mut ringing.refused,
            Phase::Live(upkeep) if self.calling.as_ref().is_some_and(|calling| calling.device == answer.device) => {
                // To a restart of ours, or the first answer once more.
                upkeep.heard_answer(now, &answer, out);
                return;
            }
            Phase::Connecting { .. } | Phase::Live(_) => return self.answered_late(now, &answer, out),
            _ => return self.ignore(),
        };
        refused.get_or_insert(now.plus(WORDS));
    }

    fn answered(
        &mut self,
        now: Millis,
        dialect: Dialect,
        answer: sdp::RemoteAnswer,
        device: Option<DeviceToken>,
        out: &mut Vec<Action>,
    ) {
        self.dialog.dialect = dialect;
        self.milestones.answered = Some(now);
        let remote = answer.ice.clone();
        self.phase = Phase::Connecting { until: now.plus(self.timing.connect), unheard: None };
        out.push(Action::TakeAnswer(Box::new(answer)));
        out.extend(self.candidates.iter().cloned().map(Action::AddCandidate));
        if let Some(calling) = &mut self.calling {
            calling.device = device;
            calling.remote = Some(remote);
            calling.note_said(dialect);
            calling.tell_elsewhere(now, out);
            let late = std::mem::take(&mut calling.late);
            self.sent_candidates = late.len();
            out.extend(late.into_iter().map(|candidate| Action::Send(Body::Candidate(candidate))));
        }
    }

    /// The same answer again, since relays lose them; or that of another device, which has not heard yet that it is too late.
    fn answered_late(&mut self, now: Millis, answer: &Answer, out: &mut Vec<Action>) {
        let Some(calling) = &mut self.calling else { return };
        if answer.accepted && answer.device != calling.device {
            calling.tell_elsewhere(now, out);
        }
    }

    /// A `call_end` of a device with the key that is called.
    pub(super) fn called_ends(&mut self, now: Millis, end: &CallEnd, out: &mut Vec<Action>) {
        let turned_down = matches!(end.cause, Some(EndCause::Declined | EndCause::Busy));
        match (self.state(), end.reason) {
            // That device rings no more; others may.
            (State::Ringing, EndWord::Timeout) => {}
            (State::Ringing, _) => {
                let busy = end.cause == Some(EndCause::Busy);
                self.end(now, if busy { EndReason::CalleeBusy } else { EndReason::Declined }, out);
            }
            // A device that has not heard yet that another one answered.
            (State::Connecting | State::Live, EndWord::Rejected) if turned_down => {}
            (State::Connecting | State::Live, _) => self.end(now, EndReason::CalleeLeft, out),
            _ => self.ignore(),
        }
    }

    /// Whether somebody who is called has answered, and the call goes on.
    pub fn is_answered(&self) -> bool {
        self.direction() == Direction::Out && matches!(self.state(), State::Connecting | State::Live)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
