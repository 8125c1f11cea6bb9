//! Dynamic supervisors: S-122, S-125 and S-131 of `conformance/otp.md` as they are for them, and stops of all together.

mod tree;
mod workers;

use colloquium::{
    ChildSpec, ChildState, Context, DynamicSupervisor, ExitReason, Ready, Restart, Runtime, Shutdown, StartChildError,
    StartFailure, Supervisor, TerminateChildError, Unavailable,
};
use std::time::Duration;
use tree::{LONG, Life, Log, SECOND, bad, fall, picture, successor};
use workers::{SIZES, on_each_size, on_sizes, until};

/// Children that end with the reason they are sent, and are called as they are told.
fn mortals(log: &Log) -> DynamicSupervisor<&'static str, ExitReason> {
    let log = log.clone();
    DynamicSupervisor::new(move |mut ctx: Context<ExitReason>, id: &'static str| {
        let life = Life::begin(&log, id);
        async move {
            let _life = life;
            ctx.recv().await
        }
    })
}

#[test]
fn s_125_children_are_started_with_arguments_of_their_own_and_known_by_their_pids() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let dynamic = mortals(&log).max_children(3).start(&runtime).await.expect("it starts");
        let mut children = Vec::new();
        for id in ["x", "y", "z"] {
            children.push(dynamic.start_child(id).await.expect("it starts"));
        }
        assert_eq!(dynamic.start_child("w").await.err(), Some(StartChildError::Full(3)));
        assert_eq!(log.take(), "+x +y +z");
        let y = children[1].address().expect("it is up");
        assert_eq!(dynamic.terminate_child(y.pid()).await, Ok(()));
        assert_eq!(dynamic.terminate_child(y.pid()).await, Ok(()), "dead already");
        assert_eq!(children[1].address(), Err(Unavailable::Stopped));
        let stranger = runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await).expect("room for a process");
        assert_eq!(dynamic.terminate_child(stranger.pid()).await, Err(TerminateChildError::NotFound));
        stranger.kill();
        let counts = dynamic.supervisor().count_children().await.expect("an answer");
        assert_eq!(counts.active, 2);
        assert!(dynamic.supervisor().stop(LONG).await.is_clean());
    });
}

#[test]
fn s_131_a_failed_child_is_restarted_alone_with_its_arguments() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let dynamic = mortals(&log).start(&runtime).await.expect("it starts");
        let (x, y) = (dynamic.start_child("x").await.expect("it starts"), dynamic.start_child("y").await);
        let y = y.expect("it starts").address().expect("it is up");
        let old = fall(&x, bad()).await;
        successor(&runtime, &x, &old).await;
        assert!(y.is_alive());
        assert_eq!(log.take(), "+x +y -x +x");
        dynamic.supervisor().stop(LONG).await;
    });
}

#[test]
fn temporary_children_are_forgotten_when_they_end_and_make_room() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let dynamic = mortals(&log).restart(Restart::Temporary).max_children(1);
        let dynamic = dynamic.start(&runtime).await.expect("it starts");
        for reason in [ExitReason::Normal, bad(), ExitReason::Shutdown] {
            let child = dynamic.start_child("x").await.expect("there is room");
            fall(&child, reason).await;
            until(&runtime, || child.address() == Err(Unavailable::Gone)).await;
            assert_eq!(dynamic.supervisor().observe().children().count(), 0);
        }
        dynamic.supervisor().stop(LONG).await;
    });
}

#[test]
fn s_122_a_child_that_is_not_wanted_or_fails_to_initialise_leaves_nothing() {
    on_each_size(async |runtime| {
        let dynamic = DynamicSupervisor::initialised(async |mut ctx: Context<()>, ready: Ready, what: u32| {
            match what {
                0 => ready.up(),
                1 => return ready.ignore(),
                2 => panic!("as told"),
                _ => std::future::pending::<()>().await,
            }
            ctx.recv().await;
        });
        let hurried = dynamic.clone().init_within(Duration::from_millis(2)).start(&runtime).await.expect("it starts");
        let late = hurried.start_child(3).await.expect_err("it never says anything");
        assert_eq!(late, StartChildError::Failed(StartFailure::TimedOut));
        assert!(hurried.supervisor().stop(LONG).await.is_clean());
        let dynamic = dynamic.start(&runtime).await.expect("it starts");
        let up = dynamic.start_child(0).await.expect("it starts");
        assert!(up.address().is_ok());
        let unwanted = dynamic.start_child(1).await.expect("no failure");
        assert_eq!(unwanted.address(), Err(Unavailable::Gone));
        let panicked = dynamic.start_child(2).await.expect_err("it panics");
        assert!(matches!(panicked, StartChildError::Failed(StartFailure::Ended(ExitReason::Panicked(_)))));
        assert_eq!(dynamic.supervisor().observe().children().count(), 1);
        dynamic.supervisor().stop(LONG).await;
    });
}

#[test]
fn children_are_stopped_together_under_one_clock() {
    on_each_size(async |runtime| {
        let dynamic = DynamicSupervisor::new(|mut ctx: Context<bool>, hears: bool| {
            ctx.trap_exits(move |_| hears);
            async move { while !ctx.recv().await {} }
        });
        // One after the other these would take hours.
        let dynamic = dynamic.shutdown(Shutdown::After(Duration::from_millis(100)));
        let dynamic = dynamic.start(&runtime).await.expect("it starts");
        let mut processes = Vec::new();
        for n in 0..40 {
            let child = dynamic.start_child(n % 2 == 0).await.expect("it starts");
            processes.push(child.address().expect("it is up"));
        }
        // All are told before any is waited for: the deaf ones do not keep the others.
        let supervisor = dynamic.supervisor().clone();
        supervisor.address().exit(ExitReason::Shutdown);
        for (n, process) in processes.iter().enumerate() {
            let reason = process.ended().await;
            assert_eq!(reason, if n % 2 == 0 { ExitReason::Normal } else { ExitReason::Killed });
        }
        assert_eq!(supervisor.address().ended().await, ExitReason::Shutdown);
    });
}

#[test]
fn a_dynamic_supervisor_is_a_child_and_comes_back_empty() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let dynamic = mortals(&log).intensity(0, SECOND);
        let spec = ChildSpec::dynamic("sessions", &dynamic).expect("good").build().expect("good");
        let place = spec.reference();
        let outer = Supervisor::new().child(spec).start(&runtime).await.expect("it starts");
        let first = place.address().expect("it is up");
        let sessions = dynamic.connect(&first).await.expect("it answers");
        let child = sessions.start_child("x").await.expect("it starts");
        fall(&child, bad()).await;
        assert_eq!(first.ended().await, ExitReason::Shutdown);
        let second = successor(&runtime, &place, &first).await;
        let sessions = dynamic.connect(&second).await.expect("it answers");
        assert_eq!(sessions.supervisor().observe().children().count(), 0);
        sessions.start_child("y").await.expect("it starts");
        until(&runtime, || picture(&outer) == "sessions up").await;
        assert!(outer.stop(LONG).await.is_clean());
        assert_eq!(log.take(), "+x -x +y -y");
    });
}

async fn many(runtime: &Runtime, children: usize) {
    let dynamic = DynamicSupervisor::new(async |mut ctx: Context<()>, (): ()| ctx.recv().await);
    let dynamic = dynamic.restart(Restart::Temporary).start(runtime).await.expect("it starts");
    let mut last = None;
    for _ in 0..children {
        last = Some(dynamic.start_child(()).await.expect("it starts"));
    }
    let seen = dynamic.supervisor().observe().children();
    assert_eq!(seen.filter(|child| child.state == ChildState::Up).count(), children);
    let last = last.expect("some").address().expect("it is up");
    assert!(dynamic.supervisor().stop(LONG).await.is_clean());
    assert!(!last.is_alive());
}

#[test]
fn thousands_of_children_are_started_seen_and_stopped() {
    on_sizes(&SIZES, async |runtime| many(&runtime, 3000).await);
}
