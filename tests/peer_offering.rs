//! A line that calls: its peer offers, and somebody answers.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod support;

use std::collections::HashSet;

use callgate::endpoint::Streams;
use callgate::media::caller::{CallerEvent, CallerSettings};
use callgate::media::{CallId, Command, Event, PeerError};
use callgate::sdp;
use support::*;
use tokio::sync::mpsc;

const CALL: CallId = CallId(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_called_sees_the_picture_move_and_is_heard() {
    let mut gateway = Gateway::start();
    let offer = gateway.offer(CALL).await;
    let (told, mut pictures) = mpsc::channel(1024);
    let settings = CallerSettings { units: Some(told), send_test_media: true, ..watcher() };
    let (mut called, answer) = Caller::answering(settings, &offer).await;

    gateway.take_answer(CALL, &offer, &answer).await;
    gateway.wait("the first check", |event| (event == Event::Checked { call: CALL }).then_some(())).await;
    gateway.secured(CALL).await;
    called.is(CallerEvent::Connected).await;

    let units = units(&mut pictures, 60).await;
    assert!(units[0].keyframe, "the first picture is a keyframe");
    let decoded = decode(&units);
    assert!(decoded.len() >= 58, "{} of 60 pictures decoded", decoded.len());
    assert!(decoded.iter().collect::<HashSet<_>>().len() > 50, "the picture moves");
    // Their voice comes, their picture was not asked for.
    let stats = gateway.stats(CALL, |stats| stats.received_audio.frames > 20 && stats.sent_audio.packets > 20).await;
    assert_eq!(stats.received_video.packets, 0);

    called.end().await;
    assert_eq!(gateway.failure(CALL).await, PeerError::ClosedByCaller);
    assert!(!gateway.close(CALL).await.leaked);
    soon("the shutdown", gateway.media.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_takes_nothing_fails_the_peer() {
    let mut gateway = Gateway::start();
    let offer = gateway.offer(CALL).await;
    let (called, answer) = Caller::answering(watcher(), &offer).await;

    gateway
        .take_answer(CALL, &offer, &answer.replace("a=recvonly", "a=inactive").replace("a=sendrecv", "a=sendonly"))
        .await;

    let PeerError::NoCommonCodec(none) = gateway.failure(CALL).await else { panic!("another failure") };
    assert_eq!(none.detail, "the answer takes none of the line's media");
    assert!(!gateway.close(CALL).await.leaked);
    called.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_anothers_fingerprint_gets_no_media() {
    let mut gateway = Gateway::start();
    let offer = gateway.offer(CALL).await;
    let (told, mut pictures) = mpsc::channel(1024);
    let (called, answer) = Caller::answering(CallerSettings { units: Some(told), ..watcher() }, &offer).await;
    let own = answer.lines().find(|line| line.starts_with("a=fingerprint")).unwrap().to_owned();

    let forged = answer.replace(&own, &format!("a=fingerprint:sha-256 {}", ["5A"; 32].join(":")));
    gateway.take_answer(CALL, &offer, &forged).await;

    assert_eq!(gateway.failure(CALL).await, PeerError::FingerprintMismatch);
    gateway.close(CALL).await;
    called.end().await;
    assert_eq!(pictures.recv().await, None, "not one picture");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_the_sound_only_gets_the_sound_only_and_a_second_answer_changes_nothing() {
    let mut gateway = Gateway::start();
    let offer = gateway.offer(CALL).await;
    let (mut called, answer) = Caller::answering(watcher(), &offer).await;
    let (head, video) = answer.split_once("m=video").unwrap();
    let without_picture = format!("{head}m=video{}", video.replace("a=recvonly", "a=inactive"));

    gateway.take_answer(CALL, &offer, &without_picture).await;
    gateway.take_answer(CALL, &offer, &answer).await;

    called.is(CallerEvent::FirstAudio).await;
    let stats = gateway.stats(CALL, |stats| stats.sent_audio.packets > 20).await;
    assert_eq!(stats.sent_video.packets, 0);
    called.end().await;
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_and_the_offer_is_taken_back() {
    let mut gateway = Gateway::start();
    gateway.offer(CALL).await;
    assert!(!gateway.close(CALL).await.leaked);
    // Without a lease there is nothing to offer.
    let plan = sdp::calling_plan(&test_streams()).unwrap();
    gateway.media.send(Command::OfferPeer { call: CallId(2), plan }).await;
    gateway.failure(CallId(2)).await;
    soon("the shutdown", gateway.media.shutdown()).await;
}

fn test_streams() -> Streams {
    use callgate::endpoint::{AudioCodec, AudioStream};
    Streams { video: None, audio: Some(AudioStream { codec: AudioCodec::Opus, rate: 48_000, channels: 2 }) }
}
