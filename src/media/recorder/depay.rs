//! Frames out of a caller's RTP (RFC 3550): H.264 (RFC 6184), VP8 (RFC 7741), VP9 (RFC 9628), and sound. Pure; everything in it is a stranger's.

use super::frame::Codec;

/// Bytes that a picture may have.
const MAX_PICTURE: usize = 4 << 20;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// One stream's frames.
#[derive(Debug)]
pub(super) struct Depayloader {
    pub(super) codec: Codec,
    pub(super) ssrc: u32,
    /// The sequence number that comes next.
    next: Option<u16>,
    picture: Option<Partial>,
    /// Pictures of which something is missing.
    pub(super) broken: u64,
}

/// A picture that is being put together.
#[derive(Debug)]
struct Partial {
    /// RTP's.
    time: u32,
    pts: u64,
    data: Vec<u8>,
    broken: bool,
}

/// What a packet completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Frames and their times.
    pub(super) frames: Vec<(Vec<u8>, u64)>,
    /// Something was lost since the last packet.
    pub(super) gap: bool,
}

/// The parts of a packet that matter.
struct Packet<'a> {
    marker: bool,
    number: u16,
    time: u32,
    ssrc: u32,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let &[first, second, n0, n1, t0, t1, t2, t3, s0, s1, s2, s3, ..] = bytes else { return None };
        if first >> 6 != 2 {
            return None;
        }
        let mut at = 12 + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let words = bytes.get(at + 2..at + 4)?;
            at += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        let padding = if first & 0x20 != 0 { usize::from(*bytes.last()?) } else { 0 };
        let payload = bytes.get(at..bytes.len().checked_sub(padding)?)?;
        Some(Self {
            marker: second & 0x80 != 0,
            number: u16::from_be_bytes([n0, n1]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            payload,
        })
    }
}

/// The SSRC of a packet.
pub(super) fn ssrc_of(packet: &[u8]) -> Option<u32> {
    Packet::read(packet).map(|packet| packet.ssrc)
}

impl Depayloader {
    pub(super) fn new(codec: Codec, ssrc: u32) -> Self {
        Self { codec, ssrc, next: None, picture: None, broken: 0 }
    }

    /// Takes the next packet, which its jitter buffer has put in order.
    pub(super) fn take(&mut self, packet: &[u8], pts: u64) -> Done {
        let mut done = Done::default();
        let Some(packet) = Packet::read(packet) else { return done };
        done.gap = self.next.is_some_and(|next| next != packet.number);
        self.next = Some(packet.number.wrapping_add(1));
        if packet.payload.is_empty() {
            return done;
        }
        match self.codec {
            Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::Aac => done.frames.push((packet.payload.to_vec(), pts)),
            Codec::H264 | Codec::Vp8 | Codec::Vp9 => self.take_part(&packet, pts, &mut done),
        }
        done
    }

    fn take_part(&mut self, packet: &Packet<'_>, pts: u64, done: &mut Done) {
        if self.picture.as_ref().is_some_and(|picture| picture.time != packet.time) {
            // Its marker is missing. If packets are too, it is not whole.
            if let Some(picture) = &mut self.picture {
                picture.broken |= done.gap;
            }
            self.finish(done);
        }
        let begins = self.picture.is_none();
        let picture =
            self.picture.get_or_insert_with(|| Partial { time: packet.time, pts, data: Vec::new(), broken: false });
        // After a gap its first packets may be among those that are missing.
        picture.broken |= done.gap && !(begins && begins_picture(self.codec, packet.payload));
        let taken = match self.codec {
            Codec::H264 => h264_part(packet.payload, &mut picture.data),
            Codec::Vp8 => vp8_payload(packet.payload).map(|part| picture.data.extend_from_slice(part)),
            _ => vp9_payload(packet.payload).map(|part| picture.data.extend_from_slice(part)),
        };
        picture.broken |= taken.is_none();
        if picture.data.len() > MAX_PICTURE {
            picture.data = Vec::new();
            picture.broken = true;
        }
        if packet.marker {
            self.finish(done);
        }
    }

    fn finish(&mut self, done: &mut Done) {
        let Some(picture) = self.picture.take() else { return };
        if picture.broken {
            self.broken += 1;
            done.gap = true;
        } else if !picture.data.is_empty() {
            done.frames.push((picture.data, picture.pts));
        }
    }
}

/// Whether a picture begins with this payload, as far as it says so.
fn begins_picture(codec: Codec, payload: &[u8]) -> bool {
    // An H.264 slice begins a picture when its first macroblock is number 0, which is a single bit.
    match (codec, payload) {
        (Codec::H264, [first, rest @ ..]) => match (first & 0x1f, rest) {
            (1 | 5, [slice, ..]) => slice & 0x80 != 0,
            (FU_A, [head, slice, ..]) => head & 0x80 != 0 && slice & 0x80 != 0,
            (7..=9 | STAP_A, _) => true,
            _ => false,
        },
        (Codec::Vp8, [first, ..]) => first & 0x10 != 0 && first & 0x0f == 0,
        (Codec::Vp9, [first, ..]) => first & 0x08 != 0,
        _ => false,
    }
}

/// Appends what a payload holds as a byte stream. `None`: it cannot be read.
fn h264_part(payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let kind = payload.first()? & 0x1f;
    match kind {
        1..=23 => {
            out.extend_from_slice(&START_CODE);
            out.extend_from_slice(payload);
        }
        STAP_A => {
            let mut rest = &payload[1..];
            while let [high, low, after @ ..] = rest {
                let (nal, after) = after.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
                if !nal.is_empty() {
                    out.extend_from_slice(&START_CODE);
                    out.extend_from_slice(nal);
                }
                rest = after;
            }
        }
        FU_A => {
            let (&[indicator, head], part) = payload.split_first_chunk::<2>()?;
            if head & 0x80 != 0 {
                out.extend_from_slice(&START_CODE);
                out.push(indicator & 0xe0 | head & 0x1f);
            } else if out.is_empty() {
                return None;
            }
            out.extend_from_slice(part);
        }
        _ => return None,
    }
    Some(())
}

/// What follows VP8's descriptor (RFC 7741, section 4.2).
fn vp8_payload(payload: &[u8]) -> Option<&[u8]> {
    let (first, mut rest) = payload.split_first()?;
    if first & 0x80 != 0 {
        let (extension, after) = rest.split_first()?;
        rest = after;
        if extension & 0x80 != 0 {
            rest = picture_id(rest)?;
        }
        if extension & 0x40 != 0 {
            rest = rest.get(1..)?;
        }
        if extension & 0x30 != 0 {
            rest = rest.get(1..)?;
        }
    }
    Some(rest)
}

/// Skips a picture id of 7 or 15 bits.
fn picture_id(rest: &[u8]) -> Option<&[u8]> {
    rest.get(if rest.first()? & 0x80 != 0 { 2 } else { 1 }..)
}

/// What follows VP9's descriptor (RFC 9628, section 4.2).
fn vp9_payload(payload: &[u8]) -> Option<&[u8]> {
    let (first, mut rest) = payload.split_first()?;
    let has = |bit: u8| first & bit != 0;
    let flexible = has(0x10);
    if has(0x80) {
        rest = picture_id(rest)?;
    }
    if has(0x20) {
        rest = rest.get(if flexible { 1 } else { 2 }..)?;
    }
    if has(0x40) && flexible {
        for _ in 0..3 {
            let (reference, after) = rest.split_first()?;
            rest = after;
            if reference & 1 == 0 {
                break;
            }
        }
    }
    if has(0x02) {
        let (structure, after) = rest.split_first()?;
        rest = after;
        let layers = usize::from(structure >> 5) + 1;
        if structure & 0x10 != 0 {
            rest = rest.get(4 * layers..)?;
        }
        if structure & 0x08 != 0 {
            let (pictures, mut after) = rest.split_first()?;
            for _ in 0..*pictures {
                let references = usize::from(after.first()? >> 2 & 3);
                after = after.get(1 + references..)?;
            }
            rest = after;
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u16, time: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80, u8::from(marker) << 7 | 96];
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&time.to_be_bytes());
        out.extend_from_slice(&[0, 0, 0, 9]);
        out.extend_from_slice(payload);
        out
    }

    fn frames(codec: Codec, packets: &[Vec<u8>]) -> Vec<(Vec<u8>, u64)> {
        let mut depayloader = Depayloader::new(codec, 9);
        (0..).zip(packets).flat_map(|(pts, packet)| depayloader.take(packet, pts).frames).collect()
    }

    #[test]
    fn h264_comes_out_of_single_units_aggregates_and_fragments() {
        let packets = [
            packet(1, 0, false, &[STAP_A, 0, 2, 0x67, 1, 0, 2, 0x68, 2]),
            packet(2, 0, false, &[0x60 | FU_A, 0x80 | 5, 0x80, 3]),
            packet(3, 0, true, &[0x60 | FU_A, 0x40 | 5, 4]),
            packet(4, 3000, true, &[0x41, 0x80, 5]),
        ];
        let expected: Vec<u8> =
            [&[0, 0, 0, 1, 0x67, 1][..], &[0, 0, 0, 1, 0x68, 2], &[0, 0, 0, 1, 0x65, 0x80, 3, 4]].concat();
        assert_eq!(frames(Codec::H264, &packets), [(expected, 0), (vec![0, 0, 0, 1, 0x41, 0x80, 5], 3)]);
    }

    #[test]
    fn a_picture_with_a_missing_packet_is_left_out_and_told() {
        let mut depayloader = Depayloader::new(Codec::Vp8, 9);
        let first = |number, time| packet(number, time, false, &[0x10, 1]);
        let last = |number, time| packet(number, time, true, &[0x00, 2]);
        assert_eq!(depayloader.take(&first(1, 0), 7), Done::default());
        assert_eq!(depayloader.take(&last(2, 0), 7), Done { frames: vec![(vec![1, 2], 7)], gap: false });
        // Its last packet is missing; the next picture is whole.
        depayloader.take(&first(3, 3000), 8);
        assert!(depayloader.take(&first(5, 6000), 9).gap);
        assert_eq!(depayloader.take(&last(6, 6000), 9).frames, [(vec![1, 2], 9)]);
        // Its first packet is missing.
        assert!(depayloader.take(&last(8, 9000), 10).gap);
        assert_eq!(depayloader.broken, 2);
    }

    #[test]
    fn descriptors_of_every_length_are_skipped() {
        assert_eq!(vp8_payload(&[0x90, 0xf0, 0x81, 0x02, 3, 4, 9]), Some(&[9][..]));
        assert_eq!(vp8_payload(&[0x90, 0x80, 0x01, 9]), Some(&[9][..]));
        assert_eq!(vp9_payload(&[0x88 | 0x20, 0x81, 0x02, 3, 4, 9]), Some(&[9][..]));
        // Flexible, with two references; then a structure of one layer and one picture in a group with one reference.
        assert_eq!(vp9_payload(&[0x50, 3, 2, 9]), Some(&[9][..]));
        assert_eq!(vp9_payload(&[0x0a, 0x18, 1, 2, 3, 4, 1, 0x04, 5, 9]), Some(&[9][..]));
    }

    #[test]
    fn sound_is_a_frame_a_packet_without_padding_and_extensions() {
        let mut padded = packet(1, 0, false, &[1, 2, 3, 0, 0, 3]);
        padded[0] = 0xb0;
        padded.splice(12..12, [0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
        assert_eq!(frames(Codec::Pcmu, &[padded]), [(vec![1, 2, 3], 0)]);
    }

    #[test]
    fn no_cut_of_a_packet_panics() {
        let payloads: [&[u8]; 4] = [
            &[STAP_A, 0, 2, 0x67, 1, 0, 2, 0x68, 2],
            &[0x60 | FU_A, 0x80 | 5, 0x80, 3],
            &[0x90, 0xf0, 0x81, 0x02, 3, 4, 9],
            &[0xfa, 0x81, 2, 3, 3, 2, 0xf8, 1, 2, 3, 4, 1, 0x0c, 5],
        ];
        for codec in [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Opus] {
            for payload in payloads {
                let whole = packet(1, 0, true, payload);
                for end in 0..=whole.len() {
                    for first in 0..=255 {
                        let mut cut = whole[..end].to_vec();
                        if let Some(byte) = cut.first_mut() {
                            *byte = first;
                        }
                        Depayloader::new(codec, 9).take(&cut, 0);
                    }
                }
            }
        }
    }
}
