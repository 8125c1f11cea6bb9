//! Faults in simulations: they come when they were asked for, do what they say and no more, and leave the guarantees standing.
use colloquium::simulation::{Faults, Simulation};
use colloquium::testing::{Check, Probe, assert_quiet};
use colloquium::{
    Activity, Address, CallErrorKind, Context, Down, Exit, ExitReason, Handle, ReplyTo, Runtime, sometimes,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn simulated(seeds: u64, faults: Faults, body: &impl AsyncFn(Runtime)) {
    Check::new().seeds(seeds).faults(faults).run_seeds(body);
}

fn idle(runtime: &Handle) -> Address<()> {
    runtime
        .spawn(async |mut ctx: Context<()>| {
            loop {
                ctx.recv().await;
            }
        })
        .expect("room for a process")
}

#[test]
fn a_process_is_killed_at_its_step() {
    for step in [1, 5, 50] {
        let outcome = Simulation::new(1).faults(Faults::new().kill_at(step, 1)).run(async |runtime| {
            let all = [idle(&runtime), idle(&runtime), idle(&runtime)];
            for _ in 0..100 {
                runtime.sleep(SECOND).await;
            }
            (all[1].ended().await, all.map(|process| process.is_alive()))
        });
        match outcome {
            Ok(outcome) => {
                assert!(step > 1, "killed before it was there");
                assert_eq!(outcome.value, (ExitReason::Killed, [true, false, true]));
            }
            // At step 1 nobody is there yet, and so it lives on.
            Err(failure) => assert!(step == 1 && failure.to_string().contains("deadlock"), "{failure}"),
        }
    }
}

#[test]
fn a_stalled_process_gets_its_messages_and_runs_later() {
    let faults = Faults::new().stall_at(3, 0, 10 * SECOND);
    simulated(50, faults, &async |runtime| {
        let echo = runtime.spawn(async |mut ctx: Context<ReplyTo<Duration>>| {
            loop {
                let reply_to = ctx.recv().await;
                let _ = reply_to.send(ctx.now());
            }
        });
        let echo = echo.expect("room for a process");
        while runtime.now() < SECOND {
            runtime.sleep(SECOND / 10).await;
        }
        let answered = echo.call(|reply_to| reply_to).timeout(SECOND).await;
        assert!(answered.is_err_and(|error| *error.kind() == CallErrorKind::TimedOut));
        let at = echo.call(|reply_to| reply_to).timeout(20 * SECOND).await.expect("an answer, later");
        assert!(at >= 10 * SECOND, "{at:?}");
    });
}

#[test]
fn random_kills_spare_whom_they_are_told_to_and_end_in_time() {
    let faults = Faults::new().kills(20).only(|process| process.name.is_none()).until_step(400);
    simulated(50, faults, &async |runtime| {
        let keeper = runtime.build().name("keeper").spawn(async |mut ctx: Context<Down>| {
            let mut deaths = 0;
            loop {
                let spawned = ctx.spawn_monitor(
                    async |mut ctx: Context<()>| {
                        for _ in 0..20 {
                            ctx.yield_now().await;
                        }
                    },
                    |down| down,
                );
                spawned.expect("room for a process");
                match ctx.recv().await.reason {
                    ExitReason::Killed => deaths += 1,
                    ExitReason::Normal if ctx.now() > SECOND => return,
                    _ => ctx.sleep(SECOND / 10).await,
                }
                sometimes!("killed and begun anew", deaths > 3);
            }
        });
        assert_eq!(keeper.expect("room for a process").ended().await, ExitReason::Normal, "it has a name");
        assert_quiet(&runtime, SECOND).await;
    });
}

/// What one process tells another keeps its order, whatever is held back; what goes by a third may overtake.
#[test]
fn signals_that_are_held_back_keep_the_order_of_their_pair() {
    let overtaken = AtomicUsize::new(0);
    simulated(200, Faults::new().delays(3), &async |runtime| {
        let last = Probe::<(u32, u32)>::new(&runtime);
        let to = last.address();
        let relay = runtime.spawn(async move |mut ctx: Context<u32>| {
            loop {
                let number = ctx.recv().await;
                let _ = to.send((1, number));
            }
        });
        let (relay, to) = (relay.expect("room for a process"), last.address());
        let sender = runtime.spawn(async move |mut ctx: Context<()>| {
            for number in 0..10 {
                let _ = to.send((0, number));
                let _ = relay.send(number);
                ctx.yield_now().await;
            }
            let last = to.send((0, 10));
            last.expect("it lives");
        });
        let ended = sender.expect("room for a process").ended().await;
        assert_eq!(ended, ExitReason::Normal);
        let mut came = Vec::new();
        for _ in 0..21 {
            came.push(last.expect(SECOND).await);
        }
        for way in [0, 1] {
            let numbers: Vec<u32> = came.iter().filter(|(by, _)| *by == way).map(|(_, number)| *number).collect();
            assert!(numbers.is_sorted(), "{came:?}");
        }
        let at = |item| came.iter().position(|other| *other == item).expect("it came");
        let early = (0..10).any(|number| at((1, number)) < at((0, number)));
        overtaken.fetch_add(usize::from(early), Ordering::Relaxed);
    });
    assert!(overtaken.into_inner() > 10, "what goes by a third never overtakes");
}

#[test]
fn who_asks_finds_what_it_sent_arrived() {
    simulated(200, Faults::new().delays(2), &async |runtime| {
        let deaf =
            runtime.spawn(async |_: Context<u32>| std::future::pending::<()>().await).expect("room for a process");
        let asker = runtime.spawn(async move |mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            for number in 1..=5 {
                deaf.send(0).expect("it lives");
                let info = ctx.runtime().info(deaf.pid()).expect("it lives");
                assert_eq!((info.mailbox, info.activity), (number, Activity::Active));
            }
            deaf.exit(ExitReason::error("enough"));
            assert!(!deaf.is_alive() && deaf.send(0).is_err());
            ctx.link(&deaf);
            assert_eq!(ctx.recv().await.reason, ExitReason::NoProcess);
        });
        assert_eq!(asker.expect("room for a process").ended().await, ExitReason::Normal);
    });
}

#[test]
fn what_was_held_back_arrives_before_the_end_of_its_sender_is_told() {
    simulated(200, Faults::new().delays(2), &async |runtime| {
        let probe = Probe::<Result<u32, Down>>::new(&runtime);
        let to = probe.address();
        let child = probe.ask(move |ctx| {
            let body = async move |_: Context<()>| (0..5).for_each(|number| to.send(Ok(number)).expect("it lives"));
            ctx.spawn_monitor(body, Err).expect("room for a process").0
        });
        let child: Address<()> = child.await;
        for expected in 0..5 {
            assert_eq!(probe.expect(SECOND).await.expect("messages first"), expected);
        }
        let down = probe.expect(SECOND).await.expect_err("then the down");
        assert_eq!((down.pid, down.reason), (Some(child.pid()), ExitReason::Normal));
    });
}

/// The callee may die while the request is on its way: the caller is told what happened, never left waiting.
#[test]
fn a_call_whose_request_is_held_back_ends_with_the_callee() {
    let faults = Faults::new().delays(2).kill_at(8, 0).kill_at(12, 1);
    simulated(300, faults, &async |runtime| {
        let callee = runtime.spawn(async |mut ctx: Context<ReplyTo<u32>>| {
            loop {
                let _ = ctx.recv().await.send(7);
            }
        });
        let callee = callee.expect("room for a process");
        for _ in 0..2 {
            let callee = callee.clone();
            let caller = runtime.spawn(async move |mut ctx: Context<()>| {
                for _ in 0..5 {
                    match ctx.call(&callee, |reply_to| reply_to).no_timeout().await {
                        Ok(answer) => assert_eq!(answer, 7),
                        Err(error) => {
                            let kind = error.kind();
                            sometimes!("the callee ended meanwhile", matches!(kind, CallErrorKind::Ended(_)));
                            assert!(
                                matches!(kind, CallErrorKind::NoProcess | CallErrorKind::Ended(ExitReason::Killed)),
                                "{kind:?}"
                            );
                        }
                    }
                }
            });
            let ended = caller.expect("room for a process").ended().await;
            assert!(matches!(ended, ExitReason::Normal | ExitReason::Killed), "{ended}");
        }
    });
}
