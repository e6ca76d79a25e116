//! Who may call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nostr::PublicKey;

use super::Millis;

/// What happens to an offer of a key that may not call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refuse {
    /// Nothing is sent: the line does not reveal that it exists.
    #[default]
    Silent,
    /// `call_answer` with `accepted: false`, then `call_end` `rejected`.
    Answer,
}

/// Keys, each listed until a moment or for good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed(BTreeMap<PublicKey, Option<Millis>>);

impl Listed {
    /// Lists a key until `until`, for good without it. Of two entries of one key the one that lasts longer counts.
    pub fn add(&mut self, key: PublicKey, until: Option<Millis>) {
        let entry = self.0.entry(key).or_insert(until);
        *entry = match (*entry, until) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
    }

    /// Whether the key is listed at `now`: an entry's last moment is not part of it.
    pub fn has(&self, now: Millis, key: &PublicKey) -> bool {
        self.0.get(key).is_some_and(|until| is_on(now, *until))
    }

    /// The keys that are listed at `now`.
    pub fn at(&self, now: Millis) -> impl Iterator<Item = &PublicKey> {
        self.0.iter().filter(move |(_, until)| is_on(now, **until)).map(|(key, _)| key)
    }

    /// Every key that is or was listed.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.keys()
    }

    /// Every entry of another list too.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        for (key, until) in &other.0 {
            self.add(*key, *until);
        }
        self
    }
}

fn is_on(now: Millis, until: Option<Millis>) -> bool {
    until.is_none_or(|until| now < until)
}

impl FromIterator<PublicKey> for Listed {
    /// Each for good.
    fn from_iter<T: IntoIterator<Item = PublicKey>>(keys: T) -> Self {
        Self(keys.into_iter().map(|key| (key, None)).collect())
    }
}

impl FromIterator<(PublicKey, Option<Millis>)> for Listed {
    fn from_iter<T: IntoIterator<Item = (PublicKey, Option<Millis>)>>(entries: T) -> Self {
        let mut listed = Self::default();
        for (key, until) in entries {
            listed.add(key, until);
        }
        listed
    }
}

/// Whom keys follow: by whose list it is.
pub type Followed = BTreeMap<PublicKey, BTreeSet<PublicKey>>;

/// The keys that may call a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Anyone,
    Only(Listed),
}

impl Default for Access {
    /// Nobody.
    fn default() -> Self {
        Self::Only(Listed::default())
    }
}

/// Who may call a line, and what the others get.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessPolicy {
    pub access: Access,
    /// Whoever these keys follow may call too.
    pub follows_of: Listed,
    /// Who may not call, whatever else is said of the key.
    pub deny: Listed,
    pub refuse: Refuse,
    /// Whom the keys of `follows_of` follow, as far as is known now.
    pub followed: Arc<Followed>,
    /// The one-time keys that are invited to this line now.
    pub invited: Listed,
}

/// Why a key may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grounds {
    /// The line's list has it, or lets anyone call.
    Listed,
    /// A key of `follows_of` follows it.
    Followed,
    /// It was made for an invitation to this line.
    Invited,
}

/// Whether a key may call, or what becomes of its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessDecision {
    Allowed(Grounds),
    Refused(Refuse),
}

impl AccessPolicy {
    /// A policy of a list and of what others get, and nothing else.
    pub fn new(access: Access, refuse: Refuse) -> Self {
        Self { access, refuse, ..Self::default() }
    }

    /// Looks a caller up at `now`.
    pub fn decide(&self, now: Millis, caller: &PublicKey) -> AccessDecision {
        match self.grounds(now, caller) {
            Some(grounds) => AccessDecision::Allowed(grounds),
            None => AccessDecision::Refused(self.refuse),
        }
    }

    fn grounds(&self, now: Millis, caller: &PublicKey) -> Option<Grounds> {
        if self.deny.has(now, caller) {
            return None;
        }
        let listed = match &self.access {
            Access::Anyone => true,
            Access::Only(keys) => keys.has(now, caller),
        };
        if listed {
            Some(Grounds::Listed)
        } else if self.is_followed(now, caller) {
            Some(Grounds::Followed)
        } else if self.invited.has(now, caller) {
            Some(Grounds::Invited)
        } else {
            None
        }
    }

    /// The keys that one of `follows_of` follows, as far as is known.
    pub fn followed_at(&self, now: Millis) -> BTreeSet<&PublicKey> {
        self.follows_of.at(now).filter_map(|key| self.followed.get(key)).flatten().collect()
    }

    fn is_followed(&self, now: Millis, caller: &PublicKey) -> bool {
        self.follows_of.at(now).filter_map(|key| self.followed.get(key)).any(|followed| followed.contains(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000_000);

    fn key(n: u8) -> PublicKey {
        PublicKey::from_byte_array([n; 32])
    }

    fn allowed(policy: &AccessPolicy, at: Millis, caller: u8) -> Option<Grounds> {
        match policy.decide(at, &key(caller)) {
            AccessDecision::Allowed(grounds) => Some(grounds),
            AccessDecision::Refused(refuse) => {
                assert_eq!(refuse, policy.refuse);
                None
            }
        }
    }

    #[test]
    fn only_listed_keys_may_call_and_the_others_get_what_the_policy_says() {
        for refuse in [Refuse::Silent, Refuse::Answer] {
            let policy = AccessPolicy::new(Access::Only([key(1)].into_iter().collect()), refuse);
            assert_eq!(policy.decide(NOW, &key(1)), AccessDecision::Allowed(Grounds::Listed));
            assert_eq!(policy.decide(NOW, &key(2)), AccessDecision::Refused(refuse));
            let nobody = AccessPolicy::new(Access::default(), refuse);
            assert_eq!(nobody.decide(NOW, &key(1)), AccessDecision::Refused(refuse));
        }
        let open = AccessPolicy::new(Access::Anyone, Refuse::default());
        assert_eq!(open.decide(NOW, &key(2)), AccessDecision::Allowed(Grounds::Listed));
    }

    #[test]
    fn an_entry_ends_at_its_moment_and_the_longer_of_two_counts() {
        let until = Some(NOW.plus(1_000));
        let listed: Listed = [(key(1), until), (key(2), until), (key(2), None), (key(3), until), (key(3), Some(NOW))]
            .into_iter()
            .collect();
        let policy = AccessPolicy::new(Access::Only(listed), Refuse::Silent);
        for caller in [1, 2, 3] {
            assert_eq!(allowed(&policy, NOW.plus(999), caller), Some(Grounds::Listed), "{caller}");
        }
        assert_eq!(allowed(&policy, NOW.plus(1_000), 1), None);
        assert_eq!(allowed(&policy, NOW.plus(1_000), 2), Some(Grounds::Listed));
        assert_eq!(allowed(&policy, NOW.plus(1_000), 3), None);
    }

    #[test]
    fn whoever_is_followed_may_call_for_as_long_as_the_follower_counts() {
        let followed = Followed::from([(key(1), [key(10), key(11)].into()), (key(2), [key(20)].into())]);
        let policy = AccessPolicy {
            follows_of: [(key(1), None), (key(2), Some(NOW)), (key(3), None)].into_iter().collect(),
            followed: Arc::new(followed),
            ..AccessPolicy::default()
        };
        assert_eq!(allowed(&policy, NOW, 10), Some(Grounds::Followed));
        assert_eq!(allowed(&policy, NOW, 1), None, "who follows is not among those who are followed");
        assert_eq!(allowed(&policy, NOW, 20), None, "its follower's entry has ended");
        assert_eq!(allowed(&policy, Millis(NOW.0 - 1), 20), Some(Grounds::Followed));
    }

    #[test]
    fn an_invitation_lets_in_until_it_ends() {
        let policy = AccessPolicy {
            invited: [(key(1), Some(NOW.plus(5_000)))].into_iter().collect(),
            ..AccessPolicy::default()
        };
        assert_eq!(allowed(&policy, NOW, 1), Some(Grounds::Invited));
        assert_eq!(allowed(&policy, NOW.plus(5_000), 1), None);
    }

    #[test]
    fn deny_wins_over_everything_until_it_ends() {
        let policies = [
            AccessPolicy::new(Access::Anyone, Refuse::Answer),
            AccessPolicy::new(Access::Only([key(1)].into_iter().collect()), Refuse::Silent),
            AccessPolicy {
                follows_of: [key(2)].into_iter().collect(),
                followed: Arc::new(Followed::from([(key(2), [key(1)].into())])),
                ..AccessPolicy::default()
            },
            AccessPolicy { invited: [key(1)].into_iter().collect(), ..AccessPolicy::default() },
        ];
        for policy in policies {
            assert!(allowed(&policy, NOW, 1).is_some());
            let denying = AccessPolicy { deny: [(key(1), Some(NOW.plus(1)))].into_iter().collect(), ..policy };
            assert_eq!(allowed(&denying, NOW, 1), None);
            assert!(allowed(&denying, NOW.plus(1), 1).is_some());
        }
    }
}
