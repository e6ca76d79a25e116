//! The caller page as a phone: it rings, answers, refuses, and stays up, against lines whose signaling is this test.
#![cfg(feature = "daemon")]

// Each test file uses a part of the support.
#[allow(dead_code)]
mod support {
    pub mod browser;
    pub mod http;
    pub mod line;
    pub mod phone;
    pub mod relay;
}

use std::path::PathBuf;

use nostr::Keys;
use serde_json::{Value, json};
use support::browser::Browser;
use support::line::{ANSWER, Camera, Dialect, END, Heard, Line, OFFER, Session, TONE_HZ};
use support::phone::{Phone, page_url};
use support::relay::{Behaviour, TestRelay};

/// How long an offer of these tests rings: longer than any of them takes.
const RINGS: u64 = 100;

fn screenshots() -> PathBuf {
    let folder = std::env::var_os("CALLGATE_SCREENSHOTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// What the page answers in this session.
async fn answer_in(line: &mut Line, session: &Session) -> Heard {
    loop {
        let answer = line.hear(ANSWER).await;
        if answer.tag("session_id") == Some(&session.id) {
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_rings_the_page_which_answers_with_picture_and_voice() {
    // Given a phone that waits, and a doorbell with a camera
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let phone = Phone::waiting(&line.fragment("")).await;
    phone.page.size(360, 740, true).await;
    phone.page.screenshot(&screenshots().join("ring-waiting-phone.png")).await;
    let (camera, offer) = Camera::offering().await;

    // When it rings
    let session = line.ring(phone.key, &offer, RINGS, json!({ "name": "Front\u{202e} door" })).await;

    // Then the name is shown, without what could rearrange it, and whose it is
    let ring = phone.rings().await;
    assert_eq!(ring, json!({ "session": session.id, "name": "Front door", "npub": line.npub() }));
    assert_eq!(phone.page.text("#who").await, "Front door");
    assert_eq!(phone.page.js("chimes()").await, true);
    assert_eq!(phone.page.text("#who-npub").await, line.npub());
    phone.page.wait_for_js("document.title === '☎ Front door is calling'").await;
    phone.page.wait_for_js("document.title === 'Front door · callgate'").await;
    assert_eq!(
        phone.page.js("document.querySelector('[role=alert]:not([hidden])').textContent").await,
        "Front door is calling you."
    );
    phone.page.screenshot(&screenshots().join("ring-phone.png")).await;
    // and on every screen both buttons are in sight, large enough for a thumb, and reached with the Tab key alone
    for (name, width, height) in [("phone-small", 320, 568), ("phone-side", 740, 360)] {
        phone.page.size(width, height, true).await;
        phone.page.screenshot(&screenshots().join(format!("ring-{name}.png"))).await;
        let fits = "['answer', 'refuse'].map((id) => document.getElementById(id)).every((button) => { \
            const { bottom, right, height } = button.getBoundingClientRect(); \
            return bottom <= innerHeight && right <= innerWidth && height >= 44 && button.tabIndex === 0; })";
        assert_eq!(phone.page.js(fits).await, true, "{name}");
    }
    phone.page.dark(true).await;
    phone.page.size(1280, 800, false).await;
    phone.page.screenshot(&screenshots().join("ring-desktop-dark.png")).await;

    // When it is answered, the bell is silent, and the answer says for which device, and holds all candidates
    phone.page.click("#answer").await;
    let answer = answer_in(&mut line, &session).await;
    assert_eq!(phone.page.js("bells.length").await, 0);
    assert_eq!((answer.dialect, &answer.content["accepted"]), (Dialect::Wrapped, &json!(true)));
    let device = answer.content["device"].as_str().unwrap().to_owned();
    assert!(answer.content["sdp"].as_str().unwrap().contains("a=candidate:"));
    camera.take(answer.content["sdp"].as_str().unwrap()).await;

    // Then picture and tone come, and the person is heard
    phone.page.wait_for_js("callgate.state === 'live' && callgate.stats?.fps > 5").await;
    let (first, _) = (phone.page.picture().await, phone.page.stamps(10).await);
    assert!(first.difference(&phone.page.picture().await) > 5.0);
    let tone = phone.page.tone(TONE_HZ, 20_000).await;
    assert!(tone.at > tone.elsewhere + 30.0, "{tone:?}");
    phone.page.wait_for_js("document.querySelector('#mic').getAttribute('aria-pressed') === 'true'").await;
    camera.0.wait_for_js("pc.getStats().then((all) => [...all.values()].some((s) => s.type === 'inbound-rtp' && s.packetsReceived > 20))").await;
    phone.page.screenshot(&screenshots().join("ring-live-desktop-dark.png")).await;

    // When the other devices are told to stop, this one goes on
    line.tell(&session, END, json!({ "reason": "user_left", "cause": "elsewhere", "except": device })).await;
    // and a second call, also of the same line, finds the person busy
    let second = line.ring(phone.key, &offer, RINGS, json!({})).await;
    let refusal = answer_in(&mut line, &second).await;
    assert_eq!(refusal.content["accepted"], false);
    let end = line.hear(END).await;
    assert_eq!(
        (end.tag("session_id"), &end.content["reason"], &end.content["cause"]),
        (Some(second.id.as_str()), &json!("rejected"), &json!("busy"))
    );
    assert_eq!(phone.page.js("callgate.state").await, "live");

    // When the line hangs up by closing its connection, and its last event is lost
    camera.0.js("pc.close() ?? true").await;
    let error = phone.page.wait_for_js("callgate.state === 'ended' && callgate.error").await;
    assert_eq!(error["code"], "line-ended", "{error}");
    assert_eq!(phone.page.console_errors().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_refused_and_a_late_one_or_one_that_ended_rings_no_more() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Line::plain(&relay).await;
    let phone = Phone::waiting(&line.fragment("")).await;

    // An offer that is stale when it comes rings nobody; the next one, plain, does
    line.ring(phone.key, "v=0", 0, json!({ "name": "too late" })).await;
    let session = line.ring(phone.key, "v=0", RINGS, json!({ "name": "Front door" })).await;
    assert_eq!(phone.rings().await["session"], session.id);

    // Refused: the line is told, in its own dialect, that a person did it
    phone.page.click("#refuse").await;
    let refusal = answer_in(&mut line, &session).await;
    assert_eq!((refusal.dialect, &refusal.content["accepted"]), (Dialect::Plain, &json!(false)));
    let end = line.hear(END).await;
    assert_eq!((&end.content["reason"], &end.content["cause"]), (&json!("rejected"), &json!("declined")));
    assert_eq!(phone.page.js("[callgate.state, document.title]").await, json!(["idle", "driveway · callgate"]));

    // Said again, it does not ring again; one that rings stops when the line gives up
    line.tell(
        &session,
        OFFER,
        json!({ "sdp": "v=0", "expires_in": RINGS, "timestamp": nostr::Timestamp::now().as_secs() }),
    )
    .await;
    let next = line.ring(phone.key, "v=0", RINGS, json!({})).await;
    assert_eq!(phone.rings().await, json!({ "session": next.id, "name": "driveway", "npub": line.npub() }));
    line.tell(&next, END, json!({ "reason": "timeout" })).await;
    let words = phone.rings_no_more().await;
    assert!(words.contains("missed a call of driveway"), "{words}");

    // One that nobody ends stops by itself
    let short = line.ring(phone.key, "v=0", 8, json!({})).await;
    assert_eq!(phone.rings().await["session"], short.id);
    let words = phone.rings_no_more().await;
    assert!(words.contains("missed a call of driveway"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_devices_with_one_key_the_other_one_stops_when_one_answers() {
    // Given one person with two devices
    let relay = TestRelay::start(Behaviour::Honest).await;
    let mut line = Line::start(&relay).await;
    let (person, knows) = (Keys::generate(), line.fragment(""));
    let (desk, pocket) = tokio::join!(Phone::with_key(&knows, &person), Phone::with_key(&knows, &person));
    let (camera, offer) = Camera::offering().await;
    let session = line.ring(person.public_key(), &offer, RINGS, json!({ "name": "Front door" })).await;
    desk.rings().await;
    pocket.rings().await;

    // When one of them answers, and the line says so
    desk.page.click("#answer").await;
    let answer = answer_in(&mut line, &session).await;
    line.tell(
        &session,
        END,
        json!({ "reason": "user_left", "cause": "elsewhere", "except": answer.content["device"] }),
    )
    .await;

    // Then the other one stops, and says why; the first one shows the picture
    let words = pocket.rings_no_more().await;
    assert!(words.contains("Front door was answered on another device"), "{words}");
    camera.take(answer.content["sdp"].as_str().unwrap()).await;
    desk.page.wait_for_js("callgate.state === 'live'").await;
    pocket.page.screenshot(&screenshots().join("ring-elsewhere-desktop.png")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_ring_only_where_anyone_may() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let line = Line::start(&relay).await;
    let stranger = Line::start(&relay).await;
    let phone = Phone::waiting(&line.fragment("")).await;

    // The stranger's comes first and is passed over
    stranger.ring(phone.key, "v=0", RINGS, json!({ "name": "driveway" })).await;
    let session = line.ring(phone.key, "v=0", RINGS, json!({})).await;
    assert_eq!(phone.rings().await["session"], session.id);
    line.tell(&session, END, json!({ "reason": "user_left" })).await;
    let words = phone.rings_no_more().await;
    assert!(words.contains("driveway called at") && words.contains("hung up"), "{words}");

    // With leave, a stranger's rings, and its key is shown
    phone.page.click("#anyone").await;
    let session = stranger.ring(phone.key, "v=0", RINGS, json!({ "name": "driveway" })).await;
    let ring = phone.rings().await;
    assert_eq!((&ring["session"], &ring["npub"]), (&json!(session.id), &json!(stranger.npub())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_call_is_renegotiated_by_either_side_and_the_callers_offer_goes_first() {
    // Given a call that the page made
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let page = Browser::start().await;
    page.see_peers().await;
    page.open(&format!("{}{}", page_url(), line.fragment(""))).await;
    page.click("#call").await;
    let offer = line.hear(OFFER).await;
    let (camera, answer) = Camera::answering(offer.content["sdp"].as_str().unwrap()).await;
    line.say(&offer, &line.keys, ANSWER, json!({ "sdp": answer, "accepted": true })).await;
    page.wait_for_js("callgate.state === 'live'").await;

    // When the network changes, then the page restarts ICE in the same session, and the picture goes on
    page.js("dispatchEvent(new Event('online'))").await;
    let restart = loop {
        let next = line.hear(OFFER).await;
        assert_eq!(next.tag("session_id"), offer.tag("session_id"));
        // A page that had no answer for some seconds has said its first offer again, plain.
        if next.content["sdp"] != offer.content["sdp"] {
            break next;
        }
    };
    let ufrag =
        |sdp: &Value| sdp.as_str().unwrap().lines().find(|line| line.starts_with("a=ice-ufrag:")).unwrap().to_owned();
    assert_ne!(ufrag(&restart.content["sdp"]), ufrag(&offer.content["sdp"]));

    // While it waits for its answer, an offer of the line's is passed over; once there is one, it is answered
    let offered = "(async () => { const old = pc.restartIce(); const offer = await pc.createOffer({ iceRestart: true }); return offer.sdp; })()";
    let glare = camera.0.js(offered).await;
    let session = offer.session();
    let content = |sdp: &Value| json!({ "sdp": sdp, "expires_in": 60, "timestamp": nostr::Timestamp::now().as_secs() });
    line.tell(&session, OFFER, content(&glare)).await;
    let answer = camera.answer(restart.content["sdp"].as_str().unwrap()).await;
    line.say(&restart, &line.keys, ANSWER, json!({ "sdp": answer, "accepted": true })).await;
    page.wait_for_js("peers[0].signalingState === 'stable' && peers[0].connectionState === 'connected'").await;
    let before = page.decoded_frames().await;
    page.wait_for_js(&format!(
        "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > {before} + 10"
    ))
    .await;

    // When the line restarts ICE
    let own = camera.0.js("complete(undefined, pc.restartIce())").await;
    line.tell(&session, OFFER, content(&own)).await;
    let answer = answer_in(&mut line, &session).await;
    camera.take(answer.content["sdp"].as_str().unwrap()).await;
    let before = page.decoded_frames().await;
    page.wait_for_js(&format!(
        "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > {before} + 10"
    ))
    .await;
    assert_eq!(page.js("[callgate.state, peers.length, callgate.error ?? null]").await, json!(["live", 1, null]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_can_be_added_to_a_call_that_began_with_sound_alone() {
    // Given a call that a line made, with sound
    let relay = TestRelay::start(Behaviour::StrfryLike).await;
    let mut line = Line::start(&relay).await;
    let phone = Phone::waiting(&line.fragment("")).await;
    let (camera, offer) = Camera::sounding().await;
    let session = line.ring(phone.key, &offer, RINGS, json!({})).await;
    phone.rings().await;
    phone.page.click("#answer").await;
    let answer = answer_in(&mut line, &session).await;
    camera.take(answer.content["sdp"].as_str().unwrap()).await;
    phone.page.wait_for_js("callgate.state === 'live'").await;
    let tone = phone.page.tone(TONE_HZ, 20_000).await;
    assert!(tone.at > tone.elsewhere + 30.0, "{tone:?}");
    assert_eq!(phone.page.text("#hint").await, "Sound only");
    phone.page.screenshot(&screenshots().join("ring-sound-only.png")).await;

    // When the line offers its picture too
    let offer = camera.add_picture().await;
    let content = json!({ "sdp": offer, "expires_in": 60, "timestamp": nostr::Timestamp::now().as_secs() });
    line.tell(&session, OFFER, content).await;
    let answer = answer_in(&mut line, &session).await;
    camera.take(answer.content["sdp"].as_str().unwrap()).await;

    // Then it is seen, in the same call
    phone
        .page
        .wait_for_js("callgate.stats?.fps > 5 && document.querySelector('#stage').hasAttribute('data-picture')")
        .await;
    let first = phone.page.picture().await;
    phone.page.stamps(10).await;
    assert!(first.difference(&phone.page.picture().await) > 5.0);
    assert_eq!(phone.page.js("[callgate.state, callgate.session]").await, json!(["live", session.id]));
}
