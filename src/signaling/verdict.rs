//! What a relay says of an event that was sent to it (NIP-01, `OK`), and what follows from that.

use std::time::Duration;

/// How often an event is signed anew and sent again after the first time, when the relay did not keep it.
const ANEW: u32 = 3;
/// The first pause after `rate-limited:`; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

/// What became of one event at one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The relay said `OK` true. That it keeps the event long enough for its receiver to get it is not promised.
    Accepted,
    Rejected(Refusal),
    /// Sent, and no `OK` came.
    NoOk,
    /// No connection within the time that a publish waits for one.
    NotConnected,
    /// The event's expiration passed before its turn came.
    Expired,
    /// Too many events of the same author and kind were waiting for this relay.
    QueueFull,
    /// The event could not be encrypted or signed; the fault is ours.
    Unsealed,
    /// Signaling was shut down first.
    ShutDown,
}

/// The machine-readable prefix of an `OK` (NIP-01, NIP-42).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    RateLimited,
    AuthRequired,
    /// The relay holds a newer event of this author and kind.
    Replaced,
    /// The relay says that it has this event already. Some relays mean by it that they hold a newer one.
    Duplicate,
    Blocked,
    Pow,
    Invalid,
    Error,
    Other,
}

impl Verdict {
    /// Reads an `OK`. An event just signed cannot be a duplicate: relays that say `true "duplicate:"` of a replaceable event
    /// (nostr-rs-relay, @nostr-relay) have dropped it for a newer one.
    pub(super) fn read(accepted: bool, message: &str) -> Self {
        let refusal = Refusal::read(message);
        match (accepted, refusal) {
            (true, Refusal::Duplicate) => Self::Rejected(Refusal::Duplicate),
            (true, _) => Self::Accepted,
            (false, refusal) => Self::Rejected(refusal),
        }
    }

    /// A label for counters and the API: short and stable.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected(refusal) => refusal.word(),
            Self::NoOk => "no_ok",
            Self::NotConnected => "not_connected",
            Self::Expired => "expired",
            Self::QueueFull => "queue_full",
            Self::Unsealed => "unsealed",
            Self::ShutDown => "shut_down",
        }
    }
}

impl Refusal {
    pub(super) fn read(message: &str) -> Self {
        match message.split_once(':').map(|(prefix, _)| prefix.trim()) {
            Some("rate-limited") => Self::RateLimited,
            Some("auth-required") => Self::AuthRequired,
            Some("replaced") => Self::Replaced,
            Some("duplicate") => Self::Duplicate,
            Some("blocked" | "restricted" | "mute") => Self::Blocked,
            Some("pow") => Self::Pow,
            Some("invalid") => Self::Invalid,
            Some("error") => Self::Error,
            _ => Self::Other,
        }
    }

    /// A label for counters and the API: short and stable.
    pub fn word(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::AuthRequired => "auth_required",
            Self::Replaced => "replaced",
            Self::Duplicate => "duplicate",
            Self::Blocked => "blocked",
            Self::Pow => "pow",
            Self::Invalid => "invalid",
            Self::Error => "error",
            Self::Other => "other",
        }
    }
}

/// What a lane does after a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It stands.
    Settled,
    /// Sign with a higher `created_at` and send again.
    Anew,
    /// Wait, then sign and send again.
    After(Duration),
    /// Wait until the relay has authenticated us (NIP-42), then sign and send again.
    Authenticated,
}

/// What has been tried for one event at one relay.
#[derive(Debug, Clone, Default)]
pub(super) struct Tries {
    anew: u32,
    backoffs: u32,
}

impl Tries {
    pub(super) fn next(&mut self, verdict: Verdict) -> Next {
        match verdict {
            Verdict::Rejected(Refusal::RateLimited) => {
                // Not counted: the event's expiration is the bound.
                let pause = FIRST_BACKOFF.saturating_mul(1 << self.backoffs.min(5)).min(LONGEST_BACKOFF);
                self.backoffs += 1;
                Next::After(pause)
            }
            // `error:` too: rust-nostr's relay says "error: unknown" of an event that it has a newer one for.
            Verdict::Rejected(Refusal::Replaced | Refusal::Duplicate | Refusal::Error) | Verdict::NoOk
                if self.anew < ANEW =>
            {
                self.anew += 1;
                Next::Anew
            }
            Verdict::Rejected(Refusal::AuthRequired) if self.anew < ANEW => {
                self.anew += 1;
                Next::Authenticated
            }
            _ => Next::Settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_readable_prefix_has_its_class() {
        let cases = [
            ("replaced: have newer event", Refusal::Replaced),
            ("duplicate: ", Refusal::Duplicate),
            ("rate-limited: slow down", Refusal::RateLimited),
            ("auth-required: you must auth", Refusal::AuthRequired),
            ("restricted: not for you", Refusal::Blocked),
            ("blocked: kind", Refusal::Blocked),
            ("pow: 28 bits", Refusal::Pow),
            ("invalid: created_at too far in the future", Refusal::Invalid),
            ("error: unknown", Refusal::Error),
            ("go away", Refusal::Other),
            ("", Refusal::Other),
        ];
        for (message, refusal) in cases {
            assert_eq!(Verdict::read(false, message), Verdict::Rejected(refusal), "{message}");
        }
    }

    #[test]
    fn ok_true_is_accepted_unless_it_calls_a_fresh_event_a_duplicate() {
        assert_eq!(Verdict::read(true, ""), Verdict::Accepted);
        assert_eq!(Verdict::read(true, "info: stored"), Verdict::Accepted);
        assert_eq!(Verdict::read(true, "duplicate: already have it"), Verdict::Rejected(Refusal::Duplicate));
    }

    #[test]
    fn a_replaced_event_is_signed_anew_three_times_and_then_given_up() {
        let mut tries = Tries::default();
        for _ in 0..3 {
            assert_eq!(tries.next(Verdict::Rejected(Refusal::Replaced)), Next::Anew);
        }
        assert_eq!(tries.next(Verdict::Rejected(Refusal::Replaced)), Next::Settled);
    }

    #[test]
    fn a_rate_limit_backs_off_longer_each_time_up_to_a_bound() {
        let mut tries = Tries::default();
        let pauses: Vec<_> = (0..8).map(|_| tries.next(Verdict::Rejected(Refusal::RateLimited))).collect();
        assert_eq!(pauses[0], Next::After(Duration::from_secs(1)));
        assert_eq!(pauses[1], Next::After(Duration::from_secs(2)));
        assert_eq!(pauses[7], Next::After(LONGEST_BACKOFF));
    }

    #[test]
    fn what_cannot_change_is_settled_at_once() {
        for refusal in [Refusal::Blocked, Refusal::Pow, Refusal::Invalid, Refusal::Other] {
            assert_eq!(Tries::default().next(Verdict::Rejected(refusal)), Next::Settled);
        }
        assert_eq!(Tries::default().next(Verdict::Accepted), Next::Settled);
    }
}
