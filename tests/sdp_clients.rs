//! Offers of real clients: each passes the guard and gets the plan that it should get.

#[path = "support/sdp_offers.rs"]
mod offers;

use callgate::endpoint::{AudioCodec, Streams, VideoCodec, VideoStream};
use callgate::sdp::{self, AudioPlan, CallerTrack, Direction, MediaKind, Plan, VideoPlan};

/// Builds of clients that have no H.264.
fn has_h264(name: &str) -> bool {
    !["libwebrtc-", "firefox-fresh-"].iter().any(|client| name.starts_with(client))
        && !["-vp8-only", "werift-defaults", "-stopped", "-audio"].iter().any(|variant| name.ends_with(variant))
}

fn planned(name: &str, streams: &Streams) -> Plan {
    sdp::plan(&offers::fixture(name), streams).unwrap()
}

#[test]
fn every_offer_of_a_real_client_passes_the_guard() {
    for (name, text) in offers::fixtures() {
        let offer = sdp::guard_offer(&text).unwrap_or_else(|reject| panic!("{name}: {reject}"));
        assert!(offer.sections.iter().any(|section| section.takeable), "{name}");
        assert!(!offer.fingerprints.is_empty(), "{name}");
        for section in &offer.sections {
            assert!(!section.takeable || matches!(section.kind, MediaKind::Audio | MediaKind::Video), "{name}");
        }
        // LF alone, and no end of line at the end, mean the same.
        assert_eq!(sdp::guard_offer(text.replace("\r\n", "\n").trim_end()).unwrap(), offer, "{name}");
    }
}

#[test]
fn every_client_with_h264_gets_the_cameras_own() {
    for (name, text) in offers::fixtures().into_iter().filter(|(name, _)| has_h264(name)) {
        let offer = sdp::guard_offer(&text).unwrap();
        let plan = sdp::plan(&offer, &offers::camera()).unwrap_or_else(|none| panic!("{name}: {none}"));
        let video = plan.sections.iter().find(|section| section.kind == MediaKind::Video).unwrap();
        assert_eq!(video.video, Some(VideoPlan::PassH264), "{name}");
        assert!(video.direction.sends() && video.payload_type >= 96, "{name}");
        assert_eq!(video.receive[0], (video.payload_type, CallerTrack::H264), "{name}");
    }
}

#[test]
fn vp8_and_vp9_go_as_they_are_to_every_client_that_takes_them() {
    let mut passed = [0, 0];
    for (name, text) in offers::fixtures() {
        let offer = sdp::guard_offer(&text).unwrap();
        let kinds = [
            (VideoCodec::Vp8, CallerTrack::Vp8, VideoPlan::PassVp8),
            (VideoCodec::Vp9, CallerTrack::Vp9, VideoPlan::PassVp9),
        ];
        for (count, (codec, track, pass)) in passed.iter_mut().zip(kinds) {
            // Given a line with this video, and a client's offer
            let streams = Streams { video: offers::video(codec), audio: None };
            let takes = |section: &&sdp::MediaSection| {
                let known = section.codecs.iter().any(|codec| codec.track() == Some(track));
                section.takeable && section.kind == MediaKind::Video && section.direction.receives() && known
            };
            let Some(taking) = offer.sections.iter().find(takes) else {
                assert!(sdp::plan(&offer, &streams).is_err(), "{name}");
                continue;
            };
            // When it is planned, then the picture goes out as it is
            let plan = sdp::plan(&offer, &streams).unwrap_or_else(|none| panic!("{name}: {none}"));
            let video = plan.sections.iter().find(|section| section.kind == MediaKind::Video).unwrap();
            assert_eq!((video.video, video.mid.as_str()), (Some(pass), taking.mid.as_str()), "{name}");
            assert_eq!(video.receive[0], (video.payload_type, track), "{name}");
            // with our own words for it, in what webrtcbin gets and in the answer
            let words = format!("a=rtpmap:{} {track:?}/90000", video.payload_type).to_uppercase();
            let answer = plan.answer_text(&offer, &offers::as_webrtcbin_answers(&plan), &offers::local()).unwrap();
            for said in [plan.offer_text(&offer), answer] {
                assert!(said.to_uppercase().lines().any(|line| line == words), "{name}: {words} is not in\n{said}");
            }
            *count += 1;
        }
    }
    assert!(passed[0] > 20 && passed[1] > 10, "{passed:?}");
}

#[test]
fn what_a_client_does_not_take_as_it_is_goes_as_h264_where_that_can_be_made() {
    for (name, text) in offers::fixtures().into_iter().filter(|(name, _)| has_h264(name)) {
        let offer = sdp::guard_offer(&text).unwrap();
        let planned = |video: Option<VideoStream>| {
            let plan =
                sdp::plan(&offer, &Streams { video, audio: None }).unwrap_or_else(|none| panic!("{name}: {none}"));
            let video = plan.sections.into_iter().find(|section| section.kind == MediaKind::Video).unwrap();
            assert_eq!(video.receive[0].0, video.payload_type, "{name}");
            (video.video.unwrap(), video.receive[0].1)
        };
        let made = (VideoPlan::ToH264, CallerTrack::H264);
        // H.265 and whatever else is never passed
        assert_eq!(planned(offers::to_h264(VideoCodec::Other("H265".to_owned()))), made, "{name}");
        // VP9 is where it is taken
        let taken = offer
            .sections
            .iter()
            .flat_map(|section| &section.codecs)
            .any(|codec| codec.track() == Some(CallerTrack::Vp9));
        let expected = if taken { (VideoPlan::PassVp9, CallerTrack::Vp9) } else { made };
        assert_eq!(planned(offers::to_h264(VideoCodec::Vp9)), expected, "{name}");
        // H.264 is, unless its pictures are out of order, which is passed only where nothing better can be made
        let reordered = |video: Option<VideoStream>| video.map(|video| VideoStream { reordered: true, ..video });
        let passed = (VideoPlan::PassH264, CallerTrack::H264);
        assert_eq!(planned(offers::to_h264(VideoCodec::H264)), passed, "{name}");
        assert_eq!(planned(reordered(offers::to_h264(VideoCodec::H264))), made, "{name}");
        assert_eq!(planned(reordered(offers::video(VideoCodec::H264))), passed, "{name}");
        let ten_bits = |video: VideoStream| VideoStream { profile_level_id: Some([110, 0, 31]), ..video };
        assert_eq!(planned(offers::to_h264(VideoCodec::H264).map(ten_bits)), made, "{name}");
    }
    let h265 = Streams { video: offers::to_h264(VideoCodec::Other("H.265".to_owned())), audio: None };
    let none = sdp::plan(&offers::fixture("chromium-vp8-only"), &h265).unwrap_err();
    assert_eq!(none.to_string(), "the line sends H.265 video, you offer VP8 video");
}

#[test]
fn what_becomes_of_a_picture_is_told_with_the_reason() {
    let h265 = VideoCodec::Other("H265".to_owned());
    assert_eq!(VideoPlan::PassVp8.words(&VideoCodec::Vp8), "VP8 as it is");
    assert_eq!(VideoPlan::ToH264.words(&VideoCodec::Vp9), "VP9 made H.264, since the other side does not take VP9");
    assert_eq!(VideoPlan::ToH264.words(&h265), "H265 made H.264, since H265 is not passed on");
    assert_eq!(AudioPlan::ToOpus.words(&AudioCodec::Other("AAC".to_owned())), "AAC made Opus");
}

#[test]
fn vp9_of_another_profile_is_another_codec() {
    let streams = Streams { video: offers::video(VideoCodec::Vp9), audio: None };
    let text = offers::fixture_text("chromium-recvonly");
    let first = sdp::plan(&sdp::guard_offer(&text).unwrap(), &streams).unwrap().sections[1].payload_type;
    let at = format!("a=fmtp:{first} profile-id=0");
    assert!(text.contains(&at));
    for other in ["1", "2", "3", "00", "x"] {
        let offer = sdp::guard_offer(&text.replace(&at, &format!("a=fmtp:{first} profile-id={other}"))).unwrap();
        assert!(sdp::plan(&offer, &streams).is_err(), "{other}");
    }
}

#[test]
fn every_client_gets_sound_unless_its_audio_is_on_another_transport() {
    let streams = Streams { video: None, ..offers::camera() };
    for (name, text) in offers::fixtures() {
        let offer = sdp::guard_offer(&text).unwrap();
        let takes_pcmu = text.contains("PCMU/8000") || text.contains("opus/48000");
        if !takes_pcmu || !offer.sections.iter().any(|section| section.takeable && section.kind == MediaKind::Audio) {
            continue;
        }
        let plan = sdp::plan(&offer, &streams).unwrap_or_else(|none| panic!("{name}: {none}"));
        let audio = plan.sections.iter().find(|section| section.kind == MediaKind::Audio).unwrap();
        let expected = if text.contains("PCMU/8000") { AudioPlan::PassPcmu } else { AudioPlan::ToOpus };
        assert_eq!(audio.audio, Some(expected), "{name}");
    }
}

#[test]
fn offers_that_are_not_fully_bundled_get_one_transport() {
    for client in ["chromium", "firefox", "aiortc"] {
        for variant in ["no-bundle", "part-bundle"] {
            let offer = offers::fixture(&format!("{client}-{variant}"));
            let taken: Vec<_> = offer.sections.iter().filter(|section| section.takeable).collect();
            assert_eq!(taken.len(), 1);
            assert_eq!(taken[0].kind, MediaKind::Video, "the one with video, when it has a codec that can be sent");
            assert!(!offer.bundled);
        }
    }
    let offer = offers::fixture("libwebrtc-part-bundle");
    assert!(offer.sections[0].takeable && offer.bundled, "the one with audio, when video has none");
}

#[test]
fn the_transport_of_a_refused_tag_is_not_the_one_that_is_used() {
    for client in ["chromium", "firefox", "libwebrtc", "str0m"] {
        let name = format!("{client}-data-first");
        let offer = offers::fixture(&name);
        assert_eq!((offer.sections[0].kind, offer.sections[0].takeable), (MediaKind::Application, false), "{name}");
        assert_eq!(offer.tag, 1, "{name}");
    }
    assert_eq!(offers::fixture("str0m-data-first").candidates.len(), 3, "it lists them on its first m-line only");
}

#[test]
fn a_bundle_only_m_line_is_taken_with_its_tags_transport() {
    let offer = offers::fixture("firefox-max-bundle");
    let taken: Vec<_> = offer.sections.iter().map(|section| section.takeable).collect();
    assert_eq!(taken, [true, true, false]);
    assert_eq!(offer.tag, 0);
}

#[test]
fn m_lines_that_the_caller_stopped_are_not_taken() {
    for client in ["chromium", "firefox", "libwebrtc"] {
        let offer = offers::fixture(&format!("{client}-stopped"));
        let taken: Vec<_> = offer.sections.iter().map(|section| section.takeable).collect();
        assert_eq!(taken, [true, false, false], "{client}");
    }
}

#[test]
fn hidden_and_tcp_and_rtcp_candidates_are_dropped() {
    assert!(offers::fixture("firefox-data-first").candidates.is_empty());
    assert!(offers::fixture("chromium-hidden-recvonly").candidates.is_empty());
    let shown = offers::fixture("firefox-shown-recvonly");
    assert!(!shown.candidates.is_empty());
    assert!(shown.candidates.iter().all(|candidate| candidate.port != 9));
}

#[test]
fn an_ice_lite_caller_is_passed_on_as_such() {
    let offer = offers::fixture("str0m-ice-lite");
    let plan = sdp::plan(&offer, &offers::camera()).unwrap();
    assert!(offer.ice_lite && plan.offer_text(&offer).contains("\r\na=ice-lite\r\n"));
}

#[test]
fn the_payload_type_is_the_one_whose_profile_is_the_cameras() {
    let with = |profile| Streams { video: offers::h264(profile), audio: None };
    // Chromium: 102 is 42001f, 108 is 42e01f, 116 is 4d001f, all with packetization-mode=1; 39 to 44 cannot be used.
    let chosen = |profile| planned("chromium-recvonly", &with(profile)).sections[1].payload_type;
    assert_eq!(chosen([0x42, 0xc0, 0x28]), 108);
    assert_eq!(chosen([0x42, 0x00, 0x28]), 102);
    assert_eq!(chosen([0x4d, 0x00, 0x33]), 116);
    assert_eq!(chosen([0x4d, 0x80, 0x33]), 108, "Main that is also Constrained Baseline");
    assert_eq!(chosen([0x64, 0x00, 0x33]), 108, "High is not offered there");
    // Chromium with hardware, and Safari, offer High.
    let text = offers::fixture_text("chromium-recvonly").replace("profile-level-id=4d001f", "profile-level-id=640c1f");
    let offer = sdp::guard_offer(&text).unwrap();
    let high = sdp::plan(&offer, &with([0x64, 0x00, 0x33])).unwrap();
    assert_eq!(high.sections[1].payload_type, 116);
}

#[test]
fn what_the_caller_sends_is_received_also_where_we_send_nothing() {
    let silent = Streams { audio: None, ..offers::camera() };
    let plan = planned("chromium-two-way", &silent);
    let audio = &plan.sections[0];
    assert_eq!((audio.direction, audio.audio), (Direction::RecvOnly, None));
    assert_eq!(audio.receive, [(111, CallerTrack::Opus), (0, CallerTrack::Pcmu), (8, CallerTrack::Pcma)]);
    let no_video = Streams { video: None, ..offers::camera() };
    let plan = planned("chromium-two-way", &no_video);
    let video = &plan.sections[1];
    assert_eq!((video.direction, &video.video), (Direction::RecvOnly, &None));
    let receive: Vec<_> = video.receive.iter().map(|(_, track)| *track).collect();
    assert_eq!(receive, [CallerTrack::Vp8, CallerTrack::H264, CallerTrack::Vp9]);
    // With neither, the line is there to be sent to.
    let plan = planned("chromium-two-way", &Streams::default());
    assert!(plan.sections.iter().all(|section| section.direction == Direction::RecvOnly));
}

#[test]
fn audio_is_passed_when_it_can_be_and_made_opus_when_it_must() {
    let plan_of = |codec, rate, channels, name: &str| {
        let streams = Streams { video: None, audio: offers::audio(codec, rate, channels) };
        sdp::plan(&offers::fixture(name), &streams).map(|plan| plan.sections[0].audio)
    };
    let aac = || AudioCodec::Other("AAC".to_owned());
    assert_eq!(plan_of(AudioCodec::Pcmu, 8000, 1, "chromium-audio"), Ok(Some(AudioPlan::PassPcmu)));
    assert_eq!(plan_of(AudioCodec::Pcma, 8000, 1, "chromium-audio"), Ok(Some(AudioPlan::PassPcma)));
    assert_eq!(plan_of(AudioCodec::Pcmu, 16000, 1, "chromium-audio"), Ok(Some(AudioPlan::ToOpus)));
    assert_eq!(plan_of(AudioCodec::Opus, 48000, 2, "chromium-audio"), Ok(Some(AudioPlan::PassOpus)));
    assert_eq!(plan_of(aac(), 44100, 2, "chromium-audio"), Ok(Some(AudioPlan::ToOpus)));
    assert_eq!(plan_of(AudioCodec::Pcmu, 8000, 1, "str0m-defaults"), Ok(Some(AudioPlan::ToOpus)));
    assert_eq!(plan_of(AudioCodec::Pcma, 8000, 1, "chromium-h264-only"), Ok(Some(AudioPlan::PassPcma)));
    assert!(plan_of(AudioCodec::Opus, 48000, 2, "chromium-h264-only").is_err());
}

#[test]
fn no_codec_in_common_says_what_each_side_has() {
    let detail = |name: &str, streams: &Streams| sdp::plan(&offers::fixture(name), streams).unwrap_err().to_string();
    let video = Streams { audio: None, ..offers::camera() };
    let h265 = |audio| Streams { video: offers::video(VideoCodec::Other("H.265".to_owned())), audio };
    assert_eq!(detail("chromium-vp8-only", &video), "the line sends H.264 video, you offer VP8 video");
    assert_eq!(detail("libwebrtc-recvonly", &video), "the line sends H.264 video, you offer VP8, VP9 and AV1 video");
    assert_eq!(detail("chromium-audio", &video), "the line sends H.264 video, you offer no video");
    assert_eq!(detail("chromium-recvonly", &h265(None)), "the line sends H.265 video, which cannot be made H.264 here");
    assert_eq!(
        detail("chromium-video", &h265(offers::audio(AudioCodec::Pcmu, 8000, 1))),
        "the line sends H.265 video, which cannot be made H.264 here; the line sends PCMU audio, you offer no audio"
    );
    assert_eq!(
        detail("chromium-h264-only", &Streams { video: None, audio: offers::audio(AudioCodec::Opus, 48000, 2) }),
        "the line sends Opus audio, you offer PCMA audio"
    );
    assert_eq!(
        detail("chromium-no-bundle", &Streams { video: None, ..offers::camera() }),
        "the line sends PCMU audio, you offer Opus, G722, PCMU and PCMA audio, on an m-line that cannot be taken \
         (its port, rtcp-mux or BUNDLE)"
    );
    let changed = |from: &str, to: &str| {
        let text = offers::fixture_text("firefox-video").replace(from, to);
        sdp::plan(&sdp::guard_offer(&text).unwrap(), &video).unwrap_err().to_string()
    };
    assert_eq!(changed("a=recvonly", "a=sendonly"), "the line sends H.264 video, you do not receive video");
    assert_eq!(
        changed("packetization-mode=1", "packetization-mode=0"),
        "the line sends H.264 video, you offer VP8, VP9, H.264 (only with packetization-mode=0) and AV1 video"
    );
    assert_eq!(
        detail("chromium-audio", &Streams::default()),
        "the line sends no media, and you send none that can be taken"
    );
}

#[test]
fn a_call_goes_on_with_the_one_kind_that_has_a_codec() {
    let plan = planned("libwebrtc-recvonly", &offers::camera());
    assert_eq!(plan.sections[0].direction, Direction::SendOnly);
    assert_eq!((plan.sections[1].direction, &plan.sections[1].video), (Direction::Inactive, &None));
}
