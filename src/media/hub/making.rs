//! What is made of the source's media, as long as somebody needs it: Opus of its sound, H.264 of its picture.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::desk::Facts;
use super::remake::Remaker;
use super::transcode::Transcoder;
use crate::media::SourceError;

/// How long a transcoder that does not start, or has failed, is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Between two keyframes that callers ask for: whoever asks more often is served with the next.
const BETWEEN_KEYFRAMES: Duration = Duration::from_millis(500);

/// The transcoders of one opening of the source.
#[derive(Default)]
pub(super) struct Making {
    opus: Wanted<Transcoder>,
    h264: Wanted<Remaker>,
    /// When a keyframe was last asked of the encoder.
    keyframe: Option<Instant>,
    /// The last [`Remaker`]'s number.
    number: u64,
}

/// What is wanted now.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// The sound is wanted as Opus: what it is.
    opus: Option<gst::Caps>,
    /// The picture is wanted as H.264: what it is.
    h264: Option<gst::Caps>,
    keyframe: bool,
}

impl Wish {
    pub(super) fn of(facts: &Facts) -> Wish {
        Wish {
            opus: facts.news.audio_caps.clone().filter(|_| facts.opus_takers > 0),
            h264: facts.news.video_caps().filter(|_| facts.h264_takers > 0),
            keyframe: facts.keyframe_wanted,
        }
    }
}

/// Something that runs while it is wanted.
struct Wanted<T> {
    running: Option<T>,
    /// It could not be had: not before this.
    again: Option<Instant>,
}

impl<T> Default for Wanted<T> {
    fn default() -> Self {
        Wanted { running: None, again: None }
    }
}

impl<T> Wanted<T> {
    fn is_settled(&self, wanted: bool, now: Instant) -> bool {
        wanted == self.running.is_some() || wanted && self.again.is_some_and(|again| now < again)
    }

    /// Starts or stops it.
    fn settle(&mut self, wanted: bool, now: Instant, start: impl FnOnce() -> Option<T>) {
        if !wanted {
            self.running = None;
        } else if self.running.is_none() && self.again.is_none_or(|again| now >= again) {
            self.running = start();
            self.again = Some(now + TRY_AGAIN);
        }
    }
}

impl Making {
    /// Whether there is nothing to do for `wish`.
    pub(super) fn is_settled(&self, wish: &Wish, now: Instant) -> bool {
        self.opus.is_settled(wish.opus.is_some(), now)
            && self.h264.is_settled(wish.h264.is_some(), now)
            && !self.h264.running.as_ref().is_some_and(Remaker::has_failed)
            && !self.keyframe_is_due(wish, now)
    }

    fn keyframe_is_due(&self, wish: &Wish, now: Instant) -> bool {
        wish.keyframe && self.keyframe.is_none_or(|last| now.saturating_duration_since(last) >= BETWEEN_KEYFRAMES)
    }

    /// Starts and stops what has to be. Blocks for as long as a pipeline takes to stop.
    pub(super) fn settle(&mut self, wish: &Wish, shared: &Arc<Shared>, now: Instant) {
        let line = &shared.settings.name;
        if wish.opus.is_none() {
            shared.fan.set_transcoder(None);
        }
        self.opus.settle(wish.opus.is_some(), now, || {
            let transcoder = Transcoder::start(wish.opus.as_ref()?, Arc::downgrade(shared)).map_err(|error| {
                tracing::warn!(%line, %error, "the source's audio cannot be transcoded");
            });
            let transcoder = transcoder.ok()?;
            shared.fan.set_transcoder(Some(transcoder.input.clone()));
            Some(transcoder)
        });

        let failed = self.h264.running.as_ref().is_some_and(Remaker::has_failed);
        if wish.h264.is_none() || failed {
            shared.fan.stop_remaking();
            if self.h264.running.take().is_some() {
                tracing::info!(%line, "the source's video is made H.264 no more");
            }
        }
        let number = self.number + 1;
        self.h264.settle(wish.h264.is_some(), now, || match remake(wish, shared, number) {
            Ok(remaker) => {
                tracing::info!(%line, "the source's video is made H.264");
                Some(remaker)
            }
            Err(error) => {
                tracing::warn!(%line, %error, "the source's video cannot be transcoded");
                None
            }
        });
        self.number = number;

        if self.keyframe_is_due(wish, now) {
            shared.desk.tell(|facts| facts.keyframe_wanted = false);
            if let Some(remaker) = &self.h264.running {
                self.keyframe = Some(now);
                remaker.force_keyframe();
            }
        }
    }
}

fn remake(wish: &Wish, shared: &Arc<Shared>, number: u64) -> Result<Remaker, SourceError> {
    let caps = wish.h264.as_ref().ok_or_else(|| SourceError::Unsupported("video".into()))?;
    let remaker = Remaker::start(caps, number, Arc::downgrade(shared))?;
    remaker.begin_at(shared.fan.start_remaking(number, remaker.input.clone()));
    Ok(remaker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_asked_of_the_encoder_so_many_a_second_at_most() {
        let now = Instant::now();
        let (asked, unasked) = (Wish { keyframe: true, ..Wish::default() }, Wish::default());
        let fresh = Making::default();
        assert!(fresh.keyframe_is_due(&asked, now) && !fresh.keyframe_is_due(&unasked, now));
        let lately = Making { keyframe: Some(now), ..Making::default() };
        assert!(!lately.keyframe_is_due(&asked, now));
        assert!(lately.keyframe_is_due(&asked, now + BETWEEN_KEYFRAMES));
    }

    #[test]
    fn what_cannot_be_had_is_not_tried_again_at_once() {
        let mut wanted = Wanted::<()>::default();
        let now = Instant::now();
        assert!(wanted.is_settled(false, now) && !wanted.is_settled(true, now));

        wanted.settle(true, now, || None);
        assert!(wanted.is_settled(true, now) && wanted.running.is_none());
        wanted.settle(true, now, || panic!("too early"));

        let later = now + TRY_AGAIN;
        assert!(!wanted.is_settled(true, later));
        wanted.settle(true, later, || Some(()));
        assert!(wanted.is_settled(true, later) && !wanted.is_settled(false, later));
        wanted.settle(false, later, || None);
        assert!(wanted.running.is_none());
    }
}
