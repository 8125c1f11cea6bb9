//! Driver: the group as who keeps its conversations' berths: for the process table, and for their node in the tree.
use crate::group::Group;
use crate::limits::BERTHS;
use colloquium_runtime::{Berth, Busy, Dormant, Harbor, Pid};
use colloquium_supervisor::Roster;
use std::sync::{Arc, Weak};
use std::time::Duration;

impl<M: Send + Sync + 'static, R: Send + 'static> Harbor for Group<M, R> {
    fn release(&self, key: usize, pid: Pid) -> Option<Arc<dyn Dormant>> {
        let record = self.yard().release(key, pid)?;
        Some(record)
    }

    fn look(&self, key: usize, patience: Duration) -> Result<Option<Arc<dyn Dormant>>, Busy> {
        let record = self.try_yard_for(patience).ok_or(Busy)?.moored(key);
        Ok(record.map(|record| record as Arc<dyn Dormant>))
    }

    fn len(&self) -> usize {
        self.yard().berthed()
    }

    fn idle(&self) -> Vec<Berth> {
        self.yard().idle_berths()
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Roster for Group<M, R> {
    fn open(&self, holder: Option<Pid>) {
        self.yard().quay.open(holder);
    }

    fn pids(&self) -> Vec<Pid> {
        self.yard().conversations()
    }

    fn len(&self) -> usize {
        self.yard().roster_len()
    }

    fn totals(&self) -> (u64, u64) {
        self.yard().roster_totals()
    }

    fn leave(&self, pid: Pid, abnormal: bool) -> bool {
        self.yard().leave_roster(pid, abnormal)
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Group<M, R> {
    /// Makes it known to those who ask it, with berths for the first messages; once, before it starts.
    pub(crate) fn opens_harbor(self: &Arc<Self>, places: usize) {
        let harbor: Arc<dyn Harbor> = Arc::<Self>::clone(self);
        self.runtime.register_harbor(&harbor);
        let roster: Weak<dyn Roster> = Arc::<Self>::downgrade(self);
        self.conversations.set_roster(roster);
        (0..places.min(BERTHS)).for_each(|slot| self.equip(slot));
    }

    /// A berth for a place of the yard, for the messages to come.
    pub(crate) fn equip(self: &Arc<Self>, slot: usize) {
        let harbor: Arc<dyn Harbor> = Arc::<Self>::clone(self);
        let Some(berth) = self.runtime.berth(&harbor, slot) else { return };
        let spare = self.yard().quay.equip(slot, berth);
        self.runtime.unberth(spare.into_iter().collect());
    }
}

impl<M, R> Drop for Group<M, R> {
    fn drop(&mut self) {
        let berths = self.give_up_berths();
        self.runtime.unberth(berths);
    }
}
