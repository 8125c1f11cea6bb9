//! Pure: room in the yard: who is turned away for lack of it, and what is kept for messages which are still to come.
//!
//! There is room for as many messages as there are free places and free seats in the waiting room. What of that is promised is
//! refused to those who come without a slot; who comes with one is let in, also if the room has shrunk meanwhile (a consumer
//! ended, the group was paused): the waiting room is exceeded then, by no more than the slots.
use super::{Refusal, Yard};
use crate::limits;
use crate::seats::{Chosen, Occupant};
use crate::slots::SlotNumber;
use colloquium_runtime::Pid;
use std::time::Duration;

impl<T: Clone, A: Occupant> Yard<T, A> {
    fn vacancies(&self) -> usize {
        let places = if self.paused || !self.breaker.lets_pass() { 0 } else { self.seats.vacant() };
        places + self.bounds.waiting.saturating_sub(self.waiting())
    }

    /// Whether one who comes without a slot is turned away: what is free is promised, or it would have to wait and may not.
    pub(super) fn turns_away(&mut self, chosen: Chosen, now: Duration) -> bool {
        let promised = self.slots.promised();
        promised > 0 && promised >= self.vacancies() || matches!(chosen, Chosen::Wait(_)) && self.is_full(now)
    }

    /// Whether nobody more may wait.
    fn is_full(&mut self, now: Duration) -> bool {
        self.waiting() >= self.bounds.waiting || self.room.is_pressed(self.bounds.max_wait, now)
    }

    /// How long what waits now will take, at the rate of the last time.
    pub(super) fn retry_after(&self, now: Duration) -> Duration {
        let (since, before) = self.rate;
        let completed = self.going.completed - before;
        let span = now.saturating_sub(since).max(limits::TICK);
        let each = span.checked_div(u32::try_from(completed).unwrap_or(u32::MAX)).unwrap_or(self.bounds.max_wait);
        let all = each.saturating_mul(u32::try_from(self.waiting()).unwrap_or(u32::MAX));
        all.clamp(limits::TICK, self.bounds.max_wait)
    }

    /// There is no room for one more.
    pub(super) fn overloaded(&mut self, now: Duration) -> Refusal {
        self.totals.refused += 1;
        self.counted.refused(now);
        Refusal::Overloaded { retry_after: self.retry_after(now) }
    }

    pub(super) fn refusal(&self, caller: Option<Pid>) -> Option<Refusal> {
        if self.closing {
            Some(Refusal::Closed)
        } else if caller.is_some_and(|caller| self.holds(caller)) {
            Some(Refusal::OwnGroup)
        } else if !self.anyone() {
            Some(Refusal::NoConsumer)
        } else {
            None
        }
    }

    fn has_room(&mut self, promised: usize, now: Duration) -> bool {
        promised < self.vacancies() && !self.room.is_pressed(self.bounds.max_wait, now)
    }

    /// A slot, if there is room that is promised to nobody, held until then.
    pub(crate) fn try_reserve(
        &mut self,
        caller: Option<Pid>,
        until: Duration,
        now: Duration,
    ) -> Result<SlotNumber, Refusal> {
        if let Some(refusal) = self.refusal(caller) {
            return Err(refusal);
        }
        if !self.has_room(self.slots.promised(), now) {
            return Err(self.overloaded(now));
        }
        self.hasten(until);
        Ok(self.slots.take(until))
    }

    /// A slot, or a place in the line of those who wait for one.
    pub(crate) fn reserve(
        &mut self,
        caller: Option<Pid>,
        until: Duration,
        now: Duration,
    ) -> Result<SlotNumber, Refusal> {
        if let Some(refusal) = self.refusal(caller) {
            return Err(refusal);
        }
        if !self.has_room(self.slots.promised(), now) {
            return Ok(self.slots.wait());
        }
        self.hasten(until);
        Ok(self.slots.take(until))
    }

    /// Gives what room there is to those in line, in order. Who is to look at its slot again: when nobody will get one, all are.
    pub(crate) fn admit(&mut self, until: Duration, now: Duration) -> Vec<SlotNumber> {
        if self.refusal(None).is_some() {
            return self.slots.dismiss();
        }
        let mut admitted = Vec::new();
        while self.slots.waiting() > 0 && self.has_room(self.slots.held(), now) {
            admitted.extend(self.slots.admit(until));
            self.hasten(until);
        }
        admitted
    }
}

#[cfg(test)]
#[path = "tests/reserve.rs"]
mod tests;
