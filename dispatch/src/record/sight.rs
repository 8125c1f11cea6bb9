//! Shared: what is to be seen of a dispatch's record, under its one lock.
use super::Record;
use crate::conversation::{Phase, Verdict};
use crate::picture::Glimpse;
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
            conversation: inner.conversation,
            tries: inner.machine.started(),
            begun: inner.history.last_begun(),
            started: inner.machine.phase() == Phase::Started,
            told: inner.told.and_then(failed),
            overdue: inner.overdue,
            limit: inner.limit,
            blocking: self.is_blocking(),
        })
    }
}
