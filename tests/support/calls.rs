//! A gateway of media alone, and callers who reach it without signaling.

use std::time::Duration;

use callgate::endpoint::{Endpoint, TestPattern};
use callgate::media::caller::{self, AccessUnit, CallerEvent, CallerHandle, CallerSettings};
use callgate::media::{
    CallId, Command, Event, IceSettings, LineName, LineSettings, Media, PeerError, PeerStats, Settings, Teardown,
};
use callgate::sdp;
use gst::prelude::*;
use tokio::sync::mpsc;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

pub fn loopback() -> IceSettings {
    IceSettings { bind: vec![std::net::Ipv4Addr::LOCALHOST.into()], ..IceSettings::default() }
}

pub fn line() -> LineName {
    LineName("test".into())
}

/// Media with one line, a test picture and tone.
pub struct Gateway {
    pub media: Media,
    pub events: mpsc::Receiver<Event>,
}

impl Gateway {
    pub fn start() -> Self {
        Self::start_with(loopback())
    }

    pub fn start_with(ice: IceSettings) -> Self {
        let pattern = TestPattern { width: 320, height: 180, fps: 25, tone: 440, keyframe: 2, bitrate: 400 };
        Self::playing(Endpoint::Test(pattern), ice)
    }

    /// With a line of this endpoint.
    pub fn playing(endpoint: Endpoint, ice: IceSettings) -> Self {
        let settings = LineSettings { name: line(), endpoint, idle: Duration::from_secs(60), keep_warm: false };
        let (media, events) = callgate::media::start(Settings { lines: vec![settings], ice }).unwrap();
        Self { media, events }
    }

    /// The next event that `wanted` takes; others are passed over.
    pub async fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        soon(what, async {
            loop {
                let event = self.events.recv().await.expect("media has ended");
                if let Event::PeerFailed { error, .. } = &event {
                    eprintln!("peer failed: {error}");
                }
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        })
        .await
    }

    /// Answers an offer as a gateway does: source, guard, plan, peer.
    pub async fn answer(&mut self, call: CallId, offer: &str) -> String {
        self.open(call, offer).await;
        self.wait("an answer", |event| match event {
            Event::AnswerReady { call: of, sdp } if of == call => Some(sdp),
            _ => None,
        })
        .await
    }

    pub async fn open(&mut self, call: CallId, offer: &str) {
        self.media.send(Command::OpenSource { call, line: line() }).await;
        let streams = self
            .wait("the source", |event| match event {
                Event::SourceReady { call: of, streams } if of == call => Some(streams),
                _ => None,
            })
            .await;
        let offer = sdp::guard_offer(offer).expect("the guard takes the offer");
        let plan = sdp::plan(&offer, &streams).expect("a codec in common");
        self.media.send(Command::OpenPeer { call, offer: Box::new(offer), plan, servers: Vec::new() }).await;
    }

    /// Offers the line's media, as a gateway does that calls somebody.
    pub async fn offer(&mut self, call: CallId) -> String {
        self.media.send(Command::OpenSource { call, line: line() }).await;
        let streams = self
            .wait("the source", |event| match event {
                Event::SourceReady { call: of, streams } if of == call => Some(streams),
                _ => None,
            })
            .await;
        let plan = sdp::calling_plan(&streams).expect("something to offer");
        self.media.send(Command::OfferPeer { call, plan }).await;
        self.offered(call).await
    }

    /// The next offer of this call.
    pub async fn offered(&mut self, call: CallId) -> String {
        self.wait("an offer", |event| match event {
            Event::OfferReady { call: of, sdp } if of == call => Some(sdp),
            _ => None,
        })
        .await
    }

    /// Answers a further offer of the other side's.
    pub async fn answer_again(&mut self, call: CallId, offer: &str) -> String {
        let offer = sdp::guard_offer(offer).expect("the guard takes the offer");
        self.media.send(Command::Renegotiate { call, offer: Box::new(offer) }).await;
        self.wait("an answer", |event| match event {
            Event::AnswerReady { call: of, sdp } if of == call => Some(sdp),
            _ => None,
        })
        .await
    }

    pub async fn take_answer(&self, call: CallId, offer: &str, answer: &str) {
        let answer = sdp::guard_answer(offer, answer).expect("the guard takes the answer");
        self.media.send(Command::TakeAnswer { call, answer: Box::new(answer) }).await;
    }

    pub async fn secured(&mut self, call: CallId) {
        self.wait("a secured connection", |event| (event == Event::Secured { call }).then_some(())).await;
    }

    pub async fn failure(&mut self, call: CallId) -> PeerError {
        self.wait("a failure", |event| match event {
            Event::PeerFailed { call: of, error } if of == call => Some(error),
            _ => None,
        })
        .await
    }

    pub async fn stats(&mut self, call: CallId, mut enough: impl FnMut(&PeerStats) -> bool) -> PeerStats {
        self.wait("statistics", |event| match event {
            Event::Stats { call: of, stats } if of == call && enough(&stats) => Some(stats),
            _ => None,
        })
        .await
    }

    pub async fn close(&mut self, call: CallId) -> Teardown {
        self.media.send(Command::Close { call }).await;
        self.wait("the end of a call", |event| match event {
            Event::Closed { call: of, teardown } if of == call => Some(teardown),
            _ => None,
        })
        .await
    }
}

/// Who calls.
pub struct Caller {
    pub handle: CallerHandle,
    pub events: mpsc::Receiver<CallerEvent>,
    pub offer: String,
}

impl Caller {
    pub async fn start(settings: CallerSettings) -> Self {
        let (handle, mut events) = caller::start(settings).unwrap();
        let offer = match soon("an offer", events.recv()).await {
            Some(CallerEvent::Offer(offer)) => offer,
            other => panic!("{other:?} instead of an offer"),
        };
        Self { handle, events, offer }
    }

    /// Somebody whom a line calls, and the answer.
    pub async fn answering(settings: CallerSettings, offer: &str) -> (Self, String) {
        let read = sdp::guard_offer(offer).expect("the guard takes the offer");
        let (handle, events) = caller::answer(settings, read).unwrap();
        let mut called = Self { handle, events, offer: String::new() };
        let answer = called.answered().await;
        (called, answer)
    }

    /// The next answer.
    pub async fn answered(&mut self) -> String {
        self.wait("an answer", |event| match event {
            CallerEvent::Answer(answer) => Some(answer),
            CallerEvent::Failed(error) => panic!("{error}"),
            _ => None,
        })
        .await
    }

    /// Offers an ICE restart.
    pub async fn restart(&mut self) {
        self.handle.restart().await;
        self.offer = self
            .wait("an offer", |event| match event {
                CallerEvent::Offer(offer) => Some(offer),
                _ => None,
            })
            .await;
    }

    pub async fn take(&self, answer: &str) {
        self.handle.answer(sdp::guard_answer(&self.offer, answer).expect("the guard takes the answer")).await;
    }

    pub async fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(CallerEvent) -> Option<T>) -> T {
        soon(what, async {
            loop {
                let event = self.events.recv().await.expect("the caller has ended");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        })
        .await
    }

    pub async fn is(&mut self, event: CallerEvent) {
        self.wait(&format!("{event:?}"), |got| (got == event).then_some(())).await;
    }

    /// Ends and returns the last event, with those before it.
    pub async fn end(mut self) -> Vec<CallerEvent> {
        let mut rest = Vec::new();
        let ended = self.handle.end();
        tokio::pin!(ended);
        soon("the caller's end", async {
            loop {
                tokio::select! {
                    event = self.events.recv() => match event {
                        Some(event) => rest.push(event),
                        None => break,
                    },
                    () = &mut ended => {
                        while let Ok(event) = self.events.try_recv() {
                            rest.push(event);
                        }
                        break;
                    }
                }
            }
        })
        .await;
        rest
    }
}

/// Offers to receive picture and sound.
pub fn watcher() -> CallerSettings {
    CallerSettings { ice: loopback(), video: true, audio: true, ..CallerSettings::default() }
}

pub async fn units(from: &mut mpsc::Receiver<AccessUnit>, count: usize) -> Vec<AccessUnit> {
    soon("pictures", async {
        let mut units = Vec::new();
        while units.len() < count {
            units.push(from.recv().await.expect("the caller has ended"));
        }
        units
    })
    .await
}

/// Decodes a byte stream: one hash per picture.
pub fn decode(units: &[AccessUnit]) -> Vec<u64> {
    let description = "appsrc name=in format=time caps=video/x-h264,stream-format=byte-stream,alignment=au \
        ! h264parse ! avdec_h264 output-corrupt=false ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for unit in units {
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(unit.pts.as_nanos() as u64));
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    let mut pictures = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        pictures.push(hash(&sample.buffer().unwrap().map_readable().unwrap()));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    pictures
}

pub fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// (threads, file descriptors) of this process.
pub fn footprint() -> (usize, usize) {
    let entries = |of: &str| std::fs::read_dir(of).unwrap().count();
    (entries("/proc/self/task"), entries("/proc/self/fd"))
}

/// Reads a Matroska file: a hash per decoded picture, and the number of decoded pieces of sound.
pub fn play(path: &std::path::Path) -> (Vec<u64>, usize) {
    let description = "filesrc name=file ! matroskademux name=demux \
        demux.video_0 ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! h264parse ! avdec_h264 ! videoconvert \
        ! video/x-raw,format=GRAY8 ! appsink name=pictures sync=false \
        demux.audio_0 ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! opusdec ! appsink name=sounds sync=false";
    let pipeline = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", path.to_str().unwrap());
    let sink = |name: &str| pipeline.by_name(name).unwrap().downcast::<gst_app::AppSink>().unwrap();
    let (pictures, sounds) = (sink("pictures"), sink("sounds"));
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut hashes = Vec::new();
    while let Ok(sample) = pictures.pull_sample() {
        hashes.push(hash(&sample.buffer().unwrap().map_readable().unwrap()));
    }
    let mut heard = 0;
    while sounds.pull_sample().is_ok() {
        heard += 1;
    }
    pipeline.set_state(gst::State::Null).unwrap();
    (hashes, heard)
}
