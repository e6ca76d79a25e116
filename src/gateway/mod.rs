//! The supervisor, one session task per call, admission and drain; and dialling, the calling side.
//!
//! Reaches media and signaling through their commands and events, and knows neither GStreamer nor relays.

mod announce;
mod board;
mod clock;
mod dial;
mod fact;
mod follows;
mod guests;
mod missed;
mod parking;
mod race;
mod recordings;
mod ring;
mod session;
mod showing;
mod supervisor;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nostr::{Keys, PublicKey};
use rand::RngCore as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub use dial::{DialEnd, DialError, DialEvent, DialSettings, Dialled, dial};
pub(crate) use recordings::Folder as RecordingFolder;
pub use recordings::{DeleteError, RecordError, RecordingFile};
pub use ring::{DEFAULT_RINGS, MAX_RING_RELAYS, MAX_RUNG, RINGS, Ring, RingError};

use self::announce::Announced;
use self::board::Board;
use self::clock::Clock;
use self::fact::Facts;
use self::follows::Follows;
use self::guests::Guests;
use self::recordings::Recordings;
use self::session::Surroundings;
use self::showing::{access_view, line_view, relay_view};
use self::supervisor::{Ask, Inlets, Supervisor};
use self::view::{AccessView, CallView, LineView, RelayView};
use crate::call::{AccessPolicy, Followed, Limits, Timing};
use crate::config;
use crate::endpoint::Endpoint;
use crate::media::{self, CallId, IceSettings, LineName, LineSettings, Media};
use crate::protocol::SessionId;
use crate::recording::Record;
use crate::sdp::CallerServers;
use crate::signaling::{self, Signaling};
use crate::store::{Store, StoreError};

/// How many questions to the supervisor wait at once: they come from people.
const ASKS: usize = 16;

/// How long a shutdown waits for the disk, and for relays to take the last `call_end`s: a relay that is up answers within a round trip, and paced
/// events of one line are 150 ms apart.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the gateway is told at its start.
pub struct Settings {
    pub lines: Vec<Line>,
    pub limits: Limits,
    pub ice: IceSettings,
    pub relays: Vec<nostr::RelayUrl>,
    /// Those of them that an announced line says it is on: others reach them.
    pub announced: Vec<nostr::RelayUrl>,
    /// Which of the relays that callers name in their offers are answered through.
    pub caller_relays: CallerServers,
    pub recording: config::Recording,
    pub store: Arc<Store>,
}

/// A line: a key, what it connects to, and who may call.
pub struct Line {
    pub name: LineName,
    pub keys: Keys,
    pub endpoint: Endpoint,
    pub policy: AccessPolicy,
    /// Whose media is recorded in its calls.
    pub record: Record,
    /// Its name and relays are published.
    pub announce: bool,
    /// How long the source stays open without callers.
    pub idle: Duration,
    pub keep_warm: bool,
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Media(#[from] media::StartError),
    #[error(transparent)]
    Signaling(#[from] signaling::StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A key as people know it.
pub(crate) fn npub(key: &PublicKey) -> String {
    showing::npub(key)
}

/// Who may call by a policy alone, without what only a running gateway knows.
pub fn who_may_call(policy: &AccessPolicy) -> AccessView {
    access_view(policy, Clock::start().now())
}

/// A handle to the running gateway; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    asks: mpsc::Sender<Ask>,
    board: Arc<Board>,
    facts: Arc<Facts>,
    signaling: Signaling,
    draining: watch::Sender<bool>,
    /// Each line's key, and who may call it, as the configuration says; whoever else may, is in `guests`.
    policies: Arc<BTreeMap<String, (PublicKey, AccessPolicy)>>,
    guests: watch::Receiver<Guests>,
    followed: watch::Receiver<Arc<Followed>>,
    recordings: Recordings,
}

/// The running gateway's tasks.
pub struct Running {
    supervisor: JoinHandle<()>,
    media: Media,
    signaling: Signaling,
    deliveries: TaskTracker,
}

/// Starts media, signaling and the supervisor.
///
/// # Errors
/// [`StartError`]: a missing plugin, a relay address of no use.
pub async fn start(settings: Settings) -> Result<(Gateway, Running), StartError> {
    let facts = Arc::new(Facts::default());
    let board = Arc::new(Board::default());
    let (media, media_events) =
        media::start(media::Settings { lines: settings.lines.iter().map(line_settings).collect(), ice: settings.ice })?;
    let (signaling, incoming) = signaling::start(signaling::Settings {
        relays: settings.relays.clone(),
        keys: settings.lines.iter().map(|line| line.keys.clone()).collect(),
        memory: settings.store.clone(),
        visits: match settings.caller_relays {
            // Lists of relays are looked up all the same.
            CallerServers::Never | CallerServers::Public => CallerServers::Public,
            CallerServers::Any => CallerServers::Any,
        },
    })
    .await?;
    for line in &settings.lines {
        board.show_line(line.name.clone(), line_view(line, &settings.relays));
    }
    let policies = settings
        .lines
        .iter()
        .map(|line| (line.name.0.clone(), (line.keys.public_key(), line.policy.clone())))
        .collect();
    let (guests_to, guests) = watch::channel(Guests::of_store(&settings.store)?);
    tokio::spawn(guests::keep(settings.store.clone(), guests_to));
    let authors = settings.lines.iter().flat_map(|line| line.policy.follows_of.keys()).copied().collect();
    let (follows, followed) = Follows::of_store(settings.store.clone(), authors)?;
    let asked = follows.asked();
    tokio::spawn(follows.keep(signaling.clone()));
    let announced = settings.lines.iter().filter(|line| line.announce);
    let announced = announced.map(|line| Announced { name: line.name.0.clone(), keys: line.keys.clone() }).collect();
    tokio::spawn(announce::announce(announced, settings.announced, signaling.clone()));
    let record = settings.lines.iter().map(|line| (line.name.clone(), line.record)).collect();
    let recordings =
        recordings::start(settings.recording, record, settings.store.clone(), media.clone(), facts.clone())?;
    let lines = settings
        .lines
        .into_iter()
        .map(|line| supervisor::Line { name: line.name, keys: line.keys, policy: line.policy })
        .collect();
    let deliveries = TaskTracker::new();
    let around = Surroundings {
        media: media.clone(),
        signaling: signaling.clone(),
        caller_relays: settings.caller_relays != CallerServers::Never,
        store: settings.store,
        facts: facts.clone(),
        board: board.clone(),
        recordings: recordings.clone(),
        deliveries: deliveries.clone(),
        heard_at: ring::heard_at(&settings.relays),
    };
    let (asks_to, asks) = mpsc::channel(ASKS);
    let (draining, drain) = watch::channel(false);
    let supervisor = Supervisor::new(lines, settings.limits, Timing::default(), asked, around);
    let supervisor = tokio::spawn(supervisor.run(Inlets {
        incoming,
        media: media_events,
        asks,
        guests: guests.clone(),
        followed: followed.clone(),
        drain,
    }));
    let policies = Arc::new(policies);
    let gateway = Gateway {
        asks: asks_to,
        board,
        facts,
        signaling: signaling.clone(),
        draining,
        policies,
        guests,
        followed,
        recordings,
    };
    Ok((gateway, Running { supervisor, media, signaling, deliveries }))
}

/// A name for a call that we make.
fn new_session() -> SessionId {
    let mut bytes = [0u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.parse().expect("hex digits are a session id") // invariant: 32 printable characters
}

fn line_settings(line: &Line) -> LineSettings {
    LineSettings {
        name: line.name.clone(),
        endpoint: line.endpoint.clone(),
        idle: line.idle,
        keep_warm: line.keep_warm,
    }
}

impl Gateway {
    /// Every line, what its source is doing, and who may call it.
    pub fn lines(&self) -> Vec<LineView> {
        let (now, guests) = (Clock::start().now(), self.guests.borrow().clone());
        let followed = self.followed.borrow().clone();
        let mut lines = self.board.lines();
        for line in &mut lines {
            if let Some((key, policy)) = self.policies.get(&line.name) {
                let followed = followed.clone();
                let policy = AccessPolicy { invited: guests.invited_to(key), followed, ..policy.clone() };
                line.access = access_view(&policy, now);
            }
        }
        lines
    }

    /// Calls that ended lately, then those that are up.
    pub fn calls(&self) -> Vec<CallView> {
        self.board.calls()
    }

    /// Every relay, in the order of the settings.
    pub fn relays(&self) -> Vec<RelayView> {
        self.signaling.relays().borrow().iter().map(relay_view).collect()
    }

    /// What was counted since the start, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut counts = self.facts.counts();
        let signaling = self.signaling.counters().borrow().clone();
        counts.insert("events_taken".to_owned(), signaling.taken);
        for (reason, count) in signaling.dropped {
            *counts.entry(format!("dropped_{reason}")).or_default() += count;
        }
        counts
    }

    /// Whether it is shutting down and takes no more calls.
    pub fn draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Ends a call; false when there is no such call.
    pub async fn hang_up(&self, call: CallId) -> bool {
        let (done, answer) = oneshot::channel();
        if self.asks.send(Ask::HangUp { call, done }).await.is_err() {
            return false;
        }
        answer.await.unwrap_or(false)
    }

    /// Takes no more calls and hangs up those that are: [`Running::ended`] tells when it is done.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }
}

impl Running {
    /// Waits until the gateway has ended: it has drained, what it sent is with the relays or has had its time, and media is down.
    /// Without [`Gateway::drain`] it ends only by a fault.
    pub async fn ended(self) {
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "the supervisor failed");
        }
        self.deliveries.close();
        if tokio::time::timeout(FAREWELL, self.deliveries.wait()).await.is_err() {
            tracing::warn!(events = self.deliveries.len(), "left without a relay's word on the last events");
        }
        self.signaling.shut_down();
        self.media.shutdown().await;
        if tokio::time::timeout(FAREWELL, self.signaling.remembered()).await.is_err() {
            tracing::warn!("left before the last events were written down: the disk is too slow");
        }
    }
}
