//! `callgate run` in a network of its own, with one line that anyone may call.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use nostr::RelayUrl;

use super::daemon::{Daemon, field};
use super::netns::{Space, TURN_PASSWORD};

/// The gateway in its network, with one line that anyone may call.
pub struct Gateway {
    pub daemon: Daemon,
    pub npub: String,
    pub relay: RelayUrl,
    configuration: PathBuf,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// `ice` is what stands in `[ice]`.
    pub fn run(host: &Space, relay: RelayUrl, ice: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("turn.secret"), TURN_PASSWORD).unwrap();
        let file = folder.path().join("callgate.toml");
        let mut configuration = format!("data_dir = \"data\"\n[nostr]\nrelays = [\"{relay}\"]\n");
        write!(configuration, "[access]\nallow = [\"*\"]\n[ice]\n{ice}\n").unwrap();
        configuration +=
            "[[line]]\nname = \"door\"\nplay = \"test://?width=160&height=90&fps=15&bitrate=100&keyframe=1\"\n";
        std::fs::write(&file, configuration).unwrap();
        let callgate = host.command(env!("CARGO_BIN_EXE_callgate"));
        let daemon = Daemon::spawn(callgate, &["run", "-c", file.to_str().unwrap()]);
        let npub = daemon.npub("door");
        daemon.logged(|record| field(record, "message") == "relay connected");
        Self { daemon, npub, relay, configuration: file, _folder: folder }
    }

    /// The call log, the newest first.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let mut calls = Command::new(env!("CARGO_BIN_EXE_callgate"));
        calls.args(["calls", "--json", "-c"]).arg(&self.configuration);
        let output = calls.output().expect("callgate runs");
        let log: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        log["calls"].as_array().cloned().expect("calls")
    }
}
