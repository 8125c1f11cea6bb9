//! The end of a runtime: who stops by himself, who is killed, who cannot be, and what becomes of those who wait.

mod bounded;
mod workers;

use bounded::{next, poll_once, until, within};
use colloquium::testing::Check;
use colloquium::{
    Address, CallErrorKind, Context, Exit, ExitReason, Handle, LookupError, Mailbox, ReplyTo, Runtime, SendErrorKind,
    ShutdownReport, SpawnError,
};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
/// A deadline that the deaf are to run into.
const SHORT: Duration = Duration::from_millis(200);

/// Runs a test on runtimes of each size, and simulated; unlike the helper of the same purpose it leaves the shutdown to the test.
fn on_each_size(body: impl AsyncFn(Runtime)) {
    Check::new().seeds(200).run_seeds(&body);
    if std::env::var_os("COLLOQUIUM_SEED").is_none() {
        on_threads(body);
    }
}

/// On threads only: a poll that does not return holds a simulation up, and other runtimes have no place in it.
fn on_threads(body: impl AsyncFn(Runtime)) {
    for workers in workers::SIZES {
        let runtime = Runtime::builder().workers(workers).build().expect("a runtime");
        let clock = Runtime::builder().workers(1).build().expect("a runtime");
        clock.block_on(within(body(runtime)));
    }
}

fn numbers(report: &ShutdownReport) -> (usize, usize, usize) {
    (report.stopped, report.killed, report.wedged.len())
}

fn waiting(runtime: &Handle) -> Address<()> {
    runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await).expect("a process")
}

/// One that waits for something, and for nothing then.
fn stays<Fut>(runtime: &Handle, wait: impl FnOnce(Context<()>) -> Fut + Send + 'static) -> Address<()>
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let body = async move |ctx: Context<()>| {
        wait(ctx).await;
        std::future::pending::<()>().await;
    };
    runtime.spawn(body).expect("a process")
}

/// One that traps exits, from before this returns on.
async fn trapping<Fut>(runtime: &Handle, then: impl FnOnce(Context<Exit>) -> Fut + Send + 'static) -> Address<Exit>
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let (tell, mut told) = channel();
    let process = runtime.spawn(async move |mut ctx: Context<Exit>| {
        ctx.trap_exits(|exit| exit);
        tell.send(()).expect("the test waits");
        then(ctx).await;
    });
    next(&mut told).await;
    process.expect("a process")
}

/// Whatever it is told, it goes on.
async fn deaf(mut ctx: Context<Exit>) {
    loop {
        ctx.recv().await;
    }
}

#[test]
fn processes_that_obey_stop_whatever_they_wait_for() {
    on_each_size(async |runtime| {
        let full = runtime.build().mailbox(Mailbox::bounded(1)).spawn(async |ctx: Context<u8>| ctx.sleep(LONG).await);
        let full = full.expect("a process");
        full.send(1).expect("room for one");
        let (to_call, to_send, name) = (full.clone(), full.clone(), runtime.handle());
        let waits_for_call = runtime.spawn(async |mut ctx: Context<ReplyTo<()>>| {
            let reply_to = ctx.recv().await;
            ctx.sleep(Duration::MAX).await;
            drop(reply_to);
        });
        let callee = waits_for_call.expect("a process");
        // Those who wait for another may hear of its end before they are told themselves: they wait on for nothing.
        let processes = [
            waiting(&runtime),
            stays(&runtime, async |ctx| ctx.sleep(Duration::MAX).await),
            stays(&runtime, async move |_| drop(to_call.ended().await)),
            stays(&runtime, async move |_| drop(to_send.send_wait(2).no_timeout().await)),
            stays(&runtime, async move |mut ctx| drop(ctx.call(&callee, |reply_to| reply_to).no_timeout().await)),
            stays(&runtime, async move |_| drop(name.whereis_or_wait::<()>("nobody", LONG).await)),
            stays(&runtime, async |_| ()),
            stays(&runtime, async |mut ctx| {
                loop {
                    ctx.yield_now().await;
                }
            }),
        ];
        let report = runtime.shutdown(LONG).await;
        assert_eq!(numbers(&report), (10, 0, 0));
        for process in processes {
            assert_eq!(within(process.ended()).await, ExitReason::Shutdown);
        }
        assert!(runtime.processes().is_empty() && report.into_result().is_ok());
        assert_eq!(runtime.runtime_info().timers, 0);
    });
}

#[test]
fn a_process_that_traps_is_told_and_may_finish() {
    on_each_size(async |runtime| {
        let (tell, mut told) = channel();
        let process = trapping(&runtime, async move |mut ctx: Context<Exit>| {
            let exit = ctx.recv().await;
            ctx.sleep(Duration::from_millis(20)).await;
            tell.send(exit).expect("the test looks");
        });
        let process = process.await;
        let report = runtime.shutdown(LONG).await;
        assert_eq!(numbers(&report), (1, 0, 0));
        let exit = next(&mut told).await;
        assert_eq!((exit.reason, exit.from, exit.by_link), (ExitReason::Shutdown, None, false));
        assert_eq!(within(process.ended()).await, ExitReason::Normal);
    });
}

/// A process that gets no processor before the deadline counts as killed or wedged, so that a machine under load may need
/// more than one attempt.
#[test]
fn a_deaf_process_is_killed_at_the_deadline() {
    const ATTEMPTS: usize = 30;
    on_threads(async |model| {
        for _ in 0..ATTEMPTS {
            let runtime = Runtime::builder().workers(model.runtime_info().workers.len()).build().expect("a runtime");
            let (deaf, obeying) = (trapping(&runtime, deaf).await, waiting(&runtime));
            let report = runtime.shutdown(SHORT).await;
            assert_eq!(within(deaf.ended()).await, ExitReason::Killed);
            assert_eq!(within(obeying.ended()).await, ExitReason::Shutdown);
            if numbers(&report) == (1, 1, 0) {
                return;
            }
            assert_eq!(report.stopped + report.killed + report.wedged.len(), 2);
        }
        panic!("never killed in time");
    });
}

#[test]
fn the_links_of_those_who_stop_are_told_as_ever() {
    on_each_size(async |runtime| {
        let (tell, mut told) = channel();
        let parent = trapping(&runtime, async move |mut ctx: Context<Exit>| {
            let child = ctx.spawn_link(async |mut ctx: Context<()>| ctx.recv().await).expect("a child");
            tell.send(None).expect("the test waits");
            let mut got = Vec::new();
            while got.len() < 2 {
                got.push(ctx.recv().await);
            }
            got.sort_unstable_by_key(|exit| exit.by_link);
            tell.send(Some((child.pid(), got))).expect("the test looks");
        });
        let parent = parent.await;
        assert!(next(&mut told).await.is_none());
        assert_eq!(numbers(&runtime.shutdown(LONG).await), (2, 0, 0));
        let (child, got) = next(&mut told).await.expect("what the parent got");
        let facts = |exit: &Exit| (exit.from, exit.reason.clone(), exit.by_link);
        assert_eq!(facts(&got[0]), (None, ExitReason::Shutdown, false));
        assert_eq!(facts(&got[1]), (Some(child), ExitReason::Shutdown, true));
        assert_eq!(within(parent.ended()).await, ExitReason::Normal);
    });
}

/// Lets go of the wedged process even if the test fails.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A process whose poll does not return until it is released; it runs when this returns.
async fn wedged(runtime: &Handle) -> (Address<ReplyTo<()>>, Release) {
    let flag = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&flag);
    let (tell, mut told) = channel();
    let process = runtime.build().name("wedged").spawn(async move |_: Context<ReplyTo<()>>| {
        tell.send(()).expect("the test waits");
        while !released.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    });
    next(&mut told).await;
    (process.expect("a process"), Release(flag))
}

#[test]
fn a_process_whose_poll_does_not_return_is_reported_and_holds_nobody_up() {
    on_threads(async |runtime| {
        let (process, release) = wedged(&runtime).await;
        let report = within(runtime.shutdown(SHORT)).await;
        assert_eq!(numbers(&report), (0, 0, 1));
        let info = &report.wedged[0];
        assert_eq!((info.pid, info.name.as_deref()), (process.pid(), Some("wedged")));
        let error = report.into_result().expect_err("one did not end");
        assert!(error.to_string().contains("(wedged)"), "{error}");
        assert!(!process.is_alive());
        drop(release);
        assert_eq!(within(process.ended()).await, ExitReason::Shutdown);
        until(|| runtime.runtime_info().processes == 0).await;
    });
}

#[test]
fn those_on_threads_who_wait_for_a_wedged_process_are_not_left_waiting() {
    on_threads(async |runtime| {
        let (process, _release) = wedged(&runtime).await;
        let mut call = pin!(process.call(|reply_to| reply_to).timeout(Duration::from_secs(2)));
        assert!(poll_once(&mut call).await.is_pending());
        assert_eq!(within(runtime.shutdown(SHORT)).await.wedged.len(), 1);
        let error = within(call).await.expect_err("nobody will answer");
        assert!(matches!(error.kind(), CallErrorKind::TimedOut | CallErrorKind::Ended(_)), "{error}");
    });
}

#[test]
fn what_threads_wait_for_comes_to_an_end() {
    on_each_size(async |runtime| {
        let callee = trapping(&runtime, deaf).await;
        let full = runtime.build().mailbox(Mailbox::bounded(1)).spawn(async |mut ctx: Context<Option<ReplyTo<()>>>| {
            ctx.recv_matching(|_| false).await;
        });
        let full = full.expect("a process");
        let (mut ended, mut sent) = (callee.ended(), full.send_wait(None).no_timeout());
        let mut called = pin!(full.call(Some).no_timeout());
        assert!(poll_once(&mut ended).await.is_pending() && poll_once(&mut called).await.is_pending());
        assert!(poll_once(&mut sent).await.is_pending());
        runtime.shutdown(SHORT).await;
        assert_eq!(within(ended).await, ExitReason::Killed);
        assert_eq!(within(sent).await.expect_err("it is dead").kind(), SendErrorKind::NoProcess);
        let error = within(called).await.expect_err("it is dead");
        assert_eq!(*error.kind(), CallErrorKind::Ended(ExitReason::Shutdown));
    });
}

#[test]
fn a_sleep_on_a_thread_comes_to_an_end() {
    on_each_size(async |runtime| {
        let (mut sleep, mut endless) = (runtime.sleep(Duration::from_millis(1500)), runtime.sleep(Duration::MAX));
        assert!(poll_once(&mut sleep).await.is_pending() && poll_once(&mut endless).await.is_pending());
        runtime.shutdown(SHORT).await;
        within(sleep).await;
        within(endless).await;
        within(runtime.sleep(Duration::from_millis(1))).await;
    });
}

#[test]
fn a_wait_for_a_name_on_a_thread_comes_to_an_end() {
    on_each_size(async |runtime| {
        {
            let mut wait = pin!(runtime.whereis_or_wait::<()>("name", Duration::from_millis(1500)));
            assert!(poll_once(&mut wait).await.is_pending());
            runtime.shutdown(SHORT).await;
            assert!(matches!(within(wait).await, Err(LookupError::TimedOut | LookupError::NoProcess)));
        }
        let late = within(runtime.whereis_or_wait::<()>("name", Duration::from_millis(1))).await;
        assert!(matches!(late, Err(LookupError::TimedOut | LookupError::NoProcess)));
    });
}

#[test]
fn after_the_shutdown_nothing_is_spawned_and_nothing_found() {
    on_each_size(async |runtime| {
        let process = runtime.build().name("name").spawn(async |mut ctx: Context<Option<ReplyTo<()>>>| {
            drop(ctx.recv().await);
        });
        let process = process.expect("a process");
        process.send_after(LONG, None);
        runtime.shutdown(LONG).await;
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let body = move |_: Context<()>| {
            seen.fetch_add(1, Ordering::SeqCst);
            async {}
        };
        assert_eq!((runtime.spawn(body), calls.load(Ordering::SeqCst)), (Err(SpawnError::ShuttingDown), 0));
        assert_eq!(process.send(None).expect_err("dead").kind(), SendErrorKind::NoProcess);
        assert_eq!(*within(process.call(Some)).await.expect_err("dead").kind(), CallErrorKind::NoProcess);
        assert_eq!(within(process.send_wait(None)).await.expect_err("dead").kind(), SendErrorKind::NoProcess);
        assert!(process.send_after(LONG, None).cancel().is_none());
        process.kill();
        assert_eq!(runtime.whereis::<()>("name"), Err(LookupError::NoProcess));
        assert!(runtime.names().is_empty() && runtime.groups().is_empty() && runtime.info(process.pid()).is_none());
        let info = runtime.runtime_info();
        assert_eq!((info.processes, info.timers, info.names), (0, 0, 0));
        let again = within(runtime.shutdown(LONG)).await;
        assert_eq!(numbers(&again), (1, 0, 0), "a second shutdown tells what came of the first");
    });
}

#[test]
fn a_second_shutdown_with_an_earlier_deadline_is_in_a_hurry() {
    on_each_size(async |runtime| {
        let deaf = trapping(&runtime, deaf).await;
        let mut patient = pin!(runtime.shutdown(Duration::from_secs(1_000_000)));
        assert!(poll_once(&mut patient).await.is_pending());
        let hasty = within(runtime.shutdown(SHORT)).await;
        assert_eq!((numbers(&hasty), numbers(&within(patient).await)), ((0, 1, 0), (0, 1, 0)));
        assert_eq!(within(deaf.ended()).await, ExitReason::Killed);
    });
}

#[test]
fn a_shutdown_goes_on_when_its_future_is_dropped() {
    on_each_size(async |runtime| {
        let process = waiting(&runtime);
        let unpolled = runtime.shutdown(LONG);
        drop(unpolled);
        assert!(process.is_alive(), "it has not begun");
        {
            let mut begun = pin!(runtime.shutdown(LONG));
            let _ = poll_once(&mut begun).await;
        }
        assert_eq!(within(process.ended()).await, ExitReason::Shutdown);
    });
}

#[test]
fn a_process_that_shuts_its_runtime_down_stops_like_the_others() {
    on_each_size(async |runtime| {
        let other = waiting(&runtime);
        let process = runtime.spawn(async |ctx: Context<()>| drop(ctx.runtime().shutdown(LONG).await));
        assert_eq!(within(process.expect("a process").ended()).await, ExitReason::Shutdown);
        assert_eq!(within(other.ended()).await, ExitReason::Shutdown);
        assert_eq!(numbers(&within(runtime.shutdown(LONG)).await), (2, 0, 0));
    });
}

#[test]
fn the_last_handle_that_keeps_a_runtime_ends_its_processes() {
    on_each_size(async |runtime| {
        let (obeying, handle) = (waiting(&runtime), runtime.handle());
        let trapping = trapping(&runtime, async |mut ctx: Context<Exit>| drop(ctx.recv().await)).await;
        let (wakes, waker) = bounded::Wakes::new();
        let mut ended = obeying.ended();
        let polled = Future::poll(pin!(&mut ended).as_mut(), &mut std::task::Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(runtime.clone());
        handle.spawn(async |_: Context<()>| ()).expect("another handle keeps it");
        assert!(obeying.is_alive());
        drop(runtime);
        until(|| wakes.count() > 0).await;
        assert_eq!(within(ended).await, ExitReason::Shutdown);
        assert_eq!(within(trapping.ended()).await, ExitReason::Normal);
        assert!(matches!(handle.spawn(async |_: Context<()>| ()), Err(SpawnError::ShuttingDown)));
        within(handle.shutdown(LONG)).await;
        assert!(handle.processes().is_empty());
    });
}

/// Processes that spawn all the while: each is told to stop, none is forgotten.
#[test]
fn nobody_who_is_spawned_meanwhile_is_forgotten() {
    // Boxed, since its type would contain itself.
    fn spawns(mut ctx: Context<()>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            while ctx.spawn(spawns).is_ok() {
                ctx.yield_now().await;
            }
            ctx.recv().await;
        })
    }
    for _ in 0..10 {
        on_threads(async |runtime| {
            let bounded = Runtime::builder().workers(runtime.runtime_info().workers.len()).max_processes(500);
            let bounded = bounded.build().expect("a runtime");
            bounded.spawn(spawns).expect("a process");
            until(|| bounded.runtime_info().processes >= 100).await;
            let report = within(bounded.shutdown(LONG)).await;
            assert_eq!((report.killed, report.wedged.len()), (0, 0));
            assert_eq!(bounded.runtime_info().processes, 0);
            assert!(bounded.processes().is_empty());
        });
    }
}
