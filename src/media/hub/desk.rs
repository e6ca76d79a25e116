//! What the hub's thread is told: a few facts behind a lock and a condition variable. There is no queue that could fill.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fan::Generation;
use super::trouble::Trouble;
use crate::endpoint::{AudioStream, Streams, VideoCodec, VideoStream};

/// Where handles and GStreamer's threads leave word for the hub's thread.
#[derive(Default)]
pub(super) struct Desk {
    facts: Mutex<Facts>,
    wake: Condvar,
}

#[derive(Default)]
pub(super) struct Facts {
    pub(super) leases: usize,
    /// When the last lease was given back.
    pub(super) unused_since: Option<Instant>,
    /// A new lease: the next try is now.
    pub(super) hurry: bool,
    /// Taps that need the source's audio as Opus.
    pub(super) opus_takers: usize,
    /// All handles are gone.
    pub(super) closing: bool,
    generation: Generation,
    pub(super) news: News,
}

/// What is known of the source since it was last opened.
#[derive(Default)]
pub(super) struct News {
    pub(super) video_codec: Option<VideoCodec>,
    /// The stream that can be carried, once a keyframe was seen.
    pub(super) video: Option<VideoStream>,
    pub(super) audio: Option<AudioStream>,
    /// What the audio's buffers are, once one came.
    pub(super) audio_caps: Option<gst::Caps>,
    /// Something came of a stream that nobody can use.
    pub(super) unread: bool,
    pub(super) failure: Option<Trouble>,
}

impl News {
    /// The source's streams, once enough has come to tell.
    pub(super) fn streams(&self) -> Option<Streams> {
        let video = match &self.video_codec {
            Some(VideoCodec::H264 | VideoCodec::Vp8 | VideoCodec::Vp9) => Some(self.video.clone()?),
            Some(VideoCodec::Other(name)) => {
                // A camera describes its streams one after the other, and sends once all are: until then audio may follow.
                if !self.unread && self.audio_caps.is_none() {
                    return None;
                }
                Some(VideoStream {
                    codec: VideoCodec::Other(name.clone()),
                    profile_level_id: None,
                    width: 0,
                    height: 0,
                })
            }
            None => {
                // Audio alone is open when it is heard.
                self.audio_caps.as_ref()?;
                None
            }
        };
        Some(Streams { video, audio: self.audio.clone() })
    }
}

impl Desk {
    pub(super) fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the facts and wakes the hub's thread.
    pub(super) fn tell<T>(&self, change: impl FnOnce(&mut Facts) -> T) -> T {
        let value = change(&mut self.lock());
        self.wake.notify_all();
        value
    }

    /// Changes the news of one opening; those of an earlier one are dropped.
    pub(super) fn news(&self, generation: Generation, change: impl FnOnce(&mut News)) {
        self.tell(|facts| {
            if facts.generation == generation {
                change(&mut facts.news);
            }
        });
    }

    /// Starts a new opening: no news yet.
    pub(super) fn begin(&self) -> Generation {
        let mut facts = self.lock();
        facts.generation += 1;
        facts.news = News::default();
        facts.generation
    }

    /// Gives up the lock until something is told, for `at_most`.
    pub(super) fn wait<'a>(&self, facts: MutexGuard<'a, Facts>, at_most: Duration) -> MutexGuard<'a, Facts> {
        self.wake.wait_timeout(facts, at_most).unwrap_or_else(PoisonError::into_inner).0
    }
}
