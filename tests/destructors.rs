//! Driver: what a process leaves is dropped before anybody is told of its end, and never under a lock.
mod workers;

use colloquium::{Address, Context, ExitReason, Handle, LookupError, Pid};
use std::fmt;
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use workers::{Msg, OnDrop, Probe, arrival, corpse, in_thread, mortal, on_each_size, on_threads, races, watcher};

/// How a process comes to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Returns,
    Fails,
    Panics,
    ExitsItself,
    Killed,
    Link,
}

const ENDS: [End; 6] = [End::Returns, End::Fails, End::Panics, End::ExitsItself, End::Killed, End::Link];

/// Something whose drop is counted.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Holds ten counted things: in its body, in its closures, set aside, in a drawn batch, and in its mailbox.
async fn hold_much(mut ctx: Context<Option<Counted>>, end: End, dropped: Arc<AtomicUsize>, peer: Address<ExitReason>) {
    let counted = move || Counted(Arc::clone(&dropped));
    let (own, in_body, in_trap, in_down) = (ctx.address(), [counted(), counted()], counted(), counted());
    if matches!(end, End::Link) {
        ctx.link(&peer);
    } else {
        ctx.trap_exits(move |_| {
            let _kept = &in_trap;
            None
        });
    }
    ctx.monitor(&peer, move |_| {
        drop(in_down);
        None
    });
    for message in [Some(counted()), None, Some(counted()), Some(counted())] {
        own.send(message).expect("it lives");
    }
    ctx.recv_matching(Option::is_none).await;
    for _ in 0..3 {
        own.send(Some(counted())).expect("it lives");
    }
    match end {
        End::Returns => {}
        End::Fails => drop(in_body),
        End::Panics => panic_any(counted()),
        End::ExitsItself => ctx.exit(ExitReason::Kill).await,
        End::Killed => own.kill(),
        End::Link => peer.kill(),
    }
    if !matches!(end, End::Returns | End::Fails) {
        loop {
            ctx.yield_now().await;
        }
    }
}

#[test]
fn state_and_messages_are_dropped_before_anybody_is_told() {
    on_each_size(async |runtime| {
        for round in 0..races() {
            let end = ENDS[round % ENDS.len()];
            let (dropped, peer) = (Arc::new(AtomicUsize::new(0)), mortal(&runtime));
            let (counter, to_link) = (Arc::clone(&dropped), peer.clone());
            let watcher = Probe::trapping(&runtime);
            let expected = if matches!(end, End::Panics) { 11 } else { 10 };
            let at_down = Arc::clone(&dropped);
            watcher.ask(move |ctx| {
                let body = move |child| hold_much(child, end, counter, to_link);
                let map = move |down| {
                    assert_eq!(at_down.load(Ordering::SeqCst), expected, "told too early: {end:?}");
                    Msg::down("")(down)
                };
                ctx.spawn_monitor(body, map).expect("room");
            });
            watcher.down();
            assert_eq!(dropped.load(Ordering::SeqCst), expected, "each once: {end:?}");
            peer.kill();
        }
    });
}

/// `ended()`, a call and a link are told no earlier than a monitor.
#[test]
fn state_is_dropped_before_waiters_callers_and_links_are_told() {
    on_threads(async |runtime| {
        for _ in 0..races() {
            let dropped = Arc::new(AtomicUsize::new(0));
            let (state, now) = (Counted(Arc::clone(&dropped)), || dropped.load(Ordering::SeqCst));
            let body = async move |mut ctx: Context<colloquium::ReplyTo<()>>| {
                let (_state, _unanswered) = (state, ctx.recv().await);
                ctx.recv().await;
            };
            let process = runtime.spawn(body).expect("room");
            let linked = Probe::trapping(&runtime);
            linked.link(process.clone());
            let (caller, waiter) = (process.clone(), process.ended());
            let handle = runtime.handle();
            let killer = process.clone();
            let thread =
                in_thread(move || handle.block_on(caller.call(|reply_to| reply_to).no_timeout()).map_err(drop));
            killer.kill();
            linked.trapped();
            assert_eq!(now(), 1);
            assert_eq!((waiter.await, now()), (ExitReason::Killed, 1));
            assert_eq!(thread.join().expect("it was told"), Err(()));
        }
    });
}

/// Uses its process's and the runtime's services when it is dropped: each takes some lock.
#[derive(Clone)]
struct Nosy {
    runtime: Handle,
    pid: Pid,
    other: Address<Msg>,
}

impl Nosy {
    fn look(&self) {
        let Self { runtime, pid, other } = self;
        assert!(runtime.info(*pid).is_none() && !runtime.processes().contains(pid));
        assert_eq!(runtime.whereis::<Msg>("nosy"), Err(LookupError::NoProcess));
        runtime.exit(*pid, ExitReason::error("again"));
        runtime.exit(other, ExitReason::Normal);
        other.send(Msg::note(1)).expect("it lives");
        assert!(runtime.info(other.pid()).is_some());
        assert_eq!(runtime.register("nosy", *pid), Err(colloquium::RegisterError::Dead));
        let spawned = runtime.spawn(async |_: Context<()>| ()).expect("room");
        spawned.kill();
        other.send_after(std::time::Duration::ZERO, Msg::note(2));
    }
}

struct NosyMessage(Arc<Nosy>);

impl Drop for NosyMessage {
    fn drop(&mut self) {
        self.0.look();
    }
}

#[test]
fn destructors_may_use_the_runtime() {
    on_each_size(async |runtime| {
        for round in 0..races() / 10 {
            let other = Probe::new(&runtime);
            let (address, peer) = (other.clone(), mortal(&runtime));
            let to_watch = peer.clone();
            let body = async move |mut ctx: Context<Option<NosyMessage>>| {
                let nosy = Arc::new(Nosy { runtime: ctx.runtime(), pid: ctx.pid(), other: address });
                let message = || Some(NosyMessage(Arc::clone(&nosy)));
                ctx.register("nosy").expect("free");
                let (in_trap, in_down, own) = (message(), message(), ctx.address());
                ctx.trap_exits(move |_| {
                    let _kept = &in_trap;
                    None
                });
                ctx.monitor(&to_watch, move |_| in_down);
                let _state = message();
                for message in [message(), None, message()] {
                    own.send(message).expect("it lives");
                }
                ctx.recv_matching(Option::is_none).await;
                own.send(message()).expect("it lives");
                if round % 2 == 0 {
                    own.kill();
                } else {
                    ctx.exit(ExitReason::Kill).await;
                }
                ctx.recv().await;
            };
            let process = runtime.spawn(body).expect("room");
            let reason = watcher(&runtime, process).down().reason;
            assert!(matches!(reason, ExitReason::Killed | ExitReason::NoProcess), "{reason}");
            assert_eq!(other.next(), workers::Seen::Note(1), "a destructor ran, to its end");
            peer.kill();
        }
    });
}

/// The cause of a reason, with a destructor that sends to a process.
#[derive(Debug)]
struct Sends(Address<ExitReason>);

impl fmt::Display for Sends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sends")
    }
}

impl std::error::Error for Sends {}

impl Drop for Sends {
    fn drop(&mut self) {
        drop(self.0.send(ExitReason::error("from a destructor")));
    }
}

/// The dead take no signal: its reason is dropped where it was sent, and under no lock of the receiver's.
#[test]
fn a_reason_sent_to_the_dead_is_dropped_outside_locks() {
    on_each_size(async |runtime| {
        let dead = corpse(&runtime, ExitReason::Normal).await;
        dead.exit(ExitReason::error(Sends(dead.clone())));
        runtime.exit(&dead, ExitReason::error(Sends(dead.clone())));
        let (sender, target) = (Probe::new(&runtime), dead.clone());
        sender.ask(move |ctx| ctx.send_exit(&target, ExitReason::error(Sends(target.clone()))));
        assert_eq!(dead.ended().await, ExitReason::Normal);
    });
}

/// The same for what a body returns when its fate was fixed before.
#[test]
fn an_unused_reason_is_dropped_outside_locks() {
    on_each_size(async |runtime| {
        let body = async |ctx: Context<ExitReason>| {
            ctx.address().kill();
            ExitReason::error(Sends(ctx.address()))
        };
        assert_eq!(runtime.spawn(body).expect("room").ended().await, ExitReason::Killed);
    });
}

/// A mapping that is given up is dropped then, outside locks, and not kept until the end.
#[test]
fn mappings_are_dropped_when_they_are_given_up() {
    on_each_size(async |runtime| {
        let (p, q) = (Probe::new(&runtime), mortal(&runtime));
        let (show, shown) = channel();
        let tell = move |what: &'static str| {
            let show = show.clone();
            OnDrop(move || show.send(what).expect("the test waits"))
        };
        let target = q.clone();
        p.ask(move |ctx| {
            let (first, second, watch) = (tell("trap"), tell("kept"), tell("watch"));
            ctx.trap_exits(move |exit| {
                let _kept = &first;
                Msg::exit(exit)
            });
            ctx.trap_exits(move |exit| {
                let _kept = &second;
                Msg::exit(exit)
            });
            let reference = ctx.monitor(&target, move |down| {
                let _kept = &watch;
                Msg::down("")(down)
            });
            ctx.demonitor(reference);
        });
        assert_eq!([arrival(&shown), arrival(&shown)], ["trap", "watch"]);
        p.is_quiet();
        assert!(shown.try_recv().is_err());
        p.kill();
        assert_eq!(arrival(&shown), "kept");
    });
}
