//! Driver: an address that survives the restarts of the child behind it.
use crate::place::{Spot, Unavailable};
use colloquium_runtime::{Address, CallError, CallErrorKind, Handle, ReplyTo, SendErrorKind};
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use thiserror::Error;

/// The place of a child: sends go to whoever holds it at the moment. It keeps neither the child nor its supervisor alive.
///
/// Each send looks up who is there; to save that, take the [`address`](ChildRef::address) of the present process, which
/// tells when it is dead.
pub struct ChildRef<M> {
    spot: Arc<Spot<M>>,
}

/// A message that was not delivered to a child and never will be; it comes back.
pub struct ChildSendError<M>(Box<(ChildSendErrorKind, Sealed<M>)>);

/// Nobody reaches the message but who owns the error: so that can be shared between threads, whatever the message is.
struct Sealed<M>(parking_lot::Mutex<M>);

/// Why a message was not delivered to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChildSendErrorKind {
    /// Its mailbox is full and refuses.
    #[error("the child's mailbox is full")]
    Full,
    /// Nobody is in its place.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a call of a child brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChildCallError {
    /// Nobody was in its place; nobody has had the request.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// What the call says. After [`CallErrorKind::Ended`], the child may have worked on the request.
    #[error(transparent)]
    Call(CallErrorKind),
}

impl<M: Send + 'static> ChildRef<M> {
    /// A place in which nobody is yet, for [`ChildBuilder::at`](crate::ChildBuilder::at). It may be taken again after it was
    /// [`Unavailable::Gone`].
    #[must_use]
    pub fn vacant() -> Self {
        Self::new(Arc::new(Spot::kept()))
    }

    pub(crate) fn new(spot: Arc<Spot<M>>) -> Self {
        Self { spot }
    }

    pub(crate) fn spot(&self) -> &Arc<Spot<M>> {
        &self.spot
    }

    /// The process that is in the place. It may have ended without its supervisor having seen to that yet.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if there is none, and whether there will be.
    pub fn address(&self) -> Result<Address<M>, Unavailable> {
        self.spot.address()
    }

    /// Sends a message to whoever is in the place; never waits.
    ///
    /// # Errors
    ///
    /// The message comes back if the mailbox is full, or nobody is there. A process that has just ended counts as
    /// [`Unavailable::Restarting`], until its supervisor has judged its end.
    pub fn send(&self, message: M) -> Result<(), ChildSendError<M>> {
        let error = |kind: ChildSendErrorKind, message: M| ChildSendError(Box::new((kind, Sealed(message.into()))));
        let address = match self.spot.address() {
            Ok(address) => address,
            Err(unavailable) => return Err(error(unavailable.into(), message)),
        };
        address.send(message).map_err(|refused| {
            let kind = match refused.kind() {
                SendErrorKind::Full => ChildSendErrorKind::Full,
                _ => ChildSendErrorKind::Unavailable(self.judge(&address)),
            };
            error(kind, refused.into_message())
        })
    }

    /// Why the process that was in the place is not to be reached.
    fn judge(&self, dead: &Address<M>) -> Unavailable {
        match self.spot.address() {
            Err(unavailable) => unavailable,
            Ok(_) if self.spot.ends_with_process() => Unavailable::Gone,
            Ok(other) if other != *dead => Unavailable::Restarting { next: Some(Duration::ZERO) },
            Ok(_) => Unavailable::Restarting { next: None },
        }
    }

    /// Calls whoever is in the place: `make` makes the request around a [`ReplyTo`]. Five seconds unless told otherwise.
    pub fn call<T, F>(&self, make: F) -> ChildCall<M, T, F>
    where
        T: Send + 'static,
        F: FnOnce(ReplyTo<T>) -> M + Send + 'static,
    {
        ChildCall { child: self.clone(), make, timeout: None, answer: std::marker::PhantomData }
    }

    /// Waits until a live process is in the place, for no longer than `at_most`.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Gone`] as soon as that is so (and not the place is one that can be taken again); else, when the time is over, why nobody is there.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and begun anew at any time.
    pub async fn up(&self, runtime: &Handle, at_most: Duration) -> Result<Address<M>, Unavailable> {
        let waiting = self.spot.wait();
        let mut over = pin!(runtime.sleep(at_most));
        poll_fn(|cx| match waiting.poll(cx) {
            Poll::Ready(up) => Poll::Ready(up),
            Poll::Pending => over.as_mut().poll(cx).map(|()| match self.address() {
                Ok(address) if address.is_alive() => Ok(address),
                Ok(_) => Err(Unavailable::Restarting { next: None }),
                Err(unavailable) => Err(unavailable),
            }),
        })
        .await
    }
}

/// A call of a child ([`ChildRef::call`]); await it.
#[must_use = "a call does nothing unless awaited"]
pub struct ChildCall<M, T, F> {
    child: ChildRef<M>,
    make: F,
    timeout: Option<Duration>,
    answer: std::marker::PhantomData<fn() -> T>,
}

impl<M, T, F> ChildCall<M, T, F> {
    /// Waits no longer than this for the answer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<M, T, F> IntoFuture for ChildCall<M, T, F>
where
    M: Send + 'static,
    T: Send + 'static,
    F: FnOnce(ReplyTo<T>) -> M + Send + 'static,
{
    type Output = Result<T, ChildCallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let address = self.child.address()?;
            let call = address.call(self.make);
            let call = match self.timeout {
                Some(timeout) => call.timeout(timeout),
                None => call,
            };
            call.await.map_err(|error: CallError<M>| match error.kind() {
                CallErrorKind::NoProcess => ChildCallError::Unavailable(self.child.judge(&address)),
                kind => ChildCallError::Call(kind.clone()),
            })
        })
    }
}

impl<M> ChildSendError<M> {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> ChildSendErrorKind {
        self.0.0
    }

    /// The message.
    #[must_use]
    pub fn into_message(self) -> M {
        self.0.1.0.into_inner()
    }
}

impl<M> fmt::Display for ChildSendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

impl<M> fmt::Debug for ChildSendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSendError").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl<M> std::error::Error for ChildSendError<M> {}

impl<M> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self { spot: Arc::clone(&self.spot) }
    }
}

impl<M: Send + 'static> fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spot.address() {
            Ok(address) => write!(f, "ChildRef({})", address.pid()),
            Err(unavailable) => write!(f, "ChildRef({unavailable})"),
        }
    }
}
