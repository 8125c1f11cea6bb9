//! Driver: a kit for testing programs made of processes: one body on threads and on many seeds, probes, and a look at what is
//! left over.
//!
//! [`check`] runs a test on threads and, simulated, on a hundred seeds. A seed that fails is printed, and
//! `COLLOQUIUM_SEED=17 cargo test name_of_the_test` repeats it. `docs/simulation.md` tells more.
mod check;
mod probe;

pub use check::{Check, check};
pub use probe::{Probe, assert_quiet, wait_for};
