//! Driver: runs a program on one thread, with a virtual clock, every choice made by a seed.
//!
//! [`Simulation`] says how; `docs/simulation.md` says what that explores and what not.
mod drive;
mod failure;
mod faults;
mod order;
mod plan;
#[cfg(all(test, not(loom)))]
pub(crate) mod planted;
pub(crate) mod simulator;
mod trace;

use crate::builder::Builder;
use crate::runtime::{Handle, Runtime};
use crate::scheduler::worker::Local;
use simulator::{Simulator, entered};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use trace::{Event, Trace};

pub use failure::{Failure, FailureKind, Outcome};
pub use faults::Faults;
pub use order::Order;
pub use trace::Lines;

/// Runs a program whose every choice comes from a seed.
///
/// The program is the real one: the same processes, mailboxes, links, monitors, calls, timers and names, by the same code. But
/// there is one thread, time is virtual, and who runs next, how long a poll takes, when it yields, in which order timers
/// fire that are due at once, random numbers ([`Context::rng`](crate::Context::rng)) and faults ([`Faults`]) are all decided by the seed. The same
/// seed does the same, in debug and release and on any machine; so a failure that one seed finds is repeated by that seed.
///
/// Time passes by itself: a poll takes up to [`Simulation::poll_time`], and when nothing can run, the clock goes to the next
/// timer at once. A time-out of an hour takes no time to wait for.
///
/// Each seed runs twice, and what happened is compared event by event: a program that depends on something else than the seed
/// (the order of a hash map, an address, the system's clock, a thread) fails with [`FailureKind::Diverged`].
///
/// What cannot be simulated fails, and says what to use instead: a runtime of threads made within, `block_on`, and a wake
/// from another thread. Blocking (`std::sync::mpsc`, `std::thread::sleep`) blocks everything for good.
///
/// Most tests need [`testing::check`](crate::testing::check) only, which runs many seeds.
///
/// # Examples
///
/// Two processes race; some seeds have it one way and some the other, each seed always the same.
///
/// ```
/// use colloquium_runtime::{Context, Simulation};
///
/// let winner = |seed| {
///     let outcome = Simulation::new(seed).run(async |runtime| {
///         let judge = runtime.spawn(async |mut ctx: Context<&str>| panic!("{} wins", ctx.recv().await))?;
///         for name in ["tortoise", "hare"] {
///             let judge = judge.clone();
///             runtime.spawn(async move |_: Context<()>| drop(judge.send(name)))?;
///         }
///         Ok::<_, colloquium_runtime::SpawnError>(judge.ended().await.to_string())
///     });
///     outcome.expect("no deadlock, no endless loop").value.expect("room for three processes")
/// };
/// assert!((0..20).any(|seed| winner(seed).contains("tortoise")));
/// assert!((0..20).any(|seed| winner(seed).contains("hare")));
/// assert_eq!(winner(7), winner(7));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a simulation does nothing until it is run"]
pub struct Simulation {
    seed: u64,
    order: Order,
    faults: Faults,
    builder: Builder,
    step_limit: u64,
    time_limit: Duration,
    poll_time: Duration,
    trace_lines: usize,
    whole_polls: bool,
    twice: bool,
}

impl Simulation {
    /// A simulation by this seed, without faults.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            order: Order::default(),
            faults: Faults::new(),
            builder: Builder::default(),
            step_limit: crate::limits::SIMULATED_STEPS,
            time_limit: crate::limits::SIMULATED_TIME,
            poll_time: crate::limits::SIMULATED_POLL,
            trace_lines: crate::limits::TRACE_LINES,
            whole_polls: false,
            twice: true,
        }
    }

    /// Another seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How to choose who runs next.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// What is to go wrong.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The settings of the runtime; its number of workers does not matter.
    pub fn runtime(mut self, settings: Builder) -> Self {
        self.builder = settings;
        self
    }

    /// The most steps; five million unless given. Beyond, the simulation fails.
    pub fn step_limit(mut self, steps: u64) -> Self {
        self.step_limit = steps;
        self
    }

    /// The most virtual time; a day unless given. Beyond, the simulation fails.
    pub fn time_limit(mut self, time: Duration) -> Self {
        self.time_limit = time;
        self
    }

    /// The most virtual time that a poll takes: each takes a random time up to that; two microseconds unless given. With
    /// zero, time passes only when nothing can run.
    pub fn poll_time(mut self, at_most: Duration) -> Self {
        self.poll_time = at_most;
        self
    }

    /// Gives each poll the whole budget that it has on threads. Otherwise many get less, so that their processes yield at
    /// awaits at which they seldom do elsewhere. For programs that poll futures by hand and expect them to be ready.
    pub fn whole_polls(mut self) -> Self {
        self.whole_polls = true;
        self
    }

    /// How many of the last lines of the trace are kept; 2 000 unless given.
    pub fn trace_lines(mut self, lines: usize) -> Self {
        self.trace_lines = lines;
        self
    }

    /// Runs once only, without the comparison that finds what is not determined by the seed. For long runs.
    pub fn once(mut self) -> Self {
        self.twice = false;
        self
    }

    /// Runs `body` to its end, then shuts its runtime down, as its last handle's drop does, and waits for that.
    ///
    /// The body is no process; it is polled as one whenever its turn comes. It is called twice, unless
    /// [`Simulation::once`] says otherwise, and so must find the same both times.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the body panicked, waits for what never comes, went beyond a limit, or the second run differed.
    ///
    /// # Panics
    ///
    /// Within another simulation, within a process, and if the settings of the runtime are out of their range.
    pub fn run<T>(&self, body: impl AsyncFn(Runtime) -> T) -> Result<Outcome<T>, Failure> {
        let mut first = self.run_once(&body, None);
        if !self.twice {
            return first.into_result(self.seed);
        }
        let second = self.run_once(&body, Some(std::mem::take(&mut first.record)));
        if second.hash == first.hash {
            return first.into_result(self.seed);
        }
        let (event, line) = second.difference.clone().unzip();
        // Without a difference the second run is the shorter one, or they parted where nothing was recorded any more.
        let event = event.or_else(|| (second.trace.events() < first.trace.events()).then(|| second.trace.events()));
        let before = event.and_then(|event| first.trace.line(event));
        let kind = FailureKind::Diverged { event, first: before, second: line };
        Err(Failure::new(self.seed, second.steps, second.time, second.hash, kind, second.trace))
    }

    fn run_once<T>(&self, body: &impl AsyncFn(Runtime) -> T, expected: Option<Vec<u32>>) -> Once<T> {
        assert!(entered().is_none(), "a simulation within a simulation: spawn processes in its runtime instead");
        assert!(Local::with(|local| local.is_none()), "a simulation within a process: run it on a thread of its own");
        let simulator = Arc::new(Simulator::new(self, expected));
        let home = self.builder.clone().build_simulated(self.seed, &simulator);
        let home = home.unwrap_or_else(|error| panic!("the settings of the simulated runtime: {error}"));
        let inside = simulator.enter(&home);
        let result = drive::run(&home, &simulator, |runtime| body(runtime));
        let once = Once {
            result,
            hash: simulator.hash(),
            steps: simulator.steps(),
            time: simulator.time(),
            marks: simulator.marks(),
            trace: simulator.lines(),
            difference: simulator.with_trace(|trace| trace.difference()),
            record: simulator.with_trace(Trace::take_record),
        };
        drive::abandon(&home);
        drop(home);
        drop(inside);
        once
    }
}

/// One run of a seed.
struct Once<T> {
    result: Result<T, FailureKind>,
    hash: u64,
    steps: u64,
    time: Duration,
    marks: BTreeMap<Arc<str>, bool>,
    trace: Lines,
    difference: Option<(u64, String)>,
    record: Vec<u32>,
}

impl<T> Once<T> {
    fn into_result(self, seed: u64) -> Result<Outcome<T>, Failure> {
        let Self { result, hash, steps, time, marks, trace, .. } = self;
        match result {
            Ok(value) => Ok(Outcome { value, seed, hash, steps, time, marks, trace }),
            Err(kind) => Err(Failure::new(seed, steps, time, hash, kind, trace)),
        }
    }
}

/// Takes steps of the simulation that this thread runs until there is something, for a body that cannot await; `None` if this
/// thread runs none.
pub(crate) fn wait_until<T>(look: &mut impl FnMut() -> Option<T>) -> Option<T> {
    let home = entered()?;
    let simulator = home.shared.scheduler.simulator.as_ref()?;
    Some(drive::until(&home, simulator, look))
}

/// Notes something in the trace of the simulation that this thread runs: a line for people, which also counts in the hash. It
/// does nothing outside simulations.
///
/// What the simulation cannot see by itself (the contents of messages, say) is compared between the two runs of a seed if it is
/// noted.
///
/// # Examples
///
/// ```
/// # use colloquium_runtime::{Simulation, simulation};
/// let run = |balance: u64| {
///     let outcome = Simulation::new(1).run(async |_| simulation::note(format!("balance {balance}")));
///     outcome.expect("it ends").hash
/// };
/// assert_ne!(run(1), run(2));
/// ```
pub fn note(text: impl Into<Arc<str>>) {
    simulator::with_entered(|simulator| simulator.note(Event::Noted(text.into())));
}

#[doc(hidden)]
pub fn mark(name: &'static str, reached: bool) {
    simulator::with_entered(|simulator| simulator.mark(name, reached));
}

/// Marks a place that simulations ought to reach: `sometimes!("the queue was full", queue.is_full())` notes whether its condition
/// held at least once. With no condition, whether it was met.
///
/// [`testing::Check`](crate::testing::Check) fails when a condition that was asked never held for any of its seeds: then the
/// test explores less than it seems to. Outside of a simulation it does nothing; the condition is not evaluated.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Simulation, sometimes};
///
/// let outcome = Simulation::new(1).run(async |runtime| {
///     let lucky = runtime.rng().chance(1, 1_000);
///     sometimes!("lucky", lucky);
///     sometimes!("alive");
/// });
/// let marks = outcome?.marks;
/// assert_eq!((marks["lucky"], marks["alive"]), (false, true));
/// # Ok::<(), colloquium_runtime::simulation::Failure>(())
/// ```
#[macro_export]
macro_rules! sometimes {
    ($name:expr) => {
        $crate::sometimes!($name, true)
    };
    ($name:expr, $condition:expr) => {
        if $crate::simulation::is_simulated() {
            $crate::simulation::mark($name, $condition);
        }
    };
}

/// The runtime of the simulation that this thread runs, for code that is given none.
#[must_use]
pub fn handle() -> Option<Handle> {
    entered().map(Handle::new)
}

/// Whether this thread runs a simulation.
#[must_use]
pub fn is_simulated() -> bool {
    simulator::is_entered()
}
