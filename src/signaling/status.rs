//! How each relay is doing, for people and the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use nostr::RelayUrl;
use tokio::sync::watch;

use super::health::Health;
use super::verdict::Verdict;

/// One relay's state and counts since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    pub url: RelayUrl,
    pub connected: bool,
    /// When `connected` last changed, unix seconds.
    pub since: u64,
    /// Why the last attempt to connect failed: [`DialError::word`](super::DialError::word). None once connected.
    pub dial_error: Option<&'static str>,
    pub health: Health,
    /// How often it gave each verdict, by [`Verdict::word`]: every try counts. Beside them events that were not sent to it.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// The last verdict of a publish that was not accepted.
    pub last_refusal: Option<Verdict>,
    /// Events sent, those sent anew included.
    pub published: u64,
    pub accepted: u64,
    pub rejected: u64,
}

impl RelayStatus {
    fn new(url: RelayUrl, since: u64) -> Self {
        Self {
            url,
            connected: false,
            since,
            dial_error: None,
            health: Health::Away,
            verdicts: BTreeMap::new(),
            last_refusal: None,
            published: 0,
            accepted: 0,
            rejected: 0,
        }
    }
}

/// One relay's place in the snapshot that all share.
#[derive(Debug, Clone)]
pub(super) struct Board {
    all: Arc<watch::Sender<Vec<RelayStatus>>>,
    index: usize,
}

impl Board {
    /// A board for each relay, and what watches them all.
    pub(super) fn of(relays: &[RelayUrl], now: u64) -> (Vec<Self>, watch::Receiver<Vec<RelayStatus>>) {
        let (all, watched) = watch::channel(relays.iter().map(|url| RelayStatus::new(url.clone(), now)).collect());
        let all = Arc::new(all);
        ((0..relays.len()).map(|index| Self { all: Arc::clone(&all), index }).collect(), watched)
    }

    /// A board that nobody watches, for a relay that is none of ours.
    pub(super) fn unwatched(relay: &RelayUrl, now: u64) -> Self {
        let all = Arc::new(watch::Sender::new(vec![RelayStatus::new(relay.clone(), now)]));
        Self { all, index: 0 }
    }

    /// Counts a verdict.
    pub(super) fn count(&self, verdict: Verdict) {
        self.write(|status| *status.verdicts.entry(verdict.word()).or_default() += 1);
    }

    /// Shows the relay's health; says it when it changes.
    pub(super) fn health(&self, health: Health) {
        let mut was = None;
        self.all.send_if_modified(|all| {
            let Some(status) = all.get_mut(self.index).filter(|status| status.health != health) else { return false };
            was = Some((status.url.clone(), std::mem::replace(&mut status.health, health)));
            true
        });
        match was {
            Some((relay, _)) if matches!(health, Health::Silent | Health::Refusing(_)) => {
                tracing::warn!(%relay, health = health.word(), "the relay is not waited for: others carry the calls");
            }
            Some((relay, Health::Silent | Health::Refusing(_))) if health == Health::Good => {
                tracing::info!(%relay, "the relay takes events again");
            }
            _ => {}
        }
    }

    pub(super) fn write(&self, change: impl FnOnce(&mut RelayStatus)) {
        self.all.send_modify(|all| {
            if let Some(status) = all.get_mut(self.index) {
                change(status);
            }
        });
    }
}
