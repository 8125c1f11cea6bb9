//! Shared: who sleeps, who looks for work, and who must be woken, without a wake-up lost or a herd woken.
//!
//! Atomics, and a list under a lock:
//! - `searching` counts workers that look for work; while there is one, nobody else is woken for new work, since it will
//!   find that, and wakes the next one when it has.
//! - `sleeping` mirrors the length of the list, to be read without the lock.
//! - `keeper_until` says until when the timekeeper sleeps: the one sleeper that looks after the timers; `u64::MAX` when
//!   nobody does.
//!
//! Why no wake-up is lost. One who has work pushes it, fences, and reads `searching` and `sleeping`. A worker that wants to
//! sleep enters the list (`sleeping` grows), leaves `searching`, fences, and looks at all queues once more. By the fences
//! either the first sees the sleeper, or the sleeper sees the work; a searcher that the first saw had yet to leave, and
//! looks again after that. Timers likewise: an armer stores `next` of its wheel, fences and reads `keeper_until`; a sleeper
//! stores that, fences and reads `next` of all wheels. Without the second look, what comes between the first look and the
//! entry would wait for the next push.
//!
//! Whoever is taken off the list by another is counted as searching from that moment on, on its behalf.
//!
//! A spare thread that is dismissed searches no more without having found anything: between its last look and its end others may
//! have brought work and woken nobody, since it searched. It looks once more after it has left `searching`, and wakes one
//! if there is work.
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

pub(crate) struct Idle {
    searching: AtomicUsize,
    sleeping: AtomicUsize,
    keeper_until: AtomicU64,
    /// Who was in the poller of sockets last; a hint, read and written relaxed.
    polling: AtomicUsize,
    sleepers: Mutex<Sleepers>,
    workers: usize,
}

struct Sleepers {
    list: Vec<usize>,
    keeper: Option<usize>,
}

impl Idle {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            searching: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
            keeper_until: AtomicU64::new(u64::MAX),
            polling: AtomicUsize::new(usize::MAX),
            sleepers: Mutex::new(Sleepers { list: Vec::with_capacity(workers), keeper: None }),
            workers,
        }
    }

    /// Takes a sleeper to be woken for work, if nobody looks for some already. The caller has pushed and fenced.
    #[inline]
    pub(crate) fn worker_to_wake(&self) -> Option<usize> {
        if self.searching.load(Ordering::Relaxed) > 0 || self.sleeping.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.take_sleeper(false)
    }

    /// Takes the sleeper that must hear of a timer, if all sleep beyond its deadline. The caller has stored the deadline.
    pub(crate) fn worker_for_timer(&self, deadline: u64) -> Option<usize> {
        // Pairs with the fence after `enter`.
        fence(Ordering::SeqCst);
        if deadline >= self.keeper_until.load(Ordering::Relaxed) || self.sleeping.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.take_sleeper(true)
    }

    #[cold]
    fn take_sleeper(&self, keeper_first: bool) -> Option<usize> {
        let mut sleepers = self.sleepers.lock();
        if !keeper_first && self.searching.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let keeper = sleepers.keeper;
        let find = |wanted: &dyn Fn(usize) -> bool| sleepers.list.iter().rposition(|worker| wanted(*worker));
        let at = if keeper_first {
            find(&|worker| Some(worker) == keeper)
        } else {
            // One that is parked is woken for less, and leaves the sockets attended.
            let polling = self.polling.load(Ordering::Relaxed);
            let parked = find(&|worker| Some(worker) != keeper && worker != polling);
            parked.or_else(|| find(&|worker| worker != polling))
        };
        let at = at.or(sleepers.list.len().checked_sub(1))?;
        let worker = sleepers.list.swap_remove(at);
        self.left(&mut sleepers, worker);
        self.searching.fetch_add(1, Ordering::SeqCst);
        Some(worker)
    }

    /// Bookkeeping under the lock for one that is off the list.
    fn left(&self, sleepers: &mut Sleepers, worker: usize) {
        self.sleeping.store(sleepers.list.len(), Ordering::SeqCst);
        if sleepers.keeper == Some(worker) {
            sleepers.keeper = None;
            self.keeper_until.store(u64::MAX, Ordering::SeqCst);
        }
    }

    /// Becomes a searcher, unless enough search already.
    pub(crate) fn start_search(&self) -> bool {
        if 2 * self.searching.load(Ordering::Relaxed) >= self.workers.max(2) {
            return false;
        }
        self.searching.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// The fence between entering the list and the last look at everything.
    pub(crate) fn before_last_look() {
        fence(Ordering::SeqCst);
    }

    /// Whether anybody searches.
    pub(crate) fn is_searched(&self) -> bool {
        self.searching.load(Ordering::SeqCst) > 0
    }

    /// Is a searcher no more; true if it was the last.
    pub(crate) fn stop_search(&self) -> bool {
        self.searching.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Enters the list of sleepers; the moment until which it sleeps, if it is the timekeeper now. The caller then stops
    /// searching, looks at everything once more, and sleeps or leaves.
    pub(crate) fn enter(&self, worker: usize, next_timer: u64) -> Option<u64> {
        let mut sleepers = self.sleepers.lock();
        sleepers.list.push(worker);
        self.sleeping.store(sleepers.list.len(), Ordering::SeqCst);
        let keeps = next_timer < self.keeper_until.load(Ordering::Relaxed);
        if keeps {
            sleepers.keeper = Some(worker);
            self.keeper_until.store(next_timer, Ordering::SeqCst);
        }
        drop(sleepers);
        keeps.then_some(next_timer)
    }

    /// This one sleeps in the poller of sockets.
    pub(crate) fn note_polling(&self, worker: usize) {
        self.polling.store(worker, Ordering::Relaxed);
    }

    /// Whether all workers sleep or search. A glance, which may be wrong by the time it is used.
    pub(crate) fn nobody_works(&self) -> bool {
        self.searching.load(Ordering::Relaxed) + self.sleeping.load(Ordering::Relaxed) >= self.workers
    }

    /// How many sleep.
    pub(crate) fn asleep(&self) -> usize {
        self.sleeping.load(Ordering::SeqCst)
    }

    /// Whether this one does.
    pub(crate) fn is_asleep(&self, worker: usize) -> bool {
        self.sleepers.lock().list.contains(&worker)
    }

    /// Whether a timer at this moment is nobody's care.
    pub(crate) fn is_unattended(&self, next_timer: u64) -> bool {
        next_timer < self.keeper_until.load(Ordering::SeqCst)
    }

    /// Leaves the list; false if another has taken this worker off it, which makes it a searcher.
    pub(crate) fn leave(&self, worker: usize) -> bool {
        let mut sleepers = self.sleepers.lock();
        let Some(at) = sleepers.list.iter().position(|other| *other == worker) else { return false };
        sleepers.list.swap_remove(at);
        self.left(&mut sleepers, worker);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_is_woken_at_a_time() {
        let idle = Idle::new(3);
        assert_eq!(idle.worker_to_wake(), None);
        idle.enter(0, u64::MAX);
        idle.enter(1, u64::MAX);
        assert!(idle.is_asleep(1) && !idle.is_asleep(2) && idle.asleep() == 2);
        assert_eq!(idle.worker_to_wake(), Some(1));
        assert_eq!(idle.worker_to_wake(), None, "one searches");
        assert!(!idle.leave(1) && idle.stop_search());
        assert_eq!(idle.worker_to_wake(), Some(0));
    }

    #[test]
    fn work_wakes_others_before_the_timekeeper_and_a_timer_wakes_the_timekeeper() {
        let idle = Idle::new(4);
        assert_eq!(idle.enter(0, u64::MAX), None);
        assert_eq!(idle.enter(1, 50), Some(50));
        assert_eq!(idle.enter(2, 50), None, "one keeps the time");
        assert_eq!(idle.worker_to_wake(), Some(2));
        assert_eq!((idle.worker_for_timer(50), idle.worker_for_timer(40)), (None, Some(1)));
        assert!(idle.is_unattended(50));
        assert_eq!(idle.worker_for_timer(60), Some(0), "nobody keeps the time");
        assert_eq!((idle.worker_for_timer(60), idle.worker_to_wake()), (None, None));
    }

    #[test]
    fn parked_ones_are_woken_for_work_before_the_one_in_the_poller() {
        let idle = Idle::new(3);
        assert_eq!(idle.enter(0, 50), Some(50));
        idle.enter(1, u64::MAX);
        idle.enter(2, u64::MAX);
        idle.note_polling(2);
        for expected in [Some(1), Some(0), Some(2), None] {
            assert_eq!(idle.worker_to_wake(), expected);
            assert!(expected.is_none() || idle.stop_search());
        }
    }

    #[test]
    fn half_of_the_workers_search_at_most() {
        let idle = Idle::new(4);
        assert!(idle.start_search() && idle.start_search() && !idle.start_search());
        assert!(!idle.stop_search() && idle.stop_search());
        assert!(Idle::new(1).start_search());
    }
}
