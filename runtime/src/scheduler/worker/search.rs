//! Driver: a worker that has run out of work looks for some everywhere, and takes from others.
use crate::clock::nanos;
use crate::limits::{MANY, SEARCH, WOKEN_PATIENCE};
use crate::scheduler::tuning::Manner;
use crate::scheduler::watch::Watch;
use crate::scheduler::worker::{Local, taken};
use crate::scheduler::{Counters, Task};

impl Local {
    /// Takes some of what another worker has queued and was woken; but few only if it has not just done so (decision 0079).
    fn steal_woken(&self) -> Option<Task> {
        let shared = &self.home.shared;
        if self.is_patient() {
            // Not even a look: it takes lines from the one who is left alone.
            return None;
        }
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

    /// Whether it has taken some, and leaves the others alone for now (decision 0084).
    fn is_patient(&self) -> bool {
        let shared = &self.home.shared;
        let manner = shared.scheduler.tuned.manner();
        manner == Manner::Patient && shared.clock.peek().saturating_sub(self.stole_at.get()) < nanos(manner.patience())
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
        let manner = shared.scheduler.tuned.manner();
        let mut watch = Watch::new(self.home.index, shared.scheduler.remotes(), began, manner);
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

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::scheduler::tuning::Manner;
    use crate::testing::wait_for;
    use crate::{Context, ExitReason, Runtime};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// Who waits in line behind a poll that does not end is helped by the other worker, however patient: nobody else comes. (For one that
    /// is in the LIFO slot alone nobody is woken: who searches at the time takes it, or the overseer, whom there is none of here.)
    #[test]
    fn the_patient_help_too() {
        let hour = Duration::from_secs(3600);
        let runtime = Runtime::builder().workers(2).stall_limit(hour).build().expect("two workers");
        let tuned = &runtime.shared().scheduler.tuned;
        wait_for(|| {
            let process = runtime.spawn(async |_: Context<()>| ()).expect("room for a process");
            runtime.block_on(process.ended());
            tuned.is_seen_to().then_some(())
        });
        tuned.hold(Manner::Patient);
        for _ in 0..200 {
            let (reply, replies) = channel();
            let waiting = (0..8).map(|_| {
                let reply = reply.clone();
                let answers = async move |mut ctx: Context<()>| {
                    ctx.recv().await;
                    // The last may come when the other waits no more.
                    let _ = reply.send(());
                };
                runtime.spawn(answers).expect("room for a process")
            });
            let waiting: Vec<_> = waiting.collect();
            let stuck = runtime.spawn(async move |_: Context<()>| {
                for process in &waiting {
                    process.send(()).expect("it waits");
                }
                for _ in &waiting[1..] {
                    replies.recv_timeout(Duration::from_secs(20)).expect("the other worker has taken it");
                }
            });
            let ended = runtime.block_on(stuck.expect("room for a process").ended());
            assert_eq!(ended, ExitReason::Normal);
        }
        assert_eq!(tuned.manner(), Manner::Patient);
    }
}
