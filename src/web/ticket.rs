//! Tickets: what a page puts behind the address of a picture or a recording, which a browser fetches without the API's token.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use rand::RngCore as _;
use sha2::Sha256;

/// How long a ticket is good, in seconds: a recording is looked at for an evening.
const GOOD_FOR: u64 = 12 * 3600;

/// Makes tickets, each good for one path, and knows its own. They end with the process.
#[derive(Clone)]
pub(super) struct Tickets([u8; 32]);

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets(***)")
    }
}

impl Tickets {
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        Self(secret)
    }

    /// The path with a ticket for it.
    pub(super) fn on(&self, path: &str) -> String {
        let until = now() + GOOD_FOR;
        format!("{path}?ticket={until}-{}", self.seal(path, until))
    }

    /// Whether a query has a ticket for this path that is still good.
    pub(super) fn is_good(&self, path: &str, query: &str) -> bool {
        let ticket = query.split('&').find_map(|pair| pair.strip_prefix("ticket="));
        let Some((until, seal)) = ticket.and_then(|ticket| ticket.split_once('-')) else { return false };
        let Ok(until) = until.parse::<u64>() else { return false };
        // Both in hex: the comparison of what is decoded takes the same time wherever they differ.
        let seal: Option<Vec<u8>> = (0..seal.len() / 2)
            .map(|at| seal.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        until >= now()
            && seal.is_some_and(|seal| self.mac(path, until).is_some_and(|mac| mac.verify_slice(&seal).is_ok()))
    }

    fn seal(&self, path: &str, until: u64) -> String {
        let mut text = String::new();
        for byte in self.mac(path, until).map(|mac| mac.finalize().into_bytes()).unwrap_or_default() {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Always there: keys of any length will do.
    fn mac(&self, path: &str, until: u64) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(&until.to_be_bytes());
        mac.update(path.as_bytes());
        Some(mac)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_its_path_and_nothing_else() {
        let tickets = Tickets::new();
        let with = tickets.on("/api/recordings/r1/media");
        let (path, query) = with.split_once('?').unwrap();
        assert!(tickets.is_good(path, query));
        assert!(tickets.is_good(path, &format!("a=b&{query}")));
        assert!(!tickets.is_good("/api/recordings/r2/media", query));
        assert!(!Tickets::new().is_good(path, query), "another process's");
        let (_, seal) = query.split_once('-').unwrap();
        for bad in [
            format!("ticket={}-{seal}", u64::MAX),
            format!("ticket=0-{seal}"),
            format!("ticket=-{seal}"),
            query.replace(&seal[..2], "é"),
            query[..query.len() - 2].to_owned(),
            "ticket=".to_owned(),
            String::new(),
        ] {
            assert!(!tickets.is_good(path, &bad), "{bad}");
        }
        let over = format!("ticket=1-{}", tickets.seal(path, 1));
        assert!(!tickets.is_good(path, &over));
    }
}
