//! Recordings: written while calls are on, listed, streamed, verified and deleted; what survives a lost database, a full disk and a kill.
#![cfg(feature = "daemon")]

#[allow(dead_code)]
mod support {
    pub mod daemon;
    pub mod gate;
    pub mod http;
    pub mod relay;
}

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::daemon::field;
use support::gate::{Gate, Watcher};
use support::http::{self, Answer};
use support::relay::{Behaviour, TestRelay};

/// A picture that costs little and has a keyframe each second.
const PICTURE: &str = "test://?width=160&height=90&fps=15&bitrate=400&keyframe=1";

/// One that fills no disk however long it is recorded.
const STILL: &str = "test://?width=64&height=64&fps=2&bitrate=50&keyframe=2&tone=0";

/// A line whose own side is recorded; `recording` are the keys of that table.
fn recorded(recording: &str) -> String {
    format!(
        "[recording]\n{recording}\n[[line]]\nname = \"door\"\nplay = \"{PICTURE}\"\nrecord = \"line\"\n\
         [[line]]\nname = \"yard\"\nplay = \"{STILL}\"\n"
    )
}

async fn run(relay: &TestRelay, recording: &str) -> Gate {
    Gate::run_tables(&relay.url(), &recorded(recording), 2)
}

async fn ask(gate: &Gate, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let host = gate.api.to_string();
    let headers = [&[("Host", host.as_str())], headers].concat();
    http::request(gate.api, method, path, &headers, body).await.unwrap()
}

async fn list(gate: &Gate, query: &str) -> Vec<Value> {
    let answer = ask(gate, "GET", &format!("/api/recordings{query}"), &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["recordings"].as_array().unwrap().clone()
}

fn said(gate: &Gate, message: &str, times: usize) -> Vec<Value> {
    gate.daemon.logged_times(times, |record| field(record, "message") == message)
}

/// A call that is being recorded: pictures come, and its file grows.
async fn recorded_call(gate: &Gate, nth: usize) -> Watcher {
    let mut watcher = Watcher::call(gate, 0).await;
    said(gate, "recording", nth);
    watcher.pictures(20).await;
    watcher
}

fn folder(gate: &Gate) -> PathBuf {
    gate.folder().join("data/recordings")
}

fn sidecar(gate: &Gate, recording: &Value) -> Value {
    let file = format!("{}.json", recording["file"].as_str().unwrap());
    serde_json::from_slice(&std::fs::read(folder(gate).join(file)).unwrap()).unwrap()
}

/// Bytes of all files in a folder, however deep.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            Ok(metadata) => metadata.len(),
            // Deleted meanwhile.
            Err(_) => 0,
        })
        .sum()
}

fn cli(gate: &Gate, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = gate.command(&[&["recordings"], arguments, &["--json"]].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_recorded_from_its_first_second_and_can_be_found_streamed_verified_and_deleted() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = run(&relay, "").await;

    // Given a call that is on
    let watcher = recorded_call(&gate, 1).await;

    // Then its recording is there, and stays
    let live = list(&gate, "").await.remove(0);
    assert_eq!((&live["in_progress"], &live["end"], &live["line"]), (&json!(true), &json!("open"), &json!("door")));
    let id = live["id"].as_str().unwrap().to_owned();
    let beside = sidecar(&gate, &live);
    assert_eq!((&beside["id"], &beside["end"], &beside["sha256"]), (&json!(id), &json!("open"), &Value::Null));
    assert_eq!(beside["caller"], watcher.npub());
    let refused = ask(&gate, "DELETE", &format!("/api/recordings/{id}"), &[], "").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(!gate.command(&["recordings", "delete", &id]).status.success());

    // When the call ends
    let (caller, session) = (watcher.npub(), watcher.session.clone());
    watcher.hang_up().await;
    said(&gate, "recording complete", 1);

    // Then all is known of it
    let done = list(&gate, "").await.remove(0);
    let file = folder(&gate).join(done["file"].as_str().unwrap());
    let media = std::fs::read(&file).unwrap();
    let sha256: String = Sha256::digest(&media).iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = [
        ("id", json!(id)),
        ("caller", json!(caller)),
        ("session", json!(session)),
        ("end", json!("hung_up")),
        ("in_progress", json!(false)),
        ("bytes", json!(media.len())),
        ("sha256", json!(sha256)),
        ("line_npub", json!(gate.npubs[0])),
    ];
    for (name, value) in expected {
        assert_eq!(done[name], value, "{name}");
    }
    let tracks = done["tracks"].as_array().unwrap();
    assert!(tracks.contains(&json!({ "side": "line", "kind": "video", "codec": "H264" })), "{tracks:?}");
    assert!(done["started"].as_str().unwrap() < done["ended"].as_str().unwrap());
    for name in ["end", "bytes", "sha256", "started", "ended", "tracks"] {
        assert_eq!(sidecar(&gate, &done)[name], done[name], "{name}");
    }
    assert!(support::gate::recorded(&file).len() >= 15);

    // and it is found by its line, its caller and its time
    let day = &done["started"].as_str().unwrap()[..10];
    for query in ["?line=door", &format!("?caller={caller}"), &format!("?from={day}&to=2999-01-01"), "?limit=1"] {
        assert_eq!(list(&gate, query).await.len(), 1, "{query}");
    }
    let other = &gate.npubs[1];
    for query in
        ["?line=yard", &format!("?caller={other}"), "?to=2020-01-01", "?from=2999-01-01", &format!("?before={id}")]
    {
        assert_eq!(list(&gate, query).await.len(), 0, "{query}");
    }
    for query in ["?lien=door", "?caller=x", "?from=yesterday", "?limit=-1"] {
        assert_eq!(ask(&gate, "GET", &format!("/api/recordings{query}"), &[], "").await.status, 400, "{query}");
    }

    // and streamed in pieces
    let path = done["media"].as_str().unwrap();
    let whole = ask(&gate, "GET", path, &[], "").await;
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, Some("bytes")));
    assert_eq!(whole.header("content-type"), Some("video/x-matroska"));
    assert!(whole.body == media);
    let piece = ask(&gate, "GET", path, &[("Range", "bytes=10-19")], "").await;
    assert_eq!((piece.status, &piece.body[..]), (206, &media[10..20]));
    assert_eq!(piece.header("content-range"), Some(format!("bytes 10-19/{}", media.len()).as_str()));
    let end = ask(&gate, "GET", path, &[("Range", "bytes=-7")], "").await;
    assert_eq!((end.status, &end.body[..]), (206, &media[media.len() - 7..]));
    let beyond = ask(&gate, "GET", path, &[("Range", "bytes=999999999-")], "").await;
    assert_eq!(beyond.status, 416);

    // and its poster is a picture of it
    let poster = ask(&gate, "GET", done["poster"].as_str().unwrap(), &[], "").await;
    assert_eq!((poster.status, poster.header("content-type")), (200, Some("image/jpeg")));
    assert!(poster.body.starts_with(&[0xff, 0xd8]) && poster.body.ends_with(&[0xff, 0xd9]));

    // and it is exported to a file that plays while it is loaded
    let exported = gate.folder().join("x.mp4");
    let export = ["recordings", "export", &id, "--out", exported.to_str().unwrap(), "--from", "0s", "--to", "1s"];
    let output = gate.command(&export);
    assert!(output.status.success(), "{output:?}");
    let mp4 = std::fs::read(&exported).unwrap();
    let at = |name: &[u8]| mp4.windows(4).position(|bytes| bytes == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"));

    // and the command line says the same
    let (_, shown) = cli(&gate, &["show", &id]);
    assert_eq!((&shown["sha256"], &shown["file"]), (&done["sha256"], &done["file"]));
    let (_, listed) = cli(&gate, &["list", "--line", "door", "--caller", &caller, "--from", day]);
    assert_eq!(listed["recordings"].as_array().unwrap().len(), 1);
    assert_eq!(
        cli(&gate, &["verify"]),
        (Some(0), json!({ "recordings": [{ "id": id, "file": done["file"], "verdict": "good" }] }))
    );
    let mut changed = media.clone();
    changed[media.len() / 2] ^= 1;
    std::fs::write(&file, changed).unwrap();
    let (code, verdict) = cli(&gate, &["verify", &id]);
    assert_eq!((code, &verdict["recordings"][0]["verdict"]), (Some(1), &json!("changed")));

    // When it is deleted, nothing of it stays
    let deleted = ask(&gate, "DELETE", &format!("/api/recordings/{id}"), &[], "").await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    assert_eq!(list(&gate, "").await.len(), 0);
    assert_eq!(std::fs::read_dir(folder(&gate)).unwrap().count(), 0);
    assert_eq!(ask(&gate, "GET", path, &[], "").await.status, 404);
    assert_eq!(ask(&gate, "DELETE", &format!("/api/recordings/{id}"), &[], "").await.status, 404);
    assert!(!gate.command(&["recordings", "show", &id]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_shows_what_it_sees_to_whoever_asks_also_when_nobody_calls() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = run(&relay, "").await;

    let snapshot = ask(&gate, "GET", "/api/lines/door/snapshot.jpg", &[], "").await;

    assert_eq!((snapshot.status, snapshot.header("content-type")), (200, Some("image/jpeg")));
    assert!(snapshot.body.starts_with(&[0xff, 0xd8]));
    assert_eq!(ask(&gate, "GET", "/api/lines/none/snapshot.jpg", &[], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_recorded_without_a_call_until_it_is_stopped_or_has_had_its_time() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = run(&relay, "").await;
    let order =
        async |line: &str, body: &str| ask(&gate, "POST", &format!("/api/lines/{line}/record"), &[], body).await;

    let begun = order("yard", r#"{"action":"start"}"#).await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    assert_eq!(order("yard", r#"{"action":"start"}"#).await.status, 409);
    assert_eq!(order("none", r#"{"action":"start"}"#).await.status, 404);
    assert_eq!(order("door", r#"{"action":"stop"}"#).await.status, 409);
    for bad in
        ["", "{}", r#"{"action":"pause"}"#, r#"{"action":"start","for":"0s"}"#, r#"{"action":"stop","for":"9s"}"#]
    {
        assert_eq!(order("yard", bad).await.status, 400, "{bad}");
    }
    // Long enough for something to be in it.
    said(&gate, "source open", 1);
    let has_no_tracks = async || list(&gate, "").await[0]["tracks"].as_array().unwrap().is_empty();
    while has_no_tracks().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(order("yard", r#"{"action":"stop"}"#).await.json(), begun.json());
    let ended = said(&gate, "recording ended", 1).remove(0);
    assert_eq!(ended["end"], "stopped");

    assert_eq!(order("yard", r#"{"action":"start","for":"2s"}"#).await.status, 202);
    let ended = said(&gate, "recording ended", 2).remove(1);
    assert_eq!(ended["end"], "stopped: max length");
    said(&gate, "recording complete", 2);
    let all = list(&gate, "?line=yard").await;
    assert_eq!((all.len(), &all[0]["caller"], &all[0]["session"]), (2, &Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_and_with_the_database_lost_every_recording_is_in_the_list_and_finished() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = run(&relay, "").await;

    // Given a recording that is done, and one that is not
    recorded_call(&gate, 1).await.hang_up().await;
    said(&gate, "recording complete", 1);
    let done = list(&gate, "").await.remove(0);
    let _cut = recorded_call(&gate, 2).await;
    let cut = list(&gate, "").await.remove(0);
    assert_eq!(cut["end"], "open");

    // When the process is killed, and its database goes
    let gate = gate.killed_and_started(|folder| {
        for file in ["callgate.db", "callgate.db-wal", "callgate.db-shm"] {
            let _ = std::fs::remove_file(folder.join("data").join(file));
        }
    });
    said(&gate, "recording finished that was left open", 1);
    said(&gate, "recording complete", 1);

    // Then both are there
    let all = list(&gate, "").await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[1], done);
    assert_eq!((&all[0]["id"], &all[0]["end"], &all[0]["caller"]), (&cut["id"], &json!("recovered"), &cut["caller"]));
    assert!(all[0]["ended"].is_string() && all[0]["sha256"].is_string(), "{}", all[0]);
    assert_eq!(cli(&gate, &["verify"]).0, Some(0));
    let file = folder(&gate).join(cut["file"].as_str().unwrap());
    assert!(!support::gate::recorded(&file).is_empty());
}

/// A small disk of its own, gone with the test.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(&at).status();
        assert!(mounted.unwrap().success(), "this test needs to be root");
        Self(at)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_floor_of_a_small_disk_ends_the_recording_and_not_the_call_and_with_room_the_next_is_recorded() {
    // Given a disk of 64 MiB of which 24 are to stay free
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::mount(place.path().join("disk"), "64m");
    let relay = TestRelay::start(Behaviour::Honest).await;
    let settings = format!("directory = \"{}\"\nfloor = \"24MiB\"", disk.0.display());
    let gate = run(&relay, &settings).await;
    let mut watcher = recorded_call(&gate, 1).await;

    // When somebody fills it
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![7; 48 << 20]).unwrap();

    // Then the recording ends, and the call goes on
    let ended = said(&gate, "recording ended", 1).remove(0);
    assert_eq!(ended["end"], "stopped: disk floor");
    said(&gate, "the disk has too little left: recordings end", 1);
    watcher.picture_after(Instant::now()).await;
    watcher.pictures(15).await;
    assert_eq!(gate.call_of(&watcher.session).await["state"], "live");
    assert_eq!(list(&gate, "").await[0]["end"], "stopped: disk floor");

    // and another call is not recorded, which it does not notice
    let mut second = Watcher::call(&gate, 0).await;
    second.pictures(15).await;
    said(&gate, "not recorded", 1);
    let refused = ask(&gate, "POST", "/api/lines/yard/record", &[], r#"{"action":"start"}"#).await;
    assert_eq!(refused.status, 507, "{}", refused.text());

    // When there is room again, the next call is recorded
    std::fs::remove_file(&filler).unwrap();
    recorded_call(&gate, 2).await.hang_up().await;
    let ended = said(&gate, "recording ended", 2).remove(1);
    assert_eq!(ended["end"], "hung_up");
    said(&gate, "recording complete", 2);
    assert_eq!(list(&gate, "").await.len(), 2);
    watcher.hang_up().await;
    second.hang_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_costs_the_recording_and_not_the_call() {
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::mount(place.path().join("disk"), "64m");
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = run(&relay, &format!("directory = \"{}\"\nfloor = \"1MB\"", disk.0.display())).await;
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0).status().unwrap();
    assert!(remounted.success());

    let mut watcher = Watcher::call(&gate, 0).await;
    watcher.pictures(15).await;

    let why = said(&gate, "not recorded", 1).remove(0);
    assert!(field(&why, "why").contains("cannot be used"), "{why}");
    watcher.hang_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_hundred_short_calls_recordings_stay_below_their_size_and_nothing_live_goes() {
    const LIMIT: u64 = 2_000_000;
    const AT_ONCE: usize = 4;
    const ROUNDS: usize = 25;
    let relay = TestRelay::start(Behaviour::Honest).await;
    let gate = run(&relay, "keep_size = \"2MB\"").await;
    // A recording that goes on all the while.
    let begun = ask(&gate, "POST", "/api/lines/yard/record", &[], r#"{"action":"start","for":"1h"}"#).await;
    let live = begun.json()["id"].clone();

    for round in 1..=ROUNDS {
        let mut watchers = Vec::new();
        for _ in 0..AT_ONCE {
            watchers.push(Watcher::call(&gate, 0).await);
        }
        for watcher in &mut watchers {
            watcher.pictures(15).await;
        }
        said(&gate, "recording", 1 + round * AT_ONCE);
        for watcher in watchers {
            watcher.hang_up().await;
        }
        said(&gate, "recording complete", round * AT_ONCE);
        let still: Vec<Value> = list(&gate, "?line=yard").await;
        assert!(still[0]["id"] == live && still[0]["in_progress"] == true, "{still:?}");
        assert!(folder(&gate).join(still[0]["file"].as_str().unwrap()).exists());
    }

    // Each time that it was looked, there was no more than may be; and most of what was recorded is gone.
    let said = |message: &str| {
        let written = gate.daemon.written();
        let records = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter(|record| field(record, "message") == message).collect::<Vec<_>>()
    };
    let kept = said("recordings kept");
    assert!(kept.iter().all(|record| record["bytes"].as_u64().unwrap() <= LIMIT), "{kept:?}");
    assert!(said("recording deleted").len() > 10);
    assert!(list(&gate, "?limit=500").await.len() > 3);
    ask(&gate, "POST", "/api/lines/yard/record", &[], r#"{"action":"stop"}"#).await;
    gate.daemon.logged_times(ROUNDS * AT_ONCE + 1, |record| field(record, "message") == "recording complete");
    while bytes_in(&folder(&gate)) > LIMIT {
        tokio::task::yield_now().await;
    }
}
