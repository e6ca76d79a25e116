//! What the gateway shows of itself: plain data for the HTTP API and the command line. Nothing here is secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A line as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineView {
    pub name: String,
    pub npub: String,
    /// Where its media comes from, redacted.
    pub endpoint: String,
    /// Relays that it listens on.
    pub relays: Vec<String>,
    #[serde(flatten)]
    pub state: LineState,
    /// Calls that are fed from it now.
    pub callers: usize,
    /// Whether it takes the caller's voice.
    pub talk: bool,
    /// Who may call it.
    #[serde(default)]
    pub access: AccessView,
    /// What it sends, in words such as `H264 1280x720`; empty until its source was open once.
    pub streams: Vec<String>,
}

/// Who may call a line, in numbers and in words; nobody by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccessView {
    /// Such as `3 keys, 120 followed by 1 key, 2 invitations, 1 denied`.
    pub words: String,
    /// Whether anyone may call who is not denied.
    pub anyone: bool,
    /// Keys on the line's list.
    pub keys: usize,
    /// Keys that may call because a key of `follows_of` follows them, as far as is known.
    #[serde(default)]
    pub followed: usize,
    /// Keys that may not call.
    pub denied: usize,
    /// Invitations that are good now.
    pub invitations: usize,
}

/// What a line's source is doing. In JSON: a field `state`, and those of the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum LineState {
    Idle,
    Opening,
    Open,
    /// The source went away or could not be opened, and is tried again.
    Reopening {
        /// In words.
        error: String,
        tries: u32,
    },
}

/// A call as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallView {
    /// The gateway's own name for it, such as `c12`.
    pub id: String,
    /// The line's name.
    pub line: String,
    /// `in` when the line was called, `out` when it calls.
    pub direction: String,
    /// The npub of whoever calls the line, or is called by it.
    pub caller: String,
    pub session: String,
    /// Lower case: `offered`, `opening`, `answering`, `connecting`, `live`, `closing` or `ended`; when the line calls `offering` and `ringing` in the
    /// place of `answering`.
    pub state: String,
    /// When its offer came, or it was asked to call, in milliseconds since the Unix epoch.
    pub since: u64,
    pub milestones: MilestonesView,
    pub stats: StatsView,
    /// Why it ended, once it has: a stable word such as `caller_left`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<String>,
}

/// One whom a line was asked to call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungView {
    /// The npub.
    pub to: String,
    /// The call's [`CallView::id`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Why there is no call, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// When a call got where, in milliseconds after [`CallView::since`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MilestonesView {
    pub source_ready: Option<u64>,
    pub answered: Option<u64>,
    pub secured: Option<u64>,
    pub first_media: Option<u64>,
    pub ended: Option<u64>,
}

/// What flowed in a call so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatsView {
    pub sent_video: TrackView,
    pub sent_audio: TrackView,
    pub received_video: TrackView,
    pub received_audio: TrackView,
    /// Frames that a slow caller lost, up to the next keyframe.
    pub frames_skipped: u64,
    pub keyframe_requests: u64,
}

/// One track, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrackView {
    pub packets: u64,
    pub bytes: u64,
    /// Frames (video) or packets (audio).
    pub frames: u64,
    /// Packets lost, as the receiver counts.
    pub lost: u64,
}

/// A relay as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayView {
    pub url: String,
    pub connected: bool,
    /// `good`, `away`, `deaf` (it closed our subscription), `silent` (it leaves events without a word) or `refusing`.
    #[serde(default)]
    pub health: String,
    /// What is wrong with it, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// How often it said what of an event since the start: `accepted`, `no_ok`, `rate_limited` and so on.
    #[serde(default)]
    pub verdicts: BTreeMap<String, u64>,
}
