//! The STUN and TURN servers of one call: ours, and those of the caller's that may be asked.

use std::net::SocketAddr;
use std::time::Duration;

use super::IceSettings;
use crate::sdp::{CallerServers, IceHost, IceServer, IceService, IceUrl};

/// How long the names of a caller's servers may take to be resolved. The answer waits for it, and goes without what is not known by then.
const RESOLVING: Duration = Duration::from_millis(300);
/// Servers of a caller that are looked at; each may have an address of either family.
const MAX_CALLER_SERVERS: usize = 4;

/// Servers as `webrtcbin` takes them. The URIs hold passwords: there is no `Debug`.
#[derive(Default)]
pub(super) struct Servers {
    /// `webrtcbin` keeps one.
    pub(super) stun: Option<String>,
    pub(super) turn: Vec<String>,
}

impl Servers {
    /// Whether gathering has to ask anyone.
    pub(super) fn are_asked(&self) -> bool {
        self.stun.is_some() || !self.turn.is_empty()
    }

    fn take(&mut self, server: &IceServer, host: &str) {
        let port = server.url().port;
        match server.login() {
            None => {
                self.stun.get_or_insert_with(|| format!("stun://{host}:{port}"));
            }
            Some(login) => {
                // Without a transport libnice would also open TCP connections to the server, which costs a second of gathering.
                let (scheme, query) = match server.url().service {
                    IceService::TurnTls => ("turns", ""),
                    IceService::TurnTcp => ("turn", "?transport=tcp"),
                    IceService::TurnUdp | IceService::Stun => ("turn", "?transport=udp"),
                };
                let (username, credential) = (percent(&login.username), percent(&login.credential));
                self.turn.push(format!("{scheme}://{username}:{credential}@{host}:{port}{query}"));
            }
        }
    }
}

/// Finds a call's servers: `callers` are those that its caller names. Takes a fraction of a second at most.
pub(super) async fn find(ice: &IceSettings, callers: &[IceServer]) -> Servers {
    let mut servers = Servers::default();
    for server in &ice.servers {
        servers.take(server, &host(&server.url().host));
    }
    for (server, address) in admitted(ice.caller_servers, callers).await {
        // The very address that was looked at: a name could lead elsewhere the next time.
        servers.take(&server, &in_uri(address));
    }
    servers
}

/// The caller's servers with the addresses at which they may be asked, one of each family at most.
async fn admitted(which: CallerServers, callers: &[IceServer]) -> Vec<(IceServer, SocketAddr)> {
    if which == CallerServers::Never {
        return Vec::new();
    }
    let looked_at = callers.iter().take(MAX_CALLER_SERVERS).map(|server| async move {
        let found = tokio::time::timeout(RESOLVING, addresses(server.url())).await.unwrap_or_default();
        let may = |v4: bool| found.iter().find(|found| found.is_ipv4() == v4 && which.admits(found.ip())).copied();
        [may(true), may(false)].into_iter().flatten().map(|address| (server.clone(), address)).collect::<Vec<_>>()
    });
    futures::future::join_all(looked_at).await.concat()
}

async fn addresses(url: &IceUrl) -> Vec<SocketAddr> {
    match &url.host {
        IceHost::Address(address) => vec![SocketAddr::new(*address, url.port)],
        IceHost::Name(name) => {
            tokio::net::lookup_host((name.as_str(), url.port)).await.map(Iterator::collect).unwrap_or_default()
        }
    }
}

fn host(host: &IceHost) -> String {
    match host {
        IceHost::Name(name) => name.clone(),
        IceHost::Address(address) => in_uri(SocketAddr::new(*address, 0)),
    }
}

fn in_uri(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// Percent-encodes everything but letters and digits (RFC 3986, section 2.1).
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::IceLogin;

    fn server(url: &str) -> IceServer {
        let login = IceLogin { username: "1:a".into(), credential: "b/+=".into() };
        IceServer::new(url.parse().unwrap(), Some(login)).unwrap()
    }

    async fn found(ours: &[&str], which: CallerServers, callers: &[&str]) -> (Option<String>, Vec<String>) {
        let servers = |urls: &[&str]| urls.iter().map(|url| server(url)).collect::<Vec<_>>();
        let ice = IceSettings { servers: servers(ours), caller_servers: which, ..IceSettings::default() };
        let found = find(&ice, &servers(callers)).await;
        (found.stun, found.turn)
    }

    #[tokio::test]
    async fn ours_go_to_webrtcbin_as_it_wants_them() {
        let ours = [
            "stun:s.example",
            "stun:[2001:db8::1]",
            "turn:t.example",
            "turn:192.0.2.1?transport=tcp",
            "turn:[2001:db8::1]",
        ];
        let (stun, turn) = found(&ours, CallerServers::Never, &["stun:192.0.2.9", "turn:192.0.2.9"]).await;
        assert_eq!(stun.as_deref(), Some("stun://s.example:3478"));
        assert_eq!(
            turn,
            [
                "turn://1%3Aa:b%2F%2B%3D@t.example:3478?transport=udp",
                "turn://1%3Aa:b%2F%2B%3D@192.0.2.1:3478?transport=tcp",
                "turn://1%3Aa:b%2F%2B%3D@[2001:db8::1]:3478?transport=udp",
            ]
        );
    }

    #[tokio::test]
    async fn a_callers_servers_are_asked_where_they_may_be_and_by_address() {
        let callers =
            ["stun:10.0.0.1", "stun:192.0.2.9", "turn:localhost", "turn:[2001:db8::1]?transport=tcp", "turn:192.0.2.5"];
        let (stun, turn) = found(&[], CallerServers::Public, &callers).await;
        assert_eq!(stun.as_deref(), Some("stun://192.0.2.9:3478"), "the private one is passed over");
        assert_eq!(turn.len(), 1, "localhost is not public, and the fifth is one too many: {turn:?}");
        assert!(turn[0].ends_with("@[2001:db8::1]:3478?transport=tcp"), "{turn:?}");

        let (stun, turn) = found(&["stun:192.0.2.1"], CallerServers::Any, &callers).await;
        assert_eq!(stun.as_deref(), Some("stun://192.0.2.1:3478"), "ours comes first");
        assert!(turn.iter().any(|turn| turn.ends_with("@127.0.0.1:3478?transport=udp")), "{turn:?}");
        assert!(turn.iter().all(|turn| !turn.contains("localhost")), "{turn:?}");

        assert_eq!(found(&[], CallerServers::Never, &callers).await, (None, Vec::new()));
    }
}
