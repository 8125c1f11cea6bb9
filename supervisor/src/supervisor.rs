//! Driver: supervisors as their users make them.
use crate::backoff::Chance;
use crate::board::Board;
use crate::child::{AnyChild, ChildBuilder, ChildSpec, IntoChild, Recipe, Start};
use crate::drive::run;
use crate::event::FailedToStart;
use crate::handle::SupervisorRef;
use crate::limits::{AHEAD, AHEAD_EVERY};
use crate::message::{Msg, SupervisorMessage};
use crate::ready::Ready;
use crate::rows::Rows;
use crate::spec::{AutoShutdown, ChildKind, Flags, SpecError, Strategy};
use crate::state::Machine;
use colloquium_runtime::{Address, Context, ExitReason, Handle, Mailbox, Pid, ProcessBuilder, SpawnError};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A supervisor, as it is to be: its flags and its first children.
///
/// A supervisor is a process whose only work is its children: it starts them left to right, stops them right to left, and
/// when one ends judges by its [`Restart`](crate::Restart) and by its own [`Strategy`] who is started again. When that
/// happens too often it stops all and ends itself, with [`ExitReason::Shutdown`], and so hands the trouble to the supervisor
/// above. The semantics are OTP's; ARCHITECTURE.md names the departures.
///
/// It ends when its parent does (whatever the reason), when it is told to from outside all processes, when
/// [`SupervisorRef::stop`] is called, when a restart is one too many, or by [`AutoShutdown`]. Its children are linked to it:
/// if it is killed, they end.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Context, ReplyTo, Runtime};
/// use colloquium_supervisor::{ChildSpec, Supervisor};
/// use std::time::Duration;
///
/// enum Msg { Crash, Get(ReplyTo<u32>) }
///
/// async fn counter(mut ctx: Context<Msg>) {
///     let mut asked = 0;
///     loop {
///         match ctx.recv().await {
///             Msg::Crash => panic!("as told"),
///             Msg::Get(reply_to) => { asked += 1; drop(reply_to.send(asked)); }
///         }
///     }
/// }
///
/// async fn tree(runtime: &Runtime) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     let spec = ChildSpec::worker("counter", counter).build()?;
///     let counter = spec.reference(); // survives restarts
///     let supervisor = Supervisor::new().child(spec).start(runtime).await?;
///     assert_eq!(counter.call(Msg::Get).await?, 1);
///     assert_eq!(counter.call(Msg::Get).await?, 2);
///     let first = counter.address()?;
///     first.send(Msg::Crash)?;
///     first.ended().await;
///     counter.up(runtime, Duration::from_secs(5)).await?;
///     assert_eq!(counter.call(Msg::Get).await?, 1);
///     supervisor.stop(Duration::from_secs(5)).await;
///     Ok(())
/// }
/// let runtime = Runtime::new()?;
/// runtime.block_on(tree(&runtime))?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "a supervisor does nothing until it is started"]
pub struct Supervisor {
    pub(crate) flags: Flags,
    children: Vec<Result<AnyChild, SpecError>>,
    name: Option<Arc<str>>,
    label: Option<Arc<str>>,
}

/// Why a supervisor was not started. None of its children is left.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A specification is wrong; nothing was started.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There was no process for the supervisor.
    #[error("no process for the supervisor: {0}")]
    Spawn(#[from] SpawnError),
    /// A child failed to start; those before it were stopped again.
    #[error(transparent)]
    Child(FailedToStart),
    /// The supervisor ended for another reason while its children were started.
    #[error("the supervisor ended: {0}")]
    Ended(ExitReason),
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// One without children: one for one, three restarts in five seconds, no shutdown by itself.
    pub fn new() -> Self {
        Self { flags: Flags::default(), children: Vec::new(), name: None, label: None }
    }

    /// Who is restarted together with a child that has failed.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.flags.strategy = strategy;
        self
    }

    /// How many restarts are carried out within how long (OTP's sliding window, to the nanosecond); one more, and the
    /// supervisor gives up. The restart of a group counts once, each retry of a failed one counts, restarts by hand do not.
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.flags.intensity = restarts;
        self.flags.period = period;
        self
    }

    /// Whether it ends when its significant children have.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// Its process is registered under this name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its process is labelled with this text, for people.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// One more child, the last in order.
    #[inline]
    pub fn child(mut self, child: impl IntoChild) -> Self {
        self.push(child.into_child());
        self
    }

    fn push(&mut self, child: Result<AnyChild, SpecError>) {
        if self.children.len() % AHEAD_EVERY == AHEAD_EVERY - 1 {
            // At one go and given back at once, as the runtime does for its processes: glibc would have it page by page.
            drop(std::hint::black_box(Vec::<u8>::with_capacity(AHEAD)));
        }
        self.children.push(child);
    }

    /// Starts it, without a parent, and waits until all its children are up. Dropping the future undoes the start.
    ///
    /// # Errors
    ///
    /// [`StartError`]: no child is left.
    pub async fn start(self, runtime: &Handle) -> Result<SupervisorRef, StartError> {
        let (address, board) = self.prepare()?.spawn(runtime.build(), Ready::to_nobody)?;
        begun(address, board).await
    }

    /// Starts it, linked to this process as its parent, and waits until all its children are up. This process receives
    /// nothing meanwhile. If the start fails it gets the supervisor's exit signal, too: a message, if it traps exits.
    ///
    /// # Errors
    ///
    /// [`StartError`]: no child is left.
    pub async fn start_link<M: Send + 'static>(self, ctx: &mut Context<M>) -> Result<SupervisorRef, StartError> {
        let (address, board) = self.prepare()?.spawn(ctx.build().link(), Ready::to_nobody)?;
        begun(address, board).await
    }

    /// Finds out what is wrong with it, before anything is started.
    pub(crate) fn prepare(self) -> Result<Prepared, SpecError> {
        self.flags.validate()?;
        let mut machine = Machine::with_capacity(self.flags, self.children.len());
        let mut starts = Rows::with_capacity(self.children.len());
        for child in self.children {
            let AnyChild { id, settings, start } = child?;
            starts.push(machine.add(Some(id), settings, Duration::ZERO)?, start);
        }
        Ok(Prepared { machine, starts, name: self.name, label: self.label })
    }
}

/// A supervisor with which nothing is wrong.
pub(crate) struct Prepared {
    machine: Machine<Pid>,
    starts: Rows<Box<dyn Start>>,
    name: Option<Arc<str>>,
    label: Option<Arc<str>>,
}

impl Prepared {
    /// Spawns its process.
    pub(crate) fn spawn<P: Send + 'static>(
        self,
        mut build: ProcessBuilder<'_, P>,
        ready: impl FnOnce(Pid) -> Ready,
    ) -> Result<(Address<SupervisorMessage>, Board), SpawnError> {
        let Self { mut machine, starts, name, label } = self;
        if let Some(name) = name {
            build = build.name(name);
        }
        if let Some(label) = label {
            build = build.label(label);
        }
        let mut shared = None;
        // What comes in is bounded otherwise: requests by permits, the rest by the children.
        let address = build.system().mailbox(Mailbox::unbounded()).spawn(|ctx: Context<SupervisorMessage>| {
            let runtime = ctx.runtime();
            machine.chance = Chance(seed(&runtime));
            let pid = ctx.pid();
            let board = Board::new(pid, runtime, machine);
            shared = Some(board.clone());
            run(ctx, board, starts, ready(pid))
        })?;
        Ok((address, shared.expect("the body was made")))
    }
}

/// Chance, for the jitter of back-offs; in a simulation from its seed.
fn seed(runtime: &Handle) -> u64 {
    runtime.rng().number()
}

/// Waits until the children of a supervisor are up; if that is given up, the supervisor is stopped.
pub(crate) async fn begun(address: Address<SupervisorMessage>, board: Board) -> Result<SupervisorRef, StartError> {
    let guard = Undo(Some(address.clone()));
    let supervisor = SupervisorRef::new(address, board);
    // As long as it takes: each child's start has a bound of its own.
    let outcome = supervisor.within(None).look().await;
    guard.disarm();
    if outcome.is_ok() {
        return Ok(supervisor);
    }
    // It may have ended before it could be asked, or while it was.
    match supervisor.address().ended().await {
        ExitReason::ShutdownWith(cause) => {
            let failed = cause.downcast_ref::<FailedToStart>().cloned();
            Err(failed.map_or(StartError::Ended(ExitReason::ShutdownWith(cause)), StartError::Child))
        }
        reason => Err(StartError::Ended(reason)),
    }
}

/// Stops a supervisor whose start is given up.
struct Undo(Option<Address<SupervisorMessage>>);

impl Undo {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(supervisor) = self.0.take() {
            drop(supervisor.send(SupervisorMessage(Msg::Stop(None))));
        }
    }
}

impl ChildSpec<SupervisorMessage> {
    /// A supervisor as a child: `make` says anew for each start what it is to be. Dynamically added children of it are not
    /// there after its restart. It has as long as it takes to start and to stop, since each of its children has bounds of its
    /// own.
    pub fn supervisor(
        id: impl Into<Arc<str>>,
        make: impl FnMut() -> Supervisor + Send + 'static,
    ) -> ChildBuilder<SupervisorMessage> {
        ChildBuilder::new(id.into(), ChildKind::Supervisor, Nested(make))
    }
}

struct Nested<F>(F);

impl<F: FnMut() -> Supervisor + Send> Recipe<SupervisorMessage> for Nested<F> {
    fn spawn(
        &mut self,
        build: ProcessBuilder<'_, SupervisorMessage>,
        above: &Address<SupervisorMessage>,
    ) -> Result<(Address<SupervisorMessage>, Option<Board>), SpawnError> {
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut self.0));
        let wrong = match made {
            Ok(supervisor) => match supervisor.prepare() {
                Ok(prepared) => {
                    let (address, board) = prepared.spawn(build, |pid| Ready::new(above.clone(), pid))?;
                    return Ok((address, Some(board)));
                }
                Err(error) => Ok(ExitReason::error(error)),
            },
            Err(payload) => Err(payload),
        };
        // It is to fail in its own name, and its supervisor to learn why as of any other child.
        let address = build.spawn(|ctx: Context<SupervisorMessage>| {
            let ready = Ready::new(above.clone(), ctx.pid());
            let reason = wrong.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
            async move {
                let _ready = ready;
                let _ctx = ctx;
                reason
            }
        })?;
        Ok((address, None))
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("flags", &self.flags).field("children", &self.children.len()).finish()
    }
}
