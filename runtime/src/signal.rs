//! Pure: the signals that become messages.
use crate::exit::ExitReason;
use crate::monitor::MonitorRef;
use crate::pg::GroupEvent;
use crate::pid::Pid;
use std::sync::Arc;

/// An exit signal that was trapped ([`Context::trap_exits`](crate::Context::trap_exits)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The process that ended or that sent the signal; `None` if a thread that is no process of this runtime sent it.
    pub from: Option<Pid>,
    /// Its reason.
    pub reason: ExitReason,
    /// Whether a link carried it, which is gone with it; otherwise it was sent by a call of `exit`.
    pub by_link: bool,
}

/// A monitored process is gone ([`Context::monitor`](crate::Context::monitor)).
///
/// Whoever has this sees the process's name free, its groups left and its state dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Down {
    /// The monitor that fired, which is gone with it.
    pub monitor: MonitorRef,
    /// The process; `None` if the monitor was made for a name that nobody had.
    pub pid: Option<Pid>,
    /// The name that was monitored, if it was by name.
    pub name: Option<Arc<str>>,
    /// Why it ended; [`ExitReason::NoProcess`] if it was dead when the monitor was made.
    pub reason: ExitReason,
}

/// A signal on its way to becoming a message: the receiver's own mapping turns it into one.
#[derive(Debug)]
pub(crate) enum Signal {
    Exit(Exit),
    Down(Down),
    Group(GroupEvent),
}

impl Signal {
    /// One word for each kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Exit(_) => "exit",
            Self::Down(_) => "down",
            Self::Group(_) => "group",
        }
    }
}
