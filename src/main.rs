//! Arguments, logging, exit code.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use callgate::cli::{self, Cli, LogStyle};
use callgate::signaling::NOISY_LOG_TARGETS;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    share_heaps();
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    start_logging(&cli);
    match cli::run(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit().into()
        }
    }
}

/// glibc gives threads heaps of their own, eight for each core, and each keeps what its busiest moment took. A call is a dozen short-lived
/// threads, so that all heaps would grow one after another. Two cost 24 callers no measurable time, and halve what 300 calls leave.
fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and sets one that threads which are yet to be started read.
    unsafe {
        // Refused, it changes nothing.
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Logs go to stderr: what a command prints is on stdout.
fn start_logging(cli: &Cli) {
    let usual = match cli.verbose {
        0 => "warn,callgate=info",
        1 => "info,callgate=debug",
        _ => "debug,callgate=trace",
    };
    let chosen = std::env::var("CALLGATE_LOG").unwrap_or_else(|_| usual.to_owned());
    // Whatever is chosen: these log whole messages.
    let quiet = NOISY_LOG_TARGETS.map(|target| format!("{target}=off")).join(",");
    let filter = EnvFilter::new(format!("{chosen},{quiet}"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match cli.log {
        LogStyle::Human => logs.with_ansi(io::stderr().is_terminal()).init(),
        LogStyle::Json => logs.json().flatten_event(true).init(),
    }
}
