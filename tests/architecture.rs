//! Holds ARCHITECTURE.md's table and the source together, and the rules that every file follows.

#[path = "architecture/scan.rs"]
mod scan;
#[path = "architecture/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use scan::{Source, scan};
use table::{meaning, rows};

/// A file that is longer holds more than one thing.
const LONGEST_FILE: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn architecture() -> Vec<table::Row> {
    rows(&read(&root().join("ARCHITECTURE.md")))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// `src/call/machine.rs` is `["call", "machine"]`, `src/call/mod.rs` is `["call"]`.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let segments: Vec<String> = inside.iter().map(|segment| segment.to_string_lossy().into_owned()).collect();
    match segments.split_last() {
        Some((last, above)) if ["mod", "lib", "main"].contains(&last.as_str()) => above.to_vec(),
        _ => segments,
    }
}

/// Every file of src that is not test code, scanned.
fn sources() -> Vec<(String, Vec<String>, Source)> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let scanned: Vec<_> = files
        .iter()
        .map(|file| {
            let module = module_of(file);
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            let source = scan(&module, &read(file));
            (name, module, source)
        })
        .collect();
    let tests: BTreeSet<Vec<String>> = scanned
        .iter()
        .flat_map(|(_, module, source)| {
            source.test_files.iter().map(move |test| [&module[..], std::slice::from_ref(test)].concat())
        })
        .collect();
    scanned.into_iter().filter(|(_, module, _)| !tests.iter().any(|test| module.starts_with(test))).collect()
}

/// What `source`, a file of `module`, knows and must not.
fn forbidden(rows: &[table::Row], module: &str, source: &Source) -> Vec<String> {
    rows.iter()
        .filter(|row| row.module == module)
        .flat_map(|row| &row.must_not_know)
        .flat_map(|word| {
            let meaning = meaning(word)
                .unwrap_or_else(|| panic!("the table says {word:?}, which tests/architecture does not know"));
            meaning.found_in(source).into_iter().map(move |(line, text)| format!("line {line}: {text} ({word})"))
        })
        .collect()
}

/// Where `source` may panic, or splices launch text, without saying which invariant makes it right.
fn unexplained(source: &Source) -> Vec<String> {
    let methods = source
        .methods
        .iter()
        .filter(|(_, name)| ["unwrap", "expect", "unwrap_err", "expect_err"].contains(&name.as_str()));
    let macros = source
        .macros
        .iter()
        .filter(|(_, name)| ["panic", "unreachable", "todo", "unimplemented"].contains(&name.as_str()));
    let launches = source.spliced_launches.iter().map(|line| (*line, "launch text that is not constant".to_owned()));
    methods
        .chain(macros)
        .cloned()
        .chain(launches)
        .filter(|(line, _)| !source.invariants.contains(line))
        .map(|(line, what)| format!("line {line}: {what}"))
        .collect()
}

fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn no_module_knows_what_the_table_forbids() {
    let rows = architecture();
    let mut found = Vec::new();
    for (file, module, source) in sources() {
        if let Some(top) = module.first() {
            found.extend(forbidden(&rows, top, &source).into_iter().map(|what| format!("{file} {what}")));
        }
    }
    none(&found, "ARCHITECTURE.md says that these modules must not know");
}

#[test]
fn the_table_names_every_module_and_no_other() {
    let lib = scan(&[], &read(&root().join("src/lib.rs")));
    let mut folders: Vec<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    folders.extend(lib.public_modules);
    let in_tree: BTreeSet<String> = folders.into_iter().collect();
    let in_table: BTreeSet<String> = architecture().into_iter().map(|row| row.module).collect();
    assert_eq!(in_tree, in_table, "left: src, right: ARCHITECTURE.md's table");
}

#[test]
fn every_word_of_the_table_has_a_meaning() {
    for row in architecture() {
        for word in row.must_not_know {
            assert!(meaning(&word).is_some(), "{}: {word:?}", row.module);
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let long: Vec<String> = files
        .iter()
        .map(|file| (file, read(file).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    none(&long, "split by meaning");
}

#[test]
fn what_may_panic_says_which_invariant_makes_it_right() {
    let mut found = Vec::new();
    for (file, _, source) in sources() {
        found.extend(unexplained(&source).into_iter().map(|what| format!("{file} {what}")));
    }
    none(&found, "return an error, or end the line with `// invariant: why it cannot happen`");
}

#[test]
fn only_main_and_cli_use_anyhow() {
    let mut found = Vec::new();
    for (file, module, source) in sources() {
        let allowed = module.first().is_none_or(|top| top == "cli");
        let line = source.paths.iter().find(|path| path.segments[0] == "anyhow").map(|path| path.line);
        if let (false, Some(line)) = (allowed, line) {
            found.push(format!("{file} line {line}"));
        }
    }
    none(&found, "an error here is an enum that says whose fault it is");
}

mod the_rules_bite {
    //! Bad snippets are caught, and what only looks bad is not.

    use super::*;

    const TABLE: &str = "
| module | does | must not know |
|---|---|---|
| `call` | decides | gstreamer, tokio, relays, sockets, files, clocks, global randomness |
| `sdp` | guards | the same |
| `media` | plays | nostr, protocol, gateway |
| `gateway` | runs | gstreamer, nostr-sdk, axum |
| `web`, `cli` | show | call internals: they talk to a handle |

| another | table | gstreamer |
";

    fn caught(module: &[&str], text: &str) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|&segment| segment.to_owned()).collect();
        forbidden(&rows(TABLE), &module[0], &scan(&module, text))
    }

    #[test]
    fn the_table_is_read_as_written() {
        let rows = rows(TABLE);
        let modules: Vec<&str> = rows.iter().map(|row| row.module.as_str()).collect();
        assert_eq!(modules, ["call", "sdp", "media", "gateway", "web", "cli"]);
        assert_eq!(rows[0].must_not_know, rows[1].must_not_know);
        assert_eq!(rows[5].must_not_know, ["call internals"]);
    }

    #[test]
    fn what_is_forbidden_is_found_however_it_is_written() {
        let bad = [
            ("call", "use gst::prelude::*;"),
            ("call", "fn f() { gst_webrtc::ffi::f(); }"),
            ("call", "use tokio::sync::mpsc;"),
            ("call", "#[tokio::main] async fn f() {}"),
            ("call", "async fn f() { tokio::select! { _ = a => {} } }"),
            ("call", "use std::{collections::BTreeMap, net::{IpAddr, UdpSocket}};"),
            ("call", "use std::net; fn f() { net::TcpStream::connect(a); }"),
            ("call", "use std::net::*; fn f(socket: &UdpSocket) {}"),
            ("call", "use std::net::TcpListener as L;"),
            ("call", "fn f() { File::open(p); }"),
            ("sdp", "use std::{path::Path}; fn f(p: &Path) -> bool { p.exists() }"),
            ("call", "use std::fs;"),
            ("call", "use std::io::{self as i}; fn f() { ::std::fs::read(p); }"),
            ("call", "use std::time::Instant; fn f() { let a = Instant::now(); }"),
            ("call", "fn f(t: std::time::Instant) { t.elapsed(); }"),
            ("call", "use std::time as t; fn f() { t::SystemTime::now(); }"),
            ("call", "use nostr::Timestamp; fn f() { Timestamp::now(); }"),
            ("call", "fn f() { nostr::Keys::generate(); }"),
            ("call", "use nostr::nips::nip44; fn f() { nip44::encrypt(a, b, c, v); }"),
            ("call", "use rand::rngs::OsRng;"),
            ("call", "use nostr_sdk::Client;"),
            ("call", "use crate::{call::Call, signaling::Settings};"),
            ("call", "use super::signaling::Settings;"),
            ("sdp", "use glib::Value;"),
            ("media", "use nostr::PublicKey;"),
            ("media", "fn f(a: &crate::protocol::Body) {}"),
            ("gateway", "pub use nostr_sdk::Client;"),
            ("web", "use crate::call::{Action, Report};"),
            ("cli", "fn f() { crate::call::machine::step(); }"),
        ];
        for (module, text) in bad {
            assert!(!caught(&[module], text).is_empty(), "{module}: {text}");
        }
    }

    #[test]
    fn super_is_followed_up_to_the_crate() {
        assert!(!caught(&["media", "hub", "tap"], "use super::super::super::gateway::Handle;").is_empty());
        assert!(caught(&["media", "hub", "tap"], "use super::super::gateway::Handle;").is_empty());
    }

    #[test]
    fn comments_strings_tests_and_look_alikes_are_no_matter() {
        let good = [
            ("call", "// use gst::prelude::*;\n/* tokio::spawn /* std::fs::read */ */ /// std::fs\nfn f() {}"),
            (
                "call",
                r##"const A: &str = "tokio::spawn(std::fs::read)"; const B: &[u8] = br#"gst::init" gst::init"#;"##,
            ),
            ("call", "fn f<'a>(x: &'a str) -> char { let c = '\"'; let d = '\\''; c } // gst::init"),
            ("call", "#[cfg(test)]\nmod tests { use tokio::test; fn f() { std::fs::read(p); } }"),
            ("call", "#[cfg(test)]\n#[allow(dead_code)]\nfn f(a: [u8; 2]) -> u8 { std::fs::read(p) }\nfn g() {}"),
            ("call", "#[cfg(all(test, unix))] use std::fs;"),
            ("call", "#![cfg(test)]\nuse std::fs;"),
            ("call", "use std::net::{IpAddr, SocketAddr}; use std::path::PathBuf; use std::time::Duration;"),
            ("call", "enum Endpoint { File(String) } fn f() { Endpoint::File(x); Self::File(y); }"),
            ("call", "struct Gst; fn tokio() {} fn f(gst: u8) { let fs = gst; }"),
            ("call", "use crate::endpoint::Streams; use nostr::PublicKey; fn f<R: rand_core::RngCore>(r: R) {}"),
            ("gateway", "use nostr::Keys; use tokio::net::UdpSocket;"),
            ("web", "use crate::call::{EndReason, Report, State};"),
        ];
        for (module, text) in good {
            assert_eq!(caught(&[module], text), [""; 0], "{module}: {text}");
        }
    }

    #[test]
    fn code_after_a_test_module_is_still_looked_at() {
        let text = "#[cfg(test)]\nmod tests { fn f() { let a = '{'; } }\nuse tokio::task;";
        assert_eq!(caught(&["call"], text), ["line 3: tokio::task (tokio)"]);
        assert_eq!(scan(&[], "#[cfg(test)]\nmod tests;\nfn f() {}").test_files, ["tests"]);
    }

    #[test]
    fn a_panic_needs_its_invariant_on_the_same_line() {
        let found = |text: &str| unexplained(&scan(&[], text));
        assert_eq!(found("fn f() { a.unwrap() }"), ["line 1: unwrap"]);
        assert_eq!(found("fn f() {\n a\n  .expect(\"x\")\n}"), ["line 3: expect"]);
        assert_eq!(found("fn f() { todo!() }\nfn g() { std::panic!(\"x\") }"), ["line 1: todo", "line 2: panic"]);
        assert_eq!(found("fn f() { a.unwrap() } // invariant:"), ["line 1: unwrap"]);
        assert_eq!(found("fn f() { a.unwrap() } // because"), ["line 1: unwrap"]);
        assert_eq!(found("fn f() { a.unwrap() } // invariant: a was just set"), [""; 0]);
        assert_eq!(found("fn f() { a.unwrap_or(1); a.unwrap_or_default() }"), [""; 0]);
        assert_eq!(found("#[test]\nfn f() { a.unwrap() }"), [""; 0]);
        assert_eq!(found("const A: &str = \"a.unwrap()\";"), [""; 0]);
    }

    #[test]
    fn launch_text_is_constant() {
        let found = |text: &str| unexplained(&scan(&[], text));
        assert_eq!(found("fn f() { gst::parse::launch(&text) }"), ["line 1: launch text that is not constant"]);
        assert_eq!(found("fn f() { gst::parse::launch(&format!(\"{a}\")) }").len(), 1);
        assert_eq!(
            found("fn f() { gst::parse::launch(\"fakesrc\"); gst::parse::bin_from_description(LAUNCH, true) }"),
            [""; 0]
        );
        assert_eq!(found("fn f() { gst::parse::launch(&text) } // invariant: text is one of three constants"), [""; 0]);
    }
}
