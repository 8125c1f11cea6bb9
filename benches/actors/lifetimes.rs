//! Driver: workloads of processes that begin and end.
//!
//! Mailboxes are the default ones, whose 65 536 places cannot fill: nobody gets more than two messages.
use crate::measure::{Latch, Outcome, begin, now, rate, resident_bytes};
use colloquium::{Address, Context, Runtime};
use std::sync::Arc;

/// One process spawns `n` that end at once, and yields after each `every`.
pub(crate) fn spawn_exit(runtime: &Runtime, n: u64, every: u64) -> Outcome {
    let (latch, done) = Latch::new(n);
    let start = now();
    let spawner = runtime.spawn(async move |mut ctx: Context<()>| {
        for i in 0..n {
            let latch = Arc::clone(&latch);
            ctx.spawn(async move |_: Context<u64>| latch.hit()).expect("a process");
            if i % every == 0 {
                ctx.yield_now().await;
            }
        }
    });
    spawner.expect("a process");
    done.wait();
    rate(n, "actors/s", start)
}

/// One process spawns `n` that stay; then each gets a message, outside the time. As the peers', the spawner does not yield.
pub(crate) fn spawn_hold(runtime: &Runtime, n: u64) -> Outcome {
    let before = resident_bytes();
    let (started, all_started) = Latch::new(n);
    let (received, all_received) = Latch::new(n);
    let start = now();
    let spawned = begin(runtime, async move |mut ctx: Context<()>| {
        let mut held: Vec<Address<u64>> = Vec::with_capacity(n as usize);
        for _ in 0..n {
            let (started, received) = (Arc::clone(&started), Arc::clone(&received));
            let one = ctx.spawn(async move |mut ctx: Context<u64>| {
                started.hit();
                loop {
                    ctx.recv().await;
                    received.hit();
                }
            });
            held.push(one.expect("a process"));
        }
        held
    });
    all_started.wait();
    let wall_seconds = start.elapsed().as_secs_f64();
    let idle = resident_bytes();
    let held = spawned.wait();
    for one in &held {
        one.send(1).expect("it lives");
    }
    all_received.wait();
    let per_actor = |bytes: u64| bytes.saturating_sub(before) as f64 / n as f64;
    let extras =
        vec![("bytes_per_actor", per_actor(idle)), ("bytes_per_actor_after_1_msg", per_actor(resident_bytes()))];
    Outcome { value: n as f64 / wall_seconds, unit: "actors/s", n, wall_seconds, extras }
}

/// A process that counts itself and its two subtrees, tells its parent, and ends.
fn node(ctx: &mut Context<u64>, depth: u64) {
    let parent = ctx.address();
    let spawned = ctx.spawn(async move |mut ctx: Context<u64>| {
        let mut count = 1;
        if depth > 0 {
            node(&mut ctx, depth - 1);
            node(&mut ctx, depth - 1);
            count += ctx.recv().await;
            count += ctx.recv().await;
        }
        parent.send(count).expect("the parent waits");
    });
    spawned.expect("a process");
}

/// A binary tree of processes of this depth.
pub(crate) fn fork_join(runtime: &Runtime, depth: u64) -> Outcome {
    let start = now();
    let counted = begin(runtime, async move |mut ctx: Context<u64>| {
        node(&mut ctx, depth);
        ctx.recv().await
    });
    let n = counted.wait();
    assert_eq!(n, (1 << (depth + 1)) - 1);
    rate(n, "actors/s", start)
}
