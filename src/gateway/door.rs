//! Who may call which line, as known now.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use nostr::PublicKey;

use super::clock::Clock;
use crate::call::{AccessDecision, AccessPolicy, Millis};
use crate::signaling;

/// The lines' policies. The supervisor changes them and goes by them; signaling asks, before an event costs anything. The lock is held
/// for a look-up, or for a change.
#[derive(Debug)]
pub(super) struct Door(RwLock<HashMap<PublicKey, AccessPolicy>>);

impl Door {
    /// A policy for each line's key.
    pub(super) fn new(policies: impl IntoIterator<Item = (PublicKey, AccessPolicy)>) -> Self {
        Self(RwLock::new(policies.into_iter().collect()))
    }

    /// Looks a caller up at `now`; `None` when there is no such line.
    pub(super) fn decide(&self, now: Millis, caller: &PublicKey, line: &PublicKey) -> Option<AccessDecision> {
        let policies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        policies.get(line).map(|policy| policy.decide(now, caller))
    }

    /// Changes who may call a line from now on.
    pub(super) fn change(&self, line: &PublicKey, change: impl FnOnce(&mut AccessPolicy)) {
        if let Some(policy) = self.0.write().unwrap_or_else(PoisonError::into_inner).get_mut(line) {
            change(policy);
        }
    }
}

impl signaling::Door for Door {
    fn is_open(&self, caller: &PublicKey, line: &PublicKey) -> bool {
        matches!(self.decide(Clock::start().now(), caller, line), Some(AccessDecision::Allowed(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Access, Refuse};
    use crate::signaling::Door as _;

    #[test]
    fn it_is_open_to_those_who_may_call_this_line() {
        let key = |n| PublicKey::from_byte_array([n; 32]);
        let policy = |caller| AccessPolicy::new(Access::Only([key(caller)].into_iter().collect()), Refuse::Answer);
        let door = Door::new([(key(1), policy(11)), (key(2), policy(12))]);

        assert!(door.is_open(&key(11), &key(1)));
        assert!(!door.is_open(&key(11), &key(2)), "of another line's list");
        assert!(!door.is_open(&key(13), &key(1)));
        assert!(!door.is_open(&key(11), &key(3)), "of no line of ours");

        door.change(&key(1), |policy| policy.invited = [key(13)].into_iter().collect());
        assert!(door.is_open(&key(13), &key(1)) && !door.is_open(&key(13), &key(2)));
    }
}
