//! Two processes send a ball back and forth: `cargo run --release --example ping_pong [ROUNDS]`
use colloquium::prelude::*;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A message that expects another in return says where to send it: the receiver need not know its partner before.
struct Ping {
    number: u64,
    reply_to: Address<Pong>,
}

struct Pong(u64);

/// Answers whoever plays to it, for as long as the runtime lives: a body need not end.
async fn ponger(mut ctx: Context<Ping>) -> Outcome {
    loop {
        let ping = ctx.recv().await;
        // A partner that is gone is in the nature of things and no reason to end. Where it would be one: `?`.
        let _ = ping.reply_to.send(Pong(ping.number));
    }
}

async fn pinger(mut ctx: Context<Pong>, ponger: Address<Ping>, rounds: u64) -> Outcome {
    // Were the ponger to end, no answer would come. The link carries its end over here, so that nobody waits in vain.
    ctx.link(&ponger);
    let me = ctx.address();
    for number in 0..rounds {
        ponger.send(Ping { number, reply_to: me.clone() })?;
        let Pong(answer) = ctx.recv().await;
        assert_eq!(answer, number, "messages between two processes keep their order");
    }
    Ok(())
}

fn main() -> Outcome {
    let rounds: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let runtime = Runtime::new()?;
    let ponger = runtime.spawn(ponger)?;

    let before = runtime.runtime_info().uptime;
    let pinger = runtime.spawn(|ctx| pinger(ctx, ponger, rounds))?;
    // An address can be awaited from any thread; what comes is the reason for which the process ended.
    let reason = runtime.block_on(pinger.ended());
    let took = runtime.runtime_info().uptime - before;
    if reason != ExitReason::Normal {
        return Err(reason.into());
    }

    let messages = 2 * rounds;
    println!("{messages} messages in {took:.2?}: {:.0} per second", messages as f64 / took.as_secs_f64());
    // The ponger is told to stop when the runtime is dropped here.
    Ok(())
}
