//! Driver: BEAM-style processes for Rust: a work-stealing scheduler, typed mailboxes, links, monitors, exit signals, calls,
//! names, groups and timers.
//!
//! A *process* is a future with a mailbox. It is spawned from a function that takes its [`Context`], and everyone else holds
//! its [`Address`]. It ends when that future returns, panics, or is told to end by an exit signal; whoever is linked to it
//! or monitors it learns of that exactly once, with the [`ExitReason`].
//!
//! ```
//! use colloquium_runtime::{Context, Down, ReplyTo, Runtime};
//! use std::time::Duration;
//!
//! enum Msg {
//!     Add(u64),
//!     Get(ReplyTo<u64>),
//!     Gone(Down),
//! }
//!
//! async fn counter(mut ctx: Context<Msg>, step: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let mut total = 0;
//!     loop {
//!         match ctx.recv().await {
//!             Msg::Add(n) => total += n * step,
//!             Msg::Get(reply_to) => drop(reply_to.send(total)),
//!             Msg::Gone(down) => return Err(down.reason.into()),
//!         }
//!     }
//! }
//!
//! let runtime = Runtime::new()?;
//! let counter = runtime.spawn(|ctx| counter(ctx, 2))?;
//! counter.send(Msg::Add(2))?;
//! let total = runtime.block_on(counter.call(Msg::Get).timeout(Duration::from_secs(1)))?;
//! assert_eq!(total, 4);
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! With the feature `tokio`, off by default, libraries made for tokio work within processes: `Builder::tokio`.
//!
//! The semantics are Erlang/OTP's where OTP has them. What is promised, and what is not, is in `docs/guarantees.md`.
#![forbid(unsafe_code)]

mod block_on;
mod blocking;
mod budget;
mod builder;
mod chance;
mod charged;
mod clock;
mod entropy;
mod error;
mod exit;
mod guest;
mod hook;
mod info;
mod inherit;
mod inspect;
mod io;
mod lifecycle;
mod limits;
mod link;
#[cfg(all(test, loom))]
mod loom_models;
mod mailbox;
mod monitor;
mod near;
pub mod net;
mod pg;
mod pid;
mod process;
mod reckoning;
mod registry;
mod report;
mod runtime;
mod scheduler;
mod sealed;
mod shared;
mod shutdown;
mod signal;
pub mod simulation;
mod site;
mod stalls;
mod sync;
mod target;
pub mod testing;
mod timer;

pub use blocking::RunBlocking;
pub use blocking::job::CancelFlag;
pub use builder::Builder;
pub use chance::Rng;
pub use charged::{Charged, charged, poll_charged};
pub use error::{
    BlockingError, BlockingErrorKind, BuildError, CallError, CallErrorKind, LookupError, NotJoined, ProcessEnded,
    RegisterError, SendError, SendErrorKind, SpawnError, TimedOut,
};
pub use exit::{Cause, ExitReason, IntoExitReason, Panic};
pub use info::{
    Activity, BlockingInfo, BlockingWork, ProcessInfo, ProcessInside, ProcessSample, RuntimeInfo, ShutdownReport,
    Wedged, Whereabouts, WorkerInfo,
};
pub use inherit::Inherited;
pub use mailbox::Mailbox;
pub use monitor::MonitorRef;
#[doc(hidden)]
pub use near::{NearBuildHasher, NearHasher};
pub use pg::{GroupChange, GroupEvent, GroupView};
pub use pid::Pid;
pub use process::address::{Address, Ended, Recipient, Scoped, SendWait};
pub use process::berth::{Berth, Busy, Harbor};
pub use process::call::{Call, MultiCall};
pub use process::context::Context;
pub use process::dormant::Unwoken;
pub use process::latent::{Dormant, DormantLink, Origin, Peer};
pub use process::receive::{Recv, RecvMatching, RecvMatchingTimeout, RecvTimeout};
pub use process::reply::ReplyTo;
pub use process::spawn::ProcessBuilder;
pub use report::AbnormalExit;
pub use runtime::{Handle, Runtime};
pub use signal::{Down, Exit};
pub use simulation::Simulation;
pub use stalls::Stall;
pub use target::Target;
pub use timer::deliver::TimerRef;
pub use timer::sleep::Sleep;
