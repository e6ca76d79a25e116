//! Endpoint addresses.
//!
//! An address may hold a password: in its user information, in its query, and, with some cameras, in its path
//! (`/user=admin&password=...`). `Display` and `Debug` show none of these.

use std::fmt::{self, Write as _};

use url::Url;

use super::Programme;

/// Where a line's media comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `rtsp://` or `rtsps://`; the query parameter `callgate-transport=udp` asks for UDP, and is taken out of the address.
    Rtsp { url: Url, transport: RtspTransport },
    /// `test://`: a moving picture with a clock in it, and a tone.
    Test(TestPattern),
    /// `file:///srv/welcome.mp4`, or the absolute path alone: a file, a folder or a playlist.
    File(Programme),
}

/// How RTP comes from the camera (RFC 2326, section 12.39).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection; UDP only when the server refuses it.
    Tcp,
    Udp,
}

/// `test://?width=640&height=360&fps=25&tone=440&keyframe=2&bitrate=800`: all optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestPattern {
    /// Pixels, even, 64 to 3840.
    pub width: u32,
    /// Pixels, even, 64 to 2160.
    pub height: u32,
    /// Frames a second, 1 to 60.
    pub fps: u32,
    /// Hz, 20 to 3400; 0 for silence.
    pub tone: u32,
    /// Seconds between keyframes, 1 to 60.
    pub keyframe: u32,
    /// kbit/s, 50 to 20000.
    pub bitrate: u32,
}

impl Default for TestPattern {
    fn default() -> Self {
        Self { width: 640, height: 360, fps: 25, tone: 440, keyframe: 2, bitrate: 800 }
    }
}

/// Why an address was refused. No variant holds the address: it may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("it is not a URL")]
    NotAUrl,
    #[error("the scheme {0:?} is not one of rtsp, rtsps, test, file")]
    Scheme(String),
    #[error("it names no host")]
    NoHost,
    #[error("its parameter {0} is not known or out of range")]
    Parameter(String),
    #[error("a file is named by its whole path: file:///srv/welcome.mp4, with %3F for `?` and %23 for `#`")]
    FileAddress,
}

/// What names a parameter of ours in an address that otherwise belongs to the camera.
const OUR_PREFIX: &str = "callgate-";
const TRANSPORT: &str = "callgate-transport";

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.trim().starts_with('/') {
            return Programme::at(text.trim().into()).map(Self::File);
        }
        // Only what stands before `://` is shown in an error: `user:password@host` must not pass for a scheme.
        let (scheme, _) = text.trim().split_once("://").ok_or(EndpointError::NotAUrl)?;
        if !scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) {
            return Err(EndpointError::NotAUrl);
        }
        let url = Url::parse(text.trim()).map_err(|_| EndpointError::NotAUrl)?;
        match url.scheme() {
            "rtsp" | "rtsps" => rtsp(url),
            "test" => test_pattern(&url).map(Self::Test),
            "file" => Programme::of(&url).map(Self::File),
            other => Err(EndpointError::Scheme(other.to_owned())),
        }
    }
}

/// Takes our parameters out of the query and leaves every other byte of the address as the camera wants it.
fn rtsp(mut url: Url) -> Result<Endpoint, EndpointError> {
    if url.host_str().is_none_or(str::is_empty) {
        return Err(EndpointError::NoHost);
    }
    let Some(query) = url.query().map(str::to_owned) else {
        return Ok(Endpoint::Rtsp { url, transport: RtspTransport::Tcp });
    };
    let (ours, theirs): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| pair.starts_with(OUR_PREFIX));
    let transport = match ours.as_slice() {
        [] => RtspTransport::Tcp,
        [pair] => match pair.split_once('=') {
            Some((TRANSPORT, "tcp")) => RtspTransport::Tcp,
            Some((TRANSPORT, "udp")) => RtspTransport::Udp,
            _ => return Err(EndpointError::Parameter(name_of(pair))),
        },
        [_, second, ..] => return Err(EndpointError::Parameter(name_of(second))),
    };
    if !ours.is_empty() {
        url.set_query(if theirs.is_empty() { None } else { Some(theirs.join("&")) }.as_deref());
    }
    Ok(Endpoint::Rtsp { url, transport })
}

fn test_pattern(url: &Url) -> Result<TestPattern, EndpointError> {
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(EndpointError::Parameter("host".to_owned()));
    }
    if !matches!(url.path(), "" | "/") {
        return Err(EndpointError::Parameter("path".to_owned()));
    }
    let mut pattern = TestPattern::default();
    let mut seen = Vec::new();
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bad = || EndpointError::Parameter(name.to_owned());
        if seen.contains(&name) {
            return Err(bad());
        }
        seen.push(name);
        let number: u32 = value.parse().map_err(|_| bad())?;
        // 4:2:0 pictures have even sides; the upper bounds keep a mistyped address from eating the machine.
        let (slot, good) = match name {
            "width" => (&mut pattern.width, (64..=3840).contains(&number) && number.is_multiple_of(2)),
            "height" => (&mut pattern.height, (64..=2160).contains(&number) && number.is_multiple_of(2)),
            "fps" => (&mut pattern.fps, (1..=60).contains(&number)),
            // The telephone's band: whatever codec carries it, the tone survives.
            "tone" => (&mut pattern.tone, number == 0 || (20..=3400).contains(&number)),
            "keyframe" => (&mut pattern.keyframe, (1..=60).contains(&number)),
            "bitrate" => (&mut pattern.bitrate, (50..=20_000).contains(&number)),
            _ => return Err(bad()),
        };
        if !good {
            return Err(bad());
        }
        *slot = number;
    }
    Ok(pattern)
}

fn name_of(pair: &str) -> String {
    pair.split('=').next().unwrap_or_default().to_owned()
}

/// Redacted: `rtsp://***@10.0.0.5/main`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtsp { url, transport } => {
                write_redacted(f, url)?;
                if *transport == RtspTransport::Udp {
                    let joint = if url.query().is_some() { '&' } else { '?' };
                    write!(f, "{joint}{TRANSPORT}=udp")?;
                }
                // Fragments mean nothing to RTSP; one is there when a password holds an unescaped `#`.
                if url.fragment().is_some() { f.write_str("#***") } else { Ok(()) }
            }
            Self::Test(pattern) => {
                let TestPattern { width, height, fps, tone, keyframe, bitrate } = pattern;
                write!(f, "test://?width={width}&height={height}&fps={fps}")?;
                write!(f, "&tone={tone}&keyframe={keyframe}&bitrate={bitrate}")
            }
            Self::File(programme) => write!(f, "{programme}"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn write_redacted(f: &mut fmt::Formatter<'_>, url: &Url) -> fmt::Result {
    write!(f, "{}://", url.scheme())?;
    if !url.username().is_empty() || url.password().is_some() {
        f.write_str("***@")?;
    }
    f.write_str(url.host_str().unwrap_or_default())?;
    if let Some(port) = url.port() {
        write!(f, ":{port}")?;
    }
    // A password with an unescaped `/` in it ends up in the path, in front of an `@`.
    let path = match url.path().rsplit_once('@') {
        Some((_, behind)) => format!("/***@{behind}"),
        None => url.path().to_owned(),
    };
    write_without_values(f, &path, &['/', '&', ';'], false)?;
    if let Some(query) = url.query() {
        f.write_char('?')?;
        write_without_values(f, query, &['&', ';'], true)?;
    }
    Ok(())
}

/// Writes `a=1&b` as `a=***&b`; with `bare_too`, as `a=***&***`.
fn write_without_values(f: &mut fmt::Formatter<'_>, text: &str, ends: &[char], bare_too: bool) -> fmt::Result {
    for piece in text.split_inclusive(ends) {
        let (body, end) = match piece.strip_suffix(ends) {
            Some(body) => (body, &piece[body.len()..]),
            None => (piece, ""),
        };
        match body.split_once('=') {
            Some((name, _)) => write!(f, "{name}=***")?,
            None if bare_too && !body.is_empty() => f.write_str("***")?,
            None => f.write_str(body)?,
        }
        f.write_str(end)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Endpoint, EndpointError> {
        text.parse()
    }

    fn parameter(name: &str) -> EndpointError {
        EndpointError::Parameter(name.to_owned())
    }

    #[test]
    fn an_rtsp_address_needs_only_a_host_and_goes_over_tcp() {
        for text in ["rtsp://camera", "rtsps://10.0.0.5:322/main", "rtsp://[fe80::1]/a"] {
            let Ok(Endpoint::Rtsp { url, transport }) = read(text) else { panic!("{text}") };
            assert_eq!((url.as_str().trim_end_matches('/'), transport), (text, RtspTransport::Tcp));
        }
        assert_eq!(read("rtsp://"), Err(EndpointError::NoHost));
        assert_eq!(read("rtsp:///main"), Err(EndpointError::NoHost));
    }

    #[test]
    fn our_parameter_is_taken_out_and_the_cameras_own_are_left_as_they_were() {
        let Ok(Endpoint::Rtsp { url, transport }) =
            read("rtsp://u:p@h/cam?channel=1&callgate-transport=udp&sub%2Dtype=0&x")
        else {
            panic!()
        };
        assert_eq!(transport, RtspTransport::Udp);
        assert_eq!(url.as_str(), "rtsp://u:p@h/cam?channel=1&sub%2Dtype=0&x");

        let Ok(Endpoint::Rtsp { url, .. }) = read("rtsp://h/cam?callgate-transport=tcp") else { panic!() };
        assert_eq!(url.as_str(), "rtsp://h/cam");
    }

    #[test]
    fn unknown_or_repeated_parameters_of_ours_are_refused() {
        assert_eq!(read("rtsp://h/?callgate-transport=sctp"), Err(parameter("callgate-transport")));
        assert_eq!(read("rtsp://h/?callgate-latency=5"), Err(parameter("callgate-latency")));
        assert_eq!(
            read("rtsp://h/?callgate-transport=udp&callgate-transport=tcp"),
            Err(parameter("callgate-transport"))
        );
    }

    #[test]
    fn a_test_address_is_bounded() {
        assert_eq!(read("test://"), Ok(Endpoint::Test(TestPattern::default())));
        assert_eq!(
            read("test://?width=1280&height=720&tone=0"),
            Ok(Endpoint::Test(TestPattern { width: 1280, height: 720, tone: 0, ..TestPattern::default() }))
        );
        for (text, name) in [
            ("test://?width=641", "width"),
            ("test://?height=100000", "height"),
            ("test://?fps=0", "fps"),
            ("test://?tone=19", "tone"),
            ("test://?keyframe=-1", "keyframe"),
            ("test://?bitrate=", "bitrate"),
            ("test://?fps=5&fps=6", "fps"),
            ("test://?wdith=640", "wdith"),
            ("test://picture", "host"),
        ] {
            assert_eq!(read(text), Err(parameter(name)), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_repeating_it() {
        assert_eq!(read("sip:100@pbx"), Err(EndpointError::NotAUrl));
        assert_eq!(read("admin:hunter2@10.0.0.5/main"), Err(EndpointError::NotAUrl));
        assert_eq!(read("admin:hunter2@h/x://"), Err(EndpointError::NotAUrl));
        assert_eq!(read("rtsp://admin:hun/ter2@10.0.0.5/main"), Err(EndpointError::NotAUrl));
        assert_eq!(read("ftp://h/a.mp4"), Err(EndpointError::Scheme("ftp".into())));
    }

    #[test]
    fn no_secret_is_shown() {
        for (text, shown) in [
            ("rtsp://hunter2@10.0.0.5/main", "rtsp://***@10.0.0.5/main"),
            ("rtsp://u:hunter2@h:8554/main?channel=hunter2&hunter2", "rtsp://***@h:8554/main?channel=***&***"),
            ("rtsp://h/user=admin&password=hunter2&channel=1", "rtsp://h/user=***&password=***&channel=***"),
            ("rtsp://u:12/hunter2@h/main", "rtsp://u:12/***@h/main"),
            ("rtsp://h/a?callgate-transport=udp#hunter2", "rtsp://h/a?callgate-transport=udp#***"),
            ("test://?fps=5", "test://?width=640&height=360&fps=5&tone=440&keyframe=2&bitrate=800"),
        ] {
            let endpoint = read(text).unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(format!("{endpoint:?}"), shown);
        }
    }

    #[test]
    fn a_test_address_is_shown_as_it_can_be_read_again() {
        let endpoint = read("test://?width=320&height=240&tone=1000").unwrap();
        assert_eq!(read(&endpoint.to_string()), Ok(endpoint));
    }
}
