//! Driver: what a worker takes next of its own two queues: those who were woken, and those who were just spawned.
use crate::limits::OLDEST_NEWBORN;
use crate::scheduler::Task;
use crate::scheduler::worker::{Local, Queues, taken};

impl Local {
    /// Takes from the two queues in rounds: as many of one as it held when its turn came, then of the other. So nobody who was
    /// woken waits for more than what was queued before, as in one queue; and who spawns and yields does not run before its
    /// children.
    pub(super) fn take_queued(&self) -> Option<Task> {
        let Queues { woken, newborn } = &self.queues;
        for _ in 0..2 {
            if self.quota.get() == 0 {
                let newborns = !self.newborns_turn.get();
                self.newborns_turn.set(newborns);
                self.quota.set(if newborns { newborn.len() } else { woken.len() });
            }
            if self.quota.get() > 0 {
                let task = if self.newborns_turn.get() { self.take_newborn() } else { woken.pop() };
                // Others may have taken the rest of the round.
                self.quota.set(if task.is_some() { self.quota.get() - 1 } else { 0 });
                if task.is_some() {
                    return task;
                }
            }
        }
        woken.pop().or_else(|| self.take_newborn())
    }

    /// Takes the youngest, whose memory is in the cache, and whose ancestors' memory need not all be there at once; now and
    /// then the oldest, so that everyone has his turn.
    fn take_newborn(&self) -> Option<Task> {
        self.newborns_taken.set(self.newborns_taken.get().wrapping_add(1));
        if self.newborns_taken.get().is_multiple_of(OLDEST_NEWBORN)
            && let Some(task) = taken(|| self.remote.newborn.steal())
        {
            return Some(task);
        }
        let task = self.queues.newborn.pop();
        self.has_newborns.set(task.is_some());
        task
    }
}
