//! Typed configuration: one TOML file, read whole, every mistake in it told with file, line and key.
//!
//! Nothing here opens a port, talks to anyone or writes a file, except [`LineKey::open`], which makes a line's key the first time
//! it is needed. `Debug` of everything here is free of secrets.

mod key;
mod load;
mod passphrase;
mod problem;
mod programme;
mod reader;
mod recording;
mod scalar;
mod schema;
mod secret;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nostr::RelayUrl;

pub use key::{KeyError, LineKey, create_key_file, encrypt_key_file, open_key_file, read_key_file};
pub use load::{load, parse};
pub use passphrase::PassphraseSource;
pub use problem::{ConfigError, ConfigErrors, ConfigWarning, Doubt, Place, Problem};
pub use recording::{DEFAULT_FLOOR, DEFAULT_SEGMENT, Recording};
pub use scalar::{
    parse_length, parse_lifetime, parse_line_name, parse_moment, parse_offset, parse_public_key, parse_relay,
    parse_ring_time, parse_since,
};
pub use schema::{Key, Section, Since, sections};
pub use secret::{Secret, read_secret_file, read_token_file};

pub use crate::call::{Access, AccessPolicy, Limits, Listed, Millis, Refuse};
use crate::endpoint::Endpoint;
pub use crate::recording::Record;
pub use crate::sdp::{CallerServers, IceUrl};
use crate::sdp::{IceLogin, IceServer};

/// Everything that a daemon is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where keys, the call log and, unless told otherwise, recordings are kept.
    pub data_dir: PathBuf,
    pub nostr: Nostr,
    /// `[limits]`
    pub limits: Limits,
    pub ice: Ice,
    /// No HTTP server without it.
    pub http: Option<Http>,
    /// `[recording]`
    pub recording: Recording,
    /// At least one when read from a file; names and keys are unique.
    pub lines: Vec<Line>,
    /// What may not be meant.
    pub warnings: Vec<ConfigWarning>,
}

impl Config {
    /// A configuration without relays and lines, everything else as it is when a file does not mention it.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            recording: Recording::new(&data_dir),
            data_dir,
            nostr: Nostr::default(),
            limits: Limits::default(),
            ice: Ice::default(),
            http: None,
            lines: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl Config {
    /// Every relay that lines listen on, the embedded one last.
    pub fn relays(&self) -> Vec<String> {
        let embedded = self.nostr.embedded_relay.map(|address| format!("ws://{address}"));
        self.nostr.relays.iter().map(ToString::to_string).chain(embedded).collect()
    }
}

/// `[nostr]`. Of a configuration read from a file, at least one of the two is there.
#[derive(Debug, Clone, Default)]
pub struct Nostr {
    /// Each once; no user information in any of them. The embedded relay is not among them.
    pub relays: Vec<RelayUrl>,
    /// Where the relay inside callgate listens.
    pub embedded_relay: Option<SocketAddr>,
    /// Which of the relays that callers name in their offers are answered through.
    pub caller_relays: CallerServers,
}

/// `[ice]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ice {
    pub stun: Vec<IceUrl>,
    pub turn: Vec<Turn>,
    /// UDP ports for candidates, both ends included.
    pub ports: Option<(u16, u16)>,
    /// Public addresses of a 1:1 NAT.
    pub advertise: Vec<IpAddr>,
    /// Which local addresses become candidates; all but loopback when empty.
    pub bind: Vec<IpAddr>,
    /// Which of a caller's `rtc_servers` are used.
    pub caller_servers: CallerServers,
}

/// A TURN server of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub url: IceUrl,
    pub username: String,
    pub credential: Secret,
}

impl Turn {
    /// The server as ICE takes it; always there when read from a file.
    pub fn server(&self) -> Option<IceServer> {
        let credential = self.credential.expose().to_owned();
        IceServer::new(self.url.clone(), Some(IceLogin { username: self.username.clone(), credential }))
    }
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    pub listen: SocketAddr,
    /// Always there when `listen` is beyond loopback.
    pub token: Option<Secret>,
}

/// `[[line]]`
#[derive(Debug, Clone)]
pub struct Line {
    /// 1 to 64 letters, digits, `-`, `_` and `.`, a letter or digit first: it is part of file names and URLs.
    pub name: String,
    pub key: LineKey,
    /// What the caller sees and hears.
    pub play: Endpoint,
    pub access: AccessPolicy,
    /// Whose media is recorded in its calls.
    pub record: Record,
    /// Its name and its relays are published.
    pub announce: bool,
    /// The source is opened at start and never closed.
    pub keep_warm: bool,
    /// How long the source stays open without callers.
    pub idle: Duration,
}

/// How many keys one `follows_of` may have: each is asked for, and its list kept.
pub const MAX_FOLLOWS_OF: usize = 32;

/// [`Line::idle`] when the file does not say: a caller who calls again at once finds the source open.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(30);
