//! Pure: who of those that could run runs next.
use crate::chance::Rng;
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// How a simulation chooses the process that runs next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// Each of those that could run is as likely as the other. Finds what needs many small changes of turn.
    Uniform,
    /// Each process gets a random priority, the highest runs, and now and then the one that runs becomes the lowest. Finds
    /// what needs one process to be late for long, which a uniform choice hardly ever makes.
    Priorities,
    /// The one or the other, by the seed. The default.
    #[default]
    BySeed,
}

/// One time in so many, who runs by priority becomes the lowest although it did nothing to deserve it.
const DEMOTION: u64 = 32;
/// While a system process could run, another is chosen one time in so many: it may be running already on another worker.
const BEFORE_SYSTEM: u64 = 8;
/// Where random priorities begin; below lie those of the demoted, each lower than the one before.
const UNDEMOTED: u64 = 1 << 62;

/// Those that could run.
pub(super) struct Ready<T> {
    normal: Queue<T>,
    system: Queue<T>,
    ranks: Option<Ranks>,
}

enum Queue<T> {
    Uniform(Vec<(u64, T)>),
    Ranked(BinaryHeap<Ranked<T>>),
}

struct Ranked<T> {
    rank: u64,
    who: u64,
    item: T,
}

struct Ranks {
    /// Looked up only, never gone through.
    of: IndexMap<u64, u64, FxBuildHasher>,
    lowest: u64,
}

impl Ranks {
    fn of(&mut self, who: u64, rng: &mut Rng) -> u64 {
        *self.of.entry(who).or_insert_with(|| UNDEMOTED + rng.below(UNDEMOTED))
    }

    fn demote(&mut self, who: u64) {
        self.lowest -= 1;
        self.of.insert(who, self.lowest);
    }
}

impl<T> Ready<T> {
    pub(super) fn new(order: Order, rng: &mut Rng) -> Self {
        let ranked = match order {
            Order::Uniform => false,
            Order::Priorities => true,
            Order::BySeed => rng.chance(1, 2),
        };
        let ranks = ranked.then(|| Ranks { of: IndexMap::default(), lowest: UNDEMOTED });
        Self { normal: Queue::new(ranked), system: Queue::new(ranked), ranks }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.normal.len() + self.system.len() == 0
    }

    /// One that could run. With `yielded`, it could have gone on and let the others go first.
    pub(super) fn push(&mut self, who: u64, system: bool, yielded: bool, item: T, rng: &mut Rng) {
        let rank = self.ranks.as_mut().map_or(0, |ranks| {
            if yielded {
                ranks.demote(who);
            }
            ranks.of(who, rng)
        });
        let queue = if system { &mut self.system } else { &mut self.normal };
        queue.push(rank, who, item);
    }

    /// The one that runs next.
    pub(super) fn pop(&mut self, rng: &mut Rng) -> Option<(u64, T)> {
        let system = self.system.len() > 0 && (self.normal.len() == 0 || !rng.chance(1, BEFORE_SYSTEM));
        let queue = if system { &mut self.system } else { &mut self.normal };
        let (who, item) = queue.pop(rng)?;
        if let Some(ranks) = &mut self.ranks
            && rng.chance(1, DEMOTION)
        {
            ranks.demote(who);
        }
        Some((who, item))
    }

    /// This one will never run again.
    pub(super) fn forget(&mut self, who: u64) {
        if let Some(ranks) = &mut self.ranks {
            ranks.of.swap_remove(&who);
        }
    }

    pub(super) fn drain(&mut self) -> Vec<T> {
        let mut items = self.normal.drain();
        items.extend(self.system.drain());
        items
    }
}

impl<T> Queue<T> {
    fn new(ranked: bool) -> Self {
        if ranked { Self::Ranked(BinaryHeap::new()) } else { Self::Uniform(Vec::new()) }
    }

    fn len(&self) -> usize {
        match self {
            Self::Uniform(items) => items.len(),
            Self::Ranked(items) => items.len(),
        }
    }

    fn push(&mut self, rank: u64, who: u64, item: T) {
        match self {
            Self::Uniform(items) => items.push((who, item)),
            Self::Ranked(items) => items.push(Ranked { rank, who, item }),
        }
    }

    fn pop(&mut self, rng: &mut Rng) -> Option<(u64, T)> {
        match self {
            Self::Uniform(items) if items.is_empty() => None,
            Self::Uniform(items) => Some(items.swap_remove(rng.place(items.len()))),
            Self::Ranked(items) => items.pop().map(|ranked| (ranked.who, ranked.item)),
        }
    }

    /// In the order of the pids, whatever the order of arrival.
    fn drain(&mut self) -> Vec<T> {
        let mut items: Vec<(u64, T)> = match self {
            Self::Uniform(items) => std::mem::take(items),
            Self::Ranked(items) => std::mem::take(items).into_iter().map(|ranked| (ranked.who, ranked.item)).collect(),
        };
        items.sort_by_key(|(who, _)| *who);
        items.into_iter().map(|(_, item)| item).collect()
    }
}

impl<T> Ranked<T> {
    /// Who stands in a queue stands there once, so that no two are equal.
    fn key(&self) -> (u64, u64) {
        (self.rank, self.who)
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(order: Order, rng: &mut Rng) -> Ready<u64> {
        let mut ready = Ready::new(order, rng);
        (1..=5).for_each(|who| ready.push(who, false, false, who, rng));
        ready
    }

    #[test]
    fn each_may_come_first_and_all_come() {
        for order in [Order::Uniform, Order::Priorities, Order::BySeed] {
            let mut firsts = [0; 6];
            for seed in 0..200 {
                let mut rng = Rng::from_seed(seed);
                let mut ready = ready(order, &mut rng);
                let mut came: Vec<u64> = std::iter::from_fn(|| ready.pop(&mut rng)).map(|(who, _)| who).collect();
                firsts[usize::try_from(came[0]).expect("small")] += 1;
                came.sort_unstable();
                assert_eq!(came, [1, 2, 3, 4, 5]);
                assert!(ready.is_empty());
            }
            assert!(firsts[1..].iter().all(|count| *count > 10), "{order:?}: {firsts:?}");
        }
    }

    #[test]
    fn by_priority_one_stays_ahead_until_it_yields() {
        let mut rng = Rng::from_seed(3);
        let mut ready = Ready::new(Order::Priorities, &mut rng);
        let mut turns = Vec::new();
        (1..=4).for_each(|who| ready.push(who, false, false, (), &mut rng));
        for _ in 0..12 {
            let (who, ()) = ready.pop(&mut rng).expect("four are there");
            turns.push(who);
            ready.push(who, false, false, (), &mut rng);
        }
        let same = turns.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(same >= 9, "{turns:?}");
        let (first, ()) = ready.pop(&mut rng).expect("four are there");
        ready.push(first, false, true, (), &mut rng);
        for _ in 0..3 {
            assert_ne!(ready.pop(&mut rng).expect("three others").0, first, "who yields goes behind");
        }
    }

    #[test]
    fn system_processes_go_first_as_a_rule_and_not_always() {
        let mut before = 0;
        for seed in 0..200 {
            let mut rng = Rng::from_seed(seed);
            let mut ready = ready(Order::BySeed, &mut rng);
            ready.push(9, true, false, 9, &mut rng);
            before += u32::from(ready.pop(&mut rng).expect("six are there").0 != 9);
        }
        assert!((5..60).contains(&before), "{before}");
    }

    #[test]
    fn what_is_drained_comes_in_the_order_of_the_pids() {
        let mut rng = Rng::from_seed(1);
        assert_eq!(ready(Order::Priorities, &mut rng).drain(), [1, 2, 3, 4, 5]);
    }
}
