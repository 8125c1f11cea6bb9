//! Driver: processes that show what they get, and what is left over when a test is done.
use crate::exit::ExitReason;
use crate::process::address::Address;
use crate::process::context::Context;
use crate::runtime::Handle;
use crate::simulation;
use crate::timer::sleep::Sleep;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A process of a test's, which shows the test what it receives and does as it is asked. It is killed when this is dropped.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{testing, testing::Probe, Down, ExitReason};
/// use std::time::Duration;
///
/// const SOON: Duration = Duration::from_secs(1);
///
/// testing::check(async |runtime| {
///     let probe = Probe::new(&runtime);
///     let peer = Probe::<()>::new(&runtime);
///     let target = peer.pid();
///     probe.ask(move |ctx| ctx.monitor(target, |down: Down| down.reason)).await;
///     probe.expect_none(SOON).await;
///     peer.kill();
///     assert_eq!(probe.expect(SOON).await, ExitReason::Killed);
/// });
/// ```
pub struct Probe<M: Send + 'static> {
    runtime: Handle,
    address: Address<M>,
    shared: Arc<Mutex<Shown<M>>>,
}

type Act<M> = Box<dyn FnOnce(&mut Context<M>) + Send>;

/// What goes between a probe and its test.
struct Shown<M> {
    acts: VecDeque<Act<M>>,
    received: VecDeque<M>,
    /// Of the process, when it waits for something to do.
    process: Option<Waker>,
    /// Of the test, when it waits for a message.
    test: Option<Waker>,
}

impl<M: Send + 'static> Probe<M> {
    /// A probe. It neither traps exits nor is linked to anybody, until it is asked to.
    ///
    /// # Panics
    ///
    /// If the process cannot be spawned.
    #[must_use]
    pub fn new(runtime: &Handle) -> Self {
        let shown = Shown { acts: VecDeque::new(), received: VecDeque::new(), process: None, test: None };
        let shared = Arc::new(Mutex::new(shown));
        let side = Arc::clone(&shared);
        let spawned = runtime.build().label("probe").spawn(|ctx| serve(ctx, side));
        Self { runtime: runtime.clone(), address: spawned.expect("room for a probe"), shared }
    }

    /// The probe's address; the probe also serves as one itself.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        self.address.clone()
    }

    /// Runs `act` in the process and waits for what it says.
    ///
    /// # Panics
    ///
    /// If the process ends before it has answered.
    pub async fn ask<R: Send + 'static>(&self, act: impl FnOnce(&mut Context<M>) -> R + Send + 'static) -> R {
        let answer = Arc::new(Mutex::new(None));
        let (put, shared) = (Arc::clone(&answer), Arc::clone(&self.shared));
        self.tell(move |ctx| {
            let said = act(ctx);
            *put.lock() = Some(said);
            let waker = shared.lock().test.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        let mut ended = pin!(self.address.ended());
        let told = poll_fn(|cx| {
            let waker = cx.waker().clone();
            let old = self.shared.lock().test.replace(waker);
            drop(old);
            let said = answer.lock().take();
            match said {
                Some(said) => Poll::Ready(Ok(said)),
                None => ended.as_mut().poll(cx).map(Err),
            }
        });
        told.await.unwrap_or_else(|reason: ExitReason| panic!("{self:?} ended before it answered: {reason}"))
    }

    /// Runs `act` in the process when its turn comes; never if that ends first.
    pub fn tell(&self, act: impl FnOnce(&mut Context<M>) + Send + 'static) {
        let mut shown = self.shared.lock();
        shown.acts.push_back(Box::new(act));
        let waker = shown.process.take();
        drop(shown);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next message, which has to come within `time` (in a simulation, of its virtual time).
    ///
    /// # Panics
    ///
    /// If it does not.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and asked for anew: no message is lost.
    pub async fn expect(&self, time: Duration) -> M {
        self.next(time).await.unwrap_or_else(|| panic!("{self:?} received nothing within {time:?}"))
    }

    /// Holds that no message comes for `time`.
    ///
    /// # Panics
    ///
    /// If one does.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and asked for anew.
    pub async fn expect_none(&self, time: Duration)
    where
        M: Debug,
    {
        if let Some(message) = self.next(time).await {
            panic!("{self:?} received {message:?} within {time:?}");
        }
    }

    /// What it has received and nobody has looked at yet.
    #[must_use]
    pub fn received(&self) -> Vec<M> {
        self.shared.lock().received.drain(..).collect()
    }

    async fn next(&self, time: Duration) -> Option<M> {
        let mut sleep: Sleep = self.runtime.sleep(time);
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut shown = self.shared.lock();
            if let Some(message) = shown.received.pop_front() {
                return Poll::Ready(Some(message));
            }
            let old = shown.test.replace(waker);
            drop(shown);
            drop(old);
            Pin::new(&mut sleep).poll(cx).map(|()| None)
        })
        .await
    }
}

/// The body of a probe: acts first, then messages.
async fn serve<M: Send + 'static>(mut ctx: Context<M>, side: Arc<Mutex<Shown<M>>>) {
    loop {
        let act = {
            let mut receive = pin!(ctx.recv());
            poll_fn(|cx| {
                let waker = cx.waker().clone();
                let mut shown = side.lock();
                if let Some(act) = shown.acts.pop_front() {
                    return Poll::Ready(Ok(act));
                }
                let old = shown.process.replace(waker);
                drop(shown);
                drop(old);
                receive.as_mut().poll(cx).map(Err)
            })
            .await
        };
        match act {
            Ok(act) => act(&mut ctx),
            Err(message) => {
                let mut shown = side.lock();
                shown.received.push_back(message);
                let waker = shown.test.take();
                drop(shown);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }
}

impl<M: Send + 'static> std::ops::Deref for Probe<M> {
    type Target = Address<M>;
    fn deref(&self) -> &Address<M> {
        &self.address
    }
}

impl<M: Send + 'static> Drop for Probe<M> {
    fn drop(&mut self) {
        self.address.kill();
    }
}

impl<M: Send + 'static> Debug for Probe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({})", self.address.pid())
    }
}

/// Holds that the runtime gets quiet within `time`: no process, no name, no timer is left.
///
/// # Panics
///
/// If it does not, with what is left.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{testing, Context};
/// use std::time::Duration;
///
/// testing::check(async |runtime| {
///     let short = runtime.spawn(async |ctx: Context<()>| ctx.sleep(Duration::from_millis(5)).await);
///     drop(short.expect("room for a process"));
///     testing::assert_quiet(&runtime, Duration::from_secs(10)).await;
/// });
/// ```
pub async fn assert_quiet(runtime: &Handle, time: Duration) {
    const LOOK: Duration = Duration::from_millis(1);
    let until = runtime.now() + time;
    loop {
        let info = runtime.runtime_info();
        let (processes, names, timers) = (info.processes, runtime.names(), info.timers);
        if (processes, names.len(), timers) == (0, 0, 0) {
            return;
        }
        if runtime.now() >= until {
            let left: Vec<_> = runtime.processes().into_iter().filter_map(|pid| runtime.info(pid)).collect();
            panic!(
                "after {time:?} {processes} processes, {timers} timers and the names {names:?} are left; these processes \
                 live: {left:#?}"
            );
        }
        runtime.sleep(LOOK).await;
    }
}

/// What has not come by then on threads will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits, in a test's body that cannot await, until `look` finds something: in a simulation by taking its steps, and on threads
/// by looking again and again, for a minute at most.
///
/// # Panics
///
/// On threads after that minute. In a simulation when nothing can ever run, or a limit is reached: the simulation fails. Within
/// a process of a simulation, which must not block.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{testing, Context};
/// use std::sync::mpsc::channel;
///
/// testing::check(async |runtime| {
///     let (show, shown) = channel();
///     let process = runtime.spawn(async move |_: Context<()>| show.send(7).expect("the test waits"));
///     drop(process.expect("room for a process"));
///     assert_eq!(testing::wait_for(|| shown.try_recv().ok()), 7);
/// });
/// ```
pub fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_micros(50);
    if let Some(found) = simulation::wait_until(&mut look) {
        return found;
    }
    let clock = crate::clock::Clock::new();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.now() < crate::clock::nanos(PATIENCE), "nothing came within {PATIENCE:?}");
        std::thread::park_timeout(PAUSE);
    }
}
