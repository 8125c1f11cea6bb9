//! Driver: the thread that watches the workers: it relieves those that are stuck and has them reported.
//!
//! It reads poll counters, four times in each `stall_limit`, while any worker is awake; when all sleep, so does it
//! ([`super::vigil`]). It runs no user code, since that could be what is stuck: a subscriber of `tracing`, for one, may wait
//! for a lock that the stuck process holds. So reports go out on a thread of their own.
use crate::builder::spawn_thread;
use crate::clock::nanos;
use crate::limits::{PARK, QUIET_LOOKS};
use crate::scheduler::fresh::Wait;
use crate::scheduler::spare::Given;
use crate::scheduler::stall::{Finding, Sample, Standstill, interval};
use crate::scheduler::worker::stand_by;
use crate::scheduler::{Home, Scheduler, inject};
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The body of the overseer's thread.
pub(crate) fn oversee(home: &Arc<Home>) {
    let (shared, scheduler) = (&home.shared, &home.shared.scheduler);
    let limit = shared.limits.stall;
    let mut known: Vec<Standstill> = Vec::new();
    let mut quiet_looks = 0;
    let mut fetches = None;
    let quiet = || scheduler.idle.asleep() == scheduler.workers && scheduler.spares.on_duty() == 0;
    while !shared.lifecycle.is_closed() {
        look(home, &mut known, nanos(limit));
        let before = std::mem::replace(&mut fetches, scheduler.io.unattended());
        if fetches.is_some() && fetches == before && scheduler.idle.asleep() > 0 {
            // Whoever was in the poller runs something that takes long; one that sleeps takes its place.
            scheduler.notify();
        }
        quiet_looks = if quiet() { quiet_looks + 1 } else { 0 };
        if quiet_looks >= QUIET_LOOKS && scheduler.vigil.rest(|| quiet() && !shared.lifecycle.is_closed()) {
            shared.clock.rest();
            scheduler.vigil.wait(PARK);
            shared.clock.end_rest();
            known.clear();
        } else {
            scheduler.vigil.wait(Duration::from_nanos(interval(nanos(limit))));
        }
    }
    shared.stalls.let_go();
}

/// One look at all.
fn look(home: &Arc<Home>, known: &mut Vec<Standstill>, limit: u64) {
    let (shared, scheduler) = (&home.shared, &home.shared.scheduler);
    let now = shared.clock.now();
    for index in 0..scheduler.remotes().len() {
        let sample = sample(shared, index);
        let Some(standstill) = known.get_mut(index) else {
            known.push(Standstill::new(sample, now));
            continue;
        };
        match standstill.look(sample, now, limit) {
            Finding::Moves => dismiss(scheduler, index),
            Finding::Over(lasted) => {
                dismiss(scheduler, index);
                shared.stalls.end(index, lasted);
            }
            Finding::Still { relieve: wanted, report } => {
                if wanted && relieve(home, index) {
                    standstill.relieved();
                }
                rescue(home, index);
                if let Some(lasted) = report {
                    shared.stalls.begin(shared, index, sample.polled, lasted);
                }
            }
        }
    }
    shared.stalls.note_wedged(shared);
    report(shared);
}

fn sample(shared: &Shared, index: usize) -> Sample {
    let scheduler = &shared.scheduler;
    let remote = &scheduler.remotes[index];
    let polls = remote.counters.polls.load(Ordering::Relaxed);
    let polled = remote.polled.load(Ordering::Relaxed);
    let asleep = polled == 0 && (scheduler.idle.is_asleep(index) || scheduler.spares.is_resting(index));
    Sample { polls, polled, asleep }
}

/// Takes what nobody else can see from a worker that stands still, and sees to it that somebody looks for the rest.
fn rescue(home: &Arc<Home>, index: usize) {
    let (shared, scheduler) = (&home.shared, &home.shared.scheduler);
    let remote = &scheduler.remotes[index];
    for task in [remote.slot.take(), remote.system.take()].into_iter().flatten() {
        inject(task);
    }
    for (from, mut waits) in remote.fresh.take_over(remote.ticked.load(Ordering::Relaxed), &shared.clock) {
        for Wait { pending, timeout } in waits.drain(..) {
            if let Some(pending) = pending.filter(|pending| pending.is_awaited()) {
                home.arm_time_out(&pending, from.saturating_add(timeout));
                pending.linger();
            }
        }
    }
    if remote.has_queued() {
        scheduler.notify();
    }
}

/// Lets those who stand in for this worker rest.
fn dismiss(scheduler: &Scheduler, worker: usize) {
    for spare in scheduler.spares.dismiss(worker, &scheduler.remotes) {
        scheduler.unpark(spare);
    }
}

/// Sets a spare thread to work; false if there is none to be had.
fn relieve(home: &Arc<Home>, worker: usize) -> bool {
    let (shared, scheduler) = (&home.shared, &home.shared.scheduler);
    let (index, queues) = match scheduler.spares.give(worker, &scheduler.remotes) {
        Given::Resting => return true,
        Given::Nobody => return false,
        Given::Start(index, queues) => (index, queues),
    };
    scheduler.take_into_use(index);
    let remote = Arc::clone(&scheduler.remotes[index]);
    let spare = Arc::new(Home { shared: Arc::clone(shared), index });
    let name = format!("spare-{}", index - scheduler.workers);
    let started = spawn_thread(shared, &name, move || stand_by(spare, remote, queues)).is_ok();
    if !started {
        scheduler.spares.lose(index);
    }
    started
}

/// Has what is to be told told, by a thread of its own, of which there is one at a time.
fn report(shared: &Arc<Shared>) {
    if shared.stalls.begin_telling() {
        let on_thread = Arc::clone(shared);
        if spawn_thread(shared, "reports", move || on_thread.stalls.tell()).is_err() {
            shared.stalls.stop_telling();
        }
    }
}
