//! What a picture is made of.

use sha2::{Digest, Sha256};

use crate::media::hub::h264::{IDR, nals};
use crate::media::hub::vpx::{Codec, Frame};

/// The digest of an H.264 byte stream's slices, and whether it is a keyframe.
pub(super) fn h264(unit: &[u8]) -> ([u8; 32], bool) {
    let mut digest = Sha256::new();
    let mut keyframe = false;
    for nal in nals(unit).into_iter().filter_map(|range| unit.get(range)) {
        if let Some(kind @ 1..=IDR) = nal.first().map(|first| first & 0x1f) {
            keyframe |= kind == IDR;
            digest.update([0, 0, 0, 1]);
            digest.update(nal);
        }
    }
    (digest.finalize().into(), keyframe)
}

/// The digest of a frame of VP8 or VP9, and whether it is a keyframe.
pub(super) fn vpx(codec: Codec, frame: &[u8]) -> ([u8; 32], bool) {
    (Sha256::digest(frame).into(), Frame::read(codec, frame).is_some_and(|frame| frame.keyframe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_slices_whatever_stands_around_them() {
        let bare = [0, 0, 0, 1, 0x65, 1, 2, 3, 0, 0, 0, 1, 0x65, 4];
        let dressed = [
            [0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x67, 9, 9].as_slice(),
            &[0, 0, 1, 0x68, 8, 0, 0, 1, 0x65, 1, 2, 3, 0, 0, 1, 0x65, 4],
        ]
        .concat();
        assert_eq!(h264(&bare), h264(&dressed));
        assert!(h264(&bare).1);
        assert_ne!(h264(&bare).0, h264(&[0, 0, 1, 0x65, 1, 2, 3]).0);
    }

    #[test]
    fn a_picture_without_an_idr_slice_is_no_keyframe() {
        assert!(!h264(&[0, 0, 0, 1, 0x41, 1, 2, 3]).1);
        assert!(!h264(&[]).1);
        assert!(vpx(Codec::Vp8, &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0]).1);
        assert!(!vpx(Codec::Vp8, &[0x11]).1);
    }
}
