//! Which m-lines of an offer we take, with which codecs: decided before anything is built.

use super::{Direction, MediaKind, Offer};
use crate::endpoint::Streams;

/// There is no codec that both sides know. `Display` names what each side has, for `call_end`'s `detail`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NoCommonCodec {
    pub detail: String,
}

/// How the line's video goes to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoPlan {
    /// The camera's own H.264 with `packetization-mode=1`.
    PassH264,
}

/// How the line's audio goes to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioPlan {
    PassPcmu,
    PassPcma,
    PassOpus,
    /// Decoded and encoded once per hub.
    ToOpus,
}

/// A track that the caller may send on a taken m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerTrack {
    Opus,
    Pcmu,
    Pcma,
    H264,
    Vp8,
}

/// A taken m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSection {
    /// Its index in the caller's offer.
    pub index: usize,
    pub mid: String,
    pub kind: MediaKind,
    /// Ours, for the answer.
    pub direction: Direction,
    /// What we send here.
    pub payload_type: u8,
    /// What the caller may send here: payload types of the offer that we can receive, the first is that of `payload_type`.
    pub receive: Vec<(u8, CallerTrack)>,
    pub video: Option<VideoPlan>,
    pub audio: Option<AudioPlan>,
}

/// What will be built for a caller. Section `i` is m-line `i` of [`Plan::offer_text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub sections: Vec<PlannedSection>,
}

/// Plans a call: what of `streams` goes to the caller who sent `offer`, and what of the caller's own media we take.
///
/// # Errors
/// [`NoCommonCodec`] when nothing of the line's media can be sent.
pub fn plan(offer: &Offer, streams: &Streams) -> Result<Plan, NoCommonCodec> {
    let _ = (offer, streams);
    todo!()
}

impl Plan {
    /// Our own text for `webrtcbin`'s set-remote-description: the taken m-lines, one transport, no candidates.
    pub fn offer_text(&self, offer: &Offer) -> String {
        let _ = offer;
        todo!()
    }
}
