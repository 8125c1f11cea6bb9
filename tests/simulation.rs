//! The simulator itself: that a seed repeats what it did, that what is planted is found, and that what cannot be simulated
//! fails and says so.
//!
//! The bugs are planted in small protocols between processes, which are what a user would write; each is to be found within a
//! stated number of seeds, and by its seed again.
use colloquium::simulation::{Failure, FailureKind, Order, Outcome, Simulation};
use colloquium::testing::{Probe, wait_for};
use colloquium::{Address, BuildError, Context, ExitReason, Handle, ReplyTo, Runtime};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A process per number, which all send to one, and random numbers, timers, links and deaths: a bit of everything.
async fn busy_life(runtime: Runtime) -> Vec<u64> {
    let probe = Probe::<u64>::new(&runtime);
    let to = probe.address();
    let workers: Vec<Address<u64>> = (0..8)
        .map(|number| {
            let to = to.clone();
            let body = async move |mut ctx: Context<u64>| -> Result<(), ExitReason> {
                ctx.join("workers").expect("it lives");
                ctx.sleep(ctx.rng().duration(millis(0)..millis(5))).await;
                while let Ok(more) = ctx.recv_timeout(millis(3)).await {
                    let _ = to.send(more * number);
                }
                if number % 3 == 0 { Err(ExitReason::error("odd one")) } else { Ok(()) }
            };
            runtime.spawn(body).expect("room for a process")
        })
        .collect();
    for (round, worker) in (0..).zip(workers.iter().cycle().take(40)) {
        let _ = worker.send(round);
    }
    for worker in &workers {
        worker.ended().await;
    }
    probe.ask(|_| ()).await;
    probe.received()
}

fn hash_of(seed: u64, order: Order) -> (u64, Vec<u64>) {
    let outcome = Simulation::new(seed).order(order).run(busy_life).expect("it ends");
    (outcome.hash, outcome.value)
}

#[test]
fn a_seed_does_the_same_each_time_and_another_does_something_else() {
    for order in [Order::Uniform, Order::Priorities, Order::BySeed] {
        let first: Vec<_> = (0..20).map(|seed| hash_of(seed, order)).collect();
        let again: Vec<_> = (0..20).map(|seed| hash_of(seed, order)).collect();
        assert_eq!(first, again);
        let mut orders: Vec<_> = first.into_iter().map(|(_, came)| came).collect();
        orders.sort();
        orders.dedup();
        assert!(orders.len() >= 15, "{} different outcomes of 20 with {order:?}", orders.len());
    }
}

/// The same in debug and release, on any machine and whatever ran before in this OS process. If this fails, all seeds that
/// anybody has written down mean something else now: a line in the changelog.
#[test]
fn a_seed_means_the_same_everywhere() {
    let hashes: Vec<String> = (0..3).map(|seed| format!("{:016x}", hash_of(seed, Order::BySeed).0)).collect();
    assert_eq!(hashes, GOLDEN);
}

const GOLDEN: [&str; 3] = ["385c57b9ecc7e7d3", "da5f8d8b81a06413", "2f5e512daed8418f"];

/// Three processes of which the last has to come first, beside others that do not matter, with timers, and a panic of its own.
async fn late_riser(runtime: Runtime) {
    let probe = Probe::<u32>::new(&runtime);
    for number in 0..8 {
        let to = probe.address();
        let body = async move |ctx: Context<()>| {
            if number < 5 {
                ctx.sleep(ctx.rng().duration(millis(1)..millis(2))).await;
            }
            to.send(number).unwrap_or_else(|_| panic!("process {number} is late"));
        };
        runtime.spawn(body).expect("room for a process");
    }
    let came = [probe.expect(SECOND).await, probe.expect(SECOND).await];
    assert!(came[0] != 7, "{came:?}");
}

/// What is found, and what comes of it, is the same in debug and release and on any machine.
#[test]
fn a_failure_shrinks_to_the_same_everywhere() {
    let failures = (0..100).filter_map(|seed| Simulation::new(seed).run(late_riser).err()).take(3);
    let found: Vec<_> = failures
        .map(|failure| {
            let shorter = Simulation::new(0).shrink(&failure, late_riser).expect("it is determined by its seed");
            let choices = shorter.choices().expect("it was given them").clone();
            let again = Simulation::new(failure.seed()).choices(choices.clone()).run(late_riser);
            assert_eq!(again.expect_err("they repeat it").hash(), shorter.hash());
            format!("{} {choices} {:016x}", failure.seed(), shorter.hash())
        })
        .collect();
    assert_eq!(found, SHRUNK);
}

/// One choice each: that the eighth process runs before the others.
const SHRUNK: [&str; 3] = ["5 2r8 385eb71a97322d4b", "6 4r6 8b800f8513539a41", "10 2r8 fb410b525b835bc3"];

#[test]
fn what_no_seed_determines_and_what_has_no_end_is_not_shrunk() {
    let endless = async |runtime: Runtime| loop {
        runtime.sleep(millis(1)).await;
    };
    let limited = Simulation::new(1).step_limit(1000).once();
    let failure = limited.run(endless).map(drop).expect_err("it has no end");
    assert!(limited.shrink(&failure, endless).is_none());
    let runs = AtomicUsize::new(0);
    let changing = async |runtime: Runtime| {
        (0..runs.fetch_add(1, Ordering::Relaxed))
            .for_each(|_| runtime.spawn(async |_: Context<()>| ()).map_or((), drop));
        panic!("it fails each time, otherwise");
    };
    let failure = Simulation::new(1).once().run(changing).map(drop).expect_err("it fails");
    assert!(Simulation::new(1).once().shrink(&failure, changing).is_none());
}

#[test]
fn a_simulation_runs_beside_others_and_on_any_thread() {
    let here = hash_of(5, Order::BySeed);
    let threads: Vec<_> = (0..2).map(|_| on_thread(|| hash_of(5, Order::BySeed))).collect();
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().expect("no panic"), here));
}

#[expect(clippy::disallowed_methods, reason = "a test's own thread, outside every runtime")]
fn on_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(body)
}

#[test]
fn time_is_virtual() {
    let outcome = Simulation::new(1).run(async |runtime| {
        let began = runtime.now();
        runtime.sleep(Duration::from_secs(3600)).await;
        let after_sleep = runtime.now() - began;
        let probe = Probe::<&str>::new(&runtime);
        probe.send_after(millis(20), "second");
        probe.send_after(millis(10), "first");
        let answers = [probe.expect(SECOND).await, probe.expect(SECOND).await];
        probe.expect_none(SECOND).await;
        (after_sleep, answers)
    });
    let outcome = outcome.expect("it ends");
    let (slept, answers) = outcome.value;
    assert!(slept >= Duration::from_secs(3600) && slept < Duration::from_secs(3601), "{slept:?}");
    assert_eq!(answers, ["first", "second"]);
    assert!(outcome.time > Duration::from_secs(3601) && outcome.steps < 1000, "{outcome:?}");
}

#[test]
fn with_polls_that_take_no_time_only_waiting_does() {
    let outcome = Simulation::new(1).poll_time(Duration::ZERO).run(async |runtime| {
        busy_life(runtime.clone()).await;
        let before = runtime.now();
        let echo = echo(&runtime);
        (0..100).for_each(|_| drop(echo.send(None)));
        echo.call(Some).await.expect("an answer");
        runtime.now() - before
    });
    assert_eq!(outcome.expect("it ends").value, Duration::ZERO);
}

fn echo(runtime: &Handle) -> Address<Option<ReplyTo<()>>> {
    let body = async |mut ctx: Context<Option<ReplyTo<()>>>| loop {
        if let Some(reply_to) = ctx.recv().await {
            let _ = reply_to.send(());
        }
    };
    runtime.spawn(body).expect("room for a process")
}

fn failure<T: std::fmt::Debug>(result: Result<Outcome<T>, Failure>) -> Failure {
    result.expect_err("it was to fail")
}

#[test]
fn a_deadlock_is_told_with_what_each_process_waits_for() {
    let failed = failure(Simulation::new(3).run(async |runtime| {
        let mute = runtime.build().name("mute").spawn(async |mut ctx: Context<ReplyTo<()>>| {
            let _kept = ctx.recv().await;
            ctx.recv().await;
        });
        let mute = mute.expect("room for a process").clone();
        let asked = mute.clone();
        let asker = runtime.build().label("asker").spawn(async move |mut ctx: Context<()>| {
            drop(ctx.call(&asked, |reply_to| reply_to).no_timeout().await);
        });
        runtime.spawn(async |_: Context<()>| std::future::pending::<()>().await).expect("room for a process");
        asker.expect("room for a process").ended().await;
    }));
    let FailureKind::Deadlock(processes) = failed.kind() else { panic!("{failed}") };
    assert_eq!(processes.len(), 3);
    let told = failed.to_string();
    for line in ["(mute) waits for a message", "(asker) waits for the answer of", "awaits something other"] {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
}

#[test]
fn an_endless_loop_and_endless_waiting_come_to_their_limits() {
    let looping = failure(Simulation::new(1).step_limit(1000).run(async |runtime| {
        let spinning = runtime.spawn(async |mut ctx: Context<()>| {
            loop {
                ctx.yield_now().await;
            }
        });
        spinning.expect("room for a process").ended().await;
    }));
    assert!(matches!(looping.kind(), FailureKind::StepLimit(1000)), "{looping}");
    let waiting = failure(Simulation::new(1).time_limit(SECOND).run(async |runtime| {
        loop {
            runtime.sleep(millis(100)).await;
        }
    }));
    assert!(matches!(waiting.kind(), FailureKind::TimeLimit(time) if *time == SECOND), "{waiting}");
    assert!(waiting.steps() < 100);
}

#[test]
fn a_panic_of_the_body_fails_the_simulation_and_one_of_a_process_does_not() {
    let failed = failure(Simulation::new(1).run(async |_| panic!("so it goes")));
    assert!(matches!(failed.kind(), FailureKind::Panicked(said) if said == "so it goes"), "{failed}");
    let outcome = Simulation::new(1).run(async |runtime| {
        runtime.spawn(async |_: Context<()>| panic!("as processes do")).expect("room for a process").ended().await
    });
    assert!(matches!(outcome.expect("it ends").value, ExitReason::Panicked(_)));
}

#[test]
fn the_order_of_a_hash_map_is_found() {
    #[expect(clippy::disallowed_types, reason = "this is what is to be found")]
    let leak = async |runtime: Runtime| {
        let echo = echo(&runtime);
        let set: std::collections::HashSet<u64> = (0..100).collect();
        // What is sent does not differ, but when and by whom.
        for number in set {
            runtime.sleep(Duration::from_micros(100 * number)).await;
            drop(echo.send(None));
        }
    };
    let failed = failure(Simulation::new(1).run(leak));
    let FailureKind::Diverged { event: Some(_), first: Some(_), second: Some(_) } = failed.kind() else {
        panic!("{failed}")
    };
    assert!(failed.to_string().contains("hash map"), "{failed}");
    Simulation::new(1).once().run(leak).expect("one run has nothing to be compared with");
}

#[test]
fn an_address_a_clock_and_what_a_run_leaves_behind_are_found() {
    let address = async |runtime: Runtime| {
        let memory = Box::new([0_u8; 4096]);
        let place = std::ptr::from_ref(&*memory).addr() as u64;
        std::mem::forget(memory);
        runtime.sleep(Duration::from_nanos(place.wrapping_mul(1_000_003) >> 8)).await;
    };
    let long = Simulation::new(1).time_limit(Duration::MAX);
    assert!(matches!(failure(long.run(address)).kind(), FailureKind::Diverged { .. }));
    let clock = async |runtime: Runtime| {
        #[expect(clippy::disallowed_methods, reason = "this is what is to be found")]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        runtime.sleep(Duration::from_millis(u64::from(since.subsec_nanos()))).await;
    };
    assert!(matches!(failure(long.run(clock)).kind(), FailureKind::Diverged { .. }));
    let runs = AtomicUsize::new(0);
    let left = async |runtime: Runtime| {
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            echo(&runtime).call(Some).await.expect("an answer");
        }
    };
    let failed = failure(Simulation::new(1).run(left));
    assert!(matches!(failed.kind(), FailureKind::Diverged { event: Some(_), first: Some(_), .. }), "{failed}");
}

#[test]
fn contents_are_compared_when_they_are_noted() {
    let runs = AtomicUsize::new(0);
    let run = |noted: bool| {
        Simulation::new(1).run(async |_| {
            let number = runs.fetch_add(1, Ordering::Relaxed);
            if noted {
                colloquium::simulation::note(format!("number {number}"));
            }
        })
    };
    assert!(run(false).is_ok());
    let failed = failure(run(true));
    assert!(failed.to_string().contains("note: number"), "{failed}");
}

#[test]
fn what_cannot_be_simulated_fails_and_says_what_to_use() {
    let blocked = failure(Simulation::new(1).run(async |runtime| runtime.block_on(runtime.sleep(SECOND))));
    assert!(blocked.to_string().contains("await the future instead"), "{blocked}");
    let outcome = Simulation::new(1).run(async |_| Runtime::new().map(drop));
    let refused = outcome.expect("it ends").value.expect_err("no threads in a simulation");
    assert!(matches!(refused, BuildError::InSimulation) && refused.to_string().contains("that its body is given"));
    let nested = failure(Simulation::new(1).run(async |_| drop(Simulation::new(2).run(async |_| ()))));
    assert!(nested.to_string().contains("a simulation within a simulation"), "{nested}");
    let blocking = Simulation::new(1).run(async |runtime| {
        let body = async |_: Context<()>| wait_for(|| None::<()>);
        runtime.spawn(body).expect("room for a process").ended().await.to_string()
    });
    assert!(blocking.expect("it ends").value.contains("await instead"));
}

#[test]
fn another_thread_that_wakes_a_process_ends_the_simulation() {
    let failed = failure(Simulation::new(1).once().run(async |runtime| {
        let echo = echo(&runtime);
        // It waits for a message by then, so that the message has to wake it.
        runtime.sleep(SECOND).await;
        on_thread(move || drop(echo.send(None))).join().expect("no panic");
        runtime.sleep(SECOND).await;
    }));
    assert!(matches!(failed.kind(), FailureKind::ForeignThread(_)), "{failed}");
    assert!(failed.to_string().contains("use processes in place of threads"), "{failed}");
    let blocking = failure(Simulation::new(1).once().run(async |runtime| {
        let handle = runtime.handle();
        let panic = on_thread(move || handle.block_on(handle.sleep(SECOND))).join().expect_err("it is refused");
        std::panic::resume_unwind(panic);
    }));
    assert!(blocking.to_string().contains("await the future instead"), "{blocking}");
}

#[test]
fn a_simulation_within_a_process_of_threads_is_refused() {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    let body = async |_: Context<()>| drop(Simulation::new(1).run(async |_| ()));
    let ended = runtime.block_on(runtime.spawn(body).expect("room for a process").ended());
    assert!(ended.to_string().contains("a simulation within a process"), "{ended}");
}

#[test]
fn everything_has_ended_and_been_dropped_after_a_simulation() {
    let token = Arc::new(());
    let (held, also) = (Arc::clone(&token), Arc::clone(&token));
    let body = async move |runtime: Runtime| {
        for _ in 0..10 {
            let held = Arc::clone(&held);
            let stays = async move |mut ctx: Context<Arc<()>>| {
                ctx.trap_exits(|_| Arc::new(()));
                loop {
                    let _kept = (ctx.recv().await, &held);
                }
            };
            let process = runtime.spawn(stays).expect("room for a process");
            process.send(Arc::clone(&also)).expect("it lives");
        }
    };
    Simulation::new(1).run(&body).expect("those that trap exits are killed in the end");
    failure(Simulation::new(1).step_limit(3).run(&body));
    drop(body);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn a_shutdown_takes_its_time_virtually() {
    let outcome = Simulation::new(2).run(async |runtime| {
        let stubborn = runtime.spawn(async |mut ctx: Context<()>| {
            ctx.trap_exits(|_| ());
            loop {
                ctx.recv().await;
            }
        });
        let obedient = echo(&runtime);
        let stubborn = stubborn.expect("room for a process");
        runtime.sleep(SECOND).await;
        let report = runtime.shutdown(10 * SECOND).await;
        assert!(report.wedged.is_empty());
        (report.stopped, report.killed, obedient.ended().await, stubborn.ended().await)
    });
    let outcome = outcome.expect("it ends");
    assert_eq!(outcome.value, (1, 1, ExitReason::Shutdown, ExitReason::Killed));
    assert!(outcome.time >= 10 * SECOND && outcome.time < 11 * SECOND, "{:?}", outcome.time);
}

/// Blocking work takes virtual time, by the seed, and is repeated with it; who is killed meanwhile has it never begun.
#[test]
fn blocking_work_runs_in_virtual_time_and_not_for_the_dead() {
    let run = |seed| {
        Simulation::new(seed).run(async |runtime: Runtime| {
            let ran = Arc::new(AtomicUsize::new(0));
            let jobs: Vec<Address<()>> = (0..8)
                .map(|_| {
                    let ran = Arc::clone(&ran);
                    let body = async move |ctx: Context<()>| {
                        let counted = Arc::clone(&ran);
                        let answer = ctx.run_blocking(move |_| counted.fetch_add(1, Ordering::SeqCst)).await;
                        assert!(answer.expect("it runs") < 8);
                        ctx.run_blocking(|_| panic!("in vain")).await.expect_err("a panic is an error");
                    };
                    runtime.spawn(body).expect("room")
                })
                .collect();
            jobs[0].kill();
            let mut ends = Vec::new();
            for job in &jobs {
                ends.push((job.ended().await.is_orderly(), runtime.now()));
            }
            (ran.load(Ordering::SeqCst), ends, runtime.runtime_info().timers)
        })
    };
    let mut orders = BTreeSet::new();
    for seed in 0..30 {
        let (ran, ends, timers) = run(seed).expect("it ends").value;
        let killed_first = !ends[0].0;
        assert!(killed_first && ends[1..].iter().all(|(orderly, _)| *orderly), "{ends:?}");
        assert_eq!((ran, timers), (7, 0), "the killed one's never began, and its timer is gone");
        orders.insert(ends);
    }
    assert!(orders.len() > 20, "the seed decides how long it takes");
}

#[test]
fn a_socket_is_refused_with_what_to_use_instead() {
    let refused = Simulation::new(1).run(async |runtime: Runtime| {
        let listened = runtime.spawn(async |ctx: Context<()>| -> Result<(), std::io::Error> {
            let anywhere = ([127, 0, 0, 1], 0).into();
            colloquium::net::TcpListener::bind(&ctx.runtime(), anywhere)?;
            Ok(())
        });
        listened.expect("room").ended().await
    });
    let reason = refused.expect("it ends").value.to_string();
    assert!(reason.contains("simulation"), "{reason}");
}
