//! Relays <-> protocol: subscriptions, verification, duplicates, the outbox, the embedded relay.
//!
//! [`start`] connects to every relay and returns a [`Signaling`] to publish with and a channel of what comes in. A relay that is
//! down is tried again for ever and delays nothing.

mod asking;
mod ballot;
mod budget;
mod counters;
mod embedded;
mod health;
mod held;
mod intake;
mod link;
pub mod memory;
mod newest;
mod outbox;
mod pace;
mod recent;
mod status;
mod transport;
mod verdict;
mod visits;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nostr::{Event, EventId, Keys, PublicKey, RelayUrl, ToBech32, Url};
use nostr_sdk::pool::RelayOptions;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::ballot::{Delivery, Undelivered};
pub use self::counters::{Counters, Dropped};
pub use self::embedded::{Embedded, EmbeddedError};
pub use self::health::Health;
pub use self::outbox::PublishError;
use self::outbox::Turn;
pub(crate) use self::recent::Recent;
pub use self::status::RelayStatus;
pub use self::transport::DialError;
pub use self::verdict::{Refusal, Verdict};
use crate::protocol::{Envelope, Outgoing, SessionId, SignalKind};
use crate::sdp::CallerServers;

/// Log targets to be turned off: these crates log whole messages, some of them as errors. Signaling says what matters of them in
/// its own words.
pub const NOISY_LOG_TARGETS: [&str; 2] = ["nostr_relay_pool", "nostr_relay_builder"];

/// nostr-sdk's pause between attempts to connect; after failures the transport adds to it.
const RETRY: Duration = Duration::from_secs(1);
/// How far back the first subscription after a start may reach, in seconds: calls that rang meanwhile are worth knowing for days. A day
/// less than the store remembers events, so that none is taken a second time.
const REACH: u64 = 6 * 24 * 3600;
/// Relays besides ours that one event goes to.
const MAX_VIA: usize = 3;
/// Relays besides ours that one look-up asks.
const MAX_AT: usize = 4;
/// Look-ups at once; more wait.
const LOOK_UPS: usize = 4;
/// Events that may wait for the gateway.
const INCOMING: usize = 256;

/// What signaling remembers across restarts. Implemented by the store; calls are short and may block for a disk write.
pub trait Memory: Send + Sync + 'static {
    /// Whether this event was taken before. Answers wait for this: it must not wait for a disk that is being written.
    fn knows(&self, event: &EventId) -> bool;
    /// Remembers events that were taken, each with its time in unix seconds. What cannot be kept is lost: whoever asks has the last
    /// thousands at hand.
    fn remember(&self, taken: &[(EventId, u64)]);
    /// When the newest of the events was seen, unix seconds: from then on something may have come that nobody was there to see.
    fn newest_sight(&self) -> Option<u64>;
    /// The `created_at` of the newest event of this author and kind on this relay.
    fn clock(&self, author: &PublicKey, kind: SignalKind, relay: &RelayUrl) -> Option<u64>;
    fn set_clock(&self, author: &PublicKey, kind: SignalKind, relay: &RelayUrl, created_at: u64);
}

/// What signaling is told at its start.
pub struct Settings {
    pub relays: Vec<RelayUrl>,
    /// The keys that are called, and that answer. Each authenticates to relays that ask for it (NIP-42).
    pub keys: Vec<Keys>,
    /// At which addresses relays may be that others name: [`Signaling::publish_via`], [`Signaling::latest`].
    pub visits: CallerServers,
    pub memory: Arc<dyn Memory>,
}

/// Why signaling cannot start: the configuration's fault.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("no relay is given")]
    NoRelay,
    #[error("no key is given")]
    NoKey,
    #[error("the relay {relay} cannot be used")]
    Relay {
        relay: RelayUrl,
        #[source]
        source: nostr_sdk::pool::pool::Error,
    },
}

/// A verified event for one of our keys, not seen before, not expired. One that came wrapped is out of its wrap.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub relay: RelayUrl,
    pub envelope: Envelope,
    pub event: Box<Event>,
}

/// A handle to what [`start`] started. When the last one is dropped, everything stops.
#[derive(Clone)]
pub struct Signaling(Arc<Inner>);

struct Inner {
    outbox: outbox::Outbox,
    links: Vec<Arc<link::Link>>,
    visits: visits::Visits,
    keys: HashMap<PublicKey, Keys>,
    look_ups: Semaphore,
    tally: Arc<counters::Tally>,
    relays: watch::Receiver<Vec<RelayStatus>>,
    stop: CancellationToken,
    written: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl fmt::Debug for Signaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signaling").field("relays", &*self.0.relays.borrow()).finish_non_exhaustive()
    }
}

/// Starts connecting to all relays and returns at once. The receiver ends when signaling is shut down.
///
/// # Errors
/// [`StartError`]; a relay that cannot be reached is none.
pub async fn start(settings: Settings) -> Result<(Signaling, mpsc::Receiver<Incoming>), StartError> {
    let Settings { mut relays, keys, visits: reach, memory } = settings;
    let mut seen = HashSet::new();
    relays.retain(|relay| seen.insert(relay.clone()));
    if relays.is_empty() {
        return Err(StartError::NoRelay);
    }
    if keys.is_empty() {
        return Err(StartError::NoKey);
    }
    let stop = CancellationToken::new();
    let tally = Arc::new(counters::Tally::default());
    let (raw, input) = mpsc::channel(intake::WAITING);
    let public = Arc::new(keys.iter().map(Keys::public_key).collect());
    let sieve = intake::Sieve::new(public, Arc::clone(&tally), raw);
    let now = unix_now();
    let (boards, watched) = status::Board::of(&relays, now);
    let away_since = memory.newest_sight().map_or(now, |seen| seen.clamp(now.saturating_sub(REACH), now));
    let links: Vec<Arc<link::Link>> = relays
        .into_iter()
        .zip(boards)
        .map(|(url, board)| link::Link::new(url, board, sieve.clone(), keys.clone(), away_since, stop.child_token()))
        .map(Arc::new)
        .collect();
    let ports = transport::Ports::default();
    for link in &links {
        let port: Arc<dyn transport::Port> = Arc::clone(link) as _;
        ports.insert(Url::from(link.url.clone()), Arc::downgrade(&port));
    }
    let client = nostr_sdk::Client::builder().websocket_transport(transport::Transport(ports.clone())).build();
    // Each of our keys authenticates; nostr-sdk knows one signer.
    client.automatic_authentication(false);
    let pool = client.pool().clone();
    let options = RelayOptions::new().retry_interval(RETRY).adjust_retry_interval(false);
    for link in &links {
        let fault = |source| StartError::Relay { relay: link.url.clone(), source };
        pool.add_relay(&link.url, options.clone()).await.map_err(fault)?;
        let relay = pool.relay(&link.url).await.map_err(fault)?;
        Arc::clone(link).start(relay);
    }
    let visits = visits::Visits {
        pool: pool.clone(),
        options,
        ports,
        sieve,
        ours: links.iter().map(|link| Url::from(link.url.clone())).collect(),
        reach,
        runtime: Handle::current(),
        stop: stop.clone(),
        open: visits::Open::default(),
    };

    let keys: HashMap<PublicKey, Keys> = keys.into_iter().map(|keys| (keys.public_key(), keys)).collect();
    let (output, incoming) = mpsc::channel(INCOMING);
    let written = CancellationToken::new();
    let intake = intake::Intake {
        keys: keys.clone(),
        memory: Arc::clone(&memory),
        tally: Arc::clone(&tally),
        input,
        output,
        written: written.clone(),
    };
    tokio::spawn(intake.run(stop.clone()));
    let stopped = stop.clone();
    tokio::spawn(async move {
        stopped.cancelled().await;
        // Ends the connections and nostr-sdk's tasks.
        pool.shutdown().await;
    });

    let outbox = outbox::Outbox::new(links.clone(), keys.clone(), memory, stop.clone());
    let (look_ups, _stop_on_drop) = (Semaphore::new(LOOK_UPS), stop.clone().drop_guard());
    let inner = Inner { outbox, links, visits, keys, look_ups, tally, relays: watched, stop, written, _stop_on_drop };
    Ok((Signaling(Arc::new(inner)), incoming))
}

impl Signaling {
    /// Queues an event for every relay; never waits.
    ///
    /// # Errors
    /// [`PublishError`]; what relays say comes with the [`Delivery`].
    pub fn publish(&self, outgoing: Outgoing) -> Result<Delivery, PublishError> {
        self.0.outbox.publish(outgoing, &[], Turn::First)
    }

    /// The same, and for the first few relays of `via` too, whether they are ours or not. Those that are not are opened for it, and
    /// stay open and subscribed to for a while: whoever is there may speak there. A few can be open at once; which addresses they may
    /// have is [`Settings::visits`].
    ///
    /// # Errors
    /// [`PublishError`]; what relays say comes with the [`Delivery`].
    pub fn publish_via(&self, outgoing: Outgoing, via: &[RelayUrl]) -> Result<Delivery, PublishError> {
        self.publish_in_turn(outgoing, via, Turn::First)
    }

    /// The same for what was said before and may not have been heard: it goes out when nothing of its kind is waiting that is said for
    /// the first time.
    ///
    /// # Errors
    /// [`PublishError`]; what relays say comes with the [`Delivery`].
    pub fn publish_again(&self, outgoing: Outgoing, via: &[RelayUrl]) -> Result<Delivery, PublishError> {
        self.publish_in_turn(outgoing, via, Turn::Again)
    }

    fn publish_in_turn(&self, outgoing: Outgoing, via: &[RelayUrl], turn: Turn) -> Result<Delivery, PublishError> {
        let keys = self.0.keys.get(&outgoing.from).ok_or(PublishError::ForeignAuthor)?;
        let others = self.0.visits.listening(via, MAX_VIA, keys);
        self.0.outbox.publish(outgoing, &others, turn)
    }

    /// Queues an event that one of our keys signed, of whatever kind, for every relay of ours to keep; never waits. Relays that are
    /// away for long get it when they are back.
    ///
    /// # Errors
    /// [`PublishError`]; what relays say comes with the [`Delivery`].
    pub fn announce(&self, event: &Event) -> Result<Delivery, PublishError> {
        self.0.outbox.announce(event)
    }

    /// Takes back what relays still hold of our side of a call that is over (NIP-09), shortly; never waits.
    pub fn purge(&self, from: &PublicKey, session: SessionId) {
        self.0.outbox.purge(from, session);
    }

    /// The newest event of each of these authors and kinds, as our relays and the first few of `at` have them, within five seconds.
    /// Each is verified. Authors beyond 256 and kinds beyond 16 are left out.
    pub async fn latest(&self, authors: Vec<PublicKey>, kinds: Vec<u16>, at: &[RelayUrl]) -> Vec<Event> {
        // Never closed.
        let _place = self.0.look_ups.acquire().await;
        let links = self.0.links.iter().cloned().chain(self.0.visits.to(at, MAX_AT)).collect();
        newest::newest(links, newest::Wanted::new(authors, kinds)).await
    }

    /// What came in and what was dropped since the start.
    pub fn counters(&self) -> watch::Receiver<Counters> {
        self.0.tally.watch()
    }

    /// Every relay's state, in the order of the settings.
    pub fn relays(&self) -> watch::Receiver<Vec<RelayStatus>> {
        self.0.relays.clone()
    }

    /// Waits until at least one relay is connected.
    pub async fn connected(&self) {
        let mut relays = self.relays();
        // Fails when signaling is gone, and we hold it.
        let _ = relays.wait_for(|all| all.iter().any(|relay| relay.connected)).await;
    }

    /// Ends the connections. Events still waiting are not sent; their deliveries say so.
    pub fn shut_down(&self) {
        self.0.stop.cancel();
    }

    /// After [`Self::shut_down`]: waits until the memory has all events that were taken.
    pub async fn remembered(&self) {
        self.0.written.cancelled().await;
    }
}

/// Unix seconds.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A key as logs show it: enough to tell people apart.
fn short(key: &PublicKey) -> String {
    let mut npub = key.to_bech32().unwrap_or_else(|never| match never {});
    npub.truncate(12);
    npub
}
