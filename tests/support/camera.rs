//! Hubs on real cameras, and sinks that look at what a tap gives.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use callgate::endpoint::{AudioStream, Endpoint, RtspTransport, Streams, TestPattern, VideoStream};
use callgate::media::demo_camera::{DemoCamera, DemoSettings};
use callgate::media::hub::Hub;
use callgate::media::tap::{PacketSink, RtpFields, SinkGone, TapSettings, Track};
use callgate::media::{Event, LineName, LineSettings};
use callgate::sdp::{AudioPlan, VideoPlan};
use tokio::sync::mpsc;
use url::Url;

/// Nothing here takes this long unless it is broken.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn camera(settings: DemoSettings) -> DemoCamera {
    callgate::media::init().unwrap();
    DemoCamera::start(settings).unwrap()
}

pub fn rtsp(url: &Url) -> Endpoint {
    Endpoint::Rtsp { url: url.clone(), transport: RtspTransport::Tcp }
}

pub fn test_pattern() -> Endpoint {
    Endpoint::Test(TestPattern { width: 320, height: 180, fps: 25, tone: 440, keyframe: 1, bitrate: 300 })
}

/// A hub that closes its source `idle` after the last lease.
pub fn hub(endpoint: Endpoint, idle: Duration) -> (Hub, mpsc::Receiver<Event>) {
    callgate::media::init().unwrap();
    let (events, received) = mpsc::channel(64);
    (Hub::new(LineSettings { name: LineName("line".into()), endpoint, idle, keep_warm: false }, events), received)
}

pub fn video_of(streams: &Streams) -> &VideoStream {
    streams.video.as_ref().expect("the source has video")
}

pub fn audio_of(streams: &Streams) -> &AudioStream {
    streams.audio.as_ref().expect("the source has audio")
}

pub const VIDEO: RtpFields = RtpFields { payload_type: 102, ssrc: 0x1111 };
pub const AUDIO: RtpFields = RtpFields { payload_type: 111, ssrc: 0x2222 };

pub fn video_only() -> TapSettings {
    TapSettings { video: Some((VIDEO, VideoPlan::PassH264)), audio: None }
}

pub fn with_audio(plan: AudioPlan) -> TapSettings {
    TapSettings { video: Some((VIDEO, VideoPlan::PassH264)), audio: Some((AUDIO, plan)) }
}

/// One RTP packet as a receiver reads it (RFC 3550, section 5.1).
#[derive(Debug, Clone)]
pub struct Packet {
    pub track: Track,
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub time: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
    pub pts: gst::ClockTime,
}

/// A sink that hands each packet to the test.
pub struct Probe(SyncSender<Packet>);

pub fn probe() -> (Box<Probe>, Receiver<Packet>) {
    let (packets, received) = sync_channel(10_000);
    (Box::new(Probe(packets)), received)
}

impl PacketSink for Probe {
    fn push(&mut self, track: Track, packets: gst::BufferList) -> Result<(), SinkGone> {
        for buffer in packets.iter() {
            let bytes = buffer.map_readable().unwrap();
            assert_eq!(bytes[0], 0x80, "version 2, no padding, extension or CSRC");
            let packet = Packet {
                track,
                marker: bytes[1] & 0x80 != 0,
                payload_type: bytes[1] & 0x7f,
                sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
                time: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
                ssrc: u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
                payload: bytes[12..].to_vec(),
                pts: buffer.pts().unwrap(),
            };
            self.0.send(packet).map_err(|_| SinkGone)?;
        }
        Ok(())
    }
}

/// One picture, put together again from its packets by RFC 6184.
#[derive(Debug, Clone)]
pub struct Frame {
    pub nals: Vec<Vec<u8>>,
    pub time: u32,
    pub pts: gst::ClockTime,
    pub packets: usize,
}

impl Frame {
    pub fn has(&self, nal_type: u8) -> bool {
        self.nals.iter().any(|nal| nal[0] & 0x1f == nal_type)
    }

    /// An IDR picture with its parameter sets.
    pub fn is_keyframe(&self) -> bool {
        self.has(5) && self.has(7) && self.has(8)
    }
}

/// Reads a tap's packets as a receiver would; panics on any gap in sequence numbers.
pub struct Reader {
    packets: Receiver<Packet>,
    next: [Option<u16>; 2],
    /// Audio that came while a picture was waited for.
    pub passed: Vec<Packet>,
}

impl Reader {
    pub fn new(packets: Receiver<Packet>) -> Reader {
        Reader { packets, next: [None; 2], passed: Vec::new() }
    }

    pub fn packet(&mut self) -> Packet {
        let packet = self.packets.recv_timeout(DEADLINE).expect("a packet in time");
        let next = &mut self.next[usize::from(packet.track == Track::Audio)];
        if let Some(expected) = *next {
            assert_eq!(packet.sequence, expected, "sequence numbers have no gap");
        }
        *next = Some(packet.sequence.wrapping_add(1));
        packet
    }

    pub fn audio(&mut self) -> Packet {
        loop {
            let packet = self.packet();
            if packet.track == Track::Audio {
                return packet;
            }
        }
    }

    pub fn frame(&mut self) -> Frame {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        let mut count = 0;
        let mut time = None;
        loop {
            let packet = self.packet();
            if packet.track == Track::Audio {
                self.passed.push(packet);
                continue;
            }
            count += 1;
            assert_eq!(*time.get_or_insert(packet.time), packet.time, "a picture has one time");
            match packet.payload[0] & 0x1f {
                24 => {
                    let mut rest = &packet.payload[1..];
                    while rest.len() > 2 {
                        let size = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                        nals.push(rest[2..2 + size].to_vec());
                        rest = &rest[2 + size..];
                    }
                }
                28 => {
                    if packet.payload[1] & 0x80 != 0 {
                        nals.push(vec![packet.payload[0] & 0xe0 | packet.payload[1] & 0x1f]);
                    }
                    nals.last_mut().unwrap().extend_from_slice(&packet.payload[2..]);
                }
                _ => nals.push(packet.payload.clone()),
            }
            if packet.marker {
                return Frame { nals, time: packet.time, pts: packet.pts, packets: count };
            }
        }
    }

    /// Reads on to the next picture for which `wanted` holds.
    pub fn frame_with(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.frame();
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Throws away what has come so far.
    pub fn drain(&mut self) {
        while self.packets.try_recv().is_ok() {}
        self.next = [None; 2];
    }
}

/// The NAL units of an Annex B stream.
pub fn annex_b(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut starts: Vec<usize> =
        (0..stream.len().saturating_sub(2)).filter(|&at| stream[at..at + 3] == [0, 0, 1]).collect();
    starts.push(stream.len());
    let mut nals = Vec::new();
    for pair in starts.windows(2) {
        let mut nal = &stream[pair[0] + 3..pair[1]];
        while let [head @ .., 0] = nal {
            nal = head;
        }
        nals.push(nal.to_vec());
    }
    nals
}
