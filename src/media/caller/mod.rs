//! A line's other side: what `callgate call` and the tests call a line with, and what the tests let a line call.
//!
//! A [`CallerHandle`] and its [`CallerEvent`]s are plain data; our descriptions go out and guarded ones come in by whatever signaling there is.

mod access_unit;
mod receive;
mod recorder;
mod task;
mod test_media;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{IceSettings, PeerError, StartError, Teardown};
use crate::sdp::{Candidate, Offer, RemoteAnswer, SdpReject};

/// Commands that wait for the caller's task. Candidates that find no room are dropped, ICE has others.
const COMMAND_QUEUE: usize = 64;
/// Events that wait to be read. When it is full those that matter wait, statistics are dropped.
const EVENT_QUEUE: usize = 64;

/// What a caller offers, and what it does with what comes.
#[derive(Debug, Default)]
pub struct CallerSettings {
    pub ice: IceSettings,
    /// Offers to receive H.264, VP8 and VP9.
    pub video: bool,
    /// Takes no video but H.264.
    pub h264_only: bool,
    /// Offers to receive Opus, PCMU and PCMA.
    pub audio: bool,
    /// How long a packet is waited for that was overtaken or lost; lost ones are asked for again. All media is that much later. Zero suits
    /// loopback: nothing is waited for, nor asked for.
    pub jitter: Duration,
    /// Sends a tone and a moving picture, in whatever codec the answer takes.
    pub send_test_media: bool,
    /// Writes what comes, as it comes, to a Matroska file that stays readable when this process is killed.
    pub record: Option<PathBuf>,
    /// Told of every access unit of the video. What finds no room is not told.
    pub units: Option<mpsc::Sender<AccessUnit>>,
}

/// A picture as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    pub arrived: Instant,
    /// On the sender's timeline, from an arbitrary start.
    pub pts: Duration,
    /// H.264: SHA-256 of its slices (NAL unit types 1-5), each after a 4-byte start code. Parameter sets and delimiters are left out, since
    /// payloaders repeat them. VP8 and VP9: of the whole frame.
    pub sha256: [u8; 32],
    pub keyframe: bool,
    /// The picture itself: H.264 as a byte stream.
    pub data: Vec<u8>,
}

/// What a caller tells.
#[derive(Debug, Clone, PartialEq)]
pub enum CallerEvent {
    /// An offer, with all candidates: the first, or an ICE restart.
    Offer(String),
    /// The answer to an offer of the line's: the one that we were started with, or a further one in the call.
    Answer(String),
    /// A further offer of the line's does not belong to the call, which goes on as it was.
    NotRenegotiated(SdpReject),
    /// The line's answer to a restart of ours does not belong to the call, which goes on as it was.
    AnswerRefused(SdpReject),
    /// A candidate gathered after the offer.
    LateCandidate { candidate: String, mid: String, index: u32 },
    /// DTLS is connected, and the certificate is the one that the answer names.
    Connected,
    /// The first picture arrived.
    FirstFrame,
    /// The first sound arrived.
    FirstAudio,
    /// Once a second while connected.
    Stats(CallerStats),
    /// Nothing comes from the line any more. Everything stays as it is: an ICE restart may find another path.
    PathLost,
    /// After `PathLost`: the line is heard again.
    PathFound,
    /// The other side hung up, or something went wrong; `Ended` follows.
    Failed(PeerError),
    /// Everything is freed, the recording is finished. The last event.
    Ended { teardown: Teardown, recorded: Option<Recorded> },
}

/// What came so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallerStats {
    pub video: Received,
    pub audio: Received,
}

/// One track that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// RTP packets.
    pub packets: u64,
    /// Bytes of RTP.
    pub bytes: u64,
    /// Pictures, or packets of audio.
    pub frames: u64,
    pub keyframes: u64,
    /// RTP packets that never came.
    pub lost: u64,
    /// bit/s, over the last second.
    pub bitrate: u64,
}

/// How a recording went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Pictures and audio packets written.
    pub frames: u64,
    /// It was finished properly, nothing is missing.
    pub whole: bool,
}

enum CallerCommand {
    Answer(Box<RemoteAnswer>),
    Offer(Box<Offer>),
    Restart,
    Candidate(Candidate),
}

/// A caller's task. Dropping it without [`CallerHandle::end`] vanishes as a client does that crashed: the other side is told nothing.
#[derive(Debug)]
pub struct CallerHandle {
    commands: mpsc::Sender<CallerCommand>,
    end: CancellationToken,
    vanish: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl CallerHandle {
    /// Takes the answer to the last offer. Any further one is passed over.
    pub async fn answer(&self, answer: RemoteAnswer) {
        let _ = self.commands.send(CallerCommand::Answer(Box::new(answer))).await;
    }

    /// Takes a further offer of the line's in the call; [`CallerEvent::Answer`] or [`CallerEvent::NotRenegotiated`] follows.
    pub async fn offer(&self, offer: Offer) {
        let _ = self.commands.send(CallerCommand::Offer(Box::new(offer))).await;
    }

    /// Restarts ICE: [`CallerEvent::Offer`] follows, and [`CallerHandle::answer`] carries it out.
    pub async fn restart(&self) {
        let _ = self.commands.send(CallerCommand::Restart).await;
    }

    /// A candidate of the other side that came after its answer.
    pub fn add_candidate(&self, candidate: Candidate) {
        let _ = self.commands.try_send(CallerCommand::Candidate(candidate));
    }

    /// Closes DTLS, finishes the recording, frees everything. `Ended` is told before this returns, so somebody must be reading events.
    pub async fn end(mut self) {
        self.end.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "a caller's task died");
        }
    }
}

impl Drop for CallerHandle {
    fn drop(&mut self) {
        self.vanish.cancel();
    }
}

/// Starts a caller; its first event is [`CallerEvent::Offer`]. Must be called within a tokio runtime.
///
/// # Errors
/// [`StartError`].
pub fn start(settings: CallerSettings) -> Result<(CallerHandle, mpsc::Receiver<CallerEvent>), StartError> {
    begin(settings, None)
}

/// Starts somebody whom a line calls with `offer`; the first event is [`CallerEvent::Answer`]. Must be called within a tokio runtime.
///
/// # Errors
/// [`StartError`].
pub fn answer(
    settings: CallerSettings,
    offer: Offer,
) -> Result<(CallerHandle, mpsc::Receiver<CallerEvent>), StartError> {
    begin(settings, Some(Box::new(offer)))
}

fn begin(
    settings: CallerSettings,
    offer: Option<Box<Offer>>,
) -> Result<(CallerHandle, mpsc::Receiver<CallerEvent>), StartError> {
    super::init()?;
    let certificate = super::certificate::Certificate::make().map_err(|e| StartError::Certificate(e.to_string()))?;
    let (commands, taken) = mpsc::channel(COMMAND_QUEUE);
    let (events, told) = mpsc::channel(EVENT_QUEUE);
    let (end, vanish) = (CancellationToken::new(), CancellationToken::new());
    let task = tokio::spawn(task::run(settings, offer, certificate.into(), taken, events, end.clone(), vanish.clone()));
    Ok((CallerHandle { commands, end, vanish, task: Some(task) }, told))
}
