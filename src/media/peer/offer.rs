//! From a plan to an offer of ours, and from its answer to pads that send.

use std::sync::Arc;

use gst::prelude::*;
use gst_webrtc::{WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection, WebRTCSDPType};

use super::answer::advertise;
use super::connection::{Connection, fault};
use super::outgoing::{Format, SourcePad};
use super::requests::KeyframeRequests;
use crate::media::tap::Track;
use crate::media::{IceSettings, PeerError};
use crate::sdp::{
    CallerTrack, CallingPlan, CallingSection, Candidate, Fingerprint, LocalTransport, MediaKind, RemoteAnswer,
};

/// Adds the m-lines of `plan` to a `webrtcbin` that does not play yet. Returns the pads that will send; `requests` counts the other side's
/// keyframe requests.
///
/// # Errors
/// [`PeerError::GStreamer`].
pub(super) fn add_sections(
    connection: &Connection,
    plan: &CallingPlan,
    requests: &Arc<KeyframeRequests>,
) -> Result<Vec<SourcePad>, PeerError> {
    let mut pads = Vec::new();
    for (index, section) in plan.sections.iter().enumerate() {
        let track = match section.kind {
            MediaKind::Video => Track::Video,
            _ => Track::Audio,
        };
        let direction = match (section.direction.sends(), section.direction.receives()) {
            (true, true) => WebRTCRTPTransceiverDirection::Sendrecv,
            (true, false) => WebRTCRTPTransceiverDirection::Sendonly,
            (false, _) => WebRTCRTPTransceiverDirection::Recvonly,
        };
        let transceiver = if section.direction.sends() {
            let pad = SourcePad::link(connection, index, track, requests)?;
            let transceiver = pad.transceiver()?;
            transceiver.set_codec_preferences(Some(&preferences(section, Some(pad.ssrc))));
            transceiver.set_direction(direction);
            pads.push(pad);
            Some(transceiver)
        } else {
            connection.webrtcbin.emit_by_name::<Option<WebRTCRTPTransceiver>>(
                "add-transceiver",
                &[&direction, &preferences(section, None)],
            )
        };
        let transceiver = transceiver.ok_or_else(|| fault("webrtcbin makes no transceiver"))?;
        // Lost packets are asked for, and sent again.
        transceiver.set_property("do-nack", track == Track::Video);
    }
    Ok(pads)
}

/// What `webrtcbin` may offer on an m-line. Our own text goes out; this one has the same payload types.
fn preferences(section: &CallingSection, ssrc: Option<u32>) -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    if let Some(caps) = caps.get_mut() {
        for offered in &section.codecs {
            let (codec, name) = (&offered.codec, offered.codec.name.as_str());
            let mut structure = gst::Structure::builder("application/x-rtp")
                .field("media", section.kind.word())
                .field("encoding-name", name)
                .field("payload", i32::from(codec.payload_type))
                .field("clock-rate", codec.clock_rate as i32)
                .field_if_some("ssrc", ssrc)
                .field_if_some("encoding-params", (offered.track == CallerTrack::Opus).then_some("2"))
                .build();
            for (key, value) in &codec.fmtp {
                structure.set(key.as_str(), value);
            }
            for feedback in &codec.feedback {
                structure.set(format!("rtcp-fb-{}", feedback.replace(' ', "-")), true);
            }
            caps.append_structure(structure);
        }
    }
    caps
}

/// Makes the offer, with every candidate that was found in time.
///
/// # Errors
/// [`PeerError::GStreamer`].
pub(super) async fn offer(
    connection: &mut Connection,
    plan: &CallingPlan,
    ice: &IceSettings,
    fingerprint: Fingerprint,
) -> Result<(String, Vec<Candidate>), PeerError> {
    let description = connection.create("create-offer", "offer").await?;
    let text = description.sdp().as_text().map_err(|_| fault("webrtcbin's offer has no text"))?;
    connection.set_local(&description).await?;
    let complete = connection.gathered().await;
    let mut candidates = connection.found();
    advertise(&mut candidates, ice);
    let local = LocalTransport { fingerprint, candidates, complete };
    let text = plan.offer_text(&text, &local).map_err(|error| PeerError::GStreamer(error.to_string()))?;
    Ok((text, local.candidates))
}

/// Takes the first answer: each pad sends what the answer names first on its m-line.
///
/// # Errors
/// [`PeerError::GStreamer`].
pub(super) async fn take_answer(
    connection: &Connection,
    pads: &[SourcePad],
    answer: &RemoteAnswer,
) -> Result<(), PeerError> {
    for section in answer.sections.iter().filter(|section| section.direction.receives()) {
        let Some(&(payload_type, track)) = section.codecs.first() else { continue };
        let format = Format::of(track);
        // webrtcbin connects the pads whose caps it has seen when the answer comes, and fixes their codec.
        if let Some(pad) = pads.iter().find(|pad| pad.track == format.track) {
            pad.announce(format, payload_type)?;
        }
    }
    connection.set_remote(WebRTCSDPType::Answer, &answer.text).await?;
    for candidate in &answer.candidates {
        connection.add_candidate(answer.tag, candidate);
    }
    Ok(())
}
