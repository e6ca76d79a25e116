//! `callgate run`: the daemon.

use clap::Args;

use super::Outcome;
use super::arguments::ConfigArg;
use crate::config;

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
    todo!("the gateway of {} lines", config.lines.len())
}
