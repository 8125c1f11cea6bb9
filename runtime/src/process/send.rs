//! Shared: into a mailbox: pushing, what a full one does, and senders that wait for room.
//!
//! A sender that waits leaves its message with the mailbox, in a queue of its own, and finds out by its ticket: while the
//! ticket is there it waits, and when it is not there any more its message was let in. The receiver lets messages in,
//! oldest first, whenever it takes the lock and at the end of a poll in which it took messages without the lock
//! (`unsettled`), so that it never waits for a process whose message it has room for.
use crate::mailbox::Overflow;
use crate::process::attended::Attended;
use crate::process::control::{Control, Core, Head, Inner, InnerGuard};
use crate::process::reply::Pending;
use crate::sync::atomic::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

/// Why a mailbox did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Dead,
}

pub(crate) struct Senders<M> {
    next_ticket: u64,
    queue: VecDeque<Waiting<M>>,
    /// In a simulation: what notes each send and may hold it back.
    pub(super) attended: Option<Box<Attended<M>>>,
}

struct Waiting<M> {
    ticket: u64,
    message: M,
    waker: Option<Waker>,
}

/// How a waiting sender stands.
pub(crate) enum Turn<M> {
    LetIn,
    Refused(M),
    NotYet,
}

impl<M> Senders<M> {
    pub(super) fn new(attended: Option<Box<Attended<M>>>) -> Self {
        Self { next_ticket: 0, queue: VecDeque::new(), attended }
    }

    /// The wakers of all that wait, who will find the process dead.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        self.queue.iter_mut().filter_map(|waiting| waiting.waker.take()).collect()
    }
}

impl<M> Inner<M> {
    /// Whether no sender waits for room: whoever does goes first.
    #[inline]
    pub(crate) fn nobody_waits(&self) -> bool {
        self.senders.as_ref().is_none_or(|senders| senders.queue.is_empty())
    }

    /// As [`Inner::nobody_waits`], and no simulation attends to what is sent.
    #[inline]
    fn nobody_attends(&self) -> bool {
        self.senders.as_ref().is_none_or(|senders| senders.queue.is_empty() && senders.attended.is_none())
    }

    #[inline]
    pub(super) fn room(&self, head: &Head) -> bool {
        self.core.pushed.wrapping_sub(head.taken.load(Ordering::Acquire)) < self.core.bound
    }

    /// Puts a message at the end of the queue. The waker to call after unlocking, if the receiver waits for one.
    #[inline(always)]
    #[must_use]
    pub(super) fn take_in(&mut self, head: &Head, message: M) -> Option<Waker> {
        self.messages.push_back(message);
        self.core.pushed = self.core.pushed.wrapping_add(1);
        head.count_arrival();
        let clock = &head.home.shared.clock;
        if self.core.is_waiting() {
            return self.core.stop_waiting(|| clock.stamp());
        }
        if self.messages.len() == 1 {
            self.core.note_first(clock.stamp());
        }
        None
    }

    /// Moves messages of waiting senders into the mailbox while there is room; the wakers of those let in.
    #[must_use]
    pub(crate) fn admit(&mut self, head: &Head) -> Vec<Waker> {
        let (mut wakers, mut receiver) = (Vec::new(), None);
        while self.core.fate.is_none() && self.room(head) {
            let Some(waiting) = self.senders.as_mut().and_then(|senders| senders.queue.pop_front()) else { break };
            receiver = receiver.or(self.take_in(head, waiting.message));
            wakers.extend(waiting.waker);
        }
        wakers.extend(receiver);
        wakers
    }
}

impl<M: Send + 'static> Control<M> {
    /// Puts a message into the mailbox.
    #[inline]
    pub(crate) fn push(&self, message: M) -> Result<(), (Refusal, M)> {
        self.push_locked(self.inner.lock(), message, |_| {})
    }

    /// Puts a request into the mailbox and, in the same critical section, notes who waits for its answer.
    #[inline]
    pub(crate) fn push_request(&self, message: M, pending: Arc<dyn Pending>) -> Result<(), (Refusal, M)> {
        let mut swept = [None, None];
        self.push_locked(self.inner.lock(), message, |core| core.add_pending(pending, &mut swept))
    }

    /// As [`Control::push`], for one who had something to look at under the lock first; if the message is let in, `note`
    /// is called under the lock.
    #[inline]
    pub(crate) fn push_locked(
        &self,
        mut inner: InnerGuard<'_, M>,
        message: M,
        note: impl FnOnce(&mut Core),
    ) -> Result<(), (Refusal, M)> {
        if !inner.nobody_attends() {
            if inner.senders.as_ref().is_some_and(|senders| senders.attended.is_some()) {
                drop(inner);
                return self.push_attended(message, note);
            }
            let wakers = inner.admit(&self.head);
            if !wakers.is_empty() {
                // They are woken first; what has changed by then is looked at anew.
                drop(inner);
                wakers.into_iter().for_each(Waker::wake);
                return self.push_locked(self.inner.lock(), message, note);
            }
            if inner.core.fate.is_none() && !inner.nobody_waits() {
                drop(inner);
                return Err((Refusal::Full, message));
            }
        }
        self.push_now(inner, message, note)
    }

    /// What is left to do when nobody goes first.
    #[inline(always)]
    pub(super) fn push_now(
        &self,
        inner: InnerGuard<'_, M>,
        message: M,
        note: impl FnOnce(&mut Core),
    ) -> Result<(), (Refusal, M)> {
        if inner.core.fate.is_some() {
            drop(inner);
            return Err((Refusal::Dead, message));
        }
        if !inner.room(&self.head) {
            return overflow(&self.head, inner, message, note);
        }
        if let Some(waker) = self.put(inner, message, note) {
            waker.wake();
        }
        Ok(())
    }

    /// As [`Control::push_locked`]; who is to be woken comes out, unless he was woken already.
    #[inline]
    pub(super) fn push_unwoken(&self, message: M, note: impl FnOnce(&mut Core)) -> Result<Option<Waker>, (Refusal, M)> {
        let inner = self.inner.lock();
        if inner.nobody_attends() && inner.core.fate.is_none() && inner.room(&self.head) {
            return Ok(self.put(inner, message, note));
        }
        self.push_locked(inner, message, note).map(|()| None)
    }

    /// Puts a message where there is room for it. The receiver is to be woken if it waits.
    #[inline(always)]
    fn put(&self, mut inner: InnerGuard<'_, M>, message: M, note: impl FnOnce(&mut Core)) -> Option<Waker> {
        let waker = inner.take_in(&self.head, message);
        #[cfg(all(test, not(loom)))]
        if crate::simulation::planted::is_planted(crate::simulation::planted::Bug::Reordered)
            && inner.messages.len() > 2
        {
            inner.messages.rotate_right(1);
        }
        note(&mut inner.core);
        waker
    }

    /// Puts a message into the mailbox, or into the queue of those that wait for room: then its ticket.
    pub(crate) fn push_or_wait(&self, message: M, waker: &Waker) -> Result<Option<u64>, M> {
        let message = match self.push(message) {
            Ok(()) => return Ok(None),
            Err((Refusal::Dead, message)) => return Err(message),
            Err((Refusal::Full, message)) => message,
        };
        let waker = waker.clone();
        let mut inner = self.inner.lock();
        if inner.core.fate.is_some() {
            drop(inner);
            return Err(message);
        }
        let senders = inner.senders.get_or_insert_with(|| Box::new(Senders::new(None)));
        let ticket = senders.next_ticket;
        senders.next_ticket += 1;
        senders.queue.push_back(Waiting { ticket, message, waker: Some(waker) });
        // Room may have come between the push and here; and the receiver looks at the queue under this lock only.
        let wakers = inner.admit(&self.head);
        let still_waits = inner.senders.as_ref().is_some_and(|senders| senders.find(ticket).is_some());
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        Ok(still_waits.then_some(ticket))
    }

    /// Asks how the ticket stands, and whom to wake when that changes.
    pub(crate) fn poll_ticket(&self, ticket: u64, waker: &Waker) -> Turn<M> {
        let waker = waker.clone();
        let mut inner = self.inner.lock();
        let dead = inner.core.fate.is_some();
        let Some(senders) = inner.senders.as_mut() else { return Turn::LetIn };
        if dead {
            let removed = senders.remove(ticket);
            drop(inner);
            return removed.map_or(Turn::LetIn, |waiting| Turn::Refused(waiting.message));
        }
        let Some(at) = senders.find(ticket) else { return Turn::LetIn };
        let old = senders.queue[at].waker.replace(waker);
        drop(inner);
        drop(old);
        Turn::NotYet
    }

    /// Gives up waiting; the message comes back unless it was let in.
    pub(crate) fn withdraw(&self, ticket: u64) -> Option<M> {
        let mut inner = self.inner.lock();
        let removed = inner.senders.as_mut().and_then(|senders| senders.remove(ticket));
        drop(inner);
        removed.map(|waiting| waiting.message)
    }
}

/// What a full mailbox does with one more message.
#[cold]
fn overflow<M>(
    head: &Head,
    mut inner: InnerGuard<'_, M>,
    message: M,
    note: impl FnOnce(&mut Core),
) -> Result<(), (Refusal, M)> {
    let (dropped, waker) = match head.overflow {
        Overflow::Refuse => {
            drop(inner);
            return Err((Refusal::Full, message));
        }
        Overflow::DropNewest => {
            inner.core.extra().dropped += 1;
            (Some(message), inner.core.stop_waiting(|| 0))
        }
        Overflow::DropOldest => {
            let held = inner.core.held(head);
            let mut oldest = None;
            if held >= inner.core.bound as usize {
                let set_aside = held.saturating_sub(inner.messages.len());
                oldest = if set_aside == 0 { inner.messages.pop_front() } else { None };
                let extra = inner.core.extra();
                extra.dropped += 1;
                // The oldest may be with the receiver, which drops it when it next looks.
                *(if set_aside == 0 { &mut extra.skipped } else { &mut extra.overdue }) += 1;
            }
            let waker = inner.take_in(head, message);
            if oldest.is_some() {
                let queued = inner.messages.len();
                inner.core.follow(head, queued);
            }
            (oldest, waker)
        }
    };
    note(&mut inner.core);
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
    if dropped.is_some() {
        head.home.shared.guest.with(|| drop(dropped));
    }
    Ok(())
}

impl<M> Senders<M> {
    /// Tickets stand in order, since the queue is one of arrival.
    fn find(&self, ticket: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()
    }

    fn remove(&mut self, ticket: u64) -> Option<Waiting<M>> {
        let at = self.find(ticket)?;
        self.queue.remove(at)
    }
}
