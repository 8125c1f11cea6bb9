//! Children sets: very many short-lived children under one node, with no process in the way of their starts and ends.

mod tree;
mod workers;

use colloquium::{
    Address, ChildSpec, ChildrenSet, Context, Dormant, Exit, ExitReason, Handle, JoinError, Mailbox, Origin, Peer,
    Runtime, Shutdown, SpawnError, Supervisor, SupervisorRef,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::task::{Wake, Waker};
use std::time::Duration;
use tree::{LONG, bad, successor};
use workers::{SIZES, in_thread, on_each_size, on_sizes, on_threads, until};

async fn held(set: &ChildrenSet, runtime: &Runtime) -> SupervisorRef {
    Supervisor::new().child(ChildSpec::set("set", set)).start(runtime).await.expect("it starts")
}

/// A member that ends with what it is sent.
fn mortal(set: &ChildrenSet) -> Result<Address<ExitReason>, JoinError> {
    set.spawn(async |mut ctx: Context<ExitReason>| ctx.recv().await)
}

#[test]
fn members_leave_by_themselves_and_are_counted() {
    on_each_size(async |runtime| {
        let set = ChildrenSet::builder().max_children(3).build();
        assert_eq!(mortal(&set).err(), Some(JoinError::Closed));
        let supervisor = held(&set, &runtime).await;
        let holder = tree::seen(&supervisor, "set").and_then(|child| child.pid).expect("it is up");
        let members = [mortal(&set), mortal(&set), mortal(&set)].map(|member| member.expect("there is room"));
        assert_eq!(mortal(&set).err(), Some(JoinError::Full(3)));
        let mut pids = set.members();
        pids.sort();
        let mut expected: Vec<_> = members.iter().map(Address::pid).collect();
        expected.sort();
        assert_eq!(pids, expected);
        assert!(members.iter().all(|member| runtime.info(member.pid()).and_then(|info| info.parent) == Some(holder)));
        members[0].send(ExitReason::Normal).expect("it lives");
        members[1].send(bad()).expect("it lives");
        members[2].kill();
        for member in &members {
            member.ended().await;
        }
        assert_eq!((set.len(), set.totals().started, set.totals().abnormal), (0, 3, 2));
        let panicking: Result<Address<()>, _> =
            set.spawn(|_: Context<()>| -> std::future::Ready<()> { panic!("as told") });
        assert!(matches!(panicking.expect("a process").ended().await, ExitReason::Panicked(_)));
        let refused = set.spawn_with(|build| build.mailbox(Mailbox::bounded(0)), async |_: Context<()>| ());
        assert_eq!(refused.err(), Some(JoinError::Spawn(SpawnError::EmptyMailbox)));
        let again = [mortal(&set), mortal(&set), mortal(&set)];
        assert!(again.iter().all(Result::is_ok), "every place was given back");
        assert!(supervisor.stop(LONG).await.is_clean());
        assert_eq!((set.len(), mortal(&set).err()), (0, Some(JoinError::Closed)));
    });
}

#[test]
fn all_are_stopped_together_and_those_that_do_not_hear_are_killed() {
    on_each_size(async |runtime| {
        let set = ChildrenSet::builder().shutdown(Shutdown::After(Duration::from_millis(20))).build();
        let supervisor = held(&set, &runtime).await;
        let mut members = Vec::new();
        for n in 0..40 {
            let member = set.spawn(move |mut ctx: Context<Option<Exit>>| {
                ctx.trap_exits(Some);
                async move {
                    while n % 2 == 1 || ctx.recv().await.is_none() {
                        ctx.recv().await;
                    }
                }
            });
            members.push(member.expect("there is room"));
        }
        assert!(supervisor.stop(LONG).await.is_clean());
        for (n, member) in members.iter().enumerate() {
            let expected = if n % 2 == 1 { ExitReason::Killed } else { ExitReason::Normal };
            assert_eq!(member.ended().await, expected);
        }
        assert!(set.is_empty() && set.wedged().is_empty());
    });
}

#[test]
fn a_killed_holder_takes_its_members_along_and_its_successor_opens_the_set_anew() {
    on_each_size(async |runtime| {
        let set = ChildrenSet::new();
        let spec = ChildSpec::set("set", &set).build().expect("good");
        let place = spec.reference();
        let supervisor = Supervisor::new().child(spec).start(&runtime).await.expect("it starts");
        let member = set.spawn(|mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            async move {
                loop {
                    ctx.recv().await;
                }
            }
        });
        let member = member.expect("there is room");
        let holder = place.address().expect("it is up");
        holder.kill();
        assert_eq!(member.ended().await, ExitReason::Killed);
        successor(&runtime, &place, &holder).await;
        until(&runtime, || set.is_open()).await;
        assert!(mortal(&set).is_ok());
        assert!(supervisor.stop(LONG).await.is_clean());
        assert!(set.is_empty());
    });
}

/// Whatever the moment, a member is either refused or seen by the stop.
#[test]
fn nobody_slips_in_while_the_set_is_closed() {
    on_sizes(&SIZES, async |runtime| {
        for _ in 0..30 {
            let set = ChildrenSet::new();
            let supervisor = held(&set, &runtime).await;
            let spawners: Vec<_> = (0..2)
                .map(|_| set.clone())
                .map(|set| {
                    in_thread(move || {
                        let mut members = Vec::new();
                        while let Ok(member) = mortal(&set) {
                            members.push(member);
                        }
                        members
                    })
                })
                .collect();
            until(&runtime, || set.len() > 10).await;
            assert!(supervisor.stop(LONG).await.is_clean());
            for spawner in spawners {
                let members = spawner.join().expect("no panic");
                assert!(members.iter().all(|member| !member.is_alive()));
            }
            assert_eq!(set.len(), 0);
        }
    });
}

struct Sleeper {
    origin: Origin,
    runtime: Handle,
    woken: AtomicBool,
}

impl Sleeper {
    fn new(runtime: &Runtime) -> Arc<Self> {
        Arc::new(Self { origin: Origin::new(), runtime: runtime.handle(), woken: AtomicBool::new(false) })
    }

    fn retire(&self) -> bool {
        self.runtime.retire::<_, ()>(self, None)
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
        None
    }

    fn waker(self: Arc<Self>) -> Waker {
        Waker::from(self)
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
    }
}

/// A dormant member belongs to the set until its place is given back, and the set's end reaches it as any other.
#[test]
fn dormant_members_are_counted_and_stopped_like_others() {
    on_each_size(async |runtime| {
        let set = ChildrenSet::builder().max_children(2).build();
        let dormant = || {
            let sleeper = Sleeper::new(&runtime);
            set.spawn_dormant(&sleeper).map(|(pid, seat)| (sleeper, pid, seat))
        };
        assert_eq!(dormant().err(), Some(JoinError::Closed));
        let supervisor = held(&set, &runtime).await;
        let (sleeper, member, seat) = dormant().expect("there is room");
        assert_eq!((set.members(), set.len()), (vec![member], 1));
        let (ended, pid, abnormal) = dormant().expect("there is room");
        assert_eq!(dormant().err(), Some(JoinError::Full(2)));
        assert!(ended.retire());
        drop(set.membership(pid, abnormal));
        assert_eq!((set.len(), set.totals().started, set.totals().abnormal), (1, 2, 1));
        let (ended, pid, orderly) = dormant().expect("its place was given back");
        assert!(ended.retire());
        set.leave(pid, orderly);
        assert_eq!((set.len(), set.totals().started, set.totals().abnormal), (1, 3, 1));
        let stopping = runtime.spawn(async move |_: Context<()>| {
            assert!(supervisor.stop(LONG).await.is_clean());
        });
        let stopping = stopping.expect("room for a process");
        let process = runtime.address_of::<()>(member).expect("it lives");
        until(&runtime, || sleeper.woken.load(Ordering::SeqCst)).await;
        assert!(!sleeper.retire(), "it was told to stop");
        let membership = set.membership(member, seat);
        let (tell, told) = channel();
        assert!(runtime.rouse(member, |mut ctx: Context<()>| {
            ctx.trap_exits(move |exit| drop(tell.send(exit.reason)));
            async move {
                ctx.recv().await;
                membership.leave();
                told.try_recv().unwrap_or(ExitReason::Normal)
            }
        }));
        assert_eq!(process.ended().await, ExitReason::Shutdown);
        assert_eq!(stopping.ended().await, ExitReason::Normal);
        assert!(set.is_empty());
    });
}

/// A set that is held open in another runtime has no place for a dormant process of this one.
#[test]
fn dormant_members_are_of_the_sets_own_runtime() {
    on_threads(async |runtime| {
        let set = ChildrenSet::new();
        let supervisor = held(&set, &runtime).await;
        let other = Runtime::builder().workers(1).build().expect("a thread");
        let refused = set.spawn_dormant(&Sleeper::new(&other)).err();
        assert_eq!(refused, Some(JoinError::Spawn(SpawnError::Ending)));
        assert_eq!((set.len(), other.processes().len()), (0, 0));
        supervisor.stop(LONG).await;
    });
}
