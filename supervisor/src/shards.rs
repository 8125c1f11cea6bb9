//! Shared: who belongs to a children set, in shards, so that starts and ends on different cores seldom meet.
//!
//! A shard is a lock around the pids of its members, and says whether the set is open. A member is let in under the lock of
//! its shard, and only while that is open; closing goes over the shards one by one, so that after it every member is either
//! seen by whoever closed or was refused. The lock is held for one look-up, or while a process without a body is made (its
//! place in the process table: a lock that is only taken below this one), and no user's code runs under it.
//!
//! `closing` is written before the shards are closed and read by a member after it has left its shard: the last to leave a
//! closing set sees it (the shard's lock is between the two) and wakes the holder.
use colloquium_runtime::Pid;
use parking_lot::Mutex;
use rustc_hash::FxHasher;
use slab::Slab;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// More than there are cores on most machines.
const SHARDS: usize = 32;

pub(crate) struct Shards {
    shards: [Shard; SHARDS],
    /// Those that are in or about to come in; only looked at if there is a limit.
    taken: AtomicUsize,
    most: usize,
    closing: AtomicBool,
}

/// On a line of the cache of its own.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    /// Who holds the set open.
    holder: Option<Pid>,
    pids: Slab<Pid>,
    started: u64,
    abnormal: u64,
}

/// Where a member stands: its shard, and its place there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    shard: u32,
    key: u32,
}

impl Seat {
    fn new(shard: usize, key: usize) -> Self {
        let shard = u32::try_from(shard).expect("there are 32");
        Self { shard, key: u32::try_from(key).expect("fewer than there are processes") }
    }
}

thread_local! {
    /// The shard of the members that this thread makes; each thread has another, until there are more threads than shards.
    static OWN: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

impl Shards {
    pub(crate) fn new(most: usize) -> Self {
        Self { shards: Default::default(), taken: AtomicUsize::new(0), most, closing: AtomicBool::new(false) }
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Takes one of the places, if there is a limit; false if none is left.
    pub(crate) fn take_place(&self) -> bool {
        if self.most == usize::MAX || self.taken.fetch_add(1, Ordering::Relaxed) < self.most {
            return true;
        }
        self.give_place();
        false
    }

    pub(crate) fn give_place(&self) {
        if self.most != usize::MAX {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn open(&self, holder: Pid) {
        self.closing.store(false, Ordering::SeqCst);
        for shard in &self.shards {
            shard.members.lock().holder = Some(holder);
        }
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        for shard in &self.shards {
            shard.members.lock().holder = None;
        }
    }

    /// Lets a member in, unless the set is closed.
    pub(crate) fn enter(&self, pid: Pid) -> Option<Seat> {
        let mut hasher = FxHasher::default();
        pid.hash(&mut hasher);
        // The hasher has turned its best bits down.
        let shard = hasher.finish() as usize % SHARDS;
        let mut members = self.shards[shard].members.lock();
        members.holder?;
        members.started += 1;
        Some(Seat::new(shard, members.pids.insert(pid)))
    }

    /// Lets a member in that is made by `make`, which is given the holder; `None` if the set is closed.
    pub(crate) fn enter_made<E>(&self, make: impl FnOnce(Pid) -> Result<Pid, E>) -> Option<Result<(Pid, Seat), E>> {
        let shard = OWN.with(|own| *own);
        let mut members = self.shards[shard].members.lock();
        let holder = members.holder?;
        Some(make(holder).map(|pid| {
            members.started += 1;
            (pid, Seat::new(shard, members.pids.insert(pid)))
        }))
    }

    /// A member is gone; true if the set is closing and it may have been the last.
    pub(crate) fn leave(&self, seat: Seat, abnormal: bool) -> bool {
        let mut members = self.shards[seat.shard as usize].members.lock();
        members.pids.remove(seat.key as usize);
        members.abnormal += u64::from(abnormal);
        let emptied = members.pids.is_empty();
        drop(members);
        self.give_place();
        emptied && self.closing.load(Ordering::SeqCst)
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.members.lock().pids.len()).sum()
    }

    /// How many have come in so far, and how many of them have ended abnormally.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let add = |(started, abnormal): (u64, u64), shard: &Shard| {
            let members = shard.members.lock();
            (started + members.started, abnormal + members.abnormal)
        };
        self.shards.iter().fold((0, 0), add)
    }

    /// All members, shard by shard.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        for shard in &self.shards {
            pids.extend(shard.members.lock().pids.iter().map(|(_, pid)| *pid));
        }
        pids
    }
}
