//! Pure: what a dump shows, as data that tools can read.
//!
//! Names of fields say their unit (`_ms`, `_us`). Everything that the text shows is here, but for the layout.
use crate::tree::word::State;
use colloquium_runtime::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A runtime and its supervision trees, as they were seen at one moment ([`Tree::look`](crate::tree::Tree::look)).
///
/// It prints as text ([`SupervisionTree::text`] has options), and goes to JSON and to Graphviz. Nodes stand in start order and
/// strangers in the order of their pids, so that two dumps can be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SupervisionTree {
    /// [`SupervisionTree::SCHEMA`] of the program that took it.
    pub schema: u32,
    /// That program's version of this crate.
    pub version: String,
    /// Why it was taken, if nobody had asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occasion: Option<String>,
    /// The time of day, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long it took to look: what is shown is true of some moment within.
    pub took_us: u64,
    /// The operating system's number for the program.
    pub os_pid: u32,
    /// The runtime.
    pub runtime: RuntimeHealth,
    /// What is wrong, worst first.
    pub attention: Vec<Attention>,
    /// How much else is wrong and not listed.
    pub attention_more: usize,
    /// Processes that ended abnormally.
    pub exits: Exits,
    /// The trees, each with its root.
    pub trees: Vec<Node>,
    /// Processes that stand in none of the trees, and below no process that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupervised: Option<Node>,
    /// Parts of the table of processes that could not be read in time.
    pub unread: usize,
}

impl SupervisionTree {
    /// Grows with each change of the form that a reader of the JSON could trip over.
    pub const SCHEMA: u32 = 1;
}

/// The runtime and its threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RuntimeHealth {
    /// What it was named.
    pub name: String,
    /// How long it has been up.
    pub up_ms: u64,
    /// Worker threads.
    pub workers: usize,
    /// Of these, those that poll a process.
    pub busy: usize,
    /// Of these, those that have been in one poll for a quarter of a second and more.
    pub stalled: usize,
    /// Spare threads that stand in for stuck workers.
    #[serde(default)]
    pub spares: usize,
    /// Workers and spare threads that are stuck, as the runtime has noticed by itself.
    #[serde(default)]
    pub stuck: usize,
    /// Processes that are to be polled and wait for a worker.
    pub run_queue: usize,
    /// Blocking work that runs.
    pub blocking: usize,
    /// The threads for blocking work that there are.
    pub blocking_threads: usize,
    /// Blocking work that has not begun.
    pub blocking_queue: usize,
    /// Processes that live.
    pub processes: usize,
    /// The most that may.
    pub process_limit: usize,
    /// Timers that stand.
    pub timers: usize,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something is not there, or holds others up.
    Error,
    /// It may become an error.
    Warning,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attention {
    /// How bad it is.
    pub severity: Severity,
    /// Where: ids from the root down.
    pub path: String,
    /// The process, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// How it stands.
    pub state: State,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// What is known, and what happens next.
    pub text: String,
}

impl Attention {
    /// Something that is wrong with what stands at `path`.
    #[must_use]
    pub fn new(severity: Severity, path: impl Into<String>, state: State, text: impl Into<String>) -> Self {
        Self { severity, path: path.into(), pid: None, state, for_ms: None, text: text.into() }
    }

    /// The process.
    #[must_use]
    pub fn of(mut self, pid: Pid) -> Self {
        self.pid = Some(pid.to_string());
        self
    }

    /// Since when, as a length of time.
    #[must_use]
    pub fn since(mut self, for_ms: u64) -> Self {
        self.for_ms = Some(for_ms);
        self
    }
}

/// Processes that ended abnormally, which the runtime keeps longer than their supervisors do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exits {
    /// All of them.
    pub total: u64,
    /// Those of the last hour that are still kept (256 are).
    pub last_hour: usize,
    /// The last, newest first.
    pub last: Vec<Exit>,
}

/// A process that ended abnormally.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who.
    pub pid: String,
    /// Where it stood in the tree, or else its name, its label or its pid.
    pub path: String,
    /// Why.
    pub reason: Reason,
    /// How long it had lived.
    pub lived_ms: u64,
    /// What others say of it: who is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why a process ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reason {
    /// In words, cut at 200 characters.
    pub text: String,
    /// `file:line:column` of a panic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// Something in the tree: a supervisor, a process, or what another crate adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Node {
    /// What it is called: the child's id; or else its name, its label or its pid.
    pub id: String,
    /// What it is: a supervisor's strategy, or a word of another crate's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// How it stands, if that can be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// How often it was restarted, or restarts others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,
    /// Its mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<Doing>,
    /// What happens to it next by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// How its last process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Reason>,
    /// What another crate says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What is below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
    /// What is below it and not shown one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<Summary>,
}

impl Node {
    /// A node of which no more is known than what it is called.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            kind: None,
            pid: None,
            state: None,
            for_ms: None,
            restarts: None,
            mail: None,
            doing: None,
            next: None,
            last_exit: None,
            note: None,
            children: Vec::new(),
            more: None,
        }
    }

    /// With what it is.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// With how it stands.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// With what is to be said of it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// With one more child, the last.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }
}

/// Restarts, against what limits them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Restarts {
    /// A supervisor's: within its period, and the most that it carries out.
    Window {
        /// So many.
        used: usize,
        /// One more ends it.
        limit: usize,
        /// The length of the window.
        period_ms: u64,
    },
    /// Unhealthy starts in a row of a child that backs off.
    Unhealthy {
        /// So many.
        starts: u32,
        /// With so many it is given up.
        give_up_after: u32,
    },
    /// Of one child, altogether.
    Times(u64),
    /// In the words of another crate.
    Other(String),
}

/// A mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mail {
    /// Messages in it.
    pub held: usize,
    /// The most that it holds.
    pub bound: usize,
    /// For how long the oldest has been in it, at most: as
    /// [`ProcessInfo::oldest_message`](colloquium_runtime::ProcessInfo::oldest_message).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// Messages that it has dropped, by the policy it was given.
    pub dropped: u64,
}

/// What a process does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Doing {
    /// A supervisor: so many children in each state.
    Supervises(BTreeMap<State, usize>),
    /// It is polled, for so long at most.
    Polled {
        /// Since its worker looked at the clock last.
        for_ms: u64,
    },
    /// It calls this process and waits for the answer.
    Calls(String),
    /// It waits for blocking work.
    Blocking {
        /// For so long.
        for_ms: u64,
    },
    /// It awaits something else than a message, or did when it was polled last.
    Awaits(Awaited),
}

/// What a process awaits beside messages, answers to its calls and blocking work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Awaited {
    /// The answer to a call that is not its own process's.
    Answer,
    /// Room in a mailbox.
    Room,
    /// The end of a process.
    End,
    /// A moment.
    Time,
    /// A socket.
    Io,
    /// Something that is not of the runtime.
    Other,
}

/// What happens to a child next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Next {
    /// It is started.
    Start {
        /// In so long.
        in_ms: u64,
    },
    /// It is killed, unless it is up by then or gone.
    Kill {
        /// In so long.
        in_ms: u64,
    },
    /// It counts as wedged, unless it is gone by then.
    GiveUp {
        /// In so long.
        in_ms: u64,
    },
}

/// Many like nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// How many of them in each state; empty if they were not looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<State, usize>,
    /// Messages in their mailboxes.
    pub mail: usize,
    /// For how long the oldest of these has been there, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_mail_ms: Option<u64>,
    /// The longest that one of them has been as it is.
    pub oldest_ms: u64,
    /// What another crate says of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
