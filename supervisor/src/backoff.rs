//! Pure: how long a child that keeps failing waits before it is started again.
use crate::limits;
use crate::spec::SpecError;
use std::sync::Arc;
use std::time::Duration;

/// How a child is restarted that has this *instead of* its supervisor's intensity.
///
/// A child that was up for `healthy_after` and then fails is started again at once. A start that fails, or a child that
/// fails sooner, is an *unhealthy start*. After the first in a row it is started again at once, after the second within
/// `first` (100 ms), after the third within twice that, and so on up to `cap` (30 s); how long exactly is drawn anew each
/// time between nothing and that (full jitter), so that children which failed together do not come back together. After
/// `give_up_after` of them in a row (10) the child is given up, and with it the supervisor, as if its intensity were
/// exceeded; or only the child, see [`Backoff::leave_failed`].
///
/// Under [`Strategy::OneForAll`](crate::Strategy::OneForAll) and
/// [`Strategy::RestForOne`](crate::Strategy::RestForOne) the siblings that are restarted with the child wait with it. Who
/// restarts it by hand does not wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Backoff {
    pub(crate) first: Duration,
    pub(crate) cap: Duration,
    pub(crate) healthy_after: Duration,
    pub(crate) give_up_after: u32,
    pub(crate) escalates: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: limits::BACKOFF_FIRST,
            cap: limits::BACKOFF_CAP,
            healthy_after: limits::HEALTHY_AFTER,
            give_up_after: limits::GIVE_UP_AFTER,
            escalates: true,
        }
    }
}

/// What follows an unhealthy or a healthy start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    None,
    For(Duration),
    GiveUp,
}

impl Backoff {
    /// The longest delay after the second unhealthy start in a row; it doubles from there.
    pub fn first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// What no delay exceeds.
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// How long the child has to be up before its failures are counted anew. Not zero.
    pub fn healthy_after(mut self, up: Duration) -> Self {
        self.healthy_after = up;
        self
    }

    /// After how many unhealthy starts in a row the child is given up. One at least.
    pub fn give_up_after(mut self, starts: u32) -> Self {
        self.give_up_after = starts;
        self
    }

    /// A child that is given up is left in the state *failed*, and its supervisor goes on. It can be restarted by hand.
    pub fn leave_failed(mut self) -> Self {
        self.escalates = false;
        self
    }

    pub(crate) fn validate(&self, id: &Arc<str>) -> Result<(), SpecError> {
        let id = || Arc::clone(id);
        if self.give_up_after == 0 {
            return Err(SpecError::GiveUpAfterNone(id()));
        }
        if self.healthy_after.is_zero() {
            return Err(SpecError::HealthyAtOnce(id()));
        }
        if self.cap < self.first {
            return Err(SpecError::CapBelowFirst(id()));
        }
        Ok(())
    }

    /// What follows when so many starts in a row were unhealthy. `chance` is any number.
    pub(crate) fn pause(&self, unhealthy: u32, chance: u64) -> Pause {
        if unhealthy >= self.give_up_after {
            return Pause::GiveUp;
        }
        let Some(doublings) = unhealthy.checked_sub(2) else { return Pause::None };
        let doubled = 1u32.checked_shl(doublings).and_then(|times| self.first.checked_mul(times));
        let longest = doubled.map_or(self.cap, |doubled| doubled.min(self.cap));
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product: a number below `nanos + 1`, evenly, without a remainder's bias.
        let drawn = (u128::from(chance) * (u128::from(nanos) + 1)) >> 64;
        Pause::For(Duration::from_nanos(u64::try_from(drawn).unwrap_or(nanos)))
    }
}

/// Numbers that look random, from a seed: chance as an argument (the generator is splitmix64).
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_longest_delays_double_up_to_the_cap() {
        let backoff = Backoff::default();
        let longest: Vec<Pause> = (0..11).map(|unhealthy| backoff.pause(unhealthy, u64::MAX)).collect();
        let millis = |millis| Pause::For(Duration::from_millis(millis));
        let mut expected = vec![Pause::None, Pause::None];
        expected.extend([100, 200, 400, 800, 1600, 3200, 6400, 12_800].map(millis));
        expected.push(Pause::GiveUp);
        assert_eq!(longest, expected);
        let patient = backoff.give_up_after(u32::MAX);
        assert_eq!(patient.pause(2000, u64::MAX), millis(30_000));
        assert_eq!(patient.pause(2000, 0), millis(0));
    }

    proptest! {
        #[test]
        fn a_delay_is_within_its_bounds_and_takes_the_whole_range(unhealthy in 2..60u32, chance: u64) {
            let backoff = Backoff::default().give_up_after(u32::MAX);
            let (Pause::For(least), Pause::For(drawn), Pause::For(longest)) =
                (backoff.pause(unhealthy, 0), backoff.pause(unhealthy, chance), backoff.pause(unhealthy, u64::MAX))
            else { panic!("a delay") };
            prop_assert!(least.is_zero() && drawn <= longest && longest <= backoff.cap);
            let share = u128::from(chance) * 1000 / u128::from(u64::MAX);
            let drawn_share = drawn.as_nanos() * 1000 / longest.as_nanos();
            prop_assert!(drawn_share.abs_diff(share) <= 1);
        }
    }
}
