//! Pure: room that is kept for messages which are still to come, and those who wait for such room.
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::time::Duration;

/// A slot, or one who waits for it: the number stays the same. Given in order, and never twice.
pub(crate) type SlotNumber = NonZeroU64;

/// The slots that are held, each until a certain time, and the line of those who wait for one.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    held: BTreeMap<SlotNumber, Duration>,
    line: BTreeSet<SlotNumber>,
    last: u64,
}

/// How a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    Held,
    Waits,
    /// It was spent or given back, its time is over, or its group is closed.
    Gone,
}

impl Slots {
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Room that is not for others: what is held, and what those in line are to have before anybody else.
    pub(crate) fn promised(&self) -> usize {
        self.held.len() + self.line.len()
    }

    fn number(&mut self) -> SlotNumber {
        self.last += 1;
        SlotNumber::new(self.last).unwrap_or(SlotNumber::MAX)
    }

    /// There is room.
    pub(crate) fn take(&mut self, until: Duration) -> SlotNumber {
        let number = self.number();
        self.held.insert(number, until);
        number
    }

    /// There is no room.
    pub(crate) fn wait(&mut self) -> SlotNumber {
        let number = self.number();
        self.line.insert(number);
        number
    }

    /// The first in line has its slot now.
    pub(crate) fn admit(&mut self, until: Duration) -> Option<SlotNumber> {
        let number = self.line.pop_first()?;
        self.held.insert(number, until);
        Some(number)
    }

    pub(crate) fn state(&self, number: SlotNumber) -> SlotState {
        if self.held.contains_key(&number) {
            SlotState::Held
        } else if self.line.contains(&number) {
            SlotState::Waits
        } else {
            SlotState::Gone
        }
    }

    /// A message comes with the slot; false if that is held no more.
    #[must_use]
    pub(crate) fn spend(&mut self, number: SlotNumber) -> bool {
        self.held.remove(&number).is_some()
    }

    /// Its owner wants it no more, whether it was held or waited for.
    pub(crate) fn give_back(&mut self, number: SlotNumber) {
        self.held.remove(&number);
        self.line.remove(&number);
    }

    /// Those whose time is over are held no more. Returns when the next one's is.
    pub(crate) fn expire(&mut self, now: Duration) -> Duration {
        self.held.retain(|_, until| *until > now);
        self.held.values().min().copied().unwrap_or(Duration::MAX)
    }

    /// Nobody gets one any more.
    pub(crate) fn dismiss(&mut self) -> Vec<SlotNumber> {
        std::mem::take(&mut self.line).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn those_in_line_are_admitted_in_order_and_leave_it_when_they_like() {
        let mut slots = Slots::default();
        let held = slots.take(S(9));
        let line: Vec<_> = (0..3).map(|_| slots.wait()).collect();
        assert_eq!((slots.held(), slots.waiting(), slots.promised()), (1, 3, 4));
        slots.give_back(line[1]);
        assert_eq!([slots.admit(S(9)), slots.admit(S(9)), slots.admit(S(9))], [Some(line[0]), Some(line[2]), None]);
        assert_eq!(
            line.iter().map(|n| slots.state(*n)).collect::<Vec<_>>(),
            [SlotState::Held, SlotState::Gone, SlotState::Held]
        );
        assert!(slots.spend(held) && !slots.spend(held), "once");
        slots.give_back(line[0]);
        assert_eq!((slots.promised(), slots.state(line[0])), (1, SlotState::Gone));
    }

    #[test]
    fn a_slot_is_held_until_its_time_is_over() {
        let mut slots = Slots::default();
        let (long, short) = (slots.take(S(9)), slots.take(S(4)));
        assert_eq!((slots.expire(S(3)), slots.held()), (S(4), 2));
        assert_eq!(
            (slots.expire(S(4)), slots.state(short), slots.state(long)),
            (S(9), SlotState::Gone, SlotState::Held)
        );
        assert!(!slots.spend(short));
        assert_eq!((slots.expire(S(10)), slots.held()), (Duration::MAX, 0));
    }

    #[test]
    fn who_is_dismissed_waits_no_more() {
        let mut slots = Slots::default();
        let (held, waits) = (slots.take(S(1)), slots.wait());
        assert_eq!(slots.dismiss(), [waits]);
        assert_eq!((slots.state(held), slots.state(waits)), (SlotState::Held, SlotState::Gone));
    }
}
