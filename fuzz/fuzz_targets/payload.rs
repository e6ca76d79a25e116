#![no_main]

#[path = "../../tests/support/fuzzed.rs"]
mod fuzzed;
#[path = "../../tests/support/sdp_offers.rs"]
mod offers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::payload(data));
