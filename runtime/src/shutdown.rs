//! Driver: a shutdown, on a thread of its own, so that it ends in time whatever the workers do.
use crate::clock::nanos;
use crate::exit::ExitReason;
use crate::info::ShutdownReport;
use crate::limits::KILL_MARGIN;
use crate::process::control::{AnyProcess, doom, send_exit};
use crate::process::ending::{caught, drop_caught, wake_caught};
use crate::shared::Shared;
use crate::signal::Exit;
use crate::timer::Entry;

/// Tells all processes to stop, kills those that remain, reports those that cannot be killed, and closes the runtime.
pub(crate) fn run(shared: &Shared) {
    // Held, so that none goes, and what is users' with it, under the lock under which they are counted.
    let harbors = shared.table.harbors();
    let told = tell(shared);
    let mut killed = 0;
    let empty = || shared.table.len() == 0;
    if shared.lifecycle.wait_until(empty, &shared.clock, kill_margin) {
        shared.blocking().close();
    } else {
        killed = kill(shared);
        // Now, so that what runs for others has the rest of the time to see its flag.
        shared.blocking().close();
        shared.lifecycle.wait_until(empty, &shared.clock, |_| 0);
    }
    close(shared, told, killed);
    drop(harbors);
}

/// Tells all processes to stop; how many.
pub(crate) fn tell(shared: &Shared) -> usize {
    each(shared, |process| send_exit(process, Exit { from: None, reason: ExitReason::Shutdown, by_link: false }))
}

/// Kills those that remain; how many.
pub(crate) fn kill(shared: &Shared) -> usize {
    each(shared, |process| doom(process, ExitReason::Killed))
}

/// What is left of so much time for the killed to die in: a second, or a tenth if that is less.
pub(crate) fn kill_margin(time: u64) -> u64 {
    nanos(KILL_MARGIN).min(time / 10)
}

/// Closes the runtime, whoever is still there.
pub(crate) fn close(shared: &Shared, told: usize, killed: usize) {
    let mut report = ShutdownReport::default();
    let remaining = each(shared, |process| {
        if shared.scheduler.is_polled(process.head().pid) {
            report.wedged.extend(crate::inspect::inspect(process, true));
        }
    });
    // Who is neither gone nor in a poll is dropped unpolled, below or by its worker.
    report.killed = killed.saturating_sub(report.wedged.len());
    report.stopped = told.saturating_sub(report.killed + report.wedged.len());
    shared.lifecycle.wait_until(|| shared.blocking().is_quiet(), &shared.clock, |_| 0);
    report.blocking = crate::blocking::leave_behind(shared);
    shared.lifecycle.close(report);
    shared.wake_all();
    for timer in shared.timers.drain() {
        end_timer(timer);
    }
    shared.scheduler.io.close();
    shared.discard_queued();
    if remaining > 0 {
        each(shared, release_waiting);
    }
}

/// Who waits on a thread of its own is not left waiting: for it, the time is over.
fn end_timer(timer: Entry) {
    match timer {
        Entry::Wake(waker) => wake_caught(waker),
        Entry::TimeOut(pending) => caught(|| pending.time_out()),
        Entry::Deliver(timer) => drop_caught(timer),
    }
}

/// Tells those who wait for the answer or the end of a process that will not come to its end, and for room in its mailbox.
fn release_waiting(process: &AnyProcess) {
    let (reason, pending) = {
        let mut core = process.core();
        let reason = core.fate.clone().unwrap_or(ExitReason::Killed);
        (reason, core.extra.as_mut().map(|extra| std::mem::take(&mut extra.pending)).unwrap_or_default())
    };
    pending.into_iter().for_each(|pending| caught(|| pending.ended(&reason)));
    process.discard_messages(&mut |_| {});
}

/// Does something to every process that is there; how many.
fn each(shared: &Shared, mut act: impl FnMut(&AnyProcess)) -> usize {
    let mut count = 0;
    shared.table.for_each(|process| {
        caught(|| act(&process));
        count += 1;
    });
    count
}
