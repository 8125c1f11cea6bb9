//! Driver: colloquium: a supervised actor runtime in which every message can have its own supervised conversation.
//!
//! This crate only gathers the others: the processes of `colloquium-runtime`, the supervisors of `colloquium-supervisor`, and the
//! groups and conversations of `colloquium-dispatch`; transports as their crate grows.
//!
//! With the feature `tokio`, off by default, libraries made for tokio work within processes: `Builder::tokio`.
#![forbid(unsafe_code)]

pub use colloquium_dispatch::*;
pub use colloquium_runtime::*;
pub use colloquium_supervisor::*;

/// What tests need: one test on threads and on many seeds, probes, and a consumer alone ([`testing::Rig`]).
pub mod testing {
    pub use colloquium_dispatch::testing::*;
    pub use colloquium_runtime::testing::*;
}

/// What most programs need.
pub mod prelude {
    pub use colloquium_dispatch::DispatchErrorKind::*;
    pub use colloquium_dispatch::{
        Consumer, ConsumerGroup, ConsumerRegistration, Deliveries, Delivery, DispatchConversation, DispatchError,
        DispatchErrorKind, DispatchOutcome, Failure, MILLISECOND, OrFailure, Rooted, RoutingFunction, SECOND,
        SharedConsumer,
    };
    pub use colloquium_runtime::{
        Address, Context, Down, Exit, ExitReason, Mailbox, MonitorRef, Pid, ReplyTo, Runtime,
    };
    pub use colloquium_supervisor::{ChildRef, ChildSpec, Restart, Shutdown, Strategy, Supervisor, SupervisorRef};
}
