//! Driver: a generic server from outside, and what it receives.
use crate::place::Unavailable;
use crate::reference::{ChildCall, ChildCallError, ChildRef, ChildSendError};
use crate::system::{System, TraceEvent};
use colloquium_runtime::{
    Address, CallErrorKind, Context, Down, Exit, ExitReason, Handle, MonitorRef, Pid, Recipient, ReplyTo, Target,
    TimerRef,
};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// What a generic server's process receives: its users' messages, made by `From`, and what the system has to say to it.
pub struct ServerMessage<M>(pub(crate) Received<M>);

pub(crate) enum Received<M> {
    Message(M),
    Exit(Exit),
    System(System),
}

impl<M> From<M> for ServerMessage<M> {
    fn from(message: M) -> Self {
        Self(Received::Message(message))
    }
}

impl<M> fmt::Debug for ServerMessage<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Received::Message(_) => "ServerMessage",
            Received::Exit(_) => "ServerMessage(exit)",
            Received::System(_) => "ServerMessage(system)",
        })
    }
}

/// What a callback can do as a process.
pub struct ServerContext<M> {
    process: Context<ServerMessage<M>>,
}

impl<M: Send + 'static> ServerContext<M> {
    pub(crate) fn new(process: Context<ServerMessage<M>>) -> Self {
        Self { process }
    }

    /// The server's pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// The server's address, to give to others.
    #[must_use]
    pub fn address(&self) -> Address<ServerMessage<M>> {
        self.process.address()
    }

    /// The runtime, without keeping it alive.
    #[must_use]
    pub fn runtime(&self) -> Handle {
        self.process.runtime()
    }

    /// As [`Context::monitor`], with a mapping to the server's own messages.
    pub fn monitor(&mut self, target: impl Target, map: impl FnOnce(Down) -> M + Send + 'static) -> MonitorRef {
        self.process.monitor(target, move |down| map(down).into())
    }

    /// Sends the server a message once `after` has passed.
    pub fn send_after(&self, after: Duration, message: M) -> TimerRef {
        self.process.address().send_after(after, message.into())
    }

    /// The process's context, for all else: links, spawns, calls, names, groups. Mappings make a message by `.into()`.
    /// Receiving from it takes messages away from [`GenServer::handle`](crate::GenServer::handle), the system's included.
    pub fn process(&mut self) -> &mut Context<ServerMessage<M>> {
        &mut self.process
    }
}

impl<M> fmt::Debug for ServerContext<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.process.fmt(f)
    }
}

/// An answer that is given when a server has terminated, whatever comes between.
pub struct LastWord(Option<Box<dyn FnOnce() + Send>>);

impl LastWord {
    pub(crate) fn new(say: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(say)))
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(say) = self.0.take() {
            say();
        }
    }
}

impl fmt::Debug for LastWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastWord")
    }
}

/// Why a server did not stop as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StopServerError {
    /// There is no server.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It has ended for another reason.
    #[error("the server ended otherwise: {0}")]
    Ended(ExitReason),
    /// It has not ended in time; it will when it comes to it.
    #[error("the server did not stop in time")]
    TimedOut,
    /// Its mailbox is full: it was not told.
    #[error("the server's mailbox is full")]
    Full,
    /// A server asked itself; it was not told.
    #[error("a server cannot wait for its own end")]
    StopsItself,
}

/// A generic server: sends and calls go to its process; if it is a supervisor's child, to whoever holds its place.
pub struct ServerRef<M> {
    place: ChildRef<ServerMessage<M>>,
}

impl<M: Send + 'static> ServerRef<M> {
    pub(crate) fn new(place: ChildRef<ServerMessage<M>>) -> Self {
        Self { place }
    }

    /// The server's process.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub fn address(&self) -> Result<Address<ServerMessage<M>>, Unavailable> {
        self.place.address()
    }

    /// The server's place.
    #[must_use]
    pub fn place(&self) -> &ChildRef<ServerMessage<M>> {
        &self.place
    }

    /// Sends a message (OTP's `cast`); never waits.
    ///
    /// # Errors
    ///
    /// As [`ChildRef::send`]. A message that comes back is made of [`ServerMessage`].
    pub fn send(&self, message: M) -> Result<(), ChildSendError<ServerMessage<M>>> {
        self.place.send(message.into())
    }

    /// Calls the server: `make` makes the request around a [`ReplyTo`]. Five seconds unless told otherwise.
    pub fn call<T, F>(
        &self,
        make: F,
    ) -> ChildCall<ServerMessage<M>, T, impl FnOnce(ReplyTo<T>) -> ServerMessage<M> + Send + use<M, T, F>>
    where
        T: Send + 'static,
        F: FnOnce(ReplyTo<T>) -> M + Send + 'static,
    {
        self.place.call(move |reply_to| make(reply_to).into())
    }

    /// Stops the server with this reason, after what is in its mailbox already, and waits for its end; no longer than
    /// `at_most`.
    ///
    /// # Errors
    ///
    /// [`StopServerError`].
    pub async fn stop(&self, reason: ExitReason, at_most: Duration) -> Result<(), StopServerError> {
        let asked = reason.clone();
        let call = self.place.call(|reply_to| ServerMessage(Received::System(System::Stop(asked, reply_to))));
        match call.timeout(at_most).await {
            Ok(never) => match never {},
            Err(ChildCallError::Call(CallErrorKind::Ended(ended))) if ended == reason => Ok(()),
            Err(ChildCallError::Call(CallErrorKind::Ended(ended))) => Err(StopServerError::Ended(ended)),
            Err(ChildCallError::Call(CallErrorKind::Full)) => Err(StopServerError::Full),
            Err(ChildCallError::Call(CallErrorKind::CallsItself)) => Err(StopServerError::StopsItself),
            Err(ChildCallError::Call(_)) => Err(StopServerError::TimedOut),
            Err(ChildCallError::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    /// Makes the server handle nothing but the system's messages, until [`ServerRef::resume`]; its mailbox fills. It still
    /// ends when its parent does or [`ServerRef::stop`] says so. Ready when it has come to it.
    ///
    /// # Errors
    ///
    /// [`ChildCallError`].
    pub async fn suspend(&self) -> Result<(), ChildCallError> {
        self.place.call(|reply_to| ServerMessage(Received::System(System::Suspend(reply_to)))).await
    }

    /// Makes a suspended server go on, where it stopped.
    ///
    /// # Errors
    ///
    /// [`ChildCallError`].
    pub async fn resume(&self) -> Result<(), ChildCallError> {
        self.place.call(|reply_to| ServerMessage(Received::System(System::Resume(reply_to)))).await
    }

    /// Makes the server tell `to` of each thing that it does, for so long; never of what is in a message. What `to` refuses is
    /// not told again. A second trace takes the place of the first; one of no time ends it.
    ///
    /// # Errors
    ///
    /// [`ChildCallError`].
    pub async fn trace(&self, time: Duration, to: Recipient<TraceEvent>) -> Result<(), ChildCallError> {
        self.place.call(move |reply_to| ServerMessage(Received::System(System::Trace { time, to, reply_to }))).await
    }
}

impl<M> Clone for ServerRef<M> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone() }
    }
}

impl<M: Send + 'static> fmt::Debug for ServerRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerRef({:?})", self.place)
    }
}
