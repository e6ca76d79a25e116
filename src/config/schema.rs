//! Every key that a configuration may hold: reading, suggestions and documentation all go by this table.

/// One table of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// As written in the file: `[nostr]`, `[[line]]`; empty for the top.
    pub header: &'static str,
    pub keys: &'static [Key],
}

/// One key of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    pub since: Since,
    /// What it is, in a few words: said when it is missing.
    pub about: &'static str,
}

/// Whether a key can be used already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Now,
    /// Its name is taken; using it is an error that says so, so that nobody believes it works.
    Later,
}

const fn key(name: &'static str, about: &'static str) -> Key {
    Key { name, since: Since::Now, about }
}

const fn later(name: &'static str, about: &'static str) -> Key {
    Key { name, since: Since::Later, about }
}

pub(super) static TOP: Section = Section {
    header: "",
    keys: &[
        key("data_dir", "where keys and the call log are kept"),
        key("nostr", "the relays"),
        key("access", "who may call"),
        key("limits", "how many calls"),
        key("ice", "how callers reach us"),
        key("http", "the web server"),
        key("recording", "where recordings lie, and how much of them is kept"),
        key("line", "what can be called"),
        later("sip_account", "a registration with a phone exchange"),
    ],
};

pub(super) static NOSTR: Section = Section {
    header: "[nostr]",
    keys: &[
        key("relays", "relays to listen on"),
        key("embedded_relay", "where a relay inside callgate listens"),
        key(
            "caller_relays",
            "which of the relays that callers name are answered through: \"never\", \"public\" or \"any\"",
        ),
        key("key_passphrase", "where the passphrase of encrypted keys is"),
    ],
};

pub(super) static ACCESS: Section = Section {
    header: "[access]",
    keys: &[
        key("allow", "the npubs that may call, or \"*\""),
        key("follows_of", "npubs: whoever these follow may call too"),
        key("deny", "the npubs that may not call, whatever else is said"),
        key("refuse", "what others get: \"silent\" or \"answer\""),
    ],
};

/// An entry of `allow`, `follows_of` or `deny` that says more than an npub.
pub(super) static ENTRY: Section =
    Section { header: "allow = [{ }]", keys: &[key("npub", "whose entry it is"), key("until", "when the entry ends")] };

pub(super) static LIMITS: Section = Section {
    header: "[limits]",
    keys: &[
        key("calls", "calls at once"),
        key("calls_per_caller", "calls at once of one caller"),
        key("offers_per_minute", "offers a minute of one caller"),
    ],
};

pub(super) static ICE: Section = Section {
    header: "[ice]",
    keys: &[
        key("stun", "STUN servers"),
        key("turn", "TURN servers"),
        key("ports", "UDP ports for media"),
        key("advertise", "public addresses of a 1:1 NAT"),
        key("bind", "local addresses that become candidates"),
        key("caller_servers", "which of a caller's rtc_servers are used: \"never\", \"public\" or \"any\""),
    ],
};

pub(super) static TURN: Section = Section {
    header: "turn = [{ }]",
    keys: &[
        key("url", "the server, such as \"turn:turn.example.com:3478\""),
        key("username", "the user name at the server"),
        key("credential_file", "the file that holds the password"),
    ],
};

pub(super) static HTTP: Section = Section {
    header: "[http]",
    keys: &[
        key("listen", "the address and port to listen on"),
        key("token_file", "the file that holds the API's token"),
    ],
};

pub(super) static RECORDING: Section = Section {
    header: "[recording]",
    keys: &[
        key("directory", "the folder of recordings"),
        key("format", "the container: \"mkv\" or \"mp4\""),
        key("segment", "how long a file is before another follows"),
        key("path", "where a recording lies in the folder"),
        key("keep_for", "how long recordings are kept"),
        key("keep_size", "how much recordings may take together"),
        key("keep_free", "how much of the disk stays free by deleting the oldest recordings"),
        key("floor", "how little the disk may have left before recordings end"),
    ],
};

pub(super) static LINE: Section = Section {
    header: "[[line]]",
    keys: &[
        key("name", "what the line is called"),
        key("key_file", "the file that holds the line's secret key"),
        key("key_passphrase", "where the passphrase of the line's encrypted key is"),
        key("play", "what the caller sees and hears, such as \"rtsp://10.0.0.5/main\""),
        key("allow", "the npubs that may call this line, or \"*\""),
        key("follows_of", "npubs: whoever these follow may call this line too"),
        key("deny", "the npubs that may not call this line, beside those of [access]"),
        key("refuse", "what others get: \"silent\" or \"answer\""),
        key("record", "whose media is recorded: \"off\", \"caller\", \"line\" or \"both\""),
        key("announce", "whether the line's name and relays are published"),
        key("keep_warm", "whether the source stays open without callers"),
        key("idle", "how long the source stays open without callers"),
        key("loop", "whether a file starts again at its end"),
        key("start", "for whom a file begins: \"own\" or \"shared\""),
        key("after", "what follows a file's end: \"hangup\", \"loop\" or \"hold\""),
        later("talk", "where the caller's voice goes"),
        later("publish", "where the caller's audio and video go"),
        later("bridge", "a two-way endpoint"),
        later("account", "the phone account of a bridge"),
    ],
};

/// Every section, in the order of the documentation.
pub fn sections() -> [&'static Section; 10] {
    [&TOP, &NOSTR, &ACCESS, &ENTRY, &LIMITS, &ICE, &TURN, &HTTP, &RECORDING, &LINE]
}

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The usable key that `name` was probably meant to be.
    pub(super) fn nearest(&self, name: &str) -> Option<&'static str> {
        // Below this likeness a suggestion reads like mockery: "talk" for "latency".
        const ALIKE: f64 = 0.7;
        self.keys
            .iter()
            .filter(|key| key.since == Since::Now)
            .map(|key| (strsim::jaro_winkler(name, key.name), key.name))
            .filter(|(likeness, _)| *likeness >= ALIKE)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name)
    }
}
