//! Shared: where random numbers begin: the seed in a simulation, elsewhere the system's source, by way of a generator that
//! each thread has for itself.
use crate::chance::Rng;
use crate::shared::Shared;
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    static SEEDS: RefCell<Rng> = RefCell::new(Rng::from_seed(RandomState::new().hash_one(0)));
}

/// A seed for random numbers of a program's.
pub(crate) fn draw(shared: &Shared) -> u64 {
    match &shared.scheduler.simulator {
        Some(simulator) => simulator.draw(),
        // The cell is gone only while the thread ends.
        None => SEEDS.try_with(|seeds| seeds.borrow_mut().number()).unwrap_or_else(|_| RandomState::new().hash_one(0)),
    }
}
