//! Routing over the public API: functions run by the conversation, and what becomes of consumers and groups that end unasked.
mod group;
mod workers;

use colloquium::prelude::*;
use colloquium::{ConsumerStateView, RoutingDecision, SupervisedExecutor};
use group::{Job, Made, Worker, gate, group_of};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use workers::{LONG, on_each_size, until};

/// The same group, its routing function run by conversations.
fn isolated(group: &DispatchConversation<Job, u64>) -> DispatchConversation<Job, u64> {
    let supervisor = group.supervisor().clone();
    DispatchConversation::with_supervisor(&group.group(), SupervisedExecutor::isolated(), supervisor)
}

/// R10, R11: who routes himself waits for his key as others do, and is routed by the group's function when it comes.
#[test]
fn an_isolated_function_routes_when_the_key_has_come() {
    on_each_size(async |runtime| {
        let group = Made { keyed: true, ..Made::default() }.start(&runtime, 4).await;
        let third = group.group().consumers()[2].id;
        drop(group.group().routing().swap(RoutingFunction::new(move |_, _| RoutingDecision::To(third))));
        let (isolated, log) = (isolated(&group), Arc::new(Mutex::new(Vec::new())));
        let job = |number| Job::Keyed { key: 7, number, crashes: AtomicU64::new(0), log: Arc::clone(&log) };
        let all: Vec<_> = (0..8).map(|number| isolated.dispatch(job(number)).start()).collect();
        for conversation in all {
            assert_eq!(conversation.await.expect("one after the other").delivered_to(), third);
        }
        assert_eq!(*log.lock().expect("no panic with it"), (0..8).collect::<Vec<_>>());
        assert_eq!(group.group().snapshot().keys, 0);
    });
}

/// R9, R11: a message that routes itself needs a place in the waiting room only if it has to wait.
#[test]
fn an_isolated_dispatch_needs_no_waiting_room_when_there_is_room() {
    on_each_size(async |runtime| {
        let group = Made { waiting: 0, ..Made::default() }.start(&runtime, 1).await;
        let isolated = isolated(&group);
        assert_eq!(isolated.dispatch(Job::Double(4)).await.expect("there is room").into_output(), 8);
        let (open, gate) = gate();
        let first = isolated.dispatch(Job::Wait(gate)).start();
        until(&runtime, || group.group().consumers()[0].started == 1).await;
        let refused = isolated.dispatch(Job::Double(5)).await.expect_err("there is none");
        assert_eq!((refused.kind(), refused.is_safe_to_retry()), (Overloaded, true));
        open.open();
        assert!(first.await.is_ok());
    });
}

/// R1: a consumer is there to go on: whatever ends it, but its own supervisor, it is started again.
#[test]
fn a_consumer_that_is_told_to_shut_down_from_outside_is_started_again() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        for starts in 1..5 {
            let view = group.group().consumers().remove(0);
            let pid = view.pid.expect("it is up");
            runtime.exit(pid, ExitReason::Shutdown);
            let again = |view: &ConsumerStateView| view.starts > starts && view.is_eligible();
            until(&runtime, || again(&group.group().consumers()[0])).await;
            assert_eq!(group.dispatch(Job::Double(1)).await.expect("it is back").into_output(), 2);
        }
    });
}

/// As a process it may end as it likes: that is no way to leave the group.
#[test]
fn a_consumer_that_returns_is_started_again() {
    on_each_size(async |runtime| {
        let body = async |mut inbox: Deliveries<u64, u64>| {
            if let Some(work) = inbox.next().await {
                let number = *work;
                work.complete(number);
            }
            ExitReason::Shutdown
        };
        let group = ConsumerGroup::alike("returning", 1, &ConsumerRegistration::process(body)).max_wait(LONG);
        let group = group.start(&*runtime).await.expect("it starts");
        for number in 0..5 {
            assert_eq!(group.dispatch(number).deadline(LONG).await.expect("again").into_output(), number);
        }
    });
}

/// R13: the end of the group's node is the end of the group, for newcomers too, whether there is room to wait or not.
#[test]
fn a_group_whose_node_has_ended_is_closed() {
    on_each_size(async |runtime| {
        for waiting in [0, 16] {
            let made = ConsumerGroup::alike("ends", 2, &Worker::registration()).waiting_room(waiting);
            let group = made.start(&*runtime).await.expect("it starts");
            let observer = group.group().observe().expect("it is started");
            runtime.exit(observer.pid(), ExitReason::Kill);
            until(&runtime, || group.group().consumers().iter().all(|view| view.pid.is_none())).await;
            let closed = || async { group.dispatch(Job::Double(1)).deadline(Duration::from_secs(1)).await };
            assert_eq!(closed().await.expect_err("nobody is there").kind(), Closed);
        }
    });
}
