//! The "must not know" table of ARCHITECTURE.md, and what its words mean in source.

use super::scan::Source;

/// A row: a module, and the words of its last column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub module: String,
    pub must_not_know: Vec<String>,
}

/// Reads the table from ARCHITECTURE.md's text. "the same" repeats the row above; what follows a colon explains.
pub fn rows(architecture: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let lines = architecture.lines().skip_while(|line| !line.contains("| must not know |")).skip(2);
    for line in lines.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(last) = cells.last() else { continue };
        let words = last.split(':').next().unwrap_or_default();
        let must_not_know = match rows.last() {
            Some(above) if words == "the same" => above.must_not_know.clone(),
            _ => words.split(',').map(|word| word.trim().to_owned()).collect(),
        };
        for module in cells[0].split(',') {
            let module = module.trim().trim_matches('`').to_owned();
            rows.push(Row { module, must_not_know: must_not_know.clone() });
        }
    }
    rows
}

/// What a word of the table forbids.
#[derive(Debug, Default, Clone, Copy)]
pub struct Meaning {
    /// Paths that begin so. A first segment that ends in `*` stands for every crate of that family.
    paths: &'static [&'static str],
    /// Paths that hold these segments anywhere: for items that are reached in more than one way.
    within: &'static [&'static str],
    methods: &'static [&'static str],
    macros: &'static [&'static str],
}

/// What `word` means; `None` when the test has not been told.
pub fn meaning(word: &str) -> Option<Meaning> {
    let nothing = Meaning::default();
    Some(match word {
        "gstreamer" => Meaning { paths: &["gst", "gst_*", "gstreamer*", "glib", "gio"], ..nothing },
        "tokio" => Meaning { paths: &["tokio", "tokio_*"], ..nothing },
        "axum" => Meaning { paths: &["axum", "axum_*", "hyper", "tower"], ..nothing },
        "nostr" => Meaning { paths: &["nostr", "nostr_*"], ..nothing },
        "nostr-sdk" => Meaning { paths: &["nostr_*"], ..nothing },
        "relays" => Meaning { paths: &["nostr_*", "tokio_tungstenite", "crate::signaling"], ..nothing },
        // Addresses (IpAddr, SocketAddr) are plain data.
        "sockets" => Meaning {
            paths: &["std::os::unix::net", "socket2", "tokio::net"],
            within: &["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"],
            methods: &["to_socket_addrs"],
            ..nothing
        },
        // A path is plain data, asking the file system about it is not.
        "files" => Meaning {
            paths: &["std::fs", "std::env", "tokio::fs"],
            within: &["File::open", "File::create", "File::create_new", "File::options", "OpenOptions"],
            methods: &["exists", "try_exists", "is_file", "is_dir", "canonicalize", "read_dir"],
            ..nothing
        },
        "clocks" => Meaning {
            within: &["Instant::now", "SystemTime", "UNIX_EPOCH", "Timestamp::now"],
            methods: &["elapsed"],
            ..nothing
        },
        // Randomness comes in as an argument. The nostr functions named here reach for the system's generator.
        "global randomness" => Meaning {
            paths: &["rand::rng", "rand::random", "rand::rngs", "getrandom", "nostr::nips::nip44::encrypt"],
            within: &[
                "thread_rng",
                "ThreadRng",
                "OsRng",
                "Keys::generate",
                "SecretKey::generate",
                "nip44::encrypt",
                "nip04::encrypt",
            ],
            methods: &["sign_with_keys"],
            ..nothing
        },
        // How a call works inside; its reports, states and end reasons may be shown.
        "call internals" => Meaning {
            paths: &["crate::call::Call", "crate::call::Action", "crate::call::Input", "crate::call::machine"],
            ..nothing
        },
        "protocol" => Meaning { paths: &["crate::protocol"], ..nothing },
        "endpoint" => Meaning { paths: &["crate::endpoint"], ..nothing },
        "signaling" => Meaning { paths: &["crate::signaling"], ..nothing },
        "media" => Meaning { paths: &["crate::media"], ..nothing },
        "gateway" => Meaning { paths: &["crate::gateway"], ..nothing },
        "web" => Meaning { paths: &["crate::web"], ..nothing },
        _ => return None,
    })
}

impl Meaning {
    /// What of `source` it forbids: line and text.
    pub fn found_in(&self, source: &Source) -> Vec<(usize, String)> {
        let paths = source
            .paths
            .iter()
            .filter(|path| {
                self.paths.iter().any(|forbidden| begins(&path.segments, forbidden))
                    || self.within.iter().any(|forbidden| holds(&path.segments, forbidden))
            })
            .map(|path| (path.line, path.segments.join("::")));
        let methods = source.methods.iter().filter(|(_, name)| self.methods.contains(&name.as_str()));
        let macros = source.macros.iter().filter(|(_, name)| self.macros.contains(&name.as_str()));
        paths
            .chain(methods.map(|(line, name)| (*line, format!(".{name}()"))))
            .chain(macros.map(|(line, name)| (*line, format!("{name}!"))))
            .collect()
    }
}

/// Whether a path begins with `forbidden`, or is a glob that would bring it in.
fn begins(path: &[String], forbidden: &str) -> bool {
    let forbidden: Vec<&str> = forbidden.split("::").collect();
    let same = |(own, other): (&String, &&str)| match other.strip_suffix('*') {
        Some(family) => own.starts_with(family),
        None => own == other,
    };
    match path.split_last() {
        Some((last, glob)) if last == "*" && glob.len() < forbidden.len() => {
            glob.len() > 1 && glob.iter().zip(&forbidden).all(same)
        }
        _ => path.len() >= forbidden.len() && path.iter().zip(&forbidden).all(same),
    }
}

fn holds(path: &[String], forbidden: &str) -> bool {
    let forbidden: Vec<&str> = forbidden.split("::").collect();
    path.windows(forbidden.len()).any(|window| window == forbidden)
}
