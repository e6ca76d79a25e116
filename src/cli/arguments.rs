//! Reading the command line, and telling what is wrong with it without repeating secrets.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser as _;
use clap::error::ErrorKind;
use nostr::PublicKey;
use nostr::RelayUrl;

use super::{Cli, Exit, Failure};
use crate::config::{parse_public_key, parse_relay};

/// Reads the arguments. Help, the version and complaints are printed here.
///
/// # Errors
/// The exit code to end with.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let error = match Cli::try_parse_from(&arguments) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe (`callgate --help | head -1`) is no failure.
            let _ = error.print();
            Err(Exit::Success)
        }
        _ => {
            eprint!("{}", without_secrets(&error.render().to_string(), &arguments));
            Err(Exit::Usage)
        }
    }
}

/// clap repeats what it cannot place: `unexpected argument 'rtsp://user:password@10.0.0.5' found`.
fn without_secrets(text: &str, arguments: &[OsString]) -> String {
    let mut text = text.to_owned();
    for argument in arguments.iter().skip(1) {
        let argument = argument.to_string_lossy();
        let value = match argument.split_once('=') {
            Some((name, value)) if name.starts_with('-') => value,
            _ => &argument,
        };
        if value.contains('@') || value.contains("://") || value.contains("nsec1") || is_hex_key(value) {
            text = text.replace(value, "***");
        }
    }
    text
}

fn is_hex_key(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// `--config FILE`, as most commands take it.
#[derive(Debug, clap::Args)]
pub struct ConfigArg {
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "CALLGATE_CONFIG")]
    pub file: PathBuf,
}

/// Reads keys given as arguments. Values are read here and not by clap, which would repeat them in its complaint.
pub(super) fn public_keys(option: &str, texts: &[String]) -> Result<Vec<PublicKey>, Failure> {
    texts.iter().map(|text| public_key(option, text)).collect()
}

pub(super) fn public_key(option: &str, text: &str) -> Result<PublicKey, Failure> {
    parse_public_key(text).map_err(|problem| Failure::words(Exit::Usage, format_args!("{option}: {problem}")))
}

pub(super) fn relays(option: &str, texts: &[String]) -> Result<Vec<RelayUrl>, Failure> {
    let relay = |text: &String| {
        parse_relay(text).map_err(|problem| Failure::words(Exit::Usage, format_args!("{option}: {problem}")))
    };
    texts.iter().map(relay).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn arguments(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_complaint_repeats_no_secret() {
        for line in [
            "callgate serve rtsp://h rtsp://u:hunter2@h",
            "callgate run -c a rtsp://u:hunter2@h",
            "callgate run --confg=rtsp://u:hunter2@h",
            "callgate demo --port=u:hunter2@h",
            "callgate keys show a nsec1hunter2",
        ] {
            let arguments = arguments(line);
            let error = Cli::try_parse_from(&arguments).unwrap_err();
            let shown = without_secrets(&error.render().to_string(), &arguments);
            assert!(!shown.contains("hunter2"), "{line}: {shown}");
        }
    }
}
