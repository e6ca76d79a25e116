//! Why a call ended, and whose doing it was.

use crate::protocol::EndWord;

/// Whose doing an end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    Caller,
    Endpoint,
    Network,
    /// The person who runs the gateway: a hang-up in the console, a shutdown.
    Operator,
    /// callgate itself.
    Us,
}

/// Why a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// The caller hung up.
    CallerLeft,
    /// The caller's transport closed or fell silent.
    CallerGone,
    /// The offer rang for longer than it said.
    Expired,
    /// The caller's SDP was refused by the guard.
    BadOffer(crate::sdp::SdpReject),
    /// No codec in common.
    NoCommonCodec(crate::sdp::NoCommonCodec),
    /// A limit was reached: in words.
    Busy(&'static str),
    /// The certificate is not the one that the offer's fingerprint names.
    FingerprintMismatch,
    /// ICE or DTLS did not come up in time.
    NeverConnected,
    /// The line's endpoint cannot be opened: in words, without secrets.
    EndpointFailed(String),
    /// The operator hung up.
    OperatorLeft,
    /// The gateway is shutting down.
    Shutdown,
    /// A fault of ours: in words.
    Internal(String),
}

impl EndReason {
    pub fn origin(&self) -> Origin {
        match self {
            Self::CallerLeft
            | Self::Expired
            | Self::BadOffer(_)
            | Self::NoCommonCodec(_)
            | Self::FingerprintMismatch => Origin::Caller,
            Self::CallerGone | Self::NeverConnected => Origin::Network,
            Self::EndpointFailed(_) => Origin::Endpoint,
            Self::OperatorLeft | Self::Shutdown => Origin::Operator,
            Self::Busy(_) | Self::Internal(_) => Origin::Us,
        }
    }

    /// A label for logs, counters and the call log: short, stable, one per variant.
    pub fn word(&self) -> &'static str {
        match self {
            Self::CallerLeft => "caller_left",
            Self::CallerGone => "caller_gone",
            Self::Expired => "expired",
            Self::BadOffer(_) => "bad_offer",
            Self::NoCommonCodec(_) => "no_common_codec",
            Self::Busy(_) => "busy",
            Self::FingerprintMismatch => "security_fingerprint",
            Self::NeverConnected => "never_connected",
            Self::EndpointFailed(_) => "endpoint_failed",
            Self::OperatorLeft => "operator_left",
            Self::Shutdown => "shutdown",
            Self::Internal(_) => "internal",
        }
    }

    /// The draft's reason for `call_end`.
    pub fn end_word(&self) -> EndWord {
        match self {
            Self::CallerLeft | Self::CallerGone | Self::OperatorLeft | Self::Shutdown => EndWord::UserLeft,
            Self::Expired | Self::NeverConnected => EndWord::Timeout,
            _ => EndWord::Rejected,
        }
    }

    /// A short human sentence for `call_end`'s `detail`; nothing in it is secret.
    pub fn detail(&self) -> String {
        todo!()
    }
}
