//! Pure: the identity of a monitor.
use crate::pid::Pid;
use std::fmt;

/// One monitor of one process by another: never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonitorRef {
    owner: Pid,
    serial: u64,
}

impl MonitorRef {
    pub(crate) fn new(owner: Pid, serial: u64) -> Self {
        Self { owner, serial }
    }

    /// The process that watches.
    #[must_use]
    pub fn owner(self) -> Pid {
        self.owner
    }

    pub(crate) fn serial(self) -> u64 {
        self.serial
    }
}

impl fmt::Debug for MonitorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MonitorRef({}#{})", self.owner, self.serial)
    }
}
