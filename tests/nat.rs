//! Calls between networks: through NATs, over a TURN server, over IPv6 alone.
//!
//! `callgate run` with a test picture on one side, `callgate call` on the other, coturn and a relay in the middle, each in a network namespace
//! of its own.
#![cfg(feature = "daemon")]

#[allow(dead_code)]
mod support {
    pub mod afar;
    pub mod daemon;
    pub mod netns;
}

use std::process::Command;

use support::afar::Gateway;
use support::daemon::Daemon;
use support::netns::{Nat, Net, SERVER, Space, TURN_PASSWORD, TURN_USER};

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

/// What stands in `[ice]` for a TURN server.
fn with_turn(url: &str) -> String {
    format!("turn = [{{ url = \"{url}\", username = \"{TURN_USER}\", credential_file = \"turn.secret\" }}]")
}

#[test]
fn two_symmetric_routers_are_passed_over_turn() {
    let net = Net::new();
    let (relay, _turn) = (net.relay(), net.turn());
    let (home, away) = (net.behind(Nat::Symmetric), net.behind(Nat::Symmetric));
    let turn = format!("turn:{SERVER}");
    let gateway = Gateway::run(&home.host, relay.url(), &with_turn(&turn));

    let called = call(&away.host, &gateway, &["--turn", &turn, "--turn-user", TURN_USER]);

    report("symmetric NAT on both sides, TURN", &called);
}

#[test]
fn routers_that_let_no_udp_through_are_passed_over_turn_by_tcp() {
    let net = Net::new();
    let (relay, _turn) = (net.relay(), net.turn());
    let (home, away) = (net.behind(Nat::Masquerade), net.behind(Nat::Masquerade));
    home.drop_udp();
    away.drop_udp();
    let turn = format!("turn:{SERVER}?transport=tcp");
    let gateway = Gateway::run(&home.host, relay.url(), &with_turn(&turn));

    let called = call(&away.host, &gateway, &["--turn", &turn, "--turn-user", TURN_USER]);

    report("no UDP on either side, TURN over TCP", &called);
}

#[test]
fn a_caller_without_udp_reaches_a_line_that_has_it_over_its_own_turn_server() {
    let net = Net::new();
    let (relay, _turn) = (net.relay(), net.turn());
    let (home, away) = (net.behind(Nat::Masquerade), net.behind(Nat::Masquerade));
    away.drop_udp();
    let gateway = Gateway::run(&home.host, relay.url(), &format!("stun = [\"stun:{SERVER}\"]"));

    let turn = format!("turn:{SERVER}?transport=tcp");
    let called = call(&away.host, &gateway, &["--turn", &turn, "--turn-user", TURN_USER]);

    report("no UDP at the caller, its TURN over TCP", &called);
}
