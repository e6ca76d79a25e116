//! Everything GStreamer. Takes [`Command`]s, emits [`Event`]s: plain data, so that a line's media could live in a process of its own.
//!
//! GStreamer is a C library with threads: callbacks hold weak references and only send events, nothing in them can panic, and
//! teardown is off the streaming threads with a deadline.

pub mod beat;
pub mod caller;
mod certificate;
pub mod demo_camera;
mod engine;
pub mod hub;
mod peer;
mod plugins;
pub mod recorder;
mod servers;
mod source;
pub mod tap;
mod teardown;

use std::path::PathBuf;
use std::time::Duration;

use crate::endpoint::{Endpoint, Streams};
use crate::sdp::{self, CallerServers, IceServer};

pub use engine::{Media, StartError, start};
pub use plugins::{PluginError, init};
pub use recorder::{RecordSettings, RecordingEnd, RecordingId, RecordingNews, SnapshotError};

/// One call, for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl std::str::FromStr for CallId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim_start_matches('c').parse().map(Self)
    }
}

/// A line's name, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineName(pub String);

impl std::fmt::Display for LineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What media is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    pub lines: Vec<LineSettings>,
    pub ice: IceSettings,
}

/// A line as media knows it.
#[derive(Debug, Clone)]
pub struct LineSettings {
    pub name: LineName,
    pub endpoint: Endpoint,
    /// How long a source without callers stays open.
    pub idle: Duration,
    /// Opened at start and never closed.
    pub keep_warm: bool,
}

/// How this machine's addresses are found and told.
#[derive(Debug, Clone, Default)]
pub struct IceSettings {
    /// STUN and TURN servers of ours, in the order of preference.
    pub servers: Vec<IceServer>,
    /// Which of the servers that a caller names are used too.
    pub caller_servers: CallerServers,
    /// Whether media goes through a TURN server only, so that the other side learns no address of ours.
    pub relay_only: bool,
    /// UDP ports for candidates.
    pub ports: Option<(u16, u16)>,
    /// Public addresses of a 1:1 NAT: each local host candidate is repeated with these.
    pub advertise: Vec<std::net::IpAddr>,
    /// Which local addresses become candidates; all but loopback when empty.
    pub bind: Vec<std::net::IpAddr>,
}

/// What media is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Takes a lease on the line's hub, opening it if it is idle. Answered by `SourceReady` or `SourceFailed`.
    OpenSource {
        call: CallId,
        line: LineName,
    },
    /// Builds the peer and makes its answer. Needs the lease. Answered by `AnswerReady` or `PeerFailed`.
    OpenPeer {
        call: CallId,
        offer: Box<sdp::Offer>,
        plan: sdp::Plan,
        /// STUN and TURN servers that the caller names; [`IceSettings::caller_servers`] says which are used.
        servers: Vec<IceServer>,
    },
    /// Builds a peer that offers the line's media to somebody whom it calls. Needs the lease. Answered by `OfferReady` or `PeerFailed`.
    OfferPeer {
        call: CallId,
        plan: sdp::CallingPlan,
    },
    /// The answer to the last `OfferReady`, guarded with its text. Then all is as with a peer that answered: `Checked`, `Secured`...; an answer
    /// that takes none of the line's media is a `PeerFailed`. A second answer to one offer is ignored.
    TakeAnswer {
        call: CallId,
        answer: Box<sdp::RemoteAnswer>,
    },
    /// A further offer of the other side's in a live call. Answered by `AnswerReady`, or by `NotRenegotiated` when it does not belong to the
    /// call, which then goes on as it was. It wins over a restart of ours that has no answer yet.
    Renegotiate {
        call: CallId,
        offer: Box<sdp::Offer>,
    },
    /// Offers an ICE restart in a live call. Answered by `OfferReady`; `TakeAnswer` carries it out. Until then, and while there is no new path,
    /// media goes on on the old one.
    Restart {
        call: CallId,
    },
    AddCandidate {
        call: CallId,
        candidate: sdp::Candidate,
    },
    /// Begins a recording. Everything that comes of it is told as `Recording`; at the latest that it has ended.
    Record(Box<RecordSettings>),
    /// Ends a recording. One that is not there is passed over: it has ended by itself.
    StopRecording {
        id: RecordingId,
    },
    /// Takes a picture of what a line shows, as JPEG; its source is opened if it is not. A few at a time; more are refused.
    Snapshot {
        line: LineName,
        reply: tokio::sync::oneshot::Sender<Result<Vec<u8>, SnapshotError>>,
    },
    /// Takes the peer (if any) and the lease down. Always answered by `Closed`.
    Close {
        call: CallId,
    },
}

/// What media tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    SourceReady {
        call: CallId,
        streams: Streams,
    },
    SourceFailed {
        call: CallId,
        error: SourceError,
    },
    /// After `SourceReady`: what the line plays is over, or cannot be played any further.
    SourceEnded {
        call: CallId,
        end: SourceEnd,
    },
    AnswerReady {
        call: CallId,
        sdp: String,
    },
    /// An offer of ours, for `sdp::guard_answer` and `TakeAnswer`.
    OfferReady {
        call: CallId,
        sdp: String,
    },
    /// A candidate gathered after the answer: for kind 14302.
    LateCandidate {
        call: CallId,
        candidate: String,
        mid: String,
        index: u32,
    },
    /// The caller's first connectivity check came, so it has the answer.
    Checked {
        call: CallId,
    },
    /// DTLS is connected and the certificate is the one that the offer names; taps have joined.
    Secured {
        call: CallId,
    },
    /// The first packet of the line's media went to the caller.
    FirstMedia {
        call: CallId,
    },
    /// Once a second while the call is live.
    Stats {
        call: CallId,
        stats: PeerStats,
    },
    /// A further offer of the other side's does not belong to the call, which goes on as it was.
    NotRenegotiated {
        call: CallId,
        why: sdp::SdpReject,
    },
    /// The answer to a restart of ours does not belong to the call, which goes on as it was.
    AnswerRefused {
        call: CallId,
        why: sdp::SdpReject,
    },
    /// A restart of the other side's was answered a while ago, and led to no new path. What path there was may still be good.
    NoNewPath {
        call: CallId,
    },
    /// Nothing comes from the other side any more. The peer stays as it is: the path may be found again, by itself or by an ICE restart.
    PathLost {
        call: CallId,
    },
    /// After `PathLost`: the other side is heard again.
    PathFound {
        call: CallId,
    },
    PeerFailed {
        call: CallId,
        error: PeerError,
    },
    Closed {
        call: CallId,
        teardown: Teardown,
    },
    /// Something of a recording.
    Recording {
        id: RecordingId,
        news: RecordingNews,
    },
    /// The line's source changed its state.
    Line {
        line: LineName,
        state: SourceState,
    },
}

impl Event {
    /// The call that it concerns, if it concerns one.
    pub fn call(&self) -> Option<CallId> {
        match self {
            Self::SourceReady { call, .. }
            | Self::SourceFailed { call, .. }
            | Self::SourceEnded { call, .. }
            | Self::AnswerReady { call, .. }
            | Self::OfferReady { call, .. }
            | Self::LateCandidate { call, .. }
            | Self::Checked { call }
            | Self::Secured { call }
            | Self::FirstMedia { call }
            | Self::Stats { call, .. }
            | Self::NotRenegotiated { call, .. }
            | Self::AnswerRefused { call, .. }
            | Self::NoNewPath { call }
            | Self::PathLost { call }
            | Self::PathFound { call }
            | Self::PeerFailed { call, .. }
            | Self::Closed { call, .. } => Some(*call),
            Self::Recording { .. } | Self::Line { .. } => None,
        }
    }
}

/// What a line's source is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    Idle,
    Opening,
    Open {
        streams: Streams,
        callers: usize,
    },
    /// The source went away; it is tried again.
    Reopening {
        error: SourceError,
        tries: u32,
    },
}

/// What flowed in a call so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerStats {
    pub sent_video: TrackStats,
    pub sent_audio: TrackStats,
    pub received_video: TrackStats,
    pub received_audio: TrackStats,
    /// Frames that a slow caller lost, up to the next keyframe.
    pub frames_skipped: u64,
    /// Keyframe requests (PLI, FIR) of the caller.
    pub keyframe_requests: u64,
}

/// One track, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackStats {
    pub packets: u64,
    pub bytes: u64,
    /// Frames (video) or packets (audio).
    pub frames: u64,
    /// Packets lost, as the receiver counts.
    pub lost: u64,
}

/// How a peer came down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Teardown {
    pub took: Duration,
    /// It did not come down within its deadline, and was left behind.
    pub leaked: bool,
}

/// Why a line's source cannot be opened, or went away. No variant holds an address with a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("no such line")]
    NoSuchLine,
    #[error("the camera cannot be reached")]
    Unreachable,
    #[error("the camera refuses the user name or password")]
    Unauthorized,
    #[error("the camera has no such stream")]
    NotFound,
    #[error("the camera sends no media")]
    Silent,
    #[error("the camera closed the connection")]
    Closed,
    #[error("the camera's {0} cannot be read")]
    Unsupported(String),
    #[error("{0}")]
    File(FileError),
    #[error("GStreamer: {0}")]
    GStreamer(String),
}

/// How a source that has an end came to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEnd {
    /// All of it was played.
    Over,
    Broken(SourceError),
}

/// Why a file cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", .file.display())]
pub struct FileError {
    pub file: PathBuf,
    pub fault: FileFault,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    #[error("there is no such file")]
    Missing,
    #[error("it cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
    #[error("it is empty")]
    Empty,
    #[error("it is no file")]
    NoFile,
    #[error("it is neither audio nor video")]
    NotMedia,
    #[error("nothing in it can be played")]
    NothingToPlay,
    #[error("it is damaged or cut short")]
    Damaged,
    #[error("it does not show what it holds")]
    Silent,
    #[error("it is too short to be repeated")]
    TooShort,
    #[error("its streams are others than those of the files before it")]
    Differs,
    #[error("it cannot be decoded here: {0}")]
    Unsupported(String),
}

/// Why a peer failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the certificate is not the one that the other side's description names")]
    FingerprintMismatch,
    #[error(transparent)]
    NoCommonCodec(sdp::NoCommonCodec),
    #[error("ICE found no path")]
    IceFailed,
    #[error("the DTLS handshake failed")]
    DtlsFailed,
    #[error("the caller fell silent")]
    ConsentLost,
    #[error("the caller closed the connection")]
    ClosedByCaller,
    #[error("GStreamer: {0}")]
    GStreamer(String),
}
