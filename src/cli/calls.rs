//! `callgate calls`: the call log, also while the daemon runs.

use clap::Args;

use super::arguments::{self, ConfigArg};
use super::text::{say, table, utc};
use super::{Exit, Outcome};
use crate::config;
use crate::store::{CallFilter, CallLog, LoggedCall};

#[derive(Debug, Args)]
pub struct CallsArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Only calls of this line
    #[arg(long, value_name = "NAME")]
    pub line: Option<String>,
    /// Only calls with this npub
    #[arg(long, value_name = "NPUB")]
    pub caller: Option<String>,
    /// Only calls that came while the gateway was away
    #[arg(long)]
    pub missed: bool,
    /// How many, the newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn calls(args: &CallsArgs) -> Outcome {
    let caller = args.caller.as_deref().map(|text| arguments::public_key("--caller", text)).transpose()?;
    let config = config::load(&args.config.file)?;
    let filter = CallFilter { line: args.line.clone(), caller, missed: args.missed };
    let calls = match CallLog::open(&config.data_dir)? {
        Some(log) => log.calls(&filter, args.limit)?,
        None => Vec::new(),
    };
    if args.json {
        say(serde_json::json!({ "calls": calls }));
    } else if calls.is_empty() {
        say(if args.missed { "no missed calls" } else { "no calls" });
    } else {
        let rows: Vec<_> = calls.iter().map(row).collect();
        say(table(["ID", "OFFERED (UTC)", "LINE", "WAY", "WITH", "TYPE", "LASTED", "SENT", "ENDED"], &rows));
    }
    Ok(Exit::Success)
}

fn row(call: &LoggedCall) -> [String; 9] {
    let lasted = match (call.secured_ms, call.ended_ms) {
        (Some(secured), Some(ended)) => format!("{:.1} s", ended.saturating_sub(secured) as f64 / 1000.0),
        _ => "-".to_owned(),
    };
    let ended = if call.detail.is_empty() { call.reason.clone() } else { format!("{}: {}", call.reason, call.detail) };
    [
        call.id.to_string(),
        utc(call.offered_ms),
        call.line.clone(),
        call.direction.clone(),
        // Enough to tell people apart; `--json` has all of it.
        call.caller.chars().take(16).collect(),
        call.call_type.clone(),
        lasted,
        format!("{:.1} MB", call.bytes_sent as f64 / 1e6),
        ended,
    ]
}
