//! Shared: the record as those see it who wait for something: the caller for its outcome, the handler for being cancelled.
use super::{Inner, Record};
use crate::conversation::Verdict;
use crate::outcome::{DispatchError, DispatchErrorKind, DispatchOutcome, Reached};
use parking_lot::MutexGuard;
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
pub(crate) type Told<M, O> = Result<DispatchOutcome<O>, DispatchError<M>>;

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    /// Waits until there is an outcome; the record is still locked then, for [`Record::take_told`].
    #[inline]
    pub(crate) fn poll_told(&self, cx: &Context<'_>) -> Poll<MutexGuard<'_, Inner<M, R>>> {
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
        // Dropped without the lock.
        if fresh.is_some() {
            drop(inner);
            drop(fresh);
            inner = self.inner.lock();
        }
        Poll::Ready(inner)
    }

    /// The outcome; `take` says what of the output is wanted, and runs under the lock.
    #[inline(always)]
    pub(crate) fn take_told<O>(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner<M, R>>,
        take: impl FnOnce(&mut Option<R>) -> O,
    ) -> Told<M, O> {
        let delivered_to = match (inner.told, inner.history.last()) {
            (Some(Verdict::Delivered), Some(delivered_to)) => delivered_to,
            (Some(Verdict::Delivered), None) => unreachable!("somebody has completed it"),
            (None, _) => unreachable!("there is an outcome"),
            (Some(Verdict::Failed(kind)), _) => return Err(self.take_failed(inner, kind)),
        };
        let (attempts, reroutes) = (inner.machine.started(), inner.history.reroutes());
        let output = take(&mut inner.output);
        self.unattend(inner);
        Ok(DispatchOutcome { delivered_to, attempts, reroutes, output })
    }

    #[cold]
    fn take_failed(self: &Arc<Self>, inner: MutexGuard<'_, Inner<M, R>>, kind: DispatchErrorKind) -> DispatchError<M> {
        let attempts = inner.history.attempts();
        debug_assert!(
            kind != DispatchErrorKind::MaybeCompleted || attempts.iter().any(|a| a.reached == Reached::Started)
        );
        self.unattend(inner);
        DispatchError::new(kind, Arc::clone(&self.message), attempts, None)
    }

    /// The caller is gone, or knows what he wanted to know.
    #[inline(always)]
    fn unattend(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner<M, R>>) {
        inner.attended = false;
        if inner.is_there() && inner.machine.is_over() {
            return self.part_from_caller(inner);
        }
        drop(inner);
    }

    fn part_from_caller(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner<M, R>>) {
        let parting = inner.part();
        drop(inner);
        if let Some(parting) = parting {
            self.part(parting, false);
        }
    }

    pub(crate) fn note_told(&self) {
        self.told.store(1, Ordering::Relaxed);
    }

    fn seems_told(&self) -> bool {
        self.told.load(Ordering::Relaxed) != 0
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
