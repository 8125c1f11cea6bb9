//! Room that is reserved before the message is there.
mod group;
mod workers;

use colloquium::prelude::*;
use colloquium::{ReserveError, Slot};
use group::{Job, Made, gate};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use workers::{LONG, on_each_size, on_threads, until};

type Group = DispatchConversation<Job, u64>;

async fn group_with(runtime: &Runtime, consumers: usize, waiting: usize) -> Group {
    Made { waiting, ..Made::default() }.start(runtime, consumers).await
}

fn kind<T>(result: Result<T, ReserveError>) -> Option<DispatchErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn a_slot_is_room_that_nobody_else_gets() {
    on_each_size(async |runtime| {
        let group = group_with(&runtime, 1, 1).await;
        let (place, seat) = (group.try_reserve().expect("a place"), group.try_reserve().expect("a seat"));
        let error = group.try_reserve().expect_err("that was all");
        assert_eq!((error.kind(), error.retry_after().is_some()), (Overloaded, true));
        let error = group.dispatch(Job::Double(1)).await.expect_err("it is promised");
        assert_eq!((error.kind(), error.retry_after().is_some()), (Overloaded, true));
        let snapshot = group.group().snapshot();
        assert_eq!((snapshot.reserved, snapshot.in_flight), (2, 0));
        let (opener, gate) = gate();
        let first = seat.dispatch(Job::Wait(gate)).start();
        let second = place.dispatch(Job::Double(4)).start();
        assert_eq!(kind(group.try_reserve()), Some(Overloaded));
        opener.open();
        assert_eq!(
            (first.await.expect("completed").into_output(), second.await.expect("completed").into_output()),
            (0, 8)
        );
        // Dropped, they give it back; so does a dispatch that has not begun.
        until(&runtime, || group.group().snapshot().in_flight == 0).await;
        let both = [group.try_reserve().expect("a place"), group.try_reserve().expect("a seat")];
        for slot in both {
            drop(slot.dispatch(Job::Double(1)));
        }
        assert_eq!(group.group().snapshot().reserved, 0);
        assert_eq!(group.dispatch(Job::Double(3)).await.expect("there is room").into_output(), 6);
    });
}

/// The consumer crashes and takes its place with it, and another message is before it.
#[test]
fn a_message_with_a_slot_is_never_refused() {
    on_each_size(async |runtime| {
        let group = Made { waiting: 0, max_wait: Duration::from_millis(1), ..Made::default() }.start(&runtime, 2).await;
        let slots = [group.try_reserve().expect("a place"), group.try_reserve().expect("a place")];
        for consumer in group.group().consumers() {
            runtime.exit(consumer.pid.expect("it is up"), ExitReason::Kill);
        }
        group.group().pause();
        let both = slots.map(|slot| slot.dispatch(Job::Double(2)).start());
        assert_eq!(group.dispatch(Job::Double(1)).await.expect_err("nothing is given out").kind(), Overloaded);
        // Far longer than the waiting room's patience.
        runtime.sleep(Duration::from_millis(20)).await;
        group.group().resume();
        for conversation in both {
            assert_eq!(conversation.await.expect("it has waited").into_output(), 4);
        }
    });
}

#[test]
fn those_who_wait_for_room_get_it_in_order() {
    on_each_size(async |runtime| {
        let group = group_with(&runtime, 1, 0).await;
        let slot = group.try_reserve().expect("a place");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut pullers = Vec::new();
        for n in 0..5 {
            let (own, order) = (group.clone(), Arc::clone(&order));
            let puller = runtime.spawn(async move |_: Context<()>| {
                let slot = own.reserve().await.expect("there is room in the end");
                order.lock().expect("no panic with it").push(n);
                slot.dispatch(Job::Double(n)).await.expect("completed");
            });
            pullers.push(puller.expect("room for a process"));
            until(&runtime, || group.group().snapshot().reserving == pullers.len()).await;
        }
        // One gives it up while it waits; nobody comes before those in line.
        pullers[2].kill();
        pullers[2].ended().await;
        assert_eq!(group.group().snapshot().reserving, 4);
        assert_eq!(kind(group.try_reserve()), Some(Overloaded));
        drop(slot);
        for puller in pullers {
            puller.ended().await;
        }
        assert_eq!(*order.lock().expect("no panic with it"), [0, 1, 3, 4]);
        until(&runtime, || group.group().snapshot().in_flight == 0).await;
        assert!(group.try_reserve().is_ok());
    });
}

/// Dropped at the moment at which it has the room and does not know.
#[test]
fn a_wait_that_is_dropped_gives_its_room_back() {
    on_each_size(async |runtime| {
        let group = group_with(&runtime, 1, 0).await;
        let slot = group.try_reserve().expect("a place");
        let waits = |reserving: std::pin::Pin<&mut dyn Future<Output = Result<Slot<Job, u64>, ReserveError>>>| {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(matches!(Future::poll(reserving, &mut cx), Poll::Pending));
        };
        {
            let mut reserving = pin!(group.reserve());
            waits(reserving.as_mut());
            drop(slot);
            let snapshot = group.group().snapshot();
            assert_eq!((snapshot.reserved, snapshot.reserving), (1, 0));
        }
        assert_eq!(group.group().snapshot().reserved, 0);
        let slot = group.try_reserve().expect("it is back");
        {
            let mut reserving = pin!(group.reserve());
            waits(reserving.as_mut());
        }
        assert_eq!(group.group().snapshot().reserving, 0);
        drop(slot);
        assert!(group.reserve().await.is_ok());
    });
}

#[test]
fn those_who_wait_are_told_when_the_group_closes() {
    on_each_size(async |runtime| {
        let group = group_with(&runtime, 1, 0).await;
        let slot = group.try_reserve().expect("a place");
        let own = group.clone();
        let waits = runtime.spawn(async move |_: Context<()>| assert_eq!(kind(own.reserve().await), Some(Closed)));
        let waits = waits.expect("room for a process");
        until(&runtime, || group.group().snapshot().reserving == 1).await;
        assert_eq!(group.drain(LONG).await.left, 0);
        assert_eq!(waits.ended().await, ExitReason::Normal);
        assert_eq!((kind(group.try_reserve()), kind(group.reserve().await)), (Some(Closed), Some(Closed)));
        assert_eq!(slot.dispatch(Job::Double(1)).await.expect_err("it is over").kind(), Closed);
    });
}

#[test]
fn those_who_wait_are_told_when_the_runtime_goes() {
    on_threads(async |runtime| {
        // Another runtime waits: on the group's own, the one who waits would end as well.
        let other = Runtime::builder().workers(1).build().expect("threads for the workers");
        let group = group_with(&other, 1, 0).await;
        let slot = group.try_reserve().expect("a place");
        let own = group.clone();
        let waits = runtime.spawn(async move |_: Context<()>| assert_eq!(kind(own.reserve().await), Some(Closed)));
        let waits = waits.expect("room for a process");
        until(&runtime, || group.group().snapshot().reserving == 1).await;
        drop(other);
        assert_eq!(waits.ended().await, ExitReason::Normal);
        drop(slot);
    });
}

#[test]
fn a_consumer_that_holds_a_delivery_cannot_wait_for_its_own_room() {
    struct Selfish(Arc<Mutex<Option<DispatchConversation<(), ()>>>>);
    impl Consumer for Selfish {
        type Message = ();
        type Output = ();
        async fn handle(&mut self, _: Delivery<()>) -> Result<(), Failure> {
            let own = self.0.lock().expect("no panic with it").clone().expect("it was set");
            assert_eq!(kind(own.reserve().await), Some(WouldDeadlock));
            assert_eq!(kind(own.try_reserve()), Some(WouldDeadlock));
            Ok(())
        }
    }
    on_each_size(async |runtime| {
        let own = Arc::new(Mutex::new(None));
        let given = Arc::clone(&own);
        let start = move || {
            let own = Arc::clone(&given);
            async move { Ok::<_, std::io::Error>(Selfish(own)) }
        };
        let group = ConsumerGroup::of("selfish", 1, start).start(&*runtime).await.expect("it starts");
        *own.lock().expect("no panic with it") = Some(group.clone());
        assert_eq!(group.dispatch(()).await.expect("completed").attempts(), 1);
        own.lock().expect("no panic with it").take();
    });
}

/// Whoever forgets a slot keeps its room for the group's deadline and no longer.
#[test]
fn a_forgotten_slot_is_given_to_the_next_in_line() {
    on_each_size(async |runtime| {
        let group = ConsumerGroup::alike("workers", 1, &group::Worker::registration()).waiting_room(0);
        let group = group.deadline(Duration::from_millis(30)).start(&*runtime).await.expect("it starts");
        let forgotten = group.try_reserve().expect("a place");
        let next = group.reserve().await.expect("nothing else makes room");
        assert!(group.group().snapshot().reserved <= 1, "the forgotten one counts no more");
        drop(next);
        let anew = group.reserve().await.expect("there is room");
        drop(forgotten);
        assert!(group.group().snapshot().reserved <= 1, "nor does its end take another's");
        drop(anew);
        assert_eq!(group.group().snapshot().reserved, 0);
    });
}
