//! Recordings: listed, streamed with ranges so that a browser seeks, deleted; and recording a line without a call.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tower_http::services::ServeFile;

use super::Gateway;
use super::api::trouble;
use super::ticket::Tickets;
use crate::config::{parse_length, parse_moment, parse_public_key, parse_since};
use crate::gateway::{DeleteError, RecordError, RecordingFile};
use crate::media::recorder::PictureError;
use crate::media::{LineName, SnapshotError, SourceError};
use crate::recording::{End, RecordingId};
use crate::store::{KeptRecording, RecordingFilter};

/// How many recordings are listed when nothing is said, and at most.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;
/// How long a line is recorded without a call when nothing is said.
const DEFAULT_LENGTH: Duration = Duration::from_secs(600);

/// What is asked for. An unknown field is a mistake: it would look as if there was nothing more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    line: Option<String>,
    caller: Option<String>,
    from: Option<String>,
    to: Option<String>,
    before: Option<RecordingId>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Recordings {
    recordings: Vec<Shown>,
}

/// A recording, and where it is fetched.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    recording: KeptRecording,
    in_progress: bool,
    /// Addresses on this server, good without a token for some hours.
    media: String,
    /// None until it is made, and of sound alone.
    poster: Option<String>,
}

pub(super) async fn list<G: Gateway>(
    State(gateway): State<G>,
    Extension(tickets): Extension<Option<Tickets>>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Response {
    const FORM: &str = "the query takes line, caller, from, to, before and limit";
    let Ok(Query(asked)) = asked else { return trouble(StatusCode::BAD_REQUEST, FORM) };
    let (filter, limit) = match filter(asked) {
        Ok(read) => read,
        Err(words) => return trouble(StatusCode::BAD_REQUEST, words),
    };
    match gateway.recordings(filter, limit).await {
        Ok(recordings) => {
            let recordings = recordings.into_iter().map(|recording| shown(recording, tickets.as_ref())).collect();
            Json(Recordings { recordings }).into_response()
        }
        Err(error) => trouble(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn filter(asked: Asked) -> Result<(RecordingFilter, usize), String> {
    let key = |text: &str| parse_public_key(text).map_err(|problem| format!("caller: {problem}"));
    let caller = asked.caller.as_deref().map(key).transpose()?;
    let from = asked.from.as_deref().map(parse_since).transpose().map_err(|problem| format!("from: {problem}"))?;
    let to = asked.to.as_deref().map(parse_moment).transpose().map_err(|problem| format!("to: {problem}"))?;
    let caller = caller.map(|key| crate::gateway::npub(&key));
    let filter = RecordingFilter { line: asked.line, caller, from, to, before: asked.before };
    Ok((filter, asked.limit.unwrap_or(PAGE).min(LARGEST_PAGE)))
}

fn shown(recording: KeptRecording, tickets: Option<&Tickets>) -> Shown {
    let address = |what: &str| {
        let path = format!("/api/recordings/{}/{what}", recording.sidecar.id);
        match tickets {
            Some(tickets) => tickets.on(&path),
            None => path,
        }
    };
    let in_progress = recording.sidecar.end == End::Open;
    let (media, poster) = (address("media"), recording.poster.then(|| address("poster.jpg")));
    Shown { in_progress, media, poster, recording }
}

pub(super) async fn one<G: Gateway>(
    State(gateway): State<G>,
    Extension(tickets): Extension<Option<Tickets>>,
    Path(id): Path<String>,
) -> Response {
    match find(&gateway, &id).await {
        Ok(found) => Json(shown(found.recording, tickets.as_ref())).into_response(),
        Err(answer) => answer,
    }
}

async fn find<G: Gateway>(gateway: &G, id: &str) -> Result<RecordingFile, Response> {
    let none = || trouble(StatusCode::NOT_FOUND, "no such recording");
    let id = id.parse().map_err(|_| none())?;
    let found = gateway.recording(id).await;
    let found = found.map_err(|error| trouble(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    found.ok_or_else(none)
}

pub(super) async fn media<G: Gateway>(State(gateway): State<G>, Path(id): Path<String>, request: Request) -> Response {
    match find(&gateway, &id).await {
        Ok(found) => file(found.media, request).await,
        Err(answer) => answer,
    }
}

pub(super) async fn poster<G: Gateway>(State(gateway): State<G>, Path(id): Path<String>, request: Request) -> Response {
    match find(&gateway, &id).await {
        Ok(found) => file(found.poster, request).await,
        Err(answer) => answer,
    }
}

/// A file, or the ranges of it that are asked for.
async fn file(path: PathBuf, request: Request) -> Response {
    match ServeFile::new(path).try_call(request).await {
        Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {
            trouble(StatusCode::NOT_FOUND, "there is no such file")
        }
        Ok(answer) => answer.map(axum::body::Body::new),
        Err(error) => trouble(StatusCode::INTERNAL_SERVER_ERROR, error.kind().to_string()),
    }
}

pub(super) async fn delete<G: Gateway>(State(gateway): State<G>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else { return trouble(StatusCode::NOT_FOUND, "no such recording") };
    match gateway.delete_recording(id).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let status = match error {
                DeleteError::NoSuchRecording => StatusCode::NOT_FOUND,
                DeleteError::InProgress => StatusCode::CONFLICT,
                DeleteError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            trouble(status, error.to_string())
        }
    }
}

/// What a line's recording is asked. An unknown field is a mistake: what was meant by it would not happen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    action: Action,
    #[serde(rename = "for")]
    length: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Start,
    Stop,
}

#[derive(Serialize)]
struct Recorded {
    id: RecordingId,
}

/// The body is read as JSON whatever it is called: a motion sensor's script is one line of `curl`.
pub(super) async fn record<G: Gateway>(State(gateway): State<G>, Path(name): Path<String>, body: Bytes) -> Response {
    const FORM: &str = r#"the body must be JSON such as {"action":"start","for":"10m"} or {"action":"stop"}"#;
    let Ok(order) = serde_json::from_slice::<Order>(&body) else { return trouble(StatusCode::BAD_REQUEST, FORM) };
    let line = LineName(name);
    let done = match order.action {
        Action::Start => match order.length.as_deref().map_or(Ok(DEFAULT_LENGTH), parse_length) {
            Ok(length) => gateway.record(line, length).await,
            Err(problem) => return trouble(StatusCode::BAD_REQUEST, format!("for: {problem}")),
        },
        Action::Stop if order.length.is_some() => return trouble(StatusCode::BAD_REQUEST, FORM),
        Action::Stop => gateway.stop_recording(line).await,
    };
    match done {
        Ok(id) => (StatusCode::ACCEPTED, Json(Recorded { id })).into_response(),
        Err(error) => {
            let status = match error {
                RecordError::NoSuchLine => StatusCode::NOT_FOUND,
                RecordError::RecordedAlready | RecordError::NotRecorded => StatusCode::CONFLICT,
                RecordError::Disk(_) => StatusCode::INSUFFICIENT_STORAGE,
                RecordError::Draining => StatusCode::SERVICE_UNAVAILABLE,
            };
            trouble(status, error.to_string())
        }
    }
}

/// What a line shows now.
pub(super) async fn snapshot<G: Gateway>(State(gateway): State<G>, Path(name): Path<String>) -> Response {
    match gateway.snapshot(LineName(name)).await {
        Ok(jpeg) => ([(CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
        Err(error) => {
            let status = match error {
                SnapshotError::Source(SourceError::NoSuchLine) => StatusCode::NOT_FOUND,
                SnapshotError::Source(_) => StatusCode::BAD_GATEWAY,
                SnapshotError::Picture(PictureError::None) => StatusCode::NOT_FOUND,
                SnapshotError::Picture(PictureError::Busy) => StatusCode::TOO_MANY_REQUESTS,
                SnapshotError::Picture(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            trouble(status, error.to_string())
        }
    }
}
