//! Pure: the deliveries of one message, as its record keeps them: small, since each message has one and most have no more.
use crate::metrics::{Timing, nanos};
use crate::outcome::{Attempt, Reached, Reroutes};
use crate::view::ConsumerId;
use colloquium_runtime::ExitReason;
use smallvec::SmallVec;
use std::time::Duration;

/// Times are in nanoseconds; [`NEVER`] is none.
#[derive(Debug)]
struct Leg {
    consumer: ConsumerId,
    sent: u64,
    begun: u64,
    over: u64,
    reason: Option<ExitReason>,
    reached: Reached,
}

const NEVER: u64 = u64::MAX;

impl Leg {
    /// Pushed as it is, and filled in where it stands.
    const NEW: Self = Self {
        consumer: ConsumerId::new(0),
        sent: NEVER,
        begun: NEVER,
        over: NEVER,
        reason: None,
        reached: Reached::Queued,
    };
}

fn time(nanos: u64) -> Option<Duration> {
    (nanos != NEVER).then(|| Duration::from_nanos(nanos))
}

/// Stamps of two threads may be a microsecond apart; what is told of one delivery is in order.
#[derive(Debug, Default)]
pub(crate) struct History(SmallVec<[Leg; 1]>);

impl History {
    /// It is sent to that consumer.
    pub(crate) fn sent(&mut self, consumer: ConsumerId, now: Duration) {
        self.0.push(Leg::NEW);
        if let Some(last) = self.0.last_mut() {
            (last.consumer, last.sent) = (consumer, nanos(now));
        }
    }

    /// A handler begins with it.
    pub(crate) fn begun(&mut self, now: Duration) {
        if let Some(last) = self.0.last_mut() {
            (last.reached, last.begun) = (Reached::Started, nanos(now).max(last.sent));
        }
    }

    /// The delivery is over.
    pub(crate) fn over(&mut self, reached: Reached, reason: Option<ExitReason>, now: Duration) {
        if let Some(last) = self.0.last_mut() {
            let since = if last.begun == NEVER { last.sent } else { last.begun };
            (last.reached, last.over) = (reached, nanos(now).max(since));
            if reason.is_some() || last.reason.is_some() {
                last.reason = reason;
            }
        }
    }

    /// To whom it was sent last.
    pub(crate) fn last(&self) -> Option<ConsumerId> {
        self.0.last().map(|leg| leg.consumer)
    }

    /// When the handler began that has it now, or had it last.
    pub(crate) fn last_begun(&self) -> Option<Duration> {
        self.0.last().and_then(|leg| time(leg.begun))
    }

    /// The times of the delivery that is completed.
    pub(crate) fn timing(&self, now: Duration) -> Option<Timing> {
        let last = self.0.last().filter(|leg| leg.begun != NEVER)?;
        let begun = self.0.iter().map(|leg| leg.begun).find(|begun| *begun != NEVER)?;
        Some(Timing { begun, handled: nanos(now).saturating_sub(last.begun) })
    }

    /// From whom it was re-routed, and how long after each loss or failure it was sent to the next.
    pub(crate) fn reroutes(&self) -> Reroutes {
        if self.0.len() < 2 {
            return None;
        }
        let pairs = self.0.windows(2).map(|pair| {
            let time = Duration::from_nanos(pair[1].sent.saturating_sub(pair[0].over));
            (pair[0].consumer, time)
        });
        Some(Box::new(pairs.unzip()))
    }

    /// As users see it, oldest first.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let seen = |leg: &Leg| Attempt {
            consumer: leg.consumer,
            reached: leg.reached,
            reason: leg.reason.clone(),
            sent: Duration::from_nanos(leg.sent),
            begun: time(leg.begun),
            over: time(leg.over),
        };
        self.0.iter().map(seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS: fn(u64) -> Duration = Duration::from_nanos;

    #[test]
    fn what_is_told_of_each_delivery_is_what_was_noted_and_in_order() {
        let mut history = History::default();
        assert_eq!((history.last(), history.timing(NS(9))), (None, None));
        history.sent(ConsumerId::new(7), NS(100));
        history.over(Reached::Queued, Some(ExitReason::Killed), NS(90));
        history.sent(ConsumerId::new(8), NS(200));
        history.begun(NS(190));
        history.over(Reached::Failed, Some(ExitReason::error("no")), NS(195));
        history.sent(ConsumerId::new(9), NS(300));
        assert_eq!((history.last_begun(), history.timing(NS(300))), (None, None));
        history.begun(NS(320));
        history.over(Reached::Completed, None, NS(350));
        assert_eq!((history.last(), history.last_begun()), (Some(ConsumerId::new(9)), Some(NS(320))));
        assert_eq!(history.timing(NS(350)), Some(Timing { begun: 200, handled: 30 }));
        let (from, took) = *history.reroutes().expect("two");
        assert_eq!((from, took), (vec![ConsumerId::new(7), ConsumerId::new(8)], vec![NS(100), NS(100)]));
        let told = history.attempts().into_iter().map(|attempt| {
            let Attempt { consumer, reached, reason, sent, begun, over } = attempt;
            (consumer.number(), reached, reason.is_some(), sent, begun, over)
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (7, Reached::Queued, true, NS(100), None, Some(NS(100))),
                (8, Reached::Failed, true, NS(200), Some(NS(200)), Some(NS(200))),
                (9, Reached::Completed, false, NS(300), Some(NS(320)), Some(NS(350))),
            ]
        );
    }
}
