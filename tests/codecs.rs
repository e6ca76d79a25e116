//! Cameras whose picture is not H.264, and what their callers get.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod calls;
    pub mod camera;
    pub mod daemon;
    pub mod http;
}

use std::collections::HashSet;
use std::time::Duration;

use callgate::endpoint::VideoCodec;
use callgate::media::caller::{AccessUnit, CallerEvent, CallerSettings};
use callgate::media::demo_camera::{DemoCamera, DemoSettings, DemoVideo};
use callgate::media::tap::TapSettings;
use callgate::media::{CallId, Command, Event};
use callgate::sdp::VideoPlan;
use gst::prelude::*;
use support::browser::Browser;
use support::calls::{Caller, Gateway, hash, line, loopback, units, watcher};
use support::camera::{Reader, VIDEO, camera, hub, probe, rtsp};
use support::daemon::{Daemon, field};
use tokio::sync::mpsc;

const FIRST: CallId = CallId(1);
const SECOND: CallId = CallId(2);

/// What decodes H.264.
const H264: &str = "video/x-h264,stream-format=byte-stream,alignment=au ! avdec_h264";

/// The kinds of picture that are passed: the camera's, the codec's name in SDP, and what decodes it.
fn passed() -> [(DemoVideo, &'static str, &'static str); 2] {
    [(DemoVideo::Vp8, "VP8", "video/x-vp8 ! vp8dec"), (DemoVideo::Vp9, "VP9", "video/x-vp9 ! vp9dec")]
}

fn slow_camera(video: DemoVideo) -> DemoCamera {
    camera_at(0, video)
}

/// Decodes what came: one hash a picture.
fn decode(units: &[AccessUnit], decoder: &str) -> Vec<u64> {
    let text = format!(
        "appsrc name=in format=time caps={decoder} ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for unit in units {
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(unit.pts.as_nanos() as u64));
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let pictures = std::iter::from_fn(|| out.pull_sample().ok())
        .map(|sample| hash(&sample.buffer().unwrap().map_readable().unwrap()))
        .collect();
    pipeline.set_state(gst::State::Null).unwrap();
    pictures
}

/// A caller who watches, and its pictures.
async fn watching(
    gateway: &mut Gateway,
    call: CallId,
    settings: CallerSettings,
) -> (Caller, mpsc::Receiver<AccessUnit>) {
    let (told, pictures) = mpsc::channel(1024);
    let caller = Caller::start(CallerSettings { units: Some(told), ..settings }).await;
    let answer = gateway.answer(call, &caller.offer).await;
    caller.take(&answer).await;
    (caller, pictures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_with_vp8_or_vp9_is_seen_as_it_is_and_a_second_caller_joins_within_its_group_of_pictures() {
    for (video, _, decoder) in passed() {
        // Given a camera, and a caller who has seen a part of a group of pictures
        let camera = slow_camera(video.clone());
        let mut gateway = Gateway::playing(rtsp(camera.url()), loopback());
        let (_first, mut seen) = watching(&mut gateway, FIRST, watcher()).await;
        let mut before = units(&mut seen, 40).await;

        // When another one calls
        let (second, mut joined) = watching(&mut gateway, SECOND, watcher()).await;
        let late = units(&mut joined, 60).await;

        // Then both decode every picture, and it moves
        assert!(before[0].keyframe && late[0].keyframe, "{video:?}");
        let decoded = decode(&late, decoder);
        assert!(decoded.len() >= 58, "{video:?}: {} of 60 pictures decoded", decoded.len());
        assert!(decoded.iter().collect::<HashSet<_>>().len() > 50, "{video:?}: the picture moves");
        // and what the second one got is bit for bit what the first one got
        let last = late.last().unwrap().sha256;
        while before.last().unwrap().sha256 != last {
            before.extend(units(&mut seen, 1).await);
        }
        let known: HashSet<_> = before.iter().map(|unit| unit.sha256).collect();
        assert!(late.iter().all(|unit| known.contains(&unit.sha256)), "{video:?}");
        second.end().await;
        gateway.media.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_line_with_vp8_or_vp9_calls_sees_it_and_its_own_picture_is_received() {
    for (video, name, decoder) in passed() {
        // Given a line
        let camera = slow_camera(video.clone());
        let mut gateway = Gateway::playing(rtsp(camera.url()), loopback());

        // When it calls somebody who takes everything
        let offer = gateway.offer(FIRST).await;
        assert!(offer.contains(&format!(" {name}/90000")), "{offer}");
        let (told, mut pictures) = mpsc::channel(1024);
        let (mut called, answer) = Caller::answering(CallerSettings { units: Some(told), ..watcher() }, &offer).await;
        gateway.take_answer(FIRST, &offer, &answer).await;

        // Then there is a picture
        gateway.secured(FIRST).await;
        called.is(CallerEvent::FirstFrame).await;
        let units = units(&mut pictures, 20).await;
        assert!(decode(&units, decoder).len() >= 18, "{video:?}");
        called.end().await;

        // And when somebody calls it and sends a picture too, that goes in the same codec and comes
        let caller = Caller::start(CallerSettings { send_test_media: true, ..watcher() }).await;
        let answer = gateway.answer(SECOND, &caller.offer).await;
        caller.take(&answer).await;
        gateway.stats(SECOND, |stats| stats.received_video.frames > 10).await;
        caller.end().await;
        gateway.media.shutdown().await;
    }
}

/// Runs a line with this camera, and lets Chromium call it.
async fn chromium_calls(camera: &DemoCamera) -> (Daemon, Browser, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!(
        "data_dir = {:?}\n[nostr]\nembedded_relay = \"127.0.0.1:0\"\n[access]\nallow = [\"*\"]\n\
         [[line]]\nname = \"driveway\"\nplay = \"{}\"\nidle = \"1s\"\n",
        folder.path(),
        camera.url()
    );
    let daemon = Daemon::run(folder.path(), &configuration, 1);
    let ready = daemon.stdout_lines(1).remove(0);
    let [_, npub, _, relay] = ready.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{ready}") };
    let page = Browser::start_plain().await;
    page.see_peers().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html");
    page.open(&format!("file://{file}#npub={npub}&relay={relay}&name=driveway")).await;
    page.click("#call").await;
    page.wait_for_js("callgate.state === 'live'").await;
    (daemon, page, folder)
}

/// What the page decoded, once it has more frames than this: frames, keyframes, codec.
async fn decoded(page: &Browser, more_than: u64) -> (u64, u64, String) {
    let counted = page
        .wait_for_js(&format!(
            "(async () => {{ const all = await peers.at(-1).getStats(); for (const one of all.values()) \
               if (one.type === 'inbound-rtp' && one.kind === 'video' && one.framesDecoded > {more_than}) \
                 return [one.framesDecoded, one.keyFramesDecoded, all.get(one.codecId).mimeType]; }})()"
        ))
        .await;
    serde_json::from_value(counted).unwrap()
}

/// The page's picture changes while it decodes.
async fn moves(page: &Browser) -> bool {
    let first = page.picture().await;
    let (frames, ..) = decoded(page, 0).await;
    decoded(page, frames + 20).await;
    first.difference(&page.picture().await) > 0.2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_shows_h265_and_b_pictures_made_h264_for_as_long_as_it_calls() {
    for video in [DemoVideo::H265, DemoVideo::H264WithB] {
        // Given a camera whose video browsers do not take as it is
        let camera = slow_camera(video.clone());

        // When Chromium calls its line
        let (daemon, page, _folder) = chromium_calls(&camera).await;

        // Then the picture moves, and the log says why it is not the camera's own
        let (_, _, codec) = decoded(&page, 30).await;
        assert_eq!(codec, "video/H264");
        assert!(moves(&page).await, "{video:?}");
        let why = daemon.logged(|record| field(record, "message") == "what the other side gets");
        assert!(field(&why, "video").contains(" made "), "{why}");
        daemon.logged(|record| field(record, "message") == "the source's video is made H.264");

        // and when it goes, nothing is made any more
        page.click("#hangup").await;
        daemon.logged(|record| field(record, "message") == "the source's video is made H.264 no more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_shows_vp8_and_vp9_also_after_the_camera_was_away() {
    for (video, name, _) in passed() {
        // Given a line whose camera sends VP8 or VP9
        let camera = slow_camera(video.clone());
        let port = camera.url().port().unwrap();

        // When Chromium calls it
        let (_daemon, page, _folder) = chromium_calls(&camera).await;

        // Then its decoder for this codec makes pictures, which move
        let (_, keyframes, codec) = decoded(&page, 30).await;
        assert_eq!(codec, format!("video/{name}"));
        assert!(moves(&page).await, "{video:?}");

        // When the camera goes and comes back, so that the caller skips to another group of pictures
        drop(camera);
        let (frames, ..) = decoded(&page, 0).await;
        let again = camera_at(port, video.clone());

        // Then the pictures go on from a keyframe
        let (_, later, _) = decoded(&page, frames + 30).await;
        assert!(later > keyframes, "{video:?}");
        assert!(moves(&page).await, "{video:?}");
        drop(again);
    }
}

/// The kinds of picture that are made H.264 for a caller who takes no other: the camera's, and the codec that is told of it.
fn remade() -> [(DemoVideo, VideoCodec); 4] {
    [
        (DemoVideo::H265, VideoCodec::Other("H265".into())),
        (DemoVideo::H264WithB, VideoCodec::H264),
        (DemoVideo::Vp8, VideoCodec::Vp8),
        (DemoVideo::Vp9, VideoCodec::Vp9),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_does_not_take_is_made_h264_and_two_callers_get_the_same() {
    for (video, codec) in remade() {
        // Given a camera whose video is not passed to callers with H.264 alone
        let camera = slow_camera(video.clone());
        let mut gateway = Gateway::playing(rtsp(camera.url()), loopback());
        let with_h264 = || CallerSettings { h264_only: true, ..watcher() };

        // When two call
        let (mut first, mut seen) = watching(&mut gateway, FIRST, with_h264()).await;
        let mut before = units(&mut seen, 30).await;
        let (_second, mut joined) = watching(&mut gateway, SECOND, with_h264()).await;
        let late = units(&mut joined, 50).await;

        // Then the line says what it has
        gateway.media.send(Command::OpenSource { call: CallId(3), line: line() }).await;
        let streams = gateway
            .wait("the source", |event| match event {
                Event::SourceReady { call: CallId(3), streams } => Some(streams),
                _ => None,
            })
            .await;
        let told = streams.video.unwrap();
        assert_eq!((told.codec, told.to_h264, told.reordered), (codec, true, video == DemoVideo::H264WithB));
        // and both begin with a keyframe, and see every picture, in order
        assert!(before[0].keyframe && late[0].keyframe, "{video:?}");
        for units in [&before, &late] {
            let decoded = decode(units, H264);
            assert!(decoded.len() >= units.len() - 2, "{video:?}: {} of {} decoded", decoded.len(), units.len());
            assert!(decoded.iter().collect::<HashSet<_>>().len() > units.len() * 3 / 4, "{video:?}: the picture moves");
        }
        assert!(late.windows(2).all(|pair| pair[1].pts >= pair[0].pts), "{video:?}: no picture comes out of order");
        // and it was made once: what the second one got is what the first one got
        let last = late.last().unwrap().sha256;
        while before.last().unwrap().sha256 != last {
            before.extend(units(&mut seen, 1).await);
        }
        let known: HashSet<_> = before.iter().map(|unit| unit.sha256).collect();
        assert!(late.iter().all(|unit| known.contains(&unit.sha256)), "{video:?}");
        first.is(CallerEvent::FirstFrame).await;
        gateway.media.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyframe_that_a_caller_asks_for_is_made_before_the_next_one_is_due() {
    // Given a tap on what is made H.264, with a keyframe every 100 pictures
    let camera = slow_camera(DemoVideo::Vp9);
    let (hub, _events) = hub(rtsp(camera.url()), Duration::from_secs(5));
    let lease = hub.lease();
    lease.streams().await.unwrap();
    let (sink, packets) = probe();
    let tap = lease.tap(TapSettings { video: Some((VIDEO, VideoPlan::ToH264)), audio: None }, sink);
    let mut reader = Reader::new(packets);
    assert!(reader.frame().is_keyframe());

    // When it is asked for one, as often as a caller likes
    let next = (1..100).find(|_| {
        tap.request_keyframe();
        reader.frame().is_keyframe()
    });

    // Then it comes
    assert!(next.is_some());
}

/// A camera with a keyframe every 4 s, at a port of its own or at this one.
fn camera_at(port: u16, video: DemoVideo) -> DemoCamera {
    camera(DemoSettings {
        port,
        video,
        width: 320,
        height: 180,
        keyframe: 100,
        bitrate: 400,
        ..DemoSettings::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_vp8_or_vp9_is_recorded_as_it_came() {
    for (video, name, _) in passed() {
        // Given a line, and a caller who records
        let camera = slow_camera(video.clone());
        let mut gateway = Gateway::playing(rtsp(camera.url()), loopback());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("call.mkv");
        let mut caller = Caller::start(CallerSettings { record: Some(file.clone()), ..watcher() }).await;
        let answer = gateway.answer(FIRST, &caller.offer).await;
        caller.take(&answer).await;
        caller
            .wait("pictures", |event| match event {
                CallerEvent::Stats(stats) => (stats.video.frames > 40).then_some(()),
                _ => None,
            })
            .await;

        // When it hangs up
        caller.end().await;
        gateway.wait("the end", |event| matches!(event, Event::PeerFailed { .. }).then_some(())).await;

        // Then ffprobe decodes every picture of the file
        let probe = std::process::Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "v", "-count_frames"])
            .args(["-show_entries", "stream=codec_name,width,nb_read_frames", "-of", "csv=p=0"])
            .arg(&file)
            .output()
            .unwrap();
        let told = String::from_utf8(probe.stdout).unwrap();
        let [codec, width, frames] = told.trim().split(',').collect::<Vec<_>>()[..] else { panic!("{told}") };
        assert_eq!((codec, width), (name.to_lowercase().as_str(), "320"));
        assert!(frames.parse::<u32>().unwrap() >= 40, "{told}");
        gateway.media.shutdown().await;
    }
}
