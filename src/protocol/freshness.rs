//! Whether an offer still rings.

use super::{MAX_CLOCK_SKEW, Offer};

/// What an offer's clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    Fresh,
    /// It has rung for as long as it said. Answering it would ring a ghost.
    Stale,
    /// One of its clocks is more than [`MAX_CLOCK_SKEW`] ahead of ours.
    FromTheFuture,
}

/// Decides whether `offer`, of an event stamped `created_at`, still rings at `now`; all in unix seconds.
pub fn freshness(offer: &Offer, created_at: u64, now: u64) -> Freshness {
    let latest = now.saturating_add(MAX_CLOCK_SKEW);
    if created_at > latest || offer.timestamp > latest {
        Freshness::FromTheFuture
    } else if now >= offer.rings_until() {
        Freshness::Stale
    } else {
        Freshness::Fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(timestamp: u64, expires_in: u64) -> Offer {
        Offer::new("v=0".into(), timestamp, expires_in)
    }

    #[test]
    fn an_offer_rings_from_its_timestamp_for_as_long_as_it_says() {
        let offer = offer(1000, 30);
        assert_eq!(freshness(&offer, 1000, 1000), Freshness::Fresh);
        assert_eq!(freshness(&offer, 1000, 1029), Freshness::Fresh);
        assert_eq!(freshness(&offer, 1000, 1030), Freshness::Stale);
        assert_eq!(freshness(&offer, 1000, u64::MAX), Freshness::Stale);
    }

    #[test]
    fn either_clock_may_be_ahead_by_the_skew_and_no_more() {
        assert_eq!(freshness(&offer(1060, 30), 1060, 1000), Freshness::Fresh);
        assert_eq!(freshness(&offer(1061, 30), 1000, 1000), Freshness::FromTheFuture);
        assert_eq!(freshness(&offer(1000, 30), 1061, 1000), Freshness::FromTheFuture);
    }

    #[test]
    fn numbers_at_the_end_of_their_range_decide_without_overflow() {
        assert_eq!(freshness(&offer(1000, u64::MAX), 1000, 2000), Freshness::Fresh);
        assert_eq!(freshness(&offer(u64::MAX, u64::MAX), 0, 2000), Freshness::FromTheFuture);
    }
}
