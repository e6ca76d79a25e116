//! Video packets that a caller lost are sent again, as they were: on the same SSRC with the same number (RFC 4585). A camera takes no keyframe
//! request, so without this every loss would spoil the picture up to its next keyframe.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Packets that are kept: 2 s of 2 Mbit/s. They share their payload with the hub and all other callers.
pub(super) const KEPT: usize = 512;
/// Wishes that can wait until the next packet goes out, 20-40 ms later. What is asked for beyond that is not sent.
const MAX_WISHES: usize = 128;

/// What the other side wants again.
#[derive(Debug, Default)]
pub(in crate::media) struct Wanted(Mutex<Vec<(u32, u16)>>);

impl Wanted {
    pub(super) fn ask(&self, ssrc: u32, number: u16) {
        let mut wishes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wishes.len() < MAX_WISHES && !wishes.contains(&(ssrc, number)) {
            wishes.push((ssrc, number));
        }
    }

    fn take(&self) -> Vec<(u32, u16)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The last packets of one stream.
#[derive(Debug, Default)]
pub(super) struct History {
    /// With their sequence numbers, in order.
    packets: VecDeque<(u16, gst::Buffer)>,
}

impl History {
    pub(super) fn keep(&mut self, packets: &gst::BufferListRef) {
        for packet in packets.iter_owned() {
            let mut number = [0; 2];
            // Copying out of a shorter buffer would panic.
            if packet.size() >= 4 && packet.copy_to_slice(2, &mut number).is_ok() {
                if self.packets.len() == KEPT {
                    self.packets.pop_front();
                }
                self.packets.push_back((u16::from_be_bytes(number), packet));
            }
        }
    }

    /// Those of `wanted` that are of this stream and still here.
    pub(super) fn again(&self, ssrc: u32, wanted: &Wanted) -> Vec<gst::Buffer> {
        let kept = |number: u16| {
            let (first, _) = self.packets.front()?;
            let (found, packet) = self.packets.get(usize::from(number.wrapping_sub(*first)))?;
            (*found == number).then(|| packet.clone())
        };
        wanted.take().into_iter().filter(|(of, _)| *of == ssrc).filter_map(|(_, number)| kept(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u16) -> gst::Buffer {
        let [high, low] = number.to_be_bytes();
        gst::Buffer::from_slice([0x80, 96, high, low, 0, 0, 0, 0, 0, 0, 0, 7])
    }

    fn history(numbers: impl IntoIterator<Item = u16>) -> History {
        let mut history = History::default();
        for number in numbers {
            let mut list = gst::BufferList::new();
            list.get_mut().unwrap().add(packet(number));
            history.keep(&list);
        }
        history
    }

    fn numbers(packets: &[gst::Buffer]) -> Vec<u16> {
        let number = |packet: &gst::Buffer| {
            let mut number = [0; 2];
            packet.copy_to_slice(2, &mut number).unwrap();
            u16::from_be_bytes(number)
        };
        packets.iter().map(number).collect()
    }

    #[test]
    fn what_is_asked_for_once_is_sent_once_also_where_numbers_wrap() {
        gst::init().unwrap();
        let history = history((65_500..=65_535).chain(0..=20));
        let wanted = Wanted::default();
        for number in [65_501, 65_535, 3, 65_501] {
            wanted.ask(7, number);
        }
        assert_eq!(numbers(&history.again(7, &wanted)), [65_501, 65_535, 3]);
        assert!(history.again(7, &wanted).is_empty());
    }

    #[test]
    fn what_is_not_ours_or_too_old_is_not_sent() {
        gst::init().unwrap();
        let history = history(0..600);
        let wanted = Wanted::default();
        for (ssrc, number) in [(8, 599), (7, 87), (7, 600), (7, 88)] {
            wanted.ask(ssrc, number);
        }
        assert_eq!(numbers(&history.again(7, &wanted)), [88]);
        wanted.ask(7, 88);
        assert!(History::default().again(7, &wanted).is_empty());
    }

    #[test]
    fn wishes_are_bounded() {
        let wanted = Wanted::default();
        (0..1000).for_each(|number| wanted.ask(7, number));
        assert_eq!(wanted.take().len(), MAX_WISHES);
    }
}
