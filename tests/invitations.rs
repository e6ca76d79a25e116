//! Invitations, with the real daemon, the real command line and the page in a real browser: whoever opens the link sees the camera, and
//! after its time, or when it was taken back, does not.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod daemon;
    pub mod http;
    pub mod relay;
}

use std::process::{Command, Output};

use nostr::{Keys, ToBech32 as _};
use serde_json::{Value, json};
use support::browser::Browser;
use support::daemon::{Daemon, field};
use support::http;
use support::relay::{Behaviour, TestRelay};
use tempfile::TempDir;

/// A daemon with two lines that nobody may call, and its command line.
struct House {
    folder: TempDir,
    daemon: Daemon,
    _relay: TestRelay,
}

impl House {
    async fn start() -> Self {
        let relay = TestRelay::start(Behaviour::Honest).await;
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            "data_dir = \"data\"\nnostr.relays = [\"{}\"]\nice.bind = [\"127.0.0.1\"]\nhttp.listen = \"127.0.0.1:0\"\n\
             [[line]]\nname = \"door\"\nplay = \"test://?width=320&height=180&bitrate=300\"\nallow = []\n\
             [[line]]\nname = \"yard\"\nplay = \"test://?width=320&height=180&bitrate=300\"\nallow = []\n",
            relay.url()
        );
        let daemon = Daemon::run(folder.path(), &configuration, 2);
        relay.subscriptions(1).await;
        Self { folder, daemon, _relay: relay }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_callgate"))
            .args(arguments)
            .args(["-c", "callgate.toml"])
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Invites somebody to the door, and waits until the daemon knows.
    fn invite(&self, lifetime: &str) -> Value {
        let known = self.invitations_read(0).len();
        let page = format!("http://{}/", self.daemon.web());
        let invitation =
            self.json(&["invite", "door", "--for", lifetime, "--name", "Grandma", "--page", &page, "--json"]);
        self.invitations_read(known + 1);
        invitation
    }

    /// How often the daemon has read its invitations, waiting for the `times`th time.
    fn invitations_read(&self, times: usize) -> Vec<Value> {
        let read = |record: &Value| field(record, "message") == "invitations read";
        if times == 0 {
            let written = self.daemon.written();
            let records = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            return records.filter(read).collect();
        }
        self.daemon.logged_times(times, read)
    }

    async fn access(&self, line: usize) -> Value {
        let address = self.daemon.web();
        let answer = http::request(address, "GET", "/api/lines", &[("Host", &address.to_string())], "").await.unwrap();
        answer.json()["lines"][line]["access"].clone()
    }
}

/// Opens a link as if for the first time, on a page that waits for an answer for three seconds only.
async fn follow(page: &Browser, link: &str) {
    page.open("about:blank").await;
    page.open(&format!("{link}&wait=3")).await;
}

/// Presses Call: whether the line answered with a picture.
async fn is_answered(page: &Browser) -> bool {
    page.click("#call").await;
    let end = page
        .wait_for_js("(callgate.state === 'live' && callgate.stats?.fps > 5 && 'live') || (callgate.state === 'ended' && callgate.error?.code)")
        .await;
    assert!(["live", "no-answer"].contains(&end.as_str().unwrap()), "{end}");
    end == "live"
}

async fn sees_a_moving_picture(page: &Browser) {
    let before = page.decoded_frames().await;
    let first = page.picture().await;
    page.wait_for_js(&format!(
        "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > {}",
        before + 25
    ))
    .await;
    let second = page.picture().await;
    assert!(first.difference(&second) > 0.5, "{}", first.difference(&second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_shows_the_camera_of_its_line_until_it_is_taken_back() {
    // Given a line that nobody may call, and an invitation to it
    let house = House::start().await;
    assert_eq!(house.access(0).await["words"], "nobody");
    let invitation = house.invite("1h");
    let link = invitation["link"].as_str().unwrap();
    let access = house.access(0).await;
    assert_eq!((&access["words"], &access["invitations"]), (&json!("1 invitation"), &json!(1)));
    assert_eq!(house.access(1).await["words"], "nobody", "it is for the one line");

    // When it is opened for the other line, nobody answers
    let lines = house.json(&["lines", "--json"]);
    let [door, yard] = [0, 1].map(|line: usize| lines["lines"][line]["npub"].as_str().unwrap().to_owned());
    let page = Browser::start_plain().await;
    follow(&page, &link.replace(&door, &yard)).await;
    assert!(!is_answered(&page).await);
    house.daemon.dropped("not_allowed", 1);

    // When it is opened as it is
    follow(&page, link).await;
    assert_eq!(page.text("#who").await, "door");
    assert!(is_answered(&page).await);

    // Then the camera is seen, and the operator sees that
    sees_a_moving_picture(&page).await;
    let shown = house.json(&["invites", "--json"])["invitations"][0].clone();
    assert_eq!((&shown["label"], &shown["state"], &shown["calls"]), (&json!("Grandma"), &json!("good"), &json!(1)));
    assert!(shown["called_ms"].is_u64() && shown["npub"] == invitation["npub"], "{shown}");

    // When it is taken back, the call ends
    let number = shown["number"].to_string();
    assert!(house.run(&["invites", "revoke", &number]).status.success());
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert!(error["words"].as_str().unwrap().contains("taken back"), "{error}");
    house
        .daemon
        .logged(|record| field(record, "message") == "call ended" && field(record, "reason") == "invitation_revoked");

    // and the link is good for nothing
    assert!(!is_answered(&page).await);
    house.daemon.dropped("not_allowed", 2);
    assert_eq!(house.json(&["invites", "--json"])["invitations"][0]["state"], "revoked");
    assert_eq!(house.access(0).await["words"], "nobody");

    // The key in the link is nowhere else.
    let (_, key) = link.split_once("&key=").unwrap();
    let keys = Keys::parse(key).unwrap();
    assert_eq!(keys.public_key().to_bech32().unwrap(), invitation["npub"].as_str().unwrap());
    let secret = keys.secret_key();
    let kept = std::fs::read_dir(house.folder.path().join("data")).unwrap().map(|file| file.unwrap().path());
    for file in kept.filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        for text in [key.as_bytes(), secret.to_secret_hex().as_bytes(), secret.as_secret_bytes()] {
            assert!(!bytes.windows(text.len()).any(|window| window == text), "{}", file.display());
        }
    }
    let written = house.daemon.written() + &format!("{shown}");
    assert!(!written.contains(key) && !written.contains(&secret.to_secret_hex()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_time_an_invitation_shows_nothing_and_a_call_that_is_up_goes_on() {
    let house = House::start().await;
    let page = Browser::start_plain().await;

    // Given a call that began in the invitation's time; a busy machine needs more of it
    let mut until = None;
    for lifetime in ["5s", "15s", "45s"] {
        let invitation = house.invite(lifetime);
        follow(&page, invitation["link"].as_str().unwrap()).await;
        if is_answered(&page).await {
            until = invitation["until_ms"].as_u64();
            break;
        }
    }
    let until = until.expect("45 seconds are enough");

    // When the time is over
    page.wait_for_js(&format!("Date.now() > {until}")).await;

    // Then the call goes on
    assert_eq!(page.js("callgate.state").await, "live");
    sees_a_moving_picture(&page).await;

    // and another one does not begin
    page.click("#hangup").await;
    assert!(!is_answered(&page).await);
    house.daemon.logged(|record| field(record, "why") == "not_allowed");
    let shown = house.json(&["invites", "--json"])["invitations"][0].clone();
    assert_eq!((&shown["state"], &shown["calls"]), (&json!("ended"), &json!(1)));
}
