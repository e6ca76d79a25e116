//! `callgate demo`: a test camera behind real RTSP, a relay, one line and the page to call it from.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use clap::Args;
use nostr::Keys;

use super::link::page_link;
use super::text::say;
use super::{Exit, Failure, Outcome, daemon};
use crate::config::{Access, AccessPolicy, Config, DEFAULT_IDLE, Http, Line, LineKey, Record, Refuse};
use crate::endpoint::Endpoint;
use crate::media::demo_camera::{DemoCamera, DemoSettings};
use crate::store::Store;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The port of the page, on this machine only; 0 for any that is free. When absent: 8080, or any if that is taken
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The port of the relay, on this machine only; 0 for any that is free. When absent: 7777, or any if that is taken
    #[arg(long, value_name = "PORT")]
    pub relay_port: Option<u16>,
}

const USUAL_PORT: u16 = 8080;
const USUAL_RELAY_PORT: u16 = 7777;

pub(super) fn demo(args: &DemoArgs) -> Outcome {
    crate::media::init().map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let camera = DemoCamera::start(DemoSettings {
        stamp: true,
        width: 1280,
        height: 720,
        bitrate: 2000,
        ..DemoSettings::default()
    })
    .map_err(|error| Failure::new(Exit::Unavailable, error))?;
    // Nothing is written: the key is made for this run, and the store is in memory.
    let mut config = Config::new(PathBuf::new());
    config.nostr.embedded_relay = Some(local(args.relay_port, USUAL_RELAY_PORT));
    config.http = Some(Http { listen: local(args.port, USUAL_PORT), token: None });
    config.lines.push(Line {
        name: "demo".to_owned(),
        key: LineKey::Given(Keys::generate()),
        play: Endpoint::Rtsp { url: camera.url().clone(), transport: crate::endpoint::RtspTransport::Tcp },
        // Only this machine reaches the relay.
        access: AccessPolicy::new(Access::Anyone, Refuse::Silent),
        record: Record::Off,
        announce: false,
        keep_warm: false,
        idle: DEFAULT_IDLE,
    });
    daemon::run(config, Store::in_memory()?, |ready| {
        if let (Some(page), Some(line)) = (ready.page, ready.lines.first()) {
            say(format_args!("A test camera is at {}, and can be called as {}.", line.endpoint, line.npub));
            say("Open this page and press Call; Ctrl-C ends the demo:");
            say(page_link(&format!("http://{page}/"), &line.npub, &line.relays, &[("name", &line.name)]));
        }
    })
}

/// A port that was asked for, or the usual one if nobody has it.
fn local(asked: Option<u16>, usual: u16) -> SocketAddr {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match asked {
        Some(port) => at(port),
        None if TcpListener::bind(at(usual)).is_ok() => at(usual),
        None => at(0),
    }
}
