//! Pure: the threads of the pool for blocking work, in numbers: when one is started, woken or let go, and what is refused.
//!
//! A job is handed to a thread that is free (idle, or started and on its way), else to a new one, else it waits, else it is
//! refused. Free threads come and look at the queue; busy ones look when they are done. So a job in the queue is never without
//! somebody who will look at it: that, and the bounds, are what the tests enumerate.

/// How far the pool may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) threads: usize,
    /// Jobs that wait while all threads are busy.
    pub(crate) queue: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Staff {
    /// All there are, those on their way included.
    threads: usize,
    /// Started, and not yet come to look.
    starting: usize,
    /// Asleep, or woken and not yet come to look.
    idle: usize,
    queued: usize,
    closed: bool,
}

/// Why a job was not taken, or was given up before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
    NoThread,
}

/// What is to be done with a new job; but for the last, it goes to the end of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Admission {
    /// And a thread is to be started.
    Start,
    /// And a sleeping thread is to be woken.
    Wake,
    /// And somebody who is on the way, or who is busy, will come to it.
    Wait,
    Refuse(Refusal),
}

/// What a thread has been doing when it comes to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coming {
    Started,
    Busy,
    Idle { timed_out: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// The first of the queue.
    Work,
    Sleep,
    Leave,
}

/// The pool in numbers, for those who ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) threads: usize,
    pub(crate) idle: usize,
    pub(crate) queued: usize,
}

impl Staff {
    /// One more job.
    pub(crate) fn admit(&mut self, bounds: Bounds) -> Admission {
        if self.closed {
            return Admission::Refuse(Refusal::Closed);
        }
        let admission = if self.queued < self.starting + self.idle {
            if self.idle > 0 { Admission::Wake } else { Admission::Wait }
        } else if self.threads < bounds.threads {
            self.threads += 1;
            self.starting += 1;
            Admission::Start
        } else if self.waiting() < bounds.queue {
            Admission::Wait
        } else {
            return Admission::Refuse(Refusal::Full);
        };
        self.queued += 1;
        admission
    }

    /// The system gave no thread: so many of the youngest jobs are to be refused, since nobody is there to do them or there is
    /// no room for them without it.
    #[must_use]
    pub(crate) fn not_started(&mut self, bounds: Bounds) -> usize {
        self.threads -= 1;
        self.starting -= 1;
        let refused = if self.threads == 0 { self.queued } else { self.waiting().saturating_sub(bounds.queue) };
        self.queued -= refused;
        refused
    }

    /// A thread looks what there is to do.
    pub(crate) fn look(&mut self, coming: Coming) -> Next {
        let timed_out = match coming {
            Coming::Started => {
                self.starting -= 1;
                false
            }
            Coming::Busy => false,
            Coming::Idle { timed_out } => {
                self.idle -= 1;
                timed_out
            }
        };
        if self.queued > 0 {
            self.queued -= 1;
            return Next::Work;
        }
        if self.closed || timed_out {
            self.threads -= 1;
            return Next::Leave;
        }
        self.idle += 1;
        Next::Sleep
    }

    /// A job was taken back out of the queue.
    pub(crate) fn withdraw(&mut self) {
        self.queued -= 1;
    }

    /// Nothing is taken any more, and the queue is emptied; whoever is idle is to be woken and leaves.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.queued = 0;
    }

    pub(crate) fn count(&self) -> Count {
        Count { threads: self.threads, idle: self.idle, queued: self.queued }
    }

    /// Jobs for which no thread is free.
    fn waiting(&self) -> usize {
        self.queued.saturating_sub(self.starting + self.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The pool as the world around it makes it go: which threads are where, asleep or woken.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
    struct World {
        staff: Staff,
        starting: usize,
        busy: usize,
        asleep: usize,
        woken: usize,
        queued: usize,
    }

    const STEPS: usize = 9;

    /// Does the step of that number if it can happen; what it shows is checked.
    fn step(mut world: World, number: usize, bounds: Bounds) -> Option<World> {
        let before = world.staff.clone();
        let coming = match number {
            0 => {
                match world.staff.admit(bounds) {
                    Admission::Start => world.starting += 1,
                    Admission::Wake if world.asleep > 0 => {
                        world.asleep -= 1;
                        world.woken += 1;
                    }
                    Admission::Wake => assert!(world.woken > 0, "woken in vain: {before:?}"),
                    Admission::Wait => {
                        assert!(world.starting + world.busy + world.woken > 0, "nobody comes: {before:?}");
                    }
                    Admission::Refuse(Refusal::Full) => {
                        let free = world.starting + world.asleep + world.woken;
                        assert_eq!((before.threads, before.queued), (bounds.threads, bounds.queue + free));
                        return None;
                    }
                    Admission::Refuse(refusal) => {
                        assert_eq!((refusal, before.closed), (Refusal::Closed, true));
                        return None;
                    }
                }
                world.queued += 1;
                return Some(world);
            }
            1 if world.starting > 0 => {
                world.starting -= 1;
                world.queued -= world.staff.not_started(bounds);
                return Some(world);
            }
            2 if world.queued > 0 => {
                world.queued -= 1;
                world.staff.withdraw();
                return Some(world);
            }
            3 => {
                world.staff.close();
                world.queued = 0;
                world.woken += std::mem::take(&mut world.asleep);
                return Some(world);
            }
            4 if world.starting > 0 => {
                world.starting -= 1;
                Coming::Started
            }
            5 if world.busy > 0 => {
                world.busy -= 1;
                Coming::Busy
            }
            6 if world.woken > 0 => {
                world.woken -= 1;
                Coming::Idle { timed_out: false }
            }
            7 if world.asleep > 0 => {
                world.asleep -= 1;
                Coming::Idle { timed_out: true }
            }
            // Woken in the moment in which its time was over.
            8 if world.woken > 0 => {
                world.woken -= 1;
                Coming::Idle { timed_out: true }
            }
            _ => return None,
        };
        match world.staff.look(coming) {
            Next::Work => {
                world.queued = world.queued.checked_sub(1).expect("work where there is some");
                world.busy += 1;
            }
            Next::Sleep => {
                assert!(world.queued == 0 && !world.staff.closed, "sleeps on work: {before:?}");
                world.asleep += 1;
            }
            Next::Leave => assert_eq!(world.queued, 0, "leaves work behind: {before:?}"),
        }
        Some(world)
    }

    fn check(world: &World, bounds: Bounds) {
        let World { staff, starting, busy, asleep, woken, queued } = world;
        let count = Count { threads: starting + busy + asleep + woken, idle: asleep + woken, queued: *queued };
        assert_eq!((staff.count(), staff.starting), (count, *starting));
        assert!(count.threads <= bounds.threads, "{world:?}");
        assert!(queued.saturating_sub(starting + asleep + woken) <= bounds.queue, "{world:?}");
        // Of those asleep nobody counts on one who was not woken: the others alone come to all that is queued.
        assert!(*queued == 0 || starting + busy + woken > 0, "a job that nobody will look at: {world:?}");
        assert!(!staff.closed || (*asleep == 0 && *queued == 0), "{world:?}");
    }

    /// All that can be reached with these bounds, each checked.
    fn reachable(bounds: Bounds) -> BTreeSet<World> {
        let mut known = BTreeSet::new();
        let mut open = vec![World::default()];
        while let Some(world) = open.pop() {
            check(&world, bounds);
            if known.insert(world.clone()) {
                open.extend((0..STEPS).filter_map(|number| step(world.clone(), number, bounds)));
            }
        }
        known
    }

    #[test]
    fn no_job_is_forgotten_and_no_bound_passed_whatever_happens() {
        for threads in 1..=4 {
            for queue in 1..=4 {
                let known = reachable(Bounds { threads, queue });
                assert!(known.iter().any(|world| world.busy == threads && world.queued == queue), "the bounds are met");
                assert!(known.iter().any(|world| world.staff.closed && world.staff.threads == 0), "all leave");
            }
        }
    }

    #[test]
    fn from_every_state_all_jobs_are_begun_when_threads_only_come_and_finish() {
        let bounds = Bounds { threads: 3, queue: 3 };
        for world in reachable(bounds) {
            let mut world = world;
            while world.queued > 0 {
                let next = [4, 6, 5].iter().find_map(|number| step(world.clone(), *number, bounds));
                world = next.expect("somebody comes or finishes");
            }
        }
    }

    #[test]
    fn a_thread_that_cannot_be_had_takes_only_what_needs_it() {
        let bounds = Bounds { threads: 2, queue: 1 };
        let mut staff = Staff::default();
        assert_eq!([staff.admit(bounds), staff.admit(bounds)], [Admission::Start; 2]);
        assert_eq!(staff.look(Coming::Started), Next::Work);
        assert_eq!(staff.admit(bounds), Admission::Wait);
        assert_eq!(staff.not_started(bounds), 1, "one may wait for the busy one");
        assert_eq!(staff.count(), Count { threads: 1, idle: 0, queued: 1 });
        let mut alone = Staff::default();
        assert_eq!(alone.admit(bounds), Admission::Start);
        assert_eq!((alone.not_started(bounds), alone.count()), (1, Count::default()));
    }
}
