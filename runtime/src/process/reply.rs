//! Shared: the cell between one who asks and the one who answers; a call, and waiting for an end, are made of it.
//!
//! States: *waiting* → *answered* | *dropped* | *ended* | *timed out* | *abandoned*, under the cell's own lock, which is
//! never held together with another. The answerer's side is a value ([`ReplyTo`]): answering consumes it, and its drop
//! says that no answer will come. The callee's control block holds the cell too, so that its end is told even when the
//! [`ReplyTo`] has gone elsewhere: *ended* overrides *dropped* (the state of a dying process is dropped before its end is
//! told), never *answered*. A closed cell takes nothing in: a late answer goes back to the answerer.
//!
//! Most calls are over soon, so what only long ones need comes late: some ticks after a call began, if it is still waited
//! for, the scheduler sets its time-out and wakes the asker, who then has the callee note the cell
//! ([`note`]). The asker takes its timer out of the cell with
//! the answer and removes it.
use crate::budget;
use crate::exit::ExitReason;
use crate::process::control::{AnyProcess, Process};
use crate::process::ending::caught;
use crate::sync::Mutex;
use crate::timer::TimerId;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

pub(crate) struct ReplyCell<T>(Mutex<Inside<T>>);

struct Inside<T> {
    state: State<T>,
    timer: Option<TimerId>,
    /// The process that receives nothing while it waits here, as long as it does.
    caller: Option<AnyProcess>,
}

impl<T> Inside<T> {
    /// The caller waits no longer, though it may not know yet: a call back to it closes no circle.
    #[must_use]
    fn release(&mut self) -> Option<AnyProcess> {
        let caller = self.caller.take()?;
        caller.head().clear_callee();
        Some(caller)
    }
}

enum State<T> {
    Waiting(Option<Waker>),
    Answered(T),
    Dropped(Option<Waker>),
    Ended(ExitReason),
    TimedOut,
    Abandoned,
}

/// What the asker finds. All but the last come with the timer that is to be removed.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Answered(T),
    Dropped,
    Ended(ExitReason),
    TimedOut,
    NotYet,
}

impl<T> ReplyCell<T> {
    pub(crate) fn new(waker: Option<Waker>) -> Arc<Self> {
        Self::of_caller(waker, None)
    }

    pub(crate) fn of_caller(waker: Option<Waker>, caller: Option<AnyProcess>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inside { state: State::Waiting(waker), timer: None, caller })))
    }

    /// Looks for the answer. While there is none, `waker` will be called at the next change. With `await_end`, a
    /// dropped answer counts as none: the callee is known to be dying, and its end will be told.
    pub(crate) fn poll(&self, waker: &Waker, await_end: impl Fn() -> bool) -> (Answer<T>, Option<TimerId>) {
        let mut fresh = None;
        let mut inside = self.0.lock();
        while let Some(known) = inside.state.awaited(&await_end) {
            let settled = remember(known, waker, &mut fresh);
            drop(inside);
            if settled {
                return (Answer::NotYet, None);
            }
            fresh = Some(waker.clone());
            inside = self.0.lock();
        }
        let state = std::mem::replace(&mut inside.state, State::Abandoned);
        let timer = inside.timer.take();
        let caller = inside.release();
        drop(inside);
        drop(caller);
        let answer = match state {
            State::Answered(value) => Answer::Answered(value),
            State::Ended(reason) => Answer::Ended(reason),
            State::TimedOut => Answer::TimedOut,
            State::Dropped(_) | State::Waiting(_) | State::Abandoned => Answer::Dropped,
        };
        (answer, timer)
    }

    /// Looks once more, and closes the cell: an answer that is there counts, a later one finds the cell closed. The
    /// timer, if one is set, comes out to be removed.
    pub(crate) fn close(&self) -> (Option<T>, Option<TimerId>) {
        let mut inside = self.0.lock();
        let last = std::mem::replace(&mut inside.state, State::Abandoned);
        let timer = inside.timer.take();
        let caller = inside.release();
        drop(inside);
        drop(caller);
        match last {
            State::Answered(value) => (Some(value), timer),
            _ => (None, timer),
        }
    }

    fn answer(&self, value: T) -> Result<(), T> {
        let mut inside = self.0.lock();
        if !matches!(inside.state, State::Waiting(_)) {
            drop(inside);
            return Err(value);
        }
        // Old and new are moved as wholes, or the compiler would have to drop what it cannot know to be empty.
        let State::Waiting(waker) = std::mem::replace(&mut inside.state, State::Answered(value)) else {
            unreachable!("it was just looked at under this lock")
        };
        let caller = inside.release();
        drop(inside);
        drop(caller);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Goes from waiting (or from dropped, whose asker may wait for the end) to `last`.
    fn conclude(&self, last: State<T>) {
        let mut inside = self.0.lock();
        let (State::Waiting(waker) | State::Dropped(waker)) = &mut inside.state else {
            drop(inside);
            return drop(last);
        };
        let waker = waker.take();
        inside.state = last;
        let caller = inside.release();
        drop(inside);
        drop(caller);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> State<T> {
    /// Where the waker stands, if the answer is still waited for.
    fn awaited(&mut self, await_end: impl Fn() -> bool) -> Option<&mut Option<Waker>> {
        match self {
            Self::Waiting(known) => Some(known),
            Self::Dropped(known) if await_end() => Some(known),
            _ => None,
        }
    }
}

/// Sees to it that `known` wakes the same as `waker`: exchanges it for `fresh`, a clone, if it does not. False if there is no clone
/// yet: it is made without the lock, as what comes out is dropped, since both may be anybody's code.
#[must_use]
pub(crate) fn remember(known: &mut Option<Waker>, waker: &Waker, fresh: &mut Option<Waker>) -> bool {
    if known.as_ref().is_some_and(|same| same.will_wake(waker)) {
        return true;
    }
    if fresh.is_none() {
        return false;
    }
    std::mem::swap(known, fresh);
    true
}

/// One who waits for a process to answer or to end.
pub(crate) trait Pending: Send + Sync {
    /// The process is gone: its state dropped, its name free.
    fn ended(&self, reason: &ExitReason);

    /// The time is over.
    fn time_out(&self);

    /// The right to answer was dropped.
    fn lose(&self);

    /// Wakes whoever waits, who is to have the process note it.
    fn linger(&self);

    /// Whether somebody still waits.
    fn is_awaited(&self) -> bool;

    /// Notes the timer that was armed for it; false if nobody waits any more, so that it is to be removed.
    fn set_timer(&self, timer: TimerId) -> bool;
}

impl<T: Send> Pending for ReplyCell<T> {
    fn ended(&self, reason: &ExitReason) {
        self.conclude(State::Ended(reason.clone()));
    }

    fn time_out(&self) {
        self.conclude(State::TimedOut);
    }

    fn lose(&self) {
        let mut inside = self.0.lock();
        let State::Waiting(waker) = &mut inside.state else { return };
        let waker = waker.take();
        // The asker may have to wait on for the end: then it leaves its waker anew, when it has been woken by this one.
        inside.state = State::Dropped(None);
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn linger(&self) {
        // It is left anew by the poll that this brings about.
        let waker = match &mut self.0.lock().state {
            State::Waiting(waker) | State::Dropped(waker) => waker.take(),
            _ => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_awaited(&self) -> bool {
        matches!(self.0.lock().state, State::Waiting(_) | State::Dropped(_))
    }

    fn set_timer(&self, timer: TimerId) -> bool {
        let mut inside = self.0.lock();
        let awaited = matches!(inside.state, State::Waiting(_) | State::Dropped(_));
        if awaited {
            inside.timer = Some(timer);
        }
        awaited
    }
}

/// Has a process note one who waits for it, who is told of its end from then on. If it is gone already, the reason.
pub(crate) fn note(process: &dyn Process, waiter: Arc<dyn Pending>) -> Result<(), ExitReason> {
    let mut swept = [None, None];
    let mut core = process.core();
    let head = process.head();
    if head.is_gone() || head.home.shared.lifecycle.is_closed() {
        let reason = core.fate.clone();
        drop(core);
        return Err(reason.unwrap_or(ExitReason::Killed));
    }
    core.add_pending(waiter, &mut swept);
    drop(core);
    Ok(())
}

/// The right to answer one call, once.
///
/// It may be kept and answered later, or handed to any other process or thread. Dropping it without an answer ends the
/// call with [`CallErrorKind::NoReply`](crate::CallErrorKind::NoReply) at once, or with the callee's exit reason if it
/// was dropped because the callee died.
pub struct ReplyTo<T: Send + 'static> {
    cell: Option<Arc<ReplyCell<T>>>,
}

impl<T: Send + 'static> ReplyTo<T> {
    pub(crate) fn new(cell: Arc<ReplyCell<T>>) -> Self {
        Self { cell: Some(cell) }
    }

    /// Answers the call; the caller goes on with `value`.
    ///
    /// # Errors
    ///
    /// Gives the value back if the caller has stopped waiting: its call timed out or was dropped, the caller died, or
    /// the callee was declared dead meanwhile.
    pub fn send(mut self, value: T) -> Result<(), T> {
        match self.cell.take() {
            Some(cell) => cell.answer(value),
            None => Err(value),
        }
    }

    /// Whether the caller still waits. It may stop at any moment: this only saves work that is in vain already.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.cell.as_ref().is_some_and(|cell| matches!(cell.0.lock().state, State::Waiting(_)))
    }
}

impl<T: Send + 'static> Drop for ReplyTo<T> {
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        // Within a poll it is not known yet whether the process drops it or ends: what a body holds is dropped before
        // its outcome is seen.
        if budget::is_counting() && LOST.try_with(|lost| lost.borrow_mut().push(cell.clone())).is_ok() {
            return ANY_LOST.set(true);
        }
        cell.lose();
    }
}

thread_local! {
    static LOST: RefCell<Vec<Arc<dyn Pending>>> = const { RefCell::new(Vec::new()) };
    static ANY_LOST: Cell<bool> = const { Cell::new(false) };
}

/// Tells those whose answers were dropped in the poll that has ended. If that was the process's last, its fate is fixed.
#[inline]
pub(crate) fn tell_lost() {
    if ANY_LOST.replace(false) {
        LOST.take().into_iter().for_each(|cell| caught(|| cell.lose()));
    }
}

impl<T: Send + 'static> fmt::Debug for ReplyTo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyTo")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn look(cell: &ReplyCell<u32>, dying: bool) -> Answer<u32> {
        cell.poll(Waker::noop(), || dying).0
    }

    #[test]
    fn an_answer_is_found_once() {
        let cell = ReplyCell::new(None);
        assert!(matches!(look(&cell, false), Answer::NotYet));
        assert_eq!(ReplyTo::new(Arc::clone(&cell)).send(5), Ok(()));
        cell.ended(&ExitReason::Killed);
        assert!(matches!(look(&cell, false), Answer::Answered(5)));
    }

    #[test]
    fn a_dropped_answer_waits_for_the_end_of_a_dying_callee_only() {
        let cell = ReplyCell::<u32>::new(None);
        drop(ReplyTo::new(Arc::clone(&cell)));
        assert!(matches!(look(&cell, true), Answer::NotYet));
        cell.ended(&ExitReason::Killed);
        assert!(matches!(look(&cell, true), Answer::Ended(ExitReason::Killed)));
        let other = ReplyCell::<u32>::new(None);
        drop(ReplyTo::new(Arc::clone(&other)));
        assert!(matches!(look(&other, false), Answer::Dropped));
    }

    #[test]
    fn a_late_answer_goes_back() {
        let cell = ReplyCell::new(None);
        let reply_to = ReplyTo::new(Arc::clone(&cell));
        assert!(reply_to.is_awaited());
        assert_eq!(cell.close(), (None, None));
        assert!(!reply_to.is_awaited());
        assert_eq!(reply_to.send(5), Err(5));
    }

    #[test]
    fn a_time_out_beats_what_comes_later_and_nothing_before() {
        let cell = ReplyCell::new(None);
        let reply_to = ReplyTo::new(Arc::clone(&cell));
        cell.time_out();
        assert_eq!(reply_to.send(5), Err(5));
        assert!(matches!(look(&cell, false), Answer::TimedOut));
        let answered = ReplyCell::new(None);
        assert_eq!(ReplyTo::new(Arc::clone(&answered)).send(6), Ok(()));
        answered.time_out();
        assert!(matches!(look(&answered, false), Answer::Answered(6)));
    }

    #[test]
    fn the_last_look_at_time_out_finds_an_answer() {
        let cell = ReplyCell::new(None);
        assert_eq!(ReplyTo::new(Arc::clone(&cell)).send(5), Ok(()));
        assert_eq!(cell.close(), (Some(5), None));
    }
}
