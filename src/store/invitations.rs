//! Invitations: one-time keys, each of which may call one line for a while.

use std::path::{Path, PathBuf};
use std::sync::TryLockError;

use nostr::PublicKey;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use serde::Serialize;

use super::{DATABASE, Store, StoreError, join, npub, path_of, signed, unsigned};
use crate::call::Millis;

/// How long an invitation that has ended stays in the list, in milliseconds: a month to see who came.
const KEEP: u64 = 30 * 24 * 3_600_000;
/// How many invitations there may be: the gateway holds those that are good in memory, 100 bytes each.
const MOST: u64 = 10_000;

/// What an invitation is made of. The key's secret half is in the link alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The line's name.
    pub line: String,
    pub line_key: PublicKey,
    /// Who may call.
    pub key: PublicKey,
    /// Whom or what it is for, in the operator's words.
    pub label: String,
    pub made: Millis,
    pub until: Millis,
}

/// An invitation as the operator sees it. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptInvitation {
    /// Rises with each invitation.
    pub number: u64,
    pub line: String,
    pub line_npub: String,
    pub npub: String,
    pub label: String,
    pub made_ms: u64,
    pub until_ms: u64,
    pub revoked_ms: Option<u64>,
    /// How many calls it began.
    pub calls: u64,
    /// When the last of them began.
    pub called_ms: Option<u64>,
}

/// An invitation as the gateway goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invited {
    pub line: PublicKey,
    pub key: PublicKey,
    pub until: Millis,
    pub revoked: bool,
}

/// Which invitation is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Number(u64),
    Key(PublicKey),
}

impl Store {
    /// Every invitation that is kept, those that have ended included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn invited(&self) -> Result<Vec<Invited>, StoreError> {
        let db = self.db();
        let read = || -> rusqlite::Result<Vec<Invited>> {
            let mut query = db.prepare_cached("SELECT line_key, key, until_ms, revoked_ms FROM invitations")?;
            let rows = query.query_map([], |row| {
                Ok(Invited {
                    line: PublicKey::from_byte_array(row.get(0)?),
                    key: PublicKey::from_byte_array(row.get(1)?),
                    until: Millis(unsigned(row.get(2)?)),
                    revoked: row.get::<_, Option<i64>>(3)?.is_some(),
                })
            })?;
            rows.collect()
        };
        read().map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// Notes that a key called the line that it is invited to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_invited_call(&self, line: &PublicKey, key: &PublicKey, at: Millis) -> Result<(), StoreError> {
        let db = self.db();
        let note = || {
            db.prepare_cached(
                "UPDATE invitations SET calls = calls + 1, called_ms = ?3 WHERE line_key = ?1 AND key = ?2",
            )?
            .execute(params![line.as_bytes(), key.as_bytes(), signed(at.0)])
        };
        note().map(drop).map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// A number that changes whenever another process has written to the database; none while the store is in use. Never blocks: it costs
    /// a look at shared memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn version(&self) -> Result<Option<i64>, StoreError> {
        let db = match self.db.try_lock() {
            Ok(db) => db,
            Err(TryLockError::WouldBlock) => return Ok(None),
            // As in `Store::db`.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let version = db.query_row("PRAGMA data_version", [], |row| row.get(0));
        version.map(Some).map_err(|error| StoreError::of(error, &path_of(&db)))
    }
}

/// The invitations of a data folder, to read and to change, also while a daemon runs: it notices within a second.
#[derive(Debug)]
pub struct Invitations {
    db: Connection,
    path: PathBuf,
}

impl Invitations {
    /// None when neither a daemon nor an invitation was ever here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let db = join(data_dir, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Ok(db.map(|db| Self { db, path: data_dir.join(DATABASE) }))
    }

    /// Makes the data folder and its database when they are not there, or brings the database up to date.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_or_make(data_dir: &Path) -> Result<Self, StoreError> {
        match Self::open(data_dir) {
            Ok(Some(opened)) => return Ok(opened),
            // A running daemon has its database at its own version.
            Ok(None) | Err(StoreError::Older(_)) => drop(Store::open(data_dir)?),
            Err(error) => return Err(error),
        }
        Self::open(data_dir)?.ok_or_else(|| StoreError::Folder(data_dir.to_owned(), std::io::ErrorKind::NotFound))
    }

    /// Keeps an invitation, and forgets those that ended long ago; its number, or none when there are too many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn invite(&self, invitation: &Invitation) -> Result<Option<u64>, StoreError> {
        self.insert(invitation).map_err(|error| self.wrong(error))
    }

    fn insert(&self, invitation: &Invitation) -> rusqlite::Result<Option<u64>> {
        let long_ago = invitation.made.0.saturating_sub(KEEP);
        self.db.execute(
            "DELETE FROM invitations WHERE min(until_ms, ifnull(revoked_ms, until_ms)) < ?1",
            [signed(long_ago)],
        )?;
        let kept: i64 = self.db.query_row("SELECT count(*) FROM invitations", [], |row| row.get(0))?;
        if unsigned(kept) >= MOST {
            return Ok(None);
        }
        self.db.execute(
            "INSERT INTO invitations (line, line_key, key, label, made_ms, until_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                invitation.line,
                invitation.line_key.as_bytes(),
                invitation.key.as_bytes(),
                invitation.label,
                signed(invitation.made.0),
                signed(invitation.until.0),
            ],
        )?;
        Ok(Some(unsigned(self.db.last_insert_rowid())))
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn all(&self) -> Result<Vec<KeptInvitation>, StoreError> {
        let read = || -> rusqlite::Result<Vec<KeptInvitation>> {
            let mut query = self.db.prepare_cached("SELECT * FROM invitations ORDER BY id DESC")?;
            query.query_map([], kept)?.collect()
        };
        read().map_err(|error| self.wrong(error))
    }

    /// Ends an invitation, and with it the calls that it began; the invitation as it was before. None when there is no such one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revoke(&self, which: Which, now: Millis) -> Result<Option<KeptInvitation>, StoreError> {
        let revoke = || {
            let found = match which {
                Which::Number(number) => {
                    self.db.query_row("SELECT * FROM invitations WHERE id = ?1", [signed(number)], kept)
                }
                Which::Key(key) => {
                    self.db.query_row("SELECT * FROM invitations WHERE key = ?1", [key.as_bytes()], kept)
                }
            };
            let found = found.optional()?;
            if let Some(invitation) = &found {
                self.db.execute(
                    "UPDATE invitations SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL",
                    params![signed(invitation.number), signed(now.0)],
                )?;
            }
            Ok(found)
        };
        revoke().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    fn wrong(&self, error: rusqlite::Error) -> StoreError {
        StoreError::of(error, &self.path)
    }
}

fn kept(row: &Row<'_>) -> rusqlite::Result<KeptInvitation> {
    let number = |name: &str| row.get::<_, i64>(name).map(unsigned);
    let optional = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(unsigned));
    Ok(KeptInvitation {
        number: number("id")?,
        line: row.get("line")?,
        line_npub: npub(row.get("line_key")?),
        npub: npub(row.get("key")?),
        label: row.get("label")?,
        made_ms: number("made_ms")?,
        until_ms: number("until_ms")?,
        revoked_ms: optional("revoked_ms")?,
        calls: number("calls")?,
        called_ms: optional("called_ms")?,
    })
}
