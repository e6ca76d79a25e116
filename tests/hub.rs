//! The hub on real cameras: what it opens, what its taps give, and what it does when a camera goes away.

#[path = "support/camera.rs"]
#[allow(dead_code)]
mod support;

use std::time::Duration;

use callgate::endpoint::{AudioCodec, VideoCodec};
use callgate::media::demo_camera::DemoSettings;
use callgate::sdp::AudioPlan;
use support::*;

#[tokio::test]
async fn the_test_pattern_is_h264_and_opus() {
    let (hub, _events) = hub(test_pattern(), Duration::from_secs(1));
    let lease = hub.lease();
    let streams = lease.streams().await.unwrap();
    assert_eq!(video_of(&streams).codec, VideoCodec::H264);
    assert_eq!((video_of(&streams).width, video_of(&streams).height), (320, 180));
    assert_eq!(video_of(&streams).profile_level_id.map(|id| id[0]), Some(0x42));
    assert_eq!(audio_of(&streams).codec, AudioCodec::Opus);

    let (sink, packets) = probe();
    let _tap = lease.tap(with_audio(AudioPlan::PassOpus), sink);
    let mut reader = Reader::new(packets);
    let first = reader.frame();
    assert!(first.is_keyframe());
}
