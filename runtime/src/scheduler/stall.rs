//! Pure: when a worker counts as stuck: its poll counter is looked at now and then, and time is an argument.
//!
//! A worker stands still as long as two looks see the same poll. After half of the limit a spare thread relieves it: then
//! nobody has waited for longer than three quarters of the limit when it is told to come, and a quarter is left for its coming. After
//! all of the limit it is reported; once for each stall.

/// What is seen of a worker at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Polls that it has ended.
    pub(crate) polls: u64,
    /// The process in its poll, as a word, or 0.
    pub(crate) polled: u64,
    pub(crate) asleep: bool,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It gets on, or sleeps.
    Moves,
    /// It stands still.
    Still {
        /// It is to be relieved. Said until it has been ([`Standstill::relieved`]).
        relieve: bool,
        /// It is to be reported; it has stood still for so many nanoseconds at least. Said once.
        report: Option<u64>,
    },
    /// It has been reported, and gets on again after so many nanoseconds.
    Over(u64),
}

/// Between two looks. A stall that begins right after one is seen at the next, and counts from then: the fourth part keeps relief within
/// three quarters of the limit, and leaves the rest to the system, which has to let both overseer and spare thread run.
pub(crate) fn interval(limit: u64) -> u64 {
    limit.div_ceil(4)
}

/// What is known of one worker.
pub(crate) struct Standstill {
    sample: Sample,
    relieved: bool,
    reported: bool,
    /// Since when it stands still.
    since: u64,
    looked: u64,
    /// Of that, the time in which it was looked at often enough.
    counted: u64,
}

impl Standstill {
    pub(crate) fn new(sample: Sample, now: u64) -> Self {
        Self { sample, relieved: false, reported: false, since: now, looked: now, counted: 0 }
    }

    /// One more look. Looks are due every [`interval`]; of a longer gap that much counts: then the one who looks was held
    /// up, and the worker may have been as well.
    pub(crate) fn look(&mut self, sample: Sample, now: u64, limit: u64) -> Finding {
        let stood = now.saturating_sub(self.since);
        if sample.asleep || sample != self.sample {
            let finding = if self.reported { Finding::Over(stood) } else { Finding::Moves };
            *self = Self::new(sample, now);
            return finding;
        }
        self.counted = self.counted.saturating_add(now.saturating_sub(self.looked).min(interval(limit)));
        self.looked = now;
        let report = self.counted >= limit && !self.reported;
        self.reported |= report;
        Finding::Still { relieve: self.counted >= limit / 2 && !self.relieved, report: report.then_some(stood) }
    }

    /// Somebody stands in for it.
    pub(crate) fn relieved(&mut self) {
        self.relieved = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 20;
    const STILL: Finding = Finding::Still { relieve: false, report: None };
    const RELIEVE: Finding = Finding::Still { relieve: true, report: None };

    fn busy(polls: u64) -> Sample {
        Sample { polls, polled: 7, asleep: false }
    }

    fn report(after: u64) -> Finding {
        Finding::Still { relieve: false, report: Some(after) }
    }

    /// What is found when each relief succeeds.
    fn findings(looks: &[(u64, Sample)]) -> Vec<Finding> {
        let mut standstill = Standstill::new(busy(0), 0);
        let look = |(now, sample): &(u64, Sample)| {
            let finding = standstill.look(*sample, *now, LIMIT);
            if finding == RELIEVE {
                standstill.relieved();
            }
            finding
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn one_that_stands_still_is_relieved_then_reported_once_then_over() {
        let looks =
            [(5, busy(0)), (9, busy(0)), (10, busy(0)), (15, busy(0)), (20, busy(0)), (25, busy(1)), (26, busy(1))];
        assert_eq!(findings(&looks), [STILL, STILL, RELIEVE, STILL, report(20), Finding::Over(25), STILL]);
    }

    #[test]
    fn one_that_gets_on_or_sleeps_is_left_alone() {
        let asleep = Sample { polls: 2, polled: 0, asleep: true };
        let looks = [(5, busy(1)), (10, busy(2)), (15, asleep), (20, asleep), (100, asleep), (105, busy(3))];
        assert_eq!(findings(&looks), [Finding::Moves; 6]);
        // Relieved only: nothing was told, and so nothing is over.
        assert_eq!(findings(&[(5, busy(0)), (10, busy(0)), (11, busy(1))]), [STILL, RELIEVE, Finding::Moves]);
    }

    #[test]
    fn a_second_stall_is_reported_again() {
        let looks: Vec<_> = (1..=9).map(|look| (5 * look, busy(u64::from(look > 4)))).collect();
        let second = [Finding::Over(25), STILL, RELIEVE, STILL, report(20)];
        assert_eq!(findings(&looks), [&[STILL, RELIEVE, STILL, report(20)][..], &second].concat());
    }

    #[test]
    fn without_anybody_to_relieve_it_each_look_asks_again() {
        let mut standstill = Standstill::new(busy(0), 0);
        let found = [5, 10, 15, 20, 25].map(|now| standstill.look(busy(0), now, LIMIT));
        let reported = Finding::Still { relieve: true, report: Some(20) };
        assert_eq!(found, [STILL, RELIEVE, RELIEVE, reported, RELIEVE]);
    }

    #[test]
    fn a_worker_in_no_poll_that_does_not_sleep_either_stands_still() {
        let elsewhere = Sample { polls: 1, polled: 0, asleep: false };
        assert_eq!(findings(&[(1, elsewhere), (6, elsewhere), (11, elsewhere)]), [Finding::Moves, STILL, RELIEVE]);
    }

    #[test]
    fn of_a_gap_in_the_looks_one_interval_counts() {
        let looks = [(1000, busy(0)), (1004, busy(0)), (1005, busy(0)), (3000, busy(0)), (4000, busy(0))];
        assert_eq!(findings(&looks), [STILL, STILL, RELIEVE, STILL, report(4000)]);
    }
}
