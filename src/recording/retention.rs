//! Which recordings have to go.

use std::time::Duration;

use super::RecordingId;
use crate::call::Millis;

/// How much is kept; everything when nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// For how long, from a recording's end on.
    pub age: Option<Duration>,
    /// How much all of them may take, in bytes, those in progress included.
    pub size: Option<u64>,
    /// How much of the disk is to stay free, in bytes.
    pub free: Option<u64>,
}

/// A recording that may have to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub id: RecordingId,
    pub started: Millis,
    /// When it was last written to.
    pub ended: Millis,
    /// What it takes on the disk, with all that lies beside it.
    pub bytes: u64,
    /// In progress, or being finished: never deleted.
    pub live: bool,
}

/// What to delete, in this order: the oldest first, no more than it takes, and never a live one. `free` is what the disk has left, when that
/// is known.
pub fn to_delete(recordings: &[Candidate], retention: &Retention, now: Millis, free: Option<u64>) -> Vec<RecordingId> {
    let mut total = recordings.iter().fold(0u64, |total, recording| total.saturating_add(recording.bytes));
    let mut free = free;
    let mut oldest: Vec<&Candidate> = recordings.iter().filter(|recording| !recording.live).collect();
    oldest.sort_by_key(|recording| (recording.started, recording.id));
    let mut gone = Vec::new();
    for recording in oldest {
        let too_old = retention.age.is_some_and(|age| u128::from(now.since(recording.ended)) > age.as_millis());
        let too_much = retention.size.is_some_and(|size| total > size);
        let too_full = retention.free.zip(free).is_some_and(|(wanted, free)| free < wanted);
        if too_old || too_much || too_full {
            total = total.saturating_sub(recording.bytes);
            free = free.map(|free| free.saturating_add(recording.bytes));
            gone.push(recording.id);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recording(id: u64, bytes: u64, live: bool) -> Candidate {
        Candidate { id: RecordingId(id), started: Millis(id * 1000), ended: Millis(id * 1000 + 500), bytes, live }
    }

    fn ids(recordings: &[Candidate], retention: Retention, now: u64, free: Option<u64>) -> Vec<u64> {
        to_delete(recordings, &retention, Millis(now), free).iter().map(|id| id.0).collect()
    }

    #[test]
    fn without_limits_everything_is_kept() {
        let all = [recording(1, u64::MAX, false), recording(2, u64::MAX, false)];
        assert_eq!(ids(&all, Retention::default(), u64::MAX, Some(0)), [] as [u64; 0]);
    }

    #[test]
    fn what_is_older_than_its_time_goes() {
        let all = [recording(1, 10, false), recording(2, 10, true), recording(3, 10, false), recording(4, 10, false)];
        let age = Retention { age: Some(Duration::from_secs(2)), ..Retention::default() };
        assert_eq!(ids(&all, age, 5_500, None), [1], "one that has just its time stays");
        assert_eq!(ids(&all, age, 5_501, None), [1, 3]);
    }

    #[test]
    fn the_oldest_go_until_the_rest_has_room() {
        let all = [recording(3, 10, false), recording(1, 10, false), recording(2, 10, true), recording(4, 10, false)];
        let size = |bytes| Retention { size: Some(bytes), ..Retention::default() };
        assert_eq!(ids(&all, size(40), 0, None), [] as [u64; 0]);
        assert_eq!(ids(&all, size(39), 0, None), [1]);
        assert_eq!(ids(&all, size(20), 0, None), [1, 3], "what is live counts, and stays");
        assert_eq!(ids(&all, size(0), 0, None), [1, 3, 4]);
    }

    #[test]
    fn the_oldest_go_until_the_disk_has_room() {
        let all = [recording(1, 10, true), recording(2, 10, false), recording(3, 10, false), recording(4, 10, false)];
        let free = Retention { free: Some(100), ..Retention::default() };
        assert_eq!(ids(&all, free, 0, Some(100)), [] as [u64; 0]);
        assert_eq!(ids(&all, free, 0, Some(85)), [2, 3]);
        assert_eq!(ids(&all, free, 0, None), [] as [u64; 0], "a disk that says nothing deletes nothing");
    }

    proptest! {
        #[test]
        fn nothing_live_goes_and_nothing_newer_than_what_stays_for_want_of_room(
            recordings in prop::collection::vec((0u64..50, 0u64..100, any::<bool>()), 0..40),
            size in prop::option::of(0u64..2000), free in prop::option::of(0u64..2000), has in 0u64..2000,
        ) {
            let all: Vec<Candidate> = recordings
                .iter()
                .enumerate()
                .map(|(index, (at, bytes, live))| {
                    Candidate { id: RecordingId(index as u64), ..recording(*at, *bytes, *live) }
                })
                .collect();
            let retention = Retention { age: None, size, free };
            let gone = to_delete(&all, &retention, Millis(0), Some(has));

            let (gone, kept): (Vec<&Candidate>, Vec<&Candidate>) = all.iter().partition(|one| gone.contains(&one.id));
            prop_assert!(gone.iter().all(|one| !one.live));
            let oldest_kept = kept.iter().filter(|one| !one.live).map(|one| (one.started, one.id)).min();
            if let Some(oldest) = oldest_kept {
                prop_assert!(gone.iter().all(|one| (one.started, one.id) < oldest));
                let left: u64 = kept.iter().map(|one| one.bytes).sum();
                let freed: u64 = gone.iter().map(|one| one.bytes).sum();
                prop_assert!(size.is_none_or(|size| left <= size));
                prop_assert!(free.is_none_or(|free| has + freed >= free));
            }
        }
    }
}
