//! Plays a programme in real time: what is due when, on one time line from its first picture to its last.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gst::ClockTime;
use gst::prelude::*;

use super::intake::{AHEAD, Intake, Kind, Tracks};
use super::outlet::{Outlet, described};
use super::reader::{Pictures, Reader, Wants};
use super::sound::{Cutter, Row, length};
use super::{AudioTrack, Sound, Stop, VideoTrack, encode, playlist};
use crate::endpoint::{After, Programme, Start};
use crate::media::hub::h264::{ParameterSets, read_access_unit};
use crate::media::hub::unit::VideoFormat;
use crate::media::hub::vpx;
use crate::media::{FileError, FileFault};

/// How often a player that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// The longest wait between two signs of life: the hub takes a source that sends nothing for 5 s for dead.
const LIFE: Duration = Duration::from_secs(1);
/// How long a file may take to show what it holds.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// How much of what is encoded here has to be there before it is played.
const AHEAD_ENCODED: i64 = AHEAD / 5;
/// How late a picture may be, in nanoseconds, before the programme goes on from there instead of catching up.
const LATEST: i64 = 500_000_000;
/// Shorter than that, a pass is not repeated: a file would be opened all the time.
const SHORTEST: i64 = 200_000_000;
/// How long a programme that is over stays open: what was sent last is on its way to be seen and heard.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of pictures that are kept for the last one: without them it is not repeated.
const MAX_GROUP: usize = 16 << 20;
/// A packet of Opus that holds 20 ms of silence (RFC 6716).
const OPUS_SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
const PACKET: i64 = 20_000_000;

/// Plays until the programme ends or `stop` is told.
///
/// # Errors
/// Why it cannot be played, or not any further.
pub(super) fn play(programme: &Programme, outlet: &Outlet, stop: &Stop) -> Result<(), FileError> {
    let mut files = Files::new(programme)?;
    let Some(first) = files.next(stop)? else { return Ok(()) };
    let described = first.described();
    outlet.describe(described, first.tracks.audio.as_ref());
    if programme.start == Start::Own && outlet.wait_for_taker(stop) {
        return Ok(());
    }
    let mut line = Line::new(outlet, stop, &first.tracks, programme.after == After::Hold);
    files.carries = Some(Carried::of(&first.tracks));
    let mut pass = first;
    loop {
        let (played, next) = line.play(&pass, &mut files)?;
        let Some(played) = played else { return Ok(()) };
        if played < SHORTEST && programme.after == After::Loop && files.single() {
            return Err(FileError { file: pass.file, fault: FileFault::TooShort });
        }
        if let Some(fault) = pass.reader.intake.failure() {
            tracing::warn!(file = %pass.file.display(), %fault, "a file ends before its end");
            if files.single() && programme.after == After::HangUp {
                return Err(FileError { file: pass.file, fault });
            }
        }
        match next {
            Some(next) => pass = next,
            None => break,
        }
    }
    if programme.after == After::Hold {
        line.hold();
    } else {
        stop.wait(LINGER);
    }
    Ok(())
}

/// One playing of one file.
struct Pass {
    file: PathBuf,
    reader: Reader,
    tracks: Tracks,
}

impl Pass {
    fn described(&self) -> Option<crate::endpoint::VideoStream> {
        described(self.tracks.video?, self.tracks.picture.as_deref()?)
    }
}

/// What all files of a programme have to have in common: calls agreed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Carried {
    video: Option<VideoFormat>,
    audio: Option<Sound>,
}

impl Carried {
    fn of(tracks: &Tracks) -> Carried {
        Carried { video: tracks.video.map(|track| track.format), audio: tracks.audio.as_ref().map(|track| track.sound) }
    }

    /// Whether a file with these tracks can follow.
    fn takes(&self, other: &Carried) -> bool {
        let video = other.video.is_none() || self.video.is_none() || other.video == self.video;
        let audio = other.audio.is_none() || self.audio.is_none() || other.audio == self.audio;
        let anything = self.video.is_some() && other.video.is_some() || self.audio.is_some() && other.audio.is_some();
        video && audio && anything
    }
}

/// The programme's files, one after the other.
struct Files<'a> {
    programme: &'a Programme,
    files: Vec<PathBuf>,
    at: usize,
    /// Files that could not be played since one could.
    skipped: usize,
    carries: Option<Carried>,
    /// Those whose pictures have to be encoded.
    encoded: HashSet<PathBuf>,
    /// A file that is being opened.
    opening: Option<(PathBuf, Reader)>,
}

impl<'a> Files<'a> {
    fn new(programme: &'a Programme) -> Result<Files<'a>, FileError> {
        let files = playlist::files(&programme.path)?;
        Ok(Files { programme, files, at: 0, skipped: 0, carries: None, encoded: HashSet::new(), opening: None })
    }

    fn single(&self) -> bool {
        self.files.len() == 1
    }

    /// The next file's name; at the end of a programme that repeats, what is there by then.
    fn name(&mut self) -> Result<Option<PathBuf>, FileError> {
        if self.at >= self.files.len() {
            if self.programme.after != After::Loop {
                return Ok(None);
            }
            self.files = playlist::files(&self.programme.path)?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.files.get(self.at - 1).cloned())
    }

    /// Begins to open the next file, so that it is there when it is due.
    fn prepare(&mut self) {
        if self.opening.is_some() || self.at >= self.files.len() && self.programme.after != After::Loop {
            return;
        }
        // What goes wrong is told when the file is due.
        if let Ok(Some(file)) = self.name() {
            match self.open(&file) {
                Ok(reader) => self.opening = Some((file, reader)),
                Err(_) => self.at -= 1,
            }
        }
    }

    /// The next file that can be played; of several, those that can't be are passed over.
    fn next(&mut self, stop: &Stop) -> Result<Option<Pass>, FileError> {
        loop {
            let (file, opened) = match self.opening.take() {
                Some((file, reader)) => (file, Ok(reader)),
                None => match self.name()? {
                    Some(file) => {
                        let opened = self.open(&file);
                        (file, opened)
                    }
                    None => return Ok(None),
                },
            };
            match opened.and_then(|reader| self.known(&file, reader, stop)) {
                Ok(Some(pass)) => {
                    self.skipped = 0;
                    return Ok(Some(pass));
                }
                Ok(None) => return Ok(None),
                Err(fault) => {
                    self.skipped += 1;
                    if self.skipped >= self.files.len() {
                        return Err(FileError { file, fault });
                    }
                    tracing::warn!(file = %file.display(), %fault, "a file is passed over");
                }
            }
        }
    }

    fn open(&self, file: &Path) -> Result<Reader, FileFault> {
        let pictures = if self.encoded.contains(file) { Pictures::Encoded } else { Pictures::AsTheyAre };
        let wants = self
            .carries
            .map_or(Wants::BOTH, |carries| Wants { video: carries.video.is_some(), audio: carries.audio.is_some() });
        Reader::open(file, pictures, wants)
    }

    /// Waits until it is known what the file holds; once more, encoding its pictures, when they can't be carried as they are. `None`
    /// when nobody waits for it any more.
    fn known(&mut self, file: &Path, reader: Reader, stop: &Stop) -> Result<Option<Pass>, FileFault> {
        let encoded = self.encoded.contains(file);
        let ahead = if encoded { AHEAD_ENCODED } else { AHEAD };
        let Some(tracks) = tracks(&reader.intake, ahead, stop)? else { return Ok(None) };
        let pass = Pass { file: file.to_owned(), reader, tracks };
        let differs = self.carries.is_some_and(|carries| !carries.takes(&Carried::of(&pass.tracks)));
        let odd = pass.tracks.video.is_some() && (pass.tracks.reordered || pass.described().is_none());
        if !odd && !differs {
            return Ok(Some(pass));
        }
        if encoded || pass.tracks.video.is_none() {
            return Err(if differs { FileFault::Differs } else { FileFault::Damaged });
        }
        drop(pass);
        self.encoded.insert(file.to_owned());
        let reader = self.open(file)?;
        self.known(file, reader, stop)
    }
}

fn tracks(intake: &Intake, ahead: i64, stop: &Stop) -> Result<Option<Tracks>, FileFault> {
    let until = Instant::now() + KNOWN_WITHIN;
    loop {
        if stop.is_told() {
            return Ok(None);
        }
        if let Some(tracks) = intake.tracks(ahead, LOOK)? {
            return Ok(Some(tracks));
        }
        if Instant::now() >= until {
            return Err(FileFault::Silent);
        }
    }
}

/// The programme's sound, in the form that calls agreed on.
enum Voice {
    Cut(Cutter),
    Row(Row),
}

/// The programme's time line.
struct Line<'a> {
    outlet: &'a Outlet,
    stop: &'a Stop,
    clock: gst::Clock,
    /// The system clock's time at the programme's beginning.
    began: i64,
    /// When the pass that is played began, on the programme's line.
    base: i64,
    video: Option<VideoTrack>,
    audio: Option<(AudioTrack, gst::Caps)>,
    voice: Voice,
    /// When the last picture was shown.
    shown: Option<i64>,
    /// The pictures since the last keyframe, when the last one is to be kept.
    group: Option<Vec<gst::Buffer>>,
    parameters: ParameterSets,
}

enum Due {
    Picture(i64),
    Sound(i64),
}

impl<'a> Line<'a> {
    fn new(outlet: &'a Outlet, stop: &'a Stop, tracks: &Tracks, keeps_last: bool) -> Line<'a> {
        let clock = gst::SystemClock::obtain();
        let began = clock.time().nseconds() as i64;
        let audio = tracks.audio.clone();
        let voice = match audio.as_ref().map(|track| track.sound) {
            Some(Sound::Raw) => Voice::Cut(Cutter::new(48_000, 4, 0)),
            Some(Sound::G711(format)) => {
                let silence = if format == crate::media::hub::unit::AudioFormat::Pcma { 0xd5 } else { 0xff };
                Voice::Cut(Cutter::new(8000, 1, silence))
            }
            Some(Sound::Opus) | None => Voice::Row(Row::default()),
        };
        Line {
            outlet,
            stop,
            clock,
            began,
            base: 0,
            video: tracks.video,
            audio: audio.map(|track| (track.clone(), track.sound.caps())),
            voice,
            shown: None,
            group: keeps_last.then(Vec::new),
            parameters: ParameterSets::default(),
        }
    }

    /// Plays a pass to its end: how long it was, and the next one. `None` for its length when it was stopped.
    fn play(&mut self, pass: &Pass, files: &mut Files<'_>) -> Result<(Option<i64>, Option<Pass>), FileError> {
        let intake = &pass.reader.intake;
        let first = pass.tracks.first;
        let (mut end, mut asked) = (None, false);
        loop {
            if end.is_none() {
                end = intake.ends().map(|ends| length(first, ends.video, ends.audio));
                if end.is_some() && !asked {
                    files.prepare();
                    asked = true;
                }
            }
            let limit = end.map(|length| self.base + length);
            self.hear(intake, first, limit);
            let due = match self.due(intake, first) {
                Some(due) => due,
                None if intake.starves() => {
                    if self.stop.is_told() {
                        return Ok((None, None));
                    }
                    self.outlet.alive();
                    intake.wait(LOOK);
                    continue;
                }
                None if end.is_none() => continue,
                None => break,
            };
            let (Due::Picture(at) | Due::Sound(at)) = due;
            if self.wait_until(at) {
                return Ok((None, None));
            }
            match due {
                Due::Picture(at) => self.show(intake, at),
                Due::Sound(_) => self.sound(intake, first, limit),
            }
        }
        let length = end.unwrap_or_default();
        self.base += length;
        if let Voice::Cut(cutter) = &mut self.voice {
            cutter.end_at(self.base);
        }
        let next = files.next(self.stop)?;
        // The last picture is seen, and the last sound heard, for as long as it lasts.
        if next.is_none() && (self.say_rest() || self.wait_until(self.base)) {
            return Ok((None, None));
        }
        Ok((Some(length), next))
    }

    /// Has sound at hand for as long as it takes to know which packet is due.
    fn hear(&mut self, intake: &Intake, first: i64, limit: Option<i64>) {
        let Voice::Cut(cutter) = &mut self.voice else { return };
        while cutter.next().is_none() {
            let Some(piece) = intake.take(Kind::Audio) else { return };
            if let Ok(bytes) = piece.buffer.map_readable() {
                cutter.add(self.base + piece.time - first, &bytes, limit);
            }
        }
    }

    /// What is due next; `None` when that is not known, or nothing is left.
    fn due(&self, intake: &Intake, first: i64) -> Option<Due> {
        let place = |time: i64| self.base + time - first;
        let picture = intake.next(Kind::Video).map(place);
        let sound = match &self.voice {
            Voice::Cut(cutter) => cutter.next(),
            Voice::Row(_) => intake.next(Kind::Audio).map(place),
        };
        if intake.starves() && (picture.is_none() || sound.is_none()) {
            return None;
        }
        match (picture, sound) {
            (Some(picture), Some(sound)) if sound < picture => Some(Due::Sound(sound)),
            (Some(picture), _) => Some(Due::Picture(picture)),
            (None, sound) => sound.map(Due::Sound),
        }
    }

    /// Waits until it is so late on the programme's line; true when it is to stop.
    fn wait_until(&mut self, at: i64) -> bool {
        loop {
            if self.stop.is_told() {
                return true;
            }
            let early = self.began + at - self.clock.time().nseconds() as i64;
            if early <= 0 {
                if -early > LATEST {
                    tracing::debug!(
                        late_ms = -early / 1_000_000,
                        "a programme could not be played in time and goes on later"
                    );
                    self.began -= early;
                }
                return false;
            }
            if self.stop.wait(Duration::from_nanos(early as u64).min(LIFE)) {
                return true;
            }
            self.outlet.alive();
        }
    }

    /// The system clock's time of a moment of the programme.
    fn on_clock(&self, at: i64) -> ClockTime {
        ClockTime::from_nseconds((self.began + at).max(0) as u64)
    }

    fn show(&mut self, intake: &Intake, at: i64) {
        let Some(piece) = intake.take(Kind::Video) else { return };
        let Some(track) = self.video else { return };
        // A B-frame where none was at the beginning: shown late it would be seen as a jump back.
        if self.shown.is_some_and(|shown| at <= shown) {
            return;
        }
        self.shown = Some(at);
        self.keep(track, &piece.buffer);
        self.outlet.picture(track, &piece.buffer, self.on_clock(at));
    }

    /// Notes a picture for when it is the last.
    fn keep(&mut self, track: VideoTrack, picture: &gst::Buffer) {
        let Some(group) = &mut self.group else { return };
        let keyframe = picture.map_readable().is_ok_and(|bytes| match track.format {
            VideoFormat::H264 => read_access_unit(&bytes, &mut self.parameters).keyframe,
            VideoFormat::Vp8 => vpx::Frame::read(vpx::Codec::Vp8, &bytes).is_some_and(|frame| frame.keyframe),
            VideoFormat::Vp9 => vpx::Frame::read(vpx::Codec::Vp9, &bytes).is_some_and(|frame| frame.keyframe),
            VideoFormat::Other => false,
        });
        if keyframe {
            group.clear();
        } else if group.is_empty() || group.iter().map(|kept| kept.size()).sum::<usize>() > MAX_GROUP {
            group.clear();
            return;
        }
        group.push(picture.clone());
    }

    fn sound(&mut self, intake: &Intake, first: i64, limit: Option<i64>) {
        let packet = match &mut self.voice {
            Voice::Cut(cutter) => {
                cutter.take().map(|(begins, ends, bytes)| (begins, ends, gst::Buffer::from_mut_slice(bytes)))
            }
            Voice::Row(row) => intake.take(Kind::Audio).and_then(|piece| {
                let duration = if piece.duration > 0 { piece.duration } else { PACKET };
                let begins = row.place(self.base + piece.time - first, duration, limit)?;
                Some((begins, begins + duration, piece.buffer))
            }),
        };
        if let Some((begins, ends, buffer)) = packet {
            self.say(begins, ends, buffer);
        }
    }

    fn say(&self, begins: i64, ends: i64, buffer: gst::Buffer) {
        let Some((track, caps)) = &self.audio else { return };
        let duration = ClockTime::from_nseconds((ends - begins).max(0) as u64);
        self.outlet.sound(track.sound, caps, buffer, self.on_clock(begins), duration);
    }

    /// Says what is left of the programme's last sound; true when it is to stop.
    fn say_rest(&mut self) -> bool {
        while let Voice::Cut(cutter) = &mut self.voice
            && let Some(begins) = cutter.next()
        {
            if self.wait_until(begins) {
                return true;
            }
            if let Voice::Cut(cutter) = &mut self.voice
                && let Some((begins, ends, bytes)) = cutter.take()
            {
                self.say(begins, ends, gst::Buffer::from_mut_slice(bytes));
            }
        }
        false
    }

    /// Keeps the last picture on the line, with silence, until it is to stop. Sent once a second, the picture reaches also who calls
    /// now, and who lost a packet of it.
    fn hold(mut self) {
        let group = self.group.take().unwrap_or_default();
        let still = self.video.filter(|_| !group.is_empty()).and_then(|track| {
            let still = encode::still(track.format, &group);
            still
                .map_err(|error| tracing::warn!(%error, "the last picture is not repeated"))
                .ok()
                .map(|still| (track, still))
        });
        drop(group);
        let mut at = self.clock.time().nseconds() as i64 - self.began;
        at = at.max(self.base).max(self.filled_to());
        let mut next_picture = at;
        loop {
            if self.wait_until(at) {
                return;
            }
            if let Some((track, still)) = &still
                && at >= next_picture
            {
                self.outlet.picture(*track, still, self.on_clock(at));
                next_picture = at + LIFE.as_nanos() as i64;
            }
            self.outlet.alive();
            let silence = match &self.voice {
                _ if self.audio.is_none() => None,
                Voice::Row(_) => Some(OPUS_SILENCE.to_vec()),
                Voice::Cut(cutter) => Some(cutter.quiet()),
            };
            match silence {
                Some(bytes) => {
                    self.say(at, at + PACKET, gst::Buffer::from_mut_slice(bytes));
                    at += PACKET;
                }
                None => at += LIFE.as_nanos() as i64,
            }
        }
    }

    fn filled_to(&self) -> i64 {
        match &self.voice {
            Voice::Cut(cutter) => cutter.filled_to(),
            Voice::Row(row) => row.filled_to(),
        }
    }
}
