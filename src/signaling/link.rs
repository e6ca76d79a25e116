//! One relay: its connection, our subscription on it, and who waits for its `OK`s.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nostr::util::BoxedFuture;
use nostr::{
    ClientMessage, Event, EventId, Filter, Kind, PublicKey, RelayMessage, RelayUrl, SubscriptionId, Timestamp,
};
use nostr_sdk::pool::{Relay, RelayNotification, RelayStatus as SdkStatus};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::intake::Sieve;
use super::status::Board;
use super::transport::{DialError, Port};
use super::unix_now;
use super::verdict::Verdict;
use crate::protocol::Container;

/// How far back a subscription reaches before the moment when the relay was last heard, in seconds: an offer rings for 60 s, and
/// clocks differ.
const OVERLAP: u64 = 120;
/// How long an `OK` is waited for.
const OK_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before we subscribe again when a relay closed our subscription.
const RESUBSCRIBE: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect; the first retry follows after nostr-sdk's own pause alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether events can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Up {
    pub connected: bool,
    /// How often the relay has authenticated us (NIP-42).
    pub authenticated: u32,
}

/// A handle to one relay, shared by its task, its lanes and the transport.
#[derive(Debug)]
pub(super) struct Link {
    pub url: RelayUrl,
    pub board: Board,
    sieve: Sieve,
    keys: Vec<PublicKey>,
    /// Set once, before the task starts: nostr-sdk wants its transport, and with it this link, before its relays.
    relay: OnceLock<Relay>,
    up: watch::Sender<Up>,
    /// Who waits for which `OK`. Held for a look-up only. Emptied when the connection ends.
    waiting: Mutex<HashMap<EventId, oneshot::Sender<Verdict>>>,
    /// Until when nothing is missing, unix seconds: when anything last came from the relay while `caught_up`; at first, since when we
    /// were away.
    heard: AtomicU64,
    /// Whether the relay has handed out what it stored for our subscription. What it says before that (a challenge, the first events)
    /// does not tell that nothing older is missing.
    caught_up: AtomicBool,
    failures: AtomicU32,
}

impl Link {
    /// `away_since`: from when on, unix seconds, events may be missing.
    pub(super) fn new(url: RelayUrl, board: Board, sieve: Sieve, keys: Vec<PublicKey>, away_since: u64) -> Self {
        Self {
            url,
            board,
            sieve,
            keys,
            relay: OnceLock::new(),
            up: watch::Sender::default(),
            waiting: Mutex::default(),
            heard: AtomicU64::new(away_since),
            caught_up: AtomicBool::new(false),
            failures: AtomicU32::new(0),
        }
    }

    /// Starts connecting, and the task that follows the connection until shut down.
    pub(super) fn start(self: Arc<Self>, relay: Relay, shutdown: CancellationToken) {
        let notifications = relay.notifications();
        let relay = self.relay.get_or_init(|| relay);
        relay.connect();
        tokio::spawn(self.run(notifications, shutdown));
    }

    /// Waited on for the connection to come, or to authenticate.
    pub(super) fn up(&self) -> watch::Receiver<Up> {
        self.up.subscribe()
    }

    /// Sends an event and waits for what the relay says of it.
    pub(super) async fn send(&self, event: &Event) -> Verdict {
        let Some(relay) = self.relay.get() else { return Verdict::NotConnected };
        if !self.up.borrow().connected {
            return Verdict::NotConnected;
        }
        let (say, said) = oneshot::channel();
        self.waiters().insert(event.id, say);
        let verdict = match relay.send_msg(ClientMessage::event(event.clone())) {
            Ok(()) => {
                self.board.write(|status| status.published += 1);
                match tokio::time::timeout(OK_TIMEOUT, said).await {
                    Ok(Ok(verdict)) => verdict,
                    // No word in time, or the connection ended.
                    Ok(Err(_)) | Err(_) => Verdict::NoOk,
                }
            }
            Err(_) => Verdict::NotConnected,
        };
        self.waiters().remove(&event.id);
        verdict
    }

    fn waiters(&self) -> std::sync::MutexGuard<'_, HashMap<EventId, oneshot::Sender<Verdict>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        self: Arc<Self>,
        mut notifications: broadcast::Receiver<RelayNotification>,
        shutdown: CancellationToken,
    ) {
        let subscription = SubscriptionId::generate();
        // Far away until a relay closes our subscription.
        let mut resubscribe: Option<tokio::time::Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = at(resubscribe) => {
                    resubscribe = None;
                    self.subscribe(&subscription);
                }
                notification = notifications.recv() => match notification {
                    Ok(RelayNotification::RelayStatus { status: SdkStatus::Connected }) => {
                        self.connected(true);
                        self.subscribe(&subscription);
                    }
                    Ok(RelayNotification::RelayStatus { .. }) => self.connected(false),
                    Ok(RelayNotification::Authenticated) => {
                        self.up.send_modify(|up| up.authenticated += 1);
                        self.subscribe(&subscription);
                    }
                    Ok(RelayNotification::Message { message }) => {
                        if self.message(message, &subscription) {
                            resubscribe = Some(tokio::time::Instant::now() + RESUBSCRIBE);
                        }
                    }
                    Ok(_) => {}
                    // What was missed may be a change of the connection, or an `OK`: those who wait for one time out.
                    Err(RecvError::Lagged(_)) => {
                        let connected = self.relay.get().is_some_and(Relay::is_connected);
                        self.connected(connected);
                        if connected {
                            self.subscribe(&subscription);
                        }
                    }
                    Err(RecvError::Closed) => break,
                }
            }
        }
        self.connected(false);
    }

    /// Returns whether the relay closed our subscription.
    fn message(&self, message: RelayMessage<'_>, subscription: &SubscriptionId) -> bool {
        match message {
            RelayMessage::Ok { event_id, status, message } => {
                if let Some(waiter) = self.waiters().remove(&event_id) {
                    // Nobody listens any more when the publish was given up.
                    let _ = waiter.send(Verdict::read(status, &message));
                }
                false
            }
            RelayMessage::EndOfStoredEvents(id) => {
                if *id == *subscription {
                    self.caught_up.store(true, Ordering::Relaxed);
                }
                false
            }
            RelayMessage::Closed { subscription_id, .. } => {
                let ours = *subscription_id == *subscription;
                if ours {
                    self.caught_up.store(false, Ordering::Relaxed);
                    tracing::warn!(relay = %self.url, "the relay closed our subscription");
                }
                ours
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
        }
        let changed = self.up.send_if_modified(|up| std::mem::replace(&mut up.connected, connected) != connected);
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
        }
    }

    /// One subscription for all keys. Ours and not nostr-sdk's: that one is forgotten when a relay closes it, and not renewed
    /// when the connection was lost within the second in which it was made.
    fn subscribe(&self, id: &SubscriptionId) {
        let Some(relay) = self.relay.get() else { return };
        let since = self.heard.load(Ordering::Relaxed).saturating_sub(OVERLAP);
        let filter = Filter::new()
            .kinds(Container::KINDS.map(Kind::from))
            .pubkeys(self.keys.iter().copied())
            .since(Timestamp::from(since));
        if let Err(error) = relay.send_msg(ClientMessage::req(id.clone(), vec![filter])) {
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
