//! The page's list of recordings in a real browser: it shows them, marks what is in progress, and plays with seeking.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod daemon;
    pub mod gate;
    pub mod http;
    pub mod relay;
}

use std::path::PathBuf;

use serde_json::json;
use support::browser::Browser;
use support::daemon::field;
use support::gate::{Gate, Watcher};
use support::http;
use support::relay::{Behaviour, TestRelay};

const TABLES: &str = "[[line]]\nname = \"door\"\nrecord = \"line\"\n\
    play = \"test://?width=320&height=180&fps=15&bitrate=300&keyframe=1\"\n";

/// Where screenshots go that are kept.
fn screenshots() -> PathBuf {
    let folder = std::env::var_os("CALLGATE_SCREENSHOTS")
        .map_or_else(|| std::env::temp_dir().join("callgate-screenshots"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A recording that is done, of some seconds, and one that is in progress.
async fn recorded(gate: &Gate) -> Watcher {
    let mut watcher = Watcher::call(gate, 0).await;
    gate.daemon.logged(|record| field(record, "message") == "recording");
    watcher.pictures(100).await;
    watcher.hang_up().await;
    gate.daemon.logged(|record| field(record, "message") == "recording complete");
    let mut watcher = Watcher::call(gate, 0).await;
    gate.daemon.logged_times(2, |record| field(record, "message") == "recording");
    watcher.pictures(10).await;
    watcher
}

/// What the player shows, as a small picture; 64 by 36 brightnesses.
const SHOWN: &str = "(() => { const canvas = new OffscreenCanvas(64, 36).getContext('2d'); \
    canvas.drawImage(document.getElementById('player'), 0, 0, 64, 36); \
    return [...canvas.getImageData(0, 0, 64, 36).data].filter((_, index) => index % 4 === 1); })()";

async fn shown(page: &Browser) -> Vec<i64> {
    page.js(SHOWN).await.as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect()
}

/// Goes to a moment of the recording, and waits until it is shown.
async fn seek(page: &Browser, seconds: f64) {
    page.js(&format!(
        "new Promise((resolve) => {{ const player = document.getElementById('player'); player.pause(); \
         player.addEventListener('seeked', () => resolve(true), {{ once: true }}); player.currentTime = {seconds}; }})"
    ))
    .await;
    let at = page.js("document.getElementById('player').currentTime").await.as_f64().unwrap();
    assert!((at - seconds).abs() < 0.5, "asked for {seconds}, got {at}");
}

async fn plays_with_seeking(page: &Browser) {
    page.wait_for_js("document.querySelectorAll('#recordings li').length === 2").await;
    let badges = page
        .js("[...document.querySelectorAll('#recordings li')].map((item) => item.querySelector('.badge') !== null)");
    assert_eq!(badges.await, json!([true, false]), "the newest first, and it is in progress");
    page.wait_for_js("[...document.querySelectorAll('#recordings img')].some((poster) => poster.complete && poster.naturalWidth > 0)")
        .await;
    page.screenshot(&screenshots().join("recordings.png")).await;

    page.click("#recordings li:last-child button").await;
    let player = "document.getElementById('player')";
    page.wait_for_js(&format!("{player}.readyState >= 2 && {player}.currentTime > 0.2")).await;
    let length = page.js(&format!("{player}.duration")).await.as_f64().unwrap();
    assert!(length > 5.0 && length.is_finite(), "{length}");
    seek(page, length - 1.5).await;
    let late = shown(page).await;
    seek(page, 1.0).await;
    let early = shown(page).await;
    // The picture has a clock in it, and a ball that moves.
    assert_ne!(early, late);
    seek(page, length - 1.5).await;
    assert_eq!(shown(page).await, late, "the same moment shows the same picture");
    page.js(&format!("{player}.play()")).await;
    page.wait_for_js(&format!("{player}.ended")).await;
    page.screenshot(&screenshots().join("recording-played.png")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_lists_recordings_with_posters_and_plays_them_with_seeking() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run_tables(&relay.url(), TABLES, 1);
    let _live = recorded(&gate).await;
    let page = Browser::start_plain().await;

    page.open(&format!("http://{}/", gate.api)).await;

    plays_with_seeking(&page).await;
    assert_eq!(page.console_errors().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_token_recordings_are_listed_and_played_by_who_has_it() {
    // Given a gateway with a token, which its recordings need
    let relay = TestRelay::start(Behaviour::Honest).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "0123456789abcdef0123456789abcdef").unwrap();
    let tables = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n[access]\nallow = [\"*\"]\n{TABLES}",
        token.path().display()
    );
    let gate = Gate::run_bare(&relay.url(), &tables, 1);
    let _live = recorded(&gate).await;
    let host = gate.api.to_string();
    let ask = async |path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        http::request(gate.api, "GET", path, &[("Host", &host), ("Authorization", &bearer)], "").await.unwrap()
    };
    let listed = ask("/api/recordings", "0123456789abcdef0123456789abcdef").await.json();
    let media = listed["recordings"][1]["media"].as_str().unwrap();
    let (bare, _ticket) = media.split_once('?').unwrap();
    assert_eq!(ask("/api/recordings", "wrong").await.status, 401);
    assert_eq!(ask(bare, "wrong").await.status, 401);
    assert_eq!(ask(media, "wrong").await.status, 200, "its ticket is enough to look");

    // When the page is opened, it asks for the token
    let page = Browser::start_plain().await;
    page.open(&format!("http://{}/", gate.api)).await;
    page.wait_for_js("!document.getElementById('recordings-token').hidden").await;
    page.fill("#token", "wrong").await;
    page.click("#recordings-token button").await;
    assert_eq!(
        page.wait_for_js("document.getElementById('token-trouble').textContent").await,
        "That is not the token."
    );
    page.fill("#token", "0123456789abcdef0123456789abcdef").await;
    page.click("#recordings-token button").await;

    // Then it lists and plays
    plays_with_seeking(&page).await;
}
