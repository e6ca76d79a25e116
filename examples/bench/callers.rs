//! Callers: each dials as `callgate call` does, in this process, and notes when what happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use callgate::gateway::{DialEvent, DialSettings, Dialled, dial};
use callgate::media::IceSettings;
use callgate::media::caller::{CallerSettings, CallerStats};
use callgate::protocol::Cipher;
use nostr::{Keys, PublicKey, RelayUrl};
use tokio::sync::{mpsc, watch};

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pictures that wait to be noted: more than a burst.
const UNITS: usize = 4096;

/// Whom to call.
#[derive(Clone)]
pub struct Line {
    pub key: PublicKey,
    pub relay: RelayUrl,
}

/// What happened so far, and when.
#[derive(Debug, Clone, Default)]
pub struct Noted {
    pub offered: Option<Instant>,
    pub answered: Option<Instant>,
    pub connected: Option<Instant>,
    pub stats: Option<CallerStats>,
    pub first_frame: bool,
    pub ended: Option<String>,
}

/// When a call began.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    pub offered: Instant,
    pub answered: Instant,
    pub connected: Instant,
}

/// A picture that came.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub arrived: Instant,
    pub sha256: [u8; 32],
    pub keyframe: bool,
}

pub struct Caller {
    call: Dialled,
    noted: watch::Receiver<Noted>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Caller {
    /// Calls, with a key of its own; notes every picture if it is `watching`.
    pub async fn dial(line: &Line, watching: bool) -> anyhow::Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (units, mut told) = mpsc::channel::<callgate::media::caller::AccessUnit>(UNITS);
        let to = seen.clone();
        tokio::spawn(async move {
            while let Some(unit) = told.recv().await {
                let picture = Seen { arrived: unit.arrived, sha256: unit.sha256, keyframe: unit.keyframe };
                to.lock().unwrap_or_else(PoisonError::into_inner).push(picture);
            }
        });
        let media = CallerSettings {
            ice: IceSettings { bind: vec![std::net::Ipv4Addr::LOCALHOST.into()], ..IceSettings::default() },
            video: true,
            audio: true,
            units: watching.then_some(units),
            ..CallerSettings::default()
        };
        let (call, mut events) = dial(DialSettings {
            keys: Keys::generate(),
            to: line.key,
            relays: vec![line.relay.clone()],
            cipher: Cipher::Nip44,
            dialect: None,
            rings: PATIENCE,
            shared: Vec::new(),
            media,
        })
        .await?;
        let (note, noted) = watch::channel(Noted::default());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let now = Instant::now();
                note.send_modify(|noted| match event {
                    DialEvent::Ringing { .. } => noted.offered = Some(now),
                    DialEvent::Answered => noted.answered = Some(now),
                    DialEvent::FirstFrame => noted.first_frame = true,
                    DialEvent::Stats(stats) => noted.stats = Some(stats),
                    DialEvent::Ended { why, .. } => noted.ended = Some(why.to_string()),
                    DialEvent::Connected => noted.connected = Some(now),
                    DialEvent::FirstAudio | DialEvent::FellBack | DialEvent::PathLost | DialEvent::PathFound => {}
                });
            }
        });
        Ok(Self { call, noted, seen })
    }

    /// Waits until there is a picture.
    pub async fn shown(&mut self) -> anyhow::Result<Begun> {
        let noted = self.until("picture", |noted| noted.first_frame).await?;
        let begun = || Some(Begun { offered: noted.offered?, answered: noted.answered?, connected: noted.connected? });
        begun().context("a picture without an answer")
    }

    async fn until(&mut self, what: &str, is: impl Fn(&Noted) -> bool) -> anyhow::Result<Noted> {
        let waited = self.noted.wait_for(|noted| is(noted) || noted.ended.is_some());
        let noted = tokio::time::timeout(PATIENCE, waited).await.with_context(|| format!("no {what}"))??.clone();
        match &noted.ended {
            Some(why) if !is(&noted) => Err(anyhow!("no {what}: {why}")),
            _ => Ok(noted),
        }
    }

    /// What has come by now, as it is told once a second.
    pub fn stats(&self) -> anyhow::Result<CallerStats> {
        let noted = self.noted.borrow();
        match (&noted.ended, noted.stats) {
            (Some(why), _) => Err(anyhow!("a caller's call ended: {why}")),
            (None, stats) => Ok(stats.unwrap_or_default()),
        }
    }

    /// The pictures so far.
    pub fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn hang_up(mut self) -> anyhow::Result<()> {
        self.call.hang_up();
        self.until("end", |noted| noted.ended.is_some()).await.map(drop)
    }
}
