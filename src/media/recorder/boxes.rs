//! What MP4 files are made of (ISO 14496-12), as far as recordings need it. Pure.

use super::frame::{Codec, Format, Place};
use crate::media::tap::Track;

/// Hz of a picture's times.
const VIDEO_SCALE: u32 = 90_000;
/// Hz of the movie's own times.
pub(super) const MOVIE_SCALE: u32 = 1000;
/// Seconds from 1904, which MP4 counts from, to 2001, which Matroska does.
pub(super) const EPOCH: i64 = 3_061_152_000;
const UNITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Writes a box; `fill` writes what is in it.
pub(super) fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    fill(out);
    let size = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// A box with a version and flags.
pub(super) fn full(out: &mut Vec<u8>, kind: &[u8; 4], version: u8, flags: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, kind, |out| {
        words(out, &[u32::from(version) << 24 | flags]);
        fill(out);
    });
}

pub(super) fn words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

pub(super) fn halves(out: &mut Vec<u8>, halves: &[u16]) {
    halves.iter().for_each(|half| out.extend_from_slice(&half.to_be_bytes()));
}

/// Seconds since 1904 of nanoseconds since 2001; 0, which is unknown, when they do not fit.
fn seconds(date: i64) -> u32 {
    u32::try_from(date / 1_000_000_000 + EPOCH).unwrap_or(0)
}

/// Hz of a track's times.
pub(super) fn scale(format: &Format) -> u32 {
    match format.codec {
        Codec::H264 | Codec::Vp8 | Codec::Vp9 => VIDEO_SCALE,
        _ => format.rate.max(1),
    }
}

/// Nanoseconds in units of `scale`.
pub(super) fn units(nanoseconds: u64, scale: u32) -> u64 {
    ((u128::from(nanoseconds) * u128::from(scale) + 500_000_000) / 1_000_000_000) as u64
}

pub(super) fn ftyp(out: &mut Vec<u8>) {
    boxed(out, b"ftyp", |out| {
        out.extend_from_slice(b"isom");
        words(out, &[0x200]);
        out.extend_from_slice(b"isomiso2iso6avc1mp41");
    });
}

/// The movie's header. `length` in [`MOVIE_SCALE`].
pub(super) fn mvhd(out: &mut Vec<u8>, date: i64, length: u32, next_track: u32) {
    full(out, b"mvhd", 0, 0, |out| {
        words(out, &[seconds(date), seconds(date), MOVIE_SCALE, length, 0x1_0000]);
        halves(out, &[0x100, 0]);
        words(out, &[0, 0]);
        words(out, &UNITY);
        words(out, &[0; 6]);
        words(out, &[next_track]);
    });
}

/// What a track's box holds beside its samples.
pub(super) struct TrackBox<'a> {
    pub(super) number: u32,
    pub(super) place: Place,
    pub(super) format: &'a Format,
    pub(super) date: i64,
    /// In [`MOVIE_SCALE`], with what is before its first sample.
    pub(super) length: u32,
    /// Of its samples, in its own scale.
    pub(super) media_length: u32,
    /// Before its first sample, in [`MOVIE_SCALE`].
    pub(super) delay: u32,
}

/// A track; `table` writes what is in its sample table after the description.
pub(super) fn trak(out: &mut Vec<u8>, track: &TrackBox<'_>, table: impl FnOnce(&mut Vec<u8>)) {
    let video = track.place.kind == Track::Video;
    boxed(out, b"trak", |out| {
        full(out, b"tkhd", 0, 3, |out| {
            words(out, &[seconds(track.date), seconds(track.date), track.number, 0, track.length, 0, 0]);
            // Of one group is played one.
            halves(out, &[0, if video { 1 } else { 2 }, if video { 0 } else { 0x100 }, 0]);
            words(out, &UNITY);
            words(out, &[track.format.width << 16, track.format.height << 16]);
        });
        if track.delay > 0 {
            boxed(out, b"edts", |out| {
                full(out, b"elst", 0, 0, |out| {
                    words(out, &[2, track.delay, u32::MAX, 0x1_0000]);
                    words(out, &[track.length.saturating_sub(track.delay), 0, 0x1_0000]);
                });
            });
        }
        boxed(out, b"mdia", |out| {
            full(out, b"mdhd", 0, 0, |out| {
                words(out, &[seconds(track.date), seconds(track.date), scale(track.format), track.media_length]);
                // "und"
                halves(out, &[0x55c4, 0]);
            });
            full(out, b"hdlr", 0, 0, |out| {
                words(out, &[0]);
                out.extend_from_slice(if video { b"vide" } else { b"soun" });
                words(out, &[0; 3]);
                out.extend_from_slice(track.place.name().as_bytes());
                out.push(0);
            });
            boxed(out, b"minf", |out| {
                match video {
                    true => full(out, b"vmhd", 0, 1, |out| words(out, &[0, 0])),
                    false => full(out, b"smhd", 0, 0, |out| words(out, &[0])),
                }
                boxed(out, b"dinf", |out| {
                    full(out, b"dref", 0, 0, |out| {
                        words(out, &[1]);
                        full(out, b"url ", 0, 1, |_| {});
                    });
                });
                boxed(out, b"stbl", |out| {
                    full(out, b"stsd", 0, 0, |out| {
                        words(out, &[1]);
                        entry(out, track.format);
                    });
                    table(out);
                });
            });
        });
    });
}

/// The description of a track's samples.
fn entry(out: &mut Vec<u8>, format: &Format) {
    let kind = match format.codec {
        Codec::H264 => b"avc1",
        Codec::Vp8 => b"vp08",
        Codec::Vp9 => b"vp09",
        Codec::Opus => b"Opus",
        Codec::Pcmu => b"ulaw",
        Codec::Pcma => b"alaw",
        Codec::Aac => b"mp4a",
    };
    boxed(out, kind, |out| {
        halves(out, &[0, 0, 0, 1]);
        match format.codec {
            Codec::H264 | Codec::Vp8 | Codec::Vp9 => {
                words(out, &[0; 4]);
                halves(out, &[format.width as u16, format.height as u16]);
                words(out, &[0x48_0000, 0x48_0000, 0]);
                halves(out, &[1]);
                out.extend_from_slice(&[0; 32]);
                halves(out, &[0x18, u16::MAX]);
            }
            _ => {
                words(out, &[0, 0]);
                halves(out, &[format.channels as u16, 16, 0, 0]);
                words(out, &[format.rate.min(0xffff) << 16]);
            }
        }
        match format.codec {
            Codec::H264 => boxed(out, b"avcC", |out| out.extend_from_slice(&format.private)),
            // Profile 0, no level, 8 bits, colours unknown.
            Codec::Vp8 | Codec::Vp9 => {
                full(out, b"vpcC", 1, 0, |out| out.extend_from_slice(&[0, 10, 0x82, 2, 2, 2, 0, 0]))
            }
            Codec::Opus => boxed(out, b"dOps", |out| {
                out.extend_from_slice(&[0, format.channels as u8, 0, 0]);
                words(out, &[48_000]);
                out.extend_from_slice(&[0, 0, 0]);
            }),
            Codec::Aac => full(out, b"esds", 0, 0, |out| esds(out, &format.private)),
            Codec::Pcmu | Codec::Pcma => {}
        }
    });
}

/// The descriptors of AAC (ISO 14496-1, 7.2.6) with its configuration, which has 64 bytes at most.
fn esds(out: &mut Vec<u8>, config: &[u8]) {
    let length = config.len() as u8;
    out.extend_from_slice(&[3, 23 + length, 0, 1, 0]);
    out.extend_from_slice(&[4, 15 + length, 0x40, 0x15, 0, 0, 0]);
    words(out, &[0, 0]);
    out.extend_from_slice(&[5, length]);
    out.extend_from_slice(config);
    out.extend_from_slice(&[6, 1, 2]);
}

/// When samples are decoded, and how much later they are shown: in decode order, from the times at which they are shown. Whoever sends B-pictures
/// sends them in the order of decoding, so that the sorted times are those of decoding.
pub(super) fn decode_times(shown: &[u64]) -> Vec<u64> {
    let mut times = shown.to_vec();
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_says_its_size() {
        let mut out = Vec::new();
        full(&mut out, b"mehd", 0, 1, |out| words(out, &[7]));
        assert_eq!(out, [0, 0, 0, 16, b'm', b'e', b'h', b'd', 0, 0, 0, 1, 0, 0, 0, 7]);
    }

    #[test]
    fn what_is_shown_later_is_decoded_in_time() {
        assert_eq!(decode_times(&[0, 120, 40, 80, 160]), [0, 40, 80, 120, 160]);
    }
}
