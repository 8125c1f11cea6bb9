//! Driver: panics, wherever a process can have one: the runtime goes on, and whoever watches learns of the end.
mod workers;

use colloquium::{Address, Context, ExitReason, Runtime};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Polling, Wake, Waker};
use workers::{Probe, mortal, on_each_size, on_each_size_whole, on_sizes, races, until, watcher};

/// Runs a test in a program of its own, since what it is about might abort the program and all other tests with it.
fn alone(name: &str, body: fn()) {
    const ALONE: &str = "COLLOQUIUM_TEST_ALONE";
    if std::env::var_os(ALONE).is_some_and(|alone| alone == name) {
        return body();
    }
    let program = std::env::current_exe().expect("this test has a program");
    let run = Command::new(program).args([name, "--exact", "--nocapture"]).env(ALONE, name).output();
    let run = run.expect("the program can be run again");
    let (output, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{}\n{output}\n{errors}", run.status);
    assert!(output.contains("1 passed"), "{output}");
}

/// Panics when it is dropped, and counts.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("a destructor panics on purpose");
    }
}

impl fmt::Debug for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bomb")
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bomb")
    }
}

impl std::error::Error for Bomb {}

/// Every worker still takes and runs what comes.
async fn is_well(runtime: &Runtime) {
    let processes: Vec<_> = (0..50).map(|_| mortal(runtime)).collect();
    for process in &processes {
        process.send(ExitReason::shutdown_with("well")).expect("it lives");
    }
    for process in processes {
        assert_eq!(process.ended().await, ExitReason::shutdown_with("well"));
    }
}

#[test]
fn panics_of_many_bodies_leave_the_runtime_well() {
    on_each_size(async |runtime| {
        let processes: Vec<_> = (0..races())
            .map(|number| {
                let body = async move |mut ctx: Context<()>| {
                    ctx.yield_now().await;
                    panic!("panic {number}");
                };
                runtime.spawn(body).expect("room")
            })
            .collect();
        for (number, process) in processes.into_iter().enumerate() {
            let ExitReason::Panicked(panic) = process.ended().await else { panic!("another reason") };
            assert_eq!(panic.message(), format!("panic {number}"));
        }
        is_well(&runtime).await;
    });
}

#[test]
fn a_panic_in_a_mapping_is_the_end_of_the_process_it_belongs_to() {
    on_each_size(async |runtime| {
        for trap in [true, false] {
            let (p, q) = (Probe::new(&runtime), mortal(&runtime));
            let watcher = watcher(&runtime, p.clone());
            let target = q.clone();
            p.ask(move |ctx| {
                if trap {
                    ctx.trap_exits(|_| panic!("mapping"));
                    ctx.link(target);
                } else {
                    ctx.monitor(target, |_| panic!("mapping"));
                }
            });
            q.kill();
            let ExitReason::Panicked(panic) = watcher.down().reason else { panic!("another reason") };
            assert_eq!(panic.message(), "mapping");
        }
        is_well(&runtime).await;
    });
}

#[test]
fn a_destructor_that_panics_when_its_process_is_killed_changes_nothing() {
    alone("a_destructor_that_panics_when_its_process_is_killed_changes_nothing", || {
        on_each_size(async |runtime| {
            let dropped = Arc::new(AtomicUsize::new(0));
            for _ in 0..races() / 10 {
                let state = Bomb(Arc::clone(&dropped));
                let body = async move |mut ctx: Context<()>| {
                    let _state = state;
                    ctx.recv().await;
                };
                let process = runtime.spawn(body).expect("room");
                let (linked, watcher) = (Probe::trapping(&runtime), watcher(&runtime, process.clone()));
                linked.link(process.clone());
                process.kill();
                assert_eq!((linked.trapped().reason, watcher.down().reason), (ExitReason::Killed, ExitReason::Killed));
            }
            assert_eq!(dropped.load(Ordering::SeqCst), races() / 10);
            is_well(&runtime).await;
        });
    });
}

/// The locals of a body that returns are dropped within it: that is a panic of the body.
#[test]
fn a_destructor_that_panics_when_its_body_returns_is_the_reason() {
    alone("a_destructor_that_panics_when_its_body_returns_is_the_reason", || {
        on_each_size(async |runtime| {
            let state = Bomb(Arc::default());
            let body = async move |mut ctx: Context<()>| {
                let _state = state;
                ctx.yield_now().await;
            };
            let reason = runtime.spawn(body).expect("room").ended().await;
            let ExitReason::Panicked(panic) = reason else { panic!("{reason}") };
            assert_eq!(panic.message(), "a destructor panics on purpose");
            is_well(&runtime).await;
        });
    });
}

/// Where the left-over messages of a process are when it is killed.
#[derive(Clone, Copy, Debug)]
enum LeftOver {
    InMailbox,
    InBatch,
    SetAside,
}

async fn keep_messages(mut ctx: Context<Option<Bomb>>, place: LeftOver, counter: Arc<AtomicUsize>) {
    let own = ctx.address();
    own.send(None).expect("it lives");
    for _ in 0..10 {
        own.send(Some(Bomb(Arc::clone(&counter)))).expect("it lives");
    }
    match place {
        LeftOver::InMailbox => {}
        // The first of a batch; the others are out of the mailbox by then.
        LeftOver::InBatch => drop(ctx.recv().await),
        LeftOver::SetAside => {
            own.send(None).expect("it lives");
            drop(ctx.recv().await);
            drop(ctx.recv_matching(Option::is_none).await);
        }
    }
    ctx.exit(ExitReason::error("full of bombs")).await;
}

fn left_over_messages(place: LeftOver) {
    on_each_size(async move |runtime| {
        let counter = Arc::new(AtomicUsize::new(0));
        let bombs = Arc::clone(&counter);
        let process = runtime.spawn(move |ctx| keep_messages(ctx, place, bombs)).expect("room");
        let reason = watcher(&runtime, process.clone()).down().reason;
        assert!(reason == ExitReason::error("full of bombs") || reason == ExitReason::NoProcess, "{reason}");
        assert_eq!(counter.load(Ordering::SeqCst), 10, "each is dropped, and before anybody is told");
        is_well(&runtime).await;
    });
}

#[test]
fn left_over_messages_whose_destructors_panic_are_dropped_one_by_one() {
    alone("left_over_messages_whose_destructors_panic_are_dropped_one_by_one", || {
        left_over_messages(LeftOver::InMailbox);
    });
}

#[test]
fn left_over_messages_of_a_batch_whose_destructors_panic_are_dropped_one_by_one() {
    alone("left_over_messages_of_a_batch_whose_destructors_panic_are_dropped_one_by_one", || {
        left_over_messages(LeftOver::InBatch);
    });
}

#[test]
fn messages_set_aside_whose_destructors_panic_are_dropped_one_by_one() {
    alone("messages_set_aside_whose_destructors_panic_are_dropped_one_by_one", || {
        left_over_messages(LeftOver::SetAside);
    });
}

/// Panics with another of its kind when it is dropped, so many times.
struct Nested(u32);

impl Drop for Nested {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Nested(self.0 - 1));
        }
    }
}

#[test]
fn a_payload_whose_destructor_panics_is_dropped_or_leaked() {
    alone("a_payload_whose_destructor_panics_is_dropped_or_leaked", || {
        on_each_size(async |runtime| {
            for depth in [0, 1, 3, 100] {
                let process = runtime.spawn(async move |_: Context<()>| panic_any(Nested(depth))).expect("room");
                let unmade = |_: Context<()>| -> std::future::Ready<()> { panic_any(Nested(3)) };
                let unmade = runtime.spawn(unmade).expect("room");
                for process in [process, unmade] {
                    let reason = process.ended().await;
                    assert!(matches!(reason, ExitReason::Panicked(_)), "{reason}");
                }
            }
            is_well(&runtime).await;
        });
    });
}

/// The reason is shared by many and dropped by whoever is last: on a worker, that must not be the worker's end.
#[test]
fn a_reason_whose_destructor_panics_harms_no_worker() {
    alone("a_reason_whose_destructor_panics_harms_no_worker", || {
        on_each_size(async |runtime| {
            let counter = Arc::new(AtomicUsize::new(0));
            for _ in 0..8 {
                let cause = Bomb(Arc::clone(&counter));
                let body = async move |_: Context<()>| ExitReason::shutdown_with(cause);
                drop(runtime.spawn(body).expect("room"));
            }
            until(&runtime, || counter.load(Ordering::SeqCst) == 8).await;
            is_well(&runtime).await;
        });
    });
}

/// What the body of a process returns counts for nothing when its fate was fixed before: it is dropped unused.
#[test]
fn an_unused_reason_whose_destructor_panics_harms_no_worker() {
    alone("an_unused_reason_whose_destructor_panics_harms_no_worker", || {
        on_each_size(async |runtime| {
            let counter = Arc::new(AtomicUsize::new(0));
            for _ in 0..8 {
                let cause = Bomb(Arc::clone(&counter));
                let body = async move |ctx: Context<()>| {
                    ctx.address().kill();
                    ExitReason::shutdown_with(cause)
                };
                assert_eq!(runtime.spawn(body).expect("room").ended().await, ExitReason::Killed);
            }
            assert_eq!(counter.load(Ordering::SeqCst), 8);
            is_well(&runtime).await;
        });
    });
}

struct Refuses;

impl Wake for Refuses {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics on purpose");
    }
}

#[test]
fn a_foreign_waker_that_panics_keeps_nobody_from_being_told() {
    on_each_size_whole(async |runtime| {
        let process = mortal(&runtime);
        let mut waiting = [process.ended(), process.ended(), process.ended()];
        let panicking = Waker::from(Arc::new(Refuses));
        // The one in the middle is told neither first nor last.
        for (ended, waker) in waiting.iter_mut().zip([Waker::noop(), &panicking, Waker::noop()]) {
            assert!(Pin::new(ended).poll(&mut Polling::from_waker(waker)).is_pending());
        }
        process.kill();
        for ended in waiting {
            assert_eq!(ended.await, ExitReason::Killed);
        }
        is_well(&runtime).await;
    });
}

/// The hook notes where a process panicked; what it noted of a panic that was caught is no other's.
#[test]
fn the_place_of_a_panic_is_never_that_of_another() {
    on_sizes(&[1], async |runtime| {
        let catches = async |mut ctx: Context<()>| {
            assert!(catch_unwind(AssertUnwindSafe(|| panic!("caught"))).is_err());
            ctx.yield_now().await;
        };
        assert_eq!(runtime.spawn(catches).expect("room").ended().await, ExitReason::Normal);
        // An unwinding that no hook sees.
        let process: Address<()> =
            runtime.spawn(async |_: Context<()>| resume_unwind(Box::new("without a hook"))).expect("room");
        let ExitReason::Panicked(panic) = process.ended().await else { panic!("another reason") };
        assert_eq!((panic.message(), panic.location()), ("without a hook", None));
    });
}
