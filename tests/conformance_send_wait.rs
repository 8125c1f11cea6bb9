//! Senders that wait for room in a full mailbox: who is let in when, and what comes back.

mod bounded;
mod workers;

use bounded::{Wakes, next, now, poll_once, until, within};
use colloquium::simulation::is_simulated;
use colloquium::{Address, Context, ExitReason, Mailbox, SendErrorKind, SendWait, TimedOut};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::{Context as Polling, Poll, Waker};
use std::time::Duration;
use workers::{on_each_size, on_each_size_whole, on_threads};

const LONG: Duration = Duration::from_secs(1000);

fn poll_with(send: &mut SendWait<'_, u32>, waker: &Waker) -> Poll<Result<(), SendErrorKind>> {
    Pin::new(send).poll(&mut Polling::from_waker(waker)).map_err(|error| error.kind())
}

/// A process whose mailbox is full of `bound` zeros and that receives whenever it is told to.
fn full(runtime: &colloquium::Handle, bound: u32) -> (Address<u32>, std::sync::mpsc::Receiver<u32>, Address<()>) {
    let (show, shown) = channel();
    let (addresses, address) = channel();
    let receiver = runtime.build().mailbox(Mailbox::bounded(bound)).spawn(async move |mut ctx: Context<u32>| {
        // The turns come to a process of their own, since this one's mailbox is what is tested.
        let own = ctx.address();
        (0..bound).for_each(|_| own.send(0).expect("room"));
        let (turn, turns) = channel();
        let clerk = ctx.spawn(async move |mut ctx: Context<()>| {
            loop {
                ctx.recv().await;
                turn.send(()).expect("the receiver lives");
            }
        });
        addresses.send(clerk.expect("a clerk")).expect("the test waits");
        let mut turns = turns;
        loop {
            next(&mut turns).await;
            show.send(ctx.recv().await).expect("the test looks");
        }
    });
    let clerk = bounded::came(&address);
    (receiver.expect("a receiver"), shown, clerk)
}

#[test]
fn those_who_wait_are_let_in_first_come_first_served() {
    on_each_size_whole(async |runtime| {
        for bound in [1, 2, 3] {
            let (receiver, mut shown, turn) = full(&runtime, bound);
            let (_, waker) = Wakes::new();
            let mut waiting: Vec<_> = (1..=10).map(|m| receiver.send_wait(m).timeout(LONG)).collect();
            assert!(waiting.iter_mut().all(|send| poll_with(send, &waker).is_pending()));
            // Only those inside count.
            assert_eq!(runtime.info(receiver.pid()).expect("alive").mailbox, bound as usize);
            let expected = std::iter::repeat_n(0, bound as usize).chain(1..=10);
            for (taken, message) in expected.enumerate() {
                turn.send(()).expect("room");
                assert_eq!(next(&mut shown).await, message, "bound {bound}");
                if let Some(send) = waiting.get_mut(taken) {
                    assert_eq!(within(send).await.map_err(|error| error.kind()), Ok(()));
                }
            }
            receiver.kill();
        }
    });
}

/// A receiver that has taken a part of its heap has room, which belongs to those who wait.
#[test]
fn nobody_passes_those_who_wait() {
    on_each_size_whole(async |runtime| {
        let receiver = runtime.build().mailbox(Mailbox::bounded(3)).spawn(async |mut ctx: Context<u32>| {
            let own = ctx.address();
            (0..3).for_each(|m| own.send(m).expect("room"));
            let (_, waker) = Wakes::new();
            let mut waiting = own.send_wait(3).no_timeout();
            assert!(poll_with(&mut waiting, &waker).is_pending());
            assert_eq!(ctx.recv().await, 0);
            // Refused, or let in behind the one that waits.
            let sent = own.send(5).is_ok();
            let mut later = own.send_wait(4).no_timeout();
            let _ = poll_with(&mut later, &waker);
            let mut got = Vec::new();
            while !got.contains(&3) || !got.contains(&4) {
                got.push(within(ctx.recv()).await);
            }
            got.retain(|m| *m > 2);
            let expected: &[u32] = if sent { &[3, 5, 4] } else { &[3, 4] };
            assert_eq!(got, expected);
        });
        assert_eq!(within(receiver.expect("a receiver").ended()).await, ExitReason::Normal);
    });
}

/// How the receiver comes to the room that its waiting sender needs.
#[derive(Clone, Copy, Debug)]
enum Taking {
    /// The one message that is there.
    TheOnly,
    /// The first of several, drawn together.
    OneOfMany,
    /// One that an earlier choice has set aside.
    SetAside,
    /// By choice, of those set aside.
    Chosen,
}

/// A receiver that waits for its sender, once it has made room for it, without looking at its mailbox again.
async fn waits_for_the_sender(runtime: &colloquium::Handle, taking: Taking) {
    let bound = if matches!(taking, Taking::TheOnly) { 1 } else { 3 };
    let receiver = runtime.build().mailbox(Mailbox::bounded(bound)).spawn(async move |mut ctx: Context<u32>| {
        let own = ctx.address();
        (0..bound).for_each(|m| own.send(m).expect("room"));
        if matches!(taking, Taking::SetAside | Taking::Chosen) {
            assert_eq!(ctx.recv_matching_timeout(Duration::ZERO, |_| false).await, Err(TimedOut));
        }
        let to = own.clone();
        let (begun, mut begins) = channel();
        let sender = ctx.spawn(async move |_: Context<()>| {
            let mut send = to.send_wait(9).no_timeout();
            let first = poll_once(&mut send).await;
            assert!(first.is_pending());
            begun.send(()).expect("the receiver waits");
            assert!(send.await.is_ok());
        });
        next(&mut begins).await;
        if matches!(taking, Taking::Chosen) {
            assert_eq!(ctx.recv_matching(|m| *m == 1).await, 1);
        } else {
            assert_eq!(ctx.recv().await, 0);
        }
        assert_eq!(within(sender.expect("a sender").ended()).await, ExitReason::Normal);
        assert_eq!(ctx.recv_matching(|m| *m == 9).await, 9);
    });
    assert_eq!(within(receiver.expect("a receiver").ended()).await, ExitReason::Normal, "{taking:?}");
}

#[test]
fn a_receiver_that_waits_for_its_sender_lets_it_in_after_one_of_many() {
    on_each_size(async |runtime| waits_for_the_sender(&runtime, Taking::OneOfMany).await);
}

#[test]
fn a_receiver_that_waits_for_its_sender_lets_it_in_after_the_only_message() {
    on_each_size(async |runtime| waits_for_the_sender(&runtime, Taking::TheOnly).await);
}

#[test]
fn a_receiver_that_waits_for_its_sender_lets_it_in_after_one_set_aside() {
    on_each_size(async |runtime| waits_for_the_sender(&runtime, Taking::SetAside).await);
}

#[test]
fn a_receiver_that_waits_for_its_sender_lets_it_in_after_one_chosen() {
    on_each_size(async |runtime| waits_for_the_sender(&runtime, Taking::Chosen).await);
}

#[test]
fn a_send_that_waits_in_vain_gives_the_message_back_and_not_early() {
    on_each_size(async |runtime| {
        let (receiver, _shown, _turn) = full(&runtime, 2);
        for millis in [0, 1, 5, 20] {
            let start = now();
            let error = within(receiver.send_wait(7).timeout(Duration::from_millis(millis))).await;
            let error = error.expect_err("nobody receives");
            assert!(start.elapsed() >= Duration::from_millis(millis));
            assert_eq!((error.kind(), error.to()), (SendErrorKind::TimedOut, receiver.pid()));
            assert_eq!(error.into_message(), 7);
        }
        assert_eq!(runtime.info(receiver.pid()).expect("alive").mailbox, 2);
        // Simulated, the receiver waits for its turn by a timer.
        assert!(runtime.runtime_info().timers <= usize::from(is_simulated()));
    });
}

#[test]
fn a_dead_receiver_gives_the_messages_back_that_wait_too() {
    on_each_size_whole(async |runtime| {
        let (receiver, _shown, _turn) = full(&runtime, 1);
        let (wakes, waker) = Wakes::new();
        let mut waiting: Vec<_> = (1..=5).map(|m| receiver.send_wait(m).timeout(LONG)).collect();
        assert!(waiting.iter_mut().all(|send| poll_with(send, &waker).is_pending()));
        receiver.exit(ExitReason::error("gone"));
        until(|| wakes.count() >= 5).await;
        for (send, message) in waiting.into_iter().zip(1..) {
            let error = within(send).await.expect_err("the receiver is dead");
            assert_eq!(error.kind(), SendErrorKind::NoProcess);
            assert_eq!(error.into_message(), message);
        }
        within(receiver.ended()).await;
        let error = within(receiver.send_wait(6)).await.expect_err("dead before");
        assert_eq!((error.kind(), error.into_message()), (SendErrorKind::NoProcess, 6));
        until(|| runtime.runtime_info().timers == 0).await;
    });
}

#[test]
fn a_mailbox_that_drops_keeps_no_sender_waiting() {
    on_each_size_whole(async |runtime| {
        for mailbox in [Mailbox::bounded(1).drop_oldest(), Mailbox::bounded(1).drop_newest()] {
            let deaf = runtime.build().mailbox(mailbox).spawn(async |ctx: Context<u32>| ctx.sleep(LONG).await);
            let deaf = deaf.expect("a process");
            for m in 0..5 {
                let mut send = deaf.send_wait(m).no_timeout();
                assert_eq!(poll_with(&mut send, Waker::noop()), Poll::Ready(Ok(())));
            }
            assert_eq!(runtime.info(deaf.pid()).expect("alive").dropped, 4);
        }
    });
}

#[test]
fn a_process_that_waits_for_room_dies_of_an_exit_and_its_message_with_it() {
    on_each_size_whole(async |runtime| {
        let (receiver, mut shown, turn) = full(&runtime, 1);
        let to = receiver.clone();
        let (begun, mut begins) = channel();
        let sender = runtime.spawn(async move |_: Context<()>| {
            let mut send = to.send_wait(8).no_timeout();
            assert!(poll_once(&mut send).await.is_pending());
            begun.send(()).expect("the test waits");
            drop(send.await);
        });
        let sender = sender.expect("a sender");
        next(&mut begins).await;
        sender.exit(ExitReason::error("enough"));
        assert_eq!(within(sender.ended()).await, ExitReason::error("enough"));
        turn.send(()).expect("room");
        assert_eq!(next(&mut shown).await, 0);
        assert_eq!(runtime.info(receiver.pid()).expect("alive").mailbox, 0);
    });
}

/// Senders in processes, on threads, with room for one: everything arrives once, each sender's in order.
#[test]
fn many_senders_through_a_small_mailbox_keep_their_order() {
    const EACH: u32 = 300;
    on_threads(async |runtime| {
        for bound in [1, 4] {
            let receiver = runtime.build().mailbox(Mailbox::bounded(bound)).spawn(async |mut ctx: Context<u32>| {
                let mut next = [0; 4];
                while next.iter().sum::<u32>() < 4 * EACH {
                    let message = within(ctx.recv()).await;
                    let of_sender = &mut next[(message >> 16) as usize];
                    assert_eq!(message & 0xffff, *of_sender);
                    *of_sender += 1;
                }
            });
            let receiver = receiver.expect("a receiver");
            let send_all = async |to: Address<u32>, sender: u32| {
                for m in 0..EACH {
                    to.send_wait(sender << 16 | m).timeout(LONG).await.expect("the receiver lives");
                }
            };
            let threads: Vec<_> = (0..2)
                .map(|sender| (runtime.clone(), receiver.clone(), sender))
                .map(|(runtime, to, sender)| workers::in_thread(move || runtime.block_on(send_all(to, sender))))
                .collect();
            for sender in 2..4 {
                let to = receiver.clone();
                runtime.spawn(move |_: Context<()>| send_all(to, sender)).expect("a sender");
            }
            assert_eq!(within(receiver.ended()).await, ExitReason::Normal);
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        }
        until(|| runtime.processes().is_empty() && runtime.runtime_info().timers == 0).await;
    });
}
