//! What is done at the start: the index is made anew from the sidecars, and what a dead process left open is finished.

use std::sync::Arc;

use super::{Shelf, blocking, one};
use crate::gateway::clock::Clock;
use crate::gateway::fact::Fact;
use crate::media;
use crate::recording::{End, RecordingId};
use crate::store::KeptRecording;

/// Brings everything before `since` in order. Takes as long as it takes: calls and new recordings do not wait for it.
pub(super) async fn recover(shelf: Arc<Shelf>, since: RecordingId) {
    let looking = shelf.clone();
    let looked = blocking(move || {
        looking.folder.make()?;
        let found = looking.folder.look()?;
        let indexed = looking.store.reindex_recordings(&found, since).map_err(std::io::Error::other);
        // A recording that cannot be listed is finished all the same.
        if let Err(error) = indexed {
            tracing::error!(%error, "the recordings cannot be indexed");
        }
        Ok(found)
    });
    let found = match looked.await.and_then(|found| found) {
        Ok(found) => found,
        Err(error) => {
            shelf.facts.record(&Fact::NoRecordingFolder { folder: &shelf.settings.directory, error: &error });
            return;
        }
    };
    let before = |kept: &KeptRecording| kept.sidecar.id < since;
    let undone = |kept: &KeptRecording| kept.sidecar.end == End::Open || kept.sidecar.sha256.is_none();
    shelf.facts.record(&Fact::RecordingsFound { recordings: found.len() });
    let undone: Vec<KeptRecording> = found.into_iter().filter(|kept| before(kept) && undone(kept)).collect();
    undone.iter().for_each(|kept| shelf.busy_with(kept.sidecar.id));
    for kept in undone {
        let id = kept.sidecar.id;
        if kept.sidecar.end == End::Open {
            finish(&shelf, kept).await;
        } else {
            shelf.complete(kept).await;
        }
        shelf.done_with(id);
    }
}

/// Finishes a recording whose process died over it.
async fn finish(shelf: &Arc<Shelf>, mut kept: KeptRecording) {
    let (looking, file) = (shelf.clone(), kept.file.clone());
    // When it was last written to, which finishing changes.
    let ended = blocking(move || looking.folder.written_at(&file)).await.ok().flatten();
    let empty = kept.sidecar.bytes == 0 && {
        let (looking, file) = (shelf.clone(), kept.file.clone());
        let size = blocking(move || std::fs::metadata(looking.folder.path(&file)).map_or(0, |file| file.len())).await;
        size.is_ok_and(|size| size == 0)
    };
    if empty {
        // It died before the first media came.
        return shelf.remove(&kept).await;
    }
    let path = shelf.folder.path(&kept.file);
    let finished = {
        let Ok(_turn) = shelf.finishing.acquire().await else { return };
        blocking(move || media::recorder::finish(&path)).await
    };
    match finished {
        Ok(Ok(finished)) => kept.sidecar.tracks = one::tracks_of(&finished.tracks),
        // What cannot be finished is kept as it is: most of it plays.
        Ok(Err(error)) => tracing::warn!(file = kept.file, %error, "a recording cannot be finished"),
        Err(error) => tracing::warn!(file = kept.file, %error, "a recording cannot be finished"),
    }
    kept.sidecar.ended = Some(ended.unwrap_or_else(|| Clock::start().now()));
    kept.sidecar.end = End::Recovered;
    shelf.keep(&kept).await;
    shelf.facts.record(&Fact::RecordingRecovered { recording: kept.sidecar.id, file: &kept.file });
    shelf.complete(kept).await;
}
