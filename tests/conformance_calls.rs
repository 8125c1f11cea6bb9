//! S-100 to S-105 of `conformance/otp.md`, and more of their kind: requests and their answers.
//!
//! Left to later issues, since they are about gen servers, state machines and supervisors: S-104, S-107, S-108, S-109,
//! S-111, S-112. Circles of calls are in `call_circles.rs`.

mod bounded;
mod workers;

use bounded::{PATIENCE, as_process, next, now, poll_once, until, within};
use colloquium::{Activity, Address, CallError, CallErrorKind, Context, ExitReason, Handle, Mailbox, ReplyTo};
use std::sync::mpsc::channel;
use std::task::Poll;
use std::time::Duration;
use workers::{on_each_size, on_each_size_whole, on_threads};

const LONG: Duration = Duration::from_secs(1000);

enum Request {
    Double(u32, ReplyTo<u32>),
    /// Ends with this reason, without an answer.
    End(ExitReason, ReplyTo<u32>),
    Panic(ReplyTo<u32>),
    /// Drops the right to answer and lives on.
    Ignore(ReplyTo<u32>),
    /// Keeps the right to answer and does nothing about it.
    Keep(ReplyTo<u32>),
    /// Hands it to another, and ends with this reason afterwards if there is one.
    HandOn(Address<Kept>, Option<ExitReason>, ReplyTo<u32>),
    Note(u32),
    Notes(ReplyTo<Vec<u32>>),
}

/// State that takes its time to drop, after the right to answer has been dropped: others run meanwhile.
struct LastOfAll;

impl Drop for LastOfAll {
    fn drop(&mut self) {
        (0..200).for_each(|_| std::thread::yield_now());
    }
}

async fn serve(mut ctx: Context<Request>) -> ExitReason {
    let (mut kept, mut notes) = (Vec::new(), Vec::new());
    loop {
        match ctx.recv().await {
            Request::Double(n, reply_to) => {
                // A caller that has given up gets nothing.
                let _ = reply_to.send(2 * n);
            }
            Request::End(reason, reply_to) => {
                let _held = LastOfAll;
                let _first = reply_to;
                return reason;
            }
            Request::Panic(reply_to) => {
                let _held = LastOfAll;
                let _first = reply_to;
                panic!("the handler")
            }
            Request::Ignore(reply_to) => drop(reply_to),
            Request::Keep(reply_to) => kept.push(reply_to),
            Request::HandOn(to, end, reply_to) => {
                to.send(Kept(reply_to)).expect("the third lives");
                if let Some(reason) = end {
                    return reason;
                }
            }
            Request::Note(note) => notes.push(note),
            Request::Notes(reply_to) => drop(reply_to.send(notes.clone())),
        }
    }
}

fn server(runtime: &Handle) -> Address<Request> {
    runtime.spawn(serve).expect("a server")
}

fn double(n: u32) -> impl FnOnce(ReplyTo<u32>) -> Request {
    move |reply_to| Request::Double(n, reply_to)
}

fn end(reason: ExitReason) -> impl FnOnce(ReplyTo<u32>) -> Request {
    move |reply_to| Request::End(reason, reply_to)
}

fn kind<T>(answer: Result<T, CallError<Request>>) -> CallErrorKind {
    match answer {
        Ok(_) => panic!("an answer where none was to come"),
        Err(error) => error.kind().clone(),
    }
}

/// The right to answer, in other hands.
struct Kept(ReplyTo<u32>);

#[test]
fn a_call_is_answered_in_a_process_and_on_a_thread() {
    on_threads(async |runtime| {
        let server = server(&runtime);
        assert_eq!(within(server.call(double(4))).await.expect("an answer"), 8);
        let threads: Vec<_> = (0..4)
            .map(|n| (runtime.handle(), server.clone(), n))
            .map(|(runtime, server, n)| {
                workers::in_thread(move || {
                    for round in 0..100 {
                        let answer = runtime.block_on(server.call(double(n * round)).timeout(LONG));
                        assert_eq!(answer.expect("an answer"), 2 * n * round);
                    }
                })
            })
            .collect();
        as_process(&runtime, async move |mut ctx: Context<()>| {
            for n in 0..100 {
                assert_eq!(ctx.call(&server, double(n)).await.expect("an answer"), 2 * n);
                assert_eq!(server.call(double(n)).no_timeout().await.expect("an answer"), 2 * n);
            }
            assert_eq!(ctx.try_recv(), None);
        })
        .await;
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        until(|| runtime.runtime_info().timers == 0).await;
    });
}

#[test]
fn a_call_stands_in_line_with_messages() {
    on_each_size_whole(async |runtime| {
        let server = server(&runtime);
        as_process(&runtime, async move |mut ctx: Context<()>| {
            for note in 0..100 {
                server.send(Request::Note(note)).expect("room");
                let mut call = ctx.call(&server, Request::Notes);
                let first = poll_once(&mut call).await;
                server.send(Request::Note(1000)).expect("room");
                let notes = match first {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => call.await,
                };
                let notes: Vec<u32> = notes.expect("an answer").into_iter().filter(|note| *note < 1000).collect();
                assert_eq!(notes, (0..=note).collect::<Vec<_>>());
            }
        })
        .await;
    });
}

#[test]
fn s_100_a_call_to_itself_is_an_error_in_both_forms() {
    on_each_size(async |runtime| {
        let server = server(&runtime);
        as_process(&runtime, async move |mut ctx: Context<Request>| {
            let own = ctx.address();
            let asked = |_: ReplyTo<u32>| -> Request { panic!("a request was made") };
            let by_context = ctx.call(&own, asked).no_timeout().await.expect_err("it would wait for ever");
            assert_eq!((by_context.kind(), by_context.to()), (&CallErrorKind::CallsItself, ctx.pid()));
            assert!(by_context.into_message().is_none());
            assert_eq!(kind(own.call(asked).no_timeout().await), CallErrorKind::CallsItself);
            let callees = [server.clone(), own.clone()];
            let mut answers = ctx.multi_call(&callees, |reply_to| Request::Double(3, reply_to)).await;
            assert_eq!(kind(answers.pop().expect("two")), CallErrorKind::CallsItself);
            assert_eq!(answers.pop().expect("two").expect("an answer"), 6);
            assert!(ctx.try_recv().is_none());
            assert_eq!(ctx.call(&server, double(1)).await.expect("as before"), 2);
        })
        .await;
    });
}

#[test]
fn s_101_a_call_to_a_dead_process_fails_at_once_and_gives_the_request_back() {
    on_each_size(async |runtime| {
        let [doomed, gone] = [server(&runtime), server(&runtime)];
        gone.kill();
        within(gone.ended()).await;
        let caller = [gone, doomed];
        as_process(&runtime, async move |mut ctx: Context<()>| {
            caller[1].exit(ExitReason::error("doomed"));
            for dead in &caller {
                let errors = [
                    within(ctx.call(dead, double(5)).no_timeout()).await.expect_err("dead"),
                    within(dead.call(double(5)).no_timeout()).await.expect_err("dead"),
                ];
                for error in errors {
                    assert_eq!((error.kind(), error.to()), (&CallErrorKind::NoProcess, dead.pid()));
                    assert!(matches!(error.into_message(), Some(Request::Double(5, _))));
                }
            }
        })
        .await;
        assert!(runtime.whereis::<Request>("nobody").is_err());
    });
}

#[test]
fn s_102_a_callee_that_ends_gives_its_reason() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<()>| {
            let handle = ctx.runtime();
            let reasons = [ExitReason::error("crash"), ExitReason::Normal, ExitReason::Shutdown, ExitReason::Kill];
            for reason in reasons {
                let (one, other) = (server(&handle), server(&handle));
                let expected = CallErrorKind::Ended(reason.clone());
                assert_eq!(kind(within(ctx.call(&one, end(reason.clone())).no_timeout()).await), expected);
                assert_eq!(kind(within(other.call(end(reason)).no_timeout()).await), expected);
            }
            let callee = server(&handle);
            match kind(within(ctx.call(&callee, Request::Panic).no_timeout()).await) {
                CallErrorKind::Ended(ExitReason::Panicked(panic)) => assert_eq!(panic.message(), "the handler"),
                other => panic!("{other}"),
            }
        })
        .await;
    });
}

#[test]
fn s_102_a_request_that_a_dying_callee_never_got_to_fails_with_its_reason() {
    on_each_size_whole(async |runtime| {
        for _ in 0..100 {
            let deaf = runtime.spawn(async |ctx: Context<Request>| ctx.sleep(Duration::MAX).await).expect("a process");
            let mut calls: Vec<_> = (0..4).map(|n| deaf.call(double(n)).no_timeout()).collect();
            for call in &mut calls {
                assert!(poll_once(call).await.is_pending());
            }
            deaf.exit(ExitReason::error("never"));
            for call in calls {
                assert_eq!(kind(within(call).await), CallErrorKind::Ended(ExitReason::error("never")));
            }
            assert!(runtime.info(deaf.pid()).is_none());
        }
    });
}

/// Whoever is told that its call has failed finds the callee gone, its name free.
#[test]
fn s_102_who_hears_of_the_callees_end_finds_its_name_free() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<()>| {
            let handle = ctx.runtime();
            for _ in 0..100 {
                let callee = ctx.build().name("callee").spawn(serve).expect("a free name");
                kind(within(ctx.call(&callee, end(ExitReason::Normal)).no_timeout()).await);
                assert!(handle.whereis::<Request>("callee").is_err() && handle.names().is_empty());
            }
        })
        .await;
    });
}

#[test]
fn s_105_a_third_process_answers_and_so_does_a_thread() {
    on_threads(async |runtime| {
        let server = server(&runtime);
        let third = runtime.spawn(async |mut ctx: Context<Kept>| {
            loop {
                let Kept(reply_to) = ctx.recv().await;
                ctx.sleep(Duration::from_millis(1)).await;
                reply_to.send(33).expect("the caller waits");
            }
        });
        let third = third.expect("a process");
        as_process(&runtime, async move |mut ctx: Context<()>| {
            for _ in 0..10 {
                let to = third.clone();
                let answer = ctx.call(&server, |reply_to| Request::HandOn(to, None, reply_to)).await;
                assert_eq!(answer.expect("of the third"), 33);
                assert_eq!(ctx.call(&server, double(2)).await.expect("of the server itself"), 4);
            }
        })
        .await;
        let (hand, handed) = channel();
        let hands = runtime.spawn(async move |mut ctx: Context<ReplyTo<u32>>| {
            hand.send(ctx.recv().await).expect("the thread waits");
            ctx.recv().await;
        });
        let thread = workers::in_thread(move || handed.recv_timeout(PATIENCE).map(|reply_to| reply_to.send(44)));
        let answer = within(hands.expect("a process").call(|reply_to| reply_to).no_timeout()).await;
        assert_eq!(answer.expect("of the thread"), 44);
        assert_eq!(thread.join().expect("no panic"), Ok(Ok(())));
    });
}

#[test]
fn s_102_a_callee_that_ends_is_told_at_once_though_a_third_has_the_right_to_answer() {
    on_each_size(async |runtime| {
        let (keep, mut kept) = channel();
        let third = runtime.spawn(async move |mut ctx: Context<Kept>| {
            keep.send(ctx.recv().await.0).expect("the test waits");
            ctx.recv().await;
        });
        let third = third.expect("a process");
        let server = server(&runtime);
        let reason = ExitReason::error("gone");
        let (to, end) = (third.clone(), Some(reason.clone()));
        let call = server.call(|reply_to| Request::HandOn(to, end, reply_to)).no_timeout();
        assert_eq!(kind(within(call).await), CallErrorKind::Ended(reason));
        let reply_to = next(&mut kept).await;
        assert!(!reply_to.is_awaited() && third.is_alive());
        assert_eq!(reply_to.send(1), Err(1));
    });
}

#[test]
fn a_dropped_right_to_answer_is_no_reply() {
    on_each_size(async |runtime| {
        let server = server(&runtime);
        let third = runtime.spawn(async |mut ctx: Context<Kept>| {
            loop {
                drop(ctx.recv().await);
            }
        });
        let third = third.expect("a process");
        as_process(&runtime, async move |mut ctx: Context<()>| {
            let ignored = within(ctx.call(&server, Request::Ignore).no_timeout()).await;
            assert_eq!(kind(ignored), CallErrorKind::NoReply);
            let to = third.clone();
            let by_third = ctx.call(&server, |reply_to| Request::HandOn(to, None, reply_to)).no_timeout();
            assert_eq!(kind(within(by_third).await), CallErrorKind::NoReply);
            third.kill();
            within(third.ended()).await;
            assert_eq!(ctx.call(&server, double(3)).await.expect("the server lives"), 6);
        })
        .await;
    });
}

#[test]
fn a_call_that_times_out_leaves_nothing_and_its_late_answer_goes_back() {
    on_each_size(async |runtime| {
        let (keep, mut kept) = channel();
        let slow = runtime.spawn(async move |mut ctx: Context<ReplyTo<u32>>| {
            loop {
                keep.send(ctx.recv().await).expect("the test waits");
            }
        });
        let slow = slow.expect("a process");
        as_process(&runtime, async move |mut ctx: Context<u32>| {
            let handle = ctx.runtime();
            for after in [0, 1, 5, 50].map(Duration::from_millis) {
                let start = now();
                let error = ctx.call(&slow, |reply_to| reply_to).timeout(after).await.expect_err("no answer");
                assert!(start.elapsed() >= after, "{after:?}");
                assert_eq!((error.kind(), error.to()), (&CallErrorKind::TimedOut, slow.pid()));
                assert!(error.into_message().is_none(), "the callee has it");
                let reply_to = next(&mut kept).await;
                assert!(!reply_to.is_awaited());
                assert_eq!(reply_to.send(9), Err(9));
                let info = handle.info(ctx.pid()).expect("alive");
                assert_eq!((info.mailbox, info.activity, info.monitor_count), (0, Activity::Active, 0));
                assert_eq!((ctx.try_recv(), handle.runtime_info().timers), (None, 0));
            }
            assert!(slow.is_alive());
        })
        .await;
    });
}

/// An answer at about the time of the time-out: both sides agree on whether it came.
#[test]
fn an_answer_at_the_time_out_is_either_taken_or_given_back() {
    on_each_size(async |runtime| {
        let (tell, mut told) = channel();
        let racer = runtime.spawn(async move |mut ctx: Context<(Duration, ReplyTo<u32>)>| {
            loop {
                let (after, reply_to) = ctx.recv().await;
                ctx.sleep(after).await;
                tell.send(reply_to.send(1)).expect("the test waits");
            }
        });
        let racer = racer.expect("a process");
        as_process(&runtime, async move |mut ctx: Context<()>| {
            let mut dice = workers::Dice::new(5);
            for _ in 0..workers::races() {
                let [after, timeout] = [(); 2].map(|()| Duration::from_micros(dice.below(300)));
                let call = ctx.call(&racer, |reply_to| (after, reply_to)).timeout(timeout);
                match call.await {
                    Ok(answer) => assert_eq!((answer, next(&mut told).await), (1, Ok(()))),
                    Err(error) => {
                        assert_eq!((error.kind(), next(&mut told).await), (&CallErrorKind::TimedOut, Err(1)));
                    }
                }
            }
        })
        .await;
    });
}

#[test]
fn a_caller_that_dies_is_awaited_no_more() {
    on_each_size(async |runtime| {
        let (keep, mut kept) = channel();
        let slow = runtime.spawn(async move |mut ctx: Context<ReplyTo<u32>>| {
            loop {
                keep.send(ctx.recv().await).expect("the test waits");
            }
        });
        let slow = slow.expect("a process");
        let callee = slow.clone();
        let caller = runtime.spawn(async move |mut ctx: Context<()>| {
            drop(ctx.call(&callee, |reply_to| reply_to).timeout(LONG).await);
        });
        let caller = caller.expect("a process");
        let reply_to = next(&mut kept).await;
        assert_eq!(runtime.info(caller.pid()).expect("alive").activity, Activity::Calling(slow.pid()));
        caller.exit(ExitReason::error("enough"));
        assert_eq!(within(caller.ended()).await, ExitReason::error("enough"));
        assert!(!reply_to.is_awaited());
        assert_eq!((reply_to.send(1), runtime.runtime_info().timers), (Err(1), 0));
        assert!(slow.is_alive());
    });
}

#[test]
fn a_multi_call_gives_each_its_answer_or_error_in_its_place() {
    on_each_size(async |runtime| {
        let dead = server(&runtime);
        dead.kill();
        within(dead.ended()).await;
        let dying = runtime.spawn(async |mut ctx: Context<Request>| {
            drop(ctx.recv().await);
            ExitReason::error("dying")
        });
        let full = runtime.build().mailbox(Mailbox::bounded(1));
        let full = full.spawn(async |ctx: Context<Request>| ctx.sleep(Duration::MAX).await).expect("a process");
        full.send(Request::Note(1)).expect("room for one");
        let ignoring = runtime.spawn(async |mut ctx: Context<Request>| {
            loop {
                drop(ctx.recv().await);
            }
        });
        let keeping = runtime.spawn(async |mut ctx: Context<Request>| {
            let request = ctx.recv().await;
            ctx.sleep(Duration::MAX).await;
            drop(request);
        });
        let [dying, ignoring, keeping] = [dying, ignoring, keeping].map(|process| process.expect("a process"));
        let callees = [server(&runtime), dead, dying, full, ignoring, keeping, server(&runtime)];
        as_process(&runtime, async move |mut ctx: Context<()>| {
            let (mut number, timeout, start) = (0, Duration::from_millis(300), now());
            let calls = ctx.multi_call(&callees, |reply_to| {
                number += 1;
                Request::Double(number, reply_to)
            });
            let answers = within(calls.timeout(timeout)).await;
            assert!(start.elapsed() >= timeout);
            let of =
                |answer: &Result<u32, CallError<Request>>| answer.as_ref().map(|n| *n).map_err(|e| e.kind().clone());
            // A machine under load may let all but the first kinds of error run into the time-out.
            let late = |answer, expected| answer == expected || answer == Err(CallErrorKind::TimedOut);
            let answers: Vec<_> = answers.iter().map(of).collect();
            assert!(late(answers[0].clone(), Ok(2)) && late(answers[6].clone(), Ok(14)), "{answers:?}");
            assert_eq!(answers[1], Err(CallErrorKind::NoProcess));
            let ended = CallErrorKind::Ended(ExitReason::error("dying"));
            assert!(late(answers[2].clone(), Err(ended)), "{answers:?}");
            assert_eq!(answers[3], Err(CallErrorKind::Full));
            assert!(late(answers[4].clone(), Err(CallErrorKind::NoReply)), "{answers:?}");
            assert_eq!((&answers[5], answers.len()), (&Err(CallErrorKind::TimedOut), 7));
            let nobody: [Address<Request>; 0] = [];
            assert!(within(ctx.multi_call(&nobody, double_five)).await.is_empty());
            let answers = within(ctx.multi_call(&[callees[0].clone()], double_five).no_timeout()).await;
            assert!(matches!(answers[..], [Ok(10)]));
        })
        .await;
        until(|| runtime.runtime_info().timers == 2).await;
    });
}

fn double_five(reply_to: ReplyTo<u32>) -> Request {
    Request::Double(5, reply_to)
}

#[test]
fn a_kept_right_to_answer_outlives_nothing() {
    on_each_size_whole(async |runtime| {
        let server = server(&runtime);
        let mut call = server.call(Request::Keep).no_timeout();
        assert!(poll_once(&mut call).await.is_pending());
        assert_eq!(within(server.call(double(1))).await.expect("the server goes on"), 2);
        server.exit(ExitReason::Shutdown);
        assert_eq!(kind(within(call).await), CallErrorKind::Ended(ExitReason::Shutdown));
    });
}
