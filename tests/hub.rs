//! The hub on real cameras: what it opens, what its taps give, and what it does when a camera goes away.
#![cfg(feature = "daemon")]

#[path = "support/camera.rs"]
#[allow(dead_code)]
mod support;

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use callgate::endpoint::{AudioCodec, Endpoint, RtspTransport, VideoCodec};
use callgate::media::demo_camera::{DemoAudio, DemoSettings, DemoVideo};
use callgate::media::tap::{PacketSink, SinkGone, Track};
use callgate::media::{Event, SourceError, SourceState};
use callgate::sdp::AudioPlan;
use gst::prelude::*;
use support::*;

const IDLE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_test_pattern_is_h264_and_opus_on_the_systems_clock() {
    let (hub, _events) = hub(test_pattern(), IDLE);
    let lease = hub.lease();
    let streams = lease.streams().await.unwrap();
    assert_eq!(video_of(&streams).codec, VideoCodec::H264);
    assert_eq!((video_of(&streams).width, video_of(&streams).height), (320, 180));
    assert_eq!(video_of(&streams).profile_level_id.map(|id| id[0]), Some(0x42));
    assert_eq!(audio_of(&streams).codec, AudioCodec::Opus);

    let (sink, packets) = probe();
    let _tap = lease.tap(with_audio(AudioPlan::PassOpus), sink);
    let mut reader = Reader::new(packets);
    let first = reader.frame();
    assert!(first.is_keyframe());
    assert_on_the_clock(first.pts);
    let audio = reader.audio();
    assert_eq!((audio.payload_type, audio.ssrc), (AUDIO.payload_type, AUDIO.ssrc));
    assert_on_the_clock(audio.pts);
}

/// PTS is the clock's time: far nearer to it than to the start of a pipeline.
fn assert_on_the_clock(pts: gst::ClockTime) {
    let now = gst::SystemClock::obtain().time();
    assert!(now.absdiff(pts) < gst::ClockTime::from_seconds(5), "{pts} at {now}");
}

#[tokio::test]
async fn a_camera_with_digest_authentication_gives_h264_and_pcmu() {
    let login = Some(("user".into(), "p@ss word".into()));
    let camera = camera(DemoSettings { login, ..DemoSettings::default() });
    let (hub, _events) = hub(rtsp(camera.url()), IDLE);
    let lease = hub.lease();
    let streams = lease.streams().await.unwrap();
    assert_eq!((video_of(&streams).width, video_of(&streams).height), (640, 360));
    assert_eq!((&audio_of(&streams).codec, audio_of(&streams).rate), (&AudioCodec::Pcmu, 8000));

    let (sink, packets) = probe();
    let tap = lease.tap(with_audio(AudioPlan::PassPcmu), sink);
    let mut reader = Reader::new(packets);
    let first = reader.frame();
    assert!(first.is_keyframe());
    assert_on_the_clock(first.pts);
    assert!(reader.frame().time.wrapping_sub(first.time) < 90_000);
    let mut last = reader.audio();
    for _ in 0..5 {
        let next = reader.audio();
        assert_eq!(next.time, last.time.wrapping_add(last.payload.len() as u32), "no gap of a single sample");
        last = next;
    }
    let stats = tap.stats();
    assert!(stats.video.frames >= 1 && stats.audio.packets >= 5 && stats.frames_skipped == 0, "{stats:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_camera_is_told_apart() {
    let login = Some(("user".into(), "right".into()));
    let camera = camera(DemoSettings { login, ..DemoSettings::default() });
    let mut wrong_password = camera.url().clone();
    wrong_password.set_password(Some("wrong")).unwrap();
    let mut unknown_path = camera.url().clone();
    unknown_path.set_path("/nothing");
    let mut dead_port = camera.url().clone();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    dead_port.set_port(Some(free.local_addr().unwrap().port())).unwrap();
    drop(free);
    // Takes connections, and never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut mute_port = camera.url().clone();
    mute_port.set_port(Some(mute.local_addr().unwrap().port())).unwrap();
    for (url, expected) in [
        (mute_port, SourceError::Unreachable),
        (wrong_password, SourceError::Unauthorized),
        (unknown_path, SourceError::NotFound),
        (dead_port, SourceError::Unreachable),
    ] {
        let (hub, _events) = hub(rtsp(&url), IDLE);
        let lease = hub.lease();
        assert_eq!(lease.streams().await, Err(expected));
        assert!(matches!(hub.state(), SourceState::Reopening { .. }));
    }
}

#[tokio::test]
async fn media_comes_over_udp_when_asked_and_when_the_camera_refuses_tcp() {
    let camera = camera(DemoSettings { udp_only: true, audio: DemoAudio::None, ..DemoSettings::default() });
    for transport in [RtspTransport::Udp, RtspTransport::Tcp] {
        let (hub, _events) = hub(Endpoint::Rtsp { url: camera.url().clone(), transport }, IDLE);
        let lease = hub.lease();
        lease.streams().await.unwrap();
        let (sink, packets) = probe();
        let _tap = lease.tap(video_only(), sink);
        assert!(Reader::new(packets).frame().is_keyframe());
    }
}

#[tokio::test]
async fn a_late_tap_starts_with_a_keyframe_and_is_at_the_live_edge_after_a_compressed_burst() {
    // No second keyframe comes in the time of this test.
    let camera = camera(DemoSettings { keyframe: 10_000, audio: DemoAudio::None, ..DemoSettings::default() });
    let (hub, _events) = hub(rtsp(camera.url()), IDLE);
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let (sink, packets) = probe();
    let _early = lease.tap(video_only(), sink);
    let mut early = Reader::new(packets);
    let mut seen = vec![early.frame_with(Frame::is_keyframe)];
    seen.extend((0..30).map(|_| early.frame()));

    let (sink, packets) = probe();
    let _late = lease.tap(video_only(), sink);
    let mut late = Reader::new(packets);

    let burst: Vec<Frame> = (0..31).map(|_| late.frame()).collect();
    let content = |frames: &[Frame]| frames.iter().map(|frame| frame.nals.clone()).collect::<Vec<_>>();
    assert_eq!(content(&burst), content(&seen), "the same pictures, all of them");
    for pair in burst.windows(2) {
        let step = pair[1].time.wrapping_sub(pair[0].time);
        assert!((89..=91).contains(&step), "1 ms apart at 90 kHz, not {step}");
    }
    // Both go on with the same pictures at the same times.
    let live: Vec<Frame> = (0..5).map(|_| early.frame()).collect();
    let last = live.last().unwrap();
    let same = late.frame_with(|frame| frame.nals == last.nals);
    assert_eq!(same.pts, last.pts);
}

#[tokio::test]
async fn taps_live_through_a_restart_of_the_camera_and_go_on_with_a_keyframe() {
    let settings = DemoSettings { keyframe: 250, ..DemoSettings::default() };
    let first = camera(settings.clone());
    let url = first.url().clone();
    let (hub, mut events) = hub(rtsp(&url), IDLE);
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..2 {
        let (sink, packets) = probe();
        readers.push((lease.tap(with_audio(AudioPlan::PassPcmu), sink), Reader::new(packets)));
    }
    let before: Vec<Frame> = readers.iter_mut().map(|(_, reader)| reader.frame_with(Frame::is_keyframe)).collect();

    drop(first);
    while !matches!(events.recv().await, Some(Event::Line { state: SourceState::Reopening { .. }, .. })) {}
    let _second = camera(DemoSettings { port: url.port().unwrap(), ..settings });

    for ((tap, reader), before) in readers.iter_mut().zip(before) {
        let mut last = before.time;
        let back = reader.frame_with(|frame| {
            let forward = frame.time.wrapping_sub(last);
            last = frame.time;
            assert!(forward < 1 << 31, "RTP time never runs backwards");
            forward > 0 && frame.has(5)
        });
        assert!(back.is_keyframe());
        assert_eq!(tap.stats().frames_skipped, 0);
    }
}

/// A sink that takes `good` lists and then hangs until the test lets go of `_release`'s sender.
struct Stuck {
    good: usize,
    release: std::sync::mpsc::Receiver<()>,
    gone: SyncSender<()>,
}

impl PacketSink for Stuck {
    fn push(&mut self, _: Track, _: gst::BufferList) -> Result<(), SinkGone> {
        if self.good == 0 {
            let _ = self.release.recv();
            return Err(SinkGone);
        }
        self.good -= 1;
        Ok(())
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.gone.send(());
    }
}

#[tokio::test]
async fn a_sink_that_hangs_delays_nobody_and_its_tap_can_be_dropped() {
    let (hub, _events) = hub(test_pattern(), IDLE);
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let (release, released) = sync_channel(1);
    let (gone, is_gone) = sync_channel(1);
    let stuck = lease.tap(with_audio(AudioPlan::PassOpus), Box::new(Stuck { good: 3, release: released, gone }));
    let (sink, packets) = probe();
    let healthy = lease.tap(video_only(), sink);
    let mut reader = Reader::new(packets);

    let mut last = reader.frame();
    // 8 s at 25 a second would be too long for a test: the queue of 150 pictures fills in its own unit test.
    for _ in 0..40 {
        let next = reader.frame();
        assert!(next.time.wrapping_sub(last.time) <= 90_000 / 25 * 3, "no picture is missing");
        last = next;
    }
    assert_eq!(healthy.stats().frames_skipped, 0);

    drop(stuck);
    reader.frame();
    assert!(is_gone.try_recv().is_err(), "it still hangs, alone");
    drop(release);
    is_gone.recv_timeout(DEADLINE).expect("its thread ends by itself");
}

#[tokio::test]
async fn a_sink_that_is_gone_ends_its_tap() {
    let (hub, _events) = hub(test_pattern(), IDLE);
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let (release, released) = sync_channel(1);
    let (gone, is_gone) = sync_channel(1);
    let _tap = lease.tap(video_only(), Box::new(Stuck { good: 1, release: released, gone }));
    drop(release);
    is_gone.recv_timeout(DEADLINE).expect("the sink is dropped with the tap's thread");
}

#[tokio::test]
async fn the_source_is_shared_and_closes_when_it_was_unused_for_a_while() {
    let (hub, mut events) = hub(test_pattern(), Duration::from_millis(50));
    let (first, second) = (hub.lease(), hub.lease());
    first.streams().await.unwrap();
    drop(first);
    second.streams().await.unwrap();
    drop(second);
    let mut states = Vec::new();
    loop {
        let Some(Event::Line { state, .. }) = events.recv().await else { panic!("the hub tells of its line") };
        states.push(state.clone());
        if state == SourceState::Idle {
            break;
        }
    }
    assert_eq!(states[0], SourceState::Opening);
    assert!(states.iter().all(|state| !matches!(state, SourceState::Reopening { .. })), "{states:?}");
    // And again.
    let lease = hub.lease();
    assert!(lease.streams().await.is_ok());
}

#[tokio::test]
async fn video_that_is_not_carried_is_named_and_the_sound_still_comes() {
    let camera = camera(DemoSettings { video: DemoVideo::H265, ..DemoSettings::default() });
    let (hub, _events) = hub(rtsp(camera.url()), IDLE);
    let lease = hub.lease();
    let streams = lease.streams().await.unwrap();
    assert_eq!(video_of(&streams).codec, VideoCodec::Other("H265".into()));
    assert_eq!(audio_of(&streams).codec, AudioCodec::Pcmu);
    let (sink, packets) = probe();
    let _tap = lease.tap(with_audio(AudioPlan::PassPcmu), sink);
    assert_eq!(Reader::new(packets).packet().track, Track::Audio);
}

#[tokio::test]
async fn a_camera_without_a_picture_is_open_when_it_is_heard() {
    let camera = camera(DemoSettings { video: DemoVideo::None, audio: DemoAudio::Pcma, ..DemoSettings::default() });
    let (hub, _events) = hub(rtsp(camera.url()), IDLE);
    let streams = hub.lease().streams().await.unwrap();
    assert_eq!((streams.video.is_none(), &audio_of(&streams).codec), (true, &AudioCodec::Pcma));
}

#[tokio::test]
async fn other_audio_becomes_opus_for_those_who_need_it() {
    for (audio, codec) in [
        (DemoAudio::Aac, AudioCodec::Other("AAC".into())),
        (DemoAudio::G722, AudioCodec::Other("G722".into())),
        (DemoAudio::Pcmu, AudioCodec::Pcmu),
    ] {
        let camera = camera(DemoSettings { audio, tone: 1000, ..DemoSettings::default() });
        let (hub, _events) = hub(rtsp(camera.url()), IDLE);
        let lease = hub.lease();
        let streams = lease.streams().await.unwrap();
        assert_eq!(audio_of(&streams).codec, codec);
        let (sink, packets) = probe();
        let _tap = lease.tap(with_audio(AudioPlan::ToOpus), sink);
        let mut reader = Reader::new(packets);
        let opus: Vec<Packet> = (0..40).map(|_| reader.audio()).collect();
        for pair in opus.windows(2) {
            assert_eq!(pair[1].time.wrapping_sub(pair[0].time), 960, "20 ms at 48 kHz, without a gap");
        }
        let heard = frequency_of_opus(&opus);
        assert!((900.0..1100.0).contains(&heard), "{codec:?}: a tone of 1000 Hz, not {heard}");
    }
}

/// The frequency of a tone, by its zero crossings, after the first packets (the codecs' run-up).
fn frequency_of_opus(packets: &[Packet]) -> f64 {
    let text = "appsrc name=in format=time caps=audio/x-opus,channel-mapping-family=0,rate=48000,channels=1 \
                ! opusdec ! audioconvert ! audioresample ! appsink name=out sync=false caps=audio/x-raw,format=S16LE,rate=48000,channels=1";
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let input = pipeline.by_name("in").and_downcast::<gst_app::AppSrc>().unwrap();
    let output = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for (nth, packet) in packets.iter().enumerate() {
        let mut buffer = gst::Buffer::from_slice(packet.payload.clone());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(20 * nth as u64));
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let mut samples: Vec<i16> = Vec::new();
    while let Ok(sample) = output.pull_sample() {
        let map = sample.buffer().unwrap().map_readable().unwrap();
        samples.extend(map.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    let steady = &samples[samples.len() / 2..];
    let crossings = steady.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
    crossings as f64 / 2.0 / (steady.len() as f64 / 48_000.0)
}

#[tokio::test]
async fn pictures_pass_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("sent.h264");
    // Large pictures, so that some take many packets.
    let camera =
        camera(DemoSettings { bitrate: 6000, keyframe: 20, copy: Some(copy.clone()), ..DemoSettings::default() });
    let (hub, _events) = hub(rtsp(camera.url()), IDLE);
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let (sink, packets) = probe();
    let _tap = lease.tap(video_only(), sink);
    let mut reader = Reader::new(packets);
    let frames: Vec<Frame> = (0..60).map(|_| reader.frame()).collect();
    assert!(frames[0].is_keyframe() && frames.iter().skip(1).any(Frame::is_keyframe));
    assert!(frames.iter().any(|frame| frame.packets > 5));

    let sent = annex_b(&std::fs::read(copy).unwrap());
    let received: Vec<Vec<u8>> = frames.into_iter().flat_map(|frame| frame.nals).collect();
    let start = sent.iter().position(|nal| *nal == received[0]).expect("the first was sent");
    assert_eq!(received, sent[start..start + received.len()]);
}

#[tokio::test]
async fn a_file_behind_rtsp_passes_bit_for_bit_at_its_own_speed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mp4");
    let pictures = film(&path);
    let camera = camera(DemoSettings { video: DemoVideo::File(path), ..DemoSettings::default() });
    let (hub, _events) = hub(rtsp(camera.url()), IDLE);
    let lease = hub.lease();
    let (sink, packets) = probe();
    let _tap = lease.tap(video_only(), sink);
    let mut reader = Reader::new(packets);
    let received: Vec<Frame> = (0..50).map(|_| reader.frame()).collect();
    assert_on_the_clock(received[0].pts);
    for pair in received.windows(2) {
        let step = pair[1].time.wrapping_sub(pair[0].time);
        assert!((1800..5400).contains(&step), "about 40 ms apart, not {step}");
    }
    // Parameter sets are in an MP4 file's header, and this camera repeats them before each slice; the slices are as they were.
    let pictures_of =
        |nals: &[Vec<u8>]| nals.iter().filter(|nal| matches!(nal[0] & 0x1f, 1 | 5)).cloned().collect::<Vec<_>>();
    let received: Vec<Vec<u8>> = received.iter().flat_map(|frame| pictures_of(&frame.nals)).collect();
    let sent = pictures_of(&pictures);
    let start = sent.iter().position(|nal| *nal == received[0]).expect("the first is in the file");
    assert!(received == sent[start..start + received.len()], "bit for bit");
}

/// Writes three seconds of film; its NAL units as they left the encoder.
fn film(path: &std::path::Path) -> Vec<Vec<u8>> {
    callgate::media::init().unwrap();
    let text = "videotestsrc num-buffers=75 ! video/x-raw,width=320,height=180,framerate=25/1 ! x264enc tune=zerolatency key-int-max=10 \
                ! video/x-h264,stream-format=byte-stream ! tee name=t ! queue ! h264parse ! mp4mux ! filesink name=film \
                t. ! queue ! filesink name=units";
    let units = path.with_extension("h264");
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("film").unwrap().set_property("location", path);
    pipeline.by_name("units").unwrap().set_property("location", &units);
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let end =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
    annex_b(&std::fs::read(units).unwrap())
}
