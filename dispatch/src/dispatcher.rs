//! Driver: dispatching: one message, one conversation, one outcome.
mod under_way;

use crate::conversation::Terms;
use crate::group::Group;
use crate::handle::ConsumerGroup;
use crate::outcome::{DispatchError, DispatchErrorKind, DispatchOutcome};
use crate::record::Record;
use crate::routing::hash_of;
use crate::slot::Slot;
use crate::slots::SlotNumber;
use crate::yard::{Refusal, Request};
use colloquium_runtime::Inherited;
use colloquium_supervisor::{ChildBuilder, ChildSpec, ChildrenSet, SetMessage};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use under_way::State;
pub use under_way::{Accept, Conversation, Dispatching};

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

    /// How many conversations there are. One that somebody has had to do with is there until its outcome has been taken, too.
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
    slot: Option<SlotNumber>,
}

/// What a dispatch goes by.
enum Via<'a, M: Send + Sync + 'static, R: Send + 'static> {
    Dispatcher(&'a DispatchConversation<M, R>),
    Slot(Slot<M, R>),
}

impl<M: Send + Sync + 'static, R: Send + 'static> DispatchConversation<M, R> {
    /// Dispatches to this group, with conversations under the group's own node.
    #[must_use]
    pub fn new(group: &ConsumerGroup<M, R>) -> Self {
        let supervisor = ConversationSupervisor { set: group.shared().conversations.clone() };
        Self::with_supervisor(group, SupervisedExecutor::default(), supervisor)
    }

    /// As [`DispatchConversation::new`], with a place of one's own for conversations, and for the routing function. That place must be
    /// in the group's runtime: in another, each dispatch ends as [`DispatchErrorKind::NotStarted`].
    #[must_use]
    pub fn with_supervisor(
        group: &ConsumerGroup<M, R>,
        executor: SupervisedExecutor,
        supervisor: ConversationSupervisor,
    ) -> Self {
        Self { group: Arc::clone(group.shared()), executor, supervisor }
    }

    pub(crate) fn shared(&self) -> &Arc<Group<M, R>> {
        &self.group
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
        Dispatch { via: Via::Dispatcher(self), message: message.into(), asked: Asked::default() }
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
        let now = group.runtime.stamp();
        let caller = group.runtime.current();
        let inherited = Inherited::current();
        let mut deadline = now.saturating_add(asked.deadline.unwrap_or(group.options.deadline));
        // Another runtime's time is another.
        if let Some(wanted) = inherited.zip(caller).and_then(|(work, caller)| work.deadline_for(caller)) {
            deadline = deadline.min(wanted);
        }
        let options = &group.options;
        // A span is to have the number before the message is let in.
        let id = if options.spans { asked.id.or_else(|| Some(group.yard().number())) } else { asked.id };
        let parent = inherited.map(|work| work.id());
        let request = Request { id, key, deadline, choice, caller, slot: asked.slot };
        let terms =
            Terms { at_most_once: asked.at_most_once, accepted, attempts: options.attempts, poison: options.poison };
        let span = if options.spans { Some(span(group, id, parent, key)) } else { None };
        let under = if self.supervisor.set.is(&group.conversations) { None } else { Some(self.supervisor.set.clone()) };
        let record = Arc::new(Record::new(message, Arc::clone(group), parent, &request, terms, span, under));
        match record.begin(request, self.executor.isolated, now) {
            Ok(()) => Ok(record),
            Err(refusal) => {
                let retry_after =
                    if let Refusal::Overloaded { retry_after } = refusal { Some(retry_after) } else { None };
                // Where no conversation could begin, there is nothing to wait for.
                let open = retry_after.is_none() || self.supervisor.set.is_open();
                let kind = if open { refusal.kind() } else { DispatchErrorKind::Closed };
                Err(refuse(kind, Arc::clone(&record.message), retry_after.filter(|_| open)))
            }
        }
    }
}

/// A dispatch that is about to begin: options, then `await`, or [`Dispatch::start`].
#[must_use = "a dispatch does nothing unless it is awaited or started"]
pub struct Dispatch<'a, M: Send + Sync + 'static, R: Send + 'static> {
    via: Via<'a, M, R>,
    message: Arc<M>,
    asked: Asked,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Dispatch<'static, M, R> {
    pub(crate) fn with_slot(slot: Slot<M, R>, message: Arc<M>) -> Self {
        let asked = Asked { slot: Some(slot.number()), ..Asked::default() };
        Self { via: Via::Slot(slot), message, asked }
    }
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

    /// As the dispatch of that id and key was.
    pub(crate) fn again(mut self, id: u64, key: Option<u64>) -> Self {
        (self.asked.id, self.asked.key) = (Some(id), key);
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

/// The span of a dispatch, below the one that its caller is in.
#[cold]
fn span<M: Send + Sync + 'static, R: Send + 'static>(
    group: &Group<M, R>,
    id: Option<u64>,
    parent: Option<u64>,
    key: Option<u64>,
) -> Box<tracing::Span> {
    use tracing::field::Empty;
    let span = tracing::info_span!(
        "dispatch", group = %group.name, message = id, parent = Empty, key = Empty, attempt = Empty, outcome = Empty
    );
    if let Some(parent) = parent {
        span.record("parent", parent);
    }
    if let Some(key) = key {
        span.record("key", key);
    }
    Box::new(span)
}

fn begin<M: Send + Sync + 'static, R: Send + 'static>(dispatch: Dispatch<'_, M, R>, accepted: bool) -> State<M, R> {
    let Dispatch { via, message, asked } = dispatch;
    let begun = match via {
        Via::Dispatcher(dispatcher) => dispatcher.begin(message, asked, accepted),
        Via::Slot(slot) => slot.dispatcher().begin(message, asked, accepted).inspect(|_| slot.spent()),
    };
    match begun {
        Ok(record) => State::begun(record),
        Err(error) => State::refused(error),
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
