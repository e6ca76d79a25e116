//! What can be wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::KeyError;
use crate::endpoint::EndpointError;
use crate::recording::TemplateError;

/// All that is wrong with a configuration, in the file's order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One mistake: one line of text, without a value of the file in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{problem}")]
pub struct ConfigError {
    pub place: Place,
    pub problem: Problem,
}

/// What is allowed, and perhaps not meant: one line of text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{doubt}")]
pub struct ConfigWarning {
    pub place: Place,
    pub doubt: Doubt,
}

/// Shown as `callgate.toml:12: nostr.relays[0]: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// Counted from 1; none when the file as a whole is meant.
    pub line: Option<usize>,
    /// `nostr.relays[0]`, `line "driveway": play`; empty when no key is to blame.
    pub key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        f.write_str(" ")?;
        if self.key.is_empty() { Ok(()) } else { write!(f, "{}: ", self.key) }
    }
}

/// What `until` takes.
pub(super) const UNTIL: &str =
    "a time with its offset such as 2026-12-31T18:00:00Z, or a date such as 2026-12-31, which means its end in UTC";

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {}", io_words(*.0))]
    ConfigUnreadable(io::ErrorKind),
    #[error("is longer than {0} bytes")]
    TooLong(u64),
    #[error("not TOML: {0}")]
    Syntax(String),
    #[error("unknown key{}", DidYouMean(*nearest))]
    UnknownKey { nearest: Option<&'static str> },
    #[error("is not in this version of callgate")]
    NotInThisVersion,
    #[error("is missing: {0}")]
    Missing(&'static str),
    #[error("must be {0}")]
    Type(&'static str),
    #[error("must be a whole number from {0} to {1}")]
    Range(u64, u64),
    #[error("has more than {0} keys")]
    TooMany(usize),
    #[error("must be one of {0}")]
    Choice(&'static str),
    #[error("the environment has no variable {0}")]
    EnvUnset(String),
    #[error("no such file in {}", .0.display())]
    NoSuchFile(PathBuf),
    #[error("cannot read {}: {}", .0.display(), io_words(*.1))]
    FileUnreadable(PathBuf, io::ErrorKind),
    #[error("is a secret key itself: put it in a file that only you can read, and name the file here")]
    SecretForAPath,
    #[error("{} is empty", .0.display())]
    FileEmpty(PathBuf),
    #[error("must be a duration such as \"30s\", \"500ms\", \"5m\" or \"2h\", at most 24h")]
    Duration,
    #[error("must be a time such as \"30m\", \"2h\" or \"7d\", at most 365d")]
    Lifetime,
    #[error("must be a length from 10s to 24h, such as \"1h\"")]
    Segment,
    #[error("must be a length from 1s to 24h, such as \"90s\" or \"10m\"")]
    Length,
    #[error("must be a size such as \"500MB\", \"20GB\" or \"1GiB\"")]
    Size,
    #[error("is less than `floor`: recordings would end before the oldest had to go")]
    BelowFloor,
    #[error("{0}")]
    Template(TemplateError),
    #[error("must be a time from 5s to 120s, such as \"60s\"")]
    RingTime,
    #[error("must be two ports such as \"50000-50199\", the lower first, none below 1024")]
    Ports,
    #[error("must be an IP address")]
    IpAddress,
    #[error("must name one address, not all of them")]
    AnyAddress,
    #[error("must be an address and a port such as \"127.0.0.1:8080\"")]
    SocketAddress,
    #[error("must be a relay's URL: wss://... or ws://...")]
    RelayUrl,
    #[error("must not hold a user name or password: a line's relays are told to everybody")]
    RelaySecret,
    #[error("no relay: give nostr.relays or nostr.embedded_relay, or nobody can call")]
    NoRelay,
    #[error("must be \"stun:host:port\"")]
    StunUrl,
    #[error("must be \"turn:host:port\" or \"turns:host:port\", perhaps with \"?transport=tcp\"")]
    TurnUrl,
    #[error("user name and password must be 1 to 512 characters")]
    TurnLogin,
    #[error(
        "must be \"file:PATH\", \"env:NAME\" or \"credential:NAME\": where the passphrase is, not the passphrase itself"
    )]
    PassphraseSource,
    #[error("{} holds an encrypted key (ncryptsec): say with key_passphrase where its passphrase is", .0.display())]
    NoPassphrase(PathBuf),
    #[error("is empty")]
    PassphraseEmpty,
    #[error("systemd gave this process no credentials: add LoadCredential= to its unit")]
    NoCredentials,
    #[error("systemd gave this process no credential {0}")]
    NoCredential(String),
    #[error("must be an npub (npub1...) or 64 hex digits")]
    PublicKey,
    #[error("is a secret key: give its npub instead, and make a new key if others have read this file")]
    SecretKeyShown,
    #[error("must be {UNTIL}")]
    Until,
    #[error("\"*\" lets anyone call, and stands alone")]
    StarNotAlone,
    #[error("listening beyond this machine needs http.token_file")]
    TokenNeeded,
    #[error("the token in the file is shorter than {0} characters")]
    TokenShort(usize),
    #[error("must be 1 to 64 letters, digits, `-`, `_` or `.`, a letter or digit first")]
    LineName,
    #[error("another line has this name, at line {0}")]
    SameName(usize),
    #[error("line {0:?} has the same key: each line needs its own")]
    SameKey(String),
    #[error("no [[line]]: there is nothing to call")]
    NoLine,
    #[error("{0}")]
    Endpoint(EndpointError),
    #[error("is for lines that play a file")]
    OnlyForFiles,
    #[error("contradicts `after`: `loop = true` is short for `after = \"loop\"`")]
    LoopAfter,
    #[error("{0}")]
    Key(KeyError),
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
}

impl Problem {
    /// A file that is not there is not named: somebody may have put the password itself where its file is expected.
    pub(super) fn unreadable(path: &Path, kind: io::ErrorKind) -> Self {
        match (kind, path.parent()) {
            (io::ErrorKind::NotFound, Some(folder)) => Self::NoSuchFile(folder.to_owned()),
            _ => Self::FileUnreadable(path.to_owned(), kind),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unreadable(path, kind) => Self::unreadable(&path, kind),
            KeyError::Encrypted(path) => Self::NoPassphrase(path),
            other => Self::Key(other),
        }
    }
}

/// What may not be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    #[error("ended already: the entry changes nothing")]
    Over,
    #[error("nobody may call: give `allow` here or in [access]")]
    NobodyMayCall,
    #[error("{ports} ports are too few for {calls} calls at once: a call takes one or more")]
    FewPorts { ports: usize, calls: usize },
    #[error("{} can be read by others: run `chmod 600 {}`", .0.display(), .0.display())]
    OpenToOthers(PathBuf),
    #[error("there is no {}: whoever calls before it is there hears that it cannot be played", .0.display())]
    NothingToPlay(PathBuf),
    #[error("each caller sees the file from its beginning: without `start = \"shared\"` there is nothing to keep open")]
    NothingToKeepWarm,
}

struct DidYouMean(Option<&'static str>);

impl fmt::Display for DidYouMean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "; did you mean `{key}`?"),
            None => Ok(()),
        }
    }
}

/// An I/O error as an operator says it.
pub(super) fn io_words(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::InvalidData => "it is not text".to_owned(),
        other => other.to_string(),
    }
}
