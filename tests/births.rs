//! Driver: processes that are linked or monitored from birth, whoever dies meanwhile.
mod workers;

use colloquium::{Address, Context, Exit, ExitReason, RegisterError, Runtime, SpawnError};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use workers::{Msg, Probe, Seen, arrival, corpse, mortal, on_each_size, races, until, watcher};

async fn wait_for_ever(mut ctx: Context<()>) {
    ctx.recv().await;
}

fn is_panic(reason: &ExitReason, message: &str) -> bool {
    matches!(reason, ExitReason::Panicked(panic) if panic.message() == message)
}

/// However fast a linked child ends, its own reason comes; and that once.
#[test]
fn a_child_that_ends_at_once_gives_its_own_reason() {
    on_each_size(async |runtime| {
        let parent = Probe::trapping(&runtime);
        for round in 0..races() {
            let child = parent.ask(move |ctx| {
                let body = async move |_: Context<()>| ExitReason::error(round.to_string());
                if round % 2 == 0 {
                    ctx.spawn_link(body)
                } else {
                    ctx.spawn_monitor(body, Msg::down("")).map(|(child, _)| child)
                }
            });
            let told = match parent.next() {
                Seen::Exit(exit) => (exit.from, exit.reason),
                Seen::Down(_, down) => (down.pid, down.reason),
                note => panic!("{note:?}"),
            };
            assert_eq!(told, (Some(child.expect("room").pid()), ExitReason::error(round.to_string())));
        }
        parent.is_quiet();
        assert_eq!(parent.links(), []);
    });
}

/// The function that makes the body runs on the parent; its panic is the child's end.
#[test]
fn a_body_that_panics_while_it_is_made_gives_that_panic_to_the_linked() {
    on_each_size(async |runtime| {
        let parent = Probe::trapping(&runtime);
        let child = parent.ask(|ctx| ctx.spawn_link(|_: Context<()>| -> std::future::Ready<()> { panic!("unmade") }));
        let exit = parent.trapped();
        assert_eq!(exit.from, Some(child.expect("it is spawned all the same").pid()));
        assert!(is_panic(&exit.reason, "unmade"), "{exit:?}");
        parent.is_quiet();
    });
}

#[test]
fn a_body_that_panics_while_it_is_made_gives_that_panic_to_its_monitor() {
    on_each_size(async |runtime| {
        let parent = Probe::new(&runtime);
        parent.ask(|ctx| {
            let unmade = |_: Context<()>| -> std::future::Ready<()> { panic!("unmade") };
            ctx.spawn_monitor(unmade, Msg::down("")).expect("it is spawned all the same");
        });
        let down = parent.down();
        assert!(is_panic(&down.reason, "unmade"), "{down:?}");
        parent.is_quiet();
    });
}

#[test]
fn a_child_killed_while_its_body_is_made_gives_its_own_reason() {
    on_each_size(async |runtime| {
        for by_link in [true, false] {
            let parent = Probe::trapping(&runtime);
            parent.ask(move |ctx| {
                let killed = |child: Context<()>| {
                    child.address().kill();
                    wait_for_ever(child)
                };
                if by_link {
                    ctx.spawn_link(killed).expect("it is spawned");
                } else {
                    ctx.spawn_monitor(killed, Msg::down("")).expect("it is spawned");
                }
            });
            let reason = if by_link { parent.trapped().reason } else { parent.down().reason };
            assert_eq!(reason, ExitReason::Killed);
            parent.is_quiet();
        }
    });
}

/// The parent is doomed after the spawn began and before the link is made.
#[test]
fn a_parent_that_dies_while_it_spawns_takes_the_linked_child_with_it() {
    on_each_size(async |runtime| {
        for (sent, received) in [
            (ExitReason::Kill, Some(ExitReason::Killed)),
            (ExitReason::error("e"), Some(ExitReason::error("e"))),
            (ExitReason::Normal, None),
        ] {
            let (parent, (show, shown)) = (Probe::new(&runtime), channel());
            parent.tell(move |ctx| {
                let own = ctx.address();
                let child = ctx.spawn_link(move |child| {
                    own.exit(sent);
                    wait_for_ever(child)
                });
                show.send(child.expect("it was alive when it began")).expect("the test waits");
            });
            let child = arrival(&shown);
            parent.ended().await;
            match received {
                Some(reason) => assert_eq!(child.ended().await, reason),
                None => {
                    // As if it had been linked to one that then ended normally.
                    assert_eq!(runtime.info(child.pid()).expect("it lives").links, []);
                    child.kill();
                }
            }
        }
    });
}

#[test]
fn no_linked_child_outlives_a_parent_killed_at_any_moment() {
    on_each_size(async |runtime| {
        for round in 0..races() {
            let (at_work, works) = channel();
            let body = async move |mut ctx: Context<()>| {
                at_work.send(()).expect("the test waits");
                for _ in 0..200 {
                    match ctx.spawn_link(wait_for_ever) {
                        Ok(_) => {}
                        Err(SpawnError::Ending) => break,
                        Err(other) => panic!("{other}"),
                    }
                }
                ctx.recv().await;
            };
            let parent = runtime.spawn(body).expect("room");
            arrival(&works);
            for _ in 0..round {
                std::hint::spin_loop();
            }
            parent.kill();
            until(&runtime, || runtime.runtime_info().processes == 0).await;
        }
    });
}

#[test]
fn the_doomed_spawn_nobody() {
    on_each_size(async |runtime| {
        let (parent, called) = (Probe::new(&runtime), Arc::new(AtomicBool::new(false)));
        let (flag, (show, shown)) = (Arc::clone(&called), channel());
        parent.tell(move |ctx| {
            ctx.address().kill();
            let spawned = ctx.spawn_link(move |child| {
                flag.store(true, Ordering::SeqCst);
                wait_for_ever(child)
            });
            show.send(spawned).expect("the test waits");
        });
        assert_eq!(arrival(&shown), Err(SpawnError::Ending));
        parent.ended().await;
        assert!(!called.load(Ordering::SeqCst), "its body was not to be made");
        assert_eq!(runtime.runtime_info().processes, 0);
    });
}

/// A link from birth to one that has ended is a link to the dead: "no such process", never its own reason.
#[test]
fn linked_from_birth_to_the_dead_gives_noproc() {
    on_each_size(async |runtime| {
        for reason in [ExitReason::error("its own"), ExitReason::Normal, ExitReason::Killed] {
            let dead = corpse(&runtime, reason.clone()).await;
            let body = async |mut ctx: Context<ExitReason>| ctx.recv().await;
            let child = runtime.build().link_to(&dead).spawn(body).expect("room");
            // If it is spared, it ends by this.
            drop(child.send(ExitReason::error("it was linked to nobody")));
            assert_eq!(child.ended().await, ExitReason::NoProcess, "linked to one dead of: {reason}");
        }
    });
}

#[test]
fn linked_from_birth_to_another_is_not_linked_to_the_parent() {
    on_each_size(async |runtime| {
        let (parent, other) = (Probe::new(&runtime), mortal(&runtime));
        let target = other.clone();
        let child: Address<()> =
            parent.ask(move |ctx| ctx.build().link_to(&target).spawn(wait_for_ever).expect("room"));
        let info = runtime.info(child.pid()).expect("it lives");
        assert_eq!((info.links, info.parent), (vec![other.pid()], Some(parent.pid())));
        assert_eq!(parent.links(), []);
        other.send(ExitReason::error("r")).expect("it lives");
        assert_eq!(child.ended().await, ExitReason::error("r"));
        parent.is_quiet();
    });
}

#[test]
fn a_spawn_that_fails_leaves_no_link_no_monitor_and_no_process() {
    on_each_size(async |runtime| {
        let (holder, parent) = (Probe::named(&runtime, "taken"), Probe::trapping(&runtime));
        let before = runtime.runtime_info().processes;
        let (linked, monitored) = parent.ask(|ctx| {
            let linked = ctx.build().name("taken").link().spawn(wait_for_ever);
            let monitored = ctx.build().name("taken").spawn_monitor(wait_for_ever, Msg::down(""));
            (linked.map(drop), monitored.map(drop))
        });
        let taken = SpawnError::Name(RegisterError::Taken { name: "taken".into(), holder: holder.pid() });
        assert_eq!((linked, monitored), (Err(taken.clone()), Err(taken)));
        assert_eq!((parent.links(), parent.info().monitor_count), (vec![], 0));
        parent.is_quiet();
        assert_eq!(runtime.runtime_info().processes, before);
        assert_eq!(runtime.whereis::<Msg>("taken").as_ref(), Ok(&*holder));
        let watcher = watcher(&runtime, "taken");
        drop(holder);
        assert_eq!(watcher.down().reason, ExitReason::Killed);
    });
}

/// Who makes dormant processes, and gives each a body when it is woken for it.
struct Keeper {
    process: OnceLock<Address<ExitReason>>,
    woken: AtomicUsize,
    polled: AtomicBool,
}

impl Keeper {
    fn new() -> Arc<Self> {
        Arc::new(Self { process: OnceLock::new(), woken: AtomicUsize::new(0), polled: AtomicBool::new(false) })
    }

    fn born(
        self: &Arc<Self>,
        runtime: &Runtime,
        trapping: bool,
        linked: Option<&Address<ExitReason>>,
    ) -> Address<ExitReason> {
        let mut build = runtime.build();
        if trapping {
            build = build.trapping();
        }
        if let Some(peer) = linked {
            build = build.link_to(peer);
        }
        let process = build.spawn_dormant(Waker::from(Arc::clone(self))).expect("room for a process");
        self.process.set(process.clone()).expect("one at a time");
        if self.woken.load(Ordering::SeqCst) > 0 {
            self.rouse();
        }
        process
    }

    fn rouse(self: &Arc<Self>) {
        let Some(process) = self.process.get() else { return };
        let own = Arc::clone(self);
        process.rouse(async move |mut ctx: Context<ExitReason>| {
            own.polled.store(true, Ordering::SeqCst);
            ctx.trap_exits(|exit| ExitReason::error(format!("trapped {}", exit.reason)));
            ctx.recv().await
        });
    }
}

impl Wake for Keeper {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        self.rouse();
    }
}

/// What a dormant process may be woken by: a message, an exit that it traps from birth, a fatal exit, the end of a peer that
/// was dead before its birth.
#[test]
fn a_dormant_process_is_roused_when_something_happens_to_it() {
    workers::on_each_size(async |runtime| {
        let keeper = Keeper::new();
        let process = keeper.born(&runtime, false, None);
        assert!(runtime.info(process.pid()).is_some() && keeper.woken.load(Ordering::SeqCst) == 0);
        process.send(ExitReason::Shutdown).expect("it waits");
        assert_eq!(process.ended().await, ExitReason::Shutdown);
        assert!(!process.rouse(async |_| ()) && !process.retire(None), "it has had its body");
        let keeper = Keeper::new();
        let process = keeper.born(&runtime, false, None);
        process.exit(ExitReason::error("fatal"));
        assert_eq!(process.ended().await, ExitReason::error("fatal"));
        assert!(!keeper.polled.load(Ordering::SeqCst), "it never ran");
        let peer = workers::mortal(&runtime);
        let process = Keeper::new().born(&runtime, true, Some(&peer));
        peer.send(ExitReason::error("peer")).expect("it lives");
        assert_eq!(process.ended().await, ExitReason::error("trapped peer"));
        let dead = workers::corpse(&runtime, ExitReason::Normal).await;
        let trapped = Keeper::new().born(&runtime, true, Some(&dead)).ended().await;
        assert!(trapped.to_string().starts_with("trapped"), "{trapped}");
        assert_eq!(Keeper::new().born(&runtime, false, Some(&dead)).ended().await, ExitReason::NoProcess);
    });
}

/// Retired, a dormant process is gone at once, and its peer is not told; but not if anything has happened to it, or anybody else is
/// to be told.
#[test]
fn a_dormant_process_is_retired_only_if_nobody_is_to_be_told() {
    on_each_size(async |runtime| {
        let (peer, other) = (Probe::trapping(&runtime), Probe::trapping(&runtime));
        let dormant = |link: bool| {
            let build = runtime.build();
            let build = if link { build.link_to(&peer) } else { build };
            build.trapping().spawn_dormant::<ExitReason>(Waker::noop().clone()).expect("room for a process")
        };
        let ends = async |process: Address<ExitReason>| {
            assert!(process.rouse(async |mut ctx: Context<ExitReason>| {
                ctx.trap_exits(|exit| exit.reason);
                ctx.recv().await
            }));
            process.ended().await
        };
        let process = dormant(true);
        assert!(!process.retire(None) && !process.retire(Some(other.pid())), "it has a link to another");
        assert!(process.retire(Some(peer.pid())));
        assert!(!process.is_alive() && runtime.info(process.pid()).is_none());
        assert_eq!(process.ended().await, ExitReason::Normal);
        assert!(!process.retire(Some(peer.pid())) && !process.rouse(async |_| ()));
        assert_eq!(peer.links(), []);
        peer.is_quiet();

        let process = dormant(false);
        process.send(ExitReason::error("sent")).expect("it waits");
        assert!(!process.retire(None), "a message has come");
        assert_eq!(ends(process).await, ExitReason::error("sent"));
        let process = dormant(false);
        process.exit(ExitReason::error("told"));
        assert!(!process.retire(None), "a signal has come");
        assert_eq!(ends(process).await, ExitReason::error("told"));
        let process = dormant(false);
        process.kill();
        assert!(!process.retire(None), "it is killed");
        assert_eq!(ends(process).await, ExitReason::Killed);
        let process = dormant(true);
        other.link(process.pid());
        assert!(!process.retire(Some(peer.pid())), "another is linked to it");
        process.send(ExitReason::error("r")).expect("it waits");
        assert_eq!(ends(process).await, ExitReason::error("r"));
        assert_eq!((other.trapped().reason, peer.trapped().reason), (ExitReason::error("r"), ExitReason::error("r")));
        let process = dormant(false);
        let watcher = watcher(&runtime, process.pid());
        assert!(!process.retire(None), "somebody watches it");
        process.kill();
        assert_eq!(ends(process).await, ExitReason::Killed);
        assert_eq!(watcher.down().reason, ExitReason::Killed);
    });
}

/// What the function that makes a body asks for, on the spawner's thread, holds for the process.
#[test]
fn a_body_that_asks_for_exits_while_it_is_made_traps_them() {
    on_each_size(async |runtime| {
        let trapping = runtime.spawn(|mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            async move { ctx.recv().await.reason }
        });
        let trapping = trapping.expect("room");
        trapping.exit(ExitReason::error("told"));
        assert_eq!(trapping.ended().await, ExitReason::error("told"));
        let killed = runtime.build().trapping().spawn(|mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            async move { while ctx.recv().await.reason != ExitReason::Normal {} }
        });
        let killed = killed.expect("room");
        killed.exit(ExitReason::error("told"));
        assert!(killed.is_alive());
        killed.kill();
        assert_eq!(killed.ended().await, ExitReason::Killed);
    });
}
