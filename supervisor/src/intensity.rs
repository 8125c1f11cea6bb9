//! Pure: how many restarts a supervisor carries out within a period.
use std::collections::VecDeque;
use std::time::Duration;

/// The stamps of the last restarts. OTP keeps all of the window in a list and measures it at each restart; the last
/// `limit` of them are enough, and make it constant work: one more is too many exactly if the oldest of these is still
/// within the period.
#[derive(Debug)]
pub(crate) struct Intensity {
    limit: usize,
    period: Duration,
    stamps: VecDeque<Duration>,
}

impl Intensity {
    pub(crate) fn new(limit: u32, period: Duration) -> Self {
        Self { limit: limit as usize, period, stamps: VecDeque::new() }
    }

    /// Counts a restart; false if that is one too many. An entry of exactly the period's age is still within it.
    #[must_use]
    pub(crate) fn admit(&mut self, now: Duration) -> bool {
        if self.stamps.len() == self.limit {
            match self.stamps.front() {
                Some(oldest) if now.saturating_sub(*oldest) > self.period => drop(self.stamps.pop_front()),
                _ => return false,
            }
        }
        self.stamps.push_back(now);
        true
    }

    /// Restarts within the period, and how many are allowed.
    pub(crate) fn used(&self, now: Duration) -> (usize, usize) {
        let within = |at: &Duration| now.saturating_sub(*at) <= self.period;
        let old = self.stamps.partition_point(|at| !within(at));
        (self.stamps.len() - old, self.limit)
    }

    pub(crate) fn period(&self) -> Duration {
        self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As OTP does it, but for its whole seconds: all stamps, those that are too old dropped, then counted.
    fn by_the_book(limit: usize, period: Duration, at: &[Duration]) -> Option<usize> {
        let mut window: Vec<Duration> = Vec::new();
        at.iter().position(|now| {
            window.retain(|stamp| *now - *stamp <= period);
            window.push(*now);
            window.len() > limit
        })
    }

    #[test]
    fn an_intensity_of_n_lets_n_through_and_not_one_more() {
        for limit in 0..5 {
            let mut intensity = Intensity::new(limit, Duration::from_secs(5));
            let second = Duration::from_secs(7);
            assert!((0..limit).all(|_| intensity.admit(second)));
            assert_eq!(intensity.used(second), (limit as usize, limit as usize));
            assert!(!intensity.admit(second));
        }
    }

    #[test]
    fn a_stamp_of_exactly_the_periods_age_counts() {
        let second = Duration::from_secs(1);
        for (later, admitted) in [(5 * second, false), (5 * second + Duration::from_nanos(1), true)] {
            let mut intensity = Intensity::new(1, 5 * second);
            assert!(intensity.admit(second));
            assert_eq!(intensity.admit(second + later), admitted);
        }
    }

    proptest! {
        #[test]
        fn gives_up_when_the_list_of_all_stamps_says_so(
            limit in 0..6u32,
            period in 1..20u64,
            gaps in proptest::collection::vec(0..12u64, 1..60),
        ) {
            let period = Duration::from_nanos(period);
            let at: Vec<Duration> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(Duration::from_nanos(*at)) }).collect();
            let mut intensity = Intensity::new(limit, period);
            let given_up = at.iter().position(|now| !intensity.admit(*now));
            prop_assert_eq!(given_up, by_the_book(limit as usize, period, &at));
        }
    }
}
