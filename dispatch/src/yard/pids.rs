//! Pure: the consumers of a group by their processes.
//!
//! Each dispatch asks whether its caller is one of them, and nearly none is: a mask tells most of those apart without a look at the map.
use crate::view::ConsumerId;
use colloquium_runtime::Pid;
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

#[derive(Debug, Default)]
pub(super) struct Pids {
    /// A bit for each that is there, and maybe more.
    mask: u64,
    map: IndexMap<Pid, ConsumerId, FxBuildHasher>,
}

/// With more than these, the mask is not made anew when one goes.
const FEW: usize = 64;

fn bit(pid: Pid) -> u64 {
    1 << (FxBuildHasher.hash_one(pid) >> 58)
}

impl Pids {
    pub(super) fn insert(&mut self, pid: Pid, id: ConsumerId) {
        self.mask |= bit(pid);
        self.map.insert(pid, id);
    }

    pub(super) fn remove(&mut self, pid: Pid) {
        self.map.swap_remove(&pid);
        if self.map.len() <= FEW {
            self.mask = self.map.keys().fold(0, |mask, pid| mask | bit(*pid));
        }
    }

    #[inline]
    pub(super) fn get(&self, pid: Pid) -> Option<ConsumerId> {
        if self.mask & bit(pid) == 0 { None } else { self.map.get(&pid).copied() }
    }
}
