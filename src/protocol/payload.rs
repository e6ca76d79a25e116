//! The inside of a signaling event: its JSON payloads, read tolerantly (protocol, decided 2).

/// What was sealed in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Offer(Offer),
    Answer(Answer),
    Candidate(IceCandidate),
    End(CallEnd),
}

/// Kind 14300. `Debug` shows no SDP and no credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    pub sdp: String,
    /// Unix seconds, by the caller's clock.
    pub timestamp: u64,
    /// Seconds that the offer rings for.
    pub expires_in: u64,
    pub rtc_servers: Vec<RtcServer>,
}

/// A STUN or TURN server that the caller asks to be used. `Debug` shows no credential.
#[derive(Clone, PartialEq, Eq)]
pub struct RtcServer {
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub credential: Option<String>,
}

/// Kind 14301; a refusal has `accepted: false` and an empty SDP.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub sdp: String,
    pub accepted: bool,
    /// Unix seconds.
    pub timestamp: u64,
}

/// Kind 14302.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCandidate {
    pub candidate: String,
    pub sdp_mid: Option<String>,
    pub sdp_mline_index: Option<u32>,
    /// Unix seconds.
    pub timestamp: u64,
}

/// Kind 14303.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEnd {
    pub reason: EndWord,
    /// A short human sentence.
    pub detail: Option<String>,
    /// Unix seconds.
    pub timestamp: u64,
}

/// The draft's reasons for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndWord {
    UserLeft,
    Rejected,
    Timeout,
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer")
            .field("sdp_bytes", &self.sdp.len())
            .field("timestamp", &self.timestamp)
            .field("expires_in", &self.expires_in)
            .field("rtc_servers", &self.rtc_servers.len())
            .finish()
    }
}

impl std::fmt::Debug for RtcServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtcServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("sdp_bytes", &self.sdp.len())
            .field("accepted", &self.accepted)
            .field("timestamp", &self.timestamp)
            .finish()
    }
}
