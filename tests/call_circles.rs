//! Circles of calls: found where processes would wait for each other for ever, and nowhere else.

mod bounded;
mod workers;

use bounded::{as_process, next, poll_once, race, until, within};
use colloquium::{Activity, Address, CallErrorKind, Context, Handle, Pid, ReplyTo, Runtime};
use std::pin::pin;
use std::sync::mpsc::{Receiver, channel};
use workers::{on_each_size, on_threads, some_of};

type Outcome = Result<u32, CallErrorKind>;

/// What the members of a circle are asked: to call the next of `path`, with the rest of it, and to hand its answer back.
struct Relay {
    path: Vec<Address<Relay>>,
    reply_to: ReplyTo<Outcome>,
}

async fn relay(mut ctx: Context<Relay>) {
    loop {
        let Relay { mut path, reply_to } = ctx.recv().await;
        let answer = match path.pop() {
            None => Ok(0),
            Some(next) => {
                let call = ctx.call(&next, |reply_to| Relay { path, reply_to }).no_timeout();
                match call.await {
                    Ok(answer) => answer.map(|calls| calls + 1),
                    Err(error) => Err(error.kind().clone()),
                }
            }
        };
        drop(reply_to.send(answer));
    }
}

fn relays<const N: usize>(runtime: &Handle) -> [Address<Relay>; N] {
    [(); N].map(|()| runtime.spawn(relay).expect("a process"))
}

/// The first of `path` is asked to call the next of it, and so on.
async fn along(path: &[&Address<Relay>]) -> Outcome {
    let (first, rest) = path.split_first().expect("somebody to call");
    let path = rest.iter().rev().map(|next| Address::clone(next)).collect();
    within(first.call(|reply_to| Relay { path, reply_to }).no_timeout()).await.expect("an answer")
}

fn pids(processes: &[&Address<Relay>]) -> Vec<Pid> {
    processes.iter().map(|process| process.pid()).collect()
}

#[test]
fn a_circle_of_two_names_both_beginning_with_who_closed_it() {
    on_each_size(async |runtime| {
        let [a, b] = relays(&runtime);
        for _ in 0..some_of(50) {
            assert_eq!(along(&[&a, &b, &a]).await, Err(CallErrorKind::Cycle(pids(&[&b, &a]))));
            assert_eq!(along(&[&b, &a, &b]).await, Err(CallErrorKind::Cycle(pids(&[&a, &b]))));
            assert_eq!(along(&[&a, &b]).await, Ok(1), "as before");
        }
    });
}

#[test]
fn a_circle_of_three_names_all() {
    on_each_size(async |runtime| {
        let [a, b, c] = relays(&runtime);
        for _ in 0..some_of(50) {
            assert_eq!(along(&[&a, &b, &c, &a]).await, Err(CallErrorKind::Cycle(pids(&[&c, &a, &b]))));
            // One that does not lead back to its beginning.
            assert_eq!(along(&[&a, &b, &c, &b]).await, Err(CallErrorKind::Cycle(pids(&[&c, &b]))));
            assert_eq!(along(&[&a, &b, &c]).await, Ok(2), "as before");
        }
    });
}

#[test]
fn a_chain_of_calls_to_one_who_calls_nobody_is_no_circle() {
    on_each_size(async |runtime| {
        let chain: [Address<Relay>; 20] = relays(&runtime);
        let path: Vec<_> = chain.iter().collect();
        for length in 1..=20 {
            assert_eq!(along(&path[..length]).await, Ok(length as u32 - 1));
        }
        // Many callers of one callee, each way through the same middle.
        let [middle, end] = relays(&runtime);
        let asking: Vec<_> = chain
            .iter()
            .map(|start| (start.clone(), middle.clone(), end.clone()))
            .map(|(start, middle, end)| {
                runtime.spawn(async move |_: Context<()>| {
                    for _ in 0..some_of(50) {
                        assert_eq!(along(&[&start, &middle, &end]).await, Ok(2));
                    }
                })
            })
            .collect();
        for process in asking {
            assert!(within(process.expect("a process").ended()).await.is_orderly());
        }
    });
}

/// The caller has its answer and may not have looked at it yet: it waits for nobody.
#[test]
fn a_callee_that_has_answered_may_call_its_caller() {
    enum Msg {
        Ask(Address<Msg>, ReplyTo<()>),
        Back(ReplyTo<u32>),
    }
    on_each_size(async |runtime| {
        let callee = runtime.spawn(async |mut ctx: Context<Msg>| {
            for _ in 0..some_of(200) {
                let Msg::Ask(caller, reply_to) = ctx.recv().await else { panic!("not asked for") };
                reply_to.send(()).expect("it waits");
                let back = within(ctx.call(&caller, Msg::Back).no_timeout()).await;
                assert_eq!(back.map_err(|error| error.kind().clone()), Ok(5));
            }
        });
        let callee = callee.expect("a process");
        let asked = callee.clone();
        as_process(&runtime, async move |mut ctx: Context<Msg>| {
            let own = ctx.address();
            for _ in 0..some_of(200) {
                let me = own.clone();
                within(ctx.call(&asked, |reply_to| Msg::Ask(me, reply_to)).no_timeout()).await.expect("an answer");
                match within(race(ctx.recv(), asked.ended())).await {
                    Ok(Msg::Back(reply_to)) => reply_to.send(5).expect("it waits"),
                    Ok(Msg::Ask(..)) => panic!("not asked for"),
                    Err(reason) => panic!("the callee has ended: {reason}"),
                }
            }
        })
        .await;
        assert!(within(callee.ended()).await.is_orderly());
    });
}

/// Two that call each other at the same moment: one at least is told, and then answers the other.
#[test]
fn of_two_that_call_each_other_at_once_nobody_waits_in_vain() {
    async fn peer(mut ctx: Context<Hello>) {
        let (mut met, mut failed) = (false, false);
        while !(met || failed) {
            match ctx.recv().await {
                Hello::Peer(peer, tell) => {
                    let answer = ctx.call(&peer, Hello::Ask).no_timeout().await;
                    let outcome = answer.map_err(|error| error.kind().clone());
                    failed = outcome.is_err();
                    met = outcome.is_ok();
                    tell.send(outcome).expect("the test waits");
                }
                Hello::Ask(reply_to) => reply_to.send(1).expect("it waits"),
            }
        }
        // Whoever asks may do so after this one's own call is over.
        loop {
            if let Hello::Ask(reply_to) = ctx.recv().await {
                reply_to.send(1).expect("it waits");
            }
        }
    }
    enum Hello {
        Peer(Address<Hello>, std::sync::mpsc::Sender<Outcome>),
        Ask(ReplyTo<u32>),
    }
    on_each_size(async |runtime| {
        for _ in 0..some_of(100) {
            let [a, b] = [(); 2].map(|()| runtime.spawn(peer).expect("a process"));
            let (tell, mut told) = channel();
            a.send(Hello::Peer(b.clone(), tell.clone())).expect("room");
            b.send(Hello::Peer(a.clone(), tell)).expect("room");
            for outcome in [next(&mut told).await, next(&mut told).await] {
                match outcome {
                    Ok(answer) => assert_eq!(answer, 1),
                    Err(CallErrorKind::Cycle(circle)) => {
                        assert!(circle == [a.pid(), b.pid()] || circle == [b.pid(), a.pid()], "{circle:?}");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            a.kill();
            b.kill();
        }
    });
}

/// A process that calls by address and receives meanwhile waits for nobody in a circle.
#[test]
fn a_call_beside_a_receive_is_no_circle() {
    enum Msg {
        Ask(Address<Msg>, ReplyTo<u32>),
        Back(ReplyTo<u32>),
    }
    on_each_size(async |runtime| {
        let callee = runtime.spawn(async |mut ctx: Context<Msg>| {
            loop {
                let Msg::Ask(caller, reply_to) = ctx.recv().await else { panic!("not asked for") };
                // Before it answers, it has to know something of its caller.
                let known = ctx.call(&caller, Msg::Back).no_timeout().await.expect("no circle");
                reply_to.send(known + 1).expect("it waits");
            }
        });
        let callee = callee.expect("a process");
        as_process(&runtime, async move |mut ctx: Context<Msg>| {
            let own = ctx.address();
            for _ in 0..some_of(100) {
                let me = own.clone();
                let mut call = callee.call(|reply_to| Msg::Ask(me, reply_to)).no_timeout();
                let answer = loop {
                    match within(race(&mut call, ctx.recv())).await {
                        Ok(answer) => break answer.map_err(|error| error.kind().clone()),
                        Err(Msg::Back(reply_to)) => reply_to.send(10).expect("it waits"),
                        Err(Msg::Ask(..)) => panic!("not asked for"),
                    }
                };
                assert_eq!(answer, Ok(11));
            }
        })
        .await;
    });
}

/// Answers the first request once it may.
async fn hold(mut ctx: Context<Relay>, mut may: Receiver<()>) {
    let request = ctx.recv().await;
    next(&mut may).await;
    drop(request.reply_to.send(Ok(0)));
}

/// While `b` of another runtime calls one whose pid looks, but for its runtime, like that of `a`, `a` calls `b`.
#[test]
fn a_stranger_in_the_same_place_of_another_runtime_closes_no_circle() {
    on_threads(async |runtime| {
        // With as many workers, so that both tables begin with the same places.
        let workers = runtime.runtime_info().workers.len();
        let other = Runtime::builder().workers(workers).build().expect("a runtime");
        let mine: [Address<Relay>; 40] = relays(&runtime);
        let [b] = relays(&other);
        let (a, twin, release) = (0..1000)
            .find_map(|_| {
                let (release, may) = channel();
                let twin = other.spawn(move |ctx| hold(ctx, may)).expect("a process");
                let a = mine.iter().find(|a| a.pid().to_string() == twin.pid().to_string())?;
                Some((a.clone(), twin, release))
            })
            .expect("two that look alike");
        let (to_twin, to_b) = ([&b, &twin], [&a, &b]);
        let (mut held, mut asked) = (pin!(along(&to_twin)), pin!(along(&to_b)));
        assert!(poll_once(&mut held).await.is_pending());
        until(|| matches!(other.info(b.pid()).expect("alive").activity, Activity::Calling(_))).await;
        let calls = until(|| matches!(runtime.info(a.pid()).expect("alive").activity, Activity::Calling(_)));
        if let Ok(early) = race(&mut asked, calls).await {
            panic!("{early:?} while the callee was busy");
        }
        release.send(()).expect("the twin waits");
        assert_eq!(within(held).await, Ok(1));
        assert_eq!(within(asked).await, Ok(1));
    });
}

#[test]
fn info_shows_whom_a_process_calls_in_another_runtime_too() {
    on_threads(async |runtime| {
        let other = Runtime::builder().workers(1).build().expect("a runtime");
        for of in [runtime.handle(), other.handle()] {
            let callee = of.spawn(async |mut ctx: Context<ReplyTo<()>>| {
                let reply_to = ctx.recv().await;
                ctx.recv().await;
                drop(reply_to);
            });
            let callee = callee.expect("a process");
            let called = callee.clone();
            let caller = runtime.spawn(async move |mut ctx: Context<()>| {
                drop(ctx.call(&called, |reply_to| reply_to).no_timeout().await);
            });
            let caller = caller.expect("a process");
            let activity = || runtime.info(caller.pid()).expect("it waits").activity;
            until(|| matches!(activity(), Activity::Calling(_))).await;
            assert_eq!(activity(), Activity::Calling(callee.pid()));
            callee.kill();
            within(caller.ended()).await;
        }
    });
}
