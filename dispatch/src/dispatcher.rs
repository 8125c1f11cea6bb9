//! Driver: dispatching: one message, one conversation, one outcome.
use crate::conversation::{Terms, Verdict};
use crate::converse::converse;
use crate::group::Group;
use crate::handle::ConsumerGroup;
use crate::outcome::{DispatchError, DispatchErrorKind, DispatchOutcome, Reached};
use crate::record::{Assigned, Record, Told};
use crate::routing::hash_of;
use crate::yard::{Entered, Refusal, Request};
use colloquium_supervisor::{ChildBuilder, ChildSpec, ChildrenSet, JoinError, SetMessage};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Dispatches messages to a group of consumers. A cheap handle.
///
/// Each dispatch is a process of its own, the *conversation*: it is linked to the consumer that has the message, and when that
/// ends before it has completed the message, sends it to another. See [`DispatchConversation::dispatch`].
pub struct DispatchConversation<M: Send + Sync + 'static, R: Send + 'static> {
    group: Arc<Group<M, R>>,
    executor: SupervisedExecutor,
    supervisor: ConversationSupervisor,
}

/// Where the routing function is run, and for how long it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupervisedExecutor {
    isolated: bool,
}

impl Default for SupervisedExecutor {
    fn default() -> Self {
        Self::inline()
    }
}

impl SupervisedExecutor {
    /// By whoever dispatches, before the conversation begins. A panic fails that dispatch alone.
    #[must_use]
    pub fn inline() -> Self {
        Self { isolated: false }
    }

    /// By the conversation's process, so that a slow function holds nobody else up. Costs that process a turn more.
    #[must_use]
    pub fn isolated() -> Self {
        Self { isolated: true }
    }
}

/// The node of the tree under which conversations run. A cheap handle.
#[derive(Clone, Debug)]
pub struct ConversationSupervisor {
    pub(crate) set: ChildrenSet,
}

impl Default for ConversationSupervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl ConversationSupervisor {
    /// One of one's own, closed until a supervisor has it as a child ([`ConversationSupervisor::child`]).
    #[must_use]
    pub fn new() -> Self {
        Self { set: ChildrenSet::new() }
    }

    /// It, as a child.
    pub fn child(&self, id: impl Into<Arc<str>>) -> ChildBuilder<SetMessage> {
        ChildSpec::set(id, &self.set)
    }

    /// How many conversations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The processes of the conversations, in no order.
    #[must_use]
    pub fn conversations(&self) -> Vec<colloquium_runtime::Pid> {
        self.set.members()
    }
}

/// What was asked for beside the message.
#[derive(Clone, Copy, Default)]
struct Asked {
    deadline: Option<Duration>,
    key: Option<u64>,
    id: Option<u64>,
    at_most_once: bool,
}

impl<M: Send + Sync + 'static, R: Send + 'static> DispatchConversation<M, R> {
    /// Dispatches to this group, with conversations under the group's own node.
    #[must_use]
    pub fn new(group: &ConsumerGroup<M, R>) -> Self {
        let supervisor = ConversationSupervisor { set: group.shared().conversations.clone() };
        Self::with_supervisor(group, SupervisedExecutor::default(), supervisor)
    }

    /// As [`DispatchConversation::new`], with a place of one's own for conversations, and for the routing function.
    #[must_use]
    pub fn with_supervisor(
        group: &ConsumerGroup<M, R>,
        executor: SupervisedExecutor,
        supervisor: ConversationSupervisor,
    ) -> Self {
        Self { group: Arc::clone(group.shared()), executor, supervisor }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> ConsumerGroup<M, R> {
        ConsumerGroup::of_shared(Arc::clone(&self.group))
    }

    /// Where the conversations are.
    #[must_use]
    pub fn supervisor(&self) -> &ConversationSupervisor {
        &self.supervisor
    }

    /// Dispatches a message: await it for the outcome. Options come before ([`Dispatch::deadline`] and so on).
    ///
    /// # Delivery
    ///
    /// At least once, unless told otherwise: `Ok` says that a consumer has completed the message; it may have been begun more
    /// often. With an error the message comes back. Messages of one caller go out in the order in which their dispatches begin:
    /// when they are first polled, or by [`Dispatch::start`].
    ///
    /// # Errors
    ///
    /// [`DispatchError`], of the kinds that [`DispatchErrorKind`] describes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the dispatch: a message that no handler has begun with is withdrawn; a handler that has is
    /// told, and may finish.
    pub fn dispatch(&self, message: impl Into<Arc<M>>) -> Dispatch<'_, M, R> {
        Dispatch { dispatcher: self, message: message.into(), asked: Asked::default() }
    }

    /// As [`DispatchConversation::dispatch`], for a thread that is no worker of a runtime: it waits for the outcome.
    ///
    /// # Errors
    ///
    /// As [`DispatchConversation::dispatch`].
    ///
    /// # Panics
    ///
    /// On a worker of a runtime, which it would hold up.
    pub fn dispatch_blocking(&self, message: impl Into<Arc<M>>) -> Result<DispatchOutcome<R>, DispatchError<M>> {
        let conversation = self.dispatch(message).start();
        self.group.runtime.block_on(conversation)
    }

    /// Stops the group in order, see [`ConsumerGroup::drain`].
    pub async fn drain(&self, deadline: Duration) -> crate::DrainReport {
        self.group().drain(deadline).await
    }

    /// Begins a conversation.
    fn begin(&self, message: Arc<M>, asked: Asked, accepted: bool) -> Result<Arc<Record<M, R>>, DispatchError<M>> {
        let group = &self.group;
        let refuse = |kind, message, retry_after| DispatchError::new(kind, message, Vec::new(), retry_after);
        let key = asked.key.or_else(|| group.options.key.as_ref().map(|key| key(&message)));
        let choice = if self.executor.isolated { Ok(crate::routing::Choice::Any) } else { group.choose(&message, key) };
        let choice = match choice {
            Ok(choice) => choice,
            Err(kind) => return Err(refuse(kind, message, None)),
        };
        let now = group.runtime.now();
        let deadline = now.saturating_add(asked.deadline.unwrap_or(group.options.deadline));
        let request = Request {
            id: asked.id.unwrap_or_else(|| group.number()),
            key,
            deadline,
            choice,
            caller: group.runtime.current(),
        };
        let options = &group.options;
        let terms =
            Terms { at_most_once: asked.at_most_once, accepted, attempts: options.attempts, poison: options.poison };
        let record = Arc::new(Record::new(message, Arc::clone(group), request, terms));
        let (entered, hasten) = {
            let mut yard = group.yard();
            let ticket = Arc::clone(&record);
            let number = |record: &Arc<Record<M, R>>, slot| record.set_slot(slot);
            let entered = yard.enter(request, ticket, self.executor.isolated, now, number);
            (entered, yard.take_hastened())
        };
        group.hasten(hasten);
        let (place, routes) = match entered {
            Entered::Out(place) => (Some(place), false),
            Entered::Waits => (None, false),
            Entered::Routes => (None, true),
            Entered::Refused(refusal) => {
                let retry_after =
                    if let Refusal::Overloaded { retry_after } = refusal { Some(retry_after) } else { None };
                // Where no conversation could begin, there is nothing to wait for.
                let open = retry_after.is_none() || self.supervisor.set.is_open();
                let kind = if open { refusal.kind() } else { DispatchErrorKind::Closed };
                return Err(refuse(kind, Arc::clone(&record.message), retry_after.filter(|_| open)));
            }
        };
        self.converse(&record, place, routes, now);
        Ok(record)
    }

    /// Makes the process, born waiting and linked, and sends the message; or has it route the message.
    fn converse(&self, record: &Arc<Record<M, R>>, place: Option<Assigned<M, R>>, routes: bool, now: Duration) {
        let (own, linked) = (Arc::clone(record), place.clone());
        let spawned = self.supervisor.set.spawn_with(
            |build| {
                let build = build.waiting().trapping();
                match &place {
                    Some(place) => build.link_to(&place.occupant.address),
                    None => build,
                }
            },
            move |ctx| converse(ctx, own, linked),
        );
        let conversation = match spawned {
            Ok(conversation) => conversation,
            Err(JoinError::Closed) => return record.decide(DispatchErrorKind::Closed),
            Err(_) => return record.decide(DispatchErrorKind::NotStarted),
        };
        let occupant = place.as_ref().map(|place| Arc::clone(&place.occupant));
        let attempt = record.begin(conversation, place, routes, now);
        if let (Some(occupant), Some(attempt)) = (occupant, attempt) {
            occupant.deliver(Arc::clone(record), attempt);
        }
    }
}

/// A dispatch that is about to begin: options, then `await`, or [`Dispatch::start`].
#[must_use = "a dispatch does nothing unless it is awaited or started"]
pub struct Dispatch<'a, M: Send + Sync + 'static, R: Send + 'static> {
    dispatcher: &'a DispatchConversation<M, R>,
    message: Arc<M>,
    asked: Asked,
}

impl<'a, M: Send + Sync + 'static, R: Send + 'static> Dispatch<'a, M, R> {
    /// The time for all of it, waiting and every attempt; the group's unless given.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.asked.deadline = Some(time);
        self
    }

    /// The message's key: messages of one key go one after the other. (Keys are compared by a hash of 64 bits.)
    pub fn key<K: Hash + ?Sized>(mut self, key: &K) -> Self {
        self.asked.key = Some(hash_of(key));
        self
    }

    /// A number for it of one's own, shown in logs and dead letters, and by which the breaker tells messages apart.
    pub fn id(mut self, id: u64) -> Self {
        self.asked.id = Some(id);
        self
    }

    /// No two consumers begin with it: if the one that has begun ends, so does the dispatch, as
    /// [`DispatchErrorKind::MaybeCompleted`]. A handler's error ends it as well.
    pub fn at_most_once(mut self) -> Self {
        self.asked.at_most_once = true;
        self
    }

    /// Success is that a consumer has begun with it. It is seen to all the same until it is completed or a dead letter, and
    /// dropping the future does not cancel it once it was begun with.
    pub fn accepted(self) -> Accept<'a, M, R> {
        Accept(self)
    }

    /// Begins at once. Await the conversation for the outcome; dropping it cancels.
    pub fn start(self) -> Conversation<M, R> {
        Conversation(begin(self, false))
    }
}

fn begin<M: Send + Sync + 'static, R: Send + 'static>(dispatch: Dispatch<'_, M, R>, accepted: bool) -> State<M, R> {
    let Dispatch { dispatcher, message, asked } = dispatch;
    match dispatcher.begin(message, asked, accepted) {
        Ok(record) => State::Begun(record, true),
        Err(error) => State::Refused(Some(error)),
    }
}

enum State<M: Send + Sync + 'static, R: Send + 'static> {
    /// Whether dropping it cancels.
    Begun(Arc<Record<M, R>>, bool),
    Refused(Option<DispatchError<M>>),
    Over,
}

impl<M: Send + Sync + 'static, R: Send + 'static> State<M, R> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<DispatchOutcome<Option<R>>, DispatchError<M>>> {
        let told = match self {
            Self::Begun(record, _) => ready!(record.poll(cx)),
            Self::Refused(error) => {
                let error = error.take().expect("polled after it was ready");
                *self = Self::Over;
                return Poll::Ready(Err(error));
            }
            Self::Over => panic!("polled after it was ready"),
        };
        let Self::Begun(record, cancels) = self else { unreachable!("it was") };
        *cancels = false;
        let result = result(record, told);
        *self = Self::Over;
        Poll::Ready(result)
    }
}

fn result<M, R>(record: &Record<M, R>, told: Told<R>) -> Result<DispatchOutcome<Option<R>>, DispatchError<M>> {
    match (told.verdict, told.delivered_to) {
        (Verdict::Delivered, Some(delivered_to)) => Ok(DispatchOutcome {
            delivered_to,
            attempts: told.attempts,
            rerouted_from: told.rerouted_from,
            reroute_timings: told.reroute_timings,
            output: told.output,
        }),
        (Verdict::Delivered, None) => unreachable!("somebody has completed it"),
        (Verdict::Failed(kind), _) => {
            let attempts = told.history.to_vec();
            debug_assert!(
                kind != DispatchErrorKind::MaybeCompleted || attempts.iter().any(|a| a.reached == Reached::Started)
            );
            Err(DispatchError::new(kind, Arc::clone(&record.message), attempts, None))
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for State<M, R> {
    fn drop(&mut self) {
        if let Self::Begun(record, true) = self {
            record.decide(DispatchErrorKind::Cancelled);
        }
    }
}

/// A dispatch that has begun ([`Dispatch::start`]): a future of its outcome. Dropped, it cancels.
#[must_use = "dropped, it cancels the dispatch"]
pub struct Conversation<M: Send + Sync + 'static, R: Send + 'static>(State<M, R>);

impl<M: Send + Sync + 'static, R: Send + 'static> Conversation<M, R> {
    /// Lets it go on by itself; nobody learns of the outcome, but for dead letters.
    pub fn detach(mut self) {
        if let State::Begun(_, cancels) = &mut self.0 {
            *cancels = false;
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Unpin for Conversation<M, R> {}

impl<M: Send + Sync + 'static, R: Send + 'static> Future for Conversation<M, R> {
    type Output = Result<DispatchOutcome<R>, DispatchError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|result| {
            result.map(|outcome| {
                let DispatchOutcome { delivered_to, attempts, rerouted_from, reroute_timings, output } = outcome;
                let output = output.expect("a completed dispatch has an output");
                DispatchOutcome { delivered_to, attempts, rerouted_from, reroute_timings, output }
            })
        })
    }
}

/// The future of a [`Dispatch`], which begins when it is first polled.
#[must_use = "a future does nothing unless awaited"]
pub struct Dispatching<'a, M: Send + Sync + 'static, R: Send + 'static>(
    Result<Conversation<M, R>, Option<Dispatch<'a, M, R>>>,
);

impl<M: Send + Sync + 'static, R: Send + 'static> Unpin for Dispatching<'_, M, R> {}

impl<M: Send + Sync + 'static, R: Send + 'static> Future for Dispatching<'_, M, R> {
    type Output = Result<DispatchOutcome<R>, DispatchError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Ok(conversation) => return Pin::new(conversation).poll(cx),
                Err(dispatch) => {
                    let dispatch = dispatch.take().expect("it has not begun");
                    self.0 = Ok(dispatch.start());
                }
            }
        }
    }
}

impl<'a, M: Send + Sync + 'static, R: Send + 'static> IntoFuture for Dispatch<'a, M, R> {
    type Output = Result<DispatchOutcome<R>, DispatchError<M>>;
    type IntoFuture = Dispatching<'a, M, R>;

    fn into_future(self) -> Self::IntoFuture {
        Dispatching(Err(Some(self)))
    }
}

/// A dispatch whose success is that a consumer has begun with the message ([`Dispatch::accepted`]).
#[must_use = "a dispatch does nothing unless it is awaited"]
pub struct Accept<'a, M: Send + Sync + 'static, R: Send + 'static>(Dispatch<'a, M, R>);

impl<'a, M: Send + Sync + 'static, R: Send + 'static> IntoFuture for Accept<'a, M, R> {
    type Output = Result<DispatchOutcome<()>, DispatchError<M>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut state = begin(self.0, true);
            let outcome = std::future::poll_fn(|cx| state.poll(cx)).await?;
            let DispatchOutcome { delivered_to, attempts, rerouted_from, reroute_timings, .. } = outcome;
            Ok(DispatchOutcome { delivered_to, attempts, rerouted_from, reroute_timings, output: () })
        })
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Clone for DispatchConversation<M, R> {
    fn clone(&self) -> Self {
        Self { group: Arc::clone(&self.group), executor: self.executor, supervisor: self.supervisor.clone() }
    }
}

macro_rules! debug_as_name {
    ($($name:ident $(<$life:lifetime>)?),*) => {$(
        impl<M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for $name<$($life,)? M, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

debug_as_name!(Conversation, DispatchConversation, Dispatch<'_>, Dispatching<'_>, Accept<'_>);
