//! One camera, many callers: each gets the camera's own pictures, bit for bit and every one, whatever another caller does.
#![cfg(feature = "daemon")]

#[allow(dead_code)]
mod support {
    pub mod camera;
    pub mod daemon;
    pub mod gate;
    pub mod http;
    pub mod relay;
}

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use callgate::endpoint::{Endpoint, TestPattern};
use callgate::media::tap::{PacketSink, SinkGone, Track};
use gst::prelude::*;
use support::camera::{Reader, hub, probe, video_only};
use support::daemon::{Daemon, signal};
use support::gate::{Camera, Gate, Watcher, assert_a_run, objects, pictures, recorded, sent, slices, told, told_when};
use support::relay::{Behaviour, TestRelay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_call_holds_the_cameras_own_pictures_and_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(Behaviour::Honest).await;
    // A camera that sends more seldom than late packets are waited for loses nothing by it.
    for (fps, least) in [("10", 20), ("3", 8)] {
        let (copy, film) = (folder.path().join(format!("{fps}.h264")), folder.path().join(format!("{fps}.mkv")));
        let camera = Camera::small(&copy, &["--fps", fps]);
        let gate = Gate::run(&relay.url(), &[("door", &camera.url)], "");

        let call = gate.call(0, &["--record", film.to_str().unwrap()]);
        told_when(&call, |object| object["video"]["frames"].as_u64() > Some(least));
        signal(call.pid(), "INT");
        let (status, written) = call.exit();

        assert_eq!(status.code(), Some(0), "{written}");
        let got = recorded(&film);
        assert!(got.len() as u64 > least, "{written}");
        assert_a_run(&got, &sent(&copy));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_call_prints_as_json_is_json_from_ringing_to_the_end() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("picture", "test://?width=320&height=180&fps=10")], "");

    let call = gate.call(0, &["--seconds", "3"]);
    let ended = told(&call, "ended");

    assert_eq!(ended["why"], "hung_up", "{ended}");
    let objects = objects(&call.stdout_lines(1));
    let events: Vec<&str> = objects.iter().filter_map(|object| object["event"].as_str()).collect();
    assert_eq!(events.len(), objects.len(), "each says what it is");
    assert_eq!(events[..3], ["ringing", "answered", "connected"]);
    for event in ["first_frame", "first_audio", "stats"] {
        assert!(events.contains(&event), "{event} is not in {events:?}");
    }
    let last = objects.iter().rfind(|object| object["event"] == "stats").unwrap();
    assert!(last["video"]["frames"].as_u64() > Some(0) && last["audio"]["packets"].as_u64() > Some(0), "{last}");
    assert_eq!(call.exit().0.code(), Some(0));
}

/// Ten seconds of H.264 as better cameras send it: High profile, CABAC, 8x8 transform, four slices to a picture.
fn high_profile(film: &Path) {
    callgate::media::init().unwrap();
    let text = "videotestsrc num-buffers=100 pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=10/1 \
        ! timeoverlay ! x264enc tune=zerolatency speed-preset=ultrafast cabac=true dct8x8=true sliced-threads=false threads=1 \
        option-string=slices=4:scenecut=0 key-int-max=10 bitrate=2000 ! video/x-h264,profile=high ! h264parse ! mp4mux ! filesink name=film";
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("film").unwrap().set_property("location", film);
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn high_profile_in_slices_behind_digest_authentication_comes_bit_for_bit_over_tcp_and_udp() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.mp4");
    high_profile(&film);
    let relay = TestRelay::start(Behaviour::Honest).await;
    for (transport, more) in [("tcp", &[][..]), ("udp", &["--udp-only"][..])] {
        let copy = folder.path().join(format!("{transport}.h264"));
        let arguments = [
            "--file",
            film.to_str().unwrap(),
            "--user",
            "u@home",
            "--password",
            "p:ss/word",
            "--copy",
            copy.to_str().unwrap(),
        ];
        let camera = Camera::start(&[&arguments, more].concat());
        let gate = Gate::run(&relay.url(), &[("door", &format!("{}?callgate-transport={transport}", camera.url))], "");

        let mut watcher = Watcher::call(&gate, 0).await;
        // Some come in pieces: see `Watcher::all_seen`.
        watcher.pictures(60).await;
        let got = watcher.hang_up().await;

        let camera_sent = std::fs::read(&copy).unwrap();
        assert_eq!(slices(&camera_sent), 4);
        assert!(got.len() > 30, "{}", got.len());
        assert_a_run(&got, &pictures(&camera_sent));
    }
}

/// A call that has its picture, and then does not run any more: its sockets fill up, nothing is read or answered.
fn stopped(gate: &Gate) -> Daemon {
    let call = gate.call(0, &[]);
    told(&call, "first_frame");
    signal(call.pid(), "STOP");
    call
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_callers_nineteen_get_every_picture_while_one_has_stopped_reading() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("sent.h264");
    let camera = Camera::small(&copy, &["--audio", "none"]);
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("door", &camera.url)], "[limits]\ncalls = 20");
    let mut watchers = Vec::new();
    for _ in 0..19 {
        watchers.push(Watcher::call(&gate, 0).await);
    }
    for watcher in &mut watchers {
        watcher.picture().await;
    }
    let stuck = stopped(&gate);
    let since = Instant::now();
    let session = told(&stuck, "ringing")["session"].as_str().unwrap().to_owned();
    assert_eq!(gate.calls().await.iter().filter(|call| call["state"] == "live").count(), 20);

    for watcher in &mut watchers {
        // With those before it: the run has no gap where the other one stopped.
        while watcher.picture().await.arrived < since {}
        watcher.pictures(60).await;
    }

    assert!(stuck_now(&gate, &session).await, "it took part until now");
    let calls = gate.calls().await;
    let mut least = usize::MAX;
    for watcher in watchers {
        let call = calls.iter().find(|call| call["session"] == watcher.session).expect("it is on");
        assert_eq!(call["stats"]["frames_skipped"], 0);
        let got = watcher.hang_up().await;
        least = least.min(got.len());
        assert_a_run(&got, &sent(&copy));
    }
    println!("19 callers, each with {least} pictures or more, none missing");
    drop(stuck);
}

async fn stuck_now(gate: &Gate, session: &str) -> bool {
    gate.calls().await.iter().any(|call| call["session"] == session && call["state"] == "live")
}

/// A sink that takes a few pictures, and then hangs until the test lets go of `release`'s sender.
struct Stuck {
    good: usize,
    release: Receiver<()>,
    hangs: SyncSender<()>,
}

impl PacketSink for Stuck {
    fn push(&mut self, _: Track, _: gst::BufferList) -> Result<(), SinkGone> {
        if self.good == 0 {
            let _ = self.hangs.send(());
            let _ = self.release.recv();
            return Err(SinkGone);
        }
        self.good -= 1;
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_that_blocks_until_its_queue_overflows_costs_nobody_else_a_picture() {
    // So many pictures a second, so that the queue of 150 is full soon.
    let pattern = TestPattern { width: 160, height: 90, fps: 100, tone: 440, keyframe: 1, bitrate: 200 };
    let (hub, _events) = hub(Endpoint::Test(pattern), Duration::from_secs(5));
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let (release, released) = sync_channel(1);
    let (hangs, is_hanging) = sync_channel(1);
    let stuck = lease.tap(video_only(), Box::new(Stuck { good: 3, release: released, hangs }));
    let mut readers: Vec<_> = (0..19)
        .map(|_| {
            let (sink, packets) = probe();
            (lease.tap(video_only(), sink), Reader::new(packets), Vec::new())
        })
        .collect();
    is_hanging.recv_timeout(support::camera::DEADLINE).expect("it blocks");

    while stuck.stats().frames_skipped == 0 {
        for (_, reader, frames) in &mut readers {
            frames.push(reader.frame().nals);
        }
    }

    // Who joined later starts with pictures that the others have had already: the last ones are compared.
    let (_, _, first) = &readers[0];
    let (first, end) = (first.clone(), first.len());
    assert!(end > 100, "{end} pictures while one sink hung");
    for (tap, reader, mut frames) in readers {
        assert_eq!(tap.stats().frames_skipped, 0);
        let mut reader = reader;
        while frames.last() != first.last() && frames.len() < end + 200 {
            frames.push(reader.frame().nals);
        }
        let same = frames.len().min(end);
        assert!(same > 100 && frames[frames.len() - same..] == first[end - same..], "every picture, in order");
    }
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_caller_sends_is_received_decrypted_and_counted_also_when_signaling_is_nip_04() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("picture", "test://?width=320&height=180&fps=10")], "");

    let call = gate.call(0, &["--send", "--alg", "NIP-04", "--dialect", "plain"]);
    let session = told(&call, "ringing")["session"].as_str().unwrap().to_owned();
    told(&call, "first_frame");
    let mut lines = 0;
    let stats = loop {
        // A line a second, with the caller's statistics: as often the gateway is asked for its own.
        lines = call.stdout_lines(lines + 1).len();
        let stats = gate.call_of(&session).await["stats"].clone();
        let packets = |track: &str| stats[track]["packets"].as_u64().unwrap();
        if packets("received_video") > 20 && packets("received_audio") > 20 {
            break stats;
        }
    };
    println!("{stats}");
    assert_eq!(relay.accepted()[0].tags.iter().filter(|tag| tag.as_slice() == ["sig_alg", "NIP-04"]).count(), 1);

    signal(call.pid(), "INT");
    assert_eq!(call.exit().0.code(), Some(0));
    gate.ended(&session);
    let entry = gate.log_of(&session);
    assert_eq!((entry["reason"].as_str(), entry["origin"].as_str()), (Some("caller_left"), Some("caller")));
    assert!(entry["bytes_received"].as_u64() > Some(5_000), "{entry}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_media_tells_why_in_words_and_does_not_end_with_0() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(
        &relay.url(),
        &[("picture", "test://?width=320&height=180&fps=10")],
        "refuse = \"answer\"\n[limits]\ncalls_per_caller = 1",
    );
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("caller.nsec");
    let key = key.to_str().unwrap();
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(["keys", "new", "--out", key])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let first = gate.call(0, &["--key", key]);
    told(&first, "first_frame");

    let second = gate.call(0, &["--key", key]);
    let ended = told(&second, "ended");
    let (status, written) = second.exit();

    assert_eq!((status.code(), ended["why"].as_str()), (Some(1), Some("refused")), "{written}");
    assert!(ended["detail"].as_str().unwrap().starts_with("refused: Busy: "), "{ended}");
    assert!(written.lines().any(|line| line.starts_with("refused: Busy: ")), "in words on stderr: {written}");
    first.stdout_lines(1);
    assert_eq!(gate.calls().await.len(), 1, "the first call goes on");

    relay.stop().await;
    let third = gate.call(0, &[]);
    let (status, written) = third.exit();
    assert_eq!(status.code(), Some(69), "{written}");
    assert!(written.contains("no relay can be reached"), "{written}");
}
