//! `callgate run`: the daemon.

use clap::Args;

use super::Outcome;
use super::arguments::ConfigArg;
use super::daemon::{self, ReadyLine};
use super::text::say;
use crate::config;
use crate::store::Store;

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArg,
}

pub(super) fn run(args: &RunArgs) -> Outcome {
    let config = config::load(&args.config.file)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let store = Store::open(&config.data_dir)?;
    daemon::run(config, store, |ready| {
        for line in &ready.lines {
            say(line_ready(line));
        }
    })
}

/// `driveway  npub1...  rtsp://***@10.0.0.5/main  wss://relay.example.com`
pub(super) fn line_ready(line: &ReadyLine) -> String {
    format!("{}  {}  {}  {}", line.name, line.npub, line.endpoint, line.relays.join(" "))
}
