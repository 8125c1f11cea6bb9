//! Supervisors under fire: random trees and kills, back-off, observers that look all the time, children that cannot be killed.

mod tree;
mod workers;

use colloquium::{
    Backoff, ChildRef, ChildSpec, ChildState, Context, ExitReason, Handle, NextAction, Observer, Restart, Runtime,
    Shutdown, Strategy, Supervisor, SupervisorState, Unavailable,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tree::{LONG, Log, SECOND, bad, fall, mortal, picture, seen, state, successor, very_many};
use workers::{Dice, SIZES, in_thread, on_each_size, on_sizes, until};

/// How many processes of a child live at a time: more than one would be one too many.
#[derive(Clone, Default)]
struct Places(Arc<Vec<AtomicUsize>>);

struct Held(Places, usize);

impl Places {
    fn new(children: usize) -> Self {
        Self(Arc::new((0..children).map(|_| AtomicUsize::new(0)).collect()))
    }

    fn hold(&self, child: usize) -> Held {
        assert_eq!(self.0[child].fetch_add(1, Ordering::SeqCst), 0, "child {child} is up twice");
        Held(self.clone(), child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0[self.1].fetch_sub(1, Ordering::SeqCst);
    }
}

fn strategy(dice: &mut Dice) -> Strategy {
    [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][dice.below(3) as usize]
}

fn leaf(number: usize, places: &Places, place: &ChildRef<ExitReason>) -> colloquium::ChildBuilder<ExitReason> {
    let places = places.clone();
    let leaf = ChildSpec::worker(format!("leaf-{number}"), move |mut ctx: Context<ExitReason>| {
        let held = places.hold(number);
        async move {
            let _held = held;
            ctx.recv().await
        }
    });
    leaf.at(place)
}

/// Three inner supervisors with three leaves each, and two leaves of the root's own.
fn random_tree(dice: &mut Dice, places: &Places, leaves: &[ChildRef<ExitReason>]) -> Supervisor {
    let intensity = dice.below(12) as u32;
    let mut root = Supervisor::new().strategy(strategy(dice)).intensity(intensity, 1000 * SECOND);
    for inner in 0..3 {
        let (strategy, intensity) = (strategy(dice), dice.below(6) as u32);
        let (places, leaves) = (places.clone(), leaves.to_vec());
        root = root.child(ChildSpec::supervisor(format!("inner-{inner}"), move || {
            let supervisor = Supervisor::new().strategy(strategy).intensity(intensity, 1000 * SECOND);
            (0..3)
                .map(|n| 3 * inner + n)
                .fold(supervisor, |supervisor, number| supervisor.child(leaf(number, &places, &leaves[number])))
        }));
    }
    [9, 10].into_iter().fold(root, |root, number| root.child(leaf(number, places, &leaves[number])))
}

/// The whole tree is up: every supervisor does nothing, and every child has a process that lives.
fn is_whole(runtime: &Handle, observer: &Observer) -> bool {
    observer.supervisor().state == SupervisorState::Up
        && observer.children().all(|child| {
            child.state == ChildState::Up
                && child.pid.is_some_and(|pid| runtime.is_alive(pid))
                && child.subtree.is_none_or(|subtree| is_whole(runtime, &subtree))
        })
}

#[test]
fn after_a_storm_every_permanent_child_is_up_or_its_supervisor_has_escalated() {
    on_each_size(async |runtime| {
        for round in 0..8 {
            let mut dice = Dice::new(round + 1);
            let places = Places::new(11);
            let leaves: Vec<ChildRef<ExitReason>> = (0..11).map(|_| ChildRef::vacant()).collect();
            let tree = random_tree(&mut dice, &places, &leaves);
            let supervisor = tree.start(&runtime).await.expect("it starts");
            for _ in 0..dice.below(30) {
                if let Ok(victim) = leaves[dice.below(11) as usize].address() {
                    match dice.below(3) {
                        0 => victim.kill(),
                        1 => drop(victim.send(bad())),
                        _ => drop(victim.send(ExitReason::Normal)),
                    }
                }
                if dice.below(2) == 0 {
                    runtime.sleep(Duration::from_micros(dice.below(300))).await;
                }
            }
            // The faults stop.
            let (observer, root) = (supervisor.observe(), supervisor.address().clone());
            let mut steady = 0;
            until(&runtime, || {
                // One whole look may be of a moment between a death and its notice.
                steady = if is_whole(&runtime, &observer) { steady + 1 } else { 0 };
                !root.is_alive() || steady == 3
            })
            .await;
            if root.is_alive() {
                assert!(supervisor.stop(LONG).await.is_clean());
            }
            assert_eq!(root.ended().await, ExitReason::Shutdown);
            until(&runtime, || runtime.processes().is_empty()).await;
            assert!(places.0.iter().all(|place| place.load(Ordering::SeqCst) == 0), "nothing is left");
        }
    });
}

#[test]
fn a_child_that_backs_off_says_when_it_comes_back_and_what_it_ended_of() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let backoff = Backoff::default().first(1000 * SECOND).cap(1000 * SECOND);
        let spec = mortal("b", &log).backoff(backoff).build().expect("good");
        let b = spec.reference();
        let supervisor = Supervisor::new().intensity(0, SECOND).child(mortal("a", &log)).child(spec);
        let supervisor = supervisor.start(&runtime).await.expect("it starts");
        let old = fall(&b, bad()).await;
        successor(&runtime, &b, &old).await;
        fall(&b, ExitReason::error("worse")).await;
        until(&runtime, || matches!(b.address(), Err(Unavailable::Restarting { next: Some(_) }))).await;
        assert_eq!(picture(&supervisor), "a up, b back-off");
        let child = seen(&supervisor, "b").expect("it is there");
        let Some(NextAction::Start(at)) = child.next else { panic!("{child:?}") };
        assert!(at >= child.since && at <= child.since + 1000 * SECOND);
        assert_eq!((child.unhealthy, child.starts, child.pid), (Some((2, 10)), 2, None));
        let reasons: Vec<_> = child.exits.iter().map(|exit| exit.reason.to_string()).collect();
        assert_eq!(reasons, ["bad", "worse"]);
        let Err(Unavailable::Restarting { next: Some(next) }) = b.address() else { panic!("{b:?}") };
        assert!(next <= 1000 * SECOND);
        let refused = b.send(bad()).expect_err("nobody is there");
        assert!(matches!(refused.kind(), colloquium::ChildSendErrorKind::Unavailable(Unavailable::Restarting { .. })));
        assert_eq!(refused.into_message(), bad());
        // By hand, at once.
        assert!(supervisor.restart_child("b").await.expect("it starts").is_some());
        assert_eq!(picture(&supervisor), "a up, b up");
        fall(&b, bad()).await;
        until(&runtime, || state(&supervisor, "b") == Some(ChildState::BackOff)).await;
        // A stop does not wait for it either.
        assert!(supervisor.stop(LONG).await.is_clean());
        assert_eq!(log.take(), "+a +b -b +b -b +b -b -a");
    });
}

#[test]
fn a_child_that_backs_off_comes_back_by_itself_and_is_given_up_in_the_end() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let backoff = Backoff::default().first(Duration::from_millis(1)).give_up_after(6);
        let spec = mortal("b", &log).backoff(backoff).build().expect("good");
        let b = spec.reference();
        let supervisor = Supervisor::new().intensity(0, SECOND).child(spec).start(&runtime).await.expect("it starts");
        for _ in 0..5 {
            let old = fall(&b, bad()).await;
            successor(&runtime, &b, &old).await;
        }
        fall(&b, bad()).await;
        assert_eq!(supervisor.address().ended().await, ExitReason::Shutdown);
        assert_eq!(b.address(), Err(Unavailable::Gone));
    });
}

#[test]
fn an_observer_that_looks_all_the_time_delays_nobody_and_sees_every_child_once() {
    on_sizes(&SIZES, async |runtime| {
        let log = Log::default();
        let ids: Vec<String> = (0..600).map(|n| format!("child-{n}")).collect();
        let specs: Vec<_> = ids
            .iter()
            .map(|id| ChildSpec::worker(id.clone(), async |mut ctx: Context<ExitReason>| ctx.recv().await))
            .map(|spec| spec.build().expect("good"))
            .collect();
        let places: Vec<ChildRef<ExitReason>> = specs.iter().map(ChildSpec::reference).collect();
        let supervisor = specs.into_iter().fold(Supervisor::new().intensity(10_000, SECOND), Supervisor::child);
        let supervisor = supervisor.child(mortal("last", &log)).start(&runtime).await.expect("it starts");
        let (observer, over) = (supervisor.observe(), Arc::new(AtomicBool::new(false)));
        let looker = in_thread({
            let over = Arc::clone(&over);
            move || {
                let mut looks = 0;
                while !over.load(Ordering::SeqCst) || looks == 0 {
                    let seen: Vec<String> = observer.children().map(|child| child.id.to_string()).collect();
                    assert!(seen[..600] == ids && seen[600] == "last" && seen.len() == 601);
                    looks += 1;
                }
            }
        });
        for place in &places[..200] {
            let old = fall(place, bad()).await;
            successor(&runtime, place, &old).await;
        }
        over.store(true, Ordering::SeqCst);
        looker.join().expect("it saw what was to be seen");
        assert!(supervisor.stop(LONG).await.is_clean());
    });
}

#[test]
fn a_child_whose_poll_does_not_return_is_reported_as_wedged_and_holds_nobody_up() {
    on_sizes(&[4], async |runtime| {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (held, log) = (Arc::new(std::sync::Mutex::new(held)), Log::default());
        let entered = Arc::new(AtomicBool::new(false));
        let inside = Arc::clone(&entered);
        let stuck = ChildSpec::worker("stuck", move |_: Context<()>| {
            let (held, inside) = (Arc::clone(&held), Arc::clone(&inside));
            async move {
                inside.store(true, Ordering::SeqCst);
                let _ = held.lock().expect("no panic").recv();
            }
        });
        let stuck = stuck.shutdown(Shutdown::BrutalKill).restart(Restart::Temporary);
        let supervisor = Supervisor::new().child(mortal("a", &log)).child(stuck).child(mortal("b", &log));
        let supervisor = supervisor.start(&runtime).await.expect("it starts");
        until(&runtime, || entered.load(Ordering::SeqCst)).await;
        let pid = seen(&supervisor, "stuck").and_then(|child| child.pid).expect("it is up");
        assert_eq!(supervisor.terminate_child("stuck").await, Ok(()));
        let wedged = supervisor.observe().supervisor().wedged;
        assert_eq!(wedged.iter().map(|wedged| (&*wedged.id, wedged.pid)).collect::<Vec<_>>(), [("stuck", pid)]);
        assert_eq!(picture(&supervisor), "a up, b up");
        let report = supervisor.stop(LONG).await;
        assert_eq!((report.reason.clone(), report.wedged.len(), report.is_clean()), (ExitReason::Shutdown, 1, false));
        assert_eq!(log.take(), "+a +b -b -a");
        drop(release);
        until(&runtime, || runtime.processes().is_empty()).await;
    });
}

async fn many_static(runtime: &Runtime, children: usize) {
    let alive = Arc::new(AtomicUsize::new(0));
    let mut supervisor = Supervisor::new();
    for n in 0..children {
        let alive = Arc::clone(&alive);
        supervisor = supervisor.child(ChildSpec::worker(n.to_string(), move |mut ctx: Context<()>| {
            alive.fetch_add(1, Ordering::SeqCst);
            let alive = workers::OnDrop({
                let alive = Arc::clone(&alive);
                move || {
                    alive.fetch_sub(1, Ordering::SeqCst);
                }
            });
            async move {
                let _alive = alive;
                ctx.recv().await;
            }
        }));
    }
    let supervisor = supervisor.start(runtime).await.expect("it starts");
    assert_eq!(alive.load(Ordering::SeqCst), children);
    let counts = supervisor.count_children().await.expect("an answer");
    assert_eq!((counts.specs, counts.active), (children, children));
    supervisor.address().exit(ExitReason::Shutdown);
    assert_eq!(supervisor.address().ended().await, ExitReason::Shutdown);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn very_many_static_children_are_started_and_stopped() {
    on_sizes(&SIZES, async |runtime| {
        many_static(&runtime, very_many(&runtime)).await;
    });
}
