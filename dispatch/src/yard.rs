//! Pure: a group's messages and places: who goes out to whom, who waits for what, and what a finished delivery sets free.
//!
//! It composes the machines that decide parts of this ([`Seats`], [`WaitingRoom`], [`Lanes`], [`Breaker`]). Between two calls
//! this holds: a consumer that has room has it because nobody who waits takes it. What consumers do to it is in `changes.rs`, what is
//! to be seen of it in `sight.rs`.
mod changes;
mod entry;
mod pids;
pub(crate) mod quay;
mod reserve;
mod sight;

use crate::breaker::{Breaker, Pass};
use crate::lanes::{Entered as Lane, Lanes};
use crate::metrics::{Coming, Counted, Going, Timing};
use crate::retry::Chance;
use crate::routing::Choice;
use crate::seats::{Chosen, Occupant, Seats};
use crate::slots::{SlotNumber, Slots};
use crate::view::{ConsumerId, GroupTotals};
use crate::waiting_room::{WaitingRoom, Wish};
use colloquium_runtime::Pid;
use entry::{At, Entries, Entry, Plan};
use pids::Pids;
use quay::Quay;
use std::time::Duration;

/// What a group was told about waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) waiting: usize,
    pub(crate) per_key: usize,
    pub(crate) max_wait: Duration,
}

/// A place at a consumer: the right to deliver to that process of it.
#[derive(Clone, Debug)]
pub(crate) struct Place<A> {
    pub(crate) consumer: ConsumerId,
    pub(crate) incarnation: u64,
    pub(crate) occupant: A,
}

/// A place that one who waited has now; `None` for its key alone: its conversation is to ask for a place.
#[derive(Debug)]
pub(crate) struct Grant<T, A> {
    pub(crate) ticket: T,
    pub(crate) place: Option<Place<A>>,
}

/// What asking for a place came to.
#[derive(Debug)]
pub(crate) enum Entered {
    Out,
    Waits,
    /// It is in, and its conversation is to ask.
    Routes,
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Closed,
    Overloaded {
        retry_after: Duration,
    },
    NoConsumer,
    Unknown,
    /// The caller is a consumer of the group and holds a delivery.
    OwnGroup,
}

/// One message, as it comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// A number of its own, if it has brought one.
    pub(crate) id: Option<u64>,
    pub(crate) key: Option<u64>,
    pub(crate) deadline: Duration,
    pub(crate) choice: Choice,
    /// The process that dispatches, if it is one.
    pub(crate) caller: Option<Pid>,
    /// The room that was kept for it.
    pub(crate) slot: Option<SlotNumber>,
}

/// How a delivery ended, as far as its consumer and the group are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Completed,
    Failed,
    /// It is blamed for the end of its consumer.
    Crashed,
    /// It went without fault.
    Lost,
}

/// In the order of how often a message touches them, so that few lines of memory go from core to core with it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Yard<T, A> {
    pub(crate) closing: bool,
    pub(crate) paused: bool,
    /// It is to look earlier than it means to, and was not told yet.
    hastened: bool,
    entries: Entries<T>,
    pub(crate) seats: Seats<A>,
    coming: Box<Coming>,
    going: Box<Going>,
    /// Those but what is counted in `coming` and `going`.
    totals: GroupTotals,
    /// The completions there had been at that moment, for the rate.
    rate: (Duration, u64),
    pub(crate) quay: Quay,
    counted: Counted,
    /// When the keeper looks next.
    keeper: Duration,
    /// By the entries' places.
    plans: Vec<Plan>,
    pub(crate) breaker: Breaker,
    room: WaitingRoom<usize>,
    pub(crate) slots: Slots,
    bounds: Bounds,
    lanes: Lanes<usize>,
    breaker_since: Duration,
    chance: Chance,
    pids: Pids,
}

pub(crate) type Grants<T, A> = Vec<Grant<T, A>>;

impl<T: Clone, A: Occupant> Yard<T, A> {
    pub(crate) fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            bounds,
            seats: Seats::new(),
            pids: Pids::default(),
            entries: Entries::new(),
            plans: Vec::new(),
            room: WaitingRoom::default(),
            lanes: Lanes::default(),
            slots: Slots::default(),
            breaker: Breaker::default(),
            breaker_since: Duration::ZERO,
            chance: Chance(seed),
            quay: Quay::default(),
            closing: false,
            paused: false,
            coming: Box::default(),
            going: Box::default(),
            totals: GroupTotals::default(),
            counted: Counted::default(),
            keeper: Duration::MAX,
            hastened: false,
            rate: (Duration::ZERO, 0),
        }
    }

    pub(crate) fn chance(&mut self) -> u64 {
        self.chance.draw()
    }

    /// A number for a message that has none.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.coming.numbers;
        self.coming.numbers += 1;
        number
    }

    fn anyone(&self) -> bool {
        self.seats.usable() > 0 || self.seats.iter().any(super::seats::Seat::is_wanted)
    }

    /// Lets a message in; with `routes_itself`, its conversation is to ask for a place. The ticket is told its
    /// place here and the message's number before it can be granted anything.
    pub(crate) fn enter(
        &mut self,
        request: Request,
        ticket: T,
        routes_itself: bool,
        now: Duration,
        number: impl FnOnce(&T, usize, u64),
        place: &mut Option<Place<A>>,
    ) -> Entered {
        let request = Request { slot: request.slot.filter(|slot| self.slots.spend(*slot)), ..request };
        if let Some(refusal) = self.refusal(request.caller) {
            return Entered::Refused(refusal);
        }
        let wish = Wish::default();
        let slot = self.entries.vacant_slot();
        let held = request.key.is_some_and(|key| self.lanes.is_taken(key));
        let chosen = if held || routes_itself { Chosen::Wait(wish) } else { self.pick(request.choice, wish) };
        // Whether there is room for it, and whether it has to wait, shows when it has been routed.
        let admitted = held || !routes_itself;
        let at = match chosen {
            Chosen::Unknown => return Entered::Refused(Refusal::Unknown),
            _ if admitted && request.slot.is_none() && self.turns_away(chosen, now) => {
                return Entered::Refused(self.overloaded(now));
            }
            Chosen::Wait(_) | Chosen::At(_) => {
                let per_key = if request.slot.is_some() { usize::MAX } else { self.bounds.per_key };
                match request.key.map(|key| self.lanes.enter(key, slot, per_key)) {
                    Some(Lane::Full) => return Entered::Refused(self.overloaded(now)),
                    Some(Lane::Waits) => At::Lane,
                    Some(Lane::Taken) | None => At::Parked,
                }
            }
        };
        self.coming.dispatched += 1;
        self.coming.into.add(now);
        let id = request.id.unwrap_or_else(|| self.number());
        number(&ticket, slot, id);
        self.entries.insert(ticket, Entry { id, entered: now, at, moored: false, keyed: request.key.is_some() });
        let plan = Plan {
            key: request.key,
            deadline: request.deadline,
            choice: request.choice,
            since: now,
            again: 0,
            promised: request.slot.is_some(),
            routes_itself,
            admitted,
        };
        self.note(slot, plan);
        let entered = match chosen {
            Chosen::At(position) => {
                *place = Some(self.give(slot, position));
                Entered::Out
            }
            Chosen::Wait(_) if !admitted => Entered::Routes,
            Chosen::Wait(wish) if at == At::Parked => {
                self.wait(slot, wish, now);
                Entered::Waits
            }
            Chosen::Wait(_) | Chosen::Unknown => Entered::Waits,
        };
        let due = match entered {
            Entered::Waits => request.deadline.min(now.saturating_add(self.bounds.max_wait)),
            _ => request.deadline,
        };
        self.hasten(due);
        entered
    }

    #[inline(always)]
    fn note(&mut self, slot: usize, plan: Plan) {
        match self.plans.get_mut(slot) {
            Some(last) => *last = plan,
            None => self.plans.push(plan),
        }
    }

    /// The keeper is to look by then.
    fn hasten(&mut self, due: Duration) {
        if due < self.keeper {
            (self.keeper, self.hastened) = (due, true);
        }
    }

    /// True if the keeper is to be told to look earlier than it means to.
    #[must_use]
    pub(crate) fn take_hastened(&mut self) -> bool {
        std::mem::take(&mut self.hastened)
    }

    /// Chooses, unless all have to wait.
    fn pick(&mut self, choice: Choice, wish: Wish) -> Chosen {
        let chosen = self.seats.choose(choice, wish, &mut self.chance);
        match chosen {
            Chosen::At(_) if self.paused || !self.breaker.lets_pass() => {
                let only = if let Choice::To(id) = choice { Some(id) } else { None };
                Chosen::Wait(Wish { only, ..wish })
            }
            chosen => chosen,
        }
    }

    /// Takes a place at a consumer that has room.
    #[inline(always)]
    fn give(&mut self, slot: usize, position: usize) -> Place<A> {
        let probe = self.breaker.pass() == Pass::Probe;
        self.coming.delivered += 1;
        self.seats.give(position);
        let seat = self.seats.at(position);
        let (consumer, incarnation) = (seat.id, seat.incarnation);
        let occupant = seat.occupant.clone().expect("one that has room is there");
        self.entries[slot].at =
            At::Out { consumer, incarnation, near: u32::try_from(position).unwrap_or(u32::MAX), probe };
        Place { consumer, incarnation, occupant }
    }

    fn wait(&mut self, slot: usize, wish: Wish, now: Duration) {
        let place = self.room.enter(slot, wish, now);
        (self.entries[slot].at, self.plans[slot].since) = (At::Room(place), now);
    }

    /// A message that is in, and with its conversation, is to go out again.
    pub(crate) fn again(
        &mut self,
        slot: usize,
        choice: Choice,
        wish: Wish,
        now: Duration,
        place: &mut Option<Place<A>>,
    ) -> Entered {
        if let Some(refusal) = self.refusal(None) {
            return Entered::Refused(refusal);
        }
        debug_assert_eq!(self.entries[slot].at, At::Parked, "it is with its conversation");
        let admitted = std::mem::replace(&mut self.plans[slot].admitted, true);
        let chosen = self.pick(choice, wish);
        let unpromised = !admitted && !self.plans[slot].promised;
        match chosen {
            Chosen::Unknown => Entered::Refused(Refusal::Unknown),
            _ if unpromised && self.turns_away(chosen, now) => Entered::Refused(self.overloaded(now)),
            Chosen::At(position) => {
                *place = Some(self.give(slot, position));
                Entered::Out
            }
            Chosen::Wait(wish) => {
                self.wait(slot, wish, now);
                self.hasten(now.saturating_add(self.bounds.max_wait));
                Entered::Waits
            }
        }
    }

    /// The message's delivery is over; it stays, to go out again.
    pub(crate) fn park(&mut self, slot: usize, finish: Finish, now: Duration) -> Grants<T, A> {
        let mut grants = Vec::new();
        self.totals.rerouted += 1;
        self.plans[slot].again += 1;
        self.leave_place(slot, finish, now, &mut grants);
        grants
    }

    /// The message is done with. Its ticket comes out, to be dropped elsewhere, and whether its conversation had a berth, in which it has
    /// ended thereby. With `hold`, its key is kept from others.
    pub(crate) fn leave(
        &mut self,
        slot: usize,
        finish: Finish,
        hold: bool,
        timing: Option<Timing>,
        now: Duration,
        grants: &mut Grants<T, A>,
    ) -> (T, bool) {
        self.leave_place(slot, finish, now, grants);
        let ticket = self.entries.remove(slot);
        let Entry { entered, at, moored, keyed, .. } = self.entries[slot];
        self.unmoor(moored);
        if let Some(timing) = timing
            && self.going.completed(entered, timing, now)
        {
            self.counted.count(&mut self.going);
        }
        if keyed && let Some(key) = self.plans[slot].key {
            if at == At::Lane {
                self.lanes.leave(key, slot);
            } else if let Some(next) = self.lanes.release(key, hold) {
                self.go_on(next, now, grants);
            }
        }
        (ticket, moored)
    }

    fn leave_place(&mut self, slot: usize, finish: Finish, now: Duration, grants: &mut Grants<T, A>) {
        let entry = &mut self.entries[slot];
        let at = match entry.at {
            At::Lane => return,
            at => {
                entry.at = At::Parked;
                at
            }
        };
        let message = entry.id;
        match at {
            At::Room(place) => drop(self.room.leave(place)),
            At::Out { consumer, incarnation, near, probe } => {
                let was_open = self.breaker.is_open();
                self.count(finish, message, probe);
                if !was_open && self.breaker.is_open() {
                    self.breaker_since = now;
                }
                if was_open && !self.breaker.is_open() {
                    self.settle(grants);
                }
                if let Some(position) = self.seats.position_near(consumer, near as usize) {
                    if self.vacate(position, incarnation, finish, now) {
                        self.settle(grants);
                    } else {
                        self.offer(position, grants);
                    }
                }
                if was_open {
                    // The next probe is anybody's.
                    self.settle(grants);
                }
            }
            At::Parked | At::Lane => {}
        }
    }

    fn count(&mut self, finish: Finish, message: u64, probe: bool) {
        match finish {
            Finish::Completed => {
                self.going.completed += 1;
            }
            Finish::Failed => self.totals.failed += 1,
            Finish::Crashed => self.totals.crashed += 1,
            Finish::Lost => self.totals.lost += 1,
        }
        match finish {
            Finish::Lost if probe => self.breaker.probe_lost(),
            Finish::Lost => {}
            _ => self.breaker.finished(message, finish == Finish::Crashed, probe),
        }
    }

    /// A place is free again, unless the process that it was at is not there any more. True if the consumer is ejected for
    /// how it ended.
    fn vacate(&mut self, position: usize, incarnation: u64, finish: Finish, now: Duration) -> bool {
        if finish == Finish::Completed && self.seats.complete(position, incarnation, now) {
            return false;
        }
        let chance = if finish == Finish::Completed { 0 } else { self.chance.draw() };
        let mut ejected = None;
        self.seats.change(position, |seat| {
            if seat.incarnation == incarnation && seat.occupant.is_some() {
                seat.taken = seat.taken.saturating_sub(1);
            }
            match finish {
                Finish::Completed => {
                    seat.completed += 1;
                    seat.half_open = false;
                    seat.health.completed();
                }
                Finish::Failed | Finish::Crashed => ejected = seat.health.failed(chance),
                Finish::Lost => {}
            }
            match finish {
                Finish::Completed => seat.out.add(now),
                Finish::Failed => seat.tally.failed += 1,
                Finish::Crashed => seat.tally.crashed += 1,
                Finish::Lost => seat.tally.lost += 1,
            }
        });
        let Some(time) = ejected else { return false };
        let out = self.seats.iter().filter(|seat| seat.ejected_until.is_some()).count();
        if 2 * (out + 1) > self.seats.len() {
            return false;
        }
        let until = now.saturating_add(time);
        self.totals.ejections += 1;
        self.seats.change(position, |seat| (seat.ejected_until, seat.trouble_since) = (Some(until), now));
        self.hasten(until);
        true
    }

    /// Gives a consumer's room to those who wait.
    fn offer(&mut self, position: usize, grants: &mut Grants<T, A>) {
        if self.room.len() == 0 || self.paused {
            return;
        }
        while self.breaker.lets_pass() {
            let Some(offer) = self.seats.offer(position) else { return };
            let Some((slot, _)) = self.room.offer(offer) else { return };
            let place = Some(self.give(slot, position));
            grants.push(Grant { ticket: self.entries.ticket(slot).clone(), place });
        }
    }

    /// Gives all room to those who wait.
    pub(crate) fn settle(&mut self, grants: &mut Grants<T, A>) {
        if self.room.len() == 0 {
            return;
        }
        for position in self.seats.all_open() {
            self.offer(position, grants);
        }
    }
}

#[cfg(test)]
#[path = "yard/tests/lives.rs"]
mod tests;
