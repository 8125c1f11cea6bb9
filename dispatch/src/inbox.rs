//! Driver: a consumer's process from inside: what is delivered to it, and the exit signals that concern it.
use crate::consumer::{Open, Work};
use crate::failure::Failure;
use crate::limits::UNLINKED;
use crate::process::{ConsumerMessage, Process};
use crate::record::Record;
use colloquium_runtime::{Context, DormantLink, Exit, ExitReason, poll_charged};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

/// What is delivered to a consumer that is written as a process: it takes deliveries as it likes, and answers each by hand.
///
/// It holds up to its room of them at a time. Being asked to stop is seen when it asks for the next delivery; a body that does
/// not is killed after a while.
///
/// Calls and dispatches of the body inherit no deadline, number or span of what it has in hand, since nobody can know for which
/// delivery it makes them, and [`OnCancel::Stop`](crate::OnCancel::Stop) does not stop it. What it does for one delivery it does within
/// [`Work::handle`], for both; several of these it may poll side by side.
pub struct Deliveries<M, R> {
    ctx: Context<ConsumerMessage<M, R>>,
    process: Arc<Process<M, R>>,
    /// Those that came while another was handled. No more than its room.
    queued: VecDeque<(Arc<Record<M, R>>, u32)>,
    stopping: bool,
    /// What it has begun with, on the way to who asked for it; in two, so that neither is carried about with the other.
    begun: Option<Arc<Record<M, R>>>,
    attempt: u32,
    /// For the next delivery, in place of `process`.
    spare: Option<Arc<Process<M, R>>>,
    /// Links to conversations that are for nothing; no more than [`UNLINKED`].
    unlinked: Vec<DormantLink>,
    /// When the last delivery was answered, if that is now: this poll has not ended since.
    now: Option<Duration>,
}

/// What comes to a consumer that handles several deliveries at a time.
pub(crate) enum Came<M: Send + Sync + 'static, R: Send + 'static> {
    Work(Work<M, R>),
    /// The conversation of a delivery is gone.
    Cancel,
    Stop,
    End(ExitReason),
}

/// What an exit signal means to a consumer.
enum Meaning {
    Nothing,
    Stop,
    /// The delivery's own conversation is gone.
    Cancel,
    End(ExitReason),
}

impl<M: Send + Sync + 'static, R: Send + 'static> Deliveries<M, R> {
    pub(crate) fn new(mut ctx: Context<ConsumerMessage<M, R>>, process: Arc<Process<M, R>>) -> Self {
        let signalled = Arc::clone(&process);
        ctx.trap_exits(move |exit| signalled.signalled(exit));
        Self {
            ctx,
            process,
            queued: VecDeque::new(),
            stopping: false,
            begun: None,
            attempt: 0,
            spare: None,
            unlinked: Vec::new(),
            now: None,
        }
    }

    /// The next delivery, begun; `None` when the consumer is to stop.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no delivery.
    pub async fn next(&mut self) -> Option<Work<M, R>> {
        self.begins().await;
        self.begun()
    }

    /// Waits until it has begun with a delivery, which [`Deliveries::begun`] gives then and there, or is to stop.
    pub(crate) async fn begins(&mut self) {
        if let Err(reason) = poll_fn(|cx| self.poll_begins(cx)).await {
            self.end(reason).await;
        }
    }

    fn poll_begins(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), ExitReason>> {
        while !self.stopping {
            if !self.queued.is_empty() {
                if poll_charged(cx, |_| Poll::Ready(())).is_pending() {
                    self.now = None;
                    return Poll::Pending;
                }
                if let Some((record, attempt)) = self.queued.pop_front()
                    && self.begin(record, attempt)
                {
                    break;
                }
                continue;
            }
            let Poll::Ready(message) = pin!(self.ctx.recv()).poll(cx) else {
                self.now = None;
                self.unlink();
                return Poll::Pending;
            };
            match message.record {
                Some(record) => {
                    if self.begin(record, message.attempt) {
                        break;
                    }
                }
                None => match self.signal() {
                    Meaning::Nothing | Meaning::Cancel => {}
                    Meaning::Stop => self.stopping = true,
                    Meaning::End(reason) => return Poll::Ready(Err(reason)),
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Up to `most` deliveries: waits for the first, and for the others no longer than `linger`. Empty when the consumer is to
    /// stop. Give the consumer as much room.
    ///
    /// # Cancel safety
    ///
    /// Deliveries that were taken already are tried elsewhere when the future is dropped.
    pub async fn next_batch(&mut self, most: usize, linger: Duration) -> Vec<Work<M, R>> {
        let mut batch = Vec::new();
        let Some(first) = self.next().await else { return batch };
        batch.push(first);
        let mut over = pin!(self.ctx.sleep(linger));
        while batch.len() < most {
            let mut next = pin!(self.next());
            let more = poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Ready(work) => Poll::Ready(work),
                Poll::Pending => over.as_mut().poll(cx).map(|()| None),
            });
            match more.await {
                Some(work) => batch.push(work),
                None => break,
            }
        }
        batch
    }

    /// Runs a handler to its end, and sees to exit signals meanwhile.
    /// `None` if it was stopped, since nobody wants what it makes.
    pub(crate) async fn during<T>(
        &mut self,
        open: &Open<M, R>,
        mut handler: Pin<&mut Option<impl Future<Output = T>>>,
    ) -> Option<T> {
        let stops = open.stops();
        let fatal = poll_fn(|cx| {
            // Caught here, and not where the process ends: a panic takes its time with each function that it goes through.
            let running = handler.as_mut().as_pin_mut();
            let polled = running.map(|running| open.within(|| catch_unwind(AssertUnwindSafe(|| running.poll(cx)))));
            match polled {
                Some(Ok(Poll::Ready(result))) => {
                    handler.set(None);
                    return Poll::Ready(Ok(Some(result)));
                }
                Some(Err(payload)) => {
                    let reason = ExitReason::from_panic(payload);
                    open.panicked(&reason);
                    return Poll::Ready(Err(reason));
                }
                Some(Ok(Poll::Pending)) | None => {}
            }
            if stops && open.record.poll_cancelled(cx).is_ready() {
                // Its closures on other threads are waited for: they were told by this.
                open.within(|| handler.set(None));
                if open.record.poll_unblocked(cx).is_ready() {
                    return Poll::Ready(Ok(None));
                }
            }
            loop {
                let Poll::Ready(message) = pin!(self.ctx.recv()).poll(cx) else {
                    self.unlink();
                    return Poll::Pending;
                };
                match message.record {
                    Some(record) => self.queued.push_back((record, message.attempt)),
                    None => match self.signal() {
                        Meaning::Nothing => {}
                        Meaning::Stop => self.stopping = true,
                        Meaning::Cancel => open.record.wake_handler(),
                        Meaning::End(reason) => {
                            open.record.suspected();
                            return Poll::Ready(Err(reason));
                        }
                    },
                }
            }
        });
        match fatal.await {
            Ok(result) => result,
            Err(reason) => {
                self.end(reason).await;
                std::future::pending().await
            }
        }
    }

    /// Begins with a delivery, unless it was withdrawn: [`Deliveries::begun`] is to follow.
    fn begin(&mut self, record: Arc<Record<M, R>>, attempt: u32) -> bool {
        let now = self.now.take().unwrap_or_else(|| record.group.runtime.stamp());
        if !record.start(attempt, now) {
            return false;
        }
        self.process.count_start();
        if let Some(span) = &record.span {
            span.record("attempt", attempt);
        }
        (self.begun, self.attempt) = (Some(record), attempt);
        true
    }

    /// What it has begun with just now.
    #[inline(always)]
    pub(crate) fn begun(&mut self) -> Option<Work<M, R>> {
        let record = self.begun.take()?;
        let process = self.spare.take().unwrap_or_else(|| Arc::clone(&self.process));
        Some(Work::new(record, self.attempt, process))
    }

    /// Answers a delivery, here and now.
    #[inline(always)]
    pub(crate) fn answer(&mut self, open: Open<M, R>, result: Result<R, Failure>) {
        let (now, process) = open.answer(result, |link| self.unlinked.push(link));
        (self.now, self.spare) = (Some(now), process);
        if self.unlinked.len() >= UNLINKED {
            self.unlink();
        }
    }

    /// Removes the links that are for nothing.
    fn unlink(&mut self) {
        if !self.unlinked.is_empty() {
            self.ctx.forget_dormant(&mut self.unlinked);
        }
    }

    /// Whether the consumer is to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The next thing that comes while handlers are at work; a delivery is begun. Once the consumer is to stop, no more are.
    pub(crate) fn poll_beside(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Came<M, R>> {
        loop {
            let Poll::Ready(message) = pin!(self.ctx.recv()).poll(cx) else { return Poll::Pending };
            match message.record {
                // It goes elsewhere when this process has ended.
                Some(_) if self.stopping => {}
                Some(record) => {
                    if self.begin(record, message.attempt)
                        && let Some(work) = self.begun()
                    {
                        return Poll::Ready(Came::Work(work));
                    }
                }
                None => match self.signal() {
                    Meaning::Nothing => {}
                    Meaning::Cancel => return Poll::Ready(Came::Cancel),
                    Meaning::End(reason) => return Poll::Ready(Came::End(reason)),
                    Meaning::Stop => {
                        self.stopping = true;
                        return Poll::Ready(Came::Stop);
                    }
                },
            }
        }
    }

    /// Ends this process, as one that does not trap exits.
    pub(crate) async fn end(&mut self, reason: ExitReason) {
        self.process.follows.store(true, Ordering::Relaxed);
        self.ctx.untrap_exits();
        self.ctx.exit(reason).await;
    }

    /// What the exit signal means that is next.
    fn signal(&self) -> Meaning {
        self.process.signal().map_or(Meaning::Nothing, |exit| self.meaning(&exit))
    }

    fn meaning(&self, exit: &Exit) -> Meaning {
        if exit.from.is_some() && exit.from == self.ctx.parent() {
            self.process.stopping.store(true, Ordering::Relaxed);
            return Meaning::Stop;
        }
        if exit.by_link && exit.from.is_some_and(|from| self.process.was_conversation(from)) {
            return Meaning::Cancel;
        }
        match &exit.reason {
            ExitReason::Normal => Meaning::Nothing,
            // A link to one that was dead already.
            reason => Meaning::End(reason.clone()),
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for Deliveries<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deliveries({})", self.process.pid())
    }
}
