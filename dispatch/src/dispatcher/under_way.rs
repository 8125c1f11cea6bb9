//! Driver: dispatches that are under way, as futures of their outcomes.
use super::{Dispatch, begin};
use crate::outcome::{DispatchError, DispatchOutcome};
use crate::record::{Record, Told};
use colloquium_runtime::poll_charged;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Where a dispatch stands, for its caller. Dropped before there is an outcome, it cancels.
pub(super) struct State<M: Send + Sync + 'static, R: Send + 'static>(Stage<M, R>);

enum Stage<M, R> {
    Begun(Arc<Record<M, R>>),
    Refused(DispatchError<M>),
    Over,
}

impl<M: Send + Sync + 'static, R: Send + 'static> State<M, R> {
    pub(super) fn begun(record: Arc<Record<M, R>>) -> Self {
        Self(Stage::Begun(record))
    }

    pub(super) fn refused(error: DispatchError<M>) -> Self {
        Self(Stage::Refused(error))
    }

    /// Whoever finds outcomes and refusals ready all the time lets others run.
    #[inline(always)]
    fn poll<O>(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&mut Option<R>) -> O) -> Poll<Told<M, O>> {
        let Stage::Begun(record) = &self.0 else {
            return poll_charged(cx, |_| Poll::Ready(())).map(|()| Err(self.refusal()));
        };
        let inner = ready!(poll_charged(cx, |cx| record.poll_told(cx)));
        let told = record.take_told(inner, take);
        self.0 = Stage::Over;
        Poll::Ready(told)
    }

    #[cold]
    fn refusal(&mut self) -> DispatchError<M> {
        match std::mem::replace(&mut self.0, Stage::Over) {
            Stage::Refused(error) => error,
            Stage::Begun(_) | Stage::Over => panic!("polled after it was ready"),
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for State<M, R> {
    fn drop(&mut self) {
        if let Stage::Begun(record) = &self.0 {
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
        if let Stage::Begun(record) = std::mem::replace(&mut self.0.0, Stage::Over) {
            record.give_up(false);
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Unpin for Conversation<M, R> {}

impl<M: Send + Sync + 'static, R: Send + 'static> Future for Conversation<M, R> {
    type Output = Result<DispatchOutcome<R>, DispatchError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx, |output| output.take().expect("a completed dispatch has an output"))
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
            std::future::poll_fn(|cx| state.poll(cx, |_| ())).await
        })
    }
}
