//! The pictures since the last keyframe, so that a new tap starts with one at once. Pure.

use std::sync::Arc;

use gst::ClockTime;

/// Bytes that a cached group of pictures may take: 16 s at 8 Mbit/s. A longer one is not worth the burst.
const MAX_BYTES: usize = 16 << 20;
/// Pictures that a cached group may have: a minute at 25 a second. Spaced 1 ms apart, they also bound the burst's time span.
const MAX_UNITS: usize = 1500;
/// How far apart the pictures of a burst are. The receiver renders only what is due: compressed this way it decodes them all at
/// once and is at the live edge; with their own timestamps it may play the whole group at its natural speed, seconds behind.
const SPACING: ClockTime = ClockTime::from_mseconds(1);

/// What the cache needs to know of a picture.
pub(super) trait Picture {
    /// It can be decoded without any other.
    fn keyframe(&self) -> bool;
    fn bytes(&self) -> usize;
    fn pts(&self) -> ClockTime;
}

/// The group of pictures since the last keyframe, in decode order; empty until there was one.
#[derive(Debug)]
pub(super) struct GopCache<P> {
    pictures: Vec<Arc<P>>,
    bytes: usize,
}

impl<P> Default for GopCache<P> {
    fn default() -> Self {
        GopCache { pictures: Vec::new(), bytes: 0 }
    }
}

impl<P: Picture> GopCache<P> {
    /// Forgets everything; what follows is kept from the next keyframe on.
    pub(super) fn clear(&mut self) {
        self.pictures = Vec::new();
        self.bytes = 0;
    }

    /// Takes the next picture in decode order. A group that grows too large is dropped until the next keyframe.
    pub(super) fn push(&mut self, picture: Arc<P>) {
        if picture.keyframe() {
            self.pictures.clear();
            self.bytes = 0;
        } else if self.pictures.is_empty() {
            return;
        }
        self.bytes += picture.bytes();
        self.pictures.push(picture);
        if self.bytes > MAX_BYTES || self.pictures.len() > MAX_UNITS {
            self.clear();
        }
    }

    /// The cached pictures and the times to give them: in decode order 1 ms apart, the last at the newest picture's own time.
    pub(super) fn burst(&self) -> impl Iterator<Item = (Arc<P>, ClockTime)> + '_ {
        let newest = self.pictures.iter().map(|picture| picture.pts()).max().unwrap_or(ClockTime::ZERO);
        let count = self.pictures.len() as u64;
        (1..)
            .zip(&self.pictures)
            .map(move |(nth, picture)| (picture.clone(), newest.saturating_sub(SPACING * (count - nth))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        keyframe: bool,
        bytes: usize,
        pts_ms: u64,
    }

    impl Picture for Fake {
        fn keyframe(&self) -> bool {
            self.keyframe
        }
        fn bytes(&self) -> usize {
            self.bytes
        }
        fn pts(&self) -> ClockTime {
            ClockTime::from_mseconds(self.pts_ms)
        }
    }

    fn picture(keyframe: bool, pts_ms: u64) -> Arc<Fake> {
        Arc::new(Fake { keyframe, bytes: 1000, pts_ms })
    }

    fn burst(cache: &GopCache<Fake>) -> Vec<(u64, u64)> {
        cache.burst().map(|(picture, pts)| (picture.pts_ms, pts.mseconds())).collect()
    }

    #[test]
    fn nothing_is_kept_before_the_first_keyframe() {
        let mut cache = GopCache::default();
        cache.push(picture(false, 40));
        assert!(burst(&cache).is_empty());
    }

    #[test]
    fn a_burst_starts_with_the_keyframe_and_ends_at_the_newest_picture_1_ms_apart() {
        let mut cache = GopCache::default();
        for (keyframe, pts) in [(true, 1000), (false, 1040), (false, 1080), (false, 1120)] {
            cache.push(picture(keyframe, pts));
        }
        assert_eq!(burst(&cache), [(1000, 1117), (1040, 1118), (1080, 1119), (1120, 1120)]);
    }

    #[test]
    fn b_pictures_are_spaced_in_decode_order_and_end_at_the_highest_time() {
        let mut cache = GopCache::default();
        for (keyframe, pts) in [(true, 1000), (false, 1120), (false, 1040), (false, 1080)] {
            cache.push(picture(keyframe, pts));
        }
        assert_eq!(burst(&cache), [(1000, 1117), (1120, 1118), (1040, 1119), (1080, 1120)]);
    }

    #[test]
    fn a_keyframe_starts_anew() {
        let mut cache = GopCache::default();
        for (keyframe, pts) in [(true, 1000), (false, 1040), (true, 2000)] {
            cache.push(picture(keyframe, pts));
        }
        assert_eq!(burst(&cache), [(2000, 2000)]);
    }

    #[test]
    fn clearing_waits_for_the_next_keyframe() {
        let mut cache = GopCache::default();
        cache.push(picture(true, 1000));
        cache.clear();
        cache.push(picture(false, 1040));
        assert!(burst(&cache).is_empty());
    }

    #[test]
    fn a_group_that_is_too_long_or_too_large_is_dropped_until_the_next_keyframe() {
        let mut cache = GopCache::default();
        cache.push(picture(true, 0));
        for nth in 0..MAX_UNITS as u64 {
            cache.push(picture(false, nth));
        }
        assert!(burst(&cache).is_empty());
        cache.push(picture(false, 0));
        assert!(burst(&cache).is_empty());

        cache.push(picture(true, 1));
        cache.push(Arc::new(Fake { keyframe: false, bytes: MAX_BYTES, pts_ms: 2 }));
        assert!(burst(&cache).is_empty());
        cache.push(picture(true, 3));
        assert_eq!(burst(&cache), [(3, 3)]);
    }
}
