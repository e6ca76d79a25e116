//! A recording as a plain MP4 file, which plays while it is loaded (its index is in front); cut on keyframes, nothing encoded anew but G.711,
//! which MP4 does not know. Blocks.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use super::boxes::{self, MOVIE_SCALE, TrackBox, boxed, decode_times, full, scale, units, words};
use super::disk::{DiskError, sync_directory_of};
use super::format::{self, sound_length};
use super::frame::{Codec, Format, Frame, Place};
use super::opus;
use super::read::{Entry, ReadError, Reader};
use crate::media::tap::Track;

const MILLISECOND: u64 = 1_000_000;

/// Why there is no export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    #[error("{0}")]
    Read(#[from] ReadError),
    /// Nothing of the recording is in that time.
    #[error("the recording has nothing in that time")]
    Empty,
    #[error("the export cannot be written: {0}")]
    Write(DiskError),
    #[error("the sound cannot be encoded")]
    Encoder,
}

/// Where a sample's bytes are.
enum Bytes {
    /// In the recording.
    There(Entry),
    Here(Vec<u8>),
}

struct Sample {
    /// Nanoseconds from the export's beginning.
    time: u64,
    keyframe: bool,
    bytes: Bytes,
}

impl Sample {
    fn size(&self) -> usize {
        match &self.bytes {
            Bytes::There(entry) => entry.size,
            Bytes::Here(bytes) => bytes.len(),
        }
    }
}

struct Exported {
    place: Place,
    format: Format,
    samples: Vec<Sample>,
}

/// Writes what a recording has between `from` and `to`, from its beginning, to a new file `out`: from the last keyframe before, of the line's
/// picture if it has one. What is at `out` is replaced once the export is whole. Blocks.
///
/// # Errors
/// [`ExportError`].
pub fn export(path: &Path, from: Duration, to: Option<Duration>, out: &Path) -> Result<(), ExportError> {
    let mut reader = Reader::open(path)?;
    let mut entries = Vec::new();
    while let Some(cluster) = reader.piece().map_err(ReadError::from)? {
        entries.extend(cluster);
    }
    let (begin, end) = cut(&reader, &entries, from, to).ok_or(ExportError::Empty)?;
    let date = reader.date.saturating_add_unsigned(begin * MILLISECOND);
    let mut tracks = Vec::new();
    let mut order: Vec<usize> = (0..reader.tracks.len()).collect();
    order.sort_by_key(|track| reader.tracks[*track].0.rank());
    for track in order {
        let (place, format) = &reader.tracks[track];
        let mut of_track =
            entries.iter().filter(|entry| entry.track == track && (begin..end).contains(&entry.time)).peekable();
        // Each picture from its own first keyframe on.
        while of_track.next_if(|entry| !entry.keyframe).is_some() {}
        let exported = samples(&reader, *place, format, begin, of_track)?;
        if !exported.samples.is_empty() {
            tracks.push(exported);
        }
    }
    if tracks.is_empty() {
        return Err(ExportError::Empty);
    }
    // Beside the place where it will be: a name that is there is a whole file.
    let mut partial = out.as_os_str().to_owned();
    partial.push(".part");
    let partial = Path::new(&partial);
    let written = write(&reader, &tracks, date, partial).and_then(|()| {
        std::fs::rename(partial, out)?;
        sync_directory_of(out);
        Ok(())
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(partial);
        ExportError::Write(error.into())
    })
}

/// The times, in milliseconds, between which the export is.
fn cut(reader: &Reader, entries: &[Entry], from: Duration, to: Option<Duration>) -> Option<(u64, u64)> {
    let from = u64::try_from(from.as_millis()).ok()?;
    let end = to.map_or(u64::MAX, |to| u64::try_from(to.as_millis()).unwrap_or(u64::MAX));
    let videos = reader.tracks.iter().enumerate().filter(|(_, (place, _))| place.kind == Track::Video);
    let main = videos.min_by_key(|(_, (place, _))| place.rank()).map(|(track, _)| track);
    let keyframes = || {
        entries
            .iter()
            .filter(|entry| entry.keyframe && main.is_none_or(|main| main == entry.track))
            .map(|entry| entry.time)
    };
    let before = keyframes().filter(|time| *time <= from).max();
    let begin = before.or_else(|| keyframes().min())?;
    (begin < end).then_some((begin, end))
}

fn samples<'a>(
    reader: &Reader,
    place: Place,
    format: &Format,
    begin: u64,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<Exported, ExportError> {
    let time = |entry: &Entry| (entry.time - begin) * MILLISECOND;
    if matches!(format.codec, Codec::Pcmu | Codec::Pcma) {
        let shared = std::sync::Arc::new(format.clone());
        let frame = |entry: &Entry| -> Result<Frame, DiskError> {
            Ok(Frame { place, format: shared.clone(), pts: time(entry), keyframe: true, data: reader.data(entry)? })
        };
        let frames = entries.map(frame).collect::<Result<Vec<_>, _>>().map_err(ReadError::from)?;
        let packets = opus::encode(format, &frames).ok_or(ExportError::Encoder)?;
        let samples = packets.into_iter().map(|(time, data)| Sample { time, keyframe: true, bytes: Bytes::Here(data) });
        return Ok(Exported { place, format: format::opus(1), samples: samples.collect() });
    }
    let samples =
        entries.map(|entry| Sample { time: time(entry), keyframe: entry.keyframe, bytes: Bytes::There(*entry) });
    Ok(Exported { place, format: format.clone(), samples: samples.collect() })
}

fn write(reader: &Reader, tracks: &[Exported], date: i64, path: &Path) -> std::io::Result<()> {
    // The samples of all tracks in the order of their times, each where it will be after the index.
    let mut order: Vec<(usize, usize)> = tracks
        .iter()
        .enumerate()
        .flat_map(|(track, exported)| (0..exported.samples.len()).map(move |nth| (track, nth)))
        .collect();
    order.sort_by_key(|&(track, nth)| (tracks[track].samples[nth].time, track, nth));
    let mut offsets: Vec<Vec<u64>> = tracks.iter().map(|exported| vec![0; exported.samples.len()]).collect();
    let mut size = 0;
    for &(track, nth) in &order {
        offsets[track][nth] = size;
        size += tracks[track].samples[nth].size() as u64;
    }
    let mut head = Vec::new();
    boxes::ftyp(&mut head);
    let mut movie = Vec::new();
    moov(&mut movie, tracks, date, &offsets);
    // The media's box has a size of 64 bits.
    let base = (head.len() + movie.len() + 16) as u64;
    offsets.iter_mut().flatten().for_each(|offset| *offset += base);
    moov(&mut head, tracks, date, &offsets);
    words(&mut head, &[1]);
    head.extend_from_slice(b"mdat");
    head.extend_from_slice(&(size + 16).to_be_bytes());

    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&head)?;
    for (track, nth) in order {
        match &tracks[track].samples[nth].bytes {
            Bytes::There(entry) => out.write_all(&reader.read(entry)?)?,
            Bytes::Here(bytes) => out.write_all(bytes)?,
        }
    }
    out.into_inner()?.sync_data()
}

fn moov(out: &mut Vec<u8>, tracks: &[Exported], date: i64, offsets: &[Vec<u64>]) {
    let tables: Vec<Table> = tracks.iter().map(Table::of).collect();
    let length = tables.iter().map(|table| table.length).max().unwrap_or(0);
    boxed(out, b"moov", |out| {
        boxes::mvhd(out, date, length, tracks.len() as u32 + 1);
        for (((number, exported), table), offsets) in (1..).zip(tracks).zip(&tables).zip(offsets) {
            let track = TrackBox {
                number,
                place: exported.place,
                format: &exported.format,
                date,
                length: table.length,
                media_length: table.durations.iter().sum(),
                delay: table.delay,
            };
            boxes::trak(out, &track, |out| table.write(out, exported, offsets));
        }
    });
}

/// A track's times.
struct Table {
    /// In the track's scale.
    durations: Vec<u32>,
    /// How much later than it is decoded a sample is shown.
    later: Vec<i32>,
    /// Before the first, in the movie's scale.
    delay: u32,
    /// In the movie's scale.
    length: u32,
}

impl Table {
    fn of(exported: &Exported) -> Self {
        let scale = scale(&exported.format);
        let shown: Vec<u64> = exported.samples.iter().map(|sample| units(sample.time, scale)).collect();
        let decoded = decode_times(&shown);
        let last = exported.samples.last().map_or(0, |sample| match &sample.bytes {
            Bytes::Here(bytes) => units(sound_length(&exported.format, bytes), scale),
            Bytes::There(_) => match exported.format.codec {
                Codec::Aac => 1024,
                Codec::Opus => u64::from(scale) / 50,
                _ => u64::from(scale) / 25,
            },
        });
        let mut durations: Vec<u32> = decoded.windows(2).map(|pair| (pair[1] - pair[0]) as u32).collect();
        durations.push(last as u32);
        let first = decoded.first().copied().unwrap_or(0);
        let in_movie = |time: u64| (time * u64::from(MOVIE_SCALE) / u64::from(scale)) as u32;
        Self {
            later: shown
                .iter()
                .zip(&decoded)
                .map(|(shown, decoded)| (*shown as i64 - *decoded as i64) as i32)
                .collect(),
            delay: in_movie(first),
            length: in_movie(decoded.last().copied().unwrap_or(0) + last),
            durations,
        }
    }

    fn write(&self, out: &mut Vec<u8>, exported: &Exported, offsets: &[u64]) {
        let count = exported.samples.len() as u32;
        full(out, b"stts", 0, 0, |out| runs(out, &self.durations));
        if self.later.iter().any(|later| *later != 0) {
            let later: Vec<u32> = self.later.iter().map(|later| later.cast_unsigned()).collect();
            full(out, b"ctts", 1, 0, |out| runs(out, &later));
        }
        if exported.place.kind == Track::Video {
            let keyframes: Vec<u32> =
                (1..).zip(&exported.samples).filter(|(_, sample)| sample.keyframe).map(|(nth, _)| nth).collect();
            full(out, b"stss", 0, 0, |out| {
                words(out, &[keyframes.len() as u32]);
                words(out, &keyframes);
            });
        }
        // Each sample is a chunk of its own.
        full(out, b"stsc", 0, 0, |out| words(out, &[1, 1, 1, 1]));
        full(out, b"stsz", 0, 0, |out| {
            words(out, &[0, count]);
            exported.samples.iter().for_each(|sample| words(out, &[sample.size() as u32]));
        });
        full(out, b"co64", 0, 0, |out| {
            words(out, &[count]);
            offsets.iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes()));
        });
    }
}

/// Values as runs: how often, which.
fn runs(out: &mut Vec<u8>, values: &[u32]) {
    let runs: Vec<(u32, u32)> = values.chunk_by(|a, b| a == b).map(|run| (run.len() as u32, run[0])).collect();
    words(out, &[runs.len() as u32]);
    runs.iter().for_each(|(count, value)| words(out, &[*count, *value]));
}
