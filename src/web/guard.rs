//! Who may ask what, and what every answer carries.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest as _, Sha256};

use super::ANSWER_TIMEOUT;
use super::api::trouble;
use super::ticket::Tickets;

/// What the longest request of the API needs: whom to call, and where. Bytes.
const MAX_BODY: u64 = 4096;

/// The API's bearer token. Only its hash is kept: comparing hashes takes the same time wherever two tokens differ.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// Of the token itself; white space around it does not count.
    pub fn new(secret: &str) -> Self {
        Self(Sha256::digest(secret.trim()).into())
    }

    fn is(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0.iter().zip(presented).fold(0, |difference, (ours, theirs)| difference | (ours ^ theirs)) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The rules of one server.
#[derive(Debug)]
pub(super) struct Guard {
    token: Option<Token>,
    /// Good in the token's place for what is only looked at.
    tickets: Option<Tickets>,
}

impl Guard {
    pub(super) fn new(token: Option<Token>, tickets: Option<Tickets>) -> Self {
        Self { token, tickets }
    }

    /// Whether a request may go on; else what it is told.
    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        // Without a token loopback is the protection. A page of another site whose name was made to point at 127.0.0.1 passes
        // the browser's same-origin check, but its requests carry that site's name.
        if self.token.is_none() && !is_loopback_host(host) {
            return Err((
                StatusCode::MISDIRECTED_REQUEST,
                "this server is called localhost, and nothing else, unless it has a token",
            ));
        }
        let path = uri.path();
        if !path.starts_with("/api/") {
            return Ok(());
        }
        if is_from_another_site(method, host, headers) {
            return Err((StatusCode::FORBIDDEN, "requests from other sites are not taken"));
        }
        match (&self.token, bearer(headers)) {
            (None, _) => Ok(()),
            (Some(token), Some(presented)) if token.is(presented) => Ok(()),
            _ if self.has_ticket(method, uri) => Ok(()),
            (Some(_), _) => Err((StatusCode::UNAUTHORIZED, "the API needs its token: Authorization: Bearer ...")),
        }
    }

    fn has_ticket(&self, method: &Method, uri: &Uri) -> bool {
        let looks = matches!(*method, Method::GET | Method::HEAD);
        looks
            && self.tickets.as_ref().is_some_and(|tickets| tickets.is_good(uri.path(), uri.query().unwrap_or_default()))
    }
}

pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request<Body>, next: Next) -> Response {
    let mut answer = match guard.admit(request.method(), request.uri(), request.headers()) {
        Err((status, words)) => trouble(status, words),
        // A body of unknown length has no upper bound.
        Ok(()) if request.body().size_hint().upper().is_none_or(|bytes| bytes > MAX_BODY) => {
            trouble(StatusCode::PAYLOAD_TOO_LARGE, "no request needs a body as long")
        }
        Ok(()) => match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
            Ok(answer) => answer,
            Err(_) => trouble(StatusCode::GATEWAY_TIMEOUT, "the gateway takes too long"),
        },
    };
    if answer.status() == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    for (name, value) in always() {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Headers of every answer that does not say otherwise.
fn always() -> [(HeaderName, &'static str); 8] {
    [
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
    ]
}

/// Whether a `Host` header names this machine: `localhost`, `127.x.x.x` or `[::1]`, with a port or not.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            return is_port(port) && address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
        }
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// What may follow an IPv6 address in a `Host` header: nothing, or `:port`.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a browser says that another site's page asks. Programs that are not browsers say nothing, and may ask.
fn is_from_another_site(method: &Method, host: &str, headers: &HeaderMap) -> bool {
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    // Browsers that send no Sec-Fetch-Site send Origin with whatever changes something.
    !matches!(*method, Method::GET | Method::HEAD)
        && headers.get(ORIGIN).is_some_and(|origin| {
            let authority =
                origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
            authority != Some(host)
        })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "127.1.2.3:80", "[::1]", "[::1]:8080"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "10.0.0.5",
            "[::2]",
            "[::1",
            "[::1]evil",
            "[::1]:evil",
            "localhost:evil",
            "0.0.0.0:80",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn without_a_token_loopback_may_ask_and_other_sites_may_not() {
        let guard = Guard::new(None, None);
        let ask = |method: Method, pairs: &[(&'static str, &'static str)]| {
            guard
                .admit(&method, &Uri::from_static("/api/calls/c1"), &headers(pairs))
                .map_err(|(status, _)| status.as_u16())
        };
        assert_eq!(ask(Method::GET, &[("host", "localhost:80")]), Ok(()));
        assert_eq!(ask(Method::DELETE, &[("host", "localhost:80")]), Ok(()));
        assert_eq!(ask(Method::DELETE, &[("host", "localhost:80"), ("origin", "http://localhost:80")]), Ok(()));
        assert_eq!(ask(Method::DELETE, &[("host", "localhost:80"), ("origin", "http://localhost:81")]), Err(403));
        assert_eq!(ask(Method::DELETE, &[("host", "localhost:80"), ("origin", "null")]), Err(403));
        assert_eq!(ask(Method::GET, &[("host", "localhost:80"), ("sec-fetch-site", "cross-site")]), Err(403));
        assert_eq!(ask(Method::GET, &[("host", "localhost:80"), ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(ask(Method::GET, &[("host", "rebound.example")]), Err(421));
        assert_eq!(ask(Method::GET, &[]), Err(421));
    }

    #[test]
    fn with_a_token_the_api_needs_it_and_the_page_does_not() {
        let tickets = Tickets::new();
        let ticket = tickets.on("/api/recordings/r1/media");
        let guard = Guard::new(Some(Token::new("secret\n")), Some(tickets));
        let ask = |path: &str, pairs: &[(&'static str, &'static str)]| {
            guard.admit(&Method::GET, &path.parse().unwrap(), &headers(pairs)).map_err(|(status, _)| status.as_u16())
        };
        assert_eq!(ask("/", &[("host", "cams.example")]), Ok(()));
        assert_eq!(ask("/healthz", &[("host", "cams.example")]), Ok(()));
        assert_eq!(ask("/api/lines", &[("host", "localhost")]), Err(401));
        assert_eq!(ask("/api/lines", &[("host", "cams.example"), ("authorization", "Bearer secre")]), Err(401));
        assert_eq!(ask("/api/lines", &[("host", "cams.example"), ("authorization", "Basic secret")]), Err(401));
        assert_eq!(ask("/api/lines", &[("host", "cams.example"), ("authorization", "Bearer secret")]), Ok(()));
        assert_eq!(ask("/api/recordings/r1/media", &[("host", "cams.example")]), Err(401));
        assert_eq!(ask(&ticket, &[("host", "cams.example")]), Ok(()));
        assert_eq!(ask(&ticket.replace("r1", "r2"), &[("host", "cams.example")]), Err(401));
        let change = guard.admit(&Method::DELETE, &ticket.parse().unwrap(), &headers(&[("host", "cams.example")]));
        assert_eq!(change.map_err(|(status, _)| status.as_u16()), Err(401), "a ticket is to look only");
    }

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(format!("{:?}", Token::new("hunter2")), "Token(***)");
    }
}
