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
use std::time::Instant;

use callgate::media::demo_camera::DemoSettings;
use support::browser::{Browser, Rendered};
use support::daemon::{Daemon, PATIENCE};

/// Frames from keyframe to keyframe: 10 s.
const GROUP: u32 = 250;
/// How many pictures of its group the first caller has seen when the second one calls: 4 s.
const INTO_THE_GROUP: u64 = 100;
/// How many pictures both have shown when they are compared: a second's.
const COMPARED: usize = 25;
/// How often the second caller tries to join within a group.
const ATTEMPTS: usize = 4;

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

/// The pictures that both pages showed.
fn in_common<'a>(first: &'a [Rendered], second: &'a [Rendered]) -> Vec<(&'a Rendered, &'a Rendered)> {
    let by_stamp: HashMap<u32, &Rendered> = first.iter().map(|frame| (frame.shown, frame)).collect();
    second.iter().filter_map(|frame| Some((*by_stamp.get(&frame.shown)?, frame))).collect()
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

    // When another one calls in the middle of a group of pictures
    let mut joined = None;
    for _ in 0..ATTEMPTS {
        let keyframes = first.counted().await.key_frames_decoded;
        let begun = counts(&first, &format!("keyFramesDecoded > {keyframes}")).await;
        counts(&first, &format!("framesDecoded > {}", begun + INTO_THE_GROUP)).await;
        call(&second).await;

        // Then it comes to show what the first one shows, and both go on
        let until = Instant::now() + PATIENCE;
        let (seen_by_first, seen_by_second) = loop {
            second.stamps(5).await;
            let (newer, older) = (second.rendered().await, first.rendered().await);
            if at_the_edge(&older, &newer).is_some() && in_common(&older, &newer).len() >= COMPARED {
                break (older, newer);
            }
            assert!(Instant::now() < until, "never at the live edge: {:?} {:?}", newer.last(), older.last());
        };
        let counted = second.counted().await;
        // On a machine so slow that the group ended before: again.
        if first.counted().await.key_frames_decoded == keyframes + 1 {
            joined = Some((seen_by_first, seen_by_second, counted));
            break;
        }
        second.click("#hangup").await;
    }
    let (seen_by_first, seen_by_second, counted) = joined.expect("a call within a group of pictures");

    // by decoding the group from its beginning, without the help of another keyframe
    assert!(counted.key_frames_decoded == 1 && counted.frames_decoded > INTO_THE_GROUP, "{counted:?}");
    // and what both have shown is the same to the last bit, so no picture that it is made from was broken
    let common = in_common(&seen_by_first, &seen_by_second);
    for (one, other) in &common {
        assert_eq!(one.pixels, other.pixels, "broken: {other:?}");
    }
    // and nothing was lost or asked for again
    assert_eq!((counted.packets_lost, counted.pli_count, counted.fir_count), (0, 0, 0), "{counted:?}");

    let answered = counted.answered;
    let since = |now: u32| i64::from(now.wrapping_sub((answered as u64 % (1 << 32)) as u32).cast_signed());
    let edge = at_the_edge(&seen_by_first, &seen_by_second).expect("it was there");
    println!(
        "the second caller, after its answer: first picture received after {:.0} ms, rendered after {} ms; at the live edge after \
         {} ms; 1 s after it what it showed was {:?} ms old, what the first caller showed {:?} ms; {} pictures compared; {counted:?}",
        seen_by_second[0].received - answered,
        since(seen_by_second[0].now),
        since(edge.now),
        age(&seen_by_second, answered + 1000.0),
        age(&seen_by_first, answered + 1000.0),
        common.len(),
    );
}
