//! Shared: where a message goes next: to whom it was routed, or who came free for it.
use super::{Assigned, Record, Todo};
use crate::act::Act;
use crate::blame::End;
use crate::conversation::Phase;
use crate::routing::Choice;
use crate::waiting_room::Wish;
use crate::yard::Entered;
use colloquium_runtime::{ExitReason, Unwoken};
use std::sync::Arc;
use std::time::Duration;

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    /// A place came free for the message. If nobody wants it any more, whoever ended it gives the place back.
    pub(crate) fn granted(self: &Arc<Self>, place: Assigned<M, R>, now: Duration) {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        if inner.assign(place, now).is_some() {
            inner.todo = Todo::Forward;
            act.nudge = inner.conversation;
        }
        self.run(inner, act);
    }

    /// The message has its key, and its conversation is to route it.
    pub(crate) fn route(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        if inner.machine.phase() == Phase::Parked {
            inner.todo = Todo::Route { alone: false };
            act.nudge = inner.conversation;
        }
        self.run(inner, act);
    }

    /// The message is to go out again, to whom the routing function chose. From the conversation's body, which forwards it then; or
    /// from elsewhere: then it is sent here and now if the conversation has no body yet, and nobody has had to do with it.
    pub(crate) fn again(self: &Arc<Self>, choice: Choice, wish: Wish, from_body: bool) {
        let mut inner = self.inner.lock();
        if inner.machine.phase() != Phase::Parked {
            return;
        }
        let now = self.group.runtime.stamp();
        let mut place = None;
        let (entered, hastened) = self.group.again(self.slot(), choice, wish, now, &mut place);
        // Wakes the consumer when this returns: the record is not locked any more then.
        let mut sent = Unwoken::default();
        let (mut undelivered, mut nudge) = (None, None);
        let refused = match entered {
            Entered::Out => {
                let attempt = place.and_then(|place| inner.assign(place, now));
                let latent = !from_body && inner.seat.is_some() && !self.origin.is_made();
                if let Some(attempt) = attempt.filter(|_| latent)
                    && let Some(place) = &inner.place
                {
                    let delivered = place.occupant.deliver_linked(self, attempt, &mut sent);
                    undelivered = (!delivered).then(|| place.occupant.pid());
                    inner.linked = delivered;
                } else if attempt.is_some() {
                    inner.todo = Todo::Forward;
                    nudge = inner.conversation.filter(|_| !from_body);
                }
                None
            }
            Entered::Waits | Entered::Routes => None,
            Entered::Refused(refusal) => Some(refusal.kind()),
        };
        drop(inner);
        self.group.hasten(hastened);
        if let Some(kind) = refused {
            self.decide(kind);
        }
        if let Some(conversation) = nudge {
            self.nudge(conversation);
        }
        if let Some(pid) = undelivered {
            self.undelivered(pid);
        }
    }

    /// The handler of that assignment has ended by `end`, and its consumer's process ends for that reason: that is certain. If the
    /// conversation has no body yet, its work is done here: the message goes to another, and it with it. Else it will learn of it.
    pub(crate) fn hand_on(self: &Arc<Self>, attempt: u32, end: End, reason: &ExitReason) {
        let mut act = self.act();
        let mut inner = self.inner.lock();
        let asleep = inner.seat.is_some() && inner.is_started(attempt) && !self.is_blocking() && !self.origin.is_made();
        let (Some(conversation), Some(place), true) = (inner.conversation, inner.place.clone(), asleep) else {
            drop(inner);
            return self.interrupted(attempt, end);
        };
        let end = if inner.overdue { End::Overdue } else { end };
        inner.interrupted.get_or_insert(end);
        let link = inner.linked.then(|| self.origin.link(conversation));
        let now = self.group.runtime.stamp();
        (act.now, act.gone) = (Some(now), Some(place.clone()));
        inner.lose(self.id(), reason.clone(), now, &mut act);
        let Todo::Route { alone } = inner.todo else { return self.run(inner, act) };
        // Nobody else routes it.
        (inner.todo, inner.linked, act.nudge) = (Todo::Rest, false, None);
        self.run(inner, act);
        if let Some(link) = link {
            place.occupant.address.forget_dormant(link);
        }
        self.reroute(Wish { avoid: Some(place.consumer), alone, only: None }, false);
    }

    /// Routes a message that has had a delivery before.
    pub(crate) fn reroute(self: &Arc<Self>, wish: Wish, from_body: bool) {
        match self.group.choose(&self.message, self.key) {
            Ok(choice) => self.again(choice, wish, from_body),
            Err(kind) => self.decide(kind),
        }
    }

    /// What the conversation is to do, and where the message is or is to go.
    pub(crate) fn next(&self) -> (Todo, Option<Assigned<M, R>>, u32) {
        let mut inner = self.inner.lock();
        if inner.machine.is_over() {
            inner.todo = Todo::End;
        }
        if matches!(inner.todo, Todo::Route { .. } | Todo::Pause { .. }) && self.holds_its_key() {
            return (Todo::Rest, inner.place.clone(), inner.attempt);
        }
        let todo = std::mem::replace(&mut inner.todo, Todo::Rest);
        (todo, inner.place.clone(), inner.attempt)
    }
}
