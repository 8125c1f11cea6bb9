//! Orders of each customer are handled one after the other, in their order, while the consumers crash.
//!
//! `cargo run --release --example orders`
use colloquium::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const CUSTOMERS: u32 = 6;
const ORDERS: u32 = 40;

struct Order {
    customer: u32,
    number: u32,
    /// Somebody has begun with it before.
    tried: AtomicBool,
}

/// What has been booked, in the order in which it was; outlives the consumers, as a database would.
type Books = Arc<Mutex<BTreeMap<u32, Vec<u32>>>>;

struct Clerk {
    books: Books,
}

impl Consumer for Clerk {
    type Message = Order;
    type Output = usize;

    async fn handle(&mut self, order: Delivery<Order>) -> Result<usize, Failure> {
        // Trouble comes at the first try only; it does not matter to whom.
        let first_try = !order.tried.swap(true, Ordering::Relaxed);
        match (order.customer + order.number) % 10 {
            3 if first_try => panic!("order {} of customer {} crashes its clerk", order.number, order.customer),
            7 if first_try => Err("the till is stuck: another clerk may try")?,
            _ => {}
        }
        let mut books = self.books.lock().map_err(|_| "somebody has crashed over the books")?;
        let page = books.entry(order.customer).or_default();
        page.push(order.number);
        Ok(page.len())
    }
}

async fn run(runtime: &Runtime, books: &Books) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let for_clerks = Arc::clone(books);
    let start = move || {
        let books = Arc::clone(&for_clerks);
        async move { Ok::<_, std::io::Error>(Clerk { books }) }
    };
    let clerks = ConsumerGroup::of("clerks", 4, start).keyed_by(|order: &Order| order.customer).max_wait(30 * SECOND);
    let clerks = clerks.start(&runtime.root()).await?;

    // All at once: an order begins when its customer's one before is done with, whatever that takes.
    let mut dispatched = Vec::new();
    for number in 0..ORDERS {
        for customer in 0..CUSTOMERS {
            dispatched.push(clerks.dispatch(Order { customer, number, tried: AtomicBool::new(false) }).start());
        }
    }
    let (mut retried, mut most) = (0, 0);
    for conversation in dispatched {
        let outcome = conversation.await?;
        retried += usize::from(!outcome.delivered_first_try());
        most = most.max(outcome.attempts());
    }
    for (customer, page) in &*books.lock().expect("no panic with it") {
        println!("customer {customer}: {page:?}");
        assert_eq!(*page, (0..ORDERS).collect::<Vec<_>>(), "each once, in order");
    }
    assert_eq!(clerks.drain(10 * SECOND).await.left, 0);
    let totals = clerks.group().snapshot().totals;
    println!(
        "{} orders; {retried} came to a second clerk, after {} crashes and {} errors",
        totals.completed, totals.crashed, totals.failed
    );
    assert_eq!((totals.completed, most), (u64::from(CUSTOMERS * ORDERS), 2));
    assert_eq!((totals.crashed, totals.failed, retried), (24, 24, 48));
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Crashes are part of the show; what they say is kept with the group.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = Runtime::new()?;
    runtime.block_on(run(&runtime, &Books::default()))?;
    Ok(runtime.block_on(runtime.shutdown(5 * SECOND)).into_result().map(drop)?)
}
