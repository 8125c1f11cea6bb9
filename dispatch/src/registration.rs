//! Driver: consumers before they join a group, and the process that each becomes.
use crate::consumer::{Consumer, Delivery, Work, returned};
use crate::failure::Failure;
use crate::group::Group;
use crate::inbox::Deliveries;
use crate::process::{ConsumerMessage, Process};
use crate::revival::{Ended, Revival};
use crate::shared_consumer::{SharedConsumer, serve_shared};
use crate::view::{ConsumerId, tags};
use colloquium_runtime::{Context, ExitReason, Mailbox};
use colloquium_supervisor::{Backoff, ChildBuilder, ChildSpec, Ready, Restart};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Body<M, R> = Box<dyn FnOnce(Deliveries<M, R>) -> Boxed<ExitReason> + Send>;
type Start<M, R> = Arc<dyn Fn() -> Boxed<Result<Body<M, R>, Box<dyn Error + Send + Sync>>> + Send + Sync>;

/// A consumer, as it is to join a group: how it is started, its room and its tags.
pub struct ConsumerRegistration<M, R>(pub(crate) Registration<M, R>);

pub(crate) struct Registration<M, R> {
    start: Start<M, R>,
    pub(crate) room: Option<u32>,
    pub(crate) tags: Arc<[Arc<str>]>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> ConsumerRegistration<M, R> {
    /// A [`Consumer`], made anew for each process by `start`, in that process. While `start` fails the consumer is started
    /// again, ever later, and given up after ten times in a row.
    pub fn of<C, E, Fut>(start: impl Fn() -> Fut + Send + Sync + 'static) -> Self
    where
        C: Consumer<Message = M, Output = R>,
        E: Into<Box<dyn Error + Send + Sync>>,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
    {
        Self::new(Arc::new(move || {
            let started = start();
            Box::pin(async move {
                let consumer = started.await.map_err(Into::into)?;
                Ok(Box::new(move |inbox| Box::pin(serve(inbox, consumer)) as Boxed<_>) as Body<M, R>)
            })
        }))
    }

    /// A [`SharedConsumer`], made anew for each process by `start`, as by [`ConsumerRegistration::of`]. It handles as many messages
    /// side by side as it has [room](ConsumerRegistration::room).
    pub fn shared<C, E, Fut>(start: impl Fn() -> Fut + Send + Sync + 'static) -> Self
    where
        C: SharedConsumer<Message = M, Output = R>,
        E: Into<Box<dyn Error + Send + Sync>>,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
    {
        Self::new(Arc::new(move || {
            let started = start();
            Box::pin(async move {
                let consumer = started.await.map_err(Into::into)?;
                Ok(Box::new(move |inbox| Box::pin(serve_shared(inbox, consumer)) as Boxed<_>) as Body<M, R>)
            })
        }))
    }

    /// A function that handles each message, without a state of its own.
    pub fn function<F, Fut>(function: F) -> Self
    where
        F: Fn(Delivery<M>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
    {
        Self::process(move |inbox| serve_by(inbox, function.clone()))
    }

    /// A process that takes its deliveries by itself.
    pub fn process<F, Fut>(body: F) -> Self
    where
        F: Fn(Deliveries<M, R>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: colloquium_runtime::IntoExitReason> + Send + 'static,
    {
        Self::new(Arc::new(move || {
            let body = body.clone();
            let run = move |inbox| {
                let running = body(inbox);
                Box::pin(async move { colloquium_runtime::IntoExitReason::into_exit_reason(running.await) }) as Boxed<_>
            };
            Box::pin(async move { Ok(Box::new(run) as Body<M, R>) })
        }))
    }

    fn new(start: Start<M, R>) -> Self {
        Self(Registration { start, room: None, tags: tags([]) })
    }

    /// Deliveries that it may hold, queued and started; the group's unless given.
    #[must_use]
    pub fn room(mut self, room: u32) -> Self {
        self.0.room = Some(room);
        self
    }

    /// What routing by tag looks for.
    #[must_use]
    pub fn tags<'a>(mut self, has: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.tags = tags(has);
        self
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Clone for ConsumerRegistration<M, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Clone for Registration<M, R> {
    fn clone(&self) -> Self {
        Self { start: Arc::clone(&self.start), room: self.room, tags: Arc::clone(&self.tags) }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for ConsumerRegistration<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerRegistration").field("room", &self.0.room).field("tags", &self.0.tags).finish()
    }
}

async fn serve<C: Consumer>(mut inbox: Deliveries<C::Message, C::Output>, mut consumer: C) -> ExitReason {
    loop {
        inbox.begins().await;
        let Some((delivery, open)) = inbox.begun().map(Work::split) else { return ExitReason::Shutdown };
        let handler = pin!(Some(consumer.handle(delivery)));
        match inbox.during(&open, handler).await {
            Some(result) => inbox.answer(open, result),
            None => open.stopped(),
        }
    }
}

async fn serve_by<M, R, F, Fut>(mut inbox: Deliveries<M, R>, function: F) -> ExitReason
where
    M: Send + Sync + 'static,
    R: Send + 'static,
    F: Fn(Delivery<M>) -> Fut,
    Fut: Future<Output = Result<R, Failure>>,
{
    loop {
        inbox.begins().await;
        let Some((delivery, open)) = inbox.begun().map(Work::split) else { return ExitReason::Shutdown };
        let handler = pin!(Some(function(delivery)));
        match inbox.during(&open, handler).await {
            Some(result) => inbox.answer(open, result),
            None => open.stopped(),
        }
    }
}

/// The child that a consumer is to its supervisor. Its health is the group's business, so that the supervisor starts it again at
/// once, always, and the process waits before it begins.
pub(crate) fn child<M: Send + Sync + 'static, R: Send + 'static>(
    group: &Arc<Group<M, R>>,
    id: ConsumerId,
    registration: &Arc<Registration<M, R>>,
) -> ChildBuilder<ConsumerMessage<M, R>> {
    let (group, registration) = (Arc::clone(group), Arc::clone(registration));
    let label = format!("{}/{id}", group.name);
    let body = move |ctx, ready| occupy(ctx, ready, Arc::clone(&group), id, Arc::clone(&registration));
    let at_once = Backoff::default().healthy_after(Duration::from_nanos(1)).give_up_after(u32::MAX).leave_failed();
    // It holds no more than its room, which is counted elsewhere.
    let mailbox = Mailbox::unbounded();
    ChildSpec::initialised(id.to_string(), body)
        .label(label)
        .restart(Restart::Permanent)
        .backoff(at_once)
        .mailbox(mailbox)
}

/// One process of a consumer.
async fn occupy<M: Send + Sync + 'static, R: Send + 'static>(
    ctx: Context<ConsumerMessage<M, R>>,
    ready: Ready,
    group: Arc<Group<M, R>>,
    id: ConsumerId,
    registration: Arc<Registration<M, R>>,
) -> ExitReason {
    let runtime = ctx.runtime();
    let Some((first, pause)) = group.revival(id) else {
        ready.ignore();
        return ExitReason::Shutdown;
    };
    // The group's start waits for the first, and nobody for another.
    let ready = if first {
        Some(ready)
    } else {
        ready.up();
        None
    };
    if !pause.is_zero() {
        ctx.sleep(pause).await;
    }
    let mut place =
        Occupied { group, id, incarnation: None, process: None, since: runtime.now(), first, returned: false };
    let body = match (registration.start)().await {
        Ok(body) => body,
        Err(cause) => return ExitReason::error(cause),
    };
    let process = Arc::new(Process::new(ctx.address()));
    let inbox = Deliveries::new(ctx, Arc::clone(&process));
    place.up(process);
    if let Some(ready) = ready {
        ready.up();
    }
    let reason = body(inbox).await;
    place.leave(reason)
}

/// The place of a consumer, taken; the group learns of its end however that comes.
struct Occupied<M: Send + Sync + 'static, R: Send + 'static> {
    group: Arc<Group<M, R>>,
    id: ConsumerId,
    incarnation: Option<u64>,
    process: Option<Arc<Process<M, R>>>,
    since: Duration,
    first: bool,
    /// Its body has come to an end.
    returned: bool,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Occupied<M, R> {
    fn up(&mut self, process: Arc<Process<M, R>>) {
        self.since = self.group.runtime.now();
        let (incarnation, grants) = self.group.yard().up(self.id, Arc::clone(&process), self.since);
        (self.incarnation, self.process) = (Some(incarnation), Some(process));
        self.group.grant(grants);
    }

    /// It ends by itself or on request; by itself counts as a failure, since it is there to go on.
    fn leave(mut self, reason: ExitReason) -> ExitReason {
        if self.process.as_ref().is_some_and(|process| process.stopping.load(Ordering::Relaxed)) {
            self.group.down(self.id, self.incarnation.take().unwrap_or(0), None);
            self.process = None;
            self.first = true;
            return reason;
        }
        self.returned = true;
        if reason.is_orderly() { returned() } else { reason }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for Occupied<M, R> {
    fn drop(&mut self) {
        let ended = match (&self.process, self.incarnation) {
            (Some(process), _) => Ended::After {
                lived: self.group.runtime.now().saturating_sub(self.since),
                completed: process.completed() > 0,
                started: process.begun() > 0,
                killed: !self.returned && !process.follows.load(Ordering::Relaxed) && !std::thread::panicking(),
            },
            // The start of the group fails, and with it all.
            (None, _) if self.first => return,
            (None, _) => Ended::AtStart,
        };
        let _: Revival = self.group.down(self.id, self.incarnation.unwrap_or(0), Some(ended));
    }
}
