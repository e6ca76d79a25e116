//! `callgate ring`: lets a line of the running gateway call somebody, and waits for what comes of it.

use std::collections::HashSet;
use std::fmt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;
use nostr::nips::nip19::ToBech32 as _;
use serde::{Deserialize, Serialize};

use super::api::{Api, AskError};
use super::arguments::{self, ConfigArg};
use super::call::DialectArg;
use super::text::say;
use super::{Exit, Failure, Outcome};
use crate::config;
use crate::gateway::view::{CallView, RungView};
use crate::gateway::{MAX_RING_RELAYS, MAX_RUNG};

#[derive(Debug, Args)]
pub struct RingArgs {
    /// The line's name
    pub line: String,
    /// Whom it calls; the first who answers has the call
    #[arg(required = true)]
    pub npub: Vec<String>,
    /// How long it rings, from 5s to 120s
    #[arg(long = "for", value_name = "TIME", default_value = "60s")]
    pub time: String,
    /// A relay where they are reached, beside the gateway's own; may be given several times
    #[arg(long = "relay", value_name = "URL")]
    pub relays: Vec<String>,
    /// How the call travels: wrapped hides from relays who calls. Without it wrapped, and plain too when nobody answers
    #[arg(long, value_enum)]
    pub dialect: Option<DialectArg>,
    #[command(flatten)]
    pub config: ConfigArg,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// How long an answer of the gateway may take: it is known to run once it has taken the call, and a busy machine is no reason to give up.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// How often the gateway is asked how it stands.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How much longer than it rings a call may take to come to something: opening a camera, connecting, taking it down. The gateway has deadlines of
/// its own; this is for one that does not keep them.
const PATIENCE: Duration = Duration::from_secs(180);

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    Answered,
    Refused,
    Busy,
    NoAnswer,
    /// Another one who was rung answered.
    AnsweredByOther,
    HungUp,
    /// Something went wrong.
    Failed,
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::NoAnswer => "no answer",
            Self::AnsweredByOther => "answered by another",
            Self::HungUp => "hung up",
            Self::Failed => "failed",
        })
    }
}

impl Came {
    /// What is known of a call; `None` while it rings or connects.
    fn of(call: &CallView) -> Option<Self> {
        // A call that was up was answered, however it ended since.
        if call.milestones.secured.is_some() {
            return Some(Self::Answered);
        }
        Some(match call.ended.as_deref()? {
            "declined" => Self::Refused,
            "callee_busy" => Self::Busy,
            "unanswered" => Self::NoAnswer,
            "answered_by_other" => Self::AnsweredByOther,
            "operator_left" | "shutdown" => Self::HungUp,
            _ => Self::Failed,
        })
    }

    /// The code for several calls: that an answer was had counts most, then what a person said.
    fn exit(all: &[Ringing]) -> Exit {
        let order = [
            (Self::Answered, Exit::Success),
            (Self::Refused, Exit::Refused),
            (Self::Busy, Exit::Busy),
            (Self::NoAnswer, Exit::NoAnswer),
        ];
        let came = |wanted: Came| all.iter().any(|call| call.outcome == Some(wanted));
        order.into_iter().find(|(wanted, _)| came(*wanted)).map_or(Exit::Failed, |(_, exit)| exit)
    }
}

/// One who is rung, as it is shown.
#[derive(Debug, Serialize)]
struct Ringing {
    to: String,
    /// The call's name in the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outcome: Option<Came>,
    /// Why it ended: the word of the call log, or why there was no call.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Rung {
    calls: Vec<RungView>,
}

pub(super) fn ring(args: &RingArgs) -> Outcome {
    let keys = arguments::public_keys("NPUB", &args.npub)?;
    let relays = arguments::relays("--relay", &args.relays)?;
    let usage = |words: String| Failure::words(Exit::Usage, words);
    let rings = config::parse_ring_time(&args.time).map_err(|problem| usage(format!("--for: {problem}")))?;
    if keys.iter().collect::<HashSet<_>>().len() > MAX_RUNG {
        return Err(usage(format!("NPUB: at most {MAX_RUNG} are called at once")));
    }
    if relays.len() > MAX_RING_RELAYS {
        return Err(usage(format!("--relay: at most {MAX_RING_RELAYS}")));
    }
    let config = config::load(&args.config.file)?;
    if !config.lines.iter().any(|line| line.name == args.line) {
        let names: Vec<&str> = config.lines.iter().map(|line| line.name.as_str()).collect();
        return Err(usage(format!("LINE: there is no line of this name; there is {}", names.join(", "))));
    }
    let Some(http) = &config.http else {
        return Err(Failure::words(Exit::Config, "the running gateway is asked over its API: set http.listen"));
    };
    let to: Vec<String> = keys.iter().map(|key| key.to_bech32().unwrap_or_else(|never| match never {})).collect();
    let dialect = args.dialect.map(|dialect| match dialect {
        DialectArg::Plain => "plain",
        DialectArg::Wrapped => "wrapped",
    });
    let body = serde_json::json!({ "to": to, "for": args.time, "relays": relays, "dialect": dialect });
    let api = Api::of(http, ANSWERS_WITHIN);
    let enough = interrupted()?;
    let Rung { calls } = api.post(&format!("/api/lines/{}/ring", args.line), &body)?;
    let calls = calls.into_iter().map(|RungView { to, id, error }| {
        let outcome = id.is_none().then_some(Came::Failed);
        Ringing { to, id, outcome, why: error }
    });
    wait(args, &api, calls.collect(), &enough, rings + PATIENCE)
}

/// Looks after the calls until each has come to something; hangs up when the person has had enough.
fn wait(
    args: &RingArgs,
    api: &Api,
    mut calls: Vec<Ringing>,
    enough: &mpsc::Receiver<()>,
    patience: Duration,
) -> Outcome {
    let until = Instant::now() + patience;
    let mut said = vec![String::new(); calls.len()];
    while calls.iter().any(|call| call.outcome.is_none()) {
        for (call, said) in calls.iter_mut().zip(&mut said).filter(|(call, _)| call.outcome.is_none()) {
            let Some(id) = &call.id else { continue };
            let view: CallView = match api.get(&format!("/api/calls/{id}")) {
                Ok(view) => view,
                // It ended so long ago that it is shown no more.
                Err(AskError::Refused { status: 404, .. }) => {
                    call.outcome = Some(Came::Failed);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if !args.json && view.state != *said {
                eprintln!("{}: {}", call.to, view.state);
                said.clone_from(&view.state);
            }
            call.outcome = Came::of(&view);
            call.why = view.ended;
        }
        if Instant::now() > until {
            return Err(Failure::words(Exit::Software, "the gateway does not end its calls: its log says why"));
        }
        if enough.recv_timeout(LOOK_EVERY).is_ok() {
            for id in calls.iter().filter(|call| call.outcome.is_none()).filter_map(|call| call.id.as_deref()) {
                api.delete(&format!("/api/calls/{id}"))?;
            }
        }
    }
    let exit = Came::exit(&calls);
    if args.json {
        say(serde_json::json!({ "line": args.line, "calls": calls }));
    } else {
        for Ringing { to, outcome, why, .. } in &calls {
            let why = why.as_deref().filter(|_| *outcome == Some(Came::Failed));
            let outcome = outcome.unwrap_or(Came::Failed);
            say(format_args!("{to}: {outcome}{}", why.map(|why| format!(" ({why})")).unwrap_or_default()));
        }
    }
    Ok(exit)
}

/// Hears when the person presses Ctrl-C.
fn interrupted() -> Result<mpsc::Receiver<()>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Software, error))?;
    let (tell, hear) = mpsc::sync_channel(1);
    // It ends with the process.
    std::thread::spawn(move || {
        while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            // Full: it is known already, and not yet done.
            let _ = tell.try_send(());
        }
        // Without the sender nobody would wait between two looks.
        loop {
            std::thread::park();
        }
    });
    Ok(hear)
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let exit = match &error {
            AskError::Silent(_) | AskError::Foreign(_) => Exit::Unavailable,
            // Too much at once, or on its way down.
            AskError::Refused { status: 429 | 503, .. } => Exit::Unavailable,
            AskError::Refused { .. } => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(outcome: Came) -> Ringing {
        Ringing { to: String::new(), id: None, outcome: Some(outcome), why: None }
    }

    #[test]
    fn an_answer_counts_most_and_then_what_a_person_said() {
        use Came::*;
        let exit = |all: &[Came]| Came::exit(&all.iter().copied().map(call).collect::<Vec<_>>());
        assert_eq!(exit(&[AnsweredByOther, Answered, Refused]), Exit::Success);
        assert_eq!(exit(&[NoAnswer, Busy, Refused]), Exit::Refused);
        assert_eq!(exit(&[Failed, NoAnswer, Busy]), Exit::Busy);
        assert_eq!(exit(&[Failed, NoAnswer]), Exit::NoAnswer);
        assert_eq!(exit(&[Failed, HungUp]), Exit::Failed);
    }
}
