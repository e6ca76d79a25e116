//! A caller who joins while another one watches: sees in the browser what the other one sees, from the middle of a long group
//! of pictures on.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod camera;
    pub mod daemon;
    pub mod http;
}

use std::collections::HashMap;

use callgate::media::demo_camera::DemoSettings;
use support::browser::{Browser, Rendered};
use support::daemon::Daemon;

/// Frames from keyframe to keyframe: 10 s.
const GROUP: u32 = 250;
/// How many pictures of its group the first caller has seen when the second one calls: 4 s.
const INTO_THE_GROUP: u64 = 100;

/// A browser with the page as a file, ready to call the line.
async fn caller(npub: &str, relay: &str) -> Browser {
    let page = Browser::start_plain().await;
    page.see_peers().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html");
    page.open(&format!("file://{file}#npub={npub}&relay={relay}&name=driveway")).await;
    page
}

async fn call(page: &Browser) {
    page.watch().await;
    page.click("#call").await;
    page.wait_for_js("callgate.state === 'live'").await;
}

/// Waits until what the connection counted for its video is so, and returns the frames that it had decoded by then.
async fn counts(page: &Browser, condition: &str) -> u64 {
    let decoded = page
        .wait_for_js(&format!(
            "(async () => {{ for (const counted of (await peers.at(-1).getStats()).values()) {{ \
               if (counted.type === 'inbound-rtp' && counted.kind === 'video' && counted.{condition}) return counted.framesDecoded; }} }})()"
        ))
        .await;
    decoded.as_u64().unwrap()
}

/// The first picture that `second` showed while `first` showed none that is newer. The moments are compared by the clock that
/// both browsers have in common.
fn at_the_edge<'a>(first: &[Rendered], second: &'a [Rendered]) -> Option<&'a Rendered> {
    let shown_by_first = |now: u32| first.iter().rev().find(|frame| frame.now <= now).map(|frame| frame.shown);
    second.iter().find(|frame| shown_by_first(frame.now).is_some_and(|shown| shown <= frame.shown))
}

/// How old what a page showed at this moment was, in ms.
fn age(frames: &[Rendered], moment: f64) -> Option<i64> {
    let moment = (moment as u64 % (1 << 32)) as u32;
    let frame = frames.iter().rev().find(|frame| frame.now <= moment)?;
    Some(i64::from(moment) - i64::from(frame.shown))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_caller_joins_a_long_group_at_the_live_edge_and_not_a_pixel_is_broken() {
    // Given a camera with a keyframe every 10 s, and a caller who watches it
    let camera = support::camera::camera(DemoSettings { keyframe: GROUP, stamp: true, ..DemoSettings::default() });
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
    let (first, second) = tokio::join!(caller(npub, relay), caller(npub, relay));
    call(&first).await;

    // When another one calls in the middle of a group of pictures; again, if the machine is so slow that the group ends before
    let (seen_by_first, seen_by_second) = loop {
        let keyframes = first.counted().await.key_frames_decoded;
        let begun = counts(&first, &format!("keyFramesDecoded > {keyframes}")).await;
        counts(&first, &format!("framesDecoded > {}", begun + INTO_THE_GROUP)).await;
        call(&second).await;

        // Then it comes to show what the first one shows
        let seen = loop {
            let (newer, older) = (second.rendered().await, first.rendered().await);
            if at_the_edge(&older, &newer).is_some() {
                break (older, newer);
            }
        };
        let (older, newer) = (first.counted().await, second.counted().await);
        if older.key_frames_decoded == keyframes + 1 && newer.key_frames_decoded == 1 {
            // without the help of another keyframe: it decoded the group from its beginning
            assert!(newer.frames_decoded > INTO_THE_GROUP, "{newer:?}");
            break seen;
        }
        second.click("#hangup").await;
    };
    let edge = at_the_edge(&seen_by_first, &seen_by_second).unwrap().now;

    // and goes on beyond the next keyframe
    counts(&second, "keyFramesDecoded > 1").await;
    second.stamps(25).await;
    let (seen_by_first, seen_by_second) = (first.rendered().await, second.rendered().await);
    let counted = second.counted().await;

    // Then each picture that both have shown is the same to the last bit, so none that it is made from was broken
    let by_stamp: HashMap<u32, u32> = seen_by_first.iter().map(|frame| (frame.shown, frame.pixels)).collect();
    let common: Vec<_> =
        seen_by_second.iter().filter_map(|frame| Some((frame, *by_stamp.get(&frame.shown)?))).collect();
    assert!(common.len() > 25, "{} of {}", common.len(), seen_by_second.len());
    for (frame, pixels) in &common {
        assert_eq!(frame.pixels, *pixels, "broken: {frame:?}");
    }
    // and nothing was lost or asked for again
    assert_eq!((counted.packets_lost, counted.pli_count, counted.fir_count), (0, 0, 0), "{counted:?}");

    let answered = counted.answered;
    let later = answered + 1000.0;
    println!(
        "second caller: first picture received {:.0} ms and rendered {} ms after the answer, at the live edge after {} ms; \
         1 s after the answer it shows what is {:?} ms old, the first caller what is {:?} ms old; {} pictures shown, {} compared; {counted:?}",
        seen_by_second[0].received - answered,
        i64::from(seen_by_second[0].now) - (answered as u64 % (1 << 32)) as i64,
        i64::from(edge) - (answered as u64 % (1 << 32)) as i64,
        age(&seen_by_second, later),
        age(&seen_by_first, later),
        seen_by_second.len(),
        common.len(),
    );
}
