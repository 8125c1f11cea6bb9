//! Pure: one step of an operation after the other: a child stopped, a child started, and what comes of each.
use crate::children::{Key, Rest, Standing};
use crate::event::{Action, Answer, FailedToStart, Place, Refusal, Report, StartFailure, Word};
use crate::limits::KILL_PATIENCE;
use crate::operation::{Operation, Purpose, Then, Wait, nobody};
use crate::spec::{Restart, Shutdown};
use crate::state::{Machine, Stage, WedgedChild};
use colloquium_runtime::ExitReason;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

impl<P: Copy + Eq + Hash> Machine<P> {
    /// The next step of an operation that waits for nothing.
    pub(crate) fn step(&mut self, now: Duration) {
        let Some(operation) = &mut self.operation else { return };
        if !operation.stop.is_empty() {
            let Some(child) = self.children.last_in(operation.stop.start, operation.stop.end) else {
                operation.stop = nobody();
                return;
            };
            operation.stop.end = child;
            self.stop(child, now);
        } else if let Some(child) = self.children.first_in(operation.start.start, operation.start.end) {
            operation.start.start = child.next();
            operation.wait = Wait::Spawn(child);
            self.set(child, Standing::Starting(None), now);
            self.actions.push_back(Action::Start(child));
        } else if let Some(operation) = self.operation.take() {
            self.finish(operation, now);
        }
    }

    fn finish(&mut self, operation: Operation, now: Duration) {
        match operation.purpose {
            Purpose::Boot => {
                self.stage = Stage::Running;
                self.actions.push_back(Action::Begun);
            }
            Purpose::Rollback { id, failure } => {
                self.stage = Stage::Over;
                self.actions.push_back(Action::End(ExitReason::shutdown_with(FailedToStart { id, failure })));
            }
            Purpose::Restart { child, at: Some(at), .. } => self.wait_until(child, at, now),
            Purpose::Restart { child, asked: Some(asked), .. }
            | Purpose::Add { child, asked }
            | Purpose::Revive { child, asked } => {
                let process = self.children.get(child).and_then(|child| child.standing.process());
                self.answer(asked, Answer::Child(process));
            }
            Purpose::Restart { .. } => {}
            Purpose::Terminate { asked } => self.answer(asked, Answer::Done),
            Purpose::End { reason } => {
                self.stage = Stage::Over;
                self.actions.push_back(Action::End(reason));
            }
        }
    }

    /// A child's turn to be stopped.
    fn stop(&mut self, key: Key, now: Duration) {
        let Some(child) = self.children.get(key) else { return };
        match child.standing {
            Standing::Up(process) | Standing::Starting(Some(process)) => {
                let (kill, time) = first_word(child.settings.shutdown);
                self.actions.push_back(Action::Tell { process, kill, watch: true });
                self.set(key, Standing::Stopping(process), now);
                let until = time.map(|time| now.saturating_add(time));
                self.wait_for(Wait::Stop { child: key, until, killed: kill });
            }
            Standing::Fallen(_) | Standing::Again(_) => self.rest(key, now),
            Standing::Stopped(_) | Standing::Stopping(_) | Standing::Starting(None) => {}
        }
    }

    fn wait_for(&mut self, wait: Wait) {
        if let Some(operation) = &mut self.operation {
            operation.wait = wait;
        }
    }

    /// A child that the operation has stopped, or found without a process.
    fn rest(&mut self, key: Key, now: Duration) {
        let Some(child) = self.children.get(key) else { return };
        if child.is_temporary() {
            return self.remove(key);
        }
        let (rest, place) = match self.operation.as_ref().map(|operation| &operation.purpose) {
            Some(Purpose::Terminate { .. }) => (Rest::ByHand, Place::Stopped),
            Some(Purpose::Restart { .. }) => (Rest::Waiting, Place::Vacant(None)),
            _ => (Rest::Waiting, Place::Gone),
        };
        self.set(key, Standing::Stopped(rest), now);
        self.show(key, place);
    }

    /// A child that was told to stop has ended.
    pub(crate) fn stopped(&mut self, key: Key, reason: &ExitReason, now: Duration) {
        self.report_stop(key, reason);
        let together = self.operation.as_ref().is_some_and(|op| matches!(op.wait, Wait::Together { .. }));
        if together {
            self.rest(key, now);
            if self.children.active() == 0 {
                self.proceed();
            }
            return;
        }
        match self.proceed() {
            None => self.rest(key, now),
            Some(Then::Ignored) => self.ignored(key, now),
            Some(Then::Failed(failure)) => self.start_failed(key, failure, now),
        }
    }

    /// OTP's rule for what is worth a report: any other end than the one that was asked for, except that a child which
    /// may end may do so in the midst of it.
    fn report_stop(&mut self, key: Key, reason: &ExitReason) {
        let Some(child) = self.children.get(key) else { return };
        let Standing::Stopping(process) = child.standing else { return };
        let settings = &child.settings;
        let expected = match reason {
            ExitReason::Shutdown => true,
            ExitReason::Killed => settings.shutdown == Shutdown::BrutalKill,
            ExitReason::Normal | ExitReason::ShutdownWith(_) => settings.restart != Restart::Permanent,
            _ => false,
        };
        let fails = self.operation.as_ref().is_some_and(|operation| operation.then.is_some());
        if !expected && !fails {
            let id = child.id();
            self.report(Report::Stopped { id, process, reason: reason.clone() });
        }
    }

    /// A start function has made a process.
    pub(crate) fn started(&mut self, key: Key, process: P, now: Duration) {
        let init = self.children.get(key).and_then(|child| child.settings.init);
        let ending = self.stage >= Stage::Ending;
        match init {
            Some(init) if !ending => {
                self.set(key, Standing::Starting(Some(process)), now);
                self.wait_for(Wait::Init { child: key, until: now.saturating_add(init) });
            }
            _ => self.up(key, process, now),
        }
    }

    fn up(&mut self, key: Key, process: P, now: Duration) {
        self.set(key, Standing::Up(process), now);
        self.show(key, Place::Up(process));
        self.proceed();
    }

    /// A child that initialises has something to say. What one says who is not waited for counts no more.
    pub(crate) fn said(&mut self, process: P, word: Word, now: Duration) {
        let Some(key) = self.children.key_of(process) else { return };
        if !self.operation.as_ref().is_some_and(|operation| operation.waits_for_init_of(key)) {
            return;
        }
        let Some(operation) = &mut self.operation else { return };
        match (word, operation.wait) {
            (Word::Ready, _) => self.up(key, process, now),
            (Word::Ignore, _) => {
                operation.then = Some(Then::Ignored);
                self.stop(key, now);
            }
            (Word::Nothing, Wait::Init { child, until }) => {
                // Mostly it is about to end, and why is worth more than that it said nothing.
                let until = until.min(now.saturating_add(KILL_PATIENCE));
                operation.wait = Wait::Init { child, until };
                operation.then = Some(Then::Failed(StartFailure::NotReady));
            }
            (Word::Nothing, _) => {}
        }
    }

    /// A child is not wanted: no failure. Its specification stays, unless it is temporary.
    fn ignored(&mut self, key: Key, now: Duration) {
        let temporary = self.children.get(key).is_some_and(super::children::Child::is_temporary);
        if temporary || self.flags.dynamic.is_some() {
            return self.remove(key);
        }
        self.set(key, Standing::Stopped(Rest::Ignored), now);
        self.show(key, Place::Stopped);
    }

    /// A child could not be started; what that means depends on what it was started for.
    pub(crate) fn start_failed(&mut self, key: Key, failure: StartFailure, now: Duration) {
        self.proceed();
        let Some(child) = self.children.get(key) else { return };
        let id = child.id();
        let Some(operation) = &mut self.operation else { return };
        operation.start = nobody();
        match operation.purpose {
            Purpose::Boot => {
                operation.purpose = Purpose::Rollback { id, failure };
                operation.stop = Key::FIRST..key;
                self.set(key, Standing::Stopped(Rest::Waiting), now);
                self.show(key, Place::Gone);
            }
            Purpose::Add { asked, .. } => {
                self.operation = None;
                self.remove(key);
                self.refuse(asked, Refusal::Failed(failure));
            }
            Purpose::Revive { asked, .. } => {
                self.operation = None;
                self.set(key, Standing::Stopped(Rest::ByHand), now);
                self.show(key, Place::Stopped);
                self.refuse(asked, Refusal::Failed(failure));
            }
            Purpose::Restart { asked, .. } => {
                self.operation = None;
                self.report(Report::StartFailed { id, failure: failure.clone() });
                if let Some(asked) = asked {
                    self.refuse(asked, Refusal::Failed(failure));
                }
                self.set(key, Standing::Stopped(Rest::Waiting), now);
                self.try_again(key, now);
            }
            Purpose::Rollback { .. } | Purpose::Terminate { .. } | Purpose::End { .. } => self.rest(key, now),
        }
    }

    /// Sees to what the operation has waited for long enough.
    pub(crate) fn expire(&mut self, now: Duration) {
        let Some(operation) = &mut self.operation else { return };
        if operation.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let out_of_time = operation.limit.is_some_and(|limit| limit.kill <= now);
        let patience = Some(now.saturating_add(KILL_PATIENCE));
        match operation.wait {
            Wait::Nothing | Wait::Spawn(_) => {}
            Wait::Together { killed: false, .. } => self.kill_together(now),
            Wait::Together { killed: true, .. } => self.wedge_all(now),
            _ if out_of_time => self.kill_together(now),
            Wait::Init { child, .. } => {
                operation.then.get_or_insert(Then::Failed(StartFailure::TimedOut));
                operation.wait = Wait::Stop { child, until: patience, killed: true };
                if let Some(process) = self.children.get(child).and_then(|child| child.standing.process()) {
                    self.set(child, Standing::Stopping(process), now);
                    self.actions.push_back(Action::Tell { process, kill: true, watch: true });
                }
            }
            Wait::Stop { child, killed: false, .. } => {
                operation.wait = Wait::Stop { child, until: patience, killed: true };
                if let Some(process) = self.children.get(child).and_then(|child| child.standing.process()) {
                    self.actions.push_back(Action::Tell { process, kill: true, watch: false });
                }
            }
            Wait::Stop { child, killed: true, .. } => self.wedge(child, now),
        }
    }

    /// A child was killed and is still there: the supervisor goes on as if it were not.
    fn wedge(&mut self, key: Key, now: Duration) {
        let Some(child) = self.children.get(key) else { return };
        let Some(process) = child.standing.process() else { return };
        let id = child.id();
        self.wedged.push(WedgedChild { id: Arc::clone(&id), process, since: now });
        self.report(Report::Wedged { id, process });
        // Its process is put out of mind first, so that the end that may come still finds nobody.
        self.set(key, Standing::Stopped(Rest::Waiting), now);
        self.stopped(key, &ExitReason::Killed, now);
    }

    /// Tells all children at once, each in its way, with one clock for all.
    pub(crate) fn stop_together(&mut self, now: Duration) {
        let mut until = Some(now);
        let running: Vec<(Key, P, bool)> = self.running().collect();
        for (key, process, told) in running {
            let Some(child) = self.children.get(key) else { continue };
            let (kill, time) = first_word(child.settings.shutdown);
            let end = time.map(|time| now.saturating_add(time));
            until = until.zip(end).map(|(until, end)| until.max(end));
            self.set(key, Standing::Stopping(process), now);
            self.actions.push_back(Action::Tell { process, kill, watch: !told });
        }
        let wait = Wait::Together { until, killed: false };
        self.wait_for(if self.children.active() == 0 { Wait::Nothing } else { wait });
    }

    fn kill_together(&mut self, now: Duration) {
        let running: Vec<(Key, P, bool)> = self.running().collect();
        for (key, process, told) in running {
            self.set(key, Standing::Stopping(process), now);
            self.actions.push_back(Action::Tell { process, kill: true, watch: !told });
        }
        if let Some(operation) = &mut self.operation {
            let until = Some(now.saturating_add(KILL_PATIENCE));
            operation.wait = Wait::Together { until, killed: true };
            operation.stop = nobody();
        }
    }

    fn wedge_all(&mut self, now: Duration) {
        let running: Vec<(Key, P, bool)> = self.running().collect();
        running.into_iter().for_each(|(key, ..)| self.wedge(key, now));
    }

    /// Those that have a process, with whether that was told to stop.
    fn running(&self) -> impl Iterator<Item = (Key, P, bool)> {
        self.children.from(Key::FIRST).filter_map(|(key, child)| {
            let told = matches!(child.standing, Standing::Stopping(_));
            child.standing.process().map(|process| (key, process, told))
        })
    }
}

/// What a child is told first, whether that kills it, and how long it has.
fn first_word(shutdown: Shutdown) -> (bool, Option<Duration>) {
    match shutdown {
        Shutdown::BrutalKill => (true, Some(KILL_PATIENCE)),
        Shutdown::After(time) => (false, Some(time)),
        Shutdown::Infinity => (false, None),
    }
}
