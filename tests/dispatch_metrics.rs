//! What a group counts: it adds up, by consumer and in all, whatever has happened.
mod group;
mod workers;

use colloquium::prelude::*;
use colloquium::{ConsumerStateView, GroupMetrics};
use group::{Job, Made, gate};
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use workers::{on_each_size, until};

/// Every delivery has one end or is at a consumer, and the consumers' counts make up the group's.
fn adds_up(metrics: &GroupMetrics) {
    let totals = &metrics.totals;
    let out: u64 = metrics.consumers.iter().map(|consumer| u64::from(consumer.in_flight)).sum();
    assert_eq!(totals.delivered, totals.completed + totals.failed + totals.crashed + totals.lost + out, "{metrics:?}");
    let sum = |of: fn(&colloquium::ConsumerMetrics) -> u64| metrics.consumers.iter().map(of).sum::<u64>();
    assert_eq!(sum(|consumer| consumer.delivered), totals.delivered, "{metrics:?}");
    assert_eq!(sum(|consumer| consumer.completed), totals.completed, "{metrics:?}");
    assert_eq!(sum(|consumer| consumer.failed), totals.failed, "{metrics:?}");
    assert_eq!(sum(|consumer| consumer.crashed), totals.crashed, "{metrics:?}");
    assert_eq!(sum(|consumer| consumer.lost), totals.lost, "{metrics:?}");
    for times in [&metrics.wait, &metrics.handling, &metrics.whole] {
        assert_eq!(times.count(), totals.completed, "{metrics:?}");
    }
}

#[test]
fn the_counts_add_up_whatever_happens() {
    on_each_size(async |runtime| {
        let group = Made { waiting: 2, ..Made::default() }.start(&runtime, 3).await;
        for n in 0..20 {
            group.dispatch(Job::Double(n)).await.expect("completed");
        }
        group.dispatch(Job::PanicUnless(1, AtomicU64::new(0))).await.expect("the second completes it");
        group.dispatch(Job::FailUnless(1, AtomicU64::new(0))).await.expect("the second completes it");
        group.dispatch(Job::Discard).await.expect_err("discarded");
        group.dispatch(Job::PanicUnless(u64::MAX, AtomicU64::new(0))).await.expect_err("poison");
        until(&runtime, || group.group().consumers().iter().all(ConsumerStateView::is_eligible)).await;
        let (open, gate) = gate();
        let held: Vec<_> = (0..5).map(|_| group.dispatch(Job::Wait(gate.clone())).start()).collect();
        group.dispatch(Job::Double(1)).await.expect_err("no room");
        let full = group.group().metrics();
        adds_up(&full);
        assert_eq!((full.in_flight, full.waiting, full.totals.refused), (5, 2, 1));
        assert!(full.rates.into > 0.0 && full.rates.out > 0.0 && full.rates.shed > 0.0, "{full:?}");
        open.open();
        for conversation in held {
            conversation.await.expect("completed");
        }
        until(&runtime, || group.group().metrics().in_flight == 0).await;
        let metrics = group.group().metrics();
        adds_up(&metrics);
        let totals = metrics.totals;
        assert_eq!((totals.dispatched, totals.completed), (29, 27));
        assert_eq!((totals.failed, totals.crashed, totals.rerouted), (2, 4, 4));
        assert_eq!((metrics.dead_letters, metrics.poisoned, totals.restarts), (2, 1, 4));
    });
}

/// The times are the runtime's: in a simulation they are exact.
#[test]
fn latencies_are_told_apart() {
    let outcome = colloquium::Simulation::new(7).run(async |runtime: Runtime| {
        let napping = ConsumerRegistration::function({
            let runtime = runtime.handle();
            move |ms: Delivery<u64>| {
                let runtime = runtime.clone();
                async move {
                    runtime.sleep(Duration::from_millis(*ms)).await;
                    Ok(())
                }
            }
        });
        let group = ConsumerGroup::alike("nappers", 1, &napping).start(&*runtime).await.expect("it starts");
        let first = group.dispatch(800).start();
        let second = group.dispatch(200).start();
        first.await.expect("completed");
        second.await.expect("completed");
        let metrics = group.group().metrics();
        adds_up(&metrics);
        let near = |time: Option<Duration>, ms: u64| {
            let (time, exact) = (time.expect("there were some"), Duration::from_millis(ms));
            assert!(time >= exact && time < exact + exact / 8 + Duration::from_millis(20), "{time:?} for {exact:?}");
        };
        near(Some(metrics.wait.longest()), 800);
        near(metrics.handling.quantile(0.5), 200);
        near(metrics.handling.quantile(1.0), 800);
        near(metrics.whole.quantile(0.5), 800);
        near(Some(metrics.whole.longest()), 1000);
    });
    outcome.expect("it ends");
}
