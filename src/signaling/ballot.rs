//! What became of one event, over all relays that it goes to.

use std::sync::{Arc, Mutex, PoisonError};

use nostr::RelayUrl;
use tokio::sync::oneshot;

use super::verdict::{Refusal, Verdict};
use crate::protocol::Dialect;

/// No relay took the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no relay took the event ({})", words(.verdicts))]
pub struct Undelivered {
    /// What became of it, relay by relay.
    pub verdicts: Vec<(RelayUrl, Verdict)>,
}

impl Undelivered {
    /// Whether a relay that left it without a word may have handed it on all the same.
    pub fn may_have_arrived(&self) -> bool {
        self.verdicts.iter().any(|(_, verdict)| *verdict == Verdict::NoOk)
    }
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

/// How an event travels, which decides what a relay's word on it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mail {
    Signal(Dialect),
    /// What a key says of itself, for relays to keep.
    Announcement,
}

impl Mail {
    /// Whether the event is on its way to its receiver, as far as the relay says.
    pub(super) fn carried(self, verdict: Verdict) -> bool {
        match (self, verdict) {
            (_, Verdict::Accepted) => true,
            // nostr-rs-relay says nothing of ephemeral events.
            (Self::Signal(Dialect::Wrapped), Verdict::NoOk) => true,
            // It is there since an earlier run, or a newer one is.
            (Self::Announcement, Verdict::Rejected(Refusal::Duplicate | Refusal::Replaced)) => true,
            _ => false,
        }
    }
}

/// Collects the verdicts on one event.
#[derive(Debug)]
pub(super) struct Ballot(Mutex<Count>);

#[derive(Debug)]
struct Count {
    mail: Mail,
    verdicts: Vec<(RelayUrl, Verdict)>,
    relays: usize,
    reply: Option<oneshot::Sender<Result<RelayUrl, Undelivered>>>,
}

impl Ballot {
    /// For an event that goes to so many relays.
    pub(super) fn on(mail: Mail, relays: usize) -> (Arc<Self>, Delivery) {
        let (reply, outcome) = oneshot::channel();
        let count = Count { mail, verdicts: Vec::new(), relays, reply: Some(reply) };
        (Arc::new(Self(Mutex::new(count))), Delivery(outcome))
    }

    pub(super) fn cast(&self, relay: &RelayUrl, verdict: Verdict) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.verdicts.push((relay.clone(), verdict));
        let outcome = if count.mail.carried(verdict) {
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
