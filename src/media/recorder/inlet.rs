//! What waits to be recorded: a bounded queue that nobody ever waits for.
//!
//! Who puts something in takes a lock and leaves; the writer looks four times a second. When the disk is too slow and the queue is full, the
//! recording loses what comes, pictures up to the next keyframe.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::RecordingEnd;
use super::frame::{Codec, Side};
use crate::media::hub::Listener;
use crate::media::tap::Track;

/// Bytes that may wait: 16 s at 8 Mbit/s.
const MAX_BYTES: usize = 16 << 20;
/// Pieces that may wait: some ten seconds of both sides.
const MAX_PIECES: usize = 8192;

/// Something that came, as it came: the writer's thread does the rest.
pub(in crate::media) enum Piece {
    /// A whole picture; H.264 as a byte stream.
    Picture { side: Side, codec: Codec, data: gst::Memory, keyframe: bool, pts: gst::ClockTime },
    /// A buffer of encoded sound, with its caps.
    Sound { side: Side, sample: gst::Sample, pts: gst::ClockTime },
    /// An RTP packet of the caller's, of the stream on this pad.
    Packet { pad: u64, kind: Track, codec: Codec, packet: gst::Buffer },
}

impl Piece {
    /// Which of its side's two tracks it is of.
    pub(super) fn kind(&self) -> Track {
        match self {
            Self::Picture { .. } => Track::Video,
            Self::Sound { .. } => Track::Audio,
            Self::Packet { kind, .. } => *kind,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Picture { data, .. } => data.size(),
            Self::Packet { packet, .. } => packet.size(),
            Self::Sound { sample, .. } => sample.buffer().map_or(0, |buffer| buffer.size()),
        }
    }
}

/// The queue's two ends.
#[derive(Default)]
pub(in crate::media) struct Inlet {
    state: Mutex<State>,
    stopped: Condvar,
    stopping: CancellationToken,
    /// The caller's next keyframe is wanted soon.
    wants_keyframe: AtomicBool,
}

#[derive(Default)]
struct State {
    pieces: Vec<Piece>,
    bytes: usize,
    /// Pieces that found no room, and pictures that were of no use without them.
    lost: u64,
    /// A picture of this side was lost: the next that is of use is a keyframe.
    line_broken: bool,
    caller_broken: bool,
    stop: Option<RecordingEnd>,
}

/// What the writer takes at a time.
pub(super) struct Taken {
    pub(super) pieces: Vec<Piece>,
    pub(super) lost: u64,
    pub(super) stop: Option<RecordingEnd>,
}

impl Inlet {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never waits.
    pub(in crate::media) fn put(&self, piece: Piece) {
        let mut state = self.lock();
        if state.stop.is_some() {
            return;
        }
        let size = piece.size();
        let full = state.pieces.len() >= MAX_PIECES || state.bytes + size > MAX_BYTES;
        let mut dropped = full;
        if let Piece::Picture { side, keyframe, .. } = &piece {
            let broken = match side {
                Side::Line => &mut state.line_broken,
                Side::Caller => &mut state.caller_broken,
            };
            dropped |= *broken && !keyframe;
            *broken = dropped;
        }
        if dropped {
            state.lost += 1;
        } else {
            state.bytes += size;
            state.pieces.push(piece);
        }
    }

    /// Takes nothing more; what is in is still written. The first reason counts.
    pub(in crate::media) fn stop(&self, why: RecordingEnd) {
        self.lock().stop.get_or_insert(why);
        self.stopped.notify_all();
        self.stopping.cancel();
    }

    /// Waits until it is stopped.
    pub(super) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Has the caller asked for a keyframe, as soon as something of its picture comes.
    pub(in crate::media) fn want_keyframe(&self) {
        self.wants_keyframe.store(true, Ordering::Relaxed);
    }

    /// Whether a keyframe is wanted that was not asked for yet. Who asks this asks the caller.
    pub(in crate::media) fn takes_keyframe_request(&self) -> bool {
        self.wants_keyframe.load(Ordering::Relaxed) && self.wants_keyframe.swap(false, Ordering::Relaxed)
    }

    /// Takes what there is after `wait`, or at once when it was stopped.
    pub(super) fn take(&self, wait: Duration) -> Taken {
        let state = self.lock();
        let (mut state, _) = self
            .stopped
            .wait_timeout_while(state, wait, |state| state.stop.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.bytes = 0;
        let pieces = std::mem::take(&mut state.pieces);
        Taken { pieces, lost: std::mem::take(&mut state.lost), stop: state.stop.clone() }
    }
}

/// A line's media, as its hub gives it.
impl Listener for Inlet {
    fn picture(&self, codec: Codec, data: &gst::Memory, keyframe: bool, pts: gst::ClockTime) {
        self.put(Piece::Picture { side: Side::Line, codec, data: data.clone(), keyframe, pts });
    }

    fn sound(&self, sample: &gst::Sample, pts: gst::ClockTime) {
        self.put(Piece::Sound { side: Side::Line, sample: sample.clone(), pts });
    }
}

impl std::fmt::Debug for Inlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inlet").field("waiting", &self.lock().pieces.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(keyframe: bool, bytes: usize) -> Piece {
        let data = gst::Memory::from_slice(vec![0; bytes]);
        Piece::Picture { side: Side::Line, codec: Codec::H264, data, keyframe, pts: gst::ClockTime::ZERO }
    }

    #[test]
    fn what_finds_no_room_is_lost_up_to_the_next_keyframe() {
        gst::init().unwrap();
        let inlet = Inlet::default();
        inlet.put(picture(true, MAX_BYTES - 10));
        inlet.put(picture(false, 100));
        let taken = inlet.take(Duration::ZERO);
        assert_eq!((taken.pieces.len(), taken.lost), (1, 1));

        inlet.put(picture(false, 1));
        inlet.put(picture(true, 1));
        inlet.put(picture(false, 1));
        let taken = inlet.take(Duration::ZERO);
        assert_eq!((taken.pieces.len(), taken.lost), (2, 1), "there was room again, but for a keyframe only");
    }

    #[test]
    fn a_stopped_recording_keeps_what_it_has_and_takes_nothing_more() {
        gst::init().unwrap();
        let inlet = Inlet::default();
        inlet.put(picture(true, 1));
        inlet.stop(RecordingEnd::CallOver);
        inlet.stop(RecordingEnd::Stopped);
        inlet.put(picture(true, 1));
        let taken = inlet.take(Duration::from_secs(3600));
        assert_eq!((taken.pieces.len(), taken.stop), (1, Some(RecordingEnd::CallOver)));
    }
}
