//! WebSockets to relays, with `TCP_NODELAY`: nostr-sdk's own transport lacks it, which costs 40 ms an event on loopback.
//!
//! Events do not pass through nostr-sdk: [`Transport`] hands them to the intake as they come off the wire. The library would
//! drop badly signed and expired ones unseen by our counters, log their whole text as errors, and suppress ids by a memory
//! of its own.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_wsocket::message::CloseFrame;
use async_wsocket::{ConnectionMode, Message};
use futures::stream::{SplitSink, StreamExt};
use futures::{Sink, SinkExt};
use nostr::Url;
use nostr::util::BoxedFuture;
use nostr_sdk::pool::transport::error::TransportError;
use nostr_sdk::pool::transport::websocket::{WebSocketSink, WebSocketStream, WebSocketTransport};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message as Frame};

/// How long the whole way to an open WebSocket may take, name resolution included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one of several addresses is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);
/// The largest message that is read, in bytes. Far above the largest event that we take, because a message over this limit ends
/// the connection: whoever may store such an event for us at a relay must not be able to keep us off it.
const MAX_MESSAGE: usize = 1024 * 1024;
/// Bytes that may wait to be written before the connection counts as broken.
const MAX_UNWRITTEN: usize = 4 * 1024 * 1024;

/// Why there is no connection to a relay.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the URL names no host")]
    Url,
    #[error("the host name cannot be resolved")]
    Resolve(#[source] io::Error),
    #[error("its address is of no public network")]
    NotPublic,
    #[error("no address takes a connection")]
    Connect(#[source] io::Error),
    #[error("TLS fails")]
    Tls(#[source] io::Error),
    #[error("the WebSocket handshake fails")]
    Handshake(#[source] Box<tungstenite::Error>),
    #[error("no answer in time")]
    Timeout,
}

impl DialError {
    /// A label for the API: short and stable.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Resolve(_) => "resolve",
            Self::NotPublic => "not_public",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Handshake(_) => "handshake",
            Self::Timeout => "timeout",
        }
    }
}

/// A byte stream under a WebSocket: TCP, or TLS on it.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Socket = tokio_tungstenite::WebSocketStream<Box<dyn Io>>;

/// What is told of one relay's wire.
pub(super) trait Port: fmt::Debug + Send + Sync + 'static {
    /// How long to wait before the next attempt to connect.
    fn pause(&self) -> Duration;
    /// Whether a connection to this address, one that the relay's name leads to, may be made.
    fn admits(&self, address: IpAddr) -> bool;
    fn dialled(&self, result: Result<(), &DialError>);
    /// Anything came, a pong for instance: the relay is there.
    fn heard(&self);
    /// A message came. Returns whether it was an event, and is settled; else it goes on to nostr-sdk. While this is pending
    /// nothing more is read from the relay: a flood is held back in the relay's own queue.
    fn take<'a>(&'a self, text: &'a str) -> BoxedFuture<'a, bool>;
}

/// Where each relay's port is. Weak, because a port holds its nostr-sdk relay, and that one the transport.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports(Arc<Mutex<HashMap<Url, Weak<dyn Port>>>>);

impl Ports {
    /// From now on the wire to this relay is told to `port`. Ports that are gone are forgotten.
    pub(super) fn insert(&self, url: Url, port: Weak<dyn Port>) {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ports.retain(|_, port| port.strong_count() > 0);
        ports.insert(url, port);
    }

    fn get(&self, url: &Url) -> Option<Arc<dyn Port>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).and_then(Weak::upgrade)
    }
}

/// nostr-sdk's way to its relays.
#[derive(Debug)]
pub(super) struct Transport(pub Ports);

impl WebSocketTransport for Transport {
    fn support_ping(&self) -> bool {
        true
    }

    fn connect<'a>(
        &'a self,
        url: &'a Url,
        _mode: &'a ConnectionMode,
        timeout: Duration,
    ) -> BoxedFuture<'a, Result<(WebSocketSink, WebSocketStream), TransportError>> {
        Box::pin(async move {
            let port = self.0.get(url).ok_or_else(|| TransportError::backend(DialError::Url))?;
            tokio::time::sleep(port.pause()).await;
            let dialling = dial(url, public_roots(), |address| port.admits(address));
            let dialled = match tokio::time::timeout(timeout.min(CONNECT_TIMEOUT), dialling).await {
                Ok(dialled) => dialled,
                Err(_) => Err(DialError::Timeout),
            };
            port.dialled(dialled.as_ref().map(|_| ()));
            let (sink, stream) = dialled.map_err(TransportError::backend)?.split();
            let stream = stream.filter_map(move |item| {
                let port = Arc::clone(&port);
                async move {
                    port.heard();
                    match item {
                        Ok(Frame::Text(text)) if port.take(&text).await => None,
                        Ok(frame) => message(frame).map(Ok),
                        Err(error) => Some(Err(TransportError::backend(error))),
                    }
                }
            });
            Ok((Box::new(Frames(sink)) as WebSocketSink, Box::pin(stream) as WebSocketStream))
        })
    }
}

/// Opens a WebSocket, trying each address of the host that is admitted: it is the address that is dialled which is asked about, so
/// that a name cannot lead elsewhere between a check and its use.
async fn dial(url: &Url, roots: RootCertStore, admits: impl Fn(IpAddr) -> bool) -> Result<Socket, DialError> {
    let host = url.host_str().ok_or(DialError::Url)?;
    let port = url.port_or_known_default().ok_or(DialError::Url)?;
    // An IPv6 literal stands in brackets in a URL, and without them everywhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let tcp = connect(host, port, admits).await?;
    let io: Box<dyn Io> = if url.scheme() == "wss" { Box::new(secure(tcp, host, roots).await?) } else { Box::new(tcp) };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNWRITTEN);
    let (socket, _response) = tokio_tungstenite::client_async_with_config(url.as_str(), io, Some(config))
        .await
        .map_err(|error| DialError::Handshake(Box::new(error)))?;
    Ok(socket)
}

async fn connect(host: &str, port: u16, admits: impl Fn(IpAddr) -> bool) -> Result<TcpStream, DialError> {
    let mut addresses = tokio::net::lookup_host((host, port)).await.map_err(DialError::Resolve)?.collect::<Vec<_>>();
    let known = addresses.len();
    addresses.retain(|address| admits(address.ip()));
    if addresses.is_empty() && known > 0 {
        return Err(DialError::NotPublic);
    }
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match tokio::time::timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true).map_err(DialError::Connect)?;
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(DialError::Connect(last))
}

/// The authorities that browsers trust.
fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

async fn secure(tcp: TcpStream, host: &str, roots: RootCertStore) -> Result<impl Io + use<>, DialError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::Url)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| DialError::Tls(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(DialError::Tls)
}

/// What nostr-sdk's WebSocket crate calls this frame.
fn message(frame: Frame) -> Option<Message> {
    Some(match frame {
        Frame::Text(text) => Message::Text(text.to_string()),
        Frame::Binary(bytes) => Message::Binary(bytes.into()),
        Frame::Ping(bytes) => Message::Ping(bytes.into()),
        Frame::Pong(bytes) => Message::Pong(bytes.into()),
        Frame::Close(frame) => {
            Message::Close(frame.map(|frame| CloseFrame { code: frame.code.into(), reason: frame.reason.to_string() }))
        }
        // Never read, only written.
        Frame::Frame(_) => return None,
    })
}

/// The sending half. A plain struct and not `sink_map_err`, which panics when it is used after an error.
struct Frames(SplitSink<Socket, Frame>);

impl Sink<Message> for Frames {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready_unpin(cx).map_err(TransportError::backend)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Message) -> Result<(), Self::Error> {
        self.0.start_send_unpin(item.into()).map_err(TransportError::backend)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_flush_unpin(cx).map_err(TransportError::backend)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_close_unpin(cx).map_err(TransportError::backend)
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A WebSocket server behind TLS that echoes, with a certificate of its own for `localhost`; its URL and that certificate.
    async fn server() -> (Url, RootCertStore) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(tls) = acceptor.accept(tcp).await else { continue };
                let Ok(socket) = tokio_tungstenite::accept_async(tls).await else { continue };
                let (sink, stream) = socket.split();
                let _ = stream.forward(sink).await;
            }
        });
        (Url::parse(&url).unwrap(), roots)
    }

    #[tokio::test]
    async fn a_relay_behind_tls_is_reached_when_its_certificate_is_trusted() {
        let (url, roots) = server().await;
        let mut socket = dial(&url, roots, |_| true).await.unwrap();
        socket.send(Frame::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Frame::text("hello"));
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_is_refused() {
        let (url, _) = server().await;
        assert!(matches!(dial(&url, public_roots(), |_| true).await, Err(DialError::Tls(_))));
    }

    #[tokio::test]
    async fn what_is_not_a_websocket_is_told_from_what_is_not_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        assert!(matches!(dial(&url, public_roots(), |_| true).await, Err(DialError::Handshake(_))));
        let nowhere = Url::parse("ws://127.0.0.1:1").unwrap();
        assert!(matches!(dial(&nowhere, public_roots(), |_| true).await, Err(DialError::Connect(_))));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_no_admitted_address_is_not_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("ws://localhost:{}", listener.local_addr().unwrap().port())).unwrap();
        let dialled = dial(&url, public_roots(), |address| !address.is_loopback()).await;
        assert!(matches!(dialled, Err(DialError::NotPublic)));
        let nobody = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(nobody.is_err(), "no connection was begun");
    }
}
