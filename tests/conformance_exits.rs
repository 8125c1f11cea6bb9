//! Driver: exit signals and trapping, as OTP has them: scenarios S-040 to S-054, the whole table, and more of their kind.
mod workers;

use colloquium::{
    Address, Context, Exit, ExitReason, Handle, LookupError, RegisterError, Runtime, SendErrorKind, SpawnError,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use workers::{
    Msg, OnDrop, Probe, Seen, arrival, corpse, mortal, on_each_size, on_each_size_whole, on_threads, races, until,
    watcher,
};

/// How an exit signal comes to its receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Link,
    Process,
    Thread,
    Oneself,
}

/// What the receiver does.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Lives,
    Traps,
    Ends(ExitReason),
}

/// The table of exit signals as the manual has it.
fn by_the_manual(reason: &ExitReason, way: Way, trapping: bool) -> Outcome {
    match (reason, way, trapping) {
        (ExitReason::Kill, Way::Process | Way::Thread | Way::Oneself, _) => Outcome::Ends(ExitReason::Killed),
        (_, _, true) => Outcome::Traps,
        (ExitReason::Normal, Way::Link | Way::Process | Way::Thread, false) => Outcome::Lives,
        (reason, _, false) => Outcome::Ends(reason.clone()),
    }
}

async fn panicked(runtime: &Handle) -> ExitReason {
    let process = runtime.spawn(async |_: Context<()>| panic!("on purpose")).expect("room");
    process.ended().await
}

async fn reasons(runtime: &Handle) -> Vec<ExitReason> {
    vec![
        ExitReason::Normal,
        ExitReason::Shutdown,
        ExitReason::shutdown_with("s"),
        ExitReason::Kill,
        ExitReason::Killed,
        panicked(runtime).await,
        ExitReason::error("e"),
        ExitReason::NoProcess,
        ExitReason::NoConnection,
    ]
}

async fn check_row(runtime: &Runtime, reason: ExitReason, way: Way, trapping: bool) {
    let p = if trapping { Probe::trapping(runtime) } else { Probe::new(runtime) };
    let (other, target, sent) = (Probe::new(runtime), p.clone(), reason.clone());
    let from = match way {
        Way::Link => {
            let peer = mortal(runtime);
            p.link(peer.clone());
            let fence = watcher(runtime, peer.clone());
            peer.send(sent).expect("it lives");
            fence.down();
            Some(peer.pid())
        }
        Way::Process => {
            other.ask(move |ctx| ctx.send_exit(target, sent));
            Some(other.pid())
        }
        Way::Thread => {
            p.exit(sent);
            None
        }
        Way::Oneself => {
            p.tell(move |ctx| ctx.send_exit(ctx.pid(), sent));
            Some(p.pid())
        }
    };
    match by_the_manual(&reason, way, trapping) {
        Outcome::Lives => p.is_quiet(),
        Outcome::Ends(with) => assert_eq!(p.ended().await, with, "{reason} by {way:?}, {trapping}"),
        Outcome::Traps => {
            let exit = p.trapped();
            assert_eq!((exit.from, &exit.reason, exit.by_link), (from, &reason, way == Way::Link));
            p.is_quiet();
        }
    }
    if p.is_alive() {
        assert_eq!(p.links(), [], "a link is gone with its exit");
    }
}

#[test]
fn every_exit_signal_does_what_the_table_says() {
    on_each_size(async |runtime| {
        for reason in reasons(&runtime).await {
            for way in [Way::Link, Way::Process, Way::Thread, Way::Oneself] {
                for trapping in [false, true] {
                    check_row(&runtime, reason.clone(), way, trapping).await;
                }
            }
        }
    });
}

#[test]
fn s_040_normal_from_another_does_nothing() {
    on_each_size(async |runtime| {
        let (p, other) = (Probe::new(&runtime), Probe::new(&runtime));
        let target = p.clone();
        other.ask(move |ctx| {
            ctx.send_exit(&target, ExitReason::Normal);
            target.exit(ExitReason::Normal);
        });
        p.exit(ExitReason::Normal);
        runtime.exit(p.pid(), ExitReason::Normal);
        p.is_quiet();
    });
}

#[test]
fn s_041_normal_to_oneself_ends_normally_or_is_trapped() {
    on_each_size_whole(async |runtime| {
        let p = Probe::new(&runtime);
        p.tell(|ctx| ctx.address().exit(ExitReason::Normal));
        assert_eq!(p.ended().await, ExitReason::Normal);
        let body = async |mut ctx: Context<()>| -> ExitReason {
            ctx.exit(ExitReason::Normal).await;
            ExitReason::error("it came back")
        };
        let process = runtime.spawn(body).expect("room");
        assert_eq!(process.ended().await, ExitReason::Normal);
        let p = Probe::trapping(&runtime);
        p.tell(|ctx| ctx.send_exit(ctx.pid(), ExitReason::Normal));
        let exit = p.trapped();
        assert_eq!((exit.from, exit.reason), (Some(p.pid()), ExitReason::Normal));
        p.is_quiet();
    });
}

/// Polls a future and catches what unwinds out of it: true if something did.
async fn caught(future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    let polled = std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(|()| false),
        Err(_) => std::task::Poll::Ready(true),
    });
    polled.await
}

#[test]
fn s_042_after_an_exit_of_oneself_only_destructors_run() {
    on_each_size(async |runtime| {
        for reason in reasons(&runtime).await {
            let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (after, state, sent) = (Arc::clone(&ran), Arc::clone(&dropped), reason.clone());
            let body = async move |mut ctx: Context<()>| {
                let _state = OnDrop(|| {
                    state.fetch_add(1, Ordering::SeqCst);
                });
                caught(ctx.exit(sent)).await;
                after.fetch_add(1, Ordering::SeqCst);
            };
            let process = runtime.spawn(body).expect("room");
            let expected = if reason == ExitReason::Kill { ExitReason::Killed } else { reason };
            assert_eq!(process.ended().await, expected);
            assert_eq!((ran.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst)), (0, 1));
        }
    });
}

#[test]
fn s_043_a_trapped_exit_of_oneself_is_a_message() {
    on_each_size(async |runtime| {
        let (show, shown) = channel();
        let body = async move |mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            ctx.exit(ExitReason::error("own")).await;
            let exit = ctx.recv().await;
            show.send((ctx.pid(), exit)).expect("the test waits");
            ctx.exit(ExitReason::Kill).await;
            show.send((ctx.pid(), ctx.recv().await)).expect("the test waits");
        };
        let process = runtime.spawn(body).expect("room");
        let (pid, exit) = arrival(&shown);
        assert_eq!((exit.from, exit.reason, exit.by_link), (Some(pid), ExitReason::error("own"), false));
        assert_eq!(process.ended().await, ExitReason::Killed);
        assert!(shown.recv().is_err(), "a kill is not trapped");
    });
}

#[test]
fn s_044_kill_ends_a_trapping_process_without_a_message() {
    on_each_size(async |runtime| {
        for by_process in [false, true] {
            let (p, other) = (Probe::trapping(&runtime), Probe::new(&runtime));
            let watcher = watcher(&runtime, p.clone());
            let target = p.clone();
            if by_process {
                other.tell(move |ctx| ctx.send_exit(target, ExitReason::Kill));
            } else {
                p.kill();
            }
            assert_eq!(watcher.down().reason, ExitReason::Killed);
            assert_eq!(p.shown(), []);
        }
    });
}

#[test]
fn s_045_kill_along_a_link_is_trapped_as_kill() {
    on_each_size(async |runtime| {
        let (trapping, other, peer) = (Probe::trapping(&runtime), Probe::new(&runtime), mortal(&runtime));
        trapping.link(peer.clone());
        other.link(peer.clone());
        peer.send(ExitReason::Kill).expect("it lives");
        let exit = trapping.trapped();
        assert_eq!((exit.from, exit.reason, exit.by_link), (Some(peer.pid()), ExitReason::Kill, true));
        trapping.is_quiet();
        assert_eq!(other.ended().await, ExitReason::Kill);
    });
}

#[test]
fn s_046_of_two_exits_the_first_counts() {
    on_each_size(async |runtime| {
        for _ in 0..races() {
            let p = Probe::new(&runtime);
            let watcher = watcher(&runtime, p.clone());
            p.exit(ExitReason::error("first"));
            p.exit(ExitReason::error("second"));
            p.kill();
            assert_eq!(
                (p.ended().await, watcher.down().reason),
                (ExitReason::error("first"), ExitReason::error("first"))
            );
        }
        // Sent by the process itself and then returned by it: the signal came first.
        let body = async |ctx: Context<()>| {
            ctx.address().exit(ExitReason::error("signal"));
            ExitReason::error("returned")
        };
        let process = runtime.spawn(body).expect("room");
        assert_eq!(process.ended().await, ExitReason::error("signal"));
    });
}

#[test]
fn s_050_exits_that_are_queued_when_trapping_ends_stay_readable() {
    on_threads(async |runtime| {
        let (show, shown) = channel();
        let body = async move |mut ctx: Context<u64>| {
            ctx.trap_exits(|_| 7);
            let own = ctx.address();
            own.send(1).expect("it lives");
            ctx.exit(ExitReason::error("queued")).await;
            own.send(2).expect("it lives");
            ctx.untrap_exits();
            for _ in 0..3 {
                show.send(ctx.recv().await).expect("the test waits");
            }
            ctx.exit(ExitReason::error("not trapped")).await;
        };
        let process = runtime.spawn(body).expect("room");
        assert_eq!([arrival(&shown), arrival(&shown), arrival(&shown)], [1, 7, 2]);
        assert_eq!(process.ended().await, ExitReason::error("not trapped"));
    });
}

/// Is doomed by another in the middle of a poll, begins to trap in the same poll, and awaits.
async fn trap_too_late(mut ctx: Context<Exit>, peer: Address<ExitReason>, at_work: Sender<()>) {
    let own = ctx.address();
    ctx.link(&peer);
    at_work.send(()).expect("the test waits");
    // Not an await: there it would end.
    while own.is_alive() {
        std::thread::yield_now();
    }
    ctx.trap_exits(|exit| exit);
    ctx.recv().await;
}

#[test]
fn trapping_that_begins_after_the_signal_does_not_rescue() {
    on_each_size(async |runtime| {
        for by_link in [false, true] {
            if by_link && runtime.runtime_info().workers.len() == 1 {
                // The peer's end needs a worker beside the one that is held up.
                continue;
            }
            for _ in 0..races() / 10 {
                let (peer, (at_work, works)) = (mortal(&runtime), channel());
                let to_link = peer.clone();
                let process = runtime.spawn(move |ctx| trap_too_late(ctx, to_link, at_work)).expect("room");
                arrival(&works);
                let sent = ExitReason::error("early");
                if by_link {
                    peer.exit(sent.clone());
                } else {
                    process.exit(sent.clone());
                }
                assert_eq!(process.ended().await, sent);
                peer.kill();
            }
        }
    });
}

#[test]
fn s_051_a_panic_reaches_links_and_monitors_and_nobody_else() {
    on_each_size(async |runtime| {
        let (parent, linked, stranger) = (Probe::trapping(&runtime), Probe::new(&runtime), Probe::new(&runtime));
        let child = parent.ask(|ctx| {
            let body = async |mut ctx: Context<u32>| {
                let number = ctx.recv().await;
                panic!("number {number}");
            };
            ctx.spawn_link(body).expect("room")
        });
        linked.link(child.clone());
        stranger.monitor(child.clone());
        child.send(7).expect("it lives");
        let exit = parent.trapped();
        assert_eq!((exit.from, exit.by_link), (Some(child.pid()), true));
        assert_eq!(linked.ended().await, exit.reason);
        assert_eq!(stranger.down().reason, exit.reason);
        let ExitReason::Panicked(panic) = exit.reason else { panic!("{:?}", exit.reason) };
        assert_eq!(panic.message(), "number 7");
        assert!(panic.location().is_some_and(|location| location.contains("conformance_exits.rs")));
        parent.is_quiet();
        stranger.is_quiet();
    });
}

/// From the moment an exit was sent, its sender sees a dead process, whatever that does meanwhile.
#[test]
fn s_052_after_an_exit_was_sent_the_process_counts_as_dead() {
    on_each_size(async |runtime| {
        for round in 0..races() {
            let body = async |mut ctx: Context<()>| {
                loop {
                    ctx.yield_now().await;
                }
            };
            let process = runtime.build().name("doomed").spawn(body).expect("the name is free");
            let sender = Probe::new(&runtime);
            match round % 4 {
                0 => process.kill(),
                1 => runtime.exit("doomed", ExitReason::Shutdown),
                2 => process.exit(ExitReason::error("e")),
                _ => {
                    let (target, handle) = (process.clone(), runtime.handle());
                    sender.ask(move |ctx| {
                        ctx.send_exit(target.pid(), ExitReason::Kill);
                        assert!(!target.is_alive() && handle.info(target.pid()).is_none());
                    });
                }
            }
            assert!(!process.is_alive() && !runtime.is_alive(process.pid()));
            assert!(runtime.info(process.pid()).is_none());
            assert!(!runtime.processes().contains(&process.pid()));
            assert_eq!(process.send(()).map_err(|error| error.kind()), Err(SendErrorKind::NoProcess));
            assert_eq!(runtime.whereis::<()>("doomed"), Err(LookupError::NoProcess));
            assert_eq!(runtime.address_of::<()>(process.pid()), Err(LookupError::NoProcess));
            assert_eq!(runtime.register("other", &process), Err(RegisterError::Dead));
            runtime.register("doomed", &*sender).expect("the name of the doomed is free");
            process.ended().await;
            assert_eq!(runtime.whereis::<Msg>("doomed").as_ref(), Ok(&*sender), "its end left the name alone");
            assert!(runtime.unregister("doomed"));
        }
    });
}

#[test]
fn s_054_exit_unlink_and_demonitor_on_the_dead_succeed() {
    on_each_size(async |runtime| {
        let (p, dead) = (Probe::trapping(&runtime), corpse(&runtime, ExitReason::Normal).await);
        let reference = p.monitor(dead.clone());
        p.down();
        let target = dead.clone();
        p.ask(move |ctx| {
            ctx.send_exit(&target, ExitReason::Kill);
            ctx.send_exit(target.pid(), ExitReason::error("e"));
            ctx.send_exit("nobody", ExitReason::Kill);
            ctx.unlink(&target);
            ctx.unlink(target.pid());
            ctx.unlink("nobody");
            assert!(!ctx.demonitor(reference) && !ctx.demonitor_flush(reference));
        });
        dead.kill();
        runtime.exit(dead.pid(), ExitReason::Normal);
        runtime.exit("nobody", ExitReason::Kill);
        assert_eq!(dead.ended().await, ExitReason::Normal, "its reason stays");
        p.is_quiet();
    });
}

/// What a process that has doomed itself can still do before its next await: send.
fn act_while_doomed(ctx: &mut Context<Msg>, friend: &Address<Msg>) {
    let own = ctx.address();
    own.exit(ExitReason::error("doomed"));
    assert!(!own.is_alive());
    friend.send(Msg::note(1)).expect("its sends go out");
    assert_eq!(ctx.register("late"), Err(RegisterError::Dead));
    assert!(ctx.join("late").is_err());
    let spawned = ctx.spawn(async |_: Context<()>| panic!("it must not run"));
    assert_eq!(spawned, Err(SpawnError::Ending));
    ctx.link(friend);
    ctx.monitor(friend, Msg::down(""));
    assert!(own.send(Msg::note(2)).is_err());
    let timer = own.send_after(std::time::Duration::from_secs(60), Msg::note(3));
    assert_eq!(timer.cancel(), None, "void from the start");
    ctx.send_exit(friend, ExitReason::error("trapped"));
    assert!(ctx.try_recv().is_none(), "nothing is received any more");
    friend.send(Msg::note(4)).expect("its sends go out");
}

#[test]
fn a_doomed_process_can_send_and_nothing_else_until_its_next_await() {
    on_each_size(async |runtime| {
        let (p, friend) = (Probe::new(&runtime), Probe::trapping(&runtime));
        let (address, done) = (friend.clone(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&done);
        p.send(Msg::note(0)).expect("it lives");
        p.tell(move |ctx| {
            act_while_doomed(ctx, &address);
            flag.store(true, Ordering::SeqCst);
        });
        assert_eq!(p.ended().await, ExitReason::error("doomed"));
        assert!(done.load(Ordering::SeqCst), "a claim of `act_while_doomed` does not hold");
        assert_eq!(friend.next(), Seen::Note(1));
        assert_eq!(friend.trapped().from, Some(p.pid()));
        assert_eq!(friend.next(), Seen::Note(4));
        assert_eq!((friend.links(), friend.info().monitored_by_count), (vec![], 0));
        friend.is_quiet();
        until(&runtime, || runtime.names().is_empty() && runtime.member_pids("late").is_empty()).await;
    });
}
