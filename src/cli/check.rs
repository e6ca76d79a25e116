//! `callgate check`: everything that is wrong with a configuration, without opening a port.

use clap::Args;

use super::arguments::ConfigArg;
use super::text::{count, say};
use super::{Exit, Outcome};
use crate::config;

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArg,
}

pub(super) fn check(args: &CheckArgs) -> Outcome {
    match config::load(&args.config.file) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("{warning} (a warning)");
            }
            say(format_args!("{}: good, {}", args.config.file.display(), count(config.lines.len(), "line")));
            Ok(Exit::Success)
        }
        Err(errors) => {
            eprintln!("{errors}");
            Ok(Exit::CheckFailed)
        }
    }
}
