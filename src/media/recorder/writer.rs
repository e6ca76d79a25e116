//! A recording's thread: takes what came, four times a second, puts it in order and writes it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gst::prelude::*;

use super::disk::DiskError;
use super::files::{Closed, Files, Names};
use super::frame::{Frame, Place};
use super::inlet::{Inlet, Taken};
use super::intake::Intake;
use super::{Container, RecordingEnd, RecordingNews};

/// How often is written what came. What came is held for one turn, so that tracks which are not equally late are in order; so a kill costs the
/// last half second.
const TURN: Duration = Duration::from_millis(250);
/// Between two progresses.
const PROGRESS: Duration = Duration::from_secs(1);
/// Between two syncs: what a power loss costs at most, on a disk that keeps up.
pub(super) const SYNC: Duration = Duration::from_secs(5);
/// Seconds from 1970 to 2001, which Matroska counts from.
const EPOCH: i64 = 978_307_200;

/// What a writer is told.
#[derive(Debug, Clone)]
pub(in crate::media) struct WriterSettings {
    pub(super) names: Names,
    pub(super) segment: Option<Duration>,
    pub(super) max_length: Option<Duration>,
}

/// How it went.
#[derive(Debug, Clone)]
pub(in crate::media) struct Outcome {
    pub(in crate::media) why: RecordingEnd,
    pub(in crate::media) files: u32,
    pub(in crate::media) bytes: u64,
    pub(in crate::media) length: Duration,
    pub(in crate::media) frames: u64,
    pub(in crate::media) lost: u64,
}

/// Starts the thread; it tells what happens but its end, which `done` is given. Ends when `inlet` is stopped, at its greatest length, or when the
/// disk fails.
///
/// # Errors
/// The operating system refused a thread.
pub(in crate::media) fn start(
    settings: WriterSettings,
    inlet: Arc<Inlet>,
    tell: impl Fn(RecordingNews) + Send + 'static,
    done: impl FnOnce(Outcome) + Send + 'static,
) -> std::io::Result<()> {
    let run = move || {
        let mut writer = Writer::default();
        let segment = settings.segment.map(|segment| segment.as_nanos() as u64);
        let (why, files) = match Files::create(settings.names, segment, date()) {
            Ok(mut files) => {
                let why = writer.run(&mut files, settings.max_length, &inlet, &tell);
                (why.unwrap_or_else(RecordingEnd::Disk), Some(files))
            }
            Err(error) => (RecordingEnd::Disk(error), None),
        };
        inlet.stop(why.clone());
        let lost = writer.lost + writer.intake.broken + files.as_ref().map_or(0, |files| files.unusable);
        let frames = files.as_ref().map_or(0, |files| files.frames);
        let (closed, ended) = files.map_or((Vec::new(), Ok(())), Files::finish);
        let why = match (why, ended) {
            (RecordingEnd::Disk(error), _) | (_, Err(error)) => RecordingEnd::Disk(error),
            (why, Ok(())) => why,
        };
        writer.tell_closed(&closed, &tell);
        done(Outcome {
            why,
            files: closed.len() as u32,
            bytes: closed.iter().map(|file| file.bytes).sum(),
            length: writer.length(),
            frames,
            lost,
        });
    };
    std::thread::Builder::new().name("recorder".into()).spawn(run).map(drop)
}

/// A recording of one file whose name is given, and which may be there already.
///
/// # Errors
/// As [`start`].
pub(in crate::media) fn start_file(
    path: &Path,
    inlet: Arc<Inlet>,
    done: impl FnOnce(Outcome) + Send + 'static,
) -> std::io::Result<()> {
    let names = Names { first: path.to_owned(), container: Container::Matroska, replaced: true };
    start(WriterSettings { names, segment: None, max_length: None }, inlet, |_| {}, done)
}

#[derive(Default)]
struct Writer {
    intake: Intake,
    /// What came at an earlier turn; by the times that order it.
    held: Vec<(u64, Frame)>,
    /// The latest of these times of each track: a track stays in the order in which it came.
    latest: Vec<(Place, u64)>,
    lost: u64,
    /// The first and the last frame's time.
    span: Option<(u64, u64)>,
    told: usize,
}

impl Writer {
    fn run(
        &mut self,
        files: &mut Files,
        max_length: Option<Duration>,
        inlet: &Inlet,
        tell: &impl Fn(RecordingNews),
    ) -> Result<RecordingEnd, DiskError> {
        let began = Instant::now();
        let (mut progressed, mut synced, mut asked) = (began, began, began);
        let mut started = 0;
        loop {
            let Taken { pieces, lost, stop } = inlet.take(TURN);
            let stop = stop
                .or_else(|| max_length.is_some_and(|most| began.elapsed() >= most).then_some(RecordingEnd::MaxLength));
            self.lost += lost;
            let mut frames = Vec::with_capacity(pieces.len());
            for piece in pieces {
                self.intake.take(piece, &mut frames);
            }
            let due = self.order(frames, stop.is_some());
            files.write(due)?;
            // One on its way needs no second request.
            if (self.intake.needs_keyframe || files.waits_for_caller()) && asked.elapsed() >= PROGRESS {
                asked = Instant::now();
                inlet.want_keyframe();
            }
            self.tell_closed(&files.closed, tell);
            let (number, tracks) = (files.number(), files.tracks());
            if started < number && !tracks.is_empty() {
                started = number;
                tell(RecordingNews::Started { number, path: files.path().to_owned(), tracks: tracks.clone() });
            }
            if let Some(why) = stop {
                return Ok(why);
            }
            if progressed.elapsed() >= PROGRESS {
                progressed = Instant::now();
                if files.is_gone() {
                    return Err(DiskError::Gone);
                }
                if started == number {
                    tell(RecordingNews::Progress { number, bytes: files.bytes(), length: files.length(), tracks });
                }
            }
            if synced.elapsed() >= SYNC {
                synced = Instant::now();
                files.sync()?;
            }
        }
    }

    /// Takes frames in, and gives out those that nothing can come before any more; or `all`.
    fn order(&mut self, frames: Vec<Frame>, all: bool) -> Vec<Frame> {
        let ripe = self.held.last().map(|(time, _)| *time);
        for frame in frames {
            let (first, last) = self.span.unwrap_or((frame.pts, frame.pts));
            self.span = Some((first.min(frame.pts), last.max(frame.pts)));
            let time = match self.latest.iter_mut().find(|(place, _)| *place == frame.place) {
                Some((_, latest)) => {
                    *latest = frame.pts.max(*latest);
                    *latest
                }
                None => {
                    self.latest.push((frame.place, frame.pts));
                    frame.pts
                }
            };
            self.held.push((time, frame));
        }
        // Stable: what has the same time stays in the order in which it came.
        self.held.sort_by_key(|(time, _)| *time);
        let due = match (all, ripe) {
            (true, _) => self.held.len(),
            (false, Some(ripe)) => self.held.partition_point(|(time, _)| *time <= ripe),
            (false, None) => 0,
        };
        self.held.drain(..due).map(|(_, frame)| frame).collect()
    }

    fn length(&self) -> Duration {
        self.span.map_or(Duration::ZERO, |(first, last)| Duration::from_nanos(last - first))
    }

    fn tell_closed(&mut self, closed: &[Closed], tell: &impl Fn(RecordingNews)) {
        for file in closed.iter().skip(self.told) {
            tell(RecordingNews::SegmentClosed {
                number: file.number,
                path: file.path.clone(),
                bytes: file.bytes,
                length: Duration::from_nanos(file.length),
                tracks: file.tracks.clone(),
            });
        }
        self.told = self.told.max(closed.len());
    }
}

/// Nanoseconds since 2001, less those of the system clock.
fn date() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_2001 = since_1970.as_nanos() as i64 - EPOCH * 1_000_000_000;
    let clock = gst::SystemClock::obtain().time().nseconds();
    since_2001.saturating_sub_unsigned(clock)
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Codec, Format, Side};
    use super::*;
    use crate::media::tap::Track;

    fn frame(kind: Track, pts: u64) -> Frame {
        let format = Format { codec: Codec::Vp8, private: Vec::new(), width: 0, height: 0, rate: 0, channels: 0 };
        let place = Place { side: Side::Line, kind };
        Frame { place, format: format.into(), pts, keyframe: true, data: Vec::new() }
    }

    fn times(frames: &[Frame]) -> Vec<u64> {
        frames.iter().map(|frame| frame.pts).collect()
    }

    #[test]
    fn tracks_that_are_not_equally_late_are_put_in_order() {
        let mut writer = Writer::default();
        assert!(writer.order(vec![frame(Track::Video, 100), frame(Track::Video, 140)], false).is_empty());
        let due =
            writer.order(vec![frame(Track::Audio, 90), frame(Track::Audio, 110), frame(Track::Audio, 160)], false);
        assert_eq!(times(&due), [90, 100, 110, 140]);
        assert_eq!(times(&writer.order(Vec::new(), true)), [160]);
        assert_eq!(writer.length(), Duration::from_nanos(70));
    }

    #[test]
    fn pictures_stay_in_the_order_in_which_they_are_decoded() {
        let mut writer = Writer::default();
        let pictures = [100, 220, 140, 180, 340].map(|pts| frame(Track::Video, pts));
        writer.order(pictures.to_vec(), false);
        assert_eq!(times(&writer.order(vec![frame(Track::Audio, 200)], true)), [100, 200, 220, 140, 180, 340]);
    }
}
