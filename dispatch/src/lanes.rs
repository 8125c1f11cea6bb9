//! Pure: keys: at most one message of a key is on its way, and the others of that key wait for it in the order of arrival.
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use std::collections::VecDeque;

/// The lanes that are taken. `E` stands for a message.
#[derive(Debug)]
pub(crate) struct Lanes<E> {
    taken: IndexMap<u64, Lane<E>, FxBuildHasher>,
    waiting: usize,
}

#[derive(Debug)]
struct Lane<E> {
    waiting: VecDeque<E>,
    /// After a message that ended badly: nobody goes on until somebody says so.
    held: bool,
}

/// What asking for a key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// The key is the message's.
    Taken,
    /// The message waits for it.
    Waits,
    /// So many wait for it already: nothing has changed.
    Full,
}

impl<E> Default for Lanes<E> {
    fn default() -> Self {
        Self { taken: IndexMap::default(), waiting: 0 }
    }
}

impl<E: Copy + PartialEq> Lanes<E> {
    /// How many wait for a key.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many keys are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.len()
    }

    pub(crate) fn is_taken(&self, key: u64) -> bool {
        self.taken.contains_key(&key)
    }

    pub(crate) fn enter(&mut self, key: u64, message: E, most: usize) -> Entered {
        let Some(lane) = self.taken.get_mut(&key) else {
            self.taken.insert(key, Lane { waiting: VecDeque::new(), held: false });
            return Entered::Taken;
        };
        if lane.waiting.len() >= most {
            return Entered::Full;
        }
        lane.waiting.push_back(message);
        self.waiting += 1;
        Entered::Waits
    }

    /// One that waited does not any more.
    pub(crate) fn leave(&mut self, key: u64, message: E) {
        let Some(lane) = self.taken.get_mut(&key) else { return };
        if let Some(at) = lane.waiting.iter().position(|waiting| *waiting == message) {
            lane.waiting.remove(at);
            self.waiting -= 1;
        }
    }

    /// The message that had the key is done with. Returns the one that has it now; with `hold`, nobody has until
    /// [`Lanes::resume`].
    #[must_use]
    pub(crate) fn release(&mut self, key: u64, hold: bool) -> Option<E> {
        let lane = self.taken.get_mut(&key)?;
        lane.held = hold;
        if hold {
            return None;
        }
        self.next(key)
    }

    /// Lets a key go on that was held; returns whether it was, and the message that has it now.
    pub(crate) fn resume(&mut self, key: u64) -> (bool, Option<E>) {
        match self.taken.get_mut(&key) {
            Some(lane) if lane.held => {
                lane.held = false;
                (true, self.next(key))
            }
            _ => (false, None),
        }
    }

    fn next(&mut self, key: u64) -> Option<E> {
        let next = self.taken.get_mut(&key)?.waiting.pop_front();
        if next.is_some() {
            self.waiting -= 1;
        } else {
            self.taken.swap_remove(&key);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_key_goes_from_one_to_the_next_in_order_and_is_free_after_the_last() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.enter(7, 1, 2), Entered::Taken);
        assert_eq!(lanes.enter(8, 2, 2), Entered::Taken);
        assert_eq!([3, 4, 5].map(|m| lanes.enter(7, m, 2)), [Entered::Waits, Entered::Waits, Entered::Full]);
        assert_eq!((lanes.waiting(), lanes.taken()), (2, 2));
        assert_eq!(lanes.release(7, false), Some(3));
        lanes.leave(7, 4);
        assert_eq!((lanes.release(7, false), lanes.is_taken(7), lanes.waiting()), (None, false, 0));
    }

    #[test]
    fn a_held_key_waits_for_somebody() {
        let mut lanes = Lanes::default();
        lanes.enter(7, 1, 9);
        lanes.enter(7, 2, 9);
        assert_eq!(lanes.resume(7), (false, None), "it is not held yet");
        assert_eq!((lanes.release(7, true), lanes.is_taken(7)), (None, true));
        assert_eq!(lanes.enter(7, 3, 9), Entered::Waits);
        assert_eq!(lanes.resume(7), (true, Some(2)));
        assert_eq!(lanes.release(7, false), Some(3));
    }

    proptest! {
        /// Against the plainest model: a queue for each key, whose first has it.
        #[test]
        fn each_key_is_a_queue(acts in prop::collection::vec((0..4u8, 0..4u64), 0..200)) {
            let mut lanes = Lanes::default();
            let mut model: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            for (n, (act, key)) in acts.into_iter().enumerate() {
                let queue = model.entry(key).or_default();
                match act {
                    0 | 1 => {
                        let expected = match queue.len() { 0 => Entered::Taken, 5.. => Entered::Full, _ => Entered::Waits };
                        prop_assert_eq!(lanes.enter(key, n, 4), expected);
                        if expected != Entered::Full { queue.push(n); }
                    }
                    2 => {
                        if !queue.is_empty() { queue.remove(0); }
                        prop_assert_eq!(lanes.release(key, false), queue.first().copied());
                    }
                    _ if queue.len() > 1 => {
                        let last = queue.pop().expect("more than one");
                        lanes.leave(key, last);
                    }
                    _ => {}
                }
                prop_assert_eq!(lanes.waiting(), model.values().map(|q| q.len().saturating_sub(1)).sum::<usize>());
                prop_assert_eq!(lanes.taken(), model.values().filter(|q| !q.is_empty()).count());
            }
        }
    }
}
