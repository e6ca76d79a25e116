//! The HTTP server: the caller page and the API. It talks to a gateway handle.
//!
//! Without a token it serves loopback only, and checks that a browser was not tricked into asking (DNS rebinding, posts from
//! other sites). With a token every request to the API must carry it, so that the server may stand behind a proxy.

mod api;
mod guard;
mod page;
mod recordings;
mod ring;
mod ticket;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::gateway::view::{CallView, LineView, RelayView, RungView};
use crate::gateway::{DeleteError, RecordError, RecordingFile, Ring, RingError};
use crate::media::{LineName, SnapshotError};
use crate::recording::RecordingId;
use crate::store::{KeptRecording, RecordingFilter, StoreError};

pub use guard::Token;

/// How long a client may take for a request's head, and an idle connection lives, in seconds.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an answer may take to begin: hanging up waits for a session task.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may go on at shutdown.
const GRACE: Duration = Duration::from_secs(2);
/// Connections at once. Further ones wait in the kernel's queue; a browser opens six.
const MAX_CONNECTIONS: usize = 256;
/// Pause after a failed accept: with no file descriptor left it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server shows and does: a handle to the running gateway.
pub trait Gateway: Clone + Send + Sync + 'static {
    fn lines(&self) -> Vec<LineView>;
    /// Calls that ended lately, then those that are up.
    fn calls(&self) -> Vec<CallView>;
    fn relays(&self) -> Vec<RelayView>;
    fn counters(&self) -> BTreeMap<String, u64>;
    /// Whether it is shutting down and takes no more calls.
    fn draining(&self) -> bool;
    /// Ends the call with this [`CallView::id`]; false when there is none.
    fn hang_up(&self, id: &str) -> impl Future<Output = bool> + Send;
    /// Lets a line call; returns when it is decided who is rung.
    fn ring(&self, ring: Ring) -> impl Future<Output = Result<Vec<RungView>, RingError>> + Send;
    /// The newest first.
    fn recordings(
        &self,
        filter: RecordingFilter,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<KeptRecording>, StoreError>> + Send;
    fn recording(&self, id: RecordingId) -> impl Future<Output = Result<Option<RecordingFile>, StoreError>> + Send;
    fn delete_recording(&self, id: RecordingId) -> impl Future<Output = Result<(), DeleteError>> + Send;
    /// Records a line without a call, for so long at most; returns when it has begun.
    fn record(
        &self,
        line: LineName,
        longest: Duration,
    ) -> impl Future<Output = Result<RecordingId, RecordError>> + Send;
    fn stop_recording(&self, line: LineName) -> impl Future<Output = Result<RecordingId, RecordError>> + Send;
    /// A JPEG of what a line shows now.
    fn snapshot(&self, line: LineName) -> impl Future<Output = Result<Vec<u8>, SnapshotError>> + Send;
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("{0} is taken by another program")]
    Taken(SocketAddr),
    #[error("{0} is not an address of this machine")]
    NotOurs(SocketAddr),
    #[error("listening at {0} is not permitted")]
    NotPermitted(SocketAddr),
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("listening at {0}, beyond loopback, needs a token")]
    TokenNeeded(SocketAddr),
}

/// Opens the port.
///
/// # Errors
/// [`WebError::Taken`] and its like, each with the address; [`WebError::TokenNeeded`] when the address is not a loopback one and
/// there is no token.
pub async fn bind(address: SocketAddr, token: Option<&Token>) -> Result<TcpListener, WebError> {
    if !address.ip().to_canonical().is_loopback() && token.is_none() {
        return Err(WebError::TokenNeeded(address));
    }
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => WebError::Taken(address),
        io::ErrorKind::AddrNotAvailable => WebError::NotOurs(address),
        io::ErrorKind::PermissionDenied => WebError::NotPermitted(address),
        _ => WebError::Listen(address, error),
    })
}

/// Serves until `stop`; then lets open requests end, for a moment.
pub async fn serve<G: Gateway>(listener: TcpListener, gateway: G, token: Option<Token>, stop: CancellationToken) {
    let router = router(gateway, token);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = serve_connection(stream, router.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn serve_connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    // A connection that breaks is the client's affair.
    tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(GRACE, connection).await;
        }
        _ = connection.as_mut() => {}
    }
}

fn router<G: Gateway>(gateway: G, token: Option<Token>) -> Router {
    let tickets = token.is_some().then(ticket::Tickets::new);
    let guard = Arc::new(guard::Guard::new(token, tickets.clone()));
    Router::new()
        .route("/", axum::routing::get(page::caller))
        .merge(api::routes(gateway))
        .fallback(api::no_such_page)
        .layer(axum::Extension(tickets))
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
}
