//! S-090 to S-094 of `conformance/otp.md`, and more of their kind: timers that send, intervals, exits, sleeping.
//!
//! Of S-090, the message that bears its timer's reference has no counterpart: whoever starts a timer makes the message.

mod bounded;
mod workers;

use bounded::{Moment, PATIENCE, Wakes, as_process, next, now, until, within};
use colloquium::{Address, Context, Exit, ExitReason, Handle, Mailbox, TimerRef};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::task::Context as Polling;
use std::time::Duration;
use workers::{on_each_size, on_each_size_whole, on_sizes, on_threads, some_of};

const LONG: Duration = Duration::from_secs(1000);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A process that shows what it receives and when.
fn witness(runtime: &Handle) -> (Address<u32>, Receiver<(u32, Moment)>) {
    let (show, shown) = channel();
    let process =
        runtime.spawn(async move |mut ctx: Context<u32>| while show.send((ctx.recv().await, now())).is_ok() {});
    (process.expect("a process"), shown)
}

/// All that the process has received up to a message sent now, after a timer that is started now has come.
async fn all_after_a_while(process: &Address<u32>, shown: &mut Receiver<(u32, Moment)>) -> Vec<u32> {
    const LAST: u32 = u32::MAX;
    process.send_after(millis(20), LAST);
    let mut all = Vec::new();
    loop {
        match next(shown).await.0 {
            LAST => return all,
            message => all.push(message),
        }
    }
}

#[test]
fn s_090_a_timer_is_never_early() {
    on_each_size(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        for (message, after) in [0, 1, 5, 50, 7].into_iter().map(millis).enumerate() {
            let start = now();
            process.send_after(after, message as u32);
            let (received, at) = next(&mut shown).await;
            assert_eq!(received, message as u32);
            assert!(at - start >= after, "{after:?}");
            assert_eq!(runtime.info(process.pid()).expect("alive").timers, 0);
        }
    });
}

#[test]
fn s_090_many_timers_come_each_once_and_none_early() {
    on_each_size(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        let mut dice = workers::Dice::new(7);
        let started: Vec<_> = (0..u32::try_from(some_of(2000)).expect("few"))
            .map(|number| {
                let (after, start) = (Duration::from_micros(dice.below(60_000)), now());
                process.send_after(after, number);
                start + after
            })
            .collect();
        let mut seen = vec![false; started.len()];
        for _ in 0..started.len() {
            let (number, at) = next(&mut shown).await;
            assert!(at >= started[number as usize], "{number} is early");
            assert!(!std::mem::replace(&mut seen[number as usize], true), "{number} came twice");
        }
        assert_eq!(all_after_a_while(&process, &mut shown).await, [0_u32; 0]);
    });
}

/// With one worker: among several, two may deliver at once, and nothing is promised.
#[test]
fn s_090_timers_that_are_due_together_come_in_the_order_of_their_start() {
    on_sizes(&[1], async |runtime| {
        for after in [0, 1, 5] {
            as_process(&runtime, async move |mut ctx: Context<u32>| {
                let own = ctx.address();
                (0..1000).for_each(|number| drop(own.send_after(millis(after), number)));
                for number in 0..u32::try_from(some_of(1000)).expect("few") {
                    assert_eq!(ctx.recv().await, number);
                }
            })
            .await;
        }
    });
}

#[test]
fn s_091_a_cancelled_timer_says_what_is_left_and_never_comes() {
    on_threads(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        for after in [millis(1), millis(10), LONG, Duration::MAX] {
            let timer = process.send_after(after, 1);
            let same = timer.clone();
            match timer.cancel() {
                Some(left) => assert!(left <= after && (after < LONG || left > LONG / 2), "{left:?} of {after:?}"),
                // A machine under load may have fired the short ones before.
                None => assert!(after < LONG && next(&mut shown).await.0 == 1),
            }
            assert_eq!((timer.cancel(), same.cancel()), (None, None), "cancelled before");
        }
        assert_eq!(runtime.info(process.pid()).expect("alive").timers, 0);
        assert_eq!(all_after_a_while(&process, &mut shown).await, [0_u32; 0]);
        let fired = process.send_after(Duration::ZERO, 2);
        assert_eq!(next(&mut shown).await.0, 2);
        assert_eq!(fired.cancel(), None);
        // An old reference does not cancel a later timer in the same place.
        process.send_after(millis(1), 3);
        assert_eq!(fired.cancel(), None);
        assert_eq!(next(&mut shown).await.0, 3);
        assert_eq!(runtime.runtime_info().timers, 0);
    });
}

/// Timers of a few microseconds, cancelled at about the time when they fire.
fn cancelled_in_a_race(process: &Address<u32>, rounds: u32) -> Vec<bool> {
    let mut dice = workers::Dice::new(11);
    (0..rounds)
        .map(|number| {
            let timer = process.send_after(Duration::from_micros(dice.below(80)), number);
            let start = now();
            let wait = Duration::from_micros(dice.below(160));
            while start.elapsed() < wait {
                std::hint::spin_loop();
            }
            timer.cancel().is_some()
        })
        .collect()
}

async fn every_cancel_was_definite(process: &Address<u32>, shown: &mut Receiver<(u32, Moment)>, cancelled: &[bool]) {
    let mut came = vec![false; cancelled.len()];
    for number in all_after_a_while(process, shown).await {
        assert!(!std::mem::replace(&mut came[number as usize], true), "{number} came twice");
    }
    // One that was about to be delivered may have been overtaken by the last timer.
    while let Some(missing) = (0..came.len()).find(|at| !cancelled[*at] && !came[*at]) {
        let (number, _) = next(shown).await;
        assert!(!std::mem::replace(&mut came[number as usize], true), "{number} came twice; {missing} is missing");
    }
    for (number, (cancelled, came)) in cancelled.iter().zip(came).enumerate() {
        assert!(*cancelled != came, "{number}: cancelled {cancelled}, came {came}");
    }
}

#[test]
fn s_092_a_cancel_from_another_thread_is_definite() {
    on_threads(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        let cancelled = cancelled_in_a_race(&process, 1000);
        every_cancel_was_definite(&process, &mut shown, &cancelled).await;
        assert_eq!(runtime.runtime_info().timers, 0);
    });
}

#[test]
fn s_092_a_cancel_from_another_process_is_definite() {
    on_each_size(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        let (tell, mut told) = channel();
        let to = process.clone();
        let canceller = runtime.spawn(async move |mut ctx: Context<()>| {
            let mut all = Vec::new();
            let mut dice = workers::Dice::new(13);
            for number in 0..1000 {
                let timer = to.send_after(Duration::from_micros(dice.below(80)), number);
                for _ in 0..dice.below(20) {
                    ctx.yield_now().await;
                }
                all.push(timer.cancel().is_some());
            }
            tell.send(all).expect("the test waits");
        });
        let cancelled = next(&mut told).await;
        assert_eq!(within(canceller.expect("a process").ended()).await, ExitReason::Normal);
        every_cancel_was_definite(&process, &mut shown, &cancelled).await;
    });
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn s_093_the_timers_of_a_dead_process_are_gone_with_what_they_held() {
    on_each_size(async |runtime| {
        let drops = Arc::new(AtomicUsize::new(0));
        let process =
            runtime.spawn(async |mut ctx: Context<Counted>| while ctx.recv().await.0.load(Ordering::SeqCst) < 9 {});
        let process = process.expect("a process");
        let timers: Vec<TimerRef> = (0..1000).map(|_| process.send_after(LONG, Counted(Arc::clone(&drops)))).collect();
        let held = Arc::clone(&drops);
        process.send_interval(LONG, move || Counted(Arc::clone(&held)));
        process.exit_after(LONG, ExitReason::Shutdown);
        assert_eq!(runtime.info(process.pid()).expect("alive").timers, 1002);
        assert_eq!(runtime.runtime_info().timers, 1002);
        process.kill();
        within(process.ended()).await;
        assert_eq!((runtime.runtime_info().timers, drops.load(Ordering::SeqCst)), (0, 1000));
        assert!(timers.iter().all(|timer| timer.cancel().is_none()));
        assert_eq!(Arc::strong_count(&drops), 1, "what the interval held is gone");
        // Void from the start, at a dead process.
        let void = process.send_after(Duration::ZERO, Counted(Arc::clone(&drops)));
        assert_eq!((void.cancel(), runtime.runtime_info().timers, drops.load(Ordering::SeqCst)), (None, 0, 1001));
        let void = process.send_interval(millis(1), || panic!("nobody is there"));
        assert_eq!((void.cancel(), process.exit_after(millis(1), ExitReason::Kill).cancel()), (None, None));
        assert_eq!(runtime.runtime_info().timers, 0);
    });
}

#[test]
fn s_093_a_timer_outlives_the_process_that_started_it() {
    on_each_size(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        let to = process.clone();
        as_process(&runtime, async move |_: Context<()>| drop(to.send_after(millis(5), 4))).await;
        assert_eq!(next(&mut shown).await.0, 4);
    });
}

#[test]
fn s_094_a_timer_to_a_name_finds_who_has_it_then() {
    on_each_size(async |runtime| {
        let ((first, mut at_first), (second, mut at_second)) = (witness(&runtime), witness(&runtime));
        runtime.register("name", &first).expect("a free name");
        let start = now();
        runtime.send_after(millis(30), "name", 1_u32);
        runtime.send_after(millis(30), "late", 2_u32);
        runtime.send_after(millis(30), "name", "of another type");
        runtime.send_after(Duration::ZERO, "nobody", 3_u32);
        assert!(runtime.unregister("name"));
        runtime.register("name", &second).expect("a free name");
        runtime.register("late", &first).expect("a free name");
        let ((late, at), (moved, _)) = (next(&mut at_first).await, next(&mut at_second).await);
        assert_eq!((late, moved), (2, 1));
        assert!(at - start >= millis(30));
        until(|| runtime.runtime_info().timers == 0).await;
        let timer = runtime.send_after(LONG, "name", 5_u32);
        assert!(timer.cancel().is_some_and(|left| left <= LONG) && timer.cancel().is_none());
        assert_eq!(all_after_a_while(&first, &mut at_first).await, [0_u32; 0]);
        assert_eq!(all_after_a_while(&second, &mut at_second).await, [0_u32; 0]);
    });
}

#[test]
fn an_interval_goes_on_and_is_never_early() {
    on_each_size(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        let mut made = 0;
        let start = now();
        let timer = process.send_interval(millis(3), move || {
            made += 1;
            made
        });
        for number in 1..=8 {
            let (received, at) = next(&mut shown).await;
            assert_eq!(received, number);
            assert!(at - start >= millis(3) * number, "the {number}th");
        }
        assert_eq!(runtime.info(process.pid()).expect("alive").timers, 1);
        assert!(timer.cancel().is_some());
        assert_eq!((timer.cancel(), runtime.info(process.pid()).expect("alive").timers), (None, 0));
        let rest = all_after_a_while(&process, &mut shown).await;
        assert!(rest.iter().copied().eq((9..).take(rest.len())), "{rest:?}");
        assert_eq!(all_after_a_while(&process, &mut shown).await, [0_u32; 0], "nothing once it is cancelled");
    });
}

/// The cancellation comes while the interval makes its message, which holds it up.
#[test]
fn after_an_interval_is_cancelled_not_even_the_message_that_is_being_made_comes() {
    on_threads(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        let ((entered, mut enters), (release, released)) = (channel(), channel::<()>());
        let timer = process.send_interval(millis(1), move || {
            entered.send(()).expect("the test waits");
            released.recv_timeout(PATIENCE).expect("the test goes on");
            7
        });
        next(&mut enters).await;
        let cancelled = timer.cancel();
        release.send(()).expect("the interval waits");
        drop(release);
        let came = all_after_a_while(&process, &mut shown).await;
        // Either answer is true to what happens then.
        let expected: &[u32] = if cancelled.is_some() { &[] } else { &[7] };
        assert_eq!(came, expected, "{cancelled:?}");
    });
}

#[test]
fn an_interval_may_cancel_itself() {
    on_each_size(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        let cell: Arc<OnceLock<TimerRef>> = Arc::default();
        let own = Arc::clone(&cell);
        let (mut made, (tell, mut told)) = (0, channel());
        let timer = process.send_interval(millis(5), move || {
            made += 1;
            if made >= 3
                && let Some(timer) = own.get()
            {
                // It goes on if it was not stopped, and then says so again.
                let _ = tell.send((made, timer.cancel().is_some()));
            }
            made
        });
        assert!(cell.set(timer).is_ok());
        let (last, stopped) = next(&mut told).await;
        let came = all_after_a_while(&process, &mut shown).await;
        let expected: Vec<u32> = (1..if stopped { last } else { last + 1 }).collect();
        assert_eq!(came, expected, "stopped: {stopped}");
        assert_eq!(runtime.runtime_info().timers, 0);
    });
}

#[test]
fn an_interval_ends_with_its_process_and_with_a_panic_of_its_own() {
    on_each_size(async |runtime| {
        let (process, mut shown) = witness(&runtime);
        let mut made = 0;
        process.send_interval(millis(1), move || {
            made += 1;
            if made == 3 { panic!("no more") } else { made }
        });
        assert_eq!((next(&mut shown).await.0, next(&mut shown).await.0), (1, 2));
        until(|| runtime.info(process.pid()).expect("alive").timers == 0).await;
        assert_eq!(all_after_a_while(&process, &mut shown).await, [0_u32; 0]);
        let makes = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&makes);
        process.send_interval(millis(1), move || {
            seen.fetch_add(1, Ordering::SeqCst);
            9
        });
        assert_eq!(next(&mut shown).await.0, 9);
        process.kill();
        within(process.ended()).await;
        until(|| runtime.runtime_info().timers == 0 && Arc::strong_count(&makes) == 1).await;
    });
}

#[test]
fn an_interval_goes_on_over_a_full_mailbox() {
    on_each_size(async |runtime| {
        let (made, (go, mut goes)) = (Arc::new(AtomicUsize::new(0)), channel());
        let process = runtime.build().mailbox(Mailbox::bounded(2)).spawn(async move |mut ctx: Context<usize>| {
            next(&mut goes).await;
            let mut got = Vec::new();
            while got.len() < 4 {
                got.push(within(ctx.recv()).await);
            }
            assert!(got[..2] == [0, 1] && got[2] >= 10, "the refused ones are dropped: {got:?}");
        });
        let process = process.expect("a process");
        let counter = Arc::clone(&made);
        process.send_interval(millis(1), move || counter.fetch_add(1, Ordering::SeqCst));
        until(|| made.load(Ordering::SeqCst) >= 10).await;
        assert_eq!(runtime.info(process.pid()).expect("alive").mailbox, 2);
        go.send(()).expect("the process waits");
        assert_eq!(within(process.ended()).await, ExitReason::Normal);
    });
}

#[test]
fn an_exit_timer_ends_its_process_unless_cancelled() {
    on_each_size(async |runtime| {
        let (process, _shown) = witness(&runtime);
        let cancelled = process.exit_after(LONG, ExitReason::Kill);
        assert!(cancelled.cancel().is_some());
        let start = now();
        process.exit_after(millis(10), ExitReason::error("time is up"));
        assert_eq!(within(process.ended()).await, ExitReason::error("time is up"));
        assert!(start.elapsed() >= millis(10));
        as_process(&runtime, async |mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            ctx.address().exit_after(millis(1), ExitReason::Shutdown);
            let exit = within(ctx.recv()).await;
            assert_eq!((exit.from, exit.reason, exit.by_link), (Some(ctx.pid()), ExitReason::Shutdown, false));
        })
        .await;
    });
}

#[test]
fn a_sleep_is_never_early_in_a_process_and_on_a_thread() {
    async fn sleeps(runtime: Handle) {
        for after in [0, 1, 5, 50].map(millis) {
            let start = now();
            runtime.sleep(after).await;
            assert!(start.elapsed() >= after, "{after:?}");
        }
    }
    on_each_size(async |runtime| {
        as_process(&runtime, async |ctx: Context<()>| {
            sleeps(ctx.runtime()).await;
            let start = now();
            ctx.sleep(millis(3)).await;
            assert!(start.elapsed() >= millis(3));
        })
        .await;
        within(sleeps(runtime.handle())).await;
        assert_eq!(runtime.runtime_info().timers, 0);
    });
}

#[test]
fn a_sleep_wakes_whoever_polled_it_last() {
    on_each_size_whole(async |runtime| {
        let ((first, first_waker), (second, second_waker)) = (Wakes::new(), Wakes::new());
        let mut sleep = runtime.sleep(millis(20));
        assert!(Pin::new(&mut sleep).poll(&mut Polling::from_waker(&first_waker)).is_pending());
        let again = Pin::new(&mut sleep).poll(&mut Polling::from_waker(&second_waker));
        until(|| first.count() + second.count() > 0 || again.is_ready()).await;
        // The first may have been woken only if the time was up before the second came.
        assert!(again.is_ready() || (first.count(), second.count()) == (0, 1));
    });
}

#[test]
fn a_sleeping_process_dies_of_an_exit() {
    on_each_size(async |runtime| {
        for reason in [ExitReason::error("wake up"), ExitReason::Kill] {
            let sleeper = runtime.spawn(async |ctx: Context<()>| ctx.sleep(Duration::MAX).await).expect("a process");
            until(|| runtime.runtime_info().timers == 1).await;
            sleeper.exit(reason.clone());
            let expected = if reason == ExitReason::Kill { ExitReason::Killed } else { reason };
            assert_eq!(within(sleeper.ended()).await, expected);
            assert_eq!(runtime.runtime_info().timers, 0);
        }
    });
}
