//! What can be seen of the gateway from outside: snapshots that its tasks keep, read by the API and the console.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use super::showing::show_source;
use super::view::{CallView, LineState, LineView};
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

    /// Whether the source does something else than before; more or fewer callers, and one more try in vain, are not something else.
    pub(super) fn show_source(&self, line: &LineName, state: &SourceState) -> bool {
        self.shown().lines.get_mut(line).is_none_or(|view| {
            let before = view.state.clone();
            show_source(view, state);
            match (&before, &view.state) {
                (LineState::Reopening { error: before, .. }, LineState::Reopening { error, .. }) => before != error,
                (before, now) => before != now,
            }
        })
    }

    pub(super) fn show_call(&self, id: CallId, view: CallView) {
        self.shown().calls.insert(id, view);
    }

    pub(super) fn end_call(&self, id: CallId) {
        let mut shown = self.shown();
        if let Some(view) = shown.calls.remove(&id) {
            shown.end(view);
        }
    }

    /// Shows a call that was over before anyone here knew of it.
    pub(super) fn show_missed(&self, view: CallView) {
        self.shown().end(view);
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

impl Shown {
    fn end(&mut self, view: CallView) {
        if self.ended.len() == ENDED_SHOWN {
            self.ended.pop_front();
        }
        self.ended.push_back(view);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SourceError;

    fn view(name: &str) -> LineView {
        LineView {
            name: name.to_owned(),
            npub: String::new(),
            endpoint: String::new(),
            relays: Vec::new(),
            state: LineState::Idle,
            callers: 0,
            talk: false,
            access: Default::default(),
            streams: Vec::new(),
        }
    }

    #[test]
    fn a_camera_that_stays_away_is_news_once() {
        let (board, line) = (Board::default(), LineName("door".to_owned()));
        board.show_line(line.clone(), view("door"));
        let away = |error, tries| SourceState::Reopening { error, tries };

        assert!(board.show_source(&line, &SourceState::Opening));
        assert!(board.show_source(&line, &away(SourceError::Unreachable, 1)));
        assert!(!board.show_source(&line, &away(SourceError::Unreachable, 2)));
        assert!(board.show_source(&line, &away(SourceError::Unauthorized, 3)), "another reason is news");
        let shown = LineState::Reopening { error: SourceError::Unauthorized.to_string(), tries: 3 };
        assert_eq!(board.lines()[0].state, shown, "what is shown is always the newest");
    }
}
