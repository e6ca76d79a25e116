//! Writes what comes to a Matroska file, as it came: a slow disk costs the recording, never the call.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Recorded;
use crate::media::PeerError;
use crate::media::peer::connection::fault;
use crate::media::recorder::{self, Codec, Inlet, Outcome, Piece, RecordingEnd, Side};
use crate::media::tap::Track;

/// For what waits to be written, and the file's end.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

/// A recording in progress.
#[derive(Debug)]
pub(super) struct Recording {
    inlet: Arc<Inlet>,
    outcome: Mutex<Receiver<Outcome>>,
}

impl Recording {
    /// Opens the file, and writes over one that is there.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`] when the file cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self, PeerError> {
        // It must be writable now, not when media comes.
        std::fs::File::create(path).map_err(|error| fault(&format!("the recording cannot be written: {error}")))?;
        let inlet = Arc::new(Inlet::default());
        let (done, outcome) = sync_channel(1);
        let done = move |outcome| drop(done.try_send(outcome));
        recorder::start_file(path, inlet.clone(), done).map_err(|_| fault("no thread for the recording"))?;
        Ok(Self { inlet, outcome: Mutex::new(outcome) })
    }

    /// Never blocks.
    pub(super) fn write(&self, track: Track, sample: &gst::Sample, keyframe: bool) {
        let (Some(buffer), Some(fields)) = (sample.buffer(), sample.caps().and_then(|caps| caps.structure(0))) else {
            return;
        };
        let Some(pts) = buffer.pts() else { return };
        // What comes is the line's.
        let side = Side::Line;
        let piece = match track {
            Track::Audio => Piece::Sound { side, sample: sample.clone(), pts },
            Track::Video => {
                let codec = match fields.name().as_str() {
                    "video/x-h264" => Codec::H264,
                    "video/x-vp9" => Codec::Vp9,
                    _ => Codec::Vp8,
                };
                let Some(data) = buffer.all_memory() else { return };
                Piece::Picture { side, codec, data, keyframe, pts }
            }
        };
        self.inlet.put(piece);
    }

    /// Writes what waits and the file's end. Blocks.
    pub(super) fn finish(&self) -> Option<Recorded> {
        self.inlet.stop(RecordingEnd::Stopped);
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let Outcome { why, frames, lost, .. } = outcome.recv_timeout(FINISH_DEADLINE).ok()?;
        Some(Recorded { frames, whole: why == RecordingEnd::Stopped && lost == 0 })
    }
}
