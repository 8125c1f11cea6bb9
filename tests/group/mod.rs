//! Driver: what the tests of dispatch share: a group whose consumers do what their messages say.
#![allow(dead_code, reason = "each test file uses a part of this")]
use colloquium::Gap;
use colloquium::prelude::*;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

/// What a message asks of the consumer that gets it.
pub(crate) enum Job {
    Double(u64),
    /// Panics as long as fewer have begun with it before.
    PanicUnless(u64, AtomicU64),
    /// Returns an error as long as fewer have begun with it before.
    FailUnless(u64, AtomicU64),
    Discard,
    Wait(Gate),
    Hang,
    /// Counts when it learns that nobody wants its result.
    UntilCancelled(Arc<AtomicU64>),
    /// Dispatches into that group.
    IntoOwn(DispatchConversation<Job, u64>),
    /// Crashes so often; then notes its number.
    Keyed {
        key: u64,
        number: u64,
        crashes: AtomicU64,
        log: Arc<Mutex<Vec<u64>>>,
    },
}

pub(crate) struct Worker;

impl Consumer for Worker {
    type Message = Job;
    type Output = u64;

    async fn handle(&mut self, job: Delivery<Job>) -> Result<u64, Failure> {
        match &*job {
            Job::Double(n) => return Ok(2 * n),
            Job::PanicUnless(enough, begun) => {
                let before = begun.fetch_add(1, Ordering::SeqCst);
                assert!(before >= *enough, "as told, after {before}");
            }
            Job::FailUnless(enough, begun) if begun.fetch_add(1, Ordering::SeqCst) < *enough => Err("as told")?,
            Job::FailUnless(..) => {}
            Job::Discard => Err::<(), _>("as told").or_discard()?,
            Job::Wait(gate) => gate.passed().await,
            Job::Hang => std::future::pending().await,
            Job::UntilCancelled(told) => {
                job.cancelled().await;
                told.fetch_add(1, Ordering::SeqCst);
            }
            Job::IntoOwn(group) => drop(group.dispatch(Job::Double(1)).await.or_discard()?),
            Job::Keyed { number, crashes, log, .. } => {
                let left = crashes.load(Ordering::SeqCst);
                if left > 0 {
                    crashes.store(left - 1, Ordering::SeqCst);
                    panic!("as told, with {number}");
                }
                log.lock().expect("no panic with it").push(*number);
            }
        }
        Ok(0)
    }
}

impl Worker {
    pub(crate) fn registration() -> ConsumerRegistration<Job, u64> {
        ConsumerRegistration::of(async || Ok::<_, std::io::Error>(Self))
    }
}

/// How a group is to be, where that is not the default.
pub(crate) struct Made {
    pub(crate) room: u32,
    pub(crate) waiting: usize,
    pub(crate) per_key: usize,
    pub(crate) max_wait: Duration,
    pub(crate) grace: Duration,
    pub(crate) attempts: u32,
    pub(crate) keyed: bool,
    pub(crate) gap: Gap,
}

impl Default for Made {
    fn default() -> Self {
        let max_wait = Duration::from_secs(20);
        let grace = Duration::from_secs(20);
        Self { room: 1, waiting: 1024, per_key: 64, max_wait, grace, attempts: 5, keyed: false, gap: Gap::Continue }
    }
}

impl Made {
    pub(crate) async fn start(self, runtime: &Runtime, consumers: usize) -> DispatchConversation<Job, u64> {
        let mut group = ConsumerGroup::alike("workers", consumers, &Worker::registration());
        group = group.room(self.room).waiting_room(self.waiting).waiting_per_key(self.per_key).max_wait(self.max_wait);
        group = group.cancel_grace(self.grace).attempts(self.attempts).poison_after(self.attempts.min(3)).gap(self.gap);
        if self.attempts > 5 {
            group = group.poison_after(self.attempts);
        }
        if self.keyed {
            group = group.keyed_by(|job: &Job| if let Job::Keyed { key, .. } = job { *key } else { 0 });
        }
        group.start(&**runtime).await.expect("the consumers start")
    }
}

pub(crate) async fn group_of(runtime: &Runtime, consumers: usize) -> DispatchConversation<Job, u64> {
    Made::default().start(runtime, consumers).await
}

#[derive(Default)]
struct Leaf {
    open: bool,
    waiting: Vec<Waker>,
}

/// Keeps handlers waiting until its other side is opened.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Mutex<Leaf>>);

pub(crate) struct Opener(Arc<Mutex<Leaf>>);

pub(crate) fn gate() -> (Opener, Gate) {
    let leaf = Arc::new(Mutex::new(Leaf::default()));
    (Opener(Arc::clone(&leaf)), Gate(leaf))
}

impl Opener {
    pub(crate) fn open(&self) {
        let waiting = {
            let mut leaf = self.0.lock().expect("no panic with it");
            leaf.open = true;
            std::mem::take(&mut leaf.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Gate {
    pub(crate) async fn passed(&self) {
        poll_fn(|cx| {
            let mut leaf = self.0.lock().expect("no panic with it");
            if leaf.open {
                return Poll::Ready(());
            }
            leaf.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
