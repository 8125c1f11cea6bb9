//! Shared: the record as those see it who wait for something: the caller for its outcome, the handler for being cancelled.
use super::{Inner, Record, Told};
use crate::conversation::Verdict;
use crate::outcome::History;
use std::task::{Context, Poll, Waker};

/// Sees to it that `known` wakes the same as `waker`: exchanges it for `fresh`, a clone, if it does not. False if there is no clone
/// yet: it is made without the lock, as what comes out is dropped, since both may be anybody's code.
#[must_use]
pub(crate) fn remember(known: &mut Option<Waker>, waker: &Waker, fresh: &mut Option<Waker>) -> bool {
    if known.as_ref().is_some_and(|same| same.will_wake(waker)) {
        return true;
    }
    if fresh.is_none() {
        return false;
    }
    std::mem::swap(known, fresh);
    true
}

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    /// Looks for the outcome; whoever asks for the first time mostly waits.
    pub(crate) fn poll(&self, cx: &Context<'_>, first: bool) -> Poll<Told<R>> {
        let mut fresh = first.then(|| cx.waker().clone());
        let mut inner = self.inner.lock();
        let verdict = loop {
            if let Some(verdict) = inner.told {
                break verdict;
            }
            let settled = remember(&mut inner.caller, cx.waker(), &mut fresh);
            drop(inner);
            if settled {
                return Poll::Pending;
            }
            fresh = Some(cx.waker().clone());
            inner = self.inner.lock();
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
        self.poll_handler(cx, |inner| inner.deserted || inner.machine.is_unwanted())
    }

    /// Waits, for the handler, until something holds that it is woken for.
    pub(super) fn poll_handler(&self, cx: &Context<'_>, holds: impl Fn(&Inner<M, R>) -> bool) -> Poll<()> {
        let mut fresh = None;
        loop {
            let mut inner = self.inner.lock();
            if holds(&inner) {
                return Poll::Ready(());
            }
            let settled = remember(&mut inner.handler, cx.waker(), &mut fresh);
            drop(inner);
            if settled {
                return Poll::Pending;
            }
            fresh = Some(cx.waker().clone());
        }
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
