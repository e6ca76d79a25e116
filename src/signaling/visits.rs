//! Relays that are none of ours: those that a caller names, or that a key's relay list does. Opened when there is something to send or
//! to ask there, a few at once, and closed when they were not used for a while.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nostr::{Keys, RelayUrl, Url};
use nostr_sdk::pool::{RelayOptions, RelayPool};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::intake::Sieve;
use super::link::Link;
use super::transport::{Port, Ports};
use crate::sdp::CallerServers;

/// Relays open at once. Whoever may call can name one for each call.
const AT_ONCE: usize = 8;
/// How long one stays open after its last use: an answer takes its time, and an outbox's newest stamp lies in the past by then, so that
/// a lane that begins anew goes on where it was.
const IDLE: Duration = Duration::from_secs(120);
/// How long one was not used before it makes room for another.
const SPARE: Duration = Duration::from_secs(20);
/// The pause before a relay is opened that is just being closed.
const STILL_CLOSING: Duration = Duration::from_millis(100);

/// Opens and closes them.
pub(super) struct Visits {
    pub pool: RelayPool,
    pub options: RelayOptions,
    pub ports: Ports,
    pub sieve: Sieve,
    /// Our own relays, which are always open.
    pub ours: HashSet<Url>,
    /// Which addresses may be dialled.
    pub reach: CallerServers,
    pub runtime: Handle,
    pub stop: CancellationToken,
    pub open: Open,
}

/// Those that are open. Held for a look-up only.
#[derive(Debug, Clone, Default)]
pub(super) struct Open(Arc<Mutex<HashMap<Url, Visit>>>);

#[derive(Debug)]
struct Visit {
    link: Arc<Link>,
    used: Instant,
}

impl Open {
    fn all(&self) -> MutexGuard<'_, HashMap<Url, Visit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the visit to this relay ends. None when another has taken its place.
    fn due(&self, url: &Url, link: &Arc<Link>) -> Option<Instant> {
        self.all().get(url).filter(|visit| Arc::ptr_eq(&visit.link, link)).map(|visit| visit.used + IDLE)
    }

    fn close(&self, url: &Url, link: &Arc<Link>) {
        let mut all = self.all();
        if all.get(url).is_some_and(|visit| Arc::ptr_eq(&visit.link, link)) {
            all.remove(url);
        }
    }
}

impl Visits {
    /// The first `most` of these relays that are none of ours, opened if need be; fewer when too many are in use.
    pub(super) fn to(&self, relays: &[RelayUrl], most: usize) -> Vec<Arc<Link>> {
        let mut seen = HashSet::new();
        let others = relays.iter().filter(|url| {
            let url = Url::from((*url).clone());
            !self.ours.contains(&url) && seen.insert(url)
        });
        others.take(most).filter_map(|url| self.visit(url)).collect()
    }

    /// The same, subscribed to what comes for `key`.
    pub(super) fn listening(&self, relays: &[RelayUrl], most: usize, key: &Keys) -> Vec<Arc<Link>> {
        let links = self.to(relays, most);
        for link in &links {
            link.listen_for(key);
        }
        links
    }

    fn visit(&self, relay: &RelayUrl) -> Option<Arc<Link>> {
        if self.reach == CallerServers::Never {
            return None;
        }
        let (url, now) = (Url::from(relay.clone()), Instant::now());
        let mut open = self.open.all();
        if let Some(visit) = open.get_mut(&url) {
            visit.used = now;
            return Some(Arc::clone(&visit.link));
        }
        if open.len() >= AT_ONCE {
            let (longest, used) =
                open.iter().min_by_key(|(_, visit)| visit.used).map(|(url, visit)| (url.clone(), visit.used))?;
            if now.duration_since(used) < SPARE {
                tracing::debug!(%relay, "too many other relays are in use");
                return None;
            }
            if let Some(spare) = open.remove(&longest) {
                spare.link.stop().cancel();
            }
        }
        let link = Arc::new(Link::named(relay.clone(), self.sieve.clone(), self.reach, self.stop.child_token()));
        open.insert(url.clone(), Visit { link: Arc::clone(&link), used: now });
        let port: Arc<dyn Port> = Arc::clone(&link) as _;
        self.ports.insert(url.clone(), Arc::downgrade(&port));
        let (pool, options, all) = (self.pool.clone(), self.options.clone(), self.open.clone());
        self.runtime.spawn(stay(Arc::clone(&link), url, pool, options, all));
        Some(link)
    }
}

/// Connects to a relay, and closes it when it is not used any more.
async fn stay(link: Arc<Link>, url: Url, pool: RelayPool, options: RelayOptions, open: Open) {
    let stop = link.stop().clone();
    let visiting = async {
        // Not added: the same relay is just being closed.
        while !pool.add_relay(&link.url, options.clone()).await? {
            tokio::time::sleep(STILL_CLOSING).await;
        }
        Arc::clone(&link).start(pool.relay(&link.url).await?);
        while let Some(due) = open.due(&url, &link).filter(|due| *due > Instant::now()) {
            tokio::time::sleep_until(due).await;
        }
        Ok::<_, nostr_sdk::pool::pool::Error>(())
    };
    if let Some(Err(error)) = stop.run_until_cancelled(visiting).await {
        tracing::debug!(relay = %link.url, %error, "a relay cannot be used");
    }
    stop.cancel();
    open.close(&url, &link);
    if link.has_started() {
        // Not found: everything is shut down.
        let _ = pool.force_remove_relay(&link.url).await;
    }
}
