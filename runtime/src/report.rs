//! Shared: what the runtime reports by itself: the last abnormal exits, and `tracing` events at a bounded rate.
//!
//! Locks that are taken for a moment at an abnormal end or a refused send, never on the way of a message.
use crate::clock::{Clock, elapsed};
use crate::exit::ExitReason;
use crate::limits::{EXITS_KEPT, REPORTS_PER_SECOND};
use crate::pid::Pid;
use crate::process::control::Head;
use crate::process::ending::caught;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A process that ended abnormally.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AbnormalExit {
    /// Who.
    pub pid: Pid,
    /// Its name, if it had one.
    pub name: Option<Arc<str>>,
    /// Its label, if it had one; or else, if it had no name, what its parent called it
    /// ([`Context::name_children`](crate::Context::name_children)): a supervisor's child its id.
    pub label: Option<Arc<str>>,
    /// Who had spawned it, if a process had.
    pub parent: Option<Pid>,
    /// Why.
    pub reason: ExitReason,
    /// When.
    pub at: SystemTime,
    /// How long it had lived, to a tenth of a second.
    pub lived: Duration,
}

/// Lets a number through each second and counts the rest.
#[derive(Default)]
pub(crate) struct Rate {
    second: u64,
    admitted: u32,
    suppressed: u64,
}

impl Rate {
    /// Whether one may go through now; with it, how many were held back since the last that did.
    pub(crate) fn admit(&mut self, now: Duration) -> Option<u64> {
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.admitted = 0;
        }
        if self.admitted >= REPORTS_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[derive(Default)]
pub(crate) struct Reports {
    exits: Mutex<Exits>,
    refusals: Mutex<Rate>,
}

#[derive(Default)]
struct Exits {
    last: VecDeque<AbnormalExit>,
    total: u64,
    rate: Rate,
}

impl Reports {
    /// A process ended abnormally.
    pub(crate) fn abnormal_exit(
        &self,
        head: &Head,
        name: Option<Arc<str>>,
        label: Option<Arc<str>>,
        reason: &ExitReason,
        clock: &Clock,
    ) {
        let now = clock.seen();
        let exit = AbnormalExit {
            pid: head.pid,
            name,
            label,
            parent: Pid::from_word(head.parent, head.pid.runtime()),
            reason: reason.clone(),
            at: clock.system(now),
            lived: elapsed(now, head.started),
        };
        let mut exits = self.exits.lock();
        exits.total += 1;
        let admitted = exits.rate.admit(Duration::from_nanos(now));
        let oldest = if exits.last.len() < EXITS_KEPT { None } else { exits.last.pop_front() };
        let event = admitted.map(|suppressed| (exit.clone(), suppressed));
        exits.last.push_back(exit);
        drop(exits);
        drop(oldest);
        if let Some((exit, suppressed)) = event {
            // A subscriber is a user's code, and the end of the process must go on whatever that does.
            caught(|| {
                tracing::warn!(
                    pid = %exit.pid,
                    name = exit.name.as_deref(),
                    label = exit.label.as_deref(),
                    reason = %exit.reason,
                    suppressed,
                    "process ended abnormally"
                );
            });
        }
    }

    /// A mailbox refused a message since it was full.
    #[cold]
    pub(crate) fn refused_send(&self, to: Pid, clock: &Clock) {
        let admitted = self.refusals.lock().admit(Duration::from_nanos(clock.seen()));
        if let Some(suppressed) = admitted {
            tracing::warn!(pid = %to, suppressed, "mailbox full, message refused");
        }
    }

    /// The last abnormal exits, oldest first, and how many there have been.
    pub(crate) fn abnormal_exits(&self) -> (Vec<AbnormalExit>, u64) {
        let exits = self.exits.lock();
        (exits.last.iter().cloned().collect(), exits.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_so_many_through_each_second_and_tells_of_the_rest() {
        let mut rate = Rate::default();
        let second = Duration::from_secs(1);
        let admitted = (0..100).filter(|_| rate.admit(second).is_some()).count();
        assert_eq!(admitted, REPORTS_PER_SECOND as usize);
        assert_eq!(rate.admit(2 * second), Some(100 - u64::from(REPORTS_PER_SECOND)));
        assert_eq!(rate.admit(2 * second), Some(0));
    }
}
