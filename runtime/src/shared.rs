//! Shared: what the workers of a runtime share: each part has its own protocol, in its own file.
use crate::blocking::pool::Pool;
use crate::blocking::staff::Bounds;
use crate::clock::Clock;
use crate::guest::Guest;
use crate::lifecycle::Lifecycle;
use crate::limits;
use crate::pg::Groups;
use crate::process::ending::drop_caught;
use crate::process::table::Table;
use crate::registry::Registry;
use crate::report::Reports;
use crate::scheduler::parker::Parker;
use crate::scheduler::slot::Slot;
use crate::scheduler::spare::Spares;
use crate::scheduler::worker::Queues;
use crate::scheduler::{Remote, Scheduler, Task};
use crate::simulation::simulator::Simulator;
use crate::site::Sites;
use crate::stalls::Stalls;
use crate::timer::Timers;
use crossbeam_utils::CachePadded;
use once_cell::sync::OnceCell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

/// The parts of a runtime that its workers share.
pub(crate) struct Shared {
    pub(crate) tag: u32,
    pub(crate) name: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) table: Table,
    pub(crate) registry: Registry,
    groups: OnceCell<Groups>,
    blocking: OnceCell<Pool>,
    pub(crate) timers: Timers,
    pub(crate) scheduler: Scheduler,
    pub(crate) reports: Reports,
    pub(crate) stalls: Stalls,
    pub(crate) sites: Sites,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) limits: Limits,
    pub(crate) guest: Guest,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) processes: usize,
    pub(crate) names: usize,
    pub(crate) blocking: Bounds,
    pub(crate) blocking_idle: Duration,
    /// How long a process may run without awaiting.
    pub(crate) stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: limits::PROCESSES,
            names: limits::NAMES,
            blocking: Bounds { threads: limits::BLOCKING_THREADS, queue: limits::BLOCKING_QUEUE },
            blocking_idle: limits::BLOCKING_IDLE,
            stall: limits::STALL,
        }
    }
}

impl Shared {
    pub(crate) fn new(name: Arc<str>, remotes: Box<[Arc<Remote>]>, spares: Spares, limits: Limits) -> Self {
        Self::with(name, remotes, spares, limits, RandomState::new().hash_one(0), None)
    }

    /// The parts of a runtime that is simulated by this seed.
    pub(crate) fn simulated(name: Arc<str>, limits: Limits, seed: u64, simulator: &Arc<Simulator>) -> Self {
        Self::with(
            name,
            Box::new([]),
            Spares::new(0, Vec::new()),
            limits,
            crate::chance::mix(seed),
            Some(Arc::clone(simulator)),
        )
    }

    fn with(
        name: Arc<str>,
        remotes: Box<[Arc<Remote>]>,
        spares: Spares,
        limits: Limits,
        tag: u64,
        simulator: Option<Arc<Simulator>>,
    ) -> Self {
        let workers = remotes.len() - spares.most();
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let tag = tag as u32;
        Self {
            tag,
            name,
            clock: if simulator.is_some() { Clock::simulated() } else { Clock::new() },
            // More shards than workers, so that spawners and reapers seldom meet.
            table: Table::new((workers + 1).next_power_of_two() * 8, limits.processes, tag),
            registry: Registry::new(limits.names),
            groups: OnceCell::new(),
            blocking: OnceCell::new(),
            timers: Timers::new(workers + 1),
            scheduler: Scheduler::new(remotes, spares, simulator),
            reports: Reports::default(),
            stalls: Stalls::default(),
            sites: Sites::new(tag),
            lifecycle: Lifecycle::default(),
            limits,
            guest: Guest::default(),
        }
    }

    /// Made when the first group is.
    pub(crate) fn groups(&self) -> &Groups {
        self.groups.get_or_init(Groups::default)
    }

    /// Made when the first job comes; without threads then.
    pub(crate) fn blocking(&self) -> &Pool {
        self.blocking.get_or_init(|| Pool::new(self.limits.blocking, self.limits.blocking_idle))
    }

    pub(crate) fn blocking_if_made(&self) -> Option<&Pool> {
        self.blocking.get()
    }

    /// In a simulation: what the process that is being polled has sent arrives, for it is about to look.
    #[inline]
    pub(crate) fn settle(&self) {
        if let Some(simulator) = &self.scheduler.simulator {
            simulator.flush();
        }
    }

    /// Drops what was queued after the workers had gone. Each drop ends a process, which may queue others.
    pub(crate) fn discard_queued(&self) {
        if let Some(simulator) = &self.scheduler.simulator {
            return simulator.discard_all();
        }
        for queue in [&self.scheduler.system, &self.scheduler.injector] {
            loop {
                match queue.steal() {
                    // On whatever thread this is.
                    crossbeam_deque::Steal::Success(task) => self.guest.with(|| drop_caught::<Task>(task)),
                    crossbeam_deque::Steal::Empty => break,
                    crossbeam_deque::Steal::Retry => {}
                }
            }
        }
    }

    pub(crate) fn wake_all(&self) {
        (0..self.scheduler.remotes.len()).for_each(|index| self.scheduler.unpark(index));
        self.scheduler.spares.wake_resting();
        self.scheduler.vigil.wake();
    }

    #[cfg(test)]
    pub(crate) fn detached() -> Arc<Self> {
        let limits = Limits { processes: 1000, names: 1000, ..Limits::default() };
        let remote = Remote::new(&Queues::new());
        Arc::new(Self::new("detached".into(), Box::new([Arc::new(remote)]), Spares::new(1, Vec::new()), limits))
    }
}

impl Remote {
    pub(crate) fn new(queues: &Queues) -> Self {
        Self {
            woken: queues.woken.stealer(),
            newborn: queues.newborn.stealer(),
            slot: CachePadded::new(Slot::new()),
            system: CachePadded::new(Slot::new()),
            parker: Parker::new(),
            counters: CachePadded::default(),
            fresh: CachePadded::default(),
            ticked: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            dismissed: AtomicBool::new(false),
        }
    }
}
