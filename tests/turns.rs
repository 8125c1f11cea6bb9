//! Driver: whose turn it is: nobody is passed over for ever, and a tree of processes is not alive all at once.
mod workers;

use colloquium::{Address, Context, ExitReason, Runtime};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use workers::{LONG, on_sizes};

/// Far more than a worker may take before the oldest.
const CHAIN: usize = 10_000;
const DEPTH: u32 = 14;

type Body = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Spawns its successor, and so on, until the oldest has run or the chain is at its end.
fn link(mut ctx: Context<()>, left: usize, oldest_ran: Arc<AtomicBool>, passed_over: Arc<AtomicUsize>) -> Body {
    Box::pin(async move {
        if left > 0 && !oldest_ran.load(Ordering::SeqCst) {
            passed_over.fetch_add(1, Ordering::SeqCst);
            ctx.spawn(move |ctx| link(ctx, left - 1, oldest_ran, passed_over)).expect("room");
        }
    })
}

/// The youngest runs first as a rule, so a chain of births is always younger than what stands in the queue.
#[test]
fn the_oldest_newborn_has_its_turn_though_ever_younger_ones_come() {
    on_sizes(&[1], async |runtime| {
        let (ran, passed_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (flag, count) = (Arc::clone(&ran), Arc::clone(&passed_over));
        let parent = runtime.spawn(async move |mut ctx: Context<()>| {
            let oldest: Address<()> = ctx.spawn(async move |_| flag.store(true, Ordering::SeqCst)).expect("room");
            let flag = Arc::clone(&ran);
            let first = ctx.spawn(move |ctx: Context<()>| link(ctx, CHAIN, flag, count)).expect("room");
            first.ended().await;
            oldest.ended().await;
            assert!(ran.load(Ordering::SeqCst));
        });
        assert!(parent.expect("room").ended().await.is_orderly());
        let passed_over = passed_over.load(Ordering::SeqCst);
        assert!(passed_over < 100, "the oldest was passed over {passed_over} times");
    });
}

/// One that is woken again and again and one that spawns again and again get on beside each other.
#[test]
fn the_woken_and_the_newborn_take_turns() {
    on_sizes(&[1], async |runtime| {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, turns) = (Arc::clone(&stop), Arc::clone(&rounds));
        let spinner = runtime.spawn(async move |mut ctx: Context<()>| {
            while !stopped.load(Ordering::SeqCst) {
                turns.fetch_add(1, Ordering::SeqCst);
                ctx.yield_now().await;
            }
        });
        let spawner = runtime.spawn(async move |mut ctx: Context<()>| {
            while rounds.load(Ordering::SeqCst) < 1000 {
                let child: Address<()> = ctx.spawn(async |_| ()).expect("room");
                ctx.yield_now().await;
                child.ended().await;
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert!(spawner.expect("room").ended().await.is_orderly());
        assert!(spinner.expect("room").ended().await.is_orderly());
    });
}

struct Alive(Arc<[AtomicUsize; 2]>);

impl Alive {
    fn new(counts: &Arc<[AtomicUsize; 2]>) -> Self {
        let alive = counts[0].fetch_add(1, Ordering::SeqCst) + 1;
        counts[1].fetch_max(alive, Ordering::SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0[0].fetch_sub(1, Ordering::SeqCst);
    }
}

fn node(mut ctx: Context<u64>, depth: u32, parent: Option<Address<u64>>, counts: Arc<[AtomicUsize; 2]>) -> Body {
    Box::pin(async move {
        let _alive = Alive::new(&counts);
        let mut sum = 1;
        if depth > 0 {
            for _ in 0..2 {
                let (me, counts) = (ctx.address(), Arc::clone(&counts));
                ctx.spawn(move |ctx| node(ctx, depth - 1, Some(me), counts)).expect("room");
            }
            sum += ctx.recv().await + ctx.recv().await;
        }
        match parent {
            Some(parent) => parent.send(sum).expect("it waits for this"),
            None => assert_eq!(sum, (1 << (DEPTH + 1)) - 1),
        }
    })
}

/// Whoever forks and joins needs the memory of some paths, not of the whole tree: a queue, in which the oldest comes
/// first, would have a whole level alive.
#[test]
fn a_tree_of_processes_is_not_alive_all_at_once() {
    on_sizes(&[1], async |runtime| {
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let shared = Arc::clone(&counts);
        let root = runtime.spawn(move |ctx| node(ctx, DEPTH, None, shared)).expect("room");
        assert!(root.ended().await.is_orderly());
        let most = counts[1].load(Ordering::SeqCst);
        assert!(most < 1 << (DEPTH - 2), "{most} of {} were alive at a time", (1 << (DEPTH + 1)) - 1);
    });
}

/// Ends that have been are ready at once, however many are asked for.
#[test]
fn a_loop_over_ends_that_have_been_lets_others_run() {
    on_sizes(&[1], async |_| {
        let runtime = Runtime::builder().workers(1).stall_limit(2 * LONG).build().expect("a runtime");
        let gone = runtime.spawn(async |_: Context<()>| ()).expect("room");
        gone.ended().await;
        let had_turn = Arc::new(AtomicBool::new(false));
        let sets = Arc::clone(&had_turn);
        let asks = runtime.spawn(async move |ctx: Context<()>| {
            ctx.runtime().spawn(async move |_: Context<()>| sets.store(true, Ordering::SeqCst)).expect("room");
            for _ in 0..10_000 {
                gone.ended().await;
            }
            assert!(had_turn.load(Ordering::SeqCst), "nobody else has run");
        });
        assert_eq!(asks.expect("room").ended().await, ExitReason::Normal);
        runtime.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

/// Says what came when: the body's value was dropped, the other had its turn.
struct Dropped(mpsc::Sender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send("cleared away");
    }
}

/// The heir is told at the end of the poll in which a process comes to its end, by a worker that has both.
fn order_of(reason: ExitReason) -> Vec<&'static str> {
    let runtime = Runtime::builder().workers(1).build().expect("it starts");
    let (said, order) = mpsc::channel();
    let told = said.clone();
    let heir = runtime.spawn(async move |mut ctx: Context<()>| {
        ctx.recv().await;
        let _ = told.send("took over");
    });
    let heir = heir.expect("room for one");
    let ended = heir.ended();
    let testator = runtime.spawn(async move |mut ctx: Context<()>| {
        ctx.recv().await;
        let _held = Dropped(said);
        heir.send(()).expect("it waits");
        ctx.exit(reason).await;
    });
    let testator = testator.expect("room for one");
    let both = testator.ended();
    testator.send(()).expect("it waits");
    runtime.block_on(async {
        both.await;
        ended.await;
    });
    order.iter().collect()
}

#[test]
fn who_takes_over_from_one_that_ends_badly_runs_before_that_is_cleared_away() {
    assert_eq!(order_of(ExitReason::error("no more")), ["took over", "cleared away"]);
    assert_eq!(order_of(ExitReason::Normal), ["cleared away", "took over"]);
}
