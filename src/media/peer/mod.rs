//! The peer, answering or offering: one `webrtcbin` pipeline and one task per call.

mod answer;
pub(in crate::media) mod connection;
mod goodbye;
pub(in crate::media) mod incoming;
pub(in crate::media) mod negotiation;
mod nice;
mod offer;
pub(in crate::media) mod outgoing;
pub(in crate::media) mod path;
mod records;
pub(in crate::media) mod requests;
mod resend;
mod rtcp;
mod task;
mod warm_up;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::certificate::Certificate;
use super::hub::Lease;
use super::{CallId, Event, IceSettings, Teardown};
use crate::sdp::{Candidate, IceServer, Offer, RemoteAnswer};

pub(super) use negotiation::Side;
pub(super) use warm_up::warm_up;

/// Candidates that wait for the peer's task. The protocol allows 64 a call; what does not fit is dropped, ICE has others.
const CANDIDATE_QUEUE: usize = 64;
/// Orders that wait for the peer's task, which takes milliseconds for each but the first. The machine has one under way at a time; what
/// does not fit is dropped, and told as a warning.
const ORDER_QUEUE: usize = 8;

/// What a peer is made from.
pub(super) struct PeerSetup {
    pub(super) call: CallId,
    pub(super) side: Side,
    /// STUN and TURN servers that the other side names.
    pub(super) servers: Vec<IceServer>,
    pub(super) ice: IceSettings,
    pub(super) certificate: Arc<Certificate>,
    /// Keeps the line's source open.
    pub(super) lease: Arc<Lease>,
    /// Where the other side's media comes.
    pub(super) incoming: Arc<incoming::Incoming>,
    pub(super) events: mpsc::Sender<Event>,
}

/// What a peer is told to do once it runs.
pub(super) enum Order {
    /// The answer to our offer.
    Answer(Box<RemoteAnswer>),
    /// A further offer of the other side's.
    Renegotiate(Box<Offer>),
    /// An ICE restart, offered by us.
    Restart,
}

/// A peer's task.
pub(super) struct Peer {
    candidates: mpsc::Sender<Candidate>,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
    task: JoinHandle<Teardown>,
}

impl Peer {
    /// Starts the task. It sends `AnswerReady` or `OfferReady`, `Checked`, `Secured`, `FirstMedia`, `Stats`, or at any time `PeerFailed`, after which it frees
    /// everything by itself.
    pub(super) fn open(setup: PeerSetup) -> Self {
        let (candidates, taken) = mpsc::channel(CANDIDATE_QUEUE);
        let (orders, given) = mpsc::channel(ORDER_QUEUE);
        let stop = CancellationToken::new();
        let task = tokio::spawn(task::run(setup, taken, given, stop.clone()));
        Self { candidates, orders, stop, task }
    }

    pub(super) fn order(&self, order: Order) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.orders.try_send(order) {
            tracing::warn!("a peer is told more than it can do");
        }
    }

    pub(super) fn add_candidate(&self, candidate: Candidate) {
        let _ = self.candidates.try_send(candidate);
    }

    /// Takes the peer down, if it is not down already.
    pub(super) async fn close(self) -> Teardown {
        self.stop.cancel();
        match self.task.await {
            Ok(teardown) => teardown,
            Err(error) => {
                tracing::error!(%error, "a peer's task died");
                Teardown { took: Duration::ZERO, leaked: true }
            }
        }
    }
}
