//! Driver: supervision trees over `colloquium-runtime`: OTP's supervisors, and what OTP's users ask for beyond.
//!
//! A [`Supervisor`] starts its children, left to right, and starts them again by the rules that each was given
//! ([`ChildSpec`]). Whoever has a [`ChildRef`] reaches a child across its restarts; whoever has a [`SupervisorRef`] adds,
//! stops and restarts children; an [`Observer`] sees all of it without asking anybody.
//!
//! The policy is in one machine of events and actions (`state.rs`), which has no clock and no effects; `drive.rs` is the
//! process that carries out what it decides.
#![forbid(unsafe_code)]

mod backoff;
mod board;
mod child;
mod children;
mod children_set;
mod drive;
mod dynamic;
mod event;
mod gen_server;
mod handle;
mod intensity;
mod limits;
mod message;
mod operation;
mod place;
mod ready;
mod reference;
mod report;
mod request;
mod restart;
mod roster;
mod rows;
mod server_ref;
mod shards;
mod snapshot;
mod spec;
mod state;
mod step;
mod strategy;
mod supervisor;
mod system;
pub mod tree;

pub use backoff::Backoff;
pub use child::{ChildBuilder, ChildSpec, IntoChild};
pub use children_set::{ChildrenSet, ChildrenSetBuilder, DormantSeat, JoinError, Membership, SetMessage, SetTotals};
pub use dynamic::{DynamicRef, DynamicSupervisor};
pub use event::{FailedToStart, StartFailure};
pub use gen_server::{GenServer, Init, Next, Server, ServerResult, StartServerError};
pub use handle::{
    DeleteChildError, RestartChildError, StartChildError, SupervisorRef, TerminateChildError, Unreachable,
};
pub use message::SupervisorMessage;
pub use place::Unavailable;
pub use ready::Ready;
pub use reference::{ChildCall, ChildCallError, ChildRef, ChildSendError, ChildSendErrorKind};
pub use roster::Roster;
pub use server_ref::{LastWord, ServerContext, ServerMessage, ServerRef, StopServerError};
pub use snapshot::{
    ChildCounts, ChildExit, ChildSnapshot, ChildSnapshots, ChildState, ChildSummary, NextAction, Observer, StopReport,
    SupervisorSnapshot, SupervisorState, WedgedProcess,
};
pub use spec::{AutoShutdown, ChildKind, Restart, Shutdown, SpecError, Strategy};
pub use supervisor::{StartError, Supervisor};
pub use system::{TraceEvent, Traced};
pub use tree::{Root, RootSupervisor, Rooted, SupervisionTree};
