//! Shared: the spare threads, each of which stands in for a worker that is stuck in one poll.
//!
//! A place for each, behind one lock: not started (its queues wait here), on duty, or resting. The overseer gives a duty, to
//! one that has none, and dismisses from it: a flag in the thread's remote, set (release) after all that the duty was about,
//! and read (acquire) by the thread at each tick. Only the thread itself lays the duty down. One that rests waits on
//! `changed`, and looks under the lock whether the runtime is closed before it waits. Threads that were started stay for the
//! next stall, until the runtime is closed.
use crate::lifecycle::Lifecycle;
use crate::scheduler::Remote;
use crate::scheduler::worker::Queues;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What can be said of one spare thread.
enum Place {
    /// Not started; its thread is to have these.
    Unstarted(Queues),
    Resting,
    /// In the place of this worker, or other spare thread.
    OnDuty(usize),
    /// The system gave no thread.
    Lost,
}

pub(crate) struct Spares {
    /// The number of the first one's remote.
    first: usize,
    places: Mutex<Vec<Place>>,
    changed: Condvar,
    on_duty: AtomicUsize,
    most: usize,
}

/// How a duty was given.
#[must_use]
pub(crate) enum Given {
    /// To a thread that rested.
    Resting,
    /// To one that is to be started with these.
    Start(usize, Queues),
    /// To nobody: all have one.
    Nobody,
}

impl Spares {
    pub(crate) fn new(first: usize, queues: Vec<Queues>) -> Self {
        let most = queues.len();
        let places = Mutex::new(queues.into_iter().map(Place::Unstarted).collect());
        Self { first, places, changed: Condvar::new(), on_duty: AtomicUsize::new(0), most }
    }

    /// How many there may be.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// How many stand in for a worker now.
    pub(crate) fn on_duty(&self) -> usize {
        self.on_duty.load(Ordering::SeqCst)
    }

    /// Lets one stand in for this worker: one that rests, or else one that is to be started.
    pub(crate) fn give(&self, worker: usize, remotes: &[Arc<Remote>]) -> Given {
        let mut places = self.places.lock();
        let resting = places.iter().position(|place| matches!(place, Place::Resting));
        let free = resting.or_else(|| places.iter().position(|place| matches!(place, Place::Unstarted(_))));
        let Some(at) = free else { return Given::Nobody };
        let place = std::mem::replace(&mut places[at], Place::OnDuty(worker));
        remotes[self.first + at].dismissed.store(false, Ordering::Release);
        self.on_duty.fetch_add(1, Ordering::SeqCst);
        drop(places);
        if let Place::Unstarted(queues) = place {
            return Given::Start(self.first + at, queues);
        }
        self.changed.notify_all();
        Given::Resting
    }

    /// The thread waits until it has something to do; false when it is to end.
    pub(crate) fn wait_for_duty(&self, index: usize, lifecycle: &Lifecycle) -> bool {
        let mut places = self.places.lock();
        loop {
            if lifecycle.is_closed() {
                return false;
            }
            if let Place::OnDuty(_) = places[index - self.first] {
                return true;
            }
            self.changed.wait(&mut places);
        }
    }

    /// The thread has laid its duty down.
    pub(crate) fn rest(&self, index: usize) {
        self.lay_down(index, Place::Resting);
    }

    /// The thread could not be started.
    pub(crate) fn lose(&self, index: usize) {
        self.lay_down(index, Place::Lost);
    }

    fn lay_down(&self, index: usize, place: Place) {
        self.places.lock()[index - self.first] = place;
        self.on_duty.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the thread behind this remote is a spare one without a duty.
    pub(crate) fn is_resting(&self, index: usize) -> bool {
        index >= self.first && !matches!(self.places.lock()[index - self.first], Place::OnDuty(_))
    }

    /// This worker gets on again: whoever stands in for it is to rest. Those who are to be woken for that, by the numbers of
    /// their remotes.
    #[must_use]
    pub(crate) fn dismiss(&self, worker: usize, remotes: &[Arc<Remote>]) -> Vec<usize> {
        if self.on_duty() == 0 {
            return Vec::new();
        }
        let places = self.places.lock();
        let standing_in = |place: &Place| matches!(place, Place::OnDuty(other) if *other == worker);
        let dismissed = (0..self.most).filter(|at| standing_in(&places[*at])).map(|at| self.first + at);
        dismissed.filter(|index| !remotes[*index].dismissed.swap(true, Ordering::AcqRel)).collect()
    }

    /// The runtime is closed: those who rest are to end.
    pub(crate) fn wake_resting(&self) {
        // Under the lock, so that it does not fall between a thread's look and its wait.
        drop(self.places.lock());
        self.changed.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_duty_has_a_thread_of_its_own_and_rested_ones_come_first() {
        let queues: Vec<Queues> = (0..4).map(|_| Queues::new()).collect();
        let remotes: Vec<Arc<Remote>> = queues.iter().map(|queues| Arc::new(Remote::new(queues))).collect();
        let (spares, lifecycle) = (Spares::new(2, vec![Queues::new(), Queues::new()]), Lifecycle::default());
        let dismissed = || [2, 3].map(|index: usize| remotes[index].dismissed.load(Ordering::Acquire));
        assert!(matches!(spares.give(0, &remotes), Given::Start(2, _)));
        assert!(matches!(spares.give(1, &remotes), Given::Start(3, _)));
        assert!(matches!(spares.give(0, &remotes), Given::Nobody));
        assert!(spares.wait_for_duty(3, &lifecycle));
        assert_eq!((spares.dismiss(1, &remotes), spares.dismiss(1, &remotes)), (vec![3], vec![]));
        assert_eq!(dismissed(), [false, true]);
        spares.rest(3);
        assert_eq!((spares.on_duty(), spares.is_resting(3), spares.is_resting(2)), (1, true, false));
        assert!(!spares.is_resting(1), "a worker is no spare thread");
        assert!(matches!(spares.give(0, &remotes), Given::Resting));
        assert_eq!((dismissed(), spares.wait_for_duty(3, &lifecycle)), ([false, false], true));
        spares.lose(2);
        assert!(matches!(spares.give(1, &remotes), Given::Nobody), "one is lost, one has a duty");
    }
}
