//! A camera to test with, as a process of its own: prints its address when it can be opened, and runs until it is killed.
//!
//! `cargo run --example camera -- --port 8554 --keyframe 250 --stamp`

use std::io::Write;
use std::path::PathBuf;

use callgate::media::demo_camera::{DemoAudio, DemoCamera, DemoSettings, DemoVideo};
use clap::{Parser, ValueEnum};

#[derive(Parser)]
struct Arguments {
    /// TCP port on loopback; 0 for a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long, value_enum, default_value_t = Codec::H264)]
    codec: Codec,
    /// An MP4 or Matroska file whose H.264 is sent instead, once and without sound.
    #[arg(long)]
    file: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Audio::Pcmu)]
    audio: Audio,
    /// Hz.
    #[arg(long, default_value_t = 440)]
    tone: u32,
    /// Pixels.
    #[arg(long, default_value_t = 640)]
    width: u32,
    /// Pixels.
    #[arg(long, default_value_t = 360)]
    height: u32,
    /// Frames a second.
    #[arg(long, default_value_t = 25)]
    fps: u32,
    /// Frames from keyframe to keyframe.
    #[arg(long, default_value_t = 50)]
    keyframe: u32,
    /// kbit/s.
    #[arg(long, default_value_t = 800)]
    bitrate: u32,
    /// Draws the time into the picture, readable by machines.
    #[arg(long)]
    stamp: bool,
    /// A beat each second, in the tone and in a corner of the picture.
    #[arg(long)]
    beat: bool,
    /// Noise in the picture, which uses up the bitrate.
    #[arg(long)]
    noise: bool,
    /// Refuses media within the RTSP connection.
    #[arg(long)]
    udp_only: bool,
    /// Asks for this user name, by digest authentication.
    #[arg(long, requires = "password")]
    user: Option<String>,
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Writes every access unit that is sent to this file (Annex B).
    #[arg(long)]
    copy: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Codec {
    None,
    H264,
    H265,
    H264WithB,
    Vp8,
    Vp9,
}

#[derive(Clone, Copy, ValueEnum)]
enum Audio {
    None,
    Pcmu,
    Pcma,
    Opus,
    Aac,
    G722,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    callgate::media::init()?;
    let video = match (arguments.file, arguments.codec) {
        (Some(file), _) => DemoVideo::File(file),
        (None, Codec::None) => DemoVideo::None,
        (None, Codec::H264) => DemoVideo::H264,
        (None, Codec::H265) => DemoVideo::H265,
        (None, Codec::H264WithB) => DemoVideo::H264WithB,
        (None, Codec::Vp8) => DemoVideo::Vp8,
        (None, Codec::Vp9) => DemoVideo::Vp9,
    };
    let audio = match arguments.audio {
        Audio::None => DemoAudio::None,
        Audio::Pcmu => DemoAudio::Pcmu,
        Audio::Pcma => DemoAudio::Pcma,
        Audio::Opus => DemoAudio::Opus,
        Audio::Aac => DemoAudio::Aac,
        Audio::G722 => DemoAudio::G722,
    };
    let camera = DemoCamera::start(DemoSettings {
        port: arguments.port,
        video,
        audio,
        tone: arguments.tone,
        width: arguments.width,
        height: arguments.height,
        fps: arguments.fps,
        keyframe: arguments.keyframe,
        bitrate: arguments.bitrate,
        stamp: arguments.stamp,
        beat: arguments.beat,
        noise: arguments.noise,
        udp_only: arguments.udp_only,
        login: arguments.user.zip(arguments.password),
        copy: arguments.copy,
    })?;
    println!("{}", camera.url());
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
