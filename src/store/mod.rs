//! What outlives the process: the call log, the index of recordings, the events that were handled, the outbox's clocks. One SQLite file in the
//! data folder.
//!
//! Calls are short and block: mostly microseconds, and a disk's time when SQLite moves its log into the file. Async tasks make them
//! on a thread for that.
//! One daemon owns a data folder (an advisory lock says so); others may read the call log and the recordings, and make invitations, meanwhile.

mod calls;
mod error;
mod follows;
mod invitations;
mod memory;
mod recordings;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nostr::PublicKey;
use nostr::nips::nip19::ToBech32 as _;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

pub use calls::{CallFilter, CallLog, CallRecord, Direction, LoggedCall, MISSED};
pub use error::StoreError;
pub use follows::FollowList;
pub use invitations::{Invitation, Invitations, Invited, KeptInvitation, Which};
pub use recordings::{KeptRecording, RecordingFilter, RecordingIndex};

/// The database's name in the data folder.
pub const DATABASE: &str = "callgate.db";
/// The lock's name in the data folder; the file is empty and stays.
const LOCK: &str = "callgate.lock";
/// How long one process waits for another's write: a reader's checkpoint takes milliseconds.
const BUSY: Duration = Duration::from_secs(5);

/// Each is applied once, in order; what was released is never edited, only added to.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("migrations/01_first.sql")),
    M::up(include_str!("migrations/02_access.sql")),
    M::up(include_str!("migrations/03_recordings.sql")),
];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);
/// The schema's version: how many migrations there are.
const VERSION: i64 = STEPS.len() as i64;

/// The daemon's store.
#[derive(Debug)]
pub struct Store {
    db: Mutex<Connection>,
    /// Reads while the other writes; none of a store in memory, which only its one connection has.
    reader: Option<Mutex<Connection>>,
    /// Held for as long as the store lives.
    _lock: Option<File>,
}

impl Store {
    /// Opens the store of a data folder, making both if they are not there, and keeps other daemons out.
    ///
    /// # Errors
    /// [`StoreError`]. A database that is damaged or newer than this program is left as it is.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        make_private_folder(data_dir).map_err(|error| StoreError::Folder(data_dir.to_owned(), error.kind()))?;
        let lock = lock(data_dir)?;
        let path = data_dir.join(DATABASE);
        // SQLite gives its side files the mode of the database: nobody else learns who calls whom.
        private_options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| StoreError::Folder(path.clone(), error.kind()))?;
        let wrong = |error| StoreError::of(error, &path);
        let mut db =
            Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .map_err(wrong)?;
        db.busy_timeout(BUSY).map_err(wrong)?;
        let sound: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(wrong)?;
        if sound != "ok" {
            return Err(StoreError::Damaged(path));
        }
        // In WAL mode NORMAL loses at most the last moments at a power cut, and never the file.
        db.pragma_update(None, "journal_mode", "WAL").map_err(wrong)?;
        db.pragma_update(None, "synchronous", "NORMAL").map_err(wrong)?;
        MIGRATIONS.to_latest(&mut db).map_err(|error| StoreError::of_migration(error, &path))?;
        let reader = join(data_dir, OpenFlags::SQLITE_OPEN_READ_ONLY)?.map(Mutex::new);
        Ok(Self { db: Mutex::new(db), reader, _lock: Some(lock) })
    }

    /// A store that is gone with the process: for tests, and for a demo that leaves no traces.
    ///
    /// # Errors
    /// [`StoreError`], when SQLite itself fails.
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = Path::new(":memory:");
        let mut db = Connection::open_in_memory().map_err(|error| StoreError::of(error, path))?;
        MIGRATIONS.to_latest(&mut db).map_err(|error| StoreError::of_migration(error, path))?;
        Ok(Self { db: Mutex::new(db), reader: None, _lock: None })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no half-done work behind: SQLite rolls an unfinished statement back.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.as_ref().unwrap_or(&self.db).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The database of a data folder as a process beside its daemon opens it; none when there is none.
fn join(data_dir: &Path, access: OpenFlags) -> Result<Option<Connection>, StoreError> {
    let path = data_dir.join(DATABASE);
    if !path.exists() {
        return Ok(None);
    }
    let wrong = |error| StoreError::of(error, &path);
    let db = Connection::open_with_flags(&path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(wrong)?;
    db.busy_timeout(BUSY).map_err(wrong)?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(wrong)?;
    match version.cmp(&VERSION) {
        std::cmp::Ordering::Less => Err(StoreError::Older(path)),
        std::cmp::Ordering::Greater => Err(StoreError::Newer(path)),
        std::cmp::Ordering::Equal => Ok(Some(db)),
    }
}

/// Whether a daemon has this data folder.
pub fn is_in_use(data_dir: &Path) -> bool {
    let lock = File::open(data_dir.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn path_of(db: &Connection) -> PathBuf {
    PathBuf::from(db.path().unwrap_or(DATABASE))
}

fn npub(bytes: [u8; 32]) -> String {
    let Ok(npub) = PublicKey::from_byte_array(bytes).to_bech32();
    npub
}

fn lock(data_dir: &Path) -> Result<File, StoreError> {
    let path = data_dir.join(LOCK);
    let refused = |error: std::io::Error| StoreError::Folder(path.clone(), error.kind());
    let file = private_options().write(true).create(true).truncate(false).open(&path).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}

fn private_options() -> OpenOptions {
    #[allow(unused_mut, reason = "only Unix has modes")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

fn make_private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// SQLite's integers are signed; no time or count of ours comes near the end of either.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_are_valid_and_counted() {
        MIGRATIONS.validate().unwrap();
        let store = Store::in_memory().unwrap();
        let version: i64 = store.db().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, VERSION);
    }
}
