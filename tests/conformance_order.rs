//! Driver: the one order of all signals from one process to another: scenarios S-061 to S-065, and more of their kind.
//!
//! S-062 has no aliases, which our types make meaningless: the messages go by address, by the address that a pid leads
//! to, by name, and by recipient.
mod workers;

use colloquium::{Address, Context, ExitReason, MonitorRef, Recipient, SendErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use workers::{Dice, Msg, Probe, Seen, arrival, in_thread, mortal, on_each_size, on_threads, races};

#[test]
fn s_061_what_a_child_sent_before_its_end_is_there_at_its_down() {
    on_each_size(async |runtime| {
        let parent = Probe::trapping(&runtime);
        for round in 0..races() {
            let address = parent.clone();
            parent.ask(move |ctx| {
                let body = async move |_: Context<()>| {
                    address.send(Msg::note(1)).expect("it lives");
                    address.send(Msg::note(2)).expect("it lives");
                };
                if round % 2 == 0 {
                    ctx.spawn_link(body).expect("room");
                } else {
                    ctx.spawn_monitor(body, Msg::down("")).expect("room");
                }
            });
            assert_eq!([parent.next(), parent.next()], [Seen::Note(1), Seen::Note(2)]);
            let reason = if round % 2 == 0 { parent.trapped().reason } else { parent.down().reason };
            assert_eq!(reason, ExitReason::Normal);
        }
        parent.is_quiet();
    });
}

/// Sends so many numbers in turn by all the ways there are, then ends.
async fn send_every_way(ctx: Context<()>, to: Address<Msg>, count: u64) -> ExitReason {
    let handle = ctx.runtime();
    let by_pid: Address<Msg> = handle.address_of(to.pid()).expect("it lives");
    let recipient: Recipient<u64> = to.recipient(Msg::note);
    for number in 0..count {
        let message = Msg::note(number);
        match number % 5 {
            0 => to.send(message).expect("it lives"),
            1 => by_pid.send(message).expect("it lives"),
            2 => handle.whereis::<Msg>("receiver").expect("it has the name").send(message).expect("it lives"),
            3 => recipient.send(number).expect("it lives"),
            _ => to.send_wait(message).await.expect("there is room"),
        }
    }
    ExitReason::error("done")
}

#[test]
fn s_062_by_whatever_way_messages_keep_their_order_and_the_down_is_last() {
    on_each_size(async |runtime| {
        let receiver = Probe::named(&runtime, "receiver");
        for _ in 0..5 {
            let address = receiver.clone();
            receiver.ask(move |ctx| {
                let body = move |child| send_every_way(child, address, 1000);
                ctx.spawn_monitor(body, Msg::down("")).expect("room");
            });
            for number in 0..1000 {
                assert_eq!(receiver.next(), Seen::Note(number));
            }
            assert_eq!(receiver.down().reason, ExitReason::error("done"));
        }
        receiver.is_quiet();
    });
}

#[test]
fn s_063_of_many_senders_each_keeps_its_own_order() {
    on_threads(async |runtime| {
        const SENDERS: u64 = 10;
        const EACH: u64 = 2000;
        let receiver = Probe::new(&runtime);
        let mut threads = Vec::new();
        for sender in 0..SENDERS {
            let to = receiver.clone();
            let numbers = (0..EACH).map(move |number| sender * EACH + number);
            if sender % 3 == 0 {
                let send = move || numbers.for_each(|number| to.send(Msg::note(number)).expect("it lives"));
                threads.push(in_thread(send));
            } else {
                let body = async move |mut ctx: Context<()>| {
                    for number in numbers {
                        to.send(Msg::note(number)).expect("it lives");
                        if number % 64 == 0 {
                            ctx.yield_now().await;
                        }
                    }
                };
                runtime.spawn(body).expect("room");
            }
        }
        let mut next = [0; SENDERS as usize];
        for _ in 0..SENDERS * EACH {
            let Seen::Note(number) = receiver.next() else { panic!("only numbers were sent") };
            let sender = usize::try_from(number / EACH).expect("a small number");
            assert_eq!(number % EACH, next[sender], "of sender {sender}");
            next[sender] += 1;
        }
        threads.into_iter().for_each(|thread| thread.join().expect("it sent all"));
        receiver.is_quiet();
    });
}

#[test]
fn s_065_a_link_or_monitor_made_before_a_message_is_in_force_when_that_is_handled() {
    on_each_size(async |runtime| {
        let p = Probe::trapping(&runtime);
        for round in 0..races() {
            let q = mortal(&runtime);
            let target = q.clone();
            p.tell(move |ctx| {
                if round % 2 == 0 {
                    ctx.link(&target);
                } else {
                    ctx.monitor(target.pid(), Msg::down(""));
                }
                target.send(ExitReason::error("as told")).expect("it lives");
            });
            let (from, reason) = match p.next() {
                Seen::Exit(exit) => (exit.from, exit.reason),
                Seen::Down(_, down) => (down.pid, down.reason),
                note => panic!("{note:?}"),
            };
            assert_eq!((from, reason), (Some(q.pid()), ExitReason::error("as told")));
        }
        p.is_quiet();
    });
}

/// `send m1; exit; send m2`: m1 may be handled, m2 is refused, comes back, and never is.
#[test]
fn a_message_sent_after_an_exit_is_never_handled() {
    on_each_size(async |runtime| {
        for round in 0..races() {
            let late = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&late);
            let body = async move |mut ctx: Context<u64>| {
                loop {
                    if ctx.recv().await == 2 {
                        flag.store(true, Ordering::SeqCst);
                    }
                }
            };
            let process = runtime.spawn(body).expect("room");
            let target = process.clone();
            let send = move || {
                target.send(1).expect("it lives");
                target.exit(if round % 4 < 2 { ExitReason::Kill } else { ExitReason::error("e") });
                let refused = target.send(2).expect_err("it is dead");
                assert_eq!((refused.kind(), refused.to()), (SendErrorKind::NoProcess, target.pid()));
                assert_eq!(refused.into_message(), 2);
                assert_eq!(target.recipient(|number| number).send(2), Err(SendErrorKind::NoProcess));
            };
            if round % 2 == 0 {
                send();
            } else {
                Probe::new(&runtime).ask(move |_| send());
            }
            process.ended().await;
            assert!(!late.load(Ordering::SeqCst), "in round {round}");
        }
    });
}

const LAST: u64 = 50;

/// Sends numbers, each as a message or as the reason of an exit signal, and a last message.
async fn send_mixed(mut ctx: Context<()>, to: Address<Msg>, exits: Vec<bool>, one_by_one: bool) {
    for (number, is_exit) in (0_u64..).zip(exits) {
        if is_exit {
            ctx.send_exit(&to, ExitReason::error(number.to_string()));
        } else {
            to.send(Msg::note(number)).expect("it lives");
        }
        if one_by_one {
            ctx.yield_now().await;
        }
    }
    to.send(Msg::note(LAST)).expect("it lives");
}

/// Receives all that [`send_mixed`] sends it; with `search`, the last message first, over the heads of all others.
async fn receive_mixed(mut ctx: Context<Msg>, exits: Vec<bool>, one_by_one: bool, search: bool) -> Vec<Seen> {
    ctx.trap_exits(Msg::exit);
    let own = ctx.address();
    ctx.spawn(move |child| send_mixed(child, own, exits, one_by_one)).expect("room");
    if search {
        ctx.recv_matching(|message| matches!(message, Msg::Show(Seen::Note(LAST)))).await;
        return std::iter::from_fn(|| ctx.try_recv()).map(Msg::into_seen).collect();
    }
    let mut seen = Vec::new();
    loop {
        match ctx.recv().await.into_seen() {
            Seen::Note(LAST) => return seen,
            other => seen.push(other),
        }
    }
}

/// Whether received one by one or in batches, or passed over by a selective receive.
#[test]
fn exits_and_messages_of_one_sender_keep_their_order() {
    on_each_size(async |runtime| {
        for round in 0..races() as u64 {
            let mut dice = Dice::new(round);
            let exits: Vec<bool> = (0..LAST).map(|_| dice.below(3) == 0).collect();
            let (one_by_one, search) = (dice.below(2) == 0, dice.below(3) == 0);
            let ((show, shown), flags) = (channel(), exits.clone());
            let body = async move |ctx| {
                let seen = receive_mixed(ctx, flags, one_by_one, search).await;
                show.send(seen).expect("the test waits");
            };
            runtime.spawn(body).expect("room");
            let seen = arrival(&shown);
            assert_eq!(seen.len(), exits.len());
            for ((number, is_exit), seen) in (0_u64..).zip(exits).zip(seen) {
                match seen {
                    Seen::Exit(exit) if is_exit => assert_eq!(exit.reason, ExitReason::error(number.to_string())),
                    Seen::Note(note) if !is_exit => assert_eq!(note, number),
                    other => panic!("{other:?} as number {number} of round {round}"),
                }
            }
        }
    });
}

/// The monitor of a third process stands in the order of what its owner did: asked for later, it says less.
#[test]
fn what_one_process_does_to_another_is_in_force_in_the_order_done() {
    on_each_size(async |runtime| {
        for _ in 0..races() {
            let (p, q) = (Probe::trapping(&runtime), Probe::new(&runtime));
            let (target, handle) = (q.clone(), runtime.handle());
            let (early, late): (MonitorRef, MonitorRef) = p.ask(move |ctx| {
                let early = ctx.monitor(&target, Msg::down("early"));
                assert_eq!(handle.info(target.pid()).map(|info| info.monitored_by_count), Some(1));
                ctx.link(&target);
                assert_eq!(handle.info(target.pid()).map(|info| info.links), Some(vec![ctx.pid()]));
                ctx.unlink(&target);
                ctx.send_exit(&target, ExitReason::error("sent"));
                (early, ctx.monitor(&target, Msg::down("late")))
            });
            let mut told = [p.down(), p.down()];
            told.sort_by_key(|down| down.monitor);
            assert_eq!(told.clone().map(|down| down.monitor), [early, late]);
            assert_eq!(told.map(|down| down.reason), [ExitReason::error("sent"), ExitReason::NoProcess]);
            p.is_quiet();
        }
    });
}
