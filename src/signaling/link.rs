//! One relay: its connection, our subscription on it, whom it has authenticated, and who waits for its word.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nostr::util::BoxedFuture;
use nostr::{
    ClientMessage, Event, EventBuilder, EventId, Filter, Keys, Kind, PublicKey, RelayMessage, RelayUrl, SubscriptionId,
    Timestamp,
};
use nostr_sdk::pool::{Relay, RelayNotification, RelayStatus as SdkStatus};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::asking::{Answers, Ended, Questions};
use super::ballot::Mail;
use super::health::{Conduct, Health};
use super::intake::Sieve;
use super::recent::Recent;
use super::status::Board;
use super::transport::{DialError, Port};
use super::unix_now;
use super::verdict::{Refusal, Verdict};
use crate::protocol::{Container, Dialect};
use crate::sdp::CallerServers;

/// How far back a subscription reaches before the moment when the relay was last heard, in seconds: an offer rings for 60 s, and
/// clocks differ.
const OVERLAP: u64 = 120;
/// How long an `OK` is waited for where nobody waits in line.
const OK_PATIENCE: Duration = Duration::from_secs(5);
/// Events whose late `OK` is still noticed.
const LATE: usize = 64;
/// The pause before we subscribe again when a relay closed our subscription; doubled each time until it serves it.
const RESUBSCRIBE: Duration = Duration::from_secs(5);
const LONGEST_RESUBSCRIBE: Duration = Duration::from_secs(60);
/// The longest pause between two attempts to connect; the first retry follows after nostr-sdk's own pause alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a challenge is waited for once the relay has asked for authentication (NIP-42): most send it before.
const CHALLENGE_PATIENCE: Duration = Duration::from_secs(5);
/// The least time between two rounds of authentication: a relay may send challenges as it likes.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);
/// Bytes of a challenge. Relays send a UUID or some random bytes.
const MAX_CHALLENGE: usize = 512;

/// A handle to one relay, shared by its task, its lanes and the transport.
#[derive(Debug)]
pub(super) struct Link {
    pub url: RelayUrl,
    pub board: Board,
    sieve: Sieve,
    /// Which addresses it may be at, when it is none of our relays.
    reach: Option<CallerServers>,
    /// Whose events we subscribe to, and who authenticates.
    keys: Mutex<Vec<Keys>>,
    subscription: SubscriptionId,
    /// Set once, before the task starts: nostr-sdk wants its transport, and with it this link, before its relays.
    relay: OnceLock<Relay>,
    up: watch::Sender<bool>,
    /// The connection's newest challenge (NIP-42).
    challenge: watch::Sender<Option<String>>,
    /// Who tried to authenticate to that connection, in vain too.
    tried: Mutex<HashSet<PublicKey>>,
    questions: Questions,
    /// Who waits for which `OK`. Held for a look-up only. Emptied when the connection ends.
    waiting: Mutex<HashMap<EventId, oneshot::Sender<Verdict>>>,
    /// Those to which no `OK` came while somebody waited.
    unanswered: Mutex<Recent<EventId>>,
    conduct: Mutex<Conduct>,
    /// Until when nothing is missing, unix seconds: when anything last came from the relay while `caught_up`; at first, since when we
    /// were away.
    heard: AtomicU64,
    /// Whether the relay has handed out what it stored for our subscription. What it says before that (a challenge, the first events)
    /// does not tell that nothing older is missing.
    caught_up: AtomicBool,
    failures: AtomicU32,
    /// Ends everything that has to do with this relay.
    stop: CancellationToken,
}

impl Link {
    /// One of our relays. `away_since`: from when on, unix seconds, events may be missing.
    pub(super) fn new(
        url: RelayUrl,
        board: Board,
        sieve: Sieve,
        keys: Vec<Keys>,
        away_since: u64,
        stop: CancellationToken,
    ) -> Self {
        Self {
            url,
            board,
            sieve,
            reach: None,
            keys: Mutex::new(keys),
            subscription: SubscriptionId::generate(),
            relay: OnceLock::new(),
            up: watch::Sender::default(),
            challenge: watch::Sender::default(),
            tried: Mutex::default(),
            questions: Questions::default(),
            waiting: Mutex::default(),
            unanswered: Mutex::new(Recent::new(LATE)),
            conduct: Mutex::default(),
            heard: AtomicU64::new(away_since),
            caught_up: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            stop,
        }
    }

    /// A relay that somebody else names; of what it stores, only what comes from now on is wanted.
    pub(super) fn named(url: RelayUrl, sieve: Sieve, reach: CallerServers, stop: CancellationToken) -> Self {
        let (now, board) = (unix_now(), Board::unwatched(&url, unix_now()));
        Self { reach: Some(reach), ..Self::new(url, board, sieve, Vec::new(), now, stop) }
    }

    /// Starts connecting, and the tasks that follow the connection until stopped.
    pub(super) fn start(self: Arc<Self>, relay: Relay) {
        let notifications = relay.notifications();
        let relay = self.relay.get_or_init(|| relay);
        relay.connect();
        tokio::spawn(Arc::clone(&self).run(notifications));
        tokio::spawn(self.answer_challenges());
    }

    /// Waited on for the connection to come.
    pub(super) fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Whether it is none of our relays.
    pub(super) fn is_visited(&self) -> bool {
        self.reach.is_some()
    }

    /// Whether [`start`](Self::start) was called.
    pub(super) fn has_started(&self) -> bool {
        self.relay.get().is_some()
    }

    /// Cancelled when this relay is not used any more.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Subscribes to what comes for this key too.
    pub(super) fn listen_for(&self, key: &Keys) {
        let mut keys = self.listening();
        if keys.iter().any(|known| known.public_key() == key.public_key()) {
            return;
        }
        keys.push(key.clone());
        drop(keys);
        // Without a connection this says so, and the next one subscribes.
        self.subscribe();
    }

    fn listening(&self) -> MutexGuard<'_, Vec<Keys>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event and waits for what the relay says of it.
    pub(super) async fn send(&self, event: &Event, mail: Mail) -> Verdict {
        let in_line = mail == Mail::Signal(Dialect::Plain);
        let patience = if in_line { self.conduct().patience() } else { OK_PATIENCE };
        let verdict = self.say(event.id, ClientMessage::event(event.clone()), patience).await;
        if verdict == Verdict::NotConnected {
            return verdict;
        }
        self.board.write(|status| status.published += 1);
        self.board.count(verdict);
        if in_line {
            if verdict == Verdict::NoOk {
                self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).insert(event.id);
            }
            // A word that was lost with the connection is none that was withheld.
            if verdict != Verdict::NoOk || self.is_connected() {
                self.judge(|conduct| conduct.said(verdict));
            }
        }
        verdict
    }

    /// Whether an event that the relay did not keep is worth being sent to it again.
    pub(super) fn may_change_its_mind(&self) -> bool {
        self.conduct().may_change_its_mind()
    }

    pub(super) fn is_connected(&self) -> bool {
        *self.up.borrow()
    }

    /// Whether there is no connection, and the last attempt at one failed.
    pub(super) fn is_away(&self) -> bool {
        !self.is_connected() && self.failures.load(Ordering::Relaxed) > 0
    }

    fn conduct(&self) -> MutexGuard<'_, Conduct> {
        self.conduct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the relay did, and shows what that makes of it.
    fn judge(&self, change: impl FnOnce(&mut Conduct)) {
        let mut conduct = self.conduct();
        change(&mut conduct);
        let health = if self.is_connected() { conduct.health() } else { Health::Away };
        self.board.health(health);
    }

    /// Sends a message and waits for the `OK` to its event.
    async fn say(&self, id: EventId, message: ClientMessage<'_>, patience: Duration) -> Verdict {
        let Some(relay) = self.relay.get().filter(|_| self.is_connected()) else { return Verdict::NotConnected };
        let (say, said) = oneshot::channel();
        self.waiters().insert(id, say);
        let verdict = match relay.send_msg(message) {
            Ok(()) => match tokio::time::timeout(patience, said).await {
                Ok(Ok(verdict)) => verdict,
                // No word in time, or the connection ended.
                Ok(Err(_)) | Err(_) => Verdict::NoOk,
            },
            Err(_) => Verdict::NotConnected,
        };
        self.waiters().remove(&id);
        verdict
    }

    /// Authenticates as this key (NIP-42) once there is a challenge. Relays that know one key a connection forget the one before.
    pub(super) async fn authenticate(&self, key: &Keys) -> Verdict {
        let mut challenges = self.challenge.subscribe();
        let challenge = match tokio::time::timeout(CHALLENGE_PATIENCE, challenges.wait_for(Option::is_some)).await {
            Ok(Ok(challenge)) => challenge.clone().unwrap_or_default(),
            Ok(Err(_)) | Err(_) => return Verdict::NotConnected,
        };
        let Ok(event) = EventBuilder::auth(challenge, self.url.clone()).sign_with_keys(key) else {
            return Verdict::Unsealed;
        };
        self.tried().insert(key.public_key());
        self.say(event.id, ClientMessage::auth(event), OK_PATIENCE).await
    }

    fn tried(&self) -> MutexGuard<'_, HashSet<PublicKey>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The relay wants authentication for our subscription. Those who began to listen after its challenge came have not answered it.
    fn authentication_wanted(&self) {
        let everyone = self.listening().iter().all(|key| self.tried().contains(&key.public_key()));
        if !everyone {
            self.challenge.send_if_modified(|challenge| challenge.is_some());
        }
    }

    /// Authenticates as every key that we subscribe for, whenever the relay sends a challenge, and then subscribes again.
    async fn answer_challenges(self: Arc<Self>) {
        let mut challenges = self.challenge.subscribe();
        let answer = async {
            while challenges.wait_for(Option::is_some).await.is_ok() {
                let keys = self.listening().clone();
                let mut verdict = Verdict::NoOk;
                for key in &keys {
                    verdict = self.authenticate(key).await;
                    if matches!(verdict, Verdict::NoOk | Verdict::NotConnected) {
                        break;
                    }
                }
                tracing::debug!(relay = %self.url, verdict = verdict.word(), "authenticated");
                if verdict == Verdict::Accepted {
                    self.subscribe();
                }
                tokio::time::sleep(BETWEEN_ROUNDS).await;
                if challenges.changed().await.is_err() {
                    break;
                }
            }
        };
        self.stop.run_until_cancelled(answer).await;
    }

    /// Asks for what the relay stores: `most` events at most. None without a connection.
    pub(super) fn ask(&self, id: &SubscriptionId, filter: Filter, most: usize) -> Option<Answers> {
        let relay = self.relay.get().filter(|_| self.is_connected())?;
        let answers = self.questions.ask(id.clone(), most);
        match relay.send_msg(ClientMessage::req(id.clone(), vec![filter])) {
            Ok(()) => Some(answers),
            Err(_) => {
                self.questions.end(id, Ended::Told);
                None
            }
        }
    }

    /// No more is wanted of what was asked for under this name.
    pub(super) fn asked_enough(&self, id: &SubscriptionId) {
        self.questions.end(id, Ended::Told);
        if let Some(relay) = self.relay.get() {
            // The connection may be gone, and the question with it.
            let _ = relay.send_msg(ClientMessage::close(id.clone()));
        }
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<EventId, oneshot::Sender<Verdict>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, mut notifications: broadcast::Receiver<RelayNotification>) {
        // Far away until a relay closes our subscription.
        let mut resubscribe: Option<tokio::time::Instant> = None;
        let mut pause = RESUBSCRIBE;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = at(resubscribe) => {
                    resubscribe = None;
                    self.subscribe();
                }
                notification = notifications.recv() => match notification {
                    Ok(RelayNotification::RelayStatus { status: SdkStatus::Connected }) => {
                        self.connected(true);
                        self.subscribe();
                    }
                    Ok(RelayNotification::RelayStatus { .. }) => self.connected(false),
                    Ok(RelayNotification::Message { message }) => {
                        if self.message(message) {
                            resubscribe = Some(tokio::time::Instant::now() + pause);
                            pause = (2 * pause).min(LONGEST_RESUBSCRIBE);
                        } else if self.caught_up.load(Ordering::Relaxed) {
                            pause = RESUBSCRIBE;
                        }
                    }
                    Ok(_) => {}
                    // What was missed may be a change of the connection, or an `OK`: those who wait for one time out.
                    Err(RecvError::Lagged(_)) => {
                        let connected = self.relay.get().is_some_and(Relay::is_connected);
                        self.connected(connected);
                        if connected {
                            self.subscribe();
                        }
                    }
                    Err(RecvError::Closed) => break,
                }
            }
        }
        self.connected(false);
    }

    /// Returns whether the relay closed our subscription.
    fn message(&self, message: RelayMessage<'_>) -> bool {
        match message {
            RelayMessage::Ok { event_id, status, message } => {
                if let Some(waiter) = self.waiters().remove(&event_id) {
                    // Nobody listens any more when the publish was given up.
                    let _ = waiter.send(Verdict::read(status, &message));
                } else if self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).contains(&event_id) {
                    self.judge(Conduct::spoke_late);
                }
                false
            }
            RelayMessage::EndOfStoredEvents(id) => {
                if *id == self.subscription {
                    self.caught_up.store(true, Ordering::Relaxed);
                    self.judge(|conduct| conduct.subscription(None));
                } else if self.questions.end(&id, Ended::Told) {
                    self.asked_enough(&id);
                }
                false
            }
            RelayMessage::Closed { subscription_id, message } => {
                let (ours, why) = (*subscription_id == self.subscription, Refusal::read(&message));
                if ours {
                    self.caught_up.store(false, Ordering::Relaxed);
                    self.judge(|conduct| conduct.subscription(Some(why)));
                    // Most relays that want authentication say so by this, and serve us once they have it.
                    if why == Refusal::AuthRequired {
                        self.authentication_wanted();
                        tracing::debug!(relay = %self.url, "the relay wants authentication for our subscription");
                    } else {
                        tracing::warn!(relay = %self.url, why = why.word(), "the relay closed our subscription");
                    }
                } else {
                    self.questions.end(&subscription_id, Ended::Refused(why));
                }
                ours
            }
            RelayMessage::Auth { challenge } => {
                if challenge.len() <= MAX_CHALLENGE {
                    self.challenge.send_replace(Some(challenge.into_owned()));
                }
                false
            }
            RelayMessage::Notice(_) => {
                tracing::debug!(relay = %self.url, "notice");
                false
            }
            _ => false,
        }
    }

    fn connected(&self, connected: bool) {
        if !connected {
            self.caught_up.store(false, Ordering::Relaxed);
            self.waiters().clear();
            self.questions.clear();
            self.challenge.send_replace(None);
            self.tried().clear();
        }
        let changed = self.up.send_if_modified(|up| std::mem::replace(up, connected) != connected);
        if changed {
            if connected {
                tracing::info!(relay = %self.url, "relay connected");
            } else {
                tracing::info!(relay = %self.url, "relay disconnected");
            }
            self.board.write(|status| {
                status.connected = connected;
                status.since = unix_now();
            });
            self.judge(|conduct| conduct.subscription(None));
        }
    }

    /// One subscription for all keys. Ours and not nostr-sdk's: that one is forgotten when a relay closes it, and not renewed
    /// when the connection was lost within the second in which it was made.
    fn subscribe(&self) {
        let Some(relay) = self.relay.get() else { return };
        let keys: Vec<_> = self.listening().iter().map(Keys::public_key).collect();
        if keys.is_empty() {
            return;
        }
        let since = self.heard.load(Ordering::Relaxed).saturating_sub(OVERLAP);
        let filter = Filter::new().kinds(Container::KINDS.map(Kind::from)).pubkeys(keys).since(Timestamp::from(since));
        if let Err(error) = relay.send_msg(ClientMessage::req(self.subscription.clone(), vec![filter])) {
            // The connection is already gone; the next one subscribes.
            tracing::debug!(relay = %self.url, %error, "not subscribed");
        }
    }
}

impl Port for Link {
    fn pause(&self) -> Duration {
        let failures = self.failures.load(Ordering::Relaxed);
        Duration::from_secs((1u64 << failures.min(5)) - 1).min(LONGEST_PAUSE)
    }

    fn admits(&self, address: IpAddr) -> bool {
        self.reach.is_none_or(|reach| reach.admits(address))
    }

    fn dialled(&self, result: Result<(), &DialError>) {
        match result {
            Ok(()) => self.failures.store(0, Ordering::Relaxed),
            Err(error) => {
                if self.failures.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(relay = %self.url, reason = error.word(), "no connection to the relay");
                }
            }
        }
        self.board.write(|status| status.dial_error = result.err().map(DialError::word));
    }

    fn heard(&self) {
        if self.caught_up.load(Ordering::Relaxed) {
            self.heard.store(unix_now(), Ordering::Relaxed);
        }
    }

    fn take<'a>(&'a self, text: &'a str) -> BoxedFuture<'a, bool> {
        if self.questions.take(text) {
            return Box::pin(std::future::ready(true));
        }
        Box::pin(self.sieve.take(&self.url, text))
    }
}

/// Sleeps until then, or for ever.
async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
