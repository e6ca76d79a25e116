//! A file's pictures as H.264 that a browser shows as they come; and the last of them, to be kept on the line.

use std::time::Duration;

use gst::prelude::*;

use super::chain::chain;
use crate::media::SourceError;
use crate::media::hub::pattern::h264_encoder;
use crate::media::hub::pipeline::bring_down;
use crate::media::hub::unit::VideoFormat;

/// What pictures are scaled down to: more costs a core.
const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const FPS: u32 = 30;
/// kbit/s.
const BITRATE: u32 = 2000;
/// Pictures from keyframe to keyframe: two seconds' at most.
const GROUP: u32 = 60;
/// How long a single picture may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Decodes whatever comes, and encodes it.
///
/// # Errors
/// [`SourceError::GStreamer`] when an element is missing.
pub(super) fn h264() -> Result<gst::Bin, SourceError> {
    let encoder = h264_encoder(BITRATE, GROUP)?;
    // Square pixels, even sides; slower and smaller pictures stay as they are.
    let text = format!(
        "decodebin name=first ! videoconvert ! videoscale ! videorate drop-only=true max-rate={FPS} \
         ! video/x-raw,format=I420,width=[16,{WIDTH},2],height=[16,{HEIGHT},2],pixel-aspect-ratio=1/1 ! {encoder} \
         ! identity name=last silent=true"
    );
    chain(&text)
}

/// The last of these pictures, as a keyframe: `group` begins with one.
///
/// # Errors
/// [`SourceError::GStreamer`]: it cannot be decoded or encoded.
pub(super) fn still(format: VideoFormat, group: &[gst::Buffer]) -> Result<gst::Buffer, SourceError> {
    let encoder = match format {
        VideoFormat::H264 => format!("{} ! h264parse config-interval=-1", h264_encoder(BITRATE, 1)?),
        VideoFormat::Vp8 => "vp8enc deadline=1 target-bitrate=2000000".into(),
        VideoFormat::Vp9 => "vp9enc deadline=1 cpu-used=8 target-bitrate=2000000 ! vp9parse".into(),
        VideoFormat::Other => return Err(nothing()),
    };
    let raw = gst::Caps::builder("video/x-raw").field("format", "I420").build();
    let picture = last_through("decodebin ! videoconvert", &format.caps(), group, &raw)?;
    let caps = picture.caps_owned().ok_or_else(nothing)?;
    let mut picture = picture.buffer_owned().ok_or_else(nothing)?;
    let plain = picture.make_mut();
    plain.set_pts(gst::ClockTime::ZERO);
    plain.set_dts(gst::ClockTime::NONE);
    let coded = last_through(&encoder, &caps, &[picture], &format.caps())?;
    coded.buffer_owned().ok_or_else(nothing)
}

fn nothing() -> SourceError {
    SourceError::GStreamer("the last picture cannot be kept".into())
}

/// The last sample that comes out of what is between when `buffers` go in.
fn last_through(
    between: &str,
    caps: &gst::Caps,
    buffers: &[gst::Buffer],
    out: &gst::Caps,
) -> Result<gst::Sample, SourceError> {
    let pipeline = gst::Pipeline::with_name("still");
    let source = gst_app::AppSrc::builder().caps(caps).format(gst::Format::Time).max_bytes(0).build();
    let sink = gst_app::AppSink::builder().sync(false).caps(out).max_buffers(1).build();
    let bin = chain(&format!("identity name=first silent=true ! {between} ! identity name=last silent=true"))?;
    let parts = [source.upcast_ref(), bin.upcast_ref(), sink.upcast_ref::<gst::Element>()];
    let linked = pipeline.add_many(parts).and_then(|()| gst::Element::link_many(parts));
    let last = linked.ok().filter(|()| pipeline.set_state(gst::State::Playing).is_ok()).and_then(|()| {
        for buffer in buffers {
            source.push_buffer(buffer.clone()).ok()?;
        }
        source.end_of_stream().ok()?;
        let patience = gst::ClockTime::try_from(PATIENCE).ok()?;
        std::iter::from_fn(|| sink.try_pull_sample(patience)).last()
    });
    bring_down(pipeline);
    last.ok_or_else(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_picture_of_a_group_becomes_a_keyframe() {
        crate::media::init().unwrap();
        let encoder = h264_encoder(500, 100).unwrap();
        let chain = format!(
            "videotestsrc num-buffers=5 ! video/x-raw,format=I420,width=320,height=180,framerate=25/1 ! {encoder} \
             ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
        );
        let pipeline = gst::parse::launch(&chain).unwrap().downcast::<gst::Pipeline>().unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let group: Vec<_> = std::iter::from_fn(|| out.pull_sample().ok()?.buffer_owned()).collect();
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(group.len(), 5);

        let still = still(VideoFormat::H264, &group).unwrap();

        let bytes = still.map_readable().unwrap();
        let kinds: Vec<u8> = crate::media::hub::h264::nals(&bytes).iter().map(|nal| bytes[nal.start] & 31).collect();
        assert!([7, 8, 5].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    }
}
