//! The strict parser of a stranger's offer, and the choice of the transport that we answer on.

use super::description::{Description, Parameters};
use super::section::{Section, Setup};
use super::{CallerTrack, Candidate, Codec};

/// Why an SDP was refused: the sender's fault, not to be retried. `Display` is fit for the sender's eyes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SdpReject {
    /// 1-based; 0 when it concerns the whole.
    pub line: usize,
    pub what: &'static str,
}

/// What an m-line is about. All but audio and video are refused, and repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Audio,
    Video,
    Application,
    Text,
    Message,
    Image,
}

impl MediaKind {
    pub(super) fn of_word(word: &str) -> Option<Self> {
        let all = [Self::Audio, Self::Video, Self::Application, Self::Text, Self::Message, Self::Image];
        all.into_iter().find(|kind| kind.word() == word)
    }

    /// As the m-line has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
            Self::Text => "text",
            Self::Message => "message",
            Self::Image => "image",
        }
    }
}

/// Which way media goes on an m-line, as the side that says it sees it (RFC 8866, section 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// The direction of one who sends and receives as told.
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the one who says it sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the one who says it receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same, seen from the other side.
    pub fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive].into_iter().find(|known| known.word() == word)
    }

    /// As SDP has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// A SHA-256 certificate fingerprint (RFC 8122). `Display` is the one of SDP: `AB:CD:...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// An m-line of the offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSection {
    pub kind: MediaKind,
    pub mid: String,
    /// The proto of the m-line, as the answer must repeat it: tokens, never handed to `webrtcbin`.
    pub proto: String,
    /// The format list of the m-line, for the refusal of it (port 0) in the answer.
    pub formats: Vec<String>,
    /// The caller's.
    pub direction: Direction,
    pub codecs: Vec<Codec>,
    /// Whether we take it: it shares the transport that we answer on, and is the best of its kind there. At most one
    /// audio and one video m-line are.
    pub takeable: bool,
}

/// An offer that passed the guard: what we understood of it, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub sections: Vec<MediaSection>,
    /// Whether the takeable m-lines are a BUNDLE group's (the answer may only have one if they are).
    pub bundled: bool,
    /// Whether the caller's ICE only answers checks (RFC 8445 section 2.5).
    pub ice_lite: bool,
    /// The takeable section whose transport is the one below: the first mid of the answer's BUNDLE (RFC 9143 section 7.3.1).
    pub tag: usize,
    /// Empty when no section is takeable, and so is all of the transport.
    pub ice_ufrag: String,
    pub ice_pwd: String,
    /// The transport's SHA-256 fingerprints: the certificate must match one.
    pub fingerprints: Vec<Fingerprint>,
    pub candidates: Vec<Candidate>,
}

/// Parses an offer strictly.
///
/// Legal offers that need not be fully bundled pass. Of their transports (each BUNDLE group, each m-line outside of one)
/// the one is chosen on which most of what a line has could be sent; the m-lines of the others are not takeable.
///
/// # Errors
/// [`SdpReject`] with the line and what is wrong.
pub fn guard_offer(text: &str) -> Result<Offer, SdpReject> {
    let read = Description::read(text)?;
    let unit = best_unit(&read);
    let mut offer = Offer {
        sections: Vec::new(),
        bundled: unit.as_ref().is_some_and(|unit| unit.bundled),
        ice_lite: read.ice_lite,
        tag: 0,
        ice_ufrag: String::new(),
        ice_pwd: String::new(),
        fingerprints: Vec::new(),
        candidates: Vec::new(),
    };
    if let Some(unit) = &unit {
        require_distinct_payload_types(&read, &unit.taken)?;
        let source = transport_section(&read, unit);
        require_setup(&read, source)?;
        let Parameters { ufrag, pwd, fingerprints } = read.parameters(source)?;
        offer.tag = if unit.taken.contains(&source) { source } else { unit.taken[0] };
        (offer.ice_ufrag, offer.ice_pwd, offer.fingerprints) = (ufrag, pwd, fingerprints);
        for candidate in candidates(&read, unit, source) {
            let known = |other: &Candidate| (other.address, other.port) == (candidate.address, candidate.port);
            if !offer.candidates.iter().any(known) {
                offer.candidates.push(candidate.clone());
            }
        }
    }
    let default = read.session.direction;
    for (index, section) in read.sections.into_iter().enumerate() {
        offer.sections.push(MediaSection {
            kind: section.kind,
            direction: section.transport.direction.or(default).unwrap_or(Direction::SendRecv),
            mid: section.mid,
            proto: section.proto,
            formats: section.formats,
            codecs: section.codecs,
            takeable: unit.as_ref().is_some_and(|unit| unit.taken.contains(&index)),
        });
    }
    Ok(offer)
}

/// m-lines that share a transport.
#[derive(Debug)]
struct Unit {
    bundled: bool,
    members: Vec<usize>,
    /// What we would take of them: at most one audio and one video m-line, in the members' order; never empty.
    taken: Vec<usize>,
}

/// The transport on which most could be sent; on a tie the one with video, then the first.
fn best_unit(read: &Description) -> Option<Unit> {
    let groups = read.bundles.iter().map(|group| (true, group.clone()));
    let alone = (0..read.sections.len()).filter(|index| !read.bundles.iter().any(|group| group.contains(index)));
    let units = groups.chain(alone.map(|index| (false, vec![index])));
    let mut best: Option<((usize, bool, usize), Unit)> = None;
    for (bundled, members) in units {
        let mut taken: Vec<usize> = [MediaKind::Audio, MediaKind::Video]
            .into_iter()
            .filter_map(|kind| best_section(read, bundled, &members, kind))
            .collect();
        taken.sort_by_key(|index| members.iter().position(|member| member == index));
        let sendable = |&&index: &&usize| could_send(read, index);
        let sent = taken.iter().filter(sendable).count();
        let video = taken.iter().filter(sendable).any(|&index| read.sections[index].kind == MediaKind::Video);
        let rank = (sent, video, taken.len());
        if !taken.is_empty() && best.as_ref().is_none_or(|(known, _)| rank > *known) {
            best = Some((rank, Unit { bundled, members, taken }));
        }
    }
    best.map(|(_, unit)| unit)
}

/// The m-line of a kind to take: one that we could send on, else one that wants to receive, else the first.
fn best_section(read: &Description, bundled: bool, members: &[usize], kind: MediaKind) -> Option<usize> {
    members
        .iter()
        .copied()
        .filter(|&index| read.sections[index].kind == kind && can_be_taken(read, bundled, members, index))
        .min_by_key(|&index| (!could_send(read, index), !direction(read, index).receives()))
}

fn can_be_taken(read: &Description, bundled: bool, members: &[usize], index: usize) -> bool {
    let section = &read.sections[index];
    // A bundle-only m-line has port 0 and may leave out what its group's tag says (RFC 9143 section 6).
    let carrier = members.iter().map(|&member| &read.sections[member]).find(|member| member.port != 0);
    let bundle_only = section.port == 0 && section.bundle_only && bundled;
    let open = section.port != 0 || (bundle_only && carrier.is_some());
    let mux = section.rtcp_mux || (bundle_only && carrier.is_some_and(|carrier| carrier.rtcp_mux));
    section.is_rtp() && open && mux && section.codecs.iter().any(|codec| codec.track().is_some())
}

fn direction(read: &Description, index: usize) -> Direction {
    read.sections[index].transport.direction.or(read.session.direction).unwrap_or(Direction::SendRecv)
}

/// Whether most lines could send on this m-line. Few send VP8 or VP9: from somebody who takes no other, and whose m-lines do not share a
/// transport, the one with the sound is taken.
fn could_send(read: &Description, index: usize) -> bool {
    let sent = |codec: &Codec| match codec.track() {
        Some(CallerTrack::Opus | CallerTrack::Pcmu | CallerTrack::Pcma) => true,
        Some(CallerTrack::H264) => codec.fragments_h264(),
        Some(CallerTrack::Vp8 | CallerTrack::Vp9) | None => false,
    };
    direction(read, index).receives() && read.sections[index].codecs.iter().any(sent)
}

/// Whose transport parameters count: the first m-line that we take (RFC 9143 section 7.3.1), unless it is bundle-only and
/// has none, then its group's first with a port.
fn transport_section(read: &Description, unit: &Unit) -> usize {
    let open = |index: &usize| read.sections[*index].port != 0;
    let mut taken = unit.taken.iter().copied();
    let mut members = unit.members.iter().copied();
    taken.find(open).or_else(|| members.find(open)).unwrap_or(unit.taken[0])
}

/// The candidates of the transport's m-line. str0m has them on the first m-line only, also when that is one that we refuse:
/// the same credentials show that the transport is the same.
fn candidates<'a>(read: &'a Description, unit: &Unit, source: usize) -> &'a [Candidate] {
    let credentials = |index: usize| (&read.sections[index].transport.ufrag, &read.sections[index].transport.pwd);
    let of = |index: usize| read.sections[index].candidates.as_slice();
    let others = unit.members.iter().copied().filter(|&index| credentials(index) == credentials(source));
    std::iter::once(source).chain(others).map(of).find(|candidates| !candidates.is_empty()).unwrap_or_default()
}

fn require_setup(read: &Description, index: usize) -> Result<(), SdpReject> {
    let section = &read.sections[index];
    match section.transport.setup.or(read.session.setup) {
        Some(Setup::ActPass | Setup::Passive) => Ok(()),
        // JSEP's offers are actpass (RFC 8829 section 5.2.1); we are always the DTLS client.
        Some(Setup::Active | Setup::HoldConn) => Err(section.reject("setup must be actpass or passive in an offer")),
        None => Err(section.reject("an m-line without setup")),
    }
}

/// In a bundle a payload type has one meaning (RFC 9143 section 9.1): packets are told apart by it.
fn require_distinct_payload_types(read: &Description, taken: &[usize]) -> Result<(), SdpReject> {
    let mut seen = [false; 128];
    for &index in taken {
        let section: &Section = &read.sections[index];
        for codec in &section.codecs {
            if std::mem::replace(&mut seen[usize::from(codec.payload_type & 127)], true) {
                return Err(section.reject("a payload type that is both audio and video in one bundle"));
            }
        }
    }
    Ok(())
}
