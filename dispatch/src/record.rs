//! Shared: the record of one dispatch: the message, its history, where it is, and the outcome.
//!
//! One lock around the conversation's machine and what it decides about. Consumers, the caller, the keeper of deadlines and
//! the conversation's process only wake each other; the truth is here, in the order in which this lock was taken. Whoever makes
//! the message *over* (exactly one does) takes it out of the group's yard before the lock is released, and whoever takes it from a
//! consumer gives its place back likewise ([`Act`]); the yard's lock is only ever taken after the record's. Wakers, addresses and
//! values of users' go outside both.
mod birth;
mod blocking;
mod deserted;
mod forth;
pub(crate) mod seen;
mod sight;

use crate::act::{Act, Deferred};
use crate::blame::End;
use crate::conversation::{Decided, Last, Machine, Next, Phase, Start, Terms, Verdict, Wanted};
use crate::group::Group;
use crate::history::History;
use crate::outcome::{DispatchErrorKind, Reached};
use crate::picture::Charge;
use crate::process::Process;
use crate::yard::{Finish, Place, Request};
use colloquium_runtime::{DormantLink, ExitReason, Origin, Pid};
use colloquium_supervisor::{ChildrenSet, DormantSeat};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;
use tracing::Span;

pub(crate) use birth::Parting;
pub(crate) use seen::Told;

pub(crate) type Seat<M, R> = Arc<Process<M, R>>;
pub(crate) type Assigned<M, R> = Place<Seat<M, R>>;

/// In the order of who touches what: first what goes from core to core with each message (its caller's and its consumer's), as few
/// lines of memory as may be; last what only some messages need.
#[repr(C)]
pub(crate) struct Record<M, R> {
    pub(crate) message: Arc<M>,
    pub(crate) group: Arc<Group<M, R>>,
    pub(crate) deadline: Duration,
    /// Its number; like its place in the yard, written under the yard's lock before anybody else can see the record.
    id: AtomicU64,
    slot: AtomicUsize,
    /// Of a group with spans.
    pub(crate) span: Option<Box<Span>>,
    /// Handlers' closures that run on threads for blocking work; see `record/blocking.rs`.
    blocking: AtomicU32,
    /// 1 once the caller has probably been told: written under the lock, and read without it to guess what is to be done there. (A
    /// flag would leave a gap, see 0085.)
    told: AtomicU32,
    /// Its conversation, as a process.
    origin: Origin,
    inner: Mutex<Inner<M, R>>,
    /// The message in whose handling this one was dispatched.
    pub(crate) parent: Option<u64>,
    pub(crate) key: Option<u64>,
    /// Where its conversation is, if not below the group.
    under: Option<ChildrenSet>,
}

#[repr(C)]
pub(crate) struct Inner<M, R> {
    machine: Machine,
    told: Option<Verdict>,
    /// The caller has not taken the outcome yet, nor given it up.
    attended: bool,
    /// It had a place from birth.
    placed: bool,
    /// It is linked to that.
    linked: bool,
    /// The conversation has ended.
    deserted: bool,
    overdue: bool,
    /// What the handler's guard saw when it went.
    interrupted: Option<End>,
    /// Which assignment this is: what belongs to an earlier one is stale.
    attempt: u32,
    /// Of a conversation that is dormant.
    seat: Option<DormantSeat>,
    /// Until it has ended, or the message is over: who ends that takes it out, and sees to it that it ends, too.
    conversation: Option<Pid>,
    caller: Option<Waker>,
    pub(crate) history: History,
    output: Option<R>,
    place: Option<Assigned<M, R>>,
    todo: Todo,
    /// The handler that wants to know when it is cancelled.
    handler: Option<Waker>,
    /// It is out of the yard when its closures have returned.
    pub(crate) deferred: Option<Box<Deferred>>,
    /// When the handler is killed that is at work for nobody, or counts as wedged if it was.
    limit: Option<Duration>,
}

/// What the conversation is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    Rest,
    /// It has a place; the message is to be sent there.
    Forward,
    Route {
        alone: bool,
    },
    Pause {
        delayed: u32,
        exactly: Option<Duration>,
    },
    /// The outcome is decided and a handler is at work: it has so long.
    Grace,
    End,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    pub(crate) fn new(
        message: Arc<M>,
        group: Arc<Group<M, R>>,
        parent: Option<u64>,
        request: &Request,
        terms: Terms,
        span: Option<Box<Span>>,
        under: Option<ChildrenSet>,
    ) -> Self {
        let inner = Inner {
            machine: Machine::new(terms),
            told: None,
            output: None,
            caller: None,
            attended: true,
            handler: None,
            conversation: None,
            seat: None,
            placed: false,
            linked: false,
            deserted: false,
            place: None,
            attempt: 0,
            todo: Todo::Rest,
            interrupted: None,
            overdue: false,
            deferred: None,
            history: History::default(),
            limit: None,
        };
        Self {
            message,
            group,
            parent,
            key: request.key,
            deadline: request.deadline,
            id: AtomicU64::new(0),
            slot: AtomicUsize::new(usize::MAX),
            blocking: AtomicU32::new(0),
            told: AtomicU32::new(0),
            span,
            origin: Origin::new(),
            under,
            inner: Mutex::new(inner),
        }
    }

    pub(crate) fn set_slot(&self, slot: usize, id: u64) {
        self.slot.store(slot, Ordering::Relaxed);
        self.id.store(id, Ordering::Relaxed);
    }

    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    pub(crate) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed)
    }

    /// The handler of that assignment begins.
    pub(crate) fn start(self: &Arc<Self>, attempt: u32, now: Duration) -> bool {
        let mut inner = self.inner.lock();
        if inner.attempt != attempt || inner.machine.phase() != Phase::Queued {
            return false;
        }
        if self.deadline <= now {
            let mut act = Act::NONE;
            inner.decide(DispatchErrorKind::DeadlineExceeded, &mut act);
            self.run(inner, act);
            return false;
        }
        let Start::Go(verdict) = inner.machine.start() else { return false };
        inner.interrupted = None;
        inner.history.begun(now);
        let caller = inner.tell(verdict);
        drop(inner);
        if let Some(caller) = caller {
            caller.wake();
        }
        true
    }

    /// The handler of that assignment has completed. The conversation, if it is dormant: its consumer's link to it is worth nothing.
    #[inline(always)]
    pub(crate) fn completed(
        self: &Arc<Self>,
        attempt: u32,
        output: R,
        now: Duration,
        unlinked: impl FnOnce(DormantLink),
    ) {
        let mut inner = self.inner.lock();
        if !inner.is_started(attempt) {
            drop(inner);
            drop(output);
            return;
        }
        inner.history.over(Reached::Completed, None, now);
        let timing = inner.history.timing(now);
        let next = inner.machine.completed();
        let wanted = matches!(next, Next::Over(Last { told: Some(Verdict::Delivered), .. }));
        let mut output = Some(output);
        if wanted {
            inner.output = output.take();
        }
        if let Next::Over(last) = next
            && last.dead.is_none()
            && self.is_plain()
        {
            let link = inner.unlink(&self.origin).map(|dormant| self.origin.link(dormant));
            self.finish_plainly(inner, last, &Deferred { finish: Finish::Completed, dead: false, timing, now });
            if let Some(link) = link {
                unlinked(link);
            }
        } else {
            let mut act = Act { now: Some(now), timing, ..Act::NONE };
            inner.follow(next, Finish::Completed, &mut act);
            self.run(inner, act);
        }
        drop(output);
    }

    /// The handler of that assignment has returned without completing.
    pub(crate) fn failed(self: &Arc<Self>, attempt: u32, wanted: Wanted, reason: ExitReason, now: Duration) {
        let mut act = self.act();
        let mut inner = self.inner.lock();
        if inner.is_started(attempt) {
            inner.history.over(Reached::Failed, Some(reason), now);
            let next = inner.machine.failed(wanted);
            inner.follow(next, Finish::Failed, &mut act);
        }
        self.run(inner, act);
    }

    /// The handler of that assignment was dropped in its course, by what `end` says.
    pub(crate) fn interrupted(self: &Arc<Self>, attempt: u32, end: End) {
        let mut act = self.act();
        let mut inner = self.inner.lock();
        if inner.is_started(attempt) {
            let end = if inner.overdue { End::Overdue } else { end };
            inner.interrupted.get_or_insert(end);
            if inner.deserted {
                inner.lose(self.id(), ExitReason::Killed, self.group.runtime.now(), &mut act);
            }
        }
        self.run(inner, act);
    }

    /// The handler of that assignment was stopped, since nobody wants what it makes.
    pub(crate) fn stopped(self: &Arc<Self>, attempt: u32, now: Duration) {
        let mut act = self.act();
        let mut inner = self.inner.lock();
        if inner.is_started(attempt) {
            inner.interrupted = Some(End::Otherwise);
            inner.overdue = false;
            inner.lose(self.id(), ExitReason::Shutdown, now, &mut act);
        }
        self.run(inner, act);
    }

    /// The handler was still at work when its consumer was told to end by that.
    pub(crate) fn suspected(&self) {
        self.inner.lock().interrupted.get_or_insert(End::ByLink);
    }

    /// The process of that pid has ended, as an exit signal tells the conversation; true if it had the message.
    pub(crate) fn lost(self: &Arc<Self>, pid: Pid, reason: ExitReason, now: Duration) -> bool {
        self.lost_with(pid, reason, now, false)
    }

    /// The message could not be sent: that process has ended before. Its exit signal may have come before the conversation knew
    /// of the place, and then says nothing to it.
    pub(crate) fn undelivered(self: &Arc<Self>, pid: Pid) {
        self.lost_with(pid, ExitReason::NoProcess, self.group.runtime.now(), true);
    }

    fn lost_with(self: &Arc<Self>, pid: Pid, reason: ExitReason, now: Duration, nudges: bool) -> bool {
        let mut act = Act { now: Some(now), ..self.act() };
        let mut inner = self.inner.lock();
        let had = inner.place.as_ref().filter(|place| place.occupant.pid() == pid).cloned();
        act.gone = had.filter(|_| matches!(inner.machine.phase(), Phase::Queued | Phase::Started));
        let was = act.gone.is_some();
        if was {
            inner.lose(self.id(), reason, now, &mut act);
            if !nudges {
                (act.nudge, act.end) = (None, None);
            }
        }
        self.run(inner, act);
        was
    }

    /// If the message is in a consumer's mailbox and not begun, it is taken back, to go elsewhere.
    pub(crate) fn pull_back(self: &Arc<Self>, now: Duration) {
        let mut act = self.act();
        let mut inner = self.inner.lock();
        if inner.machine.phase() == Phase::Queued && inner.todo == Todo::Rest {
            inner.interrupted = Some(End::Otherwise);
            inner.lose(self.id(), ExitReason::Shutdown, now, &mut act);
        }
        self.run(inner, act);
    }

    /// The outcome is decided from elsewhere.
    pub(crate) fn decide(self: &Arc<Self>, kind: DispatchErrorKind) {
        self.decide_if(kind, |_| true);
    }

    /// The same, if the message is with nobody.
    pub(crate) fn decide_parked(self: &Arc<Self>, kind: DispatchErrorKind) {
        self.decide_if(kind, |phase| phase == Phase::Parked);
    }

    fn decide_if(self: &Arc<Self>, kind: DispatchErrorKind, holds: impl FnOnce(Phase) -> bool) {
        let mut act = self.act();
        let mut inner = self.inner.lock();
        if holds(inner.machine.phase()) {
            inner.decide(kind, &mut act);
        }
        self.run(inner, act);
    }

    /// Nothing to do, but for what may have to be done about a message that ends badly.
    fn act(&self) -> Act<M, R> {
        let size = self.group.size_of(&self.message);
        Act { size, ..Act::NONE }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Inner<M, R> {
    /// It goes out to that place, if it is to go anywhere: the number of the delivery.
    fn assign(&mut self, place: Assigned<M, R>, now: Duration) -> Option<u32> {
        if self.machine.phase() != Phase::Parked {
            return None;
        }
        self.place = Some(place);
        self.go_out(now)
    }

    /// As [`Inner::assign`], to the place that it has.
    #[inline(always)]
    fn go_out(&mut self, now: Duration) -> Option<u32> {
        let consumer = self.place.as_ref()?.consumer;
        if !self.machine.assigned() {
            return None;
        }
        self.history.sent(consumer, now);
        self.interrupted = None;
        self.attempt += 1;
        Some(self.attempt)
    }

    fn is_started(&self, attempt: u32) -> bool {
        self.attempt == attempt && self.machine.phase() == Phase::Started
    }

    /// The caller, to be woken, if he is told something.
    pub(crate) fn tell(&mut self, verdict: Option<Verdict>) -> Option<Waker> {
        verdict?;
        self.told = verdict;
        self.caller.take()
    }

    fn lose(&mut self, message: u64, reason: ExitReason, now: Duration, act: &mut Act<M, R>) {
        let end = match self.interrupted.take() {
            _ if self.overdue => End::Overdue,
            Some(end) => end,
            None => End::Otherwise,
        };
        let reached = if self.machine.phase() == Phase::Started { Reached::Started } else { Reached::Queued };
        self.history.over(reached, Some(reason), now);
        let blamed = reached == Reached::Started && matches!(end, End::OwnPanic | End::Overdue);
        let finish = if blamed { Finish::Crashed } else { Finish::Lost };
        self.overdue = false;
        let next = self.machine.lost(end);
        if blamed && let Some(place) = &self.place {
            let poison = Some(Verdict::Failed(DispatchErrorKind::Poisoned));
            let poisoned = matches!(next, Next::Over(Last { told, .. }) if told == poison);
            let (process, times) = (place.occupant.pid(), self.machine.blamed());
            act.blamed = Some((process, Charge { message, times, poisoned }));
        }
        self.follow(next, finish, act);
    }

    /// Notes what follows for the message.
    fn follow(&mut self, next: Next, finish: Finish, act: &mut Act<M, R>) {
        match next {
            Next::Over(last) => return self.end(last, finish, act),
            Next::Route { alone } => {
                self.todo = Todo::Route { alone };
                act.park = Some(finish);
            }
            Next::Pause { delayed, exactly } => {
                self.todo = Todo::Pause { delayed, exactly };
                act.park = Some(finish);
            }
        }
        act.nudge = self.conversation;
    }

    fn decide(&mut self, kind: DispatchErrorKind, act: &mut Act<M, R>) {
        match self.machine.decide(kind) {
            Decided::Before => {}
            Decided::AndOver(last) => self.end(last, Finish::Lost, act),
            Decided::WhileStarted(told) => {
                self.todo = Todo::Grace;
                act.handler = self.handler.take();
                act.caller = self.tell(told).or(act.caller.take());
                act.nudge = self.conversation;
            }
        }
    }

    /// The message is over.
    fn end(&mut self, last: Last, finish: Finish, act: &mut Act<M, R>) {
        self.todo = Todo::End;
        act.leave = Some(finish);
        act.dead = last.dead;
        act.caller = self.tell(last.told).or(act.caller.take());
        act.end = self.part_unless_attended();
    }
}
