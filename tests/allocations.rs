//! Allocations, counted: what a spawn, a send, a receive and a call cost of them.
//!
//! The counter is of the thread that runs the measured code, so that each side of a call is measured where it runs; what
//! other tests of this program do meanwhile does not count. Growing a buffer counts as an allocation. Where a number is
//! amortised (a queue takes a block for some dozens of entries, a map a node for some names), the mean is held to it with
//! a margin, and the commonest number is held to it exactly.
use allocation_counter::measure;
use colloquium::{Address, Context, ExitReason, ReplyTo, Runtime, SpawnError};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const REPETITIONS: usize = 2000;
/// Rounds before anything is counted: tables, queues and caches take what they take once.
const WARM_UP: usize = 500;

/// The numbers of one operation, repeated.
struct Counts(Vec<u64>);

impl Counts {
    fn commonest(&self) -> u64 {
        let most = self.histogram().into_iter().max_by_key(|(_, often)| *often);
        most.expect("something was counted").0
    }

    fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How often each number came.
    fn histogram(&self) -> BTreeMap<u64, usize> {
        let mut histogram = BTreeMap::new();
        self.0.iter().for_each(|count| *histogram.entry(*count).or_default() += 1);
        histogram
    }

    /// `each` in nearly all cases, and no more than a tenth above it in the mean.
    #[track_caller]
    fn assert_amortised(&self, each: u64) {
        assert_eq!(self.commonest(), each, "the commonest of {:?}", self.histogram());
        let most = each * self.0.len() as u64 + self.0.len() as u64 / 10;
        assert!(self.total() <= most, "at most {most}, each so often: {:?}", self.histogram());
    }
}

/// Counts the allocations of each poll, up to the end of a future.
async fn count<F: Future>(counted: &mut u64, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let mut polled = Poll::Pending;
        *counted += measure(|| polled = future.as_mut().poll(cx)).count_total;
        polled
    })
    .await
}

/// Runs a body in a process and waits for what it returns. One worker: nothing wanders between threads.
fn within_a_process<T: Send + 'static, F>(body: impl FnOnce(Context<u64>, Runtime) -> F) -> T
where
    F: Future<Output = T> + Send + 'static,
{
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    let (result, wait) = std::sync::mpsc::channel();
    let inner = runtime.clone();
    let process = runtime.spawn(move |ctx| {
        let body = body(ctx, inner);
        async move { drop(result.send(body.await)) }
    });
    process.expect("a process");
    wait.recv_timeout(Duration::from_secs(60)).expect("the body returns")
}

/// Spawns again and again within a process, letting each child end; what each spawn cost, warm-up left out.
fn count_spawns<S>(mut spawn: impl FnMut(&mut Context<u64>, usize) -> S + Send + 'static) -> Counts
where
    S: Send,
{
    Counts(within_a_process(|mut ctx, runtime| async move {
        let mut counts = Vec::with_capacity(REPETITIONS + WARM_UP);
        for number in 0..REPETITIONS + WARM_UP {
            let mut spawned = None;
            counts.push(measure(|| spawned = Some(spawn(&mut ctx, number))).count_total);
            drop(spawned);
            while runtime.runtime_info().processes > 1 {
                ctx.yield_now().await;
            }
        }
        counts.split_off(WARM_UP)
    }))
}

#[test]
fn a_spawn_is_two_allocations() {
    count_spawns(|ctx, _| ctx.spawn(async |_: Context<u64>| ()).expect("a process")).assert_amortised(2);
}

#[test]
fn a_linked_spawn_is_two_allocations() {
    count_spawns(|ctx, _| ctx.spawn_link(async |_: Context<u64>| ()).expect("a process")).assert_amortised(2);
}

/// The third is what a process has that has a name at all; its entry in the registry costs a node of the map now and then.
#[test]
fn a_spawn_with_a_name_is_three_allocations() {
    let mut names = names();
    let spawn = move |ctx: &mut Context<u64>, _| {
        let name = names.pop().expect("one for each");
        ctx.build().name(name).spawn(async |_: Context<u64>| ()).expect("a process")
    };
    count_spawns(spawn).assert_amortised(3);
}

#[test]
fn a_spawn_with_a_name_among_thousands_is_three_allocations() {
    let counts: Vec<u64> = within_a_process(|mut ctx, _| async move {
        let spawn = |name: Arc<str>| {
            let mut child = None;
            let count = measure(|| child = Some(ctx.build().name(name).spawn(wait))).count_total;
            child.expect("measured").expect("a process");
            count
        };
        names().into_iter().map(spawn).collect()
    });
    let counts = Counts(counts[WARM_UP..].to_vec());
    // Nodes of the map are made for six to eleven names each.
    assert_eq!(counts.commonest(), 3);
    assert!(counts.total() <= counts.0.len() as u64 * 7 / 2, "{:?}", counts.histogram());
}

fn names() -> Vec<Arc<str>> {
    (0..REPETITIONS + WARM_UP).map(|number| format!("name {number}").into()).collect()
}

/// A body that waits for a number.
async fn wait(mut ctx: Context<u64>) {
    ctx.recv().await;
}

/// The same body with a future below and above the bound.
fn spawn_of_size<const BYTES: usize>(ctx: &mut Context<u64>) -> Result<Address<u64>, SpawnError> {
    let kept = [1u8; BYTES];
    ctx.spawn(|mut ctx: Context<u64>| async move {
        ctx.yield_now().await;
        ExitReason::error(format!("{}", kept.iter().map(|byte| u64::from(*byte)).sum::<u64>()))
    })
}

#[test]
fn a_spawn_with_a_future_of_2048_bytes_is_three_allocations_and_below_that_two() {
    count_spawns(|ctx, _| spawn_of_size::<1800>(ctx).expect("a process")).assert_amortised(2);
    count_spawns(|ctx, _| spawn_of_size::<2048>(ctx).expect("a process")).assert_amortised(3);
}

/// Bounces numbers back until it is killed, and tells what its receives and sends have cost.
async fn bounce(mut ctx: Context<(u64, Address<u64>, std::sync::mpsc::Sender<[u64; 2]>)>) {
    loop {
        let (mut receiving, mut sent) = (0, Ok(()));
        let (number, to, costs) = count(&mut receiving, ctx.recv()).await;
        let sending = measure(|| sent = to.send(number)).count_total;
        sent.expect("it waits for it");
        let _ = costs.send([receiving, sending]);
    }
}

#[test]
fn sends_and_receives_one_by_one_allocate_nothing() {
    let (costs, theirs) = std::sync::mpsc::channel();
    let own: Vec<[u64; 2]> = within_a_process(|mut ctx, runtime| async move {
        let bouncer = runtime.spawn(bounce).expect("a process");
        let mut own = Vec::with_capacity(REPETITIONS + WARM_UP);
        for number in 0..(REPETITIONS + WARM_UP) as u64 {
            let message = (number, ctx.address(), costs.clone());
            let (mut sent, mut receiving) = (Ok(()), 0);
            let sending = measure(|| sent = bouncer.send(message)).count_total;
            sent.expect("it lives");
            assert_eq!(count(&mut receiving, ctx.recv()).await, number);
            own.push([receiving, sending]);
        }
        own
    });
    let theirs: Vec<[u64; 2]> = theirs.try_iter().collect();
    for costs in [&own, &theirs] {
        assert_eq!(costs.len(), REPETITIONS + WARM_UP);
        let [receiving, sending] =
            [0, 1].map(|which| Counts(costs[WARM_UP..].iter().map(|cost| cost[which]).collect()));
        assert_eq!(receiving.total(), 0, "receives: {:?}", receiving.0);
        sending.assert_amortised(0);
    }
}

#[test]
fn sends_and_receives_in_bursts_allocate_nothing_in_the_mean() {
    const BURST: u64 = 50;
    let (sending, receiving): (Vec<u64>, Vec<u64>) = within_a_process(|mut ctx, _| async move {
        let (own, mut sending, mut receiving) = (ctx.address(), Vec::new(), Vec::new());
        for _ in 0..(REPETITIONS + WARM_UP) as u64 / BURST {
            for number in 0..BURST {
                sending.push(measure(|| drop(own.send(number))).count_total);
            }
            for number in 0..BURST {
                let mut cost = 0;
                assert_eq!(count(&mut cost, ctx.recv()).await, number);
                receiving.push(cost);
            }
        }
        (sending.split_off(WARM_UP), receiving.split_off(WARM_UP))
    });
    Counts(sending).assert_amortised(0);
    assert_eq!(receiving.iter().sum::<u64>(), 0, "{receiving:?}");
}

/// Answers, and tells what it cost to receive the request and to answer it.
async fn answer(mut ctx: Context<ReplyTo<u64>>, costs: std::sync::mpsc::Sender<u64>) {
    loop {
        let mut cost = 0;
        let reply_to = count(&mut cost, ctx.recv()).await;
        let mut answered = Ok(());
        cost += measure(|| answered = reply_to.send(7)).count_total;
        answered.expect("it waits for it");
        let _ = costs.send(cost);
    }
}

#[test]
fn a_call_is_one_allocation_both_sides_together() {
    let (costs, callees) = std::sync::mpsc::channel();
    let callers: Vec<u64> = within_a_process(|mut ctx, runtime| async move {
        let callee = runtime.spawn(|ctx| answer(ctx, costs)).expect("a process");
        let mut callers = Vec::with_capacity(REPETITIONS + WARM_UP);
        for _ in 0..REPETITIONS + WARM_UP {
            let mut cost = 0;
            assert_eq!(count(&mut cost, ctx.call(&callee, |reply_to| reply_to)).await.ok(), Some(7));
            callers.push(cost);
        }
        callers
    });
    let callees: Vec<u64> = callees.try_iter().collect();
    assert_eq!(callees.len(), callers.len(), "each call was answered before it was over");
    let both = callers.iter().zip(&callees).skip(WARM_UP).map(|(caller, callee)| caller + callee);
    Counts(both.collect()).assert_amortised(1);
}

/// A counter that counts nothing would let everything above pass.
#[test]
fn the_counter_counts_what_its_own_thread_allocates() {
    let here = measure(|| drop(std::hint::black_box(Box::new(1u64)))).count_total;
    assert_eq!(here, 1);
    let mut polls = 0;
    let boxed = poll_fn(|_| Poll::Ready(std::hint::black_box(Box::new(1u64))));
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    let mut counting = Box::pin(count(&mut polls, boxed));
    runtime.block_on(Pin::new(&mut counting));
    drop(counting);
    assert_eq!(polls, 1);
}

/// On the side of the process; the threads of the pool allocate nothing of their own. The process has its part for rare things
/// already, which its first job would have made.
#[test]
fn a_piece_of_blocking_work_is_one_allocation() {
    let counts = Counts(within_a_process(|mut ctx, _| async move {
        ctx.register("blocking").expect("a free name");
        let mut counts = Vec::with_capacity(REPETITIONS + WARM_UP);
        for number in 0..REPETITIONS + WARM_UP {
            let mut counted = 0;
            let done = count(&mut counted, ctx.run_blocking(move |_| number)).await;
            assert_eq!(done.expect("room"), number);
            counts.push(counted);
        }
        counts.split_off(WARM_UP)
    }));
    counts.assert_amortised(1);
}
