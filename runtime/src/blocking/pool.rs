//! Shared: the pool for blocking work: jobs that wait, jobs that run, and threads that come and go.
//!
//! One lock guards the queue, the numbers by which [`Staff`] decides, and the list of what runs; idle threads sleep on a
//! condition variable of it. A thread that wakes, or whose time to idle is over, looks at the queue under the lock before it
//! sleeps again or leaves, and whoever submits changes the numbers under it: so a job that counts on an idle thread finds it
//! there, or finds it gone and starts another. Were the thread to leave without that look, a job could wait for nobody.
//!
//! No user code runs under the lock: jobs are refused, cancelled, run and dropped after it.
use crate::blocking::job::Job;
use crate::blocking::staff::{Admission, Bounds, Coming, Count, Next, Refusal, Staff};
use crate::process::ending::caught;
use crate::sync::{Condvar, Mutex};
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Pool {
    bounds: Bounds,
    /// How long a thread stays without work.
    idle_for: Duration,
    inside: Mutex<Inside>,
    work: Condvar,
}

#[derive(Default)]
struct Inside {
    staff: Staff,
    /// In the order of their numbers.
    queue: VecDeque<(u64, Arc<dyn Job>)>,
    next: u64,
    running: Slab<Running>,
}

/// A job that a thread has begun, and when.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) job: Arc<dyn Job>,
    pub(crate) since: u64,
}

impl Pool {
    pub(crate) fn new(bounds: Bounds, idle_for: Duration) -> Self {
        Self { bounds, idle_for, inside: Mutex::new(Inside::default()), work: Condvar::new() }
    }

    /// Takes a job in, or has it refused; the number by which it can be withdrawn. `start` starts a thread that serves.
    pub(crate) fn submit(&self, job: Arc<dyn Job>, start: impl FnOnce() -> std::io::Result<()>) -> u64 {
        let mut inside = self.inside.lock();
        let admission = inside.staff.admit(self.bounds);
        let number = inside.next;
        if let Admission::Refuse(refusal) = admission {
            drop(inside);
            job.refuse(refusal);
            return number;
        }
        inside.next += 1;
        inside.queue.push_back((number, job));
        drop(inside);
        match admission {
            Admission::Wake => self.work.notify_one(),
            Admission::Start if start().is_err() => self.not_started(),
            _ => {}
        }
        number
    }

    #[cold]
    fn not_started(&self) {
        let mut inside = self.inside.lock();
        let kept = inside.queue.len() - inside.staff.not_started(self.bounds);
        let refused = inside.queue.split_off(kept);
        drop(inside);
        refused.into_iter().for_each(|(_, job)| job.refuse(Refusal::NoThread));
    }

    /// Takes a job that has not begun out of the queue.
    pub(crate) fn withdraw(&self, number: u64) {
        let mut inside = self.inside.lock();
        let found = inside.queue.binary_search_by_key(&number, |(number, _)| *number).ok();
        let job = found.and_then(|at| inside.queue.remove(at));
        if job.is_some() {
            inside.staff.withdraw();
        }
        drop(inside);
        drop(job);
    }

    /// The life of one of the pool's threads. `now` reads the clock; `done` is called after each job.
    pub(crate) fn serve(&self, now: impl Fn() -> u64, done: impl Fn()) {
        let mut coming = Coming::Started;
        let mut inside = self.inside.lock();
        loop {
            match inside.staff.look(coming) {
                Next::Work => {
                    let (_, job) = inside.queue.pop_front().expect("the staff counts the queue");
                    let place = inside.running.insert(Running { job: Arc::clone(&job), since: now() });
                    drop(inside);
                    caught(|| job.run());
                    let over = self.inside.lock().running.remove(place);
                    drop(over);
                    done();
                    inside = self.inside.lock();
                    coming = Coming::Busy;
                }
                Next::Sleep => {
                    let timed_out;
                    (inside, timed_out) = self.work.wait_for(inside, self.idle_for);
                    coming = Coming::Idle { timed_out };
                }
                Next::Leave => return,
            }
        }
    }

    /// Takes nothing any more; gives up what has not begun, and tells what runs that it is to stop.
    pub(crate) fn close(&self) {
        let mut inside = self.inside.lock();
        inside.staff.close();
        let queue = std::mem::take(&mut inside.queue);
        drop(inside);
        self.work.notify_all();
        queue.into_iter().for_each(|(_, job)| caught(|| job.refuse(Refusal::Closed)));
        self.running().iter().for_each(|running| running.job.cancel());
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.inside.lock().running.is_empty()
    }

    /// What runs at the moment.
    pub(crate) fn running(&self) -> Vec<Running> {
        self.inside.lock().running.iter().map(|(_, running)| running.clone()).collect()
    }

    pub(crate) fn count(&self) -> Count {
        self.inside.lock().staff.count()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::blocking::job::{CancelFlag, JobCell, Origin, Outcome};
    use std::panic::Location;
    use std::task::Waker;

    const BOUNDS: Bounds = Bounds { threads: 2, queue: 2 };

    fn cell(answer: u32) -> Arc<JobCell<impl FnOnce(CancelFlag) -> u32 + Send + 'static, u32>> {
        let origin = Origin { process: None, location: Location::caller() };
        Arc::new(JobCell::new(move |_| answer, Waker::noop().clone(), origin))
    }

    #[test]
    fn a_job_for_which_there_is_no_thread_comes_back() {
        let pool = Pool::new(BOUNDS, Duration::ZERO);
        let job = cell(7);
        pool.submit(job.clone(), || Err(std::io::Error::other("none to be had")));
        let Outcome::Refused(_, Refusal::NoThread) = job.poll(Waker::noop()) else { panic!("it was to be refused") };
        assert_eq!(pool.count(), Count::default());
    }

    /// The pool's own thread is this one: it serves, and leaves when there is nothing to do.
    #[test]
    fn jobs_are_done_in_the_order_in_which_they_came_but_for_those_withdrawn() {
        let pool = Pool::new(BOUNDS, Duration::ZERO);
        let jobs = [1, 2, 3].map(cell);
        let numbers = [&jobs[0], &jobs[1], &jobs[2]].map(|job| pool.submit(job.clone(), || Ok(())));
        let (queued, _) = jobs[1].abandon();
        assert!(queued);
        pool.withdraw(numbers[1]);
        pool.withdraw(numbers[1]);
        assert_eq!(pool.count(), Count { threads: 2, idle: 0, queued: 2 });
        for _ in 0..2 {
            pool.serve(|| 0, || ());
        }
        for (job, answer) in [(&jobs[0], 1), (&jobs[2], 3)] {
            assert!(matches!(job.poll(Waker::noop()), Outcome::Done(Ok(done)) if done == answer));
        }
        assert_eq!(pool.count(), Count::default());
    }

    #[test]
    fn a_closed_pool_refuses_what_waits_and_what_comes() {
        let pool = Pool::new(BOUNDS, Duration::ZERO);
        let (before, after) = (cell(1), cell(2));
        pool.submit(before.clone(), || Ok(()));
        pool.close();
        pool.submit(after.clone(), || panic!("nobody is started any more"));
        for job in [before, after] {
            assert!(matches!(job.poll(Waker::noop()), Outcome::Refused(_, Refusal::Closed)));
        }
        pool.serve(|| 0, || ());
        assert_eq!(pool.count(), Count::default());
    }
}
