//! Sealing and opening: NIP-44 v2 and NIP-04, plain or wrapped.

use nostr::nips::{nip04, nip44};
use nostr::secp256k1::rand::{CryptoRng, RngCore};
use nostr::{Event, Keys, Kind, PublicKey, RelayUrl, SECP256K1, Tag, TagKind, Timestamp, UnsignedEvent};

use super::{Body, CallType, Cipher, Dialect, Envelope, MAX_EVENT_BYTES, Reject, SessionId, Signal, Wrap};

/// An event to be: everything but its time and its signature, which the outbox decides when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub dialect: Dialect,
    /// Who signs it.
    pub from: PublicKey,
    pub to: PublicKey,
    pub session: SessionId,
    pub call_type: CallType,
    pub cipher: Cipher,
    pub body: Body,
    /// NIP-40: when the event stops being of use, unix seconds.
    pub expiration: u64,
    /// Where the answer is heard, beside where the event was found: `relay` tags.
    pub relays: Vec<RelayUrl>,
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
    #[error("the event has {0} bytes, over the limit of {MAX_EVENT_BYTES}")]
    Oversized(usize),
}

/// Opens an event that [`Envelope::read`] or [`Wrap::open`] gave the envelope of, with the keys of its `p`.
///
/// # Errors
/// [`Reject::Sealed`], [`Reject::Payload`] or [`Reject::SdpOversized`].
pub fn open(envelope: Envelope, event: &Event, keys: &Keys) -> Result<Signal, Reject> {
    let (secret, from) = (keys.secret_key(), &envelope.from);
    let plaintext = match envelope.cipher {
        Cipher::Nip44 => nip44::decrypt(secret, from, &event.content).map_err(|_| Reject::Sealed)?,
        Cipher::Nip04 => nip04::decrypt(secret, from, event.content.as_str()).map_err(|_| Reject::Sealed)?,
    };
    let body = Body::read(envelope.kind, &plaintext, envelope.created_at)?;
    Ok(Signal { envelope, body })
}

/// Encrypts and signs, stamped `created_at` (unix seconds): the event that a relay gets.
///
/// # Errors
/// [`SealError`].
pub fn seal<R: RngCore + CryptoRng>(
    out: &Outgoing,
    keys: &Keys,
    created_at: u64,
    rng: &mut R,
) -> Result<Event, SealError> {
    if keys.public_key() != out.from {
        return Err(SealError::ForeignKeys);
    }
    let event = sign(out, keys, created_at, rng)?;
    match out.dialect {
        Dialect::Plain => Ok(event),
        Dialect::Wrapped => Wrap { to: out.to, expiration: Some(out.expiration) }.seal(&event, rng),
    }
}

/// The signed event, which is all of a plain one and the inside of a wrapped one.
fn sign<R: RngCore + CryptoRng>(out: &Outgoing, keys: &Keys, created_at: u64, rng: &mut R) -> Result<Event, SealError> {
    let plaintext = serde_json::to_string(&out.body).map_err(|_| SealError::Encrypt)?;
    let secret = keys.secret_key();
    let content = match out.cipher {
        Cipher::Nip44 => nip44::encrypt_with_rng(rng, secret, &out.to, plaintext, nip44::Version::V2)
            .map_err(|_| SealError::Encrypt)?,
        Cipher::Nip04 => nip04::encrypt_with_rng(rng, secret, &out.to, plaintext).map_err(|_| SealError::Encrypt)?,
    };
    let named = |name: &'static str, value: String| Tag::custom(TagKind::custom(name), [value]);
    let tags = [
        Tag::public_key(out.to),
        named("session_id", out.session.to_string()),
        named("type", out.call_type.to_string()),
        named("sig_alg", out.cipher.to_string()),
        Tag::expiration(Timestamp::from_secs(out.expiration)),
    ]
    .into_iter()
    .chain(out.relays.iter().map(|relay| named("relay", relay.to_string())));
    let kind = Kind::Custom(out.body.kind().number());
    let event = UnsignedEvent::new(out.from, Timestamp::from_secs(created_at), kind, tags, content)
        .sign_with_ctx(SECP256K1, rng, keys)
        .map_err(|_| SealError::Sign)?;
    match serde_json::to_string(&event) {
        Ok(json) if json.len() <= MAX_EVENT_BYTES => Ok(event),
        Ok(json) => Err(SealError::Oversized(json.len())),
        Err(_) => Err(SealError::Sign),
    }
}
