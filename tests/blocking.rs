//! Blocking work: where it runs, how much of it, and what becomes of it when nobody waits any more.

mod bounded;
mod workers;

use bounded::{as_process, next, poll_once, until, within};
use colloquium::{
    Activity, Address, BlockingErrorKind, BuildError, CancelFlag, Context, Exit, ExitReason, Handle, Runtime,
};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use workers::{Dice, LONG, OnDrop, arrival, on_threads, races};

/// A deadline that what does not stop is to run into.
const SHORT: Duration = Duration::from_millis(200);

fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// A runtime with this many threads and places for blocking work, whose threads stay for as long as a test takes.
fn runtime(workers: usize, threads: usize, queue: usize) -> Runtime {
    let builder = Runtime::builder().workers(workers).blocking_threads(threads).blocking_queue(queue);
    builder.blocking_idle(LONG).build().expect("a runtime")
}

/// Holds a job up until it is told to go on, or let go of.
struct Gate {
    began: Receiver<CancelFlag>,
    go_on: Sender<()>,
}

/// A job that says when it begins, waits at its gate, and returns `value`.
fn gated<T: Send>(value: T) -> (Gate, impl FnOnce(CancelFlag) -> T + Send) {
    let ((begin, began), (go_on, going)) = (channel(), channel());
    let job = move |cancel: CancelFlag| {
        begin.send(cancel).expect("the test holds the gate");
        let _ = going.recv_timeout(LONG);
        value
    };
    (Gate { began, go_on }, job)
}

impl Gate {
    async fn begun(&mut self) -> CancelFlag {
        next(&mut self.began).await
    }
}

#[test]
fn the_result_comes_from_a_thread_that_is_no_workers() {
    on_threads(async |runtime| {
        as_process(&runtime, async |ctx: Context<()>| {
            let worker = thread_name();
            let pool = ctx.run_blocking(|_| thread_name()).await.expect("it returns");
            assert_eq!(pool, "colloquium-blocking");
            // Under load it may be a spare thread that polls.
            assert!(worker.starts_with("colloquium-worker-") || worker.starts_with("colloquium-spare-"), "{worker}");
        })
        .await;
        assert_eq!(within(runtime.run_blocking(|_| 7)).await.expect("it returns"), 7);
    });
}

/// The process that waits holds nobody up, and is itself what others see of it.
#[test]
fn others_run_while_a_process_waits_and_it_can_be_seen_what_for() {
    on_threads(async |runtime| {
        let (mut gate, job) = gated(5);
        let (show, mut shown) = channel();
        let process = runtime.spawn(async move |mut ctx: Context<()>| {
            ctx.recv().await;
            show.send(ctx.run_blocking(job).await.expect("it returns")).expect("the test waits");
            ctx.recv().await;
        });
        let process = process.expect("a process");
        process.send(()).expect("it lives");
        gate.begun().await;
        let activity = || runtime.info(process.pid()).expect("it lives").activity;
        until(|| matches!(activity(), Activity::Blocking(_))).await;
        as_process(&runtime, async |mut ctx: Context<()>| ctx.yield_now().await).await;
        assert_eq!(runtime.runtime_info().blocking.running, 1);
        gate.go_on.send(()).expect("it waits");
        assert_eq!(next(&mut shown).await, 5);
        until(|| matches!(activity(), Activity::Receiving(_))).await;
        until(|| runtime.runtime_info().blocking.running == 0).await;
    });
}

#[test]
fn a_killed_process_ends_at_once_and_its_job_finds_the_flag_set() {
    on_threads(async |runtime| {
        let (drops, mut dropped) = channel();
        let (mut gate, job) = gated(OnDrop(move || drops.send(thread_name()).expect("the test looks")));
        let process = runtime.spawn(async move |ctx: Context<()>| drop(ctx.run_blocking(job).await));
        let process = process.expect("a process");
        let cancel = gate.begun().await;
        assert!(!cancel.is_cancelled());
        process.kill();
        assert_eq!(within(process.ended()).await, ExitReason::Killed);
        assert!(cancel.is_cancelled(), "set when the state of the process was dropped");
        assert_eq!(runtime.runtime_info().blocking.running, 1, "nothing stops the closure itself");
        gate.go_on.send(()).expect("it runs still");
        assert_eq!(next(&mut dropped).await, "colloquium-blocking", "its result is dropped there");
    });
}

#[test]
fn the_flag_stays_down_while_somebody_waits() {
    on_threads(async |runtime| {
        let cancel = within(runtime.run_blocking(|cancel| cancel)).await.expect("it returns");
        assert!(!cancel.is_cancelled());
        let mut job = runtime.run_blocking(|cancel| cancel);
        while poll_once(&mut job).await.is_pending() {}
        drop(job);
        assert!(!cancel.is_cancelled(), "of a job that is over nothing is cancelled");
    });
}

#[test]
fn a_dropped_job_that_has_not_begun_never_does_and_gives_its_place_back() {
    on_threads(async |model| {
        let runtime = runtime(model.runtime_info().workers.len(), 1, 1);
        let (mut gate, first) = gated(());
        let mut first = pin!(runtime.run_blocking(first));
        assert!(poll_once(&mut first).await.is_pending());
        gate.begun().await;
        let runs = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (runs, (drops, dropped)) = (Arc::clone(&runs), channel());
            let state = OnDrop(move || drops.send(()).expect("the test looks"));
            let mut queued = runtime.run_blocking(move |_| {
                runs.fetch_add(1, Ordering::SeqCst);
                drop(state);
            });
            assert!(poll_once(&mut queued).await.is_pending(), "there is room for one");
            assert_eq!(runtime.runtime_info().blocking.queued, 1);
            drop(queued);
            assert!(dropped.try_recv().is_ok(), "dropped with the future");
            assert_eq!(runtime.runtime_info().blocking.queued, 0);
        }
        gate.go_on.send(()).expect("it waits");
        within(first).await.expect("it returns");
        within(runtime.run_blocking(|_| ())).await.expect("room again");
        assert_eq!(runs.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn what_has_no_room_comes_back_and_can_be_run_later() {
    on_threads(async |model| {
        let runtime = runtime(model.runtime_info().workers.len(), 2, 3);
        let (mut gates, jobs): (Vec<Gate>, Vec<_>) = (0..5).map(gated).unzip();
        let mut jobs: Vec<_> = jobs.into_iter().map(|job| runtime.run_blocking(job)).collect();
        for job in &mut jobs {
            assert!(poll_once(job).await.is_pending());
        }
        let info = runtime.runtime_info().blocking;
        assert_eq!(info.threads, 2);
        let (ran, run) = channel();
        let error = within(runtime.run_blocking(move |_| ran.send(9))).await.expect_err("it is full");
        assert_eq!(*error.kind(), BlockingErrorKind::Full);
        let job = error.into_job().expect("it never began");
        for (at, (gate, job)) in gates.iter_mut().zip(jobs).enumerate() {
            gate.begun().await;
            gate.go_on.send(()).expect("it waits");
            assert_eq!(within(job).await.expect("it returns"), at);
        }
        within(runtime.run_blocking(job)).await.expect("there is room").expect("the test looks");
        assert_eq!(arrival(&run), 9);
    });
}

#[test]
fn never_more_run_at_a_time_than_there_may_be_threads_and_each_runs_once() {
    const JOBS: usize = 300;
    on_threads(async |model| {
        let runtime = runtime(model.runtime_info().workers.len(), 3, JOBS);
        let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
        let processes: Vec<Address<()>> = (0..JOBS)
            .map(|_| {
                let counts = Arc::clone(&counts);
                let body = async move |ctx: Context<()>| {
                    let job = move |_: CancelFlag| {
                        let [now, most, all] = &*counts;
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        all.fetch_add(1, Ordering::SeqCst);
                    };
                    ctx.run_blocking(job).await.map_err(|error| error.kind().clone())
                };
                runtime.spawn(body).expect("room")
            })
            .collect();
        for process in processes {
            assert_eq!(within(process.ended()).await, ExitReason::Normal);
        }
        assert_eq!(counts[2].load(Ordering::SeqCst), JOBS);
        assert!(counts[1].load(Ordering::SeqCst) <= 3);
        assert!(runtime.runtime_info().blocking.threads <= 3);
    });
}

#[test]
fn a_panic_is_an_error_with_its_message_and_ends_nobody() {
    on_threads(async |runtime| {
        as_process(&runtime, async |ctx: Context<()>| {
            for round in 0..3 {
                let error =
                    ctx.run_blocking(move |_| assert!(round > 9, "spoilt: {round}")).await.expect_err("it panics");
                let BlockingErrorKind::Panicked(panic) = error.kind() else { panic!("{error}") };
                assert_eq!(panic.message(), format!("spoilt: {round}"));
                assert!(panic.location().is_some_and(|location| location.contains("blocking.rs:")), "{panic}");
                assert!(error.into_job().is_none());
            }
            assert_eq!(ctx.run_blocking(|_| 3).await.expect("the threads are well"), 3);
        })
        .await;
        let failing = runtime.spawn(async |ctx: Context<()>| ctx.run_blocking(|_| -> () { panic!("spoilt") }).await);
        let reason = within(failing.expect("a process").ended()).await;
        assert!(reason.to_string().contains("the job panicked: \"spoilt\""), "{reason}");
    });
}

#[test]
fn results_and_payloads_whose_destructors_panic_harm_no_thread() {
    fn spoilt() -> OnDrop<impl FnMut() + Send> {
        OnDrop(|| panic!("a destructor"))
    }
    on_threads(async |runtime| {
        for _ in 0..3 {
            let (mut gate, job) = gated(spoilt());
            let mut job = runtime.run_blocking(job);
            assert!(poll_once(&mut job).await.is_pending());
            gate.begun().await;
            drop(job);
            gate.go_on.send(()).expect("it waits");
            let failed = runtime.run_blocking(|_| std::panic::panic_any(spoilt()));
            assert!(within(failed).await.is_err());
        }
        assert_eq!(within(runtime.run_blocking(|_| 3)).await.expect("the threads are well"), 3);
        until(|| runtime.runtime_info().blocking.running == 0).await;
    });
}

#[test]
fn idle_threads_leave_and_come_again() {
    on_threads(async |model| {
        let workers = model.runtime_info().workers.len();
        let runtime = Runtime::builder().workers(workers).blocking_idle(Duration::from_millis(1)).build();
        let runtime = runtime.expect("a runtime");
        assert_eq!(runtime.runtime_info().blocking.threads, 0, "none before it is needed");
        for round in 0..20 {
            let (mut gates, jobs): (Vec<Gate>, Vec<_>) = (0..3).map(gated).unzip();
            let mut jobs: Vec<_> = jobs.into_iter().map(|job| runtime.run_blocking(job)).collect();
            for (gate, job) in gates.iter_mut().zip(&mut jobs) {
                assert!(poll_once(job).await.is_pending());
                gate.begun().await;
            }
            assert_eq!(runtime.runtime_info().blocking.threads, 3, "round {round}");
            drop(gates);
            for job in jobs {
                within(job).await.expect("it returns");
            }
            until(|| runtime.runtime_info().blocking.threads == 0).await;
        }
    });
}

/// Threads whose time is over just when the next job comes.
#[test]
fn no_job_is_lost_between_a_thread_that_leaves_and_the_next() {
    on_threads(async |model| {
        let workers = model.runtime_info().workers.len();
        let builder = Runtime::builder().workers(workers).blocking_threads(2);
        let runtime = builder.blocking_idle(Duration::from_micros(20)).build().expect("a runtime");
        let processes = [0, 1, 2].map(|seed| {
            let body = async move |mut ctx: Context<()>| {
                let mut dice = Dice::new(seed);
                for round in 0..races() {
                    assert_eq!(ctx.run_blocking(move |_| round).await.expect("room"), round);
                    for _ in 0..dice.below(20) {
                        ctx.yield_now().await;
                    }
                }
            };
            runtime.spawn(body).expect("room")
        });
        for process in processes {
            assert_eq!(within(process.ended()).await, ExitReason::Normal);
        }
    });
}

/// Dropped before, while or after it runs: a job runs at most once, and what it holds is dropped once.
#[test]
fn a_job_dropped_at_any_moment_runs_at_most_once_and_leaves_nothing() {
    on_threads(async |model| {
        let runtime = runtime(model.runtime_info().workers.len(), 2, 4);
        let mut dice = Dice::new(3);
        let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
        for round in 0..4 * races() {
            let (inner, dropped) = (Arc::clone(&counts), Arc::clone(&counts));
            let held = OnDrop(move || _ = dropped[1].fetch_add(1, Ordering::SeqCst));
            let mut job = runtime.run_blocking(move |_| {
                inner[0].fetch_add(1, Ordering::SeqCst);
                held
            });
            for _ in 0..dice.below(60) {
                if poll_once(&mut job).await.is_ready() {
                    break;
                }
                std::hint::spin_loop();
            }
            drop(job);
            counts[2].store(round + 1, Ordering::SeqCst);
        }
        until(|| counts[1].load(Ordering::SeqCst) == counts[2].load(Ordering::SeqCst)).await;
        assert!(counts[0].load(Ordering::SeqCst) <= counts[2].load(Ordering::SeqCst));
        until(|| runtime.runtime_info().blocking.queued == 0 && runtime.runtime_info().blocking.running == 0).await;
    });
}

#[test]
fn a_shutdown_tells_what_runs_to_stop_and_waits_for_it() {
    on_threads(async |model| {
        let runtime = runtime(model.runtime_info().workers.len(), 2, 2);
        let (begin, mut began) = channel();
        let mut job = runtime.run_blocking(move |cancel| {
            begin.send(()).expect("the test waits");
            while !cancel.is_cancelled() {
                std::thread::yield_now();
            }
            8
        });
        assert!(poll_once(&mut job).await.is_pending());
        next(&mut began).await;
        let report = within(runtime.shutdown(LONG)).await;
        assert!(report.blocking.is_empty(), "{report:?}");
        assert_eq!(within(job).await.expect("it returned in time"), 8);
        until(|| runtime.runtime_info().blocking.threads == 0).await;
    });
}

#[test]
fn a_shutdown_reports_what_does_not_stop_and_goes_on_without_it() {
    on_threads(async |model| {
        let runtime = runtime(model.runtime_info().workers.len(), 2, 2);
        let ((mut of_process, job), (mut of_thread, outside)) = (gated(()), gated(()));
        let process = runtime.spawn(async move |ctx: Context<()>| drop(ctx.run_blocking(job).await));
        let process = process.expect("a process");
        let mut outside = runtime.run_blocking(outside);
        assert!(poll_once(&mut outside).await.is_pending());
        let (flag, other) = (of_process.begun().await, of_thread.begun().await);
        let (ran, runs) = channel::<()>();
        let mut queued = runtime.run_blocking(move |_| drop(ran));
        assert!(poll_once(&mut queued).await.is_pending());
        let report = within(runtime.shutdown(SHORT)).await;
        assert_eq!((report.stopped, report.wedged.len(), report.blocking.len()), (1, 0, 2), "{report:?}");
        let mut of = report.blocking.iter().map(|work| work.process).collect::<Vec<_>>();
        of.sort();
        assert_eq!(of, [None, Some(process.pid())]);
        assert!(report.blocking.iter().all(|work| work.location.file().ends_with("blocking.rs")));
        assert!(flag.is_cancelled() && other.is_cancelled());
        assert_eq!(*within(outside).await.expect_err("it runs still").kind(), BlockingErrorKind::LeftBehind);
        let error = within(queued).await.expect_err("it never began");
        assert_eq!(*error.kind(), BlockingErrorKind::ShuttingDown);
        assert!(runs.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) && error.into_job().is_some());
        let late = within(runtime.run_blocking(|_| ())).await.expect_err("all is over");
        assert_eq!(*late.kind(), BlockingErrorKind::ShuttingDown);
        assert_eq!(runtime.runtime_info().blocking.running, 2);
        drop((of_process, of_thread));
        until(|| runtime.runtime_info().blocking.threads == 0).await;
    });
}

#[test]
fn a_runtime_that_never_had_a_job_refuses_one_after_its_end() {
    on_threads(async |runtime| {
        runtime.shutdown(LONG).await;
        let error = within(runtime.run_blocking(|_| 1)).await.expect_err("all is over");
        assert_eq!(*error.kind(), BlockingErrorKind::ShuttingDown);
        assert_eq!(runtime.runtime_info().blocking.threads, 0);
    });
}

/// Who traps exits may finish what he does, and that may be blocking work.
#[test]
fn a_process_that_finishes_its_work_may_do_so_by_blocking() {
    on_threads(async |runtime| {
        let (tell, mut told) = channel();
        let process = runtime.spawn(async move |mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            tell.send(0).expect("the test waits");
            ctx.recv().await;
            tell.send(ctx.run_blocking(|_| 4).await.expect("it is not over yet")).expect("the test looks");
        });
        assert_eq!(next(&mut told).await, 0);
        assert_eq!(within(runtime.shutdown(LONG)).await.stopped, 1);
        assert_eq!(next(&mut told).await, 4);
        assert_eq!(within(process.expect("a process").ended()).await, ExitReason::Normal);
    });
}

#[test]
fn the_context_of_a_dead_process_gives_its_job_back() {
    on_threads(async |runtime| {
        let (give, mut given) = channel();
        let process = runtime.spawn(move |ctx: Context<()>| {
            give.send(ctx).expect("the test waits");
            async {}
        });
        let ctx = next(&mut given).await;
        within(process.expect("a process").ended()).await;
        let error = within(ctx.run_blocking(|_| 1)).await.expect_err("nobody waits");
        assert_eq!(*error.kind(), BlockingErrorKind::ProcessEnded);
        assert!(error.into_job().is_some());
    });
}

/// The future is the caller's to poll or not, anywhere.
#[test]
fn a_job_may_be_awaited_beside_others_and_elsewhere() {
    on_threads(async |runtime| {
        let ((give, mut given), (gate, job)) = (channel(), gated(3));
        as_process(&runtime, async move |ctx: Context<()>| {
            let (mut one, mut two) = (ctx.run_blocking(|_| 1), ctx.run_blocking(|_| 2));
            let (first, second) = (poll_once(&mut one).await, poll_once(&mut two).await);
            let info = ctx.runtime().info(ctx.pid()).expect("it lives");
            assert!(first.is_ready() || second.is_ready() || matches!(info.activity, Activity::Blocking(_)));
            if second.is_pending() {
                assert_eq!(Pin::new(&mut two).await.expect("it returns"), 2);
            }
            let mut three = ctx.run_blocking(job);
            assert!(poll_once(&mut three).await.is_pending());
            give.send(three).expect("the test waits");
        })
        .await;
        drop(gate.go_on);
        assert_eq!(within(next(&mut given).await).await.expect("it returns"), 3);
    });
}

/// Blocking is what the threads are for: there a runtime may be waited for.
#[test]
fn a_job_may_wait_for_processes() {
    on_threads(async |runtime| {
        let handle: Handle = runtime.handle();
        let job = move |_: CancelFlag| {
            let process = handle.spawn(async |mut ctx: Context<ExitReason>| ctx.recv().await).expect("room");
            process.send(ExitReason::Shutdown).expect("it lives");
            handle.block_on(process.ended())
        };
        assert_eq!(within(runtime.run_blocking(job)).await.expect("it returns"), ExitReason::Shutdown);
    });
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (builder, name) in [
        (Runtime::builder().blocking_threads(0), "blocking_threads"),
        (Runtime::builder().blocking_threads(4097), "blocking_threads"),
        (Runtime::builder().blocking_queue(0), "blocking_queue"),
    ] {
        let Err(BuildError::OutOfRange { setting, .. }) = builder.build() else { panic!("{name}") };
        assert_eq!(setting, name);
    }
}
