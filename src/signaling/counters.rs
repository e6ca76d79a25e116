//! What was taken and what was dropped, by reason.

use std::collections::BTreeMap;
use std::fmt;

use tokio::sync::watch;

/// Why an incoming event was dropped. `Display` gives its word: stable, for counters and the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// Seen before: on another relay, earlier on this one, or in an earlier run.
    Duplicate,
    /// The id or the signature is wrong.
    BadSignature,
    /// Another kind than ours, or for none of our keys: some relays ignore the filter.
    NotForUs,
    /// NIP-40: its expiration has passed. Some relays serve such events.
    Expired,
    /// Signed by one of our own keys.
    Own,
    /// Not an event at all.
    Malformed,
    /// Nobody took the events before it in time.
    Overflow,
    /// Wrapped, and more wrapped events came than are decrypted in a second.
    OverBudget,
    /// The envelope is wrong: [`Reject::word`](crate::protocol::Reject::word).
    Reject(&'static str),
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("duplicate"),
            Self::BadSignature => f.write_str("bad_signature"),
            Self::NotForUs => f.write_str("not_for_us"),
            Self::Expired => f.write_str("expired"),
            Self::Own => f.write_str("own"),
            Self::Malformed => f.write_str("malformed"),
            Self::Overflow => f.write_str("overflow"),
            Self::OverBudget => f.write_str("over_budget"),
            Self::Reject(word) => f.write_str(word),
        }
    }
}

/// A snapshot of what came in since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events handed to the gateway.
    pub taken: u64,
    pub dropped: BTreeMap<Dropped, u64>,
}

impl Counters {
    /// How many events were dropped for this reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped.get(&reason).copied().unwrap_or(0)
    }
}

/// Counts, and lets others watch.
#[derive(Debug, Default)]
pub(super) struct Tally(watch::Sender<Counters>);

impl Tally {
    pub(super) fn taken(&self) {
        self.0.send_modify(|counters| counters.taken += 1);
    }

    pub(super) fn dropped(&self, reason: Dropped) {
        self.0.send_modify(|counters| *counters.dropped.entry(reason).or_default() += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<Counters> {
        self.0.subscribe()
    }
}
