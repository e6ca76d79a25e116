//! The way out to a caller: pads of ours that push a tap's packets into `webrtcbin`, without an appsrc (whose thread and queue
//! cost a sixth of a caller).

use std::sync::Arc;

use gst::prelude::*;
use gst_webrtc::WebRTCRTPTransceiver;
use tokio::sync::watch;

use super::connection::{Connection, Progress, fault};
use super::requests::KeyframeRequests;
use super::resend::{History, Wanted};
use crate::media::PeerError;
use crate::media::tap::{PacketSink, SinkGone, Track};
use crate::sdp::CallerTrack;

/// What a sending m-line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) struct Format {
    pub(in crate::media) track: Track,
    /// As in rtpmap, upper case.
    pub(in crate::media) encoding: &'static str,
    /// Hz.
    pub(in crate::media) clock_rate: i32,
}

impl Format {
    pub(in crate::media) const H264: Self = Self { track: Track::Video, encoding: "H264", clock_rate: 90_000 };
    pub(in crate::media) const VP8: Self = Self { track: Track::Video, encoding: "VP8", clock_rate: 90_000 };
    pub(in crate::media) const VP9: Self = Self { track: Track::Video, encoding: "VP9", clock_rate: 90_000 };
    pub(in crate::media) const OPUS: Self = Self { track: Track::Audio, encoding: "OPUS", clock_rate: 48_000 };
    pub(in crate::media) const PCMU: Self = Self { track: Track::Audio, encoding: "PCMU", clock_rate: 8_000 };
    pub(in crate::media) const PCMA: Self = Self { track: Track::Audio, encoding: "PCMA", clock_rate: 8_000 };

    /// How a track is sent.
    pub(in crate::media) fn of(track: CallerTrack) -> Self {
        match track {
            CallerTrack::H264 => Self::H264,
            CallerTrack::Vp8 => Self::VP8,
            CallerTrack::Vp9 => Self::VP9,
            CallerTrack::Opus => Self::OPUS,
            CallerTrack::Pcmu => Self::PCMU,
            CallerTrack::Pcma => Self::PCMA,
        }
    }

    /// Without profile-level-id: it would have to equal the offer's. The SSRC must be here, or the SDP groups SSRC 0.
    fn caps(self, payload_type: u8, ssrc: u32) -> gst::Caps {
        let media = match self.track {
            Track::Video => "video",
            Track::Audio => "audio",
        };
        let caps = gst::Caps::builder("application/x-rtp")
            .field("media", media)
            .field("encoding-name", self.encoding)
            .field("payload", i32::from(payload_type))
            .field("clock-rate", self.clock_rate)
            .field("ssrc", ssrc);
        match self.encoding {
            "OPUS" => caps.field("encoding-params", "2").build(),
            _ => caps.build(),
        }
    }
}

/// A source pad of ours, linked to a sink pad of `webrtcbin`.
pub(in crate::media) struct SourcePad {
    pad: gst::Pad,
    pub(in crate::media) track: Track,
    pub(in crate::media) ssrc: u32,
}

impl SourcePad {
    /// Requests `sink_<section>` of a `webrtcbin` that does not play yet and links a pad to it. `requests` counts keyframe requests.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`].
    pub(in crate::media) fn link(
        connection: &Connection,
        section: usize,
        track: Track,
        requests: &Arc<KeyframeRequests>,
    ) -> Result<Self, PeerError> {
        let sink = connection
            .webrtcbin
            .request_pad_simple(&format!("sink_{section}"))
            .ok_or_else(|| fault("webrtcbin gives no sink pad"))?;
        let requests = Arc::downgrade(requests);
        let pad = gst::Pad::builder(gst::PadDirection::Src)
            .event_function(move |_, _, event| {
                // PLI and FIR arrive as force-key-unit events. Only an encoder of ours can be asked (see `Tap::request_keyframe`).
                if event.structure().is_some_and(|s| s.name() == "GstForceKeyUnit")
                    && let Some(requests) = requests.upgrade()
                {
                    requests.ask();
                }
                true
            })
            .query_function(|pad, parent, query| match query.view_mut() {
                gst::QueryViewMut::Latency(latency) => {
                    latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                    true
                }
                _ => gst::Pad::query_default(pad, parent, query),
            })
            .build();
        pad.set_active(true).map_err(|_| fault("a pad cannot be activated"))?;
        pad.link(&sink).map_err(|_| fault("a pad cannot be linked to webrtcbin"))?;
        // RFC 3550, section 8.1: random. 0 is no SSRC to webrtcbin.
        Ok(Self { pad, track, ssrc: gst::glib::random_int().max(1) })
    }

    /// Announces the stream. `webrtcbin` must be playing, and must not have been given the answer: it connects only pads whose caps it
    /// has seen by then.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`].
    pub(in crate::media) fn announce(&self, format: Format, payload_type: u8) -> Result<(), PeerError> {
        let id = match self.track {
            Track::Video => "video",
            Track::Audio => "audio",
        };
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let caps = format.caps(payload_type, self.ssrc);
        let events =
            [gst::event::StreamStart::new(id), gst::event::Caps::new(&caps), gst::event::Segment::new(&segment)];
        for event in events {
            if !self.pad.push_event(event) {
                return Err(fault("webrtcbin refuses a stream's caps"));
            }
        }
        Ok(())
    }

    pub(in crate::media) fn pad(&self) -> gst::Pad {
        self.pad.clone()
    }

    /// The transceiver that `webrtcbin` made for it. `get-transceiver` counts transceivers, not m-lines: one that nothing is sent on has none
    /// before the answer.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`].
    pub(in crate::media) fn transceiver(&self) -> Result<WebRTCRTPTransceiver, PeerError> {
        let sink = self.pad.peer().filter(|sink| sink.find_property("transceiver").is_some());
        sink.and_then(|sink| sink.property("transceiver"))
            .ok_or_else(|| fault("webrtcbin has no transceiver for its pad"))
    }
}

/// Where a tap pushes. A blocked push returns when the pads flush.
pub(in crate::media) struct PadSink {
    video: Option<gst::Pad>,
    audio: Option<gst::Pad>,
    /// The video that may be asked for again: its SSRC and its last packets.
    history: Option<(u32, History)>,
    wanted: Arc<Wanted>,
    /// Until the first packet went out.
    first: Option<Arc<watch::Sender<Progress>>>,
}

impl PadSink {
    /// `resends`: the caller was promised that video packets which it lost are sent again.
    pub(in crate::media) fn new(
        pads: &[SourcePad],
        resends: bool,
        wanted: Arc<Wanted>,
        report: Arc<watch::Sender<Progress>>,
    ) -> Self {
        let of = |track| pads.iter().find(|pad| pad.track == track);
        let (video, audio) = (of(Track::Video), of(Track::Audio));
        Self {
            history: video.filter(|_| resends).map(|pad| (pad.ssrc, History::default())),
            video: video.map(SourcePad::pad),
            audio: audio.map(SourcePad::pad),
            wanted,
            first: Some(report),
        }
    }

    /// Sends lost video packets again, before what comes next.
    fn resend(&self) -> Result<(), SinkGone> {
        let (Some(pad), Some((ssrc, history))) = (&self.video, &self.history) else { return Ok(()) };
        for packet in history.again(*ssrc, &self.wanted) {
            pad.push(packet).map_err(|_| SinkGone)?;
        }
        Ok(())
    }
}

impl PacketSink for PadSink {
    fn push(&mut self, track: Track, packets: gst::BufferList) -> Result<(), SinkGone> {
        self.resend()?;
        let pad = match track {
            Track::Video => self.video.as_ref(),
            Track::Audio => self.audio.as_ref(),
        };
        // A tap sends only what it was asked for.
        let Some(pad) = pad else { return Ok(()) };
        if let (Track::Video, Some((_, history))) = (track, &mut self.history) {
            history.keep(&packets);
        }
        pad.push_list(packets).map_err(|_| SinkGone)?;
        if let Some(report) = self.first.take() {
            report.send_modify(|progress| progress.first_media = true);
        }
        Ok(())
    }
}

/// Makes every push, also one that is stuck in `webrtcbin`, return at once with an error.
pub(super) fn flush(pads: Vec<SourcePad>) {
    for SourcePad { pad, .. } in pads {
        pad.push_event(gst::event::FlushStart::new());
        let _ = pad.set_active(false);
    }
}
