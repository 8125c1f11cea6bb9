//! Pure: all that can happen to a supervisor, and all that it can want done.
use crate::children::{Child, Key, PastExit, Standing};
use crate::spec::{Kept, SpecError};
use colloquium_runtime::{ExitReason, SpawnError};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// The number of a request that is to be answered.
pub(crate) type Ticket = u64;

/// What happens to a supervisor.
#[derive(Debug)]
pub(crate) enum Event<P> {
    /// The children that were added are to be started.
    Begin,
    /// A start function made this process.
    Started(Key, P),
    /// A start function made none.
    NotStarted(Key, StartFailure),
    /// A process that initialises has something to say.
    Said(P, Word),
    /// A process has ended.
    Ended(P, ExitReason),
    /// The supervisor's own message that a start is to be tried again has come.
    Turn(Key, u64),
    Request(Ticket, Request<P>),
    /// The supervisor is to end with this reason; by that time, if one is given.
    End(ExitReason, Option<Duration>),
    /// Time has passed.
    Tick,
}

/// What a child says at the end of its initialisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Ready,
    /// It is not wanted: no failure, but no process either.
    Ignore,
    /// It has dropped the means to say anything.
    Nothing,
}

/// What is asked of a supervisor.
#[derive(Clone, Debug)]
pub(crate) enum Request<P> {
    /// Without an id under a dynamic supervisor, whose children are known by their pids.
    Add(Option<Arc<str>>, Kept),
    Terminate(Who<P>),
    Restart(Who<P>),
    Delete(Who<P>),
    /// The asker wants to look at the children when all that came before is done.
    Look,
}

/// Which child.
#[derive(Clone, Debug)]
pub(crate) enum Who<P> {
    Id(Arc<str>),
    Process(P),
}

/// What a supervisor wants done, in this order.
#[derive(Debug)]
pub(crate) enum Action<P> {
    /// The start function that came with the request is this child's from now on.
    Adopt(Ticket, Key),
    /// Its start function is to be called; [`Event::Started`] or [`Event::NotStarted`] says what came of it, before anything
    /// else happens.
    Start(Key),
    /// A process is to be told to stop, or killed; and to be monitored, since it may have unlinked itself.
    Tell {
        process: P,
        kill: bool,
        watch: bool,
    },
    /// That process has ended: its monitor has done its work.
    Unwatch(P),
    /// [`Event::Turn`] is to come, behind all that is in the mailbox.
    Turn(Key, u64),
    /// What those who hold a reference to the child are to find.
    Show(Key, Place<P>),
    /// The child is no more; its start function can go.
    Removed(Key),
    Answer(Ticket, Answer<P>),
    Report(Report<P>),
    /// The first start is over.
    Begun,
    /// The supervisor ends.
    End(ExitReason),
}

/// What stands in the place of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<P> {
    Up(P),
    /// Nobody; somebody will be put there, at that time if it is known.
    Vacant(Option<Duration>),
    /// Nobody, until it is started by hand or with its group.
    Stopped,
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<P> {
    /// The child's process; none if it said that it is not wanted.
    Child(Option<P>),
    Done,
    Refused(Refusal<P>),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal<P> {
    Spec(SpecError),
    AlreadyStarted(P),
    AlreadyPresent,
    Full(usize),
    NotFound,
    Running,
    Restarting,
    Failed(StartFailure),
    Ending,
}

/// Why a child was not started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartFailure {
    /// There was no process to be had.
    #[error("was not spawned: {0}")]
    Spawn(#[from] SpawnError),
    /// Its process ended before it was ready.
    #[error("ended before it was ready: {0}")]
    Ended(ExitReason),
    /// It did not say in time that it was ready, and was killed.
    #[error("was not ready in time")]
    TimedOut,
    /// It has dropped its [`Ready`](crate::Ready) unused, and was stopped.
    #[error("has dropped its means to say that it is ready")]
    NotReady,
}

/// Why a supervisor did not start: a child failed to, and those before it were stopped again. The reason with which the
/// supervisor's process ended is [`ExitReason::ShutdownWith`] of this.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("child {id:?} {failure}")]
pub struct FailedToStart {
    /// Which child.
    pub id: Arc<str>,
    /// What came of its start.
    pub failure: StartFailure,
}

/// Something that operators want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report<P> {
    /// A child ended by itself that should not have.
    Ended { id: Arc<str>, process: Option<P>, reason: ExitReason },
    /// A restart failed.
    StartFailed { id: Arc<str>, failure: StartFailure },
    /// A child failed too often; the supervisor ends, or goes on without it.
    GaveUp { id: Arc<str>, escalates: bool },
    /// A child that was told to stop ended in another way.
    Stopped { id: Arc<str>, process: P, reason: ExitReason },
    /// A child was killed and is still there.
    Wedged { id: Arc<str>, process: P },
}

/// What leaves the supervisor's state and may run a user's destructor when it is dropped.
#[derive(Debug)]
#[allow(dead_code, reason = "it is only there to be dropped")]
pub(crate) enum Litter<P> {
    Child(Child<P>),
    Exit(PastExit<P>),
    Standing(Standing<P>),
}
