//! Shared: a handler's closures on threads for blocking work, which nothing can stop: the message's key and place are held until
//! they have returned.
//!
//! The count goes up before a closure is handed over, and down when it has returned or was dropped. What waits for it to be
//! nought (a message that is over, one that is to be routed anew, a handler that was stopped) is noted under the record's lock
//! after a look at the count there; who brings it to nought takes that lock afterwards. So one of the two sees the other.
use super::{Record, Todo};
use crate::group::Settled;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    pub(crate) fn is_blocking(&self) -> bool {
        self.blocking.load(Ordering::SeqCst) > 0
    }

    /// Whether nobody is to begin with its key yet.
    pub(super) fn holds_its_key(&self) -> bool {
        self.key.is_some() && self.is_blocking()
    }

    pub(crate) fn begin_blocking(&self) {
        self.blocking.fetch_add(1, Ordering::SeqCst);
    }

    /// A closure has returned.
    pub(crate) fn end_blocking(self: &Arc<Self>) {
        if self.blocking.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        let mut inner = self.inner.lock();
        let (deferred, handler) = (inner.deferred.take(), inner.handler.take());
        let mut settled = Settled::default();
        if let Some(deferred) = deferred.as_deref() {
            self.group.leave(self.slot(), deferred, &mut settled);
        }
        let moored = settled.moored;
        let parting = inner.parting(None, moored);
        let routes = matches!(inner.todo, Todo::Route { .. } | Todo::Pause { .. });
        let conversation = if routes { inner.conversation } else { None };
        drop(inner);
        self.group.finish(&mut settled, deferred.is_some());
        if let Some(parting) = parting {
            self.part(parting, moored);
        }
        if let Some(handler) = handler {
            handler.wake();
        }
        if let Some(conversation) = conversation {
            self.nudge(conversation);
        }
    }

    /// Waits until no closure runs.
    pub(crate) fn poll_unblocked(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_handler(cx, |_| !self.is_blocking())
    }
}
