//! Pure: one message in the yard.
use crate::routing::Choice;
use crate::view::ConsumerId;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) ticket: T,
    /// What of the request matters once it is in.
    pub(super) id: u64,
    pub(super) key: Option<u64>,
    pub(super) deadline: Duration,
    pub(super) choice: Choice,
    /// It came with a slot.
    pub(super) promised: bool,
    /// When it was let in.
    pub(super) entered: Duration,
    pub(super) since: Duration,
    /// It went back so often after a delivery.
    pub(super) again: u32,
    pub(super) at: At,
    /// Its conversation asks for each of its places, the first one too.
    pub(super) routes_itself: bool,
    /// The waiting room has let it in, or need not any more.
    pub(super) admitted: bool,
    /// Its conversation has the berth of its place.
    pub(super) moored: bool,
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
        probe: bool,
    },
}
