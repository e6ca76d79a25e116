//! Which DTLS records may reach OpenSSL.
//!
//! A record that cannot be genuine is to be dropped without a word (RFC 6347, section 4.1.2.7). OpenSSL 3.0 does so, but for a protected
//! record that is shorter than what its cipher adds to it: that counts as a fault of its own, and ends the connection. Whoever can send a
//! datagram in the other side's name could hang up with it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The least that a cipher suite of DTLS 1.2 adds to a record, in bytes: ChaCha20-Poly1305's tag.
const LEAST_OVERHEAD: usize = 16;
/// The most, in bytes: AES-CBC with SHA-384, as its `Finished` shows it.
const MOST_OVERHEAD: usize = 72;
/// A `Finished` before it is protected, in bytes: the handshake header and what is verified.
const FINISHED: usize = 24;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Looks at one connection's incoming datagrams.
#[derive(Debug)]
pub(super) struct Records {
    /// What the cipher suite adds to a record, as far as it is known. Its name is not to be had from GStreamer; its `Finished` shows it.
    overhead: AtomicUsize,
}

impl Default for Records {
    fn default() -> Self {
        Self { overhead: AtomicUsize::new(MOST_OVERHEAD + 1) }
    }
}

impl Records {
    /// Whether a datagram may go on: all but DTLS whose records are broken or too short. `handshaking`: until the connection is up its
    /// `Finished` tells what the cipher adds; later ones are anybody's.
    pub(super) fn admit(&self, datagram: &[u8], handshaking: impl Fn() -> bool) -> bool {
        // RFC 7983, section 7: DTLS, told from STUN, TURN channels and RTP.
        if !matches!(datagram.first(), Some(20..=63)) {
            return true;
        }
        let mut rest = datagram;
        while !rest.is_empty() {
            // RFC 6347, section 4.1: content type, version, epoch, sequence number, length.
            let &[content @ 20..=24, 0xfe, _, epoch_high, epoch_low, _, _, _, _, _, _, high, low, ref body @ ..] = rest
            else {
                return false;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some(after) = body.get(length..) else { return false };
            let protected = (epoch_high, epoch_low) != (0, 0);
            if protected && !self.can_be_protected(content, length, &handshaking) {
                return false;
            }
            rest = after;
        }
        true
    }

    /// Whether a datagram that was admitted is a protected alert: a goodbye, if it is genuine.
    pub(super) fn is_alert(datagram: &[u8]) -> bool {
        let [ALERT, _, _, epoch_high, epoch_low, ..] = *datagram else { return false };
        (epoch_high, epoch_low) != (0, 0)
    }

    fn can_be_protected(&self, content: u8, length: usize, handshaking: impl Fn() -> bool) -> bool {
        let shown = length.saturating_sub(FINISHED);
        if content == HANDSHAKE && (LEAST_OVERHEAD..=MOST_OVERHEAD).contains(&shown) && handshaking() {
            // The least of several: a forged one can only make the rule weaker, never keep the genuine ones out.
            self.overhead.fetch_min(shown, Ordering::Relaxed);
        }
        let known = self.overhead.load(Ordering::Relaxed);
        length > if known > MOST_OVERHEAD { LEAST_OVERHEAD } else { known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: u8, epoch: u8, length: usize) -> Vec<u8> {
        let [high, low] = (length as u16).to_be_bytes();
        let mut record = vec![content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 7, high, low];
        record.resize(13 + length, 0xab);
        record
    }

    #[test]
    fn an_alert_is_known_once_it_is_protected() {
        assert!(Records::is_alert(&record(ALERT, 1, 26)));
        assert!(!Records::is_alert(&record(ALERT, 0, 2)));
        assert!(!Records::is_alert(&record(HANDSHAKE, 1, 48)));
        assert!(!Records::is_alert(&[ALERT]));
    }

    #[test]
    fn what_is_not_dtls_passes() {
        let records = Records::default();
        for datagram in [&[][..], &[0, 1, 0], &[0x80, 96], &[64; 20], &[19]] {
            assert!(records.admit(datagram, || false));
        }
    }

    #[test]
    fn a_record_must_be_whole_and_of_a_known_kind() {
        let records = Records::default();
        let whole = record(HANDSHAKE, 0, 40);
        assert!(records.admit(&whole, || true));
        assert!(records.admit(&[whole.clone(), record(20, 0, 1)].concat(), || true), "several in one datagram");
        assert!(!records.admit(&whole[..52], || true), "cut short");
        assert!(!records.admit(&[whole.clone(), vec![22]].concat(), || true), "with a rest");
        assert!(!records.admit(&record(25, 0, 40), || true));
        assert!(!records.admit(&record(33, 0, 40), || true));
    }

    #[test]
    fn a_protected_record_is_longer_than_what_its_cipher_adds() {
        // AES-GCM adds 24 bytes, ChaCha20-Poly1305 16; an alert has 2 of its own.
        for overhead in [24, 16] {
            let records = Records::default();
            assert!(!records.admit(&record(ALERT, 1, LEAST_OVERHEAD), || true), "no cipher adds less");
            assert!(records.admit(&record(HANDSHAKE, 1, FINISHED + overhead), || true));
            assert!(records.admit(&record(ALERT, 1, overhead + 2), || false), "a genuine alert");
            assert!(!records.admit(&record(ALERT, 1, overhead), || false));
            assert!(!records.admit(&[record(ALERT, 1, overhead + 2), record(ALERT, 1, 0)].concat(), || false));
            assert!(records.admit(&record(ALERT, 0, 2), || false), "one that is not protected is OpenSSL's to drop");
        }
    }

    #[test]
    fn once_the_connection_is_up_nobody_changes_the_rule_and_before_nobody_keeps_the_genuine_out() {
        let records = Records::default();
        records.admit(&record(HANDSHAKE, 1, FINISHED + MOST_OVERHEAD), || true);
        assert!(records.admit(&record(HANDSHAKE, 1, FINISHED + 24), || true));
        records.admit(&record(HANDSHAKE, 1, FINISHED + 16), || false);
        assert!(!records.admit(&record(ALERT, 1, 18), || false));
    }
}
