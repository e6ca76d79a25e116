//! Who takes what a source sends as it came: whole pictures and buffers of sound, not RTP. The way to a recording.

use std::sync::Arc;

use gst::ClockTime;

use super::gop::{GopCache, Picture};
use crate::media::recorder::Codec;

/// Takes a source's media on the source's own threads, under the hub's lock: it must not wait for anything.
pub(in crate::media) trait Listener: Send + Sync {
    /// A whole picture; H.264 as a byte stream, parameter sets before each keyframe.
    fn picture(&self, codec: Codec, data: &gst::Memory, keyframe: bool, pts: ClockTime);
    /// A buffer of encoded sound, with its caps.
    fn sound(&self, sample: &gst::Sample, pts: ClockTime);
}

/// A whole picture.
struct Whole {
    codec: Codec,
    data: gst::Memory,
    keyframe: bool,
    pts: ClockTime,
}

impl Picture for Whole {
    fn keyframe(&self) -> bool {
        self.keyframe
    }
    fn bytes(&self) -> usize {
        self.data.size()
    }
    fn pts(&self) -> ClockTime {
        self.pts
    }
}

/// The hub's listeners, and the pictures that a new one begins with.
#[derive(Default)]
pub(super) struct Listeners {
    all: Vec<Arc<dyn Listener>>,
    /// Shares its memory with the packets that were made of the same pictures.
    cache: GopCache<Whole>,
}

impl Listeners {
    /// What follows is from a new beginning on.
    pub(super) fn begin(&mut self) {
        self.cache.clear();
    }

    /// Gives a new listener the pictures since the last keyframe, 1 ms apart up to now, and from then on what comes.
    pub(super) fn join(&mut self, listener: Arc<dyn Listener>) {
        for (picture, pts) in self.cache.burst() {
            listener.picture(picture.codec, &picture.data, picture.keyframe, pts);
        }
        self.all.push(listener);
    }

    pub(super) fn leave(&mut self, listener: &Arc<dyn Listener>) {
        self.all.retain(|other| !Arc::ptr_eq(other, listener));
    }

    /// A picture; `fresh`: those before it are of another stream.
    pub(super) fn picture(&mut self, codec: Codec, data: &gst::Memory, keyframe: bool, pts: ClockTime, fresh: bool) {
        if fresh {
            self.cache.clear();
        }
        for listener in &self.all {
            listener.picture(codec, data, keyframe, pts);
        }
        self.cache.push(Arc::new(Whole { codec, data: data.clone(), keyframe, pts }));
    }

    pub(super) fn sound(&self, sample: &gst::Sample, pts: ClockTime) {
        for listener in &self.all {
            listener.sound(sample, pts);
        }
    }
}
