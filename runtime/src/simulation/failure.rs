//! Pure: how a simulation went, and how it failed.
use crate::info::{Activity, ProcessInfo};
use crate::simulation::choices::Choices;
use crate::simulation::trace::Lines;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a simulation came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome<T> {
    /// What the body returned.
    pub value: T,
    /// The seed.
    pub seed: u64,
    /// Of all that happened: the same for the same seed, in debug and release, on any machine.
    pub hash: u64,
    /// Polls, firings of timers and the like.
    pub steps: u64,
    /// The virtual time that has passed.
    pub time: Duration,
    /// The marks that [`sometimes!`](crate::sometimes) met, and whether their conditions held once.
    pub marks: BTreeMap<Arc<str>, bool>,
    /// The last events.
    pub trace: Lines,
}

/// A simulation that failed. It prints what happened, how to repeat it, and the last lines of its trace.
#[derive(Clone, Debug)]
pub struct Failure(Box<Inside>);

#[derive(Clone, Debug)]
struct Inside {
    seed: u64,
    choices: Option<Choices>,
    steps: u64,
    time: Duration,
    hash: u64,
    kind: FailureKind,
    trace: Lines,
}

/// How far a simulation came.
#[derive(Clone, Copy)]
pub(super) struct Took {
    pub(super) steps: u64,
    pub(super) time: Duration,
    pub(super) hash: u64,
}

/// What went wrong in a simulation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FailureKind {
    /// The body panicked, and said this. (A process that panics ends, as ever, and fails nothing by that.)
    Panicked(String),
    /// The body waits, and nothing can ever run: no process is awake, no timer stands. These processes live.
    ///
    /// If the body waits for another thread, that looks the same: what a simulation waits for has to happen in it.
    Deadlock(Vec<ProcessInfo>),
    /// So many steps were taken, and the body had not returned or its processes had not ended.
    StepLimit(u64),
    /// So much virtual time has passed, and the body had not returned or its processes had not ended.
    TimeLimit(Duration),
    /// The second run of the seed went another way than the first: something in the program is not determined by the seed.
    Diverged {
        /// The number of the event at which they parted, if that is known.
        event: Option<u64>,
        /// What happened there in the first run, if it is still known.
        first: Option<String>,
        /// What happened there in the second; nothing if that had ended.
        second: Option<String>,
    },
    /// Another thread woke or spawned a process of the simulation, at a moment that no seed determines.
    ForeignThread(String),
}

impl Failure {
    pub(super) fn new(seed: u64, choices: Option<Choices>, took: Took, kind: FailureKind, trace: Lines) -> Self {
        let Took { steps, time, hash } = took;
        Self(Box::new(Inside { seed, choices, steps, time, hash, kind, trace }))
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &FailureKind {
        &self.0.kind
    }

    /// The seed that repeats it, with the same program and the same settings of the simulation.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The choices that were given in place of the seed's, if so: they repeat it together with the seed.
    #[must_use]
    pub fn choices(&self) -> Option<&Choices> {
        self.0.choices.as_ref()
    }

    /// After how many steps.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.steps
    }

    /// After how much virtual time.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.0.time
    }

    /// Of all that had happened by then; the same whenever the failure is repeated.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.0.hash
    }

    /// The last events before it.
    #[must_use]
    pub fn trace(&self) -> &Lines {
        &self.0.trace
    }
}

/// Lines of the trace that a failure prints.
const SHOWN: usize = 60;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inside { seed, steps, time, kind, trace, .. } = &*self.0;
        writeln!(f, "simulation of seed {seed} failed at step {steps}, after {time:?} of its time: {kind}")?;
        write!(f, "{}", trace.clone().last(SHOWN))
    }
}

impl Error for Failure {}

impl FailureKind {
    /// What is the same of two failures that count as one, although numbers in what they say may differ: where the body panicked
    /// and how that begins, or who waits for what. None for those of which that cannot be said.
    pub(super) fn way(&self, place: impl FnOnce(&str) -> Option<String>) -> Option<String> {
        match self {
            Self::Panicked(said) => {
                let mut text = place(said).unwrap_or_default();
                let line = said.lines().next().unwrap_or_default();
                let words = line.split(|c: char| c.is_ascii_digit()).filter(|word| !word.is_empty());
                words.for_each(|word| text.extend(["#", word]));
                Some(text)
            }
            Self::Deadlock(processes) => {
                let one = |process: &ProcessInfo| {
                    let ProcessInfo { name, label, spawned_at, whereabouts, .. } = process;
                    format!("{name:?} {label:?} {spawned_at:?} {whereabouts}")
                };
                let all: BTreeSet<String> = processes.iter().map(one).collect();
                Some(format!("{all:?}"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(said) => write!(f, "the body panicked: {said}"),
            Self::Deadlock(processes) => {
                write!(f, "deadlock: nothing can ever run, and the body waits. What each process waits for:")?;
                if processes.is_empty() {
                    write!(f, " there is none. (What a simulation waits for has to happen in it, not on a thread)")?;
                }
                processes.iter().try_for_each(|process| write!(f, "\n  {}", Waiting(process)))
            }
            Self::StepLimit(steps) => {
                write!(f, "{steps} steps were not enough (Simulation::step_limit sets the limit)")
            }
            Self::TimeLimit(time) => {
                write!(f, "{time:?} of virtual time were not enough (Simulation::time_limit sets the limit)")
            }
            Self::Diverged { event, first, second } => {
                let ended = "nothing that is still known";
                let (first, second) = (first.as_deref().unwrap_or(ended), second.as_deref().unwrap_or("the end"));
                let event = event.map_or_else(String::new, |event| format!(" at event {event}"));
                write!(
                    f,
                    "its second run went another way{event}; something is not determined by the seed: the order of a hash \
                     map, an address, a clock, a thread, or what an earlier run left behind\n  first run:  {first}\n  \
                     second run: {second}"
                )
            }
            Self::ForeignThread(thread) => write!(
                f,
                "thread {thread:?} woke or spawned a process of the simulation, at a moment that no seed determines; in \
                 a simulation use processes in place of threads, Handle::sleep in place of other timers, and no block_on"
            ),
        }
    }
}

/// What a process waits for.
struct Waiting<'a>(&'a ProcessInfo);

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProcessInfo { pid, name, label, activity, mailbox, .. } = self.0;
        write!(f, "{pid}")?;
        if let Some(name) = name.as_ref().or(label.as_ref()) {
            write!(f, " ({name})")?;
        }
        match activity {
            Activity::Receiving(_) => write!(f, " waits for a message")?,
            Activity::Calling(callee) => write!(f, " waits for the answer of {callee}")?,
            Activity::Blocking(_) => write!(f, " waits for blocking work")?,
            Activity::Active => write!(f, " awaits something other than a message")?,
        }
        if *mailbox > 0 { write!(f, ", with {mailbox} messages in its mailbox") } else { Ok(()) }
    }
}
