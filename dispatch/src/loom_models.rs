//! Shared: loom models of what consumers, callers and conversations do to a message and to its group's places at the same time:
//! every interleaving of a few steps (three preemptions at most).
//!
//! The machines are the real ones ([`Machine`], [`Yard`]); around them stand loom's locks, taken in the order of the real ones
//! (a message's record, then the yard; places are granted when both are free), and the steps of `record.rs`, `act.rs` and
//! `group.rs`, without what they say to processes.
mod slots;

use crate::blame::End;
use crate::conversation::{Decided, Last, Machine, Next, Phase, Start, Terms, Verdict, Wanted};
use crate::outcome::DispatchErrorKind::{self, Cancelled, DeadlineExceeded};
use crate::routing::Choice;
use crate::seats::Occupant;
use crate::view::ConsumerId;
use crate::waiting_room::Wish;
use crate::yard::{Bounds, Entered, Finish, Grants, Request, Yard};
use colloquium_runtime::Pid;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar, Mutex, MutexGuard};
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

const TERMS: Terms = Terms { at_most_once: false, accepted: false, attempts: 5, poison: 3 };
const NOW: Duration = Duration::from_secs(1);

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[derive(Clone, Debug)]
struct Process;

impl Occupant for Process {
    fn process(&self) -> Option<Pid> {
        None
    }

    fn started(&self) -> u32 {
        0
    }
}

/// One message: its record, as far as it matters here.
struct Message {
    inner: Mutex<Inner>,
    slot: usize,
}

struct Inner {
    machine: Machine,
    verdicts: Vec<Verdict>,
    /// Out at that process, as the record knows it.
    placed: bool,
}

struct World {
    yard: Mutex<Yard<usize, Process>>,
    messages: Vec<Message>,
    consumer: ConsumerId,
}

impl World {
    /// One consumer with room for one delivery, and so many messages that come in one after the other.
    fn new(messages: usize, terms: Terms) -> Arc<Self> {
        Self::bounded(messages, terms, 8)
    }

    fn bounded(messages: usize, terms: Terms, waiting: usize) -> Arc<Self> {
        let bounds = Bounds { waiting, per_key: 8, max_wait: Duration::from_secs(60) };
        let mut yard = Yard::new(bounds, 7);
        let consumer = yard.seats.join(1, [].into());
        drop(yard.up(consumer, Process, NOW));
        let mut all = Vec::new();
        for number in 0..messages {
            let mut slot = None;
            let entered = yard.enter(request(number), number, false, NOW, |_, at, _| slot = Some(at), &mut None);
            let mut machine = Machine::new(terms);
            let placed = matches!(entered, Entered::Out) && machine.assigned();
            let inner = Inner { machine, verdicts: Vec::new(), placed };
            all.push(Message { inner: Mutex::new(inner), slot: slot.expect("it is let in") });
        }
        Arc::new(Self { yard: Mutex::new(yard), messages: all, consumer })
    }

    fn lock(&self, message: usize) -> MutexGuard<'_, Inner> {
        self.messages[message].inner.lock().expect("no model panics under a lock")
    }

    fn yard(&self) -> MutexGuard<'_, Yard<usize, Process>> {
        self.yard.lock().expect("no model panics under a lock")
    }

    /// As `Record::run` does: out of the yard with the record locked; grants when nothing is.
    fn over(&self, message: usize, mut inner: MutexGuard<'_, Inner>, last: Last, finish: Finish) {
        inner.verdicts.extend(last.told);
        inner.placed = false;
        let mut grants = Vec::new();
        let (ticket, _) = self.yard().leave(self.messages[message].slot, finish, false, None, NOW, &mut grants);
        assert_eq!(ticket, message);
        drop(inner);
        self.grant(grants);
    }

    fn park(&self, message: usize, mut inner: MutexGuard<'_, Inner>, finish: Finish) {
        inner.placed = false;
        let grants = self.yard().park(self.messages[message].slot, finish, NOW);
        drop(inner);
        self.grant(grants);
    }

    fn follow(&self, message: usize, inner: MutexGuard<'_, Inner>, next: Next, finish: Finish) {
        match next {
            Next::Over(last) => self.over(message, inner, last, finish),
            Next::Route { .. } | Next::Pause { .. } => self.park(message, inner, finish),
        }
    }

    fn grant(&self, grants: Grants<usize, Process>) {
        for grant in grants {
            let mut inner = self.lock(grant.ticket);
            assert!(grant.place.is_some(), "nobody routes himself here");
            if inner.machine.assigned() {
                inner.placed = true;
            }
        }
    }

    /// The consumer begins with what it has; true if it may.
    fn start(&self, message: usize) -> bool {
        let mut inner = self.lock(message);
        if !inner.placed {
            return false;
        }
        match inner.machine.start() {
            Start::Go(told) => {
                inner.verdicts.extend(told);
                true
            }
            Start::Withdrawn => false,
        }
    }

    fn complete(&self, message: usize) {
        let mut inner = self.lock(message);
        if inner.machine.phase() == Phase::Started {
            let next = inner.machine.completed();
            self.follow(message, inner, next, Finish::Completed);
        }
    }

    fn fail(&self, message: usize) {
        let mut inner = self.lock(message);
        if inner.machine.phase() == Phase::Started {
            let next = inner.machine.failed(Wanted::Retry);
            self.follow(message, inner, next, Finish::Failed);
        }
    }

    /// The consumer has ended; its conversation learns of that.
    fn lose(&self, message: usize, end: End) {
        let mut inner = self.lock(message);
        if inner.placed {
            let next = inner.machine.lost(end);
            self.follow(message, inner, next, Finish::Lost);
        }
    }

    fn decide(&self, message: usize, kind: DispatchErrorKind) {
        let mut inner = self.lock(message);
        match inner.machine.decide(kind) {
            Decided::Before => {}
            Decided::AndOver(last) => self.over(message, inner, last, Finish::Lost),
            Decided::WhileStarted(told) => inner.verdicts.extend(told),
        }
    }

    /// The conversation routes the message anew, as `Record::again` does.
    fn again(&self, message: usize) {
        let mut inner = self.lock(message);
        if inner.machine.phase() != Phase::Parked {
            return;
        }
        let entered = self.yard().again(self.messages[message].slot, Choice::Any, Wish::default(), NOW, &mut None);
        match entered {
            Entered::Out => inner.placed = inner.machine.assigned(),
            Entered::Waits => {}
            Entered::Routes | Entered::Refused(_) => panic!("there is a consumer"),
        }
    }

    /// After all of it: each message has one verdict or none yet, and the yard counts what the records say.
    fn hold(&self) {
        let yard = self.yard();
        let mut out = 0;
        for message in 0..self.messages.len() {
            let inner = self.lock(message);
            assert!(inner.verdicts.len() <= 1, "invariant 1: {:?}", inner.verdicts);
            assert_eq!(
                inner.machine.is_over(),
                !yard.tickets().contains(&message),
                "over, and out of the yard, are one"
            );
            assert!(!inner.machine.is_over() || inner.verdicts.len() == 1, "over without an outcome");
            out += u32::from(inner.placed);
            assert_eq!(inner.placed, matches!(inner.machine.phase(), Phase::Queued | Phase::Started));
        }
        let seat = yard.seats.get(self.consumer).expect("it is there");
        assert!(seat.taken == out && out <= 1, "invariant 5: {} places are taken, and {out} are out", seat.taken);
        assert!(out == 1 || yard.waiting() == 0, "somebody waits for what is there");
    }
}

fn request(number: usize) -> Request {
    let id = number as u64;
    Request { id: Some(id), key: None, deadline: Duration::MAX, choice: Choice::Any, caller: None, slot: None }
}

/// Runs each on a thread of its own.
fn race<const N: usize>(world: &Arc<World>, steps: [fn(&World); N]) {
    let threads = steps.map(|step| {
        let world = Arc::clone(world);
        thread::spawn(move || step(&world))
    });
    threads.into_iter().for_each(|thread| thread.join().expect("no step fails"));
}

#[test]
fn a_delivery_is_begun_withdrawn_or_lost_and_told_of_once() {
    for at_most_once in [false, true] {
        explore(move || {
            let world = World::new(1, Terms { at_most_once, ..TERMS });
            race(
                &world,
                [
                    |world| {
                        if world.start(0) {
                            world.complete(0);
                        }
                    },
                    |world| world.decide(0, DeadlineExceeded),
                    |world| world.lose(0, End::Otherwise),
                ],
            );
            world.hold();
            assert!(world.lock(0).machine.started() <= 1);
        });
    }
}

#[test]
fn an_accepted_message_is_told_of_once_whatever_comes() {
    explore(|| {
        let world = World::new(1, Terms { accepted: true, ..TERMS });
        race(
            &world,
            [
                |world| {
                    if world.start(0) {
                        world.fail(0);
                    }
                },
                |world| world.decide(0, Cancelled),
            ],
        );
        world.hold();
        let inner = world.lock(0);
        let accepted = inner.verdicts == [Verdict::Delivered];
        assert_eq!(accepted, inner.machine.started() == 1, "who was accepted is not cancelled");
        assert_eq!(accepted, !inner.machine.is_over(), "and is seen to");
    });
}

#[test]
fn a_place_goes_to_who_waits_unless_he_has_gone_and_is_never_lost() {
    explore(|| {
        let world = World::new(3, TERMS);
        race(
            &world,
            [
                // The place comes free …
                |world| {
                    assert!(world.start(0));
                    world.complete(0);
                },
                // … while the first who waits gives up.
                |world| world.decide(1, Cancelled),
            ],
        );
        world.hold();
        assert!(world.lock(2).placed, "the next has it");
    });
}

#[test]
fn a_place_that_was_granted_is_given_back_by_who_has_no_use_for_it() {
    explore(|| {
        let world = World::new(2, TERMS);
        race(
            &world,
            [
                |world| {
                    assert!(world.start(0));
                    world.complete(0);
                },
                |world| world.decide(1, DeadlineExceeded),
                |world| {
                    if world.start(1) {
                        world.complete(1);
                    }
                },
            ],
        );
        world.hold();
    });
}

#[test]
fn a_retry_and_a_newcomer_share_one_place() {
    explore(|| {
        let world = World::new(2, TERMS);
        race(
            &world,
            [
                |world| {
                    if world.start(0) {
                        world.fail(0);
                        world.again(0);
                    }
                },
                |world| {
                    if world.start(1) {
                        world.complete(1);
                    }
                },
                |world| world.decide(0, DeadlineExceeded),
            ],
        );
        world.hold();
    });
}

/// What a drain sleeps on (`Group::poll_until`), against who leaves the yard last (`Group::tell_watching`): the flag is set before
/// the yard is looked at, and read after it was left.
#[test]
fn who_waits_for_the_last_message_is_woken() {
    explore(|| {
        let world = World::new(1, TERMS);
        let watched = Arc::new((AtomicBool::new(false), Mutex::new(false), Mutex::new(false), Condvar::new()));
        let (leaving, flag) = (Arc::clone(&world), Arc::clone(&watched));
        let last = thread::spawn(move || {
            leaving.decide(0, DeadlineExceeded);
            if flag.0.load(Ordering::SeqCst) {
                let mut watching = flag.1.lock().expect("no model panics under a lock");
                flag.0.store(false, Ordering::SeqCst);
                let woken = std::mem::take(&mut *watching);
                drop(watching);
                if woken {
                    *flag.2.lock().expect("no model panics under a lock") = true;
                    flag.3.notify_one();
                }
            }
        });
        let (watching, token, bell) = (&watched.1, &watched.2, &watched.3);
        loop {
            *watching.lock().expect("no model panics under a lock") = true;
            watched.0.store(true, Ordering::SeqCst);
            if world.yard().len() == 0 {
                break;
            }
            let mut woken = token.lock().expect("no model panics under a lock");
            while !*woken {
                woken = bell.wait(woken).expect("no model panics under a lock");
            }
            *woken = false;
        }
        last.join().expect("it does not fail");
    });
}
