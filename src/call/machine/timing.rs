//! How long a call waits for what.

/// Deadlines of a call, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the answer to a secured connection.
    pub connect: u64,
    /// From a relay's taking an answer to the caller's first connectivity check, before the answer is sent again.
    pub again: u64,
    /// From the loss of a live call's path to an ICE restart of ours: the other side has had time for one by then.
    pub restart: u64,
    /// Between two attempts at that.
    pub restart_again: u64,
    /// From the loss of the path to the end of the call.
    pub lost: u64,
    /// For the peer to come down.
    pub close: u64,
}

impl Timing {
    /// Those of a real call.
    pub const DEFAULT: Self = {
        // ICE over a TURN server on a slow phone network takes up to 15 s; callers give up before 30 s.
        // Teardown is 250 ms at worst; past 10 s the peer is counted as leaked and the call is over all the same.
        // A caller's first check follows its answer by a few round trips, over relay and network: well under 2 s.
        // A path counts as lost after 8 s of silence; consent to send ends 30 s after the last sign of it (RFC 7675, section 5.1).
        Self { connect: 30_000, again: 2_000, restart: 1_000, restart_again: 4_000, lost: 22_000, close: 10_000 }
    };
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}
