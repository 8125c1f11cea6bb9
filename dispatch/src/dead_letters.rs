//! Pure: messages that nobody could do anything with, kept for people to look at, each with its history.
use crate::outcome::{Attempt, DispatchErrorKind};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A message that was given up.
pub struct DeadLetter<M> {
    /// The dispatch's number or the id it was given.
    pub id: u64,
    /// The message.
    pub message: Arc<M>,
    /// Why it was given up.
    pub kind: DispatchErrorKind,
    /// Its deliveries, oldest first.
    pub attempts: Vec<Attempt>,
    /// When, in the runtime's time.
    pub at: Duration,
    pub(crate) key: Option<u64>,
}

impl<M> Clone for DeadLetter<M> {
    fn clone(&self) -> Self {
        let message = Arc::clone(&self.message);
        Self { id: self.id, message, kind: self.kind, attempts: self.attempts.clone(), at: self.at, key: self.key }
    }
}

impl<M> fmt::Debug for DeadLetter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("DeadLetter");
        debug.field("id", &self.id).field("kind", &self.kind).field("at", &self.at);
        debug.field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

/// The last of them, bounded in number and in bytes: the oldest go first.
pub(crate) struct DeadLetters<M> {
    letters: VecDeque<(DeadLetter<M>, usize)>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
    total: u64,
    poisoned: u64,
}

impl<M> DeadLetters<M> {
    pub(crate) fn new(most: usize, most_bytes: usize) -> Self {
        Self { letters: VecDeque::new(), bytes: 0, most, most_bytes, total: 0, poisoned: 0 }
    }

    /// How many have come since then, and the bytes of all.
    pub(crate) fn since(&self, moment: Duration) -> (usize, usize) {
        let before = self.letters.partition_point(|(letter, _)| letter.at < moment);
        (self.letters.len() - before, self.bytes)
    }

    /// The most that are kept, in number and in bytes.
    pub(crate) fn bounds(&self) -> (usize, usize) {
        (self.most, self.most_bytes)
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    /// All there have been.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Of these, those that crashed or failed too often.
    pub(crate) fn poisoned(&self) -> u64 {
        self.poisoned
    }

    /// Keeps one more; those that have to go come out.
    #[must_use]
    pub(crate) fn push(&mut self, letter: DeadLetter<M>, bytes: usize) -> Vec<DeadLetter<M>> {
        self.total += 1;
        self.poisoned += u64::from(letter.kind == DispatchErrorKind::Poisoned);
        self.bytes += bytes;
        self.letters.push_back((letter, bytes));
        self.shrink()
    }

    /// Takes one back that was taken out and is as dead as it was; those that have to go come out.
    #[must_use]
    pub(crate) fn put_back(&mut self, letter: DeadLetter<M>, bytes: usize) -> Vec<DeadLetter<M>> {
        self.bytes += bytes;
        let at = self.letters.partition_point(|(other, _)| other.at <= letter.at);
        self.letters.insert(at, (letter, bytes));
        self.shrink()
    }

    fn shrink(&mut self) -> Vec<DeadLetter<M>> {
        let mut gone = Vec::new();
        while self.letters.len() > self.most || self.bytes > self.most_bytes && self.letters.len() > 1 {
            let Some((oldest, bytes)) = self.letters.pop_front() else { break };
            self.bytes -= bytes;
            gone.push(oldest);
        }
        gone
    }

    pub(crate) fn list(&self) -> Vec<DeadLetter<M>> {
        self.letters.iter().map(|(letter, _)| letter.clone()).collect()
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.letters.iter().map(|(letter, _)| letter.id).collect()
    }

    /// Takes all out.
    pub(crate) fn take_all(&mut self) -> VecDeque<(DeadLetter<M>, usize)> {
        self.bytes = 0;
        std::mem::take(&mut self.letters)
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, id: u64) -> Option<DeadLetter<M>> {
        let at = self.letters.iter().position(|(letter, _)| letter.id == id)?;
        let (letter, bytes) = self.letters.remove(at)?;
        self.bytes -= bytes;
        Some(letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: u64) -> DeadLetter<()> {
        let kind = DispatchErrorKind::Poisoned;
        DeadLetter { id, message: Arc::new(()), kind, attempts: Vec::new(), at: Duration::ZERO, key: None }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let mut letters = DeadLetters::new(3, 100);
        let gone: Vec<usize> = (0..4).map(|id| letters.push(letter(id), 10).len()).collect();
        assert_eq!((gone, letters.len(), letters.total()), (vec![0, 0, 0, 1], 3, 4));
        assert_eq!(letters.push(letter(9), 95).len(), 3, "bytes");
        assert_eq!(letters.push(letter(10), 1000).len(), 1, "one that is too large alone is kept alone");
        assert_eq!(
            (letters.list().len(), letters.take(10).map(|l| l.id), letters.take(10).is_none()),
            (1, Some(10), true)
        );
        assert_eq!((letters.len(), letters.bytes), (0, 0));
    }
}
