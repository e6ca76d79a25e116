//! The hub's thread: opens the source when it is wanted, watches it, opens it again, closes it when it is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use tokio::sync::watch;

use super::feed::Feed;
use super::file::Player;
use super::making::{Making, Wish};
use super::pipeline::bring_down;
use super::trouble::Trouble;
use super::{Phase, Shared, pattern, rtsp};
use crate::endpoint::{Endpoint, RtspTransport, Streams};
use crate::media::{SourceEnd, SourceError, SourceState};

/// How long a source may take from its opening to its first picture: a camera's wake-up and its longest wait for parameter sets.
const OPEN_WITHIN: Duration = Duration::from_secs(12);
/// How long an open source may send nothing.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// The first wait before a source is tried again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait while people are likely to be watching still: the picture is to return soon after the camera does.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait for a source that has been away for some minutes.
const LONGEST_WAIT_LATER: Duration = Duration::from_secs(5);
/// Tries (of 2 s each, about five minutes) after which the longer wait is good enough.
const LATER: u32 = 150;
/// How often the clocks above are looked at when nothing else happens.
const TICK: Duration = Duration::from_millis(500);

/// How long to wait before try number `tries` + 1.
fn wait_after(tries: u32) -> Duration {
    let longest = if tries > LATER { LONGEST_WAIT_LATER } else { LONGEST_WAIT };
    FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(6)).min(longest)
}

/// Runs until all handles are gone.
pub(super) fn run(shared: &Arc<Shared>, phase: watch::Sender<Phase>) {
    let mut actor = Actor { shared, phase, transport_refused: false };
    while actor.wait_until_wanted() {
        actor.publish(SourceState::Opening);
        actor.serve();
        actor.publish(SourceState::Idle);
    }
}

struct Actor<'a> {
    shared: &'a Arc<Shared>,
    phase: watch::Sender<Phase>,
    /// The server wants no media within the RTSP connection.
    transport_refused: bool,
}

/// What an opening of the source runs on.
enum Opened {
    Pipeline(gst::Pipeline),
    Player(Player),
}

/// How one opening of the source ended.
enum Ended {
    /// Nobody wants it any more.
    Unwanted,
    /// All that it has was played.
    Over,
    Failed {
        trouble: Trouble,
        was_open: bool,
    },
}

impl Actor<'_> {
    fn publish(&self, state: SourceState) {
        let changed = self.phase.send_if_modified(|phase| std::mem::replace(&mut phase.state, state.clone()) != state);
        if changed {
            self.shared.sign.show(state);
        }
    }

    /// False when all handles are gone.
    fn wait_until_wanted(&self) -> bool {
        let mut facts = self.shared.desk.lock();
        loop {
            if facts.closing {
                return false;
            }
            if facts.leases > 0 || self.shared.settings.keep_warm {
                return true;
            }
            facts = self.shared.desk.wait(facts, TICK);
        }
    }

    /// Keeps the source open, over as many openings as it takes, until nobody wants it.
    fn serve(&mut self) {
        let mut tries = 0;
        loop {
            let (trouble, was_open) = match self.open_once() {
                Ended::Unwanted => return,
                Ended::Over => return self.leave(SourceEnd::Over),
                // A camera comes back, the rest of a file does not.
                Ended::Failed { trouble, was_open: true } if self.plays_file() => {
                    return self.leave(SourceEnd::Broken(trouble.error));
                }
                Ended::Failed { trouble, was_open } => (trouble, was_open),
            };
            if trouble.transport_refused && !self.transport_refused {
                self.transport_refused = true;
                continue;
            }
            if !was_open {
                // UDP was no better: the next try starts with what the line asks for.
                self.transport_refused = false;
            }
            // What was open gets its first try soon, and no call has failed for it.
            tries = if was_open { 0 } else { tries + 1 };
            tracing::debug!(line = %self.shared.settings.name, error = %trouble.error, tries, "the source is away");
            if !was_open {
                self.phase.send_modify(|phase| phase.attempts += 1);
            }
            self.publish(SourceState::Reopening { error: trouble.error, tries });
            if !self.wait_to_retry(wait_after(tries)) {
                return;
            }
        }
    }

    fn plays_file(&self) -> bool {
        matches!(self.shared.settings.endpoint, Endpoint::File(_))
    }

    /// Comes to the source's end: whoever had it is told, and does not count any more.
    fn leave(&self, end: SourceEnd) {
        self.shared.desk.tell(|facts| {
            facts.epoch += 1;
            facts.leases = 0;
            facts.unused_since = None;
        });
        self.phase.send_modify(|phase| {
            phase.ends += 1;
            phase.last_end = Some(end);
        });
    }

    /// False when nobody wants the source any more.
    fn wait_to_retry(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut facts = self.shared.desk.lock();
        facts.hurry = false;
        loop {
            if facts.closing || facts.leases == 0 && !self.shared.settings.keep_warm {
                return false;
            }
            let now = Instant::now();
            if facts.hurry || now >= until {
                return true;
            }
            facts = self.shared.desk.wait(facts, until - now);
        }
    }

    fn open_once(&self) -> Ended {
        let generation = self.shared.desk.begin();
        self.shared.fan.begin(generation);
        let feed = Feed::new(Arc::downgrade(self.shared), generation);
        let opened = match &self.shared.settings.endpoint {
            Endpoint::Rtsp { url, transport } => {
                let transport = if self.transport_refused { RtspTransport::Udp } else { *transport };
                rtsp::open(url, transport, &feed).map(Opened::Pipeline)
            }
            Endpoint::Test(pattern) => pattern::open(pattern, &feed).map(Opened::Pipeline),
            Endpoint::File(programme) => Player::start(programme, &feed).map(Opened::Player),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return Ended::Failed { trouble: error.into(), was_open: false },
        };
        if let Opened::Pipeline(pipeline) = &opened
            && pipeline.set_state(gst::State::Playing).is_err()
        {
            feed.trouble(SourceError::GStreamer("the source does not start".into()).into());
        }
        let ended = self.attend();
        // Whatever it still sends is of no opening that counts.
        self.shared.fan.begin(self.shared.desk.begin());
        match opened {
            Opened::Pipeline(pipeline) => bring_down(pipeline),
            Opened::Player(player) => player.stop(),
        }
        ended
    }

    /// Looks after an opening until it ends.
    fn attend(&self) -> Ended {
        let started = Instant::now();
        let mut open: Option<Streams> = None;
        let mut making = Making::default();
        loop {
            let facts = self.shared.desk.lock();
            let now = Instant::now();
            let was_open = open.is_some();
            if facts.closing {
                return Ended::Unwanted;
            }
            let heard_of = facts.news.video_codec.is_some() || facts.news.audio.is_some();
            if let Some(trouble) = &facts.news.failure {
                let mut trouble = trouble.clone();
                // It took the connection and never described itself.
                if !heard_of && trouble.error == SourceError::Closed {
                    trouble.error = SourceError::Unreachable;
                }
                return Ended::Failed { trouble, was_open };
            }
            if facts.news.over {
                return Ended::Over;
            }
            let unused_for = facts.unused_since.filter(|_| facts.leases == 0).map(|since| now - since);
            let idle = self.shared.settings.idle;
            if !self.shared.settings.keep_warm && unused_for.is_some_and(|unused| unused >= idle) {
                return Ended::Unwanted;
            }
            open = facts.news.streams().or(open);
            let wish = Wish::of(&facts);
            let callers = facts.leases;
            if making.is_settled(&wish, now) && open.is_some() == was_open && self.is_published(&open, callers) {
                let silent = match (was_open, self.shared.fan.last_media()) {
                    (true, last) => last.is_none_or(|last| now - last > SILENT_AFTER) && now - started > SILENT_AFTER,
                    (false, _) => now - started > OPEN_WITHIN,
                };
                if silent {
                    // Not even described: it was never spoken to.
                    let error = if heard_of { SourceError::Silent } else { SourceError::Unreachable };
                    return Ended::Failed { trouble: error.into(), was_open };
                }
                let until_idle = unused_for.map_or(TICK, |unused| idle.saturating_sub(unused));
                drop(self.shared.desk.wait(facts, TICK.min(until_idle)));
                continue;
            }
            drop(facts);
            if let Some(streams) = &open {
                self.phase.send_if_modified(|phase| {
                    phase.attempts += u64::from(!was_open);
                    false
                });
                self.publish(SourceState::Open { streams: streams.clone(), callers });
            }
            making.settle(&wish, self.shared, now);
        }
    }

    fn is_published(&self, open: &Option<Streams>, callers: usize) -> bool {
        match (&self.phase.borrow().state, open) {
            (SourceState::Open { callers: published, streams }, Some(open)) => *published == callers && streams == open,
            (_, open) => open.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_quarter_second_to_two_seconds_and_later_to_five() {
        let waits: Vec<u64> = (0..6).map(|tries| wait_after(tries).as_millis() as u64).collect();
        assert_eq!(waits, [250, 250, 500, 1000, 2000, 2000]);
        assert_eq!(wait_after(LATER + 1), LONGEST_WAIT_LATER);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT_LATER);
    }
}
