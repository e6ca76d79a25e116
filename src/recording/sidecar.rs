//! What is written beside each recording, from its first second on: JSON that outlives the index.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::RecordingId;
use crate::call::Millis;

/// The form of sidecars that this version writes. One that knows less of it reads what it knows.
pub const SIDECAR_VERSION: u32 = 1;
/// The largest sidecar that is read, in bytes: ours have about a thousand.
pub const MAX_SIDECAR_BYTES: u64 = 64 * 1024;

/// All that is known of a recording. Which file it is about follows from the sidecar's own name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    pub version: u32,
    pub id: RecordingId,
    /// The line's name.
    pub line: String,
    pub line_npub: String,
    /// The npub of whoever called, or was called; none when nobody did.
    #[serde(default)]
    pub caller: Option<String>,
    /// The call's session.
    #[serde(default)]
    pub session: Option<String>,
    /// Which of the recording's parts this is, from 1 on.
    #[serde(default = "first")]
    pub part: u32,
    #[serde(with = "moment")]
    pub started: Millis,
    #[serde(with = "maybe", default)]
    pub ended: Option<Millis>,
    #[serde(default)]
    pub tracks: Vec<Track>,
    /// The media file's size, when it was last looked at.
    #[serde(default)]
    pub bytes: u64,
    /// Of the whole media file, in hex; none while it is written.
    #[serde(default)]
    pub sha256: Option<String>,
    pub end: End,
}

/// A track of the media file, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Track {
    pub side: Side,
    pub kind: Kind,
    /// As it came: `H264`, `Opus`, `PCMU`.
    pub codec: String,
}

/// Who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Line,
    Caller,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Video,
    Audio,
}

/// How a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum End {
    /// Not yet: it is written, or the process that wrote it is gone.
    #[serde(rename = "open")]
    Open,
    /// The call ended.
    #[serde(rename = "hung_up")]
    HungUp,
    /// Somebody stopped it.
    #[serde(rename = "stopped")]
    Stopped,
    /// It was as long as it may be.
    #[serde(rename = "stopped: max length")]
    MaxLength,
    /// The disk has too little left.
    #[serde(rename = "stopped: disk floor")]
    DiskFloor,
    /// The disk is full, slow, gone or read-only.
    #[serde(rename = "stopped: disk error")]
    DiskError,
    /// The line's source could not be opened, or is of no use.
    #[serde(rename = "stopped: no source")]
    NoSource,
    /// Another part follows.
    #[serde(rename = "continued")]
    Continued,
    /// The process that wrote it was gone; it was finished at the next start.
    #[serde(rename = "recovered")]
    Recovered,
}

impl End {
    const ALL: [Self; 9] = [
        Self::Open,
        Self::HungUp,
        Self::Stopped,
        Self::MaxLength,
        Self::DiskFloor,
        Self::DiskError,
        Self::NoSource,
        Self::Continued,
        Self::Recovered,
    ];

    /// Short and stable, as in the sidecar.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::HungUp => "hung_up",
            Self::Stopped => "stopped",
            Self::MaxLength => "stopped: max length",
            Self::DiskFloor => "stopped: disk floor",
            Self::DiskError => "stopped: disk error",
            Self::NoSource => "stopped: no source",
            Self::Continued => "continued",
            Self::Recovered => "recovered",
        }
    }

    /// The end with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.word() == word)
    }
}

fn first() -> u32 {
    1
}

/// A moment as RFC 3339 writes it, in UTC.
pub fn rfc3339(at: Millis) -> String {
    // The year 9999 ends what RFC 3339 can say.
    const LAST: i128 = 253_402_300_799_999;
    let nanoseconds = i128::from(at.0).min(LAST) * 1_000_000;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
    // Whatever is within those years has words.
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_default()
}

/// The moment that a text in RFC 3339 means; what was before 1970 is 1970.
pub fn rfc3339_in(text: &str) -> Option<Millis> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(Millis(u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()))
}

mod moment {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::{Millis, rfc3339, rfc3339_in};

    pub(super) fn serialize<S: Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(*at))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        let text = String::deserialize(deserializer)?;
        rfc3339_in(&text).ok_or_else(|| D::Error::custom("no time of RFC 3339"))
    }
}

mod maybe {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use super::{Millis, rfc3339, rfc3339_in};

    pub(super) fn serialize<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(rfc3339).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Millis>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| rfc3339_in(&text).ok_or_else(|| D::Error::custom("no time of RFC 3339"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar() -> Sidecar {
        Sidecar {
            version: SIDECAR_VERSION,
            id: RecordingId(1_714_566_896_789),
            line: "door".into(),
            line_npub: "npub1line".into(),
            caller: Some("npub1caller".into()),
            session: Some("s".into()),
            part: 1,
            started: Millis(1_714_566_896_789),
            ended: None,
            tracks: vec![Track { side: Side::Line, kind: Kind::Video, codec: "H264".into() }],
            bytes: 12,
            sha256: None,
            end: End::Open,
        }
    }

    #[test]
    fn a_sidecar_is_read_as_it_was_written() {
        let ended = Sidecar {
            ended: Some(Millis(1_714_566_900_000)),
            sha256: Some("ab".repeat(32)),
            end: End::DiskFloor,
            ..sidecar()
        };
        for written in [sidecar(), ended] {
            let text = serde_json::to_string_pretty(&written).unwrap();
            assert_eq!(serde_json::from_str::<Sidecar>(&text).unwrap(), written);
        }
    }

    #[test]
    fn a_sidecar_is_what_people_read() {
        let json = serde_json::to_value(sidecar()).unwrap();
        assert_eq!(json["id"], "r1714566896789");
        assert_eq!(json["started"], "2024-05-01T12:34:56.789Z");
        assert_eq!(json["end"], "open");
        assert_eq!(json["tracks"][0], serde_json::json!({ "side": "line", "kind": "video", "codec": "H264" }));
    }

    #[test]
    fn one_that_says_less_or_more_is_read_too() {
        let text = r#"{"version":9,"id":"r5","line":"a","line_npub":"n","started":"2024-05-01T14:34:56+02:00",
            "end":"stopped: disk floor","more":[1]}"#;
        let read: Sidecar = serde_json::from_str(text).unwrap();
        assert_eq!((read.id, read.part, read.end), (RecordingId(5), 1, End::DiskFloor));
        assert_eq!(read.started, Millis(1_714_566_896_000));
        assert!(serde_json::from_str::<Sidecar>(&text.replace("2024-05-01T14", "2024-05-01 x")).is_err());
    }

    #[test]
    fn an_end_has_one_word_everywhere() {
        for end in End::ALL {
            assert_eq!(serde_json::to_value(end).unwrap(), end.word());
            assert_eq!(End::of_word(end.word()), Some(end));
        }
        assert_eq!(End::of_word("ended"), None);
    }

    #[test]
    fn no_moment_is_beyond_words() {
        assert_eq!(rfc3339(Millis(u64::MAX)), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(Millis(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339_in("1960-01-01T00:00:00Z"), Some(Millis(0)));
        assert_eq!(rfc3339_in("yesterday"), None);
    }
}
