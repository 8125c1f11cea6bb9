//! Pure: how a dispatch ended: the outcome of success, and the error that gives the message back.
use crate::view::ConsumerId;
use colloquium_runtime::ExitReason;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A consumer has completed the message (or accepted it, if that was all that was asked for).
#[derive(Clone, Debug)]
pub struct DispatchOutcome<R> {
    pub(crate) delivered_to: ConsumerId,
    pub(crate) attempts: u32,
    pub(crate) reroutes: Reroutes,
    pub(crate) output: R,
}

/// From whom a message was re-routed, and how long that took each time; most never were.
pub(crate) type Reroutes = Option<Box<(Vec<ConsumerId>, Vec<Duration>)>>;

impl<R> DispatchOutcome<R> {
    /// Who completed it.
    #[must_use]
    pub fn delivered_to(&self) -> ConsumerId {
        self.delivered_to
    }

    /// Who had it before, in order: they failed or ended.
    #[must_use]
    pub fn rerouted_from(&self) -> &[ConsumerId] {
        self.reroutes.as_ref().map_or(&[], |reroutes| &reroutes.0)
    }

    /// For each re-route, how long after the conversation had learnt of the loss (or failure) the message was sent to the next;
    /// waiting and retry delays included.
    #[must_use]
    pub fn reroute_timings(&self) -> &[Duration] {
        self.reroutes.as_ref().map_or(&[], |reroutes| &reroutes.1)
    }

    /// Whether the first consumer that it was sent to completed it.
    #[must_use]
    pub fn delivered_first_try(&self) -> bool {
        self.reroutes.is_none()
    }

    /// How many times a handler has begun with it.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What the handler returned.
    #[must_use]
    pub fn output(&self) -> &R {
        &self.output
    }

    /// What the handler returned.
    #[must_use]
    pub fn into_output(self) -> R {
        self.output
    }
}

/// Why a dispatch did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DispatchErrorKind {
    /// Every consumer of the group has been given up or removed. Nobody works on the message.
    NoConsumerAvailable,
    /// The routing function named a consumer that is not there. Nobody has had the message.
    UnknownConsumerSelected,
    /// The routing function panicked, or took longer than it may. Nobody has had the message.
    Evaluation,
    /// The conversation was killed, or the message was lost with its consumer more often than is tried.
    Conversation,
    /// At most once was asked for, and the consumer that had begun with the message ended.
    MaybeCompleted,
    /// It crashed its consumers, or failed, as often as is tried; it is among the dead letters.
    Poisoned,
    /// The handler said that it will never do; it is among the dead letters.
    Discarded,
    /// Its time was over. A handler that had begun with it may still be at work.
    DeadlineExceeded,
    /// There was no room, or not in time. Happens in ordinary life; see [`DispatchError::retry_after`].
    Overloaded,
    /// The dispatch was cancelled.
    Cancelled,
    /// The group takes no messages: it is draining, or its node of the tree has ended.
    Closed,
    /// A consumer dispatched into its own group while it held a delivery of it. Nothing was begun.
    WouldDeadlock,
    /// There was no process for the conversation. Nothing was begun.
    NotStarted,
}

impl DispatchErrorKind {
    /// Whether the message becomes a dead letter: it is the message that cannot be handled, or might be handled twice.
    pub(crate) fn is_deadly(self) -> bool {
        matches!(self, Self::Poisoned | Self::Discarded | Self::MaybeCompleted)
    }
}

impl fmt::Display for DispatchErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoConsumerAvailable => "no consumer is left in the group",
            Self::UnknownConsumerSelected => "the routing function chose a consumer that is not there",
            Self::Evaluation => "the routing function failed",
            Self::Conversation => "the conversation ended",
            Self::MaybeCompleted => "the consumer ended after it had begun, and at most once was asked for",
            Self::Poisoned => "the message failed too often",
            Self::Discarded => "the consumer discarded the message",
            Self::DeadlineExceeded => "the deadline is exceeded",
            Self::Overloaded => "the group is overloaded",
            Self::Cancelled => "the dispatch was cancelled",
            Self::Closed => "the group is closed",
            Self::WouldDeadlock => "a consumer cannot wait for its own group while it holds a delivery",
            Self::NotStarted => "there was no process for the conversation",
        })
    }
}

/// How far a delivery came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reached {
    /// The consumer's mailbox; no handler began.
    Queued,
    /// A handler began, and neither completed nor failed.
    Started,
    /// The handler failed.
    Failed,
    /// The handler completed.
    Completed,
}

/// One delivery of a message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// To whom.
    pub consumer: ConsumerId,
    /// How far it came.
    pub reached: Reached,
    /// Why it came no further: what the handler returned, or why the consumer ended.
    pub reason: Option<ExitReason>,
    /// When it was sent, in the runtime's time. This and the others are [stamps](colloquium_runtime::Handle::stamp): true to a microsecond, and in order.
    pub sent: Duration,
    /// When a handler began with it.
    pub begun: Option<Duration>,
    /// When it was over.
    pub over: Option<Duration>,
}

/// A dispatch that did not succeed; the message comes back with it.
pub struct DispatchError<M>(Box<Details<M>>);

struct Details<M> {
    kind: DispatchErrorKind,
    message: Arc<M>,
    attempts: Vec<Attempt>,
    retry_after: Option<Duration>,
}

impl<M> DispatchError<M> {
    pub(crate) fn new(
        kind: DispatchErrorKind,
        message: Arc<M>,
        attempts: Vec<Attempt>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self(Box::new(Details { kind, message, attempts, retry_after }))
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> DispatchErrorKind {
        self.0.kind
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Arc<M> {
        &self.0.message
    }

    /// The message. A handler that is still at work with it shares it.
    #[must_use]
    pub fn into_message(self) -> Arc<M> {
        self.0.message
    }

    /// The deliveries there have been, oldest first.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// Whether no handler ever began with it, so that doing it again cannot do it twice.
    #[must_use]
    pub fn is_safe_to_retry(&self) -> bool {
        self.0.attempts.iter().all(|attempt| attempt.reached == Reached::Queued)
    }

    /// When it may be worth trying again, after [`DispatchErrorKind::Overloaded`].
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl<M> fmt::Display for DispatchError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)?;
        match self.0.attempts.iter().rev().find_map(|attempt| attempt.reason.as_ref()) {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl<M> fmt::Debug for DispatchError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("DispatchError");
        debug.field("kind", &self.0.kind).field("attempts", &self.0.attempts);
        debug.field("retry_after", &self.0.retry_after).finish_non_exhaustive()
    }
}

impl<M> std::error::Error for DispatchError<M> {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Secret;

    #[test]
    fn an_error_is_one_word_and_never_shows_the_message() {
        assert_eq!(size_of::<DispatchError<[u64; 100]>>(), size_of::<usize>());
        let error = DispatchError::new(DispatchErrorKind::Discarded, Arc::new(Secret), Vec::new(), None);
        assert_eq!(error.to_string(), "the consumer discarded the message");
        assert!(!format!("{error:?}").contains("Secret"));
        assert!(error.is_safe_to_retry());
    }
}
