//! A call for the log.

use callgate::call::{Milestones, Millis, Origin};
use callgate::protocol::CallType;
use callgate::store::{CallRecord, Direction};
use nostr::{Keys, PublicKey};

/// A call of 12.5 seconds over midnight of a leap day, which its caller ended in words that would turn a terminal red.
pub fn record(line: &str, caller: PublicKey) -> CallRecord {
    CallRecord {
        line: line.into(),
        line_key: Keys::generate().public_key(),
        caller,
        session: "5c5e".into(),
        call_type: CallType::Video,
        direction: Direction::In,
        milestones: Milestones {
            offered: Millis(1_709_251_199_999),
            secured: Some(Millis(1_709_251_200_100)),
            ended: Some(Millis(1_709_251_212_600)),
            ..Milestones::default()
        },
        reason: "caller_left".into(),
        origin: Origin::Caller,
        detail: "the caller \u{1b}[31mhung up".into(),
        teardown_ms: Some(6),
        bytes_sent: 2_500_000,
        bytes_received: 0,
        frames_skipped: 2,
        ignored: 1,
    }
}
