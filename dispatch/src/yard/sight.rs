//! Pure: what is to be seen of a group's yard.
use super::{At, Yard};
use crate::seats::Occupant;
use crate::view::ConsumerId;
use std::time::Duration;

impl<T: Clone, A: Occupant> Yard<T, A> {
    /// Messages that are in.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Messages that wait for room or for their key.
    pub(crate) fn waiting(&self) -> usize {
        self.room.len() + self.lanes.waiting()
    }

    pub(crate) fn keys(&self) -> usize {
        self.lanes.taken()
    }

    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.room.oldest()
    }

    /// All messages that are in.
    pub(crate) fn tickets(&self) -> Vec<T> {
        self.entries.iter().map(|(_, entry)| entry.ticket.clone()).collect()
    }

    /// Those that are out at a consumer.
    pub(crate) fn tickets_at(&self, id: ConsumerId) -> Vec<T> {
        let there =
            self.entries.iter().filter(|(_, entry)| matches!(entry.at, At::Out { consumer, .. } if consumer == id));
        there.map(|(_, entry)| entry.ticket.clone()).collect()
    }
}
