//! Driver: conversations through a group of consumers, with all that dispatch does; and how fast a crash is re-routed.
use crate::measure::{Outcome, begin, now, rate, resident_bytes};
use colloquium::prelude::*;
use colloquium::{ConsumerStateView, Conversation, RoutingFunction};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// As the peers have.
const CONSUMERS: usize = 8;

struct Echo;

impl Consumer for Echo {
    type Message = u64;
    type Output = u64;
    async fn handle(&mut self, number: Delivery<u64>) -> Result<u64, Failure> {
        Ok(*number)
    }
}

fn room_for(in_flight: u64) -> u32 {
    u32::try_from(in_flight.div_ceil(CONSUMERS as u64).max(1)).expect("a window is small")
}

/// `n` dispatches by one process, so many under way at a time, to eight consumers in turn; at least once, with their outputs.
pub(crate) fn dispatch(runtime: &Runtime, n: u64, in_flight: u64) -> Outcome {
    dispatch_to(runtime, n, in_flight, CONSUMERS, RoutingFunction::round_robin())
}

/// As `dispatch64`, to so many consumers, by a routing function that need not look at all of them.
pub(crate) fn wide(runtime: &Runtime, n: u64, consumers: usize, routing: RoutingFunction<u64>) -> Outcome {
    dispatch_to(runtime, n, 64, consumers, routing)
}

fn dispatch_to(runtime: &Runtime, n: u64, in_flight: u64, consumers: usize, routing: RoutingFunction<u64>) -> Outcome {
    let group = ConsumerGroup::of("echo", consumers, async || Ok::<_, Infallible>(Echo)).routing(routing);
    let group = runtime.block_on(group.room(room_for(in_flight)).start(runtime)).expect("they start");
    let start = now();
    let driver = begin(runtime, async move |_: Context<()>| {
        let mut under_way: VecDeque<Conversation<u64, u64>> = VecDeque::with_capacity(1024);
        let mut sum = 0;
        for number in 0..n {
            if under_way.len() as u64 == in_flight {
                let first = under_way.pop_front().expect("there are some");
                sum += first.await.expect("completed").into_output();
            }
            under_way.push_back(group.dispatch(number).start());
        }
        for conversation in under_way {
            sum += conversation.await.expect("completed").into_output();
        }
        assert_eq!(sum, n * (n - 1) / 2);
        assert_eq!(group.group().snapshot().totals.completed, n);
    });
    driver.wait();
    rate(n, "conversations/s", start)
}

/// Bytes of each of `n` conversations whose messages wait behind one that takes for ever, the message of 8 bytes included.
pub(crate) fn waiting(runtime: &Runtime, n: u64) -> Outcome {
    let registration =
        ConsumerRegistration::function(async |_: Delivery<u64>| std::future::pending::<Result<(), Failure>>().await);
    let room = u32::try_from(n).expect("fewer than four billion").saturating_add(1);
    let group = ConsumerGroup::alike("stuck", 1, &registration).room(room);
    let group = runtime.block_on(group.deadline(Duration::from_secs(3600)).start(runtime)).expect("it starts");
    let start = now();
    let driver = begin(runtime, async move |_: Context<()>| {
        let before = resident_bytes();
        let under_way: Vec<Conversation<u64, ()>> = (0..n).map(|number| group.dispatch(number).start()).collect();
        let value = resident_bytes().saturating_sub(before) as f64 / n as f64;
        assert_eq!(group.group().snapshot().in_flight, under_way.len());
        value
    });
    let value = driver.wait();
    Outcome {
        value,
        unit: "bytes/waiting conversation",
        n,
        wall_seconds: start.elapsed().as_secs_f64(),
        extras: Vec::new(),
    }
}

static CRASHED: AtomicU64 = AtomicU64::new(0);
static RECEIVED: AtomicU64 = AtomicU64::new(0);

fn stamp(at: &AtomicU64, runtime: &colloquium::Handle) {
    at.store(u64::try_from(runtime.now().as_nanos()).expect("centuries"), Ordering::Release);
}

/// How a consumer ends.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Panic,
    Kill,
}

/// Whichever of two consumers has a message first ends with it, the other has it then: from the end to its receipt there.
pub(crate) fn reroute(runtime: &Runtime, n: u64, by: By) -> Outcome {
    // The report of a million panics would be measured.
    std::panic::set_hook(Box::new(|_| {}));
    let handle = runtime.handle();
    let registration = ConsumerRegistration::function(move |fresh: Delivery<AtomicBool>| {
        let handle = handle.clone();
        async move {
            if fresh.swap(false, Ordering::Relaxed) {
                let own = handle.current().expect("a handler runs in a process");
                stamp(&CRASHED, &handle);
                match by {
                    By::Panic => panic!("as told"),
                    By::Kill => handle.exit(own, ExitReason::Kill),
                };
                std::future::pending::<()>().await;
            }
            stamp(&RECEIVED, &handle);
            Ok(())
        }
    });
    let group = ConsumerGroup::alike("crashing", 2, &registration);
    let group = runtime.block_on(group.start(runtime)).expect("they start");
    let start = now();
    let driver = begin(runtime, async move |mut ctx: Context<()>| {
        let mut took = Vec::new();
        for _ in 0..n {
            // Both are to be there, or it would be a restart that is measured.
            while !group.group().consumers().iter().all(ConsumerStateView::is_eligible) {
                ctx.yield_now().await;
            }
            // Each completes some: one that only crashes is given time before it is started again, and that is not what is measured.
            for _ in 0..4 {
                group.dispatch(AtomicBool::new(false)).await.expect("nobody crashes");
            }
            group.dispatch(AtomicBool::new(true)).await.expect("the other completes it");
            took.push(RECEIVED.load(Ordering::Acquire).saturating_sub(CRASHED.load(Ordering::Acquire)));
        }
        took
    });
    let took = driver.wait();
    // The first tenth warms the unwinder's caches, as with the peers.
    let mut took = took[took.len() / 10..].to_vec();
    took.sort_unstable();
    let quantile = |part: f64| took[((took.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    Outcome {
        value: quantile(0.5),
        unit: "us p50 crash->received by other",
        n: took.len() as u64,
        wall_seconds: start.elapsed().as_secs_f64(),
        extras: vec![("p99_us", quantile(0.99))],
    }
}
