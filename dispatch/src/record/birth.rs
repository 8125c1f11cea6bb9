//! Shared: the record and its conversation: a process without a body as long as the message is undisturbed.
//!
//! The record is what such a process wakes. Under the record's lock, the conversation is there, or not yet, or was taken out by who
//! has made the message over, or has taken the outcome: the first gives it a body when it is woken, the second notes that it is to
//! have one, and the third sees to its end by itself, and so has nothing to do with what still wakes it. It is the caller who takes it
//! out if it waits for the outcome: what it has made is at hand there, and not where the consumer runs.
use super::{Assigned, Inner, Record, Todo};
use crate::conversation::Last;
use crate::converse::converse;
use colloquium_runtime::Address;
use colloquium_supervisor::Membership;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

/// A conversation whose message is over.
pub(crate) struct Parting<M, R> {
    conversation: Address<()>,
    membership: Option<Membership>,
    /// What it was linked to at birth, if it has had no body.
    linked: Option<Assigned<M, R>>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Wake for Record<M, R> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        inner.awaited = true;
        let Some(conversation) = inner.conversation.clone() else { return };
        let membership = inner.membership.take();
        let linked = if inner.linked { inner.place.clone() } else { None };
        drop(inner);
        rouse(&conversation, self, linked, membership);
    }
}

/// Gives a conversation its body; without a membership it has one.
fn rouse<M: Send + Sync + 'static, R: Send + 'static>(
    conversation: &Address<()>,
    record: &Arc<Record<M, R>>,
    linked: Option<Assigned<M, R>>,
    membership: Option<Membership>,
) -> bool {
    membership.is_some_and(|membership| conversation.rouse(|ctx| converse(ctx, Arc::clone(record), linked, membership)))
}

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    /// The conversation is there, and the message may go to `place`, to which it is linked. What it then is to be sent with;
    /// `None` if nobody wants it any more.
    pub(crate) fn begin(
        self: &Arc<Self>,
        conversation: Address<()>,
        membership: Membership,
        place: Option<Assigned<M, R>>,
        routes: bool,
        now: Duration,
    ) -> Option<u32> {
        let mut inner = self.inner.lock();
        if routes {
            inner.todo = Todo::Route { alone: false };
        }
        inner.linked = place.is_some();
        if inner.machine.is_over() {
            drop(inner);
            self.part(Parting { conversation, membership: Some(membership), linked: place });
            return None;
        }
        let sent = place.and_then(|place| inner.assign(place, now));
        let rouses = inner.awaited || inner.todo != Todo::Rest;
        let linked = if rouses && inner.linked { inner.place.clone() } else { None };
        if !rouses {
            (inner.conversation, inner.membership) = (Some(conversation), Some(membership));
            return sent;
        }
        inner.conversation = Some(conversation.clone());
        drop(inner);
        rouse(&conversation, self, linked, Some(membership));
        sent
    }

    /// The message is over, and so is its conversation: at once, if it has never had anything to do.
    pub(crate) fn part(self: &Arc<Self>, parting: Parting<M, R>) {
        let Parting { conversation, membership, linked } = parting;
        if let Some(membership) = membership {
            if conversation.retire(linked.as_ref().map(|place| place.occupant.pid())) {
                return membership.leave();
            }
            // Should it be killed, its consumer is to know whose end it is told of.
            self.inner.lock().place.clone_from(&linked);
            rouse(&conversation, self, linked, Some(membership));
        } else {
            // One that has ended needs no telling.
            drop(conversation.send(()));
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Inner<M, R> {
    /// The conversation, to be ended; not if the caller takes the outcome: that ends it then, where it was made.
    pub(super) fn part_unless_attended(&mut self) -> Option<Parting<M, R>> {
        if self.attended { None } else { self.part() }
    }

    /// The message was completed.
    pub(crate) fn end_plainly(&mut self, last: Last) -> (Option<Waker>, Option<Parting<M, R>>) {
        self.todo = Todo::End;
        let caller = if last.told.is_some() {
            self.told = last.told;
            self.caller.take()
        } else {
            None
        };
        (caller, self.part_unless_attended())
    }

    /// The conversation, to be ended.
    pub(super) fn part(&mut self) -> Option<Parting<M, R>> {
        let conversation = self.conversation.take()?;
        let membership = self.membership.take();
        let linked = if self.linked && membership.is_some() { self.place.take() } else { None };
        Some(Parting { conversation, membership, linked })
    }
}
