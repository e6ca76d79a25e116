//! A whole session description, read strictly: what an offer and an answer have in common.

use super::lines::{Line, blocks};
use super::section::{Section, Transport, read_section};
use super::{Fingerprint, SdpReject};

/// BUNDLE groups of a description: more than one is legal, and rare.
const MAX_GROUPS: usize = 8;

#[derive(Debug)]
pub(super) struct Description {
    /// Session-level attributes: the defaults of each m-line.
    pub session: Transport,
    pub ice_lite: bool,
    pub sections: Vec<Section>,
    /// BUNDLE groups, in the order of their mids, as indices of `sections`. None is empty, no section is in two.
    pub bundles: Vec<Vec<usize>>,
}

/// The parameters that one m-line's transport has, from its own lines or the session's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    pub ufrag: String,
    pub pwd: String,
    pub fingerprints: Vec<Fingerprint>,
}

impl Description {
    /// # Errors
    /// [`SdpReject`] with the line and what is wrong.
    pub fn read(text: &str) -> Result<Self, SdpReject> {
        let blocks = blocks(text)?;
        let sections: Vec<Section> = blocks.media.iter().map(|lines| read_section(lines)).collect::<Result<_, _>>()?;
        for (index, section) in sections.iter().enumerate() {
            if sections[..index].iter().any(|other| other.mid == section.mid) {
                return Err(section.reject("two m-lines with one mid"));
            }
        }
        let mut read = Self { session: Transport::default(), ice_lite: false, sections, bundles: Vec::new() };
        for line in &blocks.session {
            let Some((name, value)) = line.attribute() else { continue };
            match name {
                "group" => read.read_group(line, value)?,
                "ice-lite" => read.ice_lite = true,
                _ => read.session.read(line, name, value)?,
            }
        }
        Ok(read)
    }

    fn read_group(&mut self, line: &Line<'_>, value: &str) -> Result<(), SdpReject> {
        let mut words = value.split_ascii_whitespace();
        if words.next() != Some("BUNDLE") {
            return Ok(());
        }
        let mut group: Vec<usize> = Vec::new();
        for mid in words {
            let Some(index) = self.sections.iter().position(|section| section.mid == mid) else {
                return Err(line.reject("a BUNDLE group with an unknown mid"));
            };
            if group.contains(&index) || self.bundles.iter().any(|other| other.contains(&index)) {
                return Err(line.reject("a mid that is twice in BUNDLE groups"));
            }
            group.push(index);
        }
        if self.bundles.len() == MAX_GROUPS {
            return Err(line.reject("more than 8 BUNDLE groups"));
        }
        if !group.is_empty() {
            self.bundles.push(group);
        }
        Ok(())
    }

    /// The transport's parameters as section `index` gives them.
    ///
    /// # Errors
    /// [`SdpReject`] when one is missing.
    pub fn parameters(&self, index: usize) -> Result<Parameters, SdpReject> {
        let section = &self.sections[index];
        let own = &section.transport;
        // A level's ufrag and pwd belong together.
        let credentials = match (&own.ufrag, &own.pwd) {
            (None, None) => (&self.session.ufrag, &self.session.pwd),
            own => own,
        };
        let (Some(ufrag), Some(pwd)) = credentials else {
            return Err(section.reject("an m-line without ice-ufrag and ice-pwd"));
        };
        let fingerprints = if own.fingerprints.is_empty() { &self.session.fingerprints } else { &own.fingerprints };
        if fingerprints.is_empty() {
            return Err(section.reject("an m-line without a sha-256 fingerprint"));
        }
        Ok(Parameters { ufrag: ufrag.clone(), pwd: pwd.clone(), fingerprints: fingerprints.clone() })
    }
}
