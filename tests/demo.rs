//! `callgate demo` as a person meets it: the URL that it prints, the page behind it in a real browser, and its end.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod daemon;
    pub mod http;
}

use std::path::PathBuf;

use serde_json::json;
use support::browser::Browser;
use support::daemon::{Daemon, field, signal};

/// What the demo's camera plays.
const TONE_HZ: f64 = 440.0;

fn screenshots() -> PathBuf {
    let folder = std::env::var_os("CALLGATE_SCREENSHOTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A demo on free ports, and the URL that it ends its greeting with.
fn demo() -> (Daemon, String) {
    let demo = Daemon::start(&["demo", "--port", "0", "--relay-port", "0"]);
    let url = demo.stdout_lines(3).pop().unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    (demo, url)
}

/// A browser as it comes, with the page at `url`.
async fn visitor(url: &str) -> Browser {
    let browser = Browser::start_plain().await;
    browser.see_peers().await;
    browser.open(url).await;
    browser
}

async fn call(page: &Browser) {
    page.click("#call").await;
    page.wait_for_js("callgate.state === 'live' && callgate.stats?.fps > 5").await;
}

/// Waits until so many calls have ended for this reason.
fn ended(demo: &Daemon, calls: usize, reason: &str) {
    demo.logged_times(calls, |record| field(record, "message") == "call ended" && field(record, "reason") == reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demos_url_leads_to_a_moving_picture_and_a_tone_in_a_browser() {
    // Given a demo, and a browser that hides its addresses behind .local names, as they do
    let (demo, url) = demo();
    let page = visitor(&url).await;
    page.size(1280, 800, false).await;
    page.wait_for_js("callgate.lines?.length === 1").await;
    page.screenshot(&screenshots().join("demo-ready-desktop.png")).await;

    // When Call is pressed
    call(&page).await;
    let offered = page.counted().await.candidates;
    assert!(!offered.is_empty() && offered.iter().all(|candidate| candidate.contains(".local ")), "{offered:?}");

    // Then the gateway answers wrapped, as it was called, and there is a moving picture
    assert_eq!(page.js("callgate.dialect").await, "wrapped");
    let before = page.decoded_frames().await;
    let first = page.picture().await;
    let stamps = page.stamps(25).await;
    let second = page.picture().await;
    assert!(page.decoded_frames().await >= before + 25);
    assert!(first.difference(&second) > 0.5, "{}", first.difference(&second));
    assert!(stamps.windows(2).all(|pair| pair[0].shown < pair[1].shown), "{stamps:?}");
    // and the camera's tone, and no other
    let tone = page.tone(TONE_HZ, 20_000).await;
    assert!(tone.at > -60.0 && tone.at > tone.elsewhere + 30.0, "{tone:?}");
    let silence = page.tone(TONE_HZ * 2.7, 0).await;
    assert!(silence.at < tone.at - 30.0, "{silence:?} beside {tone:?}");
    // and nothing is wrong, and what can't be done is not offered
    assert_eq!(page.js("[callgate.error ?? null, callgate.notice ?? null]").await, json!([null, null]));
    assert_eq!(page.js("document.querySelector('#mic').disabled").await, true, "the demo takes no voice");
    page.screenshot(&screenshots().join("demo-live-desktop.png")).await;
    page.size(360, 740, true).await;
    page.screenshot(&screenshots().join("demo-live-phone.png")).await;

    // When the person hangs up, page and gateway agree on it
    page.click("#hangup").await;
    assert_eq!(page.js("[callgate.state, callgate.error ?? null]").await, json!(["ended", null]));
    assert_eq!(page.text("#state").await, "Ended");
    assert_eq!(page.text("#hint").await, "The call is over.");
    page.screenshot(&screenshots().join("demo-over-phone.png")).await;
    ended(&demo, 1, "caller_left");

    // When Call is pressed again, it works again
    call(&page).await;
    let before = page.decoded_frames().await;
    page.stamps(10).await;
    assert!(page.decoded_frames().await >= before + 10);

    assert_eq!(page.console_errors().await, Vec::<String>::new());

    // When the page is closed, the gateway notices
    page.open("about:blank").await;
    ended(&demo, 2, "caller_left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_is_stopped_says_so_to_its_callers_and_ends_well() {
    let (demo, url) = demo();
    let page = visitor(&url).await;
    call(&page).await;

    // When it is told to stop
    demo.terminate();

    // Then the caller reads so in words
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "line-ended", "{error}");
    assert!(error["words"].as_str().unwrap().contains("shutting down"), "{error}");
    assert!(page.text("#trouble").await.contains("shutting down"));
    page.size(360, 740, true).await;
    page.screenshot(&screenshots().join("demo-stopped-phone.png")).await;
    page.size(1280, 800, false).await;
    page.screenshot(&screenshots().join("demo-stopped-desktop.png")).await;

    // and the process ends as asked, with its call in the log
    ended(&demo, 1, "shutdown");
    let (status, log) = demo.exit();
    assert_eq!(status.code(), Some(0), "{log}");

    // When Call is pressed now, that nobody is there is said too
    page.click("#call").await;
    page.wait_for_js("callgate.error?.code === 'relays-unreachable'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_demo_at_once() {
    let (demo, url) = demo();
    let page = visitor(&url).await;
    call(&page).await;

    // When two signals come so close together that nothing is done between them
    for name in ["STOP", "TERM", "INT", "CONT"] {
        signal(demo.pid(), name);
    }

    // Then nothing is waited for, and it is said why
    let (status, log) = demo.exit();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("ended at once, on a second signal"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_calls_the_demo_also_when_it_is_a_file() {
    // Given the page as a file, with the fragment of the demo's URL
    let (demo, url) = demo();
    let (_, fragment) = url.split_once('#').unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html");
    let page = visitor(&format!("file://{file}#{fragment}")).await;
    assert_eq!(page.text("#who").await, "demo");

    // When Call is pressed
    call(&page).await;

    // Then picture and tone come as to the page that the demo serves
    let stamps = page.stamps(10).await;
    assert!(stamps.windows(2).all(|pair| pair[0].shown < pair[1].shown), "{stamps:?}");
    let tone = page.tone(TONE_HZ, 20_000).await;
    assert!(tone.at > -60.0 && tone.at > tone.elsewhere + 30.0, "{tone:?}");
    page.click("#hangup").await;
    ended(&demo, 1, "caller_left");
    assert_eq!(page.console_errors().await, Vec::<String>::new());
}
