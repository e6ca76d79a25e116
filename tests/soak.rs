//! Hundreds of calls in one process leave it as they found it.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod calls;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/run.rs"]
#[allow(dead_code)]
mod run;
#[path = "support/signaling.rs"]
mod signaling;

use std::time::{Duration, Instant};

use callgate::gateway::{DialEvent, DialSettings, dial};
use callgate::media::caller::CallerEvent;
use callgate::protocol::Cipher;
use calls::{Caller, soon, watcher};
use daemon::{Daemon, field};
use nostr::{Keys, PublicKey, RelayUrl};
use relay::{Behaviour, TestRelay};
use signaling::Party;

const CALLS: usize = 300;
/// After so many everything that is made once has been made.
const FIRST: usize = 10;
/// Answers of one line keep a distance and rising stamps, so several lines take turns.
const LINES: usize = 6;
/// KiB that the process may have grown by.
const GROWTH: u64 = 10 * 1024;

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    threads: usize,
    descriptors: usize,
    /// KiB in memory.
    resident: u64,
}

impl Footprint {
    fn of(pid: u32) -> Self {
        let entries = |of: &str| std::fs::read_dir(format!("/proc/{pid}/{of}")).unwrap().count();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = resident.trim().trim_end_matches(" kB").parse().unwrap();
        Self { threads: entries("task"), descriptors: entries("fd"), resident }
    }

    /// What the process holds once that has not changed for a while: thread pools keep idle threads for up to 15 s, and no event says
    /// when they end.
    async fn settled(pid: u32) -> Self {
        const IDLE: Duration = Duration::from_secs(17);
        let mut last = Self::of(pid);
        let mut since = Instant::now();
        while since.elapsed() < IDLE {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let now = Self::of(pid);
            if (now.threads, now.descriptors) != (last.threads, last.descriptors) {
                since = Instant::now();
            }
            last = now;
        }
        last
    }
}

/// How a caller leaves.
#[derive(Debug, Clone, Copy)]
enum Leave {
    /// With `call_end` and a DTLS close.
    Politely,
    /// With a DTLS close only.
    Closing,
    /// Without a word, as one who crashed.
    Vanishing,
}

async fn call(number: usize, relay: &RelayUrl, line: PublicKey, leave: Leave) {
    match leave {
        Leave::Politely | Leave::Vanishing => {
            let settings = DialSettings {
                keys: Keys::generate(),
                to: line,
                relays: vec![relay.clone()],
                cipher: Cipher::Nip44,
                dialect: None,
                rings: Duration::from_secs(60),
                shared: Vec::new(),
                media: watcher(),
            };
            let (dialled, mut events) = dial(settings).await.unwrap();
            loop {
                match soon("a picture", events.recv()).await {
                    Some(DialEvent::FirstFrame) => break,
                    Some(DialEvent::Ended { why, .. }) => panic!("call {number}: {why}"),
                    Some(_) => {}
                    None => panic!("call {number} has no end"),
                }
            }
            if let Leave::Politely = leave {
                dialled.hang_up();
                while let Some(event) = soon("the end", events.recv()).await {
                    if let DialEvent::Ended { .. } = event {
                        break;
                    }
                }
            }
        }
        Leave::Closing => {
            let mut party = Party::new(std::slice::from_ref(relay)).await;
            let mut caller = Caller::start(watcher()).await;
            let answer = run::offer(&mut party, line, &format!("call{number}"), caller.offer.clone()).await;
            caller.take(&answer).await;
            caller.is(CallerEvent::FirstFrame).await;
            caller.end().await;
            party.signaling.shut_down();
        }
    }
}

/// Waits until so many calls are over, and each peer is down within its deadline.
fn all_over(daemon: &Daemon, calls: usize) {
    daemon.logged_times(calls, |record| field(record, "message") == "call ended");
    daemon.logged_times(calls, |record| field(record, "message") == "peer down");
    assert!(!daemon.written().contains("left behind"), "a teardown took longer than its deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_calls_leave_no_thread_no_descriptor_and_no_memory() {
    let relay = TestRelay::start(Behaviour::Honest).await;
    let folder = tempfile::tempdir().unwrap();
    let (daemon, lines) = run::run(folder.path(), &relay.url(), LINES);
    let began = Instant::now();
    let mut before = None;

    for number in 0..CALLS {
        if number == FIRST {
            all_over(&daemon, FIRST);
            before = Some(Footprint::settled(daemon.pid()).await);
        }
        let leave = match number {
            // Few: each is still held for 30 s.
            _ if number % 100 == 7 => Leave::Vanishing,
            odd if odd % 2 == 1 => Leave::Closing,
            _ => Leave::Politely,
        };
        call(number, &relay.url(), lines[number % LINES], leave).await;
        if number % 50 == 0 {
            eprintln!("{number} {:?} {:?}", began.elapsed(), Footprint::of(daemon.pid()));
        }
    }

    all_over(&daemon, CALLS);
    let before = before.expect("there were more calls than that");
    let after = Footprint::settled(daemon.pid()).await;
    let lost = daemon.written().matches("source lost").count();
    eprintln!("{lost} sources lost; {before:?} after {FIRST} calls, {after:?} after {CALLS}, in {:?}", began.elapsed());
    assert_eq!((after.threads, after.descriptors), (before.threads, before.descriptors));
    assert!(after.resident <= before.resident + GROWTH, "{before:?} {after:?}");
    daemon.terminate();
    let (status, log) = daemon.exit();
    assert!(status.success(), "{status}");
    assert!(!log.contains("CRITICAL"), "{log}");
}
