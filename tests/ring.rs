//! Lines that call out, at a real daemon: `callgate ring`, the page that rings in a real browser, and what the command tells of it.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod daemon;
    pub mod http;
    pub mod phone;
    pub mod relay;
    pub mod signaling;
}

use std::path::PathBuf;
use std::process::Command;

use callgate::protocol::{Answer, Body, CallEnd, Dialect, EndCause, EndWord, Outgoing};
use nostr::{EventBuilder, Keys, Kind, PublicKey, Tag, ToBech32 as _};
use serde_json::{Value, json};
use support::daemon::{Daemon, field};
use support::http;
use support::phone::Phone;
use support::relay::{Behaviour, TestRelay};
use support::signaling::{Party, now, outgoing, soon};
use tempfile::TempDir;

/// A daemon with one line, `driveway`, that nobody may call.
struct House {
    folder: TempDir,
    daemon: Daemon,
    npub: String,
    relay: String,
}

impl House {
    async fn run(relay: &TestRelay) -> Self {
        Self::run_with(relay, "").await
    }

    async fn run_with(relay: &TestRelay, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = |port: u16| {
            format!(
                "data_dir = \"data\"\nnostr.relays = [\"{}\"]\nhttp.listen = \"127.0.0.1:{port}\"\n{more}\n[[line]]\n\
                 name = \"driveway\"\nplay = \"test://?width=320&height=180&fps=15&bitrate=300&keyframe=1\"\n",
                relay.url()
            )
        };
        let daemon = Daemon::run(folder.path(), &configuration(0), 1);
        // Where the daemon listens is known now: that is where a person's configuration says it is.
        std::fs::write(folder.path().join("person.toml"), configuration(daemon.web().port())).unwrap();
        soon(relay.subscriptions(1)).await;
        let npub = daemon.npub("driveway");
        Self { folder, daemon, npub, relay: relay.url().to_string() }
    }

    /// What makes the page know the line.
    fn fragment(&self) -> String {
        format!("#npub={}&relay={}&name=driveway", self.npub, self.relay)
    }

    fn person(&self) -> PathBuf {
        self.folder.path().join("person.toml")
    }

    /// `callgate ring driveway`.
    fn ring(&self, keys: &[PublicKey], seconds: u64) -> Ring {
        let npubs: Vec<String> = keys.iter().map(|key| key.to_bech32().unwrap()).collect();
        let (person, time) = (self.person(), format!("{seconds}s"));
        let mut arguments = vec!["ring", "driveway", "-c", person.to_str().unwrap(), "--for", &time, "--json"];
        arguments.extend(npubs.iter().map(String::as_str));
        Ring(Daemon::start(&arguments))
    }

    async fn ask(&self, path: &str) -> Value {
        let host = self.daemon.web().to_string();
        http::request(self.daemon.web(), "GET", path, &[("Host", &host)], "").await.unwrap().json()
    }

    /// The call log, by `callgate calls`.
    fn call_log(&self) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_callgate"))
            .args(["calls", "--json", "-c"])
            .arg(self.person())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until a call has ended for this reason.
    fn call_ended(&self, reason: &str) {
        self.daemon.logged(|record| field(record, "message") == "call ended" && field(record, "reason") == reason);
    }
}

/// `callgate ring` at work.
struct Ring(Daemon);

impl Ring {
    /// Its exit code, and the outcome of each call.
    async fn outcome(self) -> (i32, Vec<String>) {
        let (status, written) = tokio::task::spawn_blocking(|| self.0.exit()).await.unwrap();
        let told = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let told = told.filter_map(|object| object["calls"].as_array().cloned()).next_back();
        let told = told.unwrap_or_else(|| panic!("no calls in {written}"));
        let outcomes = told.iter().map(|call| call["outcome"].as_str().unwrap().to_owned()).collect();
        (status.code().unwrap(), outcomes)
    }
}

/// Longer than any test rings.
const LONG: u64 = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_rings_both_devices_of_a_person_and_the_one_that_answers_shows_the_picture() {
    // Given a person with two devices that know the line
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let house = House::run(&relay).await;
    let (person, knows) = (Keys::generate(), house.fragment());
    let (desk, pocket) = tokio::join!(Phone::with_key(&knows, &person), Phone::with_key(&knows, &person));

    // When the line calls
    let ring = house.ring(&[person.public_key()], LONG);

    // Then both ring, with the line's name, and the API says so
    for phone in [&desk, &pocket] {
        let shown = phone.rings().await;
        assert_eq!((&shown["name"], &shown["npub"]), (&json!("driveway"), &json!(house.npub)));
    }
    let call = house.ask("/api/calls").await["calls"][0].clone();
    assert_eq!((&call["state"], &call["direction"]), (&json!("ringing"), &json!("out")));
    assert_eq!(call["caller"], person.public_key().to_bech32().unwrap());

    // When one answers, the other stops, and says why
    desk.page.click("#answer").await;
    let words = pocket.rings_no_more().await;
    assert!(words.contains("driveway was answered on another device"), "{words}");

    // Then the first one shows the picture, which moves
    desk.page.wait_for_js("callgate.state === 'live' && callgate.stats?.fps > 3").await;
    let (before, first) = (desk.page.decoded_frames().await, desk.page.picture().await);
    desk.page
        .wait_for_js(&format!(
            "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > {before} + 15"
        ))
        .await;
    let second = desk.page.picture().await;
    assert!(first.difference(&second) > 0.5, "{}", first.difference(&second));
    // and whoever asked for the call knows
    assert_eq!(ring.outcome().await, (0, vec!["answered".to_owned()]));
    assert_eq!(house.ask("/api/calls").await["calls"][0]["state"], "live");

    // When the device's network changes, it restarts ICE as in any call, and the picture goes on
    desk.page.js("dispatchEvent(new Event('online'))").await;
    house.daemon.logged(|record| field(record, "by") == "other_side");
    let before = desk.page.decoded_frames().await;
    desk.page
        .wait_for_js(&format!(
            "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > {before} + 15"
        ))
        .await;
    assert_eq!(desk.page.js("callgate.state").await, "live");

    // When the person hangs up, the call is in the log as one that the line made
    desk.page.click("#hangup").await;
    house.call_ended("callee_left");
    let log = house.call_log();
    let logged = &log["calls"][0];
    assert_eq!((&logged["direction"], &logged["reason"]), (&json!("out"), &json!("callee_left")));
    assert!(logged["bytes_sent"].as_u64().unwrap() > 0, "{logged}");
    assert_eq!(desk.page.console_errors().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_a_busy_person_and_nobody_there_are_told_apart() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let house = House::run(&relay).await;
    let phone = Phone::waiting(&house.fragment()).await;

    // Refused by a press of the button
    let ring = house.ring(&[phone.key], LONG);
    phone.rings().await;
    phone.page.click("#refuse").await;
    assert_eq!(ring.outcome().await, (3, vec!["refused".to_owned()]));

    // In a call already
    let first = house.ring(&[phone.key], LONG);
    phone.rings().await;
    phone.page.click("#answer").await;
    phone.page.wait_for_js("callgate.state === 'live'").await;
    assert_eq!(first.outcome().await.0, 0);
    assert_eq!(house.ring(&[phone.key], LONG).outcome().await, (4, vec!["busy".to_owned()]));
    assert_eq!(phone.page.js("callgate.state").await, "live");

    // Nobody there
    let nobody = Keys::generate().public_key();
    assert_eq!(house.ring(&[nobody], 5).outcome().await, (5, vec!["no_answer".to_owned()]));
    for reason in ["declined", "callee_busy", "unanswered"] {
        house.call_ended(reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_who_are_rung_the_first_who_answers_has_the_call() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let house = House::run(&relay).await;
    let knows = house.fragment();
    let (one, other) = tokio::join!(Phone::waiting(&knows), Phone::waiting(&knows));

    let ring = house.ring(&[one.key, other.key], LONG);
    one.rings().await;
    other.rings().await;
    other.page.click("#answer").await;

    one.rings_no_more().await;
    other.page.wait_for_js("callgate.state === 'live'").await;
    assert_eq!(ring.outcome().await, (0, vec!["answered_by_other".to_owned(), "answered".to_owned()]));
    house.call_ended("answered_by_other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_only_plain_events_rings_too_and_is_spoken_to_in_them() {
    // Given a client that knows no wraps
    let relay = TestRelay::start(Behaviour::Honest).await;
    let house = House::run(&relay).await;
    let mut client = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(2)).await;

    // When it is called: what comes wrapped is nothing to it
    let ring = house.ring(&[client.public()], LONG);
    let mut sessions = Vec::new();
    let offer = loop {
        let signal = client.hear().await;
        sessions.push(signal.envelope.session.clone());
        if signal.envelope.dialect == Dialect::Plain {
            break signal;
        }
    };

    // Then the offer comes plain too, in the same session, and says where it is answered
    assert!(sessions.len() > 1 && sessions.iter().all(|session| *session == offer.envelope.session));
    assert_eq!(offer.envelope.relay.as_ref(), Some(&relay.url()));
    let Body::Offer(content) = &offer.body else { panic!("{:?}", offer.body) };
    assert_eq!((content.name.as_deref(), content.expires_in), (Some("driveway"), LONG));

    // When it refuses, in a plain event
    let line = offer.envelope.from;
    let busy = CallEnd { cause: Some(EndCause::Busy), ..CallEnd::new(EndWord::Rejected, now()) };
    for body in [Body::Answer(Answer::refusing(now())), Body::End(busy)] {
        let plain: Outgoing = outgoing(client.public(), line, offer.envelope.session.as_str(), body);
        soon(client.signaling.publish(plain).unwrap().outcome()).await.unwrap();
    }
    assert_eq!(ring.outcome().await, (4, vec!["busy".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lists_another_relay_rings_there() {
    // Given somebody who is at a relay that the gateway does not know, and says so at the gateway's
    let (ours, theirs) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::Honest).await);
    let mut client = Party::new(&[theirs.url()]).await;
    soon(theirs.subscriptions(1)).await;
    let list = EventBuilder::new(Kind::from(10050), "").tag(Tag::parse(["relay", theirs.url().as_str()]).unwrap());
    ours.store(&list.sign_with_keys(&client.keys).unwrap());
    // Both relays are on this machine.
    let house = House::run_with(&ours, "nostr.caller_relays = \"any\"").await;

    let ring = house.ring(&[client.public()], LONG);
    let offer = client.hear().await;
    assert!(matches!(offer.body, Body::Offer(_)), "{:?}", offer.body);

    // Then what is said there is heard
    let busy = CallEnd { cause: Some(EndCause::Busy), ..CallEnd::new(EndWord::Rejected, now()) };
    let line = offer.envelope.from;
    client.publish(line, offer.envelope.session.as_str(), Body::End(busy)).await;
    assert_eq!(ring.outcome().await, (4, vec!["busy".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_hangs_up_what_rings_and_who_is_called_too_often_is_called_no_more() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let house = House::run(&relay).await;
    let phone = Phone::waiting(&house.fragment()).await;
    let ring = house.ring(&[phone.key], LONG);
    phone.rings().await;

    // When it is hung up by the API, the page stops, and the command tells
    let id = house.ask("/api/calls").await["calls"][0]["id"].as_str().unwrap().to_owned();
    let host = house.daemon.web().to_string();
    let path = format!("/api/calls/{id}");
    let headers = [("Host", host.as_str())];
    assert_eq!(http::request(house.daemon.web(), "DELETE", &path, &headers, "").await.unwrap().status, 204);
    let words = phone.rings_no_more().await;
    assert!(words.contains("driveway called at") && words.contains("hung up"), "{words}");
    assert_eq!(ring.outcome().await, (1, vec!["hung_up".to_owned()]));

    // When the same key is called again and again, in one request after the other, then at last no more
    let nobody = json!({ "to": [Keys::generate().public_key().to_bech32().unwrap()], "for": "5s" }).to_string();
    let mut answers = Vec::new();
    for _ in 0..3 {
        let answer = http::request(house.daemon.web(), "POST", "/api/lines/driveway/ring", &headers, &nobody).await;
        answers.push(answer.unwrap());
    }
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [202, 202, 429]);
    assert_eq!(answers[2].json()["error"], "this key has as many calls as one may");
}

#[test]
fn without_a_daemon_it_is_said_that_none_runs() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = format!(
        "data_dir = \"data\"\nnostr.relays = [\"ws://127.0.0.1:9\"]\nhttp.listen = \"127.0.0.1:{free}\"\n\
         [[line]]\nname = \"driveway\"\nplay = \"test://\"\n"
    );
    let file = support::daemon::write_configuration(folder.path(), &configuration);
    let npub = Keys::generate().public_key().to_bech32().unwrap();
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_callgate")).args(arguments).arg("-c").arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, words) = run(&["ring", "driveway", &npub]);
    assert_eq!(code, Some(69), "{words}");
    assert!(words.contains("the gateway does not answer"), "{words}");
    for wrong in [
        vec!["ring", "garden", &npub],
        vec!["ring", "driveway", "npub1x"],
        vec!["ring", "driveway", &npub, "--for", "4s"],
    ] {
        assert_eq!(run(&wrong).0, Some(64), "{wrong:?}");
    }
}
