//! WebRTC signaling over Nostr: kinds 14300-14303, their tags and payloads, sealing and tolerant reading.
//!
//! Pure: no sockets, no clock, no randomness of its own. What a stranger sent is read in two steps, so that it costs little
//! until the access decision is made: [`Envelope::read`] looks at tags and sizes only, [`open`] decrypts and parses.

mod envelope;
mod payload;
mod reject;
mod seal;

pub use envelope::{CallType, Cipher, Envelope, SessionId, SignalKind};
pub use payload::{Answer, Body, CallEnd, EndWord, IceCandidate, Offer, RtcServer};
pub use reject::Reject;
pub use seal::{Outgoing, SealError, open, seal};

/// The largest event that is read, in bytes of its JSON: an offer with all its candidates is under 12 KiB.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;
/// The largest SDP that is read, in bytes.
pub const MAX_SDP_BYTES: usize = 32 * 1024;
/// How many candidates one side may send in one call, those inside its SDP not counted.
pub const MAX_CANDIDATES: usize = 64;
/// How long an offer rings when it does not say, in seconds (protocol, decided 3).
pub const DEFAULT_EXPIRES_IN: u64 = 60;
/// How far in the future an offer's clocks may be, in seconds (protocol, decided 3).
pub const MAX_CLOCK_SKEW: u64 = 60;

/// An event of ours to read: its envelope and what was sealed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    pub envelope: Envelope,
    pub body: Body,
}
