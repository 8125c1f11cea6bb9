//! Driver: makes a runtime and starts its workers.
use crate::error::BuildError;
use crate::info::ShutdownReport;
use crate::limits;
use crate::runtime::Runtime;
use crate::scheduler::overseer::oversee;
use crate::scheduler::spare::Spares;
use crate::scheduler::worker::{Queues, work};
use crate::scheduler::{Home, Remote};
use crate::shared::{Limits, Shared};
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
}

impl Default for Builder {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limits = Limits { processes: limits::PROCESSES, names: limits::NAMES, stall: limits::STALL };
        Self { name: "colloquium".into(), workers, spares: limits::SPARES, limits, panic_hook: true }
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

    /// How long a process may run without awaiting before that is a stall: 1 ms to an hour; 10 ms unless given.
    ///
    /// A stall is reported ([`Handle::stalls`](crate::Handle::stalls) says what of it), and a spare thread takes over what
    /// the worker was about to run; at this time at the latest, and not before half of it. While any process runs, a
    /// thread of the runtime's own looks at the workers twice in this time.
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

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; nothing is left running.
    pub fn build(self) -> Result<Runtime, BuildError> {
        const MOST_WORKERS: usize = 1024;
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
        ];
        if let Some((setting, _, most)) = ranges.into_iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            return Err(BuildError::OutOfRange { setting, most });
        }
        if self.panic_hook {
            crate::hook::install();
        }
        self.start()
    }

    fn start(self) -> Result<Runtime, BuildError> {
        let mut queues: Vec<Queues> = (0..self.workers + self.spares).map(|_| Queues::new()).collect();
        let remotes: Box<[Arc<Remote>]> = queues.iter().map(|queues| Arc::new(Remote::new(queues))).collect();
        let spares = Spares::new(self.workers, queues.split_off(self.workers));
        let shared = Arc::new(Shared::new(self.name, remotes, spares, self.limits));
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
/// Starts a thread that is named after its runtime and its role.
pub(crate) fn spawn_thread(shared: &Shared, role: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(format!("{}-{role}", shared.name)).spawn(body).map(drop)
}
