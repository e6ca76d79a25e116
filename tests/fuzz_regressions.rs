//! What fuzzing found stays fixed, and its seeds are of use: both go through the very functions that `fuzz/` runs.
//!
//! A find belongs in `tests/fixtures/fuzz/TARGET/`, as the fuzzer wrote it and under a name that says what it was.
//! `CALLGATE_WRITE_SEEDS=1 cargo test --no-default-features --test fuzz_regressions seeds` writes the corpora that a run of the fuzzer
//! begins with, into `fuzz/corpus/TARGET/`.

#[path = "support/fuzzed.rs"]
mod fuzzed;
#[path = "support/sdp_offers.rs"]
mod offers;

use std::fs;
use std::path::{Path, PathBuf};

use callgate::protocol::SignalKind;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_found_is_found_no_more() {
    let finds = root().join("tests/fixtures/fuzz");
    for (name, target) in fuzzed::TARGETS {
        for file in files(&finds.join(name)) {
            eprintln!("{}", file.display());
            target(&fs::read(file).unwrap());
        }
    }
    for folder in files(&finds) {
        let known = fuzzed::TARGETS.iter().any(|(name, _)| folder.ends_with(name));
        assert!(known, "{} belongs to no target", folder.display());
    }
}

#[test]
fn every_target_can_be_run_and_is_one_of_these() {
    let targets: Vec<_> = files(&root().join("fuzz/fuzz_targets"))
        .iter()
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(targets, fuzzed::TARGETS.map(|(name, _)| name));
}

#[test]
fn seeds_are_taken_as_what_they_are() {
    let seeds = seeds();
    for (name, target) in fuzzed::TARGETS {
        let of_target: Vec<_> = seeds.iter().filter(|(of, _)| *of == name).collect();
        assert!(of_target.len() >= 10, "{name} has {} seeds", of_target.len());
        let folder = root().join("fuzz/corpus").join(name);
        for (at, (_, seed)) in of_target.iter().enumerate() {
            target(seed);
            if std::env::var_os("CALLGATE_WRITE_SEEDS").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("seed-{at:03}")), seed).unwrap();
            }
        }
    }
}

/// A target's name, and something to begin with.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let mut add = |target: &'static str, choice: Option<usize>, text: &str| {
        let choice = choice.map(|choice| u8::try_from(choice).unwrap());
        seeds.push((target, choice.into_iter().chain(text.bytes()).collect()));
    };
    for file in ["signals.json", "rejects.json", "wraps.json"] {
        let Ok(text) = fs::read_to_string(root().join("tests/vectors").join(file)) else { continue };
        let vectors: Value = serde_json::from_str(&text).unwrap();
        for vector in vectors["vectors"].as_array().unwrap() {
            let event = vector["event"].to_string();
            // One is large, to be refused for that.
            if event.len() > 16 * 1024 {
                continue;
            }
            add("event", None, &format!("[\"EVENT\",\"s\",{event}]"));
            add("event", None, &event);
            add("wrap", None, &event);
            let kind = vector["event"]["kind"].as_u64().and_then(|kind| SignalKind::from_number(kind as u16));
            if let (Some(kind), Some(plaintext)) = (kind, vector["plaintext"].as_str()) {
                add("payload", SignalKind::ALL.iter().position(|known| *known == kind), plaintext);
            }
        }
    }
    for (at, (_, sdp)) in offers::fixtures().iter().enumerate() {
        for line in sdp.lines().filter(|line| line.starts_with("a=candidate:")).take(2) {
            add("candidate", None, line);
        }
        // The largest are more of the same.
        if sdp.len() <= 6 * 1024 {
            add("offer", Some(at % offers::lines().len()), sdp);
        }
    }
    for url in ["stun:stun.example.com:3478", "turn:192.0.2.7?transport=tcp", "turns:[2001:db8::7]:443"] {
        add("candidate", None, url);
    }
    for (at, ours) in fuzzed::OFFERED.iter().map(|(_, text)| text).enumerate() {
        let answer = offers::as_they_answer(ours);
        add("answer", Some(at), &answer);
        add("answer", Some(at), &answer.replace("a=setup:active", "a=setup:passive"));
        add("answer", Some(at), &answer.replace("\r\nm=audio 9", "\r\nm=audio 0"));
        // A restart by whoever answered: an offer with the m-lines of ours.
        let restart = ours.replace("a=ice-ufrag:abcd", "a=ice-ufrag:efgh");
        let certificate = |text: &str| text.lines().find(|line| line.starts_with("a=fingerprint:")).unwrap().to_owned();
        add("renegotiation", Some(2 * at + 1), &restart.replace(&certificate(ours), &certificate(&answer)));
    }
    for (at, first) in fuzzed::FIRST_OFFERS.iter().enumerate() {
        add("renegotiation", Some(2 * at), first);
        let ufrag = first.lines().find(|line| line.starts_with("a=ice-ufrag:")).unwrap();
        let restart = first.replace(ufrag, "a=ice-ufrag:efgh");
        add("renegotiation", Some(2 * at), &restart);
        let more = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:more\r\na=rtcp-mux\r\na=setup:actpass\r\na=recvonly\r\na=rtpmap:96 VP8/90000\r\n";
        add("renegotiation", Some(2 * at), &format!("{restart}{more}"));
        add("renegotiation", Some(2 * at), &restart.replace("a=sendrecv", "a=inactive"));
    }
    seeds
}
