//! The command line, by running the real binary: exit codes, what is printed, and that no secret is.
#![cfg(feature = "daemon")]

mod support {
    pub mod call_record;
}

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use callgate::store::Store;
use nostr::Keys;
use nostr::nips::nip19::ToBech32 as _;
use support::call_record::record;
use tempfile::TempDir;

const TOKEN: &str = "hunter2-token-of-the-api";

/// A configuration of one line, with secrets wherever there is room for one.
struct Place {
    folder: TempDir,
    keys: Keys,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), keys: Keys::generate() };
        place.write("door.nsec", &place.keys.secret_key().to_bech32().unwrap());
        place.write("turn.secret", "hunter2-turn");
        place.write("api.token", TOKEN);
        place.configure("");
        place
    }

    fn configure(&self, top: &str) {
        self.write(
            "callgate.toml",
            &format!(
                r#"data_dir = "data"
{top}
[nostr]
relays = ["wss://relay.example.com"]
[ice]
turn = [{{ url = "turn:t.example.com", username = "u", credential_file = "turn.secret" }}]
[[line]]
name = "door"
key_file = "door.nsec"
play = "rtsp://admin:hunter2@10.0.0.5/main?token=hunter2"
allow = ["*"]
[[line]]
name = "yard"
play = "test://"
allow = ["*"]
"#
            ),
        );
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs callgate in the folder.
    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_callgate"))
            .args(arguments)
            .envs(environment.iter().copied())
            .env_remove("CALLGATE_CONFIG")
            .env_remove("CALLGATE_LOG")
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let ended = Ended::of(output);
        for secret in ["hunter2", &self.keys.secret_key().to_bech32().unwrap(), &self.keys.secret_key().to_secret_hex()]
        {
            assert!(
                !ended.out.contains(secret) && !ended.err.contains(secret),
                "{arguments:?} tells a secret: {ended:?}"
            );
        }
        ended
    }
}

#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

#[test]
fn help_and_version_are_no_failure() {
    let place = Place::new();
    assert_eq!(place.run(&["--help"]).code, 0);
    assert_eq!(place.run(&["serve", "--help"]).code, 0);
    let version = place.run(&["--version"]);
    assert_eq!((version.code, version.out.trim()), (0, concat!("callgate ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_usage_exits_with_64() {
    let place = Place::new();
    for arguments in [
        &[][..],
        &["dance"],
        &["check"],
        &["run", "-c", "callgate.toml", "rtsp://u:hunter2@h"],
        &["call", "npub1hunter2", "--relay", "wss://a"],
        &["call", "--relay", "wss://a"],
        &["keys", "show", "door.nsec", "--relay", "wss://hunter2@a"],
        &["calls", "-c", "callgate.toml", "--caller", "nsec1hunter2"],
        &["invite", "nowhere", "--for", "2h", "--page", "https://example.com", "-c", "callgate.toml"],
        &["invite", "door", "--for", "2y", "--page", "https://example.com", "-c", "callgate.toml"],
        &["invite", "door", "--for", "2h", "--page", "example.com", "-c", "callgate.toml"],
        &["invite", "door", "--for", "2h", "-c", "callgate.toml"],
        &["invites", "revoke", "nsec1hunter2", "-c", "callgate.toml"],
        &["invites"],
        &["serve", "http://u:hunter2@h", "--allow", "*"],
        &["serve", "rtsp://u:hunter2@h", "--allow", "nobody"],
        &["serve", "rtsp://u:hunter2@h"],
        &["serve", "rtsp://u:hunter2@h", "--allow", "*", "--listen", "0.0.0.0:0"],
    ] {
        let ended = place.run(arguments);
        assert_eq!(ended.code, 64, "{arguments:?}: {ended:?}");
        assert!(!ended.err.is_empty() && ended.out.is_empty(), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn check_passes_a_good_configuration_and_makes_nothing() {
    let place = Place::new();
    let ended = place.run(&["check", "-c", "callgate.toml"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "callgate.toml: good, 2 lines\n"), "{ended:?}");
    assert!(!place.path("data").exists());
}

#[test]
fn check_tells_every_mistake_and_exits_with_2_where_others_exit_with_78() {
    let place = Place::new();
    place.configure("dada_dir = \"x\"\nhttp = { listen = \"0.0.0.0:80\" }");
    let expected = "callgate.toml:2: dada_dir: unknown key; did you mean `data_dir`?\n\
                    callgate.toml:3: http.listen: listening beyond this machine needs http.token_file\n";

    let check = place.run(&["check", "-c", "callgate.toml"]);
    assert_eq!((check.code, check.err.as_str(), check.out.as_str()), (2, expected, ""));

    for command in ["run", "lines", "calls"] {
        let ended = place.run(&[command, "-c", "callgate.toml"]);
        assert_eq!((ended.code, ended.err.as_str()), (78, expected), "{command}");
    }
    let absent = place.run(&["run", "-c", "absent.toml"]);
    assert_eq!((absent.code, absent.err.as_str()), (78, "absent.toml: cannot be read: no such file\n"));
}

#[test]
fn a_value_may_come_from_the_environment_or_from_a_file() {
    let place = Place::new();
    place.write("address", "rtsp://u:hunter2@10.0.0.9/sub\n");
    let text = fs::read_to_string(place.path("callgate.toml")).unwrap();
    let text = text.replace("test://", "file:address").replace("wss://relay.example.com", "env:TEST_RELAY");
    place.write("callgate.toml", &text);

    let ended =
        place.run_with(&["lines", "-c", "callgate.toml", "--json"], &[("TEST_RELAY", "wss://other.example.com")]);

    let lines = ended.json();
    assert_eq!(lines["lines"][1]["endpoint"], "rtsp://***@10.0.0.9/sub");
    assert_eq!(lines["lines"][1]["relays"][0], "wss://other.example.com");
    let unset = place.run(&["check", "-c", "callgate.toml"]);
    assert_eq!(unset.code, 2);
    assert!(unset.err.contains("nostr.relays[0]: the environment has no variable TEST_RELAY"), "{unset:?}");
}

#[test]
fn a_new_key_is_kept_in_its_file_and_only_its_public_half_is_told() {
    let place = Place::new();

    let made = place.run(&["keys", "new", "--out", "new.nsec", "--json"]);

    assert_eq!(made.code, 0, "{made:?}");
    let keys = Keys::parse(fs::read_to_string(place.path("new.nsec")).unwrap().trim()).unwrap();
    let npub = keys.public_key().to_bech32().unwrap();
    assert_eq!(made.json()["npub"], npub);
    assert!(!made.out.contains("nsec1") && !made.out.contains(&keys.secret_key().to_secret_hex()));

    let shown = place.run(&["keys", "show", "new.nsec"]);
    assert!(shown.code == 0 && shown.out.contains(&npub), "{shown:?}");
    assert!(!shown.out.contains("nsec1"));

    let again = place.run(&["keys", "new", "--out", "new.nsec"]);
    assert_eq!((again.code, again.err.as_str()), (73, "new.nsec exists already, and is left as it is\n"));
    assert_eq!(Keys::parse(fs::read_to_string(place.path("new.nsec")).unwrap().trim()).unwrap(), keys);

    let absent = place.run(&["keys", "show", "absent.nsec"]);
    assert_eq!((absent.code, absent.err.as_str()), (66, "cannot read absent.nsec: no such file\n"));
}

#[test]
fn a_key_is_encrypted_into_another_file_and_runs_a_line_with_its_passphrase() {
    let place = Place::new();
    let npub = place.keys.public_key().to_bech32().unwrap();
    place.write("pass", "hunter2 battery staple\n");

    let made = place.run(&["keys", "encrypt", "door.nsec", "--out", "door.ncryptsec", "--passphrase", "file:pass"]);

    assert!(made.code == 0 && made.out.contains(&npub), "{made:?}");
    let text = fs::read_to_string(place.path("door.ncryptsec")).unwrap();
    assert!(text.starts_with("ncryptsec1"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(place.path("door.ncryptsec")).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let show = ["keys", "show", "door.ncryptsec", "--passphrase", "env:PASS"];
    let shown = place.run_with(&show, &[("PASS", "hunter2 battery staple")]);
    assert!(shown.code == 0 && shown.out.contains(&npub), "{shown:?}");
    let wrong = place.run_with(&show, &[("PASS", "hunter2 battery stable")]);
    assert_eq!((wrong.code, wrong.err.as_str()), (66, "door.ncryptsec: the passphrase is not that of this key\n"));
    let bare = place.run(&["keys", "show", "door.ncryptsec"]);
    assert_eq!((bare.code, bare.err.as_str()), (64, "--passphrase: is needed: there is no terminal to ask at\n"));
    let shown = place.run(&["keys", "show", "door.ncryptsec", "--passphrase", "hunter2 battery staple"]);
    assert_eq!(shown.code, 64, "{shown:?}");
    let again = place.run(&["keys", "encrypt", "door.nsec", "--out", "door.ncryptsec", "--passphrase", "file:pass"]);
    assert_eq!((again.code, again.err.as_str()), (73, "door.ncryptsec exists already, and is left as it is\n"));

    // When a line has the encrypted file and a credential of systemd's
    let text = fs::read_to_string(place.path("callgate.toml")).unwrap();
    let text = text.replace("\"door.nsec\"", "\"door.ncryptsec\"\nkey_passphrase = \"credential:pass\"");
    place.write("callgate.toml", &text);
    let credentials = place.folder.path().to_str().unwrap().to_owned();
    let lines = ["lines", "-c", "callgate.toml", "--json"];
    let shown = place.run_with(&lines, &[("CREDENTIALS_DIRECTORY", &credentials)]);
    assert_eq!(shown.json()["lines"][0]["npub"], npub, "{shown:?}");
    let check = place.run(&["check", "-c", "callgate.toml"]);
    let told =
        "line \"door\": key_passphrase: systemd gave this process no credentials: add LoadCredential= to its unit\n";
    assert!(check.code == 2 && check.err.ends_with(told), "{check:?}");
}

#[test]
fn a_key_can_be_told_with_its_relays() {
    let place = Place::new();
    let shown = place.run(&["keys", "show", "door.nsec", "--relay", "wss://relay.example.com", "--json"]).json();
    assert_eq!(shown["hex"], place.keys.public_key().to_hex());
    assert!(shown["nprofile"].as_str().unwrap().starts_with("nprofile1"));
}

#[test]
fn lines_tells_the_configuration_when_the_gateway_does_not_run() {
    let place = Place::new();

    let table = place.run(&["lines", "-c", "callgate.toml"]);
    let json = place.run(&["lines", "-c", "callgate.toml", "--json"]).json();

    let npub = place.keys.public_key().to_bech32().unwrap();
    assert_eq!(table.code, 0, "{table:?}");
    for part in [
        "door",
        npub.as_str(),
        "rtsp://***@10.0.0.5/main?token=***",
        "wss://relay.example.com",
        "(made at the first run)",
    ] {
        assert!(table.out.contains(part), "{part} in {}", table.out);
    }
    assert_eq!(json["running"], false);
    assert_eq!(json["lines"][0]["npub"], npub);
    assert!(json["lines"][1]["npub"].is_null() && json["lines"][1]["state"].is_null());
}

#[test]
fn lines_tells_what_the_running_gateway_says() {
    // Given an API that wants its token
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    place.configure(&format!(
        "http = {{ listen = \"{}\", token_file = \"api.token\" }}",
        listener.local_addr().unwrap()
    ));
    let answer = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let request: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        let body = r#"{"lines":[{"name":"door","npub":"x","state":"open","callers":3,"talk":false,"streams":["H264 1280x720"]}],
            "relays":[{"url":"wss://r.example","connected":true,"health":"silent","error":"it says no OK to events","verdicts":{"accepted":7,"no_ok":3}}]}"#;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
        request
    };
    let api = thread::spawn(move || [answer(), answer()]);

    // When
    let lines = place.run(&["lines", "-c", "callgate.toml", "--json", "-vvv", "--log", "json"]).json();

    let table = place.run(&["lines", "-c", "callgate.toml"]).out;

    // Then
    let [request, _] = api.join().unwrap();
    assert_eq!(request[0], "GET /api/lines HTTP/1.1");
    assert!(
        request.iter().any(|line| line.eq_ignore_ascii_case(&format!("authorization: Bearer {TOKEN}"))),
        "{request:?}"
    );
    assert_eq!(lines["running"], true);
    assert_eq!((&lines["lines"][0]["state"], &lines["lines"][0]["callers"]), (&"open".into(), &3.into()));
    assert!(lines["lines"][1]["state"].is_null(), "a line that the gateway does not have yet");
    assert_eq!(lines["relays"][0]["verdicts"]["no_ok"], 3);
    let relay = table.lines().last().unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    assert_eq!(relay.collect::<Vec<_>>(), ["wss://r.example", "silent", "7 of 10", "it says no OK to events"]);
}

#[test]
fn calls_tells_the_call_log_also_while_the_daemon_holds_it() {
    let place = Place::new();
    let none = place.run(&["calls", "-c", "callgate.toml"]);
    assert_eq!((none.code, none.out.as_str()), (0, "no calls\n"));
    assert_eq!(place.run(&["calls", "-c", "callgate.toml", "--json"]).json()["calls"], serde_json::json!([]));

    let store = Store::open(&place.path("data")).unwrap();
    let alice = Keys::generate().public_key();
    store.log_call(&record("door", alice)).unwrap();
    store.log_call(&record("yard", Keys::generate().public_key())).unwrap();

    let table = place.run(&["calls", "-c", "callgate.toml", "--line", "door"]);
    assert_eq!(table.out.lines().count(), 2, "{table:?}");
    for part in ["2024-02-29 23:59:59", "door", "12.5 s", "2.5 MB", "caller_left: the caller"] {
        assert!(table.out.contains(part), "{part} in {}", table.out);
    }
    assert!(!table.out.contains('\u{1b}'), "an escape sequence of a stranger's reaches the terminal");
    let json = place.run(&["calls", "-c", "callgate.toml", "--json", "--limit", "1"]).json();
    assert_eq!((&json["calls"][0]["line"], json["calls"].as_array().unwrap().len()), (&"yard".into(), 1));
    let npub = alice.to_bech32().unwrap();
    let hers = place.run(&["calls", "-c", "callgate.toml", "--json", "--caller", &npub]).json();
    assert_eq!((&hers["calls"][0]["caller"], hers["calls"].as_array().unwrap().len()), (&npub.into(), 1));
}

#[test]
fn an_invitation_is_a_link_and_a_code_and_can_be_listed_and_taken_back() {
    let place = Place::new();
    let none = place.run(&["invites", "-c", "callgate.toml"]);
    assert_eq!((none.code, none.out.as_str()), (0, "no invitations\n"));
    assert_eq!(place.run(&["invites", "revoke", "1", "-c", "callgate.toml"]).code, 66);

    // When nothing runs and nothing ever ran
    let made = place.run(&[
        "invite",
        "door",
        "--for",
        "7d",
        "--name",
        "the plumber",
        "--page",
        "https://calls.example.com/page#old",
        "-c",
        "callgate.toml",
    ]);

    // Then there is a link with a key of its own, and a code that says the same
    assert_eq!((made.code, made.err.as_str()), (0, ""), "{made:?}");
    let link = made.out.lines().find(|line| line.starts_with("https://")).unwrap();
    let npub = place.keys.public_key().to_bech32().unwrap();
    let expected =
        format!("https://calls.example.com/page#npub={npub}&relay=wss://relay.example.com&name=door&key=nsec1");
    assert!(link.starts_with(&expected), "{link}");
    let guest = Keys::parse(link.split_once("&key=").unwrap().1).unwrap();
    assert!(made.out.contains('█') && made.out.contains("Invitation 1: whoever has this link may call door until"));

    // and the list tells all of it but the key
    let table = place.run(&["invites", "-c", "callgate.toml"]);
    for part in ["1 ", "door", "the plumber", "good", &guest.public_key().to_bech32().unwrap()[..16]] {
        assert!(table.out.contains(part), "{part} in {}", table.out);
    }
    let shown = place.run(&["invites", "-c", "callgate.toml", "--json"]);
    assert!(!shown.out.contains("nsec1") && !shown.out.contains(&guest.secret_key().to_secret_hex()));
    assert_eq!(shown.json()["invitations"][0]["line_npub"], npub);

    // When it is taken back by its key
    let npub = guest.public_key().to_bech32().unwrap();
    let taken = place.run(&["invites", "revoke", &npub, "-c", "callgate.toml"]);
    assert_eq!((taken.code, taken.out.as_str()), (0, "invitation 1 to door is taken back\n"));
    let again = place.run(&["invites", "-c", "callgate.toml", "revoke", "1"]);
    assert_eq!((again.code, again.out.as_str()), (0, "invitation 1 to door was taken back before\n"));
    assert_eq!(place.run(&["invites", "-c", "callgate.toml", "--json"]).json()["invitations"][0]["state"], "revoked");
}

#[test]
fn a_link_that_a_guest_elsewhere_cannot_use_comes_with_a_hint() {
    let place = Place::new();
    place.configure("http = { listen = \"127.0.0.1:8080\" }");
    let made = place.run(&["invite", "yard", "--for", "30m", "--json", "-c", "callgate.toml"]);
    assert!(made.json()["link"].as_str().unwrap().starts_with("http://127.0.0.1:8080/#npub="), "{made:?}");
    assert_eq!(
        made.err,
        "The link opens on this machine only: give --page with the page's address as your guest sees it.\n"
    );
}

#[test]
fn a_damaged_call_log_is_told() {
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    fs::write(place.path("data/callgate.db"), "no database".repeat(1000)).unwrap();
    let ended = place.run(&["calls", "-c", "callgate.toml"]);
    assert_eq!(ended.code, 74);
    assert!(ended.err.starts_with("data/callgate.db is damaged"), "{ended:?}");
}
