//! A caller's task: from its first description to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::receive::{Arrived, Receiver};
use super::recorder::Recording;
use super::test_media::TestMedia;
use super::{CallerCommand, CallerEvent, CallerSettings, CallerStats, Received, test_media};
use crate::endpoint::Streams;
use crate::media::certificate::Certificate;
use crate::media::peer::connection::{Dtls, fault};
use crate::media::peer::negotiation::{Described, Negotiation, Side};
use crate::media::peer::outgoing::Format;
use crate::media::peer::path::{Path, Turn};
use crate::media::servers::{self, Servers};
use crate::media::{PeerError, Teardown, TrackStats};
use crate::sdp::{CallerTrack, MediaKind, Offer, plan, viewing_plan};

const TICK: Duration = Duration::from_secs(1);

struct Calling {
    negotiation: Negotiation,
    receiver: Arc<Receiver>,
    arrived: watch::Receiver<Arrived>,
    told: Arrived,
    recording: Option<Arc<Recording>>,
    events: mpsc::Sender<CallerEvent>,
    /// There since the certificate matched.
    path: Option<Path>,
    test_media: Vec<TestMedia>,
    last: (Instant, CallerStats),
    latency_changes: u32,
}

pub(super) async fn run(
    settings: CallerSettings,
    offer: Option<Box<Offer>>,
    certificate: Arc<Certificate>,
    mut commands: mpsc::Receiver<CallerCommand>,
    events: mpsc::Sender<CallerEvent>,
    end: CancellationToken,
    vanish: CancellationToken,
) {
    let to_task = events.clone();
    let servers = servers::find(&settings.ice, &[]).await;
    let assembled = tokio::task::spawn_blocking(move || assemble(settings, servers, offer, certificate, to_task)).await;
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
        carried = calling.carry(&mut commands) => match carried {
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
    offer: Option<Box<Offer>>,
    certificate: Arc<Certificate>,
    events: mpsc::Sender<CallerEvent>,
) -> Result<Calling, PeerError> {
    let recording = match &settings.record {
        Some(path) => Some(Arc::new(Recording::open(path)?)),
        None => None,
    };
    let side = side(&settings, offer)?;
    let receiver = Arc::new(Receiver::new(settings.units.clone(), recording.clone()));
    let jitter = u32::try_from(settings.jitter.as_millis()).unwrap_or(u32::MAX);
    let negotiation = Negotiation::begin(side, settings.ice, servers, certificate, &Arc::default(), |connection| {
        connection.webrtcbin.set_property("latency", jitter);
        if jitter > 0 {
            connection.ask_for_lost_packets();
        }
        receiver.attach(&connection.pipeline, &connection.webrtcbin);
    })?;
    Ok(Calling {
        negotiation,
        arrived: receiver.arrived.subscribe(),
        receiver,
        told: Arrived::default(),
        recording,
        events,
        path: None,
        test_media: Vec::new(),
        last: (Instant::now(), CallerStats::default()),
        latency_changes: 0,
    })
}

/// What we want: to see and hear any line, and to send test media if asked.
fn side(settings: &CallerSettings, offer: Option<Box<Offer>>) -> Result<Side, PeerError> {
    let Some(mut offer) = offer else {
        let mut plan = viewing_plan(settings.video, settings.audio, settings.send_test_media);
        let pictures = plan.sections.iter_mut().filter(|section| section.kind == MediaKind::Video);
        for section in pictures.filter(|_| settings.h264_only) {
            section.codecs.retain(|offered| offered.track == CallerTrack::H264);
        }
        return Ok(Side::Offering { plan });
    };
    for section in &mut offer.sections {
        if settings.h264_only && section.kind == MediaKind::Video {
            section.codecs.retain(|codec| codec.track() == Some(CallerTrack::H264));
        }
        section.takeable &= match section.kind {
            MediaKind::Video => settings.video,
            _ => settings.audio,
        };
    }
    let streams = if settings.send_test_media { test_media::streams() } else { Streams::default() };
    // A line that wants to hear nothing is none that we cannot hear.
    let plan = plan(&offer, &streams).or_else(|_| plan(&offer, &Streams::default()));
    Ok(Side::Answering { plan: plan.map_err(PeerError::NoCommonCodec)?, offer })
}

impl Calling {
    async fn carry(
        &mut self,
        commands: &mut mpsc::Receiver<CallerCommand>,
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
                Ok(()) = self.arrived.changed() => self.tell_arrival().await,
                Some(command) = commands.recv() => self.obey(command).await?,
                Some(line) = connection.candidates.recv() => self.tell_late(&line).await,
                _ = tick.tick() => self.ticked().await?,
            }
        }
    }

    async fn tell_description(&self, described: Described) {
        let event = match described {
            Described::Offer(text) => CallerEvent::Offer(text),
            Described::Answer(text) => CallerEvent::Answer(text),
        };
        let _ = self.events.send(event).await;
    }

    async fn obey(&mut self, command: CallerCommand) -> Result<(), PeerError> {
        match command {
            CallerCommand::Answer(answer) => {
                if let Err(why) = self.negotiation.take_answer(&answer).await? {
                    let _ = self.events.send(CallerEvent::AnswerRefused(why)).await;
                }
            }
            CallerCommand::Offer(offer) => match self.negotiation.renegotiate(&offer)? {
                Ok(renegotiated) => self.tell_description(Described::Answer(renegotiated.answer)).await,
                Err(why) => drop(self.events.send(CallerEvent::NotRenegotiated(why)).await),
            },
            CallerCommand::Restart => {
                if let Some(offer) = self.negotiation.restart() {
                    self.tell_description(Described::Offer(offer)).await;
                }
            }
            CallerCommand::Candidate(candidate) => self.negotiation.add_candidate(&candidate),
        }
        Ok(())
    }

    async fn progressed(&mut self) -> Result<(), PeerError> {
        let progress = self.negotiation.connection.progress.borrow_and_update().clone();
        if progress.dtls == Dtls::Connected && self.path.is_none() {
            self.secure().await?;
        }
        if let Some(failure) = progress.failure(self.path.is_some()) {
            return Err(failure);
        }
        if progress.latency_changes != self.latency_changes {
            self.latency_changes = progress.latency_changes;
            let _ = self.negotiation.connection.pipeline.recalculate_latency();
        }
        Ok(())
    }

    /// As on the answering side: no media before the certificate turned out to be the right one.
    async fn secure(&mut self) -> Result<(), PeerError> {
        let Negotiation { connection, agreed, pads, .. } = &self.negotiation;
        let Some(agreed) = agreed else { return Err(fault("DTLS came up before there was an answer")) };
        connection.verify(&agreed.fingerprints)?;
        self.receiver.incoming.trust();
        for section in agreed.plan.sections.iter().filter(|section| section.direction.sends()) {
            let Some(&(payload_type, track)) = section.receive.first() else { continue };
            let format = Format::of(track);
            if let Some(pad) = pads.iter().find(|pad| pad.track == format.track) {
                self.test_media.push(TestMedia::start(format, payload_type, pad.ssrc, pad.pad())?);
            }
        }
        self.path = Some(Path::new(connection));
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

    async fn tell_late(&mut self, line: &str) {
        if let Some((candidate, mid, index)) = self.negotiation.late(line) {
            let event = CallerEvent::LateCandidate { candidate: candidate.text(), mid, index };
            let _ = self.events.send(event).await;
        }
    }

    async fn ticked(&mut self) -> Result<(), PeerError> {
        let Some(path) = &mut self.path else { return Ok(()) };
        match path.look(&self.negotiation.connection) {
            Some(Turn::Lost) => drop(self.events.send(CallerEvent::PathLost).await),
            Some(Turn::Found) => drop(self.events.send(CallerEvent::PathFound).await),
            Some(Turn::Left) => return Err(PeerError::ClosedByCaller),
            Some(Turn::Gone) => return Err(PeerError::ConsentLost),
            None => {}
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
        let Self { negotiation: Negotiation { connection, pads, .. }, receiver, recording, events, test_media, .. } =
            self;
        let teardown = connection.close(polite, pads, test_media).await;
        drop(receiver);
        let recorded = match recording {
            Some(recording) => tokio::task::spawn_blocking(move || recording.finish()).await.ok().flatten(),
            None => None,
        };
        let _ = events.send(CallerEvent::Ended { teardown, recorded }).await;
    }
}
