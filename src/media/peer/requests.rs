//! Keyframes that the other side asks for (PLI and FIR).

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts requests, and wakes whoever passes them on. However many come, one wake is kept.
#[derive(Debug, Default)]
pub(in crate::media) struct KeyframeRequests {
    count: AtomicU64,
    asked: Notify,
}

impl KeyframeRequests {
    /// On any thread.
    pub(super) fn ask(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.asked.notify_one();
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until there was a request since the last time.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }
}
