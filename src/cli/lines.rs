//! `callgate lines`: the lines of a configuration, and what they are doing if the gateway runs.

use std::time::Duration;

use clap::Args;
use nostr::nips::nip19::ToBech32 as _;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::arguments::ConfigArg;
use super::text::{say, table};
use super::{Exit, Outcome};
use crate::config::{self, Config};
use crate::gateway::view::{AccessView, RelayView};
use crate::gateway::who_may_call;

#[derive(Debug, Args)]
pub struct LinesArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// A line as it is shown.
#[derive(Debug, Serialize)]
struct ShownLine {
    name: String,
    /// None before the first run, which makes the key.
    npub: Option<String>,
    /// Redacted.
    endpoint: String,
    relays: Vec<String>,
    /// None when the gateway does not run, or cannot be asked.
    state: Option<String>,
    callers: Option<u64>,
    /// Who may call, in words.
    may_call: String,
}

/// What the gateway's API says, as far as it is shown here.
#[derive(Debug, Deserialize)]
struct Live {
    lines: Vec<LiveLine>,
    #[serde(default)]
    relays: Vec<RelayView>,
}

#[derive(Debug, Deserialize)]
struct LiveLine {
    name: String,
    state: String,
    callers: u64,
    #[serde(default)]
    access: AccessView,
}

/// For an answer of the gateway: without one there is the configuration.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn lines(args: &LinesArgs) -> Outcome {
    let config = config::load(&args.config.file)?;
    // None when nobody answers there, or something that is not callgate.
    let live: Option<Live> = config.http.as_ref().and_then(|http| Api::of(http, PATIENCE).get("/api/lines").ok());
    let lines = shown(&config, live.as_ref());
    if args.json {
        let relays = live.as_ref().map(|live| &live.relays);
        say(serde_json::json!({ "running": live.is_some(), "lines": lines, "relays": relays }));
        return Ok(Exit::Success);
    }
    let rows: Vec<_> = lines.into_iter().map(row).collect();
    say(table(["NAME", "NPUB", "ENDPOINT", "RELAYS", "STATE", "CALLERS", "MAY CALL"], &rows));
    if let Some(live) = live.as_ref().filter(|live| !live.relays.is_empty()) {
        say("");
        say(table(
            ["RELAY", "HEALTH", "TOOK", "WHAT IS WRONG"],
            &live.relays.iter().map(relay_row).collect::<Vec<_>>(),
        ));
    }
    if live.is_none() && config.http.is_some() {
        eprintln!("the gateway does not answer: this is the configuration alone");
    }
    Ok(Exit::Success)
}

fn shown(config: &Config, live: Option<&Live>) -> Vec<ShownLine> {
    let relays = config.relays();
    let shown = |line: &config::Line| {
        let live = live.and_then(|live| live.lines.iter().find(|live| live.name == line.name));
        ShownLine {
            name: line.name.clone(),
            npub: line.key.public_key().map(|key| {
                let Ok(npub) = key.to_bech32();
                npub
            }),
            endpoint: line.play.to_string(),
            relays: relays.clone(),
            state: live.map(|live| live.state.clone()),
            callers: live.map(|live| live.callers),
            may_call: live.map_or_else(|| who_may_call(&line.access).words, |live| live.access.words.clone()),
        }
    };
    config.lines.iter().map(shown).collect()
}

/// How many events the relay took of all that were for it.
fn relay_row(relay: &RelayView) -> [String; 4] {
    let took = relay.verdicts.get("accepted").copied().unwrap_or(0);
    let all: u64 = relay.verdicts.values().sum();
    let wrong = relay.error.clone().unwrap_or_else(|| "-".to_owned());
    [relay.url.clone(), relay.health.clone(), format!("{took} of {all}"), wrong]
}

fn row(line: ShownLine) -> [String; 7] {
    [
        line.name,
        line.npub.unwrap_or_else(|| "(made at the first run)".to_owned()),
        line.endpoint,
        line.relays.join(" "),
        line.state.unwrap_or_else(|| "-".to_owned()),
        line.callers.map_or_else(|| "-".to_owned(), |callers| callers.to_string()),
        line.may_call,
    ]
}
