//! `callgate invites`: who is invited, and taking an invitation back, also while the daemon runs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::arguments;
use super::invite::now;
use super::text::{say, table, utc};
use super::{Exit, Failure, Outcome};
use crate::config::{self, Millis};
use crate::store::{Invitations, KeptInvitation, Which};

#[derive(Debug, Args)]
pub struct InvitesArgs {
    #[command(subcommand)]
    pub command: Option<InvitesCommand>,
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "CALLGATE_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum InvitesCommand {
    /// Takes an invitation back, and ends the calls that it began
    Revoke {
        /// Its number in the list, or its npub
        #[arg(value_name = "NUMBER|NPUB")]
        which: String,
    },
}

pub(super) fn invites(args: &InvitesArgs) -> Outcome {
    let file = args.config.as_deref();
    let file = file.ok_or_else(|| Failure::words(Exit::Usage, "--config: which configuration? Give -c FILE"))?;
    match &args.command {
        None => list(file, args.json),
        Some(InvitesCommand::Revoke { which }) => revoke(file, which),
    }
}

fn list(file: &Path, json: bool) -> Outcome {
    let invitations = match Invitations::open(&config::load(file)?.data_dir)? {
        Some(invitations) => invitations.all()?,
        None => Vec::new(),
    };
    let now = now();
    if json {
        let shown: Vec<_> = invitations.iter().map(|invitation| with_state(invitation, now)).collect();
        say(serde_json::json!({ "invitations": shown }));
    } else if invitations.is_empty() {
        say("no invitations");
    } else {
        let rows: Vec<_> = invitations.iter().map(|invitation| row(invitation, now)).collect();
        say(table(["NUMBER", "LINE", "FOR", "NPUB", "UNTIL (UTC)", "STATE", "CALLS", "LAST CALL (UTC)"], &rows));
    }
    Ok(Exit::Success)
}

fn revoke(file: &Path, which: &str) -> Outcome {
    // Numbers are short and keys are long.
    let which = match which.parse::<u64>() {
        Ok(number) => Which::Number(number),
        Err(_) => Which::Key(arguments::public_key("NUMBER|NPUB", which)?),
    };
    let none = || Failure::words(Exit::NoInput, "there is no such invitation");
    let invitations = Invitations::open(&config::load(file)?.data_dir)?.ok_or_else(none)?;
    let now = now();
    let before = invitations.revoke(which, now)?.ok_or_else(none)?;
    say(match state(&before, now) {
        State::Good => format!("invitation {} to {} is taken back", before.number, before.line),
        State::Ended => format!("invitation {} to {} had ended already", before.number, before.line),
        State::Revoked => format!("invitation {} to {} was taken back before", before.number, before.line),
    });
    Ok(Exit::Success)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Ended,
    Revoked,
}

fn state(invitation: &KeptInvitation, now: Millis) -> State {
    if invitation.revoked_ms.is_some() {
        State::Revoked
    } else if invitation.until_ms <= now.0 {
        State::Ended
    } else {
        State::Good
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Good => "good",
        State::Ended => "ended",
        State::Revoked => "revoked",
    }
}

/// In JSON, with a field `state`: `good`, `ended` or `revoked`.
fn with_state(invitation: &KeptInvitation, now: Millis) -> serde_json::Value {
    let mut shown = serde_json::json!(invitation);
    shown["state"] = word(state(invitation, now)).into();
    shown
}

fn row(invitation: &KeptInvitation, now: Millis) -> [String; 8] {
    [
        invitation.number.to_string(),
        invitation.line.clone(),
        invitation.label.clone(),
        // Enough to tell guests apart; `--json` has all of it.
        invitation.npub.chars().take(16).collect(),
        utc(invitation.until_ms),
        word(state(invitation, now)).to_owned(),
        invitation.calls.to_string(),
        invitation.called_ms.map_or_else(|| "-".to_owned(), utc),
    ]
}
