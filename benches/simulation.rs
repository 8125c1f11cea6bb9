//! Steps of simulated processes per second: pairs that send a message to and fro, and calls.
//!
//! `cargo bench --bench simulation` prints a line each: how many steps, how long, how many a second.
use colloquium::{Address, Context, ReplyTo, Runtime, Simulation};
use std::time::Instant;

const ROUNDS: u64 = 200_000;

async fn pairs(runtime: Runtime, pairs: u64) {
    let all: Vec<_> = (0..pairs)
        .map(|_| {
            let echo = runtime.spawn(async |mut ctx: Context<Address<()>>| {
                loop {
                    let _ = ctx.recv().await.send(());
                }
            });
            let echo = echo.expect("room");
            let pinger = async move |mut ctx: Context<()>| {
                for _ in 0..ROUNDS / pairs {
                    echo.send(ctx.address()).expect("it lives");
                    ctx.recv().await;
                }
            };
            runtime.spawn(pinger).expect("room")
        })
        .collect();
    for pinger in all {
        pinger.ended().await;
    }
}

async fn calls(runtime: Runtime) {
    let server = runtime.spawn(async |mut ctx: Context<ReplyTo<()>>| {
        loop {
            let _ = ctx.recv().await.send(());
        }
    });
    let server = server.expect("room");
    let client = runtime.spawn(async move |mut ctx: Context<()>| {
        for _ in 0..ROUNDS {
            ctx.call(&server, |reply_to| reply_to).await.expect("an answer");
        }
    });
    client.expect("room").ended().await;
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(name: &str, body: impl AsyncFn(Runtime)) {
    for (kind, simulation) in [("whole polls", Simulation::new(1).whole_polls()), ("short polls", Simulation::new(1))] {
        let began = Instant::now();
        let outcome = simulation.once().run(&body).expect("it ends");
        let took = began.elapsed().as_secs_f64();
        println!(
            "{name:12} {kind}: {} steps in {took:.3} s, {:.2} M/s",
            outcome.steps,
            outcome.steps as f64 / took / 1e6
        );
    }
}

fn main() {
    measure("pair", async |runtime| pairs(runtime, 1).await);
    measure("1000 pairs", async |runtime| pairs(runtime, 1000).await);
    measure("calls", calls);
}
