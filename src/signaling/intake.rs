//! From a relay's wire to the gateway: the checks that every event passes, the cheap ones first.

use std::collections::HashSet;
use std::sync::Arc;

use nostr::{Event, JsonUtil, PublicKey, RelayMessage, RelayUrl};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::counters::{Dropped, Tally};
use super::recent::Recent;
use super::{Incoming, Memory, short, unix_now};
use crate::protocol::{Envelope, MAX_EVENT_BYTES, Reject, SignalKind};

/// Bytes that a relay's message has around its event: `["EVENT","<subscription>",...]`.
const FRAMING: usize = 256;
/// Event ids remembered in memory, to drop most copies before their signature is verified.
const RECENT: usize = 8192;
/// Events between the wires and the verification. When it is full the relays' connections are not read.
pub(super) const WAITING: usize = 64;

/// An event off the wire that is for us by its kind and its `p` tag.
#[derive(Debug)]
pub(super) struct Raw {
    relay: RelayUrl,
    event: Event,
}

/// The first checks, done where the event is read: no signature, no memory.
#[derive(Debug)]
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
        if text.len() > MAX_EVENT_BYTES + FRAMING {
            return Err(Dropped::Reject(Reject::Oversized(text.len()).word()));
        }
        let Ok(RelayMessage::Event { event, .. }) = RelayMessage::from_json(text) else {
            return Err(Dropped::Malformed);
        };
        let event = event.into_owned();
        if SignalKind::from_number(event.kind.as_u16()).is_none() {
            return Err(Dropped::NotForUs);
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

/// The later checks: duplicates, signature, expiration, envelope, and what earlier runs have seen.
pub(super) struct Intake {
    pub keys: Arc<HashSet<PublicKey>>,
    pub memory: Arc<dyn Memory>,
    pub tally: Arc<Tally>,
    pub input: mpsc::Receiver<Raw>,
    /// To the gateway. When it is full an event is dropped and counted, and not remembered: a copy from another relay may
    /// still come through.
    pub output: mpsc::Sender<Incoming>,
}

impl Intake {
    /// Runs until shut down, or until the gateway stops listening.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut recent = Recent::new(RECENT);
        loop {
            let raw = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.output.closed() => return,
                raw = self.input.recv() => raw,
            };
            let Some(Raw { relay, event }) = raw else { return };
            let (kind, from) = (event.kind.as_u16(), short(&event.pubkey));
            match self.admit(&mut recent, relay, event).await {
                Ok(()) => self.tally.taken(),
                Err(reason) => {
                    self.tally.dropped(reason);
                    tracing::debug!(kind, from, why = %reason, "event dropped");
                }
            }
        }
    }

    async fn admit(&self, recent: &mut Recent<nostr::EventId>, relay: RelayUrl, event: Event) -> Result<(), Dropped> {
        if recent.contains(&event.id) {
            return Err(Dropped::Duplicate);
        }
        // 50 us. Before the id is remembered: whoever sends a forged event first must not block the true one.
        event.verify().map_err(|_| Dropped::BadSignature)?;
        let now = unix_now();
        let envelope = Envelope::read(&event).map_err(|reject| Dropped::Reject(reject.word()))?;
        if !self.keys.contains(&envelope.to) {
            return Err(Dropped::NotForUs);
        }
        // An offer that a relay kept for longer than it should is still a call that was missed: the gateway looks at its age.
        if envelope.kind != SignalKind::Offer {
            envelope.check_expiration(now).map_err(|_| Dropped::Expired)?;
        }
        let permit = self.output.try_reserve().map_err(|_| Dropped::Overflow)?;
        recent.insert(event.id);
        // The memory may write to a disk.
        let (memory, id) = (Arc::clone(&self.memory), event.id);
        let first = tokio::task::spawn_blocking(move || memory.first_sight(&id, now)).await;
        // A memory that fails may not let a replay through.
        if !first.unwrap_or(false) {
            return Err(Dropped::Duplicate);
        }
        permit.send(Incoming { relay, envelope, event: Box::new(event) });
        Ok(())
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
