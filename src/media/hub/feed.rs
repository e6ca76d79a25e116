//! How a source's pipeline, on threads of GStreamer's, reaches its hub.

use std::sync::Weak;

use super::Shared;
use super::fan::Generation;
use super::pipeline::{Failure, sink};
use super::trouble::Trouble;
use super::unit::AudioFormat;
use crate::endpoint::{AudioStream, VideoCodec, VideoStream};

/// The hub as one opening of its source sees it: weak, and deaf to what comes after the next opening.
#[derive(Clone)]
pub(super) struct Feed {
    shared: Weak<Shared>,
    generation: Generation,
}

impl Feed {
    pub(super) fn new(shared: Weak<Shared>, generation: Generation) -> Feed {
        Feed { shared, generation }
    }

    /// The source has this video. True for the first; any further is not taken.
    pub(super) fn has_video(&self, codec: VideoCodec) -> bool {
        let mut first = false;
        self.news(|news| {
            first = news.video_codec.is_none();
            news.video_codec.get_or_insert(codec);
        });
        first
    }

    /// The source has this audio. True for the first; any further is not taken.
    pub(super) fn has_audio(&self, audio: AudioStream) -> bool {
        let mut first = false;
        self.news(|news| {
            first = news.audio.is_none();
            news.audio.get_or_insert(audio);
        });
        first
    }

    pub(super) fn failed(&self, failure: Failure) {
        self.trouble(Trouble::of(failure));
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        // The first error is the cause, those after it are consequences.
        self.news(|news| {
            news.failure.get_or_insert(trouble);
        });
    }

    fn news(&self, change: impl FnOnce(&mut super::desk::News)) {
        if let Some(shared) = self.shared.upgrade() {
            shared.desk.news(self.generation, change);
        }
    }

    /// Takes H.264 access units.
    pub(super) fn video_sink(&self) -> gst_app::AppSink {
        let feed = self.clone();
        let mut told = false;
        sink(move |sample| {
            let Some(shared) = feed.shared.upgrade() else { return };
            let profile_level_id = shared.fan.video(feed.generation, sample);
            if !told && profile_level_id.is_some() {
                let caps = sample.caps().and_then(|caps| caps.structure(0));
                let pixels = |field| {
                    caps.and_then(|caps| caps.get::<i32>(field).ok())
                        .and_then(|size| u32::try_from(size).ok())
                        .unwrap_or(0)
                };
                let video = VideoStream {
                    codec: VideoCodec::H264,
                    profile_level_id,
                    width: pixels("width"),
                    height: pixels("height"),
                };
                feed.news(|news| news.video = Some(video));
                told = true;
            }
        })
    }

    /// Takes buffers of encoded audio, in `format` when it can go into RTP as it is.
    pub(super) fn audio_sink(&self, format: Option<AudioFormat>) -> gst_app::AppSink {
        let feed = self.clone();
        let mut told = false;
        let mut alone = true;
        sink(move |sample| {
            let Some(shared) = feed.shared.upgrade() else { return };
            if !told {
                let caps = sample.caps_owned();
                feed.news(|news| {
                    news.audio_caps = caps;
                    alone = news.video_codec.is_none();
                });
                told = true;
            }
            shared.fan.audio(feed.generation, sample, format, alone);
        })
    }

    /// Takes what nobody can use, to see that it comes.
    pub(super) fn unread_sink(&self) -> gst_app::AppSink {
        let feed = self.clone();
        sink(move |_| {
            if let Some(shared) = feed.shared.upgrade() {
                shared.fan.alive(feed.generation);
            }
        })
    }
}
