//! A database stands still: consumers wait for it, then messages wait for consumers, then newcomers are refused, and told when to
//! come again; and all goes on when the database does.
//!
//! `cargo run --release --example overload`
use colloquium::prelude::*;

enum Query {
    Store(ReplyTo<()>),
    /// It answers from now on.
    GoOn,
}

async fn database(mut ctx: Context<Query>) {
    let (mut awake, mut waiting) = (false, Vec::new());
    loop {
        match ctx.recv().await {
            Query::Store(reply_to) => waiting.push(reply_to),
            Query::GoOn => awake = true,
        }
        if awake {
            for reply_to in waiting.drain(..) {
                // Who has given up waiting needs no answer.
                let _ = reply_to.send(());
            }
        }
    }
}

struct Writer {
    database: Address<Query>,
}

impl Consumer for Writer {
    type Message = u32;
    type Output = ();

    async fn handle(&mut self, _: Delivery<u32>) -> Result<(), Failure> {
        Ok(self.database.call(Query::Store).await?)
    }
}

async fn run(runtime: &Runtime) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let database = runtime.spawn(database)?;
    let for_writers = database.clone();
    let start = move || {
        let database = for_writers.clone();
        async move { Ok::<_, std::io::Error>(Writer { database }) }
    };
    let writers = ConsumerGroup::of("writers", 2, start).waiting_room(4).max_wait(20 * SECOND);
    let writers = writers.start(&runtime.root()).await?;

    // Two are with the consumers, four wait for them.
    let accepted: Vec<_> = (0..6).map(|n| writers.dispatch(n).start()).collect();
    let mut refused = Vec::new();
    for n in 6..10 {
        let error = writers.dispatch(n).await.expect_err("there is no room");
        println!("{n}: {error}; worth trying again in {:?}", error.retry_after().unwrap_or_default());
        assert!(error.kind() == Overloaded && error.is_safe_to_retry());
        refused.push(error.into_message());
    }
    // Who has not read its message yet need not.
    let error = writers.try_reserve().expect_err("there is no room");
    println!("10: {error}, said before it was there");
    let snapshot = writers.group().snapshot();
    println!("in: {}, of which {} wait; refused: {}", snapshot.in_flight, snapshot.waiting, snapshot.totals.refused);
    assert_eq!((snapshot.in_flight, snapshot.waiting, snapshot.totals.refused), (6, 4, 5));

    database.send(Query::GoOn)?;
    for conversation in accepted {
        conversation.await?;
    }
    println!("the database goes on: what was in is stored");
    for message in refused {
        // Waits for room, and is not refused then.
        let slot = writers.reserve().await?;
        slot.dispatch(message).await?;
    }
    assert_eq!(writers.drain(10 * SECOND).await.left, 0);
    let snapshot = writers.group().snapshot();
    println!("and so is what came again: {} of 10", snapshot.totals.completed);
    assert_eq!(snapshot.totals.completed, 10);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let runtime = Runtime::new()?;
    runtime.block_on(run(&runtime))?;
    Ok(runtime.block_on(runtime.shutdown(5 * SECOND)).into_result().map(drop)?)
}
