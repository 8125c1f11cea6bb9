//! Pure: one supervisor: events in, actions out; composed of its parts, which have the policy.
//!
//! Whoever drives it hands in events with the time, carries out the actions in their order, and hands in
//! [`Event::Tick`] when [`Machine::deadline`] has come.
use crate::backoff::Chance;
use crate::children::{Child, Children, Key, PastExit, Rest, Standing, Turn};
use crate::event::{Action, Answer, Event, Litter, Place, Refusal, Report, Request, StartFailure, Ticket};
use crate::intensity::Intensity;
use crate::operation::{Limit, Operation, Purpose, Then, Wait, nobody};
use crate::spec::{Flags, Kept, SpecError};
use colloquium_runtime::ExitReason;
use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Machine<P> {
    pub(crate) flags: Flags,
    pub(crate) children: Children<P>,
    pub(crate) intensity: Intensity,
    pub(crate) chance: Chance,
    pub(crate) stage: Stage,
    pub(crate) operation: Option<Operation>,
    /// What waits for the end of the operation, in the order in which it came.
    pub(crate) later: VecDeque<Later<P>>,
    /// Children that back off, by when they are to be started.
    pub(crate) due: BTreeSet<(Duration, Key)>,
    pub(crate) turns: u64,
    /// Children that were killed and are still there.
    pub(crate) wedged: Vec<WedgedChild<P>>,
    /// The child whose failures were too many and end the supervisor.
    pub(crate) gave_up: Option<Arc<str>>,
    pub(crate) actions: VecDeque<Action<P>>,
    /// To be dropped where a user's destructors may run.
    pub(crate) litter: Vec<Litter<P>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Unborn,
    Starting,
    Running,
    Ending,
    Over,
}

/// What cannot be seen to in the midst of an operation.
#[derive(Debug)]
pub(crate) enum Later<P> {
    Fallen(Key),
    Turn(Key, u64),
    Request(Ticket, Request<P>),
}

/// A process that a kill did not end, since its poll does not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WedgedChild<P> {
    pub(crate) id: Arc<str>,
    pub(crate) process: P,
    pub(crate) since: Duration,
}

impl<P: Copy + Eq + Hash> Machine<P> {
    /// Its chance is always the same unless it is given another.
    #[cfg(test)]
    pub(crate) fn new(flags: Flags) -> Self {
        Self::with_capacity(flags, 0)
    }

    /// As [`Machine::new`], for so many children.
    pub(crate) fn with_capacity(flags: Flags, children: usize) -> Self {
        Self {
            intensity: Intensity::new(flags.intensity, flags.period),
            flags,
            children: Children::with_capacity(children),
            chance: Chance(0),
            stage: Stage::Unborn,
            operation: None,
            later: VecDeque::new(),
            due: BTreeSet::new(),
            turns: 0,
            wedged: Vec::new(),
            gave_up: None,
            actions: VecDeque::new(),
            litter: Vec::new(),
        }
    }

    /// Adds a child that [`Event::Begin`] is to start.
    pub(crate) fn add(&mut self, id: Option<Arc<str>>, settings: Kept, now: Duration) -> Result<Key, SpecError> {
        if let Kept::Own(settings) = &settings {
            let id = id.clone().unwrap_or_default();
            settings.validate(&id)?;
            self.flags.admits(&id, settings)?;
        }
        self.children.add(id, settings, now).map_err(SpecError::DuplicateId)
    }

    pub(crate) fn handle(&mut self, event: Event<P>, now: Duration) {
        match event {
            Event::Begin => {
                self.stage = Stage::Starting;
                self.operation = Some(Operation::new(Purpose::Boot, nobody(), Key::FIRST..Key::END));
            }
            Event::Started(child, process) => self.started(child, process, now),
            Event::NotStarted(child, failure) => self.start_failed(child, failure, now),
            Event::Said(process, word) => self.said(process, word, now),
            Event::Ended(process, reason) => self.ended(process, reason, now),
            Event::Turn(child, number) => self.later.push_back(Later::Turn(child, number)),
            Event::Request(ticket, request) if self.stage < Stage::Ending => {
                self.later.push_back(Later::Request(ticket, request));
            }
            Event::Request(ticket, _) => self.refuse(ticket, Refusal::Ending),
            Event::End(reason, by) => self.end(reason, by.map(|by| Limit::new(now, by)), now),
            Event::Tick => {}
        }
        self.go_on(now);
    }

    /// What the child is called whose process this is or was.
    pub(crate) fn id_of(&self, process: P) -> Option<Arc<str>> {
        if let Some(wedged) = self.wedged.iter().find(|wedged| wedged.process == process) {
            return Some(Arc::clone(&wedged.id));
        }
        // One that is not known yet is the one whose start function has not returned.
        let starting = || match self.operation.as_ref()?.wait {
            Wait::Spawn(child) => Some(child),
            _ => None,
        };
        let child = self.children.key_of(process).or_else(starting)?;
        self.children.get(child).map(Child::id)
    }

    /// When [`Event::Tick`] is wanted at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.operation {
            Some(operation) => operation.deadline(),
            None => self.due.first().map(|(at, _)| *at),
        }
    }

    /// Does what can be done now.
    fn go_on(&mut self, now: Duration) {
        loop {
            self.expire(now);
            if let Some(operation) = &self.operation {
                if operation.wait != Wait::Nothing {
                    return;
                }
                self.step(now);
            } else if self.stage != Stage::Running {
                return;
            } else if let Some((at, child)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
                self.due.remove(&(at, child));
                self.begin_restart(child, None, None);
            } else {
                match self.later.pop_front() {
                    Some(Later::Fallen(child)) => self.fell(child, now),
                    Some(Later::Turn(child, number)) => self.turn(child, number, now),
                    Some(Later::Request(ticket, request)) => self.request(ticket, request, now),
                    None => return,
                }
            }
        }
    }

    /// A process has ended. One that is not known, or not any more, is no business of this supervisor's.
    fn ended(&mut self, process: P, reason: ExitReason, now: Duration) {
        let Some(key) = self.children.key_of(process) else {
            self.wedged.retain(|wedged| wedged.process != process);
            return;
        };
        let initialises = self.operation.as_ref().is_some_and(|operation| operation.waits_for_init_of(key));
        let Some(child) = self.children.get_mut(key) else { return };
        if self.stage < Stage::Ending {
            let lived = now.saturating_sub(child.since());
            let forgotten = child.note_exit(PastExit { process, reason: reason.clone(), at: now, lived });
            self.litter.extend(forgotten.map(Litter::Exit));
        }
        match child.standing {
            Standing::Stopping(_) => {
                self.actions.push_back(Action::Unwatch(process));
                self.stopped(key, &reason, now);
            }
            Standing::Starting(_) if initialises => {
                self.set(key, Standing::Stopped(Rest::Waiting), now);
                self.start_failed(key, StartFailure::Ended(reason), now);
            }
            _ => {
                let id = child.id();
                self.set(key, Standing::Fallen(reason.clone()), now);
                if self.reports(key, &reason) {
                    self.report(Report::Ended { id, process: Some(process), reason });
                }
                self.later.push_back(Later::Fallen(key));
            }
        }
    }

    /// The supervisor is to end: whatever it is about gives way.
    pub(crate) fn end(&mut self, reason: ExitReason, limit: Option<Limit>, now: Duration) {
        if self.stage >= Stage::Ending {
            if let (Some(operation), Some(limit)) = (&mut self.operation, limit) {
                let earlier = operation.limit.is_none_or(|old| limit.over < old.over);
                operation.limit = if earlier { Some(limit) } else { operation.limit };
            }
            return;
        }
        self.stage = Stage::Ending;
        for later in std::mem::take(&mut self.later) {
            if let Later::Request(ticket, _) = later {
                self.refuse(ticket, Refusal::Ending);
            }
        }
        self.due.clear();
        let mut operation = Operation::new(Purpose::End { reason }, Key::FIRST..Key::END, nobody());
        operation.limit = limit;
        if let Some(old) = self.operation.take() {
            if let Some(ticket) = old.purpose.asked() {
                self.refuse(ticket, Refusal::Ending);
            }
            // Who is being stopped, or started this very moment, is waited for; who initialises is stopped in its turn.
            if matches!(old.wait, Wait::Stop { .. } | Wait::Spawn(_)) {
                operation.wait = old.wait;
            }
        }
        self.operation = Some(operation);
        if self.flags.dynamic.is_some() {
            self.stop_together(now);
        }
    }

    pub(crate) fn set(&mut self, child: Key, standing: Standing<P>, now: Duration) {
        match self.children.set(child, standing, now) {
            Some(Standing::Again(Turn::At(at))) => {
                self.due.remove(&(at, child));
            }
            Some(fallen @ Standing::Fallen(_)) => self.litter.push(Litter::Standing(fallen)),
            _ => {}
        }
    }

    /// The child is no more.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(child) = self.children.remove(key) {
            self.litter.push(Litter::Child(child));
            self.actions.push_back(Action::Show(key, Place::Gone));
            self.actions.push_back(Action::Removed(key));
        }
    }

    pub(crate) fn show(&mut self, child: Key, place: Place<P>) {
        self.actions.push_back(Action::Show(child, place));
    }

    pub(crate) fn refuse(&mut self, ticket: Ticket, refusal: Refusal<P>) {
        self.answer(ticket, Answer::Refused(refusal));
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer<P>) {
        self.actions.push_back(Action::Answer(ticket, answer));
    }

    pub(crate) fn report(&mut self, report: Report<P>) {
        self.actions.push_back(Action::Report(report));
    }

    /// The child being started or stopped is done with.
    pub(crate) fn proceed(&mut self) -> Option<Then> {
        let operation = self.operation.as_mut()?;
        operation.wait = Wait::Nothing;
        operation.then.take()
    }
}

#[cfg(test)]
mod tests;
