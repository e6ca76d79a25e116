//! Two real ends: the caller's `webrtcbin` and the gateway's, with a hub behind it.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod support;

use std::collections::HashSet;

use callgate::media::caller::{CallerEvent, CallerSettings};
use callgate::media::{CallId, Command, Event, IceSettings, LineName, PeerError, SourceError};
use support::*;
use tokio::sync::mpsc;

const CALL: CallId = CallId(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_sees_the_picture_move_and_hears_the_tone() {
    let mut gateway = Gateway::start();
    let (told, mut pictures) = mpsc::channel(1024);
    let mut caller = Caller::start(CallerSettings { units: Some(told), ..watcher() }).await;

    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;
    gateway.wait("the caller's first check", |event| (event == Event::Checked { call: CALL }).then_some(())).await;
    gateway.secured(CALL).await;
    caller.is(CallerEvent::Connected).await;

    let units = units(&mut pictures, 60).await;
    assert!(units[0].keyframe, "the first picture is a keyframe");
    let decoded = decode(&units);
    assert!(decoded.len() >= 58, "{} of 60 pictures decoded", decoded.len());
    assert!(decoded.iter().collect::<HashSet<_>>().len() > 50, "the picture moves");
    let heard = caller
        .wait("sound", |event| match event {
            CallerEvent::Stats(stats) if stats.audio.packets > 20 => Some(stats),
            _ => None,
        })
        .await;
    assert_eq!((heard.video.lost, heard.audio.lost), (0, 0));
    let sent = gateway.stats(CALL, |stats| stats.sent_video.frames > 60 && stats.sent_audio.packets > 20).await;
    assert_eq!((sent.sent_video.lost, sent.sent_audio.lost, sent.frames_skipped), (0, 0, 0));

    caller.end().await;
    assert_eq!(gateway.failure(CALL).await, PeerError::ClosedByCaller);
    assert!(!gateway.close(CALL).await.leaked);
    soon("the shutdown", gateway.media.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_own_media_is_received_and_counted() {
    let mut gateway = Gateway::start();
    let caller = Caller::start(CallerSettings { send_test_media: true, ..watcher() }).await;

    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;

    let stats = gateway.stats(CALL, |stats| stats.received_video.frames > 20 && stats.received_audio.frames > 40).await;
    assert!(stats.received_video.packets >= stats.received_video.frames);
    assert!(stats.received_audio.bytes > 0);
    assert_eq!((stats.received_video.lost, stats.received_audio.lost), (0, 0));
    caller.end().await;
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_with_anothers_fingerprint_gets_no_media() {
    let mut gateway = Gateway::start();
    let (told, mut pictures) = mpsc::channel(1024);
    let caller = Caller::start(CallerSettings { units: Some(told), send_test_media: true, ..watcher() }).await;
    // The certificate's owner is not who the offer says.
    let own = caller.offer.lines().find(|line| line.starts_with("a=fingerprint")).unwrap().to_owned();
    let tampered = caller.offer.replace(&own, &format!("a=fingerprint:sha-256 {}", ["5A"; 32].join(":")));
    assert_ne!(tampered, caller.offer);

    let answer = gateway.answer(CALL, &tampered).await;
    caller.take(&answer).await;
    let mut secured = false;
    let error = gateway
        .wait("a failure", |event| match event {
            Event::PeerFailed { error, .. } => Some(error),
            Event::Secured { .. } | Event::FirstMedia { .. } => {
                secured = true;
                None
            }
            _ => None,
        })
        .await;
    assert_eq!(error, PeerError::FingerprintMismatch);
    assert!(!secured);
    assert!(!gateway.close(CALL).await.leaked);
    caller.end().await;
    assert_eq!(pictures.recv().await, None, "not one picture");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_anothers_fingerprint_ends_the_call() {
    let mut gateway = Gateway::start();
    let (told, mut pictures) = mpsc::channel(1024);
    let mut caller = Caller::start(CallerSettings { units: Some(told), ..watcher() }).await;

    let answer = gateway.answer(CALL, &caller.offer).await;
    let own = answer.lines().find(|line| line.starts_with("a=fingerprint")).unwrap().to_owned();
    caller.take(&answer.replace(&own, &format!("a=fingerprint:sha-256 {}", ["5A"; 32].join(":")))).await;

    caller.is(CallerEvent::Failed(PeerError::FingerprintMismatch)).await;
    caller.end().await;
    assert_eq!(pictures.recv().await, None, "not one picture is used");
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_vanishes_is_noticed() {
    let mut gateway = Gateway::start();
    let mut caller = Caller::start(watcher()).await;
    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;
    caller.is(CallerEvent::FirstFrame).await;
    gateway.stats(CALL, |stats| stats.sent_video.frames > 50).await;

    drop(caller);

    gateway.wait("silence", |event| (event == Event::PathLost { call: CALL }).then_some(())).await;
    assert!(!gateway.close(CALL).await.leaked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_told_at_once_when_the_gateway_hangs_up() {
    let mut gateway = Gateway::start();
    let mut caller = Caller::start(watcher()).await;
    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;
    caller.is(CallerEvent::FirstFrame).await;

    assert!(!gateway.close(CALL).await.leaked);

    caller.is(CallerEvent::Failed(PeerError::ClosedByCaller)).await;
    caller.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_sound_only_gets_sound_only() {
    let mut gateway = Gateway::start();
    let mut caller = Caller::start(CallerSettings { video: false, ..watcher() }).await;
    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;
    caller.is(CallerEvent::FirstAudio).await;
    let stats = gateway.stats(CALL, |stats| stats.sent_audio.packets > 20).await;
    assert_eq!(stats.sent_video.packets, 0);
    caller.end().await;
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_the_picture_only_gets_the_picture_only() {
    let mut gateway = Gateway::start();
    let mut caller = Caller::start(CallerSettings { audio: false, ..watcher() }).await;
    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;
    caller.is(CallerEvent::FirstFrame).await;
    let stats = gateway.stats(CALL, |stats| stats.sent_video.frames > 20).await;
    assert_eq!(stats.sent_audio.packets, 0);
    caller.end().await;
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_nothing_on_the_first_m_line_gets_the_second() {
    let mut gateway = Gateway::start();
    let mut caller = Caller::start(watcher()).await;
    let second = caller.offer.rfind("m=").unwrap();
    let (first, second) = caller.offer.split_at(second);
    let first = first.replace("a=sendrecv", "a=inactive").replace("a=recvonly", "a=inactive");
    let (wanted, other) = match second.starts_with("m=video") {
        true => (CallerEvent::FirstFrame, CallerEvent::FirstAudio),
        false => (CallerEvent::FirstAudio, CallerEvent::FirstFrame),
    };
    assert!(first.contains("a=inactive"), "{first}");

    let answer = gateway.answer(CALL, &format!("{first}{second}")).await;
    caller.take(&answer).await;

    caller.is(wanted).await;
    let rest = caller.end().await;
    assert!(!rest.contains(&other), "{rest:?}");
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_is_always_answered_and_nothing_else_is_asked_for() {
    let mut gateway = Gateway::start();
    // A call that holds nothing.
    assert!(!gateway.close(CallId(7)).await.leaked);
    // A line that is not there.
    gateway.media.send(Command::OpenSource { call: CALL, line: LineName("no such".into()) }).await;
    let error = gateway
        .wait("a refusal", |event| match event {
            Event::SourceFailed { error, .. } => Some(error),
            _ => None,
        })
        .await;
    assert_eq!(error, SourceError::NoSuchLine);
    gateway.close(CALL).await;
    // A lease without a peer, twice; it may be closed before its source is open.
    for call in [CallId(8), CallId(8)] {
        gateway.media.send(Command::OpenSource { call, line: line() }).await;
        assert!(!gateway.close(call).await.leaked);
    }
    // A peer without a lease.
    let caller = Caller::start(watcher()).await;
    gateway.open(CallId(9), &caller.offer).await;
    let offer = callgate::sdp::guard_offer(&caller.offer).unwrap();
    let plan = callgate::sdp::Plan { sections: Vec::new() };
    gateway.media.send(Command::OpenPeer { call: CallId(10), offer: Box::new(offer), plan, servers: Vec::new() }).await;
    gateway.failure(CallId(10)).await;
    // While its answer is being made.
    assert!(!gateway.close(CallId(9)).await.leaked);
    caller.end().await;
    soon("the shutdown", gateway.media.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_peer_for_a_call_is_ignored() {
    let mut gateway = Gateway::start();
    let caller = Caller::start(watcher()).await;
    let answer = gateway.answer(CALL, &caller.offer).await;
    let offer = callgate::sdp::guard_offer(&caller.offer).unwrap();
    let plan = callgate::sdp::Plan { sections: Vec::new() };
    gateway.media.send(Command::OpenPeer { call: CALL, offer: Box::new(offer), plan, servers: Vec::new() }).await;
    caller.take(&answer).await;
    gateway.secured(CALL).await;
    caller.end().await;
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_seen_and_heard_can_be_played_from_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.mkv");
    let mut gateway = Gateway::start();
    let mut caller = Caller::start(CallerSettings { record: Some(path.clone()), ..watcher() }).await;
    let answer = gateway.answer(CALL, &caller.offer).await;
    caller.take(&answer).await;
    caller
        .wait("two seconds of media", |event| match event {
            CallerEvent::Stats(stats) => (stats.video.frames > 50 && stats.audio.frames > 80).then_some(()),
            _ => None,
        })
        .await;

    let last = caller.end().await;

    let Some(CallerEvent::Ended { recorded: Some(recorded), .. }) = last.last() else { panic!("{last:?}") };
    assert!(recorded.whole);
    let (pictures, sounds) = play(&path);
    assert!(pictures.len() > 50, "{} pictures", pictures.len());
    assert!(pictures.iter().collect::<HashSet<_>>().len() > 45, "the picture moves");
    assert!(sounds > 80, "{sounds} packets of sound");
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_that_follow_the_offer_connect_the_call() {
    let mut gateway = Gateway::start();
    let mut caller = Caller::start(watcher()).await;
    let without =
        |text: &str| -> String { text.split_inclusive('\n').filter(|line| !line.starts_with("a=candidate")).collect() };

    // Neither side knows where the other is,
    let answer = gateway.answer(CALL, &without(&caller.offer)).await;
    caller.take(&without(&answer)).await;
    // until one candidate of the caller's follows.
    let line = caller.offer.lines().find(|line| line.starts_with("a=candidate")).unwrap();
    let candidate = callgate::sdp::Candidate::read(line).unwrap().unwrap();
    gateway.media.send(Command::AddCandidate { call: CALL, candidate }).await;

    gateway.secured(CALL).await;
    caller.is(CallerEvent::FirstFrame).await;
    caller.end().await;
    gateway.close(CALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_has_the_configured_ports_and_public_addresses() {
    let ice =
        IceSettings { ports: Some((40_000, 40_099)), advertise: vec!["203.0.113.7".parse().unwrap()], ..loopback() };
    let mut gateway = Gateway::start_with(ice);
    let caller = Caller::start(watcher()).await;

    let answer = gateway.answer(CALL, &caller.offer).await;

    let candidates: Vec<_> = answer
        .lines()
        .filter(|line| line.starts_with("a=candidate"))
        .map(|line| callgate::sdp::Candidate::read(line).unwrap().unwrap())
        .collect();
    let mut addresses: Vec<String> = candidates.iter().map(|candidate| candidate.address.to_string()).collect();
    addresses.sort();
    assert_eq!(addresses, ["127.0.0.1", "203.0.113.7"]);
    assert!(candidates.iter().all(|candidate| (40_000..=40_099).contains(&candidate.port)));
    assert_eq!(candidates[0].port, candidates[1].port);
    caller.end().await;
    gateway.close(CALL).await;
}
