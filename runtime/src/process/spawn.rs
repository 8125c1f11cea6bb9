//! Driver: the beginning of a process.
use crate::budget;
use crate::error::SpawnError;
use crate::exit::{ExitReason, IntoExitReason};
use crate::mailbox::Mailbox;
use crate::monitor::MonitorRef;
use crate::pid::Pid;
use crate::process::address::{Address, Scoped};
use crate::process::context::Context;
use crate::process::control::{AnyProcess, Control, Head, Process};
use crate::process::ending;
use crate::process::joint;
use crate::process::latent::Entry;
use crate::process::wrapper::Wrapper;
use crate::scheduler::worker::Local;
use crate::scheduler::{Home, Metadata, Task, schedule, schedule_spawned};
use crate::signal::{Down, Exit};
use crate::sync::atomic::Ordering;
use async_task::WithInfo;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;

/// Options for a new process, given one after the other and ended by a verb, [`ProcessBuilder::spawn`] mostly.
///
/// Made by [`Context::build`], and then the new process's parent is that process; or by
/// [`Handle::build`](crate::Handle::build), and then it has none.
///
/// # Examples
///
/// ```
/// # use colloquium_runtime::{Context, Mailbox, Runtime};
/// let runtime = Runtime::new()?;
/// let logger = runtime
///     .build()
///     .name("logger")
///     .mailbox(Mailbox::bounded(100).drop_oldest())
///     .spawn(async |mut ctx: Context<String>| loop { println!("{}", ctx.recv().await) })?;
/// assert_eq!(runtime.whereis::<String>("logger")?, logger);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "options do nothing until a process is spawned"]
pub struct ProcessBuilder<'a, P = ()> {
    parent: Option<&'a mut Context<P>>,
    home: Arc<Home>,
    /// Where in the table it goes.
    shard: usize,
    settings: Settings,
}

#[derive(Default)]
struct Settings {
    name: Option<Arc<str>>,
    label: Option<Arc<str>>,
    mailbox: Mailbox,
    links: Option<AnyProcess>,
    link_parent: bool,
    parent: Option<Pid>,
    system: bool,
    trapping: bool,
}

impl ProcessBuilder<'static, ()> {
    pub(crate) fn of_runtime(home: &Arc<Home>) -> Self {
        let (home, shard) = Local::spawning_home(home);
        Self { parent: None, home, shard, settings: Settings::default() }
    }
}

impl<'a, P: Send + 'static> ProcessBuilder<'a, P> {
    pub(crate) fn of(parent: &'a mut Context<P>) -> Self {
        let (home, shard) = Local::spawning_home(&parent.control.head.home);
        let settings = Settings { parent: Some(parent.pid()), ..Settings::default() };
        Self { parent: Some(parent), home, shard, settings }
    }

    /// Links the new process to its parent, atomically. Without a parent this does nothing.
    pub fn link(mut self) -> Self {
        self.settings.link_parent = true;
        self
    }

    /// As [`ProcessBuilder::spawn`], with a monitor of the parent on the new process, made atomically with it.
    ///
    /// # Errors
    ///
    /// As [`ProcessBuilder::spawn`].
    ///
    /// # Panics
    ///
    /// On a builder without a parent, which could not be told.
    #[track_caller]
    pub fn spawn_monitor<M, F, Fut>(
        self,
        body: F,
        map: impl FnOnce(Down) -> P + Send + 'static,
    ) -> Result<(Address<M>, MonitorRef), SpawnError>
    where
        M: Send + 'static,
        F: FnOnce(Context<M>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        let parent = self.parent.expect("a process can be monitored by its parent only, and this one has none");
        let watcher = parent.process();
        let reference = parent.new_monitor(map);
        let monitor = Some((&watcher, reference));
        let spawned = start((self.home, self.shard), &self.settings, Some(Parent::of(parent)), monitor, body);
        if spawned.is_err() {
            parent.demonitor_flush(reference);
        }
        Ok((spawned?, reference))
    }
}

impl<P: Send + 'static> ProcessBuilder<'_, P> {
    /// Registers the process under this name, which must be free, before its body begins.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// A free text that tells people what the process is for; need not be unique.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.settings.label = Some(label.into());
        self
    }

    /// Another mailbox than the default one.
    pub fn mailbox(mut self, mailbox: Mailbox) -> Self {
        self.settings.mailbox = mailbox;
        self
    }

    /// Links the new process to this one, atomically, instead of to its parent.
    pub fn link_to<N: Send + 'static>(mut self, other: &Address<N>) -> Self {
        self.settings.links = Some(other.any());
        self
    }

    /// Another parent than the process that spawns. The parent is what [`Context::parent`] and the dump say it is.
    pub fn parent(mut self, parent: Pid) -> Self {
        self.settings.parent = Some(parent);
        self
    }

    /// A process that goes before all others whenever it has something to do. For those few on whom others' progress
    /// depends, such as supervisors: while one is runnable, nobody else is polled.
    pub fn system(mut self) -> Self {
        self.settings.system = true;
        self
    }

    /// A process that traps exits from birth on, before its links can carry any. Its body has to say how an exit becomes a
    /// message ([`Context::trap_exits`]) before it first receives: exits that are drawn earlier are dropped.
    pub fn trapping(mut self) -> Self {
        self.settings.trapping = true;
        self
    }

    /// Spawns the process. `body` is called here and now; the future it returns runs in the new process, and a panic in
    /// either is that process's exit. The future may be any that yields an [`IntoExitReason`], a never-ending one too.
    ///
    /// Costs two allocations: the control block and the task, which holds the future; one more if the future has 2048
    /// bytes or more, and one or two for a name or label.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]; `body` has not been called then.
    #[track_caller]
    pub fn spawn<M, F, Fut>(self, body: F) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        F: FnOnce(Context<M>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        let parent = self.parent.as_deref().map(Parent::of);
        start((self.home, self.shard), &self.settings, parent, None, body)
    }

    /// As [`ProcessBuilder::spawn`]; the process is ended when the guard is dropped.
    ///
    /// # Errors
    ///
    /// As [`ProcessBuilder::spawn`].
    #[track_caller]
    pub fn spawn_scoped<M, F, Fut>(self, body: F) -> Result<Scoped<M>, SpawnError>
    where
        M: Send + 'static,
        F: FnOnce(Context<M>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        self.spawn(body).map(Address::scoped)
    }
}

impl<P> fmt::Debug for ProcessBuilder<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessBuilder").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// Who spawns: to be looked at, and to go into the link without being counted once more.
struct Parent<'a> {
    process: &'a dyn Process,
    record: AnyProcess,
}

impl<'a> Parent<'a> {
    fn of<P: Send + 'static>(context: &'a Context<P>) -> Self {
        Self { process: &*context.control, record: context.process() }
    }
}

/// Makes a process and starts it. The place from which this is called, through public functions alone, is noted as the
/// one where it was spawned.
#[track_caller]
fn start<M, F, Fut>(
    (home, shard): (Arc<Home>, usize),
    settings: &Settings,
    parent: Option<Parent<'_>>,
    monitor: Option<(&AnyProcess, MonitorRef)>,
    body: F,
) -> Result<Address<M>, SpawnError>
where
    M: Send + 'static,
    F: FnOnce(Context<M>) -> Fut,
    Fut: Future<Output: IntoExitReason> + Send + 'static,
{
    budget::charge();
    let site = home.shared.sites.number(Location::caller());
    let control = create::<M>(&home, shard, settings, parent.as_ref().map(|parent| &parent.record), site)?;
    let (task, panic) = embody(&control, home, settings.system, body);
    attach(&control, &task, settings.trapping, panic);
    link_to_first(&control, settings, parent);
    if let Some((watcher, reference)) = monitor {
        let process: AnyProcess = control.clone();
        joint::monitor_at_birth(watcher, &process, reference);
    }
    schedule_spawned(task);
    Ok(Address::new(control))
}

/// Makes the body, on whatever thread this is, and the task around it; and if making it panicked, why the process ends.
#[inline]
pub(super) fn embody<M, F, Fut>(
    control: &Arc<Control<M>>,
    home: Arc<Home>,
    system: bool,
    body: F,
) -> (Task, Option<ExitReason>)
where
    M: Send + 'static,
    F: FnOnce(Context<M>) -> Fut,
    Fut: Future<Output: IntoExitReason> + Send + 'static,
{
    let context = Context::new(Arc::clone(control));
    let future = catch_unwind(AssertUnwindSafe(|| home.shared.guest.with(|| body(context))));
    let (future, panic) = match future {
        Ok(future) => (Some(future), None),
        Err(payload) => (None, Some(ExitReason::from_panic(payload))),
    };
    let metadata = Metadata { home, pid: control.head.pid, system };
    let wrapper = Wrapper::new(future, Arc::clone(control));
    let (task, handle) = async_task::Builder::new().metadata(metadata).spawn(move |_| wrapper, WithInfo(schedule));
    handle.detach();
    (task, panic)
}

/// The control block, in the table and with its name.
fn create<M: Send + 'static>(
    home: &Arc<Home>,
    shard: usize,
    settings: &Settings,
    parent: Option<&AnyProcess>,
    site: u16,
) -> Result<Arc<Control<M>>, SpawnError> {
    let shared = &home.shared;
    if settings.mailbox.bound == 0 {
        return Err(SpawnError::EmptyMailbox);
    }
    if shared.lifecycle.is_closing() {
        return Err(SpawnError::ShuttingDown);
    }
    if parent.is_some_and(|parent| !parent.head().is_alive()) {
        return Err(SpawnError::Ending);
    }
    let made = shared.table.insert(shard, |pid| {
        let head = Head::new(pid, settings.parent, Arc::clone(home));
        let mut control = Control::<M>::new(head, settings.mailbox);
        control.inner.get_mut().core.site = site;
        let control = Arc::new(control);
        (control.clone() as Arc<dyn Entry>, control)
    });
    let control = made.ok_or(SpawnError::ProcessLimit(shared.limits.processes))?;
    if let Some(simulator) = &shared.scheduler.simulator {
        control.attend();
        simulator.born(&control.head, settings.name.as_ref().or(settings.label.as_ref()));
    }
    if let Some(label) = &settings.label {
        control.inner.lock().core.extra().label = Some(Arc::clone(label));
    }
    if let Some(name) = &settings.name {
        let process: AnyProcess = control.clone();
        if let Err(error) = shared.registry.register(name, &process) {
            discard(&control);
            return Err(error.into());
        }
    }
    if shared.lifecycle.is_closing() {
        // The shutdown may have gone over the table before this process was in it.
        discard(&control);
        return Err(SpawnError::ShuttingDown);
    }
    Ok(control)
}

/// A process that never was. The table or a name may have shown it, and whoever has met it there is told.
fn discard<M: Send + 'static>(control: &Arc<Control<M>>) {
    let process: AnyProcess = control.clone();
    ending::settle_fate(&process, ExitReason::NoProcess);
    ending::finish_unborn(&process).complete();
}

/// Gives the control block the means to wake its task. A body that panicked while it was made is the process's end.
pub(super) fn attach<M: Send + 'static>(control: &Control<M>, task: &Task, trapping: bool, panic: Option<ExitReason>) {
    let waker = task.waker();
    control.head.own_waker.store(waker.data().addr(), Ordering::Relaxed);
    let mut core = control.core();
    let refused = panic.and_then(|reason| core.fix_fate(&control.head, reason));
    core.waker = Some(waker);
    // The function that made the body may have asked for it as well.
    core.trapping |= trapping;
    drop(core);
    drop(refused);
}

/// The link from birth, if there is to be one.
fn link_to_first<M: Send + 'static>(control: &Arc<Control<M>>, settings: &Settings, parent: Option<Parent<'_>>) {
    if let Some(peer) = &settings.links {
        link_at_birth(&**peer, AnyProcess::clone(peer), control, |_| ExitReason::NoProcess);
    } else if let Some(parent) = parent.filter(|_| settings.link_parent) {
        link_at_birth(parent.process, parent.record, control, ExitReason::clone);
    }
}

/// A link from birth. A parent that was doomed meanwhile passes its fate on; any other process that is dead answers as to
/// every link.
fn link_at_birth<M: Send + 'static>(
    peer: &dyn Process,
    record: AnyProcess,
    control: &Arc<Control<M>>,
    answer: fn(&ExitReason) -> ExitReason,
) {
    let child: AnyProcess = control.clone();
    let (peer_pid, pid) = (peer.head().pid, control.head.pid);
    let told = joint::with_cores(peer, &**control, |theirs, mine| {
        let record = mine.links.insert(peer_pid, record).err();
        match &theirs.fate {
            Some(fate) => {
                let exit = Exit { from: Some(peer_pid), reason: answer(fate), by_link: true };
                (record, None, Some((mine.apply_exit(&control.head, exit), child)))
            }
            // A child that is dead already tells its peer when its task runs, so that it needs the link all the same.
            None => (record, theirs.links.insert(pid, child).err(), None),
        }
    });
    drop(told);
}
