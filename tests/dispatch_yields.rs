//! Dispatch and reductions: whoever finds outcomes, refusals, slots and messages ready all the time lets others run.
//!
//! On one worker, for which nobody stands in: who did not yield would keep it.
mod group;
mod workers;

use colloquium::Handle;
use colloquium::prelude::*;
use group::gate;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use workers::{LONG, on_sizes, races, until};

/// More than a poll has reductions for, many times over.
const MANY: u32 = 4000;

/// Runs a test on such a runtime.
fn on_one(body: impl AsyncFn(Runtime) + Send + 'static) {
    on_sizes(&[1], async move |_| {
        let runtime = Runtime::builder().workers(1).stall_limit(2 * LONG).build().expect("a runtime");
        body(runtime.clone()).await;
        runtime.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

fn echoes(room: u32) -> colloquium::GroupBuilder<u32, u32> {
    let echo = ConsumerRegistration::function(async |number: Delivery<u32>| Ok::<_, Failure>(*number));
    ConsumerGroup::alike("echo", 1, &echo).room(room).deadline(LONG)
}

/// Others run and end while `endless` goes on.
async fn others_run_beside(runtime: &Runtime, endless: Address<()>) {
    for _ in 0..races() {
        let other = runtime.spawn(async |mut ctx: Context<()>| ctx.yield_now().await).expect("room");
        assert_eq!(other.ended().await, ExitReason::Normal);
    }
    assert!(endless.is_alive());
    endless.kill();
    endless.ended().await;
}

/// A flag, set by a process that has its turn when another lets it.
fn turn(handle: &Handle) -> Arc<AtomicBool> {
    let had = Arc::new(AtomicBool::new(false));
    let sets = Arc::clone(&had);
    handle.spawn(async move |_: Context<()>| sets.store(true, Ordering::SeqCst)).expect("room");
    had
}

#[test]
fn a_loop_over_refused_dispatches_lets_others_run() {
    on_one(async |runtime| {
        let group = echoes(1).start(&runtime).await.expect("it starts");
        group.group().drain(LONG).await;
        let endless = runtime.spawn(async move |_: Context<()>| {
            loop {
                group.dispatch(1).await.expect_err("it is closed");
            }
        });
        others_run_beside(&runtime, endless.expect("room")).await;
    });
}

#[test]
fn a_loop_over_outcomes_that_are_there_lets_others_run() {
    on_one(async |runtime| {
        let group = echoes(MANY).start(&runtime).await.expect("it starts");
        let caller = runtime.spawn(async move |mut ctx: Context<()>| {
            let under_way: Vec<_> = (0..MANY).map(|number| group.dispatch(number).start()).collect();
            while group.group().snapshot().totals.completed < u64::from(MANY) {
                ctx.yield_now().await;
            }
            let had_turn = turn(&ctx.runtime());
            for (number, conversation) in (0..).zip(under_way) {
                assert_eq!(conversation.await.expect("completed").into_output(), number);
            }
            assert!(had_turn.load(Ordering::SeqCst), "nobody else has run");
        });
        assert_eq!(caller.expect("room").ended().await, ExitReason::Normal);
    });
}

#[test]
fn a_loop_over_slots_lets_others_run() {
    on_one(async |runtime| {
        let group = echoes(1).start(&runtime).await.expect("it starts");
        let endless = runtime.spawn(async move |_: Context<()>| {
            loop {
                drop(group.reserve().await.expect("there is room"));
            }
        });
        others_run_beside(&runtime, endless.expect("room")).await;
    });
}

/// They have gathered behind one that took long, and are out of the mailbox already.
#[test]
fn a_consumer_that_has_many_messages_lets_others_run() {
    on_one(async |runtime| {
        let ((opener, gate), handle) = (gate(), runtime.handle());
        let (gate, had_turn) = (Arc::new(gate), Arc::new(OnceLock::new()));
        // The first waits and then lets somebody run, and the others tell whether he has.
        let consumer = ConsumerRegistration::function(move |number: Delivery<u32>| {
            let (gate, handle, had_turn) = (Arc::clone(&gate), handle.clone(), Arc::clone(&had_turn));
            async move {
                if *number == 0 {
                    gate.passed().await;
                }
                let had_turn: &Arc<AtomicBool> = had_turn.get_or_init(|| turn(&handle));
                Ok::<_, Failure>(had_turn.load(Ordering::SeqCst))
            }
        });
        let group = ConsumerGroup::alike("slow first", 1, &consumer).room(MANY).deadline(LONG);
        let group = group.start(&runtime).await.expect("it starts");
        let under_way: Vec<_> = (0..MANY).map(|number| group.dispatch(number).start()).collect();
        let pid = group.group().consumers()[0].pid.expect("it is up");
        until(&runtime.handle(), || runtime.info(pid).is_some_and(|info| info.mailbox == 0)).await;
        opener.open();
        let mut told = Vec::new();
        for conversation in under_way {
            told.push(conversation.await.expect("completed").into_output());
        }
        assert!(told.iter().any(|had_turn| *had_turn), "nobody else has run before the last was handled");
    });
}
