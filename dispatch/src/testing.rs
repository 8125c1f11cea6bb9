//! Driver: a consumer under test: a group of it alone, and crashes where the test wants them.
use crate::builder::StartGroupError;
use crate::consumer::{Consumer, Delivery};
use crate::dispatcher::DispatchConversation;
use crate::failure::Failure;
use crate::handle::ConsumerGroup;
use crate::outcome::{DispatchError, DispatchOutcome};
use crate::registration::ConsumerRegistration;
use crate::shared_consumer::SharedConsumer;
use colloquium_runtime::{BuildError, ExitReason, Handle, Runtime};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error as ThisError;

/// One consumer in a real group of its own, for ordinary unit tests of it.
///
/// It runs on a runtime of one worker thread, with the defaults of a group, so that what a test sees is what happens in a
/// program: a consumer that crashes is made anew by its start function, and the message comes again. (It is no simulation: for
/// the races of a whole program take [`check`](colloquium_runtime::testing::check).) Retries after errors, and after a second
/// crash of one message, take their usual delays of up to 50 ms and more.
///
/// # Examples
///
/// ```
/// use colloquium_dispatch::testing::Rig;
/// use colloquium_dispatch::{Consumer, Delivery, DispatchErrorKind, Failure, OrFailure};
///
/// /// Sums what it is given.
/// struct Till { total: u32 }
///
/// impl Consumer for Till {
///     type Message = String;
///     type Output = u32;
///     async fn handle(&mut self, amount: Delivery<String>) -> Result<u32, Failure> {
///         self.total += amount.parse::<u32>().or_discard()?;
///         Ok(self.total)
///     }
/// }
///
/// let till = Rig::new(async || Ok::<_, std::io::Error>(Till { total: 0 }));
/// assert_eq!(*till.deliver("3".to_owned())?.output(), 3);
/// assert_eq!(till.deliver("x".to_owned()).unwrap_err().kind(), DispatchErrorKind::Discarded);
/// assert_eq!(*till.deliver("4".to_owned())?.output(), 7);
///
/// // The fourth delivery ends the process: the message comes again, and the total was lost with the process.
/// till.crash_on(4);
/// let outcome = till.deliver("5".to_owned())?;
/// assert_eq!((*outcome.output(), outcome.attempts(), till.starts()), (5, 2, 2));
/// # Ok::<(), colloquium_dispatch::DispatchError<String>>(())
/// ```
///
/// A crash between the work and its acknowledgement is why a message may be handled twice:
///
/// ```
/// use colloquium_dispatch::testing::Rig;
/// use colloquium_dispatch::{Consumer, Delivery, Failure};
/// use std::sync::{Arc, Mutex};
///
/// struct Clerk { ledger: Arc<Mutex<Vec<u32>>> }
///
/// impl Consumer for Clerk {
///     type Message = u32;
///     type Output = ();
///     async fn handle(&mut self, entry: Delivery<u32>) -> Result<(), Failure> {
///         self.ledger.lock().unwrap().push(*entry);
///         Ok(())
///     }
/// }
///
/// let ledger = Arc::new(Mutex::new(Vec::new()));
/// let shared = Arc::clone(&ledger);
/// let clerk = Rig::new(move || {
///     let ledger = Arc::clone(&shared);
///     async move { Ok::<_, std::io::Error>(Clerk { ledger }) }
/// });
/// clerk.crash_after(1);
/// clerk.deliver(7)?;
/// assert_eq!(*ledger.lock().unwrap(), [7, 7]); // so what it does has to bear being done twice
/// # Ok::<(), colloquium_dispatch::DispatchError<u32>>(())
/// ```
pub struct Rig<M: Send + Sync + 'static, R: Send + 'static> {
    dispatcher: DispatchConversation<M, R>,
    plan: Arc<Plan>,
    /// Dropped last: it ends everything.
    _runtime: Runtime,
}

/// Why there is no rig.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RigError {
    /// No thread was to be had.
    #[error(transparent)]
    Runtime(#[from] BuildError),
    /// The consumer did not start.
    #[error(transparent)]
    Start(#[from] StartGroupError),
}

/// What is to happen to which delivery.
struct Plan {
    runtime: Handle,
    begun: AtomicU64,
    faults: Mutex<BTreeMap<u64, Fault>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    CrashAfter,
    Kill,
}

/// A consumer to which the plan happens.
struct Rigged<C> {
    consumer: C,
    plan: Arc<Plan>,
}

impl Plan {
    /// Notes that a handler begins, and what is to happen to it.
    fn begin(&self) -> (u64, Option<Fault>) {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        (number, self.faults.lock().remove(&number))
    }

    async fn before(&self, number: u64, fault: Option<Fault>) {
        match fault {
            Some(Fault::Crash) => panic!("delivery {number} crashes, as the test wants it"),
            Some(Fault::Kill) => {
                if let Some(pid) = self.runtime.current() {
                    self.runtime.exit(pid, ExitReason::Kill);
                }
                std::future::pending::<()>().await;
            }
            Some(Fault::CrashAfter) | None => {}
        }
    }

    fn after(number: u64, fault: Option<Fault>) {
        assert!(fault != Some(Fault::CrashAfter), "delivery {number} crashes when it is done, as the test wants it");
    }
}

impl<C: Consumer> Consumer for Rigged<C> {
    type Message = C::Message;
    type Output = C::Output;

    async fn handle(&mut self, message: Delivery<C::Message>) -> Result<C::Output, Failure> {
        let (number, fault) = self.plan.begin();
        self.plan.before(number, fault).await;
        let result = self.consumer.handle(message).await;
        Plan::after(number, fault);
        result
    }
}

impl<C: SharedConsumer> SharedConsumer for Rigged<C> {
    type Message = C::Message;
    type Output = C::Output;

    async fn handle(&self, message: Delivery<C::Message>) -> Result<C::Output, Failure> {
        let (number, fault) = self.plan.begin();
        self.plan.before(number, fault).await;
        let result = self.consumer.handle(message).await;
        Plan::after(number, fault);
        result
    }
}

/// What `start` makes, to which the plan happens.
async fn rigged<C, E>(started: impl Future<Output = Result<C, E>>, plan: Arc<Plan>) -> Result<Rigged<C>, E> {
    Ok(Rigged { consumer: started.await?, plan })
}

impl<M: Send + Sync + 'static, R: Send + 'static> Rig<M, R> {
    /// A consumer that `start` makes, also after each crash.
    ///
    /// # Panics
    ///
    /// If it does not start, or there is no thread to be had: [`Rig::try_new`] returns that.
    #[must_use]
    #[track_caller]
    pub fn new<C, E, Fut>(start: impl Fn() -> Fut + Send + Sync + 'static) -> Self
    where
        C: Consumer<Message = M, Output = R>,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
    {
        Self::try_new(start).unwrap_or_else(|error| panic!("the consumer under test: {error}"))
    }

    /// As [`Rig::new`], for a test of the start.
    ///
    /// # Errors
    ///
    /// [`RigError`].
    pub fn try_new<C, E, Fut>(start: impl Fn() -> Fut + Send + Sync + 'static) -> Result<Self, RigError>
    where
        C: Consumer<Message = M, Output = R>,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
    {
        Self::run(1, |plan| ConsumerRegistration::of(move || rigged(start(), Arc::clone(&plan))))
    }

    /// A [`SharedConsumer`] that `start` makes, with room for so many deliveries.
    ///
    /// # Panics
    ///
    /// As [`Rig::new`].
    #[must_use]
    #[track_caller]
    pub fn shared<C, E, Fut>(room: u32, start: impl Fn() -> Fut + Send + Sync + 'static) -> Self
    where
        C: SharedConsumer<Message = M, Output = R>,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
    {
        let rig = Self::run(room, |plan| ConsumerRegistration::shared(move || rigged(start(), Arc::clone(&plan))));
        rig.unwrap_or_else(|error| panic!("the consumer under test: {error}"))
    }

    fn run(room: u32, registration: impl FnOnce(Arc<Plan>) -> ConsumerRegistration<M, R>) -> Result<Self, RigError> {
        let runtime = Runtime::builder().workers(1).build()?;
        let plan = Plan { runtime: runtime.handle(), begun: AtomicU64::new(0), faults: Mutex::default() };
        let plan = Arc::new(plan);
        let group = ConsumerGroup::alike("rig", 1, &registration(Arc::clone(&plan)).room(room));
        let dispatcher = runtime.block_on(group.start(&runtime))?;
        Ok(Self { dispatcher, plan, _runtime: runtime })
    }

    /// The handler of the `n`th delivery panics before it does anything. Deliveries are counted from 1, over all messages and
    /// all processes of the consumer, each when its handler begins; a message that comes again counts again.
    #[expect(clippy::must_use_candidate, reason = "an act")]
    pub fn crash_on(&self, n: u64) -> &Self {
        self.plan(n, Fault::Crash)
    }

    /// The handler of the `n`th delivery panics when it has done its work, and before that is known.
    #[expect(clippy::must_use_candidate, reason = "an act")]
    pub fn crash_after(&self, n: u64) -> &Self {
        self.plan(n, Fault::CrashAfter)
    }

    /// The consumer's process is killed when the handler of the `n`th delivery is about to begin: nothing is held against the
    /// message.
    #[expect(clippy::must_use_candidate, reason = "an act")]
    pub fn kill_on(&self, n: u64) -> &Self {
        self.plan(n, Fault::Kill)
    }

    fn plan(&self, n: u64, fault: Fault) -> &Self {
        self.plan.faults.lock().insert(n, fault);
        self
    }

    /// Delivers a message, and waits for what comes of it, through crashes and retries.
    ///
    /// # Errors
    ///
    /// [`DispatchError`], as any dispatch.
    ///
    /// # Panics
    ///
    /// On a worker of a runtime: it is for ordinary tests, on their threads. [`Rig::dispatcher`] is for others.
    pub fn deliver(&self, message: impl Into<Arc<M>>) -> Result<DispatchOutcome<R>, DispatchError<M>> {
        self.dispatcher.dispatch_blocking(message)
    }

    /// The deliveries whose handlers have begun.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.plan.begun.load(Ordering::SeqCst)
    }

    /// The processes that the consumer has had.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.group().consumers().first().map_or(0, |consumer| consumer.starts)
    }

    /// The group, with its dead letters and totals.
    #[must_use]
    pub fn group(&self) -> ConsumerGroup<M, R> {
        self.dispatcher.group()
    }

    /// To dispatch with options, or several at a time.
    #[must_use]
    pub fn dispatcher(&self) -> &DispatchConversation<M, R> {
        &self.dispatcher
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for Rig<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rig").field("deliveries", &self.deliveries()).finish_non_exhaustive()
    }
}
