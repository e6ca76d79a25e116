//! `callgate run`: the daemon.

use clap::Args;

use super::Outcome;
use super::arguments::ConfigArg;
use super::daemon::{self, ReadyLine};
use super::text::say;
use crate::config;

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArg,
}

pub(super) fn run(args: &RunArgs) -> Outcome {
    let config = config::load(&args.config.file)?;
    daemon::run_with_data(config, |ready| {
        for line in &ready.lines {
            say(line_ready(line));
        }
    })
}

/// `driveway  npub1...  rtsp://***@10.0.0.5/main  wss://relay.example.com`
pub(super) fn line_ready(line: &ReadyLine) -> String {
    format!("{}  {}  {}  {}", line.name, line.npub, line.endpoint, line.relays.join(" "))
}
