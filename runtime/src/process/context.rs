//! Driver: what a process can do from inside.
use crate::budget;
use crate::chance::Rng;
use crate::error::{NotJoined, ProcessEnded, RegisterError, SpawnError};
use crate::exit::{ExitReason, IntoExitReason};
use crate::link::PeerSet;
use crate::mailbox::{Drawn, Item, Signals};
use crate::monitor::MonitorRef;
use crate::pg::{GroupEvent, GroupView};
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::control::{AnyProcess, Control, send_exit};
use crate::process::ending::drop_caught;
use crate::process::joint;
use crate::process::spawn::ProcessBuilder;
use crate::runtime::Handle;
use crate::scheduler::worker::Local;
use crate::signal::{Down, Exit, Signal};
use crate::target::{Target, find};
use crate::timer::sleep::Sleep;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A process's own side: its mailbox and what it can do as a process.
///
/// The body of a process gets it by value and may keep it wherever it likes, but it belongs to that process: it is no
/// use after the process has ended. Receiving is described at [`Context::recv`].
pub struct Context<M> {
    pub(crate) control: Arc<Control<M>>,
    pub(crate) drawn: Drawn<M>,
    pub(crate) aside: Option<Box<Aside<M>>>,
}

type Mapping<S, M> = Box<dyn FnMut(S) -> M + Send>;

/// What most contexts have none of.
pub(crate) struct Aside<M> {
    /// Signals drawn together with messages.
    signals: Option<Box<Signals>>,
    /// How many have had their turn.
    pub(crate) signals_drawn: u32,
    /// Messages that a selective receive has passed over, in the order of arrival.
    pub(crate) saved: VecDeque<Saved<M>>,
    trap: Option<Mapping<Exit, M>>,
    downs: PeerSet<u64, Box<dyn FnOnce(Down) -> M + Send>>,
    groups: BTreeMap<Arc<str>, Mapping<GroupEvent, M>>,
    next_serial: u64,
}

pub(crate) struct Saved<M> {
    pub(crate) message: M,
    /// Still counted in the mailbox: a message, not a signal, and not yet reported as taken.
    pub(crate) counted: bool,
    /// Since when what it was drawn with had been in the mailbox, if it was set aside.
    pub(crate) since: u32,
}

impl<M> Aside<M> {
    pub(crate) fn new() -> Self {
        Self {
            signals: None,
            signals_drawn: 0,
            saved: VecDeque::new(),
            trap: None,
            downs: PeerSet::default(),
            groups: BTreeMap::new(),
            next_serial: 0,
        }
    }

    /// The signals that have been drawn; the box is given back when there are none.
    pub(crate) fn signals(&mut self) -> Option<&mut Signals> {
        self.signals.take_if(|signals| signals.is_empty());
        self.signals.as_deref_mut()
    }

    pub(crate) fn add_signals(&mut self, more: Box<Signals>) {
        match &mut self.signals {
            Some(signals) => signals.append(*more),
            none => *none = Some(more),
        }
    }

    /// The message that the process wants for a signal; `None` if it has stopped wanting one.
    fn map(&mut self, signal: Signal) -> Option<M> {
        match signal {
            Signal::Exit(exit) => self.trap.as_mut().map(|map| map(exit)),
            Signal::Down(down) => self.downs.remove(down.monitor.serial()).map(|map| map(down)),
            Signal::Group(event) => self.groups.get_mut(&event.group).map(|map| map(event)),
        }
    }
}

impl<M: Send + 'static> Context<M> {
    pub(crate) fn new(control: Arc<Control<M>>) -> Self {
        Self { control, drawn: Drawn::new(), aside: None }
    }

    pub(crate) fn aside(&mut self) -> &mut Aside<M> {
        self.aside.get_or_insert_with(|| Box::new(Aside::new()))
    }

    pub(crate) fn process(&self) -> AnyProcess {
        self.control.clone()
    }

    /// Turns an item into a message, by the process's own mapping if it is a signal.
    #[inline]
    pub(crate) fn message_of(&mut self, item: Item<M>) -> Option<Saved<M>> {
        match item {
            Item::Message(message) => Some(Saved { message, counted: true, since: 0 }),
            Item::Signal(signal) => self.map(signal),
        }
    }

    #[inline(never)]
    fn map(&mut self, signal: Signal) -> Option<Saved<M>> {
        let aside = self.aside.as_mut()?;
        aside.signals_drawn = aside.signals_drawn.wrapping_add(1);
        let message = aside.map(signal)?;
        Some(Saved { message, counted: false, since: 0 })
    }

    /// This process's pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.control.head.pid
    }

    /// An address of this process, to give to others.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        Address::new(Arc::clone(&self.control))
    }

    /// The process that spawned this one, if a process did.
    #[must_use]
    pub fn parent(&self) -> Option<Pid> {
        let head = &self.control.head;
        Pid::from_word(head.parent, head.pid.runtime())
    }

    /// The runtime, without keeping it alive.
    #[must_use]
    pub fn runtime(&self) -> Handle {
        Handle::new(Arc::clone(&self.control.head.home))
    }

    /// Spawns a process whose parent is this one; it is not linked. [`Context::build`] has options.
    ///
    /// The new process is queued on this worker; `body` is called here and now, and the future it returns runs there.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]: the limit of processes, a runtime or a process that is ending.
    #[track_caller]
    pub fn spawn<N, F, Fut>(&mut self, body: F) -> Result<Address<N>, SpawnError>
    where
        N: Send + 'static,
        F: FnOnce(Context<N>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        self.build().spawn(body)
    }

    /// Spawns a process linked to this one, atomically: however fast it ends, its own reason comes along the link; if
    /// this process ends first, the child gets its exit signal.
    ///
    /// # Errors
    ///
    /// As [`Context::spawn`].
    #[track_caller]
    pub fn spawn_link<N, F, Fut>(&mut self, body: F) -> Result<Address<N>, SpawnError>
    where
        N: Send + 'static,
        F: FnOnce(Context<N>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        self.build().link().spawn(body)
    }

    /// Spawns a process monitored by this one, atomically: however fast it ends, the [`Down`] bears its own reason.
    ///
    /// # Errors
    ///
    /// As [`Context::spawn`].
    #[track_caller]
    pub fn spawn_monitor<N, F, Fut>(
        &mut self,
        body: F,
        map: impl FnOnce(Down) -> M + Send + 'static,
    ) -> Result<(Address<N>, MonitorRef), SpawnError>
    where
        N: Send + 'static,
        F: FnOnce(Context<N>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        self.build().spawn_monitor(body, map)
    }

    /// Options for a process whose parent is this one: name, label, link, mailbox and so on.
    pub fn build(&mut self) -> ProcessBuilder<'_, M> {
        ProcessBuilder::of(self)
    }

    /// Links this process to another (OTP's `link/1`): when either ends, the other gets an exit signal with the reason.
    /// There is at most one link between two processes; linking again, or linking oneself, does nothing.
    ///
    /// A process that is dead answers with an exit signal of [`ExitReason::NoProcess`]: a message if this process traps
    /// exits, else its end.
    pub fn link(&mut self, target: impl Target) {
        budget::charge();
        match find(&target, &self.control.head.home) {
            Ok(peer) => {
                joint::link(&self.process(), &peer);
            }
            Err(pid) => self.answer_dead_link(pid),
        }
    }

    /// A pid that the table does not know any more: as if its link had been refused.
    fn answer_dead_link(&self, pid: Option<Pid>) {
        let exit = Exit { from: pid, reason: ExitReason::NoProcess, by_link: true };
        let mut core = self.control.inner.lock();
        let waker = core.core.apply_dead_link(&self.control.head, exit);
        drop(core);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Removes a link, on both sides. After it, no exit signal because of that link is handled, and none becomes a
    /// message; one that is in the mailbox already stays there. It is too late for that once this process's own end is
    /// certain, such as by a kill that came in the midst of this poll: its peers are told.
    pub fn unlink(&mut self, target: impl Target) {
        budget::charge();
        match find(&target, &self.control.head.home) {
            Ok(peer) => joint::unlink(&self.process(), &peer),
            Err(Some(pid)) => {
                // It is gone, but may not have come to telling this process.
                let record = self.control.inner.lock().core.links.remove(pid);
                drop(record);
            }
            Err(None) => {}
        }
    }

    /// Monitors a process, by address, pid or name (OTP's `monitor/2`): when it is gone, `map` turns the [`Down`] into a
    /// message of this process. One monitor gives one message; a process may hold any number on another. Monitoring
    /// oneself gives a reference and never a message.
    ///
    /// A process that is dead, or a name that nobody has, gives a [`Down`] with [`ExitReason::NoProcess`]; if the process
    /// is still dropping its state, once it has. A monitor by name stays with the process that had the name.
    pub fn monitor(&mut self, target: impl Target, map: impl FnOnce(Down) -> M + Send + 'static) -> MonitorRef {
        budget::charge();
        let found = find(&target, &self.control.head.home);
        if found.as_ref().is_ok_and(|process| process.head().pid == self.pid()) {
            return self.new_monitor_ref();
        }
        let reference = self.new_monitor(map);
        match found {
            Ok(process) => {
                joint::monitor(&self.process(), &process, reference, target.name());
            }
            Err(pid) => {
                let reason = ExitReason::NoProcess;
                let down = Down { monitor: reference, pid, name: target.name(), reason };
                let waker = self.control.inner.lock().core.push_signal(&self.control.head, Signal::Down(down));
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
        reference
    }

    /// A fresh reference and its mapping, before anybody is told.
    pub(crate) fn new_monitor(&mut self, map: impl FnOnce(Down) -> M + Send + 'static) -> MonitorRef {
        let reference = self.new_monitor_ref();
        let fresh = self.aside().downs.insert(reference.serial(), Box::new(map));
        debug_assert!(fresh.is_ok(), "serials are used once");
        reference
    }

    fn new_monitor_ref(&mut self) -> MonitorRef {
        let owner = self.pid();
        let aside = self.aside();
        aside.next_serial += 1;
        MonitorRef::new(owner, aside.next_serial)
    }

    /// Removes a monitor. True if it stood: it will never fire. False if it had fired, was removed before, or belongs to
    /// another process. A [`Down`] that is in the mailbox already stays; [`Context::demonitor_flush`] takes it out.
    pub fn demonitor(&mut self, reference: MonitorRef) -> bool {
        budget::charge();
        if reference.owner() != self.pid() {
            return false;
        }
        let stood = joint::demonitor(&self.process(), reference);
        if stood && let Some(aside) = &mut self.aside {
            let mapping = aside.downs.remove(reference.serial());
            drop(mapping);
        }
        stood
    }

    /// As [`Context::demonitor`], and no message of this monitor will be received from now on, unless a selective
    /// receive has passed over it already.
    pub fn demonitor_flush(&mut self, reference: MonitorRef) -> bool {
        let stood = self.demonitor(reference);
        if !stood && reference.owner() == self.pid() {
            // A fired down is dropped when its turn comes: without its mapping it becomes no message.
            let mapping = self.aside.as_mut().and_then(|aside| aside.downs.remove(reference.serial()));
            drop(mapping);
        }
        stood
    }

    /// Traps exits: from now on exit signals become messages, made by `map`, instead of ending this process; except a
    /// kill that was sent as one. Trapping is judged when a signal arrives: it does not undo a signal that came before.
    pub fn trap_exits(&mut self, map: impl FnMut(Exit) -> M + Send + 'static) {
        let old = self.aside().trap.replace(Box::new(map));
        drop(old);
        self.control.inner.lock().core.trapping = true;
    }

    /// Stops trapping exits. Exits that are in the mailbox already stay there.
    pub fn untrap_exits(&mut self) {
        self.control.inner.lock().core.trapping = false;
    }

    /// Sends this process an exit signal from itself, and waits for what comes of it. Without trapping this never
    /// returns: the process ends with `reason` (and [`ExitReason::Kill`] as [`ExitReason::Killed`]), and no code after
    /// it runs but destructors. With trapping the signal becomes a message and this returns.
    pub async fn exit(&mut self, reason: ExitReason) {
        let process = self.process();
        send_exit(&process, Exit { from: Some(self.pid()), reason, by_link: false });
        drop(process);
        let head = &self.control.head;
        // Whoever uses another's context does not wait for an end that is not its own.
        poll_fn(
            |_| if head.is_alive() || Local::current() != Some(head.pid) { Poll::Ready(()) } else { Poll::Pending },
        )
        .await;
    }

    /// Sends another process an exit signal, by address, pid or name. Dead ones and unknown names are passed over.
    pub fn send_exit(&mut self, target: impl Target, reason: ExitReason) {
        budget::charge();
        if let Ok(process) = find(&target, &self.control.head.home) {
            send_exit(&process, Exit { from: Some(self.pid()), reason, by_link: false });
        }
    }

    /// Gives the others their turn: the process goes to the end of its worker's queue.
    pub async fn yield_now(&mut self) {
        budget::exhaust();
        poll_fn(|cx| budget::poll_proceed(cx)).await;
    }

    /// Waits for `duration`, never less (unless the runtime shuts down). Exit signals end the process meanwhile; messages stay in the mailbox.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes its timer.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(Arc::clone(&self.control.head.home), duration)
    }

    /// How long the runtime has been up ([`Handle::now`]): virtual in a simulation.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.control.head.home.shared.clock.now())
    }

    /// A fresh source of random numbers. In a simulation they come from the seed, so that what depends on them is repeated
    /// with it; else from the system's.
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Context, Runtime};
    /// # use std::time::Duration;
    /// # let runtime = Runtime::new()?;
    /// # let process = runtime.spawn(async |ctx: Context<()>| {
    /// let jitter = ctx.rng().duration(Duration::ZERO..Duration::from_millis(1));
    /// ctx.sleep(Duration::from_millis(1) + jitter).await;
    /// # })?;
    /// # runtime.block_on(process.ended());
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn rng(&self) -> Rng {
        Rng::from_seed(crate::entropy::draw(&self.control.head.home.shared))
    }

    /// Registers this process under a name; it has none yet. The name is freed when the process ends, before anyone is
    /// told of that.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]: the name is taken or empty, this process has one, or there are too many names.
    pub fn register(&mut self, name: impl Into<Arc<str>>) -> Result<(), RegisterError> {
        self.control.head.home.shared.registry.register(&name.into(), &self.process())
    }

    /// Gives this process's name up; false if it has none.
    pub fn unregister(&mut self) -> bool {
        self.control.head.home.shared.registry.unregister_process(&self.process())
    }

    /// Joins a process group; n times joined needs n times left.
    ///
    /// # Errors
    ///
    /// [`ProcessEnded`] if this process is told to end.
    pub fn join(&mut self, group: impl Into<Arc<str>>) -> Result<(), ProcessEnded> {
        self.control.head.home.shared.groups().join(&group.into(), &self.process())
    }

    /// Leaves a process group, once.
    ///
    /// # Errors
    ///
    /// [`NotJoined`] if this process is no member.
    pub fn leave(&mut self, group: &str) -> Result<(), NotJoined> {
        self.control.head.home.shared.groups().leave(group, &self.process())
    }

    /// Subscribes to the joins and leaves of a group, and returns who is in it at that moment: no change is missed and
    /// none is told twice. `map` turns each change into a message. A second subscription replaces the mapping.
    pub fn monitor_group(
        &mut self,
        group: impl Into<Arc<str>>,
        map: impl FnMut(GroupEvent) -> M + Send + 'static,
    ) -> GroupView {
        let group = group.into();
        let old = self.aside().groups.insert(Arc::clone(&group), Box::new(map));
        drop(old);
        self.control.head.home.shared.groups().subscribe(&group, &self.process())
    }

    /// Ends the subscription; changes that are in the mailbox already are dropped. False if there was none.
    pub fn demonitor_group(&mut self, group: &str) -> bool {
        let stood = self.control.head.home.shared.groups().unsubscribe(group, &self.process());
        let wanted = |signal: &Signal| !matches!(signal, Signal::Group(event) if *event.group == *group);
        // Taken out here and not only at their turn: the group may be subscribed to anew before that.
        if let Some(aside) = &mut self.aside {
            aside.signals.iter_mut().for_each(|signals| signals.retain(wanted));
        }
        let mut inner = self.control.inner.lock();
        if let Some(signals) = &mut inner.core.signals {
            signals.retain(wanted);
        }
        drop(inner);
        let mapping = self.aside.as_mut().and_then(|aside| aside.groups.remove(group));
        drop(mapping);
        stood
    }
}

impl<M> Drop for Context<M> {
    /// Messages and mappings go one by one, each panic caught: two that panic in one drop would abort the program.
    fn drop(&mut self) {
        let (drawn, aside) = (self.drawn.take_all(), self.aside.take());
        if drawn.is_some() || aside.is_some() {
            // It may have been moved to a thread that is no worker.
            self.control.head.home.shared.guest.with(|| drop_all(drawn, aside));
        }
    }
}

fn drop_all<M>(drawn: Option<impl IntoIterator<Item = M>>, aside: Option<Box<Aside<M>>>) {
    drawn.into_iter().flatten().for_each(drop_caught);
    if let Some(aside) = aside {
        let Aside { signals, saved, trap, mut downs, groups, .. } = *aside;
        signals.into_iter().flat_map(|signals| *signals).for_each(drop_caught);
        saved.into_iter().for_each(drop_caught);
        drop_caught(trap);
        while let Some(down) = downs.pop() {
            drop_caught(down);
        }
        groups.into_iter().for_each(drop_caught);
    }
}

impl<M> fmt::Debug for Context<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.control.head.pid)
    }
}
