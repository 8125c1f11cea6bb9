//! Shared: loom models of the protocols we wrote ourselves: every interleaving of a few steps (three preemptions at most),
//! and a lost wake-up shows as a deadlock. Run as CONTRIBUTING.md says. What crossbeam, parking_lot and async-task do is
//! not seen by loom and is taken as correct.
mod berth;
mod dormant;
mod jobs;
mod poller;

use crate::exit::ExitReason;
use crate::io::readiness::{Chance, Direction, Edge, Readiness};
use crate::mailbox::Mailbox;
use crate::monitor::MonitorRef;
use crate::process::context::Context;
use crate::process::control::{AnyProcess, Control, Head, doom};
use crate::process::latent::Entry;
use crate::process::reply::{Answer, Pending, ReplyCell, ReplyTo};
use crate::process::send::Turn;
use crate::process::{ending, joint};
use crate::scheduler::Home;
use crate::scheduler::idle::Idle;
use crate::scheduler::parker::{Place, Sleeper};
use crate::scheduler::slot::Slot;
use crate::scheduler::vigil::Vigil;
use crate::signal::Signal;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::thread;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Polling, Poll, Wake, Waker};
use std::time::Duration;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A parker with a token, as crossbeam's and the standard library's have. (loom's own loses it to a blocked thread.)
#[derive(Default)]
struct Token(loom::sync::Mutex<bool>, loom::sync::Condvar);

impl Token {
    fn park(&self) {
        let mut there = self.0.lock().expect("no model panics under a lock");
        while !*there {
            there = self.1.wait(there).expect("no model panics under a lock");
        }
        *there = false;
    }

    fn unpark(&self) {
        *self.0.lock().expect("no model panics under a lock") = true;
        self.1.notify_one();
    }
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }
}

/// Polls to the end; parks in between, for ever if a wake-up is lost.
fn run<F: Future>(token: &Arc<Token>, future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::clone(token));
    loop {
        match future.as_mut().poll(&mut Polling::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => token.park(),
        }
    }
}

fn process(home: &Arc<Home>, mailbox: Mailbox) -> Arc<Control<u32>> {
    let made = home.shared.table.insert(0, |pid| {
        let control = Arc::new(Control::<u32>::new(Head::new(pid, None, Arc::clone(home)), mailbox));
        (control.clone() as Arc<dyn Entry>, control)
    });
    made.expect("room in the table")
}

/// The process's own thread: its waker is the one that a kill must find.
fn adopt(control: &Arc<Control<u32>>) -> (Context<u32>, Arc<Token>) {
    let token = Arc::new(Token::default());
    let waker = Waker::from(Arc::clone(&token));
    control.head.own_waker.store(waker.data().addr(), Ordering::Relaxed);
    control.inner.lock().core.waker = Some(waker);
    (Context::new(Arc::clone(control)), token)
}

#[test]
fn a_message_finds_the_receiver_awake_or_wakes_it() {
    explore(|| {
        let home = Home::detached();
        let control = process(&home, Mailbox::default());
        let (mut context, token) = adopt(&control);
        let senders = [1, 2].map(|message| {
            let control = Arc::clone(&control);
            thread::spawn(move || assert!(control.push(message).is_ok()))
        });
        let got = run(&token, context.recv()) + run(&token, context.recv());
        assert_eq!(got, 3);
        senders.into_iter().for_each(|sender| sender.join().expect("no sender fails"));
    });
}

#[test]
fn a_doomed_process_is_woken_whatever_it_waits_for() {
    explore(|| {
        let home = Home::detached();
        let control = process(&home, Mailbox::default());
        let (mut context, token) = adopt(&control);
        let killer = {
            let target: AnyProcess = control.clone();
            thread::spawn(move || doom(&target, ExitReason::Killed))
        };
        let waker = Waker::from(Arc::clone(&token));
        while control.head.is_alive() {
            let mut receive = pin!(context.recv());
            assert!(receive.as_mut().poll(&mut Polling::from_waker(&waker)).is_pending());
            if control.head.is_alive() {
                token.park();
            }
        }
        killer.join().expect("no killer fails");
        assert_eq!(control.inner.lock().core.fate, Some(ExitReason::Killed));
        assert!(control.push(1).is_err());
    });
}

#[test]
fn a_waiting_sender_is_let_in_when_there_is_room() {
    explore(|| {
        let home = Home::detached();
        let control = process(&home, Mailbox::bounded(1));
        let (mut context, token) = adopt(&control);
        assert!(control.push(1).is_ok());
        let sender = {
            let control = Arc::clone(&control);
            thread::spawn(move || {
                let token = Arc::new(Token::default());
                let waker = Waker::from(Arc::clone(&token));
                let Ok(Some(ticket)) = control.push_or_wait(2, &waker) else { return };
                while let Turn::NotYet = control.poll_ticket(ticket, &waker) {
                    token.park();
                }
            })
        };
        assert_eq!((run(&token, context.recv()), run(&token, context.recv())), (1, 2));
        sender.join().expect("the sender was let in");
    });
}

#[test]
fn links_made_and_removed_from_both_sides_agree() {
    explore(|| {
        let home = Home::detached();
        let a: AnyProcess = process(&home, Mailbox::default());
        let b: AnyProcess = process(&home, Mailbox::default());
        let (other_a, other_b) = (a.clone(), b.clone());
        let other = thread::spawn(move || {
            joint::unlink(&other_b, &other_a);
            joint::link(&other_b, &other_a);
        });
        joint::link(&a, &b);
        joint::unlink(&a, &b);
        other.join().expect("linking does not fail");
        let linked = (a.core().links.contains(b.head().pid), b.core().links.contains(a.head().pid));
        assert_eq!(linked.0, linked.1);
        joint::unlink(&a, &b);
    });
}

#[test]
fn a_link_to_a_dying_process_brings_one_exit() {
    explore(|| {
        let home = Home::detached();
        let a: AnyProcess = process(&home, Mailbox::default());
        let b: AnyProcess = process(&home, Mailbox::default());
        a.core().trapping = true;
        let dying = b.clone();
        let end = thread::spawn(move || {
            doom(&dying, ExitReason::Killed);
            ending::finish(&dying).complete();
        });
        joint::link(&a, &b);
        end.join().expect("an end does not fail");
        let mut core = a.core();
        let signals = core.signals.take().expect("one signal");
        let reasons: Vec<ExitReason> = signals
            .into_iter()
            .map(|(_, signal)| match signal {
                Signal::Exit(exit) => exit.reason,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(matches!(reasons[..], [ExitReason::Killed | ExitReason::NoProcess]), "{reasons:?}");
        assert_eq!(core.links.len(), 0);
    });
}

#[test]
fn a_monitor_of_a_dying_process_fires_once_unless_it_is_removed() {
    explore(|| {
        let home = Home::detached();
        let a: AnyProcess = process(&home, Mailbox::default());
        let b: AnyProcess = process(&home, Mailbox::default());
        let reference = MonitorRef::new(a.head().pid, 1);
        let dying = b.clone();
        let end = thread::spawn(move || {
            doom(&dying, ExitReason::Killed);
            ending::finish(&dying).complete();
        });
        assert!(joint::monitor(&a, &b, reference, None));
        let stood = joint::demonitor(&a, reference);
        end.join().expect("an end does not fail");
        let fired = a.core().signals.take().map_or(0, |signals| signals.into_iter().count());
        assert_eq!(fired, usize::from(!stood));
    });
}

#[test]
fn an_answer_a_time_out_and_an_end_leave_one_outcome() {
    explore(|| {
        let cell = ReplyCell::new(None);
        let reply_to = ReplyTo::new(Arc::clone(&cell));
        let answerer = thread::spawn(move || reply_to.send(5).is_ok());
        let ended = Arc::clone(&cell);
        let end = thread::spawn(move || {
            ended.time_out();
            ended.ended(&ExitReason::Killed);
        });
        let token = Arc::new(Token::default());
        let waker = Waker::from(Arc::clone(&token));
        let outcome = loop {
            match cell.poll(&waker, || false).0 {
                Answer::NotYet => token.park(),
                outcome => break outcome,
            }
        };
        end.join().expect("the end does not fail");
        let accepted = answerer.join().expect("the answerer does not fail");
        assert_eq!(matches!(outcome, Answer::Answered(5)), accepted);
        assert!(accepted || matches!(outcome, Answer::TimedOut));
    });
}

#[test]
fn a_dropped_answer_of_a_dying_callee_waits_for_its_reason() {
    explore(|| {
        let cell = ReplyCell::<u32>::new(None);
        let (reply_to, ended) = (ReplyTo::new(Arc::clone(&cell)), Arc::clone(&cell));
        let callee = thread::spawn(move || {
            drop(reply_to);
            ended.ended(&ExitReason::Killed);
        });
        let token = Arc::new(Token::default());
        let waker = Waker::from(Arc::clone(&token));
        let outcome = loop {
            match cell.poll(&waker, || true).0 {
                Answer::NotYet => token.park(),
                outcome => break outcome,
            }
        };
        assert!(matches!(outcome, Answer::Ended(ExitReason::Killed)));
        callee.join().expect("the callee does not fail");
    });
}

/// A worker that parks against one who pushes: the model of `Local::sleep` and `Scheduler::notify`.
#[test]
fn work_finds_a_worker_awake_or_wakes_it() {
    explore(|| {
        let idle = Arc::new(Idle::new(2));
        let work = Arc::new(AtomicBool::new(false));
        let token = Arc::new(Token::default());
        let worker = {
            let (idle, work, token) = (Arc::clone(&idle), Arc::clone(&work), Arc::clone(&token));
            thread::spawn(move || {
                let mut searching = idle.start_search();
                loop {
                    if work.swap(false, Ordering::AcqRel) {
                        break;
                    }
                    idle.enter(0, u64::MAX);
                    if std::mem::take(&mut searching) {
                        idle.stop_search();
                    }
                    Idle::before_last_look();
                    if !work.load(Ordering::Relaxed) {
                        token.park();
                    }
                    searching = !idle.leave(0);
                }
                if searching {
                    idle.stop_search();
                }
            })
        };
        // An exchange, since loom may place a plain store before another's exchange that has not seen it.
        assert!(!work.swap(true, Ordering::AcqRel));
        fence(Ordering::SeqCst);
        if idle.worker_to_wake() == Some(0) {
            token.unpark();
        }
        worker.join().expect("the worker found the work");
    });
}

/// A timekeeper that goes to sleep against one who arms an earlier timer: `Local::sleep` and `Home::announce_timer`.
#[test]
fn an_earlier_timer_finds_the_timekeeper_awake_or_wakes_it() {
    explore(|| {
        let idle = Arc::new(Idle::new(1));
        let next = Arc::new(AtomicU64::new(100));
        let token = Arc::new(Token::default());
        let worker = {
            let (idle, next, token) = (Arc::clone(&idle), Arc::clone(&next), Arc::clone(&token));
            thread::spawn(move || {
                loop {
                    let until = next.load(Ordering::SeqCst);
                    if until == 5 {
                        break;
                    }
                    idle.enter(0, until);
                    Idle::before_last_look();
                    if !idle.is_unattended(next.load(Ordering::SeqCst)) {
                        token.park();
                    }
                    if !idle.leave(0) {
                        idle.stop_search();
                    }
                }
            })
        };
        next.store(5, Ordering::SeqCst);
        if idle.worker_for_timer(5) == Some(0) {
            token.unpark();
        }
        worker.join().expect("the worker saw the timer");
    });
}

/// An overseer that wants to rest against a worker that wakes up: `Local::sleep` and `overseer::oversee`. Were the overseer
/// to rest while the worker is awake, nobody would see that get stuck.
#[test]
fn no_worker_is_awake_while_the_overseer_rests_unwoken() {
    explore(|| {
        let (idle, vigil) = (Arc::new(Idle::new(1)), Arc::new(Vigil::new()));
        idle.enter(0, u64::MAX);
        let worker = {
            let (idle, vigil) = (Arc::clone(&idle), Arc::clone(&vigil));
            thread::spawn(move || {
                assert!(idle.leave(0));
                vigil.resume();
            })
        };
        let rests = vigil.rest(|| idle.asleep() == 1);
        worker.join().expect("the worker does not fail");
        assert!(!rests || !vigil.is_dormant(), "it rests, and the worker has not woken it");
    });
}

/// One who sleeps, parked first and in the poller then, against one who wakes it twice for two things: `Parker`.
#[test]
fn a_sleeper_is_woken_where_it_sleeps() {
    explore(|| {
        let sleeper = Arc::new((Sleeper::new(), Token::default(), Token::default(), AtomicU64::new(0)));
        let waker = {
            let sleeper = Arc::clone(&sleeper);
            thread::spawn(move || {
                for _ in 0..2 {
                    sleeper.3.fetch_add(1, Ordering::AcqRel);
                    match sleeper.0.notify() {
                        Some(Place::Parked) => sleeper.1.unpark(),
                        Some(Place::Polling) => sleeper.2.unpark(),
                        None => {}
                    }
                }
            })
        };
        let (word, parked, polling, things) = &*sleeper;
        for (place, token, number) in [(Place::Parked, parked, 1), (Place::Polling, polling, 2)] {
            while things.load(Ordering::Acquire) < number {
                if word.enter(place) {
                    token.park();
                }
                word.leave();
            }
        }
        waker.join().expect("the waker does not fail");
    });
}

/// One who tries and waits against a poller that tells of edges, each after something has come: `Socket::poll_try`.
#[test]
fn no_edge_is_lost_between_an_attempt_and_the_wait() {
    explore(|| {
        let socket = Arc::new((Readiness::new(), AtomicU64::new(0)));
        let poller = {
            let socket = Arc::clone(&socket);
            thread::spawn(move || {
                for _ in 0..2 {
                    socket.1.fetch_add(1, Ordering::AcqRel);
                    let edge = Edge { readable: true, ..Edge::default() };
                    socket.0.tell(edge).into_iter().flatten().for_each(Waker::wake);
                }
            })
        };
        let (readiness, came) = &*socket;
        let token = Arc::new(Token::default());
        let waker = Waker::from(Arc::clone(&token));
        let mut taken = 0;
        while taken < 2 {
            match readiness.chance(Direction::Read) {
                Chance::Try(told) => match came.swap(0, Ordering::AcqRel) {
                    0 => readiness.refused(Direction::Read, told),
                    some => {
                        taken += some;
                        readiness.drained(Direction::Read, told);
                    }
                },
                Chance::Wait => {
                    if readiness.wait(Direction::Read, &waker).is_some() {
                        token.park();
                    }
                }
                Chance::Over => unreachable!("nobody ends it"),
            }
        }
        poller.join().expect("the poller does not fail");
    });
}

#[test]
fn what_is_in_the_slot_is_run_once() {
    explore(|| {
        let slot = Arc::new(Slot::new());
        let thief = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.take().into_iter().collect::<Vec<u32>>())
        };
        let mut run: Vec<u32> = [1, 2].into_iter().filter_map(|task| slot.put(task)).collect();
        run.extend(slot.take());
        run.extend(thief.join().expect("the thief does not fail"));
        run.sort_unstable();
        assert_eq!(run, [1, 2]);
    });
}
