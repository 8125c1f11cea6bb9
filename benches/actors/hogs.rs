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

/// A pair: the first sends a number to and fro each time it is sent one, for as long as `more` holds, and gives all times.
fn pair(
    runtime: &Runtime,
    more: impl Fn(usize) -> bool + Send + 'static,
) -> (Address<u64>, crate::measure::Wait<Vec<Duration>>) {
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
        let mut times = Vec::new();
        while more(times.len()) {
            let start = now();
            pong.send(0).expect("pong lives");
            ctx.recv().await;
            times.push(start.elapsed());
        }
        times
    });
    (begin_now.recv().expect("ping begins"), measured)
}

/// Round trips of a pair, each one timed, beside `number` hogs that yield. The pair is there before they are; its first round
/// trip is sent when all compute.
pub(crate) fn pair_beside(runtime: &Runtime, n: u64, number: u64) -> Outcome {
    let (ping, measured) = pair(runtime, move |done| done < n as usize);
    let over = hogs(runtime, number, Kind::Yields);
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

/// The longest round trip of a pair while hogs that never yield come, one after the other, each when the one before must have
/// been found: so each wait for a spare thread is among the times.
pub(crate) fn pair_while_stuck(runtime: &Runtime, number: u64) -> Outcome {
    const APART: Duration = Duration::from_millis(50);
    let enough = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&enough);
    let (ping, measured) = pair(runtime, move |_| !stop.load(Ordering::Relaxed));
    let begun = now();
    ping.send(0).expect("ping waits");
    let hogs: Vec<_> = (0..number)
        .map(|_| {
            let over = hogs(runtime, 1, Kind::Sticks);
            let since = now();
            while since.elapsed() < APART {
                std::thread::yield_now();
            }
            over
        })
        .collect();
    enough.store(true, Ordering::Relaxed);
    let times = measured.wait();
    hogs.iter().for_each(|over| over.store(true, Ordering::Relaxed));
    let (trips, late) = (times.len() as f64, times.iter().filter(|time| time.as_millis() > 0).count() as f64);
    let percentile = percentiles(times);
    Outcome {
        value: percentile(100),
        unit: "us at most",
        n: number,
        wall_seconds: begun.elapsed().as_secs_f64(),
        extras: vec![("p50_us", percentile(50)), ("p99_us", percentile(99)), ("trips", trips), ("over_1ms", late)],
    }
}
