//! One consumer of a hub: a bounded queue, and a thread that empties it into a sink.
//!
//! The hub's thread only ever appends to the queue, so a sink that blocks costs its own tap and nobody else.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gst::ClockTime;

use super::unit::{Unit, VIDEO_CLOCK, ticks};
use crate::media::TrackStats;
use crate::media::tap::{PacketSink, RtpFields, SinkGone, TapSettings, TapStats, Track};

/// Pictures that may wait for a sink: 5 s at 30 a second. When it fills, pictures are dropped up to the next keyframe.
const MAX_PICTURES: usize = 150;
/// Bytes of pictures that may wait for a sink: 4 s at 8 Mbit/s.
const MAX_BYTES: usize = 4 << 20;
/// Audio frames that may wait for a sink: 1 s of 20 ms each. When it fills, the oldest is dropped.
const MAX_AUDIO: usize = 50;
/// A burst goes out so many packets at a time, at [`BURST_BITS`].
const BURST_PACKETS: usize = 8;
/// Bits a second of a burst. Unpaced it overruns a receiver's socket buffer (208 KiB by Linux' default); at 20 Mbit/s catching
/// up takes seconds.
const BURST_BITS: u64 = 100_000_000;
/// How long dropping a tap waits for a push that is under way. A sink that is stuck for longer is left to its thread.
const DETACH: Duration = Duration::from_millis(250);

/// A tap's queue, shared by the hub (which fills it), the tap's thread (which empties it) and the handle.
pub(super) struct Queue {
    pub(super) settings: TapSettings,
    inner: Mutex<Inner>,
    wake: Condvar,
}

#[derive(Default)]
struct Inner {
    video: VecDeque<Queued>,
    /// Of the pictures in `video` that are not of the burst.
    live: usize,
    live_bytes: usize,
    audio: VecDeque<Arc<Unit>>,
    /// Nothing but a keyframe may come next.
    needs_keyframe: bool,
    /// That is so because the queue was full.
    behind: bool,
    /// Pictures behind the live edge are paced until the queue was empty once: those of the burst, and those that a source sends at once
    /// after it was held up.
    catching_up: bool,
    stop: bool,
    /// The thread has ended, and with it the sink.
    done: bool,
    stats: TapStats,
}

struct Queued {
    unit: Arc<Unit>,
    pts: ClockTime,
    burst: bool,
}

impl Queue {
    /// A queue that starts with `burst`; without one, with the next keyframe.
    pub(super) fn new(settings: TapSettings, burst: impl Iterator<Item = (Arc<Unit>, ClockTime)>) -> Queue {
        let video: VecDeque<Queued> = burst.map(|(unit, pts)| Queued { unit, pts, burst: true }).collect();
        let inner =
            Inner { needs_keyframe: video.is_empty(), catching_up: !video.is_empty(), video, ..Inner::default() };
        Queue { settings, inner: Mutex::new(inner), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread has ended; the queue will take nothing more.
    pub(super) fn is_done(&self) -> bool {
        self.lock().done
    }

    /// Takes a unit from the hub, if this tap wants it. Never blocks for longer than the tap's thread looks at its queue.
    pub(super) fn offer(&self, unit: &Arc<Unit>) {
        let TapSettings { video, audio } = self.settings;
        if video.is_some_and(|(_, plan)| unit.flow.is_video_for(plan)) {
            self.lock().add_picture(unit);
        } else if audio.is_some_and(|(_, plan)| unit.flow.is_for(plan)) {
            let mut inner = self.lock();
            if inner.audio.len() >= MAX_AUDIO {
                inner.audio.pop_front();
            }
            inner.audio.push_back(unit.clone());
        } else {
            return;
        }
        self.wake.notify_all();
    }

    /// The stream was interrupted: what follows makes sense from a keyframe on.
    pub(super) fn interrupt(&self) {
        self.lock().needs_keyframe = true;
    }

    pub(super) fn stats(&self) -> TapStats {
        self.lock().stats
    }

    /// Stops the thread, and waits a little for it.
    pub(super) fn stop(&self) {
        let mut inner = self.lock();
        inner.stop = true;
        self.wake.notify_all();
        let deadline = Instant::now() + DETACH;
        while !inner.done {
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            inner = self.wake.wait_timeout(inner, deadline - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn add_sent(&self, track: Track, packets: usize, bytes: usize, frames: u64) {
        let mut inner = self.lock();
        let stats: &mut TrackStats = match track {
            Track::Video => &mut inner.stats.video,
            Track::Audio => &mut inner.stats.audio,
        };
        stats.packets += packets as u64;
        stats.bytes += bytes as u64;
        stats.frames += frames;
    }
}

impl Inner {
    fn add_picture(&mut self, unit: &Arc<Unit>) {
        if self.live >= MAX_PICTURES || self.live_bytes + unit.bytes > MAX_BYTES && self.live > 0 {
            self.skip_to_keyframe();
        }
        if self.needs_keyframe && !unit.keyframe {
            self.stats.frames_skipped += u64::from(self.behind);
            return;
        }
        self.needs_keyframe = false;
        self.behind = false;
        self.live += 1;
        self.live_bytes += unit.bytes;
        self.catching_up |= self.live > 1;
        self.video.push_back(Queued { unit: unit.clone(), pts: unit.pts, burst: false });
    }

    /// Drops the oldest pictures up to a keyframe that waits behind them, or all of them and what comes until there is one.
    fn skip_to_keyframe(&mut self) {
        loop {
            if self.pop_picture().is_some() {
                self.stats.frames_skipped += 1;
            }
            match self.video.front() {
                Some(next) if next.unit.keyframe => return,
                Some(_) => {}
                None => {
                    self.needs_keyframe = true;
                    self.behind = true;
                    return;
                }
            }
        }
    }

    fn pop_picture(&mut self) -> Option<Queued> {
        let queued = self.video.pop_front()?;
        if !queued.burst {
            self.live -= 1;
            self.live_bytes -= queued.unit.bytes;
        }
        Some(queued)
    }
}

/// Starts the thread that empties `queue` into `sink`.
///
/// # Errors
/// The operating system refused a thread.
pub(super) fn start(queue: Arc<Queue>, sink: Box<dyn PacketSink>) -> std::io::Result<()> {
    std::thread::Builder::new().name("tap".into()).spawn(move || run(&queue, sink)).map(drop)
}

/// Marks the queue as done however the thread ends.
struct Done<'a>(&'a Queue);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        *inner = Inner { stop: true, done: true, stats: inner.stats, ..Inner::default() };
        self.0.wake.notify_all();
    }
}

/// A picture of a burst that is partly sent.
struct Partial {
    queued: Queued,
    sent: usize,
}

enum Work {
    Audio(Arc<Unit>),
    Picture(Queued),
    Part,
}

fn run(queue: &Queue, mut sink: Box<dyn PacketSink>) {
    let done = Done(queue);
    let mut video = queue.settings.video.map(|(fields, _)| Stamp::new(fields));
    let mut audio = queue.settings.audio.map(|(fields, _)| Stamp::new(fields));
    let mut partial: Option<Partial> = None;
    let mut due = Instant::now();
    while let Some(work) = next_work(queue, partial.is_some(), due) {
        let sent = match (work, &mut video, &mut audio) {
            (Work::Audio(unit), _, Some(stamp)) => {
                push(queue, sink.as_mut(), stamp, Track::Audio, &unit, unit.pts, 0..unit.payloads.len())
            }
            (Work::Picture(queued), Some(stamp), _) if !queue.lock().catching_up => {
                push(queue, sink.as_mut(), stamp, Track::Video, &queued.unit, queued.pts, 0..queued.unit.payloads.len())
            }
            (Work::Picture(queued), _, _) => {
                partial = Some(Partial { queued, sent: 0 });
                Ok(0)
            }
            (Work::Part, Some(stamp), _) => match &mut partial {
                Some(Partial { queued, sent }) => {
                    let part = *sent..queued.unit.payloads.len().min(*sent + BURST_PACKETS);
                    *sent = part.end;
                    let bytes = push(queue, sink.as_mut(), stamp, Track::Video, &queued.unit, queued.pts, part);
                    if *sent == queued.unit.payloads.len() {
                        partial = None;
                    }
                    bytes
                }
                None => Ok(0),
            },
            _ => Ok(0),
        };
        match sent {
            Ok(bytes) => {
                due = due.max(Instant::now()) + Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / BURST_BITS)
            }
            Err(SinkGone) => break,
        }
    }
    // The sink goes first: once the queue says done, nothing of the tap is left.
    drop(sink);
    drop(done);
}

/// Waits for something to send: audio as soon as it is there, pictures of a burst when they are due. `None`: the tap stops.
fn next_work(queue: &Queue, in_part: bool, due: Instant) -> Option<Work> {
    let mut inner = queue.lock();
    loop {
        if inner.stop {
            return None;
        }
        if let Some(unit) = inner.audio.pop_front() {
            return Some(Work::Audio(unit));
        }
        if !in_part && inner.video.is_empty() {
            // Looked at under the lock that live units are queued under: from here on the tap is live.
            inner.catching_up = false;
            inner = queue.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let now = Instant::now();
        if inner.catching_up && now < due {
            inner = queue.wake.wait_timeout(inner, due - now).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        return if in_part { Some(Work::Part) } else { inner.pop_picture().map(Work::Picture) };
    }
}

fn push(
    queue: &Queue,
    sink: &mut dyn PacketSink,
    stamp: &mut Stamp,
    track: Track,
    unit: &Unit,
    pts: ClockTime,
    part: std::ops::Range<usize>,
) -> Result<usize, SinkGone> {
    let last = part.end == unit.payloads.len();
    let packets = part.len();
    let (list, bytes) = stamp.packets(track, unit, pts, part);
    sink.push(track, list)?;
    queue.add_sent(track, packets, bytes, u64::from(last));
    Ok(bytes)
}

/// The header fields of one receiver's RTP stream (RFC 3550, section 5.1).
struct Stamp {
    fields: RtpFields,
    sequence: u16,
    offset: u32,
}

impl Stamp {
    fn new(fields: RtpFields) -> Stamp {
        Stamp { fields, sequence: rand::random(), offset: rand::random() }
    }

    /// The packets `part` of a unit, with `pts` for its time; and how many bytes they have.
    fn packets(
        &mut self,
        track: Track,
        unit: &Unit,
        pts: ClockTime,
        part: std::ops::Range<usize>,
    ) -> (gst::BufferList, usize) {
        // In a burst a picture has another time than its own.
        let time =
            if pts == unit.pts { unit.rtp_time } else { ticks(pts, VIDEO_CLOCK) as u32 }.wrapping_add(self.offset);
        let mut list = gst::BufferList::new_sized(part.len());
        let mut bytes = 0;
        for index in part {
            let payload = &unit.payloads[index];
            // Marker: the last packet of a picture (RFC 6184, 5.1; RFC 7741, 4.1; RFC 9628, 4.1).
            let marker = track == Track::Video && index + 1 == unit.payloads.len();
            let mut header = Vec::with_capacity(12 + payload.head().len());
            header.extend_from_slice(&[0x80, u8::from(marker) << 7 | self.fields.payload_type & 0x7f]);
            header.extend_from_slice(&self.sequence.to_be_bytes());
            header.extend_from_slice(&time.to_be_bytes());
            header.extend_from_slice(&self.fields.ssrc.to_be_bytes());
            header.extend_from_slice(payload.head());
            self.sequence = self.sequence.wrapping_add(1);
            bytes += 12 + payload.len();

            let mut packet = gst::Buffer::from_mut_slice(header);
            if let Some(packet) = packet.get_mut() {
                packet.set_pts(pts);
                if marker {
                    packet.set_flags(gst::BufferFlags::MARKER);
                }
                packet.append_memory(payload.body.clone());
            }
            if let Some(list) = list.get_mut() {
                list.add(packet);
            }
        }
        (list, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::hub::unit::{Flow, VideoFormat};
    use crate::sdp::{AudioPlan, VideoPlan};

    fn queue() -> Queue {
        let fields = RtpFields { payload_type: 96, ssrc: 1 };
        Queue::new(
            TapSettings { video: Some((fields, VideoPlan::PassH264)), audio: Some((fields, AudioPlan::PassOpus)) },
            std::iter::empty(),
        )
    }

    fn unit(flow: Flow, keyframe: bool, number: usize, bytes: usize) -> Arc<Unit> {
        let (pts, rtp_time, payloads) = (ClockTime::ZERO, number as u32, Vec::new());
        Arc::new(Unit { flow, pts, rtp_time, keyframe, payloads, bytes, picture: None })
    }

    fn picture(keyframe: bool, number: usize) -> Arc<Unit> {
        unit(Flow::Video(VideoFormat::H264), keyframe, number, 1000)
    }

    fn waiting(queue: &Queue) -> Vec<u32> {
        queue.lock().video.iter().map(|queued| queued.unit.rtp_time).collect()
    }

    #[test]
    fn nothing_but_a_keyframe_comes_first() {
        let queue = queue();
        queue.offer(&picture(false, 0));
        queue.offer(&picture(true, 1));
        queue.offer(&picture(false, 2));
        assert_eq!(waiting(&queue), [1, 2]);
        assert_eq!(queue.stats().frames_skipped, 0, "before the start nothing is lost");
    }

    #[test]
    fn only_pictures_of_the_planned_kind_are_taken() {
        let queue = queue();
        queue.offer(&unit(Flow::Video(VideoFormat::Vp8), true, 0, 1000));
        queue.offer(&unit(Flow::Video(VideoFormat::H264), true, 1, 1000));
        assert_eq!(waiting(&queue), [1]);
    }

    #[test]
    fn a_full_queue_drops_pictures_up_to_a_keyframe_that_waits() {
        let queue = queue();
        let keyframe = 100;
        (0..=MAX_PICTURES).for_each(|number| queue.offer(&picture(number == 0 || number == keyframe, number)));
        let expected: Vec<u32> = (keyframe as u32..=MAX_PICTURES as u32).collect();
        assert_eq!(waiting(&queue), expected);
        assert_eq!(queue.stats().frames_skipped, keyframe as u64);
    }

    #[test]
    fn a_full_queue_without_a_keyframe_waits_for_one() {
        let queue = queue();
        (0..=MAX_PICTURES + 3).for_each(|number| queue.offer(&picture(number == 0, number)));
        assert!(waiting(&queue).is_empty());
        assert_eq!(queue.stats().frames_skipped, MAX_PICTURES as u64 + 4);
        queue.offer(&picture(true, 1000));
        assert_eq!(waiting(&queue), [1000]);
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_but_takes_a_single_picture_of_any_size() {
        let queue = queue();
        queue.offer(&unit(Flow::Video(VideoFormat::H264), true, 0, 2 * MAX_BYTES));
        assert_eq!(waiting(&queue), [0]);
        queue.offer(&picture(true, 1));
        assert_eq!(waiting(&queue), [1]);
        assert_eq!(queue.stats().frames_skipped, 1);
    }

    #[test]
    fn a_burst_takes_no_room_from_live_pictures() {
        let fields = RtpFields { payload_type: 96, ssrc: 1 };
        let burst = (0..1000).map(|number| (picture(number == 0, number), ClockTime::ZERO));
        let queue = Queue::new(TapSettings { video: Some((fields, VideoPlan::PassH264)), audio: None }, burst);
        queue.offer(&picture(false, 1000));
        assert_eq!(waiting(&queue).len(), 1001);
        assert_eq!(queue.stats().frames_skipped, 0);
    }

    #[test]
    fn pictures_that_pile_up_are_paced() {
        let queue = queue();
        queue.offer(&picture(true, 0));
        assert!(!queue.lock().catching_up, "one at a time goes out as it comes");
        queue.offer(&picture(false, 1));
        assert!(queue.lock().catching_up);
    }

    #[test]
    fn waiting_audio_loses_its_oldest() {
        let queue = queue();
        (0..MAX_AUDIO + 2).for_each(|number| {
            queue.offer(&unit(Flow::Native(crate::media::hub::unit::AudioFormat::Opus), true, number, 100))
        });
        let inner = queue.lock();
        assert_eq!((inner.audio.len(), inner.audio[0].rtp_time), (MAX_AUDIO, 2));
    }
}
