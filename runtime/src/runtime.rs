//! Driver: a runtime as its users hold it.
use crate::builder::{Builder, spawn_thread};
use crate::chance::Rng;
use crate::error::{BuildError, LookupError, RegisterError, SpawnError};
use crate::exit::{ExitReason, IntoExitReason};
use crate::info::{ProcessInfo, ProcessSample, RuntimeInfo, ShutdownReport};
use crate::limits;
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::context::Context;
use crate::process::control::send_exit;
use crate::process::latent::Stand;
use crate::process::spawn::ProcessBuilder;
use crate::report::AbnormalExit;
use crate::scheduler::Home;
use crate::scheduler::worker::Local;
use crate::shared::Shared;
use crate::signal::Exit;
use crate::simulation::simulator;
use crate::stalls::Stall;
use crate::target::{Target, find};
use crate::timer::deliver::{self, TimerRef, typed};
use crate::timer::sleep::{Alarm, Sleep};
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A runtime: worker threads and the processes on them. A cheap handle; when the last clone of it is dropped, the runtime
/// shuts down by itself.
///
/// Everything that can be done with it is on [`Handle`], to which it dereferences. A dropped runtime tells its processes to
/// stop ([`ExitReason::Shutdown`]), kills those that are still there five seconds later, and does not wait for any of
/// that; [`Handle::shutdown`] does.
///
/// Two runtimes in one program do not see each other's names, groups, pids and limits. Addresses work across.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Context, Runtime};
///
/// let runtime = Runtime::new()?;
/// let greeter = runtime.spawn(async |mut ctx: Context<String>| {
///     println!("hello, {}", ctx.recv().await);
/// })?;
/// greeter.send("world".to_owned())?;
/// runtime.block_on(greeter.ended());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone)]
pub struct Runtime {
    handle: Handle,
    life: Arc<Life>,
}

/// Shuts the runtime down when the last handle that keeps it goes.
struct Life(Handle);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.begin_shutdown(limits::DROP_GRACE);
    }
}

impl Runtime {
    pub(crate) fn of(home: Arc<Home>) -> Self {
        let handle = Handle { home };
        Self { life: Arc::new(Life(handle.clone())), handle }
    }

    /// A runtime with a worker for each core that the program may use, and the defaults of [`Builder`].
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Self, BuildError> {
        Builder::default().build()
    }

    /// Options for a runtime.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A handle that does not keep the runtime from shutting down.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl std::ops::Deref for Runtime {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handles = Arc::strong_count(&self.life);
        f.debug_struct("Runtime").field("name", &self.home.shared.name).field("handles", &handles).finish()
    }
}

/// What can be done with a runtime; it does not keep the runtime alive. On one that has shut down, spawning fails and
/// everything else finds nothing.
#[derive(Clone)]
pub struct Handle {
    home: Arc<Home>,
}

impl Handle {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.home.shared.settle();
        &self.home.shared
    }

    /// Spawns a process without a parent. [`Handle::build`] has options.
    ///
    /// `body` is called here and now; the future it returns runs in the new process. A body may be an `async` closure or
    /// function that takes the [`Context`], and may return anything that is an [`IntoExitReason`], or never return.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]: the limit of processes, or a runtime that shuts down.
    #[track_caller]
    pub fn spawn<M, F, Fut>(&self, body: F) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        F: FnOnce(Context<M>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        self.build().spawn(body)
    }

    /// Options for a process without a parent.
    pub fn build(&self) -> ProcessBuilder<'static> {
        ProcessBuilder::of_runtime(&self.home)
    }

    /// The address of the live process that has this name.
    ///
    /// # Errors
    ///
    /// [`LookupError::NoProcess`], or [`LookupError::OtherType`] if it takes other messages than `M`.
    pub fn whereis<M: Send + 'static>(&self, name: &str) -> Result<Address<M>, LookupError> {
        let process = self.shared().registry.find(name).ok_or(LookupError::NoProcess)?;
        typed(process).map(Address::new)
    }

    /// As [`Handle::whereis`], and waits for somebody to take the name, for no longer than `at_most`.
    ///
    /// # Errors
    ///
    /// [`LookupError::TimedOut`], or [`LookupError::OtherType`] as soon as a process of another type has the name.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and begun anew at any time.
    pub async fn whereis_or_wait<M: Send + 'static>(
        &self,
        name: &str,
        at_most: Duration,
    ) -> Result<Address<M>, LookupError> {
        let name: Arc<str> = name.into();
        let mut alarm = Alarm::after(Arc::clone(&self.home), at_most);
        let mut ticket = Ticket { handle: self, name: &name, number: None };
        let found = poll_fn(|cx| {
            ticket.give_back();
            match self.shared().registry.find_or_wait(&name, cx.waker()) {
                Ok(process) => return Poll::Ready(Ok(process)),
                Err(number) => ticket.number = Some(number),
            }
            alarm.poll(cx).map(|()| Err(LookupError::TimedOut))
        });
        found.await.and_then(typed).map(Address::new)
    }

    /// The address of a live process, by its pid.
    ///
    /// # Errors
    ///
    /// As [`Handle::whereis`].
    pub fn address_of<M: Send + 'static>(&self, pid: Pid) -> Result<Address<M>, LookupError> {
        let process = self.shared().table.get(pid).filter(|process| process.head().is_alive());
        typed(process.ok_or(LookupError::NoProcess)?).map(Address::new)
    }

    /// Registers a live process under a name; it must have none yet.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]: nothing has changed.
    pub fn register(&self, name: impl Into<Arc<str>>, target: impl Target) -> Result<(), RegisterError> {
        let process = find(&target, &self.home).map_err(|_| RegisterError::Dead)?;
        self.shared().registry.register(&name.into(), &process)
    }

    /// Frees a name; false if nobody had it. The process lives on without.
    #[expect(clippy::must_use_candidate, reason = "an act, whose answer is not always of interest")]
    pub fn unregister(&self, name: &str) -> bool {
        self.shared().registry.unregister_name(name)
    }

    /// All names that are taken, in their order, with the pids that have them.
    #[must_use]
    pub fn names(&self) -> Vec<(Arc<str>, Pid)> {
        self.shared().registry.names()
    }

    /// The live members of a process group that take messages of this type, in the order in which they joined, each as
    /// often as it joined. An unknown group has none.
    #[must_use]
    pub fn members<M: Send + 'static>(&self, group: &str) -> Vec<Address<M>> {
        let members = self.shared().groups().members(group);
        members.into_iter().filter_map(|member| typed(member).ok()).map(Address::new).collect()
    }

    /// The pids of all live members of a process group.
    #[must_use]
    pub fn member_pids(&self, group: &str) -> Vec<Pid> {
        self.shared().groups().members(group).iter().map(|member| member.head().pid).collect()
    }

    /// The process groups that have members, in the order of their names.
    #[must_use]
    pub fn groups(&self) -> Vec<Arc<str>> {
        self.shared().groups().names()
    }

    /// Sends an exit signal, as [`Address::exit`] does, to an address, pid or name. Dead ones are passed over.
    pub fn exit(&self, target: impl Target, reason: ExitReason) {
        if let Ok(process) = find(&target, &self.home) {
            send_exit(&process, Exit { from: Local::current(), reason, by_link: false });
        }
    }

    /// Whether the process lives: its fate is not fixed.
    #[must_use]
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.shared().table.get(pid).is_some_and(|process| process.head().is_alive())
    }

    /// The process that is being polled on this thread, if one is.
    #[must_use]
    pub fn current(&self) -> Option<Pid> {
        Local::current()
    }

    /// Waits for `duration`, on whatever executor this is awaited; less only if the runtime shuts down.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(Arc::clone(&self.home), duration)
    }

    /// Sends `message` once `after` has passed, to whoever has the name *then* and takes messages of this type; to nobody
    /// if nobody does.
    pub fn send_after<M: Send + 'static>(&self, after: Duration, name: impl Into<Arc<str>>, message: M) -> TimerRef {
        deliver::send_after_to_name(&Local::spawning_home(&self.home).0, name.into(), after, message)
    }

    /// Whether it shuts down, or has: nobody is spawned any more.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shared().lifecycle.is_closing()
    }

    /// Whether this is a simulation's: what has threads of its own cannot be part of it.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.shared().scheduler.simulator.is_some()
    }

    /// The pids of all live processes.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        let tag = self.shared().tag;
        self.shared().table.for_each_within(Duration::MAX, |stand| match stand {
            Stand::Process(process) if process.head().is_alive() => pids.push(process.head().pid),
            Stand::Process(_) => {}
            Stand::Dormant(dormant) => pids.extend(dormant.origin().pid(tag)),
            Stand::Berth(_) => {}
        });
        pids
    }

    /// What is known of a live process; `None` once it is dead. Whatever the caller has sent to it before counts.
    #[must_use]
    pub fn info(&self, pid: Pid) -> Option<ProcessInfo> {
        let process = self.shared().table.get(pid)?;
        crate::inspect::inspect(&process, false)
    }

    /// Shows all processes in passing, in no order, those included whose end is certain and has not come. No lock is waited for
    /// longer than `patience`: what cannot be read in that time is shown as such, or is in a part of the table that is passed
    /// over; the number of these parts is returned. `show` runs under no lock.
    pub fn sample(&self, patience: Duration, show: impl FnMut(ProcessSample)) -> usize {
        crate::inspect::sample(self.shared(), patience, show)
    }

    /// The runtime and its workers.
    #[must_use]
    pub fn runtime_info(&self) -> RuntimeInfo {
        crate::inspect::runtime(self.shared())
    }

    /// The last 256 abnormal exits, oldest first. They outlive supervisors, and tell what began it.
    #[must_use]
    pub fn abnormal_exits(&self) -> Vec<AbnormalExit> {
        self.shared().reports.abnormal_exits().0
    }

    /// How long the runtime has been up. In a simulation, its virtual time: what programs that are to be simulated use in
    /// place of [`std::time::Instant`].
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared().clock.uptime()
    }

    /// [`now`](Self::now) to a microsecond, for less: to note when something was. Mostly it is reckoned by the processor's counter,
    /// from this thread's last look at the clock, 100 µs ago at most; 10 ns in place of 25 on the machine where it was measured. What
    /// two calls give may differ from the truth, each to its own side: of two in a row the second may be the earlier by so much.
    /// On a machine without a counter that keeps time with the clock, and in a simulation, it is `now`.
    #[must_use]
    pub fn stamp(&self) -> Duration {
        self.shared().clock.reckoned()
    }

    /// A fresh source of random numbers. In a simulation they come from the seed; else from the system's.
    #[must_use]
    pub fn rng(&self) -> Rng {
        Rng::from_seed(crate::entropy::draw(self.shared()))
    }

    /// The stalls that last, and the last 64 that are over: processes that ran for longer than
    /// [`Builder::stall_limit`] without awaiting, and so held up their worker until a spare thread took over. They are
    /// reported through `tracing` as well. A process that was told to end meanwhile is shown as wedged.
    #[must_use]
    pub fn stalls(&self) -> Vec<Stall> {
        let shared = self.shared();
        shared.stalls.all(shared.clock.now())
    }

    /// Runs a future, or what becomes one, on this thread, to its end.
    ///
    /// # Panics
    ///
    /// On a worker of a runtime: there it would hold up other processes, or wait for one that it holds up itself. In a
    /// [`Simulation`](crate::Simulation), and on a runtime of one.
    pub fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        let on_worker = Local::with(|local| local.is_some());
        assert!(!on_worker, "block_on within a process: await the future instead");
        let simulated = simulator::entered().is_some() || self.home.shared.scheduler.simulator.is_some();
        assert!(!simulated, "block_on in a simulation, which has one thread: await the future instead");
        crate::block_on::block_on(future.into_future())
    }

    /// Shuts the runtime down and waits for it, for no longer than `deadline`.
    ///
    /// Nobody is spawned any more. All processes are sent [`ExitReason::Shutdown`]; those that trap exits get a message
    /// and may finish what they do. Who is still there when the deadline is near (a second, or a tenth of it if that is
    /// less) is killed. Who is still there at the deadline has a poll that does not return: it is reported as wedged, and
    /// its worker's thread with it is left behind. So is blocking work that does not return.
    ///
    /// The shutdown goes on if the future is dropped. A second call waits for the same end, and its deadline counts if it
    /// is earlier.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.begin_shutdown(deadline);
        poll_fn(|cx| self.shared().lifecycle.report(cx.waker()).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Begins the shutdown on a thread of its own, which depends on no worker; if one goes on already, its end may become
    /// earlier.
    fn begin_shutdown(&self, deadline: Duration) {
        let shared = self.shared();
        if !shared.lifecycle.begin(shared.clock.deadline(deadline)) || shared.scheduler.simulator.is_some() {
            // It goes on already, or the simulation sees to it step by step.
            return;
        }
        let on_thread = Arc::clone(shared);
        if spawn_thread(shared, "shutdown", move || crate::shutdown::run(&on_thread)).is_err() {
            // No thread to be had: this one does it, without waiting for anybody.
            shared.lifecycle.begin(0);
            shared.guest.with(|| crate::shutdown::run(shared));
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("name", &self.shared().name).finish()
    }
}

/// A place among those who wait for a name, given back when it is dropped.
struct Ticket<'a> {
    handle: &'a Handle,
    name: &'a Arc<str>,
    number: Option<u64>,
}

impl Ticket<'_> {
    fn give_back(&mut self) {
        if let Some(number) = self.number.take() {
            self.handle.shared().registry.stop_waiting(self.name, number);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}
