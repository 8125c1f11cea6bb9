//! Pure: who of those that could run runs next.
use crate::chance::Rng;
use crate::simulation::choices::{Chooser, Kind};
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
    /// How many have come so far.
    came: u64,
}

enum Queue<T> {
    Uniform(Vec<Waiting<T>>),
    Ranked(BinaryHeap<Waiting<T>>),
}

struct Waiting<T> {
    rank: u64,
    who: u64,
    /// How many came before it.
    after: u64,
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
    pub(super) fn new(order: Order, chooser: &mut Chooser) -> Self {
        let ranked = match order {
            // As they came: each choice says how many of those are passed over.
            _ if chooser.is_given() => false,
            Order::Uniform => false,
            Order::Priorities => true,
            Order::BySeed => chooser.rng().chance(1, 2),
        };
        let ranks = ranked.then(|| Ranks { of: IndexMap::default(), lowest: UNDEMOTED });
        Self { normal: Queue::new(ranked), system: Queue::new(ranked), ranks, came: 0 }
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
        queue.push(Waiting { rank, who, after: self.came, item });
        self.came += 1;
    }

    /// The one that runs next.
    pub(super) fn pop(&mut self, chooser: &mut Chooser) -> Option<(u64, T)> {
        if chooser.is_given() {
            return self.pop_given(chooser);
        }
        let rng = chooser.rng();
        let system = self.system.len() > 0 && (self.normal.len() == 0 || !rng.chance(1, BEFORE_SYSTEM));
        let queue = if system { &mut self.system } else { &mut self.normal };
        let Waiting { who, after, item, .. } = queue.pop(rng)?;
        if let Some(ranks) = &mut self.ranks
            && rng.chance(1, DEMOTION)
        {
            ranks.demote(who);
        }
        if chooser.is_noted() {
            let passed_over =
                if system { self.system.before(after) } else { self.system.len() + self.normal.before(after) };
            chooser.note(Kind::Run, passed_over as u64);
        }
        Some((who, item))
    }

    /// By a choice that is given: the system processes, then the others, each as they came.
    fn pop_given(&mut self, chooser: &mut Chooser) -> Option<(u64, T)> {
        let (system, all) = (self.system.len(), self.system.len() + self.normal.len());
        if all == 0 {
            return None;
        }
        // One of one is noted as well, so that the numbers of those that follow in the step do not depend on it.
        let at = if all > 1 { chooser.place(Kind::Run, all) } else { chooser.only(Kind::Run) };
        let queue = if at < system { &mut self.system } else { &mut self.normal };
        queue.take(if at < system { at } else { at - system })
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

    fn push(&mut self, one: Waiting<T>) {
        match self {
            Self::Uniform(items) => items.push(one),
            Self::Ranked(items) => items.push(one),
        }
    }

    fn pop(&mut self, rng: &mut Rng) -> Option<Waiting<T>> {
        match self {
            Self::Uniform(items) if items.is_empty() => None,
            Self::Uniform(items) => Some(items.swap_remove(rng.place(items.len()))),
            Self::Ranked(items) => items.pop(),
        }
    }

    /// The one in this place, where they stand as they came.
    fn take(&mut self, at: usize) -> Option<(u64, T)> {
        match self {
            Self::Uniform(items) if at < items.len() => {
                let Waiting { who, item, .. } = items.remove(at);
                Some((who, item))
            }
            _ => None,
        }
    }

    /// How many came before the one that came after so many.
    fn before(&self, after: u64) -> usize {
        match self {
            Self::Uniform(items) => items.iter().filter(|one| one.after < after).count(),
            Self::Ranked(items) => items.iter().filter(|one| one.after < after).count(),
        }
    }

    /// In the order of the pids, whatever the order of arrival.
    fn drain(&mut self) -> Vec<T> {
        let mut items = match self {
            Self::Uniform(items) => std::mem::take(items),
            Self::Ranked(items) => std::mem::take(items).into_vec(),
        };
        items.sort_by_key(|one| one.who);
        items.into_iter().map(|one| one.item).collect()
    }
}

impl<T> Waiting<T> {
    /// Who stands in a queue stands there once, so that no two are equal.
    fn key(&self) -> (u64, u64) {
        (self.rank, self.who)
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::choices::How;

    fn chooser(seed: u64) -> Chooser {
        Chooser::new(Rng::from_seed(seed), How::Drawn)
    }

    fn ready(order: Order, chooser: &mut Chooser) -> Ready<u64> {
        let mut ready = Ready::new(order, chooser);
        (1..=5).for_each(|who| ready.push(who, false, false, who, chooser.rng()));
        ready
    }

    #[test]
    fn each_may_come_first_and_all_come() {
        for order in [Order::Uniform, Order::Priorities, Order::BySeed] {
            let mut firsts = [0; 6];
            for seed in 0..200 {
                let mut chooser = chooser(seed);
                let mut ready = ready(order, &mut chooser);
                let mut came: Vec<u64> = std::iter::from_fn(|| ready.pop(&mut chooser)).map(|(who, _)| who).collect();
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
        let mut chooser = chooser(3);
        let mut ready = Ready::new(Order::Priorities, &mut chooser);
        let mut turns = Vec::new();
        (1..=4).for_each(|who| ready.push(who, false, false, (), chooser.rng()));
        for _ in 0..12 {
            let (who, ()) = ready.pop(&mut chooser).expect("four are there");
            turns.push(who);
            ready.push(who, false, false, (), chooser.rng());
        }
        let same = turns.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(same >= 9, "{turns:?}");
        let (first, ()) = ready.pop(&mut chooser).expect("four are there");
        ready.push(first, false, true, (), chooser.rng());
        for _ in 0..3 {
            assert_ne!(ready.pop(&mut chooser).expect("three others").0, first, "who yields goes behind");
        }
    }

    #[test]
    fn system_processes_go_first_as_a_rule_and_not_always() {
        let mut before = 0;
        for seed in 0..200 {
            let mut chooser = chooser(seed);
            let mut ready = ready(Order::BySeed, &mut chooser);
            ready.push(9, true, false, 9, chooser.rng());
            before += u32::from(ready.pop(&mut chooser).expect("six are there").0 != 9);
        }
        assert!((5..60).contains(&before), "{before}");
    }

    #[test]
    fn what_is_drained_comes_in_the_order_of_the_pids() {
        let mut chooser = chooser(1);
        assert_eq!(ready(Order::Priorities, &mut chooser).drain(), [1, 2, 3, 4, 5]);
    }
}
