//! Pure: promised room, enumerated: every short life of a small yard, against what slots are promised.
use super::*;
use crate::revival::Ended;
use crate::routing::Choice;
use crate::seats::Nobody;
use crate::slots::SlotState;
use crate::view::ConsumerId;
use crate::waiting_room::Wish;
use crate::yard::{Bounds, Entered, Finish, Grants, Request};
use std::collections::{BTreeMap, BTreeSet};

const LATE: Duration = Duration::from_secs(1000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Try,
    Reserve,
    Dispatch,
    /// With the oldest slot that is held.
    Spend,
    GiveBack,
    /// The first message that is out is completed.
    Complete,
    Crash,
    Up,
    Close,
}

const ACTS: [Act; 9] =
    [Act::Try, Act::Reserve, Act::Dispatch, Act::Spend, Act::GiveBack, Act::Complete, Act::Crash, Act::Up, Act::Close];

struct World {
    yard: Yard<u64, Nobody>,
    /// Each message's number in the yard.
    inside: BTreeMap<u64, usize>,
    out: BTreeSet<u64>,
    line: Vec<SlotNumber>,
    held: BTreeSet<SlotNumber>,
    next: u64,
    incarnation: u64,
}

impl World {
    fn new(waiting: usize) -> Self {
        let bounds = Bounds { waiting, per_key: 0, max_wait: Duration::from_secs(1) };
        let mut yard = Yard::new(bounds, 7);
        yard.seats.join(1, [].into());
        let mut world = Self {
            yard,
            inside: BTreeMap::new(),
            out: BTreeSet::new(),
            line: Vec::new(),
            held: BTreeSet::new(),
            next: 0,
            incarnation: 0,
        };
        world.act(Act::Up);
        world
    }

    fn consumer(&self) -> ConsumerId {
        self.yard.seats.at(0).id
    }

    fn granted(&mut self, grants: Grants<u64, Nobody>) {
        for grant in grants {
            assert!(self.out.insert(grant.ticket));
        }
        let admitted = self.yard.admit(LATE, Duration::ZERO);
        for number in admitted {
            assert_eq!(self.line.remove(0), number, "in order");
            if self.yard.slots.state(number) == SlotState::Held {
                self.held.insert(number);
            }
        }
    }

    fn dispatch(&mut self, slot: Option<SlotNumber>) -> Result<(), Refusal> {
        let message = self.next;
        self.next += 1;
        // Every message is of one key, of which none may wait without a slot.
        let request =
            Request { id: Some(message), key: Some(1), deadline: LATE, choice: Choice::RoundRobin, caller: None, slot };
        let mut number = None;
        let entered =
            self.yard.enter(request, message, false, Duration::ZERO, |_, slot, _| number = Some(slot), &mut None);
        if let Entered::Refused(refusal) = entered {
            self.granted(Vec::new());
            return Err(refusal);
        }
        self.inside.insert(message, number.expect("it was told"));
        if let Entered::Out = entered {
            self.out.insert(message);
        }
        self.granted(Vec::new());
        Ok(())
    }

    fn act(&mut self, act: Act) {
        let (spare, crowded) = (self.yard.vacancies(), self.yard.slots.promised());
        let closing = self.yard.closing;
        match act {
            Act::Try => match self.yard.try_reserve(None, LATE, Duration::ZERO) {
                Ok(number) => {
                    assert!(!closing && crowded < spare);
                    assert!(self.held.insert(number));
                }
                Err(Refusal::Overloaded { .. }) => assert!(!closing && crowded >= spare),
                Err(refusal) => assert_eq!((refusal, closing), (Refusal::Closed, true)),
            },
            Act::Reserve => match self.yard.reserve(None, LATE, Duration::ZERO) {
                Ok(number) if crowded < spare => assert!(self.held.insert(number)),
                Ok(number) => self.line.push(number),
                Err(refusal) => assert_eq!((refusal, closing), (Refusal::Closed, true)),
            },
            Act::Dispatch => {
                let entered = self.dispatch(None);
                assert!(entered.is_err() || crowded == 0 || crowded < spare, "that room was promised");
            }
            Act::Spend => {
                let Some(number) = self.held.pop_first() else { return };
                match self.dispatch(Some(number)) {
                    Ok(()) => assert!(!closing),
                    Err(refusal) => assert_eq!((refusal, closing), (Refusal::Closed, true), "never overloaded"),
                }
            }
            Act::GiveBack => {
                let first = self.held.pop_first().or_else(|| (!self.line.is_empty()).then(|| self.line.remove(0)));
                let Some(number) = first else { return };
                self.yard.slots.give_back(number);
                self.granted(Vec::new());
            }
            Act::Complete => {
                let Some(message) = self.out.pop_first() else { return };
                let number = self.inside.remove(&message).expect("it is in");
                let mut grants = Vec::new();
                self.yard.leave(number, Finish::Completed, false, None, Duration::ZERO, &mut grants);
                self.granted(grants);
            }
            Act::Crash => self.crash(),
            Act::Up => {
                if self.incarnation == 0 {
                    let (incarnation, grants) = self.yard.up(self.consumer(), Nobody, Duration::ZERO);
                    self.incarnation = incarnation;
                    self.granted(grants);
                }
            }
            Act::Close => {
                self.yard.closing = true;
                self.granted(Vec::new());
                assert!(self.line.is_empty(), "nobody waits for what will not come");
            }
        }
    }

    /// The consumer ends; what it had goes back to wait.
    fn crash(&mut self) {
        if self.incarnation == 0 {
            return;
        }
        let ended = Ended::After { lived: LATE, completed: true, started: true, killed: false };
        let (.., grants) = self.yard.down(self.consumer(), self.incarnation, Some(ended));
        self.incarnation = 0;
        self.granted(grants);
        for message in std::mem::take(&mut self.out) {
            let number = self.inside[&message];
            let grants = self.yard.park(number, Finish::Lost, Duration::ZERO);
            self.granted(grants);
            match self.yard.again(number, Choice::RoundRobin, Wish::default(), Duration::ZERO, &mut None) {
                Entered::Out => assert!(self.out.insert(message)),
                Entered::Waits => {}
                Entered::Routes => panic!("it was routed"),
                Entered::Refused(refusal) => {
                    assert_eq!((refusal, self.yard.closing), (Refusal::Closed, true));
                    let mut grants = Vec::new();
                    self.yard.leave(number, Finish::Lost, false, None, Duration::ZERO, &mut grants);
                    self.inside.remove(&message);
                    self.granted(grants);
                }
            }
        }
    }

    fn check(&self, lived: &[Act]) {
        let slots = &self.yard.slots;
        assert_eq!((slots.held(), slots.waiting()), (self.held.len(), self.line.len()), "{lived:?}");
        // Nobody waits in line while there is room that nobody was promised.
        assert!(self.line.is_empty() || self.held.len() >= self.yard.vacancies(), "{lived:?}");
        let free: u32 = self.yard.seats.iter().map(crate::seats::Seat::free).sum();
        assert_eq!(self.yard.seats.vacant(), free as usize, "{lived:?}");
    }
}

/// Every sequence of five acts, over no waiting room and over one of one message.
#[test]
fn no_slot_is_ever_refused_for_lack_of_room_and_no_promise_is_broken() {
    let mut refused_others = 0;
    for waiting in [0, 1] {
        for number in 0..9usize.pow(5) {
            let acts: Vec<Act> = (0..5).map(|place| ACTS[number / 9usize.pow(place) % 9]).collect();
            let mut world = World::new(waiting);
            for (at, act) in acts.iter().enumerate() {
                world.act(*act);
                world.check(&acts[..=at]);
            }
            refused_others += world.yard.totals().refused;
        }
    }
    assert!(refused_others > 10_000, "{refused_others}: what is promised is refused to others");
}

#[test]
fn a_slot_whose_time_is_over_is_worth_nothing() {
    let mut world = World::new(0);
    let (soon, later) = (Duration::from_secs(3), Duration::from_secs(4));
    let number = world.yard.try_reserve(None, soon, Duration::ZERO).expect("there is a place");
    let (.., next) = world.yard.due(Duration::from_secs(2));
    assert_eq!(next, soon, "somebody looks when it is over");
    assert!(matches!(world.dispatch(None), Err(Refusal::Overloaded { .. })));
    world.yard.due(soon);
    assert_eq!((world.dispatch(None), world.yard.slots.held()), (Ok(()), 0));
    assert!(matches!(world.dispatch(Some(number)), Err(Refusal::Overloaded { .. })), "as any other");
    assert!(world.yard.due(later).1.is_empty());
}

/// The waiting room's patience is not that of one who was promised room.
#[test]
fn who_came_with_a_slot_waits_for_its_deadline_only() {
    let mut world = World::new(1);
    world.act(Act::Try);
    world.act(Act::Dispatch);
    world.act(Act::Spend);
    assert_eq!((world.out.len(), world.yard.waiting()), (1, 1));
    let (late, waited, ..) = world.yard.due(Duration::from_secs(900));
    assert!(late.is_empty() && waited.is_empty());
    assert_eq!(world.yard.due(LATE).0.len(), 2);
}
