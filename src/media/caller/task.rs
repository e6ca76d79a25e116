//! A caller's task: from its offer to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::prelude::*;
use gst_webrtc::WebRTCSDPType;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::receive::{Arrived, Receiver};
use super::recorder::Recording;
use super::test_media::TestMedia;
use super::{CallerCommand, CallerEvent, CallerSettings, CallerStats, Received, offer};
use crate::media::certificate::Certificate;
use crate::media::peer::connection::{Connection, Dtls, fault};
use crate::media::peer::outgoing::{Format, SourcePad, flush};
use crate::media::servers::{self, Servers};
use crate::media::{PeerError, Teardown, TrackStats};
use crate::sdp::{Candidate, Fingerprint, RemoteAnswer};

const TICK: Duration = Duration::from_secs(1);

struct Calling {
    connection: Connection,
    pads: Vec<SourcePad>,
    receiver: Arc<Receiver>,
    arrived: watch::Receiver<Arrived>,
    told: Arrived,
    recording: Option<Arc<Recording>>,
    events: mpsc::Sender<CallerEvent>,
    /// Those that the answer names; empty before it.
    fingerprints: Vec<Fingerprint>,
    /// Packets that had arrived when the certificate matched.
    secured: Option<u64>,
    /// What the answer takes of ours; it is not sent before the certificate matched.
    sending: Vec<(Format, u8, u32, gst::Pad)>,
    test_media: Vec<TestMedia>,
    last: (Instant, CallerStats),
    latency_changes: u32,
}

pub(super) async fn run(
    settings: CallerSettings,
    certificate: Arc<Certificate>,
    mut commands: mpsc::Receiver<CallerCommand>,
    events: mpsc::Sender<CallerEvent>,
    end: CancellationToken,
    vanish: CancellationToken,
) {
    let fingerprint = certificate.fingerprint();
    let to_task = events.clone();
    let servers = servers::find(&settings.ice, &[]).await;
    let assembled = tokio::task::spawn_blocking(move || assemble(settings, servers, certificate, to_task)).await;
    let mut calling = match assembled.unwrap_or_else(|_| Err(fault("the caller's making was cut short"))) {
        Ok(calling) => calling,
        Err(error) => {
            let _ = events.send(CallerEvent::Failed(error)).await;
            let teardown = Teardown { took: Duration::ZERO, leaked: false };
            let _ = events.send(CallerEvent::Ended { teardown, recorded: None }).await;
            return;
        }
    };
    let failure = tokio::select! {
        biased;
        () = end.cancelled() => None,
        () = vanish.cancelled() => None,
        carried = calling.carry(fingerprint, &mut commands) => match carried {
            Ok(never) => match never {},
            Err(error) => Some(error),
        },
    };
    if let Some(error) = failure {
        let _ = events.send(CallerEvent::Failed(error)).await;
    }
    calling.down(end.is_cancelled()).await;
}

/// Blocks.
fn assemble(
    settings: CallerSettings,
    servers: Servers,
    certificate: Arc<Certificate>,
    events: mpsc::Sender<CallerEvent>,
) -> Result<Calling, PeerError> {
    let tracks = usize::from(settings.video) + usize::from(settings.audio);
    let recording = match &settings.record {
        Some(path) => Some(Arc::new(Recording::open(path, tracks)?)),
        None => None,
    };
    let connection = Connection::build(&settings.ice, servers, certificate)?;
    let jitter = u32::try_from(settings.jitter.as_millis()).unwrap_or(u32::MAX);
    connection.webrtcbin.set_property("latency", jitter);
    if jitter > 0 {
        connection.ask_for_lost_packets();
    }
    let receiver = Arc::new(Receiver::new(settings.units.clone(), recording.clone()));
    receiver.attach(&connection.pipeline, &connection.webrtcbin);
    let pads = offer::add_sections(&connection, &settings)?;
    connection.play()?;
    Ok(Calling {
        connection,
        pads,
        arrived: receiver.arrived.subscribe(),
        receiver,
        told: Arrived::default(),
        recording,
        events,
        fingerprints: Vec::new(),
        secured: None,
        sending: Vec::new(),
        test_media: Vec::new(),
        last: (Instant::now(), CallerStats::default()),
        latency_changes: 0,
    })
}

impl Calling {
    async fn carry(
        &mut self,
        fingerprint: Fingerprint,
        commands: &mut mpsc::Receiver<CallerCommand>,
    ) -> Result<std::convert::Infallible, PeerError> {
        self.offer(fingerprint).await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = self.connection.progress.changed() => {
                    changed.map_err(|_| fault("webrtcbin is gone"))?;
                    self.progressed().await?;
                }
                Ok(()) = self.arrived.changed() => self.tell_arrival().await,
                Some(command) = commands.recv() => match command {
                    CallerCommand::Answer(answer) => self.take_answer(*answer).await?,
                    CallerCommand::Candidate(candidate) => self.connection.add_candidate(&candidate.text()),
                },
                Some(line) = self.connection.candidates.recv() => self.tell_late(&line).await,
                _ = tick.tick() => self.ticked()?,
            }
        }
    }

    async fn offer(&mut self, fingerprint: Fingerprint) -> Result<(), PeerError> {
        let description = self.connection.create("create-offer", "offer").await?;
        let text = description.sdp().as_text().map_err(|_| fault("webrtcbin's offer has no text"))?;
        self.connection.set_local(&description).await?;
        self.connection.gathered().await;
        let candidates = self.connection.found();
        let text = offer::complete(&text, fingerprint, &candidates);
        let _ = self.events.send(CallerEvent::Offer(text)).await;
        Ok(())
    }

    async fn take_answer(&mut self, answer: RemoteAnswer) -> Result<(), PeerError> {
        // A second answer to one offer: another device of the same key. The first one has the call.
        if !self.fingerprints.is_empty() {
            return Ok(());
        }
        // webrtcbin connects the pads whose caps it has seen when the answer comes, and fixes their codec.
        let formats = offer::sendable(&answer);
        for pad in &self.pads {
            let format = formats.iter().flatten().find(|(format, _)| format.track == pad.track);
            if let Some(&(format, payload_type)) = format {
                pad.announce(format, payload_type)?;
                self.sending.push((format, payload_type, pad.ssrc, pad.pad()));
            }
        }
        self.fingerprints = answer.fingerprints;
        self.connection.set_remote(WebRTCSDPType::Answer, &answer.text).await?;
        for candidate in &answer.candidates {
            self.connection.add_candidate(&candidate.text());
        }
        Ok(())
    }

    async fn progressed(&mut self) -> Result<(), PeerError> {
        let progress = self.connection.progress.borrow_and_update().clone();
        if progress.dtls == Dtls::Connected && self.secured.is_none() {
            self.secure().await?;
        }
        if let Some(failure) = progress.failure(self.secured.is_some()) {
            return Err(failure);
        }
        if progress.latency_changes != self.latency_changes {
            self.latency_changes = progress.latency_changes;
            let _ = self.connection.pipeline.recalculate_latency();
        }
        Ok(())
    }

    /// As on the answering side: no media before the certificate turned out to be the right one.
    async fn secure(&mut self) -> Result<(), PeerError> {
        self.connection.verify(&self.fingerprints)?;
        self.receiver.incoming.trust();
        for (format, payload_type, ssrc, pad) in self.sending.drain(..) {
            self.test_media.push(TestMedia::start(format, payload_type, ssrc, pad)?);
        }
        self.secured = Some(self.connection.arrivals.packets());
        let _ = self.events.send(CallerEvent::Connected).await;
        Ok(())
    }

    async fn tell_arrival(&mut self) {
        let arrived = *self.arrived.borrow_and_update();
        if arrived.video && !self.told.video {
            let _ = self.events.send(CallerEvent::FirstFrame).await;
        }
        if arrived.audio && !self.told.audio {
            let _ = self.events.send(CallerEvent::FirstAudio).await;
        }
        self.told = arrived;
    }

    async fn tell_late(&self, line: &str) {
        let Ok(Some(candidate)) = Candidate::read(line) else { return };
        let description =
            self.connection.webrtcbin.property::<Option<gst_webrtc::WebRTCSessionDescription>>("local-description");
        let mid = description.and_then(|d| Some(d.sdp().media(0)?.attribute_val("mid")?.to_owned()));
        let event = CallerEvent::LateCandidate { candidate: candidate.text(), mid: mid.unwrap_or_default(), index: 0 };
        let _ = self.events.send(event).await;
    }

    fn ticked(&mut self) -> Result<(), PeerError> {
        let Some(arrived) = self.secured else { return Ok(()) };
        if self.connection.is_silent(arrived) {
            return Err(PeerError::ConsentLost);
        }
        let (before, last) = self.last;
        let stats = self.stats(before.elapsed(), last);
        self.last = (Instant::now(), stats);
        // Statistics that find no room are superseded by the next.
        let _ = self.events.try_send(CallerEvent::Stats(stats));
        Ok(())
    }

    fn stats(&self, since: Duration, last: CallerStats) -> CallerStats {
        let received = |now: TrackStats, last: Received| Received {
            packets: now.packets,
            bytes: now.bytes,
            frames: now.frames,
            keyframes: 0,
            lost: now.lost,
            bitrate: ((now.bytes - last.bytes) * 8_000).checked_div(since.as_millis() as u64).unwrap_or(0),
        };
        let video = Received {
            frames: self.receiver.video_frames.load(Ordering::Relaxed),
            keyframes: self.receiver.video_keyframes.load(Ordering::Relaxed),
            ..received(self.receiver.incoming.video(), last.video)
        };
        CallerStats { video, audio: received(self.receiver.incoming.audio(), last.audio) }
    }

    async fn down(self, polite: bool) {
        let Self { connection, pads, receiver, recording, events, test_media, .. } = self;
        let polite = polite && connection.progress.borrow().dtls == Dtls::Connected;
        let flushed: Vec<gst::Pad> = pads.iter().map(SourcePad::pad).collect();
        drop(pads);
        let teardown = connection
            .close(polite, move || {
                flush(&flushed);
                drop(test_media);
            })
            .await;
        drop(receiver);
        let recorded = match recording {
            Some(recording) => tokio::task::spawn_blocking(move || recording.finish()).await.ok().flatten(),
            None => None,
        };
        let _ = events.send(CallerEvent::Ended { teardown, recorded }).await;
    }
}
