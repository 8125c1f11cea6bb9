//! Pure: how long a message waits before it is tried again, and drawing at random within bounds.
use std::time::Duration;

/// A number below `longest` and itself, evenly; `chance` is any number.
pub(crate) fn jitter(longest: Duration, chance: u64) -> Duration {
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    let drawn = (u128::from(chance) * (u128::from(nanos) + 1)) >> 64;
    Duration::from_nanos(u64::try_from(drawn).unwrap_or(nanos))
}

/// `first`, doubled so often, but no more than `cap`.
pub(crate) fn doubled(first: Duration, times: u32, cap: Duration) -> Duration {
    let factor = 1u32.checked_shl(times);
    factor.and_then(|factor| first.checked_mul(factor)).map_or(cap, |long| long.min(cap))
}

/// The jittered delay before a retry, when so many were delayed before.
pub(crate) fn delay(first: Duration, cap: Duration, delayed: u32, chance: u64) -> Duration {
    jitter(doubled(first, delayed, cap), chance)
}

/// Numbers that look random, from a seed: chance as an argument (the generator is splitmix64).
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let drawn = (u128::from(self.draw()) * bound as u128) >> 64;
        usize::try_from(drawn).unwrap_or(0)
    }
}

/// Spreads the bits of a number over all of it.
pub(crate) fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{RETRY_CAP, RETRY_FIRST};

    #[test]
    fn delays_double_up_to_the_cap_and_are_drawn_from_all_of_it() {
        for delayed in 0..80 {
            let longest = doubled(RETRY_FIRST, delayed, RETRY_CAP);
            assert_eq!(longest, RETRY_CAP.min(RETRY_FIRST * (1 << delayed.min(16))), "after {delayed}");
            assert_eq!(delay(RETRY_FIRST, RETRY_CAP, delayed, 0), Duration::ZERO);
            assert_eq!(delay(RETRY_FIRST, RETRY_CAP, delayed, u64::MAX), longest);
            assert!(delay(RETRY_FIRST, RETRY_CAP, delayed, u64::MAX / 2) <= longest / 2 + Duration::from_nanos(1));
        }
    }

    #[test]
    fn numbers_below_a_bound_reach_all_of_it() {
        let mut chance = Chance(7);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[chance.below(5)] = true);
        assert_eq!(seen, [true; 5]);
    }
}
