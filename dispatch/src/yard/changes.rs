//! Pure: what the consumers' comings and goings, and the time, do to a group's yard.
use super::{At, Grant, Grants, Yard};
use crate::revival::{Ended, Health, Revival};
use crate::routing::Choice;
use crate::seats::{Chosen, Occupant, Seat};
use crate::view::ConsumerId;
use crate::waiting_room::Wish;
use std::time::Duration;

impl<T: Clone, A: Occupant> Yard<T, A> {
    /// A process of a consumer is there. Returns its number.
    pub(crate) fn up(&mut self, id: ConsumerId, occupant: A, now: Duration) -> (u64, Grants<T, A>) {
        let mut grants = Vec::new();
        let Some(position) = self.seats.position(id) else { return (0, grants) };
        if let Some(process) = occupant.process() {
            self.pids.insert(process, id);
        }
        let incarnation = self.seats.change(position, |seat| {
            seat.incarnation += 1;
            seat.back_off = None;
            (seat.occupant, seat.taken, seat.since) = (Some(occupant), 0, now);
            (seat.stuck, seat.gone) = (false, false);
            seat.half_open = seat.incarnation > 1;
            seat.incarnation
        });
        self.offer(position, &mut grants);
        (incarnation, grants)
    }

    /// A process of a consumer has ended (or counts as such), not on request if there is an `ended`. What comes of that.
    pub(crate) fn down(
        &mut self,
        id: ConsumerId,
        incarnation: u64,
        ended: Option<Ended>,
    ) -> (Option<A>, Revival, Grants<T, A>) {
        let chance = self.chance.draw();
        let mut grants = Vec::new();
        let Some(position) = self.seats.position(id) else { return (None, Revival::GiveUp, grants) };
        let at_start = matches!(ended, Some(Ended::AtStart));
        let mut revival = Revival::After(Duration::ZERO);
        let occupant = self.seats.change(position, |seat| {
            let mine = seat.incarnation == incarnation && seat.occupant.is_some();
            if !mine && !at_start {
                return None;
            }
            if let Some(ended) = ended {
                revival = seat.health.ended(ended, chance);
                match revival {
                    Revival::After(pause) => seat.pause = pause,
                    Revival::GiveUp => seat.failed = true,
                }
            }
            if at_start {
                return None;
            }
            seat.taken = 0;
            seat.occupant.take()
        });
        if let Some(process) = occupant.as_ref().and_then(Occupant::process) {
            self.pids.remove(process);
        }
        if ended.is_some() && (occupant.is_some() || at_start) {
            self.totals.restarts += 1;
        }
        if self.seats.at(position).failed {
            self.seats.retire(id);
            self.room.forget(id);
        }
        // Who would not go to the last that is left, or only to this one, is not so choosy now.
        self.settle(&mut grants);
        (occupant, revival, grants)
    }

    /// That process of a consumer does not take messages any more; its end will be told. It gets nothing more: a message that
    /// went there again and again until then would use up its free tries.
    #[must_use]
    pub(crate) fn gone(&mut self, id: ConsumerId, incarnation: u64) -> Grants<T, A> {
        let mut grants = Vec::new();
        let Some(position) = self.seats.position(id) else { return grants };
        if self.seats.at(position).incarnation == incarnation && !self.seats.at(position).gone {
            self.seats.change(position, |seat| seat.gone = true);
            self.settle(&mut grants);
        }
        grants
    }

    /// A delivery of that consumer is overdue: it gets nothing more. Those that wait for it take any.
    #[must_use]
    pub(crate) fn stuck(&mut self, id: ConsumerId, incarnation: u64) -> Grants<T, A> {
        let mut grants = Vec::new();
        let Some(position) = self.seats.position(id) else { return grants };
        self.seats.change(position, |seat| seat.stuck |= seat.incarnation == incarnation);
        self.room.forget(id);
        self.settle(&mut grants);
        grants
    }

    /// A consumer is to leave: it gets nothing more. False if it was to before, or is not there.
    #[must_use]
    pub(crate) fn leaves(&mut self, id: ConsumerId) -> (bool, Grants<T, A>) {
        let mut grants = Vec::new();
        let Some(position) = self.seats.position(id) else { return (false, grants) };
        let fresh = self.seats.change(position, |seat| !std::mem::replace(&mut seat.leaving, true));
        self.seats.retire(id);
        self.room.forget(id);
        self.settle(&mut grants);
        (fresh, grants)
    }

    /// The key is another message's now.
    pub(super) fn go_on(&mut self, slot: usize, now: Duration, grants: &mut Grants<T, A>) {
        let choice = self.plans[slot].choice;
        let choice = if let Choice::To(id) = choice { self.known(id) } else { choice };
        self.entries[slot].at = At::Parked;
        if self.plans[slot].routes_itself {
            grants.push(Grant { ticket: self.entries.ticket(slot).clone(), place: None });
            return;
        }
        match self.pick(choice, Wish::default()) {
            Chosen::At(position) => {
                let place = Some(self.give(slot, position));
                grants.push(Grant { ticket: self.entries.ticket(slot).clone(), place });
            }
            Chosen::Wait(wish) => {
                let since = self.plans[slot].since;
                self.wait(slot, wish, now);
                self.plans[slot].since = since;
            }
            Chosen::Unknown => self.wait(slot, Wish::default(), now),
        }
    }

    /// The one that was chosen may have left while the message waited.
    fn known(&self, id: ConsumerId) -> Choice {
        if self.seats.get(id).is_some_and(Seat::is_wanted) { Choice::To(id) } else { Choice::Any }
    }

    /// Lets a held key go on.
    pub(crate) fn resume_key(&mut self, key: u64, now: Duration) -> (bool, Grants<T, A>) {
        let mut grants = Vec::new();
        let (was_held, next) = self.lanes.resume(key);
        if let Some(next) = next {
            self.go_on(next, now, &mut grants);
        }
        (was_held, grants)
    }

    /// The group is started again, after it has ended for want of consumers: those that were given up have all their tries again.
    pub(crate) fn reborn(&mut self) {
        for position in 0..self.seats.len() {
            if !self.seats.at(position).failed {
                continue;
            }
            let id = self.seats.change(position, |seat| {
                (seat.failed, seat.pause, seat.health) = (false, Duration::ZERO, Health::default());
                seat.id
            });
            if self.seats.at(position).is_wanted() {
                self.seats.enlist(id);
            }
        }
    }

    /// Whether the group has consumers, and every one has been given up.
    pub(crate) fn all_failed(&self) -> bool {
        self.seats.len() > 0 && self.seats.iter().all(|seat| seat.failed)
    }

    /// What is due: messages whose deadline is over, and those that have waited too long; and when to look next. Ejections
    /// that are over end.
    pub(crate) fn due(&mut self, now: Duration) -> (Vec<T>, Vec<T>, Grants<T, A>, Duration) {
        let (mut late, mut waited, mut grants) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = Duration::MAX;
        for (slot, ticket, entry) in self.entries.iter() {
            let plan = &self.plans[slot];
            let waits = matches!(entry.at, At::Room(_) | At::Lane);
            // Who came with a slot was promised not to be refused for lack of room, however long it takes.
            let patience = if plan.promised { Duration::MAX } else { self.bounds.max_wait };
            let until = plan.since.saturating_add(patience);
            if plan.deadline <= now {
                late.push(ticket.clone());
            } else if waits && until <= now {
                waited.push(ticket.clone());
            } else {
                next = next.min(plan.deadline).min(if waits { until } else { Duration::MAX });
            }
        }
        for position in 0..self.seats.len() {
            let Some(until) = self.seats.at(position).ejected_until else { continue };
            if until <= now {
                self.seats.change(position, |seat| (seat.ejected_until, seat.half_open) = (None, true));
                self.offer(position, &mut grants);
            } else {
                next = next.min(until);
            }
        }
        next = next.min(self.slots.expire(now));
        if now.saturating_sub(self.rate.0) > Duration::from_secs(1) {
            self.rate = (now, self.going.completed);
        }
        (self.keeper, self.hastened) = (next, false);
        (late, waited, grants, next)
    }
}
