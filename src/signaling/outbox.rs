//! Publishing: one lane for each author, kind and relay, in which events go out one at a time, in order, paced.
//!
//! Lanes are independent of each other: a slow relay delays no other relay, and a busy line no other line. An event is signed when
//! its turn comes, because only then its `created_at` is known. The first lane to have its turn signs for all; one for which that
//! stamp is too old signs anew. So receivers mostly see one event id on all relays, but must not count on it.
//!
//! A wrapped event is neither replaced nor kept: it waits for no other, goes out in a task of its own, and relays that say no `OK` to
//! ephemeral events are taken at their silence.
//!
//! `OK` is not delivery. To publish an answer again when no STUN check follows it, publish it again: the lane signs it anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nostr::secp256k1::rand::rngs::OsRng;
use nostr::{Event, Keys, PublicKey, RelayUrl};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::ballot::{Ballot, Delivery, Mail};
use super::held::Holdings;
use super::link::Link;
use super::pace::{Now, Pace, Slot};
use super::verdict::{Next, Refusal, Tries, Verdict};
use super::{Memory, short, unix_now};
use crate::protocol::{self, Dialect, Outgoing, SealError, SessionId, SignalKind};

/// Events that may wait in one lane: ten seconds' worth at its pace. When it is full the event is not taken for that relay.
const WAITING: usize = 64;
/// Wrapped events that may be on their way at once, over all relays.
const WRAPPED: usize = 256;
/// How long an event waits for a relay that is not connected, from when it was published. Relays that restart are back sooner;
/// for one that is dead the caller should be told.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Announcements that may be on their way at once, over all relays.
const ANNOUNCEMENTS: usize = 64;
/// Calls that may be taken back at once.
const PURGES: usize = 64;
/// How long an announcement waits for a relay that is not connected: there is no hurry.
const ANNOUNCING_PATIENCE: Duration = Duration::from_secs(3600);
/// The pause before an announcement that a relay did not keep is sent again.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);
/// How long after the end of a call what relays hold of it is taken back.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// The pause when the connection ended between looking at it and using it.
const BLINK: Duration = Duration::from_millis(200);

/// Why an event was not taken for publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("the event's author is none of our keys")]
    ForeignAuthor,
    #[error("too many events of this author and kind are waiting, for every relay")]
    QueueFull,
    #[error("signaling is shut down")]
    ShutDown,
}

/// What is published, and its newest signed form.
#[derive(Debug)]
struct Letter {
    outgoing: Outgoing,
    sealed: Mutex<Option<Event>>,
}

impl Letter {
    /// The event for a slot that is open now: signed before by another lane, or stamped `created_at` and signed here.
    fn seal(&self, pace: &Pace, created_at: u64, now: Now, keys: &Keys) -> Result<Event, SealError> {
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = sealed.as_ref()
            && pace.fits(event.created_at.as_secs(), now)
        {
            return Ok(event.clone());
        }
        let event = protocol::seal(&self.outgoing, keys, created_at, &mut OsRng)?;
        *sealed = Some(event.clone());
        Ok(event)
    }
}

/// One event's way to one relay. Whatever becomes of it, exactly one verdict is cast.
#[derive(Debug)]
struct Job {
    letter: Arc<Letter>,
    published: Instant,
    /// How long the event waits for a connection to the relay.
    patience: Duration,
    relay: RelayUrl,
    ballot: Arc<Ballot>,
    verdict: Verdict,
}

impl Job {
    fn mail(&self) -> Mail {
        Mail::Signal(self.letter.outgoing.dialect)
    }

    fn does_not_fit(&mut self, link: &Link) {
        self.verdict = Verdict::QueueFull;
        link.board.count(self.verdict);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.ballot.cast(&self.relay, self.verdict);
    }
}

/// Which of those who wait in a lane go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// In the order that they came.
    First,
    /// When nobody waits for a first word: this one was said before.
    Again,
}

/// The two ways into a lane.
#[derive(Debug, Clone)]
struct Ways {
    first: mpsc::Sender<Job>,
    again: mpsc::Sender<Job>,
}

type Lanes = HashMap<(PublicKey, SignalKind, RelayUrl), Ways>;

/// All lanes. They are made when first used; there are at most keys x kinds x relays.
pub(super) struct Outbox {
    pub links: Vec<Arc<Link>>,
    pub keys: HashMap<PublicKey, Keys>,
    pub memory: Arc<dyn Memory>,
    pub shutdown: CancellationToken,
    pub runtime: Handle,
    wrapped: Arc<Semaphore>,
    announcements: Arc<Semaphore>,
    purges: Arc<Semaphore>,
    lanes: Mutex<Lanes>,
    held: Arc<Holdings>,
}

impl Outbox {
    pub(super) fn new(
        links: Vec<Arc<Link>>,
        keys: HashMap<PublicKey, Keys>,
        memory: Arc<dyn Memory>,
        shutdown: CancellationToken,
    ) -> Self {
        let (wrapped, announcements) = (Semaphore::new(WRAPPED), Semaphore::new(ANNOUNCEMENTS));
        Self {
            links,
            keys,
            memory,
            shutdown,
            runtime: Handle::current(),
            wrapped: Arc::new(wrapped),
            announcements: Arc::new(announcements),
            purges: Arc::new(Semaphore::new(PURGES)),
            lanes: Mutex::default(),
            held: Arc::default(),
        }
    }

    /// Publishes on our relays and on these others.
    pub(super) fn publish(
        &self,
        outgoing: Outgoing,
        others: &[Arc<Link>],
        turn: Turn,
    ) -> Result<Delivery, PublishError> {
        if self.shutdown.is_cancelled() {
            return Err(PublishError::ShutDown);
        }
        let keys = self.keys.get(&outgoing.from).ok_or(PublishError::ForeignAuthor)?;
        let (dialect, kind) = (outgoing.dialect, outgoing.body.kind());
        let letter = Arc::new(Letter { outgoing, sealed: Mutex::default() });
        let (ballot, delivery) = Ballot::on(Mail::Signal(dialect), self.links.len() + others.len());
        let connected = self.links.iter().any(|link| link.is_connected());
        let mut taken = false;
        for link in self.links.iter().chain(others) {
            let mut job = Job {
                letter: Arc::clone(&letter),
                published: Instant::now(),
                // The others carry it: for a relay that is away nothing is put off.
                patience: if connected && link.is_away() { Duration::ZERO } else { CONNECT_PATIENCE },
                relay: link.url.clone(),
                ballot: Arc::clone(&ballot),
                verdict: Verdict::ShutDown,
            };
            if dialect == Dialect::Wrapped {
                match Arc::clone(&self.wrapped).try_acquire_owned() {
                    Ok(place) => {
                        self.runtime.spawn(self.new_lane(keys, kind, link).wrapped(job, place));
                        taken = true;
                    }
                    Err(_) => job.does_not_fit(link),
                }
                continue;
            }
            let lane = self.lane(keys, kind, link);
            let way = if turn == Turn::First { lane.first } else { lane.again };
            match way.try_send(job) {
                Ok(()) => taken = true,
                Err(mpsc::error::TrySendError::Full(mut job)) => job.does_not_fit(link),
                // Casts that signaling is shut down.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
        if taken { Ok(delivery) } else { Err(PublishError::QueueFull) }
    }

    /// Publishes an event that is signed already, for our relays to keep.
    pub(super) fn announce(&self, event: &Event) -> Result<Delivery, PublishError> {
        if self.shutdown.is_cancelled() {
            return Err(PublishError::ShutDown);
        }
        let keys = self.keys.get(&event.pubkey).ok_or(PublishError::ForeignAuthor)?;
        let (ballot, delivery) = Ballot::on(Mail::Announcement, self.links.len());
        let mut taken = false;
        for link in &self.links {
            let Ok(place) = Arc::clone(&self.announcements).try_acquire_owned() else {
                ballot.cast(&link.url, Verdict::QueueFull);
                continue;
            };
            taken = true;
            let (link, ballot, event, keys) = (Arc::clone(link), Arc::clone(&ballot), event.clone(), keys.clone());
            self.runtime.spawn(async move {
                let _place = place;
                let verdict = link.stop().run_until_cancelled(announced(&link, &event, &keys)).await;
                let verdict = verdict.unwrap_or(Verdict::ShutDown);
                record(&link, Mail::Announcement, &event.pubkey, event.kind.as_u16(), verdict);
                ballot.cast(&link.url, verdict);
            });
        }
        if taken { Ok(delivery) } else { Err(PublishError::QueueFull) }
    }

    /// Takes back what relays hold of our side of a call that is over, in a while: its last words are still on their way. One word of it
    /// to each relay is enough: what it does not heed expires.
    pub(super) fn purge(&self, from: &PublicKey, session: SessionId) {
        let Some(keys) = self.keys.get(from).cloned() else { return };
        // Too many at once: those expire by themselves.
        let Ok(place) = Arc::clone(&self.purges).try_acquire_owned() else { return };
        let (held, shutdown) = (Arc::clone(&self.held), self.shutdown.clone());
        self.runtime.spawn(async move {
            let _place = place;
            if shutdown.run_until_cancelled(tokio::time::sleep(LAST_WORDS)).await.is_none() {
                return;
            }
            let now = unix_now();
            for remains in held.leave(&keys.public_key(), &session, now) {
                let Some(event) = remains.deletion(&keys, now) else { continue };
                let link = &remains.link;
                let told = async {
                    let verdict = link.send(&event, Mail::Announcement).await;
                    if verdict == Verdict::Rejected(Refusal::AuthRequired) {
                        link.authenticate(&keys).await;
                        return link.send(&event, Mail::Announcement).await;
                    }
                    verdict
                };
                let verdict = link.stop().run_until_cancelled(told).await.unwrap_or(Verdict::ShutDown);
                tracing::debug!(relay = %link.url, verdict = verdict.word(), "took back what is left of a call");
            }
        });
    }

    fn lane(&self, keys: &Keys, kind: SignalKind, link: &Arc<Link>) -> Ways {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (keys.public_key(), kind, link.url.clone());
        if let Some(lane) = lanes.get(&name).filter(|lane| !lane.first.is_closed()) {
            return lane.clone();
        }
        // Relays that are none of ours come and go.
        lanes.retain(|_, lane| !lane.first.is_closed());
        let ((first, jobs), (again, repeats)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
        self.runtime.spawn(self.new_lane(keys, kind, link).run(jobs, repeats));
        let lane = Ways { first, again };
        lanes.insert(name, lane.clone());
        lane
    }

    fn new_lane(&self, keys: &Keys, kind: SignalKind, link: &Arc<Link>) -> Lane {
        let memory = (!link.is_visited()).then(|| Arc::clone(&self.memory));
        Lane { link: Arc::clone(link), keys: keys.clone(), kind, memory, held: Arc::clone(&self.held) }
    }
}

/// Sends an announcement until it is settled.
async fn announced(link: &Link, event: &Event, keys: &Keys) -> Verdict {
    let (published, mut up, mut tries) = (Instant::now(), link.up(), Tries::default());
    loop {
        let patience = ANNOUNCING_PATIENCE.saturating_sub(published.elapsed());
        if !matches!(tokio::time::timeout(patience, up.wait_for(|up| *up)).await, Ok(Ok(_))) {
            return Verdict::NotConnected;
        }
        let verdict = link.send(event, Mail::Announcement).await;
        match verdict {
            Verdict::NotConnected => tokio::time::sleep(BLINK).await,
            _ if Mail::Announcement.carried(verdict) => return verdict,
            _ => match tries.next(verdict) {
                Next::Settled => return verdict,
                Next::Anew => tokio::time::sleep(ANNOUNCE_AGAIN).await,
                Next::After(pause) => tokio::time::sleep(pause).await,
                // In vain too: the relay is asked once more, a bounded number of times.
                Next::Authenticated => drop(link.authenticate(keys).await),
            },
        }
    }
}

/// The events of one author and kind at one relay.
struct Lane {
    link: Arc<Link>,
    keys: Keys,
    kind: SignalKind,
    /// None for a relay that is none of ours: it is forgotten when it is closed.
    memory: Option<Arc<dyn Memory>>,
    held: Arc<Holdings>,
}

impl Lane {
    async fn run(self, mut jobs: mpsc::Receiver<Job>, mut repeats: mpsc::Receiver<Job>) {
        let shutdown = self.link.stop().clone();
        let started = Instant::now();
        let mut pace = Pace::after(self.last_clock().await);
        loop {
            let job = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                job = jobs.recv() => job,
                job = repeats.recv() => job,
            };
            let Some(mut job) = job else { return };
            job.verdict = tokio::select! {
                biased;
                () = shutdown.cancelled() => Verdict::ShutDown,
                verdict = self.deliver(&mut pace, started, &job) => verdict,
            };
            self.record(&job);
        }
    }

    /// Sends one wrapped event, past all others.
    async fn wrapped(self, mut job: Job, _place: OwnedSemaphorePermit) {
        let delivered = self.link.stop().run_until_cancelled(self.deliver_wrapped(&job)).await;
        job.verdict = delivered.unwrap_or(Verdict::ShutDown);
        self.record(&job);
    }

    async fn deliver_wrapped(&self, job: &Job) -> Verdict {
        let mut up = self.link.up();
        let mut tries = Tries::default();
        loop {
            let patience = job.patience.saturating_sub(job.published.elapsed());
            let connected = up.wait_for(|up| *up);
            if !matches!(tokio::time::timeout(patience, connected).await, Ok(Ok(_))) {
                return Verdict::NotConnected;
            }
            let now = Now { unix: unix_now(), ticks: Duration::ZERO };
            if now.unix >= job.letter.outgoing.expiration {
                return Verdict::Expired;
            }
            let Ok(event) = job.letter.seal(&Pace::default(), now.unix, now, &self.keys) else {
                return Verdict::Unsealed;
            };
            let verdict = self.link.send(&event, job.mail()).await;
            match verdict {
                Verdict::NotConnected => tokio::time::sleep(BLINK).await,
                Verdict::NoOk => return verdict,
                _ => match tries.next(verdict) {
                    Next::Settled => return verdict,
                    Next::Anew => {}
                    Next::After(pause) => tokio::time::sleep(pause).await,
                    Next::Authenticated => drop(self.link.authenticate(&self.keys).await),
                },
            }
        }
    }

    /// Sends one event until it is settled.
    async fn deliver(&self, pace: &mut Pace, started: Instant, job: &Job) -> Verdict {
        let mut up = self.link.up();
        let mut tries = Tries::default();
        let mut said = None;
        let mut overtaken = 0;
        loop {
            let patience = job.patience.saturating_sub(job.published.elapsed());
            let connected = up.wait_for(|up| *up);
            if !matches!(tokio::time::timeout(patience, connected).await, Ok(Ok(_))) {
                return said.unwrap_or(Verdict::NotConnected);
            }
            let (created_at, now) = loop {
                let now = Now { unix: unix_now(), ticks: started.elapsed() };
                if now.unix >= job.letter.outgoing.expiration {
                    return said.unwrap_or(Verdict::Expired);
                }
                match pace.slot(now) {
                    Slot::Open { created_at } => break (created_at, now),
                    Slot::Wait(pause) => tokio::time::sleep(pause).await,
                }
            };
            let Ok(event) = job.letter.seal(pace, created_at, now, &self.keys) else {
                return Verdict::Unsealed;
            };
            pace.taken(event.created_at.as_secs(), now);
            // Before it is sent: a crash in between must not lead to the same stamp twice.
            self.save_clock(event.created_at.as_secs()).await;
            let verdict = self.link.send(&event, job.mail()).await;
            if verdict == Verdict::NotConnected {
                tokio::time::sleep(BLINK).await;
                continue;
            }
            if verdict == Verdict::Accepted {
                let Outgoing { session, expiration, .. } = &job.letter.outgoing;
                self.held.taken(&self.link, event.pubkey, self.kind, &event, session, *expiration);
            }
            said = Some(verdict);
            match tries.next(verdict) {
                Next::Settled => return verdict,
                Next::Anew if !self.link.may_change_its_mind() => return verdict,
                Next::Anew => {
                    if matches!(verdict, Verdict::Rejected(Refusal::Replaced | Refusal::Duplicate)) {
                        overtaken += 1;
                        pace.overtaken(overtaken);
                    }
                }
                Next::After(pause) => tokio::time::sleep(pause).await,
                // In vain too: the relay is asked once more, a bounded number of times.
                Next::Authenticated => drop(self.link.authenticate(&self.keys).await),
            }
            tracing::debug!(
                relay = %self.link.url, kind = self.kind.number(), from = short(&self.keys.public_key()),
                verdict = verdict.word(), "published again"
            );
        }
    }

    fn record(&self, job: &Job) {
        record(&self.link, job.mail(), &self.keys.public_key(), self.kind.number(), job.verdict);
    }

    /// The memory may read from a disk.
    async fn last_clock(&self) -> Option<u64> {
        let (author, kind, relay) = self.names();
        let memory = Arc::clone(self.memory.as_ref()?);
        tokio::task::spawn_blocking(move || memory.clock(&author, kind, &relay)).await.unwrap_or(None)
    }

    async fn save_clock(&self, created_at: u64) {
        let (author, kind, relay) = self.names();
        let Some(memory) = self.memory.clone() else { return };
        let saved = tokio::task::spawn_blocking(move || memory.set_clock(&author, kind, &relay, created_at)).await;
        if saved.is_err() {
            // The event goes out all the same: the stamp matters only after a restart within seconds.
            tracing::warn!(relay = %self.link.url, "an outbox clock could not be saved");
        }
    }

    fn names(&self) -> (PublicKey, SignalKind, RelayUrl) {
        (self.keys.public_key(), self.kind, self.link.url.clone())
    }
}

/// Notes what became of an event at one relay.
fn record(link: &Link, mail: Mail, from: &PublicKey, kind: u16, verdict: Verdict) {
    let carried = mail.carried(verdict);
    if matches!(verdict, Verdict::NotConnected | Verdict::Expired | Verdict::Unsealed | Verdict::ShutDown) {
        link.board.count(verdict);
    }
    link.board.write(|status| match verdict {
        _ if carried => status.accepted += 1,
        _ => {
            status.rejected += 1;
            status.last_refusal = Some(verdict);
        }
    });
    let (relay, from, word) = (&link.url, short(from), verdict.word());
    match verdict {
        _ if carried => {}
        // That the relay is away was told once; an event that no relay takes is told by whoever sent it.
        Verdict::NotConnected | Verdict::ShutDown => {
            tracing::debug!(%relay, kind, from, verdict = word, "not published")
        }
        _ => tracing::warn!(%relay, kind, from, verdict = word, "not published"),
    }
}
