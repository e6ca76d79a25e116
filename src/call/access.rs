//! Who may call.

use std::collections::BTreeSet;

use nostr::PublicKey;

/// What happens to an offer of a key that may not call.
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

/// Whether a key may call, or what becomes of its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessDecision {
    Allowed,
    Refused(Refuse),
}

impl AccessPolicy {
    /// Looks a caller up.
    pub fn decide(&self, caller: &PublicKey) -> AccessDecision {
        match &self.access {
            Access::Anyone => AccessDecision::Allowed,
            Access::Only(keys) if keys.contains(caller) => AccessDecision::Allowed,
            Access::Only(_) => AccessDecision::Refused(self.refuse),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_keys_may_call_and_the_others_get_what_the_policy_says() {
        let (listed, other) = (PublicKey::from_byte_array([1; 32]), PublicKey::from_byte_array([2; 32]));
        for refuse in [Refuse::Silent, Refuse::Answer] {
            let policy = AccessPolicy { access: Access::Only(BTreeSet::from([listed])), refuse };
            assert_eq!(policy.decide(&listed), AccessDecision::Allowed);
            assert_eq!(policy.decide(&other), AccessDecision::Refused(refuse));
            let nobody = AccessPolicy { access: Access::Only(BTreeSet::new()), refuse };
            assert_eq!(nobody.decide(&listed), AccessDecision::Refused(refuse));
        }
        let open = AccessPolicy { access: Access::Anyone, refuse: Refuse::default() };
        assert_eq!(open.decide(&other), AccessDecision::Allowed);
    }
}
