//! What a recording is made of: frames of tracks. Pure.

use std::sync::Arc;

use crate::media::tap::Track;

/// Whose media it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    Line,
    Caller,
}

/// What a track is encoded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    H264,
    Vp8,
    Vp9,
    Opus,
    Pcmu,
    Pcma,
    Aac,
}

impl Codec {
    /// Its readable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Opus => "Opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::Aac => "AAC",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A track of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordedTrack {
    pub side: Side,
    pub kind: Track,
    pub codec: Codec,
}

/// A track's place: each side has at most one of each kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::media) struct Place {
    pub(in crate::media) side: Side,
    pub(in crate::media) kind: Track,
}

impl Place {
    /// Its place among the tracks: pictures first, and then the line's.
    pub(super) fn rank(self) -> (bool, Side) {
        (self.kind == Track::Audio, self.side)
    }

    /// The track's name in the file.
    pub(super) fn name(self) -> &'static str {
        match (self.side, self.kind) {
            (Side::Line, Track::Video) => "line video",
            (Side::Line, Track::Audio) => "line audio",
            (Side::Caller, Track::Video) => "caller video",
            (Side::Caller, Track::Audio) => "caller audio",
        }
    }

    /// The place that a track of this name has.
    pub(super) fn of(name: &str) -> Option<Self> {
        let all = [
            (Side::Line, Track::Video),
            (Side::Line, Track::Audio),
            (Side::Caller, Track::Video),
            (Side::Caller, Track::Audio),
        ];
        all.into_iter().map(|(side, kind)| Self { side, kind }).find(|place| place.name() == name)
    }
}

/// What a decoder has to be told before the first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::media) struct Format {
    pub(in crate::media) codec: Codec,
    /// What stands in the file's head for this codec: for H.264 the `avcC` record (ISO 14496-15), for Opus the `OpusHead` (RFC 7845), for AAC
    /// the AudioSpecificConfig; else nothing.
    pub(in crate::media) private: Vec<u8>,
    pub(in crate::media) width: u32,
    pub(in crate::media) height: u32,
    /// Hz.
    pub(in crate::media) rate: u32,
    pub(in crate::media) channels: u32,
}

/// A picture or a piece of sound, as it goes into the file.
#[derive(Debug, Clone)]
pub(in crate::media) struct Frame {
    pub(in crate::media) place: Place,
    pub(in crate::media) format: Arc<Format>,
    /// The system clock's time, in nanoseconds.
    pub(in crate::media) pts: u64,
    /// It can be decoded without any other.
    pub(in crate::media) keyframe: bool,
    /// H.264: NAL units, each behind its length in 4 bytes.
    pub(in crate::media) data: Vec<u8>,
}
