//! Pure: the messages in the yard.
use crate::routing::Choice;
use crate::view::ConsumerId;
use slab::Slab;
use std::ops::{Index, IndexMut};
use std::time::Duration;

/// All that are in, by their slots. Who each is stands in a slab, which hands the slots out; what is noted of each stands beside it,
/// so that it is written where it is to be, and not carried there.
#[derive(Debug)]
pub(super) struct Entries<T> {
    tickets: Slab<T>,
    /// Of slots that were used before.
    noted: Vec<Entry>,
}

impl<T> Entries<T> {
    pub(super) fn new() -> Self {
        Self { tickets: Slab::new(), noted: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }

    /// No slot is used that is not less.
    pub(super) fn end(&self) -> usize {
        self.noted.len()
    }

    /// The slot of the next that comes.
    pub(super) fn vacant_slot(&self) -> usize {
        self.tickets.vacant_key()
    }

    #[inline]
    pub(super) fn insert(&mut self, ticket: T, entry: Entry) {
        let slot = self.tickets.insert(ticket);
        match self.noted.get_mut(slot) {
            Some(last) => *last = entry,
            None => self.noted.push(entry),
        }
    }

    /// Takes it out; what was noted of it can still be read.
    pub(super) fn remove(&mut self, slot: usize) -> T {
        self.tickets.remove(slot)
    }

    pub(super) fn ticket(&self, slot: usize) -> &T {
        &self.tickets[slot]
    }

    pub(super) fn get(&self, slot: usize) -> Option<(&T, &Entry)> {
        self.tickets.get(slot).map(|ticket| (ticket, &self.noted[slot]))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T, &Entry)> {
        self.tickets.iter().map(|(slot, ticket)| (slot, ticket, &self.noted[slot]))
    }
}

impl<T> Index<usize> for Entries<T> {
    type Output = Entry;

    fn index(&self, slot: usize) -> &Entry {
        &self.noted[slot]
    }
}

impl<T> IndexMut<usize> for Entries<T> {
    fn index_mut(&mut self, slot: usize) -> &mut Entry {
        &mut self.noted[slot]
    }
}

/// What a message touches whenever it comes, goes out or leaves: a line of memory, which may go from core to core with it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    pub(super) id: u64,
    /// When it was let in.
    pub(super) entered: Duration,
    pub(super) at: At,
    /// Its conversation has the berth of its place.
    pub(super) moored: bool,
    pub(super) keyed: bool,
}

/// What else is known of it, which matters only while it waits or goes out again.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) key: Option<u64>,
    pub(super) deadline: Duration,
    pub(super) choice: Choice,
    pub(super) since: Duration,
    /// It went back so often after a delivery.
    pub(super) again: u32,
    /// It came with a slot.
    pub(super) promised: bool,
    /// Its conversation asks for each of its places, the first one too.
    pub(super) routes_itself: bool,
    /// The waiting room has let it in, or need not any more.
    pub(super) admitted: bool,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// With its conversation, between two deliveries.
    Parked,
    /// Waiting for its key.
    Lane,
    /// Waiting for room.
    Room(u64),
    Out {
        consumer: ConsumerId,
        incarnation: u64,
        /// Where it stood among the seats.
        near: u32,
        probe: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_message_touches_is_one_line_of_memory() {
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn what_is_noted_goes_with_the_slot() {
        let entry = |id| Entry { id, entered: Duration::ZERO, at: At::Parked, moored: false, keyed: false };
        let mut entries = Entries::new();
        for id in 0..4 {
            assert_eq!(entries.vacant_slot(), usize::try_from(id).expect("small"));
            entries.insert(id, entry(id));
        }
        assert_eq!((entries.remove(1), entries[1].id, entries.get(1).is_none()), (1, 1, true));
        assert_eq!((entries.vacant_slot(), entries.len(), entries.end()), (1, 3, 4));
        entries.insert(7, entry(7));
        let all: Vec<_> = entries.iter().map(|(slot, ticket, entry)| (slot, *ticket, entry.id)).collect();
        assert_eq!(all, [(0, 0, 0), (1, 7, 7), (2, 2, 2), (3, 3, 3)]);
    }
}
