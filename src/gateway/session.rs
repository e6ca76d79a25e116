//! The task that owns a call: it feeds the machine, and carries out what the machine says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt as _;
use nostr::RelayUrl;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::board::Board;
use super::clock::Clock;
use super::fact::{Fact, Facts};
use super::race::Entrant;
use super::recordings::Recordings;
use super::showing::{call_record, call_view};
use crate::call::{Action, Call, EndReason, Input, Report, State};
use crate::media::{self, CallId, LineName, Media, PeerError, PeerStats, SourceEnd, SourceError};
use crate::protocol::{Body, Dialect, INBOX_LIST, RELAY_LIST, Signal, reached_at};
use crate::signaling::Signaling;
use crate::store::Store;

/// What a session's queue holds: a caller may send 64 candidates, media a dozen events and one statistic a second.
const QUEUE: usize = 256;

/// The part of a session's queue that only media may fill: however much a caller sends, the end of its peer is heard of.
const KEPT_FOR_MEDIA: usize = 64;

/// What a session is told.
#[derive(Debug)]
pub(super) enum Told {
    Signal(Box<Signal>),
    /// The caller's offer came again, in this dialect.
    OfferAgain(Dialect),
    /// Whoever is called is reached by these relays too.
    Ways(Vec<RelayUrl>),
    Media(media::Event),
    /// A relay took an offer.
    OfferTaken,
    /// A relay took an answer.
    AnswerTaken,
}

/// The way to a session. Dropping it hangs up.
#[derive(Debug)]
pub(super) struct SessionHandle {
    told: mpsc::Sender<Told>,
    hang_up: watch::Sender<Option<EndReason>>,
    /// Events of other keys under this session's name. A count, and nothing in the queue: others must not fill it.
    foreign: Arc<AtomicU32>,
}

impl SessionHandle {
    /// Tells the session; false when its queue is full or it has ended. A full queue means a caller who floods, or statistics
    /// that nobody needs late: what does not fit is dropped, and the machine's deadlines end a call that missed something.
    pub(super) fn tell(&self, told: Told) -> bool {
        if matches!(told, Told::Signal(_) | Told::OfferAgain(_)) && self.told.capacity() <= KEPT_FOR_MEDIA {
            return false;
        }
        self.told.try_send(told).is_ok()
    }

    /// Notes an event that another key sent under this session's name.
    pub(super) fn note_foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the call; goes past the queue.
    pub(super) fn hang_up(&self, reason: EndReason) {
        self.hang_up.send_replace(Some(reason));
    }
}

/// What every session works with.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) media: Media,
    pub(super) signaling: Signaling,
    /// Whether callers are answered through the relay that their offer names too.
    pub(super) caller_relays: bool,
    pub(super) store: Arc<Store>,
    pub(super) facts: Arc<Facts>,
    pub(super) board: Arc<Board>,
    pub(super) recordings: Recordings,
    /// Events on their way to relays: a shutdown waits for them.
    pub(super) deliveries: TaskTracker,
    /// Where answers are heard: named in our offers.
    pub(super) heard_at: Vec<RelayUrl>,
}

/// A session about to run.
pub(super) struct Session {
    id: CallId,
    line: LineName,
    call: Call,
    clock: Clock,
    told: mpsc::Receiver<Told>,
    /// For what a task of its own finds out. Weak: the queue ends with the supervisor's handle.
    tell: mpsc::WeakSender<Told>,
    hang_up: watch::Receiver<Option<EndReason>>,
    foreign: Arc<AtomicU32>,
    around: Surroundings,
    /// Whether an answer was sent.
    answered: bool,
    /// Relays that the other side is reached by, besides ours.
    via: Vec<RelayUrl>,
    /// In a call that rings together with others.
    race: Option<Entrant>,
    stats: PeerStats,
    teardown: Option<media::Teardown>,
    /// What happened, once the call is over.
    ended: Option<Box<Report>>,
}

/// Makes a session for a call whose machine goes by `clock`; [`Session::run`] is its task.
pub(super) fn session(
    id: CallId,
    line: LineName,
    call: Call,
    clock: Clock,
    around: Surroundings,
) -> (SessionHandle, Session) {
    let (told_to, told) = mpsc::channel(QUEUE);
    let (hang_up_to, hang_up) = watch::channel(None);
    let foreign = Arc::new(AtomicU32::new(0));
    let session = Session {
        id,
        line,
        call,
        clock,
        told,
        tell: told_to.downgrade(),
        hang_up,
        foreign: foreign.clone(),
        around,
        answered: false,
        via: Vec::new(),
        race: None,
        stats: PeerStats::default(),
        teardown: None,
        ended: None,
    };
    (SessionHandle { told: told_to, hang_up: hang_up_to, foreign }, session)
}

impl Session {
    /// The same session, whose other side is reached by these relays too.
    pub(super) fn via(self, via: Vec<RelayUrl>) -> Self {
        Self { via, ..self }
    }

    /// The same session of a call that the line makes: it ends when another in the race is answered first. Which relays whoever is called
    /// lists is looked up meanwhile; the offer does not wait for it.
    pub(super) fn racing(self, race: Entrant) -> Self {
        let (signaling, tell, callee) = (self.around.signaling.clone(), self.tell.clone(), self.call.dialog().other);
        let at = self.via.clone();
        tokio::spawn(async move {
            let lists = signaling.latest(vec![callee], vec![INBOX_LIST, RELAY_LIST], &at).await;
            let ways = reached_at(&lists);
            if !ways.is_empty()
                && let Some(tell) = tell.upgrade()
            {
                // A session that has ended, or has too much to do, goes without.
                let _ = tell.try_send(Told::Ways(ways));
            }
        });
        Self { race: Some(race), ..self }
    }

    /// Runs the call to its end, from the machine's first actions on; what happened, if it could be brought to one.
    pub(super) async fn run(mut self, first: Vec<Action>) -> Option<Box<Report>> {
        // A panic is a fault of ours and no reason to leave the caller without a word, media running and the log without the call. Each
        // input is taken whole or not at all, so the machine can still end the call; if it cannot, the supervisor frees the media.
        if AssertUnwindSafe(self.carry_on(first)).catch_unwind().await.is_err() {
            let fault = EndReason::Internal("the session panicked".to_owned());
            let last = self.call.handle(self.clock.now(), Input::HangUp(fault));
            self.carry_on(last).await;
        }
        self.ended
    }

    async fn carry_on(&mut self, first: Vec<Action>) {
        self.carry_out(first).await;
        self.show();
        while self.call.state() != State::Ended {
            let deadline = self.clock.instant(self.call.deadline());
            let input = tokio::select! {
                biased;
                changed = self.hang_up.changed() => match changed {
                    Ok(()) => match self.hang_up.borrow_and_update().clone() {
                        Some(reason) => Input::HangUp(reason),
                        None => continue,
                    },
                    // The supervisor is gone: nobody can be told, everything must come down.
                    Err(_) => return,
                },
                () = Entrant::lost(&mut self.race) => {
                    self.race = None;
                    Input::HangUp(EndReason::AnsweredByOther)
                }
                told = self.told.recv() => match told {
                    Some(told) => match self.input(told) {
                        Some(input) => input,
                        None => continue,
                    },
                    None => return,
                },
                () = tokio::time::sleep_until(deadline) => Input::Tick,
            };
            let before = self.call.state();
            let mut actions = self.call.handle(self.clock.now(), input);
            if self.call.is_answered() && self.race.take().is_some_and(|race| !race.wins()) {
                actions.extend(self.call.handle(self.clock.now(), Input::HangUp(EndReason::AnsweredByOther)));
            }
            if self.call.state() != before {
                self.around.facts.record(&Fact::CallState {
                    call: self.id,
                    line: &self.line,
                    state: self.call.state(),
                });
                if self.call.state() == State::Live {
                    self.around.recordings.call_is_live(self.id, &self.line, self.call.dialog());
                }
            }
            self.carry_out(actions).await;
            self.show();
        }
    }

    /// What an input is to the machine; `None` when it is only to be noted.
    fn input(&mut self, told: Told) -> Option<Input> {
        let event = match told {
            Told::Signal(signal) => return Some(Input::Signal(*signal)),
            Told::OfferAgain(dialect) => return Some(Input::OfferAgain(dialect)),
            Told::Ways(more) => {
                self.via.extend(more);
                return Some(Input::MoreWays);
            }
            Told::Media(event) => event,
            Told::OfferTaken => return Some(Input::OfferTaken),
            Told::AnswerTaken => return Some(Input::AnswerTaken),
        };
        Some(match event {
            media::Event::SourceReady { streams, .. } => Input::SourceReady(streams),
            media::Event::SourceFailed { error: SourceError::File(error), .. } => {
                Input::HangUp(EndReason::Unplayable(error.to_string()))
            }
            media::Event::SourceEnded { end: SourceEnd::Over, .. } => Input::HangUp(EndReason::PlayedOut),
            media::Event::SourceEnded { end: SourceEnd::Broken(error), .. } => {
                Input::HangUp(EndReason::Unplayable(error.to_string()))
            }
            media::Event::SourceFailed { error, .. } => Input::SourceFailed(error.to_string()),
            media::Event::AnswerReady { sdp, .. } => Input::AnswerReady(sdp),
            media::Event::OfferReady { sdp, .. } => Input::OfferReady(sdp),
            media::Event::LateCandidate { candidate, mid, index, .. } => {
                Input::LocalCandidate { candidate, mid, index }
            }
            media::Event::Checked { .. } => Input::Checked,
            media::Event::Secured { .. } => Input::Secured,
            media::Event::FirstMedia { .. } => Input::FirstMedia,
            media::Event::PeerFailed { error, .. } => Input::PeerFailed(end_of_peer(error)),
            media::Event::Stats { stats, .. } => {
                self.stats = stats;
                self.show();
                return None;
            }
            media::Event::Closed { teardown, .. } => {
                self.around.facts.record(&Fact::PeerDown {
                    call: self.id,
                    took: teardown.took,
                    leaked: teardown.leaked,
                });
                self.teardown = Some(teardown);
                Input::PeerClosed
            }
            media::Event::NotRenegotiated { why, .. } => {
                self.around.facts.record(&Fact::NotRenegotiated { call: self.id, why });
                Input::NotRenegotiated
            }
            // The machine offers another restart when it is time.
            media::Event::AnswerRefused { why, .. } => {
                self.around.facts.record(&Fact::NotRenegotiated { call: self.id, why });
                return None;
            }
            media::Event::NoNewPath { .. } => Input::NoNewPath,
            media::Event::PathLost { .. } => {
                self.around.facts.record(&Fact::PathLost { call: self.id, line: &self.line });
                Input::PathLost
            }
            media::Event::PathFound { .. } => {
                self.around.facts.record(&Fact::PathFound { call: self.id, line: &self.line });
                Input::PathFound
            }
            media::Event::Recording { .. } | media::Event::Line { .. } => return None,
        })
    }

    async fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            let call = self.id;
            match action {
                Action::OpenSource => {
                    self.around.media.send(media::Command::OpenSource { call, line: self.line.clone() }).await;
                }
                Action::OpenPeer { offer, plan, servers } => {
                    self.around.media.send(media::Command::OpenPeer { call, offer, plan, servers }).await
                }
                Action::OfferPeer { plan } => {
                    self.around.media.send(media::Command::OfferPeer { call, plan }).await;
                }
                Action::Renegotiate { offer } => {
                    self.around.facts.record(&Fact::Renegotiating { call, by: "other_side" });
                    self.around.media.send(media::Command::Renegotiate { call, offer }).await;
                }
                Action::Restart => {
                    self.around.facts.record(&Fact::Renegotiating { call, by: "line" });
                    self.around.media.send(media::Command::Restart { call }).await;
                }
                Action::TakeAnswer(answer) => {
                    self.around.media.send(media::Command::TakeAnswer { call, answer }).await;
                }
                Action::AddCandidate(candidate) => {
                    self.around.media.send(media::Command::AddCandidate { call, candidate }).await;
                }
                Action::CloseMedia => self.around.media.send(media::Command::Close { call }).await,
                Action::Send(body) => self.send(self.call.dialog().dialect, body),
                Action::SendIn(dialect, body) => self.send(dialect, body),
                Action::Report(report) => self.report(report).await,
            }
        }
    }

    fn send(&mut self, dialect: Dialect, body: Body) {
        let (what, taken) = match &body {
            Body::Offer(_) => ("call_offer", Some(Told::OfferTaken)),
            Body::Answer(_) => ("call_answer", Some(Told::AnswerTaken)),
            Body::Candidate(_) => ("ice_candidate", None),
            Body::End(_) => ("call_end", None),
        };
        let answers = what == "call_answer";
        // A caller who does not begin to connect: those who wait for their first answer go before.
        let again = answers && self.answered && self.call.state() == State::Connecting;
        self.answered |= answers;
        let mut outgoing = self.call.dialog().outgoing(dialect, body, self.clock.now().unix_seconds());
        if what == "call_offer" {
            outgoing.relays.clone_from(&self.around.heard_at);
        }
        let published = if again {
            self.around.signaling.publish_again(outgoing, &self.via)
        } else {
            self.around.signaling.publish_via(outgoing, &self.via)
        };
        let (facts, call, tell) = (self.around.facts.clone(), self.id, self.tell.clone());
        // A call must not wait for a relay: what becomes of the event is only noted.
        self.around.deliveries.spawn(async move {
            let mut on_its_way = false;
            let failed: Option<Box<dyn std::error::Error + Send>> = match published {
                Ok(delivery) => match delivery.outcome().await {
                    Ok(_) => {
                        on_its_way = true;
                        None
                    }
                    Err(undelivered) => {
                        on_its_way = undelivered.may_have_arrived();
                        Some(Box::new(undelivered))
                    }
                },
                Err(error) => Some(Box::new(error)),
            };
            if let Some(error) = failed {
                facts.record(&Fact::NotDelivered { call, what, error: &*error });
            }
            // A session that has ended or has too much to do goes without: an answer is not sent again then.
            if on_its_way && let (Some(taken), Some(tell)) = (taken, tell.upgrade()) {
                let _ = tell.try_send(taken);
            }
        });
    }

    /// Lets it be seen from outside.
    pub(super) fn show(&self) {
        let ended = self.ended.as_ref().map(|report| report.reason.word());
        self.around.board.show_call(self.id, call_view(self.id, &self.line, &self.call, &self.stats, ended));
    }

    async fn report(&mut self, report: Box<Report>) {
        // Of wrapped events relays keep nothing.
        if self.call.spoke(Dialect::Plain) {
            self.around.signaling.purge(&report.line, report.session.clone());
        }
        let mut record = call_record(&self.line, &report, &self.stats, self.teardown);
        record.ignored = record.ignored.saturating_add(self.foreign.load(Ordering::Relaxed));
        let store = self.around.store.clone();
        // A slow disk must not hold up other calls.
        match tokio::task::spawn_blocking(move || store.log_call(&record)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.around.facts.record(&Fact::NotStored { call: self.id, error: &error }),
            Err(error) => self.around.facts.record(&Fact::NotStored { call: self.id, error: &error }),
        }
        self.ended = Some(report);
    }
}

/// Why a peer's failure ends the call.
fn end_of_peer(error: PeerError) -> EndReason {
    match error {
        PeerError::FingerprintMismatch => EndReason::FingerprintMismatch,
        PeerError::NoCommonCodec(none) => EndReason::NoCommonCodec(none),
        PeerError::IceFailed | PeerError::DtlsFailed => EndReason::NeverConnected,
        // A DTLS close_notify is the real hang-up: the `call_end` beside it may be lost, or come later.
        PeerError::ClosedByCaller => EndReason::CallerLeft,
        PeerError::ConsentLost => EndReason::CallerGone,
        PeerError::GStreamer(text) => EndReason::Internal(text),
    }
}

#[cfg(test)]
mod tests {
    use nostr::{EventId, Keys};

    use super::*;
    use crate::protocol::{CallEnd, CallType, Cipher, EndWord, Envelope, SignalKind};

    fn signal() -> Told {
        let envelope = Envelope {
            dialect: Dialect::Plain,
            event_id: EventId::all_zeros(),
            kind: SignalKind::End,
            from: Keys::generate().public_key(),
            to: Keys::generate().public_key(),
            session: "one".parse().unwrap(),
            call_type: CallType::Video,
            cipher: Cipher::Nip44,
            relay: None,
            rtc_servers: Vec::new(),
            created_at: 0,
            expiration: None,
        };
        let body = Body::End(CallEnd::new(EndWord::UserLeft, 0));
        Told::Signal(Box::new(Signal { envelope, body }))
    }

    #[test]
    fn a_caller_who_floods_leaves_room_for_what_media_tells() {
        let (told, _queue) = mpsc::channel(QUEUE);
        let handle = SessionHandle { told, hang_up: watch::Sender::new(None), foreign: Arc::default() };

        let taken = (0..2 * QUEUE).filter(|_| handle.tell(signal())).count();
        assert_eq!(taken, QUEUE - KEPT_FOR_MEDIA);

        let secured = || Told::Media(media::Event::Secured { call: CallId(1) });
        assert_eq!((0..QUEUE).filter(|_| handle.tell(secured())).count(), KEPT_FOR_MEDIA);
    }
}
