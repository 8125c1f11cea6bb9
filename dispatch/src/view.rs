//! Pure: consumers as routing functions and operators see them.
use colloquium_runtime::Pid;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A consumer of a group, across its restarts. Never given twice in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(u64);

impl ConsumerId {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number by which it is known in its group, counted from 0 in the order of joining.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a consumer stands at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerStateView {
    /// Who.
    pub id: ConsumerId,
    /// Its process, while it is up: `None` from the moment it is known to be on its way out, which may be before the process is
    /// gone, until its successor is up.
    pub pid: Option<Pid>,
    /// What it was registered with, for routing by affinity.
    pub tags: Arc<[Arc<str>]>,
    /// Deliveries that it may hold.
    pub room: u32,
    /// Deliveries that it holds and has not started.
    pub queued: u32,
    /// Deliveries that it works on.
    pub started: u32,
    /// Deliveries that failed, in a row.
    pub failures: u32,
    /// It was restarted, and gets one delivery at a time until it has completed one.
    pub half_open: bool,
    /// It failed too often and gets nothing for a while.
    pub ejected: bool,
    /// It failed to start too often and was given up.
    pub failed: bool,
    /// A delivery of it is overdue: it gets nothing more.
    pub stuck: bool,
    /// It was told to leave, and only finishes what it has.
    pub leaving: bool,
    /// Processes that it has had.
    pub starts: u64,
    /// Deliveries that it has completed.
    pub completed: u64,
    /// When its process came up, in the runtime's time.
    pub since: Duration,
}

impl ConsumerStateView {
    /// Whether it could be given a delivery: it is up and nothing is held against it. It may be full.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.pid.is_some() && !(self.ejected || self.failed || self.stuck || self.leaving)
    }

    /// Deliveries that it could take now.
    #[must_use]
    pub fn free(&self) -> u32 {
        if !self.is_eligible() {
            return 0;
        }
        let room = if self.half_open { 1 } else { self.room };
        room.saturating_sub(self.queued + self.started)
    }
}

/// What the group has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupTotals {
    /// Messages that were let in.
    pub dispatched: u64,
    /// Deliveries that were sent to consumers.
    pub delivered: u64,
    /// Messages that went back after a delivery, to be tried again.
    pub rerouted: u64,
    /// Deliveries completed.
    pub completed: u64,
    /// Deliveries that failed by an error.
    pub failed: u64,
    /// Deliveries that crashed their consumer.
    pub crashed: u64,
    /// Deliveries that were lost through no fault of theirs.
    pub lost: u64,
    /// Messages that were turned away, and slots that were not to be had.
    pub refused: u64,
    /// Processes of consumers that ended without having been asked to.
    pub restarts: u64,
    /// Ejections of consumers.
    pub ejections: u64,
}

/// Tags as the seats keep them.
pub(crate) fn tags<'a>(tags: impl IntoIterator<Item = &'a str>) -> Arc<[Arc<str>]> {
    tags.into_iter().map(Arc::from).collect()
}
