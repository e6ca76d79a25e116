//! Relays <-> protocol: subscriptions, verification, duplicates, the outbox, the embedded relay.

use std::sync::Arc;

use nostr::{Event, EventId, Keys, PublicKey, RelayUrl};

use crate::protocol::{Envelope, Outgoing, SignalKind};

/// What signaling remembers across restarts. Implemented by the store; calls are short and may block for a disk write.
pub trait Memory: Send + Sync + 'static {
    /// Whether this event is seen for the first time; from then on it is not.
    fn first_sight(&self, event: &EventId, now: u64) -> bool;
    /// The `created_at` of the newest event of this author and kind on this relay.
    fn clock(&self, author: &PublicKey, kind: SignalKind, relay: &RelayUrl) -> Option<u64>;
    fn set_clock(&self, author: &PublicKey, kind: SignalKind, relay: &RelayUrl, created_at: u64);
}

/// What signaling is told at its start.
pub struct Settings {
    pub relays: Vec<RelayUrl>,
    /// The keys that are called, and that answer.
    pub keys: Vec<Keys>,
    pub memory: Arc<dyn Memory>,
}

/// A verified event for one of our keys, not seen before, not expired.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub relay: RelayUrl,
    pub envelope: Envelope,
    pub event: Box<Event>,
}

/// An event to publish.
#[derive(Debug, Clone)]
pub struct Publish {
    pub outgoing: Outgoing,
}
