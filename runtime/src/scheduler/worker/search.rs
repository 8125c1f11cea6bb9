//! Driver: a worker that has run out of work looks for some everywhere, and takes from others.
use crate::clock::nanos;
use crate::limits::{MANY, SEARCH, WOKEN_PATIENCE};
use crate::scheduler::watch::Watch;
use crate::scheduler::worker::{Local, taken};
use crate::scheduler::{Counters, Task};

impl Local {
    /// Takes some of what another worker has queued and was woken; but few only if it has not just done so (decision 0079).
    fn steal_woken(&self) -> Option<Task> {
        let shared = &self.home.shared;
        let (remotes, me) = (shared.scheduler.remotes(), self.home.index);
        let victims = (1..remotes.len()).map(|distance| &remotes[(me + distance) % remotes.len()]);
        let mut now = None;
        let task = victims.filter(|victim| !victim.woken.is_empty()).find_map(|victim| {
            let now = *now.get_or_insert_with(|| shared.clock.peek());
            let has_just = now.saturating_sub(self.stole_at.get()) < nanos(WOKEN_PATIENCE);
            if has_just && victim.woken.len() + victim.newborn.len() < MANY {
                return None;
            }
            self.stole_at.set(now);
            taken(|| victim.woken.steal_batch_and_pop(&self.queues.woken))
        });
        self.count_steal(task)
    }

    fn count_steal(&self, task: Option<Task>) -> Option<Task> {
        if task.is_some() {
            Counters::add(&self.remote.counters.steals, 1);
        }
        task
    }

    /// Looks everywhere for a while.
    pub(super) fn search(&self) -> Option<Task> {
        let shared = &self.home.shared;
        // Who lives by sockets finds its next work in the poller.
        if self.by_io.get() {
            return self.steal_woken();
        }
        if !self.searching.get() {
            if !shared.scheduler.idle.start_search() {
                return self.steal_woken();
            }
            self.searching.set(true);
        }
        let began = shared.clock.peek();
        let mut watch = Watch::new(self.home.index, shared.scheduler.remotes(), began);
        loop {
            if let Some(task) = self.next_ordinary().or_else(|| self.steal_woken()) {
                return Some(task);
            }
            let now = shared.clock.peek();
            if let Some(task) = watch.steal(now, &shared.scheduler, &self.queues.newborn) {
                return self.count_steal(Some(task));
            }
            if now.saturating_sub(began) >= nanos(SEARCH) && !watch.is_hungry() {
                return None;
            }
            (0..8).for_each(|_| std::hint::spin_loop());
        }
    }

    /// Has found work: if nobody else searches now and there is more, another is woken for it.
    #[inline]
    pub(super) fn stop_searching(&self) {
        if self.searching.get() {
            self.found();
        }
    }

    #[cold]
    fn found(&self) {
        self.searching.set(false);
        let scheduler = &self.home.shared.scheduler;
        if scheduler.idle.stop_search() && scheduler.has_work() {
            scheduler.notify();
        }
    }
}
