//! Clients of the signaling under test: what they publish, and how a test waits for what follows.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callgate::protocol::{
    Answer, Body, CallEnd, CallType, Cipher, Dialect, EndWord, Envelope, Offer, Outgoing, SessionId, Signal,
};
use callgate::sdp::CallerServers;
use callgate::signaling::memory::Forgetful;
use callgate::signaling::{self, Dropped, Incoming, Memory, Settings, Signaling};
use nostr::{Event, Keys, PublicKey, RelayUrl};
use tokio::sync::mpsc;

/// How long a test waits for what must come: long for a busy machine, and never waited out in a test that passes.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A signaling for one key, and what it receives.
pub struct Party {
    pub keys: Keys,
    pub signaling: Signaling,
    pub incoming: mpsc::Receiver<Incoming>,
    /// Sessions whose acceptance was heard.
    answered: HashSet<SessionId>,
}

impl Party {
    pub async fn new(relays: &[RelayUrl]) -> Self {
        Self::with(Keys::generate(), relays, Arc::new(Forgetful::default())).await
    }

    pub async fn with(keys: Keys, relays: &[RelayUrl], memory: Arc<dyn Memory>) -> Self {
        Self::on(keys, relays, CallerServers::Public, memory).await
    }

    /// Other relays are used too when their addresses may be dialled.
    pub async fn on(keys: Keys, relays: &[RelayUrl], visits: CallerServers, memory: Arc<dyn Memory>) -> Self {
        let settings = Settings { relays: relays.to_vec(), keys: vec![keys.clone()], visits, memory };
        let (signaling, incoming) = signaling::start(settings).await.unwrap();
        Self { keys, signaling, incoming, answered: HashSet::new() }
    }

    pub fn public(&self) -> PublicKey {
        self.keys.public_key()
    }

    /// The next event that comes in.
    pub async fn next(&mut self) -> Incoming {
        soon(self.incoming.recv()).await.expect("signaling runs")
    }

    /// The next event that comes in, opened. An acceptance that was heard before is passed over: it is said again to whoever does
    /// not begin to connect.
    pub async fn hear(&mut self) -> Signal {
        loop {
            let incoming = self.next().await;
            let signal = callgate::protocol::open(incoming.envelope, &incoming.event, &self.keys).unwrap();
            let accepts = matches!(&signal.body, Body::Answer(answer) if answer.accepted);
            if !accepts || self.answered.insert(signal.envelope.session.clone()) {
                return signal;
            }
        }
    }

    /// The next event, which is to be a `call_answer`.
    pub async fn answer(&mut self) -> (Envelope, Answer) {
        match self.hear().await {
            Signal { envelope, body: Body::Answer(answer) } => (envelope, answer),
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// The next event, which is to be a `call_end`.
    pub async fn ended(&mut self) -> (Envelope, CallEnd) {
        match self.hear().await {
            Signal { envelope, body: Body::End(end) } => (envelope, end),
            other => panic!("{other:?} instead of a call_end"),
        }
    }

    /// The next two events, which are to be a refusal: the session, and the words of its `call_end`. An author's events of
    /// different kinds may overtake each other.
    pub async fn refused(&mut self) -> (String, String) {
        let (one, other) = (self.hear().await, self.hear().await);
        assert_eq!(one.envelope.session, other.envelope.session);
        let (answer, end) = match (one.body, other.body) {
            (Body::Answer(answer), Body::End(end)) | (Body::End(end), Body::Answer(answer)) => (answer, end),
            bodies => panic!("{bodies:?} instead of a refusal"),
        };
        assert_eq!((answer.accepted, answer.sdp.as_str(), end.reason), (false, "", EndWord::Rejected));
        (one.envelope.session.to_string(), end.detail.unwrap_or_default())
    }

    /// Waits until so many events were dropped for this reason.
    pub async fn dropped(&self, reason: Dropped, count: u64) {
        let mut counters = self.signaling.counters();
        soon(counters.wait_for(|counters| counters.dropped(reason) >= count)).await.unwrap();
    }

    /// Publishes and waits for the first relay's acceptance.
    pub async fn publish(&self, to: PublicKey, session: &str, body: Body) -> RelayUrl {
        let delivery = self.signaling.publish(outgoing(self.public(), to, session, body)).unwrap();
        soon(delivery.outcome()).await.expect("a relay takes it")
    }
}

/// Waits for what must come.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}

pub fn outgoing(from: PublicKey, to: PublicKey, session: &str, body: Body) -> Outgoing {
    Outgoing {
        dialect: Dialect::Plain,
        from,
        to,
        session: session.parse().unwrap(),
        call_type: CallType::Video,
        cipher: Cipher::Nip44,
        body,
        expiration: now() + 60,
        relays: Vec::new(),
    }
}

pub fn offer() -> Body {
    Body::Offer(Offer::new("v=0\r\n".into(), now(), 60))
}

pub fn answer() -> Body {
    Body::Answer(Answer::accepting("v=0\r\n".into(), now()))
}

pub fn end() -> Body {
    Body::End(CallEnd::new(EndWord::UserLeft, now()))
}

/// An offer's event, sealed outside of any outbox.
pub fn sealed(from: &Keys, outgoing: &Outgoing, created_at: u64) -> Event {
    callgate::protocol::seal(outgoing, from, created_at, &mut nostr::secp256k1::rand::rngs::OsRng).unwrap()
}
