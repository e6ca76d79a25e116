//! Recordings: what is in their files, whatever happens to the process, the disk or the call.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod calls;
    pub mod http;
    pub mod recordings;
}

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callgate::endpoint::{Endpoint, RtspTransport};
use callgate::media::caller::CallerSettings;
use callgate::media::demo_camera::{DemoCamera, DemoSettings};
use callgate::media::recorder::{
    self, Codec, Container, DiskError, ExportError, ReadError, RecordedTrack, Side, Sides,
};
use callgate::media::tap::Track;
use callgate::media::{CallId, Command, Event, RecordSettings, RecordingEnd, RecordingId, RecordingNews, SourceError};
use support::browser::Browser;
use support::calls::*;
use support::recordings::*;

const CALL: CallId = CallId(1);
const RECORDING: RecordingId = RecordingId(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_recorded_without_a_call_and_the_file_has_all_that_came() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start();

    gateway.record(RecordSettings { max_length: Some(Duration::from_secs(4)), ..of_line(folder.path()) }).await;

    let news = gateway.until_ended(RECORDING).await;
    let line = |kind, codec| RecordedTrack { side: Side::Line, kind, codec };
    let tracks = vec![line(Track::Video, Codec::H264), line(Track::Audio, Codec::Opus)];
    assert!(
        news.iter().any(|news| matches!(news, RecordingNews::Progress { tracks: told, .. } if same(told, &tracks))),
        "{news:?}"
    );
    let Some(RecordingNews::Ended { why: RecordingEnd::MaxLength, files: 1, lost: 0, bytes, .. }) = news.last() else {
        panic!("{news:?}")
    };
    let path = folder.path().join("call.mkv");
    assert_eq!(path.metadata().unwrap().len(), *bytes);
    let file = probe(&path);
    assert_eq!(file.codecs(), ["h264", "opus"]);
    for track in &file.tracks {
        assert!((track.length() - file.duration).abs() < within(), "{file:?}");
        assert!(track.largest_gap() < within(), "{file:?}");
    }
    let (pictures, sounds) = play(&path);
    assert_eq!(pictures.len(), file.tracks[0].times.len(), "every picture can be decoded");
    assert!(sounds > 20, "{sounds} packets of sound");
    assert!((tone(&path, 0) - 440.0).abs() < 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_begins_amid_a_group_of_pictures_begins_with_its_keyframe() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start();
    // The first keeps the source open, so that there are pictures before the second begins.
    gateway.record(of_line(folder.path())).await;
    gateway.progress(RECORDING, |length| length > Duration::from_millis(1500)).await;

    let second = RecordSettings { id: RecordingId(2), path: folder.path().join("second"), ..of_line(folder.path()) };
    gateway.record(second).await;
    gateway.progress(RecordingId(2), |length| length > Duration::from_millis(500)).await;
    gateway.media.send(Command::StopRecording { id: RecordingId(2) }).await;
    let news = gateway.until_ended(RecordingId(2)).await;

    assert!(matches!(news.last(), Some(RecordingNews::Ended { why: RecordingEnd::Stopped, lost: 0, .. })), "{news:?}");
    let file = probe(&folder.path().join("second.mkv"));
    assert!(file.tracks[0].keyframes[0]);
    // Those before it was asked for are a millisecond apart.
    assert!(file.tracks[0].times.windows(2).take(3).all(|pair| pair[1] - pair[0] < 0.05), "{file:?}");
    let (pictures, _) = play(&folder.path().join("second.mkv"));
    assert_eq!(pictures.len(), file.tracks[0].times.len());
    soon("the shutdown", gateway.media.shutdown()).await;
    let first = gateway.until_ended(RECORDING).await;
    assert!(matches!(first.last(), Some(RecordingNews::Ended { why: RecordingEnd::Shutdown, .. })), "{first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_begin_with_keyframes_and_no_picture_is_lost_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start();

    gateway.record(RecordSettings { segment: Some(Duration::from_secs(1)), ..of_line(folder.path()) }).await;
    let mut news = Vec::new();
    gateway
        .wait("three segments", |event| {
            let Event::Recording { news: told, .. } = event else { return None };
            let third = matches!(told, RecordingNews::SegmentClosed { number: 3, .. });
            news.push(told);
            third.then_some(())
        })
        .await;
    gateway.media.send(Command::StopRecording { id: RECORDING }).await;
    news.extend(gateway.until_ended(RECORDING).await);

    let closed: Vec<_> = news
        .iter()
        .filter_map(|news| match news {
            RecordingNews::SegmentClosed { number, path, .. } => Some((*number, path.clone())),
            _ => None,
        })
        .collect();
    assert!(closed.len() >= 4, "{news:?}");
    for ((number, path), nth) in closed.iter().zip(1..) {
        let name = if nth == 1 { "call.mkv".to_owned() } else { format!("call.{nth}.mkv") };
        assert_eq!((*number, path), (nth, &folder.path().join(name)));
        let file = probe(path);
        assert!(file.track("h264").keyframes[0], "{file:?}");
        assert_eq!(play(path).0.len(), file.track("h264").times.len(), "every picture can be decoded");
        // The last ends amid everything.
        if nth > 1 && usize::try_from(nth).unwrap() < closed.len() {
            assert_eq!(file.codecs().len(), 2, "{file:?}");
            assert_eq!(file.track("h264").times.len(), 50, "from keyframe to keyframe: {file:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recorded_says_why_and_nothing_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start();
    let end = |news: Vec<RecordingNews>| match news.last() {
        Some(RecordingNews::Ended { why, .. }) => why.clone(),
        other => panic!("{other:?}"),
    };
    let nowhere = RecordSettings { path: folder.path().join("no/such/call"), ..of_line(folder.path()) };
    gateway.record(nowhere).await;
    assert_eq!(end(gateway.until_ended(RECORDING).await), RecordingEnd::Disk(DiskError::Gone));

    std::fs::write(folder.path().join("call.mkv"), "precious").unwrap();
    gateway.record(of_line(folder.path())).await;
    assert_eq!(end(gateway.until_ended(RECORDING).await), RecordingEnd::Disk(DiskError::Exists));
    assert_eq!(std::fs::read(folder.path().join("call.mkv")).unwrap(), b"precious");

    let line = callgate::media::LineName("no such".into());
    gateway.record(RecordSettings { line, ..of_line(folder.path()) }).await;
    assert_eq!(end(gateway.until_ended(RECORDING).await), RecordingEnd::Source(SourceError::NoSuchLine));

    let call = Some(CallId(7));
    gateway.record(RecordSettings { call, sides: Sides::Both, ..of_line(folder.path()) }).await;
    assert_eq!(end(gateway.until_ended(RECORDING).await), RecordingEnd::CallOver);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_taken_away_ends_the_recording_and_not_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let mut gateway = Gateway::start();
    gateway.record(of_line(&path)).await;
    gateway.progress(RECORDING, |_| true).await;

    drop(folder);

    let news = gateway.until_ended(RECORDING).await;
    assert!(
        matches!(news.last(), Some(RecordingNews::Ended { why: RecordingEnd::Disk(DiskError::Gone), .. })),
        "{news:?}"
    );
    // The line is still there for others.
    let elsewhere = tempfile::tempdir().unwrap();
    gateway.record(RecordSettings { id: RecordingId(2), ..of_line(elsewhere.path()) }).await;
    gateway.progress(RecordingId(2), |length| length > Duration::from_secs(1)).await;
}

fn of_line(folder: &Path) -> RecordSettings {
    RecordSettings {
        id: RECORDING,
        line: line(),
        call: None,
        sides: Sides::Line,
        path: folder.join("call"),
        container: Default::default(),
        segment: None,
        max_length: None,
    }
}

fn same(one: &[RecordedTrack], other: &[RecordedTrack]) -> bool {
    one.len() == other.len() && one.iter().all(|track| other.contains(track))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_call_are_in_one_file_each_its_own_tracks_with_true_timing() {
    let folder = tempfile::tempdir().unwrap();
    let camera = beating_camera();
    let mut gateway = Gateway::playing(rtsp(&camera), loopback());
    let caller = Caller::start(CallerSettings { send_test_media: true, ..watcher() }).await;
    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;
    gateway.secured(CALL).await;

    gateway.record(RecordSettings { call: Some(CALL), sides: Sides::Both, ..of_line(folder.path()) }).await;
    gateway.progress(RECORDING, |length| length > Duration::from_secs(8)).await;
    caller.end().await;
    gateway.media.send(Command::Close { call: CALL }).await;
    let news = gateway.until_ended(RECORDING).await;

    let Some(RecordingNews::Ended { why: RecordingEnd::CallOver, files: 1, lost: 0, .. }) = news.last() else {
        panic!("{news:?}")
    };
    let path = folder.path().join("call.mkv");
    let file = probe(&path);
    assert_eq!(file.codecs(), ["h264", "h264", "pcm_mulaw", "pcm_mulaw"], "{file:?}");
    for name in ["line video", "line audio", "caller video", "caller audio"] {
        let track = file.named(name);
        assert!((track.length() - file.duration).abs() < within(), "{name}: {} of {}", track.length(), file.duration);
        assert!(track.largest_gap() < within(), "{name}: {}", track.largest_gap());
    }
    assert!((tone(&path, 0) - 440.0).abs() < 3.0, "{}", tone(&path, 0));
    assert!((tone(&path, 1) - 660.0).abs() < 3.0, "{}", tone(&path, 1));
    in_time(&path, "line video", 0, 0, 25.0);
    in_time(&path, "caller video", 1, 1, 15.0);
}

/// Where the process of the next test's records to.
const KILLED: &str = "CALLGATE_TEST_KILLED";
/// How often it is killed; by hand 20 times.
const KILLS: &str = "CALLGATE_TEST_KILLS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_wrote_plays_to_the_last_second_and_is_finished_later() {
    if let Some(folder) = std::env::var_os(KILLED) {
        let mut gateway = Gateway::start();
        let container = if Path::new(&folder).join("mp4").exists() { Container::Mp4 } else { Container::Matroska };
        gateway.record(RecordSettings { container, ..of_line(Path::new(&folder)) }).await;
        gateway.wait("being killed", |_| None::<()>).await;
    }
    let kills = std::env::var(KILLS).map_or(4, |kills| kills.parse().unwrap());
    for kill in 0..kills {
        let folder = tempfile::tempdir().unwrap();
        let mp4 = kill % 2 == 1;
        if mp4 {
            std::fs::write(folder.path().join("mp4"), "").unwrap();
        }
        let path = folder.path().join(if mp4 { "call.mp4" } else { "call.mkv" });
        let this = "what_a_killed_process_wrote_plays_to_the_last_second_and_is_finished_later";
        let mut process = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this])
            .env(KILLED, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        soon("a recording", async {
            while path.metadata().map_or(0, |file| file.len()) < 30_000 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        // At any moment.
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..3000))).await;
        process.start_kill().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        process.wait().await.unwrap();

        let torn = probe(&path);
        for track in &torn.tracks {
            let last = torn.created + track.times.last().unwrap();
            let missing = (now.as_secs_f64() - last).rem_euclid(86_400.0);
            // MP4 says the second in which it begins, and no more.
            let exact = if mp4 { 1.0 } else { 0.0 };
            let allowed = if std::env::var_os(KILLS).is_some() { 1.5 } else { 5.0 };
            assert!(missing < allowed + exact, "kill {kill}: {missing:.2} s are missing of {track:?}");
        }
        assert_eq!(pictures(&path, 0), torn.track("h264").times.len(), "every picture can be decoded");

        let finished = recorder::finish(&path).unwrap();
        assert!(!finished.already);
        let whole = probe(&path);
        // From which of its tracks an MP4's length counts is the player's taste.
        let off = if mp4 { 1.0 } else { 0.1 };
        assert!((whole.duration - finished.length.as_secs_f64()).abs() < off, "{whole:?} {finished:?}");
        assert_eq!(whole.track("h264").times, torn.track("h264").times, "nothing is lost");
        assert_eq!(path.metadata().unwrap().len(), finished.bytes);
        assert_eq!(pictures(&path, 0), torn.track("h264").times.len());
        assert!(recorder::finish(&path).unwrap().already);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_left_open_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    assert_eq!(recorder::finish(&of("empty.mkv", &[])), Err(ReadError::Empty));
    assert_eq!(recorder::finish(&of("other.mkv", &[7; 10_000])), Err(ReadError::Foreign));
    assert_eq!(recorder::finish(&folder.path().join("none.mkv")), Err(ReadError::Disk(DiskError::Gone)));

    let mut gateway = Gateway::start();
    gateway.record(of_line(folder.path())).await;
    gateway.progress(RECORDING, |length| length > Duration::from_secs(1)).await;
    let path = folder.path().join("call.mkv");
    assert_eq!(recorder::finish(&path), Err(ReadError::Live));

    gateway.media.send(Command::StopRecording { id: RECORDING }).await;
    gateway.until_ended(RECORDING).await;
    let whole = std::fs::read(&path).unwrap();
    assert!(recorder::finish(&path).unwrap().already);
    assert_eq!(std::fs::read(&path).unwrap(), whole);

    // Torn in the midst of a cluster, and in its index.
    for end in [whole.len() - 3, whole.len() * 2 / 3, 5000] {
        let path = of("torn.mkv", &whole[..end]);
        // Its head still says that it is finished, as a power loss never leaves it.
        open_again(&path);
        match recorder::finish(&path) {
            Ok(finished) => {
                let torn = probe(&path);
                assert!((torn.duration - finished.length.as_secs_f64()).abs() < 0.01);
            }
            Err(error) => assert_eq!((error, end), (ReadError::Empty, 5000)),
        }
    }
}

/// Makes the size of the file's segment unknown, as it is while it is written.
fn open_again(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(4).position(|bytes| bytes == [0x18, 0x53, 0x80, 0x67]).unwrap() + 4;
    bytes[at..at + 8].copy_from_slice(&[1, 255, 255, 255, 255, 255, 255, 255]);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_exported_between_keyframes_as_a_plain_mp4_file() {
    for container in [Container::Matroska, Container::Mp4] {
        let folder = tempfile::tempdir().unwrap();
        let camera = beating_camera();
        let mut gateway = Gateway::playing(rtsp(&camera), loopback());
        let max_length = Some(Duration::from_secs(9));
        gateway.record(RecordSettings { max_length, container, ..of_line(folder.path()) }).await;
        let news = gateway.until_ended(RECORDING).await;
        assert!(matches!(news.last(), Some(RecordingNews::Ended { why: RecordingEnd::MaxLength, .. })), "{news:?}");
        let path = folder.path().join("call").with_extension(container.extension());
        let recorded = probe(&path);
        assert_eq!(recorded.codecs(), ["h264", "pcm_mulaw"], "{recorded:?}");
        assert!((recorded.duration - recorded.track("h264").length()).abs() < within(), "{recorded:?}");
        let out = folder.path().join("export.mp4");

        recorder::export(&path, Duration::ZERO, None, &out).unwrap();

        let whole = probe(&out);
        assert_eq!(whole.codecs(), ["h264", "opus"], "{whole:?}");
        assert_eq!(whole.track("h264").times.len(), recorded.track("h264").times.len());
        assert_eq!(pictures(&out, 0), whole.track("h264").times.len());
        assert!((whole.duration - recorded.duration).abs() < within(), "{whole:?} of {recorded:?}");
        assert!((tone(&out, 0) - 440.0).abs() < 3.0, "{}", tone(&out, 0));
        in_time(&out, "line video", 0, 0, 25.0);
        // It plays while it is loaded.
        let bytes = std::fs::read(&out).unwrap();
        let at = |kind: &[u8]| bytes.windows(4).position(|bytes| bytes == kind).unwrap();
        assert!(at(b"moov") < at(b"mdat"));

        // From the keyframe before.
        let video = recorded.track("h264");
        let keyframes: Vec<f64> =
            video.times.iter().zip(&video.keyframes).filter(|(_, key)| **key).map(|(time, _)| *time).collect();
        let from = keyframes[1] + 0.5;
        recorder::export(&path, Duration::from_secs_f64(from), Some(Duration::from_secs_f64(from + 2.0)), &out)
            .unwrap();
        let part = probe(&out);
        assert!((part.duration - 2.5).abs() < within(), "{part:?}");
        assert!(part.track("h264").keyframes[0]);
        assert_eq!(pictures(&out, 0), part.track("h264").times.len());

        let nothing = recorder::export(&path, Duration::from_secs(3600), Some(Duration::from_secs(1)), &out);
        assert_eq!(nothing, Err(ExportError::Empty));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing partial is left");

        let poster = recorder::poster(&path).unwrap();
        std::fs::write(folder.path().join("poster.jpg"), poster).unwrap();
        assert_eq!(size(&folder.path().join("poster.jpg")), (640, 360));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_shows_what_the_line_shows() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start();
    let snapshot = async |line| {
        let (reply, jpeg) = tokio::sync::oneshot::channel();
        gateway.media.send(Command::Snapshot { line, reply }).await;
        soon("a snapshot", jpeg).await.unwrap()
    };

    let jpeg = snapshot(line()).await.unwrap();

    let path = folder.path().join("snapshot.jpg");
    std::fs::write(&path, jpeg).unwrap();
    assert_eq!(size(&path), (320, 180));
    let error = snapshot(callgate::media::LineName("no such".into())).await.unwrap_err();
    assert_eq!(error, SourceError::NoSuchLine.into());
}

/// Seconds of the next test's call; by hand 60.
const SECONDS: &str = "CALLGATE_TEST_CALL_SECONDS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_from_a_browser_is_recorded_from_both_sides_as_it_came() {
    // Given a call from a browser that sends its camera's picture and a tone
    let folder = tempfile::tempdir().unwrap();
    let seconds = std::env::var(SECONDS).map_or(8, |seconds| seconds.parse().unwrap());
    let camera = beating_camera();
    let mut gateway = Gateway::playing(rtsp(&camera), loopback());
    let browser = Browser::start().await;
    browser.open(concat!("file://", env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html")).await;
    let offer = browser
        .run(
            "const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } });
             const context = new AudioContext(), out = context.createMediaStreamDestination();
             const tone = new OscillatorNode(context, { frequency: 660 });
             tone.connect(out); tone.start();
             const peer = window.peer = new RTCPeerConnection();
             for (const track of [camera.getVideoTracks()[0], out.stream.getAudioTracks()[0]]) peer.addTrack(track, camera);
             await peer.setLocalDescription();
             while (peer.iceGatheringState !== 'complete')
               await new Promise((resolve) => peer.addEventListener('icegatheringstatechange', resolve, { once: true }));
             return peer.localDescription.sdp;",
            serde_json::Value::Null,
        )
        .await
        .unwrap();
    let answer = gateway.answer(CALL, offer.as_str().unwrap()).await;
    browser.run("await peer.setRemoteDescription({ type: 'answer', sdp: args })", answer.into()).await.unwrap();
    gateway.secured(CALL).await;
    gateway.stats(CALL, |stats| stats.received_video.frames > 10 && stats.received_audio.frames > 10).await;

    // When it is recorded
    gateway.record(RecordSettings { call: Some(CALL), sides: Sides::Both, ..of_line(folder.path()) }).await;
    for until in (0..seconds).step_by(10).chain([seconds]) {
        gateway.progress(RECORDING, |length| length >= Duration::from_secs(until)).await;
    }
    let sent = browser.js("peer.getStats().then((all) => [...all.values()].filter((one) => one.type === 'codec').map((one) => one.mimeType))").await;
    gateway.media.send(Command::StopRecording { id: RECORDING }).await;
    let news = gateway.until_ended(RECORDING).await;
    gateway.close(CALL).await;

    // Then both are in the file, in the codecs in which they were sent
    let Some(RecordingNews::Ended { why: RecordingEnd::Stopped, files: 1, .. }) = news.last() else {
        panic!("{news:?}")
    };
    let path = folder.path().join("call.mkv");
    let file = probe(&path);
    eprintln!("{file:?}");
    let is_sent =
        |codec: &str| sent.as_array().unwrap().iter().any(|sent| sent.as_str().unwrap().eq_ignore_ascii_case(codec));
    for (name, kind) in [("caller video", "video"), ("caller audio", "audio")] {
        let codec = match file.named(name).codec.as_str() {
            "pcm_mulaw" => "pcmu",
            codec => codec,
        };
        assert!(is_sent(&format!("{kind}/{codec}")), "{codec} of {sent}");
    }
    assert_eq!((&*file.named("line video").codec, &*file.named("line audio").codec), ("h264", "pcm_mulaw"));
    for track in &file.tracks {
        assert!((track.length() - file.duration).abs() < within(), "{track:?} of {} s", file.duration);
        assert!(track.largest_gap() < 3.0 * within(), "{track:?}: {}", track.largest_gap());
    }
    assert!((tone(&path, 0) - 440.0).abs() < 3.0, "{}", tone(&path, 0));
    assert!((tone(&path, 1) - 660.0).abs() < 3.0, "{}", tone(&path, 1));
    in_time(&path, "line video", 0, 0, 25.0);
    // and every picture of the caller's can be decoded.
    assert_eq!(pictures(&path, 1), file.named("caller video").times.len());
}

/// Seconds by which tracks may differ in length: on a machine that has more to do than it can, a camera's first and last pictures come late.
fn within() -> f64 {
    if std::env::var_os(SECONDS).is_some() { 0.2 } else { 1.0 }
}

/// Holds sound and picture of a side together by their beats: to 40 ms by hand. A source that could not make its pictures in time, of `rate` a second,
/// says nothing of what was recorded.
fn in_time(path: &Path, name: &str, nth_video: usize, nth_audio: usize, rate: f64) {
    let by_hand = std::env::var_os(SECONDS).is_some();
    let file = probe(path);
    let track = file.named(name);
    if !by_hand && (track.times.len() as f64) < 0.95 * rate * track.length() {
        return eprintln!("the machine has more to do than it can: {track:?}");
    }
    let behind = sound_behind_picture(path, name, nth_video, nth_audio);
    eprintln!("{name}: its sound is {behind:.0} ms behind");
    assert!(behind.abs() < if by_hand { 40.0 } else { 120.0 }, "{name}: {behind:.0} ms");
}

fn beating_camera() -> DemoCamera {
    callgate::media::init().unwrap();
    DemoCamera::start(DemoSettings { beat: true, keyframe: 25, ..DemoSettings::default() }).unwrap()
}

fn rtsp(camera: &DemoCamera) -> Endpoint {
    Endpoint::Rtsp { url: camera.url().clone(), transport: RtspTransport::Tcp }
}
