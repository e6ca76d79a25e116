//! What a line connects to: endpoint addresses, and what streams an endpoint turned out to have.
//!
//! Pure. An endpoint's address may hold a password: `Debug` and `Display` show it redacted.

mod address;
mod programme;

pub use address::{Endpoint, EndpointError, RtspTransport, TestPattern};
pub use programme::{After, Programme, Start};

/// What an endpoint sends, known once it is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streams {
    pub video: Option<VideoStream>,
    pub audio: Option<AudioStream>,
}

/// A video stream as the endpoint sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoStream {
    pub codec: VideoCodec,
    /// H.264: profile_idc, constraint flags, level_idc, from its SPS.
    pub profile_level_id: Option<[u8; 3]>,
    pub width: u32,
    pub height: u32,
    /// H.264: pictures come in another order than they are shown (B pictures), which browsers do not put right.
    pub reordered: bool,
    /// H.264 that everybody takes can be made of it here.
    pub to_h264: bool,
}

/// An audio stream as the endpoint sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioStream {
    pub codec: AudioCodec,
    /// Hz.
    pub rate: u32,
    pub channels: u32,
}

/// What a source's video is; `Other` names what callgate does not pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoCodec {
    H264,
    Vp8,
    /// Of profile 0, the one that every browser takes.
    Vp9,
    /// Anything else, to be made H.264 where it can be decoded: its readable name.
    Other(String),
}

impl VideoCodec {
    /// Its name for people.
    pub fn name(&self) -> &str {
        match self {
            Self::H264 => "H.264",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Other(name) => name,
        }
    }
}

/// What a source's audio is; `Other` names what has to be transcoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioCodec {
    Pcmu,
    Pcma,
    Opus,
    /// Anything else that can be decoded, to be transcoded to Opus: its readable name.
    Other(String),
}

impl AudioCodec {
    /// Its name for people.
    pub fn name(&self) -> &str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::Opus => "Opus",
            Self::Other(name) => name,
        }
    }
}
