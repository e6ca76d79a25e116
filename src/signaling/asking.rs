//! Questions to one relay: what it stores that fits a filter, read past our subscription.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nostr::{Event, JsonUtil, RelayMessage, SubscriptionId};
use tokio::sync::{mpsc, oneshot};

use super::verdict::Refusal;

/// The largest event that is read in answer to a question, in bytes of its message: follow lists are long.
const MAX_FOUND: usize = 512 * 1024;

/// How a relay ended its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// That was all.
    Told,
    Refused(Refusal),
}

/// Who asks: where events go, and how it ended.
#[derive(Debug)]
struct Asker {
    found: mpsc::Sender<Event>,
    ended: oneshot::Sender<Ended>,
}

/// An answer on its way. The events end when the relay has told all, refuses, or is gone; `ended` then fails in the last case.
#[derive(Debug)]
pub(super) struct Answers {
    pub found: mpsc::Receiver<Event>,
    pub ended: oneshot::Receiver<Ended>,
}

/// The questions that a relay has not answered yet. Held for a look-up only.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<HashMap<SubscriptionId, Asker>>);

impl Questions {
    /// A question under this name, for `most` events: more are dropped.
    pub(super) fn ask(&self, id: SubscriptionId, most: usize) -> Answers {
        let (found_to, found) = mpsc::channel(most.max(1));
        let (ended_to, ended) = oneshot::channel();
        self.open().insert(id, Asker { found: found_to, ended: ended_to });
        Answers { found, ended }
    }

    /// Whether the message is an event that answers a question; it is settled then.
    pub(super) fn take(&self, text: &str) -> bool {
        let Some(id) = subscription_of(text) else { return false };
        let questions = self.open();
        // Looked for by its text: nearly every event is for our subscription.
        let Some((_, asker)) = questions.iter().find(|(asked, _)| asked.as_str() == id) else { return false };
        if text.len() <= MAX_FOUND
            && let Ok(RelayMessage::Event { event, .. }) = RelayMessage::from_json(text)
        {
            // Full: a relay that sends more than it was asked for.
            let _ = asker.found.try_send(event.into_owned());
        }
        true
    }

    /// The relay has ended its answer, or we want no more of it. Whether it was open.
    pub(super) fn end(&self, id: &SubscriptionId, how: Ended) -> bool {
        let asker = self.open().remove(id);
        let was_open = asker.is_some();
        if let Some(asker) = asker {
            // The asker may have given up.
            let _ = asker.ended.send(how);
        }
        was_open
    }

    /// The connection is gone, and the questions with it.
    pub(super) fn clear(&self) {
        self.open().clear();
    }

    fn open(&self) -> MutexGuard<'_, HashMap<SubscriptionId, Asker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscription that an `EVENT` message names, if it is written without escapes, as ours are.
fn subscription_of(text: &str) -> Option<&str> {
    let rest = text.trim_start().strip_prefix('[')?.trim_start().strip_prefix("\"EVENT\"")?;
    let rest = rest.trim_start().strip_prefix(',')?.trim_start().strip_prefix('"')?;
    rest.split_once('"').map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_subscription_is_read_whatever_the_white_space() {
        assert_eq!(subscription_of(r#"["EVENT","abc",{}]"#), Some("abc"));
        assert_eq!(subscription_of(" [ \"EVENT\" ,\n \"abc\" ,{}]"), Some("abc"));
        for other in ["", "[", r#"["EOSE","abc"]"#, r#"["EVENT",{}]"#, r#"["EVENT","abc"#] {
            assert_eq!(subscription_of(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn only_what_answers_a_question_goes_to_the_asker_and_no_more_than_it_asked_for() {
        let questions = Questions::default();
        let event = nostr::EventBuilder::text_note("here").sign_with_keys(&nostr::Keys::generate()).unwrap();
        let message = |id: &str| RelayMessage::event(SubscriptionId::new(id), event.clone()).as_json();
        let mut answers = questions.ask(SubscriptionId::new("q"), 2);

        assert!(!questions.take(&message("other")));
        for _ in 0..5 {
            assert!(questions.take(&message("q")));
        }
        assert!(questions.end(&SubscriptionId::new("q"), Ended::Told));
        assert!(!questions.take(&message("q")), "it is answered");

        assert_eq!(
            (answers.found.recv().await, answers.found.recv().await),
            (Some(event.clone()), Some(event.clone()))
        );
        assert_eq!((answers.found.recv().await, answers.ended.await), (None, Ok(Ended::Told)));
    }
}
