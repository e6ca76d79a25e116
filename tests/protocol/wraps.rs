//! The vectors of wrapped events: made like those beside them, and read back layer by layer.

use callgate::protocol::*;
use nostr::nips::nip44;
use nostr::{Event, JsonUtil as _, Keys, Kind, PublicKey, SECP256K1, Tag, Timestamp, UnsignedEvent};
use serde_json::{Value, json};

use super::generator::{CREATED_AT, EXPIRATION, NOW, keys_of_vectors, ours, outgoing};
use super::{event, file, keys, written};
use crate::keys::{FixedBytes, caller, line, stranger};

pub fn file_of_wraps() -> Value {
    let mut vectors: Vec<Value> =
        ours().into_iter().map(|(name, from_line, body)| taken(name, from_line, body)).collect();
    vectors.push(taken_of_nip04());
    vectors.extend(refused());
    json!({
        "about": "Events of kind 21059. Those that are taken have the event `inside`, its `plaintext` and the `signal` that a reader makes \
            of it; the others are refused by the line's key at `now`, and have the word for it.",
        "keys": keys_of_vectors(), "now": NOW, "vectors": vectors,
    })
}

/// A vector of a wrap that callgate itself makes.
fn taken(name: &str, from_line: bool, body: Body) -> Value {
    let (out, from) = outgoing(from_line, Cipher::Nip44, body);
    sealed(name, "As callgate writes it.", &out, &from, if from_line { "caller" } else { "line" })
}

fn taken_of_nip04() -> Value {
    let body = Body::Offer(Offer::new("v=0\r\n".into(), CREATED_AT - 1, 60));
    let (out, from) = outgoing(false, Cipher::Nip04, body);
    sealed("an offer sealed with NIP-04", "The wrap is NIP-44 all the same.", &out, &from, "line")
}

fn sealed(name: &str, about: &str, out: &Outgoing, from: &Keys, opened_by: &str) -> Value {
    let out = Outgoing { dialect: Dialect::Wrapped, ..out.clone() };
    let event = seal(&out, from, CREATED_AT, &mut FixedBytes::new(&format!("wrapped: {name}"))).unwrap();
    let receiver = if opened_by == "line" { line() } else { caller() };
    let (envelope, inside) = Wrap::read(&event).unwrap().open(&event, &receiver).unwrap();
    let plaintext = serde_json::to_string(&out.body).unwrap();
    json!({
        "name": name, "about": about, "opened_by": opened_by, "event": event, "inside": inside, "plaintext": plaintext,
        "signal": written(&Signal { envelope, body: out.body }),
    })
}

/// A wrap made by hand.
fn wrap(name: &str, to: PublicKey, tags: Vec<Tag>, inside: &str) -> Event {
    let mut rng = FixedBytes::new(&format!("wrap: {name}"));
    let once = Keys::generate_with_rng(&mut rng);
    let content = nip44::encrypt_with_rng(&mut rng, once.secret_key(), &to, inside, nip44::Version::V2).unwrap();
    UnsignedEvent::new(once.public_key(), Timestamp::from_secs(CREATED_AT), Kind::Custom(WRAP_KIND), tags, content)
        .sign_with_ctx(SECP256K1, &mut rng, &once)
        .unwrap()
}

fn refused() -> Vec<Value> {
    let to = |key: PublicKey| vec![Tag::public_key(key), Tag::expiration(Timestamp::from_secs(EXPIRATION))];
    let end = || Body::End(CallEnd::new(EndWord::UserLeft, CREATED_AT - 1));
    let inside = |name: &str, change: fn(&mut Outgoing)| {
        let (mut out, from) = outgoing(false, Cipher::Nip44, end());
        change(&mut out);
        seal(&out, &from, CREATED_AT, &mut FixedBytes::new(&format!("inside: {name}"))).unwrap()
    };
    let good = |name: &str| inside(name, |_| ()).as_json();
    let line = line().public_key();
    let vector = |name: &str, about: &str, word: &str, field: Option<&str>, tags: Vec<Tag>, key, inside: &str| {
        let mut vector =
            json!({ "name": name, "about": about, "reject": word, "event": wrap(name, key, tags, inside) });
        if let Some(field) = field {
            vector["field"] = field.into();
        }
        vector
    };
    let mut forged = json!(inside("forged", |_| ()));
    forged["pubkey"] = json!(stranger().public_key());
    let foreign = inside("for another", |out| out.to = stranger().public_key()).as_json();
    let expired = inside("expired inside", |out| out.expiration = NOW - 1).as_json();
    let note = UnsignedEvent::new(caller().public_key(), Timestamp::from_secs(CREATED_AT), Kind::TextNote, [], "hello")
        .sign_with_ctx(SECP256K1, &mut FixedBytes::new("note"), &caller())
        .unwrap();
    let within = wrap("inner", line, to(line), &good("twice wrapped"));
    let old = vec![Tag::public_key(line), Tag::expiration(Timestamp::from_secs(NOW - 1))];
    let none = vec![Tag::expiration(Timestamp::from_secs(EXPIRATION))];
    vec![
        vector("a wrap without p", "", "tag", Some("p"), none, line, &good("no p")),
        vector("an expired wrap", "What is inside is not looked at.", "expired", None, old, line, &good("expired")),
        vector("an expired event inside", "", "expired", None, to(line), line, &expired),
        vector(
            "a wrap that is encrypted for another key",
            "Its p names the line.",
            "sealed",
            None,
            to(line),
            stranger().public_key(),
            &good("sealed for another"),
        ),
        vector("nothing inside", "No event.", "payload", Some("event"), to(line), line, "hello"),
        vector("a wrap in a wrap", "", "kind", None, to(line), line, &within.as_json()),
        vector("a note inside", "Not one of 14300-14303.", "kind", None, to(line), line, &note.as_json()),
        vector("an event for another inside", "Its p is not the wrap's.", "tag", Some("p"), to(line), line, &foreign),
        vector(
            "a forged author inside",
            "The event's pubkey was changed after it was signed.",
            "bad_signature",
            None,
            to(line),
            line,
            &forged.to_string(),
        ),
    ]
}

#[test]
fn each_wrap_opens_to_what_its_vector_states() {
    let file = file("wraps.json");
    let now = file["now"].as_u64().unwrap();
    let mut taken = 0;
    for vector in file["vectors"].as_array().unwrap().iter().filter(|vector| vector.get("signal").is_some()) {
        let name = &vector["name"];
        let (event, keys) = (event(vector), keys(&file, &vector["opened_by"]));
        let wrap = Wrap::read(&event).unwrap_or_else(|reject| panic!("{name}: {reject}"));
        wrap.check_expiration(now).unwrap();
        let (envelope, inside) = wrap.open(&event, &keys).unwrap_or_else(|reject| panic!("{name}: {reject}"));
        inside.verify().unwrap();
        assert_eq!(json!(inside), vector["inside"], "{name}");
        assert_ne!(inside.pubkey, event.pubkey, "{name}: the wrap hides its author");
        envelope.check_expiration(now).unwrap();
        let signal = open(envelope, &inside, &keys).unwrap_or_else(|reject| panic!("{name}: {reject}"));
        assert_eq!(written(&signal), vector["signal"], "{name}");
        let plaintext = vector["plaintext"].as_str().unwrap();
        assert_eq!(Body::read(signal.envelope.kind, plaintext, signal.envelope.created_at), Ok(signal.body), "{name}");
        taken += 1;
    }
    assert!(taken > 5, "{taken}");
}

#[test]
fn each_wrap_is_refused_for_the_reason_that_its_vector_states() {
    let file = file("wraps.json");
    let now = file["now"].as_u64().unwrap();
    let line = keys(&file, &json!("line"));
    for vector in file["vectors"].as_array().unwrap().iter().filter(|vector| vector.get("reject").is_some()) {
        let event = event(vector);
        let read = Wrap::read(&event)
            .and_then(|wrap| wrap.check_expiration(now).and_then(|()| wrap.open(&event, &line)))
            .and_then(|(envelope, inside)| envelope.check_expiration(now).map(|()| inside));
        let word = match &read {
            Err(reject) => reject.word(),
            Ok(inside) if inside.verify().is_err() => "bad_signature",
            Ok(_) => "taken",
        };
        assert_eq!(word, vector["reject"], "{}", vector["name"]);
        if let Err(Reject::Tag(field) | Reject::Payload(field)) = read {
            assert_eq!(field, vector["field"], "{}", vector["name"]);
        }
    }
}
