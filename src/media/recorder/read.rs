//! Reads the files that are written here, also those that were left open: up to the last whole piece.
//!
//! Nothing else needs to be read, and nothing of GStreamer's can: a demuxer takes what follows a torn cluster for damage.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::disk::DiskError;
use super::ebml::{children, header, read_uint};
use super::fragments;
use super::frame::{Codec, Format, Place};
use super::matroska::{HEAD, Matroska, ids};
use super::muxer::Muxer;
use super::read_mp4;

/// Bytes of a piece: far above what is written at once. A larger one is none of ours.
const MAX_CLUSTER: u64 = 64 << 20;

/// Why a recording cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error("this is no recording of callgate's")]
    Foreign,
    /// It is being written.
    #[error("it is still being recorded")]
    Live,
    /// It has a head at most.
    #[error("there is nothing in it")]
    Empty,
}

/// A frame's place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Index of its track.
    pub(super) track: usize,
    /// Milliseconds.
    pub(super) time: u64,
    pub(super) keyframe: bool,
    pub(super) at: u64,
    pub(super) size: usize,
    /// Where its piece begins, and whether it is the first in it.
    pub(super) piece: u64,
    pub(super) first: bool,
}

/// What kind of file it is.
#[derive(Debug)]
enum Kind {
    Matroska,
    /// With the tracks' scales.
    Mp4(Vec<u32>),
}

/// A recording that is read.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    kind: Kind,
    pub(super) tracks: Vec<(Place, Format)>,
    /// Nanoseconds since 2001.
    pub(super) date: i64,
    /// It was finished: it has its size.
    pub(super) is_finished: bool,
    size: u64,
    /// Where the next piece may be.
    next: u64,
}

impl Reader {
    /// # Errors
    /// [`ReadError`].
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(DiskError::from)?;
        let size = file.metadata().map_err(DiskError::from)?.len();
        if size == 0 {
            return Err(ReadError::Empty);
        }
        let mut bytes = vec![0; fragments::HEAD.min(size as usize)];
        file.read_exact_at(&mut bytes, 0).map_err(DiskError::from)?;
        let (kind, head, next) = if read_mp4::is_mp4(&bytes) {
            let (head, scales) = read_mp4::head(&bytes).ok_or(ReadError::Foreign)?;
            (Kind::Mp4(scales), head, fragments::HEAD)
        } else {
            let head = bytes.get(..HEAD).and_then(read_head).ok_or(ReadError::Foreign)?;
            (Kind::Matroska, head, HEAD)
        };
        let Head { is_finished, date, tracks } = head;
        Ok(Self { file, kind, tracks, date, is_finished, size, next: next as u64 })
    }

    /// What writes on where it ends.
    pub(super) fn muxer(&self) -> Box<dyn Muxer> {
        match self.kind {
            Kind::Matroska => Box::new(Matroska::new(0, self.date)),
            Kind::Mp4(_) => Box::new(fragments::Fragments::new(0, self.date)),
        }
    }

    /// The frames of the next piece; `None` behind the last whole one.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn piece(&mut self) -> Result<Option<Vec<Entry>>, DiskError> {
        match self.kind {
            Kind::Matroska => self.cluster(),
            Kind::Mp4(_) => self.fragment(),
        }
    }

    fn fragment(&mut self) -> Result<Option<Vec<Entry>>, DiskError> {
        let Kind::Mp4(scales) = &self.kind else { return Ok(None) };
        let Some(moof) = self.body(self.next, b"moof")? else { return Ok(None) };
        let mdat_at = self.next + moof.len() as u64 + 8;
        let Some(mdat) = self.size_of(mdat_at, b"mdat")? else { return Ok(None) };
        let Some(entries) = read_mp4::fragment(&moof, self.next, scales) else { return Ok(None) };
        self.next = mdat_at + mdat;
        Ok(Some(entries))
    }

    /// The size of the box at byte `at`, if it is of this kind and whole.
    fn size_of(&self, at: u64, kind: &[u8; 4]) -> Result<Option<u64>, DiskError> {
        if at + 8 > self.size {
            return Ok(None);
        }
        let mut start = [0; 8];
        self.file.read_exact_at(&mut start, at)?;
        let [s0, s1, s2, s3, ref of @ ..] = start;
        let size = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
        Ok((of == kind && (8..=MAX_CLUSTER).contains(&size) && at + size <= self.size).then_some(size))
    }

    fn body(&self, at: u64, kind: &[u8; 4]) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(size) = self.size_of(at, kind)? else { return Ok(None) };
        let mut body = vec![0; size as usize - 8];
        self.file.read_exact_at(&mut body, at + 8)?;
        Ok(Some(body))
    }

    fn cluster(&mut self) -> Result<Option<Vec<Entry>>, DiskError> {
        let mut start = [0; 16];
        let length = (self.size - self.next).min(16) as usize;
        self.file.read_exact_at(&mut start[..length], self.next)?;
        let Some(found) = header(&start[..length]) else { return Ok(None) };
        let Some(size) = found.size.filter(|size| found.id == ids::CLUSTER && *size <= MAX_CLUSTER) else {
            return Ok(None);
        };
        let (cluster, body_at) = (self.next, self.next + found.length as u64);
        if body_at + size > self.size {
            return Ok(None);
        }
        let mut body = vec![0; size as usize];
        self.file.read_exact_at(&mut body, body_at)?;
        let Some(entries) = self.entries(&body, cluster, body_at) else { return Ok(None) };
        self.next = body_at + size;
        Ok(Some(entries))
    }

    fn entries(&self, body: &[u8], cluster: u64, body_at: u64) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut base = 0;
        for (id, child) in children(body) {
            match id {
                ids::TIMESTAMP => base = read_uint(child)?,
                ids::SIMPLE_BLOCK => {
                    let &[number, high, low, flags, ..] = child else { return None };
                    let track = usize::from(number.checked_sub(0x81)?);
                    if track >= self.tracks.len() {
                        return None;
                    }
                    let time = base.checked_add_signed(i64::from(i16::from_be_bytes([high, low])))?;
                    let offset = child.as_ptr() as usize - body.as_ptr() as usize + 4;
                    entries.push(Entry {
                        track,
                        time,
                        keyframe: flags & 0x80 != 0,
                        at: body_at + offset as u64,
                        size: child.len() - 4,
                        piece: cluster,
                        first: entries.is_empty(),
                    });
                }
                _ => {}
            }
        }
        Some(entries)
    }

    /// Where the pieces that were read end.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// A frame's bytes.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn data(&self, entry: &Entry) -> Result<Vec<u8>, DiskError> {
        Ok(self.read(entry)?)
    }

    /// The same.
    pub(super) fn read(&self, entry: &Entry) -> std::io::Result<Vec<u8>> {
        let mut data = vec![0; entry.size];
        self.file.read_exact_at(&mut data, entry.at)?;
        Ok(data)
    }
}

/// What a head says.
pub(super) struct Head {
    pub(super) is_finished: bool,
    pub(super) date: i64,
    pub(super) tracks: Vec<(Place, Format)>,
}

fn read_head(head: &[u8]) -> Option<Head> {
    let ebml = header(head).filter(|found| found.id == ids::EBML)?;
    let segment_at = ebml.length + usize::try_from(ebml.size?).ok()?;
    let segment = header(head.get(segment_at..)?).filter(|found| found.id == ids::SEGMENT)?;
    let (mut date, mut tracks) = (None, Vec::new());
    for (id, child) in children(head.get(segment_at + segment.length..)?) {
        match id {
            ids::INFO => {
                let of = |wanted| children(child).find(|(id, _)| *id == wanted).map(|(_, body)| body);
                if of(ids::WRITING_APP) != Some(b"callgate") {
                    return None;
                }
                date = of(ids::DATE).and_then(|body| body.try_into().ok()).map(i64::from_be_bytes);
            }
            ids::TRACKS => {
                for (_, entry) in children(child).filter(|(id, _)| *id == ids::TRACK_ENTRY) {
                    tracks.push(read_track(entry)?);
                }
            }
            _ => {}
        }
    }
    tracks.sort_by_key(|(number, ..)| *number);
    // Their numbers are their places, from 1 on.
    let in_order = (1..).zip(&tracks).all(|(nth, (number, ..))| nth == *number);
    let tracks = tracks.into_iter().map(|(_, place, format)| (place, format)).collect();
    in_order.then_some(Head { is_finished: segment.size.is_some(), date: date?, tracks })
}

fn read_track(entry: &[u8]) -> Option<(u64, Place, Format)> {
    let of = |wanted| children(entry).find(|(id, _)| *id == wanted).map(|(_, body)| body);
    let in_kind =
        |kind, wanted| children(of(kind).unwrap_or_default()).find(|(id, _)| *id == wanted).map(|(_, body)| body);
    let number = |kind, wanted| in_kind(kind, wanted).and_then(read_uint).unwrap_or(0) as u32;
    let private = of(ids::CODEC_PRIVATE).unwrap_or_default();
    let codec = super::matroska::codec_of(of(ids::CODEC_ID)?, private)?;
    let rate = in_kind(ids::AUDIO, ids::SAMPLING_FREQUENCY)
        .and_then(|body| body.try_into().ok())
        .map_or(0.0, f64::from_be_bytes);
    let format = Format {
        codec,
        private: if matches!(codec, Codec::Pcmu | Codec::Pcma) { Vec::new() } else { private.to_vec() },
        width: number(ids::VIDEO, ids::PIXEL_WIDTH),
        height: number(ids::VIDEO, ids::PIXEL_HEIGHT),
        rate: rate as u32,
        channels: number(ids::AUDIO, ids::CHANNELS),
    };
    let place = Place::of(std::str::from_utf8(of(ids::NAME)?).ok()?)?;
    Some((of(ids::TRACK_NUMBER).and_then(read_uint)?, place, format))
}
