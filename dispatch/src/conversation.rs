//! Pure: one message on its way: what has become of it, and what follows from what happens to it.
//!
//! The machine stands in the message's record, behind the record's lock, so that whoever learns of something (the consumer,
//! the caller, the keeper of deadlines, the conversation) applies it there, and one order holds for all. The outcome and the
//! delivery have separate lives: once the outcome is decided, a delivery that is started goes on to its own end.
use crate::blame::{Blame, End, Reached, blame};
use crate::limits::FREE_REROUTES;
use crate::outcome::DispatchErrorKind;
use std::time::Duration;

/// Where the message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// With nobody: it is being routed, waits for room, or for its time.
    Parked,
    /// In a consumer's mailbox.
    Queued,
    /// With a handler.
    Started,
    /// With nobody, for ever.
    Over,
}

/// What the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    Failed(DispatchErrorKind),
}

/// How a message is handled, whatever happens to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) at_most_once: bool,
    /// The caller only wants to know that a consumer has begun.
    pub(crate) accepted: bool,
    pub(crate) attempts: u32,
    pub(crate) poison: u32,
}

/// What a handler that has not completed a message wants done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Retry,
    RetryAfter(Duration),
    Discard,
}

/// What follows for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// It is over.
    Over(Last),
    /// It is to be routed anew, at once; by itself if it is suspect.
    Route { alone: bool },
    /// It is to be routed anew after the delay for one that was delayed so often, or after this long.
    Pause { delayed: u32, exactly: Option<Duration> },
}

/// What is left to be done about a message that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Last {
    /// The caller is to be told this; `None` if it was told something before.
    pub(crate) told: Option<Verdict>,
    /// The message becomes a dead letter, for that reason.
    pub(crate) dead: Option<DispatchErrorKind>,
}

/// Whether a handler may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Start {
    /// It may; with a verdict if that is all the caller wanted.
    Go(Option<Verdict>),
    /// The delivery was withdrawn.
    Withdrawn,
}

/// What a decision by others than a handler finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Decided {
    /// It was decided before, or all is over.
    Before,
    /// The message is over with it: nobody works on it.
    AndOver(Last),
    /// A handler works on it, and is to be told. So is the caller, unless it was before.
    WhileStarted(Option<Verdict>),
}

/// In an order without gaps before what is nought at first: gaps are carried along with what follows, once more than it would be.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Machine {
    attempts: u32,
    poison: u32,
    at_most_once: bool,
    accepted: bool,
    phase: Phase,
    /// The caller was told something.
    decided: bool,
    started: u32,
    /// Deliveries that ended by a fault: these are what is limited.
    charged: u32,
    blamed: u32,
    suspected: u32,
    free: u32,
    delayed: u32,
    /// Nobody wants the work any more, for that reason: it is not tried again.
    unwanted: Option<DispatchErrorKind>,
}

impl Machine {
    #[inline]
    pub(crate) fn new(terms: Terms) -> Self {
        let Terms { at_most_once, accepted, attempts, poison } = terms;
        Self {
            attempts,
            poison,
            at_most_once,
            accepted,
            phase: Phase::Parked,
            decided: false,
            started: 0,
            charged: 0,
            blamed: 0,
            suspected: 0,
            free: 0,
            delayed: 0,
            unwanted: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether nobody waits for what a handler makes of it.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.unwanted.is_some()
    }

    /// Crashes that it is blamed for.
    pub(crate) fn blamed(&self) -> u32 {
        self.blamed
    }

    pub(crate) fn started(&self) -> u32 {
        self.started
    }

    /// A consumer has room for it; false if nobody wants that any more.
    #[must_use]
    pub(crate) fn assigned(&mut self) -> bool {
        if self.phase != Phase::Parked {
            return false;
        }
        self.phase = Phase::Queued;
        true
    }

    /// Its consumer comes to it.
    pub(crate) fn start(&mut self) -> Start {
        if self.phase != Phase::Queued {
            return Start::Withdrawn;
        }
        self.phase = Phase::Started;
        self.started += 1;
        let told = self.accepted.then_some(Verdict::Delivered);
        Start::Go(told.and_then(|verdict| self.decide_once(verdict)))
    }

    /// The verdict, if it is the first.
    fn decide_once(&mut self, verdict: Verdict) -> Option<Verdict> {
        (!std::mem::replace(&mut self.decided, true)).then_some(verdict)
    }

    fn over(&mut self, verdict: Verdict) -> Next {
        Next::Over(self.last(verdict))
    }

    /// The end of all. A caller that was content with less than completion is not told of a bad end: for it, and for whoever
    /// sees to what cannot be handled, there is the dead letter.
    fn last(&mut self, verdict: Verdict) -> Last {
        self.phase = Phase::Over;
        let told = self.decide_once(verdict);
        let unattended = told.is_none() && self.accepted;
        let dead = match verdict {
            Verdict::Failed(kind) => (unattended || told.is_some() && kind.is_deadly()).then_some(kind),
            Verdict::Delivered => None,
        };
        Last { told, dead }
    }

    /// Its handler has completed it.
    pub(crate) fn completed(&mut self) -> Next {
        self.over(Verdict::Delivered)
    }

    /// Its handler has returned without completing it.
    pub(crate) fn failed(&mut self, wanted: Wanted) -> Next {
        if let Some(kind) = self.unwanted {
            return self.over(Verdict::Failed(kind));
        }
        if wanted == Wanted::Discard || self.at_most_once {
            return self.over(Verdict::Failed(DispatchErrorKind::Discarded));
        }
        self.charged += 1;
        if self.charged >= self.attempts {
            return self.over(Verdict::Failed(DispatchErrorKind::Poisoned));
        }
        self.phase = Phase::Parked;
        match wanted {
            Wanted::RetryAfter(time) => Next::Pause { delayed: 0, exactly: Some(time) },
            Wanted::Retry | Wanted::Discard => self.pause(),
        }
    }

    fn pause(&mut self) -> Next {
        self.delayed += 1;
        Next::Pause { delayed: self.delayed - 1, exactly: None }
    }

    /// Its consumer has ended.
    pub(crate) fn lost(&mut self, end: End) -> Next {
        let reached = match self.phase {
            Phase::Queued => Reached::Queued,
            Phase::Started => Reached::Started,
            Phase::Parked | Phase::Over => return Next::Over(Last { told: None, dead: None }),
        };
        if let Some(kind) = self.unwanted {
            return self.over(Verdict::Failed(kind));
        }
        if reached == Reached::Started && self.at_most_once {
            return self.over(Verdict::Failed(DispatchErrorKind::MaybeCompleted));
        }
        let blame = blame(reached, end);
        match blame {
            Blame::None => self.free += 1,
            Blame::Suspect => self.suspected += 1,
            Blame::Blamed => self.blamed += 1,
        }
        self.charged += u32::from(blame != Blame::None);
        if self.blamed >= self.poison || blame != Blame::None && self.charged >= self.attempts {
            return self.over(Verdict::Failed(DispatchErrorKind::Poisoned));
        }
        if self.free > FREE_REROUTES {
            return self.over(Verdict::Failed(DispatchErrorKind::Conversation));
        }
        self.phase = Phase::Parked;
        if blame == Blame::Blamed && self.blamed > 1 {
            return self.pause();
        }
        Next::Route { alone: self.suspected > 1 }
    }

    /// It is decided from elsewhere: the deadline, a cancel, the end of the group, nobody left to take it.
    pub(crate) fn decide(&mut self, kind: DispatchErrorKind) -> Decided {
        // The caller of an accepted message may go: it has what it wanted.
        let too_late = kind == DispatchErrorKind::Cancelled && self.decided;
        if self.phase == Phase::Over || self.unwanted.is_some() || too_late {
            return Decided::Before;
        }
        if self.phase == Phase::Started {
            self.unwanted = Some(kind);
            return Decided::WhileStarted(self.decide_once(Verdict::Failed(kind)));
        }
        Decided::AndOver(self.last(Verdict::Failed(kind)))
    }
}

#[cfg(test)]
#[path = "conversation/tests/enumerated.rs"]
mod tests;
