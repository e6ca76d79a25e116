//! From a document to a [`Config`].

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nostr::PublicKey;
use toml::de::DeTable;

use super::reader::{Document, MAX_CONFIG_BYTES, Table, Value};
use super::{
    Config, ConfigError, ConfigErrors, DEFAULT_IDLE, Doubt, Http, Ice, KeyError, Limits, Line, LineKey, MAX_FOLLOWS_OF,
    Nostr, PassphraseSource, Place, Problem, Recording, Secret, Turn, open_key_file, programme, read_key_file,
    read_secret_file, read_token_file, recording, scalar, schema,
};
use crate::call::{Access, AccessPolicy, Listed, Millis, Refuse};
use crate::endpoint::Endpoint;

/// Reads and validates a file; opens no port and writes nothing.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path) -> Result<Config, ConfigErrors> {
    let whole = |problem| {
        let place = Place { file: file.to_owned(), line: None, key: String::new() };
        ConfigErrors(vec![ConfigError { place, problem }])
    };
    let mut text = String::new();
    // One byte over the limit is read, to tell a file of just this length from a longer one.
    let read = File::open(file).and_then(|file| file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(whole(Problem::ConfigUnreadable(error.kind()))),
        Ok(bytes) if bytes as u64 > MAX_CONFIG_BYTES => Err(whole(Problem::TooLong(MAX_CONFIG_BYTES))),
        Ok(_) => parse(&text, file),
    }
}

/// Validates a configuration's text. `file` names it in errors; relative paths start at its folder.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigErrors> {
    let doc = Document::new(file, text);
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        // Only the message: the parser's own Display quotes the line, and with it perhaps a password.
        doc.refuse(error.span().map(|span| span.start), "", Problem::Syntax(error.message().replace('\n', ", ")));
    }
    // What a broken document seems to say is not worth complaining about.
    let config = if syntax.is_empty() { top(&doc, table.get_ref()) } else { None };
    let (errors, warnings) = doc.finish();
    match config {
        Some(config) if errors.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(ConfigErrors(errors)),
    }
}

/// None only after an error was reported.
fn top<'a>(doc: &'a Document<'a>, values: &'a DeTable<'a>) -> Option<Config> {
    let top = Table::open(doc, &schema::TOP, String::new(), None, values);
    let data_dir = top.require("data_dir").and_then(|value| {
        let path = value.path()?;
        if path.exists() && !path.is_dir() {
            value.refuse(Problem::NotAFolder(path));
            return None;
        }
        Some(path)
    });
    let (nostr, passphrase) = match top.get("nostr") {
        Some(value) => match value.table(&schema::NOSTR) {
            Some(table) => (Some(nostr(&table)), Passphrase::of(&table)),
            None => (None, None),
        },
        None => {
            top.refuse("nostr", Problem::NoRelay);
            (None, None)
        }
    };
    let access = top.get("access").and_then(|value| value.table(&schema::ACCESS));
    let access = access.map(|table| access_of(&table)).unwrap_or_default();
    let limits = top.get("limits").and_then(|value| value.table(&schema::LIMITS));
    let limits = limits.map(|table| limits_of(&table)).unwrap_or_default();
    let ice = top.get("ice").and_then(|value| value.table(&schema::ICE));
    let ice = ice.map(|table| ice_of(&table, limits.calls)).unwrap_or_default();
    let http = top.get("http").and_then(|value| value.table(&schema::HTTP)).and_then(|table| http(&table));
    let recording = match (&data_dir, top.get("recording").and_then(|value| value.table(&schema::RECORDING))) {
        (Some(data_dir), None) => Recording::new(data_dir),
        (data_dir, Some(table)) => recording::recording(&table, data_dir.as_deref().unwrap_or(Path::new(""))),
        (None, None) => Recording::new(Path::new("")),
    };
    let lines = match top.get("line") {
        Some(value) => {
            lines(&value, Usual { data_dir: data_dir.as_deref(), access: &access, passphrase: passphrase.as_ref() })
        }
        None => {
            top.refuse("line", Problem::NoLine);
            Vec::new()
        }
    };
    Some(Config { data_dir: data_dir?, nostr: nostr?, limits, ice, http, recording, lines, warnings: Vec::new() })
}

fn nostr(table: &Table<'_>) -> Nostr {
    let listed = table.get("relays").map(|value| value.list());
    let embedded = table.get("embedded_relay");
    let none = match &listed {
        None => true,
        // A list that is none was complained about.
        Some(list) => list.as_ref().is_some_and(Vec::is_empty),
    };
    if none && embedded.is_none() {
        table.refuse("relays", Problem::NoRelay);
    }
    let listed = listed.flatten().unwrap_or_default();
    let mut relays: Vec<_> = listed.iter().filter_map(|value| value.parse(scalar::parse_relay)).collect();
    let mut seen = BTreeSet::new();
    relays.retain(|relay| seen.insert(relay.clone()));
    let caller_relays = table.get("caller_relays").and_then(|value| value.parse(scalar::caller_servers));
    Nostr {
        relays,
        embedded_relay: embedded.and_then(|value| value.parse(scalar::socket_address)),
        caller_relays: caller_relays.unwrap_or_default(),
    }
}

/// What `[access]` or a line says, each part on its own.
#[derive(Default)]
struct AccessWords {
    allow: Option<Access>,
    follows_of: Option<Listed>,
    deny: Listed,
    refuse: Option<Refuse>,
}

fn access_of(table: &Table<'_>) -> AccessWords {
    AccessWords {
        allow: table.get("allow").map(|value| allow(&value)),
        follows_of: table.get("follows_of").map(|value| followers(&value)),
        deny: table.get("deny").map(|value| listed(&value)).unwrap_or_default(),
        refuse: table.get("refuse").and_then(|value| value.parse(scalar::refuse)),
    }
}

fn allow(value: &Value<'_>) -> Access {
    let entries = value.list().unwrap_or_default();
    let read = |value: &Value<'_>| {
        if value.is_table() {
            return entry(value).map(Some);
        }
        value.parse(|text| match text {
            "*" => Ok(None),
            key => scalar::parse_public_key(key).map(|key| Some((key, None))),
        })
    };
    let entries: Vec<Option<Entry>> = entries.iter().filter_map(read).collect();
    if !entries.contains(&None) {
        return Access::Only(entries.into_iter().flatten().collect());
    }
    if entries.len() > 1 {
        value.refuse(Problem::StarNotAlone);
    }
    Access::Anyone
}

/// A key, and when its entry ends.
type Entry = (PublicKey, Option<Millis>);

fn listed(value: &Value<'_>) -> Listed {
    value.list().unwrap_or_default().iter().filter_map(entry).collect()
}

/// Those whose lists of whom they follow count.
fn followers(value: &Value<'_>) -> Listed {
    let listed = listed(value);
    if listed.keys().count() > MAX_FOLLOWS_OF {
        value.refuse(Problem::TooMany(MAX_FOLLOWS_OF));
    }
    listed
}

/// `"npub1..."`, or `{ npub = "npub1...", until = 2026-12-31 }`.
fn entry(value: &Value<'_>) -> Option<Entry> {
    if !value.is_table() {
        return Some((value.parse(scalar::parse_public_key)?, None));
    }
    let table = value.table(&schema::ENTRY)?;
    let key = table.require("npub").and_then(|value| value.parse(scalar::parse_public_key));
    let Some(ends) = table.get("until") else { return Some((key?, None)) };
    let until = ends.moment()?;
    if until <= now() {
        ends.warn(Doubt::Over);
    }
    Some((key?, Some(until)))
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn limits_of(table: &Table<'_>) -> Limits {
    let usual = Limits::default();
    // The bounds are far above what one machine carries; they catch typing mistakes.
    let number = |name, usual| {
        table.get(name).and_then(|value| value.integer(1..=10_000)).map_or(usual, |number| number as usize)
    };
    Limits {
        calls: number("calls", usual.calls),
        calls_per_caller: number("calls_per_caller", usual.calls_per_caller),
        offers_per_minute: number("offers_per_minute", usual.offers_per_minute),
    }
}

fn ice_of(table: &Table<'_>, calls: usize) -> Ice {
    let servers = table.get("turn").and_then(|value| value.list()).unwrap_or_default();
    let turn = servers.iter().filter_map(|value| value.table(&schema::TURN)).filter_map(|table| turn(&table)).collect();
    let ports = table.get("ports").and_then(|value| {
        let (low, high) = value.parse(scalar::ports)?;
        let ports = usize::from(high - low) + 1;
        if ports < calls {
            value.warn(Doubt::FewPorts { ports, calls });
        }
        Some((low, high))
    });
    Ice {
        stun: table.get("stun").map(|value| value.list_of(scalar::stun_url)).unwrap_or_default(),
        turn,
        ports,
        advertise: table.get("advertise").map(|value| value.list_of(scalar::ip_address)).unwrap_or_default(),
        bind: table.get("bind").map(|value| value.list_of(scalar::ip_address)).unwrap_or_default(),
        caller_servers: table
            .get("caller_servers")
            .and_then(|value| value.parse(scalar::caller_servers))
            .unwrap_or_default(),
    }
}

fn turn(table: &Table<'_>) -> Option<Turn> {
    let url = table.require("url").and_then(|value| value.parse(scalar::turn_url));
    let username = table.require("username").and_then(|value| value.text());
    let credential = table.require("credential_file").and_then(|value| secret_file(&value, read_secret_file));
    let turn = Turn { url: url?, username: username?, credential: credential? };
    if turn.server().is_none() {
        table.refuse("username", Problem::TurnLogin);
        return None;
    }
    Some(turn)
}

fn http(table: &Table<'_>) -> Option<Http> {
    let token_file = table.get("token_file");
    let token = token_file.as_ref().and_then(|value| secret_file(value, read_token_file));
    let value = table.require("listen")?;
    let listen: SocketAddr = value.parse(scalar::socket_address)?;
    if !listen.ip().is_loopback() && token_file.is_none() {
        value.refuse(Problem::TokenNeeded);
    }
    Some(Http { listen, token })
}

/// The secret in the file that a value names.
fn secret_file(value: &Value<'_>, read: fn(&Path) -> Result<Secret, Problem>) -> Option<Secret> {
    let path = value.path()?;
    let secret = read(&path).map_err(|problem| value.refuse(problem)).ok()?;
    warn_if_open_to_others(value, Some(&path));
    Some(secret)
}

/// Secrets that an orchestrator mounts are often readable by all inside a container: told, not refused.
fn warn_if_open_to_others(value: &Value<'_>, path: Option<&Path>) {
    if let Some(path) = path
        && fs::metadata(path).is_ok_and(|metadata| super::key::is_open_to_others(&metadata))
    {
        value.warn(Doubt::OpenToOthers(path.to_owned()));
    }
}

/// A `key_passphrase`: read when an encrypted key is met, and once.
struct Passphrase<'a> {
    value: Value<'a>,
    /// None when what is written was refused.
    source: Option<PassphraseSource>,
    read: OnceCell<Option<Secret>>,
}

impl<'a> Passphrase<'a> {
    fn of(table: &Table<'a>) -> Option<Self> {
        let value = table.get("key_passphrase")?;
        let source = value.passphrase_source();
        Some(Self { value, source, read: OnceCell::new() })
    }

    /// None after an error was reported.
    fn get(&self) -> Option<&Secret> {
        let read = || {
            let source = self.source.as_ref()?;
            let secret = source.read().map_err(|problem| self.value.refuse(problem)).ok();
            warn_if_open_to_others(&self.value, source.file());
            secret
        };
        self.read.get_or_init(read).as_ref()
    }
}

/// What lines before this one have taken.
#[derive(Default)]
struct Seen {
    /// Each with the file's line at which it stands.
    names: Vec<(String, usize)>,
    /// Each with its line's name.
    keys: Vec<(String, PublicKey)>,
}

/// What a line goes by when it does not say otherwise.
#[derive(Clone, Copy)]
struct Usual<'a, 'd> {
    data_dir: Option<&'a Path>,
    access: &'a AccessWords,
    passphrase: Option<&'a Passphrase<'d>>,
}

fn lines(value: &Value<'_>, usual: Usual<'_, '_>) -> Vec<Line> {
    let Some(tables) = value.list_as("written [[line]], once for each line") else { return Vec::new() };
    if tables.is_empty() {
        value.refuse(Problem::NoLine);
    }
    let mut lines = Vec::new();
    let mut seen = Seen::default();
    for (index, value) in tables.iter().enumerate() {
        // A line goes by its name when the name can be shown, else by its place.
        let label = match value.name_inside().and_then(|name| scalar::parse_line_name(name).ok()) {
            Some(name) => format!("line {name:?}: "),
            None => format!("line #{}: ", index + 1),
        };
        let Some(table) = value.table_called(&schema::LINE, label) else { continue };
        if let Some(line) = line(&table, usual, &mut seen) {
            lines.push(line);
        }
    }
    lines
}

fn line(table: &Table<'_>, usual: Usual<'_, '_>, seen: &mut Seen) -> Option<Line> {
    let name = table.require("name").and_then(|value| {
        let name = value.parse(scalar::parse_line_name)?;
        // File names may not tell upper from lower case.
        match seen.names.iter().find(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            Some((_, line)) => value.refuse(Problem::SameName(*line)),
            None => seen.names.push((name.clone(), value.line())),
        }
        Some(name)
    });
    let key = line_key(table, name.as_deref(), usual, seen);
    let play =
        table.require("play").and_then(|value| value.parse(|text| text.parse::<Endpoint>().map_err(Problem::Endpoint)));
    let (own, usual) = (access_of(table), usual.access);
    let record = table.get("record").and_then(|value| value.parse(scalar::record)).unwrap_or_default();
    let announce = table.get("announce").and_then(|value| value.flag()).unwrap_or(false);
    let keep_warm = table.get("keep_warm").and_then(|value| value.flag()).unwrap_or(false);
    let play = programme::played(table, play, keep_warm);
    let idle = table.get("idle").and_then(|value| value.parse(scalar::duration)).unwrap_or(DEFAULT_IDLE);
    let allow = own.allow.or_else(|| usual.allow.clone());
    let follows_of = own.follows_of.or_else(|| usual.follows_of.clone()).unwrap_or_default();
    if allow.is_none() && follows_of.keys().next().is_none() {
        table.warn("allow", Doubt::NobodyMayCall);
    }
    let access = AccessPolicy {
        access: allow.unwrap_or_default(),
        follows_of,
        // A line that denies more keys must not let those in that are denied everywhere.
        deny: own.deny.with(&usual.deny),
        refuse: own.refuse.or(usual.refuse).unwrap_or_default(),
        ..AccessPolicy::default()
    };
    Some(Line { name: name?, key: key?, play: play?, access, record, announce, keep_warm, idle })
}

/// The key in `key_file`, or in the data folder, or the place where it is to be made.
fn line_key(table: &Table<'_>, name: Option<&str>, usual: Usual<'_, '_>, seen: &mut Seen) -> Option<LineKey> {
    let own = Passphrase::of(table);
    let value = table.get("key_file");
    let refuse = |problem| match &value {
        Some(value) => value.refuse(problem),
        None => table.refuse("key_file", problem),
    };
    let read = match &value {
        Some(value) => read_key_file(&value.path()?).map(LineKey::Given),
        None => LineKey::kept(usual.data_dir?, name?),
    };
    let read = match (read, own.as_ref().or(usual.passphrase)) {
        (Err(KeyError::Encrypted(path)), Some(passphrase)) => {
            open_key_file(&path, passphrase.get()?).map(LineKey::Given)
        }
        (read, _) => read,
    };
    let key = read.map_err(|error| refuse(error.into())).ok()?;
    // Keys that are made later differ, since names do.
    if let Some(public) = key.public_key() {
        match seen.keys.iter().find(|(_, other)| *other == public) {
            Some((other, _)) => refuse(Problem::SameKey(other.clone())),
            None => seen.keys.push((name.unwrap_or_default().to_owned(), public)),
        }
    }
    Some(key)
}
