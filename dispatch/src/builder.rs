//! Driver: groups before they are started, and the tree that each becomes.
use crate::dispatcher::DispatchConversation;
use crate::group::{Gap, Group, OnCancel, Options};
use crate::handle::ConsumerGroup;
use crate::keeper::keep;
use crate::limits;
use crate::registration::{ConsumerRegistration, Registration, child};
use crate::root::{Grip, Parent, Stem};
use crate::routing::{RoutingSlot, hash_of};
use crate::section::Passing;
use crate::yard::{Bounds, Yard};
use colloquium_supervisor::tree::RootError;
use colloquium_supervisor::{AutoShutdown, ChildSpec, Restart, SpecError, StartChildError, StartError, Supervisor};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error as ThisError;

/// What a group is to be; ended by [`GroupBuilder::start`].
#[must_use = "a group does nothing until it is started"]
pub struct GroupBuilder<M: Send + Sync + 'static, R: Send + 'static> {
    name: Arc<str>,
    pub(crate) consumers: Vec<Registration<M, R>>,
    routing: RoutingSlot<M>,
    options: Options<M>,
    bounds: Bounds,
    room: u32,
}

/// Why a group was not started; nothing of it is left.
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum StartGroupError {
    /// Its tree did not start: mostly, its first consumer that failed to.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It did not start under the supervisor that it was to have.
    #[error(transparent)]
    Child(#[from] StartChildError),
    /// The runtime's root, under which it was to stand, did not start.
    #[error(transparent)]
    Root(Arc<RootError>),
    /// Its name will not do.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// It ended as soon as it was started.
    #[error("the group has ended")]
    Gone,
}

impl From<RootError> for StartGroupError {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Start(error) => Self::Start(error),
            other => Self::Root(Arc::new(other)),
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> GroupBuilder<M, R> {
    pub(crate) fn new(routing: RoutingSlot<M>) -> Self {
        Self {
            name: "group".into(),
            consumers: Vec::new(),
            routing,
            options: Options {
                key: None,
                size: None,
                deadline: limits::DEADLINE,
                attempts: limits::ATTEMPTS,
                poison: limits::POISON,
                cancel_grace: limits::CANCEL_GRACE,
                routing_limit: None,
                gap: Gap::default(),
                on_cancel: OnCancel::default(),
                spans: false,
                dead_letters: (limits::DEAD_LETTERS, limits::DEAD_LETTER_BYTES),
            },
            bounds: Bounds {
                waiting: limits::WAITING_ROOM,
                per_key: limits::WAITING_PER_KEY,
                max_wait: limits::MAX_WAIT,
            },
            room: limits::ROOM,
        }
    }

    /// What it is called, in the tree and in logs.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// One more consumer.
    pub fn add_consumer(mut self, consumer: ConsumerRegistration<M, R>) -> Self {
        self.consumers.push(consumer.0);
        self
    }

    /// How messages are spread; round robin unless given.
    pub fn routing(mut self, routing: impl Into<RoutingSlot<M>>) -> Self {
        self.routing = routing.into();
        self
    }

    /// Messages of one key go one after the other, in the order in which they were dispatched, through crashes and retries.
    /// (Keys are compared by a hash of 64 bits.)
    pub fn keyed_by<K: Hash>(mut self, key: impl Fn(&M) -> K + Send + Sync + 'static) -> Self {
        self.options.key = Some(Arc::new(move |message| hash_of(&key(message))));
        self
    }

    /// What a message takes, in bytes, for the bound of the dead letters; the size of its type unless given.
    pub fn sized_by(mut self, size: impl Fn(&M) -> usize + Send + Sync + 'static) -> Self {
        self.options.size = Some(Arc::new(size));
        self
    }

    /// Deliveries that a consumer may hold, queued and started; 1 unless given. For jobs under 50 µs, 16.
    pub fn room(mut self, room: u32) -> Self {
        self.room = room.max(1);
        self
    }

    /// Messages that may wait; 1 024 unless given.
    pub fn waiting_room(mut self, messages: usize) -> Self {
        self.bounds.waiting = messages;
        self
    }

    /// Of these, those of one key; 64 unless given.
    pub fn waiting_per_key(mut self, messages: usize) -> Self {
        self.bounds.per_key = messages;
        self
    }

    /// How long a message may wait for room; 5 s unless given.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.bounds.max_wait = time;
        self
    }

    /// The time for a dispatch as a whole, unless it has one of its own; 30 s unless given.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.options.deadline = time;
        self
    }

    /// Failures after which a message is given up; 5 unless given.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.options.attempts = attempts.max(1);
        self
    }

    /// Crashes after which a message is given up; 3 unless given.
    pub fn poison_after(mut self, crashes: u32) -> Self {
        self.options.poison = crashes.max(1);
        self
    }

    /// How long a handler may go on once nobody wants its result; then its consumer is killed. 5 s unless given.
    pub fn cancel_grace(mut self, time: Duration) -> Self {
        self.options.cancel_grace = time;
        self
    }

    /// What a user's routing function may take; what is late has failed. No limit unless given.
    pub fn routing_limit(mut self, time: Duration) -> Self {
        self.options.routing_limit = Some(time);
        self
    }

    /// What becomes of a key whose message ended as a dead letter.
    pub fn gap(mut self, gap: Gap) -> Self {
        self.options.gap = gap;
        self
    }

    /// What becomes of a handler whose dispatch has ended before it has; it finishes unless told otherwise.
    pub fn on_cancel(mut self, act: OnCancel) -> Self {
        self.options.on_cancel = act;
        self
    }

    /// Each dispatch has a `tracing` span, a child of the one that its caller is in, which is entered around the polls of
    /// handlers: what they log is found under it. Fields: `group`, `message`, `parent` (the message in whose handling this one
    /// was dispatched), `key` (its hash), `attempt` (the delivery that was begun with last), `outcome`. Off unless asked for,
    /// and then free of charge.
    pub fn spans(mut self, spans: bool) -> Self {
        self.options.spans = spans;
        self
    }

    /// How many dead letters are kept, and how many bytes of them by [`GroupBuilder::sized_by`]; 1 000 and 64 MiB unless given.
    /// The oldest go first; one that is too large alone is kept alone.
    pub fn dead_letters(mut self, most: usize, most_bytes: usize) -> Self {
        self.options.dead_letters = (most, most_bytes);
        self
    }

    /// Starts the group and waits until all its consumers are up.
    ///
    /// # Errors
    ///
    /// [`StartGroupError`]: mostly, the first consumer that did not start. Nothing is left.
    pub async fn start(self, parent: &impl Parent) -> Result<DispatchConversation<M, R>, StartGroupError> {
        Ok(DispatchConversation::new(&self.start_group(parent).await?))
    }

    /// As [`GroupBuilder::start`], for a group that is to be dispatched to by
    /// [`DispatchConversation::with_supervisor`].
    ///
    /// # Errors
    ///
    /// As [`GroupBuilder::start`].
    pub async fn start_group(self, parent: &impl Parent) -> Result<ConsumerGroup<M, R>, StartGroupError> {
        let runtime = parent.grip();
        let yard = Yard::new(self.bounds, hash_of(&(runtime.now(), &self.name)));
        let group = Group::new(Arc::clone(&self.name), runtime.clone(), self.options, self.routing, self.room, yard);
        let group = ConsumerGroup::of_shared(Arc::new(group));
        for registration in self.consumers {
            group.join(Arc::new(registration));
        }
        group.shared().opens_harbor(group.shared().room_in_all());
        let shared = Arc::clone(group.shared());
        let grip = Grip(self.name, Box::new(move || tree(&shared)));
        let stem: Stem = parent.start_tree(grip).0.await?;
        drop(group.shared().shown.set(stem.attach(Passing::new(group.shared()))));
        drop(group.shared().stem.set(stem));
        Ok(group)
    }
}

/// The tree of a group.
fn tree<M: Send + Sync + 'static, R: Send + 'static>(group: &Arc<Group<M, R>>) -> Supervisor {
    group.yard().reborn();
    let (for_keeper, for_consumers) = (Arc::clone(group), Arc::clone(group));
    let keeper = ChildSpec::worker("keeper", move |ctx| keep(ctx, Arc::clone(&for_keeper)));
    // It ends by itself when no consumer is left, and the group with it.
    let keeper = keeper.at(&group.keeper).restart(Restart::Transient).significant();
    let consumers = ChildSpec::supervisor("consumers", move || {
        let registrations: Vec<_> = for_consumers
            .registrations
            .lock()
            .iter()
            .map(|(id, registration)| (*id, Arc::clone(registration)))
            .collect();
        let spec = |(id, registration)| child(&for_consumers, id, &registration);
        registrations.into_iter().map(spec).fold(Supervisor::new(), Supervisor::child)
    });
    Supervisor::new()
        .auto_shutdown(AutoShutdown::AnySignificant)
        .label(Arc::clone(&group.name))
        .child(keeper)
        .child(consumers.at(&group.consumers))
        .child(ChildSpec::set("conversations", &group.conversations))
}

impl<M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for GroupBuilder<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBuilder").field("name", &self.name).field("consumers", &self.consumers.len()).finish()
    }
}
