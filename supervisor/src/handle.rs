//! Driver: a running supervisor as others hold it: what can be asked of it, and what can be seen without asking.
use crate::board::Board;
use crate::child::{AnyChild, ChildSpec, IntoChild};
use crate::event::{Answer, Refusal, Request, StartFailure, Who};
use crate::limits;
use crate::message::{Ask, Msg, SupervisorMessage};
use crate::reference::ChildRef;
use crate::snapshot::{ChildCounts, ChildSummary, Observer, StopReport};
use crate::spec::SpecError;
use crate::tree::{Attached, Section, Slot};
use colloquium_runtime::{Address, CallErrorKind, ExitReason, Pid, ReplyTo};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// A supervisor that runs. A cheap handle; it keeps nothing alive.
///
/// Requests stand in line with all that happens to the supervisor, and are carried out one after the other; while it starts
/// or stops children, they wait. Each waits a minute for its answer, unless told otherwise by [`SupervisorRef::within`]. A
/// request whose future is dropped, or whose time is over, is carried out all the same once it was sent.
/// [`SupervisorRef::observe`] does not wait for anybody.
#[derive(Clone)]
pub struct SupervisorRef {
    address: Address<SupervisorMessage>,
    board: Board,
    limit: Option<Duration>,
}

/// Why a supervisor did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// It has ended, or is about to: nothing was done.
    #[error("the supervisor has ended or is ending")]
    Ended,
    /// Too many requests are on their way to it: nothing was done.
    #[error("too many requests wait for the supervisor")]
    Busy,
    /// It did not answer in time. It still does what it was asked.
    #[error("no answer in time")]
    TimedOut,
    /// A supervisor's process asked itself: nothing was done.
    #[error("a process cannot call itself")]
    CallsItself,
}

/// Why a child was not added. Nothing of it is left.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartChildError {
    /// A child of this id is there and has this process.
    #[error("a child of this id is running, as {0}")]
    AlreadyStarted(Pid),
    /// A child of this id is there, without a process.
    #[error("a child of this id is there, stopped or restarting")]
    AlreadyPresent,
    /// The dynamic supervisor has as many children as it may have. Happens in ordinary life under overload.
    #[error("the limit of {0} children is reached")]
    Full(usize),
    /// Its specification is wrong, or does not fit this supervisor.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its start failed.
    #[error("the child {0}")]
    Failed(StartFailure),
    /// The supervisor did not answer.
    #[error(transparent)]
    Supervisor(#[from] Unreachable),
}

/// Why a child was not restarted by hand.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RestartChildError {
    /// There is no such child.
    #[error("no such child")]
    NotFound,
    /// It is running.
    #[error("the child is running")]
    Running,
    /// It is about to be restarted.
    #[error("the child is being restarted")]
    Restarting,
    /// Its start failed; it stays stopped (or goes on to back off).
    #[error("the child {0}")]
    Failed(StartFailure),
    /// The supervisor did not answer.
    #[error(transparent)]
    Supervisor(#[from] Unreachable),
}

/// Why a child was not deleted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeleteChildError {
    /// There is no such child.
    #[error("no such child")]
    NotFound,
    /// It is running; it has to be terminated first.
    #[error("the child is running")]
    Running,
    /// It is about to be restarted; it has to be terminated first.
    #[error("the child is being restarted")]
    Restarting,
    /// The supervisor did not answer.
    #[error(transparent)]
    Supervisor(#[from] Unreachable),
}

/// Why a child was not terminated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TerminateChildError {
    /// There is no such child.
    #[error("no such child")]
    NotFound,
    /// The supervisor did not answer.
    #[error(transparent)]
    Supervisor(#[from] Unreachable),
}

impl SupervisorRef {
    pub(crate) fn new(address: Address<SupervisorMessage>, board: Board) -> Self {
        Self { address, board, limit: Some(limits::REQUEST) }
    }

    /// The supervisor behind an address, such as that of a child which is one.
    ///
    /// # Errors
    ///
    /// [`Unreachable`].
    pub async fn of(address: &Address<SupervisorMessage>) -> Result<Self, Unreachable> {
        let asked = address.call(|reply_to| SupervisorMessage(Msg::Introduce(reply_to))).await;
        let board = asked.map_err(|error| unreachable(error.kind()))?;
        Ok(Self::new(address.clone(), board))
    }

    /// The same supervisor, with another limit on how long requests wait for their answers; `None` for as long as the
    /// supervisor lives.
    #[must_use]
    pub fn within(&self, limit: impl Into<Option<Duration>>) -> Self {
        Self { limit: limit.into(), ..self.clone() }
    }

    /// The supervisor's pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.address.pid()
    }

    /// The address of the supervisor's process: to monitor it, or to wait for its end.
    #[must_use]
    pub fn address(&self) -> &Address<SupervisorMessage> {
        &self.address
    }

    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// The runtime that it is in.
    #[must_use]
    pub fn runtime(&self) -> &colloquium_runtime::Handle {
        self.board.runtime()
    }

    /// What can be seen of it at any moment, without its help.
    #[must_use]
    pub fn observe(&self) -> Observer {
        Observer::new(self.board.clone())
    }

    /// Something more that dumps show wherever they show this supervisor, until what comes back is dropped.
    pub fn add_section(&self, section: impl Section) -> Attached {
        let slot = Slot::new(section);
        self.board.add_section(&slot);
        Attached::new(slot)
    }

    /// Adds a child, as the last in order, starts it, and waits until it is up. A child that says that it is not wanted is
    /// no error: its reference says [`Unavailable::Stopped`](crate::Unavailable::Stopped), or gone if it is temporary.
    ///
    /// # Errors
    ///
    /// [`StartChildError`]. A first start that fails is not retried.
    pub async fn start_child<M: Send + 'static>(&self, spec: ChildSpec<M>) -> Result<ChildRef<M>, StartChildError> {
        let child = spec.reference();
        let AnyChild { id, settings, start } = spec.into_child()?;
        added_child(self.call(Request::Add(Some(id), settings), Some(start)).await)?;
        Ok(child)
    }

    /// Stops a child, by its own rules, and waits until it is gone; one that is stopped already, or about to be restarted,
    /// will not be. Its specification stays, unless it is temporary. Nothing else follows: no restart, no auto shutdown.
    ///
    /// # Errors
    ///
    /// [`TerminateChildError`].
    pub async fn terminate_child(&self, id: &str) -> Result<(), TerminateChildError> {
        self.terminate(Who::Id(id.into())).await
    }

    pub(crate) async fn terminate(&self, who: Who<Pid>) -> Result<(), TerminateChildError> {
        match self.ask(Request::Terminate(who), None).await? {
            Answer::Done => Ok(()),
            Answer::Refused(Refusal::NotFound) => Err(TerminateChildError::NotFound),
            _ => Err(Unreachable::Ended.into()),
        }
    }

    /// Starts a child that is stopped, and waits until it is up; one that backs off is started now, with its group. It does
    /// not count in the intensity.
    ///
    /// # Errors
    ///
    /// [`RestartChildError`].
    pub async fn restart_child(&self, id: &str) -> Result<Option<Pid>, RestartChildError> {
        match self.ask(Request::Restart(Who::Id(id.into())), None).await? {
            Answer::Child(process) => Ok(process),
            Answer::Refused(Refusal::NotFound) => Err(RestartChildError::NotFound),
            Answer::Refused(Refusal::Running) => Err(RestartChildError::Running),
            Answer::Refused(Refusal::Restarting) => Err(RestartChildError::Restarting),
            Answer::Refused(Refusal::Failed(failure)) => Err(RestartChildError::Failed(failure)),
            _ => Err(Unreachable::Ended.into()),
        }
    }

    /// Forgets a child that is stopped.
    ///
    /// # Errors
    ///
    /// [`DeleteChildError`].
    pub async fn delete_child(&self, id: &str) -> Result<(), DeleteChildError> {
        match self.ask(Request::Delete(Who::Id(id.into())), None).await? {
            Answer::Done => Ok(()),
            Answer::Refused(Refusal::NotFound) => Err(DeleteChildError::NotFound),
            Answer::Refused(Refusal::Running) => Err(DeleteChildError::Running),
            Answer::Refused(Refusal::Restarting) => Err(DeleteChildError::Restarting),
            _ => Err(Unreachable::Ended.into()),
        }
    }

    /// All children, in start order (OTP's are newest first), when all that happened before is seen to.
    ///
    /// # Errors
    ///
    /// [`Unreachable`].
    pub async fn which_children(&self) -> Result<Vec<ChildSummary>, Unreachable> {
        self.look().await.map_err(|kind| unreachable(&kind))?;
        Ok(self.observe().children().map(ChildSummary::from).collect())
    }

    /// How many children there are, when all that happened before is seen to.
    ///
    /// # Errors
    ///
    /// [`Unreachable`].
    pub async fn count_children(&self) -> Result<ChildCounts, Unreachable> {
        self.look().await.map_err(|kind| unreachable(&kind))?;
        Ok(self.observe().counts())
    }

    /// Stops the supervisor: its children right to left, each by its own rules, all within `deadline`; who is there shortly
    /// before that (a second, or a tenth of it if that is less) is killed, and who is there then is reported as wedged.
    /// Waits for the end, whose reason is [`ExitReason::Shutdown`]: if it is a permanent child, it is restarted.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the stop goes on if the future is dropped.
    pub async fn stop(&self, deadline: Duration) -> StopReport {
        // One that is dead has stopped.
        drop(self.address.send(SupervisorMessage(Msg::Stop(Some(deadline)))));
        let reason = self.address.ended().await;
        StopReport { reason, wedged: self.observe().wedged() }
    }

    /// Waits until all that happened before is seen to.
    pub(crate) async fn look(&self) -> Result<(), CallErrorKind> {
        self.call(Request::Look, None).await.map(drop)
    }

    async fn ask(
        &self,
        request: Request<Pid>,
        start: Option<Box<dyn crate::child::Start>>,
    ) -> Result<Answer<Pid>, Unreachable> {
        self.call(request, start).await.map_err(|kind| unreachable(&kind))
    }

    pub(crate) async fn call(
        &self,
        request: Request<Pid>,
        start: Option<Box<dyn crate::child::Start>>,
    ) -> Result<Answer<Pid>, CallErrorKind> {
        let Some(permit) = self.board.permit() else { return Err(CallErrorKind::Full) };
        let make =
            |reply_to: ReplyTo<Answer<Pid>>| SupervisorMessage(Msg::Ask(Ask { request, start, reply_to, permit }));
        let call = self.address.call(make);
        let call = match self.limit {
            Some(limit) => call.timeout(limit),
            None => call.no_timeout(),
        };
        match call.await {
            Ok(Answer::Refused(Refusal::Ending)) => Err(CallErrorKind::Ended(self.address.ended().await)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(error.kind().clone()),
        }
    }
}

/// What came of [`Request::Add`].
pub(crate) fn added_child(answer: Result<Answer<Pid>, CallErrorKind>) -> Result<(), StartChildError> {
    match answer.map_err(|kind| unreachable(&kind))? {
        Answer::Child(_) => Ok(()),
        Answer::Refused(Refusal::AlreadyStarted(process)) => Err(StartChildError::AlreadyStarted(process)),
        Answer::Refused(Refusal::AlreadyPresent) => Err(StartChildError::AlreadyPresent),
        Answer::Refused(Refusal::Full(most)) => Err(StartChildError::Full(most)),
        Answer::Refused(Refusal::Spec(error)) => Err(error.into()),
        Answer::Refused(Refusal::Failed(failure)) => Err(StartChildError::Failed(failure)),
        _ => Err(Unreachable::Ended.into()),
    }
}

fn unreachable(kind: &CallErrorKind) -> Unreachable {
    match kind {
        CallErrorKind::Full => Unreachable::Busy,
        CallErrorKind::TimedOut => Unreachable::TimedOut,
        CallErrorKind::CallsItself | CallErrorKind::Cycle(_) => Unreachable::CallsItself,
        _ => Unreachable::Ended,
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SupervisorRef({})", self.pid())
    }
}

impl StopReport {
    /// Whether the supervisor left a process behind.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.wedged.is_empty() && self.reason == ExitReason::Shutdown
    }
}
