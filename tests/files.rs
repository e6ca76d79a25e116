//! Files as sources: what their hub opens, what its taps give, and what happens at their end.
#![cfg(feature = "daemon")]

#[allow(dead_code)]
mod support {
    pub mod camera;
    pub mod clip;
}

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callgate::endpoint::{After, AudioCodec, Endpoint, Start, VideoCodec};
use callgate::media::hub::{Hub, Lease, Tap};
use callgate::media::tap::TapSettings;
use callgate::media::{Event, FileError, FileFault, SourceEnd, SourceError};
use callgate::sdp::{AudioPlan, VideoPlan};
use support::camera::*;
use support::clip::{B_FRAMES, Clip, FPS, H264_AAC, VP8_OPUS, VP9_OPUS};
use tokio::sync::mpsc;

/// How far apart pictures are, in ticks of 90 kHz.
const STEP: u32 = 90_000 / FPS as u32;
/// How far apart packets of 20 ms are, in ticks of 48 kHz.
const PACKET: u32 = 960;

fn playing(path: &Path, start: Start, after: After) -> Endpoint {
    let Ok(Endpoint::File(mut programme)) = path.to_str().unwrap().parse() else { panic!("no file") };
    (programme.start, programme.after) = (start, after);
    Endpoint::File(programme)
}

fn player(path: &Path, start: Start, after: After) -> (Hub, mpsc::Receiver<Event>) {
    hub(playing(path, start, after), Duration::from_secs(5))
}

/// A line's hub for one call, a tap on it, and what comes.
struct Call {
    _hub: Hub,
    lease: Lease,
    _tap: Tap,
    reader: Reader,
    _events: mpsc::Receiver<Event>,
}

async fn call(path: &Path, after: After, taken: TapSettings) -> Call {
    let (hub, events) = player(path, Start::Own, after);
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let (sink, packets) = probe();
    let tap = lease.tap(taken, sink);
    Call { _hub: hub, lease, _tap: tap, reader: Reader::new(packets), _events: events }
}

async fn end_of(lease: &Lease) -> SourceEnd {
    tokio::time::timeout(3 * DEADLINE, lease.end()).await.expect("an end")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The sequence parameter set of a keyframe, which tells clips of different sizes apart.
fn sps(frame: &Frame) -> Vec<u8> {
    frame.nals.iter().find(|nal| nal[0] & 0x1f == 7).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clip_is_repeated_without_a_gap_or_a_jump_in_time() {
    // Given a clip whose sound is a little longer than its pictures
    let folder = folder();
    let clip = Clip { sound_ms: 1013, ..Clip::default() }.make(&folder.path().join("clip.mp4"), H264_AAC);

    // When it is played over and over
    let mut call = call(&clip, After::Loop, with_audio(AudioPlan::ToOpus)).await;
    let (mut frames, mut sounds) = (Vec::new(), Vec::new());
    while frames.len() < 4 * FPS + 3 || sounds.len() < 200 {
        let before = frames.len();
        frames.push(call.reader.frame());
        sounds.append(&mut call.reader.passed);
        assert!(before < 1000);
    }

    // Then each pass has the pictures of the first one, all of them, in their order
    for (nth, frame) in frames.iter().enumerate() {
        assert_eq!(frame.nals, frames[nth % FPS].nals, "picture {nth}");
    }
    // and each picture comes one interval after the one before
    for (nth, pair) in frames.windows(2).enumerate() {
        let step = pair[1].time.wrapping_sub(pair[0].time);
        assert!(step.abs_diff(STEP) <= 1, "{step} between pictures {nth} and {}", nth + 1);
    }
    // and the sound goes on without a gap of a single sample
    for (nth, pair) in sounds.windows(2).enumerate() {
        assert_eq!(pair[1].time.wrapping_sub(pair[0].time), PACKET, "between packets {nth} and {}", nth + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_carried_is_passed_on_and_the_rest_is_not() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    let silent = Clip { tone: 0, ..Clip::default() };
    let deaf = Clip { pictures: 0, ..Clip::default() };
    let other = |name: &str| Some(AudioCodec::Other(name.into()));
    for (file, video, audio) in [
        (Clip::default().make(&file("a.mp4"), H264_AAC), Some(VideoCodec::H264), other("AAC")),
        (Clip::default().make(&file("a.mov"), B_FRAMES), Some(VideoCodec::H264), other("AAC")),
        (Clip::default().make(&file("a.ts"), H264_AAC), Some(VideoCodec::H264), other("AAC")),
        (Clip::default().make(&file("a.webm"), VP8_OPUS), Some(VideoCodec::Vp8), Some(AudioCodec::Opus)),
        (Clip::default().make(&file("b.mkv"), VP9_OPUS), Some(VideoCodec::Vp9), Some(AudioCodec::Opus)),
        (
            silent.make(&file("c.mkv"), &["-c:v", "libx265", "-x265-params", "log-level=error"]),
            Some(VideoCodec::H264),
            None,
        ),
        (silent.make(&file("d.mkv"), &["-c:v", "mpeg4"]), Some(VideoCodec::H264), None),
        (deaf.make(&file("a.mp3"), &["-c:a", "libmp3lame"]), None, other("MP3")),
        (deaf.make(&file("a.ogg"), &["-c:a", "libvorbis", "-ac", "2"]), None, other("VORBIS")),
        (deaf.make(&file("a.flac"), &[]), None, other("FLAC")),
        (deaf.make(&file("a.wav"), &[]), None, other("PCM")),
        (deaf.make(&file("b.wav"), &["-c:a", "pcm_mulaw", "-ar", "8000"]), None, Some(AudioCodec::Pcmu)),
    ] {
        let (hub, _events) = player(&file, Start::Own, After::HangUp);
        let lease = hub.lease();
        let name = file.file_name().unwrap().to_str().unwrap();
        let streams = lease.streams().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(streams.video.as_ref().map(|video| video.codec.clone()), video, "{name}");
        assert_eq!(streams.audio.as_ref().map(|audio| audio.codec.clone()), audio, "{name}");
        assert!(streams.audio.as_ref().is_none_or(|audio| audio.rate >= 8000), "{name}: {streams:?}");
        if let Some(video) = &streams.video {
            assert_eq!((video.width, video.height), (512, 288), "{name}");
        }

        // What comes is whole: a second of it, in order, and then the end.
        let plan = match video {
            Some(VideoCodec::Vp8) => VideoPlan::PassVp8,
            Some(VideoCodec::Vp9) => VideoPlan::PassVp9,
            _ => VideoPlan::PassH264,
        };
        let sound = match audio {
            Some(AudioCodec::Opus) => AudioPlan::PassOpus,
            Some(AudioCodec::Pcmu) => AudioPlan::PassPcmu,
            _ => AudioPlan::ToOpus,
        };
        let taken =
            TapSettings { video: video.as_ref().map(|_| (VIDEO, plan)), audio: audio.as_ref().map(|_| (AUDIO, sound)) };
        let (sink, packets) = probe();
        let tap = lease.tap(taken, sink);
        assert_eq!(end_of(&lease).await, SourceEnd::Over, "{name}");
        let stats = tap.stats();
        if video.is_some() {
            assert_eq!(stats.video.frames, FPS as u64, "{name}");
        }
        if audio.is_some() {
            assert!((45..=53).contains(&stats.audio.frames), "{name}: {stats:?}");
        }
        drop(tap);
        let pictures: Vec<Packet> =
            packets.try_iter().filter(|packet| packet.payload_type == VIDEO.payload_type).collect();
        for pair in pictures.windows(2) {
            let step = pair[1].time.wrapping_sub(pair[0].time);
            assert!(step == 0 || step.abs_diff(STEP) <= 90, "{name}: a step of {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_file_cannot_be_played_is_told_apart() {
    let folder = folder();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let whole = fs::read(Clip::default().make(&folder.path().join("whole.mp4"), H264_AAC)).unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for (path, faults) in [
        (folder.path().join("nothing.mp4"), &[FileFault::Missing][..]),
        (file("empty.mp4", b""), &[FileFault::Empty]),
        (
            file("letter.mp4", "Dear Sir or Madam,\n".repeat(500).as_bytes()),
            &[FileFault::NotMedia, FileFault::NothingToPlay],
        ),
        (
            file(
                "noise.mp4",
                &(0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
            ),
            &[FileFault::NotMedia],
        ),
        // GStreamer's demuxer tells of it, or waits for the rest.
        (file("begun.mp4", &whole[..600]), &[FileFault::Damaged, FileFault::NothingToPlay, FileFault::Silent]),
        (PathBuf::from("/dev/zero"), &[FileFault::NoFile]),
        (inner, &[FileFault::NothingToPlay]),
        (file("list.m3u", b"#EXTM3U\n\nhttps://example.com/a.mp4\n"), &[FileFault::NothingToPlay]),
    ] {
        let (hub, _events) = player(&path, Start::Own, After::HangUp);
        let lease = hub.lease();
        match lease.streams().await {
            Err(SourceError::File(FileError { file, fault })) => {
                assert_eq!(file, path);
                assert!(faults.contains(&fault), "{}: {fault}", path.display());
            }
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_later_is_played_then() {
    let folder = folder();
    let path = folder.path().join("late.mp4");
    let (hub, _events) = player(&path, Start::Own, After::HangUp);
    assert!(hub.lease().streams().await.is_err());
    Clip::default().make(&path, H264_AAC);
    hub.lease().streams().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_cut_short_is_played_as_far_as_it_goes() {
    let folder = folder();
    let path = Clip::lasting(3).make(&folder.path().join("short.mp4"), H264_AAC);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();

    let mut call = call(&path, After::HangUp, video_only()).await;

    for _ in 0..FPS {
        call.reader.frame();
    }
    let broken = FileError { file: path, fault: FileFault::Damaged };
    let end = end_of(&call.lease).await;
    assert!(end == SourceEnd::Over || end == SourceEnd::Broken(SourceError::File(broken)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_grows_is_played_as_far_as_it_has_grown() {
    // Given a recording of which a second is written
    let folder = folder();
    let whole = fs::read(Clip::lasting(4).make(&folder.path().join("whole.ts"), H264_AAC)).unwrap();
    let path = folder.path().join("growing.ts");
    let packets = |part: usize| whole.len() * part / 4 / 188 * 188;
    fs::write(&path, &whole[..packets(2)]).unwrap();
    let mut call = call(&path, After::HangUp, video_only()).await;

    // When it grows while it is played
    let mut frames = 0;
    let mut growing = OpenOptions::new().append(true).open(&path).unwrap();
    for _ in 0..10 {
        call.reader.frame();
        frames += 1;
    }
    growing.write_all(&whole[packets(2)..]).unwrap();

    // Then it is played at least as far as it was, and the call ends as with any other
    while frames < 2 * FPS - 5 {
        call.reader.frame();
        frames += 1;
    }
    assert_eq!(end_of(&call.lease).await, SourceEnd::Over);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_played_in_order_past_what_is_broken_and_again() {
    // Given a folder of two clips of different sizes, with something between them that is none
    let folder = folder();
    let small = Clip { width: 512, height: 288, ..Clip::default() };
    let large = Clip { width: 640, height: 360, ..Clip::default() };
    small.make(&folder.path().join("1.mp4"), H264_AAC);
    fs::write(folder.path().join("2.mp4"), "nothing").unwrap();
    large.make(&folder.path().join("3.mp4"), H264_AAC);

    let mut call = call(folder.path(), After::Loop, video_only()).await;

    // Then each is played whole, one after the other, on one line of time
    let frames: Vec<Frame> = (0..3 * FPS).map(|_| call.reader.frame()).collect();
    let keyframes: Vec<&Frame> = frames.iter().step_by(FPS).collect();
    assert!(keyframes.iter().all(|frame| frame.is_keyframe()));
    assert_ne!(sps(keyframes[0]), sps(keyframes[1]));
    assert_eq!(sps(keyframes[0]), sps(keyframes[2]));
    for pair in frames.windows(2) {
        let step = pair[1].time.wrapping_sub(pair[0].time);
        assert!(step >= STEP - 1, "{step}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_programme_is_the_same_moment_for_all_and_begins_anew_for_nobody() {
    let folder = folder();
    let clip = Clip::lasting(3).make(&folder.path().join("clip.mp4"), H264_AAC);
    let (hub, _events) = player(&clip, Start::Shared, After::HangUp);
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let (sink, packets) = probe();
    let _first = lease.tap(video_only(), sink);
    let mut first = Reader::new(packets);
    let seen: Vec<Frame> = (0..FPS + 10).map(|_| first.frame()).collect();

    // A second caller joins: with the group of pictures that is on the air, not with the first.
    let other = hub.lease();
    let (sink, packets) = probe();
    let _second = other.tap(video_only(), sink);
    let joined = Reader::new(packets).frame();
    assert_eq!(joined.nals, seen[FPS].nals);

    // Both come to the end at once, and whoever calls then sees the beginning.
    assert_eq!(end_of(&lease).await, SourceEnd::Over);
    assert_eq!(end_of(&other).await, SourceEnd::Over);
    let again = hub.lease();
    again.streams().await.unwrap();
    let (sink, packets) = probe();
    let _third = again.tap(video_only(), sink);
    assert_eq!(Reader::new(packets).frame().nals, seen[0].nals);
    drop((lease, other));
    assert!(matches!(hub.state(), callgate::media::SourceState::Open { callers: 1, .. }), "{:?}", hub.state());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_programme_waits_for_its_caller() {
    let folder = folder();
    let clip = Clip::default().make(&folder.path().join("clip.mp4"), H264_AAC);
    let (hub, _events) = player(&clip, Start::Own, After::HangUp);
    let lease = hub.lease();
    lease.streams().await.unwrap();
    // Longer than it lasts: whoever takes so long to be connected has missed nothing.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (sink, packets) = probe();
    let _tap = lease.tap(video_only(), sink);
    let mut reader = Reader::new(packets);
    assert!(reader.frame().is_keyframe());
    for _ in 1..FPS {
        reader.frame();
    }
    assert_eq!(end_of(&lease).await, SourceEnd::Over);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_picture_is_held_with_silence() {
    // Given a clip of one group of pictures
    let folder = folder();
    let clip = Clip::default().make(&folder.path().join("clip.mp4"), H264_AAC);
    let mut call = call(&clip, After::Hold, with_audio(AudioPlan::ToOpus)).await;
    for nth in 0..FPS {
        assert_eq!(call.reader.frame().is_keyframe(), nth == 0);
    }

    // Then a picture that needs no other comes again and again
    let held: Vec<Frame> = (0..3).map(|_| call.reader.frame()).collect();
    assert!(held.iter().all(Frame::is_keyframe));
    assert!(held[1].time.wrapping_sub(held[0].time) >= 80_000, "about once a second");
    // and the sound goes on, with packets that hold next to nothing
    call.reader.passed.clear();
    let silence: Vec<Packet> = (0..20).map(|_| call.reader.audio()).collect();
    assert!(silence.iter().all(|packet| packet.payload.len() < 40), "{silence:?}");
    // and whoever comes now sees it at once
    let (sink, packets) = probe();
    let _late = call.lease.tap(video_only(), sink);
    assert_eq!(Reader::new(packets).frame().nals, held[0].nals);
}
