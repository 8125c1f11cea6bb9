//! Futures that are dropped: before their first poll, while they wait, and when they have been woken and not polled again.
//! No message is lost, doubled or reordered by that, and nothing is left behind.

mod bounded;
mod workers;

use bounded::{Wakes, as_process, next, poll_once, until, within};
use colloquium::{Activity, Address, Context, ExitReason, LookupError, Mailbox, ReplyTo, SendErrorKind, TimedOut};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Polling, Poll, Waker};
use std::time::Duration;
use workers::{on_each_size, on_each_size_whole};

const LONG: Duration = Duration::from_secs(1000);

/// Polls by hand, with a waker that the test counts.
fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Polling::from_waker(waker))
}

/// The four receives; which of them matters little to a message.
async fn receive(ctx: &mut Context<u32>, how: usize) -> u32 {
    match how % 4 {
        0 => ctx.recv().await,
        1 => ctx.recv_timeout(LONG).await.expect("a message, long before"),
        2 => ctx.recv_matching(|_| true).await,
        _ => ctx.recv_matching_timeout(LONG, |_| true).await.expect("a message, long before"),
    }
}

#[test]
fn a_dropped_receive_loses_no_message_at_any_moment() {
    on_each_size_whole(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            let own = ctx.address();
            for how in 0..4 {
                drop(receive(&mut ctx, how));
                own.send(1).expect("room");
                drop(receive(&mut ctx, how));
                assert_eq!(receive(&mut ctx, how).await, 1);
                {
                    let mut waiting = pin!(receive(&mut ctx, how));
                    assert!(poll_once(&mut waiting).await.is_pending());
                }
                own.send(2).expect("room");
                assert_eq!(receive(&mut ctx, how).await, 2);
                {
                    let mut waiting = pin!(receive(&mut ctx, how));
                    assert!(poll_once(&mut waiting).await.is_pending());
                    own.send(3).expect("room");
                    own.send(4).expect("room");
                }
                assert_eq!(receive(&mut ctx, how + 1).await, 3);
                assert_eq!(receive(&mut ctx, how).await, 4);
            }
        })
        .await;
        until(|| runtime.runtime_info().timers == 0).await;
    });
}

#[test]
fn a_dropped_choice_leaves_all_in_order() {
    on_each_size_whole(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            let own = ctx.address();
            let mut expected = Vec::new();
            for round in 0..20 {
                own.send(round).expect("room");
                expected.push(round);
                let none = |_: &u32| false;
                match round % 4 {
                    0 => assert!(poll_once(&mut ctx.recv_matching(none)).await.is_pending()),
                    1 => assert!(poll_once(&mut ctx.recv_matching_timeout(LONG, none)).await.is_pending()),
                    2 => assert_eq!(ctx.recv_matching_timeout(Duration::from_nanos(1), none).await, Err(TimedOut)),
                    _ => drop(ctx.recv_matching(none)),
                }
            }
            let all: Vec<u32> = std::iter::from_fn(|| ctx.try_recv()).collect();
            assert_eq!(all, expected);
        })
        .await;
        until(|| runtime.runtime_info().timers == 0).await;
    });
}

#[test]
fn a_receive_wakes_whoever_polled_it_last() {
    on_each_size_whole(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            let own = ctx.address();
            for how in 0..4 {
                let ((first, first_waker), (second, second_waker)) = (Wakes::new(), Wakes::new());
                {
                    let mut waiting = pin!(receive(&mut ctx, how));
                    assert!(poll_with(&mut waiting, &first_waker).is_pending());
                    assert!(poll_with(&mut waiting, &second_waker).is_pending());
                    own.send(1).expect("room");
                    assert_eq!((first.count(), second.count()), (0, 1), "{how}");
                }
                assert_eq!(receive(&mut ctx, how).await, 1);
                // The process itself is woken again after a part of it has received.
                let sender = own.clone();
                let later = ctx.runtime().spawn(async move |_: Context<()>| sender.send(2).expect("room"));
                assert_eq!(receive(&mut ctx, how).await, 2);
                within(later.expect("a sender").ended()).await;
            }
        })
        .await;
    });
}

/// Own waker, a part's, and own again, with nothing received in between: the process is woken.
#[test]
fn a_process_is_woken_after_a_part_of_it_has_given_up() {
    on_each_size_whole(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            for (how, before) in (0..4).flat_map(|how| (0..4).map(move |before| (how, before))) {
                let (_, part) = Wakes::new();
                if before % 2 == 1 {
                    ctx.address().send(1).expect("room");
                    assert_eq!(ctx.recv().await, 1);
                }
                if before > 1 {
                    assert!(poll_once(&mut pin!(receive(&mut ctx, how))).await.is_pending());
                }
                assert!(poll_with(&mut pin!(receive(&mut ctx, how)), &part).is_pending());
                {
                    let (handle, own) = (ctx.runtime(), ctx.address());
                    let mut waiting = pin!(receive(&mut ctx, how));
                    assert!(poll_once(&mut waiting).await.is_pending());
                    let sender = handle.spawn(async move |_: Context<()>| own.send(2).expect("room"));
                    assert_eq!(within(waiting).await, 2, "{how} {before}");
                    within(sender.expect("a sender").ended()).await;
                }
            }
        })
        .await;
    });
}

async fn send_numbers(ctx: Context<()>, to: Address<u32>, sender: u32, count: u32) {
    for number in 0..count {
        to.send_wait(sender << 16 | number).no_timeout().await.expect("the receiver lives");
        if number % 5 == sender {
            ctx.sleep(Duration::ZERO).await;
        }
    }
}

/// A receiver that gives up its receives again and again, at every stage, while others send into its small mailbox.
#[test]
fn giving_up_receives_among_senders_keeps_each_senders_order() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 500;
    on_each_size_whole(async |runtime| {
        let receiver = runtime.build().mailbox(Mailbox::bounded(3)).spawn(async |mut ctx: Context<u32>| {
            let mut next = [0; SENDERS as usize];
            let mut how = 0;
            while next.iter().sum::<u32>() < SENDERS * EACH {
                how += 1;
                let got = {
                    let mut waiting = pin!(receive(&mut ctx, how / 3));
                    match how % 3 {
                        0 => Poll::Ready(waiting.await),
                        1 => poll_once(&mut waiting).await,
                        _ => Poll::Pending,
                    }
                };
                match got {
                    Poll::Ready(message) => {
                        let sender = &mut next[(message >> 16) as usize];
                        assert_eq!(message & 0xffff, *sender);
                        *sender += 1;
                    }
                    Poll::Pending => ctx.yield_now().await,
                }
            }
            assert_eq!(ctx.try_recv(), None);
        });
        let receiver = receiver.expect("a receiver");
        for sender in 0..SENDERS {
            let to = receiver.clone();
            runtime.spawn(move |ctx| send_numbers(ctx, to, sender, EACH)).expect("a sender");
        }
        assert_eq!(within(receiver.ended()).await, ExitReason::Normal);
        until(|| runtime.processes().is_empty() && runtime.runtime_info().timers == 0).await;
    });
}

#[test]
fn a_dropped_send_wait_has_delivered_or_withdrawn_its_message() {
    on_each_size_whole(async |runtime| {
        let body = async |mut ctx: Context<u32>| {
            let own = ctx.address();
            drop(own.send_wait(9));
            own.send(0).expect("room for two");
            own.send(1).expect("room for two");
            let (wakes, waker) = Wakes::new();
            let mut second = own.send_wait(2).timeout(LONG);
            let mut third = own.send_wait(3).no_timeout();
            assert!(poll_with(&mut second, &waker).is_pending());
            assert!(poll_with(&mut third, &waker).is_pending());
            // Withdrawn while it waits: the one behind it moves up.
            drop(second);
            assert_eq!(ctx.recv().await, 0);
            until(|| wakes.count() > 0).await;
            // Let in, and not told of it before it is dropped.
            drop(third);
            assert_eq!(ctx.recv().await, 1);
            assert_eq!(ctx.recv().await, 3);
            assert_eq!(ctx.try_recv(), None);
            own.send(4).expect("room again");
            assert_eq!(ctx.recv().await, 4);
        };
        let process = runtime.build().mailbox(Mailbox::bounded(2)).spawn(body).expect("a process");
        assert_eq!(within(process.ended()).await, ExitReason::Normal);
        until(|| runtime.runtime_info().timers == 0).await;
    });
}

#[test]
fn a_call_that_is_dropped_unpolled_asks_nothing() {
    on_each_size(async |runtime| {
        let callee = runtime.spawn(async |mut ctx: Context<Option<ReplyTo<u32>>>| assert!(ctx.recv().await.is_none()));
        let callee = callee.expect("a callee");
        drop(callee.call(Some));
        let caller = callee.clone();
        as_process(&runtime, async move |mut ctx: Context<()>| {
            drop(ctx.call(&caller, |_: ReplyTo<u32>| panic!("asked")));
            assert_eq!(ctx.runtime().info(ctx.pid()).expect("alive").activity, Activity::Active);
            caller.send(None).expect("room");
        })
        .await;
        assert_eq!(within(callee.ended()).await, ExitReason::Normal);
    });
}

#[test]
fn a_call_that_is_dropped_while_it_waits_sends_the_answer_back() {
    on_each_size_whole(async |runtime| {
        let (hand, mut handed) = std::sync::mpsc::channel();
        let callee = runtime.spawn(async move |mut ctx: Context<ReplyTo<u32>>| {
            loop {
                hand.send(ctx.recv().await).expect("the test waits");
            }
        });
        let callee = callee.expect("a callee");
        as_process(&runtime, async move |mut ctx: Context<()>| {
            for answered in [false, true] {
                let mut call = ctx.call(&callee, |reply_to| reply_to).timeout(LONG);
                assert!(poll_once(&mut call).await.is_pending());
                let reply_to = next(&mut handed).await;
                assert!(reply_to.is_awaited());
                if answered {
                    assert_eq!(reply_to.send(1), Ok(()), "it counts, though nobody will look");
                    drop(call);
                } else {
                    drop(call);
                    assert!(!reply_to.is_awaited());
                    assert_eq!(reply_to.send(2), Err(2));
                }
                assert_eq!(ctx.runtime().info(ctx.pid()).expect("alive").activity, Activity::Active);
            }
            assert_eq!(ctx.try_recv(), None);
        })
        .await;
        until(|| runtime.runtime_info().timers == 0).await;
    });
}

#[test]
fn a_dropped_multi_call_sends_the_answers_back() {
    on_each_size_whole(async |runtime| {
        let (hand, mut handed) = std::sync::mpsc::channel();
        let keeper = || {
            let hand = hand.clone();
            runtime.spawn(async move |mut ctx: Context<ReplyTo<u32>>| {
                hand.send(ctx.recv().await).expect("the test waits");
                ctx.recv().await;
            })
        };
        let callees = [keeper().expect("a callee"), keeper().expect("a callee")];
        as_process(&runtime, async move |mut ctx: Context<()>| {
            drop(ctx.multi_call(&callees, |reply_to| reply_to));
            let mut calls = ctx.multi_call(&callees, |reply_to| reply_to).timeout(LONG);
            assert!(poll_once(&mut calls).await.is_pending());
            let replies = [next(&mut handed).await, next(&mut handed).await];
            drop(calls);
            for reply_to in replies {
                assert_eq!(reply_to.send(3), Err(3));
            }
        })
        .await;
        until(|| runtime.runtime_info().timers == 0).await;
    });
}

#[test]
fn an_answer_wakes_whoever_polled_the_call_last() {
    on_each_size_whole(async |runtime| {
        let (hand, mut handed) = std::sync::mpsc::channel();
        let callee = runtime.spawn(async move |mut ctx: Context<ReplyTo<u32>>| {
            hand.send(ctx.recv().await).expect("the test waits");
            ctx.recv().await;
        });
        let callee = callee.expect("a callee");
        let ((first, first_waker), (second, second_waker)) = (Wakes::new(), Wakes::new());
        let mut call = callee.call(|reply_to| reply_to);
        assert!(poll_with(&mut call, &first_waker).is_pending());
        let reply_to = next(&mut handed).await;
        assert!(poll_with(&mut call, &second_waker).is_pending());
        assert_eq!(reply_to.send(5), Ok(()));
        assert_eq!((first.count(), second.count()), (0, 1));
        assert!(matches!(poll_with(&mut call, &second_waker), Poll::Ready(Ok(5))));
    });
}

#[test]
fn the_wait_for_an_end_may_be_dropped_and_begun_anew() {
    on_each_size_whole(async |runtime| {
        let process = runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await).expect("a process");
        let ((_, dropped_waker), (kept, kept_waker)) = (Wakes::new(), Wakes::new());
        for _ in 0..100 {
            drop(process.ended());
            assert!(poll_with(&mut process.ended(), &dropped_waker).is_pending());
        }
        let mut waiting = process.ended();
        assert!(poll_with(&mut waiting, &dropped_waker).is_pending());
        assert!(poll_with(&mut waiting, &kept_waker).is_pending());
        process.send(()).expect("room");
        until(|| kept.count() == 1).await;
        assert_eq!(poll_with(&mut waiting, &kept_waker), Poll::Ready(ExitReason::Normal));
        assert_eq!(poll_with(&mut process.ended(), &kept_waker), Poll::Ready(ExitReason::Normal));
    });
}

#[test]
fn a_dropped_wait_for_a_name_takes_nobody_elses_place() {
    on_each_size_whole(async |runtime| {
        let ((dropped, dropped_waker), (kept, kept_waker)) = (Wakes::new(), Wakes::new());
        let mut kept_wait = pin!(runtime.whereis_or_wait::<()>("late", LONG));
        assert!(poll_with(&mut kept_wait, &kept_waker).is_pending());
        drop(runtime.whereis_or_wait::<()>("late", LONG));
        for _ in 0..100 {
            let mut wait = pin!(runtime.whereis_or_wait::<()>("late", LONG));
            assert!(poll_with(&mut wait, &dropped_waker).is_pending());
        }
        assert_eq!(runtime.runtime_info().timers, 1);
        let process = runtime.build().name("late").spawn(async |mut ctx: Context<()>| ctx.recv().await);
        assert_eq!((kept.count(), dropped.count()), (1, 0));
        assert_eq!(poll_with(&mut kept_wait, &kept_waker), Poll::Ready(Ok(process.expect("a process"))));
        let gone = runtime.whereis_or_wait::<()>("later", Duration::from_millis(1)).await;
        assert_eq!(gone, Err(LookupError::TimedOut));
    });
}

#[test]
fn a_dropped_sleep_takes_its_timer_with_it() {
    on_each_size_whole(async |runtime| {
        let (wakes, waker) = Wakes::new();
        drop(runtime.sleep(LONG));
        let mut sleeps: Vec<_> = (0..100).map(|_| runtime.sleep(LONG)).collect();
        assert_eq!(runtime.runtime_info().timers, 0);
        assert!(sleeps.iter_mut().all(|sleep| poll_with(sleep, &waker).is_pending()));
        assert_eq!(runtime.runtime_info().timers, 100);
        drop(sleeps);
        assert_eq!((runtime.runtime_info().timers, wakes.count()), (0, 0));
        // Fired, woken, and dropped without a look.
        let mut short = runtime.sleep(Duration::from_millis(1));
        assert!(poll_with(&mut short, &waker).is_pending());
        until(|| wakes.count() == 1).await;
        drop(short);
        assert_eq!(runtime.runtime_info().timers, 0);
    });
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Dropped by itself, withdrawn, returned, set aside, left over: each message is dropped once.
#[test]
fn every_message_is_dropped_once_wherever_it_ends() {
    on_each_size_whole(async |runtime| {
        let drops = Arc::new(AtomicUsize::new(0));
        let message = || Counted(Arc::clone(&drops));
        let process = runtime.build().mailbox(Mailbox::bounded(4)).spawn(async |mut ctx: Context<Counted>| {
            drop(ctx.recv().await);
            let _ = ctx.recv_matching_timeout(Duration::from_nanos(1), |_| false).await;
            ctx.sleep(LONG).await;
        });
        let process = process.expect("a process");
        for _ in 0..5 {
            process.send_wait(message()).await.expect("room, for one has been received");
        }
        assert_eq!(process.send(message()).expect_err("it is full").kind(), SendErrorKind::Full);
        let mut withdrawn = process.send_wait(message());
        let (_, waker) = Wakes::new();
        assert!(poll_with(&mut withdrawn, &waker).is_pending());
        drop(withdrawn);
        assert_eq!(drops.load(Ordering::SeqCst), 3, "one received, one refused, one withdrawn");
        let mut waiting = process.send_wait(message());
        assert!(poll_with(&mut waiting, &waker).is_pending());
        process.kill();
        within(process.ended()).await;
        assert!(matches!(poll_with(&mut waiting, &waker), Poll::Ready(Err(_))));
        drop(waiting);
        assert_eq!(drops.load(Ordering::SeqCst), 8);
    });
}

#[test]
fn after_a_dropped_call_the_next_one_is_as_any_other() {
    on_each_size_whole(async |runtime| {
        let callee = runtime.spawn(async |mut ctx: Context<ReplyTo<u32>>| {
            loop {
                let _ = ctx.recv().await.send(7);
            }
        });
        let callee = callee.expect("a callee");
        as_process(&runtime, async move |mut ctx: Context<()>| {
            for round in 0..300 {
                let mut call = ctx.call(&callee, |reply_to| reply_to).timeout(LONG);
                for _ in 0..round % 3 {
                    if poll_once(&mut call).await.is_ready() {
                        break;
                    }
                }
                drop(call);
                assert_eq!(ctx.call(&callee, |reply_to| reply_to).timeout(LONG).await.expect("an answer"), 7);
            }
        })
        .await;
        until(|| runtime.runtime_info().timers == 0).await;
    });
}
