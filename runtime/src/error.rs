//! Pure: what can go wrong at each operation, with what was not delivered.
use crate::exit::{ExitReason, Panic};
use crate::pid::Pid;
use crate::sealed::Sealed;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// A runtime could not be built; nothing was started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The program is compiled with `panic = "abort"`: a panic would end the OS process, not the actor.
    #[error("supervision needs panics that unwind: compile with panic = \"unwind\"")]
    PanicAborts,
    /// A number (of workers, say) was 0 or beyond its range.
    #[error("{setting} must be from 1 to {most}")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// Its largest value.
        most: usize,
    },
    /// [`Builder::tokio`](crate::Builder::tokio) outside any tokio runtime.
    #[cfg(feature = "tokio")]
    #[error("no tokio runtime is current on this thread")]
    NoTokio,
    /// This thread runs a simulation, which has a runtime; one with threads of its own would not be determined by the seed.
    #[error("a simulation cannot hold a runtime of threads: use the runtime that its body is given")]
    InSimulation,
    /// The system gave no thread for a worker.
    #[error("no thread for a worker: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why blocking work brought no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlockingErrorKind {
    /// All threads are busy and as many jobs wait as may; it never began. Happens in ordinary life under overload.
    #[error("too many jobs wait for a thread")]
    Full,
    /// The runtime shuts down; it never began.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// The process is dead or told to end; it never began.
    #[error("the process is ending")]
    ProcessEnded,
    /// The system gave no thread; it never began.
    #[error("no thread for blocking work")]
    NoThread,
    /// It panicked.
    #[error("the job panicked: {0}")]
    Panicked(Panic),
    /// The runtime has shut down while it ran; it was told to stop, and what it returns will be dropped.
    #[error("the runtime has shut down while the job ran")]
    LeftBehind,
}

/// Blocking work that brought no result; the job comes back if it never began.
pub struct BlockingError<F>(Box<(BlockingErrorKind, Option<Sealed<F>>)>);

impl<F> BlockingError<F> {
    pub(crate) fn new(kind: BlockingErrorKind, job: Option<F>) -> Self {
        Self(Box::new((kind, job.map(Sealed::new))))
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &BlockingErrorKind {
        &self.0.0
    }

    /// The job, if it never began.
    #[must_use]
    pub fn into_job(self) -> Option<F> {
        self.0.1.map(Sealed::into_inner)
    }
}

impl<F> fmt::Display for BlockingError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.kind(), f)
    }
}

impl<F> fmt::Debug for BlockingError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingError").field("kind", self.kind()).finish_non_exhaustive()
    }
}

impl<F> Error for BlockingError<F> {}

/// A process was not spawned; its body was dropped without having run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// As many processes live as the runtime allows. Happens in ordinary life under overload.
    #[error("the limit of {0} processes is reached")]
    ProcessLimit(usize),
    /// The name could not be had.
    #[error(transparent)]
    Name(#[from] RegisterError),
    /// A mailbox with room for nothing was asked for.
    #[error("a mailbox has room for one message at least")]
    EmptyMailbox,
    /// The runtime shuts down.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// The process that spawns is itself told to end.
    #[error("the spawning process is ending")]
    Ending,
}

/// A name was not given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A live process has the name.
    #[error("the name {name:?} is held by process {holder}")]
    Taken {
        /// The name.
        name: Arc<str>,
        /// Who has it.
        holder: Pid,
    },
    /// The process has a name, and one is all it can have.
    #[error("the process is named {0:?} already")]
    Named(Arc<str>),
    /// The process is dead or told to end.
    #[error("the process is dead")]
    Dead,
    /// As many names are taken as the runtime allows.
    #[error("the limit of {0} names is reached")]
    NameLimit(usize),
    /// A name has one character at least.
    #[error("a name cannot be empty")]
    Empty,
}

/// No address came of a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No live process has the name (or the pid is of a dead one).
    #[error("no such process")]
    NoProcess,
    /// The process takes messages of another type.
    #[error("process {0} takes messages of another type")]
    OtherType(Pid),
    /// The time to wait for it ran out.
    #[error("nobody took the name in time")]
    TimedOut,
}

/// A process was not a member of the group it should leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a member of this group")]
pub struct NotJoined;

/// A process that is dead or told to end cannot do this any more; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the process is dead")]
pub struct ProcessEnded;

/// The time ran out; nothing was taken from the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("timed out")]
pub struct TimedOut;

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The mailbox is full and refuses; the receiver lives. Happens in ordinary life under overload.
    #[error("the mailbox is full")]
    Full,
    /// The receiver is dead or told to end. Happens in ordinary life.
    #[error("no such process")]
    NoProcess,
    /// A [`send_wait`](crate::Address::send_wait) found no room in time.
    #[error("the mailbox stayed full")]
    TimedOut,
}

/// A message that was not delivered and never will be; it comes back.
pub struct SendError<M>(Box<(SendErrorKind, Pid, Sealed<M>)>);

impl<M> SendError<M> {
    pub(crate) fn new(kind: SendErrorKind, to: Pid, message: M) -> Self {
        Self(Box::new((kind, to, Sealed::new(message))))
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> SendErrorKind {
        self.0.0
    }

    /// Whom it was for.
    #[must_use]
    pub fn to(&self) -> Pid {
        self.0.1
    }

    /// The message.
    #[must_use]
    pub fn into_message(self) -> M {
        self.0.2.into_inner()
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}: {}", self.to(), self.kind())
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("kind", &self.kind()).field("to", &self.to()).finish_non_exhaustive()
    }
}

impl<M> Error for SendError<M> {}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// The callee ended without answering, for this reason. It may or may not have worked on the request.
    #[error("the callee ended: {0}")]
    Ended(ExitReason),
    /// The callee was dead when called; it never got the request.
    #[error("no such process")]
    NoProcess,
    /// The callee's mailbox was full; it never got the request.
    #[error("the mailbox is full")]
    Full,
    /// No answer came in time. The callee is not told, may still do the work, and its late answer goes nowhere.
    #[error("timed out")]
    TimedOut,
    /// The callee lives and has dropped its [`ReplyTo`](crate::ReplyTo).
    #[error("the callee will not answer")]
    NoReply,
    /// A process called itself and could only have waited for the time-out; the request was not sent.
    #[error("a process cannot call itself")]
    CallsItself,
    /// These processes would wait for each other, each within a call through its context; the request was not sent.
    #[error("calls in a circle: {0:?}")]
    Cycle(Vec<Pid>),
}

/// A call that brought no answer; the request comes back if the callee never had it.
pub struct CallError<M>(Box<(CallErrorKind, Pid, Option<Sealed<M>>)>);

impl<M> CallError<M> {
    pub(crate) fn new(kind: CallErrorKind, to: Pid, message: Option<M>) -> Self {
        Self(Box::new((kind, to, message.map(Sealed::new))))
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &CallErrorKind {
        &self.0.0
    }

    /// Who was called.
    #[must_use]
    pub fn to(&self) -> Pid {
        self.0.1
    }

    /// The request, if it was made and never delivered: the mailbox was full or the callee dead.
    #[must_use]
    pub fn into_message(self) -> Option<M> {
        self.0.2.map(Sealed::into_inner)
    }
}

impl<M> fmt::Display for CallError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call of process {}: {}", self.to(), self.kind())
    }
}

impl<M> fmt::Debug for CallError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallError").field("kind", self.kind()).field("to", &self.to()).finish_non_exhaustive()
    }
}

impl<M> Error for CallError<M> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.kind() {
            CallErrorKind::Ended(reason) => Some(reason),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn goes_through_question_mark(error: impl Into<Box<dyn Error + Send + Sync>>) -> String {
        error.into().to_string()
    }

    /// Errors are small, never show the message, and go through `?` whatever the message is made of.
    #[test]
    fn errors_work_for_every_message_type() {
        let pid = Pid::new(3, 1, 0);
        let error = SendError::new(SendErrorKind::Full, pid, Cell::new("secret"));
        assert_eq!(size_of_val(&error), 8);
        assert!(!format!("{error:?} {error}").contains("secret"));
        assert_eq!(error.kind(), SendErrorKind::Full);
        assert_eq!(goes_through_question_mark(error), "process 3.1: the mailbox is full");
        let error = CallError::new(CallErrorKind::NoProcess, pid, Some(Cell::new(7)));
        assert_eq!(error.into_message().map(|m| m.get()), Some(7));
        let error = CallError::<Cell<u8>>::new(CallErrorKind::Ended(ExitReason::Killed), pid, None);
        assert_eq!(goes_through_question_mark(error), "call of process 3.1: the callee ended: killed");
    }
}
