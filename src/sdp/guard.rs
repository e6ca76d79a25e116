//! The strict parser of a stranger's offer.

use super::Candidate;

/// Why an SDP was refused: the caller's fault, not to be retried. `Display` is fit for the caller's eyes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SdpReject {
    /// 1-based; 0 when it concerns the whole.
    pub line: usize,
    pub what: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Audio,
    Video,
    Application,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// A SHA-256 certificate fingerprint (RFC 8122).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// One payload type of an m-line: its rtpmap and raw fmtp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    pub payload_type: u8,
    /// As in rtpmap (static payload types 0 and 8 have theirs filled in), upper case.
    pub name: String,
    /// Hz.
    pub clock_rate: u32,
    pub channels: u8,
    /// Parsed `key=value` pairs of fmtp, keys in lower case.
    pub fmtp: Vec<(String, String)>,
    /// `nack`, `nack pli`, `ccm fir`, ... those of the allow list.
    pub feedback: Vec<String>,
}

/// An m-line of the offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSection {
    pub kind: MediaKind,
    pub mid: String,
    /// The proto of the m-line, from an allow list, as the answer must repeat it.
    pub proto: &'static str,
    /// The format list of the m-line, for the refusal of it (port 0) in the answer.
    pub formats: Vec<String>,
    pub direction: Direction,
    pub codecs: Vec<Codec>,
    /// Whether it shares the transport that we answer on, and can be taken.
    pub takeable: bool,
}

/// An offer that passed the guard: what we understood of it, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub sections: Vec<MediaSection>,
    /// Whether the offer had a BUNDLE group (the answer may only have one if it did).
    pub bundled: bool,
    pub ice_ufrag: String,
    pub ice_pwd: String,
    /// The transport's SHA-256 fingerprints: the certificate must match one.
    pub fingerprints: Vec<Fingerprint>,
    pub candidates: Vec<Candidate>,
}

/// Parses an offer strictly.
///
/// # Errors
/// [`SdpReject`] with the line and what is wrong.
pub fn guard_offer(text: &str) -> Result<Offer, SdpReject> {
    let _ = text;
    todo!()
}
