//! Media files, made by ffmpeg: pictures that hold their own number, and a tone.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Pictures a second.
pub const FPS: usize = 25;
/// Pictures from keyframe to keyframe.
pub const GROUP: usize = 25;

/// What a clip shows and sounds.
#[derive(Debug, Clone, Copy)]
pub struct Clip {
    pub width: usize,
    pub height: usize,
    /// None at all for 0.
    pub pictures: usize,
    /// Hz; silent for 0, in the sense that it has no sound at all.
    pub tone: u32,
    /// How long the sound lasts, in milliseconds.
    pub sound_ms: u32,
}

impl Default for Clip {
    fn default() -> Self {
        Clip { width: 512, height: 288, pictures: FPS, tone: 440, sound_ms: 1000 }
    }
}

impl Clip {
    pub fn lasting(seconds: usize) -> Clip {
        Clip { pictures: FPS * seconds, sound_ms: 1000 * seconds as u32, ..Clip::default() }
    }

    /// Makes a file; `coding` says how, in ffmpeg's words. The file's name says which container.
    pub fn make(self, file: &Path, coding: &[&str]) -> PathBuf {
        let size = format!("{}x{}", self.width, self.height);
        let mut command = Command::new("ffmpeg");
        command.args(["-y", "-loglevel", "error"]);
        if self.pictures > 0 {
            command.args(["-f", "rawvideo", "-pix_fmt", "gray", "-s", &size, "-r", &FPS.to_string(), "-i", "-"]);
        }
        if self.tone > 0 {
            let seconds = f64::from(self.sound_ms) / 1000.0;
            let tone = format!("sine=frequency={}:sample_rate=48000:duration={seconds}", self.tone);
            command.args(["-f", "lavfi", "-i", &tone]);
        }
        if self.pictures > 0 {
            command.args(["-pix_fmt", "yuv420p", "-g", &GROUP.to_string()]);
        }
        let mut ffmpeg = command
            .args(coding)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ffmpeg (Debian: apt-get install ffmpeg)");
        let mut input = ffmpeg.stdin.take().expect("piped");
        for number in 0..self.pictures {
            // It ends early when it has no use for more.
            if input.write_all(&self.picture(number)).is_err() {
                break;
            }
        }
        drop(input);
        let done = ffmpeg.wait_with_output().expect("it was started");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        file.to_owned()
    }

    /// A picture whose topmost rows hold its number, as `Browser::stamps` reads it: 32 blocks, the highest bit first. Below, a bar moves.
    fn picture(self, number: usize) -> Vec<u8> {
        let mut picture = vec![60; self.width * self.height];
        let bar = number * 8 % self.width;
        for (y, row) in picture.chunks_exact_mut(self.width).enumerate() {
            if y < 16 {
                for block in 0..32.min(self.width / 16) {
                    let white = number >> (31 - block) & 1 == 1;
                    row[block * 16..][..16].fill(if white { 235 } else { 16 });
                }
            } else {
                let end = self.width.min(bar + 24);
                row[bar..end].fill(200);
            }
        }
        picture
    }
}

/// H.264 without B-frames, and AAC.
pub const H264_AAC: &[&str] =
    &["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-c:a", "aac", "-movflags", "+faststart"];
/// H.264 with B-frames, as encoders make it when nobody says otherwise, and AAC.
pub const B_FRAMES: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-bf",
    "3",
    "-b_strategy",
    "0",
    "-c:a",
    "aac",
    "-movflags",
    "+faststart",
];
pub const VP8_OPUS: &[&str] = &["-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M", "-c:a", "libopus"];
pub const VP9_OPUS: &[&str] =
    &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M", "-c:a", "libopus"];
