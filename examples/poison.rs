//! A message that kills whoever touches it ends in quarantine, with its history, while the others flow; and goes through once the
//! consumers are mended.
//!
//! `cargo run --release --example poison`
use colloquium::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

struct Reader {
    /// The bug is mended.
    mended: Arc<AtomicBool>,
}

impl Consumer for Reader {
    type Message = String;
    type Output = u32;

    async fn handle(&mut self, line: Delivery<String>) -> Result<u32, Failure> {
        // The bug: a line without a number in it brings the process down.
        match line.split(' ').find_map(|word| word.parse().ok()) {
            Some(number) => Ok(number),
            None if self.mended.load(Ordering::Relaxed) => Ok(0),
            None => panic!("nobody thought of {:?}", line.as_str()),
        }
    }
}

async fn run(runtime: &Runtime) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mended = Arc::new(AtomicBool::new(false));
    let for_readers = Arc::clone(&mended);
    let start = move || {
        let mended = Arc::clone(&for_readers);
        async move { Ok::<_, std::io::Error>(Reader { mended }) }
    };
    let readers = ConsumerGroup::of("readers", 3, start).max_wait(30 * SECOND).start(&runtime.root()).await?;

    let poison = readers.dispatch("no number at all".to_owned()).id(666).start();
    let good: Vec<_> = (0..300).map(|n| readers.dispatch(format!("line {n}")).start()).collect();
    let mut sum = 0;
    for conversation in good {
        sum += conversation.await?.into_output();
    }
    println!("300 good lines have gone through; they sum up to {sum}");
    let error = poison.await.expect_err("nobody can handle it");
    println!("the bad one has not: {error}");

    for letter in readers.group().dead_letters() {
        println!("in quarantine: message {}, {}", letter.id, letter.kind);
        for (n, attempt) in letter.attempts.iter().enumerate() {
            let reason = attempt.reason.as_ref().map(ToString::to_string).unwrap_or_default();
            println!("  try {}: consumer {}, {:?}, {reason}", n + 1, attempt.consumer, attempt.reached);
        }
    }
    assert_eq!((sum, error.kind(), error.attempts().len()), (44_850, Poisoned, 3));

    mended.store(true, Ordering::Relaxed);
    let letter = readers.group().take_dead_letter(666).ok_or("it is there")?;
    let outcome = readers.dispatch(letter.message).await?;
    println!("after the bug was mended: {} (consumer {})", outcome.output(), outcome.delivered_to());
    assert_eq!((*outcome.output(), readers.group().dead_letters().len()), (0, 0));
    assert_eq!(readers.drain(10 * SECOND).await.left, 0);
    let totals = readers.group().snapshot().totals;
    println!("{} lines; {} processes of consumers were started anew", totals.completed, totals.restarts);
    assert_eq!((totals.completed, totals.crashed, totals.restarts), (301, 3, 3));
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Crashes are part of the show; what they say is kept with the group.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = Runtime::new()?;
    runtime.block_on(run(&runtime))?;
    Ok(runtime.block_on(runtime.shutdown(5 * SECOND)).into_result().map(drop)?)
}
