//! The state machine of one call.

use super::{EndReason, Millis};
use crate::endpoint::Streams;
use crate::protocol::{Body, CallType, Envelope, SessionId, Signal};
use crate::sdp;

/// Where a call is; it only moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its offer is here.
    Offered,
    /// The line's source is being opened.
    Opening,
    /// The peer makes its answer.
    Answering,
    /// The answer is out; ICE and DTLS run.
    Connecting,
    /// The caller's certificate matched; media flows.
    Live,
    /// The peer is being taken down.
    Closing,
    Ended,
}

/// What happened, told to the machine.
#[derive(Debug, Clone)]
pub enum Input {
    /// An opened event for this session, signed by whoever: the machine checks.
    Signal(Signal),
    /// The line's source is open and sends these.
    SourceReady(Streams),
    /// The line's source cannot be opened: in words, without secrets.
    SourceFailed(String),
    /// The peer's answer, ready for the caller.
    AnswerReady(String),
    /// A late candidate of ours (a slow TURN), for kind 14302: mid and m-line index of the caller's offer.
    LocalCandidate { candidate: String, mid: String, index: u32 },
    /// DTLS is up and the certificate matched the offer: taps may join.
    Secured,
    /// The first packet of the line's media went out.
    FirstMedia,
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
    OpenPeer { offer: Box<sdp::Offer>, plan: sdp::Plan },
    /// Give the peer a candidate of the caller's; never before `OpenPeer`.
    AddCandidate(sdp::Candidate),
    /// Seal and send to the caller.
    Send(Body),
    /// Take the peer and the lease down. Sent once.
    CloseMedia,
    /// The call is over: log, count, store. Sent once, last.
    Report(Box<Report>),
}

/// Deadlines of a call, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the answer to a secured connection.
    pub connect: u64,
    /// For the peer to come down.
    pub close: u64,
}

impl Default for Timing {
    fn default() -> Self {
        // ICE over a TURN server on a slow phone network takes up to 15 s; callers give up before 30 s.
        // Teardown is 250 ms at worst; past 10 s the peer is counted as leaked and the call is over all the same.
        Self { connect: 30_000, close: 10_000 }
    }
}

/// When a call reached each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Milestones {
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
    pub caller: nostr::PublicKey,
    pub line: nostr::PublicKey,
    pub session: SessionId,
    pub call_type: CallType,
    pub reason: EndReason,
    /// The caller's candidates and events that were refused or ignored.
    pub ignored: u32,
    pub milestones: Milestones,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    _private: (),
}

impl Call {
    /// A call that comes in: `offer` passed the access policy and the limits, and its body is an offer.
    pub fn answering(now: Millis, offer: Signal, timing: Timing) -> (Self, Vec<Action>) {
        let _ = (now, offer, timing);
        todo!()
    }

    /// Takes an input; returns what is to be done, in order.
    pub fn handle(&mut self, now: Millis, input: Input) -> Vec<Action> {
        let _ = (now, input);
        todo!()
    }

    /// When the machine wants a [`Input::Tick`], if nothing else happens.
    pub fn deadline(&self) -> Option<Millis> {
        todo!()
    }

    pub fn state(&self) -> State {
        todo!()
    }

    /// The offer's envelope: who calls whom, in which session and cipher.
    pub fn envelope(&self) -> &Envelope {
        todo!()
    }

    pub fn milestones(&self) -> &Milestones {
        todo!()
    }
}
