//! Shared: the sleep of the overseer: as long as nothing runs, it does not look; whoever wakes up makes it look again.
//!
//! One flag. The overseer sets `dormant`, fences, and looks once more whether all workers sleep; a worker that leaves the
//! list of sleepers reads `dormant` afterwards. Both are sequentially consistent, so that either the overseer sees that
//! worker awake, or the worker sees the flag and wakes it. Without the second look, a worker that woke in between could
//! get stuck unseen.
use crate::scheduler::parker::Parker;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

pub(crate) struct Vigil {
    dormant: AtomicBool,
    parker: Parker,
}

impl Vigil {
    pub(crate) fn new() -> Self {
        Self { dormant: AtomicBool::new(false), parker: Parker::new() }
    }

    /// A worker is awake. Costs a load unless the overseer sleeps.
    #[inline]
    pub(crate) fn resume(&self) {
        if self.dormant.load(Ordering::SeqCst) && self.dormant.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Whatever the overseer waits for, it looks now.
    pub(crate) fn wake(&self) {
        self.parker.unpark();
    }

    /// The overseer waits for its next look.
    pub(crate) fn wait(&self, at_most: Duration) {
        self.parker.park(at_most);
    }

    /// The overseer says that it will not look until it is woken; false if that is not so, since `quiet` holds no more.
    pub(crate) fn rest(&self, quiet: impl FnOnce() -> bool) -> bool {
        self.dormant.store(true, Ordering::SeqCst);
        // Pairs with the exchange of a worker that has left the list of sleepers before it reads the flag.
        fence(Ordering::SeqCst);
        let quiet = quiet();
        if !quiet {
            self.dormant.store(false, Ordering::SeqCst);
        }
        quiet
    }

    #[cfg(all(test, loom))]
    pub(crate) fn is_dormant(&self) -> bool {
        self.dormant.load(Ordering::SeqCst)
    }
}
