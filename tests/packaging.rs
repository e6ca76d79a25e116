//! Holds together the list of packages and what needs them, and keeps secrets out of what is deployed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn scripts_packages(arguments: &[&str]) -> Output {
    Command::new(root().join("scripts/packages")).args(arguments).output().expect("scripts/packages runs")
}

/// The packages of a section, as the script reads them.
fn section(name: &str) -> BTreeSet<String> {
    let output = scripts_packages(&["list", name]);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn files_under(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_under(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found
}

/// Every word of `text` that begins with `prefix`.
fn words_with<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    text.split(|c| !part_of_name(c))
        .filter(|word| word.starts_with(prefix))
        .map(|word| word.trim_end_matches('.'))
        .collect()
}

#[test]
fn the_script_reads_every_section_of_the_list_and_nothing_else() {
    let text = read("docker/packages.txt");
    let names: BTreeSet<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '['])).collect();
    let listed: BTreeSet<String> = ["build", "run", "test"].iter().flat_map(|name| section(name)).collect();
    assert_eq!(listed.iter().map(String::as_str).collect::<BTreeSet<_>>(), names);
    assert!(["build", "run", "test"].iter().all(|name| !section(name).is_empty()));
}

#[test]
fn an_unknown_section_is_a_mistake_not_an_empty_list() {
    for arguments in [&["list", "bild"][..], &["install", "bild"], &["list"], &["remove", "run"]] {
        assert_eq!(scripts_packages(arguments).status.code(), Some(64), "{arguments:?}");
    }
}

#[test]
fn the_image_and_make_take_their_packages_from_the_list() {
    let dockerfile = read("docker/Dockerfile");
    let makefile = read("Makefile");
    for (file, text, call) in [
        ("Dockerfile", &dockerfile, "scripts/packages install build"),
        ("Dockerfile", &dockerfile, "scripts/packages install run"),
        ("Makefile", &makefile, "scripts/packages install build run\n"),
        ("Makefile", &makefile, "scripts/packages install build run test\n"),
    ] {
        assert!(text.contains(call), "{file} does not say {call:?}");
    }
    for text in [&dockerfile, &makefile] {
        assert!(!text.contains("apt-get install"), "packages are named in docker/packages.txt alone");
    }
}

#[test]
fn every_package_that_the_start_up_check_names_is_in_the_image() {
    let run = section("run");
    for file in files_under(&root().join("src"), "rs") {
        let text = fs::read_to_string(&file).unwrap();
        // The prefix alone is no package.
        for package in words_with(&text, "gstreamer1.0-").into_iter().filter(|word| !word.ends_with('-')) {
            assert!(run.contains(package), "{}: {package} is not in [run]", file.display());
        }
    }
}

#[test]
fn every_program_that_tests_start_has_its_package() {
    // Programs that every system with a shell and cargo has need none.
    const EVERYWHERE: [&str; 7] = ["cargo", "sh", "bash", "git", "kill", "ps", "timeout"];
    const PACKAGE_OF: [(&str, &str); 14] = [
        ("chromium", "chromium"),
        ("chromedriver", "chromium-driver"),
        ("ffmpeg", "ffmpeg"),
        ("ffprobe", "ffmpeg"),
        ("convert", "imagemagick"),
        ("compare", "imagemagick"),
        ("identify", "imagemagick"),
        ("gst-launch-1.0", "gstreamer1.0-tools"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("turnserver", "coturn"),
        ("openssl", "openssl"),
        ("mount", "mount"),
        ("umount", "mount"),
    ];
    let packages: BTreeSet<String> = [section("run"), section("test")].into_iter().flatten().collect();
    for folder in ["tests", "benches", "examples"] {
        for file in files_under(&root().join(folder), "rs") {
            let text = fs::read_to_string(&file).unwrap();
            // The second starts a program in a network namespace.
            let started = ["Command::new(\"", ".command(\""].into_iter().flat_map(|start| text.split(start).skip(1));
            for after in started {
                let program = after.split('"').next().unwrap();
                if EVERYWHERE.contains(&program) {
                    continue;
                }
                let package = PACKAGE_OF.iter().find(|(name, _)| *name == program).map(|(_, package)| *package);
                let package = package.unwrap_or_else(|| panic!("{}: whose is {program}?", file.display()));
                assert!(packages.contains(package), "{}: {program} needs {package}", file.display());
            }
        }
    }
}

#[test]
fn the_ci_runs_make_test() {
    let script = read(".ci/run");
    assert!(script.starts_with("#!/usr/bin/env bash\n") && script.contains("set -euo pipefail"));
    let last = script.lines().last().unwrap();
    assert_eq!(last, "make test");
}

#[test]
fn no_password_stands_in_what_is_deployed() {
    for file in ["docker/compose.yaml", "docker/callgate.toml", "docker/callgate.service", "docker/Dockerfile"] {
        for (number, line) in read(file).lines().enumerate() {
            let code = line.split('#').next().unwrap();
            let lower = code.to_lowercase();
            let suspicious =
                ["password", "passwd", "--user=", "static-auth-secret", "nsec1", "://user", "credential ="];
            let found = suspicious.iter().find(|word| lower.contains(**word));
            assert!(found.is_none(), "{file}:{}: {found:?}", number + 1);
        }
    }
}

#[test]
fn every_secret_that_a_service_takes_comes_from_a_file_that_git_ignores() {
    let compose = read("docker/compose.yaml");
    let declared = compose.split("\nsecrets:\n").nth(1).expect("secrets at the top level");
    let files: Vec<&str> = declared.lines().filter_map(|line| line.trim().strip_prefix("file: ")).collect();
    assert!(!files.is_empty() && files.iter().all(|file| file.starts_with("./secrets/")), "{files:?}");
    assert!(read(".gitignore").lines().any(|line| line == "/docker/secrets"));
    assert!(read(".dockerignore").lines().any(|line| line == "docker/secrets"));
}
