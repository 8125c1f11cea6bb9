//! Pure: what the runtime tells about itself and its processes.
use crate::pid::Pid;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// What is known of a live process, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Who.
    pub pid: Pid,
    /// The name it is registered under.
    pub name: Option<Arc<str>>,
    /// What it was labelled with; or else, if it has no name, what its parent calls it
    /// ([`Context::name_children`](crate::Context::name_children)): a supervisor's child its id.
    pub label: Option<Arc<str>>,
    /// The process that spawned it.
    pub parent: Option<Pid>,
    /// What it does.
    pub activity: Activity,
    /// Messages in its mailbox, those set aside by a selective receive included, signals not.
    pub mailbox: usize,
    /// The most messages its mailbox holds.
    pub mailbox_bound: usize,
    /// For how long the oldest message has been in the mailbox, at most: no message has been there longer, and for so long the
    /// mailbox has not been empty; both to a tenth of a second. `None` if there is none, or if the process is to end.
    ///
    /// It may be more than it is for the oldest: a process takes what has come in one go, and all that it has taken, or set
    /// aside of that, counts from the first of it. So it is more by no longer than that took to come, while the process was at
    /// what it had taken before; and while it handles what it has set aside, by the age of that. In a mailbox that drops its
    /// oldest, by no longer than a message took to come to the front.
    ///
    /// A message whose sender waits for room counts from when it is let in. Beside the tenth of a second, the clock that this
    /// is told by is late by up to a quarter of [`Builder::stall_limit`](crate::Builder::stall_limit) while
    /// processes do not return from their polls.
    pub oldest_message: Option<Duration>,
    /// Messages that its mailbox has dropped, by the policy it was given.
    pub dropped: u64,
    /// Operations it has spent, and polls.
    pub reductions: u64,
    /// Whether it traps exits.
    pub traps_exits: bool,
    /// Its links: the first 32.
    pub links: Vec<Pid>,
    /// How many links it has.
    pub link_count: usize,
    /// The processes it monitors, once for each monitor: the first 32.
    pub monitors: Vec<Pid>,
    /// How many monitors it holds.
    pub monitor_count: usize,
    /// The processes that monitor it, once for each monitor: the first 32.
    pub monitored_by: Vec<Pid>,
    /// How many monitors others hold on it.
    pub monitored_by_count: usize,
    /// The groups it has joined, once for each time.
    pub groups: Vec<Arc<str>>,
    /// Timers that will send to it.
    pub timers: usize,
    /// How long it has lived, to a tenth of a second.
    pub age: Duration,
    /// Where in the program it was spawned.
    pub spawned_at: Option<&'static Location<'static>>,
    /// What it awaited last, or awaits.
    pub whereabouts: Whereabouts,
    /// For how long it has run without awaiting, if that is longer than the runtime's limit.
    pub stalled: Option<Duration>,
}

/// What a process awaited when its last poll ended that has ended; while it waits, what it awaits. If it awaits several
/// things at once, the one that was polled last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Whereabouts {
    /// Nothing yet: it is in its first poll, or waits for that.
    Start,
    /// A message.
    Receive,
    /// The answer to a call.
    Call,
    /// Room in a mailbox.
    Send,
    /// The end of a process.
    End,
    /// A moment.
    Sleep,
    /// Its turn: it gave way, or its budget was spent.
    Yield,
    /// A socket.
    Io,
    /// Something that is not of this runtime.
    Other,
}

impl Whereabouts {
    const ALL: [Self; 9] = [
        Self::Start,
        Self::Receive,
        Self::Call,
        Self::Send,
        Self::End,
        Self::Sleep,
        Self::Yield,
        Self::Io,
        Self::Other,
    ];

    /// What stands for it in a byte.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn of(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or(Self::Other)
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Receive => "receive",
            Self::Call => "call",
            Self::Send => "send",
            Self::End => "end",
            Self::Sleep => "sleep",
            Self::Yield => "yield",
            Self::Io => "io",
            Self::Other => "other",
        })
    }
}

/// A process as it is seen in passing, when all of them are looked at ([`Handle::sample`](crate::Handle::sample)): less than
/// [`ProcessInfo`], for less.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessSample {
    /// Who.
    pub pid: Pid,
    /// The process that spawned it.
    pub parent: Option<Pid>,
    /// How long it has lived, to a tenth of a second.
    pub age: Duration,
    /// Its end is certain: it was killed, for one, and has not come to it, or its state is being dropped.
    pub doomed: bool,
    /// It is being polled; for how long at most (the worker has looked at the clock that long ago).
    pub polled: Option<Duration>,
    /// Operations it has spent, and polls.
    pub reductions: u64,
    /// What it awaited last, or awaits.
    pub whereabouts: Whereabouts,
    /// What stands behind its lock; `None` if the lock could not be had in time.
    pub inside: Option<ProcessInside>,
}

/// The part of a [`ProcessSample`] that is behind the process's lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessInside {
    /// The name it is registered under.
    pub name: Option<Arc<str>>,
    /// What it was labelled with.
    pub label: Option<Arc<str>>,
    /// What it does.
    pub activity: Activity,
    /// Messages in its mailbox, those set aside by a selective receive included, signals not.
    pub mailbox: usize,
    /// The most messages its mailbox holds.
    pub mailbox_bound: usize,
    /// For how long the oldest message has been in it, at most: as [`ProcessInfo::oldest_message`].
    pub oldest_message: Option<Duration>,
    /// Messages that its mailbox has dropped, by the policy it was given.
    pub dropped: u64,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// It waits for a message; for so long, to a tenth of a second.
    Receiving(Duration),
    /// It waits for this process's answer, and receives nothing meanwhile.
    Calling(Pid),
    /// It waits for blocking work ([`Context::run_blocking`](crate::Context::run_blocking)); for so long, to a tenth of a
    /// second.
    Blocking(Duration),
    /// It runs, is about to, or awaits something else.
    Active,
}

/// The workers of a runtime.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RuntimeInfo {
    /// What it was named.
    pub name: Arc<str>,
    /// Processes that live.
    pub processes: usize,
    /// The most that may.
    pub process_limit: usize,
    /// Timers that stand.
    pub timers: usize,
    /// Names that are taken.
    pub names: usize,
    /// Abnormal exits so far.
    pub abnormal_exits: u64,
    /// Stalls so far.
    pub stalls: u64,
    /// Of these, those that last.
    pub stalled: usize,
    /// Spare threads that stand in for a stuck worker now.
    pub spares: usize,
    /// How long it has been up.
    pub uptime: Duration,
    /// The time of day, since the beginning of 1970 (UTC).
    pub since_1970: Duration,
    /// Processes that are to be polled and stand in no worker's queue yet.
    pub queued: usize,
    /// One for each worker.
    pub workers: Vec<WorkerInfo>,
    /// The threads for blocking work.
    pub blocking: BlockingInfo,
}

/// The threads for blocking work, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockingInfo {
    /// All of them; none before the first job.
    pub threads: usize,
    /// Those without work, who leave after a while.
    pub idle: usize,
    /// Jobs that run, those that nobody waits for any more included.
    pub running: usize,
    /// Jobs that have not begun.
    pub queued: usize,
}

/// A closure of [`Context::run_blocking`](crate::Context::run_blocking) that has begun and not returned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BlockingWork {
    /// The process that asked for it, if one did.
    pub process: Option<Pid>,
    /// Where in the program.
    pub location: &'static Location<'static>,
    /// For how long it has run.
    pub running: Duration,
}

/// What a worker has done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Polls of processes.
    pub polls: u64,
    /// Times it took work from another worker.
    pub steals: u64,
    /// Times it slept.
    pub parks: u64,
    /// Timers it fired.
    pub timers: u64,
    /// Operations of the processes it polled, and polls.
    pub reductions: u64,
    /// Processes in its queue at the moment.
    pub queued: usize,
    /// Whom it polls, and for how long at most: since it looked at the clock last.
    pub polling: Option<(Pid, Duration)>,
}

/// How a shutdown went.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Processes that ended when they were told to.
    pub stopped: usize,
    /// Processes that had to be killed.
    pub killed: usize,
    /// Processes that still had not ended when the time was up: their polls do not return.
    pub wedged: Vec<ProcessInfo>,
    /// Blocking work that had not returned: it was told to stop, and its threads are left behind.
    pub blocking: Vec<BlockingWork>,
}

impl ShutdownReport {
    /// The report as a result: an error if a process did not end. (Blocking work that goes on is no process.)
    ///
    /// # Errors
    ///
    /// [`Wedged`] names the processes.
    pub fn into_result(self) -> Result<Self, Wedged> {
        if self.wedged.is_empty() { Ok(self) } else { Err(Wedged(self.wedged)) }
    }
}

/// Processes that could not be stopped, since their polls do not return.
#[derive(Clone, Debug)]
pub struct Wedged(pub Vec<ProcessInfo>);

impl fmt::Display for Wedged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} processes did not end:", self.0.len())?;
        self.0.iter().take(10).try_for_each(|process| match process.name.as_ref().or(process.label.as_ref()) {
            Some(name) => write!(f, " {} ({name})", process.pid),
            None => write!(f, " {}", process.pid),
        })
    }
}

impl Error for Wedged {}
