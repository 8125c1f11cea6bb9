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
        let next = locked.next().unwrap_or(u64::MAX);
        if next < guarded.next.load(Ordering::Relaxed) {
            guarded.next.store(next, Ordering::SeqCst);
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
