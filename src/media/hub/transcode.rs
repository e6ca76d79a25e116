//! The source's audio as Opus: decoded and encoded once for all taps, while one of them needs it.

use std::sync::Weak;

use gst::prelude::*;

use super::Shared;
use super::pipeline::{Failure, bring_down, on_clock_time, sink, watch};
use crate::media::SourceError;

/// A running transcoder. Dropping it stops it.
pub(super) struct Transcoder {
    pipeline: Option<gst::Pipeline>,
    pub(super) input: gst_app::AppSrc,
}

/// Buffers that may wait to be decoded; the oldest go first, so that the source's thread never waits.
const MAX_WAITING: u64 = 50;

impl Transcoder {
    /// Starts a transcoder for audio of `caps`; what it makes goes to `shared`'s taps.
    ///
    /// # Errors
    /// [`SourceError::GStreamer`] when an element is missing or refuses to start.
    pub(super) fn start(caps: &gst::Caps, shared: Weak<Shared>) -> Result<Transcoder, SourceError> {
        let broken = |_| SourceError::GStreamer("the audio transcoder cannot be built".into());
        let decoder = decoder(caps);
        let text = format!(
            "appsrc name=input ! {decoder} ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=[1,2] \
             ! opusenc frame-size=20 ! identity name=output silent=true"
        );
        let chain = gst::parse::launch(&text); // invariant: the decoder is one of this file's words
        let chain = chain.map_err(|_| SourceError::Unsupported("audio".into()))?;
        let pipeline = chain.downcast::<gst::Pipeline>().map_err(|_| SourceError::GStreamer("no pipeline".into()))?;
        on_clock_time(&pipeline);
        let input = pipeline.by_name("input").and_downcast::<gst_app::AppSrc>();
        let (Some(input), Some(output)) = (input, pipeline.by_name("output")) else { return Err(element_lost()) };
        input.set_caps(Some(caps));
        input.set_format(gst::Format::Time);
        input.set_is_live(true);
        input.set_max_buffers(MAX_WAITING);
        input.set_leaky_type(gst_app::AppLeakyType::Downstream);
        let taps = shared.clone();
        let opus = sink(move |sample| {
            if let Some(shared) = taps.upgrade() {
                shared.fan.transcoded(sample);
            }
        });
        pipeline.add(&opus).map_err(broken)?;
        output.link(&opus).map_err(broken)?;
        watch(&pipeline, |failure| {
            // The call goes on without sound; the source's next opening tries again.
            if let Failure::Error(error, _) = failure {
                tracing::warn!(%error, "the source's audio cannot be transcoded");
            }
        });
        let transcoder = Transcoder { pipeline: Some(pipeline.clone()), input };
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| SourceError::GStreamer("the audio transcoder does not start".into()))?;
        Ok(transcoder)
    }
}

fn element_lost() -> SourceError {
    SourceError::GStreamer("an element of the audio transcoder is missing".into())
}

/// What decodes audio of `caps`: chosen by hand where it is clear, which is quicker and lighter than `decodebin`.
fn decoder(caps: &gst::Caps) -> &'static str {
    let name = caps.structure(0).map_or("", |structure| structure.name().as_str());
    let has = |factory| gst::ElementFactory::find(factory).is_some();
    match name {
        "audio/x-mulaw" => "mulawdec",
        "audio/x-alaw" => "alawdec",
        "audio/x-raw" => "identity",
        "audio/x-opus" => "opusdec",
        "audio/mpeg" if has("avdec_aac") => "aacparse ! avdec_aac",
        "audio/G722" if has("avdec_g722") => "avdec_g722",
        _ => "decodebin",
    }
}

impl Drop for Transcoder {
    fn drop(&mut self) {
        if let Some(pipeline) = self.pipeline.take() {
            bring_down(pipeline);
        }
    }
}

/// Whether anything here can decode audio of `caps`.
pub(super) fn decodable(caps: &gst::Caps) -> bool {
    decoder(caps) != "decodebin"
        || gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::MARGINAL)
            .iter()
            .any(|factory| factory.can_sink_any_caps(caps))
}
