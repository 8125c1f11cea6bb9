//! Pure: what a supervisor is about: children to stop, right to left, and then children to start, left to right.
//!
//! There is one operation at a time, as in OTP, where each is one step of the supervisor's. What else happens waits for
//! its end; only the order to end the supervisor takes its place at once.
use crate::children::Key;
use crate::event::{StartFailure, Ticket};
use colloquium_runtime::ExitReason;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) purpose: Purpose,
    /// Those still to be stopped; shrinks from the right.
    pub(crate) stop: Range<Key>,
    /// Those still to be started; shrinks from the left.
    pub(crate) start: Range<Key>,
    pub(crate) wait: Wait,
    /// What a child that failed to initialise is stopped for.
    pub(crate) then: Option<Then>,
    pub(crate) limit: Option<Limit>,
}

/// What an operation is for, which says what follows it.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// The first start of all.
    Boot,
    /// Its undoing.
    Rollback {
        id: Arc<str>,
        failure: StartFailure,
    },
    /// A restart of this child and those with it; at that time, if one is given: now they are only stopped.
    Restart {
        child: Key,
        at: Option<Duration>,
        asked: Option<Ticket>,
    },
    /// The start of a new child.
    Add {
        child: Key,
        asked: Ticket,
    },
    /// The start of a stopped child.
    Revive {
        child: Key,
        asked: Ticket,
    },
    Terminate {
        asked: Ticket,
    },
    /// The end of the supervisor.
    End {
        reason: ExitReason,
    },
}

impl Purpose {
    /// Who waits for its outcome.
    pub(crate) fn asked(&self) -> Option<Ticket> {
        match self {
            Self::Add { asked, .. } | Self::Revive { asked, .. } | Self::Terminate { asked } => Some(*asked),
            Self::Restart { asked, .. } => *asked,
            Self::Boot | Self::Rollback { .. } | Self::End { .. } => None,
        }
    }
}

/// What an operation waits for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: the next step can be taken.
    Nothing,
    /// The outcome of a start function, which comes before anything else.
    Spawn(Key),
    /// A child that initialises.
    Init { child: Key, until: Duration },
    /// A child that was told to stop.
    Stop { child: Key, until: Option<Duration>, killed: bool },
    /// All that have a process: they were told together.
    Together { until: Option<Duration>, killed: bool },
}

#[derive(Debug)]
pub(crate) enum Then {
    Failed(StartFailure),
    Ignored,
}

/// By when the end of the supervisor has to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Who is there then is killed.
    pub(crate) kill: Duration,
    pub(crate) over: Duration,
}

impl Limit {
    /// Leaves a tenth of the time, or what a killed process gets if that is less, to be gone in.
    pub(crate) fn new(now: Duration, over: Duration) -> Self {
        let margin = (over.saturating_sub(now) / 10).min(crate::limits::KILL_PATIENCE);
        Self { kill: over.saturating_sub(margin), over }
    }
}

impl Operation {
    pub(crate) fn new(purpose: Purpose, stop: Range<Key>, start: Range<Key>) -> Self {
        Self { purpose, stop, start, wait: Wait::Nothing, then: None, limit: None }
    }

    /// Whether it waits for this child to say that it is ready.
    pub(crate) fn waits_for_init_of(&self, key: Key) -> bool {
        matches!(self.wait, Wait::Init { child, .. } if child == key)
    }

    /// When it has waited long enough.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let (until, killed) = match self.wait {
            Wait::Nothing | Wait::Spawn(_) => return None,
            Wait::Init { until, .. } => (Some(until).filter(|until| *until < Duration::MAX), false),
            Wait::Stop { until, .. } => (until, false),
            Wait::Together { until, killed } => (until, killed),
        };
        let limit = self.limit.map(|limit| if killed { limit.over } else { limit.kill });
        match (until, limit) {
            (Some(until), Some(limit)) => Some(until.min(limit)),
            (until, limit) => until.or(limit),
        }
    }
}

/// The single child, as a range.
pub(crate) fn only(child: Key) -> Range<Key> {
    child..child.next()
}

/// Nobody, as a range.
pub(crate) fn nobody() -> Range<Key> {
    Key::END..Key::END
}
