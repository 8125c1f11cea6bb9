//! The bound of a mailbox, what a full one does, senders that wait for room, and S-078, the limit of processes.

mod bounded;
mod workers;

use bounded::{Wakes, as_process, next, poll_once, until, within};
use colloquium::{
    Address, BuildError, CallErrorKind, Context, Exit, ExitReason, Handle, Mailbox, ReplyTo, Runtime, SendErrorKind,
    SpawnError, TimedOut,
};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context as Polling, Poll};
use std::time::Duration;
use workers::{on_each_size, on_each_size_whole, on_threads};

/// Runs a body as a process with this mailbox, to its normal end.
async fn with_mailbox<M, Fut>(runtime: &Handle, mailbox: Mailbox, body: impl FnOnce(Context<M>) -> Fut)
where
    M: Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let process = runtime.build().mailbox(mailbox).spawn(body).expect("there is room for a process");
    assert_eq!(within(process.ended()).await, ExitReason::Normal);
}

fn all<M: Send + 'static>(ctx: &mut Context<M>) -> Vec<M> {
    std::iter::from_fn(|| ctx.try_recv()).collect()
}

fn depth<M: Send + 'static>(ctx: &Context<M>) -> (usize, u64) {
    let info = ctx.runtime().info(ctx.pid()).expect("it lives");
    (info.mailbox, info.dropped)
}

#[test]
fn a_mailbox_with_room_for_nothing_is_refused() {
    on_each_size(async |runtime| {
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let body = move |_: Context<()>| {
            seen.fetch_add(1, Ordering::SeqCst);
            async {}
        };
        let spawned = runtime.build().mailbox(Mailbox::bounded(0)).spawn(body);
        assert_eq!((spawned, calls.load(Ordering::SeqCst)), (Err(SpawnError::EmptyMailbox), 0));
        assert_eq!(runtime.runtime_info().processes, 0);
    });
}

#[test]
fn a_full_mailbox_gives_the_message_back_and_takes_one_for_each_received() {
    on_each_size(async |runtime| {
        for bound in [1, 2, 3, 100] {
            with_mailbox(&runtime, Mailbox::bounded(bound), async move |mut ctx: Context<u32>| {
                let own = ctx.address();
                assert_eq!(own.mailbox(), Mailbox::bounded(bound));
                for round in 0..3 {
                    (0..bound).for_each(|m| own.send(m).expect("room"));
                    let refused = own.send(77).expect_err("it is full");
                    assert_eq!((refused.kind(), refused.to()), (SendErrorKind::Full, ctx.pid()));
                    assert_eq!(refused.into_message(), 77);
                    assert_eq!(depth(&ctx), (bound as usize, 0));
                    for m in 0..bound {
                        assert_eq!(ctx.recv().await, m, "round {round}");
                        own.send(bound + m).expect("the room of the one received");
                        assert_eq!(own.send(78).expect_err("full again").into_message(), 78);
                    }
                    assert_eq!(all(&mut ctx), (bound..2 * bound).collect::<Vec<_>>());
                }
            })
            .await;
        }
    });
}

#[test]
fn a_mailbox_holds_65536_messages_unless_told_otherwise() {
    on_threads(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u8>| {
            let own = ctx.address();
            assert_eq!((own.mailbox(), own.mailbox()), (Mailbox::default(), Mailbox::bounded(65_536)));
            (0..65_536).for_each(|_| own.send(1).expect("room"));
            assert_eq!(own.send(2).expect_err("full").kind(), SendErrorKind::Full);
            assert_eq!(all(&mut ctx), vec![1; 65_536]);
        })
        .await;
        with_mailbox(&runtime, Mailbox::unbounded(), async |mut ctx: Context<u8>| {
            (0..200_000).for_each(|_| ctx.address().send(1).expect("room"));
            assert_eq!(depth(&ctx).0, 200_000);
            assert_eq!(all(&mut ctx).len(), 200_000);
        })
        .await;
    });
}

#[test]
fn messages_set_aside_count_in_the_bound() {
    on_each_size(async |runtime| {
        with_mailbox(&runtime, Mailbox::bounded(3), async |mut ctx: Context<u32>| {
            let own = ctx.address();
            (0..3).for_each(|m| own.send(m).expect("room"));
            assert_eq!(ctx.recv_matching_timeout(Duration::ZERO, |_| false).await, Err(TimedOut));
            assert_eq!(depth(&ctx).0, 3);
            assert_eq!(own.send(3).expect_err("full of what was set aside").kind(), SendErrorKind::Full);
            assert_eq!(ctx.recv_matching(|m| *m == 1).await, 1);
            own.send(4).expect("the room of the one taken");
            assert_eq!(own.send(5).expect_err("full").kind(), SendErrorKind::Full);
            assert_eq!((depth(&ctx).0, all(&mut ctx)), (3, vec![0, 2, 4]));
            assert_eq!(depth(&ctx).0, 0);
        })
        .await;
    });
}

#[test]
fn drop_oldest_keeps_the_latest_and_counts_the_others() {
    on_each_size(async |runtime| {
        for bound in [1, 2, 5] {
            with_mailbox(&runtime, Mailbox::bounded(bound).drop_oldest(), async move |mut ctx: Context<u32>| {
                let own = ctx.address();
                let mut dropped = 0;
                for sent in [0, 1, bound, bound + 1, 3 * bound] {
                    (0..sent).for_each(|m| own.send(m).expect("never refused"));
                    dropped += u64::from(sent.saturating_sub(bound));
                    assert_eq!(depth(&ctx), (sent.min(bound) as usize, dropped), "{sent} sent to {bound}");
                    let kept = sent.saturating_sub(bound)..sent;
                    assert_eq!(all(&mut ctx), kept.collect::<Vec<_>>());
                }
            })
            .await;
        }
    });
}

#[test]
fn drop_newest_keeps_the_first_and_counts_the_others() {
    on_each_size(async |runtime| {
        for bound in [1, 2, 5] {
            with_mailbox(&runtime, Mailbox::bounded(bound).drop_newest(), async move |mut ctx: Context<u32>| {
                let own = ctx.address();
                let mut dropped = 0;
                for sent in [0, 1, bound, bound + 1, 3 * bound] {
                    (0..sent).for_each(|m| own.send(m).expect("never refused"));
                    dropped += u64::from(sent.saturating_sub(bound));
                    assert_eq!(depth(&ctx), (sent.min(bound) as usize, dropped), "{sent} sent to {bound}");
                    assert_eq!(all(&mut ctx), (0..sent.min(bound)).collect::<Vec<_>>());
                }
            })
            .await;
        }
    });
}

/// More comes while half of the first heap has been received.
#[test]
fn drop_oldest_in_the_middle_of_receiving() {
    on_each_size(async |runtime| {
        with_mailbox(&runtime, Mailbox::bounded(4).drop_oldest(), async |mut ctx: Context<u32>| {
            let own = ctx.address();
            (0..4).for_each(|m| own.send(m).expect("never refused"));
            assert_eq!((ctx.recv().await, ctx.recv().await), (0, 1));
            (4..9).for_each(|m| own.send(m).expect("never refused"));
            assert_eq!(depth(&ctx), (4, 3));
            assert_eq!(all(&mut ctx), [5, 6, 7, 8]);
        })
        .await;
    });
}

#[test]
fn a_choice_in_a_mailbox_that_drops_its_oldest_sees_every_new_message() {
    on_each_size_whole(async |runtime| {
        with_mailbox(&runtime, Mailbox::bounded(2).drop_oldest(), async |mut ctx: Context<u32>| {
            let own = ctx.address();
            let mut choice = ctx.recv_matching(|m| *m >= 10);
            for m in 0..5 {
                own.send(m).expect("never refused");
                assert!(poll_once(&mut choice).await.is_pending());
            }
            own.send(10).expect("never refused");
            assert_eq!(poll_once(&mut choice).await, Poll::Ready(10));
            let kept = all(&mut ctx);
            assert!(kept == [4] || kept == [3, 4], "{kept:?}");
        })
        .await;
    });
}

#[test]
fn drop_oldest_holds_its_bound_over_what_is_set_aside() {
    on_each_size(async |runtime| {
        with_mailbox(&runtime, Mailbox::bounded(2).drop_oldest(), async |mut ctx: Context<u32>| {
            let own = ctx.address();
            (0..2).for_each(|m| own.send(m).expect("never refused"));
            assert_eq!(ctx.recv_matching_timeout(Duration::ZERO, |_| false).await, Err(TimedOut));
            (2..4).for_each(|m| own.send(m).expect("never refused"));
            let (held, dropped) = depth(&ctx);
            let left = all(&mut ctx);
            assert_eq!((held, dropped, left.len()), (2, 2, 2), "{left:?}");
        })
        .await;
    });
}

#[derive(Debug, PartialEq)]
enum Mixed {
    Number(u32),
    Exit(ExitReason),
}

#[test]
fn drop_oldest_leaves_signals_in_their_place() {
    on_each_size(async |runtime| {
        with_mailbox(&runtime, Mailbox::bounded(2).drop_oldest(), async |mut ctx: Context<Mixed>| {
            ctx.trap_exits(|exit| Mixed::Exit(exit.reason));
            let own = ctx.address();
            own.send(Mixed::Number(1)).expect("never refused");
            own.send(Mixed::Number(2)).expect("never refused");
            own.exit(ExitReason::Shutdown);
            assert_eq!(ctx.recv().await, Mixed::Number(1));
            own.send(Mixed::Number(3)).expect("never refused");
            own.send(Mixed::Number(4)).expect("never refused");
            // The 2 is dropped for the 4; the exit came after the 2 and before the 3.
            let left = all(&mut ctx);
            assert_eq!(left, [Mixed::Exit(ExitReason::Shutdown), Mixed::Number(3), Mixed::Number(4)]);
        })
        .await;
    });
}

#[test]
fn a_call_whose_request_is_dropped_by_the_policy_fails_at_once() {
    on_each_size_whole(async |runtime| {
        let deaf = async |ctx: Context<Option<ReplyTo<()>>>| ctx.sleep(Duration::MAX).await;
        let newest = runtime.build().mailbox(Mailbox::bounded(1).drop_newest()).spawn(deaf).expect("a process");
        newest.send(None).expect("room");
        let error = within(newest.call(Some).no_timeout()).await.expect_err("nobody has the request");
        assert_eq!(*error.kind(), CallErrorKind::NoReply);
        let oldest = runtime.build().mailbox(Mailbox::bounded(1).drop_oldest()).spawn(deaf).expect("a process");
        let mut call = oldest.call(Some).no_timeout();
        let (wakes, waker) = Wakes::new();
        assert!(Pin::new(&mut call).poll(&mut Polling::from_waker(&waker)).is_pending());
        oldest.send(None).expect("never refused");
        assert_eq!(wakes.count(), 1);
        let error = within(call).await.expect_err("nobody has the request");
        assert_eq!(*error.kind(), CallErrorKind::NoReply);
        let refusing = runtime.build().mailbox(Mailbox::bounded(1)).spawn(deaf).expect("a process");
        refusing.send(None).expect("room");
        let error = within(refusing.call(Some).no_timeout()).await.expect_err("it is full");
        assert_eq!(*error.kind(), CallErrorKind::Full);
        assert!(error.into_message().expect("the request comes back").is_some());
    });
}

#[test]
fn a_full_mailbox_takes_signals() {
    on_each_size(async |runtime| {
        for mailbox in [Mailbox::bounded(1), Mailbox::bounded(1).drop_newest(), Mailbox::bounded(1).drop_oldest()] {
            with_mailbox(&runtime, mailbox, async |mut ctx: Context<Mixed>| {
                ctx.trap_exits(|exit: Exit| Mixed::Exit(exit.reason));
                let own = ctx.address();
                let stop = |_: Context<()>| std::future::ready(ExitReason::error("gone"));
                own.send(Mixed::Number(0)).expect("room");
                let (child, _) = ctx.spawn_monitor(stop, |down| Mixed::Exit(down.reason)).expect("a child");
                within(child.ended()).await;
                let linked = ctx.spawn_link(stop).expect("a child");
                within(linked.ended()).await;
                let mut got = Vec::new();
                while got.len() < 3 {
                    got.push(within(ctx.recv()).await);
                }
                let gone = || Mixed::Exit(ExitReason::error("gone"));
                assert_eq!(got, [Mixed::Number(0), gone(), gone()]);
            })
            .await;
        }
    });
}

#[test]
fn a_process_with_a_full_mailbox_dies_of_an_exit() {
    on_each_size(async |runtime| {
        let deaf = runtime.build().mailbox(Mailbox::bounded(1)).spawn(async |mut ctx: Context<u32>| {
            let _ = ctx.recv_matching(|_| false).await;
        });
        let deaf = deaf.expect("a process");
        deaf.send(1).expect("room");
        assert_eq!(deaf.send(2).expect_err("full").kind(), SendErrorKind::Full);
        deaf.exit(ExitReason::error("told"));
        assert!(!deaf.is_alive());
        assert_eq!(deaf.send(3).expect_err("dead").kind(), SendErrorKind::NoProcess);
        assert_eq!(within(deaf.ended()).await, ExitReason::error("told"));
    });
}

#[test]
fn s_078_the_limit_of_processes_is_an_error_that_passes() {
    const LIMIT: usize = 5;
    for workers in workers::SIZES {
        let runtime = Runtime::builder().workers(workers).max_processes(LIMIT).build().expect("a runtime");
        let deaf = || runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await);
        let mut alive: Vec<Address<()>> = (0..LIMIT).map(|_| deaf().expect("below the limit")).collect();
        let calls = Arc::new(AtomicUsize::new(0));
        for round in 0..200 {
            let seen = Arc::clone(&calls);
            let one_more = runtime.spawn(move |_: Context<()>| {
                seen.fetch_add(1, Ordering::SeqCst);
                async {}
            });
            assert_eq!(one_more, Err(SpawnError::ProcessLimit(LIMIT)));
            assert!(alive.iter().all(Address::is_alive), "nobody is touched by a refused spawn");
            let ended = alive.swap_remove(round % LIMIT);
            ended.send(()).expect("room");
            assert_eq!(runtime.block_on(within(ended.ended())), ExitReason::Normal);
            alive.push(deaf().expect("the place of the one that has ended"));
            assert_eq!(runtime.processes().len(), LIMIT);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 0, "the body of a refused process is not called");
        assert_eq!((runtime.runtime_info().processes, runtime.runtime_info().process_limit), (LIMIT, LIMIT));
    }
    let built = Runtime::builder().max_processes(0).build();
    assert!(matches!(built, Err(BuildError::OutOfRange { setting: "max_processes", .. })));
}

#[test]
fn s_078_spawners_racing_for_the_last_places_never_pass_the_limit() {
    const LIMIT: usize = 20;
    for workers in workers::SIZES {
        let runtime = Runtime::builder().workers(workers).max_processes(LIMIT).build().expect("a runtime");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let handle = runtime.handle();
                workers::in_thread(move || {
                    let spawn = || handle.spawn(async |mut ctx: Context<()>| ctx.recv().await).is_ok();
                    (0..LIMIT).filter(|_| spawn()).count()
                })
            })
            .collect();
        let spawned: usize = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert_eq!((spawned, runtime.processes().len()), (LIMIT, LIMIT));
    }
}

#[test]
fn info_tells_what_is_known_of_a_live_process_and_nothing_of_a_dead_one() {
    on_each_size(async |runtime| {
        let (tell, mut told) = channel();
        let handle = runtime.handle();
        let parent = runtime.spawn(async move |mut ctx: Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            let build = ctx.build().name("child").label("what it is for").link().mailbox(Mailbox::bounded(9));
            let body = async |mut ctx: Context<u32>| {
                ctx.join("group").expect("alive");
                ctx.join("group").expect("alive");
                let _ = ctx.recv_matching(|m| *m == 99).await;
            };
            let (child, _) = build.spawn_monitor(body, |_| panic!("the parent dies first")).expect("a child");
            let timer = child.send_after(Duration::MAX, 1);
            tell.send((child, handle.info(ctx.pid()).expect("alive"))).expect("the test waits");
            ctx.recv().await;
            drop(timer);
        });
        let parent = parent.expect("a parent");
        let (child, of_parent) = next(&mut told).await;
        (0..4).for_each(|m| child.send(m).expect("room"));
        let info = || runtime.info(child.pid()).expect("it lives");
        until(|| matches!(info().activity, colloquium::Activity::Receiving(_)) && info().groups.len() == 2).await;
        assert!(of_parent.traps_exits && of_parent.parent.is_none() && of_parent.name.is_none());
        assert_eq!((of_parent.links, of_parent.link_count), (vec![child.pid()], 1));
        assert_eq!((of_parent.monitors, of_parent.monitor_count), (vec![child.pid()], 1));
        let info = info();
        assert_eq!((info.pid, info.parent), (child.pid(), Some(parent.pid())));
        assert_eq!((info.name.as_deref(), info.label.as_deref()), (Some("child"), Some("what it is for")));
        assert_eq!((info.mailbox, info.mailbox_bound, info.dropped), (4, 9, 0));
        assert_eq!((info.links, info.link_count), (vec![parent.pid()], 1));
        assert_eq!((info.monitored_by, info.monitored_by_count, info.monitor_count), (vec![parent.pid()], 1, 0));
        assert_eq!(info.groups.iter().map(|group| &**group).collect::<Vec<_>>(), ["group", "group"]);
        assert!(info.timers == 1 && !info.traps_exits && info.reductions > 0);
        child.kill();
        assert!(runtime.info(child.pid()).is_none(), "dead from the signal on");
        parent.kill();
        within(child.ended()).await;
        within(parent.ended()).await;
        assert!(runtime.info(parent.pid()).is_none() && runtime.processes().is_empty());
    });
}
