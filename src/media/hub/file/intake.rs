//! What was read of a file and is not due yet: filled by GStreamer's threads, emptied by the player.
//!
//! A file may hold its tracks far apart, so a track is read on while another has nothing: only when each has enough does reading wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{AudioTrack, VideoTrack};
use crate::media::FileFault;

/// How far reading is ahead of what is due, in nanoseconds: enough to have the next pass of a file ready when this one ends.
pub(super) const AHEAD: i64 = 1_000_000_000;
/// Bytes that may wait, whatever the tracks say: a second of the largest pictures, and a bound for a file that lies.
const MAX_BYTES: usize = 64 << 20;
/// Pieces that may wait in a track: far more than a second of anything.
const MAX_PIECES: usize = 4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    Audio,
}

/// A picture or a piece of sound.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Nanoseconds on the file's own time line; before 0 is what only helps to decode.
    pub(super) time: i64,
    /// Nanoseconds; 0 when the file does not say.
    pub(super) duration: i64,
    pub(super) buffer: gst::Buffer,
}

#[derive(Default)]
pub(super) struct Intake {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    video: Option<Queue<VideoTrack>>,
    audio: Option<Queue<AudioTrack>>,
    /// All tracks are known.
    complete: bool,
    /// The player has gone.
    closed: bool,
    fault: Option<FileFault>,
    /// What came first, of all tracks.
    first: Option<i64>,
}

struct Queue<T> {
    track: T,
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// The last piece has come.
    ended: bool,
    /// The newest end of a piece so far.
    end: i64,
    newest: Option<i64>,
    /// How far the last two pieces were apart: the duration of one that has none.
    step: i64,
    /// A piece came that is shown before one that came earlier: the track has B-frames.
    reordered: bool,
}

impl<T> Queue<T> {
    fn new(track: T) -> Queue<T> {
        let pieces = VecDeque::new();
        Queue { track, pieces, bytes: 0, ended: false, end: 0, newest: None, step: 0, reordered: false }
    }

    fn add(&mut self, piece: Piece) {
        match self.newest {
            Some(newest) if piece.time < newest => self.reordered = true,
            Some(newest) => self.step = piece.time - newest,
            None => {}
        }
        self.newest = Some(self.newest.map_or(piece.time, |newest| newest.max(piece.time)));
        let duration = if piece.duration > 0 { piece.duration } else { self.step };
        self.end = self.end.max(piece.time + duration);
        self.bytes += piece.buffer.size();
        self.pieces.push_back(piece);
    }

    fn take(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.buffer.size();
        Some(piece)
    }

    /// Nothing is there, and something may come.
    fn starves(&self) -> bool {
        self.pieces.is_empty() && !self.ended
    }

    fn holds(&self, ahead: i64) -> bool {
        let (Some(first), Some(newest)) = (self.pieces.front(), self.newest) else { return false };
        newest - first.time >= ahead || self.pieces.len() >= MAX_PIECES
    }
}

/// What a file turned out to hold.
#[derive(Debug, Clone)]
pub(super) struct Tracks {
    pub(super) video: Option<VideoTrack>,
    pub(super) audio: Option<AudioTrack>,
    /// The first picture.
    pub(super) picture: Option<gst::Buffer>,
    /// What came first, of all tracks.
    pub(super) first: i64,
    pub(super) reordered: bool,
}

/// How long a pass was, once all of it was read: where its pictures and its sound end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) video: Option<i64>,
    pub(super) audio: Option<i64>,
}

impl Intake {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file has this picture track. False when it is not wanted: there is one.
    pub(super) fn has_video(&self, track: VideoTrack) -> bool {
        let mut state = self.lock();
        let first = state.video.is_none();
        state.video.get_or_insert_with(|| Queue::new(track));
        first
    }

    /// The file has this sound track. False when it is not wanted: there is one.
    pub(super) fn has_audio(&self, track: AudioTrack) -> bool {
        let mut state = self.lock();
        let first = state.audio.is_none();
        state.audio.get_or_insert_with(|| Queue::new(track));
        first
    }

    /// All tracks are known, since something of one of them has come: `parsebin` shows them all before it lets anything through.
    pub(super) fn complete(&self) {
        self.lock().complete = true;
        self.wake.notify_all();
    }

    /// Something came that nobody wants. False when nothing is wanted any more.
    pub(super) fn pass(&self) -> bool {
        self.complete();
        !self.lock().closed
    }

    /// The file cannot be read on.
    pub(super) fn fault(&self, fault: FileFault) {
        self.lock().fault.get_or_insert(fault);
        self.wake.notify_all();
    }

    /// Lets whoever waits to put something in go, and takes nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    pub(super) fn end(&self, kind: Kind) {
        let mut state = self.lock();
        state.complete = true;
        match kind {
            Kind::Video => state.video.iter_mut().for_each(|queue| queue.ended = true),
            Kind::Audio => state.audio.iter_mut().for_each(|queue| queue.ended = true),
        }
        self.wake.notify_all();
    }

    /// Takes a piece; waits while there is enough. False when nothing is wanted any more.
    pub(super) fn put(&self, kind: Kind, piece: Piece) -> bool {
        let mut state = self.lock();
        state.complete = true;
        while !state.closed && state.is_full(kind) {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.first = Some(state.first.map_or(piece.time, |first| first.min(piece.time)));
        match kind {
            Kind::Video => state.video.iter_mut().for_each(|queue| queue.add(piece.clone())),
            Kind::Audio => state.audio.iter_mut().for_each(|queue| queue.add(piece.clone())),
        }
        self.wake.notify_all();
        true
    }

    /// Waits until it is known what the file holds, with `ahead` of it read. `None` after `patience`.
    ///
    /// # Errors
    /// Why it cannot be played.
    pub(super) fn tracks(&self, ahead: i64, patience: Duration) -> Result<Option<Tracks>, FileFault> {
        let mut state = self.lock();
        loop {
            if state.is_ready(ahead) {
                let picture = state.video.as_ref().and_then(|queue| Some(queue.pieces.front()?.buffer.clone()));
                let has_sound = state.audio.as_ref().is_some_and(|queue| !queue.pieces.is_empty());
                if picture.is_none() && !has_sound {
                    return Err(state.fault.clone().unwrap_or(FileFault::NothingToPlay));
                }
                return Ok(Some(Tracks {
                    video: state.video.as_ref().filter(|_| picture.is_some()).map(|queue| queue.track),
                    audio: state.audio.as_ref().filter(|_| has_sound).map(|queue| queue.track.clone()),
                    picture,
                    first: state.first.unwrap_or_default(),
                    reordered: state.video.as_ref().is_some_and(|queue| queue.reordered),
                }));
            }
            let (next, timeout) = self.wake.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return Ok(None);
            }
            state = next;
        }
    }

    /// When the next piece of a track is due.
    pub(super) fn next(&self, kind: Kind) -> Option<i64> {
        let state = self.lock();
        let pieces = match kind {
            Kind::Video => state.video.as_ref().map(|queue| &queue.pieces),
            Kind::Audio => state.audio.as_ref().map(|queue| &queue.pieces),
        };
        pieces.and_then(VecDeque::front).map(|piece| piece.time)
    }

    pub(super) fn take(&self, kind: Kind) -> Option<Piece> {
        let mut state = self.lock();
        let piece = match kind {
            Kind::Video => state.video.as_mut().and_then(Queue::take),
            Kind::Audio => state.audio.as_mut().and_then(Queue::take),
        };
        self.wake.notify_all();
        piece
    }

    /// Whether the player has to wait for a track before it can tell what is due next.
    pub(super) fn starves(&self) -> bool {
        let state = self.lock();
        !state.is_over()
            && !state.is_heavy()
            && (state.video.as_ref().is_some_and(Queue::starves) || state.audio.as_ref().is_some_and(Queue::starves))
    }

    /// Waits until something comes, for `at_most`.
    pub(super) fn wait(&self, at_most: Duration) {
        drop(self.wake.wait_timeout(self.lock(), at_most));
    }

    /// Where the tracks end, once all was read.
    pub(super) fn ends(&self) -> Option<Ends> {
        let state = self.lock();
        state.is_over().then(|| Ends {
            video: state.video.as_ref().filter(|queue| queue.newest.is_some()).map(|queue| queue.end),
            audio: state.audio.as_ref().filter(|queue| queue.newest.is_some()).map(|queue| queue.end),
        })
    }

    /// Why reading stopped, if not at the file's end.
    pub(super) fn failure(&self) -> Option<FileFault> {
        self.lock().fault.clone()
    }
}

impl State {
    /// Nothing more will come.
    fn is_over(&self) -> bool {
        self.fault.is_some()
            || self.complete
                && self.video.as_ref().is_none_or(|queue| queue.ended)
                && self.audio.as_ref().is_none_or(|queue| queue.ended)
    }

    fn is_heavy(&self) -> bool {
        let bytes = |queue: Option<usize>| queue.unwrap_or_default();
        bytes(self.video.as_ref().map(|queue| queue.bytes)) + bytes(self.audio.as_ref().map(|queue| queue.bytes))
            >= MAX_BYTES
    }

    fn is_full(&self, kind: Kind) -> bool {
        let video = self.video.as_ref().map(|queue| (queue.holds(AHEAD), queue.starves()));
        let audio = self.audio.as_ref().map(|queue| (queue.holds(AHEAD), queue.starves()));
        let (own, other) = match kind {
            Kind::Video => (video, audio),
            Kind::Audio => (audio, video),
        };
        let others_wait = other.is_some_and(|(_, starves)| starves);
        self.is_heavy() || own.is_some_and(|(enough, _)| enough) && !others_wait
    }

    fn is_ready(&self, ahead: i64) -> bool {
        let ready = |enough: bool, ended: bool| enough || ended;
        self.fault.is_some()
            || self.is_heavy()
            || self.complete
                && self.video.as_ref().is_none_or(|queue| ready(queue.holds(ahead), queue.ended))
                && self.audio.as_ref().is_none_or(|queue| ready(queue.holds(0), queue.ended))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sound;
    use super::*;
    use crate::endpoint::{AudioCodec, AudioStream};
    use crate::media::hub::unit::VideoFormat;

    const FRAME: i64 = 40_000_000;

    fn piece(time: i64) -> Piece {
        gst::init().unwrap();
        Piece { time, duration: FRAME, buffer: gst::Buffer::from_slice([0; 100]) }
    }

    fn intake() -> Intake {
        let intake = Intake::default();
        assert!(intake.has_video(VideoTrack { format: VideoFormat::H264 }));
        let stream = AudioStream { codec: AudioCodec::Other("AAC".into()), rate: 48_000, channels: 2 };
        assert!(intake.has_audio(AudioTrack { stream, sound: Sound::Raw }));
        intake
    }

    #[test]
    fn a_track_is_read_on_while_another_has_nothing() {
        let intake = intake();
        for nth in 0..100 {
            assert!(intake.put(Kind::Video, piece(nth * FRAME)), "4 s, and none of it waits");
        }
        assert!(intake.starves());
        assert!(intake.put(Kind::Audio, piece(0)));
        assert!(!intake.starves());
        assert!(intake.lock().is_full(Kind::Video) && !intake.lock().is_full(Kind::Audio));
    }

    #[test]
    fn pictures_that_come_out_of_order_are_noticed() {
        let intake = intake();
        intake.end(Kind::Audio);
        for time in [0, 3, 1, 2] {
            intake.put(Kind::Video, piece(time * FRAME));
        }
        intake.end(Kind::Video);
        let tracks = intake.tracks(AHEAD, Duration::ZERO).unwrap().unwrap();
        assert!(tracks.reordered && tracks.audio.is_none() && tracks.first == 0);
        assert_eq!(intake.ends(), Some(Ends { video: Some(4 * FRAME), audio: None }));
    }

    #[test]
    fn a_file_without_anything_in_it_is_told() {
        let intake = Intake::default();
        assert_eq!(intake.tracks(AHEAD, Duration::ZERO).unwrap().map(|_| ()), None);
        intake.complete();
        assert_eq!(intake.tracks(AHEAD, Duration::ZERO).unwrap_err(), FileFault::NothingToPlay);
        intake.fault(FileFault::Damaged);
        assert_eq!(intake.tracks(AHEAD, Duration::ZERO).unwrap_err(), FileFault::Damaged);
    }

    #[test]
    fn whoever_waits_to_put_something_in_is_let_go() {
        let intake = std::sync::Arc::new(intake());
        intake.end(Kind::Audio);
        for nth in 0..=25 {
            intake.put(Kind::Video, piece(nth * FRAME));
        }
        let (waiting, other) = (intake.clone(), piece(26 * FRAME));
        let thread = std::thread::spawn(move || waiting.put(Kind::Video, other));
        intake.close();
        assert!(!thread.join().unwrap());
    }
}
