//! A relay in the test's own process: NIP-01 over real WebSockets, with behaviours to choose from and means to meddle.
//!
//! Include it with `#[path = "support/relay.rs"] mod relay;`.
//!
//! ```ignore
//! let relay = TestRelay::start(Behaviour::StrfryLike).await;
//! relay.subscriptions(1).await;           // until a client has subscribed
//! relay.refuse_next("rate-limited: slow down");
//! relay.stop().await;                     // clients lose their connections; events are kept
//! relay.restart().await;                  // the same port
//! ```
#![allow(dead_code)] // Each test binary uses a part of it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use nostr::filter::MatchEventOptions;
use nostr::{Event, Filter, JsonUtil, Kind, PublicKey, RelayUrl};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// strfry's pause between a change of its database and its reading it again for live subscribers.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// How long everything that a slow relay says is on its way.
const LATENCY: Duration = Duration::from_secs(2);

/// How the relay treats its clients. Unless said otherwise it follows NIP-01's replaceable rule: of one author and kind the newest
/// `created_at` stays, and of equal ones the lowest id; and it hands on at once what it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Honest,
    /// What is accepted is handed on 100 ms later if it is still stored then: of several replaceable events sent in quick
    /// succession subscribers see the last one, though each was answered with `OK` true.
    StrfryLike,
    /// Of replaceable events the first one stays; of later ones it says `OK` true, and that they are duplicates.
    KeepsFirst,
    /// Everything is answered with `OK` true, and nothing is stored or handed on.
    Swallows,
    /// No event is taken.
    Refuses,
    /// No event is answered with an `OK`.
    SaysNoOk,
    /// Takes events from authenticated clients only (NIP-42), those of our kinds from their authors only, and lets only receivers
    /// subscribe to what is for them.
    WantsAuth,
    /// The same, and it remembers one key a connection: the last.
    WantsAuthOfOne,
    /// Ephemeral events are stored.
    StoresEphemeral,
    /// A subscription gets everything that was ever accepted, however old and whether it was replaced.
    Replays,
    /// Before each event it hands on one with the same id and another content.
    ForgesCopies,
    /// No event is handed on without a change to it.
    Forges,
    /// Events go to whoever subscribed to their kind, whomever they are for.
    IgnoresTags,
    /// Whoever sends an event is hung up on once it has its `OK`.
    HangsUp,
    /// Everything it says takes two seconds.
    Slow,
}

/// The relay. Dropping it stops it.
pub struct TestRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    state: Mutex<State>,
    subscriptions: watch::Sender<usize>,
    /// Told of each event that was accepted.
    taken: watch::Sender<()>,
}

struct State {
    behaviour: Behaviour,
    stored: Vec<Event>,
    /// Everything that was answered with `OK` true, in order, replaced or not.
    accepted: Vec<Event>,
    /// Answers to give to the next events instead of storing them.
    answers: VecDeque<(bool, String)>,
    /// Kinds that are answered with `OK` true and forgotten.
    lost: Vec<u16>,
    clients: HashMap<u64, Client>,
    next_client: u64,
    /// Authentications that were accepted, in order.
    authenticated: Vec<PublicKey>,
    /// strfry-like: accepted and not yet handed on.
    pending: Vec<Event>,
}

struct Client {
    out: mpsc::UnboundedSender<(Instant, Out)>,
    subscriptions: HashMap<String, Vec<Filter>>,
    challenge: String,
    authenticated: Vec<PublicKey>,
}

impl Client {
    fn knows(&self, key: &PublicKey) -> bool {
        self.authenticated.contains(key)
    }
}

enum Out {
    Say(Value),
    HangUp,
}

impl TestRelay {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            behaviour,
            stored: Vec::new(),
            accepted: Vec::new(),
            answers: VecDeque::new(),
            lost: Vec::new(),
            clients: HashMap::new(),
            next_client: 0,
            authenticated: Vec::new(),
            pending: Vec::new(),
        };
        let (subscriptions, taken) = (watch::Sender::new(0), watch::Sender::new(()));
        let shared = Arc::new(Shared { state: Mutex::new(state), subscriptions, taken });
        let relay = Self { address, shared, running: Mutex::default() };
        relay.serve(listener);
        relay
    }

    pub fn url(&self) -> RelayUrl {
        RelayUrl::parse(&format!("ws://{}", self.address)).unwrap()
    }

    /// Changes the behaviour from the next event on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.state().behaviour = behaviour;
    }

    /// Closes the port and all connections; returns when they are closed. Events are kept.
    pub async fn stop(&self) {
        let Running { stop, tasks } = std::mem::take(&mut *self.running.lock().unwrap());
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    /// Listens again on the same port, after [`stop`](Self::stop).
    pub async fn restart(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    /// Ends every connection; clients may come back.
    pub fn disconnect_clients(&self) {
        for client in self.shared.state().clients.values() {
            let _ = client.out.send((Instant::now(), Out::HangUp));
        }
    }

    /// Ends every subscription with `CLOSED`, keeping the connections.
    pub fn close_subscriptions(&self, message: &str) {
        let mut state = self.shared.state();
        for client in state.clients.values_mut() {
            for (id, _) in client.subscriptions.drain() {
                let _ = client.out.send((Instant::now(), Out::Say(json!(["CLOSED", id, message]))));
            }
        }
        self.shared.count(&state);
    }

    /// Waits until there are at least this many subscriptions.
    pub async fn subscriptions(&self, count: usize) {
        self.shared.subscriptions.subscribe().wait_for(|now| *now >= count).await.unwrap();
    }

    /// How many clients are connected.
    pub fn connections(&self) -> usize {
        self.shared.state().clients.len()
    }

    /// Waits until nobody is connected.
    pub async fn deserted(&self) {
        let mut changes = self.shared.subscriptions.subscribe();
        while self.connections() > 0 {
            changes.changed().await.unwrap();
        }
    }

    /// Waits until so many events of this kind were accepted.
    pub async fn counted(&self, kind: u16, count: usize) {
        let mut changes = self.shared.taken.subscribe();
        while self.count(kind) < count {
            changes.changed().await.unwrap();
        }
    }

    /// Answers the next event with `OK` false and this message, and does not store it.
    pub fn refuse_next(&self, message: &str) {
        self.answer_next(false, message);
    }

    /// Answers the next event with this `OK`, and does not store it.
    pub fn answer_next(&self, accepted: bool, message: &str) {
        self.shared.state().answers.push_back((accepted, message.to_owned()));
    }

    /// Answers events of this kind with `OK` true from now on, and forgets them.
    pub fn lose(&self, kind: u16) {
        self.shared.state().lost.push(kind);
    }

    /// What a query would find now.
    pub fn stored(&self) -> Vec<Event> {
        self.shared.state().stored.clone()
    }

    /// Every event that was answered with `OK` true and stored, in order, later replaced or not.
    pub fn accepted(&self) -> Vec<Event> {
        self.shared.state().accepted.clone()
    }

    /// How many events of this kind were accepted so far.
    pub fn count(&self, kind: u16) -> usize {
        self.shared.state().accepted.iter().filter(|event| event.kind.as_u16() == kind).count()
    }

    /// Takes an event by all its rules, as if a client had sent it: its `OK`.
    pub fn submit(&self, event: &Event) -> (bool, String) {
        let mut state = self.shared.state();
        self.shared.event(&mut state, event.clone())
    }

    /// Stores an event as if a client had sent it, whatever rules forbid it, and hands it to its subscribers.
    pub fn store(&self, event: &Event) {
        let mut state = self.shared.state();
        state.stored.push(event.clone());
        state.accepted.push(event.clone());
        state.hand_on(event);
    }

    /// Hands an event to its subscribers again.
    pub fn republish(&self, event: &Event) {
        self.shared.state().hand_on(event);
    }

    /// Sends an event, or what should pass for one, on every subscription, whatever its filter.
    pub fn inject(&self, event: &Value) {
        for client in self.shared.state().clients.values() {
            for id in client.subscriptions.keys() {
                let _ = client.out.send((Instant::now(), Out::Say(json!(["EVENT", id, event]))));
            }
        }
    }

    /// Sends every client a challenge (NIP-42).
    pub fn challenge(&self) {
        let state = self.shared.state();
        for (id, client) in &state.clients {
            state.say(*id, json!(["AUTH", client.challenge]));
        }
    }

    /// Everyone who has authenticated, in order, each as often as they did.
    pub fn authenticated(&self) -> Vec<PublicKey> {
        self.shared.state().authenticated.clone()
    }

    fn serve(&self, listener: TcpListener) {
        let running = self.running.lock().unwrap();
        let (shared, stop, tasks) = (Arc::clone(&self.shared), running.stop.clone(), running.tasks.clone());
        running.tasks.spawn(async move {
            loop {
                let (tcp, _) = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = client(tcp, &shared) => {}
                    }
                });
            }
        });
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        self.running.lock().unwrap().stop.cancel();
    }
}

/// Takes a client off the list however its task ends.
struct Listed<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.clients.remove(&self.id);
        self.shared.count(&state);
    }
}

async fn client(tcp: TcpStream, shared: &Arc<Shared>) {
    tcp.set_nodelay(true).unwrap();
    let Ok(mut socket) = tokio_tungstenite::accept_async(tcp).await else { return };
    #[expect(clippy::disallowed_methods, reason = "a relay must not make its tests wait, and they are over soon")]
    let (out, mut outgoing) = mpsc::unbounded_channel();
    let id = {
        let mut state = shared.state();
        state.next_client += 1;
        let id = state.next_client;
        let challenge = format!("challenge-{id}");
        let client =
            Client { out, subscriptions: HashMap::new(), challenge: challenge.clone(), authenticated: Vec::new() };
        state.clients.insert(id, client);
        if state.behaviour.wants_auth() {
            state.say(id, json!(["AUTH", challenge]));
        }
        id
    };
    let _listed = Listed { shared, id };
    // What is to be said next, and when.
    let mut next: Option<(Instant, Out)> = None;
    loop {
        tokio::select! {
            said = outgoing.recv(), if next.is_none() => match said {
                Some((at, said)) if at > Instant::now() => next = Some((at, said)),
                // Without a timer, which would take a millisecond for each of a flood.
                Some((_, Out::Say(message))) => {
                    if socket.send(Message::text(message.to_string())).await.is_err() {
                        return;
                    }
                }
                Some((_, Out::HangUp)) | None => return,
            },
            () = tokio::time::sleep_until(next.as_ref().map_or_else(Instant::now, |(at, _)| *at)), if next.is_some() => {
                match next.take() {
                    Some((_, Out::Say(message))) => {
                        if socket.send(Message::text(message.to_string())).await.is_err() {
                            return;
                        }
                    }
                    Some((_, Out::HangUp)) | None => return,
                }
            }
            heard = socket.next() => match heard {
                Some(Ok(Message::Text(text))) => shared.hear(id, &text),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn count(&self, state: &State) {
        self.subscriptions.send_replace(state.clients.values().map(|client| client.subscriptions.len()).sum());
    }

    /// Takes a client's message.
    fn hear(self: &Arc<Self>, client: u64, text: &str) {
        let mut state = self.state();
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message[0].as_str() {
            Some("EVENT") => {
                let (accepted, word) = match Event::from_json(message[1].to_string()) {
                    Ok(event) => match state.unauthenticated(client, &event) {
                        Some(refusal) => (false, refusal),
                        None => self.event(&mut state, event),
                    },
                    Err(_) => (false, "invalid: not an event".to_owned()),
                };
                if state.behaviour != Behaviour::SaysNoOk {
                    state.say(client, json!(["OK", message[1]["id"], accepted, word]));
                }
                if let Some(client) = state.clients.get(&client).filter(|_| state.behaviour == Behaviour::HangsUp) {
                    let _ = client.out.send((Instant::now(), Out::HangUp));
                }
            }
            Some("AUTH") => {
                let event = Event::from_json(message[1].to_string()).ok();
                let (accepted, word) = state.authenticate(client, event);
                state.say(client, json!(["OK", message[1]["id"], accepted, word]));
            }
            Some("REQ") => {
                let id = message[1].as_str().unwrap_or_default().to_owned();
                let filters = message.as_array().into_iter().flatten().skip(2);
                let filters: Vec<Filter> =
                    filters.map(|filter| Filter::from_json(filter.to_string()).unwrap()).collect();
                if state.may_not_read(client, &filters) {
                    return state.say(client, json!(["CLOSED", id, "auth-required: for whom it is may read it"]));
                }
                let behaviour = state.behaviour;
                let from = if behaviour == Behaviour::Replays { &state.accepted } else { &state.stored };
                let mut found: Vec<&Event> = from.iter().filter(|event| behaviour.finds(&filters, event)).collect();
                found.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
                found.truncate(filters.iter().filter_map(|filter| filter.limit).max().unwrap_or(500));
                for event in found {
                    for version in behaviour.versions(event) {
                        state.say(client, json!(["EVENT", id, version]));
                    }
                }
                state.say(client, json!(["EOSE", id]));
                if let Some(client) = state.clients.get_mut(&client) {
                    client.subscriptions.insert(id, filters);
                }
                self.count(&state);
            }
            Some("CLOSE") => {
                if let Some(client) = state.clients.get_mut(&client) {
                    client.subscriptions.remove(message[1].as_str().unwrap_or_default());
                }
                self.count(&state);
            }
            _ => state.say(client, json!(["NOTICE", "invalid: unknown message"])),
        }
    }

    /// What NIP-01 says is to be done with an event: its `OK`.
    fn event(self: &Arc<Self>, state: &mut State, event: Event) -> (bool, String) {
        if let Some(answer) = state.answers.pop_front() {
            return answer;
        }
        if event.verify().is_err() {
            return (false, "invalid: bad signature".to_owned());
        }
        if state.lost.contains(&event.kind.as_u16()) {
            return (true, String::new());
        }
        match state.behaviour {
            Behaviour::Swallows => return (true, String::new()),
            Behaviour::Refuses => return (false, "blocked: not here".to_owned()),
            _ => {}
        }
        if state.stored.iter().any(|stored| stored.id == event.id) {
            return (true, "duplicate: already have this event".to_owned());
        }
        if event.kind.is_replaceable() {
            let same = |stored: &Event| stored.pubkey == event.pubkey && stored.kind == event.kind;
            let newer = |stored: &Event| {
                stored.created_at > event.created_at || (stored.created_at == event.created_at && stored.id < event.id)
            };
            if state.behaviour == Behaviour::KeepsFirst && state.stored.iter().any(same) {
                return (true, "duplicate: ".to_owned());
            }
            if state.stored.iter().any(|stored| same(stored) && newer(stored)) {
                return (false, "replaced: have newer event".to_owned());
            }
            state.stored.retain(|stored| !same(stored));
        }
        if event.kind == Kind::EventDeletion {
            state.stored.retain(|stored| {
                stored.pubkey != event.pubkey || !event.tags.event_ids().any(|deleted| *deleted == stored.id)
            });
        }
        state.accepted.push(event.clone());
        self.taken.send_replace(());
        if !event.kind.is_ephemeral() || state.behaviour == Behaviour::StoresEphemeral {
            state.stored.push(event.clone());
        }
        match state.behaviour {
            Behaviour::StrfryLike => {
                state.pending.push(event);
                if state.pending.len() == 1 {
                    let shared = Arc::clone(self);
                    tokio::spawn(async move {
                        tokio::time::sleep(DEBOUNCE).await;
                        shared.state().hand_on_what_is_left();
                    });
                }
            }
            _ => state.hand_on(&event),
        }
        (true, String::new())
    }
}

impl State {
    fn say(&self, client: u64, message: Value) {
        let latency = if self.behaviour == Behaviour::Slow { LATENCY } else { Duration::ZERO };
        if let Some(client) = self.clients.get(&client) {
            let _ = client.out.send((Instant::now() + latency, Out::Say(message)));
        }
    }

    fn hand_on(&self, event: &Event) {
        for (client, listening) in &self.clients {
            for (id, filters) in &listening.subscriptions {
                if self.behaviour.matches(filters, event) {
                    for version in self.behaviour.versions(event) {
                        self.say(*client, json!(["EVENT", id, version]));
                    }
                }
            }
        }
    }

    fn hand_on_what_is_left(&mut self) {
        for event in std::mem::take(&mut self.pending) {
            if event.kind.is_ephemeral() || self.stored.iter().any(|stored| stored.id == event.id) {
                self.hand_on(&event);
            }
        }
    }

    /// Why an event is not taken from this client, if authentication is what it lacks.
    fn unauthenticated(&self, client: u64, event: &Event) -> Option<String> {
        let client = self.clients.get(&client).filter(|_| self.behaviour.wants_auth())?;
        // A wrap's author is nobody.
        let known =
            if event.kind.is_ephemeral() { !client.authenticated.is_empty() } else { client.knows(&event.pubkey) };
        (!known).then(|| "auth-required: by the author".to_owned())
    }

    /// Whether these filters ask for what is for others.
    fn may_not_read(&self, client: u64, filters: &[Filter]) -> bool {
        let Some(client) = self.clients.get(&client) else { return false };
        match self.behaviour {
            Behaviour::WantsAuth => {
                let receivers = filters.iter().flat_map(|filter| filter.generic_tags.values().flatten());
                let receivers: HashSet<&String> = receivers.collect();
                receivers.into_iter().any(|hex| PublicKey::from_hex(hex).is_ok_and(|key| !client.knows(&key)))
            }
            Behaviour::WantsAuthOfOne => client.authenticated.is_empty(),
            _ => false,
        }
    }

    fn authenticate(&mut self, client: u64, event: Option<Event>) -> (bool, String) {
        let one = self.behaviour == Behaviour::WantsAuthOfOne;
        let (Some(client), Some(event)) = (self.clients.get_mut(&client), event) else {
            return (false, "invalid: not an event".to_owned());
        };
        let says_challenge = event.tags.challenge() == Some(client.challenge.as_str());
        if event.verify().is_err() || event.kind != Kind::Authentication || !says_challenge {
            return (false, "invalid: no authentication".to_owned());
        }
        if one {
            client.authenticated.clear();
        }
        client.authenticated.push(event.pubkey);
        self.authenticated.push(event.pubkey);
        (true, String::new())
    }
}

impl Behaviour {
    fn wants_auth(self) -> bool {
        matches!(self, Self::WantsAuth | Self::WantsAuthOfOne)
    }

    /// Whether a live subscriber gets the event.
    fn matches(self, filters: &[Filter], event: &Event) -> bool {
        let kind = |filter: &Filter| filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind));
        match self {
            Self::IgnoresTags => filters.iter().any(kind),
            _ => filters.iter().any(|filter| filter.match_event(event, MatchEventOptions::new())),
        }
    }

    /// Whether a new subscriber gets the stored event.
    fn finds(self, filters: &[Filter], event: &Event) -> bool {
        match self {
            Self::Replays => {
                let ever = filters.iter().cloned().map(|filter| Filter { since: None, ..filter });
                self.matches(&ever.collect::<Vec<_>>(), event)
            }
            _ => self.matches(filters, event),
        }
    }

    /// What is handed on of an event, in order.
    fn versions(self, event: &Event) -> Vec<Value> {
        let forged = || {
            let mut forged = json!(event);
            forged["content"] = json!("another");
            forged
        };
        match self {
            Self::ForgesCopies => vec![forged(), json!(event)],
            Self::Forges => vec![forged()],
            _ => vec![json!(event)],
        }
    }
}
