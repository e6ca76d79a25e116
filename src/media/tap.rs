//! The seam between a hub and those who take its packets.

use super::TrackStats;
use crate::sdp::{AudioPlan, VideoPlan};

/// Which of a tap's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Track {
    Video,
    Audio,
}

/// Where a tap's packets go. Called from the tap's own thread only; it may block, which costs this tap alone.
///
/// Each list holds RTP packets in order, at most one frame's worth. Their PTS is the system clock's time (all pipelines: system
/// clock, start-time none, base-time 0). Payload memory is shared with other taps: a sink that writes must make it writable first.
pub trait PacketSink: Send + 'static {
    /// Takes packets of one track.
    ///
    /// # Errors
    /// [`SinkGone`] when nothing will ever be taken again; the tap then ends.
    fn push(&mut self, track: Track, packets: gst::BufferList) -> Result<(), SinkGone>;
}

/// A sink that will take nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet sink is gone")]
pub struct SinkGone;

/// The RTP header fields (RFC 3550, section 5.1) that belong to one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpFields {
    pub payload_type: u8,
    pub ssrc: u32,
}

/// What a tap takes from its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapSettings {
    pub video: Option<(RtpFields, VideoPlan)>,
    pub audio: Option<(RtpFields, AudioPlan)>,
}

/// What went through a tap so far. `lost` of its tracks is always 0: only the receiver knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TapStats {
    pub video: TrackStats,
    pub audio: TrackStats,
    /// Video frames that were dropped because the sink was too slow.
    pub frames_skipped: u64,
}
