//! Shared: where a message goes next: to whom it was routed, or who came free for it.
use super::{Assigned, Record, Todo};
use crate::act::Act;
use crate::conversation::Phase;
use crate::routing::Choice;
use crate::waiting_room::Wish;
use crate::yard::Entered;
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

    /// The message is to go out again, to whom the routing function chose.
    pub(crate) fn again(self: &Arc<Self>, choice: Choice, wish: Wish) {
        let mut inner = self.inner.lock();
        if inner.machine.phase() != Phase::Parked {
            return;
        }
        let now = self.group.runtime.now();
        let (entered, hastened) = self.group.again(self.slot(), choice, wish, now);
        let refused = match entered {
            Entered::Out(place) => {
                if inner.assign(place, now).is_some() {
                    inner.todo = Todo::Forward;
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
