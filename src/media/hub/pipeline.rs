//! What all the hub's pipelines share: one time base, errors that reach the hub, an end with a deadline.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use gst::prelude::*;

use crate::media::SourceError;

/// How long a pipeline may take to stop. `rtspsrc` says goodbye to its server, which takes its `teardown-timeout` at most.
const TEARDOWN: Duration = Duration::from_secs(5);

/// A pipeline on the system clock with base time 0: a buffer's PTS is the clock's time, in this pipeline and in all others.
pub(super) fn pipeline(name: &str) -> gst::Pipeline {
    let pipeline = gst::Pipeline::with_name(name);
    on_clock_time(&pipeline);
    pipeline
}

/// See [`pipeline`].
pub(super) fn on_clock_time(pipeline: &gst::Pipeline) {
    pipeline.use_clock(Some(&gst::SystemClock::obtain()));
    pipeline.set_start_time(gst::ClockTime::NONE);
    pipeline.set_base_time(gst::ClockTime::ZERO);
}

/// Makes an element, naming it in the error.
pub(super) fn element(factory: &str) -> Result<gst::Element, SourceError> {
    gst::ElementFactory::make(factory).build().map_err(|_| SourceError::GStreamer(format!("no element {factory}")))
}

/// An `appsink` that hands every sample to `take`, on the streaming thread and at once.
pub(super) fn sink(mut take: impl FnMut(&gst::Sample) + Send + 'static) -> gst_app::AppSink {
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            take(&sample);
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    // Nothing waits in it: the callback takes each sample as it comes.
    gst_app::AppSink::builder().sync(false).async_(false).max_buffers(1).callbacks(callbacks).build()
}

/// Calls `failed` when the pipeline posts an error or ends; from the thread that posted it.
pub(super) fn watch(pipeline: &gst::Pipeline, failed: impl Fn(Failure) + Send + Sync + 'static) {
    let Some(bus) = pipeline.bus() else { return };
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => {
                failed(Failure::Error(error.error(), error.details().map(ToOwned::to_owned)))
            }
            gst::MessageView::Eos(_) => failed(Failure::End),
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// What ended a pipeline.
pub(super) enum Failure {
    /// With the details that `rtspsrc` and others add.
    Error(glib::Error, Option<gst::Structure>),
    End,
}

/// Stops a pipeline from a thread of its own, which is no streaming thread. One that is not down after the deadline is left
/// behind with that thread: GStreamer can hang here, and the hub must not.
pub(super) fn bring_down(pipeline: gst::Pipeline) {
    let (down, is_down) = sync_channel(1);
    let name = pipeline.name();
    let spawned = std::thread::Builder::new().name("teardown".into()).spawn(move || {
        let stopped = pipeline.set_state(gst::State::Null);
        if let Some(bus) = pipeline.bus() {
            bus.unset_sync_handler();
        }
        drop(pipeline);
        let _ = down.send(stopped);
    });
    match spawned.map(|_| is_down.recv_timeout(TEARDOWN)) {
        Ok(Ok(Ok(_))) => {}
        Ok(Ok(Err(_))) => tracing::warn!(pipeline = %name, "a pipeline would not stop"),
        Ok(Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => {
            tracing::error!(pipeline = %name, "a pipeline did not stop within its deadline and is left behind");
        }
        Err(error) => tracing::error!(pipeline = %name, %error, "no thread to stop a pipeline with"),
    }
}
