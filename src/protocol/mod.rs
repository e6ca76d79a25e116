//! WebRTC signaling over Nostr: kinds 14300-14303, plain and wrapped in kind 21059; their tags and payloads, sealing and tolerant
//! reading.
//!
//! Pure: no sockets, no clock, no randomness of its own. What a stranger sent is read in two steps, so that it costs little
//! until the access decision is made: [`Envelope::read`] looks at tags and sizes only, [`open`] decrypts and parses. A wrapped event has
//! its author inside: [`Wrap::read`] looks at the outside, [`Wrap::open`] decrypts once and gives the envelope.

mod dialect;
mod dialog;
mod envelope;
mod freshness;
mod payload;
mod read;
mod reject;
mod relay_list;
mod seal;
mod wrap;

pub use dialect::{Container, Dialect};
pub use dialog::Dialog;
pub use envelope::{CallType, Cipher, Envelope, SessionId, SignalKind, ValueError};
pub use freshness::{Freshness, freshness};
pub use payload::{Answer, Body, CallEnd, DeviceToken, EndCause, EndWord, IceCandidate, Offer, RtcServer};
pub use reject::Reject;
pub use relay_list::{INBOX_LIST, RELAY_LIST, reached_at};
pub use seal::{Outgoing, SealError, open, seal};
pub use wrap::Wrap;

/// The largest event that is read, in bytes of its JSON: an offer with all its candidates is under 12 KiB.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;
/// The kind of an event that holds a signaling event inside (NIP-59's ephemeral gift wrap).
pub const WRAP_KIND: u16 = 21059;
/// The largest such event that is read, in bytes of its JSON: NIP-44 pads an event of [`MAX_EVENT_BYTES`] little, base64 adds a third.
pub const MAX_WRAP_BYTES: usize = 96 * 1024;
/// The largest SDP that is read, in bytes.
pub const MAX_SDP_BYTES: usize = 32 * 1024;
/// How many candidates one side may send in one call, those inside its SDP not counted.
pub const MAX_CANDIDATES: usize = 64;
/// The longest candidate that is read, in bytes: browsers' are under 250.
pub const MAX_CANDIDATE_BYTES: usize = 1024;
/// The longest `sdpMid` that is read, in bytes: browsers' are one to three characters.
pub const MAX_MID_BYTES: usize = 64;
/// How many STUN and TURN servers an offer may name, in its payload and in its tag, and URLs each of them may have.
pub const MAX_RTC_SERVERS: usize = 16;
/// The longest relay, STUN or TURN URL that is read, in bytes.
pub const MAX_URL_BYTES: usize = 512;
/// The longest user name or credential of a TURN server that is read, in bytes: some are signed tokens.
pub const MAX_CREDENTIAL_BYTES: usize = 2048;
/// How much of `call_end`'s `detail` is read and written, in bytes: one or two sentences.
pub const MAX_DETAIL_BYTES: usize = 256;
/// How much of an offer's `name` is read and written, in characters: a person's or a door's name.
pub const MAX_NAME_CHARS: usize = 64;
/// The longest token of a device, in bytes.
pub const MAX_DEVICE_BYTES: usize = 64;
/// How long an offer rings when it does not say, in seconds.
pub const DEFAULT_EXPIRES_IN: u64 = 60;
/// How far in the future an offer's clocks may be, in seconds.
pub const MAX_CLOCK_SKEW: u64 = 60;
/// For how long relays should keep what we send, in seconds: a call's ring time, and as much again for clocks that differ.
pub const REPLY_LIFETIME: u64 = DEFAULT_EXPIRES_IN + MAX_CLOCK_SKEW;

/// An event of ours to read: its envelope and what was sealed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    pub envelope: Envelope,
    pub body: Body,
}
