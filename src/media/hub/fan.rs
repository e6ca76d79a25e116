//! Where a source's media comes in and goes out to all taps: behind one lock, so that a tap joins between two pictures.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::gop::GopCache;
use super::h264::{ParameterSets, read_access_unit};
use super::listener::{Listener, Listeners};
use super::tap::Queue;
use super::unit::{AudioClock, AudioFormat, Flow, Unit, VideoFormat, audio_units, h264_unit, vpx_unit};
use super::vpx;
use crate::endpoint::{VideoCodec, VideoStream};
use crate::media::recorder::Codec;
use crate::media::tap::TapSettings;

/// The hub's switch. No call under its lock blocks: queues are bounded, and the transcoder's input is leaky.
#[derive(Default)]
pub(super) struct Fan(Mutex<State>);

/// Which opening of the source a buffer belongs to; those of an earlier one are dropped.
pub(super) type Generation = u64;

#[derive(Default)]
struct State {
    generation: Generation,
    cache: GopCache<Unit>,
    parameters: ParameterSets,
    /// Width and height of VP8 or VP9, as the last keyframe had them.
    picture_size: Option<(u32, u32)>,
    native_clock: AudioClock,
    transcoded_clock: AudioClock,
    taps: Vec<Arc<Queue>>,
    listeners: Listeners,
    transcoder: Option<gst_app::AppSrc>,
    last_media: Option<Instant>,
}

impl Fan {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, generation: Generation) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.generation != generation {
            return None;
        }
        state.last_media = Some(Instant::now());
        Some(state)
    }

    /// Starts over: what an earlier opening still delivers is dropped, and taps go on with the next keyframe.
    pub(super) fn begin(&self, generation: Generation) {
        let mut state = self.lock();
        state.generation = generation;
        state.cache.clear();
        state.listeners.begin();
        state.parameters = ParameterSets::default();
        state.picture_size = None;
        state.last_media = None;
        state.transcoder = None;
        for tap in &state.taps {
            tap.interrupt();
        }
    }

    /// When the source last sent something that matters: video if it has any.
    pub(super) fn last_media(&self) -> Option<Instant> {
        self.lock().last_media
    }

    /// Puts a tap in, between two pictures: it starts with the cached ones, and the next live one queues behind them.
    pub(super) fn join(&self, settings: TapSettings) -> Arc<Queue> {
        let mut state = self.lock();
        let burst = state.cache.burst().filter(|_| settings.video.is_some());
        let queue = Arc::new(Queue::new(settings, burst));
        state.taps.push(queue.clone());
        queue
    }

    pub(super) fn leave(&self, queue: &Arc<Queue>) {
        self.lock().taps.retain(|tap| !Arc::ptr_eq(tap, queue));
    }

    /// Puts a listener in, between two pictures: it is given the cached ones at once.
    pub(super) fn listen(&self, listener: Arc<dyn Listener>) {
        self.lock().listeners.join(listener);
    }

    pub(super) fn silence(&self, listener: &Arc<dyn Listener>) {
        self.lock().listeners.leave(listener);
    }

    /// Media came that only says that the source lives.
    pub(super) fn alive(&self, generation: Generation) {
        drop(self.of(generation));
    }

    /// Takes a picture of this clock time. What its stream is, once there was a keyframe.
    pub(super) fn video(
        &self,
        generation: Generation,
        format: VideoFormat,
        memory: gst::Memory,
        pts: gst::ClockTime,
    ) -> Option<VideoStream> {
        let mut state = self.of(generation)?;
        match format {
            VideoFormat::H264 => state.h264(memory, pts),
            VideoFormat::Vp8 => state.vpx(vpx::Codec::Vp8, &memory, pts),
            VideoFormat::Vp9 => state.vpx(vpx::Codec::Vp9, &memory, pts),
        }
    }

    /// Takes a buffer of the source's own audio: to the transcoder, and to the taps when it goes as it is.
    pub(super) fn audio(&self, generation: Generation, sample: &gst::Sample, format: Option<AudioFormat>, alone: bool) {
        let Some(buffer) = sample.buffer() else { return };
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        // Beside a picture, audio says nothing of the picture's health.
        if alone {
            state.last_media = Some(Instant::now());
        }
        if let Some(transcoder) = &state.transcoder {
            // Flushing: it is being taken down.
            let _ = transcoder.push_sample(sample);
        }
        let pts = clock_time(sample);
        if let Some(pts) = pts {
            state.listeners.sound(sample, pts);
        }
        if let (Some(format), Some(pts)) = (format, pts) {
            let units = audio_units(buffer, Flow::Native(format), format, pts, &mut state.native_clock);
            units.iter().for_each(|unit| state.give(unit));
        }
    }

    /// Takes a buffer of Opus that was encoded here.
    pub(super) fn transcoded(&self, sample: &gst::Sample) {
        let (Some(buffer), Some(pts)) = (sample.buffer(), clock_time(sample)) else { return };
        let mut state = self.lock();
        let units = audio_units(buffer, Flow::Transcoded, AudioFormat::Opus, pts, &mut state.transcoded_clock);
        units.iter().for_each(|unit| state.give(unit));
    }

    pub(super) fn set_transcoder(&self, input: Option<gst_app::AppSrc>) {
        self.lock().transcoder = input;
    }
}

/// When a sample was taken, as the system clock says: its running time, since all pipelines have base time 0. Its PTS alone is
/// not enough (`x264enc` shifts both PTS and segment by 1000 hours).
pub(super) fn clock_time(sample: &gst::Sample) -> Option<gst::ClockTime> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(sample.buffer()?.pts()?)
}

impl State {
    fn h264(&mut self, mut memory: gst::Memory, pts: gst::ClockTime) -> Option<VideoStream> {
        let read = read_access_unit(&memory.map_readable().ok()?, &mut self.parameters);
        if let Some(completed) = read.completed {
            memory = gst::Memory::from_slice(completed);
        }
        let unit = h264_unit(&memory, read.keyframe, pts)?;
        if read.new_parameters {
            self.cache.clear();
        }
        self.listeners.picture(Codec::H264, &memory, read.keyframe, pts, read.new_parameters);
        self.cache.push(unit.clone());
        self.give(&unit);
        let (width, height) = self.parameters.picture_size()?;
        let profile_level_id = self.parameters.profile_level_id();
        Some(VideoStream { codec: VideoCodec::H264, profile_level_id, width, height })
    }

    fn vpx(&mut self, codec: vpx::Codec, memory: &gst::Memory, pts: gst::ClockTime) -> Option<VideoStream> {
        let frame = vpx::Frame::read(codec, &memory.map_readable().ok()?)?;
        let unit = vpx_unit(&frame, memory, pts)?;
        self.picture_size = frame.size.or(self.picture_size);
        let recorded = match codec {
            vpx::Codec::Vp8 => Codec::Vp8,
            vpx::Codec::Vp9 => Codec::Vp9,
        };
        self.listeners.picture(recorded, memory, frame.keyframe, pts, false);
        self.cache.push(unit.clone());
        self.give(&unit);
        let (width, height) = self.picture_size?;
        let codec = match (codec, frame.profile) {
            (vpx::Codec::Vp8, _) => VideoCodec::Vp8,
            (vpx::Codec::Vp9, 0) => VideoCodec::Vp9,
            (vpx::Codec::Vp9, profile) => VideoCodec::Other(format!("VP9 of profile {profile}")),
        };
        Some(VideoStream { codec, profile_level_id: None, width, height })
    }

    fn give(&mut self, unit: &Arc<Unit>) {
        self.taps.retain(|tap| !tap.is_done());
        for tap in &self.taps {
            tap.offer(unit);
        }
    }
}
