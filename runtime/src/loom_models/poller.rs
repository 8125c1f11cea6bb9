//! Shared: models of the poller as a whole: whose turn it is, where a worker sleeps, who wakes it, and what overseer and spare threads
//! do about a poller that nobody asks. Readiness has models of its own.
//!
//! The code under test is [`Turn`], [`Parker`], [`Idle`] and the overseer's and retiring threads' looks, in the order in which
//! [`crate::scheduler::worker`] calls them. The system's poller is a lock with a condition: events are fetched once, and its own
//! waker's leaves one behind. A socket or a wake-up that nobody attends to is a deadlock.
use super::*;
use crate::clock::nanos;
use crate::io::turn::Turn;
use crate::limits::IO_POLL;
use crate::scheduler::parker::Parker;

/// What epoll and its eventfd are to us.
#[derive(Default)]
struct System {
    /// Sockets that have become ready since the last fetch, and whether the waker was used.
    state: loom::sync::Mutex<(u64, bool)>,
    changed: loom::sync::Condvar,
}

impl System {
    fn ready(&self) {
        self.state.lock().expect("no model panics under a lock").0 += 1;
        self.changed.notify_one();
    }

    fn wake(&self) {
        self.state.lock().expect("no model panics under a lock").1 = true;
        self.changed.notify_one();
    }

    /// How many sockets; with `now`, without waiting.
    fn fetch(&self, now: bool) -> u64 {
        let mut state = self.state.lock().expect("no model panics under a lock");
        while !now && *state == (0, false) {
            state = self.changed.wait(state).expect("no model panics under a lock");
        }
        std::mem::take(&mut *state).0
    }
}

/// What workers share of a runtime.
struct Stage {
    idle: Idle,
    parkers: Vec<Parker>,
    /// There is a poller.
    made: AtomicBool,
    turn: Turn<()>,
    system: System,
    /// A process that could run, in the injector.
    work: AtomicBool,
    closed: AtomicBool,
    /// Sockets that were attended to, and processes that were run.
    done: AtomicU64,
    /// All that is to be done, after which the runtime closes.
    wanted: u64,
}

impl Stage {
    fn new(workers: usize, wanted: u64) -> Arc<Self> {
        Arc::new(Self {
            idle: Idle::new(workers),
            parkers: (0..workers).map(|_| Parker::new()).collect(),
            made: AtomicBool::new(true),
            turn: Turn::new(()),
            system: System::default(),
            work: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            done: AtomicU64::new(0),
            wanted,
        })
    }

    /// `Scheduler::unpark`.
    fn unpark(&self, worker: usize) {
        self.parkers[worker].unpark(|| self.system.wake());
    }

    fn wake_all(&self) {
        (0..self.parkers.len()).for_each(|worker| self.unpark(worker));
    }

    /// `Scheduler::notify`.
    fn notify(&self) {
        fence(Ordering::SeqCst);
        if let Some(worker) = self.idle.worker_to_wake() {
            self.unpark(worker);
        }
    }

    /// `Scheduler::inject`.
    fn inject(&self) {
        assert!(!self.work.swap(true, Ordering::AcqRel));
        self.notify();
    }

    /// So many have been attended to; the last closes the runtime.
    fn count(&self, more: u64) {
        if more > 0 && self.done.fetch_add(more, Ordering::AcqRel) + more == self.wanted {
            self.closed.swap(true, Ordering::AcqRel);
            self.wake_all();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// `Local::sleep`; how many sockets woke it. `searching` as there.
    fn sleep(&self, me: usize, searching: &mut bool) -> u64 {
        self.idle.enter(me, u64::MAX);
        if std::mem::take(searching) {
            self.idle.stop_search();
        }
        Idle::before_last_look();
        let awake = (self.work.load(Ordering::Relaxed) && !self.idle.is_searched()) || self.is_closed();
        let mut sockets = 0;
        if !awake {
            let (parker, note) = (&self.parkers[me], || self.idle.note_polling(me));
            let made = self.made.load(Ordering::Acquire);
            if !(made && self.turn.sleep(parker, note, |(), now| sockets = self.system.fetch(now))) {
                parker.park(Duration::MAX);
            }
        }
        *searching = !self.idle.leave(me);
        sockets
    }

    /// `Local::retire`.
    fn retire(&self, searching: bool) {
        if searching && self.idle.stop_search() && self.work.load(Ordering::Relaxed) {
            self.notify();
        }
        let unattended = self.made.load(Ordering::Acquire) && self.turn.unattended().is_some();
        if self.work.load(Ordering::Relaxed) || unattended {
            self.notify();
        }
    }

    /// `Local::run`, of a worker with `ticks` to come before it has nothing to do: each looks into the poller.
    fn work(&self, me: usize, ticks: u64) {
        for tick in 1..=ticks {
            let mut sockets = 0;
            self.turn.look(tick * nanos(IO_POLL), |()| sockets = self.system.fetch(true));
            self.count(sockets);
        }
        let mut searching = false;
        while !self.is_closed() {
            searching = searching || self.idle.start_search();
            if self.work.swap(false, Ordering::AcqRel) {
                if std::mem::take(&mut searching) && self.idle.stop_search() && self.work.load(Ordering::Relaxed) {
                    self.notify();
                }
                self.count(1);
            } else {
                let sockets = self.sleep(me, &mut searching);
                self.count(sockets);
            }
        }
        if searching {
            self.idle.stop_search();
        }
    }

    fn worker(self: &Arc<Self>, me: usize, ticks: u64) -> thread::JoinHandle<()> {
        let stage = Arc::clone(self);
        thread::spawn(move || stage.work(me, ticks))
    }
}

/// Two go to sleep, one of them in the poller, whichever that is.
#[test]
fn a_socket_that_is_ready_wakes_one_of_those_that_sleep() {
    explore(|| {
        let stage = Stage::new(2, 1);
        let workers = [stage.worker(0, 0), stage.worker(1, 0)];
        stage.system.ready();
        workers.into_iter().for_each(|worker| worker.join().expect("no worker fails"));
    });
}

/// Whoever pushes does not know where the sleeper sleeps, and a socket may wake it at the same time.
#[test]
fn work_and_a_socket_wake_a_worker_wherever_it_sleeps() {
    explore(|| {
        let stage = Stage::new(1, 2);
        let worker = stage.worker(0, 0);
        let pusher = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || stage.inject())
        };
        stage.system.ready();
        pusher.join().expect("no pusher fails");
        worker.join().expect("no worker fails");
    });
}

#[test]
fn work_wakes_one_of_two_of_which_one_is_in_the_poller() {
    explore(|| {
        let stage = Stage::new(2, 1);
        let workers = [stage.worker(0, 0), stage.worker(1, 0)];
        stage.inject();
        workers.into_iter().for_each(|worker| worker.join().expect("no worker fails"));
    });
}

/// One that looks in passing keeps another from the poller for that moment: the other parks, and the busy one attends to the
/// socket, at its next tick or when it sleeps.
#[test]
fn a_busy_worker_attends_to_what_it_kept_another_from() {
    explore(|| {
        let stage = Stage::new(2, 1);
        let workers = [stage.worker(0, 2), stage.worker(1, 0)];
        stage.system.ready();
        workers.into_iter().for_each(|worker| worker.join().expect("no worker fails"));
    });
}

/// The first socket is made while a worker parks, since there was no poller.
#[test]
fn who_parked_before_there_was_a_poller_comes_to_it() {
    explore(|| {
        let stage = Stage::new(1, 1);
        stage.made.store(false, Ordering::Release);
        let worker = stage.worker(0, 0);
        assert!(!stage.made.swap(true, Ordering::AcqRel));
        stage.wake_all();
        stage.system.ready();
        worker.join().expect("the worker does not fail");
    });
}

/// One leaves the poller and does not come back: a spare thread that retires, which looks whether anybody sleeps. The other may
/// have parked since the poller was taken.
#[test]
fn a_spare_thread_that_retires_leaves_no_socket_to_nobody() {
    explore(|| {
        let stage = Stage::new(2, 2);
        let worker = stage.worker(0, 0);
        stage.system.ready();
        // Without a wait: it has been dismissed, and finds so when it wakes.
        stage.unpark(1);
        let mut searching = false;
        let sockets = stage.sleep(1, &mut searching);
        stage.count(sockets);
        stage.retire(searching);
        stage.system.ready();
        worker.join().expect("the worker attends to what is left");
    });
}

/// Who brings work wakes nobody while a spare thread searches. If that is dismissed when its last look before sleep has shown it
/// the work, it is the one to wake somebody.
#[test]
fn a_spare_thread_that_retires_leaves_no_work_to_nobody() {
    explore(|| {
        let stage = Stage::new(2, 1);
        stage.made.store(false, Ordering::Release);
        let mut searching = stage.idle.start_search();
        assert!(searching);
        let worker = stage.worker(0, 0);
        let spare = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                stage.sleep(1, &mut searching);
                stage.retire(searching);
            })
        };
        stage.inject();
        worker.join().expect("the worker does what there is");
        spare.join().expect("the spare thread does not fail");
    });
}

/// One leaves the poller for something that does not end before the second socket is attended to: the overseer sees that nobody
/// comes, and wakes the one that has parked.
#[test]
fn the_overseer_sends_one_to_a_poller_that_nobody_asks() {
    explore(|| {
        let stage = Stage::new(2, 2);
        stage.system.ready();
        let stuck = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                let mut searching = false;
                let sockets = stage.sleep(1, &mut searching);
                if searching {
                    stage.idle.stop_search();
                }
                stage.count(sockets);
                stage.system.ready();
                // Whatever it does now, it does not sleep.
            })
        };
        let worker = stage.worker(0, 0);
        // If it has come second, and sleeps on its token, it is something else that wakes it.
        stage.unpark(1);
        // `overseer::oversee`: it may look at any time, and goes on to.
        let mut fetches = None;
        let mut look = || {
            let before = std::mem::replace(&mut fetches, stage.turn.unattended());
            if fetches.is_some() && fetches == before && stage.idle.asleep() > 0 {
                stage.notify();
            }
        };
        look();
        stuck.join().expect("it does not fail");
        // Who comes to sleep from now on finds the poller free.
        look();
        look();
        worker.join().expect("the worker attends to what is left");
    });
}
