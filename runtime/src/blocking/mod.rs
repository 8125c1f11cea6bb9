//! Driver: blocking work: from the process that asks for it to a thread of the runtime's own, and back.
pub(crate) mod job;
pub(crate) mod pool;
mod simulated;
pub(crate) mod staff;

use crate::budget;
use crate::builder::spawn_thread;
use crate::error::{BlockingError, BlockingErrorKind};
use crate::info::{BlockingInfo, BlockingWork};
use crate::process::context::Context;
use crate::process::control::AnyProcess;
use crate::process::ending::caught;
use crate::runtime::Handle;
use crate::scheduler::Home;
use crate::shared::Shared;
use crate::timer::TimerId;
use job::{CancelFlag, Job, JobCell, Origin, Outcome};
use pool::Pool;
use staff::Refusal;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Polling, Poll, ready};
use std::time::Duration;

impl<M: Send + 'static> Context<M> {
    /// Runs `job`, which may block or compute for long, on a thread of the runtime's own, and waits for what it returns. A
    /// process that did so itself would hold its worker up.
    ///
    /// The job is handed over when the future is first polled. Meanwhile the process waits: its mailbox fills, others run, and
    /// exit signals end it at once. It may do something else beside, with `select` and the like: the future does not borrow
    /// the context.
    ///
    /// There are as many threads as are needed, up to [`Builder::blocking_threads`](crate::Builder::blocking_threads); when
    /// all are busy, up to [`Builder::blocking_queue`](crate::Builder::blocking_queue) jobs wait, first come, first served.
    /// Jobs that wait for each other can so be in each other's way. A job costs an allocation, and its first in a process
    /// another. In a [simulation](crate::simulation) the job runs on its one thread, after a virtual time that comes from the
    /// seed, and without these bounds.
    ///
    /// # Errors
    ///
    /// [`BlockingError`]: a job that has not begun comes back (too many wait, or the runtime or the process is ending); a
    /// panic of the job is an error that bears its message, and ends nobody.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped (as the end of the process does with what its body holds), a job that has not begun never
    /// will, and is dropped there. One that runs goes on: its [`CancelFlag`] is set, at which it may look now and then; what it
    /// returns is dropped on its thread. (What had been returned already is dropped with the future.)
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Context, ExitReason, Runtime};
    /// let runtime = Runtime::new()?;
    /// let process = runtime.spawn(async |ctx: Context<()>| {
    ///     let sum = ctx.run_blocking(|cancel| (0..1_000_u64).take_while(|_| !cancel.is_cancelled()).sum::<u64>()).await?;
    ///     assert_eq!(sum, 499_500);
    ///     Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// })?;
    /// assert_eq!(runtime.block_on(process.ended()), ExitReason::Normal);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[track_caller]
    pub fn run_blocking<T, F>(&self, job: F) -> RunBlocking<F, T>
    where
        T: Send + 'static,
        F: FnOnce(CancelFlag) -> T + Send + 'static,
    {
        RunBlocking::new(&self.control.head.home, Some(self.process()), job, Location::caller())
    }
}

impl Handle {
    /// As [`Context::run_blocking`], from anywhere and on behalf of no process. Shutting the runtime down sets the flag of
    /// such a job once the processes have ended.
    ///
    /// # Errors
    ///
    /// As [`Context::run_blocking`]; and [`BlockingErrorKind::LeftBehind`] if the runtime has shut down before the job returned.
    #[track_caller]
    pub fn run_blocking<T, F>(&self, job: F) -> RunBlocking<F, T>
    where
        T: Send + 'static,
        F: FnOnce(CancelFlag) -> T + Send + 'static,
    {
        RunBlocking::new(self.home(), None, job, Location::caller())
    }
}

/// Where a job was put, as far as it has not begun.
#[derive(Clone, Copy)]
enum Handed {
    Queued(u64),
    Timed(TimerId),
}

/// Hands a job over to whoever does blocking work in this runtime: the one place where that is decided. What it gives is good
/// for [`take_back`].
fn hand_over(home: &Home, job: Arc<dyn Job>) -> Handed {
    let shared = &home.shared;
    if let Some(simulator) = &shared.scheduler.simulator {
        return Handed::Timed(simulated::hand_over(home, simulator, job));
    }
    Handed::Queued(shared.blocking().submit(job, || {
        let on_thread = Arc::clone(shared);
        spawn_thread(shared, "blocking", move || {
            let done = || on_thread.lifecycle.blocking_ended();
            on_thread.blocking().serve(|| on_thread.clock.now(), done);
        })
    }))
}

/// Takes back a job that was handed over and is not wanted any more.
fn take_back(shared: &Shared, handed: Handed) {
    match handed {
        Handed::Queued(number) => shared.blocking().withdraw(number),
        Handed::Timed(timer) => drop(shared.timers.remove(timer)),
    }
}

/// The future of [`Context::run_blocking`].
#[must_use = "a future does nothing unless awaited"]
pub struct RunBlocking<F, T>
where
    F: FnOnce(CancelFlag) -> T + Send + 'static,
    T: Send + 'static,
{
    home: Arc<Home>,
    process: Option<AnyProcess>,
    location: &'static Location<'static>,
    stage: Stage<F, T>,
}

enum Stage<F, T> {
    Asked(F),
    HandedOver(Handed, Arc<JobCell<F, T>>),
    Over,
}

impl<F, T> Unpin for RunBlocking<F, T>
where
    F: FnOnce(CancelFlag) -> T + Send + 'static,
    T: Send + 'static,
{
}

impl<F, T> RunBlocking<F, T>
where
    F: FnOnce(CancelFlag) -> T + Send + 'static,
    T: Send + 'static,
{
    fn new(home: &Arc<Home>, process: Option<AnyProcess>, job: F, location: &'static Location<'static>) -> Self {
        Self { home: Arc::clone(home), process, location, stage: Stage::Asked(job) }
    }

    fn error(kind: BlockingErrorKind, job: Option<F>) -> Result<T, BlockingError<F>> {
        Err(BlockingError::new(kind, job))
    }

    fn begin(&mut self, job: F, cx: &Polling<'_>) -> Result<(), F> {
        if let Some(process) = &self.process {
            let mut core = process.core();
            if core.fate.is_some() {
                return Err(job);
            }
            core.extra().begin_blocking(self.home.shared.clock.seen());
        }
        let origin =
            Origin { process: self.process.as_ref().map(|process| process.head().pid), location: self.location };
        let cell = Arc::new(JobCell::new(job, cx.waker().clone(), origin));
        self.stage = Stage::HandedOver(hand_over(&self.home, cell.clone()), cell);
        Ok(())
    }

    /// Sets the job's [`CancelFlag`], and goes on waiting for it.
    pub fn cancel(&self) {
        if let Stage::HandedOver(_, cell) = &self.stage {
            cell.cancel();
        }
    }

    /// The process does not wait for this any more.
    fn end(&mut self) {
        self.stage = Stage::Over;
        if let Some(process) = &self.process
            && let Some(extra) = &mut process.core().extra
        {
            extra.end_blocking();
        }
    }
}

impl<F, T> Future for RunBlocking<F, T>
where
    F: FnOnce(CancelFlag) -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T, BlockingError<F>>;

    /// # Panics
    ///
    /// Polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<Self::Output> {
        if let Stage::Asked(_) = &self.stage {
            ready!(budget::poll_proceed(cx));
            if let Stage::Asked(job) = std::mem::replace(&mut self.stage, Stage::Over)
                && let Err(job) = self.begin(job, cx)
            {
                return Poll::Ready(Self::error(BlockingErrorKind::ProcessEnded, Some(job)));
            }
        }
        let Stage::HandedOver(_, cell) = &self.stage else { panic!("polled after it was ready") };
        let outcome = cell.poll(cx.waker());
        if let Outcome::NotYet = outcome {
            return Poll::Pending;
        }
        self.end();
        Poll::Ready(match outcome {
            Outcome::Done(Ok(value)) => Ok(value),
            Outcome::Done(Err(panic)) => Self::error(BlockingErrorKind::Panicked(panic), None),
            Outcome::Refused(job, Refusal::Full) => Self::error(BlockingErrorKind::Full, Some(job)),
            Outcome::Refused(job, Refusal::Closed) => Self::error(BlockingErrorKind::ShuttingDown, Some(job)),
            Outcome::Refused(job, Refusal::NoThread) => Self::error(BlockingErrorKind::NoThread, Some(job)),
            Outcome::LeftBehind => Self::error(BlockingErrorKind::LeftBehind, None),
            Outcome::NotYet => return Poll::Pending,
        })
    }
}

impl<F, T> Drop for RunBlocking<F, T>
where
    F: FnOnce(CancelFlag) -> T + Send + 'static,
    T: Send + 'static,
{
    fn drop(&mut self) {
        let Stage::HandedOver(handed, cell) = &self.stage else { return };
        let (queued, leftover) = cell.abandon();
        if queued {
            take_back(&self.home.shared, *handed);
        }
        self.end();
        // The closure, or an outcome that nobody has fetched: a user's, and last, since its destructor may panic.
        drop(leftover);
    }
}

impl<F, T> fmt::Debug for RunBlocking<F, T>
where
    F: FnOnce(CancelFlag) -> T + Send + 'static,
    T: Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunBlocking({})", self.location)
    }
}

/// What runs still when the time is up; whoever waits for it waits no longer.
pub(crate) fn leave_behind(shared: &Shared) -> Vec<BlockingWork> {
    let now = shared.clock.now();
    let left = shared.blocking().running().into_iter().map(|running| {
        caught(|| running.job.leave_behind());
        let Origin { process, location } = running.job.origin();
        BlockingWork { process, location, running: Duration::from_nanos(now.saturating_sub(running.since)) }
    });
    left.collect()
}

/// The pool in numbers; of one that was never needed, none.
pub(crate) fn info(shared: &Shared) -> BlockingInfo {
    let count = shared.blocking_if_made().map(Pool::count).unwrap_or_default();
    let busy = shared.blocking_if_made().map_or(0, |pool| pool.running().len());
    BlockingInfo { threads: count.threads, idle: count.idle, running: busy, queued: count.queued }
}
