//! One recording: from its name to its digest. A task each, so that a disk which hangs holds up nobody else.

use std::sync::Arc;

use nostr::PublicKey;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::folder::NoPlace;
use super::{Going, Shelf, blocking};
use crate::call::Millis;
use crate::gateway::RecordError;
use crate::gateway::clock::Clock;
use crate::gateway::fact::Fact;
use crate::gateway::showing::npub;
use crate::media::recorder::{DiskError, RecordSettings, RecordedTrack, RecordingEnd, RecordingNews};
use crate::media::{self, CallId, LineName};
use crate::protocol::SessionId;
use crate::recording::{
    End, Kind, Names, Record, RecordingId, SIDECAR_VERSION, Side, Sidecar, Track, media_file, part,
};
use crate::store::KeptRecording;

/// How often a sidecar is written anew when only its size has changed, in milliseconds.
const REFRESH: u64 = 10_000;

/// What is to be recorded.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Wanted {
    pub(in crate::gateway) line: LineName,
    pub(in crate::gateway) line_key: PublicKey,
    /// With its other party and its session.
    pub(in crate::gateway) call: Option<(CallId, PublicKey, SessionId)>,
    pub(in crate::gateway) record: Record,
    pub(in crate::gateway) max_length: Option<std::time::Duration>,
}

/// A recording about to begin.
pub(super) struct Recording {
    pub(super) id: RecordingId,
    pub(super) wanted: Wanted,
    pub(super) shelf: Arc<Shelf>,
    pub(super) news: mpsc::Receiver<RecordingNews>,
    /// Why it is stopped, when it was us.
    pub(super) stopped: Arc<std::sync::OnceLock<End>>,
    pub(super) going: Going,
}

/// A file of the recording.
#[derive(Debug, Clone)]
struct Part {
    kept: KeptRecording,
    written: Millis,
}

impl Recording {
    /// Runs to the end. `begun` hears whether there is a recording.
    pub(super) async fn run(mut self, begun: Option<oneshot::Sender<Result<RecordingId, RecordError>>>) {
        let clock = Clock::start();
        let (name, first) = match self.claim(&clock).await {
            Ok(claimed) => claimed,
            Err(error) => {
                self.shelf.facts.record(&Fact::NotRecorded { line: &self.wanted.line, why: &error });
                self.shelf.done_with(self.id);
                if let Some(begun) = begun {
                    let _ = begun.send(Err(RecordError::of(&error)));
                }
                return;
            }
        };
        self.shelf.index(&first.kept).await;
        self.shelf.facts.record(&Fact::RecordingBegan {
            recording: self.id,
            line: &self.wanted.line,
            file: &first.kept.file,
        });
        self.shelf.media.send(media::Command::Record(Box::new(self.settings(&name)))).await;
        if let Some(begun) = begun {
            let _ = begun.send(Ok(self.id));
        }
        let mut closing = JoinSet::new();
        let (last, closed, why) = self.follow(&clock, &name, first, &mut closing).await;
        let end = self.stopped.get().copied().unwrap_or_else(|| end_of(&why));
        let line = self.wanted.line.clone();
        let bytes = self.close(last, closed, end, &clock, &mut closing).await;
        self.shelf.facts.record(&Fact::RecordingEnded { recording: self.id, line: &line, end, why: &why, bytes });
        // It is over for whoever waits; digests and posters are made while nobody does.
        drop(self.going);
        while closing.join_next().await.is_some() {}
    }

    /// A name, a sidecar with what is known at the first second, and its place in the index.
    async fn claim(&self, clock: &Clock) -> Result<(String, Part), NoPlace> {
        let started = clock.now();
        let sidecar = self.sidecar(self.id, 1, started);
        let path = self.shelf.settings.path.path(&Names {
            id: self.id,
            line: &sidecar.line,
            caller: sidecar.caller.as_deref(),
            session: sidecar.session.as_deref(),
            started,
        });
        let shelf = self.shelf.clone();
        let named = sidecar.clone();
        let (format, floor) = (shelf.settings.format, shelf.settings.floor);
        let name = blocking(move || shelf.folder.claim(&path, format, &named, floor)).await??;
        let file = media_file(&name, self.shelf.settings.format);
        Ok((name, Part { kept: KeptRecording { sidecar, file, disk_bytes: 0, poster: false }, written: started }))
    }

    fn sidecar(&self, id: RecordingId, part: u32, started: Millis) -> Sidecar {
        let call = self.wanted.call.as_ref();
        Sidecar {
            version: SIDECAR_VERSION,
            id,
            line: self.wanted.line.0.clone(),
            line_npub: npub(&self.wanted.line_key),
            caller: call.map(|(_, caller, _)| npub(caller)),
            session: call.map(|(_, _, session)| session.to_string()),
            part,
            started,
            ended: None,
            tracks: Vec::new(),
            bytes: 0,
            sha256: None,
            end: End::Open,
        }
    }

    fn settings(&self, name: &str) -> RecordSettings {
        let settings = &self.shelf.settings;
        RecordSettings {
            id: media::recorder::RecordingId(self.id.0),
            line: self.wanted.line.clone(),
            call: self.wanted.call.as_ref().map(|(call, ..)| *call),
            sides: super::sides(self.wanted.record),
            path: self.shelf.folder.path(name),
            container: super::container(settings.format),
            segment: Some(settings.segment),
            max_length: self.wanted.max_length,
        }
    }

    /// Follows what media tells, to the recording's end; its last part, as far as it is closed, and why it ended.
    async fn follow(
        &mut self,
        clock: &Clock,
        name: &str,
        first: Part,
        closing: &mut JoinSet<()>,
    ) -> (Part, Option<Closed>, RecordingEnd) {
        let mut part = first;
        // The part that is done, until it is known whether another follows.
        let mut closed: Option<Closed> = None;
        // Bytes of the parts before.
        let mut before = 0;
        loop {
            // Without a word from media it is gone, and the process with it.
            let news = self.news.recv().await.unwrap_or(RecordingNews::Ended {
                why: RecordingEnd::Shutdown,
                files: 0,
                bytes: 0,
                length: Default::default(),
                lost: 0,
            });
            if let RecordingNews::Ended { why, .. } = news {
                return (part, closed, why);
            }
            if let Some(done) = closed.take_if(|_| !matches!(news, RecordingNews::Started { .. })) {
                before += done.bytes;
                let next = self.next_part(clock, name, part.kept.sidecar.part + 1).await;
                let done_part = std::mem::replace(&mut part, next);
                self.close(done_part, Some(done), End::Continued, clock, closing).await;
            }
            match news {
                RecordingNews::Started { tracks, .. } => {
                    part.kept.sidecar.tracks = tracks_of(&tracks);
                    self.write(&mut part, clock.now()).await;
                }
                RecordingNews::Progress { bytes, tracks, .. } => {
                    let tracks = tracks_of(&tracks);
                    let more = tracks != part.kept.sidecar.tracks;
                    part.kept.sidecar.tracks = tracks;
                    part.kept.sidecar.bytes = bytes.saturating_sub(before);
                    if more || clock.now().since(part.written) >= REFRESH {
                        self.write(&mut part, clock.now()).await;
                    }
                }
                RecordingNews::SegmentClosed { bytes, tracks, .. } => {
                    closed = Some(Closed { bytes, tracks: tracks_of(&tracks), at: clock.now() });
                }
                RecordingNews::Ended { .. } => {}
            }
        }
    }

    async fn next_part(&self, clock: &Clock, name: &str, number: u32) -> Part {
        let now = clock.now();
        let id = self.shelf.ids.next(now);
        self.shelf.busy_with(id);
        let file = media_file(&part(name, number), self.shelf.settings.format);
        let kept = KeptRecording { sidecar: self.sidecar(id, number, now), file, disk_bytes: 0, poster: false };
        let mut part = Part { kept, written: now };
        self.write(&mut part, now).await;
        part
    }

    /// Brings sidecar and index up to date.
    async fn write(&self, part: &mut Part, now: Millis) {
        part.written = now;
        part.kept.disk_bytes = part.kept.sidecar.bytes;
        self.shelf.keep(&part.kept).await;
    }

    /// Says how a part ended, and lets its digest be made; how many bytes it has.
    async fn close(
        &self,
        part: Part,
        closed: Option<Closed>,
        end: End,
        clock: &Clock,
        closing: &mut JoinSet<()>,
    ) -> u64 {
        let mut kept = part.kept;
        let ended = closed.as_ref().map_or_else(|| clock.now(), |closed| closed.at);
        if let Some(Closed { bytes, tracks, .. }) = closed {
            kept.sidecar.bytes = bytes;
            if !tracks.is_empty() {
                kept.sidecar.tracks = tracks;
            }
        }
        kept.sidecar.ended = Some(ended);
        kept.sidecar.end = end;
        let bytes = kept.sidecar.bytes;
        let id = kept.sidecar.id;
        if bytes == 0 {
            // Nothing ever came: there is no recording.
            self.shelf.remove(&kept).await;
            self.shelf.done_with(id);
            return 0;
        }
        kept.disk_bytes = bytes;
        self.shelf.keep(&kept).await;
        let shelf = self.shelf.clone();
        closing.spawn(async move {
            shelf.complete(kept).await;
            shelf.done_with(id);
        });
        bytes
    }
}

/// What media said of a part that is done.
struct Closed {
    bytes: u64,
    tracks: Vec<Track>,
    at: Millis,
}

fn end_of(why: &RecordingEnd) -> End {
    match why {
        RecordingEnd::CallOver => End::HungUp,
        RecordingEnd::Stopped | RecordingEnd::Shutdown => End::Stopped,
        RecordingEnd::MaxLength => End::MaxLength,
        RecordingEnd::Source(_) => End::NoSource,
        RecordingEnd::Disk(DiskError::Full) => End::DiskFloor,
        RecordingEnd::Disk(_) => End::DiskError,
    }
}

pub(super) fn tracks_of(tracks: &[RecordedTrack]) -> Vec<Track> {
    let track = |track: &RecordedTrack| Track {
        side: match track.side {
            media::recorder::Side::Line => Side::Line,
            media::recorder::Side::Caller => Side::Caller,
        },
        kind: match track.kind {
            media::tap::Track::Video => Kind::Video,
            media::tap::Track::Audio => Kind::Audio,
        },
        codec: track.codec.to_string(),
    };
    tracks.iter().map(track).collect()
}
