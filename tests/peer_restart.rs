//! ICE restarts in a live call, from either side: media goes on.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod support;

use std::collections::HashSet;

use callgate::media::caller::{AccessUnit, CallerEvent, CallerSettings};
use callgate::media::{CallId, Command, Event, PeerError};
use callgate::sdp;
use support::*;
use tokio::sync::mpsc;

const CALL: CallId = CallId(1);

/// A live call, and the pictures that the caller sees.
async fn live() -> (Gateway, Caller, mpsc::Receiver<AccessUnit>) {
    let mut gateway = Gateway::start();
    let (told, pictures) = mpsc::channel(4096);
    let settings = CallerSettings { units: Some(told), send_test_media: true, ..watcher() };
    let mut caller = Caller::start(settings).await;
    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;
    gateway.secured(CALL).await;
    caller.is(CallerEvent::FirstFrame).await;
    (gateway, caller, pictures)
}

/// `a=name:` of a description.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(&format!("a={name}:")))
        .unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// The call goes on both ways, and every picture since its beginning can be decoded.
async fn goes_on(gateway: &mut Gateway, pictures: &mut mpsc::Receiver<AccessUnit>, seen: &mut Vec<AccessUnit>) {
    seen.extend(units(pictures, 40).await);
    let before = gateway.stats(CALL, |_| true).await;
    let after = gateway.stats(CALL, |stats| stats.received_video.frames > before.received_video.frames + 5).await;
    assert_eq!(after.received_video.lost, 0);
    let decoded = decode(seen);
    assert!(decoded.len() + 2 >= seen.len(), "{} of {} decoded", decoded.len(), seen.len());
    assert!(decoded.iter().collect::<HashSet<_>>().len() + 10 > seen.len(), "the picture moves");
}

async fn over(mut gateway: Gateway, caller: Caller) {
    caller.end().await;
    assert_eq!(gateway.failure(CALL).await, PeerError::ClosedByCaller);
    assert!(!gateway.close(CALL).await.leaked);
    soon("the shutdown", gateway.media.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caller_restarts_ice_again_and_again_and_no_picture_is_lost() {
    let (mut gateway, mut caller, mut pictures) = live().await;
    let mut seen = units(&mut pictures, 10).await;
    let mut before = caller.offer.clone();
    for _ in 0..3 {
        caller.restart().await;
        assert_ne!(value(&caller.offer, "ice-ufrag"), value(&before, "ice-ufrag"));
        assert_eq!(value(&caller.offer, "fingerprint"), value(&before, "fingerprint"));
        before = caller.offer.clone();

        let answer = gateway.answer_again(CALL, &caller.offer).await;
        caller.take(&answer).await;
        gateway
            .wait("a check of the new credentials", |event| matches!(event, Event::Stats { .. }).then_some(()))
            .await;
        goes_on(&mut gateway, &mut pictures, &mut seen).await;
    }
    over(gateway, caller).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_restarts_ice_and_no_picture_is_lost() {
    let (mut gateway, mut caller, mut pictures) = live().await;
    let mut seen = units(&mut pictures, 10).await;
    for _ in 0..2 {
        gateway.media.send(Command::Restart { call: CALL }).await;
        let offer = gateway.offered(CALL).await;
        assert_eq!(value(&offer, "setup"), "actpass");
        caller.handle.offer(sdp::guard_offer(&offer).unwrap()).await;
        let answer = caller.answered().await;
        gateway.take_answer(CALL, &offer, &answer).await;
        goes_on(&mut gateway, &mut pictures, &mut seen).await;
    }
    over(gateway, caller).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_called_restarts_from_both_sides() {
    let mut gateway = Gateway::start();
    let offer = gateway.offer(CALL).await;
    let (told, mut pictures) = mpsc::channel(4096);
    let (mut called, answer) = Caller::answering(CallerSettings { units: Some(told), ..watcher() }, &offer).await;
    gateway.take_answer(CALL, &offer, &answer).await;
    gateway.secured(CALL).await;
    let mut seen = units(&mut pictures, 10).await;

    called.restart().await;
    let answer = gateway.answer_again(CALL, &called.offer).await;
    called.take(&answer).await;
    seen.extend(units(&mut pictures, 40).await);
    gateway.media.send(Command::Restart { call: CALL }).await;
    let offer = gateway.offered(CALL).await;
    called.handle.offer(sdp::guard_offer(&offer).unwrap()).await;
    let answer = called.answered().await;
    gateway.take_answer(CALL, &offer, &answer).await;
    seen.extend(units(&mut pictures, 40).await);

    let decoded = decode(&seen);
    assert!(decoded.len() + 2 >= seen.len(), "{} of {} decoded", decoded.len(), seen.len());
    over(gateway, called).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_is_never_answered_and_one_within_a_restart_do_no_harm() {
    let (mut gateway, mut caller, mut pictures) = live().await;
    let mut seen = units(&mut pictures, 10).await;
    // Nobody answers ours.
    gateway.media.send(Command::Restart { call: CALL }).await;
    let unanswered = gateway.offered(CALL).await;
    goes_on(&mut gateway, &mut pictures, &mut seen).await;
    // The caller's first restart is overtaken by the second; only that one's answer counts.
    caller.restart().await;
    gateway.answer_again(CALL, &caller.offer).await;
    caller.restart().await;
    let answer = gateway.answer_again(CALL, &caller.offer).await;
    caller.take(&answer).await;
    goes_on(&mut gateway, &mut pictures, &mut seen).await;
    // The answer to ours comes too late.
    caller.handle.offer(sdp::guard_offer(&unanswered).unwrap()).await;
    let late = caller.answered().await;
    gateway.take_answer(CALL, &unanswered, &late).await;
    // What that broke the next restart mends.
    caller.restart().await;
    let answer = gateway.answer_again(CALL, &caller.offer).await;
    caller.take(&answer).await;
    goes_on(&mut gateway, &mut pictures, &mut seen).await;
    over(gateway, caller).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_does_not_belong_to_the_call_changes_nothing() {
    let (mut gateway, mut caller, mut pictures) = live().await;
    let mut seen = units(&mut pictures, 10).await;
    caller.restart().await;
    let own = value(&caller.offer, "fingerprint");
    let other = caller.offer.replace(own, &format!("sha-256 {}", ["5A"; 32].join(":")));
    let renamed = caller.offer.replace("audio0", "other0");
    for (offer, why) in [
        (other, "the offer names another certificate than the call's"),
        (renamed, "the offer's m-lines are in another order than the call's"),
    ] {
        let offer = Box::new(sdp::guard_offer(&offer).unwrap());
        gateway.media.send(Command::Renegotiate { call: CALL, offer }).await;
        let refused = gateway
            .wait("a refusal", |event| match event {
                Event::NotRenegotiated { why, .. } => Some(why.what),
                _ => None,
            })
            .await;
        assert_eq!(refused, why);
    }
    goes_on(&mut gateway, &mut pictures, &mut seen).await;
    over(gateway, caller).await;
}
