//! Shared: the record of one dispatch: the message, its history, where it is, and the outcome.
//!
//! One lock around the conversation's machine and what it decides about. Consumers, the caller, the keeper of deadlines and
//! the conversation's process only wake each other; the truth is here, in the order in which this lock was taken. Whoever makes
//! the message *over* (exactly one does) takes it out of the group's yard afterwards; the two locks are never held together.
//! What was decided leaves the lock as an [`Act`], and wakers, addresses and values of users' go outside it.
mod blocking;
mod sight;

use crate::act::{Act, Deferred};
use crate::blame::End;
use crate::conversation::{Decided, Machine, Next, Phase, Start, Terms, Verdict, Wanted};
use crate::group::Group;
use crate::metrics::Timing;
use crate::outcome::{Attempt, DispatchErrorKind, History, Reached};
use crate::process::Process;
use crate::view::ConsumerId;
use crate::yard::{Finish, Place, Request};
use colloquium_runtime::{Address, ExitReason, Pid};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tracing::Span;

pub(crate) type Seat<M, R> = Arc<Process<M, R>>;
pub(crate) type Assigned<M, R> = Place<Seat<M, R>>;

pub(crate) struct Record<M, R> {
    pub(crate) message: Arc<M>,
    pub(crate) group: Arc<Group<M, R>>,
    pub(crate) request: Request,
    /// The number in the yard; written under the yard's lock before anybody else can see the record.
    slot: AtomicUsize,
    /// Handlers' closures that run on threads for blocking work; see `record/blocking.rs`.
    blocking: AtomicU32,
    /// Of a group with spans.
    pub(crate) span: Option<Box<Span>>,
    inner: Mutex<Inner<M, R>>,
}

struct Inner<M, R> {
    machine: Machine,
    told: Option<Verdict>,
    output: Option<R>,
    caller: Option<Waker>,
    /// The handler that wants to know when it is cancelled.
    handler: Option<Waker>,
    conversation: Option<Address<()>>,
    /// The conversation has ended.
    deserted: bool,
    place: Option<Assigned<M, R>>,
    /// Which assignment this is: what belongs to an earlier one is stale.
    attempt: u32,
    todo: Todo,
    /// What the handler's guard saw when it went.
    interrupted: Option<End>,
    overdue: bool,
    /// When the handler is killed that is at work for nobody, or counts as wedged.
    limit: Option<Duration>,
    /// It is out of the yard when its closures have returned.
    deferred: Option<Deferred>,
    history: History,
    lost_at: Duration,
    rerouted_from: Vec<ConsumerId>,
    reroute_timings: Vec<Duration>,
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

/// What the caller gets.
pub(crate) struct Told<R> {
    pub(crate) verdict: Verdict,
    pub(crate) output: Option<R>,
    pub(crate) delivered_to: Option<ConsumerId>,
    pub(crate) attempts: u32,
    pub(crate) history: History,
    pub(crate) rerouted_from: Vec<ConsumerId>,
    pub(crate) reroute_timings: Vec<Duration>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Record<M, R> {
    pub(crate) fn new(
        message: Arc<M>,
        group: Arc<Group<M, R>>,
        request: Request,
        terms: Terms,
        span: Option<Box<Span>>,
    ) -> Self {
        let inner = Inner {
            machine: Machine::new(terms),
            told: None,
            output: None,
            caller: None,
            handler: None,
            conversation: None,
            deserted: false,
            place: None,
            attempt: 0,
            todo: Todo::Rest,
            interrupted: None,
            overdue: false,
            limit: None,
            deferred: None,
            history: History::new(),
            lost_at: Duration::ZERO,
            rerouted_from: Vec::new(),
            reroute_timings: Vec::new(),
        };
        Self {
            message,
            group,
            request,
            slot: AtomicUsize::new(usize::MAX),
            blocking: AtomicU32::new(0),
            span,
            inner: Mutex::new(inner),
        }
    }

    pub(crate) fn set_slot(&self, slot: usize) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    pub(crate) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed)
    }

    /// The conversation is there, and the message may go to `place`. What it then is to be sent with; `None` if nobody wants it
    /// any more.
    pub(crate) fn begin(
        &self,
        conversation: Address<()>,
        place: Option<Assigned<M, R>>,
        routes: bool,
        now: Duration,
    ) -> Option<u32> {
        let mut inner = self.inner.lock();
        if routes {
            inner.todo = Todo::Route { alone: false };
        }
        let sent = place.and_then(|place| inner.assign(place, now));
        let nudge = (inner.machine.is_over() || inner.todo != Todo::Rest).then(|| conversation.clone());
        inner.conversation = Some(conversation);
        drop(inner);
        if let Some(conversation) = nudge {
            drop(conversation.send(()));
        }
        sent
    }

    /// A place came free for the message. If nobody wants it any more, whoever ended it gives the place back.
    pub(crate) fn granted(&self, place: Assigned<M, R>, now: Duration) {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        if inner.assign(place, now).is_some() {
            inner.todo = Todo::Forward;
            act.nudge.clone_from(&inner.conversation);
        }
        drop(inner);
        self.run(act);
    }

    /// The handler of that assignment begins.
    pub(crate) fn start(&self, attempt: u32, now: Duration) -> bool {
        let mut inner = self.inner.lock();
        if inner.attempt != attempt || inner.machine.phase() != Phase::Queued {
            return false;
        }
        let mut act = Act::NONE;
        let begins = if self.request.deadline <= now {
            inner.decide(DispatchErrorKind::DeadlineExceeded, &mut act);
            false
        } else {
            match inner.machine.start() {
                Start::Go(verdict) => {
                    inner.interrupted = None;
                    if let Some(last) = inner.history.last_mut() {
                        (last.reached, last.begun) = (Reached::Started, Some(now));
                    }
                    inner.tell(verdict, &mut act);
                    true
                }
                Start::Withdrawn => false,
            }
        };
        drop(inner);
        self.run(act);
        begins
    }

    /// The handler of that assignment has completed.
    pub(crate) fn completed(&self, attempt: u32, output: R, now: Duration) {
        let mut inner = self.inner.lock();
        let mut act = Act { now: Some(now), ..Act::NONE };
        let mut unwanted = Some(output);
        if inner.is_started(attempt) {
            inner.close(Reached::Completed, None, now);
            act.timing = inner.timing(now);
            let next = inner.machine.completed();
            if next == Next::Over(Some(Verdict::Delivered)) {
                inner.output = unwanted.take();
            }
            inner.follow(next, Finish::Completed, &mut act);
        }
        drop(inner);
        drop(unwanted);
        self.run(act);
    }

    /// The handler of that assignment has returned without completing.
    pub(crate) fn failed(&self, attempt: u32, wanted: Wanted, reason: ExitReason, now: Duration) {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        if inner.is_started(attempt) {
            inner.close(Reached::Failed, Some(reason), now);
            inner.lost_at = now;
            let next = inner.machine.failed(wanted);
            inner.follow(next, Finish::Failed, &mut act);
        }
        drop(inner);
        self.run(act);
    }

    /// The handler of that assignment was dropped in its course, by what `end` says.
    pub(crate) fn interrupted(&self, attempt: u32, end: End, now: Duration) {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        if inner.is_started(attempt) {
            let end = if inner.overdue { End::Overdue } else { end };
            inner.interrupted.get_or_insert(end);
            if inner.deserted {
                inner.lose(ExitReason::Killed, now, &mut act);
            }
        }
        drop(inner);
        self.run(act);
    }

    /// The handler of that assignment was stopped, since nobody wants what it makes.
    pub(crate) fn stopped(&self, attempt: u32, now: Duration) {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        if inner.is_started(attempt) {
            inner.interrupted = Some(End::Otherwise);
            inner.overdue = false;
            inner.lose(ExitReason::Shutdown, now, &mut act);
        }
        drop(inner);
        self.run(act);
    }

    /// The handler was still at work when its consumer was told to end by that.
    pub(crate) fn suspected(&self) {
        self.inner.lock().interrupted.get_or_insert(End::ByLink);
    }

    /// The process of that pid has ended; true if it had the message.
    pub(crate) fn lost(&self, pid: Pid, reason: ExitReason, now: Duration) -> bool {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        let had = inner.place.as_ref().is_some_and(|place| place.occupant.pid() == pid);
        let was = had && matches!(inner.machine.phase(), Phase::Queued | Phase::Started);
        if was {
            inner.lose(reason, now, &mut act);
            // Only the conversation itself says so.
            act.nudge = None;
        }
        drop(inner);
        self.run(act);
        was
    }

    /// If the message is in a consumer's mailbox and not begun, it is taken back, to go elsewhere.
    pub(crate) fn pull_back(&self, now: Duration) {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        if inner.machine.phase() == Phase::Queued && inner.todo == Todo::Rest {
            inner.interrupted = Some(End::Otherwise);
            inner.lose(ExitReason::Shutdown, now, &mut act);
        }
        drop(inner);
        self.run(act);
    }

    /// The outcome is decided from elsewhere.
    pub(crate) fn decide(&self, kind: DispatchErrorKind) {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        inner.decide(kind, &mut act);
        drop(inner);
        self.run(act);
    }

    /// The conversation has ended, whatever its end was. Returns the place that it may be linked to.
    pub(crate) fn desert(&self, now: Duration) -> Option<Assigned<M, R>> {
        let mut inner = self.inner.lock();
        let mut act = Act::NONE;
        inner.deserted = true;
        let own = inner.conversation.take();
        inner.decide(DispatchErrorKind::Conversation, &mut act);
        if inner.machine.phase() == Phase::Started && inner.interrupted.is_some() {
            inner.lose(ExitReason::Killed, now, &mut act);
        }
        let place = inner.place.take();
        drop(inner);
        drop(own);
        self.run(act);
        place
    }

    /// What the conversation is to do, and where the message is or is to go.
    pub(crate) fn next(&self) -> (Todo, Option<Assigned<M, R>>, u32) {
        let mut inner = self.inner.lock();
        if inner.machine.is_over() {
            inner.todo = Todo::End;
        }
        if matches!(inner.todo, Todo::Route { .. } | Todo::Pause { .. }) && self.holds_its_key() {
            return (Todo::Rest, inner.place.clone(), inner.attempt);
        }
        let todo = std::mem::replace(&mut inner.todo, Todo::Rest);
        (todo, inner.place.clone(), inner.attempt)
    }

    /// The end of an undisturbed conversation: what it is linked to; `None` if it is not over.
    pub(crate) fn finish(&self) -> Option<Option<Assigned<M, R>>> {
        let mut inner = self.inner.lock();
        if !inner.machine.is_over() {
            return None;
        }
        inner.deserted = true;
        let own = inner.conversation.take();
        let place = inner.place.take();
        drop(inner);
        drop(own);
        Some(place)
    }

    /// The handler has had its time and is still at work: its consumer is to be killed for it.
    pub(crate) fn overdue(&self) -> Option<Assigned<M, R>> {
        let mut inner = self.inner.lock();
        if inner.machine.phase() != Phase::Started {
            return None;
        }
        inner.overdue = true;
        inner.place.clone()
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Told<R>> {
        let mut inner = self.inner.lock();
        let Some(verdict) = inner.told else {
            let known = inner.caller.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            let old = if known { None } else { inner.caller.replace(cx.waker().clone()) };
            drop(inner);
            drop(old);
            return Poll::Pending;
        };
        let told = Told {
            verdict,
            output: inner.output.take(),
            delivered_to: inner.history.last().map(|attempt| attempt.consumer),
            attempts: inner.machine.started(),
            history: if verdict == Verdict::Delivered { History::new() } else { inner.history.clone() },
            rerouted_from: std::mem::take(&mut inner.rerouted_from),
            reroute_timings: std::mem::take(&mut inner.reroute_timings),
        };
        drop(inner);
        Poll::Ready(told)
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Inner<M, R> {
    fn assign(&mut self, place: Assigned<M, R>, now: Duration) -> Option<u32> {
        if !self.machine.assigned() {
            return None;
        }
        if let Some(last) = self.history.last() {
            self.rerouted_from.push(last.consumer);
            self.reroute_timings.push(now.saturating_sub(self.lost_at));
        }
        let consumer = place.consumer;
        self.history.push(Attempt {
            consumer,
            reached: Reached::Queued,
            reason: None,
            sent: now,
            begun: None,
            over: None,
        });
        self.place = Some(place);
        self.interrupted = None;
        self.attempt += 1;
        Some(self.attempt)
    }

    fn is_started(&self, attempt: u32) -> bool {
        self.attempt == attempt && self.machine.phase() == Phase::Started
    }

    fn close(&mut self, reached: Reached, reason: Option<ExitReason>, now: Duration) {
        if let Some(last) = self.history.last_mut() {
            (last.reached, last.reason, last.over) = (reached, reason, Some(now));
        }
    }

    /// The times of the delivery that is completed.
    fn timing(&self, now: Duration) -> Option<Timing> {
        let handled = now.saturating_sub(self.history.last()?.begun?);
        Some(Timing { begun: self.history.iter().find_map(|attempt| attempt.begun)?, handled })
    }

    fn tell(&mut self, verdict: Option<Verdict>, act: &mut Act) {
        if verdict.is_some() {
            self.told = verdict;
            act.wake[0] = self.caller.take();
        }
    }

    fn lose(&mut self, reason: ExitReason, now: Duration, act: &mut Act) {
        let end = match self.interrupted.take() {
            _ if self.overdue => End::Overdue,
            Some(end) => end,
            None => End::Otherwise,
        };
        let reached = if self.machine.phase() == Phase::Started { Reached::Started } else { Reached::Queued };
        self.close(reached, Some(reason), now);
        self.lost_at = now;
        let blamed = reached == Reached::Started && matches!(end, End::OwnPanic | End::Overdue);
        let finish = if blamed { Finish::Crashed } else { Finish::Lost };
        self.overdue = false;
        let next = self.machine.lost(end);
        if blamed && let Some(place) = &self.place {
            let poisoned = next == Next::Over(Some(Verdict::Failed(DispatchErrorKind::Poisoned)));
            act.blamed = Some((place.occupant.pid(), self.machine.blamed(), poisoned));
        }
        self.follow(next, finish, act);
    }

    /// Notes what follows for the message.
    fn follow(&mut self, next: Next, finish: Finish, act: &mut Act) {
        match next {
            Next::Over(verdict) => {
                self.todo = Todo::End;
                act.leave = Some(finish);
                if let Some(Verdict::Failed(kind)) = verdict {
                    act.dead = kind.is_deadly().then_some(kind);
                }
                self.tell(verdict, act);
            }
            Next::Route { alone } => {
                self.todo = Todo::Route { alone };
                act.park = Some(finish);
            }
            Next::Pause { delayed, exactly } => {
                self.todo = Todo::Pause { delayed, exactly };
                act.park = Some(finish);
            }
        }
        act.nudge.clone_from(&self.conversation);
    }

    fn decide(&mut self, kind: DispatchErrorKind, act: &mut Act) {
        let (decided, verdict) = self.machine.decide(kind);
        match decided {
            Decided::Before => return,
            Decided::AndOver { .. } => {
                self.todo = Todo::End;
                act.leave = Some(Finish::Lost);
            }
            Decided::WhileStarted => {
                self.todo = Todo::Grace;
                act.wake[1] = self.handler.take();
            }
        }
        act.nudge.clone_from(&self.conversation);
        self.tell(verdict, act);
    }
}
