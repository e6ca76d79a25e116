//! Events that came before their offer: a relay hands out what it stored newest first, and several relays race.

use std::collections::VecDeque;

use nostr::PublicKey;

use crate::call::Millis;
use crate::protocol::{MAX_CANDIDATES, SessionId};
use crate::signaling::Incoming;

/// How long an event waits for its offer, in milliseconds: relays that carry one call are seconds apart, not minutes.
const WAITS: u64 = 30_000;
/// How many events of one caller wait at once: a call's candidates and its end.
const PLACES_OF_ONE: usize = MAX_CANDIDATES + 1;
/// The largest content of an event that waits, in bytes: a candidate's or an end's, sealed, is under 4 KiB.
const LARGEST: usize = 8 * 1024;
/// How many events wait at once, over all callers: 16 calls with all their candidates, at most 8 MiB.
const PLACES: usize = 16 * MAX_CANDIDATES;

/// One call's name: who calls, which line, which session. A session id alone is no name: whoever saw it could take it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) caller: PublicKey,
    pub(super) line: PublicKey,
    pub(super) session: SessionId,
}

impl CallKey {
    pub(super) fn of(incoming: &Incoming) -> Self {
        let envelope = &incoming.envelope;
        Self { caller: envelope.from, line: envelope.to, session: envelope.session.clone() }
    }
}

/// The event is too large to wait, or its author has as many waiting as one caller may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoPlace;

/// Events of allowed callers that wait for their offer, still sealed. Bounded: the oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Parking {
    waiting: VecDeque<(Millis, CallKey, Incoming)>,
}

impl Parking {
    /// Takes an event that has no call yet, after [`Parking::leave`].
    ///
    /// # Errors
    /// [`NoPlace`]; the event is dropped.
    pub(super) fn park(&mut self, now: Millis, incoming: Incoming) -> Result<(), NoPlace> {
        if incoming.event.content.len() > LARGEST {
            return Err(NoPlace);
        }
        let key = CallKey::of(&incoming);
        if self.waiting.iter().filter(|(_, waits, _)| waits.caller == key.caller).count() >= PLACES_OF_ONE {
            return Err(NoPlace);
        }
        self.waiting.push_back((now, key, incoming));
        Ok(())
    }

    /// What waited for this call, in the order in which it came.
    pub(super) fn take(&mut self, key: &CallKey) -> Vec<Incoming> {
        let (theirs, others): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|(_, waits, _)| waits == key);
        self.waiting = others;
        theirs.into_iter().map(|(_, _, incoming)| incoming).collect()
    }

    /// Lets those go that waited too long, and the oldest when there is no place for one more; returns whose they were.
    pub(super) fn leave(&mut self, now: Millis) -> Vec<PublicKey> {
        let late = self.waiting.iter().take_while(|(since, _, _)| now.since(*since) > WAITS).count();
        let gone = late.max((self.waiting.len() + 1).saturating_sub(PLACES));
        self.waiting.drain(..gone).map(|(_, key, _)| key.caller).collect()
    }
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Keys, Kind, RelayUrl, Tag};

    use super::*;
    use crate::protocol::{Envelope, SignalKind};

    /// A candidate, which waits unread: its content is of no account here.
    fn candidate(caller: &Keys, line: &Keys, session: &str, content: &str) -> Incoming {
        let tags = [
            vec!["p", &line.public_key().to_hex()],
            vec!["type", "video"],
            vec!["session_id", session],
            vec!["sig_alg", "NIP-44"],
        ]
        .map(|tag| Tag::parse(tag).unwrap());
        let event = EventBuilder::new(Kind::from(SignalKind::Candidate.number()), content)
            .tags(tags)
            .sign_with_keys(caller)
            .unwrap();
        let relay = RelayUrl::parse("ws://127.0.0.1").unwrap();
        Incoming { relay, envelope: Envelope::read(&event).unwrap(), event: Box::new(event) }
    }

    fn contents(taken: &[Incoming]) -> Vec<&str> {
        taken.iter().map(|incoming| incoming.event.content.as_str()).collect()
    }

    #[test]
    fn a_call_gets_what_waited_for_it_in_order_and_nothing_of_another_session_line_or_caller() {
        let [caller, other, line, other_line] = std::array::from_fn(|_| Keys::generate());
        let mut parking = Parking::default();
        for incoming in [
            candidate(&caller, &line, "one", "a"),
            candidate(&caller, &line, "two", "another session"),
            candidate(&other, &line, "one", "another caller"),
            candidate(&caller, &other_line, "one", "another line"),
            candidate(&caller, &line, "one", "b"),
        ] {
            assert_eq!(parking.park(Millis(0), incoming), Ok(()));
        }
        let key = CallKey::of(&candidate(&caller, &line, "one", ""));

        assert_eq!(contents(&parking.take(&key)), ["a", "b"]);
        assert!(parking.take(&key).is_empty(), "they are given out once");
        assert_eq!(parking.waiting.len(), 3);
    }

    #[test]
    fn who_waits_too_long_leaves() {
        let (caller, line) = (Keys::generate(), Keys::generate());
        let mut parking = Parking::default();
        let early = candidate(&caller, &line, "one", "early");
        let key = CallKey::of(&early);
        parking.park(Millis(0), early).unwrap();
        parking.park(Millis(1), candidate(&caller, &line, "one", "late")).unwrap();

        assert!(parking.leave(Millis(WAITS)).is_empty());
        assert_eq!(parking.leave(Millis(WAITS + 1)), [caller.public_key()]);
        assert_eq!(contents(&parking.take(&key)), ["late"]);
    }

    #[test]
    fn one_caller_cannot_take_the_places_of_others_and_all_together_are_bounded() {
        let line = Keys::generate();
        let mut parking = Parking::default();
        let flooding = candidate(&Keys::generate(), &line, "one", "");
        let taken = (0..PLACES).filter(|_| parking.park(Millis(0), flooding.clone()).is_ok()).count();
        assert_eq!(taken, PLACES_OF_ONE);

        let callers = PLACES / PLACES_OF_ONE + 2;
        for _ in 0..callers {
            let incoming = candidate(&Keys::generate(), &line, "one", "");
            for _ in 0..PLACES_OF_ONE {
                parking.leave(Millis(0));
                parking.park(Millis(0), incoming.clone()).unwrap();
                assert!(parking.waiting.len() <= PLACES);
            }
        }
        assert!(parking.take(&CallKey::of(&flooding)).is_empty(), "the oldest made room");
    }

    #[test]
    fn what_no_candidate_is_as_large_as_does_not_wait() {
        let (caller, line) = (Keys::generate(), Keys::generate());
        let mut parking = Parking::default();
        let [largest, too_large] =
            [LARGEST, LARGEST + 1].map(|bytes| candidate(&caller, &line, "one", &"x".repeat(bytes)));
        assert_eq!(parking.park(Millis(0), largest), Ok(()));
        assert_eq!(parking.park(Millis(0), too_large), Err(NoPlace));
    }
}
