//! Shared: models of those who wait for a slot, against who makes room, and of blocking work, which holds its key until it has
//! returned. The yard is the real one; the steps around it are those of `slot.rs` and of `record/blocking.rs`.
use super::*;
use crate::slots::{SlotNumber, SlotState};
use loom::sync::atomic::AtomicUsize;

const UNTIL: Duration = Duration::from_secs(30);

/// Sleeps until it is rung, however early.
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self { rung: Mutex::new(false), changed: Condvar::new() })
    }

    fn ring(&self) {
        *self.rung.lock().expect("no model panics under a lock") = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().expect("no model panics under a lock");
        while !*rung {
            rung = self.changed.wait(rung).expect("no model panics under a lock");
        }
        *rung = false;
    }
}

/// What a group has for those who wait: `Group::reserving` and `Group::reservers`, here in the order of their numbers.
struct Line {
    world: Arc<World>,
    reserving: AtomicBool,
    reservers: Mutex<Vec<(SlotNumber, Arc<Bell>)>>,
}

impl Line {
    /// One message, in the only place there is; nobody may wait.
    fn new() -> Arc<Self> {
        let world = World::bounded(1, TERMS, 0);
        Arc::new(Self { world, reserving: AtomicBool::new(false), reservers: Mutex::new(Vec::new()) })
    }

    /// `Group::stand_in_line`.
    fn stand(&self) -> SlotNumber {
        let mut yard = self.world.yard();
        let number = yard.reserve(None, UNTIL, NOW).expect("the group goes on");
        self.reserving.store(yard.slots.waiting() > 0, Ordering::Relaxed);
        number
    }

    /// `Group::poll_slot`, until it waits no more.
    fn wait(&self, number: SlotNumber) {
        let bell = Bell::new();
        loop {
            self.take(number);
            self.reservers.lock().expect("no model panics under a lock").push((number, Arc::clone(&bell)));
            let state = self.world.yard().slots.state(number);
            if state != SlotState::Waits {
                assert_eq!(state, SlotState::Held, "its time is not over, and the group goes on");
                return;
            }
            bell.wait();
        }
    }

    fn take(&self, number: SlotNumber) -> Option<Arc<Bell>> {
        let mut reservers = self.reservers.lock().expect("no model panics under a lock");
        let at = reservers.iter().position(|(other, _)| *other == number)?;
        Some(reservers.swap_remove(at).1)
    }

    /// `Group::admit`.
    fn admit(&self) {
        if !self.reserving.load(Ordering::Relaxed) {
            return;
        }
        let mut yard = self.world.yard();
        let admitted = yard.admit(UNTIL, NOW);
        self.reserving.store(yard.slots.waiting() > 0, Ordering::Relaxed);
        drop(yard);
        for number in admitted {
            if let Some(bell) = self.take(number) {
                bell.ring();
            }
        }
    }

    /// `Group::give_back`.
    fn give_back(&self, number: SlotNumber) {
        self.world.yard().slots.give_back(number);
        self.admit();
    }

    /// The message is done with, and what is free goes to those in line (`Group::grant`).
    fn make_room(&self) {
        self.world.decide(0, DeadlineExceeded);
        self.admit();
    }
}

/// Room is made while somebody gets in line: he finds it, or is found.
#[test]
fn who_stands_in_line_while_room_is_made_gets_it() {
    explore(|| {
        let line = Line::new();
        let making = Arc::clone(&line);
        let makes = thread::spawn(move || making.make_room());
        let number = line.stand();
        line.wait(number);
        makes.join().expect("it does not fail");
    });
}

/// The first in line goes while room is made: he has been given it or not, and the next has it in the end.
#[test]
fn who_leaves_the_line_takes_no_room_with_him() {
    explore(|| {
        let line = Line::new();
        let (first, second) = (line.stand(), line.stand());
        let (making, leaving) = (Arc::clone(&line), Arc::clone(&line));
        let makes = thread::spawn(move || making.make_room());
        let leaves = thread::spawn(move || leaving.give_back(first));
        line.wait(second);
        makes.join().expect("it does not fail");
        leaves.join().expect("it does not fail");
        assert_eq!(line.world.yard().slots.promised(), 1);
    });
}

/// `record/blocking.rs`: closures that run, what waits for them under the record's lock, and its handler.
struct Blocked {
    blocking: AtomicUsize,
    /// Whether the message's leave is put off.
    inner: Mutex<(bool, Option<Arc<Bell>>)>,
    left: AtomicUsize,
}

impl Blocked {
    fn is_blocking(&self) -> bool {
        self.blocking.load(Ordering::SeqCst) > 0
    }

    fn inner(&self) -> MutexGuard<'_, (bool, Option<Arc<Bell>>)> {
        self.inner.lock().expect("no model panics under a lock")
    }

    fn leave(&self) {
        assert_eq!(self.blocking.load(Ordering::SeqCst), 0, "nobody begins with its key before");
        assert_eq!(self.left.fetch_add(1, Ordering::SeqCst), 0, "once");
    }

    /// `Record::end_blocking`.
    fn end(&self) {
        if self.blocking.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        let mut inner = self.inner();
        let (deferred, handler) = (std::mem::take(&mut inner.0), inner.1.take());
        if deferred {
            self.leave();
        }
        drop(inner);
        if let Some(handler) = handler {
            handler.ring();
        }
    }

    /// `Record::run`, of a message that is over.
    fn over(&self) {
        let mut inner = self.inner();
        if self.is_blocking() {
            inner.0 = true;
        } else {
            self.leave();
        }
    }

    /// `Record::poll_unblocked`, until it is ready.
    fn unblocked(&self) {
        let bell = Bell::new();
        loop {
            let mut inner = self.inner();
            if !self.is_blocking() {
                return;
            }
            inner.1 = Some(Arc::clone(&bell));
            drop(inner);
            bell.wait();
        }
    }
}

/// Two closures return while the message ends and its handler, which was stopped, waits for them: the key is let go once, after both,
/// and the handler is woken.
#[test]
fn a_key_is_let_go_once_when_the_last_closure_has_returned() {
    explore(|| {
        let inner = Mutex::new((false, None));
        let blocked = Arc::new(Blocked { blocking: AtomicUsize::new(2), inner, left: AtomicUsize::new(0) });
        let closures = [(); 2].map(|()| {
            let blocked = Arc::clone(&blocked);
            thread::spawn(move || blocked.end())
        });
        blocked.over();
        blocked.unblocked();
        closures.into_iter().for_each(|closure| closure.join().expect("it does not fail"));
        assert_eq!(blocked.left.load(Ordering::SeqCst), 1);
    });
}
