//! Driver: generic servers: for those who want callbacks rather than a loop of their own.
use crate::board::Board;
use crate::child::{ChildBuilder, ChildSpec, Recipe};
use crate::limits;
use crate::message::SupervisorMessage;
use crate::place::Spot;
use crate::ready::Ready;
use crate::reference::ChildRef;
use crate::server_ref::{LastWord, ServerContext, ServerMessage, ServerRef};
use crate::spec::ChildKind;
use crate::system::Serving;
use colloquium_runtime::{
    Address, Context, Exit, ExitReason, Handle, Mailbox, Pid, ProcessBuilder, RegisterError, ReplyTo, SpawnError,
};
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use thiserror::Error;

/// What a callback leads to; any error is the server's exit reason, an [`ExitReason`] itself unchanged.
pub type ServerResult<M> = Result<Next<M>, Box<dyn Error + Send + Sync>>;

/// A process that is written as callbacks (OTP's `gen_server`).
///
/// Calls are variants of the message with a [`ReplyTo`]; it is answered at once, or kept and answered later, by whoever has
/// it. Callbacks run one after the other; while one awaits, nothing else is handled.
///
/// The server traps exits. When its parent ends or tells it to, or somebody outside all processes does, it ends with that
/// reason, after [`terminate`](GenServer::terminate); exits of others come to [`exited`](GenServer::exited). It also runs
/// `terminate` when a callback returns an error or [`Next::Stop`], and on [`ServerRef::stop`]; not when it is killed, and not
/// when a callback panics: its state may be torn then, and only its destructors run (OTP's, where state is a value that no
/// crash can tear, does run it).
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{ReplyTo, Runtime};
/// use colloquium_supervisor::{GenServer, Next, ServerResult, Server, ServerContext};
///
/// struct Counter { total: u64 }
/// enum Msg { Add(u64), Get(ReplyTo<u64>) }
///
/// impl GenServer for Counter {
///     type Message = Msg;
///     async fn handle(&mut self, message: Msg, _: &mut ServerContext<Msg>) -> ServerResult<Msg> {
///         match message {
///             Msg::Add(n) => self.total += n,
///             Msg::Get(reply_to) => drop(reply_to.send(self.total)),
///         }
///         Ok(Next::Wait)
///     }
/// }
///
/// async fn count(runtime: &Runtime) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
///     let counter = Server::new(Counter { total: 0 }).start(runtime).await?;
///     counter.send(Msg::Add(2))?;
///     Ok(counter.call(Msg::Get).await?)
/// }
/// let runtime = Runtime::new()?;
/// assert_eq!(runtime.block_on(count(&runtime))?, 2);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait GenServer: Send + Sized + 'static {
    /// What it is sent and called with.
    type Message: Send + 'static;

    /// Runs first, before whoever starts the server gets it. An error is why the start failed.
    fn init(
        &mut self,
        ctx: &mut ServerContext<Self::Message>,
    ) -> impl Future<Output = Result<Init<Self::Message>, Box<dyn Error + Send + Sync>>> + Send {
        let _ = ctx;
        async { Ok(Init::Up(Next::Wait)) }
    }

    /// A message has come, or one that [`Next::Continue`] has put before all others.
    fn handle(
        &mut self,
        message: Self::Message,
        ctx: &mut ServerContext<Self::Message>,
    ) -> impl Future<Output = ServerResult<Self::Message>> + Send;

    /// The time of [`Next::WaitFor`] has passed and no message has come.
    fn timed_out(
        &mut self,
        ctx: &mut ServerContext<Self::Message>,
    ) -> impl Future<Output = ServerResult<Self::Message>> + Send {
        let _ = ctx;
        async { Ok(Next::Wait) }
    }

    /// A process that this one is linked to has ended, or another has sent it an exit signal; not its parent. Unless it is
    /// written otherwise, the server does as one that does not trap exits.
    fn exited(
        &mut self,
        exit: Exit,
        ctx: &mut ServerContext<Self::Message>,
    ) -> impl Future<Output = ServerResult<Self::Message>> + Send {
        let _ = ctx;
        async move { Ok(if exit.reason == ExitReason::Normal { Next::Wait } else { Next::Stop(exit.reason) }) }
    }

    /// Runs last, when the server ends in an orderly way.
    fn terminate(&mut self, reason: &ExitReason) -> impl Future<Output = ()> + Send {
        let _ = reason;
        async {}
    }
}

/// What came of an initialisation.
#[derive(Debug)]
pub enum Init<M> {
    /// The server is up; what it does first.
    Up(Next<M>),
    /// It is not wanted: no failure, but no process either.
    Ignore,
}

/// What a server does next.
pub enum Next<M> {
    /// It waits for a message.
    Wait,
    /// It waits for a message, so long; then [`GenServer::timed_out`]. Any message puts an end to it; with zero it times out
    /// if no message is there.
    WaitFor(Duration),
    /// It handles this message before any that is queued.
    Continue(M),
    /// It ends.
    Stop(ExitReason),
    /// It ends, and somebody gets an answer when [`GenServer::terminate`] has run; see [`Next::stop_and_reply`].
    StopAfter(ExitReason, LastWord),
}

impl<M> Next<M> {
    /// The server ends with `reason`; `reply_to` gets its answer after [`GenServer::terminate`] has run (also if that
    /// panicked), and before the server's end is told.
    pub fn stop_and_reply<T: Send + 'static>(reason: ExitReason, reply_to: ReplyTo<T>, answer: T) -> Self {
        // Who called may have given up.
        Self::StopAfter(reason, LastWord::new(move || drop(reply_to.send(answer))))
    }
}

/// Why a server was not started. Nothing of it is left: its name is free.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartServerError {
    /// A live process has the name. [`GenServer::init`] has not run.
    #[error("already started, as {0}")]
    AlreadyStarted(Pid),
    /// There was no process for it.
    #[error("no process for the server: {0}")]
    Spawn(SpawnError),
    /// It said that it is not wanted.
    #[error("the server is not wanted")]
    Ignored,
    /// Its initialisation failed.
    #[error("the server ended before it was ready: {0}")]
    Failed(ExitReason),
    /// Its initialisation took too long, and it was killed.
    #[error("the server was not ready in time")]
    TimedOut,
}

/// A server that is to be started, with its options.
#[must_use = "a server does nothing until it is started"]
pub struct Server<S> {
    server: S,
    name: Option<Arc<str>>,
    label: Option<Arc<str>>,
    mailbox: Mailbox,
    init: Duration,
}

impl<S: GenServer> Server<S> {
    /// A server with this state.
    pub fn new(server: S) -> Self {
        Self { server, name: None, label: None, mailbox: Mailbox::default(), init: limits::INIT }
    }

    /// Registers it under this name, before it initialises.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A free text for people.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Another mailbox than the default one.
    pub fn mailbox(mut self, mailbox: Mailbox) -> Self {
        self.mailbox = mailbox;
        self
    }

    /// How long it has to initialise; 30 s unless given.
    pub fn init_within(mut self, time: Duration) -> Self {
        self.init = time;
        self
    }

    /// Starts it without a parent, and waits until it has initialised.
    ///
    /// # Errors
    ///
    /// [`StartServerError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it kills the server.
    pub async fn start(self, runtime: &Handle) -> Result<ServerRef<S::Message>, StartServerError> {
        let init = self.init;
        let (address, spot) = self.spawn(runtime.build())?;
        initialised(&address, spot, runtime, init).await
    }

    /// Starts it, linked to this process as its parent, and waits until it has initialised. This process receives nothing
    /// meanwhile. If the start fails it gets the server's exit signal, too.
    ///
    /// # Errors
    ///
    /// [`StartServerError`].
    ///
    /// # Cancel safety
    ///
    /// As [`Server::start`].
    pub async fn start_link<N: Send + 'static>(
        self,
        ctx: &mut Context<N>,
    ) -> Result<ServerRef<S::Message>, StartServerError> {
        let (init, runtime) = (self.init, ctx.runtime());
        let (address, spot) = self.spawn(ctx.build().link())?;
        initialised(&address, spot, &runtime, init).await
    }

    #[expect(clippy::type_complexity, reason = "a process and its place")]
    fn spawn<P: Send + 'static>(
        self,
        mut build: ProcessBuilder<'_, P>,
    ) -> Result<(Address<ServerMessage<S::Message>>, Arc<Spot<ServerMessage<S::Message>>>), StartServerError> {
        if let Some(name) = &self.name {
            build = build.name(Arc::clone(name));
        }
        if let Some(label) = &self.label {
            build = build.label(Arc::clone(label));
        }
        let spot = Arc::new(Spot::fixed());
        let place = Arc::clone(&spot);
        let spawned = build.mailbox(self.mailbox).spawn(|ctx: Context<ServerMessage<S::Message>>| {
            let address = ctx.address();
            let ready = Ready::to_starter(ctx.pid(), move || place.occupy(address));
            Serving::new(self.server, ctx).run(ready)
        });
        match spawned {
            Ok(address) => Ok((address, spot)),
            Err(SpawnError::Name(RegisterError::Taken { holder, .. })) => Err(StartServerError::AlreadyStarted(holder)),
            Err(error) => Err(StartServerError::Spawn(error)),
        }
    }
}

/// Waits until a server is up, or is not; for so long.
async fn initialised<M: Send + 'static>(
    address: &Address<ServerMessage<M>>,
    spot: Arc<Spot<ServerMessage<M>>>,
    runtime: &Handle,
    init: Duration,
) -> Result<ServerRef<M>, StartServerError> {
    let guard = Kill(Some(address.clone()));
    let (mut ended, mut over) = (pin!(address.ended()), pin!(runtime.sleep(init)));
    let waiting = spot.wait();
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(Ok(_)) = waiting.poll(cx) {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(reason) = ended.as_mut().poll(cx) {
            return Poll::Ready(match (spot.address(), reason) {
                // It was up, and has ended since: whoever uses it will see.
                (Ok(_), _) => Ok(()),
                (Err(_), ExitReason::Normal) => Err(StartServerError::Ignored),
                (Err(_), reason) => Err(StartServerError::Failed(reason)),
            });
        }
        over.as_mut().poll(cx).map(|()| Err(StartServerError::TimedOut))
    })
    .await;
    drop(waiting);
    if outcome.is_ok() {
        guard.disarm();
        return Ok(ServerRef::new(ChildRef::new(spot)));
    }
    drop(guard);
    // Its name is to be free when the starter hears of the failure; but not for ever.
    let (mut ended, mut patience) = (pin!(address.ended()), pin!(runtime.sleep(limits::KILL_PATIENCE)));
    poll_fn(|cx| match ended.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => patience.as_mut().poll(cx),
    })
    .await;
    outcome.map(|()| ServerRef::new(ChildRef::new(spot)))
}

/// Kills a server whose start is given up.
struct Kill<M: Send + 'static>(Option<Address<M>>);

impl<M: Send + 'static> Kill<M> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<M: Send + 'static> Drop for Kill<M> {
    fn drop(&mut self) {
        if let Some(address) = &self.0 {
            address.kill();
        }
    }
}

impl<M: Send + 'static> ChildSpec<ServerMessage<M>> {
    /// A [`GenServer`] as a child: `make` makes its state anew for each start, in the child's own process. The start is over
    /// when [`GenServer::init`] is.
    pub fn gen_server<S: GenServer<Message = M>>(
        id: impl Into<Arc<str>>,
        make: impl FnMut() -> S + Send + 'static,
    ) -> ChildBuilder<ServerMessage<M>> {
        ChildBuilder::new(id.into(), ChildKind::Worker, Made(make)).init_within(limits::INIT)
    }

    /// The child's place, as a server: it survives restarts.
    #[must_use]
    pub fn server(&self) -> ServerRef<M> {
        ServerRef::new(self.reference())
    }
}

struct Made<F>(F);

impl<S: GenServer, F: FnMut() -> S + Send> Recipe<ServerMessage<S::Message>> for Made<F> {
    fn spawn(
        &mut self,
        build: ProcessBuilder<'_, SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Address<ServerMessage<S::Message>>, Option<Board>), SpawnError> {
        let address = build.spawn(|ctx: Context<ServerMessage<S::Message>>| {
            let ready = Ready::new(supervisor.clone(), ctx.pid());
            Serving::new((self.0)(), ctx).run(ready)
        })?;
        Ok((address, None))
    }
}

impl<M> fmt::Debug for Next<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait => f.write_str("Wait"),
            Self::WaitFor(time) => write!(f, "WaitFor({time:?})"),
            Self::Continue(_) => f.write_str("Continue"),
            Self::Stop(reason) | Self::StopAfter(reason, _) => write!(f, "Stop({reason})"),
        }
    }
}

impl<S> fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}
