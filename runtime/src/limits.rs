//! Pure: every bound of the runtime, in one place, with its reason.
use std::time::Duration;

/// Processes of a runtime, unless the builder says otherwise: what 480 bytes each and a small service's memory allow.
pub(crate) const PROCESSES: usize = 1_000_000;
/// Names of a runtime, unless the builder says otherwise.
pub(crate) const NAMES: usize = 65_536;
/// Messages in a mailbox, unless its process was spawned with another bound: a second of heavy traffic.
pub(crate) const MAILBOX: u32 = 65_536;
/// How long a call waits, unless told otherwise: OTP's default.
pub(crate) const CALL: Duration = Duration::from_secs(5);
/// Operations (receives, sends, spawns, timers) of one poll before the next await yields: about ten microseconds' worth.
pub(crate) const REDUCTIONS: u32 = 200;
/// Yields within one poll, which that poll has not ended for, that bring reductions as its end would: tens of microseconds' worth.
pub(crate) const YIELDS_IN_VAIN: u32 = 1_000;
/// Links and monitors told of a death in one poll; then the dying process yields.
pub(crate) const TOLD_PER_POLL: usize = 64;
/// Virtual time that a piece of blocking work takes in a simulation, at most.
pub(crate) const SIMULATED_BLOCKING: Duration = Duration::from_millis(2);
/// Of so many newborn processes that a worker takes, one is the oldest; the others are the youngest.
pub(crate) const OLDEST_NEWBORN: u32 = 16;
/// Polls between two looks at the clock, the timers and the injector by a busy worker.
pub(crate) const TICK_POLLS: u32 = 128;
/// A worker that makes more processes than there have ever been asks the allocator for the memory of so many together.
pub(crate) const AHEAD_EVERY: usize = 192;
/// In bytes: so many processes with what their supervisor keeps of each, and less than what glibc gives back to the system.
pub(crate) const AHEAD: usize = 120 * 1024;
/// Polls between two glances at the clock that only ask whether the tick is overdue.
pub(crate) const PEEK_POLLS: u32 = 32;
/// The most polls to the next tick of a worker that sockets have woken: about as long as one that is busy goes without.
pub(crate) const IO_TICK_POLLS: u32 = 16;
/// What a tick should not take longer than; slower polls make ticks shorter.
pub(crate) const TICK: Duration = Duration::from_micros(100);
/// Runs from the LIFO slot in a row before the queue gets its turn, so that a pair cannot starve the rest.
pub(crate) const SLOT_RUNS: u32 = 256;
/// The same while newborns wait: they are run before their memory has left the cache, and before another worker takes them.
pub(crate) const SLOT_RUNS_OVER_NEWBORNS: u32 = 16;
/// Runs from the LIFO slot that may go before system processes: one for who learns of an end, one for whom he hands on to, and as
/// many again.
pub(crate) const HANDED_ON: u32 = 4;
/// Processes that a worker spawns into one shard of the table before it goes to the next: their slots take a dozen lines of
/// the cache in a row.
pub(crate) const SPAWN_RUN: usize = 32;
/// How long a worker looks for work everywhere before it parks: about what parking and being woken cost.
pub(crate) const SEARCH: Duration = Duration::from_micros(50);
/// How long newborn processes stand in another worker's queue before a worker without work takes some. Most live shorter,
/// and moving one to another core's cache costs more than running it.
pub(crate) const PATIENCE: Duration = Duration::from_micros(20);
/// How long a worker that has taken some of what was woken on others lets pass before it takes few again: while these stand where
/// they are, their worker may come to them, or give them more to do at one go.
pub(crate) const WOKEN_PATIENCE: Duration = Duration::from_micros(10);
/// With so many that are ready to run, a worker has more to do than it soon will, and others take their share at once.
pub(crate) const MANY: usize = 16;
/// How long a worker without work lets pass between two looks at what the others have that it takes only after a while.
pub(crate) const LOOK: Duration = Duration::from_micros(1);
/// The same while one of them has newborns, whose time to be taken has not come yet.
pub(crate) const LOOK_AT_NEWBORNS: Duration = Duration::from_micros(10);
/// How long all workers are in one poll before one without work takes a system process from the queue that all share. What a
/// worker has in its own slot for such is taken when that worker alone is in one poll for as long.
pub(crate) const SYSTEM_PATIENCE: Duration = Duration::from_micros(2);
/// After so long in one poll a worker counts as stuck, as far as its newborns and its LIFO slot are concerned.
pub(crate) const STUCK: Duration = Duration::from_micros(5);
/// In place of `WOKEN_PATIENCE`, of `STUCK` (for the LIFO slot) and of `LOOK` where patience pays (decision 0084): long enough for a few
/// turns of those who are left alone, short enough for whoever waits behind a long poll.
pub(crate) const WOKEN_PATIENCE_LONG: Duration = Duration::from_micros(200);
pub(crate) const PATIENT_STUCK: Duration = Duration::from_micros(40);
pub(crate) const PATIENT_LOOK: Duration = Duration::from_micros(10);
/// How long one manner of stealing is tried at a time: thousands of messages, and a dozen ticks.
pub(crate) const EPOCH: Duration = Duration::from_millis(2);
/// What a trial has found holds for so long: ten times what it took.
pub(crate) const TUNED: Duration = Duration::from_millis(160);
/// No trial where workers steal less often than this.
pub(crate) const OFTEN: Duration = Duration::from_micros(50);
/// How much more has to get done for patience: what epochs of one manner differ by among themselves.
pub(crate) const PAYS_PERCENT: u64 = 8;
/// How long there is no trial after one that was for nothing; twice as long after each further one, to at most this.
pub(crate) const REST: Duration = Duration::from_millis(80);
pub(crate) const REST_LONGEST: Duration = Duration::from_secs(2);
/// How long a process may run without awaiting, unless the builder says otherwise: many times what the budget of a poll
/// takes, and what those who wait behind it hardly notice. The overseer looks at each worker four times in that time.
pub(crate) const STALL: Duration = Duration::from_millis(10);
/// The longest such limit in milliseconds, which is as good as none: an hour.
pub(crate) const STALL_MOST_MILLIS: usize = 3_600_000;
/// Spare threads, unless the builder says otherwise: so many processes may be stuck at a time beyond the number of workers
/// before others suffer. Each takes two kilobytes, and a thread once it is used.
pub(crate) const SPARES: usize = 16;
/// Looks in a row at which all workers sleep before the overseer sleeps too, so that a wake-up now and then does not wake
/// two threads.
pub(crate) const QUIET_LOOKS: u32 = 8;
/// Stalls that are over and remembered.
pub(crate) const STALLS_KEPT: usize = 64;
/// Reports of stalls that wait for a slow listener; more are counted and told with the next.
pub(crate) const STALLS_UNTOLD: usize = 64;
/// How long sockets wait for a look by busy workers: a few ticks, and well below a millisecond.
pub(crate) const IO_POLL: Duration = Duration::from_micros(200);
/// Events of sockets fetched at a time; the rest comes with the next fetch.
pub(crate) const IO_EVENTS: usize = 1024;
/// Ticks that a time-out stays with its worker before it gets a timer: a call that is queued behind some dozens of others is
/// over by then.
pub(crate) const FRESH_TICKS: usize = 4;
/// A worker that has not ticked for so long is stuck, and others take over the time-outs it has collected.
pub(crate) const FRESH_STALE: Duration = Duration::from_millis(10);
/// Time-outs that a worker collects before it looks at the clock for them.
pub(crate) const FRESH_TIME_OUTS: usize = 256;
/// Entries a wheel moves under its lock at a time, so that a million timers for one instant stall nobody.
pub(crate) const TIMER_WORK: usize = 128;
/// Slots that a drained mailbox keeps; a larger buffer is given back.
pub(crate) const MAILBOX_KEEPS: usize = 64;
/// Abnormal exits that the runtime remembers; they outlive supervisors and tell an operator what began it.
pub(crate) const EXITS_KEPT: usize = 256;
/// Reports of one kind in one second; more are counted and told with the next.
pub(crate) const REPORTS_PER_SECOND: u32 = 10;
/// How far a cycle of calls is followed. A longer one ends by time-out.
pub(crate) const CALL_CYCLE: usize = 64;
/// Links, monitors and watchers that `info` lists; their numbers are always exact.
pub(crate) const INFO_PEERS: usize = 32;
/// Locks that a look at all processes waits for in vain before it waits for none any more.
pub(crate) const SAMPLE_WAITS: usize = 32;
/// What is left of a shutdown's deadline when those who still run are killed.
pub(crate) const KILL_MARGIN: Duration = Duration::from_secs(1);
/// What processes get when the last handle of a runtime is dropped: the default of an orderly stop.
pub(crate) const DROP_GRACE: Duration = Duration::from_secs(5);
/// Threads for blocking work, unless the builder says otherwise: enough for what waits on disks and names, each with a stack.
pub(crate) const BLOCKING_THREADS: usize = 64;
/// Jobs that wait while all of these are busy, unless the builder says otherwise: 64 for each.
pub(crate) const BLOCKING_QUEUE: usize = 4096;
/// How long a thread for blocking work stays without any, unless the builder says otherwise: starting one takes 50 µs.
pub(crate) const BLOCKING_IDLE: Duration = Duration::from_secs(10);
/// A worker with nothing to do and no timer looks up this often all the same, against a lost wake-up of the system's.
pub(crate) const PARK: Duration = Duration::from_secs(60);

/// Steps of a simulation, unless told otherwise: some seconds of work, which only an endless loop needs.
pub(crate) const SIMULATED_STEPS: u64 = 5_000_000;
/// Runs in which a shorter way to a failure is looked for, and their steps together: a second or so, or some in debug builds.
pub(crate) const SHRINKING_RUNS: u32 = 1000;
pub(crate) const SHRINKING_STEPS: u64 = 1_000_000;
/// Virtual time of a simulation, unless told otherwise: what only a program that polls and waits for ever comes to.
pub(crate) const SIMULATED_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The most virtual time that a simulated poll takes, unless told otherwise: a short poll's, so that time-outs are met in order.
pub(crate) const SIMULATED_POLL: Duration = Duration::from_micros(2);
/// Lines of a simulation's trace that are kept, unless told otherwise: what a person reads at most.
pub(crate) const TRACE_LINES: usize = 2_000;

const _: () = assert!(REDUCTIONS > TICK_POLLS && MAILBOX_KEEPS >= 4 && TOLD_PER_POLL > 0);
const _: () = assert!(
    LOOK_AT_NEWBORNS.as_nanos() < PATIENCE.as_nanos()
        && SYSTEM_PATIENCE.as_nanos() < STUCK.as_nanos()
        && STUCK.as_nanos() < PATIENCE.as_nanos()
        && PATIENCE.as_nanos() < SEARCH.as_nanos()
        && WOKEN_PATIENCE.as_nanos() < SEARCH.as_nanos()
);
const _: () = assert!(
    WOKEN_PATIENCE.as_nanos() < WOKEN_PATIENCE_LONG.as_nanos()
        && 4 * WOKEN_PATIENCE_LONG.as_nanos() < EPOCH.as_nanos()
        && 8 * EPOCH.as_nanos() < TUNED.as_nanos()
        && REST.as_nanos() < REST_LONGEST.as_nanos()
);
const _: () = assert!(KILL_MARGIN.as_nanos() < DROP_GRACE.as_nanos());
