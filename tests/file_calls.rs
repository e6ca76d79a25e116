//! Lines that play files, called from a browser.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod clip;
    pub mod daemon;
    pub mod http;
}

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::browser::Browser;
use support::clip::{B_FRAMES, Clip, FPS, H264_AAC, VP8_OPUS};
use support::daemon::{Daemon, field};

/// What the clips sound: whole waves in a second, so that a seam has no click of its own.
const TONE_HZ: u32 = 440;

/// A daemon with these lines, each a file and what else is said of it.
fn daemon(folder: &Path, lines: &[(&str, &Path, &str)]) -> Daemon {
    let mut configuration = format!(
        "data_dir = {:?}\n[nostr]\nembedded_relay = \"127.0.0.1:0\"\n[access]\nallow = [\"*\"]\n",
        folder.join("data")
    );
    for (name, file, more) in lines {
        configuration.push_str(&format!("[[line]]\nname = \"{name}\"\nplay = \"file://{}\"\n{more}\n", file.display()));
    }
    Daemon::run(folder, &configuration, lines.len())
}

/// A browser with the page as a file, ready to call the line.
async fn open(page: &Browser, daemon: &Daemon, line: &str) {
    let ready = daemon.stdout_lines(1);
    let ready = ready.iter().find(|ready| ready.split_whitespace().next() == Some(line)).unwrap();
    let [_, npub, _, relay] = ready.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{ready}") };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html");
    page.open(&format!("file://{file}#npub={npub}&relay={relay}&name={line}")).await;
}

async fn call(page: &Browser, daemon: &Daemon, line: &str) {
    open(page, daemon, line).await;
    page.click("#call").await;
    page.wait_for_js("callgate.state === 'live'").await;
}

async fn hears_the_tone(page: &Browser, line: &str) {
    let tone = page.tone(f64::from(TONE_HZ), 30_000).await;
    assert!(tone.at > -60.0 && tone.at > tone.elsewhere + 30.0, "{line}: {tone:?}");
    let silence = page.tone(f64::from(TONE_HZ) * 2.7, 0).await;
    assert!(silence.at < tone.at - 30.0, "{line}: {silence:?} beside {tone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_sees_and_hears_files_of_all_kinds() {
    // Given an mp4, another as encoders make it when nobody says otherwise, a webm and an mp3, repeated for a slow machine's sake
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let clip = Clip { tone: TONE_HZ, ..Clip::lasting(4) };
    let plain = clip.make(&file("plain.mp4"), H264_AAC);
    let film = clip.make(&file("film.mp4"), B_FRAMES);
    let webm = clip.make(&file("clip.webm"), VP8_OPUS);
    let song = Clip { pictures: 0, ..clip }.make(&file("song.mp3"), &["-c:a", "libmp3lame"]);
    let lines = [("plain", &plain), ("film", &film), ("webm", &webm), ("song", &song)];
    let lines = lines.map(|(name, file)| (name, file.as_path(), "loop = true"));
    let daemon = daemon(folder.path(), &lines);
    let page = Browser::start_plain().await;

    for (line, has_pictures) in [("plain", true), ("film", true), ("webm", true), ("song", false)] {
        // When it is called
        call(&page, &daemon, line).await;

        // Then pictures come, one after the other
        if has_pictures {
            let before = page.decoded_frames().await;
            let stamps = page.stamps(2 * FPS as u32).await;
            assert!(page.decoded_frames().await >= before + 25, "{line}");
            let forward = stamps.windows(2).filter(|pair| pair[0].shown < pair[1].shown).count();
            let length = 4 * FPS as u32;
            assert!(stamps.iter().all(|stamp| stamp.shown < length), "{line}: {stamps:?}");
            // Once at most it begins again.
            assert!(forward + 2 >= stamps.len() - 1, "{line}: {stamps:?}");
        }
        // and the tone is heard, and no other
        hears_the_tone(&page, line).await;
        page.click("#hangup").await;
    }
}

/// Notes the number in each picture that is shown, and its RTP time.
const SEE_NUMBERS: &str = "
    const video = document.querySelector('video');
    const pen = new OffscreenCanvas(512, 16).getContext('2d', { willReadFrequently: true });
    window.seen = [];
    const note = (_, frame) => {
      pen.drawImage(video, 0, 0, 512, 16, 0, 0, 512, 16);
      const { data } = pen.getImageData(0, 0, 512, 16);
      let shown = 0;
      for (let block = 0; block < 32; block++) shown = shown * 2 + (data[(8 * 512 + block * 16 + 8) * 4 + 1] > 127 ? 1 : 0);
      seen.push([shown, frame.rtpTimestamp]);
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);";

/// How long the repeated clip is watched, in seconds: `CALLGATE_LOOP_SECONDS=60` takes the time for a closer look.
fn watched() -> Duration {
    let seconds = std::env::var("CALLGATE_LOOP_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(16))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_sees_a_clip_repeat_without_a_jump() {
    // Given a clip of 5 s, repeated
    const PICTURES: i64 = 5 * FPS as i64;
    const STEP: f64 = 90_000.0 / FPS as f64;
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip { tone: TONE_HZ, ..Clip::lasting(5) }.make(&folder.path().join("clip.mp4"), H264_AAC);
    let daemon = daemon(folder.path(), &[("clip", &clip, "loop = true")]);
    let page = Browser::start_plain().await;
    page.see_peers().await;

    // When it is watched for some of its repetitions
    call(&page, &daemon, "clip").await;
    page.run(SEE_NUMBERS, Value::Null).await.unwrap();
    let wanted = watched().as_secs() * 90_000;
    let begun = Instant::now();
    page.run(
        "const until = performance.now() + args.patience;
         while (!(seen.length > 1 && seen.at(-1)[1] - seen[0][1] >= args.wanted)) {
           if (performance.now() > until) throw new Error(`only ${seen.length} pictures`);
           await new Promise((resolve) => setTimeout(resolve, 100));
         }",
        json!({ "wanted": wanted.min(50 * 90_000), "patience": 58_000 }),
    )
    .await
    .unwrap();
    while begun.elapsed() < watched() {
        page.stamps(FPS as u32).await;
    }
    hears_the_tone(&page, "clip").await;

    // Then each picture's number is what its time says, over all seams: where one came too early, too late, twice or not at all, all
    // that follow would be off
    let seen: Vec<(i64, f64)> = serde_json::from_value(page.js("seen").await).unwrap();
    let (first_number, first_time) = seen[0];
    let off: Vec<i64> = seen
        .iter()
        .map(|&(number, time)| {
            let steps = ((time - first_time).rem_euclid(4_294_967_296.0) / STEP).round() as i64;
            // The shorter way around the clip.
            (number - first_number - steps + PICTURES / 2).rem_euclid(PICTURES) - PICTURES / 2
        })
        .collect();
    // A page that has too much to do reads the next picture when it was told of this one.
    let late = off.iter().filter(|off| **off != 0).count();
    assert!(off.iter().all(|off| (0..=2).contains(off)) && late * 5 <= off.len(), "{off:?} {seen:?}");
    // and its times go forward all the time
    let steps: Vec<f64> = seen.windows(2).map(|pair| (pair[1].1 - pair[0].1).rem_euclid(4_294_967_296.0)).collect();
    assert!(steps.iter().all(|step| *step > 0.0 && *step < 90_000.0), "{steps:?}");
    let counted = page.counted().await;
    println!(
        "watched for {:.1} s: {} pictures of {} noted, {late} late; {counted:?}",
        begun.elapsed().as_secs_f64(),
        seen.len(),
        ((seen[seen.len() - 1].1 - first_time) / STEP).round() + 1.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_hears_in_words_that_a_file_is_over_or_cannot_be_played() {
    // Given a clip that is played once, and files that are missing, empty and none
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let clip = Clip { tone: TONE_HZ, ..Clip::lasting(2) }.make(&file("clip.mp4"), H264_AAC);
    let (missing, empty, letter) = (file("missing.mp4"), file("empty.mp4"), file("letter.mp4"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&letter, "Dear Sir or Madam,\n".repeat(1000)).unwrap();
    let daemon = daemon(
        folder.path(),
        &[("clip", &clip, ""), ("missing", &missing, ""), ("empty", &empty, ""), ("letter", &letter, "")],
    );
    let page = Browser::start_plain().await;

    for (line, reason, words, cause) in [
        ("missing", "unplayable", "cannot be played", "there is no such file"),
        ("empty", "unplayable", "cannot be played", "it is empty"),
        ("letter", "unplayable", "cannot be played", "letter.mp4"),
        ("clip", "played_out", "The recording is over.", "The recording is over."),
    ] {
        // When it is called
        open(&page, &daemon, line).await;
        page.click("#call").await;

        // Then the call ends with words, and the log has the reason
        let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
        assert!(error["words"].as_str().unwrap().contains(words), "{line}: {error}");
        let ended = daemon.logged(|record| field(record, "message") == "call ended" && field(record, "line") == line);
        assert_eq!(field(&ended, "reason"), reason);
        assert!(field(&ended, "cause").contains(cause), "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_callers_of_a_line_each_see_its_file_from_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip { tone: TONE_HZ, ..Clip::lasting(30) }.make(&folder.path().join("clip.mp4"), H264_AAC);
    let daemon = daemon(folder.path(), &[("clip", &clip, "")]);
    let (first, second) = tokio::join!(Browser::start_plain(), Browser::start_plain());

    call(&first, &daemon, "clip").await;
    first.run(SEE_NUMBERS, Value::Null).await.unwrap();
    first.wait_for_js("seen.at(-1)?.[0] >= 200").await;
    call(&second, &daemon, "clip").await;
    second.run(SEE_NUMBERS, Value::Null).await.unwrap();
    second.wait_for_js("seen.length > 0").await;

    // The second sees an earlier picture than the first saw before the second called, while that one goes on.
    let begins = second.js("seen[0][0]").await.as_u64().unwrap();
    assert!(begins < 200, "{begins}");
    first.wait_for_js("seen.at(-1)?.[0] >= 250").await;
}
