//! Driver: whether a worker that has work of its own takes a system process that another has woken.
use crate::scheduler::worker::{Local, taken};
use crate::scheduler::{OUTSIDE, Scheduler, Task};
use std::sync::atomic::Ordering;

impl Local {
    /// Notes who has woken a system process, for those who then find it. It is a hint: of several wakes the last counts.
    pub(in crate::scheduler) fn note_system_wake(scheduler: &Scheduler) {
        let by = Self::with(|local| local.map_or(OUTSIDE, |local| local.home.index));
        // Mostly it is the same worker again, and the others have this word in their caches.
        if scheduler.system_woken_by.load(Ordering::Relaxed) != by {
            scheduler.system_woken_by.store(by, Ordering::Relaxed);
        }
    }

    /// Whoever has woken it takes it when its poll is over, and has what it needs in its cache: who comes along between two short
    /// polls of its own leaves it. Not if it is still there after one more, and the other still in the same poll.
    pub(super) fn take_system(&self) -> Option<Task> {
        let scheduler = &self.home.shared.scheduler;
        let by = scheduler.system_woken_by.load(Ordering::Relaxed);
        if by != self.home.index && by != OUTSIDE {
            let seen = (by, scheduler.remotes[by].counters.polls.load(Ordering::Relaxed));
            if self.system_left.replace(seen) != seen {
                return None;
            }
        }
        taken(|| scheduler.system.steal())
    }
}
