//! Shared: what calls and dispatches inherit from the work that makes them, in one cell of the thread that polls.
//!
//! It is set around each poll of such work and reset when that returns, so that no other process on the thread ever sees it.
use crate::pid::Pid;
use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static CURRENT: Current = const { Current::new() };
}

/// What work that is being done hands on to the calls and dispatches that it makes: the time until which anybody wants its
/// result, and its number.
///
/// Layers above processes set it around their polls ([`Inherited::within`]), as dispatch does around those of handlers. Calls
/// that are made within wait no longer than until the deadline. It ends with the poll: what is spawned inherits nothing.
///
/// ```
/// use colloquium_runtime::{Context, Inherited, Runtime};
/// use std::time::Duration;
///
/// let runtime = Runtime::new()?;
/// let process = runtime.spawn(async |ctx: Context<()>| {
///     let work = Inherited::new(ctx.pid(), Duration::from_secs(3), 17);
///     assert_eq!(work.within(|| Inherited::current().map(|work| work.id())), Some(17));
///     assert!(Inherited::current().is_none());
/// })?;
/// assert!(runtime.block_on(process.ended()).is_orderly());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    process: Pid,
    deadline: Duration,
    id: u64,
}

impl Inherited {
    /// The work of this process, wanted until then in its runtime's time, by that number.
    #[must_use]
    pub fn new(process: Pid, deadline: Duration, id: u64) -> Self {
        Self { process, deadline, id }
    }

    /// What is to be inherited here, if anything.
    #[inline]
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.with(Current::get)
    }

    /// Runs `act`, which is to be one poll, within this.
    #[inline]
    pub fn within<T>(self, act: impl FnOnce() -> T) -> T {
        let _outer = Outer(Self::current().map(Box::new));
        CURRENT.with(|current| current.set(Some(self)));
        act()
    }

    /// The number of the work.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Until when its result is wanted, in the time of the runtime that this process is of; `None` if its own is another
    /// runtime, whose time is another.
    #[must_use]
    pub fn deadline_for(&self, process: Pid) -> Option<Duration> {
        (self.process.runtime() == process.runtime()).then_some(self.deadline)
    }

    /// The process that does the work.
    #[must_use]
    pub fn process(&self) -> Pid {
        self.process
    }
}

/// Each part by itself, so that it goes where it is to stand and is not carried there with the others.
struct Current {
    process: Cell<Option<Pid>>,
    deadline: Cell<Duration>,
    id: Cell<u64>,
}

impl Current {
    const fn new() -> Self {
        Self { process: Cell::new(None), deadline: Cell::new(Duration::ZERO), id: Cell::new(0) }
    }

    #[inline]
    fn get(&self) -> Option<Inherited> {
        let process = self.process.get()?;
        Some(Inherited { process, deadline: self.deadline.get(), id: self.id.get() })
    }

    #[inline]
    fn set(&self, inherited: Option<Inherited>) {
        let Some(Inherited { process, deadline, id }) = inherited else { return self.process.set(None) };
        self.process.set(Some(process));
        self.deadline.set(deadline);
        self.id.set(id);
    }
}

/// What there was before; also when the poll panics.
struct Outer(Option<Box<Inherited>>);

impl Drop for Outer {
    #[inline]
    fn drop(&mut self) {
        let outer = self.0.take().map(|outer| *outer);
        CURRENT.with(|current| current.set(outer));
    }
}
