//! How far a relay can be counted on, from what it did lately: who swallows, refuses or is away is not waited for.

use std::time::Duration;

use super::verdict::{Refusal, Verdict};

/// How often in a row a relay may leave an event without a word, or refuse one, before that is its way.
const ITS_WAY: u32 = 3;
/// How long an `OK` is waited for at a relay that says one.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same, when the last event was left without a word: those behind it in the lane wait too.
const LITTLE_PATIENCE: Duration = Duration::from_secs(1);
/// The same, at a relay whose way it is to say nothing.
const NO_PATIENCE: Duration = Duration::from_millis(200);

/// A relay's state in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// As far as is known: it takes our events, or was not asked to yet.
    #[default]
    Good,
    /// Not connected; a connection is tried again and again.
    Away,
    /// It closed our subscription: nothing comes from it.
    Deaf(Refusal),
    /// It leaves our events without a word, and perhaps swallows them.
    Silent,
    /// It takes none of our events, for this reason.
    Refusing(Refusal),
}

impl Health {
    /// A label for the API: short and stable.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Away => "away",
            Self::Deaf(_) => "deaf",
            Self::Silent => "silent",
            Self::Refusing(_) => "refusing",
        }
    }
}

/// What a relay did lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Conduct {
    unanswered: u32,
    refused: u32,
    refusal: Option<Refusal>,
    closed: Option<Refusal>,
}

impl Conduct {
    /// What it said of an event for it to keep.
    pub(super) fn said(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::NoOk => self.unanswered = self.unanswered.saturating_add(1),
            // A limit is no refusal: it asks to be waited for.
            Verdict::Rejected(Refusal::RateLimited) => self.unanswered = 0,
            Verdict::Rejected(refusal) => {
                self.unanswered = 0;
                self.refused = self.refused.saturating_add(1);
                self.refusal = Some(refusal);
            }
            Verdict::Accepted => *self = Self { closed: self.closed, ..Self::default() },
            // None of these is the relay's word.
            Verdict::NotConnected | Verdict::Expired | Verdict::QueueFull | Verdict::Unsealed | Verdict::ShutDown => {}
        }
    }

    /// An `OK` came after nobody waited for it any more.
    pub(super) fn spoke_late(&mut self) {
        self.unanswered = 0;
    }

    /// It closed our subscription, or serves it.
    pub(super) fn subscription(&mut self, closed: Option<Refusal>) {
        self.closed = closed;
    }

    /// How it is while it is connected.
    pub(super) fn health(&self) -> Health {
        match (self.closed, self.refusal) {
            (Some(why), _) => Health::Deaf(why),
            _ if self.unanswered >= ITS_WAY => Health::Silent,
            (_, Some(why)) if self.refused >= ITS_WAY => Health::Refusing(why),
            _ => Health::Good,
        }
    }

    /// Whether an event that it did not keep is worth being sent to it again: not when that is its way.
    pub(super) fn may_change_its_mind(&self) -> bool {
        self.unanswered < ITS_WAY && self.refused < ITS_WAY
    }

    /// How long its next `OK` is waited for.
    pub(super) fn patience(&self) -> Duration {
        match self.unanswered {
            0 => PATIENCE,
            1..ITS_WAY => LITTLE_PATIENCE,
            _ => NO_PATIENCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_without_a_word_is_waited_for_less_and_less_until_it_speaks() {
        let mut conduct = Conduct::default();
        let mut waited = Vec::new();
        for _ in 0..4 {
            waited.push(conduct.patience());
            conduct.said(Verdict::NoOk);
        }
        assert_eq!(waited, [PATIENCE, LITTLE_PATIENCE, LITTLE_PATIENCE, NO_PATIENCE]);
        assert_eq!((conduct.health(), conduct.may_change_its_mind()), (Health::Silent, false));

        conduct.spoke_late();
        assert_eq!((conduct.health(), conduct.patience()), (Health::Good, PATIENCE));
    }

    #[test]
    fn refusals_are_its_way_when_there_are_several_and_an_acceptance_ends_them() {
        let mut conduct = Conduct::default();
        for _ in 0..2 {
            conduct.said(Verdict::Rejected(Refusal::Blocked));
        }
        conduct.said(Verdict::Rejected(Refusal::RateLimited));
        assert_eq!(conduct.health(), Health::Good, "twice is no way, and a limit no refusal");
        conduct.said(Verdict::Rejected(Refusal::Invalid));
        assert_eq!(conduct.health(), Health::Refusing(Refusal::Invalid));
        assert!(!conduct.may_change_its_mind());
        conduct.said(Verdict::Accepted);
        assert_eq!(conduct.health(), Health::Good);
    }

    #[test]
    fn that_nothing_comes_from_it_is_told_before_what_it_does_not_take() {
        let mut conduct = Conduct::default();
        for _ in 0..3 {
            conduct.said(Verdict::NoOk);
        }
        conduct.subscription(Some(Refusal::AuthRequired));
        assert_eq!(conduct.health(), Health::Deaf(Refusal::AuthRequired));
        conduct.subscription(None);
        assert_eq!(conduct.health(), Health::Silent);
    }
}
