//! Shared: the time-outs that a worker has collected and that have no timer yet.
//!
//! Behind a lock that is the worker's own in effect; others take it only to take over from a worker that is stuck. Entries are
//! collected without a look at the clock. A tick stamps what has been collected: their time counts from then, so that none is
//! early; some ticks later those that are still awaited come out, to get a timer. Most are over by then.
use crate::clock::{Clock, nanos};
use crate::limits::{FRESH_STALE, FRESH_TICKS, FRESH_TIME_OUTS};
use crate::process::reply::Pending;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Who waits, and for how many nanoseconds.
type Wait = (Arc<dyn Pending>, u64);

#[derive(Default)]
pub(crate) struct Fresh(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    collected: Vec<Wait>,
    /// Each with the moment from which its time counts, the oldest first.
    stamped: VecDeque<(u64, Vec<Wait>)>,
    spare: Vec<Wait>,
}

impl Fresh {
    /// One more; true when there are so many that it is time for a tick.
    pub(crate) fn collect(&self, pending: Arc<dyn Pending>, timeout: u64) -> bool {
        let mut generations = self.0.lock();
        generations.collected.push((pending, timeout));
        generations.collected.len() >= FRESH_TIME_OUTS
    }

    /// A tick of the worker's own: what has come of age. With `all`, what has not as well.
    pub(crate) fn tick(&self, clock: &Clock, all: bool) -> Vec<(u64, Vec<Wait>)> {
        let mut generations = self.0.lock();
        generations.stamp(clock);
        let keep = if all { 0 } else { FRESH_TICKS };
        let of_age = generations.stamped.len().saturating_sub(keep);
        generations.stamped.drain(..of_age).collect()
    }

    /// Another worker's look: everything, if the worker has not ticked for long.
    pub(crate) fn take_over(&self, ticked: u64, clock: &Clock) -> Vec<(u64, Vec<Wait>)> {
        if clock.seen().saturating_sub(ticked) < nanos(FRESH_STALE) {
            return Vec::new();
        }
        let Some(mut generations) = self.0.try_lock() else { return Vec::new() };
        generations.stamp(clock);
        generations.stamped.drain(..).collect()
    }

    /// Takes an emptied list back for later use.
    pub(crate) fn recycle(&self, list: Vec<Wait>) {
        debug_assert!(list.is_empty(), "only the memory is used again");
        if list.capacity() <= 2 * FRESH_TIME_OUTS {
            self.0.lock().spare = list;
        }
    }
}

impl Generations {
    /// The clock is read after all that is stamped was collected.
    fn stamp(&mut self, clock: &Clock) {
        if !self.collected.is_empty() {
            let spare = std::mem::take(&mut self.spare);
            let collected = std::mem::replace(&mut self.collected, spare);
            self.stamped.push_back((clock.peek(), collected));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::process::reply::ReplyCell;

    fn count(taken: &[(u64, Vec<Wait>)]) -> usize {
        taken.iter().map(|(_, waits)| waits.len()).sum()
    }

    #[test]
    fn an_entry_comes_of_age_after_some_ticks_and_counts_from_the_first() {
        let (fresh, clock) = (Fresh::default(), Clock::new());
        fresh.collect(ReplyCell::<u8>::new(None), 7);
        fresh.collect(ReplyCell::<u8>::new(None), 7);
        let before = clock.now();
        for _ in 0..FRESH_TICKS {
            assert_eq!(count(&fresh.tick(&clock, false)), 0);
            fresh.collect(ReplyCell::<u8>::new(None), 7);
        }
        let after = clock.now();
        let taken = fresh.tick(&clock, false);
        assert_eq!(count(&taken), 2);
        assert!(before <= taken[0].0 && taken[0].0 <= after);
        assert_eq!(count(&fresh.tick(&clock, true)), FRESH_TICKS);
    }

    #[test]
    fn only_of_a_worker_that_does_not_tick_others_take_over() {
        let (fresh, clock) = (Fresh::default(), Clock::new());
        fresh.collect(ReplyCell::<u8>::new(None), 7);
        let now = clock.now();
        assert_eq!(count(&fresh.take_over(now, &clock)), 0);
        while clock.now() < nanos(FRESH_STALE) {}
        assert_eq!(count(&fresh.take_over(0, &clock)), 1);
    }
}
