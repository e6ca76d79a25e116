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
        let null = pipeline.set_state(gst::State::Null);
        if null.is_err() {
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
