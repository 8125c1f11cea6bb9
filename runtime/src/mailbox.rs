//! Pure: how a mailbox is bounded, and the receiver's side of it, which puts messages and signals in one order.
use crate::limits::{MAILBOX, MAILBOX_KEEPS};
use crate::signal::Signal;
use std::collections::{VecDeque, vec_deque};
use std::iter::Chain;
use std::option;

/// The bound of a mailbox and what happens beyond it.
///
/// The default holds 65 536 messages and refuses more: the sender gets the message back. Signals (exits, downs, group
/// events) stand outside the bound: a full mailbox delays messages only. Messages that a selective receive has set
/// aside count, since the process still has them to handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox {
    pub(crate) bound: u32,
    pub(crate) overflow: Overflow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    Refuse,
    DropOldest,
    DropNewest,
}

impl Mailbox {
    /// At most `bound` messages, 1 or more; a spawn with 0 fails.
    #[must_use]
    pub const fn bounded(bound: u32) -> Self {
        Self { bound, overflow: Overflow::Refuse }
    }

    /// As many messages as there is memory for (the counter ends at 2³² − 1).
    #[must_use]
    pub const fn unbounded() -> Self {
        Self::bounded(u32::MAX)
    }

    /// A send to the full mailbox succeeds and drops the oldest message in it, which is counted in
    /// [`ProcessInfo::dropped`](crate::ProcessInfo::dropped).
    #[must_use]
    pub const fn drop_oldest(self) -> Self {
        Self { overflow: Overflow::DropOldest, ..self }
    }

    /// A send to the full mailbox succeeds and drops the message sent, which is counted in
    /// [`ProcessInfo::dropped`](crate::ProcessInfo::dropped).
    #[must_use]
    pub const fn drop_newest(self) -> Self {
        Self { overflow: Overflow::DropNewest, ..self }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::bounded(MAILBOX)
    }
}

/// What comes next out of a mailbox.
#[derive(Debug)]
pub(crate) enum Item<M> {
    Message(M),
    Signal(Signal),
}

/// Signals that are to become messages, each with the number of messages pushed before it. One is the usual number, and it
/// needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Older than the rest.
    first: Option<(u32, Signal)>,
    rest: VecDeque<(u32, Signal)>,
}

impl Signals {
    pub(crate) fn push(&mut self, position: u32, signal: Signal) {
        if self.is_empty() {
            self.first = Some((position, signal));
        } else {
            self.rest.push_back((position, signal));
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(u32, Signal)> {
        self.first.take().or_else(|| self.rest.pop_front())
    }

    pub(crate) fn front(&self) -> Option<&(u32, Signal)> {
        self.first.as_ref().or_else(|| self.rest.front())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    pub(crate) fn append(&mut self, more: Self) {
        more.into_iter().for_each(|(position, signal)| self.push(position, signal));
    }

    pub(crate) fn retain(&mut self, wanted: impl Fn(&Signal) -> bool) {
        self.first.take_if(|(_, signal)| !wanted(signal));
        self.rest.retain(|(_, signal)| wanted(signal));
    }
}

impl IntoIterator for Signals {
    type Item = (u32, Signal);
    type IntoIter = Chain<option::IntoIter<Self::Item>, vec_deque::IntoIter<Self::Item>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

/// What the receiver has taken out of the shared part and not handled yet.
///
/// Messages come in one deque and signals in another, which most processes never have and so is kept elsewhere. `drawn`
/// counts the messages drawn: a signal's turn is when that has come up to its number. (32 bits wrap, but no mailbox holds
/// half as many.)
#[derive(Debug)]
pub(crate) struct Drawn<M> {
    messages: Option<Box<VecDeque<M>>>,
    drawn: u32,
    /// How many messages and signals, counted in twos, had arrived when the mailbox was last found empty.
    seen: u32,
}

/// No number of arrivals, since they are counted in twos.
const NOT_SEEN_EMPTY: u32 = 1;

impl<M> Drawn<M> {
    pub(crate) fn new() -> Self {
        Self { messages: None, drawn: 0, seen: NOT_SEEN_EMPTY }
    }

    /// The next in the order of arrival.
    #[inline]
    pub(crate) fn next(&mut self, signals: Option<&mut Signals>) -> Option<Item<M>> {
        if let Some(signals) = signals {
            // Passed, rather than reached, if the policy dropped the messages before it.
            let due = |position: u32| self.drawn.wrapping_sub(position) <= u32::MAX / 2;
            if signals.front().is_some_and(|(position, _)| due(*position)) {
                return signals.pop().map(|(_, signal)| Item::Signal(signal));
            }
        }
        let message = self.messages.as_mut()?.pop_front()?;
        self.drawn = self.drawn.wrapping_add(1);
        Some(Item::Message(message))
    }

    /// Messages went straight from the shared part to the receiver, or were dropped there, with nothing before them.
    #[inline]
    pub(crate) fn skip(&mut self, messages: u32) {
        self.drawn = self.drawn.wrapping_add(messages);
    }

    /// Nothing of what had arrived by then is left, here or in the shared part.
    pub(crate) fn see_empty(&mut self, arrived: u32) {
        self.seen = arrived;
    }

    /// Whether nothing has arrived since the mailbox was found empty. Forgets the finding if something has.
    #[inline]
    pub(crate) fn is_still_empty(&mut self, arrived: u32) -> bool {
        let still = self.seen == arrived;
        if !still {
            self.seen = NOT_SEEN_EMPTY;
        }
        still
    }

    /// Messages drawn so far.
    pub(crate) fn count(&self) -> u32 {
        self.drawn
    }

    /// Exchanges the (empty) deque of messages for the shared one.
    pub(crate) fn swap(&mut self, shared: &mut VecDeque<M>) {
        let mine = self.messages.get_or_insert_with(Box::default);
        debug_assert!(mine.is_empty(), "a batch is handled before the next is drawn");
        std::mem::swap(&mut **mine, shared);
    }

    /// All messages that are left, to be dropped.
    pub(crate) fn take_all(&mut self) -> Option<VecDeque<M>> {
        self.messages.take().map(|messages| *messages)
    }

    /// The finding that the mailbox is empty does not hold for who looks next.
    pub(crate) fn forget_empty(&mut self) {
        self.seen = NOT_SEEN_EMPTY;
    }

    /// Gives a large buffer back when the mailbox has run dry.
    pub(crate) fn shrink(&mut self) {
        if self.messages.as_ref().is_some_and(|messages| messages.capacity() > MAILBOX_KEEPS && messages.is_empty()) {
            self.messages = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitReason;
    use crate::signal::Exit;

    fn exit() -> Signal {
        Signal::Exit(Exit { from: None, reason: ExitReason::Normal, by_link: false })
    }

    fn signals(positions: [u32; 2]) -> Signals {
        let mut signals = Signals::default();
        positions.into_iter().for_each(|position| signals.push(position, exit()));
        signals
    }

    /// One stands inline and the others do not; whatever is taken out meanwhile, they come in the order they were put in.
    #[test]
    fn signals_keep_their_order_wherever_they_stand() {
        for taken in 0..4 {
            let mut signals = Signals::default();
            (0..4).for_each(|position| signals.push(position, exit()));
            (0..taken).for_each(|position| assert_eq!(signals.pop().map(|(at, _)| at), Some(position)));
            let mut more = Signals::default();
            (4..6).for_each(|position| more.push(position, exit()));
            signals.append(more);
            assert_eq!(signals.front().map(|(at, _)| *at), Some(taken));
            assert!(signals.into_iter().map(|(at, _)| at).eq(taken..6));
        }
    }

    fn order(drawn: &mut Drawn<u32>, signals: &mut Signals) -> String {
        std::iter::from_fn(|| drawn.next(Some(signals)))
            .map(|item| match item {
                Item::Message(m) => m.to_string(),
                Item::Signal(_) => "s".to_owned(),
            })
            .collect()
    }

    /// Every placing of two signals among three messages, drawn in one batch.
    #[test]
    fn signals_come_after_the_messages_pushed_before_them() {
        for first in 0..=3 {
            for second in first..=3 {
                let mut drawn = Drawn::new();
                drawn.swap(&mut VecDeque::from([0, 1, 2]));
                let mut signals = signals([first, second]);
                let mut expected = "012".to_owned();
                expected.insert(second as usize, 's');
                expected.insert(first as usize, 's');
                assert_eq!(order(&mut drawn, &mut signals), expected);
            }
        }
    }

    #[test]
    fn positions_go_on_over_batches_and_single_messages() {
        let mut drawn = Drawn::new();
        drawn.skip(1);
        let mut signals = signals([1, 2]);
        drawn.swap(&mut VecDeque::from([1]));
        assert_eq!(order(&mut drawn, &mut signals), "s1s");
        drawn.swap(&mut VecDeque::from([2]));
        assert_eq!(order(&mut drawn, &mut signals), "2");
    }

    #[test]
    fn a_signal_behind_messages_that_were_dropped_still_has_its_turn() {
        let mut drawn = Drawn::new();
        let mut signals = signals([1, 3]);
        drawn.skip(2);
        drawn.swap(&mut VecDeque::from([2, 3]));
        assert_eq!(order(&mut drawn, &mut signals), "s2s3");
    }

    #[test]
    fn a_large_buffer_is_given_back_only_when_empty() {
        let mut drawn = Drawn::new();
        let mut signals = Signals::default();
        drawn.swap(&mut (0..1000).collect());
        drawn.shrink();
        assert_eq!(order(&mut drawn, &mut signals).len(), 2890);
        drawn.shrink();
        assert!(drawn.messages.is_none());
    }
}
