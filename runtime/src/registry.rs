//! Shared: names of processes; per runtime.
//!
//! Shards, each a lock around an ordered map. Below a shard's lock the holder's control lock may be taken (registering
//! fixes the name on both sides at once), never the other way round. A holder that is doomed counts as none: its name may
//! be taken before it is gone, so that a release looks whose the name is. Waiters for a name are kept in the same shard
//! and woken, outside the lock, by the registration.
use crate::error::RegisterError;
use crate::pid::Pid;
use crate::process::control::AnyProcess;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

const SHARDS: usize = 16;

pub(crate) struct Registry {
    shards: [Mutex<Shard>; SHARDS],
    names: AtomicUsize,
    limit: usize,
    next_ticket: AtomicU64,
}

#[derive(Default)]
struct Shard {
    holders: BTreeMap<Arc<str>, AnyProcess>,
    waiters: BTreeMap<Arc<str>, Vec<(u64, Waker)>>,
}

impl Registry {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            names: AtomicUsize::new(0),
            limit,
            next_ticket: AtomicU64::new(0),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    fn shard(&self, name: &str) -> &Mutex<Shard> {
        &self.shards[FxBuildHasher.hash_one(name) as usize % SHARDS]
    }

    /// Gives the name to a live process that has none.
    pub(crate) fn register(&self, name: &Arc<str>, process: &AnyProcess) -> Result<(), RegisterError> {
        if name.is_empty() {
            return Err(RegisterError::Empty);
        }
        let mut shard = self.shard(name).lock();
        let old = shard.holders.get(name);
        if let Some(holder) = old.filter(|holder| holder.head().is_alive()) {
            return Err(RegisterError::Taken { name: Arc::clone(name), holder: holder.head().pid });
        }
        let fresh = old.is_none();
        if fresh && !self.count_one() {
            return Err(RegisterError::NameLimit(self.limit));
        }
        let refused = {
            let mut core = process.core();
            let named = core.extra.as_ref().and_then(|extra| extra.name.clone());
            match (&core.fate, named) {
                (Some(_), _) => Some(RegisterError::Dead),
                (None, Some(name)) => Some(RegisterError::Named(name)),
                (None, None) => {
                    core.extra().name = Some(Arc::clone(name));
                    None
                }
            }
        };
        if let Some(error) = refused {
            if fresh {
                self.names.fetch_sub(1, Ordering::Relaxed);
            }
            return Err(error);
        }
        let displaced = shard.holders.insert(Arc::clone(name), AnyProcess::clone(process));
        let waiters = shard.waiters.remove(name);
        drop(shard);
        drop(displaced);
        waiters.into_iter().flatten().for_each(|(_, waker)| waker.wake());
        Ok(())
    }

    /// Takes the name from a process that is about to be gone.
    pub(crate) fn release(&self, name: &str, pid: Pid) {
        let mut shard = self.shard(name).lock();
        if shard.holders.get(name).is_none_or(|holder| holder.head().pid != pid) {
            return;
        }
        let removed = shard.holders.remove_entry(name);
        self.names.fetch_sub(1, Ordering::Relaxed);
        drop(shard);
        drop(removed);
    }

    /// Takes the name from a live process; false if it has none.
    pub(crate) fn unregister_process(&self, process: &AnyProcess) -> bool {
        let Some(name) = process.core().extra.as_ref().and_then(|extra| extra.name.clone()) else { return false };
        self.unregister(&name, process.head().pid)
    }

    /// Frees a name if the process with this pid has it.
    fn unregister(&self, name: &str, pid: Pid) -> bool {
        let mut shard = self.shard(name).lock();
        let Some(holder) = shard.holders.get(name).filter(|holder| holder.head().pid == pid) else { return false };
        {
            let mut core = holder.core();
            if core.fate.is_some() {
                return false;
            }
            if let Some(extra) = core.extra.as_mut() {
                extra.name = None;
            }
        }
        let removed = shard.holders.remove_entry(name);
        self.names.fetch_sub(1, Ordering::Relaxed);
        drop(shard);
        drop(removed);
        true
    }

    /// Frees a name, whoever has it; false if nobody has.
    pub(crate) fn unregister_name(&self, name: &str) -> bool {
        self.find(name).is_some_and(|process| self.unregister(name, process.head().pid))
    }

    /// The live process that has the name.
    pub(crate) fn find(&self, name: &str) -> Option<AnyProcess> {
        let shard = self.shard(name).lock();
        shard.holders.get(name).filter(|holder| holder.head().is_alive()).cloned()
    }

    /// The live process that has the name, or a ticket by which `waker` waits for one.
    pub(crate) fn find_or_wait(&self, name: &Arc<str>, waker: &Waker) -> Result<AnyProcess, u64> {
        let waker = waker.clone();
        let mut shard = self.shard(name).lock();
        if let Some(holder) = shard.holders.get(name).filter(|holder| holder.head().is_alive()) {
            return Ok(AnyProcess::clone(holder));
        }
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        shard.waiters.entry(Arc::clone(name)).or_default().push((ticket, waker));
        Err(ticket)
    }

    /// Gives up waiting.
    pub(crate) fn stop_waiting(&self, name: &str, ticket: u64) {
        let mut shard = self.shard(name).lock();
        let Some(waiters) = shard.waiters.get_mut(name) else { return };
        let mine = waiters.iter().position(|(other, _)| *other == ticket).map(|at| waiters.swap_remove(at));
        if waiters.is_empty() {
            shard.waiters.remove(name);
        }
        drop(shard);
        drop(mine);
    }

    /// All names and their live holders, in the order of the names.
    pub(crate) fn names(&self) -> Vec<(Arc<str>, Pid)> {
        let mut names = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let live = shard.holders.iter().filter(|(_, holder)| holder.head().is_alive());
            names.extend(live.map(|(name, holder)| (Arc::clone(name), holder.head().pid)));
        }
        names.sort_unstable();
        names
    }

    fn count_one(&self) -> bool {
        let below = |names: usize| (names < self.limit).then_some(names + 1);
        self.names.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
    }
}
