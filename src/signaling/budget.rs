//! How many wrapped events are decrypted: they hide their authors, so that every stranger's has to be.

use std::time::{Duration, Instant};

/// How many a second, over all relays and lines, and as many at once. Each costs 0.2 ms with the signature inside, so that strangers
/// take a tenth of a core at most; three times what 10,000 of them in a minute ask for.
const PER_SECOND: u32 = 500;

/// So many in any second: a place comes back a second after it was taken.
#[derive(Debug)]
pub(super) struct Budget {
    left: f64,
    at: Instant,
}

impl Budget {
    pub(super) fn full(now: Instant) -> Self {
        Self { left: f64::from(PER_SECOND), at: now }
    }

    /// Whether one more may be decrypted at `now`; it is counted then.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).min(Duration::from_secs(1));
        self.left = (self.left + since.as_secs_f64() * f64::from(PER_SECOND)).min(f64::from(PER_SECOND));
        self.at = now;
        let affordable = self.left >= 1.0;
        if affordable {
            self.left -= 1.0;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_its_burst_and_then_its_rate_and_quiet_brings_the_burst_back() {
        let start = Instant::now();
        let mut budget = Budget::full(start);
        let taken =
            |budget: &mut Budget, at: Duration, tries: u32| (0..tries).filter(|_| budget.take(start + at)).count();
        let burst = PER_SECOND as usize;

        assert_eq!(taken(&mut budget, Duration::ZERO, 3 * PER_SECOND), burst);
        let a_second: usize = (1..=100).map(|n| taken(&mut budget, Duration::from_millis(10 * n), PER_SECOND)).sum();
        assert!((burst - 1..=burst).contains(&a_second), "{a_second}");
        assert_eq!(taken(&mut budget, Duration::from_secs(3600), 3 * PER_SECOND), burst);
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing_back() {
        let start = Instant::now();
        let mut budget = Budget::full(start + Duration::from_secs(5));
        assert_eq!((0..3 * PER_SECOND).filter(|_| budget.take(start)).count(), PER_SECOND as usize);
    }
}
