//! G.711 as Opus, for an export. Blocks.

use gst::prelude::*;
use gst_app::{AppSink, AppSrc};

use super::format::sound_length;
use super::frame::{Codec, Format, Frame};

/// Nanoseconds by which a piece may be off from where those before it end: clocks jitter, and drift apart.
const SLACK: u64 = 40_000_000;
/// Nanoseconds that a packet lasts.
const PACKET: u64 = 20_000_000;
/// For the next packet, on a busy machine.
const DEADLINE: gst::ClockTime = gst::ClockTime::from_seconds(30);

/// Packets and their times.
type Packets = Vec<(u64, Vec<u8>)>;

/// The same sound in packets of [`super::format::opus`], one channel. `None` when it cannot be encoded.
pub(super) fn encode(format: &Format, frames: &[Frame]) -> Option<Packets> {
    let mut packets = Vec::new();
    let mut run: Vec<&Frame> = Vec::new();
    let mut next = 0;
    for frame in frames {
        // Late: a gap. Early: more came than there is time for, and what is too much is left out.
        if !run.is_empty() && frame.pts > next + SLACK {
            encode_run(format, &run, &mut packets)?;
            run.clear();
        }
        if run.is_empty() {
            next = frame.pts;
        } else if frame.pts + SLACK < next {
            continue;
        }
        next += sound_length(format, &frame.data);
        run.push(frame);
    }
    encode_run(format, &run, &mut packets)?;
    Some(packets)
}

/// Frames that follow each other without a gap.
fn encode_run(format: &Format, frames: &[&Frame], packets: &mut Packets) -> Option<()> {
    let Some(first) = frames.first() else { return Some(()) };
    // What was encoded before must not reach into this.
    let begin = packets.last().map_or(first.pts, |(last, _)| first.pts.max(last + PACKET));
    let decoder = if format.codec == Codec::Pcmu { "mulawdec" } else { "alawdec" };
    let text = format!(
        "appsrc name=in format=time ! {decoder} ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=1 \
         ! opusenc frame-size=20 bitrate=32000 ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text).ok()?.downcast::<gst::Pipeline>().ok()?; // invariant: words of ours
    let packets_of_run = (|| {
        let source = pipeline.by_name("in").and_downcast::<AppSrc>()?;
        let sink = pipeline.by_name("out").and_downcast::<AppSink>()?;
        let name = if format.codec == Codec::Pcmu { "audio/x-mulaw" } else { "audio/x-alaw" };
        let (rate, channels) = (i32::try_from(format.rate).ok()?, i32::try_from(format.channels).ok()?);
        source.set_caps(Some(&gst::Caps::builder(name).field("rate", rate).field("channels", channels).build()));
        source.set_max_bytes(0);
        pipeline.set_state(gst::State::Playing).ok()?;
        let data: Vec<u8> = frames.iter().flat_map(|frame| frame.data.iter().copied()).collect();
        let mut buffer = gst::Buffer::from_slice(data);
        buffer.get_mut()?.set_pts(gst::ClockTime::ZERO);
        source.push_buffer(buffer).ok()?;
        source.end_of_stream().ok()?;
        let mut out = Vec::new();
        while let Some(sample) = sink.try_pull_sample(DEADLINE) {
            out.push(sample.buffer()?.map_readable().ok()?.to_vec());
        }
        sink.is_eos().then_some(out)
    })();
    let _ = pipeline.set_state(gst::State::Null);
    packets.extend((0..).zip(packets_of_run?).map(|(nth, packet)| (begin + nth * PACKET, packet)));
    Some(())
}
