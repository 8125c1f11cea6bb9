//! For how long the oldest message has been in a mailbox: to the tenth of a second, in virtual time, wherever in the mailbox
//! the message stands.

mod workers;

use colloquium::simulation::Simulation;
use colloquium::testing::Check;
use colloquium::tree::{Look, Tree};
use colloquium::{Activity, Address, Context, Dormant, Exit, ExitReason, Handle, Mailbox, Origin, Peer, Runtime};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;
use workers::{on_each_size, on_seeds, until};

const TENTH: Duration = Duration::from_millis(100);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Time passes by waiting alone, so that each age is known to the nanosecond: what is sent at a full tenth has its own.
fn timed(body: impl AsyncFn(Runtime)) {
    on_seeds(Simulation::new(0).poll_time(Duration::ZERO), 20, &body);
}

async fn at(runtime: &Handle, time: f64) {
    runtime.sleep(seconds(time).saturating_sub(runtime.now())).await;
}

/// To the millisecond: timers come some microseconds late.
fn rounded(age: Duration) -> f64 {
    (age.as_secs_f64() * 1000.0).round() / 1000.0
}

/// For how long it has waited for a message, if it does.
fn idle<M: Send + 'static>(runtime: &Handle, process: &Address<M>) -> Option<f64> {
    match runtime.info(process.pid())?.activity {
        Activity::Receiving(time) => Some(rounded(time)),
        _ => None,
    }
}

/// How many messages it has, and the age of the oldest in seconds.
fn mail<M: Send + 'static>(runtime: &Handle, process: &Address<M>) -> (usize, Option<f64>) {
    let info = runtime.info(process.pid()).expect("it lives");
    let mut sampled = None;
    let unread = runtime.sample(Duration::from_secs(1), |sample| {
        if sample.pid == process.pid() {
            sampled = sample.inside.map(|inside| (inside.mailbox, inside.oldest_message));
        }
    });
    assert_eq!((unread, sampled), (0, Some((info.mailbox, info.oldest_message))), "both say the same");
    (info.mailbox, info.oldest_message.map(rounded))
}

#[test]
fn the_oldest_ages_in_the_queue_and_in_a_batch_and_its_successor_has_its_own_age() {
    timed(async |runtime| {
        let process = runtime.spawn(async |mut ctx: Context<u8>| {
            let runtime = ctx.runtime();
            at(&runtime, 10.0).await;
            assert_eq!(ctx.recv().await, 1);
            at(&runtime, 12.0).await;
            assert_eq!(ctx.recv().await, 2);
            at(&runtime, 14.0).await;
            assert_eq!(ctx.recv().await, 3);
            at(&runtime, 16.0).await;
            assert_eq!(ctx.recv().await, 4);
            assert_eq!(ctx.recv().await, 5);
            at(&runtime, 40.0).await;
        });
        let process = process.expect("room for a process");
        let runtime: &Handle = &runtime;
        let look = || mail(runtime, &process);
        assert_eq!(look(), (0, None));
        at(runtime, 1.0).await;
        process.send(1).expect("it lives");
        assert_eq!(look(), (1, Some(0.0)));
        at(runtime, 2.75).await;
        process.send(2).expect("it lives");
        assert_eq!(look(), (2, Some(1.75)));
        at(runtime, 9.5).await;
        assert_eq!(look(), (2, Some(8.5)));
        // The batch is with the process, which has taken the first of it: what is left counts from that.
        at(runtime, 10.5).await;
        assert_eq!(look(), (1, Some(9.5)));
        at(runtime, 11.0).await;
        process.send(3).expect("it lives");
        assert_eq!(look(), (2, Some(10.0)), "the batch is older");
        at(runtime, 12.5).await;
        assert_eq!(look(), (1, Some(1.5)), "the batch is done, and what came meanwhile has its own stamp");
        at(runtime, 14.5).await;
        assert_eq!(look(), (0, None));
        at(runtime, 15.0).await;
        process.send(4).expect("it lives");
        at(runtime, 15.25).await;
        assert_eq!(look(), (1, Some(0.25)));
        at(runtime, 30.0).await;
        assert_eq!((look(), idle(runtime, &process)), ((0, None), Some(14.0)));
        process.send(5).expect("it lives");
        assert_eq!(look(), (1, Some(0.0)), "it came just now, however long the process has waited for it");
        at(runtime, 30.5).await;
        process.send(6).expect("it lives");
        at(runtime, 33.0).await;
        assert_eq!(look(), (1, Some(2.5)));
        process.kill();
        assert_eq!(runtime.info(process.pid()).and_then(|info| info.oldest_message), None, "none will be received");
        runtime.sample(Duration::from_secs(1), |sample| {
            let age = sample.inside.and_then(|inside| inside.oldest_message);
            assert_eq!((sample.pid == process.pid(), sample.doomed, age), (true, true, None));
        });
    });
}

#[test]
fn what_is_set_aside_ages_and_signals_count_for_nothing() {
    timed(async |runtime| {
        let process = runtime.spawn(async |mut ctx: Context<u8>| {
            let runtime = ctx.runtime();
            ctx.trap_exits(|_: Exit| 0);
            assert_eq!(ctx.recv_matching(|message| *message == 9).await, 9);
            at(&runtime, 6.0).await;
            assert_eq!(ctx.recv_matching(|message| *message == 1).await, 1);
            at(&runtime, 8.0).await;
            assert!(ctx.recv_matching_timeout(seconds(2.0), |message| *message == 7).await.is_err());
            assert_eq!((ctx.recv().await, ctx.recv().await), (0, 2), "the exit was first");
            assert_eq!(ctx.recv_matching(|message| *message == 8).await, 8);
            ctx.recv_matching(|message| *message == 7).await;
        });
        let process = process.expect("room for a process");
        let runtime: &Handle = &runtime;
        let look = || mail(runtime, &process);
        at(runtime, 0.5).await;
        process.exit(ExitReason::error("trapped, and set aside for a message"));
        at(runtime, 1.0).await;
        assert_eq!(look(), (0, None));
        process.send(1).expect("it lives");
        at(runtime, 2.0).await;
        assert_eq!((look(), idle(runtime, &process)), ((1, Some(1.0)), Some(1.0)));
        at(runtime, 3.0).await;
        process.send(2).expect("it lives");
        at(runtime, 3.5).await;
        assert_eq!(look(), (2, Some(2.5)));
        at(runtime, 4.0).await;
        process.send(9).expect("it lives");
        at(runtime, 4.5).await;
        assert_eq!(look(), (2, Some(3.5)), "it has what it wanted; the others wait");
        process.send(3).expect("it lives");
        assert_eq!(look(), (3, Some(3.5)));
        at(runtime, 6.5).await;
        assert_eq!(look(), (2, Some(5.5)), "it handles the first: the others still count from that");
        at(runtime, 8.5).await;
        assert_eq!(look(), (2, Some(5.5)), "it has looked for more: the second is the oldest");
        at(runtime, 10.5).await;
        assert_eq!(look(), (1, Some(6.0)), "set aside is the third");
        at(runtime, 11.0).await;
        process.send(8).expect("it lives");
        at(runtime, 11.5).await;
        assert_eq!(look(), (1, Some(7.0)));
        process.kill();
    });
}

#[test]
fn a_mailbox_that_drops_its_oldest_is_never_said_to_be_older_by_more_than_one_passage() {
    timed(async |runtime| {
        let slow = async |mut ctx: Context<u32>| {
            let runtime = ctx.runtime();
            at(&runtime, 30.0).await;
            while ctx.recv().await < 60 {
                ctx.sleep(seconds(1.0)).await;
            }
            at(&runtime, 70.0).await;
        };
        let process = runtime.build().mailbox(Mailbox::bounded(4).drop_oldest()).spawn(slow).expect("room");
        let runtime: &Handle = &runtime;
        // One a second, sent at the second it bears; so is the age of the oldest known.
        let mut moved = 0;
        for second in 1..60 {
            at(runtime, f64::from(second)).await;
            process.send(second).expect("it lives");
            at(runtime, f64::from(second) + 0.5).await;
            let (held, age) = mail(runtime, &process);
            let held = u32::try_from(held).expect("a few");
            if held == 0 {
                assert_eq!(age, None);
                continue;
            }
            let (age, own) = (age.expect("there are some"), f64::from(held) - 0.5);
            assert!((own..=own + 4.0).contains(&age), "{age} at {second}, and it is {own}");
            moved += u32::from(age > own);
        }
        assert!(moved > 5, "it is not known better than that");
        process.kill();
    });
}

#[test]
fn who_waits_for_room_counts_from_when_it_is_let_in() {
    timed(async |runtime| {
        let slow = async |mut ctx: Context<u8>| {
            let runtime = ctx.runtime();
            at(&runtime, 5.0).await;
            assert_eq!(ctx.recv().await, 1);
            at(&runtime, 9.0).await;
        };
        let process = runtime.build().mailbox(Mailbox::bounded(1)).spawn(slow).expect("room");
        at(&runtime, 1.0).await;
        process.send(1).expect("it lives");
        let sender = runtime.spawn({
            let process = process.clone();
            async move |_: Context<()>| process.send_wait(2).await.expect("it is let in")
        });
        at(&runtime, 4.5).await;
        assert_eq!(mail(&runtime, &process), (1, Some(3.5)));
        at(&runtime, 6.0).await;
        assert_eq!(mail(&runtime, &process), (1, Some(1.0)), "it was sent at 1, and let in at 5");
        assert_eq!(sender.expect("room").ended().await, ExitReason::Normal);
    });
}

#[test]
fn mail_of_a_process_without_a_body_ages_until_it_is_received() {
    struct Spare(Origin, Handle);
    impl Dormant for Spare {
        fn origin(&self) -> &Origin {
            &self.0
        }
        fn runtime(&self) -> &Handle {
            &self.1
        }
        fn peer(&self) -> Option<Peer> {
            None
        }
        fn waker(self: Arc<Self>) -> Waker {
            Waker::noop().clone()
        }
    }
    timed(async |runtime| {
        let pid = runtime.spawn_dormant(&Arc::new(Spare(Origin::new(), runtime.handle())), None).expect("room");
        let spare = runtime.address_of::<()>(pid).expect("it lives");
        assert_eq!(mail(&runtime, &spare), (0, None));
        at(&runtime, 1.0).await;
        spare.send(()).expect("it lives");
        at(&runtime, 2.5).await;
        assert_eq!(mail(&runtime, &spare), (1, Some(1.5)));
        assert!(runtime.rouse(pid, async |mut ctx: Context<()>| {
            ctx.sleep(seconds(2.0)).await;
            ctx.recv().await;
            std::future::pending::<()>().await;
        }));
        at(&runtime, 4.0).await;
        assert_eq!(mail(&runtime, &spare), (1, Some(3.0)));
        at(&runtime, 5.0).await;
        assert_eq!(mail(&runtime, &spare), (0, None));
        spare.kill();
    });
}

/// What is in the mailbox, by when it was sent, and since when it has not been empty.
#[derive(Default)]
struct Held {
    sent: BTreeMap<u64, Duration>,
    since: Option<Duration>,
}

/// Takes itself off the list when it is received or dropped.
struct Letter(u64, Arc<Mutex<Held>>);

impl Drop for Letter {
    fn drop(&mut self) {
        let mut held = self.1.lock().expect("no panic under it");
        held.sent.remove(&self.0);
        if held.sent.is_empty() {
            held.since = None;
        }
    }
}

/// Receives in all ways there are, and does something else at times, for ever.
async fn restless(mut ctx: Context<Letter>, selective: bool) {
    loop {
        let pause = ctx.rng().duration(Duration::ZERO..seconds(3.0));
        let kind = ctx.rng().below(if selective { 6 } else { 4 });
        let digit = ctx.rng().below(3);
        match kind {
            0 => ctx.sleep(pause).await,
            1 => drop(ctx.recv().await),
            2 => drop(ctx.try_recv()),
            3 => drop(ctx.recv_timeout(pause).await),
            _ => drop(ctx.recv_matching_timeout(pause, |letter| letter.0 % 3 == digit).await),
        }
    }
}

#[test]
fn whatever_is_received_no_message_is_older_than_said_and_for_so_long_the_mailbox_was_not_empty() {
    let boxes = [
        (Mailbox::unbounded(), true),
        (Mailbox::bounded(3), true),
        (Mailbox::bounded(3).drop_newest(), true),
        (Mailbox::bounded(3).drop_oldest(), false),
    ];
    let body = async |runtime: Runtime| {
        let runtime: &Handle = &runtime;
        for (mailbox, selective) in boxes {
            let held = Arc::new(Mutex::new(Held::default()));
            let body = async move |ctx: Context<Letter>| restless(ctx, selective).await;
            let process = runtime.build().mailbox(mailbox).spawn(body).expect("room for a process");
            for number in 0..40 {
                let now = runtime.now();
                {
                    let mut held = held.lock().expect("no panic under it");
                    held.since = held.since.or(Some(now));
                    held.sent.insert(number, now);
                }
                // One that is refused is dropped, and off the list again.
                drop(process.send(Letter(number, Arc::clone(&held))));
                let pause = Duration::from_millis((number * 7919) % 1300);
                runtime.sleep(pause).await;
                let info = runtime.info(process.pid()).expect("it lives");
                let (now, held) = (runtime.now(), held.lock().expect("no panic under it"));
                assert_eq!(info.mailbox, held.sent.len());
                assert_eq!(info.oldest_message.is_some(), !held.sent.is_empty());
                let (Some(age), Some(since)) = (info.oldest_message, held.since) else { continue };
                let oldest = held.sent.values().min().expect("there are some");
                assert!(age >= now - *oldest, "{age:?}, and it is {:?}", now - *oldest);
                assert!(age <= now - since + TENTH, "{age:?}, and it was empty {:?} ago", now - since);
            }
            process.kill();
            process.ended().await;
        }
    };
    Check::new().simulation(Simulation::new(0).poll_time(Duration::ZERO).once()).seeds(200).run_seeds(&body);
}

#[test]
fn there_is_an_age_while_there_is_a_message() {
    on_each_size(async |runtime| {
        let process = runtime.spawn(async |mut ctx: Context<u8>| {
            let runtime = ctx.runtime();
            let own = ctx.address();
            let oldest = |ctx: &Context<u8>| runtime.info(ctx.pid()).expect("it lives").oldest_message;
            for _ in 0..3 {
                assert_eq!(oldest(&ctx), None);
                (1..4).for_each(|message| own.send(message).expect("it lives"));
                for message in 1..4 {
                    assert!(oldest(&ctx).is_some());
                    assert_eq!(ctx.recv().await, message);
                }
                assert_eq!(oldest(&ctx), None);
                own.send(1).expect("it lives");
                assert!(oldest(&ctx).is_some() && ctx.try_recv() == Some(1) && oldest(&ctx).is_none());
                (1..4).for_each(|message| own.send(message).expect("it lives"));
                assert_eq!(ctx.recv_matching(|message| *message == 3).await, 3);
                assert!(oldest(&ctx).is_some() && ctx.recv().await == 1);
                assert!(oldest(&ctx).is_some() && ctx.recv().await == 2);
                assert_eq!(oldest(&ctx), None);
            }
        });
        assert_eq!(process.expect("room for a process").ended().await, ExitReason::Normal);
        // From outside, as well when nothing runs.
        let deaf = runtime.spawn(async |_: Context<u8>| std::future::pending::<()>().await).expect("room");
        assert_eq!(runtime.info(deaf.pid()).expect("it lives").oldest_message, None);
        deaf.send(1).expect("it lives");
        until(&runtime, || runtime.info(deaf.pid()).is_some_and(|info| info.oldest_message.is_some())).await;
        deaf.kill();
    });
}

#[test]
fn a_dump_tells_of_mail_that_has_waited() {
    timed(async |runtime| {
        let deaf = |label: &str, bound| {
            let build = runtime.build().label(label).mailbox(Mailbox::bounded(bound));
            build.spawn(async |_: Context<u8>| std::future::pending::<()>().await).expect("room for a process")
        };
        let (first, full, last) = (deaf("first", 100), deaf("full", 32), deaf("last", 100));
        at(&runtime, 1.0).await;
        first.send(1).expect("it lives");
        (0..20).for_each(|message| full.send(message).expect("it lives"));
        last.send(1).expect("it lives");
        let look = || Tree::new(&runtime).look(&Look::new().children(1));
        at(&runtime, 1.9).await;
        let early = look().to_string();
        assert!(early.contains("mailbox 20 of 32") && !early.contains("oldest"), "{early}");
        at(&runtime, 4.0).await;
        let dump = look();
        let unsupervised = dump.unsupervised.as_ref().expect("all are");
        let mail = unsupervised.children[0].mail.expect("it was read");
        assert_eq!((mail.held, mail.oldest_ms), (1, Some(3000)));
        let more = unsupervised.more.as_ref().expect("two are not shown one by one, or one");
        assert_eq!((more.mail, more.oldest_mail_ms), (1, Some(3000)));
        let text = dump.to_string();
        for expected in ["oldest mail 3.0s", "mailbox 20 of 32, oldest 3.0s", "; 1 messages, oldest 3.0s"] {
            assert!(text.contains(expected), "{text}");
        }
        for process in [first, full, last] {
            process.kill();
        }
    });
}
