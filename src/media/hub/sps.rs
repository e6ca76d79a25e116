//! The picture's size out of a sequence parameter set (H.264, 7.3.2.1.1). Pure.

/// Width and height in pixels after cropping; `None` when the set is cut off or makes no sense.
pub(in crate::media) fn picture_size(nal: &[u8]) -> Option<(u32, u32)> {
    let payload = without_emulation_prevention(nal.get(1..)?);
    let mut bits = Bits { bytes: &payload, at: 0 };
    let profile = bits.take(8)?;
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
            skip_scaling_lists(&mut bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
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
    Some((width, height))
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
        assert_eq!(picture_size(&baseline), Some((640, 360)));
    }

    #[test]
    fn a_set_that_is_cut_off_has_no_size() {
        let sps = [0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5];
        for length in 0..sps.len() - 1 {
            assert_eq!(picture_size(&sps[..length]), None);
        }
        assert_eq!(picture_size(&[0x67, 0x42, 0xc0, 0x1e, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
