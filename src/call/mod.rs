//! The call: a state machine that takes `now` and an input, and returns actions.
//!
//! Pure: no clock, task, socket or randomness of its own. A session task (gateway) feeds it and carries out what it says.
//! States only move forward: Offered, Opening, Answering, Connecting, Live, Closing, Ended. In a call that the line makes Offering and Ringing stand
//! in the place of Answering.

mod access;
mod end;
mod limits;
mod machine;
mod servers;

pub use access::{Access, AccessDecision, AccessPolicy, Followed, Grounds, Listed, Refuse};
pub use end::{EndReason, Origin, refusal};
pub use limits::{Admission, LimitReached, Limits};
pub use machine::{
    Action, Call, Direction, Input, LONGEST_CALLING, Milestones, Report, RingPlan, SHORTEST_CALLING, State, Timing,
    Upkeep,
};

/// Milliseconds since the Unix epoch, from a clock that does not go backwards within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// Whole Unix seconds, as Nostr counts.
    pub fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This time, `ms` milliseconds later.
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time, 0 when it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
