//! Driver: supervised dispatch over `colloquium-runtime`: groups of consumers, and one supervised conversation per message.
//!
//! ```
//! use colloquium_dispatch::{Consumer, ConsumerGroup, Delivery, Failure, Rooted};
//! use colloquium_runtime::Runtime;
//!
//! struct Doubler;
//!
//! impl Consumer for Doubler {
//!     type Message = u64;
//!     type Output = u64;
//!     async fn handle(&mut self, number: Delivery<u64>) -> Result<u64, Failure> {
//!         Ok(2 * *number)
//!     }
//! }
//!
//! async fn double(runtime: &Runtime) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let doublers = ConsumerGroup::of("doublers", 4, async || Ok::<_, std::io::Error>(Doubler)).start(&runtime.root()).await?;
//!     let outcome = doublers.dispatch(21).await?;
//!     assert_eq!((*outcome.output(), outcome.delivered_first_try()), (42, true));
//!     Ok(())
//! }
//! let runtime = Runtime::new()?;
//! runtime.block_on(double(&runtime))?;
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! What is promised, and what is not, is in `docs/guarantees.md`.
#![forbid(unsafe_code)]

mod act;
mod all;
mod blame;
mod breaker;
mod builder;
mod consumer;
mod conversation;
mod converse;
mod crew;
mod dead_letters;
mod dispatcher;
#[cfg(feature = "metrics")]
mod export;
mod failure;
pub mod fields;
#[cfg(doctest)]
mod forbidden;
mod group;
mod hand;
mod handle;
mod harbor;
mod history;
mod inbox;
mod keeper;
mod lanes;
mod limits;
#[cfg(all(test, loom))]
mod loom_models;
mod metrics;
mod outcome;
mod picture;
mod process;
mod record;
mod registration;
mod replay;
mod retry;
mod revival;
mod root;
mod routing;
mod seats;
mod section;
mod shared_consumer;
mod slot;
mod slots;
pub mod testing;
mod view;
mod waiting_room;
mod yard;

pub use all::DispatchAll;
pub use builder::{GroupBuilder, StartGroupError};
pub use colloquium_supervisor::{RootSupervisor, Rooted};
pub use consumer::{Consumer, Delivery, Work};
pub use dead_letters::DeadLetter;
pub use dispatcher::{
    Accept, Conversation, ConversationSupervisor, Dispatch, DispatchConversation, Dispatching, SupervisedExecutor,
};
pub use failure::{Failure, OrFailure};
pub use group::{Gap, OnCancel};
pub use handle::{ChangeGroupError, ConsumerGroup, DrainReport, GroupSnapshot, Leave};
pub use inbox::Deliveries;
pub use keeper::KeeperMessage;
pub use metrics::{ConsumerMetrics, GroupMetrics, LatencyHistogram, Rates};
pub use outcome::{Attempt, DispatchError, DispatchErrorKind, DispatchOutcome, Reached};
pub use process::ConsumerMessage;
pub use registration::ConsumerRegistration;
pub use replay::Replayed;
pub use root::Parent;
pub use routing::{RoutingDecision, RoutingFunction, RoutingSlot};
pub use section::GroupSection;
pub use shared_consumer::SharedConsumer;
pub use slot::{ReserveError, Slot};
pub use view::{ConsumerId, ConsumerStateView, GroupTotals};

/// One second; durations read well as `10 * SECOND`.
pub const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// One millisecond: `50 * MILLISECOND`.
pub const MILLISECOND: std::time::Duration = std::time::Duration::from_millis(1);
