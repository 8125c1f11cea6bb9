//! Driver: what a change of a dispatch's record leads to, carried out once the record's lock is released.
use crate::metrics::Timing;
use crate::outcome::DispatchErrorKind;
use crate::record::Record;
use crate::yard::Finish;
use colloquium_runtime::{Address, Pid};
use std::task::Waker;
use std::time::Duration;

/// What is to be done once the lock is released.
#[must_use = "it is done by Act::run"]
pub(crate) struct Act {
    /// Out of the yard, with that to be said of the delivery.
    pub(crate) leave: Option<Finish>,
    pub(crate) park: Option<Finish>,
    pub(crate) wake: [Option<Waker>; 2],
    pub(crate) nudge: Option<Address<()>>,
    pub(crate) dead: Option<DispatchErrorKind>,
    /// Of a delivery that was completed.
    pub(crate) timing: Option<Timing>,
    /// A delivery is blamed for the end of that process: how many are of its message, and whether it is poisoned.
    pub(crate) blamed: Option<(Pid, u32, bool)>,
    /// The time, if it was looked at.
    pub(crate) now: Option<Duration>,
}

/// A message that is over, and is to be taken out of the yard.
#[derive(Clone, Copy)]
pub(crate) struct Deferred {
    pub(crate) finish: Finish,
    pub(crate) dead: bool,
    pub(crate) timing: Option<Timing>,
    pub(crate) now: Duration,
}

impl Act {
    pub(crate) const NONE: Self = Self {
        leave: None,
        park: None,
        wake: [None, None],
        nudge: None,
        dead: None,
        timing: None,
        blamed: None,
        now: None,
    };
}

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    /// Carries out what was decided.
    pub(crate) fn run(&self, act: Act) {
        let Act { leave, park, wake, nudge, dead, timing, blamed, now } = act;
        if let Some((process, times, poisoned)) = blamed {
            self.group.blamed(process, self.request.id, times, poisoned);
        }
        if let Some(kind) = dead {
            self.group.bury(self, kind);
        }
        if let Some(finish) = leave {
            if let Some(span) = &self.span {
                self.tell_span(span);
            }
            let now = now.unwrap_or_else(|| self.group.runtime.now());
            self.leave(Deferred { finish, dead: dead.is_some(), timing, now });
        } else if let Some(finish) = park {
            self.group.park(self.slot(), finish);
        }
        wake.into_iter().flatten().for_each(Waker::wake);
        if let Some(conversation) = nudge {
            // One that has ended needs no telling.
            drop(conversation.send(()));
        }
    }
}
