//! Who may call beside those whom the configuration lists: the keys that are invited now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use nostr::PublicKey;
use tokio::sync::watch;

use crate::call::Listed;
use crate::store::{Invited, Store, StoreError};

/// How often a look is taken whether an invitation was made or taken back, by another process: whoever takes one back waits this long.
/// A look is one at shared memory.
const LOOK: Duration = Duration::from_secs(1);

/// What is known now.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests {
    /// By the line that they are invited to.
    invited: HashMap<PublicKey, Listed>,
    /// The line and key of each invitation that was taken back.
    revoked: HashSet<(PublicKey, PublicKey)>,
}

impl Guests {
    /// As the store has them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn of_store(store: &Store) -> Result<Self, StoreError> {
        let mut guests = Self::default();
        guests.take(store.invited()?);
        Ok(guests)
    }

    /// Who is or was invited to a line.
    pub(super) fn invited_to(&self, line: &PublicKey) -> Listed {
        self.invited.get(line).cloned().unwrap_or_default()
    }

    /// Whether the invitation of this key to this line was taken back.
    pub(super) fn is_revoked(&self, line: PublicKey, key: PublicKey) -> bool {
        self.revoked.contains(&(line, key))
    }

    fn take(&mut self, invitations: Vec<Invited>) {
        *self = Self::default();
        for Invited { line, key, until, revoked } in invitations {
            if revoked {
                self.revoked.insert((line, key));
            } else {
                self.invited.entry(line).or_default().add(key, Some(until));
            }
        }
    }
}

/// Keeps `guests` as the store has them, until nobody listens any more.
pub(super) async fn keep(store: Arc<Store>, guests: watch::Sender<Guests>) {
    let mut known = None;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = guests.closed() => return,
            _ = looks.tick() => {}
        }
        // On this thread, since it never blocks: a thread that is asked each second would keep all idle ones from ending.
        let version = match store.version() {
            // Asked before reading: what is written between the two is read again the next time.
            Ok(Some(version)) if known != Some(version) => version,
            Ok(_) => continue,
            Err(error) => {
                tracing::error!(%error, "the invitations cannot be read");
                continue;
            }
        };
        let store = store.clone();
        match tokio::task::spawn_blocking(move || store.invited()).await {
            Ok(Ok(invitations)) => {
                known = Some(version);
                let revoked = invitations.iter().filter(|invitation| invitation.revoked).count();
                tracing::debug!(kept = invitations.len(), revoked, "invitations read");
                guests.send_modify(|guests| guests.take(invitations));
            }
            // What was known still holds.
            Ok(Err(error)) => tracing::error!(%error, "the invitations cannot be read"),
            Err(error) => tracing::error!(%error, "the invitations cannot be read"),
        }
    }
}
