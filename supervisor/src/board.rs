//! Shared: what a supervisor knows, where others can read it without asking the supervisor.
//!
//! The machine stands behind a lock that its process takes for each event, and readers take for some hundred children at a
//! time. Nothing but the machine's own code runs under it: start functions, destructors and wakers run outside, so that a
//! process which is stuck can never hold it. The lock of the subtrees is never held together with it.
use crate::children::Key;
use crate::state::Machine;
use crate::tree::{Slot, Tree, WeakTree};
use colloquium_runtime::{Handle, Pid};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

#[derive(Clone)]
pub(crate) struct Board(Arc<Inner>);

struct Inner {
    process: Pid,
    runtime: Handle,
    machine: Mutex<Machine<Pid>>,
    subtrees: Mutex<BTreeMap<Key, Board>>,
    /// Requests on their way: they bound what can stand in the supervisor's mailbox.
    requests: AtomicUsize,
    /// The dumps of the tree whose root this is. Whoever takes any holds them: they hold the board.
    dumps: Mutex<WeakTree>,
    /// What dumps of it show beside its processes.
    sections: Mutex<Vec<Weak<Slot>>>,
}

/// How long the lock is waited for to find out what a child is called: it is mostly held for less than a microsecond.
const NAMING: Duration = Duration::from_millis(1);

/// Requests on their way to one supervisor at a time: its mailbox refuses nothing, since what else comes in there (ends of
/// children, their words, its own turns) is bounded by the children.
const REQUESTS: usize = 65_536;

impl Board {
    pub(crate) fn new(process: Pid, runtime: Handle, machine: Machine<Pid>) -> Self {
        Self(Arc::new(Inner {
            process,
            runtime,
            machine: Mutex::new(machine),
            subtrees: Mutex::default(),
            requests: AtomicUsize::new(0),
            dumps: Mutex::default(),
            sections: Mutex::default(),
        }))
    }

    pub(crate) fn process(&self) -> Pid {
        self.0.process
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    pub(crate) fn machine(&self) -> MutexGuard<'_, Machine<Pid>> {
        self.0.machine.lock()
    }

    /// As [`Board::machine`], unless the lock cannot be had in that time: for those who only look.
    pub(crate) fn machine_within(&self, patience: Duration) -> Option<MutexGuard<'_, Machine<Pid>>> {
        self.0.machine.try_lock_for(patience)
    }

    /// The id of a child of this process; none if it has none, or the lock cannot be had soon.
    pub(crate) fn id_of(&self, process: Pid) -> Option<Arc<str>> {
        self.machine_within(NAMING)?.id_of(process).filter(|id| !id.is_empty())
    }

    /// True if there was one.
    pub(crate) fn set_subtree(&self, child: Key, subtree: Option<Self>) -> bool {
        let mut subtrees = self.0.subtrees.lock();
        let old = match subtree {
            Some(subtree) => subtrees.insert(child, subtree),
            None => subtrees.remove(&child),
        };
        drop(subtrees);
        old.is_some()
    }

    pub(crate) fn subtree(&self, child: Key) -> Option<Self> {
        self.0.subtrees.lock().get(&child).cloned()
    }

    pub(crate) fn add_section(&self, section: &Arc<Slot>) {
        let mut sections = self.0.sections.lock();
        sections.retain(|section| section.strong_count() > 0);
        sections.push(Arc::downgrade(section));
    }

    /// Its sections, and those of the supervisors below it.
    pub(crate) fn sections(&self, all: &mut Vec<Arc<Slot>>) {
        all.extend(self.0.sections.lock().iter().filter_map(Weak::upgrade));
        let below: Vec<Self> = self.0.subtrees.lock().values().cloned().collect();
        below.iter().for_each(|board| board.sections(all));
    }

    /// The dumps of this root, made if there are none.
    pub(crate) fn dumps_or(&self, make: impl FnOnce() -> Tree) -> Tree {
        let dumps = self.0.dumps.lock().upgrade();
        if let Some(dumps) = dumps {
            return dumps;
        }
        let made = make();
        let mut dumps = self.0.dumps.lock();
        if let Some(others) = dumps.upgrade() {
            drop(dumps);
            return others;
        }
        *dumps = made.downgrade();
        drop(dumps);
        made
    }

    /// A place for one request, unless there are too many on their way.
    pub(crate) fn permit(&self) -> Option<Permit> {
        let taken = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.clone());
        (taken < REQUESTS).then_some(permit)
    }
}

/// A request on its way.
pub(crate) struct Permit(Board);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
