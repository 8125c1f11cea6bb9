//! Pure: random numbers that are the same on every machine.
//!
//! The generator is PCG-XSH-RR 128/64 as `oorandom` has it. What a seed means depends on it and on how the draws below use it:
//! a change of either is a change of what every seed means, and goes into the changelog. The test at the end holds both.
use oorandom::Rand64;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// A source of random numbers ([`Context::rng`](crate::Context::rng)).
///
/// Good enough to spread load, to back off and to test with; not for secrets: who sees a few numbers may guess the next.
/// All draws are made with integers, so that a seed gives the same numbers on every machine.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::Rng;
///
/// let (mut one, mut other) = (Rng::from_seed(7), Rng::from_seed(7));
/// assert_eq!(one.below(1_000_000), other.below(1_000_000));
/// ```
#[derive(Clone)]
pub struct Rng(Rand64);

impl Rng {
    /// The numbers that belong to this seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self::stream(seed, 0)
    }

    /// One of several independent sequences that belong to a seed.
    pub(crate) fn stream(seed: u64, number: u64) -> Self {
        Self(Rand64::new_inc(u128::from(mix(seed)), u128::from(mix(number))))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.rand_u64()
    }

    /// A number below `bound`, each as likely as the other; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound < 2 { 0 } else { self.0.rand_range(0..bound) }
    }

    /// A place in a slice of so many elements.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// True `part` times `of` so many.
    pub fn chance(&mut self, part: u64, of: u64) -> bool {
        self.below(of) < part
    }

    /// A duration of the range, to a nanosecond; its start if it is empty.
    pub fn duration(&mut self, range: Range<Duration>) -> Duration {
        let span = range.end.saturating_sub(range.start);
        range.start + Duration::from_nanos(self.below(crate::clock::nanos(span)))
    }

    /// One of them; `None` if there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.place(of.len())) }
    }

    /// Puts them into an order, each order as likely as the other.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (2..=all.len()).rev() {
            all.swap(end - 1, self.place(end));
        }
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

/// Spreads the bits of a number over all of its word (the last step of splitmix64).
pub(crate) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, every seed that anybody has written down means something else now.
    #[test]
    fn seeds_mean_what_they_meant() {
        let mut rng = Rng::from_seed(42);
        let numbers: Vec<u64> = (0..4).map(|_| rng.number()).collect();
        let mut order = [0, 1, 2, 3, 4, 5, 6, 7];
        rng.shuffle(&mut order);
        assert_eq!((numbers, order), (SEED_42.to_vec(), SEED_42_ORDER));
    }

    const SEED_42: [u64; 4] = [10460163344462609413, 12451997388676072224, 2022160937172153325, 3648096431555737599];
    const SEED_42_ORDER: [u8; 8] = [1, 2, 0, 5, 3, 4, 6, 7];

    #[test]
    fn draws_stay_in_their_ranges_and_reach_their_ends() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [0; 3];
        (0..300).for_each(|_| seen[rng.place(3)] += 1);
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        let range = Duration::from_millis(2)..Duration::from_millis(3);
        assert!((0..100).all(|_| range.contains(&rng.duration(range.clone()))));
        assert_eq!(rng.duration(range.start..range.start), range.start);
        assert_eq!(rng.pick::<u8>(&[]), None);
        assert!(!rng.chance(0, 5) && rng.chance(5, 5));
    }
}
