//! The index of recordings: what their sidecars say, to be listed and searched.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{DATABASE, Store, StoreError, join, path_of, signed, unsigned};
use crate::call::Millis;
use crate::recording::{Candidate, End, RecordingId, Sidecar};

/// A recording as the index has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRecording {
    #[serde(flatten)]
    pub sidecar: Sidecar,
    /// The media file, relative to the recording folder.
    pub file: String,
    /// What it takes on the disk, with all that lies beside it.
    #[serde(skip)]
    pub disk_bytes: u64,
    /// Whether a picture of it lies beside it.
    #[serde(skip)]
    pub poster: bool,
}

/// Which recordings are asked for; all of them by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingFilter {
    /// Of this line, by name.
    pub line: Option<String>,
    /// With this other party, by npub.
    pub caller: Option<String>,
    /// That went on at this time or later.
    pub from: Option<Millis>,
    /// That began before this time.
    pub to: Option<Millis>,
    /// Older than this one: the last of the page before.
    pub before: Option<RecordingId>,
}

impl Store {
    /// Takes a recording into the index, or what is new about it.
    ///
    /// # Errors
    /// [`StoreError`]. The recording itself, and its sidecar, are there either way.
    pub fn keep_recording(&self, recording: &KeptRecording) -> Result<(), StoreError> {
        let db = self.db();
        insert(&db, recording).map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// One recording.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn recording(&self, id: RecordingId) -> Result<Option<KeptRecording>, StoreError> {
        let db = self.db();
        one(&db, id).map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// The newest recordings first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn recordings(&self, filter: &RecordingFilter, limit: usize) -> Result<Vec<KeptRecording>, StoreError> {
        let db = self.db();
        select(&db, filter, limit).map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// All of them, as retention looks at them; those that have no end count as live.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn retained_recordings(&self) -> Result<Vec<Candidate>, StoreError> {
        let db = self.db();
        let read = || -> rusqlite::Result<Vec<Candidate>> {
            let mut query = db.prepare_cached("SELECT id, started_ms, ended_ms, end, disk_bytes FROM recordings")?;
            let rows = query.query_map([], |row| {
                let started = Millis(unsigned(row.get(1)?));
                let ended = row.get::<_, Option<i64>>(2)?.map(|ended| Millis(unsigned(ended)));
                Ok(Candidate {
                    id: RecordingId(unsigned(row.get(0)?)),
                    started,
                    ended: ended.unwrap_or(started),
                    bytes: unsigned(row.get(4)?),
                    live: row.get::<_, String>(3)? == End::Open.word(),
                })
            })?;
            rows.collect()
        };
        read().map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// Takes a recording out of the index; false when it was not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_recording(&self, id: RecordingId) -> Result<bool, StoreError> {
        let db = self.db();
        forget(&db, id).map_err(|error| StoreError::of(error, &path_of(&db)))
    }

    /// Makes the index equal to what was found in the recording folder. Recordings from `since` on are left alone: they may have begun while
    /// it was looked through.
    ///
    /// # Errors
    /// [`StoreError`]; the index is as it was before then.
    pub fn reindex_recordings(&self, found: &[KeptRecording], since: RecordingId) -> Result<(), StoreError> {
        let mut db = self.db();
        let path = path_of(&db);
        let mut reindex = || {
            let change = db.transaction()?;
            change.execute("DELETE FROM recordings WHERE id < ?1", [signed(since.0)])?;
            for recording in found.iter().filter(|recording| recording.sidecar.id < since) {
                insert(&change, recording)?;
            }
            change.commit()
        };
        reindex().map_err(|error| StoreError::of(error, &path))
    }
}

/// The index of a data folder as another process uses it, also while a daemon runs.
#[derive(Debug)]
pub struct RecordingIndex {
    db: Connection,
    path: PathBuf,
}

impl RecordingIndex {
    /// None when no daemon ever ran with this data folder.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let db = join(data_dir, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Ok(db.map(|db| Self { db, path: data_dir.join(DATABASE) }))
    }

    /// The newest recordings first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn recordings(&self, filter: &RecordingFilter, limit: usize) -> Result<Vec<KeptRecording>, StoreError> {
        select(&self.db, filter, limit).map_err(|error| self.wrong(error))
    }

    /// One recording.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn recording(&self, id: RecordingId) -> Result<Option<KeptRecording>, StoreError> {
        one(&self.db, id).map_err(|error| self.wrong(error))
    }

    /// Takes a recording out of the index; false when it was not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_recording(&self, id: RecordingId) -> Result<bool, StoreError> {
        forget(&self.db, id).map_err(|error| self.wrong(error))
    }

    fn wrong(&self, error: rusqlite::Error) -> StoreError {
        StoreError::of(error, &self.path)
    }
}

fn insert(db: &Connection, recording: &KeptRecording) -> rusqlite::Result<()> {
    let sidecar = &recording.sidecar;
    let text = serde_json::to_string(sidecar).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO recordings (id, file, line, caller, started_ms, ended_ms, end, disk_bytes, poster, sidecar)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        signed(sidecar.id.0),
        recording.file,
        sidecar.line,
        sidecar.caller,
        signed(sidecar.started.0),
        sidecar.ended.map(|ended| signed(ended.0)),
        sidecar.end.word(),
        signed(recording.disk_bytes),
        recording.poster,
        text,
    ])?;
    Ok(())
}

fn one(db: &Connection, id: RecordingId) -> rusqlite::Result<Option<KeptRecording>> {
    db.prepare_cached("SELECT file, disk_bytes, sidecar, poster FROM recordings WHERE id = ?1")?
        .query_row([signed(id.0)], kept)
        .optional()
}

fn forget(db: &Connection, id: RecordingId) -> rusqlite::Result<bool> {
    Ok(db.prepare_cached("DELETE FROM recordings WHERE id = ?1")?.execute([signed(id.0)])? > 0)
}

fn select(db: &Connection, filter: &RecordingFilter, limit: usize) -> rusqlite::Result<Vec<KeptRecording>> {
    let mut query = db.prepare_cached(
        "SELECT file, disk_bytes, sidecar, poster FROM recordings
         WHERE (?1 IS NULL OR line = ?1) AND (?2 IS NULL OR caller = ?2)
            AND (?3 IS NULL OR ended_ms IS NULL OR ended_ms >= ?3) AND (?4 IS NULL OR started_ms < ?4)
            AND (?5 IS NULL OR (started_ms, id) < (SELECT started_ms, id FROM recordings WHERE id = ?5))
         ORDER BY started_ms DESC, id DESC LIMIT ?6",
    )?;
    let at = |time: Option<Millis>| time.map(|time| signed(time.0));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = params![
        filter.line,
        filter.caller,
        at(filter.from),
        at(filter.to),
        filter.before.map(|id| signed(id.0)),
        limit
    ];
    query.query_map(values, kept)?.collect()
}

fn kept(row: &Row<'_>) -> rusqlite::Result<KeptRecording> {
    let text: String = row.get(2)?;
    let sidecar = serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(KeptRecording { sidecar, file: row.get(0)?, disk_bytes: unsigned(row.get(1)?), poster: row.get(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::SIDECAR_VERSION;

    fn recording(id: u64, line: &str, caller: Option<&str>, ended: Option<u64>) -> KeptRecording {
        let sidecar = Sidecar {
            version: SIDECAR_VERSION,
            id: RecordingId(id),
            line: line.to_owned(),
            line_npub: "npub1line".to_owned(),
            caller: caller.map(str::to_owned),
            session: None,
            part: 1,
            started: Millis(id),
            ended: ended.map(Millis),
            tracks: Vec::new(),
            bytes: 10,
            sha256: None,
            end: if ended.is_some() { End::HungUp } else { End::Open },
        };
        KeptRecording { sidecar, file: format!("{line}/{id}.mkv"), disk_bytes: 12, poster: true }
    }

    fn ids(store: &Store, filter: &RecordingFilter, limit: usize) -> Vec<u64> {
        store.recordings(filter, limit).unwrap().iter().map(|recording| recording.sidecar.id.0).collect()
    }

    #[test]
    fn recordings_are_found_by_line_caller_and_time_a_page_at_a_time() {
        let store = Store::in_memory().unwrap();
        let all = [
            recording(10, "door", Some("npub1a"), Some(15)),
            recording(20, "yard", Some("npub1b"), Some(28)),
            recording(30, "door", None, Some(31)),
            recording(40, "door", Some("npub1a"), None),
        ];
        all.iter().for_each(|one| store.keep_recording(one).unwrap());
        let filter = RecordingFilter::default;

        assert_eq!(ids(&store, &filter(), 9), [40, 30, 20, 10]);
        assert_eq!(ids(&store, &RecordingFilter { line: Some("door".into()), ..filter() }, 9), [40, 30, 10]);
        assert_eq!(ids(&store, &RecordingFilter { caller: Some("npub1a".into()), ..filter() }, 9), [40, 10]);
        let some_time = RecordingFilter { from: Some(Millis(28)), to: Some(Millis(40)), ..filter() };
        assert_eq!(ids(&store, &some_time, 9), [30, 20]);
        assert_eq!(ids(&store, &RecordingFilter { from: Some(Millis(900)), ..filter() }, 9), [40], "it still goes on");
        assert_eq!(ids(&store, &filter(), 2), [40, 30]);
        assert_eq!(ids(&store, &RecordingFilter { before: Some(RecordingId(30)), ..filter() }, 1), [20]);
        assert_eq!(store.recording(RecordingId(30)).unwrap().unwrap(), all[2]);
    }

    #[test]
    fn what_is_new_about_a_recording_takes_the_place_of_what_was_known() {
        let store = Store::in_memory().unwrap();
        store.keep_recording(&recording(10, "door", None, None)).unwrap();
        assert!(store.retained_recordings().unwrap()[0].live);

        store.keep_recording(&recording(10, "door", None, Some(20))).unwrap();

        let kept = store.retained_recordings().unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].live, kept[0].ended, kept[0].bytes), (false, Millis(20), 12));
        assert!(store.forget_recording(RecordingId(10)).unwrap());
        assert!(!store.forget_recording(RecordingId(10)).unwrap());
    }

    #[test]
    fn the_index_becomes_what_was_found_but_for_what_has_begun_meanwhile() {
        let store = Store::in_memory().unwrap();
        for id in [10, 20, 50] {
            store.keep_recording(&recording(id, "door", None, None)).unwrap();
        }
        let found = [recording(20, "door", None, Some(25)), recording(30, "yard", None, Some(35))];

        store.reindex_recordings(&found, RecordingId(50)).unwrap();

        assert_eq!(ids(&store, &RecordingFilter::default(), 9), [50, 30, 20]);
        assert_eq!(store.recording(RecordingId(20)).unwrap().unwrap(), found[0]);
    }
}
