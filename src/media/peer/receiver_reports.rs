//! Packets lost on the way to the other side, as its RTCP receiver reports say (RFC 3550, section 6.4).
//!
//! `webrtcbin`'s own statistics keep only the last report block of a packet, so of two tracks they show one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gst::glib;
use gst::prelude::*;

/// The first SSRCs that are reported on; more than our own tracks and their retransmissions there cannot be.
const MAX_SSRCS: usize = 8;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
/// Bytes of a report block.
const BLOCK: usize = 24;

/// Lost packets by our SSRC.
#[derive(Debug, Default)]
pub(in crate::media) struct ReceiverReports(Mutex<HashMap<u32, u64>>);

impl ReceiverReports {
    /// Reads every RTCP packet that `session` (rtpbin's internal one) receives.
    pub(in crate::media) fn attach(self: &Arc<Self>, session: &glib::Object) {
        let weak = Arc::downgrade(self);
        session.connect("on-receiving-rtcp", false, move |values| {
            let packet = values.get(1).and_then(|value| value.get::<gst::Buffer>().ok());
            if let (Some(reports), Some(packet)) = (weak.upgrade(), packet)
                && let Ok(bytes) = packet.map_readable()
            {
                reports.note(&bytes);
            }
            None
        });
    }

    fn note(&self, packet: &[u8]) {
        let mut lost_of = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (ssrc, lost) in report_blocks(packet) {
            if lost_of.contains_key(&ssrc) || lost_of.len() < MAX_SSRCS {
                lost_of.insert(ssrc, lost);
            }
        }
    }

    pub(in crate::media) fn lost(&self, ssrc: u32) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&ssrc).copied().unwrap_or(0)
    }
}

/// (SSRC, cumulative number of packets lost) of every report block in a compound packet. Stops at the first thing that does not fit.
fn report_blocks(mut rest: &[u8]) -> Vec<(u32, u64)> {
    let mut blocks = Vec::new();
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some((packet, after)) = rest.split_at_checked(length) else { break };
        let at = match kind {
            SENDER_REPORT => 28,
            RECEIVER_REPORT => 8,
            _ => length,
        };
        let count = usize::from(first & 0x1f);
        for block in packet.get(at..).unwrap_or_default().chunks_exact(BLOCK).take(count) {
            if let [a, b, c, d, _, x, y, z, ..] = *block {
                // 24 bits with a sign: duplicates can make it negative.
                let lost = i32::from_be_bytes([x, y, z, 0]) >> 8;
                blocks.push((u32::from_be_bytes([a, b, c, d]), u64::try_from(lost).unwrap_or(0)));
            }
        }
        rest = after;
    }
    blocks
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
        assert_eq!(report_blocks(&packet), [(1, 258), (2, 0), (3, 7)]);
    }

    #[test]
    fn no_cut_of_a_packet_panics() {
        let mut packet = vec![0x9f, RECEIVER_REPORT, 0, 7, 0, 0, 0, 9];
        packet.extend(block(1, [0, 1, 2]));
        for end in 0..packet.len() {
            assert_eq!(report_blocks(&packet[..end]), []);
        }
        assert_eq!(report_blocks(&packet), [(1, 258)]);
    }

    #[test]
    fn strangers_cannot_grow_the_table() {
        let reports = ReceiverReports::default();
        for ssrc in 0..100 {
            let mut packet = vec![0x81, RECEIVER_REPORT, 0, 7, 0, 0, 0, 9];
            packet.extend(block(ssrc, [0, 0, 1]));
            reports.note(&packet);
        }
        assert_eq!(reports.0.lock().unwrap().len(), MAX_SSRCS);
    }
}
