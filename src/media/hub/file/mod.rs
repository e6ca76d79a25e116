//! A file, a folder or a playlist as a hub's source.
//!
//! Reading and playing are apart. A `reader` takes one file apart as fast as its `intake` has room, a second ahead of what is due;
//! the `player`, a thread of its own, gives each picture and each 20 ms of sound to the hub when the system clock says so, with times on
//! one line that runs through all files and all repetitions. The next file is open before the one before it is over: there is no gap
//! between them and no jump in time.

mod chain;
mod encode;
mod intake;
mod outlet;
mod player;
mod playlist;
mod reader;
mod sound;

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::feed::Feed;
use super::unit::{AudioFormat, VideoFormat};
use crate::endpoint::{AudioStream, Programme};
use crate::media::SourceError;
use outlet::Outlet;

/// How long a player may take to stop: it looks up several times a second, and making a still picture has its own patience.
const STOPPED_WITHIN: Duration = Duration::from_secs(12);

/// A file's pictures as they leave the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct VideoTrack {
    format: VideoFormat,
}

/// A file's sound.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AudioTrack {
    /// As it is in the file.
    stream: AudioStream,
    sound: Sound,
}

/// A file's sound as it leaves the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// Decoded: samples of 16 bits, two channels, at 48 kHz.
    Raw,
    /// 8000 bytes a second.
    G711(AudioFormat),
    /// A packet a buffer.
    Opus,
}

impl Sound {
    fn raw_caps() -> gst::Caps {
        gst::Caps::builder("audio/x-raw")
            .field("format", "S16LE")
            .field("layout", "interleaved")
            .field("rate", 48_000)
            .field("channels", 2)
            .build()
    }

    fn caps(self) -> gst::Caps {
        let g711 = |name| gst::Caps::builder(name).field("rate", 8000).field("channels", 1).build();
        match self {
            Sound::Raw => Sound::raw_caps(),
            Sound::G711(AudioFormat::Pcma) => g711("audio/x-alaw"),
            Sound::G711(_) => g711("audio/x-mulaw"),
            Sound::Opus => gst::Caps::builder("audio/x-opus").field("channel-mapping-family", 0).build(),
        }
    }

    /// What of it goes into RTP as it is.
    fn format(self) -> Option<AudioFormat> {
        match self {
            Sound::Raw => None,
            Sound::G711(format) => Some(format),
            Sound::Opus => Some(AudioFormat::Opus),
        }
    }
}

/// Tells a player to stop, and wakes it.
#[derive(Default)]
struct Stop {
    told: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    fn is_told(&self) -> bool {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless it is told meanwhile; true if it is.
    fn wait(&self, time: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(told, time, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A programme that is being played. [`Player::stop`] ends it.
pub(super) struct Player {
    stop: Arc<Stop>,
    done: Receiver<()>,
}

impl Player {
    /// Starts to play; what comes of it is told to `feed`.
    ///
    /// # Errors
    /// [`SourceError::GStreamer`] when there is no thread.
    pub(super) fn start(programme: &Programme, feed: &Feed) -> Result<Player, SourceError> {
        let (programme, outlet, stop) = (programme.clone(), Outlet::new(feed.clone()), Arc::new(Stop::default()));
        let (is_done, done) = sync_channel(1);
        let stopping = stop.clone();
        let play = move || {
            match player::play(&programme, &outlet, &stopping) {
                Ok(()) => outlet.over(),
                Err(error) => outlet.failed(SourceError::File(error)),
            }
            let _ = is_done.send(());
        };
        let spawned = std::thread::Builder::new().name("player".into()).spawn(play);
        spawned.map_err(|error| SourceError::GStreamer(format!("no thread for a player: {error}")))?;
        Ok(Player { stop, done })
    }

    /// Stops it, and waits for that within reason.
    pub(super) fn stop(self) {
        self.stop.tell();
        if let Err(RecvTimeoutError::Timeout) = self.done.recv_timeout(STOPPED_WITHIN) {
            tracing::error!("a player did not stop within its deadline and is left behind");
        }
    }
}
