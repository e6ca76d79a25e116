//! No secret is told: with every log switched on, through calls that work and calls that fail, nothing that callgate writes,
//! answers, keeps or publishes holds a password, a token or a secret key.
#![cfg(feature = "daemon")]

mod support {
    pub mod daemon;
    pub mod http;
    pub mod relay;
    pub mod sdp_offers;
    pub mod signaling;
}

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use callgate::media::demo_camera::{DemoCamera, DemoSettings};
use callgate::protocol::{Body, IceCandidate, Offer, RtcServer};
use nostr::nips::nip19::ToBech32 as _;
use nostr::{Keys, PublicKey};
use serde_json::json;
use support::daemon::{Daemon, field};
use support::http;
use support::relay::{Behaviour, TestRelay};
use support::sdp_offers::fixture_text;
use support::signaling::{Party, now, outgoing, sealed, soon};

const CAMERA: &str = "camera/password 4f1b";
const WRONG: &str = "wrong-password-93ce";
const IN_USER: &str = "user-password-17d0";
const IN_PATH: &str = "path-password-5ab8";
const IN_QUERY: &str = "query-token-c26e";
const TURN: &str = "turn-credential-80f7";
const TOKEN: &str = "api-token-d3a94e1b6c";
const CALLERS_TURN: &str = "callers-turn-credential-2b6d";

/// What is looked for, and everywhere that it is looked for.
#[derive(Default)]
struct Search {
    secrets: Vec<(&'static str, String)>,
    places: Vec<(String, String)>,
}

impl Search {
    /// A secret, in the forms that it may take.
    fn secret(&mut self, name: &'static str, secret: &str) {
        let percent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![secret.to_owned(), percent.replace('+', "%20"), percent, hex.to_uppercase(), hex];
        // In base64 a text looks different at each of three offsets; its first and last letters also depend on its neighbours.
        for offset in 0..3 {
            let padded = [vec![0; offset], secret.as_bytes().to_vec()].concat();
            for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = alphabet.encode(&padded);
                forms.push(text[offset * 4 / 3 + usize::from(offset > 0)..text.len() - 1].to_owned());
            }
        }
        self.secrets.extend(forms.into_iter().map(|form| (name, form)));
    }

    fn keys(&mut self, name: &'static str, keys: &Keys) {
        self.secret(name, &keys.secret_key().to_bech32().unwrap());
        self.secret(name, &keys.secret_key().to_secret_hex());
        self.secret(name, &keys.secret_key().to_secret_hex().to_uppercase());
    }

    fn place(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.places.push((name.into(), text.into()));
    }

    /// The secrets that were found, and where.
    fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (place, text) in &self.places {
            for (name, form) in &self.secrets {
                if let Some(line) = text.lines().find(|line| line.contains(form)) {
                    let line: String = line.chars().take(600).collect();
                    found.push(format!("{name} in {place}: {line}"));
                }
            }
        }
        found
    }
}

/// Runs a command with every log on; what it wrote.
fn cli(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(arguments)
        .args(["-vv", "--log", "json"])
        .env("CALLGATE_LOG", "trace")
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    let mut search = Search::default();
    search.secret("it", CAMERA);
    let basic = STANDARD_NO_PAD.encode(format!("viewer:{CAMERA}"));
    for text in
        [CAMERA, "u:camera%2Fpassword%204f1b@h", "camera%2Fpassword+4f1b", &basic, "63616d6572612F70617373776f7264"]
    {
        search.place(text, text);
    }
    assert!(search.found().len() >= 4, "{:?}", search.found());
    for text in [CAMERA, "u:camera%2Fpassword%204f1b@h", "camera%2Fpassword+4f1b", &basic] {
        assert!(search.found().iter().any(|found| found.contains(text)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_anywhere() {
    callgate::media::init().unwrap();
    let login = Some(("viewer".to_owned(), CAMERA.to_owned()));
    let camera = DemoCamera::start(DemoSettings { width: 320, height: 180, login, ..DemoSettings::default() }).unwrap();
    let address = camera.url().clone();
    let with = |user: &str, password: &str, path: Option<&str>| {
        let mut url = address.clone();
        url.set_username(user).unwrap();
        url.set_password(Some(password)).unwrap();
        let text = url.to_string();
        path.map_or(text.clone(), |path| text.replace(address.path(), path))
    };
    let relay = TestRelay::start(Behaviour::Honest).await;
    let folder = tempfile::tempdir().unwrap();
    let (door, caller) = (Keys::generate(), Keys::generate());
    let (mut friend, stranger) = (Party::new(&[relay.url()]).await, Party::new(&[relay.url()]).await);
    let (npub, friends) = (caller.public_key().to_bech32().unwrap(), friend.public().to_bech32().unwrap());

    // Given secrets wherever there is room for one
    write_private(&folder.path().join("door.nsec"), &door.secret_key().to_bech32().unwrap());
    write_private(&folder.path().join("caller.nsec"), &caller.secret_key().to_secret_hex());
    write_private(&folder.path().join("turn.secret"), TURN);
    write_private(&folder.path().join("api.token"), TOKEN);
    let lines = [
        ("door", with("viewer", CAMERA, None)),
        ("wrong", with("viewer", WRONG, None)),
        ("lost", with("viewer", CAMERA, Some(&format!("/user=admin&password={IN_PATH}/none?token={IN_QUERY}")))),
        ("gone", format!("rtsp://admin:{IN_USER}@127.0.0.1:9/password={IN_PATH}?token={IN_QUERY}")),
        ("far", format!("rtsp://admin:{IN_USER}@no-such-host.invalid/password={IN_PATH}?token={IN_QUERY}")),
    ];
    let mut configuration = format!(
        "data_dir = \"data\"\nnostr.relays = [\"{}\"]\nhttp.listen = \"127.0.0.1:0\"\nhttp.token_file = \"api.token\"\n\
         access.allow = [\"{npub}\", \"{friends}\"]\nlimits.offers_per_minute = 100\n\
         [ice]\nturn = [{{ url = \"turn:127.0.0.1:9\", username = \"gate\", credential_file = \"turn.secret\" }}]\n",
        relay.url()
    );
    for (name, play) in &lines {
        configuration.push_str(&format!("[[line]]\nname = \"{name}\"\nplay = {play:?}\n"));
        if *name == "door" {
            configuration.push_str("key_file = \"door.nsec\"\n");
        }
    }
    let file = support::daemon::write_configuration(folder.path(), &configuration);
    let trace = [("CALLGATE_LOG", "trace")];
    let daemon = Daemon::start_with(&["run", "-vv", "-c", file.to_str().unwrap()], &trace);
    daemon.stdout_lines(lines.len());
    soon(relay.subscriptions(3)).await;
    let key_of = |line: &str| PublicKey::parse(&daemon.npub(line)).unwrap();
    assert_eq!(key_of("door"), door.public_key());

    let mut search = Search::default();
    search.secret("the camera's password", CAMERA);
    search.secret("a wrong password", WRONG);
    search.secret("a password in an address", IN_USER);
    search.secret("a password in a path", IN_PATH);
    search.secret("a token in a query", IN_QUERY);
    search.secret("the TURN credential", TURN);
    search.secret("the API's token", TOKEN);
    search.secret("the caller's TURN credential", CALLERS_TURN);
    search.keys("the caller's key", &caller);
    for (name, _) in &lines[1..] {
        let file = folder.path().join(format!("data/keys/{name}.nsec"));
        search.keys("a generated key", &Keys::parse(fs::read_to_string(file).unwrap().trim()).unwrap());
    }
    search.keys("the line's key", &door);

    // When calls work, and fail in every way
    let url = relay.url().to_string();
    for (name, _) in &lines {
        let npub = daemon.npub(name);
        let call = ["call", &npub, "--relay", &url, "--key", "caller.nsec", "--seconds", "1", "--json"];
        let (out, err) = cli(folder.path(), &call);
        assert_eq!(out.contains("\"first_frame\""), *name == "door", "{name}: {out}");
        search.place(format!("callgate call {name}"), out + &err);
    }
    let rtc_servers = vec![RtcServer {
        urls: vec!["turn:turn.example.com".into()],
        username: Some("caller".into()),
        credential: Some(CALLERS_TURN.into()),
    }];
    let good = Offer { rtc_servers, ..Offer::new(fixture_text("chromium-recvonly"), now(), 60) };
    let password = good.sdp.lines().find_map(|line| line.strip_prefix("a=ice-pwd:")).unwrap();
    search.secret("the caller's ICE password", password);
    let bad = Offer { sdp: good.sdp.replace("a=setup", &format!("a={CALLERS_TURN}\r\nv=setup")), ..good.clone() };
    let candidate = Body::Candidate(IceCandidate {
        candidate: format!("candidate:{CALLERS_TURN}"),
        sdp_mid: None,
        sdp_mline_index: None,
        timestamp: now(),
    });
    for (session, keys, body) in [
        ("strange", &stranger.keys, Body::Offer(good.clone())),
        ("bad", &friend.keys, Body::Offer(bad)),
        ("good", &friend.keys, Body::Offer(good.clone())),
        ("good", &friend.keys, candidate),
    ] {
        relay.store(&sealed(keys, &outgoing(keys.public_key(), key_of("door"), session, body), now()));
    }
    let ended = |record: &serde_json::Value| field(record, "message") == "call ended";
    daemon.logged(|record| ended(record) && field(record, "reason") == "bad_offer");
    loop {
        let signal = friend.hear().await;
        if signal.envelope.session.as_str() == "good" {
            assert!(matches!(&signal.body, Body::Answer(answer) if answer.accepted));
            break;
        }
    }

    // And whoever may ask, asks for everything
    let web = daemon.web();
    let host = web.to_string();
    let bearer = format!("Bearer {TOKEN}");
    for path in ["/", "/healthz", "/api/lines", "/api/calls", "/api/relays", "/api/counters", "/none", "/api/none"] {
        for authorization in [bearer.as_str(), "Bearer wrong", ""] {
            let headers = [("Host", host.as_str()), ("Authorization", authorization)];
            let answer = http::request(web, "GET", path, &headers, "").await.unwrap();
            let all = format!("{:?}\n{}", answer.headers, answer.text());
            if path == "/api/lines" {
                assert_eq!(answer.status, if authorization == bearer { 200 } else { 401 }, "{all}");
            }
            search.place(format!("GET {path}"), all);
        }
    }
    let headers = [("Host", host.as_str()), ("Authorization", bearer.as_str())];
    let deleted = http::request(web, "DELETE", "/api/calls/c999", &headers, "").await.unwrap();
    search.place("DELETE", deleted.text());
    // The command line asks the address in the configuration.
    fs::write(&file, configuration.replace("127.0.0.1:0", &host)).unwrap();
    let (out, _) = cli(folder.path(), &["lines", "-c", "callgate.toml", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["running"], json!(true));
    for arguments in [
        &["lines", "-c", "callgate.toml"][..],
        &["lines", "-c", "callgate.toml", "--json"],
        &["calls", "-c", "callgate.toml"],
        &["calls", "-c", "callgate.toml", "--json"],
        &["check", "-c", "callgate.toml"],
        &["run", "-c", "callgate.toml"],
        &["keys", "show", "door.nsec"],
        &["keys", "show", "caller.nsec", "--json"],
    ] {
        let (out, err) = cli(folder.path(), arguments);
        assert!(!out.is_empty() || arguments[0] == "run", "{arguments:?}: {err}");
        search.place(arguments.join(" "), out + &err);
    }
    daemon.terminate();
    let (status, written) = daemon.exit();
    assert!(status.success());

    // Then none of it holds a secret.
    for reason in ["caller_left", "endpoint_failed", "bad_offer", "shutdown"] {
        assert!(written.contains(&format!("\"reason\":\"{reason}\"")), "no call ended so: {reason}");
    }
    assert!(written.contains("\"level\":\"TRACE\""));
    search.place("what the daemon wrote", written);
    for entry in fs::read_dir(folder.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            search.place(path.display().to_string(), String::from_utf8_lossy(&fs::read(&path).unwrap()));
        }
    }
    for event in relay.accepted() {
        search.place("a published event", json!(event).to_string());
    }
    let found = search.found();
    assert!(found.is_empty(), "{} times:\n{}", found.len(), found.join("\n"));
}
