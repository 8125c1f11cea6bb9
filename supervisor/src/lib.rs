//! Driver: supervision trees over `colloquium-runtime`: OTP's supervisors, and what OTP's users ask for beyond.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the process that drives the machine comes with the next change")]

mod backoff;
mod children;
mod event;
mod intensity;
mod limits;
mod operation;
mod request;
mod restart;
mod spec;
mod state;
mod step;
mod strategy;

pub use backoff::Backoff;
pub use event::{FailedToStart, StartFailure};
pub use spec::{AutoShutdown, Kind, Restart, Shutdown, SpecError, Strategy};
