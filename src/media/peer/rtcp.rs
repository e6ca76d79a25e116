//! What the other side's RTCP says of the packets that we sent: how many it lost (RFC 3550, section 6.4), and which of them it wants again
//! (RFC 4585, section 6.2.1).
//!
//! `webrtcbin`'s own statistics keep only the last report block of a packet, so of two tracks they show one; and it answers a NACK by nothing but
//! RTX.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gst::glib;
use gst::prelude::*;

use super::resend::Wanted;

/// The first SSRCs that are reported on; more than our own tracks and their retransmissions there cannot be.
const MAX_SSRCS: usize = 8;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
/// Transport layer feedback; with format 1 a NACK.
const TRANSPORT_FEEDBACK: u8 = 205;
const NACK: u8 = 1;
/// Bytes of a report block.
const BLOCK: usize = 24;

/// What RTCP said so far.
#[derive(Debug, Default)]
pub(in crate::media) struct Feedback {
    /// Lost packets by our SSRC.
    lost: Mutex<HashMap<u32, u64>>,
    pub(in crate::media) wanted: Arc<Wanted>,
}

impl Feedback {
    /// Reads every RTCP packet that `session` (rtpbin's internal one) receives.
    pub(in crate::media) fn attach(self: &Arc<Self>, session: &glib::Object) {
        let weak = Arc::downgrade(self);
        session.connect("on-receiving-rtcp", false, move |values| {
            let packet = values.get(1).and_then(|value| value.get::<gst::Buffer>().ok());
            if let (Some(feedback), Some(packet)) = (weak.upgrade(), packet)
                && let Ok(bytes) = packet.map_readable()
            {
                feedback.note(&bytes);
            }
            None
        });
    }

    fn note(&self, compound: &[u8]) {
        let mut lost_of = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in packets(compound) {
            for (ssrc, lost) in report_blocks(&packet) {
                if lost_of.contains_key(&ssrc) || lost_of.len() < MAX_SSRCS {
                    lost_of.insert(ssrc, lost);
                }
            }
            for (ssrc, number) in nacks(&packet) {
                self.wanted.ask(ssrc, number);
            }
        }
    }

    pub(in crate::media) fn lost(&self, ssrc: u32) -> u64 {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(&ssrc).copied().unwrap_or(0)
    }
}

/// One packet of a compound one (RFC 3550, section 6.1).
struct Packet<'a> {
    /// The 5 bits that count report blocks or say the format.
    count: u8,
    kind: u8,
    /// After the header's 4 bytes.
    body: &'a [u8],
}

/// The packets of a compound one, up to the first that does not fit.
fn packets(mut rest: &[u8]) -> Vec<Packet<'_>> {
    let mut packets = Vec::new();
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some((packet, after)) = rest.split_at_checked(length) else { break };
        packets.push(Packet { count: first & 0x1f, kind, body: packet.get(4..).unwrap_or_default() });
        rest = after;
    }
    packets
}

/// (SSRC, cumulative number of packets lost) of every report block.
fn report_blocks(packet: &Packet<'_>) -> Vec<(u32, u64)> {
    let at = match packet.kind {
        SENDER_REPORT => 24,
        RECEIVER_REPORT => 4,
        _ => return Vec::new(),
    };
    let blocks = packet.body.get(at..).unwrap_or_default().chunks_exact(BLOCK).take(packet.count.into());
    let read = |block: &[u8]| match *block {
        [a, b, c, d, _, x, y, z, ..] => {
            // 24 bits with a sign: duplicates can make it negative.
            let lost = i32::from_be_bytes([x, y, z, 0]) >> 8;
            Some((u32::from_be_bytes([a, b, c, d]), u64::try_from(lost).unwrap_or(0)))
        }
        _ => None,
    };
    blocks.filter_map(read).collect()
}

/// (SSRC, sequence number) of every packet that a NACK asks for.
fn nacks(packet: &Packet<'_>) -> Vec<(u32, u16)> {
    let [_, _, _, _, a, b, c, d, ref list @ ..] = *packet.body else { return Vec::new() };
    if (packet.kind, packet.count) != (TRANSPORT_FEEDBACK, NACK) {
        return Vec::new();
    }
    let ssrc = u32::from_be_bytes([a, b, c, d]);
    let mut numbers = Vec::new();
    for entry in list.chunks_exact(4) {
        if let [high, low, mask_high, mask_low] = *entry {
            let (first, mask) = (u16::from_be_bytes([high, low]), u16::from_be_bytes([mask_high, mask_low]));
            numbers.push((ssrc, first));
            let following = (0..16_u16).filter(|bit| mask & (1 << bit) != 0);
            numbers.extend(following.map(|bit| (ssrc, first.wrapping_add(bit + 1))));
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ssrc: u32, lost: [u8; 3]) -> Vec<u8> {
        let mut bytes = ssrc.to_be_bytes().to_vec();
        bytes.push(0);
        bytes.extend(lost);
        bytes.resize(BLOCK, 0);
        bytes
    }

    fn read(compound: &[u8]) -> Vec<(u32, u64)> {
        packets(compound).iter().flat_map(report_blocks).collect()
    }

    #[test]
    fn every_block_of_a_compound_packet_is_read() {
        let mut packet = vec![0x82, RECEIVER_REPORT, 0, 13, 0, 0, 0, 9];
        packet.extend(block(1, [0, 1, 2]));
        packet.extend(block(2, [0xff, 0xff, 0xff]));
        packet.extend([0x80, 206, 0, 1, 0, 0, 0, 9]);
        let mut sender_report = vec![0x81, SENDER_REPORT, 0, 12];
        sender_report.resize(28, 0);
        sender_report.extend(block(3, [0, 0, 7]));
        packet.extend(sender_report);
        assert_eq!(read(&packet), [(1, 258), (2, 0), (3, 7)]);
    }

    #[test]
    fn no_cut_of_a_packet_panics() {
        let mut packet = vec![0x9f, RECEIVER_REPORT, 0, 7, 0, 0, 0, 9];
        packet.extend(block(1, [0, 1, 2]));
        for end in 0..packet.len() {
            assert_eq!(read(&packet[..end]), []);
        }
        assert_eq!(read(&packet), [(1, 258)]);
    }

    #[test]
    fn a_nack_names_a_packet_and_those_of_its_mask() {
        let packet = [0x81, TRANSPORT_FEEDBACK, 0, 3, 0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0x80, 0x01];
        let wanted: Vec<_> = packets(&packet).iter().flat_map(nacks).collect();
        assert_eq!(wanted, [(1, 65_535), (1, 0), (1, 15)]);
        for end in 0..packet.len() {
            assert!(packets(&packet[..end]).iter().all(|packet| nacks(packet).is_empty()));
        }
    }

    #[test]
    fn strangers_cannot_grow_the_table() {
        let feedback = Feedback::default();
        for ssrc in 0..100 {
            let mut packet = vec![0x81, RECEIVER_REPORT, 0, 7, 0, 0, 0, 9];
            packet.extend(block(ssrc, [0, 0, 1]));
            feedback.note(&packet);
        }
        assert_eq!(feedback.lost.lock().unwrap().len(), MAX_SSRCS);
    }
}
