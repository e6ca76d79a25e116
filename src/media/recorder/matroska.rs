//! A Matroska file (RFC 9559) as it grows: a head of fixed size that is written anew in place, clusters behind each other, and at the end an
//! index. Pure: it makes bytes, and says where they go.
//!
//! `matroskamux` is not used: it waits for a track that falls silent, cannot take one that comes late, and needs a thread for each.

use super::ebml::{element, float, id, long_size, long_uint, text, uint};
use super::format::sound_length;
use super::frame::{Codec, Format, Frame, Place};
use super::muxer::{Muxer, TrackEntry, main_of, pieces};
use crate::media::tap::Track;

/// Bytes before the first cluster: a page, which is written whole or not at all. It holds all tracks there can be.
pub(super) const HEAD: usize = 4096;
/// Nanoseconds of a tick: everything in the file is in milliseconds.
const TICK: u64 = 1_000_000;
/// Milliseconds between two entries of the index, at least.
const CUE_EVERY: u64 = 500;
/// A block's time is a signed number of 16 bits after its cluster's.
const MAX_SPAN: u64 = 0x7fff;
/// Milliseconds that the last picture is taken to be shown at most.
const MAX_STEP: u64 = 100;
/// A_MS/ACM's formats: `WAVE_FORMAT_MULAW` and `WAVE_FORMAT_ALAW`.
const MULAW: u16 = 7;
const ALAW: u16 = 6;

pub(super) mod ids {
    macro_rules! ids {
        ($($name:ident = $id:literal;)*) => { $(pub(in crate::media::recorder) const $name: u32 = $id;)* };
    }
    ids! {
        EBML = 0x1A45_DFA3;
        SEGMENT = 0x1853_8067;
        SEEK_HEAD = 0x114D_9B74;
        INFO = 0x1549_A966;
        DATE = 0x4461;
        WRITING_APP = 0x5741;
        TRACKS = 0x1654_AE6B;
        TRACK_ENTRY = 0xAE;
        TRACK_NUMBER = 0xD7;
        NAME = 0x536E;
        CODEC_ID = 0x86;
        CODEC_PRIVATE = 0x63A2;
        VIDEO = 0xE0;
        PIXEL_WIDTH = 0xB0;
        PIXEL_HEIGHT = 0xBA;
        AUDIO = 0xE1;
        SAMPLING_FREQUENCY = 0xB5;
        CHANNELS = 0x9F;
        CLUSTER = 0x1F43_B675;
        TIMESTAMP = 0xE7;
        SIMPLE_BLOCK = 0xA3;
        CUES = 0x1C53_BB6B;
        VOID = 0xEC;
    }
}

/// A file that grows.
#[derive(Debug)]
pub(super) struct Matroska {
    tracks: Vec<TrackEntry>,
    /// What time 0 of the file is, in nanoseconds of the system clock.
    start: u64,
    /// Nanoseconds since 2001, of the file's time 0.
    date: i64,
    cues: Vec<Cue>,
    /// Of each track: when its last frame is, and how long after the one before it; in ticks.
    ends: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Cue {
    time: u64,
    track: u64,
    /// In the file.
    cluster: u64,
}

/// What is known when the file is finished.
struct Finished {
    /// Bytes of the file.
    size: u64,
    cues_at: Option<u64>,
    length: u64,
}

impl Matroska {
    /// A file whose time 0 is `start`, in nanoseconds of the system clock, and `date` in nanoseconds since 2001.
    pub(super) fn new(start: u64, date: i64) -> Self {
        Self { tracks: Vec::new(), start, date, cues: Vec::new(), ends: Vec::new() }
    }

    fn number(&self, place: Place) -> Option<usize> {
        self.tracks.iter().position(|track| track.place == place)
    }

    fn cluster(&mut self, frames: &[Frame], at: u64, out: &mut Vec<u8>) {
        let Some(base) = frames.iter().map(|frame| self.ticks(frame)).min() else { return };
        let cluster = at + out.len() as u64;
        let mut body = Vec::with_capacity(frames.iter().map(|frame| frame.data.len() + 16).sum());
        uint(&mut body, ids::TIMESTAMP, base);
        for frame in frames {
            let Some(track) = self.number(frame.place) else { continue };
            let time = self.ticks(frame);
            let after = (time - base).min(MAX_SPAN) as i16;
            id(&mut body, ids::SIMPLE_BLOCK);
            super::ebml::size(&mut body, frame.data.len() as u64 + 4);
            body.push(0x81 + track as u8);
            body.extend_from_slice(&after.to_be_bytes());
            body.push(u8::from(frame.keyframe) << 7);
            body.extend_from_slice(&frame.data);
        }
        for (nth, frame) in frames.iter().enumerate() {
            let Some(track) = self.number(frame.place) else { continue };
            let cluster = (nth == 0).then_some(cluster);
            self.note(track, self.ticks(frame), frame.keyframe, cluster, &frame.data);
        }
        id(out, ids::CLUSTER);
        long_size(out, Some(body.len() as u64));
        out.extend_from_slice(&body);
    }

    fn ticks(&self, frame: &Frame) -> u64 {
        (frame.pts.saturating_sub(self.start) + TICK / 2) / TICK
    }

    /// Where the segment's first byte is, which positions in it count from.
    fn segment_at(&self) -> u64 {
        let mut out = ebml_header();
        id(&mut out, ids::SEGMENT);
        (out.len() + super::ebml::LONG_SIZE) as u64
    }

    fn head_with(&self, finished: Option<Finished>) -> Option<Vec<u8>> {
        let mut info = Vec::new();
        uint(&mut info, 0x2A_D7B1, TICK);
        text(&mut info, 0x4D80, "callgate");
        text(&mut info, ids::WRITING_APP, "callgate");
        element(&mut info, ids::DATE, &self.date.to_be_bytes());
        if let Some(finished) = &finished {
            float(&mut info, 0x4489, finished.length as f64);
        }
        let mut all = Vec::new();
        element(&mut all, ids::INFO, &info);
        let tracks_at = all.len();
        let mut tracks = Vec::new();
        for (number, track) in self.in_order() {
            element(&mut tracks, ids::TRACK_ENTRY, &self.entry(number, track));
        }
        element(&mut all, ids::TRACKS, &tracks);

        let mut out = ebml_header();
        id(&mut out, ids::SEGMENT);
        let segment_at = self.segment_at();
        long_size(&mut out, finished.as_ref().map(|finished| finished.size - segment_at));
        let cues_at = finished.as_ref().and_then(|finished| finished.cues_at);
        let seeks = |head: u64| {
            let mut seeks = Vec::new();
            let of = [(ids::INFO, Some(head)), (ids::TRACKS, Some(head + tracks_at as u64)), (ids::CUES, cues_at)];
            for (name, at) in of.into_iter().filter_map(|(name, at)| Some((name, at?))) {
                let mut seek = Vec::new();
                element(&mut seek, 0x53AB, &name.to_be_bytes());
                long_uint(&mut seek, 0x53AC, at);
                element(&mut seeks, 0x4DBB, &seek);
            }
            let mut out = Vec::new();
            element(&mut out, ids::SEEK_HEAD, &seeks);
            out
        };
        let length = seeks(0).len() as u64;
        out.extend(seeks(length));
        out.extend(all);
        // A void needs its id and its size.
        let rest = HEAD.checked_sub(out.len() + 9)?;
        id(&mut out, ids::VOID);
        long_size(&mut out, Some(rest as u64));
        out.resize(HEAD, 0);
        Some(out)
    }

    /// The tracks with their numbers, pictures first, whatever came first.
    fn in_order(&self) -> impl Iterator<Item = (u64, &TrackEntry)> {
        let mut all: Vec<(u64, &TrackEntry)> = (1..).zip(&self.tracks).collect();
        all.sort_by_key(|(_, track)| track.place.rank());
        all.into_iter()
    }

    fn entry(&self, number: u64, track: &TrackEntry) -> Vec<u8> {
        let TrackEntry { place, format } = track;
        let mut out = Vec::new();
        uint(&mut out, ids::TRACK_NUMBER, number);
        uint(&mut out, 0x73C5, number);
        uint(&mut out, 0x83, if place.kind == Track::Video { 1 } else { 2 });
        uint(&mut out, 0x9C, 0);
        // What plays when nobody chooses: the first of each kind.
        let first = self.in_order().find(|(_, other)| other.place.kind == place.kind);
        let default = first.is_some_and(|(first, _)| first == number);
        uint(&mut out, 0x88, u64::from(default));
        text(&mut out, ids::NAME, place.name());
        text(&mut out, 0x22_B59C, "und");
        text(&mut out, ids::CODEC_ID, codec_id(format.codec));
        match format.codec {
            Codec::Pcmu => element(&mut out, ids::CODEC_PRIVATE, &wave_format(MULAW, format)),
            Codec::Pcma => element(&mut out, ids::CODEC_PRIVATE, &wave_format(ALAW, format)),
            _ if format.private.is_empty() => {}
            _ => element(&mut out, ids::CODEC_PRIVATE, &format.private),
        }
        if format.codec == Codec::Opus {
            // RFC 9559, 5.1.4.1.26: what a decoder needs after a seek.
            uint(&mut out, 0x56AA, 0);
            uint(&mut out, 0x56BB, 80_000_000);
        }
        let mut of_kind = Vec::new();
        if place.kind == Track::Video {
            uint(&mut of_kind, ids::PIXEL_WIDTH, u64::from(format.width));
            uint(&mut of_kind, ids::PIXEL_HEIGHT, u64::from(format.height));
            element(&mut out, ids::VIDEO, &of_kind);
        } else {
            float(&mut of_kind, ids::SAMPLING_FREQUENCY, f64::from(format.rate));
            uint(&mut of_kind, ids::CHANNELS, u64::from(format.channels));
            element(&mut out, ids::AUDIO, &of_kind);
        }
        out
    }
}

impl Muxer for Matroska {
    fn add(&mut self, place: Place, format: &Format) -> bool {
        self.tracks.push(TrackEntry { place, format: format.clone() });
        self.ends.push((0, 0));
        let fits = self.head_with(None).is_some();
        if !fits {
            self.tracks.pop();
            self.ends.pop();
        }
        fits
    }

    fn head(&self) -> Vec<u8> {
        self.head_with(None).unwrap_or_default()
    }

    fn length(&self) -> u64 {
        self.ends.iter().map(|(last, step)| last + step).max().unwrap_or(0) * TICK
    }

    fn append(&mut self, frames: &[Frame], at: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(frames.iter().map(|frame| frame.data.len() + 16).sum::<usize>() + 64);
        for piece in pieces(frames, main_of(&self.tracks)) {
            self.cluster(piece, at, &mut out);
        }
        out
    }

    fn note(&mut self, track: usize, time: u64, keyframe: bool, piece: Option<u64>, data: &[u8]) {
        let (Some(entry), Some((last, step))) = (self.tracks.get(track), self.ends.get_mut(track)) else { return };
        if time > *last || entry.place.kind == Track::Audio {
            *step = match sound_length(&entry.format, data) / TICK {
                0 => time.saturating_sub(*last).min(MAX_STEP),
                length => length,
            };
            *last = time.max(*last);
        }
        if let Some(cluster) = piece.filter(|_| keyframe && main_of(&self.tracks) == Some(entry.place))
            && self.cues.last().is_none_or(|last| time >= last.time + CUE_EVERY)
        {
            self.cues.push(Cue { time, track: track as u64 + 1, cluster });
        }
    }

    fn finish(&self, at: u64) -> (Vec<u8>, Vec<u8>) {
        let segment_at = self.segment_at();
        let mut index = Vec::new();
        for cue in &self.cues {
            let (mut point, mut positions) = (Vec::new(), Vec::new());
            uint(&mut positions, 0xF7, cue.track);
            uint(&mut positions, 0xF1, cue.cluster - segment_at);
            uint(&mut point, 0xB3, cue.time);
            element(&mut point, 0xB7, &positions);
            element(&mut index, 0xBB, &point);
        }
        let mut tail = Vec::new();
        if !index.is_empty() {
            element(&mut tail, ids::CUES, &index);
        }
        let finished = Finished {
            size: at + tail.len() as u64,
            cues_at: (!index.is_empty()).then_some(at - segment_at),
            length: self.length() / TICK,
        };
        (tail, self.head_with(Some(finished)).unwrap_or_default())
    }
}

fn ebml_header() -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in [(0x4286, 1), (0x42F7, 1), (0x42F2, 4), (0x42F3, 8)] {
        uint(&mut body, name, value);
    }
    text(&mut body, 0x4282, "matroska");
    uint(&mut body, 0x4287, 4);
    uint(&mut body, 0x4285, 2);
    let mut out = Vec::new();
    element(&mut out, ids::EBML, &body);
    out
}

pub(super) fn codec_id(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "V_MPEG4/ISO/AVC",
        Codec::Vp8 => "V_VP8",
        Codec::Vp9 => "V_VP9",
        Codec::Opus => "A_OPUS",
        Codec::Pcmu | Codec::Pcma => "A_MS/ACM",
        Codec::Aac => "A_AAC",
    }
}

/// The codec of an id, with what tells two of the same id apart.
pub(super) fn codec_of(name: &[u8], private: &[u8]) -> Option<Codec> {
    let acm = || match private {
        [7, 0, ..] => Some(Codec::Pcmu),
        [6, 0, ..] => Some(Codec::Pcma),
        _ => None,
    };
    match name {
        b"V_MPEG4/ISO/AVC" => Some(Codec::H264),
        b"V_VP8" => Some(Codec::Vp8),
        b"V_VP9" => Some(Codec::Vp9),
        b"A_OPUS" => Some(Codec::Opus),
        b"A_MS/ACM" => acm(),
        b"A_AAC" => Some(Codec::Aac),
        _ => None,
    }
}

/// `WAVEFORMATEX` of a byte a sample.
fn wave_format(tag: u16, format: &Format) -> Vec<u8> {
    let channels = format.channels as u16;
    let mut out = Vec::with_capacity(18);
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&channels.to_le_bytes());
    out.extend_from_slice(&format.rate.to_le_bytes());
    out.extend_from_slice(&(format.rate * u32::from(channels)).to_le_bytes());
    out.extend_from_slice(&channels.to_le_bytes());
    out.extend_from_slice(&8_u16.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out
}
