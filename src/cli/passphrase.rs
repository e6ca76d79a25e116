//! Key files on the command line: the passphrase of an encrypted one comes from where `--passphrase` says, or from the terminal.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use clap::Args;
use nostr::Keys;

use super::{Exit, Failure};
use crate::config::{KeyError, PassphraseSource, Secret, open_key_file, read_key_file};

/// `--passphrase SOURCE`, as commands that take a key file have it.
#[derive(Debug, Args)]
pub struct PassphraseArg {
    /// Where the passphrase of an encrypted key is: file:PATH, env:NAME or credential:NAME (of systemd); asked for when absent
    // A Secret: somebody may give the passphrase itself, and arguments are shown by Debug.
    #[arg(long = "passphrase", value_name = "SOURCE")]
    source: Option<Secret>,
}

impl PassphraseArg {
    /// The key in a file, encrypted or not.
    pub(super) fn open(&self, file: &Path) -> Result<Keys, Failure> {
        match read_key_file(file) {
            Err(KeyError::Encrypted(_)) => Ok(open_key_file(file, &self.read(&["Passphrase: "])?)?),
            read => Ok(read?),
        }
    }

    /// A passphrase for a key that is to be encrypted.
    pub(super) fn choose(&self) -> Result<Secret, Failure> {
        self.read(&["New passphrase: ", "Once more: "])
    }

    /// Asks with each of the prompts when there is somebody to ask; the same is to be answered to all.
    fn read(&self, prompts: &[&str]) -> Result<Secret, Failure> {
        let usage = |words: &dyn std::fmt::Display| Failure::words(Exit::Usage, format_args!("--passphrase: {words}"));
        if let Some(source) = &self.source {
            let source = PassphraseSource::parse(source.expose(), Path::new("")).map_err(|problem| usage(&problem))?;
            return source
                .read()
                .map_err(|problem| Failure::words(Exit::NoInput, format_args!("--passphrase: {problem}")));
        }
        if !io::stdin().is_terminal() {
            return Err(usage(&"is needed: there is no terminal to ask at"));
        }
        let mut answers = Vec::new();
        for prompt in prompts {
            answers.push(rpassword::prompt_password(prompt).map_err(|error| Failure::new(Exit::IoError, error))?);
        }
        let answer = answers.pop().unwrap_or_default();
        if answers.iter().any(|other| *other != answer) {
            return Err(Failure::words(Exit::Usage, "the two passphrases differ"));
        }
        if answer.is_empty() { Err(usage(&"is empty")) } else { Ok(Secret::from(answer)) }
    }
}
