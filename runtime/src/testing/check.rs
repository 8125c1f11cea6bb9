//! Driver: runs one test on threads and on many seeds.
use crate::info::ProcessInfo;
use crate::process::ending::caught;
use crate::runtime::{Handle, Runtime};
use crate::simulation::{Choices, Failure, Faults, Order, Simulation};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The seeds of a test, unless told otherwise.
const SEEDS: u64 = 100;
/// More than that nobody reads, and no shell likes.
const CHOICES_SHOWN: usize = 1000;
/// What has not ended on threads by then, hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on runtimes of one and two workers, and simulated on a hundred seeds. [`Check`] has options.
///
/// # Panics
///
/// If the test fails, after printing on what.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Context, ReplyTo, testing};
///
/// testing::check(async |runtime| {
///     let doubler = runtime.spawn(async |mut ctx: Context<(u64, ReplyTo<u64>)>| loop {
///         let (number, reply_to) = ctx.recv().await;
///         let _ = reply_to.send(2 * number);
///     });
///     let doubler = doubler.expect("room for a process");
///     assert_eq!(doubler.call(|reply_to| (21, reply_to)).await.expect("an answer"), 42);
/// });
/// ```
pub fn check(body: impl AsyncFn(Runtime) + Send + Sync + 'static) {
    Check::new().run(body);
}

/// How a test is run: on how many threads and seeds.
///
/// The environment has the last word: `COLLOQUIUM_SEED=17` runs that seed and nothing else, `COLLOQUIUM_SEEDS=10000` so many
/// seeds, and `COLLOQUIUM_TRACE=500` prints so many of the last lines of a failure's trace. `COLLOQUIUM_CHOICES` runs the seed with
/// these choices ([`Simulation::choices`]): a seed that fails is shrunk to few of them, and the failure says which.
///
/// # Examples
///
/// A service that restarts its worker has to answer in the end, whenever the worker is killed.
///
/// ```
/// use colloquium_runtime::{simulation::Faults, sometimes, testing::Check, Context, ReplyTo};
/// use std::time::Duration;
///
/// Check::new().seeds(50).faults(Faults::new().kills(5)).run(async |runtime| {
///     for attempt in 0.. {
///         let worker = runtime.spawn(async |mut ctx: Context<ReplyTo<u32>>| {
///             let _ = ctx.recv().await.send(7);
///         });
///         let answer = worker.expect("room for a process").call(|reply_to| reply_to).await;
///         sometimes!("a worker was killed in time", attempt > 0);
///         if answer.is_ok() {
///             break;
///         }
///     }
/// });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is run"]
pub struct Check {
    seeds: u64,
    workers: Vec<usize>,
    simulation: Simulation,
    patience: Duration,
    shrinks: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self { seeds: SEEDS, workers: vec![1, 2], simulation: Simulation::new(0), patience: PATIENCE, shrinks: true }
    }
}

impl Check {
    /// One and two workers, a hundred seeds, no faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many seeds, from 0 on; with 0, threads only.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// On runtimes of so many workers each; with none, simulated only.
    pub fn workers(mut self, workers: &[usize]) -> Self {
        self.workers = workers.to_vec();
        self
    }

    /// The settings of the simulations; their seed does not matter.
    pub fn simulation(mut self, simulation: Simulation) -> Self {
        self.simulation = simulation;
        self
    }

    /// What goes wrong in the simulations. On threads nothing does.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.simulation = self.simulation.faults(faults);
        self
    }

    /// How the simulations choose who runs next.
    pub fn order(mut self, order: Order) -> Self {
        self.simulation = self.simulation.order(order);
        self
    }

    /// What has not ended on threads by then, hangs; a minute unless given.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Does not look for a shorter way to a failure ([`Simulation::shrink`]), which runs the body up to a thousand times more.
    pub fn without_shrinking(mut self) -> Self {
        self.shrinks = false;
        self
    }

    /// Runs the test. It has to hold on each; when its body has returned, the runtime is told to shut down, and every process
    /// has to end by that.
    ///
    /// # Panics
    ///
    /// If it fails, after printing on what: the seed, how to repeat it, and the end of its trace. Also if a condition of
    /// [`sometimes!`](crate::sometimes) was asked and held for none of the seeds.
    pub fn run(&self, body: impl AsyncFn(Runtime) + Send + Sync + 'static) {
        if let Some(seed) = self.only_seed() {
            return drop(self.run_seed(seed, &body));
        }
        let body = Arc::new(body);
        self.run_seeds(&*body);
        self.run_workers(&body);
    }

    /// Runs the test on its seeds only. Its body may borrow, and stays on this thread.
    ///
    /// # Panics
    ///
    /// As [`Check::run`].
    pub fn run_seeds(&self, body: &impl AsyncFn(Runtime)) {
        if let Some(seed) = self.only_seed() {
            return drop(self.run_seed(seed, body));
        }
        let seeds = number("COLLOQUIUM_SEEDS").filter(|_| self.seeds > 0).unwrap_or(self.seeds);
        let mut marks = BTreeMap::new();
        for seed in 0..seeds {
            for (mark, reached) in self.run_seed(seed, body) {
                *marks.entry(mark).or_insert(false) |= reached;
            }
        }
        let missed: Vec<_> = marks.iter().filter(|(_, reached)| !**reached).map(|(mark, _)| mark).collect();
        // Fewer seeds than the test asks for need not reach what it asks for.
        assert!(missed.is_empty() || seeds < self.seeds, "in none of {seeds} seeds: {missed:?}");
    }

    fn run_seed(&self, seed: u64, body: &impl AsyncFn(Runtime)) -> BTreeMap<Arc<str>, bool> {
        let mut simulation = self.simulation.clone().seed(seed);
        let given = choices();
        if let Some(choices) = &given {
            simulation = simulation.choices(choices.clone());
        }
        let failure = match simulation.run(body) {
            Ok(outcome) => return outcome.marks,
            Err(failure) => failure,
        };
        let mut text = told(&failure);
        if self.shrinks && given.is_none() {
            // Should it hang in one of the orders that are tried, this is what is known.
            eprintln!("seed {seed} failed: {}\nlooking for a shorter way to it …", failure.kind());
            if let Some(shorter) = simulation.shrink(&failure, body) {
                text = format!("{text}\n\n{}", told(&shorter));
            }
        }
        panic!("{text}")
    }

    /// The one that the environment wants, if this test has seeds.
    fn only_seed(&self) -> Option<u64> {
        let seed = number("COLLOQUIUM_SEED").or_else(|| choices().map(|_| 0));
        seed.filter(|_| self.seeds > 0)
    }

    fn run_workers<B: AsyncFn(Runtime) + Send + Sync + 'static>(&self, body: &Arc<B>) {
        for workers in self.workers.iter().copied() {
            let (body, (show, shown), (passed, pass)) = (Arc::clone(body), channel(), channel());
            let thread = spawn(move || {
                let runtime = Runtime::builder().workers(workers).build().expect("threads for the workers");
                drop(show.send(runtime.handle()));
                runtime.block_on(body(runtime.clone()));
                let report = runtime.block_on(runtime.shutdown(crate::limits::DROP_GRACE));
                assert!(report.wedged.is_empty(), "still there after the shutdown: {:#?}", report.wedged);
                let _ = passed.send(());
            });
            match pass.recv_timeout(self.patience) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let found = shown.try_recv().map(|handle| describe(&handle)).unwrap_or_default();
                    panic!("hangs with {workers} workers: {found:#?}");
                }
                Err(RecvTimeoutError::Disconnected) => {
                    eprintln!("failed with {workers} workers");
                    if let Err(panic) = thread.join() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    }
}

/// What is to be seen of a runtime that hangs.
fn describe(handle: &Handle) -> Vec<ProcessInfo> {
    let mut all = Vec::new();
    caught(|| all.extend(handle.processes().into_iter().take(20).filter_map(|pid| handle.info(pid))));
    all
}

#[expect(clippy::disallowed_methods, reason = "a test hangs on a thread of its own")]
fn spawn(body: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(body)
}

/// A number that the environment gives.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
}

/// Choices that the environment gives.
fn choices() -> Option<Choices> {
    let text = std::env::var("COLLOQUIUM_CHOICES").ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("COLLOQUIUM_CHOICES: {error}")))
}

/// The failure, and how to repeat it.
fn told(failure: &Failure) -> String {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let mut text = failure.to_string();
    if let Some(lines) = number("COLLOQUIUM_TRACE") {
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        text = format!("{}\n{}", failure.kind(), failure.trace().clone().last(lines));
    }
    let seed = failure.seed();
    match failure.choices() {
        None => format!("{text}\nrepeat it: COLLOQUIUM_SEED={seed} cargo test {test}"),
        Some(choices) if choices.len() > CHOICES_SHOWN => {
            format!("{text}\n(with {} choices in place of those of its seed: too many to be told)", choices.len())
        }
        Some(choices) => format!(
            "the same by {} choices in place of those of its seed:\n{text}\nrepeat it so: COLLOQUIUM_SEED={seed} \
             COLLOQUIUM_CHOICES={choices} cargo test {test}",
            choices.len()
        ),
    }
}
