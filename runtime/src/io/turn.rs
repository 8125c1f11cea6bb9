//! Shared: whose turn it is to ask the poller: one thread's at a time, and somebody's whenever all sleep.
//!
//! A lock that nobody waits for. A worker that goes to sleep tries it and sleeps in the poller, or else on its token; a busy one tries
//! it at a tick, in passing. So of workers that all sleep one is in the poller: whoever did not get the lock saw one that had
//! it, which sleeps there, or will try again before it sleeps. A spare thread may rest instead: it looks whether the poller is
//! [`Turn::unattended`], and wakes one if so; the overseer does the same for one that left the poller for something long. Both look
//! after a fence (in [`Scheduler::notify`](crate::scheduler::Scheduler::notify)) for sleepers on the list, which these enter before a
//! fence and their try: without the two, one that saw the lock taken could go to its token unseen.
//!
//! `fetches` is written under the lock; `asked` and `seen` are the busy workers' and only save fetches. The poller's wakes are
//! [`crate::scheduler::parker`]'s. `loom_models/poller.rs` explores it all.
use crate::clock::nanos;
use crate::limits::IO_POLL;
use crate::scheduler::parker::Parker;
use crate::sync::TryLock;
use crate::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Turn<P> {
    polling: TryLock<P>,
    /// When a busy worker asked last, or saw that another had.
    asked: AtomicU64,
    /// The number of fetches at that time.
    seen: AtomicU64,
    /// How often somebody has asked.
    fetches: AtomicU64,
}

impl<P> Turn<P> {
    pub(crate) fn new(poll: P) -> Self {
        let number = || AtomicU64::new(0);
        Self { polling: TryLock::new(poll), asked: number(), seen: number(), fetches: number() }
    }

    /// Sleeps in `fetch`, which is told if it is not to wait, unless another is there: then false. `note` is called before.
    #[must_use]
    pub(crate) fn sleep(&self, parker: &Parker, note: impl FnOnce(), fetch: impl FnOnce(&mut P, bool)) -> bool {
        let Some(mut polling) = self.polling.try_lock() else { return false };
        note();
        parker.sleep_in(|now| {
            self.count();
            fetch(&mut polling, now);
        });
        true
    }

    /// Asks in passing, if nobody has for a while and nobody is there.
    #[inline]
    pub(crate) fn look(&self, now: u64, fetch: impl FnOnce(&mut P)) {
        if now.saturating_sub(self.asked.load(Ordering::Relaxed)) >= nanos(IO_POLL)
            && let Some(mut polling) = self.polling.try_lock()
        {
            self.asked.store(now, Ordering::Relaxed);
            let fetches = self.fetches.load(Ordering::Relaxed);
            if self.seen.swap(fetches, Ordering::Relaxed) == fetches {
                self.count();
                fetch(&mut polling);
                self.seen.store(fetches.wrapping_add(1), Ordering::Relaxed);
            }
        }
    }

    /// How often the poller has been asked, if nobody is there: the same number twice says that nobody comes.
    pub(crate) fn unattended(&self) -> Option<u64> {
        let is_free = !self.polling.is_locked();
        is_free.then(|| self.fetches.load(Ordering::Relaxed))
    }

    fn count(&self) {
        self.fetches.store(self.fetches.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Asks by hand.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut P) -> R) -> R {
        act(&mut self.polling.try_lock().expect("nobody else is there"))
    }
}
