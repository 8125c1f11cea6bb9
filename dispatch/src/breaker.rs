//! Pure: the group's breaker: when half of all that is tried crashes, whatever it is, only one at a time is tried.
use crate::limits::{BREAKER_MESSAGES, BREAKER_WINDOW};
use std::collections::VecDeque;

/// Looks back on the last finished deliveries. Open means: one probe at a time.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// For each of the last deliveries: the message, if it crashed its consumer.
    finished: VecDeque<Option<u64>>,
    crashes: usize,
    open: bool,
    probing: bool,
}

/// Whether a delivery may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It may.
    Free,
    /// It may, as the probe; [`Breaker::finished`] is to be told so.
    Probe,
    /// It has to wait for the probe that is out.
    Wait,
}

impl Breaker {
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Asks for one delivery. After [`Pass::Probe`] others wait until it is finished.
    pub(crate) fn pass(&mut self) -> Pass {
        match (self.open, self.probing) {
            (false, _) => Pass::Free,
            (true, true) => Pass::Wait,
            (true, false) => {
                self.probing = true;
                Pass::Probe
            }
        }
    }

    /// What [`Breaker::pass`] would say to a delivery now.
    pub(crate) fn lets_pass(&self) -> bool {
        !(self.open && self.probing)
    }

    /// A probe came to nothing that tells anything.
    pub(crate) fn probe_lost(&mut self) {
        self.probing = false;
    }

    /// A delivery is finished: with a blamed crash, or in any other way. A probe that did not crash closes the breaker.
    pub(crate) fn finished(&mut self, message: u64, crashed: bool, probe: bool) {
        if probe {
            self.probing = false;
            if !crashed {
                *self = Self::default();
                return;
            }
        }
        if !crashed && self.crashes == 0 && self.finished.len() == BREAKER_WINDOW {
            return; // One good delivery for another: the usual case, at no cost.
        }
        if self.finished.len() == BREAKER_WINDOW && self.finished.pop_front().flatten().is_some() {
            self.crashes -= 1;
        }
        self.finished.push_back(crashed.then_some(message));
        self.crashes += usize::from(crashed);
        if self.finished.len() == BREAKER_WINDOW && 2 * self.crashes >= BREAKER_WINDOW && self.messages() {
            self.open = true;
        }
    }

    /// Whether enough different messages crashed.
    fn messages(&self) -> bool {
        let mut different: Vec<u64> = self.finished.iter().flatten().copied().collect();
        different.sort_unstable();
        different.dedup();
        different.len() >= BREAKER_MESSAGES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of crashes, over every number of messages: a table of all cases around both thresholds.
    #[test]
    fn it_opens_at_half_of_twenty_over_three_messages() {
        for crashes in 0..=BREAKER_WINDOW {
            for messages in 1..=5u64 {
                let mut breaker = Breaker::default();
                for n in 0..BREAKER_WINDOW {
                    breaker.finished(n as u64 % messages, n < crashes, false);
                }
                let different = (crashes as u64).min(messages);
                let expected = 2 * crashes >= BREAKER_WINDOW && different >= BREAKER_MESSAGES as u64;
                assert_eq!(breaker.is_open(), expected, "{crashes} crashes of {messages} messages");
            }
        }
    }

    #[test]
    fn good_deliveries_push_crashes_out_of_the_window() {
        let mut breaker = Breaker::default();
        (0..9).for_each(|n| breaker.finished(n, true, false));
        (0..11).for_each(|n| breaker.finished(n, false, false));
        assert!(!breaker.is_open(), "nine of twenty");
        (0..30).for_each(|n| breaker.finished(n, false, false));
        (0..9).for_each(|n| breaker.finished(n, true, false));
        assert!(!breaker.is_open(), "the old crashes are forgotten");
        breaker.finished(9, true, false);
        assert!(breaker.is_open());
    }

    #[test]
    fn open_it_lets_one_probe_out_at_a_time_and_a_good_one_closes_it() {
        let mut breaker = Breaker::default();
        (0..20).for_each(|n| breaker.finished(n, true, false));
        assert_eq!((breaker.pass(), breaker.pass(), breaker.lets_pass()), (Pass::Probe, Pass::Wait, false));
        breaker.finished(1, false, false);
        assert!(breaker.is_open(), "one that had been out before is no probe");
        breaker.finished(2, true, true);
        assert_eq!((breaker.is_open(), breaker.pass()), (true, Pass::Probe));
        breaker.probe_lost();
        assert_eq!(breaker.pass(), Pass::Probe);
        breaker.finished(3, false, true);
        assert_eq!((breaker.is_open(), breaker.pass(), breaker.pass()), (false, Pass::Free, Pass::Free));
    }
}
