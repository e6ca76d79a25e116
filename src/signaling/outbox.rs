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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::pace::{Now, Pace, Slot};
use super::verdict::{Next, Refusal, Tries, Verdict};
use super::{Memory, short, unix_now};
use crate::protocol::{self, Dialect, Outgoing, SealError, SignalKind};

/// Events that may wait in one lane: ten seconds' worth at its pace. When it is full the event is not taken for that relay.
const WAITING: usize = 64;
/// Wrapped events that may be on their way at once, over all relays.
const WRAPPED: usize = 256;
/// How long an event waits for a relay that is not connected, from when it was published. Relays that restart are back sooner;
/// for one that is dead the caller should be told.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long NIP-42 authentication may take once the relay has asked for it.
const AUTH_PATIENCE: Duration = Duration::from_secs(5);
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

/// No relay took the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no relay took the event ({})", words(.verdicts))]
pub struct Undelivered {
    /// What became of it, relay by relay.
    pub verdicts: Vec<(RelayUrl, Verdict)>,
}

fn words(verdicts: &[(RelayUrl, Verdict)]) -> String {
    verdicts.iter().map(|(_, verdict)| verdict.word()).collect::<Vec<_>>().join(", ")
}

/// An event on its way. Dropping this does not stop it.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<RelayUrl, Undelivered>>);

impl Delivery {
    /// Waits until the first relay has accepted the event, and says which.
    ///
    /// # Errors
    /// [`Undelivered`] when no relay has, and none will.
    pub async fn outcome(self) -> Result<RelayUrl, Undelivered> {
        self.0.await.unwrap_or(Err(Undelivered { verdicts: Vec::new() }))
    }
}

/// Collects the verdicts on one event.
#[derive(Debug)]
struct Ballot(Mutex<Count>);

#[derive(Debug)]
struct Count {
    dialect: Dialect,
    verdicts: Vec<(RelayUrl, Verdict)>,
    relays: usize,
    reply: Option<oneshot::Sender<Result<RelayUrl, Undelivered>>>,
}

/// Whether the event is on its way to its receiver, as far as the relay says.
fn carried(dialect: Dialect, verdict: Verdict) -> bool {
    // nostr-rs-relay says nothing of ephemeral events.
    verdict == Verdict::Accepted || (dialect == Dialect::Wrapped && verdict == Verdict::NoOk)
}

impl Ballot {
    fn cast(&self, relay: &RelayUrl, verdict: Verdict) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.verdicts.push((relay.clone(), verdict));
        let outcome = if carried(count.dialect, verdict) {
            Ok(relay.clone())
        } else if count.verdicts.len() == count.relays {
            Err(Undelivered { verdicts: count.verdicts.clone() })
        } else {
            return;
        };
        if let Some(reply) = count.reply.take() {
            // The publisher may not care.
            let _ = reply.send(outcome);
        }
    }
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
    relay: RelayUrl,
    ballot: Arc<Ballot>,
    verdict: Verdict,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.ballot.cast(&self.relay, self.verdict);
    }
}

type Lanes = HashMap<(PublicKey, SignalKind, RelayUrl), mpsc::Sender<Job>>;

/// All lanes. They are made when first used; there are at most keys x kinds x relays.
pub(super) struct Outbox {
    pub links: Vec<Arc<Link>>,
    pub keys: HashMap<PublicKey, Keys>,
    pub memory: Arc<dyn Memory>,
    pub shutdown: CancellationToken,
    pub runtime: Handle,
    wrapped: Arc<Semaphore>,
    lanes: Mutex<Lanes>,
}

impl Outbox {
    pub(super) fn new(
        links: Vec<Arc<Link>>,
        keys: HashMap<PublicKey, Keys>,
        memory: Arc<dyn Memory>,
        shutdown: CancellationToken,
    ) -> Self {
        let (runtime, wrapped) = (Handle::current(), Arc::new(Semaphore::new(WRAPPED)));
        Self { links, keys, memory, shutdown, runtime, wrapped, lanes: Mutex::default() }
    }

    pub(super) fn publish(&self, outgoing: Outgoing) -> Result<Delivery, PublishError> {
        if self.shutdown.is_cancelled() {
            return Err(PublishError::ShutDown);
        }
        let keys = self.keys.get(&outgoing.from).ok_or(PublishError::ForeignAuthor)?;
        let (dialect, kind) = (outgoing.dialect, outgoing.body.kind());
        let letter = Arc::new(Letter { outgoing, sealed: Mutex::default() });
        let (reply, outcome) = oneshot::channel();
        let count = Count { dialect, verdicts: Vec::new(), relays: self.links.len(), reply: Some(reply) };
        let ballot = Arc::new(Ballot(Mutex::new(count)));
        let mut taken = false;
        for link in &self.links {
            let mut job = Job {
                letter: Arc::clone(&letter),
                published: Instant::now(),
                relay: link.url.clone(),
                ballot: Arc::clone(&ballot),
                verdict: Verdict::ShutDown,
            };
            if dialect == Dialect::Wrapped {
                match Arc::clone(&self.wrapped).try_acquire_owned() {
                    Ok(place) => {
                        let lane = self.new_lane(keys, kind, link);
                        self.runtime.spawn(lane.wrapped(job, self.shutdown.clone(), place));
                        taken = true;
                    }
                    Err(_) => job.verdict = Verdict::QueueFull,
                }
                continue;
            }
            match self.lane(keys, kind, link).try_send(job) {
                Ok(()) => taken = true,
                Err(mpsc::error::TrySendError::Full(mut job)) => job.verdict = Verdict::QueueFull,
                // Casts that signaling is shut down.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
        if taken { Ok(Delivery(outcome)) } else { Err(PublishError::QueueFull) }
    }

    fn lane(&self, keys: &Keys, kind: SignalKind, link: &Arc<Link>) -> mpsc::Sender<Job> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry((keys.public_key(), kind, link.url.clone())).or_insert_with(|| {
            let (sender, jobs) = mpsc::channel(WAITING);
            self.runtime.spawn(self.new_lane(keys, kind, link).run(jobs, self.shutdown.clone()));
            sender
        });
        lane.clone()
    }

    fn new_lane(&self, keys: &Keys, kind: SignalKind, link: &Arc<Link>) -> Lane {
        Lane { link: Arc::clone(link), keys: keys.clone(), kind, memory: Arc::clone(&self.memory) }
    }
}

/// The events of one author and kind at one relay.
struct Lane {
    link: Arc<Link>,
    keys: Keys,
    kind: SignalKind,
    memory: Arc<dyn Memory>,
}

impl Lane {
    async fn run(self, mut jobs: mpsc::Receiver<Job>, shutdown: CancellationToken) {
        let started = Instant::now();
        let mut pace = Pace::after(self.last_clock().await);
        loop {
            let job = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                job = jobs.recv() => job,
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
    async fn wrapped(self, mut job: Job, shutdown: CancellationToken, _place: OwnedSemaphorePermit) {
        job.verdict = tokio::select! {
            biased;
            () = shutdown.cancelled() => Verdict::ShutDown,
            verdict = self.deliver_wrapped(&job) => verdict,
        };
        self.record(&job);
    }

    async fn deliver_wrapped(&self, job: &Job) -> Verdict {
        let mut up = self.link.up();
        let mut tries = Tries::default();
        loop {
            let patience = CONNECT_PATIENCE.saturating_sub(job.published.elapsed());
            let connected = up.wait_for(|up| up.connected);
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
            let authenticated = up.borrow_and_update().authenticated;
            let verdict = self.link.send(&event).await;
            match verdict {
                Verdict::NotConnected => tokio::time::sleep(BLINK).await,
                Verdict::NoOk => return verdict,
                _ => match tries.next(verdict) {
                    Next::Settled => return verdict,
                    Next::Anew => {}
                    Next::After(pause) => tokio::time::sleep(pause).await,
                    Next::Authenticated => {
                        let later = up.wait_for(|up| up.authenticated > authenticated);
                        let _ = tokio::time::timeout(AUTH_PATIENCE, later).await;
                    }
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
            let patience = CONNECT_PATIENCE.saturating_sub(job.published.elapsed());
            let connected = up.wait_for(|up| up.connected);
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
            let authenticated = up.borrow_and_update().authenticated;
            let verdict = self.link.send(&event).await;
            if verdict == Verdict::NotConnected {
                tokio::time::sleep(BLINK).await;
                continue;
            }
            said = Some(verdict);
            match tries.next(verdict) {
                Next::Settled => return verdict,
                Next::Anew => {
                    if matches!(verdict, Verdict::Rejected(Refusal::Replaced | Refusal::Duplicate)) {
                        overtaken += 1;
                        pace.overtaken(overtaken);
                    }
                }
                Next::After(pause) => tokio::time::sleep(pause).await,
                Next::Authenticated => {
                    let later = up.wait_for(|up| up.authenticated > authenticated);
                    // In vain too: the relay is asked once more, a bounded number of times.
                    let _ = tokio::time::timeout(AUTH_PATIENCE, later).await;
                }
            }
            tracing::debug!(
                relay = %self.link.url, kind = self.kind.number(), from = short(&self.keys.public_key()),
                verdict = verdict.word(), "published again"
            );
        }
    }

    fn record(&self, job: &Job) {
        let verdict = job.verdict;
        let carried = carried(job.letter.outgoing.dialect, verdict);
        self.link.board.write(|status| match verdict {
            _ if carried => status.accepted += 1,
            _ => {
                status.rejected += 1;
                status.last_refusal = Some(verdict);
            }
        });
        let (relay, kind) = (&self.link.url, self.kind.number());
        let (from, verdict) = (short(&self.keys.public_key()), verdict.word());
        match job.verdict {
            _ if carried => {}
            // That the relay is away was told once; an event that no relay takes is told by whoever sent it.
            Verdict::NotConnected | Verdict::ShutDown => tracing::debug!(%relay, kind, from, verdict, "not published"),
            _ => tracing::warn!(%relay, kind, from, verdict, "not published"),
        }
    }

    /// The memory may read from a disk.
    async fn last_clock(&self) -> Option<u64> {
        let (memory, author, kind, relay) = self.names();
        tokio::task::spawn_blocking(move || memory.clock(&author, kind, &relay)).await.unwrap_or(None)
    }

    async fn save_clock(&self, created_at: u64) {
        let (memory, author, kind, relay) = self.names();
        let saved = tokio::task::spawn_blocking(move || memory.set_clock(&author, kind, &relay, created_at)).await;
        if saved.is_err() {
            // The event goes out all the same: the stamp matters only after a restart within seconds.
            tracing::warn!(relay = %self.link.url, "an outbox clock could not be saved");
        }
    }

    fn names(&self) -> (Arc<dyn Memory>, PublicKey, SignalKind, RelayUrl) {
        (Arc::clone(&self.memory), self.keys.public_key(), self.kind, self.link.url.clone())
    }
}
