//! Configuration: what is read, and the one clear line that each mistake gets.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use callgate::call::{Access, Millis, Refuse};
use callgate::config::{self, Config, ConfigErrors, LineKey, Since};
use callgate::endpoint::{After, Endpoint, Start};
use nostr::nips::nip19::ToBech32 as _;
use nostr::{Keys, PublicKey};
use tempfile::TempDir;

/// A key that everyone knows: its nsec is in NIP-19.
const NSEC: &str = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
const NSEC_HEX: &str = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa";
const NPUB: &str = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";

/// A folder with the files that configurations name.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("door.nsec", NSEC, 0o600);
        folder.write("same.nsec", NSEC_HEX, 0o600);
        folder.write("open.nsec", NSEC, 0o644);
        folder.write("public.nsec", NPUB, 0o600);
        folder.write("locked.nsec", "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcxfqtd67p9m0w57lspw8gsq6yphnm8623nsl8xn9j4jdzz84zm3frztj3z7s35vpzmqf6ksu8r89qk5z2zxfmu5gv8th8wclt0h4p", 0o600);
        folder.write("torn.nsec", "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcx", 0o600);
        folder.write("locked.pass", "nostr\n", 0o600);
        folder.write("wrong.pass", "hunter2\n", 0o600);
        folder.write("junk.nsec", "hunter2", 0o600);
        folder.write("turn.secret", "hunter2-turn\n", 0o600);
        folder.write("api.token", "hunter2-token-of-the-api\n", 0o600);
        folder.write("short.token", "hunter2", 0o600);
        folder.write("empty", "\n", 0o600);
        folder.write("camera.url", "rtsp://admin:hunter2@10.0.0.5/main\n", 0o600);
        folder
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        #[cfg(not(unix))]
        let _ = mode;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, text: &str) -> Result<Config, ConfigErrors> {
        config::parse(text, &self.path("callgate.toml"))
    }

    /// What is wrong, one line each, with the folder's name taken out.
    fn wrong(&self, text: &str) -> Vec<String> {
        let errors = self.read(text).expect_err(text);
        let shown = errors.to_string();
        assert!(!format!("{errors:?}{shown}").contains("hunter2"), "{shown}");
        assert_eq!(shown.lines().count(), errors.0.len(), "one line each: {shown}");
        let folder = format!("{}/", self.0.path().display());
        let bare = self.0.path().display().to_string();
        shown.lines().map(|line| line.replace(&folder, "").replace(&bare, "FOLDER")).collect()
    }
}

/// The smallest configuration that works; each case adds to it or replaces a part.
const HEAD: &str = "data_dir = \"data\"\n[nostr]\nrelays = [\"wss://relay.example.com\"]\n";
const DOOR: &str = "[[line]]\nname = \"door\"\nplay = \"rtsp://camera\"\nallow = [\"*\"]\n";

#[test]
fn the_smallest_configuration_gets_defaults() {
    let folder = Folder::new();

    let config = folder.read(&format!("{HEAD}{DOOR}")).unwrap();

    assert_eq!(config.data_dir, folder.path("data"));
    assert_eq!(config.nostr.relays.len(), 1);
    assert_eq!(config.nostr.embedded_relay, None);
    assert_eq!((config.limits.calls, config.limits.calls_per_caller, config.limits.offers_per_minute), (32, 2, 10));
    assert_eq!(config.ice, config::Ice::default());
    assert_eq!(config.http, None);
    assert!(config.warnings.is_empty());
    let line = &config.lines[0];
    assert_eq!(line.key, LineKey::ToGenerate(folder.path("data/keys/door.nsec")));
    assert_eq!((line.keep_warm, line.idle), (false, config::DEFAULT_IDLE));
    assert_eq!((&line.access.access, line.access.refuse), (&Access::Anyone, Refuse::Silent));
}

#[test]
fn everything_that_can_be_said_is_read() {
    let folder = Folder::new();
    let friend = Keys::generate().public_key();

    let config = folder
        .read(&format!(
            r#"
data_dir = "/var/lib/callgate"
[nostr]
relays = ["wss://relay.example.com", "ws://10.0.0.1:7777/path", "wss://relay.example.com"]
embedded_relay = "127.0.0.1:7777"
[access]
allow = ["{NPUB}", "{}"]
refuse = "answer"
[limits]
calls = 100
calls_per_caller = 3
offers_per_minute = 0x0A
[ice]
stun = ["stun:stun.example.com"]
turn = [{{ url = "turn:turn.example.com:3478", username = "u", credential_file = "turn.secret" }}]
ports = "50000-50199"
advertise = ["203.0.113.7"]
bind = ["127.0.0.1"]
[http]
listen = "0.0.0.0:8080"
token_file = "api.token"
[[line]]
name = "driveway"
key_file = "door.nsec"
play = "file:camera.url"
keep_warm = true
idle = "5m"
[[line]]
name = "yard"
play = "test://?fps=10"
allow = ["*"]
refuse = "silent"
"#,
            friend.to_hex()
        ))
        .unwrap();

    assert_eq!(config.nostr.relays.len(), 2, "each relay once");
    assert_eq!(config.nostr.embedded_relay.unwrap().port(), 7777);
    assert_eq!((config.limits.calls, config.limits.offers_per_minute), (100, 10));
    assert_eq!(config.ice.stun[0].to_string(), "stun:stun.example.com:3478");
    assert_eq!(config.ice.turn[0].credential.expose(), "hunter2-turn");
    assert_eq!(config.ice.ports, Some((50000, 50199)));
    assert_eq!(config.ice.bind, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    assert_eq!(config.http.as_ref().unwrap().token.as_ref().unwrap().expose(), "hunter2-token-of-the-api");
    let [driveway, yard] = config.lines.as_slice() else { panic!() };
    let known = [PublicKey::parse(NPUB).unwrap(), friend];
    assert_eq!(driveway.access.access, Access::Only(known.into_iter().collect()));
    assert_eq!(driveway.access.refuse, Refuse::Answer);
    assert_eq!(driveway.key, LineKey::Given(Keys::parse(NSEC).unwrap()));
    assert_eq!((driveway.keep_warm, driveway.idle), (true, Duration::from_secs(300)));
    assert_eq!(driveway.play.to_string(), "rtsp://***@10.0.0.5/main");
    assert_eq!((&yard.access.access, yard.access.refuse), (&Access::Anyone, Refuse::Silent));

    let shown = format!("{config:?} {config:#?}");
    for secret in ["hunter2", NSEC, NSEC_HEX] {
        assert!(!shown.contains(secret), "Debug shows {secret}");
    }
}

#[test]
fn each_mistake_gets_one_clear_line() {
    let folder = Folder::new();
    let head = |more: &str| format!("{HEAD}{more}\n{DOOR}");
    let door = |more: &str| format!("{HEAD}{DOOR}{more}\n");
    let second =
        |more: &str| format!("{HEAD}{DOOR}[[line]]\nname = \"yard\"\nplay = \"test://\"\nallow = []\n{more}\n");
    let nostr = |body: &str| format!("data_dir = \"data\"\n[nostr]\n{body}\n{DOOR}");
    let many: String = (1..=33).map(|_| format!("\"{}\",", Keys::generate().public_key().to_hex())).collect();
    let cases: Vec<(String, &str)> = vec![
        // The file itself
        ("data_dir = \"hunter2".into(), "callgate.toml:1: not TOML: "),
        (format!("data_dir = \"hunter2\"\n{HEAD}"), "callgate.toml:2: not TOML: "),
        // The top
        (
            format!("{}{DOOR}", &HEAD[HEAD.find("[nostr]").unwrap()..]),
            "callgate.toml: data_dir: is missing: where keys and the call log are kept",
        ),
        (head("").replace("\"data\"", "7"), "callgate.toml:1: data_dir: must be a string"),
        (head("").replace("\"data\"", "\"door.nsec\""), "callgate.toml:1: data_dir: door.nsec is not a folder"),
        (
            head("").replace("\"data\"", "\"env:CALLGATE_TEST_UNSET\""),
            "callgate.toml:1: data_dir: the environment has no variable CALLGATE_TEST_UNSET",
        ),
        (head("").replace("\"data\"", "\"file:nowhere\""), "callgate.toml:1: data_dir: no such file in FOLDER"),
        (head("").replace("\"data\"", "\"file:empty\""), "callgate.toml:1: data_dir: empty is empty"),
        (head("[limit]\ncalls = 1"), "callgate.toml:4: limit: unknown key; did you mean `limits`?"),
        (head("[weather]"), "callgate.toml:4: weather: unknown key"),
        (head("[[sip_account]]\nname = \"pbx\""), "callgate.toml:4: sip_account: is not in this version of callgate"),
        (HEAD.into(), "callgate.toml: line: no [[line]]: there is nothing to call"),
        (format!("line = []\n{HEAD}"), "callgate.toml:1: line: no [[line]]: there is nothing to call"),
        (format!("line = 1\n{HEAD}"), "callgate.toml:1: line: must be written [[line]], once for each line"),
        // [nostr]
        (
            format!("data_dir = \"data\"\n{DOOR}"),
            "callgate.toml: nostr: no relay: give nostr.relays or nostr.embedded_relay, or nobody can call",
        ),
        (
            nostr(""),
            "callgate.toml:2: nostr.relays: no relay: give nostr.relays or nostr.embedded_relay, or nobody can call",
        ),
        (
            nostr("relays = []"),
            "callgate.toml:2: nostr.relays: no relay: give nostr.relays or nostr.embedded_relay, or nobody can call",
        ),
        (nostr("relays = \"wss://a\""), "callgate.toml:3: nostr.relays: must be a list: [ ... ]"),
        (
            nostr("relay = []\nembedded_relay = \"127.0.0.1:1\""),
            "callgate.toml:3: nostr.relay: unknown key; did you mean `relays`?",
        ),
        (
            nostr("relays = [\n\"wss://a\",\n\"https://b\"]"),
            "callgate.toml:5: nostr.relays[1]: must be a relay's URL: wss://... or ws://...",
        ),
        (
            nostr("relays = [\"wss://hunter2@a\"]"),
            "callgate.toml:3: nostr.relays[0]: must not hold a user name or password: a line's relays are told to everybody",
        ),
        (
            nostr("embedded_relay = \"localhost\""),
            "callgate.toml:3: nostr.embedded_relay: must be an address and a port such as \"127.0.0.1:8080\"",
        ),
        // [access]
        (
            head("[access]\nallow = [\"npub1hunter2\"]"),
            "callgate.toml:5: access.allow[0]: must be an npub (npub1...) or 64 hex digits",
        ),
        (
            head(&format!("[access]\nallow = [\"{}\"]", "0".repeat(64))),
            "callgate.toml:5: access.allow[0]: must be an npub (npub1...) or 64 hex digits",
        ),
        (
            head("[access]\nallow = [\"nsec1hunter2\"]"),
            "callgate.toml:5: access.allow[0]: is a secret key: give its npub instead, and make a new key if others have read this file",
        ),
        (
            head(&format!("[access]\nallow = [\"*\", \"{NPUB}\"]")),
            "callgate.toml:5: access.allow: \"*\" lets anyone call, and stands alone",
        ),
        (
            head("[access]\nrefuse = \"loudly\""),
            "callgate.toml:5: access.refuse: must be one of \"silent\", \"answer\"",
        ),
        (
            head("[access]\nallow = [{ npub = \"npub1hunter2\" }]"),
            "callgate.toml:5: access.allow[0].npub: must be an npub (npub1...) or 64 hex digits",
        ),
        (
            head("[access]\ndeny = [{ until = 2026-12-31 }]"),
            "callgate.toml:5: access.deny[0].npub: is missing: whose entry it is",
        ),
        (
            head("[access]\nfollows_of = [\"*\"]"),
            "callgate.toml:5: access.follows_of[0]: must be an npub (npub1...) or 64 hex digits",
        ),
        (
            head(&format!("[access]\nfollows_of = [{many}]")),
            "callgate.toml:5: access.follows_of: has more than 32 keys",
        ),
        (
            head("[access]\ndeny = [\"*\"]"),
            "callgate.toml:5: access.deny[0]: must be an npub (npub1...) or 64 hex digits",
        ),
        (
            head(&format!("[access]\nallow = [{{ npub = \"{NPUB}\", until = 2026-12-31T18:00:00 }}]")),
            "callgate.toml:5: access.allow[0].until: must be a time with its offset such as 2026-12-31T18:00:00Z, or a date such as 2026-12-31, which means its end in UTC",
        ),
        (
            head(&format!("[access]\nallow = [{{ npub = \"{NPUB}\", untill = 2026-12-31 }}]")),
            "callgate.toml:5: access.allow[0].untill: unknown key; did you mean `until`?",
        ),
        // [limits]
        (head("[limits]\ncalls = 0"), "callgate.toml:5: limits.calls: must be a whole number from 1 to 10000"),
        (
            head("[limits]\ncalls_per_caller = -1"),
            "callgate.toml:5: limits.calls_per_caller: must be a whole number from 1 to 10000",
        ),
        (
            head("[limits]\noffers_per_minute = \"10\""),
            "callgate.toml:5: limits.offers_per_minute: must be a whole number from 1 to 10000",
        ),
        (
            head("[limits]\noffers_per_minuet = 10"),
            "callgate.toml:5: limits.offers_per_minuet: unknown key; did you mean `offers_per_minute`?",
        ),
        // [ice]
        (head("[ice]\nstun = [\"stun.example.com\"]"), "callgate.toml:5: ice.stun[0]: must be \"stun:host:port\""),
        (
            head("[ice]\nturn = [{ url = \"turn:u:hunter2@t\", username = \"u\", credential_file = \"turn.secret\" }]"),
            "callgate.toml:5: ice.turn[0].url: must be \"turn:host:port\" or \"turns:host:port\", perhaps with \"?transport=tcp\"",
        ),
        (
            head("[ice]\nturn = [{ url = \"turn:t\", username = \"u\" }]"),
            "callgate.toml:5: ice.turn[0].credential_file: is missing: the file that holds the password",
        ),
        (
            head("[ice]\nturn = [{ url = \"turn:t\", username = \"u\", credential_file = \"hunter2\" }]"),
            "callgate.toml:5: ice.turn[0].credential_file: no such file in FOLDER",
        ),
        (
            head(
                "[ice]\nturn = [{ url = \"turn:t\", username = \"u\", credential_file = \"turn.secret\", credential = \"hunter2\" }]",
            ),
            "callgate.toml:5: ice.turn[0].credential: unknown key; did you mean `credential_file`?",
        ),
        (
            head("[ice]\nports = \"50199-50000\""),
            "callgate.toml:5: ice.ports: must be two ports such as \"50000-50199\", the lower first, none below 1024",
        ),
        (head("[ice]\nadvertise = [\"example.com\"]"), "callgate.toml:5: ice.advertise[0]: must be an IP address"),
        (head("[ice]\nbind = [\"0.0.0.0\"]"), "callgate.toml:5: ice.bind[0]: must name one address, not all of them"),
        (
            head("[ice]\ncaller_servers = \"nobody\""),
            "callgate.toml:5: ice.caller_servers: must be one of \"never\", \"public\", \"any\"",
        ),
        (
            head("[ice]\nturn = [{ url = \"turn:t\", username = \"\", credential_file = \"turn.secret\" }]"),
            "callgate.toml:5: ice.turn[0].username: user name and password must be 1 to 512 characters",
        ),
        (
            nostr("relays = [\"wss://r.example\"]\ncaller_relays = \"nobody\""),
            "callgate.toml:4: nostr.caller_relays: must be one of \"never\", \"public\", \"any\"",
        ),
        // [http]
        (head("[http]"), "callgate.toml:4: http.listen: is missing: the address and port to listen on"),
        (
            head("[http]\nlisten = \"0.0.0.0:8080\""),
            "callgate.toml:5: http.listen: listening beyond this machine needs http.token_file",
        ),
        (
            head("[http]\nlisten = \"127.0.0.1:8080\"\ntoken_file = \"short.token\""),
            "callgate.toml:6: http.token_file: the token in the file is shorter than 16 characters",
        ),
        (
            head("[http]\nlisten = \"127.0.0.1:8080\"\ntoken_file = \".\""),
            "callgate.toml:6: http.token_file: cannot read .: it is a folder",
        ),
        // [[line]]
        (
            door("[[line]]\nplay = \"test://\"\nallow = []"),
            "callgate.toml:8: line #2: name: is missing: what the line is called",
        ),
        (
            door("").replace("\"door\"", "\"../door\""),
            "callgate.toml:5: line #1: name: must be 1 to 64 letters, digits, `-`, `_` or `.`, a letter or digit first",
        ),
        (
            second("").replace("\"yard\"", "\"Door\""),
            "callgate.toml:9: line \"Door\": name: another line has this name, at line 5",
        ),
        (
            door("").replace("play = \"rtsp://camera\"\n", ""),
            "callgate.toml:4: line \"door\": play: is missing: what the caller sees and hears, such as \"rtsp://10.0.0.5/main\"",
        ),
        (
            door("").replace("rtsp://camera", "http://admin:hunter2@camera"),
            "callgate.toml:6: line \"door\": play: the scheme \"http\" is not one of rtsp, rtsps, test, file",
        ),
        (door("").replace("rtsp://camera", "hunter2"), "callgate.toml:6: line \"door\": play: it is not a URL"),
        (
            door("").replace("rtsp://camera", "test://?fps=1000"),
            "callgate.toml:6: line \"door\": play: its parameter fps is not known or out of range",
        ),
        (door("key_file = \"absent.nsec\""), "callgate.toml:8: line \"door\": key_file: no such file in FOLDER"),
        (
            door(&format!("key_file = \"{NSEC}\"")),
            "callgate.toml:8: line \"door\": key_file: is a secret key itself: put it in a file that only you can read, and name the file here",
        ),
        (
            door("key_file = \"junk.nsec\""),
            "callgate.toml:8: line \"door\": key_file: junk.nsec holds no secret key: one line with nsec1..., ncryptsec1... or 64 hex digits is expected",
        ),
        (
            door("key_file = \"public.nsec\""),
            "callgate.toml:8: line \"door\": key_file: public.nsec holds a public key: the secret key (nsec1...) is expected",
        ),
        (
            door("key_file = \"locked.nsec\""),
            "callgate.toml:8: line \"door\": key_file: locked.nsec holds an encrypted key (ncryptsec): say with key_passphrase where its passphrase is",
        ),
        (
            door("key_file = \"locked.nsec\"\nkey_passphrase = \"file:wrong.pass\""),
            "callgate.toml:8: line \"door\": key_file: locked.nsec: the passphrase is not that of this key",
        ),
        (
            door("key_file = \"locked.nsec\"\nkey_passphrase = \"hunter2\""),
            "callgate.toml:9: line \"door\": key_passphrase: must be \"file:PATH\", \"env:NAME\" or \"credential:NAME\": where the passphrase is, not the passphrase itself",
        ),
        (
            door("key_file = \"locked.nsec\"\nkey_passphrase = \"env:CALLGATE_TEST_UNSET\""),
            "callgate.toml:9: line \"door\": key_passphrase: the environment has no variable CALLGATE_TEST_UNSET",
        ),
        (
            door("key_file = \"locked.nsec\"\nkey_passphrase = \"file:absent.pass\""),
            "callgate.toml:9: line \"door\": key_passphrase: no such file in FOLDER",
        ),
        (
            door("key_file = \"locked.nsec\"\nkey_passphrase = \"file:empty\""),
            "callgate.toml:9: line \"door\": key_passphrase: is empty",
        ),
        (
            door("key_file = \"torn.nsec\"\nkey_passphrase = \"file:locked.pass\""),
            "callgate.toml:8: line \"door\": key_file: torn.nsec holds no secret key: one line with nsec1..., ncryptsec1... or 64 hex digits is expected",
        ),
        #[cfg(unix)]
        (
            door("key_file = \"open.nsec\""),
            "callgate.toml:8: line \"door\": key_file: open.nsec can be read by others: run `chmod 600 open.nsec`",
        ),
        (
            second("key_file = \"same.nsec\"").replace("allow = [\"*\"]", "allow = [\"*\"]\nkey_file = \"door.nsec\""),
            "callgate.toml:13: line \"yard\": key_file: line \"door\" has the same key: each line needs its own",
        ),
        (door("keep_warm = \"yes\""), "callgate.toml:8: line \"door\": keep_warm: must be true or false"),
        (
            door("idle = \"30\""),
            "callgate.toml:8: line \"door\": idle: must be a duration such as \"30s\", \"500ms\", \"5m\" or \"2h\", at most 24h",
        ),
        (
            door("publish = \"rtmp://hunter2\""),
            "callgate.toml:8: line \"door\": publish: is not in this version of callgate",
        ),
        (
            door("record = \"all\""),
            "callgate.toml:8: line \"door\": record: must be one of \"off\", \"caller\", \"line\", \"both\"",
        ),
        (
            door("[recording]\npath = \"{line}/../{id}\""),
            "callgate.toml:9: recording.path: a name in it is empty, `.` or `..`, begins with a dot, or ends with one: \
             it must stay inside the recording folder",
        ),
        (
            door("[recording]\nkeep_size = \"5\""),
            "callgate.toml:9: recording.keep_size: must be a size such as \"500MB\", \"20GB\" or \"1GiB\"",
        ),
        (
            door("[recording]\nkeep_free = \"500MB\""),
            "callgate.toml:9: recording.keep_free: is less than `floor`: recordings would end before the oldest had to go",
        ),
        (
            door("[recording]\nsegment = \"1s\""),
            "callgate.toml:9: recording.segment: must be a length from 10s to 24h, such as \"1h\"",
        ),
        (door("talk = \"camera\""), "callgate.toml:8: line \"door\": talk: is not in this version of callgate"),
        (door("allows = []"), "callgate.toml:8: line \"door\": allows: unknown key; did you mean `allow`?"),
    ];
    let mut surprises = Vec::new();
    for (text, expected) in cases {
        let wrong = folder.wrong(&text);
        // The TOML parser's own words may change.
        let good = match wrong.as_slice() {
            [line] if expected.ends_with("not TOML: ") => line.starts_with(expected),
            [line] => line == expected,
            _ => false,
        };
        if !good {
            surprises.push(format!("expected {expected}\n     got {}", wrong.join("\n         ")));
        }
    }
    assert!(surprises.is_empty(), "\n{}", surprises.join("\n"));
}

#[test]
fn all_mistakes_are_told_at_once_in_the_files_order() {
    let folder = Folder::new();
    let wrong = folder.wrong(
        "data_dir = 1\n[nostr]\nrelays = [\"a\", \"wss://b\", \"c\"]\n[limits]\ncalls = 0\n[[line]]\nname = \"x\"\n[[line]]\nplay = \"y\"\n",
    );
    let places: Vec<&str> = wrong.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "callgate.toml:1",
            "callgate.toml:3",
            "callgate.toml:3",
            "callgate.toml:5",
            "callgate.toml:6",
            "callgate.toml:8",
            "callgate.toml:9",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_gets_one_line() {
    let folder = Folder::new();
    let absent = folder.path("absent.toml");
    assert_eq!(
        config::load(&absent).unwrap_err().to_string(),
        format!("{}: cannot be read: no such file", absent.display())
    );
    assert_eq!(
        config::load(folder.0.path()).unwrap_err().to_string(),
        format!("{}: cannot be read: it is a folder", folder.0.path().display())
    );
    fs::write(folder.path("binary.toml"), [0xff, 0xfe]).unwrap();
    assert!(config::load(&folder.path("binary.toml")).unwrap_err().to_string().ends_with("it is not text"));
    fs::write(folder.path("long.toml"), "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(config::load(&folder.path("long.toml")).unwrap_err().to_string().ends_with("is longer than 1048576 bytes"));
}

#[test]
fn what_may_not_be_meant_is_a_warning() {
    let folder = Folder::new();
    folder.write("shared.secret", "hunter2", 0o644);
    let text = format!(
        "{HEAD}[ice]\nports = \"50000-50009\"\nturn = [{{ url = \"turn:t\", username = \"u\", credential_file = \"shared.secret\" }}]\n{DOOR}"
    )
    .replace("allow = [\"*\"]\n", "");

    let warnings: Vec<String> = folder
        .read(&text)
        .unwrap()
        .warnings
        .iter()
        .map(|warning| warning.to_string().replace(&format!("{}/", folder.0.path().display()), ""))
        .collect();

    assert!(
        warnings.contains(
            &"callgate.toml:5: ice.ports: 10 ports are too few for 32 calls at once: a call takes one or more"
                .to_owned()
        ),
        "{warnings:#?}"
    );
    assert!(
        warnings.contains(
            &"callgate.toml:7: line \"door\": allow: nobody may call: give `allow` here or in [access]".to_owned()
        ),
        "{warnings:#?}"
    );
    #[cfg(unix)]
    assert!(warnings.contains(&"callgate.toml:6: ice.turn[0].credential_file: shared.secret can be read by others: run `chmod 600 shared.secret`".to_owned()), "{warnings:#?}");
}

#[test]
fn entries_may_end_and_those_of_a_line_replace_what_all_lines_allow_and_add_to_what_they_deny() {
    let folder = Folder::new();
    let [one, two, three] = std::array::from_fn(|_| Keys::generate().public_key());
    let text = format!(
        "{HEAD}[access]\nallow = [\"{NPUB}\", {{ npub = \"{}\", until = 2999-12-31T18:00:00Z }}]\ndeny = [\"{}\"]\n\
         [[line]]\nname = \"door\"\nplay = \"test://\"\n\
         [[line]]\nname = \"yard\"\nplay = \"test://\"\nallow = [{{ npub = \"{NPUB}\", until = \"2999-12-31\" }}]\ndeny = [\"{}\"]\n",
        one.to_hex(),
        two.to_hex(),
        three.to_hex(),
    );

    let config = folder.read(&text).unwrap();

    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let known = PublicKey::parse(NPUB).unwrap();
    let (evening, night) = (Millis(32_503_658_400_000), Millis(32_503_680_000_000));
    let [door, yard] = config.lines.as_slice() else { panic!() };
    let listed = |entries: &[(PublicKey, Option<Millis>)]| Access::Only(entries.iter().copied().collect());
    assert_eq!(door.access.access, listed(&[(known, None), (one, Some(evening))]));
    assert_eq!(door.access.deny, [two].into_iter().collect());
    assert_eq!(yard.access.access, listed(&[(known, Some(night))]));
    assert_eq!(yard.access.deny, [two, three].into_iter().collect());
}

#[test]
fn whom_keys_follow_is_enough_to_let_somebody_call_and_a_line_may_go_by_other_keys() {
    let folder = Folder::new();
    let [one, two] = std::array::from_fn(|_| Keys::generate().public_key());
    let text = format!(
        "{HEAD}[access]\nfollows_of = [\"{}\"]\n[[line]]\nname = \"door\"\nplay = \"test://\"\nannounce = true\n\
         [[line]]\nname = \"yard\"\nplay = \"test://\"\nfollows_of = [{{ npub = \"{}\", until = 2999-12-31 }}]\n",
        one.to_hex(),
        two.to_hex(),
    );

    let config = folder.read(&text).unwrap();

    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let [door, yard] = config.lines.as_slice() else { panic!() };
    assert_eq!((door.announce, yard.announce), (true, false));
    assert_eq!(door.access.access, Access::default());
    assert_eq!(door.access.follows_of, [one].into_iter().collect());
    assert_eq!(yard.access.follows_of, [(two, Some(Millis(32_503_680_000_000)))].into_iter().collect());
}

#[test]
fn an_encrypted_key_is_opened_with_the_lines_passphrase_or_the_common_one() {
    // NIP-49's own example
    let folder = Folder::new();
    let opened = Keys::parse("3501454135014541350145413501453fefb02227e449e57cf4d3a3ce05378683").unwrap();
    let common = HEAD.to_owned() + "key_passphrase = \"file:locked.pass\"\n";
    let of_line = |text: &str| folder.read(text).unwrap().lines[0].key.clone();

    let door = DOOR.to_owned() + "key_file = \"locked.nsec\"\n";
    assert_eq!(of_line(&format!("{common}{door}")), LineKey::Given(opened.clone()));
    let own = door.clone() + "key_passphrase = \"file:locked.pass\"\n";
    let wrong = HEAD.to_owned() + "key_passphrase = \"file:wrong.pass\"\n";
    assert_eq!(of_line(&format!("{wrong}{own}")), LineKey::Given(opened.clone()));

    // The key that is kept in the data folder may be encrypted where it lies
    fs::create_dir_all(folder.path("data/keys")).unwrap();
    folder.write("data/keys/door.nsec", &fs::read_to_string(folder.path("locked.nsec")).unwrap(), 0o600);
    assert_eq!(of_line(&format!("{common}{DOOR}")), LineKey::Given(opened));

    // Where no key is encrypted, nobody looks for the passphrase.
    let unused = HEAD.to_owned() + "key_passphrase = \"file:absent.pass\"\n";
    assert!(folder.read(&format!("{unused}{DOOR}").replace("\"door\"", "\"yard\"")).is_ok());
}

#[test]
fn an_entry_that_has_ended_is_a_warning() {
    let folder = Folder::new();
    let ended = format!("allow = [{{ npub = \"{NPUB}\", until = 2001-01-01 }}]");
    let config = folder.read(&format!("{HEAD}{DOOR}").replace("allow = [\"*\"]", &ended)).unwrap();
    let told: Vec<String> =
        config.warnings.iter().map(|warning| format!("{}{}", warning.place.key, warning.doubt)).collect();
    assert_eq!(told, ["line \"door\": allow[0].until".to_owned() + "ended already: the entry changes nothing"]);
}

#[test]
fn recordings_lie_in_the_data_folder_and_are_kept_unless_the_file_says_otherwise() {
    let folder = Folder::new();
    let usual = folder.read(&format!("{HEAD}{DOOR}")).unwrap();
    assert_eq!(usual.recording, config::Recording::new(&folder.path("data")));
    assert_eq!(usual.lines[0].record, config::Record::Off);
    assert_eq!(usual.recording.retention, Default::default());

    let text = "record = \"both\"\n[recording]\ndirectory = \"/srv/rec\"\nsegment = \"10m\"\npath = \"{date}/{id}\"\n\
        keep_for = \"30d\"\nkeep_size = \"20GB\"\nkeep_free = \"2GiB\"\nfloor = \"1GiB\"\n";
    let own = folder.read(&format!("{HEAD}{DOOR}{text}")).unwrap();

    assert_eq!(own.lines[0].record, config::Record::Both);
    assert_eq!(own.recording.directory, Path::new("/srv/rec"));
    assert_eq!(own.recording.segment, Duration::from_secs(600));
    assert_eq!(own.recording.path, "{date}/{id}".parse().unwrap());
    let kept = own.recording.retention;
    assert_eq!(kept.age, Some(Duration::from_secs(30 * 24 * 3600)));
    assert_eq!((kept.size, kept.free, own.recording.floor), (Some(20_000_000_000), Some(2 << 30), 1 << 30));
}

#[test]
fn a_file_is_played_as_the_line_says() {
    let folder = Folder::new();
    let film = folder.path("open.nsec");
    let film = film.to_str().unwrap();
    let line =
        |more: &str| format!("{HEAD}[[line]]\nname = \"menu\"\nplay = \"file://{film}\"\nallow = [\"*\"]\n{more}");
    for (more, start, after) in [
        ("", Start::Own, After::HangUp),
        ("loop = true", Start::Own, After::Loop),
        ("loop = false\nstart = \"shared\"", Start::Shared, After::HangUp),
        ("loop = true\nafter = \"loop\"", Start::Own, After::Loop),
        ("after = \"hold\"", Start::Own, After::Hold),
    ] {
        let config = folder.read(&line(more)).unwrap();
        let Endpoint::File(programme) = &config.lines[0].play else { panic!("{more}") };
        assert_eq!(
            (programme.path.as_path(), programme.start, programme.after),
            (Path::new(film), start, after),
            "{more}"
        );
        assert!(config.warnings.is_empty(), "{more}");
    }
    for (more, wrong) in [
        ("loop = true\nafter = \"hold\"", "contradicts `after`"),
        ("loop = false\nafter = \"loop\"", "contradicts `after`"),
        ("after = \"repeat\"", "must be one of \"hangup\", \"loop\", \"hold\""),
        ("start = \"beginning\"", "must be one of \"own\", \"shared\""),
    ] {
        let errors = folder.wrong(&line(more));
        assert!(errors.len() == 1 && errors[0].contains(wrong), "{more}: {errors:?}");
    }
    let errors = folder.wrong(&format!("{HEAD}{DOOR}loop = true\n"));
    assert_eq!(errors, ["callgate.toml:8: line \"door\": loop: is for lines that play a file"]);
}

#[test]
fn a_file_that_is_missing_is_told_without_refusing_the_configuration() {
    let folder = Folder::new();
    let text = format!(
        "{HEAD}[[line]]\nname = \"menu\"\nplay = \"/srv/nowhere/welcome.mp4\"\nallow = [\"*\"]\nkeep_warm = true\n"
    );
    let config = folder.read(&text).unwrap();
    let warnings: Vec<String> = config.warnings.iter().map(|warning| warning.doubt.to_string()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("nothing to keep open"), "{warnings:?}");
    assert!(warnings[1].starts_with("there is no /srv/nowhere/welcome.mp4"), "{warnings:?}");
}

#[test]
fn every_key_of_the_schema_is_read() {
    // A value of the wrong kind is complained about at its own key, if anyone looks at it.
    let folder = Folder::new();
    for section in config::sections() {
        for key in section.keys {
            let text = match section.header {
                "" => format!("{} = 1979-05-27\n", key.name),
                "[[line]]" => format!("[[line]]\n{} = 1979-05-27\n", key.name),
                "turn = [{ }]" => format!("[ice]\nturn = [{{ {} = 1979-05-27 }}]\n", key.name),
                "allow = [{ }]" => format!("[access]\nallow = [{{ {} = true }}]\n", key.name),
                header => format!("{header}\n{} = 1979-05-27\n", key.name),
            };
            let errors = folder.read(&text).unwrap_err();
            let about: Vec<&config::ConfigError> =
                errors.0.iter().filter(|error| error.place.key.ends_with(key.name)).collect();
            let told = |problem: &config::Problem| match key.since {
                Since::Now => matches!(problem, config::Problem::Type(_) | config::Problem::Range(..)),
                Since::Later => matches!(problem, config::Problem::NotInThisVersion),
            };
            assert!(about.iter().any(|error| told(&error.problem)), "{} {}: {errors}", section.header, key.name);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_generated_key_is_kept_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let text = format!("{HEAD}{DOOR}");
    let config = folder.read(&text).unwrap();
    assert!(!folder.path("data").exists(), "reading makes nothing");

    let keys = config.lines[0].key.open().unwrap();

    let path = folder.path("data/keys/door.nsec");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(folder.path("data/keys")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(&path).unwrap().trim(), keys.secret_key().to_bech32().unwrap());
    assert_eq!(config.lines[0].key.open().unwrap(), keys, "a second opening makes no second key");
    assert_eq!(folder.read(&text).unwrap().lines[0].key, LineKey::Given(keys));
}

#[test]
fn a_key_file_is_never_overwritten() {
    let folder = Folder::new();
    let path = folder.path("door.nsec");
    assert_eq!(config::create_key_file(&path), Err(config::KeyError::Exists(path.clone())));
    assert_eq!(fs::read_to_string(&path).unwrap(), NSEC);
}

#[test]
fn relative_paths_start_at_the_configurations_folder() {
    let folder = Folder::new();
    let config = config::parse(&format!("{HEAD}{DOOR}"), Path::new("somewhere/callgate.toml")).unwrap();
    assert_eq!(config.data_dir, Path::new("somewhere/data"));
    drop(folder);
}
