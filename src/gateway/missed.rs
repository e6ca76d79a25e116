//! Calls that rang while the gateway was away: a relay kept their offers, and nobody is to be rung any more.

use super::fact::Fact;
use super::session::Surroundings;
use super::showing::{direction_word, npub};
use super::view::{CallView, MilestonesView, StatsView};
use crate::call::{Milestones, Millis, Origin};
use crate::media::{CallId, LineName};
use crate::protocol::{Envelope, Offer};
use crate::store::{CallRecord, Direction, MISSED};

/// A missed call: its place in the log, and how it is shown.
pub(super) struct Missed {
    id: CallId,
    line: LineName,
    record: CallRecord,
}

impl Missed {
    /// Of an offer that has gone stale, from a key that may call.
    pub(super) fn new(id: CallId, line: &LineName, envelope: &Envelope, offer: &Offer) -> Self {
        // The caller's own clock: the offer says when it rang, and no longer than until now.
        let at = |seconds: u64| Millis(seconds.saturating_mul(1000));
        let milestones =
            Milestones { offered: at(offer.timestamp), ended: Some(at(offer.rings_until())), ..Milestones::default() };
        let record = CallRecord {
            line: line.0.clone(),
            line_key: envelope.to,
            caller: envelope.from,
            session: envelope.session.to_string(),
            call_type: envelope.call_type,
            direction: Direction::In,
            milestones,
            reason: MISSED.to_owned(),
            origin: Origin::Us,
            detail: "The gateway was away.".to_owned(),
            teardown_ms: None,
            bytes_sent: 0,
            bytes_received: 0,
            frames_skipped: 0,
            ignored: 0,
        };
        Self { id, line: line.clone(), record }
    }

    /// Puts it into the log, on a thread that may wait for the disk, and then says so. A restart may bring the same call again, by an
    /// event signed anew: it is in the log once.
    pub(super) fn log(self, around: &Surroundings) {
        let (store, facts, board) = (around.store.clone(), around.facts.clone(), around.board.clone());
        around.deliveries.spawn_blocking(move || match store.log_call_once(&self.record) {
            Ok(true) => {
                board.show_missed(self.view());
                facts.record(&Fact::CallMissed {
                    call: self.id,
                    line: &self.line,
                    from: &self.record.caller,
                    rang_ms: self.record.milestones.offered.0,
                });
            }
            Ok(false) => {}
            Err(error) => facts.record(&Fact::NotStored { call: self.id, error: &error }),
        });
    }

    fn view(&self) -> CallView {
        let Milestones { offered, ended, .. } = self.record.milestones;
        CallView {
            id: self.id.to_string(),
            line: self.line.0.clone(),
            direction: direction_word(self.record.direction).to_owned(),
            caller: npub(&self.record.caller),
            session: self.record.session.clone(),
            state: "ended".to_owned(),
            since: offered.0,
            milestones: MilestonesView { ended: ended.map(|ended| ended.since(offered)), ..MilestonesView::default() },
            stats: StatsView::default(),
            ended: Some(MISSED.to_owned()),
        }
    }
}
