//! How signaling travels. A dialect is a codec: what a relay sees (its [`Container`]), what lies in that, and how it is written.
//!
//! [`Dialect::of`] tells dialects apart by the container and by the kind of what it holds, since other clients use the same container
//! with kinds of their own. [`Envelope::read_in`](super::Envelope::read_in), [`open`](super::open) and [`seal`](super::seal) then go by
//! the dialect; nothing outside of `protocol` does more than to keep it for the reply.

use std::fmt;

use super::{MAX_EVENT_BYTES, MAX_WRAP_BYTES, Reject, SignalKind, WRAP_KIND};

/// How a signaling event travels. A reply uses that of what it replies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The signed event itself, of kind 14300-14303: relays see who calls whom, and keep only the newest of each author and kind.
    Plain,
    /// The same signed event, encrypted inside a kind 21059 that a key of no other use signs: relays see the receiver alone, and
    /// hand each on.
    Wrapped,
}

/// What a relay sees of a signaling event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// The event itself.
    Bare,
    /// Kind 21059, an ephemeral gift wrap (NIP-59): the event is inside, encrypted to the receiver.
    Wrap,
}

impl Container {
    /// The kinds of event that may hold signaling: what is asked of relays.
    pub const KINDS: [u16; 5] = [14300, 14301, 14302, 14303, WRAP_KIND];

    /// What an event of this kind is, if it may hold signaling.
    pub fn of(kind: u16) -> Option<Self> {
        match kind {
            WRAP_KIND => Some(Self::Wrap),
            _ => SignalKind::from_number(kind).map(|_| Self::Bare),
        }
    }

    /// The largest event that is read, in bytes of its JSON.
    pub fn max_bytes(self) -> usize {
        match self {
            Self::Bare => MAX_EVENT_BYTES,
            Self::Wrap => MAX_WRAP_BYTES,
        }
    }
}

impl Dialect {
    /// The dialect of an event of this kind that was found in this container.
    ///
    /// # Errors
    /// [`Reject::Kind`] when there is none.
    pub fn of(container: Container, kind: u16) -> Result<Self, Reject> {
        match (container, SignalKind::from_number(kind)) {
            (Container::Bare, Some(_)) => Ok(Self::Plain),
            (Container::Wrap, Some(_)) => Ok(Self::Wrapped),
            (_, None) => Err(Reject::Kind(kind)),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Wrapped => "wrapped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_that_is_asked_of_relays_is_a_container_and_no_other_is() {
        for kind in Container::KINDS {
            assert!(Container::of(kind).is_some(), "{kind}");
        }
        for kind in SignalKind::ALL {
            assert!(Container::KINDS.contains(&kind.number()));
        }
        for kind in [0, 1, 1059, 14299, 14304, 21058, 21060] {
            assert_eq!(Container::of(kind), None, "{kind}");
        }
    }

    #[test]
    fn a_wrap_holds_what_could_have_come_bare_and_no_further_wrap() {
        for kind in SignalKind::ALL.map(SignalKind::number) {
            assert_eq!(Dialect::of(Container::Bare, kind), Ok(Dialect::Plain));
            assert_eq!(Dialect::of(Container::Wrap, kind), Ok(Dialect::Wrapped));
        }
        assert_eq!(Dialect::of(Container::Wrap, WRAP_KIND), Err(Reject::Kind(WRAP_KIND)));
    }
}
