//! Shared: what takes the workers' place in a simulation: where processes go that were woken, and what notes what happens.
//!
//! One lock around everything. It may be taken under any other lock of the runtime, and none is taken under it; no user code
//! runs under it. Only the thread of the simulation changes anything: who comes from another is noted as a stranger, which
//! ends the simulation, and the processes that it woke are kept until then.
//!
//! Two cells of each thread tell which simulation it runs, and which process of it is being polled.
use crate::chance::Rng;
use crate::clock::nanos;
use crate::exit::ExitReason;
use crate::pid::Pid;
use crate::process::control::{AnyProcess, Head};
use crate::process::ending::drop_caught;
use crate::scheduler::{Home, Task};
use crate::simulation::Simulation;
use crate::simulation::choices::{Choices, How, Kind};
use crate::simulation::plan::{Act, Plan};
use crate::simulation::trace::{Event, Lines, Trace, kind_of, shortened};
use parking_lot::{Mutex, MutexGuard};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

thread_local! {
    static HOME: RefCell<Option<Arc<Home>>> = const { RefCell::new(None) };
    /// The address of the simulator, to be compared only.
    static ENTERED: Cell<usize> = const { Cell::new(0) };
    static CURRENT: Cell<Option<Pid>> = const { Cell::new(None) };
}

/// The process of a simulation that this thread polls.
pub(crate) fn current() -> Option<Pid> {
    CURRENT.get()
}

/// The simulation that this thread runs.
pub(crate) fn entered() -> Option<Arc<Home>> {
    HOME.with_borrow(Clone::clone)
}

/// Whether this thread runs a simulation.
pub(crate) fn is_entered() -> bool {
    ENTERED.get() != 0
}

/// Does something with the simulator of this thread, if it has one.
pub(crate) fn with_entered(act: impl FnOnce(&Simulator)) {
    let home = entered();
    if let Some(simulator) = home.as_ref().and_then(|home| home.shared.scheduler.simulator.as_ref()) {
        act(simulator);
    }
}

pub(crate) struct Simulator {
    state: Mutex<State>,
    /// How the shutdown stands; only the thread of the simulation takes it.
    pub(super) closing: Mutex<Closing>,
    pub(super) step_limit: u64,
    pub(super) time_limit: u64,
    poll_time: u64,
}

/// A shutdown: when it began, and how many were told to stop and killed.
#[derive(Clone, Copy, Default)]
pub(super) struct Closing {
    pub(super) began: Option<u64>,
    pub(super) told: usize,
    pub(super) killed: Option<usize>,
}

struct State {
    plan: Plan<Task>,
    /// For the program's own random numbers, whose count must not change what the simulator decides.
    chance: Rng,
    trace: Trace,
    now: u64,
    running: u64,
    body_woken: bool,
    marks: BTreeMap<Arc<str>, bool>,
    stranger: Option<String>,
    /// What strangers woke.
    astray: Vec<Task>,
    /// Signals that are held back, by sender and receiver.
    held_back: Vec<HeldBack>,
}

/// A queue of signals from one process to another; they stand with the receiver.
struct HeldBack {
    from: Pid,
    to: AnyProcess,
}

/// Ends what [`Simulator::enter`] began.
pub(super) struct Inside(());

impl Drop for Inside {
    fn drop(&mut self) {
        ENTERED.set(0);
        CURRENT.set(None);
        drop(HOME.take());
    }
}

impl Simulator {
    pub(super) fn new(settings: &Simulation, expected: Option<Vec<u32>>, how: How) -> Self {
        let state = State {
            plan: Plan::new(settings.seed, settings.order, settings.faults.clone(), settings.whole_polls, how),
            chance: Rng::stream(settings.seed, 2),
            trace: Trace::new(settings.trace_lines, expected),
            now: 0,
            running: 0,
            body_woken: false,
            marks: BTreeMap::new(),
            stranger: None,
            astray: Vec::new(),
            held_back: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            closing: Mutex::default(),
            step_limit: settings.step_limit,
            time_limit: nanos(settings.time_limit),
            poll_time: nanos(settings.poll_time).saturating_add(1),
        }
    }

    /// This thread runs the simulation until the guard is dropped.
    pub(super) fn enter(&self, home: &Arc<Home>) -> Inside {
        HOME.set(Some(Arc::clone(home)));
        ENTERED.set(std::ptr::from_ref(self).addr());
        Inside(())
    }

    fn is_home(&self) -> bool {
        ENTERED.get() == std::ptr::from_ref(self).addr()
    }

    /// The state, for the simulation's own thread.
    fn local(&self) -> Option<MutexGuard<'_, State>> {
        if self.is_home() {
            return Some(self.state.lock());
        }
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name").to_owned();
        self.state.lock().stranger.get_or_insert(name);
        None
    }

    /// A process could run.
    pub(crate) fn push(&self, task: Task) {
        let (who, system) = (task.metadata().pid.word(), task.metadata().system);
        match self.local() {
            Some(mut state) => {
                let yielded = state.running == who;
                state.plan.wake(who, system, yielded, task);
            }
            None => self.state.lock().astray.push(task),
        }
    }

    /// Drops all processes that could run, when the runtime has closed. Each drop ends a process, which may wake others.
    pub(crate) fn discard_all(&self) {
        self.let_all_arrive(|_| true);
        loop {
            let mut state = self.state.lock();
            let mut tasks = state.plan.drain();
            tasks.append(&mut state.astray);
            if state.body_woken {
                state.plan.wake_body();
            }
            drop(state);
            if tasks.is_empty() {
                return;
            }
            tasks.into_iter().for_each(drop_caught);
        }
    }

    /// Whether a signal is held back that is the first of a queue; then the queue is known from now on.
    pub(crate) fn hold_back(&self, from: Pid, to: &AnyProcess) -> bool {
        let Some(mut state) = self.local() else { return false };
        let State { plan, .. } = &mut *state;
        let holds = plan.script.holds_back(plan.steps, &mut plan.chooser);
        if holds {
            state.note(Event::HeldBack { from: from.word(), to: to.head().pid.word() });
            state.held_back.push(HeldBack { from, to: AnyProcess::clone(to) });
        }
        holds
    }

    /// Lets one signal of a queue arrive.
    pub(super) fn let_arrive(&self, queue: usize) {
        let mut state = self.state.lock();
        let Some(HeldBack { from, to }) = state.held_back.get(queue) else { return };
        let (from, to) = (*from, AnyProcess::clone(to));
        state.note(Event::Arrived { from: from.word(), to: to.head().pid.word() });
        drop(state);
        if !to.let_arrive(from) {
            let mut state = self.state.lock();
            let at = state.held_back.iter().position(|held| held.from == from && held.to.head().pid == to.head().pid);
            let over = at.map(|at| state.held_back.remove(at));
            drop(state);
            drop(over);
        }
    }

    /// Everything that the process which is being polled has sent arrives: it is about to see whether it has.
    pub(crate) fn flush(&self) {
        if let Some(from) = CURRENT.get().filter(|_| self.is_home()) {
            self.let_all_arrive(|held| held.from == from);
        }
    }

    fn let_all_arrive(&self, wanted: impl Fn(&HeldBack) -> bool) {
        loop {
            let queue = self.state.lock().held_back.iter().position(&wanted);
            let Some(queue) = queue else { return };
            self.let_arrive(queue);
        }
    }

    pub(super) fn wake_body(&self) {
        if let Some(mut state) = self.local()
            && !std::mem::replace(&mut state.body_woken, true)
        {
            state.plan.wake_body();
        }
    }

    pub(super) fn take_stranger(&self) -> Option<String> {
        self.state.lock().stranger.take()
    }

    /// Decides what is next.
    pub(super) fn next(&self, now: u64, timer: u64, look: u64) -> Act<Task> {
        let mut state = self.state.lock();
        state.now = now;
        let held_back = state.held_back.len();
        let act = state.plan.next(now, timer, look, held_back);
        match &act {
            Act::Run(who, ..) => {
                state.running = *who;
                state.note(Event::Ran(*who));
            }
            Act::Body => {
                state.body_woken = false;
                state.note(Event::Body);
            }
            _ => {}
        }
        act
    }

    /// A process is being polled from now on.
    pub(super) fn begin_poll(pid: Pid) {
        CURRENT.set(Some(pid));
    }

    /// The poll is over; how long it took.
    pub(super) fn end_poll(&self) -> u64 {
        CURRENT.set(None);
        let mut state = self.state.lock();
        state.running = 0;
        let most = self.poll_time;
        state.plan.chooser.below(Kind::Time, most)
    }

    /// Entries that are due at once come in any order.
    pub(super) fn shuffle<T>(&self, entries: &mut [T]) {
        let mut state = self.state.lock();
        if !entries.is_empty() {
            state.note(Event::Fired(entries.len() as u64));
        }
        state.plan.chooser.shuffle(Kind::Order, entries);
    }

    pub(super) fn stall(&self, who: u64, until: u64) {
        let mut state = self.state.lock();
        state.note(Event::Stalled { who, until });
        state.plan.stall(who, until);
    }

    pub(super) fn may_befall(&self, process: &crate::info::ProcessInfo) -> bool {
        let faults = self.state.lock().plan.script.faults.clone();
        faults.may_befall(process)
    }

    pub(super) fn note(&self, event: Event) {
        if let Some(mut state) = self.local() {
            state.note(event);
        }
    }

    /// A process was spawned.
    pub(crate) fn born(&self, head: &Head, name: Option<&Arc<str>>) {
        let who = head.pid.word();
        if let Some(mut state) = self.local() {
            state.plan.script.born(who);
            state.note(Event::Spawned { who, by: by(), name: name.cloned() });
        }
    }

    /// The fate of a process is fixed.
    pub(crate) fn doomed(&self, head: &Head, reason: &ExitReason) {
        self.note(Event::Doomed { who: head.pid.word(), by: by(), kind: kind_of(reason) });
    }

    /// A process is gone. Not to be called under a lock: the reason is a user's.
    pub(crate) fn gone(&self, head: &Head, reason: &ExitReason) {
        let kind = kind_of(reason);
        let mut text = Cow::Borrowed(kind);
        if !matches!(reason, ExitReason::Normal | ExitReason::Shutdown | ExitReason::Killed) {
            crate::process::ending::caught(|| text = shortened(reason).into());
        }
        if let Some(mut state) = self.local() {
            state.plan.died(head.pid.word());
            state.note(Event::Ended { who: head.pid.word(), kind, reason: text });
        }
    }

    /// A signal is to become a message.
    pub(crate) fn signalled(&self, head: &Head, kind: &'static str) {
        self.note(Event::Signalled { to: head.pid.word(), kind });
    }

    /// A message was sent.
    pub(crate) fn sent(&self, head: &Head, taken: bool) {
        self.note(Event::Sent { from: by(), to: head.pid.word(), taken });
    }

    /// A seed for random numbers of the program's.
    pub(crate) fn draw(&self) -> u64 {
        let Some(mut state) = self.local() else { return 0 };
        let number = state.chance.number();
        state.note(Event::Drew(number));
        number
    }

    pub(crate) fn mark(&self, name: &'static str, reached: bool) {
        if let Some(mut state) = self.local() {
            match state.marks.get_mut(name) {
                Some(known) => *known |= reached,
                None => drop(state.marks.insert(name.into(), reached)),
            }
        }
    }

    pub(super) fn marks(&self) -> BTreeMap<Arc<str>, bool> {
        self.state.lock().marks.clone()
    }

    /// What it has chosen, if that was noted.
    pub(super) fn take_choices(&self) -> Choices {
        self.state.lock().plan.chooser.take()
    }

    pub(super) fn steps(&self) -> u64 {
        self.state.lock().plan.steps
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(self.state.lock().now)
    }

    pub(super) fn hash(&self) -> u64 {
        self.state.lock().trace.hash()
    }

    pub(super) fn lines(&self) -> Lines {
        self.state.lock().trace.lines()
    }

    pub(super) fn with_trace<R>(&self, look: impl FnOnce(&mut Trace) -> R) -> R {
        look(&mut self.state.lock().trace)
    }
}

/// The process on whose behalf something happens.
fn by() -> u64 {
    CURRENT.get().map_or(0, Pid::word)
}

impl State {
    fn note(&mut self, event: Event) {
        self.trace.note(self.now, event);
    }
}

/// Wakes the body of a simulation.
pub(super) struct BodyWaker(pub(super) Arc<Simulator>);

impl Wake for BodyWaker {
    fn wake(self: Arc<Self>) {
        self.0.wake_body();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_body();
    }
}
