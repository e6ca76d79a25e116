//! What signaling remembers across restarts.

use std::path::Path;

use nostr::{EventId, PublicKey, RelayUrl};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Store, StoreError, signed, unsigned};
use crate::protocol::SignalKind;
use crate::signaling::Memory;

/// How long a handled event is remembered, in seconds. Offers go stale within minutes; a week covers relays that replay their archive
/// and clocks that were wrong for a day.
const REMEMBER: u64 = 7 * 24 * 3600;
/// How many handled events are remembered at most: a flood of 10 a second for five hours, in 30 MB.
const REMEMBER_AT_MOST: i64 = 200_000;
/// Old events are forgotten each time that so many new ones have come.
const FORGET_EVERY: i64 = 1024;
fn insert(db: &mut Connection, taken: &[(EventId, u64)]) -> rusqlite::Result<()> {
    let all = db.transaction()?;
    for (event, at) in taken {
        let new = all
            .prepare_cached(
                "INSERT INTO handled_events (event, seen_at) VALUES (?1, ?2) ON CONFLICT (event) DO NOTHING",
            )?
            .execute(params![event.as_bytes(), signed(*at)])?
            == 1;
        if new && all.last_insert_rowid() % FORGET_EVERY == 0 {
            forget(&all, *at)?;
        }
    }
    all.commit()
}

fn forget(db: &Connection, now: u64) -> rusqlite::Result<()> {
    db.execute("DELETE FROM handled_events WHERE seen_at < ?1", [signed(now.saturating_sub(REMEMBER))])?;
    db.execute("DELETE FROM handled_events WHERE id <= (SELECT max(id) FROM handled_events) - ?1", [REMEMBER_AT_MOST])?;
    Ok(())
}

fn warn(what: &str, error: rusqlite::Error) {
    let error = StoreError::of(error, Path::new(super::DATABASE));
    tracing::error!(%error, "the store cannot {what}");
}

impl Memory for Store {
    fn knows(&self, event: &EventId) -> bool {
        let read = |db: &Connection| {
            db.prepare_cached("SELECT 1 FROM handled_events WHERE event = ?1")?.exists([event.as_bytes()])
        };
        read(&self.reader()).unwrap_or_else(|error| {
            warn("tell whether an event was seen", error);
            false
        })
    }

    fn remember(&self, taken: &[(EventId, u64)]) {
        if let Err(error) = insert(&mut self.db(), taken) {
            warn("remember an event", error);
        }
    }

    fn newest_sight(&self) -> Option<u64> {
        let newest: rusqlite::Result<Option<i64>> =
            self.db().query_row("SELECT max(seen_at) FROM handled_events", [], |row| row.get(0));
        match newest {
            Ok(newest) => newest.map(unsigned),
            Err(error) => {
                warn("tell when the last event came", error);
                None
            }
        }
    }

    fn clock(&self, author: &PublicKey, kind: SignalKind, relay: &RelayUrl) -> Option<u64> {
        let read = |db: &Connection| {
            db.prepare_cached("SELECT created_at FROM outbox_clocks WHERE author = ?1 AND kind = ?2 AND relay = ?3")?
                .query_row(params![author.as_bytes(), kind.number(), name(relay)], |row| row.get::<_, i64>(0))
                .optional()
        };
        match read(&self.db()) {
            Ok(clock) => clock.map(unsigned),
            Err(error) => {
                warn("read an outbox clock", error);
                None
            }
        }
    }

    fn set_clock(&self, author: &PublicKey, kind: SignalKind, relay: &RelayUrl, created_at: u64) {
        let write = |db: &Connection| {
            db.prepare_cached(
                "INSERT INTO outbox_clocks (author, kind, relay, created_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET created_at = max(created_at, excluded.created_at)",
            )?
            .execute(params![author.as_bytes(), kind.number(), name(relay), signed(created_at)])
        };
        if let Err(error) = write(&self.db()) {
            warn("keep an outbox clock", error);
        }
    }
}

/// A relay is the same with and without a `/` at its end.
fn name(relay: &RelayUrl) -> &str {
    relay.as_str_without_trailing_slash()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u32) -> EventId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        EventId::from_byte_array(bytes)
    }

    fn count(store: &Store) -> i64 {
        store.db().query_row("SELECT count(*) FROM handled_events", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn old_events_are_forgotten_and_new_ones_are_not() {
        let store = Store::in_memory().unwrap();
        let weeks_later = 1_000 + REMEMBER + 1;
        store.remember(&[(event(0), 1_000), (event(1), weeks_later)]);

        forget(&store.db(), weeks_later).unwrap();

        assert_eq!(count(&store), 1);
        assert!(store.knows(&event(1)) && !store.knows(&event(0)));
    }

    #[test]
    fn forgetting_happens_by_itself() {
        let store = Store::in_memory().unwrap();
        store.remember(&[(event(0), 0)]);
        for number in 1..=FORGET_EVERY as u32 {
            store.remember(&[(event(number), REMEMBER + 1)]);
        }
        assert_eq!(count(&store), FORGET_EVERY);
    }

    #[test]
    fn an_event_is_looked_up_while_the_database_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.remember(&[(event(7), 0)]);

        // Given somebody who holds the only connection that writes
        let writing = store.db();
        assert!(store.knows(&event(7)) && !store.knows(&event(8)));
        drop(writing);
    }

    #[test]
    fn a_database_that_takes_nothing_is_no_end() {
        let store = Store::in_memory().unwrap();
        store.db().execute_batch("PRAGMA query_only = ON").unwrap();
        store.remember(&[(event(7), 0)]);
        assert!(!store.knows(&event(7)));
    }
}
