//! What `run`, `serve` and `demo` have in common: a configuration becomes a running gateway, until it is told to stop.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use nostr::ToBech32 as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Outcome};
use crate::config::{self, Config};
use crate::gateway::view::{CallView, LineView, RelayView, RungView};
use crate::gateway::{self, DeleteError, Gateway, RecordError, RecordingFile, Ring, RingError};
use crate::media::{CallId, IceSettings, LineName, SnapshotError};
use crate::recording::RecordingId;
use crate::sdp::IceServer;
use crate::signaling::{Embedded, EmbeddedError};
use crate::store::{KeptRecording, RecordingFilter, Store, StoreError};
use crate::web::{self, Token, WebError};

/// A line that can be called.
pub(super) struct ReadyLine {
    pub(super) name: String,
    pub(super) npub: String,
    /// Redacted.
    pub(super) endpoint: String,
    pub(super) relays: Vec<String>,
}

/// What is up, told once everything is.
pub(super) struct Ready {
    pub(super) lines: Vec<ReadyLine>,
    /// Where the page is.
    pub(super) page: Option<std::net::SocketAddr>,
}

/// Runs with the store in the configuration's data folder, once whatever is doubtful in the configuration is in the log.
pub(super) fn run_with_data(config: Config, ready: impl FnOnce(&Ready)) -> Outcome {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let store = Store::open(&config.data_dir)?;
    run(config, store, ready)
}

/// Runs with a store that the caller opened, until SIGTERM or SIGINT: the first hangs up every call politely, the second ends at once.
pub(super) fn run(config: Config, store: Store, ready: impl FnOnce(&Ready)) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::new(Exit::Software, error))?;
    let outcome = runtime.block_on(gate(config, store, ready));
    // What still runs then is a disk write or a name look-up that nobody waits for.
    runtime.shutdown_background();
    outcome
}

async fn gate(config: Config, store: Store, ready: impl FnOnce(&Ready)) -> Outcome {
    let store = Arc::new(store);
    let (mut term, mut int) = (stop_signal(SignalKind::terminate())?, stop_signal(SignalKind::interrupt())?);

    // Both ports before anything else: a port that is taken is told at once.
    let embedded = match config.nostr.embedded_relay {
        Some(address) => Some(Embedded::start(address).await?),
        None => None,
    };
    let token = config.http.as_ref().and_then(|http| http.token.as_ref()).map(|token| Token::new(token.expose()));
    let listener = match &config.http {
        Some(http) => Some(web::bind(http.listen, token.as_ref()).await?),
        None => None,
    };
    let page = listener.as_ref().and_then(|listener| listener.local_addr().ok());

    let relays: Vec<_> = embedded.iter().map(Embedded::url).chain(config.nostr.relays.iter().cloned()).collect();
    let lines = config.lines.iter().map(line).collect::<Result<Vec<_>, Failure>>()?;
    let told = Ready {
        lines: lines
            .iter()
            .map(|line| ReadyLine {
                name: line.name.0.clone(),
                npub: line.keys.public_key().to_bech32().unwrap_or_else(|never| match never {}),
                endpoint: line.endpoint.to_string(),
                relays: relays.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        page,
    };
    let settings = gateway::Settings {
        lines,
        limits: config.limits,
        ice: ice(&config.ice),
        relays,
        announced: config.nostr.relays.clone(),
        caller_relays: config.nostr.caller_relays,
        recording: config.recording.clone(),
        store,
    };
    let (gateway, running) = gateway::start(settings).await.map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let stop_web = CancellationToken::new();
    let web = listener.map(|listener| tokio::spawn(web::serve(listener, gateway.clone(), token, stop_web.clone())));
    if let Some(address) = page {
        // With port 0 there is no other way to learn it.
        tracing::info!(page = %address, "web server listening");
    }
    ready(&told);
    // Whoever waits for the lines may read them through a pipe.
    let _ = std::io::stdout().flush();

    let mut ended = std::pin::pin!(running.ended());
    tokio::select! {
        biased;
        _ = term.recv() => {}
        _ = int.recv() => {}
        // Whoever started it may start it again.
        () = ended.as_mut() => return Err(Failure::words(Exit::Software, "the gateway ended by itself: the log says why")),
    }
    gateway.drain();
    let drained = async {
        ended.await;
        stop_web.cancel();
        if let Some(web) = web {
            // It ends by itself within its grace; a panic in it has been logged.
            let _ = web.await;
        }
    };
    tokio::select! {
        biased;
        _ = term.recv() => return Err(Failure::words(Exit::Failed, "ended at once, on a second signal")),
        _ = int.recv() => return Err(Failure::words(Exit::Failed, "ended at once, on a second signal")),
        () = drained => {}
    }
    drop(embedded);
    Ok(Exit::Success)
}

fn stop_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Exit::Software, error))
}

fn line(line: &config::Line) -> Result<gateway::Line, Failure> {
    Ok(gateway::Line {
        name: LineName(line.name.clone()),
        keys: line.key.open()?,
        endpoint: line.play.clone(),
        policy: line.access.clone(),
        record: line.record,
        announce: line.announce,
        idle: line.idle,
        keep_warm: line.keep_warm,
    })
}

fn ice(ice: &config::Ice) -> IceSettings {
    let stun = ice.stun.iter().filter_map(|url| IceServer::new(url.clone(), None));
    let turn = ice.turn.iter().filter_map(config::Turn::server);
    IceSettings {
        servers: stun.chain(turn).collect(),
        caller_servers: ice.caller_servers,
        relay_only: false,
        ports: ice.ports,
        advertise: ice.advertise.clone(),
        bind: ice.bind.clone(),
    }
}

impl From<EmbeddedError> for Failure {
    fn from(error: EmbeddedError) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<WebError> for Failure {
    fn from(error: WebError) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl web::Gateway for Gateway {
    fn lines(&self) -> Vec<LineView> {
        Gateway::lines(self)
    }

    fn calls(&self) -> Vec<CallView> {
        Gateway::calls(self)
    }

    fn relays(&self) -> Vec<RelayView> {
        Gateway::relays(self)
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        Gateway::counters(self)
    }

    fn draining(&self) -> bool {
        Gateway::draining(self)
    }

    async fn hang_up(&self, id: &str) -> bool {
        match id.parse::<CallId>() {
            Ok(call) => Gateway::hang_up(self, call).await,
            Err(_) => false,
        }
    }

    async fn ring(&self, ring: Ring) -> Result<Vec<RungView>, RingError> {
        Gateway::ring(self, ring).await
    }

    async fn recordings(&self, filter: RecordingFilter, limit: usize) -> Result<Vec<KeptRecording>, StoreError> {
        Gateway::recordings(self, filter, limit).await
    }

    async fn recording(&self, id: RecordingId) -> Result<Option<RecordingFile>, StoreError> {
        Gateway::recording(self, id).await
    }

    async fn delete_recording(&self, id: RecordingId) -> Result<(), DeleteError> {
        Gateway::delete_recording(self, id).await
    }

    async fn record(&self, line: LineName, longest: std::time::Duration) -> Result<RecordingId, RecordError> {
        Gateway::record(self, line, longest).await
    }

    async fn stop_recording(&self, line: LineName) -> Result<RecordingId, RecordError> {
        Gateway::stop_recording(self, line).await
    }

    async fn snapshot(&self, line: LineName) -> Result<Vec<u8>, SnapshotError> {
        Gateway::snapshot(self, line).await
    }
}
