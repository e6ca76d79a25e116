//! The outside of a signaling event: what can be read without decrypting.

use std::fmt;
use std::str::FromStr;

use nostr::{Event, EventId, PublicKey, RelayUrl};

use super::{Body, Container, Dialect, Dialog, MAX_EVENT_BYTES, MAX_RTC_SERVERS, MAX_URL_BYTES, Outgoing, Reject};

/// The four kinds of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignalKind {
    Offer,
    Answer,
    Candidate,
    End,
}

impl SignalKind {
    /// All four, in the order of their numbers.
    pub const ALL: [SignalKind; 4] = [Self::Offer, Self::Answer, Self::Candidate, Self::End];

    /// The event kind's number.
    pub fn number(self) -> u16 {
        match self {
            Self::Offer => 14300,
            Self::Answer => 14301,
            Self::Candidate => 14302,
            Self::End => 14303,
        }
    }

    /// The kind with this number, if it is one of the protocol's.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// A text is not one of a tag's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ValueError {
    pub expected: &'static str,
}

/// One call's name, chosen by the caller: 1 to 128 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(String);

impl SessionId {
    /// A UUID has 36 characters, a SHA-512 in hexadecimal 128.
    const MAX_BYTES: usize = 128;

    /// As the tag has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError { expected: "1 to 128 printable ASCII characters without spaces" })
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the caller means to do: the `type` tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallType {
    Audio,
    Video,
    Screen,
}

impl FromStr for CallType {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "audio" => Ok(Self::Audio),
            "video" => Ok(Self::Video),
            "screen" => Ok(Self::Screen),
            _ => Err(ValueError { expected: "audio, video or screen" }),
        }
    }
}

impl fmt::Display for CallType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Screen => "screen",
        })
    }
}

/// How the content is encrypted: the `sig_alg` tag. An answer uses the offer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    Nip44,
    Nip04,
}

impl FromStr for Cipher {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "NIP-44" => Ok(Self::Nip44),
            "NIP-04" => Ok(Self::Nip04),
            _ => Err(ValueError { expected: "NIP-44 or NIP-04" }),
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nip44 => "NIP-44",
            Self::Nip04 => "NIP-04",
        })
    }
}

/// What an event says on its outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// How it came.
    pub dialect: Dialect,
    /// The signed event's, not that of a wrap around it.
    pub event_id: EventId,
    pub kind: SignalKind,
    /// Who signed it.
    pub from: PublicKey,
    /// The `p` tag: one of our lines, when it comes in.
    pub to: PublicKey,
    pub session: SessionId,
    pub call_type: CallType,
    pub cipher: Cipher,
    /// The `relay` tag, when it is a relay URL.
    pub relay: Option<RelayUrl>,
    /// The `rtc_servers` tag, split at commas and unchecked.
    pub rtc_servers: Vec<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// NIP-40, unix seconds.
    pub expiration: Option<u64>,
}

impl Envelope {
    /// Reads an event that came by itself: [`read_in`](Self::read_in) [`Container::Bare`].
    ///
    /// # Errors
    /// A [`Reject`] that says what is wrong with the event.
    pub fn read(event: &Event) -> Result<Self, Reject> {
        Self::read_in(Container::Bare, event)
    }

    /// Reads an event that was found in `container`. Its signature is verified elsewhere. Of a tag that occurs twice the first counts;
    /// tags that are not the protocol's are passed over.
    ///
    /// # Errors
    /// A [`Reject`] that says what is wrong with the event; nothing is decrypted here.
    pub fn read_in(container: Container, event: &Event) -> Result<Self, Reject> {
        let number = event.kind.as_u16();
        let dialect = Dialect::of(container, number)?;
        let kind = SignalKind::from_number(number).ok_or(Reject::Kind(number))?;
        within_size(event, MAX_EVENT_BYTES)?;

        let to = required(event, "p").and_then(|hex| PublicKey::from_hex(hex).map_err(|_| Reject::Tag("p")))?;
        let session = parsed(event, "session_id")?;
        let call_type = parsed(event, "type")?;
        let cipher = parsed(event, "sig_alg")?;
        let expiration = optional(event, "expiration")?;
        let relay = tag(event, "relay")
            .flatten()
            .filter(|url| url.len() <= MAX_URL_BYTES)
            .and_then(|url| RelayUrl::parse(url).ok());

        Ok(Self {
            dialect,
            event_id: event.id,
            kind,
            from: event.pubkey,
            to,
            session,
            call_type,
            cipher,
            relay,
            rtc_servers: rtc_servers(event)?,
            created_at: event.created_at.as_secs(),
            expiration,
        })
    }

    /// Checks NIP-40's expiration against `now`, in unix seconds: relays serve expired events too.
    ///
    /// # Errors
    /// [`Reject::Expired`].
    pub fn check_expiration(&self, now: u64) -> Result<(), Reject> {
        not_expired(self.expiration, now)
    }

    /// `body` on its way back to whoever sent this: in its dialect, its session and its cipher, of use until shortly after `now`
    /// (unix seconds).
    pub fn reply(&self, body: Body, now: u64) -> Outgoing {
        Dialog::of(self).outgoing(self.dialect, body, now)
    }
}

pub(super) fn not_expired(expiration: Option<u64>, now: u64) -> Result<(), Reject> {
    match expiration {
        Some(expiration) if expiration < now => Err(Reject::Expired(expiration)),
        _ => Ok(()),
    }
}

/// Refuses an event whose JSON, written without spaces, has more than `most` bytes.
pub(super) fn within_size(event: &Event, most: usize) -> Result<(), Reject> {
    // The content is nearly all of an event: an enormous one is not written out only to be measured.
    if event.content.len() > most {
        return Err(Reject::Oversized(event.content.len()));
    }
    match serde_json::to_string(event) {
        Ok(json) if json.len() > most => Err(Reject::Oversized(json.len())),
        Ok(_) => Ok(()),
        Err(_) => Err(Reject::Payload("event")),
    }
}

/// The first tag of this name: its value, `None` inside when it has none.
fn tag<'a>(event: &'a Event, name: &str) -> Option<Option<&'a str>> {
    event.tags.iter().map(|tag| tag.as_slice()).find_map(|fields| match fields {
        [first, rest @ ..] if first == name => Some(rest.first().map(String::as_str)),
        _ => None,
    })
}

pub(super) fn required<'a>(event: &'a Event, name: &'static str) -> Result<&'a str, Reject> {
    tag(event, name).flatten().ok_or(Reject::Tag(name))
}

/// A tag that may be absent, and must be right when it is there.
pub(super) fn optional<T: FromStr>(event: &Event, name: &'static str) -> Result<Option<T>, Reject> {
    match tag(event, name) {
        Some(_) => parsed(event, name).map(Some),
        None => Ok(None),
    }
}

fn parsed<T: FromStr>(event: &Event, name: &'static str) -> Result<T, Reject> {
    required(event, name)?.parse().map_err(|_| Reject::Tag(name))
}

fn rtc_servers(event: &Event) -> Result<Vec<String>, Reject> {
    let urls = tag(event, "rtc_servers").flatten().unwrap_or_default();
    let urls: Vec<&str> = urls.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
    if urls.len() > MAX_RTC_SERVERS || urls.iter().any(|url| url.len() > MAX_URL_BYTES) {
        return Err(Reject::Tag("rtc_servers"));
    }
    Ok(urls.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_one_number_each() {
        for kind in SignalKind::ALL {
            assert_eq!(SignalKind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(SignalKind::from_number(14304), None);
    }

    #[test]
    fn tag_values_read_as_they_are_written() {
        for call_type in [CallType::Audio, CallType::Video, CallType::Screen] {
            assert_eq!(call_type.to_string().parse(), Ok(call_type));
        }
        for cipher in [Cipher::Nip44, Cipher::Nip04] {
            assert_eq!(cipher.to_string().parse(), Ok(cipher));
        }
        assert!("".parse::<CallType>().is_err());
        assert!("NIP-59".parse::<Cipher>().is_err());
    }

    #[test]
    fn session_ids_are_bounded_and_printable() {
        let longest = "f".repeat(128);
        assert_eq!(longest.parse::<SessionId>().unwrap().as_str(), longest);
        for bad in ["", "two words", "tab\t", "ünïcode", &"f".repeat(129)] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad:?} was taken");
        }
    }
}
