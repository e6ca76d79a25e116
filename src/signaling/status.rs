//! How each relay is doing, for people and the API.

use std::sync::Arc;

use nostr::RelayUrl;
use tokio::sync::watch;

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
    /// The last verdict of a publish that was not accepted.
    pub last_refusal: Option<Verdict>,
    /// Events sent, those sent anew included.
    pub published: u64,
    pub accepted: u64,
    pub rejected: u64,
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
        let first = relays.iter().map(|url| RelayStatus {
            url: url.clone(),
            connected: false,
            since: now,
            dial_error: None,
            last_refusal: None,
            published: 0,
            accepted: 0,
            rejected: 0,
        });
        let (all, watched) = watch::channel(first.collect());
        let all = Arc::new(all);
        ((0..relays.len()).map(|index| Self { all: Arc::clone(&all), index }).collect(), watched)
    }

    pub(super) fn write(&self, change: impl FnOnce(&mut RelayStatus)) {
        self.all.send_modify(|all| {
            if let Some(status) = all.get_mut(self.index) {
                change(status);
            }
        });
    }
}
