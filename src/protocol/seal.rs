//! Sealing and opening: NIP-44 v2 and NIP-04.

use nostr::secp256k1::rand::{CryptoRng, RngCore};
use nostr::{Event, Keys, PublicKey};

use super::{Body, CallType, Cipher, Envelope, Reject, SessionId, Signal};

/// An event to be: everything but its time and its signature, which the outbox decides when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Who signs it.
    pub from: PublicKey,
    pub to: PublicKey,
    pub session: SessionId,
    pub call_type: CallType,
    pub cipher: Cipher,
    pub body: Body,
    /// NIP-40: when the event stops being of use, unix seconds.
    pub expiration: u64,
}

/// Why an event could not be sealed: ours, never to be retried.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the keys are not those of the event's author")]
    ForeignKeys,
    #[error("the content cannot be encrypted")]
    Encrypt,
    #[error("the event cannot be signed")]
    Sign,
}

/// Opens an event that [`Envelope::read`] accepted, with the keys of its `p`.
///
/// # Errors
/// [`Reject::Sealed`], [`Reject::Payload`] or [`Reject::SdpOversized`].
pub fn open(envelope: Envelope, event: &Event, keys: &Keys) -> Result<Signal, Reject> {
    let _ = (envelope, event, keys);
    todo!()
}

/// Encrypts and signs, stamped `created_at` (unix seconds).
///
/// # Errors
/// [`SealError`].
pub fn seal<R: RngCore + CryptoRng>(
    out: &Outgoing,
    keys: &Keys,
    created_at: u64,
    rng: &mut R,
) -> Result<Event, SealError> {
    let _ = (out, keys, created_at, rng);
    todo!()
}
