//! Driver: how a worker without work watches the others, and when it takes from them what it had better leave them.
//!
//! Woken processes are stolen at sight by who has not just done so, or where many wait (decision 0079). Newborns are left to
//! their worker for a while, in whose cache they are: most run for less time than moving them takes, and their memory would be
//! freed on the wrong core. They are taken when they have stood there for longer, or when their worker is stuck in one poll.
//! So is what is in the LIFO slot of a stuck worker.
//! Who searches while newborns wait looks at longer intervals: each look takes lines from the one who is about to run them.
//!
//! System processes, too, are left to the workers that poll: whoever has woken one takes it as soon as its poll is over, which
//! mostly it is (a child has ended, a caller waits), and has what that needs in its cache. Were each taken at sight, a
//! supervisor that stops or restarts one child after the other would go from core to core with each. One stands in its worker's
//! own slot (decision 0078), of which nobody is told; it is taken when that worker's poll lasts.
use crate::clock::nanos;
use crate::limits::{LOOK_AT_NEWBORNS, PATIENCE, STUCK, SYSTEM_PATIENCE};
use crate::scheduler::tuning::Manner;
use crate::scheduler::worker::taken;
use crate::scheduler::{Remote, Scheduler, Task};
use crossbeam_deque::Worker as Queue;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) struct Watch<'a> {
    manner: Manner,
    victims: SmallVec<[Victim<'a>; 8]>,
    /// When to look again.
    next_look: u64,
}

struct Victim<'a> {
    remote: &'a Remote,
    polls: u64,
    /// Since when its poll counter has stood still.
    still_since: u64,
    /// Since when it has had newborns, at every look.
    newborns_since: Option<u64>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(me: usize, remotes: &'a [Arc<Remote>], now: u64, manner: Manner) -> Self {
        let others = (1..remotes.len()).map(|distance| &*remotes[(me + distance) % remotes.len()]);
        let victims = others.map(|remote| Victim {
            remote,
            polls: remote.counters.polls.load(Ordering::Relaxed),
            still_since: now,
            newborns_since: None,
        });
        Self { manner, victims: victims.collect(), next_look: now }
    }

    /// Looks at all once more, and takes what has waited long enough. Not at every call: what is looked at are words that the
    /// others write all the time, and each look makes them fetch those back.
    pub(crate) fn steal(&mut self, now: u64, scheduler: &Scheduler, into: &Queue<Task>) -> Option<Task> {
        if now < self.next_look {
            return None;
        }
        let stolen = self.victims.iter_mut().find_map(|victim| victim.steal(now, self.manner, into));
        self.next_look = now + nanos(if self.is_hungry() { LOOK_AT_NEWBORNS } else { self.manner.look() });
        stolen.or_else(|| self.take_system(now, scheduler))
    }

    /// Takes a system process, if no other worker is about to: all are in the midst of a poll, or none is at work.
    fn take_system(&self, now: u64, scheduler: &Scheduler) -> Option<Task> {
        let moves = |victim: &Victim<'_>| now.saturating_sub(victim.still_since) < nanos(SYSTEM_PATIENCE);
        if self.victims.iter().any(moves) && !scheduler.idle.nobody_works() {
            return None;
        }
        if scheduler.system.is_empty() { None } else { taken(|| scheduler.system.steal()) }
    }

    /// Whether somebody has newborns that may have to be taken.
    pub(crate) fn is_hungry(&self) -> bool {
        self.victims.iter().any(|victim| victim.newborns_since.is_some())
    }
}

impl Victim<'_> {
    fn steal(&mut self, now: u64, manner: Manner, into: &Queue<Task>) -> Option<Task> {
        let polls = self.remote.counters.polls.load(Ordering::Relaxed);
        if polls != self.polls {
            self.polls = polls;
            self.still_since = now;
        }
        let still = now.saturating_sub(self.still_since);
        let stuck = still > nanos(STUCK);
        if self.remote.newborn.is_empty() {
            self.newborns_since = None;
        } else {
            let since = *self.newborns_since.get_or_insert(now);
            if stuck || now.saturating_sub(since) > nanos(PATIENCE) {
                self.newborns_since = None;
                let task = taken(|| self.remote.newborn.steal_batch_and_pop(into));
                if task.is_some() {
                    return task;
                }
            }
        }
        if still >= nanos(SYSTEM_PATIENCE)
            && let Some(task) = self.remote.system.take()
        {
            return Some(task);
        }
        if still > nanos(manner.stuck()) { self.remote.slot.take() } else { None }
    }
}
