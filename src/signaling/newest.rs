//! Looking up what keys publish about themselves: the newest event of each author and kind, over several relays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nostr::{Event, Filter, Kind, PublicKey, SubscriptionId};
use tokio::sync::mpsc;

use super::asking::Ended;
use super::link::Link;
use super::unix_now;
use super::verdict::Refusal;

/// How long a look-up takes at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much longer slower relays are waited for once one has told everything.
const GRACE: Duration = Duration::from_secs(2);
/// The pause before a relay that wants authentication is asked once more.
const AUTHENTICATING: Duration = Duration::from_millis(500);
/// Authors and kinds of one look-up.
const MAX_AUTHORS: usize = 256;
const MAX_KINDS: usize = 16;
/// Bytes of content and tags that one look-up keeps, in all.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How far in the future an event may be stamped, in seconds: strfry's bound.
const MAX_AHEAD: u64 = 900;

/// What is looked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    authors: Vec<PublicKey>,
    kinds: Vec<u16>,
}

impl Wanted {
    pub(super) fn new(mut authors: Vec<PublicKey>, mut kinds: Vec<u16>) -> Self {
        if authors.len() > MAX_AUTHORS || kinds.len() > MAX_KINDS {
            tracing::warn!(
                authors = authors.len(),
                kinds = kinds.len(),
                "a look-up for more than is looked up at once"
            );
        }
        authors.truncate(MAX_AUTHORS);
        kinds.truncate(MAX_KINDS);
        Self { authors, kinds }
    }

    fn most(&self) -> usize {
        self.authors.len() * self.kinds.len()
    }

    fn filter(&self) -> Filter {
        let kinds = self.kinds.iter().copied().map(Kind::from);
        Filter::new().authors(self.authors.iter().copied()).kinds(kinds).limit(self.most())
    }
}

/// The newest verified event of each author and kind that these relays have.
pub(super) async fn newest(links: Vec<Arc<Link>>, wanted: Wanted) -> Vec<Event> {
    if wanted.most() == 0 || links.is_empty() {
        return Vec::new();
    }
    let (found_to, mut found) = mpsc::channel(64);
    let mut asking: FuturesUnordered<_> =
        links.iter().map(|link| ask(Arc::clone(link), wanted.clone(), found_to.clone())).collect();
    drop(found_to);
    let mut kept = Kept::default();
    let mut until = tokio::time::Instant::now() + PATIENCE;
    loop {
        tokio::select! {
            biased;
            event = found.recv() => match event {
                Some(event) => kept.take(event, &wanted, unix_now()),
                None => break,
            },
            Some(told) = asking.next() => if told {
                until = until.min(tokio::time::Instant::now() + GRACE);
            },
            () = tokio::time::sleep_until(until) => break,
        }
    }
    kept.events.into_values().collect()
}

/// Asks one relay; whether it has told everything.
async fn ask(link: Arc<Link>, wanted: Wanted, found: mpsc::Sender<Event>) -> bool {
    let mut up = link.up();
    for _ in 0..2 {
        // Fails when the relay is not used any more.
        if up.wait_for(|up| *up).await.is_err() {
            return false;
        }
        let id = SubscriptionId::generate();
        let _enough = Enough { link: &link, id: &id };
        let Some(mut answers) = link.ask(&id, wanted.filter(), wanted.most()) else { continue };
        while let Some(event) = answers.found.recv().await {
            if found.send(event).await.is_err() {
                return false;
            }
        }
        match answers.ended.await {
            Ok(Ended::Told) => return true,
            // Whom we authenticate as is the link's business, and takes a moment.
            Ok(Ended::Refused(Refusal::AuthRequired)) => tokio::time::sleep(AUTHENTICATING).await,
            Ok(Ended::Refused(_)) => return false,
            // The connection ended.
            Err(_) => {}
        }
    }
    false
}

/// Ends a question that is given up too.
struct Enough<'a> {
    link: &'a Link,
    id: &'a SubscriptionId,
}

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.link.asked_enough(self.id);
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Kept {
    events: HashMap<(PublicKey, u16), Event>,
    bytes: usize,
}

impl Kept {
    /// Keeps an event that was asked for, is signed, and is newer than what there is; of two of the same second the one with the lowest
    /// id, as relays do (NIP-01).
    fn take(&mut self, event: Event, wanted: &Wanted, now: u64) {
        let (author, kind) = (event.pubkey, event.kind.as_u16());
        if !wanted.authors.contains(&author) || !wanted.kinds.contains(&kind) {
            return;
        }
        if event.created_at.as_secs() > now.saturating_add(MAX_AHEAD) {
            return;
        }
        let known = self.events.get(&(author, kind));
        let order = |event: &Event| (event.created_at, std::cmp::Reverse(event.id));
        if known.is_some_and(|known| order(known) >= order(&event)) {
            return;
        }
        let bytes = self.bytes - known.map_or(0, size) + size(&event);
        if bytes > MAX_BYTES || event.verify().is_err() {
            return;
        }
        self.bytes = bytes;
        self.events.insert((author, kind), event);
    }
}

fn size(event: &Event) -> usize {
    let tags = event.tags.iter().flat_map(|tag| tag.as_slice()).map(String::len);
    event.content.len() + tags.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Keys, Timestamp};

    use super::*;

    const NOW: u64 = 1_000_000;

    fn event(keys: &Keys, kind: u16, created_at: u64, content: &str) -> Event {
        let builder = EventBuilder::new(Kind::from(kind), content).custom_created_at(Timestamp::from(created_at));
        builder.sign_with_keys(keys).unwrap()
    }

    #[test]
    fn of_each_author_and_kind_the_newest_event_that_was_asked_for_is_kept() {
        let (one, other) = (Keys::generate(), Keys::generate());
        let wanted = Wanted::new(vec![one.public_key()], vec![3]);
        let mut kept = Kept::default();
        let newest = event(&one, 3, NOW - 5, "newest");
        let mut forged = event(&one, 3, NOW - 1, "forged");
        forged.content = "other".into();
        for event in [
            event(&one, 3, NOW - 10, "old"),
            newest.clone(),
            event(&one, 3, NOW - 7, "older"),
            forged,
            event(&one, 3, NOW + MAX_AHEAD + 1, "of tomorrow"),
            event(&one, 0, NOW, "of another kind"),
            event(&other, 3, NOW, "of somebody else"),
        ] {
            kept.take(event, &wanted, NOW);
        }
        assert_eq!(kept.events.into_values().collect::<Vec<_>>(), [newest]);
    }

    #[test]
    fn more_than_is_kept_in_all_is_left_out() {
        let keys = Keys::generate();
        let wanted = Wanted::new(vec![keys.public_key()], (0..4).collect());
        let mut kept = Kept::default();
        let long = "x".repeat(MAX_BYTES / 3 - 100);
        for kind in 0..4 {
            kept.take(event(&keys, kind, NOW, &long), &wanted, NOW);
        }
        assert_eq!(kept.events.len(), 3);
        kept.take(event(&keys, 0, NOW + 1, "short"), &wanted, NOW);
        kept.take(event(&keys, 3, NOW, &long), &wanted, NOW);
        assert_eq!(kept.events.len(), 4, "what is replaced makes room");
    }
}
