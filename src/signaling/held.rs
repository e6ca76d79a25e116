//! What relays still hold of our side of calls, to be taken back when the calls are over (NIP-09).
//!
//! Of one author and kind a relay holds the newest event, so that is all that is remembered, and as long as the event has not expired: a
//! relay that honours NIP-40 has dropped it then by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nostr::{Event, EventBuilder, EventId, Keys, Kind, PublicKey, Tag, Timestamp, Url};

use super::link::Link;
use crate::protocol::{SessionId, SignalKind};

/// One author's newest event of one kind at one relay.
#[derive(Debug, Clone)]
struct Held {
    link: Arc<Link>,
    event: EventId,
    session: SessionId,
    expiration: u64,
}

/// All that is held; one entry a lane. Held for a look-up only.
#[derive(Debug, Default)]
pub(super) struct Holdings(Mutex<HashMap<(PublicKey, SignalKind, Url), Held>>);

/// What one relay holds of one call.
#[derive(Debug, Clone)]
pub(super) struct Remains {
    pub link: Arc<Link>,
    events: Vec<(EventId, SignalKind)>,
    expiration: u64,
}

impl Holdings {
    /// The relay has taken this event, and dropped what it held before in its place.
    pub(super) fn taken(
        &self,
        link: &Arc<Link>,
        author: PublicKey,
        kind: SignalKind,
        event: &Event,
        session: &SessionId,
        expiration: u64,
    ) {
        let held = Held { link: Arc::clone(link), event: event.id, session: session.clone(), expiration };
        self.all().insert((author, kind, Url::from(link.url.clone())), held);
    }

    /// What relays hold of this author's side of a call at `now`, relay by relay; it is forgotten here.
    pub(super) fn leave(&self, author: &PublicKey, session: &SessionId, now: u64) -> Vec<Remains> {
        let mut all = self.all();
        all.retain(|_, held| held.expiration > now && !held.link.stop().is_cancelled());
        let mut remains: Vec<Remains> = Vec::new();
        all.retain(|(key, kind, _), held| {
            if key != author || held.session != *session {
                return true;
            }
            let found = (held.event, *kind);
            match remains.iter_mut().find(|relay| Arc::ptr_eq(&relay.link, &held.link)) {
                Some(relay) => {
                    relay.events.push(found);
                    relay.expiration = relay.expiration.max(held.expiration);
                }
                None => remains.push(Remains {
                    link: Arc::clone(&held.link),
                    events: vec![found],
                    expiration: held.expiration,
                }),
            }
            false
        });
        remains
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(PublicKey, SignalKind, Url), Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remains {
    /// The request to delete it. It names nobody, and expires with what it takes back.
    pub(super) fn deletion(&self, keys: &Keys, now: u64) -> Option<Event> {
        let kinds = self.events.iter().map(|(_, kind)| Tag::custom(nostr::TagKind::k(), [kind.number().to_string()]));
        let tags = self.events.iter().map(|(event, _)| Tag::event(*event)).chain(kinds);
        let expiration = Tag::expiration(Timestamp::from(self.expiration));
        EventBuilder::new(Kind::EventDeletion, "")
            .tags(tags.chain([expiration]))
            .custom_created_at(Timestamp::from(now))
            .sign_with_keys(keys)
            .ok()
    }
}
