//! Shared: the end of a conversation, and what it leaves of its record.
use super::{Assigned, Record};
use crate::conversation::Phase;
use crate::outcome::DispatchErrorKind;
use colloquium_runtime::{ExitReason, Pid};
use std::sync::Arc;
use std::time::Duration;

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    /// The conversation has ended, whatever its end was. Returns the place that it may be linked to, and whether a handler is
    /// still at work there.
    pub(crate) fn desert(self: &Arc<Self>, now: Duration) -> Option<(Assigned<M, R>, bool)> {
        let mut act = self.act();
        let mut inner = self.inner.lock();
        inner.deserted = true;
        inner.conversation = None;
        inner.decide(DispatchErrorKind::Conversation, &mut act);
        if inner.machine.phase() == Phase::Started && inner.interrupted.is_some() {
            inner.lose(self.id(), ExitReason::Killed, now, &mut act);
        }
        let at_work = inner.machine.phase() == Phase::Started;
        let place = if at_work { inner.place.clone() } else { inner.place.take() };
        self.run(inner, act);
        place.map(|place| (place, at_work))
    }

    /// Another process sees to what the conversation has left: it is woken when that is over.
    pub(crate) fn adopt(self: &Arc<Self>, ward: Pid) {
        let mut inner = self.inner.lock();
        let over = inner.machine.is_over();
        inner.conversation = Some(ward);
        drop(inner);
        if over {
            self.nudge(ward);
        }
    }

    /// The end of an undisturbed conversation: what it is linked to; `None` if it is not over.
    pub(crate) fn finish(&self) -> Option<Option<Assigned<M, R>>> {
        let mut inner = self.inner.lock();
        if !inner.machine.is_over() {
            return None;
        }
        inner.deserted = true;
        inner.conversation = None;
        let place = inner.place.take();
        drop(inner);
        Some(place)
    }

    /// Where a handler is at work with the message.
    pub(crate) fn at_work(&self) -> Option<Assigned<M, R>> {
        let inner = self.inner.lock();
        (inner.machine.phase() == Phase::Started).then(|| inner.place.clone()).flatten()
    }

    /// The handler has had its time and is still at work: its consumer is to be killed for it.
    pub(crate) fn overdue(&self) -> Option<Assigned<M, R>> {
        let mut inner = self.inner.lock();
        if inner.machine.phase() != Phase::Started {
            return None;
        }
        inner.overdue = true;
        inner.place.clone()
    }
}
