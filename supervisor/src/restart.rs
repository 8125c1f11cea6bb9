//! Pure: what follows when a child has failed: nothing, a restart, a pause, or the supervisor's own end.
use crate::backoff::Pause;
use crate::children::{Key, Rest, Standing, Turn};
use crate::event::{Action, Place, Report, Ticket};
use crate::operation::{Operation, Purpose, nobody, only};
use crate::spec::{AutoShutdown, Restart};
use crate::state::Machine;
use crate::strategy::{extent, restarts};
use colloquium_runtime::ExitReason;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// What follows a failure of a child that is to be up.
enum Next {
    Now,
    At(Duration),
    GiveUp { escalates: bool },
}

impl<P: Copy + Eq + Hash> Machine<P> {
    /// Whether the end of this child is a matter for the operators: permanent ones should not end at all.
    pub(crate) fn reports(&self, child: Key, reason: &ExitReason) -> bool {
        let permanent = self.children.get(child).is_some_and(|child| child.settings.restart == Restart::Permanent);
        permanent || !reason.is_orderly()
    }

    /// A child has ended by itself, and its turn has come; unless it was seen to with others meanwhile.
    pub(crate) fn fell(&mut self, key: Key, now: Duration) {
        let Some(child) = self.children.get(key) else { return };
        let Standing::Fallen(reason) = &child.standing else { return };
        let (restart, significant) = (child.settings.restart, child.settings.significant);
        if restarts(restart, reason) {
            let lived = child.exits.as_ref().and_then(|exits| exits.back()).map_or(Duration::ZERO, |exit| exit.lived);
            return match self.admit(key, lived, now) {
                Next::Now => self.begin_restart(key, None, None),
                Next::At(at) => self.begin_restart(key, Some(at), None),
                Next::GiveUp { escalates } => self.give_up(key, escalates, now),
            };
        }
        if restart == Restart::Temporary {
            self.remove(key);
        } else {
            self.set(key, Standing::Stopped(Rest::Ended), now);
            self.show(key, Place::Stopped);
        }
        let ends = match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => significant,
            AutoShutdown::AllSignificant => significant && self.children.significant() == 0,
        };
        if ends {
            self.end(ExitReason::Shutdown, None, now);
        }
    }

    /// Counts a failure, in the supervisor's intensity or, if the child has one instead, in its back-off.
    fn admit(&mut self, key: Key, lived: Duration, now: Duration) -> Next {
        let Some(child) = self.children.get_mut(key) else { return Next::Now };
        let settings = child.settings.clone();
        let Some(backoff) = &settings.backoff else {
            return if self.intensity.admit(now) { Next::Now } else { Next::GiveUp { escalates: true } };
        };
        child.unhealthy = if lived >= backoff.healthy_after { 0 } else { child.unhealthy.saturating_add(1) };
        match backoff.pause(child.unhealthy, self.chance.draw()) {
            Pause::None => Next::Now,
            Pause::For(pause) => Next::At(now.saturating_add(pause)),
            Pause::GiveUp => Next::GiveUp { escalates: backoff.escalates },
        }
    }

    fn give_up(&mut self, key: Key, escalates: bool, now: Duration) {
        self.set(key, Standing::Stopped(Rest::Failed), now);
        self.show(key, Place::Stopped);
        if let Some(child) = self.children.get(key) {
            let id = child.id();
            if escalates {
                self.gave_up.get_or_insert_with(|| Arc::clone(&id));
            }
            self.report(Report::GaveUp { id, escalates });
        }
        if escalates {
            self.end(ExitReason::Shutdown, None, now);
        }
    }

    /// Stops those who are restarted with a child, and then starts them all; or leaves the start for that time.
    pub(crate) fn begin_restart(&mut self, child: Key, at: Option<Duration>, asked: Option<Ticket>) {
        let extent = extent(self.flags.strategy);
        let from = if extent.earlier { Key::FIRST } else { child };
        let until = if extent.later { Key::END } else { child.next() };
        let stop = if from == child && until == child.next() { only(child) } else { from..until };
        let start = if at.is_some() { nobody() } else { stop.clone() };
        self.operation = Some(Operation::new(Purpose::Restart { child, at, asked }, stop, start));
    }

    /// The restart of this child has failed. OTP tries again by way of the mailbox, so that the supervisor stays
    /// answerable and can be stopped in between; a back-off may say when instead.
    pub(crate) fn try_again(&mut self, key: Key, now: Duration) {
        let backs_off = self.children.get(key).is_some_and(|child| child.settings.backoff.is_some());
        if !backs_off {
            return self.take_turn(key, now);
        }
        match self.admit(key, Duration::ZERO, now) {
            Next::Now => self.take_turn(key, now),
            Next::At(at) => self.wait_until(key, at, now),
            Next::GiveUp { escalates } => self.give_up(key, escalates, now),
        }
    }

    fn take_turn(&mut self, key: Key, now: Duration) {
        self.turns += 1;
        self.set(key, Standing::Again(Turn::Message(self.turns)), now);
        self.show(key, Place::Vacant(None));
        self.actions.push_back(Action::Turn(key, self.turns));
    }

    pub(crate) fn wait_until(&mut self, key: Key, at: Duration, now: Duration) {
        self.set(key, Standing::Again(Turn::At(at)), now);
        self.due.insert((at, key));
        self.show(key, Place::Vacant(Some(at)));
    }

    /// The message that was to bring a failed restart up again has come; unless that was seen to otherwise.
    pub(crate) fn turn(&mut self, key: Key, number: u64, now: Duration) {
        let Some(child) = self.children.get(key) else { return };
        if child.standing != Standing::Again(Turn::Message(number)) {
            return;
        }
        // A back-off has counted the failure already.
        let next = if child.settings.backoff.is_some() { Next::Now } else { self.admit(key, Duration::ZERO, now) };
        match next {
            Next::GiveUp { escalates } => self.give_up(key, escalates, now),
            Next::Now | Next::At(_) => self.begin_restart(key, None, None),
        }
    }
}
