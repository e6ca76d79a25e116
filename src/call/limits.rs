//! How many calls at once, and how many offers a minute.

use std::collections::{BTreeMap, VecDeque};

use nostr::PublicKey;

use super::{EndReason, Millis};

/// Over which time [`Limits::offers_per_minute`] are counted, in milliseconds.
const WINDOW: u64 = 60_000;
/// How many callers' offers are remembered, so that memory stays bounded against any number of strangers. Past it the one
/// who was quiet for longest is forgotten, to its advantage.
const MAX_REMEMBERED: usize = 1024;

/// How many refusals are sent in any [`WINDOW`], to all callers together. A stranger costs nothing to make, so there is no end of them
/// to refuse, while each refusal takes a place before the answers in a line's outbox, which in the long run sends one event a second.
const REFUSALS: usize = 30;

/// The numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At once, in the whole gateway.
    pub calls: usize,
    /// At once, of one caller.
    pub calls_per_caller: usize,
    /// Of one caller, in any 60 seconds; and as many to one key that lines call.
    pub offers_per_minute: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls: 32, calls_per_caller: 2, offers_per_minute: 10 }
    }
}

/// Which limit an offer met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LimitReached {
    #[error("the gateway has as many calls as it takes")]
    Calls,
    #[error("this key has as many calls as one may")]
    CallsPerCaller,
    #[error("this caller has made too many offers in a minute")]
    OffersPerMinute,
    #[error("this key was called too often in a minute")]
    RingsPerMinute,
}

impl LimitReached {
    /// What a caller who met it is told, if anything: answering every offer over the rate would make callgate publish as fast
    /// as a stranger likes, so those are better dropped.
    pub fn end_reason(self) -> EndReason {
        EndReason::Busy(match self {
            Self::Calls => "no more calls are taken at the moment",
            Self::CallsPerCaller => "you have as many calls here as one caller may",
            Self::OffersPerMinute | Self::RingsPerMinute => "too many offers in a minute",
        })
    }
}

/// Which calls there are and which offers were made, held against [`Limits`]. The gateway tells it of each.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    /// Calls at once; a caller with none has no entry, so there are at most [`Limits::calls`].
    calls: BTreeMap<PublicKey, usize>,
    /// Callers' offers.
    offers: Times,
    /// Our offers, by whom they call.
    rings: Times,
    /// When the refusals within the last [`WINDOW`] were sent, oldest first.
    refusals: VecDeque<Millis>,
}

impl Admission {
    /// No calls and no offers yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            calls: BTreeMap::new(),
            offers: Times::default(),
            rings: Times::default(),
            refusals: VecDeque::new(),
        }
    }

    /// Counts an offer of a caller who may call. An offer over the limit is not counted, so that a caller who waits is heard.
    ///
    /// # Errors
    /// [`LimitReached::OffersPerMinute`].
    pub fn offer(&mut self, now: Millis, caller: PublicKey) -> Result<(), LimitReached> {
        let counted = self.offers.count(now, caller, self.limits.offers_per_minute);
        if counted { Ok(()) } else { Err(LimitReached::OffersPerMinute) }
    }

    /// Counts a call that a line is to make, as [`Admission::offer`] does.
    ///
    /// # Errors
    /// [`LimitReached::RingsPerMinute`].
    pub fn ring(&mut self, now: Millis, callee: PublicKey) -> Result<(), LimitReached> {
        let counted = self.rings.count(now, callee, self.limits.offers_per_minute);
        if counted { Ok(()) } else { Err(LimitReached::RingsPerMinute) }
    }

    /// Whether one more refusal may be sent; it is counted then.
    pub fn refusal(&mut self, now: Millis) -> bool {
        count_within_window(&mut self.refusals, now, REFUSALS)
    }

    /// Takes a place for a call; [`Admission::ended`] gives it back.
    ///
    /// # Errors
    /// [`LimitReached::Calls`] or [`LimitReached::CallsPerCaller`]; nothing is taken then.
    pub fn began(&mut self, caller: PublicKey) -> Result<(), LimitReached> {
        if self.calls() >= self.limits.calls {
            return Err(LimitReached::Calls);
        }
        let of_caller = self.calls.get(&caller).copied().unwrap_or_default();
        if of_caller >= self.limits.calls_per_caller {
            return Err(LimitReached::CallsPerCaller);
        }
        self.calls.insert(caller, of_caller + 1);
        Ok(())
    }

    /// A call of this caller is over.
    pub fn ended(&mut self, caller: &PublicKey) {
        if let Some(of_caller) = self.calls.get_mut(caller) {
            *of_caller -= 1;
            if *of_caller == 0 {
                self.calls.remove(caller);
            }
        }
    }

    /// How many calls there are.
    pub fn calls(&self) -> usize {
        self.calls.values().sum()
    }
}

/// When something of each key happened within the last [`WINDOW`], oldest first.
#[derive(Debug, Default)]
struct Times(BTreeMap<PublicKey, VecDeque<Millis>>);

impl Times {
    fn count(&mut self, now: Millis, key: PublicKey, limit: usize) -> bool {
        if !self.0.contains_key(&key) {
            self.make_room(now);
        }
        count_within_window(self.0.entry(key).or_default(), now, limit)
    }

    /// Makes room for one more key.
    fn make_room(&mut self, now: Millis) {
        if self.0.len() < MAX_REMEMBERED {
            return;
        }
        self.0.retain(|_, times| times.back().is_some_and(|&newest| now.since(newest) < WINDOW));
        if self.0.len() >= MAX_REMEMBERED {
            let quietest = self.0.iter().min_by_key(|(_, times)| times.back().copied()).map(|(key, _)| *key);
            if let Some(quietest) = quietest {
                self.0.remove(&quietest);
            }
        }
    }
}

/// Counts one more at `now`, unless there were `limit` of them within the last [`WINDOW`].
fn count_within_window(times: &mut VecDeque<Millis>, now: Millis, limit: usize) -> bool {
    while times.front().is_some_and(|&oldest| now.since(oldest) >= WINDOW) {
        times.pop_front();
    }
    let room = times.len() < limit;
    if room {
        times.push_back(now);
    }
    room
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn caller(n: u32) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PublicKey::from_byte_array(bytes)
    }

    #[test]
    fn a_caller_has_so_many_offers_in_any_minute() {
        let mut admission = Admission::new(Limits { offers_per_minute: 2, ..Limits::default() });
        assert_eq!(admission.offer(Millis(0), caller(1)), Ok(()));
        assert_eq!(admission.offer(Millis(30_000), caller(1)), Ok(()));
        assert_eq!(admission.offer(Millis(59_999), caller(1)), Err(LimitReached::OffersPerMinute));
        assert_eq!(admission.offer(Millis(59_999), caller(2)), Ok(()), "another caller is not concerned");
        assert_eq!(admission.offer(Millis(60_000), caller(1)), Ok(()), "the refused one did not count");
        assert_eq!(admission.offer(Millis(60_001), caller(1)), Err(LimitReached::OffersPerMinute));
    }

    #[test]
    fn a_key_is_called_so_often_in_any_minute_whatever_it_calls_itself() {
        let mut admission = Admission::new(Limits { offers_per_minute: 1, ..Limits::default() });
        assert_eq!(admission.ring(Millis(0), caller(1)), Ok(()));
        assert_eq!(admission.offer(Millis(0), caller(1)), Ok(()));
        assert_eq!(admission.ring(Millis(59_999), caller(1)), Err(LimitReached::RingsPerMinute));
        assert_eq!(admission.ring(Millis(59_999), caller(2)), Ok(()));
        assert_eq!(admission.ring(Millis(60_000), caller(1)), Ok(()));
    }

    #[test]
    fn calls_are_limited_at_once_and_per_caller_and_a_place_comes_back() {
        let mut admission = Admission::new(Limits { calls: 3, calls_per_caller: 2, offers_per_minute: 10 });
        assert_eq!(admission.began(caller(1)), Ok(()));
        assert_eq!(admission.began(caller(1)), Ok(()));
        assert_eq!(admission.began(caller(1)), Err(LimitReached::CallsPerCaller));
        assert_eq!(admission.began(caller(2)), Ok(()));
        assert_eq!(admission.began(caller(3)), Err(LimitReached::Calls));
        admission.ended(&caller(3));
        assert_eq!(admission.calls(), 3, "a call that never was frees nothing");
        admission.ended(&caller(1));
        assert_eq!(admission.began(caller(3)), Ok(()));
    }

    #[test]
    fn any_number_of_strangers_is_held_in_bounded_memory_and_each_is_heard() {
        let mut admission = Admission::new(Limits::default());
        for n in 0..3 * MAX_REMEMBERED as u32 {
            assert_eq!(admission.offer(Millis(u64::from(n)), caller(n)), Ok(()));
            assert!(admission.offers.0.len() <= MAX_REMEMBERED);
        }
        assert_eq!(admission.offer(Millis(WINDOW * 10), caller(0)), Ok(()));
        assert_eq!(admission.offers.0.len(), 1, "who was quiet for a minute is forgotten first");
    }

    #[test]
    fn refusals_are_limited_over_all_callers_and_a_minute_later_there_is_room() {
        let mut admission = Admission::new(Limits::default());
        assert_eq!((0..3 * REFUSALS).filter(|_| admission.refusal(Millis(1_000))).count(), REFUSALS);
        assert!(!admission.refusal(Millis(1_000 + WINDOW - 1)));
        assert!(admission.refusal(Millis(1_000 + WINDOW)));
        assert!(admission.refusals.len() <= REFUSALS);
    }

    proptest! {
        #[test]
        fn no_minute_has_more_offers_than_allowed(gaps in prop::collection::vec(0u64..20_000, 0..200), limit in 0usize..6) {
            let mut admission = Admission::new(Limits { offers_per_minute: limit, ..Limits::default() });
            let (mut now, mut taken) = (Millis(0), Vec::new());
            for gap in gaps {
                now = now.plus(gap);
                if admission.offer(now, caller(1)).is_ok() {
                    taken.push(now);
                }
                let within = taken.iter().filter(|&&then| now.since(then) < WINDOW).count();
                prop_assert!(within <= limit);
            }
        }
    }
}
