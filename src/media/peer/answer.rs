//! From a guarded offer to the answer's text.

use std::sync::Arc;

use gst::prelude::*;
use gst_webrtc::{WebRTCRTPTransceiverDirection, WebRTCSDPType};

use super::connection::{Connection, fault};
use super::outgoing::{Format, SourcePad};
use super::requests::KeyframeRequests;
use crate::media::{IceSettings, PeerError};
use crate::sdp::{
    AudioPlan, Candidate, CandidateKind, Direction, Fingerprint, LocalTransport, Offer, Plan, PlannedSection, VideoPlan,
};

/// Links the pads that the plan sends on, and starts the pipeline. Blocks.
///
/// # Errors
/// [`PeerError::GStreamer`].
pub(super) fn add_pads(
    connection: &Connection,
    offer: &Offer,
    plan: &Plan,
    requests: &Arc<KeyframeRequests>,
) -> Result<Vec<SourcePad>, PeerError> {
    let mut sending = Vec::new();
    for (index, section) in plan.sections.iter().enumerate() {
        // A pad that matches no m-line aborts the process: only what the plan sends gets one.
        let Some(format) = sent(section) else { continue };
        let pad = SourcePad::link(connection, index, format.track, requests)?;
        let transceiver = pad.transceiver()?;
        // Leaves `nack` in the answer. webrtcbin itself knows no way but RTX to honour it, which the plan does not take: see `resend`.
        transceiver.set_property("do-nack", section.video.is_some() && asks_again(offer, section));
        transceiver.set_direction(match section.direction {
            Direction::SendOnly => WebRTCRTPTransceiverDirection::Sendonly,
            _ => WebRTCRTPTransceiverDirection::Sendrecv,
        });
        sending.push((pad, format, section.payload_type));
    }
    connection.play()?;
    for (pad, format, payload_type) in &sending {
        pad.announce(*format, *payload_type)?;
    }
    Ok(sending.into_iter().map(|(pad, ..)| pad).collect())
}

/// Whether the caller asks for packets that it lost.
fn asks_again(offer: &Offer, section: &PlannedSection) -> bool {
    let codecs = offer.sections.get(section.index).map_or(&[][..], |offered| &offered.codecs);
    codecs.iter().any(|codec| codec.payload_type == section.payload_type && codec.feedback.contains(&"nack"))
}

/// What we send on `section`, if anything.
fn sent(section: &PlannedSection) -> Option<Format> {
    if !matches!(section.direction, Direction::SendOnly | Direction::SendRecv) {
        return None;
    }
    match (section.video, section.audio) {
        (Some(VideoPlan::PassH264 | VideoPlan::ToH264), _) => Some(Format::H264),
        (Some(VideoPlan::PassVp8), _) => Some(Format::VP8),
        (Some(VideoPlan::PassVp9), _) => Some(Format::VP9),
        (None, Some(AudioPlan::PassPcmu)) => Some(Format::PCMU),
        (None, Some(AudioPlan::PassPcma)) => Some(Format::PCMA),
        (None, Some(AudioPlan::PassOpus | AudioPlan::ToOpus)) => Some(Format::OPUS),
        (None, None) => None,
    }
}

/// Makes the answer, with every candidate that was found in time.
///
/// # Errors
/// [`PeerError::GStreamer`].
pub(super) async fn answer(
    connection: &mut Connection,
    offer: &Offer,
    plan: &Plan,
    ice: &IceSettings,
    fingerprint: Fingerprint,
) -> Result<(String, Vec<Candidate>), PeerError> {
    connection.set_remote(WebRTCSDPType::Offer, &plan.offer_text(offer)).await?;
    let answer = connection.create("create-answer", "answer").await?;
    let text = answer.sdp().as_text().map_err(|_| fault("webrtcbin's answer has no text"))?;
    connection.set_local(&answer).await?;
    let complete = connection.gathered().await;
    let mut candidates = connection.found();
    advertise(&mut candidates, ice);
    let local = LocalTransport { fingerprint, candidates, complete };
    let text = plan.answer_text(offer, &text, &local).map_err(|error| PeerError::GStreamer(error.to_string()))?;
    Ok((text, local.candidates))
}

/// Repeats each host candidate with every public address of a 1:1 NAT, which keeps ports.
pub(super) fn advertise(candidates: &mut Vec<Candidate>, ice: &IceSettings) {
    let hosts: Vec<Candidate> =
        candidates.iter().filter(|candidate| candidate.kind == CandidateKind::Host).cloned().collect();
    for (nth, address) in ice.advertise.iter().enumerate() {
        for host in hosts.iter().filter(|host| host.address.is_ipv4() == address.is_ipv4()) {
            let public = Candidate {
                // Other base and address, other foundation (RFC 8445, section 5.1.1.3).
                foundation: format!("{}adv{nth}", host.foundation),
                address: *address,
                priority: host.priority.saturating_sub(1 + nth as u32),
                ..host.clone()
            };
            if !candidates.iter().any(|known| known.address == public.address && known.port == public.port) {
                candidates.push(public);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(address: &str, port: u16) -> Candidate {
        Candidate {
            foundation: "1".into(),
            priority: 2_015_363_327,
            address: address.parse().unwrap(),
            port,
            kind: CandidateKind::Host,
        }
    }

    #[test]
    fn every_host_candidate_is_repeated_once_with_the_public_address_of_its_family() {
        let mut candidates = vec![host("10.0.0.2", 50_000), host("192.168.0.2", 50_000), host("fd00::2", 50_001)];
        let ice = IceSettings { advertise: vec!["203.0.113.7".parse().unwrap()], ..IceSettings::default() };
        advertise(&mut candidates, &ice);
        let added: Vec<_> = candidates[3..].iter().map(|c| (c.address.to_string(), c.port)).collect();
        assert_eq!(added, [("203.0.113.7".to_owned(), 50_000)]);
        assert_ne!(candidates[3].foundation, candidates[0].foundation);
    }
}
