//! One picture as JPEG: a recording's poster, a line's snapshot. Blocks; decodes one keyframe.

use std::path::Path;
use std::time::Duration;

use gst::prelude::*;
use gst_app::{AppSink, AppSrc};

use super::format;
use super::frame::{Codec, Format};
use super::read::{ReadError, Reader};
use crate::media::tap::Track;

/// Pixels of a picture that is decoded: more than any camera has, and what a stranger may have us take memory for.
const MAX_PIXELS: u64 = 36_000_000;
/// Pixels, each way, of a poster.
const POSTER: u32 = 640;
/// For decoding one picture, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);
/// Clusters in which a first picture is looked for: a minute.
const CLUSTERS: usize = 240;

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    #[error("{0}")]
    Read(#[from] ReadError),
    /// There is sound alone, or nothing yet.
    #[error("there is no picture")]
    None,
    #[error("the picture cannot be decoded")]
    Undecodable,
    /// As many as may be are being made.
    #[error("too many pictures are asked for")]
    Busy,
}

/// A recording's first picture, of the line's if it has any, scaled down. Also of a file that is being written. Blocks.
///
/// # Errors
/// [`PictureError`].
pub fn poster(path: &Path) -> Result<Vec<u8>, PictureError> {
    let mut reader = Reader::open(path)?;
    let videos = reader.tracks.iter().enumerate().filter(|(_, (place, _))| place.kind == Track::Video);
    let video = videos.min_by_key(|(_, (place, _))| place.rank()).map(|(track, _)| track).ok_or(PictureError::None)?;
    for _ in 0..CLUSTERS {
        let Some(entries) = reader.piece().map_err(ReadError::from)? else { break };
        if let Some(entry) = entries.iter().find(|entry| entry.track == video && entry.keyframe) {
            let data = reader.data(entry).map_err(ReadError::from)?;
            return jpeg(&reader.tracks[video].1, &data, Some(POSTER));
        }
    }
    Err(PictureError::None)
}

/// A keyframe as it came from a line.
///
/// # Errors
/// [`PictureError`].
pub(in crate::media) fn snapshot(codec: Codec, keyframe: &[u8]) -> Result<Vec<u8>, PictureError> {
    let (format, data) = match codec {
        Codec::H264 => format::h264(keyframe).and_then(|picture| Some((picture.format?, picture.data))),
        Codec::Vp8 | Codec::Vp9 => {
            format::vpx(codec, keyframe).and_then(|(_, format)| Some((format?, keyframe.to_vec())))
        }
        _ => None,
    }
    .ok_or(PictureError::None)?;
    jpeg(&format, &data, None)
}

fn jpeg(format: &Format, keyframe: &[u8], at_most: Option<u32>) -> Result<Vec<u8>, PictureError> {
    let (width, height) = (format.width.max(1), format.height.max(1));
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PictureError::Undecodable);
    }
    let has = |factory| gst::ElementFactory::find(factory).is_some();
    let decoder = match format.codec {
        Codec::H264 if has("avdec_h264") => "h264parse ! avdec_h264",
        Codec::H264 => "h264parse ! openh264dec",
        Codec::Vp8 => "vp8dec",
        Codec::Vp9 => "vp9dec",
        _ => return Err(PictureError::None),
    };
    let size = match at_most.map(|most| (most, width.max(height))).filter(|(most, longest)| longest > most) {
        Some((most, longest)) => {
            let scaled = |side: u32| (u64::from(side) * u64::from(most) / u64::from(longest)).max(2) & !1;
            format!(",width={},height={}", scaled(width), scaled(height))
        }
        None => String::new(),
    };
    let text = format!(
        "appsrc name=in format=time ! {decoder} ! videoconvert ! videoscale ! video/x-raw,pixel-aspect-ratio=1/1{size} \
         ! jpegenc quality=85 ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text) // invariant: only numbers and words of ours go into the text
        .ok()
        .and_then(|element| element.downcast::<gst::Pipeline>().ok())
        .ok_or(PictureError::Undecodable)?;
    let picture = decode(&pipeline, format, keyframe);
    let _ = pipeline.set_state(gst::State::Null);
    picture.ok_or(PictureError::Undecodable)
}

fn decode(pipeline: &gst::Pipeline, format: &Format, keyframe: &[u8]) -> Option<Vec<u8>> {
    let source = pipeline.by_name("in").and_downcast::<AppSrc>()?;
    let sink = pipeline.by_name("out").and_downcast::<AppSink>()?;
    let (width, height) = (i32::try_from(format.width).ok()?, i32::try_from(format.height).ok()?);
    let caps = match format.codec {
        Codec::H264 => gst::Caps::builder("video/x-h264")
            .field("stream-format", "avc")
            .field("alignment", "au")
            .field("codec_data", gst::Buffer::from_slice(format.private.clone())),
        Codec::Vp8 => gst::Caps::builder("video/x-vp8"),
        _ => gst::Caps::builder("video/x-vp9"),
    };
    source.set_caps(Some(&caps.field("width", width).field("height", height).build()));
    pipeline.set_state(gst::State::Playing).ok()?;
    let mut buffer = gst::Buffer::from_slice(keyframe.to_vec());
    buffer.get_mut()?.set_pts(gst::ClockTime::ZERO);
    source.push_buffer(buffer).ok()?;
    source.end_of_stream().ok()?;
    let sample = sink.try_pull_sample(gst::ClockTime::try_from(DEADLINE).ok()?)?;
    Some(sample.buffer()?.map_readable().ok()?.to_vec())
}
