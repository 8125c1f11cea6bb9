//! Pure: a table whose keys only grow, as those of a supervisor's children do: in their order, and found without a search as
//! long as none between has gone.
use crate::children::Key;

/// Below so many places, empty ones are not worth their removal.
const FEW: usize = 32;

/// Rows stand behind each other in the order of their keys. One that goes leaves its place empty; when half of the places are
/// empty, the others close up.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    places: Vec<(Key, Option<T>)>,
    /// How many places are not empty.
    taken: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { places: Vec::new(), taken: 0 }
    }
}

impl<T> Rows<T> {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self { places: Vec::with_capacity(rows), taken: 0 }
    }

    /// Adds a row, whose key is above all that there have been.
    pub(crate) fn push(&mut self, key: Key, row: T) {
        debug_assert!(self.places.last().is_none_or(|(last, _)| *last < key), "keys only grow");
        self.places.push((key, Some(row)));
        self.taken += 1;
    }

    /// The first place at or after this key.
    fn position(&self, key: Key) -> usize {
        let (Some((first, _)), Some((last, _))) = (self.places.first(), self.places.last()) else { return 0 };
        if key <= *first {
            return 0;
        }
        if key > *last {
            return self.places.len();
        }
        // Every key between takes a place at most, whichever end is counted from.
        let end = self.places.len() - 1;
        let at_most = usize::try_from(key.0 - first.0).map_or(end, |distance| distance.min(end));
        let at_least = usize::try_from(last.0 - key.0).map_or(0, |distance| end.saturating_sub(distance));
        at_least + self.places[at_least..at_most].partition_point(|(other, _)| *other < key)
    }

    #[inline]
    fn find(&self, key: Key) -> Option<usize> {
        let (first, _) = self.places.first()?;
        let guess = usize::try_from(key.0.wrapping_sub(first.0)).unwrap_or(usize::MAX);
        match self.places.get(guess) {
            Some((found, _)) if *found == key => Some(guess),
            _ => self.search(key),
        }
    }

    #[inline(never)]
    fn search(&self, key: Key) -> Option<usize> {
        let at = self.position(key);
        self.places.get(at).is_some_and(|(found, _)| *found == key).then_some(at)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.find(key).and_then(|at| self.places[at].1.as_ref())
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.find(key).and_then(|at| self.places[at].1.as_mut())
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let at = self.find(key)?;
        let row = self.places[at].1.take()?;
        self.taken -= 1;
        while self.places.last().is_some_and(|(_, row)| row.is_none()) {
            self.places.pop();
        }
        if self.places.len() >= FEW && 2 * self.taken < self.places.len() {
            self.places.retain(|(_, row)| row.is_some());
            self.places.shrink_to(2 * self.taken);
        }
        Some(row)
    }

    /// From a key on, in order.
    pub(crate) fn from(&self, key: Key) -> impl DoubleEndedIterator<Item = (Key, &T)> {
        self.places[self.position(key)..].iter().filter_map(|(key, row)| Some((*key, row.as_ref()?)))
    }

    /// The first key at or after `from` and before `until`.
    pub(crate) fn first_in(&self, from: Key, until: Key) -> Option<Key> {
        self.from(from).next().map(|(key, _)| key).filter(|key| *key < until)
    }

    /// The last key at or after `from` and before `until`.
    pub(crate) fn last_in(&self, from: Key, until: Key) -> Option<Key> {
        let before = &self.places[..self.position(until)];
        before.iter().rev().find(|(_, row)| row.is_some()).map(|(key, _)| *key).filter(|key| *key >= from)
    }

    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    /// All rows, in order.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|(_, row)| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Keys are skipped, rows removed from anywhere, and at each step everything is as in a map.
        #[test]
        fn rows_are_found_as_in_a_map(steps in proptest::collection::vec((0..4u8, 0..400u64), 1..300)) {
            let (mut rows, mut map, mut next) = (Rows::default(), BTreeMap::new(), 0);
            for (step, number) in steps {
                let key = Key(number % (next + 2));
                if step < 2 {
                    next += u64::from(step);
                    rows.push(Key(next), number);
                    map.insert(Key(next), number);
                    next += 1;
                } else {
                    prop_assert_eq!(rows.remove(key), map.remove(&key));
                }
                let until = Key(key.0 + number % 7);
                prop_assert_eq!(rows.len(), map.len());
                prop_assert_eq!(rows.get(key), map.get(&key));
                prop_assert_eq!(rows.get_mut(key).copied(), map.get(&key).copied());
                prop_assert_eq!(rows.first_in(key, until), map.range(key..until).next().map(|(key, _)| *key));
                prop_assert_eq!(rows.last_in(key, until), map.range(key..until).next_back().map(|(key, _)| *key));
                prop_assert_eq!(rows.last_in(Key::FIRST, Key::END), map.keys().next_back().copied());
                let (ours, theirs): (Vec<_>, Vec<_>) = (rows.from(key).collect(), map.range(key..).map(|(k, v)| (*k, v)).collect());
                prop_assert_eq!(ours, theirs);
                prop_assert!(rows.places.len() <= FEW + 2 * rows.taken);
            }
            prop_assert_eq!(rows.into_rows().collect::<Vec<_>>(), map.into_values().collect::<Vec<_>>());
        }
    }
}
