//! What keeps a live call up: further offers of either side, and a path that is lost.
//!
//! Either side may offer again in a live call. One offer of the other side's is worked on at a time, and of those that come meanwhile only the
//! newest counts: its sender has forgotten the others. When both sides offer at once, the offer of the one who called counts: the one who was
//! called gives way. An offer that nobody answers is signed anew and sent again as it is, so the same text gets the same answer.

use super::{Action, Timing, accept};
use crate::call::Millis;
use crate::protocol::{Answer, Body, Offer};
use crate::sdp::{self, IceCredentials};

/// How many offers of the other side's are taken at once, and after how many milliseconds one more is. Each costs a parse, new checks, and a place
/// in the order of the line's answers, which it shares with all other callers. A caller on the move offers every 3 s while it has no path.
const OFFERS: u8 = 10;
const ONE_MORE: u64 = 5_000;
/// How many are taken in one call: one a minute for a day and more.
const OFFERS_OF_A_CALL: u16 = 2_000;
/// How long an offer of ours may be answered, in seconds.
const ANSWERED_WITHIN: u64 = 30;

/// What a live call knows of its renegotiation. The machine has one, and so has whoever calls a line.
#[derive(Debug)]
pub struct Upkeep {
    timing: Timing,
    /// When both sides offer at once, the other side's offer counts: it was that side who called.
    gives_way: bool,
    allowance: Allowance,
    /// `created_at` of the other side's newest offer: what is older comes too late.
    newest: u64,
    /// The other side's offer that media works on.
    theirs: Option<Theirs>,
    /// One that came meanwhile.
    next: Option<Theirs>,
    /// The offer that was answered last, and what was said: `None` for a refusal.
    answered: Option<(String, Option<String>)>,
    ours: Ours,
    /// What the answer that was taken last named: a restart never has the same ones.
    remote: Option<IceCredentials>,
    lost: Option<Lost>,
}

/// A further offer of the other side's.
#[derive(Debug)]
struct Theirs {
    sdp: String,
    offer: Box<sdp::Offer>,
}

/// An offer of ours.
#[derive(Debug)]
enum Ours {
    None,
    /// Media makes it.
    Asked,
    /// Media makes it, and it will not be sent: the other side's came first.
    Withdrawn,
    /// It waits for its answer.
    Sent {
        sdp: String,
        until: Millis,
    },
}

/// A path that is lost.
#[derive(Debug, Clone, Copy)]
struct Lost {
    /// Then the other side is gone.
    until: Millis,
    /// Then something is done about it.
    next: Millis,
}

/// What the other side may still make us do.
#[derive(Debug)]
struct Allowance {
    at_once: u8,
    since: Millis,
    left: u16,
}

impl Allowance {
    fn take(&mut self, now: Millis) -> bool {
        let earned = now.since(self.since) / ONE_MORE;
        self.since = self.since.plus(earned.saturating_mul(ONE_MORE));
        self.at_once = OFFERS.min(self.at_once.saturating_add(u8::try_from(earned).unwrap_or(u8::MAX)));
        let (Some(at_once), Some(left)) = (self.at_once.checked_sub(1), self.left.checked_sub(1)) else { return false };
        (self.at_once, self.left) = (at_once, left);
        true
    }
}

impl Upkeep {
    /// Of a call that has just come up. `gives_way`: the other side called. `remote`: what its first answer named, if it was it that answered.
    pub fn new(now: Millis, timing: Timing, gives_way: bool, remote: Option<IceCredentials>) -> Self {
        Self {
            timing,
            gives_way,
            allowance: Allowance { at_once: OFFERS, since: now, left: OFFERS_OF_A_CALL },
            newest: 0,
            theirs: None,
            next: None,
            answered: None,
            ours: Ours::None,
            remote,
            lost: None,
        }
    }

    /// When [`Upkeep::overdue`] wants to be called, if nothing else happens.
    pub fn deadline(&self) -> Option<Millis> {
        self.lost.map(|lost| lost.next.min(lost.until))
    }

    /// A further offer of the other side's, of an event stamped `created_at`; false when it changes nothing and should be counted.
    pub fn heard_offer(&mut self, now: Millis, created_at: u64, offer: Offer, out: &mut Vec<Action>) -> bool {
        if created_at < self.newest || !self.allowance.take(now) {
            return false;
        }
        self.newest = created_at;
        match &self.ours {
            Ours::Asked if self.gives_way => self.ours = Ours::Withdrawn,
            Ours::Sent { .. } if self.gives_way => self.ours = Ours::None,
            // Ours counts: the other side gives way as soon as it has it.
            Ours::Asked => return true,
            Ours::Sent { until, .. } if now < *until => return true,
            Ours::Sent { .. } | Ours::None | Ours::Withdrawn => {}
        }
        self.give_time(now);
        if self.is_under_way(&offer.sdp) {
            return true;
        }
        if let Some((sdp, answer)) = &self.answered
            && *sdp == offer.sdp
            && self.theirs.is_none()
        {
            out.push(said(now, answer.clone()));
            return true;
        }
        match sdp::guard_offer(&offer.sdp) {
            Ok(guarded) => self.work_on(Theirs { sdp: offer.sdp, offer: Box::new(guarded) }, out),
            Err(_) => {
                out.push(said(now, None));
                return false;
            }
        }
        true
    }

    /// The other side's offer is done with: `answer` is what media made of it, if it belongs to the call.
    pub fn offer_done(&mut self, now: Millis, answer: Option<String>, out: &mut Vec<Action>) {
        let Some(theirs) = self.theirs.take() else { return };
        match self.next.take() {
            // Its sender would take the answer for that to the newer one.
            Some(next) => self.work_on(next, out),
            None => {
                out.push(said(now, answer.clone()));
                self.answered = Some((theirs.sdp, answer));
            }
        }
    }

    /// Media has made our offer.
    pub fn offer_made(&mut self, now: Millis, sdp: String, out: &mut Vec<Action>) {
        match self.ours {
            Ours::Asked => {
                out.push(ask(now, sdp.clone()));
                self.ours = Ours::Sent { sdp, until: now.plus(ANSWERED_WITHIN * 1000) };
            }
            Ours::Withdrawn => self.ours = Ours::None,
            Ours::None | Ours::Sent { .. } => {}
        }
    }

    /// An answer of the other side's; false when it belongs to nothing of ours and should be counted.
    pub fn heard_answer(&mut self, now: Millis, answer: &Answer, out: &mut Vec<Action>) -> bool {
        let Ours::Sent { sdp, .. } = &self.ours else { return false };
        if !answer.accepted {
            self.ours = Ours::None;
            return true;
        }
        match sdp::guard_answer(sdp, &answer.sdp) {
            Ok(answer) if self.remote.as_ref() != Some(&answer.ice) => {
                self.ours = Ours::None;
                self.remote = Some(answer.ice.clone());
                self.answered = None;
                self.give_time(now);
                out.push(Action::TakeAnswer(Box::new(answer)));
                true
            }
            // The answer to an earlier offer, once more.
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// A restart of the other side's was answered a while ago, and led to no new path: one of ours may. Browsers check with our credentials of
    /// before as soon as they have an address; when that was answered, Chromium checks no more with those of the answer, for they are of the
    /// same address. Those of an offer it has before it has an address.
    pub fn no_new_path(&mut self, out: &mut Vec<Action>) {
        if matches!(self.ours, Ours::None) && self.theirs.is_none() {
            self.ours = Ours::Asked;
            out.push(Action::Restart);
        }
    }

    /// Nothing comes from the other side any more.
    pub fn path_lost(&mut self, now: Millis) {
        let Timing { lost, restart, .. } = self.timing;
        self.lost.get_or_insert(Lost { until: now.plus(lost), next: now.plus(restart) });
    }

    /// The other side is heard again. An offer of ours may still be answered.
    pub fn path_found(&mut self) {
        self.lost = None;
    }

    /// A deadline has come: the path is still lost. True when the other side is gone.
    pub fn overdue(&mut self, now: Millis, out: &mut Vec<Action>) -> bool {
        let Some(lost) = &mut self.lost else { return false };
        // Should the clock go back, the end of patience does too.
        lost.until = lost.until.min(now.plus(self.timing.lost));
        if now >= lost.until {
            return true;
        }
        lost.next = now.plus(self.timing.restart_again);
        match &self.ours {
            Ours::Sent { sdp, until } if now < *until => out.push(ask(now, sdp.clone())),
            // While media works on the other side's offer there is nothing better.
            Ours::None | Ours::Sent { .. } if self.theirs.is_none() => {
                self.ours = Ours::Asked;
                out.push(Action::Restart);
            }
            Ours::None | Ours::Sent { .. } | Ours::Asked | Ours::Withdrawn => {}
        }
        false
    }

    fn is_under_way(&self, sdp: &str) -> bool {
        [&self.theirs, &self.next].into_iter().flatten().any(|theirs| theirs.sdp == sdp)
    }

    fn work_on(&mut self, theirs: Theirs, out: &mut Vec<Action>) {
        if self.theirs.is_some() {
            self.next = Some(theirs);
        } else {
            out.push(Action::Renegotiate { offer: theirs.offer.clone() });
            self.theirs = Some(theirs);
        }
    }

    /// What was just agreed upon has time to find a path.
    fn give_time(&mut self, now: Millis) {
        if let Some(lost) = &mut self.lost {
            lost.next = now.plus(self.timing.restart_again);
        }
    }
}

/// What is said to an offer in a live call. A refusal means that offer alone: the call goes on as it was.
fn said(now: Millis, answer: Option<String>) -> Action {
    match answer {
        Some(sdp) => accept(now, sdp),
        None => Action::Send(Body::Answer(Answer::refusing(now.unix_seconds()))),
    }
}

fn ask(now: Millis, sdp: String) -> Action {
    Action::Send(Body::Offer(Offer::new(sdp, now.unix_seconds(), ANSWERED_WITHIN)))
}

#[cfg(test)]
mod tests;
