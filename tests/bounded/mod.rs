//! Waiting with a bound, and polling by hand: what the conformance tests do instead of sleeping.
#![allow(dead_code, reason = "each test program uses a part of it")]

use colloquium::simulation::{self, is_simulated};
use colloquium::testing::wait_for;
use colloquium::{Context, ExitReason, Handle, IntoExitReason, Runtime};
use std::future::{Future, poll_fn};
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Longer than anything takes but a hang, on a machine however loaded.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Measures the patience. Apart from the runtimes that are tested: these shut down, and their timers are counted.
fn clock() -> &'static Runtime {
    static CLOCK: OnceLock<Runtime> = OnceLock::new();
    CLOCK.get_or_init(|| Runtime::builder().name("patience").workers(1).build().expect("a runtime"))
}

/// A moment: the system's, which is not the runtime's, or the virtual one of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum Moment {
    Real(Instant),
    Virtual(Duration),
}

#[expect(clippy::disallowed_methods, reason = "never early is told by a clock that is not the runtime's")]
pub(crate) fn now() -> Moment {
    simulation::handle().map_or_else(|| Moment::Real(Instant::now()), |runtime| Moment::Virtual(runtime.now()))
}

impl Moment {
    pub(crate) fn elapsed(self) -> Duration {
        now() - self
    }
}

impl Sub for Moment {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        match (self, earlier) {
            (Self::Real(later), Self::Real(earlier)) => later - earlier,
            (Self::Virtual(later), Self::Virtual(earlier)) => later - earlier,
            _ => panic!("a test is simulated or not"),
        }
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, time: Duration) -> Self {
        match self {
            Self::Real(moment) => Self::Real(moment + time),
            Self::Virtual(moment) => Self::Virtual(moment + time),
        }
    }
}

/// Awaits `future`; fails if that takes as long as only a hang does. A simulation finds that by itself.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    if is_simulated() {
        return future.await;
    }
    let mut future = pin!(future);
    let mut patience = pin!(clock().sleep(PATIENCE));
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        assert!(polled.is_ready() || patience.as_mut().poll(cx).is_pending(), "it hangs");
        polled
    })
    .await
}

/// Looks again and again until `holds`; lets others run in between.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            yield_once().await;
        }
    })
    .await;
}

/// What comes next through the channel. In a process this lets others run in between, as the channel's own wait does not.
pub(crate) async fn next<T>(channel: &mut Receiver<T>) -> T {
    within(async move {
        loop {
            match channel.try_recv() {
                Ok(came) => return came,
                Err(_) => yield_once().await,
            }
        }
    })
    .await
}

/// What has to come through the channel, for a body that does not await.
pub(crate) fn came<T>(channel: &Receiver<T>) -> T {
    if is_simulated() {
        wait_for(|| channel.try_recv().ok())
    } else {
        channel.recv_timeout(PATIENCE).expect("what was to come")
    }
}

/// Lets others run, whoever polls.
async fn yield_once() {
    if let Some(runtime) = simulation::handle() {
        // What is waited for may need time, and that passes at once when all wait.
        runtime.sleep(Duration::from_micros(100)).await;
    }
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        std::thread::yield_now();
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `body` as a process to its end, which must be a normal one: a panic in it fails the test.
pub(crate) async fn as_process<M, Fut>(runtime: &Handle, body: impl FnOnce(Context<M>) -> Fut)
where
    M: Send + 'static,
    Fut: Future<Output: IntoExitReason> + Send + 'static,
{
    let process = runtime.spawn(body).expect("there is room for a process");
    let reason = within(process.ended()).await;
    assert_eq!(reason, ExitReason::Normal, "the process of the test");
}

/// Polls once, with the waker of whoever awaits this.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// The outcome of the one that is ready first, `a` if both are; the other is dropped.
pub(crate) async fn race<A: Future, B: Future>(a: A, b: B) -> Result<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => b.as_mut().poll(cx).map(Err),
    })
    .await
}

/// Counts the wakes.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
