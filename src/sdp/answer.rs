//! The answer's text: ours to callers, and strangers' to us when we call.

use super::{Candidate, Direction, Fingerprint, MediaKind, Offer, Plan, SdpReject};

/// What our side of the transport turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTransport {
    /// SHA-256 of our certificate's DER: 1.22 writes a wrong one (findings, section 14).
    pub fingerprint: Fingerprint,
    pub candidates: Vec<Candidate>,
}

/// `webrtcbin` answered something that does not fit the plan: our fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer made here does not fit its plan: {what}")]
pub struct AnswerError {
    pub what: &'static str,
}

impl Plan {
    /// The answer for the caller: `webrtcbin_answer`'s sections in the offer's order, the refused m-lines with port 0,
    /// all candidates, the right fingerprint.
    ///
    /// # Errors
    /// [`AnswerError`] when `webrtcbin_answer` does not fit.
    pub fn answer_text(
        &self,
        offer: &Offer,
        webrtcbin_answer: &str,
        local: &LocalTransport,
    ) -> Result<String, AnswerError> {
        let _ = (offer, webrtcbin_answer, local);
        todo!()
    }
}

/// A stranger's answer that passed the guard, for an offer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAnswer {
    /// Our own text for `webrtcbin`'s set-remote-description, without candidates.
    pub text: String,
    pub fingerprints: Vec<Fingerprint>,
    pub candidates: Vec<Candidate>,
    /// Per m-line of our offer: what it became.
    pub sections: Vec<(MediaKind, Direction, bool)>,
}

/// Parses a stranger's answer to `our_offer` as strictly as an offer is parsed.
///
/// # Errors
/// [`SdpReject`].
pub fn guard_answer(our_offer: &str, answer: &str) -> Result<RemoteAnswer, SdpReject> {
    let _ = (our_offer, answer);
    todo!()
}
