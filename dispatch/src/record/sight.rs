//! Shared: what is to be seen of a dispatch's record, under its one lock.
use super::Record;
use crate::conversation::{Phase, Verdict};
use crate::outcome::Attempt;
use crate::picture::Glimpse;
use colloquium_runtime::Address;
use std::task::{Context, Poll};
use std::time::Duration;
use tracing::Span;

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    /// Records in its span what its caller was told.
    #[cold]
    pub(crate) fn tell_span(&self, span: &Span) {
        let told = self.inner.lock().told;
        match told {
            Some(Verdict::Failed(kind)) => span.record("outcome", tracing::field::debug(kind)),
            Some(Verdict::Delivered) => span.record("outcome", "Delivered"),
            None => span,
        };
    }

    /// When its handler is killed, or counts as wedged if it was.
    pub(crate) fn set_limit(&self, limit: Duration) {
        self.inner.lock().limit = Some(limit);
    }

    /// What is to be seen of it; none if its lock cannot be had in that time.
    pub(crate) fn glimpse(&self, patience: Duration) -> Option<Glimpse> {
        let inner = self.inner.try_lock_for(patience)?;
        let failed = |verdict| if let Verdict::Failed(kind) = verdict { Some(kind) } else { None };
        Some(Glimpse {
            conversation: inner.conversation.as_ref().map(Address::pid),
            tries: inner.machine.started(),
            begun: inner.history.last().and_then(|attempt| attempt.begun),
            started: inner.machine.phase() == Phase::Started,
            told: inner.told.and_then(failed),
            overdue: inner.overdue,
            limit: inner.limit,
            blocking: self.is_blocking(),
        })
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

    pub(crate) fn history(&self) -> Vec<Attempt> {
        self.inner.lock().history.to_vec()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.inner.lock().machine.is_over()
    }

    /// Whether it is with nobody.
    pub(crate) fn is_parked(&self) -> bool {
        self.inner.lock().machine.phase() == Phase::Parked
    }
}
