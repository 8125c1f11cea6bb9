//! Driver: a worker: takes the next process, polls it, looks at the clock now and then, and sleeps when there is nothing.
mod queued;
mod search;
mod system;
mod waits;

use crate::clock::nanos;
use crate::limits::{
    HANDED_ON, IO_TICK_POLLS, PARK, PEEK_POLLS, SLOT_RUNS, SLOT_RUNS_OVER_NEWBORNS, SPAWN_RUN, TICK, TICK_POLLS,
};
use crate::pid::Pid;
use crate::process::ending::{caught, drop_caught, wake_caught};
use crate::scheduler::idle::Idle;
use crate::scheduler::{Counters, Home, OUTSIDE, Remote, Task, inject};
use crate::simulation::simulator;
use crate::timer::Entry;
use crossbeam_deque::{Steal, Worker as Queue};
use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

thread_local! {
    /// Set once, for the life of a worker's thread.
    static LOCAL: OnceCell<Local> = const { OnceCell::new() };
}

/// What a worker has to do, as its owner holds it.
pub(crate) struct Queues {
    pub(crate) woken: Queue<Task>,
    pub(crate) newborn: Queue<Task>,
}

impl Queues {
    pub(crate) fn new() -> Self {
        Self { woken: Queue::new_fifo(), newborn: Queue::new_lifo() }
    }
}

/// A worker's own side, which only its thread sees.
pub(crate) struct Local {
    home: Arc<Home>,
    remote: Arc<Remote>,
    queues: Queues,
    /// Whose turn it is, and how many of them are left in this round.
    newborns_turn: Cell<bool>,
    newborns_taken: Cell<u32>,
    /// It has not found its queue of newborns empty since it last put one there.
    has_newborns: Cell<bool>,
    quota: Cell<usize>,
    /// The process that is being polled.
    current: Cell<Option<Pid>>,
    /// It has come to its end, and lets others go first: until its poll is over.
    ends: Cell<bool>,
    /// Something was put into the slot since it was last emptied.
    slot_used: Cell<bool>,
    /// The same of the slot for a system process.
    system_used: Cell<bool>,
    slot_runs: Cell<u32>,
    /// Runs from the slot while system processes waited.
    handed_on: Cell<u32>,
    /// Who had woken a system process that was left to him, and in which of his polls.
    system_left: Cell<(usize, u64)>,
    searching: Cell<bool>,
    /// When it last took some that had been woken on another.
    stole_at: Cell<u64>,
    polls_to_tick: Cell<u32>,
    tick_polls: Cell<u32>,
    ticked_at: Cell<u64>,
    /// The shard of the process table for the next spawn.
    shard: Cell<usize>,
    due: Cell<Vec<Entry>>,
    /// It was the timekeeper when it last slept.
    kept_time: Cell<bool>,
    /// It is a spare thread, which works until it is dismissed.
    on_duty: Cell<bool>,
    /// Those whose sockets are ready; empty but while they are woken.
    woken: Cell<Vec<Waker>>,
    /// It was a socket that last woke it.
    by_io: Cell<bool>,
}

impl Local {
    /// Runs `act` with this thread's worker, if it is one.
    #[inline]
    pub(crate) fn with<R>(act: impl FnOnce(Option<&Local>) -> R) -> R {
        // The cell is gone only while the thread ends, when it is no worker any more. Asked for twice, since to keep `act` for the other case it
        // would be carried into an Option and out (0085).
        if LOCAL.try_with(|_| ()).is_err() {
            return act(None);
        }
        LOCAL.with(|local| act(local.get()))
    }

    /// Whether this worker is of the process's runtime.
    #[inline]
    pub(crate) fn runs(&self, pid: Pid) -> bool {
        self.home.shared.tag == pid.runtime()
    }

    /// The process that this thread polls at the moment.
    pub(crate) fn current() -> Option<Pid> {
        Self::with(|local| match local {
            Some(local) => local.current.get(),
            None => simulator::current(),
        })
    }

    /// The home through which this thread spawns into the runtime of `home`, and the shard for its next process.
    #[inline]
    pub(crate) fn spawning_home(home: &Arc<Home>) -> (Arc<Home>, usize) {
        Self::with(|local| match local {
            Some(local) if Arc::ptr_eq(&local.home.shared, &home.shared) => {
                let shard = local.shard.get();
                local.shard.set(shard.wrapping_add(1));
                (Arc::clone(&local.home), shard)
            }
            _ => (Arc::clone(home), home.index),
        })
    }

    /// The shard of the next process that this thread makes for the runtime of `home`.
    #[inline]
    pub(crate) fn spawning_shard(home: &Home) -> usize {
        Self::with(|local| match local {
            Some(local) if Arc::ptr_eq(&local.home.shared, &home.shared) => {
                let shard = local.shard.get();
                local.shard.set(shard.wrapping_add(1));
                shard
            }
            _ => home.index,
        })
    }

    /// Takes in a process that was woken; a system process that is not to be this worker's comes back.
    #[inline]
    pub(crate) fn schedule(&self, task: Task, yielded: bool) -> Option<Task> {
        if task.metadata().system {
            return if yielded { Some(task) } else { self.keep_system(task) };
        }
        if yielded {
            if self.ends.get() {
                self.enqueue_newborn(task);
                return None;
            }
            let others = self.has_own_work();
            self.queues.woken.push(task);
            if others {
                self.home.shared.scheduler.notify();
            }
            return None;
        }
        self.slot_used.set(true);
        if let Some(displaced) = self.remote.slot.put(task) {
            self.enqueue(displaced);
        }
        None
    }

    fn enqueue(&self, task: Task) {
        self.queues.woken.push(task);
        self.home.shared.scheduler.notify();
    }

    /// The process that is being polled has come to its end, and is about to yield to those whom it has woken. It is left to this worker
    /// as newborns are: what is to be dropped of it is in this core's cache, and would be freed on the wrong core.
    pub(crate) fn note_end() {
        Self::with(|local| {
            if let Some(local) = local {
                local.ends.set(true);
            }
        });
    }

    /// Takes in a process that was just spawned.
    #[inline]
    pub(crate) fn enqueue_newborn(&self, task: Task) {
        let others = self.has_own_work();
        self.queues.newborn.push(task);
        self.has_newborns.set(true);
        if others {
            self.home.shared.scheduler.notify();
        }
    }

    /// Whether this worker has somebody to run next, whom the process that it runs has woken.
    #[inline]
    pub(crate) fn has_woken() -> bool {
        Self::with(|local| local.is_some_and(|local| local.slot_used.get()))
    }

    fn take_slot(&self) -> Option<Task> {
        if !self.slot_used.replace(false) {
            return None;
        }
        self.remote.slot.take()
    }

    /// System processes come first, but for the few that the last polls have handed on to: what follows from an end (its message
    /// goes elsewhere) need not wait until a supervisor has seen to it.
    fn next(&self) -> Option<Task> {
        let scheduler = &self.home.shared.scheduler;
        if self.system_used.get() || !scheduler.system.is_empty() {
            if self.slot_used.get() && self.handed_on.get() < HANDED_ON {
                self.handed_on.set(self.handed_on.get() + 1);
                return self.next_ordinary();
            }
            self.handed_on.set(0);
            if let Some(task) = self.take_system() {
                return Some(task);
            }
        }
        self.next_ordinary()
    }

    /// As [`Local::next`], but for system processes.
    fn next_ordinary(&self) -> Option<Task> {
        let most = if self.has_newborns.get() { SLOT_RUNS_OVER_NEWBORNS } else { SLOT_RUNS };
        if self.slot_runs.get() < most
            && let Some(task) = self.take_slot()
        {
            self.slot_runs.set(self.slot_runs.get() + 1);
            return Some(task);
        }
        self.slot_runs.set(0);
        self.take_queued().or_else(|| self.take_slot()).or_else(|| self.take_injected())
    }

    fn has_own_work(&self) -> bool {
        self.slot_used.get()
            || self.system_used.get()
            || !self.queues.woken.is_empty()
            || !self.queues.newborn.is_empty()
    }

    fn take_injected(&self) -> Option<Task> {
        let injector = &self.home.shared.scheduler.injector;
        if injector.is_empty() { None } else { taken(|| injector.steal_batch_and_pop(&self.queues.woken)) }
    }

    fn poll(&self, task: Task) {
        let pid = task.metadata().pid;
        self.current.set(Some(pid));
        self.remote.polled.store(pid.word(), Ordering::Relaxed);
        // What a process does is caught where it is polled; this is for what nobody thought of: a worker must not end by it.
        caught(|| {
            task.run();
        });
        self.current.set(None);
        self.ends.set(false);
        self.remote.polled.store(0, Ordering::Relaxed);
        Counters::add(&self.remote.counters.polls, 1);
        Counters::add(&self.remote.counters.reductions, u64::from(crate::budget::last_used()));
        let polls = self.polls_to_tick.get().saturating_sub(1);
        self.polls_to_tick.set(polls);
        // Polls that have become slow are noticed before the tick that they put off.
        if polls % PEEK_POLLS == PEEK_POLLS - 1 {
            let since = self.home.shared.clock.peek().saturating_sub(self.ticked_at.get());
            if since > nanos(TICK) {
                self.polls_to_tick.set(0);
            }
        }
    }

    /// Looks at the clock and the timers; takes from the injector, which a busy worker would not look at otherwise.
    fn tick(&self) {
        let now = self.home.shared.clock.now();
        self.remote.ticked.store(now, Ordering::Relaxed);
        self.home.shared.scheduler.tune(now);
        self.arm_time_outs(false);
        let took = Duration::from_nanos(now.saturating_sub(self.ticked_at.replace(now)));
        let polls = self.tick_polls.get();
        self.tick_polls.set(if took > TICK { (polls / 2).max(1) } else { (polls * 2).min(TICK_POLLS) });
        self.polls_to_tick.set(self.tick_polls.get());
        if !self.fire_timers(now) {
            self.polls_to_tick.set(self.tick_polls.get().min(4));
        }
        let mut woken = self.woken.take();
        self.home.shared.scheduler.io.look(now, &mut woken);
        self.wake_all(woken);
        if let Some(task) = self.take_injected() {
            self.queues.woken.push(task);
        }
    }

    /// Fires some of the timers that are due; false if there are more.
    fn fire_timers(&self, now: u64) -> bool {
        let timers = &self.home.shared.timers;
        if timers.earliest() > now {
            return true;
        }
        let mut due = self.due.take();
        let all = timers.take_due(now, &mut due);
        Counters::add(&self.remote.counters.timers, due.len() as u64);
        for entry in due.drain(..) {
            match entry {
                Entry::Wake(waker) => wake_caught(waker),
                Entry::Deliver(timer) => caught(|| timer.fire(&self.home)),
                Entry::TimeOut(pending) => caught(|| pending.time_out()),
            }
        }
        self.due.set(due);
        all
    }

    /// Sleeps until there may be something to do.
    fn sleep(&self) {
        let shared = &self.home.shared;
        let (idle, me) = (&shared.scheduler.idle, self.home.index);
        self.arm_time_outs(true);
        if self.has_own_work() {
            // Some of those that wait have been woken.
            return;
        }
        let next = shared.timers.earliest();
        let mut woken = self.woken.take();
        let keeps = idle.enter(me, next);
        if self.searching.replace(false) {
            idle.stop_search();
        }
        Idle::before_last_look();
        // With a searcher about, it is that one who looks again.
        let awake = (shared.scheduler.has_work() && !idle.is_searched())
            || idle.is_unattended(shared.timers.earliest())
            || shared.lifecycle.is_closed();
        if !awake {
            Counters::add(&self.remote.counters.parks, 1);
            let time = keeps.map(|until| Duration::from_nanos(until.saturating_sub(shared.clock.now())));
            let time = time.unwrap_or(PARK).min(PARK);
            shared.scheduler.io.sleep(&self.remote.parker, time, &mut woken, || idle.note_polling(me));
        }
        let taken = !idle.leave(me);
        self.searching.set(taken);
        shared.scheduler.vigil.resume();
        shared.clock.end_rest();
        self.by_io.set(!woken.is_empty());
        self.wake_all(woken);
        // Whoever took it off the list may have done so for a timer.
        self.kept_time.set(keeps.is_some() || taken);
        // Woken by sockets alone it goes on as if it had not slept, since it will soon again (decision 0023).
        let goes_on = self.by_io.get() && !self.kept_time.get() && !self.on_duty.get();
        self.polls_to_tick.set(if goes_on { self.polls_to_tick.get().min(IO_TICK_POLLS) } else { 0 });
    }

    /// Wakes those whose sockets are ready.
    fn wake_all(&self, mut woken: Vec<Waker>) {
        woken.drain(..).for_each(wake_caught);
        self.woken.set(woken);
    }

    /// The timekeeper has got something else to do: another sleeper keeps the time, lest a long poll hold the timers up.
    fn hand_over_timekeeping(&self) {
        if self.kept_time.replace(false) {
            let next = self.home.shared.timers.earliest();
            if next < u64::MAX {
                self.home.announce_timer(next);
            }
        }
    }

    fn run(&self) {
        let lifecycle = &self.home.shared.lifecycle;
        loop {
            if self.polls_to_tick.get() == 0 {
                self.tick();
                if lifecycle.is_closed() {
                    break;
                }
                if self.on_duty.get() && self.remote.dismissed.load(Ordering::Acquire) {
                    return self.retire();
                }
            }
            match self.next().or_else(|| self.search()) {
                Some(task) => {
                    self.stop_searching();
                    self.hand_over_timekeeping();
                    self.poll(task);
                }
                None => self.sleep(),
            }
        }
        // Processes that outlived the shutdown end where they are dropped.
        while let Some(task) = self.next() {
            drop_caught(task);
        }
    }

    /// The end of a spare thread's duty: what it has goes to the others.
    fn retire(&self) {
        self.arm_time_outs(true);
        while let Some(task) = self.take_slot().or_else(|| self.take_own_system()).or_else(|| self.take_queued()) {
            inject(task);
        }
        self.stop_searching();
        // Whether or not it kept the time: one who armed a timer may just have woken it for that, and relies on it.
        self.kept_time.set(true);
        self.hand_over_timekeeping();
        let scheduler = &self.home.shared.scheduler;
        // Who brought work may have relied on this one, which was searching; and it may have been in the poller while all the others
        // parked.
        if scheduler.has_work() || scheduler.io.unattended().is_some() {
            scheduler.notify();
        }
    }
}

pub(crate) fn taken(attempt: impl Fn() -> Steal<Task>) -> Option<Task> {
    loop {
        match attempt() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}

/// The body of a worker's thread.
pub(crate) fn work(home: Arc<Home>, remote: Arc<Remote>, queues: Queues) {
    install(home, remote, queues, Local::run);
}

/// The body of a spare thread, which works whenever it has a duty.
pub(crate) fn stand_by(home: Arc<Home>, remote: Arc<Remote>, queues: Queues) {
    install(home, remote, queues, |local| {
        let scheduler = &local.home.shared.scheduler;
        while scheduler.spares.wait_for_duty(local.home.index, &local.home.shared.lifecycle) {
            local.on_duty.set(true);
            local.polls_to_tick.set(TICK_POLLS);
            local.run();
            scheduler.spares.rest(local.home.index);
        }
    });
}

fn install(home: Arc<Home>, remote: Arc<Remote>, queues: Queues, run: impl FnOnce(&Local)) {
    let shard = home.index * SPAWN_RUN;
    let local = Local {
        home,
        remote,
        queues,
        newborns_turn: Cell::new(false),
        newborns_taken: Cell::new(0),
        has_newborns: Cell::new(false),
        quota: Cell::new(0),
        current: Cell::new(None),
        ends: Cell::new(false),
        slot_used: Cell::new(false),
        system_used: Cell::new(false),
        slot_runs: Cell::new(0),
        handed_on: Cell::new(0),
        system_left: Cell::new((OUTSIDE, 0)),
        searching: Cell::new(false),
        polls_to_tick: Cell::new(TICK_POLLS),
        tick_polls: Cell::new(TICK_POLLS),
        ticked_at: Cell::new(0),
        shard: Cell::new(shard),
        due: Cell::new(Vec::new()),
        kept_time: Cell::new(false),
        on_duty: Cell::new(false),
        woken: Cell::new(Vec::new()),
        stole_at: Cell::new(0),
        by_io: Cell::new(false),
    };
    LOCAL.with(|cell| run(cell.get_or_init(|| local)));
}
