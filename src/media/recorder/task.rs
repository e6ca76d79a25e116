//! A recording's task: from the command to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::disk::DiskError;
use super::files::Names;
use super::inlet::Inlet;
use super::writer::{self, Outcome, WriterSettings};
use super::{RecordSettings, RecordingEnd, RecordingId, RecordingNews};
use crate::media::hub::Lease;
use crate::media::peer::incoming::Incoming;
use crate::media::{CallId, Event, SourceError};

/// For what waits to be written, and the file's end. A disk that takes longer is left with its thread.
const FINISH: Duration = Duration::from_secs(6);

/// A recording as the media actor holds it.
pub(in crate::media) struct Recording {
    pub(in crate::media) call: Option<CallId>,
    inlet: Arc<Inlet>,
    task: tokio::task::AbortHandle,
}

impl Recording {
    pub(in crate::media) fn stop(&self, why: RecordingEnd) {
        self.inlet.stop(why);
    }

    pub(in crate::media) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// Begins a recording of what `lease`'s source and the caller of `incoming` send, which tells everything by events; the last is [`RecordingNews::Ended`].
pub(in crate::media) fn begin(
    settings: RecordSettings,
    lease: Arc<Lease>,
    incoming: Option<Arc<Incoming>>,
    events: mpsc::Sender<Event>,
    tasks: &tokio_util::task::TaskTracker,
) -> Recording {
    let inlet = Arc::new(Inlet::default());
    let call = settings.call;
    let task = tasks.spawn(run(settings, lease, incoming, inlet.clone(), events)).abort_handle();
    Recording { call, inlet, task }
}

async fn run(
    settings: RecordSettings,
    lease: Arc<Lease>,
    incoming: Option<Arc<Incoming>>,
    inlet: Arc<Inlet>,
    events: mpsc::Sender<Event>,
) {
    let id = settings.id;
    let (done, mut outcome) = oneshot::channel();
    let told = events.clone();
    let tell = move |news| tell(&told, id, news);
    let started =
        writer::start(writer_settings(&settings), inlet.clone(), tell, move |outcome| drop(done.send(outcome)));
    if let Err(error) = started {
        inlet.stop(RecordingEnd::Disk(DiskError::Failed(error.to_string())));
    }
    let recorded = incoming.filter(|_| settings.sides.caller()).map(|incoming| incoming.record(inlet.clone()));
    let listening = settings.sides.line().then(|| lease.listen(inlet.clone()));
    let ended = tokio::select! {
        biased;
        outcome = &mut outcome => Some(outcome),
        () = inlet.stopping() => None,
        error = never_opens(&lease, settings.call.is_some()) => {
            inlet.stop(RecordingEnd::Source(error));
            None
        }
    };
    drop((listening, recorded, lease));
    let ended = match ended {
        Some(outcome) => outcome.ok(),
        None => tokio::time::timeout(FINISH, outcome).await.ok().and_then(Result::ok),
    };
    let ended = ended.unwrap_or_else(|| {
        // The thread is in the disk's hands, or has died.
        tracing::error!(recording = %id, "a recording did not end within its deadline");
        let why = RecordingEnd::Disk(DiskError::Stuck);
        Outcome { why, files: 0, bytes: 0, length: Duration::ZERO, frames: 0, lost: 0 }
    });
    let Outcome { why, files, bytes, length, lost, .. } = ended;
    let news = RecordingNews::Ended { why, files, bytes, length, lost };
    let _ = events.send(Event::Recording { id, news }).await;
}

/// Why the source of a recording without a call cannot be opened. A call's own source was opened for the call.
async fn never_opens(lease: &Lease, has_call: bool) -> SourceError {
    if !has_call && let Err(error) = lease.streams().await {
        return error;
    }
    std::future::pending().await
}

fn writer_settings(settings: &RecordSettings) -> WriterSettings {
    let mut first = settings.path.clone().into_os_string();
    first.push(".");
    first.push(settings.container.extension());
    WriterSettings {
        names: Names { first: first.into(), container: settings.container, replaced: false },
        segment: settings.segment,
        max_length: settings.max_length,
    }
}

/// On the writer's thread. Progress that finds no room is superseded by the next; all else waits.
fn tell(events: &mpsc::Sender<Event>, id: RecordingId, news: RecordingNews) {
    let passing = matches!(news, RecordingNews::Progress { .. });
    let event = Event::Recording { id, news };
    if passing {
        let _ = events.try_send(event);
    } else {
        let _ = events.blocking_send(event);
    }
}
