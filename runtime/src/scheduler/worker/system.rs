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

    /// Takes in a system process that this worker has woken, to be its next; one that was has to go to all.
    pub(super) fn keep_system(&self, task: Task) -> Option<Task> {
        self.system_used.set(true);
        self.remote.system.put(task)
    }

    pub(super) fn take_own_system(&self) -> Option<Task> {
        if self.system_used.replace(false) { self.remote.system.take() } else { None }
    }

    /// Those that have waited for longer come first: they were displaced from a slot, or have yielded, or came from outside.
    pub(super) fn take_system(&self) -> Option<Task> {
        let queued = if self.home.shared.scheduler.system.is_empty() { None } else { self.take_queued_system() };
        queued.or_else(|| self.take_own_system())
    }

    /// Whoever has woken it takes it when its poll is over, and has what it needs in its cache: who comes along between two short
    /// polls of its own leaves it. Not if it is still there after one more, and the other still in the same poll.
    fn take_queued_system(&self) -> Option<Task> {
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
