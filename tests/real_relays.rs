//! Thirty callers at once through relays that people run. rust-nostr's is a library; others are started by `make relays`, which names them in
//! `CALLGATE_TEST_RELAYS`.
#![cfg(feature = "daemon")]

mod support {
    pub mod burst;
    #[allow(dead_code)]
    pub mod calls;
    pub mod daemon;
    #[allow(dead_code)]
    pub mod run;
    pub mod signaling;
}

use callgate::protocol::Dialect;
use nostr::RelayUrl;
use nostr_relay_builder::LocalRelay;
use nostr_relay_builder::builder::{RateLimit, RelayBuilder};
use support::burst::offered_at_once;
use support::run::run;

const CALLERS: usize = 30;

/// A line for each dialect: the calls of the first are still ringing out.
async fn both_dialects(relay: &RelayUrl) {
    let folder = tempfile::tempdir().unwrap();
    for dialect in [Dialect::Plain, Dialect::Wrapped] {
        let (_daemon, lines) = run(folder.path(), relay, 1);
        offered_at_once(relay, lines[0], CALLERS, dialect).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_callers_are_answered_through_rust_nostrs_relay() {
    let limit = RateLimit { max_reqs: 100, notes_per_minute: 6000 };
    let relay = LocalRelay::new(RelayBuilder::default().rate_limit(limit));
    relay.run().await.unwrap();
    both_dialects(&relay.url().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs relays that are running: make relays"]
async fn thirty_callers_are_answered_through_relays_that_are_running() {
    let relays =
        std::env::var("CALLGATE_TEST_RELAYS").expect("CALLGATE_TEST_RELAYS names relays, with spaces between them");
    for relay in relays.split_whitespace() {
        eprintln!("{relay}");
        both_dialects(&RelayUrl::parse(relay).unwrap()).await;
    }
}
