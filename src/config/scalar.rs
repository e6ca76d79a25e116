//! Single values: what a text of the file means.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nostr::nips::nip19::FromBech32 as _;
use nostr::{PublicKey, RelayUrl};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};
use toml::value::{Datetime, Offset};

use super::Problem;
use crate::call::{LONGEST_CALLING, Millis, Refuse, SHORTEST_CALLING};
use crate::endpoint::{After, Start};
use crate::recording::{Format, Record};
use crate::sdp::{CallerServers, IceService, IceUrl};

/// Longer than anyone wants a camera kept open for nobody; `keep_warm` is for that.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// Whoever is to call for longer than a year is better listed.
const MAX_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// An npub or 64 hex digits.
///
/// # Errors
/// [`Problem::PublicKey`]; [`Problem::SecretKeyShown`] when it is an nsec.
pub fn parse_public_key(text: &str) -> Result<PublicKey, Problem> {
    if text.starts_with("nsec1") {
        return Err(Problem::SecretKeyShown);
    }
    let key = if text.starts_with("npub1") {
        PublicKey::from_bech32(text).map_err(|_| Problem::PublicKey)?
    } else {
        PublicKey::from_hex(text).map_err(|_| Problem::PublicKey)?
    };
    // Half of all 32-byte strings are no point of the curve, and nobody has their secret key.
    key.xonly().map_err(|_| Problem::PublicKey)?;
    Ok(key)
}

/// A `ws://` or `wss://` URL that can be told to everybody.
///
/// # Errors
/// [`Problem::RelayUrl`] and [`Problem::RelaySecret`].
pub fn parse_relay(text: &str) -> Result<RelayUrl, Problem> {
    let parsed = url::Url::parse(text).map_err(|_| Problem::RelayUrl)?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Problem::RelaySecret);
    }
    RelayUrl::parse(text).map_err(|_| Problem::RelayUrl)
}

pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    in_units(text, &units).filter(|duration| *duration <= MAX_DURATION).ok_or(Problem::Duration)
}

/// How long something that is given away is good, such as `2h`.
///
/// # Errors
/// [`Problem::Lifetime`].
pub fn parse_lifetime(text: &str) -> Result<Duration, Problem> {
    let units = [("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000)];
    let good = |lifetime: &Duration| !lifetime.is_zero() && *lifetime <= MAX_LIFETIME;
    in_units(text, &units).filter(good).ok_or(Problem::Lifetime)
}

/// How long a line rings, such as `60s`.
///
/// # Errors
/// [`Problem::RingTime`].
pub fn parse_ring_time(text: &str) -> Result<Duration, Problem> {
    let good = |time: &Duration| (SHORTEST_CALLING..=LONGEST_CALLING).contains(&(time.as_millis() as u64));
    in_units(text, &[("s", 1000), ("m", 60_000)]).filter(good).ok_or(Problem::RingTime)
}

/// How far into a recording, such as `90s` or `0s`.
///
/// # Errors
/// [`Problem::Duration`].
pub fn parse_offset(text: &str) -> Result<Duration, Problem> {
    duration(text)
}

/// How long a recording without a call may be, such as `10m`.
///
/// # Errors
/// [`Problem::Length`].
pub fn parse_length(text: &str) -> Result<Duration, Problem> {
    duration(text).ok().filter(|length| *length >= Duration::from_secs(1)).ok_or(Problem::Length)
}

/// A number of bytes, such as `20GB` or `1GiB`.
pub(super) fn size(text: &str) -> Result<u64, Problem> {
    const UNITS: [(&str, u64); 6] = [
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    in_these(text, &UNITS).ok_or(Problem::Size)
}

pub(super) fn record(text: &str) -> Result<Record, Problem> {
    match text {
        "off" => Ok(Record::Off),
        "caller" => Ok(Record::Caller),
        "line" => Ok(Record::Line),
        "both" => Ok(Record::Both),
        _ => Err(Problem::Choice("\"off\", \"caller\", \"line\", \"both\"")),
    }
}

pub(super) fn format(text: &str) -> Result<Format, Problem> {
    match text {
        "mkv" => Ok(Format::Mkv),
        "mp4" => Ok(Format::Mp4),
        _ => Err(Problem::Choice("\"mkv\", \"mp4\"")),
    }
}

/// A whole number and one of these units, each given in milliseconds.
fn in_units(text: &str, units: &[(&str, u64)]) -> Option<Duration> {
    in_these(text, units).map(Duration::from_millis)
}

fn in_these(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, worth) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*worth)
}

/// A time with its offset, or the end of a day in UTC. A time alone means another moment in each country.
pub(super) fn moment(written: &Datetime) -> Result<Millis, Problem> {
    moment_of(written).ok_or(Problem::Until)
}

/// A moment in words: RFC 3339, or a date, which means its end in UTC.
///
/// # Errors
/// [`Problem::Until`].
pub fn parse_moment(text: &str) -> Result<Millis, Problem> {
    moment_in(text)
}

/// A moment in words: RFC 3339, or a date, which means its beginning in UTC.
///
/// # Errors
/// [`Problem::Until`].
pub fn parse_since(text: &str) -> Result<Millis, Problem> {
    const DAY: u64 = 24 * 3_600_000;
    let written: Datetime = text.parse().map_err(|_| Problem::Until)?;
    let at = moment(&written)?;
    Ok(if written.time.is_none() { Millis(at.0.saturating_sub(DAY)) } else { at })
}

/// [`moment`] in words: RFC 3339, or a date.
pub(super) fn moment_in(text: &str) -> Result<Millis, Problem> {
    moment(&text.parse().map_err(|_| Problem::Until)?)
}

fn moment_of(written: &Datetime) -> Option<Millis> {
    let day = written.date?;
    let day = Date::from_calendar_date(day.year.into(), Month::try_from(day.month).ok()?, day.day).ok()?;
    let moment: OffsetDateTime = match (written.time, written.offset) {
        (None, None) => day.next_day()?.midnight().assume_utc(),
        (Some(time), Some(offset)) => {
            let time = Time::from_hms_nano(
                time.hour,
                time.minute,
                time.second.unwrap_or_default(),
                time.nanosecond.unwrap_or_default(),
            );
            let minutes = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i32::from(minutes),
            };
            PrimitiveDateTime::new(day, time.ok()?).assume_offset(UtcOffset::from_whole_seconds(minutes * 60).ok()?)
        }
        _ => return None,
    };
    // Whatever was before 1970 has ended.
    let milliseconds = moment.unix_timestamp_nanos() / 1_000_000;
    Some(Millis(u64::try_from(milliseconds).unwrap_or_default()))
}

pub(super) fn ports(text: &str) -> Result<(u16, u16), Problem> {
    let (low, high) = text.split_once('-').ok_or(Problem::Ports)?;
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| Problem::Ports);
    let (low, high) = (port(low)?, port(high)?);
    if (1024..=high).contains(&low) { Ok((low, high)) } else { Err(Problem::Ports) }
}

pub(super) fn ip_address(text: &str) -> Result<IpAddr, Problem> {
    let address: IpAddr = text.parse().map_err(|_| Problem::IpAddress)?;
    if address.is_unspecified() { Err(Problem::AnyAddress) } else { Ok(address) }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, Problem> {
    text.parse().map_err(|_| Problem::SocketAddress)
}

pub(super) fn refuse(text: &str) -> Result<Refuse, Problem> {
    match text {
        "silent" => Ok(Refuse::Silent),
        "answer" => Ok(Refuse::Answer),
        _ => Err(Problem::Choice("\"silent\", \"answer\"")),
    }
}

pub(super) fn start(text: &str) -> Result<Start, Problem> {
    match text {
        "own" => Ok(Start::Own),
        "shared" => Ok(Start::Shared),
        _ => Err(Problem::Choice("\"own\", \"shared\"")),
    }
}

pub(super) fn after(text: &str) -> Result<After, Problem> {
    match text {
        "hangup" => Ok(After::HangUp),
        "loop" => Ok(After::Loop),
        "hold" => Ok(After::Hold),
        _ => Err(Problem::Choice("\"hangup\", \"loop\", \"hold\"")),
    }
}

/// A line's name, as [`super::Line::name`] says.
///
/// # Errors
/// [`Problem::LineName`].
pub fn parse_line_name(text: &str) -> Result<String, Problem> {
    let good = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if good { Ok(text.to_owned()) } else { Err(Problem::LineName) }
}

/// `stun:host[:port]` (RFC 7064).
pub(super) fn stun_url(text: &str) -> Result<IceUrl, Problem> {
    text.parse().ok().filter(|url: &IceUrl| url.service == IceService::Stun).ok_or(Problem::StunUrl)
}

/// `turn:host[:port][?transport=udp|tcp]` or `turns:host[:port]` (RFC 7065).
pub(super) fn turn_url(text: &str) -> Result<IceUrl, Problem> {
    text.parse().ok().filter(|url: &IceUrl| url.service != IceService::Stun).ok_or(Problem::TurnUrl)
}

pub(super) fn caller_servers(text: &str) -> Result<CallerServers, Problem> {
    match text {
        "never" => Ok(CallerServers::Never),
        "public" => Ok(CallerServers::Public),
        "any" => Ok(CallerServers::Any),
        _ => Err(Problem::Choice("\"never\", \"public\", \"any\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_an_upper_bound() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "30", "s", "-1s", "1.5s", "25h", "1 s", "99999999999999999999s", "9999999999999999h"] {
            assert_eq!(duration(bad), Err(Problem::Duration), "{bad}");
        }
    }

    #[test]
    fn what_is_given_away_is_good_for_seconds_to_a_year() {
        assert_eq!(parse_lifetime("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_lifetime("365d"), Ok(MAX_LIFETIME));
        for bad in ["", "0s", "2", "500ms", "366d", "1y", "2 h", "-1h"] {
            assert_eq!(parse_lifetime(bad), Err(Problem::Lifetime), "{bad}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size("500MB"), Ok(500_000_000));
        assert_eq!(size("64MiB"), Ok(64 * 1024 * 1024));
        assert_eq!(size("0GB"), Ok(0));
        for bad in ["", "5", "GB", "1.5GB", "-1GB", "1 GB", "1gb", "99999999999TB"] {
            assert_eq!(size(bad), Err(Problem::Size), "{bad}");
        }
    }

    #[test]
    fn a_moment_has_its_offset_and_a_date_means_its_end() {
        let at = |seconds: u64| Ok(Millis(seconds * 1000));
        assert_eq!(moment_in("1970-01-01T00:00:01Z"), at(1));
        assert_eq!(moment_in("1970-01-01 02:00:01+02:00"), at(1));
        assert_eq!(moment_in("1970-01-01T00:00:00.250Z"), Ok(Millis(250)));
        assert_eq!(moment_in("1970-01-01"), at(24 * 3600));
        assert_eq!(moment_in("2024-02-29"), at(1_709_251_200));
        assert_eq!(moment_in("1969-12-30"), at(0));
        assert_eq!(parse_since("2024-02-29"), at(1_709_251_200 - 24 * 3600));
        assert_eq!(parse_since("1970-01-01T00:00:01Z"), at(1));
        for bad in ["", "tomorrow", "2026-12-31T18:00:00", "18:00:00", "2025-02-29", "2025-13-01", "9999-12-31"] {
            assert_eq!(moment_in(bad), Err(Problem::Until), "{bad}");
        }
    }

    #[test]
    fn port_ranges_rise_and_stay_clear_of_the_privileged_ones() {
        assert_eq!(ports("50000-50199"), Ok((50000, 50199)));
        assert_eq!(ports("50000 - 50000"), Ok((50000, 50000)));
        for bad in ["50000", "2-1", "50199-50000", "80-90", "0-0", "50000-70000", "a-b", ""] {
            assert_eq!(ports(bad), Err(Problem::Ports), "{bad}");
        }
    }

    #[test]
    fn a_stun_server_is_no_turn_server() {
        assert_eq!(stun_url("stun:s.example").unwrap().to_string(), "stun:s.example:3478");
        assert_eq!(turn_url("turns:t.example?transport=tcp").unwrap().to_string(), "turns:t.example:5349");
        for bad in ["turn:s.example", "s.example:3478", "stun:u:p@h"] {
            assert_eq!(stun_url(bad), Err(Problem::StunUrl), "{bad}");
        }
        for bad in ["stun:h", "turn:u:p@h", "turns:h?transport=udp"] {
            assert_eq!(turn_url(bad), Err(Problem::TurnUrl), "{bad}");
        }
    }

    #[test]
    fn a_relay_url_that_holds_a_password_is_refused() {
        assert!(parse_relay("wss://relay.example/path").is_ok());
        assert_eq!(parse_relay("https://relay.example"), Err(Problem::RelayUrl));
        assert_eq!(parse_relay("relay.example"), Err(Problem::RelayUrl));
        assert_eq!(parse_relay("wss://u:p@relay.example"), Err(Problem::RelaySecret));
    }

    #[test]
    fn line_names_fit_in_file_names_and_urls() {
        assert!(parse_line_name("drive-way_2.a").is_ok());
        for bad in ["", ".hidden", "a/b", "a b", "../x", "größe", &"a".repeat(65)] {
            assert_eq!(parse_line_name(bad), Err(Problem::LineName), "{bad}");
        }
    }
}
