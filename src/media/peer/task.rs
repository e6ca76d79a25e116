//! A peer's task: from the guarded offer to the end of the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Dtls, fault};
use super::incoming::Incoming;
use super::outgoing::{PadSink, SourcePad, flush};
use super::rtcp::Feedback;
use super::{PeerSetup, answer};
use crate::media::hub::Tap;
use crate::media::tap::{RtpFields, TapSettings, Track};
use crate::media::{Event, PeerError, PeerStats, Teardown, TrackStats, servers};
use crate::sdp::Candidate;

/// Between two statistics.
const TICK: Duration = Duration::from_secs(1);

/// What the task owns.
pub(super) struct Running {
    pub(super) setup: PeerSetup,
    pub(super) connection: Connection,
    pub(super) pads: Vec<SourcePad>,
    pub(super) incoming: Arc<Incoming>,
    pub(super) requests: Arc<AtomicU64>,
    feedback: Arc<Feedback>,
    secured: Option<Secured>,
    latency_changes: u32,
    checked: bool,
    first_media: bool,
}

/// The caller's certificate matched.
struct Secured {
    tap: Option<Tap>,
    /// Packets that had arrived by then: those of the DTLS handshake.
    arrived: u64,
}

pub(super) async fn run(
    setup: PeerSetup,
    mut candidates: mpsc::Receiver<Candidate>,
    stop: CancellationToken,
) -> Teardown {
    let (call, events) = (setup.call, setup.events.clone());
    let servers = servers::find(&setup.ice, &setup.servers).await;
    // State changes and plugin loading block.
    let running = match tokio::task::spawn_blocking(move || answer::assemble(setup, servers)).await {
        Ok(Ok(parts)) => Ok(Running {
            setup: parts.setup,
            connection: parts.connection,
            pads: parts.pads,
            incoming: parts.incoming,
            requests: parts.requests,
            feedback: Arc::default(),
            secured: None,
            latency_changes: 0,
            checked: false,
            first_media: false,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(fault("the peer's making was cut short")),
    };
    let nothing = Teardown { took: Duration::ZERO, leaked: false };
    let (running, failure) = match running {
        Ok(mut running) => {
            let failure = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                error = running.live(&mut candidates) => Some(error),
            };
            (Some(running), failure)
        }
        Err(error) => (None, Some(error)),
    };
    if let Some(error) = failure {
        tracing::debug!(%call, %error, "the peer ends");
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _ = events.send(Event::PeerFailed { call, error }) => {}
        }
    }
    match running {
        Some(running) => running.down().await,
        None => nothing,
    }
}

impl Running {
    /// Answers, then carries the call until it fails.
    async fn live(&mut self, candidates: &mut mpsc::Receiver<Candidate>) -> PeerError {
        match self.carry(candidates).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn carry(
        &mut self,
        candidates: &mut mpsc::Receiver<Candidate>,
    ) -> Result<std::convert::Infallible, PeerError> {
        answer::answer(self).await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = self.connection.progress.changed() => {
                    changed.map_err(|_| fault("webrtcbin is gone"))?;
                    self.progressed().await?;
                }
                Some(candidate) = candidates.recv() => self.connection.add_candidate(&candidate.text()),
                Some(line) = self.connection.candidates.recv() => self.tell_late(&line).await,
                _ = tick.tick() => self.ticked()?,
            }
        }
    }

    async fn progressed(&mut self) -> Result<(), PeerError> {
        let progress = self.connection.progress.borrow_and_update().clone();
        if progress.checked && !self.checked {
            self.checked = true;
            let _ = self.setup.events.send(Event::Checked { call: self.setup.call }).await;
        }
        if progress.dtls == Dtls::Connected && self.secured.is_none() {
            self.secure().await?;
        }
        if let Some(failure) = progress.failure(self.secured.is_some()) {
            return Err(failure);
        }
        if progress.latency_changes != self.latency_changes {
            self.latency_changes = progress.latency_changes;
            self.recalculate_latency();
        }
        if progress.first_media && !self.first_media {
            self.first_media = true;
            let _ = self.setup.events.send(Event::FirstMedia { call: self.setup.call }).await;
        }
        Ok(())
    }

    /// DTLS is up. No media flows either way before the certificate turned out to be one that the offer names.
    async fn secure(&mut self) -> Result<(), PeerError> {
        self.connection.verify(&self.setup.offer.fingerprints)?;
        self.incoming.trust();
        if let Some(session) = self.connection.rtp_session() {
            self.feedback.attach(&session);
        }
        let arrived = self.connection.arrivals.packets();
        self.secured = Some(Secured { tap: self.join(), arrived });
        let _ = self.setup.events.send(Event::Secured { call: self.setup.call }).await;
        Ok(())
    }

    fn join(&self) -> Option<Tap> {
        let ssrc = |track| self.pads.iter().find(|pad| pad.track == track).map(|pad| pad.ssrc);
        let (mut video, mut audio) = (None, None);
        for section in &self.setup.plan.sections {
            let fields = |ssrc| RtpFields { payload_type: section.payload_type, ssrc };
            if section.video.is_some() {
                video = ssrc(Track::Video).map(fields);
            } else if let Some(plan) = section.audio {
                audio = ssrc(Track::Audio).map(|ssrc| (fields(ssrc), plan));
            }
        }
        let settings = TapSettings { video, audio };
        if settings.video.is_none() && settings.audio.is_none() {
            return None;
        }
        let resends = answer::resends(&self.setup);
        let sink = PadSink::new(&self.pads, resends, self.feedback.wanted.clone(), self.connection.report.clone());
        Some(self.setup.lease.tap(settings, Box::new(sink)))
    }

    fn recalculate_latency(&self) {
        if self.connection.pipeline.recalculate_latency().is_err() {
            tracing::debug!(call = %self.setup.call, "the latency cannot be recalculated");
        }
    }

    async fn tell_late(&self, line: &str) {
        let (Ok(Some(candidate)), Some(first)) = (Candidate::read(line), self.setup.plan.sections.first()) else {
            return;
        };
        let event = Event::LateCandidate {
            call: self.setup.call,
            candidate: candidate.text(),
            mid: first.mid.clone(),
            index: first.index as u32,
        };
        let _ = self.setup.events.send(event).await;
    }

    fn ticked(&self) -> Result<(), PeerError> {
        let Some(secured) = &self.secured else { return Ok(()) };
        if self.connection.is_silent(secured.arrived) {
            return Err(PeerError::ConsentLost);
        }
        let stats = self.stats(secured);
        // Statistics that find no room are superseded by the next.
        let _ = self.setup.events.try_send(Event::Stats { call: self.setup.call, stats });
        Ok(())
    }

    fn stats(&self, secured: &Secured) -> PeerStats {
        let sent = secured.tap.as_ref().map(Tap::stats).unwrap_or_default();
        let lost =
            |track| self.pads.iter().find(|pad| pad.track == track).map_or(0, |pad| self.feedback.lost(pad.ssrc));
        PeerStats {
            sent_video: TrackStats { lost: lost(Track::Video), ..sent.video },
            sent_audio: TrackStats { lost: lost(Track::Audio), ..sent.audio },
            received_video: self.incoming.video(),
            received_audio: self.incoming.audio(),
            frames_skipped: sent.frames_skipped,
            keyframe_requests: self.requests.load(Ordering::Relaxed),
        }
    }

    /// Taps first, then the pipeline, then the lease.
    async fn down(self) -> Teardown {
        let Self { setup, connection, pads, secured, .. } = self;
        let polite = connection.progress.borrow().dtls == Dtls::Connected;
        let flushed: Vec<gst::Pad> = pads.iter().map(SourcePad::pad).collect();
        drop(pads);
        let teardown = connection
            .close(polite, move || {
                // A push that is stuck in there comes back, and the tap with it.
                flush(&flushed);
                drop(secured);
            })
            .await;
        drop(setup);
        teardown
    }
}
