//! Where a source's media comes in and goes out to all taps: behind one lock, so that a tap joins between two pictures.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::gop::GopCache;
use super::h264::{self, ParameterSets, read_access_unit};
use super::listener::{Listener, Listeners};
use super::remaking::Remaking;
use super::tap::Queue;
use super::unit::{AudioClock, AudioFormat, Flow, Unit, VideoFormat, audio_units, h264_unit, other_unit, vpx_unit};
use super::vpx;
use crate::endpoint::{VideoCodec, VideoStream};
use crate::media::recorder::Codec;
use crate::media::tap::TapSettings;
use crate::sdp::VideoPlan;

/// Pictures that are looked at for B slices when the parameter sets do not say whether there are any: 10 s at 25 a second.
const LOOKED_AT: u32 = 250;

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
    remaking: Option<Remaking>,
    /// A slice of H.264 refers to pictures that are shown after it.
    b_pictures: bool,
    /// Pictures that were looked at for that.
    looked_at: u32,
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
        state.remaking = None;
        state.b_pictures = false;
        state.looked_at = 0;
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
        let plan = settings.video.map(|(_, plan)| plan);
        let cache = match plan {
            Some(VideoPlan::ToH264) => state.remaking.as_ref().map(|remaking| &remaking.cache),
            Some(_) => Some(&state.cache),
            None => None,
        };
        let cached = cache.into_iter().flat_map(GopCache::burst);
        let burst = cached.filter(|(unit, _)| plan.is_some_and(|plan| unit.flow.is_video_for(plan)));
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
            VideoFormat::Other => None,
        }
    }

    /// Takes a picture of this clock time that cannot go into RTP as it is.
    pub(super) fn other_video(&self, generation: Generation, memory: gst::Memory, keyframe: bool, pts: gst::ClockTime) {
        if let Some(mut state) = self.of(generation) {
            state.add(&other_unit(memory, keyframe, pts));
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

    /// From now on pictures go into `input`, beginning with those since the last keyframe. The time of the newest of these.
    pub(super) fn start_remaking(&self, number: u64, input: gst_app::AppSrc) -> Option<gst::ClockTime> {
        let mut state = self.lock();
        let State { remaking, cache, .. } = &mut *state;
        let remaking = remaking.insert(Remaking::new(number, input));
        remaking.begin(cache)
    }

    pub(super) fn stop_remaking(&self) {
        self.lock().remaking = None;
    }

    /// Takes an access unit of H.264 that was made here, by the transcoder of this number.
    pub(super) fn remade(&self, number: u64, sample: &gst::Sample) {
        let (Some(memory), Some(pts)) = (sample.buffer().and_then(|buffer| buffer.all_memory()), clock_time(sample))
        else {
            return;
        };
        let mut state = self.lock();
        let remaking = state.remaking.as_mut().filter(|remaking| remaking.number == number);
        if let Some(unit) = remaking.and_then(|remaking| remaking.take(memory, pts)) {
            state.give(&unit);
        }
    }

    /// Whether the source's audio is made Opus.
    pub(super) fn transcodes(&self) -> bool {
        self.lock().transcoder.is_some()
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
        let unit = h264_unit(&memory, Flow::Video(VideoFormat::H264), read.keyframe, pts)?;
        if read.new_parameters {
            self.cache.clear();
        }
        self.listeners.picture(Codec::H264, &memory, read.keyframe, pts, read.new_parameters);
        self.add(&unit);
        let (width, height) = self.parameters.picture_size()?;
        let profile_level_id = self.parameters.profile_level_id();
        let reordered = self.parameters.reordered().unwrap_or_else(|| {
            // Nothing says so before it is seen, and it is seen soon or never.
            if self.looked_at < LOOKED_AT && !self.b_pictures {
                self.looked_at += 1;
                self.b_pictures = memory.map_readable().is_ok_and(|unit| h264::has_b_slice(&unit));
            }
            self.b_pictures
        });
        Some(VideoStream { codec: VideoCodec::H264, profile_level_id, width, height, reordered, to_h264: false })
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
        self.add(&unit);
        let (width, height) = self.picture_size?;
        let codec = match (codec, frame.profile) {
            (vpx::Codec::Vp8, _) => VideoCodec::Vp8,
            (vpx::Codec::Vp9, 0) => VideoCodec::Vp9,
            (vpx::Codec::Vp9, profile) => VideoCodec::Other(format!("VP9 of profile {profile}")),
        };
        Some(VideoStream { codec, profile_level_id: None, width, height, reordered: false, to_h264: false })
    }

    fn add(&mut self, unit: &Arc<Unit>) {
        self.cache.push(unit.clone());
        if let Some(remaking) = &mut self.remaking {
            remaking.feed(unit);
        }
        self.give(unit);
    }

    fn give(&mut self, unit: &Arc<Unit>) {
        self.taps.retain(|tap| !tap.is_done());
        for tap in &self.taps {
            tap.offer(unit);
        }
    }
}
