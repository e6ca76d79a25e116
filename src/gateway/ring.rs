//! What a line is asked when it is to call somebody.

use std::time::Duration;

use nostr::{PublicKey, RelayUrl};
use tokio::sync::oneshot;

use super::Gateway;
use super::showing::npub;
use super::supervisor::Ask;
use super::view::RungView;
use crate::call::{LONGEST_CALLING, LimitReached, SHORTEST_CALLING};
use crate::media::{CallId, LineName};
use crate::protocol::Dialect;

/// How many are rung by one request: a household. Each costs a peer, and an offer a relay's time.
pub const MAX_RUNG: usize = 8;
/// How many relays a request may name beside the gateway's own.
pub const MAX_RING_RELAYS: usize = 4;
/// How long a line rings when the request does not say.
pub const DEFAULT_RINGS: Duration = Duration::from_secs(60);
/// The shortest and the longest that a line rings.
pub const RINGS: (Duration, Duration) =
    (Duration::from_millis(SHORTEST_CALLING), Duration::from_millis(LONGEST_CALLING));

/// Whom a line is to call. All ring at once, and the first who answers has the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    pub line: LineName,
    pub to: Vec<PublicKey>,
    /// How long it rings, within [`RINGS`].
    pub rings: Duration,
    /// Where they are reached, beside the gateway's own relays.
    pub relays: Vec<RelayUrl>,
    /// In this dialect alone; without one wrapped, and after a moment plain too.
    pub dialect: Option<Dialect>,
}

/// Why nobody is rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("no such line")]
    NoSuchLine,
    #[error("nobody to call")]
    Nobody,
    #[error("at most {MAX_RUNG} are called at once")]
    TooMany,
    #[error("at most {MAX_RING_RELAYS} relays can be named")]
    TooManyRelays,
    #[error("a line does not call itself")]
    Itself,
    #[error("{0}")]
    Limit(LimitReached),
    #[error("the gateway is shutting down")]
    Draining,
}

/// How many relays our offers name: those who are called listen there until the call is over.
const MAX_HINTS: usize = 2;

/// The relays that our offers name: those that are not on this machine first.
pub(super) fn heard_at(relays: &[RelayUrl]) -> Vec<RelayUrl> {
    let (here, elsewhere): (Vec<_>, Vec<_>) = relays.iter().cloned().partition(is_here);
    elsewhere.into_iter().chain(here).take(MAX_HINTS).collect()
}

fn is_here(relay: &RelayUrl) -> bool {
    match url::Url::parse(relay.as_str()).ok().as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// What became of one who is called: a call, or the limit that it met.
pub(super) type Rung = (PublicKey, Result<CallId, LimitReached>);

impl Gateway {
    /// Lets a line call: returns as soon as it is decided who is rung. What comes of the calls is seen in [`Gateway::calls`].
    ///
    /// # Errors
    /// [`RingError`]; when a limit keeps some from being rung and not all, it is told with each of them.
    pub async fn ring(&self, ring: Ring) -> Result<Vec<RungView>, RingError> {
        let (done, answer) = oneshot::channel();
        if self.asks.send(Ask::Ring { ring, done }).await.is_err() {
            return Err(RingError::Draining);
        }
        let rung = answer.await.unwrap_or(Err(RingError::Draining))?;
        Ok(rung.iter().map(shown).collect())
    }
}

fn shown((key, call): &Rung) -> RungView {
    let (id, error) = match call {
        Ok(call) => (Some(call.to_string()), None),
        Err(limit) => (None, Some(limit.to_string())),
    };
    RungView { to: npub(key), id, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_name_a_few_relays_those_on_this_machine_last() {
        let relays = ["ws://127.0.0.1:7777", "ws://localhost", "wss://a.example", "ws://[::1]:1", "wss://b.example"];
        let relays = relays.map(|relay| RelayUrl::parse(relay).unwrap());
        assert_eq!(heard_at(&relays), [relays[2].clone(), relays[4].clone()]);
        assert_eq!(heard_at(&relays[..2]), relays[..2]);
    }
}
