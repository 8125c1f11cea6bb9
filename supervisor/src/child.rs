//! Driver: children as their users specify them, and how a supervisor starts each.
use crate::backoff::Backoff;
use crate::board::Board;
use crate::event::Place;
use crate::limits;
use crate::message::SupervisorMessage;
use crate::place::Spot;
use crate::ready::Ready;
use crate::reference::ChildRef;
use crate::spec::{ChildKind, Kept, Restart, Settings, Shutdown, SpecError};
use colloquium_runtime::{Address, Context, Handle, IntoExitReason, Mailbox, Pid, ProcessBuilder, SpawnError};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A child as a supervisor holds it: what it takes to start it, whatever messages it takes.
pub(crate) trait Start: Send {
    /// Spawns a process, linked to the supervisor, whose own address comes along.
    fn start(
        &mut self,
        ctx: &mut Context<SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Pid, Option<Board>), SpawnError>;
    /// What those who hold a reference are to find from now on.
    fn show(&mut self, place: Place<Pid>, runtime: &Handle);
}

/// How a process of a child is made.
pub(crate) trait Recipe<M>: Send {
    fn spawn(
        &mut self,
        build: ProcessBuilder<'_, SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Address<M>, Option<Board>), SpawnError>;
}

/// A recipe that is a child by itself, as long as nobody holds a reference to it and it has no options: most of them.
trait Plain<M>: Recipe<M> + Start {}

impl<M, T: Recipe<M> + Start> Plain<M> for T {}

struct Alone<R, M>(R, PhantomData<fn(M)>);

/// A child of a supervisor, specified and validated.
///
/// Anything that spawns can be a child: a body ([`ChildSpec::worker`]), a body that says when it is ready
/// ([`ChildSpec::initialised`]), a [`GenServer`](crate::GenServer), another supervisor.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::Context;
/// use colloquium_supervisor::{Backoff, ChildSpec, Restart, SpecError};
///
/// let spec = ChildSpec::worker("cache", async |mut ctx: Context<u64>| loop { ctx.recv().await; })
///     .restart(Restart::Transient)
///     .backoff(Backoff::default())
///     .build()?;
/// assert_eq!(spec.id(), "cache");
///
/// let refused = ChildSpec::worker("job", async |_: Context<()>| ()).restart(Restart::Temporary).backoff(Backoff::default());
/// assert_eq!(refused.build().unwrap_err(), SpecError::BackoffTemporary("job".into()));
/// # Ok::<(), SpecError>(())
/// ```
pub struct ChildSpec<M> {
    id: Arc<str>,
    settings: Kept,
    slot: Slot<M>,
}

struct Slot<M> {
    recipe: Box<dyn Plain<M>>,
    /// Made when it is first asked for: most children are never sent to by their place.
    spot: OnceLock<Arc<Spot<M>>>,
    options: Option<Box<Options>>,
}

/// As its supervisor holds it: nobody asks for its place any more.
struct Held<M> {
    recipe: Box<dyn Plain<M>>,
    spot: Option<Arc<Spot<M>>>,
    options: Option<Box<Options>>,
    /// Its process, until that is shown.
    started: Option<Address<M>>,
}

/// What most children have none of.
#[derive(Default)]
struct Options {
    mailbox: Option<Mailbox>,
    name: Option<Arc<str>>,
    label: Option<Arc<str>>,
}

impl<M> Slot<M> {
    fn options(&mut self) -> &mut Options {
        self.options.get_or_insert_default()
    }
}

/// Options of a child, given one after the other and ended by [`ChildBuilder::build`]. A supervisor takes it unbuilt, too,
/// and says what is wrong with it when it is to start.
#[must_use = "a child does nothing unless a supervisor starts it"]
pub struct ChildBuilder<M> {
    id: Arc<str>,
    settings: Settings,
    slot: Slot<M>,
}

impl<M: Send + 'static> ChildSpec<M> {
    /// A child that is up as soon as it is spawned: there is no handshake. `body` is called anew for each start; its future
    /// runs in the child's process, and a panic of either is the child's exit.
    pub fn worker<F, Fut>(id: impl Into<Arc<str>>, body: F) -> ChildBuilder<M>
    where
        F: FnMut(Context<M>) -> Fut + Send + 'static,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        ChildBuilder::new(id.into(), ChildKind::Worker, Worker(body))
    }

    /// A child that initialises, and says when it is ready through its [`Ready`]. The supervisor goes on to the next child
    /// when it has, and the start fails if the child ends before that, or has not said so in time
    /// ([`ChildBuilder::init_within`], 30 s unless given).
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::Context;
    /// # use colloquium_supervisor::{ChildSpec, Ready};
    /// async fn connection(mut ctx: Context<String>, ready: Ready) -> Result<(), std::io::Error> {
    ///     let banner = std::fs::read_to_string("Cargo.toml")?; // fails: the start fails with this error
    ///     ready.up();
    ///     loop { println!("{}: {}", banner.len(), ctx.recv().await); }
    /// }
    /// let spec = ChildSpec::initialised("connection", connection).build()?;
    /// # Ok::<(), colloquium_supervisor::SpecError>(())
    /// ```
    pub fn initialised<F, Fut>(id: impl Into<Arc<str>>, body: F) -> ChildBuilder<M>
    where
        F: FnMut(Context<M>, Ready) -> Fut + Send + 'static,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        let builder = ChildBuilder::new(id.into(), ChildKind::Worker, Initialised(body));
        builder.init_within(limits::INIT)
    }

    /// What the child is called.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it is restarted.
    #[must_use]
    pub fn restart(&self) -> Restart {
        self.settings.restart
    }

    /// How it is stopped.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.settings.shutdown
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> ChildKind {
        self.settings.kind
    }

    /// Whether its end may end its supervisor.
    #[must_use]
    pub fn is_significant(&self) -> bool {
        self.settings.significant
    }

    /// What it has instead of its supervisor's intensity.
    #[must_use]
    pub fn backoff(&self) -> Option<&Backoff> {
        self.settings.backoff.as_deref()
    }

    /// How long it has to initialise; `None` if it need not, [`Duration::MAX`] for as long as it takes.
    #[must_use]
    pub fn init_within(&self) -> Option<Duration> {
        self.settings.init
    }

    /// The child's place: an address that survives its restarts. It may be asked for before the child is started.
    #[must_use]
    pub fn reference(&self) -> ChildRef<M> {
        ChildRef::new(Arc::clone(self.slot.spot.get_or_init(|| Arc::new(Spot::child()))))
    }

    pub(crate) fn forget(self) -> AnyChild {
        let Slot { recipe, spot, options } = self.slot;
        let start: Box<dyn Start> = match (spot.into_inner(), options) {
            (None, None) => recipe,
            (spot, options) => Box::new(Held { recipe, spot, options, started: None }),
        };
        AnyChild { id: self.id, settings: self.settings, start }
    }
}

impl<M: Send + 'static> ChildBuilder<M> {
    pub(crate) fn new(id: Arc<str>, kind: ChildKind, recipe: impl Recipe<M> + 'static) -> Self {
        let recipe = Box::new(Alone(recipe, PhantomData));
        let slot = Slot { recipe, spot: OnceLock::new(), options: None };
        Self { id, settings: Settings::new(kind), slot }
    }

    /// When it is restarted; [`Restart::Permanent`] unless given.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.settings.restart = restart;
        self
    }

    /// How it is stopped: five seconds for a worker, as long as it takes for a supervisor, unless given.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.settings.shutdown = shutdown;
        self
    }

    /// Its end by itself may end its supervisor, see [`AutoShutdown`](crate::AutoShutdown).
    pub fn significant(mut self) -> Self {
        self.settings.significant = true;
        self
    }

    /// Its failures do not count in the supervisor's intensity, but make it wait.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = Some(Box::new(backoff));
        self
    }

    /// How long it has to say that it is ready, from just before it is spawned. For a child that says so: 30 s unless given, and
    /// for a supervisor as long as it takes.
    pub fn init_within(mut self, time: Duration) -> Self {
        self.settings.init = Some(time);
        self
    }

    /// Its process is registered under this name, each time.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.slot.options().name = Some(name.into());
        self
    }

    /// Its process is labelled with this text, for people.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.slot.options().label = Some(label.into());
        self
    }

    /// Another mailbox than the default one.
    pub fn mailbox(mut self, mailbox: Mailbox) -> Self {
        self.slot.options().mailbox = Some(mailbox);
        self
    }

    /// The child takes this place ([`ChildRef::vacant`]), so that those who hold `place` find it there, and find it again when
    /// its supervisor was restarted and has made its children anew.
    pub fn at(mut self, place: &ChildRef<M>) -> Self {
        self.slot.spot = OnceLock::from(Arc::clone(place.spot()));
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// [`SpecError`], one for each thing that can be wrong.
    pub fn build(self) -> Result<ChildSpec<M>, SpecError> {
        if self.id.is_empty() {
            return Err(SpecError::EmptyId);
        }
        let no_room = [Mailbox::bounded(0), Mailbox::bounded(0).drop_oldest(), Mailbox::bounded(0).drop_newest()];
        let mailbox = self.slot.options.as_ref().and_then(|options| options.mailbox);
        if mailbox.is_some_and(|mailbox| no_room.contains(&mailbox)) {
            return Err(SpecError::EmptyMailbox(self.id));
        }
        self.settings.validate(&self.id)?;
        Ok(ChildSpec { id: self.id, settings: self.settings.into(), slot: self.slot })
    }
}

impl<M: Send + 'static> Start for Held<M> {
    fn start(
        &mut self,
        ctx: &mut Context<SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Pid, Option<Board>), SpawnError> {
        let mut build = ctx.build().link();
        if let Some(options) = &self.options {
            if let Some(mailbox) = options.mailbox {
                build = build.mailbox(mailbox);
            }
            if let Some(name) = &options.name {
                build = build.name(Arc::clone(name));
            }
            if let Some(label) = &options.label {
                build = build.label(Arc::clone(label));
            }
        }
        let (address, subtree) = self.recipe.spawn(build, supervisor)?;
        let pid = address.pid();
        if self.spot.is_some() {
            self.started = Some(address);
        }
        Ok((pid, subtree))
    }

    fn show(&mut self, place: Place<Pid>, runtime: &Handle) {
        if let Some(spot) = &self.spot {
            spot.show(self.started.take(), place, runtime);
        }
    }
}

impl<M: Send + 'static, R: Recipe<M>> Recipe<M> for Alone<R, M> {
    fn spawn(
        &mut self,
        build: ProcessBuilder<'_, SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Address<M>, Option<Board>), SpawnError> {
        self.0.spawn(build, supervisor)
    }
}

impl<M: Send + 'static, R: Recipe<M>> Start for Alone<R, M> {
    fn start(
        &mut self,
        ctx: &mut Context<SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Pid, Option<Board>), SpawnError> {
        let (address, subtree) = self.0.spawn(ctx.build().link(), supervisor)?;
        Ok((address.pid(), subtree))
    }

    fn show(&mut self, _: Place<Pid>, _: &Handle) {}
}

struct Worker<F>(F);

impl<M, F, Fut> Recipe<M> for Worker<F>
where
    M: Send + 'static,
    F: FnMut(Context<M>) -> Fut + Send,
    Fut: Future<Output: IntoExitReason> + Send + 'static,
{
    fn spawn(
        &mut self,
        build: ProcessBuilder<'_, SupervisorMessage>,
        _: &Address<SupervisorMessage>,
    ) -> Result<(Address<M>, Option<Board>), SpawnError> {
        Ok((build.spawn(&mut self.0)?, None))
    }
}

struct Initialised<F>(F);

impl<M, F, Fut> Recipe<M> for Initialised<F>
where
    M: Send + 'static,
    F: FnMut(Context<M>, Ready) -> Fut + Send,
    Fut: Future<Output: IntoExitReason> + Send + 'static,
{
    fn spawn(
        &mut self,
        build: ProcessBuilder<'_, SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Address<M>, Option<Board>), SpawnError> {
        let address = build.spawn(|ctx: Context<M>| {
            let ready = Ready::new(supervisor.clone(), ctx.pid());
            (self.0)(ctx, ready)
        })?;
        Ok((address, None))
    }
}

impl<M> fmt::Debug for ChildSpec<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChildSpec").field(&self.id).field(&*self.settings).finish()
    }
}

impl<M> fmt::Debug for ChildBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChildBuilder").field(&self.id).field(&self.settings).finish()
    }
}

/// What a supervisor can be given as a child: a [`ChildSpec`], or the [`ChildBuilder`] of one.
pub trait IntoChild: sealed::Sealed {
    /// The child, its message type forgotten.
    #[doc(hidden)]
    fn into_child(self) -> Result<AnyChild, SpecError>;
}

/// A child, its message type forgotten; opaque to users.
#[doc(hidden)]
pub struct AnyChild {
    pub(crate) id: Arc<str>,
    pub(crate) settings: Kept,
    pub(crate) start: Box<dyn Start>,
}

impl<M: Send + 'static> IntoChild for ChildSpec<M> {
    fn into_child(self) -> Result<AnyChild, SpecError> {
        Ok(self.forget())
    }
}

impl<M: Send + 'static> IntoChild for ChildBuilder<M> {
    fn into_child(self) -> Result<AnyChild, SpecError> {
        self.build()?.into_child()
    }
}

mod sealed {
    pub trait Sealed {}
    impl<M> Sealed for super::ChildSpec<M> {}
    impl<M> Sealed for super::ChildBuilder<M> {}
}
