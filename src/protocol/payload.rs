//! The inside of a signaling event: its payloads. `Serialize` writes the JSON that is sealed.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{MAX_DETAIL_BYTES, MAX_DEVICE_BYTES, MAX_NAME_CHARS, SignalKind, ValueError};

/// What was sealed in an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Body {
    Offer(Offer),
    Answer(Answer),
    Candidate(IceCandidate),
    End(CallEnd),
}

impl Body {
    /// The kind of the event that holds it.
    pub fn kind(&self) -> SignalKind {
        match self {
            Self::Offer(_) => SignalKind::Offer,
            Self::Answer(_) => SignalKind::Answer,
            Self::Candidate(_) => SignalKind::Candidate,
            Self::End(_) => SignalKind::End,
        }
    }
}

/// Kind 14300. `Debug` shows no SDP and no credential.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    pub sdp: String,
    /// Unix seconds, by the caller's clock.
    pub timestamp: u64,
    /// Seconds that the offer rings for.
    pub expires_in: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtc_servers: Vec<RtcServer>,
    /// What the caller calls itself, as [`Offer::fit_name`] leaves it: shown to whoever is called, and proof of nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Offer {
    /// An offer made at `timestamp` (unix seconds) that rings for `expires_in` seconds, without what is optional.
    pub fn new(sdp: String, timestamp: u64, expires_in: u64) -> Self {
        Self { sdp, timestamp, expires_in, rtc_servers: Vec::new(), name: None }
    }

    /// `text` as a `name`: cut to [`MAX_NAME_CHARS`], with spaces for control characters, none at its ends; `None` when nothing is
    /// left of it.
    pub fn fit_name(text: &str) -> Option<String> {
        let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let name: String = printable.skip_while(|c| c.is_whitespace()).take(MAX_NAME_CHARS).collect();
        let name = name.trim_end().to_owned();
        (!name.is_empty()).then_some(name)
    }

    /// When it stops ringing, in unix seconds by the caller's clock.
    pub fn rings_until(&self) -> u64 {
        self.timestamp.saturating_add(self.expires_in)
    }
}

/// A STUN or TURN server that the caller asks to be used. `Debug` shows no credential.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct RtcServer {
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Kind 14301; a refusal has `accepted: false` and an empty SDP.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub sdp: String,
    pub accepted: bool,
    /// Unix seconds.
    pub timestamp: u64,
    /// Which of the devices with this key answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceToken>,
}

impl Answer {
    /// An acceptance, without what is optional.
    pub fn accepting(sdp: String, timestamp: u64) -> Self {
        Self { sdp, accepted: true, timestamp, device: None }
    }

    /// A refusal.
    pub fn refusing(timestamp: u64) -> Self {
        Self { sdp: String::new(), accepted: false, timestamp, device: None }
    }
}

/// What a device of several with one key calls itself within one call: random, 1 to 64 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct DeviceToken(String);

impl DeviceToken {
    /// As the payload has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceToken {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = (1..=MAX_DEVICE_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError { expected: "1 to 64 printable ASCII characters without spaces" })
        }
    }
}

impl fmt::Display for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kind 14302.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IceCandidate {
    /// Empty: there are no more.
    pub candidate: String,
    #[serde(rename = "sdpMid", skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    #[serde(rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub sdp_mline_index: Option<u32>,
    /// Unix seconds.
    pub timestamp: u64,
}

/// Kind 14303.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallEnd {
    pub reason: EndWord,
    /// A short human sentence, as [`CallEnd::fit_detail`] leaves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Unix seconds.
    pub timestamp: u64,
    /// The device that goes on: every other device with the receiver's key stops ringing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except: Option<DeviceToken>,
    /// What the reason does not tell apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<EndCause>,
}

impl CallEnd {
    /// An end for `reason` at `timestamp` (unix seconds), without what is optional.
    pub fn new(reason: EndWord, timestamp: u64) -> Self {
        Self { reason, detail: None, timestamp, except: None, cause: None }
    }

    /// `text` as a `detail`: cut to [`MAX_DETAIL_BYTES`], with spaces for control characters, so that a stranger's words do
    /// no harm in a log or on a terminal.
    pub fn fit_detail(text: &str) -> String {
        let mut end = text.len().min(MAX_DETAIL_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// The draft's reasons for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndWord {
    UserLeft,
    Rejected,
    Timeout,
}

impl fmt::Display for EndWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserLeft => "user_left",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
        })
    }
}

impl FromStr for EndWord {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "user_left" => Ok(Self::UserLeft),
            "rejected" => Ok(Self::Rejected),
            "timeout" => Ok(Self::Timeout),
            _ => Err(ValueError { expected: "user_left, rejected or timeout" }),
        }
    }
}

/// Why exactly a call was not taken, or rings no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// Whoever is called has another call.
    Busy,
    /// Whoever is called does not want this one.
    Declined,
    /// Another device has answered.
    Elsewhere,
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::Elsewhere => "elsewhere",
        })
    }
}

impl FromStr for EndCause {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "busy" => Ok(Self::Busy),
            "declined" => Ok(Self::Declined),
            "elsewhere" => Ok(Self::Elsewhere),
            _ => Err(ValueError { expected: "busy, declined or elsewhere" }),
        }
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("sdp_bytes", &self.sdp.len())
            .field("timestamp", &self.timestamp)
            .field("expires_in", &self.expires_in)
            .field("rtc_servers", &self.rtc_servers.len())
            .field("name", &self.name)
            .finish()
    }
}

impl fmt::Debug for RtcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("sdp_bytes", &self.sdp.len())
            .field("accepted", &self.accepted)
            .field("timestamp", &self.timestamp)
            .field("device", &self.device)
            .finish()
    }
}
