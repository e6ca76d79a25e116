//! A memory that lasts as long as its process: for a client, which has no store.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use nostr::{EventId, PublicKey, RelayUrl};

use super::Memory;
use super::recent::Recent;
use crate::protocol::SignalKind;

/// How many event ids are remembered; a call has some tens.
const EVENTS: usize = 4096;

/// Remembers in memory only. Shared (in an `Arc`) between one signaling and the next, it is what a store would be.
#[derive(Debug)]
pub struct Forgetful(Mutex<State>);

#[derive(Debug)]
struct State {
    seen: Recent<EventId>,
    clocks: HashMap<(PublicKey, SignalKind, RelayUrl), u64>,
}

impl Default for Forgetful {
    fn default() -> Self {
        Self(Mutex::new(State { seen: Recent::new(EVENTS), clocks: HashMap::new() }))
    }
}

impl Memory for Forgetful {
    fn knows(&self, event: &EventId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).seen.contains(event)
    }

    fn remember(&self, taken: &[(EventId, u64)]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (event, _) in taken {
            state.seen.insert(*event);
        }
    }

    /// What is forgotten with the process has no yesterday.
    fn newest_sight(&self) -> Option<u64> {
        None
    }

    fn clock(&self, author: &PublicKey, kind: SignalKind, relay: &RelayUrl) -> Option<u64> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.clocks.get(&(*author, kind, relay.clone())).copied()
    }

    fn set_clock(&self, author: &PublicKey, kind: SignalKind, relay: &RelayUrl, created_at: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.clocks.insert((*author, kind, relay.clone()), created_at);
    }
}
