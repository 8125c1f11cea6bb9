//! Shared: who a message goes to: the functions that are built in, and users' own, and the slot they stand in.
//!
//! The slot is a lock around a function that is cloned out of it; nothing of a user's runs under it.
use crate::retry::mix;
use crate::view::{ConsumerId, ConsumerStateView};
use parking_lot::RwLock;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a user's routing function decides for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoutingDecision {
    /// That consumer. If it is full or being restarted, the message waits for it; if there is none of that id, the dispatch
    /// ends with [`UnknownConsumerSelected`](crate::DispatchErrorKind::UnknownConsumerSelected).
    To(ConsumerId),
    /// Whichever has room first.
    Wait,
    /// Nobody: the dispatch ends with [`NoConsumerAvailable`](crate::DispatchErrorKind::NoConsumerAvailable).
    Nobody,
}

type Custom<M> = Arc<dyn Fn(&M, &[ConsumerStateView]) -> RoutingDecision + Send + Sync>;
type KeyOf<M> = Arc<dyn Fn(&M) -> u64 + Send + Sync>;
type TagOf<M> = Arc<dyn Fn(&M) -> Arc<str> + Send + Sync>;

/// How messages are spread over the consumers of a group. Cheap to clone.
///
/// None of them gives a message to a consumer that is ejected, leaving, stuck or failed while there is another, nor a retry to
/// the consumer it has just failed at. All but [`RoutingFunction::least_loaded`], [`RoutingFunction::by_tag`] and users' own
/// cost the same for eight consumers and for ten thousand.
pub struct RoutingFunction<M>(pub(crate) Function<M>);

pub(crate) enum Function<M> {
    RoundRobin,
    LeastLoaded,
    TwoChoices,
    Hash(Option<KeyOf<M>>),
    Tag(TagOf<M>),
    Custom(Custom<M>),
}

/// What has been decided before the group's consumers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    RoundRobin,
    LeastLoaded,
    TwoChoices,
    /// The consumer nearest to this on the ring.
    Hash(u64),
    To(ConsumerId),
    Any,
}

impl<M> RoutingFunction<M> {
    /// Each in turn, those without room left out.
    #[must_use]
    pub fn round_robin() -> Self {
        Self(Function::RoundRobin)
    }

    /// The one that holds the fewest deliveries. Looks at all consumers.
    #[must_use]
    pub fn least_loaded() -> Self {
        Self(Function::LeastLoaded)
    }

    /// The less loaded of two drawn at random.
    #[must_use]
    pub fn two_random_choices() -> Self {
        Self(Function::TwoChoices)
    }

    /// The consumer nearest to the hash of a key on a ring: the same one for the same key, and when a consumer joins or leaves
    /// only its own share of the keys moves. A message waits for its consumer if that is full.
    #[must_use]
    pub fn consistent_hash<K: Hash>(key: impl Fn(&M) -> K + Send + Sync + 'static) -> Self {
        Self(Function::Hash(Some(Arc::new(move |message| hash_of(&key(message))))))
    }

    /// As [`RoutingFunction::consistent_hash`], by the key that the dispatch has
    /// ([`GroupBuilder::keyed_by`](crate::GroupBuilder::keyed_by)): messages of one key stay with one consumer. Without a key it is round robin.
    #[must_use]
    pub fn sticky() -> Self {
        Self(Function::Hash(None))
    }

    /// The least loaded of those consumers that have the tag which `tag` asks for; nobody else will do.
    #[must_use]
    pub fn by_tag(tag: impl Fn(&M) -> Arc<str> + Send + Sync + 'static) -> Self {
        Self(Function::Tag(Arc::new(tag)))
    }

    /// A function of one's own, called by whoever dispatches, outside all locks. If it panics, that dispatch alone fails, with
    /// [`Evaluation`](crate::DispatchErrorKind::Evaluation).
    #[must_use]
    pub fn new(function: impl Fn(&M, &[ConsumerStateView]) -> RoutingDecision + Send + Sync + 'static) -> Self {
        Self(Function::Custom(Arc::new(function)))
    }

    /// What can be said of the message alone; `None` if the consumers have to be seen ([`RoutingFunction::see`]).
    pub(crate) fn choose(&self, message: &M, key: Option<u64>) -> Option<Choice> {
        match &self.0 {
            Function::RoundRobin => Some(Choice::RoundRobin),
            Function::LeastLoaded => Some(Choice::LeastLoaded),
            Function::TwoChoices => Some(Choice::TwoChoices),
            Function::Hash(Some(of)) => Some(Choice::Hash(of(message))),
            Function::Hash(None) => Some(key.map_or(Choice::RoundRobin, Choice::Hash)),
            Function::Tag(_) | Function::Custom(_) => None,
        }
    }

    fn alike(&self) -> u8 {
        match &self.0 {
            Function::RoundRobin => 1,
            Function::LeastLoaded => 2,
            Function::TwoChoices => 3,
            Function::Hash(_) | Function::Tag(_) | Function::Custom(_) => 0,
        }
    }

    pub(crate) fn see(&self, message: &M, consumers: &[ConsumerStateView]) -> RoutingDecision {
        match &self.0 {
            Function::Custom(function) => function(message, consumers),
            Function::Tag(of) => least_loaded_with(&of(message), consumers),
            _ => RoutingDecision::Wait,
        }
    }
}

/// The least loaded of those that have the tag.
pub(crate) fn least_loaded_with(tag: &str, consumers: &[ConsumerStateView]) -> RoutingDecision {
    let tagged =
        consumers.iter().filter(|view| view.tags.iter().any(|has| **has == *tag) && !view.failed && !view.leaving);
    let load = |view: &&ConsumerStateView| (!view.is_eligible(), view.free() == 0, view.queued + view.started);
    tagged.min_by_key(load).map_or(RoutingDecision::Nobody, |view| RoutingDecision::To(view.id))
}

/// The same number for the same key, in every run.
pub(crate) fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    key.hash(&mut hasher);
    mix(hasher.finish())
}

impl<M> Clone for RoutingFunction<M> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Function::RoundRobin => Function::RoundRobin,
            Function::LeastLoaded => Function::LeastLoaded,
            Function::TwoChoices => Function::TwoChoices,
            Function::Hash(of) => Function::Hash(of.clone()),
            Function::Tag(of) => Function::Tag(Arc::clone(of)),
            Function::Custom(function) => Function::Custom(Arc::clone(function)),
        })
    }
}

impl<M> fmt::Debug for RoutingFunction<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Function::RoundRobin => "round robin",
            Function::LeastLoaded => "least loaded",
            Function::TwoChoices => "two random choices",
            Function::Hash(Some(_)) => "consistent hash",
            Function::Hash(None) => "sticky",
            Function::Tag(_) => "by tag",
            Function::Custom(_) => "custom",
        })
    }
}

/// The place of a group's routing function, which can be exchanged while dispatches run. Each dispatch sees one version.
pub struct RoutingSlot<M>(Arc<Standing<M>>);

struct Standing<M> {
    function: RwLock<RoutingFunction<M>>,
    /// What the function decides for each message alike, as [`ALIKE`] numbers it; written under the lock.
    alike: AtomicU8,
}

/// What functions decide that look at no message; the first stands for all others.
const ALIKE: [Option<Choice>; 4] =
    [None, Some(Choice::RoundRobin), Some(Choice::LeastLoaded), Some(Choice::TwoChoices)];

impl<M> RoutingSlot<M> {
    /// A slot with this function in it.
    #[must_use]
    pub fn new(function: RoutingFunction<M>) -> Self {
        let alike = AtomicU8::new(function.alike());
        Self(Arc::new(Standing { function: RwLock::new(function), alike }))
    }

    /// Puts another function in, for all dispatches that are routed from now on; returns the old one.
    #[expect(clippy::must_use_candidate, reason = "an act")]
    pub fn swap(&self, function: RoutingFunction<M>) -> RoutingFunction<M> {
        let mut standing = self.0.function.write();
        self.0.alike.store(function.alike(), Ordering::Relaxed);
        std::mem::replace(&mut *standing, function)
    }

    /// The function of this moment.
    #[must_use]
    pub fn get(&self) -> RoutingFunction<M> {
        self.0.function.read().clone()
    }

    /// What the function of this moment decides for each message alike, if it is such a one.
    #[inline]
    pub(crate) fn alike(&self) -> Option<Choice> {
        ALIKE[usize::from(self.0.alike.load(Ordering::Relaxed))]
    }
}

impl<M> Clone for RoutingSlot<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> From<RoutingFunction<M>> for RoutingSlot<M> {
    fn from(function: RoutingFunction<M>) -> Self {
        Self::new(function)
    }
}

impl<M> fmt::Debug for RoutingSlot<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutingSlot({:?})", self.get())
    }
}

/// The consumers on a ring, each at several points, for consistent hashing.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    points: Vec<(u64, ConsumerId)>,
    /// For each part of the ring (there are about as many as points), the first point in it or after it; and the end. Empty when the
    /// points have changed since, and are in no order.
    starts: Vec<u32>,
    /// How far a hash is shifted to be the number of its part.
    shift: u32,
}

impl Ring {
    /// So many points make shares differ by some 10 %.
    const POINTS: u64 = 64;

    pub(crate) fn join(&mut self, consumer: ConsumerId) {
        let points = (0..Self::POINTS).map(|point| (mix(mix(consumer.number() + 1) ^ point), consumer));
        self.points.extend(points);
        self.starts.clear();
    }

    pub(crate) fn leave(&mut self, consumer: ConsumerId) {
        self.points.retain(|(_, has)| *has != consumer);
        self.starts.clear();
    }

    /// The consumer at the first point from the hash on, going round.
    pub(crate) fn find(&mut self, hash: u64) -> Option<ConsumerId> {
        if self.starts.is_empty() {
            self.arrange();
        }
        let part = usize::try_from(hash >> self.shift).ok()?;
        let (from, to) = (self.starts[part] as usize, self.starts[part + 1] as usize);
        let at = from + self.points[from..to].partition_point(|(point, _)| *point < hash);
        self.points.get(at).or_else(|| self.points.first()).map(|(_, consumer)| *consumer)
    }

    #[cold]
    fn arrange(&mut self) {
        self.points.sort_unstable();
        let parts = self.points.len().next_power_of_two().max(2);
        self.shift = u64::BITS - parts.ilog2();
        let first_of = |part: usize| self.points.partition_point(|(point, _)| *point < (part as u64) << self.shift);
        let starts = (0..parts).map(first_of).chain([self.points.len()]);
        self.starts = starts.map(|at| u32::try_from(at).expect("fewer points than that")).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// When a consumer leaves, its own keys move and no other; and come back when it does.
        #[test]
        fn few_keys_move_on_the_ring(consumers in 2..12u64, leaving in 0..12u64, keys in prop::collection::vec(any::<u64>(), 1..200)) {
            let mut ring = Ring::default();
            (0..consumers).for_each(|n| ring.join(ConsumerId::new(n)));
            let leaving = ConsumerId::new(leaving % consumers);
            let before: Vec<_> = keys.iter().map(|key| ring.find(hash_of(key)).expect("somebody")).collect();
            ring.leave(leaving);
            for (key, was) in keys.iter().zip(&before) {
                let is = ring.find(hash_of(key)).expect("somebody");
                let right = if *was == leaving { is != leaving } else { is == *was };
                prop_assert!(right, "{} to {}", was, is);
            }
            ring.join(leaving);
            let again: Vec<_> = keys.iter().map(|key| ring.find(hash_of(key)).expect("somebody")).collect();
            prop_assert_eq!(before, again);
        }
    }

    proptest! {
        /// The part in which the search begins leaves nobody out.
        #[test]
        fn the_next_point_of_the_ring_is_found(consumers in 1..40u64, left in any::<u64>(), hashes in prop::collection::vec(any::<u64>(), 1..300)) {
            let mut ring = Ring::default();
            (0..consumers).for_each(|n| ring.join(ConsumerId::new(n)));
            (1..consumers).filter(|n| left & (1 << n) != 0).for_each(|n| ring.leave(ConsumerId::new(n)));
            let mut points = ring.points.clone();
            points.sort_unstable();
            let edges = [0, 1, u64::MAX, points[0].0, points[points.len() - 1].0, points[points.len() - 1].0.wrapping_add(1)];
            for hash in hashes.into_iter().chain(edges) {
                let next = points.iter().find(|(point, _)| *point >= hash).unwrap_or(&points[0]);
                prop_assert_eq!(ring.find(hash), Some(next.1));
            }
        }
    }

    /// Any: nothing but a runtime makes one.
    fn some_pid() -> colloquium_runtime::Pid {
        let body = async |runtime: colloquium_runtime::Runtime| {
            runtime.spawn(async |_: colloquium_runtime::Context<()>| ()).expect("room for a process").pid()
        };
        colloquium_runtime::Simulation::new(1).once().run(body).expect("it ends").value
    }

    proptest! {
        /// By tag: the least loaded of those that can take something now, else one that will; nobody only if nobody has the tag.
        #[test]
        fn a_tag_is_served_by_the_least_loaded_of_those_that_have_it(
            consumers in prop::collection::vec((0..3usize, 0..4u32, any::<bool>(), 0..6u8), 0..12),
        ) {
            let pid = some_pid();
            let view = |(n, (tagged, queued, up, held)): (usize, &(usize, u32, bool, u8))| ConsumerStateView {
                id: ConsumerId::new(n as u64),
                pid: up.then_some(pid),
                tags: crate::view::tags(["gpu", "big"].into_iter().take(*tagged)),
                room: 3,
                queued: (*queued).min(3),
                started: 0,
                failures: 0,
                half_open: false,
                ejected: *held == 1,
                failed: *held == 2,
                stuck: false,
                leaving: *held == 3,
                starts: 1,
                completed: 0,
                since: std::time::Duration::ZERO,
            };
            let views: Vec<_> = consumers.iter().enumerate().map(view).collect();
            let has = |view: &&ConsumerStateView| view.tags.iter().any(|tag| &**tag == "big") && !view.failed && !view.leaving;
            match least_loaded_with("big", &views) {
                RoutingDecision::To(id) => {
                    let chosen = views.iter().filter(has).find(|view| view.id == id).expect("one that has it");
                    let best = views.iter().filter(has).map(ConsumerStateView::free).max().unwrap_or(0);
                    prop_assert!(best == 0 || chosen.free() > 0, "room is there");
                    let least = views.iter().filter(has).filter(|view| view.free() > 0).map(|view| view.queued).min();
                    prop_assert!(best == 0 || Some(chosen.queued) == least);
                }
                RoutingDecision::Nobody => prop_assert_eq!(views.iter().filter(has).count(), 0),
                RoutingDecision::Wait => prop_assert!(false, "it decides"),
            }
        }
    }

    #[test]
    fn sticky_goes_by_the_key_and_without_one_in_turn() {
        let (sticky, by_hash) = (RoutingFunction::<u64>::sticky(), RoutingFunction::consistent_hash(|n: &u64| *n));
        assert_eq!(sticky.choose(&1, Some(hash_of(&7u64))), by_hash.choose(&7, None));
        assert_eq!(sticky.choose(&1, None), Some(Choice::RoundRobin));
    }

    #[test]
    fn shares_of_the_ring_are_about_even() {
        let mut ring = Ring::default();
        (0..8).for_each(|n| ring.join(ConsumerId::new(n)));
        let mut shares = [0u32; 8];
        for key in 0..80_000u64 {
            let consumer = ring.find(hash_of(&key)).expect("somebody");
            shares[usize::try_from(consumer.number()).expect("small")] += 1;
        }
        assert!(shares.iter().all(|share| (5_000..15_000).contains(share)), "{shares:?}");
        assert_eq!(Ring::default().find(1), None);
    }

    #[test]
    fn a_slot_gives_each_dispatch_one_version() {
        let slot = RoutingSlot::new(RoutingFunction::<u8>::round_robin());
        let held = slot.get();
        let old = slot.clone().swap(RoutingFunction::least_loaded());
        assert_eq!(format!("{held:?} {old:?} {:?}", slot.get()), "round robin round robin least loaded");
    }
}
