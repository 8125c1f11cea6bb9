//! Driver: dead letters that are tried again, one or all, at a rate, and those that are thrown away.
use crate::dead_letters::DeadLetter;
use crate::dispatcher::DispatchConversation;
use crate::group::Group;
use crate::handle::ConsumerGroup;
use crate::outcome::{DispatchError, DispatchErrorKind, DispatchOutcome};
use std::sync::Arc;
use std::time::Duration;

/// What became of dead letters that were tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// A consumer has completed them.
    pub completed: usize,
    /// They are dead letters again, with the history of this time.
    pub died: usize,
    /// They were not tried, or not to their end (no room, no time, the group is closed), and are where they were.
    pub kept: usize,
}

impl<M: Send + Sync + 'static, R: Send + 'static> ConsumerGroup<M, R> {
    /// Dispatches a dead letter's message again, with its id and key, at least once; `None` if there is no such letter. If it
    /// ends as a dead letter again, that is a new one. If it ends otherwise without having been completed, the old one is put
    /// back.
    ///
    /// # Errors
    ///
    /// As [`DispatchConversation::dispatch`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the dispatch and puts the letter back; a handler that has begun may complete it all the same.
    pub async fn replay_dead_letter(&self, id: u64) -> Option<Result<DispatchOutcome<R>, DispatchError<M>>> {
        let group = self.shared();
        let letter = group.dead.lock().take(id)?;
        let (message, key) = (Arc::clone(&letter.message), letter.key);
        let mut back = Back { group: Arc::clone(group), letter: Some(letter) };
        let result = DispatchConversation::new(self).dispatch(message).again(id, key).await;
        if result.as_ref().map_or_else(|error| error.kind().is_deadly(), |_| true) {
            back.letter = None;
        }
        Some(result)
    }

    /// Dispatches the messages of all dead letters that there are now again, oldest first and one after the other, each when the
    /// one before is over; no more than that many a second if that is given. It ends early when the group is closed.
    ///
    /// # Cancel safety
    ///
    /// As [`ConsumerGroup::replay_dead_letter`]: letters whose turn has not come stay.
    ///
    /// # Panics
    ///
    /// If the rate is not above nothing.
    pub async fn replay_dead_letters(&self, per_second: Option<f64>) -> Replayed {
        let pause = per_second.map(|rate| {
            assert!(rate > 0.0, "a rate of {rate} a second comes to no end");
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX)
        });
        let runtime = &self.shared().runtime;
        let (mut replayed, mut next) = (Replayed::default(), runtime.now());
        let ids: Vec<u64> = self.shared().dead.lock().ids();
        let all = ids.len();
        for id in ids {
            if let Some(pause) = pause {
                runtime.sleep(next.saturating_sub(runtime.now())).await;
                next = runtime.now().saturating_add(pause);
            }
            match self.replay_dead_letter(id).await {
                // Somebody else has taken it.
                None => {}
                Some(Ok(_)) => replayed.completed += 1,
                Some(Err(error)) if error.kind().is_deadly() => replayed.died += 1,
                Some(Err(error)) => {
                    replayed.kept += 1;
                    if matches!(error.kind(), DispatchErrorKind::Closed | DispatchErrorKind::NoConsumerAvailable) {
                        replayed.kept = all - replayed.completed - replayed.died;
                        break;
                    }
                }
            }
        }
        replayed
    }

    /// Drops all dead letters that are kept; how many there were.
    #[expect(clippy::must_use_candidate, reason = "the number is for those who want it")]
    pub fn drop_dead_letters(&self) -> usize {
        let letters = self.shared().dead.lock().take_all();
        // Users' messages are dropped here, outside the lock.
        letters.len()
    }
}

/// Puts a letter back that was taken out and is not done with.
struct Back<M: Send + Sync + 'static, R: Send + 'static> {
    group: Arc<Group<M, R>>,
    letter: Option<DeadLetter<M>>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for Back<M, R> {
    fn drop(&mut self) {
        if let Some(letter) = self.letter.take() {
            let size = self.group.size_of(&letter.message);
            let gone = self.group.dead.lock().put_back(letter, size);
            drop(gone);
        }
    }
}
