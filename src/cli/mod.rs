//! The command line: one file a subcommand.

mod api;
mod arguments;
mod call;
mod calls;
mod check;
mod daemon;
mod demo;
mod exit;
mod ice;
mod invite;
mod invites;
mod keys;
mod lines;
mod link;
mod passphrase;
mod progress;
mod qr;
mod recordings;
mod ring;
mod run;
mod serve;
mod text;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

pub use arguments::parse;
pub use call::CallArgs;
pub use calls::CallsArgs;
pub use check::CheckArgs;
pub use demo::DemoArgs;
pub use exit::{Exit, Failure, Outcome};
pub use invite::InviteArgs;
pub use invites::InvitesArgs;
pub use keys::KeysArgs;
pub use lines::LinesArgs;
pub use qr::qr_code;
pub use recordings::RecordingsArgs;
pub use ring::RingArgs;
pub use run::RunArgs;
pub use serve::ServeArgs;

/// A media gateway that gives cameras a Nostr identity that can be called.
#[derive(Debug, Parser)]
#[command(name = "callgate", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Logs more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// How logs are written
    #[arg(long, global = true, value_enum, default_value_t = LogStyle::Human)]
    pub log: LogStyle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogStyle {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the gateway
    Run(RunArgs),
    /// Runs a test camera, a relay and a page to call it from: no configuration needed
    Demo(DemoArgs),
    /// Runs one line, given by arguments
    Serve(ServeArgs),
    /// Calls a line, as a client does
    Call(CallArgs),
    /// Checks a configuration, without opening a port
    Check(CheckArgs),
    /// Makes a key, shows its public half, or encrypts it
    Keys(KeysArgs),
    /// Shows the lines of a configuration, and what they are doing if the gateway runs
    Lines(LinesArgs),
    /// Invites somebody to call a line for a while: prints a link that holds a one-time key
    Invite(InviteArgs),
    /// Shows the invitations, or takes one back
    Invites(InvitesArgs),
    /// Lets a line of the running gateway call somebody, and waits for what comes of it
    Ring(RingArgs),
    /// Shows the call log
    Calls(CallsArgs),
    /// Lists, shows, verifies and deletes recordings
    Recordings(RecordingsArgs),
}

/// Runs a command.
///
/// # Errors
/// A [`Failure`]: what to tell the person, and the exit code.
pub fn run(cli: &Cli) -> Outcome {
    match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::demo(args),
        Command::Serve(args) => serve::serve(args),
        Command::Call(args) => call::call(args),
        Command::Check(args) => check::check(args),
        Command::Keys(args) => keys::keys(args),
        Command::Lines(args) => lines::lines(args),
        Command::Invite(args) => invite::invite(args),
        Command::Invites(args) => invites::invites(args),
        Command::Ring(args) => ring::ring(args),
        Command::Calls(args) => calls::calls(args),
        Command::Recordings(args) => recordings::recordings(args),
    }
}
