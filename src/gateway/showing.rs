//! How the gateway's inside looks from outside.

use nostr::{PublicKey, RelayUrl, ToBech32};

use super::Line;
use super::view::{AccessView, CallView, LineState, LineView, MilestonesView, RelayView, StatsView, TrackView};
use crate::call::{Access, AccessPolicy, Call, Direction, Millis, Report, State};
use crate::endpoint::{Streams, VideoCodec};
use crate::media::{CallId, LineName, PeerStats, SourceState, Teardown, TrackStats};
use crate::signaling::{Health, RelayStatus};
use crate::store::CallRecord;

pub(super) fn line_view(line: &Line, relays: &[RelayUrl]) -> LineView {
    LineView {
        name: line.name.0.clone(),
        npub: npub(&line.keys.public_key()),
        endpoint: line.endpoint.to_string(),
        relays: relays.iter().map(ToString::to_string).collect(),
        state: LineState::Idle,
        callers: 0,
        // The caller's voice is received and goes nowhere yet.
        talk: false,
        access: AccessView::default(),
        streams: Vec::new(),
    }
}

pub(super) fn access_view(policy: &AccessPolicy, now: Millis) -> AccessView {
    let (anyone, keys) = match &policy.access {
        Access::Anyone => (true, 0),
        Access::Only(keys) => (false, keys.at(now).count()),
    };
    let (followed, followers) = (policy.followed_at(now).len(), policy.follows_of.at(now).count());
    let (denied, invitations) = (policy.deny.at(now).count(), policy.invited.at(now).count());
    let count = |number, one: &str, more: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        number => Some(format!("{number} {more}")),
    };
    let allowed = [
        anyone.then(|| "anyone".to_owned()),
        count(keys, "key", "keys"),
        count(followers, "key", "keys").map(|by| format!("{followed} followed by {by}")),
        count(invitations, "invitation", "invitations"),
    ];
    let mut words: Vec<String> = allowed.into_iter().flatten().collect();
    if words.is_empty() {
        words.push("nobody".to_owned());
    }
    words.extend(count(denied, "denied", "denied"));
    AccessView { words: words.join(", "), anyone, keys, followed, denied, invitations }
}

pub(super) fn show_source(view: &mut LineView, source: &SourceState) {
    view.state = match source {
        SourceState::Idle => LineState::Idle,
        SourceState::Opening => LineState::Opening,
        SourceState::Open { streams, callers } => {
            view.callers = *callers;
            view.streams = in_words(streams);
            LineState::Open
        }
        SourceState::Reopening { error, tries } => LineState::Reopening { error: error.to_string(), tries: *tries },
    };
    if *source == SourceState::Idle {
        view.callers = 0;
    }
}

pub(super) fn in_words(streams: &Streams) -> Vec<String> {
    let video = streams.video.as_ref().map(|video| {
        let codec = match &video.codec {
            VideoCodec::H264 => "H264",
            other => other.name(),
        };
        match (video.width, video.height) {
            (0, _) | (_, 0) => codec.to_owned(),
            (width, height) => format!("{codec} {width}x{height}"),
        }
    });
    let audio = streams.audio.as_ref().map(|audio| format!("{} {} Hz", audio.codec.name(), audio.rate));
    video.into_iter().chain(audio).collect()
}

pub(super) fn call_view(id: CallId, line: &LineName, call: &Call, stats: &PeerStats, ended: Option<&str>) -> CallView {
    let (dialog, milestones) = (call.dialog(), call.milestones());
    let after = |at: Option<Millis>| at.map(|at| at.since(milestones.offered));
    CallView {
        id: id.to_string(),
        line: line.0.clone(),
        direction: direction_word(call.direction()).to_owned(),
        caller: npub(&dialog.other),
        session: dialog.session.to_string(),
        state: state_word(call.state()).to_owned(),
        since: milestones.offered.0,
        milestones: MilestonesView {
            source_ready: after(milestones.source_ready),
            answered: after(milestones.answered),
            secured: after(milestones.secured),
            first_media: after(milestones.first_media),
            ended: after(milestones.ended),
        },
        stats: StatsView {
            sent_video: track(&stats.sent_video),
            sent_audio: track(&stats.sent_audio),
            received_video: track(&stats.received_video),
            received_audio: track(&stats.received_audio),
            frames_skipped: stats.frames_skipped,
            keyframe_requests: stats.keyframe_requests,
        },
        ended: ended.map(str::to_owned),
    }
}

/// What the call log keeps of a call that is over.
pub(super) fn call_record(
    line: &LineName,
    report: &Report,
    stats: &PeerStats,
    teardown: Option<Teardown>,
) -> CallRecord {
    CallRecord {
        line: line.0.clone(),
        line_key: report.line,
        caller: report.caller,
        session: report.session.to_string(),
        call_type: report.call_type,
        direction: report.direction,
        milestones: report.milestones,
        reason: report.reason.word().to_owned(),
        origin: report.origin(),
        detail: report.reason.detail(),
        teardown_ms: teardown.map(|down| u64::try_from(down.took.as_millis()).unwrap_or(u64::MAX)),
        bytes_sent: stats.sent_video.bytes + stats.sent_audio.bytes,
        bytes_received: stats.received_video.bytes + stats.received_audio.bytes,
        frames_skipped: stats.frames_skipped,
        ignored: report.ignored,
    }
}

pub(super) fn relay_view(relay: &RelayStatus) -> RelayView {
    let error = match relay.health {
        Health::Good => None,
        Health::Away => relay.dial_error.map(str::to_owned),
        Health::Deaf(why) => Some(format!("it closed our subscription: {}", why.word())),
        Health::Silent => Some("it says no OK to events".to_owned()),
        Health::Refusing(why) => Some(format!("it refuses events: {}", why.word())),
    };
    RelayView {
        url: relay.url.to_string(),
        connected: relay.connected,
        health: relay.health.word().to_owned(),
        error,
        verdicts: relay.verdicts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect(),
    }
}

fn track(stats: &TrackStats) -> TrackView {
    TrackView { packets: stats.packets, bytes: stats.bytes, frames: stats.frames, lost: stats.lost }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Offered => "offered",
        State::Opening => "opening",
        State::Answering => "answering",
        State::Offering => "offering",
        State::Ringing => "ringing",
        State::Connecting => "connecting",
        State::Live => "live",
        State::Closing => "closing",
        State::Ended => "ended",
    }
}

pub(super) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

pub(super) fn npub(key: &PublicKey) -> String {
    match key.to_bech32() {
        Ok(npub) => npub,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_call_is_told_in_numbers_and_words() {
        let key = |n: u8| PublicKey::from_byte_array([n; 32]);
        let words = |policy: &AccessPolicy| access_view(policy, Millis(1_000)).words;
        assert_eq!(words(&AccessPolicy::default()), "nobody");
        let open = AccessPolicy { access: Access::Anyone, deny: [key(1)].into_iter().collect(), ..Default::default() };
        assert_eq!(words(&open), "anyone, 1 denied");
        let some = AccessPolicy {
            access: Access::Only([(key(1), None), (key(2), Some(Millis(1_000)))].into_iter().collect()),
            invited: [(key(3), Some(Millis(1_001))), (key(4), Some(Millis(9_000)))].into_iter().collect(),
            ..Default::default()
        };
        assert_eq!(words(&some), "1 key, 2 invitations", "an entry that has ended does not count");
        let followed = [(key(5), [key(6), key(7)].into()), (key(8), [key(7), key(9)].into())];
        let friends = AccessPolicy {
            follows_of: [(key(5), None), (key(8), None), (key(10), Some(Millis(1_000)))].into_iter().collect(),
            followed: std::sync::Arc::new(followed.into_iter().collect()),
            ..Default::default()
        };
        assert_eq!(words(&friends), "3 followed by 2 keys");
    }
}
