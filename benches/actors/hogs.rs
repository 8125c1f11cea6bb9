//! Driver: a pair of processes beside others that take all the processors there are.
use crate::measure::{Outcome, begin, now, percentiles};
use colloquium::{Address, Context, Runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What one of them computes before it gives way, if it does.
const TURN: Duration = Duration::from_micros(5);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Gives way after each turn.
    Yields,
    /// Never does.
    Sticks,
}

/// Processes that compute until the flag is set; all have begun when this returns.
pub(crate) fn hogs(runtime: &Runtime, number: u64, kind: Kind) -> Arc<AtomicBool> {
    let (over, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    for _ in 0..number {
        let (over, begun) = (Arc::clone(&over), Arc::clone(&begun));
        let hog = runtime.spawn(async move |mut ctx: Context<()>| {
            begun.fetch_add(1, Ordering::SeqCst);
            while !over.load(Ordering::Relaxed) {
                let turn = now();
                while turn.elapsed() < TURN {
                    std::hint::spin_loop();
                }
                if kind == Kind::Yields {
                    ctx.yield_now().await;
                }
            }
        });
        hog.expect("a process");
    }
    while begun.load(Ordering::SeqCst) < number {
        std::thread::yield_now();
    }
    over
}

/// Round trips of a pair, each one timed, beside `number` hogs. The pair is there before they are; its first round trip
/// is sent when all compute.
pub(crate) fn pair_beside(runtime: &Runtime, n: u64, number: u64, kind: Kind) -> Outcome {
    let (go, begin_now) = std::sync::mpsc::channel();
    let measured = begin(runtime, async move |mut ctx: Context<u64>| {
        let ping = ctx.address();
        let pong = ctx.spawn(async move |mut ctx: Context<u64>| {
            loop {
                ping.send(ctx.recv().await).expect("ping lives");
            }
        });
        let pong: Address<u64> = pong.expect("a process");
        go.send(ctx.address()).expect("the bench waits");
        ctx.recv().await;
        let mut times = Vec::with_capacity(n as usize);
        for round in 0..n {
            let start = now();
            pong.send(round).expect("pong lives");
            ctx.recv().await;
            times.push(start.elapsed());
        }
        times
    });
    let ping = begin_now.recv().expect("ping begins");
    let over = hogs(runtime, number, kind);
    let begun = now();
    ping.send(0).expect("ping waits");
    // With the wait for a place among the hogs, which is all that the first needs.
    let percentile = percentiles(measured.wait());
    over.store(true, Ordering::Relaxed);
    Outcome {
        value: percentile(99),
        unit: "us p99",
        n,
        wall_seconds: begun.elapsed().as_secs_f64(),
        extras: vec![("p50_us", percentile(50)), ("max_us", percentile(100))],
    }
}
