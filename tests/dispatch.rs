//! Dispatch: groups, conversations and outcomes, over the public API.
mod group;
mod workers;

use colloquium::prelude::*;
use colloquium::{Attempt, ConsumerStateView, Gap, Leave, Pid, Reached, RoutingDecision, Work};
use group::{Job, Made, Worker, gate, group_of};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use workers::{LONG, in_thread, on_each_size, on_threads, until, watcher};

fn reached(attempts: &[Attempt]) -> Vec<Reached> {
    attempts.iter().map(|attempt| attempt.reached).collect()
}

#[test]
fn a_message_is_completed_and_its_output_comes_back() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 4).await;
        for n in 0..200 {
            let outcome = group.dispatch(Job::Double(n)).await.expect("a consumer completes it");
            assert!(outcome.delivered_first_try() && outcome.reroute_timings().is_empty());
            assert_eq!((outcome.attempts(), outcome.into_output()), (1, 2 * n));
        }
        let snapshot = group.group().snapshot();
        assert_eq!((snapshot.in_flight, snapshot.waiting, snapshot.totals.completed), (0, 0, 200));
        until(&runtime, || group.supervisor().is_empty()).await;
        assert_eq!(group.drain(LONG).await.left, 0);
    });
}

#[test]
fn a_thread_dispatches_and_waits() {
    on_threads(async |runtime| {
        let group = group_of(&runtime, 2).await;
        let from_thread = group.clone();
        let thread = in_thread(move || from_thread.dispatch_blocking(Job::Double(4)).map(DispatchOutcome::into_output));
        assert_eq!(thread.join().expect("it returns").expect("completed"), 8);
    });
}

/// R1, R5: a consumer that panics is replaced, the message goes to another, and the caller's supervisor hears nothing.
#[test]
fn a_crash_reroutes_the_message_to_another_consumer() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 3).await;
        let outcome = group.dispatch(Job::PanicUnless(1, AtomicU64::new(0))).await.expect("the second completes it");
        assert_eq!(outcome.attempts(), 2);
        assert_eq!(outcome.rerouted_from().len(), 1);
        assert_eq!(outcome.reroute_timings().len(), 1);
        assert_ne!(outcome.rerouted_from()[0], outcome.delivered_to(), "never back while another is there");
        let views = group.group().consumers();
        let crashed =
            views.iter().find(|view| view.id == outcome.rerouted_from()[0]).expect("it is still in the group");
        assert!(crashed.pid.is_none() || crashed.starts == 2, "not up before it is started anew: {crashed:?}");
        until(&runtime, || group.group().consumers().iter().all(ConsumerStateView::is_eligible)).await;
        assert_eq!(group.group().snapshot().totals.restarts, 1);
        assert_eq!(group.group().snapshot().totals.crashed, 1);
    });
}

#[test]
fn a_consumer_alone_gets_its_message_again_when_it_is_back() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let outcome = group.dispatch(Job::PanicUnless(2, AtomicU64::new(0))).await.expect("the third time");
        assert_eq!((outcome.attempts(), outcome.rerouted_from().len()), (3, 2));
    });
}

/// R3, R4: three crashes are the message's end, and it is a dead letter; the consumers go on.
#[test]
fn a_message_that_crashes_three_consumers_is_poisoned() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 3).await;
        let error = group.dispatch(Job::PanicUnless(u64::MAX, AtomicU64::new(0))).await.expect_err("poison");
        assert_eq!(error.kind(), Poisoned);
        assert!(!error.is_safe_to_retry());
        assert_eq!(reached(error.attempts()), [Reached::Started; 3]);
        assert!(error.attempts().iter().all(|attempt| matches!(attempt.reason, Some(ExitReason::Panicked(_)))));
        let dead = group.group().dead_letters();
        assert_eq!((dead.len(), dead[0].kind, dead[0].attempts.len()), (1, Poisoned, 3));
        assert!(matches!(&*error.into_message(), Job::PanicUnless(..)), "invariant 4: it comes back");
        assert_eq!(group.dispatch(Job::Double(3)).await.expect("others go on").into_output(), 6);
        assert!(group.group().take_dead_letter(dead[0].id).is_some() && group.group().dead_letters().is_empty());
    });
}

/// R3: a consumer killed by others is no message's fault: as often as that happens, free of charge.
#[test]
fn a_kill_by_others_is_nobodys_fault() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 2).await;
        let (open, gate) = gate();
        let conversation = group.dispatch(Job::Wait(gate)).start();
        for killed in 0..6 {
            let holder = holder(&runtime, &group).await;
            runtime.exit(holder, ExitReason::Kill);
            until(&runtime, || group.group().snapshot().totals.lost == killed + 1).await;
        }
        until(&runtime, || group.group().consumers().iter().any(|view| view.started > 0)).await;
        open.open();
        let outcome = conversation.await.expect("not blamed");
        assert_eq!((outcome.rerouted_from().len(), outcome.attempts()), (6, 7));
        assert_eq!(group.group().snapshot().totals.crashed, 0);
    });
}

/// R1: the conversation is linked to who has the message, to nobody else, whether anybody has looked at it before or not; with the
/// message it goes from one that ends to the next.
#[test]
fn a_conversation_is_linked_to_who_has_its_message() {
    on_each_size(async |runtime| {
        for looked_at in [false, true] {
            let group = group_of(&runtime, 2).await;
            let (open, gate) = gate();
            let conversation = group.dispatch(Job::Wait(gate)).start();
            let own = group.supervisor().conversations()[0];
            for killed in 0..4 {
                let holder = holder(&runtime, &group).await;
                let links = |pid| runtime.info(pid).map(|info| info.links).unwrap_or_default();
                // A link is there before the message; that of one that has ended goes soon.
                until(&runtime, || links(holder).contains(&own)).await;
                if looked_at || killed == 3 {
                    until(&runtime, || links(own) == [holder]).await;
                }
                runtime.exit(holder, ExitReason::Kill);
                until(&runtime, || group.group().snapshot().totals.lost == killed + 1).await;
            }
            until(&runtime, || group.group().consumers().iter().any(|view| view.started > 0)).await;
            assert_eq!(group.supervisor().conversations(), [own]);
            open.open();
            assert_eq!(conversation.await.expect("not blamed").attempts(), 5);
            until(&runtime, || !runtime.is_alive(own)).await;
        }
    });
}

/// The consumer that has begun with something.
async fn holder(runtime: &Runtime, group: &DispatchConversation<Job, u64>) -> Pid {
    let find = || group.group().consumers().iter().find(|view| view.started > 0).and_then(|view| view.pid);
    until(runtime, || find().is_some()).await;
    find().expect("it was there")
}

/// R5: under at most once, what was begun with is not begun with again.
#[test]
fn at_most_once_ends_as_maybe_completed() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 2).await;
        let error = group.dispatch(Job::PanicUnless(1, AtomicU64::new(0))).at_most_once().await.expect_err("it began");
        assert_eq!((error.kind(), reached(error.attempts())), (MaybeCompleted, vec![Reached::Started]));
        let error = group.dispatch(Job::FailUnless(1, AtomicU64::new(0))).at_most_once().await.expect_err("it began");
        assert_eq!((error.kind(), reached(error.attempts())), (Discarded, vec![Reached::Failed]));
    });
}

/// R5: what is only queued is another's, at most once or not.
#[test]
fn at_most_once_reroutes_what_no_handler_began_with() {
    on_each_size(async |runtime| {
        let made = Made { room: 2, ..Made::default() };
        let group = made.start(&runtime, 1).await;
        let (open, gate) = gate();
        let first = group.dispatch(Job::Wait(gate)).start();
        let consumer = holder(&runtime, &group).await;
        let second = group.dispatch(Job::Double(2)).at_most_once().start();
        assert_eq!(group.group().consumers()[0].queued, 1);
        // A poll that had begun before goes on after the kill: it is not to find the gate open.
        let watcher = watcher(&runtime, consumer);
        runtime.exit(consumer, ExitReason::Kill);
        assert_eq!(watcher.down().reason, ExitReason::Killed);
        open.open();
        assert_eq!(second.await.expect("it was queued only").attempts(), 1);
        assert_eq!(first.await.expect("at least once").attempts(), 2);
    });
}

/// R6: an error is retried after a while, elsewhere; five are the last.
#[test]
fn an_error_is_retried_elsewhere() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 2).await;
        let outcome = group.dispatch(Job::FailUnless(2, AtomicU64::new(0))).await.expect("the third time");
        assert_eq!(outcome.attempts(), 3);
        let pids: Vec<_> = group.group().consumers().iter().map(|view| view.starts).collect();
        assert_eq!(pids, [1, 1], "an error is no crash");
        let [from, then] = outcome.rerouted_from() else { panic!("two: {outcome:?}") };
        assert_ne!(from, then);
    });
}

#[test]
fn a_discarded_message_is_a_dead_letter_with_its_reason() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 2).await;
        let error = group.dispatch(Job::Discard).id(77).await.expect_err("discarded");
        assert_eq!((error.kind(), reached(error.attempts())), (Discarded, vec![Reached::Failed]));
        assert!(error.to_string().ends_with("as told"), "{error}");
        assert_eq!(group.group().dead_letters()[0].id, 77);
    });
}

/// R9: a full group makes messages wait, a full waiting room refuses, and says when to come again.
#[test]
fn a_full_waiting_room_refuses() {
    on_each_size(async |runtime| {
        let made = Made { waiting: 3, ..Made::default() };
        let group = made.start(&runtime, 1).await;
        let (open, gate) = gate();
        let first = group.dispatch(Job::Wait(gate)).start();
        let waiting: Vec<_> = (0..3).map(|n| group.dispatch(Job::Double(n)).start()).collect();
        assert_eq!(group.group().snapshot().waiting, 3);
        let error = group.dispatch(Job::Double(9)).await.expect_err("no room");
        assert_eq!((error.kind(), error.is_safe_to_retry(), error.attempts().len()), (Overloaded, true, 0));
        assert!(error.retry_after().is_some_and(|after| after > Duration::ZERO));
        open.open();
        first.await.expect("completed");
        for (n, waiting) in (0..).zip(waiting) {
            assert_eq!(waiting.await.expect("it had a place").into_output(), 2 * n);
        }
        assert_eq!(group.group().snapshot().totals.refused, 1);
    });
}

/// R9: nobody waits for room longer than allowed.
#[test]
fn waiting_is_bounded_in_time() {
    on_each_size(async |runtime| {
        let made = Made { max_wait: Duration::from_millis(20), ..Made::default() };
        let group = made.start(&runtime, 1).await;
        let (open, gate) = gate();
        let first = group.dispatch(Job::Wait(gate)).start();
        let error = group.dispatch(Job::Double(1)).await.expect_err("nobody has room");
        assert_eq!((error.kind(), error.is_safe_to_retry()), (Overloaded, true));
        open.open();
        first.await.expect("completed");
    });
}

/// R2, R9: the deadline ends the dispatch wherever the message is; what has begun goes on, and its place stays taken.
#[test]
fn a_deadline_ends_the_dispatch_and_not_the_work() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let (open, gate) = gate();
        let ms = Duration::from_millis;
        let begun = group.dispatch(Job::Wait(gate)).deadline(ms(30)).start();
        holder(&runtime, &group).await;
        let waits = group.dispatch(Job::Double(1)).deadline(ms(1)).start();
        assert_eq!(waits.await.expect_err("it waits").kind(), DeadlineExceeded);
        let error = begun.await.expect_err("it is at work");
        assert_eq!((error.kind(), reached(error.attempts())), (DeadlineExceeded, vec![Reached::Started]));
        assert_eq!(group.group().consumers()[0].free(), 0, "the handler has it still");
        open.open();
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("there is room again").into_output(), 2);
        assert_eq!(group.group().consumers()[0].starts, 1);
    });
}

/// R2: a handler that does not stop when its time is over is killed with its consumer, and blamed.
#[test]
fn a_handler_that_does_not_stop_is_killed() {
    on_each_size(async |runtime| {
        let made = Made { grace: Duration::from_millis(10), ..Made::default() };
        let group = made.start(&runtime, 1).await;
        let error = group.dispatch(Job::Hang).deadline(Duration::from_millis(10)).await.expect_err("it hangs");
        assert_eq!(error.kind(), DeadlineExceeded);
        until(&runtime, || group.group().snapshot().totals.crashed == 1).await;
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("a new one is there").into_output(), 2);
        assert_eq!(group.group().consumers()[0].starts, 2);
    });
}

/// R14: a dropped dispatch is withdrawn if nobody has begun with it, and its handler told if somebody has.
#[test]
fn dropping_a_dispatch_cancels_it() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let told = Arc::new(AtomicU64::new(0));
        let begun = group.dispatch(Job::UntilCancelled(Arc::clone(&told))).start();
        holder(&runtime, &group).await;
        let waits = group.dispatch(Job::UntilCancelled(Arc::clone(&told))).start();
        drop(waits);
        assert_eq!(group.group().snapshot().waiting, 0);
        drop(begun);
        until(&runtime, || told.load(Ordering::SeqCst) == 1).await;
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("free again").into_output(), 2);
        assert_eq!((told.load(Ordering::SeqCst), group.group().consumers()[0].starts), (1, 1));
        until(&runtime, || group.group().snapshot().in_flight == 0).await;
    });
}

#[test]
fn a_detached_dispatch_goes_on() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        (0..5).for_each(|n| group.dispatch(Job::Double(n)).start().detach());
        until(&runtime, || group.group().snapshot().totals.completed == 5).await;
    });
}

/// R10: messages of one key go one after the other, in order, through crashes and errors.
#[test]
fn a_key_keeps_its_order_through_crashes() {
    on_each_size(async |runtime| {
        let made = Made { keyed: true, waiting: 4096, per_key: 4096, attempts: 1000, ..Made::default() };
        let group = made.start(&runtime, 4).await;
        let log = Arc::new(Mutex::new(Vec::new()));
        let jobs = (0..120).map(|n| Job::Keyed {
            key: n % 3,
            number: n,
            crashes: AtomicU64::new(n % 5 / 3),
            log: Arc::clone(&log),
        });
        let all: Vec<_> = jobs.map(|job| group.dispatch(job).start()).collect();
        for conversation in all {
            conversation.await.expect("each is completed in the end");
        }
        let log = log.lock().expect("no panic with it");
        for key in 0..3 {
            let of_key: Vec<_> = log.iter().filter(|n| *n % 3 == key).copied().collect();
            assert_eq!(of_key, (0..120).filter(|n| n % 3 == key).collect::<Vec<_>>(), "key {key}");
        }
    });
}

/// R10: a key is held after a dead letter, if so asked, until somebody lets it go on.
#[test]
fn a_key_is_held_after_a_dead_letter() {
    on_each_size(async |runtime| {
        let made = Made { keyed: true, gap: Gap::Hold, ..Made::default() };
        let group = made.start(&runtime, 2).await;
        let first = group.dispatch(Job::Discard).key("k").start();
        let second = group.dispatch(Job::Double(1)).key("k").start();
        assert_eq!(first.await.expect_err("discarded").kind(), Discarded);
        assert_eq!(group.dispatch(Job::Double(5)).key("other").await.expect("others go on").into_output(), 10);
        assert_eq!(group.group().snapshot().waiting, 1);
        assert!(group.group().release_key("k") && !group.group().release_key("k"));
        assert_eq!(second.await.expect("it goes on").into_output(), 2);
    });
}

/// R12: a consumer that waits for its own group is told so, instead of waiting for itself.
#[test]
fn a_dispatch_into_ones_own_group_would_deadlock() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 2).await;
        let error = group.dispatch(Job::IntoOwn(group.clone())).await.expect_err("the handler passes it on");
        assert_eq!(error.kind(), Discarded);
        assert!(error.to_string().contains("its own group"), "{error}");
    });
}

/// The same, where consumers have come and gone, be they few or many.
#[test]
fn whoever_takes_a_consumers_place_is_known_as_one_of_its_group() {
    on_each_size(async |runtime| {
        for consumers in [2, 66] {
            let group = group_of(&runtime, consumers).await;
            for _ in 0..consumers + 1 {
                let crashes = Job::PanicUnless(1, AtomicU64::new(0));
                assert_eq!(group.dispatch(crashes).await.expect("another completes it").rerouted_from().len(), 1);
            }
            for _ in 0..consumers {
                let error = group.dispatch(Job::IntoOwn(group.clone())).await.expect_err("the handler passes it on");
                assert!(error.to_string().contains("its own group"), "{error}");
            }
        }
    });
}

/// R11: a routing function that panics fails that dispatch alone; one that names nobody, too.
#[test]
fn routing_functions_are_users_own() {
    on_each_size(async |runtime| {
        let made = Made::default();
        let group = made.start(&runtime, 3).await;
        let slot = group.group().routing().clone();
        slot.swap(RoutingFunction::new(|job, views| match job {
            Job::Double(0) => panic!("as told"),
            Job::Double(1) => RoutingDecision::Nobody,
            _ => RoutingDecision::To(views[2].id),
        }));
        assert_eq!(group.dispatch(Job::Double(0)).await.expect_err("it panics").kind(), Evaluation);
        assert_eq!(group.dispatch(Job::Double(1)).await.expect_err("nobody").kind(), NoConsumerAvailable);
        for n in 2..10 {
            assert_eq!(group.dispatch(Job::Double(n)).await.expect("the third").delivered_to().number(), 2);
        }
        let foreign = Made::default().start(&runtime, 9).await.group().consumers()[8].id;
        slot.swap(RoutingFunction::new(move |_, _| RoutingDecision::To(foreign)));
        assert_eq!(group.dispatch(Job::Double(3)).await.expect_err("not here").kind(), UnknownConsumerSelected);
        slot.swap(RoutingFunction::sticky());
        let first = group.dispatch(Job::Double(3)).key("k").await.expect("completed").delivered_to();
        for n in 0..20 {
            assert_eq!(group.dispatch(Job::Double(n)).key("k").await.expect("completed").delivered_to(), first);
        }
    });
}

/// R13: drain closes the intake, answers who waits, finishes what has begun, and stops the consumers.
#[test]
fn a_drain_finishes_what_has_begun_and_answers_the_rest() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let (open, gate) = gate();
        let begun = group.dispatch(Job::Wait(gate)).start();
        holder(&runtime, &group).await;
        let waits = group.dispatch(Job::Double(1)).start();
        let (draining, drains) = std::sync::mpsc::channel();
        let own = group.clone();
        let drainer = runtime.spawn(async move |_: Context<()>| {
            drop(draining.send(own.drain(LONG).await));
        });
        assert_eq!(waits.await.expect_err("it waited").kind(), Closed);
        assert_eq!(group.dispatch(Job::Double(1)).await.expect_err("closed").kind(), Closed);
        open.open();
        assert_eq!(begun.await.expect("it had begun").into_output(), 0);
        runtime_waits(drainer.expect("a process")).await;
        let report = drains.recv().expect("it was sent");
        assert_eq!((report.left, report.wedged.len()), (0, 0));
        assert!(group.group().consumers().iter().all(|view| view.pid.is_none()));
    });
}

async fn runtime_waits(process: Address<()>) {
    process.ended().await;
}

/// R13: every outstanding future resolves when the runtime goes.
#[test]
fn every_outcome_comes_when_the_runtime_goes() {
    on_threads(async |_| {
        let runtime = Runtime::builder().workers(2).build().expect("threads");
        let group = group_of(&runtime, 1).await;
        let begun = group.dispatch(Job::Hang).start();
        let waits = group.dispatch(Job::Double(1)).start();
        runtime.shutdown(Duration::from_secs(2)).await;
        for conversation in [begun, waits] {
            let kind = conversation.await.expect_err("nobody completes it").kind();
            assert!(matches!(kind, Closed | Conversation | Cancelled), "{kind:?}");
        }
        assert_eq!(group.dispatch(Job::Double(1)).await.expect_err("it is gone").kind(), Closed);
    });
}

/// R7: a conversation that is killed ends its dispatch, and its consumer goes on.
#[test]
fn a_killed_conversation_ends_its_dispatch_only() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let told = Arc::new(AtomicU64::new(0));
        let begun = group.dispatch(Job::UntilCancelled(Arc::clone(&told))).start();
        holder(&runtime, &group).await;
        let first = group.supervisor().conversations();
        let waits = group.dispatch(Job::Double(1)).start();
        let both = group.supervisor().conversations();
        assert_eq!((first.len(), both.len()), (1, 2));
        // The one that waits first: the other's end would hand its consumer over to it.
        let second = both.into_iter().find(|pid| *pid != first[0]).expect("it is there");
        runtime.exit(second, ExitReason::Kill);
        let error = waits.await.expect_err("killed");
        assert_eq!((error.kind(), error.is_safe_to_retry()), (Conversation, true));
        runtime.exit(first[0], ExitReason::Kill);
        let error = begun.await.expect_err("killed");
        assert_eq!((error.kind(), error.is_safe_to_retry()), (Conversation, false));
        until(&runtime, || told.load(Ordering::SeqCst) == 1).await;
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("it goes on").into_output(), 2);
        assert_eq!(group.group().consumers()[0].starts, 1);
        until(&runtime, || group.group().snapshot().in_flight == 0).await;
    });
}

#[test]
fn consumers_join_and_leave() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 2).await;
        let handle = group.group();
        let added = handle.add_consumer(Worker::registration()).await.expect("it starts");
        assert_eq!((added.number(), handle.consumers().len()), (2, 3));
        handle.resize(5).await.expect("they start");
        let (open, gate) = gate();
        let begun = group.dispatch(Job::Wait(gate)).start();
        holder(&runtime, &group).await;
        open.open();
        handle.resize(1).await.expect("they leave");
        begun.await.expect("it finished");
        assert_eq!(handle.consumers().len(), 1);
        assert!(handle.remove_consumer(added, Leave::Drain).await.is_err(), "it has left");
        assert_eq!(group.dispatch(Job::Double(1)).await.expect("one is left").delivered_to().number(), 0);
        handle.remove_consumer(handle.consumers()[0].id, Leave::Reroute).await.expect("the last");
        assert_eq!(group.dispatch(Job::Double(1)).await.expect_err("nobody").kind(), NoConsumerAvailable);
    });
}

#[test]
fn a_paused_group_keeps_messages() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 2).await;
        group.group().pause();
        let waits: Vec<_> = (0..4).map(|n| group.dispatch(Job::Double(n)).start()).collect();
        assert_eq!(group.group().snapshot().waiting, 4);
        group.group().resume();
        for (n, conversation) in (0..).zip(waits) {
            assert_eq!(conversation.await.expect("given out").into_output(), 2 * n);
        }
    });
}

#[test]
fn accepted_is_success_before_completion() {
    on_each_size(async |runtime| {
        let group = group_of(&runtime, 1).await;
        let (open, gate) = gate();
        group.dispatch(Job::Wait(gate)).accepted().await.expect("it began");
        assert_eq!(group.group().snapshot().totals.completed, 0);
        open.open();
        until(&runtime, || group.group().snapshot().totals.completed == 1).await;
    });
}

/// R4: a consumer that cannot start is given up after ten times, the others go on; a group without any ends.
#[test]
fn a_group_whose_consumers_cannot_start_does_not_start() {
    on_each_size(async |runtime| {
        let start = async || Err::<Worker, _>("no database");
        let group = ConsumerGroup::<Job, u64>::of("broken", 2, start).start(&runtime.root()).await;
        assert!(group.expect_err("the first fails").to_string().contains("no database"));
    });
}

/// Bodies that take their deliveries by themselves, in batches.
#[test]
fn a_process_takes_deliveries_in_batches() {
    on_each_size(async |runtime| {
        let body = async |mut inbox: Deliveries<u64, usize>| loop {
            let batch = inbox.next_batch(8, Duration::from_millis(1)).await;
            if batch.is_empty() {
                return ExitReason::Shutdown;
            }
            let size = batch.len();
            batch.into_iter().for_each(|work: Work<u64, usize>| work.complete(size));
        };
        let registration = ConsumerRegistration::process(body).room(8);
        let group = ConsumerGroup::alike("batches", 1, &registration).start(&*runtime).await.expect("it starts");
        group.group().pause();
        let all: Vec<_> = (0..8).map(|n| group.dispatch(n).start()).collect();
        group.group().resume();
        let mut sizes = Vec::new();
        for conversation in all {
            sizes.push(conversation.await.expect("completed").into_output());
        }
        assert!(sizes.iter().all(|size| (1..=8).contains(size)), "{sizes:?}");
        group.drain(LONG).await;
    });
}
