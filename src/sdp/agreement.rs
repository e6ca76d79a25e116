//! What an offer and its answer have come to, and what a further offer in the same call asks for (RFC 8829, section 5.2.2).

use super::answer::write_refused;
use super::calling::CallingPlan;
use super::write::Text;
use super::{Candidate, Direction, Fingerprint, MediaKind, NoCommonCodec, Offer, Plan, RemoteAnswer, SdpReject};

/// ICE credentials of one side (RFC 8839, section 5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

/// What both sides have agreed upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    pub plan: Plan,
    /// Those that the other side names: its certificate must match one.
    pub fingerprints: Vec<Fingerprint>,
    /// The m-line that the other side's candidates are for, as `webrtcbin` counts.
    pub tag: usize,
    /// The other side asks for packets of our video that it lost.
    pub resends: bool,
    /// Our last description, without what has not been agreed upon. Later ones are made of it.
    text: String,
    /// Of its `o=` line.
    version: u64,
    /// We are the DTLS client.
    active: bool,
    own: IceCredentials,
    remote: IceCredentials,
    /// The other side's m-lines.
    lines: Vec<RemoteLine>,
}

/// An m-line as the other side last described it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RemoteLine {
    kind: MediaKind,
    mid: String,
    direction: Direction,
    /// Media may flow on it.
    open: bool,
}

/// What an offer in a live call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renegotiation {
    /// Other ICE credentials: all checks begin anew.
    pub restart: bool,
    pub media: MediaChange,
}

/// What becomes of the call's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaChange {
    /// It goes on as it is.
    Same,
    /// m-lines were added, or opened to more than before; what there is goes on.
    More,
    /// Something that flows is not wanted any more.
    Less,
}

impl Agreement {
    /// Of the caller's `offer`, which we answered with `text`.
    pub fn answered(offer: &Offer, plan: Plan, text: String) -> Self {
        let resends = plan.sections.iter().filter(|section| section.video.is_some()).any(|section| {
            let codecs = offer.sections.get(section.index).map_or(&[][..], |offered| &offered.codecs);
            codecs.iter().any(|codec| codec.payload_type == section.payload_type && codec.feedback.contains(&"nack"))
        });
        Self {
            plan,
            fingerprints: offer.fingerprints.clone(),
            tag: 0,
            resends,
            own: credentials_of(&text),
            text,
            version: 1,
            active: true,
            remote: IceCredentials { ufrag: offer.ice_ufrag.clone(), pwd: offer.ice_pwd.clone() },
            lines: lines_of(offer),
        }
    }

    /// Of our offer `text`, made of `plan`, and its answer.
    pub fn offered(plan: &CallingPlan, text: &str, answer: &RemoteAnswer) -> Self {
        let line = |section: &super::AnsweredSection| RemoteLine {
            kind: section.kind,
            mid: section.mid.clone(),
            direction: section.direction,
            open: section.taken,
        };
        Self {
            plan: plan.answered(answer),
            fingerprints: answer.fingerprints.clone(),
            tag: answer.tag,
            resends: answer.sections.iter().any(|section| section.kind == MediaKind::Video && section.nack),
            own: credentials_of(text),
            text: narrow(text, answer),
            version: 1,
            active: !answer.active,
            remote: answer.ice.clone(),
            lines: answer.sections.iter().map(line).collect(),
        }
    }

    /// Whether the line sends anything.
    ///
    /// # Errors
    /// [`NoCommonCodec`] when the other side takes none of it.
    pub fn require_sending(&self) -> Result<(), NoCommonCodec> {
        if self.plan.sections.iter().any(|section| section.direction.sends()) {
            return Ok(());
        }
        Err(NoCommonCodec { detail: "the answer takes none of the line's media".to_owned() })
    }

    /// What a further offer of the other side's asks for.
    ///
    /// # Errors
    /// [`SdpReject`] when it does not belong to this call: then it is refused, and the call goes on as it was.
    pub fn weigh(&self, offer: &Offer) -> Result<Renegotiation, SdpReject> {
        let reject = |what| Err(SdpReject { line: 0, what });
        if offer.fingerprints != self.fingerprints {
            return reject("the offer names another certificate than the call's");
        }
        let lines = lines_of(offer);
        if lines.len() < self.lines.len() {
            return reject("the offer has fewer m-lines than the call");
        }
        let same = |(now, before): (&RemoteLine, &RemoteLine)| (now.kind, &now.mid) == (before.kind, &before.mid);
        if !lines.iter().zip(&self.lines).all(same) {
            return reject("the offer's m-lines are in another order than the call's");
        }
        let mut less = false;
        for section in &self.plan.sections {
            let Some(offered) = offer.sections.get(section.index) else { return reject("an m-line is missing") };
            let used = section.receive.first().map(|(at, track)| (*at, Some(*track)));
            // H.264 that is not to be fragmented any more is another codec: a camera's large units fit in no packet.
            let known = |codec: &super::Codec| {
                Some((codec.payload_type, codec.track())) == used
                    && codec.fragments_h264() == self.fragments_h264(codec.payload_type)
            };
            if offered.takeable && !offered.codecs.iter().any(known) {
                return reject("the codec in use is not offered any more");
            }
            let (ours, theirs) = (section.direction, offered.direction);
            let left = Direction::new(ours.sends() && theirs.receives(), ours.receives() && theirs.sends());
            less |= !offered.takeable || left != ours;
        }
        let media = match lines == self.lines {
            _ if less => MediaChange::Less,
            true => MediaChange::Same,
            false => MediaChange::More,
        };
        let restart = (&offer.ice_ufrag, &offer.ice_pwd) != (&self.remote.ufrag, &self.remote.pwd);
        Ok(Renegotiation { restart, media })
    }

    /// Whether our description has this payload type as H.264 that may be fragmented.
    fn fragments_h264(&self, payload_type: u8) -> bool {
        let parameters = self.text.lines().filter_map(|line| line.strip_prefix("a=fmtp:")?.split_once(' '));
        parameters
            .filter(|(at, _)| at.parse() == Ok(payload_type))
            .any(|(_, parameters)| parameters.split(';').any(|parameter| parameter == "packetization-mode=1"))
    }

    /// Whether an answer to [`Agreement::offer`] belongs to this call.
    ///
    /// # Errors
    /// [`SdpReject`] when it does not: then it is passed over.
    pub fn weigh_answer(&self, answer: &RemoteAnswer) -> Result<(), SdpReject> {
        if answer.fingerprints == self.fingerprints {
            Ok(())
        } else {
            Err(SdpReject { line: 0, what: "the answer names another certificate than the call's" })
        }
    }

    /// ICE is restarted with these.
    pub fn restart(&mut self, own: IceCredentials, remote: IceCredentials) {
        (self.own, self.remote) = (own, remote);
    }

    /// An offer of ours with the call's m-lines: an ICE restart, when `ice` is new.
    pub fn offer(&mut self, ice: &IceCredentials, candidates: &[Candidate]) -> String {
        self.describe(ice, candidates, "actpass")
    }

    /// Our answer to a further offer: what there is goes on as it is, m-lines that were added are refused.
    pub fn answer(&mut self, offer: &Offer, candidates: &[Candidate]) -> String {
        let own = self.own.clone();
        let mut text = self.describe(&own, candidates, if self.active { "active" } else { "passive" });
        let mut refused = Text::default();
        for section in offer.sections.get(self.lines.len()..).unwrap_or_default() {
            write_refused(section, &mut refused);
        }
        text.push_str(&refused.end());
        text
    }

    fn describe(&mut self, ice: &IceCredentials, candidates: &[Candidate], setup: &str) -> String {
        self.version += 1;
        let mut text = Text::default();
        // The m-line whose transport is everybody's (RFC 9143, section 7.3.1), or the only one that is taken.
        let bundle = self.text.lines().find_map(|line| line.strip_prefix("a=group:BUNDLE "));
        let tag = bundle.and_then(|mids| mids.split(' ').next());
        let (mut refused, mut mid) = (false, "");
        for line in self.text.lines() {
            if let Some(origin) = line.strip_prefix("o=- ") {
                let session = origin.split(' ').next().unwrap_or_default();
                text.line(format_args!("o=- {session} {} IN IP4 127.0.0.1", self.version));
            } else if line.starts_with("a=ice-ufrag:") {
                text.line(format_args!("a=ice-ufrag:{}", ice.ufrag));
            } else if line.starts_with("a=ice-pwd:") {
                text.line(format_args!("a=ice-pwd:{}", ice.pwd));
            } else if line.starts_with("a=setup:") {
                text.line(format_args!("a=setup:{setup}"));
                // The last line of a transport.
                if tag.map_or(!refused, |tag| tag == mid) {
                    text.candidates(candidates, true);
                }
            } else if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
                continue;
            } else {
                if let Some(media) = line.strip_prefix("m=") {
                    refused = media.split(' ').nth(1) == Some("0");
                } else if let Some(known) = line.strip_prefix("a=mid:") {
                    mid = known;
                }
                text.line(format_args!("{line}"));
            }
        }
        text.end()
    }
}

/// The credentials of a description of ours: one transport has one pair.
fn credentials_of(text: &str) -> IceCredentials {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    IceCredentials { ufrag: value("a=ice-ufrag:"), pwd: value("a=ice-pwd:") }
}

fn lines_of(offer: &Offer) -> Vec<RemoteLine> {
    let line = |section: &super::MediaSection| RemoteLine {
        kind: section.kind,
        mid: section.mid.clone(),
        direction: section.direction,
        open: section.takeable,
    };
    offer.sections.iter().map(line).collect()
}

/// Our offer without what its answer leaves out: m-lines that it refuses, codecs and directions that it does not take.
fn narrow(offer: &str, answer: &RemoteAnswer) -> String {
    let mut text = Text::default();
    let mut sections = answer.sections.iter();
    let mut current: Option<&super::AnsweredSection> = None;
    for line in offer.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            current = sections.next();
            let Some(section) = current else { break };
            let mut words = media.split(' ');
            let (kind, proto) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
            if section.taken {
                let types = super::write::payload_types(section.codecs.iter().map(|(at, _)| *at));
                text.line(format_args!("m={kind} 9 {proto} {types}"));
            } else {
                let first = words.next().unwrap_or("0");
                text.line(format_args!("m={kind} 0 {proto} {first}"));
            }
            continue;
        }
        let Some(section) = current else {
            if line.starts_with("a=group:BUNDLE ") {
                let taken = answer.sections.iter().filter(|section| section.taken);
                text.bundle(taken.map(|section| section.mid.as_str()));
            } else {
                text.line(format_args!("{line}"));
            }
            continue;
        };
        let attribute = line.strip_prefix("a=").unwrap_or(line);
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let of = |at: &str| section.codecs.iter().any(|(known, _)| known.to_string() == at);
        match name {
            "rtpmap" | "fmtp" | "rtcp-fb" if section.taken => {
                if of(value.split(' ').next().unwrap_or_default()) {
                    text.line(format_args!("{line}"));
                }
            }
            _ if Direction::of_word(name).is_some() => text.direction(section.direction.reversed()),
            _ => text.line(format_args!("{line}")),
        }
    }
    text.end()
}
