//! Why the store cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Always the machine's or the operator's doing; never the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{} cannot be used: {}", .0.display(), .1)]
    Folder(PathBuf, io::ErrorKind),
    #[error("{} is in use by another callgate: stop it, or give this one a data_dir of its own", .0.display())]
    InUse(PathBuf),
    #[error("{} is damaged: move it away (its call log can perhaps be saved with `sqlite3 ... .recover`)", .0.display())]
    Damaged(PathBuf),
    #[error("{} was written by a newer callgate: use that one, or another data_dir", .0.display())]
    Newer(PathBuf),
    #[error("{} was written by an older callgate: start `callgate run` once to bring it up to date", .0.display())]
    Older(PathBuf),
    #[error("the disk of {} is full", .0.display())]
    DiskFull(PathBuf),
    #[error("{} cannot be opened or written: see its permissions and those of its folder", .0.display())]
    Denied(PathBuf),
    #[error("{}: SQLite: {}", .0.display(), .1)]
    Sqlite(PathBuf, String),
}

impl StoreError {
    pub(super) fn of(error: rusqlite::Error, path: &Path) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(path),
            Some(ErrorCode::DiskFull) => Self::DiskFull(path),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::Denied(path),
            _ => Self::Sqlite(path, error.to_string()),
        }
    }

    pub(super) fn of_migration(error: rusqlite_migration::Error, path: &Path) -> Self {
        use rusqlite_migration::{Error, MigrationDefinitionError};
        match error {
            Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => Self::Newer(path.to_owned()),
            Error::RusqliteError { err, .. } => Self::of(err, path),
            other => Self::Sqlite(path.to_owned(), other.to_string()),
        }
    }
}
