//! The other side's media: received, decrypted, and counted once its certificate is known to be right.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

use crate::media::TrackStats;
use crate::media::recorder::{Codec, Inlet, Piece};
use crate::media::tap::Track;

/// Pads (one per SSRC and payload type) that a caller may have open. Further ones stay unlinked, which stops their jitter buffer.
const MAX_PADS: usize = 16;

#[derive(Debug, Default)]
struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    frames: AtomicU64,
    lost: AtomicU64,
}

impl Counters {
    fn stats(&self) -> TrackStats {
        TrackStats {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

/// The sequence numbers of one stream (RFC 3550, section 5.1), which its jitter buffer has put in order.
#[derive(Debug, Default)]
pub(in crate::media) struct Sequence {
    /// One more than the last; 0 before the first.
    next: AtomicU32,
}

impl Sequence {
    /// How many packets are missing before this one, and whether it ends a frame.
    fn read(&self, packet: &gst::BufferRef) -> (u64, bool) {
        let mut header = [0; 3];
        // Copying out of a shorter buffer would panic.
        if packet.size() < 4 || packet.copy_to_slice(1, &mut header).is_err() {
            return (0, false);
        }
        let [marker, high, low] = header;
        let number = u16::from_be_bytes([high, low]);
        let lost = match self.next.swap(u32::from(number) + 1, Ordering::Relaxed) {
            0 => 0,
            // A jump backwards is a stream that began anew.
            next => match number.wrapping_sub(next as u16) {
                gap if gap < 0x8000 => u64::from(gap),
                _ => 0,
            },
        };
        (lost, marker & 0x80 != 0)
    }
}

/// What came from the other side. The one place to route it from: where [`Incoming::count`] lets a packet through, which then goes to
/// recordings.
#[derive(Debug, Default)]
pub(in crate::media) struct Incoming {
    /// The certificate matched: until then every packet is dropped unseen.
    trusted: AtomicBool,
    video: Counters,
    audio: Counters,
    recordings: Mutex<Vec<Arc<Inlet>>>,
    /// There are some.
    recorded: AtomicBool,
    /// Pads so far: each has a number.
    numbers: AtomicU64,
    /// Keeps our pads alive: a link holds no reference.
    pads: Mutex<Vec<gst::Pad>>,
}

impl Incoming {
    /// Takes every stream that `webrtcbin` receives, from now on.
    pub(in crate::media) fn attach(self: &Arc<Self>, webrtcbin: &gst::Element) {
        let weak = Arc::downgrade(self);
        webrtcbin.connect_pad_added(move |_, pad| {
            if pad.direction() == gst::PadDirection::Src
                && let Some(incoming) = weak.upgrade()
            {
                incoming.link(pad);
            }
        });
    }

    fn link(self: &Arc<Self>, from: &gst::Pad) {
        let mut pads = self.pads.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of streams that have ended.
        pads.retain(|pad| pad.is_linked());
        if pads.len() >= MAX_PADS {
            return;
        }
        let Some(track) = track_of(from) else { return };
        let (one, list) = (Arc::downgrade(self), Arc::downgrade(self));
        let sequence = Arc::new(Sequence::default());
        let stream = codec_of(from).map(|codec| (self.numbers.fetch_add(1, Ordering::Relaxed), codec));
        let sequence_of_list = sequence.clone();
        let pad = gst::Pad::builder(gst::PadDirection::Sink)
            .chain_function(move |pad, _, packet| {
                if let Some(incoming) = one.upgrade()
                    && incoming.count(track, &sequence, &packet)
                {
                    incoming.hand_on(pad, track, stream, packet);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .chain_list_function(move |pad, _, packets| {
                if let Some(incoming) = list.upgrade() {
                    for packet in packets.iter_owned() {
                        if incoming.count(track, &sequence_of_list, &packet) {
                            incoming.hand_on(pad, track, stream, packet);
                        }
                    }
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .event_function(|_, _, _| true)
            .build();
        if pad.set_active(true).is_ok() && from.link(&pad).is_ok() {
            pads.push(pad);
        }
    }

    /// A packet of the other side, in order, on a streaming thread. Returns whether it may be used.
    pub(in crate::media) fn count(&self, track: Track, sequence: &Sequence, packet: &gst::BufferRef) -> bool {
        if !self.trusted.load(Ordering::Acquire) {
            return false;
        }
        let counters = match track {
            Track::Video => &self.video,
            Track::Audio => &self.audio,
        };
        counters.packets.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(packet.size() as u64, Ordering::Relaxed);
        let (lost, ends_frame) = sequence.read(packet);
        counters.lost.fetch_add(lost, Ordering::Relaxed);
        if track == Track::Audio || ends_frame {
            counters.frames.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Puts everything that comes from now on into `inlet`, as long as what is returned is held.
    pub(in crate::media) fn record(self: Arc<Self>, inlet: Arc<Inlet>) -> Recorded {
        let mut recordings = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        // The picture can be used from a keyframe on.
        inlet.want_keyframe();
        recordings.push(inlet.clone());
        self.recorded.store(true, Ordering::Relaxed);
        drop(recordings);
        Recorded { incoming: self, inlet }
    }

    /// Gives a packet to the recordings; asks the caller for a keyframe if one of them wants it.
    fn hand_on(&self, pad: &gst::Pad, track: Track, stream: Option<(u64, Codec)>, packet: gst::Buffer) {
        let Some((number, codec)) = stream.filter(|_| self.recorded.load(Ordering::Relaxed)) else { return };
        let mut wanted = false;
        let recordings = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        for inlet in recordings.iter() {
            inlet.put(Piece::Packet { pad: number, kind: track, codec, packet: packet.clone() });
            wanted |= track == Track::Video && inlet.takes_keyframe_request();
        }
        drop(recordings);
        if wanted {
            pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }

    /// The certificate matched.
    pub(in crate::media) fn trust(&self) {
        self.trusted.store(true, Ordering::Release);
    }

    pub(in crate::media) fn video(&self) -> TrackStats {
        self.video.stats()
    }

    pub(in crate::media) fn audio(&self) -> TrackStats {
        self.audio.stats()
    }
}

/// A recording's place. Dropping it ends it.
pub(in crate::media) struct Recorded {
    incoming: Arc<Incoming>,
    inlet: Arc<Inlet>,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let mut recordings = self.incoming.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        recordings.retain(|inlet| !Arc::ptr_eq(inlet, &self.inlet));
        self.incoming.recorded.store(!recordings.is_empty(), Ordering::Relaxed);
    }
}

/// What a pad of `webrtcbin` is encoded with, if it can be recorded.
fn codec_of(pad: &gst::Pad) -> Option<Codec> {
    match pad.current_caps()?.structure(0)?.get::<&str>("encoding-name").ok()? {
        "H264" => Some(Codec::H264),
        "VP8" => Some(Codec::Vp8),
        "VP9" => Some(Codec::Vp9),
        "OPUS" => Some(Codec::Opus),
        "PCMU" => Some(Codec::Pcmu),
        "PCMA" => Some(Codec::Pcma),
        _ => None,
    }
}

/// What a pad of `webrtcbin` carries.
pub(in crate::media) fn track_of(pad: &gst::Pad) -> Option<Track> {
    match pad.current_caps()?.structure(0)?.get::<&str>("media") {
        Ok("video") => Some(Track::Video),
        Ok("audio") => Some(Track::Audio),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sequence: &Sequence, marker: u8, number: u16) -> (u64, bool) {
        let [high, low] = number.to_be_bytes();
        sequence.read(&gst::Buffer::from_slice([0x80, marker, high, low]))
    }

    #[test]
    fn gaps_in_the_sequence_are_counted_also_where_it_wraps() {
        gst::init().unwrap();
        let sequence = Sequence::default();
        let lost = [65_533, 65_534, 1, 2, 5, 4_000, 100].map(|number| read(&sequence, 96, number).0);
        assert_eq!(lost, [0, 0, 2, 0, 2, 3_994, 0]);
    }

    #[test]
    fn the_marker_bit_ends_a_frame() {
        gst::init().unwrap();
        let sequence = Sequence::default();
        assert!(!read(&sequence, 96, 1).1);
        assert!(read(&sequence, 0x80 | 96, 2).1);
        assert_eq!(sequence.read(&gst::Buffer::from_slice([0x80])), (0, false));
    }
}
