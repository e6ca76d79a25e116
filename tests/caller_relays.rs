//! The relay that an offer names is answered through, for callers who were let in, and where the configuration lets it be.
#![cfg(feature = "daemon")]

mod support {
    #[allow(dead_code)]
    pub mod calls;
    pub mod daemon;
    pub mod relay;
    pub mod signaling;
}

use callgate::protocol::{Body, Offer};
use nostr::{Event, EventBuilder, Keys, PublicKey, RelayUrl, Tag, TagKind, ToBech32 as _};
use support::calls::{Caller, watcher};
use support::daemon::{Daemon, field};
use support::relay::{Behaviour, TestRelay};
use support::signaling::{Party, now, outgoing, sealed, soon};

/// An offer with a `relay` tag.
async fn offer(from: &Keys, to: PublicKey, relay: &RelayUrl) -> (Event, Caller) {
    let caller = Caller::start(watcher()).await;
    let offer = Body::Offer(Offer::new(caller.offer.clone(), now(), 60));
    let event = sealed(from, &outgoing(from.public_key(), to, "s", offer), now());
    let tags = event.tags.iter().cloned().chain([Tag::custom(TagKind::custom("relay"), [relay.to_string()])]);
    let event = EventBuilder::new(event.kind, event.content.clone()).tags(tags).sign_with_keys(from).unwrap();
    (event, caller)
}

/// A daemon with a line that `allowed` may call; `nostr` is more of that table.
fn run(ours: &TestRelay, nostr: &str, allowed: &PublicKey) -> (tempfile::TempDir, Daemon, PublicKey) {
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!(
        "data_dir = \"data\"\n[nostr]\nrelays = [\"{}\"]\n{nostr}\n[ice]\nbind = [\"127.0.0.1\"]\n\
         [access]\nallow = [\"{}\"]\nrefuse = \"answer\"\n[[line]]\nname = \"door\"\n\
         play = \"test://?width=160&height=120&fps=10&bitrate=100\"\n",
        ours.url(),
        allowed.to_bech32().unwrap()
    );
    let daemon = Daemon::run(folder.path(), &configuration, 1);
    let line = PublicKey::parse(&daemon.npub("door")).unwrap();
    (folder, daemon, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_listens_elsewhere_is_answered_there() {
    let (ours, theirs) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::WantsAuth).await);
    let mut party = Party::new(&[theirs.url()]).await;
    let (_folder, _daemon, line) = run(&ours, "caller_relays = \"any\"", &party.public());
    soon(async { tokio::join!(ours.subscriptions(1), theirs.subscriptions(1)) }).await;

    let (event, mut caller) = offer(&party.keys, line, &theirs.url()).await;
    assert!(ours.submit(&event).0);

    let (_, answer) = party.answer().await;
    caller.take(&answer.sdp).await;
    caller.is(callgate::media::caller::CallerEvent::FirstFrame).await;
    assert_eq!(ours.count(14301), 1, "and on the line's own relay");
    caller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_not_dialled_and_neither_is_anything_for_whoever_may_not_call() {
    let (ours, theirs) = (TestRelay::start(Behaviour::Honest).await, TestRelay::start(Behaviour::Honest).await);
    for (nostr, allowed, what) in [
        ("", true, "call_answer"),
        ("caller_relays = \"never\"", true, "call_answer"),
        ("caller_relays = \"any\"", false, "not_allowed"),
    ] {
        // Of two offers of one key within a second the relay keeps one.
        let (friend, stranger) = (Keys::generate(), Keys::generate());
        let from = if allowed { &friend } else { &stranger };
        let before = ours.count(14301);
        let (_folder, daemon, line) = run(&ours, nostr, &friend.public_key());
        soon(ours.subscriptions(1)).await;
        let (event, caller) = offer(from, line, &theirs.url()).await;
        assert!(ours.submit(&event).0);
        // The answer, or the refusal, is on our own relay: by then the other would have been dialled.
        soon(ours.counted(14301, before + 1)).await;
        if what == "not_allowed" {
            daemon.logged(|record| field(record, "why") == what);
        }
        caller.end().await;
        drop(daemon);
        soon(ours.deserted()).await;
    }
    assert_eq!(theirs.connections(), 0);
}
