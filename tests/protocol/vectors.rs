//! The fixed vectors under `tests/vectors/`: read back as another client would, and held to what [`generator`] makes.
//!
//! `CALLGATE_WRITE_VECTORS=1 cargo test --no-default-features --test protocol the_files` writes them anew.

#[path = "generator.rs"]
mod generator;
#[path = "wraps.rs"]
mod wraps;

use std::fs;
use std::path::PathBuf;

use callgate::protocol::*;
use nostr::{Event, Keys};
use serde_json::{Value, json};

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "vectors", name].iter().collect()
}

fn file(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

fn keys(file: &Value, who: &Value) -> Keys {
    let entry = &file["keys"][who.as_str().unwrap()];
    let keys = Keys::parse(entry["secret"].as_str().unwrap()).unwrap();
    assert_eq!(entry["public"], keys.public_key().to_hex());
    keys
}

fn event(vector: &Value) -> Event {
    let event: Event = serde_json::from_value(vector["event"].clone()).unwrap();
    event.verify().unwrap();
    event
}

/// A signal as the vectors write it.
fn written(signal: &Signal) -> Value {
    let envelope = &signal.envelope;
    json!({
        "kind": envelope.kind.number(),
        "from": envelope.from.to_hex(),
        "to": envelope.to.to_hex(),
        "session_id": envelope.session.as_str(),
        "type": envelope.call_type.to_string(),
        "sig_alg": envelope.cipher.to_string(),
        "relay": envelope.relay.as_ref().map(ToString::to_string),
        "rtc_servers": envelope.rtc_servers,
        "created_at": envelope.created_at,
        "expiration": envelope.expiration,
        "payload": signal.body,
    })
}

#[test]
fn the_files_hold_what_the_generator_makes() {
    for (name, made) in generator::files() {
        if std::env::var_os("CALLGATE_WRITE_VECTORS").is_some() {
            fs::write(path(name), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        assert!(file(name) == made, "{name} is not what the generator makes");
    }
}

#[test]
fn each_signal_opens_to_what_its_vector_states() {
    let file = file("signals.json");
    for vector in file["vectors"].as_array().unwrap() {
        let name = &vector["name"];
        let event = event(vector);
        let envelope = Envelope::read(&event).unwrap_or_else(|reject| panic!("{name}: {reject}"));
        envelope.check_expiration(file["now"].as_u64().unwrap()).unwrap();
        let signal = open(envelope, &event, &keys(&file, &vector["opened_by"]))
            .unwrap_or_else(|reject| panic!("{name}: {reject}"));
        assert_eq!(written(&signal), vector["signal"], "{name}");

        let plaintext = vector["plaintext"].as_str().unwrap();
        let read = Body::read(signal.envelope.kind, plaintext, signal.envelope.created_at);
        assert_eq!(read, Ok(signal.body), "{name}");
    }
}

#[test]
fn each_reject_is_refused_for_the_reason_that_its_vector_states() {
    let file = file("rejects.json");
    let mut words = Vec::new();
    for vector in file["vectors"].as_array().unwrap() {
        let event = event(vector);
        let reject = Envelope::read(&event)
            .and_then(|envelope| envelope.check_expiration(file["now"].as_u64().unwrap()).map(|()| envelope))
            .and_then(|envelope| open(envelope, &event, &keys(&file, &json!("line"))))
            .unwrap_err();
        assert_eq!(reject.word(), vector["reject"], "{}", vector["name"]);
        let (Reject::Tag(field) | Reject::Payload(field)) = reject else {
            words.push(reject.word());
            continue;
        };
        assert_eq!(field, vector["field"], "{}", vector["name"]);
        words.push(reject.word());
    }
    for word in ["kind", "oversized", "tag", "sealed", "payload", "sdp_oversized", "expired"] {
        assert!(words.contains(&word), "no vector is refused as {word}");
    }
}

#[test]
fn each_offer_is_as_fresh_as_its_vector_states() {
    for vector in file("freshness.json")["vectors"].as_array().unwrap() {
        let number = |name: &str| vector[name].as_u64().unwrap();
        let payload = json!({ "sdp": "v=0", "timestamp": vector["timestamp"], "expires_in": vector["expires_in"] });
        let Ok(Body::Offer(offer)) = Body::read(SignalKind::Offer, &payload.to_string(), number("created_at")) else {
            panic!("{vector} is no offer");
        };
        let word = match freshness(&offer, number("created_at"), number("now")) {
            Freshness::Fresh => "fresh",
            Freshness::Stale => "stale",
            Freshness::FromTheFuture => "from_the_future",
        };
        assert_eq!(word, vector["expect"], "{}", vector["name"]);
    }
}

#[test]
fn the_offers_that_callgate_writes_in_the_vectors_can_be_answered() {
    let file = file("signals.json");
    let offers = file["vectors"].as_array().unwrap().iter().filter(|vector| {
        vector["signal"]["kind"] == SignalKind::Offer.number() && vector["about"] == "As callgate writes it."
    });
    let guarded =
        offers.map(|vector| vector["signal"]["payload"]["sdp"].as_str().unwrap()).map(callgate::sdp::guard_offer);
    assert_eq!(guarded.filter(Result::is_ok).count(), 6);
}
