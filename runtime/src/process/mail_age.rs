//! Shared: for how long messages have been in a mailbox: a stamp for the shared queue and one for what the receiver has drawn.
//!
//! The push that finds the shared queue empty stamps it with the coarse clock (`mail_since`), and whoever draws it takes the
//! stamp along (`receiver_since`). Nobody takes a stamp away when the messages are gone: whoever looks counts, under the lock,
//! how many are in the queue and with the receiver, and believes a stamp only of what is there. What a selective receive
//! passes over keeps the stamp that it was drawn with, in the receiver's own memory; it tells the oldest of these whenever it
//! takes the lock to look for more, which it does before it waits. In a mailbox that drops its oldest, whose queue is not drawn
//! whole and may never be empty, the stamp follows from mark to mark.
//!
//! The same word says that the receiver waits, since it waits for a message only while there is none: so that a push that
//! wakes writes no more than one that does not (decision 0026).
use crate::process::context::Aside;
use crate::process::control::{Core, Head};
use crate::sync::atomic::Ordering;
use std::task::Waker;

/// The receiver is to be woken when something comes. No stamp, since a bit in it is the clock's.
pub(super) const WAITING: u32 = u32::MAX;

impl Core {
    /// The receiver has seen that there is nothing, and is to be woken when there is.
    #[inline]
    pub(crate) fn wait(&mut self) {
        self.mail_since = WAITING;
    }

    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.mail_since == WAITING
    }

    /// A message has come to an empty queue, at this stamp.
    #[inline]
    pub(super) fn note_first(&mut self, stamp: u32) {
        self.mail_since = stamp;
    }

    /// The waker to call after unlocking, if the receiver waits; what has come is the first, at the stamp that is asked for then.
    #[inline]
    #[must_use]
    pub(crate) fn stop_waiting(&mut self, stamp: impl FnOnce() -> u32) -> Option<Waker> {
        if !self.is_waiting() {
            return None;
        }
        self.mail_since = stamp();
        if let Some(receiver) = self.extra.as_mut().and_then(|extra| extra.receiver.take()) {
            return Some(receiver);
        }
        self.waker.clone()
    }

    /// The first of a queue that is not drawn whole has left it, and so many are still there: the stamp follows, from mark
    /// to mark. Who is behind a mark came after it was set, and there is one for each length of the queue that passes.
    pub(super) fn follow(&mut self, head: &Head, queued: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "no more than were pushed")]
        let first = self.pushed.wrapping_sub(queued as u32);
        let passed = |mark: u32| first.wrapping_sub(mark) <= u32::MAX / 2;
        if queued == 0 || self.extra().mark.is_some_and(|(mark, _)| !passed(mark)) {
            return;
        }
        let next = (self.pushed, head.home.shared.clock.stamp());
        if let Some((_, since)) = self.extra().mark.replace(next) {
            // The queue may have been empty since.
            self.mail_since = self.mail_since.max(since);
        }
    }

    /// Since when the oldest message has been in the mailbox, of which so many are in the shared queue: no later than it came,
    /// and since no earlier moment than the mailbox was last empty. `None` if there is none, or none will be received any more.
    pub(crate) fn oldest(&self, head: &Head, queued: usize) -> Option<u32> {
        if self.fate.is_some() {
            return None;
        }
        let since = match self.held(head) {
            0 => 0,
            held if held <= queued => self.mail_since,
            _ => {
                let set_aside = self.extra.as_ref().map_or(0, |extra| extra.set_aside_since);
                if set_aside > 0 { set_aside } else { head.receiver_since.load(Ordering::Relaxed) }
            }
        };
        (since > 0).then_some(since)
    }
}

impl<M> Aside<M> {
    /// Tells those who look since when the oldest message had been there that is set aside; under the lock.
    pub(crate) fn note_oldest(&self, core: &mut Core) {
        let since = self.saved.iter().find(|saved| saved.counted).map_or(0, |saved| saved.since);
        if since > 0 || core.extra.is_some() {
            core.extra().set_aside_since = since;
        }
    }
}
