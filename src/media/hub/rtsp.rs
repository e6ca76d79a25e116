//! An RTSP camera as a hub's source.

use glib::object::ObjectExt;
use gst::prelude::*;
use url::Url;

use super::feed::Feed;
use super::pipeline::{element, pipeline, watch};
use super::transcode::decodable;
use super::trouble::Trouble;
use super::unit::{AudioFormat, VideoFormat};
use crate::endpoint::{AudioCodec, AudioStream, RtspTransport, VideoCodec};
use crate::media::SourceError;

/// Milliseconds that RTP may be out of order over UDP.
const UDP_LATENCY: u32 = 100;
/// Milliseconds; TCP reorders nothing, but the first packet of each stream waits this long.
const TCP_LATENCY: u32 = 20;
/// Microseconds that connecting and each answer may take. Some cameras take two seconds to wake up.
const ANSWER_WITHIN: u64 = 4_000_000;
/// Microseconds without a UDP packet after which the camera counts as silent.
const UDP_SILENCE: u64 = 5_000_000;

/// Starts to read from `url`; what comes goes to `feed`.
///
/// # Errors
/// [`SourceError::GStreamer`] when an element is missing. What the camera does wrong is told to `feed`.
pub(super) fn open(url: &Url, transport: RtspTransport, feed: &Feed) -> Result<gst::Pipeline, SourceError> {
    let pipeline = pipeline("rtsp");
    let source = element("rtspsrc")?;
    let (protocols, latency) = match transport {
        RtspTransport::Tcp => ("tcp", TCP_LATENCY),
        RtspTransport::Udp => ("udp", UDP_LATENCY),
    };
    source.set_property_from_str("protocols", protocols);
    source.set_property("latency", latency);
    source.set_property("tcp-timeout", ANSWER_WITHIN);
    source.set_property("timeout", UDP_SILENCE);
    set_address(&source, url);

    let selecting = feed.clone();
    source.connect("select-stream", false, move |args| {
        let caps = args.get(2).and_then(|caps| caps.get::<gst::Caps>().ok());
        Some(caps.is_some_and(|caps| select(&caps, &selecting)).to_value())
    });
    let (adding, weak) = (feed.clone(), pipeline.downgrade());
    source.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        if let Err(error) = attach(&pipeline, pad, &adding) {
            adding.trouble(Trouble::from(error));
        }
    });
    pipeline.add(&source).map_err(|_| SourceError::GStreamer("rtspsrc cannot be added".into()))?;
    let failing = feed.clone();
    watch(&pipeline, move |failure| failing.failed(failure));
    Ok(pipeline)
}

/// The user name and password go to properties of their own: the address that messages may show has none.
fn set_address(source: &gst::Element, url: &Url) {
    let decoded = |text: &str| {
        glib::uri_unescape_string(text, None::<&str>).map_or_else(|| text.to_owned(), |text| text.to_string())
    };
    if !url.username().is_empty() {
        source.set_property("user-id", decoded(url.username()));
        source.set_property("user-pw", decoded(url.password().unwrap_or_default()));
    }
    let mut address = url.clone();
    // These fail only for addresses without a host, which an endpoint never is.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    source.set_property("location", address.as_str());
}

/// Takes the first video and the first audio stream; no metadata, no second picture.
fn select(caps: &gst::Caps, feed: &Feed) -> bool {
    let Some(described) = Described::of(caps) else { return false };
    match described.media {
        "video" => feed.has_video(described.video_codec()),
        "audio" => match described.audio_stream(caps) {
            Some(audio) => feed.has_audio(audio),
            None => {
                tracing::warn!(codec = described.encoding, "the camera's audio cannot be decoded here");
                false
            }
        },
        _ => false,
    }
}

/// An RTP stream as its SDP describes it.
struct Described<'a> {
    media: &'a str,
    encoding: &'a str,
    clock_rate: u32,
    channels: u32,
}

impl<'a> Described<'a> {
    fn of(caps: &'a gst::Caps) -> Option<Described<'a>> {
        let fields = caps.structure(0)?;
        let clock_rate = fields.get::<i32>("clock-rate").ok().and_then(|rate| u32::try_from(rate).ok()).unwrap_or(0);
        let channels = fields.get::<&str>("encoding-params").ok().and_then(|count| count.parse().ok()).unwrap_or(1);
        Some(Described {
            media: fields.get("media").ok()?,
            encoding: fields.get("encoding-name").ok()?,
            clock_rate,
            channels,
        })
    }

    fn video_codec(&self) -> VideoCodec {
        match self.encoding {
            "H264" => VideoCodec::H264,
            "VP8" | "VP8-DRAFT-IETF-01" => VideoCodec::Vp8,
            "VP9" | "VP9-DRAFT-IETF-01" => VideoCodec::Vp9,
            other => VideoCodec::Other(other.to_owned()),
        }
    }

    fn audio_codec(&self) -> AudioCodec {
        // G.711 at another rate or with two channels is no PCMU or PCMA of WebRTC (RFC 7874).
        match (self.encoding, self.clock_rate, self.channels) {
            ("PCMU", 8000, 1) => AudioCodec::Pcmu,
            ("PCMA", 8000, 1) => AudioCodec::Pcma,
            ("OPUS" | "X-GST-OPUS-DRAFT-SPITTKA-00", _, _) => AudioCodec::Opus,
            ("MPEG4-GENERIC" | "MP4A-LATM", _, _) => AudioCodec::Other("AAC".into()),
            (other, _, _) => AudioCodec::Other(other.to_owned()),
        }
    }

    /// `None` when nothing here can decode it.
    fn audio_stream(&self, caps: &gst::Caps) -> Option<AudioStream> {
        let codec = self.audio_codec();
        let depayloader = depayloader(caps)?;
        let mut outputs =
            depayloader.static_pad_templates().into_iter().filter(|pad| pad.direction() == gst::PadDirection::Src);
        let readable = AudioFormat::of(&codec).is_some() || outputs.any(|pad| decodable(&pad.caps()));
        readable.then_some(AudioStream { codec, rate: self.clock_rate, channels: self.channels })
    }
}

/// The best element that takes RTP of `caps`.
fn depayloader(caps: &gst::Caps) -> Option<gst::ElementFactory> {
    // While streams are selected, rtspsrc still calls them application/x-unknown.
    let mut caps = caps.clone();
    if let Some(fields) = caps.make_mut().structure_mut(0) {
        fields.set_name("application/x-rtp");
    }
    gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DEPAYLOADER, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|factory| factory.can_sink_any_caps(&caps))
        .max_by_key(|factory| factory.rank())
}

/// Links what a new stream needs behind it.
fn attach(pipeline: &gst::Pipeline, pad: &gst::Pad, feed: &Feed) -> Result<(), SourceError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let Some(described) = Described::of(&caps) else { return Ok(()) };
    let chain = match described.media {
        "video" => match VideoFormat::of(&described.video_codec()) {
            VideoFormat::H264 => vec![element("rtph264depay")?, feed.depayloaded_h264_sink().upcast()],
            format @ VideoFormat::Vp8 => vec![element("rtpvp8depay")?, feed.video_sink(format).upcast()],
            format @ VideoFormat::Vp9 => vec![element("rtpvp9depay")?, feed.video_sink(format).upcast()],
            VideoFormat::Other => match depayloader(&caps).and_then(|factory| factory.create().build().ok()) {
                Some(depayloader) if described.encoding == "H265" => {
                    // Whole pictures, with their parameter sets before each keyframe: a transcoder may start at any.
                    let parser = element("h265parse")?;
                    parser.set_property("config-interval", -1);
                    let sink = feed.other_video_sink();
                    let units = gst::Caps::builder("video/x-h265").field("stream-format", "byte-stream");
                    sink.set_caps(Some(&units.field("alignment", "au").build()));
                    vec![depayloader, parser, sink.upcast()]
                }
                Some(depayloader) => vec![depayloader, feed.other_video_sink().upcast()],
                None => vec![feed.unread_sink().upcast()],
            },
        },
        "audio" => {
            let depayloader = depayloader(&caps).and_then(|factory| factory.create().build().ok());
            let depayloader = depayloader.ok_or_else(|| SourceError::Unsupported(described.encoding.to_owned()))?;
            vec![depayloader, feed.audio_sink(AudioFormat::of(&described.audio_codec())).upcast()]
        }
        _ => vec![feed.unread_sink().upcast()],
    };
    let broken = |_| SourceError::GStreamer("the camera's stream cannot be linked".into());
    pipeline.add_many(&chain).map_err(broken)?;
    gst::Element::link_many(&chain).map_err(broken)?;
    for element in chain.iter().rev() {
        element.sync_state_with_parent().map_err(broken)?;
    }
    let Some(sink) = chain.first().and_then(|first| first.static_pad("sink")) else { return Ok(()) };
    pad.link(&sink).map_err(|_| SourceError::GStreamer("the camera's stream cannot be linked".into()))?;
    Ok(())
}
