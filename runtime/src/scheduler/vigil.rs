//! Shared: the sleep of the overseer: as long as nothing runs, it does not look; whoever wakes up makes it look again.
//!
//! One flag. The overseer sets `dormant`, fences, and looks once more whether all workers sleep; a worker leaves the list of
//! sleepers, fences, and reads `dormant`. So either the overseer sees that worker awake, or the worker sees the flag and
//! wakes it. Without the second look, a worker that woke in between could get stuck unseen.
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

    /// A worker is awake, and has left the list of sleepers.
    pub(crate) fn resume(&self) {
        // Pairs with the fence in `rest`.
        fence(Ordering::SeqCst);
        if self.dormant.load(Ordering::Relaxed) && self.dormant.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Whatever the overseer waits for, it looks now.
    pub(crate) fn wake(&self) {
        self.parker.unpark(|| ());
    }

    /// The overseer waits for its next look.
    pub(crate) fn wait(&self, at_most: Duration) {
        self.parker.park(at_most);
    }

    /// The overseer says that it will not look until it is woken; false if that is not so, since `quiet` holds no more.
    pub(crate) fn rest(&self, quiet: impl FnOnce() -> bool) -> bool {
        self.dormant.store(true, Ordering::Release);
        // Pairs with the fence in `resume`.
        fence(Ordering::SeqCst);
        let quiet = quiet();
        if !quiet {
            self.dormant.store(false, Ordering::Release);
        }
        quiet
    }

    #[cfg(all(test, loom))]
    pub(crate) fn is_dormant(&self) -> bool {
        self.dormant.load(Ordering::SeqCst)
    }
}
