//! What the hub's thread is told: a few facts behind a lock and a condition variable. There is no queue that could fill.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fan::Generation;
use super::remake::can_be_remade;
use super::trouble::Trouble;
use super::unit::VideoFormat;
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
    /// Taps that need the source's video as H.264.
    pub(super) h264_takers: usize,
    /// One of them cannot go on without a keyframe.
    pub(super) keyframe_wanted: bool,
    /// A tap has joined since the source was last opened.
    pub(super) taken: bool,
    /// Nobody is waited for with the first picture.
    pub(super) goes: bool,
    /// Which of the source's ends comes next: a lease from before an end counts no more.
    pub(super) epoch: u64,
    /// All handles are gone.
    pub(super) closing: bool,
    generation: Generation,
    pub(super) news: News,
}

/// What is known of the source since it was last opened.
#[derive(Default)]
pub(super) struct News {
    pub(super) video_codec: Option<VideoCodec>,
    /// What the video is, once it can be told.
    pub(super) video: Option<VideoStream>,
    /// What the video's buffers are, once one came; of those that can be carried it may be left out.
    pub(super) video_caps: Option<gst::Caps>,
    pub(super) audio: Option<AudioStream>,
    /// What the audio's buffers are, once one came.
    pub(super) audio_caps: Option<gst::Caps>,
    /// Something came of a stream that nobody can use.
    pub(super) unread: bool,
    pub(super) failure: Option<Trouble>,
    /// The source has come to its end, as a file does.
    pub(super) over: bool,
}

impl News {
    /// The source's streams, once enough has come to tell.
    pub(super) fn streams(&self) -> Option<Streams> {
        let video = match (&self.video_codec, &self.video) {
            (Some(_), Some(video)) => {
                let to_h264 = self.video_caps().is_some_and(|caps| can_be_remade(&caps));
                Some(VideoStream { to_h264, ..video.clone() })
            }
            // A camera describes its streams one after the other, and sends once all are: until then audio may follow.
            (Some(codec), None) if self.unread => Some(unseen(codec.clone())),
            (Some(_), None) => return None,
            (None, _) => {
                // Audio alone is open when it is heard.
                self.audio_caps.as_ref()?;
                None
            }
        };
        Some(Streams { video, audio: self.audio.clone() })
    }

    /// What the video's buffers are.
    pub(super) fn video_caps(&self) -> Option<gst::Caps> {
        let carried = || match VideoFormat::of(&self.video.as_ref()?.codec) {
            VideoFormat::Other => None,
            format => Some(format.caps()),
        };
        self.video_caps.clone().or_else(carried)
    }

    /// The first picture came of video that nothing is read of but these caps.
    pub(super) fn has_other_video(&mut self, caps: gst::Caps) {
        let fields = caps.structure(0);
        let side = |name| fields.and_then(|fields| fields.get::<i32>(name).ok()).map_or(0, i32::unsigned_abs);
        let (width, height) = (side("width"), side("height"));
        self.video = self.video_codec.clone().map(|codec| VideoStream { width, height, ..unseen(codec) });
        self.video_caps = Some(caps);
    }
}

/// Video of which nothing is known but what it is said to be.
fn unseen(codec: VideoCodec) -> VideoStream {
    VideoStream { codec, profile_level_id: None, width: 0, height: 0, reordered: false, to_h264: false }
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
        facts.taken = false;
        facts.generation
    }

    /// Gives up the lock until something is told, for `at_most`.
    pub(super) fn wait<'a>(&self, facts: MutexGuard<'a, Facts>, at_most: Duration) -> MutexGuard<'a, Facts> {
        self.wake.wait_timeout(facts, at_most).unwrap_or_else(PoisonError::into_inner).0
    }
}
