//! Shared: the timers of a runtime: wheels behind locks, and what firing one does.
//!
//! One wheel per worker and one for all other threads; a process's timers may stand in any. Each wheel has an atomic
//! `next`, written under its lock, from which workers see without the lock that nothing is due. Who takes an entry out of
//! its wheel has it alone; firing happens outside the lock.
//!
//! An armer publishes `next` (sequentially consistent) before it reads until when the sleeping timekeeper sleeps, and the
//! timekeeper publishes that before it reads `next` for the last time (`scheduler/idle.rs`): one of the two sees the other.
pub(crate) mod deliver;
pub(crate) mod sleep;
pub(crate) mod wheel;

use crate::limits::TIMER_WORK;
use crate::process::reply::Pending;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use deliver::Deliver;
use std::sync::Arc;
use std::task::Waker;
use wheel::{Key, Wheel};

pub(crate) struct Timers {
    wheels: Box<[CachePadded<Guarded>]>,
}

struct Guarded {
    wheel: Mutex<Wheel<Entry>>,
    next: AtomicU64,
}

/// Which entry of which wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId {
    wheel: u32,
    key: Key,
}

/// What is to happen.
pub(crate) enum Entry {
    Wake(Waker),
    Deliver(Box<dyn Deliver>),
    TimeOut(Arc<dyn Pending>),
}

impl Timers {
    pub(crate) fn new(wheels: usize) -> Self {
        let guarded = || Guarded { wheel: Mutex::new(Wheel::new(0)), next: AtomicU64::new(u64::MAX) };
        Self { wheels: (0..wheels).map(|_| CachePadded::new(guarded())).collect() }
    }

    /// Arms a timer in the given wheel (any number). The caller sees to it that whoever sleeps too long is woken.
    pub(crate) fn insert(&self, wheel: usize, deadline: u64, entry: Entry) -> TimerId {
        let wheel = wheel % self.wheels.len();
        let guarded = &self.wheels[wheel];
        let mut locked = guarded.wheel.lock();
        let key = locked.insert(deadline, entry);
        // One that is due after the next look comes in time: that look finds out when the one after it has to be.
        if deadline <= guarded.next.load(Ordering::Relaxed) {
            let next = locked.next().unwrap_or(u64::MAX);
            if next < guarded.next.load(Ordering::Relaxed) {
                guarded.next.store(next, Ordering::SeqCst);
            }
        }
        drop(locked);
        #[expect(clippy::cast_possible_truncation, reason = "a wheel per worker")]
        TimerId { wheel: wheel as u32, key }
    }

    /// Takes a timer out: with this it will never fire. `None` if it has fired or been removed.
    pub(crate) fn remove(&self, id: TimerId) -> Option<(u64, Entry)> {
        self.wheels[id.wheel as usize].wheel.lock().remove(id.key)
    }

    /// Gives a waiting timer another waker; false if it has fired.
    pub(crate) fn set_waker(&self, id: TimerId, waker: &Waker) -> bool {
        let mut fresh = None;
        loop {
            let mut locked = self.wheels[id.wheel as usize].wheel.lock();
            let Some(Entry::Wake(known)) = locked.get_mut(id.key) else { return false };
            let same = known.will_wake(waker);
            let old = if same { None } else { fresh.take().map(|fresh| std::mem::replace(known, fresh)) };
            drop(locked);
            if same || old.is_some() {
                return true;
            }
            // Without the lock, as what is old is dropped: both may be anybody's code.
            fresh = Some(waker.clone());
        }
    }

    /// The earliest moment at which a wheel has something to do.
    pub(crate) fn earliest(&self) -> u64 {
        self.wheels.iter().map(|guarded| guarded.next.load(Ordering::SeqCst)).min().unwrap_or(u64::MAX)
    }

    /// Takes some of what is due at `now` out of the wheels; false if there is more. A wheel that another thread has at
    /// the moment is passed over.
    pub(crate) fn take_due(&self, now: u64, due: &mut Vec<Entry>) -> bool {
        let mut all = true;
        for guarded in &self.wheels {
            if guarded.next.load(Ordering::Relaxed) > now {
                continue;
            }
            let Some(mut locked) = guarded.wheel.try_lock() else { continue };
            all &= locked.advance(now, TIMER_WORK, due);
            guarded.next.store(locked.next().unwrap_or(u64::MAX), Ordering::SeqCst);
        }
        all
    }

    /// Takes all out, at the end of the runtime.
    pub(crate) fn drain(&self) -> Vec<Entry> {
        self.wheels.iter().flat_map(|guarded| guarded.wheel.lock().drain()).collect()
    }

    /// Timers that stand.
    pub(crate) fn len(&self) -> usize {
        self.wheels.iter().map(|guarded| guarded.wheel.lock().len()).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The ticks of a wheel, to which deadlines are rounded up.
    const TICK: u64 = 1 << 14;

    /// Whoever looks only at the moments that are published misses none of those that are due, whatever is armed meanwhile.
    #[test]
    fn no_timer_is_due_before_the_moment_that_is_published() {
        let timers = Timers::new(1);
        let mut random = 1_u64;
        let (mut waiting, mut due): (Vec<u64>, _) = (Vec::new(), Vec::new());
        let mut now = 0;
        for step in 0.. {
            // Spans of a tick up to hours; many at first and none at last, so that all come out.
            for _ in 0..if step < 2_000 { 1 + step % 4 } else { 0 } {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let deadline = now + (random >> 8) % (TICK << (random >> 59));
                timers.insert(0, deadline, Entry::Wake(Waker::noop().clone()));
                waiting.push(deadline.next_multiple_of(TICK));
            }
            waiting.sort_unstable();
            let Some(first) = waiting.first() else { break };
            assert!(timers.earliest() <= *first);
            now = now.max(timers.earliest());
            while !timers.take_due(now, &mut due) {}
            // Of those that were due when they were armed, some come out before their tick.
            assert!(due.len() >= waiting.iter().filter(|moment| **moment <= now).count());
            waiting.drain(..due.len());
            due.clear();
            assert_eq!(waiting.len(), timers.len());
        }
        assert_eq!(timers.earliest(), u64::MAX);
    }
}
