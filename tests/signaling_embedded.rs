//! The embedded relay: calls pass through it, other things do not, and a client's mistakes are its own.
#![cfg(feature = "daemon")]

#[path = "support/signaling.rs"]
mod support;

use callgate::protocol::SignalKind;
use callgate::signaling::{Embedded, EmbeddedError};
use futures::{SinkExt, StreamExt};
use nostr::{EventBuilder, Keys, Kind};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use support::{Party, answer, now, offer, outgoing, sealed, soon};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn embedded() -> Embedded {
    Embedded::start("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

async fn browser(relay: &Embedded) -> Socket {
    tokio_tungstenite::connect_async(relay.url().as_str()).await.unwrap().0
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

async fn hear(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = soon(socket.next()).await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn an_offer_and_its_answer_pass_through() {
    let relay = embedded().await;
    let mut line = Party::new(&[relay.url()]).await;
    let mut caller = Party::new(&[relay.url()]).await;

    caller.publish(line.public(), "s", offer()).await;
    let incoming = line.next().await;
    assert_eq!((incoming.envelope.kind, incoming.envelope.from), (SignalKind::Offer, caller.public()));
    line.publish(caller.public(), "s", answer()).await;
    assert_eq!(caller.next().await.envelope.kind, SignalKind::Answer);
}

#[tokio::test]
async fn ten_answers_of_one_line_in_one_second_all_arrive() {
    let relay = embedded().await;
    let line = Party::new(&[relay.url()]).await;
    let mut callers = Vec::new();
    for _ in 0..10 {
        let caller = Party::new(&[relay.url()]).await;
        soon(caller.signaling.connected()).await;
        callers.push(caller);
    }

    for caller in &callers {
        line.signaling.publish(outgoing(line.public(), caller.public(), "s", answer())).unwrap();
    }

    for caller in &mut callers {
        assert_eq!(caller.next().await.envelope.from, line.public());
    }
}

#[tokio::test]
async fn only_kinds_of_calls_and_their_clients_are_taken() {
    let relay = embedded().await;
    let mut socket = browser(&relay).await;
    let keys = Keys::generate();

    let note = EventBuilder::text_note("hello").sign_with_keys(&keys).unwrap();
    say(&mut socket, json!(["EVENT", note])).await;
    let refused = hear(&mut socket).await;
    assert_eq!((&refused[0], &refused[2]), (&json!("OK"), &json!(false)));
    assert!(refused[3].as_str().unwrap().starts_with("blocked:"));

    let profile = EventBuilder::new(Kind::Metadata, "{}").sign_with_keys(&keys).unwrap();
    say(&mut socket, json!(["EVENT", profile])).await;
    assert_eq!(hear(&mut socket).await[2], json!(true));
}

#[tokio::test]
async fn a_message_that_is_none_costs_its_client_a_notice_and_not_the_connection() {
    let relay = embedded().await;
    let mut socket = browser(&relay).await;
    for nonsense in [json!("hello"), json!(["REQ"]), json!(["NEG-OPEN", "a", {}, "6100"])] {
        say(&mut socket, nonsense).await;
        assert_eq!(hear(&mut socket).await[0], "NOTICE");
    }
    say(&mut socket, json!(["REQ", "a", {"kinds": [14300]}])).await;
    assert_eq!(hear(&mut socket).await, json!(["EOSE", "a"]));
}

#[tokio::test]
async fn a_message_over_the_limit_ends_its_connection_and_no_other() {
    let relay = embedded().await;
    let (mut greedy, mut modest) = (browser(&relay).await, browser(&relay).await);
    // The relay may close before all is written.
    let _ = greedy.send(Message::text("x".repeat(1024 * 1024))).await;
    loop {
        match soon(greedy.next()).await {
            None | Some(Err(_)) | Some(Ok(Message::Close(_))) => break,
            Some(Ok(_)) => {}
        }
    }
    say(&mut modest, json!(["REQ", "a", {"kinds": [14300]}])).await;
    assert_eq!(hear(&mut modest).await, json!(["EOSE", "a"]));
}

#[tokio::test]
async fn more_stored_events_than_the_pipe_holds_reach_a_client_that_keeps_asking() {
    let relay = embedded().await;
    let mut socket = browser(&relay).await;
    let to = Keys::generate().public_key();
    for n in 0..40 {
        let from = Keys::generate();
        let mut event = sealed(&from, &outgoing(from.public_key(), to, "s", offer()), now());
        // Large ones: the relay does not read the content.
        event =
            EventBuilder::new(event.kind, "x".repeat(30_000)).tags(event.tags.to_vec()).sign_with_keys(&from).unwrap();
        say(&mut socket, json!(["EVENT", event])).await;
        assert_eq!(hear(&mut socket).await[2], json!(true), "event {n}");
    }
    for n in 0..8 {
        say(&mut socket, json!(["REQ", format!("r{n}"), {"kinds": [14300]}])).await;
    }
    let (mut events, mut ends) = (0, 0);
    while ends < 8 {
        match hear(&mut socket).await[0].as_str() {
            Some("EVENT") => events += 1,
            Some("EOSE") => ends += 1,
            _ => {}
        }
    }
    assert_eq!(events, 8 * 40);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let relay = embedded().await;
    match Embedded::start(relay.address()).await {
        Err(error @ EmbeddedError::InUse(address)) => {
            assert_eq!(address, relay.address());
            assert!(error.to_string().contains(&address.to_string()));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dropped_relay_leaves_its_port() {
    let relay = embedded().await;
    let mut socket = browser(&relay).await;
    let address = relay.address();
    drop(relay);
    while let Some(Ok(_)) = soon(socket.next()).await {}
    // Accepted connections end with it, so the listener is gone too or goes now.
    let again = async {
        loop {
            match Embedded::start(address).await {
                Ok(relay) => return relay,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    soon(again).await;
}
