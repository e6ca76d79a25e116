//! ICE candidates (RFC 8839 section 5.1), IP literals only.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::SdpReject;
use super::lines::{is_token, number};

/// Bytes of a candidate. Real ones stay under 200.
const MAX_CANDIDATE: usize = 512;

/// How a candidate's address was found (RFC 8839, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateKind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relayed,
}

impl CandidateKind {
    fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }
}

/// A candidate that passed the guard. Its [`Candidate::text`] is made of these fields, not of what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub foundation: String,
    pub priority: u32,
    pub address: IpAddr,
    pub port: u16,
    pub kind: CandidateKind,
}

impl Candidate {
    /// Reads `candidate:...`, with or without a leading `a=`. UDP, component 1.
    ///
    /// `Ok(None)`: legal and of no use to us (a `.local` name, TCP, component 2, an address that nobody can have, an empty
    /// end-of-candidates).
    ///
    /// # Errors
    /// [`SdpReject`] when it is not a candidate at all.
    pub fn read(text: &str) -> Result<Option<Self>, SdpReject> {
        let reject = |what| Err(SdpReject { line: 0, what });
        if text.len() > MAX_CANDIDATE || !text.trim_end().bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return reject("a candidate that is too long or not printable ASCII");
        }
        let text = text.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        if text.is_empty() || text == "end-of-candidates" {
            return Ok(None);
        }
        let Some(fields) = text.strip_prefix("candidate:") else {
            return reject("a candidate must begin with candidate:");
        };
        let mut words = fields.split_ascii_whitespace();
        let mut word = || words.next().unwrap_or_default();
        let (foundation, component, transport, priority) = (word(), word(), word(), word());
        let (address, port, typ, kind) = (word(), word(), word(), word());
        // RFC 8839 has ice-chars only here; "-" and "_" are harmless and have been seen.
        let in_foundation = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
        if !(1..=32).contains(&foundation.len()) || !foundation.bytes().all(in_foundation) {
            return reject("a candidate's foundation must be 1 to 32 ice-chars");
        }
        let Some(component) = number::<u16>(component) else {
            return reject("a candidate's component must be a number");
        };
        let Some(priority) = number::<u32>(priority) else { return reject("a candidate's priority must be a number") };
        let Some(port) = number::<u16>(port) else { return reject("a candidate's port must be 0 to 65535") };
        if !is_token(transport, 16) || !(1..=255).contains(&address.len()) || typ != "typ" || !is_token(kind, 16) {
            return reject("a candidate must have a transport, an address, a port and a type");
        }
        let kind = match kind {
            "host" => CandidateKind::Host,
            "srflx" => CandidateKind::ServerReflexive,
            "prflx" => CandidateKind::PeerReflexive,
            "relay" => CandidateKind::Relayed,
            _ => return Ok(None),
        };
        let address = match address.parse::<IpAddr>() {
            Ok(address) if component == 1 && port != 0 && transport.eq_ignore_ascii_case("udp") => {
                address.to_canonical()
            }
            _ => return Ok(None),
        };
        if !can_be_probed(address) {
            return Ok(None);
        }
        Ok(Some(Self { foundation: foundation.to_owned(), priority, address, port, kind }))
    }

    /// `candidate:...`, as `webrtcbin`'s add-ice-candidate takes it.
    pub fn text(&self) -> String {
        let Self { foundation, priority, address, port, kind } = self;
        let mut text = format!("candidate:{foundation} 1 UDP {priority} {address} {port} typ {}", kind.word());
        if *kind != CandidateKind::Host {
            // RFC 8839 wants a related address; nobody needs to know it (RFC 8828).
            let nowhere = if address.is_ipv4() { "0.0.0.0" } else { "::" };
            // Writing to a String does not fail.
            let _ = write!(text, " raddr {nowhere} rport 0");
        }
        text
    }
}

/// Whether one host can have this address, as seen from another.
fn can_be_probed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !v4.is_unspecified() && !v4.is_multicast() && v4 != Ipv4Addr::BROADCAST && v4.octets()[0] != 0
        }
        // Link-local ones need a zone, which a candidate cannot carry.
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_real_clients_are_read_and_written_anew() {
        let cases = [
            (
                "candidate:3077540728 1 udp 2113937151 192.0.2.7 59169 typ host generation 0 network-cost 999",
                "candidate:3077540728 1 UDP 2113937151 192.0.2.7 59169 typ host",
            ),
            (
                "a=candidate:0 1 UDP 2122187007 2001:db8::7 5 typ host\r\n",
                "candidate:0 1 UDP 2122187007 2001:db8::7 5 typ host",
            ),
            (
                "candidate:842163049 1 udp 1677729535 203.0.113.9 40000 typ srflx raddr 10.0.0.5 rport 40000 generation 0 ufrag x",
                "candidate:842163049 1 UDP 1677729535 203.0.113.9 40000 typ srflx raddr 0.0.0.0 rport 0",
            ),
            (
                "candidate:5 1 udp 4294967295 ::ffff:203.0.113.9 1 typ relay raddr :: rport 9",
                "candidate:5 1 UDP 4294967295 203.0.113.9 1 typ relay raddr 0.0.0.0 rport 0",
            ),
        ];
        for (given, then) in cases {
            let candidate = Candidate::read(given).unwrap().unwrap();
            assert_eq!(candidate.text(), then);
            assert_eq!(Candidate::read(&candidate.text()).unwrap(), Some(candidate));
        }
    }

    #[test]
    fn legal_candidates_of_no_use_are_dropped() {
        for text in [
            "",
            "a=end-of-candidates",
            "candidate:0 1 UDP 2122187007 debe0245-1495-4ee6-96e4-5be2fb20a7e4.local 59233 typ host",
            "candidate:2 1 TCP 2105458943 192.0.2.7 9 typ host tcptype active",
            "candidate:0 2 UDP 2122187006 192.0.2.7 54223 typ host",
            "candidate:0 1 UDP 1 192.0.2.7 0 typ host",
            "candidate:0 1 UDP 1 0.0.0.0 9 typ host",
            "candidate:0 1 UDP 1 0.1.2.3 9 typ host",
            "candidate:0 1 UDP 1 255.255.255.255 9 typ host",
            "candidate:0 1 UDP 1 224.0.0.251 5353 typ host",
            "candidate:0 1 UDP 1 :: 9 typ host",
            "candidate:0 1 UDP 1 ff02::fb 5353 typ host",
            "candidate:0 1 UDP 1 fe80::1 9 typ host",
            "candidate:0 1 UDP 1 fe80::1%eth0 9 typ host",
            "candidate:0 1 UDP 1 example.com 9 typ host",
            "candidate:0 1 UDP 1 192.0.2.7 9 typ future",
        ] {
            assert_eq!(Candidate::read(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_is_no_candidate_is_refused() {
        for text in [
            "candidate:",
            "candidate:0",
            "candidat:0 1 UDP 1 192.0.2.7 9 typ host",
            "candidate:0 1 UDP 1 192.0.2.7 9 host",
            "candidate:0 1 UDP 1 192.0.2.7 9 typ",
            "candidate:0 1 UDP -1 192.0.2.7 9 typ host",
            "candidate:0 1 UDP 4294967296 192.0.2.7 9 typ host",
            "candidate:0 1 UDP 1 192.0.2.7 65536 typ host",
            "candidate:0 x UDP 1 192.0.2.7 9 typ host",
            "candidate:a%sb 1 UDP 1 192.0.2.7 9 typ host",
            "candidate:123456789012345678901234567890123 1 UDP 1 192.0.2.7 9 typ host",
            "candidate:0 1 UDP 1 192.0.2.7 9 typ host\nm=audio",
            "candidate:0 1 UDP 1 192.0.2.7 9 typ h\u{f6}st",
        ] {
            assert!(Candidate::read(text).is_err(), "{text}");
        }
        assert!(Candidate::read(&format!("candidate:0 1 UDP 1 192.0.2.7 9 typ host {}", "x".repeat(512))).is_err());
    }
}
