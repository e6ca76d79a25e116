//! The fixture offers, and what tests of the SDP guard need besides.

#![allow(dead_code, reason = "each test binary that includes this uses a part of it")]

use std::fmt::Write as _;

use callgate::endpoint::{AudioCodec, AudioStream, Streams, VideoCodec, VideoStream};
use callgate::sdp::{self, CallingPlan, Candidate, Fingerprint, LocalTransport, Offer, Plan};

/// High profile, as most cameras send.
pub const HIGH: [u8; 3] = [0x64, 0x00, 0x28];

/// Name and text of each fixture, sorted by name.
pub fn fixtures() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/offers");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let offers = paths.filter(|path| path.extension().is_some_and(|extension| extension == "sdp"));
    let name = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut all: Vec<_> = offers.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect();
    all.sort();
    assert!(all.len() > 50);
    all
}

pub fn fixture_text(name: &str) -> String {
    fixtures().into_iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no fixture {name}")).1
}

pub fn fixture(name: &str) -> Offer {
    sdp::guard_offer(&fixture_text(name)).unwrap()
}

/// Video that H.264 can be made of.
pub fn to_h264(codec: VideoCodec) -> Option<VideoStream> {
    video(codec).map(|video| VideoStream { to_h264: true, ..video })
}

/// Video that cannot be made H.264 here.
pub fn video(codec: VideoCodec) -> Option<VideoStream> {
    Some(VideoStream { codec, profile_level_id: None, width: 1280, height: 720, reordered: false, to_h264: false })
}

pub fn h264(profile_level_id: [u8; 3]) -> Option<VideoStream> {
    let profile_level_id = Some(profile_level_id);
    video(VideoCodec::H264).map(|video| VideoStream { profile_level_id, ..video })
}

pub fn audio(codec: AudioCodec, rate: u32, channels: u32) -> Option<AudioStream> {
    Some(AudioStream { codec, rate, channels })
}

/// A usual camera: H.264 High and PCMU.
pub fn camera() -> Streams {
    Streams { video: h264(HIGH), audio: audio(AudioCodec::Pcmu, 8000, 1) }
}

/// Lines of each kind that matters to a plan.
pub fn lines() -> Vec<Streams> {
    let aac = AudioCodec::Other("AAC".to_owned());
    vec![
        camera(),
        Streams { video: h264([0x42, 0xe0, 0x1f]), audio: audio(aac, 48000, 2) },
        Streams { video: h264(HIGH), audio: None },
        Streams { video: video(VideoCodec::Vp8), audio: audio(AudioCodec::Opus, 48000, 2) },
        Streams { video: video(VideoCodec::Vp9), audio: None },
        Streams { video: to_h264(VideoCodec::Other("H265".to_owned())), audio: None },
        Streams { video: None, audio: audio(AudioCodec::Pcma, 8000, 1) },
        Streams { video: None, audio: audio(AudioCodec::Opus, 48000, 2) },
        Streams::default(),
    ]
}

pub fn local() -> LocalTransport {
    let candidate = |text| Candidate::read(text).unwrap().unwrap();
    LocalTransport {
        fingerprint: Fingerprint(std::array::from_fn(|at| u8::try_from(at).unwrap())),
        candidates: vec![
            candidate("candidate:1 1 UDP 2015363327 192.0.2.9 40404 typ host"),
            candidate("candidate:2 1 UDP 1677722111 203.0.113.9 40404 typ srflx raddr 192.0.2.9 rport 40404"),
        ],
        complete: true,
    }
}

/// Our offer made of the plan, with an SSRC on each m-line on which we send.
pub fn as_we_offer(plan: &CallingPlan) -> String {
    let mut text = "v=0\r\no=- 1 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-options:trickle\r\n".to_owned();
    for (index, section) in plan.sections.iter().enumerate() {
        let kind = section.kind.word();
        write!(
            text,
            "m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:0123456789012345678901\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=ssrc:{} cname:user1@host-2\r\n\
             a=mid:{kind}{index}\r\na=fingerprint:sha-256 {}\r\n",
            7 + index,
            Fingerprint([7; 32])
        )
        .unwrap();
    }
    plan.offer_text(&text, &local()).unwrap()
}

/// An answer to an offer of ours by somebody who takes what it has, or sends when it only wants to see.
pub fn as_they_answer(ours: &str) -> String {
    let offer = sdp::guard_offer(ours).unwrap();
    let plan = sdp::plan(&offer, &Streams::default()).or_else(|_| sdp::plan(&offer, &camera())).unwrap();
    plan.answer_text(&offer, &as_webrtcbin_answers(&plan), &local()).unwrap()
}

/// An answer as `webrtcbin` 1.22 makes it of the plan's text: one codec an m-line, SSRCs where it sends.
pub fn as_webrtcbin_answers(plan: &Plan) -> String {
    let mut text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n".to_owned();
    if plan.sections.len() == 1 {
        text = text.replace("BUNDLE 0 1", "BUNDLE 0");
    }
    for (mid, section) in plan.sections.iter().enumerate() {
        let (kind, at, direction) = (section.kind.word(), section.payload_type, section.direction.word());
        let codec = match section.receive[0].1 {
            sdp::CallerTrack::Opus => "OPUS/48000/2",
            sdp::CallerTrack::Pcmu => "PCMU/8000",
            sdp::CallerTrack::Pcma => "PCMA/8000",
            sdp::CallerTrack::H264 => "H264/90000",
            sdp::CallerTrack::Vp8 => "VP8/90000",
            sdp::CallerTrack::Vp9 => "VP9/90000",
        };
        let source = if section.direction.sends() {
            format!("a=ssrc:{0} msid:user1@host-2 webrtctransceiver0\r\na=ssrc:{0} cname:user1@host-2\r\n", 1000 + mid)
        } else {
            String::new()
        };
        write!(
            text,
            "m={kind} 9 UDP/TLS/RTP/SAVPF {at}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:i/0aRPnb2imj/R8nGycBs8dXLr1ocfA5\r\n\
             a=ice-pwd:JKBO3YUdHnPajR25E/sQqa5maDWwmfPM\r\na=mid:{mid}\r\na=rtcp-mux\r\na=setup:active\r\n\
             a=rtpmap:{at} {codec}\r\na=rtcp-fb:{at} nack pli\r\na=rtcp-fb:{at} ccm fir\r\n{source}a={direction}\r\n\
             a=fingerprint:sha-256 {}\r\n",
            Fingerprint([7; 32])
        )
        .unwrap();
    }
    text
}
