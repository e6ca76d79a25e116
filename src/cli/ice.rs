//! How `callgate call` finds a way through NATs.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure};
use crate::config::{Secret, read_secret_file};
use crate::media::IceSettings;
use crate::protocol::RtcServer;
use crate::sdp::{IceLogin, IceServer, IceService, IceUrl};

/// Holds the password at the TURN servers where there is no file for it. A command line can be read by other users.
const TURN_SECRET: &str = "CALLGATE_TURN_SECRET";

#[derive(Debug, Args)]
pub struct IceArgs {
    /// A STUN server, stun:host:port; give it again for more
    #[arg(long = "stun", value_name = "URL")]
    pub stun: Vec<String>,
    /// A TURN server: turn:host:port, turn:host:port?transport=tcp or turns:host:port; give it again for more
    #[arg(long = "turn", value_name = "URL")]
    pub turn: Vec<String>,
    /// The user name at the TURN servers
    #[arg(long, value_name = "NAME", requires = "turn")]
    pub turn_user: Option<String>,
    /// The file with the password at the TURN servers; without it the variable CALLGATE_TURN_SECRET holds the password
    #[arg(long, value_name = "FILE", requires = "turn")]
    pub turn_secret_file: Option<PathBuf>,
    /// A local address to use; give it again for more. All but loopback when absent
    #[arg(long = "bind", value_name = "ADDRESS")]
    pub bind: Vec<IpAddr>,
    /// Sends and receives media through a TURN server only
    #[arg(long, requires = "turn")]
    pub relay_only: bool,
    /// Asks the line to use these STUN and TURN servers too, and tells it the password
    #[arg(long)]
    pub share_servers: bool,
}

impl IceArgs {
    /// What media is told, and what the offer names.
    ///
    /// # Errors
    /// A URL, a user name or a password that is missing or of no use: the person's mistake.
    pub(super) fn settings(&self) -> Result<(IceSettings, Vec<RtcServer>), Failure> {
        let mut servers = Vec::new();
        for text in &self.stun {
            let url = text.parse().ok().filter(|url: &IceUrl| url.service == IceService::Stun);
            servers.extend(
                url.and_then(|url| IceServer::new(url, None))
                    .map_or_else(|| Err(usage("--stun", "must be stun:host:port")), |server| Ok(Some(server)))?,
            );
        }
        let login = if self.turn.is_empty() { None } else { Some(self.login()?) };
        for text in &self.turn {
            let url: IceUrl =
                text.parse().ok().filter(|url: &IceUrl| url.service != IceService::Stun).ok_or_else(|| {
                    usage("--turn", "must be turn:host:port, turn:host:port?transport=tcp or turns:host:port")
                })?;
            let server = IceServer::new(url, login.clone())
                .ok_or_else(|| usage("--turn-user", "user name and password must be 1 to 512 characters"))?;
            servers.push(server);
        }
        let shared = if self.share_servers { servers.iter().map(named).collect() } else { Vec::new() };
        if self.share_servers && shared.is_empty() {
            return Err(usage("--share-servers", "there is nothing to share: give --stun or --turn"));
        }
        let settings =
            IceSettings { servers, bind: self.bind.clone(), relay_only: self.relay_only, ..IceSettings::default() };
        Ok((settings, shared))
    }

    fn login(&self) -> Result<IceLogin, Failure> {
        let username = self.turn_user.clone().ok_or_else(|| usage("--turn", "needs --turn-user"))?;
        let credential = match &self.turn_secret_file {
            Some(file) => {
                read_secret_file(file).map_err(|problem| usage("--turn-secret-file", &problem.to_string()))?
            }
            None => std::env::var(TURN_SECRET).map(Secret::from).map_err(|_| {
                usage("--turn", "needs --turn-secret-file, or the password in the variable CALLGATE_TURN_SECRET")
            })?,
        };
        Ok(IceLogin { username, credential: credential.expose().to_owned() })
    }
}

/// A server as an offer names it.
fn named(server: &IceServer) -> RtcServer {
    RtcServer {
        urls: vec![server.url().to_string()],
        username: server.login().map(|login| login.username.clone()),
        credential: server.login().map(|login| login.credential.clone()),
    }
}

fn usage(option: &str, words: &str) -> Failure {
    Failure::words(Exit::Usage, format_args!("{option}: {words}"))
}
