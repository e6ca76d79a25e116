//! Offers of real clients, from `tests/fixtures/offers`: each passes the guard and gets the plan that it should get.

use callgate::endpoint::{AudioCodec, AudioStream, Streams, VideoCodec, VideoStream};
use callgate::sdp::{self, AudioPlan, CallerTrack, Direction, MediaKind, Offer, Plan, VideoPlan};

fn fixtures() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/offers");
    let mut all: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sdp"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

fn fixture(name: &str) -> Offer {
    let (_, text) = fixtures().into_iter().find(|(known, _)| known == name).unwrap();
    sdp::guard_offer(&text).unwrap()
}

fn camera(profile: [u8; 3], audio: AudioCodec) -> Streams {
    let video = VideoStream { codec: VideoCodec::H264, profile_level_id: Some(profile), width: 1280, height: 720 };
    Streams { video: Some(video), audio: Some(AudioStream { codec: audio, rate: 8000, channels: 1 }) }
}

const HIGH: [u8; 3] = [0x64, 0x00, 0x28];

#[test]
fn p() {
    for (name, text) in fixtures() {
        let offer = sdp::guard_offer(&text);
        let offer = match offer {
            Ok(o) => o,
            Err(e) => {
                println!("{name}: REJECT {e}");
                continue;
            }
        };
        let t: Vec<_> = offer.sections.iter().map(|s| (s.kind, s.direction, s.takeable)).collect();
        println!("{name}: bundled {} tag {} cands {} {t:?}", offer.bundled, offer.tag, offer.candidates.len());
        match sdp::plan(&offer, &camera(HIGH, AudioCodec::Pcmu)) {
            Ok(p) => {
                for s in &p.sections {
                    println!(
                        "    {} {:?} {} {:?} {:?} {:?}",
                        s.index, s.direction, s.payload_type, s.receive, s.video, s.audio
                    )
                }
            }
            Err(e) => println!("    NONE {e}"),
        }
    }
}
