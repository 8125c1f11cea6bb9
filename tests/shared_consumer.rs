//! Consumers that handle messages side by side: what they share, also of each other's ends.
mod group;
mod workers;

use colloquium::prelude::*;
use colloquium::{ConversationSupervisor, GroupBuilder, OnCancel, Reached};
use group::{Gate, gate};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use workers::{LONG, Probe, on_each_size, until};

enum Task {
    /// Waits until so many are at it at once.
    Meet(usize),
    Wait(Gate),
    /// Panics at its first delivery, once it is let through.
    Panic(Gate, AtomicU64),
    Hang,
    /// Begins once, and completes when it begins again.
    OnceMore(AtomicU64),
}

#[derive(Default)]
struct Host {
    met: Mutex<Vec<Gate>>,
    openers: Mutex<Vec<group::Opener>>,
}

impl SharedConsumer for Host {
    type Message = Task;
    type Output = ();

    async fn handle(&self, task: Delivery<Task>) -> Result<(), Failure> {
        match &*task {
            Task::Meet(all) => {
                let (opener, gate) = gate();
                self.openers.lock().expect("no panic with it").push(opener);
                let here = {
                    let mut met = self.met.lock().expect("no panic with it");
                    met.push(gate.clone());
                    met.len()
                };
                if here >= *all {
                    self.openers.lock().expect("no panic with it").iter().for_each(group::Opener::open);
                }
                gate.passed().await;
            }
            Task::Wait(gate) => gate.passed().await,
            Task::Panic(gate, begun) => {
                let before = begun.fetch_add(1, Ordering::SeqCst);
                if before == 0 {
                    gate.passed().await;
                    panic!("as told");
                }
            }
            Task::Hang => std::future::pending().await,
            Task::OnceMore(begun) => {
                if begun.fetch_add(1, Ordering::SeqCst) == 0 {
                    std::future::pending::<()>().await;
                }
            }
        }
        Ok(())
    }
}

fn hosts(consumers: usize, room: u32) -> GroupBuilder<Task, ()> {
    let registration = ConsumerRegistration::shared(async || Ok::<_, std::io::Error>(Host::default())).room(room);
    ConsumerGroup::alike("hosts", consumers, &registration)
}

async fn started(runtime: &Runtime, group: &DispatchConversation<Task, ()>, many: u32) {
    until(runtime, || group.group().consumers().iter().map(|consumer| consumer.started).sum::<u32>() == many).await;
}

#[test]
fn messages_are_handled_side_by_side_up_to_the_room() {
    on_each_size(async |runtime| {
        let group = hosts(1, 3).start(&*runtime).await.expect("it starts");
        let meeting: Vec<_> = (0..3).map(|_| group.dispatch(Task::Meet(3)).start()).collect();
        for conversation in meeting {
            assert_eq!(conversation.await.expect("they meet").attempts(), 1);
        }
        // No more than that: the fourth waits for one of three.
        let (opener, gate) = gate();
        let three: Vec<_> = (0..3).map(|_| group.dispatch(Task::Wait(gate.clone())).start()).collect();
        started(&runtime, &group, 3).await;
        let fourth = group.dispatch(Task::Wait(gate.clone())).start();
        let snapshot = group.group().snapshot();
        assert_eq!((snapshot.consumers[0].started, snapshot.waiting), (3, 1));
        opener.open();
        for conversation in three.into_iter().chain([fourth]) {
            conversation.await.expect("it is let through");
        }
    });
}

/// R3: of those that had begun, the one whose handler panicked is blamed; the others go on elsewhere, at no charge.
#[test]
fn a_panic_is_blamed_on_its_own_message_only() {
    on_each_size(async |runtime| {
        let group = hosts(1, 4).attempts(2).poison_after(2).start(&*runtime).await.expect("it starts");
        let (opener, gate) = gate();
        let others: Vec<_> = (0..2).map(|_| group.dispatch(Task::OnceMore(AtomicU64::new(0))).start()).collect();
        let once = group.dispatch(Task::Hang).at_most_once().start();
        let bad = group.dispatch(Task::Panic(gate, AtomicU64::new(0))).start();
        started(&runtime, &group, 4).await;
        opener.open();
        assert_eq!(bad.await.expect("the second try completes it").attempts(), 2);
        for other in others {
            assert_eq!(other.await.expect("it is tried again").attempts(), 2);
        }
        let error = once.await.expect_err("it had begun");
        assert_eq!(error.kind(), MaybeCompleted);
        assert_eq!(error.attempts()[0].reached, Reached::Started);
        let totals = group.group().snapshot().totals;
        assert_eq!((totals.crashed, totals.lost, totals.restarts), (1, 3, 1));
    });
}

/// R2: nobody else can be spared when a handler does not stop in time.
#[test]
fn a_handler_that_does_not_stop_takes_the_process_with_it() {
    on_each_size(async |runtime| {
        let grace = Duration::from_millis(20);
        let group = hosts(1, 2).cancel_grace(grace).start(&*runtime).await.expect("it starts");
        let other = group.dispatch(Task::OnceMore(AtomicU64::new(0))).start();
        let hangs = group.dispatch(Task::Hang).deadline(grace).start();
        assert_eq!(hangs.await.expect_err("nobody completes it").kind(), DeadlineExceeded);
        assert_eq!(other.await.expect("it is tried again").attempts(), 2);
        until(&runtime, || group.supervisor().is_empty()).await;
        let totals = group.group().snapshot().totals;
        assert_eq!((totals.crashed, totals.restarts), (1, 1));
    });
}

#[test]
fn a_kill_is_nobodys_fault() {
    on_each_size(async |runtime| {
        let group = hosts(1, 2).attempts(1).poison_after(1).start(&*runtime).await.expect("it starts");
        let both: Vec<_> = (0..2).map(|_| group.dispatch(Task::OnceMore(AtomicU64::new(0))).start()).collect();
        started(&runtime, &group, 2).await;
        let pid = group.group().consumers()[0].pid.expect("it is up");
        runtime.exit(pid, ExitReason::Kill);
        for conversation in both {
            assert_eq!(conversation.await.expect("it is tried again").attempts(), 2);
        }
    });
}

/// R3: what came along a link of the process makes all suspect that had begun there, and counts as an attempt of each; of what waited,
/// it does not.
#[test]
fn an_abnormal_exit_along_a_link_makes_all_that_had_begun_suspect() {
    on_each_size(async |runtime| {
        let group = hosts(1, 2).attempts(1).start(&*runtime).await.expect("it starts");
        let both: Vec<_> = (0..2).map(|_| group.dispatch(Task::Hang).start()).collect();
        started(&runtime, &group, 2).await;
        let waits = group.dispatch(Task::OnceMore(AtomicU64::new(1))).start();
        let linked = Probe::new(&runtime);
        linked.link(group.group().consumers()[0].pid.expect("it is up"));
        runtime.exit(linked.pid(), ExitReason::error("its other half"));
        for conversation in both {
            let error = conversation.await.expect_err("that was its only attempt");
            assert_eq!((error.kind(), error.attempts().len()), (Poisoned, 1));
            assert_eq!(error.attempts()[0].reached, Reached::Started);
        }
        assert_eq!(waits.await.expect("it had not begun").attempts(), 1);
        let totals = group.group().snapshot().totals;
        assert_eq!((totals.crashed, totals.lost, totals.restarts), (0, 2, 1), "suspects are not blamed: {totals:?}");
    });
}

#[test]
fn dropping_a_dispatch_tells_its_handler_and_no_other() {
    on_each_size(async |runtime| {
        let told = Arc::new(AtomicU64::new(0));
        let registration = ConsumerRegistration::shared(async || Ok::<_, std::io::Error>(Listener)).room(2);
        let group = ConsumerGroup::alike("listeners", 1, &registration).start(&*runtime).await.expect("it starts");
        let stays = group.dispatch(Arc::clone(&told)).start();
        let goes = group.dispatch(Arc::clone(&told)).start();
        until(&runtime, || group.group().consumers()[0].started == 2).await;
        drop(goes);
        until(&runtime, || told.load(Ordering::SeqCst) == 1).await;
        until(&runtime, || group.group().consumers()[0].started == 1).await;
        drop(stays);
        until(&runtime, || told.load(Ordering::SeqCst) == 2).await;
        until(&runtime, || group.supervisor().is_empty()).await;
        assert_eq!(group.group().snapshot().totals.restarts, 0);
    });
}

/// Counts when it learns that nobody wants its result.
struct Listener;

impl SharedConsumer for Listener {
    type Message = AtomicU64;
    type Output = ();

    async fn handle(&self, told: Delivery<AtomicU64>) -> Result<(), Failure> {
        told.cancelled().await;
        told.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_drain_finishes_all_that_has_begun() {
    on_each_size(async |runtime| {
        let group = hosts(1, 3).start(&*runtime).await.expect("it starts");
        let (opener, gate) = gate();
        let three: Vec<_> = (0..3).map(|_| group.dispatch(Task::Wait(gate.clone())).start()).collect();
        started(&runtime, &group, 3).await;
        let draining = group.clone();
        let drained = runtime.spawn(async move |_: Context<()>| assert_eq!(draining.drain(LONG).await.left, 0));
        let drained = drained.expect("room for a process");
        until(&runtime, || group.group().snapshot().closing).await;
        opener.open();
        for conversation in three {
            conversation.await.expect("it is finished first");
        }
        assert_eq!(drained.ended().await, ExitReason::Normal);
        assert!(ConversationSupervisor::len(group.supervisor()) == 0);
    });
}

/// R14: with `Stop`, the handler that nobody waits for is dropped alone; those beside it and their process go on.
#[test]
fn a_handler_is_stopped_beside_others() {
    on_each_size(async |runtime| {
        let group = hosts(1, 3).on_cancel(OnCancel::Stop).cancel_grace(LONG).start(&*runtime).await.expect("it starts");
        let (opener, gate) = gate();
        let other = group.dispatch(Task::Wait(gate)).start();
        let hang = group.dispatch(Task::Hang).start();
        let late = group.dispatch(Task::Hang).deadline(Duration::from_millis(5)).start();
        assert_eq!(late.await.expect_err("it hangs").kind(), DeadlineExceeded);
        started(&runtime, &group, 2).await;
        drop(hang);
        started(&runtime, &group, 1).await;
        opener.open();
        assert_eq!(other.await.expect("it goes on").attempts(), 1);
        let snapshot = group.group().snapshot();
        assert_eq!((snapshot.consumers[0].starts, snapshot.totals.crashed, snapshot.totals.failed), (1, 0, 0));
    });
}
