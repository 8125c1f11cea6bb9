//! Pure: what a supervisor is told of a child and of itself, and what is wrong with a specification.
use crate::backoff::Backoff;
use crate::limits;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// When a child that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only if it ended abnormally: for another reason than normal, shutdown or shutdown with a cause.
    Transient,
    /// Never. Its specification goes with it.
    Temporary,
}

/// How a child is told to stop. Whatever it is, a child that was killed and is not gone a second later is reported as
/// wedged, and the supervisor goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It is killed at once.
    BrutalKill,
    /// It is sent [`ExitReason::Shutdown`](colloquium_runtime::ExitReason::Shutdown), and killed if it is not gone after
    /// that time. A worker gets five seconds unless told otherwise.
    After(Duration),
    /// It is sent the same and waited for as long as it takes, or as a deadline of the whole stop allows. The default of
    /// supervisors, whose own children have bounds.
    Infinity,
}

/// What a child is; supervisors are shown as subtrees and have other defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChildKind {
    /// Any process.
    #[default]
    Worker,
    /// A process with children of its own.
    Supervisor,
}

/// Who is restarted together with a child that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Nobody.
    #[default]
    OneForOne,
    /// All the others: they are stopped, right to left, and then all are started, left to right.
    OneForAll,
    /// Those that were started after it.
    RestForOne,
}

/// Whether a supervisor ends when its significant children have.
///
/// Only a child that ends by itself and is not restarted counts: not one that was stopped by hand or for a sibling's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    /// No. Children cannot be significant then.
    #[default]
    Never,
    /// When the first of them ends.
    AnySignificant,
    /// When the last of them ends.
    AllSignificant,
}

/// What is wrong with a specification; nothing was started or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The child has no name for its supervisor.
    #[error("a child's id cannot be empty")]
    EmptyId,
    /// Another child of the same supervisor has this id.
    #[error("two children are called {0:?}")]
    DuplicateId(Arc<str>),
    /// The time to initialise is zero, so that every start would fail.
    #[error("child {0:?}: the time to initialise cannot be zero")]
    InvalidInit(Arc<str>),
    /// The mailbox has room for nothing.
    #[error("child {0:?}: a mailbox has room for one message at least")]
    EmptyMailbox(Arc<str>),
    /// A significant child that is always restarted could never count.
    #[error("child {0:?}: a permanent child cannot be significant")]
    SignificantPermanent(Arc<str>),
    /// A significant child under a supervisor that does not look at that.
    #[error("child {0:?} is significant, but its supervisor never shuts down by itself")]
    SignificantIgnored(Arc<str>),
    /// A back-off for a child that is never restarted.
    #[error("child {0:?}: a temporary child is not restarted, and so cannot back off")]
    BackoffTemporary(Arc<str>),
    /// A back-off that gives up before the first start.
    #[error("child {0:?}: a back-off gives up after one start at least")]
    GiveUpAfterNone(Arc<str>),
    /// Every start would count as healthy at once, so that the back-off could never give up or even wait.
    #[error("child {0:?}: a child that is healthy after no time never backs off")]
    HealthyAtOnce(Arc<str>),
    /// The longest delay is shorter than the first.
    #[error("child {0:?}: the longest delay of its back-off is shorter than the first")]
    CapBelowFirst(Arc<str>),
    /// A window without length, which could never fill.
    #[error("the period of a restart intensity cannot be zero")]
    InvalidPeriod,
    /// A dynamic supervisor that may have no children.
    #[error("a dynamic supervisor has room for one child at least")]
    NoRoom,
}

/// What a supervisor knows of a child before it starts it; its start function is kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) kind: ChildKind,
    pub(crate) significant: bool,
    /// Instead of the supervisor's intensity. Few children have one.
    pub(crate) backoff: Option<Box<Backoff>>,
    /// The child says when it is ready, and has so long for that; a supervisor as long as it takes, since its children have
    /// bounds.
    pub(crate) init: Option<Duration>,
}

/// Those of a worker, unless it was given others.
static USUAL: Settings = Settings {
    restart: Restart::Permanent,
    shutdown: Shutdown::After(limits::SHUTDOWN),
    kind: ChildKind::Worker,
    significant: false,
    backoff: None,
    init: None,
};

impl Settings {
    pub(crate) fn new(kind: ChildKind) -> Self {
        match kind {
            ChildKind::Worker => USUAL.clone(),
            ChildKind::Supervisor => {
                Self { kind, shutdown: Shutdown::Infinity, init: Some(Duration::MAX), ..USUAL.clone() }
            }
        }
    }

    /// What can be told of the child alone, which is called so.
    pub(crate) fn validate(&self, id: &Arc<str>) -> Result<(), SpecError> {
        let id = || Arc::clone(id);
        if self.init.is_some_and(|init| init.is_zero()) {
            return Err(SpecError::InvalidInit(id()));
        }
        if self.significant && self.restart == Restart::Permanent {
            return Err(SpecError::SignificantPermanent(id()));
        }
        let Some(backoff) = &self.backoff else { return Ok(()) };
        if self.restart == Restart::Temporary {
            return Err(SpecError::BackoffTemporary(id()));
        }
        backoff.validate(&id())
    }
}

/// Settings as they are kept: most children have the usual ones, which take no memory of their own.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Usual,
    Own(Arc<Settings>),
}

impl From<Settings> for Kept {
    fn from(settings: Settings) -> Self {
        if settings == USUAL { Self::Usual } else { Self::Own(Arc::new(settings)) }
    }
}

impl Deref for Kept {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        match self {
            Self::Usual => &USUAL,
            Self::Own(settings) => settings,
        }
    }
}

/// What holds for a supervisor as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
    pub(crate) auto_shutdown: AutoShutdown,
    /// Children are all of one kind, have no ids, and are stopped together; so many at most.
    pub(crate) dynamic: Option<usize>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            intensity: limits::INTENSITY,
            period: limits::PERIOD,
            auto_shutdown: AutoShutdown::default(),
            dynamic: None,
        }
    }
}

impl Flags {
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        if self.period.is_zero() {
            return Err(SpecError::InvalidPeriod);
        }
        if self.dynamic == Some(0) {
            return Err(SpecError::NoRoom);
        }
        Ok(())
    }

    /// Whether a child fits under this supervisor.
    pub(crate) fn admits(&self, id: &Arc<str>, child: &Settings) -> Result<(), SpecError> {
        if child.significant && self.auto_shutdown == AutoShutdown::Never {
            return Err(SpecError::SignificantIgnored(Arc::clone(id)));
        }
        Ok(())
    }
}
