//! A peer's task: from the first description to the end of the call.

use std::sync::Arc;
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::connection::{Dtls, Ice, fault};
use super::incoming::Incoming;
use super::negotiation::{Described, Negotiation, Renegotiated};
use super::outgoing::PadSink;
use super::path::{Path, Turn};
use super::requests::KeyframeRequests;
use super::rtcp::Feedback;
use super::{Order, PeerSetup};
use crate::media::hub::{Lease, Tap};
use crate::media::servers::{self, Servers};
use crate::media::tap::{RtpFields, TapSettings, Track};
use crate::media::{CallId, Event, PeerError, PeerStats, Teardown, TrackStats};
use crate::sdp::{Agreement, Candidate};

/// From the answer to a restart to a new path: the answer goes over a relay, the checks perhaps through a TURN server that is asked first.
const NEW_PATH: Duration = Duration::from_secs(2);
/// Between two statistics.
const TICK: Duration = Duration::from_secs(1);

/// What the task owns.
struct Running {
    call: CallId,
    lease: Arc<Lease>,
    events: mpsc::Sender<Event>,
    negotiation: Negotiation,
    incoming: Arc<Incoming>,
    requests: Arc<KeyframeRequests>,
    feedback: Arc<Feedback>,
    secured: Option<Secured>,
    /// When a restart of the other side's should have led to a new path.
    new_path: Option<Instant>,
    latency_changes: u32,
    checked: bool,
    first_media: bool,
}

/// The other side's certificate matched.
struct Secured {
    tap: Option<Tap>,
    path: Path,
}

pub(super) async fn run(
    setup: PeerSetup,
    mut candidates: mpsc::Receiver<Candidate>,
    mut orders: mpsc::Receiver<Order>,
    stop: CancellationToken,
) -> Teardown {
    let (call, events) = (setup.call, setup.events.clone());
    let servers = servers::find(&setup.ice, &setup.servers).await;
    // State changes and plugin loading block.
    let running = tokio::task::spawn_blocking(move || assemble(setup, servers)).await;
    let running = running.unwrap_or_else(|_| Err(fault("the peer's making was cut short")));
    let nothing = Teardown { took: Duration::ZERO, leaked: false };
    let (running, failure) = match running {
        Ok(mut running) => {
            let failure = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                error = running.live(&mut candidates, &mut orders) => Some(error),
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

/// Builds the pipeline with its pads, and starts it. Blocks.
///
/// # Errors
/// [`PeerError::GStreamer`]; what was built by then is taken down.
fn assemble(setup: PeerSetup, servers: Servers) -> Result<Running, PeerError> {
    let PeerSetup { call, side, ice, certificate, lease, incoming, events, .. } = setup;
    let requests = Arc::new(KeyframeRequests::default());
    let negotiation = Negotiation::begin(side, ice, servers, certificate, &requests, |connection| {
        incoming.attach(&connection.webrtcbin);
    })?;
    Ok(Running {
        call,
        lease,
        events,
        negotiation,
        incoming,
        requests,
        feedback: Arc::default(),
        secured: None,
        new_path: None,
        latency_changes: 0,
        checked: false,
        first_media: false,
    })
}

impl Running {
    /// Answers or offers, then carries the call until it fails.
    async fn live(
        &mut self,
        candidates: &mut mpsc::Receiver<Candidate>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> PeerError {
        match self.carry(candidates, orders).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn carry(
        &mut self,
        candidates: &mut mpsc::Receiver<Candidate>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<std::convert::Infallible, PeerError> {
        let described = self.negotiation.describe().await?;
        self.tell_description(described).await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let connection = &mut self.negotiation.connection;
            tokio::select! {
                biased;
                changed = connection.progress.changed() => {
                    changed.map_err(|_| fault("webrtcbin is gone"))?;
                    self.progressed().await?;
                }
                Some(order) = orders.recv() => self.obey(order).await?,
                // Those of somebody who has not answered yet wait in their queue.
                Some(candidate) = candidates.recv(), if self.negotiation.agreed.is_some() => {
                    self.negotiation.add_candidate(&candidate);
                }
                () = due(self.new_path) => self.look_for_new_path().await,
                Some(line) = connection.candidates.recv() => self.tell_late(&line).await,
                () = self.requests.asked() => {
                    if let Some(tap) = self.secured.as_ref().and_then(|secured| secured.tap.as_ref()) {
                        tap.request_keyframe();
                    }
                }
                _ = tick.tick() => self.ticked().await?,
            }
        }
    }

    async fn tell_description(&self, described: Described) {
        let call = self.call;
        let event = match described {
            Described::Offer(sdp) => Event::OfferReady { call, sdp },
            Described::Answer(sdp) => Event::AnswerReady { call, sdp },
        };
        let _ = self.events.send(event).await;
    }

    async fn obey(&mut self, order: Order) -> Result<(), PeerError> {
        let call = self.call;
        match order {
            Order::Answer(answer) => {
                let taken = self.negotiation.take_answer(&answer).await?;
                if let Some(agreed) = &self.negotiation.agreed {
                    agreed.require_sending().map_err(PeerError::NoCommonCodec)?;
                }
                if let Err(why) = taken {
                    let _ = self.events.send(Event::AnswerRefused { call, why }).await;
                }
            }
            Order::Renegotiate(offer) => match self.negotiation.renegotiate(&offer)? {
                Ok(Renegotiated { answer, restarts }) => {
                    if restarts {
                        self.new_path = Some(Instant::now() + NEW_PATH);
                    }
                    self.tell_description(Described::Answer(answer)).await;
                }
                Err(why) => drop(self.events.send(Event::NotRenegotiated { call, why }).await),
            },
            Order::Restart => {
                // Before there is anything to restart nothing can be lost.
                if let Some(offer) = self.negotiation.restart() {
                    self.tell_description(Described::Offer(offer)).await;
                }
            }
        }
        Ok(())
    }

    async fn progressed(&mut self) -> Result<(), PeerError> {
        let progress = self.negotiation.connection.progress.borrow_and_update().clone();
        if progress.checked && !self.checked {
            self.checked = true;
            let _ = self.events.send(Event::Checked { call: self.call }).await;
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
            let _ = self.events.send(Event::FirstMedia { call: self.call }).await;
        }
        Ok(())
    }

    /// DTLS is up. No media flows either way before the certificate turned out to be one that the offer names.
    async fn secure(&mut self) -> Result<(), PeerError> {
        let Negotiation { connection, agreed, .. } = &self.negotiation;
        let Some(agreed) = agreed else { return Err(fault("DTLS came up before there was an answer")) };
        connection.verify(&agreed.fingerprints)?;
        let tap = self.join(agreed);
        self.incoming.trust();
        if let Some(session) = connection.rtp_session() {
            self.feedback.attach(&session);
        }
        self.secured = Some(Secured { tap, path: Path::new(connection) });
        let _ = self.events.send(Event::Secured { call: self.call }).await;
        Ok(())
    }

    fn join(&self, agreed: &Agreement) -> Option<Tap> {
        let ssrc = |track| self.negotiation.pads.iter().find(|pad| pad.track == track).map(|pad| pad.ssrc);
        let (mut video, mut audio) = (None, None);
        for section in &agreed.plan.sections {
            let fields = |ssrc| RtpFields { payload_type: section.payload_type, ssrc };
            if let Some(plan) = section.video {
                video = ssrc(Track::Video).map(|ssrc| (fields(ssrc), plan));
            } else if let Some(plan) = section.audio {
                audio = ssrc(Track::Audio).map(|ssrc| (fields(ssrc), plan));
            }
        }
        let settings = TapSettings { video, audio };
        self.log_plan(&settings);
        if settings.video.is_none() && settings.audio.is_none() {
            return None;
        }
        let sink = PadSink::new(
            &self.negotiation.pads,
            agreed.resends,
            self.feedback.wanted.clone(),
            self.negotiation.connection.report.clone(),
        );
        Some(self.lease.tap(settings, Box::new(sink)))
    }

    /// What becomes of the line's media in this call, and why.
    fn log_plan(&self, settings: &TapSettings) {
        let streams = self.lease.known();
        let video = streams.video.as_ref().map_or_else(String::new, |stream| match settings.video {
            Some((_, plan)) => plan.words(&stream.codec),
            None => format!("{} is not sent: the other side does not take it", stream.codec.name()),
        });
        let audio = streams.audio.as_ref().map_or_else(String::new, |stream| match settings.audio {
            Some((_, plan)) => plan.words(&stream.codec),
            None => format!("{} is not sent: the other side does not take it", stream.codec.name()),
        });
        tracing::info!(call = %self.call, video, audio, "what the other side gets");
    }

    fn recalculate_latency(&self) {
        if self.negotiation.connection.pipeline.recalculate_latency().is_err() {
            tracing::debug!(call = %self.call, "the latency cannot be recalculated");
        }
    }

    async fn look_for_new_path(&mut self) {
        self.new_path = None;
        if self.negotiation.connection.progress.borrow().ice != Ice::Connected {
            let _ = self.events.send(Event::NoNewPath { call: self.call }).await;
        }
    }

    async fn tell_late(&mut self, line: &str) {
        let Some((candidate, mid, index)) = self.negotiation.late(line) else { return };
        let event = Event::LateCandidate { call: self.call, candidate: candidate.text(), mid, index };
        let _ = self.events.send(event).await;
    }

    async fn ticked(&mut self) -> Result<(), PeerError> {
        let Some(secured) = &mut self.secured else { return Ok(()) };
        let call = self.call;
        match secured.path.look(&self.negotiation.connection) {
            Some(Turn::Lost) => drop(self.events.send(Event::PathLost { call }).await),
            Some(Turn::Found) => drop(self.events.send(Event::PathFound { call }).await),
            Some(Turn::Left) => return Err(PeerError::ClosedByCaller),
            Some(Turn::Gone) => return Err(PeerError::ConsentLost),
            None => {}
        }
        if let Some(secured) = &self.secured {
            let stats = self.stats(secured);
            // Statistics that find no room are superseded by the next.
            let _ = self.events.try_send(Event::Stats { call, stats });
        }
        Ok(())
    }

    fn stats(&self, secured: &Secured) -> PeerStats {
        let sent = secured.tap.as_ref().map(Tap::stats).unwrap_or_default();
        let lost = |track| {
            self.negotiation.pads.iter().find(|pad| pad.track == track).map_or(0, |pad| self.feedback.lost(pad.ssrc))
        };
        PeerStats {
            sent_video: TrackStats { lost: lost(Track::Video), ..sent.video },
            sent_audio: TrackStats { lost: lost(Track::Audio), ..sent.audio },
            received_video: self.incoming.video(),
            received_audio: self.incoming.audio(),
            frames_skipped: sent.frames_skipped,
            keyframe_requests: self.requests.count(),
        }
    }

    /// Taps first, then the pipeline, then the lease.
    async fn down(self) -> Teardown {
        let Self { negotiation: Negotiation { connection, pads, .. }, secured, lease, .. } = self;
        let teardown = connection.close(true, pads, secured).await;
        drop(lease);
        teardown
    }
}

/// Pends for ever without a deadline.
async fn due(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
