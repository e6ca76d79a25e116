//! Why nothing of a line can go to a caller, in words: what each side has.

use super::codec::CallerTrack;
use super::plan::could_send_on;
use super::{MediaKind, MediaSection, Offer};
use crate::endpoint::{Streams, VideoCodec};

/// Codec names of the caller that are repeated to them.
const MAX_NAMES: usize = 6;

/// Payload formats that carry no codec of their own.
const NOT_CODECS: [&str; 7] = ["RTX", "RED", "ULPFEC", "FLEXFEC", "FLEXFEC-03", "CN", "TELEPHONE-EVENT"];

/// One sentence, or two joined by a semicolon.
pub(super) fn detail(offer: &Offer, streams: &Streams) -> String {
    let mut parts = Vec::new();
    if let Some(stream) = &streams.video {
        parts.push(match &stream.codec {
            VideoCodec::Other(name) if !stream.to_h264 => {
                format!("the line sends {name} video, which cannot be made H.264 here")
            }
            carried => {
                format!("the line sends {} video, {}", carried.name(), offered(offer, MediaKind::Video, streams))
            }
        });
    }
    if let Some(stream) = &streams.audio {
        let name = stream.codec.name();
        parts.push(format!("the line sends {name} audio, {}", offered(offer, MediaKind::Audio, streams)));
    }
    if parts.is_empty() {
        return "the line sends no media, and you send none that can be taken".to_owned();
    }
    parts.join("; ")
}

/// What the caller offers of a kind, and why it does not do.
fn offered(offer: &Offer, kind: MediaKind, streams: &Streams) -> String {
    let word = kind.word();
    let sections: Vec<&MediaSection> = offer.sections.iter().filter(|section| section.kind == kind).collect();
    if sections.is_empty() {
        return format!("you offer no {word}");
    }
    if !sections.iter().any(|section| section.direction.receives()) {
        return format!("you do not receive {word}");
    }
    let would_do = |section: &&MediaSection| !section.takeable && could_send_on(section, streams);
    let why = if sections.iter().any(would_do) {
        ", on an m-line that cannot be taken (its port, rtcp-mux or BUNDLE)"
    } else {
        ""
    };
    match codec_names(&sections).as_slice() {
        [] => format!("you offer no {word} codec"),
        names => format!("you offer {} {word}{why}", list(names)),
    }
}

fn codec_names(sections: &[&MediaSection]) -> Vec<String> {
    let codecs = || sections.iter().flat_map(|section| &section.codecs);
    let fragments = codecs().any(|codec| codec.fragments_h264());
    let mut names: Vec<String> = Vec::new();
    for codec in codecs() {
        if NOT_CODECS.contains(&codec.name.as_str()) {
            continue;
        }
        let name = match (codec.name.as_str(), codec.track()) {
            ("H264", Some(CallerTrack::H264)) if !fragments => "H.264 (only with packetization-mode=0)".to_owned(),
            ("H264", None) if !fragments => "H.264 (not at a payload type of 96 to 127)".to_owned(),
            ("H264", _) => "H.264".to_owned(),
            ("H265", _) => "H.265".to_owned(),
            ("OPUS", _) => "Opus".to_owned(),
            (name, _) => name.to_owned(),
        };
        if names.len() < MAX_NAMES && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// `A`, `A and B`, `A, B and C`.
fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
