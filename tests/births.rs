//! Driver: processes that are linked or monitored from birth, whoever dies meanwhile.
mod workers;

use colloquium::{
    Address, Context, Dormant, DormantLink, Exit, ExitReason, Handle, Origin, Peer, Pid, RegisterError, Runtime,
    SendErrorKind, SpawnError,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use workers::{Msg, Probe, Seen, arrival, corpse, in_thread, mortal, on_each_size, on_threads, races, until, watcher};

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

/// What a dormant process is linked to: it ends when it is told so, and takes no notice of anything else.
type Hub = Address<Option<ExitReason>>;

fn hub(runtime: &Runtime) -> Hub {
    let body = async |mut ctx: Context<Option<ExitReason>>| loop {
        if let Some(reason) = ctx.recv().await {
            return reason;
        }
    };
    runtime.spawn(body).expect("room for a process")
}

/// A dormant process, and what gives it a body when it is woken.
struct Sleeper {
    origin: Origin,
    runtime: Handle,
    hub: Option<Hub>,
    rouses: bool,
    woken: AtomicUsize,
    polled: AtomicBool,
    pid: OnceLock<Pid>,
}

impl Sleeper {
    /// One that is roused when it is woken, or else by hand.
    fn new(runtime: &Runtime, hub: Option<&Hub>, rouses: bool) -> Arc<Self> {
        let (origin, runtime, woken, polled) =
            (Origin::new(), runtime.handle(), AtomicUsize::new(0), AtomicBool::new(false));
        let sleeper = Self { origin, runtime, hub: hub.cloned(), rouses, woken, polled, pid: OnceLock::new() };
        let sleeper = Arc::new(sleeper);
        let pid = sleeper.runtime.spawn_dormant(&sleeper, None).expect("room for a process");
        sleeper.pid.set(pid).expect("it is set once");
        if let Some(hub) = hub {
            hub.send_linked(None, &*sleeper).expect("it lives").wake();
        }
        sleeper
    }

    fn pid(&self) -> Pid {
        *self.pid.get().expect("it was spawned")
    }

    fn address(&self) -> Address<()> {
        self.runtime.address_of(self.pid()).expect("it lives")
    }

    fn retire(&self) -> bool {
        self.runtime.retire(self, self.hub.as_ref())
    }

    fn rouse(self: &Arc<Self>) -> bool {
        let own = Arc::clone(self);
        let (tell, told) = channel();
        self.runtime.rouse(self.pid(), async move |mut ctx: Context<()>| {
            own.polled.store(true, Ordering::SeqCst);
            ctx.trap_exits(move |exit| drop(tell.send(exit.reason)));
            ctx.recv().await;
            told.try_recv()
                .map_or(ExitReason::error("a message"), |reason| ExitReason::error(format!("trapped {reason}")))
        })
    }

    fn woken(&self) -> usize {
        self.woken.load(Ordering::SeqCst)
    }
}

impl Dormant for Sleeper {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn peer(&self) -> Option<Peer> {
        self.hub.as_ref().map(Peer::from)
    }

    fn waker(self: Arc<Self>) -> Waker {
        Waker::from(self)
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        if self.rouses {
            self.rouse();
        }
    }
}
/// What a dormant process may be woken by: a message, an exit, which it traps, a kill, the end of its peer.
#[test]
fn a_dormant_process_is_roused_when_something_happens_to_it() {
    on_each_size(async |runtime| {
        let sleeper = Sleeper::new(&runtime, None, true);
        assert!(runtime.is_alive(sleeper.pid()) && runtime.processes().contains(&sleeper.pid()));
        let process = sleeper.address();
        assert_eq!((sleeper.woken(), runtime.info(process.pid()).map(|info| info.traps_exits)), (0, Some(true)));
        process.send(()).expect("it waits");
        assert_eq!(process.ended().await, ExitReason::error("a message"));
        assert!(!sleeper.rouse() && !sleeper.retire(), "it has had its body");

        let sleeper = Sleeper::new(&runtime, None, true);
        let process = sleeper.address();
        runtime.exit(process.pid(), ExitReason::error("told"));
        assert_eq!(process.ended().await, ExitReason::error("trapped told"));

        let sleeper = Sleeper::new(&runtime, None, true);
        let process = sleeper.address();
        process.kill();
        assert_eq!(process.ended().await, ExitReason::Killed);
        assert!(!sleeper.polled.load(Ordering::SeqCst), "it never ran");

        let hub = hub(&runtime);
        let sleeper = Sleeper::new(&runtime, Some(&hub), true);
        assert_eq!(runtime.info(hub.pid()).map(|info| (info.links, info.link_count)), Some((vec![sleeper.pid()], 1)));
        let watcher = watcher(&runtime, sleeper.pid());
        hub.send(Some(ExitReason::error("hub"))).expect("it lives");
        assert_eq!(watcher.down().reason, ExitReason::error("trapped hub"));

        // One that nobody has looked at before its peer ends.
        let hub = self::hub(&runtime);
        let sleeper = Sleeper::new(&runtime, Some(&hub), true);
        hub.kill();
        until(&runtime, || sleeper.polled.load(Ordering::SeqCst)).await;
        until(&runtime, || !runtime.is_alive(sleeper.pid())).await;
    });
}

/// A message for one that is dead comes back, and nobody is told.
#[test]
fn a_dormant_process_is_linked_with_a_message_or_not_at_all() {
    on_each_size(async |runtime| {
        let hub = hub(&runtime);
        hub.kill();
        hub.ended().await;
        let sleeper = Sleeper::new(&runtime, None, true);
        let error = hub.send_linked(Some(ExitReason::Normal), &*sleeper).expect_err("it is dead");
        assert_eq!((error.kind(), error.into_message()), (SendErrorKind::NoProcess, Some(ExitReason::Normal)));
        assert_eq!((sleeper.woken(), sleeper.retire()), (0, true));
    });
}

/// Retired, a dormant process is gone at once, and its peer is not told; but not if anything has happened to it, or anybody else is
/// to be told.
#[test]
fn a_dormant_process_is_retired_only_if_nobody_is_to_be_told() {
    on_each_size(async |runtime| {
        let (hub, other) = (hub(&runtime), Probe::trapping(&runtime));
        let dormant = |linked: bool| Sleeper::new(&runtime, linked.then_some(&hub), false);
        let links = || runtime.info(hub.pid()).map(|info| info.links).expect("it lives");
        for looked_at in [false, true] {
            let sleeper = dormant(true);
            if looked_at {
                assert_eq!(runtime.info(sleeper.pid()).map(|info| info.links), Some(vec![hub.pid()]));
                assert!(!runtime.retire::<_, ()>(&*sleeper, None), "it has a link");
            }
            assert_eq!(links(), [sleeper.pid()]);
            assert!(sleeper.retire());
            assert!(!runtime.is_alive(sleeper.pid()) && runtime.info(sleeper.pid()).is_none());
            assert!(!sleeper.retire() && !sleeper.rouse());
            assert_eq!((links(), sleeper.woken()), (vec![], 0));
        }
        let ends = async |sleeper: &Arc<Sleeper>, process: Address<()>| {
            assert!(!sleeper.retire() && sleeper.woken() == 1);
            assert!(sleeper.rouse());
            process.ended().await
        };
        let sleeper = dormant(true);
        let process = sleeper.address();
        process.send(()).expect("it waits");
        assert_eq!(ends(&sleeper, process).await, ExitReason::error("a message"));
        let sleeper = dormant(false);
        let process = sleeper.address();
        process.exit(ExitReason::error("told"));
        assert_eq!(ends(&sleeper, process).await, ExitReason::error("trapped told"));
        let sleeper = dormant(false);
        let process = sleeper.address();
        process.kill();
        assert_eq!(ends(&sleeper, process).await, ExitReason::Killed);
        let sleeper = dormant(false);
        let process = sleeper.address();
        other.link(process.pid());
        assert!(!sleeper.retire(), "another is linked to it");
        process.send(()).expect("it waits");
        assert_eq!(ends(&sleeper, process).await, ExitReason::error("a message"));
        assert_eq!(other.trapped().reason, ExitReason::error("a message"));
        let sleeper = dormant(false);
        let watcher = watcher(&runtime, sleeper.pid());
        assert!(!sleeper.retire(), "somebody watches it");
        sleeper.address().kill();
        assert!(sleeper.rouse());
        assert_eq!(watcher.down().reason, ExitReason::Killed);
    });
}

/// A peer that has done with them forgets dormant processes: its end is not told to them. Those that somebody has looked at know of
/// their links themselves.
#[test]
fn a_peer_forgets_dormant_processes() {
    on_each_size(async |runtime| {
        let (give, given) = channel::<DormantLink>();
        let hub = runtime.spawn(async move |mut ctx: Context<Option<ExitReason>>| {
            loop {
                if let Some(reason) = ctx.recv().await {
                    return reason;
                }
                ctx.forget_dormant(&mut given.try_iter().collect());
            }
        });
        let hub = hub.expect("room for a process");
        let [forgotten, kept, seen] = [0; 3].map(|_| Sleeper::new(&runtime, Some(&hub), true));
        let seen_by = watcher(&runtime, seen.pid());
        until(&runtime, || runtime.info(hub.pid()).is_some_and(|info| info.mailbox == 0)).await;
        for sleeper in [&forgotten, &seen] {
            give.send(sleeper.origin.link(sleeper.pid())).expect("the hub lives");
        }
        hub.send(None).expect("it lives");
        let links = || runtime.info(hub.pid()).map(|info| info.links).unwrap_or_default();
        until(&runtime, || links().len() == 2).await;
        assert!(!links().contains(&forgotten.pid()) && links().contains(&kept.pid()));
        let kept_by = watcher(&runtime, kept.pid());
        hub.send(Some(ExitReason::error("hub"))).expect("it lives");
        assert_eq!(kept_by.down().reason, ExitReason::error("trapped hub"));
        assert_eq!(seen_by.down().reason, ExitReason::error("trapped hub"));
        assert_eq!(forgotten.woken(), 0);
        assert!(runtime.retire::<_, ()>(&*forgotten, None));
    });
}

/// Dormant processes are retired, looked at, killed, and lose their peers, all at once: each is retired or runs, and their peers have no
/// links to any that is not there.
#[test]
fn dormant_processes_end_once_whatever_happens_to_them_at_the_same_time() {
    on_threads(async |runtime| {
        for round in 0..races() {
            let hub = hub(&runtime);
            let sleepers: Vec<Arc<Sleeper>> = (0..8).map(|_| Sleeper::new(&runtime, Some(&hub), true)).collect();
            let disturb = {
                let (runtime, hub, sleepers) = (runtime.clone(), hub.clone(), sleepers.clone());
                in_thread(move || {
                    for (number, sleeper) in sleepers.iter().enumerate() {
                        match (number + round) % 4 {
                            0 => runtime.exit(sleeper.pid(), ExitReason::Kill),
                            1 => drop(runtime.info(sleeper.pid())),
                            2 => drop(runtime.address_of::<()>(sleeper.pid()).map(|address| address.send(()))),
                            _ => {}
                        }
                    }
                    if round % 2 == 0 {
                        hub.kill();
                    }
                })
            };
            let retired: Vec<bool> = sleepers.iter().map(|sleeper| sleeper.retire()).collect();
            disturb.join().expect("no panic");
            for (sleeper, retired) in sleepers.iter().zip(retired) {
                until(&runtime, || !runtime.is_alive(sleeper.pid())).await;
                assert!(retired || sleeper.woken() > 0);
            }
            let hubs = || runtime.info(hub.pid()).map_or(0, |info| info.link_count);
            until(&runtime, || hubs() == 0).await;
            hub.kill();
        }
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
