//! Driver: workloads of deaths that many are told of, as the Erlang benchmark has them.
use crate::measure::{Latch, Outcome, YIELD_EVERY, begin, now};
use colloquium::{Address, Context, ExitReason, Runtime};
use std::sync::Arc;
use std::time::Duration;

/// The Erlang benchmark lets things settle for so long before the deaths; workers sleep by then there and here.
const SETTLE: Duration = Duration::from_millis(50);

/// Says that its process's state has been dropped, however it ended.
pub(crate) struct Gone(Arc<Latch>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.hit();
    }
}

/// Begins one process of a storm, in its hub.
type Begin = fn(&mut Context<()>, Arc<Latch>, Gone);

/// A process that is linked to the hub and does nothing.
pub(crate) fn linked(hub: &mut Context<()>, ready: Arc<Latch>, gone: Gone) {
    let one = hub.spawn_link(async move |mut ctx: Context<()>| {
        let _gone = gone;
        ready.hit();
        ctx.recv().await;
    });
    one.expect("a process");
}

/// A process that monitors the hub and ends when that has ended.
pub(crate) fn watching(hub: &mut Context<()>, ready: Arc<Latch>, gone: Gone) {
    let address = hub.address();
    let one = hub.spawn(async move |mut ctx: Context<()>| {
        let _gone = gone;
        ctx.monitor(&address, |_| ());
        ready.hit();
        ctx.recv().await;
    });
    one.expect("a process");
}

/// The time from the death of a hub of `n` processes until none of them is left; the median of some repetitions.
pub(crate) fn storm(runtime: &Runtime, n: u64, repetitions: u64, begin: Begin) -> Outcome {
    let once = || {
        let others = runtime.runtime_info().processes;
        let (ready, all_ready) = Latch::new(n);
        let (gone, all_gone) = Latch::new(n + 1);
        let hub: Address<()> = runtime
            .spawn(async move |mut ctx: Context<()>| {
                let _gone = Gone(Arc::clone(&gone));
                for i in 0..n {
                    begin(&mut ctx, Arc::clone(&ready), Gone(Arc::clone(&gone)));
                    if i % YIELD_EVERY == 0 {
                        ctx.yield_now().await;
                    }
                }
                ctx.recv().await;
            })
            .expect("a process");
        all_ready.wait();
        runtime.block_on(runtime.sleep(SETTLE));
        let start = now();
        hub.exit(ExitReason::error("boom"));
        all_gone.wait();
        // The state of the last has been dropped; it itself is gone a moment later.
        while runtime.runtime_info().processes > others {
            std::hint::spin_loop();
        }
        start.elapsed()
    };
    median(n, (0..repetitions).map(|_| once()).collect())
}

/// One process monitors `n` others, kills them and is told of each; the median of some repetitions.
pub(crate) fn monitor_many(runtime: &Runtime, n: u64, repetitions: u64) -> Outcome {
    let once = || {
        let mourned = begin(runtime, async move |mut ctx: Context<()>| {
            let mut others: Vec<Address<()>> = Vec::with_capacity(n as usize);
            for i in 0..n {
                let spawned = ctx.spawn_monitor(async |mut ctx: Context<()>| ctx.recv().await, |_| ());
                others.push(spawned.expect("a process").0);
                if i % YIELD_EVERY == 0 {
                    ctx.yield_now().await;
                }
            }
            ctx.sleep(SETTLE).await;
            let start = now();
            let boom = ExitReason::error("boom");
            for (i, other) in (0..).zip(&others) {
                ctx.send_exit(other, boom.clone());
                if i % YIELD_EVERY == 0 {
                    ctx.yield_now().await;
                }
            }
            for _ in 0..n {
                ctx.recv().await;
            }
            start.elapsed()
        });
        mourned.wait()
    };
    median(n, (0..repetitions).map(|_| once()).collect())
}

fn median(n: u64, mut times: Vec<Duration>) -> Outcome {
    times.sort();
    let milliseconds = |at: usize| times[at].as_secs_f64() * 1000.0;
    let last = times.len() - 1;
    Outcome {
        value: milliseconds(last / 2),
        unit: "ms",
        n,
        wall_seconds: times.iter().sum::<Duration>().as_secs_f64(),
        extras: vec![("min_ms", milliseconds(0)), ("max_ms", milliseconds(last))],
    }
}
