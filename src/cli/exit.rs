//! How the process ends: exit codes after sysexits(3), and the words on stderr.

use std::fmt;
use std::process::ExitCode;

use crate::config::{ConfigErrors, KeyError};
use crate::store::StoreError;

/// What a command came to.
pub type Outcome = Result<Exit, Failure>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success = 0,
    /// The command did its work, and what it was asked to show is not so: no media flowed.
    Failed = 1,
    /// `check` found mistakes.
    CheckFailed = 2,
    /// `ring`: whoever was called does not want to answer.
    Refused = 3,
    /// `ring`: whoever was called has another call.
    Busy = 4,
    /// `ring`: nobody answered.
    NoAnswer = 5,
    Usage = 64,
    NoInput = 66,
    Unavailable = 69,
    Software = 70,
    CannotCreate = 73,
    IoError = 74,
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: Display is what the person is told.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// A failure that is told in these words.
    pub fn words(exit: Exit, words: impl fmt::Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{words}") }
    }

    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole chain on one line.
        write!(f, "{:#}", self.error)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(Exit::Config, errors)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let exit = match error {
            KeyError::Exists(_) | KeyError::Unwritable(..) => Exit::CannotCreate,
            _ => Exit::NoInput,
        };
        Self::new(exit, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::Folder(..) | StoreError::InUse(_) | StoreError::Newer(_) | StoreError::Older(_) => Exit::Config,
            StoreError::Denied(_) => Exit::Config,
            StoreError::Damaged(_) | StoreError::DiskFull(_) | StoreError::Sqlite(..) => Exit::IoError,
        };
        Self::new(exit, error)
    }
}
