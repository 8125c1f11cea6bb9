//! Pure: the identity of a process.
use std::fmt;
use std::hash::{Hash, Hasher};

/// Names one process for ever: a slot of its runtime's table, how often that slot had been used, and the runtime.
///
/// A pid is `Copy` and says nothing about whether its process still lives. It is never given to a second process: the
/// generation grows with each use of a slot, and a slot whose generation is used up is retired. Pids of two runtimes
/// differ by the runtime's random 32-bit tag, so that one runtime does not take another's pid for its own (but for the
/// chance of 2⁻³² that two tags are equal).
///
/// It prints as `index.generation`, which is unique within its runtime.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pid {
    index: u32,
    generation: u32,
    runtime: u32,
}

impl Pid {
    pub(crate) fn new(index: u32, generation: u32, runtime: u32) -> Self {
        Self { index, generation, runtime }
    }

    pub(crate) fn index(self) -> u32 {
        self.index
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }

    pub(crate) fn runtime(self) -> u32 {
        self.runtime
    }

    /// The pid without its runtime's tag, in one word. Generations begin at 1, so a word is never 0.
    pub(crate) fn word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The pid that `word` was made of, in the runtime with this tag; 0 stands for no process.
    pub(crate) fn from_word(word: u64, runtime: u32) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
        (word != 0).then_some(Self { index: word as u32, generation: (word >> 32) as u32, runtime })
    }
}

/// By its word: two runtimes have few processes that anybody holds in one table.
impl Hash for Pid {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.word());
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_index_and_generation() {
        let pid = Pid::new(7, 3, 99);
        assert_eq!(Pid::from_word(pid.word(), 99), Some(pid));
        assert_eq!(Pid::from_word(0, 99), None);
        assert_eq!(pid.to_string(), "7.3");
    }
}
