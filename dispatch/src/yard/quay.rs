//! Pure: the berths of a group's conversations: places in the process table that stand ready for the messages which take the
//! yard's places one after the other.
//!
//! The first few places have one from the start, the others get it when they are used for the second time: a line of a million that
//! waits needs none. Without one, and where conversations are not the group's own, a conversation is spawned like any dormant
//! process.
use super::Yard;
use crate::seats::Occupant;
use colloquium_runtime::{Berth, Pid};
use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

#[derive(Debug, Default)]
pub(crate) struct Quay {
    /// Who holds the conversations' node open.
    holder: Option<Pid>,
    /// By the yard's places.
    berths: Vec<Option<Berth>>,
    /// Those that had, and have ended otherwise or not yet.
    released: IndexSet<Pid, FxBuildHasher>,
    abnormal: u64,
}

/// What became of a message's conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moored {
    /// It is there.
    At(Pid),
    /// It has no berth; one would serve the place's next.
    Wanting,
    No,
}

impl Quay {
    pub(crate) fn open(&mut self, holder: Option<Pid>) {
        self.holder = holder;
    }

    /// A berth for that place. One comes back if there is one: this, or that one if it is spent.
    pub(crate) fn equip(&mut self, slot: usize, berth: Berth) -> Option<Berth> {
        if self.berths.len() <= slot {
            self.berths.resize_with(slot + 1, || None);
        }
        if self.berths[slot].as_ref().is_some_and(|berth| !berth.is_spent()) {
            return Some(berth);
        }
        self.berths[slot].replace(berth)
    }

    pub(crate) fn all(&mut self) -> Vec<Berth> {
        self.berths.iter_mut().filter_map(Option::take).collect()
    }
}

impl<T: Clone, A: Occupant> Yard<T, A> {
    /// Begins the conversation of the message at that place, by `take`, if it has a berth.
    pub(crate) fn moor(&mut self, slot: usize, take: impl FnOnce(&mut Berth, Pid) -> Option<Pid>) -> Moored {
        let quay = &mut self.quay;
        let Some(holder) = quay.holder else { return Moored::No };
        let Some(berth) = quay.berths.get_mut(slot) else {
            quay.berths.resize_with(slot + 1, || None);
            return Moored::No;
        };
        let Some(berth) = berth else { return Moored::Wanting };
        let Some(pid) = take(berth, holder) else { return Moored::Wanting };
        self.coming.berthed += 1;
        self.entries[slot].moored = true;
        Moored::At(pid)
    }

    /// The message leaves, and its conversation ends with it if that was in its berth.
    pub(super) fn unmoor(&mut self, moored: bool) {
        self.going.unberthed += u64::from(moored);
    }

    /// Conversations that have berths.
    pub(crate) fn berthed(&self) -> usize {
        usize::try_from(self.coming.berthed - self.going.unberthed).unwrap_or(usize::MAX)
    }

    /// Conversations with a berth, or that had one.
    pub(crate) fn roster_len(&self) -> usize {
        self.berthed() + self.quay.released.len()
    }

    /// Conversations that have begun in a berth, and those of them that ended badly.
    pub(crate) fn roster_totals(&self) -> (u64, u64) {
        (self.coming.berthed, self.quay.abnormal)
    }

    /// A conversation that had left its berth has ended; true if none is left and none will come.
    pub(crate) fn leave_roster(&mut self, pid: Pid, abnormal: bool) -> bool {
        let left = self.quay.released.swap_remove(&pid);
        self.quay.abnormal += u64::from(left && abnormal);
        left && self.is_roster_over()
    }

    /// Whether none is left, and none will come.
    pub(crate) fn is_roster_over(&self) -> bool {
        self.quay.holder.is_none() && self.roster_len() == 0
    }

    /// The conversation gives its berth up, and lives on without.
    pub(crate) fn release(&mut self, slot: usize, pid: Pid) -> Option<T> {
        let ticket = self.moored(slot)?;
        let berth = self.quay.berths.get_mut(slot)?;
        // The table has it back: it is the process's slot now.
        let _slot = berth.take_if(|berth| berth.pid() == pid)?;
        self.entries[slot].moored = false;
        self.going.unberthed += 1;
        self.quay.released.insert(pid);
        Some(ticket)
    }

    /// Whose conversation has that place's berth.
    pub(crate) fn moored(&self, slot: usize) -> Option<T> {
        self.entries.get(slot).filter(|(_, entry)| entry.moored).map(|(ticket, _)| ticket.clone())
    }

    /// All conversations with berths, and all that had.
    pub(crate) fn conversations(&self) -> Vec<Pid> {
        let moored = self.entries.iter().filter(|(.., entry)| entry.moored);
        let pids = moored.filter_map(|(slot, ..)| Some(self.quay.berths.get(slot)?.as_ref()?.pid()));
        pids.chain(self.quay.released.iter().copied()).collect()
    }

    /// Berths that nobody has.
    pub(crate) fn idle_berths(&mut self) -> Vec<Berth> {
        let entries = &self.entries;
        let berths = self.quay.berths.iter_mut().enumerate();
        let idle = berths.filter(|(slot, _)| entries.get(*slot).is_none_or(|(_, entry)| !entry.moored));
        idle.filter_map(|(_, berth)| berth.take()).collect()
    }
}
