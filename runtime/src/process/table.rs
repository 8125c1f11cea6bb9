//! Shared: the table of all processes of a runtime: from pids to control blocks, and the limit on their number.
//!
//! Shards, each a lock around a slab and the generations of its slots; a spawner goes round the shards, so that spawner
//! and reaper seldom meet. A slot's generation grows with each use; a slot whose generation is used up is never used
//! again. Permits for processes are handed to shards in small lots, so that the common counter is touched seldom; a
//! shard without any takes back what others hold before it says that the limit is reached.
use crate::limits::{AHEAD, AHEAD_EVERY, TICK_POLLS};
use crate::pid::Pid;
use crate::process::control::AnyProcess;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use slab::Slab;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Permits a shard takes at a time.
const LOT: usize = TICK_POLLS as usize;

pub(crate) struct Table {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    /// Permits that no shard holds.
    permits: AtomicUsize,
    limit: usize,
    tag: u32,
}

#[derive(Default)]
struct Shard {
    slots: Slab<Slot>,
    generations: Vec<u32>,
    permits: usize,
    retired: usize,
}

enum Slot {
    Process(AnyProcess),
    Retired,
}

impl Table {
    pub(crate) fn new(shards: usize, limit: usize, tag: u32) -> Self {
        let shards = (0..shards).map(|_| CachePadded::default()).collect();
        Self { shards, permits: AtomicUsize::new(limit), limit, tag }
    }

    /// Makes a process in the given shard (any number, which a worker counts up), with its pid; `None` when the limit is reached.
    pub(crate) fn insert<P>(&self, shard: usize, make: impl FnOnce(Pid) -> (AnyProcess, P)) -> Option<P> {
        let number = shard;
        let shard = number % self.shards.len();
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
        let slot = guard.slots.vacant_key();
        let grows = slot == guard.generations.len();
        if grows {
            guard.generations.push(0);
        }
        guard.generations[slot] += 1;
        let index = u32::try_from(slot * self.shards.len() + shard).expect("a table of four billion processes");
        let (process, made) = make(Pid::new(index, guard.generations[slot], self.tag));
        guard.slots.insert(Slot::Process(process));
        drop(guard);
        if grows && number % AHEAD_EVERY == AHEAD_EVERY - 1 {
            ask_ahead();
        }
        Some(made)
    }

    /// Takes a process out; true if that leaves its shard empty, and so perhaps the table.
    pub(crate) fn remove(&self, pid: Pid) -> bool {
        let (shard, slot) = self.place(pid);
        let mut guard = self.shards[shard].lock();
        let exhausted = guard.generations[slot] == u32::MAX;
        let removed = if exhausted {
            guard.retired += 1;
            std::mem::replace(&mut guard.slots[slot], Slot::Retired)
        } else {
            guard.slots.remove(slot)
        };
        guard.permits += 1;
        if guard.permits > 2 * LOT {
            guard.permits -= LOT;
            self.permits.fetch_add(LOT, Ordering::Relaxed);
        }
        let emptied = guard.slots.len() == guard.retired;
        drop(guard);
        drop(removed);
        emptied
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<AnyProcess> {
        if pid.runtime() != self.tag {
            return None;
        }
        let (shard, slot) = self.place(pid);
        let guard = self.shards[shard].lock();
        if guard.generations.get(slot) != Some(&pid.generation()) {
            return None;
        }
        match guard.slots.get(slot) {
            Some(Slot::Process(process)) => Some(AnyProcess::clone(process)),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let shard = shard.lock();
                shard.slots.len() - shard.retired
            })
            .sum()
    }

    /// Shows every process that lives throughout, a lock for a few hundred at a time. What is spawned meanwhile may or
    /// may not be shown.
    pub(crate) fn for_each(&self, show: impl FnMut(AnyProcess)) {
        self.for_each_within(Duration::MAX, show);
    }

    /// As [`Table::for_each`]; a shard whose lock cannot be had in that time is passed over. How many were.
    pub(crate) fn for_each_within(&self, patience: Duration, mut show: impl FnMut(AnyProcess)) -> usize {
        const CHUNK: usize = 512;
        let mut unread = 0;
        for shard in &self.shards {
            let mut from = 0;
            loop {
                let Some(guard) = shard.try_lock_for(patience) else {
                    unread += 1;
                    break;
                };
                let end = guard.generations.len();
                let chunk: Vec<AnyProcess> = (from..end.min(from + CHUNK))
                    .filter_map(|slot| match guard.slots.get(slot) {
                        Some(Slot::Process(process)) => Some(AnyProcess::clone(process)),
                        _ => None,
                    })
                    .collect();
                drop(guard);
                chunk.into_iter().for_each(&mut show);
                from += CHUNK;
                if from >= end {
                    break;
                }
            }
        }
        unread
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
        recovered
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
    use std::sync::Arc;

    fn insert(table: &Table, shard: usize) -> Option<Pid> {
        table.insert(shard, |pid| {
            let head = Head::new(pid, None, Home::detached());
            (Arc::new(Control::<()>::new(head, Mailbox::default())) as AnyProcess, pid)
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
        table.shards[0].lock().generations[0] = u32::MAX - 1;
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
