//! The fan's side of the video transcoder: what goes into it, and what came out of it.

use std::sync::Arc;

use super::gop::GopCache;
use super::h264::{ParameterSets, read_access_unit};
use super::unit::{Flow, Unit, h264_unit};

/// Pictures that may wait to be decoded, besides those that a transcoder starts with: 2 s at 25 a second. When there are more, pictures
/// are left out up to the next keyframe.
const MAX_WAITING: u64 = 50;

/// A transcoder at work.
pub(super) struct Remaking {
    pub(super) number: u64,
    input: gst_app::AppSrc,
    /// How many pictures may wait now.
    most: u64,
    /// Nothing but a keyframe may come next.
    needs_keyframe: bool,
    /// What was made since the last keyframe.
    pub(super) cache: GopCache<Unit>,
    parameters: ParameterSets,
}

impl Remaking {
    pub(super) fn new(number: u64, input: gst_app::AppSrc) -> Remaking {
        let (cache, parameters) = (GopCache::default(), ParameterSets::default());
        Remaking { number, input, most: MAX_WAITING, needs_keyframe: true, cache, parameters }
    }

    /// Decodes the source's pictures since its last keyframe, so that the next one can be decoded too. The time of the newest.
    pub(super) fn begin(&mut self, source: &GopCache<Unit>) -> Option<gst::ClockTime> {
        let pictures: Vec<Arc<Unit>> = source.burst().map(|(unit, _)| unit).collect();
        self.most = MAX_WAITING + pictures.len() as u64;
        pictures.iter().for_each(|unit| self.feed(unit));
        pictures.iter().map(|unit| unit.pts).max()
    }

    /// Hands a picture of the source to the decoder. Never blocks.
    pub(super) fn feed(&mut self, unit: &Unit) {
        let waiting = self.input.current_level_buffers();
        if waiting < MAX_WAITING {
            self.most = MAX_WAITING;
        }
        if waiting >= self.most {
            self.needs_keyframe = true;
            return;
        }
        let Some(picture) = unit.picture.clone().filter(|_| unit.keyframe || !self.needs_keyframe) else { return };
        self.needs_keyframe = false;
        let mut buffer = gst::Buffer::new();
        if let Some(buffer) = buffer.get_mut() {
            buffer.append_memory(picture);
            buffer.set_pts(unit.pts);
            if !unit.keyframe {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        // Flushing: it is being taken down.
        let _ = self.input.push_buffer(buffer);
    }

    /// Takes an access unit that was made.
    pub(super) fn take(&mut self, mut memory: gst::Memory, pts: gst::ClockTime) -> Option<Arc<Unit>> {
        let read = read_access_unit(&memory.map_readable().ok()?, &mut self.parameters);
        if let Some(completed) = read.completed {
            memory = gst::Memory::from_slice(completed);
        }
        let unit = h264_unit(&memory, Flow::Remade, read.keyframe, pts)?;
        self.cache.push(unit.clone());
        Some(unit)
    }
}
