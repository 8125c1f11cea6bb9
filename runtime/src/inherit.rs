//! Shared: what calls and dispatches inherit from the work that makes them, in one cell of the thread that polls.
//!
//! It is set around each poll of such work and reset when that returns, so that no other process on the thread ever sees it.
use crate::pid::Pid;
use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static CURRENT: Cell<Option<Inherited>> = const { Cell::new(None) };
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
        CURRENT.get()
    }

    /// Runs `act`, which is to be one poll, within this.
    #[inline]
    pub fn within<T>(self, act: impl FnOnce() -> T) -> T {
        let _outer = Outer(CURRENT.replace(Some(self)));
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

/// What there was before; also when the poll panics.
struct Outer(Option<Inherited>);

impl Drop for Outer {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}
