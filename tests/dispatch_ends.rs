//! Dispatch: what becomes of a message whose conversation is gone, or whose caller is content already: it is never forgotten.
mod group;
mod workers;

use colloquium::prelude::*;
use colloquium::{ConsumerStateView, RoutingDecision, Simulation, Supervisor, SupervisorState};
use group::{Job, Made, gate, group_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use workers::{LONG, on_each_size, on_threads, until};

fn short() -> Made {
    Made { grace: Duration::from_millis(5), ..Made::default() }
}

/// Waits until the only consumer is at work.
async fn at_work(runtime: &Runtime, group: &DispatchConversation<Job, u64>) {
    until(runtime, || group.group().consumers()[0].started == 1).await;
}

/// Kills the only conversation, and waits until it is gone.
async fn desert(runtime: &Runtime, group: &DispatchConversation<Job, u64>) {
    at_work(runtime, group).await;
    // Who saw to the end of an earlier message ends soon, too.
    until(runtime, || group.supervisor().len() == 1).await;
    let conversations = group.supervisor().conversations();
    runtime.exit(conversations[0], ExitReason::Kill);
    until(runtime, || runtime.info(conversations[0]).is_none()).await;
}

/// R2, R7: the conversation that would see to a handler which does not stop is killed itself; somebody sees to it all the same.
#[test]
fn a_handler_that_hangs_is_killed_though_its_conversation_was() {
    on_each_size(async |runtime| {
        let group = short().start(&runtime, 1).await;
        let hangs = group.dispatch(Job::Hang).deadline(LONG).start();
        desert(&runtime, &group).await;
        assert_eq!(hangs.await.expect_err("killed").kind(), Conversation);
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("a new consumer is there").into_output(), 2);
        assert_eq!(group.group().consumers()[0].starts, 2);
        let totals = group.group().snapshot().totals;
        assert_eq!((totals.crashed, totals.completed), (1, 1), "{totals:?}");
        until(&runtime, || group.supervisor().is_empty()).await;
        assert_eq!(group.drain(LONG).await.left, 0);
    });
}

/// R2: a handler whose poll does not return cannot be killed. Its consumer counts as wedged then, which is shown, and another process
/// takes its place. What the old one completes in the end is counted, and its message never begins again.
#[test]
fn a_consumer_that_is_wedged_is_replaced_while_it_is_still_there() {
    on_threads(async |runtime| {
        let (stop, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stops, begins) = (Arc::clone(&stop), Arc::clone(&begun));
        let function = move |spins: Delivery<bool>| {
            let (stop, begun) = (Arc::clone(&stops), Arc::clone(&begins));
            async move {
                begun.fetch_add(u64::from(*spins), Ordering::SeqCst);
                while *spins && !stop.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                Ok(())
            }
        };
        let group = ConsumerGroup::alike("one", 1, &ConsumerRegistration::function(function)).max_wait(LONG);
        let group = group.cancel_grace(5 * MILLISECOND).start(&*runtime).await.expect("it starts");
        let old = group.group().consumers()[0].pid.expect("it is up");
        let spins = group.dispatch(true).deadline(LONG).start();
        until(&runtime, || begun.load(Ordering::SeqCst) == 1).await;
        drop(spins);
        group.dispatch(false).deadline(LONG).await.expect("another is in its place");
        let view = &group.group().consumers()[0];
        assert!(view.pid.is_some_and(|pid| pid != old), "{view:?}");
        let children = group.group().observe().expect("it was started").children();
        let consumers = children.filter_map(|child| child.subtree).next().expect("its consumers' supervisor");
        assert_eq!(consumers.supervisor().wedged.iter().map(|wedged| wedged.pid).collect::<Vec<_>>(), [old]);
        stop.store(true, Ordering::SeqCst);
        until(&runtime, || group.supervisor().is_empty()).await;
        let totals = group.group().snapshot().totals;
        let starts = group.group().consumers()[0].starts;
        assert_eq!((totals.completed, begun.load(Ordering::SeqCst), starts), (2, 1, 2), "{totals:?}");
        assert_eq!(group.drain(LONG).await.left, 0);
    });
}

/// R13: a group that its supervisor has started anew is seen and drained as it is now, and those who wait for room in it learn of its
/// end.
#[test]
fn a_group_that_was_started_anew_is_seen_and_ended_as_it_is_now() {
    on_each_size(async |runtime| {
        let above = Supervisor::new().start(&runtime).await.expect("it starts");
        let group = ConsumerGroup::alike("anew", 1, &group::Worker::registration()).waiting_room(0);
        let group = group.start(&above).await.expect("it starts");
        let first = group.group().observe().expect("it was started").pid();
        runtime.exit(first, ExitReason::Kill);
        let seen = || group.group().observe().expect("it was started").supervisor();
        until(&runtime, || seen().pid != first && seen().state == SupervisorState::Up).await;
        let children = above.which_children().await.expect("it answers");
        assert_eq!(Some(seen().pid), children[0].pid);
        until(&runtime, || group.group().consumers()[0].is_eligible() && group.group().consumers()[0].starts == 2)
            .await;
        let _place = group.try_reserve().expect("a place");
        let own = group.clone();
        let waits = runtime.spawn(async move |_: Context<()>| {
            assert_eq!(own.reserve().await.map(drop).map_err(|error| error.kind()), Err(Closed));
        });
        until(&runtime, || group.group().snapshot().reserving == 1).await;
        above.stop(LONG).await;
        assert_eq!(waits.expect("room").ended().await, ExitReason::Normal);
    });
}

/// R5, R15: nobody waits for an accepted message; if it ends badly it is a dead letter.
#[test]
fn an_accepted_message_that_ends_badly_is_a_dead_letter() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 2).await;
        group.dispatch(Job::PanicUnless(9, AtomicU64::new(0))).id(71).accepted().await.expect("it began");
        until(&runtime, || group.group().snapshot().dead_letters == 1).await;
        let letter = group.group().take_dead_letter(71).expect("it is that one");
        assert_eq!((letter.kind, letter.attempts.len()), (Poisoned, 3));
        until(&runtime, || group.group().snapshot().in_flight == 0).await;
    });
}

/// R2: the deadline stands for an accepted message as well: the handler is told, and killed if it does not stop.
#[test]
fn the_handler_of_an_accepted_message_has_its_deadline() {
    on_each_size(async |runtime| {
        let group = short().start(&runtime, 1).await;
        let hangs = group.dispatch(Job::Hang).deadline(Duration::from_millis(20)).id(71);
        hangs.accepted().await.expect("it began");
        until(&runtime, || group.group().snapshot().dead_letters == 1).await;
        assert_eq!(group.group().take_dead_letter(71).expect("it is that one").kind, DeadlineExceeded);
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("a new consumer is there").into_output(), 2);
        assert_eq!(group.group().snapshot().totals.crashed, 1);
    });
}

/// R7: an accepted message whose conversation is killed is not tried again by anybody, and says so.
#[test]
fn an_accepted_message_without_its_conversation_is_a_dead_letter() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let (open, gate) = gate();
        group.dispatch(Job::Wait(gate.clone())).id(71).accepted().await.expect("it began");
        desert(&runtime, &group).await;
        let consumer = group.group().consumers()[0].pid.expect("it is at work");
        runtime.exit(consumer, ExitReason::Kill);
        until(&runtime, || group.group().snapshot().dead_letters == 1).await;
        assert_eq!(group.group().take_dead_letter(71).expect("it is that one").kind, Conversation);
        // One whose handler completes it has not ended badly.
        group.dispatch(Job::Wait(gate)).id(72).accepted().await.expect("it began");
        desert(&runtime, &group).await;
        open.open();
        until(&runtime, || group.group().snapshot().totals.completed == 1).await;
        assert_eq!(group.group().snapshot().dead_letters, 0);
    });
}

/// The caller of an accepted message may go as soon as a handler has begun, even if it was not told of that yet.
#[test]
fn an_accepted_message_is_not_cancelled_once_it_was_begun_with() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let (open, gate) = gate();
        let accepted = group.dispatch(Job::Wait(gate)).accepted();
        let mut future = std::pin::pin!(accepted.into_future());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // With several workers the handler may have begun by now; if it has not, the caller is not told of it before it goes.
        let _ = future.as_mut().poll(&mut context);
        at_work(&runtime, &group).await;
        future.set(group.dispatch(Job::Double(1)).accepted().into_future());
        open.open();
        until(&runtime, || group.group().snapshot().totals.completed == 1).await;
        assert_eq!(group.group().snapshot().dead_letters, 0);
    });
}

/// R3, R4: whoever kills a consumer again and again does not use up its tries: it is there when that ends.
#[test]
fn a_kill_by_others_is_not_charged_to_the_consumer() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        for starts in 1..12 {
            until(&runtime, || group.group().consumers()[0].pid.is_some()).await;
            let view = &group.group().consumers()[0];
            assert_eq!(view.starts, starts);
            runtime.exit(view.pid.expect("it is up"), ExitReason::Kill);
            until(&runtime, || group.group().consumers()[0].starts > starts).await;
        }
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("it is up").into_output(), 2);
    });
}

/// R4: when all consumers of a running group have been given up, whoever waits is told so at once, and the group ends; its
/// supervisor starts it again, and what is dispatched then is handled by consumers that have all their tries again.
#[test]
fn a_group_without_consumers_ends_and_is_started_again_by_its_supervisor() {
    let body = async |runtime: Runtime| {
        let broken = Arc::new(AtomicBool::new(false));
        let breaks = Arc::clone(&broken);
        let start = move || {
            let broken = breaks.load(Ordering::SeqCst);
            async move { if broken { Err("no database") } else { Ok(group::Worker) } }
        };
        let above = Supervisor::new().start(&runtime).await.expect("it starts");
        let group = ConsumerGroup::of("fragile", 2, start).max_wait(LONG * 9).start(&above).await.expect("they start");
        let first = above.which_children().await.expect("it answers")[0].pid;
        broken.store(true, Ordering::SeqCst);
        for view in group.group().consumers() {
            runtime.exit(view.pid.expect("it is up"), ExitReason::Kill);
        }
        until(&runtime, || group.group().consumers().iter().all(|view| view.pid.is_none())).await;
        let waits = group.dispatch(Job::Double(1)).deadline(LONG * 9).await.expect_err("nobody comes");
        assert_eq!(waits.kind(), NoConsumerAvailable);
        broken.store(false, Ordering::SeqCst);
        until(&runtime, || group.group().consumers().iter().all(ConsumerStateView::is_eligible)).await;
        assert_ne!(above.which_children().await.expect("it answers")[0].pid, first, "it was started again");
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("they are back").into_output(), 2);
        assert_eq!(group.drain(LONG).await.left, 0);
        assert!(above.which_children().await.expect("it goes on").is_empty());
        above.stop(LONG).await;
    };
    // Ten starts in a row take half a minute, so only where time is cheap.
    workers::on_seeds(Simulation::new(0), 100, &body);
}

/// R11: a routing function that takes longer than its limit fails its own dispatch, and is not let choose.
#[test]
fn a_routing_function_has_a_limit() {
    on_threads(async |runtime| {
        let (slow, handle) = (Arc::new(AtomicBool::new(true)), runtime.handle());
        let slows = Arc::clone(&slow);
        let routing = RoutingFunction::new(move |_: &Job, views: &[ConsumerStateView]| {
            let begun = handle.now();
            while slows.load(Ordering::SeqCst) && handle.now() <= begun + Duration::from_millis(1) {
                std::thread::yield_now();
            }
            RoutingDecision::To(views[0].id)
        });
        let group = ConsumerGroup::new(routing).routing_limit(Duration::from_millis(1)).start(&*runtime).await;
        let group = group.expect("nobody has to start");
        group.group().add_consumer(group::Worker::registration()).await.expect("it starts");
        assert_eq!(group.dispatch(Job::Double(1)).await.expect_err("it is late").kind(), Evaluation);
        assert_eq!(group.group().snapshot().totals.dispatched, 0);
        slow.store(false, Ordering::SeqCst);
        // How long the system leaves a thread without a processor is not the function's doing, and counts all the same.
        until_ok(&group).await;
    });
}

async fn until_ok(group: &DispatchConversation<Job, u64>) {
    loop {
        match group.dispatch(Job::Double(1)).await {
            Ok(outcome) => return assert_eq!(outcome.into_output(), 2),
            Err(error) => assert_eq!(error.kind(), Evaluation),
        }
    }
}
