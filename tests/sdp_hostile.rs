//! Nothing that a stranger writes makes the guard panic, and what it accepts it understood: the texts that are made of it
//! are read again as the same.

#[path = "support/fuzzed.rs"]
mod fuzzed;
#[path = "support/mutate.rs"]
mod mutate;
#[path = "support/sdp_offers.rs"]
mod offers;

use callgate::sdp::{self, Candidate};
use fuzzed::held_offer;
use mutate::Mutator;
use proptest::prelude::*;

/// Each an offer with one to four changes.
const MUTATIONS: u64 = 20_000;

#[test]
fn mutated_offers_never_panic_and_accepted_ones_are_understood() {
    // Given real offers, and lines of each kind
    let lines = offers::lines();
    let fixtures = offers::fixtures();
    let mut mutator = Mutator::new(1);
    let (mut accepted, mut planned) = (0, 0);
    for _ in 0..MUTATIONS {
        let (_, fixture) = &fixtures[mutator.below(fixtures.len())];
        // When they are changed
        let text = mutator.sdp(fixture);
        // Then they are refused, or understood
        let outcome = held_offer(&text, &lines[mutator.below(lines.len())]);
        accepted += u64::from(outcome.0);
        planned += u64::from(outcome.1);
    }
    // and both happens often enough for this test to mean something.
    assert!(accepted > MUTATIONS / 10 && accepted < MUTATIONS * 9 / 10, "{accepted} of {MUTATIONS} accepted");
    assert!(planned > MUTATIONS / 10, "{planned} of {MUTATIONS} planned");
}

#[test]
fn mutated_answers_never_panic() {
    let fixtures = offers::fixtures();
    let mut mutator = Mutator::new(2);
    let mut accepted = 0;
    for _ in 0..MUTATIONS / 3 {
        let (_, offer_text) = &fixtures[mutator.below(fixtures.len())];
        let offer = sdp::guard_offer(offer_text).unwrap();
        let Ok(plan) = sdp::plan(&offer, &offers::camera()) else { continue };
        let raw = offers::as_webrtcbin_answers(&plan);
        let answer = plan.answer_text(&offer, &raw, &offers::local()).unwrap();
        let mutated = mutator.sdp(&answer);
        if let Ok(read) = sdp::guard_answer(offer_text, &mutated) {
            accepted += 1;
            // Our text of it is an answer to the same offer, with the same meaning.
            let again = sdp::guard_answer(offer_text, &read.text).unwrap();
            assert_eq!((&again.text, &again.sections), (&read.text, &read.sections));
        }
        // webrtcbin is ours, but what it answers is read with the same care.
        let _ = plan.answer_text(&offer, &mutator.sdp(&raw), &offers::local());
    }
    assert!(accepted > 500, "{accepted}");
}

#[test]
fn mutated_candidates_never_panic_and_accepted_ones_are_understood() {
    let mut mutator = Mutator::new(3);
    let mut accepted = 0;
    for _ in 0..MUTATIONS {
        let text = mutator.candidate();
        if let Ok(Some(candidate)) = Candidate::read(&text) {
            accepted += 1;
            assert_eq!(Candidate::read(&candidate.text()), Ok(Some(candidate)), "{text}");
        }
    }
    assert!(accepted > MUTATIONS / 10, "{accepted}");
}

proptest! {
    #[test]
    fn any_text_is_refused_or_read(text in "\\PC{0,400}") {
        let _ = sdp::guard_offer(&text);
        let _ = sdp::guard_answer(&text, &text);
        let _ = Candidate::read(&text);
    }

    #[test]
    fn any_lines_of_sdp_are_refused_or_read(lines in prop::collection::vec("[vosbtcma]=[ -~]{0,60}", 0..30)) {
        held_offer(&format!("v=0\r\n{}", lines.join("\r\n")), &offers::camera());
    }

    #[test]
    fn any_value_of_a_known_attribute_is_refused_or_read(
        name in "group|mid|setup|ice-ufrag|ice-pwd|fingerprint|rtpmap|fmtp|rtcp-fb|candidate",
        value in "[ -~]{0,80}",
        media_level in any::<bool>(),
    ) {
        let offer = offers::fixture_text("chromium-talk");
        let place = if media_level { "a=rtcp-mux\r\n" } else { "t=0 0\r\n" };
        held_offer(&offer.replacen(place, &format!("{place}a={name}:{value}\r\n"), 1), &offers::camera());
    }
}
