//! The outside of a signaling event: what can be read without decrypting.

use nostr::{Event, EventId, PublicKey};

use super::Reject;

/// The four kinds of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignalKind {
    Offer,
    Answer,
    Candidate,
    End,
}

impl SignalKind {
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
}

/// One call's name, chosen by the caller: 1 to 128 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(super) String);

/// What the caller means to do: the `type` tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallType {
    Audio,
    Video,
    Screen,
}

/// How the content is encrypted: the `sig_alg` tag. An answer uses the offer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    Nip44,
    Nip04,
}

/// What an event says on its outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
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
    pub relay: Option<nostr::RelayUrl>,
    /// The `rtc_servers` tag, split at commas and unchecked.
    pub rtc_servers: Vec<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// NIP-40, unix seconds.
    pub expiration: Option<u64>,
}

impl Envelope {
    /// Reads an event whose signature was verified before.
    ///
    /// # Errors
    /// A [`Reject`] that says what is wrong with the event; nothing is decrypted here.
    pub fn read(event: &Event) -> Result<Self, Reject> {
        let _ = event;
        todo!()
    }
}
