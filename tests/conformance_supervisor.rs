//! S-120 to S-158 of `conformance/otp.md`: supervisors: their start and specifications, restarts, stops.

mod tree;
mod workers;

use colloquium::{
    AutoShutdown, Backoff, ChildKind, ChildSendErrorKind, ChildSpec, ChildState, Context, DeleteChildError, ExitReason,
    FailedToStart, Mailbox, Ready, Restart, RestartChildError, Runtime, Shutdown, SpecError, StartChildError,
    StartError, StartFailure, Strategy, Supervisor, SupervisorMessage, SupervisorRef, TerminateChildError, Unavailable,
    Unreachable,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tree::{LONG, Log, SECOND, bad, deaf, fall, mortal, picture, seen, state, successor, three};
use workers::{on_each_size, until};

async fn start(supervisor: Supervisor, runtime: &Runtime) -> SupervisorRef {
    supervisor.start(runtime).await.expect("all children start")
}

/// A child that fails to initialise as long as the counter says so.
fn failing(id: &'static str, log: &Log, failures: &Arc<AtomicU32>) -> colloquium::ChildBuilder<ExitReason> {
    let (log, failures) = (log.clone(), Arc::clone(failures));
    ChildSpec::initialised(id, move |mut ctx: Context<ExitReason>, ready: Ready| {
        let (log, failures) = (log.clone(), Arc::clone(&failures));
        async move {
            if failures.load(Ordering::SeqCst) > 0 {
                failures.fetch_sub(1, Ordering::SeqCst);
                log.note(format!("!{id}"));
                return bad();
            }
            let _life = tree::Life::begin(&log, id);
            ready.up();
            ctx.recv().await
        }
    })
}

#[test]
fn s_120_children_start_in_order_and_stop_in_reverse() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let (supervisor, [_, b, _]) = three(&log, Supervisor::new().strategy(Strategy::OneForAll));
        let supervisor = start(supervisor, &runtime).await;
        let first = b.address().expect("it is up");
        assert_eq!(picture(&supervisor), "a up, b up, c up");
        fall(&b, bad()).await;
        successor(&runtime, &b, &first).await;
        until(&runtime, || picture(&supervisor) == "a up, b up, c up").await;
        let report = supervisor.stop(LONG).await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(log.take(), "+a +b +c -b -c -a +a +b +c -c -b -a");
        assert_eq!(b.address(), Err(Unavailable::Gone));
    });
}

#[test]
fn s_122_a_child_that_is_not_wanted_is_no_failure() {
    on_each_size(async |runtime| {
        let unwanted =
            |id: &'static str| ChildSpec::initialised(id, async |_: Context<()>, ready: Ready| ready.ignore());
        let log = Log::default();
        let supervisor = Supervisor::new()
            .child(unwanted("i"))
            .child(unwanted("t").restart(Restart::Temporary))
            .child(mortal("a", &log));
        let supervisor = start(supervisor, &runtime).await;
        assert_eq!(picture(&supervisor), "i stopped, a up");
        let place = supervisor.start_child(unwanted("j").build().expect("good")).await.expect("no failure");
        assert_eq!(place.address(), Err(Unavailable::Stopped));
        assert_eq!(supervisor.restart_child("i").await, Ok(None));
        let counts = supervisor.count_children().await.expect("an answer");
        assert_eq!((counts.specs, counts.active), (3, 1));
        supervisor.stop(LONG).await;
    });
}

#[test]
fn s_123_every_bad_specification_is_refused_with_its_own_error() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let child = |id: &'static str| mortal(id, &log);
        let id: Arc<str> = "x".into();
        let errors = [
            (child("").build(), SpecError::EmptyId),
            (child("x").init_within(Duration::ZERO).build(), SpecError::InvalidInit(id.clone())),
            (child("x").mailbox(Mailbox::bounded(0)).build(), SpecError::EmptyMailbox(id.clone())),
            (child("x").significant().build(), SpecError::SignificantPermanent(id.clone())),
            (
                child("x").restart(Restart::Temporary).backoff(Backoff::default()).build(),
                SpecError::BackoffTemporary(id.clone()),
            ),
            (child("x").backoff(Backoff::default().give_up_after(0)).build(), SpecError::GiveUpAfterNone(id.clone())),
            (
                child("x").backoff(Backoff::default().healthy_after(Duration::ZERO)).build(),
                SpecError::HealthyAtOnce(id.clone()),
            ),
            (child("x").backoff(Backoff::default().first(60 * SECOND)).build(), SpecError::CapBelowFirst(id.clone())),
        ];
        for (built, error) in errors {
            assert_eq!(built.err(), Some(error));
        }
        let significant = || child("x").restart(Restart::Transient).significant();
        let starts = [
            (Supervisor::new().intensity(1, Duration::ZERO), SpecError::InvalidPeriod),
            (Supervisor::new().child(child("x")).child(child("x")), SpecError::DuplicateId(id.clone())),
            (Supervisor::new().child(significant()), SpecError::SignificantIgnored(id.clone())),
            (Supervisor::new().child(child("y")).child(child("")), SpecError::EmptyId),
        ];
        for (supervisor, error) in starts {
            assert_eq!(supervisor.start(&runtime).await.err(), Some(StartError::Spec(error)));
        }
        assert_eq!(log.take(), "", "nothing was started");
        let supervisor = start(Supervisor::new(), &runtime).await;
        let refused = supervisor.start_child(significant().build().expect("good by itself")).await;
        assert_eq!(refused.err(), Some(StartChildError::Spec(SpecError::SignificantIgnored(id))));
        supervisor.stop(LONG).await;
    });
}

#[test]
fn s_124_the_defaults_of_a_specification_read_back() {
    let spec = mortal("a", &Log::default()).build().expect("good");
    assert_eq!((spec.id(), spec.restart(), spec.kind()), ("a", Restart::Permanent, ChildKind::Worker));
    assert_eq!((spec.shutdown(), spec.init_within()), (Shutdown::After(5 * SECOND), None));
    assert_eq!((spec.is_significant(), spec.backoff()), (false, None));
    let spec = ChildSpec::supervisor("s", Supervisor::new).build().expect("good");
    assert_eq!((spec.kind(), spec.shutdown()), (ChildKind::Supervisor, Shutdown::Infinity));
    assert_eq!(spec.init_within(), Some(Duration::MAX));
    let spec = ChildSpec::initialised("i", async |_: Context<()>, _: Ready| ()).build().expect("good");
    assert_eq!(spec.init_within(), Some(30 * SECOND));
}

#[test]
fn s_125_requests_are_answered_in_every_state() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let supervisor = start(Supervisor::new().child(mortal("a", &log)), &runtime).await;
        let spec = |id| mortal(id, &log).build().expect("good");
        let a = seen(&supervisor, "a").and_then(|child| child.pid).expect("it is up");
        assert_eq!(supervisor.start_child(spec("a")).await.err(), Some(StartChildError::AlreadyStarted(a)));
        assert_eq!(supervisor.restart_child("a").await, Err(RestartChildError::Running));
        assert_eq!(supervisor.delete_child("a").await, Err(DeleteChildError::Running));
        assert_eq!(supervisor.restart_child("z").await, Err(RestartChildError::NotFound));
        assert_eq!(supervisor.delete_child("z").await, Err(DeleteChildError::NotFound));
        assert_eq!(supervisor.terminate_child("z").await, Err(TerminateChildError::NotFound));
        assert_eq!(supervisor.terminate_child("a").await, Ok(()));
        assert_eq!(supervisor.terminate_child("a").await, Ok(()));
        assert!(!runtime.is_alive(a));
        assert_eq!(supervisor.start_child(spec("a")).await.err(), Some(StartChildError::AlreadyPresent));
        let counts = supervisor.count_children().await.expect("an answer");
        assert_eq!((counts.specs, counts.active, counts.workers, counts.supervisors), (1, 0, 1, 0));
        let again = supervisor.restart_child("a").await.expect("it starts").expect("a process");
        assert_ne!(again, a);
        let b = supervisor.start_child(spec("b")).await.expect("it starts");
        let children = supervisor.which_children().await.expect("an answer");
        let shown: Vec<_> = children.iter().map(|child| (&*child.id, child.pid, child.state)).collect();
        let b_pid = b.address().expect("it is up").pid();
        assert_eq!(shown, [("a", Some(again), ChildState::Up), ("b", Some(b_pid), ChildState::Up)]);
        assert_eq!(supervisor.terminate_child("b").await, Ok(()));
        assert_eq!(b.address(), Err(Unavailable::Stopped));
        assert_eq!(supervisor.delete_child("b").await, Ok(()));
        assert_eq!(b.address(), Err(Unavailable::Gone));
        assert_eq!(b.send(bad()).expect_err("nobody there").kind(), ChildSendErrorKind::Unavailable(Unavailable::Gone));
        let t = mortal("t", &log).restart(Restart::Temporary).build().expect("good");
        let t = supervisor.start_child(t).await.expect("it starts");
        assert_eq!(supervisor.terminate_child("t").await, Ok(()));
        assert_eq!((picture(&supervisor).as_str(), t.address()), ("a up", Err(Unavailable::Gone)));
        supervisor.stop(LONG).await;
        assert_eq!(supervisor.restart_child("a").await, Err(RestartChildError::Supervisor(Unreachable::Ended)));
    });
}

#[test]
fn s_126_a_start_by_hand_that_fails_leaves_nothing_and_a_restart_leaves_it_stopped() {
    on_each_size(async |runtime| {
        let (log, failures) = (Log::default(), Arc::new(AtomicU32::new(1)));
        let supervisor = start(Supervisor::new(), &runtime).await;
        let spec = || failing("f", &log, &failures).build().expect("good");
        let failed = StartFailure::Ended(bad());
        assert_eq!(supervisor.start_child(spec()).await.err(), Some(StartChildError::Failed(failed.clone())));
        assert_eq!(picture(&supervisor), "");
        supervisor.start_child(spec()).await.expect("it starts now");
        supervisor.terminate_child("f").await.expect("it stops");
        failures.store(1, Ordering::SeqCst);
        assert_eq!(supervisor.restart_child("f").await, Err(RestartChildError::Failed(failed)));
        assert_eq!(picture(&supervisor), "f stopped");
        assert!(supervisor.restart_child("f").await.expect("it starts").is_some());
        assert_eq!(log.take(), "!f +f -f !f +f");
        supervisor.stop(LONG).await;
    });
}

#[test]
fn a_first_start_that_fails_is_undone_and_says_which_child_and_why() {
    on_each_size(async |runtime| {
        let (log, failures) = (Log::default(), Arc::new(AtomicU32::new(1)));
        let (supervisor, _) = three(&log, Supervisor::new());
        let error = supervisor.child(failing("f", &log, &failures)).child(mortal("z", &log)).start(&runtime).await;
        let failed = FailedToStart { id: "f".into(), failure: StartFailure::Ended(bad()) };
        assert_eq!(error.err(), Some(StartError::Child(failed)));
        assert_eq!(log.take(), "+a +b +c !f -c -b -a");
        until(&runtime, || runtime.processes().is_empty()).await;
    });
}

#[test]
fn s_130_restart_types_judge_every_reason_as_the_table_says() {
    on_each_size(async |runtime| {
        let rows = [
            (ExitReason::Normal, [true, false, false]),
            (ExitReason::Shutdown, [true, false, false]),
            (ExitReason::shutdown_with("done"), [true, false, false]),
            (bad(), [true, true, false]),
            (ExitReason::Killed, [true, true, false]),
        ];
        for (reason, restarted) in rows {
            for (restart, restarted) in
                [Restart::Permanent, Restart::Transient, Restart::Temporary].into_iter().zip(restarted)
            {
                let log = Log::default();
                let spec = mortal("x", &log).restart(restart).build().expect("good");
                let x = spec.reference();
                let supervisor = start(Supervisor::new().child(spec), &runtime).await;
                let old = x.address().expect("it is up");
                if reason == ExitReason::Killed {
                    old.kill();
                    assert_eq!(old.ended().await, ExitReason::Killed);
                } else {
                    fall(&x, reason.clone()).await;
                }
                if restarted {
                    successor(&runtime, &x, &old).await;
                    let child = seen(&supervisor, "x").expect("it is there");
                    assert_eq!((child.starts, child.exits.len()), (2, 1));
                    assert_eq!(child.exits[0].reason, reason);
                } else if restart == Restart::Temporary {
                    until(&runtime, || x.address() == Err(Unavailable::Gone)).await;
                    assert_eq!(picture(&supervisor), "");
                } else {
                    until(&runtime, || x.address() == Err(Unavailable::Stopped)).await;
                    assert_eq!(picture(&supervisor), "x stopped");
                    assert_eq!(seen(&supervisor, "x").map(|child| child.starts), Some(1));
                }
                supervisor.stop(LONG).await;
                let expected = if restarted { "+x -x +x -x" } else { "+x -x" };
                assert_eq!(log.take(), expected, "{restart:?} {reason}");
            }
        }
    });
}

/// Lets `b` of three crash, and says for each whether it is the process that it was.
async fn crash_of_b(runtime: &Runtime, strategy: Strategy) -> [bool; 3] {
    let log = Log::default();
    let (supervisor, places) = three(&log, Supervisor::new().strategy(strategy));
    let supervisor = start(supervisor, runtime).await;
    let before = [0, 1, 2].map(|at: usize| places[at].address().expect("it is up"));
    fall(&places[1], bad()).await;
    successor(runtime, &places[1], &before[1]).await;
    until(runtime, || picture(&supervisor) == "a up, b up, c up").await;
    let same = [0, 1, 2].map(|at: usize| {
        let now = places[at].address().expect("it is up");
        assert_eq!(before[at].is_alive(), now == before[at]);
        now == before[at]
    });
    supervisor.stop(LONG).await;
    same
}

#[test]
fn s_131_one_for_one_replaces_only_the_failed_one() {
    on_each_size(async |runtime| assert_eq!(crash_of_b(&runtime, Strategy::OneForOne).await, [true, false, true]));
}

#[test]
fn s_132_one_for_all_replaces_all() {
    on_each_size(async |runtime| assert_eq!(crash_of_b(&runtime, Strategy::OneForAll).await, [false, false, false]));
}

#[test]
fn s_133_rest_for_one_replaces_those_after_it() {
    on_each_size(async |runtime| assert_eq!(crash_of_b(&runtime, Strategy::RestForOne).await, [true, false, false]));
}

#[test]
fn s_134_a_temporary_sibling_does_not_survive_a_group_restart() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let a = mortal("a", &log).build().expect("good");
        let place = a.reference();
        let supervisor = Supervisor::new().strategy(Strategy::OneForAll).child(a);
        let supervisor = supervisor.child(mortal("t", &log).restart(Restart::Temporary));
        let supervisor = start(supervisor, &runtime).await;
        let old = fall(&place, bad()).await;
        successor(&runtime, &place, &old).await;
        assert_eq!(picture(&supervisor), "a up");
        supervisor.stop(LONG).await;
        assert_eq!(log.take(), "+a +t -a -t +a -a");
    });
}

#[test]
fn s_135_one_restart_too_many_ends_the_supervisor_and_all_children() {
    on_each_size(async |runtime| {
        for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
            let log = Log::default();
            let (supervisor, [_, b, c]) = three(&log, Supervisor::new().strategy(strategy).intensity(2, 1000 * SECOND));
            let supervisor = start(supervisor, &runtime).await;
            for _ in 0..2 {
                let old = fall(&b, bad()).await;
                successor(&runtime, &b, &old).await;
                until(&runtime, || picture(&supervisor) == "a up, b up, c up").await;
            }
            log.take();
            fall(&b, bad()).await;
            assert_eq!(supervisor.address().ended().await, ExitReason::Shutdown, "{strategy:?}");
            assert_eq!(log.take(), "-b -c -a");
            assert_eq!((b.address(), c.address()), (Err(Unavailable::Gone), Err(Unavailable::Gone)));
        }
    });
}

#[test]
fn s_136_restarts_spaced_wider_than_the_period_never_exhaust_it() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let period = Duration::from_millis(2);
        let (supervisor, [a, ..]) = three(&log, Supervisor::new().intensity(1, period));
        let supervisor = start(supervisor, &runtime).await;
        for _ in 0..10 {
            let old = fall(&a, bad()).await;
            successor(&runtime, &a, &old).await;
            runtime.sleep(2 * period).await;
        }
        assert_eq!(seen(&supervisor, "a").map(|child| child.starts), Some(11));
        supervisor.stop(LONG).await;
    });
}

#[test]
fn s_137_with_intensity_0_the_first_crash_ends_it() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let (supervisor, [a, ..]) = three(&log, Supervisor::new().intensity(0, SECOND));
        let supervisor = start(supervisor, &runtime).await;
        fall(&a, bad()).await;
        assert_eq!(supervisor.address().ended().await, ExitReason::Shutdown);
        assert_eq!(log.take(), "+a +b +c -a -c -b");
    });
}

#[test]
fn s_142_children_added_to_an_inner_supervisor_are_not_there_after_its_restart_and_static_ones_are() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let inner_log = log.clone();
        // The place is the tree's, so that it is found again when the inner supervisor makes its children anew.
        let place = colloquium::ChildRef::vacant();
        let at = place.clone();
        let inner = ChildSpec::supervisor("inner", move || {
            Supervisor::new().intensity(0, SECOND).child(mortal("a", &inner_log).at(&at))
        });
        let inner = inner.build().expect("good");
        let inner_place = inner.reference();
        let outer = start(Supervisor::new().child(inner), &runtime).await;
        let first = inner_place.address().expect("it is up");
        let inner = SupervisorRef::of(&first).await.expect("it answers");
        inner.start_child(mortal("d", &log).build().expect("good")).await.expect("it starts");
        assert_eq!(picture(&inner), "a up, d up");
        let subtree = seen(&outer, "inner").and_then(|child| child.subtree).expect("it is seen from above");
        assert_eq!((subtree.pid(), subtree.children().count()), (inner.pid(), 2));
        let old = fall(&place, bad()).await;
        assert_eq!(first.ended().await, ExitReason::Shutdown);
        successor(&runtime, &place, &old).await;
        let second = successor(&runtime, &inner_place, &first).await;
        let inner = SupervisorRef::of(&second).await.expect("it answers");
        assert_eq!(picture(&inner), "a up");
        outer.stop(LONG).await;
        assert_eq!(log.take(), "+a +d -a -d +a -a");
    });
}

#[test]
fn s_150_a_child_has_its_time_to_stop_and_is_killed_then() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let supervisor = Supervisor::new()
            .child(deaf("brutal", &log).shutdown(Shutdown::BrutalKill))
            .child(deaf("timed", &log).shutdown(Shutdown::After(Duration::from_millis(20))))
            .child(mortal("obeys", &log));
        let waited = deaf("waited", &log).shutdown(Shutdown::Infinity).build().expect("good");
        let patient = waited.reference();
        let supervisor = start(supervisor.child(waited), &runtime).await;
        let process = |id| seen(&supervisor, id).and_then(|child| child.pid).expect("it is up");
        let addresses = ["brutal", "timed"]
            .map(|id| runtime.address_of::<Option<ExitReason>>(process(id)).expect("it takes these messages"));
        let obeys = runtime.address_of::<ExitReason>(process("obeys")).expect("it takes these messages");
        let patient = patient.address().expect("it is up");
        supervisor.address().exit(ExitReason::Shutdown);
        until(&runtime, || state(&supervisor, "waited") == Some(ChildState::Draining)).await;
        assert_eq!(log.take(), "+brutal +timed +obeys +waited", "nobody is stopped before the last is gone");
        patient.send(Some(ExitReason::Shutdown)).expect("it lives");
        assert_eq!(obeys.ended().await, ExitReason::Shutdown);
        for address in addresses {
            assert_eq!(address.ended().await, ExitReason::Killed);
        }
        assert_eq!(supervisor.address().ended().await, ExitReason::Shutdown);
        assert_eq!(log.take(), "-waited -obeys -timed -brutal");
    });
}

#[test]
fn s_154_a_parents_exit_ends_the_supervisor_with_that_reason_and_a_strangers_is_ignored() {
    on_each_size(async |runtime| {
        for reason in [ExitReason::Normal, ExitReason::Shutdown, bad()] {
            let log = Log::default();
            let (supervisor, [a, ..]) = three(&log, Supervisor::new());
            let (show, shown) = std::sync::mpsc::channel();
            let parent = runtime.spawn(async move |mut ctx: Context<ExitReason>| {
                let supervisor = supervisor.start_link(&mut ctx).await.expect("all start");
                show.send(supervisor).expect("the test waits");
                ctx.recv().await
            });
            let parent = parent.expect("room for a process");
            a.up(&runtime, LONG).await.expect("it starts");
            let mut supervisor = None;
            until(&runtime, || {
                supervisor = supervisor.take().or_else(|| shown.try_recv().ok());
                supervisor.is_some()
            })
            .await;
            let supervisor: SupervisorRef = supervisor.expect("it was shown");
            let target = supervisor.address().clone();
            let stranger = runtime.spawn(async move |_: Context<()>| target.exit(ExitReason::Shutdown));
            stranger.expect("room for a process").ended().await;
            assert_eq!(supervisor.count_children().await.expect("it lives").active, 3);
            parent.send(reason.clone()).expect("it lives");
            assert_eq!(supervisor.address().ended().await, reason);
            assert_eq!(log.take(), "+a +b +c -c -b -a");
        }
    });
}

#[test]
fn s_154_a_killed_supervisor_leaves_no_linked_child() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let inner_log = log.clone();
        let (supervisor, places) = three(&log, Supervisor::new());
        let inner = ChildSpec::supervisor("inner", move || Supervisor::new().child(mortal("x", &inner_log)));
        let supervisor = start(supervisor.child(inner), &runtime).await;
        let children = [0, 1, 2].map(|at: usize| places[at].address().expect("it is up"));
        supervisor.address().kill();
        assert_eq!(supervisor.address().ended().await, ExitReason::Killed);
        for child in children {
            assert_eq!(child.ended().await, ExitReason::Killed);
        }
        until(&runtime, || runtime.processes().is_empty()).await;
        assert_eq!(places[0].address(), Err(Unavailable::Gone));
    });
}

#[test]
fn s_158_a_child_that_has_unlinked_itself_is_stopped_all_the_same() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let loose = ChildSpec::worker("loose", |mut ctx: Context<()>| {
            let parent = ctx.parent().expect("it has one");
            async move {
                ctx.unlink(parent);
                loop {
                    ctx.recv().await;
                }
            }
        });
        let loose = loose.shutdown(Shutdown::Infinity).build().expect("good");
        let place = loose.reference();
        let supervisor = start(Supervisor::new().child(mortal("a", &log)).child(loose), &runtime).await;
        let process = place.address().expect("it is up");
        let pid = process.pid();
        until(&runtime, || runtime.info(pid).is_some_and(|info| info.link_count == 0)).await;
        assert_eq!(supervisor.terminate_child("loose").await, Ok(()));
        assert_eq!(supervisor.restart_child("loose").await.map(|pid| pid.is_some()), Ok(true));
        let process = place.address().expect("it is up");
        let pid = process.pid();
        until(&runtime, || runtime.info(pid).is_some_and(|info| info.link_count == 0)).await;
        process.kill();
        process.ended().await;
        // Dead without its supervisor's knowledge: it is passed over when its turn comes to be stopped.
        assert!(supervisor.stop(LONG).await.is_clean());
    });
}

#[test]
fn auto_shutdown_ends_the_supervisor_when_its_significant_children_have_ended() {
    on_each_size(async |runtime| {
        for (auto, first_ends) in [(AutoShutdown::AnySignificant, true), (AutoShutdown::AllSignificant, false)] {
            let log = Log::default();
            let significant = |id| mortal(id, &log).restart(Restart::Transient).significant().build().expect("good");
            let (s, t) = (significant("s"), significant("t"));
            let (s_place, t_place) = (s.reference(), t.reference());
            let supervisor = Supervisor::new().auto_shutdown(auto).child(mortal("a", &log)).child(s).child(t);
            let supervisor = start(supervisor, &runtime).await;
            fall(&s_place, ExitReason::Normal).await;
            if !first_ends {
                until(&runtime, || state(&supervisor, "s") == Some(ChildState::Stopped)).await;
                assert!(supervisor.address().is_alive());
                fall(&t_place, ExitReason::Shutdown).await;
            }
            assert_eq!(supervisor.address().ended().await, ExitReason::Shutdown);
            assert_eq!(log.take(), "+a +s +t -s -t -a");
        }
    });
}

/// A message of a nested supervisor's type is nothing that users can make: its address serves to watch it.
#[test]
fn a_nested_supervisor_escalates_to_the_one_above() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let (inner_log, place) = (log.clone(), colloquium::ChildRef::vacant());
        let at = place.clone();
        let inner = ChildSpec::<SupervisorMessage>::supervisor("inner", move || {
            Supervisor::new().intensity(0, SECOND).child(mortal("x", &inner_log).at(&at))
        });
        let outer = Supervisor::new().intensity(1, 1000 * SECOND).child(mortal("a", &log)).child(inner);
        let outer = start(outer, &runtime).await;
        let old = fall(&place, bad()).await;
        successor(&runtime, &place, &old).await;
        assert_eq!(log.take(), "+a +x -x +x");
        until(&runtime, || picture(&outer) == "a up, inner up").await;
        fall(&place, bad()).await;
        assert_eq!(outer.address().ended().await, ExitReason::Shutdown);
        assert_eq!(log.take(), "-x -a");
    });
}
