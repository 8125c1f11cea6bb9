//! A tokio runtime as a guest: its context wherever something of a process runs or is dropped; either may end first.

#[path = "../../../tests/bounded/mod.rs"]
mod bounded;
#[path = "../../../tests/workers/mod.rs"]
mod workers;

use bounded::{as_process, next, until, within};
use colloquium::{Address, BuildError, CancelFlag, Context, ExitReason, Handle, Mailbox, ReplyTo, Runtime, charged};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use workers::{LONG, SIZES, arrival, in_thread};

/// A deadline that what does not stop is to run into.
const SHORT: Duration = Duration::from_millis(200);
/// What tokio's timers are to measure.
const MOMENT: Duration = Duration::from_millis(2);

fn tokio_runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("threads for tokio")
}

fn guest_of(workers: usize, tokio: &tokio::runtime::Runtime) -> Runtime {
    let builder = Runtime::builder().workers(workers).tokio_handle(tokio.handle().clone());
    builder.build().expect("threads for the workers")
}

/// Runs a test on runtimes of each size with a guest; on a thread that is in no context of tokio's.
fn with_guest(body: impl AsyncFn(Runtime)) {
    for workers in SIZES {
        let tokio = tokio_runtime();
        let runtime = guest_of(workers, &tokio);
        runtime.block_on(within(body(runtime.clone())));
        runtime.block_on(within(runtime.shutdown(LONG))).into_result().expect("nobody is wedged");
    }
}

fn in_context() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

/// Tells where it was dropped: whether in the context of tokio, and on which thread.
struct Witness(Sender<(bool, String)>);

impl Drop for Witness {
    fn drop(&mut self) {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        // A test that has failed looks no more.
        let _ = self.0.send((in_context(), thread));
    }
}

fn witness() -> (Witness, Receiver<(bool, String)>) {
    let (tell, told) = channel();
    (Witness(tell), told)
}

/// Where the witness was dropped, which was in the context.
#[track_caller]
fn well_dropped(told: &Receiver<(bool, String)>) -> String {
    let (in_context, thread) = arrival(told);
    assert!(in_context, "dropped outside the context, on {thread}");
    thread
}

#[test]
fn tokios_timers_tasks_and_threads_work_in_a_process() {
    with_guest(async |runtime| {
        as_process(&runtime, async |ctx: Context<()>| {
            let mut ticks = tokio::time::interval(MOMENT);
            for _ in 0..3 {
                ticks.tick().await;
            }
            assert!(tokio::time::timeout(MOMENT, std::future::pending::<()>()).await.is_err());
            assert_eq!(tokio::spawn(async { 1 }).await.expect("it ends"), 1);
            assert_eq!(tokio::task::spawn_blocking(|| 2).await.expect("it ends"), 2);
            let in_job = ctx.run_blocking(|_| tokio::runtime::Handle::current().block_on(async { 3 })).await;
            assert_eq!(in_job.expect("it ends"), 3);
        })
        .await;
    });
}

#[test]
fn a_builder_finds_the_current_runtime_or_says_that_there_is_none() {
    assert!(matches!(Runtime::builder().tokio().build(), Err(BuildError::NoTokio)));
    let tokio = tokio_runtime();
    let entered = tokio.enter();
    let runtime = Runtime::builder().workers(1).tokio().build().expect("there is one");
    drop(entered);
    runtime.block_on(as_process(&runtime, async |_: Context<()>| {
        tokio::spawn(async {}).await.expect("it ends");
    }));
}

/// Whoever has no guest is in no context, with the feature or without.
#[test]
fn without_being_asked_there_is_no_guest() {
    let tokio = tokio_runtime();
    let _entered = tokio.enter();
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    runtime.block_on(as_process(&runtime, async |_: Context<()>| assert!(!in_context())));
}

/// The bodies of processes that others spawn are made on others' threads.
#[test]
fn a_body_is_made_in_the_context_whoever_spawns() {
    with_guest(async |runtime| {
        assert!(!in_context());
        let process = runtime.spawn(|_: Context<()>| {
            let mut ticks = tokio::time::interval(MOMENT);
            async move { _ = ticks.tick().await }
        });
        assert_eq!(process.expect("room").ended().await, ExitReason::Normal);
        assert!(!in_context(), "it is left again");
    });
}

#[test]
fn the_state_of_a_process_is_dropped_in_the_context_however_it_ends() {
    with_guest(async |runtime| {
        for end in [ExitReason::Kill, ExitReason::Normal] {
            let (witness, told) = witness();
            let process = runtime.spawn(async move |mut ctx: Context<()>| {
                ctx.recv().await;
                drop(witness);
            });
            let process = process.expect("room");
            if end == ExitReason::Normal {
                process.send(()).expect("it lives");
            } else {
                process.exit(end);
            }
            process.ended().await;
            assert!(well_dropped(&told).starts_with("colloquium-worker-"));
        }
    });
}

#[test]
fn left_over_messages_are_dropped_in_the_context() {
    with_guest(async |runtime| {
        let (drawn, seen) = channel();
        let process = runtime.spawn(async move |mut ctx: Context<Option<Witness>>| {
            // The rest of the first lot has been drawn with it; what comes later stays outside.
            drop(ctx.recv().await);
            drawn.send(()).expect("the test waits");
            ctx.sleep(LONG).await;
        });
        let process = process.expect("room");
        let (witnesses, told): (Vec<_>, Vec<_>) = (0..6).map(|_| witness()).unzip();
        process.send(None).expect("it lives");
        for (at, witness) in witnesses.into_iter().enumerate() {
            process.send(Some(witness)).expect("it lives");
            if at == 3 {
                arrival(&seen);
            }
        }
        process.kill();
        process.ended().await;
        told.iter().for_each(|told| drop(well_dropped(told)));
    });
}

/// Where the thread that drops is none of ours.
#[test]
fn what_others_threads_drop_of_a_process_is_dropped_in_the_context() {
    with_guest(async |runtime| {
        let mailbox = Mailbox::bounded(1).drop_oldest();
        let process = runtime.build().mailbox(mailbox).spawn(async |ctx: Context<Witness>| ctx.sleep(LONG).await);
        let process = process.expect("room");
        let ((oldest, of_oldest), (newest, _of_newest)) = (witness(), witness());
        process.send(oldest).expect("room for one");
        process.send(newest).expect("in place of the other");
        let here = std::thread::current().name().unwrap_or_default().to_owned();
        assert_eq!(well_dropped(&of_oldest), here);

        let (message, told) = witness();
        assert!(process.send_after(LONG, message).cancel().is_some());
        assert_eq!(well_dropped(&told), here);
        let (message, told) = witness();
        assert!(runtime.send_after(LONG, "nobody", message).cancel().is_some());
        assert_eq!(well_dropped(&told), here);

        process.kill();
        process.ended().await;
        let (message, told) = witness();
        process.send_after(LONG, message);
        assert_eq!(well_dropped(&told), here, "it is dead");

        let (give, mut given) = channel();
        let gives = runtime.spawn(async move |mut ctx: Context<Option<Witness>>| {
            ctx.recv_matching(Option::is_none).await;
            give.send(ctx).expect("the test waits");
        });
        let (gives, (passed_over, told)) = (gives.expect("room"), witness());
        gives.send(Some(passed_over)).expect("it lives");
        gives.send(None).expect("it lives");
        drop(next(&mut given).await);
        assert_eq!(well_dropped(&told), here);
        assert!(!in_context(), "it is left again");
    });
}

#[test]
fn the_messages_of_timers_are_dropped_in_the_context() {
    with_guest(async |runtime| {
        let process = runtime.spawn(async |ctx: Context<Witness>| ctx.sleep(LONG).await).expect("room");
        let ((pending, of_pending), (made, of_made)) = (witness(), witness());
        process.send_after(LONG, pending);
        let mut made = Some(made);
        process.send_interval(LONG, move || made.take().expect("it fires once"));
        process.kill();
        process.ended().await;
        well_dropped(&of_pending);
        well_dropped(&of_made);
        let (unclaimed, told) = witness();
        runtime.send_after(MOMENT, "nobody", unclaimed);
        well_dropped(&told);
    });
}

#[test]
fn blocking_work_and_what_comes_of_it_is_in_the_context() {
    with_guest(async |runtime| {
        let ((result, of_result), (begin, mut began), (go_on, going)) = (witness(), channel(), channel::<()>());
        let process = runtime.spawn(async move |ctx: Context<()>| {
            let job = move |_: CancelFlag| {
                begin.send(in_context()).expect("the test waits");
                let _ = going.recv_timeout(LONG);
                result
            };
            ctx.run_blocking(job).await.map(drop).map_err(|error| error.kind().clone())
        });
        let process = process.expect("room");
        assert!(next(&mut began).await);
        process.kill();
        process.ended().await;
        drop(go_on);
        assert_eq!(well_dropped(&of_result), "colloquium-blocking");
    });
}

#[test]
fn what_a_shutdown_drops_is_dropped_in_the_context() {
    for workers in SIZES {
        let tokio = tokio_runtime();
        let runtime = guest_of(workers, &tokio);
        let ((state, of_state), (message, of_message)) = (witness(), witness());
        let (released, (tell, told)) = (Arc::new(AtomicBool::new(false)), channel());
        // As many as there are workers, so that nobody is there to end the rest.
        for _ in 0..workers {
            let (released, tell) = (Arc::clone(&released), tell.clone());
            let body = async move |_: Context<()>| {
                tell.send(()).expect("the test waits");
                while !released.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            };
            runtime.spawn(body).expect("room");
        }
        (0..workers).for_each(|_| arrival(&told));
        let idle = runtime.spawn(async move |mut ctx: Context<()>| {
            ctx.recv().await;
            drop(state);
        });
        idle.expect("room").send(()).expect("it lives");
        runtime.send_after(LONG, "nobody", message);
        let report = runtime.block_on(within(runtime.shutdown(SHORT)));
        assert_eq!(report.wedged.len(), workers, "{report:?}");
        released.store(true, Ordering::SeqCst);
        well_dropped(&of_state);
        assert_eq!(well_dropped(&of_message), "colloquium-shutdown");
        runtime.block_on(until(|| runtime.runtime_info().processes == 0));
    }
}

/// What costs reductions lets others run: our own operations, and tokio's if they are charged.
#[test]
fn processes_that_loop_over_what_is_always_ready_let_others_run() {
    let tokio = tokio_runtime();
    let runtime = guest_of(1, &tokio);
    let charges = runtime.spawn(async |_: Context<()>| {
        let (give, mut given) = tokio::sync::mpsc::unbounded_channel();
        loop {
            give.send(()).expect("it is there");
            charged(given.recv()).await.expect("it was sent");
        }
    });
    let receives = runtime.spawn(async |mut ctx: Context<()>| {
        let (give, mut given) = tokio::sync::mpsc::unbounded_channel();
        let me = ctx.address();
        loop {
            give.send(()).expect("it is there");
            given.recv().await.expect("it was sent");
            me.send(()).expect("it lives");
            ctx.recv().await;
        }
    });
    for _ in 0..100 {
        runtime.block_on(as_process(&runtime, async |mut ctx: Context<()>| ctx.yield_now().await));
    }
    for looping in [charges.expect("room"), receives.expect("room")] {
        looping.kill();
        assert_eq!(runtime.block_on(within(looping.ended())), ExitReason::Killed);
    }
}

/// Its timers panic, as tokio says; its sockets have errors; what does not need it goes on.
#[test]
fn when_tokio_ends_first_nothing_hangs_and_the_rest_goes_on() {
    for workers in SIZES {
        let tokio = tokio_runtime();
        let runtime = guest_of(workers, &tokio);
        let (tell, mut told) = channel();
        let timed = runtime.spawn({
            let tell = tell.clone();
            async move |_: Context<()>| {
                let never = tokio::time::timeout(LONG, std::future::pending::<()>());
                tell.send(None).expect("the test waits");
                never.await
            }
        });
        let reading = runtime.spawn(async move |_: Context<()>| {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let (mut near, _far) = (TcpStream::connect(listener.local_addr()?).await?, listener.accept().await?);
            tell.send(None).expect("the test waits");
            let failed = near.read_u8().await;
            tell.send(failed.as_ref().err().map(std::io::Error::kind)).expect("the test looks");
            failed.map(drop)
        });
        let calm = runtime.spawn(async |mut ctx: Context<ReplyTo<u8>>| {
            loop {
                let _ = ctx.recv().await.send(7);
            }
        });
        let calm = calm.expect("room");
        runtime.block_on(async {
            assert!(next(&mut told).await.is_none() && next(&mut told).await.is_none());
        });
        tokio.shutdown_timeout(LONG);
        runtime.block_on(within(async {
            assert!(matches!(timed.expect("room").ended().await, ExitReason::Panicked(_)));
            assert!(next(&mut told).await.is_some());
            assert!(matches!(reading.expect("room").ended().await, ExitReason::Error(_)));
            assert_eq!(calm.call(|reply_to| reply_to).await.expect("it lives"), 7);
            as_process(&runtime, async |_: Context<()>| {
                let error = tokio::spawn(async {}).await.expect_err("nobody runs it");
                assert!(error.is_cancelled());
            })
            .await;
            let (witness, told) = witness();
            runtime.spawn(async move |_: Context<()>| drop(witness)).expect("room").ended().await;
            well_dropped(&told);
            runtime.shutdown(LONG).await.into_result().expect("nobody is wedged");
        }));
    }
}

/// Calls, sends and waits of tasks; the process is as near to them as a channel.
#[test]
fn addresses_work_in_tokios_tasks() {
    with_guest(async |runtime| {
        let doubler = runtime.spawn(async |mut ctx: Context<(u32, ReplyTo<u32>)>| {
            loop {
                let (number, reply_to) = ctx.recv().await;
                let _ = reply_to.send(2 * number);
            }
        });
        let doubler = doubler.expect("room");
        let handle = runtime.handle();
        as_process(&runtime, async move |_: Context<()>| {
            let tasks: Vec<_> = (0..50)
                .map(|number| {
                    let doubler = doubler.clone();
                    tokio::spawn(async move { doubler.call(|reply_to| (number, reply_to)).await.expect("it lives") })
                })
                .collect();
            for (number, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.expect("it ends") as usize, 2 * number);
            }
            let ended = tokio::spawn(async move {
                handle.sleep(MOMENT).await;
                let result = handle.run_blocking(|_| 5).await.expect("it returns");
                doubler.kill();
                (doubler.ended().await, result)
            });
            assert_eq!(ended.await.expect("it ends"), (ExitReason::Killed, 5));
        })
        .await;
    });
}

/// Starts, uses and drops a runtime of ours; the caller is in a runtime of tokio's.
async fn start_use_and_drop() -> Handle {
    let runtime = Runtime::builder().workers(2).tokio().build().expect("there is one");
    let echo = runtime.spawn(async |mut ctx: Context<ReplyTo<bool>>| {
        let reply_to = ctx.recv().await;
        let timed_out = tokio::time::timeout(MOMENT, std::future::pending::<()>()).await.is_err();
        let _ = reply_to.send(timed_out);
        ctx.sleep(LONG).await;
    });
    let echo = echo.expect("room");
    assert!(within(echo.call(|reply_to| reply_to)).await.expect("it lives"));
    let handle = runtime.handle();
    drop(runtime);
    assert_eq!(within(echo.ended()).await, ExitReason::Shutdown);
    handle
}

#[test]
fn a_runtime_lives_within_tokios_main_on_one_thread() {
    #[tokio::main(flavor = "current_thread")]
    async fn main() -> Handle {
        start_use_and_drop().await
    }
    let handle = main();
    assert_eq!(handle.block_on(within(handle.shutdown(LONG))).stopped, 1);
}

#[test]
fn a_runtime_lives_within_tokios_main_on_several_threads() {
    #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
    async fn main() -> Handle {
        let runtime = Runtime::builder().workers(1).tokio().build().expect("there is one");
        let process = runtime.spawn(async |mut ctx: Context<ExitReason>| ctx.recv().await).expect("room");
        process.send(ExitReason::Shutdown).expect("it lives");
        // Blocks a thread of tokio's, which has another.
        assert_eq!(runtime.block_on(process.ended()), ExitReason::Shutdown);
        let report = within(runtime.shutdown(LONG)).await;
        assert_eq!(report.stopped, 0);
        start_use_and_drop().await
    }
    let handle = main();
    assert_eq!(handle.block_on(within(handle.shutdown(LONG))).stopped, 1);
}

/// Ended by tokio's end, a runtime of ours is dropped on a thread of tokio's as it goes.
#[test]
fn a_runtime_that_goes_down_with_tokio_ends_its_processes() {
    let (give, given) = channel::<(Handle, Address<()>)>();
    let tokio = tokio_runtime();
    tokio.spawn(async move {
        let runtime = Runtime::builder().workers(1).tokio().build().expect("there is one");
        let process = runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await).expect("room");
        give.send((runtime.handle(), process)).expect("the test waits");
        std::future::pending::<()>().await;
        drop(runtime);
    });
    let (handle, process) = arrival(&given);
    tokio.shutdown_timeout(LONG);
    assert_eq!(handle.block_on(within(process.ended())), ExitReason::Shutdown);
    handle.block_on(within(handle.shutdown(LONG))).into_result().expect("nobody is wedged");
}

/// Plain threads wait for what processes do with tokio.
#[test]
fn plain_threads_wait_for_processes_that_use_tokio() {
    with_guest(async |runtime| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let runtime = runtime.handle();
                in_thread(move || {
                    let process = runtime.spawn(async |_: Context<()>| {
                        tokio::time::interval(MOMENT).tick().await;
                    });
                    runtime.block_on(process.expect("room").ended())
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("it does not fail"), ExitReason::Normal);
        }
    });
}
