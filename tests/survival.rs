//! What calls live through (a camera that dies, a relay that goes, another caller who vanishes), and how they end when they must.
#![cfg(feature = "daemon")]

#[allow(dead_code)]
mod support {
    pub mod daemon;
    pub mod gate;
    pub mod http;
    pub mod relay;
}

use std::time::Instant;

use callgate::gateway::DialEnd;
use callgate::protocol::{Dialect, EndWord};
use support::daemon::field;
use support::gate::{Camera, Gate, Watcher, assert_a_run, sent, told};
use support::relay::{Behaviour, TestRelay};

const PATTERN: &str = "test://?width=320&height=180&fps=10";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_stay_up_while_the_camera_is_dead_and_the_picture_returns_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::small(&folder.path().join("before.h264"), &[]);
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("door", &camera.url)], "");
    let mut watchers = [Watcher::call(&gate, 0).await, Watcher::call(&gate, 0).await];
    for watcher in &mut watchers {
        watcher.pictures(10).await;
    }
    let port = camera.port();

    camera.kill();
    gate.daemon.logged(|record| field(record, "message") == "source lost, opening it again");
    let state = gate.state(0).await;
    assert_eq!(state["state"], "reopening", "{state}");
    assert!(state["error"].as_str().is_some_and(|error| !error.is_empty()), "in words: {state}");
    // Tried in vain, too.
    gate.daemon.logged(|record| record["tries"].as_u64() >= Some(2));
    let after = folder.path().join("after.h264");
    let _camera = Camera::small(&after, &["--port", &port]);
    let ready = Instant::now();

    for watcher in &mut watchers {
        let back = watcher.picture_after(ready).await;
        println!("the picture is back {} ms after the camera", (back.arrived - ready).as_millis());
        assert!(back.keyframe, "what returns can be shown");
        watcher.pictures(10).await;
    }
    gate.daemon.logged_times(2, |record| field(record, "message") == "source open");
    assert_eq!(gate.state(0).await["state"], "open");
    let calls = gate.calls().await;
    for mut watcher in watchers {
        assert_eq!(watcher.answers(), 1, "no other answer was needed");
        assert!(calls.iter().any(|call| call["session"] == watcher.session.as_str() && call["state"] == "live"));
        let got = watcher.all_seen();
        assert!(got.len() > 10);
        assert_a_run(&got, &sent(&after));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_on_without_the_relay_and_a_new_one_works_when_it_is_back() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("picture", PATTERN)], "");
    let mut watcher = Watcher::call(&gate, 0).await;
    watcher.pictures(3).await;

    relay.stop().await;
    gate.daemon.logged(|record| field(record, "message") == "relay disconnected");
    watcher.picture_after(Instant::now()).await;
    watcher.pictures(20).await;
    assert_eq!(gate.call_of(&watcher.session).await["state"], "live");

    relay.restart().await;
    gate.daemon.logged_times(2, |record| field(record, "message") == "relay connected");
    let mut second = Watcher::call(&gate, 0).await;
    second.pictures(5).await;
    watcher.picture_after(Instant::now()).await;
    assert_eq!(gate.calls().await.len(), 2);
    assert_eq!(watcher.answers(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_hangs_up_every_call_politely_and_ends_with_0() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("picture", PATTERN)], "");
    let mut watchers = Vec::new();
    for _ in 0..3 {
        // Plain, so that the relay can tell what comes.
        let mut watcher = Watcher::call_in(Some(Dialect::Plain), &gate, 0).await;
        watcher.picture().await;
        watchers.push(watcher);
    }

    let (code, log) = gate.terminate();

    assert_eq!(code, Some(0));
    assert_eq!(relay.count(14303), 3, "a call_end for each");
    for mut watcher in watchers {
        let ended = watcher.end().await;
        let DialEnd::LineEnded { reason: EndWord::UserLeft, detail: Some(detail) } = &ended else {
            panic!("{ended:?}")
        };
        assert_eq!(detail, "The gateway is shutting down.");
        let entry = log.iter().find(|call| call["session"] == watcher.session.as_str()).expect("logged");
        assert_eq!((entry["reason"].as_str(), entry["origin"].as_str()), (Some("shutdown"), Some("operator")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_vanish_are_noticed_and_leave_the_other_call_alone() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("picture", PATTERN)], "");
    let mut stays = Watcher::call(&gate, 0).await;
    stays.picture().await;
    let killed = gate.call(0, &[]);
    let killed_session = told(&killed, "ringing")["session"].as_str().unwrap().to_owned();
    told(&killed, "first_frame");
    let mut dropped = Watcher::call(&gate, 0).await;
    dropped.picture().await;
    let dropped_session = dropped.session.clone();

    // SIGKILL: neither a call_end nor a word of DTLS.
    drop(killed);
    drop(dropped);

    for session in [&killed_session, &dropped_session] {
        let ended = gate.ended(session);
        assert_eq!(field(&ended, "reason"), "caller_gone", "{ended}");
        let entry = gate.log_of(session);
        assert_eq!((entry["reason"].as_str(), entry["origin"].as_str()), (Some("caller_gone"), Some("network")));
    }
    stays.picture_after(Instant::now()).await;
    let call = gate.call_of(&stays.session).await;
    assert_eq!((call["state"].as_str(), call["stats"]["frames_skipped"].as_u64()), (Some("live"), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_cannot_be_had_is_a_refusal_in_words_and_the_log_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::small(&folder.path().join("sent.h264"), &["--user", "someone", "--password", "right"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("rtsp://127.0.0.1:{}/nothing", free.local_addr().unwrap().port());
    drop(free);
    let relay = TestRelay::start(Behaviour::Honest).await;
    let wrong = camera.url.replace("right", "wrong");
    let gate = Gate::run(&relay.url(), &[("locked", &wrong), ("dead", &dead), ("good", &camera.url)], "");

    for (line, cause) in [(0, "the camera refuses the user name or password"), (1, "the camera cannot be reached")] {
        let mut watcher = Watcher::call(&gate, line).await;
        let end = watcher.end().await;
        let DialEnd::Refused { detail: Some(detail) } = &end else { panic!("not refused in words: {end:?}") };
        assert_eq!(detail, "What this line connects to cannot be reached.");
        let ended = gate.ended(&watcher.session);
        assert_eq!((field(&ended, "reason"), field(&ended, "cause")), ("endpoint_failed", cause), "{ended}");
    }

    let mut watcher = Watcher::call(&gate, 2).await;
    watcher.pictures(3).await;
    assert!(!gate.daemon.written().contains("wrong"), "no password in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_hangs_up_one_call() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("picture", PATTERN)], "");
    let (mut one, mut other) = (Watcher::call(&gate, 0).await, Watcher::call(&gate, 0).await);
    one.picture().await;
    other.picture().await;
    let id = gate.call_of(&one.session).await["id"].as_str().unwrap().to_owned();

    let answer = gate.api("DELETE", &format!("/api/calls/{id}")).await;

    assert_eq!(answer.status, 204);
    let DialEnd::LineEnded { reason: EndWord::UserLeft, .. } = one.end().await else { panic!("not hung up") };
    assert_eq!(field(&gate.ended(&one.session), "reason"), "operator_left");
    other.picture_after(Instant::now()).await;
    assert_eq!(gate.api("DELETE", "/api/calls/c99").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lines_with_two_cameras_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let copies = ["front", "back"].map(|name| folder.path().join(name));
    // Otherwise two test pictures that were begun in the same second are the same.
    let cameras =
        [("320", &copies[0]), ("352", &copies[1])].map(|(width, copy)| Camera::small(copy, &["--width", width]));
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = Gate::run(&relay.url(), &[("front", &cameras[0].url), ("back", &cameras[1].url)], "");
    let mut watchers = [Watcher::call(&gate, 0).await, Watcher::call(&gate, 1).await];

    for watcher in &mut watchers {
        watcher.pictures(20).await;
    }

    for (watcher, copy) in watchers.into_iter().zip(&copies) {
        let got = watcher.hang_up().await;
        assert!(got.len() >= 20);
        assert_a_run(&got, &sent(copy));
    }
    let [front, back] = copies.map(|copy| sent(&copy));
    assert!(front.iter().all(|picture| !back.contains(picture)), "two cameras never send the same picture");
}
