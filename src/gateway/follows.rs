//! Who may call because somebody who counts follows them: the newest contact list (kind 3) of each key of `follows_of`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nostr::{Event, EventId, Kind, PublicKey};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::clock::Clock;
use crate::call::Followed;
use crate::signaling::Signaling;
use crate::store::{FollowList, Store, StoreError};

/// How often the lists are asked for: whoever is not followed any more may call for this long.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// The same while nothing is known of one of the keys: its relay may have been away.
const RETRY: Duration = Duration::from_secs(60);
/// The least time between two looks, however many strangers call: whoever was followed just now waits this long.
const GAP: Duration = Duration::from_secs(10);
/// How many keys of one list count. Relays take no event that has many more.
const MOST: usize = 5_000;

/// The lists that are known.
#[derive(Debug, Default)]
struct Known(HashMap<PublicKey, (u64, EventId)>);

impl Known {
    /// Whether an event is newer than what is known of its author, by NIP-01's order; it is known then.
    fn take(&mut self, event: &Event) -> bool {
        let (at, id) = (event.created_at.as_secs(), event.id);
        let newer = self.0.get(&event.pubkey).is_none_or(|(known, by)| at > *known || (at == *known && id < *by));
        if newer {
            self.0.insert(event.pubkey, (at, id));
        }
        newer
    }
}

/// Whom a contact list names, each once.
fn followed_by(event: &Event) -> Vec<PublicKey> {
    let keys: BTreeSet<PublicKey> = event.tags.public_keys().take(MOST).copied().collect();
    keys.into_iter().collect()
}

/// Keeps the lists of `authors` as relays have them.
pub(super) struct Follows {
    authors: Vec<PublicKey>,
    store: Arc<Store>,
    known: Known,
    to: watch::Sender<Arc<Followed>>,
    /// Somebody whom nobody is known to follow called.
    asked: Arc<Notify>,
}

impl Follows {
    /// Of `authors`, with what the store has of them; and whom they follow, from now on. What it has of others is forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn of_store(
        store: Arc<Store>,
        authors: BTreeSet<PublicKey>,
    ) -> Result<(Self, watch::Receiver<Arc<Followed>>), StoreError> {
        let (mut known, mut followed) = (Known::default(), BTreeMap::new());
        for list in store.follow_lists()? {
            if authors.contains(&list.author) {
                known.0.insert(list.author, (list.created_at, list.event));
                followed.insert(list.author, list.followed.into_iter().collect());
            } else {
                store.forget_follow_list(&list.author)?;
            }
        }
        let (to, watched) = watch::channel(Arc::new(followed));
        let asked = Arc::new(Notify::new());
        Ok((Self { authors: authors.into_iter().collect(), store, known, to, asked }, watched))
    }

    /// To be told when somebody calls whom nobody is known to follow: who follows them may have begun to just now.
    pub(super) fn asked(&self) -> Arc<Notify> {
        self.asked.clone()
    }

    /// Asks again and again, until nobody listens any more.
    pub(super) async fn keep(mut self, signaling: Signaling) {
        if self.authors.is_empty() {
            return;
        }
        loop {
            tokio::select! {
                biased;
                () = self.to.closed() => return,
                () = signaling.connected() => {}
            }
            let looked = Instant::now();
            let lists = signaling.latest(self.authors.clone(), vec![Kind::ContactList.as_u16()], &[]).await;
            self.take(lists).await;
            tokio::select! {
                biased;
                () = self.to.closed() => return,
                () = tokio::time::sleep_until(looked + GAP) => {}
            }
            let all_known = self.authors.iter().all(|author| self.known.0.contains_key(author));
            let again = looked + if all_known { REFRESH } else { RETRY };
            tokio::select! {
                biased;
                () = self.to.closed() => return,
                () = self.asked.notified() => {}
                () = tokio::time::sleep_until(again) => {}
            }
        }
    }

    async fn take(&mut self, lists: Vec<Event>) {
        let wanted = |event: &Event| event.kind == Kind::ContactList && self.authors.contains(&event.pubkey);
        let newer: Vec<FollowList> = lists
            .iter()
            .filter(|event| wanted(event))
            .filter(|event| self.known.take(event))
            .map(|event| FollowList {
                author: event.pubkey,
                event: event.id,
                created_at: event.created_at.as_secs(),
                followed: followed_by(event),
            })
            .collect();
        if newer.is_empty() {
            return;
        }
        self.to.send_modify(|followed| {
            let followed = Arc::make_mut(followed);
            for list in &newer {
                followed.insert(list.author, list.followed.iter().copied().collect());
            }
        });
        tracing::info!(lists = newer.len(), "lists of whom keys follow read");
        let (store, now) = (self.store.clone(), Clock::start().now().unix_seconds());
        let kept =
            tokio::task::spawn_blocking(move || newer.iter().try_for_each(|list| store.keep_follow_list(list, now)));
        match kept.await {
            Ok(Ok(())) => {}
            // They hold until the next start all the same.
            Ok(Err(error)) => tracing::error!(%error, "the lists of whom keys follow are not kept"),
            Err(error) => tracing::error!(%error, "the lists of whom keys follow are not kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Keys, Tag, Timestamp};

    use super::*;

    fn list(author: &Keys, at: u64, followed: &[PublicKey]) -> Event {
        EventBuilder::new(Kind::ContactList, "")
            .tags(followed.iter().map(|key| Tag::public_key(*key)))
            .custom_created_at(Timestamp::from_secs(at))
            .sign_with_keys(author)
            .unwrap()
    }

    fn key() -> PublicKey {
        Keys::generate().public_key()
    }

    #[tokio::test]
    async fn the_newest_list_of_those_who_count_is_known_and_kept() {
        let (store, boss, other) = (Arc::new(Store::in_memory().unwrap()), Keys::generate(), Keys::generate());
        let (old, new) = (key(), key());
        let of = || Follows::of_store(store.clone(), [boss.public_key()].into());
        let (mut follows, watched) = of().unwrap();
        assert!(watched.borrow().is_empty());

        follows.take(vec![list(&boss, 10, &[old]), list(&other, 10, &[old])]).await;
        assert_eq!(**watched.borrow(), Followed::from([(boss.public_key(), [old].into())]));
        follows.take(vec![list(&boss, 12, &[new, new])]).await;
        follows.take(vec![list(&boss, 11, &[old])]).await;
        assert_eq!(**watched.borrow(), Followed::from([(boss.public_key(), [new].into())]));

        let (mut follows, watched) = of().unwrap();
        follows.take(vec![list(&boss, 11, &[old])]).await;
        assert_eq!(**watched.borrow(), Followed::from([(boss.public_key(), [new].into())]), "also after a restart");

        let (_, watched) = Follows::of_store(store.clone(), [other.public_key()].into()).unwrap();
        assert!(watched.borrow().is_empty());
        assert!(store.follow_lists().unwrap().is_empty(), "who does not count any more is forgotten");
    }

    #[tokio::test]
    async fn a_list_counts_up_to_its_bound() {
        let (store, boss) = (Arc::new(Store::in_memory().unwrap()), Keys::generate());
        let (mut follows, watched) = Follows::of_store(store, [boss.public_key()].into()).unwrap();
        let many: Vec<PublicKey> = (0..MOST + 10)
            .map(|n| {
                PublicKey::from_byte_array(std::array::from_fn(|at| n.to_be_bytes().get(at).copied().unwrap_or(1)))
            })
            .collect();
        follows.take(vec![list(&boss, 10, &many)]).await;
        assert_eq!(watched.borrow()[&boss.public_key()].len(), MOST);
    }
}
