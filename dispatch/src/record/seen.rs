//! Shared: the record as those see it who wait for something: the caller for its outcome, the handler for being cancelled.
use super::{Record, Told};
use crate::conversation::Verdict;
use crate::outcome::History;
use std::task::{Context, Poll};

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Told<R>> {
        let mut inner = self.inner.lock();
        let Some(verdict) = inner.told else {
            let known = inner.caller.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            let old = if known { None } else { inner.caller.replace(cx.waker().clone()) };
            drop(inner);
            drop(old);
            return Poll::Pending;
        };
        let told = Told {
            verdict,
            output: inner.output.take(),
            delivered_to: inner.history.last().map(|attempt| attempt.consumer),
            attempts: inner.machine.started(),
            history: if verdict == Verdict::Delivered { History::new() } else { inner.history.clone() },
            rerouted_from: std::mem::take(&mut inner.rerouted_from),
            reroute_timings: std::mem::take(&mut inner.reroute_timings),
        };
        drop(inner);
        Poll::Ready(told)
    }

    /// Whether the handler's work is not wanted any more.
    pub(crate) fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.deserted || inner.machine.is_unwanted() {
            return Poll::Ready(());
        }
        let old = inner.handler.replace(cx.waker().clone());
        drop(inner);
        drop(old);
        Poll::Pending
    }

    /// The handler looks again whether it is cancelled.
    pub(crate) fn wake_handler(&self) {
        let handler = self.inner.lock().handler.take();
        if let Some(handler) = handler {
            handler.wake();
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        let inner = self.inner.lock();
        inner.deserted || inner.machine.is_unwanted()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.inner.lock().machine.is_over()
    }
}
