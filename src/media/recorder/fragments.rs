//! A fragmented MP4 file (ISO 14496-12) as it grows: a head of fixed size that is written anew in place, and fragments behind each other; at the
//! end an index goes into room that the head has kept for it. Pure.

use super::boxes::{self, MOVIE_SCALE, TrackBox, boxed, decode_times, full, scale, trak, units, words};
use super::format::sound_length;
use super::frame::{Format, Frame, Place};
use super::muxer::{Muxer, TrackEntry, main_of, pieces};
use crate::media::tap::Track;

/// Bytes before the first fragment: a page for the tracks, which is written whole or not at all, and one for the index.
pub(super) const HEAD: usize = 2 * PAGE;
pub(super) const PAGE: usize = 4096;
/// Entries of the index that its page has room for.
const MAX_POINTS: usize = 330;
const MILLISECOND: u64 = 1_000_000;
/// Milliseconds that the last picture is taken to be shown.
const PICTURE: u64 = 40;
/// `sample_is_non_sync_sample` with `sample_depends_on` 1; `sample_depends_on` 2.
const DEPENDS: u32 = 0x0101_0000;
const KEYFRAME: u32 = 0x0200_0000;

/// A file that grows.
#[derive(Debug)]
pub(super) struct Fragments {
    tracks: Vec<TrackEntry>,
    /// What time 0 of the file is, in nanoseconds of the system clock.
    start: u64,
    /// Nanoseconds since 2001, of the file's time 0.
    date: i64,
    sequence: u32,
    /// Of each track: when its next sample is decoded at the earliest, in its scale.
    next: Vec<u64>,
    /// In milliseconds.
    end: u64,
    /// Fragments that begin with a keyframe: when, in milliseconds, and where.
    points: Vec<(u64, u64)>,
}

impl Fragments {
    pub(super) fn new(start: u64, date: i64) -> Self {
        Self { tracks: Vec::new(), start, date, sequence: 0, next: Vec::new(), end: 0, points: Vec::new() }
    }

    fn since_start(&self, frame: &Frame) -> u64 {
        frame.pts.saturating_sub(self.start)
    }

    fn fragment(&mut self, frames: &[Frame], at: u64, out: &mut Vec<u8>) {
        let here = at + out.len() as u64;
        self.sequence += 1;
        let mut runs = Vec::new();
        for track in 0..self.tracks.len() {
            let of_track: Vec<&Frame> = frames.iter().filter(|frame| frame.place == self.tracks[track].place).collect();
            if !of_track.is_empty() {
                runs.push(self.run(track, of_track));
            }
        }
        let moof = |first: u32| {
            let mut out = Vec::new();
            let mut data = first;
            boxed(&mut out, b"moof", |out| {
                full(out, b"mfhd", 0, 0, |out| words(out, &[self.sequence]));
                for run in &runs {
                    run.write(out, data);
                    data += run.frames.iter().map(|frame| frame.data.len() as u32).sum::<u32>();
                }
            });
            out
        };
        let size = moof(0).len() as u32;
        out.extend(moof(size + 8));
        boxed(out, b"mdat", |out| {
            runs.iter().flat_map(|run| &run.frames).for_each(|frame| out.extend_from_slice(&frame.data))
        });
        for (nth, frame) in frames.iter().enumerate() {
            let Some(track) = self.tracks.iter().position(|track| track.place == frame.place) else { continue };
            let time = self.since_start(frame) / MILLISECOND;
            self.note(track, time, frame.keyframe, (nth == 0).then_some(here), &frame.data);
        }
    }

    fn run<'a>(&mut self, track: usize, frames: Vec<&'a Frame>) -> Run<'a> {
        let scale = scale(&self.tracks[track].format);
        let shown: Vec<u64> = frames.iter().map(|frame| units(self.since_start(frame), scale)).collect();
        // What was decoded before must not reach into this.
        let decoded: Vec<u64> = decode_times(&shown)
            .into_iter()
            .map(|time| {
                let time = time.max(self.next[track]);
                self.next[track] = time + 1;
                time
            })
            .collect();
        let last = frames.last().map_or(0, |frame| match sound_length(&frame.format, &frame.data) {
            0 => units(PICTURE * MILLISECOND, scale),
            length => units(length, scale),
        });
        Run { number: track as u32 + 1, frames, shown, decoded, last }
    }

    fn head_with(&self, finished_at: Option<u64>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(HEAD);
        boxes::ftyp(&mut out);
        let mut order: Vec<(u32, &TrackEntry)> = (1..).zip(&self.tracks).collect();
        order.sort_by_key(|(_, track)| track.place.rank());
        boxed(&mut out, b"moov", |out| {
            boxes::mvhd(out, self.date, 0, self.tracks.len() as u32 + 1);
            for (number, TrackEntry { place, format }) in &order {
                let (place, number) = (*place, *number);
                let track = TrackBox { number, place, format, date: self.date, length: 0, media_length: 0, delay: 0 };
                trak(out, &track, |out| {
                    for (kind, empty) in [(b"stts", 1), (b"stsc", 1), (b"stsz", 2), (b"stco", 1)] {
                        full(out, kind, 0, 0, |out| words(out, &[0, 0][..empty]));
                    }
                });
            }
            boxed(out, b"mvex", |out| {
                if finished_at.is_some() {
                    full(out, b"mehd", 0, 0, |out| words(out, &[self.end as u32]));
                }
                for (number, _) in &order {
                    full(out, b"trex", 0, 0, |out| words(out, &[*number, 1, 0, 0, 0]));
                }
            });
        });
        free(&mut out, PAGE)?;
        if let Some(end) = finished_at {
            self.index(end, &mut out);
        }
        free(&mut out, HEAD)?;
        Some(out)
    }

    /// The index: where the fragments are that begin with keyframes, or every so many of them.
    fn index(&self, end: u64, out: &mut Vec<u8>) {
        // The track's times begin with its own first.
        let begin = self.points.first().map_or(0, |(time, _)| *time);
        let mut points = vec![(begin, HEAD as u64)];
        points.extend(self.points.iter().filter(|(_, at)| *at > HEAD as u64));
        let points: Vec<(u64, u64)> = points.iter().step_by(points.len().div_ceil(MAX_POINTS)).copied().collect();
        let main = main_of(&self.tracks).and_then(|main| self.tracks.iter().position(|track| track.place == main));
        let main = main.unwrap_or(0);
        // Of the track that it is about: players take its times for the track's.
        let scale = self.tracks.get(main).map_or(MOVIE_SCALE, |track| scale(&track.format));
        let in_scale = |time: u64| units(time * MILLISECOND, scale) as u32;
        let size = 12 + 28 + 12 * points.len();
        full(out, b"sidx", 1, 0, |out| {
            words(out, &[main as u32 + 1, scale, 0, in_scale(begin)]);
            // From here to the first fragment.
            words(out, &[0, (PAGE - size) as u32, points.len() as u32]);
            for (nth, (time, at)) in points.iter().enumerate() {
                let (until, next) = points.get(nth + 1).copied().unwrap_or((self.end, end));
                words(out, &[(next - at) as u32, in_scale(until) - in_scale(*time), 0x9000_0000]);
            }
        });
    }
}

/// Fills up to `size` with nothing.
fn free(out: &mut Vec<u8>, size: usize) -> Option<()> {
    let rest = size.checked_sub(out.len() + 8)?;
    boxed(out, b"free", |out| out.resize(out.len() + rest, 0));
    Some(())
}

/// A track's part of a fragment.
struct Run<'a> {
    number: u32,
    frames: Vec<&'a Frame>,
    shown: Vec<u64>,
    decoded: Vec<u64>,
    last: u64,
}

impl Run<'_> {
    /// `data`: where its samples are, from the fragment's beginning.
    fn write(&self, out: &mut Vec<u8>, data: u32) {
        boxed(out, b"traf", |out| {
            // Positions count from the fragment.
            full(out, b"tfhd", 0, 0x02_0000, |out| words(out, &[self.number]));
            let first = self.decoded.first().copied().unwrap_or(0);
            full(out, b"tfdt", 1, 0, |out| words(out, &[(first >> 32) as u32, first as u32]));
            full(out, b"trun", 1, 0x0f01, |out| {
                words(out, &[self.frames.len() as u32, data]);
                for (nth, frame) in self.frames.iter().enumerate() {
                    let duration = self.decoded.get(nth + 1).map_or(self.last, |next| next - self.decoded[nth]);
                    let later = (self.shown[nth] as i64 - self.decoded[nth] as i64) as i32;
                    let flags = if frame.keyframe { KEYFRAME } else { DEPENDS };
                    words(out, &[duration as u32, frame.data.len() as u32, flags, later.cast_unsigned()]);
                }
            });
        });
    }
}

impl Muxer for Fragments {
    fn add(&mut self, place: Place, format: &Format) -> bool {
        self.tracks.push(TrackEntry { place, format: format.clone() });
        self.next.push(0);
        let fits = self.head_with(None).is_some();
        if !fits {
            self.tracks.pop();
            self.next.pop();
        }
        fits
    }

    fn head(&self) -> Vec<u8> {
        self.head_with(None).unwrap_or_default()
    }

    fn length(&self) -> u64 {
        self.end * MILLISECOND
    }

    fn append(&mut self, frames: &[Frame], at: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(frames.iter().map(|frame| frame.data.len() + 16).sum::<usize>() + 1024);
        for piece in pieces(frames, main_of(&self.tracks)) {
            self.fragment(piece, at, &mut out);
        }
        out
    }

    fn note(&mut self, track: usize, time: u64, keyframe: bool, piece: Option<u64>, data: &[u8]) {
        let Some(entry) = self.tracks.get(track) else { return };
        let length = match entry.place.kind {
            Track::Audio => sound_length(&entry.format, data) / MILLISECOND,
            Track::Video => PICTURE,
        };
        self.end = self.end.max(time + length);
        if let Some(at) = piece.filter(|_| keyframe && main_of(&self.tracks) == Some(entry.place)) {
            self.points.push((time, at));
        }
    }

    fn finish(&self, at: u64) -> (Vec<u8>, Vec<u8>) {
        (Vec::new(), self.head_with(Some(at)).unwrap_or_default())
    }
}
