//! RTP payloads, made once for all taps.

use std::sync::Arc;

use gst::ClockTime;

use super::gop::Picture;
use super::h264::{self, MAX_PAYLOAD};
use super::vpx;
use crate::endpoint::{AudioCodec, VideoCodec};
use crate::sdp::{AudioPlan, VideoPlan};

/// Hz, whatever the codec (RFC 6184, section 8.2.1; RFC 7741, section 4.1; RFC 9628, section 4.1).
pub(super) const VIDEO_CLOCK: u32 = 90_000;

/// One access unit or audio frame as RTP payloads; only header fields differ from tap to tap.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) flow: Flow,
    /// The system clock's time.
    pub(super) pts: ClockTime,
    /// RTP time on the hub's own scale; each tap adds an offset of its own.
    pub(super) rtp_time: u32,
    pub(super) keyframe: bool,
    /// None of what goes into the transcoder only.
    pub(super) payloads: Vec<Payload>,
    pub(super) bytes: usize,
    /// The picture that the payloads are made of, for the transcoder.
    pub(super) picture: Option<gst::Memory>,
}

/// What a unit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// The source's own video.
    Video(VideoFormat),
    /// H.264, made here.
    Remade,
    /// The source's own audio.
    Native(AudioFormat),
    /// Opus, encoded here.
    Transcoded,
}

/// Video that goes into RTP as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VideoFormat {
    /// As a byte stream (Annex B), an access unit a buffer.
    H264,
    /// A frame a buffer.
    Vp8,
    /// A superframe a buffer: what is shown, with what is not shown before it.
    Vp9,
    /// Whatever else: it goes nowhere but into the transcoder.
    Other,
}

impl VideoFormat {
    pub(super) fn of(codec: &VideoCodec) -> VideoFormat {
        match codec {
            VideoCodec::H264 => VideoFormat::H264,
            VideoCodec::Vp8 => VideoFormat::Vp8,
            VideoCodec::Vp9 => VideoFormat::Vp9,
            VideoCodec::Other(_) => VideoFormat::Other,
        }
    }

    /// What its buffers may be.
    pub(super) fn caps(self) -> gst::Caps {
        match self {
            VideoFormat::Other => gst::Caps::new_any(),
            VideoFormat::H264 => gst::Caps::builder("video/x-h264")
                .field("stream-format", "byte-stream")
                .field("alignment", "au")
                .build(),
            VideoFormat::Vp8 => gst::Caps::new_empty_simple("video/x-vp8"),
            VideoFormat::Vp9 => gst::Caps::new_empty_simple("video/x-vp9"),
        }
    }
}

/// Audio that goes into RTP as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AudioFormat {
    Pcmu,
    Pcma,
    Opus,
}

impl AudioFormat {
    pub(super) fn of(codec: &AudioCodec) -> Option<AudioFormat> {
        match codec {
            AudioCodec::Pcmu => Some(AudioFormat::Pcmu),
            AudioCodec::Pcma => Some(AudioFormat::Pcma),
            AudioCodec::Opus => Some(AudioFormat::Opus),
            AudioCodec::Other(_) => None,
        }
    }

    /// Hz of its RTP clock (RFC 3551, RFC 7587).
    pub(super) fn clock(self) -> u32 {
        match self {
            AudioFormat::Pcmu | AudioFormat::Pcma => 8_000,
            AudioFormat::Opus => 48_000,
        }
    }
}

impl Flow {
    /// Whether a tap with this video plan takes units of this flow.
    pub(super) fn is_video_for(self, plan: VideoPlan) -> bool {
        matches!(
            (self, plan),
            (Flow::Video(VideoFormat::H264), VideoPlan::PassH264)
                | (Flow::Video(VideoFormat::Vp8), VideoPlan::PassVp8)
                | (Flow::Video(VideoFormat::Vp9), VideoPlan::PassVp9)
                | (Flow::Remade, VideoPlan::ToH264)
        )
    }

    /// Whether a tap with this audio plan takes units of this flow.
    pub(super) fn is_for(self, plan: AudioPlan) -> bool {
        matches!(
            (self, plan),
            (Flow::Native(AudioFormat::Pcmu), AudioPlan::PassPcmu)
                | (Flow::Native(AudioFormat::Pcma), AudioPlan::PassPcma)
                | (Flow::Native(AudioFormat::Opus), AudioPlan::PassOpus)
                | (Flow::Transcoded, AudioPlan::ToOpus)
        )
    }
}

/// The payload of one packet: a few bytes of its own, then memory shared with the unit and all taps.
#[derive(Debug)]
pub(super) struct Payload {
    head: Head,
    pub(super) body: gst::Memory,
}

/// The bytes of a payload that are not the frame's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    bytes: [u8; Head::MAX],
    len: usize,
}

impl Head {
    /// A descriptor of VP9 with its scalability structure.
    const MAX: usize = 9;

    /// At most [`Head::MAX`] bytes; what is beyond is left out.
    pub(super) fn new(bytes: &[u8]) -> Head {
        let mut head = Head { len: bytes.len().min(Head::MAX), ..Head::default() };
        head.bytes[..head.len].copy_from_slice(&bytes[..head.len]);
        head
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Payload {
    fn whole(body: gst::Memory) -> Payload {
        Payload { head: Head::default(), body }
    }

    pub(super) fn head(&self) -> &[u8] {
        self.head.bytes()
    }

    pub(super) fn len(&self) -> usize {
        self.head.len + self.body.size()
    }
}

impl Picture for Unit {
    fn keyframe(&self) -> bool {
        self.keyframe
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn pts(&self) -> ClockTime {
        self.pts
    }
}

/// `time` in ticks of an RTP clock; the clock counts from the machine's start, so 64 bits never overflow.
pub(super) fn ticks(time: ClockTime, clock: u32) -> u64 {
    (u128::from(time.nseconds()) * u128::from(clock) / 1_000_000_000) as u64
}

/// An access unit of H.264, already complete, as payloads. `None` when the memory cannot be read or holds no NAL unit.
pub(super) fn h264_unit(memory: &gst::Memory, flow: Flow, keyframe: bool, pts: ClockTime) -> Option<Arc<Unit>> {
    let map = memory.map_readable().ok()?;
    let payloads: Vec<Payload> = h264::packets(&map, MAX_PAYLOAD)
        .into_iter()
        .map(|packet| match packet {
            h264::Packet::Single(nal) => Payload::whole(memory.share(nal)),
            h264::Packet::Aggregate(bytes) => Payload::whole(gst::Memory::from_slice(bytes)),
            h264::Packet::Fragment { head, part } => Payload { head: Head::new(&head), body: memory.share(part) },
        })
        .collect();
    video_unit(memory, flow, keyframe, pts, payloads)
}

/// A frame of VP8 or VP9 as payloads. `None` when it is empty.
pub(super) fn vpx_unit(frame: &vpx::Frame, memory: &gst::Memory, pts: ClockTime) -> Option<Arc<Unit>> {
    let packets = frame.packets(memory.size(), MAX_PAYLOAD).into_iter();
    let payloads = packets.map(|(head, part)| Payload { head, body: memory.share(part) }).collect();
    let format = match frame.codec {
        vpx::Codec::Vp8 => VideoFormat::Vp8,
        vpx::Codec::Vp9 => VideoFormat::Vp9,
    };
    video_unit(memory, Flow::Video(format), frame.keyframe, pts, payloads)
}

fn video_unit(
    memory: &gst::Memory,
    flow: Flow,
    keyframe: bool,
    pts: ClockTime,
    payloads: Vec<Payload>,
) -> Option<Arc<Unit>> {
    let bytes = payloads.iter().map(Payload::len).sum();
    let rtp_time = ticks(pts, VIDEO_CLOCK) as u32;
    let picture = Some(memory.clone());
    (!payloads.is_empty()).then(|| Arc::new(Unit { flow, pts, rtp_time, keyframe, payloads, bytes, picture }))
}

/// A picture that goes into the transcoder only.
pub(super) fn other_unit(memory: gst::Memory, keyframe: bool, pts: ClockTime) -> Arc<Unit> {
    Arc::new(Unit {
        flow: Flow::Video(VideoFormat::Other),
        pts,
        rtp_time: 0,
        keyframe,
        payloads: Vec::new(),
        bytes: memory.size(),
        picture: Some(memory),
    })
}

/// The RTP time of an audio flow. Receivers conceal every gap, even of one sample, so frames follow each other without one
/// as long as the clock roughly agrees.
#[derive(Debug, Default)]
pub(super) struct AudioClock {
    next: Option<u64>,
}

/// How early an audio flow's own count of samples may be against the clock, and how late, before it is set anew: what people
/// do not notice between lips and voice (ITU-R BT.1359 has 45 ms and 125 ms). The clock itself is often that much off while a
/// source starts and its jitter is not known yet.
const MAX_EARLY_MS: u64 = 40;
const MAX_LATE_MS: u64 = 120;

impl AudioClock {
    /// The RTP time of a frame of `duration` ticks that was captured at `pts`; `gap` when frames before it are missing.
    fn stamp(&mut self, pts: ClockTime, clock: u32, duration: u64, gap: bool) -> u64 {
        let captured = ticks(pts, clock);
        let limit = |ms| u64::from(clock) * ms / 1000;
        let follows = |next: u64| {
            let early = if gap { 0 } else { limit(MAX_EARLY_MS) };
            captured <= next + early && next <= captured + limit(MAX_LATE_MS)
        };
        let at = self.next.filter(|next| follows(*next)).unwrap_or(captured);
        self.next = Some(at + duration);
        at
    }
}

/// A buffer of encoded audio as units, each one packet: Opus as it is (RFC 7587), G.711 split where it is longer than a packet.
pub(super) fn audio_units(
    buffer: &gst::BufferRef,
    flow: Flow,
    format: AudioFormat,
    pts: ClockTime,
    clock: &mut AudioClock,
) -> Vec<Arc<Unit>> {
    let Some(memory) = buffer.all_memory() else { return Vec::new() };
    let gap = buffer.flags().contains(gst::BufferFlags::DISCONT);
    let size = memory.size();
    let part = match format {
        AudioFormat::Opus => size,
        AudioFormat::Pcmu | AudioFormat::Pcma => MAX_PAYLOAD,
    };
    let mut units = Vec::new();
    let mut at = 0;
    while at < size {
        let end = size.min(at + part);
        let body = memory.share(at..end);
        let duration = match format {
            AudioFormat::Pcmu | AudioFormat::Pcma => (end - at) as u64,
            AudioFormat::Opus => body.map_readable().map_or(0, |packet| opus_duration(&packet)),
        };
        // 8 kHz, one byte a sample: 125 us each.
        let pts = pts + ClockTime::from_useconds(125 * at as u64);
        let rtp_time = clock.stamp(pts, format.clock(), duration, gap && at == 0) as u32;
        units.push(Arc::new(Unit {
            flow,
            pts,
            rtp_time,
            keyframe: true,
            payloads: vec![Payload::whole(body)],
            bytes: end - at,
            picture: None,
        }));
        at = end;
    }
    units
}

/// Ticks at 48 kHz of an Opus packet, from its first bytes (RFC 6716, section 3.1).
pub(in crate::media) fn opus_duration(packet: &[u8]) -> u64 {
    let Some(&toc) = packet.first() else { return 0 };
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |count| u64::from(count & 0x3f)),
    };
    frame * frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_packets_last_what_their_first_bytes_say() {
        assert_eq!(opus_duration(&[0b0000_1000]), 960, "SILK, 20 ms");
        assert_eq!(opus_duration(&[0b1111_1000]), 960, "CELT, 20 ms");
        assert_eq!(opus_duration(&[0b1111_1001]), 1920, "two frames");
        assert_eq!(opus_duration(&[0b1110_0011, 4]), 480, "four frames of 2.5 ms");
        assert_eq!(opus_duration(&[]), 0);
    }

    #[test]
    fn audio_time_has_no_gap_while_the_clock_jitters_and_follows_the_clock_when_it_jumps() {
        let mut clock = AudioClock::default();
        let ms = ClockTime::from_mseconds;
        assert_eq!(clock.stamp(ms(1000), 8000, 160, false), 8000);
        assert_eq!(clock.stamp(ms(1023), 8000, 160, false), 8160);
        assert_eq!(clock.stamp(ms(1037), 8000, 160, false), 8320);
        assert_eq!(clock.stamp(ms(3000), 8000, 160, false), 24000);
        assert_eq!(clock.stamp(ms(3020), 8000, 160, false), 24160);
        assert_eq!(clock.stamp(ms(2960), 8000, 160, false), 24320, "80 ms late");
        assert_eq!(clock.stamp(ms(2900), 8000, 160, false), 23200, "160 ms late");
    }

    #[test]
    fn a_lost_frame_leaves_its_place_in_time() {
        let mut clock = AudioClock::default();
        let ms = ClockTime::from_mseconds;
        assert_eq!(clock.stamp(ms(1000), 8000, 160, true), 8000);
        assert_eq!(clock.stamp(ms(1040), 8000, 160, true), 8320);
        assert_eq!(clock.stamp(ms(1059), 8000, 160, true), 8480, "not backwards");
    }
}
