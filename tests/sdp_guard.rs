//! The guard's rules, one by one, on a small offer.

use callgate::sdp::{self, Direction, MAX_CANDIDATES, MediaKind, Offer};

const PRINT: &str = "AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA";

/// Audio and video in one bundle, everything at media level.
fn offer() -> String {
    let transport = |ufrag: &str| {
        format!(
            "a=ice-ufrag:{ufrag}\na=ice-pwd:0123456789abcdefghijkl\na=fingerprint:sha-256 {PRINT}\na=setup:actpass\n\
             a=rtcp-mux\n"
        )
    };
    format!(
        "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0 1\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 0\nc=IN IP4 0.0.0.0\na=mid:0\na=sendrecv\n{}a=rtpmap:111 opus/48000/2\n\
         a=candidate:1 1 udp 2113937151 192.0.2.7 50000 typ host\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\nc=IN IP4 0.0.0.0\na=mid:1\na=recvonly\n{}a=rtpmap:96 H264/90000\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=42e01f\n\
         a=candidate:1 1 udp 2113937151 192.0.2.7 50001 typ host\n",
        transport("aaaa"),
        transport("vvvv")
    )
}

fn with(from: &str, to: &str) -> String {
    let offer = offer();
    assert!(offer.contains(from), "{from}");
    offer.replacen(from, to, 1)
}

fn read(text: &str) -> Offer {
    sdp::guard_offer(text).unwrap_or_else(|reject| panic!("{reject}\n{text}"))
}

fn takeable(offer: &Offer) -> Vec<bool> {
    offer.sections.iter().map(|section| section.takeable).collect()
}

#[test]
fn what_is_said_is_understood() {
    let offer = read(&offer());
    assert_eq!((offer.ice_ufrag.as_str(), offer.ice_pwd.as_str()), ("aaaa", "0123456789abcdefghijkl"));
    assert_eq!(offer.fingerprints, [sdp::Fingerprint([0xaa; 32])]);
    assert_eq!(offer.candidates.iter().map(|candidate| candidate.port).collect::<Vec<_>>(), [50000]);
    assert!(offer.bundled && !offer.ice_lite);
    assert_eq!(offer.sections[0].direction, Direction::SendRecv);
    assert_eq!(offer.sections[1].direction, Direction::RecvOnly);
    assert_eq!(offer.sections[0].codecs[1].name, "PCMU", "static payload types need no rtpmap");
    assert_eq!(takeable(&offer), [true, true]);
}

#[test]
fn in_a_bundle_the_tags_transport_counts() {
    let offer = read(&with("BUNDLE 0 1", "BUNDLE 1 0"));
    assert_eq!((offer.ice_ufrag.as_str(), offer.tag), ("vvvv", 1));
    assert_eq!(offer.candidates[0].port, 50001);
}

#[test]
fn session_level_attributes_are_defaults() {
    let mut text = offer();
    for attribute in
        ["a=ice-ufrag:aaaa\n", "a=ice-ufrag:vvvv\n", "a=ice-pwd:0123456789abcdefghijkl\n", "a=setup:actpass\n"]
    {
        text = text.replace(attribute, "");
    }
    text = text.replace(&format!("a=fingerprint:sha-256 {PRINT}\n"), "").replace("a=sendrecv\n", "");
    let session = format!(
        "a=ice-ufrag:ssss\na=ice-pwd:0123456789abcdefghijkl\na=setup:passive\na=recvonly\na=ice-lite\n\
         a=fingerprint:SHA-256 {}\nm=audio",
        PRINT.to_lowercase()
    );
    let offer = read(&text.replacen("m=audio", &session, 1));
    assert_eq!(offer.ice_ufrag, "ssss");
    assert_eq!(offer.fingerprints.len(), 1);
    assert_eq!(offer.sections[0].direction, Direction::RecvOnly);
    assert!(offer.ice_lite);
}

#[test]
fn only_sha_256_fingerprints_are_kept_and_one_is_needed() {
    let sha_1 = "a=fingerprint:sha-1 00:11:22\na=setup";
    let other = format!("a=fingerprint:sha-256 {}\na=setup", PRINT.replace("AA", "BB"));
    assert_eq!(read(&with("a=setup", sha_1)).fingerprints.len(), 1);
    assert_eq!(read(&with("a=setup", &other)).fingerprints.len(), 2);
    let only_sha_1 = with(&format!("sha-256 {PRINT}"), "sha-1 00:11:22");
    assert!(sdp::guard_offer(&only_sha_1).is_err());
}

#[test]
fn legal_m_lines_that_cannot_be_taken_are_left_for_the_answer_to_refuse() {
    let refused = |m_line: &str| {
        let group = with("BUNDLE 0 1", "BUNDLE 2 0 1");
        let offer = read(&format!("{group}{m_line}\na=mid:2\n"));
        assert_eq!(takeable(&offer), [true, true, false], "{m_line}");
        assert_eq!(offer.ice_ufrag, "aaaa");
        offer.sections[2].clone()
    };
    let data = refused("m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
    assert_eq!((data.kind, data.proto.as_str(), data.formats.len()), (MediaKind::Application, "UDP/DTLS/SCTP", 1));
    assert_eq!(refused("m=application 9 DTLS/SCTP 5000\na=sctpmap:5000 webrtc-datachannel 1024").formats, ["5000"]);
    assert_eq!(refused("m=text 9 RTP/AVP 98 99\na=rtpmap:98 t140/1000").kind, MediaKind::Text);
    assert_eq!(refused("m=message 2855 TCP/MSRP *").formats, ["*"]);
    refused("m=audio 9 RTP/SAVPX 0");
    refused("m=video 9 UDP/TLS/RTP/SAVPF 96\na=rtcp-mux");
    refused("m=video 0 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 H264/90000\na=rtcp-mux\na=bundle-only");
}

#[test]
fn m_lines_that_lack_what_they_need_are_not_taken() {
    assert_eq!(takeable(&read(&with("a=rtcp-mux\n", ""))), [false, true]);
    assert_eq!(takeable(&read(&with("m=audio 9", "m=audio 0"))), [false, true]);
    assert_eq!(takeable(&read(&with("m=video 9", "m=video 0"))), [true, false]);
    assert_eq!(takeable(&read(&with("m=video 9 UDP/TLS/RTP/SAVPF", "m=video 9 RTP/AVP"))), [true, false]);
    assert_eq!(takeable(&read(&with("H264/90000", "H265/90000"))), [true, false]);
    // 39 to 44 are H.264 in Chromium's offers, and nothing that can be sent.
    let low = offer().replace(" 96\n", " 39\n").replace(":96 ", ":39 ");
    assert_eq!(takeable(&read(&low)), [true, false]);
}

#[test]
fn a_bundle_only_m_line_needs_its_bundle() {
    let bundle_only = with("m=video 9", "m=video 0").replace("a=mid:1\n", "a=mid:1\na=bundle-only\n");
    assert_eq!(takeable(&read(&bundle_only)), [true, true]);
    let bare = bundle_only.replacen("a=ice-ufrag:vvvv\n", "", 1);
    let at = bare.rfind("a=ice-pwd").unwrap();
    let bare = bare[..at].to_owned()
        + &bare[at..].replacen("a=ice-pwd:0123456789abcdefghijkl\n", "", 1).replace("a=rtcp-mux\n", "");
    assert_eq!(takeable(&read(&bare)), [true, true]);
    assert_eq!(takeable(&read(&bundle_only.replace("BUNDLE 0 1", "BUNDLE 0"))), [true, false]);
}

#[test]
fn without_a_common_bundle_one_transport_is_chosen() {
    let offer = read(&with("a=group:BUNDLE 0 1\n", ""));
    assert_eq!((takeable(&offer), offer.ice_ufrag.as_str(), offer.bundled), (vec![false, true], "vvvv", false));
    let offer = read(&with("BUNDLE 0 1", "BUNDLE 0"));
    assert_eq!((takeable(&offer), offer.ice_ufrag.as_str(), offer.bundled), (vec![false, true], "vvvv", false));
    let sendonly = with("a=group:BUNDLE 0 1\n", "").replace("a=recvonly", "a=sendonly");
    assert_eq!(read(&sendonly).ice_ufrag, "aaaa", "nothing of a line can go out on the other");
}

#[test]
fn of_two_m_lines_of_a_kind_the_one_to_send_on_is_taken() {
    let second = "m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:2\na=recvonly\na=rtcp-mux\na=rtpmap:96 H264/90000\n\
                  a=fmtp:96 packetization-mode=1\n";
    let text = with("BUNDLE 0 1", "BUNDLE 0 1 2").replace("a=recvonly", "a=sendonly") + second;
    assert_eq!(takeable(&read(&text)), [true, false, true]);
}

#[test]
fn an_offer_of_data_alone_is_legal_and_has_nothing_to_take() {
    let text = "v=0\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:0\n";
    assert_eq!(takeable(&read(text)), [false]);
}

#[test]
fn what_is_not_known_is_dropped_and_never_written() {
    let noise = "a=rtcp-xr:rcvr-rtt=all\na=extmap-allow-mixed\na=ssrc:1 cname:x\na=ssrc-group:FID 1 2\na=msid:- t\nb=TIAS:1\n\
                 a=simulcast:send a;b\na=rid:a send\na=extmap:4 urn:x\na=crypto:1 X inline:Y\na=x-google-flag:conference\n\
                 a=end-of-candidates\na=rtcp:9 IN IP4 0.0.0.0\na=ice-options:trickle renomination\na=rtpmap:50 stray/90000\n\
                 a=fmtp:111 x=y;maxptime=60\na=rtcp-fb:* transport-cc\na=maxptime:60\nk=clear:x\ni=title\na=setup";
    assert_eq!(read(&with("a=setup", noise)).sections[1], read(&offer()).sections[1]);
    let offer = read(&with("a=setup", noise));
    let streams = callgate::endpoint::Streams::default();
    let text = sdp::plan(&offer, &streams).unwrap().offer_text(&offer);
    for word in
        ["xr", "extmap", "ssrc", "msid", "TIAS", "rid", "crypto", "x-google", "renomination", "stray", "x=y", "title"]
    {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn candidates_are_bounded_and_told_apart() {
    let many: String =
        (1..200).map(|port| format!("a=candidate:1 1 udp 1 192.0.2.8 {port} typ host\n").repeat(2)).collect();
    let offer = read(&with("a=candidate", &format!("{many}a=candidate")));
    assert!(offer.candidates.len() <= MAX_CANDIDATES && offer.candidates.len() >= 30);
    assert!(offer.candidates.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn every_broken_rule_is_refused_at_its_line() {
    let rules = [
        ("v=0", "v=1", 1),
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1 2", 5),
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 0", 5),
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1\na=group:BUNDLE 1", 6),
        ("m=audio 9", "m=audio 70000", 6),
        ("m=audio 9", "m=audio 9/2", 6),
        ("m=audio 9", "m=sound 9", 6),
        ("SAVPF 111 0", "SAVPF 111 111", 6),
        ("SAVPF 111 0", "SAVPF 111 128", 6),
        ("SAVPF 111 0", "SAVPF 111 00", 6),
        ("SAVPF 111 0", "SAVPF 111  0", 6),
        ("SAVPF 111 0", "SAVPF", 6),
        ("UDP/TLS/RTP/SAVPF 111", "UDP//RTP 111", 6),
        ("a=mid:0", "a=mid:", 8),
        ("a=mid:0", "a=mid:a b", 8),
        ("a=mid:0", "a=mid:0\na=mid:0", 9),
        ("a=mid:0", "a=mid:012345678901234567890123456789012", 8),
        ("a=mid:0\n", "", 6),
        ("a=mid:1", "a=mid:0", 17),
        ("a=sendrecv", "a=sendrecv\na=sendonly", 10),
        ("a=ice-ufrag:aaaa", "a=ice-ufrag:aaa", 10),
        ("a=ice-ufrag:aaaa", "a=ice-ufrag:aaa%s", 10),
        ("a=ice-ufrag:aaaa\n", "", 6),
        ("a=ice-pwd:0123456789abcdefghijkl", "a=ice-pwd:0123456789", 11),
        ("a=ice-pwd:0123456789abcdefghijkl", "a=ice-pwd:0123456789abcdefghij l", 11),
        ("a=fingerprint:sha-256 AA:", "a=fingerprint:sha-256 ", 12),
        ("a=fingerprint:sha-256 AA:", "a=fingerprint:sha-256 A:", 12),
        ("a=fingerprint:sha-256 AA:", "a=fingerprint:sha-256 +A:", 12),
        ("a=fingerprint:sha-256 ", "a=fingerprint:sha-512 ", 6),
        ("a=setup:actpass", "a=setup:active", 6),
        ("a=setup:actpass", "a=setup:holdconn", 6),
        ("a=setup:actpass", "a=setup:yes", 13),
        ("a=setup:actpass\n", "", 6),
        ("a=setup:actpass", "a=setup:actpass\na=setup:actpass", 14),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/0/2", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/4294967295/2", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/0", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/256", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2/2", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 o pus/48000/2", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:211 opus/48000/2", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:0 opus/48000/2", 15),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2\na=rtpmap:111 opus/48000/2", 16),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2\na=fmtp:x y=z", 16),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2\na=fmtp:111 y=z\na=fmtp:111 y=z", 17),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2\na=rtcp-fb:x nack", 16),
        ("a=candidate:1 1 udp", "a=candidate:1 1 udp typ", 16),
        ("SAVPF 96\n", "SAVPF 96 111\na=rtpmap:111 VP8/90000\n", 17),
    ];
    for (from, to, line) in rules {
        let reject = sdp::guard_offer(&with(from, to)).expect_err(to);
        assert_eq!(reject.line, line, "{to}: {reject}");
    }
}

#[test]
fn h264_with_a_broken_profile_is_not_h264() {
    assert_eq!(takeable(&read(&with("42e01f", "42e0"))), [true, false]);
    assert_eq!(takeable(&read(&with("42e01f", "+2e01f"))), [true, false]);
    assert_eq!(takeable(&read(&with("packetization-mode=1", "packetization-mode=7"))), [true, false]);
}
