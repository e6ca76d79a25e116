//! What a line offers to somebody whom it calls, and what the answer makes of it.

use super::answer::{AnswerError, STREAM, session_number, sources, unfit, write_source};
use super::codec::{CallerTrack, Codec};
use super::description::Description;
use super::plan::{EVERYBODYS_H264, is_plain};
use super::write::{Text, payload_types};
use super::{AudioPlan, Direction, LocalTransport, MediaKind, Plan, PlannedSection, RemoteAnswer, VideoPlan};
use crate::endpoint::{AudioCodec, AudioStream, Streams, VideoCodec, VideoStream};

/// Payload types of our offers: dynamic ones (RFC 3551 section 6) but for PCMU and PCMA, which have theirs.
const OPUS: u8 = 111;
const PCMU: u8 = 0;
const PCMA: u8 = 8;
const VP8: u8 = 96;
const VP9: u8 = 98;
/// One for each profile.
const H264: [u8; 4] = [102, 104, 106, 108];
/// Profiles of H.264 that a camera may send: constrained baseline, baseline, main, high, all at level 3.1.
const CAMERA_PROFILES: [[u8; 3]; 4] = [EVERYBODYS_H264, [0x42, 0, 0x1f], [0x4d, 0, 0x1f], [0x64, 0, 0x1f]];
const FEEDBACK: [&str; 3] = ["nack", "nack pli", "ccm fir"];

/// The line has nothing that could be offered. `Display` names what it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NothingToOffer {
    pub detail: String,
}

/// What a line offers to somebody whom it calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallingPlan {
    /// The offer's m-lines.
    pub sections: Vec<CallingSection>,
}

/// An m-line of our offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallingSection {
    pub kind: MediaKind,
    /// Ours.
    pub direction: Direction,
    /// The one we would rather send first.
    pub codecs: Vec<OfferedCodec>,
}

/// A payload type of our offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCodec {
    pub codec: Codec,
    pub track: CallerTrack,
    /// How the line's video becomes this; `None` for audio, and where nothing is sent.
    pub video: Option<VideoPlan>,
    /// How the line's audio becomes this; `None` for video, and where nothing is sent.
    pub audio: Option<AudioPlan>,
}

/// Plans a call that a line makes: what of `streams` is offered. The sound comes first, and both ways; the picture only goes out.
///
/// # Errors
/// [`NothingToOffer`] when none of it can be carried.
pub fn calling_plan(streams: &Streams) -> Result<CallingPlan, NothingToOffer> {
    let audio = streams.audio.as_ref().map(offer_audio);
    let video = streams.video.as_ref().and_then(offer_video);
    let sections: Vec<CallingSection> = audio.into_iter().chain(video).collect();
    if sections.is_empty() {
        let detail = match &streams.video {
            Some(VideoStream { codec: VideoCodec::Other(name), .. }) => {
                format!("the line sends {name} video, which cannot be made H.264 here")
            }
            _ => "the line sends no media".to_owned(),
        };
        return Err(NothingToOffer { detail });
    }
    Ok(CallingPlan { sections })
}

fn offer_audio(stream: &AudioStream) -> CallingSection {
    let narrow = stream.rate == 8000 && stream.channels == 1;
    let passed = match stream.codec {
        AudioCodec::Pcmu if narrow => Some((CallerTrack::Pcmu, AudioPlan::PassPcmu)),
        AudioCodec::Pcma if narrow => Some((CallerTrack::Pcma, AudioPlan::PassPcma)),
        _ => None,
    };
    let opus = match stream.codec {
        AudioCodec::Opus => AudioPlan::PassOpus,
        _ => AudioPlan::ToOpus,
    };
    let codecs = passed.into_iter().chain([(CallerTrack::Opus, opus)]);
    CallingSection {
        kind: MediaKind::Audio,
        direction: Direction::SendRecv,
        codecs: codecs.map(|(track, plan)| audio_codec(track, Some(plan))).collect(),
    }
}

fn offer_video(stream: &VideoStream) -> Option<CallingSection> {
    let made = || h264_codecs([EVERYBODYS_H264], Some(VideoPlan::ToH264)).into_iter().filter(|_| stream.to_h264);
    let codecs: Vec<OfferedCodec> = match stream.codec {
        VideoCodec::H264 if stream.to_h264 && !is_plain(stream) => made().collect(),
        VideoCodec::H264 => {
            let mut profiles = vec![stream.profile_level_id.unwrap_or(EVERYBODYS_H264)];
            if !profiles.contains(&EVERYBODYS_H264) {
                profiles.push(EVERYBODYS_H264);
            }
            h264_codecs(profiles, Some(VideoPlan::PassH264))
        }
        VideoCodec::Vp8 => [vpx_codec(CallerTrack::Vp8, Some(VideoPlan::PassVp8))].into_iter().chain(made()).collect(),
        VideoCodec::Vp9 => [vpx_codec(CallerTrack::Vp9, Some(VideoPlan::PassVp9))].into_iter().chain(made()).collect(),
        VideoCodec::Other(_) => made().collect(),
    };
    let section = CallingSection { kind: MediaKind::Video, direction: Direction::SendOnly, codecs };
    (!section.codecs.is_empty()).then_some(section)
}

/// What a client offers that wants to see and hear any line: every codec that one may send. `sends`: its own media too.
pub fn viewing_plan(video: bool, audio: bool, sends: bool) -> CallingPlan {
    let direction = Direction::new(sends, true);
    let sound = [CallerTrack::Opus, CallerTrack::Pcmu, CallerTrack::Pcma].map(|track| audio_codec(track, None));
    let mut pictures = h264_codecs(CAMERA_PROFILES, None);
    pictures.extend([CallerTrack::Vp8, CallerTrack::Vp9].map(|track| vpx_codec(track, None)));
    let tracks = [(audio, MediaKind::Audio, Vec::from(sound)), (video, MediaKind::Video, pictures)];
    let sections = tracks.into_iter().filter(|(wanted, ..)| *wanted);
    CallingPlan { sections: sections.map(|(_, kind, codecs)| CallingSection { kind, direction, codecs }).collect() }
}

fn audio_codec(track: CallerTrack, audio: Option<AudioPlan>) -> OfferedCodec {
    let (payload_type, name, clock_rate, channels) = match track {
        CallerTrack::Pcmu => (PCMU, "PCMU", 8_000, 1),
        CallerTrack::Pcma => (PCMA, "PCMA", 8_000, 1),
        _ => (OPUS, "OPUS", 48_000, 2),
    };
    let (name, fmtp, feedback) = (name.to_owned(), Vec::new(), Vec::new());
    OfferedCodec {
        codec: Codec { payload_type, name, clock_rate, channels, fmtp, feedback },
        track,
        video: None,
        audio,
    }
}

fn vpx_codec(track: CallerTrack, video: Option<VideoPlan>) -> OfferedCodec {
    let (payload_type, name, fmtp) = match track {
        CallerTrack::Vp9 => (VP9, "VP9", vec![("profile-id".to_owned(), "0".to_owned())]),
        _ => (VP8, "VP8", Vec::new()),
    };
    let (name, feedback) = (name.to_owned(), FEEDBACK.into());
    OfferedCodec {
        codec: Codec { payload_type, name, clock_rate: 90_000, channels: 1, fmtp, feedback },
        track,
        video,
        audio: None,
    }
}

fn h264_codecs(profiles: impl IntoIterator<Item = [u8; 3]>, video: Option<VideoPlan>) -> Vec<OfferedCodec> {
    let offered = |(payload_type, [idc, constraints, level]): (u8, [u8; 3])| OfferedCodec {
        codec: Codec {
            payload_type,
            name: "H264".to_owned(),
            clock_rate: 90_000,
            channels: 1,
            fmtp: [
                ("level-asymmetry-allowed", "1".to_owned()),
                ("packetization-mode", "1".to_owned()),
                ("profile-level-id", format!("{idc:02x}{constraints:02x}{level:02x}")),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
            feedback: FEEDBACK.into(),
        },
        track: CallerTrack::H264,
        video,
        audio: None,
    };
    H264.into_iter().zip(profiles).map(offered).collect()
}

impl CallingPlan {
    /// The offer for whoever is called: `webrtcbin_offer`'s transport, mids and SSRCs, all candidates, the right fingerprint.
    ///
    /// # Errors
    /// [`AnswerError`] when `webrtcbin_offer` does not fit.
    pub fn offer_text(&self, webrtcbin_offer: &str, local: &LocalTransport) -> Result<String, AnswerError> {
        let read = Description::read(webrtcbin_offer).map_err(|reject| AnswerError { what: reject.what })?;
        let sources = sources(webrtcbin_offer);
        if self.sections.is_empty() || read.sections.len() != self.sections.len() {
            return unfit("another number of m-lines");
        }
        let Ok(transport) = read.parameters(0) else { return unfit("no ICE credentials") };
        let mut text = Text::begin(session_number(&transport.pwd));
        text.bundle(read.sections.iter().map(|section| section.mid.as_str()));
        text.line(format_args!("a=msid-semantic: WMS {STREAM}"));
        for (index, (section, made)) in self.sections.iter().zip(&read.sections).enumerate() {
            if made.kind != section.kind {
                return unfit("another kind of m-line");
            }
            let types = payload_types(section.codecs.iter().map(|offered| offered.codec.payload_type));
            text.line(format_args!("m={} 9 UDP/TLS/RTP/SAVPF {types}", section.kind.word()));
            text.line(format_args!("c=IN IP4 0.0.0.0"));
            text.line(format_args!("a=mid:{}", made.mid));
            text.line(format_args!("a=rtcp-mux"));
            text.direction(section.direction);
            for OfferedCodec { codec, track, .. } in &section.codecs {
                codec.write(*track, &codec.feedback, &mut text);
            }
            if section.direction.sends() {
                let Some(Some(source)) = sources.get(index) else {
                    return unfit("an m-line that sends without an SSRC");
                };
                write_source(section.kind, source, &mut text);
            }
            text.transport(&transport.ufrag, &transport.pwd, &[local.fingerprint], "actpass");
            if index == 0 {
                text.candidates(&local.candidates, local.complete);
            }
        }
        Ok(text.end())
    }

    /// What the answer makes of it: on each m-line we send what the answer names first.
    pub(super) fn answered(&self, answer: &RemoteAnswer) -> Plan {
        let mut sections = Vec::new();
        for (index, (offered, answered)) in self.sections.iter().zip(&answer.sections).enumerate() {
            let Some(&(payload_type, _)) = answered.codecs.first() else { continue };
            let direction = answered.direction.reversed();
            let first = offered.codecs.iter().find(|offered| offered.codec.payload_type == payload_type);
            let first = first.filter(|_| direction.sends());
            sections.push(PlannedSection {
                index,
                mid: answered.mid.clone(),
                kind: offered.kind,
                direction,
                payload_type,
                receive: answered.codecs.clone(),
                video: first.and_then(|first| first.video),
                audio: first.and_then(|first| first.audio),
            });
        }
        Plan { sections }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::{Agreement, Fingerprint, guard_answer, guard_offer};

    /// An offer of `webrtcbin` 1.22, cut to what is read of it.
    const MADE: &str = "v=0\r\no=- 1 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-options:trickle\r\n\
        a=group:BUNDLE audio0 video1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 8 111\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:0123456789012345678901\r\na=rtcp-mux\r\na=sendrecv\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:111 OPUS/48000/2\r\n\
        a=ssrc:7 cname:user1@host-2\r\na=mid:audio0\r\na=fingerprint:sha-256 \
        00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 102 104\r\na=bundle-only\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:0123456789012345678901\r\na=rtcp-mux\r\na=sendonly\r\na=rtpmap:102 H264/90000\r\n\
        a=fmtp:102 packetization-mode=1\r\na=ssrc:8 cname:user1@host-2\r\na=mid:video1\r\n";

    fn camera() -> Streams {
        let video = VideoStream {
            codec: VideoCodec::H264,
            profile_level_id: Some([0x64, 0, 0x28]),
            width: 640,
            height: 360,
            reordered: false,
            to_h264: false,
        };
        let audio = AudioStream { codec: AudioCodec::Pcma, rate: 8000, channels: 1 };
        Streams { video: Some(video), audio: Some(audio) }
    }

    fn local() -> LocalTransport {
        LocalTransport { fingerprint: Fingerprint([7; 32]), candidates: Vec::new(), complete: true }
    }

    #[test]
    fn the_offer_is_one_that_the_guard_takes_and_has_all_of_the_line() {
        let text = calling_plan(&camera()).unwrap().offer_text(MADE, &local()).unwrap();
        let read = guard_offer(&text).unwrap();
        assert_eq!((read.ice_ufrag.as_str(), read.fingerprints.as_slice()), ("abcd", &[Fingerprint([7; 32])][..]));
        let lines: Vec<_> = read.sections.iter().map(|section| (section.mid.as_str(), section.direction)).collect();
        assert_eq!(lines, [("audio0", Direction::SendRecv), ("video1", Direction::SendOnly)]);
        assert!(read.sections.iter().all(|section| section.takeable));
        for line in [
            "m=audio 9 UDP/TLS/RTP/SAVPF 8 111",
            "m=video 9 UDP/TLS/RTP/SAVPF 102 104",
            "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640028",
            "a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            "a=ssrc:8 msid:callgate video",
            "a=setup:actpass",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_answer_decides_what_is_sent() {
        let plan = calling_plan(&camera()).unwrap();
        let offer = plan.offer_text(MADE, &local()).unwrap();
        let transport = "a=setup:active\r\na=ice-ufrag:efgh\r\na=ice-pwd:2123456789012345678901\r\na=rtcp-mux\r\n\
            a=fingerprint:sha-256 01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01\r\n";
        let answer = format!(
            "v=0\r\no=- 1 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio0 video1\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:audio0\r\n{transport}a=recvonly\r\na=rtpmap:111 opus/48000/2\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 104\r\na=mid:video1\r\n{transport}a=recvonly\r\na=rtpmap:104 H264/90000\r\n\
             a=rtcp-fb:104 nack\r\na=fmtp:104 packetization-mode=1;profile-level-id=42e01f\r\n"
        );
        let read = guard_answer(&offer, &answer).unwrap();
        let agreed = Agreement::offered(&plan, &offer, &read);
        let sent: Vec<_> = agreed
            .plan
            .sections
            .iter()
            .map(|section| (section.payload_type, section.direction, section.audio, section.video.is_some()))
            .collect();
        assert_eq!(
            sent,
            [(111, Direction::SendOnly, Some(AudioPlan::ToOpus), false), (104, Direction::SendOnly, None, true)]
        );
        assert!(agreed.resends);
        assert_eq!(agreed.require_sending(), Ok(()));

        let inactive = answer.replace("recvonly", "inactive");
        let none = Agreement::offered(&plan, &offer, &guard_answer(&offer, &inactive).unwrap());
        assert_eq!(none.require_sending().unwrap_err().detail, "the answer takes none of the line's media");
    }

    #[test]
    fn vp8_and_vp9_are_offered_as_they_are() {
        for (codec, plan, rtpmap) in [
            (VideoCodec::Vp8, VideoPlan::PassVp8, "a=rtpmap:96 VP8/90000"),
            (VideoCodec::Vp9, VideoPlan::PassVp9, "a=rtpmap:98 VP9/90000"),
        ] {
            let video = VideoStream { codec, profile_level_id: None, ..camera().video.unwrap() };
            let calling = calling_plan(&Streams { video: Some(video), ..camera() }).unwrap();
            let offer = calling.offer_text(MADE, &local()).unwrap();
            assert!(offer.lines().any(|line| line == rtpmap), "{offer}");
            // An answer that takes all of it: the offer, the other way round.
            let answer = offer.replace("actpass", "active").replace("sendonly", "recvonly");
            let agreed = Agreement::offered(&calling, &offer, &guard_answer(&offer, &answer).unwrap());
            assert_eq!(agreed.plan.sections[1].video, Some(plan));
            assert_eq!(agreed.plan.sections[1].direction, Direction::SendOnly);
        }
    }

    #[test]
    fn what_few_take_is_offered_as_h264_too_where_it_can_be_made() {
        let offered = |codec, reordered| {
            let video = VideoStream { codec, reordered, to_h264: true, ..camera().video.unwrap() };
            let plan = calling_plan(&Streams { video: Some(video), audio: None }).unwrap();
            let codecs = plan.sections[0].codecs.iter();
            codecs.map(|offered| (offered.track, offered.video.unwrap())).collect::<Vec<_>>()
        };
        let made = (CallerTrack::H264, VideoPlan::ToH264);
        assert_eq!(offered(VideoCodec::Vp8, false), [(CallerTrack::Vp8, VideoPlan::PassVp8), made]);
        assert_eq!(offered(VideoCodec::Vp9, false), [(CallerTrack::Vp9, VideoPlan::PassVp9), made]);
        assert_eq!(offered(VideoCodec::Other("H.265".to_owned()), false), [made]);
        assert_eq!(offered(VideoCodec::H264, true), [made]);
        assert!(!offered(VideoCodec::H264, false).contains(&made));
    }

    #[test]
    fn a_line_with_nothing_to_carry_offers_nothing() {
        assert!(calling_plan(&Streams::default()).is_err());
        let h265 = VideoStream { codec: VideoCodec::Other("H.265".to_owned()), ..camera().video.unwrap() };
        let why = calling_plan(&Streams { video: Some(h265), audio: None }).unwrap_err();
        assert_eq!(why.detail, "the line sends H.265 video, which cannot be made H.264 here");
        let opus = AudioStream { codec: AudioCodec::Opus, rate: 48_000, channels: 2 };
        let plan = calling_plan(&Streams { video: None, audio: Some(opus) }).unwrap();
        assert_eq!(plan.sections[0].codecs.len(), 1);
        assert_eq!(plan.sections[0].codecs[0].audio, Some(AudioPlan::PassOpus));
    }
}
