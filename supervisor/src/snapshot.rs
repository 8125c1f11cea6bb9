//! Driver: what can be seen of a supervisor and its children at any moment, without asking its process.
use crate::board::Board;
use crate::children::{Child, Key, PastExit, Rest, Standing, Turn};
use crate::limits::PAGE;
use crate::operation::Wait;
use crate::spec::{AutoShutdown, ChildKind, Restart, Shutdown, Strategy};
use crate::state::{Machine, Stage};
use colloquium_runtime::{ExitReason, Pid};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Sees a supervisor and what is below it. It takes no part in the supervisor's work and waits for nobody: what it reads
/// stands behind a lock under which no user's code ever runs, and is read some hundred children at a time.
///
/// All moments are in the runtime's time, see [`Handle::now`](colloquium_runtime::Handle::now).
#[derive(Clone)]
pub struct Observer {
    board: Board,
}

/// A supervisor as it was seen at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SupervisorSnapshot {
    /// Its process.
    pub pid: Pid,
    /// When it was looked at.
    pub at: Duration,
    /// What it is about.
    pub state: SupervisorState,
    /// Who is restarted with whom.
    pub strategy: Strategy,
    /// Whether it is a dynamic supervisor, and how many children it may have.
    pub dynamic: Option<usize>,
    /// Whether it ends when significant children do.
    pub auto_shutdown: AutoShutdown,
    /// Restarts within the period; one more than `intensity` ends it.
    pub restarts: usize,
    /// The restarts that it carries out within the period.
    pub intensity: usize,
    /// The length of the window.
    pub period: Duration,
    /// How many children there are, and of what kind.
    pub counts: ChildCounts,
    /// Children that were killed and are still there.
    pub wedged: Vec<WedgedProcess>,
    /// The child that failed too often, so that the supervisor ends or has ended.
    pub gave_up: Option<Arc<str>>,
}

/// What a supervisor is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupervisorState {
    /// It starts its first children.
    Starting,
    /// It waits for what happens.
    Up,
    /// It stops or starts children.
    Restarting,
    /// It stops them all.
    Draining,
    /// It has ended.
    Stopped,
}

/// A child as it was seen at one moment.
#[derive(Clone)]
#[non_exhaustive]
pub struct ChildSnapshot {
    /// What it is called; empty for the children of a dynamic supervisor.
    pub id: Arc<str>,
    /// Its process, if it has one.
    pub pid: Option<Pid>,
    /// What it is.
    pub kind: ChildKind,
    /// When it is restarted.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Whether its end counts for auto shutdown.
    pub significant: bool,
    /// How it stands with it.
    pub state: ChildState,
    /// Since when.
    pub since: Duration,
    /// What happens to it next by itself, and when.
    pub next: Option<NextAction>,
    /// Processes that it has had.
    pub starts: u64,
    /// Unhealthy starts in a row, and how many make its supervisor give it up; for a child that backs off.
    pub unhealthy: Option<(u32, u32)>,
    /// Its last exits, oldest first.
    pub exits: Vec<ChildExit>,
    /// What is below it, if it is a supervisor that runs.
    pub subtree: Option<Observer>,
}

/// How it stands with a child, in the words of the tree's dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// Its process initialises.
    Starting,
    /// Its process runs.
    Up,
    /// Its process was told to stop.
    Draining,
    /// Its process has ended, and it is about to be started again.
    Restarting,
    /// It will be started again after a pause.
    BackOff,
    /// It is started when another of its group is.
    Waiting,
    /// It was stopped, has ended and is not restarted, or said that it is not wanted.
    Stopped,
    /// It failed too often and was given up.
    Failed,
}

/// What happens to a child next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextAction {
    /// It is started, then.
    Start(Duration),
    /// It is killed, unless it is up by then or gone.
    Kill(Duration),
    /// It counts as wedged, unless it is gone by then.
    GiveUp(Duration),
}

/// How a process of a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildExit {
    /// Who it was.
    pub pid: Pid,
    /// Why.
    pub reason: ExitReason,
    /// When.
    pub at: Duration,
    /// How long it had been up, or told to stop.
    pub lived: Duration,
}

/// A process that a kill did not end: its poll does not return.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WedgedProcess {
    /// The child whose process it was.
    pub id: Arc<str>,
    /// Who.
    pub pid: Pid,
    /// Since when its supervisor goes on without it.
    pub since: Duration,
}

/// A child in few words ([`SupervisorRef::which_children`](crate::SupervisorRef::which_children)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildSummary {
    /// What it is called; empty for the children of a dynamic supervisor.
    pub id: Arc<str>,
    /// Its process, if it has one.
    pub pid: Option<Pid>,
    /// What it is.
    pub kind: ChildKind,
    /// How it stands with it.
    pub state: ChildState,
}

/// How many children a supervisor has ([`SupervisorRef::count_children`](crate::SupervisorRef::count_children)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChildCounts {
    /// All, with a process or without.
    pub specs: usize,
    /// Those that have a process.
    pub active: usize,
    /// Those that are supervisors, with a process or without.
    pub supervisors: usize,
    /// Those that are not.
    pub workers: usize,
}

/// How the stop of a supervisor went ([`SupervisorRef::stop`](crate::SupervisorRef::stop)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Why the supervisor ended: shutdown, unless something else came first.
    pub reason: ExitReason,
    /// The processes that it could not stop.
    pub wedged: Vec<WedgedProcess>,
}

impl Observer {
    pub(crate) fn new(board: Board) -> Self {
        Self { board }
    }

    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// The supervisor's pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.board.process()
    }

    /// The supervisor itself.
    #[must_use]
    pub fn supervisor(&self) -> SupervisorSnapshot {
        let (at, gone) = self.now();
        self.seen(&self.board.machine(), at, gone)
    }

    /// As [`Observer::supervisor`]; none if its lock cannot be had in that time.
    pub(crate) fn supervisor_within(&self, patience: Duration) -> Option<SupervisorSnapshot> {
        let (at, gone) = self.now();
        Some(self.seen(&*self.board.machine_within(patience)?, at, gone))
    }

    /// The time, and whether the process is dead: looked at before the lock is taken.
    fn now(&self) -> (Duration, bool) {
        (self.board.runtime().now(), !self.board.runtime().is_alive(self.pid()))
    }

    fn seen(&self, machine: &Machine<Pid>, at: Duration, gone: bool) -> SupervisorSnapshot {
        let state = match machine.stage {
            _ if gone => SupervisorState::Stopped,
            Stage::Unborn | Stage::Starting => SupervisorState::Starting,
            Stage::Running if machine.operation.is_some() => SupervisorState::Restarting,
            Stage::Running => SupervisorState::Up,
            Stage::Ending => SupervisorState::Draining,
            Stage::Over => SupervisorState::Stopped,
        };
        let (restarts, intensity) = machine.intensity.used(at);
        SupervisorSnapshot {
            pid: self.pid(),
            at,
            state,
            strategy: machine.flags.strategy,
            dynamic: machine.flags.dynamic,
            auto_shutdown: machine.flags.auto_shutdown,
            restarts,
            intensity,
            period: machine.intensity.period(),
            counts: counts(machine),
            wedged: wedged(machine),
            gave_up: machine.gave_up.clone(),
        }
    }

    /// The children, in start order. They are read in pages, so that what is read is true of each page at one moment; one
    /// that is added or removed meanwhile may be seen or not.
    #[must_use]
    pub fn children(&self) -> ChildSnapshots {
        self.children_within(Duration::MAX)
    }

    /// As [`Observer::children`]; when the lock cannot be had in that time, [`ChildSnapshots::is_cut_short`].
    pub(crate) fn children_within(&self, patience: Duration) -> ChildSnapshots {
        let (next, page) = (Some(Key::FIRST), Vec::new().into_iter());
        ChildSnapshots { board: self.board.clone(), next, page, patience, cut_short: false }
    }

    pub(crate) fn counts(&self) -> ChildCounts {
        counts(&self.board.machine())
    }

    pub(crate) fn wedged(&self) -> Vec<WedgedProcess> {
        wedged(&self.board.machine())
    }
}

fn counts(machine: &Machine<Pid>) -> ChildCounts {
    let (specs, supervisors) = (machine.children.len(), machine.children.supervisors());
    ChildCounts { specs, active: machine.children.active(), supervisors, workers: specs - supervisors }
}

fn wedged(machine: &Machine<Pid>) -> Vec<WedgedProcess> {
    let wedged = machine.wedged.iter();
    wedged.map(|w| WedgedProcess { id: Arc::clone(&w.id), pid: w.process, since: w.since }).collect()
}

/// The children of a supervisor, see [`Observer::children`].
pub struct ChildSnapshots {
    board: Board,
    next: Option<Key>,
    page: std::vec::IntoIter<(Key, ChildSnapshot)>,
    patience: Duration,
    cut_short: bool,
}

impl ChildSnapshots {
    /// Whether there are more, which could not be read in time.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.cut_short
    }
}

impl Iterator for ChildSnapshots {
    type Item = ChildSnapshot;

    fn next(&mut self) -> Option<ChildSnapshot> {
        loop {
            if let Some((key, mut child)) = self.page.next() {
                if child.kind == ChildKind::Supervisor {
                    child.subtree = self.board.subtree(key).map(Observer::new);
                }
                return Some(child);
            }
            let from = self.next.take()?;
            let Some(machine) = self.board.machine_within(self.patience) else {
                self.cut_short = true;
                return None;
            };
            let page: Vec<(Key, ChildSnapshot)> =
                machine.children.from(from).take(PAGE).map(|(key, child)| (key, see(&machine, key, child))).collect();
            drop(machine);
            self.next = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.next());
            self.page = page.into_iter();
            if self.page.len() == 0 {
                return None;
            }
        }
    }
}

fn see(machine: &Machine<Pid>, key: Key, child: &Child<Pid>) -> ChildSnapshot {
    let settings = &child.settings;
    let state = match &child.standing {
        Standing::Starting(_) => ChildState::Starting,
        Standing::Up(_) => ChildState::Up,
        Standing::Stopping(_) => ChildState::Draining,
        Standing::Fallen(_) | Standing::Again(Turn::Message(_)) => ChildState::Restarting,
        Standing::Again(Turn::At(_)) => ChildState::BackOff,
        Standing::Stopped(Rest::Waiting) => ChildState::Waiting,
        Standing::Stopped(Rest::Failed) => ChildState::Failed,
        Standing::Stopped(Rest::ByHand | Rest::Ended | Rest::Ignored) => ChildState::Stopped,
    };
    let past = |exit: &PastExit<Pid>| ChildExit {
        pid: exit.process,
        reason: exit.reason.clone(),
        at: exit.at,
        lived: exit.lived,
    };
    ChildSnapshot {
        id: child.id(),
        pid: child.standing.process(),
        kind: settings.kind,
        restart: settings.restart,
        shutdown: settings.shutdown,
        significant: settings.significant,
        state,
        since: child.since(),
        next: next_action(machine, key, child),
        starts: u64::from(child.starts),
        unhealthy: settings.backoff.as_ref().map(|backoff| (child.unhealthy, backoff.give_up_after)),
        exits: child.exits.iter().flat_map(|exits| exits.iter()).map(past).collect(),
        subtree: None,
    }
}

fn next_action(machine: &Machine<Pid>, key: Key, child: &Child<Pid>) -> Option<NextAction> {
    if let Standing::Again(Turn::At(at)) = child.standing {
        return Some(NextAction::Start(at));
    }
    let operation = machine.operation.as_ref()?;
    let (concerned, killed) = match operation.wait {
        Wait::Init { child, .. } => (child == key, false),
        Wait::Stop { child, killed, .. } => (child == key, killed),
        Wait::Together { killed, .. } => (matches!(child.standing, Standing::Stopping(_)), killed),
        Wait::Nothing | Wait::Spawn(_) => (false, false),
    };
    let at = operation.deadline().filter(|_| concerned)?;
    Some(if killed { NextAction::GiveUp(at) } else { NextAction::Kill(at) })
}

impl From<ChildSnapshot> for ChildSummary {
    fn from(child: ChildSnapshot) -> Self {
        Self { id: child.id, pid: child.pid, kind: child.kind, state: child.state }
    }
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Restarting => "restarting",
            Self::BackOff => "back-off",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observer({})", self.pid())
    }
}

impl fmt::Debug for ChildSnapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildSnapshots({})", self.board.process())
    }
}

impl fmt::Debug for ChildSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut child = f.debug_struct("ChildSnapshot");
        child.field("id", &self.id).field("pid", &self.pid).field("state", &self.state).field("starts", &self.starts);
        child.field("next", &self.next).field("exits", &self.exits).finish_non_exhaustive()
    }
}
