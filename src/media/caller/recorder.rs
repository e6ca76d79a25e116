//! Writes what comes to a Matroska file, as it came.
//!
//! A pipeline of its own, fed from a thread of its own: a slow disk costs the recording, never the call.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_app::AppSrc;

use super::Recorded;
use crate::media::PeerError;
use crate::media::peer::connection::fault;
use crate::media::tap::Track;

/// Pictures and audio packets that wait for the disk: some ten seconds. When it is full the recording loses what comes.
const QUEUE: usize = 1024;
/// Matroska needs to know its tracks at its start: how long it waits for a second one.
const SECOND_TRACK_WITHIN: Duration = Duration::from_secs(2);
/// For the file's end to be written.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

struct Piece {
    track: Track,
    sample: gst::Sample,
    keyframe: bool,
}

/// A recording in progress.
#[derive(Debug)]
pub(super) struct Recording {
    pieces: Mutex<Option<SyncSender<Piece>>>,
    lost: std::sync::atomic::AtomicBool,
    thread: Mutex<Option<JoinHandle<Option<Recorded>>>>,
}

impl Recording {
    /// Opens the file. `tracks`: how many the call may have.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`] when the file cannot be written or an element is missing.
    pub(super) fn open(path: &Path, tracks: usize) -> Result<Self, PeerError> {
        let matroska = Matroska::open(path)?;
        let (pieces, taken) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || record(matroska, &taken, tracks))
            .map_err(|_| fault("no thread for the recording"))?;
        Ok(Self { pieces: Mutex::new(Some(pieces)), lost: false.into(), thread: Mutex::new(Some(thread)) })
    }

    /// Never blocks.
    pub(super) fn write(&self, track: Track, sample: gst::Sample, keyframe: bool) {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pieces) = pieces.as_ref()
            && let Err(TrySendError::Full(_)) = pieces.try_send(Piece { track, sample, keyframe })
        {
            self.lost.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Writes what waits and the file's end. Blocks.
    pub(super) fn finish(&self) -> Option<Recorded> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let recorded = thread.join().ok().flatten()?;
        Some(Recorded { whole: recorded.whole && !self.lost.load(std::sync::atomic::Ordering::Relaxed), ..recorded })
    }
}

fn record(mut matroska: Matroska, pieces: &Receiver<Piece>, tracks: usize) -> Option<Recorded> {
    let mut waiting: Vec<Piece> = Vec::new();
    let mut since: Option<Instant> = None;
    // Until each track has shown itself, or long enough.
    loop {
        let left = since.map_or(Duration::MAX, |since| SECOND_TRACK_WITHIN.saturating_sub(since.elapsed()));
        let piece = match pieces.recv_timeout(left.min(Duration::from_secs(3600))) {
            Ok(piece) => piece,
            Err(RecvTimeoutError::Timeout) if since.is_some() => break,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // A picture that refers to one that is not there cannot be shown.
        let usable = piece.track == Track::Audio
            || piece.keyframe
            || waiting.iter().any(|earlier| earlier.track == Track::Video);
        if usable {
            waiting.push(piece);
            since.get_or_insert_with(Instant::now);
        }
        let has = |track| waiting.iter().any(|piece| piece.track == track);
        if usize::from(has(Track::Video)) + usize::from(has(Track::Audio)) >= tracks {
            break;
        }
    }
    if waiting.is_empty() {
        // A call without media: the file stays empty, and a muxer without a track would never end it.
        return Some(Recorded { frames: 0, whole: true });
    }
    for track in [Track::Video, Track::Audio] {
        if let Some(caps) = waiting.iter().find(|piece| piece.track == track).and_then(|piece| piece.sample.caps()) {
            matroska.add(track, caps).ok()?;
        }
    }
    matroska.play().ok()?;
    let mut whole = true;
    for piece in waiting.into_iter().chain(pieces.iter()) {
        whole &= matroska.write(&piece);
    }
    whole &= matroska.finish();
    Some(Recorded { frames: matroska.frames, whole })
}

/// The pipeline that writes.
struct Matroska {
    pipeline: gst::Pipeline,
    muxer: gst::Element,
    video: Option<AppSrc>,
    audio: Option<AppSrc>,
    /// What the first piece's timestamp becomes 0 by.
    start: Option<gst::ClockTime>,
    frames: u64,
}

impl Matroska {
    fn open(path: &Path) -> Result<Self, PeerError> {
        // The file must be writable now, not when media comes.
        std::fs::File::create(path).map_err(|error| fault(&format!("the recording cannot be written: {error}")))?;
        let pipeline = gst::Pipeline::new();
        let make = gst::ElementFactory::make;
        // Streamable, in clusters of a second, and unbuffered: every second is readable, also after a kill.
        let muxer =
            make("matroskamux").property("streamable", true).property("max-cluster-duration", 1_000_000_000_i64);
        let muxer = muxer.property("writing-app", "callgate").build().map_err(|_| fault("there is no matroskamux"))?;
        let file = make("filesink")
            .property("location", path.to_string_lossy().as_ref())
            .property("sync", false)
            .property("async", false)
            .property_from_str("buffer-mode", "unbuffered")
            .build()
            .map_err(|_| fault("there is no filesink"))?;
        pipeline.add_many([&muxer, &file]).map_err(|_| fault("the recording cannot be put together"))?;
        muxer.link(&file).map_err(|_| fault("the recording cannot be put together"))?;
        Ok(Self { pipeline, muxer, video: None, audio: None, start: None, frames: 0 })
    }

    fn add(&mut self, track: Track, caps: &gst::CapsRef) -> Result<(), PeerError> {
        let broken = || fault("a track cannot be recorded");
        // Blocks when the disk is slow: the recorder's thread waits, nobody else.
        let mut caps = caps.to_owned();
        // `rtpopusdepay` leaves out what every Opus stream has, and the file would say 0 Hz.
        if let Some(structure) = caps.make_mut().structure_mut(0).filter(|structure| structure.name() == "audio/x-opus")
        {
            structure.set("rate", 48_000);
        }
        let source = AppSrc::builder().caps(&caps).format(gst::Format::Time).block(true).build();
        self.pipeline.add(&source).map_err(|_| broken())?;
        let template = match track {
            Track::Video => "video_%u",
            Track::Audio => "audio_%u",
        };
        let into = self.muxer.request_pad_simple(template).ok_or_else(broken)?;
        let mut from = source.static_pad("src").ok_or_else(broken)?;
        if caps.structure(0).is_some_and(|structure| structure.name() == "video/x-h264") {
            let parser = gst::ElementFactory::make("h264parse").build().map_err(|_| broken())?;
            self.pipeline.add(&parser).map_err(|_| broken())?;
            source.link(&parser).map_err(|_| broken())?;
            from = parser.static_pad("src").ok_or_else(broken)?;
        }
        from.link(&into).map_err(|_| broken())?;
        match track {
            Track::Video => self.video = Some(source),
            Track::Audio => self.audio = Some(source),
        }
        Ok(())
    }

    fn play(&self) -> Result<(), PeerError> {
        self.pipeline.set_state(gst::State::Playing).map(drop).map_err(|_| fault("the recording does not start"))
    }

    /// Whether it was written.
    fn write(&mut self, piece: &Piece) -> bool {
        let source = match piece.track {
            Track::Video => self.video.as_ref(),
            Track::Audio => self.audio.as_ref(),
        };
        let (Some(source), Some(mut buffer)) = (source, piece.sample.buffer_owned()) else { return false };
        let Some(pts) = buffer.pts() else { return false };
        let start = *self.start.get_or_insert(pts);
        let time = buffer.make_mut();
        time.set_pts(pts.saturating_sub(start));
        time.set_dts(gst::ClockTime::NONE);
        let written = source.push_buffer(buffer).is_ok();
        self.frames += u64::from(written);
        written
    }

    /// Whether the file's end was written.
    fn finish(&self) -> bool {
        for source in [&self.video, &self.audio].into_iter().flatten() {
            let _ = source.end_of_stream();
        }
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let deadline = gst::ClockTime::from_nseconds(FINISH_DEADLINE.as_nanos() as u64);
        self.pipeline
            .bus()
            .and_then(|bus| bus.timed_pop_filtered(deadline, &ends))
            .is_some_and(|message| message.type_() == gst::MessageType::Eos)
    }
}

impl Drop for Matroska {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
