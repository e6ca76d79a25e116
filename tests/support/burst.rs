//! Many callers who offer to one line at once, whatever relay is in between.

use std::time::{Duration, Instant};

use callgate::protocol::{Body, Dialect, Offer, Outgoing};
use futures::future::join_all;
use nostr::{PublicKey, RelayUrl};

use super::calls::{Caller, watcher};
use super::signaling::{Party, now, outgoing, soon};

/// Lets so many callers offer within a second; returns when each has its own answer, and how long the last one waited. None of them ever
/// connects, so that each answer is also said again: those who wait for their first must not wait for that.
pub async fn offered_at_once(relay: &RelayUrl, line: PublicKey, callers: usize, dialect: Dialect) -> Duration {
    let caller = Caller::start(watcher()).await;
    let mut parties = Vec::new();
    for _ in 0..callers {
        parties.push(Party::new(std::slice::from_ref(relay)).await);
    }
    for party in &parties {
        soon(party.signaling.connected()).await;
    }
    let began = Instant::now();
    for (n, party) in parties.iter().enumerate() {
        let offer = Body::Offer(Offer::new(caller.offer.clone(), now(), 60));
        let offering = outgoing(party.public(), line, &format!("{dialect}-{n}"), offer);
        // Relays that say nothing of ephemeral events are waited for by nobody.
        drop(party.signaling.publish(Outgoing { dialect, ..offering }).unwrap());
    }
    let answered = parties.iter_mut().enumerate().map(|(n, party)| async move {
        let (envelope, answer) = party.answer().await;
        assert_eq!((envelope.session.to_string(), envelope.dialect), (format!("{dialect}-{n}"), dialect));
        assert!(answer.accepted);
        began.elapsed()
    });
    let last = join_all(answered).await.into_iter().max().unwrap_or_default();
    eprintln!("{callers} callers, {dialect}: the last one is answered after {last:?}");
    caller.end().await;
    last
}
