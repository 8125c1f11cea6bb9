//! Driver: makes a runtime and starts its workers.
use crate::error::BuildError;
use crate::info::ShutdownReport;
use crate::limits;
use crate::runtime::Runtime;
use crate::scheduler::worker::{Queues, work};
use crate::scheduler::{Home, Remote};
use crate::shared::{Limits, Shared};
use crate::simulation::simulator::Simulator;
use std::sync::Arc;

/// How a runtime is to be made.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until the runtime is built"]
pub struct Builder {
    name: Arc<str>,
    workers: usize,
    limits: Limits,
    panic_hook: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limits = Limits { processes: limits::PROCESSES, names: limits::NAMES };
        Self { name: "colloquium".into(), workers, limits, panic_hook: true }
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
        if crate::simulation::simulator::entered().is_some() {
            return Err(BuildError::InSimulation);
        }
        self.check()?;
        self.start()
    }

    /// The parts of a runtime in which a simulation takes the workers' place.
    pub(crate) fn build_simulated(self, seed: u64, simulator: &Arc<Simulator>) -> Result<Arc<Home>, BuildError> {
        self.check()?;
        let shared = Arc::new(Shared::simulated(self.name, self.limits, seed, simulator));
        Ok(Arc::new(Home { shared, index: 0 }))
    }

    fn check(&self) -> Result<(), BuildError> {
        const MOST_WORKERS: usize = 1024;
        const MOST: usize = 1 << 31;
        if cfg!(panic = "abort") {
            return Err(BuildError::PanicAborts);
        }
        let ranges = [
            ("workers", self.workers, MOST_WORKERS),
            ("max_processes", self.limits.processes, MOST),
            ("max_names", self.limits.names, MOST),
        ];
        if let Some((setting, _, most)) = ranges.into_iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            return Err(BuildError::OutOfRange { setting, most });
        }
        if self.panic_hook {
            crate::hook::install();
        }
        Ok(())
    }

    fn start(self) -> Result<Runtime, BuildError> {
        let queues: Vec<Queues> = (0..self.workers).map(|_| Queues::new()).collect();
        let remotes: Box<[Arc<Remote>]> = queues.iter().map(|queues| Arc::new(Remote::new(queues))).collect();
        let shared = Arc::new(Shared::new(self.name, remotes, self.limits));
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
        Ok(Runtime::of(Arc::new(Home { shared, index: self.workers })))
    }
}

#[expect(clippy::disallowed_methods, reason = "the scheduler's own threads")]
/// Starts a thread that is named after its runtime and its role.
pub(crate) fn spawn_thread(shared: &Shared, role: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(format!("{}-{role}", shared.name)).spawn(body).map(drop)
}
