//! What a line's source is doing, told to the gateway: as one state, however many hubs the line has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::media::{Event, LineName, SourceState};

/// The states of a line's hubs.
pub(in crate::media) struct Signs {
    line: LineName,
    events: mpsc::Sender<Event>,
    hubs: Mutex<Hubs>,
}

#[derive(Default)]
struct Hubs {
    next: u64,
    /// Of those that are not idle.
    states: BTreeMap<u64, SourceState>,
    told: Option<SourceState>,
}

/// The sign of one hub. Dropping it takes it down.
pub(super) struct Sign {
    signs: Arc<Signs>,
    hub: u64,
}

impl Signs {
    pub(in crate::media) fn new(line: LineName, events: mpsc::Sender<Event>) -> Arc<Signs> {
        Arc::new(Signs { line, events, hubs: Mutex::default() })
    }

    pub(super) fn add(self: &Arc<Signs>) -> Sign {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.next += 1;
        Sign { signs: self.clone(), hub: hubs.next }
    }
}

impl Sign {
    pub(super) fn show(&self, state: SourceState) {
        let mut hubs = self.signs.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            SourceState::Idle => hubs.states.remove(&self.hub),
            state => hubs.states.insert(self.hub, state),
        };
        let state = together(hubs.states.values());
        if hubs.told.as_ref() == Some(&state) {
            return;
        }
        hubs.told = Some(state.clone());
        // A full channel loses the event, not the state: that can be asked for.
        let _ = self.signs.events.try_send(Event::Line { line: self.signs.line.clone(), state });
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        self.show(SourceState::Idle);
    }
}

/// What several hubs of a line are doing: what is open counts most, with all its callers.
fn together<'a>(states: impl Iterator<Item = &'a SourceState> + Clone) -> SourceState {
    let open = states.clone().filter_map(|state| match state {
        SourceState::Open { streams, callers } => Some((streams, *callers)),
        _ => None,
    });
    if let Some((streams, _)) = open.clone().last() {
        return SourceState::Open { streams: streams.clone(), callers: open.map(|(_, callers)| callers).sum() };
    }
    let away = states.clone().find(|state| matches!(state, SourceState::Reopening { .. }));
    away.or_else(|| states.clone().last()).cloned().unwrap_or(SourceState::Idle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Streams;
    use crate::media::SourceError;

    #[test]
    fn several_hubs_of_a_line_are_one_source_to_the_gateway() {
        let (events, mut told) = mpsc::channel(16);
        let signs = Signs::new(LineName("menu".into()), events);
        let open = |callers| SourceState::Open { streams: Streams::default(), callers };
        let away = SourceState::Reopening { error: SourceError::Silent, tries: 1 };
        let (one, two) = (signs.add(), signs.add());
        one.show(SourceState::Opening);
        one.show(open(1));
        two.show(SourceState::Opening);
        two.show(open(1));
        two.show(away.clone());
        drop(one);
        drop(two);
        let states: Vec<SourceState> = std::iter::from_fn(|| told.try_recv().ok())
            .map(|event| match event {
                Event::Line { state, .. } => state,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(states, [SourceState::Opening, open(1), open(2), open(1), away, SourceState::Idle]);
    }
}
