//! What can be seen of the gateway from outside: snapshots that its tasks keep, read by the API and the console.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use super::showing::show_source;
use super::view::{CallView, LineView};
use crate::media::{CallId, LineName, SourceState};

/// How many calls that are over stay visible: the call log in the store has them all.
const ENDED_SHOWN: usize = 64;

/// The snapshots. A lock is held for a copy only, never across an await.
#[derive(Debug, Default)]
pub(super) struct Board {
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    lines: BTreeMap<LineName, LineView>,
    calls: BTreeMap<CallId, CallView>,
    ended: VecDeque<CallView>,
}

impl Board {
    pub(super) fn show_line(&self, name: LineName, view: LineView) {
        self.shown().lines.insert(name, view);
    }

    /// Whether the source does something else than before; more or fewer callers are not something else.
    pub(super) fn show_source(&self, line: &LineName, state: &SourceState) -> bool {
        self.shown().lines.get_mut(line).is_none_or(|view| {
            let before = view.state.clone();
            show_source(view, state);
            view.state != before
        })
    }

    pub(super) fn show_call(&self, id: CallId, view: CallView) {
        self.shown().calls.insert(id, view);
    }

    pub(super) fn end_call(&self, id: CallId) {
        let mut shown = self.shown();
        if let Some(view) = shown.calls.remove(&id) {
            if shown.ended.len() == ENDED_SHOWN {
                shown.ended.pop_front();
            }
            shown.ended.push_back(view);
        }
    }

    pub(super) fn lines(&self) -> Vec<LineView> {
        self.shown().lines.values().cloned().collect()
    }

    /// Calls that are up, then those that ended lately, the newest last.
    pub(super) fn calls(&self) -> Vec<CallView> {
        let shown = self.shown();
        shown.ended.iter().chain(shown.calls.values()).cloned().collect()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // A snapshot half written by a panicking task is still a snapshot.
        self.shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
