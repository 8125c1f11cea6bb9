//! Driver: what operators are told of, through `tracing`, and not more often than they can read.
use crate::event::Report;
use crate::limits::REPORTS_PER_SECOND;
use colloquium_runtime::{Handle, Pid};

pub(crate) struct Reporter {
    supervisor: Pid,
    runtime: Handle,
    second: u64,
    admitted: u32,
    suppressed: u64,
}

impl Reporter {
    pub(crate) fn new(supervisor: Pid, runtime: Handle) -> Self {
        Self { supervisor, runtime, second: 0, admitted: 0, suppressed: 0 }
    }

    /// How many were held back since the last one; `None` if this one is, too.
    fn admit(&mut self) -> Option<u64> {
        let second = self.runtime.now().as_secs();
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

    pub(crate) fn report(&mut self, report: &Report<Pid>) {
        let supervisor = self.supervisor;
        // What ends a supervisor or leaves a process behind is always told.
        if let Report::GaveUp { id, escalates } = report {
            return tracing::error!(%supervisor, child = %id, escalates, "child failed too often");
        }
        if let Report::Wedged { id, process } = report {
            return tracing::error!(%supervisor, child = %id, pid = %process, "child cannot be killed: its poll does not return");
        }
        let Some(suppressed) = self.admit() else { return };
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
