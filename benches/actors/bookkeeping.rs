//! Driver: workloads of names, links and monitors that are made and undone by one process, as the Erlang benchmark has them.
use crate::measure::{Outcome, YIELD_EVERY, begin, now, rate_of};
use colloquium::{Address, Context, Runtime};
use std::sync::Arc;

/// Runs `act` so many times in one process; it may name a process that lives throughout.
fn repeat<F>(runtime: &Runtime, n: u64, unit: &'static str, act: F) -> Outcome
where
    F: Fn(&mut Context<()>, &Address<()>) + Send + 'static,
{
    let idle = runtime.build().name("idle").spawn(async |mut ctx: Context<()>| ctx.recv().await).expect("a process");
    let took = begin(runtime, async move |mut ctx: Context<()>| {
        let start = now();
        for i in 0..n {
            act(&mut ctx, &idle);
            if i % YIELD_EVERY == 0 {
                ctx.yield_now().await;
            }
        }
        start.elapsed()
    });
    rate_of(n, unit, took.wait())
}

/// A process takes a name and gives it up.
pub(crate) fn register_unregister(runtime: &Runtime, n: u64) -> Outcome {
    let name: Arc<str> = "name".into();
    repeat(runtime, n, "pairs/s", move |ctx, _| {
        ctx.register(Arc::clone(&name)).expect("nobody else wants it");
        assert!(ctx.unregister());
    })
}

/// A process looks another up by its name.
pub(crate) fn whereis(runtime: &Runtime, n: u64) -> Outcome {
    let handle = runtime.handle();
    repeat(runtime, n, "ops/s", move |_, idle| {
        assert_eq!(handle.whereis::<()>("idle").as_ref(), Ok(idle));
    })
}

/// A process links itself to another and undoes that.
pub(crate) fn link_unlink(runtime: &Runtime, n: u64) -> Outcome {
    repeat(runtime, n, "pairs/s", |ctx, idle| {
        ctx.link(idle);
        ctx.unlink(idle);
    })
}

/// A process monitors another and undoes that.
pub(crate) fn monitor_demonitor(runtime: &Runtime, n: u64) -> Outcome {
    repeat(runtime, n, "pairs/s", |ctx, idle| {
        let monitor = ctx.monitor(idle, |_| ());
        assert!(ctx.demonitor_flush(monitor));
    })
}
