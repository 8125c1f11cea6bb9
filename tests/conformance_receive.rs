//! S-070 to S-079 of `conformance/otp.md`, and more of their kind: a child's first breath, and taking messages out.
//!
//! S-079 (hibernation) has no counterpart of its own: a process that waits gives large buffers back by itself. What is
//! shown here is its other half, that a message wakes it, one that is there already too.

mod bounded;
mod workers;

use bounded::{as_process, came, now, poll_once, until, within};
use colloquium::simulation::is_simulated;
use colloquium::{Address, Context, Down, Exit, ExitReason, Handle, SpawnError, TimedOut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use workers::{on_each_size, on_each_size_whole, some_of};

const ROUNDS: usize = 100;

/// A body that ends at once with this reason; the reason is made anew, so that equality says something.
async fn ends_at_once(which: usize) -> Result<(), ExitReason> {
    match which % 4 {
        0 => Ok(()),
        1 => Err(ExitReason::error("at once")),
        2 => Err(ExitReason::Shutdown),
        _ => panic!("at once"),
    }
}

fn is_its_own(which: usize, reason: &ExitReason) -> bool {
    match which % 4 {
        0 => *reason == ExitReason::Normal,
        1 => *reason == ExitReason::error("at once"),
        2 => *reason == ExitReason::Shutdown,
        _ => matches!(reason, ExitReason::Panicked(panic) if panic.message() == "at once"),
    }
}

#[test]
fn s_070_a_monitored_child_that_ends_at_once_tells_its_own_reason() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<Down>| {
            for which in 0..ROUNDS {
                let (child, monitor) =
                    ctx.spawn_monitor(move |_: Context<()>| ends_at_once(which), |down| down).expect("a child");
                let down = ctx.recv().await;
                assert_eq!((down.monitor, down.pid), (monitor, Some(child.pid())));
                assert!(is_its_own(which, &down.reason), "{:?}", down.reason);
            }
        })
        .await;
    });
}

#[test]
fn s_071_a_linked_child_that_ends_at_once_tells_its_own_reason() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            for which in 0..ROUNDS {
                let child = ctx.spawn_link(move |_: Context<()>| ends_at_once(which)).expect("a child");
                let exit = ctx.recv().await;
                assert_eq!((exit.from, exit.by_link), (Some(child.pid()), true));
                assert!(is_its_own(which, &exit.reason), "{:?}", exit.reason);
            }
        })
        .await;
    });
}

#[test]
fn s_071_a_panic_while_the_body_is_made_comes_along_the_link() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            let made = |_: Context<()>| -> std::future::Ready<()> { panic!("not made") };
            let child = ctx.spawn_link(made).expect("spawning succeeds, the child fails");
            let exit = ctx.recv().await;
            assert_eq!(exit.from, Some(child.pid()));
            assert!(matches!(&exit.reason, ExitReason::Panicked(panic) if panic.message() == "not made"));
        })
        .await;
    });
}

#[test]
fn s_071_a_linked_child_never_outlives_its_parent() {
    on_each_size(async |runtime| {
        for _ in 0..ROUNDS {
            let (tell, told) = std::sync::mpsc::channel();
            let parent = runtime.spawn(async move |mut ctx: Context<()>| {
                let child = ctx.spawn_link(async |mut ctx: Context<()>| ctx.recv().await).expect("a child");
                tell.send(child).expect("the test waits");
                Err::<(), _>("the parent ends")
            });
            within(parent.expect("a parent").ended()).await;
            let child = came(&told);
            assert_eq!(within(child.ended()).await, ExitReason::error("the parent ends"));
        }
    });
}

#[test]
fn s_071_a_doomed_parent_spawns_nobody() {
    on_each_size(async |runtime| {
        let (tell, told) = std::sync::mpsc::channel();
        let parent = runtime.spawn(async move |mut ctx: Context<()>| {
            ctx.address().kill();
            let calls = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&calls);
            let spawned = ctx.spawn_link(move |_: Context<()>| {
                seen.fetch_add(1, Ordering::SeqCst);
                async {}
            });
            tell.send((spawned.map(|child| child.pid()), calls.load(Ordering::SeqCst))).expect("the test waits");
        });
        assert_eq!(within(parent.expect("a parent").ended()).await, ExitReason::Killed);
        assert_eq!(came(&told), (Err(SpawnError::Ending), 0));
    });
}

/// Fills the mailbox of the process with these, in their order.
fn post(ctx: &Context<u32>, messages: impl IntoIterator<Item = u32>) {
    let own = ctx.address();
    messages.into_iter().for_each(|message| own.send(message).expect("room in the own mailbox"));
}

fn take_all(ctx: &mut Context<u32>) -> Vec<u32> {
    std::iter::from_fn(|| ctx.try_recv()).collect()
}

/// Every order in which two of five messages can be chosen.
#[test]
fn s_073_a_choice_leaves_the_others_in_order() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            for (first, second) in (0..5).flat_map(|first| (0..5).map(move |second| (first, second))) {
                if first == second {
                    continue;
                }
                post(&ctx, 0..5);
                assert_eq!(ctx.recv_matching(|m| *m == first).await, first);
                assert_eq!(ctx.recv_matching(|m| *m == second).await, second);
                let left: Vec<u32> = (0..5).filter(|m| *m != first && *m != second).collect();
                assert_eq!(take_all(&mut ctx), left);
            }
        })
        .await;
    });
}

#[test]
fn s_073_the_oldest_that_matches_is_taken_of_those_set_aside_and_new() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            post(&ctx, [1, 12, 3, 14]);
            assert_eq!(ctx.recv_matching(|m| *m == 14).await, 14);
            post(&ctx, [15, 6]);
            assert_eq!(ctx.recv_matching(|m| *m > 10).await, 12);
            assert_eq!(ctx.recv_matching(|m| *m > 10).await, 15);
            assert_eq!(ctx.recv().await, 1);
            assert_eq!(ctx.recv_timeout(Duration::ZERO).await, Ok(3));
            assert_eq!(take_all(&mut ctx), [6]);
        })
        .await;
    });
}

#[derive(Debug, PartialEq)]
enum Mixed {
    Number(u32),
    Exit(ExitReason),
}

/// Where the exit signal stands among three messages, and which of the messages is chosen first.
#[test]
fn s_073_a_choice_leaves_signals_in_their_place() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<Mixed>| {
            ctx.trap_exits(|exit| Mixed::Exit(exit.reason));
            let own = ctx.address();
            for (place, chosen) in (0..=3).flat_map(|place| (0..3).map(move |chosen| (place, chosen))) {
                let mut expected: Vec<Mixed> = (0..3).map(Mixed::Number).collect();
                expected.insert(place, Mixed::Exit(ExitReason::Shutdown));
                expected.retain(|m| *m != Mixed::Number(chosen));
                for number in 0..3 {
                    if number as usize == place {
                        own.exit(ExitReason::Shutdown);
                    }
                    own.send(Mixed::Number(number)).expect("room");
                }
                if place == 3 {
                    own.exit(ExitReason::Shutdown);
                }
                assert_eq!(ctx.recv_matching(|m| *m == Mixed::Number(chosen)).await, Mixed::Number(chosen));
                let left: Vec<Mixed> = std::iter::from_fn(|| ctx.try_recv()).collect();
                assert_eq!(left, expected, "signal at {place}, {chosen} chosen");
            }
        })
        .await;
    });
}

#[test]
fn s_073_what_has_been_looked_at_is_not_looked_at_again_while_waiting() {
    const EACH: u32 = 50;
    on_each_size(async |runtime| {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let receiver = runtime.spawn(async move |mut ctx: Context<u32>| {
            let is_last = |m: &u32| {
                counted.fetch_add(1, Ordering::SeqCst);
                *m == 2 * EACH
            };
            assert_eq!(ctx.recv_matching(is_last).await, 2 * EACH);
            assert_eq!(take_all(&mut ctx), (0..2 * EACH).collect::<Vec<_>>());
        });
        let receiver = receiver.expect("a receiver");
        // Half of them in a heap, half one by one, each of which wakes the receiver anew.
        for message in 0..EACH {
            receiver.send(message).expect("room");
        }
        for message in EACH..=2 * EACH {
            until(|| looks.load(Ordering::SeqCst) == message as usize).await;
            receiver.send(message).expect("room");
        }
        assert_eq!(within(receiver.ended()).await, ExitReason::Normal);
        assert_eq!(looks.load(Ordering::SeqCst), 2 * EACH as usize + 1);
    });
}

#[test]
fn s_073_a_panic_of_the_choice_loses_nothing() {
    on_each_size_whole(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            post(&ctx, 0..5);
            std::future::poll_fn(|cx| {
                let mut choice = ctx.recv_matching(|m| if *m == 2 { panic!("no choice") } else { false });
                let polled = catch_unwind(AssertUnwindSafe(|| std::pin::Pin::new(&mut choice).poll(cx)));
                assert!(polled.is_err());
                Poll::Ready(())
            })
            .await;
            assert_eq!(take_all(&mut ctx), [0, 1, 2, 3, 4]);
        })
        .await;
    });
}

#[test]
fn s_074_a_time_out_of_zero_takes_what_is_there_and_else_times_out_at_once() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            assert_eq!(ctx.recv_timeout(Duration::ZERO).await, Err(TimedOut));
            assert_eq!(ctx.recv_matching_timeout(Duration::ZERO, |_| true).await, Err(TimedOut));
            post(&ctx, [7]);
            assert_eq!(ctx.recv_timeout(Duration::ZERO).await, Ok(7));
            // More than a poll's budget has to be passed over, so that the search yields in between.
            post(&ctx, 0..3000);
            assert_eq!(ctx.recv_matching_timeout(Duration::ZERO, |m| *m == 2999).await, Ok(2999));
            assert_eq!(ctx.recv_matching_timeout(Duration::ZERO, |m| *m == 2999).await, Err(TimedOut));
            // The same among messages that have all been set aside.
            assert_eq!(ctx.recv_matching_timeout(Duration::ZERO, |m| *m == 2998).await, Ok(2998));
            assert_eq!(take_all(&mut ctx), (0..2998).collect::<Vec<_>>());
        })
        .await;
    });
}

/// Wherever in its budget the process is: a signal that is there is found before the time-out.
#[test]
fn s_074_a_time_out_of_zero_finds_a_signal_that_is_there() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<Option<Exit>>| {
            ctx.trap_exits(Some);
            let own = ctx.address();
            for before in 0..some_of(300) {
                ctx.yield_now().await;
                (0..before).for_each(|_| drop(ctx.try_recv()));
                own.exit(ExitReason::Shutdown);
                let found = ctx.recv_matching_timeout(Duration::ZERO, Option::is_some).await;
                assert!(found.is_ok(), "after {before}");
            }
        })
        .await;
    });
}

/// The flow comes from the choice itself: whenever it looks at a message, the next is there.
#[test]
fn s_074_a_flow_of_others_does_not_prolong_the_time_out() {
    const FLOW: usize = 1_000_000;
    on_each_size(async |runtime| {
        let process = runtime.build().mailbox(colloquium::Mailbox::unbounded());
        let process = process.spawn(async |mut ctx: Context<u32>| {
            let own = ctx.address();
            let mut looks = 0;
            own.send(0).expect("room");
            // Simulated, a poll takes a microsecond.
            let time = Duration::from_micros(if is_simulated() { 100 } else { 1000 });
            let choice = ctx.recv_matching_timeout(time, |_| {
                looks += 1;
                if looks < FLOW {
                    own.send(0).expect("room");
                }
                false
            });
            assert_eq!(choice.await, Err(TimedOut));
            assert!(looks < FLOW, "it timed out only when the flow had ended");
        });
        assert_eq!(within(process.expect("a process").ended()).await, ExitReason::Normal);
    });
}

#[test]
fn s_074_a_match_beats_the_time_out() {
    on_each_size_whole(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            for _ in 0..ROUNDS {
                let own = ctx.address();
                let mut receive = ctx.recv_matching_timeout(Duration::from_nanos(1), |m| *m == 2);
                let first = poll_once(&mut receive).await;
                // Time-out and message are both there when it is polled again.
                own.send(1).expect("room");
                own.send(2).expect("room");
                let outcome = match first {
                    Poll::Ready(early) => early,
                    Poll::Pending => receive.await,
                };
                let left = take_all(&mut ctx);
                match outcome {
                    Ok(message) => assert_eq!((message, left), (2, vec![1])),
                    // Only the first poll can have found nothing.
                    Err(TimedOut) => assert!(first.is_ready() && left == [1, 2]),
                }
            }
        })
        .await;
    });
}

#[test]
fn s_075_a_time_out_is_never_early() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            for millis in [0, 1, 2, 5, 17, 50, 100] {
                let at_most = Duration::from_millis(millis);
                let start = now();
                assert_eq!(ctx.recv_timeout(at_most).await, Err(TimedOut));
                assert!(start.elapsed() >= at_most, "{millis} ms");
                let start = now();
                assert_eq!(ctx.recv_matching_timeout(at_most, |_| true).await, Err(TimedOut));
                assert!(start.elapsed() >= at_most, "{millis} ms");
            }
        })
        .await;
    });
}

#[test]
fn s_075_the_longest_time_out_is_for_ever() {
    on_each_size_whole(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            let own = ctx.address();
            let handle = ctx.runtime();
            let mut receive = ctx.recv_timeout(Duration::MAX);
            assert!(poll_once(&mut receive).await.is_pending());
            handle.sleep(Duration::from_millis(20)).await;
            assert!(poll_once(&mut receive).await.is_pending());
            own.send(1).expect("room");
            assert_eq!(receive.await, Ok(1));
            until(|| handle.runtime_info().timers == 0).await;
        })
        .await;
    });
}

#[test]
fn s_075_an_exit_signal_ends_a_process_in_any_receive() {
    async fn wait(mut ctx: Context<u32>, how: usize) {
        let long = Duration::from_secs(1000);
        match how {
            0 => while ctx.recv().await > 0 {},
            1 => while ctx.recv_timeout(long).await.is_ok() {},
            2 => drop(ctx.recv_matching(|_| false).await),
            3 => drop(ctx.recv_matching_timeout(long, |_| false).await),
            _ => ctx.sleep(long).await,
        }
    }
    on_each_size(async |runtime| {
        for how in 0..5 {
            let process = runtime.spawn(move |ctx| wait(ctx, how)).expect("a process");
            process.send(1).expect("room");
            process.send(2).expect("room");
            process.exit(ExitReason::error("enough"));
            assert_eq!(within(process.ended()).await, ExitReason::error("enough"), "{how}");
            until(|| runtime.runtime_info().timers == 0).await;
        }
    });
}

async fn add_up(mut ctx: Context<u64>, heap: u64, tell: std::sync::mpsc::Sender<u64>) {
    loop {
        let mut sum = 0;
        for _ in 0..heap {
            sum += ctx.recv().await;
        }
        tell.send(sum).expect("the test waits");
    }
}

fn next_sum(sums: &std::sync::mpsc::Receiver<u64>) -> u64 {
    came(sums)
}

#[test]
fn s_079_a_process_that_waits_wakes_at_every_message_after_a_flood_as_well() {
    on_each_size(async |runtime| {
        let most = some_of(10_000) as u64;
        for heap in [1, most] {
            let (tell, sums) = std::sync::mpsc::channel();
            let process = runtime.spawn(move |ctx| add_up(ctx, heap, tell)).expect("a process");
            for round in 1..=if heap == 1 { most } else { 10 } {
                (0..heap).for_each(|_| process.send(round).expect("room"));
                assert_eq!(next_sum(&sums), heap * round);
            }
        }
    });
}

#[test]
fn s_079_a_message_that_is_there_is_received_in_the_first_poll() {
    on_each_size_whole(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u32>| {
            let soon = Duration::from_secs(1000);
            post(&ctx, 0..4);
            assert_eq!(poll_once(&mut ctx.recv()).await, Poll::Ready(0));
            assert_eq!(poll_once(&mut ctx.recv_timeout(soon)).await, Poll::Ready(Ok(1)));
            assert_eq!(poll_once(&mut ctx.recv_matching(|m| *m == 2)).await, Poll::Ready(2));
            assert_eq!(poll_once(&mut ctx.recv_matching_timeout(soon, |m| *m == 3)).await, Poll::Ready(Ok(3)));
            assert_eq!(poll_once(&mut ctx.recv()).await, Poll::Pending);
            assert_eq!(ctx.try_recv(), None);
        })
        .await;
    });
}

async fn flood(runtime: Handle, to: Address<(usize, usize)>, sender: usize, count: usize) {
    for number in 0..count {
        to.send((sender, number)).expect("room");
        if number % 7 == sender {
            runtime.sleep(Duration::ZERO).await;
        }
    }
}

#[test]
fn s_073_each_senders_order_holds_in_selective_receives_too() {
    const SENDERS: usize = 4;
    on_each_size(async |runtime| {
        let each = some_of(500);
        as_process(&runtime, async move |mut ctx: Context<(usize, usize)>| {
            for sender in 0..SENDERS {
                let (handle, own) = (ctx.runtime(), ctx.address());
                ctx.spawn(move |_: Context<()>| flood(handle, own, sender, each)).expect("a sender");
            }
            // Always the next of one sender, whatever the others have sent meanwhile.
            for number in 0..each {
                for wanted in (0..SENDERS).rev() {
                    let (_, got) = ctx.recv_matching(|(sender, _)| *sender == wanted).await;
                    assert_eq!(got, number, "of sender {wanted}");
                }
            }
            assert_eq!(ctx.try_recv(), None);
        })
        .await;
    });
}
