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

/// The caller has more events waiting than a call may have.
#[derive(Debug)]
pub(super) struct Full;

impl Parking {
    /// Parks an event.
    ///
    /// # Errors
    /// [`Full`]; the event is dropped.
    pub(super) fn park(&mut self, now: Millis, incoming: Incoming) -> Result<(), Full> {
        let key = CallKey::of(&incoming);
        // A call's candidates, and its end.
        if self.waiting.iter().filter(|(_, waits, _)| waits.caller == key.caller).count() > MAX_CANDIDATES {
            return Err(Full);
        }
        self.waiting.push_back((now, key, incoming));
        Ok(())
    }

    /// What waited for this call, in the order in which it came.
    pub(super) fn take(&mut self, key: &CallKey) -> Vec<Incoming> {
        let (theirs, others) = self.waiting.drain(..).partition(|(_, waits, _)| waits == key);
        self.waiting = others;
        let theirs: VecDeque<_> = theirs;
        theirs.into_iter().map(|(_, _, incoming)| incoming).collect()
    }

    /// Lets those go that waited too long, and the oldest when there are too many; returns whose they were.
    pub(super) fn leave(&mut self, now: Millis) -> Vec<PublicKey> {
        let late = self.waiting.iter().take_while(|(since, _, _)| now.since(*since) > WAITS).count();
        let gone = late.max(self.waiting.len().saturating_sub(PLACES));
        self.waiting.drain(..gone).map(|(_, key, _)| key.caller).collect()
    }
}
