//! The call log.

use std::path::{Path, PathBuf};

use nostr::PublicKey;
use rusqlite::{Connection, OpenFlags, Row, params};
use serde::Serialize;

use super::{DATABASE, Store, StoreError, join, npub, path_of, signed, unsigned};
pub use crate::call::Direction;
use crate::call::{Milestones, Millis, Origin};
use crate::protocol::CallType;

/// The log keeps this many calls, the newest: years of a busy gateway, in 40 MB.
const KEEP: i64 = 100_000;

/// [`LoggedCall::reason`] of a call that nobody was there to hear: it rang while the gateway was away.
pub const MISSED: &str = "missed";

/// A call that is over, to be logged.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// The line's name.
    pub line: String,
    pub line_key: PublicKey,
    /// The other party.
    pub caller: PublicKey,
    pub session: String,
    pub call_type: CallType,
    pub direction: Direction,
    pub milestones: Milestones,
    /// `EndReason::word`.
    pub reason: String,
    pub origin: Origin,
    /// `EndReason::detail`: a sentence without secrets.
    pub detail: String,
    /// None when there was no peer to take down.
    pub teardown_ms: Option<u64>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub frames_skipped: u64,
    /// Events and candidates of the other party that were refused or ignored.
    pub ignored: u32,
}

/// A call as the log tells it, to people and over the API. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedCall {
    /// Rises with each call.
    pub id: u64,
    pub line: String,
    pub line_npub: String,
    pub caller: String,
    pub session: String,
    /// `audio`, `video` or `screen`.
    pub call_type: String,
    /// `in` or `out`.
    pub direction: String,
    pub offered_ms: u64,
    pub source_ready_ms: Option<u64>,
    pub answered_ms: Option<u64>,
    pub secured_ms: Option<u64>,
    pub first_media_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub reason: String,
    /// `caller`, `callee`, `endpoint`, `network`, `operator` or `us`.
    pub origin: String,
    pub detail: String,
    pub teardown_ms: Option<u64>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub frames_skipped: u64,
    pub ignored: u64,
}

/// Which calls are asked for; all of them by default.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Of this line, by name.
    pub line: Option<String>,
    /// With this other party.
    pub caller: Option<PublicKey>,
    /// Missed ones alone.
    pub missed: bool,
}

impl Store {
    /// Adds a call to the log.
    ///
    /// # Errors
    /// [`StoreError`], a full disk above all. The call itself is over either way.
    pub fn log_call(&self, call: &CallRecord) -> Result<(), StoreError> {
        let db = self.db();
        insert(&db, call).map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// Adds a call to the log unless one of the same parties and session is there; whether it was added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_call_once(&self, call: &CallRecord) -> Result<bool, StoreError> {
        let db = self.db();
        let once = || {
            let known = is_logged(&db, call)?;
            if !known {
                insert(&db, call)?;
            }
            Ok(!known)
        };
        once().map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// The newest calls first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn calls(&self, filter: &CallFilter, limit: usize) -> Result<Vec<LoggedCall>, StoreError> {
        let db = self.db();
        select(&db, filter, limit).map_err(|error| StoreError::of(error, &path_of(&db)))
    }
}

/// The call log of a data folder, to read only, also while a daemon writes it.
#[derive(Debug)]
pub struct CallLog {
    db: Connection,
    path: PathBuf,
}

impl CallLog {
    /// None when no daemon ever ran with this data folder.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let db = join(data_dir, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(db.map(|db| Self { db, path: data_dir.join(DATABASE) }))
    }

    /// The newest calls first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn calls(&self, filter: &CallFilter, limit: usize) -> Result<Vec<LoggedCall>, StoreError> {
        select(&self.db, filter, limit).map_err(|error| StoreError::of(error, &self.path))
    }
}

fn insert(db: &Connection, call: &CallRecord) -> rusqlite::Result<()> {
    let at = |time: Option<Millis>| time.map(|time| signed(time.0));
    let times = &call.milestones;
    db.prepare_cached(
        "INSERT INTO calls (line, line_key, caller, session_id, call_type, direction, offered_ms, source_ready_ms, answered_ms,
            secured_ms, first_media_ms, ended_ms, reason, origin, detail, teardown_ms, bytes_sent, bytes_received, frames_skipped, ignored)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
    )?
    .execute(params![
        call.line,
        call.line_key.as_bytes(),
        call.caller.as_bytes(),
        call.session,
        call_type_word(call.call_type),
        direction_word(call.direction),
        signed(times.offered.0),
        at(times.source_ready),
        at(times.answered),
        at(times.secured),
        at(times.first_media),
        at(times.ended),
        call.reason,
        origin_word(call.origin),
        call.detail,
        call.teardown_ms.map(signed),
        signed(call.bytes_sent),
        signed(call.bytes_received),
        signed(call.frames_skipped),
        call.ignored,
    ])?;
    db.prepare_cached("DELETE FROM calls WHERE id <= ?1")?.execute([db.last_insert_rowid() - KEEP])?;
    Ok(())
}

fn is_logged(db: &Connection, call: &CallRecord) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM calls WHERE caller = ?1 AND line_key = ?2 AND session_id = ?3")?.exists(params![
        call.caller.as_bytes(),
        call.line_key.as_bytes(),
        call.session,
    ])
}

fn select(db: &Connection, filter: &CallFilter, limit: usize) -> rusqlite::Result<Vec<LoggedCall>> {
    let mut query = db.prepare_cached(
        "SELECT * FROM calls WHERE (?1 IS NULL OR line = ?1) AND (?2 IS NULL OR caller = ?2) AND (?3 IS NULL OR reason = ?3)
         ORDER BY id DESC LIMIT ?4",
    )?;
    let caller = filter.caller.map(|key| *key.as_bytes());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    query.query_map(params![filter.line, caller, filter.missed.then_some(MISSED), limit], logged)?.collect()
}

fn logged(row: &Row<'_>) -> rusqlite::Result<LoggedCall> {
    let number = |name: &str| row.get::<_, i64>(name).map(unsigned);
    let optional = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(unsigned));
    Ok(LoggedCall {
        id: number("id")?,
        line: row.get("line")?,
        line_npub: npub(row.get("line_key")?),
        caller: npub(row.get("caller")?),
        session: row.get("session_id")?,
        call_type: row.get("call_type")?,
        direction: row.get("direction")?,
        offered_ms: number("offered_ms")?,
        source_ready_ms: optional("source_ready_ms")?,
        answered_ms: optional("answered_ms")?,
        secured_ms: optional("secured_ms")?,
        first_media_ms: optional("first_media_ms")?,
        ended_ms: optional("ended_ms")?,
        reason: row.get("reason")?,
        origin: row.get("origin")?,
        detail: row.get("detail")?,
        teardown_ms: optional("teardown_ms")?,
        bytes_sent: number("bytes_sent")?,
        bytes_received: number("bytes_received")?,
        frames_skipped: number("frames_skipped")?,
        ignored: number("ignored")?,
    })
}

fn call_type_word(call_type: CallType) -> &'static str {
    match call_type {
        CallType::Audio => "audio",
        CallType::Video => "video",
        CallType::Screen => "screen",
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Caller => "caller",
        Origin::Callee => "callee",
        Origin::Endpoint => "endpoint",
        Origin::Network => "network",
        Origin::Operator => "operator",
        Origin::Us => "us",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_one() {
        let store = Store::in_memory().unwrap();
        store.db().pragma_update(None, "max_page_count", 1).unwrap();
        let key = nostr::Keys::generate().public_key();
        let call = CallRecord {
            line: "door".into(),
            line_key: key,
            caller: key,
            session: "s".repeat(128),
            call_type: CallType::Audio,
            direction: Direction::In,
            milestones: Milestones::default(),
            reason: "internal".into(),
            origin: Origin::Us,
            detail: "x".repeat(8192),
            teardown_ms: None,
            bytes_sent: u64::MAX,
            bytes_received: 0,
            frames_skipped: 0,
            ignored: 0,
        };

        let error = (0..100).find_map(|_| store.log_call(&call).err()).unwrap();

        assert_eq!(error, StoreError::DiskFull(PathBuf::new()));
    }
}
