//! The whole of it: cameras as processes, the real daemon between relay and cameras, callers in this process, and what a camera sent
//! held against what a caller got.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use callgate::gateway::{DialEnd, DialEvent, DialSettings, Dialled, dial};
use callgate::media::caller::{AccessUnit, CallerSettings, CallerStats};
use callgate::protocol::{Cipher, Dialect};
use gst::prelude::*;
use nostr::{Keys, PublicKey, RelayUrl, ToBech32 as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::daemon::{Daemon, PATIENCE, field, write_configuration};
use super::http;

/// The digest of a picture's slices.
pub type Picture = [u8; 32];

/// A camera as a process of its own. Dropping it is a SIGKILL.
pub struct Camera {
    child: Child,
    pub url: String,
}

impl Camera {
    /// Starts `examples/camera.rs` with these arguments; returns when it can be opened.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the camera starts");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("the camera says its address");
        assert!(url.starts_with("rtsp://"), "no camera: {url:?}");
        Self { child, url: url.trim().to_owned() }
    }

    /// A small picture, cheap for a busy machine: two groups a second, and a copy of what it sends.
    pub fn small(copy: &Path, more: &[&str]) -> Self {
        let copy = copy.to_str().expect("UTF-8");
        let usual =
            [["--width", "320"], ["--height", "180"], ["--fps", "10"], ["--keyframe", "5"], ["--bitrate", "200"]];
        let small = usual.into_iter().filter(|[name, _]| !more.contains(name)).flatten().collect::<Vec<_>>();
        Self::start(&[&small[..], &["--copy", copy], more].concat())
    }

    pub fn port(&self) -> String {
        let url = url::Url::parse(&self.url).expect("an address");
        url.port().expect("a port").to_string()
    }

    /// SIGKILL: no goodbye on its connections.
    pub fn kill(mut self) {
        self.child.kill().expect("it ran until now");
        self.child.wait().expect("it was started");
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The camera's program. `cargo test` builds it when it builds everything, not for a single `--test`.
fn program() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_callgate")).parent().expect("it is in a folder");
    let program = built.join("examples/camera");
    assert!(program.exists(), "no camera to test with: cargo build --example camera");
    program
}

/// The daemon with lines of one relay.
pub struct Gate {
    pub daemon: Daemon,
    pub relay: RelayUrl,
    pub api: SocketAddr,
    /// One for each line.
    pub npubs: Vec<String>,
    configuration: PathBuf,
    folder: tempfile::TempDir,
}

impl Gate {
    /// Runs `callgate run` with a line for each `(name, play)`, open to everybody; `more` goes above the lines.
    pub fn run(relay: &RelayUrl, lines: &[(&str, &str)], more: &str) -> Self {
        let tables: String =
            lines.iter().map(|(name, play)| format!("[[line]]\nname = \"{name}\"\nplay = \"{play}\"\n")).collect();
        Self::run_tables(relay, &format!("{more}\n{tables}"), lines.len())
    }

    /// Runs it with these tables, among which are so many lines.
    pub fn run_tables(relay: &RelayUrl, tables: &str, lines: usize) -> Self {
        let usual = "[http]\nlisten = \"127.0.0.1:0\"\n[access]\nallow = [\"*\"]\n";
        Self::run_bare(relay, &format!("{usual}{tables}"), lines)
    }

    /// Runs it with these tables beside that of its relay.
    pub fn run_bare(relay: &RelayUrl, tables: &str, lines: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let configuration = format!("data_dir = \"data\"\n[nostr]\nrelays = [\"{relay}\"]\n{tables}");
        write_configuration(folder.path(), &configuration);
        Self::start(relay, folder, lines)
    }

    fn start(relay: &RelayUrl, folder: tempfile::TempDir, lines: usize) -> Self {
        let configuration = folder.path().join("callgate.toml");
        let daemon = Daemon::start(&["run", "-c", configuration.to_str().expect("UTF-8")]);
        let npubs = daemon.stdout_lines(lines).iter().map(|line| word(line, 1)).collect();
        let page = daemon.logged(|record| record.get("page").is_some());
        let api = field(&page, "page").parse().expect("an address");
        Self { daemon, relay: relay.clone(), api, npubs, configuration, folder }
    }

    /// SIGKILL, whatever `meanwhile` does to its folder, and a start as before.
    pub fn killed_and_started(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { daemon, relay, npubs, folder, .. } = self;
        super::daemon::signal(daemon.pid(), "KILL");
        daemon.exit();
        meanwhile(folder.path());
        Self::start(&relay, folder, npubs.len())
    }

    /// Where its configuration and its data are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another command of callgate's with its configuration.
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        let program = env!("CARGO_BIN_EXE_callgate");
        Command::new(program).args(arguments).arg("-c").arg(&self.configuration).output().expect("callgate starts")
    }

    pub fn key(&self, line: usize) -> PublicKey {
        PublicKey::parse(&self.npubs[line]).expect("an npub")
    }

    /// `callgate call` to a line, with JSON on stdout.
    pub fn call(&self, line: usize, more: &[&str]) -> Daemon {
        let call = ["call", &self.npubs[line], "--relay", self.relay.as_str(), "--json"];
        Daemon::start(&[&call, more].concat())
    }

    pub async fn api(&self, method: &str, path: &str) -> http::Answer {
        let host = self.api.to_string();
        http::request(self.api, method, path, &[("host", &host)], "").await.expect("the API answers")
    }

    /// The calls that are on, as the API shows them.
    pub async fn calls(&self) -> Vec<serde_json::Value> {
        self.api("GET", "/api/calls").await.json()["calls"].as_array().expect("a list").clone()
    }

    /// The call of this session, as the API shows it.
    pub async fn call_of(&self, session: &str) -> serde_json::Value {
        self.calls().await.into_iter().find(|call| call["session"] == session).expect("the call is on")
    }

    /// What a line's source is doing, as the API shows it.
    pub async fn state(&self, line: usize) -> serde_json::Value {
        self.api("GET", "/api/lines").await.json()["lines"][line].clone()
    }

    /// Waits until the log says that a session's call has ended.
    pub fn ended(&self, session: &str) -> serde_json::Value {
        self.daemon.logged(|record| field(record, "message") == "call ended" && field(record, "session") == session)
    }

    /// The call log's entry of a session, from `callgate calls`, which works with and without the daemon.
    pub fn log_of(&self, session: &str) -> serde_json::Value {
        call_log(&self.configuration).into_iter().find(|call| call["session"] == session).expect("it is in the log")
    }

    /// SIGTERM; returns the exit code and the call log.
    pub fn terminate(self) -> (Option<i32>, Vec<serde_json::Value>) {
        self.daemon.terminate();
        let (status, _) = self.daemon.exit();
        (status.code(), call_log(&self.configuration))
    }
}

fn call_log(configuration: &Path) -> Vec<serde_json::Value> {
    let calls = ["calls", "--json", "-c", configuration.to_str().expect("UTF-8")];
    let output = Command::new(env!("CARGO_BIN_EXE_callgate")).args(calls).output().expect("callgate starts");
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    log["calls"].as_array().expect("a list").clone()
}

fn word(line: &str, index: usize) -> String {
    line.split_whitespace().nth(index).expect("a word").to_owned()
}

/// What `callgate call --json` printed, line by line.
pub fn objects(lines: &[String]) -> Vec<serde_json::Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A `callgate call`'s first object of this event.
pub fn told(call: &Daemon, event: &str) -> serde_json::Value {
    told_when(call, |object| object["event"] == event)
}

/// A `callgate call`'s first object that `wanted` likes.
pub fn told_when(call: &Daemon, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let mut count = 1;
    loop {
        let lines = call.stdout_lines(count);
        if let Some(object) = objects(&lines).into_iter().find(|object| wanted(object)) {
            return object;
        }
        count = lines.len() + 1;
    }
}

/// Someone who calls from within this process, with a key of its own. Dropping it vanishes.
pub struct Watcher {
    dialled: Dialled,
    events: mpsc::Receiver<DialEvent>,
    units: mpsc::Receiver<AccessUnit>,
    pub session: String,
    pub keys: Keys,
    /// Everything that came, as a byte stream.
    stream: Vec<u8>,
    answers: usize,
    pub last_stats: CallerStats,
}

impl Watcher {
    pub async fn call(gate: &Gate, line: usize) -> Self {
        Self::call_in(None, gate, line).await
    }

    /// Calls in this dialect alone, if one is given.
    pub async fn call_in(dialect: Option<Dialect>, gate: &Gate, line: usize) -> Self {
        let (units, arriving) = mpsc::channel(4096);
        let keys = Keys::generate();
        let settings = DialSettings {
            keys: keys.clone(),
            to: gate.key(line),
            relays: vec![gate.relay.clone()],
            cipher: Cipher::Nip44,
            dialect,
            rings: PATIENCE,
            shared: Vec::new(),
            media: CallerSettings { video: true, audio: true, units: Some(units), ..CallerSettings::default() },
        };
        let (dialled, events) = dial(settings).await.expect("it dials");
        let mut watcher = Self {
            dialled,
            events,
            units: arriving,
            session: String::new(),
            keys,
            stream: Vec::new(),
            answers: 0,
            last_stats: CallerStats::default(),
        };
        let ringing = watcher.event("ringing", |event| match event {
            DialEvent::Ringing { session } => Some(session.to_string()),
            _ => None,
        });
        watcher.session = ringing.await;
        watcher
    }

    pub fn npub(&self) -> String {
        self.keys.public_key().to_bech32().expect("a key has one")
    }

    /// Waits for an event that `wanted` takes; no other may end the call.
    pub async fn event<T>(&mut self, what: &str, wanted: impl Fn(&DialEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("its last event is Ended");
                self.answers += usize::from(event == DialEvent::Answered);
                if let DialEvent::Stats(stats) = &event {
                    self.last_stats = *stats;
                }
                if let Some(found) = wanted(&event) {
                    return found;
                }
                assert!(!matches!(event, DialEvent::Ended { .. }), "{event:?} instead of: {what}");
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("in vain: {what}"))
    }

    pub async fn connected(&mut self) {
        self.event("a connection", |event| (*event == DialEvent::Connected).then_some(())).await;
    }

    pub async fn stats(&mut self, enough: impl Fn(&CallerStats) -> bool) -> CallerStats {
        self.event("statistics", |event| match event {
            DialEvent::Stats(stats) if enough(stats) => Some(*stats),
            _ => None,
        })
        .await
    }

    pub async fn end(&mut self) -> DialEnd {
        self.event("the end", |event| match event {
            DialEvent::Ended { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await
    }

    pub async fn hang_up(mut self) -> Vec<Picture> {
        self.dialled.hang_up();
        assert_eq!(self.end().await, DialEnd::HungUp);
        self.all_seen()
    }

    /// The next picture. The call must go on meanwhile.
    pub async fn picture(&mut self) -> AccessUnit {
        let next = async {
            loop {
                tokio::select! {
                    biased;
                    Some(unit) = self.units.recv() => return unit,
                    event = self.events.recv() => match event {
                        Some(DialEvent::Stats(stats)) => self.last_stats = stats,
                        Some(DialEvent::Answered) => self.answers += 1,
                        Some(DialEvent::Ended { why, .. }) => panic!("no picture: {why}"),
                        Some(_) => {}
                        None => panic!("no picture: the call has ended"),
                    },
                }
            }
        };
        let unit = tokio::time::timeout(PATIENCE, next).await.expect("a picture");
        self.stream.extend_from_slice(&unit.data);
        unit
    }

    pub async fn pictures(&mut self, count: usize) {
        for _ in 0..count {
            self.picture().await;
        }
    }

    /// The next picture that arrived after `moment`. Those before it are forgotten.
    pub async fn picture_after(&mut self, moment: Instant) -> AccessUnit {
        loop {
            self.stream.clear();
            let unit = self.picture().await;
            if unit.arrived > moment {
                return unit;
            }
        }
    }

    /// How often an answer was taken until now.
    pub fn answers(&mut self) -> usize {
        while let Ok(event) = self.events.try_recv() {
            assert!(!matches!(event, DialEvent::Ended { .. }), "{event:?}");
            self.answers += usize::from(event == DialEvent::Answered);
        }
        self.answers
    }

    /// All pictures that came, if none was forgotten.
    pub fn all_seen(&mut self) -> Vec<Picture> {
        while let Ok(unit) = self.units.try_recv() {
            self.stream.extend_from_slice(&unit.data);
        }
        // Put together again here: where a camera repeats parameter sets between slices, a picture comes in several pieces.
        pictures(&self.stream)
    }
}

/// The pictures of a camera's copy. It writes each before it sends it: the last one may be written half, but then nobody has it.
pub fn sent(copy: &Path) -> Vec<Picture> {
    pictures(&std::fs::read(copy).expect("the camera's copy"))
}

/// The pictures of a Matroska file's H.264 track.
pub fn recorded(path: &Path) -> Vec<Picture> {
    callgate::media::init().expect("GStreamer");
    let text = "filesrc name=file ! matroskademux name=demux demux.video_0 ! h264parse \
        ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(text).expect("it parses").downcast::<gst::Pipeline>().expect("a pipeline");
    pipeline.by_name("file").expect("named").set_property("location", path.to_str().expect("UTF-8"));
    let out = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().expect("named");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let mut stream = Vec::new();
    while let Ok(sample) = out.pull_sample() {
        stream.extend_from_slice(&sample.buffer().expect("it has one").map_readable().expect("readable"));
    }
    pipeline.set_state(gst::State::Null).expect("it stops");
    pictures(&stream)
}

/// The digest of each picture's slices in an Annex B stream: a picture begins with the slice of macroblock 0 (H.264, 7.4.3).
pub fn pictures(stream: &[u8]) -> Vec<Picture> {
    let mut found: Vec<Sha256> = Vec::new();
    for nal in nal_units(stream).filter(|nal| nal.len() > 1 && matches!(nal[0] & 0x1f, 1..=5)) {
        // first_mb_in_slice is 0: its Exp-Golomb code is a single 1.
        if nal[1] & 0x80 != 0 {
            found.push(Sha256::new());
        }
        if let Some(picture) = found.last_mut() {
            picture.update([0, 0, 0, 1]);
            picture.update(nal);
        }
    }
    found.into_iter().map(|picture| picture.finalize().into()).collect()
}

/// Slices of each picture.
pub fn slices(stream: &[u8]) -> usize {
    nal_units(stream).filter(|nal| matches!(nal.first().map(|first| first & 0x1f), Some(1 | 5))).count()
        / pictures(stream).len()
}

pub fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts: Vec<usize> =
        (0..stream.len().saturating_sub(2)).filter(|&at| stream[at..at + 3] == [0, 0, 1]).collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([stream.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| {
        let mut nal = &stream[start + 3..end];
        while let [rest @ .., 0] = nal {
            nal = rest;
        }
        nal
    })
}

/// That `got` is a run of `sent` without a gap: every picture between the first and the last, each as it was.
#[track_caller]
pub fn assert_a_run(got: &[Picture], sent: &[Picture]) {
    let first = got.first().expect("at least one picture");
    let start = sent.iter().position(|picture| picture == first).expect("the first picture is the camera's");
    if let Some(wrong) = got.iter().zip(&sent[start..]).position(|(got, sent)| got != sent) {
        let instead = sent.iter().position(|sent| *sent == got[wrong]);
        panic!("of {} pictures, number {} of the camera is not there, but {instead:?}", got.len(), start + wrong);
    }
    assert!(sent.len() >= start + got.len(), "more pictures than the camera sent");
}
