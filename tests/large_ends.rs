//! Driver: ends with many to tell: hubs, long chains, and what the linked do while their turn has not come.
mod workers;

use colloquium::simulation::is_simulated;
use colloquium::{Context, Exit, ExitReason, Pid, Runtime, sometimes};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use workers::{Act, Msg, OnDrop, Probe, Seen, mortal, on_each_size, on_sizes, races, some_of, until, watcher};

/// Simulated, enough for some polls of telling.
fn hub_size() -> usize {
    if is_simulated() { 150 } else { 100_000 }
}

/// What the linked of a hub have seen of its end, and how far a bystander had got each time.
#[derive(Default)]
struct Told {
    dead: AtomicUsize,
    trapped: AtomicUsize,
    strange: AtomicUsize,
    beats: AtomicUsize,
    first: AtomicUsize,
    last: AtomicUsize,
}

impl Told {
    fn note(&self) {
        let beats = self.beats.load(Ordering::SeqCst);
        self.first.fetch_min(beats, Ordering::SeqCst);
        self.last.fetch_max(beats, Ordering::SeqCst);
    }
}

/// Every other one traps exits.
async fn spoke(mut ctx: Context<Exit>, traps: bool, told: Arc<Told>) {
    if traps {
        ctx.trap_exits(|exit| exit);
        let exit = ctx.recv().await;
        told.note();
        told.strange.fetch_add(usize::from(exit.reason != ExitReason::error("hub")), Ordering::SeqCst);
        told.trapped.fetch_add(1, Ordering::SeqCst);
    } else {
        let _state = OnDrop(|| {
            told.note();
            told.dead.fetch_add(1, Ordering::SeqCst);
        });
        ctx.recv().await;
    }
}

#[test]
fn a_hub_of_100_000_links_tells_all_and_lets_others_run_meanwhile() {
    on_each_size(async |runtime| {
        let told = Arc::new(Told { first: AtomicUsize::new(usize::MAX), ..Told::default() });
        let hub = mortal(&runtime);
        let ready = Arc::new(AtomicUsize::new(0));
        for i in 0..hub_size() {
            let (told, ready) = (Arc::clone(&told), Arc::clone(&ready));
            let body = async move |ctx: Context<Exit>| {
                let body = spoke(ctx, i % 2 == 0, told);
                ready.fetch_add(1, Ordering::SeqCst);
                body.await;
            };
            runtime.build().link_to(&hub).spawn(body).expect("room for all");
        }
        until(&runtime, || ready.load(Ordering::SeqCst) == hub_size()).await;
        assert_eq!(runtime.info(hub.pid()).expect("it lives").link_count, hub_size());
        let beats = Arc::clone(&told);
        let bystander = runtime
            .spawn(async move |mut ctx: Context<()>| {
                loop {
                    beats.beats.fetch_add(1, Ordering::SeqCst);
                    ctx.yield_now().await;
                }
            })
            .expect("room");
        hub.send(ExitReason::error("hub")).expect("it lives");
        until(&runtime, || told.dead.load(Ordering::SeqCst) + told.trapped.load(Ordering::SeqCst) == hub_size()).await;
        assert_eq!((told.dead.load(Ordering::SeqCst), told.strange.load(Ordering::SeqCst)), (hub_size() / 2, 0));
        if runtime.runtime_info().workers.len() <= 1 {
            // With more workers the bystander may have one to itself, or none while the system runs another thread.
            let turns = told.last.load(Ordering::SeqCst) - told.first.load(Ordering::SeqCst);
            sometimes!("a bystander has its turns while a hub tells", turns > 1);
            assert!(is_simulated() || turns > 100, "the bystander had {turns} turns meanwhile");
        }
        bystander.kill();
        until(&runtime, || runtime.runtime_info().processes == 0).await;
    });
}

#[test]
fn a_hub_of_100_000_monitors_tells_all() {
    on_each_size(async |runtime| {
        let (hub, watcher) = (mortal(&runtime), Probe::new(&runtime));
        let target = hub.clone();
        watcher.ask(move |ctx| {
            for _ in 0..hub_size() {
                ctx.monitor(&target, Msg::down(""));
            }
        });
        assert_eq!(runtime.info(hub.pid()).expect("it lives").monitored_by_count, hub_size());
        hub.send(ExitReason::error("hub")).expect("it lives");
        let mut references: Vec<_> = (0..hub_size())
            .map(|_| watcher.down())
            .inspect(|down| assert_eq!(down.reason, ExitReason::error("hub")))
            .map(|down| down.monitor)
            .collect();
        references.sort_unstable();
        references.dedup();
        assert_eq!(references.len(), hub_size(), "one for each");
        watcher.is_quiet();
    });
}

/// The stack of a worker would not hold an end within an end so often.
#[test]
fn a_chain_of_20_000_dies_link_by_link_without_recursion() {
    on_each_size(async |runtime| {
        let first = mortal(&runtime);
        let mut last = first.clone();
        for _ in 1..if is_simulated() { 200 } else { 20_000 } {
            let body = async |mut ctx: Context<ExitReason>| ctx.recv().await;
            last = runtime.build().link_to(&last).spawn(body).expect("room for a process");
        }
        first.kill();
        assert_eq!(last.ended().await, ExitReason::Killed);
        until(&runtime, || runtime.runtime_info().processes == 0).await;
    });
}

/// The same when a death drops the only address of the next and with it a guard that ends that one.
#[test]
fn a_chain_of_1000_scoped_dies_without_recursion() {
    on_each_size(async |runtime| {
        let mut outermost = mortal(&runtime).scoped();
        for _ in 1..some_of(1000) {
            let body = async move |mut ctx: Context<ExitReason>| {
                let _inner = outermost;
                ctx.recv().await
            };
            outermost = runtime.build().spawn_scoped(body).expect("room for a process");
        }
        drop(outermost);
        until(&runtime, || runtime.runtime_info().processes == 0).await;
    });
}

/// On one worker, a hub dies with two trapping probes at the ends of its links and a thousand others between. Whichever
/// of the two is told first lets the other do `act`, while the hub still has others to tell. What that other is told.
fn while_a_hub_tells(runtime: &Runtime, act: impl FnOnce(&mut Context<Msg>, Pid) + Send + 'static) -> Vec<ExitReason> {
    let (hub, ends) = (mortal(runtime), [Probe::trapping(runtime), Probe::trapping(runtime)]);
    let pid = hub.pid();
    let act: Act = Box::new(move |ctx| act(ctx, pid));
    let act = Arc::new(Mutex::new(Some(act)));
    let told_last = Arc::new(AtomicUsize::new(usize::MAX));
    ends[0].link(hub.clone());
    for _ in 0..1000 {
        let body = async |mut ctx: Context<ExitReason>| ctx.recv().await;
        runtime.build().link_to(&hub).spawn(body).expect("room");
    }
    ends[1].link(hub.clone());
    for (end, other) in [(0, 1), (1, 0)] {
        let (act, told_last, address) = (Arc::clone(&act), Arc::clone(&told_last), ends[other].clone());
        ends[end].ask(move |ctx| {
            ctx.trap_exits(move |exit| {
                if let Some(act) = act.lock().expect("no panic under it").take() {
                    told_last.store(other, Ordering::SeqCst);
                    address.send(Msg::Do(act)).expect("it lives");
                }
                Msg::exit(exit)
            });
        });
    }
    let watcher = watcher(runtime, hub.clone());
    hub.kill();
    watcher.down();
    ends.iter().for_each(|end| end.ask(|_| ()));
    let acted = &ends[told_last.load(Ordering::SeqCst)];
    let reason = |seen| if let Seen::Exit(exit) = seen { exit.reason } else { panic!("{seen:?}") };
    acted.shown().into_iter().map(reason).collect()
}

#[test]
fn s_006_unlinked_by_pid_while_the_peer_still_tells_others_is_unlinked() {
    on_sizes(&[1], async |runtime| {
        let unlinked = while_a_hub_tells(&runtime, Context::unlink);
        assert_eq!(unlinked, [], "unlink had returned");
    });
}

/// The link stands until its exit comes; linking again does nothing.
#[test]
fn linked_again_by_pid_while_the_peer_still_tells_others_gives_one_exit() {
    on_sizes(&[1], async |runtime| {
        let exits = while_a_hub_tells(&runtime, Context::link);
        assert_eq!(exits, [ExitReason::Killed]);
    });
}

#[test]
fn those_who_unlink_from_a_dying_hub_in_time_survive_it() {
    on_each_size(async |runtime| {
        for _ in 0..5 {
            let hub = mortal(&runtime);
            let spokes: Vec<_> = (0..races()).map(|_| Probe::new(&runtime)).collect();
            for spoke in &spokes {
                spoke.link(hub.clone());
            }
            let watcher = watcher(&runtime, hub.clone());
            let mut saved = Vec::new();
            for (i, spoke) in spokes.iter().enumerate() {
                if i == races() / 4 {
                    hub.kill();
                }
                let hub = hub.clone();
                // One that the hub's end had reached before may still get to say that it has not survived.
                let in_time = spoke.ask_if_alive(move |ctx| {
                    ctx.unlink(hub);
                    ctx.address().is_alive()
                });
                if in_time == Some(true) {
                    saved.push(spoke);
                }
            }
            assert_eq!(watcher.down().reason, ExitReason::Killed);
            assert!(saved.len() >= races() / 4);
            saved.into_iter().for_each(Probe::is_quiet);
        }
    });
}
