//! `test://`: a moving picture with a clock in it, and a tone.

use gst::prelude::*;

use super::feed::Feed;
use super::pipeline::{on_clock_time, watch};
use super::unit::{AudioFormat, VideoFormat};
use crate::endpoint::{AudioCodec, AudioStream, TestPattern, VideoCodec};
use crate::media::SourceError;

/// Starts the test picture; what it makes goes to `feed`.
///
/// # Errors
/// [`SourceError::GStreamer`] when an element is missing.
pub(super) fn open(pattern: &TestPattern, feed: &Feed) -> Result<gst::Pipeline, SourceError> {
    let TestPattern { width, height, fps, tone, keyframe, bitrate } = *pattern;
    let wave = if tone == 0 { "silence" } else { "sine" };
    let tone = tone.max(1);
    let encoder = h264_encoder(bitrate, (fps * keyframe).max(1))?;
    let text = format!(
        "videotestsrc is-live=true pattern=ball \
         ! video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 \
         ! timeoverlay ! {encoder} ! h264parse ! identity name=video silent=true \
         audiotestsrc is-live=true wave={wave} freq={tone} volume=0.3 samplesperbuffer=960 \
         ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! opusenc frame-size=20 ! identity name=audio silent=true"
    );
    let broken = |_| SourceError::GStreamer("the test picture cannot be built".into());
    let pipeline = gst::parse::launch(&text); // invariant: only numbers and words of ours go into the text
    let pipeline = pipeline.map_err(|error| SourceError::GStreamer(error.message().into()))?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| SourceError::GStreamer("no pipeline".into()))?;
    on_clock_time(&pipeline);
    for (name, sink) in
        [("video", feed.video_sink(VideoFormat::H264)), ("audio", feed.audio_sink(Some(AudioFormat::Opus)))]
    {
        pipeline.add(&sink).map_err(broken)?;
        let end = pipeline.by_name(name).ok_or_else(|| SourceError::GStreamer(format!("no element {name}")))?;
        end.link(&sink).map_err(broken)?;
    }
    feed.has_video(VideoCodec::H264);
    feed.has_audio(AudioStream { codec: AudioCodec::Opus, rate: 48_000, channels: 1 });
    let failing = feed.clone();
    watch(&pipeline, move |failure| failing.failed(failure));
    Ok(pipeline)
}

/// An H.264 encoder of constrained baseline without delay, as launch text.
///
/// # Errors
/// [`SourceError::GStreamer`] when there is none.
pub(in crate::media) fn h264_encoder(kilobits: u32, frames_per_keyframe: u32) -> Result<String, SourceError> {
    let has = |factory| gst::ElementFactory::find(factory).is_some();
    let encoder = if has("x264enc") {
        // One thread: with more, zerolatency cuts each picture into as many slices.
        format!(
            "x264enc tune=zerolatency speed-preset=ultrafast threads=1 bitrate={kilobits} key-int-max={frames_per_keyframe} option-string=scenecut=0"
        )
    } else if has("openh264enc") {
        let bits = u64::from(kilobits) * 1000;
        format!("openh264enc complexity=low multi-thread=1 bitrate={bits} gop-size={frames_per_keyframe}")
    } else {
        return Err(SourceError::GStreamer("neither x264enc nor openh264enc is installed".into()));
    };
    Ok(format!("{encoder} ! video/x-h264,profile=constrained-baseline"))
}
