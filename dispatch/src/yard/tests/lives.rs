//! Pure: the yard under random lives of messages and consumers; its invariants hold after each step.
use super::*;
use crate::revival::{Ended, Revival};
use crate::routing::hash_of;
use crate::seats::Nobody;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const BOUNDS: Bounds = Bounds { waiting: 8, per_key: 3, max_wait: Duration::from_secs(1) };

#[derive(Clone, Debug)]
enum Act {
    Enter { key: Option<u64>, choice: u8 },
    Finish { which: usize, how: u8 },
    Again { which: usize, avoid: Option<usize> },
    Stuck { consumer: usize },
    Gone { consumer: usize },
    Up { consumer: usize },
    Down { consumer: usize, at_start: bool },
    Leave { consumer: usize },
    Pause(bool),
    Later,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (prop::option::of(0..4u64), 0..6u8).prop_map(|(key, choice)| Act::Enter { key, choice }),
        6 => (0..64usize, 0..4u8).prop_map(|(which, how)| Act::Finish { which, how }),
        2 => (0..64usize, prop::option::of(0..4usize)).prop_map(|(which, avoid)| Act::Again { which, avoid }),
        1 => (0..4usize).prop_map(|consumer| Act::Stuck { consumer }),
        1 => (0..4usize).prop_map(|consumer| Act::Gone { consumer }),
        3 => (0..4usize).prop_map(|consumer| Act::Up { consumer }),
        1 => (0..4usize, any::<bool>()).prop_map(|(consumer, at_start)| Act::Down { consumer, at_start }),
        1 => (0..40usize).prop_map(|consumer| Act::Leave { consumer }),
        1 => any::<bool>().prop_map(Act::Pause),
        1 => Just(Act::Later),
    ]
}

/// The yard, and what the test knows of it: each message's number in the yard, and who is out where.
struct World {
    yard: Yard<u64, Nobody>,
    numbers: BTreeMap<u64, usize>,
    out: BTreeMap<u64, (ConsumerId, u64)>,
    parked: BTreeSet<u64>,
    keys: BTreeMap<u64, u64>,
    now: Duration,
    next: u64,
}

impl World {
    fn new() -> Self {
        let mut yard = Yard::new(BOUNDS, 7);
        for n in 0..4 {
            yard.seats.join(1 + n % 3, [].into());
        }
        let (numbers, out, parked, keys) = Default::default();
        Self { yard, numbers, out, parked, keys, now: Duration::ZERO, next: 0 }
    }

    fn consumer(&self, n: usize) -> ConsumerId {
        self.yard.seats.at(n % self.yard.seats.len()).id
    }

    fn go_out(&mut self, message: u64, place: &Place<Nobody>) {
        self.parked.remove(&message);
        let before = self.out.insert(message, (place.consumer, place.incarnation));
        assert_eq!(before, None, "out twice");
    }

    fn grant(&mut self, grants: Grants<u64, Nobody>) {
        for grant in grants {
            match &grant.place {
                Some(place) => self.go_out(grant.ticket, place),
                None => assert!(self.parked.insert(grant.ticket), "told of its key twice"),
            }
        }
    }

    fn enter(&mut self, key: Option<u64>, choice: u8) {
        let message = self.next;
        self.next += 1;
        let routes_itself = choice == 5;
        let choice = match choice {
            0 => Choice::LeastLoaded,
            1 => Choice::TwoChoices,
            2 => Choice::Hash(hash_of(&key)),
            3 => Choice::To(self.consumer(usize::try_from(message).expect("small"))),
            _ => Choice::RoundRobin,
        };
        let request = Request { id: Some(message), key, deadline: Duration::MAX, choice, caller: None, slot: None };
        let mut number = None;
        let mut place = None;
        let note = |_: &u64, slot, _| number = Some(slot);
        let entered = self.yard.enter(request, message, routes_itself, self.now, note, &mut place);
        assert_eq!(place.is_some(), matches!(entered, Entered::Out));
        if let Entered::Refused(_) = entered {
            assert_eq!(number, None);
            return;
        }
        self.numbers.insert(message, number.expect("it was told"));
        if let Some(key) = key {
            self.keys.insert(message, key);
        }
        match entered {
            Entered::Out => self.go_out(message, &place.expect("it has one")),
            Entered::Routes => assert!(self.parked.insert(message), "it is new"),
            Entered::Waits | Entered::Refused(_) => {}
        }
    }

    /// A message that is out, or else any.
    fn finish(&mut self, which: usize, how: u8) {
        if !self.out.is_empty() {
            return self.finish_out(which, how);
        }
        let out: Vec<u64> = self.numbers.keys().copied().collect();
        if let Some(message) = out.get(which % out.len().max(1)) {
            self.leave(*message, Finish::Lost);
        }
    }

    fn finish_out(&mut self, which: usize, how: u8) {
        let message = *self.out.keys().nth(which % self.out.len()).expect("some");
        match how {
            0 => {
                self.out.remove(&message);
                self.parked.insert(message);
                let grants = self.yard.park(self.numbers[&message], Finish::Crashed, self.now);
                self.grant(grants);
            }
            1 => self.leave(message, Finish::Failed),
            2 => self.leave(message, Finish::Crashed),
            _ => self.leave(message, Finish::Completed),
        }
    }

    fn leave(&mut self, message: u64, finish: Finish) {
        let number = self.numbers.remove(&message).expect("it is in");
        self.out.remove(&message);
        self.parked.remove(&message);
        self.keys.remove(&message);
        let mut grants = Vec::new();
        let (ticket, _) = self.yard.leave(number, finish, false, None, self.now, &mut grants);
        assert_eq!(ticket, message);
        self.grant(grants);
    }

    fn again(&mut self, which: usize, avoid: Option<usize>) {
        let Some(message) = self.parked.iter().nth(which % self.parked.len().max(1)).copied() else { return };
        let wish = Wish { avoid: avoid.map(|consumer| self.consumer(consumer)), ..Wish::default() };
        let mut place = None;
        let entered = self.yard.again(self.numbers[&message], Choice::RoundRobin, wish, self.now, &mut place);
        assert_eq!(place.is_some(), matches!(entered, Entered::Out));
        match entered {
            Entered::Out => self.go_out(message, &place.expect("it has one")),
            Entered::Waits => assert!(self.parked.remove(&message), "it was with its conversation"),
            Entered::Refused(_) | Entered::Routes => {}
        }
    }

    fn down(&mut self, consumer: ConsumerId, at_start: bool) {
        let incarnation = self.yard.seats.get(consumer).expect("it is there").incarnation;
        let after = Ended::After { lived: Duration::from_secs(9), completed: true, started: true, killed: false };
        let ended = if at_start { Ended::AtStart } else { after };
        let (_, revival, grants) = self.yard.down(consumer, incarnation, Some(ended));
        self.grant(grants);
        assert!(revival != Revival::GiveUp || self.yard.seats.get(consumer).is_some_and(|seat| seat.failed));
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Enter { key, choice } => self.enter(key, choice),
            Act::Finish { which, how } => self.finish(which, how),
            Act::Again { which, avoid } => self.again(which, avoid),
            Act::Stuck { consumer } => {
                let id = self.consumer(consumer);
                let incarnation = self.yard.seats.get(id).expect("it is there").incarnation;
                let grants = self.yard.stuck(id, incarnation);
                self.grant(grants);
            }
            Act::Gone { consumer } => {
                let id = self.consumer(consumer);
                let incarnation = self.yard.seats.get(id).expect("it is there").incarnation;
                let grants = self.yard.gone(id, incarnation);
                self.grant(grants);
            }
            Act::Up { consumer } => {
                let id = self.consumer(consumer);
                if self.yard.seats.get(id).is_some_and(|seat| seat.occupant.is_none() && seat.is_wanted()) {
                    let (_, grants) = self.yard.up(id, Nobody, self.now);
                    self.grant(grants);
                }
            }
            Act::Down { consumer, at_start } => self.down(self.consumer(consumer), at_start),
            Act::Leave { consumer } => {
                let (_, grants) = self.yard.leaves(self.consumer(consumer));
                self.grant(grants);
            }
            Act::Pause(paused) => {
                self.yard.paused = paused;
                let mut grants = Vec::new();
                self.yard.settle(&mut grants);
                self.grant(grants);
            }
            Act::Later => {
                self.now += Duration::from_millis(700);
                let (_, _, grants, _) = self.yard.due(self.now);
                self.grant(grants);
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.yard.len(), self.numbers.len());
        assert_eq!(self.yard.len(), self.out.len() + self.parked.len() + self.yard.waiting(), "nobody is forgotten");
        let mut keys = BTreeSet::new();
        for message in self.out.keys().chain(&self.parked) {
            let fresh = self.keys.get(message).is_none_or(|key| keys.insert(*key));
            assert!(fresh, "invariant 5: two of one key");
        }
        for seat in self.yard.seats.iter() {
            let here = self
                .out
                .values()
                .filter(|(consumer, incarnation)| (*consumer, *incarnation) == (seat.id, seat.incarnation));
            let here = u32::try_from(here.count()).expect("small");
            assert!(seat.occupant.is_none() || seat.taken == here, "counted: {seat:?} {here}");
            assert!(seat.taken <= seat.room, "invariant 5: {seat:?}");
            assert!(
                seat.ejected_until.is_none_or(|until| self.yard.keeper <= until),
                "nobody lets it in again: {seat:?}"
            );
        }
        if !self.yard.paused && !self.yard.breaker.is_open() {
            let offers = self.yard.seats.all_open().into_iter().filter_map(|position| self.yard.seats.offer(position));
            for offer in offers {
                assert_eq!(self.yard.room.taker(offer), None, "somebody waits for what is there: {offer:?}");
            }
        }
        let open = self.yard.seats.iter().enumerate().filter(|(_, seat)| seat.free() > 0).map(|(position, _)| position);
        assert_eq!(self.yard.seats.all_open(), open.collect::<Vec<_>>(), "who has room is known to have it");
        let free: u32 = self.yard.seats.iter().map(crate::seats::Seat::free).sum();
        assert_eq!(self.yard.seats.vacant(), usize::try_from(free).expect("small"), "free places are counted");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_place_is_taken_twice_and_nobody_is_forgotten(acts in prop::collection::vec(acts(), 0..120)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            world.check();
        }
    }
}

/// The turn goes round, and past those without room, for any number of consumers.
#[test]
fn round_robin_takes_each_in_turn() {
    for consumers in [1, 2, 63, 64, 65, 200] {
        let mut world = World::new();
        world.yard = Yard::new(Bounds { waiting: 0, ..BOUNDS }, 7);
        let ids: Vec<_> = (0..consumers).map(|_| world.yard.seats.join(2, [].into())).collect();
        ids.iter().for_each(|id| drop(world.yard.up(*id, Nobody, Duration::ZERO)));
        for _ in 0..2 * consumers {
            world.enter(None, 9);
        }
        let order: Vec<_> = world.out.values().map(|(consumer, _)| *consumer).collect();
        assert_eq!(order, [ids.clone(), ids].concat());
        world.enter(None, 9);
        assert_eq!((world.yard.len(), world.yard.totals().refused), (2 * consumers, 1));
    }
}
