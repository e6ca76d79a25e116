//! The task that admits calls, and holds a handle to each call's session.

mod ringing;

use std::collections::HashMap;
use std::sync::Arc;

use nostr::{Keys, PublicKey};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::clock::Clock;
use super::fact::{Dropped, Fact};
use super::guests::Guests;
use super::missed::Missed;
use super::parking::{CallKey, NoPlace, Parking};
use super::ring::{Ring, RingError, Rung};
use super::session::{SessionHandle, Surroundings, Told, session};
use crate::call::{
    self, AccessDecision, AccessPolicy, Admission, Call, EndReason, Followed, Grounds, Limits, Millis, Refuse, Report,
    Timing,
};
use crate::media::{self, CallId, LineName};
use crate::protocol::{self, Body, Envelope, Freshness, Offer, Signal, SignalKind};
use crate::signaling::{Incoming, Recent};

/// How many ended calls are remembered, so that a late event does not ring them again: an hour of a busy gateway.
const ENDED_REMEMBERED: usize = 4096;

/// A line as the supervisor knows it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: LineName,
    pub(super) keys: Keys,
    pub(super) policy: AccessPolicy,
}

/// What the supervisor is asked.
#[derive(Debug)]
pub(super) enum Ask {
    HangUp { call: CallId, done: oneshot::Sender<bool> },
    Ring { ring: Ring, done: oneshot::Sender<Result<Vec<Rung>, RingError>> },
}

/// A call's session as the supervisor knows it.
struct Session {
    key: CallKey,
    handle: SessionHandle,
    /// The SDP of the caller's offer that it began with, to know it when it comes again; empty when the line calls.
    sdp: String,
    /// Whether its caller may call by an invitation alone.
    invited: bool,
}

pub(super) struct Supervisor {
    lines: HashMap<PublicKey, Line>,
    admission: Admission,
    timing: Timing,
    /// To be told when whoever may not call might, if somebody followed them just now.
    asked: Arc<Notify>,
    /// For limits and waiting events. Calls have clocks of their own.
    clock: Clock,
    around: Surroundings,
    sessions: HashMap<CallId, Session>,
    ids: HashMap<CallKey, CallId>,
    running: JoinSet<Option<Box<Report>>>,
    tasks: HashMap<tokio::task::Id, CallId>,
    parking: Parking,
    /// The calls that are over.
    ended: Recent<CallKey>,
    /// The calls that rang out before they were known here, so that each is logged once.
    missed: Recent<CallKey>,
    next_id: u64,
    /// Whether it shuts down.
    draining: bool,
}

/// Everything that reaches the supervisor.
pub(super) struct Inlets {
    pub(super) incoming: mpsc::Receiver<Incoming>,
    pub(super) media: mpsc::Receiver<media::Event>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) guests: watch::Receiver<Guests>,
    pub(super) followed: watch::Receiver<Arc<Followed>>,
    pub(super) drain: watch::Receiver<bool>,
}

impl Supervisor {
    pub(super) fn new(
        lines: Vec<Line>,
        limits: Limits,
        timing: Timing,
        asked: Arc<Notify>,
        around: Surroundings,
    ) -> Self {
        Self {
            lines: lines.into_iter().map(|line| (line.keys.public_key(), line)).collect(),
            admission: Admission::new(limits),
            timing,
            asked,
            clock: Clock::start(),
            around,
            sessions: HashMap::new(),
            ids: HashMap::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
            parking: Parking::default(),
            ended: Recent::new(ENDED_REMEMBERED),
            missed: Recent::new(ENDED_REMEMBERED),
            next_id: 1,
            draining: false,
        }
    }

    /// Runs until it is told to drain, all handles are gone, or signaling or media is; then hangs up every call and waits for their
    /// ends.
    pub(super) async fn run(mut self, mut inlets: Inlets) {
        inlets.guests.mark_changed();
        inlets.followed.mark_changed();
        loop {
            tokio::select! {
                biased;
                _ = inlets.drain.changed() => break,
                Ok(()) = inlets.guests.changed() => {
                    let guests = inlets.guests.borrow_and_update().clone();
                    self.guests_changed(&guests);
                }
                Ok(()) = inlets.followed.changed() => {
                    let followed = inlets.followed.borrow_and_update().clone();
                    self.lines.values_mut().for_each(|line| line.policy.followed = followed.clone());
                }
                Some(ended) = self.running.join_next_with_id() => self.session_ended(ended).await,
                Some(ask) = inlets.asks.recv() => self.asked(ask),
                event = inlets.media.recv() => match event {
                    Some(event) => self.media_event(event),
                    None => break,
                },
                incoming = inlets.incoming.recv() => match incoming {
                    Some(incoming) => self.incoming(incoming),
                    None => break,
                },
            }
        }
        self.drain(inlets).await;
    }

    /// Every caller is told; each session's own deadlines bound the wait.
    async fn drain(&mut self, mut inlets: Inlets) {
        self.draining = true;
        self.around.facts.record(&Fact::Draining { calls: self.sessions.len() });
        for Session { handle, .. } in self.sessions.values() {
            handle.hang_up(EndReason::Shutdown);
        }
        self.around.recordings.drain();
        while !self.running.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id() => self.session_ended(ended).await,
                Some(ask) = inlets.asks.recv() => self.asked(ask),
                Some(event) = inlets.media.recv() => self.media_event(event),
                Some(incoming) = inlets.incoming.recv() => self.dropped(&incoming.envelope.from, &Dropped::Draining),
            }
        }
        let recordings = self.around.recordings.clone();
        let mut quiet = std::pin::pin!(recordings.quiet());
        loop {
            tokio::select! {
                biased;
                () = &mut quiet => break,
                Some(event) = inlets.media.recv() => self.media_event(event),
            }
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::HangUp { call, done } => {
                let known = self.sessions.get(&call);
                if let Some(Session { handle, .. }) = known {
                    handle.hang_up(EndReason::OperatorLeft);
                }
                // Whoever asked may have gone; the call is hung up all the same.
                let _ = done.send(known.is_some());
            }
            Ask::Ring { ring, done } => {
                // Who asked and is gone sees the calls, and may end them, as any other.
                let _ = done.send(self.ring(&ring));
            }
        }
    }

    /// Lets the policies know who is invited, and ends the calls of invitations that were taken back.
    fn guests_changed(&mut self, guests: &Guests) {
        for (key, line) in &mut self.lines {
            line.policy.invited = guests.invited_to(key);
        }
        for Session { key, handle, invited, .. } in self.sessions.values() {
            if *invited && guests.is_revoked(key.line, key.caller) {
                handle.hang_up(EndReason::InvitationRevoked);
            }
        }
    }

    fn media_event(&mut self, event: media::Event) {
        if let media::Event::Line { line, state } = &event {
            if self.around.board.show_source(line, state) {
                self.around.facts.record(&Fact::Source { line, state });
            }
            return;
        }
        if let media::Event::Recording { id, news } = event {
            return self.around.recordings.news(id, news);
        }
        // An event of a call that is over concerns nobody.
        if let Some(Session { key, handle, .. }) = event.call().and_then(|call| self.sessions.get(&call))
            && !handle.tell(Told::Media(event))
        {
            self.dropped(&key.caller, &Dropped::Overrun);
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        if let Err(why) = self.admit(&incoming) {
            self.dropped(&incoming.envelope.from, &why);
        }
    }

    /// Nothing here costs more than a look-up until the key is known to be allowed.
    fn admit(&mut self, incoming: &Incoming) -> Result<(), Dropped> {
        let envelope = &incoming.envelope;
        let key = CallKey::of(incoming);
        let line = self.lines.get(&envelope.to).ok_or(Dropped::UnknownSession)?;
        if let Some(session) = self.ids.get(&key).and_then(|id| self.sessions.get(id)) {
            let signal = open(incoming, line)?;
            if let Body::Offer(offer) = &signal.body {
                if offer.sdp == session.sdp {
                    // The same call. Of interest to one whose answer is not heard: one that floods its session goes without.
                    session.handle.tell(Told::OfferAgain(envelope.dialect));
                    return Err(Dropped::Duplicate);
                }
                // Any other offer renegotiates: the machine knows those.
                check_freshness(offer, envelope)?;
            }
            let told = session.handle.tell(Told::Signal(Box::new(signal)));
            return if told { Ok(()) } else { Err(Dropped::Overrun) };
        }
        self.note_foreign(&key);
        if self.ended.contains(&key) {
            return Err(Dropped::EndedSession);
        }
        let now = self.clock.now();
        let grounds = match line.policy.decide(now, &envelope.from) {
            AccessDecision::Allowed(grounds) => grounds,
            AccessDecision::Refused(how) => {
                self.asked.notify_one();
                let answer = how == Refuse::Answer && envelope.kind == SignalKind::Offer;
                if answer && self.admission.offer(now, envelope.from).is_ok() {
                    self.refuse(incoming, &EndReason::NotAllowed);
                }
                return Err(Dropped::NotAllowed);
            }
        };
        for waited_in_vain in self.parking.leave(now) {
            self.dropped(&waited_in_vain, &Dropped::UnknownSession);
        }
        match envelope.kind {
            SignalKind::Offer => {}
            SignalKind::Candidate | SignalKind::End => {
                return self.parking.park(now, incoming.clone()).map_err(|NoPlace| Dropped::Overrun);
            }
            SignalKind::Answer => return Err(Dropped::UnknownSession),
        }
        self.admission.offer(now, envelope.from).map_err(|_| Dropped::TooManyOffers)?;
        let signal = open(incoming, line)?;
        let Body::Offer(offer) = &signal.body else { return Err(Dropped::UnknownSession) };
        let sdp = offer.sdp.clone();
        let clock = Clock::start();
        if let Err(why) = check_freshness(offer, envelope) {
            if why == Dropped::Stale {
                self.note_missed(&key, &signal.envelope, offer);
            }
            return Err(why);
        }
        envelope.check_expiration(clock.now().unix_seconds()).map_err(Dropped::Unreadable)?;
        match self.admission.began(envelope.from) {
            Ok(()) => self.start(key, signal, sdp, clock, grounds),
            Err(limit) => {
                if self.refuse(incoming, &limit.end_reason()) {
                    // Signed a second time, it must not begin what was refused.
                    self.ended.insert(key);
                }
            }
        }
        Ok(())
    }

    /// Logs a call that rang while nobody was here. What came after its offer is not waited for.
    fn note_missed(&mut self, key: &CallKey, envelope: &Envelope, offer: &Offer) {
        self.parking.take(key);
        let Some(line) = self.lines.get(&key.line) else { return };
        if self.missed.insert(key.clone()) {
            let id = CallId(self.next_id);
            self.next_id += 1;
            Missed::new(id, &line.name, envelope, offer).log(&self.around);
        }
    }

    /// Tells calls that somebody else speaks under their session's name: those are few, and a look at each is cheaper than
    /// verifying the event's signature was.
    fn note_foreign(&self, key: &CallKey) {
        for session in self.sessions.values() {
            if session.key.line == key.line && session.key.session == key.session {
                session.handle.note_foreign();
            }
        }
    }

    fn start(&mut self, key: CallKey, offer: Signal, sdp: String, clock: Clock, grounds: Grounds) {
        let Some(line) = self.lines.get(&key.line) else { return };
        let id = CallId(self.next_id);
        self.next_id += 1;
        self.around.facts.record(&Fact::CallOffered { call: id, line: &line.name, from: &key.caller });
        let via = offer.envelope.relay.clone().filter(|_| self.around.caller_relays);
        let (call, first) = Call::answering(clock.now(), offer, self.timing);
        let (handle, session) = session(id, line.name.clone(), call, clock, self.around.clone());
        let session = session.via(via.into_iter().collect());
        for waiting in self.parking.take(&key) {
            match open(&waiting, line) {
                Ok(signal) => {
                    handle.tell(Told::Signal(Box::new(signal)));
                }
                Err(why) => self.dropped(&key.caller, &why),
            }
        }
        let task = self.running.spawn(session.run(first)).id();
        self.tasks.insert(task, id);
        self.ids.insert(key.clone(), id);
        let invited = grounds == Grounds::Invited;
        if invited {
            self.note_invited_call(&key, clock.now());
        }
        self.sessions.insert(id, Session { key, handle, sdp, invited });
    }

    /// For whoever looks at the list of invitations.
    fn note_invited_call(&self, key: &CallKey, at: Millis) {
        let (store, line, caller) = (self.around.store.clone(), key.line, key.caller);
        self.around.deliveries.spawn_blocking(move || {
            if let Err(error) = store.note_invited_call(&line, &caller, at) {
                tracing::error!(%error, "the call of an invitation is not noted");
            }
        });
    }

    /// Tells a caller that it is not answered, and why; false when there are too many to tell.
    fn refuse(&mut self, incoming: &Incoming, reason: &EndReason) -> bool {
        let envelope = &incoming.envelope;
        let Some(line) = self.lines.get(&envelope.to) else { return false };
        let told = self.admission.refusal(self.clock.now());
        self.around.facts.record(&Fact::CallRefused {
            line: &line.name,
            from: &envelope.from,
            why: reason.word(),
            told,
        });
        if !told {
            return false;
        }
        let now = Clock::start().now();
        for body in call::refusal(now, reason) {
            // A refusal that no relay takes is not owed twice: the offer runs out by itself.
            drop(self.around.signaling.publish(envelope.reply(body, now.unix_seconds())));
        }
        true
    }

    async fn session_ended(&mut self, ended: Result<(tokio::task::Id, Option<Box<Report>>), JoinError>) {
        let task = match &ended {
            Ok((task, _)) => *task,
            Err(error) => error.id(),
        };
        let Some(id) = self.tasks.remove(&task) else { return };
        let report = match ended {
            Ok((_, report)) => report,
            Err(error) => {
                // It could not even end its call: its media must not stay behind, and nobody else's call is touched.
                tracing::error!(call = %id, %error, "a session's task failed");
                self.around.media.send(media::Command::Close { call: id }).await;
                None
            }
        };
        let Some(Session { key, .. }) = self.sessions.remove(&id) else { return };
        self.ids.remove(&key);
        self.admission.ended(&key.caller);
        self.around.board.end_call(id);
        let line = self.lines.get(&key.line).map(|line| &line.name);
        self.ended.insert(key);
        // Told last: for whoever reads of it the call is in the store, its place is free, and its session begins no other.
        if let (Some(report), Some(line)) = (&report, line) {
            self.around.facts.record(&Fact::CallEnded { call: id, line, report });
        }
    }

    fn dropped(&self, from: &PublicKey, why: &Dropped) {
        self.around.facts.record(&Fact::EventDropped { from, why });
    }
}

fn open(incoming: &Incoming, line: &Line) -> Result<Signal, Dropped> {
    protocol::open(incoming.envelope.clone(), &incoming.event, &line.keys).map_err(Dropped::Unreadable)
}

/// Whether an offer still rings, by the clock on the wall.
fn check_freshness(offer: &Offer, envelope: &Envelope) -> Result<(), Dropped> {
    match protocol::freshness(offer, envelope.created_at, Clock::start().now().unix_seconds()) {
        Freshness::Fresh => Ok(()),
        Freshness::Stale => Err(Dropped::Stale),
        Freshness::FromTheFuture => Err(Dropped::FromTheFuture),
    }
}
