//! What the two kinds of file have in common: a head, pieces behind each other that are whole by themselves, an end. Pure.

use super::frame::{Format, Frame, Place};

/// Nanoseconds that a piece spans at most: what Matroska's blocks can say.
const MAX_SPAN: u64 = 15_000_000_000;

/// A track of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrackEntry {
    pub(super) place: Place,
    pub(super) format: Format,
}

/// A file that grows, as bytes.
pub(super) trait Muxer: Send + std::fmt::Debug {
    /// Adds a track; [`Muxer::head`] has to be written before its first frame. False when the head has no room for it.
    fn add(&mut self, place: Place, format: &Format) -> bool;
    /// The file's first bytes: always as many.
    fn head(&self) -> Vec<u8>;
    /// How long the file is, in nanoseconds.
    fn length(&self) -> u64;
    /// Frames, in the order of their times, as they will stand at byte `at`.
    fn append(&mut self, frames: &[Frame], at: u64) -> Vec<u8>;
    /// Takes note of a frame that is in the file already, for its index and its length; `time` is in milliseconds, `piece`: it is the first in
    /// the piece there.
    fn note(&mut self, track: usize, time: u64, keyframe: bool, piece: Option<u64>, data: &[u8]);
    /// What goes behind the last piece, which ends at byte `at`, and then over the head.
    fn finish(&self, at: u64) -> (Vec<u8>, Vec<u8>);
}

/// The track that the index is made of: video if there is any, of the line if it has any.
pub(super) fn main_of(tracks: &[TrackEntry]) -> Option<Place> {
    tracks.iter().map(|track| track.place).min_by_key(|place| place.rank())
}

/// Cuts frames so that a keyframe of `main` begins a piece: it is where the index points.
pub(super) fn pieces(frames: &[Frame], main: Option<Place>) -> impl Iterator<Item = &[Frame]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let first = rest.first()?.pts;
        let begins =
            |frame: &Frame| Some(frame.place) == main && frame.keyframe || frame.pts.abs_diff(first) > MAX_SPAN;
        let next = rest.iter().skip(1).position(begins);
        let (piece, after) = rest.split_at(next.map_or(rest.len(), |next| next + 1));
        rest = after;
        Some(piece)
    })
}
