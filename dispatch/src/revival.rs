//! Pure: the health of one consumer: when it is ejected for its failures, and how long it waits before it is started again.
use crate::limits::{EJECT_AFTER, EJECT_CAP, EJECT_FIRST, GIVE_UP_AFTER, REVIVE_CAP, REVIVE_FIRST, YOUNG};
use crate::retry::{doubled, jitter};
use std::time::Duration;

/// Counts what a consumer does, across its restarts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// Deliveries that failed or crashed, in a row.
    failures: u32,
    ejections: u32,
    /// Ends in a row that are charged to the consumer itself.
    charged: u32,
    /// Ends since the last completion that were not charged: these are spread, too.
    crashes: u32,
}

/// How one process of a consumer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its start function failed or panicked.
    AtStart,
    /// It was up that long. It was killed by somebody, or ended by itself.
    After { lived: Duration, completed: bool, started: bool, killed: bool },
}

/// What follows the end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revival {
    /// Another is started after that time.
    After(Duration),
    /// The consumer is given up.
    GiveUp,
}

/// Whether an end is charged to the consumer, rather than to the message it had.
pub(crate) fn is_charged(ended: Ended) -> bool {
    match ended {
        Ended::AtStart => true,
        Ended::After { lived, completed, started, killed } => !killed && !completed && (!started || lived < YOUNG),
    }
}

impl Health {
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn charged(&self) -> u32 {
        self.charged
    }

    /// Whether nothing is counted against it.
    pub(crate) fn is_sound(&self) -> bool {
        let Self { failures, ejections, charged, crashes } = self;
        failures | ejections | charged | crashes == 0
    }

    pub(crate) fn completed(&mut self) {
        *self = Self::default();
    }

    /// A delivery failed or crashed. Says for how long the consumer is to be ejected, if it is.
    #[must_use]
    pub(crate) fn failed(&mut self, chance: u64) -> Option<Duration> {
        self.failures += 1;
        if self.failures < EJECT_AFTER {
            return None;
        }
        self.failures = 0;
        self.ejections += 1;
        let longest = doubled(EJECT_FIRST, self.ejections - 1, EJECT_CAP);
        Some(longest / 2 + jitter(longest / 2, chance))
    }

    /// A process of it has ended, not on request.
    #[must_use]
    pub(crate) fn ended(&mut self, ended: Ended, chance: u64) -> Revival {
        if !is_charged(ended) {
            // A crash that a message is blamed for: at once, unless it goes on and on.
            self.charged = 0;
            self.crashes += 1;
            let doublings = self.crashes.checked_sub(EJECT_AFTER);
            let longest = doublings.map_or(Duration::ZERO, |times| doubled(REVIVE_FIRST, times, YOUNG));
            return Revival::After(jitter(longest, chance));
        }
        self.charged += 1;
        if self.charged >= GIVE_UP_AFTER {
            return Revival::GiveUp;
        }
        let doublings = self.charged.checked_sub(2);
        let longest = doublings.map_or(Duration::ZERO, |times| doubled(REVIVE_FIRST, times, REVIVE_CAP));
        Revival::After(jitter(longest, chance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_to_a_consumer() {
        assert!(is_charged(Ended::AtStart));
        for young in [true, false] {
            for completed in [true, false] {
                for started in [true, false] {
                    for killed in [true, false] {
                        let lived = if young { YOUNG / 2 } else { YOUNG };
                        let expected = !killed && !completed && (!started || young);
                        let ended = Ended::After { lived, completed, started, killed };
                        assert_eq!(is_charged(ended), expected, "{ended:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn ten_charged_ends_in_a_row_are_the_last() {
        let mut health = Health::default();
        let pauses: Vec<_> = (0..10).map(|_| health.ended(Ended::AtStart, u64::MAX)).collect();
        let millis = |n| Revival::After(Duration::from_millis(n));
        let expected = [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800].map(millis);
        assert_eq!((&pauses[..9], pauses[9]), (&expected[..], Revival::GiveUp));
        let mut health = Health::default();
        for _ in 0..9 {
            let _ = health.ended(Ended::AtStart, 0);
        }
        health.completed();
        assert_eq!(health.ended(Ended::AtStart, 0), Revival::After(Duration::ZERO), "a completion counts anew");
    }

    #[test]
    fn crashes_that_messages_are_blamed_for_never_give_a_consumer_up() {
        let mut health = Health::default();
        let crash = Ended::After { lived: YOUNG, completed: true, started: true, killed: false };
        let pauses: Vec<_> = (0..1000).map(|_| health.ended(crash, u64::MAX)).collect();
        assert_eq!(pauses[..4], [Revival::After(Duration::ZERO); 4]);
        assert!(pauses.iter().all(|pause| matches!(pause, Revival::After(time) if *time <= YOUNG)));
    }

    #[test]
    fn five_failures_in_a_row_eject_for_a_time_that_doubles() {
        let mut health = Health::default();
        for round in 0..12 {
            let ejected: Vec<_> = (0..5).map(|_| health.failed(0)).collect();
            let half = doubled(EJECT_FIRST, round, EJECT_CAP) / 2;
            assert_eq!(ejected, [None, None, None, None, Some(half)]);
        }
        assert_eq!(health.failed(0), None);
        health.completed();
        assert_eq!((health.failures(), health.charged()), (0, 0));
    }
}
