//! Events that came before their offer: a relay hands out what it stored newest first, and several relays race.

use std::collections::VecDeque;

use nostr::PublicKey;

use crate::call::Millis;
use crate::protocol::{MAX_CANDIDATES, SessionId};
use crate::signaling::Incoming;

/// How long an event waits for its offer, in milliseconds: relays that carry one call are seconds apart, not minutes.
const WAITS: u64 = 30_000;
/// How many events wait at once, over all callers: 16 calls with all their candidates.
const PLACES: usize = 16 * MAX_CANDIDATES;

/// One call's name: who calls, which line, which session (protocol, decided 5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) caller: PublicKey,
    pub(super) line: PublicKey,
    pub(super) session: SessionId,
}

impl CallKey {
    pub(super) fn of(incoming: &Incoming) -> Self {
        let envelope = &incoming.envelope;
        Self { caller: envelope.from, line: envelope.to, session: envelope.session.clone() }
    }
}

/// Events of allowed callers that wait for their offer, still sealed. Bounded: the oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Parking {
    waiting: VecDeque<(Millis, CallKey, Incoming)>,
}

impl Parking {
    pub(super) fn park(&mut self, now: Millis, incoming: Incoming) {
        self.leave(now);
        let key = CallKey::of(&incoming);
        if self.waiting.iter().filter(|(_, waits, _)| waits.caller == key.caller).count() > MAX_CANDIDATES {
            return;
        }
        if self.waiting.len() >= PLACES {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, key, incoming));
    }

    /// What waited for this call, in the order in which it came.
    pub(super) fn take(&mut self, now: Millis, key: &CallKey) -> Vec<Incoming> {
        self.leave(now);
        let (theirs, others) = self.waiting.drain(..).partition(|(_, waits, _)| waits == key);
        self.waiting = others;
        let theirs: VecDeque<_> = theirs;
        theirs.into_iter().map(|(_, _, incoming)| incoming).collect()
    }

    fn leave(&mut self, now: Millis) {
        while self.waiting.front().is_some_and(|(since, _, _)| now.since(*since) > WAITS) {
            self.waiting.pop_front();
        }
    }
}
