//! Taking a pipeline down.
//!
//! A state change to Null joins streaming threads, so it deadlocks when made on one of them or in a `webrtcbin` callback; and it has
//! been seen to hang for good. So: a thread of its own, and a deadline after which it is left behind and counted.

use std::time::{Duration, Instant};

use gst::prelude::*;
use tokio::sync::oneshot;

use super::Teardown;

/// 250 ms was the worst of thousands; past this it hangs.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Runs `first` (say goodbye, drop what feeds the pipeline), sets `pipeline` to Null and drops it, all on a thread of its own.
///
/// The caller must hold no other reference to what is in the pipeline that it needs to see freed.
pub(super) async fn take_down(pipeline: gst::Pipeline, first: impl FnOnce() + Send + 'static) -> Teardown {
    let began = Instant::now();
    let (done, finished) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("teardown".into()).spawn(move || {
        first();
        if !stop(&pipeline) {
            tracing::warn!("a pipeline did not reach the Null state");
        }
        drop(pipeline);
        // Nobody waits any more once the deadline has passed.
        let _ = done.send(());
    });
    if let Err(error) = thread {
        tracing::error!(%error, "no thread for a teardown");
        return Teardown { took: began.elapsed(), leaked: true };
    }
    let leaked = !matches!(tokio::time::timeout(DEADLINE, finished).await, Ok(Ok(())));
    if leaked {
        tracing::error!("a pipeline did not come down within its deadline and is left behind");
    }
    Teardown { took: began.elapsed(), leaked }
}

/// How often a pipeline is asked to stop: more than it should ever take.
const ATTEMPTS: usize = 5;

/// Sets a pipeline to Null with everything in it; false when something stays up, and must not be freed like that.
///
/// A bin that is Null may hold elements that are not. One that fails on its way down stops its bin where it is. And `webrtcbin`'s own thread,
/// amid making a transport, brings its elements to the state that it saw its parent in, which may be gone by then: so are calls that are hung
/// up while they are being made. That thread has ended once the pipeline is Null, so the second look finds everything.
pub(super) fn stop(pipeline: &gst::Pipeline) -> bool {
    (0..ATTEMPTS).any(|_| {
        let stopped = pipeline.set_state(gst::State::Null).is_ok() && pipeline.current_state() == gst::State::Null;
        let mut all_stopped = true;
        for element in pipeline.iterate_recurse().into_iter().flatten() {
            if !stopped || element.current_state() != gst::State::Null {
                all_stopped = false;
                // The next look tells.
                let _ = element.set_state(gst::State::Null);
            }
        }
        stopped && all_stopped
    })
}
