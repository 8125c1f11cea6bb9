//! Pure: a hasher for keys that are numbered in the order in which they come up, such as pids.
//!
//! An ordinary hasher scatters them: in a table of 100 000 each is a page and two lines of the cache of its own, which costs
//! more than all else that is done with it. Under this one, runs of sixteen neighbours stay together, so that sixteen processes that
//! were spawned one after the other, and mostly end so, share these; the runs are scattered. The hasher is fixed, as all of
//! ours are, so that every run is alike.
use std::hash::{BuildHasher, Hasher};

/// How many bits of a key are its place in its run. A table looks at sixteen places at a time.
const RUN: u32 = 4;
const IN_RUN: u64 = (1 << RUN) - 1;
/// Odd, and its bits look random: the fraction of the golden ratio.
const SCATTER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Makes [`NearHasher`]s. Public for the crates above; not for keys that strangers choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct NearBuildHasher;

/// See the head of the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct NearHasher {
    runs: u64,
    place: u64,
}

impl BuildHasher for NearBuildHasher {
    type Hasher = NearHasher;

    fn build_hasher(&self) -> NearHasher {
        NearHasher::default()
    }
}

impl Hasher for NearHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.runs = (self.runs.rotate_left(5) ^ (self.place << (64 - RUN)) ^ (word >> RUN)).wrapping_mul(SCATTER);
        self.place = word & IN_RUN;
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    /// The low bits are where a table begins to look, and the highest seven are what it compares there before it looks at a key,
    /// so these tell neighbours apart.
    #[inline]
    fn finish(&self) -> u64 {
        let scattered = self.runs.rotate_left(32);
        ((scattered & !IN_RUN) | self.place) ^ (self.place << (64 - RUN))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::pid::Pid;
    use indexmap::IndexSet;

    fn hash(index: u32) -> u64 {
        NearBuildHasher.hash_one(Pid::new(index, 1, 7))
    }

    #[test]
    fn a_run_stays_together_and_is_told_apart_by_the_highest_bits() {
        for run in [0, 16, 160, 4096, 1 << 20] {
            let places: Vec<u64> = (run..run + 16).map(|index| hash(index) & 0xFFFF).collect();
            assert!(places.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{places:?}");
            let tags: std::collections::BTreeSet<u64> = (run..run + 16).map(|index| hash(index) >> 57).collect();
            assert_eq!(tags.len(), 16);
        }
    }

    /// In the worst case only one of each run is there, or every n-th: none of sixteen places of a table that is half full may be begun at
    /// by many more than have room there.
    #[test]
    fn the_runs_are_scattered() {
        for step in [1, 2, 3, 8, 16, 17, 64, 256, 1000, 1024, 4096, 65_536] {
            let mut begun_at = vec![0_u32; 8192 / 16];
            for n in 0..4096 {
                begun_at[(hash(n * step) & 8191) as usize / 16] += 1;
            }
            let most = begun_at.iter().max().copied();
            assert!(most <= Some(40), "step {step}: {most:?}");
        }
    }

    #[test]
    fn keys_of_several_words_count_as_a_whole() {
        let hashes: IndexSet<u64> =
            (0..64_u64).flat_map(|a| (0..64_u64).map(move |b| NearBuildHasher.hash_one((a, b)))).collect();
        assert_eq!(hashes.len(), 64 * 64);
        let (bytes, others) = (NearBuildHasher.hash_one("abcdefghi"), NearBuildHasher.hash_one("abcdefghj"));
        assert_ne!(bytes, others);
    }
}
