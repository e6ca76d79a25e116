//! What all events of one call have in common.

use nostr::PublicKey;

use super::{Body, CallType, Cipher, Dialect, Envelope, MAX_CLOCK_SKEW, Outgoing, REPLY_LIFETIME, SessionId};

/// A call as signaling has it: who the two are, and how they speak. The word is SIP's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// Ours.
    pub line: PublicKey,
    /// Whoever calls the line, or is called by it.
    pub other: PublicKey,
    pub session: SessionId,
    pub call_type: CallType,
    pub cipher: Cipher,
    /// The offer's, in a call that came. In one that the line makes, that in which it begins, until an answer says another.
    pub dialect: Dialect,
}

impl Dialog {
    /// The dialog that an offer begins.
    pub fn of(offer: &Envelope) -> Self {
        Self {
            line: offer.to,
            other: offer.from,
            session: offer.session.clone(),
            call_type: offer.call_type,
            cipher: offer.cipher,
            dialect: offer.dialect,
        }
    }

    /// Whether an event is the other's, to the line, in this session.
    pub fn hears(&self, envelope: &Envelope) -> bool {
        (envelope.from, envelope.to) == (self.other, self.line) && envelope.session == self.session
    }

    /// `body` on its way to the other, in this dialect: of use until shortly after `now` (unix seconds), an offer until shortly after it has
    /// stopped ringing.
    pub fn outgoing(&self, dialect: Dialect, body: Body, now: u64) -> Outgoing {
        let expiration = match &body {
            Body::Offer(offer) => offer.rings_until().max(now).saturating_add(MAX_CLOCK_SKEW),
            Body::Answer(_) | Body::Candidate(_) | Body::End(_) => now.saturating_add(REPLY_LIFETIME),
        };
        Outgoing {
            dialect,
            from: self.line,
            to: self.other,
            session: self.session.clone(),
            call_type: self.call_type,
            cipher: self.cipher,
            body,
            expiration,
            relays: Vec::new(),
        }
    }
}
