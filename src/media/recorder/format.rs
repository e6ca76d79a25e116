//! What files say of a codec, read from what comes. Pure.

use crate::media::hub::h264::{IDR, nals};
use crate::media::hub::sps::picture_size;
use crate::media::hub::vpx;

use super::frame::{Codec, Format};

const SPS: u8 = 7;
const PPS: u8 = 8;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const FILLER: u8 = 12;
/// Bytes of parameter sets: a head must hold those of all tracks.
const MAX_PRIVATE: usize = 512;

/// An access unit of H.264 as files have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) data: Vec<u8>,
    pub(super) keyframe: bool,
    /// There when it brings parameter sets.
    pub(super) format: Option<Format>,
}

/// Reads an access unit (Annex B). `None` when there is no slice in it.
pub(super) fn h264(unit: &[u8]) -> Option<Picture> {
    let mut data = Vec::with_capacity(unit.len() + 16);
    let (mut sps, mut pps): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    let (mut idr, mut slices) = (false, false);
    for nal in nals(unit).into_iter().filter_map(|range| unit.get(range)) {
        let kind = nal.first().map_or(0, |first| first & 0x1f);
        match kind {
            ACCESS_UNIT_DELIMITER | FILLER => continue,
            SPS if !sps.contains(&nal) => sps.push(nal),
            PPS if !pps.contains(&nal) => pps.push(nal),
            1..=IDR => {
                idr |= kind == IDR;
                slices = true;
            }
            _ => {}
        }
        data.extend_from_slice(&u32::try_from(nal.len()).ok()?.to_be_bytes());
        data.extend_from_slice(nal);
    }
    slices.then(|| Picture { data, keyframe: idr, format: avc_format(&sps, &pps) })
}

/// The `avcC` record of these parameter sets (ISO 14496-15, 5.3.3.1).
fn avc_format(sps: &[&[u8]], pps: &[&[u8]]) -> Option<Format> {
    let (first, count_of_sps, count_of_pps) =
        (sps.first()?, u8::try_from(sps.len()).ok()?, u8::try_from(pps.len()).ok()?);
    let [_, profile, constraints, level, ..] = **first else { return None };
    if pps.is_empty() || count_of_sps > 31 {
        return None;
    }
    let mut private = vec![1, profile, constraints, level, 0xff, 0xe0 | count_of_sps];
    let put = |private: &mut Vec<u8>, sets: &[&[u8]]| {
        for set in sets {
            private.extend_from_slice(&(set.len() as u16).to_be_bytes());
            private.extend_from_slice(set);
        }
    };
    put(&mut private, sps);
    private.push(count_of_pps);
    put(&mut private, pps);
    // High profiles say more of the chroma; who reads `avcC` copes without, and the parameter sets say it.
    let (width, height) = picture_size(first)?;
    (private.len() <= MAX_PRIVATE).then_some(Format {
        codec: Codec::H264,
        private,
        width,
        height,
        rate: 0,
        channels: 0,
    })
}

/// What a VP8 or VP9 frame says of itself: whether it is a keyframe, and then its format.
pub(super) fn vpx(codec: Codec, frame: &[u8]) -> Option<(bool, Option<Format>)> {
    let of = if codec == Codec::Vp8 { vpx::Codec::Vp8 } else { vpx::Codec::Vp9 };
    let read = vpx::Frame::read(of, frame)?;
    Some((read.keyframe, read.size.map(|(width, height)| video(codec, width, height))))
}

fn video(codec: Codec, width: u32, height: u32) -> Format {
    Format { codec, private: Vec::new(), width, height, rate: 0, channels: 0 }
}

/// Opus: nothing is skipped at the beginning, which is in the midst of a stream.
pub(super) fn opus(channels: u32) -> Format {
    let channels = if channels == 1 { 1 } else { 2 };
    let mut private = b"OpusHead".to_vec();
    private.extend_from_slice(&[1, channels as u8, 0, 0]);
    private.extend_from_slice(&48_000_u32.to_le_bytes());
    private.extend_from_slice(&[0, 0, 0]);
    Format { codec: Codec::Opus, private, width: 0, height: 0, rate: 48_000, channels }
}

/// PCMU or PCMA.
pub(super) fn g711(codec: Codec, rate: u32, channels: u32) -> Format {
    Format { codec, private: Vec::new(), width: 0, height: 0, rate, channels }
}

/// AAC with this AudioSpecificConfig.
pub(super) fn aac(config: &[u8], rate: u32, channels: u32) -> Option<Format> {
    let whole = (2..=64).contains(&config.len());
    whole.then(|| Format { codec: Codec::Aac, private: config.to_vec(), width: 0, height: 0, rate, channels })
}

/// Nanoseconds that a frame of sound lasts, where the frame itself says it.
pub(super) fn sound_length(format: &Format, data: &[u8]) -> u64 {
    let samples = |count: u64| count * 1_000_000_000 / u64::from(format.rate.max(1));
    match format.codec {
        Codec::Pcmu | Codec::Pcma => samples(data.len() as u64 / u64::from(format.channels.max(1))),
        Codec::Opus => samples(crate::media::hub::unit::opus_duration(data)),
        Codec::Aac => samples(1024),
        Codec::H264 | Codec::Vp8 | Codec::Vp9 => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x264, constrained baseline, 640x360.
    const SPS: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x5a, 0x83, 0x03, 0x03, 0x52, 0x80, 0x00, 0x00,
        0x03, 0x00, 0x80,
    ];

    #[test]
    fn an_access_unit_becomes_lengths_and_units_without_delimiters() {
        let unit =
            [&[0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1], SPS, &[0, 0, 0, 1, 0x68, 1, 2, 0, 0, 1, 0x65, 7, 8, 9]].concat();
        let picture = h264(&unit).unwrap();
        assert!(picture.keyframe);
        let format = picture.format.unwrap();
        assert_eq!((format.width, format.height), (640, 360));
        assert_eq!(format.private[..6], [1, 0x42, 0xc0, 0x1e, 0xff, 0xe1]);
        assert_eq!(picture.data[..5], [0, 0, 0, SPS.len() as u8, 0x67]);
        assert_eq!(picture.data[picture.data.len() - 8..], [0, 0, 0, 4, 0x65, 7, 8, 9]);
        assert_eq!(h264(&[0, 0, 0, 1, 0x68, 1, 2]), None, "no slice");
    }
}
