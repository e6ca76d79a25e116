//! A line's source, shared by all its calls: opened when it is first wanted, closed when it is not, opened again when it drops.
//!
//! One thread per hub owns the source's pipeline (`actor`); GStreamer's threads leave word for it (`desk`) and put media into
//! the `fan`, which makes the RTP payload once and gives it to all taps; each tap has a thread of its own (`tap`).

mod actor;
mod desk;
mod fan;
mod feed;
mod file;
mod gop;
pub(super) mod h264;
mod listener;
mod making;
pub(super) mod pattern;
mod pipeline;
mod remake;
mod remaking;
mod rtsp;
mod signs;
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
use super::{Event, LineSettings, SourceEnd, SourceError, SourceState};
use crate::endpoint::Streams;
use crate::sdp::{AudioPlan, VideoPlan};
use desk::Desk;
use fan::Fan;
pub(super) use listener::Listener;
pub(super) use signs::Signs;
use tap::Queue;

/// What the hub's thread, its handles and its taps have in common.
struct Shared {
    settings: LineSettings,
    sign: signs::Sign,
    desk: Desk,
    fan: Fan,
}

/// The hub's published state.
#[derive(Debug, Clone)]
struct Phase {
    state: SourceState,
    /// Openings that have come to an end: open or failed.
    attempts: u64,
    /// How often the source came to its end, and how the last time.
    ends: u64,
    last_end: Option<SourceEnd>,
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
        let signs = Signs::new(settings.name.clone(), events);
        Hub::beside(settings, &signs)
    }

    /// One of several hubs of a line, which has these signs for all of them.
    pub(super) fn beside(settings: LineSettings, signs: &Arc<Signs>) -> Hub {
        let shared = Arc::new(Shared { settings, sign: signs.add(), desk: Desk::default(), fan: Fan::default() });
        let phase = Phase { state: SourceState::Idle, attempts: 0, ends: 0, last_end: None };
        let (publish, phase) = watch::channel(phase);
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
        let epoch = self.handle.shared.desk.tell(|facts| {
            facts.leases += 1;
            facts.unused_since = None;
            facts.hurry = true;
            facts.epoch
        });
        Lease { handle: self.handle.clone(), attempts, epoch }
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
    /// Ends that the source had come to.
    epoch: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.handle.shared.desk.tell(|facts| {
            // Since the source's end nobody counts whom it left.
            if facts.epoch != self.epoch {
                return;
            }
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

    /// Waits for the end of what the source plays; of a source that has none, for ever. Holds nothing open.
    pub fn end(&self) -> impl Future<Output = SourceEnd> + Send + use<> {
        let (mut phase, epoch) = (self.handle.phase.clone(), self.epoch);
        async move {
            loop {
                {
                    let phase = phase.borrow_and_update();
                    if phase.ends > epoch
                        && let Some(end) = &phase.last_end
                    {
                        return end.clone();
                    }
                }
                if phase.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Lets a file begin that waits for its caller: there is none.
    pub(super) fn go(&self) {
        self.handle.shared.desk.tell(|facts| facts.goes = true);
    }

    /// Joins now: with the pictures since the last keyframe, compressed in time, then live. Without cached pictures video starts
    /// with the next keyframe. The tap outlives reopenings of the source.
    pub fn tap(&self, settings: TapSettings, sink: Box<dyn PacketSink>) -> Tap {
        let opus = matches!(settings.audio, Some((_, AudioPlan::ToOpus)));
        let h264 = matches!(settings.video, Some((_, VideoPlan::ToH264)));
        let queue = self.handle.shared.fan.join(settings);
        self.handle.shared.desk.tell(|facts| {
            facts.opus_takers += usize::from(opus);
            facts.h264_takers += usize::from(h264);
            facts.taken = true;
        });
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
