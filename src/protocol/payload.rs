//! The inside of a signaling event: its payloads. `Serialize` writes the JSON that is sealed.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{MAX_DETAIL_BYTES, SignalKind, ValueError};

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
}

impl Offer {
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
}

impl CallEnd {
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

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("sdp_bytes", &self.sdp.len())
            .field("timestamp", &self.timestamp)
            .field("expires_in", &self.expires_in)
            .field("rtc_servers", &self.rtc_servers.len())
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
            .finish()
    }
}
