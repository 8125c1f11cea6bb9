//! Pure: what goes wrong in a simulation, and when.
use crate::clock::nanos;
use crate::info::ProcessInfo;
use crate::simulation::choices::{Chooser, Kind};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Faults that a simulation brings in: some at given steps, others at random, by the seed.
///
/// A step is one poll of a process, one firing of timers or the like; [`Outcome::steps`](crate::simulation::Outcome::steps)
/// tells how many a run had. Processes are counted in the order in which they were spawned, from 0.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::simulation::Faults;
/// use std::time::Duration;
///
/// // The third process dies at step 100; and one of the workers is killed every 500 steps or so.
/// let faults = Faults::new().kill_at(100, 2).kills(500).only(|process| process.label.as_deref() == Some("worker"));
/// ```
#[derive(Clone, Default)]
#[must_use = "faults do nothing until a simulation is given them"]
pub struct Faults {
    at: Vec<(u64, usize, Planned)>,
    kills: u64,
    stalls: u64,
    stalled_for: Duration,
    pub(super) delays: u64,
    until: Option<u64>,
    only: Option<Only>,
}

type Only = Arc<dyn Fn(&ProcessInfo) -> bool + Send + Sync>;

#[derive(Clone, Copy, Debug)]
enum Planned {
    Kill,
    Stall(Duration),
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill,
    /// It does not run for so many nanoseconds.
    Stall(u64),
}

impl Faults {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Kills a process when this step is reached; nobody if it has not been spawned or is dead.
    pub fn kill_at(mut self, step: u64, process: usize) -> Self {
        self.at.push((step, process, Planned::Kill));
        self
    }

    /// From this step on, a process does not run for so long, as if its worker had been taken from it. Messages reach it.
    pub fn stall_at(mut self, step: u64, process: usize, time: Duration) -> Self {
        self.at.push((step, process, Planned::Stall(time)));
        self
    }

    /// Kills a process every so many steps, on average; 0 for never.
    pub fn kills(mut self, one_in: u64) -> Self {
        self.kills = one_in;
        self
    }

    /// Stalls a process every so many steps, on average, for up to `at_most`; 0 for never.
    pub fn stalls(mut self, one_in: u64, at_most: Duration) -> Self {
        (self.stalls, self.stalled_for) = (one_in, at_most);
        self
    }

    /// Holds one signal in so many back for a while; 0 for none. A signal is a message or an exit signal from one process to
    /// another.
    ///
    /// Signals of one process to another keep their order, and who asks about a process (whether it lives, its info) or
    /// links, unlinks or monitors finds what it sent before arrived. What is given up is that a message to one process arrives
    /// before a later one to another: on one node it does, across nodes it does not. A message whose send said `Ok` is let
    /// in when it arrives, even if the mailbox has filled meanwhile, which then holds more than its bound.
    pub fn delays(mut self, one_in: u64) -> Self {
        self.delays = one_in;
        self
    }

    /// No faults at random from this step on, so that a test can hold that all recovers.
    pub fn until_step(mut self, step: u64) -> Self {
        self.until = Some(step);
        self
    }

    /// Random faults befall only processes for which this holds.
    pub fn only(mut self, holds: impl Fn(&ProcessInfo) -> bool + Send + Sync + 'static) -> Self {
        self.only = Some(Arc::new(holds));
        self
    }

    pub(super) fn may_befall(&self, process: &ProcessInfo) -> bool {
        self.only.as_ref().is_none_or(|only| only(process))
    }

    fn are_over(&self, step: u64) -> bool {
        self.until.is_some_and(|until| step >= until)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("at", &self.at).field("kills", &self.kills).finish_non_exhaustive()
    }
}

/// The faults of one run, and the processes that they may befall.
pub(super) struct Script {
    pub(super) faults: Faults,
    /// Processes in the order in which they were spawned, as far as a planned fault names them.
    named: Vec<u64>,
    most_named: usize,
    living: Vec<u64>,
}

impl Script {
    pub(super) fn new(mut faults: Faults) -> Self {
        faults.at.sort_by_key(|(step, process, _)| std::cmp::Reverse((*step, *process)));
        let most_named = faults.at.iter().map(|(_, process, _)| process + 1).max().unwrap_or(0);
        Self { faults, named: Vec::new(), most_named, living: Vec::new() }
    }

    fn is_random(&self) -> bool {
        self.faults.kills > 0 || self.faults.stalls > 0
    }

    pub(super) fn born(&mut self, who: u64) {
        if self.named.len() < self.most_named {
            self.named.push(who);
        }
        if self.is_random() {
            self.living.push(who);
        }
    }

    pub(super) fn died(&mut self, who: u64) {
        if let Some(at) = self.living.iter().position(|other| *other == who) {
            self.living.remove(at);
        }
    }

    /// The fault of this step, whom it befalls, and whether it was planned. Asked until there is none.
    pub(super) fn next(&mut self, step: u64, chooser: &mut Chooser) -> Option<(u64, Fault, bool)> {
        while let Some((_, process, planned)) = self.faults.at.pop_if(|(at, ..)| *at <= step) {
            let fault = match planned {
                Planned::Kill => Fault::Kill,
                Planned::Stall(time) => Fault::Stall(nanos(time)),
            };
            if let Some(who) = self.named.get(process) {
                return Some((*who, fault, true));
            }
        }
        if !self.is_random() || self.faults.are_over(step) {
            return None;
        }
        let fault = if self.faults.kills > 0 && chooser.chance(Kind::Kill, self.faults.kills) {
            Fault::Kill
        } else if self.faults.stalls > 0 && chooser.chance(Kind::Stall, self.faults.stalls) {
            Fault::Stall(chooser.below(Kind::Length, nanos(self.faults.stalled_for)))
        } else {
            return None;
        };
        let who = chooser.place(Kind::Whom, self.living.len());
        self.living.get(who).map(|who| (*who, fault, false))
    }

    /// Whether the signal that is being sent is held back.
    pub(super) fn holds_back(&self, step: u64, chooser: &mut Chooser) -> bool {
        self.faults.delays > 0 && !self.faults.are_over(step) && chooser.chance(Kind::Hold, self.faults.delays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Rng;
    use crate::simulation::choices::How;

    #[test]
    fn a_planned_fault_comes_once_at_its_step_to_a_process_that_is_there() {
        let mut chooser = Chooser::new(Rng::from_seed(1), How::Drawn);
        let second = Duration::from_secs(1);
        let mut script = Script::new(Faults::new().kill_at(5, 1).stall_at(5, 0, second).kill_at(3, 7));
        script.born(10);
        script.born(11);
        assert_eq!(script.next(4, &mut chooser), None);
        assert_eq!(script.next(5, &mut chooser), Some((10, Fault::Stall(1_000_000_000), true)));
        assert_eq!(script.next(5, &mut chooser), Some((11, Fault::Kill, true)));
        assert_eq!(script.next(6, &mut chooser), None);
    }

    #[test]
    fn random_faults_come_at_their_rate_until_they_stop_and_spare_the_dead() {
        let mut chooser = Chooser::new(Rng::from_seed(1), How::Drawn);
        let mut script = Script::new(Faults::new().kills(10).until_step(1000));
        (0..3).for_each(|who| script.born(who));
        script.died(1);
        let faults: Vec<_> = (0..2000).filter_map(|step| script.next(step, &mut chooser)).collect();
        assert!((60..140).contains(&faults.len()), "{}", faults.len());
        assert!(faults.iter().all(|(who, fault, planned)| *who != 1 && *fault == Fault::Kill && !planned));
    }
}
