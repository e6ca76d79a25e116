//! What comes: depayloaded, counted, told, and handed to the recorder.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_app::{AppSink, AppSinkCallbacks};
use tokio::sync::{mpsc, watch};

use super::recorder::Recording;
use super::{AccessUnit, access_unit};
use crate::media::hub::vpx;
use crate::media::peer::incoming::{Incoming, Sequence, track_of};
use crate::media::tap::Track;

/// What of the media came so far. A watched state: nothing of it can pile up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Arrived {
    pub(super) video: bool,
    pub(super) audio: bool,
}

/// The receiving side of a caller.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) incoming: Arc<Incoming>,
    pub(super) arrived: watch::Sender<Arrived>,
    units: Option<mpsc::Sender<AccessUnit>>,
    recording: Option<Arc<Recording>>,
    pub(super) video_frames: AtomicU64,
    pub(super) video_keyframes: AtomicU64,
}

impl Receiver {
    pub(super) fn new(units: Option<mpsc::Sender<AccessUnit>>, recording: Option<Arc<Recording>>) -> Self {
        Self {
            incoming: Arc::default(),
            arrived: watch::Sender::default(),
            units,
            recording,
            video_frames: AtomicU64::new(0),
            video_keyframes: AtomicU64::new(0),
        }
    }

    /// Takes every stream that `webrtcbin` in `pipeline` receives, from now on.
    pub(super) fn attach(self: &Arc<Self>, pipeline: &gst::Pipeline, webrtcbin: &gst::Element) {
        let (receiver, pipeline) = (Arc::downgrade(self), pipeline.downgrade());
        webrtcbin.connect_pad_added(move |_, pad| {
            if let (Some(receiver), Some(pipeline)) = (receiver.upgrade(), pipeline.upgrade())
                && pad.direction() == gst::PadDirection::Src
                && receiver.link(&pipeline, pad).is_none()
            {
                tracing::warn!("a stream that came cannot be read");
            }
        });
    }

    fn link(self: &Arc<Self>, pipeline: &gst::Pipeline, pad: &gst::Pad) -> Option<()> {
        let track = track_of(pad)?;
        let caps = pad.current_caps()?;
        let (depayloader, raw) = match caps.structure(0)?.get::<&str>("encoding-name").ok()? {
            "H264" => ("rtph264depay", Some("video/x-h264,stream-format=byte-stream,alignment=au")),
            "VP8" => ("rtpvp8depay", None),
            "VP9" => ("rtpvp9depay", None),
            "OPUS" => ("rtpopusdepay", None),
            "PCMU" => ("rtppcmudepay", None),
            "PCMA" => ("rtppcmadepay", None),
            _ => return None,
        };
        self.guard(track, pad);
        let depayloader = gst::ElementFactory::make(depayloader).build().ok()?;
        let sink = AppSink::builder().sync(false).async_(false).build();
        if let Some(raw) = raw {
            sink.set_caps(Some(&raw.parse::<gst::Caps>().ok()?));
        }
        let receiver = Arc::downgrade(self);
        let new_sample = move |sink: &AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(receiver) = receiver.upgrade() {
                receiver.take(track, &sample);
            }
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(AppSinkCallbacks::builder().new_sample(new_sample).build());
        let elements = [&depayloader, sink.upcast_ref::<gst::Element>()];
        pipeline.add_many(elements).ok()?;
        gst::Element::link_many(elements).ok()?;
        for element in elements.into_iter().rev() {
            element.sync_state_with_parent().ok()?;
        }
        pad.link(&depayloader.static_pad("sink")?).ok().map(drop)
    }

    /// Counts packets, and drops them as long as the certificate has not been compared.
    fn guard(&self, track: Track, pad: &gst::Pad) {
        let (incoming, sequence) = (Arc::downgrade(&self.incoming), Sequence::default());
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
            let Some(incoming) = incoming.upgrade() else { return gst::PadProbeReturn::Drop };
            let used = match &info.data {
                Some(gst::PadProbeData::Buffer(packet)) => incoming.count(track, &sequence, packet),
                Some(gst::PadProbeData::BufferList(packets)) => {
                    let mut all = true;
                    for packet in packets.iter() {
                        all &= incoming.count(track, &sequence, packet);
                    }
                    all
                }
                _ => true,
            };
            if used { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Drop }
        });
    }

    /// A picture, or a packet of audio. On a streaming thread.
    fn take(&self, track: Track, sample: &gst::Sample) {
        let arrived = Instant::now();
        let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps()) else { return };
        let Ok(bytes) = buffer.map_readable() else { return };
        let mut keyframe = true;
        if track == Track::Video {
            let sha256;
            (sha256, keyframe) = match caps.structure(0).map_or("", |structure| structure.name().as_str()) {
                "video/x-h264" => access_unit::h264(&bytes),
                "video/x-vp9" => access_unit::vpx(vpx::Codec::Vp9, &bytes),
                _ => access_unit::vpx(vpx::Codec::Vp8, &bytes),
            };
            self.video_frames.fetch_add(1, Ordering::Relaxed);
            self.video_keyframes.fetch_add(u64::from(keyframe), Ordering::Relaxed);
            if let Some(units) = &self.units {
                let pts = buffer.pts().map_or(Duration::ZERO, |pts| Duration::from_nanos(pts.nseconds()));
                let _ = units.try_send(AccessUnit { arrived, pts, sha256, keyframe, data: bytes.to_vec() });
            }
        }
        if let Some(recording) = &self.recording {
            recording.write(track, sample, keyframe);
        }
        self.arrived.send_if_modified(|so_far| {
            let flag = match track {
                Track::Video => &mut so_far.video,
                Track::Audio => &mut so_far.audio,
            };
            !std::mem::replace(flag, true)
        });
    }
}
