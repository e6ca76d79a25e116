//! NIP-42: every key of ours authenticates where a relay asks for it, to hear and to speak.
#![cfg(feature = "daemon")]

#[path = "support/relay.rs"]
mod relay;
#[path = "support/signaling.rs"]
mod support;

use std::collections::HashSet;
use std::sync::Arc;

use callgate::sdp::CallerServers;
use callgate::signaling::memory::Forgetful;
use callgate::signaling::{self, Incoming, Settings, Signaling};
use nostr::{Keys, PublicKey};
use tokio::sync::mpsc;

use relay::{Behaviour, TestRelay};
use support::{Party, answer, offer, outgoing, soon};

/// A signaling of two lines.
async fn two_lines(relay: &TestRelay) -> ([PublicKey; 2], Signaling, mpsc::Receiver<Incoming>) {
    let keys = [Keys::generate(), Keys::generate()];
    let lines = [keys[0].public_key(), keys[1].public_key()];
    let settings = Settings {
        relays: vec![relay.url()],
        keys: keys.to_vec(),
        visits: CallerServers::Never,
        memory: Arc::new(Forgetful::default()),
    };
    let (signaling, incoming) = signaling::start(settings).await.unwrap();
    soon(relay.subscriptions(1)).await;
    (lines, signaling, incoming)
}

#[tokio::test]
async fn each_line_hears_and_speaks_where_receivers_and_authors_must_authenticate() {
    let relay = TestRelay::start(Behaviour::WantsAuth).await;
    let (lines, signaling, mut incoming) = two_lines(&relay).await;
    let mut caller = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(2)).await;

    for line in lines {
        caller.publish(line, "s", offer()).await;
        assert_eq!(soon(incoming.recv()).await.unwrap().envelope.to, line);
        soon(signaling.publish(outgoing(line, caller.public(), "s", answer())).unwrap().outcome()).await.unwrap();
        assert_eq!(caller.next().await.envelope.from, line);
    }
    let authenticated: HashSet<PublicKey> = relay.authenticated().into_iter().collect();
    assert_eq!(authenticated, HashSet::from([lines[0], lines[1], caller.public()]));
    assert_eq!(signaling.relays().borrow()[0].health.word(), "good");
}

#[tokio::test]
async fn where_a_relay_knows_one_key_a_connection_each_author_authenticates_when_its_turn_comes() {
    let relay = TestRelay::start(Behaviour::WantsAuthOfOne).await;
    let (lines, signaling, _incoming) = two_lines(&relay).await;
    let caller = Keys::generate().public_key();
    for line in [lines[0], lines[1], lines[0], lines[1]] {
        soon(signaling.publish(outgoing(line, caller, "s", answer())).unwrap().outcome()).await.unwrap();
    }
    assert_eq!(relay.count(14301), 4);
    let status = signaling.relays().borrow()[0].clone();
    assert!(status.verdicts["auth_required"] >= 3, "{:?}", status.verdicts);
    assert_eq!(status.verdicts["accepted"], 4);
}

#[tokio::test]
async fn a_relay_that_wants_authentication_later_gets_it_and_serves_the_subscription_again() {
    // Given a relay that asked for nothing so far
    let relay = TestRelay::start(Behaviour::Honest).await;
    let (lines, _signaling, mut incoming) = two_lines(&relay).await;
    let caller = Party::new(&[relay.url()]).await;
    soon(relay.subscriptions(2)).await;

    // When it ends all subscriptions, and sends its challenge
    relay.behave(Behaviour::WantsAuth);
    relay.close_subscriptions("auth-required: who are you?");
    relay.challenge();

    // Then the lines hear again
    soon(relay.subscriptions(2)).await;
    caller.publish(lines[1], "s", offer()).await;
    assert_eq!(soon(incoming.recv()).await.unwrap().envelope.to, lines[1]);
}
