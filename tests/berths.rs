//! Dispatch: conversations are processes like any other, though their places in the process table are kept by their group.
mod group;
mod workers;

use colloquium::prelude::*;
use colloquium::{Down, Pid, SpawnError};
use group::{Job, Made, gate, group_of};
use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::time::Duration;
use workers::{LONG, on_each_size, on_threads, some_of, until};

async fn roomy(runtime: &Runtime, room: u32) -> DispatchConversation<Job, u64> {
    Made { room, grace: Duration::from_millis(5), ..Made::default() }.start(runtime, 1).await
}

/// Each is shown, counted and linked, and gone with its message.
#[test]
fn a_conversation_in_a_berth_is_seen_like_any_process() {
    on_each_size(async |runtime| {
        let group = roomy(&runtime, 3).await;
        let (before, consumer) =
            (runtime.runtime_info().processes, group.group().consumers()[0].pid.expect("it is up"));
        for _ in 0..3 {
            let (open, closed) = gate();
            let waits = group.dispatch(Job::Wait(closed.clone())).deadline(LONG).start();
            let more: Vec<_> =
                (0..2).map(|_| group.dispatch(Job::Wait(closed.clone())).deadline(LONG).start()).collect();
            let conversations: BTreeSet<Pid> = group.supervisor().conversations().into_iter().collect();
            assert_eq!((conversations.len(), group.supervisor().len()), (3, 3));
            assert_eq!(runtime.runtime_info().processes, before + 3);
            let all: BTreeSet<Pid> = runtime.processes().into_iter().collect();
            assert!(conversations.is_subset(&all), "{conversations:?} of {all:?}");
            for pid in &conversations {
                let info = runtime.info(*pid).expect("it lives");
                assert_eq!(info.links, [consumer]);
                assert!(runtime.info(info.parent.expect("it has one")).is_some());
            }
            let links: BTreeSet<Pid> = runtime.info(consumer).expect("it is up").links.into_iter().collect();
            assert!(conversations.is_subset(&links), "{conversations:?} of {links:?}");
            open.open();
            for conversation in more.into_iter().chain([waits]) {
                conversation.await.expect("completed");
            }
            until(&runtime, || group.supervisor().is_empty()).await;
            assert!(conversations.iter().all(|pid| !runtime.is_alive(*pid) && runtime.info(*pid).is_none()));
            until(&runtime, || runtime.runtime_info().processes == before).await;
        }
        assert_eq!(group.drain(LONG).await.left, 0);
    });
}

/// What is done to an old pid is not done to the next conversation in its berth.
#[test]
fn no_two_conversations_have_one_pid() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let mut pids = BTreeSet::new();
        for number in 0..some_of(400) {
            let (open, closed) = gate();
            let conversation = group.dispatch(Job::Wait(closed)).deadline(LONG).start();
            let [pid] = group.supervisor().conversations()[..] else { panic!("there is one") };
            assert!(pids.insert(pid), "{pid} again, at {number}");
            // Those that were looked at have had to be taken out of their berths; others not.
            if number % 3 == 0 {
                assert!(runtime.info(pid).is_some());
            }
            for old in pids.iter().filter(|old| **old != pid) {
                runtime.exit(*old, ExitReason::Kill);
            }
            open.open();
            conversation.await.expect("nobody has killed it");
            until(&runtime, || group.supervisor().is_empty()).await;
        }
        assert_eq!(group.group().snapshot().totals.rerouted, 0);
    });
}

/// Whoever kills a conversation that is over, or is about to be, does nothing to the consumer that it was linked to.
#[test]
fn the_kill_of_a_conversation_that_is_over_is_not_its_consumers() {
    on_threads(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let up = group.group().consumers()[0].pid;
        for number in 0..some_of(8000) {
            let (open, closed) = gate();
            let conversation = group.dispatch(Job::Wait(closed)).deadline(LONG).start();
            let [pid] = group.supervisor().conversations()[..] else { panic!("there is one") };
            // It has a control block from now on.
            assert!(runtime.info(pid).is_some());
            open.open();
            conversation.await.expect("nobody has killed it yet");
            (0..number % 64).for_each(|_| std::hint::spin_loop());
            runtime.exit(pid, ExitReason::Kill);
            assert_eq!(group.dispatch(Job::Double(1)).await.expect("completed").into_output(), 2);
            assert_eq!(group.group().consumers()[0].pid, up, "at {number}");
            until(&runtime, || group.supervisor().is_empty()).await;
        }
        assert_eq!(group.group().snapshot().totals.rerouted, 0);
    });
}

/// A conversation may be killed, watched and told to end, and its message knows.
#[test]
fn a_conversation_in_a_berth_can_be_watched_and_killed() {
    on_each_size(async |runtime| {
        let group = roomy(&runtime, 2).await;
        for reason in [None, Some(ExitReason::Kill), Some(ExitReason::Shutdown)] {
            let (open, closed) = gate();
            let conversation = group.dispatch(Job::Wait(closed)).deadline(LONG).start();
            let [pid] = group.supervisor().conversations()[..] else { panic!("there is one") };
            until(&runtime, || group.group().consumers()[0].started == 1).await;
            let (tell, told) = channel::<Down>();
            let (watching, watches) = channel();
            let watcher = runtime.spawn(async move |mut ctx: Context<Down>| {
                ctx.monitor(&pid, |down| down);
                watching.send(()).expect("waited for");
                tell.send(ctx.recv().await).expect("waited for");
            });
            let watcher = watcher.expect("room");
            until(&runtime, || watches.try_recv().is_ok()).await;
            match reason.clone() {
                None => {
                    open.open();
                    conversation.await.expect("completed");
                }
                Some(reason) => {
                    runtime.exit(pid, reason);
                    assert_eq!(conversation.await.expect_err("it is over").kind(), Conversation);
                }
            }
            watcher.ended().await;
            // Not before: a conversation whose handler completes meanwhile has ended as any.
            open.open();
            let down = told.try_recv().expect("it was told");
            let expected = match reason {
                None => ExitReason::Normal,
                Some(ExitReason::Kill) => ExitReason::Killed,
                Some(reason) => reason,
            };
            assert_eq!((down.pid, down.reason), (Some(pid), expected));
            until(&runtime, || group.supervisor().is_empty()).await;
        }
        let totals = group.group().snapshot().totals;
        assert_eq!(totals.dispatched, 3, "{totals:?}");
    });
}

/// A conversation that is to see to the end of a cancelled handler may find the message over before it has a body.
#[test]
fn a_conversation_that_is_roused_as_it_ends_leaves_no_link() {
    on_threads(async |runtime| {
        let group = Made { grace: LONG, ..Made::default() }.start(&runtime, 1).await;
        let consumer = group.group().consumers()[0].pid.expect("it is up");
        let links = || runtime.info(consumer).map(|info| info.link_count);
        let before = links();
        for _ in 0..workers::races() {
            let (open, closed) = gate();
            let conversation = group.dispatch(Job::Wait(closed)).deadline(LONG).start();
            until(&runtime, || group.group().consumers()[0].started == 1).await;
            let other = workers::in_thread(move || drop(conversation));
            open.open();
            other.join().expect("nothing panics");
            until(&runtime, || group.supervisor().is_empty()).await;
        }
        until(&runtime, || links() == before).await;
    });
}

struct Echoes;

impl SharedConsumer for Echoes {
    type Message = u64;
    type Output = u64;

    async fn handle(&self, number: Delivery<u64>) -> Result<u64, Failure> {
        Ok(*number)
    }
}

/// Whoever handles them: one after the other, side by side, or by hand.
#[test]
fn no_link_is_left_of_conversations_that_are_over() {
    on_each_size(async |runtime| {
        let plain = ConsumerRegistration::function(async |number: Delivery<u64>| Ok(*number));
        let shared = ConsumerRegistration::shared(async || Ok::<_, std::io::Error>(Echoes));
        let by_hand = ConsumerRegistration::process(async |mut inbox: Deliveries<u64, u64>| {
            while let Some(work) = inbox.next().await {
                let number = *work;
                work.complete(number);
            }
            ExitReason::Shutdown
        });
        for registration in [plain, shared, by_hand] {
            let group =
                ConsumerGroup::alike("echo", 1, &registration).room(8).start(&*runtime).await.expect("it starts");
            let consumer = group.group().consumers()[0].pid.expect("it is up");
            let links = || runtime.info(consumer).map(|info| info.link_count);
            let before = links();
            for _ in 0..5 {
                let all: Vec<_> = (0..8).map(|number| group.dispatch(number).start()).collect();
                for conversation in all {
                    conversation.await.expect("completed");
                }
            }
            until(&runtime, || links() == before).await;
            assert_eq!(group.drain(LONG).await.left, 0);
        }
    });
}

/// Berths that nobody has give way to processes; and at the limit, a dispatch says so.
#[test]
fn the_limit_on_processes_is_exact_beside_berths() {
    const LIMIT: usize = 100;
    on_threads(async |runtime| {
        let workers = runtime.runtime_info().workers.len();
        let bounded = Runtime::builder().workers(workers).max_processes(LIMIT).build().expect("threads");
        let group = roomy(&bounded, 50).await;
        let base = bounded.runtime_info().processes;
        for _ in 0..3 {
            let waiting: Vec<_> = (0..50).map(|_| group.dispatch(Job::Wait(gate().1)).deadline(LONG).start()).collect();
            drop(waiting);
            until(&bounded, || group.supervisor().is_empty()).await;
            assert_eq!(group.dispatch(Job::Double(4)).await.expect("there is room").into_output(), 8);
            // A consumer that was killed, and who saw to that, may still be on their way out.
            until(&bounded, || bounded.runtime_info().processes == base).await;
            let idle = || bounded.spawn(async |mut ctx: Context<()>| ctx.recv().await);
            let filling: Vec<_> = (base..LIMIT).map(|at| idle().unwrap_or_else(|e| panic!("{e}, {at}"))).collect();
            assert_eq!(bounded.runtime_info().processes, LIMIT);
            assert!(matches!(idle(), Err(SpawnError::ProcessLimit(LIMIT))));
            let refused = group.dispatch(Job::Double(5)).await.expect_err("there is no room");
            assert_eq!(refused.kind(), NotStarted);
            for process in filling {
                process.kill();
                process.ended().await;
            }
        }
        bounded.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

#[test]
fn a_group_that_is_gone_leaves_no_berths() {
    const LIMIT: usize = 150;
    on_threads(async |runtime| {
        let workers = runtime.runtime_info().workers.len();
        let bounded = Runtime::builder().workers(workers).max_processes(LIMIT).build().expect("threads");
        for _ in 0..20 {
            let group = roomy(&bounded, 64).await;
            let all: Vec<_> = (0..60).map(|number| group.dispatch(Job::Double(number)).start()).collect();
            for conversation in all {
                conversation.await.expect("completed");
            }
            assert_eq!(group.drain(LONG).await.left, 0);
            drop(group);
            until(&bounded, || bounded.runtime_info().processes == 0).await;
        }
        let idle = || bounded.spawn(async |mut ctx: Context<()>| ctx.recv().await);
        let filling: Vec<_> = (0..LIMIT).map(|at| idle().unwrap_or_else(|e| panic!("{e}, {at}"))).collect();
        assert!(matches!(idle(), Err(SpawnError::ProcessLimit(LIMIT))));
        drop(filling);
        bounded.shutdown(LONG).await.into_result().expect("nobody is wedged");
    });
}

/// Conversations that begin while the runtime shuts down are refused or found, and no shutdown waits for one in vain.
#[test]
fn a_shutdown_ends_what_is_in_berths() {
    on_threads(async |runtime| {
        let workers = runtime.runtime_info().workers.len();
        for _ in 0..workers::races() / 10 {
            let ending = Runtime::builder().workers(workers).build().expect("threads");
            let group = roomy(&ending, 64).await;
            let dispatching = group.clone();
            let other = workers::in_thread(move || {
                let mut begun = Vec::new();
                for number in 0..200 {
                    begun.push(dispatching.dispatch(Job::Double(number)).start());
                    begun.push(dispatching.dispatch(Job::Wait(gate().1)).start());
                }
                begun
            });
            let report = ending.shutdown(LONG).await;
            assert!(report.wedged.is_empty(), "{report:?}");
            assert_eq!(ending.runtime_info().processes, 0);
            for conversation in other.join().expect("nothing panics") {
                // Whatever it is, it is there.
                let _outcome = conversation.await;
            }
        }
    });
}
