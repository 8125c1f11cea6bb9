//! Shared: the record and its conversation: a process without a body as long as the message is undisturbed.
//!
//! The record is what such a process wakes, and what stands for it until somebody looks for it. It is locked while the message comes
//! in and its conversation is made, so that whoever finds either sees both. Under that lock the conversation is there, or was taken out by
//! who has made the message over, or has taken the outcome: the first gives it a body when it is woken, the other sees to its
//! end by itself, and so has nothing to do with what still wakes it. One that has kept its berth until then has ended when the message
//! left the yard; one that has not is taken out by the caller if that waits for the outcome.
use super::{Assigned, Inner, Record, Todo};
use crate::conversation::Last;
use crate::converse::converse;
use crate::outcome::DispatchErrorKind;
use crate::yard::quay::Moored;
use crate::yard::{Entered, Refusal, Request};
use colloquium_runtime::{Dormant, Handle, Origin, Peer, Pid, Unwoken};
use colloquium_supervisor::{ChildrenSet, DormantSeat, JoinError};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

/// A conversation whose message is over.
pub(crate) struct Parting<M, R> {
    conversation: Pid,
    seat: Option<DormantSeat>,
    /// What it was linked to at birth, if it has had no body.
    linked: Option<Assigned<M, R>>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Wake for Record<M, R> {
    fn wake(self: Arc<Self>) {
        self.rouse();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rouse();
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Dormant for Record<M, R> {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn runtime(&self) -> &Handle {
        &self.group.runtime
    }

    fn peer(&self) -> Option<Peer> {
        let inner = self.inner.lock();
        inner.place.as_ref().filter(|_| inner.linked).map(|place| Peer::from(&place.occupant.address))
    }

    fn waker(self: Arc<Self>) -> Waker {
        Waker::from(self)
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    fn set(&self) -> &ChildrenSet {
        self.under.as_ref().unwrap_or(&self.group.conversations)
    }

    /// The message comes in, with its conversation, and goes out to whom it is linked, if there is room for it.
    pub(crate) fn begin(self: &Arc<Self>, request: Request, routes_itself: bool, now: Duration) -> Result<(), Refusal> {
        let mut inner = self.inner.lock();
        let (entered, moored, hastened) = {
            let mut yard = self.group.yard();
            let number = |record: &Arc<Self>, slot, id| record.set_slot(slot, id);
            let entered = yard.enter(request, Arc::clone(self), routes_itself, now, number, &mut inner.place);
            let moored = if matches!(entered, Entered::Refused(_)) || self.under.is_some() {
                Moored::No
            } else {
                yard.moor(self.slot(), |berth, holder| berth.take(&**self, holder))
            };
            (entered, moored, yard.take_hastened())
        };
        if let Entered::Refused(refusal) = entered {
            drop(inner);
            self.group.hasten(hastened);
            return Err(refusal);
        }
        let routes = matches!(entered, Entered::Routes);
        let failed;
        // Wakes the consumer when this returns: the record is not locked any more then.
        let mut sent = Unwoken::default();
        let mut undelivered = None;
        match self.spawn(moored, &mut inner) {
            Ok(()) => {
                // Whoever shuts the runtime down finds what is in a berth; what is there too late sees that here.
                let late = matches!(moored, Moored::At(_)) && self.group.runtime.is_closing();
                failed = late.then_some(DispatchErrorKind::NotStarted);
                if routes {
                    inner.todo = Todo::Route { alone: false };
                }
                if !late
                    && let Some(attempt) = inner.go_out(now)
                    && let Some(place) = &inner.place
                {
                    let delivered = place.occupant.deliver_linked(self, attempt, &mut sent);
                    undelivered = (!delivered).then(|| place.occupant.pid());
                    (inner.placed, inner.linked) = (true, delivered);
                }
            }
            Err(JoinError::Closed) => failed = Some(DispatchErrorKind::Closed),
            Err(_) => failed = Some(DispatchErrorKind::NotStarted),
        }
        drop(inner);
        self.group.hasten(hastened);
        if let Some(kind) = failed {
            let unused = self.inner.lock().place.take();
            drop(unused);
            self.decide(kind);
        } else if routes {
            self.rouse();
        }
        if let Some(pid) = undelivered {
            self.undelivered(pid);
        }
        if moored == Moored::Wanting {
            self.group.equip(self.slot());
        }
        Ok(())
    }

    /// The conversation, unless it is there already.
    #[inline(always)]
    fn spawn(self: &Arc<Self>, moored: Moored, inner: &mut Inner<M, R>) -> Result<(), JoinError> {
        if let Moored::At(pid) = moored {
            (inner.conversation, inner.seat) = (Some(pid), Some(self.set().rostered()));
        } else {
            let (pid, seat) = self.set().spawn_dormant(self)?;
            (inner.conversation, inner.seat) = (Some(pid), Some(seat));
        }
        Ok(())
    }

    /// Gives the conversation its body, if it has had none and is there; false if not.
    fn rouse(self: &Arc<Self>) -> bool {
        let mut inner = self.inner.lock();
        let Some((conversation, seat)) = inner.conversation.zip(inner.seat.take()) else { return false };
        if inner.placed && !inner.linked && inner.machine.is_over() {
            // The link went with the message, before anybody had to do with the conversation.
            inner.place = None;
        }
        let linked = if inner.placed { inner.place.clone() } else { None };
        drop(inner);
        self.embody(conversation, seat, linked);
        true
    }

    fn embody(self: &Arc<Self>, conversation: Pid, seat: DormantSeat, linked: Option<Assigned<M, R>>) {
        let membership = self.set().membership(conversation, seat);
        let record = Arc::clone(self);
        self.group.runtime.rouse(conversation, |ctx| converse(ctx, record, linked, membership));
    }

    /// The conversation has something to do.
    pub(crate) fn nudge(self: &Arc<Self>, conversation: Pid) {
        if !self.rouse()
            && let Ok(conversation) = self.group.runtime.address_of::<()>(conversation)
        {
            // One that has ended needs no telling.
            drop(conversation.send(()));
        }
    }

    /// The message is over, and so is its conversation: at once, if it has never had anything to do.
    pub(crate) fn part(self: &Arc<Self>, parting: Parting<M, R>, moored: bool) {
        let Parting { conversation, seat, linked } = parting;
        if moored {
            // It has ended in its berth, and nobody has had to do with it but its peer.
            if let Some(place) = linked {
                place.occupant.address.forget_dormant(self.origin.link(conversation));
            }
            return;
        }
        let Some(seat) = seat else { return self.nudge(conversation) };
        if self.group.runtime.retire(&**self, linked.as_ref().map(|place| &place.occupant.address)) {
            return self.set().leave(conversation, seat);
        }
        // Should it be killed, its consumer is to know whose end it is told of.
        self.inner.lock().place.clone_from(&linked);
        self.embody(conversation, seat, linked);
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Inner<M, R> {
    /// The conversation, to be ended; not if the caller takes the outcome: that ends it then, where it was made.
    pub(super) fn part_unless_attended(&mut self) -> Option<Parting<M, R>> {
        if self.attended { None } else { self.part() }
    }

    /// Its consumer forgets the link that a dormant conversation has to it: the conversation's pid. Of one that somebody has had to
    /// do with, both sides know the link: it stays until that ends.
    pub(super) fn unlink(&mut self, origin: &Origin) -> Option<Pid> {
        if origin.is_made() {
            return None;
        }
        let dormant = self.conversation.filter(|_| self.seat.is_some() && self.linked)?;
        self.linked = false;
        Some(dormant)
    }

    /// The message was completed.
    pub(crate) fn end_plainly(&mut self, last: Last) -> (Option<Waker>, Option<Parting<M, R>>) {
        let caller = self.tell(last.told);
        (caller, self.part_unless_attended())
    }

    /// The conversation that ends now: one that had a berth has ended when its message left the yard. Its link may be left to be
    /// seen to also if somebody has just taken its seat: who was to give it a body does not find it any more.
    #[inline]
    pub(crate) fn parting(&mut self, parting: Option<Parting<M, R>>, moored: bool) -> Option<Parting<M, R>> {
        if !moored {
            return parting;
        }
        if parting.is_none() && !self.linked {
            (self.conversation, self.seat) = (None, None);
            return None;
        }
        self.parting_linked(parting)
    }

    fn parting_linked(&mut self, parting: Option<Parting<M, R>>) -> Option<Parting<M, R>> {
        let mut parting = parting.or_else(|| self.part())?;
        if std::mem::take(&mut self.linked) && parting.linked.is_none() {
            parting.linked = self.place.take();
        }
        Some(parting)
    }

    /// The conversation, to be ended.
    /// The conversation has not been taken out.
    pub(super) fn is_there(&self) -> bool {
        self.conversation.is_some()
    }

    pub(super) fn part(&mut self) -> Option<Parting<M, R>> {
        let conversation = self.conversation.take()?;
        let seat = self.seat.take();
        let linked = if self.linked && seat.is_some() { self.place.take() } else { None };
        Some(Parting { conversation, seat, linked })
    }
}
