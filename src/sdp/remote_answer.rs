//! The strict parser of a stranger's answer to an offer of ours.

use super::codec::CallerTrack;
use super::description::{Description, Parameters};
use super::section::{Section, Setup};
use super::write::{Text, payload_types};
use super::{Candidate, Codec, Direction, Fingerprint, IceCredentials, MediaKind, SdpReject};

/// A stranger's answer that passed the guard, for an offer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAnswer {
    /// Our own text for `webrtcbin`'s set-remote-description, without candidates.
    pub text: String,
    /// The certificate must match one.
    pub fingerprints: Vec<Fingerprint>,
    /// For m-line `tag`: `webrtcbin` drops those of a refused one.
    pub candidates: Vec<Candidate>,
    /// The m-line whose transport the taken ones share.
    pub tag: usize,
    pub ice: IceCredentials,
    /// Whether the answerer is the DTLS client.
    pub active: bool,
    /// The m-lines of our offer, in its order.
    pub sections: Vec<AnsweredSection>,
}

/// An m-line of our offer, as the answer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredSection {
    pub kind: MediaKind,
    /// Ours.
    pub mid: String,
    /// The answerer's; inactive when the m-line is refused.
    pub direction: Direction,
    /// Not refused.
    pub taken: bool,
    /// Payload types of our offer that the answerer takes, in its order.
    pub codecs: Vec<(u8, CallerTrack)>,
    /// The answerer asks for packets that it lost.
    pub nack: bool,
}

/// Parses a stranger's answer to `our_offer` as strictly as an offer is parsed. What is taken must share one transport: our
/// offers are bundled.
///
/// # Errors
/// [`SdpReject`], of the answer's lines.
pub fn guard_answer(our_offer: &str, answer: &str) -> Result<RemoteAnswer, SdpReject> {
    let whole = |what| SdpReject { line: 0, what };
    let ours = Description::read(our_offer).map_err(|_| whole("the offer that it answers is broken"))?;
    let read = Description::read(answer)?;
    if ours.sections.len() != read.sections.len() {
        return Err(whole("it has another number of m-lines than the offer"));
    }
    let pairs = || ours.sections.iter().zip(&read.sections).enumerate();
    for (_, (offered, section)) in pairs() {
        if (offered.kind, &offered.mid) != (section.kind, &section.mid) {
            return Err(section.reject("an m-line of another kind or mid than in the offer"));
        }
        if offered.port == 0 && !offered.bundle_only && section.port != 0 {
            return Err(section.reject("an m-line that was not offered is taken"));
        }
    }
    let taken: Vec<usize> = pairs().filter(|(_, (_, section))| section.port != 0).map(|(index, _)| index).collect();
    let Some(tag) = tag(&read, &taken)? else { return Err(whole("it takes no m-line")) };
    let setup = match read.sections[tag].transport.setup.or(read.session.setup) {
        Some(Setup::Active) => "active",
        Some(Setup::Passive) => "passive",
        _ => return Err(read.sections[tag].reject("setup must be active or passive in an answer")),
    };
    let Parameters { ufrag, pwd, fingerprints } = read.parameters(tag)?;

    let mut text = Text::begin(1);
    if read.ice_lite {
        text.line(format_args!("a=ice-lite"));
    }
    text.bundle(taken.iter().map(|&index| ours.sections[index].mid.as_str()));
    let mut sections = Vec::new();
    for (index, (offered, section)) in pairs() {
        let (kind, mid) = (offered.kind, &offered.mid);
        if !taken.contains(&index) {
            sections.push(AnsweredSection {
                kind,
                mid: mid.clone(),
                direction: Direction::Inactive,
                taken: false,
                codecs: Vec::new(),
                nack: false,
            });
            write_refused(offered, &mut text);
            // webrtcbin looks for these in refused m-lines too.
            text.transport(&ufrag, &pwd, &fingerprints, setup);
            continue;
        }
        let direction = direction(&read, section);
        let allowed = self::direction(&ours, offered).reversed();
        if (direction.sends() && !allowed.sends()) || (direction.receives() && !allowed.receives()) {
            return Err(section.reject("a direction that the offer does not allow"));
        }
        let codecs = common_codecs(offered, section)?;
        let types = payload_types(codecs.iter().map(|(codec, ..)| codec.payload_type));
        text.line(format_args!("m={} 9 UDP/TLS/RTP/SAVPF {types}", kind.word()));
        text.line(format_args!("c=IN IP4 0.0.0.0"));
        text.line(format_args!("a=mid:{mid}"));
        text.transport(&ufrag, &pwd, &fingerprints, setup);
        text.line(format_args!("a=rtcp-mux"));
        text.direction(direction);
        for (codec, track, feedback) in &codecs {
            codec.write(*track, feedback, &mut text);
        }
        sections.push(AnsweredSection {
            kind,
            mid: mid.clone(),
            direction,
            taken: true,
            nack: codecs.iter().any(|(_, _, feedback)| feedback.contains(&"nack")),
            codecs: codecs.into_iter().map(|(codec, track, _)| (codec.payload_type, track)).collect(),
        });
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    for candidate in &read.sections[tag].candidates {
        if !candidates.iter().any(|known| (known.address, known.port) == (candidate.address, candidate.port)) {
            candidates.push(candidate.clone());
        }
    }
    Ok(RemoteAnswer {
        text: text.end(),
        fingerprints,
        candidates,
        tag,
        ice: IceCredentials { ufrag, pwd },
        active: setup == "active",
        sections,
    })
}

/// The m-line whose transport all the taken ones share: the first of their BUNDLE group, or the only one taken.
fn tag(read: &Description, taken: &[usize]) -> Result<Option<usize>, SdpReject> {
    let Some(&first) = taken.first() else { return Ok(None) };
    match read.bundles.iter().find(|group| group.contains(&first)) {
        Some(group) => {
            if let Some(refused) = group.iter().find(|index| !taken.contains(index)) {
                return Err(read.sections[*refused].reject("a refused m-line in the BUNDLE group"));
            }
            match taken.iter().find(|index| !group.contains(index)) {
                Some(outside) => Err(read.sections[*outside].reject("a taken m-line outside of the BUNDLE group")),
                None => Ok(group.first().copied()),
            }
        }
        None if taken.len() == 1 => Ok(Some(first)),
        None => Err(SdpReject { line: 0, what: "it takes more than one m-line without BUNDLE" }),
    }
}

fn direction(read: &Description, section: &Section) -> Direction {
    section.transport.direction.or(read.session.direction).unwrap_or(Direction::SendRecv)
}

type Accepted<'a> = (&'a Codec, CallerTrack, Vec<&'static str>);

/// Codecs of our offer that the answer accepts, in the answer's order and with its parameters.
fn common_codecs<'a>(offered: &Section, section: &'a Section) -> Result<Vec<Accepted<'a>>, SdpReject> {
    if !section.is_rtp() {
        return Err(section.reject("an m-line that is neither audio nor video, or not RTP, is taken"));
    }
    if !section.rtcp_mux {
        return Err(section.reject("an m-line without rtcp-mux is taken"));
    }
    let accepted = |codec: &'a Codec| {
        let track = codec.track()?;
        let ours = offered.codecs.iter().find(|ours| ours.payload_type == codec.payload_type)?;
        let same = ours.track() == Some(track) && ours.fragments_h264() == codec.fragments_h264();
        let feedback = ours.feedback.iter().filter(|feedback| codec.feedback.contains(feedback)).copied().collect();
        same.then_some((codec, track, feedback))
    };
    let codecs: Vec<_> = section.codecs.iter().filter_map(accepted).collect();
    if codecs.is_empty() {
        return Err(section.reject("an m-line is taken with no codec of the offer"));
    }
    Ok(codecs)
}

/// Our own m-line, with port 0.
fn write_refused(offered: &Section, text: &mut Text) {
    let (kind, proto, formats) = (offered.kind.word(), &offered.proto, offered.formats.join(" "));
    text.line(format_args!("m={kind} 0 {proto} {formats}"));
    text.line(format_args!("c=IN IP4 0.0.0.0"));
    text.line(format_args!("a=mid:{}", offered.mid));
    text.direction(Direction::Inactive);
    for codec in &offered.codecs {
        if let Some(track) = codec.track() {
            codec.write(track, &[], text);
        }
    }
}
