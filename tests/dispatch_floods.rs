//! Dispatch by many callers at once, on threads, with both cores loaded: the counts add up to the last message. And what the defaults
//! promise when all consumers are stuck, or a database is away for a second.
//!
//! `COLLOQUIUM_FLOOD=1000000 cargo test --release --test dispatch_floods` dispatches a million.
mod workers;

use colloquium::prelude::*;
use colloquium::testing::Check;
use colloquium::{ConsumerStateView, GroupTotals};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use workers::{Dice, LONG, on_sizes, until};

/// Messages in all.
fn messages() -> u64 {
    std::env::var("COLLOQUIUM_FLOOD").ok().and_then(|text| text.parse().ok()).unwrap_or(40_000)
}

/// Processes that dispatch.
const CALLERS: u64 = 16;
/// What each has under way at a time.
const WINDOW: usize = 64;

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    delivered: AtomicU64,
    refused: AtomicU64,
    undelivered: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn consumers(counts: &Arc<Counts>) -> ConsumerRegistration<u64, u64> {
    let counts = Arc::clone(counts);
    ConsumerRegistration::function(move |number: Delivery<u64>| {
        let counts = Arc::clone(&counts);
        async move {
            add(&counts.begun);
            let drawn = Dice::new(*number ^ counts.begun.load(Ordering::Relaxed)).below(2000);
            match drawn {
                0 => {
                    add(&counts.panicked);
                    // As a panic, without its line on standard error.
                    std::panic::resume_unwind(Box::new("flood"));
                }
                1..10 => {
                    add(&counts.failed);
                    return Err(Failure::retry_after(Duration::from_millis(1), "flood"));
                }
                _ => {}
            }
            add(&counts.completed);
            Ok(2 * *number)
        }
    })
}

/// A caller: so many messages, a window of them at a time.
async fn call(group: DispatchConversation<u64, u64>, numbers: std::ops::Range<u64>, counts: Arc<Counts>) {
    let mut under_way = VecDeque::new();
    for number in numbers {
        under_way.push_back((number, group.dispatch(number).deadline(LONG).start()));
        if under_way.len() >= WINDOW {
            settle(&mut under_way, &counts).await;
        }
    }
    while !under_way.is_empty() {
        settle(&mut under_way, &counts).await;
    }
}

async fn settle(under_way: &mut VecDeque<(u64, colloquium::Conversation<u64, u64>)>, counts: &Counts) {
    let Some((number, conversation)) = under_way.pop_front() else { return };
    match conversation.await {
        Ok(outcome) => {
            assert_eq!(outcome.into_output(), 2 * number);
            add(&counts.delivered);
        }
        Err(error) => {
            let refused = error.attempts().is_empty() && error.retry_after().is_some();
            add(if refused { &counts.refused } else { &counts.undelivered });
            assert_eq!(*error.into_message(), number, "invariant 4");
        }
    }
}

/// Kills a consumer now and then.
fn storm(runtime: &Runtime, group: &DispatchConversation<u64, u64>) -> (Arc<AtomicBool>, Address<()>) {
    let (enough, group) = (Arc::new(AtomicBool::new(false)), group.group());
    let stop = Arc::clone(&enough);
    let killer = runtime.spawn(async move |ctx: Context<()>| {
        let mut dice = Dice::new(5);
        while !stop.load(Ordering::Relaxed) {
            ctx.sleep(Duration::from_micros(500 + dice.below(4000))).await;
            let pids: Vec<_> = group.consumers().iter().filter_map(|view| view.pid).collect();
            let victim = usize::try_from(dice.below(pids.len().max(1) as u64)).expect("small");
            if let Some(pid) = pids.get(victim) {
                ctx.runtime().exit(*pid, ExitReason::Kill);
            }
        }
    });
    (enough, killer.expect("room for a process"))
}

#[test]
fn the_counts_of_a_flood_add_up_to_the_last_message() {
    // A hang is told from a million messages on a slow machine.
    let patience = LONG + Duration::from_millis(messages());
    Check::new().seeds(0).workers(&[2]).patience(patience).run(async |runtime: Runtime| {
        let counts = Arc::new(Counts::default());
        let group = ConsumerGroup::alike("flood", 8, &consumers(&counts)).room(16).waiting_room(4096).max_wait(LONG);
        let group = group.start(&*runtime).await.expect("they start");
        let (enough, killer) = storm(&runtime, &group);
        let each = messages() / CALLERS;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (group, counts) = (group.clone(), Arc::clone(&counts));
                let numbers = caller * each..(caller + 1) * each;
                runtime.spawn(move |_: Context<()>| call(group, numbers, counts)).expect("room for a process")
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.ended().await, ExitReason::Normal);
        }
        enough.store(true, Ordering::Relaxed);
        killer.ended().await;
        assert_eq!(group.drain(LONG).await.left, 0);
        add_up(&counts, &group.group().snapshot().totals, each * CALLERS);
        assert!(group.supervisor().is_empty());
    });
}

fn add_up(counts: &Counts, totals: &GroupTotals, all: u64) {
    let (delivered, undelivered, refused) = (read(&counts.delivered), read(&counts.undelivered), read(&counts.refused));
    assert_eq!(delivered + undelivered + refused, all, "invariant 1: one outcome each");
    assert_eq!((totals.dispatched, totals.refused), (all - refused, refused), "{totals:?}");
    assert_eq!(totals.completed, read(&counts.completed), "{totals:?}");
    assert_eq!(totals.completed, delivered, "nobody cancels, and nobody is told of more or less: {totals:?}");
    assert_eq!(totals.failed, read(&counts.failed), "{totals:?}");
    assert_eq!(totals.crashed, read(&counts.panicked), "only what panicked is blamed: {totals:?}");
    let begun = read(&counts.begun);
    assert_eq!(
        begun,
        totals.completed + totals.failed + totals.crashed,
        "no handler awaits, so that each ends: {totals:?}"
    );
    let stormy = totals.failed > 0 && totals.crashed > 0 && totals.lost > 0 && totals.restarts > 0;
    assert!(stormy || all < 20_000, "{totals:?}");
}

/// All eight are stuck at once: nobody waits for longer than he may, and the group is as new when they have been killed.
#[test]
fn all_eight_stuck_are_replaced_and_nobody_waits_for_ever() {
    on_sizes(&[2, 8], async |runtime| {
        let function = async |job: Delivery<u64>| {
            if *job < 8 {
                std::future::pending::<()>().await;
            }
            Ok(*job)
        };
        let group = ConsumerGroup::alike("eight", 8, &ConsumerRegistration::function(function)).max_wait(LONG);
        let group = group.cancel_grace(Duration::from_millis(5)).start(&*runtime).await.expect("they start");
        let hanging: Vec<_> = (0..8).map(|number| group.dispatch(number).deadline(LONG).start()).collect();
        until(&runtime, || group.group().consumers().iter().all(|view| view.started == 1)).await;
        // One has no time to wait for that, the others have.
        let hasty = group.dispatch(8).deadline(Duration::ZERO).start();
        let waiting: Vec<_> = (9..200).map(|number| group.dispatch(number).deadline(LONG).start()).collect();
        // Cancelled, they do not stop, and are killed for it.
        drop(hanging);
        let error = hasty.await.expect_err("there is no room in no time");
        assert_eq!((error.kind(), error.is_safe_to_retry()), (DeadlineExceeded, true));
        for (number, conversation) in (9..).zip(waiting) {
            assert_eq!(conversation.await.expect("they are replaced").into_output(), number);
        }
        // The process is gone first; that its message is to blame, its conversation says.
        until(&runtime, || group.group().snapshot().totals.crashed == 8).await;
        until(&runtime, || group.group().consumers().iter().all(ConsumerStateView::is_eligible)).await;
        let totals = group.group().snapshot().totals;
        assert_eq!((totals.restarts, totals.completed), (8, 191), "{totals:?}");
        assert_eq!(group.drain(LONG).await.left, 0);
    });
}

/// A database is away for a second, of the runtime's time. No process ends for that, no more than half of the consumers are ejected,
/// and every message is completed, or is a dead letter after its five attempts; with more attempts all are completed.
#[test]
fn a_database_that_is_away_for_a_second_loses_nothing() {
    for attempts in [5, 20] {
        on_sizes(&[2], async move |runtime| away_for_a_second(&runtime, attempts).await);
    }
}

async fn away_for_a_second(runtime: &Runtime, attempts: u32) {
    let (back, handle) = (runtime.now() + SECOND, runtime.handle());
    let function = move |job: Delivery<u64>| {
        let away = handle.now() < back;
        async move { if away { Err("no database".into()) } else { Ok(*job) } }
    };
    let group = ConsumerGroup::alike("database", 8, &ConsumerRegistration::function(function)).max_wait(LONG);
    let group = group.attempts(attempts).start(&**runtime).await.expect("they start");
    let all: Vec<_> = (0..64).map(|number| group.dispatch(number).deadline(LONG).start()).collect();
    let mut most = 0;
    while runtime.now() < back {
        let snapshot = group.group().snapshot();
        most = most.max(snapshot.consumers.iter().filter(|view| view.ejected).count());
        assert!(!snapshot.breaker_open, "an error is no crash");
        runtime.sleep(Duration::from_millis(2)).await;
    }
    let mut given_up = 0;
    for (number, conversation) in (0..).zip(all) {
        match conversation.await {
            Ok(outcome) => assert_eq!(outcome.into_output(), number),
            Err(error) => {
                given_up += 1;
                assert_eq!((error.kind(), error.attempts().len()), (Poisoned, 5));
                assert_eq!(*error.into_message(), number);
            }
        }
    }
    let snapshot = group.group().snapshot();
    assert_eq!((snapshot.totals.completed, snapshot.dead_letters), (64 - given_up, given_up as usize));
    assert_eq!((snapshot.totals.restarts, snapshot.totals.crashed), (0, 0));
    assert!(snapshot.totals.failed > 0 && most <= 4, "{most} of 8 were ejected: {snapshot:?}");
    assert!(attempts == 5 || given_up == 0, "they had tries enough");
    assert_eq!(group.drain(LONG).await.left, 0);
}
