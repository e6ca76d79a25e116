//! The guard between strangers' SDP and C code, and the codec plan.
//!
//! Pure. `webrtcbin` aborts the process on some offers, legal ones among them; so no byte of a stranger's SDP or candidate
//! reaches it. An offer is parsed strictly into [`Offer`]; [`plan`] decides which of its m-lines we take and with which
//! payload types; [`Plan::offer_text`] is our own text for `webrtcbin`, holding the taken m-lines only; [`Plan::answer_text`]
//! turns `webrtcbin`'s answer into the one for the caller, with the refused m-lines back in their places.

mod answer;
mod candidate;
mod guard;
mod plan;

pub use answer::{AnswerError, LocalTransport, RemoteAnswer, guard_answer};
pub use candidate::{Candidate, CandidateKind};
pub use guard::{Codec, Direction, Fingerprint, MediaKind, MediaSection, Offer, SdpReject, guard_offer};
pub use plan::{AudioPlan, CallerTrack, NoCommonCodec, Plan, PlannedSection, VideoPlan, plan};
