//! Shared: the scheduler's common parts: where runnable processes wait, and how a wake finds its way there.
//!
//! A wake on a worker of the same runtime goes to that worker's LIFO slot, or to the end of its queue if the process was
//! woken while it ran (it yields); a spawn goes to its queue of newborns, which is a queue of its own since others steal
//! from it later and its owner takes the youngest first. A wake from any other thread goes to the injector. System
//! processes come first: each worker has a slot for one that it has woken; the others go to a queue of their own, at which
//! all workers look.
//!
//! What a worker will see to as soon as its poll is over, since it is the only thing there, wakes nobody for help: a process in a
//! slot, a single newborn. Should that poll last, who searches at the time takes it, or else the overseer.
pub(crate) mod fresh;
pub(crate) mod idle;
pub(crate) mod overseer;
pub(crate) mod parker;
pub(crate) mod slot;
pub(crate) mod spare;
pub(crate) mod stall;
pub(crate) mod tuning;
pub(crate) mod vigil;
pub(crate) mod watch;
pub(crate) mod worker;

use crate::io::Io;
use crate::pid::Pid;
use crate::process::reply::Pending;
use crate::shared::Shared;
use crate::simulation::simulator::Simulator;
use crate::timer::{Entry, TimerId};
use async_task::{Runnable, ScheduleInfo};
use crossbeam_deque::{Injector, Stealer};
use crossbeam_utils::CachePadded;
use fresh::Fresh;
use idle::Idle;
use parker::Parker;
use parking_lot::Mutex;
use slot::Slot;
use spare::Spares;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use tuning::{Done, Manner, Tuning};
use vigil::Vigil;
use worker::Local;

/// A process that is to be polled.
pub(crate) type Task = Runnable<Metadata>;

/// No worker, in the place of a worker's number.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// What the scheduler knows of a process: it stands in the task cell, so that the function that schedules it needs no
/// state of its own. (With state, each wake would count references twice more.)
pub(crate) struct Metadata {
    pub(crate) home: Arc<Home>,
    pub(crate) pid: Pid,
    pub(crate) system: bool,
}

/// A runtime as one worker (or the threads outside) holds on to it. There is one per worker, so that the counts of its
/// owners are no point of contention.
pub(crate) struct Home {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
}

impl Home {
    /// Arms a timer in this home's wheel. [`Home::announce_timer`] is due afterwards, outside all locks.
    pub(crate) fn insert_timer(&self, deadline: u64, entry: Entry) -> TimerId {
        self.shared.timers.insert(self.index, deadline, entry)
    }

    /// Wakes whoever sleeps beyond the deadline.
    pub(crate) fn announce_timer(&self, deadline: u64) {
        let scheduler = &self.shared.scheduler;
        if let Some(worker) = scheduler.idle.worker_for_timer(deadline) {
            scheduler.unpark(worker);
        }
    }

    pub(crate) fn arm(&self, deadline: u64, entry: Entry) -> TimerId {
        let id = self.insert_timer(deadline, entry);
        self.announce_timer(deadline);
        id
    }

    /// Arms the time-out of one who waits, unless nobody does any more.
    pub(crate) fn arm_time_out(&self, pending: &Arc<dyn Pending>, deadline: u64) {
        if deadline == u64::MAX {
            return;
        }
        let id = self.insert_timer(deadline, Entry::TimeOut(Arc::clone(pending)));
        if !pending.set_timer(id) {
            let entry = self.shared.timers.remove(id);
            return drop(entry);
        }
        self.announce_timer(deadline);
        if self.shared.lifecycle.is_closed() {
            // Nobody may have seen it any more.
            pending.time_out();
        }
    }

    /// A home of a runtime without workers, for tests of single parts.
    #[cfg(test)]
    pub(crate) fn detached() -> Arc<Self> {
        Arc::new(Self { shared: Shared::detached(), index: 0 })
    }
}

/// One worker as others see it.
pub(crate) struct Remote {
    /// Processes that were woken, or that yielded.
    pub(crate) woken: Stealer<Task>,
    /// Processes that were just spawned.
    pub(crate) newborn: Stealer<Task>,
    pub(crate) slot: CachePadded<Slot<Task>>,
    /// A system process that this worker has woken.
    pub(crate) system: CachePadded<Slot<Task>>,
    pub(crate) parker: Parker,
    pub(crate) counters: CachePadded<Counters>,
    /// Time-outs that have no timer yet.
    pub(crate) fresh: CachePadded<Fresh>,
    /// When it last ticked.
    pub(crate) ticked: AtomicU64,
    /// The process that is polled, as a word, or 0.
    pub(crate) polled: AtomicU64,
    /// Of a spare thread: whom it stands in for gets on again, or sleeps. Written by the overseer.
    pub(crate) dismissed: AtomicBool,
}

impl Remote {
    pub(crate) fn has_queued(&self) -> bool {
        !self.woken.is_empty() || !self.newborn.is_empty()
    }
}

/// Written by the worker alone; read by anyone.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) polls: AtomicU64,
    pub(crate) steals: AtomicU64,
    pub(crate) parks: AtomicU64,
    pub(crate) timers: AtomicU64,
    pub(crate) reductions: AtomicU64,
}

impl Counters {
    /// Adds without an atomic addition, since there is one writer.
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}

/// How workers without work go about, and the one who finds out.
#[derive(Default)]
pub(crate) struct Tuned {
    patient: AtomicBool,
    /// When somebody is to see to it again.
    due: AtomicU64,
    tuning: Mutex<Tuning>,
}

impl Tuned {
    /// A glance: who goes by it goes by what was found a moment ago, at worst.
    #[inline]
    pub(crate) fn manner(&self) -> Manner {
        if self.patient.load(Ordering::Relaxed) { Manner::Patient } else { Manner::Eager }
    }

    #[cfg(test)]
    pub(crate) fn is_seen_to(&self) -> bool {
        self.due.load(Ordering::Relaxed) > 0
    }

    /// Leaves it at that manner.
    #[cfg(test)]
    pub(crate) fn hold(&self, manner: Manner) {
        let tuning = self.tuning.lock();
        self.due.store(u64::MAX, Ordering::Relaxed);
        self.patient.store(manner == Manner::Patient, Ordering::Relaxed);
        drop(tuning);
    }
}

pub(crate) struct Scheduler {
    pub(crate) injector: Injector<Task>,
    pub(crate) system: Injector<Task>,
    /// Which worker has last woken a system process: a hint, read and written relaxed.
    pub(crate) system_woken_by: CachePadded<AtomicUsize>,
    /// Of the workers, and behind them of the spare threads that there may be.
    pub(crate) remotes: Box<[Arc<Remote>]>,
    pub(crate) workers: usize,
    /// Workers, and spare threads that have been started. It only grows, and before what it lets be seen has work.
    in_use: AtomicUsize,
    pub(crate) idle: Idle,
    pub(crate) vigil: Vigil,
    pub(crate) spares: Spares,
    pub(crate) tuned: CachePadded<Tuned>,
    pub(crate) io: Io,
    /// In the workers' place, in a simulation. There no thread has a worker installed, and so every wake comes by [`inject`].
    pub(crate) simulator: Option<Arc<Simulator>>,
}

impl Scheduler {
    pub(crate) fn new(remotes: Box<[Arc<Remote>]>, spares: Spares, simulator: Option<Arc<Simulator>>) -> Self {
        let workers = remotes.len() - spares.most();
        Self {
            injector: Injector::new(),
            system: Injector::new(),
            system_woken_by: CachePadded::new(AtomicUsize::new(OUTSIDE)),
            remotes,
            workers,
            in_use: AtomicUsize::new(workers),
            idle: Idle::new(workers),
            vigil: Vigil::new(),
            spares,
            tuned: CachePadded::default(),
            io: if simulator.is_some() { Io::refusing() } else { Io::default() },
            simulator,
        }
    }

    /// A worker's tick: sees to how those without work go about, if it is time.
    #[inline]
    pub(crate) fn tune(&self, now: u64) {
        if self.workers > 1 && now >= self.tuned.due.load(Ordering::Relaxed) {
            self.tune_now(now);
        }
    }

    #[cold]
    fn tune_now(&self, now: u64) {
        let Some(mut tuning) = self.tuned.tuning.try_lock() else { return };
        let done = self.remotes().iter().fold(Done::default(), |done, remote| Done {
            reductions: done.reductions.wrapping_add(remote.counters.reductions.load(Ordering::Relaxed)),
            steals: done.steals.wrapping_add(remote.counters.steals.load(Ordering::Relaxed)),
        });
        let (manner, due) = tuning.step(now, done);
        self.tuned.patient.store(manner == Manner::Patient, Ordering::Relaxed);
        self.tuned.due.store(due, Ordering::Relaxed);
    }

    /// Wakes a worker or spare thread, wherever it sleeps.
    pub(crate) fn unpark(&self, index: usize) {
        self.remotes[index].parker.unpark(|| self.io.wake());
    }

    /// The workers and the spare threads that have been started.
    pub(crate) fn remotes(&self) -> &[Arc<Remote>] {
        &self.remotes[..self.in_use.load(Ordering::Relaxed)]
    }

    /// From now on this spare thread is looked at as well.
    pub(crate) fn take_into_use(&self, index: usize) {
        self.in_use.fetch_max(index + 1, Ordering::SeqCst);
    }

    /// Makes one more worker look for work, if one is parked and none looks already.
    pub(crate) fn notify(&self) {
        // Pairs with the fence between a worker's announcement that it parks and its last look at the queues.
        fence(Ordering::SeqCst);
        if let Some(worker) = self.idle.worker_to_wake() {
            self.unpark(worker);
        }
    }

    fn inject(&self, task: Task) {
        if let Some(simulator) = &self.simulator {
            return simulator.push(task);
        }
        if task.metadata().system {
            Local::note_system_wake(self);
            self.system.push(task);
        } else {
            self.injector.push(task);
        }
        self.notify();
    }

    /// Whether a worker polls this process at the moment.
    pub(crate) fn is_polled(&self, pid: Pid) -> bool {
        self.remotes().iter().any(|remote| remote.polled.load(Ordering::Relaxed) == pid.word())
    }

    /// Whether any queue that others may take from has something.
    pub(crate) fn has_work(&self) -> bool {
        !self.system.is_empty() || !self.injector.is_empty() || self.remotes().iter().any(|remote| remote.has_queued())
    }
}

/// Where the task cell sends a process that was woken.
pub(crate) fn schedule(task: Task, info: ScheduleInfo) {
    let unplaced = Local::with(|local| match local {
        Some(local) if local.runs(task.metadata().pid) => local.schedule(task, info.woken_while_running),
        _ => Some(task),
    });
    if let Some(task) = unplaced {
        inject(task);
    }
}

/// Where a process that was just spawned goes.
pub(crate) fn schedule_spawned(task: Task) {
    let unplaced = Local::with(|local| match local {
        Some(local) if local.runs(task.metadata().pid) && !task.metadata().system => {
            local.enqueue_newborn(task);
            None
        }
        _ => Some(task),
    });
    if let Some(task) = unplaced {
        inject(task);
    }
}

#[cold]
pub(crate) fn inject(task: Task) {
    let home = Arc::clone(&task.metadata().home);
    if home.shared.lifecycle.is_closed() {
        // No worker will come. Dropping the task ends its process, whose watchers are told here and now.
        home.shared.guest.with(|| drop(task));
    } else {
        home.shared.scheduler.inject(task);
        if home.shared.lifecycle.is_closed() {
            home.shared.discard_queued();
        }
    }
}
