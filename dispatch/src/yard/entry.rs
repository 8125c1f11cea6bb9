//! Pure: one message in the yard.
use crate::routing::Choice;
use crate::view::ConsumerId;
use std::time::Duration;

/// What a message touches whenever it comes, goes out or leaves: a line of memory, which may go from core to core with it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry<T> {
    pub(super) ticket: T,
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
    use std::sync::Arc;

    #[test]
    fn what_each_message_touches_is_one_line_of_memory() {
        assert_eq!(size_of::<Entry<Arc<u64>>>(), 64);
    }
}
