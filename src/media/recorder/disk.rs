//! The file on its disk: errors with a type, and what has to survive a power loss.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What is wrong with the disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No space left, or a quota is used up.
    #[error("the disk is full")]
    Full,
    #[error("the file system is read-only")]
    ReadOnly,
    /// The directory, the file or the file system went away.
    #[error("the directory is gone")]
    Gone,
    #[error("the directory may not be written to")]
    NotPermitted,
    #[error("there is such a file already")]
    Exists,
    /// Nothing was written for too long.
    #[error("the disk does not answer")]
    Stuck,
    /// Anything else, in the operating system's words.
    #[error("the disk failed: {0}")]
    Failed(String),
}

impl From<std::io::Error> for DiskError {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full,
            Some(libc::EROFS) => Self::ReadOnly,
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ENXIO) => Self::Gone,
            Some(libc::EACCES | libc::EPERM) => Self::NotPermitted,
            Some(libc::EEXIST) => Self::Exists,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Output {
    file: Arc<std::fs::File>,
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

impl Output {
    /// Makes the file. One that is there already is an error, unless it may be `replaced`.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn create(path: &Path, replaced: bool) -> Result<Self, DiskError> {
        let mut options = OpenOptions::new();
        options.write(true).read(true);
        if replaced {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let file = options.open(path)?;
        // So that nobody finishes it meanwhile. Some file systems know no locks.
        let _ = file.try_lock();
        Ok(Self { file: Arc::new(file), path: path.to_owned(), size: 0 })
    }

    /// Writes at the end. What a full disk took of it is taken back.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        if let Err(error) = self.file.write_all_at(bytes, self.size) {
            // Best effort: a torn end does no harm.
            let _ = self.file.set_len(self.size);
            return Err(error.into());
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Writes over what is there.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn patch(&self, bytes: &[u8], at: u64) -> Result<(), DiskError> {
        Ok(self.file.write_all_at(bytes, at)?)
    }

    /// Whether somebody has taken the file away.
    pub(super) fn is_gone(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        Ok(self.file.sync_data()?)
    }
}

/// Makes a new name in a directory survive a power loss. Some file systems cannot, which is no error.
pub(super) fn sync_directory_of(path: &Path) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(directory) = std::fs::File::open(directory) {
        let _ = directory.sync_all();
    }
}

/// Syncs files on a thread of its own: on a slow disk that takes seconds, and writing goes on meanwhile.
#[derive(Debug)]
pub(super) struct Syncing {
    files: SyncSender<Work>,
    failed: Arc<Mutex<Option<DiskError>>>,
}

enum Work {
    Data(Arc<std::fs::File>),
    Name(PathBuf),
}

impl Syncing {
    /// `None` when there is no thread to be had.
    pub(super) fn start() -> Option<Self> {
        let (files, taken) = sync_channel::<Work>(4);
        let failed = Arc::new(Mutex::new(None));
        let tell = failed.clone();
        let thread = move || {
            for work in taken {
                match work {
                    Work::Data(file) => {
                        if let Err(error) = file.sync_data() {
                            tell.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.into());
                        }
                    }
                    Work::Name(path) => sync_directory_of(&path),
                }
            }
        };
        std::thread::Builder::new().name("recording-sync".into()).spawn(thread).ok()?;
        Some(Self { files, failed })
    }

    /// Begins to bring what was written to the disk. One that is still at it is left to it.
    pub(super) fn begin(&self, output: &Output) {
        let _ = self.files.try_send(Work::Data(output.file.clone()));
    }

    /// The same for the file's name.
    pub(super) fn begin_name(&self, output: &Output) {
        let _ = self.files.try_send(Work::Name(output.path.clone()));
    }

    /// What went wrong since it was started.
    pub(super) fn failed(&self) -> Option<DiskError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_their_number() {
        let of = |number| DiskError::from(std::io::Error::from_raw_os_error(number));
        assert_eq!(of(libc::ENOSPC), DiskError::Full);
        assert_eq!(of(libc::EDQUOT), DiskError::Full);
        assert_eq!(of(libc::EROFS), DiskError::ReadOnly);
        assert_eq!(of(libc::ENOENT), DiskError::Gone);
        assert_eq!(of(libc::EACCES), DiskError::NotPermitted);
        assert!(matches!(of(libc::EIO), DiskError::Failed(_)));
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.mkv");
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(Output::create(&path, false).err(), Some(DiskError::Exists));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_file_whose_directory_is_taken_away_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.mkv");
        let mut output = Output::create(&path, false).unwrap();
        output.append(b"1").unwrap();
        assert!(!output.is_gone());
        drop(folder);
        assert!(output.is_gone());
    }
}
