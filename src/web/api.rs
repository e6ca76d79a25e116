//! The API: JSON about lines, calls, relays and recordings, calling and hanging up.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::{Gateway, recordings, ring};
use crate::gateway::view::{CallView, LineView, RelayView};

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Serialize)]
struct Lines {
    lines: Vec<LineView>,
    /// What all of them are reached through.
    relays: Vec<RelayView>,
}

#[derive(Serialize)]
struct Calls {
    calls: Vec<CallView>,
}

#[derive(Serialize)]
struct Relays {
    relays: Vec<RelayView>,
}

#[derive(Serialize)]
struct Counters {
    counters: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Trouble {
    error: String,
}

/// An error in the API's words.
pub(super) fn trouble(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Trouble { error: error.into() })).into_response()
}

pub(super) fn routes<G: Gateway>(gateway: G) -> Router {
    Router::new()
        .route("/healthz", get(health::<G>))
        .route("/api/lines", get(lines::<G>))
        .route("/api/lines/{name}/ring", post(ring::ring::<G>))
        .route("/api/lines/{name}/record", post(recordings::record::<G>))
        .route("/api/lines/{name}/snapshot.jpg", get(recordings::snapshot::<G>))
        .route("/api/recordings", get(recordings::list::<G>))
        .route("/api/recordings/{id}", get(recordings::one::<G>).delete(recordings::delete::<G>))
        .route("/api/recordings/{id}/media", get(recordings::media::<G>))
        .route("/api/recordings/{id}/poster.jpg", get(recordings::poster::<G>))
        .route("/api/calls", get(calls::<G>))
        .route("/api/calls/{id}", get(call::<G>).delete(hang_up::<G>))
        .route("/api/relays", get(relays::<G>))
        .route("/api/counters", get(counters::<G>))
        .with_state(gateway)
}

pub(super) async fn no_such_page() -> Response {
    trouble(StatusCode::NOT_FOUND, "no such page")
}

/// For supervisors and load balancers: 503 as soon as no more calls are taken.
async fn health<G: Gateway>(State(gateway): State<G>) -> Response {
    if gateway.draining() {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "draining" })).into_response()
    } else {
        Json(Health { status: "ok" }).into_response()
    }
}

async fn lines<G: Gateway>(State(gateway): State<G>) -> Response {
    Json(Lines { lines: gateway.lines(), relays: gateway.relays() }).into_response()
}

async fn calls<G: Gateway>(State(gateway): State<G>) -> Response {
    Json(Calls { calls: gateway.calls() }).into_response()
}

async fn call<G: Gateway>(State(gateway): State<G>, Path(id): Path<String>) -> Response {
    match gateway.calls().into_iter().find(|call| call.id == id) {
        Some(call) => Json(call).into_response(),
        None => trouble(StatusCode::NOT_FOUND, "no such call"),
    }
}

async fn relays<G: Gateway>(State(gateway): State<G>) -> Response {
    Json(Relays { relays: gateway.relays() }).into_response()
}

async fn counters<G: Gateway>(State(gateway): State<G>) -> Response {
    Json(Counters { counters: gateway.counters() }).into_response()
}

async fn hang_up<G: Gateway>(State(gateway): State<G>, Path(id): Path<String>) -> Response {
    if gateway.hang_up(&id).await {
        StatusCode::NO_CONTENT.into_response()
    } else {
        trouble(StatusCode::NOT_FOUND, "no such call")
    }
}
