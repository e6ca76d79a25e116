//! `POST /api/lines/NAME/ring`: a line calls somebody.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Gateway;
use super::api::trouble;
use crate::config::{parse_public_key, parse_relay, parse_ring_time};
use crate::gateway::view::RungView;
use crate::gateway::{DEFAULT_RINGS, Ring, RingError};
use crate::media::LineName;
use crate::protocol::Dialect;

/// What is asked. An unknown field is a mistake: what was meant by it would not happen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    to: Vec<String>,
    #[serde(rename = "for")]
    time: Option<String>,
    #[serde(default)]
    relays: Vec<String>,
    dialect: Option<Spoken>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Spoken {
    Plain,
    Wrapped,
}

const FORM: &str = r#"the body must be JSON such as {"to":["npub1..."],"for":"60s","relays":["wss://..."],"dialect":"wrapped"}; only "to" must be there"#;

#[derive(Serialize)]
struct Calls {
    calls: Vec<RungView>,
}

/// The body is read as JSON whatever it is called: a doorbell's button is one line of `curl`.
pub(super) async fn ring<G: Gateway>(State(gateway): State<G>, Path(name): Path<String>, body: Bytes) -> Response {
    let ring = match read(name, &body) {
        Ok(ring) => ring,
        Err(words) => return trouble(StatusCode::BAD_REQUEST, words),
    };
    match gateway.ring(ring).await {
        Ok(calls) => (StatusCode::ACCEPTED, Json(Calls { calls })).into_response(),
        Err(error) => trouble(status(error), error.to_string()),
    }
}

fn read(name: String, body: &[u8]) -> Result<Ring, String> {
    // What serde says of it repeats parts of it: a secret key that was pasted must not come back.
    let asked: Asked = serde_json::from_slice(body).map_err(|_| FORM.to_owned())?;
    let to = asked.to.iter().map(|key| parse_public_key(key));
    let to = to.collect::<Result<_, _>>().map_err(|problem| format!("to: {problem}"))?;
    let relays = asked.relays.iter().map(|relay| parse_relay(relay));
    let relays = relays.collect::<Result<_, _>>().map_err(|problem| format!("relays: {problem}"))?;
    let rings = asked.time.as_deref().map_or(Ok(DEFAULT_RINGS), parse_ring_time);
    let rings = rings.map_err(|problem| format!("for: {problem}"))?;
    let dialect = asked.dialect.map(|spoken| match spoken {
        Spoken::Plain => Dialect::Plain,
        Spoken::Wrapped => Dialect::Wrapped,
    });
    Ok(Ring { line: LineName(name), to, rings, relays, dialect })
}

fn status(error: RingError) -> StatusCode {
    match error {
        RingError::NoSuchLine => StatusCode::NOT_FOUND,
        RingError::Nobody | RingError::TooMany | RingError::TooManyRelays | RingError::Itself => {
            StatusCode::BAD_REQUEST
        }
        RingError::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
        RingError::Draining => StatusCode::SERVICE_UNAVAILABLE,
    }
}
