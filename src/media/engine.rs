//! The media actor: one task owns the sources (by line) and the leases and peers (by call). It never waits for GStreamer or for a
//! reader of events: what takes time has a task of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificate::Certificate;
use super::hub::Lease;
use super::peer::incoming::Incoming;
use super::peer::{self, Order, Peer, PeerSetup, Side};
use super::recorder::{
    self, PictureError, RecordSettings, Recording, RecordingEnd, RecordingId, RecordingNews, SnapshotError,
};
use super::source::Source;
use super::{
    CallId, Command, Event, IceSettings, LineName, PeerError, PluginError, Settings, SourceError, Teardown, plugins,
};
use crate::sdp::IceServer;

/// Commands that wait for the actor, which takes microseconds for each: a full queue makes the sender wait.
const COMMAND_QUEUE: usize = 256;
/// Events that wait for the gateway. When it is full those that matter wait, each in its own task; statistics are dropped.
const EVENT_QUEUE: usize = 1024;

/// Snapshots that are being taken at most: each decodes a picture.
const SNAPSHOTS: usize = 4;
/// How long a shutdown takes at most: a peer that is still being made, and then its teardown, which has a deadline of 5 s.
const SHUTDOWN: Duration = Duration::from_secs(8);

/// Why media cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Plugins(#[from] PluginError),
    #[error("no certificate can be made: {0}")]
    Certificate(String),
}

/// A handle to the actor. Dropping the last one shuts it down, without waiting.
#[derive(Debug, Clone)]
pub struct Media {
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Media {
    /// Sends a command; waits while the queue is full. After [`Media::shutdown`] commands are ignored.
    pub async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::debug!("a command came after the shutdown");
        }
    }

    /// Closes every call and source, and waits for it, within reason: GStreamer can hang.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        if tokio::time::timeout(SHUTDOWN, self.tasks.wait()).await.is_err() {
            tracing::error!(tasks = self.tasks.len(), "media did not come down within its deadline");
        }
    }
}

/// Starts the actor. Must be called within a tokio runtime. The receiver has to be read.
///
/// # Errors
/// [`StartError`].
pub fn start(settings: Settings) -> Result<(Media, mpsc::Receiver<Event>), StartError> {
    plugins::init()?;
    let certificate = Arc::new(Certificate::make().map_err(|error| StartError::Certificate(error.to_string()))?);
    let (events, told) = mpsc::channel(EVENT_QUEUE);
    let (commands, taken) = mpsc::channel(COMMAND_QUEUE);
    let lines = settings.lines.into_iter();
    let sources = lines.map(|line| (line.name.clone(), Source::of(line, events.clone()))).collect();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let actor = Actor {
        sources,
        calls: HashMap::new(),
        recordings: HashMap::new(),
        snapshots: Arc::new(Semaphore::new(SNAPSHOTS)),
        ice: settings.ice,
        certificate: certificate.clone(),
        events,
        tasks: tasks.clone(),
    };
    tasks.spawn(actor.run(taken, stop.clone()));
    tasks.spawn(async move {
        if let Err(error) = peer::warm_up(certificate).await {
            tracing::error!(%error, "no peer can be made");
        }
    });
    Ok((Media { commands, stop, tasks }, told))
}

struct Actor {
    sources: HashMap<LineName, Source>,
    calls: HashMap<CallId, Held>,
    recordings: HashMap<RecordingId, Recording>,
    snapshots: Arc<Semaphore>,
    ice: IceSettings,
    certificate: Arc<Certificate>,
    events: mpsc::Sender<Event>,
    /// What has to end before a shutdown is done.
    tasks: TaskTracker,
}

/// What a call holds.
struct Held {
    lease: Arc<Lease>,
    /// The caller's media, also before there is a peer.
    incoming: Arc<Incoming>,
    peer: Option<Peer>,
    /// Stops waiting for the source.
    stop: CancellationToken,
}

impl Actor {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => break,
                },
            }
        }
        for recording in self.recordings.values() {
            recording.stop(RecordingEnd::Shutdown);
        }
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for call in calls {
            self.close(call);
        }
        self.tasks.close();
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::OpenSource { call, line } => self.open_source(call, &line),
            Command::OpenPeer { call, offer, plan, servers } => {
                self.open_peer(call, Side::Answering { offer, plan }, servers);
            }
            Command::OfferPeer { call, plan } => self.open_peer(call, Side::Offering { plan }, Vec::new()),
            Command::TakeAnswer { call, answer } => {
                if let Some(peer) = self.peer(call) {
                    peer.order(Order::Answer(answer));
                }
            }
            Command::Renegotiate { call, offer } => {
                if let Some(peer) = self.peer(call) {
                    peer.order(Order::Renegotiate(offer));
                }
            }
            Command::Restart { call } => {
                if let Some(peer) = self.peer(call) {
                    peer.order(Order::Restart);
                }
            }
            Command::AddCandidate { call, candidate } => {
                if let Some(peer) = self.peer(call) {
                    peer.add_candidate(candidate);
                }
            }
            Command::Record(settings) => self.record(*settings),
            Command::StopRecording { id } => {
                if let Some(recording) = self.recordings.remove(&id) {
                    recording.stop(RecordingEnd::Stopped);
                }
            }
            Command::Snapshot { line, reply } => self.snapshot(&line, reply),
            Command::Close { call } => self.close(call),
        }
    }

    fn peer(&self, call: CallId) -> Option<&Peer> {
        self.calls.get(&call)?.peer.as_ref()
    }

    fn open_peer(&mut self, call: CallId, side: Side, servers: Vec<IceServer>) {
        let Some(held) = self.calls.get_mut(&call) else {
            let error = PeerError::GStreamer("the call holds no source".to_owned());
            return self.tell(Event::PeerFailed { call, error });
        };
        // A second one for the same call is ignored: a call has one peer.
        if held.peer.is_none() {
            held.peer = Some(Peer::open(PeerSetup {
                call,
                side,
                servers,
                ice: self.ice.clone(),
                certificate: self.certificate.clone(),
                lease: held.lease.clone(),
                incoming: held.incoming.clone(),
                events: self.events.clone(),
            }));
        }
    }

    fn open_source(&mut self, call: CallId, line: &LineName) {
        if self.calls.contains_key(&call) {
            return;
        }
        let Some(source) = self.sources.get(line) else {
            return self.tell(Event::SourceFailed { call, error: SourceError::NoSuchLine });
        };
        let lease = Arc::new(source.lease());
        let stop = CancellationToken::new();
        self.calls
            .insert(call, Held { lease: lease.clone(), incoming: Arc::default(), peer: None, stop: stop.clone() });
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = lease.streams() => opened,
            };
            let end = lease.end();
            drop(lease);
            let is_open = opened.is_ok();
            let event = match opened {
                Ok(streams) => Event::SourceReady { call, streams },
                Err(error) => Event::SourceFailed { call, error },
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = events.send(event) => {}
            }
            if is_open {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    end = end => {
                        let _ = events.send(Event::SourceEnded { call, end }).await;
                    }
                }
            }
        });
    }

    fn record(&mut self, settings: RecordSettings) {
        self.recordings.retain(|_, recording| !recording.is_over());
        let id = settings.id;
        if self.recordings.contains_key(&id) {
            return;
        }
        let lease = match settings.call {
            // The call's own: a recording is no further caller.
            Some(call) => {
                let held = self.calls.get(&call);
                held.map(|held| (held.lease.clone(), Some(held.incoming.clone()))).ok_or(RecordingEnd::CallOver)
            }
            None => {
                let source = self.sources.get(&settings.line).ok_or(RecordingEnd::Source(SourceError::NoSuchLine));
                source.map(|source| {
                    let lease = source.lease();
                    lease.go();
                    (Arc::new(lease), None)
                })
            }
        };
        match lease {
            Ok((lease, incoming)) => {
                let recording = recorder::begin(settings, lease, incoming, self.events.clone(), &self.tasks);
                self.recordings.insert(id, recording);
            }
            Err(why) => {
                let news = RecordingNews::Ended { why, files: 0, bytes: 0, length: Duration::ZERO, lost: 0 };
                self.tell(Event::Recording { id, news });
            }
        }
    }

    fn snapshot(&mut self, line: &LineName, mut reply: oneshot::Sender<Result<Vec<u8>, SnapshotError>>) {
        let Some(source) = self.sources.get(line) else {
            let _ = reply.send(Err(SourceError::NoSuchLine.into()));
            return;
        };
        let Ok(turn) = self.snapshots.clone().try_acquire_owned() else {
            let _ = reply.send(Err(PictureError::Busy.into()));
            return;
        };
        let lease = source.lease();
        lease.go();
        self.tasks.spawn(async move {
            let taken = tokio::select! {
                biased;
                () = reply.closed() => return,
                taken = recorder::snapshot(lease) => taken,
            };
            drop(turn);
            let _ = reply.send(taken);
        });
    }

    /// Always answered, also for a call that holds nothing.
    fn close(&mut self, call: CallId) {
        for recording in self.recordings.values().filter(|recording| recording.call == Some(call)) {
            recording.stop(RecordingEnd::CallOver);
        }
        let held = self.calls.remove(&call);
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let mut teardown = Teardown { took: Duration::ZERO, leaked: false };
            if let Some(Held { lease, peer, stop, .. }) = held {
                stop.cancel();
                if let Some(peer) = peer {
                    teardown = peer.close().await;
                }
                drop(lease);
            }
            let _ = events.send(Event::Closed { call, teardown }).await;
        });
    }

    /// Sends an event from a task of its own: the gateway may be waiting for us to take a command.
    fn tell(&self, event: Event) {
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let _ = events.send(event).await;
        });
    }
}
