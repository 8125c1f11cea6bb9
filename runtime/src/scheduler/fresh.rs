//! Shared: the waits for answers that a worker has collected and that have no timer yet.
//!
//! Behind a lock that is the worker's own in effect; others take it only to take over from a worker that is stuck. Waits are
//! collected without a look at the clock, and most are taken back soon, when the answer has come. A tick stamps what has been
//! collected: their time counts from then, so that none is early; some ticks later those that are still awaited come out, to
//! get a timer, and to have the callee note who waits for it.
use crate::clock::{Clock, nanos};
use crate::limits::{FRESH_STALE, FRESH_TICKS, FRESH_TIME_OUTS};
use crate::process::reply::Pending;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Who waits, until it is taken back, and for how many nanoseconds.
pub(crate) struct Wait {
    pub(crate) pending: Option<Arc<dyn Pending>>,
    pub(crate) timeout: u64,
}

/// Where a wait was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) worker: usize,
    spot: Spot,
}

/// Where it stands among those of its worker: the number of the generation, and the index in it. In one word, so that it comes in a
/// register: written in halves and read as a whole, it would have to come from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot(u64);

impl Spot {
    fn new(generation: u32, index: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    pub(crate) fn of(self, worker: usize) -> Place {
        Place { worker, spot: self }
    }
}

#[derive(Default)]
pub(crate) struct Fresh(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    /// Some have been taken back; the last has not.
    collected: Vec<Wait>,
    /// The number of `collected`, that wraps; those before it are `stamped`.
    generation: u32,
    /// Each with the moment from which its time counts, the oldest first.
    stamped: VecDeque<(u64, Vec<Wait>)>,
    spares: Vec<Vec<Wait>>,
}

impl Fresh {
    /// One more; true when there are so many that it is time for a tick. (Not inlined, so that the pointer
    /// comes in registers. Through the stack it would be written in halves and read as a whole, which processors are slow at.)
    #[inline(never)]
    pub(crate) fn collect(&self, pending: Arc<dyn Pending>, timeout: u64) -> (Spot, bool) {
        let mut generations = self.0.lock();
        let at = generations.collected.len();
        // Filled in where it stands.
        generations.collected.push(Wait { pending: None, timeout: 0 });
        if let Some(last) = generations.collected.last_mut() {
            (last.pending, last.timeout) = (Some(pending), timeout);
        }
        let index = u32::try_from(at).expect("a tick empties it long before");
        (Spot::new(generations.generation, index), at + 1 >= FRESH_TIME_OUTS)
    }

    /// Takes back what was put there, unless that has come of age.
    #[inline]
    #[must_use]
    pub(crate) fn take_back(&self, place: Place) -> Option<Arc<dyn Pending>> {
        let mut generations = self.0.lock();
        let at = place.spot.index();
        let age = generations.generation.wrapping_sub(place.spot.generation()) as usize;
        if age > 0 {
            let list = generations.stamped.len().checked_sub(age)?;
            return generations.stamped.get_mut(list)?.1.get_mut(at)?.pending.take();
        }
        let collected = &mut generations.collected;
        let pending = collected.get_mut(at)?.pending.take();
        while collected.last().is_some_and(|wait| wait.pending.is_none()) {
            collected.truncate(collected.len() - 1);
        }
        pending
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
        let mut generations = self.0.lock();
        if list.capacity() <= 2 * FRESH_TIME_OUTS && generations.spares.len() <= FRESH_TICKS {
            generations.spares.push(list);
        }
    }
}

impl Generations {
    /// The clock is read after all that is stamped was collected.
    fn stamp(&mut self, clock: &Clock) {
        if !self.collected.is_empty() {
            let spare = self.spares.pop().unwrap_or_default();
            let collected = std::mem::replace(&mut self.collected, spare);
            self.stamped.push_back((clock.peek(), collected));
            self.generation = self.generation.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::process::reply::ReplyCell;

    fn count(taken: &[(u64, Vec<Wait>)]) -> usize {
        taken.iter().map(|(_, waits)| waits.iter().filter(|wait| wait.pending.is_some()).count()).sum()
    }

    fn collect(fresh: &Fresh) -> Place {
        fresh.collect(ReplyCell::<u8>::new(None), 7).0.of(0)
    }

    #[test]
    fn an_entry_comes_of_age_after_some_ticks_and_counts_from_the_first() {
        let (fresh, clock) = (Fresh::default(), Clock::new());
        collect(&fresh);
        collect(&fresh);
        let before = clock.now();
        for _ in 0..FRESH_TICKS {
            assert_eq!(count(&fresh.tick(&clock, false)), 0);
            collect(&fresh);
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
        collect(&fresh);
        let now = clock.now();
        assert_eq!(count(&fresh.take_over(now, &clock)), 0);
        // What was seen lags behind by up to a millisecond.
        while clock.seen() < nanos(FRESH_STALE) {
            clock.now();
        }
        assert_eq!(count(&fresh.take_over(0, &clock)), 1);
    }

    /// Every wait of three generations is taken back in its turn, and nothing else is.
    #[test]
    fn what_is_taken_back_is_what_was_put_there_and_once() {
        for out in 0..6 {
            let (fresh, clock) = (Fresh::default(), Clock::new());
            let mut put = Vec::new();
            for _ in 0..3 {
                for _ in 0..2 {
                    let cell: Arc<dyn Pending> = ReplyCell::<u8>::new(None);
                    put.push((fresh.collect(Arc::clone(&cell), 7).0.of(0), cell));
                }
                if put.len() < 6 {
                    assert_eq!(count(&fresh.tick(&clock, false)), 0);
                }
            }
            let taken = fresh.take_back(put[out].0).expect("it is there");
            assert!(std::ptr::addr_eq(Arc::as_ptr(&taken), Arc::as_ptr(&put[out].1)));
            assert!(fresh.take_back(put[out].0).is_none());
            assert_eq!(count(&fresh.tick(&clock, true)), 5);
            assert!(put.iter().all(|(place, _)| fresh.take_back(*place).is_none()), "all have come of age");
        }
    }

    #[test]
    fn a_list_from_whose_end_all_was_taken_back_is_empty() {
        let fresh = Fresh::default();
        let places: Vec<Place> = (0..4).map(|_| collect(&fresh)).collect();
        for at in [1, 2, 3] {
            assert!(fresh.take_back(places[at]).is_some());
        }
        assert_eq!(fresh.0.lock().collected.len(), 1);
        let again = collect(&fresh);
        assert_eq!(again, places[1]);
        assert!(fresh.take_back(again).is_some() && fresh.take_back(places[0]).is_some());
        assert_eq!(fresh.0.lock().collected.len(), 0);
    }
}
