//! When the disk is too full to record.

/// Whether there is room to begin a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayRecord {
    Yes,
    /// The disk has less left than its floor and a little more.
    BelowFloor {
        free: u64,
        needed: u64,
    },
}

/// Whether a recording may begin when the disk has `free` bytes left. It takes an eighth more than the floor: one that begins just above it
/// would end at once.
pub fn may_start(free: u64, floor: u64) -> MayRecord {
    let needed = floor.saturating_add(floor / 8);
    if free >= needed { MayRecord::Yes } else { MayRecord::BelowFloor { free, needed } }
}

/// Whether a recording in progress may go on.
pub fn may_go_on(free: u64, floor: u64) -> bool {
    free >= floor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_goes_on_down_to_the_floor_and_begins_a_little_above_it() {
        assert!(may_go_on(800, 800) && !may_go_on(799, 800));
        assert_eq!(may_start(900, 800), MayRecord::Yes);
        assert_eq!(may_start(899, 800), MayRecord::BelowFloor { free: 899, needed: 900 });
        assert_eq!(may_start(0, 0), MayRecord::Yes, "no floor, no limit");
        assert_eq!(may_start(u64::MAX, u64::MAX), MayRecord::Yes);
    }
}
