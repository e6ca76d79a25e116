//! `callgate keys`: makes a key, shows its public half, or encrypts it. A secret key is never printed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use nostr::Keys;
use nostr::nips::nip19::{Nip19Profile, ToBech32 as _};

use super::passphrase::PassphraseArg;
use super::text::say;
use super::{Exit, Outcome, arguments};
use crate::config::{create_key_file, encrypt_key_file, read_key_file};

#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Makes a secret key and keeps it in a new file that only you can read
    New {
        /// The file to make
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows the public key of a key file
    Show {
        file: PathBuf,
        /// A relay where the key can be reached; adds an nprofile, which says so
        #[arg(long = "relay", value_name = "URL")]
        relays: Vec<String>,
        #[command(flatten)]
        passphrase: PassphraseArg,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Writes the key of a file, encrypted with a passphrase (NIP-49), to another: what to keep where others may read it
    Encrypt {
        file: PathBuf,
        /// The file to make
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArg,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn keys(args: &KeysArgs) -> Outcome {
    match &args.command {
        KeysCommand::New { out, json } => show(&create_key_file(out)?, &[], *json),
        KeysCommand::Show { file, relays, passphrase, json } => show(&passphrase.open(file)?, relays, *json),
        KeysCommand::Encrypt { file, out, passphrase, json } => {
            // One that is encrypted already has a passphrase, which this one is not.
            let keys = read_key_file(file)?;
            encrypt_key_file(&keys, &passphrase.choose()?, out)?;
            show(&keys, &[], *json)
        }
    }
}

fn show(keys: &Keys, relays: &[String], json: bool) -> Outcome {
    let relays = arguments::relays("--relay", relays)?;
    let key = keys.public_key();
    let Ok(npub) = key.to_bech32();
    // Encoding fails on nothing that was read as a relay URL; without relays an nprofile says no more than the npub.
    let nprofile =
        if relays.is_empty() { None } else { Nip19Profile::new(key, relays.iter().cloned()).to_bech32().ok() };
    if json {
        say(serde_json::json!({ "npub": npub, "hex": key.to_hex(), "nprofile": nprofile }));
    } else {
        say(format_args!("npub:     {npub}"));
        say(format_args!("hex:      {}", key.to_hex()));
        if let Some(nprofile) = nprofile {
            say(format_args!("nprofile: {nprofile}"));
        }
    }
    Ok(Exit::Success)
}
