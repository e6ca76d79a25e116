//! The guard between strangers' SDP and C code, and the codec plan.
//!
//! Pure. `webrtcbin` aborts the process on some offers, legal ones among them; so no line of a stranger's SDP or candidate
//! reaches it. An offer is parsed strictly into [`Offer`]; [`plan`] decides which of its m-lines we take and with which
//! payload types; [`Plan::offer_text`] is our own text for `webrtcbin`, holding the taken m-lines only; [`Plan::answer_text`]
//! turns `webrtcbin`'s answer into the one for the caller, with the refused m-lines back in their places.
//!
//! A line that calls somebody offers what [`calling_plan`] says, in the words of [`CallingPlan::offer_text`]; the answer is read
//! by [`guard_answer`].
//!
//! An [`Agreement`] is what an offer and its answer have come to, either way round: it weighs further offers in the same call, and
//! all our later descriptions are made of it.
//!
//! Three layers: `lines` knows bytes and lines, `description` knows attributes, `guard` and `remote_answer` know what an
//! offer and an answer may say.

mod agreement;
mod answer;
mod calling;
mod candidate;
mod codec;
mod description;
mod guard;
mod ice_server;
mod lines;
mod plan;
mod refusal;
mod remote_answer;
mod section;
mod write;

pub use agreement::{Agreement, IceCredentials, MediaChange, Renegotiation};
pub use answer::{AnswerError, LocalTransport};
pub use calling::{CallingPlan, CallingSection, NothingToOffer, OfferedCodec, calling_plan, viewing_plan};
pub use candidate::{Candidate, CandidateKind};
pub use codec::{CallerTrack, Codec};
pub use guard::{Direction, Fingerprint, MediaKind, MediaSection, Offer, SdpReject, guard_offer};
pub use ice_server::{BadIceUrl, CallerServers, IceHost, IceLogin, IceServer, IceService, IceUrl};
pub use plan::{AudioPlan, NoCommonCodec, Plan, PlannedSection, VideoPlan, plan};
pub use remote_answer::{AnsweredSection, RemoteAnswer, guard_answer};

/// Bytes of an SDP. The protocol's limit; the largest offer seen from a real client has 14 KiB.
pub const MAX_SDP: usize = 32 * 1024;

/// Candidates of one call. More are ignored: each one makes us send STUN to an address of the caller's choice.
pub const MAX_CANDIDATES: usize = 64;
