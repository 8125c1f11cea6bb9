//! Driver: blocking work in a simulation: a closure runs on the one thread there is, when a virtual time is over.
//!
//! The time is from the seed, up to [`SIMULATED_BLOCKING`]. Until then the job counts as queued: whoever stops waiting has it never begun.
//! The bounds of the pool are not simulated.
use crate::blocking::job::Job;
use crate::blocking::staff::Refusal;
use crate::limits::SIMULATED_BLOCKING;
use crate::scheduler::Home;
use crate::simulation::simulator::Simulator;
use crate::timer::deliver::Deliver;
use crate::timer::{Entry, TimerId};
use std::sync::Arc;

/// Arms the timer at which the job runs.
pub(super) fn hand_over(home: &Home, simulator: &Simulator, job: Arc<dyn Job>) -> TimerId {
    let takes = simulator.draw() % crate::clock::nanos(SIMULATED_BLOCKING).max(1);
    home.arm(home.shared.clock.after(takes), Entry::Deliver(Box::new(Later(job))))
}

struct Later(Arc<dyn Job>);

impl Deliver for Later {
    fn fire(self: Box<Self>, _: &Arc<Home>) {
        Arc::clone(&self.0).run();
    }
}

impl Drop for Later {
    /// The runtime is gone; or it has run, which makes this nothing.
    fn drop(&mut self) {
        self.0.refuse(Refusal::Closed);
    }
}
