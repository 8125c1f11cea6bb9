//! Driver: workloads of supervisors, as the Erlang benchmark has them: restarts by kills, and large trees up and down.
use crate::measure::{Outcome, begin, now, rate_of};
use colloquium::{
    Address, ChildSpec, Context, DynamicSupervisor, ExitReason, Runtime, Strategy, Supervisor, SupervisorRef,
};
use std::time::Duration;

/// So many restarts that no window of these workloads is ever full.
const NEVER: u32 = 10_000_000;
const WINDOW: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

type Child = Address<()>;

/// Children that tell who kills them that they are up.
fn telling(killer: &Address<Child>, strategy: Strategy, children: u64) -> Supervisor {
    let supervisor = Supervisor::new().strategy(strategy).intensity(NEVER, WINDOW);
    (0..children).fold(supervisor, |supervisor, n| {
        let killer = killer.clone();
        supervisor.child(ChildSpec::worker(n.to_string(), move |mut ctx: Context<()>| {
            let (killer, child) = (killer.clone(), ctx.address());
            async move {
                killer.send(child).expect("it waits for this");
                ctx.recv().await;
            }
        }))
    })
}

async fn down(supervisor: SupervisorRef) {
    supervisor.stop(LONG).await;
}

/// Kills one child over and over, and waits each time for the next; the times it took, one by one.
async fn kill_loop(ctx: &mut Context<Child>, mut child: Child, n: u64) -> Vec<Duration> {
    let mut took = Vec::with_capacity(usize::try_from(n).expect("a count that fits"));
    for _ in 0..n {
        let start = now();
        child.kill();
        child = ctx.recv().await;
        took.push(start.elapsed());
    }
    took
}

/// A rate over all of the times, with the 50th and the 99th of a hundred in microseconds.
fn restarts(mut took: Vec<Duration>) -> Outcome {
    took.sort_unstable();
    let at = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1e6;
    let extras = vec![("p50_us", at(50)), ("p99_us", at(99))];
    let outcome = rate_of(took.len() as u64, "restarts/s", took.iter().sum());
    Outcome { extras, ..outcome }
}

/// `n` restarts in bursts of 300, each under a new supervisor.
pub(crate) fn restart_bursts(runtime: &Runtime, n: u64) -> Outcome {
    let wait = begin(runtime, async move |mut ctx: Context<Child>| {
        let mut took = Vec::new();
        for _ in 0..n.div_ceil(300) {
            let tree = telling(&ctx.address(), Strategy::OneForOne, 1);
            let supervisor = tree.start_link(&mut ctx).await.expect("it starts");
            let child = ctx.recv().await;
            took.extend(kill_loop(&mut ctx, child, 300).await);
            ctx.unlink(supervisor.address());
            down(supervisor).await;
        }
        took
    });
    restarts(wait.wait())
}

/// `n` restarts in a row of one of so many children.
pub(crate) fn restart_one(runtime: &Runtime, n: u64, children: u64) -> Outcome {
    let wait = begin(runtime, async move |mut ctx: Context<Child>| {
        let tree = telling(&ctx.address(), Strategy::OneForOne, children);
        let supervisor = tree.start_link(&mut ctx).await.expect("it starts");
        let first = ctx.recv().await;
        for _ in 1..children {
            ctx.recv().await;
        }
        let took = kill_loop(&mut ctx, first, n).await;
        ctx.unlink(supervisor.address());
        down(supervisor).await;
        took
    });
    restarts(wait.wait())
}

/// All of `n` children are restarted since one was killed; so many times.
pub(crate) fn restart_all(runtime: &Runtime, n: u64, times: u64) -> Outcome {
    let wait = begin(runtime, async move |mut ctx: Context<Child>| {
        let tree = telling(&ctx.address(), Strategy::OneForAll, n);
        let supervisor = tree.start_link(&mut ctx).await.expect("it starts");
        let mut up = Vec::new();
        for _ in 0..n {
            up.push(ctx.recv().await);
        }
        let start = now();
        for _ in 0..times {
            up[0].kill();
            for child in &mut up {
                *child = ctx.recv().await;
            }
        }
        let took = start.elapsed();
        ctx.unlink(supervisor.address());
        down(supervisor).await;
        took
    });
    rate_of(n * times, "child restarts/s", wait.wait())
}

#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Dynamic,
    Static,
    /// A hundred supervisors with a hundredth each.
    Nested,
}

async fn idle(mut ctx: Context<()>) {
    ctx.recv().await;
}

fn static_children(n: u64) -> Supervisor {
    (0..n).fold(Supervisor::new(), |supervisor, n| supervisor.child(ChildSpec::worker(n.to_string(), idle)))
}

/// The rate at which `n` children are started; with that of their stop.
pub(crate) fn tree(runtime: &Runtime, n: u64, shape: Shape) -> Outcome {
    let handle = runtime.handle();
    let wait = begin(runtime, async move |_: Context<()>| {
        let start = now();
        let supervisor = match shape {
            Shape::Dynamic => {
                let dynamic = DynamicSupervisor::new(|ctx: Context<()>, (): ()| idle(ctx));
                let dynamic = dynamic.start(&handle).await.expect("it starts");
                for _ in 0..n {
                    dynamic.start_child(()).await.expect("it starts");
                }
                dynamic.supervisor().clone()
            }
            Shape::Static => static_children(n).start(&handle).await.expect("it starts"),
            Shape::Nested => {
                let nest = |i: u64| ChildSpec::supervisor(i.to_string(), move || static_children(n / 100));
                let tree = (0..100).fold(Supervisor::new(), |supervisor, i| supervisor.child(nest(i)));
                tree.start(&handle).await.expect("it starts")
            }
        };
        let started = start.elapsed();
        let start = now();
        supervisor.address().exit(ExitReason::Shutdown);
        drop(supervisor.stop(LONG).await);
        (started, start.elapsed())
    });
    let (started, stopped) = wait.wait();
    let extras = vec![("stop_per_s", n as f64 / stopped.as_secs_f64())];
    Outcome { extras, ..rate_of(n, "children/s", started) }
}
