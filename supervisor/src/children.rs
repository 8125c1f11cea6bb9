//! Pure: the children of one supervisor: in their order, by id and by process.
use crate::limits::EXITS_KEPT;
use crate::rows::Rows;
use crate::spec::{ChildKind, Kept, Restart};
use colloquium_runtime::{ExitReason, NearBuildHasher};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// A child's place: keys are given out in the order in which children were added, which is their start order, and never
/// twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

impl Key {
    pub(crate) const FIRST: Self = Self(0);
    pub(crate) const END: Self = Self(u64::MAX);

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How it stands with a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing<P> {
    /// No process, and none is due: why.
    Stopped(Rest),
    /// Its start function is at work (no process yet), or its process is initialising.
    Starting(Option<P>),
    Up(P),
    /// It has been told to stop.
    Stopping(P),
    /// Its process has ended; the supervisor will see to it when it has done what it is about.
    Fallen(ExitReason),
    /// To be started again: when the supervisor comes to a message that it has sent itself (with this number), or at a
    /// time.
    Again(Turn),
}

/// When a start is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Message(u64),
    At(Duration),
}

/// Why a child has no process and none is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It has not been started yet, or it has to wait for another of its group.
    Waiting,
    /// It was stopped by hand, or its restart by hand failed.
    ByHand,
    /// It ended by itself and is not to be restarted.
    Ended,
    /// It said that it is not wanted.
    Ignored,
    /// It failed too often.
    Failed,
}

impl<P: Copy> Standing<P> {
    /// Its process, if it has one that may be alive.
    pub(crate) fn process(&self) -> Option<P> {
        match self {
            Self::Starting(process) => *process,
            Self::Up(process) | Self::Stopping(process) => Some(*process),
            Self::Stopped(_) | Self::Fallen(_) | Self::Again(_) => None,
        }
    }

    fn is_at_rest(&self) -> bool {
        matches!(self, Self::Stopped(_))
    }
}

/// How a process of a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastExit<P> {
    pub(crate) process: P,
    pub(crate) reason: ExitReason,
    pub(crate) at: Duration,
    pub(crate) lived: Duration,
}

#[derive(Debug)]
pub(crate) struct Child<P> {
    /// Children of a dynamic supervisor have none: they are known by their pids.
    id: Option<Arc<str>>,
    pub(crate) settings: Kept,
    pub(crate) standing: Standing<P>,
    /// Since when it stands so, in nanoseconds.
    since: u64,
    /// Processes that it has had; or so many that nobody counts them.
    pub(crate) starts: u32,
    /// Unhealthy starts in a row, for its back-off.
    pub(crate) unhealthy: u32,
    /// The last exits, oldest first. Most children have none.
    pub(crate) exits: Option<Box<VecDeque<PastExit<P>>>>,
}

impl<P: Copy> Child<P> {
    fn new(id: Option<Arc<str>>, settings: Kept, now: Duration) -> Self {
        let standing = Standing::Stopped(Rest::Waiting);
        Self { id, settings, standing, since: nanos(now), starts: 0, unhealthy: 0, exits: None }
    }

    /// Empty if it has none.
    pub(crate) fn id(&self) -> Arc<str> {
        self.id.clone().unwrap_or_default()
    }

    /// Since when it stands so.
    pub(crate) fn since(&self) -> Duration {
        Duration::from_nanos(self.since)
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.settings.restart == Restart::Temporary
    }

    /// Keeps an exit; the one that has to make room comes out.
    #[must_use]
    pub(crate) fn note_exit(&mut self, exit: PastExit<P>) -> Option<PastExit<P>> {
        let exits = self.exits.get_or_insert_default();
        let oldest = if exits.len() < EXITS_KEPT { None } else { exits.pop_front() };
        exits.push_back(exit);
        oldest
    }
}

#[derive(Debug)]
pub(crate) struct Children<P> {
    rows: Rows<Child<P>>,
    /// Keys of rows by their ids, and of those with a process by that: what is looked for stands in the rows, once. Nobody goes
    /// over these, so that their order does not matter.
    ids: HashTable<Key>,
    processes: HashTable<Key>,
    /// Ids may come from strangers, so that their hashes are not to be foreseen.
    scatter: RandomState,
    next: Key,
    /// How many have a process that may be alive.
    active: usize,
    /// How many significant ones have a process or are to get one.
    significant: usize,
    supervisors: usize,
}

impl<P> Default for Children<P> {
    fn default() -> Self {
        Self {
            rows: Rows::default(),
            ids: HashTable::new(),
            processes: HashTable::new(),
            scatter: RandomState::new(),
            next: Key::FIRST,
            active: 0,
            significant: 0,
            supervisors: 0,
        }
    }
}

impl<P: Copy + Eq + Hash> Children<P> {
    /// For so many.
    pub(crate) fn with_capacity(children: usize) -> Self {
        Self {
            rows: Rows::with_capacity(children),
            ids: HashTable::with_capacity(children),
            processes: HashTable::with_capacity(children),
            ..Self::default()
        }
    }

    /// Adds a child, as the last.
    ///
    /// # Errors
    ///
    /// Its id is taken.
    pub(crate) fn add(&mut self, id: Option<Arc<str>>, settings: Kept, now: Duration) -> Result<Key, Arc<str>> {
        let (key, rows, scatter) = (self.next, &self.rows, &self.scatter);
        if let Some(id) = id.as_ref() {
            let id_at = |key: &Key| rows.get(*key).and_then(|child| child.id.as_deref());
            let hash = |key: &Key| id_at(key).map_or(0, |id| scatter.hash_one(id));
            match self.ids.entry(scatter.hash_one(&**id), |key| id_at(key) == Some(id), hash) {
                Entry::Occupied(_) => return Err(Arc::clone(id)),
                Entry::Vacant(free) => free.insert(key),
            };
        }
        self.next = key.next();
        self.supervisors += usize::from(settings.kind == ChildKind::Supervisor);
        self.rows.push(key, Child::new(id, settings, now));
        Ok(key)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Child<P>> {
        let child = self.rows.remove(key)?;
        if let Some(id) = child.id.as_deref() {
            forget(&mut self.ids, self.scatter.hash_one(id), key);
        }
        self.supervisors -= usize::from(child.settings.kind == ChildKind::Supervisor);
        if let Some(process) = child.standing.process() {
            forget(&mut self.processes, NearBuildHasher.hash_one(process), key);
            self.active -= 1;
        }
        if child.settings.significant && !child.standing.is_at_rest() {
            self.significant -= 1;
        }
        Some(child)
    }

    /// Sets how it stands with a child, and keeps the index of processes true. What it was comes out.
    pub(crate) fn set(&mut self, key: Key, standing: Standing<P>, now: Duration) -> Option<Standing<P>> {
        let child = self.rows.get_mut(key)?;
        let (old, new) = (child.standing.process(), standing.process());
        if child.settings.significant {
            self.significant += usize::from(!standing.is_at_rest());
            self.significant -= usize::from(!child.standing.is_at_rest());
        }
        child.since = nanos(now);
        child.starts = child.starts.saturating_add(u32::from(new.is_some() && old != new));
        let before = std::mem::replace(&mut child.standing, standing);
        if old != new {
            self.reindex(key, old, new);
        }
        Some(before)
    }

    fn reindex(&mut self, key: Key, old: Option<P>, new: Option<P>) {
        if let Some(old) = old {
            forget(&mut self.processes, NearBuildHasher.hash_one(old), key);
            self.active -= 1;
        }
        if let Some(new) = new {
            let rows = &self.rows;
            let process = |key: &Key| rows.get(*key).and_then(|child| child.standing.process());
            let hash = |key: &Key| process(key).map_or(0, |process| NearBuildHasher.hash_one(process));
            self.processes.insert_unique(NearBuildHasher.hash_one(new), key, hash);
            self.active += 1;
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Child<P>> {
        self.rows.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Child<P>> {
        self.rows.get_mut(key)
    }

    pub(crate) fn key_of(&self, process: P) -> Option<Key> {
        let has = |key: &Key| self.get(*key).is_some_and(|child| child.standing.process() == Some(process));
        self.processes.find(NearBuildHasher.hash_one(process), has).copied()
    }

    pub(crate) fn key_named(&self, id: &str) -> Option<Key> {
        let has = |key: &Key| self.get(*key).is_some_and(|child| child.id.as_deref() == Some(id));
        self.ids.find(self.scatter.hash_one(id), has).copied()
    }

    /// The first child at or after `from` and before `until`.
    pub(crate) fn first_in(&self, from: Key, until: Key) -> Option<Key> {
        self.rows.first_in(from, until)
    }

    /// The last child at or after `from` and before `until`.
    pub(crate) fn last_in(&self, from: Key, until: Key) -> Option<Key> {
        self.rows.last_in(from, until)
    }

    /// From a key on, in order.
    pub(crate) fn from(&self, key: Key) -> impl DoubleEndedIterator<Item = (Key, &Child<P>)> {
        self.rows.from(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Those that are supervisors, with a process or without.
    pub(crate) fn supervisors(&self) -> usize {
        self.supervisors
    }

    /// Significant children that have a process or are to get one.
    pub(crate) fn significant(&self) -> usize {
        self.significant
    }
}

/// In 64 bits, which last for 584 years.
/// Takes a key out of an index, whatever its row has become.
fn forget(index: &mut HashTable<Key>, hash: u64, key: Key) {
    if let Ok(entry) = index.find_entry(hash, |other| *other == key) {
        entry.remove();
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(children: &mut Children<u32>, id: &str, now: Duration) -> Option<Key> {
        children.add(Some(id.into()), Kept::Usual, now).ok()
    }

    #[test]
    fn children_are_found_by_id_by_process_and_in_their_order() {
        let (mut children, now) = (Children::<u32>::default(), Duration::ZERO);
        let keys: Vec<Key> = ["a", "b", "c"].iter().filter_map(|id| add(&mut children, id, now)).collect();
        assert_eq!(add(&mut children, "b", now), None);
        assert_eq!((children.len(), children.active()), (3, 0));
        for (key, process) in keys.iter().zip(10..) {
            children.set(*key, Standing::Up(process), now);
        }
        assert_eq!(
            (children.key_of(11), children.key_named("c"), children.active()),
            (Some(keys[1]), Some(keys[2]), 3)
        );
        children.set(keys[1], Standing::Stopping(11), now);
        children.set(keys[1], Standing::Up(21), now);
        assert_eq!((children.key_of(11), children.key_of(21), children.active()), (None, Some(keys[1]), 3));
        assert_eq!(children.get(keys[1]).map(|child| child.starts), Some(2));
        assert!(children.remove(keys[1]).is_some() && children.remove(keys[1]).is_none());
        assert_eq!((children.key_of(21), children.key_named("b"), children.active()), (None, None, 2));
        assert_eq!(children.first_in(keys[0].next(), Key::END), Some(keys[2]));
        assert_eq!(children.last_in(Key::FIRST, keys[2]), Some(keys[0]));
        assert_eq!(children.first_in(keys[2], keys[0]), None);
        let again = add(&mut children, "b", now);
        assert!(again > Some(keys[2]), "a key is used once");
    }

    /// There may be very many, and fresh memory is the larger part of what a start costs.
    #[test]
    fn a_child_takes_nine_words() {
        assert!(size_of::<Option<Child<colloquium_runtime::Pid>>>() <= 72);
    }

    #[test]
    fn the_last_exits_are_kept() {
        let mut child = Child::<u32>::new(None, Kept::Usual, Duration::ZERO);
        let exit = |second| PastExit {
            process: 1,
            reason: ExitReason::Killed,
            at: Duration::from_secs(second),
            lived: Duration::ZERO,
        };
        let dropped: Vec<u64> =
            (0..15).filter_map(|n| child.note_exit(exit(n))).map(|exit| exit.at.as_secs()).collect();
        assert_eq!(dropped, [0, 1, 2, 3, 4]);
        let kept: Vec<u64> = child.exits.iter().flat_map(|exits| exits.iter()).map(|exit| exit.at.as_secs()).collect();
        assert_eq!(kept, (5..15).collect::<Vec<u64>>());
    }
}
