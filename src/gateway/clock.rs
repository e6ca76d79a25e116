//! Unix time that does not jump while it is needed.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Duration, Instant};

use crate::call::Millis;

/// Unix time at start, carried on by the monotonic clock. Each call has one of its own: an adjustment of the system's clock must not
/// end a call, and must be known to the next one. (A small computer without a battery starts in the past, and learns the time later.)
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    unix_at_start: Duration,
}

impl Clock {
    /// Reads the system's clock.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            unix_at_start: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// Unix time, carried on from the start.
    pub fn now(&self) -> Millis {
        let now = self.unix_at_start + self.started.elapsed();
        Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// The instant at which [`Clock::now`] is `at`, or was; a far future when there is no `at`.
    pub fn instant(&self, at: Option<Millis>) -> Instant {
        // Far enough to be never, near enough not to overflow the clock.
        const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
        match at {
            Some(at) => self.started + Duration::from_millis(at.0).saturating_sub(self.unix_at_start),
            None => Instant::now() + NEVER,
        }
    }
}
