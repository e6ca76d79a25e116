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

use callgate::media::caller::{AccessUnit, CallerEvent, CallerSettings};
use callgate::media::demo_camera::{DemoCamera, DemoSettings, DemoVideo};
use callgate::media::{CallId, Event};
use gst::prelude::*;
use support::browser::Browser;
use support::calls::{Caller, Gateway, hash, loopback, units, watcher};
use support::camera::{camera, rtsp};
use support::daemon::Daemon;
use tokio::sync::mpsc;

const FIRST: CallId = CallId(1);
const SECOND: CallId = CallId(2);

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
async fn watching(gateway: &mut Gateway, call: CallId) -> (Caller, mpsc::Receiver<AccessUnit>) {
    let (told, pictures) = mpsc::channel(1024);
    let caller = Caller::start(CallerSettings { units: Some(told), ..watcher() }).await;
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
        let (_first, mut seen) = watching(&mut gateway, FIRST).await;
        let mut before = units(&mut seen, 40).await;

        // When another one calls
        let (second, mut joined) = watching(&mut gateway, SECOND).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_shows_vp8_and_vp9_also_after_the_camera_was_away() {
    for (video, name, _) in passed() {
        // Given a line whose camera sends VP8 or VP9
        let camera = slow_camera(video.clone());
        let port = camera.url().port().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            "data_dir = {:?}\n[nostr]\nembedded_relay = \"127.0.0.1:0\"\n[access]\nallow = [\"*\"]\n\
             [[line]]\nname = \"driveway\"\nplay = \"{}\"\n",
            folder.path(),
            camera.url()
        );
        let daemon = Daemon::run(folder.path(), &configuration, 1);
        let ready = daemon.stdout_lines(1).remove(0);
        let [_, npub, _, relay] = ready.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{ready}") };

        // When Chromium calls it
        let page = Browser::start_plain().await;
        page.see_peers().await;
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html");
        page.open(&format!("file://{file}#npub={npub}&relay={relay}&name=driveway")).await;
        page.click("#call").await;
        page.wait_for_js("callgate.state === 'live'").await;

        // Then its decoder for this codec makes pictures, which move
        let decoded = |more_than: u64| {
            format!(
                "(async () => {{ const all = await peers.at(-1).getStats(); for (const one of all.values()) \
                   if (one.type === 'inbound-rtp' && one.kind === 'video' && one.framesDecoded > {more_than}) \
                     return [one.framesDecoded, one.keyFramesDecoded, all.get(one.codecId).mimeType]; }})()"
            )
        };
        let counted = page.wait_for_js(&decoded(30)).await;
        assert_eq!(counted[2], format!("video/{name}"));
        let first = page.picture().await;
        page.wait_for_js(&decoded(counted[0].as_u64().unwrap() + 20)).await;
        assert!(first.difference(&page.picture().await) > 0.2, "{video:?}");

        // When the camera goes and comes back, so that the caller skips to another group of pictures
        drop(camera);
        let away = page.wait_for_js(&decoded(0)).await;
        let again = camera_at(port, video.clone());
        let back = page.wait_for_js(&decoded(away[0].as_u64().unwrap() + 30)).await;

        // Then the pictures go on from a keyframe
        assert!(back[1].as_u64() > away[1].as_u64() || away[1].as_u64() > counted[1].as_u64(), "{away:?} {back:?}");
        let first = page.picture().await;
        page.wait_for_js(&decoded(back[0].as_u64().unwrap() + 20)).await;
        assert!(first.difference(&page.picture().await) > 0.2, "{video:?}");
        drop(again);
    }
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
