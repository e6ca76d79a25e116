//! The caller page in a real browser, and the HTTP API that it comes with.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod http;
}

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callgate::gateway::view::{
    AccessView, CallView, LineState, LineView, MilestonesView, RelayView, RungView, StatsView,
};
use callgate::gateway::{DeleteError, RecordError, RecordingFile, Ring, RingError};
use callgate::media::{LineName, SnapshotError, SourceError};
use callgate::protocol::Dialect;
use callgate::recording::RecordingId;
use callgate::store::{KeptRecording, RecordingFilter, StoreError};
use callgate::web::{self, Gateway, Token, WebError};
use nostr::{Keys, ToBech32 as _};
use support::browser::Browser;
use support::http::{self, Answer};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A gateway with two lines and one call.
#[derive(Clone, Default)]
struct Office {
    hung_up: Arc<Mutex<Vec<String>>>,
    rung: Arc<Mutex<Vec<Ring>>>,
    draining: bool,
}

fn npub(seed: u8) -> String {
    let mut secret = [seed; 32];
    secret[0] = 1;
    let keys = Keys::new(nostr::SecretKey::from_slice(&secret).unwrap());
    keys.public_key().to_bech32().unwrap()
}

impl Gateway for Office {
    fn lines(&self) -> Vec<LineView> {
        let line = |name: &str, seed, state, callers, talk| LineView {
            name: name.into(),
            npub: npub(seed),
            endpoint: "rtsp://***@10.0.0.5/main".into(),
            relays: vec!["ws://127.0.0.1:9/".into()],
            state,
            callers,
            talk,
            access: AccessView::default(),
            streams: vec!["H264 1280x720".into()],
        };
        let away = LineState::Reopening { error: "the camera cannot be reached".into(), tries: 3 };
        vec![line("driveway", 7, LineState::Open, 1, false), line("workshop", 8, away, 0, true)]
    }

    fn calls(&self) -> Vec<CallView> {
        vec![CallView {
            id: "c12".into(),
            line: "driveway".into(),
            direction: "in".into(),
            caller: npub(9),
            session: "7b6e".into(),
            state: "live".into(),
            since: 1_700_000_000_000,
            milestones: MilestonesView { answered: Some(12), ..MilestonesView::default() },
            stats: StatsView::default(),
            ended: None,
        }]
    }

    fn relays(&self) -> Vec<RelayView> {
        vec![RelayView {
            url: "wss://relay.example".into(),
            connected: true,
            health: "good".into(),
            error: None,
            verdicts: BTreeMap::new(),
        }]
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        BTreeMap::from([("calls".into(), 12)])
    }

    fn draining(&self) -> bool {
        self.draining
    }

    async fn hang_up(&self, id: &str) -> bool {
        self.hung_up.lock().unwrap().push(id.into());
        id == "c12"
    }

    async fn ring(&self, ring: Ring) -> Result<Vec<RungView>, RingError> {
        if ring.line.0 != "driveway" {
            return Err(RingError::NoSuchLine);
        }
        let calls =
            ring.to.iter().map(|key| RungView { to: key.to_bech32().unwrap(), id: Some("c13".into()), error: None });
        let calls = calls.collect();
        self.rung.lock().unwrap().push(ring);
        Ok(calls)
    }

    async fn recordings(&self, _: RecordingFilter, _: usize) -> Result<Vec<KeptRecording>, StoreError> {
        Ok(Vec::new())
    }

    async fn recording(&self, _: RecordingId) -> Result<Option<RecordingFile>, StoreError> {
        Ok(None)
    }

    async fn delete_recording(&self, _: RecordingId) -> Result<(), DeleteError> {
        Err(DeleteError::NoSuchRecording)
    }

    async fn record(&self, _: LineName, _: Duration) -> Result<RecordingId, RecordError> {
        Err(RecordError::NoSuchLine)
    }

    async fn stop_recording(&self, _: LineName) -> Result<RecordingId, RecordError> {
        Err(RecordError::NotRecorded)
    }

    async fn snapshot(&self, _: LineName) -> Result<Vec<u8>, SnapshotError> {
        Err(SourceError::NoSuchLine.into())
    }
}

/// A server on a free port, stopped when dropped.
struct Served {
    address: SocketAddr,
    _stop: DropGuard,
}

async fn served(gateway: Office, token: Option<Token>) -> Served {
    let listener = web::bind("127.0.0.1:0".parse().unwrap(), token.as_ref()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(web::serve(listener, gateway, token, stop.clone()));
    Served { address, _stop: stop.drop_guard() }
}

impl Served {
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let host = self.address.to_string();
        let mut all = vec![("host", host.as_str())];
        if let Some(at) = headers.iter().position(|(name, _)| *name == "host") {
            all[0] = headers[at];
        }
        all.extend(headers.iter().filter(|(name, _)| *name != "host"));
        http::request(self.address, method, path, &all, "").await.unwrap()
    }

    fn url(&self, fragment: &str) -> String {
        format!("http://{}/#{fragment}", self.address)
    }
}

/// Where pictures of the page go.
fn screenshots() -> PathBuf {
    let folder = std::env::var_os("CALLGATE_SCREENSHOTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A port that nobody listens at.
async fn dead_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_loads_clean_and_fits_on_a_phone_and_on_a_desk() {
    // Given a server with two lines
    let server = served(Office::default(), None).await;
    let browser = Browser::start().await;
    for (name, width, height, phone, dark) in [
        ("phone", 360, 740, true, false),
        ("phone-dark", 360, 740, true, true),
        ("phone-small", 320, 568, true, false),
        ("phone-side", 740, 360, true, false),
        ("desktop", 1280, 800, false, false),
        ("desktop-dark", 1280, 800, false, true),
    ] {
        // When it is opened on such a screen
        browser.size(width, height, phone).await;
        browser.dark(dark).await;
        browser.open(&server.url("")).await;
        browser.wait_for_js("document.querySelectorAll('#lines button').length === 2").await;
        browser.screenshot(&screenshots().join(format!("page-{name}.png"))).await;

        // Then nothing sticks out at the side, and the Call button is in sight without scrolling
        let overflow = browser.js("document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(overflow.as_f64(), Some(0.0), "{name}: sticks out at the side");
        let bottom = browser.js("document.querySelector('#call').getBoundingClientRect().bottom").await;
        assert!(bottom.as_f64().unwrap() <= f64::from(height), "{name}: Call is at {bottom} of {height}");
        // and the console has no errors
        assert_eq!(browser.console_errors().await, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_pressed_or_filled_in_has_a_name_for_those_who_do_not_see_it() {
    let server = served(Office::default(), None).await;
    let browser = Browser::start().await;
    browser.open(&server.url("")).await;
    browser.wait_for_js("document.querySelectorAll('#lines button').length === 2").await;
    let nameless = browser
        .js("[...document.querySelectorAll('button, input, textarea, video')].filter((control) => \
             !(control.innerText?.trim() || control.textContent?.trim() || control.labels?.length || control.ariaLabel)).map((control) => control.id)")
        .await;
    assert_eq!(nameless, serde_json::json!([]));
    let small = browser
        .js("[...document.querySelectorAll('button:not(.visually-hidden)')].filter((button) => button.offsetParent && button.offsetHeight < 44).map((button) => button.id)")
        .await;
    assert_eq!(small, serde_json::json!([]), "too small for a thumb");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_in_the_page_is_kept_and_can_be_replaced() {
    // Given a first visit
    let server = served(Office::default(), None).await;
    let browser = Browser::start().await;
    browser.open(&server.url("")).await;
    let first = browser.text("#me").await;
    assert!(first.starts_with("npub1") && first.len() == 63, "{first}");

    // When the page is loaded again, the key is the same
    browser.reload().await;
    assert_eq!(browser.text("#me").await, first);

    // When a new one is made, it is kept in turn
    browser.click("#other-key summary").await;
    browser.click("#new-key").await;
    let second = browser.text("#me").await;
    assert_ne!(second, first);
    browser.reload().await;
    assert_eq!(browser.text("#me").await, second);

    // When the link carries a key, it is used and not kept
    let keys = Keys::generate();
    let nsec = keys.secret_key().to_bech32().unwrap();
    browser.open(&server.url(&format!("name=door&key={nsec}"))).await;
    let invited = keys.public_key().to_bech32().unwrap();
    assert_eq!(browser.text("#me").await, invited);
    assert!(browser.text("#me-note").await.contains("one-time key from this link"));
    // and is gone from the address bar, but still there when the page is loaded again
    assert_eq!(browser.js("location.hash").await, "#name=door");
    browser.reload().await;
    assert_eq!(browser.text("#me").await, invited);
    browser.open(&server.url("")).await;
    assert_eq!(browser.text("#me").await, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_before_an_answer_is_said_in_words() {
    let server = served(Office::default(), None).await;
    let browser = Browser::start().await;
    let error = async || {
        let error = browser.wait_for_js("callgate.error").await;
        assert!(!browser.text("#trouble").await.is_empty());
        (error["code"].as_str().unwrap().to_owned(), error["words"].as_str().unwrap().to_owned())
    };

    // No line at all
    browser.open(&server.url("")).await;
    browser.click("#call").await;
    assert_eq!(error().await.0, "bad-npub");

    // An npub with a letter changed
    let mut bad = npub(7);
    bad.replace_range(20..21, if &bad[20..21] == "q" { "p" } else { "q" });
    browser.fill("#npub", &bad).await;
    browser.fill("#relays", "ws://127.0.0.1:9").await;
    browser.click("#call").await;
    let (code, words) = error().await;
    assert_eq!(code, "bad-npub");
    assert!(words.contains("npub1"), "{words}");
    browser.screenshot(&screenshots().join("page-bad-npub.png")).await;

    // Somebody's secret key
    browser.fill("#npub", "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5").await;
    browser.click("#call").await;
    assert!(error().await.1.contains("Never show"));

    // No relay, and one that is none
    browser.fill("#npub", &npub(7)).await;
    browser.fill("#relays", "").await;
    browser.click("#call").await;
    assert_eq!(error().await.0, "no-relay");
    browser.fill("#relays", "https://relay.example").await;
    browser.click("#call").await;
    assert_eq!(error().await.0, "bad-relay");

    // A relay that is dead
    let port = dead_port().await;
    browser.fill("#relays", &format!("ws://127.0.0.1:{port}")).await;
    browser.click("#call").await;
    browser.wait_for_js("callgate.state === 'ended'").await;
    let (code, words) = error().await;
    assert_eq!(code, "relays-unreachable");
    assert!(words.contains(&format!("127.0.0.1:{port}")), "{words}");
    browser.size(360, 740, true).await;
    browser.screenshot(&screenshots().join("page-dead-relay.png")).await;
    // and it can be tried again at once
    assert_eq!(browser.js("document.querySelector('#call').hidden").await, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pressing_a_line_calls_it_through_its_own_relays() {
    let server = served(Office::default(), None).await;
    let browser = Browser::start().await;
    browser.open(&server.url("")).await;
    browser.wait_for_js("document.querySelectorAll('#lines button').length === 2").await;
    browser.click("#lines li:nth-child(2) button").await;
    browser.wait_for_js("callgate.session && callgate.state === 'ended'").await;
    assert_eq!(browser.text("#who").await, "workshop");
    assert_eq!(browser.js("document.querySelector('#npub').value").await, npub(8));
    let error = browser.js("callgate.error").await;
    assert_eq!(error["code"], "relays-unreachable");
    assert!(error["words"].as_str().unwrap().contains("127.0.0.1:9"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_as_a_file_and_asks_nobody_for_anything() {
    let browser = Browser::start().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html");
    browser.open(&format!("file://{file}#npub={}&relay=ws://127.0.0.1:9&name=driveway", npub(7))).await;
    assert_eq!(browser.text("#who").await, "driveway");
    let nsec = Keys::generate().secret_key().to_bech32().unwrap();
    browser.open(&format!("file://{file}#key={nsec}&name=driveway")).await;
    assert_eq!(browser.js("location.hash").await, "#name=driveway");
    assert_eq!(browser.js("performance.getEntriesByType('resource').length").await, 0);
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
}

#[test]
fn the_lock_file_of_the_page_names_no_place_to_download_from() {
    let lock = include_str!("../web/package-lock.json");
    assert!(lock.contains("\"integrity\": \"sha512-") && !lock.contains("\"resolved\""));
}

#[tokio::test]
async fn the_api_tells_lines_calls_relays_and_counters() {
    let server = served(Office::default(), None).await;

    let lines = server.ask("GET", "/api/lines", &[]).await;
    assert_eq!(lines.status, 200);
    assert_eq!(lines.header("content-type"), Some("application/json"));
    let lines = lines.json();
    assert_eq!(lines["lines"][0]["name"], "driveway");
    assert_eq!(lines["lines"][0]["state"], "open");
    assert_eq!(lines["lines"][1]["state"], "reopening");
    assert_eq!(lines["lines"][1]["error"], "the camera cannot be reached");

    let calls = server.ask("GET", "/api/calls", &[]).await.json();
    assert_eq!(calls["calls"][0]["id"], "c12");
    assert_eq!(calls["calls"][0]["milestones"]["answered"], 12);
    assert_eq!(server.ask("GET", "/api/relays", &[]).await.json()["relays"][0]["connected"], true);
    assert_eq!(server.ask("GET", "/api/counters", &[]).await.json()["counters"]["calls"], 12);
    assert_eq!(server.ask("GET", "/nothing", &[]).await.status, 404);
}

#[tokio::test]
async fn the_api_lets_a_line_call() {
    let office = Office::default();
    let server = served(office.clone(), None).await;
    let call = |line: &str, body: String| {
        let path = format!("/api/lines/{line}/ring");
        let address = server.address;
        async move {
            let host = address.to_string();
            http::request(address, "POST", &path, &[("host", &host)], &body).await.unwrap()
        }
    };

    let answer = call(
        "driveway",
        format!(
            r#"{{"to":["{}","{}"],"for":"30s","relays":["wss://r.example"],"dialect":"wrapped"}}"#,
            npub(3),
            npub(4)
        ),
    )
    .await;
    assert_eq!((answer.status, answer.json()["calls"][1]["to"].clone()), (202, npub(4).into()));
    assert_eq!(answer.json()["calls"][0]["id"], "c13");
    call("driveway", format!(r#"{{"to":["{}"]}}"#, npub(3))).await;
    let rung = office.rung.lock().unwrap().clone();
    assert_eq!((rung[0].to.len(), rung[0].rings.as_secs(), rung[0].relays.len()), (2, 30, 1));
    assert_eq!((rung[0].dialect, rung[1].dialect), (Some(Dialect::Wrapped), None));
    assert_eq!((rung[1].to.len(), rung[1].rings.as_secs(), rung[1].relays.len()), (1, 60, 0));

    assert_eq!(call("garden", format!(r#"{{"to":["{}"]}}"#, npub(3))).await.status, 404);
    let nsec = Keys::generate().secret_key().to_bech32().unwrap();
    for bad in [
        String::new(),
        "npub1".to_owned(),
        r#"{"to":["npub1nobody"]}"#.to_owned(),
        format!(r#"{{"to":["{nsec}"]}}"#),
        format!(r#"{{"to":"{nsec}"}}"#),
        format!(r#"{{"to":["{}"],"{nsec}":1}}"#, npub(3)),
        format!(r#"{{"to":["{}"],"for":"1h"}}"#, npub(3)),
        format!(r#"{{"to":["{}"],"relays":["http://r.example"]}}"#, npub(3)),
        format!(r#"{{"to":["{}"],"dialect":"latin"}}"#, npub(3)),
    ] {
        let answer = call("driveway", bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(!answer.text().contains(&nsec), "{}", answer.text());
    }
    assert_eq!(office.rung.lock().unwrap().len(), 2);

    // A call can be looked at alone.
    assert_eq!(server.ask("GET", "/api/calls/c12", &[]).await.json()["direction"], "in");
    assert_eq!(server.ask("GET", "/api/calls/c99", &[]).await.status, 404);
    // Another site's page cannot let a line call.
    let (host, body) = (server.address.to_string(), format!(r#"{{"to":["{}"]}}"#, npub(3)));
    let headers = [("host", host.as_str()), ("origin", "https://evil.example")];
    let answer = http::request(server.address, "POST", "/api/lines/driveway/ring", &headers, &body).await.unwrap();
    assert_eq!((answer.status, office.rung.lock().unwrap().len()), (403, 2));
}

#[tokio::test]
async fn the_api_hangs_up() {
    let office = Office::default();
    let server = served(office.clone(), None).await;
    assert_eq!(server.ask("DELETE", "/api/calls/c12", &[]).await.status, 204);
    assert_eq!(server.ask("DELETE", "/api/calls/c13", &[]).await.status, 404);
    assert_eq!(*office.hung_up.lock().unwrap(), ["c12", "c13"]);
}

#[tokio::test]
async fn another_sites_page_can_neither_read_nor_hang_up() {
    let office = Office::default();
    let server = served(office.clone(), None).await;
    // A name that was made to point at this machine
    assert_eq!(server.ask("GET", "/api/lines", &[("host", "rebound.example")]).await.status, 421);
    assert_eq!(server.ask("GET", "/", &[("host", "rebound.example")]).await.status, 421);
    // Requests that a browser marks as another site's
    assert_eq!(server.ask("DELETE", "/api/calls/c12", &[("origin", "https://evil.example")]).await.status, 403);
    assert_eq!(server.ask("GET", "/api/lines", &[("sec-fetch-site", "cross-site")]).await.status, 403);
    assert!(office.hung_up.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_token_when_there_is_one_is_needed_for_the_api() {
    let server = served(Office::default(), Some(Token::new("s3cret"))).await;
    let refused = server.ask("GET", "/api/lines", &[]).await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(server.ask("GET", "/api/lines", &[("authorization", "Bearer wrong")]).await.status, 401);
    assert_eq!(server.ask("GET", "/api/lines", &[("authorization", "Bearer s3cret")]).await.status, 200);
    assert_eq!(server.ask("GET", "/", &[("host", "cams.example")]).await.status, 200);
}

#[tokio::test]
async fn every_answer_carries_the_security_headers_and_the_page_its_policy() {
    let server = served(Office::default(), None).await;
    for path in ["/", "/healthz", "/api/lines", "/nothing"] {
        let answer = server.ask("GET", path, &[]).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
    assert!(
        server.ask("GET", "/", &[]).await.header("content-security-policy").unwrap().contains("script-src 'sha256-")
    );
}

#[tokio::test]
async fn health_says_so_when_the_gateway_drains() {
    let healthy = served(Office::default(), None).await.ask("GET", "/healthz", &[]).await;
    assert_eq!((healthy.status, healthy.json()["status"].as_str()), (200, Some("ok")));
    let office = Office { draining: true, ..Office::default() };
    let draining = served(office, None).await.ask("GET", "/healthz", &[]).await;
    assert_eq!((draining.status, draining.json()["status"].as_str()), (503, Some("draining")));
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let server = served(Office::default(), None).await;
    let host = server.address.to_string();
    let body = "x".repeat(100_000);
    // The server may close before all of it is sent.
    if let Ok(answer) = http::request(server.address, "DELETE", "/api/calls/c12", &[("host", &host)], &body).await {
        assert_eq!(answer.status, 413);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let first = web::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = web::bind(address, None).await.unwrap_err();
    assert!(matches!(error, WebError::Taken(taken) if taken == address));
    assert_eq!(error.to_string(), format!("{address} is taken by another program"));
}

#[tokio::test]
async fn beyond_loopback_a_token_is_needed_to_listen() {
    let error = web::bind("0.0.0.0:0".parse().unwrap(), None).await.unwrap_err();
    assert!(matches!(error, WebError::TokenNeeded(_)));
    assert!(web::bind("0.0.0.0:0".parse().unwrap(), Some(&Token::new("t"))).await.is_ok());
}

#[tokio::test]
async fn stopping_closes_the_port_and_open_connections() {
    // Given a connection that is kept alive
    let listener = web::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(web::serve(listener, Office::default(), None, stop.clone()));
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    // When the server is stopped
    stop.cancel();
    // Then it ends, and nobody listens any more
    server.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    drop(idle);
}
