//! The real `callgate` binary, run as a person runs it: a configuration file in, lines on stdout and facts in its log out.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test says that it hangs: no timing is asserted, this only ends a test that never would.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `callgate`.
pub struct Daemon {
    child: Child,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    stdout: Vec<String>,
    log: Vec<String>,
    closed: usize,
}

impl Daemon {
    /// Starts `callgate` with these arguments and a JSON log.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts it with these variables in its environment too.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command.envs(environment.iter().copied());
        Self::spawn(command, arguments)
    }

    /// Starts it by a command that runs `callgate` with the arguments that follow.
    pub fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        let mut child = command
            .args(["--log", "json", "-v"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("callgate starts");
        let output = Arc::new(Output::default());
        read_lines(child.stdout.take().expect("piped"), &output, |lines| &mut lines.stdout);
        read_lines(child.stderr.take().expect("piped"), &output, |lines| &mut lines.log);
        Self { child, output }
    }

    /// Writes `configuration` into `directory` and runs it; returns when each of its `lines` lines is ready.
    pub fn run(directory: &Path, configuration: &str, lines: usize) -> Self {
        let file = write_configuration(directory, configuration);
        let daemon = Self::start(&["run", "-c", file.to_str().expect("UTF-8")]);
        daemon.stdout_lines(lines);
        daemon
    }

    /// The npub of the line with this name, once it is ready.
    pub fn npub(&self, line: &str) -> String {
        self.wait(|lines| {
            lines.stdout.iter().find_map(|text| {
                let mut words = text.split_whitespace();
                if words.next() == Some(line) { words.next().map(str::to_owned) } else { None }
            })
        })
    }

    /// Where its web server listens.
    pub fn web(&self) -> SocketAddr {
        let listening = self.logged(|record| field(record, "message") == "web server listening");
        field(&listening, "page").parse().expect("an address")
    }

    /// Waits until so many events were dropped for this reason.
    pub fn dropped(&self, why: &str, times: usize) {
        self.logged_times(times, |record| field(record, "message") == "event dropped" && field(record, "why") == why);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until stdout has `count` lines, and returns them.
    pub fn stdout_lines(&self, count: usize) -> Vec<String> {
        self.wait(|lines| (lines.stdout.len() >= count).then(|| lines.stdout.clone()))
    }

    /// Waits for a log record, from the log's beginning on, that `wanted` likes.
    pub fn logged(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        self.logged_times(1, wanted).pop().expect("one record")
    }

    /// Waits until `count` log records are such as `wanted` likes.
    pub fn logged_times(&self, count: usize, wanted: impl Fn(&serde_json::Value) -> bool) -> Vec<serde_json::Value> {
        self.wait(|lines| {
            let found: Vec<_> = lines
                .log
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .filter(|record| wanted(record))
                .take(count)
                .collect();
            (found.len() == count).then_some(found)
        })
    }

    /// Everything that it wrote so far, stdout and log.
    pub fn written(&self) -> String {
        let lines = self.output.lines.lock().expect("no reader panics");
        lines.stdout.iter().chain(&lines.log).flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// SIGTERM, as an init system sends it.
    pub fn terminate(&self) {
        signal(self.pid(), "TERM");
    }

    /// Waits for the process's end.
    pub fn exit(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        self.wait_until(deadline, |lines| (lines.closed == 2).then_some(()));
        let status = self.child.wait().expect("it was started");
        (status, self.written())
    }

    fn wait<T>(&self, found: impl Fn(&Lines) -> Option<T>) -> T {
        self.wait_until(Instant::now() + PATIENCE, found)
    }

    fn wait_until<T>(&self, deadline: Instant, found: impl Fn(&Lines) -> Option<T>) -> T {
        let mut lines = self.output.lines.lock().expect("no reader panics");
        loop {
            if let Some(found) = found(&lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = lines.closed == 2;
            if left.is_zero() || ended {
                // What it said is shown when it is dropped.
                drop(lines);
                panic!("callgate never said it (ended: {ended})");
            }
            lines = self.output.more.wait_timeout(lines, left).expect("no reader panics").0;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("callgate until then:\n{}", self.written());
        }
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration file and returns its path.
pub fn write_configuration(directory: &Path, configuration: &str) -> PathBuf {
    let file = directory.join("callgate.toml");
    std::fs::write(&file, configuration).expect("a writable directory");
    file
}

/// Sends a signal by name to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill -{name} {pid}");
}

/// A field of a JSON log record.
pub fn field<'a>(record: &'a serde_json::Value, name: &str) -> &'a str {
    record.get(name).and_then(|value| value.as_str()).unwrap_or_default()
}

fn read_lines(from: impl Read + Send + 'static, output: &Arc<Output>, to: fn(&mut Lines) -> &mut Vec<String>) {
    let output = output.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            to(&mut output.lines.lock().expect("no waiter panics while it holds the lock")).push(line);
            output.more.notify_all();
        }
        output.lines.lock().expect("no waiter panics while it holds the lock").closed += 1;
        output.more.notify_all();
    });
}
