//! Driver: runs a program on one thread, with a virtual clock, every choice made by a seed.
//!
//! [`Simulation`] says how; `docs/simulation.md` says what that explores and what not.
pub(crate) mod choices;
mod drive;
mod failure;
mod faults;
mod order;
mod plan;
#[cfg(all(test, not(loom)))]
pub(crate) mod planted;
mod shrink;
pub(crate) mod simulator;
mod trace;

use crate::builder::Builder;
use crate::runtime::{Handle, Runtime};
use crate::scheduler::worker::Local;
use choices::How;
use failure::Took;
use shrink::{Bounds, Tried};
use simulator::{Simulator, entered};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use trace::{Event, Trace};

pub use choices::{Choices, NotChoices};
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
    choices: Option<Choices>,
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
            choices: None,
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

    /// Makes these choices, and the calmest wherever they say nothing: nobody is killed, who has waited longest runs. The seed's
    /// random numbers for the program stay. To repeat what [`Simulation::shrink`] has found, with the same settings.
    pub fn choices(mut self, choices: Choices) -> Self {
        self.choices = Some(choices);
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
        let how = self.choices.clone().map_or(How::Drawn, How::Given);
        let mut first = self.run_once(&body, None, how.clone());
        if !self.twice {
            return first.into_result(self);
        }
        let second = self.run_once(&body, Some(std::mem::take(&mut first.record)), how);
        if second.hash == first.hash {
            return first.into_result(self);
        }
        let (event, line) = second.difference.clone().unzip();
        // Without a difference the second run is the shorter one, or they parted where nothing was recorded any more.
        let event = event.or_else(|| (second.trace.events() < first.trace.events()).then(|| second.trace.events()));
        let before = event.and_then(|event| first.trace.line(event));
        let kind = FailureKind::Diverged { event, first: before, second: line };
        let took = Took { steps: second.steps, time: second.time, hash: second.hash };
        Err(Failure::new(self.seed, self.choices.clone(), took, kind, second.trace))
    }

    /// Looks for a calmer way to the same failure: runs the body again and again with some of the choices left out that its seed has
    /// made, and keeps what still fails likewise, with the same panic or the same processes in a deadlock. What is left says
    /// what the failure needs.
    ///
    /// The failure that comes back has [`Failure::choices`], which repeat it. There is none if it did not come again with the
    /// same events, or if a limit ended it, another thread, or a second run that differed. It takes as long as some hundred runs, or
    /// a million steps, whichever is less. What processes and body print in panicking is not shown meanwhile.
    ///
    /// [`testing::Check`](crate::testing::Check) does this by itself.
    ///
    /// # Panics
    ///
    /// As [`Simulation::run`].
    ///
    /// # Examples
    ///
    /// ```
    /// use colloquium_runtime::{testing::Probe, Context, Runtime, Simulation};
    /// use std::time::Duration;
    ///
    /// let race = async |runtime: Runtime| {
    ///     let judge = Probe::new(&runtime);
    ///     for name in ["hare", "tortoise"] {
    ///         let judge = judge.address();
    ///         runtime.spawn(async move |_: Context<()>| drop(judge.send(name))).expect("room for a process");
    ///     }
    ///     assert_eq!(judge.expect(Duration::from_secs(1)).await, "hare");
    /// };
    /// let failure = (0..100).find_map(|seed| Simulation::new(seed).run(&race).err()).expect("one is found");
    /// let shorter = Simulation::new(0).shrink(&failure, &race).expect("it is determined by its seed");
    /// // Only one choice of all that were made matters: who runs first.
    /// let choices = shorter.choices().expect("they repeat it").clone();
    /// assert_eq!(choices.len(), 1);
    /// let again = Simulation::new(failure.seed()).choices(choices).run(&race).expect_err("it fails");
    /// assert_eq!(again.hash(), shorter.hash());
    /// ```
    pub fn shrink<T>(&self, failure: &Failure, body: impl AsyncFn(Runtime) -> T) -> Option<Failure> {
        let settings = Self { seed: failure.seed(), ..self.clone() };
        let install = settings.builder.hooks_panics();
        crate::hook::quietly(install, || settings.shrink_quietly(failure, &body))
    }

    fn shrink_quietly<T>(self, failure: &Failure, body: &impl AsyncFn(Runtime) -> T) -> Option<Failure> {
        let how = self.choices.clone().map_or(How::Noted, How::Given);
        let Once { way, choices, hash, steps, .. } = self.run_once(body, None, how);
        let way = way.filter(|_| hash == failure.hash())?;
        let step_limit = self.step_limit.min(steps.saturating_mul(4).saturating_add(1000));
        let tries = Self { step_limit, ..self.clone() };
        let attempt = |choices: &Choices| {
            let once = tries.run_once(body, None, How::Given(choices.clone()));
            Tried { same: (once.way.as_ref() == Some(&way)).then_some(once.choices), steps: once.steps }
        };
        let bounds = Bounds { tries: crate::limits::SHRINKING_RUNS, steps: crate::limits::SHRINKING_STEPS };
        let found = shrink::shrink(choices, bounds, attempt);
        // With the comparison of two runs, if that is wanted: a failure that others cannot repeat is none.
        let shorter = self.choices(found).run(body).err()?;
        shorter.kind().way(|_| None).map(|_| shorter)
    }

    fn run_once<T>(&self, body: &impl AsyncFn(Runtime) -> T, expected: Option<Vec<u32>>, how: How) -> Once<T> {
        assert!(entered().is_none(), "a simulation within a simulation: spawn processes in its runtime instead");
        assert!(Local::with(|local| local.is_none()), "a simulation within a process: run it on a thread of its own");
        let simulator = Arc::new(Simulator::new(self, expected, how));
        let home = self.builder.clone().build_simulated(self.seed, &simulator);
        let home = home.unwrap_or_else(|error| panic!("the settings of the simulated runtime: {error}"));
        let inside = simulator.enter(&home);
        let result = drive::run(&home, &simulator, |runtime| body(runtime));
        let way = result.as_ref().err().and_then(|kind| kind.way(crate::hook::location_of));
        let once = Once {
            result,
            way,
            choices: simulator.take_choices(),
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
    /// In which way it failed, if it did and that can be told.
    way: Option<String>,
    /// What it has chosen, if that was noted.
    choices: Choices,
    hash: u64,
    steps: u64,
    time: Duration,
    marks: BTreeMap<Arc<str>, bool>,
    trace: Lines,
    difference: Option<(u64, String)>,
    record: Vec<u32>,
}

impl<T> Once<T> {
    fn into_result(self, settings: &Simulation) -> Result<Outcome<T>, Failure> {
        let seed = settings.seed;
        let Self { result, hash, steps, time, marks, trace, .. } = self;
        match result {
            Ok(value) => Ok(Outcome { value, seed, hash, steps, time, marks, trace }),
            Err(kind) => Err(Failure::new(seed, settings.choices.clone(), Took { steps, time, hash }, kind, trace)),
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
