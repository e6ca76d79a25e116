//! How a source's pipeline, on threads of GStreamer's, reaches its hub.

use std::sync::Weak;

use super::Shared;
use super::fan::{Generation, clock_time};
use super::pipeline::{Failure, sink};
use super::trouble::Trouble;
use super::unit::{AudioFormat, VideoFormat};
use crate::endpoint::{AudioStream, VideoCodec, VideoStream};

/// Bytes that a picture may have when it comes in parts: far above a keyframe of any camera.
const MAX_UNIT: usize = 8 << 20;

/// The hub as one opening of its source sees it: weak, and deaf to what comes after the next opening.
#[derive(Clone)]
pub(super) struct Feed {
    pub(super) shared: Weak<Shared>,
    pub(super) generation: Generation,
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

    pub(super) fn news(&self, change: impl FnOnce(&mut super::desk::News)) {
        if let Some(shared) = self.shared.upgrade() {
            shared.desk.news(self.generation, change);
        }
    }

    /// Takes whole pictures of `format`, each a buffer.
    pub(super) fn video_sink(&self, format: VideoFormat) -> gst_app::AppSink {
        let mut video = self.video(format);
        let sink = sink(move |sample| {
            if let (Some(memory), Some(pts)) =
                (sample.buffer().and_then(|buffer| buffer.all_memory()), clock_time(sample))
            {
                video(memory, pts);
            }
        });
        sink.set_caps(Some(&format.caps()));
        sink
    }

    /// Takes whole pictures, each a buffer, of video that goes nowhere but into the transcoder.
    pub(super) fn other_video_sink(&self) -> gst_app::AppSink {
        let feed = self.clone();
        let mut told = false;
        sink(move |sample| {
            let (Some(shared), Some(buffer), Some(pts)) = (feed.shared.upgrade(), sample.buffer(), clock_time(sample))
            else {
                return;
            };
            if !told && let Some(caps) = sample.caps_owned() {
                feed.news(|news| news.has_other_video(caps));
                told = true;
            }
            if let Some(memory) = buffer.all_memory() {
                let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
                shared.fan.other_video(feed.generation, memory, keyframe, pts);
            }
        })
    }

    /// Takes H.264 access units out of RTP. `rtph264depay` cuts a unit in two where it finds parameter sets between slices (see
    /// `h264`); only the last part has the marker.
    pub(super) fn depayloaded_h264_sink(&self) -> gst_app::AppSink {
        let mut video = self.video(VideoFormat::H264);
        let mut parts: Option<(gst::ClockTime, Vec<u8>)> = None;
        let sink = sink(move |sample| {
            let (Some(buffer), Some(pts)) = (sample.buffer(), clock_time(sample)) else { return };
            // A camera that sets no markers is one picture late: a unit ends when the next begins.
            if let Some((first_pts, unit)) = parts.take_if(|(first_pts, _)| *first_pts != pts) {
                video(gst::Memory::from_slice(unit), first_pts);
            }
            let last = buffer.flags().contains(gst::BufferFlags::MARKER);
            match (parts.take(), buffer.all_memory()) {
                (None, Some(memory)) if last => video(memory, pts),
                (unit, Some(memory)) => {
                    let Ok(part) = memory.map_readable() else { return };
                    let mut unit = unit.map(|(_, unit)| unit).unwrap_or_default();
                    if unit.len() + part.len() > MAX_UNIT {
                        return;
                    }
                    unit.extend_from_slice(&part);
                    if last {
                        video(gst::Memory::from_slice(unit), pts);
                    } else {
                        parts = Some((pts, unit));
                    }
                }
                (_, None) => {}
            }
        });
        sink.set_caps(Some(&VideoFormat::H264.caps()));
        sink
    }

    fn video(&self, format: VideoFormat) -> impl FnMut(gst::Memory, gst::ClockTime) + Send + 'static {
        let feed = self.clone();
        let mut told: Option<VideoStream> = None;
        move |memory, pts| {
            let Some(shared) = feed.shared.upgrade() else { return };
            let video = shared.fan.video(feed.generation, format, memory, pts);
            if video.is_some() && video != told {
                told.clone_from(&video);
                feed.news(|news| {
                    news.video = video;
                    news.video_caps = Some(format.caps());
                });
            }
        }
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
        let mut told = false;
        sink(move |_| {
            if let Some(shared) = feed.shared.upgrade() {
                shared.fan.alive(feed.generation);
                if !told {
                    feed.news(|news| news.unread = true);
                    told = true;
                }
            }
        })
    }
}
