//! Driver: what a change of a dispatch's record leads to.
//!
//! What concerns the group's yard and its dead letters is done while the record is still locked, so that the record and the yard
//! never disagree on where the message is: nobody else can route a message that is about to leave its place. The order of
//! the locks is record, then yard or dead letters, and no code of a user's runs under any. The rest is done once they are released.
use crate::conversation::Last;
use crate::dead_letters::DeadLetter;
use crate::group::Settled;
use crate::metrics::Timing;
use crate::outcome::DispatchErrorKind;
use crate::picture::Charge;
use crate::record::{Assigned, Inner, Parting, Record};
use crate::yard::Finish;
use colloquium_runtime::Pid;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// What is to be done.
#[must_use = "it is done by Record::run"]
pub(crate) struct Act<M, R> {
    /// Out of the yard, with that to be said of the delivery.
    pub(crate) leave: Option<Finish>,
    pub(crate) park: Option<Finish>,
    /// That process of a consumer is on its way out; before its place is offered to others.
    pub(crate) gone: Option<Assigned<M, R>>,
    pub(crate) caller: Option<Waker>,
    pub(crate) handler: Option<Waker>,
    pub(crate) nudge: Option<Pid>,
    /// The conversation is over, too.
    pub(crate) end: Option<Parting<M, R>>,
    pub(crate) dead: Option<DispatchErrorKind>,
    /// Of a delivery that was completed.
    pub(crate) timing: Option<Timing>,
    /// A delivery is blamed for the end of a process.
    pub(crate) blamed: Option<(Pid, Charge)>,
    /// The time, if it was looked at.
    pub(crate) now: Option<Duration>,
    /// The size of the message as a dead letter, if it may become one: a user's function says it, outside the locks.
    pub(crate) size: usize,
}

/// A message that is over, and is to be taken out of the yard.
#[derive(Clone, Copy)]
pub(crate) struct Deferred {
    pub(crate) finish: Finish,
    pub(crate) dead: bool,
    pub(crate) timing: Option<Timing>,
    pub(crate) now: Duration,
}

impl<M, R> Act<M, R> {
    pub(crate) const NONE: Self = Self {
        leave: None,
        park: None,
        gone: None,
        caller: None,
        handler: None,
        nudge: None,
        end: None,
        dead: None,
        timing: None,
        blamed: None,
        now: None,
        size: 0,
    };
}

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    /// Whether there is no more to the end of a completed message than its leaving the yard and its caller's being told.
    pub(crate) fn is_plain(&self) -> bool {
        self.span.is_none() && !self.is_blocking()
    }

    /// What [`Record::run`] makes of the end of such a message: the way that nearly all go.
    pub(crate) fn finish_plainly(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner<M, R>>,
        last: Last,
        leaves: &Deferred,
    ) {
        let (caller, parting) = inner.end_plainly(last);
        self.note_told();
        let mut settled = Settled::default();
        self.group.leave(self.slot(), leaves, &mut settled);
        let moored = settled.moored;
        let parting = inner.parting(parting, moored);
        drop(inner);
        self.group.finish(&mut settled, true);
        if let Some(parting) = parting {
            self.part(parting, moored);
        }
        if let Some(caller) = caller {
            caller.wake();
        }
    }

    /// Carries out what was decided under the lock.
    pub(crate) fn run(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner<M, R>>, act: Act<M, R>) {
        let Act { leave, park, gone, caller, handler, nudge, end, dead, timing, blamed, now, size } = act;
        let group = &self.group;
        let letter = dead.map(|kind| DeadLetter {
            id: self.id(),
            message: self.message.clone(),
            kind,
            attempts: inner.history.attempts(),
            key: self.key,
            at: now.unwrap_or_else(|| group.runtime.now()),
        });
        let forgotten = letter.map(|letter| group.dead.lock().push(letter, size));
        let mut settled = Settled::default();
        if let Some(finish) = leave {
            let place = gone.as_ref();
            if let Some(place) = place {
                settled.grants = group.yard().gone(place.consumer, place.incarnation);
            }
            let now = now.unwrap_or_else(|| group.runtime.now());
            let deferred = Deferred { finish, dead: dead.is_some(), timing, now };
            if self.is_blocking() {
                inner.deferred = Some(Box::new(deferred));
            } else {
                group.leave(self.slot(), &deferred, &mut settled);
            }
        } else if let Some(finish) = park {
            let now = now.unwrap_or_else(|| group.runtime.now());
            group.park(self.slot(), finish, gone.as_ref(), now, &mut settled);
        }
        let moored = settled.moored;
        let end = inner.parting(end, moored);
        drop(inner);
        group.finish(&mut settled, leave.is_some() || park.is_some());
        drop((gone, forgotten));
        if let Some((process, charge)) = blamed {
            group.blamed(process, charge);
        }
        if let Some(span) = self.span.as_ref().filter(|_| leave.is_some()) {
            self.tell_span(span);
        }
        if let Some(kind) = dead {
            tracing::warn!(group = %group.name, message = self.id(), %kind, "dead letter");
        }
        if let Some(parting) = end {
            self.part(parting, moored);
        }
        if let Some(caller) = caller {
            caller.wake();
        }
        if let Some(handler) = handler {
            handler.wake();
        }
        if let Some(conversation) = nudge {
            self.nudge(conversation);
        }
    }
}
