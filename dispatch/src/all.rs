//! Driver: many messages through one group, so many at a time.
use crate::dispatcher::{Conversation, DispatchConversation};
use crate::outcome::{DispatchError, DispatchOutcome};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Dispatches what an iterator yields ([`DispatchConversation::dispatch_all`]). Dropped, it cancels what is under way.
#[must_use = "nothing is dispatched unless its results are asked for"]
pub struct DispatchAll<I, M: Send + Sync + 'static, R: Send + 'static> {
    dispatcher: DispatchConversation<M, R>,
    messages: std::iter::Fuse<I>,
    begun: VecDeque<Conversation<M, R>>,
    most: usize,
}

impl<M: Send + Sync + 'static, R: Send + 'static> DispatchConversation<M, R> {
    /// Dispatches all that `messages` yields, up to `most` at a time; the results come in the order of the messages. No message
    /// is taken from the iterator before there is a place for it among those.
    pub fn dispatch_all<I>(&self, messages: I, most: usize) -> DispatchAll<I::IntoIter, M, R>
    where
        I: IntoIterator<Item: Into<Arc<M>>>,
    {
        let messages = messages.into_iter().fuse();
        DispatchAll { dispatcher: self.clone(), messages, begun: VecDeque::new(), most: most.max(1) }
    }
}

impl<I, M, R> DispatchAll<I, M, R>
where
    I: Iterator<Item: Into<Arc<M>>>,
    M: Send + Sync + 'static,
    R: Send + 'static,
{
    /// The result of the next message; `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing.
    pub async fn next(&mut self) -> Option<Result<DispatchOutcome<R>, DispatchError<M>>> {
        while self.begun.len() < self.most
            && let Some(message) = self.messages.next()
        {
            self.begun.push_back(self.dispatcher.dispatch(message).start());
        }
        let result = self.begun.front_mut()?.await;
        self.begun.pop_front();
        Some(result)
    }

    /// Takes no more from the iterator; what is under way is still to come.
    pub fn stop(&mut self) {
        self.most = 0;
    }
}

impl<I, M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for DispatchAll<I, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchAll").field("under way", &self.begun.len()).finish_non_exhaustive()
    }
}
