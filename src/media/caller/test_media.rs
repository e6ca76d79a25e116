//! A tone and a moving picture for the other side.

use gst::prelude::*;
use gst_app::{AppSink, AppSinkCallbacks};

use crate::endpoint::{AudioCodec, AudioStream, Streams, VideoCodec, VideoStream};
use crate::media::PeerError;
use crate::media::beat;
use crate::media::peer::connection::fault;
use crate::media::peer::outgoing::Format;

macro_rules! tone {
    () => {
        "audiotestsrc is-live=true freq=660 samplesperbuffer=960 ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! identity name=tone silent=true ! audioconvert ! audioresample"
    };
}
macro_rules! out {
    () => {
        " ! appsink name=out sync=false buffer-list=true"
    };
}
const H264: &str = concat!(
    "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=15/1 ! identity name=picture silent=true ",
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! video/x-h264,profile=constrained-baseline ",
    "! rtph264pay name=pay config-interval=-1 aggregate-mode=zero-latency",
    out!()
);
macro_rules! vpx {
    ($codec:literal) => {
        concat!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=15/1 ! identity name=picture silent=true ! ",
            $codec,
            "enc deadline=1 cpu-used=8 lag-in-frames=0 threads=1 target-bitrate=400000 keyframe-max-dist=30 ! rtp",
            $codec,
            "pay name=pay",
            out!()
        )
    };
}
const VP8: &str = vpx!("vp8");
const VP9: &str = vpx!("vp9");
const PCMU: &str = concat!(tone!(), " ! mulawenc ! rtppcmupay name=pay max-ptime=20000000", out!());
const PCMA: &str = concat!(tone!(), " ! alawenc ! rtppcmapay name=pay max-ptime=20000000", out!());
const OPUS: &str = concat!(tone!(), " ! opusenc ! rtpopuspay name=pay", out!());

/// What test media can be, as a line's streams.
pub(super) fn streams() -> Streams {
    let video = VideoStream {
        codec: VideoCodec::H264,
        profile_level_id: None,
        width: 320,
        height: 240,
        reordered: false,
        to_h264: false,
    };
    let audio = AudioStream { codec: AudioCodec::Opus, rate: 48_000, channels: 2 };
    Streams { video: Some(video), audio: Some(audio) }
}

/// A live source of one track in a pipeline of its own, which pushes its packets on a pad. Dropping it stops it; that blocks for milliseconds.
pub(super) struct TestMedia(gst::Pipeline);

impl TestMedia {
    /// Starts sending `format` on `pad`.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`] when an element is missing.
    pub(super) fn start(format: Format, payload_type: u8, ssrc: u32, pad: gst::Pad) -> Result<Self, PeerError> {
        let text = match format {
            Format::H264 => H264,
            Format::VP8 => VP8,
            Format::VP9 => VP9,
            Format::PCMU => PCMU,
            Format::PCMA => PCMA,
            _ => OPUS,
        };
        let launched = gst::parse::launch(text); // invariant: text is one of the constants above
        let pipeline = launched
            .ok()
            .and_then(|element| element.downcast::<gst::Pipeline>().ok())
            .ok_or_else(|| fault("an element for test media is missing"))?;
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(gst::ClockTime::ZERO);
        let out = pipeline.by_name("out").and_then(|element| element.downcast::<AppSink>().ok());
        let (Some(payloader), Some(out)) = (pipeline.by_name("pay"), out) else {
            return Err(fault("test media has no end"));
        };
        beat::add(pipeline.by_name("picture"), pipeline.by_name("tone"));
        payloader.set_property("pt", u32::from(payload_type));
        payloader.set_property("ssrc", ssrc);
        let new_sample = move |out: &AppSink| {
            let sample = out.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let Some(segment) = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>()) else {
                return Ok(gst::FlowSuccess::Ok);
            };
            let list = sample.buffer_list();
            for packet in list.iter().flat_map(|list| list.iter_owned()).chain(sample.buffer_owned()) {
                let mut packet = packet;
                // The clock's time: x264enc shifts both PTS and segment by 1000 hours.
                let time = packet.pts().and_then(|pts| segment.to_running_time(pts));
                let header = packet.make_mut();
                header.set_pts(time);
                header.set_dts(gst::ClockTime::NONE);
                pad.push(packet)?;
            }
            Ok(gst::FlowSuccess::Ok)
        };
        out.set_callbacks(AppSinkCallbacks::builder().new_sample(new_sample).build());
        pipeline.set_state(gst::State::Playing).map_err(|_| fault("test media does not start"))?;
        Ok(Self(pipeline))
    }
}

impl Drop for TestMedia {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}
