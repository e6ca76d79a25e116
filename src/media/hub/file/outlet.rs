//! How a player reaches its hub.

use std::time::{Duration, Instant};

use super::{AudioTrack, Sound, Stop, VideoTrack};
use crate::endpoint::{VideoCodec, VideoStream};
use crate::media::SourceError;
use crate::media::hub::feed::Feed;
use crate::media::hub::h264::{ParameterSets, read_access_unit};
use crate::media::hub::unit::VideoFormat;
use crate::media::hub::vpx;

/// How long the first caller's sound may take to be ready for it.
const READY_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Outlet {
    feed: Feed,
    segment: gst::FormattedSegment<gst::ClockTime>,
}

impl Outlet {
    pub(super) fn new(feed: Feed) -> Outlet {
        Outlet { feed, segment: gst::FormattedSegment::new() }
    }

    /// What the programme has: then the hub is open.
    pub(super) fn describe(&self, video: Option<VideoStream>, audio: Option<&AudioTrack>) {
        self.feed.news(|news| {
            news.video_codec = video.as_ref().map(|video| video.codec.clone());
            news.video = video;
            news.audio = audio.map(|track| track.stream.clone());
            news.audio_caps = audio.map(|track| track.sound.caps());
        });
    }

    /// Waits until somebody watches, and is ready to hear. True when it is not to be waited for any more.
    pub(super) fn wait_for_taker(&self, stop: &Stop) -> bool {
        let Some(shared) = self.feed.shared.upgrade() else { return true };
        let mut until = None;
        while !stop.is_told() {
            self.alive();
            let facts = shared.desk.lock();
            let ready = facts.opus_takers == 0 || facts.news.audio_caps.is_none() || shared.fan.transcodes();
            if facts.goes {
                return false;
            }
            if facts.taken {
                let until = *until.get_or_insert_with(|| Instant::now() + READY_WITHIN);
                if ready || Instant::now() >= until {
                    return false;
                }
            }
            let at_most = if facts.taken { Duration::from_millis(5) } else { Duration::from_millis(500) };
            drop(shared.desk.wait(facts, at_most));
        }
        true
    }

    pub(super) fn picture(&self, track: VideoTrack, buffer: &gst::BufferRef, pts: gst::ClockTime) {
        if let (Some(shared), Some(memory)) = (self.feed.shared.upgrade(), buffer.all_memory()) {
            shared.fan.video(self.feed.generation, track.format, memory, pts);
        }
    }

    pub(super) fn sound(
        &self,
        sound: Sound,
        caps: &gst::Caps,
        bytes: gst::Buffer,
        pts: gst::ClockTime,
        duration: gst::ClockTime,
    ) {
        let Some(shared) = self.feed.shared.upgrade() else { return };
        let mut buffer = bytes;
        let plain = buffer.make_mut();
        plain.set_pts(pts);
        plain.set_dts(gst::ClockTime::NONE);
        plain.set_duration(duration);
        plain.unset_flags(gst::BufferFlags::DISCONT);
        let sample = gst::Sample::builder().buffer(&buffer).caps(caps).segment(&self.segment).build();
        // The hub is told by the player that it lives.
        shared.fan.audio(self.feed.generation, &sample, sound.format(), true);
    }

    /// Nothing is due, and nothing is wrong.
    pub(super) fn alive(&self) {
        if let Some(shared) = self.feed.shared.upgrade() {
            shared.fan.alive(self.feed.generation);
        }
    }

    /// The programme has come to its end.
    pub(super) fn over(&self) {
        self.feed.news(|news| news.over = true);
    }

    pub(super) fn failed(&self, error: SourceError) {
        self.feed.trouble(error.into());
    }
}

/// What a file's pictures are, as the first of them says; `None` when it is none that a caller can begin with.
pub(super) fn described(track: VideoTrack, picture: &gst::BufferRef) -> Option<VideoStream> {
    let bytes = picture.map_readable().ok()?;
    let vpx = |codec, name| {
        let (width, height) = vpx::Frame::read(codec, &bytes)?.size?;
        Some(VideoStream { codec: name, profile_level_id: None, width, height, reordered: false, to_h264: false })
    };
    match track.format {
        VideoFormat::H264 => {
            let mut sets = ParameterSets::default();
            read_access_unit(&bytes, &mut sets);
            let (width, height) = sets.picture_size()?;
            let profile_level_id = sets.profile_level_id();
            // What comes out of order is encoded anew.
            Some(VideoStream {
                codec: VideoCodec::H264,
                profile_level_id,
                width,
                height,
                reordered: false,
                to_h264: false,
            })
        }
        VideoFormat::Vp8 => vpx(vpx::Codec::Vp8, VideoCodec::Vp8),
        VideoFormat::Vp9 => vpx(vpx::Codec::Vp9, VideoCodec::Vp9),
        VideoFormat::Other => None,
    }
}
