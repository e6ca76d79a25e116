//! What `callgate call` shows while it calls: a line of progress for people, or an object a line for programs.

use std::io::{IsTerminal as _, Write as _};

use tokio::time::Instant;

use crate::gateway::{DialEnd, DialEvent};
use crate::media::caller::{CallerStats, Received};

/// Shows a call's events on stdout.
pub(super) struct Show {
    json: bool,
    /// Statistics overwrite each other.
    terminal: bool,
    began: Instant,
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stdout().is_terminal(), began: Instant::now() }
    }

    pub(super) fn event(&mut self, event: &DialEvent) {
        let text = if self.json { self.object(event) } else { self.words(event) };
        // A reader who went away does not end the call.
        let mut out = std::io::stdout();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    fn object(&self, event: &DialEvent) -> String {
        let mut object = match event {
            DialEvent::Ringing { session } => serde_json::json!({ "event": "ringing", "session": session.as_str() }),
            DialEvent::FellBack => serde_json::json!({ "event": "fell_back" }),
            DialEvent::Answered => serde_json::json!({ "event": "answered" }),
            DialEvent::Connected => serde_json::json!({ "event": "connected" }),
            DialEvent::FirstFrame => serde_json::json!({ "event": "first_frame" }),
            DialEvent::FirstAudio => serde_json::json!({ "event": "first_audio" }),
            DialEvent::PathLost => serde_json::json!({ "event": "path_lost" }),
            DialEvent::PathFound => serde_json::json!({ "event": "path_found" }),
            DialEvent::Stats(CallerStats { video, audio }) => {
                serde_json::json!({ "event": "stats", "video": received(video), "audio": received(audio) })
            }
            DialEvent::Ended { why, recorded } => serde_json::json!({
                "event": "ended",
                "why": word(why),
                "detail": why.to_string(),
                "recorded_frames": recorded.map(|recorded| recorded.frames),
            }),
        };
        if let Some(fields) = object.as_object_mut() {
            let after = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            fields.insert("after_ms".to_owned(), after.into());
        }
        format!("{object}\n")
    }

    fn words(&self, event: &DialEvent) -> String {
        let ms = self.began.elapsed().as_millis();
        match event {
            DialEvent::Ringing { .. } => "ringing...\n".to_owned(),
            DialEvent::FellBack => {
                "no answer yet; calling in the plain way too, which shows relays who calls\n".to_owned()
            }
            DialEvent::Answered => format!("answered after {ms} ms\n"),
            DialEvent::Connected => format!("connected after {ms} ms, encrypted to the line's own certificate\n"),
            DialEvent::FirstFrame => format!("first picture after {ms} ms\n"),
            DialEvent::FirstAudio => format!("first sound after {ms} ms\n"),
            DialEvent::PathLost => "\nthe connection is lost, looking for another\n".to_owned(),
            DialEvent::PathFound => "the connection is back\n".to_owned(),
            DialEvent::Stats(stats) => {
                let line = format!("{}; {}", in_words("video", &stats.video), in_words("audio", &stats.audio));
                // "\x1b[K" clears what a longer line left behind.
                if self.terminal { format!("\r{line}\x1b[K") } else { format!("{line}\n") }
            }
            DialEvent::Ended { why, recorded } => {
                let start = if self.terminal { "\n" } else { "" };
                let kept = recorded.map(|r| format!("; recorded {} frames and packets", r.frames)).unwrap_or_default();
                format!("{start}{why}{kept}\n")
            }
        }
    }
}

fn received(stats: &Received) -> serde_json::Value {
    serde_json::json!({
        "packets": stats.packets,
        "bytes": stats.bytes,
        "frames": stats.frames,
        "keyframes": stats.keyframes,
        "lost": stats.lost,
        "bitrate": stats.bitrate,
    })
}

fn in_words(what: &str, stats: &Received) -> String {
    format!("{what} {} frames, {} kbit/s, {} lost", stats.frames, stats.bitrate / 1000, stats.lost)
}

/// A stable word for programs.
fn word(why: &DialEnd) -> &'static str {
    match why {
        DialEnd::HungUp => "hung_up",
        DialEnd::NoRelay => "no_relay",
        DialEnd::NotSent => "not_sent",
        DialEnd::NoAnswer => "no_answer",
        DialEnd::Refused { .. } => "refused",
        DialEnd::LineEnded { .. } => "line_ended",
        DialEnd::BadAnswer(_) => "bad_answer",
        DialEnd::Media(_) => "media_failed",
    }
}
