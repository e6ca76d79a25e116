//! A camera in this process: real RTSP on loopback, with a moving picture that carries the time, and a tone.
//!
//! `callgate demo` plays it, so that the demo takes the path that a camera takes; tests do too.
//!
//! # The stamp
//! With [`DemoSettings::stamp`] the top left of each picture says when it was taken, so that a program (also a canvas in a
//! browser) can tell how old what it shows is: [`STAMP_BITS`] blocks of [`STAMP_BLOCK`] x [`STAMP_BLOCK`] pixels in one row, from
//! the left edge, most significant bit first, white is 1, black is 0. Their value is the Unix time in ms, modulo 2^32.

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use gst::prelude::*;
use gst_rtsp_server::gst_rtsp;
use gst_rtsp_server::prelude::*;
use gst_video::prelude::*;
use url::Url;

use super::beat;
use super::hub::pattern::h264_encoder;

/// Blocks of the stamp.
pub const STAMP_BITS: usize = 32;
/// Pixels, each way, of one block of the stamp.
pub const STAMP_BLOCK: usize = 16;

/// Where the camera's only stream is.
const PATH: &str = "/demo";
/// The role that the camera's only user has, in gst-rtsp-server's own words.
const ROLE: &str = "viewer";

/// What the camera shows and how.
#[derive(Debug, Clone)]
pub struct DemoSettings {
    /// TCP port on loopback; 0 for a free one.
    pub port: u16,
    pub video: DemoVideo,
    pub audio: DemoAudio,
    /// Hz of the tone.
    pub tone: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Frames from keyframe to keyframe.
    pub keyframe: u32,
    /// kbit/s.
    pub bitrate: u32,
    /// Draws the time into the picture, readable by machines. Takes a width of 512 or more.
    pub stamp: bool,
    /// Puts the second's beat into picture and tone, see [`super::beat`].
    pub beat: bool,
    /// Colour bars with noise in a corner, which use up the bitrate as a real picture does; otherwise a ball on black, which does not.
    pub noise: bool,
    /// Refuses media within the RTSP connection, as some cameras do.
    pub udp_only: bool,
    /// User name and password, asked for by digest authentication (RFC 2617).
    pub login: Option<(String, String)>,
    /// Every access unit that is sent, as an Annex B file.
    pub copy: Option<PathBuf>,
}

/// What the camera's picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DemoVideo {
    None,
    H264,
    /// Takes `x265enc`.
    H265,
    /// Of H.264's main profile, with B pictures, which come before others that are shown earlier. Takes `x264enc`.
    H264WithB,
    Vp8,
    Vp9,
    /// The H.264 track of an MP4 or Matroska file, once, without sound.
    File(PathBuf),
}

/// What the camera's tone is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoAudio {
    None,
    Pcmu,
    Pcma,
    Opus,
    Aac,
    G722,
}

impl Default for DemoSettings {
    fn default() -> Self {
        DemoSettings {
            port: 0,
            video: DemoVideo::H264,
            audio: DemoAudio::Pcmu,
            tone: 440,
            width: 640,
            height: 360,
            fps: 25,
            keyframe: 50,
            bitrate: 800,
            stamp: false,
            beat: false,
            noise: false,
            udp_only: false,
            login: None,
            copy: None,
        }
    }
}

/// Why the camera does not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the demo camera cannot listen: {0}")]
    Listen(String),
    #[error("the demo camera cannot encode: {0}")]
    Encoder(String),
    #[error("the demo camera's copy: {0}")]
    Copy(std::io::Error),
    #[error("no thread for the demo camera: {0}")]
    Thread(std::io::Error),
}

/// A running camera; dropping it stops it and closes its connections.
pub struct DemoCamera {
    url: Url,
    main_loop: glib::MainLoop,
    thread: Option<JoinHandle<()>>,
}

impl DemoCamera {
    /// Starts a camera. [`super::init`] comes first.
    ///
    /// # Errors
    /// [`DemoError`]: the port is taken, an encoder is missing, the copy cannot be written.
    pub fn start(settings: DemoSettings) -> Result<DemoCamera, DemoError> {
        let launch = launch_text(&settings)?;
        let copy = match &settings.copy {
            Some(path) => Some(Arc::new(Mutex::new(std::fs::File::create(path).map_err(DemoError::Copy)?))),
            None => None,
        };
        let context = glib::MainContext::new();
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let (listening, is_listening) = sync_channel(1);
        let running = main_loop.clone();
        let thread = std::thread::Builder::new().name("demo camera".into()).spawn(move || {
            let served = context.with_thread_default(|| {
                let server = server(&settings, &launch, copy);
                let source = match server.attach(Some(&context)) {
                    Ok(source) => source,
                    Err(error) => {
                        let _ = listening.send(Err(DemoError::Listen(error.message.to_string())));
                        return;
                    }
                };
                let _ = listening.send(Ok((server.bound_port(), settings.login.clone())));
                running.run();
                if let Some(source) = context.find_source_by_id(&source) {
                    source.destroy();
                }
                let mut everyone = |_: &gst_rtsp_server::RTSPServer, _: &gst_rtsp_server::RTSPClient| {
                    gst_rtsp_server::RTSPFilterResult::Remove
                };
                server.client_filter(Some(&mut everyone));
            });
            if let Err(error) = served {
                tracing::error!(%error, "the demo camera's context is taken");
            }
        });
        let thread = thread.map_err(DemoError::Thread)?;
        let (port, login) = is_listening.recv().map_err(|_| DemoError::Listen("it ended".into()))??;
        let mut url = Url::parse(&format!("rtsp://127.0.0.1:{port}{PATH}"))
            .map_err(|error| DemoError::Listen(error.to_string()))?;
        if let Some((user, password)) = login {
            // These fail only for addresses without a host.
            let _ = url.set_username(&user);
            let _ = url.set_password(Some(&password));
        }
        Ok(DemoCamera { url, main_loop, thread: Some(thread) })
    }

    /// Its address, with user name and password when it asks for them.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl Drop for DemoCamera {
    fn drop(&mut self) {
        self.main_loop.quit();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type CopyFile = Option<Arc<Mutex<std::fs::File>>>;

fn server(settings: &DemoSettings, launch: &str, copy: CopyFile) -> gst_rtsp_server::RTSPServer {
    let server = gst_rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&settings.port.to_string());
    // Clients are served by the server's own thread: closing one from there is safe, while another thread reads from it is not.
    if let Some(threads) = server.thread_pool() {
        threads.set_max_threads(0);
    }
    let factory = gst_rtsp_server::RTSPMediaFactory::new();
    factory.set_launch(launch);
    factory.set_shared(true);
    factory.set_latency(0);
    if settings.udp_only {
        factory.set_protocols(gst_rtsp::RTSPLowerTrans::UDP);
    }
    if let Some((user, password)) = &settings.login {
        let auth = gst_rtsp_server::RTSPAuth::new();
        auth.set_supported_methods(gst_rtsp::RTSPAuthMethod::Digest);
        let token = gst_rtsp_server::RTSPToken::builder()
            .field(gst_rtsp_server::RTSP_TOKEN_MEDIA_FACTORY_ROLE.as_str(), ROLE)
            .build();
        auth.add_digest(user, password, &token);
        server.set_auth(Some(&auth));
        let permissions = gst::Structure::builder(ROLE)
            .field(gst_rtsp_server::RTSP_PERM_MEDIA_FACTORY_ACCESS.as_str(), true)
            .field(gst_rtsp_server::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT.as_str(), true)
            .build();
        factory.add_role_from_structure(&permissions);
    }
    let settings = settings.clone();
    factory.connect_media_configure(move |_, media| configure(&media.element(), &settings, &copy));
    if let Some(mounts) = server.mount_points() {
        mounts.add_factory(PATH, factory);
    }
    server
}

/// Sets what does not go into the launch text, and the probes.
fn configure(element: &gst::Element, settings: &DemoSettings, copy: &CopyFile) {
    let Some(bin) = element.downcast_ref::<gst::Bin>() else { return };
    if let (DemoVideo::File(path), Some(file)) = (&settings.video, bin.by_name("file")) {
        file.set_property("location", path);
    }
    if let Some(pad) = bin.by_name("stamp").and_then(|stamp| stamp.static_pad("src")) {
        pad.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
            if let (Some(buffer), Some(caps)) = (info.buffer_mut(), pad.current_caps()) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                draw_stamp(buffer.make_mut(), &caps, now.as_millis() as u32);
            }
            gst::PadProbeReturn::Ok
        });
    }
    if settings.beat {
        beat::add(bin.by_name("picture"), bin.by_name("tone"));
    }
    if let (Some(copy), Some(pad)) = (copy.clone(), bin.by_name("coded").and_then(|coded| coded.static_pad("src"))) {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(map) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) {
                let mut file = copy.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = file.write_all(&map) {
                    tracing::warn!(%error, "the demo camera's copy cannot be written");
                }
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// Draws `value` into an I420 picture; see the module's documentation.
fn draw_stamp(buffer: &mut gst::BufferRef, caps: &gst::Caps, value: u32) {
    let Ok(info) = gst_video::VideoInfo::from_caps(caps) else { return };
    let Ok(mut frame) = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &info) else { return };
    for (plane, block) in [(0, STAMP_BLOCK), (1, STAMP_BLOCK / 2), (2, STAMP_BLOCK / 2)] {
        let Some(&stride) = frame.plane_stride().get(plane as usize) else { return };
        let Ok(data) = frame.plane_data_mut(plane) else { return };
        for row in data.chunks_mut(stride.unsigned_abs().max(1) as usize).take(block) {
            for (bit, pixels) in row.chunks_exact_mut(block).take(STAMP_BITS).enumerate() {
                let luma = if value >> (STAMP_BITS - 1 - bit) & 1 == 1 { 235 } else { 16 };
                pixels.fill(if plane == 0 { luma } else { 128 });
            }
        }
    }
}

/// The launch text: numbers and constants only.
fn launch_text(settings: &DemoSettings) -> Result<String, DemoError> {
    let DemoSettings { width, height, fps, keyframe, bitrate, tone, .. } = *settings;
    let stamp = if settings.stamp { "! identity name=stamp silent=true" } else { "" };
    let (beat, beaten) = match settings.beat {
        true => ("! identity name=picture silent=true", ",format=S16LE,channels=1 ! identity name=tone silent=true"),
        false => ("", ""),
    };
    let pattern = if settings.noise { "smpte" } else { "ball" };
    let picture = format!(
        "videotestsrc is-live=true pattern={pattern} ! video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 \
         ! timeoverlay valignment=bottom ! clockoverlay valignment=bottom halignment=right {stamp} {beat}"
    );
    let units = "stream-format=byte-stream,alignment=au ! identity name=coded silent=true";
    let video = match &settings.video {
        DemoVideo::None => String::new(),
        DemoVideo::H264 => {
            let encoder = h264_encoder(bitrate, keyframe).map_err(|error| DemoError::Encoder(error.to_string()))?;
            format!("{picture} ! {encoder} ! h264parse ! video/x-h264,{units} ! rtph264pay name=pay0 pt=96")
        }
        DemoVideo::H265 => format!(
            "{picture} ! x265enc tune=zerolatency speed-preset=ultrafast bitrate={bitrate} key-int-max={keyframe} ! h265parse ! rtph265pay name=pay0 pt=96"
        ),
        DemoVideo::H264WithB => format!(
            "{picture} ! x264enc speed-preset=ultrafast bframes=2 b-adapt=false rc-lookahead=0 sync-lookahead=0 threads=1 \
             bitrate={bitrate} key-int-max={keyframe} ! video/x-h264,profile=main ! h264parse ! video/x-h264,{units} \
             ! rtph264pay name=pay0 pt=96"
        ),
        DemoVideo::Vp8 => format!("{picture} ! vp8enc {} ! rtpvp8pay name=pay0 pt=96", vpx_settings(bitrate, keyframe)),
        DemoVideo::Vp9 => format!("{picture} ! vp9enc {} ! rtpvp9pay name=pay0 pt=96", vpx_settings(bitrate, keyframe)),
        DemoVideo::File(path) => {
            let demuxer = match path.extension().and_then(|extension| extension.to_str()) {
                Some("mkv") => "matroskademux",
                _ => "qtdemux",
            };
            // Parameter sets are in the file's header. Put in like this, they also come between slices, as from many small cameras.
            format!(
                "filesrc name=file ! {demuxer} ! h264parse ! video/x-h264,{units} ! rtph264pay name=pay0 pt=96 config-interval=-1"
            )
        }
    };
    let audio = match (&settings.video, settings.audio) {
        (DemoVideo::File(_), _) | (_, DemoAudio::None) => "",
        (_, DemoAudio::Pcmu) => "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay pt=0",
        (_, DemoAudio::Pcma) => "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay pt=8",
        (_, DemoAudio::Opus) => "audio/x-raw,rate=48000,channels=1 ! opusenc ! rtpopuspay pt=97",
        (_, DemoAudio::Aac) => "audio/x-raw,rate=48000,channels=1 ! avenc_aac ! aacparse ! rtpmp4gpay pt=97",
        (_, DemoAudio::G722) => "audio/x-raw,rate=16000,channels=1 ! avenc_g722 ! rtpg722pay pt=9",
    };
    let audio = if audio.is_empty() {
        String::new()
    } else {
        // 20 ms at 48 kHz; the rate that a codec wants is made from it.
        let name = if video.is_empty() { "pay0" } else { "pay1" };
        format!(
            "audiotestsrc is-live=true freq={tone} volume=0.3 samplesperbuffer=960 ! audio/x-raw,rate=48000{beaten} \
             ! audioconvert ! audioresample ! {audio} name={name}"
        )
    };
    Ok(format!("( {video} {audio} )"))
}

/// As a camera encodes: at once, and as fast as it goes.
fn vpx_settings(kilobits: u32, frames_per_keyframe: u32) -> String {
    let bits = u64::from(kilobits) * 1000;
    format!(
        "deadline=1 cpu-used=8 lag-in-frames=0 threads=1 target-bitrate={bits} keyframe-max-dist={frames_per_keyframe}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_is_drawn_as_documented() {
        gst::init().unwrap();
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 640, 360).build().unwrap();
        let caps = info.to_caps().unwrap();
        let mut buffer = gst::Buffer::from_mut_slice(vec![100_u8; info.size()]);

        draw_stamp(buffer.get_mut().unwrap(), &caps, 0x8000_00f1);

        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(&buffer, &info).unwrap();
        let luma = frame.plane_data(0).unwrap();
        let at = |bit: usize| luma[8 * 640 + bit * STAMP_BLOCK + 8];
        let value = (0..STAMP_BITS).fold(0_u32, |value, bit| value << 1 | u32::from(at(bit) > 128));
        assert_eq!(value, 0x8000_00f1);
        assert_eq!(luma[16 * 640], 100, "nothing is drawn below");
        assert_eq!(luma[8 * 640 + 512], 100, "nothing is drawn beside");
    }
}
