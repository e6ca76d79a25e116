//! Who may call.

use std::collections::BTreeSet;

use nostr::PublicKey;

/// What happens to an offer of a key that may not call (protocol, decided 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refuse {
    /// Nothing is sent: the line does not reveal that it exists.
    #[default]
    Silent,
    /// `call_answer` with `accepted: false`, then `call_end` `rejected`.
    Answer,
}

/// The keys that may call a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Anyone,
    Only(BTreeSet<PublicKey>),
}

/// Who may call a line, and what the others get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPolicy {
    pub access: Access,
    pub refuse: Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessDecision {
    Allowed,
    Refused(Refuse),
}

impl AccessPolicy {
    pub fn decide(&self, caller: &PublicKey) -> AccessDecision {
        match &self.access {
            Access::Anyone => AccessDecision::Allowed,
            Access::Only(keys) if keys.contains(caller) => AccessDecision::Allowed,
            Access::Only(_) => AccessDecision::Refused(self.refuse),
        }
    }
}
