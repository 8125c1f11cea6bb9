//! Driver: dispatches that are under way, as futures of their outcomes.
use super::{Dispatch, begin};
use crate::outcome::{DispatchError, DispatchErrorKind, DispatchOutcome, Reached};
use crate::record::{Record, Told};
use colloquium_runtime::poll_charged;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Where a dispatch stands, for its caller.
pub(super) enum State<M: Send + Sync + 'static, R: Send + 'static> {
    /// Whether dropping it cancels.
    Begun(Arc<Record<M, R>>, bool),
    Refused(Option<DispatchError<M>>),
    Over,
}

impl<M: Send + Sync + 'static, R: Send + 'static> State<M, R> {
    /// Whoever finds outcomes and refusals ready all the time lets others run.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<DispatchOutcome<Option<R>>, DispatchError<M>>> {
        poll_charged(cx, |cx| self.poll_uncharged(cx))
    }

    fn poll_uncharged(&mut self, cx: &Context<'_>) -> Poll<Result<DispatchOutcome<Option<R>>, DispatchError<M>>> {
        let told = match self {
            Self::Begun(record, _) => ready!(record.poll(cx)),
            Self::Refused(error) => {
                let error = error.take().expect("polled after it was ready");
                *self = Self::Over;
                return Poll::Ready(Err(error));
            }
            Self::Over => panic!("polled after it was ready"),
        };
        let Self::Begun(record, cancels) = self else { unreachable!("it was") };
        *cancels = false;
        let result = result(record, told);
        *self = Self::Over;
        Poll::Ready(result)
    }
}

fn result<M, R>(record: &Record<M, R>, told: Told<R>) -> Result<DispatchOutcome<Option<R>>, DispatchError<M>> {
    match told {
        Told::Delivered { to: delivered_to, attempts, reroutes, output } => {
            Ok(DispatchOutcome { delivered_to, attempts, reroutes, output })
        }
        Told::Failed(kind, attempts) => {
            debug_assert!(
                kind != DispatchErrorKind::MaybeCompleted || attempts.iter().any(|a| a.reached == Reached::Started)
            );
            Err(DispatchError::new(kind, Arc::clone(&record.message), attempts, None))
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for State<M, R> {
    fn drop(&mut self) {
        if let Self::Begun(record, true) = self {
            record.give_up(true);
        }
    }
}

/// A dispatch that has begun ([`Dispatch::start`]): a future of its outcome. Dropped, it cancels.
///
/// Its process is gone when this is ready, or soon after if it was disturbed. A dispatch that is over keeps it, asleep, until its outcome is taken or this is dropped.
#[must_use = "dropped, it cancels the dispatch"]
pub struct Conversation<M: Send + Sync + 'static, R: Send + 'static>(pub(super) State<M, R>);

impl<M: Send + Sync + 'static, R: Send + 'static> Conversation<M, R> {
    /// Lets it go on by itself; nobody learns of the outcome, but for dead letters.
    pub fn detach(mut self) {
        if let State::Begun(record, cancels) = &mut self.0 {
            *cancels = false;
            record.give_up(false);
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Unpin for Conversation<M, R> {}

impl<M: Send + Sync + 'static, R: Send + 'static> Future for Conversation<M, R> {
    type Output = Result<DispatchOutcome<R>, DispatchError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|result| {
            result.map(|outcome| {
                let DispatchOutcome { delivered_to, attempts, reroutes, output } = outcome;
                let output = output.expect("a completed dispatch has an output");
                DispatchOutcome { delivered_to, attempts, reroutes, output }
            })
        })
    }
}

/// The future of a [`Dispatch`], which begins when it is first polled.
#[must_use = "a future does nothing unless awaited"]
pub struct Dispatching<'a, M: Send + Sync + 'static, R: Send + 'static>(
    Result<Conversation<M, R>, Option<Dispatch<'a, M, R>>>,
);

impl<M: Send + Sync + 'static, R: Send + 'static> Unpin for Dispatching<'_, M, R> {}

impl<M: Send + Sync + 'static, R: Send + 'static> Future for Dispatching<'_, M, R> {
    type Output = Result<DispatchOutcome<R>, DispatchError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Ok(conversation) => return Pin::new(conversation).poll(cx),
                Err(dispatch) => {
                    let dispatch = dispatch.take().expect("it has not begun");
                    self.0 = Ok(dispatch.start());
                }
            }
        }
    }
}

impl<'a, M: Send + Sync + 'static, R: Send + 'static> IntoFuture for Dispatch<'a, M, R> {
    type Output = Result<DispatchOutcome<R>, DispatchError<M>>;
    type IntoFuture = Dispatching<'a, M, R>;

    fn into_future(self) -> Self::IntoFuture {
        Dispatching(Err(Some(self)))
    }
}

/// A dispatch whose success is that a consumer has begun with the message ([`Dispatch::accepted`]).
#[must_use = "a dispatch does nothing unless it is awaited"]
pub struct Accept<'a, M: Send + Sync + 'static, R: Send + 'static>(pub(super) Dispatch<'a, M, R>);

impl<'a, M: Send + Sync + 'static, R: Send + 'static> IntoFuture for Accept<'a, M, R> {
    type Output = Result<DispatchOutcome<()>, DispatchError<M>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut state = begin(self.0, true);
            let outcome = std::future::poll_fn(|cx| state.poll(cx)).await?;
            let DispatchOutcome { delivered_to, attempts, reroutes, .. } = outcome;
            Ok(DispatchOutcome { delivered_to, attempts, reroutes, output: () })
        })
    }
}
