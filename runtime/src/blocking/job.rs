//! Shared: the cell between one who waits for a piece of blocking work and the thread that does it.
//!
//! States: *queued* → *running* → *done*; from queued also *refused* (with the closure, which comes back), from running also
//! *left behind* (the runtime is gone; nobody waits any more); from all of them *over*, when the one who waits has taken the
//! outcome or has stopped waiting. Each change happens under the cell's own lock, which is never held together with another;
//! closures, outcomes and wakers come out and are run, dropped or woken after it. Only the thread that takes the closure out
//! of *queued* runs it; only *running* takes an outcome in: any other finds it in the hands of the thread that has it, which
//! drops it.
//!
//! `cancelled` only ever goes up. It is set with release after the waiting one has decided, and read with acquire by the
//! closure, which so sees what was done before; nothing else hangs on it.
use crate::blocking::staff::Refusal;
use crate::exit::Panic;
use crate::pid::Pid;
use crate::process::ending::{drop_caught, drop_payload, wake_caught};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

/// For whom a job is, and where it was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) process: Option<Pid>,
    pub(crate) location: &'static Location<'static>,
}

/// A piece of blocking work, whatever it is made of.
pub(crate) trait Job: Send + Sync {
    /// Runs the closure on this thread, if it has not begun and somebody waits.
    fn run(self: Arc<Self>);
    /// Gives it up before it has begun.
    fn refuse(&self, refusal: Refusal);
    /// Tells the closure to stop.
    fn cancel(&self);
    fn is_cancelled(&self) -> bool;
    /// Nobody will wait for the closure that runs: whoever does goes on without it.
    fn leave_behind(&self);
    fn origin(&self) -> Origin;
}

pub(crate) struct JobCell<F, T> {
    state: Mutex<State<F, T>>,
    cancelled: AtomicBool,
    origin: Origin,
}

enum State<F, T> {
    Queued(F, Waker),
    Running(Waker),
    Done(Result<T, Panic>),
    Refused(F, Refusal),
    LeftBehind,
    Over,
}

/// What one who waits finds.
pub(crate) enum Outcome<F, T> {
    Done(Result<T, Panic>),
    Refused(F, Refusal),
    LeftBehind,
    NotYet,
}

impl<F, T> JobCell<F, T> {
    pub(crate) fn new(job: F, waker: Waker, origin: Origin) -> Self {
        Self { state: Mutex::new(State::Queued(job, waker)), cancelled: AtomicBool::new(false), origin }
    }

    /// Looks for the outcome; while there is none, `waker` is called at the next change.
    pub(crate) fn poll(&self, waker: &Waker) -> Outcome<F, T> {
        let mut fresh = None;
        let mut state = self.state.lock();
        while let State::Queued(_, known) | State::Running(known) = &mut *state {
            let same = known.will_wake(waker);
            let unused = if same { None } else { fresh.take().map(|fresh| std::mem::replace(known, fresh)) };
            drop(state);
            if same || unused.is_some() {
                return Outcome::NotYet;
            }
            // Without the lock, as what is unused is dropped: both may be anybody's code.
            fresh = Some(waker.clone());
            state = self.state.lock();
        }
        let last = std::mem::replace(&mut *state, State::Over);
        drop(state);
        match last {
            State::Done(outcome) => Outcome::Done(outcome),
            State::Refused(job, refusal) => Outcome::Refused(job, refusal),
            State::LeftBehind => Outcome::LeftBehind,
            State::Queued(..) | State::Running(_) | State::Over => unreachable!("taken before, or seen above"),
        }
    }

    /// Stops waiting: what has begun is told to stop, what has not never will. True if it is to be taken out of the queue;
    /// what comes along is to be dropped.
    #[must_use]
    pub(crate) fn abandon(&self) -> (bool, impl Sized + use<F, T>) {
        let mut state = self.state.lock();
        let last = std::mem::replace(&mut *state, State::Over);
        drop(state);
        if matches!(last, State::Queued(..) | State::Running(_)) {
            self.cancelled.store(true, Ordering::Release);
        }
        (matches!(last, State::Queued(..)), last)
    }
}

impl<F, T> Job for JobCell<F, T>
where
    F: FnOnce(CancelFlag) -> T + Send + 'static,
    T: Send + 'static,
{
    fn run(self: Arc<Self>) {
        let job = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Over) {
                State::Queued(job, waker) => {
                    *state = State::Running(waker);
                    job
                }
                other => {
                    *state = other;
                    return;
                }
            }
        };
        let flag = CancelFlag(self.clone());
        let outcome = crate::hook::watched(|| catch_unwind(AssertUnwindSafe(|| job(flag))));
        let outcome = outcome.map_err(|payload| {
            let panic = Panic::read(&*payload, crate::hook::take_location(&*payload));
            drop_payload(payload);
            panic
        });
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Running(waker) => {
                *state = State::Done(outcome);
                drop(state);
                wake_caught(waker);
            }
            other => {
                *state = other;
                drop(state);
                drop_caught(outcome);
            }
        }
    }

    fn refuse(&self, refusal: Refusal) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Queued(job, waker) => {
                *state = State::Refused(job, refusal);
                drop(state);
                wake_caught(waker);
            }
            other => *state = other,
        }
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn leave_behind(&self) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Running(waker) => {
                *state = State::LeftBehind;
                drop(state);
                wake_caught(waker);
            }
            other => *state = other,
        }
    }

    fn origin(&self) -> Origin {
        self.origin
    }
}

/// Tells a closure of [`Context::run_blocking`](crate::Context::run_blocking) that nobody waits for it any more.
///
/// Nothing stops a closure from outside: one that takes long looks at this now and then, and returns. It may be cloned and
/// handed to whatever the closure calls.
#[derive(Clone)]
pub struct CancelFlag(Arc<dyn Job>);

impl CancelFlag {
    /// Whether the closure had better return: the process that waited is ending, its future was dropped, or the runtime shuts
    /// down. Once true it stays true.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl fmt::Debug for CancelFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelFlag({})", self.is_cancelled())
    }
}
