//! ICE candidates (RFC 8839 section 5.1), IP literals only.

use std::net::IpAddr;

use super::SdpReject;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateKind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relayed,
}

/// A candidate that passed the guard. Its [`Candidate::text`] is made of these fields, not of what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub foundation: String,
    pub priority: u32,
    pub address: IpAddr,
    pub port: u16,
    pub kind: CandidateKind,
}

impl Candidate {
    /// Reads `candidate:...`, with or without a leading `a=`. UDP, component 1.
    ///
    /// `Ok(None)`: legal and of no use to us (a `.local` name, TCP, component 2, an empty end-of-candidates).
    ///
    /// # Errors
    /// [`SdpReject`] when it is not a candidate at all.
    pub fn read(text: &str) -> Result<Option<Self>, SdpReject> {
        let _ = text;
        todo!()
    }

    /// `candidate:...`, as `webrtcbin`'s add-ice-candidate takes it.
    pub fn text(&self) -> String {
        todo!()
    }
}
