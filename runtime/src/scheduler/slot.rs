//! Shared: the LIFO slot: the process that its worker runs next, since it was just sent something that is still in the
//! cache. A worker has two: one for processes, and one for a system process (decision 0078).
//!
//! One cell that is exchanged as a whole. Its owner puts in and takes out; another worker may take out as well (of a worker
//! that is stuck in one poll), so that whoever gets the process is decided by the exchange.
use crate::sync::AtomicCell;

pub(crate) struct Slot<T>(AtomicCell<Option<T>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(AtomicCell::new(None))
    }

    /// Puts one in; what was there comes out.
    pub(crate) fn put(&self, task: T) -> Option<T> {
        self.0.swap(Some(task))
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.take()
    }
}
