//! What a dispatch hands on and takes back: deadlines and numbers of nested work (R12), its caller's end (R7), handlers that are
//! stopped and work that cannot be (R14), spans, and dead letters that are tried again (R15).
mod workers;

use colloquium::prelude::*;
use colloquium::{Handle, Inherited, OnCancel, Reached, Replayed, StartGroupError};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use workers::{LONG, on_each_size, on_threads, until};

type Group<M, R> = DispatchConversation<M, R>;

/// A group of stateless consumers.
async fn group<M, R, Fut>(
    runtime: &Handle,
    consumers: usize,
    function: impl Fn(Delivery<M>) -> Fut + Clone + Send + Sync + 'static,
    with: impl FnOnce(colloquium::GroupBuilder<M, R>) -> colloquium::GroupBuilder<M, R>,
) -> Result<Group<M, R>, StartGroupError>
where
    M: Send + Sync + 'static,
    R: Send + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'static,
{
    with(ConsumerGroup::alike("group", consumers, &ConsumerRegistration::function(function))).start(runtime).await
}

/// R12: a dispatch in a handler has the handler's deadline, if that is earlier, and knows its message.
#[test]
fn nested_dispatches_inherit_the_smaller_deadline_and_the_number() {
    on_each_size(async |runtime| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (inside, sees) = (runtime.handle(), Arc::clone(&seen));
        let inner = group(
            &inside,
            1,
            move |number: Delivery<u64>| {
                sees.lock().expect("no panic").push((number.parent_id(), number.time_left()));
                async move { Ok(*number) }
            },
            |group| group,
        );
        let inner = inner.await.expect("it starts");
        let to = inner.clone();
        let forward = move |number: Delivery<u64>| {
            let to = to.clone();
            async move {
                to.dispatch(*number).await.or_discard()?;
                to.dispatch(*number).deadline(SECOND).await.or_discard()?;
                assert!(Inherited::current().is_some_and(|work| work.id() == number.id()));
                Ok(())
            }
        };
        let outer = group(&inside, 1, forward, |group| group).await.expect("it starts");
        outer.dispatch(7).id(70).deadline(5 * SECOND).await.expect("completed");
        inner.dispatch(8).await.expect("completed");
        let seen = seen.lock().expect("no panic");
        assert_eq!(seen.iter().map(|(parent, _)| *parent).collect::<Vec<_>>(), [Some(70), Some(70), None]);
        assert!(seen[0].1 <= 5 * SECOND && seen[1].1 <= SECOND && seen[2].1 > 5 * SECOND, "{seen:?}");
        assert!(Inherited::current().is_none(), "it ends with the handler's poll");
    });
}

/// R12: a call in a handler waits no longer than the dispatch is wanted, whatever it was given itself.
#[test]
fn calls_in_a_handler_inherit_the_deadline() {
    on_each_size(async |runtime| {
        let silent = runtime.spawn(async |mut ctx: Context<ReplyTo<()>>| {
            let _kept = ctx.recv().await;
            pending::<()>().await;
        });
        let silent = silent.expect("spawned");
        let callee = silent.clone();
        let told = Arc::new(AtomicBool::new(false));
        let tells = Arc::clone(&told);
        let call = move |_: Delivery<()>| {
            let (callee, told) = (callee.clone(), Arc::clone(&tells));
            async move {
                let error = callee.call(|reply_to| reply_to).no_timeout().await.expect_err("nobody answers");
                told.store(matches!(error.kind(), colloquium::CallErrorKind::TimedOut), Ordering::SeqCst);
                Ok(())
            }
        };
        let group = group(&runtime, 1, call, |group| group.cancel_grace(LONG)).await.expect("it starts");
        // The call and the dispatch are over at the same moment: either may be first.
        drop(group.dispatch(()).deadline(Duration::from_millis(30)).await);
        until(&runtime, || told.load(Ordering::SeqCst)).await;
        silent.kill();
    });
}

/// R12: into one's own group by way of another is not told from other work: the inherited deadline ends it.
#[test]
fn a_circle_of_groups_ends_by_the_inherited_deadline() {
    on_each_size(async |runtime| {
        let first: Arc<Mutex<Option<Group<u64, ()>>>> = Arc::default();
        let back = Arc::clone(&first);
        let second = move |number: Delivery<u64>| {
            let to = back.lock().expect("no panic").clone().expect("it was started");
            async move { to.dispatch(*number).await.map(drop).or_discard() }
        };
        let second = group(&runtime, 1, second, |group| group).await.expect("it starts");
        let forward = move |number: Delivery<u64>| {
            let second = second.clone();
            async move { second.dispatch(*number).await.map(drop).or_discard() }
        };
        let group = group(&runtime, 1, forward, |group| group).await.expect("it starts");
        *first.lock().expect("no panic") = Some(group.clone());
        let late = group.dispatch(1).deadline(Duration::from_millis(30)).await.expect_err("it waits for itself");
        assert!(matches!(late.kind(), DeadlineExceeded | Discarded), "{late:?}");
        until(&runtime, || group.group().snapshot().in_flight == 0).await;
        *first.lock().expect("no panic") = None;
    });
}

/// R7: the end of the caller cancels, whether its message waits or has been begun with; what was detached goes on.
#[test]
fn the_end_of_the_caller_cancels_its_dispatches() {
    on_each_size(async |runtime| {
        let (cancelled, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counts, counts_done) = (Arc::clone(&cancelled), Arc::clone(&done));
        let wait = move |detached: Delivery<bool>| {
            let (cancelled, done) = (Arc::clone(&counts), Arc::clone(&counts_done));
            async move {
                if *detached {
                    done.fetch_add(1, Ordering::SeqCst);
                } else {
                    detached.cancelled().await;
                    cancelled.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            }
        };
        let group = group(&runtime, 1, wait, |group| group).await.expect("it starts");
        let calls = group.clone();
        let caller = runtime.spawn(async move |mut ctx: Context<()>| {
            let _begun = calls.dispatch(false).start();
            let _waiting = calls.dispatch(false).start();
            calls.dispatch(true).start().detach();
            ctx.recv().await;
        });
        let caller = caller.expect("spawned");
        until(&runtime, || {
            let snapshot = group.group().snapshot();
            snapshot.in_flight == 3 && snapshot.consumers[0].started == 1
        })
        .await;
        caller.kill();
        until(&runtime, || group.group().snapshot().in_flight == 0).await;
        let counts = (cancelled.load(Ordering::SeqCst), done.load(Ordering::SeqCst));
        assert_eq!(counts, (1, 1), "one was told, one withdrawn, one went on");
        assert_eq!(group.group().snapshot().totals.delivered, 2);
    });
}

struct Dropped(Arc<AtomicU64>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Dispatches what hangs, with a deadline, until a handler had begun with it when that came: the machine may have other things to do.
/// How often that was.
async fn late<R: Send + 'static>(group: &DispatchConversation<bool, R>) -> u64 {
    for dispatched in 1..=1000 {
        let Err(late) = group.dispatch(true).deadline(5 * MILLISECOND).await else { panic!("it hangs") };
        assert_eq!(late.kind(), DeadlineExceeded);
        if late.attempts().iter().any(|attempt| attempt.reached == Reached::Started) {
            return dispatched;
        }
    }
    panic!("no handler begins within 5 ms");
}

/// R14: with `Stop` a handler that nobody waits for is dropped; its consumer lives on, and nothing is held against it.
#[test]
fn a_handler_is_stopped_where_that_is_wanted() {
    on_each_size(async |runtime| {
        let dropped = Arc::new(AtomicU64::new(0));
        let drops = Arc::clone(&dropped);
        let hang = move |hangs: Delivery<bool>| {
            let kept = Dropped(Arc::clone(&drops));
            async move {
                if *hangs {
                    pending::<()>().await;
                }
                std::mem::forget(kept);
                Ok(())
            }
        };
        let group = group(&runtime, 1, hang, |group| group.on_cancel(OnCancel::Stop).cancel_grace(LONG));
        let group = group.await.expect("it starts");
        let pid = group.group().consumers()[0].pid;
        for n in 1..=6 {
            let conversation = group.dispatch(true).start();
            until(&runtime, || group.group().consumers()[0].started == 1).await;
            drop(conversation);
            group.dispatch(false).await.expect("the consumer goes on");
            assert_eq!(dropped.load(Ordering::SeqCst), n);
        }
        let late = late(&group).await;
        group.dispatch(false).await.expect("the consumer goes on");
        let snapshot = group.group().snapshot();
        assert_eq!((snapshot.consumers[0].pid, snapshot.totals.ejections, snapshot.totals.failed), (pid, 0, 0));
        assert_eq!((dropped.load(Ordering::SeqCst), snapshot.totals.lost), (7, 6 + late));
    });
}

/// R12, R14: a body that takes deliveries by itself hands on what it handles as handlers do, and is stopped there; nowhere else.
#[test]
fn what_a_body_handles_by_itself_hands_on_and_is_stopped() {
    on_each_size(async |runtime| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (sees, dropped) = (Arc::clone(&seen), Arc::new(AtomicU64::new(0)));
        let drops = Arc::clone(&dropped);
        let body = move |mut inbox: colloquium::Deliveries<bool, u64>| {
            let (sees, drops) = (Arc::clone(&sees), Arc::clone(&drops));
            async move {
                while let Some(work) = inbox.next().await {
                    assert!(Inherited::current().is_none(), "nobody knows what it will do with it");
                    let (sees, kept) = (&sees, Dropped(Arc::clone(&drops)));
                    let handler = async |hangs: Delivery<bool>| {
                        if *hangs {
                            pending::<()>().await;
                        }
                        std::mem::forget(kept);
                        let work = Inherited::current().expect("it is handled");
                        sees.lock().expect("no panic").push((work.id(), work.deadline_for(work.process())));
                        Ok(work.id())
                    };
                    work.handle(handler).await;
                    assert!(Inherited::current().is_none(), "it ends with the handler's poll");
                }
            }
        };
        let group = ConsumerGroup::alike("bodies", 1, &ConsumerRegistration::process(body));
        let group = group.on_cancel(OnCancel::Stop).cancel_grace(LONG).start(&*runtime).await.expect("it starts");
        let pid = group.group().consumers()[0].pid;
        let now = runtime.now();
        assert_eq!(group.dispatch(false).id(70).deadline(SECOND).await.expect("completed").into_output(), 70);
        let (id, until_then) = seen.lock().expect("no panic")[0];
        assert!(id == 70 && until_then.is_some_and(|then| then >= now + SECOND && then <= runtime.now() + SECOND));
        let conversation = group.dispatch(true).start();
        until(&runtime, || group.group().consumers()[0].started == 1).await;
        drop(conversation);
        late(&group).await;
        group.dispatch(false).await.expect("the consumer goes on");
        assert_eq!(dropped.load(Ordering::SeqCst), 2);
        let snapshot = group.group().snapshot();
        assert_eq!((snapshot.consumers[0].pid, snapshot.totals.failed, snapshot.totals.crashed), (pid, 0, 0));
    });
}

/// R14: the flag of blocking work is set by a cancel; its place and key are held until it has returned, stopped or not.
#[test]
fn blocking_work_is_told_of_a_cancel_and_holds_its_key() {
    on_threads(async |runtime| {
        for act in [OnCancel::Finish, OnCancel::Stop] {
            let (running, order) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
            let (runs, notes) = (Arc::clone(&running), Arc::clone(&order));
            let block = move |number: Delivery<u64>| {
                let (running, order) = (Arc::clone(&runs), Arc::clone(&notes));
                async move {
                    let work = number.run_blocking_cancellable(move |number, cancel| {
                        order.lock().expect("no panic").push((*number, "begins"));
                        running.store(true, Ordering::SeqCst);
                        while *number == 1 && !cancel.is_cancelled() {
                            std::thread::yield_now();
                        }
                        order.lock().expect("no panic").push((*number, "returns"));
                    });
                    Ok(work.await?)
                }
            };
            let group = group(&runtime, 2, block, |group| group.on_cancel(act).keyed_by(|_| 1).cancel_grace(LONG));
            let group = group.await.expect("it starts");
            let first = group.dispatch(1).start();
            until(&runtime, || running.load(Ordering::SeqCst)).await;
            let second = group.dispatch(2).start();
            drop(first);
            second.await.expect("it has the key now");
            let order = std::mem::take(&mut *order.lock().expect("no panic"));
            assert_eq!(order, [(1, "begins"), (1, "returns"), (2, "begins"), (2, "returns")], "{act:?}");
        }
    });
}

/// R14, R10: a consumer that is killed leaves its closure running; no other begins with the key before that has returned.
#[test]
fn a_closure_that_outlives_its_consumer_holds_the_key() {
    on_threads(async |runtime| {
        let (running, release) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let overlapped = Arc::new(AtomicBool::new(false));
        let (counts, released, overlaps) = (Arc::clone(&running), Arc::clone(&release), Arc::clone(&overlapped));
        let block = move |number: Delivery<u64>| {
            let (running, release, overlapped) = (Arc::clone(&counts), Arc::clone(&released), Arc::clone(&overlaps));
            async move {
                let work = number.run_blocking(move |number| {
                    if running.fetch_add(1, Ordering::SeqCst) > 0 {
                        overlapped.store(true, Ordering::SeqCst);
                    }
                    while *number == 1 && !release.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                });
                Ok(work.await?)
            }
        };
        let group = group(&runtime, 3, block, |group| group.keyed_by(|_| 1)).await.expect("it starts");
        let first = group.dispatch(1).start();
        let second = group.dispatch(2).start();
        until(&runtime, || running.load(Ordering::SeqCst) == 1).await;
        let holder = group.group().consumers().iter().find(|view| view.started > 0).and_then(|view| view.pid);
        runtime.exit(holder.expect("somebody has it"), ExitReason::Kill);
        until(&runtime, || group.group().snapshot().totals.lost == 1).await;
        // A third of the same message's key waits like the others.
        group.dispatch(3).deadline(Duration::from_millis(50)).await.expect_err("the key is not free");
        assert_eq!(running.load(Ordering::SeqCst), 1, "the closure still runs");
        release.store(true, Ordering::SeqCst);
        first.await.expect("tried elsewhere");
        second.await.expect("in its turn");
        assert!(!overlapped.load(Ordering::SeqCst));
    });
}

/// R15: letters are tried again one by one, at a rate, and thrown away; what is not done with stays.
#[test]
fn dead_letters_are_tried_again_and_dropped() {
    on_each_size(async |runtime| {
        let good = Arc::new(AtomicU64::new(0));
        let limit = Arc::clone(&good);
        let picky = move |number: Delivery<u64>| {
            let good = limit.load(Ordering::SeqCst);
            async move { if *number < good { Ok(*number) } else { Err(Failure::discard("not yet")) } }
        };
        let group =
            group(&runtime, 2, picky, |group| group.keyed_by(|number: &u64| number % 2)).await.expect("it starts");
        for number in 0..6 {
            group.dispatch(number).id(100 + number).await.expect_err("discarded");
        }
        let consumers = group.group();
        assert!(consumers.replay_dead_letter(99).await.is_none());
        let again = consumers.replay_dead_letter(103).await.expect("it is there").expect_err("not yet");
        assert_eq!((again.kind(), consumers.dead_letters().len()), (Discarded, 6));
        good.store(4, Ordering::SeqCst);
        let outcome = consumers.replay_dead_letter(103).await.expect("it is there").expect("completed");
        assert_eq!((outcome.into_output(), consumers.dead_letters().len()), (3, 5));
        let began = runtime.now();
        let Replayed { completed, died, kept, .. } = consumers.replay_dead_letters(Some(200.0)).await;
        assert_eq!((completed, died, kept), (3, 2, 0));
        assert!(
            runtime.now().saturating_sub(began) >= Duration::from_millis(20),
            "five, of which the first goes at once"
        );
        let ids: Vec<u64> = consumers.dead_letters().iter().map(|letter| letter.id).collect();
        assert_eq!(ids, [104, 105]);
        drop(group.drain(LONG).await);
        let Replayed { completed, died, kept, .. } = consumers.replay_dead_letters(None).await;
        assert_eq!((completed, died, kept, consumers.dead_letters().len()), (0, 0, 2, 2), "a closed group keeps them");
        assert_eq!((consumers.drop_dead_letters(), consumers.dead_letters().len()), (2, 0));
    });
}

/// R15: the bound in bytes is by the size that the user tells.
#[test]
fn dead_letters_are_bounded_in_bytes() {
    on_each_size(async |runtime| {
        let refuse = |_: Delivery<usize>| async { Err::<(), _>(Failure::discard("never")) };
        let group = group(&runtime, 1, refuse, |group| group.sized_by(|bytes| *bytes).dead_letters(10, 100));
        let group = group.await.expect("it starts");
        for (id, bytes) in (0..).zip([40, 50, 30, 500, 1]) {
            group.dispatch(bytes).id(id).await.expect_err("discarded");
            let kept: Vec<u64> = group.group().dead_letters().iter().map(|letter| letter.id).collect();
            let expected: &[u64] = match id {
                0 => &[0],
                1 => &[0, 1],
                2 => &[1, 2],
                3 => &[3],
                _ => &[4],
            };
            assert_eq!(kept, expected);
        }
    });
}
