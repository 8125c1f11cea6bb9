//! Shared: models of the pool for blocking work and of its jobs.
use super::*;
use crate::blocking::job::{CancelFlag, Job, JobCell, Origin, Outcome};
use crate::blocking::pool::Pool;
use crate::blocking::staff::{Bounds, Count, Refusal};

/// A pool whose threads are loom's; what a thread does is known before it is started.
struct Threads {
    pool: Pool,
    started: loom::sync::Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Threads {
    fn new(threads: usize, idle: Duration) -> Arc<Self> {
        let pool = Pool::new(Bounds { threads, queue: 2 }, idle);
        Arc::new(Self { pool, started: loom::sync::Mutex::new(Vec::new()) })
    }

    /// Hands a job over that counts its runs.
    fn submit(self: &Arc<Self>, runs: &Arc<AtomicU64>) -> (Arc<dyn Job>, u64) {
        let runs = Arc::clone(runs);
        let job = move |_: CancelFlag| {
            runs.fetch_add(1, Ordering::SeqCst);
        };
        let origin = Origin { process: None, location: std::panic::Location::caller() };
        let cell: Arc<dyn Job> = Arc::new(JobCell::new(job, Waker::noop().clone(), origin));
        let number = self.pool.submit(Arc::clone(&cell), || {
            let this = Arc::clone(self);
            let thread = thread::spawn(move || this.pool.serve(|| 0, || ()));
            self.started.lock().expect("no model panics under a lock").push(thread);
            Ok(())
        });
        (cell, number)
    }

    fn join(&self) {
        loop {
            let thread = self.started.lock().expect("no model panics under a lock").pop();
            let Some(thread) = thread else { return };
            thread.join().expect("no thread fails");
        }
    }
}

/// The time to idle may be over at any moment: before a job comes, while it comes, and after.
#[test]
fn no_job_is_lost_to_a_thread_that_leaves() {
    explore(|| {
        let (threads, runs) = (Threads::new(1, Duration::ZERO), Arc::new(AtomicU64::new(0)));
        threads.submit(&runs);
        let other = {
            let (threads, runs) = (Arc::clone(&threads), Arc::clone(&runs));
            thread::spawn(move || drop(threads.submit(&runs)))
        };
        other.join().expect("no submitter fails");
        threads.join();
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert_eq!(threads.pool.count(), Count::default());
    });
}

/// Threads that leave only when told to: a wake-up that is lost shows as a deadlock.
#[test]
fn a_job_wakes_a_thread_that_sleeps() {
    explore(|| {
        let (threads, runs) = (Threads::new(2, Duration::MAX), Arc::new(AtomicU64::new(0)));
        threads.submit(&runs);
        threads.submit(&runs);
        while runs.load(Ordering::SeqCst) < 2 {
            thread::yield_now();
        }
        threads.pool.close();
        threads.join();
        assert_eq!(threads.pool.count(), Count::default());
    });
}

/// A job that is withdrawn, one that runs, and the end of the pool: nothing runs twice, nothing is left, nobody stays.
#[test]
fn a_withdrawn_job_and_a_closing_pool_leave_nothing() {
    explore(|| {
        let (threads, runs) = (Threads::new(1, Duration::MAX), Arc::new(AtomicU64::new(0)));
        let (first, number) = threads.submit(&runs);
        let closer = {
            let threads = Arc::clone(&threads);
            thread::spawn(move || threads.pool.close())
        };
        threads.pool.withdraw(number);
        closer.join().expect("no closer fails");
        threads.join();
        drop(first);
        assert!(runs.load(Ordering::SeqCst) <= 1);
        assert_eq!(threads.pool.count(), Count::default());
        assert!(threads.pool.is_quiet());
    });
}

/// Counts how often it is dropped.
struct Dropped(Arc<AtomicU64>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn job_cell<T, F: FnOnce(CancelFlag) -> T>(job: F, waker: Waker) -> Arc<JobCell<F, T>> {
    Arc::new(JobCell::new(job, waker, Origin { process: None, location: std::panic::Location::caller() }))
}

#[test]
fn a_job_that_is_abandoned_runs_once_or_never_and_what_it_holds_is_dropped_once() {
    explore(|| {
        let (runs, drops) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (ran, held) = (Arc::clone(&runs), Dropped(Arc::clone(&drops)));
        let job = move |_: CancelFlag| {
            ran.fetch_add(1, Ordering::SeqCst);
            held
        };
        let cell = job_cell(job, Waker::noop().clone());
        let runner = {
            let cell: Arc<dyn Job> = cell.clone();
            thread::spawn(move || cell.run())
        };
        let (queued, leftover) = cell.abandon();
        drop(leftover);
        runner.join().expect("no runner fails");
        assert_eq!((runs.load(Ordering::SeqCst), drops.load(Ordering::SeqCst)), (u64::from(!queued), 1));
    });
}

#[test]
fn a_waiter_is_woken_by_its_job_or_by_the_end_of_the_runtime() {
    explore(|| {
        let token = Arc::new(Token::default());
        let cell = job_cell(|_| 7, Waker::from(Arc::clone(&token)));
        let runner = {
            let cell: Arc<dyn Job> = cell.clone();
            thread::spawn(move || cell.run())
        };
        let closer = {
            let cell: Arc<dyn Job> = cell.clone();
            thread::spawn(move || {
                cell.refuse(Refusal::Closed);
                cell.leave_behind();
            })
        };
        let outcome = poll_fn(|cx| match cell.poll(cx.waker()) {
            Outcome::NotYet => Poll::Pending,
            outcome => Poll::Ready(outcome),
        });
        match run(&token, outcome) {
            Outcome::Done(Ok(done)) => assert_eq!(done, 7),
            Outcome::Refused(_, Refusal::Closed) | Outcome::LeftBehind => {}
            _ => panic!("none of the outcomes there can be"),
        }
        runner.join().expect("no runner fails");
        closer.join().expect("no closer fails");
    });
}
