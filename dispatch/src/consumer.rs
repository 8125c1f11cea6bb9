//! Driver: consumers as users write them, and what they are given.
use crate::blame::End;
use crate::failure::Failure;
use crate::group::OnCancel;
use crate::process::Process;
use crate::record::Record;
use colloquium_runtime::{BlockingErrorKind, CancelFlag, DormantLink, ExitReason, Handle, Inherited};
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Handles the messages of a group, one after the other, in a process of its own.
///
/// # Examples
///
/// ```
/// use colloquium_dispatch::{Consumer, Delivery, Failure};
///
/// struct Shouter { loudness: usize }
///
/// impl Consumer for Shouter {
///     type Message = String;
///     type Output = String;
///     async fn handle(&mut self, text: Delivery<String>) -> Result<String, Failure> {
///         Ok(text.to_uppercase() + &"!".repeat(self.loudness))
///     }
/// }
/// ```
pub trait Consumer: Send + 'static {
    /// What it is given.
    type Message: Send + Sync + 'static;
    /// What it makes of that.
    type Output: Send + 'static;

    /// Handles one message. An error is no crash: the message is tried elsewhere, unless the error says otherwise, and the
    /// consumer goes on. A panic ends the consumer's process, is blamed on the message, and a new process is started.
    ///
    /// When nobody wants the result any more the handler is told ([`Delivery::cancelled`]) and may finish; it is dropped for that
    /// only if the group was told so ([`OnCancel::Stop`]).
    ///
    /// Calls and dispatches that it makes inherit the dispatch's deadline, if that is earlier than their own, its number
    /// ([`Delivery::parent_id`]) and its span ([`GroupBuilder::spans`](crate::GroupBuilder::spans)).
    fn handle(
        &mut self,
        message: Delivery<Self::Message>,
    ) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

/// A message at a consumer. Dereferences to the message.
pub struct Delivery<M> {
    carried: Arc<dyn Carried<M>>,
}

/// What a delivery knows, whatever the output is.
pub(crate) trait Carried<M>: Send + Sync {
    fn message(&self) -> &Arc<M>;
    fn id(&self) -> u64;
    fn deadline(&self) -> Duration;
    fn runtime(&self) -> &Handle;
    fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()>;
    fn is_cancelled(&self) -> bool;
    fn parent(&self) -> Option<u64>;
    fn begin_blocking(&self);
    fn end_blocking(self: Arc<Self>);
}

impl<M: Send + Sync + 'static, R: Send + 'static> Carried<M> for Record<M, R> {
    fn message(&self) -> &Arc<M> {
        &self.message
    }

    fn id(&self) -> u64 {
        self.id()
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn runtime(&self) -> &Handle {
        &self.group.runtime
    }

    fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        Record::poll_cancelled(self, cx)
    }

    fn is_cancelled(&self) -> bool {
        Record::is_cancelled(self)
    }

    fn parent(&self) -> Option<u64> {
        self.parent
    }

    fn begin_blocking(&self) {
        Record::begin_blocking(self);
    }

    fn end_blocking(self: Arc<Self>) {
        Record::end_blocking(&self);
    }
}

impl<M: Send + Sync + 'static> Delivery<M> {
    /// The number of the dispatch, or the id it was given; the same for each delivery of it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.carried.id()
    }

    /// The number of the dispatch in whose course this one was begun, if it was: by a handler, for another group.
    #[must_use]
    pub fn parent_id(&self) -> Option<u64> {
        self.carried.parent()
    }

    /// The message, to be kept.
    #[must_use]
    pub fn message(&self) -> Arc<M> {
        Arc::clone(self.carried.message())
    }

    /// What is left until the dispatch's deadline.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.carried.deadline().saturating_sub(self.carried.runtime().now())
    }

    /// Waits until nobody wants the result any more: the dispatch was cancelled, or its time is over. The handler may finish
    /// then, for a while; if it does not, its consumer is killed.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and begun anew at any time.
    pub async fn cancelled(&self) {
        poll_fn(|cx| self.carried.poll_cancelled(cx)).await;
    }

    /// Whether nobody wants the result any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.carried.is_cancelled()
    }

    /// Runs work that blocks or computes for long on a thread for such, with the message.
    ///
    /// Nothing can stop it: until it has returned, the message's key and its place at the consumer are held, whatever becomes of
    /// the dispatch; those of a consumer that was killed only hold the key.
    ///
    /// # Errors
    ///
    /// As [`Handle::run_blocking`]: no thread to be had, or a panic of the work. By `?` the message is tried again;
    /// [`OrFailure`](crate::OrFailure) says otherwise.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Result<T, BlockingErrorKind> {
        self.run_blocking_cancellable(move |message, _| work(message)).await
    }

    /// As [`Delivery::run_blocking`], with a flag that is set when nobody wants the result any more (as
    /// [`Delivery::cancelled`] tells), and when the consumer ends before the work does.
    ///
    /// # Errors
    ///
    /// As [`Delivery::run_blocking`].
    pub async fn run_blocking_cancellable<T: Send + 'static>(
        &self,
        work: impl FnOnce(&M, CancelFlag) -> T + Send + 'static,
    ) -> Result<T, BlockingErrorKind> {
        let message = self.message();
        let held = Blocking::begin(&self.carried);
        let job = self.carried.runtime().run_blocking(move |cancel| {
            let _held = held;
            work(&message, cancel)
        });
        let (mut job, mut told) = (pin!(job), false);
        let done = poll_fn(|cx| {
            if let Poll::Ready(done) = job.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if !told && self.carried.poll_cancelled(cx).is_ready() {
                told = true;
                job.cancel();
            }
            Poll::Pending
        });
        done.await.map_err(|error| error.kind().clone())
    }
}

/// A closure that has not returned.
struct Blocking<M>(Arc<dyn Carried<M>>);

impl<M> Blocking<M> {
    fn begin(carried: &Arc<dyn Carried<M>>) -> Self {
        carried.begin_blocking();
        Self(Arc::clone(carried))
    }
}

impl<M> Drop for Blocking<M> {
    fn drop(&mut self) {
        Arc::clone(&self.0).end_blocking();
    }
}

impl<M> Deref for Delivery<M> {
    type Target = M;
    fn deref(&self) -> &M {
        self.carried.message()
    }
}

impl<M> fmt::Debug for Delivery<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery({})", self.carried.id())
    }
}

/// A delivery that its holder answers by hand, see [`Deliveries`](crate::Deliveries). Dereferences to the message.
///
/// Dropped unanswered, it has failed and is tried elsewhere. If its consumer ends, it is blamed for that only if the consumer
/// panicked with it in hand.
///
/// What the body does with it in hand is its own: calls and dispatches inherit nothing of it, and nothing stops it when the
/// result is not wanted any more ([`Delivery::cancelled`] tells). [`Work::handle`] is otherwise: it does as handlers are done by.
#[must_use = "dropped unanswered, the message is tried elsewhere"]
pub struct Work<M: Send + Sync + 'static, R: Send + 'static> {
    delivery: Delivery<M>,
    open: Open<M, R>,
}

/// A delivery that has begun and is to be answered.
pub(crate) struct Open<M: Send + Sync + 'static, R: Send + 'static> {
    pub(crate) record: Arc<Record<M, R>>,
    attempt: u32,
    /// Until it is answered.
    process: Option<Arc<Process<M, R>>>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Work<M, R> {
    /// A delivery that that process has begun with.
    #[inline(always)]
    pub(crate) fn new(record: Arc<Record<M, R>>, attempt: u32, process: Arc<Process<M, R>>) -> Self {
        let delivery = Delivery { carried: Arc::clone(&record) as Arc<dyn Carried<M>> };
        Self { delivery, open: Open { record, attempt, process: Some(process) } }
    }

    #[inline(always)]
    pub(crate) fn split(self) -> (Delivery<M>, Open<M, R>) {
        (self.delivery, self.open)
    }

    /// The message has been handled, and this is what came of it.
    pub fn complete(self, output: R) {
        self.open.answer_by_hand(Ok(output));
    }

    /// The message has not been handled.
    pub fn fail(self, failure: impl Into<Failure>) {
        self.open.answer_by_hand(Err(failure.into()));
    }

    /// The delivery, as handlers have it.
    #[must_use]
    pub fn delivery(&self) -> &Delivery<M> {
        &self.delivery
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Deref for Work<M, R> {
    type Target = M;
    fn deref(&self) -> &M {
        &self.delivery
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Open<M, R> {
    /// Its process was told to end by what came along a link.
    pub(crate) fn suspected(&self) {
        self.record.suspected();
    }

    /// Its handler has panicked.
    pub(crate) fn panicked(&self, reason: &ExitReason) {
        self.record.hand_on(self.attempt, End::OwnPanic, reason);
    }

    /// Its process ends by another's doing, whatever the drop of this may look like.
    pub(crate) fn unblamed(&self) {
        self.record.interrupted(self.attempt, End::Otherwise);
    }

    /// Runs one poll of its handler: what that begins inherits what is its own.
    #[inline]
    pub(crate) fn within<T>(&self, poll: impl FnOnce() -> T) -> T {
        let Some(process) = &self.process else { return poll() };
        let inherited = Inherited::new(process.pid(), self.record.deadline, self.record.id());
        match &self.record.span {
            None => inherited.within(poll),
            Some(span) => span.in_scope(|| inherited.within(poll)),
        }
    }

    /// Its handler is to be stopped when nobody wants what it makes.
    pub(crate) fn stops(&self) -> bool {
        self.record.group.options.on_cancel == OnCancel::Stop
    }

    /// Its handler was stopped.
    pub(crate) fn stopped(mut self) {
        if let Some(process) = self.process.take() {
            process.count_end(false);
        }
        self.record.stopped(self.attempt, self.record.group.runtime.stamp());
    }

    /// Its handler has returned, in the process itself; when, and that process's, for the next delivery. `unlinked` gets a link
    /// that the process has for nothing.
    #[inline(always)]
    pub(crate) fn answer(
        mut self,
        result: Result<R, Failure>,
        unlinked: impl FnOnce(DormantLink),
    ) -> (Duration, Option<Arc<Process<M, R>>>) {
        let process = self.process.take();
        if let Some(process) = &process {
            process.count_own_end(result.is_ok());
        }
        (self.answered(result, unlinked), process)
    }

    /// It is answered by hand, wherever that is.
    pub(crate) fn answer_by_hand(mut self, result: Result<R, Failure>) {
        let process = self.process.take();
        if let Some(process) = &process {
            process.count_end(result.is_ok());
        }
        self.answered_alone(process, result);
    }

    /// As [`Open::answer`], of one of several handlers.
    pub(crate) fn answer_beside(mut self, result: Result<R, Failure>) {
        let process = self.process.take();
        if let Some(process) = &process {
            process.count_own_end(result.is_ok());
        }
        self.answered_alone(process, result);
    }

    /// There is nobody who would forget its link together with others.
    fn answered_alone(&self, process: Option<Arc<Process<M, R>>>, result: Result<R, Failure>) {
        self.answered(result, |link| {
            if let Some(process) = process {
                process.address.forget_dormant(link);
            }
        });
    }

    #[inline(always)]
    fn answered(&self, result: Result<R, Failure>, unlinked: impl FnOnce(DormantLink)) -> Duration {
        let now = self.record.group.runtime.stamp();
        match result {
            Ok(output) => self.record.completed(self.attempt, output, now, unlinked),
            Err(failure) => self.record.failed(self.attempt, failure.wanted, failure.into_reason(), now),
        }
        now
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for Open<M, R> {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.count_end(false);
        if std::thread::panicking() {
            self.record.interrupted(self.attempt, End::OwnPanic);
        } else if process.address.is_alive() {
            let failure = Failure::retry("the consumer dropped the delivery unanswered");
            let now = self.record.group.runtime.stamp();
            self.record.failed(self.attempt, failure.wanted, failure.into_reason(), now);
        } else {
            let reason = process.address.fate().unwrap_or(ExitReason::Killed);
            self.record.hand_on(self.attempt, End::Otherwise, &reason);
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for Work<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Work({})", self.delivery.id())
    }
}

/// Why a consumer's body ended, as its supervisor is told.
pub(crate) fn returned() -> ExitReason {
    ExitReason::error("the consumer's body returned")
}
