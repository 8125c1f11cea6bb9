//! Driver: two runtimes in one program, a runtime that is dropped from within, and contexts that leave their bodies.
mod workers;

use colloquium::{
    Address, Context, ExitReason, LookupError, Mailbox, RegisterError, Runtime, SpawnError, TimedOut, charged,
};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context as Polling, Poll, Wake, Waker};
use std::time::Duration;
use workers::{
    LONG, Msg, Probe, arrival, corpse, in_thread, mortal, on_each_size, on_sizes, on_threads, races, until, watcher,
};

fn another() -> Runtime {
    Runtime::builder().workers(2).name("another").build().expect("threads for the workers")
}

fn is_panic(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Panicked(_))
}

#[test]
fn two_runtimes_do_not_see_each_others_names_groups_and_pids() {
    on_threads(async |runtime| {
        let other = another();
        let (here, there) = (Probe::named(&runtime, "name"), Probe::named(&other, "name"));
        there.ask(|ctx| ctx.join("group").expect("it lives"));
        assert_ne!(here.pid(), there.pid());
        assert_eq!(runtime.whereis::<Msg>("name").as_ref(), Ok(&*here));
        assert_eq!(other.whereis::<Msg>("name").as_ref(), Ok(&*there));
        assert_eq!((runtime.groups(), other.groups()), (vec![], vec!["group".into()]));
        assert_eq!(
            (runtime.names(), other.names()),
            (vec![("name".into(), here.pid())], vec![("name".into(), there.pid())])
        );
        let pid = there.pid();
        assert!(!runtime.is_alive(pid) && runtime.info(pid).is_none());
        assert_eq!(runtime.address_of::<Msg>(pid), Err(LookupError::NoProcess));
        assert_eq!(runtime.register("foreign", pid), Err(RegisterError::Dead));
        assert_eq!(runtime.processes(), [here.pid()]);
        runtime.exit(pid, ExitReason::Kill);
        here.ask(move |ctx| ctx.send_exit(pid, ExitReason::Kill));
        there.is_quiet();
        // By pid it is a stranger, and so as good as dead.
        assert_eq!((here.monitor(pid), here.down().reason).1, ExitReason::NoProcess);
        other.shutdown(LONG).await.into_result().expect("nobody is wedged");
        assert!(here.is_alive(), "the other's end is none of this one's business");
    });
}

/// The same slots of two tables: pids that print alike are two.
#[test]
fn pids_of_two_runtimes_differ_though_they_count_alike() {
    on_threads(async |runtime| {
        // The same number of workers, for the same division of the table.
        let workers = runtime.runtime_info().workers.len();
        let other = Runtime::builder().workers(workers).build().expect("threads for the workers");
        let mut pids: Vec<_> = (0..100).flat_map(|_| [mortal(&runtime).pid(), mortal(&other).pid()]).collect();
        let texts = pids.iter().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>();
        assert!(texts.len() < pids.len(), "some print alike");
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 200);
        other.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

/// A waker of an executor that is not ours: it tells nobody, and does something when its last clone is dropped.
struct Reenters(Box<dyn Fn() + Send + Sync>);

impl Wake for Reenters {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Reenters {
    fn drop(&mut self) {
        self.0();
    }
}

/// Polls with such a waker, then with another: the first is dropped within that poll, and has `act` done then.
fn exchange(mut future: Pin<&mut impl Future>, act: impl Fn() + Send + Sync + 'static) {
    let (tell, told) = channel();
    let reenters = Reenters(Box::new(move || {
        act();
        let _ = tell.send(());
    }));
    let waker = Waker::from(Arc::new(reenters));
    assert!(future.as_mut().poll(&mut Polling::from_waker(&waker)).is_pending());
    drop(waker);
    assert!(told.try_recv().is_err(), "who waits has a clone");
    assert!(future.as_mut().poll(&mut Polling::from_waker(Waker::noop())).is_pending());
    told.try_recv().expect("it was exchanged");
}

/// Wakers are users' code: the drop of one that is not needed any more may ask for the very thing that was waited for.
#[test]
fn the_drop_of_a_foreign_waker_may_use_what_was_waited_for() {
    on_threads(async |runtime| {
        let handle = runtime.handle();
        exchange(pin!(runtime.sleep(LONG)), {
            let handle = handle.clone();
            move || drop(handle.runtime_info())
        });
        let process = mortal(&runtime);
        let own = process.clone();
        exchange(pin!(process.ended()), move || drop(own.ended()));
        exchange(pin!(runtime.whereis_or_wait::<Msg>("nobody", LONG)), {
            let handle = handle.clone();
            move || drop(handle.names())
        });
        let (open, opened) = channel::<()>();
        let mut job = Box::pin(runtime.run_blocking(move |_| opened.recv().is_err()));
        exchange(job.as_mut(), {
            let handle = handle.clone();
            move || drop(handle.runtime_info())
        });
        drop(open);
        assert!(job.await.expect("it does not panic"));
        let probe = Arc::new(colloquium::testing::Probe::<u8>::new(&runtime));
        let own = Arc::downgrade(&probe);
        exchange(pin!(probe.expect(LONG)), move || drop(own.upgrade().map(|own| own.received())));
        // A full mailbox, a callee that does not answer, and a receive of one's own.
        let full = runtime.build().mailbox(Mailbox::bounded(1)).spawn(async |_: Context<u8>| pending::<()>().await);
        let full = full.expect("room");
        full.send(1).expect("there is room for one");
        let own = full.clone();
        exchange(pin!(full.send_wait(2).no_timeout()), move || drop(own.send(3)));
        let receives = runtime.spawn(async |mut ctx: Context<u8>| {
            let own = ctx.address();
            exchange(pin!(ctx.recv()), move || drop(own.send(4)));
            assert_eq!(ctx.recv().await, 4);
        });
        assert_eq!(receives.expect("room").ended().await, ExitReason::Normal);
        full.kill();
        process.kill();
    });
}

/// Addresses work across, for all that takes an address.
#[test]
fn links_and_monitors_by_address_reach_over_to_another_runtime() {
    on_threads(async |runtime| {
        let other = another();
        for _ in 0..races() / 10 {
            let (here, there) = (Probe::trapping(&runtime), mortal(&other));
            here.link(there.clone());
            here.monitor(there.clone());
            there.send(ExitReason::error("over there")).expect("it lives");
            let exit = here.trapped();
            assert_eq!((exit.from, exit.reason), (Some(there.pid()), ExitReason::error("over there")));
            assert_eq!(here.down().reason, ExitReason::error("over there"));
            let (here, there) = (Probe::new(&runtime), Probe::new(&other));
            there.link(here.clone());
            here.link(there.clone());
            here.kill();
            assert_eq!(there.ended().await, ExitReason::Killed);
        }
        let lonely = Probe::trapping(&runtime);
        let last = mortal(&other);
        lonely.link(last.clone());
        other.shutdown(LONG).await.into_result().expect("nobody is wedged");
        assert_eq!(lonely.trapped().reason, ExitReason::Shutdown);
        lonely.link(last);
        assert_eq!(lonely.trapped().reason, ExitReason::NoProcess);
        assert_eq!(other.spawn(async |_: Context<()>| ()), Err(SpawnError::ShuttingDown));
    });
}

#[test]
fn a_runtime_dropped_inside_its_own_process_shuts_down() {
    on_threads(async |runtime| {
        for _ in 0..races() / 10 {
            let inner = another();
            let handle = inner.handle();
            let (bystander, watcher) = (Probe::trapping(&inner), Probe::new(&runtime));
            let body = async move |mut ctx: Context<()>| {
                drop(inner);
                ctx.recv().await;
            };
            let process = handle.spawn(body).expect("room");
            watcher.monitor(process.clone());
            watcher.monitor(bystander.clone());
            assert_eq!(bystander.trapped().reason, ExitReason::Shutdown, "it may finish what it does");
            bystander.kill();
            let mut downs = [watcher.down(), watcher.down()];
            downs.sort_by_key(|down| down.pid != Some(process.pid()));
            let [own, others] = downs.map(|down| down.reason);
            assert!(own == ExitReason::Shutdown || own == ExitReason::NoProcess, "{own}");
            assert_eq!(others, ExitReason::Killed);
            let report = handle.shutdown(LONG).await;
            assert!(report.wedged.is_empty(), "{report:?}");
            assert_eq!(handle.processes(), []);
        }
    });
}

#[test]
fn a_process_that_shuts_its_own_runtime_down_ends_with_it() {
    on_threads(async |runtime| {
        let inner = another();
        let handle = inner.handle();
        let body = async move |_: Context<()>| {
            let report = handle.shutdown(LONG).await;
            panic!("it was to end before the shutdown had: {report:?}");
        };
        let process = inner.spawn(body).expect("room");
        assert_eq!(process.ended().await, ExitReason::Shutdown);
        inner.shutdown(LONG).await.into_result().expect("nobody is wedged");
        assert!(runtime.spawn(async |_: Context<()>| ()).is_ok(), "the other runtime is as it was");
    });
}

/// To wait there for a process could be to wait for oneself.
#[test]
fn block_on_within_a_process_is_its_end_and_not_a_hang() {
    on_threads(async |runtime| {
        let other = another();
        for handle in [runtime.handle(), other.handle()] {
            let body = async move |_: Context<()>| handle.block_on(std::future::pending::<()>());
            assert!(is_panic(&runtime.spawn(body).expect("room").ended().await));
        }
        other.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

/// A process that has given its context away, and one at whose end it ends.
fn giver(runtime: &Runtime) -> (Address<u32>, Context<u32>, Address<ExitReason>) {
    let ((give, given), stop) = (channel(), mortal(runtime));
    let until = stop.ended();
    let body = move |ctx: Context<u32>| {
        give.send(ctx).expect("the test waits");
        until
    };
    (runtime.spawn(body).expect("room"), arrival(&given), stop)
}

/// As [`giver`], and it has ended.
async fn widow(runtime: &Runtime) -> Context<u32> {
    let (address, ctx, stop) = giver(runtime);
    stop.kill();
    assert_eq!(address.ended().await, ExitReason::Killed);
    ctx
}

#[test]
fn a_context_in_another_runtimes_process_receives_while_its_own_lives_and_then_panics() {
    on_threads(async |runtime| {
        let other = another();
        for round in 0..races() / 3 {
            let (address, mut ctx, stop) = giver(&runtime);
            let (show, shown) = channel();
            let body = async move |_: Context<()>| {
                loop {
                    show.send(ctx.recv().await).expect("the test waits");
                }
            };
            let foreign = other.spawn(body).expect("room");
            if round % 2 == 0 {
                address.send(7).expect("it lives");
                assert_eq!(arrival(&shown), 7);
            }
            stop.kill();
            assert!(is_panic(&foreign.ended().await), "it has nothing to wait for");
        }
        other.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

#[test]
fn no_receive_of_a_dead_processs_context_hangs() {
    on_threads(async |runtime| {
        let other = another();
        let foreign = [
            {
                let mut ctx = widow(&runtime).await;
                other.spawn(async move |_: Context<()>| _ = ctx.recv().await).expect("room")
            },
            {
                let mut ctx = widow(&runtime).await;
                other.spawn(async move |_: Context<()>| _ = ctx.recv_matching(|_| true).await).expect("room")
            },
            {
                let mut ctx = widow(&runtime).await;
                let body = async move |_: Context<()>| assert_eq!(ctx.recv_timeout(LONG).await, Err(TimedOut));
                other.spawn(body).expect("room")
            },
            {
                let mut ctx = widow(&runtime).await;
                other.spawn(async move |_: Context<()>| _ = ctx.try_recv()).expect("room")
            },
        ];
        for (number, process) in foreign.into_iter().enumerate() {
            let reason = process.ended().await;
            assert!(is_panic(&reason) || number == 3, "{reason}");
        }
        let mut ctx = widow(&runtime).await;
        let handle = runtime.handle();
        assert!(in_thread(move || handle.block_on(ctx.recv())).join().is_err());
        other.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

/// Asked to end a process that is not the one that asks: the owner ends, and the asker does not wait for its own end.
#[test]
fn an_exit_of_oneself_through_anothers_context_does_not_hang() {
    on_threads(async |runtime| {
        let other = another();
        for own_lives in [true, false] {
            let (address, mut ctx, stop) = giver(&runtime);
            if !own_lives {
                stop.kill();
                address.ended().await;
            }
            let body = async move |_: Context<()>| ctx.exit(ExitReason::Kill).await;
            let foreign = other.spawn(body).expect("room");
            assert_eq!(address.ended().await, ExitReason::Killed);
            let guard = runtime.sleep(Duration::from_secs(30));
            let reason = first(foreign.ended(), guard).await;
            assert!(reason.is_some(), "the asker waits for ever");
            stop.kill();
        }
        other.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

/// What the first future gives, unless the second is ready before it.
async fn first<T>(future: impl Future<Output = T>, guard: impl Future<Output = ()>) -> Option<T> {
    let (mut future, mut guard) = (pin!(future), pin!(guard));
    let either = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => guard.as_mut().poll(cx).map(|()| None),
    });
    either.await
}

#[test]
fn the_context_of_a_dead_process_does_nothing() {
    on_each_size(async |runtime| {
        let (friend, dead) = (Probe::trapping(&runtime), corpse(&runtime, ExitReason::Normal).await);
        let mut ctx = widow(&runtime).await;
        assert_eq!(ctx.spawn(async |_: Context<()>| ()), Err(SpawnError::Ending));
        assert_eq!(ctx.register("ghost"), Err(RegisterError::Dead));
        assert!(ctx.join("ghosts").is_err());
        assert!(!ctx.unregister());
        ctx.link(&*friend);
        ctx.link(&dead);
        ctx.link(dead.pid());
        ctx.monitor(&*friend, |_| 1);
        ctx.monitor(&dead, |_| 1);
        ctx.monitor(dead.pid(), |_| 1);
        ctx.trap_exits(|_| 1);
        assert_eq!((friend.links(), friend.info().monitored_by_count), (vec![], 0));
        assert!(ctx.address().send(1).is_err());
        // As any thread may: it is a name for a sender.
        ctx.send_exit(&*friend, ExitReason::error("from the dead"));
        assert_eq!(friend.trapped().from, Some(ctx.pid()));
        drop(ctx);
        let fence = watcher(&runtime, friend.clone());
        drop(friend);
        fence.down();
        until(&runtime, || runtime.names().is_empty() && runtime.groups().is_empty()).await;
    });
}

/// Whatever blocks within a poll (a channel of the standard library, say) may use up the thread's token for parking; the
/// wake that left it there counts all the same.
#[test]
fn block_on_loses_no_wake_to_what_parks_within_a_poll() {
    on_threads(async |runtime| {
        let handle = runtime.handle();
        let thread = in_thread(move || {
            let mut polled = false;
            let parks = poll_fn(move |cx| {
                if std::mem::replace(&mut polled, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                std::thread::park();
                Poll::Pending
            });
            handle.block_on(parks);
        });
        thread.join().expect("it was polled again");
    });
}

/// The `block_on` of other libraries, in short: the same thread polls again when it has been woken.
fn blocks_on<F: Future>(future: F) -> F::Output {
    struct Unparks(std::thread::Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unparks(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Polling::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// It holds its worker up, as whatever blocks does; but only the end of a poll brings reductions, and it is not to wait for that for ever.
#[test]
fn a_foreign_block_on_within_a_process_goes_on_without_reductions() {
    on_threads(async |runtime| {
        let gone = mortal(&runtime);
        gone.kill();
        gone.ended().await;
        let blocks = runtime.spawn(async move |mut ctx: Context<u32>| {
            let ends = blocks_on(async {
                for number in 0..2_000 {
                    gone.ended().await;
                    ctx.address().send(number).expect("room");
                    assert_eq!(ctx.recv().await, number);
                }
                2_000
            });
            assert_eq!(ends, 2_000);
            ctx.yield_now().await;
        });
        let blocks = blocks.expect("room");
        assert_eq!(blocks.ended().await, ExitReason::Normal);
    });
}

/// What a poll was given beyond its reductions is told of it.
#[test]
fn what_a_foreign_block_on_uses_is_counted() {
    on_threads(async |runtime| {
        let (tell, told) = channel();
        let counts = runtime.spawn(async move |mut ctx: Context<u32>| {
            blocks_on(async {
                for number in 0..2_000 {
                    ctx.address().send(number).expect("room");
                    assert_eq!(ctx.recv().await, number);
                }
            });
            ctx.yield_now().await;
            let info = ctx.runtime().info(ctx.pid()).expect("it lives");
            tell.send(info.reductions).expect("asked for");
        });
        assert_eq!(counts.expect("room").ended().await, ExitReason::Normal);
        let reductions = told.recv().expect("it told");
        assert!((2_000..20_000).contains(&reductions), "{reductions} for 2 000 messages sent and received");
    });
}

/// With one worker: whoever did not yield would keep it.
#[test]
fn a_loop_over_foreign_futures_lets_others_run_if_they_are_charged() {
    on_sizes(&[1], async |runtime| {
        let endless = runtime.spawn(async |_: Context<()>| {
            loop {
                charged(std::future::ready(())).await;
            }
        });
        for _ in 0..races() {
            let other = runtime.spawn(async |mut ctx: Context<()>| ctx.yield_now().await).expect("room");
            assert_eq!(other.ended().await, ExitReason::Normal);
        }
        endless.expect("room").kill();
        // Outside a process there is nobody to yield to.
        for number in 0..10_000 {
            assert_eq!(charged(std::future::ready(number)).await, number);
        }
    });
}
