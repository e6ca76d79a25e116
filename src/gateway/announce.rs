//! What a line tells about itself when it is to be found: its name (kind 0), and the relays that it is on (kinds 10002 and 10050). Only what
//! relays don't have already.

use std::collections::BTreeSet;

use nostr::{Event, EventBuilder, Keys, Kind, RelayUrl, Tag, Timestamp, UnsignedEvent};
use serde_json::{Map, Value, json};

use super::clock::Clock;
use crate::signaling::Signaling;

/// NIP-65: where somebody writes and reads. NIP-17: where they take what is for them alone.
const RELAYS: Kind = Kind::RelayList;
const INBOX: Kind = Kind::InboxRelays;

/// A line that is to be found.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) name: String,
    pub(super) keys: Keys,
}

/// Announces each line once a relay is connected. What relays take later than that is signaling's to repeat.
pub(super) async fn announce(lines: Vec<Announced>, relays: Vec<RelayUrl>, signaling: Signaling) {
    if lines.is_empty() {
        return;
    }
    signaling.connected().await;
    let kinds = vec![Kind::Metadata.as_u16(), RELAYS.as_u16(), INBOX.as_u16()];
    let authors = lines.iter().map(|line| line.keys.public_key()).collect();
    let known = signaling.latest(authors, kinds, &[]).await;
    let now = Clock::start().now().unix_seconds();
    for line in lines {
        let missing = missing(&line, &relays, &known, now);
        if missing.is_empty() {
            tracing::debug!(line = line.name, "announced before");
        }
        for event in missing {
            let signed = event.sign_with_keys(&line.keys);
            let announced = signed.map_err(|error| error.to_string()).and_then(|event| {
                signaling.announce(&event).map(|delivery| (event.kind, delivery)).map_err(|error| error.to_string())
            });
            match announced {
                Ok((kind, delivery)) => {
                    let name = line.name.clone();
                    tokio::spawn(async move {
                        match delivery.outcome().await {
                            Ok(relay) => tracing::info!(line = name, kind = kind.as_u16(), %relay, "announced"),
                            Err(error) => tracing::warn!(line = name, kind = kind.as_u16(), %error, "not announced"),
                        }
                    });
                }
                Err(error) => tracing::warn!(line = line.name, error, "not announced"),
            }
        }
    }
}

/// What is to be said beyond what is `known` already.
fn missing(line: &Announced, relays: &[RelayUrl], known: &[Event], now: u64) -> Vec<UnsignedEvent> {
    let author = line.keys.public_key();
    let of = |kind: Kind| known.iter().find(|event| event.kind == kind && event.pubkey == author);
    // Strictly newer, or relays keep what they have.
    let stamp = |before: Option<&Event>| {
        Timestamp::from_secs(before.map_or(now, |event| now.max(event.created_at.as_secs().saturating_add(1))))
    };
    let mut said = Vec::new();
    if let Some(content) = profile(&line.name, of(Kind::Metadata)) {
        let event = EventBuilder::new(Kind::Metadata, content);
        said.push(event.custom_created_at(stamp(of(Kind::Metadata))).build(author));
    }
    // A line that only a relay inside callgate knows is on no relay that others know.
    for (kind, tag) in [(RELAYS, "r"), (INBOX, "relay")].into_iter().filter(|_| !relays.is_empty()) {
        if of(kind).is_some_and(|event| listed(event, tag) == relays.iter().map(ToString::to_string).collect()) {
            continue;
        }
        let tags = relays.iter().filter_map(|relay| Tag::parse([tag, relay.as_str()]).ok());
        said.push(EventBuilder::new(kind, "").tags(tags).custom_created_at(stamp(of(kind))).build(author));
    }
    said
}

/// The profile with the line's name; `None` when it has that. What else somebody wrote into it stays.
fn profile(name: &str, known: Option<&Event>) -> Option<String> {
    let mut fields: Map<String, Value> =
        known.and_then(|event| serde_json::from_str(&event.content).ok()).unwrap_or_default();
    if fields.get("name") == Some(&json!(name)) {
        return None;
    }
    fields.insert("name".to_owned(), json!(name));
    Some(Value::Object(fields).to_string())
}

fn listed(event: &Event, tag: &str) -> BTreeSet<String> {
    let values = event.tags.iter().map(Tag::as_slice).filter(|words| words.first().is_some_and(|word| word == tag));
    values
        .filter_map(|words| words.get(1))
        .filter_map(|url| RelayUrl::parse(url).ok())
        .map(|url| url.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use nostr::JsonUtil as _;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn relays(urls: &[&str]) -> Vec<RelayUrl> {
        urls.iter().map(|url| RelayUrl::parse(url).unwrap()).collect()
    }

    fn said(line: &Announced, on: &[RelayUrl], known: &[Event]) -> Vec<Event> {
        missing(line, on, known, NOW).into_iter().map(|event| event.sign_with_keys(&line.keys).unwrap()).collect()
    }

    fn kinds(events: &[Event]) -> Vec<u16> {
        events.iter().map(|event| event.kind.as_u16()).collect()
    }

    #[test]
    fn a_line_says_its_name_and_its_relays_once() {
        let line = Announced { name: "driveway".to_owned(), keys: Keys::generate() };
        let on = relays(&["wss://one.example.com", "wss://two.example.com/path"]);

        let first = said(&line, &on, &[]);
        assert_eq!(kinds(&first), [0, 10002, 10050]);
        assert_eq!(first[0].content, r#"{"name":"driveway"}"#);
        assert_eq!(first[1].tags.len(), 2);
        assert!(first[2].as_json().contains(r#"["relay","wss://two.example.com/path"]"#));
        assert_eq!(said(&line, &on, &first), []);

        let elsewhere = said(&line, &relays(&["wss://one.example.com"]), &first);
        assert_eq!(kinds(&elsewhere), [10002, 10050]);
        assert!(elsewhere.iter().all(|event| event.created_at.as_secs() == NOW + 1), "newer than what is there");
        assert_eq!(kinds(&said(&line, &[], &[])), [0], "a relay of its own is nobody else's");
    }

    #[test]
    fn what_else_is_in_a_profile_stays() {
        let line = Announced { name: "gate".to_owned(), keys: Keys::generate() };
        let written =
            |content: &str| vec![EventBuilder::new(Kind::Metadata, content).sign_with_keys(&line.keys).unwrap()];
        let changed = said(&line, &[], &written(r#"{"about":"At the street","name":"old"}"#));
        let content: Value = serde_json::from_str(&changed[0].content).unwrap();
        assert_eq!(content, json!({ "about": "At the street", "name": "gate" }));
        assert_eq!(said(&line, &[], &written(r#"{"name":"gate","picture":"https://example.com/gate.png"}"#)), []);
        assert_eq!(said(&line, &[], &written("no JSON"))[0].content, r#"{"name":"gate"}"#);
    }
}
