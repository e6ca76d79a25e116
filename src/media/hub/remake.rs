//! The source's video as H.264: decoded and encoded once for all taps, while one of them needs it.
//!
//! What comes out is constrained baseline of at most 1280 pixels a side, without reordered pictures: every browser takes it (RFC 7742,
//! section 6.2), and one core makes it.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gst::prelude::*;

use super::Shared;
use super::pattern::h264_encoder;
use super::pipeline::{Failure, bring_down, on_clock_time, sink, watch};
use crate::media::SourceError;

/// The longest side of what is made, in pixels: 1280x720 is what level 3.1, which every browser offers, has room for.
const LONGEST_SIDE: u32 = 1280;
/// Frames from keyframe to keyframe when nobody asks for one: 4 s at 25 a second. It bounds what a caller who joins has to decode first.
const FRAMES_PER_KEYFRAME: u32 = 100;
/// Bits a pixel and second, in thousandths of kbit: 2.3 Mbit/s for 1280x720.
const BITRATE: u64 = 2_500;
/// kbit/s.
const LEAST_BITRATE: u32 = 300;
const MOST_BITRATE: u32 = 3_000;

/// A running transcoder. Dropping it stops it.
pub(super) struct Remaker {
    pipeline: Option<gst::Pipeline>,
    pub(super) input: gst_app::AppSrc,
    output: gst::Element,
    /// Pictures before this are decoded, since others refer to them, and not shown: nanoseconds of the clock.
    begins: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
}

impl Remaker {
    /// Starts a transcoder for video of `caps`; what it makes goes to `shared`'s taps under this number.
    ///
    /// # Errors
    /// [`SourceError::GStreamer`] when an element is missing or refuses to start.
    pub(super) fn start(caps: &gst::Caps, number: u64, shared: Weak<Shared>) -> Result<Remaker, SourceError> {
        let lost = || SourceError::GStreamer("an element of the video transcoder is missing".into());
        let text = format!(
            "appsrc name=input ! {} ! queue name=raw leaky=downstream max-size-buffers=3 max-size-bytes=0 max-size-time=0 \
             ! videoconvert ! videoscale ! capsfilter name=size ! {},stream-format=byte-stream,alignment=au \
             ! identity name=output silent=true",
            decoder(caps),
            h264_encoder(MOST_BITRATE, FRAMES_PER_KEYFRAME)?
        );
        let chain = gst::parse::launch(&text); // invariant: decoder and encoder are words of ours
        let chain = chain.map_err(|_| SourceError::Unsupported("video".into()))?;
        let pipeline = chain.downcast::<gst::Pipeline>().map_err(|_| SourceError::GStreamer("no pipeline".into()))?;
        on_clock_time(&pipeline);
        let input = pipeline.by_name("input").and_downcast::<gst_app::AppSrc>().ok_or_else(lost)?;
        let [raw, size, output] = ["raw", "size", "output"].map(|name| pipeline.by_name(name));
        let (Some(raw), Some(size), Some(output)) = (raw, size, output) else { return Err(lost()) };
        // Bounded by the fan, which knows keyframes: see `Remaking`.
        input.set_max_buffers(0);
        input.set_max_bytes(0);
        input.set_caps(Some(caps));
        input.set_format(gst::Format::Time);
        input.set_is_live(true);
        // Nothing is shown before it is known where to begin.
        let begins = Arc::new(AtomicU64::new(u64::MAX));
        shape(&raw, &size, &begins);
        let taps = shared.clone();
        let made = sink(move |sample| {
            if let Some(shared) = taps.upgrade() {
                shared.fan.remade(number, sample);
            }
        });
        let broken = |_| SourceError::GStreamer("the video transcoder cannot be built".into());
        pipeline.add(&made).map_err(broken)?;
        output.link(&made).map_err(broken)?;
        let failed = Arc::new(AtomicBool::new(false));
        let failing = failed.clone();
        watch(&pipeline, move |failure| {
            if let Failure::Error(error, _) = failure {
                tracing::warn!(%error, "the source's video cannot be transcoded");
            }
            failing.store(true, Ordering::Relaxed);
            if let Some(shared) = shared.upgrade() {
                shared.desk.tell(|_| ());
            }
        });
        let remaker = Remaker { pipeline: Some(pipeline.clone()), input, output, begins, failed };
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| SourceError::GStreamer("the video transcoder does not start".into()))?;
        Ok(remaker)
    }

    /// The first picture to show.
    pub(super) fn begin_at(&self, time: Option<gst::ClockTime>) {
        self.begins.store(time.map_or(0, gst::ClockTime::nseconds), Ordering::Relaxed);
    }

    /// It makes nothing any more.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The next picture is to be a keyframe.
    pub(super) fn force_keyframe(&self) {
        if let Some(pad) = self.output.static_pad("sink") {
            pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }
}

impl Drop for Remaker {
    fn drop(&mut self) {
        if let Some(pipeline) = self.pipeline.take() {
            bring_down(pipeline);
        }
    }
}

/// Lets no picture through that is before `begins`, and sets size and bitrate by what the decoder says that it makes.
fn shape(raw: &gst::Element, size: &gst::Element, begins: &Arc<AtomicU64>) {
    if let Some(pad) = raw.static_pad("sink") {
        let begins = begins.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let begins = gst::ClockTime::from_nseconds(begins.load(Ordering::Relaxed));
            match info.buffer().and_then(|buffer| buffer.pts()) {
                // Not Drop: gstreamer-rs 0.25 keeps the buffer then, and GStreamer complains that there is none to drop.
                Some(pts) if pts < begins => gst::PadProbeReturn::Handled,
                _ => gst::PadProbeReturn::Ok,
            }
        });
    }
    if let Some(pad) = raw.static_pad("src") {
        let size = size.downgrade();
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let (Some(size), Some(event)) = (size.upgrade(), info.event())
                && let gst::EventView::Caps(caps) = event.view()
                && let Ok(made) = gst_video::VideoInfo::from_caps(caps.caps())
            {
                let (width, height) = scaled(made.width(), made.height(), made.par());
                let picture = gst::Caps::builder("video/x-raw").field("format", "I420");
                let picture = picture.field("width", width as i32).field("height", height as i32);
                size.set_property("caps", picture.field("pixel-aspect-ratio", gst::Fraction::new(1, 1)).build());
                set_bitrate(&size, bitrate(width, height));
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// The size of what is made of a picture, with square pixels and even sides.
fn scaled(width: u32, height: u32, par: gst::Fraction) -> (u32, u32) {
    let (wide, high) = (i64::from(par.numer()).max(1), i64::from(par.denom()).max(1));
    // Bounded, so that products fit: no decoder makes more.
    let width = (i64::from(width.min(1 << 15)) * wide / high).clamp(2, 1 << 20);
    let height = i64::from(height.clamp(2, 1 << 15));
    let longest = width.max(height).max(i64::from(LONGEST_SIDE));
    let side = |side: i64| ((side * i64::from(LONGEST_SIDE) / longest) as u32 & !1).max(2);
    (side(width), side(height))
}

/// kbit/s for a picture of this size.
fn bitrate(width: u32, height: u32) -> u32 {
    let kilobits = u64::from(width) * u64::from(height) * BITRATE / 1_000_000;
    (kilobits as u32).clamp(LEAST_BITRATE, MOST_BITRATE)
}

/// Sets the bitrate of the encoder behind `size`.
fn set_bitrate(size: &gst::Element, kilobits: u32) {
    let encoder = size.static_pad("src").and_then(|pad| pad.peer()).and_then(|pad| pad.parent_element());
    match encoder.as_ref().and_then(|encoder| Some((encoder, encoder.factory()?))) {
        Some((encoder, factory)) if factory.name() == "x264enc" => encoder.set_property("bitrate", kilobits),
        Some((encoder, factory)) if factory.name() == "openh264enc" => encoder.set_property("bitrate", kilobits * 1000),
        _ => {}
    }
}

/// What decodes video of `caps`: chosen by hand where it is clear, as in `transcode`. libav's own threads would cost a picture's time
/// each; one is fast enough.
fn decoder(caps: &gst::Caps) -> &'static str {
    let name = caps.structure(0).map_or("", |structure| structure.name().as_str());
    let has = |factory| gst::ElementFactory::find(factory).is_some();
    match name {
        "video/x-raw" => "identity",
        "video/x-h264" if has("avdec_h264") => "avdec_h264 max-threads=1",
        "video/x-h265" if has("avdec_h265") => "h265parse ! avdec_h265 max-threads=1",
        "video/x-vp8" if has("vp8dec") => "vp8dec",
        "video/x-vp9" if has("vp9dec") => "vp9dec",
        "image/jpeg" if has("jpegdec") => "jpegdec",
        _ => "decodebin",
    }
}

/// Whether H.264 can be made here of video of `caps`.
pub(super) fn can_be_remade(caps: &gst::Caps) -> bool {
    let has = |factory| gst::ElementFactory::find(factory).is_some();
    let decodable = decoder(caps) != "decodebin"
        || gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::MARGINAL)
            .iter()
            .any(|factory| factory.can_sink_any_caps(caps));
    decodable && h264_encoder(MOST_BITRATE, FRAMES_PER_KEYFRAME).is_ok() && has("videoconvert") && has("videoscale")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_has_even_sides_of_at_most_1280_pixels_and_the_pictures_shape() {
        let square = gst::Fraction::new(1, 1);
        assert_eq!(scaled(1280, 720, square), (1280, 720));
        assert_eq!(scaled(640, 360, square), (640, 360));
        assert_eq!(scaled(1920, 1080, square), (1280, 720));
        assert_eq!(scaled(2160, 3840, square), (720, 1280));
        assert_eq!(scaled(853, 481, square), (852, 480));
        assert_eq!(scaled(720, 576, gst::Fraction::new(16, 15)), (768, 576), "PAL");
        assert_eq!(scaled(1, 1, square), (2, 2));
        assert_eq!(scaled(u32::MAX, 1, gst::Fraction::new(i32::MAX, 1)), (1280, 2));
    }

    #[test]
    fn a_larger_picture_gets_more_bits_within_bounds() {
        assert_eq!(
            [bitrate(320, 180), bitrate(640, 360), bitrate(1280, 720), bitrate(1280, 1280)],
            [300, 576, 2304, 3000]
        );
    }
}
