//! The STUN and TURN servers that a caller names.

use std::collections::HashSet;

use crate::protocol::{Envelope, Offer};
use crate::sdp::{IceLogin, IceServer, IceUrl};

/// How many are passed on. Each costs gathering a request, and the protocol lets a caller name 256.
const MAX_SERVERS: usize = 8;

/// Those of the offer's payload, then those of its tag, each once. What cannot be used is passed over: a browser names `turn:` over UDP, TCP and
/// TLS in one list, and so do callers. A server of the tag has no login, which leaves STUN.
pub(super) fn servers_named(envelope: &Envelope, offer: &Offer) -> Vec<IceServer> {
    let payload = offer.rtc_servers.iter().flat_map(|server| {
        let login = match (&server.username, &server.credential) {
            (Some(username), Some(credential)) => {
                Some(IceLogin { username: username.clone(), credential: credential.clone() })
            }
            _ => None,
        };
        server.urls.iter().map(move |url| (url, login.clone()))
    });
    let tag = envelope.rtc_servers.iter().map(|url| (url, None));
    let mut seen = HashSet::new();
    payload
        .chain(tag)
        .filter_map(|(url, login)| IceServer::new(url.parse::<IceUrl>().ok()?, login))
        .filter(|server| seen.insert(server.url().clone()))
        .take(MAX_SERVERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use nostr::{EventId, Keys};

    use super::*;
    use crate::protocol::{CallType, Cipher, Dialect, RtcServer, SignalKind};

    fn named(payload: Vec<RtcServer>, tag: &[&str]) -> Vec<String> {
        let envelope = Envelope {
            event_id: EventId::all_zeros(),
            kind: SignalKind::Offer,
            from: Keys::generate().public_key(),
            to: Keys::generate().public_key(),
            session: "one".parse().unwrap(),
            call_type: CallType::Video,
            cipher: Cipher::Nip44,
            dialect: Dialect::Plain,
            relay: None,
            rtc_servers: tag.iter().map(ToString::to_string).collect(),
            created_at: 0,
            expiration: None,
        };
        let offer = Offer { rtc_servers: payload, ..Offer::new(String::new(), 0, 60) };
        servers_named(&envelope, &offer).iter().map(|server| server.url().to_string()).collect()
    }

    fn server(urls: &[&str], login: Option<(&str, &str)>) -> RtcServer {
        RtcServer {
            urls: urls.iter().map(ToString::to_string).collect(),
            username: login.map(|(username, _)| username.to_owned()),
            credential: login.map(|(_, credential)| credential.to_owned()),
        }
    }

    #[test]
    fn what_can_be_used_is_taken_once_and_the_rest_is_passed_over() {
        let payload = vec![
            server(&["stun:a", "stuns:a", "nonsense"], None),
            server(&["turn:b", "turns:b?transport=tcp", "turn:b:3478?transport=udp"], Some(("u", "c"))),
            server(&["turn:without-a-login"], None),
        ];
        assert_eq!(
            named(payload, &["stun:A:3478", "stun:c", "turn:d"]),
            ["stun:a:3478", "turn:b:3478", "turns:b:5349", "stun:c:3478"]
        );
    }

    #[test]
    fn a_caller_who_names_many_has_few() {
        let urls: Vec<String> = (0..16).map(|n| format!("stun:s{n}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        assert_eq!(named(vec![server(&urls, None)], &urls).len(), MAX_SERVERS);
    }
}
