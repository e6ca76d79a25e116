//! Reads what [`super::fragments`] writes. Pure.

use super::boxes::EPOCH;
use super::fragments::{HEAD, PAGE};
use super::frame::{Codec, Format, Place};
use super::read::{Entry, Head};

/// The boxes of a body that is held whole: kind and body of each, up to the first that does not fit.
fn boxes(mut body: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(*body.first_chunk()?) as usize;
        let kind = *body.get(4..)?.first_chunk()?;
        let inner = body.get(8..size)?;
        body = &body[size..];
        Some((kind, inner))
    })
}

fn find<'a>(body: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(body, |body, wanted| boxes(body).find(|(kind, _)| kind == *wanted).map(|(_, body)| body))
}

fn word(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*body.get(at..)?.first_chunk()?))
}

fn half(body: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?).into())
}

/// Whether these bytes begin an MP4 file.
pub(super) fn is_mp4(start: &[u8]) -> bool {
    start.get(4..8) == Some(b"ftyp")
}

/// The head, and each track's scale.
pub(super) fn head(bytes: &[u8]) -> Option<(Head, Vec<u32>)> {
    let moov = find(bytes.get(..HEAD)?, &[b"moov"])?;
    let created = word(find(moov, &[b"mvhd"])?, 4)?;
    let date = (i64::from(created) - EPOCH) * 1_000_000_000;
    let mut tracks = Vec::new();
    for (_, trak) in boxes(moov).filter(|(kind, _)| kind == b"trak") {
        let number = word(find(trak, &[b"tkhd"])?, 12)?;
        let scale = word(find(trak, &[b"mdia", b"mdhd"])?, 12)?.max(1);
        let name = find(trak, &[b"mdia", b"hdlr"])?.get(24..)?.strip_suffix(&[0])?;
        let place = Place::of(std::str::from_utf8(name).ok()?)?;
        let description = find(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])?.get(8..)?;
        let (kind, body) = boxes(description).next()?;
        tracks.push((number, place, format(kind, body)?, scale));
    }
    tracks.sort_by_key(|(number, ..)| *number);
    let in_order = (1..).zip(&tracks).all(|(nth, (number, ..))| nth == *number);
    let is_finished = bytes.get(PAGE + 4..PAGE + 8) == Some(b"sidx");
    let scales = tracks.iter().map(|(.., scale)| *scale).collect();
    let tracks = tracks.into_iter().map(|(_, place, format, _)| (place, format)).collect();
    in_order.then_some((Head { is_finished, date, tracks }, scales))
}

fn format(kind: [u8; 4], body: &[u8]) -> Option<Format> {
    let codec = match &kind {
        b"avc1" => Codec::H264,
        b"vp08" => Codec::Vp8,
        b"vp09" => Codec::Vp9,
        b"Opus" => Codec::Opus,
        b"ulaw" => Codec::Pcmu,
        b"alaw" => Codec::Pcma,
        b"mp4a" => Codec::Aac,
        _ => return None,
    };
    if matches!(codec, Codec::H264 | Codec::Vp8 | Codec::Vp9) {
        let private = find(body.get(78..)?, &[b"avcC"]).unwrap_or_default().to_vec();
        return Some(Format { codec, private, width: half(body, 24)?, height: half(body, 26)?, rate: 0, channels: 0 });
    }
    let (channels, rate) = (half(body, 16)?, word(body, 24)? >> 16);
    Some(match codec {
        Codec::Opus => super::format::opus(channels),
        Codec::Aac => {
            let esds = find(body.get(28..)?, &[b"esds"])?;
            // As it is written here: after the descriptors' heads.
            let length = usize::from(*esds.get(25)?);
            super::format::aac(esds.get(26..26 + length)?, rate, channels)?
        }
        codec => super::format::g711(codec, rate, channels),
    })
}

/// The samples of a fragment whose `moof` has this body and begins at byte `at`. `None` when it makes no sense.
pub(super) fn fragment(moof: &[u8], at: u64, scales: &[u32]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    for (_, traf) in boxes(moof).filter(|(kind, _)| kind == b"traf") {
        let track = word(find(traf, &[b"tfhd"])?, 4)?.checked_sub(1)? as usize;
        let scale = u64::from(*scales.get(track)?);
        let tfdt = find(traf, &[b"tfdt"])?;
        let mut decoded = u64::from(word(tfdt, 4)?) << 32 | u64::from(word(tfdt, 8)?);
        let trun = find(traf, &[b"trun"])?;
        let mut data = at + u64::from(word(trun, 8)?);
        for sample in trun.get(12..)?.chunks_exact(16).take(word(trun, 4)? as usize) {
            let (duration, size, flags) = (word(sample, 0)?, word(sample, 4)?, word(sample, 8)?);
            let later = i64::from(word(sample, 12)?.cast_signed());
            let shown = decoded.checked_add_signed(later)?;
            entries.push(Entry {
                track,
                time: (shown.checked_mul(1000)? + scale / 2) / scale,
                keyframe: flags & 0x1_0000 == 0,
                at: data,
                size: size as usize,
                piece: at,
                first: false,
            });
            data += u64::from(size);
            decoded = decoded.checked_add(u64::from(duration))?;
        }
    }
    let first = entries.iter().map(|entry| entry.time).min();
    entries.iter_mut().for_each(|entry| entry.first = Some(entry.time) == first);
    Some(entries)
}
