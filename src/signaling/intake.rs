//! From a relay's wire to the gateway: the checks that every event passes, the cheap ones first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use nostr::{Event, EventId, JsonUtil, Keys, PublicKey, RelayMessage, RelayUrl};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::counters::{Dropped, Tally};
use super::recent::Recent;
use super::{Incoming, Memory, short, unix_now};
use crate::protocol::{Container, Envelope, MAX_WRAP_BYTES, Reject, SignalKind, Wrap};

/// Bytes that a relay's message has around its event: `["EVENT","<subscription>",...]`.
const FRAMING: usize = 256;
/// Event ids remembered in memory, to drop most copies before their signature is verified.
const RECENT: usize = 8192;
/// Events that were taken and are not written down yet. When it is full the next one waits for the disk.
const UNWRITTEN: usize = 1024;
/// Events between the wires and the verification. When it is full the relays' connections are not read.
pub(super) const WAITING: usize = 64;

/// An event off the wire that is for us by its kind and its `p` tag.
#[derive(Debug)]
pub(super) struct Raw {
    relay: RelayUrl,
    event: Event,
}

/// The first checks, done where the event is read: no signature, no memory.
#[derive(Debug, Clone)]
pub(super) struct Sieve {
    keys: Arc<HashSet<PublicKey>>,
    tally: Arc<Tally>,
    out: mpsc::Sender<Raw>,
}

impl Sieve {
    pub(super) fn new(keys: Arc<HashSet<PublicKey>>, tally: Arc<Tally>, out: mpsc::Sender<Raw>) -> Self {
        Self { keys, tally, out }
    }

    /// Whether the message was an event; it is settled then.
    pub(super) async fn take(&self, relay: &RelayUrl, text: &str) -> bool {
        if !is_event(text) {
            return false;
        }
        match self.check(text) {
            // Waits for room. An error means that signaling is shutting down.
            Ok(event) => drop(self.out.send(Raw { relay: relay.clone(), event }).await),
            Err(reason) => {
                self.tally.dropped(reason);
                tracing::debug!(%relay, why = %reason, "event dropped");
            }
        }
        true
    }

    fn check(&self, text: &str) -> Result<Event, Dropped> {
        if text.len() > MAX_WRAP_BYTES + FRAMING {
            return Err(Dropped::Reject(Reject::Oversized(text.len()).word()));
        }
        let Ok(RelayMessage::Event { event, .. }) = RelayMessage::from_json(text) else {
            return Err(Dropped::Malformed);
        };
        let event = event.into_owned();
        let container = Container::of(event.kind.as_u16()).ok_or(Dropped::NotForUs)?;
        if text.len() > container.max_bytes() + FRAMING {
            return Err(Dropped::Reject(Reject::Oversized(text.len()).word()));
        }
        if !event.tags.public_keys().any(|key| self.keys.contains(key)) {
            return Err(Dropped::NotForUs);
        }
        if self.keys.contains(&event.pubkey) {
            return Err(Dropped::Own);
        }
        Ok(event)
    }
}

/// Whether a relay's message is `["EVENT", ...]`, whatever its white space.
fn is_event(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('[').map(str::trim_start);
    inside.is_some_and(|rest| rest.starts_with("\"EVENT\""))
}

/// The later checks: duplicates, signature, expiration, envelope, and what earlier runs have seen. A wrapped event is opened once it has
/// passed them, and what is inside passes them again.
pub(super) struct Intake {
    pub keys: HashMap<PublicKey, Keys>,
    pub memory: Arc<dyn Memory>,
    pub tally: Arc<Tally>,
    pub input: mpsc::Receiver<Raw>,
    /// To the gateway. When it is full an event is dropped and counted, and not remembered: a copy from another relay may
    /// still come through.
    pub output: mpsc::Sender<Incoming>,
    /// Cancelled when all that was taken is written down, after the end.
    pub written: CancellationToken,
}

impl Intake {
    /// Runs until shut down, or until the gateway stops listening.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let (taken, unwritten) = mpsc::channel(UNWRITTEN);
        let (memory, written) = (Arc::clone(&self.memory), self.written.clone().drop_guard());
        tokio::task::spawn_blocking(move || {
            write_down(&*memory, unwritten);
            drop(written);
        });
        let mut at_hand = AtHand { recent: Recent::new(RECENT), budget: Budget::full(Instant::now()), taken };
        loop {
            let raw = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.output.closed() => return,
                raw = self.input.recv() => raw,
            };
            let Some(Raw { relay, event }) = raw else { return };
            let (kind, from) = (event.kind.as_u16(), short(&event.pubkey));
            match self.admit(&mut at_hand, relay, event).await {
                Ok(()) => self.tally.taken(),
                Err(reason) => {
                    self.tally.dropped(reason);
                    tracing::debug!(kind, from, why = %reason, "event dropped");
                }
            }
        }
    }

    async fn admit(&self, at_hand: &mut AtHand, relay: RelayUrl, event: Event) -> Result<(), Dropped> {
        let now = unix_now();
        at_hand.verify(&event)?;
        let (envelope, event) = match Container::of(event.kind.as_u16()) {
            Some(Container::Wrap) => self.take_out(at_hand, &event, now)?,
            _ => (Envelope::read(&event).map_err(rejected)?, event),
        };
        if !self.keys.contains_key(&envelope.to) {
            return Err(Dropped::NotForUs);
        }
        // An offer that a relay kept for longer than it should is still a call that was missed: the gateway looks at its age.
        if envelope.kind != SignalKind::Offer {
            envelope.check_expiration(now).map_err(rejected)?;
        }
        let permit = self.output.try_reserve().map_err(|_| Dropped::Overflow)?;
        at_hand.recent.insert(event.id);
        // The memory may read from a disk.
        let (memory, id) = (Arc::clone(&self.memory), event.id);
        let known = tokio::task::spawn_blocking(move || memory.knows(&id)).await;
        // A memory that fails may not let a replay through.
        if known.unwrap_or(true) {
            return Err(Dropped::Duplicate);
        }
        // Nobody waits for it to be written: a slow disk would delay every answer. Who is killed before it is, and is back within the
        // seconds that an offer rings, answers that offer once more, to a caller who still waits for it.
        let _ = at_hand.taken.send((id, now)).await;
        permit.send(Incoming { relay, envelope, event: Box::new(event) });
        Ok(())
    }

    /// The event inside a wrap whose signature was verified, checked as one that came by itself.
    fn take_out(&self, at_hand: &mut AtHand, outside: &Event, now: u64) -> Result<(Envelope, Event), Dropped> {
        let wrap = Wrap::read(outside).map_err(rejected)?;
        let keys = self.keys.get(&wrap.to).ok_or(Dropped::NotForUs)?;
        wrap.check_expiration(now).map_err(rejected)?;
        if !at_hand.budget.take(Instant::now()) {
            return Err(Dropped::OverBudget);
        }
        // Once it is decrypted its copies from other relays are not.
        at_hand.recent.insert(outside.id);
        let (envelope, event) = wrap.open(outside, keys).map_err(rejected)?;
        if self.keys.contains_key(&event.pubkey) {
            return Err(Dropped::Own);
        }
        at_hand.verify(&event)?;
        Ok((envelope, event))
    }
}

/// What the later checks remember from one event to the next.
struct AtHand {
    recent: Recent<EventId>,
    budget: Budget,
    taken: mpsc::Sender<(EventId, u64)>,
}

/// Writes down what was taken, as much at once as waits.
fn write_down(memory: &dyn Memory, mut taken: mpsc::Receiver<(EventId, u64)>) {
    while let Some(first) = taken.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < UNWRITTEN
            && let Ok(next) = taken.try_recv()
        {
            batch.push(next);
        }
        memory.remember(&batch);
    }
}

impl AtHand {
    /// 50 us for an event that is not known. Before its id is remembered: whoever sends a forged event first must not block the true one.
    fn verify(&self, event: &Event) -> Result<(), Dropped> {
        if self.recent.contains(&event.id) {
            return Err(Dropped::Duplicate);
        }
        event.verify().map_err(|_| Dropped::BadSignature)
    }
}

fn rejected(reject: Reject) -> Dropped {
    match reject {
        Reject::Expired(_) => Dropped::Expired,
        reject => Dropped::Reject(reject.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_from_other_messages_whatever_its_white_space() {
        assert!(is_event(r#"["EVENT","s",{}]"#));
        assert!(is_event(" [ \n\"EVENT\" , \"s\",{}]"));
        assert!(!is_event(r#"["EOSE","EVENT"]"#));
        assert!(!is_event(r#"["EVENTS","s"]"#));
        assert!(!is_event("EVENT"));
        assert!(!is_event(""));
    }
}
