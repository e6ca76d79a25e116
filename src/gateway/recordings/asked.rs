//! What people ask of recordings, by the API.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;

use super::folder::NoPlace;
use super::{Shelf, Told, Wanted, blocking};
use crate::gateway::Gateway;
use crate::gateway::fact::Fact;
use crate::media::{Command, LineName, SnapshotError, SourceError};
use crate::recording::{Record, RecordingId, poster_of};
use crate::store::{KeptRecording, RecordingFilter, StoreError};

/// Why nothing is recorded, or stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("no such line")]
    NoSuchLine,
    #[error("the line is recorded already")]
    RecordedAlready,
    #[error("the line is not recorded, but perhaps with a call")]
    NotRecorded,
    /// In words.
    #[error("{0}")]
    Disk(String),
    #[error("the gateway is shutting down")]
    Draining,
}

impl RecordError {
    pub(super) fn of(error: &NoPlace) -> Self {
        Self::Disk(error.to_string())
    }
}

/// Why a recording is not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("no such recording")]
    NoSuchRecording,
    #[error("it is in progress")]
    InProgress,
    #[error("it cannot be deleted: {0}")]
    Failed(String),
}

/// A recording and where its files are.
#[derive(Debug, Clone)]
pub struct RecordingFile {
    pub recording: KeptRecording,
    pub media: PathBuf,
    /// There may be none.
    pub poster: PathBuf,
}

/// Blocks.
pub(super) fn delete(shelf: &Shelf, id: RecordingId, busy: bool) -> Result<(), DeleteError> {
    let kept = shelf.store.recording(id).map_err(|error| DeleteError::Failed(error.to_string()))?;
    let kept = kept.ok_or(DeleteError::NoSuchRecording)?;
    if busy {
        return Err(DeleteError::InProgress);
    }
    shelf.remove_now(&kept).map_err(|error| DeleteError::Failed(error.to_string()))?;
    shelf.facts.record(&Fact::RecordingDeleted { recording: id, file: &kept.file, why: "asked" });
    Ok(())
}

impl Gateway {
    /// Recordings that the filter likes, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recordings(&self, filter: RecordingFilter, limit: usize) -> Result<Vec<KeptRecording>, StoreError> {
        let shelf = self.recordings.shelf.clone();
        let asked = blocking(move || shelf.store.recordings(&filter, limit)).await;
        asked.unwrap_or_else(|error| Err(StoreError::Sqlite(PathBuf::new(), error.to_string())))
    }

    /// One recording, and where its files are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recording(&self, id: RecordingId) -> Result<Option<RecordingFile>, StoreError> {
        let shelf = self.recordings.shelf.clone();
        let asked = blocking(move || shelf.store.recording(id)).await;
        let kept = asked.unwrap_or_else(|error| Err(StoreError::Sqlite(PathBuf::new(), error.to_string())))?;
        Ok(kept.map(|recording| RecordingFile {
            media: self.recordings.shelf.path(&recording.file),
            poster: self.recordings.shelf.path(&poster_of(&recording.file)),
            recording,
        }))
    }

    /// Deletes a recording that is not in progress.
    ///
    /// # Errors
    /// [`DeleteError`].
    pub async fn delete_recording(&self, id: RecordingId) -> Result<(), DeleteError> {
        let (done, answer) = oneshot::channel();
        let gone = || DeleteError::Failed("the gateway is shutting down".to_owned());
        self.recordings.told.send(Told::Delete(id, done)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Records a line without a call, for this long at most; returns when it has begun.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn record(&self, line: LineName, max_length: Duration) -> Result<RecordingId, RecordError> {
        let (line_key, _) = self.policies.get(&line.0).ok_or(RecordError::NoSuchLine)?;
        let wanted =
            Wanted { line, line_key: *line_key, call: None, record: Record::Line, max_length: Some(max_length) };
        let (begun, answer) = oneshot::channel();
        self.ask(Told::Begin(Box::new(wanted), Some(begun)), answer).await
    }

    /// Ends the recording that [`Gateway::record`] began; returns as soon as that is decided.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn stop_recording(&self, line: LineName) -> Result<RecordingId, RecordError> {
        if !self.policies.contains_key(&line.0) {
            return Err(RecordError::NoSuchLine);
        }
        let (done, answer) = oneshot::channel();
        self.ask(Told::Stop(line, done), answer).await
    }

    /// A JPEG of what a line shows now; its source is opened if it is not.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn snapshot(&self, line: LineName) -> Result<Vec<u8>, SnapshotError> {
        let (reply, answer) = oneshot::channel();
        self.recordings.shelf.media.send(Command::Snapshot { line, reply }).await;
        // Media that has shut down has no lines any more.
        answer.await.unwrap_or(Err(SnapshotError::Source(SourceError::NoSuchLine)))
    }

    async fn ask(
        &self,
        told: Told,
        answer: oneshot::Receiver<Result<RecordingId, RecordError>>,
    ) -> Result<RecordingId, RecordError> {
        if self.recordings.told.send(told).await.is_err() {
            return Err(RecordError::Draining);
        }
        answer.await.unwrap_or(Err(RecordError::Draining))
    }
}
