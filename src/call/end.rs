//! Why a call ended, and whose doing it was.

use super::Millis;
use crate::protocol::{Answer, Body, CallEnd, EndCause, EndWord};

/// Whose doing an end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    Caller,
    /// Whoever the line called.
    Callee,
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
    /// The key is not on the line's list.
    NotAllowed,
    /// A limit was reached: in words.
    Busy(&'static str),
    /// The certificate is not the one that the offer's fingerprint names.
    FingerprintMismatch,
    /// ICE or DTLS did not come up in time.
    NeverConnected,
    /// The line's endpoint cannot be opened: in words, without secrets.
    EndpointFailed(String),
    /// What the line played is over.
    PlayedOut,
    /// What the line plays cannot be played, or not any further: in words.
    Unplayable(String),
    /// The operator hung up.
    OperatorLeft,
    /// The operator took back the invitation that the caller came by.
    InvitationRevoked,
    /// The gateway is shutting down.
    Shutdown,
    /// Whoever the line called hung up.
    CalleeLeft,
    /// The transport of whoever the line called closed or fell silent.
    CalleeGone,
    /// Whoever the line called does not want the call.
    Declined,
    /// Whoever the line called has another call.
    CalleeBusy,
    /// Nobody answered while it rang.
    Unanswered,
    /// No relay took the line's offer while it would have rung.
    NotSent,
    /// Somebody else, who was rung at the same time, answered.
    AnsweredByOther,
    /// The answer of whoever the line called was refused by the guard.
    BadAnswer(crate::sdp::SdpReject),
    /// A fault of ours: in words.
    Internal(String),
}

impl EndReason {
    /// Whose doing it was.
    pub fn origin(&self) -> Origin {
        match self {
            Self::CallerLeft
            | Self::Expired
            | Self::NotAllowed
            | Self::BadOffer(_)
            | Self::NoCommonCodec(_)
            | Self::FingerprintMismatch => Origin::Caller,
            Self::CalleeLeft
            | Self::Declined
            | Self::CalleeBusy
            | Self::Unanswered
            | Self::AnsweredByOther
            | Self::BadAnswer(_) => Origin::Callee,
            Self::CallerGone | Self::CalleeGone | Self::NotSent | Self::NeverConnected => Origin::Network,
            Self::EndpointFailed(_) | Self::PlayedOut | Self::Unplayable(_) => Origin::Endpoint,
            Self::OperatorLeft | Self::InvitationRevoked | Self::Shutdown => Origin::Operator,
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
            Self::NotAllowed => "not_allowed",
            Self::Busy(_) => "busy",
            Self::FingerprintMismatch => "security_fingerprint",
            Self::NeverConnected => "never_connected",
            Self::EndpointFailed(_) => "endpoint_failed",
            Self::PlayedOut => "played_out",
            Self::Unplayable(_) => "unplayable",
            Self::OperatorLeft => "operator_left",
            Self::InvitationRevoked => "invitation_revoked",
            Self::Shutdown => "shutdown",
            Self::CalleeLeft => "callee_left",
            Self::CalleeGone => "callee_gone",
            Self::Declined => "declined",
            Self::CalleeBusy => "callee_busy",
            Self::Unanswered => "unanswered",
            Self::NotSent => "not_sent",
            Self::AnsweredByOther => "answered_by_other",
            Self::BadAnswer(_) => "bad_answer",
            Self::Internal(_) => "internal",
        }
    }

    /// The draft's reason for `call_end`.
    pub fn end_word(&self) -> EndWord {
        match self {
            Self::CallerLeft
            | Self::CallerGone
            | Self::PlayedOut
            | Self::OperatorLeft
            | Self::InvitationRevoked
            | Self::Shutdown
            | Self::CalleeLeft
            | Self::CalleeGone
            | Self::AnsweredByOther => EndWord::UserLeft,
            Self::Expired | Self::NeverConnected | Self::Unanswered | Self::NotSent => EndWord::Timeout,
            _ => EndWord::Rejected,
        }
    }

    /// What `call_end` says beside that.
    fn end_cause(&self) -> Option<EndCause> {
        match self {
            Self::Declined => Some(EndCause::Declined),
            Self::CalleeBusy => Some(EndCause::Busy),
            Self::AnsweredByOther => Some(EndCause::Elsewhere),
            _ => None,
        }
    }

    /// The same reason in a call that the line makes.
    #[must_use]
    pub(super) fn of_called(self) -> Self {
        match self {
            Self::CallerLeft => Self::CalleeLeft,
            Self::CallerGone => Self::CalleeGone,
            // Nothing rang yet.
            Self::Expired => Self::EndpointFailed("it did not open in time".to_owned()),
            other => other,
        }
    }

    /// A short human sentence for `call_end`'s `detail`. Nothing in it is secret: why an endpoint failed, or what went wrong
    /// here, is for the operator's log and says too much of the network behind the gateway.
    pub fn detail(&self) -> String {
        let text = match self {
            Self::CallerLeft => "The caller hung up.".to_owned(),
            Self::CallerGone => "The connection to the caller was lost.".to_owned(),
            Self::Expired => "The call was not answered in time.".to_owned(),
            Self::BadOffer(reject) => format!("The offer's SDP was refused: {reject}."),
            Self::NoCommonCodec(none) => none.to_string(),
            Self::NotAllowed => "You are not on this line's list.".to_owned(),
            Self::Busy(limit) => format!("Busy: {limit}."),
            Self::FingerprintMismatch => "The certificate is not the one that the signed description names.".to_owned(),
            Self::NeverConnected => "No connection came up in time.".to_owned(),
            Self::EndpointFailed(_) => "What this line connects to cannot be reached.".to_owned(),
            Self::PlayedOut => "The recording is over.".to_owned(),
            Self::Unplayable(_) => "What this line plays cannot be played.".to_owned(),
            Self::OperatorLeft => "The other side hung up.".to_owned(),
            Self::InvitationRevoked => "The invitation was taken back.".to_owned(),
            Self::Shutdown => "The gateway is shutting down.".to_owned(),
            Self::CalleeLeft => "Who was called hung up.".to_owned(),
            Self::CalleeGone => "The connection to who was called was lost.".to_owned(),
            Self::Declined => "The call was declined.".to_owned(),
            Self::CalleeBusy => "Who was called has another call.".to_owned(),
            Self::Unanswered => "Nobody answered.".to_owned(),
            Self::NotSent => "No relay took the call.".to_owned(),
            Self::AnsweredByOther => "Somebody else answered.".to_owned(),
            Self::BadAnswer(reject) => format!("The answer cannot be used: {reject}"),
            Self::Internal(_) => "The gateway had a fault.".to_owned(),
        };
        CallEnd::fit_detail(&text)
    }

    /// The `call_end` that says so, at `now`.
    pub fn call_end(&self, now: Millis) -> CallEnd {
        CallEnd {
            detail: Some(self.detail()),
            cause: self.end_cause(),
            ..CallEnd::new(self.end_word(), now.unix_seconds())
        }
    }
}

/// What is sent to refuse an offer, in this order; also for offers that never become a call. The answer alone would refuse it; only
/// the end can say why.
pub fn refusal(now: Millis, reason: &EndReason) -> [Body; 2] {
    [Body::Answer(Answer::refusing(now.unix_seconds())), Body::End(reason.call_end(now))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_short_and_tells_nothing_of_the_inside() {
        let secret = "rtsp://user:hunter2@10.0.0.5 refused the connection";
        let reasons = [
            EndReason::EndpointFailed(secret.into()),
            EndReason::Unplayable(secret.into()),
            EndReason::Internal(secret.into()),
            EndReason::NoCommonCodec(crate::sdp::NoCommonCodec { detail: "H265 ".repeat(200) }),
            EndReason::BadOffer(crate::sdp::SdpReject { line: 3, what: "the m-line is malformed" }),
        ];
        for reason in reasons {
            let detail = reason.detail();
            assert!(detail.len() <= crate::protocol::MAX_DETAIL_BYTES);
            assert!(!detail.contains("hunter2") && !detail.contains("10.0.0.5"), "{detail}");
        }
    }

    #[test]
    fn a_refusal_answers_no_and_then_ends_the_call() {
        let [answer, end] = refusal(Millis(5_999), &EndReason::Busy("all lines are taken"));
        assert_eq!(answer, Body::Answer(Answer::refusing(5)));
        let detail = Some("Busy: all lines are taken.".to_owned());
        assert_eq!(end, Body::End(CallEnd { detail, ..CallEnd::new(EndWord::Rejected, 5) }));
    }
}
