//! Writing SDP.

use std::fmt::{Arguments, Write as _};

use super::{Candidate, Direction, Fingerprint};

/// A session description in the making: lines that end in CRLF.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// The lines before the first m-line. `session` is the number in `o=`.
    pub fn begin(session: u64) -> Self {
        let mut text = Self::default();
        text.line(format_args!("v=0"));
        text.line(format_args!("o=- {session} 1 IN IP4 127.0.0.1"));
        text.line(format_args!("s=-"));
        text.line(format_args!("t=0 0"));
        text
    }

    pub fn line(&mut self, line: Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.0.write_fmt(line);
        self.0.push_str("\r\n");
    }

    pub fn bundle<'a>(&mut self, mids: impl IntoIterator<Item = &'a str>) {
        let mids: Vec<&str> = mids.into_iter().collect();
        self.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }

    /// ICE and DTLS lines of an m-line.
    pub fn transport(&mut self, ufrag: &str, pwd: &str, fingerprints: &[Fingerprint], setup: &str) {
        self.line(format_args!("a=ice-ufrag:{ufrag}"));
        self.line(format_args!("a=ice-pwd:{pwd}"));
        self.line(format_args!("a=ice-options:trickle"));
        for fingerprint in fingerprints {
            self.line(format_args!("a=fingerprint:sha-256 {fingerprint}"));
        }
        self.line(format_args!("a=setup:{setup}"));
    }

    pub fn direction(&mut self, direction: Direction) {
        self.line(format_args!("a={}", direction.word()));
    }

    /// Candidates of an m-line; `complete`: no other will follow.
    pub fn candidates(&mut self, candidates: &[Candidate], complete: bool) {
        for candidate in candidates {
            self.line(format_args!("a={}", candidate.text()));
        }
        if complete {
            self.line(format_args!("a=end-of-candidates"));
        }
    }

    pub fn end(self) -> String {
        self.0
    }
}

/// Payload types as the m-line lists them.
pub(super) fn payload_types(types: impl IntoIterator<Item = u8>) -> String {
    types.into_iter().map(|payload_type| payload_type.to_string()).collect::<Vec<_>>().join(" ")
}
