//! `webrtcbin` takes the texts that are made for it, and what it answers becomes an answer for the caller.
#![cfg(feature = "daemon")]

#[path = "support/sdp_offers.rs"]
mod offers;

use std::sync::mpsc;
use std::time::Duration;

use callgate::sdp::{self, AudioPlan, Candidate, LocalTransport, Offer, Plan, PlannedSection, VideoPlan};
use gst::prelude::*;
use gst_webrtc::{WebRTCPeerConnectionState as State, WebRTCSDPType as Type};

/// How long one step may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

enum Event {
    Candidate(String),
    State(State),
}

/// A `webrtcbin` in a pipeline of its own.
struct Peer {
    pipeline: gst::Pipeline,
    webrtcbin: gst::Element,
    /// Linked to its sink pads, and kept alive with them.
    sources: Vec<gst::Pad>,
    events: mpsc::Receiver<Event>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Peer {
    fn new() -> Self {
        gst::init().unwrap();
        // A critical warning of GStreamer is a crash that did not happen yet.
        glib::log_set_always_fatal(glib::LogLevels::LEVEL_CRITICAL | glib::LogLevels::LEVEL_ERROR);
        // What finds no room is missed, and the test says so.
        let (tx, events) = mpsc::sync_channel(256);
        let webrtcbin =
            gst::ElementFactory::make("webrtcbin").property_from_str("bundle-policy", "max-bundle").build().unwrap();
        let ice = webrtcbin.property::<gst::Object>("ice-agent");
        let agent = ice.property::<gst::glib::Object>("agent");
        agent.set_property("upnp", false);
        agent.set_property("ice-tcp", false);
        assert!(ice.emit_by_name::<bool>("add-local-ip-address", &[&"127.0.0.1"]));
        let candidates = tx.clone();
        webrtcbin.connect("on-ice-candidate", false, move |values| {
            let _ = candidates.try_send(Event::Candidate(values[2].get().ok()?));
            None
        });
        webrtcbin.connect_notify(Some("connection-state"), move |webrtcbin, _| {
            let _ = tx.try_send(Event::State(webrtcbin.property("connection-state")));
        });
        let pipeline = gst::Pipeline::new();
        pipeline.add(&webrtcbin).unwrap();
        Self { pipeline, webrtcbin, sources: Vec::new(), events }
    }

    /// Asks for `sink_<index>` with full caps, as a sender does.
    fn send(&mut self, index: usize, (media, name, rate): (&str, &str, i32), payload_type: u8) {
        let caps = gst::Caps::builder("application/x-rtp")
            .field("media", media)
            .field("encoding-name", name)
            .field("clock-rate", rate)
            .field("payload", i32::from(payload_type))
            .field("ssrc", 1000 + u32::try_from(index).unwrap())
            // RFC 7587: Opus has two channels in SDP, whatever it carries.
            .field_if_some("encoding-params", (name == "OPUS").then_some("2"))
            .build();
        let template = self.webrtcbin.pad_template("sink_%u").unwrap();
        let sink = self.webrtcbin.request_pad(&template, Some(&format!("sink_{index}")), Some(&caps)).unwrap();
        let source = gst::Pad::builder(gst::PadDirection::Src).build();
        source.link(&sink).unwrap();
        source.set_active(true).unwrap();
        assert!(source.push_event(gst::event::StreamStart::new("test")));
        assert!(source.push_event(gst::event::Caps::new(&caps)));
        self.sources.push(source);
    }

    fn play(&self) {
        self.pipeline.set_state(gst::State::Playing).unwrap();
    }

    fn ask(&self, signal: &str, argument: &dyn ToValue) -> Option<gst::Structure> {
        let (tx, rx) = mpsc::sync_channel(1);
        let promise = gst::Promise::with_change_func(move |reply| {
            let _ = tx.try_send(reply.map(|reply| reply.map(|structure| structure.to_owned())));
        });
        self.webrtcbin.emit_by_name_with_values(signal, &[argument.to_value(), promise.to_value()]);
        let reply = rx.recv_timeout(DEADLINE).unwrap().unwrap_or_else(|error| panic!("{signal}: {error:?}"));
        let error = reply.as_ref().and_then(|reply| reply.get::<glib::Error>("error").ok());
        assert!(error.is_none(), "{signal}: {error:?}");
        reply
    }

    fn set_remote(&self, kind: Type, text: &str) {
        let message = gst_sdp::SDPMessage::parse_buffer(text.as_bytes()).unwrap();
        self.ask("set-remote-description", &gst_webrtc::WebRTCSessionDescription::new(kind, message));
    }

    /// Creates an offer or an answer and sets it.
    fn create(&self, what: &str) -> String {
        let reply = self.ask(&format!("create-{what}"), &None::<gst::Structure>).unwrap();
        let description = reply.get::<gst_webrtc::WebRTCSessionDescription>(what).unwrap();
        self.ask("set-local-description", &description);
        description.sdp().as_text().unwrap()
    }

    fn add(&self, m_line: usize, candidate: &Candidate) {
        let m_line = u32::try_from(m_line).unwrap();
        self.webrtcbin.emit_by_name::<()>("add-ice-candidate", &[&m_line, &candidate.text()]);
    }

    fn first_candidate(&self) -> Candidate {
        loop {
            let Event::Candidate(text) = self.events.recv_timeout(DEADLINE).unwrap() else { continue };
            if let Some(candidate) = Candidate::read(&text).unwrap() {
                return candidate;
            }
        }
    }

    fn wait_until_connected(&self) {
        loop {
            match self.events.recv_timeout(DEADLINE).unwrap() {
                Event::State(State::Connected) => return,
                Event::State(State::Failed) => panic!("it failed"),
                Event::State(_) | Event::Candidate(_) => {}
            }
        }
    }
}

fn sent(section: &PlannedSection) -> (&'static str, &'static str, i32) {
    match (section.video, section.audio) {
        (Some(VideoPlan::PassVp8), _) => ("video", "VP8", 90000),
        (Some(VideoPlan::PassVp9), _) => ("video", "VP9", 90000),
        (Some(_), _) => ("video", "H264", 90000),
        (None, Some(AudioPlan::PassPcmu)) => ("audio", "PCMU", 8000),
        (None, Some(AudioPlan::PassPcma)) => ("audio", "PCMA", 8000),
        (None, _) => ("audio", "OPUS", 48000),
    }
}

/// What answers an offer: a pad for each m-line that is sent on.
fn answering(plan: &Plan, offer: &Offer) -> (Peer, String) {
    let mut peer = Peer::new();
    for (index, section) in plan.sections.iter().enumerate().filter(|(_, section)| section.direction.sends()) {
        peer.send(index, sent(section), section.payload_type);
    }
    peer.play();
    peer.set_remote(Type::Offer, &plan.offer_text(offer));
    let answer = peer.create("answer");
    (peer, answer)
}

#[test]
fn every_plan_for_a_real_offer_is_answered() {
    let mut answers = 0;
    for (name, text) in offers::fixtures() {
        let offer = sdp::guard_offer(&text).unwrap();
        for streams in offers::lines() {
            // Given a plan for an offer of a real client
            let Ok(plan) = sdp::plan(&offer, &streams) else { continue };
            // When webrtcbin gets its text, and the caller's candidates
            let (peer, raw) = answering(&plan, &offer);
            offer.candidates.iter().for_each(|candidate| peer.add(0, candidate));
            // Then it answers what was planned, and the caller gets an answer to the offer that they made.
            let answer = plan
                .answer_text(&offer, &raw, &offers::local())
                .unwrap_or_else(|error| panic!("{name}: {error}\n{raw}"));
            let read = sdp::guard_answer(&text, &answer).unwrap_or_else(|reject| panic!("{name}: {reject}\n{answer}"));
            for section in &plan.sections {
                let answered = &read.sections[section.index];
                let seen = (answered.kind, answered.direction, answered.taken);
                assert_eq!(seen, (section.kind, section.direction, true), "{name}");
            }
            assert_eq!(read.fingerprints, [offers::local().fingerprint], "{name}");
            answers += 1;
        }
    }
    assert!(answers > 200, "{answers}");
}

/// A `webrtcbin` calls, with an audio m-line both ways and a video m-line to receive `video` on, and is answered by way of guard, plan
/// and texts, and its answer by way of its guard. Returns how many m-lines the answer takes, once both are connected.
fn connect(video: &str) -> usize {
    let mut caller = Peer::new();
    caller.send(0, ("audio", "OPUS", 48000), 111);
    let video = gst::Caps::builder("application/x-rtp")
        .field("media", "video")
        .field("encoding-name", video)
        .field("clock-rate", 90000)
        .field("payload", 96)
        .field("packetization-mode", "1")
        .build();
    let receive_only = gst_webrtc::WebRTCRTPTransceiverDirection::Recvonly;
    caller.webrtcbin.emit_by_name::<gst_webrtc::WebRTCRTPTransceiver>("add-transceiver", &[&receive_only, &video]);
    caller.play();
    let offer_text = caller.create("offer");

    let offer = sdp::guard_offer(&offer_text).unwrap_or_else(|reject| panic!("{reject}\n{offer_text}"));
    let plan = sdp::plan(&offer, &offers::lines()[1]).unwrap();
    let (callee, raw) = answering(&plan, &offer);
    let fingerprint = sdp::guard_answer(&plan.offer_text(&offer), &raw).unwrap().fingerprints[0];
    let local = LocalTransport { fingerprint, candidates: vec![callee.first_candidate()], complete: true };
    let answer = plan.answer_text(&offer, &raw, &local).unwrap();
    let remote = sdp::guard_answer(&offer_text, &answer).unwrap();
    caller.set_remote(Type::Answer, &remote.text);
    remote.candidates.iter().for_each(|candidate| caller.add(remote.tag, candidate));
    callee.add(0, &caller.first_candidate());

    caller.wait_until_connected();
    callee.wait_until_connected();
    remote.sections.iter().filter(|section| section.taken).count()
}

#[test]
fn two_peers_connect_through_our_texts() {
    assert_eq!(connect("H264"), 2);
}

#[test]
fn two_peers_connect_when_an_m_line_is_refused() {
    assert_eq!(connect("AV1"), 1);
}
