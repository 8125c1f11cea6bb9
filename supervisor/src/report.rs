//! Driver: what operators are told of, through `tracing`, and not more often than they can read.
use crate::event::Report;
use crate::limits::REPORTS_PER_SECOND;
use colloquium_runtime::{Handle, Pid};

pub(crate) struct Reporter {
    supervisor: Pid,
    runtime: Handle,
    rate: Rate,
}

/// How many reports there have been in this second.
#[derive(Default)]
struct Rate {
    second: u64,
    admitted: u32,
    suppressed: u64,
}

impl Rate {
    /// How many were held back since the last one that was not; `None` if this one is, too.
    fn admit(&mut self, second: u64) -> Option<u64> {
        if second != self.second {
            self.second = second;
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

impl Reporter {
    pub(crate) fn new(supervisor: Pid, runtime: Handle) -> Self {
        Self { supervisor, runtime, rate: Rate::default() }
    }

    pub(crate) fn report(&mut self, report: &Report<Pid>) {
        let supervisor = self.supervisor;
        // What ends a supervisor or leaves a process behind is always told.
        if let Report::GaveUp { id, escalates } = report {
            return tracing::error!(%supervisor, child = %id, escalates, "child failed too often");
        }
        if let Report::Wedged { id, process } = report {
            return tracing::error!(%supervisor, child = %id, pid = %process, "child cannot be killed: its poll does not return");
        }
        let Some(suppressed) = self.rate.admit(self.runtime.now().as_secs()) else { return };
        match report {
            Report::Ended { id, process, reason } => {
                let pid = process.map(tracing::field::display);
                tracing::warn!(%supervisor, child = %id, pid, %reason, suppressed, "child ended");
            }
            Report::StartFailed { id, failure } => {
                tracing::warn!(%supervisor, child = %id, %failure, suppressed, "child could not be restarted");
            }
            Report::Stopped { id, process, reason } => {
                tracing::warn!(%supervisor, child = %id, pid = %process, %reason, suppressed, "child stopped otherwise than told");
            }
            Report::GaveUp { .. } | Report::Wedged { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_reports_go_through_each_second_and_the_next_tells_of_the_rest() {
        let mut rate = Rate::default();
        let admitted: Vec<Option<u64>> = (0..100).map(|_| rate.admit(7)).collect();
        assert!(admitted[..10].iter().all(|told| *told == Some(0)) && admitted[10..].iter().all(Option::is_none));
        assert_eq!((rate.admit(8), rate.admit(8)), (Some(90), Some(0)));
    }
}
