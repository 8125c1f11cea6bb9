//! Driver: makes a runtime and starts its workers.
use crate::error::BuildError;
use crate::guest::{Guest, Wanted};
use crate::info::ShutdownReport;
use crate::limits;
use crate::runtime::Runtime;
use crate::scheduler::overseer::oversee;
use crate::scheduler::spare::Spares;
use crate::scheduler::worker::{Queues, work};
use crate::scheduler::{Home, Remote};
use crate::shared::{Limits, Shared};
use crate::simulation::simulator::Simulator;
use std::sync::Arc;
use std::time::Duration;

/// How a runtime is to be made.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until the runtime is built"]
pub struct Builder {
    name: Arc<str>,
    workers: usize,
    spares: usize,
    limits: Limits,
    panic_hook: bool,
    guest: Wanted,
}

impl Default for Builder {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            name: "colloquium".into(),
            workers,
            spares: limits::SPARES,
            limits: Limits::default(),
            panic_hook: true,
            guest: Wanted::None,
        }
    }
}

impl Builder {
    /// A name, for threads and reports; "colloquium" unless given.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Worker threads, 1 to 1024; one for each core that the program may use, unless given.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The most processes that may live at a time, 1 to 2³¹; a million unless given.
    pub fn max_processes(mut self, processes: usize) -> Self {
        self.limits.processes = processes;
        self
    }

    /// The most names that may be taken at a time, 1 to 2³¹; 65 536 unless given.
    pub fn max_names(mut self, names: usize) -> Self {
        self.limits.names = names;
        self
    }

    /// The most threads for blocking work ([`Context::run_blocking`](crate::Context::run_blocking)), 1 to 4096; 64 unless
    /// given. They are started when they are needed.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.limits.blocking.threads = threads;
        self
    }

    /// The most blocking jobs that wait while all threads for them are busy, 1 to 2³¹; 4096 unless given. More are refused.
    pub fn blocking_queue(mut self, jobs: usize) -> Self {
        self.limits.blocking.queue = jobs;
        self
    }

    /// How long a thread for blocking work stays when it has none; ten seconds unless given.
    pub fn blocking_idle(mut self, idle: Duration) -> Self {
        self.limits.blocking_idle = idle;
        self
    }

    /// How long a process may run without awaiting before that is a stall: 1 ms to an hour; 10 ms unless given.
    ///
    /// A stall is reported ([`Handle::stalls`](crate::Handle::stalls) says what of it), and a spare thread takes over what
    /// the worker was about to run; at this time at the latest, and not before half of it. While any process runs, a
    /// thread of the runtime's own looks at the workers four times in this time.
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.limits.stall = limit;
        self
    }

    /// The most spare threads that stand in for stuck workers at a time, 1 to 1024; 16 unless given. Each is started when
    /// it is first needed, and stays. When more processes run without awaiting than there are workers and spare threads,
    /// the others wait for them.
    pub fn max_spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }

    /// Whether the panic hook of the OS process may be chained, once, to learn where a process panicked and to hold a
    /// storm of messages back; true unless given. It leaves panics outside processes alone.
    pub fn panic_hook(mut self, install: bool) -> Self {
        self.panic_hook = install;
        self
    }

    /// Has the tokio runtime whose context this thread is in when the runtime is built as a guest: everything of a process runs
    /// in that context (each poll, each drop of its state and messages, its timers, its blocking work, wherever that happens), so
    /// that timers, sockets, `tokio::spawn` and the clients that are made of them work within processes. It costs a poll nothing.
    ///
    /// The guest drives its own timers and sockets, on its own threads: one of the current-thread kind does so only while
    /// somebody is inside its `block_on`, and not while that one waits in [`Handle::block_on`](crate::Handle::block_on) of ours.
    /// If it is shut down first, what needs it fails as tokio says: sockets with an error, timers with a panic, which is the exit
    /// reason of the process; all else goes on.
    ///
    /// A process that only awaits tokio's futures and always finds them ready does not yield: they cost no reductions, and tokio's
    /// own budget counts in its tasks only. [`charged`](crate::charged) makes them cost some.
    #[cfg(feature = "tokio")]
    pub fn tokio(mut self) -> Self {
        self.guest = Wanted::Current;
        self
    }

    /// As [`Builder::tokio`], with the tokio runtime of this handle.
    #[cfg(feature = "tokio")]
    pub fn tokio_handle(mut self, handle: tokio::runtime::Handle) -> Self {
        self.guest = Wanted::Given(handle);
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; nothing is left running.
    pub fn build(self) -> Result<Runtime, BuildError> {
        if crate::simulation::simulator::entered().is_some() {
            return Err(BuildError::InSimulation);
        }
        let guest = self.check()?;
        self.start(guest)
    }

    /// The parts of a runtime in which a simulation takes the workers' place.
    /// Whether the panic hook may be installed.
    pub(crate) fn hooks_panics(&self) -> bool {
        self.panic_hook
    }

    pub(crate) fn build_simulated(self, seed: u64, simulator: &Arc<Simulator>) -> Result<Arc<Home>, BuildError> {
        self.check()?;
        let shared = Arc::new(Shared::simulated(self.name, self.limits, seed, simulator));
        Ok(Arc::new(Home { shared, index: 0 }))
    }

    fn check(&self) -> Result<Guest, BuildError> {
        const MOST_WORKERS: usize = 1024;
        const MOST_BLOCKING: usize = 4096;
        const MOST: usize = 1 << 31;
        if cfg!(panic = "abort") {
            return Err(BuildError::PanicAborts);
        }
        let stall_millis = usize::try_from(self.limits.stall.as_millis()).unwrap_or(usize::MAX);
        let ranges = [
            ("workers", self.workers, MOST_WORKERS),
            ("max_spares", self.spares, MOST_WORKERS),
            ("stall_limit (in milliseconds)", stall_millis, limits::STALL_MOST_MILLIS),
            ("max_processes", self.limits.processes, MOST),
            ("max_names", self.limits.names, MOST),
            ("blocking_threads", self.limits.blocking.threads, MOST_BLOCKING),
            ("blocking_queue", self.limits.blocking.queue, MOST),
        ];
        if let Some((setting, _, most)) = ranges.into_iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            return Err(BuildError::OutOfRange { setting, most });
        }
        let guest = self.guest.clone().find()?;
        if self.panic_hook {
            crate::hook::install();
        }
        Ok(guest)
    }

    fn start(self, guest: Guest) -> Result<Runtime, BuildError> {
        let mut queues: Vec<Queues> = (0..self.workers + self.spares).map(|_| Queues::new()).collect();
        let remotes: Box<[Arc<Remote>]> = queues.iter().map(|queues| Arc::new(Remote::new(queues))).collect();
        let spares = Spares::new(self.workers, queues.split_off(self.workers));
        let mut shared = Shared::new(self.name, remotes, spares, self.limits);
        shared.guest = guest;
        let shared = Arc::new(shared);
        for (index, queues) in queues.into_iter().enumerate() {
            let home = Arc::new(Home { shared: Arc::clone(&shared), index });
            let remote = Arc::clone(&shared.scheduler.remotes[index]);
            let thread = spawn_thread(&shared, &format!("worker-{index}"), move || work(home, remote, queues));
            if let Err(error) = thread {
                shared.lifecycle.close(ShutdownReport::default());
                shared.wake_all();
                return Err(error.into());
            }
        }
        let home = Arc::new(Home { shared: Arc::clone(&shared), index: self.workers });
        let watched = Arc::clone(&home);
        if let Err(error) = spawn_thread(&shared, "overseer", move || oversee(&watched)) {
            shared.lifecycle.close(ShutdownReport::default());
            shared.wake_all();
            return Err(error.into());
        }
        Ok(Runtime::of(home))
    }
}

#[expect(clippy::disallowed_methods, reason = "the scheduler's own threads")]
/// Starts a thread that is named after its runtime and its role; all that it does is in the context of the guest.
pub(crate) fn spawn_thread(shared: &Shared, role: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let guest = shared.guest.clone();
    std::thread::Builder::new().name(format!("{}-{role}", shared.name)).spawn(move || guest.with(body)).map(drop)
}
