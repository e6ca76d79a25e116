//! The documentation and the configuration agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use callgate::config::{self, Problem, Since};

/// An npub that exists, where the documentation has `npub1...`.
const NPUB: &str = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// `nostr` for `[nostr]`, `line` for `[[line]]`.
fn name_of(header: &str) -> &str {
    header.trim_matches(['[', ']'])
}

#[test]
fn the_readme_names_every_key_and_no_other() {
    let readme = read("README.md");
    let part = readme.split("\n## ").find(|part| part.starts_with("Configuration")).unwrap();
    let sections = config::sections();
    // `turn` for `turn = [{ }]`: a key whose value is a list of tables. Its row names their keys too.
    let list_of = |header: &str| header.strip_suffix(" = [{ }]").map(str::to_owned);
    let lists: BTreeSet<String> = sections.iter().filter_map(|section| list_of(section.header)).collect();
    let mut section = String::new();
    let mut told = BTreeSet::new();
    let mut inside = BTreeSet::new();
    for row in part.lines().filter_map(|line| line.strip_prefix("| ")) {
        let (first, rest) = row.split_once('|').unwrap();
        if first.contains("**") {
            section = quoted(first).next().unwrap();
            continue;
        }
        told.extend(quoted(first).map(|key| (section.clone(), key)));
        // A line's row says where to look.
        if let Some(list) = quoted(first).find(|key| lists.contains(key) && section != "line") {
            let keys = quoted(rest).filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            inside.extend(keys.map(|key| (list.clone(), key)));
        }
    }

    let tables: BTreeSet<&str> = sections.iter().map(|section| name_of(section.header)).collect();
    let (mut usable, mut usable_inside) = (BTreeSet::new(), BTreeSet::new());
    for section in sections {
        for key in section.keys.iter().filter(|key| key.since == Since::Now && !tables.contains(key.name)) {
            match list_of(section.header) {
                Some(list) => usable_inside.insert((list, key.name.to_owned())),
                None => usable.insert((name_of(section.header).to_owned(), key.name.to_owned())),
            };
        }
    }

    assert_eq!(told, usable, "left: README.md, right: the schema");
    assert_eq!(inside, usable_inside, "left: README.md, right: the schema");
}

/// Every example is right but for the files that it names, which only its reader has.
#[test]
fn every_example_is_a_good_configuration() {
    let readme = read("README.md");
    let blocks = readme.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    let examples: Vec<String> = blocks.chain([read("docker/callgate.toml")]).collect();
    assert!(examples.len() >= 2, "README.md has no example");
    for example in examples {
        let text = example.replace("npub1...", NPUB);
        let Err(errors) = config::parse(&text, Path::new("example/callgate.toml")) else { continue };
        let wrong: Vec<_> = errors.0.iter().filter(|error| !matches!(error.problem, Problem::NoSuchFile(_))).collect();
        assert!(wrong.is_empty(), "{errors}\n{example}");
    }
}
