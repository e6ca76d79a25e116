//! Our answers to callers, and the guard of answers to our own offers.

#[path = "support/sdp_offers.rs"]
mod offers;

use callgate::sdp::{self, Direction, MediaKind, Offer, Plan};

fn planned(name: &str) -> (Offer, Plan) {
    let offer = offers::fixture(name);
    let plan = sdp::plan(&offer, &offers::camera()).unwrap();
    (offer, plan)
}

fn answered(name: &str) -> String {
    let (offer, plan) = planned(name);
    plan.answer_text(&offer, &offers::as_webrtcbin_answers(&plan), &offers::local()).unwrap()
}

fn m_lines(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| line.starts_with("m=")).collect()
}

#[test]
fn the_answer_has_the_offers_m_lines_in_their_order() {
    let answer = answered("chromium-data-first");
    assert_eq!(
        m_lines(&answer),
        [
            "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
            "m=audio 9 UDP/TLS/RTP/SAVPF 0",
            "m=video 9 UDP/TLS/RTP/SAVPF 108"
        ]
    );
    assert!(answer.contains("\r\na=group:BUNDLE 1 2\r\n"), "{answer}");
    let mids: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("a=mid:")).collect();
    assert_eq!(mids, ["0", "1", "2"]);
}

#[test]
fn the_answer_bundles_only_if_the_offer_did() {
    let answer = answered("chromium-no-bundle");
    assert_eq!(m_lines(&answer), ["m=audio 0 UDP/TLS/RTP/SAVPF 111", "m=video 9 UDP/TLS/RTP/SAVPF 108"]);
    assert!(!answer.contains("BUNDLE"));
}

#[test]
fn the_answer_names_the_tag_first() {
    let text = offers::fixture_text("chromium-recvonly").replace("BUNDLE 0 1", "BUNDLE 1 0");
    let offer = sdp::guard_offer(&text).unwrap();
    let plan = sdp::plan(&offer, &offers::camera()).unwrap();
    let answer = plan.answer_text(&offer, &offers::as_webrtcbin_answers(&plan), &offers::local()).unwrap();
    assert!(answer.contains("\r\na=group:BUNDLE 1 0\r\n"));
    let (audio, video) = answer.split_once("m=video").unwrap();
    assert!(!audio.contains("a=candidate") && video.contains("a=candidate"), "candidates are the tag's");
}

#[test]
fn the_answer_has_our_fingerprint_and_says_what_we_send() {
    let answer = answered("chromium-talk");
    let count = |line: &str| answer.lines().filter(|known| *known == line).count();
    assert_eq!(count(&format!("a=fingerprint:sha-256 {}", offers::local().fingerprint)), 2);
    assert!(!answer.contains("07:07"), "webrtcbin's is not ours");
    assert_eq!(count("a=setup:active"), 2);
    assert_eq!(count("a=rtcp-mux"), 2);
    assert_eq!(count("a=ice-ufrag:i/0aRPnb2imj/R8nGycBs8dXLr1ocfA5"), 2);
    assert_eq!(count("a=ssrc:1000 cname:user1@host-2"), 1);
    assert_eq!(
        count("a=msid:callgate audio") + count("a=msid:callgate video"),
        2,
        "one stream, so that they are in sync"
    );
    assert_eq!(count("a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"), 1);
    assert_eq!(count("a=rtcp-fb:108 nack pli") + count("a=rtcp-fb:108 ccm fir"), 2);
    assert_eq!(count("a=rtcp-fb:108 nack"), 0, "webrtcbin did not accept it");
    assert_eq!(count("a=candidate:1 1 UDP 2015363327 192.0.2.9 40404 typ host"), 1);
    assert_eq!(count("a=end-of-candidates"), 1);
}

#[test]
fn while_gathering_goes_on_the_answer_does_not_end_the_candidates() {
    let (offer, plan) = planned("chromium-talk");
    let local = sdp::LocalTransport { complete: false, ..offers::local() };
    let answer = plan.answer_text(&offer, &offers::as_webrtcbin_answers(&plan), &local).unwrap();
    assert!(!answer.contains("end-of-candidates"));
}

#[test]
fn an_m_line_on_which_nothing_is_sent_has_no_source() {
    let answer = answered("libwebrtc-recvonly");
    let (_, video) = answer.split_once("m=video 9").unwrap();
    assert!(video.contains("a=inactive") && !video.contains("ssrc") && !video.contains("msid"));
}

#[test]
fn what_does_not_fit_the_plan_is_our_error() {
    let (offer, plan) = planned("chromium-talk");
    let raw = offers::as_webrtcbin_answers(&plan);
    let with = |from: &str, to: &str| {
        assert!(raw.contains(from), "{from}");
        plan.answer_text(&offer, &raw.replace(from, to), &offers::local())
    };
    assert!(with("a=rtcp-mux", "a=rtcp-mux").is_ok());
    assert!(with("v=0", "").is_err());
    assert!(with("m=video 9", "m=audio 9").is_err());
    assert!(with("m=video 9", "m=video 0").is_err());
    assert!(with("a=sendonly", "a=inactive").is_err());
    assert!(with("a=sendonly", "a=sendrecv").is_err());
    assert!(with("a=ssrc:1001 cname", "a=ssrc:0 cname").is_err(), "an SSRC of 0");
    assert!(with("SAVPF 108", "SAVPF 96").is_err());
    let one = raw.split("m=video").next().unwrap().replace("BUNDLE 0 1", "BUNDLE 0");
    assert!(plan.answer_text(&offer, &one, &offers::local()).is_err());
}

#[test]
fn a_strangers_answer_is_held_against_our_offer() {
    let offer = offers::fixture_text("chromium-talk");
    let answer = answered("chromium-talk");
    let with = |from: &str, to: &str| {
        assert!(answer.contains(from), "{from}");
        sdp::guard_answer(&offer, &answer.replacen(from, to, 1))
    };
    let read = with("a=rtcp-mux", "a=rtcp-mux").unwrap();
    assert_eq!(read.fingerprints, [offers::local().fingerprint]);
    assert_eq!(read.candidates, offers::local().candidates);
    assert_eq!(
        read.sections.iter().map(|section| (section.kind, section.direction, section.taken)).collect::<Vec<_>>(),
        [(MediaKind::Audio, Direction::SendRecv, true), (MediaKind::Video, Direction::SendOnly, true)]
    );
    assert_eq!(read.sections[1].codecs, [(108, sdp::CallerTrack::H264)]);
    assert!(read.active);
    assert!(!read.text.contains("candidate") && !read.text.contains("ssrc") && !read.text.contains("msid"));

    let video = |from: &str, to: &str| {
        let (head, tail) = answer.split_once("m=video").unwrap();
        assert!(tail.contains(from), "{from}");
        sdp::guard_answer(&offer, &format!("{head}m=video{}", tail.replacen(from, to, 1)))
    };
    assert!(with("a=mid:0", "a=mid:9").is_err());
    assert!(with("m=audio", "m=video").is_err());
    assert!(with("a=setup:active", "a=setup:actpass").is_err(), "an answer decides");
    assert!(with("a=setup:active", "a=setup:passive").is_ok());
    assert!(with("a=group:BUNDLE 0 1", "a=group:BUNDLE 0").is_err());
    assert!(with("a=group:BUNDLE 0 1\r\n", "").is_err(), "two transports");
    assert!(video("a=sendonly", "a=sendrecv").is_err(), "more than offered");
    assert!(video("a=sendonly", "a=inactive").is_ok());
    assert!(video("a=rtcp-mux\r\n", "").is_err());
    assert!(video("SAVPF 108", "SAVPF 77").is_err(), "a payload type that was not offered");
    assert!(video("H264/90000", "VP8/90000").is_err(), "a payload type with another meaning");
    assert!(video("packetization-mode=1", "packetization-mode=0").is_err());
    assert!(video(" 9 ", " 0 ").is_err(), "refused, and in the bundle");
    let third = "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n";
    assert!(sdp::guard_answer(&offer, &format!("{answer}{third}")).is_err());
}

#[test]
fn an_answer_that_refuses_an_m_line_keeps_its_place() {
    let offer = offers::fixture_text("chromium-data-first");
    let read = sdp::guard_answer(&offer, &answered("chromium-data-first")).unwrap();
    let refused = &read.sections[0];
    assert_eq!((refused.kind, refused.direction, refused.taken), (MediaKind::Application, Direction::Inactive, false));
    assert_eq!(read.tag, 1);
    assert_eq!(m_lines(&read.text)[0], "m=application 0 UDP/DTLS/SCTP webrtc-datachannel");
    let all = answered("chromium-recvonly").replace("m=audio 9", "m=audio 0").replace("m=video 9", "m=video 0");
    let none =
        sdp::guard_answer(&offers::fixture_text("chromium-recvonly"), &all.replace("a=group:BUNDLE 0 1\r\n", ""));
    assert_eq!(none.unwrap_err().what, "it takes no m-line");
}
