//! Pure: moments reckoned by a counter of the processor's from the last look at the clock.
//!
//! A look takes some 25 ns, the counter a third of that. It is believed for [`REACH`] after a look and no longer, and only as long as it
//! has kept time with the clock between this thread's last looks: not before the first two, and not while the machine has
//! moved, slept, or changed the counter's rate. A look counts only if the counter, read before and after, says that it took no longer than
//! [`LOOK`]: whoever was held up in its course does not know which of both was read when.
use std::time::Duration;

/// How far from a look the counter is followed. If its rate is off by a thousandth, that is a tenth of a microsecond.
const REACH: u64 = 100_000;
/// The longest look that is relied on: what follows from it may be wrong by so much.
const LOOK: u64 = 500;
/// How far looks are apart at least by which clock and counter are compared.
const SPAN: Duration = Duration::from_millis(5);
/// By which part of that they may differ.
const PART: u64 = 1000;

/// How long it is from one reading of the counter to another; 0 if that is none later.
pub(crate) trait Count: Copy {
    fn nanos(self, from: u64, to: u64) -> u64;
}

#[derive(Clone, Copy, Debug)]
struct Look {
    count: u64,
    at: Duration,
}

/// What a thread knows of a clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reckoning {
    /// The clock's number; 0 is none's.
    clock: u32,
    /// The counter has kept time, and `last` may be followed.
    agrees: bool,
    /// There has been a look, so that `mark` is one.
    marked: bool,
    last: Look,
    /// By which the counter is compared next.
    mark: Look,
}

impl Reckoning {
    pub(crate) const NONE: Self = {
        let none = Look { count: 0, at: Duration::ZERO };
        Self { clock: 0, agrees: false, marked: false, last: none, mark: none }
    };

    /// What the clock would say, where the counter stands so; `None` if one has to look.
    #[inline]
    pub(crate) fn told(&self, clock: u32, count: u64, counter: impl Count) -> Option<Duration> {
        if self.clock != clock || !self.agrees || count < self.last.count {
            return None;
        }
        let since = counter.nanos(self.last.count, count);
        if since > REACH {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is within reach")]
        let since = Duration::new(0, since as u32);
        Some(self.last.at.saturating_add(since))
    }

    /// A look at the clock, and where the counter stood before and after.
    pub(crate) fn look(&mut self, clock: u32, before: u64, at: Duration, after: u64, counter: impl Count) {
        if self.clock != clock {
            *self = Self { clock, ..Self::NONE };
        }
        if after < before || counter.nanos(before, after) > LOOK {
            // The last one is still good for what it was good for.
            return;
        }
        self.last = Look { count: after, at };
        if !self.marked {
            (self.mark, self.marked) = (self.last, true);
            return;
        }
        let passed = at.saturating_sub(self.mark.at);
        if passed >= SPAN {
            let passed = crate::clock::nanos(passed);
            let counted = counter.nanos(self.mark.count, after);
            self.agrees = counted.abs_diff(passed) <= passed / PART;
            self.mark = self.last;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const CLOCK: u32 = 7;

    /// A counter of so many counts a microsecond.
    #[derive(Clone, Copy)]
    struct Per(u64);

    impl Count for Per {
        fn nanos(self, from: u64, to: u64) -> u64 {
            to.saturating_sub(from) * 1000 / self.0
        }
    }

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// That has looked twice, 5 ms apart, when the counter kept time; the last look at 6 ms.
    fn settled() -> Reckoning {
        let mut known = Reckoning::NONE;
        known.look(CLOCK, 2000, us(1000), 2000, Per(2));
        known.look(CLOCK, 12_000, us(6000), 12_000, Per(2));
        known
    }

    #[test]
    fn the_counter_is_followed_from_a_look_for_as_long_as_it_reaches() {
        let known = settled();
        assert_eq!(known.told(CLOCK, 12_000, Per(2)), Some(us(6000)));
        assert_eq!(known.told(CLOCK, 12_101, Per(2)), Some(Duration::from_nanos(6_050_500)));
        assert_eq!(known.told(CLOCK, 12_200, Per(2)), Some(us(6100)));
        assert_eq!(known.told(CLOCK, 12_201, Per(2)), None, "beyond its reach");
        assert_eq!(known.told(CLOCK, 11_999, Per(2)), None, "a counter that goes back");
        assert_eq!(known.told(CLOCK + 1, 12_000, Per(2)), None, "another runtime's clock");
    }

    #[test]
    fn nothing_is_believed_before_the_counter_has_kept_time_for_a_while() {
        let mut known = Reckoning::NONE;
        assert_eq!(known.told(CLOCK, 0, Per(2)), None);
        for look in 0..50 {
            known.look(CLOCK, 200 * look, us(100 * look), 200 * look, Per(2));
            assert_eq!(known.told(CLOCK, 200 * look, Per(2)), None, "after {look} looks");
        }
        known.look(CLOCK, 10_000, us(5000), 10_000, Per(2));
        assert_eq!(known.told(CLOCK, 10_020, Per(2)), Some(us(5010)));
    }

    #[test]
    fn a_counter_whose_rate_has_changed_is_not_believed_until_it_keeps_time_again() {
        let mut known = settled();
        // It counts a hundredth more from here on; the machine slept for a second on the way.
        known.look(CLOCK, 22_100, us(11_000), 22_100, Per(2));
        assert_eq!(known.told(CLOCK, 22_100, Per(2)), None);
        known.look(CLOCK, 2_022_100, us(16_000), 2_022_100, Per(2));
        assert_eq!(known.told(CLOCK, 2_022_100, Per(2)), None);
        known.look(CLOCK, 2_032_100, us(21_000), 2_032_100, Per(2));
        assert_eq!(known.told(CLOCK, 2_032_102, Per(2)), Some(us(21_001)));
    }

    #[test]
    fn a_look_that_took_long_is_not_relied_on() {
        let mut known = settled();
        // Held up for 30 us: what the clock has said may be as old.
        known.look(CLOCK, 12_010, us(6005), 12_070, Per(2));
        assert_eq!(known.told(CLOCK, 12_080, Per(2)), Some(us(6040)), "from the look before");
        known.look(CLOCK, 12_070, us(6035), 12_071, Per(2));
        assert_eq!(known.told(CLOCK, 12_081, Per(2)), Some(us(6040)), "half a microsecond of it is");
        known.look(CLOCK, 12_080, us(6040), 12_070, Per(2));
        assert_eq!(known.told(CLOCK, 12_081, Per(2)), Some(us(6040)), "nor one in which the counter went back");
    }

    #[test]
    fn another_clock_is_learned_anew() {
        let mut known = settled();
        known.look(CLOCK + 1, 12_100, us(3), 12_100, Per(2));
        assert_eq!(known.told(CLOCK, 12_100, Per(2)), None);
        assert_eq!(known.told(CLOCK + 1, 12_100, Per(2)), None, "nothing of the other's is taken for its own");
    }
}
