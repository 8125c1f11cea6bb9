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
    /// It is over, and this is to be told, unless something was told before.
    Over(Option<Verdict>),
    /// It is to be routed anew, at once; by itself if it is suspect.
    Route { alone: bool },
    /// It is to be routed anew after the delay for one that was delayed so often, or after this long.
    Pause { delayed: u32, exactly: Option<Duration> },
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
    AndOver { was_queued: bool },
    /// A handler works on it, and is to be told.
    WhileStarted,
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    terms: Terms,
    phase: Phase,
    decided: bool,
    started: u32,
    /// Deliveries that ended by a fault: these are what is limited.
    charged: u32,
    blamed: u32,
    suspected: u32,
    free: u32,
    delayed: u32,
}

impl Machine {
    pub(crate) fn new(terms: Terms) -> Self {
        let phase = Phase::Parked;
        Self { terms, phase, decided: false, started: 0, charged: 0, blamed: 0, suspected: 0, free: 0, delayed: 0 }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether nobody waits for what a handler makes of it.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.is_given_up()
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
        if self.phase != Phase::Parked || self.decided && !self.terms.accepted {
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
        let told = self.terms.accepted.then_some(Verdict::Delivered);
        Start::Go(told.and_then(|verdict| self.decide_once(verdict)))
    }

    /// The verdict, if it is the first.
    fn decide_once(&mut self, verdict: Verdict) -> Option<Verdict> {
        (!std::mem::replace(&mut self.decided, true)).then_some(verdict)
    }

    fn over(&mut self, verdict: Verdict) -> Next {
        self.phase = Phase::Over;
        Next::Over(self.decide_once(verdict))
    }

    /// Whether the caller (or, once a consumer has accepted, nobody) has given it up: it is not tried again.
    fn is_given_up(&self) -> bool {
        self.decided && !self.terms.accepted
    }

    /// Its handler has completed it.
    pub(crate) fn completed(&mut self) -> Next {
        self.over(Verdict::Delivered)
    }

    /// Its handler has returned without completing it.
    pub(crate) fn failed(&mut self, wanted: Wanted) -> Next {
        if self.is_given_up() || wanted == Wanted::Discard || self.terms.at_most_once {
            return self.over(Verdict::Failed(DispatchErrorKind::Discarded));
        }
        self.charged += 1;
        if self.charged >= self.terms.attempts {
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
            Phase::Parked | Phase::Over => return Next::Over(None),
        };
        if self.is_given_up() {
            return self.over(Verdict::Failed(DispatchErrorKind::Cancelled));
        }
        if reached == Reached::Started && self.terms.at_most_once {
            return self.over(Verdict::Failed(DispatchErrorKind::MaybeCompleted));
        }
        let blame = blame(reached, end);
        match blame {
            Blame::None => self.free += 1,
            Blame::Suspect => self.suspected += 1,
            Blame::Blamed => self.blamed += 1,
        }
        self.charged += u32::from(blame != Blame::None);
        if self.blamed >= self.terms.poison || blame != Blame::None && self.charged >= self.terms.attempts {
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
    pub(crate) fn decide(&mut self, kind: DispatchErrorKind) -> (Decided, Option<Verdict>) {
        if self.phase == Phase::Over || self.decided && self.phase == Phase::Started {
            return (Decided::Before, None);
        }
        let told = self.decide_once(Verdict::Failed(kind));
        if self.phase == Phase::Started {
            return (Decided::WhileStarted, told);
        }
        let was_queued = self.phase == Phase::Queued;
        self.phase = Phase::Over;
        (Decided::AndOver { was_queued }, told)
    }
}

#[cfg(test)]
#[path = "conversation/tests/enumerated.rs"]
mod tests;
