//! Codecs: what a payload type is, and the text that we write for those we know.

/// One payload type of an m-line: its rtpmap and fmtp, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    pub payload_type: u8,
    /// As in rtpmap (static payload types 0 and 8 have theirs filled in), upper case.
    pub name: String,
    /// Hz.
    pub clock_rate: u32,
    pub channels: u8,
    /// Parsed `key=value` pairs of fmtp, keys in lower case.
    pub fmtp: Vec<(String, String)>,
    /// `nack`, `nack pli`, `ccm fir`: those of the allow list.
    pub feedback: Vec<&'static str>,
}

/// A track that the caller may send on a taken m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerTrack {
    Opus,
    Pcmu,
    Pcma,
    H264,
    Vp8,
    /// Of profile 0.
    Vp9,
}

/// H.264 profiles as RFC 6184 section 8.1 tells them apart: by `profile_idc` and the constraint flags together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    Other(u8, u8),
}

impl H264Profile {
    fn of([idc, constraints, _level]: [u8; 3]) -> Self {
        match idc {
            0x42 if constraints & 0x40 != 0 => Self::ConstrainedBaseline,
            0x4d | 0x58 if constraints & 0x80 != 0 => Self::ConstrainedBaseline,
            0x42 => Self::Baseline,
            0x4d => Self::Main,
            idc => Self::Other(idc, constraints),
        }
    }
}

impl Codec {
    fn parameter(&self, key: &str) -> Option<&str> {
        self.fmtp.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The track that this is, if it is one that we know, at a payload type that we can use.
    ///
    /// Dynamic payload types outside 96-127 are left alone: `rtph264pay` links at no other, and RFC 5761 gives 64-95 to RTCP.
    pub fn track(&self) -> Option<CallerTrack> {
        let track = match (self.name.as_str(), self.clock_rate, self.channels) {
            ("OPUS", 48000, 2) => CallerTrack::Opus,
            ("PCMU", 8000, 1) => CallerTrack::Pcmu,
            ("PCMA", 8000, 1) => CallerTrack::Pcma,
            ("VP8", 90000, 1) => CallerTrack::Vp8,
            // RFC 9628, section 6: profile 0 when it is absent. The others are for more than 8 bits a sample, or more colour.
            ("VP9", 90000, 1) if matches!(self.parameter("profile-id"), None | Some("0")) => CallerTrack::Vp9,
            ("H264", 90000, 1) if self.has_sane_h264() => CallerTrack::H264,
            _ => return None,
        };
        let usable = match self.payload_type {
            0 => track == CallerTrack::Pcmu,
            8 => track == CallerTrack::Pcma,
            payload_type => (96..=127).contains(&payload_type),
        };
        usable.then_some(track)
    }

    fn has_sane_h264(&self) -> bool {
        let profile_is_sane = self.parameter("profile-level-id").is_none() || self.profile_level_id().is_some();
        profile_is_sane && matches!(self.parameter("packetization-mode"), None | Some("0" | "1"))
    }

    /// Whether this is H.264 with `packetization-mode=1`: the only one that a camera's large NAL units fit in.
    pub fn fragments_h264(&self) -> bool {
        self.track() == Some(CallerTrack::H264) && self.parameter("packetization-mode") == Some("1")
    }

    fn profile_level_id(&self) -> Option<[u8; 3]> {
        let text = self.parameter("profile-level-id")?;
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let byte = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        Some([byte(0)?, byte(2)?, byte(4)?])
    }

    /// How well this H.264 fits a camera: the lower the better. The level is left out: browsers decode above it, and
    /// a camera cannot be told to go lower.
    pub(super) fn h264_rank(&self, camera: Option<[u8; 3]>) -> u8 {
        // RFC 6184 section 8.1: Baseline, level 1, when it is absent.
        let offered = self.profile_level_id().unwrap_or([0x42, 0, 0x0a]);
        match camera {
            Some(camera) if H264Profile::of(camera) == H264Profile::of(offered) => 0,
            Some(camera) if camera[0] == 0x64 && offered[0] == 0x64 => 1,
            _ if offered[0] == 0x42 && offered[1] & 0xe0 == 0xe0 => 2,
            _ if offered[0] == 0x42 => 3,
            _ => 4,
        }
    }

    /// `rtpmap`, `rtcp-fb` and `fmtp` for this codec as `track`, in words of our own.
    pub(super) fn write(&self, track: CallerTrack, feedback: &[&str], out: &mut super::write::Text) {
        let payload_type = self.payload_type;
        let (name, fmtp) = match track {
            CallerTrack::Opus => ("opus/48000/2", Some("minptime=10;useinbandfec=1".to_owned())),
            CallerTrack::Pcmu => ("PCMU/8000", None),
            CallerTrack::Pcma => ("PCMA/8000", None),
            CallerTrack::Vp8 => ("VP8/90000", None),
            CallerTrack::Vp9 => ("VP9/90000", Some("profile-id=0".to_owned())),
            CallerTrack::H264 => ("H264/90000", Some(self.h264_fmtp())),
        };
        out.line(format_args!("a=rtpmap:{payload_type} {name}"));
        for feedback in feedback {
            out.line(format_args!("a=rtcp-fb:{payload_type} {feedback}"));
        }
        if let Some(fmtp) = fmtp {
            out.line(format_args!("a=fmtp:{payload_type} {fmtp}"));
        }
    }

    fn h264_fmtp(&self) -> String {
        let mut parts = Vec::new();
        if self.parameter("level-asymmetry-allowed") == Some("1") {
            parts.push("level-asymmetry-allowed=1".to_owned());
        }
        parts.push(format!("packetization-mode={}", u8::from(self.parameter("packetization-mode") == Some("1"))));
        if let Some([idc, constraints, level]) = self.profile_level_id() {
            parts.push(format!("profile-level-id={idc:02x}{constraints:02x}{level:02x}"));
        }
        parts.join(";")
    }
}
