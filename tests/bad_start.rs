//! A daemon that cannot run says why in one line for each mistake, and exits with 78.
#![cfg(feature = "daemon")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use callgate::store::Store;
use nostr::Keys;
use nostr::nips::nip19::ToBech32 as _;
use tempfile::TempDir;

/// A configuration that could run; a case replaces a part of it, or adds to it.
const GOOD: &str = "\
data_dir = \"data\"
http.listen = \"127.0.0.1:0\"
[nostr]
embedded_relay = \"127.0.0.1:0\"
[[line]]
name = \"door\"
key_file = \"door.nsec\"
play = \"test://\"
allow = [\"*\"]
";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("door.nsec", &Keys::generate().secret_key().to_bech32().unwrap());
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs a command on `callgate.toml`: exit code, stdout and stderr. One that goes on instead of failing is ended.
    fn run(&self, command: &str) -> (i32, String, String) {
        let output = Command::new("timeout")
            .args(["60", env!("CARGO_BIN_EXE_callgate"), command, "-c", "callgate.toml"])
            .env_remove("CALLGATE_CONFIG")
            .env_remove("CALLGATE_LOG")
            .current_dir(self.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

fn says(line: &str) -> String {
    format!("callgate.toml:{line}\n")
}

#[test]
fn each_mistake_in_the_file_is_one_line_with_its_place() {
    let place = Place::new();
    place.write("same.nsec", &fs::read_to_string(place.path().join("door.nsec")).unwrap());
    place.write("public.nsec", &Keys::generate().public_key().to_bech32().unwrap());
    place.write("open.nsec", &Keys::generate().secret_key().to_bech32().unwrap());
    fs::set_permissions(place.path().join("open.nsec"), fs::Permissions::from_mode(0o644)).unwrap();
    place.write("short.token", "hunter2");
    place.write("empty.token", "\n");
    let secret = Keys::generate().secret_key().to_bech32().unwrap();
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        GOOD.replace(from, to)
    };
    let more = |text: &str| format!("{GOOD}{text}");

    let cases = [
        (with("allow", "alow"), "9: line \"door\": alow: unknown key; did you mean `allow`?"),
        (more("talk = \"camera\"\n"), "10: line \"door\": talk: is not in this version of callgate"),
        (more("record = \"r\"\n"), "10: line \"door\": record: must be one of \"off\", \"caller\", \"line\", \"both\""),
        (with("\"*\"", "\"npub1qqqqqq\""), "9: line \"door\": allow[0]: must be an npub (npub1...) or 64 hex digits"),
        (
            with("\"*\"", &format!("\"{secret}\"")),
            "9: line \"door\": allow[0]: is a secret key: give its npub instead, and make a new key if others have read \
             this file",
        ),
        (with("door.nsec", "absent.nsec"), "7: line \"door\": key_file: no such file in "),
        (with("door.nsec", "."), "7: line \"door\": key_file: cannot read .: it is a folder"),
        (
            with("door.nsec", "public.nsec"),
            "7: line \"door\": key_file: public.nsec holds a public key: the secret key (nsec1...) is expected",
        ),
        (
            with("door.nsec", "open.nsec"),
            "7: line \"door\": key_file: open.nsec can be read by others: run `chmod 600 open.nsec`",
        ),
        (
            more("[[line]]\nname = \"yard\"\nkey_file = \"same.nsec\"\nplay = \"test://\"\nallow = [\"*\"]\n"),
            "12: line \"yard\": key_file: line \"door\" has the same key: each line needs its own",
        ),
        (
            more("[[line]]\nname = \"Door\"\nplay = \"test://\"\nallow = [\"*\"]\n"),
            "11: line \"Door\": name: another line has this name, at line 6",
        ),
        (
            with("embedded_relay = \"127.0.0.1:0\"", "relays = [\"https://relay.example.com\"]"),
            "4: nostr.relays[0]: must be a relay's URL: wss://... or ws://...",
        ),
        (
            with("embedded_relay = \"127.0.0.1:0\"", "relays = []"),
            "3: nostr.relays: no relay: give nostr.relays or nostr.embedded_relay, or nobody can call",
        ),
        (
            with("test://", "http://camera"),
            "8: line \"door\": play: the scheme \"http\" is not one of rtsp, rtsps, test, file",
        ),
        (
            with("127.0.0.1:0\"\n[nostr]", "0.0.0.0:0\"\n[nostr]"),
            "2: http.listen: listening beyond this machine needs http.token_file",
        ),
        (
            with("[nostr]", "http.token_file = \"short.token\"\n[nostr]"),
            "3: http.token_file: the token in the file is shorter than 16 characters",
        ),
        (with("[nostr]", "http.token_file = \"empty.token\"\n[nostr]"), "3: http.token_file: empty.token is empty"),
        (with("\"data\"", "\"door.nsec\""), "1: data_dir: door.nsec is not a folder"),
        (with("[[line]]", "[[line]"), "5: not TOML: "),
    ];
    for (text, expected) in cases {
        place.write("callgate.toml", &text);
        for (command, code) in [("run", 78), ("check", 2)] {
            let (exit, out, err) = place.run(command);
            assert_eq!((exit, out.as_str()), (code, ""), "{command}: {err}\n{text}");
            // What follows is a folder's name, or the TOML parser's words.
            let whole = !expected.ends_with(' ');
            assert!(if whole { err == says(expected) } else { err.starts_with(says(expected).trim_end()) }, "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
            assert!(!err.contains(&secret) && !err.contains("hunter2"), "{err}");
        }
    }
    assert!(!place.path().join("data").exists(), "nothing was made");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let place = Place::new();
    let text = GOOD.replace("\"*\"", "\"npub1x\", \"me\"").replace("test://", "ftp://x").replace("name", "nmae");
    place.write("callgate.toml", &text);
    let expected = [
        "6: line #1: nmae: unknown key; did you mean `name`?",
        "8: line #1: play: the scheme \"ftp\" is not one of rtsp, rtsps, test, file",
        "9: line #1: allow[0]: must be an npub (npub1...) or 64 hex digits",
        "9: line #1: allow[1]: must be an npub (npub1...) or 64 hex digits",
    ];
    for (command, code) in [("run", 78), ("check", 2)] {
        let (exit, _, err) = place.run(command);
        assert_eq!(exit, code, "{err}");
        for line in expected {
            assert!(err.contains(&says(line)), "{line} in {err}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    assert_eq!(place.run("run"), (78, String::new(), says(" cannot be read: no such file")));
    fs::create_dir(place.path().join("callgate.toml")).unwrap();
    assert_eq!(place.run("run"), (78, String::new(), says(" cannot be read: it is a folder")));
}

#[test]
fn what_others_hold_is_told_when_the_daemon_starts_and_a_good_file_passes_the_check() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let relay = GOOD.replace("embedded_relay = \"127.0.0.1:0\"", &format!("embedded_relay = \"{port}\""));
    let web = GOOD
        .replace("embedded_relay = \"127.0.0.1:0\"", "relays = [\"ws://127.0.0.1:1\"]")
        .replace("http.listen = \"127.0.0.1:0\"", &format!("http.listen = \"{port}\""));
    let foreign = GOOD.replace("embedded_relay = \"127.0.0.1:0\"", "embedded_relay = \"192.0.2.1:7777\"");
    let cases = [
        (relay, format!("the embedded relay's address {port} is in use by another program\n")),
        (web, format!("{port} is taken by another program\n")),
        (foreign, "the embedded relay cannot listen on 192.0.2.1:7777: ".to_owned()),
    ];
    for (text, expected) in cases {
        place.write("callgate.toml", &text);
        assert_eq!(place.run("check").0, 0);
        let (exit, out, err) = place.run("run");
        assert_eq!((exit, out.as_str()), (78, ""), "{err}");
        assert!(err.starts_with(&expected), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }

    place.write("callgate.toml", GOOD);
    let held = Store::open(&place.path().join("data")).unwrap();
    let expected = "data is in use by another callgate: stop it, or give this one a data_dir of its own\n";
    assert_eq!(place.run("run"), (78, String::new(), expected.to_owned()));
    drop(held);
}
