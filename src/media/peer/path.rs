//! Whether media gets through: what is seen of a secured connection from second to second.

use std::time::Duration;

use super::connection::{Connection, Ice};

/// Who takes part sends RTCP every 6 s at the latest (RFC 3550, section 6.3.1: 5 s, and a factor of up to 1.5 / 1.22), browsers every second.
/// RFC 7675 gives up after 30 s, libnice's own check after 50 s.
const SILENCE: Duration = Duration::from_secs(8);
/// ICE has failed, and yet something comes within this time: the old path serves.
const ALIVE: Duration = Duration::from_secs(2);

/// What became of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum Turn {
    Lost,
    Found,
    /// It is lost, and what came last was a goodbye that DTLS did not take for one: rarely, one that comes while the connection is new is passed over.
    Left,
    /// Nothing ever came, and ICE has given up, which takes it longer than whoever is lost is waited for.
    Gone,
}

/// The path of a connection that is secured.
#[derive(Debug)]
pub(in crate::media) struct Path {
    /// Packets that had come by then: those of the DTLS handshake.
    arrived: u64,
    lost: bool,
}

impl Path {
    /// The path of a connection that has just been secured.
    pub(in crate::media) fn new(connection: &Connection) -> Self {
        Self { arrived: connection.arrivals.packets(), lost: false }
    }

    /// Looks at `connection`; to be called about once a second.
    pub(in crate::media) fn look(&mut self, connection: &Connection) -> Option<Turn> {
        let arrivals = &connection.arrivals;
        // Who never sent anything cannot fall silent: libnice's own check remains.
        let silence = (arrivals.packets() > self.arrived).then(|| arrivals.silence());
        match self.judge(silence, connection.progress.borrow().ice) {
            Some(Turn::Lost) if arrivals.end_with_alert() => Some(Turn::Left),
            turn => turn,
        }
    }

    fn judge(&mut self, silence: Option<Duration>, ice: Ice) -> Option<Turn> {
        let lost = match (silence, ice) {
            (None, Ice::Failed) => return Some(Turn::Gone),
            (None, _) => false,
            (Some(silence), Ice::Failed) => silence > ALIVE,
            (Some(silence), _) if self.lost => silence > ALIVE,
            (Some(silence), _) => silence > SILENCE,
        };
        let before = std::mem::replace(&mut self.lost, lost);
        match (before, lost) {
            (false, true) => Some(Turn::Lost),
            (true, false) => Some(Turn::Found),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(seen: &[(Option<u64>, Ice)]) -> Vec<Option<Turn>> {
        let mut path = Path { arrived: 4, lost: false };
        seen.iter().map(|&(silence, ice)| path.judge(silence.map(Duration::from_millis), ice)).collect()
    }

    #[test]
    fn who_falls_silent_is_lost_until_something_comes() {
        let up = Ice::Connected;
        let seen = [(Some(900), up), (Some(7_900), up), (Some(8_100), up), (Some(20_000), up), (Some(100), up)];
        assert_eq!(turns(&seen), [None, None, Some(Turn::Lost), None, Some(Turn::Found)]);
    }

    #[test]
    fn a_failure_of_ice_is_none_while_the_old_path_serves() {
        let seen = [
            (Some(20), Ice::Failed),
            (Some(2_100), Ice::Failed),
            (Some(3_000), Ice::Pending),
            (Some(50), Ice::Connected),
        ];
        assert_eq!(turns(&seen), [None, Some(Turn::Lost), None, Some(Turn::Found)]);
    }

    #[test]
    fn of_who_never_sent_anything_ice_alone_tells() {
        let seen = [(None, Ice::Connected), (None, Ice::Pending), (None, Ice::Failed)];
        assert_eq!(turns(&seen), [None, None, Some(Turn::Gone)]);
    }
}
