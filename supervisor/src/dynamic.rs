//! Driver: supervisors of children that are all of one kind and come and go (OTP's `simple_one_for_one`).
use crate::backoff::Backoff;
use crate::board::Board;
use crate::child::{ChildBuilder, ChildSpec, Start};
use crate::event::{Place, Request, Who};
use crate::handle::{StartChildError, SupervisorRef, TerminateChildError, Unreachable, added_child};
use crate::limits;
use crate::message::SupervisorMessage;
use crate::place::Spot;
use crate::ready::Ready;
use crate::reference::ChildRef;
use crate::spec::{ChildKind, Flags, Kept, Restart, Settings, Shutdown, SpecError};
use crate::supervisor::{StartError, Supervisor};
use colloquium_runtime::{Address, Context, Handle, IntoExitReason, Pid, SpawnError};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A supervisor whose children are all started by one body, each with arguments of its own, and have no order.
///
/// Children are known by their pids, restarted one by one, and stopped together: all are told at once, one clock runs for
/// all, and who is left when it is over is killed.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Context, Runtime};
/// use colloquium_supervisor::{DynamicSupervisor, Restart};
/// use std::time::Duration;
///
/// async fn session(mut ctx: Context<String>, user: u64) {
///     println!("{user}: {}", ctx.recv().await);
/// }
///
/// async fn sessions(runtime: &Runtime) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     let sessions = DynamicSupervisor::new(session).restart(Restart::Temporary).max_children(10_000);
///     let sessions = sessions.start(runtime).await?;
///     let seven = sessions.start_child(7).await?;
///     seven.send("hello".to_owned())?;
///     sessions.supervisor().stop(Duration::from_secs(5)).await;
///     Ok(())
/// }
/// let runtime = Runtime::new()?;
/// runtime.block_on(sessions(&runtime))?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "a supervisor does nothing until it is started"]
pub struct DynamicSupervisor<A, M> {
    flags: Flags,
    settings: Settings,
    name: Option<Arc<str>>,
    make: Arc<Make<A, M>>,
}

/// Makes the child of some arguments; they are kept for its restarts, if it has any.
type Make<A, M> = dyn Fn(A, bool) -> (Box<dyn Start>, ChildRef<M>) + Send + Sync;

/// A dynamic supervisor that runs. A cheap handle; it keeps nothing alive.
pub struct DynamicRef<A, M> {
    supervisor: SupervisorRef,
    settings: Kept,
    make: Arc<Make<A, M>>,
}

impl<A: Clone + Send + 'static, M: Send + 'static> DynamicSupervisor<A, M> {
    /// Children that are up as soon as they are spawned. They are permanent unless told otherwise, as in OTP.
    pub fn new<F, Fut>(body: F) -> Self
    where
        F: Fn(Context<M>, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        let body = Arc::new(move |ctx: Context<M>, arguments: A, _: &Address<SupervisorMessage>| body(ctx, arguments));
        Self::of(body, None)
    }

    /// Children that initialise, and say when they are ready.
    pub fn initialised<F, Fut>(body: F) -> Self
    where
        F: Fn(Context<M>, Ready, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        let body = Arc::new(move |ctx: Context<M>, arguments: A, supervisor: &Address<SupervisorMessage>| {
            let ready = Ready::new(supervisor.clone(), ctx.pid());
            body(ctx, ready, arguments)
        });
        Self::of(body, Some(limits::INIT))
    }

    fn of<F, Fut>(body: Arc<F>, init: Option<Duration>) -> Self
    where
        F: Fn(Context<M>, A, &Address<SupervisorMessage>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        let mut settings = Settings::new(ChildKind::Worker);
        settings.init = init;
        let make = move |arguments: A, once: bool| {
            let spot = Arc::new(Spot::child());
            let arguments = if once { Arguments::Once(Some(arguments)) } else { Arguments::Kept(arguments) };
            let child = ChildRef::new(Arc::clone(&spot));
            let start = Child { body: Arc::clone(&body), arguments, spot, started: None };
            (Box::new(start) as Box<dyn Start>, child)
        };
        let flags = Flags { dynamic: Some(usize::MAX), ..Flags::default() };
        Self { flags, settings, name: None, make: Arc::new(make) }
    }

    /// When a child is restarted, with the arguments it was started with.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.settings.restart = restart;
        self
    }

    /// How each child is stopped: five seconds unless given.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.settings.shutdown = shutdown;
        self
    }

    /// Children's failures do not count in the supervisor's intensity, but make each wait.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = Some(Box::new(backoff));
        self
    }

    /// How long a child has to say that it is ready; 30 s unless given. For children that say so.
    pub fn init_within(mut self, time: Duration) -> Self {
        self.settings.init = Some(time);
        self
    }

    /// The most children there may be; as many as the runtime has room for, unless given.
    pub fn max_children(mut self, most: usize) -> Self {
        self.flags.dynamic = Some(most);
        self
    }

    /// As [`Supervisor::intensity`].
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.flags.intensity = restarts;
        self.flags.period = period;
        self
    }

    /// The supervisor's process is registered under this name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    fn check(&self) -> Result<(), SpecError> {
        self.flags.validate()?;
        self.settings.validate(&Arc::default())
    }

    fn bare(&self) -> Supervisor {
        let mut supervisor = Supervisor::new();
        supervisor.flags = self.flags.clone();
        match &self.name {
            Some(name) => supervisor.name(Arc::clone(name)),
            None => supervisor,
        }
    }

    /// Starts it, without a parent and without children.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(self, runtime: &Handle) -> Result<DynamicRef<A, M>, StartError> {
        self.check()?;
        let supervisor = self.bare().start(runtime).await?;
        Ok(self.handle(supervisor))
    }

    /// Starts it, linked to this process as its parent.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start_link<N: Send + 'static>(self, ctx: &mut Context<N>) -> Result<DynamicRef<A, M>, StartError> {
        self.check()?;
        let supervisor = self.bare().start_link(ctx).await?;
        Ok(self.handle(supervisor))
    }

    fn handle(&self, supervisor: SupervisorRef) -> DynamicRef<A, M> {
        DynamicRef { supervisor, settings: self.settings.clone().into(), make: Arc::clone(&self.make) }
    }

    /// The handle of one that runs as a child of another supervisor ([`ChildSpec::dynamic`]).
    ///
    /// # Errors
    ///
    /// [`Unreachable`].
    pub async fn connect(&self, address: &Address<SupervisorMessage>) -> Result<DynamicRef<A, M>, Unreachable> {
        Ok(self.handle(SupervisorRef::of(address).await?))
    }
}

impl ChildSpec<SupervisorMessage> {
    /// A dynamic supervisor as a child; its own children are not there after its restart.
    ///
    /// # Errors
    ///
    /// [`SpecError`] if something is wrong with the dynamic supervisor.
    pub fn dynamic<A: Clone + Send + 'static, M: Send + 'static>(
        id: impl Into<Arc<str>>,
        supervisor: &DynamicSupervisor<A, M>,
    ) -> Result<ChildBuilder<SupervisorMessage>, SpecError> {
        supervisor.check()?;
        let supervisor = supervisor.clone();
        Ok(Self::supervisor(id, move || supervisor.bare()))
    }
}

impl<A: Clone + Send + 'static, M: Send + 'static> DynamicRef<A, M> {
    /// Starts a child with these arguments, and waits until it is up. A child that says that it is not wanted is no error:
    /// its reference says that it is gone.
    ///
    /// # Errors
    ///
    /// [`StartChildError`]. A first start that fails is not retried.
    pub async fn start_child(&self, arguments: A) -> Result<ChildRef<M>, StartChildError> {
        let (start, child) = (self.make)(arguments, self.settings.restart == Restart::Temporary);
        let added = self.supervisor.call(Request::Add(None, self.settings.clone()), Some(start)).await;
        added_child(added)?;
        Ok(child)
    }

    /// Stops a child, by the rules of all of them, and forgets it. One that has ended already is no error.
    ///
    /// # Errors
    ///
    /// [`TerminateChildError`]; a live process that is no child of this supervisor is not found.
    pub async fn terminate_child(&self, child: Pid) -> Result<(), TerminateChildError> {
        match self.supervisor.terminate(Who::Process(child)).await {
            Err(TerminateChildError::NotFound) if !self.supervisor.runtime().is_alive(child) => Ok(()),
            outcome => outcome,
        }
    }

    /// The supervisor, for all that is asked of every supervisor.
    #[must_use]
    pub fn supervisor(&self) -> &SupervisorRef {
        &self.supervisor
    }
}

/// One child: the body of all, and its own arguments.
struct Child<A, M, F> {
    body: Arc<F>,
    arguments: Arguments<A>,
    spot: Arc<Spot<M>>,
    /// Its process, until that is shown.
    started: Option<Address<M>>,
}

enum Arguments<A> {
    Kept(A),
    /// It is never restarted, so that they need not be kept.
    Once(Option<A>),
}

impl<A, M, F, Fut> Start for Child<A, M, F>
where
    A: Clone + Send,
    M: Send + 'static,
    F: Fn(Context<M>, A, &Address<SupervisorMessage>) -> Fut + Send + Sync,
    Fut: Future<Output: IntoExitReason> + Send + 'static,
{
    fn start(
        &mut self,
        ctx: &mut Context<SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Pid, Option<Board>), SpawnError> {
        let address = ctx.build().link().spawn(|ctx: Context<M>| {
            // Cloned here, since a panic here is the child's own.
            let arguments = match &mut self.arguments {
                Arguments::Kept(arguments) => arguments.clone(),
                Arguments::Once(arguments) => arguments.take().expect("a child that is started once"),
            };
            (self.body)(ctx, arguments, supervisor)
        })?;
        let pid = address.pid();
        self.started = Some(address);
        Ok((pid, None))
    }

    fn show(&mut self, place: Place<Pid>, runtime: &Handle) {
        self.spot.show(self.started.take(), place, runtime);
    }
}

impl<A, M> Clone for DynamicSupervisor<A, M> {
    fn clone(&self) -> Self {
        Self {
            flags: self.flags.clone(),
            settings: self.settings.clone(),
            name: self.name.clone(),
            make: Arc::clone(&self.make),
        }
    }
}

impl<A, M> Clone for DynamicRef<A, M> {
    fn clone(&self) -> Self {
        Self { supervisor: self.supervisor.clone(), settings: self.settings.clone(), make: Arc::clone(&self.make) }
    }
}

impl<A, M> fmt::Debug for DynamicSupervisor<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicSupervisor").field("flags", &self.flags).field("children", &self.settings).finish()
    }
}

impl<A, M> fmt::Debug for DynamicRef<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamicRef({})", self.supervisor.pid())
    }
}
