//! Calls that lines make, because somebody asks for them.

use std::collections::HashSet;
use std::time::Duration;

use nostr::PublicKey;

use super::super::clock::Clock;
use super::super::fact::Fact;
use super::super::new_session;
use super::super::parking::CallKey;
use super::super::race::{Entrant, race};
use super::super::ring::{MAX_RING_RELAYS, MAX_RUNG, Ring, RingError, Rung};
use super::super::session::session;
use super::{Session, Supervisor};
use crate::call::{Call, RingPlan};
use crate::media::CallId;
use crate::protocol::Offer;

impl Supervisor {
    /// Begins a call for each who is to be rung and within the limits.
    pub(super) fn ring(&mut self, ring: &Ring) -> Result<Vec<Rung>, RingError> {
        if self.draining {
            return Err(RingError::Draining);
        }
        let line = self.lines.iter().find(|(_, line)| line.name == ring.line).map(|(key, _)| *key);
        let line = line.ok_or(RingError::NoSuchLine)?;
        let mut seen = HashSet::new();
        let callees: Vec<PublicKey> = ring.to.iter().copied().filter(|callee| seen.insert(*callee)).collect();
        match callees.len() {
            0 => return Err(RingError::Nobody),
            1..=MAX_RUNG => {}
            _ => return Err(RingError::TooMany),
        }
        if callees.contains(&line) {
            return Err(RingError::Itself);
        }
        if ring.relays.len() > MAX_RING_RELAYS {
            return Err(RingError::TooManyRelays);
        }
        let now = self.clock.now();
        let entrants = race(callees.len());
        let rung: Vec<Rung> = callees
            .into_iter()
            .zip(entrants)
            .map(|(callee, entrant)| {
                let admitted = self
                    .admission
                    .began(callee)
                    .and_then(|()| self.admission.ring(now, callee).inspect_err(|_| self.admission.ended(&callee)));
                (callee, admitted.map(|()| self.start_calling(line, callee, ring, entrant)))
            })
            .collect();
        match rung.iter().find_map(|(_, call)| call.err()) {
            Some(limit) if rung.iter().all(|(_, call)| call.is_err()) => Err(RingError::Limit(limit)),
            _ => Ok(rung),
        }
    }

    fn start_calling(&mut self, line_key: PublicKey, callee: PublicKey, ring: &Ring, entrant: Entrant) -> CallId {
        let id = CallId(self.next_id);
        self.next_id += 1;
        let clock = Clock::start();
        let name = Offer::fit_name(&ring.line.0);
        let key = CallKey { caller: callee, line: line_key, session: new_session() };
        let plan = RingPlan {
            line: line_key,
            callee,
            session: key.session.clone(),
            name,
            rings: millis(ring.rings),
            dialect: ring.dialect,
        };
        let (call, first) = Call::calling(clock.now(), plan, self.timing);
        self.around.facts.record(&Fact::Calling { call: id, line: &ring.line, to: &callee });
        let (handle, session) = session(id, ring.line.clone(), call, clock, self.around.clone());
        // Whoever asked for it may look at once.
        session.show();
        let task = self.running.spawn(session.via(ring.relays.clone()).racing(entrant).run(first)).id();
        self.tasks.insert(task, id);
        self.ids.insert(key.clone(), id);
        self.sessions.insert(id, Session { key, handle, sdp: String::new(), invited: false });
        id
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
