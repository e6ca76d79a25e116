//! VP8 and VP9 as they go into RTP: what a frame's header says, and the packets of RFC 7741 and RFC 9628. Pure.
//!
//! No packet has a picture id. With one, a receiver takes a frame whose number does not follow the last one's for a loss, and each tap
//! would have to number its frames itself, since a tap joins midway and skips frames when its caller is slow. Without one, receivers go
//! by the sequence numbers, as with H.264: these have no gap, and what comes after a skip is a keyframe, which refers to nothing before
//! it. Both RFCs leave the id out at will (RFC 7741, section 4.2; RFC 9628, section 4.2, in its non-flexible mode).

use std::ops::Range;

use super::unit::Head;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum Codec {
    Vp8,
    Vp9,
}

/// What a frame is, once its header was read; of a superframe that of its first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) struct Frame {
    pub(super) codec: Codec,
    /// It refers to nothing before it, and nothing after it refers to what is before it.
    pub(in crate::media) keyframe: bool,
    /// Width and height in pixels, of a keyframe.
    pub(in crate::media) size: Option<(u32, u32)>,
    /// VP9's, which says how its samples are: 0 has 8 bits and half the colour each way.
    pub(super) profile: u8,
}

impl Frame {
    /// Reads the beginning of `frame`. `None` when it is none.
    pub(in crate::media) fn read(codec: Codec, frame: &[u8]) -> Option<Frame> {
        match codec {
            Codec::Vp8 => read_vp8(frame),
            Codec::Vp9 => read_vp9(frame),
        }
    }

    /// The payload descriptors of a frame of `len` bytes, each with the part of the frame that follows it.
    pub(super) fn packets(&self, len: usize, max_payload: usize) -> Vec<(Head, Range<usize>)> {
        let mut packets = Vec::new();
        let mut at = 0;
        while at < len {
            // The first descriptor is the longest; it says whether the frame fits into one packet.
            let room = max_payload - self.descriptor(at == 0, false).bytes().len();
            let end = len.min(at + room);
            packets.push((self.descriptor(at == 0, end == len), at..end));
            at = end;
        }
        packets
    }

    fn descriptor(&self, first: bool, last: bool) -> Head {
        match self.codec {
            // S: the start of partition 0. The whole frame goes as this one partition, as browsers send it (RFC 7741, section 4.2).
            Codec::Vp8 => Head::new(&[u8::from(first) << 4]),
            Codec::Vp9 => {
                // P, B and E (RFC 9628, section 4.2).
                let flags = u8::from(!self.keyframe) << 6 | u8::from(first) << 3 | u8::from(last) << 2;
                match self.size {
                    Some((width, height)) if first && self.keyframe => {
                        // V: a scalability structure of one layer with its size, and a group of one picture, each referring to the
                        // one before (section 4.2.1). Sizes have 16 bits, here and in the frame.
                        let [_, _, w1, w0] = width.to_be_bytes();
                        let [_, _, h1, h0] = height.to_be_bytes();
                        Head::new(&[flags | 0x02, 0x18, w1, w0, h1, h0, 1, 0x04, 1])
                    }
                    _ => Head::new(&[flags]),
                }
            }
        }
    }
}

/// RFC 6386, section 9.1.
fn read_vp8(frame: &[u8]) -> Option<Frame> {
    let keyframe = frame.first()? & 1 == 0;
    let size = match *frame.get(3..).unwrap_or_default() {
        [0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if keyframe => {
            // The upper two bits say how to scale what is shown.
            let pixels = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Some((pixels(w0, w1), pixels(h0, h1)))
        }
        _ if keyframe => return None,
        _ => None,
    };
    Some(Frame { codec: Codec::Vp8, keyframe, size, profile: 0 })
}

/// The beginning of the uncompressed header (VP9 bitstream specification, section 6.2).
fn read_vp9(frame: &[u8]) -> Option<Frame> {
    let mut bits = Bits { bytes: frame, at: 0 };
    if bits.take(2)? != 2 {
        return None;
    }
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 {
        bits.take(1)?;
    }
    let mut read = Frame { codec: Codec::Vp9, keyframe: false, size: None, profile: profile as u8 };
    // show_existing_frame, and frame_type: 0 is a keyframe.
    if bits.take(1)? == 1 || bits.take(1)? == 1 {
        return Some(read);
    }
    bits.take(2)?;
    if bits.take(24)? != 0x49_83_42 {
        return None;
    }
    if profile >= 2 {
        bits.take(1)?;
    }
    const SRGB: u32 = 7;
    match bits.take(3)? {
        SRGB if profile % 2 == 1 => bits.take(1)?,
        SRGB => return None,
        _ if profile % 2 == 1 => bits.take(4)?,
        _ => bits.take(1)?,
    };
    read.keyframe = true;
    read.size = Some((bits.take(16)? + 1, bits.take(16)? + 1));
    Some(read)
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;
    use crate::media::hub::h264::MAX_PAYLOAD;

    /// Frames out of GStreamer's encoder, 320x180: a keyframe, and those that refer to it.
    fn encoded(encoder: &str) -> Vec<Vec<u8>> {
        crate::media::init().unwrap();
        let text = format!(
            "videotestsrc num-buffers=4 pattern=snow ! video/x-raw,format=I420,width=320,height=180 \
             ! {encoder} deadline=1 lag-in-frames=0 min-quantizer=0 max-quantizer=20 ! appsink name=out sync=false"
        );
        let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let frames = std::iter::from_fn(|| out.pull_sample().ok())
            .map(|sample| sample.buffer().unwrap().map_readable().unwrap().to_vec())
            .collect();
        pipeline.set_state(gst::State::Null).unwrap();
        frames
    }

    /// What GStreamer's own depayloader makes of our packets.
    fn depayloaded(codec: Codec, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (name, depayloader) = match codec {
            Codec::Vp8 => ("VP8", "rtpvp8depay"),
            Codec::Vp9 => ("VP9", "rtpvp9depay"),
        };
        let text = format!("appsrc name=in format=time ! {depayloader} ! appsink name=out sync=false");
        let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let caps = gst::Caps::builder("application/x-rtp")
            .field("media", "video")
            .field("clock-rate", 90_000)
            .field("encoding-name", name)
            .field("payload", 96);
        input.set_caps(Some(&caps.build()));
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut sequence = 0_u16;
        for (number, frame) in frames.iter().enumerate() {
            let packets = Frame::read(codec, frame).unwrap().packets(frame.len(), MAX_PAYLOAD);
            let count = packets.len();
            for (index, (head, part)) in packets.into_iter().enumerate() {
                assert!(head.bytes().len() + part.len() <= MAX_PAYLOAD);
                let mut packet = vec![0x80, 96 | u8::from(index + 1 == count) << 7];
                packet.extend(sequence.to_be_bytes());
                packet.extend((3000 * number as u32).to_be_bytes());
                packet.extend([0, 0, 0, 1]);
                packet.extend(head.bytes());
                packet.extend(&frame[part]);
                sequence += 1;
                let mut packet = gst::Buffer::from_slice(packet);
                packet.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(33 * number as u64));
                input.push_buffer(packet).unwrap();
            }
        }
        input.end_of_stream().unwrap();
        let frames = std::iter::from_fn(|| out.pull_sample().ok())
            .map(|sample| sample.buffer().unwrap().map_readable().unwrap().to_vec())
            .collect();
        pipeline.set_state(gst::State::Null).unwrap();
        frames
    }

    #[test]
    fn gstreamers_depayloaders_give_back_every_frame_bit_for_bit() {
        for (codec, encoder) in [(Codec::Vp8, "vp8enc"), (Codec::Vp9, "vp9enc")] {
            let frames = encoded(encoder);
            let large = frames[0].len() > 2 * MAX_PAYLOAD;
            assert!(frames.len() == 4 && large, "{codec:?}: {:?}", frames.iter().map(Vec::len).collect::<Vec<_>>());
            assert_eq!(depayloaded(codec, &frames), frames, "{codec:?}");
        }
    }

    #[test]
    fn a_keyframe_is_told_by_its_header_and_has_its_size_in_it() {
        for (codec, encoder) in [(Codec::Vp8, "vp8enc"), (Codec::Vp9, "vp9enc")] {
            let read: Vec<Frame> = encoded(encoder).iter().map(|frame| Frame::read(codec, frame).unwrap()).collect();
            assert_eq!(read[0], Frame { codec, keyframe: true, size: Some((320, 180)), profile: 0 });
            assert!(read[1..].iter().all(|frame| !frame.keyframe && frame.size.is_none()), "{codec:?}");
        }
    }

    #[test]
    fn frames_with_more_than_8_bits_a_sample_are_told_apart() {
        // Frame marker 2, profile 2 (low bit 0, high bit 1), keyframe, shown; the sync code; 10 bits, BT.709, range; 320x180.
        let bits = "10_0_1_0_0_1_0_010010011000001101000010_0_010_0_0000000100111111_0000000010110011_0000000";
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b'_').map(|bit| bit - b'0').collect();
        let frame: Vec<u8> = bits.chunks(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit)).collect();
        let read = Frame::read(Codec::Vp9, &frame).unwrap();
        assert_eq!(read, Frame { codec: Codec::Vp9, keyframe: true, size: Some((320, 180)), profile: 2 });
    }

    #[test]
    fn what_is_cut_off_or_no_frame_is_not_read_and_no_cut_panics() {
        for (codec, encoder) in [(Codec::Vp8, "vp8enc"), (Codec::Vp9, "vp9enc")] {
            let keyframe = encoded(encoder).swap_remove(0);
            for length in 0..6 {
                assert_eq!(Frame::read(codec, &keyframe[..length]), None, "{codec:?}, {length} bytes");
            }
        }
        assert_eq!(Frame::read(Codec::Vp8, &[0x10, 0, 0, 1, 2, 3, 4, 5, 6, 7]), None, "no start code");
        assert_eq!(Frame::read(Codec::Vp9, &[0x42; 20]), None, "no frame marker");
        assert!(!Frame::read(Codec::Vp9, &[0b1000_1000]).unwrap().keyframe, "a frame that is shown again");
    }

    #[test]
    fn descriptors_say_where_a_frame_begins_and_ends() {
        let frame = |codec, keyframe| Frame { codec, keyframe, size: keyframe.then_some((640, 360)), profile: 0 };
        let heads = |frame: Frame, len| -> Vec<Vec<u8>> {
            frame.packets(len, 100).iter().map(|(head, _)| head.bytes().to_vec()).collect()
        };
        assert_eq!(heads(frame(Codec::Vp8, true), 250), [[0x10], [0x00], [0x00]]);
        assert_eq!(heads(frame(Codec::Vp9, false), 150), [[0x48], [0x44]]);
        assert_eq!(heads(frame(Codec::Vp9, false), 99), [[0x4c]]);
        let structure = [0x0e, 0x18, 0x02, 0x80, 0x01, 0x68, 1, 0x04, 1].to_vec();
        assert_eq!(heads(frame(Codec::Vp9, true), 91), [structure]);
        assert!(heads(frame(Codec::Vp9, true), 0).is_empty());
    }
}
