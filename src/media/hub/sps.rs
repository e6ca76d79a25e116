//! What is in a sequence parameter set of H.264 (7.3.2.1.1), and in a slice's header. Pure.

/// A sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sps {
    /// Width and height in pixels, after cropping.
    pub(super) size: (u32, u32),
    /// Whether pictures come in another order than they are shown; `None` when nothing is said of it.
    pub(super) reordered: Option<bool>,
}

/// Width and height in pixels, after cropping.
pub(in crate::media) fn picture_size(nal: &[u8]) -> Option<(u32, u32)> {
    Some(Sps::read(nal)?.size)
}

/// Baseline, which knows no B slices (A.2.1).
const BASELINE: u32 = 66;

impl Sps {
    /// `None` when the set is cut off before the size, or makes no sense.
    pub(super) fn read(nal: &[u8]) -> Option<Sps> {
        let payload = without_emulation_prevention(nal.get(1..)?);
        let mut bits = Bits { bytes: &payload, at: 0 };
        let profile = bits.take(8)?;
        let (size, order) = size_and_order(&mut bits, profile)?;
        // With picture order count type 2 the order is that of decoding (8.2.1.3).
        let reordered = match (profile, order) {
            (BASELINE, _) | (_, 2) => Some(false),
            _ => reorder_frames(&mut bits).map(|frames| frames > 0),
        };
        Some(Sps { size, reordered })
    }
}

/// Whether the slice is a B slice (7.4.3, table 7-6): `first_mb_in_slice`, then `slice_type`. No emulation prevention byte can stand
/// before either ends, but for pictures too large to exist.
pub(super) fn has_b_type(nal: &[u8]) -> bool {
    let mut bits = Bits { bytes: nal.get(1..).unwrap_or_default(), at: 0 };
    matches!(bits.golomb().and_then(|_| bits.golomb()), Some(1 | 6))
}

/// `max_num_reorder_frames` of the VUI (E.1.1), where the set has one.
fn reorder_frames(bits: &mut Bits<'_>) -> Option<u32> {
    if bits.take(1)? == 0 {
        return None;
    }
    const EXTENDED_SAR: u32 = 255;
    if bits.take(1)? == 1 && bits.take(8)? == EXTENDED_SAR {
        bits.take(32)?;
    }
    if bits.take(1)? == 1 {
        bits.take(1)?;
    }
    // Video signal type, with its colour description.
    if bits.take(1)? == 1 {
        bits.take(4)?;
        if bits.take(1)? == 1 {
            bits.take(24)?;
        }
    }
    // Where chroma samples are.
    if bits.take(1)? == 1 {
        bits.golomb()?;
        bits.golomb()?;
    }
    // Timing.
    if bits.take(1)? == 1 {
        bits.take(32)?;
        bits.take(32)?;
        bits.take(1)?;
    }
    // HRD parameters of NAL units, and of VCL NAL units.
    let mut hrd = false;
    for _ in 0..2 {
        if bits.take(1)? == 1 {
            hrd = true;
            skip_hrd(bits)?;
        }
    }
    if hrd {
        bits.take(1)?;
    }
    bits.take(1)?;
    // Bitstream restriction.
    if bits.take(1)? == 0 {
        return None;
    }
    bits.take(1)?;
    for _ in 0..4 {
        bits.golomb()?;
    }
    bits.golomb()
}

/// E.1.2.
fn skip_hrd(bits: &mut Bits<'_>) -> Option<()> {
    let count = bits.golomb()?;
    bits.take(8)?;
    for _ in 0..=count.min(31) {
        bits.golomb()?;
        bits.golomb()?;
        bits.take(1)?;
    }
    bits.take(20)?;
    Some(())
}

/// Width and height in pixels after cropping, and `pic_order_cnt_type`.
fn size_and_order(bits: &mut Bits<'_>, profile: u32) -> Option<((u32, u32), u32)> {
    bits.take(16)?;
    bits.golomb()?;
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = bits.golomb()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.golomb()?;
        bits.golomb()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            skip_scaling_lists(bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    bits.golomb()?;
    let order = bits.golomb()?;
    match order {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.take(1)?;
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb()? {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.take(1)?;
    let columns = bits.golomb()?.checked_add(1)?;
    let rows = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.take(1)?;
    if frames_only == 0 {
        bits.take(1)?;
    }
    bits.take(1)?;
    let [mut left, mut right, mut top, mut bottom] = [0; 4];
    if bits.take(1)? == 1 {
        [left, right, top, bottom] = [bits.golomb()?, bits.golomb()?, bits.golomb()?, bits.golomb()?];
    }
    let field = 2 - frames_only;
    // Crop units (7-19 to 7-22): of chroma samples, of fields.
    let (unit_x, unit_y) = match chroma {
        1 => (2, 2 * field),
        2 => (2, field),
        _ => (1, field),
    };
    let width = columns.checked_mul(16)?.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
    let height = rows.checked_mul(16 * field)?.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
    Some(((width, height), order))
}

fn skip_scaling_lists(bits: &mut Bits<'_>, lists: usize) -> Option<()> {
    for list in 0..lists {
        if bits.take(1)? == 0 {
            continue;
        }
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                let code = i64::from(bits.golomb()?);
                let delta = if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 };
                next = (last + delta).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}

/// 7.4.1: in 00 00 03 the last byte only keeps start codes out.
fn without_emulation_prevention(bytes: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        clean.push(byte);
    }
    clean
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

    /// ue(v), 9.1; none in an SPS is longer than 31 bits.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        (1_u32 << zeros.min(31)).checked_sub(1)?.checked_add(self.take(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_cropped_picture() {
        // x264, constrained baseline, 640x360: 23 rows of 16, 8 lines cropped.
        let baseline = [
            0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x5a, 0x83, 0x03, 0x03, 0x52, 0x80, 0x00, 0x00,
            0x03, 0x00, 0x80,
        ];
        assert_eq!(Sps::read(&baseline), Some(Sps { size: (640, 360), reordered: Some(false) }));
    }

    /// What x264 says of its pictures' order.
    fn told_by_x264(settings: &str) -> (Option<bool>, bool) {
        use gst::prelude::*;
        crate::media::init().unwrap();
        let text = format!(
            "videotestsrc num-buffers=12 pattern=ball ! video/x-raw,format=I420,width=160,height=96 ! x264enc {settings} \
             ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
        );
        let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let units: Vec<Vec<u8>> = std::iter::from_fn(|| out.pull_sample().ok())
            .map(|sample| sample.buffer().unwrap().map_readable().unwrap().to_vec())
            .collect();
        pipeline.set_state(gst::State::Null).unwrap();
        let nals = crate::media::hub::h264::nals(&units[0]);
        let sps = nals.into_iter().map(|nal| &units[0][nal]).find(|nal| nal[0] & 0x1f == 7).unwrap();
        let b_slices = units.iter().any(|unit| crate::media::hub::h264::has_b_slice(unit));
        (Sps::read(sps).unwrap().reordered, b_slices)
    }

    #[test]
    fn b_pictures_are_told_by_the_set_and_by_the_slices() {
        assert_eq!(told_by_x264("bframes=2 b-adapt=false speed-preset=ultrafast"), (Some(true), true));
        assert_eq!(told_by_x264("bframes=0 speed-preset=veryfast"), (Some(false), false));
        assert_eq!(told_by_x264("tune=zerolatency speed-preset=ultrafast"), (Some(false), false));
    }

    #[test]
    fn a_set_that_is_cut_off_has_no_size() {
        let sps = [0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5];
        for length in 0..sps.len() - 1 {
            assert_eq!(Sps::read(&sps[..length]), None);
        }
        assert_eq!(Sps::read(&[0x67, 0x42, 0xc0, 0x1e, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
