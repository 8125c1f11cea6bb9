//! Driver: groups as users make and hold them.
use crate::builder::GroupBuilder;
use crate::dead_letters::DeadLetter;
use crate::group::Group;
use crate::metrics::GroupMetrics;
use crate::outcome::DispatchErrorKind;
use crate::registration::{ConsumerRegistration, Registration, child};
use crate::root::Stem;
use crate::routing::{RoutingFunction, RoutingSlot, hash_of};
use crate::section::GroupSection;
use crate::view::{ConsumerId, ConsumerStateView, GroupTotals};
use colloquium_supervisor::{Observer, StartChildError, SupervisorRef, TerminateChildError, WedgedProcess};
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use thiserror::Error as ThisError;

/// A group of consumers that share messages. A cheap handle; it keeps nothing alive.
///
/// It is a subtree of supervision: the consumers, each started again when it ends; the conversations, one for each message that
/// is on its way; and the keeper, which watches over deadlines.
pub struct ConsumerGroup<M: Send + Sync + 'static, R: Send + 'static> {
    group: Arc<Group<M, R>>,
}

/// Why a consumer was not added or removed.
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum ChangeGroupError {
    /// There is no such consumer, or it is leaving already.
    #[error("no such consumer")]
    NotFound,
    /// It did not start; nothing of it is left.
    #[error(transparent)]
    Start(#[from] StartChildError),
    /// The group has ended.
    #[error("the group has ended")]
    Closed,
    /// The group has no consumer that could be copied.
    #[error("the group has no consumer to go by")]
    NoTemplate,
}

/// How a consumer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It finishes what it has been given.
    Drain,
    /// It finishes what it has begun (for five seconds); what is queued goes elsewhere.
    Reroute,
}

/// A group at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupSnapshot {
    /// What it is called.
    pub name: Arc<str>,
    /// Its consumers, in the order in which they joined.
    pub consumers: Vec<ConsumerStateView>,
    /// Messages that are in.
    pub in_flight: usize,
    /// Of these, those that wait for room or for their key.
    pub waiting: usize,
    /// Since when the oldest of them waits for room, in the runtime's time.
    pub oldest: Option<Duration>,
    /// Slots that are held ([`DispatchConversation::reserve`](crate::DispatchConversation::reserve)).
    pub reserved: usize,
    /// Those who wait for a slot.
    pub reserving: usize,
    /// Keys that are taken.
    pub keys: usize,
    /// The breaker is open: deliveries crash, whatever they are.
    pub breaker_open: bool,
    /// It gives nothing out.
    pub paused: bool,
    /// It takes nothing more.
    pub closing: bool,
    /// Dead letters that are kept.
    pub dead_letters: usize,
    /// Dead letters that there have been.
    pub dead_letters_total: u64,
    /// What it has seen so far.
    pub totals: GroupTotals,
}

/// How the drain of a group went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DrainReport {
    /// Messages that were not done with when the time was over; their dispatches have ended as
    /// [`DispatchErrorKind::Closed`].
    pub left: usize,
    /// Processes that could not be stopped.
    pub wedged: Vec<WedgedProcess>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> ConsumerGroup<M, R> {
    /// A group of so many consumers, made by `start`, each in a process of its own.
    pub fn of<C, E, Fut>(
        name: impl Into<Arc<str>>,
        consumers: usize,
        start: impl Fn() -> Fut + Send + Sync + 'static,
    ) -> GroupBuilder<M, R>
    where
        C: crate::Consumer<Message = M, Output = R>,
        E: Into<Box<dyn Error + Send + Sync>>,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
    {
        Self::alike(name, consumers, &ConsumerRegistration::of(start))
    }

    /// A group of so many consumers of one kind.
    pub fn alike(
        name: impl Into<Arc<str>>,
        consumers: usize,
        registration: &ConsumerRegistration<M, R>,
    ) -> GroupBuilder<M, R> {
        let mut builder = Self::new(RoutingFunction::round_robin()).name(name);
        builder.consumers = (0..consumers).map(|_| registration.clone().0).collect();
        builder
    }

    /// A group to which consumers are added by hand.
    #[expect(
        clippy::new_ret_no_self,
        reason = "the form that users of such dispatch know; it is built before it is started"
    )]
    pub fn new(routing: impl Into<RoutingSlot<M>>) -> GroupBuilder<M, R> {
        GroupBuilder::new(routing.into())
    }

    pub(crate) fn of_shared(group: Arc<Group<M, R>>) -> Self {
        Self { group }
    }

    pub(crate) fn shared(&self) -> &Arc<Group<M, R>> {
        &self.group
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.group.name
    }

    /// The consumers, as they stand at this moment, in the order in which they joined.
    #[must_use]
    pub fn consumers(&self) -> Vec<ConsumerStateView> {
        self.group.views()
    }

    /// The group at this moment.
    #[must_use]
    pub fn snapshot(&self) -> GroupSnapshot {
        let (dead_letters, dead_letters_total) = {
            let dead = self.group.dead.lock();
            (dead.len(), dead.total())
        };
        let yard = self.group.yard();
        GroupSnapshot {
            name: Arc::clone(&self.group.name),
            consumers: yard.seats.views(),
            in_flight: yard.len(),
            waiting: yard.waiting(),
            reserved: yard.slots.held(),
            reserving: yard.slots.waiting(),
            oldest: yard.oldest(),
            keys: yard.keys(),
            breaker_open: yard.breaker.is_open(),
            paused: yard.paused,
            closing: yard.closing,
            dead_letters,
            dead_letters_total,
            totals: yard.totals(),
        }
    }

    /// What the group and its consumers have done so far, with rates and latencies.
    ///
    /// It costs dispatches a copy of some kilobytes under the group's lock each time that it is asked for.
    #[must_use]
    pub fn metrics(&self) -> GroupMetrics {
        self.group.metrics()
    }

    /// What dumps of a tree show of the group, beside its processes: `tree.add_section(group.section())`. Dumps that show its parent
    /// (the runtime's root, if it was started under that) show it without that.
    ///
    /// It is read a page at a time, so that dispatches are held up for some microseconds, however many messages are in.
    #[must_use]
    pub fn section(&self) -> GroupSection<M, R> {
        GroupSection::new(&self.group)
    }

    /// Sees the group's tree, as it is now; `None` before it is started. Ask anew when its supervisor has started it anew.
    #[must_use]
    pub fn observe(&self) -> Option<Observer> {
        self.group.stem.get().map(Stem::observe)
    }

    /// The slot of its routing function, in which another can be put.
    #[must_use]
    pub fn routing(&self) -> &RoutingSlot<M> {
        &self.group.routing
    }

    /// Adds a consumer, and waits for it to start. The next dispatch may go to it; nothing is moved.
    ///
    /// # Errors
    ///
    /// [`ChangeGroupError`]: nothing of it is left.
    pub async fn add_consumer(&self, consumer: ConsumerRegistration<M, R>) -> Result<ConsumerId, ChangeGroupError> {
        let supervisor = self.supervisor().await?;
        let registration = Arc::new(consumer.0);
        let id = self.join(Arc::clone(&registration));
        let spec = child(&self.group, id, &registration).build().map_err(StartChildError::from);
        let started = match spec {
            Ok(spec) => supervisor.start_child(spec).await,
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            drop(supervisor.delete_child(&id.to_string()).await);
            self.forget(id);
            return Err(error.into());
        }
        Ok(id)
    }

    pub(crate) fn join(&self, registration: Arc<Registration<M, R>>) -> ConsumerId {
        let mut yard = self.group.yard();
        let room = registration.room.unwrap_or(self.group.room);
        let id = yard.seats.join(room, Arc::clone(&registration.tags));
        drop(yard);
        self.group.registrations.lock().insert(id, registration);
        id
    }

    fn forget(&self, id: ConsumerId) {
        let registration = self.group.registrations.lock().shift_remove(&id);
        let seat = self.group.yard().seats.remove(id);
        drop((registration, seat));
    }

    async fn supervisor(&self) -> Result<SupervisorRef, ChangeGroupError> {
        let address = self.group.consumers.address().map_err(|_| ChangeGroupError::Closed)?;
        SupervisorRef::of(&address).await.map_err(|_| ChangeGroupError::Closed)
    }

    /// Takes a consumer out of the group, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// [`ChangeGroupError`].
    pub async fn remove_consumer(&self, id: ConsumerId, leave: Leave) -> Result<(), ChangeGroupError> {
        let supervisor = self.supervisor().await?;
        let there = {
            let mut yard = self.group.yard();
            let (there, grants) = yard.leaves(id);
            drop(yard);
            self.group.grant(grants);
            there
        };
        if !there {
            return Err(ChangeGroupError::NotFound);
        }
        let behind = self.group.yard().tickets_at(id);
        match leave {
            Leave::Reroute => behind.iter().for_each(|record| record.pull_back(self.group.runtime.now())),
            Leave::Drain => {
                let vacant = || self.group.yard().seats.get(id).is_none_or(|seat| seat.taken == 0);
                poll_fn(|cx| self.group.poll_until(cx, vacant)).await;
            }
        }
        match supervisor.terminate_child(&id.to_string()).await {
            Ok(()) | Err(TerminateChildError::NotFound) => {}
            Err(_) => return Err(ChangeGroupError::Closed),
        }
        drop(supervisor.delete_child(&id.to_string()).await);
        self.forget(id);
        Ok(())
    }

    /// Adds consumers like the first, or takes the last ones out (each finishes what it has), until there are so many.
    ///
    /// # Errors
    ///
    /// [`ChangeGroupError`]: what was done until then stays.
    pub async fn resize(&self, consumers: usize) -> Result<(), ChangeGroupError> {
        loop {
            let views = self.consumers();
            let staying: Vec<ConsumerId> = views.iter().filter(|view| !view.leaving).map(|view| view.id).collect();
            if staying.len() == consumers {
                return Ok(());
            }
            if staying.len() > consumers {
                let last = staying.last().copied().ok_or(ChangeGroupError::NotFound)?;
                self.remove_consumer(last, Leave::Drain).await?;
                continue;
            }
            let first = self.group.registrations.lock().first().map(|(_, registration)| Arc::clone(registration));
            let first = first.ok_or(ChangeGroupError::NoTemplate)?;
            self.add_consumer(ConsumerRegistration(Registration::clone(&first))).await?;
        }
    }

    /// Gives nothing out any more; what comes waits, as far as the waiting room goes.
    pub fn pause(&self) {
        self.group.yard().paused = true;
    }

    /// Gives out again.
    pub fn resume(&self) {
        let mut grants = Vec::new();
        let mut yard = self.group.yard();
        yard.paused = false;
        yard.settle(&mut grants);
        drop(yard);
        self.group.grant(grants);
    }

    /// Lets a key go on that is held after a message that ended badly ([`Gap::Hold`](crate::Gap::Hold)); false if it was not.
    pub fn release_key<K: Hash + ?Sized>(&self, key: &K) -> bool {
        let (was_held, grants) = self.group.yard().resume_key(hash_of(key), self.group.runtime.now());
        self.group.grant(grants);
        was_held
    }

    /// The dead letters that are kept, oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter<M>> {
        self.group.dead.lock().list()
    }

    /// Takes a dead letter out, to drop it or to dispatch its message again.
    #[must_use]
    pub fn take_dead_letter(&self, id: u64) -> Option<DeadLetter<M>> {
        self.group.dead.lock().take(id)
    }

    /// Stops in order: nothing more is taken ([`DispatchErrorKind::Closed`]), what waits is answered so, what is out is
    /// finished, then the consumers are stopped. What is not done with at the deadline ends as
    /// [`DispatchErrorKind::Closed`], too.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        let until = self.group.runtime.now().saturating_add(deadline);
        let all = {
            let mut yard = self.group.yard();
            yard.closing = true;
            yard.tickets()
        };
        self.group.admit();
        all.iter().for_each(|record| record.decide_parked(DispatchErrorKind::Closed));
        drop(all);
        let empty = || self.group.yard().len() == 0;
        let mut over = pin!(self.group.runtime.sleep(deadline));
        poll_fn(|cx| match self.group.poll_until(cx, empty) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => over.as_mut().poll(cx),
        })
        .await;
        let rest = self.group.yard().tickets();
        rest.iter().for_each(|record| record.decide(DispatchErrorKind::Closed));
        let left = rest.len();
        drop(rest);
        let time = until.saturating_sub(self.group.runtime.now()).max(Duration::from_secs(1));
        let wedged = match self.group.stem.get() {
            Some(stem) => stem.stop(time).await,
            None => Vec::new(),
        };
        DrainReport { left, wedged }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Clone for ConsumerGroup<M, R> {
    fn clone(&self) -> Self {
        Self { group: Arc::clone(&self.group) }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for ConsumerGroup<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumerGroup({})", self.group.name)
    }
}
