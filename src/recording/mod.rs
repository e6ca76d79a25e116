//! What a recording is, without its media: where its file lies, what its sidecar says, what retention deletes, when the disk is too full.
//!
//! Pure. Names that come from outside (a session's, a caller's) end up in paths: [`Template::path`] is the one place that makes them safe.

mod path;
mod retention;
mod sidecar;
mod space;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use path::{DEFAULT_TEMPLATE, MAX_COMPONENT, Names, Template, TemplateError, another, media_file, part};
pub use path::{POSTER_ENDING, SIDECAR_ENDING, media_of, poster_of, sidecar_of};
pub use retention::{Candidate, Retention, to_delete};
pub use sidecar::{End, Kind, MAX_SIDECAR_BYTES, SIDECAR_VERSION, Side, Sidecar, Track, rfc3339, rfc3339_in};
pub use space::{MayRecord, may_go_on, may_start};

/// One recording, for as long as it is kept: the Unix time in milliseconds at which it was begun, or the next that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingId(pub u64);

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl FromStr for RecordingId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('r').unwrap_or(text).parse().map(Self)
    }
}

impl Serialize for RecordingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whose media is recorded in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    #[default]
    Off,
    /// What the caller sends.
    Caller,
    /// What the line plays.
    Line,
    Both,
}

impl Record {
    pub fn caller(self) -> bool {
        matches!(self, Self::Caller | Self::Both)
    }

    pub fn line(self) -> bool {
        matches!(self, Self::Line | Self::Both)
    }
}

/// The container of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Matroska.
    #[default]
    Mkv,
    /// Fragmented MP4.
    Mp4,
}

impl Format {
    /// The file name's ending, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mkv => "mkv",
            Self::Mp4 => "mp4",
        }
    }

    /// As HTTP calls it.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Mkv => "video/x-matroska",
            Self::Mp4 => "video/mp4",
        }
    }
}
