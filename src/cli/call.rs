//! `callgate call`: a client of the protocol.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nostr::{Keys, PublicKey, RelayUrl};
use tokio::time::Instant;

use super::ice::IceArgs;
use super::passphrase::PassphraseArg;
use super::progress::Show;
use super::{Exit, Failure, Outcome, arguments};
use crate::gateway::{DialEnd, DialEvent, DialSettings, dial};
use crate::media::IceSettings;
use crate::media::caller::{CallerSettings, Recorded};
use crate::protocol::{Cipher, Dialect, RtcServer};

#[derive(Debug, Args)]
pub struct CallArgs {
    /// Whom to call
    pub npub: String,
    /// A relay to call through; give it again for more
    #[arg(long = "relay", value_name = "URL", required = true)]
    pub relays: Vec<String>,
    /// The key file to call with; a key made for this call when absent
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    pub passphrase: PassphraseArg,
    /// Hangs up after so many seconds of media; without it, when interrupted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: Option<u32>,
    /// Keeps what is received in this Matroska file
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// How signaling is encrypted
    #[arg(long, value_enum, ignore_case = true, default_value_t = Alg::Nip44)]
    pub alg: Alg,
    /// How signaling travels: wrapped hides from relays who calls. Without it wrapped, and plain too when nobody answers
    #[arg(long, value_enum)]
    pub dialect: Option<DialectArg>,
    /// Sends a tone and a test picture as the caller's own media
    #[arg(long)]
    pub send: bool,
    /// Prints one JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub ice: IceArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Alg {
    #[value(name = "NIP-44")]
    Nip44,
    #[value(name = "NIP-04")]
    Nip04,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialectArg {
    Wrapped,
    Plain,
}

/// A call to make: the arguments, read.
#[derive(Debug)]
pub(super) struct CallPlan {
    pub(super) callee: PublicKey,
    pub(super) relays: Vec<RelayUrl>,
    pub(super) keys: Keys,
    pub(super) cipher: Cipher,
    pub(super) dialect: Option<Dialect>,
    pub(super) lasts: Option<Duration>,
    pub(super) ice: IceSettings,
    /// STUN and TURN servers that the offer names.
    pub(super) shared: Vec<RtcServer>,
}

impl CallArgs {
    /// Reads the values; a key file that exists already and cannot be read is the person's mistake.
    pub(super) fn plan(&self) -> Result<CallPlan, Failure> {
        if self.record.as_ref().is_some_and(|path| path.is_dir()) {
            return Err(Failure::words(Exit::CannotCreate, "--record: it is a folder"));
        }
        let (ice, shared) = self.ice.settings()?;
        Ok(CallPlan {
            ice,
            shared,
            callee: arguments::public_key("NPUB", &self.npub)?,
            relays: arguments::relays("--relay", &self.relays)?,
            keys: match &self.key {
                Some(path) => self.passphrase.open(path)?,
                None => Keys::generate(),
            },
            cipher: match self.alg {
                Alg::Nip44 => Cipher::Nip44,
                Alg::Nip04 => Cipher::Nip04,
            },
            dialect: self.dialect.map(|dialect| match dialect {
                DialectArg::Wrapped => Dialect::Wrapped,
                DialectArg::Plain => Dialect::Plain,
            }),
            lasts: self.seconds.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }
}

/// How long packets that are late or lost are waited for: a telephone's usual jitter buffer, room for one resending.
const JITTER: Duration = Duration::from_millis(150);

/// How long an offer rings.
const RINGS: Duration = Duration::from_secs(60);

pub(super) fn call(args: &CallArgs) -> Outcome {
    let plan = args.plan()?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::new(Exit::Software, error))?;
    let outcome = runtime.block_on(talk(args, plan));
    runtime.shutdown_background();
    outcome
}

async fn talk(args: &CallArgs, plan: CallPlan) -> Outcome {
    let settings = DialSettings {
        keys: plan.keys,
        to: plan.callee,
        relays: plan.relays,
        cipher: plan.cipher,
        dialect: plan.dialect,
        rings: RINGS,
        shared: plan.shared,
        media: CallerSettings {
            ice: plan.ice,
            video: true,
            h264_only: false,
            audio: true,
            send_test_media: args.send,
            record: args.record.clone(),
            jitter: JITTER,
            ..CallerSettings::default()
        },
    };
    let mut show = Show::new(args.json);
    let (dialled, mut events) = dial(settings).await.map_err(|error| Failure::new(Exit::Unavailable, error))?;
    // Far enough to be never, near enough not to overflow the clock.
    let mut until = Instant::now() + Duration::from_secs(365 * 24 * 3600);
    let mut flowed = false;
    loop {
        let event = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {
                dialled.hang_up();
                continue;
            }
            () = tokio::time::sleep_until(until), if !dialled.hanging_up() => {
                dialled.hang_up();
                continue;
            }
            event = events.recv() => event,
        };
        let Some(event) = event else {
            return Err(Failure::words(Exit::Software, "the call's task died"));
        };
        show.event(&event);
        match event {
            DialEvent::FirstFrame | DialEvent::FirstAudio if !flowed => {
                flowed = true;
                if let Some(lasts) = plan.lasts {
                    until = Instant::now() + lasts;
                }
            }
            DialEvent::Ended { why, recorded } => return ended(args, &why, recorded, flowed),
            _ => {}
        }
    }
}

fn ended(args: &CallArgs, why: &DialEnd, recorded: Option<Recorded>, flowed: bool) -> Outcome {
    if args.record.is_some() && flowed && !recorded.is_some_and(|recorded| recorded.whole) {
        return Err(Failure::words(Exit::IoError, "the recording is not whole"));
    }
    let exit = match why {
        _ if flowed => Exit::Success,
        DialEnd::NoRelay | DialEnd::NotSent => Exit::Unavailable,
        _ => Exit::Failed,
    };
    // A person has just read why; beside objects for a program, the words go to stderr.
    let told = !args.json || exit == Exit::Success || *why == DialEnd::HungUp;
    if told { Ok(exit) } else { Err(Failure::words(exit, why)) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn arguments_become_a_plan() {
        let callee = Keys::generate().public_key();
        let line = format!(
            "callgate call {callee} --relay wss://a --relay ws://b:7777 --alg nip-04 --seconds 5 --dialect plain"
        );
        let Command::Call(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };

        let plan = args.plan().unwrap();

        assert_eq!((plan.callee, plan.relays.len()), (callee, 2));
        assert_eq!((plan.cipher, plan.lasts), (Cipher::Nip04, Some(Duration::from_secs(5))));
        assert_eq!(plan.dialect, Some(Dialect::Plain));
    }
}
