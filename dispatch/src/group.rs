//! Driver: a group as its parts share it: the yard and its lock, and what is done about what the yard decides.
use crate::act::Deferred;
use crate::dead_letters::DeadLetters;
use crate::failure::caught;
use crate::keeper::KeeperMessage;
use crate::limits;
use crate::metrics::{GroupMetrics, Latencies};
use crate::outcome::DispatchErrorKind;
use crate::picture::Charge;
use crate::record::{Assigned, Record, Seat};
use crate::registration::Registration;
use crate::revival::{Ended, Revival};
use crate::root::Stem;
use crate::routing::{Choice, RoutingDecision, RoutingSlot};
use crate::slots::SlotNumber;
use crate::view::{ConsumerId, ConsumerStateView};
use crate::waiting_room::Wish;
use crate::yard::{Entered, Finish, Grants, Refusal, Yard};
use colloquium_runtime::{Berth, Handle, Pid};
use colloquium_supervisor::tree::Attached;
use colloquium_supervisor::{ChildRef, ChildrenSet, SupervisorMessage};
use crossbeam_utils::CachePadded;
use indexmap::IndexMap;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxBuildHasher;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What happens to a key whose message ended badly (as a dead letter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Gap {
    /// The next message of the key goes on.
    #[default]
    Continue,
    /// The key is held, and its messages wait, until [`ConsumerGroup::release_key`](crate::ConsumerGroup::release_key).
    Hold,
}

/// What becomes of a handler that has begun with a message whose dispatch then ends (cancelled, or out of time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnCancel {
    /// It is told ([`Delivery::cancelled`](crate::Delivery::cancelled)) and finishes, for [`GroupBuilder::cancel_grace`](crate::GroupBuilder::cancel_grace).
    #[default]
    Finish,
    /// It is dropped at its next await, and its consumer goes on. Its blocking work is told by its flag and waited for. (Bodies
    /// that take deliveries by themselves are only told, but for what they do within [`Work::handle`](crate::Work::handle).)
    Stop,
}

pub(crate) type KeyOf<M> = Arc<dyn Fn(&M) -> u64 + Send + Sync>;
pub(crate) type SizeOf<M> = Arc<dyn Fn(&M) -> usize + Send + Sync>;

pub(crate) struct Options<M> {
    pub(crate) key: Option<KeyOf<M>>,
    pub(crate) size: Option<SizeOf<M>>,
    pub(crate) deadline: Duration,
    /// The dead letters that are kept, in number and in bytes.
    pub(crate) dead_letters: (usize, usize),
    pub(crate) attempts: u32,
    pub(crate) poison: u32,
    pub(crate) cancel_grace: Duration,
    pub(crate) routing_limit: Option<Duration>,
    pub(crate) gap: Gap,
    pub(crate) on_cancel: OnCancel,
    pub(crate) spans: bool,
}

pub(crate) type YardOf<M, R> = Yard<Arc<Record<M, R>>, Seat<M, R>>;

/// What each consumer is started by.
type Registrations<M, R> = IndexMap<ConsumerId, Arc<Registration<M, R>>, FxBuildHasher>;

pub(crate) struct Group<M, R> {
    pub(crate) name: Arc<str>,
    pub(crate) runtime: Handle,
    pub(crate) options: Options<M>,
    pub(crate) routing: RoutingSlot<M>,
    pub(crate) conversations: ChildrenSet,
    pub(crate) keeper: ChildRef<KeeperMessage>,
    pub(crate) consumers: ChildRef<SupervisorMessage>,
    pub(crate) registrations: Mutex<Registrations<M, R>>,
    pub(crate) dead: Mutex<DeadLetters<M>>,
    /// The room of consumers that were given none of their own.
    pub(crate) room: u32,
    /// Set when it is started.
    pub(crate) stem: OnceLock<Stem>,
    /// Dumps show it as long as this lasts.
    pub(crate) shown: OnceLock<Attached>,
    /// Away from what every dispatch only reads.
    yard: CachePadded<Mutex<YardOf<M, R>>>,
    /// Those who wait for messages to be done with: the group drains, or a consumer leaves.
    watching: Mutex<Vec<Waker>>,
    watched: AtomicBool,
    /// Whether anybody waits for a slot; written under the yard's lock.
    pub(crate) reserving: AtomicBool,
    /// How those who do are woken.
    pub(crate) reservers: Mutex<IndexMap<SlotNumber, Waker, FxBuildHasher>>,
    /// The last processes whose ends messages are blamed for, and what is to be said of that.
    pub(crate) blames: Mutex<VecDeque<(Pid, Charge)>>,
}

/// What the yard made of a message's leaving its place, to be seen to when no lock is held.
pub(crate) struct Settled<M, R> {
    /// The message's own, to be dropped.
    ticket: Option<Arc<Record<M, R>>>,
    pub(crate) grants: Grants<Arc<Record<M, R>>, Seat<M, R>>,
    hastened: bool,
    /// Its conversation has ended with it, in its berth.
    pub(crate) moored: bool,
    /// It was the last of a node that has been closed.
    last: bool,
}

impl<M, R> Default for Settled<M, R> {
    fn default() -> Self {
        Self { ticket: None, grants: Vec::new(), hastened: false, moored: false, last: false }
    }
}

impl Refusal {
    pub(crate) fn kind(self) -> DispatchErrorKind {
        match self {
            Self::Closed => DispatchErrorKind::Closed,
            Self::Overloaded { .. } => DispatchErrorKind::Overloaded,
            Self::NoConsumer => DispatchErrorKind::NoConsumerAvailable,
            Self::Unknown => DispatchErrorKind::UnknownConsumerSelected,
            Self::OwnGroup => DispatchErrorKind::WouldDeadlock,
        }
    }
}

impl<M, R> Group<M, R> {
    /// All berths of conversations, of which there are none any more.
    pub(crate) fn give_up_berths(&mut self) -> Vec<Berth> {
        self.yard.get_mut().quay.all()
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Group<M, R> {
    pub(crate) fn new(
        name: Arc<str>,
        runtime: Handle,
        options: Options<M>,
        routing: RoutingSlot<M>,
        room: u32,
        yard: YardOf<M, R>,
    ) -> Self {
        let bounds = options.dead_letters;
        Self {
            name,
            runtime,
            options,
            routing,
            conversations: ChildrenSet::new(),
            keeper: ChildRef::vacant(),
            consumers: ChildRef::vacant(),
            registrations: Mutex::default(),
            dead: Mutex::new(DeadLetters::new(bounds.0, bounds.1)),
            room,
            stem: OnceLock::new(),
            shown: OnceLock::new(),
            yard: CachePadded::new(Mutex::new(yard)),
            watching: Mutex::default(),
            watched: AtomicBool::new(false),
            reserving: AtomicBool::new(false),
            reservers: Mutex::default(),
            blames: Mutex::default(),
        }
    }

    pub(crate) fn yard(&self) -> MutexGuard<'_, YardOf<M, R>> {
        self.yard.lock()
    }

    /// The yard, unless it cannot be had in that time.
    pub(crate) fn try_yard_for(&self, patience: Duration) -> Option<MutexGuard<'_, YardOf<M, R>>> {
        self.yard.try_lock_for(patience)
    }

    pub(crate) fn chance(&self) -> u64 {
        self.yard().chance()
    }

    /// Asks the routing function. A user's is called here, outside all locks.
    pub(crate) fn choose(&self, message: &M, key: Option<u64>) -> Result<Choice, DispatchErrorKind> {
        if let Some(choice) = self.routing.alike() {
            return Ok(choice);
        }
        let routing = self.routing.get();
        let chosen = caught(|| match routing.choose(message, key) {
            Some(choice) => Ok(choice),
            None => {
                let views = self.yard().seats.views();
                let begun = self.options.routing_limit.map(|limit| (limit, self.runtime.now()));
                let decision = routing.see(message, &views);
                match begun {
                    Some((limit, at)) if self.runtime.now().saturating_sub(at) > limit => {
                        Err(DispatchErrorKind::Evaluation)
                    }
                    _ => Ok(match decision {
                        RoutingDecision::To(id) => Choice::To(id),
                        RoutingDecision::Wait => Choice::Any,
                        RoutingDecision::Nobody => return Err(DispatchErrorKind::NoConsumerAvailable),
                    }),
                }
            }
        });
        chosen.unwrap_or(Err(DispatchErrorKind::Evaluation))
    }

    pub(crate) fn again(
        &self,
        slot: usize,
        choice: Choice,
        wish: Wish,
        now: Duration,
        place: &mut Option<Assigned<M, R>>,
    ) -> (Entered, bool) {
        let mut yard = self.yard();
        let entered = yard.again(slot, choice, wish, now, place);
        (entered, yard.take_hastened())
    }

    /// The keeper looks earlier than it meant to.
    pub(crate) fn hasten(&self, earlier: bool) {
        if earlier {
            // If it is not there, it looks when it starts.
            drop(self.keeper.send(KeeperMessage::LOOK));
        }
    }

    pub(crate) fn grant(&self, grants: Grants<Arc<Record<M, R>>, Seat<M, R>>) {
        // What is free now goes to those who wait for a slot.
        self.admit();
        if !grants.is_empty() {
            self.grant_some(grants);
        }
    }

    #[cold]
    fn grant_some(&self, grants: Grants<Arc<Record<M, R>>, Seat<M, R>>) {
        let now = self.runtime.stamp();
        for grant in grants {
            match grant.place {
                Some(place) => grant.ticket.granted(place, now),
                None => grant.ticket.route(),
            }
        }
    }

    /// A message is done with. The record is locked.
    #[inline]
    pub(crate) fn leave(&self, slot: usize, deferred: &Deferred, settled: &mut Settled<M, R>) {
        let Deferred { finish, dead, timing, now } = *deferred;
        let hold = dead && self.options.gap == Gap::Hold;
        let mut yard = self.yard();
        let (ticket, moored) = yard.leave(slot, finish, hold, timing, now, &mut settled.grants);
        settled.hastened = yard.take_hastened();
        settled.last = moored && yard.is_roster_over();
        drop(yard);
        (settled.ticket, settled.moored) = (Some(ticket), moored);
    }

    /// A message's delivery is over, and it is to go out again; that place's process is on its way out. The record is locked.
    pub(crate) fn park(
        &self,
        slot: usize,
        finish: Finish,
        gone: Option<&Assigned<M, R>>,
        now: Duration,
        settled: &mut Settled<M, R>,
    ) {
        let mut yard = self.yard();
        if let Some(place) = gone {
            settled.grants = yard.gone(place.consumer, place.incarnation);
        }
        settled.grants.extend(yard.park(slot, finish, now));
        settled.hastened = yard.take_hastened();
    }

    /// What follows when no lock is held any more.
    #[inline]
    pub(crate) fn finish(&self, settled: &mut Settled<M, R>, tells: bool) {
        self.hasten(settled.hastened);
        self.admit();
        if !settled.grants.is_empty() {
            self.grant_some(std::mem::take(&mut settled.grants));
        }
        drop(settled.ticket.take());
        if settled.moored {
            self.runtime.left_berth();
        }
        if settled.last {
            self.conversations.roster_emptied();
        }
        if tells {
            self.tell_watching();
        }
    }

    /// Somebody waits for messages to be done with, mostly nobody does. The order that matters is the yard's: who waits has set
    /// the flag before it looked there, and who calls this has left there before.
    fn tell_watching(&self) {
        if self.watched.load(Ordering::SeqCst) {
            let mut watching = self.watching.lock();
            self.watched.store(false, Ordering::SeqCst);
            let wakers = std::mem::take(&mut *watching);
            drop(watching);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until something holds that comes about by messages being done with.
    pub(crate) fn poll_until(&self, cx: &Context<'_>, holds: impl Fn() -> bool) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut watching = self.watching.lock();
        if !watching.iter().any(|known| known.will_wake(&waker)) {
            watching.push(waker);
        }
        self.watched.store(true, Ordering::SeqCst);
        drop(watching);
        if holds() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What a message takes, in bytes. A user's function may be called here: outside all locks.
    pub(crate) fn size_of(&self, message: &M) -> usize {
        self.options.size.as_ref().and_then(|size| caught(|| size(message))).unwrap_or(size_of::<M>())
    }

    /// A message is blamed for the end of a process.
    pub(crate) fn blamed(&self, process: Pid, charge: Charge) {
        let mut blames = self.blames.lock();
        if blames.len() == limits::BLAMES {
            blames.pop_front();
        }
        blames.push_back((process, charge));
    }

    /// A delivery at that process is overdue: it gets no more, and what is queued behind is taken back.
    pub(crate) fn stuck(&self, place: &Assigned<M, R>) {
        let mut yard = self.yard();
        let grants = yard.stuck(place.consumer, place.incarnation);
        let behind = yard.tickets_at(place.consumer);
        drop(yard);
        self.grant(grants);
        let now = self.runtime.now();
        behind.iter().for_each(|record| record.pull_back(now));
        tracing::warn!(group = %self.name, consumer = %place.consumer, "stuck: its delivery is overdue, it is killed");
    }

    /// A process was killed and is still there: its place is filled anew.
    pub(crate) fn wedged(&self, place: &Assigned<M, R>) {
        self.down(place.consumer, place.incarnation, None);
        drop(self.keeper.send(KeeperMessage::wedged(place.consumer)));
        tracing::error!(group = %self.name, consumer = %place.consumer, pid = %place.occupant.pid(), "wedged: its poll does not return");
    }

    /// A process of a consumer has ended.
    pub(crate) fn down(&self, id: ConsumerId, incarnation: u64, ended: Option<Ended>) -> Revival {
        let mut yard = self.yard();
        let (occupant, revival, grants) = yard.down(id, incarnation, ended);
        if revival == Revival::GiveUp
            && let Some(position) = yard.seats.position(id)
        {
            let now = self.runtime.now();
            yard.seats.change(position, |seat| seat.trouble_since = now);
        }
        let over = yard.all_failed();
        let waiting = if over { yard.tickets() } else { Vec::new() };
        drop(yard);
        drop(occupant);
        self.grant(grants);
        self.tell_watching();
        if revival == Revival::GiveUp && ended.is_some() {
            tracing::error!(group = %self.name, consumer = %id, "given up: it fails whenever it is started");
        }
        if over {
            waiting.iter().for_each(|record| record.decide_parked(DispatchErrorKind::NoConsumerAvailable));
            drop(self.keeper.send(KeeperMessage::OVER));
        }
        revival
    }

    /// Whether the next process of a consumer is its first, and how long it is to wait; `None` if there is to be none.
    pub(crate) fn revival(&self, id: ConsumerId) -> Option<(bool, Duration)> {
        let now = self.runtime.now();
        let mut yard = self.yard();
        let position = yard.seats.position(id)?;
        let seat = yard.seats.at(position);
        let (wanted, pause) = (seat.is_wanted(), seat.pause);
        let first = seat.incarnation == 0 && seat.health.charged() == 0;
        if !pause.is_zero() {
            yard.seats.change(position, |seat| seat.back_off = Some((now, now.saturating_add(pause))));
        }
        wanted.then_some((first, pause))
    }

    pub(crate) fn metrics(&self) -> GroupMetrics {
        let (dead_letters, poisoned) = {
            let dead = self.dead.lock();
            (dead.total(), dead.poisoned())
        };
        let now = self.runtime.now();
        let mut yard = self.yard();
        let Latencies { wait, handling, whole } = yard.latencies().clone();
        GroupMetrics {
            name: Arc::clone(&self.name),
            totals: yard.totals(),
            dead_letters,
            poisoned,
            waiting: yard.waiting(),
            in_flight: yard.len(),
            rates: yard.rates(now),
            wait,
            handling,
            whole,
            consumers: yard.seats.metrics(now),
        }
    }

    /// Places at all consumers, up or not.
    pub(crate) fn room_in_all(&self) -> usize {
        self.yard().seats.iter().map(|seat| seat.room as usize).sum()
    }

    pub(crate) fn views(&self) -> Vec<ConsumerStateView> {
        self.yard().seats.views()
    }
}
