//! STUN and TURN servers by their URLs (RFC 7064, RFC 7065), read strictly: a caller names some too.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The usual ports of STUN and TURN, and of TURN over TLS (RFC 8489, RFC 8656).
const STUN_PORT: u16 = 3478;
const TURNS_PORT: u16 = 5349;
/// Bytes of a URL: a name has 253 at most.
const MAX_URL: usize = 300;
/// Bytes of a user name or a credential: RFC 8489 has 508 and more of a user name in no message.
const MAX_LOGIN: usize = 512;

/// What a server is asked for, and how it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceService {
    /// `stun:`, over UDP.
    Stun,
    /// `turn:`, over UDP.
    TurnUdp,
    /// `turn:` with `?transport=tcp`.
    TurnTcp,
    /// `turns:`, over TLS.
    TurnTls,
}

/// Where a server is, as its URL says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IceHost {
    Name(String),
    Address(IpAddr),
}

/// The URL of a STUN or TURN server. Its text is the shortest that says it all; there is no room for a password in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IceUrl {
    pub service: IceService,
    pub host: IceHost,
    pub port: u16,
}

/// Not a URL of a server that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not stun:host:port, turn:host:port, turn:host:port?transport=tcp or turns:host:port")]
pub struct BadIceUrl;

impl FromStr for IceUrl {
    type Err = BadIceUrl;

    fn from_str(text: &str) -> Result<Self, BadIceUrl> {
        if text.len() > MAX_URL {
            return Err(BadIceUrl);
        }
        let (scheme, rest) = text.split_once(':').ok_or(BadIceUrl)?;
        let (host, query) = rest.split_once('?').map_or((rest, None), |(host, query)| (host, Some(query)));
        // RFC 7065: the transport's default is UDP, or TCP below TLS. TURN over DTLS is spoken by no library here.
        let service = match (scheme.to_ascii_lowercase().as_str(), query) {
            ("stun", None) => IceService::Stun,
            ("turn", None | Some("transport=udp")) => IceService::TurnUdp,
            ("turn", Some("transport=tcp")) => IceService::TurnTcp,
            ("turns", None | Some("transport=tcp")) => IceService::TurnTls,
            _ => return Err(BadIceUrl),
        };
        let usual = if service == IceService::TurnTls { TURNS_PORT } else { STUN_PORT };
        let (host, port) = host_and_port(host)?;
        Ok(Self { service, host, port: port.unwrap_or(usual) })
    }
}

/// A name, an IPv4 address or a bracketed IPv6 address, and a port if there is one.
fn host_and_port(text: &str) -> Result<(IceHost, Option<u16>), BadIceUrl> {
    let port = |text: &str| match text.strip_prefix(':') {
        None if text.is_empty() => Ok(None),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).map(Some).ok_or(BadIceUrl)
        }
        _ => Err(BadIceUrl),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, rest) = rest.split_once(']').ok_or(BadIceUrl)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| BadIceUrl)?;
        return Ok((IceHost::Address(address.into()), port(rest)?));
    }
    let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !(1..=253).contains(&host.len()) || !host.bytes().all(in_name) {
        return Err(BadIceUrl);
    }
    let host = match host.parse::<Ipv4Addr>() {
        Ok(address) => IceHost::Address(address.into()),
        // The system's resolver takes "127.1" and "2130706433" for addresses: no name ends in a number (RFC 1123, section 2.1).
        Err(_) if ends_in_a_number(host) => return Err(BadIceUrl),
        Err(_) => IceHost::Name(host.to_ascii_lowercase()),
    };
    Ok((host, port(rest)?))
}

fn ends_in_a_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    last.starts_with(|first: char| first.is_ascii_digit())
        && last.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, 'x' | 'X'))
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, query) = match self.service {
            IceService::Stun => ("stun", ""),
            IceService::TurnUdp => ("turn", ""),
            IceService::TurnTcp => ("turn", "?transport=tcp"),
            IceService::TurnTls => ("turns", ""),
        };
        match &self.host {
            IceHost::Name(name) => write!(f, "{scheme}:{name}:{}{query}", self.port),
            IceHost::Address(address) => {
                write!(f, "{scheme}:{}{query}", std::net::SocketAddr::new(*address, self.port))
            }
        }
    }
}

/// A user name and its password at a TURN server. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct IceLogin {
    pub username: String,
    pub credential: String,
}

impl fmt::Debug for IceLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A server to be used: a TURN server always has a login. `Debug` shows no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    url: IceUrl,
    login: Option<IceLogin>,
}

impl IceServer {
    /// `None` for a TURN server without a login, or with one that no server has. STUN servers need none.
    pub fn new(url: IceUrl, login: Option<IceLogin>) -> Option<Self> {
        if url.service == IceService::Stun {
            return Some(Self { url, login: None });
        }
        let fits = |text: &str| (1..=MAX_LOGIN).contains(&text.len()) && !text.chars().any(char::is_control);
        let login = login.filter(|login| fits(&login.username) && fits(&login.credential))?;
        Some(Self { url, login: Some(login) })
    }

    pub fn url(&self) -> &IceUrl {
        &self.url
    }

    /// Always there for TURN.
    pub fn login(&self) -> Option<&IceLogin> {
        self.login.as_ref()
    }
}

/// Which of the servers that a caller names are used: STUN and TURN servers, and relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallerServers {
    Never,
    /// Those at addresses that anybody could reach: a caller must not make us speak to what is behind our firewall.
    #[default]
    Public,
    Any,
}

impl CallerServers {
    /// Whether a caller's server at this address, the one that is going to be used, may be asked.
    pub fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::Never => false,
            Self::Public => is_public(address),
            Self::Any => !address.is_unspecified() && !address.is_multicast(),
        }
    }
}

/// Whether an address is of the public Internet (IANA's special-purpose registries, RFC 6890). Those for documentation count as public: nobody
/// has them.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => {
            // What leads to an IPv4 address in the end: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056).
            let [a, b, c, d, e, f, g, h] = address.segments();
            let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
            match [a, b, c, d, e, f] {
                [0, 0, 0, 0, 0, 0xffff | 0] => is_public_v4(v4(g, h)),
                [0x64, 0xff9b, 0, 0, 0, 0] => is_public_v4(v4(g, h)),
                [0x2002, ..] => is_public_v4(v4(b, c)),
                // Global unicast is all of 2000::/3; Teredo (2001::/32) hides an IPv4 address.
                [0x2001, 0, ..] => false,
                _ => a & 0xe000 == 0x2000,
            }
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && b & 0xc0 == 64;
    let benchmark = a == 198 && b & 0xfe == 18;
    let protocols = a == 192 && b == 0 && c == 0;
    !(a == 0
        || a >= 224
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || shared
        || benchmark
        || protocols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, BadIceUrl> {
        text.parse::<IceUrl>().map(|url| url.to_string())
    }

    #[test]
    fn urls_get_their_usual_port_and_one_text() {
        for (text, shortest) in [
            ("stun:s.example", "stun:s.example:3478"),
            ("STUN:S.Example:19302", "stun:s.example:19302"),
            ("stun:[2001:db8::1]:99", "stun:[2001:db8::1]:99"),
            ("stun:[2001:DB8:0::1]", "stun:[2001:db8::1]:3478"),
            ("turn:192.0.2.1", "turn:192.0.2.1:3478"),
            ("turn:t.example?transport=udp", "turn:t.example:3478"),
            ("turn:t.example:443?transport=tcp", "turn:t.example:443?transport=tcp"),
            ("turns:t.example?transport=tcp", "turns:t.example:5349"),
            ("turns:t.example:443", "turns:t.example:443"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(shortest), "{text}");
            assert_eq!(read(shortest).as_deref(), Ok(shortest), "{text}");
        }
    }

    #[test]
    fn nothing_else_fits_into_a_url() {
        for bad in [
            "",
            "stun",
            "stun:",
            "s.example:3478",
            "stun://s.example",
            "stun:h:0",
            "stun:h:65536",
            "stun:h:+1",
            "stun:h:",
            "stun:u:p@h",
            "stun:u@h",
            "stun:h:1:2",
            "stun:[::1",
            "stun:[1.2.3.4]",
            "stun:[fe80::1%eth0]",
            "stun:::1",
            "stun:h?transport=udp",
            "stuns:h",
            "turn:h?transport=sctp",
            "turn:h?transport=TCP&x",
            "turn:h?",
            "turn:h#x",
            "turn:h/x",
            "turn:h x",
            "turn:h\n",
            "turns:h?transport=udp",
            "http:h",
            "turn:größe.example",
            "stun:127.1",
            "stun:2130706433",
            "stun:0x7f000001",
            "stun:0x7f.1",
            "stun:1.2.3.4.",
            "stun:127.0.0.1.:5",
        ] {
            assert_eq!(read(bad), Err(BadIceUrl), "{bad}");
        }
        assert!(read(&format!("stun:{}", "a".repeat(254))).is_err());
    }

    #[test]
    fn a_turn_server_has_a_login_and_shows_none_of_it() {
        let url = |text: &str| text.parse::<IceUrl>().unwrap();
        let login = |username: &str, credential: &str| {
            Some(IceLogin { username: username.to_owned(), credential: credential.to_owned() })
        };
        assert!(IceServer::new(url("stun:h"), None).is_some());
        assert_eq!(IceServer::new(url("stun:h"), login("hunter1", "hunter2")).unwrap().login(), None);
        for bad in [None, login("", "c"), login("u", ""), login("u\n", "c"), login("u", &"c".repeat(MAX_LOGIN + 1))] {
            assert_eq!(IceServer::new(url("turn:h"), bad), None);
        }
        let server = IceServer::new(url("turns:h"), login("hunter1", "hunter2")).unwrap();
        assert!(!format!("{server:?}").contains("hunter"), "{server:?}");
    }

    #[test]
    fn public_are_only_addresses_that_anybody_can_reach() {
        for public in
            ["192.0.2.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2001:db8::1", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            assert!(CallerServers::Public.admits(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2002:a00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!CallerServers::Public.admits(private.parse().unwrap()), "{private}");
        }
        assert!(CallerServers::Any.admits("10.0.0.1".parse().unwrap()));
        assert!(CallerServers::Any.admits("::1".parse().unwrap()));
        for nobody in ["0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
            assert!(!CallerServers::Any.admits(nobody.parse().unwrap()), "{nobody}");
        }
        assert!(!CallerServers::Never.admits("8.8.8.8".parse().unwrap()));
    }
}
