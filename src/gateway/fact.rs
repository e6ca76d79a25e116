//! What happened, once: each observable fact is one variant that is logged and counted in one place.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use nostr::{PublicKey, ToBech32};

use super::showing::in_words;
use crate::call::{EndReason, Report, State};
use crate::media::recorder::RecordingEnd;
use crate::media::{CallId, LineName, SourceState};
use crate::protocol::Reject;
use crate::recording::{End, RecordingId};
use crate::sdp::SdpReject;

/// Why an event of somebody's changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// Its outside or its inside cannot be read.
    Unreadable(Reject),
    /// The key may not call this line.
    NotAllowed,
    /// The key offers more often than it may.
    TooManyOffers,
    /// The offer's time has passed.
    Stale,
    /// The offer's clock is ahead of ours by more than is allowed.
    FromTheFuture,
    /// An offer that is here already, signed a second time: a client signs anew what a relay did not keep.
    Duplicate,
    /// It belongs to a call that is over.
    EndedSession,
    /// It belongs to no call that we know.
    UnknownSession,
    /// The call's task has more to do than it may queue.
    Overrun,
    /// The gateway is shutting down.
    Draining,
}

impl Dropped {
    /// A label for counters: short and stable.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreadable(reject) => reject.word(),
            Self::NotAllowed => "not_allowed",
            Self::TooManyOffers => "too_many_offers",
            Self::Stale => "stale",
            Self::FromTheFuture => "from_the_future",
            Self::Duplicate => "duplicate",
            Self::EndedSession => "ended_session",
            Self::UnknownSession => "unknown_session",
            Self::Overrun => "overrun",
            Self::Draining => "draining",
        }
    }
}

/// A fact. Nothing in it is secret.
#[derive(Debug)]
pub enum Fact<'a> {
    EventDropped {
        from: &'a PublicKey,
        why: &'a Dropped,
    },
    CallOffered {
        call: CallId,
        line: &'a LineName,
        from: &'a PublicKey,
    },
    /// The line calls.
    Calling {
        call: CallId,
        line: &'a LineName,
        to: &'a PublicKey,
    },
    /// `told`: the caller hears of it; not when there are too many to tell.
    CallRefused {
        line: &'a LineName,
        from: &'a PublicKey,
        why: &'static str,
        told: bool,
    },
    CallState {
        call: CallId,
        line: &'a LineName,
        state: State,
    },
    CallEnded {
        call: CallId,
        line: &'a LineName,
        report: &'a Report,
    },
    /// An offer of somebody who may call rang while the gateway was away. `rang_ms`: Unix milliseconds.
    CallMissed {
        call: CallId,
        line: &'a LineName,
        from: &'a PublicKey,
        rang_ms: u64,
    },
    /// Nothing comes from the caller of a live call any more.
    PathLost {
        call: CallId,
        line: &'a LineName,
    },
    /// After that: the caller is heard again.
    PathFound {
        call: CallId,
        line: &'a LineName,
    },
    /// Somebody offers again in a live call.
    Renegotiating {
        call: CallId,
        by: &'static str,
    },
    /// What the caller said in a live call does not belong to it.
    NotRenegotiated {
        call: CallId,
        why: SdpReject,
    },
    PeerDown {
        call: CallId,
        took: Duration,
        leaked: bool,
    },
    NotDelivered {
        call: CallId,
        what: &'static str,
        error: &'a dyn std::error::Error,
    },
    NotStored {
        call: CallId,
        error: &'a dyn std::error::Error,
    },
    Source {
        line: &'a LineName,
        state: &'a SourceState,
    },
    RecordingBegan {
        recording: RecordingId,
        line: &'a LineName,
        file: &'a str,
    },
    /// The call goes on without.
    NotRecorded {
        line: &'a LineName,
        why: &'a dyn std::error::Error,
    },
    RecordingEnded {
        recording: RecordingId,
        line: &'a LineName,
        end: End,
        why: &'a RecordingEnd,
        bytes: u64,
    },
    /// Its digest and its poster are made.
    RecordingComplete {
        recording: RecordingId,
        bytes: u64,
    },
    /// A sidecar or the index could not be written.
    RecordingNotNoted {
        recording: RecordingId,
        error: &'a dyn std::error::Error,
    },
    RecordingDeleted {
        recording: RecordingId,
        file: &'a str,
        why: &'static str,
    },
    RecordingRecovered {
        recording: RecordingId,
        file: &'a str,
    },
    /// At the start.
    RecordingsFound {
        recordings: usize,
    },
    NoRecordingFolder {
        folder: &'a std::path::Path,
        error: &'a dyn std::error::Error,
    },
    /// The disk has less left than it must: what is recorded ends.
    DiskFloor {
        free: u64,
        floor: u64,
        recordings: usize,
    },
    Draining {
        calls: usize,
    },
}

/// Counts facts. Shared; a lock is held for an increment only.
#[derive(Debug, Default)]
pub struct Facts {
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Facts {
    /// Logs and counts a fact.
    pub fn record(&self, fact: &Fact<'_>) {
        match fact {
            Fact::EventDropped { from, why } => {
                self.count(&format!("dropped_{}", why.word()));
                tracing::debug!(from = %short(from), why = why.word(), "event dropped");
            }
            Fact::CallOffered { call, line, from } => {
                self.count("calls_offered");
                tracing::info!(%call, %line, from = %short(from), "call offered");
            }
            Fact::Calling { call, line, to } => {
                self.count("calls_made");
                tracing::info!(%call, %line, to = %short(to), "calling");
            }
            Fact::CallRefused { line, from, why, told } => {
                self.count(&format!("refused_{why}"));
                if *told {
                    tracing::info!(%line, from = %short(from), why, "call refused");
                } else {
                    // As many as strangers like: they must not fill the log.
                    tracing::debug!(%line, from = %short(from), why, "call refused silently");
                }
            }
            Fact::CallState { call, line, state } => {
                tracing::debug!(%call, %line, ?state, "call");
            }
            Fact::CallEnded { call, line, report } => {
                self.count(&format!("ended_{}", report.reason.word()));
                // The caller's words say less than the operator may know.
                let cause = match &report.reason {
                    EndReason::EndpointFailed(text) | EndReason::Unplayable(text) | EndReason::Internal(text) => {
                        text.clone()
                    }
                    reason => reason.detail(),
                };
                tracing::info!(%call, %line, from = %short(&report.caller), session = %report.session,
                    reason = report.reason.word(), origin = ?report.origin(), cause, "call ended");
            }
            Fact::CallMissed { call, line, from, rang_ms } => {
                self.count("calls_missed");
                tracing::info!(%call, %line, from = %short(from), rang_ms, "call missed");
            }
            Fact::PathLost { call, line } => {
                self.count("paths_lost");
                tracing::info!(%call, %line, "path lost");
            }
            Fact::PathFound { call, line } => {
                self.count("paths_found");
                tracing::info!(%call, %line, "path found");
            }
            Fact::Renegotiating { call, by } => {
                self.count(&format!("renegotiated_by_{by}"));
                tracing::debug!(%call, by, "renegotiating");
            }
            Fact::NotRenegotiated { call, why } => {
                self.count("not_renegotiated");
                tracing::debug!(%call, %why, "not renegotiated");
            }
            Fact::PeerDown { call, took, leaked } => {
                self.count(if *leaked { "teardowns_leaked" } else { "teardowns" });
                if *leaked {
                    tracing::error!(%call, ?took, "peer left behind: it did not come down in time");
                } else {
                    tracing::debug!(%call, ?took, "peer down");
                }
            }
            Fact::NotDelivered { call, what, error } => {
                self.count("not_delivered");
                tracing::warn!(%call, what, %error, "no relay took it");
            }
            Fact::NotStored { call, error } => {
                self.count("not_stored");
                tracing::error!(%call, %error, "call log not written");
            }
            Fact::Source { line, state } => match state {
                SourceState::Reopening { error, tries } => {
                    self.count("sources_lost");
                    tracing::warn!(%line, %error, tries, "source lost, opening it again");
                }
                SourceState::Open { streams, .. } => {
                    tracing::info!(%line, streams = in_words(streams).join(", "), "source open");
                }
                SourceState::Idle => tracing::info!(%line, "source closed: nobody calls, or it is over"),
                SourceState::Opening => tracing::info!(%line, "source opening"),
            },
            Fact::RecordingBegan { recording, line, file } => {
                self.count("recordings_begun");
                tracing::info!(%recording, %line, file, "recording");
            }
            Fact::NotRecorded { line, why } => {
                self.count("not_recorded");
                tracing::error!(%line, %why, "not recorded");
            }
            Fact::RecordingEnded { recording, line, end, why, bytes } => {
                self.count(&format!("recordings_{}", end.word().replace(": ", "_").replace(' ', "_")));
                tracing::info!(%recording, %line, end = end.word(), %why, bytes, "recording ended");
            }
            Fact::RecordingComplete { recording, bytes } => {
                tracing::debug!(%recording, bytes, "recording complete");
            }
            Fact::RecordingNotNoted { recording, error } => {
                self.count("recordings_not_noted");
                tracing::error!(%recording, %error, "what is known of a recording cannot be written");
            }
            Fact::RecordingDeleted { recording, file, why } => {
                self.count("recordings_deleted");
                tracing::info!(%recording, file, why, "recording deleted");
            }
            Fact::RecordingRecovered { recording, file } => {
                self.count("recordings_recovered");
                tracing::info!(%recording, file, "recording finished that was left open");
            }
            Fact::RecordingsFound { recordings } => tracing::debug!(recordings, "recordings found"),
            Fact::NoRecordingFolder { folder, error } => {
                self.count("no_recording_folder");
                tracing::error!(folder = %folder.display(), %error, "the recording folder cannot be used: nothing is recorded");
            }
            Fact::DiskFloor { free, floor, recordings } => {
                self.count("disk_floor");
                tracing::error!(free, floor, recordings, "the disk has too little left: recordings end");
            }
            Fact::Draining { calls } => tracing::info!(calls, "shutting down: hanging up"),
        }
    }

    /// Everything counted so far, by name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn count(&self, name: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match counts.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                counts.insert(name.to_owned(), 1);
            }
        }
    }
}

/// An npub's first characters: enough to tell callers apart in a log.
pub fn short(key: &PublicKey) -> String {
    match key.to_bech32() {
        Ok(npub) => npub.chars().take(16).collect(),
    }
}
