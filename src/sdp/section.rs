//! One m-line with its attributes, read strictly. What we do not know is dropped; what we know must be right.

use super::lines::{Line, is_ice, is_token, number};
use super::{Candidate, Codec, Direction, Fingerprint, MAX_CANDIDATES, MediaKind, SdpReject};

/// Formats of an m-line that is not RTP.
const MAX_OTHER_FORMATS: usize = 32;
/// Parameters of one fmtp.
const MAX_PARAMETERS: usize = 32;
/// SHA-256 fingerprints of one level: a client has one certificate, rarely two.
const MAX_FINGERPRINTS: usize = 8;
/// Hz. Nothing real is above 192 kHz.
const MAX_CLOCK_RATE: u32 = 1_000_000;

/// Feedback that `webrtcbin` knows what to do with. transport-cc is left out: it means nothing without its header extension.
const FEEDBACK: [&str; 3] = ["nack", "nack pli", "ccm fir"];

/// Protos of RTP m-lines that WebRTC's answerers take (RFC 8829 section 5.1.2).
const RTP_PROTOS: [&str; 6] =
    ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    ActPass,
    Active,
    Passive,
    HoldConn,
}

/// ICE and DTLS attributes, of an m-line or of the whole session.
#[derive(Debug, Default)]
pub(super) struct Transport {
    pub ufrag: Option<String>,
    pub pwd: Option<String>,
    pub fingerprints: Vec<Fingerprint>,
    pub setup: Option<Setup>,
    pub direction: Option<Direction>,
}

/// An m-line, read.
#[derive(Debug)]
pub(super) struct Section {
    /// The line of its `m=`.
    pub number: usize,
    pub kind: MediaKind,
    pub port: u16,
    pub proto: String,
    pub formats: Vec<String>,
    pub mid: String,
    pub codecs: Vec<Codec>,
    pub transport: Transport,
    pub candidates: Vec<Candidate>,
    pub rtcp_mux: bool,
    pub bundle_only: bool,
}

impl Section {
    pub fn reject(&self, what: &'static str) -> SdpReject {
        SdpReject { line: self.number, what }
    }

    /// Whether it is audio or video over (S)RTP.
    pub fn is_rtp(&self) -> bool {
        matches!(self.kind, MediaKind::Audio | MediaKind::Video) && RTP_PROTOS.contains(&self.proto.as_str())
    }
}

impl Transport {
    /// Reads one attribute, if it is one of these.
    pub fn read(&mut self, line: &Line<'_>, name: &str, value: &str) -> Result<(), SdpReject> {
        let once = |fits: bool, slot: &mut Option<String>, what| match (fits, slot.is_none()) {
            (true, true) => {
                *slot = Some(value.to_owned());
                Ok(())
            }
            _ => Err(line.reject(what)),
        };
        match name {
            "ice-ufrag" => once(is_ice(value, 4..=256), &mut self.ufrag, "ice-ufrag must be 4 to 256 ice-chars, once"),
            "ice-pwd" => once(is_ice(value, 22..=256), &mut self.pwd, "ice-pwd must be 22 to 256 ice-chars, once"),
            "fingerprint" => self.read_fingerprint(line, value),
            "setup" => {
                let setup = match value {
                    "actpass" => Setup::ActPass,
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    "holdconn" => Setup::HoldConn,
                    _ => return Err(line.reject("setup must be actpass, active, passive or holdconn")),
                };
                match self.setup.replace(setup) {
                    None => Ok(()),
                    Some(_) => Err(line.reject("a second setup")),
                }
            }
            _ => match Direction::of_word(name) {
                Some(direction) if self.direction.is_none_or(|known| known == direction) => {
                    self.direction = Some(direction);
                    Ok(())
                }
                Some(_) => Err(line.reject("two directions that contradict each other")),
                None => Ok(()),
            },
        }
    }

    fn read_fingerprint(&mut self, line: &Line<'_>, value: &str) -> Result<(), SdpReject> {
        let (hash, bytes) = value.split_once(' ').unwrap_or((value, ""));
        let bytes: Option<Vec<u8>> = bytes
            .split(':')
            .map(|pair| match pair.as_bytes() {
                [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => u8::from_str_radix(pair, 16).ok(),
                _ => None,
            })
            .collect();
        let Some(bytes) = bytes.filter(|_| is_token(hash, 16)) else {
            return Err(line.reject("a fingerprint must be a hash's name and bytes in hex"));
        };
        if !hash.eq_ignore_ascii_case("sha-256") {
            return Ok(());
        }
        let Ok(bytes) = <[u8; 32]>::try_from(bytes) else {
            return Err(line.reject("a sha-256 fingerprint has 32 bytes"));
        };
        if self.fingerprints.len() == MAX_FINGERPRINTS {
            return Err(line.reject("more than 8 fingerprints"));
        }
        if !self.fingerprints.contains(&Fingerprint(bytes)) {
            self.fingerprints.push(Fingerprint(bytes));
        }
        Ok(())
    }
}

/// Reads the lines of one m-line, `m=` first.
pub(super) fn read_section(lines: &[Line<'_>]) -> Result<Section, SdpReject> {
    let Some((head, rest)) = lines.split_first() else { return Err(SdpReject { line: 0, what: "an empty m-line" }) };
    let mut section = read_media_line(head)?;
    let mut maps = Maps::default();
    let mut mid = None;
    for line in rest {
        let Some((name, value)) = line.attribute() else { continue };
        match name {
            "mid" if mid.is_some() || !is_token(value, 32) => {
                return Err(line.reject("mid must be a token of 1 to 32 bytes, once"));
            }
            "mid" => mid = Some(value.to_owned()),
            "rtcp-mux" => section.rtcp_mux = true,
            "bundle-only" => section.bundle_only = true,
            "rtpmap" if section.is_rtp() => maps.read_rtpmap(line, value)?,
            "fmtp" if section.is_rtp() => maps.read_fmtp(line, value)?,
            "rtcp-fb" if section.is_rtp() => maps.read_feedback(line, value)?,
            "candidate" => {
                let candidate = Candidate::read(line.value).map_err(|reject| line.reject(reject.what))?;
                section.candidates.extend(candidate.filter(|_| section.candidates.len() < MAX_CANDIDATES));
            }
            _ => section.transport.read(line, name, value)?,
        }
    }
    section.mid = mid.ok_or(head.reject("an m-line without mid"))?;
    if section.is_rtp() {
        section.codecs = maps.codecs(&section.formats);
    }
    Ok(section)
}

fn read_media_line(head: &Line<'_>) -> Result<Section, SdpReject> {
    let mut words = head.value.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (kind, port, proto) = (word(), word(), word());
    let Some(kind) = MediaKind::of_word(kind) else {
        return Err(head.reject("an m-line must be audio, video, application, text, message or image"));
    };
    let Some(port) = number::<u16>(port) else { return Err(head.reject("an m-line's port must be 0 to 65535")) };
    if !(1..=64).contains(&proto.len()) || !proto.split('/').all(|part| is_token(part, 64)) {
        return Err(head.reject("an m-line's proto must be tokens"));
    }
    let section = Section {
        number: head.number,
        kind,
        port,
        proto: proto.to_owned(),
        formats: words.map(str::to_owned).collect(),
        mid: String::new(),
        codecs: Vec::new(),
        transport: Transport::default(),
        candidates: Vec::new(),
        rtcp_mux: false,
        bundle_only: false,
    };
    if section.formats.is_empty() {
        return Err(head.reject("an m-line without formats"));
    }
    if section.is_rtp() {
        let mut seen = [false; 128];
        for format in &section.formats {
            match payload_type(format).and_then(|at| seen.get_mut(usize::from(at))) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(head.reject("an RTP m-line's formats must be 0 to 127, each once")),
            }
        }
    } else if section.formats.len() > MAX_OTHER_FORMATS || !section.formats.iter().all(|format| is_token(format, 64)) {
        return Err(head.reject("an m-line's formats must be at most 32 tokens"));
    }
    Ok(section)
}

/// 0 to 127, written without leading zeros.
fn payload_type(text: &str) -> Option<u8> {
    number::<u8>(text).filter(|&number| number < 128 && (text.len() == 1 || !text.starts_with('0')))
}

#[derive(Debug, Clone)]
struct RtpMap {
    name: String,
    clock_rate: u32,
    channels: u8,
}

/// What `rtpmap`, `fmtp` and `rtcp-fb` say, by payload type.
#[derive(Debug, Default)]
struct Maps {
    rtpmap: std::collections::BTreeMap<u8, RtpMap>,
    fmtp: std::collections::BTreeMap<u8, Vec<(String, String)>>,
    feedback: Vec<(Option<u8>, &'static str)>,
}

impl Maps {
    fn read_rtpmap(&mut self, line: &Line<'_>, value: &str) -> Result<(), SdpReject> {
        let reject = Err(line.reject("rtpmap must be a payload type, a name, a clock rate and channels"));
        let Some((at, map)) = value.split_once(' ') else { return reject };
        let Some(at) = payload_type(at) else { return reject };
        let mut parts = map.trim_end().split('/');
        let name = parts.next().filter(|name| is_token(name, 32));
        let rate = parts.next().and_then(number::<u32>).filter(|rate| (1..=MAX_CLOCK_RATE).contains(rate));
        let channels = parts.next().map_or(Some(1), number::<u8>).filter(|&channels| channels > 0);
        let (Some(name), Some(clock_rate), Some(channels), None) = (name, rate, channels, parts.next()) else {
            return reject;
        };
        let map = RtpMap { name: name.to_ascii_uppercase(), clock_rate, channels };
        let fits_static = match at {
            0 => map.name == "PCMU",
            8 => map.name == "PCMA",
            _ => true,
        };
        if !fits_static {
            return Err(line.reject("a static payload type that is mapped to something else"));
        }
        match self.rtpmap.insert(at, map) {
            None => Ok(()),
            Some(_) => Err(line.reject("a second rtpmap for a payload type")),
        }
    }

    fn read_fmtp(&mut self, line: &Line<'_>, value: &str) -> Result<(), SdpReject> {
        let (at, rest) = value.split_once(' ').unwrap_or((value, ""));
        let Some(at) = payload_type(at) else { return Err(line.reject("fmtp must begin with a payload type")) };
        let mut parameters = Vec::new();
        // Forms without "=", such as red's 111/111 or telephone-event's 0-16, belong to codecs that we do not take.
        for (key, value) in rest.split(';').filter_map(|part| part.trim().split_once('=')) {
            if parameters.len() == MAX_PARAMETERS {
                return Err(line.reject("more than 32 parameters in a fmtp"));
            }
            parameters.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        match self.fmtp.insert(at, parameters) {
            None => Ok(()),
            Some(_) => Err(line.reject("a second fmtp for a payload type")),
        }
    }

    fn read_feedback(&mut self, line: &Line<'_>, value: &str) -> Result<(), SdpReject> {
        let (at, kind) = value.split_once(' ').unwrap_or((value, ""));
        let at = match at {
            "*" => None,
            at => Some(payload_type(at).ok_or(line.reject("rtcp-fb must begin with a payload type or *"))?),
        };
        let known = FEEDBACK.into_iter().find(|known| *known == kind.trim_end());
        self.feedback.extend(known.map(|known| (at, known)).filter(|new| !self.feedback.contains(new)));
        Ok(())
    }

    fn codecs(mut self, formats: &[String]) -> Vec<Codec> {
        let fixed = |name: &str| Some(RtpMap { name: name.to_owned(), clock_rate: 8000, channels: 1 });
        let mut codecs = Vec::new();
        for payload_type in formats.iter().filter_map(|format| payload_type(format)) {
            let map = self.rtpmap.remove(&payload_type).or_else(|| match payload_type {
                0 => fixed("PCMU"),
                8 => fixed("PCMA"),
                _ => None,
            });
            let Some(RtpMap { name, clock_rate, channels }) = map else { continue };
            let fmtp = self.fmtp.remove(&payload_type).unwrap_or_default();
            let has = |kind: &&str| {
                self.feedback.iter().any(|(at, known)| known == kind && at.is_none_or(|at| at == payload_type))
            };
            let feedback = FEEDBACK.into_iter().filter(has).collect();
            codecs.push(Codec { payload_type, name, clock_rate, channels, fmtp, feedback });
        }
        codecs
    }
}
