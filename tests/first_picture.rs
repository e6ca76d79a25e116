//! The first picture of a caller who joins in the middle of a group of pictures: at once, whole, and up to the live edge.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod support;

use callgate::endpoint::{Endpoint, RtspTransport};
use callgate::media::CallId;
use callgate::media::caller::{AccessUnit, CallerEvent, CallerSettings};
use callgate::media::demo_camera::{DemoCamera, DemoSettings};
use support::*;
use tokio::sync::mpsc;

/// Frames from keyframe to keyframe: 10 s, so that a caller who waited for the camera's next one would be seen to.
const GOP: u32 = 250;
/// How far into the group of pictures the second caller calls, in pictures.
const MIDDLE: usize = 75;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_joins_amid_a_group_of_pictures_has_all_of_it_and_catches_up_with_the_others() {
    callgate::media::init().unwrap();
    let camera = DemoCamera::start(DemoSettings { keyframe: GOP, noise: true, ..DemoSettings::default() }).unwrap();
    let endpoint = Endpoint::Rtsp { url: camera.url().clone(), transport: RtspTransport::Tcp };
    let mut gateway = Gateway::playing(endpoint, loopback());

    // Given a caller who has been there since the group of pictures began.
    let (first, mut seen_by_first) = join(&mut gateway, CallId(1)).await;
    let mut firsts = units(&mut seen_by_first, MIDDLE).await;
    assert!(firsts[0].keyframe, "the camera's first picture is a keyframe");

    // When a second one calls.
    let (second, mut seen_by_second) = join(&mut gateway, CallId(2)).await;
    let mut seconds: Vec<AccessUnit> = Vec::new();
    soon("the live edge", async {
        while seconds.is_empty() || seconds.last().map(|unit| unit.sha256) != firsts.last().map(|unit| unit.sha256) {
            tokio::select! {
                unit = seen_by_first.recv() => firsts.push(unit.expect("the first call is up")),
                unit = seen_by_second.recv() => seconds.push(unit.expect("the second call is up")),
            }
        }
    })
    .await;

    // Then it has what the first one has, picture by picture, from a keyframe to the newest.
    assert!(seconds[0].keyframe, "the first picture is a keyframe");
    assert!(seconds.len() > MIDDLE, "all of the group of pictures so far comes, not only what is new");
    let begin = firsts.iter().rposition(|unit| unit.sha256 == seconds[0].sha256).expect("the first caller has it too");
    assert_eq!(
        begin,
        firsts.iter().rposition(|unit| unit.keyframe).unwrap(),
        "the burst begins with the last keyframe"
    );
    let hashes = |units: &[AccessUnit]| units.iter().map(|unit| unit.sha256).collect::<Vec<_>>();
    assert!(hashes(&seconds) == hashes(&firsts[begin..]), "no picture is missing, changed or out of order");
    assert!(seconds.windows(2).all(|pair| pair[0].pts < pair[1].pts), "the pictures' times rise");
    let decoded = decode(&seconds);
    assert_eq!(decoded.len(), seconds.len(), "every picture can be decoded");
    assert_eq!(decoded, decode(&firsts[begin..]), "and looks as it does to the first caller");

    for (call, caller) in [(CallId(1), first), (CallId(2), second)] {
        caller.end().await;
        gateway.close(call).await;
    }
    soon("the shutdown", gateway.media.shutdown()).await;
}

async fn join(gateway: &mut Gateway, call: CallId) -> (Caller, mpsc::Receiver<AccessUnit>) {
    // Room for more than a group of pictures: what finds none would be lost to the test, not to the caller.
    let (told, pictures) = mpsc::channel(4 * GOP as usize);
    let mut caller = Caller::start(CallerSettings { units: Some(told), ..watcher() }).await;
    let answer = gateway.answer(call, &caller.offer).await;
    caller.take(&answer).await;
    gateway.secured(call).await;
    caller.is(CallerEvent::Connected).await;
    (caller, pictures)
}
