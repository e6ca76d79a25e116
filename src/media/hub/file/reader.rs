//! Reads one file once, from its beginning to its end, as fast as the intake takes it.

use std::path::Path;
use std::sync::Arc;

use gst::prelude::*;

use super::chain::chain;
use super::intake::{Intake, Kind, Piece};
use super::playlist::look_at;
use super::{AudioTrack, Sound, VideoTrack, encode};
use crate::endpoint::{AudioCodec, AudioStream};
use crate::media::hub::pipeline::{Failure, bring_down, watch};
use crate::media::hub::unit::{AudioFormat, VideoFormat};
use crate::media::{FileFault, SourceError};

/// How pictures are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pictures {
    /// As they are, where they can be carried.
    AsTheyAre,
    /// Decoded, and encoded as H.264: B-frames cannot be carried, since WebRTC's receivers show pictures in the order in which they come.
    Encoded,
}

/// Which tracks are read; others are read past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) video: bool,
    pub(super) audio: bool,
}

impl Wants {
    pub(super) const BOTH: Wants = Wants { video: true, audio: true };
}

/// A file that is being read. Dropping it stops that.
pub(super) struct Reader {
    pipeline: Option<gst::Pipeline>,
    pub(super) intake: Arc<Intake>,
}

impl Reader {
    /// Starts to read; what comes is in the intake.
    ///
    /// # Errors
    /// What can be seen to be wrong at once; the rest is the intake's fault.
    pub(super) fn open(file: &Path, pictures: Pictures, wants: Wants) -> Result<Reader, FileFault> {
        look_at(file)?;
        let intake = Arc::new(Intake::default());
        let pipeline = pipeline(file, pictures, wants, &intake).map_err(broken)?;
        let reader = Reader { pipeline: Some(pipeline.clone()), intake };
        match pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(reader),
            Err(_) => Err(reader.intake.failure().unwrap_or(FileFault::Damaged)),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.intake.close();
        if let Some(pipeline) = self.pipeline.take() {
            // Not waited for: the next pass is due.
            let spawned = std::thread::Builder::new().name("reader-down".into()).spawn(move || bring_down(pipeline));
            if let Err(error) = spawned {
                tracing::error!(%error, "no thread to stop reading a file");
            }
        }
    }
}

fn broken(error: SourceError) -> FileFault {
    FileFault::Unsupported(error.to_string())
}

fn element(factory: &str) -> Result<gst::Element, SourceError> {
    crate::media::hub::pipeline::element(factory)
}

fn unlinked<E>(_: E) -> SourceError {
    SourceError::GStreamer("the file's parts cannot be linked".into())
}

fn pipeline(file: &Path, pictures: Pictures, wants: Wants, intake: &Arc<Intake>) -> Result<gst::Pipeline, SourceError> {
    let pipeline = gst::Pipeline::with_name("file");
    let (source, parser) = (element("filesrc")?, element("parsebin")?);
    source.set_property("location", file);
    pipeline.add_many([&source, &parser]).map_err(unlinked)?;
    source.link(&parser).map_err(unlinked)?;

    let (adding, weak) = (intake.clone(), pipeline.downgrade());
    parser.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        if let Err(error) = attach(&pipeline, pad, pictures, wants, &adding) {
            adding.fault(broken(error));
        }
    });
    let failing = intake.clone();
    watch(&pipeline, move |failure| {
        // Of its end each track tells itself.
        if let Failure::Error(error, _) = failure {
            failing.fault(fault(&error));
        }
    });
    Ok(pipeline)
}

fn fault(error: &glib::Error) -> FileFault {
    match error.kind::<gst::StreamError>() {
        Some(gst::StreamError::TypeNotFound | gst::StreamError::WrongType) => FileFault::NotMedia,
        Some(gst::StreamError::CodecNotFound) => FileFault::Unsupported("no decoder".into()),
        _ => FileFault::Damaged,
    }
}

/// Links what a track of the file needs behind it.
fn attach(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    pictures: Pictures,
    wants: Wants,
    intake: &Arc<Intake>,
) -> Result<(), SourceError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0).map(|fields| fields.name().to_string()).unwrap_or_default();
    let chain = match name.split('/').next() {
        Some("video" | "image") if wants.video => pictures_of(&caps, pictures, intake)?,
        Some("audio") if wants.audio => sound_of(&caps, intake)?,
        _ => None,
    };
    // What nobody sees or hears is read past.
    let chain = match chain {
        Some((kind, mut chain)) => {
            let (intake, ending) = (intake.clone(), intake.clone());
            // After the player has gone, what still comes is dropped.
            let put = move |pad: &gst::Pad, buffer| piece(pad, buffer).is_none_or(|piece| intake.put(kind, piece));
            chain.push(taker(put, move || ending.end(kind))?);
            chain
        }
        None => {
            let (passing, ending) = (intake.clone(), intake.clone());
            vec![taker(move |_, _| passing.pass(), move || ending.complete())?]
        }
    };
    pipeline.add_many(&chain).map_err(unlinked)?;
    gst::Element::link_many(&chain).map_err(unlinked)?;
    for element in chain.iter().rev() {
        element.sync_state_with_parent().map_err(unlinked)?;
    }
    let Some(first) = chain.first().and_then(|first| first.static_pad("sink")) else { return Ok(()) };
    pad.link(&first).map_err(unlinked)?;
    Ok(())
}

/// A track of the file, and the elements that it goes through.
type Track = (Kind, Vec<gst::Element>);

fn pictures_of(caps: &gst::Caps, pictures: Pictures, intake: &Arc<Intake>) -> Result<Option<Track>, SourceError> {
    let as_it_is = format_of(caps).filter(|_| pictures == Pictures::AsTheyAre);
    let (format, chain) = match as_it_is {
        Some(VideoFormat::H264) => (VideoFormat::H264, vec![h264_parser()?]),
        Some(VideoFormat::Vp9) => (VideoFormat::Vp9, vec![element("vp9parse")?]),
        Some(format) => (format, Vec::new()),
        None if decodable(caps) => (VideoFormat::H264, vec![encode::h264()?.upcast(), h264_parser()?]),
        None => {
            tracing::warn!(codec = %name_of(caps), "a file's pictures cannot be decoded here");
            return Ok(None);
        }
    };
    if !intake.has_video(VideoTrack { format }) {
        return Ok(None);
    }
    Ok(Some((Kind::Video, with_caps(chain, &format.caps())?)))
}

fn h264_parser() -> Result<gst::Element, SourceError> {
    let parser = element("h264parse")?;
    parser.set_property("config-interval", -1);
    Ok(parser)
}

/// What of a file's pictures can be carried as it is.
fn format_of(caps: &gst::Caps) -> Option<VideoFormat> {
    let fields = caps.structure(0)?;
    // A field, half a picture, is none; and more than 8 bits or other than half the colour is read by no browser.
    let usual = |name, usual: &[&str]| fields.get::<&str>(name).map_or(true, |value| usual.contains(&value));
    match fields.name().as_str() {
        "video/x-h264" if usual("profile", H264_PROFILES) && usual("interlace-mode", &["progressive"]) => {
            Some(VideoFormat::H264)
        }
        "video/x-vp8" => Some(VideoFormat::Vp8),
        "video/x-vp9" if usual("profile", &["0"]) => Some(VideoFormat::Vp9),
        _ => None,
    }
}

const H264_PROFILES: &[&str] =
    &["constrained-baseline", "baseline", "main", "high", "constrained-high", "progressive-high"];

fn decodable(caps: &gst::Caps) -> bool {
    name_of(caps) == "video/x-raw"
        || gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::MARGINAL)
            .iter()
            .any(|factory| factory.can_sink_any_caps(caps))
}

fn name_of(caps: &gst::Caps) -> String {
    caps.structure(0).map(|fields| fields.name().to_string()).unwrap_or_default()
}

fn sound_of(caps: &gst::Caps, intake: &Arc<Intake>) -> Result<Option<Track>, SourceError> {
    let Some(fields) = caps.structure(0) else { return Ok(None) };
    let number = |name| fields.get::<i32>(name).ok().and_then(|value| u32::try_from(value).ok());
    // Some demuxers leave it to the decoder to know; then it is told as what leaves here.
    let (rate, channels) = (number("rate").unwrap_or(48_000), number("channels").unwrap_or(2));
    let codec = match (fields.name().as_str(), rate, channels) {
        ("audio/x-opus", _, 1 | 2) => AudioCodec::Opus,
        ("audio/x-mulaw", 8000, 1) => AudioCodec::Pcmu,
        ("audio/x-alaw", 8000, 1) => AudioCodec::Pcma,
        (name, ..) => AudioCodec::Other(readable(name, fields)),
    };
    let sound = match AudioFormat::of(&codec) {
        Some(AudioFormat::Opus) => Sound::Opus,
        Some(format) => Sound::G711(format),
        None => Sound::Raw,
    };
    let (chain, carried) = match sound {
        Sound::Opus => (Vec::new(), gst::Caps::new_empty_simple("audio/x-opus")),
        Sound::G711(_) => (Vec::new(), gst::Caps::new_empty_simple(fields.name().as_str())),
        Sound::Raw if decodable(caps) || fields.name() == "audio/x-raw" => {
            // All sound that has to be decoded leaves here in one form: it is cut and joined by samples, and each file's like the next's.
            let decoder = chain("decodebin name=first ! audioconvert ! audioresample name=last")?;
            (vec![decoder.upcast()], Sound::raw_caps())
        }
        Sound::Raw => {
            tracing::warn!(codec = %name_of(caps), "a file's sound cannot be decoded here");
            return Ok(None);
        }
    };
    let stream = AudioStream { codec, rate, channels };
    if !intake.has_audio(AudioTrack { stream, sound }) {
        return Ok(None);
    }
    Ok(Some((Kind::Audio, with_caps(chain, &carried)?)))
}

/// A codec's name for people.
fn readable(name: &str, fields: &gst::StructureRef) -> String {
    let number = |name| fields.get::<i32>(name).unwrap_or(0);
    match name {
        "audio/mpeg" if number("mpegversion") == 1 => "MP3".into(),
        "audio/mpeg" => "AAC".into(),
        "audio/x-raw" => "PCM".into(),
        other => other.trim_start_matches("audio/").trim_start_matches("x-").to_uppercase(),
    }
}

fn with_caps(mut chain: Vec<gst::Element>, caps: &gst::Caps) -> Result<Vec<gst::Element>, SourceError> {
    let filter = element("capsfilter")?;
    filter.set_property("caps", caps);
    chain.push(filter);
    Ok(chain)
}

/// Takes what comes, on the streaming thread. It is no sink: one waits with its first buffer until the pipeline plays, which it does not
/// before every decoder has shown a picture, for which the one thread that takes a file apart must go on.
fn taker(
    put: impl Fn(&gst::Pad, gst::Buffer) -> bool + Send + Sync + 'static,
    end: impl Fn() + Send + Sync + 'static,
) -> Result<gst::Element, SourceError> {
    let pad = gst::Pad::builder(gst::PadDirection::Sink)
        .name("sink")
        .chain_function(
            move |pad, _, buffer| {
                if put(pad, buffer) { Ok(gst::FlowSuccess::Ok) } else { Err(gst::FlowError::Flushing) }
            },
        )
        .event_function(move |pad, parent, event| {
            if event.type_() == gst::EventType::Eos {
                end();
            }
            gst::Pad::event_default(pad, parent, event)
        })
        .build();
    let bin = gst::Bin::new();
    bin.add_pad(&pad).map_err(unlinked)?;
    Ok(bin.upcast())
}

/// A buffer with its place on the file's time line. One without a time cannot be placed: a header, as Opus and FLAC have them.
fn piece(pad: &gst::Pad, buffer: gst::Buffer) -> Option<Piece> {
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = segment.segment().downcast_ref::<gst::ClockTime>()?;
    let at = |time: gst::ClockTime| i64::try_from(time.nseconds()).ok();
    let start = segment.start().and_then(at).unwrap_or(0);
    let base = segment.base().and_then(at).unwrap_or(0);
    let time = at(buffer.pts()?)? - start + base;
    let duration = buffer.duration().and_then(at).unwrap_or(0);
    (buffer.size() > 0).then_some(Piece { time, duration, buffer })
}
