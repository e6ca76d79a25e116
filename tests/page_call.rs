//! The caller page in a call, against a line whose signaling is this test and whose media is a second browser.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod http;
    pub mod line;
    pub mod relay;
}

use std::path::PathBuf;

use nostr::nips::{nip04, nip44};
use nostr::{Keys, PublicKey, Timestamp, ToBech32 as _, UnsignedEvent};
use serde_json::{Value, json};
use support::browser::Browser;
use support::line::{ANSWER, CANDIDATE, Camera, Dialect, END, Line, OFFER, TONE_HZ, WRAP};
use support::relay::{Behaviour, TestRelay};

/// A browser with the page, for a call to `line`.
async fn caller(line: &Line, more: &str) -> Browser {
    let browser = Browser::start().await;
    browser.open(&format!("{}{}", page_url(), line.fragment(more))).await;
    browser
}

fn page_url() -> &'static str {
    concat!("file://", env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html")
}

fn screenshots() -> PathBuf {
    let folder = std::env::var_os("CALLGATE_SCREENSHOTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_calls_shows_the_picture_sounds_the_tone_and_hangs_up() {
    // Given a page with a line that takes talk
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let page = caller(&line, "&talk=1").await;

    // When Call is pressed
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    let accepted = relay.accepted();
    page.size(360, 740, true).await;
    page.screenshot(&screenshots().join("call-ringing-phone.png")).await;

    // Then the offer is as the protocol says, and nobody at the relay sees who calls
    assert_eq!(offer.dialect, Dialect::Wrapped);
    assert!(accepted.iter().all(|event| event.kind.as_u16() == WRAP), "{accepted:?}");
    assert_eq!(offer.tag("p"), Some(line.keys.public_key().to_hex().as_str()));
    assert_eq!(offer.tag("type"), Some("video"));
    assert_eq!(offer.tag("sig_alg"), Some("NIP-44"));
    assert!(offer.tag("expiration").is_some());
    assert_eq!(Value::from(offer.tag("session_id")), page.js("callgate.session").await);
    assert!(offer.content["expires_in"].as_u64().is_some() && offer.content["timestamp"].as_u64().is_some());
    let sdp = offer.content["sdp"].as_str().unwrap();
    assert!(sdp.contains("a=candidate:"), "candidates are in the offer");
    assert!(sdp.contains("H264/90000") && sdp.contains("a=recvonly") && sdp.contains("a=sendrecv"));

    // When a stranger answers and ends the call, nothing happens
    let stranger = Keys::generate();
    line.say(&offer, &stranger, ANSWER, json!({ "sdp": "", "accepted": false })).await;
    line.say(&offer, &stranger, END, json!({ "reason": "rejected" })).await;

    // When the line answers
    let (camera, answer) = Camera::answering(sdp).await;
    assert_eq!(page.js("callgate.state").await, "calling");
    line.say(&offer, &line.keys, ANSWER, json!({ "sdp": answer, "accepted": true })).await;

    // Then there is a moving picture, its clock can be read, and the tone is heard
    page.wait_for_js("callgate.state === 'live' && callgate.stats?.fps > 5").await;
    assert!(page.js("callgate.stats.kbitPerSecond > 10 && callgate.stats.width === 640").await.as_bool().unwrap());
    // in H.264, which cameras send
    let codec = "(async () => { const all = await pc.getStats(); for (const s of all.values()) if (s.type === 'outbound-rtp' && s.kind === 'video') return all.get(s.codecId)?.mimeType; })()";
    assert_eq!(camera.0.js(codec).await, "video/H264");
    let before = page.decoded_frames().await;
    let first = page.picture().await;
    let stamps = page.stamps(20).await;
    let second = page.picture().await;
    assert!(page.decoded_frames().await > before + 10);
    assert!(first.difference(&second) > 5.0, "{}", first.difference(&second));
    assert!(stamps.iter().all(|stamp| (-50..10_000).contains(&stamp.age())), "{stamps:?}");
    assert!(stamps.windows(2).all(|pair| pair[0].shown <= pair[1].shown), "{stamps:?}");
    let tone = page.tone(TONE_HZ, 20_000).await;
    assert!(tone.at > tone.elsewhere + 30.0, "{tone:?}");
    let silence = page.tone(TONE_HZ * 2.7, 0).await;
    assert!(silence.at < tone.at - 20.0, "{silence:?}");
    page.screenshot(&screenshots().join("call-live-phone.png")).await;
    page.size(1280, 800, false).await;
    page.screenshot(&screenshots().join("call-live-desktop.png")).await;

    // When the microphone is turned on, the line hears it; there was no voice before
    let heard = "(async () => { for (const s of (await pc.getStats()).values()) if (s.type === 'inbound-rtp' && s.kind === 'audio') return s.packetsReceived; })()";
    assert!(camera.0.js(heard).await.as_u64().unwrap_or(0) == 0);
    page.click("#mic").await;
    page.wait_for_js("document.querySelector('#mic').getAttribute('aria-pressed') === 'true'").await;
    camera.0.wait_for_js(&format!("{heard}.then((packets) => packets > 20)")).await;

    // When the sound is muted and unmuted
    page.click("#mute").await;
    assert_eq!(page.js("document.querySelector('video').muted").await, true);
    page.click("#mute").await;
    assert_eq!(page.js("document.querySelector('video').muted").await, false);

    // When the camera stands still, it is said; when it goes on, no more
    camera
        .0
        .js("(pc.getSenders().find((s) => s.track?.kind === 'video').track.enabled = false, clearInterval(timer))")
        .await;
    camera.0.js("pc.getSenders().find((s) => s.track?.kind === 'video').replaceTrack(null)").await;
    page.wait_for_js("callgate.notice").await;
    assert_eq!(page.js("callgate.state").await, "live");
    page.screenshot(&screenshots().join("call-stalled-desktop.png")).await;

    // When the person hangs up, the line is told
    page.click("#hangup").await;
    let end = line.hear(END).await;
    assert_eq!(end.content["reason"], "user_left");
    assert_eq!(end.tag("session_id"), offer.tag("session_id"));
    assert_eq!(page.js("[callgate.state, callgate.error ?? null]").await, json!(["ended", null]));

    // When Call is pressed again, a newer offer with a session of its own arrives at once
    page.click("#call").await;
    let again = line.hear(OFFER).await;
    assert!(again.event.created_at > offer.event.created_at);
    assert_ne!(again.tag("session_id"), offer.tag("session_id"));
    // When the page is left, the line is told
    page.open("about:blank").await;
    assert_eq!(line.hear(END).await.tag("session_id"), again.tag("session_id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_with_the_lines_own_words() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let page = caller(&line, "").await;
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    line.say(&offer, &line.keys, ANSWER, json!({ "sdp": "", "accepted": false })).await;
    line.say(&offer, &line.keys, END, json!({ "reason": "rejected", "detail": "all places are taken" })).await;
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "refused");
    assert!(error["words"].as_str().unwrap().contains("all places are taken"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_without_words_is_shown_after_a_moment() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let page = caller(&line, "").await;
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    line.say(&offer, &line.keys, ANSWER, json!({ "sdp": "", "accepted": false })).await;
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_does_not_answer_is_said_in_words_and_told_that_nobody_waits() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let page = caller(&line, "&wait=1").await;
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "no-answer");
    assert!(error["words"].as_str().unwrap().contains("may be off, or you may not be on its list"), "{error}");
    let end = line.hear(END).await;
    assert_eq!((end.content["reason"].as_str(), end.tag("session_id")), (Some("timeout"), offer.tag("session_id")));
    page.size(360, 740, true).await;
    page.screenshot(&screenshots().join("call-unanswered-phone.png")).await;

    // Who came with a link reads that the invitation may be over
    let nsec = Keys::generate().secret_key().to_bech32().unwrap();
    page.open(&format!("{}{}", page_url(), line.fragment(&format!("&wait=1&key={nsec}")))).await;
    assert_eq!(page.text("#hint").await, "You are invited. Press Call to see and hear it.");
    page.click("#call").await;
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert!(error["words"].as_str().unwrap().contains("run out, or been withdrawn"), "{error}");
    page.screenshot(&screenshots().join("call-invitation-over-phone.png")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_knows_no_wraps_gets_the_same_offer_plain() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::plain(&relay).await;
    let page = caller(&line, "").await;
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    assert_eq!(offer.dialect, Dialect::Plain);
    assert_eq!(Value::from(offer.tag("session_id")), page.js("callgate.session").await);
    // It went wrapped first, and the plain one came when nothing was heard.
    assert_eq!(relay.accepted()[0].kind.as_u16(), WRAP);

    // When the line answers, the rest of the call is plain
    let (_camera, answer) = Camera::answering(offer.content["sdp"].as_str().unwrap()).await;
    line.say(&offer, &line.keys, ANSWER, json!({ "sdp": answer, "accepted": true })).await;
    page.wait_for_js("callgate.state === 'live' && callgate.dialect === 'plain'").await;
    let wraps = relay.count(WRAP);
    page.click("#hangup").await;
    assert_eq!(line.hear(END).await.content["reason"], "user_left");
    assert_eq!(relay.count(WRAP), wraps);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_takes_no_wraps_is_given_the_plain_offer_at_once() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Line::start(&relay).await;
    let page = caller(&line, "").await;
    // The offer, and its second try
    for _ in 0..2 {
        relay.refuse_next("blocked: kind 21059 is not taken here");
    }
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    assert_eq!((offer.dialect, page.js("callgate.state").await), (Dialect::Plain, json!("calling")));
    line.say(&offer, &line.keys, ANSWER, json!({ "sdp": "", "accepted": false })).await;
    line.say(&offer, &line.keys, END, json!({ "reason": "rejected", "cause": "busy" })).await;
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "busy", "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_relay_of_two_is_enough() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let page = caller(&line, "&relay=ws://127.0.0.1:9").await;
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    line.say(&offer, &line.keys, END, json!({ "reason": "user_left" })).await;
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "line-ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_leads_nowhere_is_said_in_words() {
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let page = caller(&line, "").await;
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    line.say(&offer, &line.keys, ANSWER, json!({ "sdp": "v=0\r\nnonsense", "accepted": true })).await;
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "bad-answer");
}

/// The candidates of an SDP, and the SDP without them.
fn candidates_apart(sdp: &str) -> (Vec<&str>, String) {
    let (candidates, rest): (Vec<&str>, Vec<&str>) = sdp.lines().partition(|text| text.starts_with("a=candidate:"));
    (candidates, rest.join("\r\n") + "\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_that_come_one_at_a_time_are_taken() {
    // Given an answer without candidates, by a camera that knows none of the page's: it can't find the page by itself
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let page = caller(&line, "").await;
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    let (_, bare_offer) = candidates_apart(offer.content["sdp"].as_str().unwrap());
    let (_camera, answer) = Camera::answering(&bare_offer).await;
    let (candidates, bare) = candidates_apart(&answer);
    assert!(!candidates.is_empty());

    // When the first candidates come before the answer and the others after it
    let now = Timestamp::now();
    for (index, candidate) in candidates.iter().enumerate() {
        let content = json!({ "candidate": &candidate[2..], "sdpMid": "0", "sdpMLineIndex": "0" });
        line.say_at(&offer, &line.keys, CANDIDATE, content, now + index as u64).await;
        if index == 0 {
            line.say(&offer, &line.keys, ANSWER, json!({ "sdp": bare, "accepted": true })).await;
        }
    }

    // Then the call comes up
    page.wait_for_js("callgate.state === 'live'").await;
}

/// What stands in for a key extension: it asks this test, which holds the key.
const EXTENSION: &str = "
    window.asked = [];
    const ask = (what, ...args) => new Promise((resolve, reject) => asked.push({ what, args, resolve, reject }));
    window.nostr = {
        getPublicKey: () => ask('key'),
        signEvent: (template) => ask('sign', template),
        CIPHER: { encrypt: (to, text) => ask('encrypt', to, text), decrypt: (from, text) => ask('decrypt', from, text) },
    };";

/// The page with an extension that has this cipher, chosen and asked for its key.
async fn with_extension(line: &Line, cipher: &str, person: &Keys) -> Browser {
    let page = caller(line, "&wait=8").await;
    let source = EXTENSION.replace("CIPHER", cipher);
    page.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source })).await;
    page.reload().await;
    page.wait_for_js("!document.querySelector('#source').hidden").await;
    page.click("#source-extension + span").await;
    extension_answers(&page, "key", |_| json!(person.public_key().to_hex())).await;
    let npub = person.public_key().to_bech32().unwrap();
    page.wait_for_js(&format!("callgate.me === '{npub}'")).await;
    page
}

/// What the person's key signs.
fn signed(person: &Keys, args: &Value) -> Value {
    let mut template = args[0].clone();
    template["pubkey"] = json!(person.public_key().to_hex());
    let unsigned: UnsignedEvent = serde_json::from_value(template).unwrap();
    json!(unsigned.sign_with_keys(person).unwrap())
}

/// Answers the extension's next question, which must be `what`.
async fn extension_answers(page: &Browser, what: &str, answer: impl FnOnce(&Value) -> Value) {
    let args = page.wait_for_js(&format!("asked[0]?.what === '{what}' && asked[0].args")).await;
    page.run("asked.shift().resolve(args)", answer(&args)).await.expect("to answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_extension_signs_and_encrypts_the_call_with_what_it_has() {
    // Given an extension that has NIP-04 only
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let person = Keys::generate();
    let page = with_extension(&line, "nip04", &person).await;

    // When Call is pressed, the offer is the extension's
    page.click("#call").await;
    let encrypt = |args: &Value| {
        json!(nip04::encrypt(person.secret_key(), &line.keys.public_key(), args[1].as_str().unwrap()).unwrap())
    };
    extension_answers(&page, "encrypt", encrypt).await;
    extension_answers(&page, "sign", |args| signed(&person, args)).await;
    let offer = line.hear(OFFER).await;
    assert_eq!(offer.event.pubkey, person.public_key());
    assert_eq!((offer.tag("sig_alg"), offer.dialect), (Some("NIP-04"), Dialect::Plain), "it could not open a wrap");
    assert!(offer.content["sdp"].as_str().unwrap().starts_with("v=0"));

    // When the extension refuses to sign the next one, that is said in words
    page.click("#hangup").await;
    page.wait_for_js("callgate.state === 'ended'").await;
    extension_answers(&page, "encrypt", |args| {
        json!(nip04::encrypt(person.secret_key(), &line.keys.public_key(), args[1].as_str().unwrap()).unwrap())
    })
    .await;
    page.wait_for_js("asked[0]?.what === 'sign'").await;
    page.js("asked.shift().reject(new Error('denied')) ?? true").await;
    page.click("#call").await;
    page.wait_for_js("asked[0]?.what === 'encrypt'").await;
    page.js("asked.shift().reject(new Error('denied by the person')) ?? true").await;
    let error = page.wait_for_js("callgate.error").await;
    assert_eq!(error["code"], "extension");
    assert!(error["words"].as_str().unwrap().contains("denied by the person"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_extension_with_nip44_opens_what_comes_wrapped_or_it_is_said_that_it_did_not() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Line::start(&relay).await;
    let person = Keys::generate();
    let page = with_extension(&line, "nip44", &person).await;
    let secret = person.secret_key();
    let encrypt = |args: &Value| {
        let (to, text) = (PublicKey::parse(args[0].as_str().unwrap()).unwrap(), args[1].as_str().unwrap());
        json!(nip44::encrypt(secret, &to, text, nip44::Version::V2).unwrap())
    };
    let decrypt = |args: &Value| {
        let (from, text) = (PublicKey::parse(args[0].as_str().unwrap()).unwrap(), args[1].as_str().unwrap());
        json!(nip44::decrypt(secret, &from, text).unwrap())
    };

    // The extension seals and signs the event in the wrap; the wrap itself takes nothing from it
    page.click("#call").await;
    extension_answers(&page, "encrypt", encrypt).await;
    extension_answers(&page, "sign", |args| signed(&person, args)).await;
    let offer = line.hear(OFFER).await;
    assert_eq!((offer.event.pubkey, offer.dialect), (person.public_key(), Dialect::Wrapped));
    // It opens the wrap, and then what is in it
    line.say(&offer, &line.keys, END, json!({ "reason": "rejected", "cause": "busy" })).await;
    extension_answers(&page, "decrypt", decrypt).await;
    extension_answers(&page, "decrypt", decrypt).await;
    page.wait_for_js("callgate.state === 'ended' && callgate.error?.code === 'busy'").await;

    // When it opens nothing, the person reads what to do
    page.click("#call").await;
    extension_answers(&page, "encrypt", encrypt).await;
    extension_answers(&page, "sign", |args| signed(&person, args)).await;
    let offer = line.hear(OFFER).await;
    line.say(&offer, &line.keys, END, json!({ "reason": "rejected", "cause": "busy" })).await;
    page.wait_for_js("asked[0]?.what === 'decrypt'").await;
    page.js("asked.shift().reject(new Error('denied')) ?? true").await;
    let error = page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "no-answer");
    assert!(error["words"].as_str().unwrap().contains("did not open"), "{error}");
}
