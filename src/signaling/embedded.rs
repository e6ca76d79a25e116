//! A relay inside callgate, for a LAN or a demo.
//!
//! nostr-relay-builder keeps the events; the sockets are ours. Each connection is accepted here with `TCP_NODELAY` and limits,
//! and its messages are passed on through an in-memory pipe: the library reads messages of up to 64 MiB, ends a connection at the
//! first message that it cannot read, and knows no idle limit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use nostr::util::BoxedFuture;
use nostr::{ClientMessage, Event, JsonUtil, Kind, RelayUrl, Timestamp};
use nostr_relay_builder::LocalRelay;
use nostr_relay_builder::builder::{PolicyResult, RateLimit, RelayBuilder, WritePolicy};
use nostr_relay_builder::prelude::{MemoryDatabase, MemoryDatabaseOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::protocol::{Container, MAX_EVENT_BYTES, SignalKind};

/// Connections at once: a household and its visitors.
const CONNECTIONS: usize = 256;
/// The largest message that is read, in bytes: an event and what is around it, with room for escapes.
const MAX_MESSAGE: usize = 2 * MAX_EVENT_BYTES;
/// Events that are kept; at the largest size they take 64 MiB, in practice a few.
const EVENTS: usize = 1000;
/// Events a minute on one connection. The library's default of 60 would silence a gateway that answers several calls.
const EVENTS_PER_MINUTE: u32 = 6000;
/// Subscriptions on one connection.
const SUBSCRIPTIONS: usize = 32;
/// How far in the future a `created_at` may be, in seconds: as strfry has it.
const MAX_AHEAD: u64 = 900;
/// How long a client may take for the WebSocket handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The pause between two pings to a client; one of whom nothing is heard for twice this is gone.
const PING: Duration = Duration::from_secs(30);
/// How long writing one message may take before the client counts as gone.
const WRITE: Duration = Duration::from_secs(10);
/// The in-memory pipe to the library, in bytes each way.
const PIPE: usize = 64 * 1024;
/// The pause after accepting failed: usually all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What ordinary clients of calls publish, besides the calls themselves: profile, follows, relay lists.
const OTHER_KINDS: [u16; 4] = [0, 3, 10002, 10050];

/// Why the relay cannot start: the configuration's fault.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error("the embedded relay's address {0} is in use by another program")]
    InUse(SocketAddr),
    #[error("the embedded relay cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// A running relay; dropping it stops it.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
    _stop_on_drop: DropGuard,
}

impl Embedded {
    /// Listens on `address` (port 0: any free one) and serves until dropped.
    ///
    /// # Errors
    /// [`EmbeddedError`].
    pub async fn start(address: SocketAddr) -> Result<Self, EmbeddedError> {
        let fault = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => EmbeddedError::InUse(address),
            _ => EmbeddedError::Listen { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        let relay = LocalRelay::new(
            RelayBuilder::default()
                .database(MemoryDatabase::with_opts(MemoryDatabaseOptions { events: true, max_events: Some(EVENTS) }))
                .rate_limit(RateLimit { max_reqs: SUBSCRIPTIONS, notes_per_minute: EVENTS_PER_MINUTE })
                .max_connections(CONNECTIONS)
                .max_subid_length(64)
                .max_filter_limit(EVENTS)
                .default_filter_limit(EVENTS)
                .write_policy(Admission),
        );
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, relay, stop.clone()));
        tracing::info!(%address, "embedded relay listening");
        Ok(Self { address, _stop_on_drop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL on this machine.
    pub fn url(&self) -> RelayUrl {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let url = format!("ws://{}", SocketAddr::new(ip, self.address.port()));
        RelayUrl::parse(&url).expect("a socket address makes a URL") // invariant: an IP literal and a port
    }
}

async fn accept(listener: TcpListener, relay: LocalRelay, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // One too many is closed at once.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (relay, stop) = (relay.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                served = serve(tcp, peer, relay) => if let Err(error) = served {
                    tracing::debug!(%peer, %error, "embedded relay: connection ended");
                }
            }
        });
    }
    relay.shutdown();
}

/// Why a connection ended before its client closed it.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("socket")]
    Socket(#[from] io::Error),
    #[error("WebSocket")]
    WebSocket(#[from] tokio_tungstenite::tungstenite::Error),
    #[error("too slow")]
    Slow,
    #[error("gone")]
    Gone,
}

/// Serves one client to its end.
async fn serve(tcp: TcpStream, peer: SocketAddr, relay: LocalRelay) -> Result<(), Ended> {
    tcp.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE);
    let handshake = tokio_tungstenite::accept_async_with_config(tcp, Some(config));
    let socket = tokio::time::timeout(HANDSHAKE, handshake).await.map_err(|_| Ended::Slow)??;
    let (near, far) = tokio::io::duplex(PIPE);
    let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    tokio::select! {
        ended = pass(socket, near) => ended,
        // Ends when the pipe does, or when the relay shuts down. Its errors are the client's and say nothing more.
        _ = relay.take_connection(far, peer) => Ok(()),
    }
}

type Pipe = WebSocketStream<tokio::io::DuplexStream>;

/// Passes messages on, both ways, until one side ends. The ways do not wait for each other: the library reads nothing while it
/// writes, so one loop for both could end with each waiting for the other.
async fn pass(socket: WebSocketStream<TcpStream>, pipe: Pipe) -> Result<(), Ended> {
    let (to_client, from_client) = socket.split();
    let (to_relay, from_relay) = pipe.split();
    let heard = AtomicBool::new(true);
    // Notices for messages that are not passed on; a client that sends many gets some.
    let (notice, notices) = mpsc::channel(4);
    tokio::select! {
        ended = upstream(from_client, to_relay, &heard, notice) => ended,
        ended = downstream(from_relay, to_client, &heard, notices) => ended,
    }
}

async fn upstream(
    mut from_client: SplitStream<WebSocketStream<TcpStream>>,
    mut to_relay: SplitSink<Pipe, Message>,
    heard: &AtomicBool,
    notice: mpsc::Sender<&'static str>,
) -> Result<(), Ended> {
    while let Some(message) = from_client.next().await {
        heard.store(true, Ordering::Relaxed);
        match message? {
            message @ Message::Text(_) if readable(&message) => to_relay.send(message).await?,
            Message::Text(_) | Message::Binary(_) => {
                // Full: the client was told before.
                let _ = notice.try_send(r#"["NOTICE","invalid: not a message that this relay reads"]"#);
            }
            Message::Close(_) => return Ok(()),
            // Pings are answered by the WebSocket layer.
            _ => {}
        }
    }
    Ok(())
}

async fn downstream(
    mut from_relay: SplitStream<Pipe>,
    mut to_client: SplitSink<WebSocketStream<TcpStream>, Message>,
    heard: &AtomicBool,
    mut notices: mpsc::Receiver<&'static str>,
) -> Result<(), Ended> {
    let mut ping = tokio::time::interval(PING);
    let mut silent = 0;
    loop {
        let message = tokio::select! {
            message = from_relay.next() => match message {
                Some(message) => message?,
                None => return Ok(()),
            },
            Some(notice) = notices.recv() => Message::text(notice),
            _ = ping.tick() => {
                silent = if heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
                if silent == 2 {
                    return Err(Ended::Gone);
                }
                Message::Ping(Default::default())
            }
        };
        tokio::time::timeout(WRITE, to_client.send(message)).await.map_err(|_| Ended::Slow)??;
    }
}

/// Whether the library can read the message: what it cannot makes it end the connection. Negentropy is left out: it computes over
/// all events, and no client of calls needs it.
fn readable(message: &Message) -> bool {
    let Ok(text) = message.to_text() else { return false };
    match ClientMessage::from_json(text) {
        Ok(ClientMessage::NegOpen { .. } | ClientMessage::NegMsg { .. } | ClientMessage::NegClose { .. }) | Err(_) => {
            false
        }
        Ok(_) => true,
    }
}

/// Which events are taken: calls, and what their clients need around them.
#[derive(Debug)]
struct Admission;

impl WritePolicy for Admission {
    fn admit_event<'a>(&'a self, event: &'a Event, _peer: &'a SocketAddr) -> BoxedFuture<'a, PolicyResult> {
        let verdict = match refusal(event, Timestamp::now()) {
            Some(reason) => PolicyResult::Reject(reason.to_owned()),
            None => PolicyResult::Accept,
        };
        Box::pin(std::future::ready(verdict))
    }
}

fn refusal(event: &Event, now: Timestamp) -> Option<&'static str> {
    let kind = event.kind.as_u16();
    let container = Container::of(kind);
    if container.is_none() && !OTHER_KINDS.contains(&kind) {
        return Some("this relay is for calls");
    }
    if event.as_json().len() > container.map_or(MAX_EVENT_BYTES, Container::max_bytes) {
        return Some("the event is too large");
    }
    if event.created_at.as_secs() > now.as_secs() + MAX_AHEAD {
        return Some("created_at is too far in the future");
    }
    if event.is_expired_at(&now) {
        return Some("the event has expired");
    }
    // Nobody could be called by it, and ordinary kinds name nobody.
    if event.kind == Kind::from(SignalKind::Offer.number()) && event.tags.public_keys().next().is_none() {
        return Some("the offer is for nobody");
    }
    None
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Keys, Tag};

    use super::*;

    fn event(kind: u16, content: &str, tags: Vec<Tag>, created_at: u64) -> Event {
        EventBuilder::new(Kind::from(kind), content)
            .tags(tags)
            .custom_created_at(Timestamp::from(created_at))
            .sign_with_keys(&Keys::generate())
            .unwrap()
    }

    #[test]
    fn calls_and_what_surrounds_them_are_taken_and_other_kinds_are_not() {
        let now = Timestamp::from(1_000_000);
        let to = || vec![Tag::public_key(Keys::generate().public_key())];
        for kind in [14300, 14301, 14302, 14303, 0, 3, 10002, 10050, 21059] {
            assert_eq!(refusal(&event(kind, "", to(), 1_000_000), now), None, "{kind}");
        }
        for kind in [1, 4, 5, 7, 1059, 14304, 30023] {
            assert!(refusal(&event(kind, "", to(), 1_000_000), now).is_some(), "{kind}");
        }
    }

    #[test]
    fn what_is_too_large_from_the_future_expired_or_for_nobody_is_not_taken() {
        let now = Timestamp::from(1_000_000);
        let to = || vec![Tag::public_key(Keys::generate().public_key())];
        let mut expired = to();
        expired.push(Tag::expiration(Timestamp::from(999_999)));
        assert!(refusal(&event(14300, &"x".repeat(MAX_EVENT_BYTES), to(), 1_000_000), now).is_some());
        assert!(refusal(&event(14300, "", to(), 1_000_901), now).is_some());
        assert!(refusal(&event(14300, "", expired, 1_000_000), now).is_some());
        assert!(refusal(&event(14300, "", vec![], 1_000_000), now).is_some());
    }

    #[test]
    fn only_messages_that_the_library_can_read_reach_it() {
        assert!(readable(&Message::text(r#"["REQ","a",{"kinds":[14300]}]"#)));
        assert!(readable(&Message::text(r#"["CLOSE","a"]"#)));
        assert!(!readable(&Message::text(r#"["REQ"]"#)));
        assert!(!readable(&Message::text("hello")));
        assert!(!readable(&Message::text(r#"["NEG-OPEN","a",{},"6100"]"#)));
    }
}
