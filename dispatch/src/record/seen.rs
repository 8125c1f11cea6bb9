//! Shared: the record as those see it who wait for something: the caller for its outcome, the handler for being cancelled.
use super::{Inner, Record};
use crate::conversation::Verdict;
use crate::outcome::{Attempt, DispatchErrorKind, Reroutes};
use crate::view::ConsumerId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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

/// What the caller gets.
pub(crate) enum Told<R> {
    Delivered { to: ConsumerId, attempts: u32, reroutes: Reroutes, output: Option<R> },
    Failed(DispatchErrorKind, Vec<Attempt>),
}

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    pub(crate) fn poll(self: &Arc<Self>, cx: &Context<'_>) -> Poll<Told<R>> {
        // Who will wait, as it seems, has the clone ready, and need not come back with it.
        let mut fresh = if self.seems_told() { None } else { Some(cx.waker().clone()) };
        let mut inner = self.inner.lock();
        while inner.told.is_none() {
            let settled = remember(&mut inner.caller, cx.waker(), &mut fresh);
            drop(inner);
            if settled {
                return Poll::Pending;
            }
            fresh = Some(cx.waker().clone());
            inner = self.inner.lock();
        }
        let told = inner.take_told();
        inner.attended = false;
        let parting = if inner.machine.is_over() { inner.part() } else { None };
        drop(inner);
        if let Some(parting) = parting {
            self.part(parting, false);
        }
        Poll::Ready(told)
    }

    pub(crate) fn note_told(&self) {
        self.told.store(true, Ordering::Relaxed);
    }

    fn seems_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// The caller does not wait for the outcome any more; unless the dispatch is to go on by itself, it is cancelled.
    pub(crate) fn give_up(self: &Arc<Self>, cancels: bool) {
        let mut inner = self.inner.lock();
        inner.attended = false;
        let parting = if inner.machine.is_over() { inner.part() } else { None };
        drop(inner);
        if let Some(parting) = parting {
            self.part(parting, false);
        } else if cancels {
            self.decide(DispatchErrorKind::Cancelled);
        }
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

impl<M: Send + Sync + 'static, R: Send + 'static> Inner<M, R> {
    fn take_told(&mut self) -> Told<R> {
        match (self.told, self.history.last()) {
            (Some(Verdict::Delivered), Some(to)) => {
                let attempts = self.machine.started();
                let reroutes = self.history.reroutes();
                Told::Delivered { to, attempts, reroutes, output: self.output.take() }
            }
            (Some(Verdict::Failed(kind)), _) => Told::Failed(kind, self.history.attempts()),
            (Some(Verdict::Delivered), None) => unreachable!("somebody has completed it"),
            (None, _) => unreachable!("there is an outcome"),
        }
    }
}
