//! `callgate serve`: one line, given by arguments.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::link::page_link;
use super::passphrase::PassphraseArg;
use super::run::line_ready;
use super::text::say;
use super::{Exit, Failure, Outcome, arguments, daemon, qr_code};
use crate::config::{self, Access, AccessPolicy, Config, DEFAULT_IDLE, Http, Line, LineKey, Record, Refuse, Secret};
use crate::endpoint::Endpoint;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What the caller sees and hears, such as rtsp://10.0.0.5/main
    pub play: Secret,
    /// Who may call; give it again for more, or "*" for anyone
    #[arg(long, value_name = "NPUB", required = true)]
    pub allow: Vec<String>,
    /// A relay to be called through; give it again for more
    #[arg(long = "relay", value_name = "URL")]
    pub relays: Vec<String>,
    /// Runs a relay here and is called through it; at 127.0.0.1:7777 when no relay is given at all
    #[arg(long, value_name = "ADDR:PORT")]
    pub embedded_relay: Option<SocketAddr>,
    /// Serves the page to call from
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// The file with the API's token: needed to listen beyond this machine
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The file with the line's secret key; kept under the data folder when absent
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    pub passphrase: PassphraseArg,
    /// What the line is called
    #[arg(long, default_value = "camera")]
    pub name: String,
    /// Where the key and the call log are kept; ~/.local/share/callgate when absent
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

impl ServeArgs {
    /// The configuration that says the same; its line has no key yet when it is to be made.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let usage = |option: &str, problem: &dyn std::fmt::Display| {
            Failure::words(Exit::Usage, format_args!("{option}: {problem}"))
        };
        let play = self.play.expose().parse::<Endpoint>().map_err(|error| usage("PLAY", &error))?;
        let name = config::parse_line_name(&self.name).map_err(|problem| usage("--name", &problem))?;
        let access = match self.allow.as_slice() {
            [star] if star == "*" => Access::Anyone,
            keys => Access::Only(arguments::public_keys("--allow", keys)?.into_iter().collect()),
        };
        let token = self.token_file.as_deref().map(config::read_token_file).transpose();
        let token = token.map_err(|problem| usage("--token-file", &problem))?;
        if self.listen.is_some_and(|listen| !listen.ip().is_loopback()) && token.is_none() {
            return Err(usage("--listen", &"listening beyond this machine needs --token-file"));
        }
        let data_dir = match &self.data_dir {
            Some(folder) => folder.clone(),
            None => usual_data_dir().ok_or_else(|| usage("--data-dir", &"is missing, and there is no home folder"))?,
        };
        let key = match &self.key {
            Some(path) => LineKey::Given(self.passphrase.open(path)?),
            None => LineKey::kept(&data_dir, &name)?,
        };
        let mut config = Config::new(data_dir);
        config.nostr.relays = arguments::relays("--relay", &self.relays)?;
        config.nostr.embedded_relay = match self.embedded_relay {
            None if self.relays.is_empty() => Some(USUAL_EMBEDDED_RELAY),
            given => given,
        };
        config.http = self.listen.map(|listen| Http { listen, token });
        config.lines.push(Line {
            name,
            key,
            play,
            access: AccessPolicy::new(access, Refuse::default()),
            record: Record::Off,
            announce: false,
            keep_warm: false,
            idle: DEFAULT_IDLE,
        });
        Ok(config)
    }
}

/// On this machine only: a relay for the neighbourhood is opened by name.
const USUAL_EMBEDDED_RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7777);

/// As the XDG Base Directory Specification says.
fn usual_data_dir() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")))?;
    Some(data.join("callgate"))
}

pub(super) fn serve(args: &ServeArgs) -> Outcome {
    daemon::run_with_data(args.config()?, |ready| {
        for line in &ready.lines {
            say(line_ready(line));
            // An npub always fits a QR code.
            if let Ok(code) = qr_code(&format!("nostr:{}", line.npub)) {
                say(code);
            }
        }
        if let (Some(page), Some(line)) = (ready.page, ready.lines.first()) {
            say(page_link(&format!("http://{page}/"), &line.npub, &line.relays, &[]));
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::LineKey;

    fn config_of(arguments: &str) -> (String, Result<Config, Failure>) {
        let cli = Cli::try_parse_from(arguments.split(' ')).unwrap();
        let shown = format!("{cli:?}");
        let Command::Serve(args) = cli.command else { panic!() };
        (shown, args.config())
    }

    #[test]
    fn arguments_say_what_a_configuration_says() {
        let (shown, config) = config_of(
            "callgate serve rtsp://u:hunter2@h/main --allow * --relay wss://relay.example.com --data-dir /nowhere/data \
             --listen 127.0.0.1:8080",
        );
        let config = config.unwrap();

        assert!(!shown.contains("hunter2"));
        assert_eq!(config.data_dir, PathBuf::from("/nowhere/data"));
        assert_eq!((config.nostr.relays.len(), config.nostr.embedded_relay), (1, None));
        assert_eq!(config.http.unwrap().listen.port(), 8080);
        let line = &config.lines[0];
        assert_eq!(line.play.to_string(), "rtsp://***@h/main");
        assert_eq!(line.access.access, Access::Anyone);
        assert_eq!(line.key, LineKey::ToGenerate("/nowhere/data/keys/camera.nsec".into()));
    }

    #[test]
    fn without_any_relay_one_is_run_on_this_machine() {
        let (_, config) = config_of("callgate serve test:// --allow * --data-dir /nowhere/data");
        assert!(config.unwrap().nostr.embedded_relay.unwrap().ip().is_loopback());
    }
}
