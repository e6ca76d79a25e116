//! The caller's offer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use gst::prelude::*;
use gst_webrtc::{WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection};

use super::CallerSettings;
use crate::media::PeerError;
use crate::media::peer::connection::{Connection, fault};
use crate::media::peer::outgoing::{Format, SourcePad};
use crate::media::tap::Track;
use crate::sdp::{Candidate, Fingerprint, RemoteAnswer};

/// (payload type, profile-level-id) of H.264 that a camera may send: constrained baseline, baseline, main, high, all at level 3.1 (decoders
/// take more than they announce).
const H264: [(i32, &str); 4] = [(102, "42e01f"), (104, "42001f"), (106, "4d001f"), (108, "64001f")];
const VP8: i32 = 96;
const OPUS: i32 = 111;
/// Static payload types (RFC 3551, table 4).
const PCMU: i32 = 0;
const PCMA: i32 = 8;

/// Adds the m-lines, audio first. Returns the pads that will send.
///
/// # Errors
/// [`PeerError::GStreamer`].
pub(super) fn add_sections(connection: &Connection, settings: &CallerSettings) -> Result<Vec<SourcePad>, PeerError> {
    let tracks = [(settings.audio, Track::Audio), (settings.video, Track::Video)];
    let mut pads = Vec::new();
    for (index, (_, track)) in tracks.into_iter().filter(|(wanted, _)| *wanted).enumerate() {
        let transceiver: Option<WebRTCRTPTransceiver> = if settings.send_test_media {
            let pad = SourcePad::link(connection, index, track, &Arc::new(AtomicU64::new(0)))?;
            let transceiver: Option<WebRTCRTPTransceiver> =
                connection.webrtcbin.emit_by_name("get-transceiver", &[&(index as i32)]);
            if let Some(transceiver) = &transceiver {
                transceiver.set_codec_preferences(Some(&preferences(track, Some(pad.ssrc))));
            }
            pads.push(pad);
            transceiver
        } else {
            let direction = WebRTCRTPTransceiverDirection::Recvonly;
            connection.webrtcbin.emit_by_name("add-transceiver", &[&direction, &preferences(track, None)])
        };
        let transceiver = transceiver.ok_or_else(|| fault("webrtcbin makes no transceiver"))?;
        // Asks for lost packets.
        transceiver.set_property("do-nack", track == Track::Video);
    }
    Ok(pads)
}

fn preferences(track: Track, ssrc: Option<u32>) -> gst::Caps {
    let base = |media: &str, name: &str, payload_type: i32, clock_rate: i32| {
        let mut structure = gst::Structure::builder("application/x-rtp")
            .field("media", media)
            .field("encoding-name", name)
            .field("payload", payload_type)
            .field("clock-rate", clock_rate)
            .build();
        if let Some(ssrc) = ssrc {
            structure.set("ssrc", ssrc);
        }
        structure
    };
    let mut caps = gst::Caps::new_empty();
    if let Some(caps) = caps.get_mut() {
        match track {
            Track::Audio => {
                let mut opus = base("audio", "OPUS", OPUS, 48_000);
                opus.set("encoding-params", "2");
                caps.append_structure(opus);
                caps.append_structure(base("audio", "PCMU", PCMU, 8_000));
                caps.append_structure(base("audio", "PCMA", PCMA, 8_000));
            }
            Track::Video => {
                for (payload_type, profile) in H264 {
                    let mut h264 = base("video", "H264", payload_type, 90_000);
                    h264.set("packetization-mode", "1");
                    h264.set("profile-level-id", profile);
                    h264.set("level-asymmetry-allowed", "1");
                    h264.set("rtcp-fb-nack", true);
                    h264.set("rtcp-fb-nack-pli", true);
                    h264.set("rtcp-fb-ccm-fir", true);
                    caps.append_structure(h264);
                }
                let mut vp8 = base("video", "VP8", VP8, 90_000);
                vp8.set("rtcp-fb-nack", true);
                vp8.set("rtcp-fb-nack-pli", true);
                vp8.set("rtcp-fb-ccm-fir", true);
                caps.append_structure(vp8);
            }
        }
    }
    caps
}

/// `webrtcbin`'s offer with the right fingerprint (1.22 hashes certificate and key), with every candidate in the first m-line, and with no
/// m-line at port 0: an answerer that does not know bundle-only (RFC 9143) would refuse it.
pub(super) fn complete(offer: &str, fingerprint: Fingerprint, candidates: &[Candidate]) -> String {
    let mut text = String::new();
    let mut sections = 0;
    let mut candidates = Some(candidates);
    let mut give = |text: &mut String| {
        for candidate in candidates.take().unwrap_or_default() {
            text.push_str(&format!("a={}\r\n", candidate.text()));
        }
    };
    for line in offer.lines() {
        if line == "a=bundle-only" || line.starts_with("a=candidate:") {
            continue;
        }
        if line.starts_with("a=fingerprint:") {
            text.push_str(&format!("a=fingerprint:sha-256 {fingerprint}\r\n"));
            continue;
        }
        if let Some(rest) = line.strip_prefix("m=") {
            sections += 1;
            if sections == 2 {
                give(&mut text);
            }
            let mut words: Vec<&str> = rest.split(' ').collect();
            if let Some(port @ &mut "0") = words.get_mut(1) {
                *port = "9";
            }
            text.push_str(&format!("m={}\r\n", words.join(" ")));
            continue;
        }
        text.push_str(&format!("{line}\r\n"));
    }
    give(&mut text);
    text
}

/// What the answer lets us send on each m-line: the first payload type, if we can make it.
pub(super) fn sendable(answer: &RemoteAnswer) -> Vec<Option<(Format, u8)>> {
    let Ok(message) = gst_sdp::SDPMessage::parse_buffer(answer.text.as_bytes()) else { return Vec::new() };
    let format_of = |media: &gst_sdp::SDPMediaRef| {
        let payload_type: u8 = media.format(0)?.parse().ok()?;
        let caps = media.caps_from_media(payload_type.into())?;
        let format = match caps.structure(0)?.get::<&str>("encoding-name").ok()? {
            "H264" => Format::H264,
            "OPUS" => Format::OPUS,
            "PCMU" => Format::PCMU,
            "PCMA" => Format::PCMA,
            _ => return None,
        };
        Some((format, payload_type))
    };
    let taken = answer.sections.iter().map(|(_, direction, taken)| *taken && direction.receives());
    message.medias().zip(taken).map(|(media, taken)| format_of(media).filter(|_| taken)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offer_is_completed_without_touching_the_rest() {
        let offer = "v=0\r\ns=-\r\na=group:BUNDLE audio0 video1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 00:11\r\n\
            a=mid:audio0\r\nm=video 0 UDP/TLS/RTP/SAVPF 102\r\na=bundle-only\r\na=mid:video1\r\n";
        let candidate = Candidate::read("candidate:1 1 UDP 9 127.0.0.1 5000 typ host").unwrap().unwrap();
        let text = complete(offer, Fingerprint([0xab; 32]), std::slice::from_ref(&candidate));
        let colons = ["AB"; 32].join(":");
        assert_eq!(
            text,
            format!(
                "v=0\r\ns=-\r\na=group:BUNDLE audio0 video1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
                 a=fingerprint:sha-256 {colons}\r\na=mid:audio0\r\na={}\r\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:video1\r\n",
                candidate.text()
            )
        );
    }
}
