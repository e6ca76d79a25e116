//! Finishes files that were left open: by a kill, a power loss, or a disk that failed.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::RecordedTrack;
use super::disk::DiskError;
use super::read::{ReadError, Reader};

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub bytes: u64,
    pub length: Duration,
    pub tracks: Vec<RecordedTrack>,
    /// It had been finished already, and was left as it is.
    pub already: bool,
}

/// Gives a file that was left open its index and its length, so that players seek in it. What a kill tore off is cut away. Blocks.
///
/// It is done in place, which takes no room on the disk but for the index, and no time but for reading: at every moment, whatever
/// happens, the file can be played. One that is finished is left alone.
///
/// # Errors
/// [`ReadError`]: the file is none of ours, has nothing in it, or is being written; or the disk failed, and it can be tried again.
pub fn finish(path: &Path) -> Result<Finished, ReadError> {
    let mut reader = Reader::open(path)?;
    let tracks: Vec<RecordedTrack> = reader
        .tracks
        .iter()
        .map(|(place, format)| RecordedTrack { side: place.side, kind: place.kind, codec: format.codec })
        .collect();
    let mut muxer = reader.muxer();
    for (place, format) in &reader.tracks {
        if !muxer.add(*place, format) {
            return Err(ReadError::Foreign);
        }
    }
    while let Some(entries) = reader.piece()? {
        for entry in &entries {
            // A piece of sound says itself how long it lasts, in its first bytes or by its size.
            let data = if entry.keyframe && entry.size < 4096 { reader.data(entry)? } else { Vec::new() };
            muxer.note(entry.track, entry.time, entry.keyframe, entry.first.then_some(entry.piece), &data);
        }
    }
    let end = reader.end();
    let length = Duration::from_nanos(muxer.length());
    if length.is_zero() {
        return Err(ReadError::Empty);
    }
    if reader.is_finished {
        let bytes = std::fs::metadata(path).map_err(DiskError::from)?.len();
        return Ok(Finished { bytes, length, tracks, already: true });
    }
    let (tail, head) = muxer.finish(end);
    let file = OpenOptions::new().write(true).open(path).map_err(DiskError::from)?;
    // Who writes it holds a lock, which a kill lets go.
    file.try_lock().map_err(|_| ReadError::Live)?;
    // The index goes over what is torn, and only when it stands on the disk does the head point to it.
    let written = || -> std::io::Result<()> {
        file.write_all_at(&tail, end)?;
        file.set_len(end + tail.len() as u64)?;
        file.sync_data()?;
        file.write_all_at(&head, 0)?;
        file.sync_data()
    };
    written().map_err(DiskError::from)?;
    Ok(Finished { bytes: end + tail.len() as u64, length, tracks, already: false })
}
