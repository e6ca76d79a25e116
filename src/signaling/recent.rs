//! A bounded set that forgets what went in first.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// The last so many things that were put in.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    set: HashSet<T>,
    /// The set's elements in the order that they came.
    order: VecDeque<T>,
    capacity: usize,
}

impl<T: Eq + Hash + Clone> Recent<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { set: HashSet::new(), order: VecDeque::new(), capacity }
    }

    pub(crate) fn contains(&self, item: &T) -> bool {
        self.set.contains(item)
    }

    /// Whether the item was not there.
    pub(crate) fn insert(&mut self, item: T) -> bool {
        if !self.set.insert(item.clone()) {
            return false;
        }
        self.order.push_back(item);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_the_last_ones_and_forgets_the_oldest() {
        let mut recent = Recent::new(3);
        for n in 0..4 {
            assert!(recent.insert(n));
        }
        assert!(!recent.insert(3));
        assert!(!recent.contains(&0));
        assert!(recent.contains(&1));
        assert_eq!(recent.order.len(), 3);
    }
}
