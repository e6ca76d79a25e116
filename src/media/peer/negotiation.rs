//! Both sides' descriptions of one connection, from the first to the last. Used by the line's peer, and by `media::caller`.

use std::sync::Arc;

use rand::Rng as _;
use rand::distr::Alphanumeric;

use super::connection::Connection;
use super::outgoing::SourcePad;
use super::requests::KeyframeRequests;
use super::{answer, offer};
use crate::media::certificate::Certificate;
use crate::media::servers::Servers;
use crate::media::{IceSettings, PeerError};
use crate::sdp::{
    Agreement, CallingPlan, Candidate, Fingerprint, IceCredentials, MediaChange, Offer, Plan, RemoteAnswer, SdpReject,
};

/// Characters of a password of ours: 190 bits (RFC 8839, section 5.4, asks for 128).
const PASSWORD: usize = 32;
/// Characters of a user fragment of ours (RFC 8839 asks for 24 bits).
const FRAGMENT: usize = 8;

/// Who began.
#[derive(Debug)]
pub(in crate::media) enum Side {
    /// The other side: their offer, and what we make of it.
    Answering { offer: Box<Offer>, plan: Plan },
    /// We.
    Offering { plan: CallingPlan },
}

/// A description of ours for the other side.
#[derive(Debug)]
pub(in crate::media) enum Described {
    Offer(String),
    Answer(String),
}

/// A connection, and what was said of it so far.
pub(in crate::media) struct Negotiation {
    side: Side,
    ice: IceSettings,
    fingerprint: Fingerprint,
    pub(in crate::media) connection: Connection,
    pub(in crate::media) pads: Vec<SourcePad>,
    /// There once both sides have said what they want.
    pub(in crate::media) agreed: Option<Agreement>,
    /// Our first offer.
    offered: String,
    /// What was told of where we are.
    candidates: Vec<Candidate>,
    /// Credentials of a restart that we have offered: libnice learns of them when the answer is there, so that the old path serves until then.
    restarting: Option<IceCredentials>,
}

/// A further offer of the other side's, answered.
#[derive(Debug)]
pub(in crate::media) struct Renegotiated {
    pub(in crate::media) answer: String,
    /// Whether new checks run.
    pub(in crate::media) restarts: bool,
}

impl Negotiation {
    /// Builds a playing pipeline with the pads that send; `requests` counts the other side's keyframe requests, `prepare` sees the connection
    /// before anything is on it. Blocks.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`]; what was built by then is taken down.
    pub(in crate::media) fn begin(
        side: Side,
        ice: IceSettings,
        servers: Servers,
        certificate: Arc<Certificate>,
        requests: &Arc<KeyframeRequests>,
        prepare: impl FnOnce(&Connection),
    ) -> Result<Self, PeerError> {
        let fingerprint = certificate.fingerprint();
        let connection = Connection::build(&ice, servers, certificate)?;
        prepare(&connection);
        let pads = match &side {
            Side::Answering { offer, plan } => answer::add_pads(&connection, offer, plan, requests)?,
            Side::Offering { plan } => {
                let pads = offer::add_sections(&connection, plan, requests)?;
                connection.play()?;
                pads
            }
        };
        Ok(Self {
            side,
            ice,
            fingerprint,
            connection,
            pads,
            agreed: None,
            offered: String::new(),
            candidates: Vec::new(),
            restarting: None,
        })
    }

    /// Our first description, with every candidate that was found in time.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`].
    pub(in crate::media) async fn describe(&mut self) -> Result<Described, PeerError> {
        let Self { side, connection, ice, fingerprint, .. } = self;
        match side {
            Side::Answering { offer, plan } => {
                let (text, candidates) = answer::answer(connection, offer, plan, ice, *fingerprint).await?;
                let agreed = Agreement::answered(offer, plan.clone(), text.clone());
                for candidate in &offer.candidates {
                    connection.add_candidate(agreed.tag, candidate);
                }
                self.agreed = Some(agreed);
                self.candidates = candidates;
                Ok(Described::Answer(text))
            }
            Side::Offering { plan } => {
                let (text, candidates) = offer::offer(connection, plan, ice, *fingerprint).await?;
                self.offered.clone_from(&text);
                self.candidates = candidates;
                Ok(Described::Offer(text))
            }
        }
    }

    /// Takes the answer to our last offer; one that nobody asked for is passed over: another device of the same key, which comes too late.
    ///
    /// # Errors
    /// [`SdpReject`] within, when the answer does not belong to this call, which then goes on as it was.
    pub(in crate::media) async fn take_answer(
        &mut self,
        answer: &RemoteAnswer,
    ) -> Result<Result<(), SdpReject>, PeerError> {
        let Some(agreed) = &mut self.agreed else {
            let Side::Offering { plan } = &self.side else { return Ok(Ok(())) };
            let agreed = Agreement::offered(plan, &self.offered, answer);
            offer::take_answer(&self.connection, &self.pads, answer).await?;
            self.agreed = Some(agreed);
            return Ok(Ok(()));
        };
        let Some(local) = self.restarting.take() else { return Ok(Ok(())) };
        if let Err(reject) = agreed.weigh_answer(answer) {
            return Ok(Err(reject));
        }
        self.connection.restart(&local, &answer.ice)?;
        agreed.restart(local, answer.ice.clone());
        for candidate in &answer.candidates {
            self.connection.add_candidate(agreed.tag, candidate);
        }
        Ok(Ok(()))
    }

    /// Offers an ICE restart; `None` before there is anything to restart. Nothing changes until the answer is there.
    pub(in crate::media) fn restart(&mut self) -> Option<String> {
        let local = new_credentials();
        let text = self.agreed.as_mut()?.offer(&local, &self.candidates);
        self.restarting = Some(local);
        Some(text)
    }

    /// Answers a further offer of the other side's. A restart that we have offered ourselves is forgotten: who answers gives way.
    ///
    /// # Errors
    /// [`SdpReject`] within, when the offer does not belong to this call, which then goes on as it was.
    pub(in crate::media) fn renegotiate(
        &mut self,
        offer: &Offer,
    ) -> Result<Result<Renegotiated, SdpReject>, PeerError> {
        let Some(agreed) = &mut self.agreed else {
            return Ok(Err(SdpReject { line: 0, what: "there is no call yet" }));
        };
        let asked = match agreed.weigh(offer) {
            Ok(asked) => asked,
            Err(reject) => return Ok(Err(reject)),
        };
        if asked.media == MediaChange::Less {
            return Ok(Err(SdpReject { line: 0, what: "media of a live call cannot be taken away" }));
        }
        self.restarting = None;
        if asked.restart {
            let own = new_credentials();
            let remote = IceCredentials { ufrag: offer.ice_ufrag.clone(), pwd: offer.ice_pwd.clone() };
            self.connection.restart(&own, &remote)?;
            agreed.restart(own, remote);
        }
        let text = agreed.answer(offer, &self.candidates);
        for candidate in &offer.candidates {
            self.connection.add_candidate(agreed.tag, candidate);
        }
        Ok(Ok(Renegotiated { answer: text, restarts: asked.restart }))
    }

    /// A candidate of the other side's that came by itself.
    pub(in crate::media) fn add_candidate(&self, candidate: &Candidate) {
        let tag = self.agreed.as_ref().map_or(0, |agreed| agreed.tag);
        self.connection.add_candidate(tag, candidate);
    }

    /// Reads a candidate that was found after our first description: itself, and the mid and index of the m-line that it is for.
    pub(in crate::media) fn late(&mut self, line: &str) -> Option<(Candidate, String, u32)> {
        let candidate = Candidate::read(line).ok().flatten()?;
        self.candidates.push(candidate.clone());
        // A call's m-lines share one transport: any that is taken will do. Before there is an answer the first is.
        let section = self.agreed.as_ref().and_then(|agreed| agreed.plan.sections.first());
        let (mid, index) = match section {
            Some(section) => (section.mid.clone(), section.index as u32),
            None => (self.offered.lines().find_map(|line| line.strip_prefix("a=mid:"))?.to_owned(), 0),
        };
        Some((candidate, mid, index))
    }
}

fn new_credentials() -> IceCredentials {
    let random = |length| rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect();
    IceCredentials { ufrag: random(FRAGMENT), pwd: random(PASSWORD) }
}
