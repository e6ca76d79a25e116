//! `callgate invite`: a link to the caller page that holds a one-time key, good for one line and a while.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use nostr::Keys;
use nostr::nips::nip19::ToBech32 as _;
use url::Url;

use super::arguments::ConfigArg;
use super::link::page_link;
use super::text::{say, utc};
use super::{Exit, Failure, Outcome, qr_code};
use crate::config::{self, Config, Millis};
use crate::store::{Invitation, Invitations};

#[derive(Debug, Args)]
pub struct InviteArgs {
    /// The line's name
    pub line: String,
    /// How long the link is good, such as 30m, 2h or 7d
    #[arg(long = "for", value_name = "TIME")]
    pub lifetime: String,
    /// Whom or what it is for: shown in the list of invitations
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub name: String,
    /// The page that the link opens; the gateway's own when absent
    #[arg(long, value_name = "URL")]
    pub page: Option<String>,
    #[command(flatten)]
    pub config: ConfigArg,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// More than anyone writes on a label.
const MAX_LABEL_CHARS: usize = 100;

pub(super) fn invite(args: &InviteArgs) -> Outcome {
    let usage = |words: &str| Failure::words(Exit::Usage, words);
    let lifetime = config::parse_lifetime(&args.lifetime).map_err(|problem| usage(&format!("--for: {problem}")))?;
    if args.name.chars().count() > MAX_LABEL_CHARS {
        return Err(usage(&format!("--name: must be {MAX_LABEL_CHARS} characters at most")));
    }
    let config = config::load(&args.config.file)?;
    let line = config.lines.iter().find(|line| line.name == args.line).ok_or_else(|| {
        let names: Vec<&str> = config.lines.iter().map(|line| line.name.as_str()).collect();
        usage(&format!("LINE: there is no line of this name; there is {}", names.join(", ")))
    })?;
    let page = page(args.page.as_deref(), &config)?;
    let line_key = line.key.open()?.public_key();

    let guest = Keys::generate();
    let made = now();
    let invitation = Invitation {
        line: line.name.clone(),
        line_key,
        key: guest.public_key(),
        label: args.name.clone(),
        made,
        until: made.plus(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)),
    };
    let number = Invitations::open_or_make(&config.data_dir)?
        .invite(&invitation)?
        .ok_or_else(|| Failure::words(Exit::Unavailable, "there are too many invitations: take some back first"))?;

    // The only place where the secret key is told.
    let Ok(nsec) = guest.secret_key().to_bech32();
    let (Ok(npub), Ok(line_npub)) = (guest.public_key().to_bech32(), line_key.to_bech32());
    let relays = config.relays();
    let link = page_link(page.as_str(), &line_npub, &relays, &[("name", &line.name), ("key", &nsec)]);
    if args.json {
        let until = invitation.until.0;
        say(serde_json::json!({ "number": number, "link": link, "npub": npub, "line": line.name, "until_ms": until }));
    } else {
        // A link with many relays is too long for a code that fits a terminal.
        if let Ok(code) = qr_code(&link) {
            say(code);
        }
        say(&link);
        let until = utc(invitation.until.0);
        say(format_args!("Invitation {number}: whoever has this link may call {} until {until} UTC.", line.name));
    }
    for hint in hints(&page, &relays) {
        eprintln!("{hint}");
    }
    Ok(Exit::Success)
}

/// Where the caller page is, without a fragment.
fn page(asked: Option<&str>, config: &Config) -> Result<Url, Failure> {
    let usage = |words: &str| Failure::words(Exit::Usage, format_args!("--page: {words}"));
    let Some(text) = asked else {
        let http = config.http.as_ref().ok_or_else(|| usage("is needed: the configuration has no [http]"))?;
        if http.listen.port() == 0 {
            return Err(usage("is needed: the configuration's http.listen has no port of its own"));
        }
        // An address and a port make a URL.
        return Url::parse(&format!("http://{}/", http.listen)).map_err(|_| usage("is needed"));
    };
    let mut url = Url::parse(text).map_err(|_| usage("must be a URL such as https://example.com/call.html"))?;
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return Err(usage("must be an http, https or file URL"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// What keeps a guest elsewhere from calling.
fn hints(page: &Url, relays: &[String]) -> Vec<&'static str> {
    let elsewhere = |url: &Url| match url.host() {
        Some(url::Host::Domain(name)) => !name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => !ip.is_loopback() && !ip.is_unspecified(),
        Some(url::Host::Ipv6(ip)) => !ip.is_loopback() && !ip.is_unspecified(),
        None => false,
    };
    let mut hints = Vec::new();
    if !elsewhere(page) {
        hints.push("The link opens on this machine only: give --page with the page's address as your guest sees it.");
    }
    if !relays.iter().filter_map(|relay| Url::parse(relay).ok()).any(|relay| elsewhere(&relay)) {
        hints.push(
            "The line's relays are on this machine: a guest elsewhere needs one in nostr.relays that both reach.",
        );
    }
    hints
}

pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
