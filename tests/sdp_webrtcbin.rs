#![cfg(feature = "daemon")]
use callgate::endpoint::{AudioCodec, AudioStream, Streams, VideoCodec, VideoStream};
use callgate::sdp::{self, *};
use gst::prelude::*;
use std::time::Duration;

fn promise(element: &gst::Element, signal: &str, args: &[&dyn ToValue]) -> Option<gst::Structure> {
    let (tx, rx) = std::sync::mpsc::channel();
    let promise = gst::Promise::with_change_func(move |reply| {
        let _ = tx.send(reply.map(|r| r.map(|s| s.to_owned())));
    });
    let mut all: Vec<&dyn ToValue> = args.to_vec();
    all.push(&promise);
    let values: Vec<glib::Value> = all.iter().map(|v| v.to_value()).collect();
    element.emit_by_name_with_values(signal, &values);
    match rx.recv_timeout(Duration::from_secs(10)) {
        Ok(Ok(s)) => s,
        other => panic!("{signal}: {other:?}"),
    }
}

fn answer(plan: &Plan, offer: &Offer) -> String {
    gst::init().unwrap();
    let pipeline = gst::Pipeline::new();
    let bin = gst::ElementFactory::make("webrtcbin").property_from_str("bundle-policy", "max-bundle").build().unwrap();
    pipeline.add(&bin).unwrap();
    let mut pads = vec![];
    for (i, s) in plan.sections.iter().enumerate() {
        if !s.direction.sends() {
            continue;
        }
        let (media, name, rate) = match (&s.video, &s.audio) {
            (Some(_), _) => ("video", "H264", 90000),
            (_, Some(AudioPlan::PassPcmu)) => ("audio", "PCMU", 8000),
            (_, Some(AudioPlan::PassPcma)) => ("audio", "PCMA", 8000),
            (_, _) => ("audio", "OPUS", 48000),
        };
        let caps = gst::Caps::builder("application/x-rtp")
            .field("media", media)
            .field("encoding-name", name)
            .field("clock-rate", rate)
            .field("payload", s.payload_type as i32)
            .field("ssrc", 1000u32 + i as u32)
            .build();
        let pad =
            bin.request_pad(&bin.pad_template("sink_%u").unwrap(), Some(&format!("sink_{i}")), Some(&caps)).unwrap();
        pads.push((pad, caps));
    }
    let mut srcs = vec![];
    for (pad, caps) in &pads {
        let src = gst::Pad::builder(gst::PadDirection::Src).build();
        src.link(pad).unwrap();
        src.set_active(true).unwrap();
        src.push_event(gst::event::StreamStart::new("x"));
        src.push_event(gst::event::Caps::new(caps));
        srcs.push(src);
    }
    pipeline.set_state(gst::State::Playing).unwrap();
    let text = plan.offer_text(offer);
    let sdp = gst_sdp::SDPMessage::parse_buffer(text.as_bytes()).unwrap();
    let desc = gst_webrtc::WebRTCSessionDescription::new(gst_webrtc::WebRTCSDPType::Offer, sdp);
    let r = promise(&bin, "set-remote-description", &[&desc]);
    if let Some(r) = r {
        assert!(!r.has_field("error"), "{r}");
    }
    let r = promise(&bin, "create-answer", &[&None::<gst::Structure>]).unwrap();
    assert!(!r.has_field("error"), "{r}");
    let ans = r.get::<gst_webrtc::WebRTCSessionDescription>("answer").unwrap();
    let r = promise(&bin, "set-local-description", &[&ans]);
    if let Some(r) = r {
        assert!(!r.has_field("error"), "{r}");
    }
    for c in &offer.candidates {
        bin.emit_by_name::<()>("add-ice-candidate", &[&0u32, &c.text()]);
    }
    let out = ans.sdp().as_text().unwrap();
    drop(srcs);
    pipeline.set_state(gst::State::Null).unwrap();
    out
}

#[test]
fn x() {
    let names = std::env::var("N").unwrap_or("chromium-talk".into());
    for n in names.split(',') {
        let text = std::fs::read_to_string(format!("tests/fixtures/offers/{n}.sdp")).unwrap();
        let offer = guard_offer(&text).unwrap();
        let audio = match std::env::var("A").as_deref() {
            Ok("none") => None,
            Ok("aac") => Some(AudioCodec::Other("AAC".into())),
            _ => Some(AudioCodec::Pcmu),
        };
        let s = Streams {
            video: Some(VideoStream { codec: VideoCodec::H264, profile_level_id: None, width: 1, height: 1 }),
            audio: audio.map(|codec| AudioStream { codec, rate: 8000, channels: 1 }),
        };
        let plan = sdp::plan(&offer, &s).unwrap();
        println!("=== OFFER\n{}", plan.offer_text(&offer));
        let a = answer(&plan, &offer);
        println!("=== RAW\n{a}");
        let local = LocalTransport {
            fingerprint: Fingerprint([1; 32]),
            candidates: vec![Candidate::read("candidate:1 1 UDP 1 127.0.0.1 4000 typ host").unwrap().unwrap()],
            complete: true,
        };
        println!("=== OURS\n{}", plan.answer_text(&offer, &a, &local).unwrap());
    }
}
