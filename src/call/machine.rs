//! The state machine of one call.

mod calling;
mod renegotiation;
mod timing;

use self::calling::{Calling, Ringing};
pub use self::calling::{LONGEST_CALLING, RingPlan, SHORTEST_CALLING};
pub use self::renegotiation::Upkeep;
pub use self::timing::Timing;
use super::servers::servers_named;
use super::{EndReason, Millis, Origin, refusal};
use crate::endpoint::Streams;
use crate::protocol::{
    Answer, Body, CallType, Dialect, Dialog, EndWord, IceCandidate, MAX_CANDIDATES, SessionId, Signal,
};
use crate::sdp;

/// How long an offer rings at most, in milliseconds, whatever it says: no camera and no person takes longer to answer,
/// and a call must not hold its place for as long as a stranger likes.
const LONGEST_RING: u64 = 120_000;

/// How often an answer is sent again to a caller who shows no sign of having it. Each takes a place in the order of the line's answers,
/// which relays pass on at six a second at best.
pub(super) const ANSWERS_AGAIN: u8 = 3;

/// Where a call is; it only moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its offer is here.
    Offered,
    /// The line's source is being opened.
    Opening,
    /// The peer makes its answer.
    Answering,
    /// In a call that the line makes: the peer makes its offer.
    Offering,
    /// In a call that the line makes: the offer is out.
    Ringing,
    /// The answer is out; ICE and DTLS run.
    Connecting,
    /// The other side's certificate matched; media flows.
    Live,
    /// The peer is being taken down.
    Closing,
    Ended,
}

/// What happened, told to the machine.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "an input is moved once, into the machine, and never kept")]
pub enum Input {
    /// An opened event for this session, signed by whoever: the machine checks.
    Signal(Signal),
    /// The caller sent its offer again, in this dialect: it has heard no answer to the first.
    OfferAgain(Dialect),
    /// The line's source is open and sends these.
    SourceReady(Streams),
    /// The line's source cannot be opened: in words, without secrets.
    SourceFailed(String),
    /// The peer's answer, ready for the caller: to the first offer, or to [`Action::Renegotiate`].
    AnswerReady(String),
    /// The peer's offer: the first one in a call that the line makes, or that of [`Action::Restart`].
    OfferReady(String),
    /// A relay took an offer of ours.
    OfferTaken,
    /// More relays are known by which the other side is reached.
    MoreWays,
    /// A late candidate of ours (a slow TURN), for kind 14302: mid and m-line index of the caller's offer.
    LocalCandidate { candidate: String, mid: String, index: u32 },
    /// A relay took an answer of ours. That is no promise that the caller gets it: some relays drop what is replaced soon after.
    AnswerTaken,
    /// The caller's first connectivity check came: it has the answer.
    Checked,
    /// DTLS is up and the certificate matched the offer: taps may join.
    Secured,
    /// The first packet of the line's media went out.
    FirstMedia,
    /// Media finds that the other side's further offer does not belong to the call.
    NotRenegotiated,
    /// A restart of the other side's was answered, and led to no new path.
    NoNewPath,
    /// Nothing comes from the other side any more.
    PathLost,
    /// After that: the other side is heard again.
    PathFound,
    /// The peer ended or could not be made.
    PeerFailed(EndReason),
    /// The peer is down, everything is freed.
    PeerClosed,
    /// The operator or the gateway ends the call.
    HangUp(EndReason),
    /// A deadline of [`Call::deadline`] has come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Take a lease on the line's source. Sent once.
    OpenSource,
    /// Build the peer. Sent once.
    OpenPeer { offer: Box<sdp::Offer>, plan: sdp::Plan, servers: Vec<sdp::IceServer> },
    /// Build a peer that offers, in a call that the line makes. Sent once, instead of `OpenPeer`.
    OfferPeer { plan: sdp::CallingPlan },
    /// The answer to the peer's offer: to the first one, or to a restart.
    TakeAnswer(Box<sdp::RemoteAnswer>),
    /// Give the peer a candidate of the other side's; never before `OpenPeer` or `TakeAnswer`.
    AddCandidate(sdp::Candidate),
    /// Answer a further offer of the other side's. One at a time; answered by [`Input::AnswerReady`] or [`Input::NotRenegotiated`].
    Renegotiate { offer: Box<sdp::Offer> },
    /// Offer an ICE restart. Answered by [`Input::OfferReady`].
    Restart,
    /// Seal and send to the other side, in the call's dialect.
    Send(Body),
    /// Seal and send to the other side in this dialect: it is not known yet which it understands.
    SendIn(Dialect, Body),
    /// Take the peer and the lease down. Sent once.
    CloseMedia,
    /// The call is over: log, count, store. Sent once, last.
    Report(Box<Report>),
}

/// Which side called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The line was called.
    In,
    /// The line called.
    Out,
}

/// When a call reached each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Milestones {
    /// The offer came; in a call that the line makes: it was asked to.
    pub offered: Millis,
    pub source_ready: Option<Millis>,
    pub answered: Option<Millis>,
    pub secured: Option<Millis>,
    pub first_media: Option<Millis>,
    pub ended: Option<Millis>,
}

/// What happened in a call that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Whoever called the line, or was called by it.
    pub caller: nostr::PublicKey,
    pub line: nostr::PublicKey,
    pub direction: Direction,
    pub session: SessionId,
    pub call_type: CallType,
    pub reason: EndReason,
    /// The other side's candidates and events that were refused or ignored, and those of others in its session.
    pub ignored: u32,
    pub milestones: Milestones,
}

impl Report {
    /// Whose doing the end was.
    pub fn origin(&self) -> Origin {
        match (self.reason.origin(), self.direction) {
            (Origin::Caller, Direction::Out) => Origin::Callee,
            (origin, _) => origin,
        }
    }
}

/// A [`State`] with what belongs to it.
#[derive(Debug)]
enum Phase {
    Offered,
    /// No offer: the line calls.
    Opening {
        offer: Option<Box<sdp::Offer>>,
    },
    Answering,
    Offering,
    Ringing(Box<Ringing>),
    Connecting {
        until: Millis,
        unheard: Option<Unheard>,
    },
    Live(Box<Upkeep>),
    Closing {
        reason: EndReason,
        until: Millis,
    },
    Ended,
}

/// An answer of which it is not known whether the caller has it.
#[derive(Debug)]
struct Unheard {
    sdp: String,
    /// When it is sent again; none while it is on its way to a relay.
    again: Option<Millis>,
    /// How often it may still be.
    left: u8,
}

/// One call. Every deadline is looked at before an input is taken, so that it does not matter which of the two the session
/// task picks up first.
#[derive(Debug)]
pub struct Call {
    /// The other one in it is the only one who may speak in this call. Its dialect is that of what is said next.
    dialog: Dialog,
    /// The other dialect that the caller's offer came in, if it did: a relay may carry one and lose the other.
    other_dialect: Option<Dialect>,
    timing: Timing,
    phase: Phase,
    /// What a call has that the line makes.
    calling: Option<Calling>,
    /// When the offer stops ringing.
    rings_until: Millis,
    /// STUN and TURN servers that the caller's offer names.
    servers: Vec<sdp::IceServer>,
    /// The other side's candidates so far. Until the peer is there and has both descriptions they are parked here.
    candidates: Vec<sdp::Candidate>,
    /// How many candidates of ours were sent after the answer.
    sent_candidates: usize,
    ignored: u32,
    milestones: Milestones,
}

impl Call {
    /// A call that comes in: `offer` passed the access policy and the limits, and its body is an offer.
    pub fn answering(now: Millis, offer: Signal, timing: Timing) -> (Self, Vec<Action>) {
        let Signal { envelope, body } = offer;
        let mut call = Self::begun(now, Dialog::of(&envelope), timing);
        let mut out = Vec::new();
        match body {
            Body::Offer(offer) => {
                let said = Millis(offer.rings_until().saturating_mul(1000));
                call.rings_until = call.rings_until.min(said);
                call.servers = servers_named(&envelope, &offer);
                match sdp::guard_offer(&offer.sdp) {
                    Ok(guarded) => {
                        call.phase = Phase::Opening { offer: Some(Box::new(guarded)) };
                        out.push(Action::OpenSource);
                    }
                    Err(reject) => call.end(now, EndReason::BadOffer(reject), &mut out),
                }
            }
            _ => call.end(now, EndReason::Internal("a call began without an offer".into()), &mut out),
        }
        (call, out)
    }

    fn begun(now: Millis, dialog: Dialog, timing: Timing) -> Self {
        Self {
            dialog,
            other_dialect: None,
            timing,
            phase: Phase::Offered,
            calling: None,
            rings_until: now.plus(LONGEST_RING),
            servers: Vec::new(),
            candidates: Vec::new(),
            sent_candidates: 0,
            ignored: 0,
            milestones: Milestones { offered: now, ..Milestones::default() },
        }
    }

    /// Takes an input; returns what is to be done, in order.
    pub fn handle(&mut self, now: Millis, input: Input) -> Vec<Action> {
        let (mut out, was_live) = (Vec::new(), self.state() == State::Live);
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.overdue(now, &mut out);
        }
        match input {
            Input::Signal(signal) => self.signal(now, signal, &mut out),
            Input::OfferAgain(dialect) => self.offered_again(now, dialect, &mut out),
            Input::SourceReady(streams) => self.source_ready(now, &streams, &mut out),
            Input::SourceFailed(why) => {
                // Once open, the hub reopens its source by itself, and the call waits for the picture to return.
                if self.state() == State::Opening {
                    self.end(now, EndReason::EndpointFailed(why), &mut out);
                }
            }
            Input::AnswerReady(sdp) => self.answer_ready(now, sdp, &mut out),
            Input::OfferReady(sdp) => match &mut self.phase {
                Phase::Live(upkeep) => upkeep.offer_made(now, sdp, &mut out),
                _ => self.offer_ready(now, sdp, &mut out),
            },
            Input::OfferTaken => self.offer_taken(),
            Input::MoreWays => self.more_ways(&mut out),
            Input::NotRenegotiated => self.keep_up(|upkeep| upkeep.offer_done(now, None, &mut out)),
            Input::NoNewPath => self.keep_up(|upkeep| upkeep.no_new_path(&mut out)),
            Input::PathLost => self.keep_up(|upkeep| upkeep.path_lost(now)),
            Input::PathFound => self.keep_up(Upkeep::path_found),
            Input::LocalCandidate { candidate, mid, index } => {
                let (sdp_mid, sdp_mline_index) = (Some(mid), Some(index));
                let timestamp = now.unix_seconds();
                self.local_candidate(IceCandidate { candidate, sdp_mid, sdp_mline_index, timestamp }, &mut out);
            }
            Input::AnswerTaken => {
                let after = self.timing.again;
                if let Phase::Connecting { unheard: Some(unheard), .. } = &mut self.phase
                    && unheard.left > 0
                {
                    unheard.again = Some(now.plus(after));
                }
            }
            Input::Checked => {
                if let Phase::Connecting { unheard, .. } = &mut self.phase {
                    *unheard = None;
                }
            }
            Input::Secured => {
                if self.state() == State::Connecting {
                    let gives_way = self.direction() == Direction::In;
                    let remote = self.calling.as_mut().and_then(Calling::take_remote);
                    self.phase = Phase::Live(Box::new(Upkeep::new(now, self.timing, gives_way, remote)));
                    self.milestones.secured = Some(now);
                }
            }
            Input::FirstMedia => {
                if self.state() == State::Live {
                    self.milestones.first_media.get_or_insert(now);
                }
            }
            Input::PeerFailed(reason) | Input::HangUp(reason) => self.end(now, reason, &mut out),
            Input::PeerClosed => self.peer_closed(now, &mut out),
            // Its deadline was looked at above.
            Input::Tick => {}
        }
        // Candidates that come from now on are for another path.
        if was_live && out.iter().any(|action| matches!(action, Action::Renegotiate { .. } | Action::TakeAnswer(_))) {
            self.candidates.clear();
        }
        out
    }

    /// When the machine wants a [`Input::Tick`], if nothing else happens.
    pub fn deadline(&self) -> Option<Millis> {
        match &self.phase {
            Phase::Offered | Phase::Opening { .. } | Phase::Answering | Phase::Offering => Some(self.rings_until),
            Phase::Ringing(ringing) => Some(ringing.deadline(self.rings_until)),
            Phase::Connecting { until, unheard } => {
                let again = unheard.as_ref().and_then(|unheard| unheard.again);
                Some(again.map_or(*until, |again| again.min(*until)))
            }
            Phase::Closing { until, .. } => Some(*until),
            Phase::Live(upkeep) => upkeep.deadline(),
            Phase::Ended => None,
        }
    }

    /// Where the call is.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Offered => State::Offered,
            Phase::Opening { .. } => State::Opening,
            Phase::Answering => State::Answering,
            Phase::Offering => State::Offering,
            Phase::Ringing(_) => State::Ringing,
            Phase::Connecting { .. } => State::Connecting,
            Phase::Live(_) => State::Live,
            Phase::Closing { .. } => State::Closing,
            Phase::Ended => State::Ended,
        }
    }

    /// Who the two are, in which session and cipher, and in which dialect the call is answered.
    pub fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    /// Whether something was said in this dialect, as far as it matters once the call is over.
    pub fn spoke(&self, dialect: Dialect) -> bool {
        // Having gone over to the other one, it has spoken in both.
        let both = self.other_dialect == Some(self.dialog.dialect);
        both || self.dialog.dialect == dialect || self.calling.as_ref().is_some_and(|calling| calling.spoke(dialect))
    }

    /// Which side called.
    pub fn direction(&self) -> Direction {
        if self.calling.is_some() { Direction::Out } else { Direction::In }
    }

    /// When it got where, so far.
    pub fn milestones(&self) -> &Milestones {
        &self.milestones
    }

    fn signal(&mut self, now: Millis, signal: Signal, out: &mut Vec<Action>) {
        let Signal { envelope, body } = signal;
        let may_speak = self.dialog.hears(&envelope);
        match body {
            Body::Candidate(candidate) if may_speak => self.remote_candidate(&candidate, out),
            Body::Answer(answer) if may_speak && self.calling.is_some() => {
                self.called_answers(now, envelope.dialect, answer, out);
            }
            Body::End(end) if may_speak && self.calling.is_some() => self.called_ends(now, &end, out),
            Body::End(_) if may_speak => self.end(now, EndReason::CallerLeft, out),
            Body::Offer(offer) if may_speak => {
                let heard = |upkeep: &mut Upkeep| upkeep.heard_offer(now, envelope.created_at, offer, out);
                if !self.keep_up(heard) {
                    self.ignore();
                }
            }
            Body::Answer(answer) if may_speak => {
                if !self.keep_up(|upkeep| upkeep.heard_answer(now, &answer, out)) {
                    self.ignore();
                }
            }
            _ => self.ignore(),
        }
    }

    /// Says an answer that was not heard in the offer's other dialect too. Once: no caller gets answers by offering on and on.
    fn offered_again(&mut self, now: Millis, dialect: Dialect, out: &mut Vec<Action>) {
        if dialect == self.dialog.dialect || self.other_dialect.is_some() {
            return;
        }
        self.other_dialect = Some(dialect);
        if let Phase::Connecting { unheard: Some(unheard), .. } = &mut self.phase {
            unheard.again = None;
            self.dialog.dialect = dialect;
            out.push(accept(now, unheard.sdp.clone()));
        }
    }

    /// Does what is only to be done in a live call.
    fn keep_up<T: Default>(&mut self, act: impl FnOnce(&mut Upkeep) -> T) -> T {
        match &mut self.phase {
            Phase::Live(upkeep) => act(upkeep),
            _ => T::default(),
        }
    }

    fn remote_candidate(&mut self, candidate: &IceCandidate, out: &mut Vec<Action>) {
        let peer_is_open = match self.state() {
            State::Offered | State::Opening | State::Offering | State::Ringing => false,
            State::Answering | State::Connecting | State::Live => true,
            State::Closing | State::Ended => return self.ignore(),
        };
        match sdp::Candidate::read(&candidate.candidate) {
            // Callers send a candidate again when a relay may have dropped it.
            Ok(Some(candidate)) if self.candidates.contains(&candidate) => {}
            Ok(Some(candidate)) if self.candidates.len() < MAX_CANDIDATES => {
                if peer_is_open {
                    out.push(Action::AddCandidate(candidate.clone()));
                }
                self.candidates.push(candidate);
            }
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => self.ignore(),
        }
    }

    /// Those of ours that were found before the answer are in it; in a call that the line makes they wait for it. A connected call needs no
    /// more.
    fn local_candidate(&mut self, candidate: IceCandidate, out: &mut Vec<Action>) {
        match (self.state(), &mut self.calling) {
            (State::Connecting, _) if self.sent_candidates < MAX_CANDIDATES => {
                self.sent_candidates += 1;
                out.push(Action::Send(Body::Candidate(candidate)));
            }
            (State::Ringing, Some(calling)) => calling.keep_candidate(candidate),
            _ => {}
        }
    }

    fn source_ready(&mut self, now: Millis, streams: &Streams, out: &mut Vec<Action>) {
        let Phase::Opening { offer } = &self.phase else { return };
        self.milestones.source_ready = Some(now);
        let Some(offer) = offer else { return self.offer_media(now, streams, out) };
        match sdp::plan(offer, streams) {
            Ok(plan) => {
                out.push(Action::OpenPeer { offer: offer.clone(), plan, servers: self.servers.clone() });
                out.extend(self.candidates.iter().cloned().map(Action::AddCandidate));
                self.phase = Phase::Answering;
            }
            Err(none) => self.end(now, EndReason::NoCommonCodec(none), out),
        }
    }

    fn answer_ready(&mut self, now: Millis, sdp: String, out: &mut Vec<Action>) {
        if self.state() == State::Answering {
            out.push(accept(now, sdp.clone()));
            self.milestones.answered = Some(now);
            let unheard = Some(Unheard { sdp, again: None, left: ANSWERS_AGAIN });
            self.phase = Phase::Connecting { until: now.plus(self.timing.connect), unheard };
        } else {
            self.keep_up(|upkeep| upkeep.offer_done(now, Some(sdp), out));
        }
    }

    fn peer_closed(&mut self, now: Millis, out: &mut Vec<Action>) {
        match self.state() {
            State::Closing => self.finish(now, out),
            State::Answering | State::Offering | State::Ringing | State::Connecting | State::Live => {
                self.end(now, EndReason::Internal("the peer closed unasked".into()), out);
            }
            State::Offered | State::Opening | State::Ended => {}
        }
    }

    fn overdue(&mut self, now: Millis, out: &mut Vec<Action>) {
        match self.state() {
            State::Offered | State::Opening | State::Answering => self.end(now, EndReason::Expired, out),
            State::Offering => self.end(now, EndReason::Internal("no offer was made in time".into()), out),
            State::Ringing => self.rings_on(now, out),
            State::Connecting => self.unconnected(now, out),
            State::Live => {
                if self.keep_up(|upkeep| upkeep.overdue(now, out)) {
                    self.end(now, EndReason::CallerGone, out);
                }
            }
            State::Closing => self.finish(now, out),
            State::Ended => {}
        }
    }

    /// A deadline of a call that connects: it fails, or the answer is sent once more.
    fn unconnected(&mut self, now: Millis, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Connecting { until, unheard: Some(unheard) } if now < *until => {
                unheard.again = None;
                unheard.left = unheard.left.saturating_sub(1);
                if let Some(other) = self.other_dialect {
                    self.dialog.dialect = other;
                }
                out.push(accept(now, unheard.sdp.clone()));
            }
            _ => self.end(now, EndReason::NeverConnected, out),
        }
    }

    /// Ends the call, unless that has begun: the other side is told, unless it was the one who ended it.
    fn end(&mut self, now: Millis, reason: EndReason, out: &mut Vec<Action>) {
        let state = self.state();
        if state >= State::Closing {
            return;
        }
        let reason = match &self.calling {
            Some(calling) => {
                let reason = reason.of_called();
                calling.tell_end(now, &reason, out);
                reason
            }
            None => {
                self.tell_caller(now, state, &reason, out);
                reason
            }
        };
        self.phase = Phase::Closing { reason, until: now.plus(self.timing.close) };
        if state == State::Offered {
            self.finish(now, out);
        } else {
            out.push(Action::CloseMedia);
        }
    }

    fn tell_caller(&self, now: Millis, state: State, reason: &EndReason, out: &mut Vec<Action>) {
        if *reason == EndReason::CallerLeft {
            return;
        }
        let [refuse, end] = refusal(now, reason);
        if state < State::Connecting && reason.end_word() == EndWord::Rejected {
            out.push(Action::Send(refuse));
        }
        out.push(Action::Send(end));
    }

    /// The end of a call that is closing.
    fn finish(&mut self, now: Millis, out: &mut Vec<Action>) {
        if let Phase::Closing { reason, .. } = std::mem::replace(&mut self.phase, Phase::Ended) {
            self.milestones.ended = Some(now);
            out.push(Action::Report(Box::new(Report {
                caller: self.dialog.other,
                line: self.dialog.line,
                direction: self.direction(),
                session: self.dialog.session.clone(),
                call_type: self.dialog.call_type,
                reason,
                ignored: self.ignored,
                milestones: self.milestones,
            })));
        }
    }

    fn ignore(&mut self) {
        self.ignored = self.ignored.saturating_add(1);
    }
}

fn accept(now: Millis, sdp: String) -> Action {
    Action::Send(Body::Answer(Answer::accepting(sdp, now.unix_seconds())))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
