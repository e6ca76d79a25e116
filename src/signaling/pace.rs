//! When an event may be sent, and with which `created_at`, so that relays keep it and hand it on.
//!
//! The kinds are replaceable (NIP-01): of one author and kind a relay keeps the newest `created_at`, so each event needs a
//! higher one than the last. And relays that read their database again before they hand an event on (strfry, behind a pause of
//! 100 ms) hand on only the last of several sent in quick succession, though they said `OK` to each: so each needs its distance.

use std::time::Duration;

/// The least time between two events of one author and kind at one relay: strfry's pause is 100 ms.
pub(super) const SPACING: Duration = Duration::from_millis(150);
/// How far ahead of our clock an event may be stamped, in seconds: receivers drop what is further in the future, and relays
/// refuse events from 900 s on.
pub(super) const MAX_AHEAD: u64 = 60;
/// A remembered stamp further ahead than this, in seconds, comes from a clock that was wrong once: waiting for it would silence
/// the author.
const IMPLAUSIBLE: u64 = 3600;

/// Now, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    /// Unix seconds; may jump.
    pub unix: u64,
    /// Time since some fixed moment; never goes back.
    pub ticks: Duration,
}

/// What is to be done with the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// Sign it with this `created_at` and send it now.
    Open { created_at: u64 },
    /// Ask again after this long.
    Wait(Duration),
}

/// The order of one author's events of one kind at one relay.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    last: Option<u64>,
    sent: Option<Duration>,
}

impl Pace {
    /// Goes on after an event stamped `last`, that an earlier run sent.
    pub(super) fn after(last: Option<u64>) -> Self {
        Self { last, sent: None }
    }

    /// Decides about the next event.
    pub(super) fn slot(&self, now: Now) -> Slot {
        if let Some(sent) = self.sent {
            let due = sent + SPACING;
            if now.ticks < due {
                return Slot::Wait(due - now.ticks);
            }
        }
        let created_at = match self.last {
            Some(last) if last <= now.unix.saturating_add(IMPLAUSIBLE) => now.unix.max(last.saturating_add(1)),
            _ => now.unix,
        };
        let ahead = created_at - now.unix;
        if ahead > MAX_AHEAD {
            // In steps: the clock may be set meanwhile.
            return Slot::Wait(Duration::from_secs((ahead - MAX_AHEAD).min(5)));
        }
        Slot::Open { created_at }
    }

    /// Whether an event already stamped `created_at` can be sent in an open slot.
    pub(super) fn fits(&self, created_at: u64, now: Now) -> bool {
        self.last.is_none_or(|last| created_at > last) && created_at <= now.unix.saturating_add(MAX_AHEAD)
    }

    /// An event stamped `created_at` is being sent.
    pub(super) fn taken(&mut self, created_at: u64, now: Now) {
        self.last = Some(created_at);
        self.sent = Some(now.ticks);
    }

    /// The relay holds a newer event than our last: someone else signs with the same key. Jump ahead, further each time.
    pub(super) fn overtaken(&mut self, times: u32) {
        if let Some(last) = self.last {
            self.last = Some(last.saturating_add(4u64.saturating_pow(times.min(2))));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(unix: u64, millis: u64) -> Now {
        Now { unix, ticks: Duration::from_millis(millis) }
    }

    /// Sends `count` events as fast as the pace allows, from `start` on; says when and with which stamp each went out.
    fn burst(pace: &mut Pace, start: Now, count: usize) -> Vec<(Duration, u64)> {
        let mut ticks = start.ticks;
        let mut sent = Vec::new();
        while sent.len() < count {
            let now = Now { unix: start.unix + (ticks - start.ticks).as_secs(), ticks };
            match pace.slot(now) {
                Slot::Open { created_at } => {
                    pace.taken(created_at, now);
                    sent.push((ticks, created_at));
                }
                Slot::Wait(pause) => ticks += pause,
            }
        }
        sent
    }

    #[test]
    fn ten_answers_in_one_second_get_rising_stamps_and_their_distance() {
        let sent = burst(&mut Pace::default(), at(1_000, 0), 10);
        for pair in sent.windows(2) {
            assert!(pair[1].1 > pair[0].1, "stamps rise strictly");
            assert!(pair[1].0 - pair[0].0 >= SPACING, "and keep their distance");
        }
        assert_eq!(sent[0], (Duration::ZERO, 1_000), "the first goes out at once, stamped now");
        assert_eq!(sent[9].0, SPACING * 9, "and none waits longer than it must");
    }

    #[test]
    fn a_long_burst_is_never_stamped_beyond_the_cap_and_goes_on_at_one_a_second() {
        let sent = burst(&mut Pace::default(), at(1_000, 0), 200);
        for (ticks, created_at) in &sent {
            assert!(*created_at <= 1_000 + ticks.as_secs() + MAX_AHEAD);
        }
        let (before, last) = (sent[150].0, sent[199].0);
        assert!(last - before >= Duration::from_secs(48));
    }

    #[test]
    fn a_stamp_given_elsewhere_fits_when_it_is_newer_than_the_last_one_and_under_the_cap() {
        let pace = Pace::after(Some(1_005));
        assert!(!pace.fits(1_005, at(1_000, 0)));
        assert!(pace.fits(1_006, at(1_010, 0)));
        assert!(pace.fits(1_060, at(1_000, 0)));
        assert!(!pace.fits(1_061, at(1_000, 0)));
    }

    #[test]
    fn an_earlier_run_is_continued_and_not_repeated() {
        let pace = Pace::after(Some(1_005));
        assert_eq!(pace.slot(at(1_000, 0)), Slot::Open { created_at: 1_006 });
    }

    #[test]
    fn a_stamp_from_a_clock_that_was_wrong_once_does_not_silence_the_author() {
        let pace = Pace::after(Some(1_000 + IMPLAUSIBLE + 1));
        assert_eq!(pace.slot(at(1_000, 0)), Slot::Open { created_at: 1_000 });
    }

    #[test]
    fn after_a_foreign_newer_event_the_stamp_jumps() {
        let mut pace = Pace::default();
        pace.taken(1_000, at(1_000, 0));
        pace.overtaken(1);
        assert_eq!(pace.slot(at(1_000, 150)), Slot::Open { created_at: 1_005 });
        pace.taken(1_005, at(1_000, 150));
        pace.overtaken(2);
        assert_eq!(pace.slot(at(1_000, 300)), Slot::Open { created_at: 1_022 });
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_stamps_rise_and_stay_under_the_cap(
            steps in proptest::collection::vec((0u64..400, -30i64..90), 1..300),
        ) {
            let mut pace = Pace::default();
            let (mut ticks, mut unix) = (0u64, 100_000u64);
            let mut last: Option<(u64, u64)> = None;
            for (millis, jump) in steps {
                ticks += millis;
                unix = unix.saturating_add_signed(jump);
                let now = at(unix, ticks);
                if let Slot::Open { created_at } = pace.slot(now) {
                    prop_assert!(created_at <= unix + MAX_AHEAD);
                    prop_assert!(created_at >= unix);
                    if let Some((stamp, sent)) = last {
                        // Only a clock that went back by an hour starts anew; these jumps do not add up to one ahead.
                        prop_assert!(created_at > stamp || stamp > unix + IMPLAUSIBLE);
                        prop_assert!(ticks - sent >= SPACING.as_millis() as u64);
                    }
                    pace.taken(created_at, now);
                    last = Some((created_at, ticks));
                }
            }
        }
    }
}
