//! Calls that ring together: the first that is answered has it, the others end.

use std::sync::Arc;

use tokio::sync::watch;

/// One of the calls. Who wins is decided where the answer is, without waiting for anyone.
#[derive(Debug)]
pub(super) struct Entrant {
    number: usize,
    /// The number of the one who won.
    winner: Arc<watch::Sender<Option<usize>>>,
    seen: watch::Receiver<Option<usize>>,
}

/// As many entrants as there are calls.
pub(super) fn race(calls: usize) -> Vec<Entrant> {
    let (winner, seen) = watch::channel(None);
    let winner = Arc::new(winner);
    (0..calls).map(|number| Entrant { number, winner: winner.clone(), seen: seen.clone() }).collect()
}

impl Entrant {
    /// This call is answered: whether it is the first.
    pub(super) fn wins(self) -> bool {
        self.winner.send_if_modified(|winner| {
            let first = winner.is_none();
            winner.get_or_insert(self.number);
            first
        })
    }

    /// Waits until another call has won; for ever when there is no race.
    pub(super) async fn lost(entrant: &mut Option<Self>) {
        match entrant {
            Some(Self { number, seen, .. }) => {
                let number = *number;
                // It cannot be gone: the entrant itself holds the other end.
                let _ = seen.wait_for(|winner| winner.is_some_and(|winner| winner != number)).await;
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_who_is_answered_wins_and_the_others_hear_of_it() {
        let mut entrants = race(3).into_iter();
        let (mut one, two, three) = (entrants.next(), entrants.next().unwrap(), entrants.next().unwrap());
        assert!(two.wins());
        assert!(!three.wins(), "too late by a moment");
        Entrant::lost(&mut one).await;
        assert!(!one.unwrap().wins());
    }
}
