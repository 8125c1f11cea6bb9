//! Driver: workloads of timers, as the Erlang benchmark has them.
use crate::measure::{Outcome, YIELD_EVERY, begin, now, percentiles, rate_of};
use colloquium::{Context, Runtime};
use std::time::Duration;

/// What of starting and cancelling counts.
#[derive(Clone, Copy)]
pub(crate) enum Timed {
    Start,
    Cancel,
}

/// A process starts `n` timers to itself, due in a minute, and cancels them all.
pub(crate) fn start_and_cancel(runtime: &Runtime, n: u64, timed: Timed) -> Outcome {
    let times = begin(runtime, async move |mut ctx: Context<()>| {
        let me = ctx.address();
        let mut timers = Vec::with_capacity(n as usize);
        let start = now();
        for i in 0..n {
            timers.push(me.send_after(Duration::from_millis(60_000 + i % 1000), ()));
            if i % YIELD_EVERY == 0 {
                ctx.yield_now().await;
            }
        }
        let started = start.elapsed();
        for (i, timer) in (0..).zip(&timers) {
            timer.cancel().expect("it is not due yet");
            if i % YIELD_EVERY == 0 {
                ctx.yield_now().await;
            }
        }
        (started, start.elapsed() - started)
    });
    let (started, cancelled) = times.wait();
    rate_of(n, "timers/s", if matches!(timed, Timed::Start) { started } else { cancelled })
}

/// How late a message comes that a process sends itself five milliseconds ahead, from `n` of them one after the other.
pub(crate) fn lateness(runtime: &Runtime, n: u64) -> Outcome {
    const AHEAD: Duration = Duration::from_millis(5);
    let begun = now();
    let measured = begin(runtime, async move |mut ctx: Context<()>| {
        let me = ctx.address();
        let mut late = Vec::with_capacity(n as usize);
        for _ in 0..n {
            let start = now();
            me.send_after(AHEAD, ());
            ctx.recv().await;
            late.push(start.elapsed().checked_sub(AHEAD).expect("no timer fires early"));
        }
        late
    });
    let percentile = percentiles(measured.wait());
    Outcome {
        value: percentile(99),
        unit: "us p99",
        n,
        wall_seconds: begun.elapsed().as_secs_f64(),
        extras: vec![("p50_us", percentile(50)), ("max_us", percentile(100))],
    }
}
