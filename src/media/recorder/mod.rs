//! Recordings: what a line and its caller send goes to files as it came, each side its own tracks, on one clock.
//!
//! The hub and the peer put what comes into a bounded queue (`inlet`) and never wait. A thread a recording (`writer`) makes frames of it
//! (`intake`), puts them in order and into files (`files`), which are whole at any moment: a kill costs what was not written yet.

mod boxes;
mod depay;
mod disk;
mod ebml;
mod export;
mod files;
mod finish;
mod format;
mod fragments;
mod frame;
mod inlet;
mod intake;
mod matroska;
mod muxer;
mod opus;
mod picture;
mod read;
mod read_mp4;
mod snapshot;
mod task;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use super::{CallId, LineName, SourceError};

pub use disk::DiskError;
pub use export::{ExportError, export};
pub use finish::{Finished, finish};
pub use frame::{Codec, RecordedTrack, Side};
pub(super) use inlet::{Inlet, Piece};
pub use picture::{PictureError, poster};
pub use read::ReadError;
pub use snapshot::SnapshotError;
pub(super) use snapshot::snapshot;
pub(super) use task::{Recording, begin};
pub(super) use writer::{Outcome, start_file};

/// One recording, for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingId(pub u64);

impl std::fmt::Display for RecordingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// Whose media is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sides {
    Line,
    Caller,
    Both,
}

impl Sides {
    pub fn line(self) -> bool {
        matches!(self, Self::Line | Self::Both)
    }

    pub fn caller(self) -> bool {
        matches!(self, Self::Caller | Self::Both)
    }
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Container {
    #[default]
    Matroska,
    /// MP4 in fragments.
    Mp4,
}

impl Container {
    /// What its files' names end in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Matroska => "mkv",
            Self::Mp4 => "mp4",
        }
    }
}

/// A recording to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSettings {
    pub id: RecordingId,
    pub line: LineName,
    /// The call whose caller is recorded, and with whose end the recording ends. Without one the recording holds the line's source open by itself.
    pub call: Option<CallId>,
    pub sides: Sides,
    /// The file without its extension, in a directory that is there. Nothing that is there is written over. Further files of the recording
    /// have a number: `path.mkv`, `path.2.mkv`, `path.3.mkv`.
    pub path: PathBuf,
    pub container: Container,
    /// After this long a new file begins, with the next keyframe. One begins too when a codec or a resolution changes.
    pub segment: Option<Duration>,
    pub max_length: Option<Duration>,
}

/// What happens to a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingNews {
    /// A file was begun, and its first media is in it; numbers count from 1. Tracks that come later are told by `Progress`.
    Started { number: u32, path: PathBuf, tracks: Vec<RecordedTrack> },
    /// About once a second: of the newest file.
    Progress { number: u32, bytes: u64, length: Duration, tracks: Vec<RecordedTrack> },
    /// A file is finished: it has its length and an index. Also told of the last, before `Ended`; a recording without media has an empty one.
    SegmentClosed { number: u32, path: PathBuf, bytes: u64, length: Duration, tracks: Vec<RecordedTrack> },
    /// The last. Always told, exactly once.
    Ended {
        why: RecordingEnd,
        files: u32,
        bytes: u64,
        length: Duration,
        /// Pictures and pieces of sound that are missing because the disk was too slow, or that could not be used.
        lost: u64,
    },
}

/// Why a recording ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingEnd {
    #[error("stopped")]
    Stopped,
    #[error("its call is over")]
    CallOver,
    #[error("its greatest length is reached")]
    MaxLength,
    /// The source could not be opened. One that goes away later leaves a gap: it is opened again.
    #[error("{0}")]
    Source(SourceError),
    #[error("{0}")]
    Disk(DiskError),
    #[error("media was shut down")]
    Shutdown,
}
