//! A line's source, shared by all its calls: opened when it is first wanted, closed when it is not, opened again when it drops.
//!
//! One thread per hub owns the source's pipeline (`actor`); GStreamer's threads leave word for it (`desk`) and put media into
//! the `fan`, which makes the RTP payload once and gives it to all taps; each tap has a thread of its own (`tap`).

mod actor;
mod desk;
mod fan;
mod feed;
mod gop;
pub(super) mod h264;
mod listener;
mod making;
pub(super) mod pattern;
mod pipeline;
mod remake;
mod remaking;
mod rtsp;
pub(super) mod sps;
mod tap;
mod transcode;
mod trouble;
pub(super) mod unit;
pub(super) mod vpx;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::tap::{PacketSink, TapSettings, TapStats};
use super::{Event, LineSettings, SourceError, SourceState};
use crate::endpoint::Streams;
use crate::sdp::{AudioPlan, VideoPlan};
use desk::Desk;
use fan::Fan;
pub(super) use listener::Listener;
use tap::Queue;

/// What the hub's thread, its handles and its taps have in common.
struct Shared {
    settings: LineSettings,
    events: mpsc::Sender<Event>,
    desk: Desk,
    fan: Fan,
}

/// The hub's published state.
#[derive(Debug, Clone)]
struct Phase {
    state: SourceState,
    /// Openings that have come to an end: open or failed.
    attempts: u64,
}

/// A line's source. Dropping the last handle, lease and tap closes it.
#[derive(Clone)]
pub struct Hub {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.desk.tell(|facts| facts.closing = true);
    }
}

impl Hub {
    /// A hub for a line; it opens nothing before the first lease, unless the line is kept warm. [`super::init`] comes first.
    /// Its state goes to `events` as [`Event::Line`]; when that channel is full it is lost there, not in [`Hub::state`].
    pub fn new(settings: LineSettings, events: mpsc::Sender<Event>) -> Hub {
        let shared = Arc::new(Shared { settings, events, desk: Desk::default(), fan: Fan::default() });
        let (publish, phase) = watch::channel(Phase { state: SourceState::Idle, attempts: 0 });
        let thread = shared.clone();
        let spawned = std::thread::Builder::new().name("hub".into()).spawn(move || actor::run(&thread, publish));
        if let Err(error) = spawned {
            // The phase's sender is gone with the thread: each lease will say so.
            tracing::error!(line = %shared.settings.name, %error, "no thread for a hub");
        }
        Hub { handle: Arc::new(Handle { shared, phase }) }
    }

    /// Wants the source open. A source that is away is tried again at once.
    pub fn lease(&self) -> Lease {
        let attempts = self.handle.phase.borrow().attempts;
        self.handle.shared.desk.tell(|facts| {
            facts.leases += 1;
            facts.unused_since = None;
            facts.hurry = true;
        });
        Lease { handle: self.handle.clone(), attempts }
    }

    /// What the source is doing.
    pub fn state(&self) -> SourceState {
        self.handle.phase.borrow().state.clone()
    }
}

/// One call's want of the source. Dropping the last one starts the idle clock.
pub struct Lease {
    handle: Arc<Handle>,
    /// Openings that had ended when the lease was taken.
    attempts: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.handle.shared.desk.tell(|facts| {
            facts.leases = facts.leases.saturating_sub(1);
            if facts.leases == 0 {
                facts.unused_since = Some(Instant::now());
            }
        });
    }
}

impl Lease {
    /// Waits until the source is open, or the first attempt since the lease was taken has failed.
    ///
    /// # Errors
    /// Why that attempt failed.
    pub async fn streams(&self) -> Result<Streams, SourceError> {
        let mut phase = self.handle.phase.clone();
        loop {
            {
                let phase = phase.borrow_and_update();
                match &phase.state {
                    SourceState::Open { streams, .. } => return Ok(streams.clone()),
                    SourceState::Reopening { error, .. } if phase.attempts > self.attempts => return Err(error.clone()),
                    _ => {}
                }
            }
            phase.changed().await.map_err(|_| SourceError::GStreamer("the hub has ended".into()))?;
        }
    }

    /// What the source is known to send; nothing while it is not open.
    pub fn known(&self) -> Streams {
        match &self.handle.phase.borrow().state {
            SourceState::Open { streams, .. } => streams.clone(),
            _ => Streams::default(),
        }
    }

    /// Joins now: with the pictures since the last keyframe, compressed in time, then live. Without cached pictures video starts
    /// with the next keyframe. The tap outlives reopenings of the source.
    pub fn tap(&self, settings: TapSettings, sink: Box<dyn PacketSink>) -> Tap {
        let opus = matches!(settings.audio, Some((_, AudioPlan::ToOpus)));
        let h264 = matches!(settings.video, Some((_, VideoPlan::ToH264)));
        if opus || h264 {
            self.handle.shared.desk.tell(|facts| {
                facts.opus_takers += usize::from(opus);
                facts.h264_takers += usize::from(h264);
            });
        }
        let queue = self.handle.shared.fan.join(settings);
        if let Err(error) = tap::start(queue.clone(), sink) {
            tracing::error!(line = %self.handle.shared.settings.name, %error, "no thread for a tap");
            self.handle.shared.fan.leave(&queue);
        }
        Tap { handle: self.handle.clone(), queue, opus, h264 }
    }
}

impl Lease {
    /// Listens from now on, over reopenings of the source: with the pictures since the last keyframe, then what comes, as it comes.
    pub(super) fn listen(&self, listener: Arc<dyn Listener>) -> Listening {
        self.handle.shared.fan.listen(listener.clone());
        Listening { handle: self.handle.clone(), listener }
    }
}

/// One listener's place. Dropping it ends it.
pub(super) struct Listening {
    handle: Arc<Handle>,
    listener: Arc<dyn Listener>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.handle.shared.fan.silence(&self.listener);
    }
}

/// One consumer of the source. Dropping it stops it: nothing is pushed afterwards, unless the sink is stuck in a push, which then
/// ends by itself.
pub struct Tap {
    handle: Arc<Handle>,
    queue: Arc<Queue>,
    opus: bool,
    h264: bool,
}

impl Tap {
    /// What went through it so far.
    pub fn stats(&self) -> TapStats {
        self.queue.stats()
    }

    /// Its consumer cannot go on without a keyframe. Only an encoder of ours can be asked for one, and it is asked for so many a second
    /// at most; a camera cannot, which the group of pictures that is cached makes up for.
    pub fn request_keyframe(&self) {
        if self.h264 {
            self.handle.shared.desk.tell(|facts| facts.keyframe_wanted = true);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.handle.shared.fan.leave(&self.queue);
        if self.opus || self.h264 {
            self.handle.shared.desk.tell(|facts| {
                facts.opus_takers = facts.opus_takers.saturating_sub(usize::from(self.opus));
                facts.h264_takers = facts.h264_takers.saturating_sub(usize::from(self.h264));
            });
        }
        self.queue.stop();
    }
}
