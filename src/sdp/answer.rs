//! Our answer's text for a caller.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::description::Description;
use super::lines::{blocks, is_token, number};
use super::section::Section;
use super::write::{Text, payload_types};
use super::{Candidate, Codec, Direction, Fingerprint, MediaKind, MediaSection, Offer, Plan, PlannedSection};

/// The one media stream that our tracks belong to: a browser plays tracks of one stream in sync.
pub(super) const STREAM: &str = "callgate";

/// What our side of the transport turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTransport {
    /// SHA-256 of our certificate's DER: `webrtcbin` 1.22, given a certificate with its key, hashes both.
    pub fingerprint: Fingerprint,
    pub candidates: Vec<Candidate>,
    /// Gathering is over: no candidate will follow.
    pub complete: bool,
}

/// `webrtcbin` made something that does not fit the plan: our fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the description made here does not fit its plan: {what}")]
pub struct AnswerError {
    pub what: &'static str,
}

pub(super) fn unfit<T>(what: &'static str) -> Result<T, AnswerError> {
    Err(AnswerError { what })
}

/// What of a `webrtcbin` answer goes into ours.
struct Answered<'a> {
    section: &'a Section,
    direction: Direction,
    ufrag: &'a str,
    pwd: &'a str,
    /// What we send with; there when we send.
    source: Option<(u32, String)>,
}

impl Plan {
    /// The answer for the caller: `webrtcbin_answer`'s sections in the offer's order, the refused m-lines with port 0,
    /// all candidates, the right fingerprint.
    ///
    /// # Errors
    /// [`AnswerError`] when `webrtcbin_answer` does not fit.
    pub fn answer_text(
        &self,
        offer: &Offer,
        webrtcbin_answer: &str,
        local: &LocalTransport,
    ) -> Result<String, AnswerError> {
        let read = Description::read(webrtcbin_answer).map_err(|reject| AnswerError { what: reject.what })?;
        let sources = sources(webrtcbin_answer);
        if self.sections.is_empty() || read.sections.len() != self.sections.len() {
            return unfit("another number of m-lines");
        }
        let mut answered = Vec::new();
        for ((planned, section), source) in self.sections.iter().zip(&read.sections).zip(sources) {
            answered.push(fit(planned, section, source)?);
        }
        let (ufrag, pwd) = (answered[0].ufrag, answered[0].pwd);
        if answered.iter().any(|other| (other.ufrag, other.pwd) != (ufrag, pwd)) {
            return unfit("more than one transport");
        }

        let mut text = Text::begin(session_number(pwd));
        if offer.bundled {
            // The tag first: it says whose transport this is (RFC 9143 section 7.3.2).
            let tag = self.sections.iter().filter(|planned| planned.index == offer.tag);
            let others = self.sections.iter().filter(|planned| planned.index != offer.tag);
            text.bundle(tag.chain(others).map(|planned| planned.mid.as_str()));
        }
        text.line(format_args!("a=msid-semantic: WMS {STREAM}"));
        let transport = |text: &mut Text| text.transport(ufrag, pwd, &[local.fingerprint], "active");
        for (index, section) in offer.sections.iter().enumerate() {
            let taken = self.sections.iter().zip(&answered).find(|(planned, _)| planned.index == index);
            let Some((planned, answered)) = taken else {
                write_refused(section, &mut text);
                // aiortc fails on a refused m-line that does not have these too.
                transport(&mut text);
                continue;
            };
            write_taken(planned, answered, offer, &mut text)?;
            transport(&mut text);
            if index == offer.tag {
                text.candidates(&local.candidates, local.complete);
            }
        }
        Ok(text.end())
    }
}

/// Holds a section of `webrtcbin`'s answer against what was planned.
fn fit<'a>(
    planned: &PlannedSection,
    section: &'a Section,
    source: Option<(u32, String)>,
) -> Result<Answered<'a>, AnswerError> {
    if section.kind != planned.kind {
        return unfit("another kind of m-line");
    }
    if section.port == 0 {
        return unfit("a planned m-line was refused");
    }
    let direction = section.transport.direction.unwrap_or(Direction::SendRecv);
    if direction.sends() != planned.direction.sends() || (direction.receives() && !planned.direction.receives()) {
        return unfit("another direction");
    }
    if direction.sends() && source.is_none() {
        return unfit("an m-line that sends without an SSRC");
    }
    let (Some(ufrag), Some(pwd)) = (&section.transport.ufrag, &section.transport.pwd) else {
        return unfit("no ICE credentials");
    };
    Ok(Answered { section, direction, ufrag, pwd, source: source.filter(|_| direction.sends()) })
}

fn write_taken(
    planned: &PlannedSection,
    answered: &Answered<'_>,
    offer: &Offer,
    text: &mut Text,
) -> Result<(), AnswerError> {
    let accepted = |at: u8| answered.section.codecs.iter().find(|codec| codec.payload_type == at);
    let codecs: Vec<_> = planned
        .codecs(offer)
        .filter_map(|(codec, track)| Some((codec, track, accepted(codec.payload_type)?)))
        .collect();
    let first = codecs.first().map(|(codec, ..)| codec.payload_type);
    if first.is_none() || (answered.direction.sends() && first != Some(planned.payload_type)) {
        return unfit("the planned payload type is not in it");
    }
    let proto = offer.sections.get(planned.index).map_or("UDP/TLS/RTP/SAVPF", |section| section.proto.as_str());
    let types = payload_types(codecs.iter().map(|(codec, ..)| codec.payload_type));
    text.line(format_args!("m={} 9 {proto} {types}", planned.kind.word()));
    text.line(format_args!("c=IN IP4 0.0.0.0"));
    text.line(format_args!("a=mid:{}", planned.mid));
    text.line(format_args!("a=rtcp-mux"));
    text.direction(answered.direction);
    for (codec, track, accepted) in codecs {
        codec.write(track, &common_feedback(planned.kind, codec, accepted), text);
    }
    if let Some(source) = &answered.source {
        write_source(planned.kind, source, text);
    }
    Ok(())
}

/// What we send on an m-line: our stream, and the SSRC with its cname.
pub(super) fn write_source(kind: MediaKind, (ssrc, cname): &(u32, String), text: &mut Text) {
    let track = kind.word();
    text.line(format_args!("a=msid:{STREAM} {track}"));
    text.line(format_args!("a=ssrc:{ssrc} cname:{cname}"));
    text.line(format_args!("a=ssrc:{ssrc} msid:{STREAM} {track}"));
}

fn common_feedback(kind: MediaKind, offered: &Codec, accepted: &Codec) -> Vec<&'static str> {
    let both = |feedback: &&&'static str| kind == MediaKind::Video && accepted.feedback.contains(feedback);
    offered.feedback.iter().filter(both).copied().collect()
}

/// Port 0 (RFC 3264 section 6), the proto as offered. For RTP one format with its rtpmap does, and needs to: aiortc looks
/// for a common codec in refused m-lines too.
pub(super) fn write_refused(section: &MediaSection, text: &mut Text) {
    let (kind, proto) = (section.kind.word(), &section.proto);
    let codec = section.codecs.first();
    let formats = codec.map_or_else(|| section.formats.join(" "), |codec| codec.payload_type.to_string());
    text.line(format_args!("m={kind} 0 {proto} {formats}"));
    text.line(format_args!("c=IN IP4 0.0.0.0"));
    text.line(format_args!("a=mid:{}", section.mid));
    if let Some(Codec { payload_type, name, clock_rate, channels, .. }) = codec {
        let channels = if *channels > 1 { format!("/{channels}") } else { String::new() };
        text.line(format_args!("a=rtpmap:{payload_type} {name}/{clock_rate}{channels}"));
    }
    if section.formats.iter().any(|format| format == "webrtc-datachannel") {
        // werift fails on a refused data channel without it.
        text.line(format_args!("a=sctp-port:5000"));
    }
    if matches!(section.kind, MediaKind::Audio | MediaKind::Video) {
        text.line(format_args!("a=rtcp-mux"));
        text.direction(Direction::Inactive);
    }
}

/// Per m-line: the SSRC that `webrtcbin` sends with, and its cname. It is the one in its RTCP, which is what counts.
pub(super) fn sources(answer: &str) -> Vec<Option<(u32, String)>> {
    let Ok(blocks) = blocks(answer) else { return Vec::new() };
    let source = |value: &str| {
        let (ssrc, attribute) = value.split_once(' ')?;
        let ssrc = number::<u32>(ssrc).filter(|&ssrc| ssrc != 0)?;
        let cname = attribute.strip_prefix("cname:")?;
        let cname = if is_token(&cname.replace('@', "-"), 255) { cname } else { STREAM };
        Some((ssrc, cname.to_owned()))
    };
    let in_section = |lines: &Vec<super::lines::Line<'_>>| {
        lines
            .iter()
            .filter_map(|line| line.attribute())
            .filter(|(name, _)| *name == "ssrc")
            .find_map(|(_, at)| source(at))
    };
    blocks.media.iter().map(in_section).collect()
}

/// The session id of `o=`, which must be unique (RFC 8866 section 5.2). `webrtcbin` repeats the offer's, so it is made of
/// the one thing in its answer that is random. 63 bits (RFC 8829 section 5.2.1).
pub(super) fn session_number(pwd: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    pwd.hash(&mut hasher);
    hasher.finish() >> 1
}
