//! Calls between networks: through NATs, over a TURN server, over IPv6 alone.
//!
//! `callgate run` with a test picture on one side, `callgate call` on the other, coturn and a relay in the middle, each in a network namespace
//! of its own.
#![cfg(feature = "daemon")]

#[allow(dead_code)]
mod support {
    pub mod daemon;
    pub mod netns;
}

use std::fmt::Write as _;
use std::process::Command;

use nostr::RelayUrl;
use support::daemon::{Daemon, field};
use support::netns::{Nat, Net, SERVER, Space, TURN_PASSWORD, TURN_USER};

/// The gateway in its network, with one line that anyone may call.
struct Gateway {
    daemon: Daemon,
    npub: String,
    relay: RelayUrl,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// `ice` is what stands in `[ice]`.
    fn run(host: &Space, relay: RelayUrl, ice: &str) -> Self {
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
        Self { daemon, npub, relay, _folder: folder }
    }
}

/// A call's end, as `callgate call` tells it.
struct Called {
    /// Milliseconds from the start of the client, which gathers and connects to the relay first.
    answered: u64,
    connected: u64,
    frames: u64,
}

/// Calls from `host`, and holds that media flowed.
fn call(host: &Space, gateway: &Gateway, more: &[&str]) -> Called {
    let arguments = ["call", &gateway.npub, "--relay", gateway.relay.as_str(), "--json", "--seconds", "2"];
    let mut callgate: Command = host.command(env!("CARGO_BIN_EXE_callgate"));
    callgate.env("CALLGATE_TURN_SECRET", TURN_PASSWORD);
    let (status, written) = Daemon::spawn(callgate, &[&arguments, more].concat()).exit();
    assert_eq!(status.code(), Some(0), "{written}\ncallgate run:\n{}", gateway.daemon.written());
    let objects: Vec<serde_json::Value> = written.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let after = |event: &str| {
        let object = objects.iter().find(|object| object["event"] == event);
        object.and_then(|object| object["after_ms"].as_u64()).unwrap_or_else(|| panic!("no {event}: {written}"))
    };
    let frames = objects.iter().filter_map(|object| object["video"]["frames"].as_u64()).max();
    let called = Called { answered: after("answered"), connected: after("connected"), frames: frames.unwrap_or(0) };
    assert!(called.frames > 0, "{written}");
    assert!(
        !written.contains(TURN_PASSWORD) && !gateway.daemon.written().contains(TURN_PASSWORD),
        "a password is told"
    );
    called
}

fn report(case: &str, called: &Called) {
    println!(
        "{case}: answered after {} ms, connected {} ms later; {} frames",
        called.answered,
        called.connected - called.answered,
        called.frames
    );
}

#[test]
fn two_masquerading_routers_are_passed_with_stun() {
    let net = Net::new();
    let (relay, _turn) = (net.relay(), net.turn());
    let (home, away) = (net.behind(Nat::Masquerade), net.behind(Nat::Masquerade));
    let gateway = Gateway::run(&home.host, relay.url(), &format!("stun = [\"stun:{SERVER}\"]"));

    let called = call(&away.host, &gateway, &["--stun", &format!("stun:{SERVER}")]);

    report("masquerade on both sides, STUN", &called);
}

#[test]
fn hosts_without_ipv4_call_each_other() {
    let net = Net::new();
    let relay = net.relay().over_v6();
    let (home, away) = (net.v6_only(), net.v6_only());
    let gateway = Gateway::run(&home, relay.url(), "");

    let called = call(&away, &gateway, &[]);

    report("IPv6 only", &called);
}

#[test]
fn two_symmetric_routers_are_passed_over_turn() {
    let net = Net::new();
    let (relay, _turn) = (net.relay(), net.turn());
    let (home, away) = (net.behind(Nat::Symmetric), net.behind(Nat::Symmetric));
    let turn = format!("turn:{SERVER}");
    let ours =
        format!("turn = [{{ url = \"{turn}\", username = \"{TURN_USER}\", credential_file = \"turn.secret\" }}]");
    let gateway = Gateway::run(&home.host, relay.url(), &ours);

    let called = call(&away.host, &gateway, &["--turn", &turn, "--turn-user", TURN_USER]);

    report("symmetric NAT on both sides, TURN", &called);
}
