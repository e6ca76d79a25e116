//! `callgate run` with lines of test pictures, and what is said to it and heard from it through a relay.

use std::fmt::Write as _;
use std::path::Path;

use callgate::protocol::{self, Body, Offer};
use nostr::nips::nip19::FromBech32 as _;
use nostr::{PublicKey, RelayUrl};

use super::daemon::Daemon;
use super::signaling::{Party, now};

/// Runs `lines` lines that anyone may call; returns their keys with it.
pub fn run(directory: &Path, relay: &RelayUrl, lines: usize) -> (Daemon, Vec<PublicKey>) {
    let mut configuration = format!(
        "data_dir = \"data\"\n[nostr]\nrelays = [\"{relay}\"]\n[ice]\nbind = [\"127.0.0.1\"]\n[access]\nallow = [\"*\"]\n"
    );
    for line in 0..lines {
        write!(
            configuration,
            "[[line]]\nname = \"line{line}\"\nidle = \"10m\"\nplay = \"test://?width=160&height=90&fps=15&bitrate=100&keyframe=1\"\n"
        )
        .unwrap();
    }
    let daemon = Daemon::run(directory, &configuration, lines);
    let keys = daemon.stdout_lines(lines);
    let key =
        |line: &String| PublicKey::from_bech32(line.split_whitespace().nth(1).expect("an npub")).expect("an npub");
    let keys = keys.iter().map(key).collect();
    (daemon, keys)
}

/// Offers `sdp` to a line, and waits for its answer.
pub async fn offer(caller: &mut Party, to: PublicKey, session: &str, sdp: String) -> String {
    let offer = Offer::new(sdp, now(), 60);
    caller.publish(to, session, Body::Offer(offer)).await;
    loop {
        match hear(caller, to).await {
            Body::Answer(answer) => {
                assert!(answer.accepted, "refused");
                return answer.sdp;
            }
            Body::End(end) => panic!("ended instead of answered: {end:?}"),
            _ => {}
        }
    }
}

/// What the line says next.
pub async fn hear(caller: &mut Party, from: PublicKey) -> Body {
    loop {
        let heard = caller.next().await;
        if heard.envelope.from == from {
            return protocol::open(heard.envelope.clone(), &heard.event, &caller.keys).expect("it can be read").body;
        }
    }
}
