//! `callgate demo`: a test camera behind real RTSP, a relay, one line and the page to call it from.

use clap::Args;

use super::Outcome;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The port of the page, on this machine only; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// The port of the relay, on this machine only; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 7777)]
    pub relay_port: u16,
}

pub(super) fn demo(args: &DemoArgs) -> Outcome {
    todo!("the demo at {} and {}", args.port, args.relay_port)
}
