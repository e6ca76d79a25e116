//! Endpoint addresses.

use url::Url;

/// Where a line's media comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `rtsp://` or `rtsps://`; the query parameter `callgate-transport=udp` asks for UDP, and is taken out of the address.
    Rtsp { url: Url, transport: RtspTransport },
    /// `test://`: a moving picture with a clock in it, and a tone.
    Test(TestPattern),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection; UDP only when the server refuses it.
    Tcp,
    Udp,
}

/// `test://?width=640&height=360&fps=25&tone=440&keyframe=2&bitrate=800`: all optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestPattern {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Hz; 0 for silence.
    pub tone: u32,
    /// Seconds between keyframes.
    pub keyframe: u32,
    /// kbit/s.
    pub bitrate: u32,
}

/// Why an address was refused. No variant holds the address: it may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("it is not a URL")]
    NotAUrl,
    #[error("the scheme {0:?} is not one of rtsp, rtsps, test")]
    Scheme(String),
    #[error("it names no host")]
    NoHost,
    #[error("its parameter {0} is not known or out of range")]
    Parameter(String),
}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let _ = text;
        todo!()
    }
}

/// Redacted: `rtsp://***@10.0.0.5/main`.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}
