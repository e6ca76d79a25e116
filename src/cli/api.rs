//! Asking the gateway that runs on this machine, over its API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::{Http, Secret};

/// A line or a call is a few hundred bytes of JSON.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Where the gateway is asked, and with what token.
pub(super) struct Api {
    base: String,
    token: Option<Secret>,
    agent: ureq::Agent,
}

/// Why there is no answer of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("the gateway does not answer at {0}: does it run?")]
    Silent(String),
    /// In the API's words.
    #[error("the gateway says: {words}")]
    Refused { status: u16, words: String },
    #[error("what answers at {0} is no callgate, or one of another version")]
    Foreign(String),
}

#[derive(Debug, Deserialize)]
struct Trouble {
    error: String,
}

impl Api {
    /// Waits for each answer so long: a gateway on this machine answers within milliseconds, or hangs.
    pub(super) fn of(http: &Http, patience: Duration) -> Self {
        // Where a server that listens everywhere is reached from the same machine.
        let ip = match http.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        // No redirects and no proxy: the token goes to this address alone.
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(patience))
            .max_redirects(0)
            .proxy(None)
            .http_status_as_error(false)
            .build()
            .into();
        Self { base: format!("http://{}", SocketAddr::new(ip, http.listen.port())), token: http.token.clone(), agent }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.read(self.with_token(self.agent.get(self.url(path))).call())
    }

    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T, AskError> {
        let request = self.with_token(self.agent.post(self.url(path))).header("Content-Type", "application/json");
        self.read(request.send(body.to_string()))
    }

    /// Asks for something to be gone; what the gateway says to that is of no use.
    pub(super) fn delete(&self, path: &str) -> Result<(), AskError> {
        let answer = self.with_token(self.agent.delete(self.url(path))).call();
        answer.map(drop).map_err(|error| self.silent(&error))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, AskError> {
        let foreign = || AskError::Foreign(self.base.clone());
        let mut answer = answer.map_err(|error| self.silent(&error))?;
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(|_| foreign())?;
        if answer.status().is_success() {
            return serde_json::from_str(&text).map_err(|_| foreign());
        }
        let Trouble { error } = serde_json::from_str(&text).map_err(|_| foreign())?;
        Err(AskError::Refused { status: answer.status().as_u16(), words: error })
    }

    fn silent(&self, error: &ureq::Error) -> AskError {
        tracing::debug!(%error, "the gateway's API does not answer");
        AskError::Silent(self.base.clone())
    }
}
