//! Which m-lines of an offer we take, with which codecs: decided before anything is built.

use super::codec::{CallerTrack, Codec};
use super::write::{Text, payload_types};
use super::{Direction, MediaKind, MediaSection, Offer, refusal};
use crate::endpoint::{AudioCodec, AudioStream, Streams, VideoCodec, VideoStream};

/// Constrained Baseline, level 3.1 (RFC 7742 section 6.2): what is made here. A camera is not told to send it: decoders take more than
/// they announce.
pub(super) const EVERYBODYS_H264: [u8; 3] = [0x42, 0xe0, 0x1f];

/// There is no codec that both sides know. `Display` names what each side has, for `call_end`'s `detail`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NoCommonCodec {
    pub detail: String,
}

/// How the line's video goes to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoPlan {
    /// The source's own H.264 with `packetization-mode=1`.
    PassH264,
    /// The source's own VP8.
    PassVp8,
    /// The source's own VP9 of profile 0.
    PassVp9,
    /// Decoded, and encoded as H.264 once per hub.
    ToH264,
}

impl VideoPlan {
    /// What becomes of video of this codec, and why, for people.
    pub fn words(self, source: &VideoCodec) -> String {
        let name = source.name();
        match (self, source) {
            (Self::PassH264 | Self::PassVp8 | Self::PassVp9, _) => format!("{name} as it is"),
            (Self::ToH264, VideoCodec::H264) => {
                format!(
                    "{name} made plain {name}: receivers put no B pictures in order, and take 8 bits a sample and a quarter of the colour"
                )
            }
            (Self::ToH264, VideoCodec::Vp8 | VideoCodec::Vp9) => {
                format!("{name} made H.264, since the other side does not take {name}")
            }
            (Self::ToH264, VideoCodec::Other(_)) => format!("{name} made H.264, since {name} is not passed on"),
        }
    }
}

/// How the line's audio goes to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioPlan {
    PassPcmu,
    PassPcma,
    PassOpus,
    /// Decoded and encoded once per hub.
    ToOpus,
}

impl AudioPlan {
    /// What becomes of audio of this codec, for people.
    pub fn words(self, source: &AudioCodec) -> String {
        let name = source.name();
        match self {
            Self::PassPcmu | Self::PassPcma | Self::PassOpus => format!("{name} as it is"),
            Self::ToOpus => format!("{name} made Opus"),
        }
    }
}

/// A taken m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSection {
    /// Its index in the caller's offer.
    pub index: usize,
    /// In the caller's offer and our answer. `webrtcbin` sees [`Plan::offer_text`]'s own: `0`, `1`.
    pub mid: String,
    pub kind: MediaKind,
    /// Ours, for the answer.
    pub direction: Direction,
    /// What we send here; the first of `receive`.
    pub payload_type: u8,
    /// What the caller may send here: payload types of the offer that we can receive, one a codec.
    pub receive: Vec<(u8, CallerTrack)>,
    /// What we send of the line's video; `None`: nothing.
    pub video: Option<VideoPlan>,
    /// What we send of the line's audio; `None`: nothing.
    pub audio: Option<AudioPlan>,
}

/// What will be built for a caller. Section `i` is m-line `i` of [`Plan::offer_text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub sections: Vec<PlannedSection>,
}

/// Plans a call: what of `streams` goes to the caller who sent `offer`, and what of the caller's own media we take.
///
/// Each takeable m-line is taken, at most one of audio and one of video. One on which nothing can go either way is inactive.
///
/// # Errors
/// [`NoCommonCodec`] when the line has media and nothing of it can be sent, or when there is nothing to take at all.
pub fn plan(offer: &Offer, streams: &Streams) -> Result<Plan, NoCommonCodec> {
    let takeable = offer.sections.iter().enumerate().filter(|(_, section)| section.takeable);
    let sections: Vec<PlannedSection> =
        takeable.filter_map(|(index, section)| plan_section(index, section, streams)).collect();
    let sends = sections.iter().any(|section| section.direction.sends());
    let receives = sections.iter().any(|section| section.direction.receives());
    let silent_line = streams.video.is_none() && streams.audio.is_none();
    if sends || (silent_line && receives) {
        Ok(Plan { sections })
    } else {
        Err(NoCommonCodec { detail: refusal::detail(offer, streams) })
    }
}

fn plan_section(index: usize, section: &MediaSection, streams: &Streams) -> Option<PlannedSection> {
    let wanted = section.direction.receives();
    let video = streams.video.as_ref().filter(|_| wanted && section.kind == MediaKind::Video);
    let video = video.and_then(|stream| plan_video(&section.codecs, stream));
    let audio = streams.audio.as_ref().filter(|_| wanted && section.kind == MediaKind::Audio);
    let audio = audio.and_then(|stream| plan_audio(&section.codecs, stream));
    let sent = video.as_ref().map(|(codec, _)| *codec).or(audio.map(|(codec, _)| codec));
    // With nothing to send, the H.264 that suits us best is still the one to receive.
    let camera = streams.video.as_ref().and_then(|stream| stream.profile_level_id);
    let h264 = best_h264(&section.codecs, camera);
    let mut receive: Vec<(u8, CallerTrack)> = Vec::new();
    for codec in sent.into_iter().chain(h264.filter(|_| sent.is_none())).chain(&section.codecs) {
        let Some(track) = codec.track() else { continue };
        if !receive.iter().any(|(_, known)| *known == track) {
            receive.push((codec.payload_type, track));
        }
    }
    if sent.is_none() {
        // The caller's order of preference.
        let place = |(at, _): &(u8, CallerTrack)| section.codecs.iter().position(|codec| codec.payload_type == *at);
        receive.sort_by_key(place);
    }
    Some(PlannedSection {
        index,
        mid: section.mid.clone(),
        kind: section.kind,
        direction: Direction::new(sent.is_some(), section.direction.sends()),
        payload_type: receive.first()?.0,
        receive,
        video: video.map(|(_, plan)| plan),
        audio: audio.map(|(_, plan)| plan),
    })
}

/// Whether something of `streams` could be sent on this m-line, if it were takeable.
pub(super) fn could_send_on(section: &MediaSection, streams: &Streams) -> bool {
    plan_section(0, section, streams).is_some_and(|planned| planned.direction.sends())
}

fn plan_video<'a>(codecs: &'a [Codec], stream: &VideoStream) -> Option<(&'a Codec, VideoPlan)> {
    let passed = match stream.codec {
        VideoCodec::H264 if stream.to_h264 && !is_plain(stream) => None,
        VideoCodec::H264 => best_h264(codecs, stream.profile_level_id).map(|codec| (codec, VideoPlan::PassH264)),
        VideoCodec::Vp8 => of_track(codecs, CallerTrack::Vp8).map(|codec| (codec, VideoPlan::PassVp8)),
        VideoCodec::Vp9 => of_track(codecs, CallerTrack::Vp9).map(|codec| (codec, VideoPlan::PassVp9)),
        VideoCodec::Other(_) => None,
    };
    let made = || best_h264(codecs, Some(EVERYBODYS_H264)).map(|codec| (codec, VideoPlan::ToH264));
    passed.or_else(|| made().filter(|_| stream.to_h264))
}

/// Whether receivers show this H.264 as it is.
pub(super) fn is_plain(stream: &VideoStream) -> bool {
    // High 10, High 4:2:2, High 4:4:4 and CAVLC 4:4:4 (H.264, A.2): no browser decodes them.
    !stream.reordered && !stream.profile_level_id.is_some_and(|[idc, ..]| matches!(idc, 110 | 122 | 244 | 44))
}

fn of_track(codecs: &[Codec], track: CallerTrack) -> Option<&Codec> {
    codecs.iter().find(|codec| codec.track() == Some(track))
}

fn best_h264(codecs: &[Codec], camera: Option<[u8; 3]>) -> Option<&Codec> {
    codecs.iter().filter(|codec| codec.fragments_h264()).min_by_key(|codec| codec.h264_rank(camera))
}

fn plan_audio<'a>(codecs: &'a [Codec], stream: &AudioStream) -> Option<(&'a Codec, AudioPlan)> {
    let of = |track| of_track(codecs, track);
    let narrow = stream.rate == 8000 && stream.channels == 1;
    let passed = match &stream.codec {
        AudioCodec::Pcmu if narrow => of(CallerTrack::Pcmu).map(|codec| (codec, AudioPlan::PassPcmu)),
        AudioCodec::Pcma if narrow => of(CallerTrack::Pcma).map(|codec| (codec, AudioPlan::PassPcma)),
        AudioCodec::Opus => of(CallerTrack::Opus).map(|codec| (codec, AudioPlan::PassOpus)),
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::Other(_) => None,
    };
    passed.or_else(|| of(CallerTrack::Opus).map(|codec| (codec, AudioPlan::ToOpus)))
}

impl Plan {
    /// Our own text for `webrtcbin`'s set-remote-description: the taken m-lines, one transport, no candidates.
    ///
    /// Its mids are `0`, `1`; its directions are those that the plan leaves, so that no more than planned can be answered.
    pub fn offer_text(&self, offer: &Offer) -> String {
        let mut text = Text::begin(1);
        if offer.ice_lite {
            text.line(format_args!("a=ice-lite"));
        }
        let mids: Vec<String> = (0..self.sections.len()).map(|index| index.to_string()).collect();
        text.bundle(mids.iter().map(String::as_str));
        for (section, mid) in self.sections.iter().zip(&mids) {
            let (kind, types) = (section.kind.word(), payload_types(section.receive.iter().map(|(at, _)| *at)));
            text.line(format_args!("m={kind} 9 UDP/TLS/RTP/SAVPF {types}"));
            text.line(format_args!("c=IN IP4 0.0.0.0"));
            text.line(format_args!("a=mid:{mid}"));
            text.transport(&offer.ice_ufrag, &offer.ice_pwd, &offer.fingerprints, "actpass");
            text.line(format_args!("a=rtcp-mux"));
            text.direction(section.direction.reversed());
            for (codec, track) in section.codecs(offer) {
                let feedback = if section.kind == MediaKind::Video { codec.feedback.as_slice() } else { &[] };
                codec.write(track, feedback, &mut text);
            }
        }
        text.end()
    }
}

impl PlannedSection {
    /// The planned payload types with their codecs, as `offer` (the one that was planned for) has them.
    pub(super) fn codecs<'a>(&'a self, offer: &'a Offer) -> impl Iterator<Item = (&'a Codec, CallerTrack)> {
        let codecs = offer.sections.get(self.index).map_or(&[][..], |section| section.codecs.as_slice());
        self.receive.iter().filter_map(move |(at, track)| {
            codecs.iter().find(|codec| codec.payload_type == *at).map(|codec| (codec, *track))
        })
    }
}
