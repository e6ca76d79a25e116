//! Headless Chromium, driven through chromedriver (W3C WebDriver), and what is seen and heard in it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::http;

/// How long anything awaited in the page may take: far more than it needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const ARGUMENTS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--autoplay-policy=no-user-gesture-required",
];

/// A microphone that the page is allowed to use. A page that may use it sees this machine's addresses too.
const MICROPHONE: &[&str] = &["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];

/// How often chromedriver is started before it counts as broken.
const DRIVER_STARTS: usize = 5;

/// One browser with an empty profile; it goes away when dropped.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
}

/// A picture, scaled to 64x36: brightness of each pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture(pub Vec<u8>);

impl Picture {
    /// The mean difference of brightness between two pictures, 0 to 255.
    pub fn difference(&self, other: &Picture) -> f64 {
        let sum: u64 = self.0.iter().zip(&other.0).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / self.0.len().max(1) as f64
    }
}

/// What is heard at a frequency, in dB relative to full scale.
#[derive(Debug, Clone, Copy)]
pub struct Tone {
    /// The loudest of the bins around the frequency.
    pub at: f64,
    /// The median of all bins: what is not a tone.
    pub elsewhere: f64,
}

/// The clock that a rendered frame shows, and the browser's clock when it was rendered; unix milliseconds, the low 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub shown: u32,
    pub now: u32,
}

impl Stamp {
    /// How old the frame was when it was rendered, in milliseconds.
    pub fn age(self) -> i64 {
        i64::from(self.now.wrapping_sub(self.shown).cast_signed())
    }
}

/// A frame that the page rendered, as [`Browser::watch`] saw it.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Rendered {
    /// The clock in the picture, and the browser's when it was rendered; unix milliseconds, the low 32 bits.
    pub shown: u32,
    pub now: u32,
    /// FNV-1a of all of its pixels.
    pub pixels: u32,
    /// When the last of its packets had come; unix milliseconds.
    pub received: f64,
}

/// What the page's newest peer connection counted for its video, and when it was given its answer.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counted {
    pub frames_received: u64,
    pub frames_decoded: u64,
    pub key_frames_decoded: u64,
    pub frames_dropped: u64,
    pub freeze_count: u64,
    pub packets_received: u64,
    pub packets_lost: i64,
    pub nack_count: u64,
    pub pli_count: u64,
    pub fir_count: u64,
    /// The candidates of its offer.
    pub candidates: Vec<String>,
    /// Unix milliseconds.
    pub answered: f64,
}

impl Browser {
    /// Starts a browser whose pages may use a microphone.
    pub async fn start() -> Browser {
        Browser::start_with(MICROPHONE).await
    }

    /// Starts a browser as it comes: no page may use anything yet, and `.local` names stand for this machine's addresses.
    pub async fn start_plain() -> Browser {
        Browser::start_with(&[]).await
    }

    async fn start_with(more: &[&str]) -> Browser {
        let profile = tempfile::tempdir().expect("a directory for the profile");
        let (driver, port) = start_driver().await;
        let mut arguments: Vec<String> = ARGUMENTS.iter().chain(more).map(|&argument| argument.to_owned()).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut browser = Browser {
            driver,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            session: String::new(),
            _profile: profile,
        };
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": PATIENCE.as_millis() as u64, "pageLoad": PATIENCE.as_millis() as u64 },
        } } });
        let session = browser.ask("POST", "/session", &capabilities).await;
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let host = self.address.to_string();
        let answer = http::request(self.address, method, path, &[("host", &host)], &body).await.expect("chromedriver");
        let mut answer_body = answer.json();
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer_body["value"]["message"]);
        answer_body["value"].take()
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        self.ask("POST", &format!("/session/{}/{command}", self.session), &body).await
    }

    /// Opens a page, and waits until it is loaded. Only the fragment of an open page changing reloads it too.
    pub async fn open(&self, url: &str) {
        self.post("url", json!({ "url": "about:blank" })).await;
        self.post("url", json!({ "url": url })).await;
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.post("refresh", json!({})).await;
    }

    /// Makes the page's view this large, in CSS pixels; `phone` adds a phone's pixel ratio and touch.
    pub async fn size(&self, width: u32, height: u32, phone: bool) {
        let scale = if phone { 2 } else { 1 };
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone }),
        )
        .await;
    }

    /// What the page is told of the person's taste: `prefers-color-scheme`.
    pub async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        self.cdp(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] }),
        )
        .await;
    }

    /// A command of the Chrome DevTools Protocol.
    pub async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Presses the element as a person does: the page has user activation from it.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("element/{element}/click"), json!({})).await;
    }

    /// Replaces what the field holds by typing.
    pub async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("element/{element}/clear"), json!({})).await;
        self.post(&format!("element/{element}/value"), json!({ "text": text })).await;
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.post("element", json!({ "using": "css selector", "value": selector })).await;
        found
            .as_object()
            .and_then(|found| found.values().next())
            .and_then(Value::as_str)
            .expect("an element")
            .to_owned()
    }

    /// Runs the body of an async function in the page; `parameters` are its `args`. What it returns or throws comes back.
    pub async fn run(&self, body: &str, parameters: Value) -> Result<Value, String> {
        let script = format!(
            "const done = arguments[1]; (async (args) => {{ {body} }})(arguments[0])\
             .then((value) => done({{ value: value ?? null }}), (error) => done({{ error: String(error) }}))"
        );
        let mut outcome = self.post("execute/async", json!({ "script": script, "args": [parameters] })).await;
        match outcome["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(outcome["value"].take()),
        }
    }

    /// The value of an expression in the page; promises are awaited.
    pub async fn js(&self, expression: &str) -> Value {
        self.run(&format!("return ({expression})"), Value::Null)
            .await
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits in the page until the expression is truthy, and returns it.
    pub async fn wait_for_js(&self, expression: &str) -> Value {
        let body = format!(
            "const until = performance.now() + args; for (;;) {{ \
               const value = await ({expression}); if (value) return value; \
               if (performance.now() > until) throw new Error('still ' + JSON.stringify(value) \
                 + ', callgate: ' + JSON.stringify(window.callgate)); \
               await new Promise((resolve) => setTimeout(resolve, 20)); }}"
        );
        // A little less than the driver's own limit, whose error says nothing.
        let patience = (PATIENCE - Duration::from_secs(5)).as_millis() as u64;
        self.run(&body, json!(patience)).await.unwrap_or_else(|error| panic!("waited for {expression}: {error}"))
    }

    /// The text of the element as it is shown.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.element(selector).await;
        let path = format!("/session/{}/element/{element}/text", self.session);
        self.ask("GET", &path, &Value::Null).await.as_str().unwrap_or_default().to_owned()
    }

    /// What the page wrote to its console since the last look, errors only.
    pub async fn console_errors(&self) -> Vec<String> {
        let entries = self.post("se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Writes what is seen to a PNG file.
    pub async fn screenshot(&self, file: &Path) {
        let path = format!("/session/{}/screenshot", self.session);
        let png = self.ask("GET", &path, &Value::Null).await;
        let png = base64::engine::general_purpose::STANDARD.decode(png.as_str().expect("a picture")).expect("base64");
        std::fs::write(file, png).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// How many frames the page's video has decoded.
    pub async fn decoded_frames(&self) -> u64 {
        self.js("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames")
            .await
            .as_u64()
            .unwrap_or(0)
    }

    /// The next picture of the page's video.
    pub async fn picture(&self) -> Picture {
        let pixels = self
            .run(
                "const video = document.querySelector('video');
                 await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
                 const canvas = new OffscreenCanvas(64, 36).getContext('2d', { willReadFrequently: true });
                 canvas.drawImage(video, 0, 0, 64, 36);
                 const { data } = canvas.getImageData(0, 0, 64, 36);
                 const brightness = [];
                 for (let i = 0; i < data.length; i += 4) brightness.push(Math.round((data[i] * 2 + data[i + 1] * 5 + data[i + 2]) / 8));
                 return brightness;",
                Value::Null,
            )
            .await
            .expect("a picture");
        Picture(serde_json::from_value(pixels).expect("pixels"))
    }

    /// Listens to the stream of the page's video until there is something to hear at `hz`, or for `patience` milliseconds.
    pub async fn tone(&self, hz: f64, patience: u64) -> Tone {
        let heard = self
            .run(
                "const stream = document.querySelector('video').srcObject;
                 const context = new AudioContext();
                 await context.resume();
                 const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
                 context.createMediaStreamSource(stream).connect(analyser);
                 const bins = new Float32Array(analyser.frequencyBinCount);
                 const bin = Math.round(args.hz / (context.sampleRate / 2) * bins.length);
                 const until = performance.now() + args.patience;
                 let heard;
                 do {
                   await new Promise((resolve) => setTimeout(resolve, 200));
                   analyser.getFloatFrequencyData(bins);
                   const sorted = [...bins].sort((a, b) => a - b);
                   heard = { at: Math.max(...bins.slice(bin - 2, bin + 3)), elsewhere: sorted[sorted.length >> 1] };
                 } while (!(heard.at > -60 && heard.at > heard.elsewhere + 30) && performance.now() < until);
                 await context.close();
                 const finite = (value) => Number.isFinite(value) ? value : -200;
                 return { at: finite(heard.at), elsewhere: finite(heard.elsewhere) };",
                json!({ "hz": hz, "patience": patience }),
            )
            .await
            .expect("to hear");
        Tone { at: heard["at"].as_f64().unwrap_or(-200.0), elsewhere: heard["elsewhere"].as_f64().unwrap_or(-200.0) }
    }

    /// Lets [`counted`](Self::counted) look into the peer connections of pages opened from now on.
    pub async fn see_peers(&self) {
        let source = "
            window.peers = [];
            window.RTCPeerConnection = class extends RTCPeerConnection {
                constructor(...all) { super(...all); window.peers.push(this); }
                setRemoteDescription(...all) {
                    this.answered = performance.timeOrigin + performance.now();
                    return super.setRemoteDescription(...all);
                }
            };";
        self.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source })).await;
    }

    /// What the newest peer connection counted so far; takes [`see_peers`](Self::see_peers).
    pub async fn counted(&self) -> Counted {
        let counted = self
            .run(
                "const pc = peers.at(-1);
                 let counted = {};
                 for (const entry of (await pc.getStats()).values()) {
                   if (entry.type === 'inbound-rtp' && entry.kind === 'video') counted = entry;
                 }
                 const candidates = pc.localDescription.sdp.split('\\r\\n').filter((line) => line.startsWith('a=candidate:'));
                 return { ...counted, candidates, answered: pc.answered ?? 0 };",
                Value::Null,
            )
            .await
            .expect("a peer connection");
        serde_json::from_value(counted).expect("counters")
    }

    /// Notes each frame that the page's video renders from now on, and forgets earlier ones, for [`rendered`](Self::rendered).
    pub async fn watch(&self) {
        self.run(
            "if (window.rendered !== undefined) { rendered.length = 0; return; }
             const video = document.querySelector('video');
             const canvas = new OffscreenCanvas(1, 1), pen = canvas.getContext('2d', { willReadFrequently: true });
             window.rendered = [];
             const note = (_, frame) => {
               const now = Date.now() % 2 ** 32;
               if (canvas.width !== frame.width) [canvas.width, canvas.height] = [frame.width, frame.height];
               pen.drawImage(video, 0, 0);
               const { data } = pen.getImageData(0, 0, frame.width, frame.height);
               let shown = 0, pixels = 0x811c9dc5;
               for (let block = 0; block < 32; block++) {
                 shown = shown * 2 + (data[(8 * frame.width + block * 16 + 8) * 4 + 1] > 127 ? 1 : 0);
               }
               for (const pixel of new Uint32Array(data.buffer)) pixels = Math.imul(pixels ^ pixel, 0x01000193);
               rendered.push({ shown, now, pixels: pixels >>> 0, received: performance.timeOrigin + (frame.receiveTime ?? 0) });
               video.requestVideoFrameCallback(note);
             };
             video.requestVideoFrameCallback(note);",
            Value::Null,
        )
        .await
        .expect("to watch");
    }

    /// The frames that were rendered since [`watch`](Self::watch), in the order of their rendering.
    pub async fn rendered(&self) -> Vec<Rendered> {
        serde_json::from_value(self.js("rendered").await).expect("frames")
    }

    /// Reads the clock in each of the next `frames` rendered frames of the page's video: 32 blocks of 16x16 pixels in its
    /// topmost rows, from the left, the highest bit first, black for 0 and white for 1.
    pub async fn stamps(&self, frames: u32) -> Vec<Stamp> {
        let read = self
            .run(
                "const video = document.querySelector('video');
                 const canvas = new OffscreenCanvas(512, 16).getContext('2d', { willReadFrequently: true });
                 const stamps = [];
                 while (stamps.length < args) {
                   await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
                   const now = Date.now();
                   canvas.drawImage(video, 0, 0, 512, 16, 0, 0, 512, 16);
                   const { data } = canvas.getImageData(0, 0, 512, 16);
                   let shown = 0;
                   for (let block = 0; block < 32; block++) {
                     let sum = 0;
                     for (let y = 4; y < 12; y++) for (let x = 4; x < 12; x++) sum += data[(y * 512 + block * 16 + x) * 4 + 1];
                     shown = shown * 2 + (sum / 64 > 127 ? 1 : 0);
                   }
                   stamps.push([shown, now % 2 ** 32]);
                 }
                 return stamps;",
                json!(frames),
            )
            .await
            .expect("stamps");
        let stamps: Vec<(u32, u32)> = serde_json::from_value(read).expect("stamps");
        stamps.into_iter().map(|(shown, now)| Stamp { shown, now }).collect()
    }
}

/// Starts chromedriver, and returns the port that it listens on.
///
/// For `--port=0` it takes a free port of ::1 or 127.0.0.1 and then wants the same one of the other too: where that belongs to
/// another process it says so and ends, and is started again for another port.
async fn start_driver() -> (Child, u16) {
    let mut said = Vec::new();
    for _ in 0..DRIVER_STARTS {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver (Debian: apt-get install chromium-driver)");
        let mut lines = BufReader::new(driver.stdout.take().expect("its output")).lines();
        while let Some(line) = lines.next_line().await.expect("its output") {
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                let port = port.trim_end_matches('.').parse().expect("a port");
                // Its output is read on, so that it never blocks.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return (driver, port);
            }
            said.push(line);
        }
    }
    panic!("chromedriver ended before it said its port, {DRIVER_STARTS} times: {}", said.join(" | "));
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ending the session ends Chromium; the driver alone would leave it behind. Blocking: there is no await in a drop.
        if let Ok(mut stream) = std::net::TcpStream::connect(self.address) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let request = format!(
                "DELETE /session/{} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                self.session, self.address
            );
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read(&mut [0; 1024]);
        }
        let _ = self.driver.start_kill();
    }
}
