//! What a line shows right now, as JPEG.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::frame::Codec;
use super::picture::{self, PictureError};
use crate::media::SourceError;
use crate::media::hub::{Lease, Listener};

/// For a camera's next keyframe, when there was none yet.
const KEYFRAME_WITHIN: Duration = Duration::from_secs(15);

/// Why a line has no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("{0}")]
    Source(#[from] SourceError),
    #[error("{0}")]
    Picture(#[from] PictureError),
}

type Keyframe = (Codec, gst::Memory);

/// Waits for a keyframe, which a hub that has one gives at once.
struct First(Mutex<Option<oneshot::Sender<Keyframe>>>);

impl Listener for First {
    fn picture(&self, codec: Codec, data: &gst::Memory, keyframe: bool, _: gst::ClockTime) {
        if keyframe && let Some(tell) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = tell.send((codec, data.clone()));
        }
    }

    fn sound(&self, _: &gst::Sample, _: gst::ClockTime) {}
}

/// The last keyframe of the source, which is opened if it is not open.
///
/// # Errors
/// [`SnapshotError`].
pub(in crate::media) async fn snapshot(lease: Lease) -> Result<Vec<u8>, SnapshotError> {
    if lease.streams().await?.video.is_none() {
        return Err(PictureError::None.into());
    }
    let (tell, keyframe) = oneshot::channel();
    let listening = lease.listen(Arc::new(First(Mutex::new(Some(tell)))));
    let keyframe = tokio::time::timeout(KEYFRAME_WITHIN, keyframe).await;
    drop(listening);
    let Ok(Ok((codec, data))) = keyframe else { return Err(PictureError::None.into()) };
    let decoded = tokio::task::spawn_blocking(move || {
        let data = data.map_readable().map_err(|_| PictureError::Undecodable)?;
        picture::snapshot(codec, &data)
    });
    Ok(decoded.await.unwrap_or(Err(PictureError::Undecodable))?)
}
