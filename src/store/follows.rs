//! Whom keys follow: the newest contact list (kind 3) that was seen of each, so that a restart without relays keeps it.

use nostr::{EventId, PublicKey};
use rusqlite::params;

use super::{Store, StoreError, path_of, signed, unsigned};

/// A contact list as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowList {
    pub author: PublicKey,
    pub event: EventId,
    /// The event's, unix seconds.
    pub created_at: u64,
    pub followed: Vec<PublicKey>,
}

impl Store {
    /// Every list that is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn follow_lists(&self) -> Result<Vec<FollowList>, StoreError> {
        let db = self.db();
        let read = || -> rusqlite::Result<Vec<FollowList>> {
            let mut query = db.prepare_cached("SELECT author, event, created_at, followed FROM follow_lists")?;
            let rows = query.query_map([], |row| {
                let followed: Vec<u8> = row.get(3)?;
                let keys = followed.chunks_exact(32).filter_map(|bytes| PublicKey::from_slice(bytes).ok());
                Ok(FollowList {
                    author: PublicKey::from_byte_array(row.get(0)?),
                    event: EventId::from_byte_array(row.get(1)?),
                    created_at: unsigned(row.get(2)?),
                    followed: keys.collect(),
                })
            })?;
            rows.collect()
        };
        read().map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// Keeps a list in place of the one that its author had before. `now` in unix seconds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_follow_list(&self, list: &FollowList, now: u64) -> Result<(), StoreError> {
        let db = self.db();
        let followed: Vec<u8> = list.followed.iter().flat_map(|key| *key.as_bytes()).collect();
        let keep = || {
            db.prepare_cached(
                "INSERT OR REPLACE INTO follow_lists (author, event, created_at, fetched_at, followed) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                list.author.as_bytes(),
                list.event.as_bytes(),
                signed(list.created_at),
                signed(now),
                followed
            ])
        };
        keep().map(drop).map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// Forgets the list of somebody who does not count any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_follow_list(&self, author: &PublicKey) -> Result<(), StoreError> {
        let db = self.db();
        let forget = || db.prepare_cached("DELETE FROM follow_lists WHERE author = ?1")?.execute([author.as_bytes()]);
        forget().map(drop).map_err(|error| StoreError::of(error, &path_of(&db)))
    }
}
