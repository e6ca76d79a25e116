//! H.264 as it goes into RTP: NAL units of an access unit, parameter sets, and the packets of RFC 6184. Pure.

use std::ops::Range;

use super::sps::{Sps, has_b_type, picture_size};

/// NAL unit types (H.264, table 7-1): 1-5 are slices, 5 is of an IDR picture.
pub(in crate::media) const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Bytes of RTP payload in a packet: 1200 in all, so that SRTP, header extensions, UDP and IPv6 still fit into 1280 (RFC 8200).
pub(super) const MAX_PAYLOAD: usize = 1200 - 12;

/// The NAL units of an Annex B byte stream, without start codes and the zero bytes around them.
pub(in crate::media) fn nals(stream: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at + 3 <= stream.len() {
        match stream[at + 2] {
            1 if stream[at] == 0 && stream[at + 1] == 0 => {
                close(stream, start, at, &mut found);
                start = Some(at + 3);
                at += 3;
            }
            0 => at += 1,
            _ => at += 3,
        }
    }
    close(stream, start, stream.len(), &mut found);
    found
}

fn close(stream: &[u8], start: Option<usize>, mut end: usize, found: &mut Vec<Range<usize>>) {
    let Some(start) = start else { return };
    // A NAL unit never ends in a zero byte (H.264, 7.4.1): these belong to the next start code.
    while end > start && stream[end - 1] == 0 {
        end -= 1;
    }
    if end > start {
        found.push(start..end);
    }
}

fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte & 0x1f)
}

/// The parameter sets that are in force.
#[derive(Debug, Default)]
pub(super) struct ParameterSets {
    sets: Vec<ParameterSet>,
}

#[derive(Debug)]
struct ParameterSet {
    kind: u8,
    id: u32,
    nal: Vec<u8>,
}

impl ParameterSets {
    /// Profile, constraint flags and level of the first SPS, as in `profile-level-id`.
    pub(super) fn profile_level_id(&self) -> Option<[u8; 3]> {
        self.first_sps()?.get(1..4)?.try_into().ok()
    }

    /// Width and height in pixels.
    pub(super) fn picture_size(&self) -> Option<(u32, u32)> {
        picture_size(self.first_sps()?)
    }

    /// Whether pictures come in another order than they are shown; `None` when the SPS leaves it open.
    pub(super) fn reordered(&self) -> Option<bool> {
        Sps::read(self.first_sps()?)?.reordered
    }

    fn first_sps(&self) -> Option<&[u8]> {
        self.sets.iter().find(|set| set.kind == SPS).map(|set| set.nal.as_slice())
    }

    /// Takes a SPS or PPS; true when it differs from the one that was in force under its id.
    fn note(&mut self, nal: &[u8]) -> bool {
        let kind = kind(nal);
        let Some(id) = parameter_set_id(nal) else { return false };
        match self.sets.iter_mut().find(|set| set.kind == kind && set.id == id) {
            Some(set) if set.nal == nal => false,
            Some(set) => {
                set.nal = nal.to_vec();
                true
            }
            None => {
                self.sets.push(ParameterSet { kind, id, nal: nal.to_vec() });
                self.sets.sort_by_key(|set| (set.kind, set.id));
                true
            }
        }
    }
}

/// `seq_parameter_set_id` or `pic_parameter_set_id`. No emulation prevention byte can stand before either.
fn parameter_set_id(nal: &[u8]) -> Option<u32> {
    let offset = if kind(nal) == SPS { 4 } else { 1 };
    let bytes = nal.get(offset..nal.len().min(offset + 8)).filter(|bytes| !bytes.is_empty())?;
    let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (8 - bytes.len()));
    let zeros = bits.leading_zeros();
    // ue(v); the ids go to 31 and 255, so more than 8 leading zeros is no id.
    (zeros <= 8).then(|| (bits << zeros >> (63 - zeros)) as u32 - 1)
}

/// Whether a slice of this access unit is a B slice, which may refer to pictures that are shown after it.
pub(super) fn has_b_slice(stream: &[u8]) -> bool {
    nals(stream).into_iter().map(|nal| &stream[nal]).any(|nal| matches!(kind(nal), 1..=IDR) && has_b_type(nal))
}

/// What an access unit is, once read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AccessUnit {
    /// An IDR picture, and the parameter sets that it needs are known.
    pub(super) keyframe: bool,
    /// A parameter set differs from the one before: what was cached cannot be decoded with it.
    pub(super) new_parameters: bool,
    /// The unit with parameter sets put in, when it is an IDR picture that came without them, or without those that are in it
    /// twice; else it goes as it came.
    pub(super) completed: Option<Vec<u8>>,
}

/// Reads an access unit, taking note of its parameter sets.
pub(super) fn read_access_unit(stream: &[u8], sets: &mut ParameterSets) -> AccessUnit {
    let mut nals: Vec<&[u8]> = nals(stream).into_iter().map(|nal| &stream[nal]).collect();
    let count = nals.len();
    drop_repeated_parameters(&mut nals, sets.sets.is_empty());
    let (mut idr, mut sps, mut pps, mut new_parameters) = (false, false, false, false);
    for nal in &nals {
        match kind(nal) {
            IDR => idr = true,
            SPS => {
                sps = true;
                new_parameters |= sets.note(nal);
            }
            PPS => {
                pps = true;
                new_parameters |= sets.note(nal);
            }
            _ => {}
        }
    }
    let known = |wanted| sets.sets.iter().any(|set| set.kind == wanted);
    let keyframe = idr && known(SPS) && known(PPS);
    if keyframe && !(sps && pps) {
        add_parameters(&mut nals, sets, sps, pps);
    }
    let completed = (nals.len() != count).then(|| annex_b(&nals));
    AccessUnit { keyframe, new_parameters, completed }
}

/// Drops parameter sets that others have put in a second time: in the `first` unit, `rtph264depay` puts those of the SDP before
/// the camera's own; and `rtph264pay config-interval=-1`, which many small cameras run, puts them before each slice of an IDR
/// picture, where they would start a new access unit (7.4.1.2.3).
fn drop_repeated_parameters(nals: &mut Vec<&[u8]>, first: bool) {
    let mut at = 0;
    let mut in_picture = false;
    while at < nals.len() {
        in_picture |= matches!(kind(nals[at]), 1..=IDR);
        let repeats = matches!(kind(nals[at]), SPS | PPS)
            && (in_picture && nals[..at].contains(&nals[at])
                || !in_picture && first && nals[at + 1..].contains(&nals[at]));
        if repeats {
            nals.remove(at);
        } else {
            at += 1;
        }
    }
}

fn add_parameters<'a>(nals: &mut Vec<&'a [u8]>, sets: &'a ParameterSets, sps: bool, pps: bool) {
    // An access unit delimiter, where there is one, comes first (H.264, 7.4.1.2.3); an SPS comes before a PPS that refers to it.
    let head = nals.iter().take_while(|nal| matches!(kind(nal), ACCESS_UNIT_DELIMITER | SPS)).count();
    let missing = sets.sets.iter().filter(|set| if set.kind == SPS { !sps } else { !pps });
    nals.splice(head..head, missing.map(|set| set.nal.as_slice()));
}

fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [0, 0, 0, 1].into_iter().chain(nal.iter().copied())).collect()
}

/// The payload of one packet of RFC 6184, packetization mode 1. Ranges are of the access unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// One NAL unit (5.6).
    Single(Range<usize>),
    /// Several small NAL units, copied (5.7.1, STAP-A).
    Aggregate(Vec<u8>),
    /// A part of a NAL unit (5.8, FU-A) behind its two header bytes.
    Fragment { head: [u8; 2], part: Range<usize> },
}

/// The packets of one access unit, in order.
pub(super) fn packets(stream: &[u8], max_payload: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut small: Vec<Range<usize>> = Vec::new();
    let mut small_size = 1;
    for nal in nals(stream) {
        let size = nal.len() + 2;
        if small_size + size > max_payload {
            aggregate(stream, &mut small, &mut packets);
            small_size = 1;
        }
        if nal.len() > max_payload {
            fragment(stream, &nal, max_payload, &mut packets);
        } else {
            small_size += size;
            small.push(nal);
        }
    }
    aggregate(stream, &mut small, &mut packets);
    packets
}

fn aggregate(stream: &[u8], small: &mut Vec<Range<usize>>, packets: &mut Vec<Packet>) {
    match small.as_slice() {
        [] => {}
        [one] => packets.push(Packet::Single(one.clone())),
        several => {
            // F is that of any, NRI the highest (5.7.1).
            let first = several.iter().fold(0, |byte, nal| {
                let nal = stream[nal.start];
                (byte & 0x80 | nal & 0x80) | (byte & 0x60).max(nal & 0x60)
            });
            let mut payload = vec![first | STAP_A];
            for nal in several {
                // invariant: a NAL unit here is shorter than a packet, so its size fits 16 bits.
                payload.extend_from_slice(&(nal.len() as u16).to_be_bytes());
                payload.extend_from_slice(&stream[nal.clone()]);
            }
            packets.push(Packet::Aggregate(payload));
        }
    }
    small.clear();
}

fn fragment(stream: &[u8], nal: &Range<usize>, max_payload: usize, packets: &mut Vec<Packet>) {
    let header = stream[nal.start];
    let mut at = nal.start + 1;
    while at < nal.end {
        let end = nal.end.min(at + max_payload - 2);
        let start_bit = if at == nal.start + 1 { 0x80 } else { 0 };
        let end_bit = if end == nal.end { 0x40 } else { 0 };
        packets.push(Packet::Fragment {
            head: [header & 0xe0 | FU_A, start_bit | end_bit | header & 0x1f],
            part: at..end,
        });
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS_NAL: [u8; 6] = [0x67, 0x42, 0xc0, 0x1e, 0xda, 0x01];
    const PPS_NAL: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

    fn stream(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
    }

    fn split(stream: &[u8]) -> Vec<Vec<u8>> {
        nals(stream).into_iter().map(|nal| stream[nal].to_vec()).collect()
    }

    /// The receiving side of RFC 6184, written apart from the sending one.
    fn depayload(stream: &[u8], packets: &[Packet]) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for packet in packets {
            match packet {
                Packet::Single(nal) => found.push(stream[nal.clone()].to_vec()),
                Packet::Aggregate(payload) => {
                    let mut rest = &payload[1..];
                    while let [high, low, tail @ ..] = rest {
                        let (nal, tail) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                        found.push(nal.to_vec());
                        rest = tail;
                    }
                }
                Packet::Fragment { head, part } => {
                    if head[1] & 0x80 != 0 {
                        found.push(vec![head[0] & 0xe0 | head[1] & 0x1f]);
                    }
                    found.last_mut().unwrap().extend_from_slice(&stream[part.clone()]);
                }
            }
        }
        found
    }

    #[test]
    fn start_codes_of_three_and_four_bytes_delimit_the_same_nal_units() {
        let stream =
            [&[0, 0, 0, 1][..], &[0x09, 0xf0], &[0, 0, 1], &SPS_NAL, &[0, 0, 0, 0, 1], &[0x65, 1, 0, 0, 3, 1], &[0, 0]]
                .concat();
        assert_eq!(split(&stream), [&[0x09, 0xf0][..], &SPS_NAL, &[0x65, 1, 0, 0, 3, 1]]);
        assert!(split(&[]).is_empty() && split(&[0, 0, 1]).is_empty() && split(&[7, 7, 7]).is_empty());
    }

    #[test]
    fn an_idr_picture_without_parameter_sets_is_completed_once_they_are_known() {
        let mut sets = ParameterSets::default();
        let bare = stream(&[&[0x09, 0x10], &[0x65, 1, 2]]);
        assert!(!read_access_unit(&bare, &mut sets).keyframe, "nothing could decode it");

        let parameters = read_access_unit(&stream(&[&SPS_NAL, &PPS_NAL, &[0x41, 9]]), &mut sets);
        assert!(parameters.new_parameters && !parameters.keyframe);
        assert_eq!(sets.profile_level_id(), Some([0x42, 0xc0, 0x1e]));

        let unit = read_access_unit(&bare, &mut sets);
        assert!(unit.keyframe && !unit.new_parameters);
        assert_eq!(split(&unit.completed.unwrap()), [&[0x09, 0x10][..], &SPS_NAL, &PPS_NAL, &[0x65, 1, 2]]);
    }

    #[test]
    fn a_complete_idr_picture_goes_as_it_came() {
        let mut sets = ParameterSets::default();
        let unit = read_access_unit(&stream(&[&SPS_NAL, &PPS_NAL, &[0x65, 1, 2]]), &mut sets);
        assert!(unit.keyframe && unit.new_parameters && unit.completed.is_none());
    }

    #[test]
    fn parameter_sets_that_the_depayloader_repeats_are_left_out() {
        let mut sets = ParameterSets::default();
        let first = [&SPS_NAL[..], &PPS_NAL, &[0x09, 0x10], &SPS_NAL, &PPS_NAL, &[0x65, 1, 2]];
        let unit = read_access_unit(&stream(&first), &mut sets);
        assert_eq!(split(&unit.completed.unwrap()), first[2..]);
        assert!(read_access_unit(&stream(&first), &mut sets).completed.is_none(), "later it is the camera's own doing");
    }

    #[test]
    fn parameter_sets_between_the_slices_of_a_picture_are_left_out() {
        let mut sets = ParameterSets::default();
        read_access_unit(&stream(&[&SPS_NAL, &PPS_NAL, &[0x65, 1, 2]]), &mut sets);
        let unit = [&SPS_NAL[..], &PPS_NAL, &[0x65, 1, 2], &SPS_NAL, &PPS_NAL, &[0x65, 3, 4]];
        let read = read_access_unit(&stream(&unit), &mut sets);
        assert_eq!(split(&read.completed.unwrap()), [&SPS_NAL[..], &PPS_NAL, &[0x65, 1, 2], &[0x65, 3, 4]]);
        assert!(read.keyframe);
    }

    #[test]
    fn parameter_sets_are_told_apart_by_their_ids() {
        let mut sets = ParameterSets::default();
        // pic_parameter_set_id 0 is the bit 1, 1 is 010.
        assert!(sets.note(&PPS_NAL) && sets.note(&[0x68, 0b0101_1111, 1]));
        assert!(!sets.note(&PPS_NAL) && !sets.note(&[0x68, 0b0101_1111, 1]));
        assert!(sets.note(&[0x68, 0b0101_1111, 2]), "the same id, other content");
        assert_eq!(sets.sets.len(), 2);
    }

    #[test]
    fn a_parameter_set_that_is_cut_off_is_none() {
        let mut sets = ParameterSets::default();
        for nal in [&SPS_NAL[..], &PPS_NAL] {
            for length in 0..=offset_of_id(nal) {
                assert!(!sets.note(&nal[..length]), "{length} bytes");
            }
        }
        assert!(!sets.note(&[0x68, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "no id has so many zeros");
    }

    fn offset_of_id(nal: &[u8]) -> usize {
        if kind(nal) == SPS { 4 } else { 1 }
    }

    #[test]
    fn packets_give_back_every_nal_unit_bit_for_bit() {
        let long: Vec<u8> = std::iter::once(0x65).chain((0..5000).map(|i| (i % 250 + 4) as u8)).collect();
        let exact: Vec<u8> = std::iter::once(0x41).chain(std::iter::repeat_n(7, MAX_PAYLOAD - 1)).collect();
        let one_over: Vec<u8> = std::iter::once(0x01).chain(std::iter::repeat_n(8, MAX_PAYLOAD)).collect();
        let sent: Vec<&[u8]> = vec![&[0x09, 0xf0], &SPS_NAL, &PPS_NAL, &long, &exact, &one_over, &[0x06, 5]];
        let stream = stream(&sent);

        let packets = packets(&stream, MAX_PAYLOAD);

        assert_eq!(depayload(&stream, &packets), sent);
        assert!(matches!(&packets[0], Packet::Aggregate(payload) if payload[0] == 0x60 | STAP_A));
        for packet in &packets {
            let size = match packet {
                Packet::Single(nal) => nal.len(),
                Packet::Aggregate(payload) => payload.len(),
                Packet::Fragment { part, .. } => part.len() + 2,
            };
            assert!(size <= MAX_PAYLOAD);
        }
    }
}
