//! Pure: what a simulation does next: which process runs, whether timers fire first, how time passes, which fault comes.
use crate::chance::Rng;
use crate::simulation::choices::{Chooser, How, Kind};
use crate::simulation::faults::{Fault, Faults, Script};
use crate::simulation::order::{Order, Ready};
use std::collections::BTreeMap;

/// The test's own body among those that could run: no process has this number.
pub(super) const BODY: u64 = 0;
/// Due timers go before a process one time in so many: they are as late as a busy worker's.
const FIRE: u64 = 2;
/// A signal that is held back arrives before the next process runs one time in so many.
const ARRIVE: u64 = 4;
/// The budget of a poll is one of these, so that processes yield at many places: as many as a full poll has, few, hardly any.
const BUDGETS: [u32; 4] = [crate::limits::REDUCTIONS, 20, 3, 1];

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act<T> {
    /// This process runs, with this budget.
    Run(u64, T, u32),
    Body,
    /// Timers that are due fire.
    Fire,
    /// A process is killed; planned by a step, or at random.
    Kill(u64, bool),
    /// A process is to be stalled for so many nanoseconds.
    Stall(u64, u64, bool),
    /// The signal at the head of this queue arrives.
    Arrive(usize),
    /// Nothing could run before this moment.
    Pass(u64),
    /// Nothing can ever run.
    Nothing,
}

pub(super) struct Plan<T> {
    ready: Ready<Option<T>>,
    pub(super) chooser: Chooser,
    budgets: &'static [u32],
    pub(super) script: Script,
    pub(super) steps: u64,
    /// Until when, by process.
    stalls: BTreeMap<u64, u64>,
    /// Those that would run but for that.
    stalled: BTreeMap<u64, (bool, T)>,
}

impl<T> Plan<T> {
    pub(super) fn new(seed: u64, order: Order, faults: Faults, whole_polls: bool, how: How) -> Self {
        let mut chooser = Chooser::new(Rng::stream(seed, 1), how);
        let ready = Ready::new(order, &mut chooser);
        let script = Script::new(faults);
        let budgets = if whole_polls { &BUDGETS[..1] } else { &BUDGETS };
        Self { ready, chooser, budgets, script, steps: 0, stalls: BTreeMap::new(), stalled: BTreeMap::new() }
    }

    /// A process could run from now on.
    pub(super) fn wake(&mut self, who: u64, system: bool, yielded: bool, task: T) {
        if self.stalls.contains_key(&who) {
            self.stalled.insert(who, (system, task));
        } else {
            self.ready.push(who, system, yielded, Some(task), self.chooser.rng());
        }
    }

    /// The body could go on.
    pub(super) fn wake_body(&mut self) {
        self.ready.push(BODY, false, false, None, self.chooser.rng());
    }

    pub(super) fn stall(&mut self, who: u64, until: u64) {
        self.stalls.insert(who, until);
    }

    pub(super) fn died(&mut self, who: u64) {
        self.ready.forget(who);
        self.stalls.remove(&who);
        self.script.died(who);
    }

    /// Those that could run, at the end of all.
    pub(super) fn drain(&mut self) -> Vec<T> {
        let stalled = std::mem::take(&mut self.stalled);
        stalled.into_values().map(|(_, task)| task).chain(self.ready.drain().into_iter().flatten()).collect()
    }

    /// What is next, given the time, the moment at which the next timer is due, the next moment at which something else is to
    /// be looked at, and how many queues of held-back signals there are.
    pub(super) fn next(&mut self, now: u64, timer: u64, look: u64, held_back: usize) -> Act<T> {
        self.steps += 1;
        self.chooser.begin(self.steps);
        if let Some((who, fault, planned)) = self.script.next(self.steps, &mut self.chooser) {
            return match fault {
                Fault::Kill => Act::Kill(who, planned),
                Fault::Stall(time) => Act::Stall(who, now.saturating_add(time), planned),
            };
        }
        self.end_stalls(now);
        let idle = self.ready.is_empty();
        if held_back > 0 && (idle || self.chooser.chance(Kind::Arrive, ARRIVE)) {
            return Act::Arrive(self.chooser.place(Kind::Queue, held_back));
        }
        if timer <= now && (idle || self.chooser.chance(Kind::Fire, FIRE)) {
            return Act::Fire;
        }
        while let Some((who, task)) = self.ready.pop(&mut self.chooser) {
            let Some(task) = task else { return Act::Body };
            if self.stalls.contains_key(&who) {
                self.stalled.insert(who, (false, task));
                continue;
            }
            let budget = self.budgets[self.chooser.place(Kind::Budget, self.budgets.len())];
            return Act::Run(who, task, budget);
        }
        let stalled = self.stalled.keys().filter_map(|who| self.stalls.get(who)).min();
        match timer.min(look).min(stalled.copied().unwrap_or(u64::MAX)) {
            u64::MAX => Act::Nothing,
            moment => Act::Pass(moment),
        }
    }

    fn end_stalls(&mut self, now: u64) {
        if self.stalls.is_empty() {
            return;
        }
        self.stalls.retain(|_, until| *until > now);
        let over: Vec<u64> = self.stalled.keys().copied().filter(|who| !self.stalls.contains_key(who)).collect();
        for who in over {
            if let Some((system, task)) = self.stalled.remove(&who) {
                self.ready.push(who, system, false, Some(task), self.chooser.rng());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: u64 = u64::MAX;

    fn plan(seed: u64, faults: Faults) -> Plan<&'static str> {
        Plan::new(seed, Order::BySeed, faults, false, How::Drawn)
    }

    #[test]
    fn the_same_seed_decides_the_same() {
        let decide = |seed| {
            let mut plan = plan(seed, Faults::new().kills(7));
            plan.script.born(1);
            let acts: Vec<String> = (0..50)
                .map(|step| {
                    plan.wake(step + 1, false, false, "task");
                    format!("{:?}", plan.next(step, step + step % 3, FAR, 0))
                })
                .collect();
            acts
        };
        assert_eq!(decide(4), decide(4));
        assert_ne!(decide(4), decide(5));
    }

    #[test]
    fn time_passes_only_when_nothing_can_run_and_ends_with_the_last_timer() {
        let mut plan = plan(1, Faults::new());
        plan.wake(1, false, false, "task");
        assert!(matches!(plan.next(0, 50, FAR, 0), Act::Run(1, "task", _)));
        assert_eq!(plan.next(0, 50, 40, 0), Act::Pass(40));
        assert_eq!(plan.next(50, 50, FAR, 0), Act::Fire);
        assert_eq!(plan.next(50, FAR, FAR, 0), Act::Nothing);
        assert_eq!(plan.next(50, FAR, FAR, 1), Act::Arrive(0));
        plan.wake_body();
        assert_eq!(plan.next(50, FAR, FAR, 0), Act::Body);
    }

    #[test]
    fn who_is_stalled_runs_when_its_time_has_come() {
        let mut plan = plan(1, Faults::new());
        plan.wake(1, false, false, "before");
        plan.stall(1, 30);
        assert_eq!(plan.next(0, FAR, FAR, 0), Act::Pass(30));
        assert!(matches!(plan.next(30, FAR, FAR, 0), Act::Run(1, "before", _)));
        plan.stall(2, 60);
        plan.wake(2, true, false, "during");
        assert_eq!(plan.next(31, 40, FAR, 0), Act::Pass(40));
        assert!(matches!(plan.next(60, FAR, FAR, 0), Act::Run(2, "during", _)));
    }
}
