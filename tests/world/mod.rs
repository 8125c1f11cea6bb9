//! Driver: what the model of dispatch knows of its messages and consumers, beside the group itself, and what it holds of them.
//!
//! A violation that a consumer sees is noted and not panicked with: a consumer that panics is ordinary life here.
pub(crate) mod consumers;
pub(crate) mod plan;
pub(crate) mod run;

use colloquium::prelude::*;
use colloquium::{ConsumerId, Pid, sometimes};
use plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

pub(crate) type Group = DispatchConversation<Job, u64>;

/// One message.
pub(crate) struct Job {
    pub(crate) number: usize,
    pub(crate) key: Option<u64>,
    pub(crate) once: bool,
    pub(crate) accepted: bool,
}

/// What a caller was told of a success.
#[derive(Debug)]
pub(crate) struct Success {
    /// `None` if it was accepted only.
    output: Option<u64>,
    delivered_to: ConsumerId,
    attempts: u32,
    reroutes: (usize, usize),
}

impl Success {
    pub(crate) fn new<R>(outcome: &DispatchOutcome<R>, output: Option<u64>) -> Self {
        let reroutes = (outcome.rerouted_from().len(), outcome.reroute_timings().len());
        Self { output, delivered_to: outcome.delivered_to(), attempts: outcome.attempts(), reroutes }
    }
}

/// What is known of one message.
#[derive(Default)]
struct Known {
    begun: u32,
    failed: u32,
    discarded: u32,
    /// Handlers that are at work with it.
    live: u32,
    /// What handlers returned, and who they were.
    completed: BTreeMap<u64, Option<ConsumerId>>,
    /// A handler's process ended along a link while it was at work.
    suspect: bool,
    /// How many had begun when its outcome was known.
    settled: Option<u32>,
}

pub(crate) struct Ledger {
    pub(crate) plan: Plan,
    pub(crate) runtime: Runtime,
    /// Consumers are made to stand still.
    pub(crate) stalls: bool,
    pub(crate) group: OnceLock<Group>,
    state: Mutex<State>,
}

struct State {
    rng: colloquium::Rng,
    /// No more faults.
    calm: bool,
    messages: Vec<Known>,
    /// Deliveries that are with handlers, by process.
    held: BTreeMap<Pid, u32>,
    busy: BTreeSet<u64>,
    /// The last message of each key that a handler has begun with.
    last: BTreeMap<u64, usize>,
    runs: u64,
    completed: u64,
    /// Outcomes whose messages have to be dead letters.
    deadly: u64,
    violations: Vec<String>,
}

/// A handler at work.
pub(crate) struct AtWork {
    ledger: Arc<Ledger>,
    number: usize,
    key: Option<u64>,
    pid: Option<Pid>,
    who: Option<ConsumerId>,
    run: u64,
}

impl Ledger {
    pub(crate) fn new(plan: Plan, stalls: bool, runtime: &Runtime) -> Arc<Self> {
        let state = State {
            rng: runtime.rng(),
            calm: false,
            messages: Vec::new(),
            held: BTreeMap::new(),
            busy: BTreeSet::new(),
            last: BTreeMap::new(),
            runs: 0,
            completed: 0,
            deadly: 0,
            violations: Vec::new(),
        };
        Arc::new(Self { plan, runtime: runtime.clone(), stalls, group: OnceLock::new(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic with it")
    }

    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut colloquium::Rng) -> T) -> T {
        draw(&mut self.state().rng)
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.state().calm
    }

    pub(crate) fn calm_down(&self) {
        self.state().calm = true;
    }

    pub(crate) fn violated(&self, what: impl Into<String>) {
        self.state().violations.push(what.into());
    }

    /// Panics with what was seen to be wrong.
    pub(crate) fn hold(&self) {
        let state = self.state();
        assert!(state.violations.is_empty(), "{:#?}\n{:#?}", state.violations, self.plan);
    }

    /// A new message; the next number of all.
    pub(crate) fn message(&self) -> Job {
        let mut state = self.state();
        let key = (self.plan.keys > 0 && state.rng.chance(4, 5)).then(|| state.rng.below(self.plan.keys));
        let (once, accepted) = (state.rng.chance(1, 4), self.plan.accepts && state.rng.chance(1, 6));
        state.messages.push(Known::default());
        Job { number: state.messages.len() - 1, key, once, accepted }
    }

    /// A handler begins.
    pub(crate) fn begin(self: &Arc<Self>, job: &Job) -> AtWork {
        let pid = self.runtime.current();
        let consumers = self.group.get().map(|group| group.group().consumers()).unwrap_or_default();
        let view = consumers.iter().find(|view| view.pid == pid && pid.is_some());
        let (who, room) = (view.map(|view| view.id), view.map(|view| view.room));
        let mut state = self.state();
        let state = &mut *state;
        state.runs += 1;
        let known = &mut state.messages[job.number];
        sometimes!("a suspect is tried again", known.suspect);
        known.begun += 1;
        known.live += 1;
        let mut wrong = Vec::new();
        if job.once && known.begun > 1 {
            wrong.push(format!("invariant 3: message {} begun with again", job.number));
        }
        if known.live > 1 {
            wrong.push(format!("message {} is with two handlers", job.number));
        }
        if known.settled.is_some() && !job.accepted && self.plan.counts_begun() {
            wrong.push(format!("message {} begun with after its outcome", job.number));
        }
        if let Some(pid) = pid {
            let held = state.held.entry(pid).or_insert(0);
            *held += 1;
            if room.is_some_and(|room| *held > room) {
                wrong.push(format!("invariant 5: {pid} holds {held} of {room:?}"));
            }
        }
        if let Some(key) = job.key {
            if !state.busy.insert(key) {
                wrong.push(format!("invariant 5: key {key} is with two handlers, one has message {}", job.number));
            }
            let last = state.last.insert(key, job.number).unwrap_or(0);
            if last > job.number {
                wrong.push(format!("key {key}: message {} after message {last}", job.number));
            }
        }
        state.violations.extend(wrong);
        let run = state.runs;
        AtWork { ledger: Arc::clone(self), number: job.number, key: job.key, pid, who, run }
    }

    /// Its dispatch was cancelled, or nobody waits for the outcome.
    pub(crate) fn cancelled(&self, number: usize) {
        let mut state = self.state();
        let known = &mut state.messages[number];
        known.settled = Some(known.begun);
    }

    /// The caller has the outcome.
    pub(crate) fn delivered(&self, job: &Job, outcome: &Success) {
        let mut state = self.state();
        let state = &mut *state;
        let known = &mut state.messages[job.number];
        let mut wrong = Vec::new();
        match outcome.output {
            Some(run) => {
                if known.completed.get(&run).is_none_or(|who| who.is_some_and(|who| who != outcome.delivered_to)) {
                    wrong.push(format!("invariant 2: {job:?} {outcome:?} {:?}", known.completed));
                }
                if self.plan.counts_begun() && outcome.attempts != known.begun {
                    wrong.push(format!("{job:?} begun with {} times: {outcome:?}", known.begun));
                }
            }
            None if known.begun == 0 && self.plan.counts_begun() => {
                wrong.push(format!("invariant 2: {job:?} accepted by nobody"));
            }
            None => {}
        }
        if outcome.reroutes.0 != outcome.reroutes.1 {
            wrong.push(format!("{outcome:?}"));
        }
        known.settled = Some(known.begun);
        state.violations.extend(wrong);
    }

    /// The caller has the error.
    pub(crate) fn failed(&self, job: &Arc<Job>, error: &DispatchError<Job>, late: bool) {
        let mut state = self.state();
        let state = &mut *state;
        let known = &mut state.messages[job.number];
        let mut wrong = Vec::new();
        if !Arc::ptr_eq(job, error.message()) {
            wrong.push("invariant 4: another message came back".to_owned());
        }
        let safe = error.is_safe_to_retry();
        if safe && known.begun > 0 || self.plan.counts_begun() && !safe && known.begun == 0 {
            wrong.push(format!("is_safe_to_retry is {safe}, and {} began: {error:?}", known.begun));
        }
        let right = match error.kind() {
            DeadlineExceeded => late,
            Discarded => known.discarded > 0 || job.once && known.failed > 0,
            Poisoned => !job.once,
            MaybeCompleted => job.once,
            WouldDeadlock | NotStarted | Cancelled => false,
            UnknownConsumerSelected | Evaluation => self.plan.errs(),
            _ => true,
        };
        if !right {
            wrong.push(format!("{job:?} ended so for no reason: {error:?}"));
        }
        mark(error);
        state.deadly += u64::from(matches!(error.kind(), Poisoned | Discarded | MaybeCompleted));
        known.settled = Some(known.begun);
        state.violations.extend(wrong);
    }

    /// Handlers that have returned successfully.
    pub(crate) fn completed(&self) -> u64 {
        self.state().completed
    }

    pub(crate) fn deadly(&self) -> u64 {
        self.state().deadly
    }

    /// A process of a consumer that is not its consumer's any more has a handler still.
    pub(crate) fn has_wedged(&self, pids: &[Pid]) -> bool {
        self.state().held.iter().any(|(pid, held)| *held > 0 && !pids.contains(pid))
    }

    /// How often handlers have begun with a message.
    pub(crate) fn begun(&self, number: usize) -> u32 {
        self.state().messages[number].begun
    }
}

fn mark(error: &DispatchError<Job>) {
    let reached = |reached| error.attempts().iter().any(|attempt| attempt.reached == reached);
    sometimes!("poisoned", error.kind() == Poisoned);
    sometimes!("discarded", error.kind() == Discarded);
    sometimes!("maybe completed", error.kind() == MaybeCompleted);
    sometimes!("room full", error.kind() == Overloaded && error.retry_after().is_some());
    sometimes!("waited too long", error.kind() == Overloaded && error.retry_after().is_none());
    sometimes!(
        "withdrawn",
        error.kind() == DeadlineExceeded && error.is_safe_to_retry() && !error.attempts().is_empty()
    );
    sometimes!("late", error.kind() == DeadlineExceeded && reached(colloquium::Reached::Started));
    sometimes!("the conversation was killed", error.kind() == Conversation);
}

impl AtWork {
    /// The handler's process ends along a link.
    pub(crate) fn suspected(&self) {
        self.ledger.state().messages[self.number].suspect = true;
    }

    pub(crate) fn complete(self) -> u64 {
        let mut state = self.ledger.state();
        state.completed += 1;
        state.messages[self.number].completed.insert(self.run, self.who);
        drop(state);
        self.run
    }

    pub(crate) fn fail(self, discards: bool) {
        let mut state = self.ledger.state();
        let known = &mut state.messages[self.number];
        known.failed += 1;
        known.discarded += u32::from(discards);
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut state = self.ledger.state();
        state.messages[self.number].live -= 1;
        if let Some(held) = self.pid.and_then(|pid| state.held.get_mut(&pid)) {
            *held -= 1;
        }
        if let Some(key) = self.key {
            state.busy.remove(&key);
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "message {} (key {:?}, once {}, accepted {})", self.number, self.key, self.once, self.accepted)
    }
}
