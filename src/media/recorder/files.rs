//! The files of a recording: which frame goes into which.
//!
//! A new file begins where its first picture is a keyframe. With several videos each goes over at its own keyframe, and until then into the
//! file before; so no picture is lost, and each file can be decoded by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Container;
use super::disk::{DiskError, Output, Syncing};
use super::fragments::Fragments;
use super::frame::{Frame, Place, RecordedTrack, Side};
use super::matroska::Matroska;
use super::muxer::Muxer;
use crate::media::tap::Track;

/// Nanoseconds that a file lasts before a changed codec or resolution begins another; whoever changes it all the time must not fill the directory.
const CHANGE_AFTER: u64 = 10_000_000_000;
/// Nanoseconds that the file before waits for another video's keyframe.
const LAG: u64 = 30_000_000_000;

/// Where files go.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The first file.
    pub(super) first: PathBuf,
    pub(super) container: Container,
    /// It may be there already.
    pub(super) replaced: bool,
}

impl Names {
    /// `call.mkv`, `call.2.mkv`, `call.3.mkv`...
    fn of(&self, number: u32) -> PathBuf {
        if number == 1 {
            return self.first.clone();
        }
        match self.first.extension() {
            Some(extension) => self.first.with_extension(format!("{number}.{}", extension.to_string_lossy())),
            None => self.first.with_extension(number.to_string()),
        }
    }
}

/// A file that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Nanoseconds.
    pub(super) length: u64,
    pub(super) tracks: Vec<RecordedTrack>,
}

#[derive(Debug)]
struct Growing {
    number: u32,
    container: Container,
    output: Output,
    /// There since the first frame.
    muxer: Option<Box<dyn Muxer>>,
    /// Nanoseconds of the system clock.
    start: u64,
    tracks: Vec<(Place, std::sync::Arc<super::frame::Format>)>,
    waiting: Vec<Frame>,
}

/// All files of a recording.
#[derive(Debug)]
pub(super) struct Files {
    names: Names,
    /// Nanoseconds of a file.
    segment: Option<u64>,
    current: Growing,
    /// The file before, and the videos that have not had a keyframe since.
    before: Option<(Growing, Vec<Place>)>,
    pub(super) closed: Vec<Closed>,
    syncing: Option<Syncing>,
    /// Frames that could not be put into any file: of a codec that was changed too soon, or of a track that there was no room for.
    pub(super) unusable: u64,
    pub(super) frames: u64,
    /// Of all frames so far.
    latest: u64,
    /// Nanoseconds since 2001 minus those of the system clock.
    date: i64,
}

impl Files {
    /// Makes the first file.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn create(names: Names, segment: Option<u64>, date: i64) -> Result<Self, DiskError> {
        let syncing = Syncing::start();
        let current = Growing::create(&names, 1, syncing.as_ref())?;
        Ok(Self {
            names,
            segment,
            current,
            before: None,
            closed: Vec::new(),
            syncing,
            unusable: 0,
            frames: 0,
            latest: 0,
            date,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.current.output.path
    }

    pub(super) fn number(&self) -> u32 {
        self.current.number
    }

    /// Bytes of the newest file.
    pub(super) fn bytes(&self) -> u64 {
        self.current.output.size
    }

    /// How long the newest file is.
    pub(super) fn length(&self) -> Duration {
        Duration::from_nanos(self.current.muxer.as_ref().map_or(0, |muxer| muxer.length()))
    }

    /// The tracks of the newest file.
    pub(super) fn tracks(&self) -> Vec<RecordedTrack> {
        self.current.recorded_tracks()
    }

    /// Whether a file cannot begin or end before a keyframe of the caller's.
    pub(super) fn waits_for_caller(&self) -> bool {
        let callers = |place: &Place| place.side == Side::Caller && place.kind == Track::Video;
        let lagging = self.before.as_ref().is_some_and(|(_, lagging)| lagging.iter().any(callers));
        let due = self.segment.is_some_and(|segment| self.latest.saturating_sub(self.current.start) >= segment);
        lagging || due && self.current.main().is_some_and(|main| callers(&main))
    }

    /// Writes frames, which are in the order of their times.
    ///
    /// # Errors
    /// [`DiskError`]: nothing more can be written.
    pub(super) fn write(&mut self, frames: Vec<Frame>) -> Result<(), DiskError> {
        for frame in frames {
            self.latest = self.latest.max(frame.pts);
            self.put(frame)?;
        }
        self.current.flush()?;
        if let Some((before, _)) = &mut self.before {
            before.flush()?;
        }
        Ok(())
    }

    fn put(&mut self, frame: Frame) -> Result<(), DiskError> {
        if let Some((before, lagging)) = &mut self.before {
            if let Some(at) = lagging.iter().position(|place| *place == frame.place) {
                let late = frame.pts > self.current.start + LAG;
                if !frame.keyframe && !late {
                    self.frames += 1;
                    before.waiting.push(frame);
                    return Ok(());
                }
                lagging.remove(at);
            }
            if lagging.is_empty() {
                self.close_before()?;
            }
        }
        if self.begins_a_file(&frame) {
            self.roll(&frame)?;
        }
        match self.current.admit(&frame, self.date)? {
            true => {
                self.frames += 1;
                self.current.waiting.push(frame);
            }
            // Before its first keyframe a track is of no use.
            false => self.unusable += u64::from(frame.keyframe),
        }
        Ok(())
    }

    fn begins_a_file(&self, frame: &Frame) -> bool {
        if self.current.muxer.is_none() || !frame.keyframe {
            return false;
        }
        let age = frame.pts.saturating_sub(self.current.start);
        let has_video = self.current.tracks.iter().any(|(place, _)| place.kind == Track::Video);
        // The line's video is the first to go over, if there is one.
        let main = self.current.main();
        let due = self.segment.is_some_and(|segment| age >= segment) && (main == Some(frame.place) || !has_video);
        let changed = self.current.format(frame.place).is_some_and(|format| *format != frame.format);
        due || changed && age >= CHANGE_AFTER
    }

    /// Begins a new file with `first`.
    fn roll(&mut self, first: &Frame) -> Result<(), DiskError> {
        self.close_before()?;
        self.current.flush()?;
        let next = Growing::create(&self.names, self.current.number + 1, self.syncing.as_ref())?;
        let old = std::mem::replace(&mut self.current, next);
        let videos = old.tracks.iter().map(|(place, _)| *place).filter(|place| place.kind == Track::Video);
        let lagging: Vec<Place> = videos.filter(|place| *place != first.place).collect();
        self.before = Some((old, lagging));
        if self.before.as_ref().is_some_and(|(_, lagging)| lagging.is_empty()) {
            self.close_before()?;
        }
        Ok(())
    }

    fn close_before(&mut self) -> Result<(), DiskError> {
        if let Some((before, _)) = self.before.take() {
            let (closed, result) = before.close();
            self.closed.push(closed);
            result?;
        }
        Ok(())
    }

    /// Whether the newest file was taken away.
    pub(super) fn is_gone(&self) -> bool {
        self.current.output.is_gone()
    }

    /// Begins to bring everything to the disk; says what went wrong the last time.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        let Some(syncing) = &self.syncing else { return Ok(()) };
        if let Some(error) = syncing.failed() {
            return Err(error);
        }
        syncing.begin(&self.current.output);
        Ok(())
    }

    /// Ends all files, as well as the disk lets it.
    pub(super) fn finish(mut self) -> (Vec<Closed>, Result<(), DiskError>) {
        let mut result = self.close_before();
        let (closed, last) = self.current.close();
        self.closed.push(closed);
        if result.is_ok() {
            result = last;
        }
        (self.closed, result)
    }
}

impl Growing {
    fn create(names: &Names, number: u32, syncing: Option<&Syncing>) -> Result<Self, DiskError> {
        let output = Output::create(&names.of(number), names.replaced)?;
        if let Some(syncing) = syncing {
            syncing.begin_name(&output);
        }
        Ok(Self {
            number,
            container: names.container,
            output,
            muxer: None,
            start: 0,
            tracks: Vec::new(),
            waiting: Vec::new(),
        })
    }

    fn format(&self, place: Place) -> Option<&std::sync::Arc<super::frame::Format>> {
        self.tracks.iter().find(|(of, _)| *of == place).map(|(_, format)| format)
    }

    /// The track that decides where a file begins.
    fn main(&self) -> Option<Place> {
        self.tracks.iter().map(|(place, _)| *place).min_by_key(|place| place.rank())
    }

    fn recorded_tracks(&self) -> Vec<RecordedTrack> {
        let track = |(place, format): &(Place, std::sync::Arc<super::frame::Format>)| RecordedTrack {
            side: place.side,
            kind: place.kind,
            codec: format.codec,
        };
        self.tracks.iter().map(track).collect()
    }

    /// Whether a frame can go into this file. Its track is put into the head if it is new, wherever in the file that is.
    fn admit(&mut self, frame: &Frame, date: i64) -> Result<bool, DiskError> {
        if let Some(format) = self.format(frame.place) {
            // Parameter sets are in the pictures too: a changed resolution goes on in its track. Another codec cannot.
            return Ok(
                format.codec == frame.format.codec && (frame.place.kind == Track::Video || **format == *frame.format)
            );
        }
        if !frame.keyframe {
            return Ok(false);
        }
        if self.muxer.is_none() {
            self.start = frame.pts;
        }
        let (container, start, date) = (self.container, frame.pts, date.saturating_add_unsigned(frame.pts));
        let muxer = self.muxer.get_or_insert_with(|| match container {
            Container::Matroska => Box::new(Matroska::new(start, date)),
            Container::Mp4 => Box::new(Fragments::new(start, date)),
        });
        if !muxer.add(frame.place, &frame.format) {
            return Ok(false);
        }
        self.tracks.push((frame.place, frame.format.clone()));
        let head = muxer.head();
        if self.output.size == 0 {
            self.output.append(&head)?;
        } else {
            self.output.patch(&head, 0)?;
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(muxer) = self.muxer.as_mut().filter(|_| !waiting.is_empty()) else { return Ok(()) };
        let clusters = muxer.append(&waiting, self.output.size);
        self.output.append(&clusters)
    }

    fn close(mut self) -> (Closed, Result<(), DiskError>) {
        let result = self.flush().and_then(|()| self.complete());
        let length = self.muxer.as_ref().map_or(0, |muxer| muxer.length());
        let tracks = self.recorded_tracks();
        (Closed { number: self.number, path: self.output.path, bytes: self.output.size, length, tracks }, result)
    }

    /// Writes the file's index and its length. Only what stands on the disk may be pointed to.
    fn complete(&mut self) -> Result<(), DiskError> {
        let Some(muxer) = &self.muxer else { return Ok(()) };
        let (tail, head) = muxer.finish(self.output.size);
        self.output.append(&tail)?;
        self.output.sync()?;
        self.output.patch(&head, 0)?;
        self.output.sync()
    }
}
