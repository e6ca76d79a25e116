//! Recordings as ffprobe and ffmpeg see them, and what media tells of them.

use std::path::Path;
use std::process::Command as Process;
use std::time::Duration;

use callgate::media::{Command, Event, RecordSettings, RecordingId, RecordingNews};

use super::calls::Gateway;

impl Gateway {
    pub async fn record(&self, settings: RecordSettings) {
        self.media.send(Command::Record(Box::new(settings))).await;
    }

    /// Everything that is told of a recording until its end, with that.
    pub async fn until_ended(&mut self, recording: RecordingId) -> Vec<RecordingNews> {
        let mut all = Vec::new();
        self.wait("a recording's end", |event| match event {
            Event::Recording { id, news } if id == recording => {
                let ended = matches!(news, RecordingNews::Ended { .. });
                all.push(news);
                ended.then_some(())
            }
            _ => None,
        })
        .await;
        all
    }

    /// Waits until a recording is long enough.
    pub async fn progress(&mut self, recording: RecordingId, enough: impl Fn(Duration) -> bool) {
        self.wait("a recording's progress", |event| match event {
            Event::Recording { id, news: RecordingNews::Progress { length, .. } } if id == recording => {
                enough(length).then_some(())
            }
            Event::Recording { id, news: RecordingNews::Ended { why, .. } } if id == recording => panic!("{why}"),
            _ => None,
        })
        .await;
    }
}

/// A file as ffprobe reads it.
#[derive(Debug)]
pub struct Probed {
    pub tracks: Vec<Probe>,
    /// Seconds, as the file says; 0 when it says nothing.
    pub duration: f64,
    /// When its time 0 was, in seconds of the day.
    pub created: f64,
}

pub struct Probe {
    pub index: usize,
    pub codec: String,
    /// The name that the file gives it.
    pub name: String,
    /// Seconds, in the order of the file.
    pub times: Vec<f64>,
    pub keyframes: Vec<bool>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, last) = (self.times.first(), self.times.last());
        write!(f, "{} {}: {} frames from {first:?} to {last:?}", self.name, self.codec, self.times.len())
    }
}

impl Probed {
    pub fn codecs(&self) -> Vec<&str> {
        self.tracks.iter().map(|track| track.codec.as_str()).collect()
    }

    pub fn track(&self, codec: &str) -> &Probe {
        self.tracks.iter().find(|track| track.codec == codec).unwrap_or_else(|| panic!("no {codec} in {self:?}"))
    }

    pub fn named(&self, name: &str) -> &Probe {
        self.tracks.iter().find(|track| track.name == name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

impl Probe {
    /// Seconds from the first frame to the last.
    pub fn length(&self) -> f64 {
        self.times.iter().copied().fold(f64::MIN, f64::max) - self.times.iter().copied().fold(f64::MAX, f64::min)
    }

    pub fn largest_gap(&self) -> f64 {
        self.times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
    }
}

fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Process::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Reads a whole file with ffprobe.
pub fn probe(path: &Path) -> Probed {
    let path = path.to_str().unwrap();
    let arguments = ["-v", "error", "-of", "json", "-show_format", "-show_streams", "-show_packets", path];
    let found: serde_json::Value = serde_json::from_slice(&output("ffprobe", &arguments)).unwrap();
    let seconds = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse().ok());
    let packets = found["packets"].as_array().unwrap();
    let tracks = found["streams"].as_array().unwrap().iter().map(|stream| {
        let of = |packet: &&serde_json::Value| packet["stream_index"] == stream["index"];
        Probe {
            index: stream["index"].as_u64().unwrap() as usize,
            codec: stream["codec_name"].as_str().unwrap_or_default().to_owned(),
            name: ["title", "handler_name"]
                .iter()
                .find_map(|tag| stream["tags"][tag].as_str())
                .unwrap_or_default()
                .to_owned(),
            times: packets.iter().filter(of).filter_map(|packet| seconds(&packet["pts_time"])).collect(),
            keyframes: packets
                .iter()
                .filter(of)
                .map(|packet| packet["flags"].as_str().is_some_and(|flags| flags.starts_with('K')))
                .collect(),
        }
    });
    // 2026-11-28T09:27:59.123456Z
    let created = found["format"]["tags"]["creation_time"].as_str().and_then(|time| time.get(11..)?.strip_suffix('Z'));
    let created =
        created.map_or(0.0, |time| time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap()));
    Probed { tracks: tracks.collect(), duration: seconds(&found["format"]["duration"]).unwrap_or(0.0), created }
}

/// Width and height of a file's picture.
pub fn size(path: &Path) -> (u64, u64) {
    let arguments = ["-v", "error", "-of", "json", "-show_streams", path.to_str().unwrap()];
    let found: serde_json::Value = serde_json::from_slice(&output("ffprobe", &arguments)).unwrap();
    let number = |name: &str| found["streams"][0][name].as_u64().unwrap();
    (number("width"), number("height"))
}

/// Samples a second of [`sound`].
pub const RATE: usize = 8000;

/// The sound of the file's nth track of sound, as it is timed: with silence where there is none.
pub fn sound(path: &Path, nth: usize) -> Vec<f32> {
    decoded(path, nth, "aresample=8000:async=1:first_pts=0")
}

fn decoded(path: &Path, nth: usize, filter: &str) -> Vec<f32> {
    let map = format!("0:a:{nth}");
    let arguments = ["-v", "error", "-i", path.to_str().unwrap(), "-map", &map, "-af", filter];
    let raw = output("ffmpeg", &[&arguments[..], &["-ac", "1", "-f", "f32le", "-"]].concat());
    raw.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// The frequency of a track of sound, by its crossings of zero, without the first and the last half second.
pub fn tone(path: &Path, nth: usize) -> f64 {
    // Sample by sample: what times jitter by on a busy machine is no other tone.
    let sound = decoded(path, nth, "aresample=8000");
    let sound = &sound[RATE / 2..sound.len() - RATE / 2];
    let rising = |pair: &[f32]| pair[0] < 0.0 && pair[1] >= 0.0;
    let crossings: Vec<usize> =
        sound.windows(2).enumerate().filter(|(_, pair)| rising(pair)).map(|(at, _)| at).collect();
    let (first, last) = (crossings.first().expect("a tone"), crossings.last().expect("a tone"));
    (crossings.len() - 1) as f64 * RATE as f64 / (last - first) as f64
}

/// Milliseconds by which the sound of a side is later than its picture, by their beats (`media::beat`): of each second the median.
pub fn sound_behind_picture(path: &Path, name: &str, nth_video: usize, nth_audio: usize) -> f64 {
    let squares = squares(path, nth_video);
    let file = probe(path);
    let times = &file.named(name).times;
    assert_eq!(squares.len(), times.len(), "every picture can be decoded");
    // When in the file a second begins, as each picture says it; not those at its edges, where the square is unclear.
    let phases: Vec<f64> = squares
        .iter()
        .zip(times)
        .filter_map(|(luma, time)| {
            let phase = (luma - 16.0) / 219.0;
            (0.1..0.9).contains(&phase).then(|| (time - phase).rem_euclid(1.0))
        })
        .collect();
    let onsets: Vec<f64> = onsets(&sound(path, nth_audio)).iter().map(|onset| onset.rem_euclid(1.0)).collect();
    assert!(phases.len() > 20 && onsets.len() > 2, "{} pictures, {} beats", phases.len(), onsets.len());
    let (seen, heard) = (around(&phases), around(&onsets));
    1000.0 * ((heard - seen + 1.5).rem_euclid(1.0) - 0.5)
}

/// The median of times that go round within a second.
fn around(times: &[f64]) -> f64 {
    let mut from_first: Vec<f64> = times.iter().map(|time| (time - times[0] + 1.5).rem_euclid(1.0) - 0.5).collect();
    from_first.sort_by(f64::total_cmp);
    times[0] + from_first[from_first.len() / 2]
}

/// How many pictures of the nth video can be decoded without an error.
pub fn pictures(path: &Path, nth: usize) -> usize {
    let map = format!("0:v:{nth}");
    let arguments = ["-v", "error", "-xerror", "-i", path.to_str().unwrap(), "-map", &map, "-fps_mode", "passthrough"];
    output("ffmpeg", &[&arguments[..], &["-vf", "scale=2:2,format=gray", "-f", "rawvideo", "-"]].concat()).len() / 4
}

/// The mean luma of the beat's square in each picture.
fn squares(path: &Path, nth: usize) -> Vec<f64> {
    let map = format!("0:v:{nth}");
    // Within its edges: what is beside it smears into them.
    let crop = "crop=32:32:16:16,format=gray";
    let arguments =
        ["-v", "error", "-i", path.to_str().unwrap(), "-map", &map, "-fps_mode", "passthrough", "-vf", crop];
    let raw = output("ffmpeg", &[&arguments[..], &["-f", "rawvideo", "-"]].concat());
    raw.chunks_exact(32 * 32).map(|square| square.iter().map(|luma| f64::from(*luma)).sum::<f64>() / 1024.0).collect()
}

/// When the tone becomes loud, in seconds.
fn onsets(sound: &[f32]) -> Vec<f64> {
    const WINDOW: usize = RATE / 200;
    let loudness: Vec<f32> =
        sound.chunks_exact(WINDOW).map(|window| window.iter().map(|sample| sample * sample).sum::<f32>()).collect();
    let mut sorted = loudness.clone();
    sorted.sort_by(f32::total_cmp);
    // A tenth of the time is loud.
    let loud = sorted[sorted.len() * 97 / 100] / 4.0;
    let rises = |pair: &[f32]| pair[0] < loud && pair[1] >= loud;
    loudness
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| rises(pair))
        .map(|(at, _)| (at + 1) as f64 * WINDOW as f64 / RATE as f64)
        .collect()
}
