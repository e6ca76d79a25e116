//! The wrapped dialect: a signed event inside a kind 21059, an ephemeral gift wrap (NIP-59).
//!
//! There is no seal of NIP-59 in between: the event inside is signed by its author, as NIP-59's seal is.

use nostr::nips::nip44;
use nostr::secp256k1::rand::{CryptoRng, RngCore};
use nostr::{Event, JsonUtil as _, Keys, Kind, PublicKey, SECP256K1, Tag, Timestamp, UnsignedEvent};

use super::envelope::{not_expired, optional, required, within_size};
use super::{Container, Envelope, MAX_WRAP_BYTES, Reject, SealError, WRAP_KIND};

/// What a wrap says on its outside: all that a relay learns. Who signed it means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrap {
    /// The `p` tag: one of our lines, when it comes in.
    pub to: PublicKey,
    /// NIP-40, unix seconds.
    pub expiration: Option<u64>,
}

impl Wrap {
    /// Reads an event of kind 21059: tags and sizes only.
    ///
    /// # Errors
    /// A [`Reject`] that says what is wrong with it.
    pub fn read(event: &Event) -> Result<Self, Reject> {
        let number = event.kind.as_u16();
        if number != WRAP_KIND {
            return Err(Reject::Kind(number));
        }
        within_size(event, MAX_WRAP_BYTES)?;
        let to = required(event, "p").and_then(|hex| PublicKey::from_hex(hex).map_err(|_| Reject::Tag("p")))?;
        Ok(Self { to, expiration: optional(event, "expiration")? })
    }

    /// Checks NIP-40's expiration of the outside against `now`, in unix seconds.
    ///
    /// # Errors
    /// [`Reject::Expired`].
    pub fn check_expiration(&self, now: u64) -> Result<(), Reject> {
        not_expired(self.expiration, now)
    }

    /// Decrypts `event`, of which this is the outside, with the keys of its `p`: the event inside, **whose signature is not verified
    /// here**, and its envelope. Both are for the same key.
    ///
    /// # Errors
    /// [`Reject::Sealed`] when it cannot be decrypted, [`Reject::Payload`] when there is no event in it, or what is wrong with the
    /// event inside.
    pub fn open(&self, event: &Event, keys: &Keys) -> Result<(Envelope, Event), Reject> {
        let json = nip44::decrypt(keys.secret_key(), &event.pubkey, &event.content).map_err(|_| Reject::Sealed)?;
        let inside = Event::from_json(&json).map_err(|_| Reject::Payload("event"))?;
        let envelope = Envelope::read_in(Container::Wrap, &inside)?;
        if envelope.to == self.to { Ok((envelope, inside)) } else { Err(Reject::Tag("p")) }
    }

    /// Puts a signed event into a wrap for its receiver, signed by a key that is made here and forgotten.
    pub(super) fn seal<R: RngCore + CryptoRng>(&self, inside: &Event, rng: &mut R) -> Result<Event, SealError> {
        let once = Keys::generate_with_rng(rng);
        let json = inside.as_json();
        let content = nip44::encrypt_with_rng(rng, once.secret_key(), &self.to, json, nip44::Version::V2)
            .map_err(|_| SealError::Encrypt)?;
        let expiration = self.expiration.map(|expiration| Tag::expiration(Timestamp::from_secs(expiration)));
        let tags = [Some(Tag::public_key(self.to)), expiration].into_iter().flatten();
        UnsignedEvent::new(once.public_key(), inside.created_at, Kind::Custom(WRAP_KIND), tags, content)
            .sign_with_ctx(SECP256K1, rng, &once)
            .map_err(|_| SealError::Sign)
    }
}
