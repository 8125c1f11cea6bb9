//! Shared: the table of all processes of a runtime: from pids to control blocks, and the limit on their number.
//!
//! Shards, each a lock around its slots; a spawner goes round the shards, so that spawner and reaper seldom meet. It stays
//! with each for a while, so that the slots of those who are spawned together, who often end together, stand together in
//! memory. A slot's generation grows with each use; a slot whose generation is used up is never used again. Permits for processes are handed to shards in small lots, so that the common counter is touched seldom; a
//! shard without any takes back what others hold before it says that the limit is reached. A slot may be a berth
//! ([`super::berth`]): it holds a permit then, and its processes are counted by who has it.
use crate::limits::{AHEAD, AHEAD_EVERY, SPAWN_RUN, TICK_POLLS};
use crate::pid::Pid;
use crate::process::berth::{Busy, Harbor, Moored, Released};
use crate::process::control::AnyProcess;
use crate::process::latent::{self, Dormant, Entry, Stand};
use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Permits a shard takes at a time.
const LOT: usize = TICK_POLLS as usize;

pub(crate) struct Table {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    /// Permits that no shard holds.
    permits: AtomicUsize,
    limit: usize,
    tag: u32,
    /// Held by who makes a control block for a process that had none. No other lock is held when it is taken.
    making: crate::sync::Mutex<()>,
    harbors: Mutex<Vec<Weak<dyn Harbor>>>,
}

struct Shard {
    slots: Vec<Slot>,
    /// The slot that was freed last, and by way of it the others; [`NONE`] if there is none.
    free: u32,
    used: usize,
    permits: usize,
}

struct Slot {
    process: Option<Arc<dyn Entry>>,
    generation: u32,
    /// Of a free slot: the one that was freed before it.
    next_free: u32,
}

/// No slot: each is a process's at some time, and pids have no room for so many.
const NONE: u32 = u32::MAX;

impl Table {
    pub(crate) fn new(shards: usize, limit: usize, tag: u32) -> Self {
        let shards = (0..shards).map(|_| CachePadded::default()).collect();
        Self {
            shards,
            permits: AtomicUsize::new(limit),
            limit,
            tag,
            making: crate::sync::Mutex::new(()),
            harbors: Mutex::default(),
        }
    }

    /// Makes a process, with its pid; `None` when the limit is reached. `turn` is any number, and one more each time: a few
    /// turns in a row come to the same shard.
    pub(crate) fn insert<P>(&self, turn: usize, make: impl FnOnce(Pid) -> (Arc<dyn Entry>, P)) -> Option<P> {
        let shard = turn / SPAWN_RUN % self.shards.len();
        let mut guard = self.permitted(shard)?;
        let (at, generation) = guard.vacant();
        let grows = at == guard.slots.len();
        let (process, made) = make(self.pid(shard, at, generation));
        guard.put(at, process);
        guard.used += 1;
        drop(guard);
        if grows && turn % AHEAD_EVERY == AHEAD_EVERY - 1 {
            ask_ahead();
        }
        Some(made)
    }

    /// Makes a berth; its pid is nobody's. `None` when the limit is reached.
    pub(crate) fn insert_berth(&self, turn: usize, moored: Arc<Moored>) -> Option<Pid> {
        let shard = turn / SPAWN_RUN % self.shards.len();
        let mut guard = self.permitted(shard)?;
        let (at, generation) = guard.vacant();
        guard.put(at, moored);
        Some(self.pid(shard, at, generation))
    }

    /// Takes a berth out that has had processes up to that pid.
    pub(crate) fn remove_berth(&self, last: Pid) {
        let removed = self.take_berth(last, |guard| {
            self.give_permit(guard);
        });
        drop(removed);
    }

    /// Frees a berth's slot; its permit goes where the caller says.
    fn take_berth(&self, last: Pid, permit: impl FnOnce(&mut Shard)) -> Option<Arc<dyn Entry>> {
        let (shard, at) = self.place(last);
        let mut guard = self.shards[shard].lock();
        guard.berth(at)?;
        guard.slots[at].generation = last.generation();
        let removed = guard.take(at);
        permit(&mut guard);
        removed
    }

    pub(crate) fn unregister(&self, harbor: &Arc<dyn Harbor>) {
        let known = Arc::downgrade(harbor);
        self.harbors.lock().retain(|other| !other.ptr_eq(&known));
    }

    pub(crate) fn register(&self, harbor: &Arc<dyn Harbor>) {
        let mut harbors = self.harbors.lock();
        harbors.retain(|known| known.strong_count() > 0);
        harbors.push(Arc::downgrade(harbor));
    }

    /// All that there are. Whoever drops the last handle on one drops what is users': without locks.
    pub(crate) fn harbors(&self) -> Vec<Arc<dyn Harbor>> {
        self.harbors.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// A shard, with a permit that was taken from it.
    fn permitted(&self, shard: usize) -> Option<MutexGuard<'_, Shard>> {
        let mut guard = self.shards[shard].lock();
        if guard.permits == 0 {
            guard.permits = self.take_permits(LOT);
        }
        while guard.permits == 0 {
            drop(guard);
            let recovered = self.recover_permits();
            if recovered == 0 && self.len() >= self.limit {
                return None;
            }
            // Without any, another spawner has them in its hands at this moment.
            guard = self.shards[shard].lock();
            guard.permits += recovered;
        }
        guard.permits -= 1;
        Some(guard)
    }

    fn pid(&self, shard: usize, at: usize, generation: u32) -> Pid {
        let index = u32::try_from(at * self.shards.len() + shard).expect("a table of four billion processes");
        Pid::new(index, generation, self.tag)
    }

    /// Takes a process out; true if that leaves its shard empty, and so perhaps the table.
    pub(crate) fn remove(&self, pid: Pid) -> bool {
        let (shard, at) = self.place(pid);
        let mut guard = self.shards[shard].lock();
        let removed = guard.take(at);
        guard.used -= 1;
        let emptied = self.give_permit(&mut guard);
        drop(guard);
        drop(removed);
        emptied
    }

    /// Takes a process out that has no control block yet; true as for [`Table::remove`]. It comes back if it has one by now,
    /// `None` if it is not there.
    pub(crate) fn remove_latent(&self, pid: Pid) -> Result<bool, Option<AnyProcess>> {
        let (shard, at) = self.place(pid);
        let mut guard = self.shards[shard].lock();
        let Some(entry) = guard.find(at, pid) else { return Err(None) };
        if !entry.is_latent() {
            let entry = Arc::clone(entry);
            drop(guard);
            return match entry.stand() {
                Stand::Process(process) => Err(Some(process)),
                Stand::Dormant(_) | Stand::Berth(_) => Err(None),
            };
        }
        let removed = guard.take(at);
        guard.used -= 1;
        let emptied = self.give_permit(&mut guard);
        drop(guard);
        drop(removed);
        Ok(emptied)
    }

    fn give_permit(&self, shard: &mut Shard) -> bool {
        shard.permits += 1;
        if shard.permits > 2 * LOT {
            shard.permits -= LOT;
            self.permits.fetch_add(LOT, Ordering::Relaxed);
        }
        shard.used == 0
    }

    /// The process of that pid. One without a control block gets it by this; so no lock may be held that is below `making`.
    pub(crate) fn get(&self, pid: Pid) -> Option<AnyProcess> {
        if pid.runtime() != self.tag {
            return None;
        }
        match self.entry(pid)?.stand() {
            Stand::Process(process) => Some(process),
            Stand::Dormant(_) | Stand::Berth(_) => self.make(pid),
        }
    }

    fn entry(&self, pid: Pid) -> Option<Arc<dyn Entry>> {
        let (shard, at) = self.place(pid);
        let guard = self.shards[shard].lock();
        guard.berth(at).or_else(|| guard.find(at, pid)).cloned()
    }

    /// Takes a process out of its berth, into the slot that this was; `None` if it has none (any more).
    fn release(&self, pid: Pid, berth: &Moored, harbor: &mut Option<Arc<dyn Harbor>>) -> Option<Arc<dyn Dormant>> {
        let (shard, at) = self.place(pid);
        let harbor = harbor.insert(berth.harbor.upgrade()?);
        let mut guard = self.shards[shard].lock();
        guard.berth(at)?;
        let dormant = harbor.release(berth.key, pid)?;
        guard.used += 1;
        let slot = &mut guard.slots[at];
        slot.generation = pid.generation();
        let berth = slot.process.replace(Arc::new(Released(Arc::clone(&dormant))));
        drop(guard);
        drop(berth);
        Some(dormant)
    }

    /// Gives a process its control block, if it is there and has none; and what it then has.
    #[cold]
    fn make(&self, pid: Pid) -> Option<AnyProcess> {
        // Dropped without the lock: with the last of them goes what is users'.
        let (mut harbor, mut kept, mut in_vain) = (None, None, None);
        let making = self.making.lock();
        let made = self.make_alone(pid, &mut harbor, &mut kept, &mut in_vain);
        drop(making);
        if let Some(made) = in_vain {
            latent::unmake(&made);
        }
        drop((kept, harbor));
        made
    }

    fn make_alone(
        &self,
        pid: Pid,
        harbor: &mut Option<Arc<dyn Harbor>>,
        kept: &mut Option<Arc<dyn Dormant>>,
        in_vain: &mut Option<AnyProcess>,
    ) -> Option<AnyProcess> {
        let dormant = match self.entry(pid)?.stand() {
            Stand::Process(process) => return Some(process),
            Stand::Dormant(dormant) => dormant,
            Stand::Berth(berth) => self.release(pid, &berth, harbor)?,
        };
        let dormant = kept.insert(dormant);
        let made = latent::make(dormant);
        let (shard, at) = self.place(pid);
        let mut guard = self.shards[shard].lock();
        let replaced =
            guard.find_mut(at, pid).map(|entry| std::mem::replace(entry, Arc::clone(&made) as Arc<dyn Entry>));
        drop(guard);
        if replaced.is_none() {
            *in_vain = Some(made);
            return None;
        }
        latent::born(&made);
        Some(made)
    }

    pub(crate) fn len(&self) -> usize {
        // In this order: one that leaves its berth meanwhile is counted twice, and not passed over.
        let moored: usize = self.harbors().iter().map(|harbor| harbor.len()).sum();
        moored + self.shards.iter().map(|shard| shard.lock().used).sum::<usize>()
    }

    /// Shows every process that lives throughout, a lock for a few hundred at a time. What is spawned meanwhile may or
    /// may not be shown. Those without a control block get one.
    pub(crate) fn for_each(&self, mut show: impl FnMut(AnyProcess)) {
        self.for_each_within(Duration::MAX, |stand| match stand {
            Stand::Process(process) => show(process),
            Stand::Dormant(dormant) => {
                let pid = dormant.origin().pid(self.tag);
                if let Some(process) = pid.and_then(|pid| self.get(pid)) {
                    show(process);
                }
            }
            Stand::Berth(_) => {}
        });
    }

    /// As [`Table::for_each`]; a shard whose lock cannot be had in that time is passed over. How many were.
    pub(crate) fn for_each_within(&self, patience: Duration, mut show: impl FnMut(Stand)) -> usize {
        const CHUNK: usize = 512;
        let (mut unread, mut left) = (0, patience);
        for (number, shard) in self.shards.iter().enumerate() {
            let mut from = 0;
            loop {
                let Some(guard) = shard.try_lock_for(patience) else {
                    unread += 1;
                    break;
                };
                let end = guard.slots.len();
                let slots = guard.slots.get(from..end.min(from + CHUNK)).unwrap_or_default();
                let filled = (from..).zip(slots).filter_map(|(at, slot)| Some((at, slot.process.clone()?)));
                let chunk: Vec<(usize, Arc<dyn Entry>)> = filled.collect();
                drop(guard);
                for (at, entry) in chunk {
                    match entry.stand() {
                        Stand::Berth(berth) => match self.look(&berth, (number, at), left) {
                            Ok(stand) => stand.into_iter().for_each(&mut show),
                            // It is not waited for with each of its berths.
                            Err(Busy) => {
                                unread += usize::from(!left.is_zero());
                                left = Duration::ZERO;
                            }
                        },
                        stand => show(stand),
                    }
                }
                from += CHUNK;
                if from >= end {
                    break;
                }
            }
        }
        unread
    }

    /// Who has a berth, or has left it meanwhile for the slot that it was.
    fn look(&self, berth: &Moored, place: (usize, usize), patience: Duration) -> Result<Option<Stand>, Busy> {
        let harbor = berth.harbor.upgrade();
        let dormant = harbor.map_or(Ok(None), |harbor| harbor.look(berth.key, patience))?;
        // The harbor's place may have another berth by now.
        let pid = dormant.as_ref().and_then(|dormant| dormant.origin().pid(self.tag));
        if pid.is_some_and(|pid| self.place(pid) == place) {
            return Ok(dormant.map(Stand::Dormant));
        }
        let shard = self.shards[place.0].try_lock_for(patience).ok_or(Busy)?;
        let entry = shard.slots.get(place.1).and_then(|slot| slot.process.clone());
        drop(shard);
        Ok(entry.filter(|entry| !entry.is_berth()).map(Entry::stand))
    }

    fn place(&self, pid: Pid) -> (usize, usize) {
        let index = pid.index() as usize;
        (index % self.shards.len(), index / self.shards.len())
    }

    fn take_permits(&self, wanted: usize) -> usize {
        let take = |free: usize| free.checked_sub(wanted.min(free)).filter(|_| free > 0);
        match self.permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(free) => wanted.min(free),
            Err(_) => 0,
        }
    }

    /// Takes the permits that shards hold unused, one lot at least if there are any.
    fn recover_permits(&self) -> usize {
        let mut recovered = self.take_permits(LOT);
        for shard in &self.shards {
            if recovered >= LOT {
                break;
            }
            recovered += std::mem::take(&mut shard.lock().permits);
        }
        for harbor in self.harbors() {
            if recovered >= LOT {
                break;
            }
            for berth in harbor.idle() {
                let removed = self.take_berth(berth.pid(), |_| recovered += 1);
                drop(removed);
            }
        }
        recovered
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self { slots: Vec::new(), free: NONE, used: 0, permits: 0 }
    }
}

impl Shard {
    /// The free slot that is used next, and its next generation.
    fn vacant(&self) -> (usize, u32) {
        match self.slots.get(self.free as usize) {
            Some(slot) => (self.free as usize, slot.generation + 1),
            None => (self.slots.len(), 1),
        }
    }

    fn berth(&self, at: usize) -> Option<&Arc<dyn Entry>> {
        self.slots.get(at)?.process.as_ref().filter(|entry| entry.is_berth())
    }

    fn find(&self, at: usize, pid: Pid) -> Option<&Arc<dyn Entry>> {
        self.slots.get(at).filter(|slot| slot.generation == pid.generation())?.process.as_ref()
    }

    fn find_mut(&mut self, at: usize, pid: Pid) -> Option<&mut Arc<dyn Entry>> {
        self.slots.get_mut(at).filter(|slot| slot.generation == pid.generation())?.process.as_mut()
    }

    /// Puts a process into the free slot, or behind the last if there is none.
    fn put(&mut self, at: usize, process: Arc<dyn Entry>) {
        if let Some(slot) = self.slots.get_mut(at) {
            self.free = slot.next_free;
            slot.generation += 1;
            slot.process = Some(process);
        } else {
            self.slots.push(Slot { process: Some(process), generation: 1, next_free: NONE });
        }
    }

    /// Frees a slot, for another use unless its generation is used up.
    fn take(&mut self, at: usize) -> Option<Arc<dyn Entry>> {
        let free = self.free;
        let slot = &mut self.slots[at];
        if slot.generation < u32::MAX {
            slot.next_free = free;
            self.free = u32::try_from(at).expect("a pid's index is larger");
        }
        slot.process.take()
    }
}

/// Asks the allocator at one go for what the next processes will take, and gives it back at once. There are more processes than
/// ever, so that their memory comes from the system; glibc has it that for a thread page by page, with a system call each.
#[cold]
fn ask_ahead() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(AHEAD)));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::mailbox::Mailbox;
    use crate::process::control::{Control, Head};
    use crate::scheduler::Home;

    fn insert(table: &Table, shard: usize) -> Option<Pid> {
        table.insert(shard * SPAWN_RUN, |pid| {
            let head = Head::new(pid, None, Home::detached());
            (Arc::new(Control::<()>::new(head, Mailbox::default())) as Arc<dyn Entry>, pid)
        })
    }

    #[test]
    fn a_slot_serves_again_under_another_pid() {
        let table = Table::new(2, 10, 1);
        let first = insert(&table, 0).expect("room");
        assert!(table.get(first).is_some());
        assert!(table.remove(first), "it was alone");
        let second = insert(&table, 0).expect("room");
        assert_eq!(first.index(), second.index());
        assert!(table.get(first).is_none() && table.get(second).is_some());
        assert!(table.get(Pid::new(second.index(), second.generation(), 2)).is_none(), "another runtime's");
    }

    #[test]
    fn a_slot_whose_generation_is_used_up_is_retired() {
        let table = Table::new(1, 10, 1);
        let pid = insert(&table, 0).expect("room");
        let _ = table.remove(pid);
        table.shards[0].lock().slots[0].generation = u32::MAX - 1;
        let last = insert(&table, 0).expect("room");
        assert_eq!(last.generation(), u32::MAX);
        let _ = table.remove(last);
        assert_eq!(table.len(), 0);
        let next = insert(&table, 0).expect("room");
        assert_ne!(next.index(), last.index());
    }

    #[test]
    fn the_limit_is_exact_whatever_shards_hoard() {
        for limit in [1, 5, LOT, 3 * LOT + 1] {
            let table = Table::new(4, limit, 1);
            let mut pids: Vec<Pid> = (0..limit).map(|i| insert(&table, i).expect("below the limit")).collect();
            assert_eq!((insert(&table, 0), table.len()), (None, limit));
            while let Some(pid) = pids.pop() {
                let _ = table.remove(pid);
                assert!(insert(&table, 3).is_some_and(|pid| table.get(pid).is_some()), "a place was free");
                assert_eq!(insert(&table, 2), None);
                if pids.len() < limit / 2 {
                    break;
                }
            }
        }
    }

    #[test]
    fn every_process_is_shown_once() {
        let table = Table::new(3, 5000, 1);
        let mut pids: Vec<Pid> = (0..4000).map(|i| insert(&table, i * 7).expect("room")).collect();
        pids.drain(..).step_by(3).for_each(|pid| {
            table.remove(pid);
        });
        let mut shown = Vec::new();
        table.for_each(|process| shown.push(process.head().pid));
        assert_eq!(shown.len(), table.len());
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), table.len());
    }
}
