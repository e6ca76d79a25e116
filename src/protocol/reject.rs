//! Why an event was not taken.

/// Why an event was dropped: counted by [`Reject::word`], never answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    #[error("the event's kind {0} is not one of 14300-14303")]
    Kind(u16),
    #[error("the event has {0} bytes, over the limit")]
    Oversized(usize),
    #[error("the {0} tag is missing or malformed")]
    Tag(&'static str),
    #[error("the content cannot be decrypted")]
    Sealed,
    #[error("the payload's {0} is missing or malformed")]
    Payload(&'static str),
    #[error("the SDP has {0} bytes, over the limit of {max}", max = super::MAX_SDP_BYTES)]
    SdpOversized(usize),
    #[error("the event expired at {0}")]
    Expired(u64),
}

impl Reject {
    /// A label for counters: short, stable, one per variant.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Kind(_) => "kind",
            Self::Oversized(_) => "oversized",
            Self::Tag(_) => "tag",
            Self::Sealed => "sealed",
            Self::Payload(_) => "payload",
            Self::SdpOversized(_) => "sdp_oversized",
            Self::Expired(_) => "expired",
        }
    }
}
