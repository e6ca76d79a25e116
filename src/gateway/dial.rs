//! Dialling: callgate as the one who calls, as `callgate call` does it. One task owns the call; others hold a [`Dialled`].

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use nostr::{Keys, PublicKey, RelayUrl};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::new_session;
use crate::call::{Action, Millis, Timing, Upkeep};
use crate::media::PeerError;
use crate::media::caller::{self, CallerEvent, CallerHandle, CallerSettings, CallerStats, Recorded};
use crate::protocol::{
    self, Answer, Body, CallEnd, CallType, Cipher, Dialect, EndWord, IceCandidate, MAX_CANDIDATES, Offer, Outgoing,
    RtcServer, SessionId,
};
use crate::sdp::{self, CallerServers, Candidate, IceCredentials};
use crate::signaling::{self, Delivery, Incoming, PublishError, Signaling};

/// How long a relay may take to be connected.
const RELAY_PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for the words that follow a refusal, or the end of media: they are paced, and may go over another relay.
const DETAIL_PATIENCE: Duration = Duration::from_secs(2);
/// How long ICE and DTLS may take once there is an answer: as long as the answering side gives them.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a wrapped offer goes without an answer before it is sent plain too: a camera that has to be opened answers within a few
/// seconds.
const FALLBACK: Duration = Duration::from_secs(4);
/// How long a relay may take to carry our `call_end`: media has said goodbye itself by then.
const FAREWELL: Duration = Duration::from_secs(2);
/// Events that wait to be read; statistics that find no room are dropped, what matters waits.
const EVENTS: usize = 64;

/// Whom to call, and how.
#[derive(Debug)]
pub struct DialSettings {
    pub keys: Keys,
    pub to: PublicKey,
    pub relays: Vec<RelayUrl>,
    pub cipher: Cipher,
    /// How the offer travels. Without it wrapped, and plain too when nobody answers.
    pub dialect: Option<Dialect>,
    /// How long it rings.
    pub rings: Duration,
    /// STUN and TURN servers that the offer names, for the line to use too.
    pub shared: Vec<RtcServer>,
    pub media: CallerSettings,
}

/// What happens in the call.
#[derive(Debug, Clone, PartialEq)]
pub enum DialEvent {
    /// A relay is connected, the offer is on its way.
    Ringing {
        session: SessionId,
    },
    /// Nobody answers the wrapped offer: it is on its way plain too.
    FellBack,
    Answered,
    /// DTLS is connected, and the certificate is the one that the answer names.
    Connected,
    FirstFrame,
    FirstAudio,
    /// Nothing comes from the line any more; another path is looked for.
    PathLost,
    /// After that: the line is heard again.
    PathFound,
    /// Once a second while connected.
    Stats(CallerStats),
    /// The last event.
    Ended {
        why: DialEnd,
        recorded: Option<Recorded>,
    },
}

/// How the call ended.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DialEnd {
    #[error("hung up")]
    HungUp,
    #[error("no relay can be reached")]
    NoRelay,
    #[error("the offer cannot be sent: no relay takes it")]
    NotSent,
    #[error("no answer: the line may be off, or you may not be on its list")]
    NoAnswer,
    #[error("refused{}", detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Refused { detail: Option<String> },
    #[error("the line hung up ({reason}){}", detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default())]
    LineEnded { reason: EndWord, detail: Option<String> },
    #[error("the line's answer is of no use: {0}")]
    BadAnswer(sdp::SdpReject),
    #[error("the connection failed: {0}")]
    Media(PeerError),
}

/// Why a call cannot even begin.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Media(#[from] crate::media::StartError),
    #[error(transparent)]
    Signaling(#[from] signaling::StartError),
}

/// A call that we make. Dropping it vanishes without a word; [`Dialled::hang_up`] is the polite way.
#[derive(Debug)]
pub struct Dialled {
    hang_up: CancellationToken,
    task: JoinHandle<()>,
}

impl Dialled {
    /// Whether [`Dialled::hang_up`] was called.
    pub fn hanging_up(&self) -> bool {
        self.hang_up.is_cancelled()
    }

    /// Hangs up; [`DialEvent::Ended`] follows.
    pub fn hang_up(&self) {
        self.hang_up.cancel();
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Calls.
///
/// # Errors
/// [`DialError`] when media or signaling cannot start; everything later comes as [`DialEvent::Ended`].
pub async fn dial(settings: DialSettings) -> Result<(Dialled, mpsc::Receiver<DialEvent>), DialError> {
    let (signaling, incoming) = signaling::start(signaling::Settings {
        relays: settings.relays,
        keys: vec![settings.keys.clone()],
        visits: CallerServers::Public,
        memory: std::sync::Arc::new(signaling::memory::Forgetful::default()),
    })
    .await?;
    let (peer, media) = caller::start(settings.media)?;
    let (events, told) = mpsc::channel(EVENTS);
    let hang_up = CancellationToken::new();
    let dialling = Dialling {
        keys: settings.keys,
        to: settings.to,
        cipher: settings.cipher,
        dialects: vec![settings.dialect.unwrap_or(Dialect::Wrapped)],
        falls_back: settings.dialect.is_none(),
        call_type: CallType::Video,
        rings: settings.rings,
        shared: settings.shared,
        session: new_session(),
        signaling,
        clock: Clock::start(),
        events,
        recorded: None,
        upkeep: None,
        remote: None,
    };
    let task = tokio::spawn(dialling.run(peer, media, incoming, hang_up.clone()));
    Ok((Dialled { hang_up, task }, told))
}

struct Dialling {
    keys: Keys,
    to: PublicKey,
    cipher: Cipher,
    /// Those that the offer went out in, until the other side has spoken in one of them.
    dialects: Vec<Dialect>,
    /// Whether the offer may still go out plain too.
    falls_back: bool,
    call_type: CallType,
    rings: Duration,
    shared: Vec<RtcServer>,
    session: SessionId,
    signaling: Signaling,
    clock: Clock,
    events: mpsc::Sender<DialEvent>,
    recorded: Option<Recorded>,
    /// What keeps the call up, once it is.
    upkeep: Option<Upkeep>,
    /// What the line's first answer named.
    remote: Option<IceCredentials>,
}

/// How far the call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ringing,
    /// The refusal's words may follow.
    Refused,
    /// ICE and DTLS run.
    Answered,
    Connected,
    /// The other side closed DTLS. The words of its hang-up may follow.
    Closed,
}

/// What the other side's signal means to the call.
enum Heard {
    Nothing,
    /// A further offer in the call.
    Offer(Offer),
    Answer(Answer),
    Refused,
    Candidate(Candidate),
    Ended(CallEnd),
}

impl Dialling {
    async fn run(
        mut self,
        peer: CallerHandle,
        mut media: mpsc::Receiver<CallerEvent>,
        mut incoming: mpsc::Receiver<Incoming>,
        hang_up: CancellationToken,
    ) {
        let why = tokio::select! {
            biased;
            () = hang_up.cancelled() => DialEnd::HungUp,
            why = self.talk(&peer, &mut media, &mut incoming) => why,
        };
        // The other side's own words need no answer; in every other case it is told.
        let farewell = match &why {
            DialEnd::HungUp | DialEnd::Media(_) | DialEnd::BadAnswer(_) => Some(EndWord::UserLeft),
            DialEnd::NoAnswer => Some(EndWord::Timeout),
            DialEnd::NoRelay | DialEnd::NotSent | DialEnd::Refused { .. } | DialEnd::LineEnded { .. } => None,
        };
        let told = farewell.map(|reason| {
            let timestamp = self.clock.now().unix_seconds();
            self.send(&Body::End(CallEnd::new(reason, timestamp)))
        });
        let listening = async {
            while let Some(event) = media.recv().await {
                if let CallerEvent::Ended { recorded, .. } = event {
                    self.recorded = recorded;
                }
            }
        };
        tokio::join!(peer.end(), listening);
        if let Some(deliveries) = told {
            let taken = futures::future::join_all(deliveries.into_iter().map(Delivery::outcome));
            // Media has said goodbye already: a relay that is slow to take ours changes nothing.
            let _ = tokio::time::timeout(FAREWELL, taken).await;
        }
        self.signaling.shut_down();
        let recorded = self.recorded;
        self.tell(DialEvent::Ended { why, recorded }).await;
    }

    async fn talk(
        &mut self,
        peer: &CallerHandle,
        media: &mut mpsc::Receiver<CallerEvent>,
        incoming: &mut mpsc::Receiver<Incoming>,
    ) -> DialEnd {
        if tokio::time::timeout(RELAY_PATIENCE, self.signaling.connected()).await.is_err() {
            return DialEnd::NoRelay;
        }
        let offer = loop {
            match media.recv().await {
                Some(CallerEvent::Offer(sdp)) => break sdp,
                Some(CallerEvent::Failed(error)) => return DialEnd::Media(error),
                Some(_) => {}
                None => return DialEnd::Media(PeerError::GStreamer("no offer was made".to_owned())),
            }
        };
        let made = self.clock.now().unix_seconds();
        let content =
            Offer { rtc_servers: self.shared.clone(), ..Offer::new(offer.clone(), made, self.rings.as_secs()) };
        let content = Body::Offer(content);
        let mut deliveries: FuturesUnordered<_> = self.send(&content).into_iter().map(Delivery::outcome).collect();
        if deliveries.is_empty() {
            return DialEnd::NotSent;
        }
        self.tell(DialEvent::Ringing { session: self.session.clone() }).await;
        let mut sent = false;
        let falling_back = tokio::time::sleep(FALLBACK);
        tokio::pin!(falling_back);
        let mut stage = Stage::Ringing;
        let mut patience = Instant::now() + self.rings;
        let mut candidates = 0;
        loop {
            tokio::select! {
                biased;
                Some(outcome) = deliveries.next(), if !sent => match outcome {
                    Ok(_) => sent = true,
                    Err(_) if stage == Stage::Ringing => {
                        // A relay that takes no wraps may take the event itself.
                        deliveries.extend(self.fall_back(&content).await.map(Delivery::outcome));
                        if deliveries.is_empty() {
                            return DialEnd::NotSent;
                        }
                    }
                    // It came all the same: a relay may lose its word.
                    Err(_) => sent = true,
                },
                () = &mut falling_back, if self.falls_back && stage == Stage::Ringing => {
                    deliveries.extend(self.fall_back(&content).await.map(Delivery::outcome));
                }
                Some(incoming) = incoming.recv() => match self.heard(&incoming) {
                    Heard::Nothing => {}
                    Heard::Offer(offer) => {
                        let signed = incoming.envelope.created_at;
                        // What changes nothing is the line's loss.
                        let _ = self.keep_up(peer, |upkeep, now, todo| upkeep.heard_offer(now, signed, offer, todo)).await;
                    }
                    // To a restart of ours; or that of another device of the same key, or the same event again.
                    Heard::Answer(answer) if stage != Stage::Ringing => {
                        let _ = self.keep_up(peer, |upkeep, now, todo| upkeep.heard_answer(now, &answer, todo)).await;
                    }
                    Heard::Refused if stage != Stage::Ringing => {
                        let answer = Answer::refusing(incoming.envelope.created_at);
                        let _ = self.keep_up(peer, |upkeep, now, todo| upkeep.heard_answer(now, &answer, todo)).await;
                    }
                    Heard::Answer(answer) => match sdp::guard_answer(&offer, &answer.sdp) {
                        Ok(answer) => {
                            stage = Stage::Answered;
                            self.remote = Some(answer.ice.clone());
                            self.dialects = vec![incoming.envelope.dialect];
                            patience = Instant::now() + CONNECT_PATIENCE;
                            peer.answer(answer).await;
                            self.tell(DialEvent::Answered).await;
                        }
                        Err(reject) => return DialEnd::BadAnswer(reject),
                    },
                    Heard::Refused => {
                        stage = Stage::Refused;
                        patience = Instant::now() + DETAIL_PATIENCE;
                    }
                    Heard::Candidate(candidate) => {
                        candidates += 1;
                        if candidates <= MAX_CANDIDATES {
                            peer.add_candidate(candidate);
                        }
                    }
                    Heard::Ended(end) if stage == Stage::Refused => return DialEnd::Refused { detail: end.detail },
                    // Relays may bring the words of a refusal before the refusal itself.
                    Heard::Ended(end) if stage == Stage::Ringing && end.reason == EndWord::Rejected => {
                        return DialEnd::Refused { detail: end.detail };
                    }
                    Heard::Ended(end) => return DialEnd::LineEnded { reason: end.reason, detail: end.detail },
                },
                event = media.recv(), if stage != Stage::Closed => match event {
                    Some(CallerEvent::Failed(PeerError::ClosedByCaller)) => {
                        stage = Stage::Closed;
                        patience = Instant::now() + DETAIL_PATIENCE;
                    }
                    Some(event) => {
                        if event == CallerEvent::Connected {
                            stage = Stage::Connected;
                            let now = self.clock.now();
                            self.upkeep = Some(Upkeep::new(now, Timing::DEFAULT, false, self.remote.take()));
                        }
                        if let Some(end) = self.media_event(peer, event).await {
                            return end;
                        }
                    }
                    None => return DialEnd::Media(PeerError::GStreamer("media is gone".to_owned())),
                },
                () = self.overdue(), if stage == Stage::Connected => {
                    if self.keep_up(peer, Upkeep::overdue).await {
                        return DialEnd::Media(PeerError::ConsentLost);
                    }
                }
                () = tokio::time::sleep_until(patience), if stage != Stage::Connected => return match stage {
                    Stage::Refused => DialEnd::Refused { detail: None },
                    Stage::Closed => DialEnd::LineEnded { reason: EndWord::UserLeft, detail: None },
                    Stage::Ringing => DialEnd::NoAnswer,
                    Stage::Answered | Stage::Connected => DialEnd::Media(PeerError::IceFailed),
                },
            }
        }
    }

    /// Tells what happened to our media; how it ended the call, if it did.
    async fn media_event(&mut self, peer: &CallerHandle, event: CallerEvent) -> Option<DialEnd> {
        match event {
            CallerEvent::Offer(sdp) => self.keep_up(peer, |upkeep, now, todo| upkeep.offer_made(now, sdp, todo)).await,
            CallerEvent::Answer(sdp) => {
                self.keep_up(peer, |upkeep, now, todo| upkeep.offer_done(now, Some(sdp), todo)).await;
            }
            CallerEvent::NotRenegotiated(_) => {
                self.keep_up(peer, |upkeep, now, todo| upkeep.offer_done(now, None, todo)).await;
            }
            // Another restart is offered when it is time.
            CallerEvent::AnswerRefused(_) => {}
            CallerEvent::PathLost => {
                self.keep_up(peer, |upkeep, now, _| upkeep.path_lost(now)).await;
                self.tell(DialEvent::PathLost).await;
            }
            CallerEvent::PathFound => {
                self.keep_up(peer, |upkeep, _, _| upkeep.path_found()).await;
                self.tell(DialEvent::PathFound).await;
            }
            CallerEvent::LateCandidate { candidate, mid, index } => {
                let candidate = IceCandidate {
                    candidate,
                    sdp_mid: Some(mid),
                    sdp_mline_index: Some(index),
                    timestamp: self.clock.now().unix_seconds(),
                };
                // The other side may find us without it: peer-reflexive candidates form.
                drop(self.send(&Body::Candidate(candidate)));
            }
            CallerEvent::Connected => self.tell(DialEvent::Connected).await,
            CallerEvent::FirstFrame => self.tell(DialEvent::FirstFrame).await,
            CallerEvent::FirstAudio => self.tell(DialEvent::FirstAudio).await,
            CallerEvent::Stats(stats) => {
                // A reader who is behind wants the next one, not this one.
                let _ = self.events.try_send(DialEvent::Stats(stats));
            }
            CallerEvent::Failed(error) => return Some(DialEnd::Media(error)),
            CallerEvent::Ended { recorded, .. } => {
                self.recorded = recorded;
                return Some(DialEnd::Media(PeerError::ClosedByCaller));
            }
        }
        None
    }

    /// Reads a signal; only the one whom we call has a say.
    fn heard(&self, incoming: &Incoming) -> Heard {
        let envelope = &incoming.envelope;
        if envelope.from != self.to || envelope.session != self.session {
            return Heard::Nothing;
        }
        match protocol::open(envelope.clone(), &incoming.event, &self.keys).map(|signal| signal.body) {
            Ok(Body::Answer(answer)) if answer.accepted => Heard::Answer(answer),
            Ok(Body::Answer(_)) => Heard::Refused,
            Ok(Body::Candidate(ice)) => match Candidate::read(&ice.candidate) {
                Ok(Some(candidate)) => Heard::Candidate(candidate),
                Ok(None) | Err(_) => Heard::Nothing,
            },
            Ok(Body::End(end)) => Heard::Ended(end),
            Ok(Body::Offer(offer)) => Heard::Offer(offer),
            Err(_) => Heard::Nothing,
        }
    }

    /// Does what a live call needs to stay up; nothing before it is live.
    async fn keep_up<T: Default>(
        &mut self,
        peer: &CallerHandle,
        act: impl FnOnce(&mut Upkeep, Millis, &mut Vec<Action>) -> T,
    ) -> T {
        let Some(upkeep) = &mut self.upkeep else { return T::default() };
        let mut todo = Vec::new();
        let done = act(upkeep, self.clock.now(), &mut todo);
        for action in todo {
            match action {
                // What no relay takes is said again.
                Action::Send(body) => drop(self.send(&body)),
                Action::Renegotiate { offer } => peer.offer(*offer).await,
                Action::Restart => peer.restart().await,
                Action::TakeAnswer(answer) => peer.answer(*answer).await,
                // Those of a call's beginning and end.
                _ => {}
            }
        }
        done
    }

    /// Waits until the upkeep has something to do.
    async fn overdue(&self) {
        let deadline = self.upkeep.as_ref().and_then(Upkeep::deadline);
        tokio::time::sleep_until(self.clock.instant(deadline)).await;
    }

    /// Sends the offer plain too, unless that was done or is not wanted: a new event of the same session, with the same SDP, by which
    /// the line knows that it is one call.
    async fn fall_back(&mut self, offer: &Body) -> Option<Delivery> {
        if !std::mem::take(&mut self.falls_back) {
            return None;
        }
        self.dialects.push(Dialect::Plain);
        self.tell(DialEvent::FellBack).await;
        self.send_in(Dialect::Plain, offer.clone()).ok()
    }

    /// Sends in each dialect in which the other side may listen.
    fn send(&self, body: &Body) -> Vec<Delivery> {
        self.dialects.iter().filter_map(|dialect| self.send_in(*dialect, body.clone()).ok()).collect()
    }

    fn send_in(&self, dialect: Dialect, body: Body) -> Result<Delivery, PublishError> {
        self.signaling.publish(Outgoing {
            dialect,
            from: self.keys.public_key(),
            to: self.to,
            session: self.session.clone(),
            call_type: self.call_type,
            cipher: self.cipher,
            body,
            expiration: self.clock.now().plus(2_000).unix_seconds() + self.rings.as_secs(),
            relays: Vec::new(),
        })
    }

    /// The reader may be gone: the call goes on until it is hung up.
    async fn tell(&self, event: DialEvent) {
        let _ = self.events.send(event).await;
    }
}
